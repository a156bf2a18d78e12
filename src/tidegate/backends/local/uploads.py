# SPDX-License-Identifier: Apache-2.0
"""Turns written bytes into a file: the publish modes INPLACE, ATOMIC and RESUMABLE.

What holds in ATOMIC and RESUMABLE: the old file is neither opened for truncation nor moved before the new one
is complete, so it survives any failure, kill -9 and a full disk included. ATOMIC writes to a file without a
name (O_TMPFILE) where the file system has that, else to a hidden temporary beside the target. RESUMABLE
writes to a hidden partial beside the target, whose name follows from the target's and which its writer holds
locked (flock): a second upload to the same target at the same time works on a file of its own, and the last
one to commit wins. An overwritten file keeps its mode and owner, as writing into it would; its other hard
links and its ACL stay with the old content.

Everything here blocks; `files` runs it inline or in a thread.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tidegate.abc import Outcome
from tidegate.backends.local.journal import Journal
from tidegate.backends.local.names import part_name, upload_name
from tidegate.backends.local.root import Parent, Root
from tidegate.backends.local.syscalls import rename_noreplace
from tidegate.errors import AlreadyExists

SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


@dataclass(slots=True)
class Upload:
    """A file open for writing and what publishing it takes.

    Attributes:
        fd: the file.
        dir_fd: the directory of the target, owned.
        name: the target's name in it.
        temp: hidden name of the file, None if it has none (INPLACE, O_TMPFILE).
        staged: True if the bytes are beside the target and not in it.
        resumable: True if KEEP keeps them.
        existed: True if a finished file had the name.
        exclusive: publishing may not replace anything.
        base_size: bytes that DROP restores an edited file to.
        existed_size: see `tidegate.abc.FileHandle`.
        entry: of the journal.
        st_dev: device of the file.
        final_mode: mode to set when published, if it is not the one the partial has.
        remote: on a file system that may tell of a failed write only when flushed; so it is flushed before
            anything is replaced.
        forsaken: its name was removed or replaced, so nothing of it is published or kept.
    """

    fd: int
    dir_fd: int
    name: bytes
    temp: bytes | None = None
    staged: bool = False
    resumable: bool = False
    existed: bool = False
    exclusive: bool = False
    fsync: bool = False
    base_size: int | None = None
    existed_size: int | None = None
    entry: str | None = None
    st_dev: int = 0
    final_mode: int | None = None
    remote: bool = False
    forsaken: bool = False

    # -- endings: each closes both descriptors, whatever happens ------------------------------------------

    def finish(self, outcome: Outcome, times: tuple[int, int] | None) -> None:
        """End the upload; see `tidegate.abc.Outcome`."""
        try:
            if self.forsaken:
                self.drop()
            elif outcome is Outcome.COMMIT:
                self._commit(times)
            elif outcome is Outcome.KEEP:
                self._keep(times)
            else:
                self.drop()
        finally:
            try:
                os.close(self.fd)
            finally:
                os.close(self.dir_fd)

    def _commit(self, times: tuple[int, int] | None) -> None:
        if self.final_mode is not None:
            os.fchmod(self.fd, self.final_mode)
        if times is not None:
            os.utime(self.fd, ns=times)
        try:
            if self.fsync or (self.remote and self.staged):
                os.fsync(self.fd)
            if self.staged:
                self._publish()
                forget_partial(self.dir_fd, self.name)
        except BaseException:
            if self.staged and not self.resumable:
                self.unname()
            raise
        if self.fsync and (self.staged or not self.existed):
            _sync_directory(self.dir_fd)

    def _publish(self) -> None:
        if self.temp is None and (self.exclusive or not self.existed):
            try:
                _name_it(self.fd, self.dir_fd, self.name)
                return
            except FileExistsError:
                if self.exclusive:
                    raise AlreadyExists from None
        if self.temp is None:
            temp = upload_name(self.name)
            _name_it(self.fd, self.dir_fd, temp)
            self.temp = temp
        if self.exclusive:
            move_noreplace(self.dir_fd, self.temp, self.dir_fd, self.name)
        else:
            os.rename(self.temp, self.name, src_dir_fd=self.dir_fd, dst_dir_fd=self.dir_fd)
        self.temp = None
        Journal.drop(self.entry)

    def _keep(self, times: tuple[int, int] | None) -> None:
        if times is not None:
            os.utime(self.fd, ns=times)
        if not self.staged:
            return
        if not self.resumable or os.fstat(self.fd).st_size == 0 or self._hidden():
            self.unname()
            return
        found = os.fstat(self.fd)
        if found.st_mode & 0o600 != 0o600:  # who resumes must be able to open it
            os.fchmod(self.fd, stat.S_IMODE(found.st_mode) | 0o600)
        if self.temp is None or self.temp != part_name(self.name):
            # A second upload to the same target: its bytes become the partial if there is none.
            with suppress(FileExistsError):
                if self.temp is None:
                    _name_it(self.fd, self.dir_fd, part_name(self.name))
                else:
                    move_noreplace(self.dir_fd, self.temp, self.dir_fd, part_name(self.name))
                    self.temp = None
            self.unname()

    def _hidden(self) -> bool:
        """True if something else has the name: then nobody could see, resume or remove what is kept."""
        try:
            os.lstat(self.name, dir_fd=self.dir_fd)
        except OSError:
            return False
        return True

    def drop(self) -> None:
        """Leave nothing of what was uploaded."""
        if self.staged:
            self.unname()
            return
        if self.base_size is not None:
            if os.fstat(self.fd).st_size > self.base_size:
                os.ftruncate(self.fd, self.base_size)
            return
        unlink_same(self.fd, self.dir_fd, self.name)

    def unname(self) -> None:
        """Remove the hidden name, and with it the file."""
        if self.temp is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.temp, dir_fd=self.dir_fd)
            self.temp = None
        Journal.drop(self.entry)


class NewFile:
    """Stands in for `Upload` for a file that was created in place and needs no descriptor of its directory.

    Most uploads are that, and it spares each three system calls. Only dropping one looks for its name again.

    Attributes:
        fd: the file.
        st_dev: its device.
        staged: never.
        fsync: never.
        final_mode: never.
    """

    __slots__ = ("_raw", "_root", "fd", "final_mode", "st_dev")

    staged: Final = False
    fsync: Final = False

    def __init__(self, root: Root, raw: bytes, fd: int) -> None:
        self._root = root
        self._raw = raw
        self.fd = fd
        self.st_dev = 0
        self.final_mode: int | None = None

    def finish(self, outcome: Outcome, times: tuple[int, int] | None) -> None:
        """End the upload; see `tidegate.abc.Outcome`."""
        try:
            if outcome is Outcome.DROP:
                self._drop()
            elif times is not None:
                os.utime(self.fd, ns=times)
        finally:
            os.close(self.fd)

    def _drop(self) -> None:
        if self._unlink(self._raw):
            return
        # A directory above was renamed meanwhile, or the file itself: the kernel knows where it is now.
        now = self._root.within(os.readlink(b"/proc/self/fd/%d" % self.fd))
        if now is not None:
            self._unlink(now)

    def _unlink(self, raw: bytes) -> bool:
        parent = self._root.plain_parent(raw)
        if parent is None:
            return False
        with parent:
            return unlink_same(self.fd, parent.fd, parent.name)


def unlink_same(fd: int, dir_fd: int, name: bytes) -> bool:
    """Remove a name if it is that of the open file; whether it was."""
    mine = os.fstat(fd)
    with suppress(FileNotFoundError):
        there = os.lstat(name, dir_fd=dir_fd)
        if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
            os.unlink(name, dir_fd=dir_fd)
            return True
    return False


def partial_of(parent: Parent) -> os.stat_result | None:
    """Attributes of the partial that stands for a missing name, None if there is none."""
    try:
        found = os.lstat(part_name(parent.name), dir_fd=parent.fd)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def forget_partial(dir_fd: int, name: bytes) -> bool:
    """Remove the partial of `name` unless an upload is writing to it; whether there was one."""
    part = part_name(name)
    try:
        fd = os.open(part, os.O_RDONLY | SAFE, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        if not lock(fd):
            return False
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=dir_fd)
        return True
    finally:
        os.close(fd)


def move_noreplace(source_fd: int, source: bytes, target_fd: int, target: bytes) -> None:
    """Rename without replacing.

    One step where the system can; otherwise a file is linked and unlinked, which is as safe, and
    what cannot be linked (a directory) is looked for first, which leaves a moment for a race.

    Raises:
        FileExistsError.
    """
    try:
        rename_noreplace(source_fd, source, target_fd, target)
        return
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EINVAL}:
            raise
        if error.errno == errno.EINVAL and _is_directory(source_fd, source):
            _check_missing(target_fd, target)
            os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
            return
    if not _is_directory(source_fd, source):
        try:
            os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise
        else:
            os.unlink(source, dir_fd=source_fd)
            return
    _check_missing(target_fd, target)
    os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)


def _check_missing(dir_fd: int, name: bytes) -> None:
    try:
        os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _is_directory(dir_fd: int, name: bytes) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=dir_fd).st_mode)


def _name_it(fd: int, dir_fd: int, name: bytes) -> None:
    # linkat(2) with AT_SYMLINK_FOLLOW; os.link calls linkat only when it is given a dir_fd.
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=True)


def lock(fd: int) -> bool:
    """Take the writer's lock; a file system without locks counts as locked by us."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _sync_directory(dir_fd: int) -> None:
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
