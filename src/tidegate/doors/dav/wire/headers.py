# SPDX-License-Identifier: Apache-2.0
"""Headers of WebDAV: Depth, Overwrite, Timeout, Lock-Token, and dates, tags and credentials of HTTP."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

INFINITY: Final = "infinity"

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SECONDS: Final = re.compile(r"second-([0-9]{1,10})\Z", re.ASCII | re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?\Z", re.ASCII)
_TAG: Final = re.compile(r'\s*(?:(W/)?"([\x21\x23-\x7e\x80-\xff]*)")\s*(?:,|\Z)')
MAX_TAGS: Final = 100
MAX_CREDENTIALS: Final = 8192


class BadHeader(ValueError):
    """A header cannot be read; the text names it and says what was expected."""


def depth(value: str | None, default: str) -> str:
    """The value of Depth: ``0``, ``1`` or ``infinity``.

    Raises:
        BadHeader: it is none of them.
    """
    if value is None:
        return default
    word = value.strip().lower()
    if word not in ("0", "1", INFINITY):
        raise BadHeader("Depth: expected 0, 1 or infinity")
    return word


def overwrite(value: str | None) -> bool:
    """The value of Overwrite, True unless it is F (RFC 4918 section 10.6).

    Raises:
        BadHeader: it is neither T nor F.
    """
    word = "T" if value is None else value.strip().upper()
    if word not in ("T", "F"):
        raise BadHeader("Overwrite: expected T or F")
    return word == "T"


def timeout(value: str | None, default: float, most: float) -> float:
    """Seconds that a lock is to last: the first time of Timeout, at most `most`; `default` without one."""
    for word in (value or "").split(","):
        text = word.strip()
        if text.lower() == "infinite":
            return most
        if match := _SECONDS.match(text):
            return float(min(max(int(match[1]), 1), most))
    return min(default, most)


def lock_token(value: str | None) -> str:
    """The token of Lock-Token, without the angle brackets that some clients leave out.

    Raises:
        BadHeader: there is none.
    """
    token = (value or "").strip().removeprefix("<").removesuffix(">").strip()
    if not token or any(char.isspace() or char in "<>" for char in token):
        raise BadHeader("Lock-Token: expected <token>")
    return token


def tags(name: str, value: str) -> list[tuple[bool, str]]:
    """The tags of If-Match or If-None-Match as pairs of weak and opaque text; empty for ``*``.

    Raises:
        BadHeader: it cannot be read.
    """
    if value.strip() == "*":
        return []
    found: list[tuple[bool, str]] = []
    position = 0
    while position < len(value):
        match = _TAG.match(value, position)
        if match is None or len(found) >= MAX_TAGS:
            raise BadHeader(f'{name}: expected entity tags in quotes, or "*"')
        found.append((match[1] is not None, match[2]))
        position = match.end()
    if not found:
        raise BadHeader(f"{name}: expected entity tags")
    return found


def _utc(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):  # a time that no calendar has
        return datetime.fromtimestamp(0, UTC)


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """A time as RFC 9110 section 5.6.7 writes it.

    Args:
        seconds: since the epoch.
    """
    t = _utc(seconds)
    return (
        f"{_DAYS[t.weekday()]}, {t.day:02} {_MONTHS[t.month - 1]} {t.year:04} "
        f"{t.hour:02}:{t.minute:02}:{t.second:02} GMT"
    )


@lru_cache(maxsize=1024)
def iso_date(seconds: int) -> str:
    """A time as RFC 3339 writes it, for ``creationdate``."""
    t = _utc(seconds)
    return f"{t.year:04}-{t.month:02}-{t.day:02}T{t.hour:02}:{t.minute:02}:{t.second:02}Z"


def parse_http_date(value: str) -> int | None:
    """Seconds since the epoch of a date of HTTP; None if it cannot be read."""
    try:
        when = parsedate_to_datetime(value.strip())
        return int(when.timestamp()) if when.tzinfo is not None else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def unix_time_ns(value: str) -> int | None:
    """Nanoseconds since the epoch of a number of seconds, as X-OC-Mtime has it; None if it is none."""
    text = value.strip()
    if not _NUMBER.match(text):
        return None
    whole, _, part = text.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 1_000_000_000 + sign * int((part + "0" * 9)[:9] or 0)


def basic(value: str) -> tuple[str, str] | None:
    """User name and password of Basic credentials (RFC 7617); None if they are of another kind or no text."""
    scheme, _, rest = value.partition(" ")
    if scheme.lower() != "basic" or len(rest) > MAX_CREDENTIALS:
        return None
    try:
        data = base64.b64decode(rest.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = data.partition(b":")
    if not colon:
        return None
    try:
        return name.decode(), password.decode()
    except UnicodeDecodeError:  # old clients of Windows send their code page
        return name.decode("latin-1"), password.decode("latin-1")
