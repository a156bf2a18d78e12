# SPDX-License-Identifier: Apache-2.0
"""User names as they arrive, made comparable."""

from __future__ import annotations

from typing import Final

MAX_USERNAME_CHARS: Final = 255
"""Longest user name; what the SQL providers can store."""

LOWER_CASE: Final = 2
"""Bit of `naming_rules`: names are compared in lower case."""
TRIM: Final = 4
"""Bit of `naming_rules`: blanks around a name do not count."""
DEFAULT_NAMING_RULES: Final = 5


def normalise_username(raw: str, naming_rules: int = DEFAULT_NAMING_RULES) -> str | None:
    """The name to look up, or None if nobody can be called that.

    Impossible names are empty, too long, not Unicode, or hold control characters. Telling them apart at once
    reveals nothing about who exists.
    """
    if len(raw) > MAX_USERNAME_CHARS:
        return None
    name = raw.strip() if naming_rules & TRIM else raw
    name = name.lower() if naming_rules & LOWER_CASE else name
    if not name or len(name) > MAX_USERNAME_CHARS:
        return None
    # C0, DEL, C1; line and paragraph separators; lone surrogates (bytes that were not UTF-8).
    if any(
        char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029" or "\ud800" <= char <= "\udfff"
        for char in name
    ):
        return None
    return name
