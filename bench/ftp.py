# SPDX-License-Identifier: Apache-2.0
"""FTP and FTPS against vsftpd, ProFTPD and pyftpdlib in turn on one machine: ``python -m bench.ftp``.

Debian's FTP servers remove each other, so they are looked for below ``--peers``, where ``dpkg -x`` unpacked
them; what is not there is left out. Clients are curl and lftp; the server's CPU is that of all its processes.
vsftpd and ProFTPD log in as users of the system and need root.
"""

from __future__ import annotations

import argparse
import contextlib
import ftplib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.measure import cpu_seconds, pss_bytes
from bench.servers import free_port, wait_port

USER, PASSWORD = "ftpbench", "ftp-bench-pass-1"
MIB = 1 << 20
SMALL = 300
"""Small files of a mirror, 5 kB each."""
IDLE = 1000
"""Idle control connections that are held at once."""


@dataclass
class Peer:
    """A running server.

    Attributes:
        plain: its port, in the clear; TLS by AUTH there too.
        home: what USER sees.
    """

    name: str
    pid: int
    plain: int
    home: Path


@contextlib.contextmanager
def process(argv: list[str], port: int, log: Path, **environment: str) -> Iterator[int]:
    with log.open("wb") as output:
        running = subprocess.Popen(argv, stdout=output, stderr=output, env={**os.environ, **environment})
    try:
        wait_port("127.0.0.1", port, running)
        yield running.pid
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextlib.contextmanager
def tidegate(work: Path, pem: Path) -> Iterator[Peer]:
    port, home = free_port(), work / "files" / USER
    home.mkdir(parents=True)
    binding = {"port": port, "address": "127.0.0.1", "plain_login": True}
    binding |= {"certificate_file": str(pem), "certificate_key_file": str(pem)}
    settings = {
        "ftpd": {"bindings": [binding], "passive_port_range": {"start": 0, "end": 0}},
        "sftpd": {"bindings": [{"port": free_port(), "address": "127.0.0.1"}]},
        "httpd": {"bindings": []},
        "common": {"max_per_host_connections": 0},
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


_PYFTPDLIB = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
port, home, user, password = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_user(user, password, home, perm="elradfmwMT")
FTPHandler.authorizer = authorizer
server = FTPServer(("127.0.0.1", int(port)), FTPHandler)
server.max_cons = 5000
server.serve_forever()
"""


@contextlib.contextmanager
def pyftpdlib(work: Path, pem: Path) -> Iterator[Peer]:
    """Without TLS, which wants a library that is not among the tests' requirements."""
    del pem
    port, home = free_port(), work / "home"
    home.mkdir(parents=True)
    argv = [sys.executable, "-c", _PYFTPDLIB, str(port), str(home), USER, PASSWORD]
    with process(argv, port, work / "out") as pid:
        yield Peer("pyftpdlib", pid, port, home)


@contextlib.contextmanager
def vsftpd(work: Path, pem: Path, program: Path) -> Iterator[Peer]:
    port, home = free_port(), Path(f"/home/{USER}")
    work.mkdir(parents=True)
    (work / "empty").mkdir()
    config = work / "vsftpd.conf"
    config.write_text(
        f"listen=YES\nlisten_port={port}\nlisten_address=127.0.0.1\nbackground=NO\nlocal_enable=YES\n"
        f"write_enable=YES\nlocal_umask=022\nsecure_chroot_dir={work}/empty\npam_service_name=login\n"
        f"chroot_local_user=YES\nallow_writeable_chroot=YES\nssl_enable=YES\nallow_anon_ssl=NO\n"
        f"ftp_username=nobody\nforce_local_data_ssl=NO\nforce_local_logins_ssl=NO\nrsa_cert_file={pem}\nssl_ciphers=HIGH\n"
        "require_ssl_reuse=NO\nseccomp_sandbox=NO\nxferlog_enable=NO\n"
    )
    with process([str(program), str(config)], port, work / "out") as pid:
        yield Peer("vsftpd", pid, port, home)


@contextlib.contextmanager
def proftpd(work: Path, pem: Path, program: Path) -> Iterator[Peer]:
    """Without TLS: mod_tls is a package of its own."""
    del pem
    port, home = free_port(), Path(f"/home/{USER}")
    work.mkdir(parents=True)
    config = work / "proftpd.conf"
    config.write_text(
        f"ServerType standalone\nServerName bench\nDefaultAddress 127.0.0.1\nPort {port}\nUseIPv6 off\n"
        f"User nobody\nGroup nogroup\nUmask 022\nAuthOrder mod_auth_unix.c\nDefaultRoot ~\n"
        f"ModulePath {program.parents[1]}/lib/proftpd\nPidFile {work}/pid\nScoreboardFile {work}/score\n"
        f"SystemLog {work}/log\nTransferLog none\nWtmpLog off\nAllowOverwrite on\nMaxInstances none\n"
        "UseReverseDNS off\nRequireValidShell off\n"
    )
    libraries = ":".join(str(path) for path in (program.parents[1] / "lib").glob("*-linux-*"))
    argv = [str(program), "-n", "-q", "-c", str(config)]
    with process(argv, port, work / "out", LD_LIBRARY_PATH=libraries) as pid:
        yield Peer("ProFTPD", pid, port, home)


# -- rows --------------------------------------------------------------------------------------------------


def _timed(peer: Peer, argv: list[str]) -> tuple[float, float]:
    """Seconds of wall time, and of the server's CPU."""
    before, started = cpu_seconds(peer.pid), time.monotonic()
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{peer.name}: {done.returncode}: {done.stderr[-300:]}")
    return time.monotonic() - started, cpu_seconds(peer.pid) - before


def _curl(peer: Peer, *words: str, tls: bool) -> tuple[float, float]:
    more = ["--ssl-reqd", "-k"] if tls else []
    return _timed(peer, ["curl", "-sS", *more, "-u", f"{USER}:{PASSWORD}", *words])


def transfers(peer: Peer, scratch: Path, mib: int, *, tls: bool) -> dict[str, float]:
    """One large file down and up; seconds for a GiB."""
    big = peer.home / "big"
    if not big.exists():
        with big.open("wb") as file:
            file.truncate(mib * MIB)
        shutil.chown(big, *((USER, USER) if peer.home.parts[1] == "home" else (0, 0)))
        big.read_bytes()
    source = scratch / "source"
    if not source.exists():
        with source.open("wb") as file:
            file.truncate(mib * MIB)
    url = f"ftp://127.0.0.1:{peer.plain}"
    down = _curl(peer, f"{url}/big", "-o", "/dev/null", tls=tls)
    up = _curl(peer, "-T", str(source), f"{url}/up", tls=tls)
    if (peer.home / "up").stat().st_size != mib * MIB:
        raise RuntimeError(f"{peer.name}: the upload is not whole")
    each = 1024 / mib
    return {
        "down s/GiB": down[0] * each, "down CPU s/GiB": down[1] * each,
        "up s/GiB": up[0] * each, "up CPU s/GiB": up[1] * each,
    }  # fmt: skip


def mirror(peer: Peer, scratch: Path, *, tls: bool) -> dict[str, float]:
    """Small files by lftp; milliseconds for each, down and up."""
    tree = scratch / "tree"
    if not tree.exists():
        tree.mkdir()
        for index in range(SMALL):
            (tree / f"{index}").write_bytes(os.urandom(5000))
    word = "yes" if tls else "no"
    head = f"set ssl:verify-certificate no; set ftp:ssl-allow {word}; set ftp:ssl-force {word}; "
    head += f"set ftp:ssl-protect-data {word}; open -u {USER},{PASSWORD} ftp://127.0.0.1:{peer.plain}; "
    target = scratch / "down"
    shutil.rmtree(target, ignore_errors=True)
    up = _timed(peer, ["lftp", "-c", f"{head}mirror -R {tree} tree"])
    down = _timed(peer, ["lftp", "-c", f"{head}mirror tree {target}"])
    _timed(peer, ["lftp", "-c", f"{head}rm -r tree"])
    if len(list(target.iterdir())) != SMALL:
        raise RuntimeError(f"{peer.name}: the mirror is not whole")
    return {"down ms": down[0] / SMALL * 1000, "up ms": up[0] / SMALL * 1000}


def logins(peer: Peer, count: int = 50) -> dict[str, float]:
    """Logins in the clear, with the same password; the server's CPU in milliseconds for each."""
    before = cpu_seconds(peer.pid)
    for _ in range(count):
        with ftplib.FTP() as ftp:
            ftp.connect("127.0.0.1", peer.plain, 20)
            ftp.login(USER, PASSWORD)
    return {"CPU ms": (cpu_seconds(peer.pid) - before) / count * 1000}


def idle(peer: Peer) -> dict[str, float]:
    """Logged-in control connections that do nothing: kB of memory (PSS) for each."""
    with contextlib.ExitStack() as stack:

        def connected() -> None:
            ftp = stack.enter_context(ftplib.FTP())
            ftp.connect("127.0.0.1", peer.plain, 20)
            ftp.login(USER, PASSWORD)

        for _ in range(20):
            connected()
        before = pss_bytes(peer.pid)
        for _ in range(IDLE):
            connected()
        return {"kB each": (pss_bytes(peer.pid) - before) / IDLE / 1000}


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


def main() -> None:
    """Measure, and print one line for each row and server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, default=Path("/nonexistent"), help="where peers are unpacked")
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", default="", help="only rows whose name holds this")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ftp-bench-", dir="/var/tmp")))
        pem = certificate(work)
        scratch = work / "scratch"
        scratch.mkdir()
        peers = [stack.enter_context(tidegate(work / "tidegate", pem))]
        peers.append(stack.enter_context(pyftpdlib(work / "pyftpdlib", pem)))
        if os.geteuid() == 0 and Path(f"/home/{USER}").is_dir():
            for start in (vsftpd, proftpd):
                program = given.peers / "usr" / "sbin" / start.__name__
                if not program.exists():
                    continue
                try:
                    peers.append(stack.enter_context(start(work / start.__name__, pem, program)))
                except RuntimeError as why:
                    print(f"{start.__name__} left out: {why}", flush=True)
        rows = {
            "plain": lambda peer: transfers(peer, scratch, given.mib, tls=False),
            "TLS": lambda peer: transfers(peer, scratch, given.mib, tls=True),
            "lftp mirror, plain": lambda peer: mirror(peer, scratch, tls=False),
            "lftp mirror, TLS": lambda peer: mirror(peer, scratch, tls=True),
            "login": logins,
            "idle": idle,
        }
        for row, measure in rows.items():
            if given.rows not in row:
                continue
            found: dict[str, list[dict[str, float]]] = {}
            for _ in range(given.turns):
                for peer in peers:
                    if "TLS" in row and peer.name in ("pyftpdlib", "ProFTPD"):
                        continue
                    runs_of = found.setdefault(peer.name, [])
                    try:
                        runs_of.append(measure(peer))
                    except (RuntimeError, OSError, ftplib.Error, EOFError) as why:
                        print(f"{row:20} {peer.name:12} failed: {why}", flush=True)
            for name, runs in found.items():
                if not runs:
                    continue
                figures = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                print(
                    f"{row:20} {name:12} " + "  ".join(f"{k} {v:.2f}" for k, v in figures.items()), flush=True
                )


if __name__ == "__main__":
    main()
