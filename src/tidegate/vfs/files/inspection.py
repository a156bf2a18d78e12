# SPDX-License-Identifier: Apache-2.0
"""Asking inspectors about an upload before it is published.

Where uploads are written in place (`upload_mode` 0 with inspectors that do not keep the old file, and storage
that cannot read what it writes), the file is visible while they are asked; a refusal removes it, as a limit
that is passed does (`Outcome.DROP`). What arrived of an upload whose client has gone would stay there,
so it is asked about too.

Some want to see an upload under its name (`InspectorUse.named`): they are asked when it is published, and
what was there before is put back if they refuse (`tidegate.vfs.files.pending`).

Inspectors read through the handle that wrote the content, which is opened for reading too (`reads_back`).
Names and permissions belong to the client: by the time of CLOSE the name may be another file's, and the mode
may keep the server itself from opening it again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, SetsAside
from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.errors import Conflict, TidegateError
from tidegate.inspection.inspections import RULE_PROTOCOL, Refused
from tidegate.model import Entry, Intent, Protocol, VPath
from tidegate.model.peer import OtherProtocol
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import Context
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.arriving import STEP_BYTES, PassedOn, Passing, ReadBehind
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath
from tidegate.vfs.usage.reservations import PathState

if TYPE_CHECKING:
    from tidegate.inspection.early import Begun
    from tidegate.vfs.files.pending import Pending, SettingAside


Finish = Callable[["Pending"], Awaitable[None]]
"""`Upload.finish` of a handle that is complete."""

log = logging.getLogger(__name__)


def shows(upload: Upload, outcome: Outcome) -> bool:
    """True if what was uploaded can be seen after this ending."""
    if upload.inplace:
        return outcome is not Outcome.DROP
    return outcome is Outcome.COMMIT and not upload.forsaken


_WHOLE_FILES: Final = frozenset((Protocol.SCP, Protocol.HTTP))
"""Doors that only ever write files as a whole, and say so of new ones too."""
_WRONLY_CREAT: Final = 0x41
_TRUNC: Final = 0x200
_APPEND: Final = 0x400
"""Flags of open(2) on Linux, which inspectors are told on every system."""


def flags_of_open(protocol: Protocol | OtherProtocol, flags: OpenFlags, *, new: bool) -> int:
    """The flags of open(2) of an upload that is about to begin, as hooks are told: 0 of a new file.

    They are those that SFTPGo 2.7.5 was recorded to tell.
    """
    if protocol in _WHOLE_FILES:
        return _TRUNC
    if new:
        return 0
    if protocol in (Protocol.DAV, Protocol.DAVS):
        return _TRUNC
    # APPE of FTP opens to append; what SFTP clients say about appending is not told.
    appends = protocol in (Protocol.FTP, Protocol.FTPS) and flags.create and not flags.exclusive
    return _WRONLY_CREAT | (_TRUNC if flags.truncate else _APPEND if appends else 0)


def reads_back(context: Context, backend: Backend) -> bool:
    """True if uploads are opened for reading too, so that inspectors get what was written."""
    return context.inspects_uploads and Capability.READ_WRITE in backend.capabilities


def passing(context: Context, resolved: ResolvedPath, handle: FileHandle, start: int) -> Passing | None:
    """The handle that lets inspectors read an upload while it arrives; None if nobody is asked so early.

    Args:
        context: of the session.
        resolved: where it was opened.
        handle: the storage's handle.
        start: bytes of an unfinished upload that are there already.
    """
    inspections = context.inspections
    if inspections is None or not inspections.early or not handle.staged:
        return None
    if reads_back(context, resolved.backend):
        return ReadBehind(handle, start)
    return PassedOn(handle) if resolved.mount.in_order and not start else None


class Early:
    """Inspections of an upload while it arrives. Life: constructed, perhaps `complete`, `end`."""

    __slots__ = ("_begun", "_context", "_passing", "_path")

    def __init__(self, context: Context, passing: Passing, path: VPath) -> None:
        self._context = context
        self._passing = passing
        self._path = path
        self._begun: Begun | None = None
        passing.begin = self._begin

    def _begin(self) -> None:
        passing, inspections = self._passing, self._context.inspections
        assert inspections is not None
        act = InspectedAct(
            Inspected.UPLOAD, self._context.origin, self._path, arriving=True, once=passing.once
        )
        self._begun = inspections.begin(act, passing.reader, passing.ended)

    def complete(self) -> Begun | None:
        """No more is written; those that have begun, if what they read is what is there."""
        self._passing.complete()
        return None if self._passing.spoiled else self._begun

    async def end(self) -> None:
        """Break off what is still under way."""
        self._passing.begin = None
        if self._begun is not None:
            await self._begun.end()


def accepted(failure: TidegateError) -> bool:
    """True if a client is told that its upload has arrived, though it is in quarantine."""
    return isinstance(failure, Refused) and failure.accepted


async def inspect_upload(
    context: Context,
    resolved: ResolvedPath,
    upload: Upload,
    handle: FileHandle,
    path: VPath,
    *,
    complete: bool,
    early: Early | None = None,
    named: bool | None = None,
) -> TidegateError | None:
    """The reason why an upload may not be published, None if it may; others do not change its size any more.

    Args:
        context: of the session.
        resolved: where it was opened.
        upload: it.
        handle: the handle that wrote it; of several that share an upload, the one that publishes it.
        path: what the client calls it.
        complete: the client closed it.
        early: inspections that have begun while it arrived.
        named: False leaves out those that are asked when it has its name; see `inspect_named`.
    """
    await upload.judge(turn=_decides_in_turn(context, resolved, upload))
    begun = None if early is None else early.complete()
    if upload.inplace and upload.reservation.lost:
        return Conflict("the file was replaced by an upload that was refused")
    own_handle = reads_back(context, resolved.backend)
    content: FileHandle | None = None
    try:
        content = handle if own_handle else await _content(context, resolved, upload)
        shown = upload.inplace and not upload.reservation.gone
        await context.inspect(
            Inspected.UPLOAD,
            Intent.UPLOAD,
            path,
            size=None if content is None else (await content.stat()).size,
            location=resolved.mount.location(upload.state.at[1]) if shown else "",
            read=None if content is None else content.read,
            complete=complete,
            begun=begun,
            named=named,
        )
    except TidegateError as error:
        return error
    finally:
        if content is not None and not own_handle:
            await content.close()
    return None


def _decides_in_turn(context: Context, resolved: ResolvedPath, upload: Upload) -> bool:
    """True if an upload that is written in place may be replaced by one that waits for a verdict."""
    inspections = context.inspections
    return (
        inspections is not None
        and inspections.named
        and upload.inplace
        and fulfils(context.through(resolved), SetsAside)
    )


def sees_named(context: Context, resolved: ResolvedPath, upload: Upload, path: VPath) -> bool:
    """True if somebody wants to see an upload under its name who has to decide about it, and can."""
    inspections = context.inspections
    return (
        inspections is not None
        and inspections.named
        and not upload.inplace
        and fulfils(context.through(resolved), SetsAside)
        and inspections.asks_named(
            InspectedAct(Inspected.UPLOAD, context.origin, path, None if upload.unsure else upload.high)
        )
    )


async def publish_and_ask(
    context: Context, resolved: ResolvedPath, upload: Upload, finish: Finish, path: VPath
) -> TidegateError | None:
    """Publish a complete upload, ask those who see it under its name, and settle what follows.

    Args:
        context: of the session.
        resolved: where it was opened.
        upload: it.
        finish: ends it.
        path: what the client calls it.

    Returns:
        the reason why it is not there any more; None if it is.

    Raises:
        TidegateError: it was not published.
    """
    from tidegate.vfs.files.pending import pending  # few uploads wait for a verdict

    refusal: TidegateError | None = None
    waiting = await pending(context.paths, upload, cast("SettingAside", context.through(resolved)))
    try:
        await finish(waiting)
        if waiting.published:
            accepted = False
            try:
                refusal = await _inspect_named(context, resolved, upload, path)
                accepted = refusal is None
            finally:
                try:
                    await upload.decided(waiting, accepted=accepted)
                except TidegateError as error:
                    log.error("%s: what was replaced is not back: %s", resolved.location, error)
    finally:
        await waiting.close()
    return refusal


async def _inspect_named(
    context: Context, resolved: ResolvedPath, upload: Upload, path: VPath
) -> TidegateError | None:
    try:
        await context.inspect(
            Inspected.UPLOAD,
            Intent.UPLOAD,
            path,
            size=upload.high,
            location=resolved.mount.location(upload.state.at[1]),
            named=True,
        )
    except TidegateError as error:
        return error
    return None


def require_decided(context: Context, resolved: ResolvedPath) -> None:
    """Return if no verdict on a file is waited for; actions of rules, which decide it, go on.

    Raises:
        Conflict: it does. Storage that keeps times with the content would not know it again.
    """
    if context.origin.protocol == RULE_PROTOCOL:
        return
    state = context.paths.find(resolved.backend, resolved.key)
    if state is not None and state.reservation is not None and state.reservation.pending:
        raise Conflict("file is being inspected")


def require_settled(context: Context, state: PathState, entry: Entry) -> None:
    """Return if nobody writes a file in place, by this name or another: what is there would have no verdict.

    Other names are known of uploads of the same account.

    Raises:
        Conflict: somebody does.
    """
    if state.reservation is not None or any(
        isinstance(upload, Upload) and upload.inplace and (entry.nlink > 1 or upload.reservation.gone)
        for upload in context.usage.uploads
    ):
        raise Conflict("file is being written")


async def inspect_resized(  # noqa: PLR0917
    context: Context, resolved: ResolvedPath, path: VPath, size: int, state: PathState, entry: Entry
) -> None:
    """Return if a file may get another size by its path: what it would be then is inspected.

    It stays as it is until then, and if the answer is no. Where somebody writes it in place, it is inspected
    when that ends. The caller holds its path.

    Raises:
        TidegateError: it may not, or cannot be read.
    """
    if state.reservation is not None and state.reservation.writers > state.reservation.judging:
        return
    require_settled(context, state, entry)
    content = await context.opening_through(resolved).open_file(resolved.key, OpenOptions(read=True))

    async def read(offset: int, wanted: int) -> bytes:
        wanted = min(wanted, size - offset, STEP_BYTES)
        return (await content.read(offset, wanted) or bytes(wanted)) if wanted > 0 else b""

    try:
        await context.inspect(
            Inspected.UPLOAD,
            Intent.OVERWRITE,
            path,
            size=size,
            location=resolved.mount.location(resolved.key),
            read=read,
            resized=True,
        )
    finally:
        await content.close()


async def _content(context: Context, resolved: ResolvedPath, upload: Upload) -> FileHandle | None:
    """Another handle on what was written where none can write and read; None if there can be none."""
    reading = OpenOptions(read=True)
    try:
        if upload.inplace:
            key = upload.state.at[1]  # it may have been renamed
            return await context.opening_through(resolved).open_file(key, reading)
        return await own.reopened(context, resolved, upload, reading)
    except TidegateError:
        return None
