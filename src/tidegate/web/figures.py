# SPDX-License-Identifier: Apache-2.0
"""Sizes and lengths of time in words."""

from __future__ import annotations

from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def size(number: float, *, rate: bool = False) -> str:
    """Bytes in powers of 1000, as disks are sold: 214 MB, 1.71 TB.

    Args:
        number: bytes, or bytes a second.
        rate: it is a speed.
    """
    value, unit = float(number), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.5 else 1 if value >= 9.95 else 2
    text = f"{value:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {_UNITS[unit]}{'/s' if rate else ''}"


def span(seconds: float) -> str:
    """A length of time by its largest unit: 40 s, 12 min, 3 h, 5 days."""
    whole = max(round(seconds), 0)
    for least, unit in ((172_800, 86_400), (7_200, 3_600), (120, 60)):
        if whole >= least:
            name = {86_400: "days", 3_600: "h", 60: "min"}[unit]
            return f"{whole // unit} {name}"
    return f"{whole} s"


def lasted(milliseconds: int) -> str:
    """A length of time in words, short ones exactly; empty if it is not known (less than 0)."""
    if milliseconds < 0:
        return ""
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s" if milliseconds < 60_000 else span(milliseconds / 1000)
