# SPDX-License-Identifier: Apache-2.0
"""User names as they arrive, made comparable."""

from __future__ import annotations

from typing import Final

from tidegate.store.validate import Rules, can_be_stored, fold_name

DEFAULT_NAMING_RULES: Final = 1
"""Bits: 2 lower-cases names, 4 trims them, as `tidegate.store.validate` does for stored ones."""

MAX_TYPED_CHARS: Final = 1024
"""Longest name that is looked at, before trimming."""


def normalise_username(raw: str, naming_rules: int = DEFAULT_NAMING_RULES) -> str | None:
    """The name to look up, or None if nobody can be called that.

    Impossible names are empty, too long, not Unicode, or hold control characters (which would also forge
    log lines). Telling them apart at once reveals nothing about who exists.
    """
    if len(raw) > MAX_TYPED_CHARS:
        return None
    name = fold_name(raw, Rules(naming_rules=naming_rules))
    return name if can_be_stored(name) and name.isprintable() else None
