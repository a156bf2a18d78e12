# SPDX-License-Identifier: Apache-2.0
"""Values of labels: bounded in number, and free of names and paths of users."""

from __future__ import annotations

import re
from typing import Final

MAX_VALUES: Final = 200
"""Values of one label; further ones become `OTHER`."""
OTHER: Final = "other"

_WORD: Final = re.compile(r"[A-Za-z0-9_.+-]{1,64}")


def rule_word(rule: str) -> str:
    """The name of a rule without what stands in brackets or after a blank: there are paths and names.

    ``permissions["/private"]`` becomes ``permissions``.
    """
    found = _WORD.match(rule)
    return found.group() if found else OTHER


class Words:
    """The values of one label, of which there are at most `MAX_VALUES`."""

    __slots__ = ("_known", "_words")

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        """Texts that came before; many have one word."""
        self._words: set[str] = set()

    def of(self, text: str) -> str:
        """The value for a text: its word, or `OTHER` if there are too many."""
        known = self._known.get(text)
        if known is None:
            known = rule_word(text)
            if known not in self._words:
                if len(self._words) >= MAX_VALUES:
                    return OTHER
                self._words.add(known)
            if len(self._known) < MAX_VALUES:
                self._known[text] = known
        return known
