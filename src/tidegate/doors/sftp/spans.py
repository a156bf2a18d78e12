# SPDX-License-Identifier: Apache-2.0
"""The paths that each request looks at or changes: what decides which requests may overtake each other.

Handles are not in the table: requests about one handle always keep their order (see `schedule`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tidegate.doors.sftp.handles import OpenFile
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.verbs import Verbs, open_flags
from tidegate.doors.sftp.wire import requests as r
from tidegate.errors import TidegateError
from tidegate.model import VPath
from tidegate.vfs.api import Session, Span

Targets = tuple[OpenFile | Listing, ...]

PATHS: Final[dict[type[r.Request], tuple[tuple[str, bool], ...]]] = {
    r.Stat: (("path", False),),
    r.Opendir: (("path", False),),
    r.Realpath: (("path", False),),
    r.Readlink: (("path", False),),
    r.Statvfs: (("path", False),),
    r.SpaceAvailable: (("path", False),),
    r.CheckName: (("path", False),),
    r.Setstat: (("path", True),),
    r.Remove: (("path", True),),
    r.Mkdir: (("path", True),),
    r.Rmdir: (("path", True),),
    r.Rename: (("source", True), ("target", True)),
    r.Hardlink: (("source", True), ("target", True)),
    r.CopyFile: (("source", False), ("target", True)),
    # Of their handles, and of nothing else:
    r.Fsync: (),
    r.CheckHandle: (),
    # Of nothing that can change:
    r.AskLimits: (),
    r.ExpandPath: (),
    r.HomeDirectory: (),
    r.NamesById: (),
}
"""Request class to the fields with its paths, and whether what is there may change.

What neither table has is in `Spans`."""

HANDLES: Final[dict[type[r.Request], tuple[bool, ...]]] = {
    r.Close: (True,),
    r.Fsetstat: (True,),
    r.Fstat: (False,),
    r.Readdir: (False,),
    r.Fstatvfs: (False,),
    r.CopyData: (False, True),
}
"""Request class to whether what each of its handles stands for may change as seen by its path."""


class Spans:
    """Finds the spans of requests.

    Args:
        session: knows where its storage has links, and which of it is inline.
        verbs: for paths.
    """

    def __init__(self, session: Session, verbs: Verbs) -> None:
        self._session = session
        self._verbs = verbs

    def of(self, request: r.Request, targets: Targets) -> tuple[Span, ...] | None:
        """The spans of a request; None if it keeps its order with every other one."""
        if not self._session.overlaps:
            return None
        for target in targets:
            if isinstance(target, OpenFile) and target.moved:
                return None  # it is published under a name that is not known here
        try:
            if isinstance(request, r.Rename):
                self._verbs.renaming(request)
            found = self._paths(request, targets)
            return None if found is None else tuple(self._span(path, changes) for path, changes in found)
        except TidegateError:
            return ()  # a path that is none: the request fails without touching anything

    def _span(self, path: VPath, changes: bool) -> Span:
        return self._session.span(path, changes=changes)

    def _paths(self, request: r.Request, targets: Targets) -> Iterator[tuple[VPath, bool]] | None:
        kind = type(request)
        verbs = self._verbs
        fields = PATHS.get(kind)
        if fields is not None:
            return ((verbs.path(getattr(request, name)), changes) for name, changes in fields)
        by_handle = HANDLES.get(kind)
        if by_handle is not None:
            return (
                (_path_of(target), changes and isinstance(target, OpenFile) and target.writable)
                for target, changes in zip(targets, by_handle, strict=True)
            )
        if isinstance(request, r.Open):
            return iter([(verbs.path(request.path), open_flags(request.flags & 0x3F).write)])
        if isinstance(request, r.Symlink):
            return iter([(verbs.link_of(request), True)])
        return None


def _path_of(target: OpenFile | Listing) -> VPath:
    return target.path if isinstance(target, Listing) else target.file.path
