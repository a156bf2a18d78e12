# SPDX-License-Identifier: Apache-2.0
"""FTP, FTPS and WebDAV against other servers, in turn on one machine: ``python -m bench.doors``.

It writes `bench/DOORS.md`, in about four minutes on a quiet machine. ``python -m bench.fetch`` gets peers that
are not installed; what is not there is left out and named. Tidegate judges everything by its gate and has its
log, and asks for a password; WebDAV peers other than rclone and copyparty ask for none. Clients are curl for
large files, lftp for mirrors, and one connection of Python's ``http.client`` for small ones.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ftplib
import http.client
import os
import platform
import shutil
import ssl
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bench import fetch
from bench.door_peers import DAV, FTP, Peer, Start
from bench.measure import cpu_seconds, pss_bytes, settle, tree
from bench.servers import Missing

MIB = 1 << 20
MIRRORED = 100
"""Small files of a mirror, 5 kB each."""
LOGINS = 30
IDLE = 300
"""Idle control connections that are held at once."""
SMALL = 300
"""Small files of 2 KiB over WebDAV."""
SLOW_SECONDS = 20
"""Seconds after which a listing is given up."""
CLIENT_SECONDS = 60
"""Seconds after which any other client is."""
BY_RCLONE = 500
"""Small files of 2 KiB that rclone stores over WebDAV, four at a time."""
NAMES = 10_000
"""Entries of the directory that is listed."""
RESULTS = Path(__file__).with_name("DOORS.md")
_ASKED = (
    '<propfind xmlns="DAV:"><prop><displayname/><getlastmodified/><getcontentlength/><resourcetype/>'
    "<getetag/></prop></propfind>"
)

Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """Shared by the rows of a run.

    Attributes:
        scratch: for the client's files.
        mib: size of the large file.
    """

    scratch: Path
    mib: int


@dataclass
class Table:
    """Figures of one row: by peer, those of each turn.

    Attributes:
        runs: by name of the peer.
        missing: the reason why a peer has none.
    """

    runs: dict[str, list[Figures]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def cpu(peer: Peer) -> float:
    """Seconds of CPU of the server and of its children that run or have ended."""
    found = 0.0
    if peer.forks:
        settle(peer.pid, seconds=2)
    for pid in tree(peer.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += cpu_seconds(pid)
    return found


def timed(peer: Peer, argv: list[str]) -> tuple[float, float]:
    """Seconds of wall time, and of the server's CPU, that a client takes."""
    before, started = cpu(peer), time.monotonic()
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=CLIENT_SECONDS)
    wall = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-200:]}")
    return wall, cpu(peer) - before


def large(peer: Peer, plan: Plan, url: str, *words: str) -> Figures:
    """One large file up and down; seconds for a GiB."""
    source = plan.scratch / "source"
    if not source.exists():
        source.write_bytes(os.urandom(MIB) * plan.mib)
    head = ["curl", "-sSf", "-u", f"{peer.user}:{peer.password}", *words]
    up = timed(peer, [*head, "-T", str(source), f"{url}{peer.base}/big"])
    if (peer.home / "big").stat().st_size != plan.mib * MIB:
        raise RuntimeError("the upload is not whole")
    down = timed(peer, [*head, f"{url}{peer.base}/big", "-o", str(plan.scratch / "got")])
    if (plan.scratch / "got").stat().st_size != plan.mib * MIB:
        raise RuntimeError("the download is not whole")
    each = 1024 / plan.mib
    return {
        "get s/GiB": down[0] * each, "get CPU s/GiB": down[1] * each,
        "put s/GiB": up[0] * each, "put CPU s/GiB": up[1] * each,
    }  # fmt: skip


# -- FTP ---------------------------------------------------------------------------------------------------


def ftp_large(peer: Peer, plan: Plan) -> Figures:
    return large(peer, plan, f"ftp://127.0.0.1:{peer.port}")


def ftps_large(peer: Peer, plan: Plan) -> Figures:
    return large(peer, plan, f"ftp://127.0.0.1:{peer.port}", "--ssl-reqd", "-k", *peer.curl)


