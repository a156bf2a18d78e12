# SPDX-License-Identifier: Apache-2.0
"""One pass of a move: everything that differs from the ledger is copied and compared by digest.

A file is read once and hashed while it is written. The copy is complete or not there (`Publish.ATOMIC`), has
the original's times and, where the storage has them, mode and owner; then its digest is taken of the target,
which keeps it with the content or reads it. A file that changes while it is read is left to the next pass.

Long, because what happens to a source and a target while they are copied is one subject.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tidegate.abc import Backend, Capability, FileHandle, Key, OpenOptions, Outcome, Publish
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageFailed,
    TidegateError,
    Unsupported,
    WorldError,
)
from tidegate.model import Attrs, Entry
from tidegate.relocation.ledger import DIRECTORY, FILE, LINK, Ledger, Row
from tidegate.relocation.progress import Progress
from tidegate.relocation.survey import below, objection
from tidegate.vfs.files.checksums import digest_range, new_blake3
from tidegate.vfs.mounts import listing

T = TypeVar("T")

DIGEST: Final = "blake3"
CHUNK_BYTES: Final = 262_144
"""Bytes of one file held while it is copied."""
FILES_AT_ONCE: Final = 8
"""Files that are copied at the same time."""
SETTLED_NS: Final = 2_000_000_000
"""A file of this host that is younger when it is read may change without its time changing."""
SETTLED_ELSEWHERE_NS: Final = 900_000_000_000
"""Likewise elsewhere, where the clock is another one."""
LATE_SECONDS: Final = (0.0, 0.2, 1.0, 3.0)
"""Pauses before what is gone is copied again: requests of a stopped move may arrive late, removals too."""
READ: Final = OpenOptions(read=True)


@dataclass(frozen=True, slots=True)
class Route:
    """The two ends of a move.

    Attributes:
        uid: owner of what is made, where the source has none; None leaves the server's own; gid likewise.
    """

    source: Backend
    target: Backend
    uid: int | None = None
    gid: int | None = None


@dataclass(slots=True)
class Outcomes:
    """Outcome of a pass: files copied, and files that changed while they were read."""

    copied: int = 0
    unsettled: int = 0


class Copier:
    """One pass.

    Args:
        number: of the pass, above those before it.
        final: nobody works on the source: what changes or cannot be read ends the pass.
        leaves_out: what the target cannot hold stays; else it ends the pass.
    """

    def __init__(
        self, route: Route, ledger: Ledger, progress: Progress, number: int, *, final: bool, leaves_out: bool
    ) -> None:
        self._route = route
        self._source, self._target = route.source, route.target
        self._ledger = ledger
        self._progress = progress
        self._number = number
        self._final = final
        self._leaves_out = leaves_out
        self._places = asyncio.Semaphore(FILES_AT_ONCE)
        self.outcomes = Outcomes()

    async def run(self) -> Outcomes:
        """Walk over the source; the last pass also removes what went there, and dresses directories.

        Raises:
            TidegateError: names the file that could not be copied.
        """
        self._progress.forget_left_out()
        todo = [""]
        while todo:
            directory = todo.pop()
            try:
                async with listing(self._source, directory) as batches:
                    async for batch in batches:
                        await self._batch(directory, batch, todo)
            except (NotFound, NotADirectory):
                if self._final:
                    raise
        if self._final:
            await self._remove_unseen()
            await self._dress_directories()
        return self.outcomes

    async def _batch(self, directory: Key, batch: list[Entry], todo: list[Key]) -> None:
        entries: list[tuple[Key, Entry]] = []
        for entry in batch:
            key = below(directory, entry.name)
            if not (why := objection(self._target, key, entry)):
                entries.append((key, entry))
                continue
            self._progress.leave_out(key, why)
            if not self._leaves_out:
                raise Unsupported(f"the new storage cannot hold everything: {key} {why}")
        rows = await self._ledger.find([key for key, _ in entries])
        done: list[Row] = []
        work: list[tuple[Key, Entry, Row | None]] = []
        for key, entry in entries:
            row = rows.get(key)
            if entry.is_dir and row is not None and row.kind == DIRECTORY and row.digest:
                done.append(row._replace(size=entry.mode & 0o777, source=entry.mtime_ns, seen=self._number))
                todo.append(key)
            elif entry.is_file and row is not None and row.settled and self._is_copied(row, entry):
                self._count(entry.size)
                done.append(row._replace(seen=self._number))
            else:
                work.append((key, entry, row))
        begun = [self._begun(key, entry, row) for key, entry, row in work]
        await self._ledger.put([*done, *begun])
        made = await all_of(self._one(key, entry, row, todo) for key, entry, row in work)
        await self._ledger.put([row for row in made if row is not None])
        await asyncio.sleep(0)

    def _begun(self, key: Key, entry: Entry, row: Row | None) -> Row:
        if row is not None and row.digest and entry.is_file:
            return row._replace(seen=self._number)
        kind = DIRECTORY if entry.is_dir else LINK if entry.is_link else FILE
        return Row(key, kind, entry.size, b"", 0, 0, settled=False, seen=self._number)

    @staticmethod
    def _is_copied(row: Row, entry: Entry) -> bool:
        return (
            row.kind == FILE and bool(row.digest) and (row.size, row.source) == (entry.size, entry.mtime_ns)
        )

    def _count(self, size: int) -> None:
        self._progress.files += 1
        self._progress.size += size

    async def _one(self, key: Key, entry: Entry, row: Row | None, todo: list[Key]) -> Row | None:
        try:
            async with self._places:
                if entry.is_dir:
                    made = await self._directory(key, entry, row)
                    todo.append(key)
                    return made
                if row is not None and row.kind == DIRECTORY:
                    await self._clear(key)
                return await (self._link(key, entry, row) if entry.is_link else self._file(key, row))
        except TidegateError as error:
            if self._final or not (isinstance(error, NotFound | Conflict) or await self._changed(key, entry)):
                raise _named(error, key) from error
            self.outcomes.unsettled += 1
            return None

    async def _changed(self, key: Key, entry: Entry) -> bool:
        """True if the source has something else there by now."""
        try:
            now = await self._source.stat(key, follow=False)
        except TidegateError as error:
            return isinstance(error, NotFound | NotADirectory)
        return (now.kind, now.size, now.mtime_ns) != (entry.kind, entry.size, entry.mtime_ns)

    async def _directory(self, key: Key, entry: Entry, row: Row | None) -> Row:
        if row is not None and row.kind != DIRECTORY:
            with suppress(NotFound):
                await self._target.remove(key)
        route = self._route
        with suppress(AlreadyExists):
            await self._target.mkdir(key, mode=entry.mode & 0o777 | 0o700, uid=route.uid, gid=route.gid)
        return Row(
            key, DIRECTORY, entry.mode & 0o777, b"d", entry.mtime_ns, 0, settled=True, seen=self._number
        )

    async def _link(self, key: Key, entry: Entry, row: Row | None) -> Row:
        text = await self._source.readlink(key)
        raw = text.encode("utf-8", "surrogateescape")
        if row is None or (row.kind, row.digest) != (LINK, raw):
            with suppress(NotFound):
                await self._target.remove(key)
            await self._target.symlink(text, key)
            await self._dress(key, entry)
        return Row(key, LINK, 0, raw, entry.mtime_ns, 0, settled=True, seen=self._number)

    async def _file(self, key: Key, row: Row | None) -> Row:
        now = await self._source.stat(key, follow=False)
        if not now.is_file:
            raise Conflict("changed while it was copied")
        if row is not None and self._is_copied(row, now):
            if row.settled:
                self._count(now.size)
                return row._replace(seen=self._number)
            if await digest_of(self._source, key) == row.digest:
                self._count(now.size)
                return row._replace(seen=self._number, settled=self._final)
        return await self._copied(key, now)

    async def _copied(self, key: Key, entry: Entry) -> Row:
        began = time.time_ns()
        for pause in (*LATE_SECONDS, None):
            digest = b""
            try:
                digest = await self._read_and_written(key, entry)
                found, told = await digest_and_time(self._target, key)
                break
            except NotFound:
                self._progress.size -= entry.size if digest else 0
                if pause is None:
                    raise
                await self._source.stat(key, follow=False)  # what is gone there is not made again
                await asyncio.sleep(pause)
                await self._directories_of(key)
        if found != digest:
            with suppress(TidegateError):
                await self._target.remove(key)
            raise StorageFailed("storage failure: the copy differs from the original")
        self.outcomes.copied += 1
        self._progress.files += 1
        self._progress.copied_files += 1
        settled = self._final or began - entry.mtime_ns > (
            SETTLED_NS if self._source.inline else SETTLED_ELSEWHERE_NS
        )
        return Row(key, FILE, entry.size, digest, entry.mtime_ns, told, settled=settled, seen=self._number)

    async def _directories_of(self, key: Key) -> None:
        """Make the directories above a file that are gone."""
        parts, route = key.split("/"), self._route
        for depth in range(1, len(parts)):
            with suppress(AlreadyExists):
                await self._target.mkdir("/".join(parts[:depth]), mode=0o700, uid=route.uid, gid=route.gid)

    async def _read_and_written(self, key: Key, entry: Entry) -> bytes:
        reader = await self._source.open_file(key, READ)
        try:
            return await self._written(key, entry, reader)
        finally:
            with suppress(TidegateError):
                await reader.close()

    async def _written(self, key: Key, entry: Entry, reader: FileHandle) -> bytes:
        """Write the copy, and return the digest of what was read.

        Raises:
            Conflict: the original changed meanwhile; nothing was published.
        """
        route = self._route
        options = OpenOptions(
            write=True, create=True, truncate=True, publish=Publish.ATOMIC, mode=entry.mode & 0o777,
            uid=route.uid, gid=route.gid, fsync=True,
        )  # fmt: skip
        try:
            if Capability.LINKS in self._target.capabilities:
                await self._unlink(key)
            writer = await self._target.open_file(key, options)
        except IsADirectory:
            await self._clear(key)
            writer = await self._target.open_file(key, options)
        hasher, copied = new_blake3(), 0
        try:
            while data := await reader.read(copied, CHUNK_BYTES):
                hasher.update(memoryview(data))
                await writer.write(copied, data)
                copied += len(data)
                self._progress.size += len(data)
                self._progress.copied_size += len(data)
                await asyncio.sleep(0)  # storage that never waits would keep others from running
            after = await self._source.stat(key, follow=False)
            if copied != entry.size or (after.size, after.mtime_ns) != (entry.size, entry.mtime_ns):
                raise Conflict("changed while it was copied")
            for attrs in self._attributes(entry):
                with suppress(Denied, Unsupported):
                    await writer.set_attrs(attrs)
        except BaseException:
            self._progress.size -= copied
            with suppress(TidegateError):
                await writer.close(Outcome.DROP)
            raise
        try:
            await writer.close(Outcome.COMMIT)
        except BaseException:
            self._progress.size -= copied
            raise
        return hasher.digest()

    async def _unlink(self, key: Key) -> None:
        """Remove a link of that name: a file opened through it would be another one."""
        with suppress(NotFound):
            if (await self._target.stat(key, follow=False)).is_link:
                await self._target.remove(key)

    def _attributes(self, entry: Entry) -> list[Attrs]:
        both = self._source.capabilities & self._target.capabilities
        wanted = [Attrs(uid=entry.uid, gid=entry.gid)] if Capability.OWNERS in both else []
        if Capability.MODES in both:
            wanted.append(Attrs(mode=entry.mode & 0o777))
        if Capability.TIMES in self._target.capabilities:
            wanted.append(Attrs(atime_ns=entry.atime_ns or entry.mtime_ns, mtime_ns=entry.mtime_ns))
        return wanted

    async def _dress(self, key: Key, entry: Entry) -> None:
        """Owner, mode and times of a directory or link, where the target has them."""
        for attrs in self._attributes(entry):
            if entry.is_link and attrs.mode is not None:
                continue
            with suppress(Denied, Unsupported):
                await self._target.set_attrs(key, attrs, follow=False)

    async def _dress_directories(self) -> None:
        """Directories get their attributes last, for making something in them changes their times."""
        before = ""
        while rows := await self._ledger.page_back(before=before, kind=DIRECTORY):
            before = rows[-1].key
            await all_of(self._dress_directory(row.key) for row in rows)
        await self._dress_directory("")

    async def _dress_directory(self, key: Key) -> None:
        async with self._places:
            with suppress(Unsupported):
                await self._dress(key, await self._source.stat(key, follow=False))

    async def _remove_unseen(self) -> None:
        """Remove from the target what is not in the source any more."""
        before = ""
        while rows := await self._ledger.page_back(before=before, unseen=self._number):
            before = rows[-1].key
            await self._remove(rows)

    async def _clear(self, key: Key) -> None:
        """Remove a directory of the target, for the source has something else of that name now."""
        while rows := await self._ledger.below(key):
            await self._remove(rows)
        with suppress(NotFound, NotADirectory):
            await self._target.rmdir(key)

    async def _remove(self, rows: list[Row]) -> None:
        await remove_rows(self._target, rows)
        await self._ledger.drop([row.key for row in rows])


async def digest_of(backend: Backend, key: Key) -> bytes:
    """The digest of a file: the one that the storage keeps with the content, else of what is read."""
    return (await digest_and_time(backend, key))[0]


async def digest_and_time(backend: Backend, key: Key) -> tuple[bytes, int]:
    """As `digest_of`, with the time of the file, nanoseconds since the epoch."""
    handle = await backend.open_file(key, READ)
    try:
        return (await digest_range(handle, DIGEST, 0, 0, 0))[0], (await handle.stat()).mtime_ns
    finally:
        with suppress(TidegateError):
            await handle.close()


async def remove_rows(backend: Backend, rows: list[Row]) -> None:
    """Remove what rows name, in their order; what is missing does not matter."""
    for row in rows:
        with suppress(NotFound, NotADirectory):
            await (backend.rmdir if row.kind == DIRECTORY else backend.remove)(row.key)


def _named(error: TidegateError, key: Key) -> TidegateError:
    """The same kind of error, with the name of the file."""
    text = f"{key}: {error}"
    return StorageFailed(text) if isinstance(error, WorldError) else Conflict(text)


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order; the first failure ends the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
