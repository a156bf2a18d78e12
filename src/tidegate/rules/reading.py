# SPDX-License-Identifier: Apache-2.0
"""Reads values of documents of event actions and event rules by key; each mistake names its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.errors import BadRecord

Document = dict[str, Any]

MAX_TEXT: Final = 1_048_576
"""Characters of a body or template."""
MAX_ITEMS: Final = 1_000
MAX_NAME: Final = 255


class Reader:
    """Reads values of a document by key; each mistake names its place."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise BadRecord(where.rstrip(".") or "document", "should be an object")
        self.value = value
        self.where = where

    def bad(self, key: str, message: str) -> BadRecord:
        """The mistake of a key."""
        return BadRecord(f"{self.where}{key}", message)

    def text(self, key: str, *, limit: int = MAX_TEXT, default: str = "") -> str:
        """A text without NUL of bounded length."""
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, str) or "\0" in found:
            raise self.bad(key, "should be a text")
        if len(found) > limit:
            raise self.bad(key, f"is longer than {limit} characters")
        return found

    def number(self, key: str, low: int = 0, high: int = 2**63 - 1, default: int = 0) -> int:
        """A number within bounds."""
        found = self.value.get(key)
        if found is None:
            return default
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise self.bad(key, f"should be a number from {low} to {high}")
        return found

    def flag(self, key: str) -> bool:
        """True or false."""
        found = self.value.get(key, False)
        if not isinstance(found, bool):
            raise self.bad(key, "should be true or false")
        return found

    def items(self, key: str, limit: int = MAX_ITEMS) -> Sequence[Any]:
        """A list of bounded length."""
        found = self.value.get(key)
        if found is None:
            return ()
        if not isinstance(found, list) or len(found) > limit:
            raise self.bad(key, f"should be a list of at most {limit}")
        return found

    def texts(self, key: str, known: Sequence[str] = ()) -> list[str]:
        """A list of texts that are not empty, each one of `known` if that names any."""
        found = []
        for index, one in enumerate(self.items(key)):
            if not isinstance(one, str) or not one or "\0" in one:
                raise self.bad(f"{key}[{index}]", "should be a text")
            if known and one not in known:
                raise self.bad(f"{key}[{index}]", f"{one!r} is not one of {', '.join(known)}")
            found.append(one)
        return found

    def objects(self, key: str) -> list[Reader]:
        """A list of objects."""
        return [Reader(one, f"{self.where}{key}[{index}].") for index, one in enumerate(self.items(key))]

    def section(self, key: str) -> Reader:
        """An object; an empty one if it is not there."""
        return Reader(self.value.get(key) or {}, f"{self.where}{key}.")

    def pairs(self, key: str, *, more: str = "") -> list[Document]:
        """Lists of ``{key, value}``."""
        found = []
        for one in self.objects(key):
            name = one.text("key", limit=4096)
            if not name:
                raise one.bad("key", "is empty")
            pair: Document = {"key": name, "value": one.text("value", limit=65_536)}
            if more and one.flag(more):
                pair[more] = True
            found.append(pair)
        return found

    def known(self, *names: str) -> None:
        """Refuse keys that are none of these names."""
        for name in self.value:
            if name not in names:
                raise self.bad(str(name), "there is no such key")


def filled(**values: Any) -> Document:
    """The values that say anything."""
    return {key: value for key, value in values.items() if value not in ("", 0, False, [], {}, None)}


def record_name(read: Reader, base: str) -> str:
    """The name of a record: that of the document, or of the record it replaces."""
    name = read.text("name", limit=MAX_NAME, default=base) or base
    if not name:
        raise read.bad("name", "is required")
    if not name.isprintable() or name != name.strip() or "/" in name:
        raise read.bad("name", f"{name!r} should be printable, without '/' and without spaces around it")
    return name
