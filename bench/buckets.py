"""A bucket as a home: Tidegate against ``rclone serve sftp`` on the same bucket: ``python -m bench.buckets [--quick]``.

SeaweedFS on this machine, behind a relay that adds 10 ms each way to whatever a server and the bucket say to each
other (`bench/peers/delay.py`). Client: OpenSSH's sftp. Both servers in turn; log level info; processor time is user +
system of the server alone. Memory is the proportional set size of the server's processes: the base is what it holds
after one small transfer, when all code is loaded; above it is the most that was seen, 20 times a second, while eight
large files went at the same time, divided by eight.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

from bench import fetch
from bench.clients import finish, make_key, sftp, sftp_process
from bench.measure import Timer, pss_bytes
from bench.report import interpreter_ms
from bench.servers import HERE, Missing, Rclone, Server, Tidegate, free_port
from tests.support.many_objects import fill
from tests.support.object_servers import ObjectServer, seaweedfs

DELAY_MS = 10
"""Milliseconds that each way takes."""
SMALL_BYTES = 4096
STREAMS = 8
MIB = 1 << 20
BESIDE = "Tidegate before"

Figures = dict[str, float]


@dataclass
class Plan:
    """Sizes of a run."""

    big: int = 1 << 30
    small: int = 1000
    keys: int = 100_000
    stream: int = 128 * MIB
    turns: int = 3

    @property
    def gib(self) -> float:
        return self.big / (1 << 30)


TARGETS = [
    ("put -r small files", "wall s", 0.5, 0.25),
    ("get -r small files", "wall s", 0.5, 0.25),
    ("put a large file", "wall s", 1 / 1.2, 1 / 1.2),
    ("get a large file", "wall s", 1 / 1.2, 1 / 1.2),
    ("put a large file", "cpu s/GiB", 0.5, 0.5),
    ("get a large file", "cpu s/GiB", 0.5, 0.5),
    ("ls of a directory", "wall s", 1.0, 1.0),
]
"""Row, figure, and the ratio to rclone that it must have, and the aim."""
ABSOLUTE = [
    ("put a large file", "cpu s/GiB", 2.0),
    ("get a large file", "cpu s/GiB", 2.0),
    ("put, 8 at once", "MiB/stream", 16.0),
    ("get, 8 at once", "MiB/stream", 16.0),
]
"""Row, figure, and what it must not exceed; of memory 64 MiB for all streams come on top."""


class TidegateBucket(Tidegate):
    """Tidegate with a home in the bucket."""

    def __init__(self, work: Path, files: Path, key: Path, config: dict[str, object]) -> None:
        super().__init__(work, files, key)
        self.config = config

    def command(self) -> list[str]:
        program = super().command()
        document = {"filesystem": {"provider": 1, "s3config": self.config}}
        path = self.work / "account.json"
        path.write_text(json.dumps(document))
        path.chmod(0o600)
        words = [program[0], "user", "set", self.user, "-c", str(self.work), "--document", str(path)]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return program


class TidegateBefore(TidegateBucket):
    """Another checkout."""

    name = BESIDE
    source = ""

    def command(self) -> list[str]:
        program = super().command()
        code = "import sys; from tidegate.cli.main import main; sys.argv[0] = 'tidegate'; main()"
        return ["env", f"PYTHONPATH={self.source}", sys.executable, "-c", code, *program[1:]]


class RcloneBucket(Rclone):
    """rclone on the same bucket."""

    def __init__(self, work: Path, files: Path, key: Path, config: dict[str, object]) -> None:
        super().__init__(work, files, key)
        self.config = config

    def command(self) -> list[str]:
        words = super().command()
        if "--dir-cache-time" in words:
            at = words.index("--dir-cache-time")
            del words[at : at + 2]  # the bucket is nobody else's: rclone keeps directories, as by default
        words[words.index(str(self.files))] = f"bucket:{self.config['bucket']}"
        names = {
            "type": "s3", "provider": "Other", "endpoint": self.config["endpoint"], "region": "us-east-1",
            "access_key_id": self.config["access_key"], "secret_access_key": self.config["access_secret"],
        }  # fmt: skip
        return [
            "env",
            "-u",
            "AWS_CA_BUNDLE",  # older releases do not start with it
            *(f"RCLONE_CONFIG_BUCKET_{name.upper()}={value}" for name, value in names.items()),
            *words,
        ]

    def start(self) -> None:
        super().start()
        assert self.process
        time.sleep(0.1)  # env has become rclone


@contextlib.contextmanager
def relay(target: int) -> Iterator[int]:
    port = free_port()
    words = [sys.executable, str(HERE / "peers" / "delay.py"), str(port), str(target), str(DELAY_MS)]
    process = subprocess.Popen(words)
    try:
        for _ in range(200):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5),
            ):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@dataclass
class World:
    plan: Plan
    store: ObjectServer
    bucket: str
    files: Path
    scratch: Path
    number: int = 0

    def fresh(self, name: str) -> str:
        self.number += 1
        return f"{name}-{self.number}"


def remove(world: World, prefix: str) -> None:
    while True:
        found = world.store.admin.list_objects_v2(Bucket=world.bucket, Prefix=prefix).get("Contents", ())
        if not found:
            return
        keys = [{"Key": one["Key"]} for one in found]
        world.store.admin.delete_objects(Bucket=world.bucket, Delete={"Objects": keys, "Quiet": True})


def put_large(server: Server, world: World) -> Figures:
    name = world.fresh("put")
    with Timer(server.pid) as timer:
        sftp(server, f"put {world.files / 'big'} /{name}")
    size = world.store.admin.head_object(Bucket=world.bucket, Key=name)["ContentLength"]
    if size != world.plan.big:
        raise RuntimeError(f"{server.name}: {size} bytes are stored")
    remove(world, name)
    return {"wall s": timer.wall, "cpu s/GiB": timer.cpu / world.plan.gib}


def get_large(server: Server, world: World) -> Figures:
    target = world.scratch / "got"
    with Timer(server.pid) as timer:
        sftp(server, f"get /big {target}")
    if target.stat().st_size != world.plan.big:
        raise RuntimeError(f"{server.name}: short file")
    target.unlink()
    return {"wall s": timer.wall, "cpu s/GiB": timer.cpu / world.plan.gib}


def put_small(server: Server, world: World) -> Figures:
    name = world.fresh("small")
    with Timer(server.pid) as timer:
        sftp(server, f"put -r {world.files / 'small'} /{name}")
    pages = world.store.admin.get_paginator("list_objects_v2").paginate(
        Bucket=world.bucket, Prefix=f"{name}/"
    )
    stored = sum(one["Size"] == SMALL_BYTES for page in pages for one in page.get("Contents", ()))
    if stored != world.plan.small:
        raise RuntimeError(f"{server.name}: {stored} files are stored")
    remove(world, name)
    return {"wall s": timer.wall, "cpu ms/file": timer.cpu * 1e3 / world.plan.small}


def get_small(server: Server, world: World) -> Figures:
    target = world.scratch / world.fresh("small")
    with Timer(server.pid) as timer:
        sftp(server, f"get -r /small {target}")
    if len(list(target.iterdir())) != world.plan.small:
        raise RuntimeError(f"{server.name}: files are missing")
    shutil.rmtree(target)
    return {"wall s": timer.wall, "cpu ms/file": timer.cpu * 1e3 / world.plan.small}


def listing(server: Server, world: World) -> Figures:
    with Timer(server.pid) as timer:
        sftp(server, "ls -f1 /many")
    return {"wall s": timer.wall, "cpu s": timer.cpu}


@dataclass
class Watch:
    """The most memory that a server was seen to hold."""

    pid: int
    most: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._end.wait(0.05):
            self.most = max(self.most, pss_bytes(self.pid))

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()


def memory(verb: str) -> Callable[[Server, World], Figures]:
    def run(server: Server, world: World) -> Figures:
        sftp(server, f"get /small/file00000 {world.scratch / 'one'}")
        base = pss_bytes(server.pid)
        with Watch(server.pid) as watch:
            running = []
            for number in range(STREAMS):
                batch = (
                    f"put {world.files / 'stream'} /stream-{number}"
                    if verb == "put"
                    else f"get /stream {world.scratch}/stream-{number}"
                )
                running.append(sftp_process(server, batch))
            for one in running:
                finish(one)
        if verb == "put":
            remove(world, "stream-")
        for path in world.scratch.glob("stream-*"):
            path.unlink()
        return {"base MiB": base / MIB, "above MiB": (watch.most - base) / MIB,
                "MiB/stream": (watch.most - base) / MIB / STREAMS}  # fmt: skip

    return run


ROWS: list[tuple[str, Callable[[Server, World], Figures]]] = [
    ("put a large file", put_large),
    ("get a large file", get_large),
    ("put -r small files", put_small),
    ("get -r small files", get_small),
    ("ls of a directory", listing),
    ("put, 8 at once", memory("put")),
    ("get, 8 at once", memory("get")),
]


def prepare(world: World) -> None:
    world.files.mkdir()
    small = world.files / "small"
    small.mkdir()
    block = os.urandom(MIB)
    for name, size in (("big", world.plan.big), ("stream", world.plan.stream)):
        with (world.files / name).open("wb") as stream:
            for _ in range(size // MIB):
                stream.write(block)
        world.store.admin.upload_file(str(world.files / name), world.bucket, name)
    for number in range(world.plan.small):
        (small / f"file{number:05}").write_bytes(block[:SMALL_BYTES])
        world.store.admin.put_object(
            Bucket=world.bucket, Key=f"small/file{number:05}", Body=block[:SMALL_BYTES]
        )


def judged(found: dict[str, dict[str, Figures]]) -> Iterator[str]:
    for row, figure, must, aim in TARGETS:
        if row in found and "rclone" in found[row]:
            ratio = found[row]["Tidegate"][figure] / found[row]["rclone"][figure]
            verdict = "aim" if ratio <= aim else "pass" if ratio <= must else "FALLS SHORT"
            yield f"| {row} | {figure}, Tidegate / rclone | {ratio:.2f} | {must:.2f} | {verdict} |"
    for row, figure, most in ABSOLUTE:
        if row in found:
            value = found[row]["Tidegate"][figure]
            above = found[row]["Tidegate"].get("above MiB")
            good = value <= most if above is None else above <= 64 + most * STREAMS
            yield f"| {row} | {figure} | {value:.2f} | {most:.2f} | {'pass' if good else 'FALLS SHORT'} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.buckets", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="128 MiB, 200 files, 5,000 keys")
    parser.add_argument("--rows", default="", help="only rows whose name contains this")
    parser.add_argument("--turns", type=int, help="runs of each server")
    parser.add_argument("--beside", default="", help="src of another checkout, measured in turn")
    parser.add_argument("--alone", action="store_true", help="without rclone")
    chosen = parser.parse_args()
    plan = Plan(big=128 * MIB, small=200, keys=5000, stream=32 * MIB) if chosen.quick else Plan()
    plan.turns = chosen.turns or plan.turns
    rows = [row for row in ROWS if chosen.rows in row[0]]
    base = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    servers: list[Server] = []
    found: dict[str, dict[str, Figures]] = {}
    try:
        with seaweedfs(base / "weed") as store, relay(urlsplit(store.endpoint).port or 80) as port:
            world = World(plan, store, store.bucket(), base / "files", base / "scratch")
            world.scratch.mkdir()
            prepare(world)
            if any("ls" in name for name, _ in rows):
                fill(store, world.bucket, "many", plan.keys)
            key = make_key(base)
            config = {**store.options(world.bucket), "endpoint": f"http://127.0.0.1:{port}"}
            kinds: list[type] = [TidegateBucket] if chosen.alone else [TidegateBucket, RcloneBucket]
            if chosen.beside:
                TidegateBefore.source = chosen.beside
                kinds.append(TidegateBefore)
            for kind in kinds:
                server = kind(base, world.files, key, config)
                try:
                    server.start()
                except Missing as why:
                    print(f"{server.name} is left out: {why}", flush=True)
                    continue
                servers.append(server)
                sftp(server, f"get /small/file00000 {world.scratch / 'one'}")
            print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, rclone {fetch.RCLONE}; "
                  f"{plan}", flush=True)  # fmt: skip
            for name, run in rows:
                print(
                    f"{name} (reference loop: {interpreter_ms():.0f} ms, load {os.getloadavg()[0]:.1f})",
                    flush=True,
                )
                runs: dict[str, list[Figures]] = {server.name: [] for server in servers}
                for _ in range(plan.turns):
                    for server in servers:
                        runs[server.name].append(run(server, world))
                found[name] = {
                    server: {figure: median(one[figure] for one in some) for figure in some[0]}
                    for server, some in runs.items()
                }
                for server, figures in found[name].items():
                    print(f"  {server:16}", "  ".join(f"{n} {v:.2f}" for n, v in figures.items()), flush=True)
            print("\n| row | figure | value | must | verdict |\n|---|---|---|---|---|")
            for line in judged(found):
                print(line)
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    sys.exit(main())
