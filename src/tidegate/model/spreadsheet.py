# SPDX-License-Identifier: Apache-2.0
"""Cells of tables that spreadsheets open."""

from __future__ import annotations

from typing import Final

FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of what spreadsheets take for a formula, the wide forms of East Asia among them."""


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula; names come from outside."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULAS) else text
