# SPDX-License-Identifier: Apache-2.0
"""A kind of storage: all files of a home or folder in one SQLite archive (``sqlite3 -A`` reads it).

An archive member is written whole, so this storage takes writes in order only, and keeps no unfinished uploads.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tidegate.abc import (
    Backend,
    Capability,
    FileHandle,
    OpenOptions,
    Outcome,
    Publish,
    StorageHost,
    StorageKind,
)
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidHandle,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageFailed,
    TooLarge,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind, Space, StorageSpec

T = TypeVar("T")
Row = tuple[str, int, int, int]
DIRECTORY = 0o040755
FILE = 0o100644
BATCH = 256


@dataclass(frozen=True)
class SqlarOptions:
    """The options of a record under ``sqlarconfig``."""

    file: str = "files.sqlar"
    level: int = 6
    max_file_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if "/" in self.file or self.file in {"", ".", ".."}:
            raise ValueError("file is the name of a file in the directory")


class SqlarStorage:
    options = SqlarOptions
    section = "sqlarconfig"
    needs_directory = True

    def __init__(self, host: StorageHost) -> None:
        self.host = host

    async def open(self) -> Sequence[str]:
        return ()

    def build(self, spec: StorageSpec, options: SqlarOptions) -> Backend:
        return SqlarBackend(Path(spec.directory), options)

    async def close(self) -> None:
        return


class SqlarBackend:
    """One archive."""

    capabilities = Capability.REAL_DIRECTORIES
    inline = False

    def __init__(self, directory: Path, options: SqlarOptions) -> None:
        self.path = directory / options.file
        self.options = options
        self._thread: ThreadPoolExecutor | None = None
        self._archive: sqlite3.Connection | None = None

    def location(self, key: str) -> str:
        return f"{self.path}!/{key}"

    async def run(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Do something with the archive in its own thread, as one transaction."""
        if self._thread is None:
            raise InvalidHandle("storage is closed")

        def work() -> T:
            archive = self._archive
            assert archive is not None
            try:
                with archive:
                    return act(archive)
            except sqlite3.Error as error:
                raise StorageFailed("the archive cannot be used") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def open(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._archive = sqlite3.connect(self.path)
            with self._archive as archive:
                archive.execute(
                    "CREATE TABLE IF NOT EXISTS sqlar"
                    "(name TEXT PRIMARY KEY, mode INT, mtime INT, sz INT, data BLOB)"
                )
        except (OSError, sqlite3.Error) as error:
            raise StorageFailed("the archive cannot be opened") from error

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    def _close(self) -> None:
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    # -- the tree

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        check_key(key)
        return entry(await self.run(lambda archive: row(archive, key)))

    async def list(self, key: str) -> AsyncIterator[list[Entry]]:
        check_key(key)
        found = await self.run(lambda archive: below(archive, key))
        for start in range(0, len(found), BATCH):
            yield [entry(item) for item in found[start : start + BATCH]]

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        check_key(key)
        if not (options.read or options.write) or (options.truncate and not options.write):
            raise InvalidArgument
        if options.append or (options.read and options.write) or options.publish is Publish.RESUMABLE:
            raise Unsupported
        return await self.run(lambda archive: self._opened(archive, key, options))

    def _opened(self, archive: sqlite3.Connection, key: str, options: OpenOptions) -> SqlarFile:
        there = find(archive, key)
        if there is not None and options.create and options.exclusive:
            raise AlreadyExists
        if there is not None and is_dir(there):
            raise IsADirectory
        if there is None:
            if not options.create:
                raise NotFound
            in_directory(archive, key)
            if options.publish is Publish.INPLACE or not options.write:
                put(archive, key, FILE, b"", 0)
        elif options.write and not options.truncate:
            raise Unsupported("files of an archive are written whole")
        elif options.write and options.publish is Publish.INPLACE:
            put(archive, key, FILE, b"", 0)
        size = None if there is None else there[3]
        return SqlarFile(self, key, options, size, content(archive, key) if options.read else b"")

    async def remove(self, key: str) -> None:
        check_key(key)

        def act(archive: sqlite3.Connection) -> None:
            if is_dir(row(archive, key)):
                raise IsADirectory
            archive.execute("DELETE FROM sqlar WHERE name = ?", (stored(key),))

        await self.run(act)

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        check_key(key)

        def act(archive: sqlite3.Connection) -> None:
            if find(archive, key) is not None:
                raise AlreadyExists
            in_directory(archive, key)
            put(archive, key, DIRECTORY, b"", 0)

        await self.run(act)

    async def rmdir(self, key: str) -> None:
        check_key(key)

        def act(archive: sqlite3.Connection) -> None:
            if not key:
                raise Denied(rule="root")
            if not is_dir(row(archive, key)):
                raise NotADirectory
            if below(archive, key):
                raise DirectoryNotEmpty
            archive.execute("DELETE FROM sqlar WHERE name = ?", (stored(key),))

        await self.run(act)

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        check_key(source)
        check_key(target)

        def act(archive: sqlite3.Connection) -> None:
            if not source or not target:
                raise Denied(rule="root")
            moved = row(archive, source)
            in_directory(archive, target)
            there = find(archive, target)
            if there is not None and not replace:
                raise AlreadyExists
            if is_dir(moved) and target.startswith(source + "/"):
                raise InvalidArgument("a directory cannot move below itself")
            if source == target:
                return
            if there is not None:
                if is_dir(there) != is_dir(moved):
                    raise IsADirectory if is_dir(there) else NotADirectory
                if is_dir(there) and below(archive, target):
                    raise DirectoryNotEmpty
                archive.execute("DELETE FROM sqlar WHERE name = ?", (stored(target),))
            old, new = stored(source), stored(target)
            archive.execute(
                "UPDATE sqlar SET name = ? || substr(name, ?) WHERE name = ? OR substr(name, 1, ?) = ?",
                (new, len(old) + 1, old, len(old) + 1, old + "/"),
            )

        await self.run(act)

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        raise Unsupported

    async def symlink(self, text: str, key: str) -> None:
        raise Unsupported

    async def readlink(self, key: str) -> str:
        raise Unsupported

    async def hardlink(self, source: str, target: str) -> None:
        raise Unsupported

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        raise Unsupported

    async def space(self, key: str) -> Space:
        raise Unsupported

    def finish(self, archive: sqlite3.Connection, file: SqlarFile, outcome: Outcome) -> None:
        """End an upload."""
        inplace = file.options.publish is Publish.INPLACE
        if outcome is Outcome.DROP or (outcome is Outcome.KEEP and not inplace):
            if inplace:
                archive.execute("DELETE FROM sqlar WHERE name = ?", (stored(file.key),))
            return
        in_directory(archive, file.key)
        there = find(archive, file.key)
        if there is not None and is_dir(there):
            raise IsADirectory
        if there is not None and file.options.exclusive and not inplace:
            raise AlreadyExists
        if inplace and there is None:
            return  # removed meanwhile
        put(archive, file.key, FILE, bytes(file.data), self.options.level)


class SqlarFile:
    """An open member: whole in memory, which `SqlarOptions.max_file_bytes` bounds."""

    took = False

    def __init__(
        self, owner: SqlarBackend, key: str, options: OpenOptions, size: int | None, data: bytes
    ) -> None:
        self.owner, self.key, self.options = owner, key, options
        self.existed_size = size
        self.data = bytearray(data)
        self.closed = False
        self.staged = options.write and options.publish is not Publish.INPLACE

    def _check(self, wanted: bool = True) -> None:
        if self.closed or not wanted:
            raise InvalidHandle

    async def read(self, offset: int, size: int) -> bytes:
        self._check(self.options.read)
        if offset < 0 or size < 0:
            raise InvalidArgument
        return bytes(self.data[offset : offset + size])

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        return None

    async def write(self, offset: int, data: Any) -> None:
        self._check(self.options.write)
        if offset != len(self.data):
            raise InvalidArgument("files of an archive are written in order")
        if offset + len(data) > self.owner.options.max_file_bytes:
            raise TooLarge
        self.data += data

    def write_nowait(self, offset: int, data: Any) -> bool:
        return False

    async def stat(self) -> Entry:
        self._check()
        name = self.key.rpartition("/")[2]
        return Entry(name, Kind.FILE, len(self.data), 0o644, 0, 0, int(time.time()) * 10**9)

    async def set_attrs(self, attrs: Attrs) -> None:
        self._check()
        raise Unsupported

    async def sync(self) -> None:
        self._check()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        self._check()
        self.closed = True
        if self.options.write:
            await self.owner.run(lambda archive: self.owner.finish(archive, self, outcome))


# -- rows


def check_key(key: str) -> None:
    if key and ("\0" in key or any(part in {"", ".", ".."} for part in key.split("/"))):
        raise InvalidPath
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in key.split("/")):
        raise InvalidPath("invalid path: too long")


