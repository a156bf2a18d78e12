# SPDX-License-Identifier: Apache-2.0
"""Measures how deep JSON text is nested, before a parser sees it.

Parsers of different Python versions give up at different depths and in different words; some end the process.
"""

from __future__ import annotations

import re
from typing import Final

_MARKS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def deeper_than(text: str, levels: int) -> bool:
    """True if lists and objects are nested deeper than `levels`; true of broken text only if it surely is."""
    depth = 0
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign in "[{":
            depth += 1
            if depth > levels:
                return True
        elif sign in "]}":
            depth -= 1
    return False
