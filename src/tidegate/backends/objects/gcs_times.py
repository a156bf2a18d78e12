# SPDX-License-Identifier: Apache-2.0
"""Modification times in metadata of Google Cloud Storage, as rclone and gsutil write and read them.

rclone keeps RFC 3339 under ``mtime``, gsutil whole seconds since 1970 under ``goog-reserved-file-mtime``;
both are written. The port has decimal seconds under ``mtime`` (`metadata`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from tidegate.backends.objects.metadata import nanoseconds, seconds_text

MTIME: Final = "mtime"
GSUTIL: Final = "goog-reserved-file-mtime"
_FRACTION: Final = re.compile(r"\.(\d{1,30})")


def for_service(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata of the port as they are stored; a time in another form than ours stays as it is."""
    found = dict(metadata)
    ns = nanoseconds(found.get(MTIME, ""))
    if ns is None or seconds_text(ns) != found[MTIME]:
        return found
    seconds, rest = divmod(ns, 10**9)
    found[GSUTIL] = str(seconds)
    try:
        moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return found  # no year of four digits: it stays as it is
    found[MTIME] = f"{moment.isoformat()}.{rest:09d}Z"
    return found


def for_port(metadata: Mapping[str, str]) -> dict[str, str]:
    """Stored metadata as the port has them."""
    found = dict(metadata)
    whole = nanoseconds(found.pop(GSUTIL, ""))
    if nanoseconds(found.get(MTIME, "")) is not None:
        return found
    ns = _rfc3339(found.get(MTIME, ""))
    ns = whole if ns is None else ns
    if ns is not None:
        found[MTIME] = seconds_text(ns)
    return found


def _rfc3339(text: str) -> int | None:
    """Nanoseconds since 1970; None if the text is something else."""
    fraction = _FRACTION.search(text) if len(text) < 64 else None
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text, count=1))
    except ValueError:
        return None
    if "T" not in text.upper() or moment.tzinfo is None:
        return None
    rest = int(fraction[1][:9].ljust(9, "0")) if fraction else 0
    return round(moment.timestamp()) * 10**9 + rest
