# SPDX-License-Identifier: Apache-2.0
"""Keys and hidden names: what may name a file here, and how unfinished uploads are called."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from tidegate.errors import InvalidPath, NotFound

MAX_KEY_BYTES: Final = 4095
"""Longest key, PATH_MAX of Linux without its NUL."""

MAX_NAME_BYTES: Final = 255
"""Longest name, NAME_MAX of Linux."""
HIDDEN: Final = ".tidegate-"
UPLOAD_PREFIX: Final = b".tidegate-upload."
"""Named temporary file of an ATOMIC upload: dropped whenever nobody writes to it any more."""
PART_PREFIX: Final = b".tidegate-part."
"""Partial of a RESUMABLE upload: kept for resuming."""

_SUSPECT: Final = b"./"
TREE_PREFIX: Final = b".tidegate-tree."
"""Something that is made beside a name, to take its place in one step; or what it took the place of."""
MOVED_PREFIX: Final = TREE_PREFIX + b"moved."
"""The same, where what is made is the only one there is: a crash must not lose it."""
ASIDE_PREFIX: Final = TREE_PREFIX + b"aside."
"""A file that was replaced, until its successor is accepted: a crash puts it back."""
OLD_SUFFIX: Final = b".old"
"""Added to such a name for a moment, where two names cannot be exchanged in one step."""

_RESERVED: Final = (".tidegate-upload.", ".tidegate-part.", ".tidegate-tree.")

STAGED: Final[set[str]] = set()
"""Names with `TREE_PREFIX` that this process uses now. They are random and told to nobody, so keys that hold
one are our own."""


def check_key(key: str) -> bytes:
    """The bytes of a key.

    Raises:
        InvalidPath: not a clean relative path.
        NotFound: it names an unfinished upload, which nobody can see.
    """
    if not key:
        return b""
    try:
        raw = key.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPath("invalid path: not encodable") from None
    if len(raw) > MAX_KEY_BYTES:
        raise InvalidPath("invalid path: too long")
    if b"\0" in raw:
        raise InvalidPath("invalid path: NUL byte")
    # Whatever is unclean has one of these pieces; most keys have none and are done here.
    if raw[0] in _SUSPECT or raw[-1] in _SUSPECT or b"//" in raw or b"/." in raw:
        padded = b"/" + raw + b"/"
        if b"//" in padded or b"/./" in padded or b"/../" in padded:
            raise InvalidPath("invalid path: not a clean relative path")
    if HIDDEN in key and names_hidden(key):
        raise NotFound
    return raw


def key_refusal(key: str) -> str:
    """The reason why a directory of this host cannot hold a key; empty if it can."""
    try:
        raw = check_key(key)
    except NotFound:
        return "is a name that is reserved for unfinished uploads"
    except InvalidPath as error:
        return error.text.removeprefix("invalid path: ")
    if any(len(part) > MAX_NAME_BYTES for part in raw.split(b"/")):
        return f"holds a name of more than {MAX_NAME_BYTES} bytes"
    return ""


def names_hidden(path: str) -> bool:
    """True if any component of `path` is a reserved name, and not one of those in use now (`STAGED`)."""
    return any(part.startswith(_RESERVED) and part not in STAGED for part in path.split("/"))


def is_hidden(name: str) -> bool:
    """True if `name` is that of an unfinished upload."""
    return name.startswith(_RESERVED)


def part_name(name: bytes) -> bytes:
    """The hidden name of the partial of `name`: deterministic, so that a later session finds it."""
    return PART_PREFIX + hashlib.blake2b(name, digest_size=16).hexdigest().encode()


def upload_name(name: bytes) -> bytes:
    """A fresh hidden name for a temporary beside `name`."""
    tag = hashlib.blake2b(name, digest_size=4).hexdigest().encode()
    return UPLOAD_PREFIX + secrets.token_hex(8).encode() + b"." + tag


def aside_name() -> bytes:
    """A fresh hidden name for a file that is set aside; 128 bits of chance."""
    return ASIDE_PREFIX + secrets.token_hex(16).encode()


def tree_name(*, moves: bool) -> bytes:
    """A fresh hidden name for what takes another's place; 128 bits of chance."""
    return (MOVED_PREFIX if moves else TREE_PREFIX) + secrets.token_hex(16).encode()
