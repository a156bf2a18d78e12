# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that another server has no use for
"""`SftpBackend`: the contract of `tidegate.abc.Backend` on another SFTP server; decisions: docs/adr/0048.

Long, because it has every operation of the contract, each with the questions that version 3 does not answer.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import functools
import secrets
import time
from collections.abc import AsyncIterator
from typing import Final

import asyncssh

from tidegate.abc import (
    Backend,
    Capability,
    FileHandle,
    ListsPartials,
    OpenOptions,
    Outcome,
    Publish,
    ReplacesTrees,
    TriesItself,
)
from tidegate.backends.host_journal import Journal
from tidegate.backends.sftp.errors import Lost, is_failure
from tidegate.backends.sftp.files import check_attrs, wire_attrs
from tidegate.backends.sftp.names import MAX_NAME_BYTES, Names
from tidegate.backends.sftp.options import SftpOptions
from tidegate.backends.sftp.pool import Link, Pool
from tidegate.backends.sftp.staged import StagedTrees, is_fresh
from tidegate.backends.sftp.tree import Tree, entry_of, kind_of
from tidegate.backends.sftp.uploads import Uploads
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageFailed,
    TidegateError,
    Unsupported,
    WorldError,
)
from tidegate.model import Attrs, Entry, Kind, Space

BATCH: Final = 256
"""Entries in a batch of a listing."""
COPY_BYTES: Final = 64 * 1024 * 1024
"""Bytes that one request to copy asks for: each must end within the time of an answer."""
COPY_SECONDS: Final = 120.0
"""For each of those requests."""
LEFT_SECONDS: Final = 7 * 86400
"""An upload that cannot be taken up, and that nobody wrote to for so long, is removed by a listing."""
SWEPT: Final = 16
"""Of those, by one listing."""
STALE_TREE_SECONDS: Final = 86_400.0
"""Age from which a hidden tree that nobody here works on does not keep its directory from being removed."""
RECOVERY_SECONDS: Final = 20.0
"""So long a root that is opened waits for what a crash left to do there."""


class SftpBackend:
    """Files and directories below one directory of another server.

    Symbolic links there are shown and can be removed, but not followed or made: what one leads to may lie
    outside the root.

    Args:
        pool: connections.
        options: of the record.
        umask: taken from the mode of what is new.
        journal: notes what a crash would leave half done; None notes nothing.
    """

    inline = False

    def __init__(
        self, pool: Pool, options: SftpOptions, *, umask: int = 0o022, journal: Journal | None = None
    ) -> None:
        self._pool = pool
        self._options = options
        self._umask = umask
        host, port = options.address()
        self._names = Names(options.root, f"{host}:{port}")
        self._tree = Tree(self._names)
        self._uploads = Uploads(pool, self._tree, options, umask)
        self._staged = StagedTrees(pool, self._tree, self.location(""), journal, self._remove_tree)
        self._recovering: asyncio.Task[None] | None = None
        self._opened = False
        self._capabilities = (
            Capability.MODES
            | Capability.TIMES
            | Capability.TRUNCATE
            | Capability.RANDOM_WRITE
            | Capability.READ_WRITE
            | Capability.APPEND
            | Capability.PARTIALS
            | Capability.REAL_DIRECTORIES
        )

    @property
    def capabilities(self) -> Capability:
        """Abilities; after `open` with those that only some servers have."""
        return self._capabilities

    def refusal(self, key: str, size: int) -> str:
        """See `tidegate.abc.RefusesKeys`; what else the server refuses is its own to say."""
        del size
        try:
            self._names.check(key)
        except NotFound:
            return "is a name that is reserved for unfinished uploads"
        except InvalidPath as error:
            return error.text.removeprefix("invalid path: ")
        return ""

    def location(self, key: str) -> str:
        """For instance ``sftp://user@host:22/directory/key``."""
        root = self._names.root.decode("utf-8", "replace")
        return f"sftp://{self._pool.place}{root}/{key}"

    async def open(self) -> None:
        """Connect, and make the root if it is missing."""
        if not self._opened:
            self._opened = True
            self._pool.open()
        await self._pool.run(self._open)
        loop = asyncio.get_running_loop()
        self._recovering = loop.create_task(self._staged.recover(), name="sftp recovery")
        await asyncio.wait({self._recovering}, timeout=RECOVERY_SECONDS)

    async def _open(self, link: Link) -> None:
        root = self._names.root or b"/"
        where = f"sftp://{self._pool.place}: sftpconfig.prefix"
        try:
            attrs = await link.do(link.sftp.stat(root))
        except NotFound:
            attrs = await self._make_root(link, where)
        except Denied:
            raise StorageFailed(detail=f"{where}: the server refuses to show it") from None
        if kind_of(attrs) is not Kind.DIRECTORY:
            raise StorageFailed(detail=f"{where} is no directory there")
        if link.sftp.supports_remote_copy:
            self._capabilities |= Capability.SERVER_COPY
        with contextlib.suppress(TidegateError):
            await link.do(link.sftp.statvfs(root))
            self._capabilities |= Capability.SPACE

    async def _make_root(self, link: Link, where: str) -> asyncssh.SFTPAttrs:
        parts = self._names.root.split(b"/")
        for end in range(2, len(parts) + 1):
            with contextlib.suppress(TidegateError):  # the last word has the stat below
                await link.do(link.sftp.mkdir(b"/".join(parts[:end])))
        try:
            return await link.do(link.sftp.stat(self._names.root))
        except TidegateError:
            raise StorageFailed(detail=f"{where} is missing there and cannot be made") from None

    async def try_itself(self) -> None:
        """See `tidegate.abc.TriesItself`: a file is written, read, renamed and removed."""
        name = f"tidegate-check-{secrets.token_hex(6)}"
        step = "list it"
        try:
            await anext(aiter(self.list("")), None)
            step = "write a file"
            handle = await self.open_file(name, OpenOptions(write=True, create=True, exclusive=True))
            try:
                await handle.write(0, b"tidegate")
                await handle.close()
                step = "read a file"
                reader = await self.open_file(name, OpenOptions(read=True))
                read = await reader.read(0, 64)
                await reader.close()
                if read != b"tidegate":
                    raise StorageFailed(detail="it reads other bytes than were written")
                step = "rename a file"
                await self.rename(name, f"{name}-renamed", replace=True)
                name += "-renamed"
            finally:
                step = f"remove a file ({name})" if step == "rename a file" else step
                await self.remove(name)
        except TidegateError as error:
            said = error.detail if isinstance(error, WorldError) and error.detail else error.text
            where = f"sftp://{self._pool.place}: sftpconfig.prefix"
            raise StorageFailed(detail=f"{where}: the account cannot {step}: {said}") from error

    async def close(self) -> None:
        """Release the connections."""
        if self._opened:
            self._opened = False
            if self._recovering is not None:
                self._recovering.cancel()
                await asyncio.wait({self._recovering})
            await self._pool.close()

    # -- looking -----------------------------------------------------------------------------------------

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        """Attributes; of an unfinished upload if nothing else has the name."""
        return await self._pool.run(lambda link: self._stat(link, key, follow=follow))

    async def _stat(self, link: Link, key: str, *, follow: bool) -> Entry:
        found = await self._tree.look(link, key)
        if found is None and key:
            found = await self._uploads.part_of(link, key)
        if found is None:
            raise NotFound
        if follow and found.is_link:
            raise Denied(rule="symbolic link")
        return found

    async def list(self, key: str) -> AsyncIterator[list[Entry]]:
        """Entries of a directory, in the order of the server; what a crash left there is removed."""
        left: builtins.list[bytes] = []
        async for batch in self._scan(key):
            shown = []
            for entry in batch:
                if not self._names.is_hidden(entry.name):
                    shown.append(entry)
                elif len(left) < SWEPT and self._is_left(entry):
                    left.append(self._names.hidden_path(f"{key}/{entry.name}" if key else entry.name))
            if shown:
                yield shown
        for path in left:
            if path not in self._pool.uploads:
                with contextlib.suppress(TidegateError):
                    await self._pool.run(functools.partial(_remove, path))

    def _is_left(self, entry: Entry) -> bool:
        """True for what no upload has been writing for so long that its server must have ended."""
        if self._names.is_part(entry.name) or not entry.is_file:
            return False  # what can be taken up again is charged to a quota, and stays
        return entry.mtime_ns < time.time_ns() - LEFT_SECONDS * 10**9

    async def _scan(self, key: str) -> AsyncIterator[builtins.list[Entry]]:
        """Entries with those of unfinished uploads."""
        link, path = await self._directory(key)
        names = link.sftp.scandir(path)
        try:
            while batch := await link.do(_batch(names)):
                yield batch
        except Lost as error:
            raise self._pool.failed(error) from None
        finally:
            try:
                with contextlib.suppress(Lost, TidegateError):
                    await link.do(names.aclose())  # type: ignore[attr-defined]  # it is a generator
            finally:
                self._pool.release(link)

    async def _directory(self, key: str) -> tuple[Link, bytes]:
        """A connection that is not released, and the path of a directory."""
        for again in (True, False):
            link = await self._pool.acquire()
            try:
                return link, await self._tree.directory(link, key)
            except Lost as error:
                self._pool.release(link)
                if not again:
                    raise self._pool.failed(error) from None
            except BaseException:
                self._pool.release(link)
                raise
        raise AssertionError

    async def partials(self, key: str) -> AsyncIterator[builtins.list[Entry]]:
        """Unfinished uploads that are kept in a directory."""
        shown: set[str] = set()
        kept: builtins.list[Entry] = []
        async for batch in self._scan(key):
            for entry in batch:
                if not self._names.is_hidden(entry.name):
                    shown.add(entry.name)
                elif self._names.is_part(entry.name):
                    kept.append(entry)
        for entry in kept:
            below = f"{key}/" if key else ""
            name = self._names.name_of_part(entry.name)
            path = self._names.hidden_path(below + entry.name)
            if (name is None or name not in shown) and path not in self._pool.uploads:
                yield [entry._replace(name=name or entry.name)]

    # -- files -------------------------------------------------------------------------------------------

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        """Open a file."""
        return await self._uploads.open(key, options)

    async def remove(self, key: str) -> None:
        """Remove a file or a link."""
        await self._pool.run(lambda link: self._remove(link, key), again=False)

    async def _remove(self, link: Link, key: str) -> None:
        found = await self._tree.look(link, key)
        if found is not None and found.is_dir:
            raise IsADirectory
        if found is not None:
            await link.do(link.sftp.remove(self._names.path(key)))
        dropped = await self._uploads.drop_part(link, key)
        if found is None and not dropped:
            raise NotFound

    # -- the tree ----------------------------------------------------------------------------------------

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Make a directory; it belongs to the account there."""
        await self._pool.run(lambda link: self._mkdir(link, key, mode), again=False)

    async def _mkdir(self, link: Link, key: str, mode: int | None) -> None:
        if await self._tree.look(link, key) is not None:
            raise AlreadyExists
        await self._tree.walk(link, key)
        wanted = (0o777 if mode is None else mode) & 0o777 & ~self._umask
        path = self._names.path(key)
        try:
            await link.do(link.sftp.mkdir(path, asyncssh.SFTPAttrs(permissions=wanted)))
        except StorageFailed as error:
            if is_failure(error) and await self._tree.look(link, key) is not None:
                raise AlreadyExists from error
            await self._uploads.refuse(link, path, error)
        await self._uploads.drop_part(link, key)

    async def rmdir(self, key: str) -> None:
        """Remove an empty directory, with the unfinished uploads in it."""
        self._names.check(key)
        if not key:
            raise Denied(rule="root")
        await self._pool.run(lambda link: self._rmdir(link, key), again=False)

    async def _rmdir(self, link: Link, key: str) -> None:
        if not (await self._tree.find(link, key)).is_dir:
            raise NotADirectory
        path = self._names.path(key)
        try:
            await link.do(link.sftp.rmdir(path))
        except StorageFailed as error:
            if not is_failure(error):
                raise
            hidden: builtins.list[Entry] = []
            async for batch in self._scan(key):
                hidden += batch
                if not all(map(self._may_go, batch)):
                    raise DirectoryNotEmpty from error
            if not hidden:
                raise
            for entry in hidden:
                inside = f"{key}/{entry.name}"
                if entry.is_dir:
                    await self._remove_tree(inside)
                else:
                    await link.do(link.sftp.remove(self._names.hidden_path(inside)))
            await link.do(link.sftp.rmdir(path))
        self._tree.forget()

    def _may_go(self, entry: Entry) -> bool:
        """True for what does not keep a directory from being removed: unfinished uploads, stale trees."""
        name = entry.name
        if not self._names.is_hidden(name):
            return False
        if not self._names.is_tree(name):
            return True
        return not (
            name in self._names.staged
            or self._names.is_moved(name)
            or is_fresh(entry.mtime_ns, STALE_TREE_SECONDS)
        )

    async def _remove_tree(self, top: str) -> None:
        """Remove a hidden tree, or a hidden file; no link is followed."""
        waiting = [(top, False)]
        while waiting:
            key, emptied = waiting.pop()
            path = self._names.hidden_path(key)
            if emptied:
                await self._pool.run(functools.partial(_rmdir, path))
                continue
            found = await self._pool.run(functools.partial(_lstat, path))
            if found is None:
                continue
            if kind_of(found) is not Kind.DIRECTORY:
                await self._pool.run(functools.partial(_remove, path))
                continue
            waiting.append((key, True))
            link = await self._pool.acquire()
            try:
                names = link.sftp.scandir(path)
                while batch := await link.do(_batch(names)):
                    waiting += [(f"{key}/{entry.name}", False) for entry in batch]
            except Lost as error:
                raise self._pool.failed(error) from None
            finally:
                self._pool.release(link)
        self._tree.forget()

    # -- trees that take each other's place ---------------------------------------------------------------

    async def beside(self, key: str, *, moves: bool) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        return await self._staged.beside(key, moves=moves)

    async def exchange(self, hidden: str, key: str) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        return await self._staged.exchange(hidden, key)

    async def leave_beside(self, hidden: str) -> None:
        """See `tidegate.abc.ReplacesTrees`."""
        await self._staged.leave_beside(hidden)

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename a file, link or directory."""
        self._names.check(source)
        self._names.check(target)
        if not source or not target:
            raise Denied(rule="root")
        await self._pool.run(lambda link: self._rename(link, source, target, replace), again=False)

    async def _rename(self, link: Link, source: str, target: str, replace: bool) -> None:
        node, there = await asyncio.gather(
            self._tree.find(link, source), self._tree.look(link, target), return_exceptions=True
        )
        if isinstance(node, BaseException):
            raise node
        if isinstance(there, BaseException):
            raise there
        if there is not None and not replace:
            raise AlreadyExists
        if source == target:
            return
        if node.is_dir and target.startswith(f"{source}/"):
            raise InvalidArgument("a directory cannot move below itself")
        if there is None:
            await self._tree.walk(link, target)
        elif there.is_dir and not node.is_dir:
            raise IsADirectory
        elif node.is_dir and not there.is_dir:
            raise NotADirectory
        elif there.is_dir:
            await self._rmdir(link, target)
            there = None
        here, goal = self._names.path(source), self._names.path(target)
        try:
            await self._uploads.move(link, here, goal, replace=replace, there=there is not None)
        except StorageFailed as error:
            if is_failure(error) and not replace and await self._tree.look(link, target) is not None:
                raise AlreadyExists from error
            raise
        finally:
            self._tree.forget()
        if not node.is_dir:
            await self._uploads.drop_part(link, source)
        await self._uploads.drop_part(link, target)

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        """Set mode, times or size."""
        check_attrs(attrs)
        await self._pool.run(lambda link: self._set_attrs(link, key, attrs))

    async def _set_attrs(self, link: Link, key: str, attrs: Attrs) -> None:
        found = await self._tree.no_link(link, key)
        if attrs.size is not None and found.is_dir:
            raise IsADirectory
        path = self._names.path(key)
        try:
            await link.do(link.sftp.setstat(path, wire_attrs(attrs)))
        except StorageFailed as error:
            await self._uploads.refuse(link, path, error)

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        """Copy a file there, without its bytes coming here."""
        if Capability.SERVER_COPY not in self._capabilities:
            raise Unsupported
        return await self._pool.run(lambda link: self._copy(link, source, target, replace), again=False)

    async def _copy(self, link: Link, source: str, target: str, replace: bool) -> int:
        found = await self._tree.no_link(link, source)
        reader = await self._uploads.open_on(link, source, OpenOptions(read=True))
        try:
            options = OpenOptions(
                write=True, create=True, truncate=True, exclusive=not replace, publish=Publish.ATOMIC,
                mode=found.mode,
            )  # fmt: skip
            writer = await self._uploads.open_on(link, target, options)
            outcome = Outcome.DROP
            try:
                for start in range(0, found.size, COPY_BYTES):
                    size = min(COPY_BYTES, found.size - start)
                    request = link.sftp.remote_copy(reader.opened, writer.opened, start, size, start)
                    await link.do(request, COPY_SECONDS)
                copied = (await writer.stat()).size
                outcome = Outcome.COMMIT
            finally:
                await writer.close(outcome)
            return copied
        finally:
            await reader.close()

    async def space(self, key: str) -> Space:
        """Room on the file system there."""
        if Capability.SPACE not in self._capabilities:
            raise Unsupported
        return await self._pool.run(lambda link: self._space(link, key))

    async def _space(self, link: Link, key: str) -> Space:
        await self._tree.no_link(link, key)
        found = await link.do(link.sftp.statvfs(self._names.path(key)))
        block = found.frsize or found.bsize or 1
        total = block * found.blocks
        return Space(
            block,
            total,
            min(block * found.bavail, total),
            found.files,
            found.favail,
            name_max=min(found.namemax or MAX_NAME_BYTES, MAX_NAME_BYTES),
            read_only=bool(found.flags & 1),
        )

    # -- what is refused ---------------------------------------------------------------------------------

    async def symlink(self, text: str, key: str) -> None:
        """Refused: Unsupported."""
        raise Unsupported

    async def readlink(self, key: str) -> str:
        """Refused: Unsupported."""
        raise Unsupported

    async def hardlink(self, source: str, target: str) -> None:
        """Refused: Unsupported. Version 3 of the protocol does not count links, and quotas would be wrong."""
        raise Unsupported


