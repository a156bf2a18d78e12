# SPDX-License-Identifier: Apache-2.0
"""Opening files for writing: what is there, what may be there, and where the bytes go; see `uploads`."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local.attrs import PROC, SET_ID, check_regular
from tidegate.backends.local.device import Device
from tidegate.backends.local.journal import Journal
from tidegate.backends.local.names import part_name, upload_name
from tidegate.backends.local.root import RACE_RETRIES, Root
from tidegate.backends.local.uploads import SAFE, NewFile, Upload, lock, move_noreplace, partial_of
from tidegate.errors import AlreadyExists, Conflict, InvalidArgument, IsADirectory, NotFound

DEFAULT_FILE_MODE: Final = 0o666
_NO_TMPFILE: Final = frozenset(
    {errno.EOPNOTSUPP, errno.ENOTSUP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.ENOSYS}
)


class _RacedError(Exception):
    """The tree changed between two looks; look again."""


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

    def create(self, raw: bytes, options: OpenOptions) -> NewFile | None:
        """Create a file in place, if nothing has its name and no link leads there.

        An unfinished upload to that name stays as it is: in place it would not be taken up either. But it is
        seen as a file, so with ``exclusive`` the name is taken.

        Returns:
            None if it cannot be, or something else is asked for; nothing was done.

        Raises:
            OSError: owner or mode could not be set; the file is gone again.
        """
        inplace = options.create and options.publish is Publish.INPLACE
        if not inplace or options.read or options.append or options.fsync:
            return None
        if options.exclusive and self._unfinished(raw):
            return None
        mode = self._mode(options)
        fd = self._root.plainly(raw, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, mode)
        if fd is None:
            return None
        created = NewFile(self._root, raw, fd)
        try:
            created.st_dev = self._settle(fd, mode, options.uid, options.gid)
        except BaseException:
            created.finish(Outcome.DROP, None)
            raise
        return created

    def reopen(self, upload: Upload, fd: int, options: OpenOptions) -> int:
        """Another descriptor of what an upload has written.

        Raises:
            Conflict: the system has no way to open it again.
        """
        access = _access(options)
        if PROC:
            return os.open(f"/proc/self/fd/{fd}", access & ~os.O_NOFOLLOW)
        if upload.temp is None:
            raise Conflict("upload still in progress")
        return os.open(upload.temp, access, dir_fd=upload.dir_fd)

    def retarget(self, upload: Upload, raw: bytes, *, exclusive: bool) -> None:
        """Have an upload published under another name."""
        with self._root.parent(raw) as parent:
            if os.fstat(parent.fd).st_dev != upload.st_dev:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            if upload.temp is not None:
                temp = upload_name(parent.name)
                if upload.temp == part_name(upload.name) and partial_of(parent) is None:
                    temp = part_name(parent.name)  # to be resumed under the new name, if it breaks off
                move_noreplace(upload.dir_fd, upload.temp, parent.fd, temp)
                noted, upload.temp = upload.entry, temp
                upload.entry = self._journal.add(raw.rpartition(b"/")[0], temp)
                Journal.drop(noted)
            old, upload.dir_fd, upload.name = upload.dir_fd, parent.detach(), parent.name
        os.close(old)
        upload.exclusive, upload.existed = exclusive, False

    def _unfinished(self, raw: bytes) -> bool:
        parent = self._root.plain_parent(raw)
        if parent is None:
            return False  # then nothing can be created there either
        with parent:
            return partial_of(parent) is not None

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
                    upload.unname()
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
            if self._super and options.write and found.st_mode & SET_ID:
                os.fchmod(upload.fd, found.st_mode & 0o1777)  # the system does it for everybody but root
            if not options.truncate:
                upload.base_size = found.st_size
            elif found.st_size:
                os.ftruncate(upload.fd, 0)
            else:
                os.utime(upload.fd)  # O_TRUNC counts as a change, of an empty file too
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
            upload.drop()
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
            fd = os.open(upload.name, os.O_WRONLY | SAFE, dir_fd=upload.dir_fd)
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
        upload.fd = os.open(temp, access | SAFE | os.O_CREAT | os.O_EXCL, mode, dir_fd=upload.dir_fd)
        upload.temp = temp
        lock(upload.fd)
        upload.entry = self._journal.add(folder, temp)

    @staticmethod
    def _take_partial(upload: Upload, options: OpenOptions, access: int, mode: int) -> bool:
        """Open and lock the target's partial, or make one; False if this upload must do without."""
        part = part_name(upload.name)
        for _ in range(RACE_RETRIES):
            fresh = False
            try:
                fd = os.open(part, access | SAFE, dir_fd=upload.dir_fd)
            except FileNotFoundError:
                if not upload.existed and not options.create:
                    return False
                try:
                    fd = os.open(part, access | SAFE | os.O_CREAT | os.O_EXCL, mode, dir_fd=upload.dir_fd)
                except FileExistsError:
                    continue
                fresh = True
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                    raise Conflict  # not made by us
                if not lock(fd):
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


def _access(options: OpenOptions) -> int:
    if not options.write:
        access = os.O_RDONLY
    else:
        access = os.O_RDWR if options.read else os.O_WRONLY
    return access | SAFE | (os.O_APPEND if options.append else 0)


def _still_named(fd: int, dir_fd: int, name: bytes) -> bool:
    try:
        there = os.lstat(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return False
    mine = os.fstat(fd)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
