# SPDX-License-Identifier: Apache-2.0
"""The directory of backups: names below it, and nothing else, can be written and read.

Containment is by descriptors: every component is opened below the one before, links are not followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tidegate.errors import InvalidArgument, NotFound, StorageFailed, StorageFull

MAX_NAME_CHARS: Final = 1024
MAX_LISTED: Final = 200
"""Dumps that a list shows, the newest ones."""
MAX_LOOKED_AT: Final = 10_000
"""Names of files and directories that are looked at for a list."""
MAX_DEPTH: Final = 8
"""Levels of directories of a list."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file that may be a dump.

    Attributes:
        name: below the directory.
        size: bytes.
        changed_ms: Unix milliseconds.
    """

    name: str
    size: int
    changed_ms: int


class Backups:
    """Dumps in one directory.

    Args:
        root: the directory; made (for its owner only) when it is first written to.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.busy = asyncio.Lock()
        """Held by whoever dumps or loads: one at a time."""

    def parts(self, name: str, *, label: str) -> list[str]:
        """The components of a name below the directory; an absolute name must lie in it.

        Raises:
            InvalidArgument: no such name is possible; says why.
        """
        if not name or len(name) > MAX_NAME_CHARS or "\0" in name:
            raise InvalidArgument(f"{label}: a file name is needed")
        if name.startswith("/"):
            root = f"{self._root}/"
            if not name.startswith(root):
                raise InvalidArgument(f"{label}: only files below data_provider.backups_path can be used")
            name = name.removeprefix(root)
        found = name.split("/")
        if ".." in found:
            raise InvalidArgument(f"{label}: '..' is not allowed")
        found = [part for part in found if part not in ("", ".")]
        if not found or name.endswith("/"):
            raise InvalidArgument(f"{label}: a file name is needed")
        if any(part.startswith(".") for part in found):
            raise InvalidArgument(f"{label}: names that begin with '.' are not allowed")
        return found

    async def write(self, parts: list[str], chunks: AsyncIterator[bytes]) -> int:
        """Write a dump beside its place, and rename it there once it is whole and on disk; returns its size.

        Raises:
            StorageFull, StorageFailed, InvalidArgument: it cannot be written; an older file is untouched.
        """
        temporary = f".{secrets.token_hex(8)}.part"
        with _translated("output-file"):
            directory = await asyncio.to_thread(self._directory, parts[:-1], make=True)
            try:
                file = await asyncio.to_thread(_create, directory, temporary)
                size = 0
                try:
                    async for chunk in chunks:
                        size += len(chunk)
                        await asyncio.to_thread(file.write, chunk)
                    await asyncio.to_thread(_finish, file, directory, temporary, parts[-1])
                except BaseException:
                    file.close()
                    with contextlib.suppress(OSError):
                        os.unlink(temporary, dir_fd=directory)
                    raise
                return size
            finally:
                os.close(directory)

    async def listing(self) -> list[BackupFile]:
        """The files in the directory that can be read by name, the newest `MAX_LISTED`.

        Raises:
            StorageFailed: the directory cannot be read.
        """
        try:
            found = await asyncio.to_thread(self._listed)
        except FileNotFoundError:
            return []  # nothing was ever written
        except OSError as error:
            raise StorageFailed(f"data_provider.backups_path: {error.strerror}") from None
        return sorted(found, key=lambda one: (-one.changed_ms, one.name))[:MAX_LISTED]

    async def read(self, parts: list[str]) -> BinaryIO:
        """Open a dump.

        Raises:
            NotFound: there is no such file.
            InvalidArgument: it is not a regular file.
            StorageFailed: it cannot be read.
        """
        with _translated("input-file"):
            return await asyncio.to_thread(self._open, parts)

    # -- blocking ----------------------------------------------------------------------------------------

    def _listed(self) -> list[BackupFile]:
        found: list[BackupFile] = []
        looked_at = 0
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for above, directories, files, descriptor in os.fwalk(dir_fd=current):
                below = [part for part in above.split("/") if part != "."]
                directories[:] = [
                    name for name in directories if not name.startswith(".") and len(below) + 1 < MAX_DEPTH
                ]
                looked_at += len(directories) + len(files)
                if looked_at > MAX_LOOKED_AT:
                    break
                for name in files:
                    if name.startswith("."):
                        continue
                    with contextlib.suppress(OSError):  # it went meanwhile
                        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode):
                            whole = "/".join((*below, name))
                            found.append(BackupFile(whole, status.st_size, status.st_mtime_ns // 1_000_000))
        finally:
            os.close(current)
        return found

    def _directory(self, parts: list[str], *, make: bool = False) -> int:
        if make:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The operator's own path may hold links; below it none is followed.
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=current)
                below = os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = below
        except BaseException:
            os.close(current)
            raise
        return current

    def _open(self, parts: list[str]) -> BinaryIO:
        directory = self._directory(parts[:-1])
        try:
            # A pipe of that name must not hold us up.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            number = os.open(parts[-1], flags, dir_fd=directory)
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise InvalidArgument("input-file: not a regular file")
        return open(number, "rb")


def _create(directory: int, name: str) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return open(os.open(name, flags, 0o600, dir_fd=directory), "wb")


def _finish(file: BinaryIO, directory: int, temporary: str, name: str) -> None:
    with file:
        file.flush()
        os.fsync(file.fileno())
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise InvalidArgument("output-file: is a directory")
    except FileNotFoundError:
        pass
    os.replace(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


@contextlib.contextmanager
def _translated(label: str) -> Iterator[None]:
    """Errors of the operating system as ours; their wording and paths stay here."""
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{label}: no such file") from None
    except (NotADirectoryError, IsADirectoryError):
        raise InvalidArgument(f"{label}: not a file below directories") from None
    except OSError as error:
        import errno

        if error.errno == errno.ELOOP:
            raise InvalidArgument(f"{label}: links are not followed") from None
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidArgument(f"{label}: the name is too long") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from None
        raise StorageFailed(f"{label}: {error.strerror}") from error
