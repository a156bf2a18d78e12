# SPDX-License-Identifier: Apache-2.0
"""Ranges of bytes: Range (RFC 9110 section 14.2), and X-Update-Range of SabreDAV's partial updates."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

MAX_RANGES: Final = 16
"""Ranges of one request; more are answered with the whole (RFC 9110 section 14.2 allows that)."""

_ONE: Final = re.compile(r"\s*([0-9]{0,19})\s*-\s*([0-9]{0,19})\s*\Z", re.ASCII)


class NotSatisfiable(ValueError):
    """No range lies in the content."""


def byte_ranges(value: str, size: int) -> list[tuple[int, int]]:
    """First byte and byte behind the last of each range that lies in `size` bytes, in the order asked for.

    An unreadable header, another unit, or too many ranges give an empty list: the whole is meant then.

    Raises:
        NotSatisfiable: it is readable, and none lies in the content.
    """
    unit, equals, rest = value.partition("=")
    parts = rest.split(",")
    if not equals or unit.strip().lower() != "bytes" or len(parts) > MAX_RANGES:
        return []
    found: list[tuple[int, int]] = []
    for part in parts:
        match = _ONE.match(part)
        if match is None or not (match[1] or match[2]):
            return []
        if not match[1]:
            first, end = max(0, size - int(match[2])), size
            if not int(match[2]):
                continue
        else:
            first = int(match[1])
            end = min(int(match[2]) + 1, size) if match[2] else size
            if match[2] and int(match[2]) < first:
                return []
        if first < end:
            found.append((first, end))
    if not found:
        raise NotSatisfiable(value)
    # Ranges that overlap would have the same bytes sent many times over.
    ordered = sorted(found)
    if any(one[1] > two[0] for one, two in pairwise(ordered)):
        return []
    return found


def update_range(value: str) -> tuple[int | None, int | None] | None:
    """First byte and byte behind the last of X-Update-Range; (None, None) for ``append``, None if unreadable.

    ``bytes=5-``, ``bytes=5-9`` and ``bytes=-5``, which counts from the end: (-5, None).
    """
    word = value.strip().lower()
    if word == "append":
        return None, None
    unit, _, rest = word.partition("=")
    match = _ONE.match(rest)
    if unit != "bytes" or match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        return -int(match[2]), None
    if match[2] and int(match[2]) < int(match[1]):
        return None
    return int(match[1]), int(match[2]) + 1 if match[2] else None
