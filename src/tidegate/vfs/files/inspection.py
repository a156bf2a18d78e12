# SPDX-License-Identifier: Apache-2.0
"""Asking inspectors about an upload before it is published.

Where uploads are written in place, the file is visible while they are asked; a refusal removes it, as a
limit that is passed does (`Outcome.DROP`). What arrived of an upload whose client has gone would stay there,
so it is asked about too.

Inspectors read through the handle that wrote the content, which is opened for reading too (`reads_back`).
Names and permissions belong to the client: by the time of CLOSE the name may be another file's, and the mode
may keep the server itself from opening it again.
"""

from __future__ import annotations

from typing import Final

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome
from tidegate.contracts.inspection import Inspected
from tidegate.errors import TidegateError
from tidegate.model import Intent, Protocol, VPath
from tidegate.model.peer import OtherProtocol
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.context import Context
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath


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
    """The flags of open(2) of an upload that is about to begin, as hooks are told: 0 of a new file."""
    if protocol in _WHOLE_FILES:
        return _TRUNC
    if new:
        return 0
    return _WRONLY_CREAT | (_TRUNC if flags.truncate else 0) | (_APPEND if flags.append else 0)


def reads_back(context: Context, backend: Backend) -> bool:
    """True if uploads are opened for reading too, so that inspectors get what was written."""
    return context.inspects_uploads and Capability.READ_WRITE in backend.capabilities


async def inspect_upload(
    context: Context,
    resolved: ResolvedPath,
    upload: Upload,
    handle: FileHandle,
    path: VPath,
    *,
    complete: bool,
) -> TidegateError | None:
    """The reason why an upload may not be published, None if it may.

    Args:
        context: of the session.
        resolved: where it was opened.
        upload: it.
        handle: the handle that wrote it; of several that share an upload, the one that publishes it.
        path: what the client calls it.
        complete: the client closed it.
    """
    own_handle = reads_back(context, resolved.backend)
    content: FileHandle | None = None
    try:
        content = handle if own_handle else await _content(context, resolved, upload)
        named = upload.inplace and not upload.reservation.gone
        await context.inspect(
            Inspected.UPLOAD,
            Intent.UPLOAD,
            path,
            size=None if content is None else (await content.stat()).size,
            location=resolved.mount.location(upload.state.at[1]) if named else "",
            read=None if content is None else content.read,
            complete=complete,
        )
    except TidegateError as error:
        return error
    finally:
        if content is not None and not own_handle:
            await content.close()
    return None


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
