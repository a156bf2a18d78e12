# SPDX-License-Identifier: Apache-2.0
"""Runs work on the database: one transaction each, bounded in time, with failures translated.

Work is a function that may be run again from the start: a deadlock that the server resolved against us
and a replica that went away are not the caller's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from sqlalchemy import exc as sa
from sqlalchemy import text

from tidegate.errors import BadRecord, Conflict, ProviderError, ProviderUnavailable
from tidegate.store.options import ProviderOptions
from tidegate.store.sql.async_engine import AsyncConnection, AsyncEngine
from tidegate.store.sql.engines import (
    CONNECT_SECONDS,
    SINGLE,
    WRITES,
    Target,
    make_engine,
    sqlite_file,
    target_of,
)
from tidegate.store.sql.shape import RightMissing, code_of, is_denied
from tidegate.store.watched_file import WatchedFile

if TYPE_CHECKING:
    from tidegate.store.sql.lookup import Lookup
    from tidegate.store.sql.quick_writes import Execute, QuickWrites

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

OPERATION_SECONDS: Final = 15.0
"""Longest time of one read or write; loading a dump and migrations are exempt."""
ATTEMPTS: Final = 5
"""Runs of one piece of work that the server keeps choosing as a deadlock's victim."""
REPLICA_LAG_SECONDS: Final = 5.0
"""After a write of ours, listings of what was written go to the writer for this long."""
REPLICA_RETRY_SECONDS: Final = 10.0
"""Seconds that a failed replica is left alone."""

ENOUGH_PACKET_BYTES: Final = 16 * 1024 * 1024
"""`max_allowed_packet` of a MySQL server that takes every record: the default of today's versions."""
_LOST_CODES: Final = frozenset({"1153", "2006", "2013"})
"""MySQL: packet too large, server has gone away, lost connection."""
_RETRY_CODES: Final = frozenset({"40001", "40P01", "1213", "1205", "1020"})
"""Serialization failure and deadlock of PostgreSQL; deadlock, lock wait and changed row of MySQL."""
_SQLITE_BUSY: Final = 5
_BUSY_SECONDS: Final = 5.0
"""Seconds for which a locked SQLite file is asked again: nothing waits for it while it becomes a WAL file."""

_log = logging.getLogger(__name__)


