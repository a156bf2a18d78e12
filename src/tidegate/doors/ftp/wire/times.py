# SPDX-License-Identifier: Apache-2.0
"""Time values: ``YYYYMMDDHHMMSS`` with an optional fraction, in UTC (RFC 3659 section 2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

_VALUE: Final = re.compile(r"([0-9]{14})(?:\.([0-9]{1,9}))?", re.ASCII)
_SHORT: Final = re.compile(r"[0-9]{12}", re.ASCII)
NS: Final = 1_000_000_000
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)


def format_time(time_ns: int) -> str:
    """Nanoseconds since 1970 as a time value, in whole seconds; years that it cannot hold are 1970."""
    try:
        when = datetime.fromtimestamp(time_ns // NS, UTC)
    except (OverflowError, OSError, ValueError):
        when = _FIRST
    # strftime and strptime cost ten times as much, and lftp sets the time of each file that it sends.
    day = f"{when.year:04d}{when.month:02d}{when.day:02d}"
    return f"{day}{when.hour:02d}{when.minute:02d}{when.second:02d}"


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of a time value; seconds may be left out.

    Raises:
        ValueError: it is none, or before 1970.
    """
    match = _VALUE.fullmatch(text + "00" if _SHORT.fullmatch(text) else text)
    if match is None:
        raise ValueError("expected YYYYMMDDHHMMSS")
    seconds = match[1]
    leap = seconds.endswith("60")
    text = seconds[:-2] + "59" if leap else seconds
    when = datetime.fromisoformat(f"{text[:8]}T{text[8:]}+00:00")
    found = round((when - _FIRST).total_seconds()) + leap
    if found < 0:
        raise ValueError("times begin in 1970")
    return found * NS + int((match[2] or "").ljust(9, "0"))


def time_and_path(argument: str) -> tuple[int, str]:
    """A time value, a space and a path: MFMT, MFCT, and the old use of MDTM.

    Raises:
        ValueError: it does not begin with a time value, or names nothing.
    """
    text, _, path = argument.partition(" ")
    found = parse_time(text)
    if not path:
        raise ValueError("expected a time and a path")
    return found, path
