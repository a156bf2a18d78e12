# SPDX-License-Identifier: Apache-2.0
"""User metadata of objects: times, and digests of the content.

Times are decimal seconds since 1970 under ``mtime`` and ``atime``, as rclone and s3fs write them. A digest is
lower-case hex of the whole content under ``tidegate-`` and the name of the algorithm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tidegate.backends.objects.bucket import Stored
from tidegate.model import Entry, Kind

FILE_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o755
DIGEST_PREFIX: Final = "tidegate-"
WRITE_ID: Final = "tidegate-write"
"""Metadata of objects that were written under a condition: which write made them. Not shown."""
_SECONDS: Final = re.compile(r"(-?)(\d{1,11})(?:\.(\d{1,30}))?")


def seconds_text(ns: int) -> str:
    """Nanoseconds since 1970 as decimal seconds."""
    sign = "-" if ns < 0 else ""
    whole, part = divmod(abs(ns), 10**9)
    return f"{sign}{whole}.{part:09d}"


def nanoseconds(text: str) -> int | None:
    """Nanoseconds of decimal seconds; None if the text is something else."""
    match = _SECONDS.fullmatch(text.strip()) if len(text) < 64 else None
    if match is None:
        return None
    value = int(match[2]) * 10**9 + int((match[3] or "0")[:9].ljust(9, "0"))
    return -value if match[1] else value


def times_of(stored: Stored) -> tuple[int, int]:
    """Modification and access time, nanoseconds: those in the metadata, else when it was stored."""
    metadata = stored.metadata or {}
    mtime = nanoseconds(metadata.get("mtime", ""))
    if mtime is None:
        mtime = round(stored.modified * 1000) * 10**6
    atime = nanoseconds(metadata.get("atime", ""))
    return mtime, mtime if atime is None else atime


def with_times(
    metadata: Mapping[str, str] | None, mtime_ns: int | None, atime_ns: int | None
) -> dict[str, str]:
    """Metadata with these times; None leaves one as it is."""
    changed = dict(metadata or {})
    if mtime_ns is not None:
        changed["mtime"] = seconds_text(mtime_ns)
    if atime_ns is not None:
        changed["atime"] = seconds_text(atime_ns)
    return changed


def without_digests(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata for another content: what was said of the old one is left out."""
    return {name: value for name, value in (metadata or {}).items() if not name.startswith(DIGEST_PREFIX)}


def digest_in(stored: Stored, algorithm: str) -> bytes | None:
    """The digest of the whole content, if it is known."""
    text = (stored.metadata or {}).get(DIGEST_PREFIX + algorithm) or stored.sums.get(algorithm, "")
    try:
        return bytes.fromhex(text) or None
    except ValueError:
        return None


def file_entry(name: str, stored: Stored) -> Entry:
    """A file as clients see it."""
    mtime, atime = times_of(stored)
    return Entry(name, Kind.FILE, stored.size, FILE_MODE, mtime_ns=mtime, atime_ns=atime)


def directory_entry(name: str, marker: Stored | None) -> Entry:
    """A directory as clients see it; its times are those of its marker, else 0."""
    mtime, atime = (0, 0) if marker is None else times_of(marker)
    return Entry(name, Kind.DIRECTORY, 0, DIRECTORY_MODE, mtime_ns=mtime, atime_ns=atime)


def without_write_id(stored: Stored) -> Stored:
    """The object as others than its store see it."""
    kept = {name: value for name, value in (stored.metadata or {}).items() if name != WRITE_ID}
    return replace(stored, metadata=kept)
