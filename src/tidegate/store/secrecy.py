# SPDX-License-Identifier: Apache-2.0
"""Hides secrets of a kept foreign document, and keeps the hidden parts through an update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tidegate.model.secret_names import is_hidden

OUTER: Final = "_record"
"""Key in `extra` that holds foreign keys of the record itself, as against those of its filters."""


def without_secrets(document: dict[str, Any]) -> dict[str, Any]:
    """A copy without any value whose name says that it may be secret."""
    shown: dict[str, Any] = {}
    for key, value in document.items():
        if is_hidden(key):
            continue
        if isinstance(value, dict):
            value = without_secrets(value)
        elif isinstance(value, list):
            value = [without_secrets(item) if isinstance(item, dict) else item for item in value]
        shown[key] = value
    return shown


def keep_hidden(
    given: dict[str, Any], stored: dict[str, Any], hides: Callable[[str], bool] = is_hidden
) -> dict[str, Any]:
    """The document after an update: the given values, and the stored ones for hidden names it does not give.

    A document that was read without its secrets and is written back thereby loses none of them.
    """
    kept = dict(given)
    for key, value in stored.items():
        if hides(key):
            kept.setdefault(key, value)
        elif isinstance(value, dict) and isinstance(kept.get(key), dict):
            kept[key] = keep_hidden(kept[key], value, hides)
    return kept
