# SPDX-License-Identifier: Apache-2.0
"""Sizes and times as people type them into forms and tables, and the texts that forms show for them.

Reading what a form shows gives the value again, exactly.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_SIZE: Final = re.compile(r"([0-9][0-9,_ ]*)(?:\.([0-9]{1,6}))?\s*([kmgtpe]?)(i?)b?", re.IGNORECASE)
_POWERS: Final = " kmgtpe"
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
MAX_SIZE: Final = 2**63 - 1
_LAST: Final = 253_402_214_400_000
"""The end of the last day but one of the year 9999: the next end of a day is none of `datetime`."""
_DAY: Final = "%Y-%m-%d"
_MINUTE: Final = "%Y-%m-%d %H:%M"
_SECOND: Final = "%Y-%m-%d %H:%M:%S"


def read_size(text: str) -> int:
    """Bytes of ``400 GB``, ``1.5TiB`` or ``4096``; powers of 1000, with an ``i`` of 1024. Empty is 0.

    Raises:
        ValueError: it is no size.
    """
    if not text.strip():
        return 0
    found = _SIZE.fullmatch(text.strip())
    if found is None or len(text) > 40:
        raise ValueError("is no size; type for instance 400 GB, 1.5 TB, 512 MiB or a number of bytes")
    whole, part, prefix, binary = found.groups()
    base: int = (1024 if binary else 1000) ** _POWERS.index(prefix.lower() or " ")
    digits = re.sub(r"[,_ ]", "", whole)
    size = int(digits) * base + (int(part) * base // 10 ** len(part) if part else 0)
    if size > MAX_SIZE:
        raise ValueError("is more than can be counted")
    return size


def size_text(size: int) -> str:
    """The largest unit in which a size is a whole number; empty for 0."""
    if size <= 0:
        return "" if size == 0 else str(size)
    power = 0
    while power < len(_UNITS) - 1 and size % 1000 ** (power + 1) == 0:
        power += 1
    return f"{size // 1000**power} {_UNITS[power]}"


def read_end(text: str) -> int:
    """Unix milliseconds of the end of a day (``2027-03-31``) or of a time (``2027-03-31 12:30``); empty is 0.

    Raises:
        ValueError: it is no date.
    """
    wanted = text.strip()
    if not wanted:
        return 0
    for form in (_DAY, _MINUTE, _SECOND):
        try:
            at = datetime.strptime(wanted, form).replace(tzinfo=UTC)
            end = at + timedelta(days=1) if form == _DAY else at
        except (ValueError, OverflowError):
            continue
        return int(end.timestamp() * 1000)
    raise ValueError("is no date; type for instance 2027-03-31, or 2027-03-31 12:30 (UTC)")


def end_text(milliseconds: int) -> str:
    """The text that `read_end` reads; a time of day only where it is not the end of a day.

    What lies beyond the calendar (REST takes it) is the last day that can be typed.
    """
    if milliseconds <= 0:
        return ""
    if milliseconds >= _LAST:
        return "9999-12-30"
    at = datetime.fromtimestamp(milliseconds / 1000, UTC).replace(microsecond=0)
    if (at.hour, at.minute, at.second) == (0, 0, 0):
        return (at - timedelta(days=1)).strftime(_DAY)
    return at.strftime(_MINUTE if not at.second else _SECOND)
