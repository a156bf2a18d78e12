# SPDX-License-Identifier: Apache-2.0
"""Dead properties of the `bolt` driver: rows by a digest of the place, and what finds them.

Keys are short, places are not: `PLACES` is ordered by the first bytes of a place, `CHILDREN` by the digest of
the directory above. `ACCOUNTS` counts the bytes of each account.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeVar

from tidegate.model.properties import PropertyLimits, PropertyName, PropertyPatch, PropertyStore
from tidegate.store.kv_outbox import Transactions
from tidegate.store.properties import (
    StoredProperties,
    digest,
    document_of,
    escaped,
    is_within,
    parent_of,
    patched,
    properties_of,
    require_account,
    unescaped,
)

T = TypeVar("T")

ROWS: Final = "properties"
PLACES: Final = "property_places"
CHILDREN: Final = "property_children"
ACCOUNTS: Final = "property_accounts"
ROOTS: Final = "property_roots"
TABLES: Final = (ROWS, PLACES, CHILDREN, ACCOUNTS, ROOTS)

_HEAD_BYTES: Final = 400
"""Bytes of a place by which it is ordered; LMDB takes keys of 511."""


class _Rows:
    """Properties in one LMDB transaction."""

    def __init__(self, transaction: Any, tables: dict[str, Any]) -> None:
        self._transaction = transaction
        self._tables = tables

    def get(self, key: str) -> StoredProperties | None:
        value = self._transaction.get(key.encode(), db=self._tables[ROWS])
        if value is None:
            return None
        place, account, document = json.loads(bytes(value))
        return StoredProperties(unescaped(place), account, properties_of(document))

    def put(self, row: StoredProperties, root: str) -> None:
        key = digest(row.place)
        value = json.dumps([escaped(row.place), row.account, document_of(row.properties)])
        self._put(ROWS, key.encode(), value.encode())
        self._put(PLACES, _place_key(row.place, key), b"")
        self._put(CHILDREN, _child_key(row.place, key), b"")
        self._count(row.account, row.size)
        if root:
            self._put(ROOTS, digest(root).encode(), escaped(root).encode())

    def drop(self, row: StoredProperties) -> None:
        key = digest(row.place)
        self._delete(ROWS, key.encode())
        self._delete(PLACES, _place_key(row.place, key))
        self._delete(CHILDREN, _child_key(row.place, key))
        self._count(row.account, -row.size)

    def used(self, account: str) -> int:
        value = self._transaction.get(account.encode(), db=self._tables[ACCOUNTS])
        return 0 if value is None else int(bytes(value))

    def within(self, place: str) -> Iterator[StoredProperties]:
        """The rows of a place and of everything below it, as they are at the first step."""
        if (row := self.get(digest(place))) is not None:
            yield row
        start = f"{escaped(place)}/".encode()[:_HEAD_BYTES]
        for key in list(self._keys(PLACES, start)):
            row = self.get(key[-64:].decode())
            if row is not None and row.place.startswith(f"{place}/"):
                yield row

    def children(self, place: str) -> Iterator[StoredProperties]:
        for key in self._keys(CHILDREN, digest(place).encode()):
            row = self.get(key[-64:].decode())
            if row is not None:
                yield row

    def roots(self) -> set[str]:
        with self._transaction.cursor(db=self._tables[ROOTS]) as cursor:
            return {unescaped(bytes(value).decode()) for _, value in cursor}

    def _keys(self, table: str, start: bytes) -> Iterator[bytes]:
        with self._transaction.cursor(db=self._tables[table]) as cursor:
            if cursor.set_range(start):
                for key in cursor.iternext(keys=True, values=False):
                    if not bytes(key).startswith(start):
                        return
                    yield bytes(key)

    def _count(self, account: str, size: int) -> None:
        used = self.used(account) + size
        if used:
            self._put(ACCOUNTS, account.encode(), str(used).encode())
        else:
            self._delete(ACCOUNTS, account.encode())

    def _put(self, table: str, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, db=self._tables[table])

    def _delete(self, table: str, key: bytes) -> None:
        self._transaction.delete(key, db=self._tables[table])


def _place_key(place: str, key: str) -> bytes:
    return escaped(place).encode()[:_HEAD_BYTES] + b"\0" + key.encode()


def _child_key(place: str, key: str) -> bytes:
    return f"{digest(parent_of(place))}{key}".encode()


class LmdbProperties:
    """See `tidegate.model.properties.PropertyStore`."""

    def __init__(self, run: Transactions) -> None:
        self._run = run

    async def _do(self, work: Callable[[_Rows], T], *, writes: bool = True) -> T:
        return await self._run(lambda transaction, tables: work(_Rows(transaction, tables)), writes=writes)

    async def roots(self) -> set[str]:
        """See `store.contract.Provider.property_roots`."""
        return await self._do(lambda rows: rows.roots(), writes=False)

    async def get(self, place: str) -> dict[PropertyName, bytes]:
        """See `PropertyStore`."""
        row = await self._do(lambda rows: rows.get(digest(place)), writes=False)
        return {} if row is None else dict(row.properties)

    async def of_children(self, place: str) -> dict[str, dict[PropertyName, bytes]]:
        """See `PropertyStore`."""
        found = await self._do(lambda rows: list(rows.children(place)), writes=False)
        return {row.place[len(place) + 1 :]: dict(row.properties) for row in found}

    async def patch(self, change: PropertyPatch, limits: PropertyLimits) -> None:
        """See `PropertyStore`."""

        def work(rows: _Rows) -> None:
            old = rows.get(digest(change.place))
            found = patched({} if old is None else old.properties, change, limits)
            row = StoredProperties(change.place, change.account, found)
            if change.sets:
                before = old.size if old is not None and old.account == change.account else 0
                require_account(rows.used(change.account) - before + row.size, limits)
            if old is not None:
                rows.drop(old)
            if found:
                rows.put(row, change.root)

        await self._do(work)

    async def move(self, source: str, target: str, root: str) -> None:
        """See `PropertyStore`."""
        if is_within(target, source):
            return

        def work(rows: _Rows) -> None:
            for row in list(rows.within(target)):
                rows.drop(row)
            for row in list(rows.within(source)):
                rows.drop(row)
                rows.put(replace(row, place=f"{target}{row.place[len(source) :]}"), root)

        await self._do(work)

    async def copy(self, source: str, target: str, root: str, account: str, limits: PropertyLimits) -> None:
        """See `PropertyStore`."""

        def work(rows: _Rows) -> None:
            old, row = rows.get(digest(target)), rows.get(digest(source))
            if old is not None:
                rows.drop(old)
            if row is not None and rows.used(account) + row.size <= limits.account_bytes:
                rows.put(StoredProperties(target, account, row.properties), root)

        await self._do(work)

    async def copy_tree(self, source: str, target: str, root: str) -> None:
        """See `PropertyStore`."""
        if is_within(target, source) or is_within(source, target):
            return

        def work(rows: _Rows) -> None:
            for row in list(rows.within(target)):
                rows.drop(row)
            for row in rows.within(source):
                rows.put(replace(row, place=f"{target}{row.place[len(source) :]}"), root)

        await self._do(work)

    async def remove(self, place: str) -> None:
        """See `PropertyStore`."""

        def work(rows: _Rows) -> None:
            for row in list(rows.within(place)):
                rows.drop(row)

        await self._do(work)

    async def places(self, root: str, after: str, limit: int) -> list[str]:
        """See `PropertyStore`."""

        def work(rows: _Rows) -> list[str]:
            found = sorted(row.place for row in rows.within(root))
            return [place for place in found if place > after or not after][:limit]

        return await self._do(work, writes=False)


def _keeps_contract(store: LmdbProperties) -> PropertyStore:
    return store
