# SPDX-License-Identifier: Apache-2.0
"""Opens the sinks and inspectors that the configuration names, and event rules if there are any."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from tidegate.config.load import Loaded
from tidegate.errors import ProviderUnavailable, StorageFailed
from tidegate.events.batches import KeptUse
from tidegate.events.bus import Bus
from tidegate.events.factory import create_sinks
from tidegate.events.outbox import Outbox
from tidegate.inspection.factory import create_inspectors
from tidegate.inspection.inspections import Inspections
from tidegate.server.inspectors import clamd_options, icap_options, inspector_keys, make_quarantine
from tidegate.server.wiring import sink_uses
from tidegate.store.contract import Provider
from tidegate.vfs.usage.lease import server_name

if TYPE_CHECKING:
    from tidegate.server.app import App
    from tidegate.server.rules import EventRules

REFRESH_SECONDS: Final = 15.0
"""Time between looks for rules that other servers and commands have changed."""

EXPIRE_SECONDS: Final = 3600.0
"""Time between looks for files that have been in quarantine for too long."""

log = logging.getLogger(__name__)


def make_outbox(loaded: Loaded, provider: Provider, uses: Sequence[KeptUse]) -> Outbox:
    """The outbox of these sinks, not open yet."""
    section = loaded.settings.events
    return Outbox(
        provider.outbox,
        uses,
        server=server_name(str(loaded.config_dir)),
        limit=section.outbox_limit,
        refuse_when_full=section.outbox_full == "refuse",
    )


class Receivers:
    """Everybody who is told or asked. Life: constructed (pure), `open`, `stop`.

    Event rules are loaded when there are some: in the configuration, or as records, now or later.

    Args:
        loaded: the configuration.
        provider: the data provider.
        bus: events go over it.
        app: the server; event rules work with its parts, once it has them.

    Attributes:
        inspections: asked before acts count; there after `open`.
        rules: event rules; None while there are none.
    """

    def __init__(self, loaded: Loaded, provider: Provider, bus: Bus, app: App) -> None:
        self._loaded = loaded
        self._provider = provider
        self._bus = bus
        self._app = app
        self._watch: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._expired = time.monotonic()
        self.inspections = Inspections([])
        self.rules: EventRules | None = None

    async def open(self) -> None:
        """Begin to tell and ask those that the configuration names.

        Raises:
            ConfigError: one cannot be found or made.
        """
        wanted, clamd = inspector_keys(self._loaded), clamd_options(self._loaded)
        quarantine = make_quarantine(self._loaded)
        icap = icap_options(self._loaded)
        if wanted or clamd is not None or icap is not None or quarantine is not None:
            uses = await asyncio.to_thread(create_inspectors, wanted, clamd, icap)
            self.inspections = Inspections(uses, quarantine)
        sinks = sink_uses(self._loaded)
        lossy, kept = await asyncio.to_thread(create_sinks, sinks) if sinks else ([], [])
        for sink in lossy:
            await self._bus.add(sink)
        if kept or await self._has_rules():
            # Rules are in an outbox from its start, because others may be added while the server runs.
            rules = await self._load_rules()
            if kept or rules.active.book:
                await self._bus.keep_in(make_outbox(self._loaded, self._provider, [*kept, rules.use()]))
        await self.inspections.open()
        self._watch = asyncio.create_task(self._look_now_and_then(), name="event rules: records")

    async def _has_rules(self) -> bool:
        settings = self._loaded.settings
        if settings.common.actions.execute_on or settings.data_provider.actions.execute_on:
            return True
        try:
            return bool(await self._provider.event_rules(limit=1))
        except ProviderUnavailable:
            return False  # it is asked again soon

    async def _load_rules(self) -> EventRules:
        from tidegate.server.rule_parts import PartsOfServer
        from tidegate.server.rules import EventRules

        if self.rules is None:
            rules = EventRules(self._loaded, self._provider, self._bus, PartsOfServer(self._app))
            await rules.start(self.inspections, partial(make_outbox, self._loaded, self._provider))
            self.rules = rules
        return self.rules

    async def refresh(self) -> None:
        """Take over rules as they are stored now."""
        async with self._turn:
            if self.rules is not None or await self._has_rules():
                await (await self._load_rules()).refresh()

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except ProviderUnavailable as error:
                log.warning("event rules cannot be read: %s", error)
            except Exception:
                log.exception("event rules could not be read")
            await self._expire_kept()

    async def _expire_kept(self) -> None:
        """Remove files from the quarantine that are too old, once an hour."""
        quarantine, now = self.inspections.quarantine, time.monotonic()
        if quarantine is None or now < self._expired + EXPIRE_SECONDS:
            return
        self._expired = now
        try:
            await quarantine.expire()
        except StorageFailed as error:
            log.warning("%s", error.text)

    async def run_rule(self, name: str) -> None:
        """Have an event rule run that is there to be run on demand.

        Raises:
            NotFound: there is none of this name.
            BadRecord: it has another trigger, or is not active.
        """
        async with self._turn:
            rules = await self._load_rules()
        await rules.run_now(name)

    def shown(self) -> list[dict[str, object]]:
        """The active rules, those of the configuration included."""
        return [] if self.rules is None else self.rules.shown()

    def wake(self) -> None:
        """Deliveries were changed by hand: look for those that are due."""
        if self.rules is not None:
            self.rules.sink.wake()

    async def stop(self) -> None:
        """Ask nobody any more, and end what rules run."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await self.inspections.close()
        if self.rules is not None:
            await self.rules.stop()
