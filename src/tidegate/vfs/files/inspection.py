# SPDX-License-Identifier: Apache-2.0
"""Asking inspectors about an upload before it is published.

Where uploads are written in place, the file is visible while they are asked; a refusal removes it, as a
limit that is passed does (`Outcome.DROP`). What arrived of an upload whose client has gone would stay there,
so it is asked about too.
"""

from __future__ import annotations

from tidegate.abc import FileHandle, OpenOptions, Outcome
from tidegate.contracts.inspection import Inspected
from tidegate.errors import TidegateError
from tidegate.model import Intent, VPath
from tidegate.vfs.context import Context
from tidegate.vfs.files import own_uploads as own
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.mounts import ResolvedPath


def shows(upload: Upload, outcome: Outcome) -> bool:
    """True if what was uploaded can be seen after this ending."""
    if upload.inplace:
        return outcome is not Outcome.DROP
    return outcome is Outcome.COMMIT and not upload.forsaken


async def inspect_upload(
    context: Context, spot: ResolvedPath, upload: Upload, path: VPath, *, complete: bool
) -> TidegateError | None:
    """The reason why an upload may not be published, None if it may."""
    content: FileHandle | None = None
    try:
        content = await _content(context, spot, upload)
        await context.inspect(
            Inspected.UPLOAD,
            Intent.UPLOAD,
            path,
            size=None if content is None else (await content.stat()).size,
            location=spot.location if upload.inplace else "",
            read=None if content is None else content.read,
            complete=complete,
        )
    except TidegateError as error:
        return error
    finally:
        if content is not None:
            await content.close()
    return None


async def _content(context: Context, spot: ResolvedPath, upload: Upload) -> FileHandle | None:
    """Another handle on what was written; None if there can be none: the inspector then gets no content."""
    reading = OpenOptions(read=True)
    try:
        if upload.inplace:
            key = upload.place.at[1]  # it may have been renamed
            return await context.opening_through(spot).open_file(key, reading)
        return await own.reopened(context, spot, upload, reading)
    except TidegateError:
        return None
