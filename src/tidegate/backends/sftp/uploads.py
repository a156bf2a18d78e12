# SPDX-License-Identifier: Apache-2.0
"""Opens files of another SFTP server, and publishes what was written beside its target."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, NoReturn

import asyncssh

from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.sftp.errors import Lost, is_failure
from tidegate.backends.sftp.files import SftpFile
from tidegate.backends.sftp.options import SftpOptions
from tidegate.backends.sftp.pool import Link, Pool
from tidegate.backends.sftp.tree import Tree
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    InvalidArgument,
    IsADirectory,
    NotFound,
    StorageFailed,
    StorageFull,
    TidegateError,
    Unsupported,
)
from tidegate.model import Entry

SPARE_BLOCKS: Final = 1
"""A file system with as few free blocks is full."""


class Uploads:
    """Files of one root.

    Args:
        pool: connections.
        tree: looks at paths.
        options: of the record.
        umask: taken from the mode of what is new.
    """

    def __init__(self, pool: Pool, tree: Tree, options: SftpOptions, umask: int) -> None:
        self.pool = pool
        self.one_read = options.disable_concurrent_reads
        self.reopening = asyncio.Lock()
        self._tree = tree
        self._names = tree.names
        self._umask = umask
        self._abandoned: set[asyncio.Future[None]] = set()

    # -- opening -----------------------------------------------------------------------------------------

    async def open(self, key: str, options: OpenOptions) -> SftpFile:
        """Open a file; the handle keeps the connection."""
        if not (options.read or options.write):
            raise InvalidArgument("invalid argument: neither read nor write")
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        self._names.check(key)
        tried = False
        while True:
            link = await self.pool.acquire()
            opening = asyncio.ensure_future(self._open(link, key, options))
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                # Nobody waits for the handle any more, and it would stay open there.
                self._abandoned.add(left := asyncio.ensure_future(self._abandon(link, opening)))
                left.add_done_callback(self._abandoned.discard)
                raise
            except Lost as error:
                self.pool.release(link)
                if tried or (options.write and error.sent):
                    raise self.pool.failed(error) from None
                tried = True
            except BaseException:
                self.pool.release(link)
                raise

    async def _abandon(self, link: Link, opening: asyncio.Future[SftpFile]) -> None:
        try:
            made = await opening
        except (TidegateError, Lost):
            self.pool.release(link)
            return
        with contextlib.suppress(TidegateError):
            await made.close(Outcome.DROP)

    async def open_on(self, link: Link, key: str, options: OpenOptions) -> SftpFile:
        """As `open`, with a connection that the caller has; it is counted once more."""
        made = await self._open(link, key, options)
        link.users += 1
        return made

    async def _open(self, link: Link, key: str, options: OpenOptions) -> SftpFile:
        found = await self._tree.look(link, key)
        if found is not None and options.create and options.exclusive:
            raise AlreadyExists
        if found is not None and found.is_link:
            raise Denied(rule="symbolic link")
        if found is not None and found.is_dir:
            raise IsADirectory
        if not options.write:
            return await self._open_reader(link, key, options, found)
        staged = options.publish is not Publish.INPLACE and (found is None or options.truncate)
        part = await self._part(link, key) if options.publish is Publish.RESUMABLE and found is None else None
        if found is None and not (options.create or part is not None):
            raise NotFound
        if found is None:
            await self._require_parent(link, key)
        start_over = options.truncate or options.exclusive
        if not staged:
            return await self._open_in_place(link, key, options, found)
        taken = part is not None and not start_over
        if taken and self._names.part(key) in self.pool.uploads:
            raise Conflict("upload still in progress")
        old = found or part
        made = await self._open_beside(link, key, options, found, taken=taken)
        made.existed_size = None if old is None else old.size
        made.took = part is not None and made.path == self._names.part(key)
        if taken and part is not None:
            made.end = part.size
        return made

    async def _open_reader(self, link: Link, key: str, options: OpenOptions, found: Entry | None) -> SftpFile:
        if found is None:
            raise NotFound
        path = self._names.path(key)
        opened = await link.do(link.sftp.open(path, asyncssh.FXF_READ, encoding=None))
        made = SftpFile(self, key, path, (link, opened), options)
        made.existed_size = found.size
        made.saw(found.size, found.mtime_ns // 10**9)
        return made

    async def _open_in_place(
        self, link: Link, key: str, options: OpenOptions, found: Entry | None
    ) -> SftpFile:
        flags = asyncssh.FXF_WRITE | (asyncssh.FXF_READ if options.read else 0)
        if options.create:
            flags |= asyncssh.FXF_CREAT | (asyncssh.FXF_EXCL if options.exclusive else 0)
        if options.truncate:
            flags |= asyncssh.FXF_TRUNC
        path = self._names.path(key)
        opened = await self._opened(link, key, path, flags, self._mode(options))
        made = SftpFile(self, key, path, (link, opened), options)
        made.existed_size = None if found is None else found.size
        if found is not None and not options.truncate:
            made.base_size = made.end = found.size
        return made

    async def _open_beside(
        self, link: Link, key: str, options: OpenOptions, found: Entry | None, *, taken: bool
    ) -> SftpFile:
        path = self._names.upload(key)
        if options.publish is Publish.RESUMABLE and self._names.part(key) not in self.pool.uploads:
            path = self._names.part(key)
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (asyncssh.FXF_READ if options.read else 0)
        flags |= 0 if taken else asyncssh.FXF_TRUNC
        mode = self._mode(options) if found is None else found.mode & 0o1777
        self.pool.uploads.add(path)
        try:
            opened = await self._opened(link, key, path, flags, mode)
            if found is not None:  # an overwritten file keeps its mode, whatever umask the server has
                with contextlib.suppress(TidegateError):
                    await link.do(opened.setstat(asyncssh.SFTPAttrs(permissions=mode)))
        except BaseException:
            self.pool.uploads.discard(path)
            raise
        made = SftpFile(self, key, path, (link, opened), options)
        made.staged = True
        return made

    async def _opened(
        self, link: Link, key: str, path: bytes, flags: int, mode: int
    ) -> asyncssh.SFTPClientFile:
        attrs = asyncssh.SFTPAttrs(permissions=mode)
        try:
            return await link.do(link.sftp.open(path, flags, attrs, encoding=None))
        except StorageFailed as error:
            if is_failure(error) and flags & asyncssh.FXF_EXCL and await self._tree.look(link, key):
                raise AlreadyExists from error
            await self.refuse(link, path, error)

    def _mode(self, options: OpenOptions) -> int:
        return (0o666 if options.mode is None else options.mode) & 0o777 & ~self._umask

    async def _require_parent(self, link: Link, key: str) -> None:
        await self._tree.walk(link, key)

    async def _part(self, link: Link, key: str) -> Entry | None:
        """The unfinished upload that is kept for a key."""
        return await self._tree.hidden(link, self._names.part(key), key)

    async def part_of(self, link: Link, key: str) -> Entry | None:
        """As `_part`, for a key that has nothing else."""
        return await self._part(link, key)

    # -- ending ------------------------------------------------------------------------------------------

    async def finish(self, file: SftpFile, outcome: Outcome) -> None:
        """End a handle for writing.

        Raises:
            TidegateError: it could not be published; nothing of it is left unless it can be resumed.
        """
        try:
            try:
                await file.end_writing(outcome)
            except Lost as error:
                await self._finish_lost(file, outcome, error)
                return
            except TidegateError as error:
                if outcome is Outcome.COMMIT:
                    if file.staged:
                        await self._drop(file.link, file.path)
                    if isinstance(error, StorageFailed):
                        await self.refuse(file.link, file.path, error)
                    raise
            try:
                await self._end(file.link, file, outcome)
            except Lost as error:
                raise self.pool.failed(error) from None
        finally:
            self.pool.uploads.discard(file.path)

    async def _finish_lost(self, file: SftpFile, outcome: Outcome, error: Lost) -> None:
        """The connection ended while the file was open: what was written is there, and no more comes."""
        if outcome is Outcome.COMMIT:
            outcome = Outcome.KEEP
        try:
            await self.pool.run(lambda link: self._end(link, file, outcome))
        except TidegateError:
            if outcome is Outcome.DROP:
                raise
        if outcome is not Outcome.DROP:
            raise self.pool.failed(error)

    async def _end(self, link: Link, file: SftpFile, outcome: Outcome) -> None:
        """Publish, keep or remove what was written."""
        if not file.staged:
            if outcome is Outcome.DROP and file.base_size is None:
                await self._drop(link, file.path)
            return
        if outcome is Outcome.KEEP and file.options.publish is Publish.RESUMABLE and file.end:
            await self._keep(link, file)
        elif outcome is Outcome.COMMIT:
            try:
                await self._publish(link, file)
            except Lost:
                raise
            except BaseException:
                await self._drop(link, file.path)
                raise
        else:
            await self._drop(link, file.path)

    async def _keep(self, link: Link, file: SftpFile) -> None:
        """Keep an unfinished upload, unless a finished file has its name or another is kept."""
        kept = self._names.part(file.key)
        if await self._tree.look(link, file.key) is not None:
            await self._drop(link, file.path)
        elif file.path != kept:
            try:
                await link.do(link.sftp.rename(file.path, kept))
            except TidegateError:
                await self._drop(link, file.path)

    async def _publish(self, link: Link, file: SftpFile) -> None:
        target = self._names.path(file.key)
        there = await self._tree.look(link, file.key)
        if there is not None and file.exclusive:
            raise AlreadyExists
        if there is not None and there.is_dir:
            raise IsADirectory
        if there is not None and there.is_link:
            raise Denied(rule="symbolic link")
        await self.move(link, file.path, target, replace=not file.exclusive, there=there is not None)
        if file.path != self._names.part(file.key):
            part = self._names.part(file.key)
            if part not in self.pool.uploads and file.options.publish is Publish.RESUMABLE:
                await self._drop(link, part)

    async def move(self, link: Link, source: bytes, target: bytes, *, replace: bool, there: bool) -> None:
        """Rename; with `replace` in one step where the server can, else with the old file kept aside.

        Args:
            link: the connection.
            source: path.
            target: path.
            replace: the target may be replaced; without, the server's plain rename refuses it.
            there: the target exists.
        """
        if replace:
            try:
                await link.do(link.sftp.posix_rename(source, target))
            except Unsupported:
                pass
            else:
                return
        if not (replace and there):
            await link.do(link.sftp.rename(source, target))
            return
        folder = target.rpartition(b"/")[0]
        aside = folder + b"/" + self._names.fresh()
        await link.do(link.sftp.rename(target, aside))
        try:
            await link.do(link.sftp.rename(source, target))
        except BaseException:
            await link.do(link.sftp.rename(aside, target))
            raise
        await self._drop(link, aside)

    async def drop_part(self, link: Link, key: str) -> bool:
        """Remove the unfinished upload that is kept for a key and nobody writes; True if there was one."""
        path = self._names.part(key)
        return path not in self.pool.uploads and await self._drop(link, path)

    async def _drop(self, link: Link, path: bytes) -> bool:
        try:
            await link.do(link.sftp.remove(path))
        except TidegateError:
            return False
        return True

    # -- why ---------------------------------------------------------------------------------------------

    async def refuse(self, link: Link, path: bytes, error: StorageFailed) -> NoReturn:
        """Raise what `why` finds out; the error itself keeps the cause that it has."""
        found = await self.why(link, path, error)
        if found is error:
            raise error
        raise found from error

    async def why(self, link: Link, path: bytes, error: StorageFailed) -> TidegateError:
        """The meaning of "failure" for a file that is written: version 3 has no code for a full disk."""
        if not is_failure(error):
            return error
        try:
            space = await link.do(link.sftp.statvfs(path.rpartition(b"/")[0] or b"/"))
        except (TidegateError, Lost):
            return error
        return StorageFull(detail=error.detail) if space.bavail <= SPARE_BLOCKS else error
