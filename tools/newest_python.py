# SPDX-License-Identifier: Apache-2.0
"""Prints the newest released Python of this machine, if it is newer than the one that runs this."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ASK = "import sys, ensurepip, venv; print(*sys.version_info[:3], sys.version_info.releaselevel)"
NEWEST_MINOR = 20


def candidates() -> Iterator[str]:
    """Interpreters on the path, and those of pyenv and uv."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for minor in range(sys.version_info.minor + 1, NEWEST_MINOR):
            yield f"{folder}/python3.{minor}"
    root = os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv")
    for place in (Path(root) / "versions", Path.home() / ".local" / "share" / "uv" / "python"):
        if place.is_dir():
            yield from (str(found) for found in place.glob("*/bin/python3"))


def version(python: str) -> tuple[int, ...]:
    """Its version; empty if it cannot be run, is a pre-release, or cannot make environments."""
    try:
        done = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    *numbers, level = done.stdout.split()
    return tuple(map(int, numbers)) if level == "final" else ()


def newest() -> str:
    """The interpreter; empty if there is none that is newer."""
    found = {path: version(path) for path in dict.fromkeys(candidates()) if Path(path).exists()}
    best = max(found, key=lambda path: found[path], default="")
    return best if best and found[best][:2] > sys.version_info[:2] else ""


if __name__ == "__main__":
    print(newest())
