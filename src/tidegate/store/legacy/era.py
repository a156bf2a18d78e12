# SPDX-License-Identifier: Apache-2.0
"""The era of a dump: the same words meant different things in different releases of SFTPGo.

A dump carries a format number, `version`, from 2.0 on. One number may stand for releases that differ; then
the stricter reading is taken, unless the operator names the release.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tidegate.errors import BadRecord

NEWEST: Final = 17
"""The highest format number that is known, of 2.6 and 2.7."""

_IP_ALLOWED_FIRST: Final = (2, 4)
_DIRECTORIES: Final = (2, 3)
_ALLOWED_FIRST: Final = (2, 5, 2)
_KEYBOARD: Final = (2, 5)
_STARS: Final = (2, 6)
_PLAIN_STARS: Final = (1, 0)


@dataclass(frozen=True, slots=True)
class Era:
    """The meaning of words in one dump.

    Attributes:
        label: for sentences, for instance ``2.4`` or ``format 16``.
        denied_first: denied file patterns are asked before allowed ones.
        order_in_doubt: `denied_first` is the stricter of two possible readings.
        directories: file patterns speak of directories too.
        ip_denied_first: denied networks are asked before allowed ones.
        keyboard: keyboard-interactive logins were answered with the password, without a hook.
        stars: ``*`` in the path of a permission: ``pattern``, ``text``, or ``doubt``.
        newer: the dump is of a release that is not known.
    """

    label: str
    denied_first: bool
    order_in_doubt: bool
    directories: bool
    ip_denied_first: bool
    keyboard: bool
    stars: str
    newer: bool = False


def era_of(version: int | None, release: str = "") -> Era:
    """The era by the dump's format number, or by the release that the operator names.

    Args:
        version: `version` of the dump; None if it has none (0.9 and 1.x).
        release: for instance ``2.5.1``; empty to go by the number.

    Raises:
        BadRecord: `release` is none.
    """
    if release:
        return _of_release(parse_release(release), release)
    number = version or 0
    return Era(
        label=f"format {number}" if number else "0.9 or 1.x",
        denied_first=number < 17,
        order_in_doubt=number == 16,
        directories=number > 10,
        ip_denied_first=number < 13,
        keyboard=number > 13,
        stars="pattern" if number > 16 else "doubt" if number else "text",
        newer=number > NEWEST,
    )


def parse_release(text: str) -> tuple[int, ...]:
    """The numbers of a release.

    Raises:
        BadRecord: none, or older than 0.9.
    """
    found = re.fullmatch(r"v?(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?", text.strip())
    numbers = tuple(int(part) for part in found.groups() if part) if found else ()
    if not found or numbers < (0, 9) or numbers >= (3,):
        raise BadRecord("from_version", f"{text[:20]!r} is not a release of SFTPGo such as 2.5.1")
    return numbers


def _of_release(numbers: tuple[int, ...], label: str) -> Era:
    return Era(
        label=label,
        denied_first=numbers < _ALLOWED_FIRST,
        order_in_doubt=False,
        directories=numbers >= _DIRECTORIES,
        ip_denied_first=numbers < _IP_ALLOWED_FIRST,
        keyboard=numbers >= _KEYBOARD,
        stars="pattern" if numbers >= _STARS else "text" if numbers < _PLAIN_STARS else "doubt",
        newer=numbers > (2, 7, 999),
    )