def stored(key: str) -> str:
    """A key as SQLite can keep it: bytes that are not UTF-8 become characters of their own."""
    return key.encode("utf-8", "surrogateescape").decode("latin-1")


def key_of(name: str) -> str:
    return name.encode("latin-1").decode("utf-8", "surrogateescape")


def find(archive: sqlite3.Connection, key: str) -> Row | None:
    if not key:
        return "", DIRECTORY, 0, 0
    query = "SELECT name, mode, mtime, sz FROM sqlar WHERE name = ?"
    found: Row | None = archive.execute(query, (stored(key),)).fetchone()
    return found


def row(archive: sqlite3.Connection, key: str) -> Row:
    found = find(archive, key)
    if found is None:
        raise NotFound
    return found


def is_dir(found: Row) -> bool:
    return found[1] & 0o170000 == 0o040000


def entry(found: Row) -> Entry:
    name, mode, mtime, size = found
    kind = Kind.DIRECTORY if is_dir(found) else Kind.FILE
    return Entry(
        key_of(name).rpartition("/")[2], kind, size, mode & 0o7777, 0, 0, mtime * 10**9, mtime * 10**9
    )


def in_directory(archive: sqlite3.Connection, key: str) -> None:
    if not key:
        raise Denied(rule="root")
    above = find(archive, key.rpartition("/")[0])
    if above is None or not is_dir(above):
        raise NotFound


def below(archive: sqlite3.Connection, key: str) -> list[Row]:
    if not is_dir(row(archive, key)):
        raise NotADirectory
    start = stored(key) + "/" if key else ""
    found = archive.execute(
        "SELECT name, mode, mtime, sz FROM sqlar WHERE substr(name, 1, ?) = ? AND instr(substr(name, ?), '/') = 0",
        (len(start), start, len(start) + 1),
    )
    return list(found)


def content(archive: sqlite3.Connection, key: str) -> bytes:
    query = "SELECT sz, data FROM sqlar WHERE name = ?"
    size, data = archive.execute(query, (stored(key),)).fetchone()
    return data if len(data) == size else zlib.decompress(data)


def put(archive: sqlite3.Connection, key: str, mode: int, data: bytes, level: int) -> None:
    packed = zlib.compress(data, level) if data else data
    if len(packed) >= len(data):
        packed = data
    archive.execute(
        "INSERT OR REPLACE INTO sqlar VALUES (?, ?, ?, ?, ?)",
        (stored(key), mode, int(time.time()), len(data), packed),
    )


def _proof(kind: SqlarStorage, backend: SqlarBackend) -> tuple[StorageKind, Backend]:
    return kind, backend
