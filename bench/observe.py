# SPDX-License-Identifier: Apache-2.0
"""The cost of metrics, and of a line for each request, in transfers: ``python -m bench.observe``.

Servers run side by side on one machine and take turns, in another order each time: as it is, with metrics that
are scraped, and with log level `trace`. The client is OpenSSH's sftp; processor time is the server's, of all its
threads, by the scheduler's own account in nanoseconds. What other programs do meanwhile hits all of them alike:
the figures are the least of all turns, and the median of the differences within a turn with its interval.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from bench.clients import make_key, sftp
from bench.report import interpreter_ms
from bench.rows import Plan, prepare
from bench.servers import Server, Tidegate, free_port

SCRAPE_SECONDS = 15.0
"""As Prometheus does it."""
RESAMPLES = 2_000


class Plain(Tidegate):
    """As it is."""

    name = "as it is"


class Measured(Tidegate):
    """With metrics."""

    name = "metrics"
    metrics = free_port()
    settings: ClassVar[dict[str, str]] = {"TIDEGATE_TELEMETRY__BIND_PORT": str(metrics)}


class Traced(Tidegate):
    """With a line for each request."""

    name = "trace"

    def command(self) -> list[str]:
        return [*super().command()[:-1], "trace"]


class Inside(Measured):
    """With metrics, the time of which it counts itself."""

    name = "inside"

    def command(self) -> list[str]:
        script = str(Path(__file__).with_name("counted_server.py"))
        return [sys.executable, script, str(self.work / "counted"), *super().command()[1:]]

    def counted(self) -> dict[str, float]:
        """The numbers that `counted_server` tells."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(self.work / "counted"))
            with asked.makefile("rb") as told:
                return dict(json.load(told))


def inside(base: Path, files: Path, key: Path, chosen: argparse.Namespace) -> None:
    """Tell the share of metrics in the processor time of a server, as it counts it itself."""
    server = Inside(base, files, key)
    server.start()
    stop = threading.Event()
    threading.Thread(target=scrape, args=(stop, 5.0), daemon=True).start()
    try:
        for row, work in rows_of(files).items():
            if row.startswith(chosen.rows):
                work(server)
                before = server.counted()
                for _ in range(chosen.turns):
                    work(server)
                now = server.counted()
                told = {key: value - before[key] for key, value in now.items()}
                whole = told["whole"] - told["scraped"]
                print(f"{row:18} {share(told['counts'], whole, chosen.turns)} as timed", end="; ")
                # What the clocks cost is no cost of metrics: the least that they were seen to cost goes.
                counts = told["counts"] - told["calls"] * now["charged"]
                whole -= (told["calls"] + told["scrape_calls"]) * now["added"]
                scrape_ms = told["scraped"] / max(told["scrapes"], 1) / 1e6
                print(
                    f"{share(counts, whole, chosen.turns)} without the {told['calls'] / chosen.turns:.0f} pairs of "
                    f"clocks of {now['charged'] / 1000:.2f} us each; {told['scrapes']:.0f} scrapes of {scrape_ms:.2f} ms"
                )
    finally:
        stop.set()
        server.stop()


def share(part: float, whole: float, turns: int) -> str:
    """Nanoseconds of all turns as milliseconds of one, and as a share."""
    return f"{part / turns / 1e6:7.3f} of {whole / turns / 1e6:8.1f} ms: {100 * part / whole:.2f} %"


def rows_of(files: Path) -> dict[str, Callable[[Server], None]]:
    """The transfers, by name."""
    return {
        "get, a large file": lambda server: sftp(server, f"get {server.remote('big')} /dev/null"),
        "put, a large file": lambda server: sftp(server, f"put {files / 'big'} {server.remote('in/big')}"),
        "put, small files": lambda server: sftp(
            server, f"put -r {files / 'small'} {server.remote('in')}/{server.name.replace(' ', '-')}"
        ),
        "ls -l": lambda server: sftp(server, f"ls -l {server.remote('many')}"),
    }


def nanoseconds(pid: int) -> int:
    """Processor time of a process: user and system, of all threads that live."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total


def scrape(stop: threading.Event, seconds: float = SCRAPE_SECONDS) -> None:
    """Ask for the metrics until the end."""
    while not stop.wait(seconds):
        urllib.request.urlopen(f"http://127.0.0.1:{Measured.metrics}/metrics").read()


def interval(values: list[float]) -> tuple[float, float]:
    """The interval in which the median of more such values would be, 95 of 100 times (bootstrap)."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(0.025 * RESAMPLES)], medians[int(0.975 * RESAMPLES)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.observe", description=__doc__)
    parser.add_argument("--turns", type=int, default=30)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--mib", type=int, default=512, help="of the large file")
    parser.add_argument("--rows", default="", help="only those whose names begin so")
    parser.add_argument("--no-trace", action="store_true", help="compare metrics alone")
    parser.add_argument(
        "--inside", action="store_true", help="one server, which counts the time of metrics itself"
    )
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    files, key = base / "files", make_key(base)
    prepare(files, Plan(big=chosen.mib << 20, small_files=chosen.files, entries=2000))
    servers: list[Server] = []
    stop = threading.Event()
    print(f"reference loop: {interpreter_ms():.0f} ms")
    try:
        if chosen.inside:
            return inside(base, files, key, chosen)
        for kind in (Plain, Measured) if chosen.no_trace else (Plain, Measured, Traced):
            server = kind(base, files, key)
            server.start()
            for name in kind.settings:
                os.environ.pop(name, None)
            servers.append(server)
        threading.Thread(target=scrape, args=(stop,), daemon=True).start()
        rows = {row: work for row, work in rows_of(files).items() if row.startswith(chosen.rows)}
        figures: dict[tuple[str, str], list[float]] = {}
        for turn in range(chosen.turns + 1):
            for row, work in rows.items():
                order = random.Random(f"{turn} {row}").sample(servers, len(servers))
                for server in order:
                    before = nanoseconds(server.pid)
                    work(server)
                    used = (nanoseconds(server.pid) - before) / 1e6
                    if turn:  # the first one warms up
                        figures.setdefault((row, server.name), []).append(used)
        for row in rows:
            plain = figures[row, Plain.name]
            for server in servers:
                runs = figures[row, server.name]
                line = f"{row:18} {server.name:9} least {min(runs):8.1f} ms  median {statistics.median(runs):8.1f} ms"
                if server.name != Plain.name:
                    parts = [100 * (one / other - 1) for one, other in zip(runs, plain, strict=True)]
                    low, high = interval(parts)
                    line += f"  {100 * (min(runs) / min(plain) - 1):+6.2f} %  paired {statistics.median(parts):+6.2f} % ({low:+.2f} to {high:+.2f})"
                print(line)
    finally:
        stop.set()
        for server in servers:
            server.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
