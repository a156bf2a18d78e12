# SPDX-License-Identifier: Apache-2.0
"""Git on storage that is no disk of this host: the program works on a copy, and a push is brought back.

The copy is made and brought back through the session, as any client would: permissions, quota and events are
those of downloads and uploads. A push is stored in an order that leaves a repository whole at each moment:
objects, then indexes of packs, then what names them (`names`): what another server, or a git on the same
files, pushes in between is not lost. Pushes through this server wait for each other.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from tidegate.doors.ssh.programs.lock_notes import LockNote
from tidegate.doors.ssh.programs.names import PIECE_BYTES, Names, digest
from tidegate.doors.ssh.programs.options import ProgramOptions
from tidegate.errors import AlreadyExists, NotFound, TidegateError, Unsupported
from tidegate.model import Permission, VPath
from tidegate.vfs.api import OpenFlags, Session

AT_ONCE: Final = 8
"""Files of one copy that are moved at a time."""

MAX_FILES: Final = 200_000
"""Files and directories of a repository that is copied."""

OBJECTS: Final = "objects"
_LEFT_OUT: Final = frozenset({"hooks"})
"""Directories at the top of a repository that are not copied: nothing in them is ever run."""

_NAMES: Final = ("refs/", "logs/")
"""Directories of names, which git makes and removes with them."""

_TEMPORARY: Final = (".lock", ".keep")
_TEMPORARY_BEGINNINGS: Final = ("tmp_", "incoming-", ".tmp-")
"""Names that git gives to what is not finished."""

_pushing: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()
"""One lock for each repository that is being pushed to, by its place."""


def push_lock(place: str) -> asyncio.Lock:
    """The lock of a repository; kept by whoever holds or waits for it."""
    return _pushing.setdefault(place, asyncio.Lock())


@dataclass(frozen=True, slots=True)
class _Found:
    """A file of the copy, as it was when it was last looked at."""

    size: int
    mtime_ns: int


@dataclass(slots=True)
class Copy:
    """A repository's copy.

    Attributes:
        session: through which it is made and brought back.
        source: the repository.
        limit: most bytes.
        directory: where it is on this host.
        files: what was copied, by its path in the repository.
        names: digest of everything that is no object, as it was when it was copied.
        versioned: the storage tells versions; known once something was copied.
        note: of the locks that a push makes; None notes nothing.
    """

    session: Session
    source: VPath
    limit: int
    directory: str
    files: dict[str, _Found] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    versioned: bool = False
    note: LockNote | None = None

    # -- there -----------------------------------------------------------------------------------------

    async def fetch(self) -> None:
        """Copy the repository.

        Raises:
            Unsupported: it is too large.
            TidegateError: something cannot be read.
        """
        total = 0
        wanted: list[str] = []
        todo = [""]
        while todo:
            directory = todo.pop()
            async for batch in self.session.list(self._path(directory)):
                for entry in batch:
                    key = f"{directory}/{entry.name}" if directory else entry.name
                    if _is_temporary(entry.name):
                        continue  # of a push that is under way, or was cut off
                    if entry.is_dir and key not in _LEFT_OUT:
                        self.directories.add(key)
                        todo.append(key)
                    elif entry.is_file:
                        wanted.append(key)
                        total += entry.size
                if total > self.limit or len(wanted) + len(self.directories) > MAX_FILES:
                    megabytes = self.limit >> 20
                    raise Unsupported(
                        f"on this storage a repository may have {megabytes} MB and {MAX_FILES} files"
                        " (sftpd.programs.copy_limit)"
                    )
        await asyncio.to_thread(self._make_directories)
        await self._each(wanted, self._download)

    def _make_directories(self) -> None:
        """Make the directories of the copy.

        Raises:
            Unsupported: a path is longer than this host takes.
        """
        try:
            for directory in sorted(self.directories):
                os.mkdir(self._local(directory))
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise Unsupported("the repository has a path that is too long for a copy on this host") from None

    async def _download(self, key: str) -> None:
        try:
            file = await self.session.open(self._path(key), OpenFlags(read=True))
        except NotFound:  # packed meanwhile
            return
        found = digest()
        self.versioned = self.versioned or bool(file.version)
        try:
            with open(self._local(key), "wb") as local:
                while True:
                    piece = await file.read(local.tell(), PIECE_BYTES)
                    if not piece:
                        break
                    await asyncio.to_thread(local.write, piece)
                    if not _is_object(key):
                        found.update(piece)
        finally:
            await file.close()
        if not _is_object(key):
            self.names[key] = found.hexdigest()
        self.files[key] = _look(self._local(key))

    # -- and back ------------------------------------------------------------------------------------------

    async def store(self) -> None:
        """Bring back what a push changed.

        Raises:
            Conflict: somebody else changed the repository meanwhile; nothing of theirs was replaced, and of
                what names objects nothing was stored, or only in part.
            TidegateError: something cannot be written; what names objects is not, or only in part.
        """
        now, directories = await asyncio.to_thread(self._scan)
        changed = sorted((key for key, found in now.items() if self.files.get(key) != found), key=_order)
        gone = [key for key in self.files if key not in now and not _is_object(key)]
        for key in sorted(directories - self.directories):
            try:
                await self.session.mkdir(self._path(key))
            except AlreadyExists:
                continue
        for rank in range(2):  # content, then indexes
            await self._each([key for key in changed if _order(key)[0] == rank], self._upload)
        names = {
            key: await asyncio.to_thread(Path(self._local(key)).read_bytes)
            for key in changed
            if not _is_object(key)
        }
        emptied = [key for key in self.directories - directories if key.startswith(_NAMES)]
        await self._names().store(names, gone, emptied)

    def _names(self) -> Names:
        return Names(self.session, self._path, self.names, versioned=self.versioned, note=self.note)

    async def _upload(self, key: str) -> None:
        flags = OpenFlags(write=True, create=True, truncate=True)
        file = await self.session.open(self._path(key), flags)
        try:
            with open(self._local(key), "rb") as local:
                offset = 0
                while piece := await asyncio.to_thread(local.read, PIECE_BYTES):
                    await file.write(offset, piece)
                    offset += len(piece)
        except BaseException:
            await file.abort()
            if key not in self.files:
                # What arrived may stay (upload_mode 0), and git takes a cut object for one that is there.
                with suppress(TidegateError):
                    await self.session.remove(self._path(key))
            raise
        await file.close()

    def _scan(self) -> tuple[dict[str, _Found], set[str]]:
        """Files and directories of the copy now, but for what is not finished."""
        files: dict[str, _Found] = {}
        directories: set[str] = set()
        for folder, names, inside in os.walk(self.directory):
            base = os.path.relpath(folder, self.directory)
            names[:] = [name for name in names if not _is_temporary(name)]
            for name in names:
                directories.add(name if base == "." else f"{base}/{name}")
            for name in inside:
                key = name if base == "." else f"{base}/{name}"
                if not _is_temporary(name) and stat.S_ISREG(os.lstat(self._local(key)).st_mode):
                    files[key] = _look(self._local(key))
        return files, directories

    # -- both --------------------------------------------------------------------------------------------

    async def _each(self, keys: Sequence[str], work: Callable[[str], Awaitable[None]]) -> None:
        """Do something for each of many files, some at a time; the first failure ends it."""
        waiting = iter(keys)

        async def some() -> None:
            for key in waiting:
                await work(key)

        tasks = [asyncio.ensure_future(some()) for _ in range(min(AT_ONCE, len(keys)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _path(self, key: str) -> VPath:
        return VPath(f"{'' if self.source == '/' else self.source}/{key}") if key else self.source

    def _local(self, key: str) -> str:
        return f"{self.directory}/{key}"


class CopyRun:
    """`tidegate.vfs.api.ProgramRun` on a copy; traffic and space are charged as files of the copy move."""

    def __init__(self, copy: Copy, lock: asyncio.Lock | None, *, writes: bool) -> None:
        self.copy = copy
        self._lock = lock
        self.base = os.open(copy.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.directories = (_CopyDirectory("", os.dup(self.base), writes),)
        self.umask = 0o077
        self.owner = (-1, -1)
        self.max_file = copy.limit
        self.location = copy.session.location(copy.source)
        self.point = copy.source
        self.granted = frozenset[Permission]()
        self.watched = False
        self.due = False

    async def begin(self) -> None:
        """Nothing is counted here."""

    def received(self, size: int) -> float:  # noqa: ARG002  the contract's
        """Nothing is counted here."""
        return 0.0

    sent = received

    async def check(self) -> None:
        """Nothing is counted here."""

    async def close(self) -> None:
        """Remove the copy."""
        if self.base >= 0:
            os.close(self.base)
            os.close(self.directories[0].fd)
            self.base = -1
            if self._lock is not None:
                self._lock.release()
            await asyncio.to_thread(shutil.rmtree, self.copy.directory, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _CopyDirectory:
    key: str
    fd: int
    writes: bool


async def open_copy(session: Session, repository: VPath, options: ProgramOptions, *, writes: bool) -> CopyRun:
    """Copy a repository to this host.

    Raises:
        TidegateError: it is too large, or cannot be read.
    """
    place = session.location(repository)
    lock = push_lock(place) if writes else None
    if lock is not None:
        await lock.acquire()
    directory = ""
    try:
        directory = await asyncio.to_thread(tempfile.mkdtemp, prefix="tidegate-git-")
        copy = Copy(session, repository, options.copy_bytes, directory)
        copy.note = LockNote(Path(options.notes), place) if writes and options.notes else None
        await copy.fetch()
        return CopyRun(copy, lock, writes=writes)
    except BaseException:
        if lock is not None:
            lock.release()
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        raise


def _is_object(key: str) -> bool:
    return key.startswith(f"{OBJECTS}/") and not key.startswith(f"{OBJECTS}/info/")


def _order(key: str) -> tuple[int, str]:
    """Content of objects first, then what makes packs known, then what names objects."""
    if not _is_object(key):
        return 2, key
    return int(key.endswith((".idx", "multi-pack-index"))), key


def _is_temporary(name: str) -> bool:
    return name.endswith(_TEMPORARY) or name.startswith(_TEMPORARY_BEGINNINGS)


def _look(path: str) -> _Found:
    found = os.stat(path)
    return _Found(found.st_size, found.st_mtime_ns)
