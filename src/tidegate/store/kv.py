# SPDX-License-Identifier: Apache-2.0
"""The `bolt` driver: an embedded key/value store (LMDB) in one file.

Several processes may have the file open. LMDB calls block, so all of them run on threads of the provider's
own: one that writes, a few that read. The map (the largest size the file may take) grows when it is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import lmdb

from tidegate import hints
from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.model import Account
from tidegate.store.contract import AdminsGuard, LoadGuard, LoadReport, Record
from tidegate.store.kv_outbox import CURSORS, DELIVERIES, DELIVERIES_DUE, OUTBOX, SESSIONS, LmdbOutbox
from tidegate.store.kv_properties import TABLES as PROPERTY_TABLES
from tidegate.store.kv_properties import LmdbProperties
from tidegate.store.kv_transaction import Bookmarks, LmdbTransaction
from tidegate.store.options import ProviderOptions
from tidegate.store.recognise import foreign_file
from tidegate.store.record_load import Load
from tidegate.store.record_provider import RecordProvider
from tidegate.store.records import RecordTable, RecordTransaction
from tidegate.store.watched_file import WatchedFile

if TYPE_CHECKING:
    from tidegate.store.browser_sessions import BrowserSessionStore
    from tidegate.store.deliveries import DeliveryStore

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
FIRST_MAP_BYTES: Final = 256 * 1024 * 1024
"""Address space the file may grow into at first; disk is used only for what is stored."""
LARGEST_MAP_BYTES: Final = 1024 * 1024 * 1024 * 1024
LOAD_ROOM_BYTES: Final = 8 * 1024 * 1024 * 1024
"""Address space that is free when a dump starts loading, which cannot be begun again half-way."""
READER_THREADS: Final = 2

_RECORD_TABLES: Final[tuple[RecordTable, ...]] = (
    "users",
    "folders",
    "groups",
    "roles",
    "admins",
    "api_keys",
    "event_actions",
    "event_rules",
    "ip_lists",
    "external",
)
_TABLES: Final = (
    *_RECORD_TABLES,
    "links",
    "dirty",
    "settings",
    "revocations",
    "meta",
    OUTBOX,
    CURSORS,
    DELIVERIES,
    DELIVERIES_DUE,
    SESSIONS,
    *PROPERTY_TABLES,
)
_VERSION: Final = b"schema"


class LmdbProvider(RecordProvider):
    """Accounts and the rest in an LMDB file."""

    def __init__(self, options: ProviderOptions) -> None:
        super().__init__(options)
        self._environment: Any = None
        self._tables: dict[str, Any] = {}
        self._bookmarks = Bookmarks()
        self._file = WatchedFile(str(options.file), f"bolt file {options.file.name}")
        self._gate = _Gate()
        self._readers: ThreadPoolExecutor | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Final = asyncio.Lock()
        self.outbox = LmdbOutbox(self._plainly)
        self._kept_properties: Final = LmdbProperties(self._plainly)
        self._properties = self._kept_properties

    async def property_roots(self) -> set[str]:
        """Storage roots that have properties."""
        return await self._kept_properties.roots()

    def _make_deliveries(self) -> DeliveryStore:
        from tidegate.store.kv_deliveries import LmdbDeliveries

        return LmdbDeliveries(self._plainly)

    def _make_sessions(self) -> BrowserSessionStore:
        from tidegate.store.kv_sessions import LmdbSessions

        return LmdbSessions(self._plainly)

    async def open(self, *, migrate: bool = True) -> None:
        """Open or create the file.

        Raises:
            ProviderError: the file is not ours, or its schema is newer (or older, without `migrate`).
        """
        if self._environment is not None:
            return
        self._readers = ThreadPoolExecutor(READER_THREADS, "bolt-read")
        self._writer = ThreadPoolExecutor(1, "bolt-write")
        try:
            await self._on(self._writer, lambda: self._open_file(self._options.file, migrate=migrate))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the file once running work is done."""
        for executor in (self._readers, self._writer):
            if executor is not None:
                await asyncio.to_thread(executor.shutdown)
        self._readers = self._writer = None
        environment, self._environment = self._environment, None
        if environment is not None:
            environment.close()

    async def schema_version(self) -> str:
        """The schema version of the file, ``0`` for none; for a provider that is not open."""
        return await asyncio.to_thread(self._look)

    async def revert(self, to: str) -> bool:
        """Take the schema back; ``0`` removes everything. For a provider that is not open.

        Returns:
            False if it was at that version already.

        Raises:
            ProviderError: there is no such version.
        """
        if to not in ("0", str(SCHEMA_VERSION)):
            raise ProviderError(f"there is no schema version {to}; known are 0, {SCHEMA_VERSION}")
        if to == await self.schema_version() or not self._options.file.exists():
            return False
        await self.open()
        try:
            await self._write(self._empty)
            return True
        finally:
            await self.close()

    def _empty(self, transaction: RecordTransaction) -> None:
        assert isinstance(transaction, LmdbTransaction)
        for dbi in self._tables.values():
            transaction.raw.drop(dbi, delete=False)

    async def load_batches(
        self,
        batches: AsyncIterable[Sequence[Record]],
        *,
        mode: int = 0,
        guard: LoadGuard | None = None,
        admins_guard: AdminsGuard | None = None,
    ) -> LoadReport:
        """Store everything in one transaction, a batch at a time."""
        writer = self._running(self._writer)
        load = Load(mode, guard, admins_guard, self._options.seals)
        async with self._writing, contextlib.AsyncExitStack() as stack:
            raw = await self._on(writer, lambda: self._begin_load(stack))
            transaction = LmdbTransaction(raw, self._tables, self._bookmarks)
            try:
                async for batch in batches:
                    if any(isinstance(record, Account) for record in batch):
                        self._rules.require_users()
                    await self._on(writer, functools.partial(load.store, transaction, batch))
                await self._on(writer, functools.partial(load.end, transaction))
                await self._on(writer, raw.commit)
            except BaseException:
                # Queued behind whatever still runs on the one writing thread.
                await asyncio.shield(self._on(writer, raw.abort))
                raise
        return LoadReport(load.rows)

    # -- running work ------------------------------------------------------------------------------------

    async def _read(self, work: Callable[[RecordTransaction], T]) -> T:
        return await self._on(self._running(self._readers), lambda: self._run(work, writes=False))

    async def _write(self, work: Callable[[RecordTransaction], T]) -> T:
        async with self._writing:
            return await self._on(self._running(self._writer), lambda: self._run(work, writes=True))

    async def _plainly(self, work: Callable[[Any, dict[str, Any]], T], *, writes: bool) -> T:
        def within(transaction: RecordTransaction) -> T:
            assert isinstance(transaction, LmdbTransaction)
            return work(transaction.raw, self._tables)

        return await (self._write if writes else self._read)(within)

    @staticmethod
    def _running(executor: ThreadPoolExecutor | None) -> ThreadPoolExecutor:
        if executor is None:
            raise ProviderUnavailable("data provider unavailable: not opened")
        return executor

    async def _on(self, executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(executor, work)
        except lmdb.Error as error:
            raise self._translated(error) from None

    def _translated(self, error: lmdb.Error) -> ProviderError:
        name = self._options.file.name
        if isinstance(error, (lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.CorruptedError)):
            return ProviderError(f"bolt file {name}: is damaged or not a bolt database")
        if isinstance(error, lmdb.MapFullError):
            return ProviderError(f"bolt file {name}: no room is left in the map")
        return ProviderUnavailable(f"data provider unavailable: bolt file {name}: {error}")

    def _run(self, work: Callable[[RecordTransaction], T], *, writes: bool) -> T:
        """One transaction, on the calling thread; begun again when the map had to grow."""
        while True:
            self._file.check()
            try:
                with self._gate.use(), self._environment.begin(write=writes) as raw:
                    return work(LmdbTransaction(raw, self._tables, self._bookmarks))
            except lmdb.MapFullError:
                self._grow(2)
            except lmdb.MapResizedError:
                # Another process made the map larger; 0 takes over its size.
                with self._gate.alone():
                    self._environment.set_mapsize(0)

    def _grow(self, factor: int, room: int = 0) -> None:
        with self._gate.alone():
            size = int(self._environment.info()["map_size"])
            wanted = min(max(size * factor, size + room), LARGEST_MAP_BYTES)
            if wanted <= size:
                raise lmdb.MapFullError("map at its limit")
            self._environment.set_mapsize(wanted)

    def _begin_load(self, stack: contextlib.AsyncExitStack) -> Any:
        self._file.check()
        information = self._environment.info()
        used = (int(information["last_pgno"]) + 1) * int(self._environment.stat()["psize"])
        if int(information["map_size"]) - used < LOAD_ROOM_BYTES:
            self._grow(1, LOAD_ROOM_BYTES)
        # The transaction counts as a user of the map until the load is over.
        stack.enter_context(self._gate.use())
        return self._environment.begin(write=True)

    # -- opening -----------------------------------------------------------------------------------------

    def _look(self) -> str:
        path = self._options.file
        if not path.exists():
            return "0"
        if foreign := foreign_file(path):
            raise ProviderError(foreign)
        try:
            with lmdb.open(str(path), subdir=False, max_dbs=len(_TABLES), readonly=True) as environment:
                self._environment = environment
                return str(self._version())
        except lmdb.Error as error:
            raise self._translated(error) from None
        finally:
            self._environment = None

    def _open_file(self, path: Path, *, migrate: bool) -> None:
        if not path.parent.is_dir():
            raise ProviderError(f"data_provider.name: the directory {path.parent} does not exist")
        if foreign := foreign_file(path):
            raise ProviderError(foreign)
        try:
            size = max(FIRST_MAP_BYTES, path.stat().st_size * 2) if path.exists() else FIRST_MAP_BYTES
            self._environment = lmdb.open(
                str(path), map_size=size, subdir=False, max_dbs=len(_TABLES), mode=0o600, max_spare_txns=4
            )
        except OSError as error:
            raise ProviderError(f"bolt file {path.name}: {error.strerror}") from None
        self._file = WatchedFile(str(path), f"bolt file {path.name}")
        self._file.opened()
        self._environment.reader_check()
        version = self._version()
        if version > SCHEMA_VERSION:
            raise ProviderError(
                f"bolt file {path.name} has schema version {version}, newer than {SCHEMA_VERSION}, the "
                "newest this version of Tidegate knows; upgrade Tidegate"
            )
        if version < SCHEMA_VERSION and not migrate:
            raise ProviderError(
                f"bolt file {path.name} has schema version {version}, but {SCHEMA_VERSION} is needed: "
                f"run {hints.typed('initprovider')}"
            )
        self._tables = {name: self._environment.open_db(name.encode()) for name in _TABLES}
        with self._environment.begin(write=True) as raw:
            raw.put(_VERSION, str(SCHEMA_VERSION).encode(), db=self._tables["meta"])

    def _version(self) -> int:
        try:
            meta = self._environment.open_db(b"meta", create=False)
        except lmdb.NotFoundError:
            return 0
        with self._environment.begin() as raw:
            return int(raw.get(_VERSION, db=meta, default=b"0"))


class _Gate:
    """Lets many transactions run, or one change of the map's size when none does (LMDB demands it)."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._closed = False

    @contextlib.contextmanager
    def use(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._closed = True
            self._changed.wait_for(lambda: self._users == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
