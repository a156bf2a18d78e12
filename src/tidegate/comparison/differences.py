# SPDX-License-Identifier: Apache-2.0
"""The differences between two servers' answers about one credential."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tidegate.comparison.client import Answer

MAX_TOLD: Final = 20
"""Names that one difference tells."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that the two servers answer differently.

    Attributes:
        username: whose account.
        what: ``login``, ``steps of the login``, ``listing of /``, ``make directories in /in``,
            ``upload to /in``.
        old: answer of the old server.
        new: answer of this one.
    """

    username: str
    what: str
    old: str
    new: str


def differences(username: str, old: Answer, new: Answer) -> Iterator[Difference]:
    """Compare what both have answered; what one of them does not know is no difference."""
    if old.login is None or new.login is None:
        return
    if old.login != new.login:
        yield Difference(username, "login", _login(old), _login(new))
        return
    if not old.login:
        return
    if old.steps != new.steps:
        yield Difference(username, "steps of the login", old.steps, new.steps)
    if (old.names is None) != (new.names is None):
        yield Difference(username, "listing of /", _listing(old), _listing(new))
    elif old.names is not None and new.names is not None:
        only_old = sorted(set(old.names) - set(new.names))
        only_new = sorted(set(new.names) - set(old.names))
        # Of a listing that was cut, a name that is missing may stand further on.
        if (only_old and not new.cut) or (only_new and not old.cut):
            yield Difference(username, "listing of /", _some(only_old), _some(only_new))
    for what, one, other in (
        ("make directories in", old.makes, new.makes),
        ("upload to", old.uploads, new.uploads),
    ):
        yield from _rights(username, what, one, other)


def _rights(
    username: str, what: str, old: Mapping[str, bool], new: Mapping[str, bool]
) -> Iterator[Difference]:
    for place in sorted(old.keys() & new.keys()):
        if old[place] != new[place]:
            yield Difference(username, f"{what} {place}", _word(old[place]), _word(new[place]))


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


def _login(answer: Answer) -> str:
    return _word(bool(answer.login)) + (f" ({answer.why})" if answer.why and not answer.login else "")


def _listing(answer: Answer) -> str:
    return answer.why if answer.names is None else f"{len(answer.names)} names"


def _some(names: list[str]) -> str:
    if not names:
        return "-"
    more = f" and {len(names) - MAX_TOLD} more" if len(names) > MAX_TOLD else ""
    return f"only here: {', '.join(names[:MAX_TOLD])}{more}"
