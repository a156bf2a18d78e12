# SPDX-License-Identifier: Apache-2.0
"""Uploads of one root: opening them, and their three endings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from tidegate.abc import FileHandle, OpenOptions, Outcome, Publish
from tidegate.backends.objects.attributes import Node
from tidegate.backends.objects.bucket import ObjectChanged, Stored, Upload
from tidegate.backends.objects.budget import Share
from tidegate.backends.objects.keys import parent_of
from tidegate.backends.objects.metadata import with_times, without_digests
from tidegate.backends.objects.notes import UPLOAD, Notes
from tidegate.backends.objects.partials import Kept, Partials
from tidegate.backends.objects.parts import PartStream
from tidegate.backends.objects.tree import ABSENT_SECONDS, Tree, both
from tidegate.backends.objects.writing import ObjectWriter
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    IsADirectory,
    NotFound,
    TidegateError,
)
from tidegate.model import Attrs, Entry

SetTimes = Callable[[Stored, Attrs], Awaitable[None]]

RENEW_AT: Final = 0.5
"""Share of `attribute_seconds` after which a directory that is uploaded to is asked for anew."""


class Uploads:
    """Uploads of one root.

    Args:
        tree: names.
        memory: of the root.
        partials: unfinished uploads.
        notes: of what is under way.
        set_times: of a finished file.
    """

    def __init__(
        self, tree: Tree, memory: Share, partials: Partials, notes: Notes, set_times: SetTimes
    ) -> None:
        self._tree = tree
        self._memory = memory
        self._partials = partials
        self._notes = notes
        self._set_times = set_times
        self._renewing: dict[str, asyncio.Task[None]] = {}

    async def close(self) -> None:
        """End what was begun ahead of clients."""
        tasks = list(self._renewing.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def entry(self, key: str) -> Entry | None:
        """A file that is being uploaded or was left unfinished, as it is so far; None for nothing."""
        if not key:
            return None
        writer = self._partials.writer(key)
        if writer is not None:
            return await writer.stat()
        kept = await self._partials.find(key)
        return None if kept is None else kept.entry()

    async def open(self, key: str, options: OpenOptions) -> ObjectWriter:
        """Begin an upload, or go on with a file or with an unfinished upload.

        Raises:
            NotFound, AlreadyExists, IsADirectory: as `tidegate.abc.Backend.open_file`.
            Conflict: the unfinished upload is being written.
        """
        tree = self._tree
        target = tree.keys.object(key)
        if not key:
            raise AlreadyExists if options.create and options.exclusive else IsADirectory
        checked = self._checked()
        node, parent = self._known(key) or await self._looked(key)
        self._renew(parent_of(key))
        if options.create and options.exclusive and not node.missing:
            raise AlreadyExists
        if node.is_dir:
            raise IsADirectory
        old: Stored | None = node.stored
        fresh = options.truncate or options.exclusive
        resumable = options.publish is Publish.RESUMABLE and (old is None or options.truncate)
        live = self._partials.writer(key) if resumable else None
        kept = await self._partials.find(key) if resumable and old is None and live is None else None
        if old is None and not options.create and kept is None and live is None:
            raise NotFound
        if not parent.is_dir:
            raise NotFound
        if live is not None and old is None and not fresh:
            raise Conflict("upload still in progress")
        base = await tree.detailed(old) if old is not None and not fresh else None
        claims = resumable and live is None
        kept_metadata = without_digests(base.metadata) if base else {}
        kept_metadata.pop("atime", None)
        watch = _Watch(self._partials if claims else None, self._notes)
        stream = PartStream(
            tree.bucket,
            self._memory,
            tree.settings,
            target,
            with_times(kept_metadata, time.time_ns(), None),
            watch=watch,
        )
        existed = base or old or (kept if kept is not None else None)
        writer = watch.writer = ObjectWriter(
            key,
            options,
            stream,
            old=old,
            base=base,
            took=kept is not None,
            existed_size=None if existed is None else existed.size,
            extend=tree.settings.extend,
            checked=checked,
            end=self._end,
        )
        if claims:
            record = self._partials.record_key(key)
            if record in self._partials.state.writing:  # since we looked
                raise Conflict("upload still in progress")
            self._partials.state.writing[record] = writer
            writer.record = record
        try:
            if kept is not None:
                await self._take_up(writer, kept, fresh=fresh)
        except BaseException:
            self._release(writer)
            stream.leave()  # what was kept stays as it was, for another try
            await stream.abandon()
            raise
        return writer

    async def _take_up(self, writer: ObjectWriter, kept: Kept, *, fresh: bool) -> None:
        writer.recorded = True
        if fresh:
            await self._partials.drop_record(kept.record.key)
            writer.recorded = False
            return
        tail = await self._partials.tail(kept)
        if kept.upload is not None:
            await writer.stream.resume(kept.upload, kept.parts)
        await writer.stream.write(tail)

    def _renew(self, parent: str) -> None:
        """Ask anew for what is known of a directory before it is too old, while clients upload to it.

        Else one of them would wait for it every few seconds, and each that comes meanwhile.
        """
        folder = self._tree.keys.folder(parent)
        most = self._tree.settings.attribute_seconds
        if folder in self._renewing or not most * RENEW_AT < self._tree.cache.age(folder) <= most:
            return
        if not self._tree.directories.worth_renewing(folder):
            return
        task = asyncio.get_running_loop().create_task(self._ask_anew(parent))
        self._renewing[folder] = task
        task.add_done_callback(lambda _: self._renewing.pop(folder, None))

    async def _ask_anew(self, parent: str) -> None:
        with suppress(TidegateError):  # whoever needs to know asks again, and is told
            await both(self._tree.renew(parent), self._partials.list_anew(parent))

    def _known(self, key: str) -> tuple[Node, Node] | None:
        """A name and its directory, if all that an upload has to know is known: then it starts no tasks."""
        parent = self._tree.known(parent_of(key))
        if parent is None or not parent.is_dir or self._partials.known(parent_of(key)) is None:
            return None
        node = self._tree.known(key, absent_seconds=ABSENT_SECONDS)
        return None if node is None else (node, parent)

    async def _looked(self, key: str) -> tuple[Node, Node]:
        """The same by requests at the same time; which unfinished uploads the directory has is known then."""
        node, (parent, _) = await both(
            self._tree.look(key, absent_seconds=ABSENT_SECONDS),
            both(self._tree.parent(key), self._partials.listed(parent_of(key))),
        )
        return node, parent

    def _checked(self) -> tuple[int, float]:
        return self._tree.cache.changes, time.monotonic()

    def _release(self, writer: ObjectWriter) -> None:
        if writer.record and self._partials.state.writing.get(writer.record) is writer:
            del self._partials.state.writing[writer.record]

    # -- endings -----------------------------------------------------------------------------------------

    async def _end(self, writer: ObjectWriter, outcome: Outcome) -> None:
        try:
            if outcome is Outcome.COMMIT and not writer.forsaken:
                await self._commit(writer)
            elif outcome is Outcome.KEEP and writer.record and writer.size and not writer.forsaken:
                await self._keep(writer)
            else:
                await self._drop(writer)
        finally:
            self._release(writer)

    async def _commit(self, writer: ObjectWriter) -> None:
        if not writer.changed:
            await writer.stream.abandon()
            if writer.times is not None:
                await self._set_times((await self._tree.file(writer.key))[0], writer.times)
            return
        target = self._tree.keys.object(writer.key)
        try:
            await self._ready(writer)
        except BaseException:
            await self._drop(writer)
            raise
        try:
            create = writer.exclusive and self._tree.bucket.limits.creates
            with self._tree.cache.changing(target):
                stored = await writer.stream.finish(
                    writer.metadata(), create=create, if_etag=writer.options.replaces
                )
        except BaseException as error:
            await self._drop(writer)
            if isinstance(error, ObjectChanged):
                raise Conflict("the file was changed meanwhile") from None
            raise
        writer.published = stored
        self._tree.cache.changed(target, Node(stored))
        if writer.recorded:
            await self._partials.forget(writer.record)
        else:
            self._release(writer)
            await self._partials.drop(writer.key)

    async def _ready(self, writer: ObjectWriter) -> None:
        """Have a name that may become the file; meanwhile the last parts of what is sent in parts arrive."""
        if writer.stream.upload is None:
            await self._require_place(writer)
            return
        looks: Awaitable[Any] = self._require_place(writer)
        if not writer.recorded:  # what the end asks for is known then
            looks = both(looks, self._partials.listed(parent_of(writer.key)))
        await both(looks, writer.stream.flush())

    async def _require_place(self, writer: ObjectWriter) -> None:
        """Look again if the name may still become a file, unless that was seen just now."""
        changes, seen = writer.checked
        sure = not writer.exclusive or self._tree.bucket.limits.creates
        if sure and changes == self._tree.cache.changes and time.monotonic() - seen <= ABSENT_SECONDS:
            return
        node, parent = await both(self._tree.look(writer.key), self._tree.parent(writer.key))
        if not parent.is_dir:
            raise NotFound
        if writer.exclusive and not node.missing:
            raise AlreadyExists
        if node.is_dir:
            raise IsADirectory

    async def _keep(self, writer: ObjectWriter) -> None:
        try:
            node, parent = await both(self._tree.look(writer.key), self._tree.parent(writer.key))
            wanted = node.missing and parent.is_dir
        except TidegateError:
            wanted = True  # the storage does not say: what is too much is swept later
        if not wanted:
            await self._drop(writer)
            return
        await self._partials.keep(writer)

    async def _drop(self, writer: ObjectWriter) -> None:
        await writer.stream.abandon()
        if writer.recorded:
            await self._partials.forget(writer.record)

    async def retarget(self, writer: ObjectWriter, key: str, *, exclusive: bool) -> None:
        """Publish an upload under another name.

        Raises:
            Conflict: parts of it were sent under the old one.
            NotFound, AlreadyExists, IsADirectory.
        """
        if writer.stream.upload is not None or writer.base is not None or writer.recorded:
            raise Conflict("upload still in progress")
        goal, _ = await both(self._tree.look(key), self._tree.require_parent(key))
        if goal.is_dir:
            raise IsADirectory
        if exclusive and not goal.missing:
            raise AlreadyExists
        self._release(writer)
        writer.key, writer.stream.key, writer.exclusive = key, self._tree.keys.object(key), exclusive
        writer.checked = self._checked()
        if writer.record:
            writer.record = self._partials.record_key(key)
            if writer.record in self._partials.state.writing:
                writer.record = ""
            else:
                self._partials.state.writing[writer.record] = writer


class _Watch:
    """Notes uploads in parts: with the storage those that can be kept, on this host the others."""

    def __init__(self, partials: Partials | None, notes: Notes) -> None:
        self.writer: ObjectWriter | None = None
        self._partials = partials
        self._notes = notes
        self._note = ""

    async def begun(self, upload: Upload) -> None:
        if self._partials is not None and self.writer is not None and self.writer.record:
            await self._partials.begin(self.writer, upload)
            self.writer.recorded = True
        else:
            self._note = await self._notes.add(UPLOAD, upload.key, upload.id)

    async def ended(self, upload: Upload) -> None:  # noqa: ARG002 - it has one
        await self._notes.remove(self._note)


def own(handle: FileHandle) -> ObjectWriter:
    """The upload behind a handle of this storage.

    Raises:
        InvalidArgument: it is another handle.
    """
    if not isinstance(handle, ObjectWriter):
        raise InvalidArgument("not an upload of this storage")
    return handle
