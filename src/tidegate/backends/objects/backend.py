# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ARG002 - the contract has arguments that a bucket has no use for
"""`ObjectBackend`: the contract of `tidegate.abc.Backend` on object storage; decisions: docs/adr/0037.

Long, because it has every operation of the contract, most of them a few lines.
"""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import AsyncIterator, Hashable
from typing import Final

from tidegate.abc import (
    Backend,
    Capability,
    ExpiresPartials,
    FileHandle,
    ListsPartials,
    ListsSizes,
    OpenOptions,
    Outcome,
    ReplacesTrees,
    SetsAside,
    SharesUploads,
    Steps,
    TellsSteps,
)
from tidegate.backends.objects.aside import Asides
from tidegate.backends.objects.attributes import NOTHING, Node
from tidegate.backends.objects.bucket import Bucket, Stored
from tidegate.backends.objects.copying import copy_object
from tidegate.backends.objects.keys import Keys, is_record, left_tree, parent_of
from tidegate.backends.objects.listing import Listing
from tidegate.backends.objects.metadata import with_times
from tidegate.backends.objects.moving import (
    copy_file,
    copy_tree,
    remove_copied,
    remove_copies,
    rename_file,
)
from tidegate.backends.objects.notes import RECOVERY_SECONDS, RENAME, Notes, recover
from tidegate.backends.objects.partials import Partials
from tidegate.backends.objects.reading import ObjectReader
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.backends.objects.siblings import Siblings
from tidegate.backends.objects.staged import StagedTrees
from tidegate.backends.objects.tree import ABSENT_SECONDS, Tree, both
from tidegate.backends.objects.uploads import Uploads, own
from tidegate.backends.objects.writing import UploadView, check_attrs
from tidegate.errors import (
    AlreadyExists,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Space

STALE_TREE_SECONDS: Final = 86_400
"""Seconds after which a hidden tree of another server no longer keeps its directory from being removed."""


class ObjectBackend:
    """Files and directories of one root in a bucket.

    Opens and closes `bucket`; whoever shares a client between roots hands over something that counts.

    Args:
        bucket: the service; not open yet.
        prefix: what the keys of the root begin with, for instance ``users/alice/``; may be empty.
        settings: sizes, seconds and bounds.
        shared: what the roots of the process share.
        owner: whose share of the memory for transfers is used; equal for roots that use one share. Empty for
            a share of this root.
    """

    capabilities = (
        Capability.TIMES
        | Capability.TRUNCATE
        | Capability.APPEND
        | Capability.PARTIALS
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
        owner: Hashable = "",
    ) -> None:
        self._bucket = bucket
        self._settings = settings or ObjectSettings()
        self._shared = shared or ObjectShared()
        self._keys = Keys(prefix)
        self._cache = self._shared.attributes(bucket)
        self._tree = Tree(bucket, self._keys, self._cache, self._settings)
        self._partials = Partials(self._tree, self._shared.partials(bucket))
        self._notes = Notes(bucket, self._shared.journal(self._settings.journal_dir), self._settings.service)
        self._memory = self._shared.budget.of(owner or object())
        self._siblings = Siblings(
            bucket,
            self._cache,
            self._memory,
            seconds=self._settings.attribute_seconds,
            most=self._settings.files_ahead,
            known_seconds=self._settings.open_seconds,
        )
        self._uploads = Uploads(self._tree, self._memory, self._partials, self._notes, self._set_times)
        self._asides = Asides(self._tree, self._notes)
        self._staged = StagedTrees(self._tree, self._notes, self._partials.drop_record)
        self._recovery: asyncio.Task[None] | None = None

    def location(self, key: str) -> str:
        """For instance ``s3://bucket/prefix/key``."""
        try:
            return self._bucket.location(self._keys.object(key) if key else self._keys.prefix)
        except TidegateError:
            return self._bucket.location(self._keys.prefix)

    def identity(self, key: str) -> str:
        """See `tidegate.abc.Identifies`: buckets of one name at two services are two."""
        return f"{self._settings.service}#{self.location(key)}".rstrip("/")

    def refusal(self, key: str, size: int) -> str:
        """See `tidegate.abc.RefusesKeys`."""
        try:
            self._keys.object(key)
        except NotFound:
            return "is a name that is reserved for unfinished uploads"
        except InvalidPath as error:
            return error.text.removeprefix("invalid path: ")
        most = self._bucket.limits.object
        return f"has {size} bytes, and an object at most {most}" if size > most else ""

    async def open(self) -> None:
        """Make the client ready, and end what a crash of this host left half done.

        Waits for that, but not for ever: a large directory that was being renamed goes on in the background.
        """
        await self._bucket.open()
        left = await self._notes.left_behind(self._keys.prefix)
        if left:
            self._recovery = asyncio.create_task(recover(self._tree, self._notes, left, self._partials))
            await asyncio.wait([self._recovery], timeout=RECOVERY_SECONDS)

    async def try_itself(self) -> None:
        """See `tidegate.abc.TriesItself`."""
        await self._bucket.check(self._keys.prefix)

    async def close(self) -> None:
        """Release the client."""
        if self._recovery is not None:
            self._recovery.cancel()  # its notes stay for the next who opens the root
            await asyncio.wait([self._recovery])
        self._siblings.close()
        await self._uploads.close()
        await self._tree.directories.close()
        await self._bucket.close()

    # -- looking -----------------------------------------------------------------------------------------

    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        """Attributes; see `Tree.look` for what that costs."""
        try:
            return await self._tree.entry(key)
        except NotFound:
            found = await self._uploads.entry(key)
            if found is None:
                raise
            return found

    def list(self, key: str) -> AsyncIterator[list[Entry]]:
        """Entries of a directory, a batch for each page of the service."""
        return Listing(self._tree, key, time.time() - self._settings.partial_seconds, self._siblings)

    def list_sizes(self, key: str) -> AsyncIterator[builtins.list[Entry]]:
        """As `list`, without the requests that find out times."""
        return Listing(self._tree, key, time.time() - self._settings.partial_seconds, times=False)

    # -- files -------------------------------------------------------------------------------------------

    async def open_file(self, key: str, options: OpenOptions) -> FileHandle:
        """Open a file for reading, or for writing in order."""
        if not (options.read or options.write):
            raise InvalidArgument("invalid argument: neither read nor write")
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        if not options.write:
            return await ObjectReader.open(self._tree, self._memory, self._siblings, key)
        if options.read:
            raise Unsupported("this storage cannot read and write one file at a time")
        return await self._uploads.open(key, options)

    async def remove(self, key: str) -> None:
        """Remove a file."""
        self._keys.object(key)
        removed = await self._tree.remove(key)
        dropped = await self._partials.drop(key)
        if removed is None and not dropped:
            raise NotFound

    # -- the tree ----------------------------------------------------------------------------------------

    async def mkdir(
        self, key: str, *, mode: int | None = None, uid: int | None = None, gid: int | None = None
    ) -> None:
        """Make a directory: an object whose key ends with a slash."""
        self._keys.object(key)
        await self._tree.mkdir(key)
        self._partials.none_in(key)
        await self._partials.drop(key)

    async def rmdir(self, key: str) -> None:
        """Remove an empty directory."""
        before = time.time() - STALE_TREE_SECONDS
        for record in await self._tree.rmdir(
            key,
            lambda stored, folder: (
                is_record(stored.key) or (stored.modified < before and left_tree(stored.key, folder))
            ),
        ):
            if not (is_record(record) and await self._partials.drop_record(record)):
                await self._bucket.delete([record])

    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Rename a file or directory; docs/adr/0037 has what others see meanwhile."""
        await self._rename(source, target, replace=replace, steps=None)

    async def rename_telling(self, source: str, target: str, *, replace: bool, steps: Steps) -> None:
        """See `tidegate.abc.TellsSteps`."""
        await self._rename(source, target, replace=replace, steps=steps)

    async def _rename(self, source: str, target: str, *, replace: bool, steps: Steps | None) -> None:
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
        goal, _ = await both(self._look_at_goal(node, target, replace=replace), self._enter(source, target))
        if not goal.missing and not replace:
            raise AlreadyExists
        if node.stored is not None:
            if goal.is_dir:
                raise IsADirectory
            if parent_of(source) != parent_of(target):  # else the file shows its directory under either name
                await self._tree.keep_parent(source)
            await rename_file(self._tree, node.stored, there, create=not replace, steps=steps)
            self._cache.changed(here, None if node.folder else NOTHING)
            await self._partials.drop(source)
            await self._partials.drop(target)
            return
        if goal.stored is not None:
            raise NotADirectory
        await self._rename_tree(source, target, goal, steps)

    async def _look_at_goal(self, node: Node, target: str, *, replace: bool) -> Node:
        """Look at the name that something is renamed to.

        A file relies on having seen a moment ago that it is free, as an upload does: the service refuses what
        must not be replaced. A directory is copied object by object, so it looks.
        """
        sure = node.is_file and (replace or self._bucket.limits.creates)
        return await self._tree.look(target, absent_seconds=ABSENT_SECONDS if sure else 0.0)

    async def _enter(self, source: str, target: str) -> None:
        """Refuse a target whose directory is not there; that of the source is: the source is in it.

        Raises:
            NotFound.
        """
        if parent_of(source) != parent_of(target):
            await self._tree.require_parent(target)

    async def _rename_tree(self, source: str, target: str, goal: Node, steps: Steps | None) -> None:
        here, there = self._keys.folder(source), self._keys.folder(target)
        if goal.folder and await self._has_entries(there):
            raise DirectoryNotEmpty
        await self._tree.keep_parent(source)
        await self._partials.drop(target)
        note = await self._notes.add(RENAME, here, there)
        try:
            try:
                await copy_tree(self._tree, here, there, steps)
            except BaseException:
                await remove_copies(self._tree, here, there, keep_marker=goal.folder)
                raise
            await remove_copied(self._tree, here, there, self._partials.drop_record)
        finally:
            for folder in (here, there):
                self._cache.forget_below(folder)
                self._cache.changed(folder[:-1])
                self._partials.forget_below(folder)
            await self._notes.remove(note)

    async def beside(self, key: str, *, moves: bool) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        return await self._staged.beside(key, moves=moves)

    async def exchange(self, hidden: str, key: str) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        return await self._staged.exchange(hidden, key)

    async def leave_beside(self, hidden: str) -> None:
        """See `tidegate.abc.ReplacesTrees`."""
        await self._staged.leave_beside(hidden)

    async def set_aside(self, key: str, successor: FileHandle, *, keep: bool = True) -> tuple[str, bool]:
        """See `tidegate.abc.SetsAside`."""
        return await self._asides.set_aside(key, own(successor), keep=keep)

    async def replaced(self, hidden: str, key: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        await self._asides.replaced(hidden, key)

    async def put_back(self, hidden: str, key: str) -> bool:
        """See `tidegate.abc.SetsAside`."""
        return await self._asides.put_back(hidden, key)

    async def withdraw(self, hidden: str, key: str, *, last: bool = False) -> bool:
        """See `tidegate.abc.SetsAside`."""
        return await self._asides.withdraw(hidden, key, last=last)

    async def drop_aside(self, hidden: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        await self._asides.drop_aside(hidden)

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
        with self._cache.changing(stored.key):
            copied = await copy_object(self._bucket, stored, stored.key, metadata)
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
        with self._cache.changing(there):
            stored = await copy_file(self._tree, node.stored, there, create=not replace)
        self._cache.changed(there, Node(stored))
        await self._partials.drop(target)
        return stored.size

    # -- uploads of a session that are not published yet -------------------------------------------------

    async def reopen(self, handle: FileHandle, options: OpenOptions) -> FileHandle:
        """Another handle on an upload; it reads what is still in memory."""
        return UploadView(own(handle), options)

    async def retarget(self, handle: FileHandle, key: str, *, exclusive: bool) -> None:
        """Publish an upload under another name, as long as nothing of it was sent."""
        self._keys.object(key)
        await self._uploads.retarget(own(handle), key, exclusive=exclusive)

    async def forsake(self, handle: FileHandle) -> None:
        """Publish nothing of an upload."""
        own(handle).forsaken = True

    # -- unfinished uploads ------------------------------------------------------------------------------

    async def partials(self, key: str) -> AsyncIterator[builtins.list[Entry]]:
        """Unfinished uploads kept in a directory, one in a batch."""
        async for kept in self._partials.of_directory(key):
            if not await self._partials.hidden(key, kept):
                yield [kept.entry()]

    async def expire_partials(self, key: str) -> builtins.list[Entry]:
        """Remove the unfinished uploads of a directory that are too old, or hidden by a finished file."""
        expired: builtins.list[Entry] = []
        limit = time.time() - self._settings.partial_seconds
        async for kept in self._partials.of_directory(key):
            hidden = await self._partials.hidden(key, kept)
            if not (hidden or kept.record.modified < limit):
                continue
            if await self._partials.drop_record(kept.record.key) and not hidden:
                expired.append(kept.entry())
        return expired

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


def _proof(
    backend: ObjectBackend,
) -> tuple[
    Backend, SharesUploads, ListsPartials, ExpiresPartials, ListsSizes, TellsSteps, ReplacesTrees, SetsAside
]:
    """The type checker's word that the contracts are kept."""
    return backend, backend, backend, backend, backend, backend, backend, backend
