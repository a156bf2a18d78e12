# SPDX-License-Identifier: Apache-2.0
"""Consequences of a load of many records at once: a dump, or an import from another server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from tidegate.accounts.actor import Actor
from tidegate.accounts.needs import Needs
from tidegate.errors import TidegateError
from tidegate.events.kinds import Administered
from tidegate.policy.login import disconnect_reason
from tidegate.store.contract import LoadRow, Provider

DISCONNECT_UPDATED: Final = 2
"""The load mode that closes connections of every user it updates."""

BURST: Final = 2_000
"""Events told without a pause: a fifth of what the bus holds for one sink."""

PAUSE_SECONDS: Final = 0.05

_log = logging.getLogger(__name__)

_ACTIONS: Final[dict[str, Literal["add", "change"]]] = {"added": "add", "updated": "change"}


class Loads:
    """Does what follows from loads; the provider has stored them by then."""

    def __init__(self, provider: Provider, needs: Needs) -> None:
        self._provider: Final = provider
        self._needs: Final = needs

    async def finished(
        self,
        rows: Sequence[LoadRow],
        *,
        by: Actor,
        mode: int = 0,
        fields: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        """Close connections, revoke tokens and emit an event for each record that was added or changed.

        Args:
            rows: what became of each record.
            by: who loaded them.
            mode: of the load; 2 closes connections of every updated user, others of those only who may not
                stay.
            fields: names of the fields that changed, by user name, where the load knows them.
        """
        updated = [name for kind, name, action in rows if kind == "user" and action == "updated"]
        await self._disconnect(updated, by, everybody=mode == DISCONNECT_UPDATED)
        for kind, name, action in rows:
            if kind == "admin" and action == "updated":
                await self._needs.tokens.revoke_all(name)
        await self._tell(rows, by, fields or {})

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

    async def _disconnect(self, updated: Iterable[str], by: Actor, *, everybody: bool) -> None:
        connections = self._needs.connections
        if everybody:
            for name in updated:
                connections.close_user(name, by=by.name)
            return
        for name in connections.usernames().intersection(updated):
            with contextlib.suppress(TidegateError):  # it is loaded all the same; the sweep asks again
                account = await self._provider.user(name)
                if account is not None and disconnect_reason(account, time.time_ns() // 1_000_000):
                    connections.close_user(name, by=by.name)

    async def _tell(self, rows: Sequence[LoadRow], by: Actor, fields: Mapping[str, tuple[str, ...]]) -> None:
        events = [
            Administered(
                origin=by.origin,
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
            await asyncio.gather(*map(self._needs.events.record, events[start : start + BURST]))
