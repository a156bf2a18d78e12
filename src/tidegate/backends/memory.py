# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: D102, ARG002 - the methods are described in tidegate.abc, and some refuse whatever they get
"""`MemoryBackend`: the contract of `tidegate.abc.Backend` on a dictionary.

The simplest complete backend: read it before you write your own. It declares what a dictionary can do
(no links, no hard links) and refuses the rest with `Unsupported`. Nothing here waits, so every ``async def``
completes at once. Contents are gone with the object.

Long, because it is meant to be read as one text.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from typing_extensions import Buffer

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidHandle,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageFull,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind, Space

DEFAULT_CAPACITY: Final = 256 * 1024 * 1024
"""Bytes of content one backend holds, partials included."""
BATCH: Final = 256
"""Entries in a batch of a listing."""
BLOCK: Final = 4096


@dataclass(slots=True, eq=False)
class _Node:
    """A file or a directory."""

    mode: int
    uid: int = 0
    gid: int = 0
    children: dict[str, _Node] | None = None
    counted: bool = True  # False once nothing names it: open handles keep it, the account does not
    data: bytearray = field(default_factory=bytearray)
    atime_ns: int = field(default_factory=time.time_ns)
    mtime_ns: int = field(default_factory=time.time_ns)

    def entry(self, name: str) -> Entry:
        kind = Kind.FILE if self.children is None else Kind.DIRECTORY
        return Entry(name, kind, len(self.data), self.mode, self.uid, self.gid, self.mtime_ns, self.atime_ns)

    def set(self, attrs: Attrs) -> None:
        self.mode = self.mode if attrs.mode is None else attrs.mode & 0o7777
        self.uid = self.uid if attrs.uid is None else attrs.uid
        self.gid = self.gid if attrs.gid is None else attrs.gid
        self.atime_ns = self.atime_ns if attrs.atime_ns is None else attrs.atime_ns
        self.mtime_ns = self.mtime_ns if attrs.mtime_ns is None else attrs.mtime_ns


class MemoryFile:
    """An open file of a `MemoryBackend`; see `tidegate.abc.FileHandle`."""

    def __init__(self, owner: MemoryBackend, key: str, node: _Node, options: OpenOptions) -> None:
        self.existed_size: int | None = None
        self.staged = False
        self.took = False
        self.closed = False
        self.base_size: int | None = None
        self._times: Attrs | None = None
        self._owner = owner
        self._key = key
        self._node = node
        self._options = options

    async def read(self, offset: int, size: int) -> bytes:
        self._check(write=False)
        if offset < 0 or size < 0:
            raise InvalidArgument("invalid argument: offset")
        return bytes(self._node.data[offset : offset + size])

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        self._check(write=False)
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        done = 0
        for buffer in buffers:
            piece = self._node.data[offset + done : offset + done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        return done

    async def write(self, offset: int, data: Buffer) -> None:
        self.write_nowait(offset, data)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        self._check(write=True)
        content = self._node.data
        if self._options.append:
            offset = len(content)
        if offset < 0:
            raise InvalidArgument("invalid argument: offset")
        piece = bytes(data)
        if piece:
            self._owner.resize(self._node, max(len(content), offset + len(piece)))
            content[offset : offset + len(piece)] = piece
            self._node.mtime_ns = time.time_ns()
        return True

    async def stat(self) -> Entry:
        self._check()
        return self._node.entry(self._key.rpartition("/")[2])

    async def set_attrs(self, attrs: Attrs) -> None:
        self._check()
        check_attrs(attrs)
        if attrs.size is not None:
            self._owner.resize(self._node, attrs.size)
        self._node.set(attrs)
        if attrs.atime_ns is not None or attrs.mtime_ns is not None:
            self._times = Attrs(atime_ns=attrs.atime_ns, mtime_ns=attrs.mtime_ns)

    async def sync(self) -> None:
        self._check()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        self._check()
        self.closed = True
        if self._times is not None:
            self._node.set(self._times)
        if self._options.write:
            self._owner.finish(self._key, self._node, self._options, outcome, self)

    def _check(self, *, write: bool | None = None) -> None:
        allowed = write is None or (self._options.write if write else self._options.read)
        if self.closed or not allowed:
            raise InvalidHandle


class MemoryBackend:
    """A tree in memory.

    Args:
        capacity: bytes of content it holds; more is `StorageFull`.
        umask: taken from the mode of what is new.
    """

    capabilities = (
        Capability.MODES
        | Capability.OWNERS
        | Capability.TIMES
        | Capability.TRUNCATE
        | Capability.RANDOM_WRITE
        | Capability.READ_WRITE
        | Capability.APPEND
        | Capability.PARTIALS
        | Capability.SERVER_COPY
        | Capability.SPACE
        | Capability.REAL_DIRECTORIES
    )

    inline = True

    def __init__(self, *, capacity: int = DEFAULT_CAPACITY, umask: int = 0o022) -> None:
        self._capacity = capacity
        self._identity = f"memory:{uuid.uuid4()}"
        self._umask = umask
        self._used = 0
        self._root = _Node(0o777 & ~umask, children={})
        self._partials: dict[str, _Node] = {}
        self._writing: set[int] = set()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to release; the content stays for the next `open`."""

    def location(self, key: str) -> str:
        return f"memory:/{key}"

    def identity(self, key: str) -> str:
        """See `tidegate.abc.Identifies`: of this very backend, which nobody else can reach."""
        return f"{self._identity}/{key}" if key else self._identity

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        node = self._find(key) or self._partials.get(key)
        if node is None:
            raise NotFound
        return node.entry(key.rpartition("/")[2])

    async def list(self, key: str) -> AsyncIterator[list[Entry]]:
        node = self._get(key)
        if node.children is None:
            raise NotADirectory
        entries = [child.entry(name) for name, child in node.children.items()]
        for start in range(0, len(entries), BATCH):
            yield entries[start : start + BATCH]

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        if not (options.read or options.write):
            raise InvalidArgument("invalid argument: neither read nor write")
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        found = self._find(key)
        if found is not None and options.create and options.exclusive:
            raise AlreadyExists
        if found is not None and found.children is not None:
            raise IsADirectory
        staged = options.publish is not Publish.INPLACE and (found is None or options.truncate)
        partial = self._partials.get(key) if options.publish is Publish.RESUMABLE and not found else None
        if found is None and not (options.create or (options.write and partial)):
            raise NotFound
        start_over = options.truncate or options.exclusive
        resumed = partial if staged and options.write and not start_over else None
        if resumed is not None:
            if id(resumed) in self._writing:
                raise Conflict("upload still in progress")
            node = resumed
        elif found is not None and not staged:
            node = found
        else:
            node = self._new(key, options, found)
        handle = MemoryFile(self, key, node, options)
        old = found or partial
        handle.existed_size = None if old is None else len(old.data)
        handle.staged = staged
        if not options.write:
            return handle
        if staged and options.publish is Publish.RESUMABLE and key not in self._partials:
            self._partials[key] = node
        elif staged and options.publish is Publish.RESUMABLE and id(self._partials[key]) not in self._writing:
            self._release(self._partials[key], keep=node)
            self._partials[key] = node
        self._writing.add(id(node))
        if found is not None and not staged:
            if options.truncate:
                self.resize(node, 0)
            else:
                handle.base_size = len(node.data)
        return handle

    def _new(self, key: str, options: OpenOptions, found: _Node | None) -> _Node:
        parent, name = self._parent(key)
        if found is not None:  # overwritten files keep mode and owner
            return _Node(found.mode & 0o1777, found.uid, found.gid)
        mode = (0o666 if options.mode is None else options.mode) & 0o777 & ~self._umask
        node = _Node(mode, options.uid or 0, options.gid or 0)
        if options.publish is Publish.INPLACE or not options.write:
            parent[name] = node
        return node

    def finish(
        self, key: str, node: _Node, options: OpenOptions, outcome: Outcome, handle: MemoryFile
    ) -> None:
        """End an upload; called by `MemoryFile.close`."""
        self._writing.discard(id(node))
        if not handle.staged:
            if outcome is Outcome.DROP and handle.base_size is not None:
                self.resize(node, min(len(node.data), handle.base_size))
            elif outcome is Outcome.DROP and self._find(key) is node:
                parent, name = self._parent(key)
                self._release(parent.pop(name))
            return
        if outcome is Outcome.KEEP and options.publish is Publish.RESUMABLE and node.data:
            self._partials.setdefault(key, node)
            if self._partials[key] is not node:
                self._release(node)
            return
        if self._partials.get(key) is node:
            del self._partials[key]
        if outcome is not Outcome.COMMIT:
            self._release(node)
            return
        try:
            parent, name = self._parent(key)
            old = parent.get(name)
            if old is not None and options.exclusive:
                raise AlreadyExists
            if old is not None and old.children is not None:
                raise IsADirectory
        except BaseException:
            self._release(node)
            raise
        if old is not None:
            self._release(old)
        parent[name] = node

    async def remove(self, key: str) -> None:
        node = self._find(key)
        partial = self._partials.pop(key, None)
        if partial is not None and id(partial) not in self._writing:
            self._release(partial)
        if node is None:
            if partial is None:
                raise NotFound
            return
        if node.children is not None:
            raise IsADirectory
        parent, name = self._parent(key)
        self._release(parent.pop(name))

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        if self._find(key) is not None:
            raise AlreadyExists
        parent, name = self._parent(key)
        wanted = (0o777 if mode is None else mode) & 0o777 & ~self._umask
        parent[name] = _Node(wanted, uid or 0, gid or 0, children={})

    async def rmdir(self, key: str) -> None:
        parent, name = self._parent(key)
        node = self._get(key)
        if node.children is None:
            raise NotADirectory
        if node.children:
            raise DirectoryNotEmpty
        for hidden in [other for other in self._partials if other.startswith(key + "/")]:
            self._release(self._partials.pop(hidden))
        del parent[name]

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        old_parent, old_name = self._parent(source)
        node = self._get(source)
        new_parent, new_name = self._parent(target)
        there = new_parent.get(new_name)
        if there is not None and not replace:
            raise AlreadyExists
        if node.children is not None and target.startswith(source + "/"):
            raise InvalidArgument("a directory cannot move below itself")
        if there is node:
            return
        if there is not None:
            if there.children is not None and node.children is None:
                raise IsADirectory
            if there.children is None and node.children is not None:
                raise NotADirectory
            if there.children:
                raise DirectoryNotEmpty
            self._release(there)
        new_parent[new_name] = old_parent.pop(old_name)
        partial = self._partials.get(source)
        if partial is not None and id(partial) not in self._writing:
            self._release(self._partials.pop(source))
        for inner in [other for other in self._partials if other.startswith(source + "/")]:
            self._partials[target + inner[len(source) :]] = self._partials.pop(inner)

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        node = self._get(key)
        check_attrs(attrs)
        if attrs.size is not None:
            if node.children is not None:
                raise IsADirectory
            self.resize(node, attrs.size)
        node.set(attrs)

    async def symlink(self, text: str, key: str) -> None:
        raise Unsupported

    async def readlink(self, key: str) -> str:
        raise Unsupported

    async def hardlink(self, source: str, target: str) -> None:
        raise Unsupported

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        node = self._get(source)
        if node.children is not None:
            raise IsADirectory
        options = OpenOptions(
            write=True,
            create=True,
            truncate=True,
            exclusive=not replace,
            publish=Publish.ATOMIC,
            mode=node.mode,
        )
        handle = await self.open_file(target, options)
        outcome = Outcome.DROP
        try:
            await handle.write(0, node.data)
            outcome = Outcome.COMMIT
        finally:
            await handle.close(outcome)
        return len(node.data)

    async def space(self, key: str) -> Space:
        self._get(key)
        free = max(0, self._capacity - self._used)
        return Space(BLOCK, self._capacity, free, files_total=0, files_free=0)

    # -- the tree ----------------------------------------------------------------------------------------

    def resize(self, node: _Node, size: int) -> None:
        """Give a file a size, zeros at its end; keeps the account of what is used."""
        grown = size - len(node.data)
        if node.counted:
            if self._used + grown > self._capacity and grown > 0:
                raise StorageFull
            self._used += grown
        if grown > 0:
            node.data.extend(bytes(grown))
        else:
            del node.data[size:]
        if grown:
            node.mtime_ns = time.time_ns()

    def _release(self, node: _Node, keep: _Node | None = None) -> None:
        if node is not keep and node.counted:
            self._used -= len(node.data)
            node.counted = False

    def _find(self, key: str) -> _Node | None:
        check_key(key)
        node = self._root
        for name in key.split("/") if key else ():
            below = None if node.children is None else node.children.get(name)
            if below is None:
                return None
            node = below
        return node

    def _get(self, key: str) -> _Node:
        node = self._find(key)
        if node is None:
            raise NotFound
        return node

    def _parent(self, key: str) -> tuple[dict[str, _Node], str]:
        check_key(key)
        if not key:
            raise Denied(rule="root")
        folder, _, name = key.rpartition("/")
        node = self._find(folder)
        if node is None or node.children is None:
            raise NotFound
        return node.children, name


def check_key(key: str) -> None:
    """Refuse what is no clean key.

    Raises:
        InvalidPath.
    """
    if key and ("\0" in key or any(part in {"", ".", ".."} for part in key.split("/"))):
        raise InvalidPath("invalid path: not a clean relative path")
    if any(len(part.encode("utf-8", "surrogatepass")) > 255 for part in key.split("/")):
        raise InvalidPath("invalid path: too long")


def check_attrs(attrs: Attrs) -> None:
    """Refuse values out of range.

    Raises:
        InvalidArgument.
    """
    if attrs.size is not None and attrs.size < 0:
        raise InvalidArgument("invalid argument: size")
    if attrs.mode is not None and not 0 <= attrs.mode <= 0o7777:
        raise InvalidArgument("invalid argument: mode")


def _proof(backend: MemoryBackend) -> Backend:
    """The type checker's word that the contract is kept."""
    return backend


__all__ = ["MemoryBackend"]
