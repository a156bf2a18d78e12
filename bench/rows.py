"""The rows that are measured. Each runs one exchange against one server and returns figures by name."""

from __future__ import annotations

import asyncio
import copy
import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.clients import finish, options, sftp, sftp_process
from bench.measure import Timer, pss_bytes, settle
from bench.servers import HERE, Server, free_port, wait_port

Figures = dict[str, float]
_numbers = itertools.count()
LISTED = 20_000
"""Names of the directory for ``ls -l``."""
GCM = "aes128-gcm@openssh.com"


@dataclass
class Plan:
    """Sizes of a run."""

    big: int = 1 << 30
    small_files: int = 2000
    small_size: int = 2048
    entries: int = 100_000
    logins: int = 60
    idle: int = 500
    pairs: int = 5

    @property
    def gib(self) -> float:
        return self.big / (1 << 30)


@dataclass
class Row:
    name: str
    run: Callable[[Server, Plan, Path], Figures]
    peers: tuple[str, ...] = ("asyncssh", "paramiko")
    pairs: int | None = None


def prepare(files: Path, plan: Plan) -> None:
    """Make the files that the servers serve. They are not sparse: a hole costs no disk, but no server may profit."""
    files.mkdir(parents=True, exist_ok=True)
    big = files / "big"
    if not big.exists() or big.stat().st_size != plan.big:
        with big.open("wb") as stream, Path("/dev/urandom").open("rb") as random:
            block = random.read(1 << 20)
            for _ in range(plan.big >> 20):
                stream.write(block)
    small = files / "small"
    if not small.exists():
        small.mkdir()
        for i in range(plan.small_files):
            (small / f"file{i:05}").write_bytes(bytes(plan.small_size))
    many = files / "many"
    if not many.exists():
        many.mkdir()
        for i in range(plan.entries):
            (many / f"an-ordinary-name-{i:06}.txt").touch()
    listed = files / "listed"
    if not listed.exists():
        listed.mkdir()
        for i in range(LISTED):
            (listed / f"an-ordinary-name-{i:06}.txt").touch()
    shutil.rmtree(files / "in", ignore_errors=True)
    (files / "in").mkdir()


def get(cipher: str) -> Callable[[Server, Plan, Path], Figures]:
    def run(server: Server, plan: Plan, scratch: Path) -> Figures:
        target = scratch / "got"
        with Timer(server.pid) as timer:
            sftp(server, f"get {server.remote('big')} {target}", cipher=cipher)
        if target.stat().st_size != plan.big:
            raise RuntimeError(f"{server.name}: short file")
        target.unlink()
        return {"cpu s/GiB": timer.cpu / plan.gib, "wall s/GiB": timer.wall / plan.gib}

    return run


def put(cipher: str) -> Callable[[Server, Plan, Path], Figures]:
    def run(server: Server, plan: Plan, scratch: Path) -> Figures:
        target = server.files / "in" / "put"
        with Timer(server.pid) as timer:
            sftp(server, f"put {server.files / 'big'} {server.remote('in/put')}", cipher=cipher)
        if target.stat().st_size != plan.big:
            raise RuntimeError(f"{server.name}: short file")
        target.unlink()
        return {"cpu s/GiB": timer.cpu / plan.gib, "wall s/GiB": timer.wall / plan.gib}

    return run


def _fresh(folder: Path) -> Path:
    """A name that was never used. Nothing is removed between runs: ext4 does not reuse an inode that was freed
    within the last seconds, and looks at each of them whenever it creates a file, which costs 0.5 ms and more
    after 2000 files were removed and hides what is measured."""
    return folder / f"small-{next(_numbers)}"


def get_small(server: Server, plan: Plan, scratch: Path) -> Figures:
    target = _fresh(scratch)
    with Timer(server.pid) as timer:
        sftp(server, f"get -r {server.remote('small')} {target}")
    if len(list(target.iterdir())) != plan.small_files:
        raise RuntimeError(f"{server.name}: files are missing")
    return {
        "cpu ms/file": timer.cpu * 1e3 / plan.small_files,
        "wall ms/file": timer.wall * 1e3 / plan.small_files,
    }


def put_small(server: Server, plan: Plan, scratch: Path) -> Figures:
    target = _fresh(server.files / "in")
    with Timer(server.pid) as timer:
        sftp(server, f"put -r {server.files / 'small'} {server.remote('in')}/{target.name}")
    if len(list(target.iterdir())) != plan.small_files:
        raise RuntimeError(f"{server.name}: files are missing")
    return {
        "cpu ms/file": timer.cpu * 1e3 / plan.small_files,
        "wall ms/file": timer.wall * 1e3 / plan.small_files,
    }


def listing(server: Server, plan: Plan, scratch: Path) -> Figures:
    with Timer(server.pid) as timer:
        sftp(server, f"ls -f1 {server.remote('many')}")
    return {"cpu s": timer.cpu, "wall s": timer.wall}


def long_listing(server: Server, plan: Plan, scratch: Path) -> Figures:
    with Timer(server.pid) as timer:
        sftp(server, f"ls -l {server.remote('listed')}")
    return {"cpu s": timer.cpu, "wall s": timer.wall}


def only_logins(server: Server, plan: Plan, scratch: Path) -> Figures:
    """Logins one after the other, and nothing else: the client asks for its directory and goes."""
    with Timer(server.pid) as timer:
        for _ in range(plan.logins):
            sftp(server, "pwd")
    return {"cpu ms/login": timer.cpu * 1e3 / plan.logins, "wall ms/login": timer.wall * 1e3 / plan.logins}


