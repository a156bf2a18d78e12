# SPDX-License-Identifier: Apache-2.0
"""Uploads that get their path at their end: clients of some protocols say it with the last request.

The content goes under a hidden key of the account's own storage (`tidegate.abc.ReplacesTrees.beside`), which
nobody sees and a crash leaves to the sweep. It is charged as any upload is. What a path may be is judged when
the upload is named, as opening it there would be; the end publishes it and renames it to its key in one act
with the accounting of that path.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from typing_extensions import Buffer

from tidegate.abc import Backend, FileHandle, Key, Outcome, ReplacesTrees
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    NotADirectory,
    OtherDevice,
    PeerLimit,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Intent, VPath
from tidegate.model.path import ROOT
from tidegate.policy.decision import Decision
from tidegate.vfs.acts import Act, settle
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.files.attached import made, require_unlocked
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.in_order import inner_of
from tidegate.vfs.files.inspection import reads_back
from tidegate.vfs.files.open_reading import refuse_mount_point
from tidegate.vfs.files.open_writing import Checked, begin_upload, checked_upload, inspect_opening, options_of
from tidegate.vfs.mounts import ResolvedPath

NEW = OpenFlags(write=True, create=True, truncate=True, atomic=True)


class UnnamedHandle:
    """A handle for writing at a hidden key. See `tidegate.abc.FileHandle`.

    Attributes:
        goal: the storage and key that it is published at, and True if it replaces what is there; None before
            that is known, and then nothing is published.
    """

    __slots__ = ("_hidden", "_inner", "_storage", "existed_size", "goal", "staged", "took")

    def __init__(self, inner: FileHandle, storage: ReplacesTrees, hidden: Key) -> None:
        self._inner = inner
        self._storage = storage
        self._hidden = hidden
        self.existed_size = inner.existed_size
        self.staged = inner.staged
        self.took = inner.took
        self.goal: tuple[Backend, Key, bool] | None = None

    async def read(self, offset: int, size: int) -> bytes:
        """Read what was written, where the storage can."""
        return await self._inner.read(offset, size)

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        """Read what is in memory."""
        return self._inner.readinto_nowait(offset, buffers)

    async def write(self, offset: int, data: Buffer) -> None:
        """Write."""
        await self._inner.write(offset, data)

    def write_nowait(self, offset: int, data: Buffer) -> bool:
        """Write if that needs no waiting."""
        return self._inner.write_nowait(offset, data)

    async def stat(self) -> Entry:
        """Attributes now."""
        return await self._inner.stat()

    async def set_attrs(self, attrs: Attrs) -> None:
        """Set attributes."""
        await self._inner.set_attrs(attrs)

    async def sync(self) -> None:
        """Make what was written durable."""
        await self._inner.sync()

    async def close(self, outcome: Outcome = Outcome.COMMIT) -> None:
        """Publish at `goal`, or drop: nobody would find what is kept.

        Raises:
            TidegateError: it is not there.
        """
        try:
            if outcome is not Outcome.COMMIT:
                await self._inner.close(Outcome.DROP)
                return
            if self.goal is None:
                await self._inner.close(Outcome.DROP)
                raise Conflict("the upload has no name")
            await self._inner.close(Outcome.COMMIT)
            backend, key, replace = self.goal
            try:
                await backend.rename(self._hidden, key, replace=replace)
            except BaseException:
                with suppress(TidegateError):
                    await backend.remove(self._hidden)
                raise
        finally:
            await self._storage.leave_beside(self._hidden)


async def open_unnamed(context: Context, label: VPath) -> File:
    """Open an upload without a path; see `vfs.api.Session.open_unnamed`."""
    if not context.gate.uploads_anywhere:
        text = "permission: upload anywhere"
        context.refuse(Intent.UPLOAD, label, Decision(allowed=False, rule="permissions", text=text))
    if len(context.files) + context.opening >= context.options.max_open_files:
        raise PeerLimit(f"too many open files: {context.options.max_open_files}")
    root = await context.charged(ROOT)
    storage = context.through(root)
    if not fulfils(storage, ReplacesTrees):
        raise Unsupported("this storage has to know the path of an upload when it begins")
    if context.inspects_uploads and not reads_back(context, root.backend):
        raise Unsupported("the path of an upload has to be known when it begins, for those who inspect it")
    with context.limits(Intent.UPLOAD, label):
        root.mount.charges.may_upload(new=True, replaced=0)
    hidden = await storage.beside("upload", moves=False)
    checked = Checked(root._replace(key=hidden), None, NEW, None, may_replace=True, one_way=False)
    wanted = options_of(context, checked, None)

    made_of: list[FileHandle] = []

    def wrapped(handle: FileHandle) -> FileHandle:
        made_of.append(handle)
        return UnnamedHandle(handle, storage, hidden)

    try:
        return await settle(
            context, lambda act: begin_upload(context, act, label, checked, wanted, wrapped=wrapped)
        )
    except BaseException:
        if not made_of:  # else its end leaves the key
            await storage.leave_beside(hidden)
        raise


async def name_upload(context: Context, file: File, path: VPath) -> None:
    """Give an unnamed upload the path that it is published at; see `vfs.api.Session.name`."""
    upload = file.upload
    handle = None if upload is None else inner_of(upload.handle)
    if upload is None or not isinstance(handle, UnnamedHandle):
        raise InvalidArgument("not an upload without a name")
    may_replace = context.gate.decide(Intent.OVERWRITE, path).allowed
    if not may_replace:
        context.require(Intent.UPLOAD, path)
    refuse_mount_point(context, path)
    checked = await checked_upload(context, path, NEW, may_replace=may_replace)
    goal, entry = checked.resolved, checked.entry
    here, _ = upload.state.at
    if goal.backend is not here or goal.mount.charges.owner != upload.charges.owner:
        raise OtherDevice("the upload lies on another storage, or counts elsewhere")
    intent = Intent.UPLOAD if entry is None else Intent.OVERWRITE
    await require_unlocked(context, intent, path, goal, follow=True, member=entry is None)
    if entry is None:
        await _require_directory(context, goal)
        await made(context, goal)
    with context.limits(intent, path):
        goal.mount.charges.require_size(upload.high)
    await inspect_opening(context, path, checked)
    await settle(context, lambda act: _named(context, act, file, handle, path, checked))


async def _named(  # noqa: PLR0917
    context: Context, act: Act, file: File, handle: UnnamedHandle, path: VPath, checked: Checked
) -> None:
    goal = checked.resolved
    upload = file.upload
    assert upload is not None
    async with context.paths.locked(goal[1:]) as (there,):
        await act.begin(goal.mount)
        act.commit()
        old = await _size(context, goal)
        there.learn(old)
        file.named(path, goal)
        # As of any upload: who may not overwrite does not replace what comes meanwhile.
        replace = checked.may_replace or checked.entry is not None
        handle.goal = context.opening_through(goal), goal.key, replace
        upload.renamed(there)


async def _require_directory(context: Context, goal: ResolvedPath) -> None:
    """Find out that there is a directory for it now, while another path can be tried.

    Raises:
        NotFound, NotADirectory: there is none.
    """
    folder = goal.key.rpartition("/")[0]
    if folder and not (await context.opening_through(goal).stat(folder)).is_dir:
        raise NotADirectory


async def _size(context: Context, resolved: ResolvedPath) -> int | None:
    """Size of the file that is there; None if there is none."""
    from tidegate.vfs.files.copy import stat_or_none  # few uploads have no name

    entry = await stat_or_none(context, resolved)
    return entry.size if entry is not None and entry.is_file else None
