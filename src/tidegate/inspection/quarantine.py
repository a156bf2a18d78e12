# SPDX-License-Identifier: Apache-2.0
"""Files that were refused and are kept apart: two files each in one directory, content and facts.

The directory is the whole state: commands and several servers on a host may share it. Bounds are looked up
there each time, so what was removed by hand is room again. Nothing is removed to make room but what is older
than `days`: an attacker must not be able to push out evidence.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from tidegate.contracts.inspection import InspectedAct, Read
from tidegate.errors import InvalidArgument, NotFound, StorageFailed

CHUNK: Final = 256 * 1024
MAX_FACTS: Final = 64 * 1024
"""Bytes of the file with the facts of one."""
_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}-[0-9a-f]{12}")
_DATA: Final = ".content"
_FACTS: Final = ".json"
_PART: Final = ".part"
PART_SECONDS: Final = 24 * 3600.0
"""Age from which on a part is what a crash has left."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QuarantineOptions:
    """Options of a quarantine.

    Attributes:
        directory: made if it is missing; for the server alone.
        max_bytes: of all files together.
        max_files: files.
        days: after that a file is removed; 0 is never.
        accept: a client whose file is kept is told that it has arrived.
    """

    directory: Path
    max_bytes: int
    max_files: int
    days: int = 0
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A file that is kept.

    Attributes:
        id: its name here.
        at: when, Unix seconds.
        username, path: whose upload, as the client called it.
        protocol, ip: where it came from.
        size: bytes.
        rule, reason: who refused it and why.
    """

    id: str
    at: float
    username: str
    path: str
    protocol: str
    ip: str
    size: int
    rule: str
    reason: str


class Quarantine:
    """Keeps files apart. Life: constructed, `open`, then anything; nothing is to be closed."""

    def __init__(self, options: QuarantineOptions) -> None:
        self.options = options
        self._reserved: dict[str, int] = {}
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Make the directory, and remove what is too old.

        Raises:
            StorageFailed: it cannot be made.
        """
        await _in_thread(self._prepare)
        await self.expire()

    def _prepare(self) -> None:
        self.options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def expire(self) -> None:
        """Remove files that are too old, and parts that a crash has left."""
        await _in_thread(self._expire)

    async def keep(self, act: InspectedAct, read: Read, *, rule: str, reason: str) -> Item | None:
        """Keep the content of an upload; None if it does not fit or cannot be stored, which the log says."""
        now = time.time()
        name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + "-" + secrets.token_hex(6)
        part = self.options.directory / (name + _PART)
        try:
            await self.expire()
            if not await self._reserve(name, act.size or 0):
                log.warning("quarantine is full: %r of %s is not kept", act.path, act.origin.username)
                return None
            size = await self._copy(name, part, read)
            if size is None:
                log.warning("quarantine is full: %r of %s is not kept", act.path, act.origin.username)
                return None
            origin = act.origin
            item = Item(name, now, origin.username, act.path, origin.protocol, origin.ip, size, rule, reason)
            async with self._turn:  # else it could be counted neither as reserved nor as kept
                await _in_thread(partial(self._settle, item, part))
                del self._reserved[name]
        except StorageFailed as error:
            log.error("quarantine: %r of %s is not kept: %s", act.path, act.origin.username, error.text)
            return None
        else:
            return item
        finally:
            self._reserved.pop(name, None)
            with suppress(OSError):
                part.unlink(missing_ok=True)

    async def _reserve(self, name: str, size: int) -> bool:
        async with self._turn:
            files, used = await _in_thread(self._used)
            files += len(self._reserved)
            used += sum(self._reserved.values())
            if files >= self.options.max_files or used + size > self.options.max_bytes:
                return False
            self._reserved[name] = size
            return True

    async def _copy(self, name: str, part: Path, read: Read) -> int | None:
        """Store the content beside; None if it does not fit."""
        file = await _in_thread(partial(_create, part))
        size = 0
        try:
            while piece := await read(size, CHUNK):
                size += len(piece)
                if size > self._reserved[name] and not await self._grow(name, size):
                    return None
                await _in_thread(partial(file.write, piece))
        finally:
            await asyncio.to_thread(file.close)
        return size

    async def _grow(self, name: str, size: int) -> bool:
        self._reserved.pop(name, None)
        return await self._reserve(name, size)

    def _settle(self, item: Item, part: Path) -> None:
        facts = self.options.directory / (item.id + _FACTS)
        with _create(facts) as file:
            file.write(json.dumps(asdict(item)).encode())
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.options.directory / (item.id + _DATA))

    def _used(self) -> tuple[int, int]:
        sizes: list[int] = []
        for entry in os.scandir(self.options.directory):
            if entry.name.endswith(_DATA):
                with suppress(FileNotFoundError):  # somebody drops it
                    sizes.append(entry.stat(follow_symlinks=False).st_size)
        return len(sizes), sum(sizes)

    def _expire(self) -> None:
        now = time.time()
        days = self.options.days
        for entry in list(os.scandir(self.options.directory)):
            name, dot, kind = entry.name.partition(".")
            limit = PART_SECONDS if dot + kind == _PART else days * 86400.0
            if not limit or _ID.fullmatch(name) is None or f".{kind}" not in {_DATA, _FACTS, _PART}:
                continue
            with suppress(FileNotFoundError):
                if now - entry.stat(follow_symlinks=False).st_mtime > limit:
                    os.unlink(entry.path)

    async def all(self) -> list[Item]:
        """Every file that is kept, oldest first."""
        return await _in_thread(self._all)

    def _all(self) -> list[Item]:
        found: list[Item] = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self.options.directory):
                if entry.name.endswith(_DATA):
                    with suppress(NotFound, InvalidArgument, FileNotFoundError):
                        found.append(self._any_item(entry.name.removesuffix(_DATA)))
        return sorted(found, key=lambda item: (item.at, item.id))

    def _item(self, name: str) -> Item:
        if _ID.fullmatch(name) is None:
            raise InvalidArgument(f"{name[:60]!r} is no id of a file in quarantine")
        try:
            with (self.options.directory / (name + _FACTS)).open("rb") as file:
                item = Item(**json.loads(file.read(MAX_FACTS)))
            return item if (self.options.directory / (name + _DATA)).exists() else _missing(name)
        except FileNotFoundError:
            return _missing(name)
        except (ValueError, TypeError):
            raise StorageFailed(f"the facts of {name} cannot be read") from None

    def _any_item(self, name: str) -> Item:
        """As `_item`, but one whose facts cannot be read hides no other, and can be dropped."""
        try:
            return self._item(name)
        except StorageFailed as error:
            found = (self.options.directory / (name + _DATA)).stat()
            return Item(name, found.st_mtime, "", "", "", "", found.st_size, "", error.text)

    async def get(self, name: str) -> Item:
        """One of them.

        Raises:
            InvalidArgument: this is no id.
            NotFound: there is none of this id.
        """
        return await _in_thread(partial(self._item, name))

    async def drop(self, name: str) -> Item:
        """Remove one for good; returns what it was.

        Raises:
            InvalidArgument, NotFound: as `get`.
        """
        item = await _in_thread(partial(self._any_item, name))
        await _in_thread(partial(self._drop, name))
        return item

    def _drop(self, name: str) -> None:
        for kind in (_DATA, _FACTS):
            (self.options.directory / (name + kind)).unlink(missing_ok=True)

    async def content(self, name: str) -> IO[bytes]:
        """The content of one, to be closed by the caller; reading it is for threads.

        Raises:
            InvalidArgument, NotFound: as `get`.
        """
        await self.get(name)
        return await _in_thread((self.options.directory / (name + _DATA)).open, "rb")


def _missing(name: str) -> Item:
    raise NotFound(f"no file {name} in quarantine")


def _create(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


async def _in_thread(work: Callable[..., T], *args: Any) -> T:
    """Do what may wait on a disk.

    Raises:
        StorageFailed: the system says no.
    """
    try:
        return await asyncio.to_thread(work, *args)
    except OSError as error:
        raise StorageFailed(f"quarantine: {error.strerror or error}") from None