async def _remove(path: bytes, link: Link) -> None:
    with contextlib.suppress(NotFound):
        await link.do(link.sftp.remove(path))


async def _rmdir(path: bytes, link: Link) -> None:
    with contextlib.suppress(NotFound):
        await link.do(link.sftp.rmdir(path))


async def _lstat(path: bytes, link: Link) -> asyncssh.SFTPAttrs | None:
    try:
        return await link.do(link.sftp.lstat(path))
    except NotFound:
        return None


async def _batch(names: AsyncIterator[asyncssh.SFTPName]) -> builtins.list[Entry]:
    """Up to `BATCH` entries; empty at the end. Names that cannot be names are left out."""
    found: builtins.list[Entry] = []
    async for name in names:
        text = bytes(name.filename).decode("utf-8", "surrogateescape")  # type: ignore[arg-type]  # no encoding
        if text in {"", ".", ".."} or "/" in text or "\0" in text or len(text) > MAX_NAME_BYTES:
            continue
        found.append(entry_of(text, name.attrs))
        if len(found) >= BATCH:
            break
    return found


def _proof(backend: SftpBackend) -> tuple[Backend, TriesItself, ListsPartials, ReplacesTrees]:
    """The type checker's word that the contracts are kept."""
    return backend, backend, backend, backend
