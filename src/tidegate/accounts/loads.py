# SPDX-License-Identifier: Apache-2.0
"""Verbs on many records at once: a dump, or an import from another server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping, Sequence
from typing import Final, Literal

from tidegate.accounts.actor import Actor
from tidegate.accounts.administrators import EVERYTHING, check_load_keeps_owner
from tidegate.accounts.needs import Needs
from tidegate.errors import BadRecord, Conflict, Outdated, TidegateError
from tidegate.events.kinds import Administered
from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.policy.login import disconnect_reason
from tidegate.store.contract import ADD_ONLY, Kind, LoadGuard, LoadReport, LoadRow, Provider, Record

MODES: Final = (0, 1, 2)
DISCONNECT_UPDATED: Final = 2
"""The load mode that closes connections of every user it updates."""

BURST: Final = 2_000
"""Events told without a pause: a fifth of what the bus holds for one sink."""

PAUSE_SECONDS: Final = 0.05
PAGE: Final = 500
"""Administrators read at a time."""

KIND_WORDS: Final[dict[str, tuple[str, str]]] = {
    "user": ("user", "users"),
    "folder": ("folder", "folders"),
    "group": ("group", "groups"),
    "role": ("role", "roles"),
    "admin": ("administrator", "administrators"),
    "api_key": ("API key", "API keys"),
    "event_action": ("event action", "event actions"),
    "event_rule": ("event rule", "event rules"),
    "ip_list": ("list entry", "list entries"),
}
"""One and several records of each kind."""

_log = logging.getLogger(__name__)

_ACTIONS: Final[dict[str, Literal["add", "change"]]] = {"added": "add", "updated": "change"}


class Loads:
    """Stores many records at once, and does what follows."""

    def __init__(self, provider: Provider, needs: Needs) -> None:
        self._provider: Final = provider
        self._needs: Final = needs

    async def store(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        by: Actor,
        mode: int = 0,
        merged: bool = False,
        fields: Mapping[str, tuple[str, ...]] | None = None,
        requires: str = EVERYTHING,
        absent: Collection[tuple[str, str]] = (),
    ) -> LoadReport:
        """Store everything in one transaction, and then close connections, revoke tokens and emit the events.

        Args:
            batches: of records that are checked, and whose passwords are hashes; folders come before users,
                and API keys last. What it raises undoes everything.
            by: who loads them.
            mode: 0 adds and updates, 1 only adds, 2 as 0 and closes connections of every updated user; 0 and
                1 close those only of users who may not stay.
            merged: records that exist were made of the stored ones, with their `id` and `updated_at`; whoever
                changed one since then does not lose that change.
            fields: names of the fields that change, by user name, where the load knows them.
            requires: the permission that these records need; every one unless they are of a kind of its own.
            absent: kind and name of records that were not there when somebody decided to load these; one that
                came since then is not replaced.

        Raises:
            Denied: they have not that permission.
            BadRecord: the mode is unknown, or no owner would remain; nothing was changed.
            Conflict: a record of `absent` is there by now; nothing was changed.
            Outdated: of `merged` records, one has changed; nothing was changed.
        """
        by.require(requires)
        check_mode(mode)
        out: set[str] = set()
        report = await self._provider.load_batches(
            _noting_who_is_out(batches, out),
            mode=mode,
            guard=_check_unchanged if merged else _check_absent(frozenset(absent)) if absent else None,
            admins_guard=check_load_keeps_owner,
        )
        updated = [name for kind, name, action in report.rows if kind == "user" and action == "updated"]
        for name in updated:
            if mode == DISCONNECT_UPDATED or name in out:
                self._needs.connections.close_user(name, by=by.name)
        for kind, name, action in report.rows:
            if kind == "admin" and action == "updated":
                await self._needs.tokens.revoke_all(name)
        await self._tell(report.rows, by, fields or {})
        return report

    async def rehearse(self, batches: AsyncIterable[Sequence[Record]], *, mode: int = 0) -> list[LoadRow]:
        """Tell what `store` would do with each record; nothing is changed. Names are asked for in bulk.

        Raises:
            BadRecord: as `store`.
        """
        check_mode(mode)
        rows: list[LoadRow] = []
        before = {admin.username: admin async for admin in self._admins()}
        after = dict(before)
        word = "kept" if mode == ADD_ONLY else "updated"
        async for batch in batches:
            named = [kind_and_name(record) for record in batch]
            taken = {
                kind: await self._provider.existing(kind, [name for of, name in named if of == kind])
                for kind in {kind for kind, _ in named}
            }
            rows += [(kind, name, word if name in taken[kind] else "added") for kind, name in named]
            for record in batch:
                if isinstance(record, Admin) and (mode != ADD_ONLY or record.username not in before):
                    after[record.username] = record
        check_load_keeps_owner(before.values(), after.values())
        return rows

    async def _admins(self) -> AsyncIterator[Admin]:
        offset = 0
        while page := await self._provider.admins(offset=offset, limit=PAGE):
            for admin in page:
                yield admin
            offset += len(page)

    async def count_files(self, rows: Sequence[LoadRow], *, everybody: bool) -> None:
        """Count the files of loaded users with a quota, or of all loaded users and folders, one by one.

        Args:
            rows: what became of each record.
            everybody: also users without a quota, folders, and what the load left as it was.
        """
        for kind, name, action in rows:
            if action == "kept" and not everybody:
                continue
            try:
                if kind == "user":
                    account = await self._provider.user(name)
                    if account is not None and (everybody or account.quota_size or account.quota_files):
                        await self._needs.scans.scan("user", name)
                elif kind == "folder" and everybody:
                    await self._needs.scans.scan("folder", name)
            except TidegateError as error:
                _log.warning("no quota scan of %s %r: %s", kind, name, error)

    async def _tell(self, rows: Sequence[LoadRow], by: Actor, fields: Mapping[str, tuple[str, ...]]) -> None:
        origin = by.origin
        events = [
            Administered(
                origin=origin,
                channel=by.channel.value,
                action=_ACTIONS[action],
                kind=kind,
                name=name,
                fields=fields.get(name, ()) if kind == "user" else (),
            )
            for kind, name, action in rows
            if action in _ACTIONS
        ]
        for start in range(0, len(events), BURST):
            if start:
                await asyncio.sleep(PAUSE_SECONDS)  # sinks catch up: none loses an event of a large load
            await self._needs.events.record(*events[start : start + BURST])


def check_mode(mode: int) -> None:
    """Return if there is such a load mode.

    Raises:
        BadRecord: there is none.
    """
    if mode not in MODES:
        raise BadRecord("mode", f"{mode} is not one of 0, 1, 2")


def kind_and_name(record: Record) -> tuple[Kind, str]:
    """The kind and the name of a record."""
    match record:
        case Account():
            return "user", record.username
        case Folder():
            return "folder", record.name
        case Group():
            return "group", record.name
        case Role():
            return "role", record.name
        case Admin():
            return "admin", record.username
        case ApiKey():
            return "api_key", record.id
        case EventAction():
            return "event_action", record.name
        case EventRule():
            return "event_rule", record.name
        case ListEntry():
            return "ip_list", record.name


async def _noting_who_is_out(
    batches: AsyncIterable[Sequence[Record]], out: set[str]
) -> AsyncIterator[Sequence[Record]]:
    """The batches; names of accounts whose users may not stay connected are put into a set."""
    now_ms = time.time_ns() // 1_000_000
    async for batch in batches:
        for record in batch:
            if isinstance(record, Account):
                (out.add if disconnect_reason(record, now_ms) else out.discard)(record.username)
        yield batch


def _check_absent(names: frozenset[tuple[str, str]]) -> LoadGuard:
    """Refuses to replace records that were not there before."""

    def check(stored: Record, wanted: Record) -> None:
        del wanted
        if (found := kind_and_name(stored)) in names:
            kind, name = found
            raise Conflict(
                f"{kind} {name} was added after the dump was looked at; nothing was changed. Look at it again"
            )

    return check


def _check_unchanged(stored: Record, wanted: Record) -> None:
    """Return if a record was made of the stored one.

    Raises:
        Outdated: it was made of an earlier one, or when there was none.
    """
    read, now = ((getattr(one, "id", 0), getattr(one, "updated_at", 0)) for one in (wanted, stored))
    if read != now:
        kind, name = kind_and_name(stored)
        raise Outdated(f"{kind} {name}")
