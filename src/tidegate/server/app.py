# SPDX-License-Identifier: Apache-2.0
"""The composition root: configuration in, running doors out.

Every object is made here by its constructor and handed down; nothing else in the house looks anything up.
Order of starting: record (bus), memory (provider), bytes (backends), people (identity), files (vfs), doors.
Order of stopping: the reverse, so that what a door still has to say is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from tidegate.abc import Sink
from tidegate.backends.factory import Storages
from tidegate.cluster.account_watch import AccountWatch
from tidegate.cluster.registry import Registry
from tidegate.config.load import Loaded
from tidegate.contracts.cluster import Live
from tidegate.doors.common.door import Door
from tidegate.errors import OperatorError, ProviderUnavailable
from tidegate.events.bus import Bus
from tidegate.events.sinks.log import LogSink
from tidegate.identity.service import Identity
from tidegate.identity.usage_records import UsageRecords
from tidegate.model import Account
from tidegate.resources import Ledger, Limits
from tidegate.server.address_checks import AddressChecks
from tidegate.server.authenticators import authenticators
from tidegate.server.certificates import user_certificates
from tidegate.server.defence import DefenceHost
from tidegate.server.door_table import BUILT_IN
from tidegate.server.doors import Composition, DoorPlan, Doors
from tidegate.server.files import session_kind, storage_host, vfs_options, write_locks
from tidegate.server.first_admin import create_first_admin
from tidegate.server.hooked import login_hooks, notices
from tidegate.server.later import MOVES_DIRECTORY, LaterParts
from tidegate.server.other_doors import other_doors
from tidegate.server.provider_start import ProviderStart
from tidegate.server.secrets import read_keys, sealing, with_keys_of
from tidegate.server.sinks import Receivers
from tidegate.server.wiring import (
    identity_options,
    keys_that_wait,
    limit_settings,
    live_state,
    login_delays,
    provider_options,
    storage_kinds,
)
from tidegate.store.contract import Provider
from tidegate.store.factory import create_provider
from tidegate.vfs.factory import VfsSessions
from tidegate.vfs.usage.lease import Lease, server_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tidegate.logs.search import LogReader


JOURNAL_DIRECTORY: Final = "uploads.journal"
"""The directory, in that of the configuration, that notes unfinished uploads: a crash leaves no debris."""

log = logging.getLogger(__name__)


class App:
    """One server. Life: constructed (pure), `start`, `reload`..., `drain`, `stop` (legal at any time).

    Args:
        loaded: the configuration.
        sinks: who else is told what happens, besides the log.
        provider: accounts to use instead of those that the configuration names.
        doors: the doors that there may be; the configuration decides which of them are on.
        keep_journal: note unfinished uploads in the configuration directory, for the start after a crash.
        live: what several nodes share; else what the configuration names. `log` gives what reads the log.

    Raises:
        ConfigError: parts that the configuration names cannot be made.
    """

    def __init__(
        self,
        loaded: Loaded,
        *,
        sinks: Sequence[Sink] = (),
        provider: Provider | None = None,
        log_events: bool = True,
        doors: Sequence[DoorPlan] = BUILT_IN,
        keep_journal: bool = True,
        live: Live | None = None,
        log: Callable[[], LogReader] | None = None,
    ) -> None:
        self.loaded = loaded
        self.checks = AddressChecks()
        self.bus = Bus([*([LogSink(self.checks.known)] if log_events else []), *sinks])
        self.live: Live = live or live_state(loaded)
        self.registry = Registry(self.live)
        self.ledger = Ledger(Limits.derive(limit_settings(loaded)))
        self.provider = provider or create_provider(provider_options(loaded))
        settings = loaded.settings.data_provider
        self._provider_start = ProviderStart(self.provider, migrate=settings.update_mode == 0)
        self.doors = Doors(self.registry, self.live)
        self.sweep = AccountWatch(self.doors.usernames, self._find_account, self._end_user)
        self._storages: Storages | None = None
        self._identity: Identity | None = None
        self._sessions: VfsSessions | None = None
        self._later = LaterParts(self.bus, self._composition, lambda: self.loaded, log)
        self.receivers = Receivers(loaded, self.provider, self.bus, self)
        self.defence = DefenceHost(loaded, self.provider, self.bus, self.ledger, self.checks)
        self._tasks: set[asyncio.Task[None]] = set()
        self._plans = tuple(doors)
        self._journal = str(loaded.config_dir / JOURNAL_DIRECTORY) if keep_journal else None

    @property
    def provider_ready(self) -> bool:
        """True once the data provider has answered."""
        return self._provider_start.ready

    @property
    def identity(self) -> Identity:
        """Decides logins; there once started."""
        assert self._identity is not None
        return self._identity

    @property
    def sessions(self) -> VfsSessions:
        """Files; there once started."""
        assert self._sessions is not None
        return self._sessions

    def door(self, name: str) -> Door[Any] | None:
        """The door of a name, None if it is off."""
        return self.doors.get(name)

    def summary(self) -> str:
        """The state of the server in one line, for whoever supervises it."""
        return self._later.summary()

    # -- starting --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open everything and listen.

        A data provider that cannot be reached is no reason not to start: logins are refused until it is
        there, health says so, and it is tried again.

        Raises:
            OperatorError: something in the configuration cannot be used.
        """
        for note in self.loaded.notes:
            log.warning("%s", note)
        log.info("%s", await asyncio.to_thread(read_keys, self.loaded))
        # First: it reads the umask.
        measures = self._later.measures() if self.loaded.settings.counts else None
        observe = None if measures is None else measures.storage.observe
        hooked = None if measures is None else measures.hooks.observe
        host = storage_host(self.loaded, self.ledger, self._journal, self.doors.status, observe)
        await self.bus.open()
        if measures is not None:
            await measures.count()
        await self.live.open()
        if not await self._provider_start.now():
            self._spawn(self._provider_start.later(self._provider_answers), "await data provider")
        await self.defence.start()
        await self.receivers.open()
        self._storages = Storages(storage_kinds(self.loaded), host)
        for line in await self._storages.open():
            log.info("%s", line)
        self._identity = Identity(
            self.provider,
            identity_options(self.loaded, self.ledger),
            authenticators=await authenticators(self.loaded, self.bus),
            seals=sealing(self.loaded),
            certificates=await asyncio.to_thread(user_certificates, self.loaded),
            hooks=login_hooks(self.loaded, self.provider, self.bus, hooked),
            locate=self.checks.locate,
            inspect=self.receivers.inspections.require if self.receivers.inspections.login else None,
        )
        await self._identity.open()
        started = await notices(self.loaded, self.bus, self.registry, self._identity.find, hooked)
        self._sessions = VfsSessions(
            self._storages.build, UsageRecords(self._identity, self.provider, self._identity.keep_tally),
            options=vfs_options(self.loaded, self.ledger), emit=self.bus.emit,
            kept=self.bus, inspections=self.receivers.inspections, session=session_kind(measures),
            track_quota=self.loaded.settings.data_provider.track_quota,
            lease=Lease(self.provider, server_name(str(self.loaded.config_dir))), ready=self._storages.ready,
            properties=self.provider, locks=write_locks(self.loaded, self.live),
        )  # fmt: skip
        if self.provider_ready:
            await create_first_admin(self.provider, self.loaded, os.environ, self.bus)
            await self._settle_moves()
            self._spawn(self._reconcile(), "reconcile usage")
        self._spawn(self.sweep.run(), "sweep of sessions")
        self._spawn(self.sessions.properties.keep_learning(), "properties of other servers")
        await self.doors.start([*self._plans, *other_doors(self.loaded)], self._composition(), self.loaded)
        started()

    async def _settle_moves(self) -> None:
        """Release accounts that a move to other storage held when a crash broke it off."""
        if await asyncio.to_thread((self.loaded.config_dir / MOVES_DIRECTORY).is_dir):
            await self._later.moves().recover()

    def _composition(self) -> Composition:
        return Composition(
            provider=self.provider, provider_ready=lambda: self.provider_ready,
            identity=self.identity, sessions=self.sessions,
            bus=self.bus, registry=self.registry, live=self.live, ledger=self.ledger,
            doors=self.doors, receivers=self.receivers, defence=self.defence,
            moves=lambda: self._later.moves().moves, measures=self._later.measures,
            monitor=self._later.monitor, log=self._later.log_searches,
        )  # fmt: skip

    async def _provider_answers(self) -> None:
        """Work that waits for a data provider that was down at start."""
        try:
            await create_first_admin(self.provider, self.loaded, os.environ, self.bus)
        except OperatorError as error:
            log.error("the first administrator was not made: %s", error)
        await self._settle_moves()
        await self._reconcile()

    async def _reconcile(self) -> None:
        """Count again what a crash left uncounted."""
        try:
            await self.sessions.reconcile()
        except ProviderUnavailable as error:
            log.warning("usage was not reconciled: %s", error)

    async def _find_account(self, username: str) -> Account | None:
        return await self.identity.find(username)

    def _end_user(self, username: str, by: str) -> None:
        self.doors.close_user(username, by=by)

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    # -- changing --------------------------------------------------------------------------------------

    async def reload(self, loaded: Loaded) -> None:
        """Take over what can change while running; the rest keeps its value until a restart.

        Raises:
            ConfigError: the new configuration cannot be used; nothing has changed then.
        """
        waiting = keys_that_wait(self.loaded, loaded)
        loaded = with_keys_of(self.loaded, loaded)
        certificates = await asyncio.to_thread(user_certificates, loaded)
        defend = await self.defence.prepare(loaded)
        apply = await self.doors.reload(loaded)
        apply()
        defend()
        self.identity.certificates = certificates
        self.identity.delays = login_delays(loaded)
        if waiting:
            log.warning("%s changed; restart the server to apply that", ", ".join(waiting))
        self.loaded = loaded
        self.sessions.reconfigure(vfs_options(self.loaded, self.ledger))
        await self.provider.reload()
        log.info("configuration reloaded")

    # -- stopping --------------------------------------------------------------------------------------

    async def drain(self, grace_seconds: float) -> None:
        """Let nobody in any more and give running transfers some time."""
        await self.doors.drain(grace_seconds)

    async def stop(self) -> None:
        """Stop everything, in reverse order; every step is taken whatever the one before did."""
        for task in list(self._tasks):
            task.cancel()
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.bus.close)
            stack.push_async_callback(self.live.close)
            stack.push_async_callback(self.provider.close)
            stack.push_async_callback(self.receivers.stop)
            stack.push_async_callback(self.defence.stop)
            stack.push_async_callback(self.bus.close_outbox)
            if self._storages is not None:
                stack.push_async_callback(self._storages.close)
            if self._identity is not None:
                stack.push_async_callback(self._identity.close)
            if self._sessions is not None:
                stack.push_async_callback(self._sessions.close)
            self._later.close(stack)
            stack.push_async_callback(self.doors.stop)
