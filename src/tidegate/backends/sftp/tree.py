# SPDX-License-Identifier: Apache-2.0
"""Looks at paths of another server and follows no symbolic link there below the root."""

from __future__ import annotations

import asyncio
import stat as modes
import time
from typing import Final

import asyncssh

from tidegate.backends.sftp.names import Names
from tidegate.backends.sftp.pool import Link
from tidegate.errors import Denied, NotADirectory, NotFound
from tidegate.model import Entry, Kind

KNOWN_SECONDS: Final = 2.0
"""A directory that was seen to be one, and no link, is not looked at again for so long."""
KNOWN: Final = 4096
"""Directories that are remembered."""
_KINDS: Final = {modes.S_IFREG: Kind.FILE, modes.S_IFDIR: Kind.DIRECTORY, modes.S_IFLNK: Kind.LINK}
_TYPES: Final = {
    asyncssh.FILEXFER_TYPE_REGULAR: Kind.FILE,
    asyncssh.FILEXFER_TYPE_DIRECTORY: Kind.DIRECTORY,
    asyncssh.FILEXFER_TYPE_SYMLINK: Kind.LINK,
}


class Tree:
    """The tree below one root.

    The server has no request that refuses links, so each directory on the way is looked at before what it
    leads to is used. Whoever can make links there can swap one in between; docs/adr/0048.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self._known: dict[bytes, float] = {}

    async def look(self, link: Link, key: str) -> Entry | None:
        """The entry at a key itself, None if nothing is there.

        Raises:
            Denied: a link is on the way.
            InvalidPath, NotFound: see `Names.check`.
        """
        path = self.names.path(key)
        results = await asyncio.gather(self.walk(link, key), self._lstat(link, path), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, NotFound):
                raise result
        way, attrs = results
        if isinstance(way, NotFound) or isinstance(attrs, BaseException) or attrs is None:
            return None
        return entry_of(key.rpartition("/")[2], attrs)

    async def find(self, link: Link, key: str) -> Entry:
        """As `look`.

        Raises:
            NotFound: nothing is there.
        """
        found = await self.look(link, key)
        if found is None:
            raise NotFound
        return found

    async def no_link(self, link: Link, key: str) -> Entry:
        """As `find`, for who would follow a link.

        Raises:
            Denied: it is a link.
        """
        found = await self.find(link, key)
        if found.is_link:
            raise Denied(rule="symbolic link")
        return found

    async def walk(self, link: Link, key: str) -> None:
        """Look at the directories on the way to a key.

        Raises:
            NotFound: one is missing, or no directory.
            Denied: one is a link.
        """
        now = time.monotonic()
        asked = [path for path in self.names.above(key) if self._known.get(path, 0.0) < now]
        if not asked:
            return
        results = await asyncio.gather(*(self._lstat(link, path) for path in asked), return_exceptions=True)
        for path, attrs in zip(asked, results, strict=True):
            if isinstance(attrs, BaseException):
                raise attrs
            kind = Kind.OTHER if attrs is None else kind_of(attrs)
            if kind is Kind.LINK:
                raise Denied(rule="symbolic link")
            if kind is not Kind.DIRECTORY:
                raise NotFound
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[path] = now + KNOWN_SECONDS

    async def hidden(self, link: Link, path: bytes, key: str) -> Entry | None:
        """The unfinished upload at a path, under the name of the key it is kept for."""
        attrs = await self._lstat(link, path)
        if attrs is None or kind_of(attrs) is not Kind.FILE:
            return None
        return entry_of(key.rpartition("/")[2], attrs)

    async def directory(self, link: Link, key: str) -> bytes:
        """The path of a directory.

        Raises:
            NotADirectory: it is something else.
        """
        if not (await self.no_link(link, key)).is_dir:
            raise NotADirectory
        return self.names.path(key)

    def forget(self) -> None:
        """Directories were moved or removed."""
        self._known.clear()

    async def _lstat(self, link: Link, path: bytes) -> asyncssh.SFTPAttrs | None:
        try:
            if path in {self.names.root, b"/"}:  # the root itself may be a link
                return await link.do(link.sftp.stat(path))
            return await link.do(link.sftp.lstat(path))
        except NotFound:
            return None


def kind_of(attrs: asyncssh.SFTPAttrs) -> Kind:
    """The kind of what has these attributes."""
    if attrs.permissions is not None and (found := _KINDS.get(modes.S_IFMT(attrs.permissions))) is not None:
        return found
    return _TYPES.get(attrs.type, Kind.OTHER)


def entry_of(name: str, attrs: asyncssh.SFTPAttrs) -> Entry:
    """The entry for attributes; what a server leaves out is 0."""
    return Entry(
        name,
        kind_of(attrs),
        attrs.size or 0,
        modes.S_IMODE(attrs.permissions or 0),
        attrs.uid or 0,
        attrs.gid or 0,
        (attrs.mtime or 0) * 10**9 + (attrs.mtime_ns or 0),
        (attrs.atime or 0) * 10**9 + (attrs.atime_ns or 0),
    )
