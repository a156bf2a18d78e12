# SPDX-License-Identifier: Apache-2.0
"""Hours of access: weekly windows in which logging in is allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from tidegate.model import TimeWindow

DAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
"""By `TimeWindow.day_of_week`."""

_CLOCK: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parse_clock(text: str) -> int | None:
    """Minutes since midnight of ``HH:MM``, None if `text` is not of that form."""
    found = _CLOCK.fullmatch(text)
    return int(found[1]) * 60 + int(found[2]) if found else None


def local_time(now_ms: int, tz: tzinfo = UTC) -> datetime | None:
    """Unix milliseconds as time of day in `tz`; None outside the years a datetime knows."""
    try:
        return (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(tz)
    except (OverflowError, ValueError):
        return None


def open_window(windows: Sequence[TimeWindow], now_ms: int, tz: tzinfo = UTC) -> int | None:
    """Index of the first window that holds a moment; None if none does.

    The minute `to` belongs to the window. A window whose `to` is before its `from` goes on past midnight
    into the next day. A window that cannot be read holds nothing.
    """
    moment = local_time(now_ms, tz)
    if moment is None:
        return None
    today = (moment.weekday() + 1) % 7
    minute = moment.hour * 60 + moment.minute
    for index, window in enumerate(windows):
        start, end = parse_clock(window.from_), parse_clock(window.to)
        if start is None or end is None:
            continue
        if start <= end:
            if today == window.day_of_week and start <= minute <= end:
                return index
        elif (today == window.day_of_week and minute >= start) or (
            today == (window.day_of_week + 1) % 7 and minute <= end
        ):
            return index
    return None


def describe(window: TimeWindow) -> str:
    """For instance ``Monday 08:00-17:30``."""
    day = DAYS[window.day_of_week] if 0 <= window.day_of_week < len(DAYS) else f"day {window.day_of_week}"
    return f"{day} {window.from_}-{window.to}"
