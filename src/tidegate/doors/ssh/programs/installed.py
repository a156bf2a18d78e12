# SPDX-License-Identifier: Apache-2.0
"""Programs of this host: where they are, and which files have to be executable for them to run."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from tidegate.confinement.confine import SYSTEM
from tidegate.errors import Unsupported

PATH: Final = "/usr/local/bin:/usr/bin:/bin"
"""The directories of programs that are looked in before the PATH of the server."""

ASK_SECONDS: Final = 10
"""Seconds that git may take to say in which directory its parts lie."""

_PT_INTERP: Final = 3


@dataclass(frozen=True, slots=True)
class Installed:
    """A program of this host.

    Attributes:
        path: of the program, without links.
        execute: files and directories that have to be executable: the program, its parts, its loader.
        system: directories outside `confinement.confine.SYSTEM` that it is read from.
    """

    path: str
    execute: tuple[str, ...]
    system: tuple[str, ...]


@lru_cache(maxsize=8)
def find(name: str) -> Installed:
    """Find a program; blocks for a moment. Found once, it is remembered for the life of the process.

    Raises:
        Unsupported: it is not installed, or it is a script.
    """
    found = shutil.which(name, path=PATH) or shutil.which(name)
    if found is None:
        raise Unsupported(f"{name} is not installed on this server")
    path = os.path.realpath(found)
    loader = _loader(path)
    if loader is None:
        raise Unsupported(f"{name} of this server cannot be confined: it is no ELF program")
    execute = [path, *([os.path.realpath(loader)] if loader else [])]
    if name == "git":
        execute.append(_parts(path))
    places = {str(Path(place).parent) for place in execute if not _of_system(place)}
    return Installed(path, tuple(execute), tuple(sorted(places)))


def _of_system(path: str) -> bool:
    return any(path == place or path.startswith(f"{place}/") for place in SYSTEM)


def _parts(git: str) -> str:
    """The directory of git's own programs."""
    done = subprocess.run(
        [git, "--exec-path"], capture_output=True, text=True, timeout=ASK_SECONDS, check=False, env={}
    )
    if done.returncode or not done.stdout.startswith("/"):
        raise Unsupported("git of this server does not say where its parts lie")
    return os.path.realpath(done.stdout.strip())


def _loader(path: str) -> str | None:
    """The interpreter of an ELF program (PT_INTERP), empty if it has none; None if this is no ELF program."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or head[4] != 2 or len(head) < 64:  # 2: ELFCLASS64
                return None
            order = "<" if head[5] == 1 else ">"
            offset, size, count = (
                struct.unpack_from(f"{order}Q", head, 32)[0],
                *struct.unpack_from(f"{order}HH", head, 54),
            )
            file.seek(offset)
            table = file.read(size * count)
            for start in range(0, size * count, size):
                if struct.unpack_from(f"{order}I", table, start)[0] == _PT_INTERP:
                    place, length = (struct.unpack_from(f"{order}Q", table, start + at)[0] for at in (8, 32))
                    file.seek(place)
                    return file.read(length).rstrip(b"\0").decode()
    except (OSError, struct.error, UnicodeDecodeError):
        return None
    return ""
