# SPDX-License-Identifier: Apache-2.0
"""Keys and metadata as Azure Blob takes them, and back.

The service takes a backslash for a slash, drops full stops at the end of a part of a path, resolves ``.`` and
``..``, and refuses control characters. Such characters are written as other ones that look like them, in the
way in which rclone does it for this service (rclone's overview, "Encoding"): U+2400 and following for control
characters, U+2421 for DEL, U+FF3C for a backslash, U+FF0E for a full stop at the end of a part. A character
that would be taken for one of those has U+201B before it, and so has U+201B where it would be taken for that.

Names of metadata are C# identifiers ("Naming and referencing containers, blobs, and metadata" in the REST
reference), so ``-`` is written as ``_``, and a name that begins with no letter has ``_`` before it. Times are
written as rclone does: RFC 3339 in UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from tidegate.backends.objects.keys import checked
from tidegate.backends.objects.metadata import seconds_text
from tidegate.errors import InvalidPath

KEY_CHARACTERS: Final = 1024
"""Longest name of a blob."""
_QUOTE: Final = "\u201b"
_OTHERS: Final = {**{chr(code): chr(0x2400 + code) for code in range(32)}, "\x7f": "\u2421", "\\": "\uff3c"}
_PLAIN: Final = {other: char for char, other in _OTHERS.items()}
_FULL_STOP: Final = "\uff0e"
_TO_WRITE: Final = re.compile(
    f"[{re.escape(''.join(_OTHERS))}{''.join(_PLAIN)}{_QUOTE}]|[.{_FULL_STOP}](?=/|$)"
)
_TO_READ: Final = re.compile(
    f"{_QUOTE}({_QUOTE}|[{''.join(_PLAIN)}]|{_FULL_STOP}(?=/|$))|[{''.join(_PLAIN)}]|{_FULL_STOP}(?=/|$)"
)
_PART_END: Final = re.compile(f"[.{_FULL_STOP}]$")
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_CANONICAL: Final = re.compile(r"(-?)(\d{1,11})\.(\d{9})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIMES: Final = ("mtime", "atime")


def written_key(key: str) -> str:
    """The name of the blob of a key.

    Raises:
        InvalidPath: it is empty, too long or not UTF-8.
    """
    written = _TO_WRITE.sub(_write(key), checked(key))
    if len(written) > KEY_CHARACTERS:
        raise InvalidPath("path too long for this storage")
    return written


def written_prefix(prefix: str) -> str:
    """The beginning of the names of all blobs whose keys begin with `prefix`; empty for an empty one."""
    end = _PART_END.search(prefix)  # not the end of a part, as far as is known
    whole = prefix[: end.start()] if end else prefix
    return _TO_WRITE.sub(_write(whole), whole) + (end[0] if end else "") if prefix else ""


def read_key(name: str) -> str:
    """The key of a blob's name."""
    return _TO_READ.sub(_read, name)


def written_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Headers that say these metadata."""
    return {
        f"x-ms-meta-{written_name(name)}": _written_time(value) if name in TIMES else value
        for name, value in metadata.items()
    }


def read_metadata(pairs: Mapping[str, str]) -> dict[str, str]:
    """Metadata of names and values as the service has them."""
    found = {read_name(name): value for name, value in pairs.items()}
    for name in TIMES:
        if name in found:
            found[name] = _read_time(found[name])
    return found


def written_name(name: str) -> str:
    """The identifier of a name of metadata."""
    written = name.replace("-", "_")
    return written if written[:1].isalpha() else f"_{written}"


def read_name(identifier: str) -> str:
    """The name of metadata that an identifier stands for, in lower case."""
    return identifier.lower().removeprefix("_").replace("_", "-")


def _write(key: str) -> Callable[[re.Match[str]], str]:
    def write(match: re.Match[str]) -> str:
        char = match[0]
        if char == _QUOTE:
            return _QUOTE * 2 if _TO_WRITE.match(key, match.end()) else char
        if char == ".":
            return _FULL_STOP
        return _OTHERS.get(char) or _QUOTE + char

    return write


def _read(match: re.Match[str]) -> str:
    if match[1]:
        return match[1]
    return "." if match[0] == _FULL_STOP else _PLAIN[match[0]]


def _written_time(text: str) -> str:
    """RFC 3339 of decimal seconds, if those come back as they were; else the text itself."""
    match = _CANONICAL.fullmatch(text)
    if match is None:
        return text
    whole, nanos = int(match[2]), int(match[3])
    if match[1]:
        whole, nanos = (-whole - 1, 10**9 - nanos) if nanos else (-whole, 0)
    try:
        moment = _EPOCH + timedelta(seconds=whole)
    except OverflowError:
        return text
    written = f"{moment.replace(tzinfo=None).isoformat()}.{nanos:09d}Z"
    return written if _read_time(written) == text else text


def _read_time(text: str) -> str:
    """Decimal seconds of RFC 3339; other text as it is."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return text
    try:
        moment = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
        if match[3]:
            off = timedelta(hours=int(match[4]), minutes=int(match[5]))
            moment -= off if match[3] == "+" else -off
    except (ValueError, OverflowError):
        return text
    whole = (moment - _EPOCH) // timedelta(seconds=1)
    total = whole * 10**9 + int((match[2] or "0").ljust(9, "0"))
    return seconds_text(total)
