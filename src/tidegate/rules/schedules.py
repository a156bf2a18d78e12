# SPDX-License-Identifier: Apache-2.0
"""Schedules of event rules: fields as in cron, checked, and made into what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidegate.rules.reading import Document, Reader

_CRON: Final = (("hour", 0, 23), ("day_of_month", 1, 31), ("month", 1, 12), ("day_of_week", 0, 7))


def schedule(read: Reader) -> Document:
    """One schedule of a rule."""
    found: Document = {}
    for key, low, high in _CRON:
        text = read.text(key, limit=100, default="*") or "*"
        if (problem := _cron_problem(text, low, high)) is not None:
            raise read.bad(key, f"{text!r} {problem}")
        found[key] = text
    minute = read.text("minute", limit=100)
    if minute:
        if (problem := _cron_problem(minute, 0, 59)) is not None:
            raise read.bad("minute", f"{minute!r} {problem}")
        found["minute"] = minute
    return found


def _cron_problem(text: str, low: int, high: int) -> str | None:
    """The fault of a field of a schedule; names of months and days are not known here."""
    for part in text.split(","):
        span, slash, step = part.partition("/")
        if slash and not (step.isascii() and step.isdigit() and int(step)):
            return "has a step that is no number"
        ends = [str(low), str(high)] if span == "*" else span.split("-")
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() for end in ends):
            return "is no field of a schedule: *, numbers, a-b, lists, /steps"
        numbers = [int(end) for end in ends]
        if not all(low <= number <= high for number in numbers) or numbers != sorted(numbers):
            return f"is out of {low} to {high}"
    return None


def cron_of(schedule: Mapping[str, str]) -> str:
    """The five fields of a schedule; without a minute it is the full hour, as in SFTPGo."""
    day = schedule["day_of_week"]
    # A step that begins at a number ("0/6") goes to the end of the range.
    fields = [
        _spelt(schedule.get("minute", "0"), 59),
        _spelt(schedule["hour"], 23),
        _spelt(schedule["day_of_month"], 31),
        _spelt(schedule["month"], 12),
        _spelt(day, 7 if "7" in day else 6),
    ]
    return " ".join(fields)


def _spelt(field: str, high: int) -> str:
    parts = []
    for part in field.split(","):
        span, slash, step = part.partition("/")
        parts.append(f"{span}-{high}/{step}" if slash and span.isdigit() else part)
    return ",".join(parts)
