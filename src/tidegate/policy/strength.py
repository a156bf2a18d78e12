# SPDX-License-Identifier: Apache-2.0
"""Estimates in bits how hard a password is to guess.

entropy = effective length * log2(size of the alphabet), where

* the alphabet is the sum of the classes that occur: 26 lower, 26 upper, 10 digits, 33 other printable
  ASCII, 128 for anything beyond ASCII;
* a character adds to the effective length only if it is not foreseeable: the third and later of a run of
  equal characters, and the third and later of a run up or down (``abc``, ``321``) or along a keyboard row
  (``qwe``) add nothing; a password that is one shorter piece repeated counts that piece once.

It is a floor against careless choices, not a proof of strength: a word list is not asked.
"""

from __future__ import annotations

import itertools
import math
from typing import Final

MAX_LENGTH: Final = 1024
"""Characters looked at; what follows adds nothing."""

_ROWS: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm", "1234567890")
_NEXT: Final = frozenset(
    pair for row in _ROWS for text in (row, row[::-1]) for pair in itertools.pairwise(text)
)
_BEYOND_ASCII: Final = 128
_OTHER_PRINTABLE: Final = 33


def alphabet(password: str) -> int:
    """Size of the alphabet a password seems to be drawn from."""
    size = 0
    if any("a" <= c <= "z" for c in password):
        size += 26
    if any("A" <= c <= "Z" for c in password):
        size += 26
    if any("0" <= c <= "9" for c in password):
        size += 10
    if any(c.isascii() and not c.isalnum() for c in password):
        size += _OTHER_PRINTABLE
    if not password.isascii():
        size += _BEYOND_ASCII
    return size


def effective_length(password: str) -> int:
    """Characters of a password that cannot be foreseen from those before."""
    folded = _unit(password.lower())
    length = 0
    for index, char in enumerate(folded):
        if index < 2:
            length += 1
            continue
        before, middle = folded[index - 2], folded[index - 1]
        step = ord(middle) - ord(before)
        run = step in (-1, 0, 1) and ord(char) - ord(middle) == step
        keyboard = (before, middle) in _NEXT and (middle, char) in _NEXT
        length += not (run or keyboard)
    return length


def entropy_bits(password: str) -> float:
    """The estimate in bits, 0.0 for an empty password."""
    password = password[:MAX_LENGTH]
    if not password:
        return 0.0
    return effective_length(password) * math.log2(max(2, alphabet(password)))


def weakness(password: str, least_bits: float) -> str | None:
    """The fault of a new password, to follow its name in a sentence; None if it is strong enough.

    Args:
        password: in plain.
        least_bits: entropy it needs; 0 asks for none.
    """
    if least_bits and (bits := entropy_bits(password)) < least_bits:
        return f"is too weak: {bits:.0f} bits, {least_bits:.0f} are needed"
    return None


def _unit(text: str) -> str:
    """The shortest piece of which `text` is a whole repetition; `text` itself if there is none."""
    period = (text + text).find(text, 1)
    return text[:period] if 0 < period < len(text) else text
