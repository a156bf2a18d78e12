# SPDX-License-Identifier: Apache-2.0
"""Programs of other languages that tests need: built once, and kept outside the tree by a digest of their sources.

``python -m tests.support.foreign_builds`` builds everything and says how long it took.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import inspect
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.needs import missing

SOURCES = Path(__file__).parents[1] / "clients" / "foreign"
FETCH_SECONDS = 300
BUILD_SECONDS = 900


class Unavailable(Exception):
    """A library could not be fetched."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The making of the programs of one language.

    Args:
        folder: below `SOURCES`.
        programs: that building and running need.
        version: command whose output names the version of the compiler; empty where nothing is built.
        build: makes the program, given a copy of the sources and the directory that is kept.
    """

    folder: str
    programs: tuple[str, ...]
    version: tuple[str, ...] = ()
    build: Callable[[Path, Path], None] | None = None


def _call(argv: Sequence[str], where: Path, seconds: float, **environment: str) -> None:
    done = subprocess.run(
        argv, cwd=where, env={**os.environ, **environment}, timeout=seconds, check=False,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise AssertionError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout[-3000:]}")


def _fetch(argv: Sequence[str], where: Path, **environment: str) -> None:
    try:
        _call(argv, where, FETCH_SECONDS, **environment)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from error


def _go(sources: Path, kept: Path) -> None:
    _fetch(["go", "mod", "download"], sources)
    _call(["go", "build", "-trimpath", "-o", str(kept / "client"), "."], sources, BUILD_SECONDS)


def _rust(sources: Path, kept: Path) -> None:
    """The lock file of the tree holds digests but no addresses; cargo names the address of its registry itself."""
    lock = sources / "Cargo.lock"
    _fetch(["cargo", "generate-lockfile"], sources)
    source = re.search(r'^source = "registry\+.*"$', lock.read_text(), re.MULTILINE)
    if source is None:
        raise AssertionError("cargo wrote a lock file without a source")
    pinned = (sources / "crates.lock").read_text()
    lock.write_text(re.sub(r"^checksum = ", f"{source[0]}\nchecksum = ", pinned, flags=re.MULTILINE))
    _fetch(["cargo", "fetch", "--locked"], sources)
    _call(["cargo", "build", "--locked", "--offline"], sources, BUILD_SECONDS)
    shutil.copy2(sources / "target" / "debug" / "foreign", kept / "client")


def _java(sources: Path, kept: Path) -> None:
    libraries = kept / "jars"
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    _fetch(["mvn", "-q", "-B", "-ntp", goal, f"-DoutputDirectory={libraries}"], sources)
    wanted = [line.split() for line in (sources / "jars.sha256").read_text().splitlines()]
    found = [
        [hashlib.sha256(path.read_bytes()).hexdigest(), path.name] for path in sorted(libraries.iterdir())
    ]
    assert found == wanted, f"other libraries than pinned: {found}"
    files = [str(path) for path in sorted(sources.glob("*.java"))]
    _call(
        ["javac", "-d", str(kept / "classes"), "-cp", jars(kept, "jsch-0."), *files], sources, BUILD_SECONDS
    )


def jars(kept: Path, without: str) -> str:
    """The class path of the libraries, but for one."""
    found = [str(path) for path in sorted((kept / "jars").iterdir()) if not path.name.startswith(without)]
    return os.pathsep.join([str(kept / "classes"), *found])


def _node(sources: Path, kept: Path) -> None:
    words = ["--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--no-update-notifier"]
    _fetch(["npm", "ci", *words], sources)
    for name in ("main.js", "node_modules"):
        shutil.move(sources / name, kept / name)


def _azurite(sources: Path, kept: Path) -> None:
    """The emulator of Azure Blob. Its release asks for a newer Node.js than some systems have; it runs without."""
    words = [
        "--ignore-scripts",
        "--omit=optional",
        "--omit=dev",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
    ]
    _fetch(["npm", "ci", *words], sources)
    shutil.move(sources / "node_modules", kept / "node_modules")


def _c(sources: Path, kept: Path) -> None:
    _call(
        ["cc", "-Wall", "-Wextra", "-O1", "-o", str(kept / "client"), "main.c", "-lssh"],
        sources,
        BUILD_SECONDS,
    )


def _python(sources: Path, kept: Path) -> None:
    """Releases of long ago, which need a cryptography of their time."""
    _call([sys.executable, "-m", "venv", str(kept / "venv")], sources, BUILD_SECONDS)
    pip = [str(kept / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _fetch([*pip, "--only-binary", ":all:", "-r", "requirements.txt"], sources)
    shutil.copy2(sources / "main.py", kept / "main.py")


def _ftp(sources: Path, kept: Path) -> None:
    """FTP clients of Python and Node.js, and a newer rclone than systems have."""
    _call([sys.executable, "-m", "venv", str(kept / "venv")], sources, BUILD_SECONDS)
    pip = [str(kept / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    _fetch([*pip, "--only-binary", ":all:", "-r", "requirements.txt"], sources)
    shutil.copy2(sources / "main.py", kept / "main.py")
    _node(sources, kept)


GO = Toolchain("go", ("go",), ("go", "version"), _go)
GCS = Toolchain("gcs", ("go",), ("go", "version"), _go)
"""A server, for `object_servers`."""
RUST = Toolchain("rust", ("cargo",), ("cargo", "--version"), _rust)
JAVA = Toolchain("java", ("java", "javac", "mvn"), ("javac", "-version"), _java)
NODE = Toolchain("node", ("node", "npm"), ("node", "--version"), _node)
AZURITE = Toolchain("azurite", ("node", "npm"), ("node", "--version"), _azurite)
C = Toolchain("c", ("cc", "/usr/include/libssh/libssh.h"), ("cc", "--version"), _c)
PYTHON = Toolchain("python", (), (sys.executable, "--version"), _python)
FTP = Toolchain("ftp", ("node", "npm"), ("node", "--version"), _ftp)
WEBDAV = Toolchain("webdav", ("node", "npm"), ("node", "--version"), _node)
LIGHTHOUSE = Toolchain("lighthouse", ("node", "npm"), ("node", "--version"), _node)
"""Audits of pages, for `tests/package`."""
PHP = Toolchain("php", ("php",))
ERLANG = Toolchain("erlang", ("escript",))
RUBY = Toolchain("ruby", ("ruby",))
PERL = Toolchain("perl", ("perl", "ssh"))
TOOLCHAINS = (GO, GCS, RUST, JAVA, NODE, C, PYTHON, AZURITE, FTP, WEBDAV, LIGHTHOUSE)


@functools.cache
def _tag(toolchain: Toolchain) -> str:
    """A digest of the sources and of what compiles them."""
    assert toolchain.build is not None
    said = subprocess.run(toolchain.version, capture_output=True, check=True)
    recipe = inspect.getsource(toolchain.build)
    digest = hashlib.sha256(repr((toolchain.version, said.stdout, said.stderr, recipe)).encode())
    for path in sorted((SOURCES / toolchain.folder).rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:24]


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Several test processes may want the same program at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@functools.cache
def built(toolchain: Toolchain) -> Path:
    """The directory with the built programs of a language.

    Raises:
        AssertionError: it cannot be built; the text has what the compiler said.
        Unavailable: a library cannot be fetched.
    """
    if toolchain.build is None:
        return SOURCES / toolchain.folder
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate-tests"
    kept = base / f"{toolchain.folder}-{_tag(toolchain)}"
    with _locked(base / f"{kept.name}.lock"):
        if not kept.exists():
            scratch = base / f"{kept.name}.part"
            sources, fresh = scratch / "sources", scratch / "kept"
            shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed
            shutil.copytree(SOURCES / toolchain.folder, sources)
            fresh.mkdir()
            try:
                toolchain.build(sources, fresh)
                fresh.rename(kept)
            finally:
                shutil.rmtree(scratch)
    return kept


def main() -> None:
    """Build everything that can be built here."""
    for toolchain in TOOLCHAINS:
        gone = [name for name in toolchain.programs if missing(name)]
        if gone:
            sys.exit(f"{toolchain.folder}: needs {', '.join(gone)}")
        start = time.monotonic()
        try:
            built(toolchain)
        except (AssertionError, Unavailable) as error:
            sys.exit(f"{toolchain.folder}: {error}")
        print(f"{toolchain.folder}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
