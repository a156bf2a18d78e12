# SPDX-License-Identifier: Apache-2.0
"""Symbolic links: their text is relative on disk and never leads out."""

from __future__ import annotations

import errno
import os
from typing import Final

from tidegate.backends.local.names import names_hidden
from tidegate.backends.local.root import Root
from tidegate.backends.local.walk import LOOK
from tidegate.errors import Denied, InvalidArgument, InvalidPath, TidegateError, TooManyLinks

MAX_LINK_BYTES: Final = 4095
"""Longest text of a link."""


def symlink(root: Root, text: str, raw: bytes) -> None:
    """Create a link at `raw`.

    An absolute text is a path within the root and is stored relative to where the link really is, so the
    tree can move.

    Raises:
        Denied: it would lead out. AlreadyExists. InvalidArgument: empty text.
    """
    if not text:
        raise InvalidArgument("invalid argument: empty link text")
    try:
        body = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidPath("invalid path: not encodable") from None
    if b"\0" in body or len(body) > MAX_LINK_BYTES:
        raise InvalidPath("invalid path: NUL byte" if b"\0" in body else "invalid path: too long")
    if names_hidden(text):
        raise Denied
    with root.parent(raw) as parent:
        if body.startswith(b"/"):
            inside = body.strip(b"/") or b"."
            _check_inside(root, b"", inside)
            body = b"../" * root.depth(parent.fd) + inside
            if len(body) > MAX_LINK_BYTES:
                raise InvalidPath("invalid path: too long")
        else:
            _check_inside(root, raw.rpartition(b"/")[0], body)
        os.symlink(body, parent.name, dir_fd=parent.fd)


def readlink(root: Root, raw: bytes) -> str:
    """The text of a link, as a path within the root.

    Raises:
        Denied: it leads out.
    """
    with root.parent(raw) as parent:
        try:
            text = os.readlink(parent.name, dir_fd=parent.fd)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise InvalidArgument("invalid argument: not a link") from None
            raise
    if text.startswith(b"/"):
        inside = root.within(text)
        if inside is None:
            raise Denied(rule="containment")
        _check_inside(root, b"", inside)
        return "/" if inside == b"." else "/" + os.fsdecode(inside)
    _check_inside(root, raw.rpartition(b"/")[0], text)
    return os.fsdecode(text)


def place_of(root: Root, raw: bytes, *, follow: bool) -> str:
    """The key without links on the way to it; `raw` itself where that cannot be found out."""
    plain = os.fsdecode(raw)
    if not raw or (b"/" not in raw and not follow):
        return plain
    try:
        parent = root.locate(raw).parent if follow else root.parent(raw)
        with parent:
            if not parent.owned:  # the root itself
                return os.fsdecode(parent.name)
            here = os.readlink(b"/proc/self/fd/%d" % parent.fd)
            if root.home + b"/" + raw == here + b"/" + parent.name:
                return plain  # as nearly always: nothing on the way is a link
            home = root.home = os.readlink(b"/proc/self/fd/%d" % root.fd)
    except (OSError, TidegateError):
        return plain
    if here == home:
        return os.fsdecode(parent.name)
    home = home.rstrip(b"/") + b"/"
    if not here.startswith(home):
        return plain
    return os.fsdecode(here[len(home) :] + b"/" + parent.name)


def _check_inside(root: Root, folder: bytes, text: bytes) -> None:
    """Refuse a text that leads out, read in `folder`: as it stands now, and by its own words.

    This keeps lies off the disk; what contains is `Root.resolve`, each time a link is followed.
    """
    try:
        os.close(root.resolve(folder + b"/" + text if folder else text, LOOK))
        return
    except (OSError, TooManyLinks):
        pass  # dangling: allowed, judged by its words
    depth = len(folder.split(b"/")) if folder else 0
    for part in text.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                raise Denied(rule="containment")
        elif part not in {b"", b"."}:
            depth += 1
