# SPDX-License-Identifier: Apache-2.0
"""Symbolic links: their text is relative on disk and never leads out.

A relative text is stored as it was given. An absolute one, a path within the root, is stored so that the
kernel and programs of the host follow it to the same place: `MARK`, as many ``../`` as the link is deep, and
the text without its first slash. To the system the mark means nothing (``./`` and doubled slashes); to us it
says that the text was absolute, and `readlink` gives it back to the letter. Where a link comes to lie deeper
or less deep, the climb is made anew (`adjust`, `adjust_tree`).
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Final

from tidegate.backends.local.names import names_hidden, upload_name
from tidegate.backends.local.root import Root
from tidegate.backends.local.walk import LOOK
from tidegate.errors import Denied, InvalidArgument, InvalidPath, TidegateError, TooManyLinks

MAX_LINK_BYTES: Final = 4095
"""Longest text of a link."""

MARK: Final = b".//.//"
"""Begins the stored form of an absolute text."""


def symlink(root: Root, text: str, raw: bytes) -> None:
    """Create a link at `raw`.

    An absolute text is a path within the root. A relative text that begins with `MARK` loses one slash of it.

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
            _check_inside(root, b"", body.strip(b"/") or b".")
            body = _stored(body[1:], root.depth(parent.fd))
            if len(body) > MAX_LINK_BYTES:
                raise InvalidPath("invalid path: too long")
        else:
            if body.startswith(MARK):
                body = b"./" + body[3:]
            _check_inside(root, raw.rpartition(b"/")[0], body)
        os.symlink(body, parent.name, dir_fd=parent.fd)


def readlink(root: Root, raw: bytes) -> str:
    """The text of a link as it was given; an absolute one is a path within the root.

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
    if text.startswith(MARK):
        given = _given(text)
        _check_inside(root, b"", given.strip(b"/") or b".")
        return "/" + os.fsdecode(given)
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


def shown_size(dir_fd: int, name: bytes | str, size: int) -> int:
    """Bytes of a link's text as `readlink` gives it, where the stored text has `size`."""
    if size < len(MARK):
        return size
    try:
        text = os.readlink(os.fsencode(name), dir_fd=dir_fd)
    except OSError:
        return size
    return 1 + len(_given(text)) if text.startswith(MARK) else size


def adjust(root: Root, dir_fd: int, name: bytes, depth: int | None = None) -> None:
    """Make the climb of a link anew that was moved; what is no link with an absolute text stays."""
    try:
        text = os.readlink(name, dir_fd=dir_fd)
        if not text.startswith(MARK):
            return
        fitting = _stored(_given(text), root.depth(dir_fd) if depth is None else depth)
        if fitting == text or len(fitting) > MAX_LINK_BYTES:
            return
        found = os.lstat(name, dir_fd=dir_fd)
        beside = upload_name(name)
        os.symlink(fitting, beside, dir_fd=dir_fd)
        try:
            if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(OSError):
                    os.chown(beside, found.st_uid, found.st_gid, dir_fd=dir_fd, follow_symlinks=False)
            os.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=dir_fd, follow_symlinks=False)
            if os.lstat(name, dir_fd=dir_fd).st_ino == found.st_ino:  # nobody put another one there
                os.rename(beside, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
                return
        except OSError:
            pass
        os.unlink(beside, dir_fd=dir_fd)
    except OSError:
        return  # the move itself is done; the link leads where it led by its stored text


def adjust_tree(root: Root, raw: bytes) -> None:
    """`adjust` every link below a directory that was moved to another depth."""
    todo = [raw]
    while todo:
        directory = todo.pop()
        try:
            fd = root.resolve(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, TidegateError):
            continue
        try:
            depth = None
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if entry.is_symlink():
                        depth = root.depth(fd) if depth is None else depth
                        adjust(root, fd, name, depth)
                    elif entry.is_dir(follow_symlinks=False):
                        todo.append(directory + b"/" + name)
        except (OSError, TidegateError):
            continue
        finally:
            os.close(fd)


def _stored(given: bytes, depth: int) -> bytes:
    return MARK + b"../" * depth + given


def _given(stored: bytes) -> bytes:
    given = stored[len(MARK) :]
    while given.startswith(b"../"):
        given = given[3:]
    return given


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
