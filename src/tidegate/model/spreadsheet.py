# SPDX-License-Identifier: Apache-2.0
"""Cells of tables that spreadsheets open."""

from __future__ import annotations

from typing import Final

FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of what spreadsheets take for a formula, the wide forms of East Asia among them."""


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula; names come from outside."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULAS) else text


def escape_cell(text: str) -> str:
    """As `cell`, but reversible: `unescape_cell` gives the same text again."""
    return f"'{text}" if _quoted_formula(text) else text


def unescape_cell(text: str) -> str:
    """The text that `escape_cell` was given; a text that it cannot have made stays as it is."""
    return text[1:] if text.startswith("'") and _quoted_formula(text[1:]) else text


def _quoted_formula(text: str) -> bool:
    return cell(bare := text.lstrip("'")) != bare
