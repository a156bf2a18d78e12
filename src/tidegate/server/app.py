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

from tidegate.abc import Publish, Sink, StorageHost
from tidegate.backends.factory import Storages
from tidegate.cluster.account_watch import AccountWatch
from tidegate.cluster.api import Live
from tidegate.cluster.memory import MemoryLive
from tidegate.cluster.registry import Registry
from tidegate.config.load import Loaded
from tidegate.doors.common.door import Door
from tidegate.errors import (
    OperatorError,
    ProviderError,
    ProviderUnavailable,
)
from tidegate.events.bus import Bus
from tidegate.events.factory import create_sinks
from tidegate.events.outbox import Outbox
from tidegate.events.sinks.log import LogSink
from tidegate.identity.factory import create_authenticators
from tidegate.identity.service import Identity
from tidegate.identity.usage_records import UsageRecords
from tidegate.inspection.factory import create_inspectors
from tidegate.inspection.inspections import Inspections
from tidegate.model import Account
from tidegate.resources import Ledger, Limits
from tidegate.server.door_table import BUILT_IN
from tidegate.server.doors import Composition, DoorPlan, Doors
from tidegate.server.first_admin import create_first_admin
from tidegate.server.other_doors import other_doors
from tidegate.server.wiring import (
    authenticator_uses,
    identity_options,
    inspector_keys,
    keys_that_wait,
    limit_settings,
    provider_options,
    sink_uses,
    storage_kinds,
)
from tidegate.store.contract import Provider
from tidegate.store.factory import create_provider
from tidegate.vfs.context import VfsOptions
from tidegate.vfs.factory import VfsSessions
from tidegate.vfs.usage.lease import Lease, server_name

if TYPE_CHECKING:
    from collections.abc import Coroutine

PROVIDER_RETRY_SECONDS: Final = 3.0
"""How often a data provider that was down at start is tried again."""

JOURNAL_DIRECTORY: Final = "uploads.journal"
"""Where, in the configuration directory, unfinished uploads are noted so that a crash leaves no debris."""

log = logging.getLogger(__name__)


