# SPDX-License-Identifier: Apache-2.0
"""The `memory` driver: records in dictionaries, optionally read from a dump file, never written back."""

from __future__ import annotations

import bisect
import logging
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar, cast

from tidegate.model import Account
from tidegate.store import list_changes
from tidegate.store.contract import AdminsGuard, LoadGuard, LoadReport, Order, Record
from tidegate.store.options import DEFAULT_NAME, ProviderOptions
from tidegate.store.record_load import Load
from tidegate.store.record_provider import RecordProvider
from tidegate.store.records import RecordTable, RecordTransaction, now_ms

if TYPE_CHECKING:
    from tidegate.store.user_query import UserQuery

T = TypeVar("T")

log = logging.getLogger(__name__)


class _State:
    """Everything that is remembered. Changes are noted so that a failed transaction can be undone."""

    def __init__(self) -> None:
        self.transaction: Final[dict[RecordTable, dict[str, Record]]] = {
            "users": {},
            "folders": {},
            "groups": {},
            "roles": {},
            "admins": {},
            "api_keys": {},
            "event_actions": {},
            "event_rules": {},
            "ip_lists": {},
            "external": {},
        }
        self.names: Final[dict[RecordTable, list[str]]] = {table: [] for table in self.transaction}
        self.links: Final[dict[str, set[str]]] = {}
        self.dirty: Final[set[tuple[str, str]]] = set()
        self.settings: Final[dict[str, str]] = {}
        self.revoked: Final[dict[str, tuple[int, int]]] = {}
        self.last_id = 0
        self.undo: Final[list[Callable[[], None]]] = []

    # -- Shelves -------------------------------------------------------------------------------------------

    def get(self, table: RecordTable, name: str) -> Record | None:
        return self.transaction[table].get(name)

    def put(self, table: RecordTable, name: str, record: Record) -> None:
        old = self.transaction[table].get(name)
        if old is None:
            self._insert(table, name)
            self.undo.append(lambda: self._delete(table, name))
        else:
            self.undo.append(lambda: self.transaction[table].__setitem__(name, old))
        self.transaction[table][name] = record

    def drop(self, table: RecordTable, name: str) -> None:
        old = self.transaction[table][name]
        self._delete(table, name)

        def back() -> None:
            self._insert(table, name)
            self.transaction[table][name] = old

        self.undo.append(back)

    def page(self, table: RecordTable, offset: int, limit: int, order: Order) -> list[Record]:
        names = self.names[table]
        if order == "DESC":
            end = max(len(names) - offset, 0)
            picked = names[max(end - limit, 0) : end][::-1]
        else:
            picked = names[offset : offset + limit]
        return [self.transaction[table][name] for name in picked]

    def after(self, table: RecordTable, name: str, limit: int) -> list[Record]:
        start = bisect.bisect_right(self.names[table], name)
        return [self.transaction[table][found] for found in self.names[table][start : start + limit]]

    def count(self, table: RecordTable) -> int:
        return len(self.names[table])

    def scan_users(self, query: UserQuery) -> Iterator[Account]:
        if query.plain and not query.falling:
            last = query.after[1] if query.after is not None else ""
            return iter(cast("list[Account]", self.after("users", last, query.limit)))
        return iter(cast("list[Account]", list(self.transaction["users"].values())))

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def link(self, folder: str, user: str) -> None:
        self._swap(self.links.setdefault(folder, set()), user, there=True)

    def unlink(self, folder: str, user: str) -> None:
        self._swap(self.links.setdefault(folder, set()), user, there=False)

    def linked(self, folder: str) -> list[str]:
        return sorted(self.links.get(folder, ()))

    def mark(self, user: str, *, dirty: bool, server: str = "") -> None:
        self._swap(self.dirty, (user, server), there=dirty)

    def unmark(self, user: str) -> None:
        for mark in [mark for mark in self.dirty if mark[0] == user]:
            self._swap(self.dirty, mark, there=False)

    def marked(self) -> list[tuple[str, str]]:
        return sorted(self.dirty)

    def revocations(self) -> dict[str, tuple[int, int]]:
        return dict(self.revoked)

    def revoke(self, subject: str, times: tuple[int, int] | None) -> None:
        old = self.revoked.get(subject)
        _set(self.revoked, subject, times)
        self.undo.append(lambda: _set(self.revoked, subject, old))

    def setting(self, name: str) -> str | None:
        return self.settings.get(name)

    def set_setting(self, name: str, value: str | None) -> None:
        old = self.settings.get(name)
        _set(self.settings, name, value)
        self.undo.append(lambda: _set(self.settings, name, old))

    # -- pieces ----------------------------------------------------------------------------------------------

    def roll_back(self) -> None:
        while self.undo:
            self.undo.pop()()

    def _insert(self, table: RecordTable, name: str) -> None:
        names = self.names[table]
        if not names or names[-1] < name:
            names.append(name)
        else:
            bisect.insort(names, name)

    def _delete(self, table: RecordTable, name: str) -> None:
        del self.transaction[table][name]
        names = self.names[table]
        del names[bisect.bisect_left(names, name)]

    def _swap(self, group: set[T], name: T, *, there: bool) -> None:
        if (name in group) == there:
            return
        (group.add if there else group.discard)(name)
        self.undo.append(lambda: (group.discard if there else group.add)(name))


