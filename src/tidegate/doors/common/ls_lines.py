# SPDX-License-Identifier: Apache-2.0
"""Columns of ``ls -l`` that doors have in common."""

from __future__ import annotations

from typing import Final

from tidegate.model import Kind

_TYPE_LETTER: Final = {Kind.FILE: "-", Kind.DIRECTORY: "d", Kind.LINK: "l", Kind.OTHER: "p"}


def mode_letters(kind: Kind, mode: int) -> str:
    """The ten letters of ``ls -l``, for instance ``-rwxr-sr-t``."""
    letters = [_TYPE_LETTER[kind]]
    for shift, special, mark in ((6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")):
        bits = mode >> shift
        letters.append("r" if bits & 4 else "-")
        letters.append("w" if bits & 2 else "-")
        if mode & special:
            letters.append(mark if bits & 1 else mark.upper())
        else:
            letters.append("x" if bits & 1 else "-")
    return "".join(letters)
