# SPDX-License-Identifier: Apache-2.0
"""The doors of a server: how each is made, and what is done with all of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidegate.cluster.registry import Registry
from tidegate.config.load import Loaded
from tidegate.contracts.cluster import Live, Message
from tidegate.doors.common.door import Apply, Door
from tidegate.errors import ConfigError, Problem
from tidegate.events.bus import Bus
from tidegate.identity.service import Identity
from tidegate.model.door import DoorStatus
from tidegate.resources import Ledger
from tidegate.store.contract import Provider
from tidegate.vfs.factory import VfsSessions

if TYPE_CHECKING:
    from tidegate.metrics.measures import Measures
    from tidegate.relocation.moves import Moves
    from tidegate.server.defence import DefenceHost
    from tidegate.server.monitor import Monitor
    from tidegate.server.sinks import Receivers
    from tidegate.web.api.log_lines import LogSearches

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The parts of a server, but for its doors. Factories of doors pick what theirs needs.

    Attributes:
        provider_ready: True once the data provider has answered.
        doors: of this server.
        moves: of files to other storage.
        measures: what is counted; made when it is first asked for.
        monitor: what monitoring reads; made when it is first asked for.
        defence: lists, scores and bans.
        receivers: those who are told and asked, event rules among them.
        log: gives searches in the log; None where there is none that could be read.
    """

    provider: Provider
    provider_ready: Callable[[], bool]
    identity: Identity
    sessions: VfsSessions
    bus: Bus
    registry: Registry
    live: Live
    ledger: Ledger
    doors: Doors
    moves: Callable[[], Moves]
    measures: Callable[[], Measures]
    monitor: Callable[[], Monitor]
    receivers: Receivers | None = None
    defence: DefenceHost | None = None
    log: Callable[[], Awaitable[LogSearches]] | None = None


@dataclass(frozen=True, slots=True)
class InstalledDoor:
    """A door and its tie to the configuration.

    Attributes:
        door: not started yet.
        reload: gets it ready for another configuration, as `Door.reload`.
        close: releases what serves behind the door; called after the door has stopped.
    """

    door: Door[Any]
    reload: Callable[[Loaded], Awaitable[Apply]]
    close: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class DoorPlan:
    """One kind of door that a server may have.

    Attributes:
        name: of the door.
        wanted: True if a configuration switches it on.
        create: makes it; raises ConfigError or OperatorError.
        late: made and started after the others, because loading its libraries takes long.
    """

    name: str
    wanted: Callable[[Loaded], bool]
    create: Callable[[Composition, Loaded], Awaitable[InstalledDoor]]
    late: bool = False


class Doors:
    """The doors of one server, in the order in which they were started, and who is connected.

    Args:
        registry: sessions of this process.
        live: what nodes share; connections that are closed here are closed on every node.
    """

    def __init__(self, registry: Registry, live: Live) -> None:
        self._registry = registry
        self._live = live
        self._installed: list[InstalledDoor] = []
        self._setup_code = ""
        self._telling: set[asyncio.Task[None]] = set()
        self._unsubscribe = live.subscribe("close_user", self._told_to_close)

    def __iter__(self) -> Iterator[Door[Any]]:
        return iter([one.door for one in self._installed])

    def setup_code(self) -> str:
        """The code that the first set-up by a browser asks for; made when it is first wanted."""
        if not self._setup_code:
            from tidegate.identity.setup_code import new_code

            self._setup_code = new_code()
        return self._setup_code

    def get(self, name: str) -> Door[Any] | None:
        """The door of a name, None if it is off."""
        return next((door for door in self if door.name == name), None)

    async def start(self, plans: Sequence[DoorPlan], composition: Composition, loaded: Loaded) -> None:
        """Make and start every door that is wanted.

        Raises:
            ConfigError: with the problems of all doors.
        """
        problems: list[Problem] = []
        for plan in sorted(plans, key=lambda one: one.late):
            if plan.wanted(loaded):
                try:
                    installed = await plan.create(composition, loaded)
                    self._installed.append(installed)
                    await installed.door.start()
                except ConfigError as error:
                    problems += error.problems
        if problems:
            raise ConfigError(problems)

    async def reload(self, loaded: Loaded) -> Apply:
        """Get every door ready for another configuration; returns what takes it over, as `Door.reload`.

        Raises:
            ConfigError: with the problems of all doors.
        """
        problems: list[Problem] = []
        ready: list[Apply] = []
        for installed in self._installed:
            try:
                ready.append(await installed.reload(loaded))
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)

        def apply() -> None:
            for one in ready:
                one()

        return apply

    async def drain(self, grace_seconds: float) -> None:
        """Drain all doors at the same time; the fault of one does not cut the others short."""
        doors = list(self)
        outcomes = await asyncio.gather(
            *(door.drain(grace_seconds) for door in doors), return_exceptions=True
        )
        for door, outcome in zip(doors, outcomes, strict=True):
            if isinstance(outcome, Exception):
                _log.error("draining %s failed", door.name, exc_info=outcome)

    async def stop(self) -> None:
        """Stop them, the last one first, whatever the one before raised."""
        self._unsubscribe()
        for task in self._telling:
            task.cancel()
        async with contextlib.AsyncExitStack() as stack:
            for installed in self._installed:
                if installed.close is not None:
                    stack.push_async_callback(installed.close)
                stack.push_async_callback(installed.door.stop)

    def usernames(self) -> set[str]:
        """Accounts that have a connection at any door, with or without a session."""
        return self._registry.usernames().union(*(door.usernames() for door in self))

    def close_user(self, username: str, *, by: str) -> int:
        """End every session and connection of an account, here at once and on other nodes soon.

        Returns:
            sessions or connections of this node, whichever were more.
        """
        if self._live.shared:
            telling = self._live.publish("close_user", username=username, by=by)
            task = asyncio.get_running_loop().create_task(telling, name=f"close {username} elsewhere")
            self._telling.add(task)
            task.add_done_callback(self._told)
        return self._close_here(username, by=by)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("%s failed; the watch of those nodes finds it: %s", task.get_name(), error)

    async def _told_to_close(self, message: Message) -> None:
        if message.node != self._live.node:
            self._close_here(message.fields["username"], by=message.fields["by"])

    def _close_here(self, username: str, *, by: str) -> int:
        sessions = self._registry.close_user(username, by=by)
        connections = 0
        for door in self:
            try:
                connections += door.close_user(username, by=by)
            except Exception:  # one door's fault must not keep the user at the others
                _log.exception("%s did not end the connections of %r", door.name, username)
        return max(sessions, connections)

    def status(self) -> list[DoorStatus]:
        """Every door as it is now."""
        return [door.status() for door in self]
