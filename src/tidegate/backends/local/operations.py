# SPDX-License-Identifier: Apache-2.0
"""The blocking half of `backend`: one function an operation, run inline or in a thread.

Each takes the root and the bytes of a checked key, and may raise OSError, which `device` translates.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from tidegate.backends.local import links
from tidegate.backends.local.attrs import check_regular, entry_of
from tidegate.backends.local.errors import translate
from tidegate.backends.local.files import BIG_FILE
from tidegate.backends.local.listing import clear_hidden
from tidegate.backends.local.root import Parent, Root
from tidegate.backends.local.uploads import forget_partial, move_noreplace, partial_of
from tidegate.backends.local.walk import DIRECTORY, LOOK
from tidegate.errors import (
    AlreadyExists,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidHandle,
    IsADirectory,
    NotFound,
)
from tidegate.model import Entry, Space

P = ParamSpec("P")
T = TypeVar("T")


def pinned(
    root: Root, call: Callable[Concatenate[Root, bytes, P], T], raw: bytes, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run an operation with the root kept open meanwhile."""
    root.pin()
    try:
        return call(root, raw, *args, **kwargs)
    finally:
        root.unpin()


def pinned_call(root: Root, call: Callable[[], T]) -> T:
    """Run anything with the root kept open meanwhile."""
    root.pin()
    try:
        return call()
    finally:
        root.unpin()


def look(root: Root, raw: bytes, name: str, *, follow: bool) -> Entry:
    """Attributes of a name; of its partial if only that is there."""
    if not raw:
        if root.fd < 0:
            raise InvalidHandle("storage is closed")
        return entry_of("", os.fstat(root.fd))
    with root.parent(raw) as parent:
        found = parent.lstat()
        if found is None:
            found = partial_of(parent)
            if found is None:
                raise NotFound
        if not follow and stat.S_ISLNK(found.st_mode):
            return _link(parent, name, found)
    if follow and stat.S_ISLNK(found.st_mode):
        fd = root.resolve(raw, LOOK)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
    return entry_of(name, found)


def descriptor(root: Root, raw: bytes) -> int:
    """A descriptor of a directory, without a right to read or write it."""
    return root.resolve(raw, DIRECTORY) if raw else os.open(b".", DIRECTORY, dir_fd=root.fd)


def survey(root: Root, raw: bytes, name: str) -> tuple[str, Entry | None]:
    """The place of a name without links on the way, and its entry; None if nothing is there."""
    parent = root.plain_parent(raw)
    if parent is not None:
        with parent:
            found = parent.lstat()
            if found is None:
                found = partial_of(parent)
            elif stat.S_ISLNK(found.st_mode):
                return os.fsdecode(raw), _link(parent, name, found)
        return os.fsdecode(raw), None if found is None else entry_of(name, found)
    place = links.place_of(root, raw, follow=False)
    try:
        return place, look(root, os.fsencode(place), name, follow=False)
    except (NotFound, FileNotFoundError):
        return place, None


def _link(parent: Parent, name: str, found: os.stat_result) -> Entry:
    """The entry of a link itself."""
    return entry_of(name, found)._replace(size=links.shown_size(parent.fd, parent.name, found.st_size))


def remove(root: Root, raw: bytes, *, heavy: bool = False) -> bool:
    """Remove a file or link; False if it is so big that it has to be done with `heavy`, in a thread."""
    with root.parent(raw) as parent:
        found = parent.lstat()
        if found is None:
            if forget_partial(parent.fd, parent.name):
                return True
            raise NotFound
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectory
        if found.st_size >= BIG_FILE and found.st_nlink == 1 and not heavy:
            return False
        os.unlink(parent.name, dir_fd=parent.fd)
        forget_partial(parent.fd, parent.name)
    return True


def mkdir(root: Root, raw: bytes, mode: int, uid: int | None, gid: int | None) -> None:
    """Create a directory with exactly this mode and owner."""
    with root.parent(raw) as parent:
        os.mkdir(parent.name, mode, dir_fd=parent.fd)
        forget_partial(parent.fd, parent.name)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(parent.name, flags, dir_fd=parent.fd)
        except PermissionError:
            return  # the mode asked for shuts us out ourselves
        try:
            found = os.fstat(fd)
            wanted = (found.st_uid if uid is None else uid, found.st_gid if gid is None else gid)
            if wanted != (found.st_uid, found.st_gid):
                os.fchown(fd, *wanted)
            # A set-group-id bit that came from the parent directory stays.
            if found.st_mode & 0o777 != mode:
                os.fchmod(fd, mode | (found.st_mode & stat.S_ISGID))
        finally:
            os.close(fd)