class Database:
    """The connections of one provider: a writer and, if `read_host` is set, a replica for listings.

    What decides about access (one account, one administrator, one key, a folder's counters, a mark) is read
    from the writer: a replica may be behind for as long as it likes, and what was revoked must not come back.
    """

    def __init__(self, options: ProviderOptions) -> None:
        self.target: Final = target_of(options)
        self.driver: Final = options.driver
        self._options = options
        self._replica_target = (
            target_of(options, replica=True) if options.read_host and options.driver != "sqlite" else None
        )
        self._engine: AsyncEngine | None = None
        self._replica: AsyncEngine | None = None
        self.lookup: Lookup | None = None
        self._watched: WatchedFile | None = None
        self._quick: QuickWrites | None = None
        self._replica_rest = 0.0
        self._replica_away = False
        self._written: dict[str, float] = {}
        self._leaving: set[asyncio.Task[Any]] = set()
        # SQLite has one writer; queueing here is fair, its own busy handler is not.
        self._one_writer = asyncio.Lock() if options.driver == "sqlite" else None

    def start(self) -> None:
        """Make the engines; they connect when first used."""
        if self._engine is None:
            self._engine, self._watched = make_engine(self.target, self._options)
            if (watched := self._watched) is not None:
                from tidegate.store.sql.lookup import Lookup  # SQLite's driver is loaded for those who use it

                self.lookup = Lookup(sqlite_file(self.target), watched, self._engine.dialect)
            if self._replica_target is not None:
                self._replica, _ = make_engine(self._replica_target, self._options)

    async def stop(self) -> None:
        """Close all connections, once work that was given up has let go of them."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=OPERATION_SECONDS)
        if self.lookup is not None:
            await self.lookup.close()
        if self._quick is not None:
            await self._quick.close()
            self._quick = None
        for engine in (self._engine, self._replica):
            if engine is not None:
                await engine.dispose()
        self._engine = self._replica = self.lookup = None

    async def read(self, work: Work[T], *, single: bool = False) -> T:
        """Run reading work on the writer.

        Args:
            work: what to run.
            single: it is one SELECT; BEGIN and COMMIT around it cost as much again.

        Raises:
            ProviderUnavailable: the database did not answer in time.
        """
        return await self._run(self._writer(), self.target, work, OPERATION_SECONDS, single=single)

    async def listing(self, work: Work[T], *, about: str = "") -> T:
        """Run reading work for a listing or a dump, on the replica if there is one and it answers.

        Args:
            work: what to run.
            about: what is read; goes to the writer if this process wrote it a moment ago.

        Raises:
            ProviderUnavailable: no database answered in time.
        """
        if (
            self._replica is not None
            and self._replica_target is not None
            and not self._recently_written(about)
            and time.monotonic() >= self._replica_rest
        ):
            try:
                found = await self._run(self._replica, self._replica_target, work, OPERATION_SECONDS)
            except ProviderUnavailable as error:
                if not self._replica_away:
                    _log.warning("the replica is not asked for now, the main database is: %s", error)
                self._replica_away = True
                self._replica_rest = time.monotonic() + REPLICA_RETRY_SECONDS
            else:
                if self._replica_away:
                    _log.info("%s answers again", self._replica_target.label)
                self._replica_away = False
                return found
        return await self.read(work)

    async def write(
        self,
        work: Work[T],
        *,
        about: tuple[str, ...] = (),
        seconds: float | None = OPERATION_SECONDS,
        again: bool = True,
    ) -> T:
        """Run writing work in one transaction.

        Args:
            work: what to run.
            about: what is written, for `listing`.
            seconds: longest time; None for no bound.
            again: the work may be run again after a deadlock.

        Raises:
            ProviderUnavailable: nothing is known to be stored.
            Conflict: somebody else kept changing the same records.
        """
        self._remember(about)
        try:
            async with self._one_writer or contextlib.nullcontext():
                return await self._run(self._writer(), self.target, work, seconds, writes=True, again=again)
        finally:
            self._remember(about)

    async def write_quickly(self, work: Callable[[Execute], T]) -> tuple[T] | None:
        """Run writing work in one transaction and one trip to a thread, where that is possible (SQLite).

        Returns:
            what the work returned; None if it is to be done by `write`, and nothing is stored.

        Raises:
            ProviderUnavailable: the file was replaced or removed.
        """
        self._writer()  # opened
        if self._watched is None or self._one_writer is None:
            return None
        if self._quick is None:
            from tidegate.store.sql.quick_writes import QuickWrites  # for those who keep events

            self._quick = QuickWrites(sqlite_file(self.target), self._watched)
        async with self._one_writer:
            return await self._quick.run(work)

    @contextlib.asynccontextmanager
    async def raw(self) -> AsyncIterator[AsyncConnection]:
        """A writing connection outside any transaction, for migrations."""
        try:
            async with self._one_writer or contextlib.nullcontext(), self._writer().connect() as connection:
                yield await connection.execution_options(**{WRITES: True})
        except sa.SQLAlchemyError as error:
            _fail(error, self.target)
        except (OSError, TimeoutError) as error:
            _fail(error, self.target)

    def _writer(self) -> AsyncEngine:
        if self._engine is None:
            raise ProviderUnavailable("data provider unavailable: not opened")
        return self._engine

    async def _run(
        self,
        engine: AsyncEngine,
        target: Target,
        work: Work[T],
        seconds: float | None,
        *,
        writes: bool = False,
        single: bool = False,
        again: bool = True,
    ) -> T:
        attempt, patience = 0, time.monotonic() + _BUSY_SECONDS
        while True:
            attempt += 1
            try:
                return await self._in_time(_transaction(engine, work, writes=writes, single=single), seconds)
            except UnicodeEncodeError:
                raise BadRecord("", "holds an unpaired surrogate") from None
            except (sa.SQLAlchemyError, OSError, TimeoutError) as error:
                if again and attempt < ATTEMPTS and _worth_retrying(error, writes=writes):
                    await asyncio.sleep(0.005 * attempt)
                    continue
                if again and _is_locked(error) and time.monotonic() < patience:
                    await asyncio.sleep(0.02)
                    continue
                if target.packets and (size := _sent_bytes(error)):
                    await self._blame_packet(engine, target, size)
                _fail(error, target)

    async def _blame_packet(self, engine: AsyncEngine, target: Target, size: int) -> None:
        """Say so if a statement was larger than the server takes; it only hangs up then."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS), engine.connect() as connection:
                limit = int((await connection.execute(text("SELECT @@max_allowed_packet"))).scalar_one())
        except (sa.SQLAlchemyError, OSError, TimeoutError):
            return
        if size >= limit:
            raise ProviderError(
                f"{target.label}: max_allowed_packet of the server is {limit} bytes, and a statement of "
                f"{size} bytes was to be sent; set it to {ENOUGH_PACKET_BYTES} or more"
            ) from None

    async def _in_time(self, work: Coroutine[Any, Any, T], seconds: float | None) -> T:
        """Wait only so long.

        A driver may need seconds more to give up on a silent server; that goes on behind the caller's back,
        and `stop` waits for it.
        """
        if seconds is None:
            return await work
        task = asyncio.create_task(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            self._give_up(task)
            raise
        if not done:
            self._give_up(task)
            raise TimeoutError
        return task.result()

    def _give_up(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self._leaving.add(task)
        task.add_done_callback(self._gone)

    def _gone(self, task: asyncio.Task[Any]) -> None:
        self._leaving.discard(task)
        if not task.cancelled():
            task.exception()  # nobody is left to hear it

    def _remember(self, about: tuple[str, ...]) -> None:
        if self._replica is None:
            return
        now = time.monotonic()
        for name in about:
            self._written.pop(name, None)
            self._written[name] = now
        while self._written:
            oldest = next(iter(self._written))
            if now - self._written[oldest] < REPLICA_LAG_SECONDS:
                break
            del self._written[oldest]

    def _recently_written(self, about: str) -> bool:
        written = self._written.get(about)
        return written is not None and time.monotonic() - written < REPLICA_LAG_SECONDS


async def _transaction(engine: AsyncEngine, work: Work[T], *, writes: bool, single: bool) -> T:
    async with engine.connect() as connection:
        if single and engine.dialect.name == "postgresql":
            # One trip instead of three, and no rollback, which throws away the driver's prepared statements.
            return await work(await connection.execution_options(isolation_level="AUTOCOMMIT"))
        if single:
            # Ended by the rollback that closing brings: there is nothing to commit.
            return await work(await connection.execution_options(**{SINGLE: True}))
        if writes:
            connection = await connection.execution_options(**{WRITES: True})
        async with connection.begin():
            return await work(connection)


async def ping(connection: AsyncConnection) -> None:
    """The smallest statement there is."""
    await connection.execute(text("SELECT 1"))


def _worth_retrying(error: BaseException, *, writes: bool) -> bool:
    if isinstance(error, sa.IntegrityError):
        # Two writers made the same folder, or one removed what the other refers to: look again.
        return True
    if isinstance(error, sa.DBAPIError):
        return code_of(error) in _RETRY_CODES or (error.connection_invalidated and not writes)
    return False


def _is_locked(error: BaseException) -> bool:
    """True if another process has an SQLite file for itself; nothing was changed then."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return isinstance(code, int) and code & 0xFF == _SQLITE_BUSY


def _fail(error: BaseException, target: Target) -> NoReturn:
    """Raise what the contract says; the cause's text only masked, since drivers quote their settings."""
    detail = target.masked(str(getattr(error, "orig", None) or error))
    if isinstance(error, sa.IntegrityError):
        raise Conflict("the record was changed by somebody else meanwhile") from None
    if isinstance(error, (OSError, TimeoutError, sa.TimeoutError)):
        what = "no answer in time" if isinstance(error, (TimeoutError, sa.TimeoutError)) else detail
        raise ProviderUnavailable(f"data provider unavailable: {target.label}: {what}") from None
    if is_denied(error):
        raise RightMissing(f"{target.label}: {detail}{_grant_for(detail)}") from None
    if isinstance(error, sa.DBAPIError):
        lost = isinstance(error, (sa.OperationalError, sa.InterfaceError)) or error.connection_invalidated
        if lost and not _is_schema_trouble(error):
            raise ProviderUnavailable(f"data provider unavailable: {target.label}: {detail}") from None
    raise ProviderError(f"{target.label}: {detail}") from None


def _sent_bytes(error: BaseException) -> int:
    """Bytes of the statement that cost the connection to MySQL; 0 for other errors."""
    if not isinstance(error, sa.DBAPIError):
        return 0
    if code_of(error) not in _LOST_CODES and not error.connection_invalidated:
        return 0
    # The rollback after it may have failed too, and hides what it was for.
    first: BaseException | None = error
    while first is not None and not (isinstance(first, sa.DBAPIError) and first.statement):
        first = first.__context__
    if not isinstance(first, sa.DBAPIError) or first.statement is None:
        return 0
    rows = first.params if isinstance(first.params, list) else [first.params or ()]
    values = [value for row in rows for value in (row.values() if isinstance(row, dict) else row)]
    sent = sum(len(value.encode()) if isinstance(value, str) else 8 for value in values)
    return len(first.statement) + sent


def _grant_for(detail: str) -> str:
    """The right that is missing, where the database does not name it itself."""
    if "denied for schema" in detail:
        return ": the tables need GRANT USAGE, CREATE ON SCHEMA, which PostgreSQL 15 and later give nobody"
    if "denied for table" in detail or "denied for sequence" in detail or "must be owner" in detail:
        return ": Tidegate's tables belong to the database user who made them, with all rights"
    return ""


def _is_schema_trouble(error: sa.DBAPIError) -> bool:
    """SQLite and MySQL report missing tables, read-only files and refused rights as operational errors."""
    detail = str(error.orig).lower()
    words = ("no such table", "no such column", "readonly database", "already exists", "denied to user")
    return any(word in detail for word in words) or code_of(error) in {"1050", "1054", "1146"}