def logins(server: Server, plan: Plan, scratch: Path) -> Figures:
    with Timer(server.pid) as timer:
        for _ in range(plan.logins):
            sftp(server, f"ls {server.remote('in')}")
    return {"cpu ms/login": timer.cpu * 1e3 / plan.logins, "wall ms/login": timer.wall * 1e3 / plan.logins}


def parallel(count: int) -> Callable[[Server, Plan, Path], Figures]:
    def run(server: Server, plan: Plan, scratch: Path) -> Figures:
        with Timer(server.pid) as timer:
            batch = [
                sftp_process(server, f"get {server.remote('big')} {scratch}/got{i}") for i in range(count)
            ]
            for process in batch:
                finish(process)
        for i in range(count):
            (scratch / f"got{i}").unlink()
        return {"cpu s/GiB": timer.cpu / plan.gib / count, "wall s/GiB": timer.wall / plan.gib / count}

    return run


def idle(server: Server, plan: Plan, scratch: Path) -> Figures:
    """Memory of idle SFTP sessions, and a transfer beside them."""
    settle(server.pid)
    before = pss_bytes(server.pid)

    async def hold() -> Figures:
        import asyncssh

        async def one() -> tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient]:
            connection = await asyncssh.connect(
                server.address, server.port, username=server.user, client_keys=[str(server.key)], known_hosts=None,
                encryption_algs=[GCM], config=None, login_timeout=120,
            )  # fmt: skip
            client = await connection.start_sftp_client()
            await client.stat(".")
            return connection, client

        held = []
        for start in range(0, plan.idle, 10):
            held += await asyncio.gather(*(one() for _ in range(min(10, plan.idle - start))))
        memory = (pss_bytes(server.pid) - before) / plan.idle
        process = sftp_process(server, f"get {server.remote('big')} {scratch}/beside")
        begun = time.perf_counter()
        await asyncio.to_thread(finish, process)
        wall = time.perf_counter() - begun
        (scratch / "beside").unlink()
        for connection, _ in held:
            connection.close()
        for connection, _ in held:
            await connection.wait_closed()
        return {"kB/session": memory / 1024, "wall s/GiB beside": wall / plan.gib}

    return asyncio.run(hold())


ONE_WAY_MS = 50


def distant(server: Server, plan: Plan, scratch: Path) -> Figures:
    """A client 100 ms away, behind a relay that keeps every byte for 50 ms in each direction."""
    size = min(plan.big, 256 << 20)
    source = server.files / "far"
    if not source.exists() or source.stat().st_size != size:
        subprocess.run(
            ["head", "-c", str(size), str(server.files / "big")], stdout=source.open("wb"), check=True
        )
    far = copy.copy(server)
    far.port = free_port()
    relay = subprocess.Popen(
        [sys.executable, str(HERE / "peers" / "delay.py"), str(far.port), str(server.port), str(ONE_WAY_MS)]
    )
    try:
        wait_port("127.0.0.1", far.port, relay)
        with Timer(server.pid) as timer:
            sftp(far, f"get {server.remote('far')} {scratch}/far")
        figures = {"get MB/s": size / 1e6 / timer.wall}
        with Timer(server.pid) as timer:
            sftp(far, f"put {scratch}/far {server.remote('in/far')}")
        figures["put MB/s"] = size / 1e6 / timer.wall
    finally:
        relay.terminate()
        relay.wait()
    (scratch / "far").unlink()
    (server.files / "in" / "far").unlink()
    return figures


ROWS = [
    Row("get, aes128-gcm", get(GCM)),
    Row("put, aes128-gcm", put(GCM)),
    Row("get, aes256-gcm", get("aes256-gcm@openssh.com"), ()),
    Row("put, aes256-gcm", put("aes256-gcm@openssh.com"), ()),
    Row("get, chacha20-poly1305", get("chacha20-poly1305@openssh.com"), ("asyncssh",)),
    Row("put, chacha20-poly1305", put("chacha20-poly1305@openssh.com"), ("asyncssh",)),
    Row("get, aes256-ctr etm", get("aes256-ctr"), ("asyncssh",)),
    Row("put, aes256-ctr etm", put("aes256-ctr"), ("asyncssh",)),
    Row("get, aes128-ctr hmac-sha2-256", get("aes128-ctr hmac-sha2-256"), ()),
    Row("put, aes128-ctr hmac-sha2-256", put("aes128-ctr hmac-sha2-256"), ()),
    Row("get, aes256-ctr hmac-sha2-512", get("aes256-ctr hmac-sha2-512"), ()),
    Row("put, aes256-ctr hmac-sha2-512", put("aes256-ctr hmac-sha2-512"), ()),
    Row("get -r small files", get_small),
    Row("put -r small files", put_small),
    Row("ls of a large directory", listing),
    Row("ls -l of 20,000 names", long_listing, ("asyncssh",)),
    Row("login and ls", logins),
    Row("login and pwd", only_logins, ("asyncssh",)),
    Row("4 clients, get", parallel(4), ()),
    Row("8 clients, get", parallel(8), (), pairs=2),
    Row("idle sessions", idle, ("asyncssh",), pairs=1),
    Row("100 ms away", distant, ("asyncssh",), pairs=1),
]
__all__ = ["ROWS", "Plan", "Row", "options", "prepare"]
