# SPDX-License-Identifier: Apache-2.0
"""A session of `tidegate.vfs.api` over a tree in memory, with brakes: for tests of dialogues."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import operator
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from tests.support.rounds import Rounds

from tidegate.cluster.registry import LiveTransfer
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidHandle,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    TooLarge,
    TooManyLinks,
    Unsupported,
)
from tidegate.model import (
    ROOT,
    Account,
    Attrs,
    Entry,
    Kind,
    Peer,
    Principal,
    Protocol,
    Space,
    VPath,
)
from tidegate.model.rights import Right
from tidegate.vfs.api import OpenFlags, Span
from tidegate.vfs.files.handle import SMALL_FILE_BYTES

DISTANT: ContextVar[bool] = ContextVar("DISTANT", default=False)
"""Sessions that are made now are on storage with latency: nothing is answered at once, and requests overlap."""

MAX_FILE_BYTES = 128 * 1024 * 1024


@dataclass
class Node:
    kind: Kind
    data: bytearray = field(default_factory=bytearray)
    text: str = ""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 1_000_000_000 * 10**9
    atime_ns: int = 1_000_000_000 * 10**9

    def entry(self, name: str) -> Entry:
        size = len(self.text) if self.kind is Kind.LINK else len(self.data)
        return Entry(name, self.kind, size, self.mode, self.uid, self.gid, self.mtime_ns, self.atime_ns)

    def apply(self, attrs: Attrs) -> None:
        if attrs.size is not None:
            if attrs.size > MAX_FILE_BYTES:
                raise TooLarge
            grown = attrs.size - len(self.data)
            if grown > 0:
                self.data.extend(bytes(grown))
            else:
                del self.data[attrs.size :]
        self.mode = attrs.mode if attrs.mode is not None else self.mode
        self.uid = attrs.uid if attrs.uid is not None else self.uid
        self.gid = attrs.gid if attrs.gid is not None else self.gid
        self.atime_ns = attrs.atime_ns if attrs.atime_ns is not None else self.atime_ns
        self.mtime_ns = attrs.mtime_ns if attrs.mtime_ns is not None else self.mtime_ns


class MemoryFile:
    """An open file. `session.slow` makes it answer through tasks; `session.gates` hold single calls."""

    def __init__(self, session: MemorySession, path: VPath, node: Node, flags: OpenFlags) -> None:
        self.session, self.path, self.node = session, path, node
        self.readable, self.writable = flags.read, flags.write
        small = flags.read and not flags.write and len(node.data) <= SMALL_FILE_BYTES
        self.small = len(node.data) if small else 0
        self.in_order = session.in_order
        self.append = flags.append
        self.ended, self.announced = "", 0
        session.open_files.append(self)

    def _alive(self) -> None:
        if self.ended:
            raise InvalidHandle

    def _put(self, offset: int, data: bytes) -> None:
        self._alive()
        self.session.log.append(("put", self.path, offset, len(data)))
        at = len(self.node.data) if self.append else offset
        if at + len(data) > MAX_FILE_BYTES:
            raise TooLarge
        if at > len(self.node.data):
            self.node.data.extend(bytes(at - len(self.node.data)))
        self.node.data[at : at + len(data)] = data

    async def read(self, offset: int, size: int) -> bytes:
        await self.session.pass_gate("read", self.path, offset)
        self._alive()
        return bytes(self.node.data[offset : offset + size])

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        self._alive()
        self.session.trip("readinto_nowait")
        if self.session.slow or self.session.far is not None:
            return None
        done = 0
        for buffer in buffers:
            piece = self.node.data[offset + done : offset + done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        return done

    async def write(self, offset: int, data: bytes) -> None:
        await self.session.pass_gate("write", self.path, offset)
        self._put(offset, bytes(data))

    def write_nowait(self, offset: int, data: bytes) -> bool:
        self._alive()
        self.session.trip("write_nowait")
        if self.session.slow or self.session.far is not None:
            return False
        self._put(offset, bytes(data))
        return True

    async def stat(self) -> Entry:
        await self.session.pass_gate("fstat", self.path)
        self._alive()
        return self.node.entry(self.path.name)

    async def set_attrs(self, attrs: Attrs) -> None:
        await self.session.pass_gate("fsetstat", self.path)
        self._alive()
        self.node.apply(attrs)

    async def sync(self) -> None:
        await self.session.pass_gate("sync", self.path)
        self._alive()
        self.session.log.append(("sync", self.path, len(self.node.data)))

    async def close(self) -> None:
        await self.session.pass_gate("close", self.path)
        self._close()

    def close_nowait(self, later: object = None, stored: object = None) -> bool:
        if not self.session.at_once("close", self.path):
            return False
        self._close()
        return True

    def _close(self) -> None:
        self._alive()
        self.ended = "closed"
        self.session.log.append(("close", self.path, len(self.node.data)))
        self.session.open_files.remove(self)

    async def abort(self) -> None:
        assert not self.ended, "aborted after its end"
        self.ended = "aborted"
        self.session.log.append(("abort", self.path, len(self.node.data)))
        self.session.open_files.remove(self)


class MemorySession:
    """The tree. Set `slow` to make every call wait one turn of the loop, `gates` to hold calls, `errors` to
    make calls fail. Made while `DISTANT`, each call takes one round of `far`, a latency that is counted, not waited for."""

    def __init__(self, *, start: str = "/", username: str = "alice") -> None:
        self.principal = Principal(Account(username=username, uid=1001, gid=1002), "password", "192.0.2.1")
        self.peer = Peer("c1", Protocol.SFTP, "192.0.2.1")
        self.start_directory = VPath.parse(start)
        self.transfers: set[LiveTransfer] = set()
        self.nodes: dict[VPath, Node] = {ROOT: Node(Kind.DIRECTORY, mode=0o755)}
        self.slow = False
        self.in_order = False
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.failures: list[tuple[str, str, TidegateError, str | None]] = []
        self.log: list[tuple[object, ...]] = []
        self.entered: list[tuple[object, ...]] = []
        self.open_files: list[MemoryFile] = []
        self.open_listings = 0
        self.batch = 1000
        self.closed = False
        self.far = Rounds() if DISTANT.get() else None
        self.overlaps = self.far is not None

    # -- brakes

    def location(self, path: str) -> str:
        return f"/memory{path}"

    def require_copy(self, source: str, target: str) -> None:
        del source, target

    async def require_removable(self, path: str, entry: Entry) -> None:
        del path, entry

    @asynccontextmanager
    async def replacing(self, path: str, *, moves: str | None = None) -> AsyncIterator[None]:
        del path, moves
        yield None

    async def identity(self, path: str, *, follow: bool) -> str:
        del follow
        return self.location(path)

    def failed(self, intent: str, path: str, error: TidegateError, target: str | None = None) -> None:
        self.failures.append((intent, path, error, target))

    def trip(self, call: str) -> None:
        error = self.errors.get(call)
        if error is not None:
            raise error

    async def pass_gate(self, call: str, *what: object) -> None:
        self.entered.append((call, *what))
        self.trip(call)
        gate = self.gates.get(call)
        if gate is not None:
            await gate.wait()
        elif self.far is not None:
            await self.far.wait()
        elif self.slow:
            await asyncio.sleep(0)

    def at_once(self, call: str, *what: object) -> bool:
        """True if a call need not wait; it has passed its gate then."""
        if self.slow or self.far is not None or call in self.gates or call in self.errors:
            return False
        self.entered.append((call, *what))
        return True

    # -- helpers for tests

    def put(self, path: str, data: bytes = b"", **kind: object) -> Node:
        where = VPath.parse(path)
        for directory in reversed(where.parent.ancestors()):
            self.nodes.setdefault(directory, Node(Kind.DIRECTORY, mode=0o755))
        node = Node(Kind.FILE, bytearray(data), **kind)  # type: ignore[arg-type]
        self.nodes[where] = node
        return node

    def data(self, path: str) -> bytes:
        return bytes(self.nodes[VPath.parse(path)].data)

    # -- the session

    def _node(self, path: VPath, *, follow: bool = True, hops: int = 0) -> Node:
        node = self.nodes.get(path)
        if node is None:
            for above in path.ancestors()[1:]:
                found = self.nodes.get(above)
                if found is not None:
                    raise NotFound if found.kind is Kind.DIRECTORY else NotADirectory
            raise NotFound
        if follow and node.kind is Kind.LINK:
            if hops > 10:
                raise TooManyLinks
            return self._node(VPath.parse(node.text, path.parent), hops=hops + 1)
        return node

    def _parent(self, path: VPath) -> None:
        if self._node(path.parent).kind is not Kind.DIRECTORY:
            raise NotADirectory

    async def stat(self, path: VPath, *, follow: bool = True) -> Entry:
        await self.pass_gate("stat", path)
        return self._node(path, follow=follow).entry(path.name)

    async def list(self, path: VPath) -> AsyncIterator[list[Entry]]:
        await self.pass_gate("list", path)
        if self._node(path).kind is not Kind.DIRECTORY:
            raise NotADirectory
        found = [(p, n) for p, n in self.nodes.items() if p.parent == path and p != ROOT]
        self.open_listings += 1
        try:
            for first in range(0, len(found), self.batch):
                if first:
                    await self.pass_gate("list", path)
                yield [n.entry(p.name) for p, n in found[first : first + self.batch]]
        finally:
            self.open_listings -= 1

    async def rights(self, directory: VPath) -> Callable[[str, bool], Right]:
        await self.pass_gate("rights", directory)
        every = functools.reduce(operator.or_, Right)
        return lambda _name, _is_dir: every

    async def open(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> MemoryFile:
        await self.pass_gate("open", path, flags, attrs)
        return self._open(path, flags, attrs)

    def open_nowait(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> MemoryFile | None:
        if not self.at_once("open", path, flags, attrs):
            return None
        try:
            return self._open(path, flags, attrs)
        except TidegateError:  # `open` says so
            self.entered.pop()
            return None

    def begin_nowait(
        self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None
    ) -> Callable[[], MemoryFile] | None:
        file = self.open_nowait(path, flags, attrs)
        return None if file is None else lambda: file

    def _open(self, path: VPath, flags: OpenFlags, attrs: Attrs | None) -> MemoryFile:
        try:
            node = self._node(path)
        except NotFound:
            if not flags.create:
                raise
            self._parent(path)
            node = self.nodes[path] = Node(Kind.FILE)
            node.apply(attrs or Attrs())
        else:
            if flags.exclusive and flags.create:
                raise AlreadyExists
            if node.kind is Kind.DIRECTORY:
                raise IsADirectory
            if flags.truncate:
                node.data.clear()
        return MemoryFile(self, path, node, flags)

    async def remove(self, path: VPath) -> None:
        await self.pass_gate("remove", path)
        if self._node(path, follow=False).kind is Kind.DIRECTORY:
            raise IsADirectory
        del self.nodes[path]

    async def mkdir(self, path: VPath, attrs: Attrs | None = None) -> None:
        await self.pass_gate("mkdir", path, attrs)
        if path in self.nodes:
            raise AlreadyExists
        self._parent(path)
        node = self.nodes[path] = Node(Kind.DIRECTORY, mode=0o755)
        node.apply(replace(attrs or Attrs(), size=None))

    async def rmdir(self, path: VPath) -> None:
        await self.pass_gate("rmdir", path)
        if self._node(path, follow=False).kind is not Kind.DIRECTORY:
            raise NotADirectory
        if path == ROOT:
            raise Denied
        if any(p.parent == path and p != path for p in self.nodes):
            raise DirectoryNotEmpty
        del self.nodes[path]

    async def rename(self, source: VPath, target: VPath, *, replace: bool) -> None:
        await self.pass_gate("rename", source, target, replace)
        self._node(source, follow=False)
        if target in self.nodes and not replace:
            raise AlreadyExists
        if source == ROOT or target.is_within(source):
            raise Unsupported
        self._parent(target)
        for path in [p for p in self.nodes if p.is_within(source)]:
            rest = path.relative_to(source)
            self.nodes[VPath.parse(f"{target}/{rest}")] = self.nodes.pop(path)

    async def symlink(self, text: str, link: VPath) -> None:
        await self.pass_gate("symlink", text, link)
        if link in self.nodes:
            raise AlreadyExists
        self.nodes[link] = Node(Kind.LINK, text=text, mode=0o777)

    async def readlink(self, path: VPath) -> str:
        await self.pass_gate("readlink", path)
        node = self._node(path, follow=False)
        if node.kind is not Kind.LINK:
            raise Unsupported
        return node.text

    async def real_path(self, path: VPath) -> VPath:
        return path

    def span(self, path: VPath, *, changes: bool) -> Span:
        return Span(0, path, changes)

    async def hardlink(self, source: VPath, target: VPath) -> None:
        await self.pass_gate("hardlink", source, target)
        if target in self.nodes:
            raise AlreadyExists
        self.nodes[target] = self._node(source, follow=False)

    async def set_attrs(self, path: VPath, attrs: Attrs, *, follow: bool = True) -> None:
        await self.pass_gate("set_attrs", path, attrs, follow)
        self._node(path, follow=follow).apply(attrs)

    async def space(self, path: VPath) -> Space:
        await self.pass_gate("space", path)
        self._node(path)
        return Space(4096, 4096 * 1000, 4096 * 250, 500, 400)

    async def copy_range(
        self, source: MemoryFile, offset: int, length: int, target: MemoryFile, target_offset: int
    ) -> int:
        await self.pass_gate("copy_range", source.path, target.path)
        data = bytes(source.node.data[offset : offset + length] if length else source.node.data[offset:])
        target._put(target_offset, data)
        return len(data)

    async def copy(self, source: VPath, target: VPath, *, replace: bool) -> None:
        await self.pass_gate("copy", source, target, replace)
        if target in self.nodes and not replace:
            raise AlreadyExists
        self.put(target, bytes(self._node(source).data))

    async def checksum(
        self,
        file: VPath | MemoryFile,
        algorithm: str,
        offset: int = 0,
        length: int = 0,
        block: int = 0,
    ) -> Sequence[bytes]:
        await self.pass_gate("checksum", file, algorithm)
        node = file.node if isinstance(file, MemoryFile) else self._node(file)
        data = bytes(node.data[offset : offset + length] if length else node.data[offset:])
        pieces = [data[i : i + block] for i in range(0, len(data), block)] if block else [data]
        if algorithm == "crc32":
            return [zlib.crc32(p).to_bytes(4, "big") for p in pieces]
        if algorithm == "blake3":
            from blake3 import blake3

            return [blake3(p).digest() for p in pieces]
        return [hashlib.new(algorithm, p).digest() for p in pieces]

    async def close(self) -> None:
        self.closed = True
