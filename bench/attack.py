# SPDX-License-Identifier: Apache-2.0
"""Logged-in users beside attacks: ``python -m bench.attack [--quick]``.

Each attack runs in turn with quiet (quiet, attack, quiet, attack ...) while one user loads a file with OpenSSH's
client, as fast as a line of 1 Gbit/s carries it and as fast as it can, and another asks for a `stat` again and again.
Attackers are processes of their own on the same machine. The server and its users run with a higher priority where
that is allowed (nice -10, attackers 0): what they wait for is the server, and not a core that others have.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.clients import make_key, options
from bench.measure import cpu_seconds
from bench.memory import connect
from bench.report import _cpu_model, interpreter_ms
from bench.rows import Plan, prepare
from bench.servers import Tidegate

GIGABIT = 1_000_000
"""The bound of sftp's option -l, kbit/s."""
STAT_PAUSE = 0.01
SLOWED = 0.80
"""Least throughput beside an attack, of that without."""
STAT_SECONDS = 0.05
"""Bar of the 99th percentile of `stat`."""
LOGINS = 50
"""Attempts of a client to log in."""
LIMIT_SECONDS = 90.0
"""No flood runs longer."""
WIDE = {"TIDEGATE_SFTPD__MAX_STARTUPS": "6000:30:8000", "TIDEGATE_SFTPD__MAX_STARTUPS_PER_SOURCE": "0"}
PENALISED = {"TIDEGATE_COMMON__PENALTIES__EXEMPT": "127.0.0.1/32"}


@dataclass
class Attack:
    """An attack, and the server that it meets.

    Attributes:
        name: of the row.
        flood: arguments of `bench.floods` after the kind and the port.
        settings: variables of the server.
        listed: network on the block list.
        banned: addresses 127.0.1.1 and so on that are banned.
    """

    name: str
    flood: list[str]
    settings: dict[str, str] = field(default_factory=dict)
    listed: str = ""
    banned: int = 0


ATTACKS = [
    Attack("refused by the block list", ["knock"], listed="127.0.1.0/24"),
    Attack("refused by bans", ["knock", "--sources", "10"], banned=10),
    Attack("5,000 half open, all held", ["hold", "--sources", "100"], WIDE),
    Attack("5,000 half open, default limits", ["hold", "--sources", "100"]),
    Attack("wrong passwords, 200 addresses, no penalties", ["guess"]),
    Attack("wrong passwords, 200 addresses, penalties", ["guess"], PENALISED),
]


@dataclass
class Figures:
    """Of one phase: quiet, or beside an attack.

    Attributes:
        gigabit: MB/s of the download that the client bounds.
        free: MB/s of the other one.
        stats: seconds of each `stat`.
        turns: processor seconds of the server's loop meanwhile.
    """

    gigabit: float = 0.0
    free: float = 0.0
    stats: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)


def loop_seconds(pid: int) -> float:
    """Processor time of the thread of the event loop, of the kernel's scheduler, in ns."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def start(attack: Attack, base: Path, files: Path, key: Path) -> Tidegate:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        del os.environ[name]
    work = base / str(ATTACKS.index(attack))
    server = Tidegate(work, files, key)
    settings = {"TIDEGATE_COMMON__MAX_TOTAL_CONNECTIONS": "0", **attack.settings}
    os.environ.update(settings)
    server.command()  # makes the database
    program, config = str(Path(sys.executable).with_name("tidegate")), str(server.work)
    if attack.listed:
        subprocess.run(
            [program, "ip-list", "add", "block", attack.listed, "-c", config], check=True, stdout=subprocess.DEVNULL
        )  # fmt: skip
    for number in range(1, attack.banned + 1):
        subprocess.run(
            [program, "ban", "add", f"127.0.1.{number}", "-c", config], check=True, stdout=subprocess.DEVNULL
        )
    server.start()
    return server


@contextlib.asynccontextmanager
async def flooding(server: Tidegate, attack: Attack, counts: list[dict[str, float]]) -> AsyncIterator[None]:
    """An attack at full strength until the end of the block."""
    kind, *more = attack.flood
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", str(max(0, -os.getpriority(os.PRIO_PROCESS, 0))), sys.executable, "-m", "bench.floods", kind, str(server.port),
        "--user", server.user, "--seconds", str(LIMIT_SECONDS), *more,
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdout
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(60):
            last = (await process.stdout.read()).decode().splitlines()
            await process.wait()
    counts.append(json.loads(last[-1]))


async def load(server: Tidegate, size: int, *bounds: str) -> float:
    """MB/s of one download of a file of `size` bytes, without the login."""
    for _ in range(LOGINS):
        process = await asyncio.create_subprocess_exec(
            "sftp", "-q", *bounds, *options(server), "-b", "-", f"{server.user}@{server.address}",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"pwd\n")
        while (line := await process.stdout.readline()) and not line.startswith(b"Remote"):
            pass
        if line:
            break
        _, error = await process.communicate()  # of many that are half open some are dropped at random
    else:
        raise RuntimeError(f"no login in {LOGINS}: {error.decode(errors='replace')[-300:]}")
    process.stdin.write(b"get /big /dev/null\n")
    began = time.perf_counter()
    _, error = await asyncio.wait_for(process.communicate(b""), LIMIT_SECONDS)  # and the end of the batch
    if process.returncode:
        raise RuntimeError(f"client failed: {error.decode(errors='replace')[-300:]}")
    return size / (time.perf_counter() - began) / 1e6


async def phase(server: Tidegate, client: object, size: int) -> Figures:
    found, going = Figures(), True

    async def stats() -> None:
        while going:
            began, used = time.perf_counter(), loop_seconds(server.pid)
            await client.stat("/")  # type: ignore[attr-defined]
            found.turns.append(loop_seconds(server.pid) - used)
            found.stats.append(time.perf_counter() - began)
            await asyncio.sleep(STAT_PAUSE)

    asking = asyncio.create_task(stats())
    found.gigabit = await load(server, size, "-l", str(GIGABIT))
    found.free = await load(server, size)
    going = False
    await asking
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


async def cost(server: Tidegate, attack: Attack, seconds: float) -> tuple[float, float]:
    """Microseconds of the server's processor for each refusal, and refusals a second, while nothing else goes on."""
    counts: list[dict[str, float]] = []
    async with flooding(server, attack, counts):
        await asyncio.sleep(0.3)
        before, began = cpu_seconds(server.pid), time.monotonic()
        await asyncio.sleep(seconds)
        used, wall = cpu_seconds(server.pid) - before, time.monotonic() - began
    rate = counts[0]["refused"] / counts[0]["seconds"]
    return used / wall / rate * 1e6, rate