class App:
    """One server. Life: constructed (pure), `start`, `reload`..., `drain`, `stop` (legal at any time).

    Args:
        loaded: the configuration.
        sinks: who else is told what happens, besides the log.
        provider: accounts to use instead of those that the configuration names.
        doors: the doors that there may be; the configuration decides which of them are on.
        keep_journal: note unfinished uploads in the configuration directory, for the start after a crash.
        live: what several nodes share; None shares nothing.
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
    ) -> None:
        self.loaded = loaded
        self.bus = Bus([*([LogSink()] if log_events else []), *sinks])
        self.live: Live = live or MemoryLive(server_name(str(loaded.config_dir)))
        self.registry = Registry(self.live)
        self.ledger = Ledger(Limits.derive(limit_settings(loaded)))
        self.provider = provider or create_provider(provider_options(loaded))
        self.provider_ready = False
        self.doors = Doors(self.registry, self.live)
        self.sweep = AccountWatch(self.doors.usernames, self._find_account, self._end_user)
        self._storages: Storages | None = None
        self._identity: Identity | None = None
        self._sessions: VfsSessions | None = None
        self._inspections: Inspections | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._plans = tuple(doors)
        self._journal = str(loaded.config_dir / JOURNAL_DIRECTORY) if keep_journal else None
        self._process_umask = 0o077

    @property
    def identity(self) -> Identity:
        """Who may come in; there once started."""
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
        self._process_umask = _read_umask()
        await self.bus.open()
        await self.live.open()
        await self._open_provider()
        await self._open_sinks()
        inspections = await self._open_inspectors()
        self._storages = Storages(storage_kinds(self.loaded), self._storage_host())
        for line in await self._storages.open():
            log.info("%s", line)
        wanted = authenticator_uses(self.loaded)
        authenticators = await asyncio.to_thread(create_authenticators, wanted) if wanted else ()
        self._identity = Identity(
            self.provider,
            identity_options(self.loaded),
            authenticators=authenticators,
            inspect=inspections.require if inspections is not None and inspections.login else None,
        )
        await self._identity.open()
        self._sessions = VfsSessions(
            self._storages.build, UsageRecords(self._identity, self.provider),
            options=self._vfs_options(), emit=self.bus.emit,
            kept=self.bus if self.bus.outbox is not None else None, inspections=inspections,
            track_quota=self.loaded.settings.data_provider.track_quota,
            lease=Lease(self.provider, server_name(str(self.loaded.config_dir))),
        )  # fmt: skip
        if self.provider_ready:
            await create_first_admin(self.provider, self.loaded, os.environ, self.bus)
            self._spawn(self._reconcile(), "reconcile usage")
        self._spawn(self.sweep.run(), "sweep of sessions")
        plans = [*self._plans, *other_doors(self.loaded)]
        await self.doors.start(plans, self._composition(), self.loaded)

    def _composition(self) -> Composition:
        return Composition(
            provider=self.provider,
            provider_ready=lambda: self.provider_ready,
            identity=self.identity,
            sessions=self.sessions,
            bus=self.bus,
            registry=self.registry,
            live=self.live,
            ledger=self.ledger,
            doors=self.doors,
        )

    def _vfs_options(self) -> VfsOptions:
        common = self.loaded.settings.common
        return VfsOptions(
            upload_mode=Publish(common.upload_mode),
            setstat_mode=common.setstat_mode,
            map_owners=hasattr(os, "geteuid") and os.geteuid() == 0,
            fsync=common.fsync,
            rename_onto=self.loaded.settings.sftpd.rename_onto,
            early=self.ledger.early,
        )

    def _storage_host(self) -> StorageHost:
        umask = self.loaded.settings.common.umask
        return StorageHost(
            umask=int(umask, 8) if umask else self._process_umask,
            journal_dir=self._journal,
            on_os_error=self.ledger.descriptors.short,
        )

    async def _open_provider(self) -> None:
        try:
            await self.provider.open(migrate=self.loaded.settings.data_provider.update_mode == 0)
            self.provider_ready = True
        except ProviderUnavailable as error:
            log.error("data provider: %s; logins are refused until it answers", error)
            self._spawn(self._await_provider(), "await data provider")

    async def _open_inspectors(self) -> Inspections | None:
        wanted = inspector_keys(self.loaded)
        if not wanted:
            return None
        self._inspections = Inspections(await asyncio.to_thread(create_inspectors, wanted))
        await self._inspections.open()
        return self._inspections

    async def _open_sinks(self) -> None:
        """Begin to tell those that the configuration names."""
        wanted, section = sink_uses(self.loaded), self.loaded.settings.events
        if not wanted:
            return
        lossy, kept = await asyncio.to_thread(create_sinks, wanted)
        for sink in lossy:
            await self.bus.add(sink)
        if kept:
            outbox = Outbox(
                self.provider.outbox,
                kept,
                server=server_name(str(self.loaded.config_dir)),
                limit=section.outbox_limit,
                refuse_when_full=section.outbox_full == "refuse",
            )
            await self.bus.keep_in(outbox)

    async def _await_provider(self) -> None:
        while not self.provider_ready:
            await asyncio.sleep(PROVIDER_RETRY_SECONDS)
            try:
                await self.provider.open(migrate=self.loaded.settings.data_provider.update_mode == 0)
            except ProviderUnavailable:
                continue
            except ProviderError as error:
                log.error("data provider: %s", error)
                continue
            self.provider_ready = True
            log.info("data provider: answers again, logins are possible")
            try:
                await create_first_admin(self.provider, self.loaded, os.environ, self.bus)
            except OperatorError as error:
                log.error("the first administrator was not made: %s", error)
            await self._reconcile()

    async def _reconcile(self) -> None:
        """Count again what a crash left uncounted."""
        try:
            await self.sessions.reconcile()
        except ProviderUnavailable as error:
            log.warning("usage was not reconciled: %s", error)

    # -- who may not stay ------------------------------------------------------------------------------

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
        apply = await self.doors.reload(loaded)
        apply()
        if waiting := keys_that_wait(self.loaded, loaded):
            log.warning("%s changed; restart the server to apply that", ", ".join(waiting))
        self.loaded = loaded
        self.sessions.reconfigure(self._vfs_options())
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
            stack.push_async_callback(self.bus.close_outbox)
            if self._storages is not None:
                stack.push_async_callback(self._storages.close)
            if self._inspections is not None:
                stack.push_async_callback(self._inspections.close)
            if self._identity is not None:
                stack.push_async_callback(self._identity.close)
            if self._sessions is not None:
                stack.push_async_callback(self._sessions.close)
            stack.push_async_callback(self.doors.stop)


def _read_umask() -> int:
    """The umask this process was started with.

    Reading it is setting it, for every thread: to be done before any of them makes files.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
