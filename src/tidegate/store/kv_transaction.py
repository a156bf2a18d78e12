# SPDX-License-Identifier: Apache-2.0
"""Records in one LMDB transaction of the `bolt` driver."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import TypeAdapter

from tidegate.errors import ProviderError
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store import records
from tidegate.store.contract import Order, Record
from tidegate.store.kv_groups import dump_group, dump_role, load_group, load_role
from tidegate.store.records import RecordTable
from tidegate.store.storages import dump_record, load_record

if TYPE_CHECKING:
    from tidegate.store.user_query import UserQuery

MARK_EVERY: Final = 256
"""Names between two bookmarks that make skipping to a page cheap."""
_ADAPTERS: Final[dict[RecordTable, TypeAdapter[Any]]] = {
    "users": TypeAdapter(Account),
    "folders": TypeAdapter(Folder),
    "admins": TypeAdapter(Admin),
    "api_keys": TypeAdapter(ApiKey),
    "event_actions": TypeAdapter(EventAction),
    "event_rules": TypeAdapter(EventRule),
    "ip_lists": TypeAdapter(ListEntry),
    "external": TypeAdapter(Account),
}
_WITH_STORAGE: Final = frozenset(("users", "folders"))
_LAST_ID: Final = b"last_id"


class Bookmarks:
    """Every so many names of a table, valid until a name is added or removed."""

    def __init__(self) -> None:
        self._marks: dict[RecordTable, tuple[bytes, list[bytes]]] = {}

    def skip(self, raw: Any, dbi: Any, table: RecordTable, offset: int, generation: bytes) -> bytes | None:
        """The name to start from when skipping `offset` names; None starts at the beginning."""
        if offset < MARK_EVERY:
            return None
        known = self._marks.get(table)
        if known is None or known[0] != generation:
            names = raw.cursor(db=dbi).iternext(keys=True, values=False)
            known = generation, [bytes(name) for index, name in enumerate(names) if index % MARK_EVERY == 0]
            self._marks[table] = known
        index = offset // MARK_EVERY
        return known[1][index] if index < len(known[1]) else b"\xff" * 8


class LmdbTransaction:
    """`RecordTransaction` on one LMDB transaction."""

    def __init__(self, raw: Any, tables: dict[str, Any], bookmarks: Bookmarks) -> None:
        self.raw = raw
        self._tables = tables
        self._bookmarks = bookmarks

    def get(self, table: RecordTable, name: str) -> Record | None:
        """See `RecordTransaction`."""
        value = self.raw.get(name.encode(), db=self._tables[table])
        return None if value is None else _decoded(table, name.encode(), value)

    def put(self, table: RecordTable, name: str, record: Record) -> None:
        """See `RecordTransaction`."""
        key, dbi = name.encode(), self._tables[table]
        if self.raw.get(key, db=dbi) is None:
            self._count_up(table)
        self.raw.put(key, _encoded(table, record), db=dbi)

    def drop(self, table: RecordTable, name: str) -> None:
        """See `RecordTransaction`."""
        self.raw.delete(name.encode(), db=self._tables[table])
        self._count_up(table)

    def page(self, table: RecordTable, offset: int, limit: int, order: Order) -> list[Record]:
        """See `RecordTransaction`."""
        total = self.count(table)
        if order == "DESC":
            end = max(total - offset, 0)
            start = max(end - limit, 0)
            return self._slice(table, start, end - start)[::-1]
        return self._slice(table, offset, limit) if offset < total else []

    def _slice(self, table: RecordTable, offset: int, limit: int) -> list[Record]:
        generation = self.raw.get(_generation(table), db=self._tables["meta"], default=b"")
        dbi = self._tables[table]
        first = self._bookmarks.skip(self.raw, dbi, table, offset, generation)
        found: list[Record] = []
        with self.raw.cursor(db=dbi) as cursor:
            if not (cursor.first() if first is None else cursor.set_range(first)):
                return found
            skipped = offset if first is None else offset % MARK_EVERY
            for index, key in enumerate(cursor.iternext(keys=True, values=False)):
                if index >= skipped + limit:
                    break
                if index >= skipped:
                    found.append(_decoded(table, bytes(key), cursor.value()))
        return found

    def after(self, table: RecordTable, name: str, limit: int) -> list[Record]:
        """See `RecordTransaction`."""
        found: list[Record] = []
        with self.raw.cursor(db=self._tables[table]) as cursor:
            # No name holds a NUL, so this is the least key that follows.
            if not (cursor.set_range(name.encode() + b"\0") if name else cursor.first()):
                return found
            for key, value in cursor.iternext():
                if len(found) == limit:
                    break
                found.append(_decoded(table, bytes(key), value))
        return found

    def count(self, table: RecordTable) -> int:
        """See `RecordTransaction`."""
        return int(self.raw.stat(self._tables[table])["entries"])

    def scan_users(self, query: UserQuery) -> Iterator[Account]:
        """See `RecordTransaction`. Only what is on the page is decoded; by name, that is all that is read."""
        by_name, found = query.sort == "username", 0
        order = re.compile(rb'"%s":(\d+)' % query.sort.encode())
        best: list[tuple[int | str, str]] = []
        for key, content in self._users_from(query):
            name = key.decode()
            if not _may_match(query, name, content):
                continue
            if by_name:
                yield cast("Account", _decoded("users", key, content))
                found += 1
                if found == query.limit:
                    return
                continue
            number = order.search(content)
            at = int(number[1]) if number else 0
            if query.follows((at, name)):
                _join(best, (at, name), query)
        for _, name in best:
            if (account := self.get("users", name)) is not None:
                yield cast("Account", account)

    def _users_from(self, query: UserQuery) -> Iterator[tuple[bytes, bytes]]:
        """Stored accounts in the order of their names, or backwards; from the row on that a page follows."""
        by_name = query.sort == "username"
        start = query.after[1].encode() if by_name and query.after is not None else b""
        with self.raw.cursor(db=self._tables["users"]) as cursor:
            if not (by_name and query.falling):
                there = cursor.set_range(start + b"\0") if start else cursor.first()
                rows = cursor.iternext()
            else:
                there = (cursor.set_range(start) and cursor.prev()) if start else cursor.last()
                if start and not there and not cursor.set_range(start):
                    there = cursor.last()  # every name is before it
                rows = cursor.iterprev()
            if there:
                for key, value in rows:
                    yield bytes(key), bytes(value)

    def next_id(self) -> int:
        """See `RecordTransaction`."""
        return self._raise(_LAST_ID)

    def link(self, folder: str, user: str) -> None:
        """See `RecordTransaction`."""
        self.raw.put(f"{folder}\0{user}".encode(), b"", db=self._tables["links"])

    def unlink(self, folder: str, user: str) -> None:
        """See `RecordTransaction`."""
        self.raw.delete(f"{folder}\0{user}".encode(), db=self._tables["links"])

    def linked(self, folder: str) -> list[str]:
        """See `RecordTransaction`."""
        start = f"{folder}\0".encode()
        return [name[len(start) :].decode() for name in self._names("links", start)]

    def mark(self, user: str, *, dirty: bool, server: str = "") -> None:
        """See `RecordTransaction`."""
        # The value lists the servers, the empty name among them; older versions wrote an empty value.
        servers = self._servers(user.encode())
        (servers.add if dirty else servers.discard)(server)
        if servers:
            value = "\n".join(sorted(servers)).encode()
            self.raw.put(user.encode(), value, db=self._tables["dirty"])
        else:
            self.unmark(user)

    def unmark(self, user: str) -> None:
        """See `RecordTransaction`."""
        self.raw.delete(user.encode(), db=self._tables["dirty"])

    def marked(self) -> list[tuple[str, str]]:
        """See `RecordTransaction`."""
        return [
            (name.decode(), server)
            for name in self._names("dirty", b"")
            for server in sorted(self._servers(bytes(name)))
        ]

    def _servers(self, user: bytes) -> set[str]:
        value = self.raw.get(user, db=self._tables["dirty"])
        return set() if value is None else set(bytes(value).decode().split("\n"))

    def revocations(self) -> dict[str, tuple[int, int]]:
        """See `RecordTransaction`."""
        found: dict[str, tuple[int, int]] = {}
        with self.raw.cursor(db=self._tables["revocations"]) as cursor:
            for subject, value in cursor:
                at, expires = bytes(value).split()
                found[bytes(subject).decode()] = int(at), int(expires)
        return found

    def revoke(self, subject: str, times: tuple[int, int] | None) -> None:
        """See `RecordTransaction`."""
        dbi = self._tables["revocations"]
        if times is None:
            self.raw.delete(subject.encode(), db=dbi)
        else:
            self.raw.put(subject.encode(), f"{times[0]} {times[1]}".encode(), db=dbi)

    def setting(self, name: str) -> str | None:
        """See `RecordTransaction`."""
        value = self.raw.get(name.encode(), db=self._tables["settings"])
        return None if value is None else bytes(value).decode()

    def set_setting(self, name: str, value: str | None) -> None:
        """See `RecordTransaction`."""
        if value is None:
            self.raw.delete(name.encode(), db=self._tables["settings"])
        else:
            self.raw.put(name.encode(), value.encode(), db=self._tables["settings"])

    def _names(self, dbi: str, start: bytes) -> Iterator[bytes]:
        with self.raw.cursor(db=self._tables[dbi]) as cursor:
            if cursor.set_range(start) if start else cursor.first():
                for key in cursor.iternext(keys=True, values=False):
                    if not bytes(key).startswith(start):
                        break
                    yield bytes(key)

    def _count_up(self, table: RecordTable) -> None:
        self._raise(_generation(table))

    def _raise(self, key: bytes) -> int:
        number = int(self.raw.get(key, db=self._tables["meta"], default=b"0")) + 1
        self.raw.put(key, str(number).encode(), db=self._tables["meta"])
        return number


def _may_match(query: UserQuery, name: str, content: bytes) -> bool:
    """True if a stored account is wanted."""
    if query.number and b'"id":%d' % query.number not in content:
        return False  # most need not be read as JSON
    if not (query.only or query.role or query.number) and "@" not in query.text:
        return query.text.lower() in name.lower()
    return query.matches(SimpleNamespace(**json.loads(content)))


def _join(best: list[tuple[int | str, str]], key: tuple[int | str, str], query: UserQuery) -> None:
    """Keep a row among the first `query.limit` so far; `best` are their keys, sorted."""
    bisect.insort(best, key)
    if len(best) > query.limit:
        best.pop(0 if query.falling else -1)


def _encoded(table: RecordTable, record: Record) -> bytes:
    if isinstance(record, Group):
        return dump_group(record)
    if isinstance(record, Role):
        return dump_role(record)
    if isinstance(record, Account | Folder):
        return json.dumps(dump_record(_ADAPTERS[table], record), separators=(",", ":")).encode()
    return _ADAPTERS[table].dump_json(record)


def _decoded(table: RecordTable, key: bytes, value: bytes) -> Record:
    try:
        if table in ("groups", "roles"):
            return load_group(bytes(value)) if table == "groups" else load_role(bytes(value))
        adapter, text = _ADAPTERS[table], bytes(value)
        stored = load_record(adapter, text) if table in _WITH_STORAGE else adapter.validate_json(text)
        record: Record = stored
    except ValueError:  # a ValidationError is one
        name = key.decode("utf-8", "replace")
        raise ProviderError(f"{records.KINDS[table]} {name!r}: the stored record is unreadable") from None
    return record


def _generation(table: RecordTable) -> bytes:
    return f"generation.{table}".encode()
