# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a bucket has no use for
"""`ObjectBackend`: the contract of `tidegate.abc.Backend` on object storage; decisions: docs/adr/0037."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish, SharesUploads
from tidegate.backends.objects.attributes import NOTHING, Node
from tidegate.backends.objects.bucket import Bucket, Stored
from tidegate.backends.objects.copying import copy_object
from tidegate.backends.objects.keys import Keys, parent_of
from tidegate.backends.objects.listing import Listing
from tidegate.backends.objects.metadata import with_times, without_digests
from tidegate.backends.objects.moving import (
    copy_file,
    copy_tree,
    remove_copied,
    remove_tree,
    rename_file,
)
from tidegate.backends.objects.parts import PartStream
from tidegate.backends.objects.reading import ObjectReader
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.backends.objects.tree import ABSENT_SECONDS, Tree, both
from tidegate.backends.objects.writing import ObjectWriter, UploadView, check_attrs
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Space


class ObjectBackend:
    """Files and directories of one root in a bucket.

    Opens and closes `bucket`; whoever shares a client between roots hands over something that counts.

    Args:
        bucket: the service; not open yet.
        prefix: what the keys of the root begin with, for instance ``users/alice/``; may be empty.
        settings: sizes, seconds and bounds.
        shared: what the roots of the process share.
    """

    capabilities = (
        Capability.TIMES
        | Capability.TRUNCATE
        | Capability.APPEND
        | Capability.SERVER_COPY
        | Capability.REAL_DIRECTORIES
    )

    inline = False

    def __init__(
        self,
        bucket: Bucket,
        prefix: str = "",
        settings: ObjectSettings | None = None,
        shared: ObjectShared | None = None,
    ) -> None:
        self._bucket = bucket
        self._settings = settings or ObjectSettings()
        self._shared = shared or ObjectShared()
        self._keys = Keys(prefix)
        self._cache = self._shared.attributes(bucket)
        self._tree = Tree(bucket, self._keys, self._cache, self._settings)

    def location(self, key: str) -> str:
        """For instance ``s3://bucket/prefix/key``."""
        try:
            return self._bucket.location(self._keys.object(key) if key else self._keys.prefix)
        except TidegateError:
            return self._bucket.location(self._keys.prefix)

    async def open(self) -> None:
        """Make the client ready."""
        await self._bucket.open()

    async def close(self) -> None:
        """Release the client."""
        await self._bucket.close()

    # -- looking -----------------------------------------------------------------------------------------

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        """Attributes; see `Tree.look` for what that costs."""
        return await self._tree.entry(key)

    def list(self, key: str) -> AsyncIterator[list[Entry]]:
        """Entries of a directory, a batch for each page of the service."""
        return Listing(self._tree, key, time.time() - self._settings.partial_seconds)

    # -- files -------------------------------------------------------------------------------------------

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        """Open a file for reading, or for writing in order."""
        if not (options.read or options.write):
            raise InvalidArgument("invalid argument: neither read nor write")
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        if not options.write:
            stored = await self._tree.file(key)
            return ObjectReader(self._tree, self._shared, key, stored)
        if options.publish is Publish.RESUMABLE:
            raise Unsupported
        if options.read:
            raise Unsupported("this storage cannot read and write one file at a time")
        return await self._open_upload(key, options)

    async def _open_upload(self, key: str, options: OpenOptions) -> FileHandle:
        if not key:
            self._keys.object(key)
            raise AlreadyExists if options.create and options.exclusive else IsADirectory
        checked = self._checked()
        node, parent = await both(
            self._tree.look(key, absent_seconds=ABSENT_SECONDS),
            self._tree.look(parent_of(key)) if parent_of(key) else _root(),
        )
        old: Stored | None = node.stored
        if options.create and options.exclusive and not node.missing:
            raise AlreadyExists
        if node.is_dir:
            raise IsADirectory
        if old is None and not options.create:
            raise NotFound
        if not parent.is_dir:
            raise NotFound
        base = None
        if old is not None and not (options.truncate or options.exclusive):
            base = old = await self._tree.detailed(old)
        metadata = without_digests(base.metadata) if base is not None else {}
        stream = PartStream(
            self._bucket,
            self._shared,
            self._settings,
            self._keys.object(key),
            with_times(metadata, time.time_ns(), None),
            watch=_Unwatched(),
        )
        return ObjectWriter(
            key,
            options,
            stream,
            old=old,
            base=base,
            took=False,
            existed_size=None if old is None else old.size,
            extend=self._settings.extend,
            checked=checked,
            end=self._end_upload,
        )

    def _checked(self) -> tuple[int, float]:
        return self._cache.changes, time.monotonic()

    async def _end_upload(self, writer: ObjectWriter, outcome: Outcome) -> None:
        if outcome is not Outcome.COMMIT or writer.forsaken:
            await writer.stream.abandon()
            return
        if not writer.changed:
            await writer.stream.abandon()
            if writer.times is not None:
                await self.set_attrs(writer.key, writer.times)
            return
        await self._publish(writer)

    async def _publish(self, writer: ObjectWriter) -> None:
        """Make the object of an upload, if its name still may be a file."""
        key = writer.key
        target = self._keys.object(key)
        try:
            changes, seen = writer.checked
            if changes != self._cache.changes or time.monotonic() - seen > ABSENT_SECONDS:
                node, parent = await both(
                    self._tree.look(key), self._tree.look(parent_of(key)) if parent_of(key) else _root()
                )
                if not parent.is_dir:
                    raise NotFound
                if writer.exclusive and not node.missing:
                    raise AlreadyExists
                if node.is_dir:
                    raise IsADirectory
        except BaseException:
            await writer.stream.abandon()
            raise
        try:
            create = writer.exclusive and self._bucket.limits.creates
            stored = await writer.stream.finish(writer.metadata(), create=create)
        except BaseException:
            self._cache.changed(target)
            raise
        self._cache.changed(target, Node(stored))

    async def remove(self, key: str) -> None:
        """Remove a file."""
        self._keys.object(key)
        if await self._tree.remove(key) is None:
            raise NotFound

    # -- the tree ----------------------------------------------------------------------------------------

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Make a directory: an object whose key ends with a slash."""
        self._keys.object(key)
        await self._tree.mkdir(key)

    async def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        await self._tree.rmdir(key, lambda _: False)

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename a file or directory; docs/adr/0037 has what others see meanwhile."""
        here, there = self._keys.object(source), self._keys.object(target)
        if not source or not target:
            raise Denied(rule="root")
        node = await self._tree.find(source)
        if source == target:
            if not replace:
                raise AlreadyExists
            return
        if node.is_dir and target.startswith(f"{source}/"):
            raise InvalidArgument("a directory cannot move below itself")
        goal, _ = await both(self._tree.look(target), self._tree.require_parent(target))
        if not goal.missing and not replace:
            raise AlreadyExists
        if node.stored is not None:
            if goal.is_dir:
                raise IsADirectory
            await self._tree.keep_parent(source)
            await rename_file(self._tree, node.stored, there, create=not replace)
            self._cache.changed(here, None if node.folder else NOTHING)
            return
        if goal.stored is not None:
            raise NotADirectory
        await self._rename_tree(source, target, goal)

    async def _rename_tree(self, source: str, target: str, goal: Node) -> None:
        here, there = self._keys.folder(source), self._keys.folder(target)
        if goal.folder and await self._has_entries(there):
            raise DirectoryNotEmpty
        await self._tree.keep_parent(source)
        try:
            try:
                await copy_tree(self._tree, here, there)
            except BaseException:
                await remove_tree(self._tree, there)
                if goal.folder:
                    await self._bucket.put(there, b"", {})
                raise
            await remove_copied(self._tree, here, there)
        finally:
            for folder in (here, there):
                self._cache.forget_below(folder)
                self._cache.changed(folder[:-1])

    async def _has_entries(self, folder: str) -> bool:
        return (await self._tree.count_below(folder, 2)) > 0

    async def set_attrs(self, key: str, attrs: Attrs, *, follow: bool = True) -> None:
        """Set times, which copies the object onto itself in the service, or the size."""
        check_attrs(attrs)
        node = await self._tree.find(key)
        if node.stored is None:
            if attrs.size is not None:
                raise IsADirectory
            if attrs.mtime_ns is not None or attrs.atime_ns is not None:
                await self._tree.set_directory_times(key, attrs)
            return
        stored = await self._tree.detailed(node.stored)
        if attrs.size is not None and attrs.size != stored.size:
            handle = await self.open_file(key, OpenOptions(write=True, append=True))
            outcome = Outcome.DROP
            try:
                await handle.set_attrs(attrs)
                outcome = Outcome.COMMIT
            finally:
                await handle.close(outcome)
            return
        if attrs.mtime_ns is not None or attrs.atime_ns is not None:
            await self._set_times(stored, attrs)

    async def _set_times(self, stored: Stored, attrs: Attrs) -> None:
        metadata = with_times(stored.metadata, attrs.mtime_ns, attrs.atime_ns)
        try:
            copied = await copy_object(self._bucket, stored, stored.key, metadata)
        except BaseException:
            self._cache.changed(stored.key)
            raise
        kept = Stored(copied.key, copied.size, copied.modified, copied.etag, metadata, copied.sums)
        self._cache.changed(stored.key, Node(kept))

    async def copy(self, source: str, target: str, *, replace: bool) -> int:
        """Copy a file within the service; returns its size."""
        self._keys.object(source)
        there = self._keys.object(target)
        node = await self._tree.find(source)
        if node.stored is None:
            raise IsADirectory
        goal, _ = await both(self._tree.look(target), self._tree.require_parent(target))
        if not goal.missing and not replace:
            raise AlreadyExists
        if goal.is_dir:
            raise IsADirectory
        try:
            stored = await copy_file(self._tree, node.stored, there, create=not replace)
        except BaseException:
            self._cache.changed(there)
            raise
        self._cache.changed(there, Node(stored))
        return stored.size

    # -- uploads of a session that are not published yet -------------------------------------------------

    async def reopen(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        """Another handle on an upload; it reads what is still in memory."""
        return UploadView(_own(handle), options)

    async def retarget(self, handle: FileHandle, key: str, *, exclusive: bool) -> None:
        """Publish an upload under another name, as long as nothing of it was sent."""
        writer = _own(handle)
        target = self._keys.object(key)
        if writer.stream.upload is not None or writer.base is not None:
            raise Conflict("upload still in progress")
        goal, _ = await both(self._tree.look(key), self._tree.require_parent(key))
        if goal.is_dir:
            raise IsADirectory
        if exclusive and not goal.missing:
            raise AlreadyExists
        writer.key, writer.stream.key, writer.exclusive = key, target, exclusive
        writer.checked = self._checked()

    async def forsake(self, handle: FileHandle) -> None:
        """Publish nothing of an upload."""
        _own(handle).forsaken = True

    # -- what a bucket does not have ---------------------------------------------------------------------

    async def symlink(self, text: str, key: str) -> None:
        """Refused: Unsupported."""
        raise Unsupported

    async def readlink(self, key: str) -> str:
        """Refused: Unsupported."""
        raise Unsupported

    async def hardlink(self, source: str, target: str) -> None:
        """Refused: Unsupported."""
        raise Unsupported

    async def space(self, key: str) -> Space:
        """Refused: Unsupported. A bucket has no size."""
        raise Unsupported


class _Unwatched:
    async def begun(self, upload: object) -> None:
        return None

    async def ended(self, upload: object) -> None:
        return None


async def _root() -> Node:
    return Node(folder=True)


def _own(handle: FileHandle) -> ObjectWriter:
    if not isinstance(handle, ObjectWriter):
        raise InvalidArgument("not an upload of this storage")
    return handle


def _proof(backend: ObjectBackend) -> tuple[Backend, SharesUploads]:
    """The type checker's word that the contracts are kept."""
    return backend, backend
