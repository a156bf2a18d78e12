# SPDX-License-Identifier: Apache-2.0
"""Keys of a backend as keys of objects, and back; docs/adr/0037 has the rules.

Object keys are UTF-8. A byte of a name that is none (a surrogate, ADR 0008) is kept as U+201B and two
upper-case hexadecimal digits, and U+201B itself is doubled; rclone marks such bytes in the same way. A
component of an object key that no name leads to is not shown: an empty one, ``.``, ``..``, one above 255
bytes, one with NUL, and one that is escaped in another way.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from typing import Final

from tidegate.errors import InvalidPath, NotFound

MAX_NAME_BYTES: Final = 255
"""Longest name, as the client writes it."""
MAX_OBJECT_KEY_BYTES: Final = 1024
"""Longest key of an object, the prefix of the root included."""
PARTIAL_PREFIX: Final = ".tidegate-part."
"""Begins the names of objects that describe unfinished uploads; no client sees or makes such a name."""
TREE_PREFIX: Final = ".tidegate-tree."
"""Begins the names of trees that are made beside a name to take its place, and of those that lost it."""
MOVED_PREFIX: Final = TREE_PREFIX + "moved."
"""The same, where what is made is the only one there is: a crash must not lose it."""
ASIDE_PREFIX: Final = TREE_PREFIX + "aside."
"""Begins the names of objects that were replaced, until what came in their place is accepted."""
_RESERVED: Final = (PARTIAL_PREFIX, TREE_PREFIX)
_QUOTE: Final = "\u201b"
_ENCODED: Final = re.compile(f"{_QUOTE}(?:{_QUOTE}|([89A-F][0-9A-F]))")
_TO_ENCODE: Final = re.compile(f"[{_QUOTE}\udc80-\udcff]")


def check_key(key: str, hidden: Collection[str] = ()) -> None:
    """Refuse a key that is not a clean relative path.

    Args:
        key: of a file or directory.
        hidden: reserved names that are ours now.

    Raises:
        InvalidPath: it is not clean, or a name is too long.
        NotFound: it names the record of an unfinished upload, or a hidden tree.
    """
    if not key:
        return
    if "\0" in key:
        raise InvalidPath("invalid path: NUL byte")
    for part in key.split("/"):
        if part in {"", ".", ".."}:
            raise InvalidPath("invalid path: not a clean relative path")
        if len(part) * 4 > MAX_NAME_BYTES and _byte_length(part) > MAX_NAME_BYTES:
            raise InvalidPath("invalid path: too long")
        if part.startswith(_RESERVED) and part not in hidden:
            raise NotFound


def encode(text: str) -> str:
    """The text of an object key for a path of names.

    Raises:
        InvalidPath: it holds a surrogate that stands for no byte.
    """
    try:
        text.encode()
        plain = _QUOTE not in text
    except UnicodeEncodeError:
        plain = False
    if plain:
        return text
    try:
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPath("invalid path: not encodable") from None
    return _TO_ENCODE.sub(_quoted, text)


def decode(component: str) -> str | None:
    """The name that a component of an object key has; None if no name leads to it."""
    if _QUOTE in component:
        name = _ENCODED.sub(_unquoted, component)
        try:
            if encode(name) != component:
                return None
        except InvalidPath:
            return None
    else:
        name = component
    if name in {"", ".", ".."} or "\0" in name or _byte_length(name) > MAX_NAME_BYTES:
        return None
    return name


def partial_name(name: str) -> str:
    """Name of the object that describes an unfinished upload of `name`, in the same directory."""
    return PARTIAL_PREFIX + hashlib.blake2b(encode(name).encode(), digest_size=16).hexdigest()


def tree_name(*, moves: bool) -> str:
    """A fresh hidden name for what takes another's place; 128 bits of chance."""
    return (MOVED_PREFIX if moves else TREE_PREFIX) + secrets.token_hex(16)


def aside_name() -> str:
    """A fresh hidden name for what is set aside; 128 bits of chance."""
    return ASIDE_PREFIX + secrets.token_hex(16)


class Keys:
    """Keys of objects of one root.

    Args:
        prefix: what the keys of the root begin with; empty, or the path of a directory.

    Attributes:
        hidden: names with `TREE_PREFIX` that this backend made and uses now: random, and told to nobody.
    """

    __slots__ = ("hidden", "prefix")

    def __init__(self, prefix: str) -> None:
        prefix = prefix.strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.hidden: set[str] = set()

    def object(self, key: str) -> str:
        """Key of the object that is the file `key`.

        Raises:
            InvalidPath: `key` is not clean, or too long for an object.
            NotFound: as `check_key`.
        """
        check_key(key, self.hidden)
        found = self.prefix + encode(key)
        if len(found) * 4 > MAX_OBJECT_KEY_BYTES and len(found.encode()) > MAX_OBJECT_KEY_BYTES - 1:
            raise InvalidPath("invalid path: too long for this storage")
        return found

    def folder(self, key: str) -> str:
        """Prefix of everything in the directory `key`, and key of its marker; the root's may be empty."""
        return f"{self.object(key)}/" if key else self.prefix

    def sibling(self, folder: str, name: str) -> str:
        """Key of the object that is the file `name` in the directory with the prefix `folder`."""
        return folder + encode(name)


def is_record(object_key: str) -> bool:
    """True for the key of an object that describes an unfinished upload."""
    return name_of(object_key).startswith(PARTIAL_PREFIX)


def left_tree(object_key: str, folder: str) -> bool:
    """True if an object is in a hidden tree of a directory, and not all that there is of what was moved.

    Args:
        object_key: its key.
        folder: prefix of the directory.
    """
    name = object_key[len(folder) :].partition("/")[0]
    return name.startswith(TREE_PREFIX) and not name.startswith(MOVED_PREFIX)


def parent_of(key: str) -> str:
    """The directory that holds `key`."""
    return key.rpartition("/")[0]


def name_of(key: str) -> str:
    """The last component."""
    return key.rpartition("/")[2]


def _byte_length(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass" if _has_other_surrogates(text) else "surrogateescape"))


def _has_other_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udc7f" for char in text)


def _quoted(match: re.Match[str]) -> str:
    char = match[0]
    return _QUOTE * 2 if char == _QUOTE else f"{_QUOTE}{ord(char) - 0xDC00:02X}"


def _unquoted(match: re.Match[str]) -> str:
    digits: str | None = match[1]
    return chr(0xDC00 + int(digits, 16)) if digits else _QUOTE


def checked(key: str) -> str:
    """The key of an object, if it can be one.

    Raises:
        InvalidPath: it is empty, too long or not UTF-8.
    """
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise InvalidPath("invalid path: this storage takes names in UTF-8 only") from None
    if not 0 < size <= MAX_OBJECT_KEY_BYTES:
        raise InvalidPath("path too long for this storage" if size else None)
    return key
