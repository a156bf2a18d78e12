# SPDX-License-Identifier: Apache-2.0
"""The subject of a request that failed, for the record: what was wanted, of which path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tidegate.doors.sftp.handles import OpenFile
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.verbs import open_flags
from tidegate.doors.sftp.wire import requests as r
from tidegate.errors import TidegateError
from tidegate.model import VPath
from tidegate.model.path import MAX_PATH_BYTES
from tidegate.vfs.api import Session

_PATHS: Final[dict[type[r.Request], tuple[str, str, str]]] = {
    r.Stat: ("stat", "path", ""),
    r.Opendir: ("list", "path", ""),
    r.Remove: ("delete_file", "path", ""),
    r.Mkdir: ("mkdir", "path", ""),
    r.Rmdir: ("delete_dir", "path", ""),
    r.Realpath: ("stat", "path", ""),
    r.ExpandPath: ("stat", "path", ""),
    r.Rename: ("rename", "source", "target"),
    r.Readlink: ("readlink", "path", ""),
    r.Symlink: ("symlink", "link", ""),
    r.Hardlink: ("hardlink", "source", "target"),
    r.Statvfs: ("space", "path", ""),
    r.SpaceAvailable: ("space", "path", ""),
    r.CopyFile: ("copy", "source", "target"),
    r.CheckName: ("checksum", "path", ""),
}
"""Request class to what is wanted, and the names of the fields with its paths."""

_HANDLES: Final[dict[type[r.Request], str]] = {
    r.Fstat: "stat",
    r.Readdir: "list",
    r.Fstatvfs: "space",
    r.CheckHandle: "checksum",
    r.CopyData: "copy",
}
"""Request class to what is wanted of an open file, where that is not its transfer."""


def _setting(request: r.Setstat | r.Fsetstat) -> str:
    attrs = request.attrs
    if attrs.size is not None:
        return "overwrite"
    if attrs.mode is not None:
        return "chmod"
    return "chown" if attrs.uid is not None or attrs.gid is not None else "chtimes"


def _transfer(target: OpenFile | Listing) -> tuple[str, VPath]:
    if isinstance(target, Listing):
        return "list", target.path
    return ("upload" if target.writable else "download"), target.file.path


def tell(
    session: Session,
    parse: Callable[[bytes], VPath],
    request: r.Request | None,
    targets: tuple[OpenFile | Listing, ...],
    error: TidegateError,
) -> None:
    """Put a failed request on record.

    Args:
        session: where it was to be carried out.
        parse: makes a path of what was received.
        request: None if it could not be read, or was a READ or WRITE.
        targets: what its handles stand for.
        error: why it failed.
    """
    if error.told:
        return

    def path_of(raw: bytes) -> VPath | str:
        try:
            return parse(raw)
        except TidegateError:
            return raw[:MAX_PATH_BYTES].decode("utf-8", "surrogateescape")

    kind: Any = type(request)
    if targets:
        intent, path = _transfer(targets[0])
        if isinstance(request, r.Fsetstat):
            intent = _setting(request)
        second = _transfer(targets[1])[1] if len(targets) > 1 else None
        session.failed(_HANDLES.get(kind, intent), path, error, second)
    elif isinstance(request, r.Open):
        intent = "upload" if open_flags(request.flags).write else "download"
        session.failed(intent, path_of(request.path), error)
    elif isinstance(request, r.Setstat):
        session.failed(_setting(request), path_of(request.path), error)
    elif (known := _PATHS.get(kind)) is not None:
        intent, first, other = known
        goal = path_of(getattr(request, other)) if other else None
        session.failed(intent, path_of(getattr(request, first)), error, goal)
    else:
        session.failed("", "", error)