async def measure(attack: Attack, server: Tidegate, pairs: int, size: int) -> list[str]:
    """The cells of an attack's row, behind its name."""
    connection, client = await connect(server)
    quiet, beside, counts = [], [], []  # type: ignore[var-annotated]
    await phase(server, client, size)  # caches
    for _ in range(pairs):
        quiet.append(await phase(server, client, size))
        async with flooding(server, attack, counts):
            beside.append(await phase(server, client, size))
    extra = ""
    if attack.flood[0] == "knock":
        micros, rate = await cost(server, attack, 3.0)
        extra = f"{micros:.0f} µs each at {rate:.0f} a second without transfers; "
        extra += f"{median(c['refused'] / c['seconds'] for c in counts):.0f} a second beside them"
    elif attack.flood[0] == "hold":
        extra = f"{min(c['held'] for c in counts):.0f} held, {median(c['opened'] for c in counts):.0f} opened"
    else:
        rates = [c["guesses"] / c["seconds"] for c in counts]
        extra = f"{median(rates):.0f} guesses a second, {median(c['refused'] for c in counts):.0f} connections refused"
    connection.close()
    await connection.wait_closed()
    sides = (quiet, beside)
    ratios = [median(getattr(b, what) / getattr(q, what) for q, b in zip(quiet, beside, strict=True))
              for what in ("gigabit", "free")]  # fmt: skip
    waits = [median(p99(one.stats) for one in side) * 1e3 for side in sides]
    turns = [median(p99(one.turns) for one in side) * 1e3 for side in sides]
    good = min(ratios) >= SLOWED and waits[1] < STAT_SECONDS * 1e3
    return [
        f"{turns[0]:.1f}, {turns[1]:.1f} ms",
        f"{ratios[0]:.2f} of {median(q.gigabit for q in quiet):.0f} MB/s",
        f"{ratios[1]:.2f} of {median(q.free for q in quiet):.0f} MB/s",
        f"{waits[0]:.0f}, {waits[1]:.0f} ms", extra, "pass" if good else "FALLS SHORT",
    ]  # fmt: skip


HEAD = ["attack", "p99 of stat, loop: quiet, beside", "get at 1 Gbit/s",
        "get unbounded", "p99 of stat, wall: quiet, beside", "attack's own figures", "bars"]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.attack", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one pair of each, a small file")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rows", default="", help="only attacks whose name contains this")
    chosen = parser.parse_args()
    pairs, size = (1, 64 << 20) if chosen.quick else (chosen.pairs, 256 << 20)
    base = Path(tempfile.mkdtemp(prefix="tidegate-attack-"))
    failed = False
    try:
        files, key = base / "files", make_key(base)
        prepare(files, Plan(big=size, small_files=1, entries=1))
        print(
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} "
            f"{platform.release()}, Python {platform.python_version()}, reference loop {interpreter_ms():.0f} ms, "
            f"load {os.getloadavg()[0]:.1f}; {pairs} pairs, {size >> 20} MiB\n"
        )
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}", flush=True)
        for attack in ATTACKS:
            if chosen.rows not in attack.name:
                continue
            server = start(attack, base, files, key)
            try:
                cells = asyncio.run(measure(attack, server, pairs, size))
            finally:
                server.stop()
            failed = failed or cells[-1] != "pass"
            print(f"| {attack.name} | {' | '.join(cells)} |", flush=True)
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    sys.exit(main())
