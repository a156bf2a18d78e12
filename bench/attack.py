# SPDX-License-Identifier: Apache-2.0
"""Logged-in users beside attacks: ``python -m bench.attack [--quick]``.

Each attack runs in turn with quiet and with a control (quiet, attack, control, quiet ...) while one user loads a file
with OpenSSH's client, as fast as a line of 1 Gbit/s carries it and as fast as it can, and another asks for a `stat`
again and again. Attackers are processes of their own on the same machine, and what they burn there is no work of the
server: in the control a process of the same priority burns as much of a processor as the attackers have just been
measured to, during the same download, and connects nowhere. The bars are for what the server does: beside the attack,
of the control. The server and its users run with a higher priority where that is allowed (nice -10, attackers 0).

A second table has what it costs the server to refuse a connection, by door.
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
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from bench.clients import make_key, options
from bench.measure import cpu_seconds
from bench.memory import connect
from bench.report import _cpu_model, interpreter_ms
from bench.rows import Plan, prepare
from bench.servers import Tidegate, free_port

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
        https: it meets the HTTPS door, whose port `start` writes into `port`.
    """

    name: str
    flood: list[str]
    settings: dict[str, str] = field(default_factory=dict)
    listed: str = ""
    banned: int = 0
    https: bool = False
    port: int = 0


ATTACKS = [
    Attack("refused by the block list", ["knock"], listed="127.0.1.0/24"),
    Attack("refused by bans", ["knock", "--sources", "10"], banned=10),
    Attack("5,000 half open, all held", ["hold", "--sources", "100"], WIDE),
    Attack("5,000 half open, default limits", ["hold", "--sources", "100"]),
    Attack("wrong passwords, 200 addresses, no penalties", ["guess"]),
    Attack("wrong passwords, 200 addresses, penalties", ["guess"], PENALISED),
    Attack("TLS handshakes, 200 addresses", ["shake"], https=True),
]


@dataclass
class Figures:
    """Of one phase: quiet, or beside an attack.

    Attributes:
        gigabit: MB/s of the download that the client bounds.
        free: MB/s of the other one.
        stats: seconds of each `stat`.
        turns: processor seconds of the server's loop meanwhile.
        burnt: processor seconds a second of the attackers, during each download.
    """

    gigabit: float = 0.0
    free: float = 0.0
    stats: list[float] = field(default_factory=list)
    turns: list[float] = field(default_factory=list)
    burnt: list[float] = field(default_factory=list)


def loop_seconds(pid: int) -> float:
    """Processor time of the thread of the event loop, of the kernel's scheduler, in ns."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def start(attack: Attack, base: Path, files: Path, key: Path) -> Tidegate:
    for name in [name for name in os.environ if name.startswith("TIDEGATE_")]:
        del os.environ[name]
    work = base / attack.name.replace(" ", "-").replace(",", "")
    server = Tidegate(work, files, key)
    settings = {"TIDEGATE_COMMON__MAX_TOTAL_CONNECTIONS": "0", **attack.settings}
    if attack.https:
        settings |= https(attack, server.work)
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


def https(attack: Attack, work: Path) -> dict[str, str]:
    """Settings of an HTTPS door with a certificate of RSA 2048."""
    files = {"CERTIFICATE_FILE": str(work / "cert.pem"), "CERTIFICATE_KEY_FILE": str(work / "key.pem")}
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=bench",
         "-out", files["CERTIFICATE_FILE"], "-keyout", files["CERTIFICATE_KEY_FILE"]],
        check=True, capture_output=True,
    )  # fmt: skip
    attack.port = free_port()
    binding = {"PORT": str(attack.port), "ADDRESS": "127.0.0.1", "ENABLE_HTTPS": "1", **files}
    return {f"TIDEGATE_HTTPD__BINDINGS__0__{name}": value for name, value in binding.items()}


@contextlib.asynccontextmanager
async def flooding(
    server: Tidegate, flood: list[str], counts: list[dict[str, float]], port: int = 0
) -> AsyncIterator[int]:
    """An attack at full strength until the end of the block; its process."""
    kind, *more = flood
    process = await asyncio.create_subprocess_exec(
        "nice", "-n", str(max(0, -os.getpriority(os.PRIO_PROCESS, 0))), sys.executable, "-m", "bench.floods", kind, str(port or server.port),
        "--user", server.user, "--seconds", str(LIMIT_SECONDS), *more,
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert process.stdout
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield process.pid
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


async def phase(
    server: Tidegate, client: object, size: int, attackers: int = 0, burns: Sequence[float] = ()
) -> Figures:
    """The downloads, beside a process whose use of processors is measured, or beside burns at given rates."""
    found, going = Figures(), True

    async def beside(number: int, *bounds: str) -> float:
        async with contextlib.AsyncExitStack() as stack:
            if burns:
                flood = ["burn", "--rate", f"{burns[number]:.4f}"]
                await stack.enter_async_context(flooding(server, flood, []))
            before, began = cpu_seconds(attackers) if attackers else 0.0, time.monotonic()
            speed = await load(server, size, *bounds)
            if attackers:
                found.burnt.append((cpu_seconds(attackers) - before) / (time.monotonic() - began))
            return speed

    async def stats() -> None:
        while going:
            began, used = time.perf_counter(), loop_seconds(server.pid)
            await client.stat("/")  # type: ignore[attr-defined]
            found.turns.append(loop_seconds(server.pid) - used)
            found.stats.append(time.perf_counter() - began)
            await asyncio.sleep(STAT_PAUSE)

    asking = asyncio.create_task(stats())
    found.gigabit = await beside(0, "-l", str(GIGABIT))
    found.free = await beside(1)
    going = False
    await asking
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


async def cost(server: Tidegate, flood: list[str], seconds: float, port: int = 0) -> tuple[float, float]:
    """Microseconds of the server's processor for each refusal, and refusals a second, while nothing else goes on."""
    counts: list[dict[str, float]] = []
    async with flooding(server, flood, counts, port):
        await asyncio.sleep(0.3)
        before, began = cpu_seconds(server.pid), time.monotonic()
        await asyncio.sleep(seconds)
        used, wall = cpu_seconds(server.pid) - before, time.monotonic() - began
    rate = counts[0]["refused"] / counts[0]["seconds"]
    return used / wall / rate * 1e6, rate


