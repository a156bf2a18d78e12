# SPDX-License-Identifier: Apache-2.0
"""Symbolic links: their text is relative on disk and never leads out.

A relative text is stored as it was given. An absolute one, a path within the root, is stored so that the
kernel and programs of the host follow it to the same place: `MARK`, as many ``../`` as the link is deep, and
the text without its first slash. To the system the mark means nothing (``./`` and doubled slashes); to us it
says that the text was absolute, and `readlink` gives it back to the letter. Where a link comes to lie deeper
or less deep, the climb is made anew (`adjust`, `adjust_tree`). A relative text that would read as the mark,
or as this form of it, has one more slash on disk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from typing import Final

from tidegate.backends.local.names import names_hidden, upload_name
from tidegate.backends.local.root import Root
from tidegate.backends.local.walk import DIRECTORY, LOOK, MAX_DEPTH, MAX_LINKS, MAX_STEPS
from tidegate.errors import Denied, InvalidArgument, InvalidPath, NotFound, TidegateError, TooManyLinks

MAX_LINK_BYTES: Final = 4095
"""Longest text of a link."""

MARK: Final = b".//.//"
"""Begins the stored form of an absolute text."""

_LIKE_MARK: Final = re.compile(rb"\.///*\.//")
"""Begins the relative texts that have one more slash on disk."""

_WIDENED: Final = re.compile(rb"\.////*\.//")
"""Begins their stored form."""


def symlink(root: Root, text: str, raw: bytes) -> None:
    """Create a link at `raw`.

    An absolute text is a path within the root.

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
            _check_inside(root, raw.rpartition(b"/")[0], body)
            if _LIKE_MARK.match(body):
                body = b"./" + body[1:]
                if len(body) > MAX_LINK_BYTES:
                    raise InvalidPath("invalid path: too long")
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
                raise InvalidArgument("invalid argument: not a link") from error
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
    return os.fsdecode(b"." + text[2:] if _WIDENED.match(text) else text)


def place_of(root: Root, raw: bytes, *, follow: bool) -> str:
    """The key without links on the way to it, with `follow` also not at its end.

    From the first step that is missing the rest is taken as it stands.

    Raises:
        Denied: it leads out. TooManyLinks: a loop. NotFound: ``..`` of something that is not there.
    """
    if not raw:
        return ""
    plain = root.plain_parent(raw)
    if plain is not None:  # as nearly always: nothing on the way is a link
        with plain:
            found = plain.lstat() if follow else None
        if found is None or not stat.S_ISLNK(found.st_mode):
            return os.fsdecode(raw)
    held: list[int] = []
    try:
        return os.fsdecode(_trace(root.following, raw, held, follow=follow))
    finally:
        for fd in held:
            os.close(fd)


def _trace(root: Root, raw: bytes, held: list[int], *, follow: bool) -> bytes:
    """Walk to `raw` step by step; `held` gets the open directories of the way, as far as there are any."""
    todo = raw.split(b"/")[::-1]
    done: list[bytes] = []
    links = steps = 0
    while todo:
        name = todo.pop()
        if name in {b"", b"."}:
            continue
        steps += 1
        if steps > MAX_STEPS or len(held) > MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        lost = len(held) < len(done)
        if name == b"..":
            if not done:
                raise Denied(rule="containment")
            if lost:
                raise NotFound
            done.pop()
            os.close(held.pop())
            continue
        here = held[-1] if held else root.fd
        last = not any(part not in {b"", b"."} for part in todo)
        text = None if lost or (last and not follow) else _text(name, here)
        if text is None:
            done.append(name)
            if not lost and todo:
                with suppress(OSError):
                    held.append(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here))
            continue
        links += 1
        if not root.follows:
            raise Denied(rule="containment")
        if links > MAX_LINKS:
            raise TooManyLinks
        if text.startswith(b"/"):
            inside = root.within(text)
            if inside is None:
                raise Denied(rule="containment")
            text = inside
            done.clear()
            while held:
                os.close(held.pop())
        todo.extend(reversed(text.split(b"/")))
    return b"/".join(done)


def _text(name: bytes, here: int) -> bytes | None:
    try:
        return os.readlink(name, dir_fd=here)
    except OSError:  # no link, nothing there, or not ours to look at
        return None


def shown_size(dir_fd: int, name: bytes | str, size: int) -> int:
    """Bytes of a link's text as `readlink` gives it, where the stored text has `size`."""
    if size < len(MARK):
        return size
    try:
        text = os.readlink(os.fsencode(name), dir_fd=dir_fd)
    except OSError:
        return size
    if text.startswith(MARK):
        return 1 + len(_given(text))
    return size - 1 if _WIDENED.match(text) else size


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
        os.close(root.following.resolve(folder + b"/" + text if folder else text, LOOK))
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
