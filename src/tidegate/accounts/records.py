# SPDX-License-Identifier: Apache-2.0
"""Reading, adding, changing and removing one kind of record: versions, repetition and the event."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

from tidegate.accounts.actor import Actor
from tidegate.accounts.names import can_be_stored, fold_name
from tidegate.accounts.needs import Emits, Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.rules import Rules
from tidegate.accounts.versions import Record, changed_fields, encoded, fields_since, given_fields, version_of
from tidegate.errors import BadRecord, NotFound, Outdated
from tidegate.events.kinds import Administered
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.contract import Guard, Kind, Provider

R = TypeVar("R", Account, Folder, Group, Role, Admin, ApiKey, EventAction, EventRule, ListEntry)

Document = Mapping[str, Any]
Edit = Document | Callable[[Any], Document]
"""The new document of a record, or a function that makes it of the stored record."""

MAX_TRIES: Final = 8
"""Attempts at a change without a version, while somebody else changes the record."""
MAX_TOLD_CHARS: Final = 1024 * 1024
"""Characters of a removed record that its event has."""


@dataclass(frozen=True, slots=True)
class Stored(Generic[R]):
    """One kind of record in the data provider.

    Attributes:
        kind: for events.
        label: for messages.
        read: a record by name.
        add: store a new one.
        update: replace one, if the guard allows it.
        delete: remove one, if the guard allows it.
        name_of: what a record is called.
    """

    kind: Kind
    label: str
    read: Callable[[str], Awaitable[R | None]]
    add: Callable[[R], Awaitable[R]]
    update: Callable[[R, Guard[R]], Awaitable[R]]
    delete: Callable[[str, Guard[R]], Awaitable[None]]
    name_of: Callable[[R], str]


class Records(Generic[R]):
    """The steps of changes that all kinds share.

    Every change is a comparison and an exchange: it is stored only if the record is still what the change was
    made of. With a version of the caller's the first difference refuses it, without one it is made again.
    """

    def __init__(self, stored: Stored[R], rules: Rules, events: Emits) -> None:
        self._stored: Final[Stored[R]] = stored
        self._rules: Final = rules
        self._events: Final = events

    def folded(self, name: str) -> str:
        """A name as it is stored.

        Raises:
            NotFound: nothing can have this name.
        """
        name = fold_name(name, self._rules)
        if not can_be_stored(name):
            raise NotFound(f"no such {self._stored.label}")
        return name

    async def get(self, name: str) -> R:
        """One record.

        Raises:
            NotFound: there is none of this name.
        """
        name = self.folded(name)
        record = await self._stored.read(name)
        if record is None:
            raise NotFound(f"no such {self._stored.label}: {name}")
        return record

    def require_same_name(self, document: Document, key: str, name: str) -> None:
        """Return if a document is about the record of this name, or names none.

        Raises:
            BadRecord: it names another one.
        """
        given = document.get(key)
        if isinstance(given, str) and given and fold_name(given, self._rules) != name:
            raise BadRecord(key, f"{given[:255]!r} is not {name!r}, and names cannot be changed")

    async def add(self, record: R, *, by: Actor) -> R:
        """Store a new record and tell it.

        Raises:
            AlreadyExists: something has that name.
        """
        stored = await self._stored.add(record)
        await self._tell("add", self._stored.name_of(stored), given_fields(stored), by)
        return stored

    async def change(
        self,
        name: str,
        make: Callable[[R], Awaitable[R]],
        *,
        by: Actor,
        version: str = "",
        follow: Callable[[R, R], Awaitable[None]] | None = None,
    ) -> R:
        """Replace a record by what `make` makes of the stored one, and tell it.

        Args:
            name: of the record.
            make: makes the new one; called again if somebody else was faster.
            by: who changes it.
            version: change it only if it is of this version; empty for any.
            follow: does what follows, of the record before and after; called before it is told, because
                telling may fail.

        Raises:
            NotFound: there is none of this name.
            Outdated: the record is not of that version; nothing was changed.
        """
        tries = 1 if version else MAX_TRIES
        while True:
            before = await self.get(name)
            self.require_version(before, version)
            wanted = await make(before)
            try:
                after = await self._stored.update(wanted, self._guard(version_of(before)))
            except Outdated:
                tries -= 1
                if not tries:
                    raise
                continue
            if follow is not None:
                await follow(before, after)
            await self._tell("change", self._stored.name_of(after), changed_fields(before, after), by)
            return after

    async def remove(
        self,
        name: str,
        *,
        by: Actor,
        version: str = "",
        check: Callable[[R], Awaitable[None]] | None = None,
        follow: Callable[[R], Awaitable[None]] | None = None,
    ) -> R:
        """Remove a record and tell it.

        Args:
            name: of the record.
            by: who removes it.
            version: remove it only if it is of this version; empty for any.
            check: is asked before, and may refuse by raising.
            follow: does what follows; called before it is told, because telling may fail.

        Returns:
            what was removed.

        Raises:
            NotFound: there is none of this name.
            Outdated: the record is not of that version; nothing was removed.
        """
        tries = 1 if version else MAX_TRIES
        while True:
            stored = await self.get(name)
            self.require_version(stored, version)
            if check is not None:
                await check(stored)
            try:
                await self._stored.delete(self._stored.name_of(stored), self._guard(version_of(stored)))
            except Outdated:
                tries -= 1
                if not tries:
                    raise
                continue
            if follow is not None:
                await follow(stored)
            await self._tell("remove", self._stored.name_of(stored), (), by, record=_document(stored))
            return stored

    async def counters_set(self, name: str, fields: tuple[str, ...], *, by: Actor) -> None:
        """Tell that somebody set counters of a record, which whoever keeps them has done."""
        await self._tell("change", name, fields, by)

    def require_version(self, record: R, version: str) -> None:
        """Return if a record is of a version; an empty one is any.

        Raises:
            Outdated: it is of another.
        """
        if version and version_of(record) != version:
            label = f"{self._stored.label} {self._stored.name_of(record)}"
            raise Outdated(label, fields_since(version, record))

    def _guard(self, version: str) -> Guard[R]:
        return lambda stored: self.require_version(stored, version)

    async def _tell(
        self,
        action: Literal["add", "change", "remove"],
        name: str,
        fields: tuple[str, ...],
        by: Actor,
        *,
        record: str = "",
    ) -> None:
        await self._events.record(
            Administered(
                origin=by.origin,
                channel=by.channel.value,
                action=action,
                kind=self._stored.kind,
                name=name,
                fields=fields,
                record=record,
                own=self._stored.kind == "user" and by.of_themselves,
            )
        )


def _document(record: Record) -> str:
    """A removed record as JSON text without its secrets; empty if it is too large to be told."""
    text = json.dumps(encoded(record), separators=(",", ":"))
    return text if len(text) <= MAX_TOLD_CHARS else ""


class Verbs(Generic[R]):
    """The verbs on one kind of record; each kind adds its own.

    Args:
        stored: the kind in the data provider.
        provider: for questions about other kinds.
        options: settings.
        needs: parts of a running server.
        rules: for names; None takes those of the options.
    """

    def __init__(
        self,
        stored: Stored[R],
        provider: Provider,
        options: AdministrationOptions,
        needs: Needs,
        *,
        rules: Rules | None = None,
    ) -> None:
        self._provider: Final = provider
        self._options: Final = options
        self._needs: Final = needs
        self._records: Final[Records[R]] = Records(stored, rules or options.rules, needs.events)

    async def get(self, name: str) -> R:
        """One record by its name.

        Raises:
            NotFound: there is none of this name.
        """
        return await self._records.get(name)

    async def exchange(self, name: str, make: Callable[[R], Awaitable[R]], *, by: Actor) -> R:
        """Replace a record by what `make` makes of the stored one, for other rooms of this package.

        Raises:
            NotFound: there is none of this name.
        """
        return await self._records.change(name, make, by=by)
