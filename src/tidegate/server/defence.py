# SPDX-License-Identifier: Apache-2.0
"""Makes the defence from the configuration, feeds it with records and logins, and keeps its bans."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from tidegate.config.load import Loaded
from tidegate.contracts.admission import AdmissionCheck
from tidegate.defence.defender import Host
from tidegate.defence.lists import AddressLists
from tidegate.defence.pipeline import Defence
from tidegate.errors import AlreadyExists, NotFound, ProviderUnavailable, TidegateError
from tidegate.events.bus import Bus
from tidegate.events.kinds import Banned, Disconnected, LoggedIn, LoginFailed, Refused
from tidegate.model import Origin
from tidegate.model.address_list import AddressList, parse_network
from tidegate.model.listed import ListEntry
from tidegate.model.sources import name_of
from tidegate.packages import load_beside
from tidegate.resources import Ledger, StartupLimits
from tidegate.server.address_checks import AddressChecks
from tidegate.server.defence_lists import StoredLists
from tidegate.server.defence_logins import LoginWatch, on_record
from tidegate.server.defence_options import options, proxies, shown, stored_ban
from tidegate.store.contract import Provider

if TYPE_CHECKING:
    from tidegate.defence.explaining import ConnectAnswer

REFRESH_SECONDS: Final = 15.0
"""Time between looks for entries and bans that other servers and commands have changed."""
SHARE: Final = 20
"""A look that took long is followed by a pause of so many times its length."""
MAX_UNWRITTEN: Final = 10_000
"""Bans that wait to be stored; more of them stay in memory alone."""

log = logging.getLogger(__name__)


class DefenceHost:
    """The defence of one server. Life: constructed (pure), `open`, `refresh`..., `close`.

    It is a sink of the bus: every door that puts logins on record takes part.

    Args:
        loaded: the configuration.
        provider: keeps lists and bans.
        bus: events come from it, and bans are told on it.
        ledger: doors find the defence there.
        checks: made from the configuration, and asked by the defence.

    Attributes:
        defence: what doors ask.
        checks: the checks that it asks, such as GeoIP.
        kinds: the bus hands it logins, ends of connections and refusals alone, so that uploads and downloads
            wake nothing here.
        prompt: the bus does not gather them: what follows a misdeed within milliseconds is judged by it.
    """

    kinds: Final = (LoginFailed, LoggedIn, Disconnected, Refused)
    prompt: Final = True

    def __init__(
        self, loaded: Loaded, provider: Provider, bus: Bus, ledger: Ledger, checks: AddressChecks
    ) -> None:
        self._loaded = loaded
        self._provider = provider
        self._bus = bus
        self.defence = ledger.entrance = Defence(
            options(loaded), sources=ledger.sources, banned=self._was_banned, turned=on_record(bus)
        )
        self.checks = checks
        checks.changed, checks.listed = self._take_checks, self._take_lists
        self._ledger = ledger
        self._take_limits(loaded)
        self._stored: dict[str, float] = {}
        self._lists = StoredLists(provider)
        self._unwritten: dict[str, tuple[float, str]] = {}
        self._logins = LoginWatch(self.defence)
        self._logins.monitors = AddressList(loaded.settings.telemetry.monitors)
        self._turn = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    # -- life ----------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load lists and bans, and take part in the bus. A provider that is away is asked again.

        Raises:
            ConfigError: a check cannot be used as configured.
        """
        await self.checks.open(self._loaded)
        with contextlib.suppress(ProviderUnavailable):
            await self.refresh()
        await self._bus.add(self)
        self._watch = asyncio.create_task(self._look_now_and_then(), name="defence: records")

    async def stop(self) -> None:
        """Store bans that wait, and end."""
        await self.checks.close()
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
            with contextlib.suppress(TidegateError, TimeoutError):
                async with self._turn, asyncio.timeout(5):
                    await self._write()

    async def prepare(self, loaded: Loaded) -> Callable[[], None]:
        """Get ready for another configuration, which the returned function takes over.

        Raises:
            ConfigError: a check cannot be used as configured.
        """
        take_checks = await self.checks.prepare(loaded)

        def apply() -> None:
            self._loaded = loaded
            self._take_limits(loaded)
            self.defence.reconfigure(options(loaded))
            self._logins.monitors = AddressList(loaded.settings.telemetry.monitors)
            take_checks()

        return apply

    def _take_limits(self, loaded: Loaded) -> None:
        common, connections = loaded.settings.common, self._ledger.connections
        self._ledger.proxies = proxies(loaded)
        connections.most, connections.most_each = (
            common.max_total_connections,
            common.max_per_host_connections,
        )

    def _take_checks(self, checks: Sequence[AdmissionCheck]) -> None:
        self.defence.checks = tuple(checks)

    def _take_lists(self, lists: AddressLists | None) -> None:
        self.defence.file_lists = lists

    # -- the sink ------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""

    async def handle(self, event: object) -> None:
        """As `handle_nowait`."""
        self.handle_nowait(event)

    def handle_nowait(self, event: object) -> None:
        """Count refused logins, and connections that end without one."""
        self._logins.take(event)

    # -- bans ----------------------------------------------------------------------------------------------

    def _was_banned(self, source: str, until: float, why: str) -> None:
        log.warning("%s is banned until %s: %s", source, shown(until), why)
        self._bus.emit(Banned(origin=Origin(ip=source), source=source, until=until, reason=why))
        if self._loaded.settings.common.defender.driver == "provider":
            if len(self._unwritten) < MAX_UNWRITTEN:
                self._unwritten[source] = (until, why)
                self._wake.set()
            else:
                log.warning("too many bans wait to be stored; that of %s stays in memory", source)

    def hosts(self) -> list[Host]:
        """Sources that are banned, penalised or have a score; each once, by the gravest of these."""
        return self.defence.hosts()

    def host(self, address: str) -> Host | None:
        """One of them, None if nothing is known of it."""
        return self.defence.host(address)

    async def explain(self, address: str, protocol: str) -> ConnectAnswer:
        """Every step of the decision about an address; changes nothing."""
        await load_beside("tidegate.server.defence_view")
        from tidegate.server.defence_view import explained

        sftpd = self._loaded.settings.sftpd
        startups = StartupLimits.parse(sftpd.max_startups, sftpd.max_startups_per_source)
        return await explained(self.defence, self._ledger, startups, address, protocol)

    async def forgive(self, address: str) -> bool:
        """End the ban of an address and forget its score; False if there was neither.

        Raises:
            ProviderUnavailable: a stored ban cannot be removed now; nothing was forgotten.
        """
        defence, own = self.defence, self.defence.sources.of(address)
        async with self._turn:
            known = False
            for source in {own, *defence.defender.holding(address, time.time())}:
                self._unwritten.pop(source, None)
                with contextlib.suppress(NotFound):
                    await self._provider.delete_list_entry(stored_ban(source, 0, "").name)
                    known = True
                self._stored.pop(source, None)
                known |= defence.defender.forgive(source)
            return defence.penalties.forgive(own) or known

    # -- records -------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Take over lists and bans as they are stored now; costs one question, and what has changed.

        Raises:
            ProviderUnavailable: that is not possible now; all stays as it was.
        """
        async with self._turn:
            await self._write()
            await self._lists.refresh()
            self.defence.lists = self._lists.lists
            await self._take_bans(self._lists.bans)

    async def _take_bans(self, entries: list[ListEntry]) -> None:
        now, defender = time.time(), self.defence.defender
        found: dict[str, float] = {}
        for entry in entries:
            network = parse_network(entry.ipornet)
            until = entry.expires_at / 1000
            if network is None:
                continue
            if entry.expires_at and until <= now:
                with contextlib.suppress(NotFound):
                    await self._provider.delete_list_entry(entry.name)
                continue
            source = name_of(network)
            found[source] = until or float("inf")
        for source in self._stored.keys() - found.keys():
            defender.forgive(source)  # somebody ended it
        grown: dict[str, float] = {}
        for source, until in found.items():
            held = defender.banned_until(source, now)
            if held > until and source in self._stored:
                grown[source] = held
            else:
                defender.ban(source, until)
        self._stored = found
        for source, until in grown.items():
            await self._store(source, until, "")

    async def _write(self) -> None:
        """Store new bans."""
        while self._unwritten:
            source, (until, why) = next(iter(self._unwritten.items()))
            await self._store(source, until, why)
            self._unwritten.pop(source, None)

    async def _store(self, source: str, until: float, why: str) -> None:
        entry = stored_ban(source, until, why)
        try:
            await self._provider.add_list_entry(entry)
        except AlreadyExists:
            known = await self._provider.list_entry(entry.name)
            if known is not None and 0 < known.expires_at < entry.expires_at:
                text = why or known.description
                with contextlib.suppress(NotFound):
                    await self._provider.update_list_entry(stored_ban(source, until, text))
        self._stored[source] = until

    async def _look_now_and_then(self) -> None:
        pause = REFRESH_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            woken = self._wake.is_set()
            self._wake.clear()
            begun = time.monotonic()
            try:
                if woken:
                    async with self._turn:
                        await self._write()
                else:
                    await self.refresh()
            except ProviderUnavailable as error:
                log.warning("lists and bans are as they were: %s", error)
            except Exception:  # the next look may succeed
                log.exception("lists and bans could not be read")
            pause = max(REFRESH_SECONDS, SHARE * (time.monotonic() - begun))