async def measure(attack: Attack, server: Tidegate, pairs: int, size: int) -> list[str]:
    """The cells of an attack's row, behind its name."""
    connection, client = await connect(server)
    quiet, beside, control, counts = [], [], [], []  # type: ignore[var-annotated]
    await phase(server, client, size)  # caches
    for _ in range(pairs):
        quiet.append(await phase(server, client, size))
        async with flooding(server, attack.flood, counts, attack.port) as attackers:
            beside.append(await phase(server, client, size, attackers))
        control.append(await phase(server, client, size, burns=beside[-1].burnt))
    extra = ""
    if attack.flood[0] == "knock":
        micros, rate = await cost(server, attack.flood, 3.0)
        extra = f"{micros:.0f} µs each at {rate:.0f} a second without transfers; "
        extra += f"{median(c['refused'] / c['seconds'] for c in counts):.0f} a second beside them"
    elif attack.flood[0] == "hold":
        extra = f"{min(c['held'] for c in counts):.0f} held, {median(c['opened'] for c in counts):.0f} opened"
    elif attack.flood[0] == "shake":
        extra = f"{median(c['shaken'] / c['seconds'] for c in counts):.0f} handshakes a second"
    else:
        rates = [c["guesses"] / c["seconds"] for c in counts]
        extra = f"{median(rates):.0f} guesses a second, {median(c['refused'] for c in counts):.0f} connections refused"
    connection.close()
    await connection.wait_closed()
    sides = (quiet, control, beside)
    ratios = [median(getattr(b, what) / getattr(q, what) for q, b in zip(side, beside, strict=True))
              for what in ("gigabit", "free") for side in (control, quiet)]  # fmt: skip
    burnt = [median(one.burnt[number] for one in beside) for number in (0, 1)]
    waits = [median(p99(one.stats) for one in side) * 1e3 for side in sides]
    turns = [median(p99(one.turns) for one in side) * 1e3 for side in sides]
    good = min(ratios[0], ratios[2]) >= SLOWED and waits[2] < STAT_SECONDS * 1e3
    return [
        ", ".join(f"{one:.1f}" for one in turns) + " ms",
        f"{ratios[0]:.2f}; {ratios[1]:.2f} of {median(q.gigabit for q in quiet):.0f} MB/s",
        f"{ratios[2]:.2f}; {ratios[3]:.2f} of {median(q.free for q in quiet):.0f} MB/s",
        ", ".join(f"{one:.0f}" for one in waits) + " ms",
        f"attackers burn {burnt[0]:.2f}, {burnt[1]:.2f} cores; {extra}", "pass" if good else "FALLS SHORT",
    ]  # fmt: skip


HEAD = ["attack", "p99 of stat, loop: quiet, control, beside", "get at 1 Gbit/s: of control; of quiet",
        "get unbounded: of control; of quiet", "p99 of stat, wall: quiet, control, beside",
        "attack's own figures", "bars"]  # fmt: skip
DOORS = {"SSH": [], "FTP": [], "WebDAV": ["--http"], "HTTP": ["--http"]}
COST_SECONDS = 3.0


async def costs(server: Tidegate, ports: dict[str, int]) -> AsyncIterator[list[str]]:
    """A row for each door: what it costs to refuse an address of the block list."""
    for door, more in DOORS.items():
        micros, rate = await cost(server, ["knock", *more], COST_SECONDS, ports[door])
        yield [door, f"{micros:.0f} µs", f"{rate:.0f}"]


def print_costs(base: Path, files: Path, key: Path) -> None:
    """The table of doors."""
    ports = {name: free_port() for name in ("FTP", "WebDAV", "HTTP")}
    settings = {
        f"TIDEGATE_{section}__BINDINGS__0__{name}": value
        for section, door in (("FTPD", "FTP"), ("WEBDAVD", "WebDAV"), ("HTTPD", "HTTP"))
        for name, value in (("PORT", str(ports[door])), ("ADDRESS", "127.0.0.1"))
    } | {"TIDEGATE_FTPD__BINDINGS__0__PLAIN_LOGIN": "1", "TIDEGATE_WEBDAVD__BINDINGS__0__PLAIN_LOGIN": "1"}
    server = start(Attack("costs", [], settings, listed="127.0.1.0/24"), base, files, key)

    async def rows() -> None:
        async for cells in costs(server, {**ports, "SSH": server.port}):
            print(f"| {' | '.join(cells)} |", flush=True)

    print("\n| a refused connection at | costs | a second |\n|---|---|---|", flush=True)
    try:
        asyncio.run(rows())
    finally:
        server.stop()


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
        if chosen.rows in "costs by door":
            print_costs(base, files, key)
        print(f"\nload at the end {os.getloadavg()[0]:.1f}")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    return int(failed)


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    sys.exit(main())
