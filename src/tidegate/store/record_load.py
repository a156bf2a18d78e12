# SPDX-License-Identifier: Apache-2.0
"""Loads and guards over `RecordTransaction`: changes that are stored only if something holds of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from tidegate.model import Admin
from tidegate.model.sealing import NO_SEALING, SealsSecrets
from tidegate.store import records
from tidegate.store.contract import ADD_ONLY, AdminsGuard, LoadGuard, LoadRow, Record
from tidegate.store.records import RecordTable, RecordTransaction
from tidegate.store.sealing import seal_record

T = TypeVar("T")


@dataclass(slots=True)
class Load:
    """A load under way, in one transaction: see `store.contract.Provider.load_batches`.

    Attributes:
        mode: of the load.
        guard: called for each record that is replaced.
        admins_guard: called at the end.
        seals: encrypts secrets of the records.
        rows: what became of the records so far.
    """

    mode: int
    guard: LoadGuard | None = None
    admins_guard: AdminsGuard | None = None
    seals: SealsSecrets = NO_SEALING
    rows: list[LoadRow] = field(default_factory=list)
    _before: list[Admin] | None = None

    def store(self, transaction: RecordTransaction, batch: Sequence[Record]) -> None:
        """Store one batch."""
        if self.admins_guard and self._before is None and any(isinstance(one, Admin) for one in batch):
            self._before = every_admin(transaction)
        for given in batch:
            record = seal_record(given, self.seals)
            table, name = records.name_of(record)
            self.rows.append((table.removesuffix("s"), name, self._store(transaction, table, name, record)))

    def end(self, transaction: RecordTransaction) -> None:
        """Ask about the whole, when every batch is stored."""
        if self.admins_guard is not None and self._before is not None:
            self.admins_guard(self._before, every_admin(transaction))

    def _store(self, transaction: RecordTransaction, table: RecordTable, name: str, record: Record) -> str:
        stored = transaction.get(table, name)
        if stored is None:
            records.add(transaction, record, keep_times=True)
            return "added"
        if self.mode == ADD_ONLY:
            return "kept"
        if self.guard is not None:
            self.guard(records.shown(transaction, stored), record)
        records.change(transaction, record)
        return "updated"


def with_admins_guard(
    work: Callable[[RecordTransaction], T], guard: AdminsGuard | None
) -> Callable[[RecordTransaction], T]:
    """Work on administrators after which a guard is asked."""
    if guard is None:
        return work

    def guarded(transaction: RecordTransaction) -> T:
        before = every_admin(transaction)
        done = work(transaction)
        guard(before, every_admin(transaction))
        return done

    return guarded


def every_admin(transaction: RecordTransaction) -> list[Admin]:
    """All administrators by name."""
    return cast("list[Admin]", list(records.every(transaction, "admins")))
