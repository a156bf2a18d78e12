# SPDX-License-Identifier: Apache-2.0
"""The log file: appended to by one thread, rotated by size or on request, old ones compressed and removed."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
REOPEN_SECONDS: Final = 5.0
"""after a failure, how long until the file is tried again"""
DAY: Final = 86_400.0


def backups_of(path: Path) -> list[Path]:
    """Rotated files of a log, oldest first."""
    pattern = re.compile(
        re.escape(path.stem) + r"-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}" + re.escape(path.suffix) + r"(\.gz)?"
    )
    with contextlib.suppress(OSError):
        return sorted(p for p in path.parent.iterdir() if pattern.fullmatch(p.name))
    return []


class LogFile:
    """A log file. Only `write`, `rotate` and `close` from one thread; none of them raises OSError.

    Rotated files stand beside the log as ``<name>-<UTC time><suffix>``, with ``.gz`` if compressed.

    Attributes:
        lost: lines that could not be written since the last time it worked.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 0,
        max_backups: int = 0,
        max_age_days: int = 0,
        compress: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.lost = 0
        self._max_bytes = max_bytes
        self._max_backups = max_backups
        self._max_age = max_age_days * DAY
        self._compress = compress
        self._clock = clock
        self._fd = -1
        self._size = 0
        self._regular = True
        self._retry_at = 0.0

    def open(self) -> None:
        """Open or create the file.

        Raises:
            OSError: it cannot be written; the only place where this class says so by raising.
        """
        self._fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        status = os.fstat(self._fd)
        self._size = status.st_size
        self._regular = stat.S_ISREG(status.st_mode)

    def write(self, lines: bytes) -> None:
        """Append whole lines (the last one's end included), rotating before the first that would not fit."""
        while lines:
            end = len(lines)
            if self._max_bytes and self._regular and self._size + end > self._max_bytes:
                end = lines.rfind(b"\n", 0, max(0, self._max_bytes - self._size)) + 1
                if not end and self._size:
                    self.rotate()
                    if self._size:  # it could not be set aside
                        end = len(lines)
                elif not end:
                    end = lines.find(b"\n") + 1 or len(lines)  # longer than a whole file
            if end:
                self._write(lines if end == len(lines) else lines[:end])
                lines = lines[end:]

    def _write(self, lines: bytes) -> None:
        if self._fd < 0 and not self._reopen():
            self.lost += lines.count(b"\n")
            return
        if self.lost:
            notice = (
                b'{"level":"error","sender":"log","message":"%d lines could not be written"}\n' % self.lost
            )
            if self._append(notice) < len(notice):
                self.lost += lines.count(b"\n")
                return
            self.lost = 0
        self.lost += lines.count(b"\n", self._append(lines))

    def rotate(self) -> None:
        """Set the file aside, begin a new one, and tidy up old ones."""
        if self._fd < 0 or not self._regular:
            return
        self._close_fd()
        aside = self._aside_name()
        moved = False
        try:
            self.path.rename(aside)
            moved = True
        except FileNotFoundError:
            pass  # somebody moved it away already
        except OSError as error:
            self._complain(error)
        self._reopen(now=True)
        if moved and self._compress:
            self._compress_file(aside)
        self._tidy()

    def close(self) -> None:
        """Close the file."""
        self._close_fd()

    def backups(self) -> list[Path]:
        """Rotated files, oldest first."""
        return backups_of(self.path)

    @property
    def regular(self) -> bool:
        """False if lines go to a pipe or device, which cannot be read again."""
        return self._regular

    def _append(self, lines: bytes) -> int:
        """The number of bytes written: all of them, or those before an error."""
        done = 0
        try:
            while done < len(lines):
                written = os.write(self._fd, memoryview(lines)[done:])
                self._size += written
                done += written
        except OSError as error:
            self._complain(error)
            self._close_fd()
            self._retry_at = time.monotonic() + REOPEN_SECONDS
        return done

    def _reopen(self, *, now: bool = False) -> bool:
        if not now and time.monotonic() < self._retry_at:
            return False
        try:
            self.open()
        except OSError as error:
            self._complain(error)
            self._retry_at = time.monotonic() + REOPEN_SECONDS
            return False
        return True

    def _close_fd(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def _aside_name(self) -> Path:
        moment = datetime.fromtimestamp(self._clock(), UTC)
        while True:
            stamp = moment.strftime("%Y-%m-%dT%H-%M-%S.") + f"{moment.microsecond // 1000:03}"
            name = self.path.with_name(f"{self.path.stem}-{stamp}{self.path.suffix}")
            if not name.exists() and not name.with_name(name.name + ".gz").exists():
                return name
            moment += timedelta(milliseconds=1)  # names sort by age even when made in one millisecond

    def _compress_file(self, path: Path) -> None:
        packed = path.with_name(path.name + ".gz")
        try:
            fd = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            with (
                open(fd, "wb") as raw,
                path.open("rb") as source,
                gzip.GzipFile(fileobj=raw, mode="wb", filename="") as target,
            ):
                shutil.copyfileobj(source, target, 1 << 20)
            path.unlink()
        except OSError as error:
            self._complain(error)
            with contextlib.suppress(OSError):
                if path.exists():
                    packed.unlink(missing_ok=True)

    def _tidy(self) -> None:
        kept = self.backups()
        gone = kept[: -self._max_backups] if self._max_backups else []
        if self._max_age:
            oldest = self._clock() - self._max_age
            for path in kept:
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime < oldest and path not in gone:
                        gone.append(path)
        for path in gone:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Say on standard error that the log cannot be written; never an error itself."""
        with contextlib.suppress(Exception):
            sys.stderr.write(f"tidegate: log {self.path}: {error.strerror}\n")
