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

from bench.clients import finish, options, scp, sftp, sftp_process
from bench.measure import Timer, pss_bytes, settle
from bench.servers import HERE, Missing, Server, free_port, wait_port

Figures = dict[str, float]
_numbers = itertools.count()
LISTED = 20_000
"""Names of the directory for ``ls -l``."""
GCM = "aes128-gcm@openssh.com"
PEERS = ("asyncssh", "paramiko", "rclone")
COUNTER = ("rclone", "ProFTPD")
"""Peers that rows with AES in counter mode show."""
PART = 256 << 20


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

    @property
    def part(self) -> int:
        """Bytes of the file "part", a beginning of the big one: for distance, and for clients in Python."""
        return min(self.big, PART)


@dataclass
class Row:
    name: str
    run: Callable[[Server, Plan, Path], Figures]
    peers: tuple[str, ...] = PEERS
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
    part = files / "part"  # before a server starts: rclone remembers what a directory held
    if not part.exists() or part.stat().st_size != plan.part:
        with part.open("wb") as stream:
            subprocess.run(["head", "-c", str(plan.part), str(big)], stdout=stream, check=True)
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


def _per_gib(timer: Timer, size: int) -> Figures:
    return {"cpu s/GiB": timer.cpu * (1 << 30) / size, "wall s/GiB": timer.wall * (1 << 30) / size}


def _same_size(server: Server, path: Path, size: int) -> None:
    if path.stat().st_size != size:
        raise RuntimeError(f"{server.name}: short file")
    path.unlink()


def client(script: str, verb: str) -> Callable[[Server, Plan, Path], Figures]:
    """A client from `bench/peers/` with the algorithms that it chooses itself."""

    def run(server: Server, plan: Plan, scratch: Path) -> Figures:
        size = plan.part
        there, here = ("part", scratch / "got") if verb == "get" else ("in/put", server.files / "part")
        words = [
            server.address,
            str(server.port),
            server.user,
            str(server.key),
            verb,
            server.remote(there),
            str(here),
        ]
        with Timer(server.pid) as timer:
            finish(
                subprocess.Popen(
                    [sys.executable, str(HERE / "peers" / script), *words],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                )
            )  # fmt: skip
        _same_size(server, here if verb == "get" else server.files / "in" / "put", size)
        return _per_gib(timer, size)

    return run


def mounted(server: Server, plan: Plan, scratch: Path) -> Figures:
    """Reading a file from beginning to end through a mount by sshfs that was made for it."""
    if shutil.which("sshfs") is None or not Path("/dev/fuse").exists():
        raise Missing("sshfs or /dev/fuse is not there")
    mount = scratch / f"mount-{next(_numbers)}"
    mount.mkdir()
    with Timer(server.pid) as timer:
        subprocess.run(
            ["sshfs", f"{server.user}@{server.address}:{server.remote('')}", str(mount), *options(server)], check=True
        )  # fmt: skip
        try:
            read = subprocess.run(
                ["dd", f"if={mount}/big", "of=/dev/null", "bs=1M"], check=True, capture_output=True, text=True
            )
        finally:
            subprocess.run(["fusermount3", "-u", str(mount)], check=True)
    if f"{plan.big} bytes" not in read.stderr:
        raise RuntimeError(f"{server.name}: short file")
    return {"cpu s/GiB": timer.cpu / plan.gib, "wall s/GiB": timer.wall / plan.gib}


def _scp(server: Server, source: str, target: str, *, recursive: bool = False) -> None:
    try:
        scp(server, source, target, recursive=recursive)
    except RuntimeError as error:
        if server.name == "OpenSSH":
            raise
        raise Missing(str(error).splitlines()[0]) from error


def scp_get(server: Server, plan: Plan, scratch: Path) -> Figures:
    target = scratch / "got"
    with Timer(server.pid) as timer:
        _scp(server, f":{server.remote('big')}", str(target))
    _same_size(server, target, plan.big)
    return _per_gib(timer, plan.big)


def scp_put(server: Server, plan: Plan, scratch: Path) -> Figures:
    with Timer(server.pid) as timer:
        _scp(server, str(server.files / "big"), f":{server.remote('in/put')}")
    _same_size(server, server.files / "in" / "put", plan.big)
    return _per_gib(timer, plan.big)


def scp_small(verb: str) -> Callable[[Server, Plan, Path], Figures]:
    def run(server: Server, plan: Plan, scratch: Path) -> Figures:
        target = _fresh(scratch if verb == "get" else server.files / "in")
        with Timer(server.pid) as timer:
            if verb == "get":
                _scp(server, f":{server.remote('small')}", str(target), recursive=True)
            else:
                _scp(
                    server,
                    str(server.files / "small"),
                    f":{server.remote('in')}/{target.name}",
                    recursive=True,
                )
        if len(list(target.iterdir())) != plan.small_files:
            raise RuntimeError(f"{server.name}: files are missing")
        return {
            "cpu ms/file": timer.cpu * 1e3 / plan.small_files,
            "wall ms/file": timer.wall * 1e3 / plan.small_files,
        }

    return run


ONE_WAY_MS = 50


def distant(server: Server, plan: Plan, scratch: Path) -> Figures:
    """A client 100 ms away, behind a relay that keeps every byte for 50 ms in each direction."""
    size = plan.part
    far = copy.copy(server)
    far.port = free_port()
    relay = subprocess.Popen(
        [sys.executable, str(HERE / "peers" / "delay.py"), str(far.port), str(server.port), str(ONE_WAY_MS)]
    )
    try:
        wait_port("127.0.0.1", far.port, relay)
        with Timer(server.pid) as timer:
            sftp(far, f"get {server.remote('part')} {scratch}/far")
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
    Row("get, aes128-ctr hmac-sha2-256", get("aes128-ctr hmac-sha2-256"), COUNTER),
    Row("put, aes128-ctr hmac-sha2-256", put("aes128-ctr hmac-sha2-256"), COUNTER),
    Row("get, aes256-ctr hmac-sha2-512", get("aes256-ctr hmac-sha2-512"), ()),
    Row("put, aes256-ctr hmac-sha2-512", put("aes256-ctr hmac-sha2-512"), ()),
    Row("get by paramiko's client", client("paramiko_client.py", "get"), COUNTER, pairs=3),
    Row("put by paramiko's client", client("paramiko_client.py", "put"), COUNTER, pairs=3),
    Row("get by asyncssh's client", client("asyncssh_client.py", "get"), ("rclone",), pairs=3),
    Row("put by asyncssh's client", client("asyncssh_client.py", "put"), ("rclone",), pairs=3),
    Row("read through sshfs", mounted, ("rclone", "ProFTPD"), pairs=3),
    Row("scp -O, get", scp_get, ()),
    Row("scp -O, put", scp_put, ()),
    Row("get -r small files", get_small, (*PEERS, "ProFTPD")),
    Row("put -r small files", put_small, (*PEERS, "ProFTPD")),
    Row("scp -O -r, get of small files", scp_small("get"), ()),
    Row("scp -O -r, put of small files", scp_small("put"), ()),
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
