# SPDX-License-Identifier: Apache-2.0
"""Opens the checks of addresses that the configuration names, and looks after their files."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from tidegate.config.load import Loaded
from tidegate.contracts.admission import AdmissionCheck
from tidegate.defence.lists import AddressLists
from tidegate.errors import ConfigError, Problem
from tidegate.model.geography import NO_LOCATION, Location
from tidegate.model.listed import PROTOCOLS, ListKind, ListMode

if TYPE_CHECKING:
    from tidegate.addresses.dnsbl import BlocklistCheck
    from tidegate.addresses.geoip import GeoCheck, GeoDatabases
    from tidegate.addresses.list_files import ListFiles
    from tidegate.config.schema.addresses import DnsblKeys

log = logging.getLogger(__name__)


class AddressChecks:
    """The checks of one server. Life: constructed (pure), `open`, `apply`..., `close`.

    Attributes:
        changed: called with the checks, in the order of asking, whenever they are other ones; set by the
            defence.
        listed: called with the lists of files, None without any, whenever they are other ones; likewise.
    """

    def __init__(self) -> None:
        self.listed: Callable[[AddressLists | None], None] = lambda lists: None  # noqa: ARG005
        self.changed: Callable[[Sequence[AdmissionCheck]], None] = lambda checks: None  # noqa: ARG005
        self._geo: GeoCheck | None = None
        self._dnsbl: BlocklistCheck | None = None
        self._dnsbl_keys: DnsblKeys | None = None
        self._files: ListFiles | None = None
        self._lists: AddressLists | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None

    async def open(self, loaded: Loaded) -> None:
        """Open what the configuration names.

        Raises:
            ConfigError: a library is missing, or a file that has to be there cannot be used.
        """
        (await self.prepare(loaded))()

    async def prepare(self, loaded: Loaded) -> Callable[[], None]:
        """Open what another configuration names; nothing changes before the returned function is called.

        Raises:
            ConfigError: it cannot be used.
        """
        geo = await geo_check(loaded, kept=None if self._geo is None else self._geo.databases)
        files = await list_files(loaded, kept=self._files)
        lists = await asyncio.to_thread(_lists_of, files)
        keys = loaded.settings.common.dnsbl
        same = self._dnsbl is not None and keys == self._dnsbl_keys
        dnsbl = self._dnsbl if same else await blocklist_check(loaded)
        if dnsbl is not None and not same:
            await dnsbl.open()

        def apply() -> None:
            if self._dnsbl is not None and not same:
                self._spawn(self._dnsbl.close())
            self._geo, self._dnsbl, self._dnsbl_keys = geo, dnsbl, keys
            self._files, self._lists = files, lists
            self.listed(lists)
            checks: list[AdmissionCheck] = [geo] if geo is not None and geo.rules else []
            self.changed([*checks, *([dnsbl] if dnsbl is not None else [])])
            self._keep_watch()

        return apply

    async def close(self) -> None:
        """Stop watching files, and release everything."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._dnsbl is not None:
            await self._dnsbl.close()
            self._dnsbl = None
        if self._ending:
            await asyncio.wait(self._ending)
        if self._geo is not None:
            self._geo.databases.close()
            self._geo = None

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work, name="address checks: close")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def locate(self, address: str) -> Location:
        """The location of an address; `NO_LOCATION` without databases."""
        return NO_LOCATION if self._geo is None else self._geo.databases.locate(address)

    def known(self, address: str) -> Location | None:
        """As `locate`, for the log; None without databases."""
        return None if self._geo is None else self._geo.databases.locate(address)

    def _keep_watch(self) -> None:
        if self._watch is None and (self._geo is not None or self._files is not None):
            self._watch = asyncio.create_task(self._look_now_and_then(), name="address files")

    async def _look_now_and_then(self) -> None:
        from tidegate.addresses.watched import LOOK_SECONDS

        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if self._geo is not None and await asyncio.to_thread(self._geo.databases.look):
                    self._geo.databases.forget()
                    log.info("databases of locations were read again")
                files = self._files
                if files is not None and await asyncio.to_thread(files.look):
                    lists = await asyncio.to_thread(_lists_of, files)
                    if files is self._files:  # no other configuration came meanwhile
                        self._lists = lists
                        self.listed(lists)
                        log.info("files of lists were read again: %d entries", len(lists or ()))
            except Exception:  # the next look may succeed
                log.exception("files of addresses could not be looked at")


