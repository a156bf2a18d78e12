# SPDX-License-Identifier: Apache-2.0
"""The portable way beneath a directory: component by component, with our own resolution of links.

Used where openat2(2) is missing, and for the one thing it refuses that we allow: a link with an absolute
text that names a place within the root. Every directory is opened with O_NOFOLLOW relative to the one
before and kept open; ``..`` goes back to a descriptor that we passed on the way down and never asks the file
system for a parent, so a directory that is moved meanwhile cannot lead us out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from tidegate.errors import Denied, TooManyLinks

MAX_LINKS: Final = 40
"""Links followed in one resolution; the number of Linux (MAXSYMLINKS)."""
MAX_DEPTH: Final = 512
"""Directories held open at once by one resolution."""
MAX_STEPS: Final = 16384
"""Components looked at in one resolution, those of links included."""

O_PATH: Final[int] = getattr(os, "O_PATH", os.O_RDONLY)
LOOK: Final = O_PATH or os.O_RDONLY | os.O_NONBLOCK
"""Flags to open anything at all without side effects; openat2 wants nothing beside O_PATH."""
DIRECTORY: Final = O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_NOT_A_PLAIN_DIRECTORY: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EMLINK})


def strip_host(text: bytes, hosts: Sequence[bytes]) -> bytes | None:
    """Turn the text of an absolute link into a path relative to the root, None if it is elsewhere.

    This only reads a link's text anew; the result is resolved beneath the root like any other path, so a
    wrong guess here cannot let anything out.
    """
    for host in hosts:
        if text == host:
            return b"."
        prefix = host if host.endswith(b"/") else host + b"/"
        if text.startswith(prefix):
            return text[len(prefix) :].lstrip(b"/") or b"."
    return None


def walk(root_fd: int, path: bytes, flags: int, hosts: Sequence[bytes], *, max_links: int = MAX_LINKS) -> int:
    """Open `path` beneath `root_fd`, following links only inside.

    Args:
        root_fd: descriptor of the root.
        path: relative; may hold ``.`` and ``..``.
        flags: for the last component; with O_NOFOLLOW a link there is ELOOP.
        hosts: absolute host paths of the root, for links with an absolute text.
        max_links: links to follow; 0 makes every link `Denied`.

    Returns:
        a descriptor.

    Raises:
        Denied: the path leads outside.
        TooManyLinks: a loop, or a longer chain than `max_links`.
        OSError: as open(2).
    """
    todo = [part for part in reversed(path.split(b"/")) if part not in {b"", b"."}]
    held: list[int] = []
    links = steps = 0
    try:
        while todo:
            steps += 1
            if steps > MAX_STEPS or len(held) > MAX_DEPTH:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            name = todo.pop()
            if name == b"..":
                if not held:
                    raise Denied(rule="containment")
                os.close(held.pop())
                continue
            here = held[-1] if held else root_fd
            fd, text = _step(here, name, flags if not todo else DIRECTORY)
            if text is None:
                if not todo:
                    return fd
                held.append(fd)
                continue
            if not todo and flags & os.O_NOFOLLOW:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            links += 1
            if links > max_links:
                raise TooManyLinks if max_links else Denied(rule="containment")
            if text.startswith(b"/"):
                inside = strip_host(text, hosts)
                if inside is None:
                    raise Denied(rule="containment")
                text = inside
                while held:
                    os.close(held.pop())
            todo.extend(part for part in reversed(text.split(b"/")) if part not in {b"", b"."})
        # The path ended in "." or "..", or was empty: a directory that is open already.
        return os.open(b".", flags & ~os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held[-1] if held else root_fd)
    finally:
        for fd in held:
            os.close(fd)


def _step(here: int, name: bytes, flags: int) -> tuple[int, bytes | None]:
    """Open one component without following it: a descriptor, or -1 and the text of a link."""
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    except OSError as error:
        if error.errno not in _NOT_A_PLAIN_DIRECTORY:
            raise
        try:
            return -1, os.readlink(name, dir_fd=here)
        except OSError as inner:
            if inner.errno == errno.EINVAL:  # not a link: the first answer was the right one
                raise error from None
            raise
    if flags & O_PATH and O_PATH != os.O_RDONLY and not flags & os.O_DIRECTORY:
        # O_PATH | O_NOFOLLOW opens a link itself.
        try:
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                text = os.readlink(b"", dir_fd=fd)
                os.close(fd)
                return -1, text
        except BaseException:
            os.close(fd)
            raise
    return fd, None
