# SPDX-License-Identifier: Apache-2.0
"""The files of the log to be read: the current one and those that were rotated, the newest first."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tidegate.logs import backwards
from tidegate.logs.backwards import first_time
from tidegate.logs.rotation import backups_of

MAX_FILES: Final = 1_000
"""files that are looked at, the newest"""
LOOKS: Final = 5
"""looks at the names of files until two of them agree"""


class OpenFile:
    """An open file of the log.

    Attributes:
        path: of it.
        fd: of it.
        packed: it is compressed.
        name: that stays when it is renamed or compressed.
        first: time of its first line that has one.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.packed = path.suffix == ".gz"
        self.name = self.first = ""

    def __enter__(self) -> OpenFile:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def read_head(self) -> bool:
        """Learn name and first time; False for a file without any whole line."""
        read = backwards.reader_of(self.fd)
        head = backwards.packed_head(read) if self.packed else read(0, backwards.MAX_LINE)
        self.name, self.first = backwards.identity(head), first_time(head)
        return bool(self.name)


def files(path: Path) -> Iterator[OpenFile]:
    """Files of the log that have lines, the newest first. Each has to be closed by who gets it."""
    seen: set[str] = set()
    current, others = _at_rest(path)
    for name in [None, *others[:MAX_FILES]]:
        file = current if name is None else _set_aside(name) or _set_aside(name.with_name(f"{name.name}.gz"))
        if file is None:
            continue
        readable = False
        if stat.S_ISREG(os.fstat(file.fd).st_mode):
            with contextlib.suppress(OSError, backwards.TooLongToUnpack):
                readable = file.read_head() and file.name not in seen
        seen.add(file.name)
        if readable:
            yield file
        else:
            os.close(file.fd)


def _at_rest(path: Path) -> tuple[OpenFile | None, list[Path]]:
    """The current file, open, and those that were set aside before it, the newest first.

    A file that is set aside between two looks would be missed, or stand before a newer one: so it looks again
    until nothing has changed in between. A directory is not read at one moment either.
    """
    before = _rotated(path)
    for tries in range(LOOKS):
        current, after = _opened(path), _rotated(path)
        if tries == LOOKS - 1 or {_plain(one) for one in before} == {_plain(one) for one in after}:
            break
        if current is not None:
            os.close(current.fd)
        before = after
    return current, [one for one in after if one.suffix != ".gz" or _plain(one) not in after]


def _plain(path: Path) -> Path:
    """The name of a file before it is compressed; while that is done both are there."""
    return path.with_suffix("") if path.suffix == ".gz" else path


def _rotated(path: Path) -> list[Path]:
    """Files that were set aside, the newest first: by the server, or named as logrotate names them."""
    own = list(reversed(backups_of(path)))
    pattern = re.compile(re.escape(path.name) + r"(?:\.\d{1,4}|-\d{8}(?:\d\d)?(?:-\d{1,10})?)(?:\.gz)?")
    foreign: list[Path] = []
    with contextlib.suppress(OSError):
        foreign = [one for one in path.parent.iterdir() if pattern.fullmatch(one.name)]
    return sorted([*own, *foreign], key=_changed, reverse=True) if foreign else own


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _set_aside(path: Path) -> OpenFile | None:
    # A link would show any file that the server may read: whoever writes to the directory could make one.
    return _file(path, os.O_NOFOLLOW)


def _opened(path: Path) -> OpenFile | None:
    return _file(path)


def _file(path: Path, more: int = 0) -> OpenFile | None:
    try:
        return OpenFile(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | more))
    except OSError:
        return None
