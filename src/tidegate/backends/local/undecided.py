# SPDX-License-Identifier: Apache-2.0
"""Uploads of this process that have their names, or are about to, and that nobody has decided about.

The register is one for the process, because the roots of two backends may overlap: what another root sees
at a name may be an upload that is refused in a moment. It knows the names (directory and last component) and
the files, each by device and inode. An upload is known again by its inode, which a descriptor holds: a
program may change its content and times, and no other file gets that number meanwhile.

Everything here blocks; it may raise OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock

from tidegate.backends.local import aside
from tidegate.backends.local.attrs import PROC
from tidegate.backends.local.journal import Journal
from tidegate.backends.local.names import STAGED
from tidegate.backends.local.root import Root
from tidegate.backends.local.uploads import SAFE
from tidegate.backends.local.walk import O_PATH
from tidegate.errors import Conflict

_changing = Lock()  # each device has its threads
_places: set[tuple[int, int, bytes]] = set()
_files: set[tuple[int, int]] = set()


@dataclass(slots=True)
class Undecided:
    """An upload, from before it is published until it is decided; made by `begin`, ended by `end`.

    Attributes:
        name: hidden; of the file that is set aside, if there is one.
        old: one is.
        place: device and inode of the directory, and the name in it.
        file: device and inode of the upload.
        pin: descriptor that keeps the inode; -1 where the system has none that hinders nobody.
        entry: of the journal; None for none.
        raw: key of the upload, as the journal has it.
        successor: what that says of it; see `aside.note_of`.
        ended: it has left the register.
    """

    name: bytes
    place: tuple[int, int, bytes]
    file: tuple[int, int]
    pin: int = -1
    old: bool = False
    entry: str | None = None
    raw: bytes = b""
    successor: str = ""
    ended: bool = False

    def end(self) -> None:
        """Leave the register; a second time does nothing."""
        if self.ended:
            return
        self.ended = True
        with _changing:
            _places.discard(self.place)
            _files.discard(self.file)
        STAGED.discard(os.fsdecode(self.name))
        if self.pin >= 0:
            os.close(self.pin)


def begin(root: Root, journal: Journal, raw: bytes, name: bytes, fd: int, *, keep: bool) -> Undecided:
    """Register an upload that is about to be published, and set aside what has its name.

    Args:
        root: of the storage.
        journal: of it.
        raw: key of the upload.
        name: hidden; for what is set aside.
        fd: the upload.
        keep: False leaves what has the name to its fate.

    Raises:
        Conflict: another upload has the name and waits for a verdict, or this name is its.
    """
    mine = os.fstat(fd)
    with root.parent(raw) as parent:
        folder, found = os.fstat(parent.fd), parent.lstat()
        place = folder.st_dev, folder.st_ino, parent.name
        with _changing:
            if place in _places or (found is not None and (found.st_dev, found.st_ino) in _files):
                raise Conflict("file is being inspected")
            one = Undecided(name, place, (mine.st_dev, mine.st_ino), raw=raw)
            _places.add(one.place)
            _files.add(one.file)
    try:
        STAGED.add(os.fsdecode(name))
        if PROC:
            one.pin = os.open(f"/proc/self/fd/{fd}", O_PATH | os.O_CLOEXEC)
        if keep:
            _write(journal, one)
            one.old = aside.keep(root, raw, name)
        if not one.old:
            Journal.drop(one.entry)
            one.entry = None
    except BaseException:
        Journal.drop(one.entry)
        one.end()
        raise
    return one


def note(root: Root, journal: Journal, raw: bytes, one: Undecided) -> None:
    """Note in the journal that an upload has its name, for who clears up after a crash.

    Raises:
        FileNotFoundError: it has not.
    """
    found = aside.look(root, raw)
    if (found.st_dev, found.st_ino) != one.file:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    one.raw, one.successor = raw, aside.note_of(found)
    _write(journal, one)


def moved(journal: Journal, waiting: Iterable[Undecided], source: bytes, target: bytes) -> None:
    """A directory has another key: note where the uploads in it are now."""
    for one in waiting:
        if one.entry is not None and one.raw.startswith(source + b"/"):
            one.raw = target + one.raw[len(source) :]
            _write(journal, one)


def _write(journal: Journal, one: Undecided) -> None:
    folder, _, last = one.raw.rpartition(b"/")
    before = one.entry
    one.entry = journal.add(folder, one.name, last, one.successor, alone=one.successor != "" and not one.old)
    if one.entry != before:
        Journal.drop(before)


def put_back(root: Root, raw: bytes, one: Undecided) -> bool:
    """Have a name as it was before the upload, if that still has it, or nothing has.

    Returns:
        whether it is; False if it has another file, and then what was set aside is removed.
    """
    with root.parent(raw) as parent:
        found = parent.lstat()
        if found is not None and (found.st_dev, found.st_ino) != one.file:
            done = False
            if one.old:
                aside.unlink(parent.fd, one.name)
        else:
            done = True
            if found is not None:
                _empty(one, parent.fd, parent.name, found.st_nlink)
            if one.old:
                aside.give_back(parent.fd, one.name, parent.name)
            elif found is not None:
                aside.unlink(parent.fd, parent.name)
    Journal.drop(one.entry)
    return done


def _empty(one: Undecided, dir_fd: int, name: bytes, links: int) -> None:
    """Leave nothing in an upload that has more names than this one."""
    if links < 2:
        return
    if one.pin >= 0 and not one.ended:  # no other file can be met this way
        path = f"/proc/self/fd/{one.pin}"
        if not (mode := stat.S_IMODE(os.stat(path).st_mode)) & stat.S_IWUSR:
            os.chmod(path, mode | stat.S_IWUSR)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    else:
        fd = os.open(name, os.O_WRONLY | SAFE, dir_fd=dir_fd)
    try:
        found = os.fstat(fd)
        if (found.st_dev, found.st_ino) == one.file:
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def withdraw(root: Root, raw: bytes, one: Undecided) -> bool:
    """Remove the upload from a name, and what it holds; False if something else has that, or nothing."""
    with root.parent(raw) as parent:
        found = parent.lstat()
        if found is None or (found.st_dev, found.st_ino) != one.file:
            return False
        _empty(one, parent.fd, parent.name, found.st_nlink)
        aside.unlink(parent.fd, parent.name)
    return True


def drop(root: Root, journal: Journal, raw: bytes, one: Undecided) -> None:
    """Remove what was set aside; `raw` is its hidden key."""
    try:
        if one.old:
            with suppress(FileNotFoundError):
                aside.remove(root, raw)
    except OSError:  # the next start is to remove it, and not to put it back
        folder, _, last = raw.rpartition(b"/")
        journal.add(folder, last, last)
        raise
    finally:
        Journal.drop(one.entry)
