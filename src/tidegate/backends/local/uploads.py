# SPDX-License-Identifier: Apache-2.0
"""How written bytes become a file: the publish modes INPLACE, ATOMIC and RESUMABLE.

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

from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local.attrs import check_regular
from tidegate.backends.local.device import Device
from tidegate.backends.local.journal import Journal
from tidegate.backends.local.names import part_name, upload_name
from tidegate.backends.local.root import RACE_RETRIES, Parent, Root
from tidegate.backends.local.syscalls import rename_noreplace
from tidegate.errors import AlreadyExists, Conflict, InvalidArgument, IsADirectory, NotFound

DEFAULT_FILE_MODE: Final = 0o666
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_TMPFILE: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS}
)
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})


class _RacedError(Exception):
    """The tree changed between two looks; look again."""


@dataclass(slots=True)
class Upload:
    """A file open for writing and what publishing it takes.

    Attributes:
        fd: the file.
        dir_fd: the directory of the target, owned.
        name: the target's name in it.
        temp: hidden name of the file, None if it has none (INPLACE, O_TMPFILE).
        staged: whether the bytes are beside the target and not in it.
        resumable: whether KEEP keeps them.
        existed: whether a finished file had the name.
        exclusive: publishing may not replace anything.
        base_size: bytes that DROP restores an edited file to.
        existed_size: see `tidegate.abc.FileHandle`.
        entry: of the journal.
        st_dev: device of the file.
        final_mode: mode to set when published, if it is not the one the partial has.
        remote: on a file system that may tell of a failed write only when flushed; so it is flushed before
            anything is replaced.
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

    # -- endings: each closes both descriptors, whatever happens ------------------------------------------

    def finish(self, outcome: Outcome, times: tuple[int, int] | None) -> None:
        """End the upload; see `tidegate.abc.Outcome`."""
        try:
            if outcome is Outcome.COMMIT:
                self._commit(times)
            elif outcome is Outcome.KEEP:
                self._keep(times)
            else:
                self._drop()
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
        except BaseException:
            if self.staged and not self.resumable:
                self._unname()
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
        if not self.resumable or os.fstat(self.fd).st_size == 0:
            self._unname()
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
            self._unname()

    def _drop(self) -> None:
        if self.staged:
            self._unname()
            return
        if self.base_size is not None:
            if os.fstat(self.fd).st_size > self.base_size:
                os.ftruncate(self.fd, self.base_size)
            return
        mine = os.fstat(self.fd)
        with suppress(FileNotFoundError):
            there = os.lstat(self.name, dir_fd=self.dir_fd)
            if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
                os.unlink(self.name, dir_fd=self.dir_fd)

    def _unname(self) -> None:
        if self.temp is not None:
            with suppress(FileNotFoundError):
                os.unlink(self.temp, dir_fd=self.dir_fd)
            self.temp = None
        Journal.drop(self.entry)


