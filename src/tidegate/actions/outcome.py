# SPDX-License-Identifier: Apache-2.0
"""The end of an action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tidegate.errors import LoginRefused, ProviderError, StorageFailed, TidegateError

HELD: Final = "held"
"""The reason why no session of an account opens while its files move to other storage."""
MAX_TEXT: Final = 256
"""Characters of a hook's own text that a client is told."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """An end of an action.

    Attributes:
        error: why it failed, for operators; empty if it did not.
        again: another try may succeed.
        text: what the program or service said, for the client whose act is refused.
        reports: names and texts of files that say what it did.
        made: virtual path and size of a file that it made, for the actions after it.
    """

    error: str = ""
    again: bool = False
    text: str = ""
    made: tuple[str, int] | None = None
    reports: tuple[tuple[str, str], ...] = ()

    @property
    def ok(self) -> bool:
        """True if it did what it should."""
        return not self.error


DONE: Final = Outcome()


def first_line(said: bytes) -> str:
    """The first line of what a program or service said, as a client may see it."""
    text = said[: 4 * MAX_TEXT].decode("utf-8", "replace").strip()
    line = text.splitlines()[0] if text else ""
    return "".join(char for char in line[:MAX_TEXT] if char.isprintable())


def may_pass(error: TidegateError) -> bool:
    """True for an error that another try may not meet."""
    held = isinstance(error, LoginRefused) and error.reason == HELD
    return held or isinstance(error, (ProviderError, StorageFailed))


def reason_of(error: TidegateError) -> str:
    """The error for operators; of an account that gets no session, why."""
    return str(error) if isinstance(error, LoginRefused) else error.text