async def geo_check(loaded: Loaded, kept: GeoDatabases | None = None) -> GeoCheck | None:
    """The check by location, with open databases; None if the configuration names none.

    Args:
        loaded: the configuration.
        kept: databases that are open; taken if they are the same files.

    Raises:
        ConfigError: the library is missing, or a file cannot be read and `broken` is ``stop``.
    """
    keys = loaded.settings.common.geoip
    if not keys.databases:
        return None
    from tidegate.addresses.geoip import GeoCheck, GeoDatabases

    require_library("common.geoip.databases", "maxminddb", "geoip")
    paths = [str(loaded.resolve(name)) for name in keys.databases]
    if kept is not None and [file.path for file in kept.files] == paths:
        return GeoCheck(kept, keys.rules())
    databases = GeoDatabases(paths)
    await asyncio.to_thread(databases.look)
    problems = databases.problems()
    if problems and keys.broken == "stop":
        databases.close()
        raise ConfigError([Problem("common.geoip.databases", text) for text in problems])
    return GeoCheck(databases, keys.rules())


_KINDS: Final = {
    "allow": (ListKind.ALLOW, ListMode.ALLOW),
    "safe": (ListKind.DEFENDER, ListMode.ALLOW),
    "block": (ListKind.DEFENDER, ListMode.DENY),
    "rate-safe": (ListKind.RATE_SAFE, ListMode.ALLOW),
}


async def list_files(loaded: Loaded, kept: ListFiles | None = None) -> ListFiles | None:
    """The files of lists of a configuration, read; None if it names none.

    Args:
        loaded: the configuration.
        kept: files that are watched; taken if they are the same.

    Raises:
        ConfigError: a file cannot be read and `broken` is ``stop``.
    """
    common = loaded.settings.common
    own = {
        "common.defender.safelist_file": (common.defender.safelist_file, "safe"),
        "common.defender.blocklist_file": (common.defender.blocklist_file, "block"),
        "common.whitelist_file": (common.whitelist_file, "allow"),
    }
    named = [(key, path, name) for key, (path, name) in own.items() if path]
    if not common.list_files and not named:
        return None
    from tidegate.addresses.list_files import ListFile, ListFiles

    files = [
        ListFile(
            path=str(loaded.resolve(path).absolute()), kind=_KINDS[name][0], mode=_KINDS[name][1], strict=True
        )
        for _, path, name in named
    ]
    files += [
        ListFile(
            path=str(loaded.resolve(one.path).absolute()),
            kind=_KINDS[one.list][0],
            mode=_KINDS[one.list][1],
            protocols=sum(PROTOCOLS[name] for name in set(one.protocols)) % sum(PROTOCOLS.values()),
        )
        for one in common.list_files
    ]
    stops = [key for key, _, _ in named]
    stops += ["common.list_files" if one.broken == "stop" else "" for one in common.list_files]
    if kept is not None and kept.files == tuple(files):
        # Whoever asks for a reload says that the files are whole.
        await asyncio.to_thread(kept.look, at_once=True)
        stops = [key if file.strict else "" for key, file in zip(stops, files, strict=True)]
        found = kept
    else:
        found = ListFiles(files)
        await asyncio.to_thread(found.look)
    errors = found.problems()
    problems = [
        Problem(key, f"{file.path}: {errors[file.path]}")
        for key, file in zip(stops, files, strict=True)
        if key and file.path in errors
    ]
    if problems:
        raise ConfigError(problems)
    return found


def _lists_of(files: ListFiles | None) -> AddressLists | None:
    return None if files is None else AddressLists(files.entries())


async def blocklist_check(loaded: Loaded) -> BlocklistCheck | None:
    """The check by DNS blocklists, not open yet; None if the configuration names none.

    Raises:
        ConfigError: the library is missing, or there are no name servers.
    """
    keys = loaded.settings.common.dnsbl
    if not keys.zones:
        return None
    from tidegate.addresses.dnsbl import BlocklistCheck, Zone, read_codes
    from tidegate.addresses.resolver import Resolver

    require_library("common.dnsbl.zones", "dns", "dnsbl")
    seconds, place = keys.timeout / 1000, "common.dnsbl.nameservers"
    resolver = await asyncio.to_thread(Resolver, keys.servers(), seconds, place)
    zones = [
        Zone(
            zone=one.zone.lower(),
            name=one.name or one.zone.lower(),
            codes=read_codes(one.codes),
            denies_unanswered=one.unanswered == "deny",
            six=one.ipv6,
        )
        for one in keys.zones
    ]
    return BlocklistCheck(zones, resolver.ask)


def require_library(place: str, module: str, extra: str) -> None:
    """Return if a library is installed.

    Raises:
        ConfigError: it is not; names the key that needs it.
    """
    if find_spec(module) is None:
        raise ConfigError([Problem(place, f"needs a library: pip install 'tidegate[{extra}]'")])