class Opener:
    """Opens uploads for one root.

    Args:
        root: where.
        umask: taken from the mode of new files.
        journal: of named temporaries.
    """

    __slots__ = ("_journal", "_root", "_super", "_umask")

    def __init__(self, root: Root, umask: int, journal: Journal) -> None:
        self._root = root
        self._umask = umask
        self._journal = journal
        self._super = os.geteuid() == 0

    def open(self, raw: bytes, options: OpenOptions, device: Device) -> Upload:
        """Open `raw` for writing (or for creating it).

        Raises:
            IsADirectory, NotFound, AlreadyExists, Denied, Unsupported, Conflict, OSError.
        """
        if not raw:
            raise IsADirectory
        if options.truncate and not options.write:
            raise InvalidArgument("invalid argument: truncate without write")
        if options.exclusive and not options.create:
            raise InvalidArgument("invalid argument: exclusive without create")
        for _ in range(RACE_RETRIES):
            with suppress(_RacedError):
                return self._open(raw, options, device)
        raise Conflict

    def _open(self, raw: bytes, options: OpenOptions, device: Device) -> Upload:
        if options.exclusive:
            parent = self._root.parent(raw)
            found = parent.lstat()
            if found is not None:
                parent.close()
                raise AlreadyExists
        else:
            parent, found = self._root.locate(raw)
        with parent:
            if found is not None:
                check_regular(found.st_mode)
            upload = Upload(
                -1, parent.detach(), parent.name, exclusive=options.exclusive, fsync=options.fsync
            )
        upload.existed = found is not None
        folder = raw.rpartition(b"/")[0]
        try:
            if options.publish is Publish.INPLACE or (found is not None and not options.truncate):
                self._in_place(upload, options)
            else:
                self._stage(upload, options, device, folder)
        except BaseException:
            if upload.fd >= 0:
                if upload.staged and upload.base_size is None:
                    upload._unname()  # noqa: SLF001
                os.close(upload.fd)
            os.close(upload.dir_fd)
            raise
        return upload

    def _in_place(self, upload: Upload, options: OpenOptions) -> None:
        access = _access(options)
        if upload.existed:
            try:
                upload.fd = os.open(upload.name, access, dir_fd=upload.dir_fd)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ELOOP}:
                    raise _RacedError from None
                raise
            found = os.fstat(upload.fd)
            check_regular(found.st_mode)
            upload.existed_size = found.st_size
            upload.st_dev = found.st_dev
            if not options.truncate:
                upload.base_size = found.st_size
            elif found.st_size:
                os.ftruncate(upload.fd, 0)
            return
        if not options.create:
            raise NotFound
        mode = self._mode(options)
        try:
            upload.fd = os.open(upload.name, access | os.O_CREAT | os.O_EXCL, mode, dir_fd=upload.dir_fd)
        except FileExistsError:
            if options.exclusive:
                raise AlreadyExists from None
            raise _RacedError from None
        try:
            upload.st_dev = self._settle(upload.fd, mode, options.uid, options.gid)
        except BaseException:
            upload._drop()  # noqa: SLF001
            raise

    def _stage(self, upload: Upload, options: OpenOptions, device: Device, folder: bytes) -> None:
        upload.staged = True
        upload.remote = device.threaded
        upload.resumable = options.publish is Publish.RESUMABLE
        access = os.O_RDWR if options.read else os.O_WRONLY
        append = os.O_APPEND if options.append else 0
        mode, uid, gid = self._mode(options), options.uid, options.gid
        if upload.existed:
            old = self._look_at_old(upload)
            # As if it had been written into: mode and owner stay, set-id bits go.
            mode, uid, gid = old.st_mode & 0o1777, old.st_uid, old.st_gid
            upload.existed_size = old.st_size
        if upload.resumable and mode & 0o600 != 0o600:
            upload.final_mode, mode = mode, mode | 0o600
        if upload.resumable and self._take_partial(upload, options, access | append, mode):
            upload.entry = self._journal.add(folder, upload.temp or b"")
        elif not upload.existed and not options.create:
            raise NotFound
        else:
            self._fresh(upload, device, folder, access | append, mode)
        upload.st_dev = self._settle(upload.fd, mode, uid, gid, strict=not upload.existed)

    @staticmethod
    def _look_at_old(upload: Upload) -> os.stat_result:
        # Opening it for writing proves that we may, which the rename that replaces it would not.
        try:
            fd = os.open(upload.name, os.O_WRONLY | _SAFE, dir_fd=upload.dir_fd)
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ELOOP}:
                raise _RacedError from None
            raise
        try:
            old = os.fstat(fd)
            check_regular(old.st_mode)
            return old
        finally:
            os.close(fd)

    def _fresh(self, upload: Upload, device: Device, folder: bytes, access: int, mode: int) -> None:
        if device.tmpfile:
            try:
                flags = access | os.O_TMPFILE | os.O_CLOEXEC
                upload.fd = os.open(b".", flags, mode, dir_fd=upload.dir_fd)
                return
            except OSError as error:
                if error.errno not in _NO_TMPFILE or os.fstat(upload.dir_fd).st_nlink == 0:
                    raise
                device.tmpfile = False
        temp = upload_name(upload.name)
        upload.fd = os.open(temp, access | _SAFE | os.O_CREAT | os.O_EXCL, mode, dir_fd=upload.dir_fd)
        upload.temp = temp
        _lock(upload.fd)
        upload.entry = self._journal.add(folder, temp)

    @staticmethod
    def _take_partial(upload: Upload, options: OpenOptions, access: int, mode: int) -> bool:
        """Open and lock the target's partial, or make one; False if this upload must do without."""
        part = part_name(upload.name)
        for _ in range(RACE_RETRIES):
            fresh = False
            try:
                fd = os.open(part, access | _SAFE, dir_fd=upload.dir_fd)
            except FileNotFoundError:
                if not upload.existed and not options.create:
                    return False
                try:
                    fd = os.open(part, access | _SAFE | os.O_CREAT | os.O_EXCL, mode, dir_fd=upload.dir_fd)
                except FileExistsError:
                    continue
                fresh = True
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                    raise Conflict  # not made by us
                if not _lock(fd):
                    if not options.truncate and not options.exclusive and found.st_size:
                        raise Conflict("upload still in progress")
                    os.close(fd)
                    return False
                if not _still_named(fd, upload.dir_fd, part):
                    os.close(fd)
                    continue
                # Not for an empty one: ext4 flushes a file at close once it was truncated.
                if (options.truncate or options.exclusive) and found.st_size:
                    os.ftruncate(fd, 0)
            except BaseException:
                with suppress(OSError):
                    os.close(fd)
                raise
            upload.fd, upload.temp = fd, part
            if not upload.existed and not fresh:
                upload.existed_size = found.st_size
            if not fresh and not options.truncate:
                upload.base_size = 0  # not to be removed if opening fails after all
            return True
        raise Conflict

    def _mode(self, options: OpenOptions) -> int:
        mode = DEFAULT_FILE_MODE if options.mode is None else options.mode
        return mode & 0o777 & ~self._umask

    def _settle(self, fd: int, mode: int, uid: int | None, gid: int | None, *, strict: bool = True) -> int:
        """Owner and exact mode (the process's own umask has had its way) of a new file; its device."""
        found = os.fstat(fd)
        wanted = (found.st_uid if uid is None else uid, found.st_gid if gid is None else gid)
        if self._super and wanted != (found.st_uid, found.st_gid):
            try:
                os.fchown(fd, *wanted)
            except PermissionError:
                if strict:
                    raise
        if stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(fd, mode)
        return found.st_dev


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
        fd = os.open(part, os.O_RDONLY | _SAFE, dir_fd=dir_fd)
    except OSError:
        return False
    try:
        if not _lock(fd):
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


def _access(options: OpenOptions) -> int:
    if not options.write:
        access = os.O_RDONLY
    else:
        access = os.O_RDWR if options.read else os.O_WRONLY
    return access | _SAFE | (os.O_APPEND if options.append else 0)


def _name_it(fd: int, dir_fd: int, name: bytes) -> None:
    # linkat(2) with AT_SYMLINK_FOLLOW; os.link calls linkat only when it is given a dir_fd.
    os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=True)


def _lock(fd: int) -> bool:
    """Take the writer's lock; a file system without locks counts as locked by us."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _still_named(fd: int, dir_fd: int, name: bytes) -> bool:
    try:
        there = os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)


def _sync_directory(dir_fd: int) -> None:
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
