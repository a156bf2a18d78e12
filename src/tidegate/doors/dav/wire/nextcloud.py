# SPDX-License-Identifier: Apache-2.0
"""Addresses of Nextcloud and ownCloud: the tree of a user, and uploads in parts beside it.

``/remote.php/dav/files/USER/...`` and ``/remote.php/webdav/...`` are the tree. An upload in parts (chunked
upload of Nextcloud, version 2, and version 1 as rclone speaks it) is the collection
``/remote.php/dav/uploads/USER/ID``: parts are PUT into it, and ``ID/.file`` is MOVEd to the file's address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from tidegate.errors import InvalidPath
from tidegate.model import VPath

WHOLE: Final = ".file"
"""The member of an upload that stands for all of it."""
MAX_ID_CHARS: Final = 255
MAX_PARTS: Final = 10_000
"""Parts of one upload; as many as Nextcloud takes."""

_NUMBER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_RANGE: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """An address below ``/remote.php``, taken apart.

    Attributes:
        prefix: of the addresses of this user's tree, decoded; those in Destination have it too.
        user: named in the address; empty if none is.
        uploads: decoded address of the user's uploads; empty for an address in the tree.
        upload: id of an upload; empty for none.
        part: name in the upload; empty for the upload itself.
    """

    prefix: str
    user: str = ""
    uploads: str = ""
    upload: str = ""
    part: str = ""


def parse(raw: bytes, prefix: str) -> Address | None:
    """Take the path of a request apart; None if it is no address of theirs.

    Args:
        raw: percent-encoded.
        prefix: of the binding.

    Raises:
        InvalidPath: it is one, and cannot be read.
    """
    base = prefix.encode() + b"/remote.php/"
    if not raw.startswith(base):
        return None
    parts = raw[len(base) :].split(b"/")
    if parts[0] == b"webdav":
        return Address(f"{prefix}/remote.php/webdav")
    if len(parts) < 3 or parts[0] != b"dav" or parts[1] not in (b"files", b"uploads") or not parts[2]:
        return None
    user = _name(parts[2])
    tree = f"{prefix}/remote.php/dav/files/{user}"
    if parts[1] == b"files":
        return Address(tree, user)
    rest = [_name(part) for part in parts[3:] if part]
    if len(rest) > 2:
        raise InvalidPath("no such path")
    rest += ["", ""]
    return Address(tree, user, f"{prefix}/remote.php/dav/uploads/{user}", rest[0], rest[1])


def _name(raw: bytes) -> str:
    """One component, decoded.

    Raises:
        InvalidPath: it is no name.
    """
    path = VPath.parse(b"/" + unquote_to_bytes(raw))
    if len(path.parts) != 1 or len(path.name) > MAX_ID_CHARS:
        raise InvalidPath("invalid path: expected one name")
    return path.name


@dataclass(frozen=True, slots=True)
class PartName:
    """The name of a part.

    Attributes:
        number: its place in the order; -1 if the name tells bytes.
        start: offset of its first byte; -1 if the name is a number.
        size: its bytes; -1 if the name does not tell.
    """

    number: int = -1
    start: int = -1
    size: int = -1


def part_name(text: str) -> PartName | None:
    """Read a part's name: a number, or the offsets of its first and last byte; None if it is neither."""
    if _NUMBER.fullmatch(text):
        return PartName(number=int(text))
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    first, last = int(found[1]), int(found[2])
    return PartName(start=first, size=last - first + 1) if last >= first else None