def _set(values: dict[str, T], name: str, value: T | None) -> None:
    if value is None:
        values.pop(name, None)
    else:
        values[name] = value


class MemoryProvider(RecordProvider):
    """Accounts and the rest in memory.

    Work runs between two awaits, hence alone. `notes` holds what the last load of the dump file remarked.
    """

    def __init__(self, options: ProviderOptions) -> None:
        super().__init__(options)
        self._state = _State()
        self.notes: Sequence[str] = ()

    async def open(self, *, migrate: bool = True) -> None:  # noqa: ARG002  (the contract's signature)
        """Load the dump file, if `name` gives one."""
        await self.reload()

    async def close(self) -> None:
        """Forget nothing: a provider may be opened again."""

    async def reload(self) -> None:
        """Replace everything by what the dump file holds now; a bad file changes nothing.

        Raises:
            BadRecord: the file holds an invalid record.
            ProviderError: the file cannot be read.
        """
        if self._options.name in ("", DEFAULT_NAME):
            return
        from tidegate.store.dump_reading import file_batches

        fresh = _State()
        fresh.last_id = self._state.last_id
        notes: list[str] = []
        load = Load(mode=0, seals=self._options.seals)
        async for batch in file_batches(self._options.file, self._options, notes):
            load.store(fresh, batch)
            fresh.undo.clear()
        # Who was there before is the same as before: sessions tell accounts of one name apart by this.
        for name, old in self._state.transaction["users"].items():
            now = fresh.transaction["users"].get(name)
            if isinstance(old, Account) and isinstance(now, Account):
                fresh.transaction["users"][name] = replace(now, id=old.id, created_at=old.created_at)
        # These are this process's own; a dump has none.
        fresh.settings.update(self._state.settings)
        stored = fresh.settings.get(list_changes.NUMBER)
        fresh.settings.update(list_changes.everything(stored, now_ms()))
        fresh.revoked.update(self._state.revoked)
        for name, record in self._state.transaction["external"].items():
            fresh.put("external", name, record)
        fresh.dirty.update(mark for mark in self._state.dirty if mark[0] in fresh.transaction["external"])
        fresh.undo.clear()
        self._state = fresh
        self.notes = tuple(notes)
        for note in notes:
            log.warning("%s: %s", self._options.file.name, note)

    async def _read(self, work: Callable[[RecordTransaction], T]) -> T:
        return work(self._state)

    async def _write(self, work: Callable[[RecordTransaction], T]) -> T:
        state = self._state
        try:
            done = work(state)
        except BaseException:
            state.roll_back()
            raise
        state.undo.clear()
        return done

    async def load_batches(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        mode: int = 0,
        guard: LoadGuard | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> LoadReport:
        """Store everything or nothing. The batches are gathered first: they end up in memory anyway."""
        gathered: list[Sequence[Record]] = []
        async for batch in batches:
            if any(isinstance(record, Account) for record in batch):
                self._rules.require_users()
            gathered.append(batch)

        load = Load(mode, guard, admins_guard, self._options.seals)

        def work(transaction: RecordTransaction) -> None:
            for batch in gathered:
                load.store(transaction, batch)
            load.end(transaction)

        await self._write(work)
        return LoadReport(load.rows)