def _mirror(peer: Peer, plan: Plan, *, tls: bool) -> Figures:
    """Small files by lftp; milliseconds for each."""
    files = plan.scratch / "tree"
    if not files.exists():
        files.mkdir()
        for index in range(MIRRORED):
            (files / f"{index}").write_bytes(os.urandom(5000))
    word = "yes" if tls else "no"
    who = f"{peer.user},{peer.password}" if peer.password else f"{peer.user},x"
    head = f"set ssl:verify-certificate no; set ftp:ssl-allow {word}; set ftp:ssl-force {word}; "
    head += f"set ftp:ssl-protect-data {word}; set net:max-retries 1; set net:timeout 20; "
    head += f"open -u {who} ftp://127.0.0.1:{peer.port}; "
    target = plan.scratch / "down"
    shutil.rmtree(target, ignore_errors=True)
    there = f"{peer.base}/tree"
    up = timed(peer, ["lftp", "-c", f"{head}mirror -R {files} {there}"])
    down = timed(peer, ["lftp", "-c", f"{head}mirror {there} {target}"])
    if len(list(target.iterdir())) != MIRRORED:
        raise RuntimeError("the mirror is not whole")
    shutil.rmtree(peer.home / "tree")
    each = 1000 / MIRRORED
    return {
        "get ms": down[0] * each, "get CPU ms": down[1] * each,
        "put ms": up[0] * each, "put CPU ms": up[1] * each,
    }  # fmt: skip


def ftp_mirror(peer: Peer, plan: Plan) -> Figures:
    return _mirror(peer, plan, tls=False)


def ftps_mirror(peer: Peer, plan: Plan) -> Figures:
    return _mirror(peer, plan, tls=True)


def _connected(peer: Peer, stack: contextlib.ExitStack) -> ftplib.FTP:
    ftp = stack.enter_context(ftplib.FTP())
    ftp.connect("127.0.0.1", peer.port, 20)
    ftp.login(peer.user, peer.password)
    return ftp


def _secured(peer: Peer, stack: contextlib.ExitStack) -> ftplib.FTP:
    ftp = stack.enter_context(ftplib.FTP_TLS(context=ssl._create_unverified_context()))
    ftp.connect("127.0.0.1", peer.port, 20)
    ftp.login(peer.user, peer.password)
    return ftp


def ftp_logins(peer: Peer, plan: Plan) -> Figures:
    """Logins with the same password; milliseconds for each."""
    del plan
    return _logins(peer, _connected)


def ftps_logins(peer: Peer, plan: Plan) -> Figures:
    """The same by explicit TLS, each with a handshake of its own."""
    del plan
    return _logins(peer, _secured)


def _logins(peer: Peer, connect: Callable[[Peer, contextlib.ExitStack], ftplib.FTP]) -> Figures:
    with contextlib.ExitStack() as stack:
        connect(peer, stack).quit()  # the first one costs a slow hash where passwords are kept by one
    before, started = cpu(peer), time.monotonic()
    for _ in range(LOGINS):
        with contextlib.ExitStack() as stack:
            connect(peer, stack).quit()
    wall = time.monotonic() - started
    return {"ms": wall / LOGINS * 1000, "CPU ms": (cpu(peer) - before) / LOGINS * 1000}


def ftp_idle(peer: Peer, plan: Plan) -> Figures:
    """Logged-in control connections that do nothing: kB of memory (PSS) for each."""
    del plan
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            _connected(peer, stack)
        before = pss_bytes(peer.pid)
        for _ in range(IDLE):
            _connected(peer, stack)
        return {"kB each": (pss_bytes(peer.pid) - before) / IDLE / 1000}


# -- WebDAV ------------------------------------------------------------------------------------------------


def dav_large(peer: Peer, plan: Plan) -> Figures:
    return large(peer, plan, f"http://127.0.0.1:{peer.port}", "-H", "Expect:")


