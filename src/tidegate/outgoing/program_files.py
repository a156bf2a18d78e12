# SPDX-License-Identifier: Apache-2.0
"""Looks at the file of a program before it is run: it may do what the server may."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def problems_of(program: str) -> list[str]:
    """Reasons not to run a program of the operator, each one line; empty if there are none.

    It has to be an absolute path of an executable file that not everybody can replace: neither it nor a
    directory on its way may be writable by everybody (but for directories with the sticky bit, as `/tmp`).
    Reads the file system: call it off the loop.
    """
    if not os.path.isabs(program):
        return [f"{program!r} is not an absolute path"]
    path = Path(program)
    try:
        real = path.resolve(strict=True)
        found = real.stat()
    except (OSError, RuntimeError) as error:
        return [f"{program}: {getattr(error, 'strerror', None) or error}"]
    if not stat.S_ISREG(found.st_mode):
        return [f"{program}: is not a file"]
    problems = []
    if not os.access(real, os.X_OK):
        problems.append(f"{program}: is not executable by this server")
    if found.st_mode & stat.S_IWOTH:
        problems.append(f"{real}: everybody may write to it; chmod o-w {real}")
    for directory in dict.fromkeys((*real.parents, *path.parents)):
        try:
            mode = directory.stat().st_mode
        except OSError:
            continue  # what resolves to the file was looked at
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            problems.append(f"{directory}: everybody may replace what is in it; chmod o-w {directory}")
    return problems


def remarks_on(program: str) -> list[str]:
    """Notes on a program that may be run, each one line; empty if there are none. Call it off the loop."""
    real = Path(program).resolve()
    try:
        owner = real.stat().st_uid
    except OSError:
        return []
    if owner in (0, os.geteuid()):
        return []
    return [f"{real}: belongs to user {owner}, who can change what the server runs"]
