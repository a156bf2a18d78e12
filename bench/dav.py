# SPDX-License-Identifier: Apache-2.0
"""WebDAV against Apache's mod_dav, wsgidav and `rclone serve webdav` in turn on one machine: ``python -m bench.dav``.

Peers that are not installed are left out; they take no password, Tidegate does. The client is curl for large
files and one connection of Python's ``http.client`` for small ones; the server's CPU is that of all its processes.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.ftp import MIB, PASSWORD, USER, Peer
from bench.measure import cpu_seconds, tree
from bench.servers import free_port

SMALL = 500
"""Small files of 2 KiB."""
NAMES = 10_000
"""Entries of the directory that is listed."""
APACHE = Path("/usr/sbin/apache2")
_ASKED = (
    '<propfind xmlns="DAV:"><prop><displayname/><getlastmodified/><getcontentlength/><resourcetype/>'
    "<getetag/></prop></propfind>"
)
_WORDS = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@contextlib.contextmanager
def process(argv: list[str], port: int, log: Path) -> Iterator[int]:
    """A server that says nothing before it is asked."""
    with log.open("wb") as output:
        running = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.5).close()
                break
            except OSError:
                if running.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"nothing listens on {port}: {log.read_text()[-300:]}") from None
                time.sleep(0.05)
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def tidegate(work: Path) -> Iterator[Peer]:
    port, home = free_port(), work / "files" / USER
    home.mkdir(parents=True)
    settings = {
        "webdavd": {"bindings": [{"port": port, "address": "127.0.0.1", "plain_login": True}]},
        "sftpd": {"bindings": [{"port": free_port(), "address": "127.0.0.1"}]},
        "httpd": {"bindings": []},
    }
    (work / "tidegate.json").write_text(json.dumps(settings))
    command = [sys.executable, "-c", "from tidegate.cli.main import main; main()"]
    subprocess.run([*command, "initprovider", "-c", str(work)], check=True, capture_output=True)
    subprocess.run(
        [*command, "user", "add", USER, "-c", str(work), "--home", str(home), "-g", "/:*", "--password-stdin"],
        input=PASSWORD, text=True, check=True, capture_output=True,
    )  # fmt: skip
    with process([*command, "serve", "-c", str(work)], port, work / "out") as pid:
        yield Peer("Tidegate", pid, port, home)


@contextlib.contextmanager
def wsgidav(work: Path) -> Iterator[Peer]:
    port, home = free_port(), work / "home"
    home.mkdir(parents=True)
    words = ["--host", "127.0.0.1", "--port", str(port), "--root", str(home), "--auth", "anonymous", "-q"]
    argv = [sys.executable, "-m", "wsgidav.server.server_cli", *words, "--no-config"]
    with process(argv, port, work / "out") as pid:
        yield Peer("wsgidav", pid, port, home)


@contextlib.contextmanager
def rclone(work: Path) -> Iterator[Peer]:
    port, home = free_port(), work / "home"
    home.mkdir(parents=True)
    argv = ["rclone", "serve", "webdav", str(home), "--addr", f"127.0.0.1:{port}", "--dir-cache-time", "0s"]
    with process(argv, port, work / "out") as pid:
        yield Peer("rclone", pid, port, home)


@contextlib.contextmanager
def apache(work: Path) -> Iterator[Peer]:
    """mod_dav_fs with the event MPM, as www-data where this runs as root."""
    port, home = free_port(), work / "home"
    home.mkdir(parents=True)
    modules = {
        "mpm_event": "mpm_event", "authz_core": "authz_core", "dav": "dav", "dav_fs": "dav_fs",
    }  # fmt: skip
    lines = [
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{file}.so" for name, file in modules.items()
    ]
    lines += [
        f"ServerRoot {work}", f"Listen 127.0.0.1:{port}", "ServerName localhost", f"PidFile {work}/pid",
        f"ErrorLog {work}/error", f"DavLockDB {work}/locks", f"DocumentRoot {home}", "MaxKeepAliveRequests 0",
        f"<Directory {home}>\nDav On\nRequire all granted\n</Directory>",
    ]  # fmt: skip
    if os.geteuid() == 0:
        lines += ["User www-data", "Group www-data"]
        for path in (work, home):
            shutil.chown(path, "www-data", "www-data")
    (work / "apache.conf").write_text("\n".join(lines) + "\n")
    argv = [str(APACHE), "-D", "FOREGROUND", "-f", str(work / "apache.conf")]
    with process(argv, port, work / "out") as pid:
        yield Peer("Apache", pid, port, home)


# -- rows --------------------------------------------------------------------------------------------------


def _cpu(peer: Peer) -> float:
    """Seconds of CPU of the server and of its children that run (Apache's do not end)."""
    found = 0.0
    for pid in tree(peer.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += cpu_seconds(pid)
    return found


def transfers(peer: Peer, scratch: Path, mib: int) -> dict[str, float]:
    """One large file up and down; seconds for a GiB."""
    source = scratch / "source"
    if not source.exists():
        source.write_bytes(os.urandom(MIB) * mib)
    url = f"http://127.0.0.1:{peer.plain}/big"
    figures = {}
    for name, words in (("up", ["-T", str(source), url]), ("down", [url, "-o", "/dev/null"])):
        before, started = _cpu(peer), time.monotonic()
        argv = ["curl", "-sSf", "-u", f"{USER}:{PASSWORD}", "-H", "Expect:", *words]
        subprocess.run(argv, check=True, capture_output=True, timeout=300)
        figures[f"{name} s/GiB"] = (time.monotonic() - started) * 1024 / mib
        figures[f"{name} CPU s/GiB"] = (_cpu(peer) - before) * 1024 / mib
    if (peer.home / "big").stat().st_size != mib * MIB:
        raise RuntimeError(f"{peer.name}: the upload is not whole")
    return figures


def _each(
    peer: Peer, count: int, ask: Callable[[http.client.HTTPConnection, int], None]
) -> tuple[float, float]:
    """Milliseconds of wall time and of the server's CPU for each of some requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.plain, timeout=60)
    with contextlib.closing(connection):
        ask(connection, 0)
        before, started = _cpu(peer), time.monotonic()
        for index in range(count):
            ask(connection, index)
        wall = time.monotonic() - started
        return wall / count * 1000, (_cpu(peer) - before) / count * 1000


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | str | None = None
) -> None:
    headers = {"Authorization": f"Basic {_WORDS}", **({"Depth": "1"} if method == "PROPFIND" else {})}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status}")


def small(peer: Peer) -> dict[str, float]:
    """Small files, put and got again on one connection."""
    turn = f"{time.monotonic_ns():x}"
    content = os.urandom(2048)
    put = _each(peer, SMALL, lambda c, index: _ask(c, "PUT", f"/{turn}-{index}", content))
    get = _each(peer, SMALL, lambda c, index: _ask(c, "GET", f"/{turn}-{index}"))
    for path in peer.home.glob(f"{turn}-*"):
        path.unlink()
    return {"put ms": put[0], "put CPU ms": put[1], "get ms": get[0], "get CPU ms": get[1]}


def listing(peer: Peer) -> dict[str, float]:
    """PROPFIND of a directory with `NAMES` files."""
    many = peer.home / "many"
    if not many.exists():
        many.mkdir()
        for index in range(NAMES):
            (many / f"file-{index:05}").touch()
    wall, cpu = _each(peer, 2, lambda c, _: _ask(c, "PROPFIND", "/many/", _ASKED))
    return {"ms": wall, "CPU ms": cpu}


def main() -> None:
    """Measure, and print one line for each row and server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dav-bench-", dir="/var/tmp")))
        work.chmod(0o755)
        scratch = work / "scratch"
        scratch.mkdir()
        peers = [stack.enter_context(tidegate(work / "tidegate"))]
        peers.append(stack.enter_context(wsgidav(work / "wsgidav")))
        if shutil.which("rclone"):
            peers.append(stack.enter_context(rclone(work / "rclone")))
        if APACHE.exists():
            peers.append(stack.enter_context(apache(work / "apache")))
        rows = {
            "large": lambda peer: transfers(peer, scratch, given.mib),
            "small": small,
            "PROPFIND": listing,
        }
        for row, measure in rows.items():
            found: dict[str, list[dict[str, float]]] = {}
            for _ in range(given.turns):
                for peer in peers:
                    found.setdefault(peer.name, []).append(measure(peer))
            for name, runs in found.items():
                figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                print(
                    f"{row:10} {name:10} " + "  ".join(f"{k} {v:.2f}" for k, v in figures.items()), flush=True
                )


if __name__ == "__main__":
    main()
