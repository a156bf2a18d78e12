# SPDX-License-Identifier: Apache-2.0
"""Dead properties: the document that drivers keep for one place, and the store of the `memory` driver."""

from __future__ import annotations

import base64
import hashlib
import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote

from tidegate.errors import ProviderError, QuotaExceeded
from tidegate.model.properties import (
    Properties,
    PropertyLimits,
    PropertyName,
    PropertyPatch,
    PropertyStore,
)

MAX_PLACE: Final = 16_384
"""Characters of a place, escaped."""


@dataclass(frozen=True, slots=True)
class StoredProperties:
    """The properties of one place.

    Attributes:
        place: of what.
        account: who is charged.
        properties: at least one.
    """

    place: str
    account: str
    properties: Properties

    @property
    def size(self) -> int:
        """Bytes that are charged: of names and values."""
        return size_of(self.properties)


def size_of(properties: Properties) -> int:
    """Bytes of names and values."""
    return sum(
        len(space.encode(errors="surrogatepass")) + len(name.encode(errors="surrogatepass")) + len(value)
        for (space, name), value in properties.items()
    )


def patched(old: Properties, change: PropertyPatch, limits: PropertyLimits) -> dict[PropertyName, bytes]:
    """The properties after a change.

    Raises:
        QuotaExceeded: more than one place may have.
    """
    removed = set(change.removes)
    found = {name: value for name, value in old.items() if name not in removed} | dict(change.sets)
    for (space, name), value in change.sets.items():
        if len(space) > limits.name_chars or len(name) > limits.name_chars:
            raise too_much(f"a name of a property has more than {limits.name_chars} characters")
        if len(value) > limits.value_bytes:
            raise too_much(f"property {name[:100]} has more than {limits.value_bytes} bytes")
    if change.sets and len(found) > limits.count:
        raise too_much(f"more than {limits.count} properties of one file")
    if change.sets and size_of(found) > limits.resource_bytes:
        raise too_much(f"more than {limits.resource_bytes} bytes of properties of one file")
    return found


def require_account(used: int, limits: PropertyLimits) -> None:
    """Return if an account may use so many bytes.

    Raises:
        QuotaExceeded: it may not.
    """
    if used > limits.account_bytes:
        raise too_much(f"more than {limits.account_bytes} bytes of properties of one account")


def too_much(text: str) -> QuotaExceeded:
    """The error of a limit on properties."""
    return QuotaExceeded(text, limit="properties", rule="properties")


# -- as text -------------------------------------------------------------------------------------------------


def document_of(properties: Properties) -> str:
    """Properties as JSON: a list of namespace, name, value in Base64."""
    rows = [
        [space, name, base64.b64encode(value).decode()] for (space, name), value in sorted(properties.items())
    ]
    return json.dumps(rows, separators=(",", ":"))


def properties_of(document: str) -> dict[PropertyName, bytes]:
    """The properties of a document.

    Raises:
        ProviderError: it is damaged.
    """
    try:
        return {(space, name): base64.b64decode(value) for space, name, value in json.loads(document)}
    except (ValueError, TypeError):
        raise ProviderError("stored properties are unreadable") from None


def escaped(place: str) -> str:
    """A place as text that every database takes: ``%`` and bytes that are no UTF-8 as ``%XX``."""
    text = place.replace("%", "%25")
    if text.isascii():
        return text
    return "".join(f"%{ord(one) - 0xDC00:02X}" if "\udc80" <= one <= "\udcff" else one for one in text)


def unescaped(text: str) -> str:
    """The place that `escaped` was given."""
    return unquote(text, errors="surrogateescape")


def digest(place: str) -> str:
    """A key of fixed length: 64 hexadecimal digits."""
    return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()


def is_within(place: str, directory: str) -> bool:
    """True if a place is a directory, or lies in it."""
    return f"{place}/".startswith(f"{directory}/")


def parent_of(place: str) -> str:
    """The directory that holds a place."""
    return place.rpartition("/")[0]


# -- memory --------------------------------------------------------------------------------------------------


class MemoryProperties:
    """`model.properties.PropertyStore` in dictionaries; forgotten with the process."""

    def __init__(self) -> None:
        self._rows: dict[str, StoredProperties] = {}
        self._places: list[str] = []
        self._used: dict[str, int] = {}

    async def get(self, place: str) -> dict[PropertyName, bytes]:
        """See `PropertyStore`."""
        row = self._rows.get(place)
        return {} if row is None else dict(row.properties)

    async def of_children(self, place: str) -> dict[str, dict[PropertyName, bytes]]:
        """See `PropertyStore`."""
        return {
            below[len(place) + 1 :]: dict(self._rows[below].properties)
            for below in self._within(place)
            if below != place and "/" not in below[len(place) + 1 :]
        }

    async def patch(self, change: PropertyPatch, limits: PropertyLimits) -> None:
        """See `PropertyStore`."""
        old = self._rows.get(change.place)
        found = patched({} if old is None else old.properties, change, limits)
        row = StoredProperties(change.place, change.account, found)
        before = old.size if old is not None and old.account == change.account else 0
        if change.sets:
            require_account(self._used.get(change.account, 0) - before + row.size, limits)
        self._drop(change.place)
        if found:
            self._put(row)

    async def move(self, source: str, target: str, root: str) -> None:  # noqa: ARG002  kept nowhere
        """See `PropertyStore`."""
        if is_within(target, source):
            return
        moving = [self._rows[place] for place in self._within(source)]
        for row in moving:
            self._drop(row.place)
        await self.remove(target)
        for row in moving:
            self._put(replace(row, place=f"{target}{row.place[len(source) :]}"))

    async def copy(
        self,
        source: str,
        target: str,
        root: str,  # noqa: ARG002  kept nowhere
        account: str,
        limits: PropertyLimits,
    ) -> None:
        """See `PropertyStore`."""
        self._drop(target)
        row = self._rows.get(source)
        if row is not None and self._used.get(account, 0) + row.size <= limits.account_bytes:
            self._put(StoredProperties(target, account, row.properties))

    async def copy_tree(self, source: str, target: str, root: str) -> None:  # noqa: ARG002  kept nowhere
        """See `PropertyStore`."""
        if is_within(target, source) or is_within(source, target):
            return
        await self.remove(target)
        for row in [self._rows[place] for place in self._within(source)]:
            self._put(replace(row, place=f"{target}{row.place[len(source) :]}"))

    async def remove(self, place: str) -> None:
        """See `PropertyStore`."""
        for gone in list(self._within(place)):
            self._drop(gone)

    async def places(self, root: str, after: str, limit: int) -> list[str]:
        """See `PropertyStore`."""
        found = [place for place in self._within(root) if place > after or not after]
        return sorted(found)[:limit]

    def _within(self, place: str) -> Iterator[str]:
        if place in self._rows:
            yield place
        for index in range(bisect_right(self._places, f"{place}/"), len(self._places)):
            if not self._places[index].startswith(f"{place}/"):
                return
            yield self._places[index]

    def _put(self, row: StoredProperties) -> None:
        insort(self._places, row.place)
        self._rows[row.place] = row
        self._used[row.account] = self._used.get(row.account, 0) + row.size

    def _drop(self, place: str) -> None:
        row = self._rows.pop(place, None)
        if row is not None:
            del self._places[bisect_left(self._places, place)]
            self._used[row.account] -= row.size
            if not self._used[row.account]:
                del self._used[row.account]


def _keeps_contract(store: MemoryProperties) -> PropertyStore:
    return store