def rmdir(root: Root, raw: bytes) -> None:
    """Remove a directory that is empty but for leftovers."""
    with root.parent(raw) as parent:
        try:
            os.rmdir(parent.name, dir_fd=parent.fd)
        except OSError as error:
            failure = translate(error)
            if not isinstance(failure, DirectoryNotEmpty | AlreadyExists):  # POSIX allows either errno
                raise
            if not clear_hidden(parent.fd, parent.name):
                raise DirectoryNotEmpty from None
            os.rmdir(parent.name, dir_fd=parent.fd)


def rename(root: Root, raw: bytes, target: bytes, *, replace: bool, into: Root | None = None) -> bool:
    """Rename; unfinished uploads that the new name hides, or the old one hid, go.

    Args:
        into: the root of `target`, if that is another one.

    Returns:
        whether links below a moved directory have to be looked through (`links.adjust_tree`).

    Raises:
        OtherDevice: (as OSError) between file systems.
    """
    if into is not None:
        into.pin()
    try:
        with root.parent(raw) as old, (into or root).parent(target) as new:
            found = old.lstat()
            if found is None:
                raise NotFound
            is_dir = stat.S_ISDIR(found.st_mode)
            try:
                _rename(old, new, replace=replace, is_dir=is_dir)
            except OSError as error:
                if not is_dir:
                    raise
                if error.errno == errno.EINVAL or (error.errno == errno.EXDEV and _lies_in(new.fd, found)):
                    raise InvalidArgument("a directory cannot move below itself") from None
                raise
            forget_partial(new.fd, new.name)
            if is_dir:
                return into is not None or root.depth(old.fd) != root.depth(new.fd)
            if stat.S_ISLNK(found.st_mode):
                links.adjust(into or root, new.fd, new.name)
            forget_partial(old.fd, old.name)
            return False
    finally:
        if into is not None:
            into.unpin()


def _rename(old: Parent, new: Parent, *, replace: bool, is_dir: bool) -> None:
    if not replace:
        try:
            move_noreplace(old.fd, old.name, new.fd, new.name)
        except FileExistsError:
            raise AlreadyExists from None
        return
    for tries in range(2):
        try:
            os.rename(old.name, new.name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
            return
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:  # POSIX allows either
                raise
            if tries or not is_dir or not clear_hidden(new.fd, new.name):
                raise DirectoryNotEmpty from None


def _lies_in(fd: int, directory: os.stat_result) -> bool:
    """True if an open directory is `directory` or lies below it, by climbing to the root of the host."""
    here = os.dup(fd)
    try:
        now = os.fstat(here)
        while True:
            if (now.st_dev, now.st_ino) == (directory.st_dev, directory.st_ino):
                return True
            up = os.open("..", DIRECTORY, dir_fd=here)
            os.close(here)
            here, before, now = up, now, os.fstat(up)
            if (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino):
                return False
    finally:
        os.close(here)


def symlink(root: Root, raw: bytes, text: str) -> None:
    """Create a link; see `links.symlink`."""
    links.symlink(root, text, raw)
    with root.parent(raw) as parent:
        forget_partial(parent.fd, parent.name)


def hardlink(root: Root, raw: bytes, target: bytes) -> None:
    """Give a regular file, found through links, a second name."""
    parent, found = root.locate(raw)
    with parent, root.parent(target) as new:
        if found is None:
            raise NotFound
        check_regular(found.st_mode)
        os.link(parent.name, new.name, src_dir_fd=parent.fd, dst_dir_fd=new.fd, follow_symlinks=False)
        forget_partial(new.fd, new.name)


def space(root: Root, raw: bytes) -> Space:
    """Room of the file system that `raw` is on."""
    fd = root.resolve(raw, LOOK)
    try:
        found = os.fstatvfs(fd)
    finally:
        os.close(fd)
    block = found.f_frsize or found.f_bsize
    return Space(
        block_size=block,
        total=found.f_blocks * block,
        free=found.f_bavail * block,
        files_total=found.f_files,
        files_free=found.f_favail,
        name_max=found.f_namemax,
        read_only=bool(found.f_flag & os.ST_RDONLY),
    )