def _each(
    peer: Peer, count: int, ask: Callable[[http.client.HTTPConnection, int], None]
) -> tuple[float, float]:
    """Milliseconds of wall time and of the server's CPU for each of some requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=60)
    with contextlib.closing(connection):
        ask(connection, 0)
        before, started = cpu(peer), time.monotonic()
        for index in range(count):
            ask(connection, index)
        wall = time.monotonic() - started
        return wall / count * 1000, (cpu(peer) - before) / count * 1000


def _ask(
    peer: Peer,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | str | None = None,
) -> None:
    words = base64.b64encode(f"{peer.user}:{peer.password}".encode()).decode()
    headers = {"Authorization": f"Basic {words}", **({"Depth": "1"} if method == "PROPFIND" else {})}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status}")


def dav_small(peer: Peer, plan: Plan) -> Figures:
    """Small files, put and got again on one connection."""
    del plan
    turn = f"{time.monotonic_ns():x}"
    content = os.urandom(2048)
    put = _each(peer, SMALL, lambda c, index: _ask(peer, c, "PUT", f"/{turn}-{index}", content))
    get = _each(peer, SMALL, lambda c, index: _ask(peer, c, "GET", f"/{turn}-{index}"))
    for path in peer.home.glob(f"{turn}-*"):
        path.unlink()
    return {"get ms": get[0], "get CPU ms": get[1], "put ms": put[0], "put CPU ms": put[1]}


def dav_rclone(peer: Peer, plan: Plan) -> Figures:
    """Small files that rclone stores, four at a time; milliseconds for each."""
    program = fetch.rclone()
    if program is None:
        raise RuntimeError("rclone is not there")
    files = plan.scratch / "small"
    if not files.exists():
        files.mkdir()
        for index in range(BY_RCLONE):
            (files / f"{index}").write_bytes(os.urandom(2048))
    hidden = subprocess.run(
        [str(program), "obscure", peer.password], check=True, capture_output=True, text=True
    ).stdout.strip()
    remote = f":webdav,url='http://127.0.0.1:{peer.port}',vendor=other,user={peer.user},pass={hidden}:small"
    words = ["--config", os.devnull, "--retries", "1", "--transfers", "4", "--checkers", "4", "-q"]
    words += ["--webdav-pacer-min-sleep", "1us"]  # it would wait 10 ms between requests
    wall, used = timed(peer, [str(program), *words, "copy", str(files), remote])
    if len(list((peer.home / "small").iterdir())) != BY_RCLONE:
        raise RuntimeError("not all are there")
    shutil.rmtree(peer.home / "small")
    return {"ms": wall / BY_RCLONE * 1000, "CPU ms": used / BY_RCLONE * 1000}


def dav_listing(peer: Peer, plan: Plan) -> Figures:
    """PROPFIND of a directory with `NAMES` files."""
    del plan
    many = peer.home / "many"
    if not many.exists():
        many.mkdir()
        for index in range(NAMES):
            (many / f"file-{index:05}").touch()
    argv = ["curl", "-sSf", "-u", f"{peer.user}:{peer.password}", "-X", "PROPFIND", "-H", "Depth: 1"]
    argv += ["--data", _ASKED, "--max-time", str(SLOW_SECONDS), "-o", os.devnull]
    wall, used = timed(peer, [*argv, f"http://127.0.0.1:{peer.port}/many/"])
    return {"ms": wall * 1000, "CPU ms": used * 1000}


# -- a run -------------------------------------------------------------------------------------------------

Measure = Callable[[Peer, Plan], Figures]

ROWS: dict[str, dict[str, Measure]] = {
    "ftp": {
        "FTP, one large file": ftp_large,
        "FTPS, one large file": ftps_large,
        "FTP, lftp mirror of small files": ftp_mirror,
        "FTPS, lftp mirror of small files": ftps_mirror,
        "FTP, login": ftp_logins,
        "FTPS, login": ftps_logins,
        "FTP, idle connections": ftp_idle,
    },
    "dav": {
        "WebDAV, one large file": dav_large,
        "WebDAV, small files": dav_small,
        f"WebDAV, {BY_RCLONE} small files by rclone": dav_rclone,
        f"WebDAV, PROPFIND of {NAMES:,} entries": dav_listing,
    },
}
PEERS: dict[str, dict[str, Start]] = {"ftp": FTP, "dav": DAV}
SECURE = (ftps_large, ftps_mirror, ftps_logins)
ONCE = (ftp_idle, dav_listing)
"""Rows that hardly vary, and take long."""


def measured(peers: list[Peer], measure: Measure, plan: Plan, turns: int, end: float) -> Table:
    """All peers in turn, some times, or until the time is up: A B C A B C ..."""
    table = Table()
    for turn in range(1 if measure in ONCE else turns):
        if turn and time.monotonic() > end:
            break
        for peer in peers:
            if peer.name in table.missing:
                continue
            if measure in SECURE and not peer.tls:
                table.missing[peer.name] = "measured without TLS"
                continue
            try:
                table.runs.setdefault(peer.name, []).append(measure(peer, plan))
            except (RuntimeError, OSError, ftplib.Error, EOFError, subprocess.TimeoutExpired) as why:
                table.missing[peer.name] = " ".join(str(why).split())[:160]
    return table


def medians(table: Table) -> dict[str, Figures]:
    return {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in table.runs.items()
        if runs
    }


def shown(row: str, table: Table) -> list[str]:
    """The lines of a row."""
    found = medians(table)
    names = list(next(iter(found.values()), {}))
    lines = [
        f"### {row}",
        "",
        f"| server | {' | '.join(names)} | turns |",
        "|---|" + "---|" * (len(names) + 1),
    ]
    for name, figures in found.items():
        values = " | ".join(f"{figures[key]:.2f}" for key in names)
        lines.append(f"| {name} | {values} | {len(table.runs[name])} |")
    left = [f"{name}: {why}" for name, why in table.missing.items()]
    return [*lines, "", *(["Left out: " + "; ".join(left) + ".", ""] if left else [])]


def main() -> None:
    """Measure everything, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.doors", description=__doc__)
    parser.add_argument("--only", choices=list(ROWS), help="rows of one protocol")
    parser.add_argument("--mib", type=int, default=64, help="size of the large file")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--seconds", type=float, default=300, help="no second turn of a row begins after so long"
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    begun, end = time.monotonic(), time.monotonic() + given.seconds
    load = os.getloadavg()[0]
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="door-bench-", dir="/var/tmp") as made:
        work = Path(made)
        work.chmod(0o755)
        plan = Plan(work / "scratch", given.mib)
        plan.scratch.mkdir()
        pem = certificate(work)
        for protocol in [given.only] if given.only else list(ROWS):
            with contextlib.ExitStack() as stack:
                peers, missing = [], []
                for name, start in PEERS[protocol].items():
                    try:
                        peers.append(stack.enter_context(start(work / f"{protocol}-{name.split()[0]}", pem)))
                    except Missing as why:
                        missing.append(f"{name} ({' '.join(str(why).split())[:120]})")
                for row, measure in ROWS[protocol].items():
                    part = shown(row, measured(peers, measure, plan, given.turns, end))
                    print("\n".join(part), flush=True)
                    lines += part
                    write(given, lines, begun, load)
                if missing:
                    lines += [f"Not there: {', '.join(missing)}.", ""]
                    print(lines[-2], flush=True)
                write(given, lines, begun, load)


def write(given: argparse.Namespace, lines: list[str], begun: float, load: float) -> None:
    """Write what there is by now: a run that is cut short leaves its rows."""
    head = [
        "# FTP, FTPS and WebDAV against other servers",
        "",
        f"Written by `python -m bench.doors` on {datetime.now(UTC):%Y-%m-%d}; {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, load of the machine {load:.1f} at the beginning, "
        f"{time.monotonic() - begun:.0f} s. Medians of the turns, servers in turn; {given.mib} MiB for large files. "
        "CPU is that of the server. Figures of different runs do not compare.",
        "",
    ]
    given.output.write_text("\n".join([*head, *lines]))


def certificate(work: Path) -> Path:
    """A certificate and its key in one file."""
    pem = work / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-keyout", str(work / "key.pem"), "-out", str(work / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes((work / "key.pem").read_bytes() + (work / "cert.pem").read_bytes())
    pem.chmod(0o600)
    return pem


if __name__ == "__main__":
    main()
