# SPDX-License-Identifier: Apache-2.0
"""Packages in an environment of their own, kept between runs: their requirements do not go with ours."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.needs import absent

INSTALL_SECONDS = 100


def _cache(name: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tidegate-tests" / f"{name}-py{sys.version_info[0]}.{sys.version_info[1]}"


def python_with(name: str, *requirements: str) -> Path:
    """The interpreter that can import packages; skips the test where they cannot be had, fails in CI.

    Args:
        name: of the environment, with the versions that it is about.
        requirements: pinned.
    """
    place = _cache(name)
    python = place / "bin" / "python"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with (place.parent / f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
            if not (place / "complete").exists():
                shutil.rmtree(place, ignore_errors=True)
                subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
                subprocess.run(
                    [str(python), "-m", "pip", "install", "-q", *requirements],
                    check=True,
                    capture_output=True,
                    timeout=INSTALL_SECONDS,
                    cwd=tempfile.gettempdir(),
                )
                (place / "complete").touch()
    except (OSError, subprocess.SubprocessError) as error:
        absent(f"{requirements[0]}: {type(error).__name__}")
    return python
