# SPDX-License-Identifier: Apache-2.0
"""The published ``sftpgo-client`` package in an environment of its own: it needs an httpx of long ago."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.needs import absent

REQUIREMENT = "sftpgo-client==0.3.1"
INSTALL_SECONDS = 100


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return (
        Path(base) / "tidegate-tests" / f"sftpgo-client-0.3.1-py{sys.version_info[0]}.{sys.version_info[1]}"
    )


def client_python() -> Path:
    """The interpreter that can import the client; skips the test where it cannot be had, fails in CI."""
    place = _cache()
    python = place / "bin" / "python"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with (place.parent / f"{place.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
            if not (place / "complete").exists():
                shutil.rmtree(place, ignore_errors=True)
                subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True)
                subprocess.run(
                    [str(python), "-m", "pip", "install", "-q", REQUIREMENT],
                    check=True,
                    capture_output=True,
                    timeout=INSTALL_SECONDS,
                    cwd=tempfile.gettempdir(),
                )
                (place / "complete").touch()
    except (OSError, subprocess.SubprocessError) as error:
        absent(f"{REQUIREMENT}: {type(error).__name__}")
    return python
