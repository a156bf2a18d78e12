# SPDX-License-Identifier: Apache-2.0
"""One request of somebody who is logged in, and what all methods need of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tidegate.doors.dav import status
from tidegate.doors.dav.client import Client
from tidegate.doors.dav.options import AppleFiles, DavOptions
from tidegate.doors.dav.request import Rejected, Request
from tidegate.doors.dav.wire.conditions import IfHeader
from tidegate.errors import Conflict, Locked, NotFound, PeerLimit, TidegateError
from tidegate.model import Entry, VPath
from tidegate.vfs.api import File, OpenFlags, Session

_APPLE_NAMES: Final = frozenset(
    {
        ".ds_store",
        ".apdisk",
        ".fseventsd",
        ".localized",
        ".metadata_never_index",
        ".metadata_never_index_unless_rootfs",
        ".ql_disablecache",
        ".ql_disablethumbnails",
        ".spotlight-v100",
        ".temporaryitems",
        ".trashes",
        "mach_kernel",
    }
)
"""Names that macOS looks for or writes, in lower case, besides those that begin with ``._``."""


class Turns:
    """One after the other, for each of any number of places."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def of(self, place: str) -> AsyncIterator[None]:
        """Wait for the turn at a place, and hold it."""
        lock, holders = self._waiting.get(place) or (asyncio.Lock(), 0)
        self._waiting[place] = lock, holders + 1
        try:
            async with lock:
                yield
        finally:
            lock, holders = self._waiting[place]
            if holders > 1:
                self._waiting[place] = lock, holders - 1
            else:
                del self._waiting[place]


@dataclass(slots=True)
class Call:
    """One request of somebody who is logged in.

    Attributes:
        request: what was asked.
        client: who asks.
        path: of the request.
        options: of the door.
        draining: True once nothing new may begin.
        turns: of uploads to one place, at this door.
        condition: the header If; None without one.
        tokens: lock tokens that are submitted.
    """

    request: Request
    client: Client
    path: VPath
    options: DavOptions
    draining: Callable[[], bool]
    turns: Turns
    condition: IfHeader | None = None
    tokens: tuple[str, ...] = ()

    @property
    def session(self) -> Session:
        """The files."""
        return self.client.session

    def refuses(self, path: VPath) -> bool:
        """True if a path is one of macOS's own files, and this binding takes none."""
        return self.request.binding.apple_files is AppleFiles.REFUSE and any(map(is_apple, path.parts))

    def hides(self, name: str) -> bool:
        """True if listings leave a name out."""
        return self.request.binding.apple_files is not AppleFiles.STORE and is_apple(name)

    async def entry(self, path: VPath | None = None) -> Entry | None:
        """The entry at a path, by default that of the request; None for nothing.

        Raises:
            TidegateError: it may not be seen.
        """
        try:
            return await self.session.stat(self.path if path is None else path)
        except NotFound:
            return None

    async def parent_is_there(self, path: VPath) -> None:
        """Check that there is a directory for a new entry.

        Raises:
            Rejected: there is none (409, RFC 4918 sections 9.3.1, 9.7.1, 9.8.5).
        """
        above = await self.entry(path.parent)
        if above is None or not above.is_dir:
            raise Rejected(409, "there is no directory to put it in")

    def may_begin(self) -> None:
        """Check that a transfer may begin.

        Raises:
            Conflict: the server is shutting down.
            PeerLimit: too many files are open.
        """
        if self.draining():
            raise Conflict("server is shutting down")
        if rule := self.client.handles.full():
            raise PeerLimit(f"too many open files ({rule})")

    async def open(self, path: VPath, flags: OpenFlags) -> File:
        """Open a file; it counts as open until `done`."""
        self.may_begin()
        file = self.session.open_nowait(path, flags)
        if file is None:
            file = await self.session.open(path, flags)
        self.client.handles.set(self.client.handles.held + 1)
        return file

    def done(self) -> None:
        """A file that `open` gave is closed."""
        if not self.client.over:
            self.client.handles.set(max(0, self.client.handles.held - 1))

    def failed(self, intent: str, path: VPath, error: TidegateError, target: VPath | None = None) -> None:
        """Put on record that something failed."""
        self.session.failed(intent, path, error, target)


Method = Callable[[Call], Awaitable[None]]


def rejection(request: Request, error: TidegateError) -> Rejected:
    """The answer to a request that met an error as a whole."""
    condition = status.condition_of(error)
    hrefs: list[str] = []
    if isinstance(error, Locked):
        if request.method == "LOCK":
            condition = "no-conflicting-lock"
        if error.root:
            hrefs.append(request.href(VPath.parse(error.root), collection=False))
    return Rejected(status.code_of(error), status.text_of(error), condition=condition, hrefs=hrefs)


def is_apple(name: str) -> bool:
    """True for names of files that macOS writes or looks for beside others."""
    return name.startswith("._") or name.lower() in _APPLE_NAMES


def etag(entry: Entry) -> str:
    """The entity tag of a file: strong, and the same after a restart. It is made of time and size."""
    return f'"{entry.mtime_ns & 0xFFFFFFFFFFFFFFFF:x}-{entry.size:x}"'
