# SPDX-License-Identifier: Apache-2.0
"""Uploads with and without a rule that tells a URL of each, in turn on one machine: ``python -m bench.kept_rules``.

The client is OpenSSH's sftp. Wall time is the client's, to its end; processor time is the server's, to the
end of the last delivery. The rule is kept: each event is in the data provider before the client is told.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.clients import finish, make_key, sftp, sftp_process
from bench.measure import cpu_seconds
from bench.report import interpreter_ms
from bench.rows import Plan, prepare
from bench.servers import HERE, Server, Tidegate, free_port

CLIENTS = (1, 8, 32)
"""Clients at once: what a server takes is what many get together; one waits for the disk after each file."""
DELIVERY_SECONDS = 120.0


class Receiver:
    """The process that is told."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "peers" / "receiver.py"), str(self.port)]
        )
        end = time.monotonic() + 20
        while True:
            try:
                self.told()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def told(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count") as answer:
            return int(answer.read())

    def wait(self, count: int) -> None:
        end = time.monotonic() + DELIVERY_SECONDS
        while self.told() < count:
            if time.monotonic() > end:
                raise RuntimeError(f"{count - self.told()} uploads were not told")
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


class WithRule(Tidegate):
    """With a rule on uploads."""

    name = "with a kept rule"


class Without(Tidegate):
    """As it is."""

    name = "without"


def timed(server: Server, receiver: Receiver, files: int, work: Callable[[], None]) -> tuple[float, float]:
    """Wall seconds of the client, and processor seconds of the server until all is told."""
    told = receiver.told()
    cpu, begun = cpu_seconds(server.pid), time.perf_counter()
    work()
    wall = time.perf_counter() - begun
    if isinstance(server, WithRule):
        receiver.wait(told + files)
    time.sleep(0.3)  # what is written after the last delivery
    return wall, cpu_seconds(server.pid) - cpu


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.kept_rules", description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="at once, a row each")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--mib", type=int, default=512, help="of the large file")
    parser.add_argument("--driver", default="sqlite", help="of the data provider: sqlite or bolt")
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    plan = Plan(big=chosen.mib << 20, small_files=chosen.files, entries=1)
    files = base / "files"
    prepare(files, plan)
    key = make_key(base)
    receiver = Receiver()
    servers: list[Server] = []
    print(f"reference loop: {interpreter_ms():.0f} ms")
    try:
        os.environ["TIDEGATE_DATA_PROVIDER__DRIVER"] = chosen.driver
        for kind in (Without, WithRule):
            rule = (
                {"ON": "upload", "HOOK": f"http://127.0.0.1:{receiver.port}/told"} if kind is WithRule else {}
            )
            server = kind(base, files, key)
            if rule:
                os.environ["TIDEGATE_COMMON__ACTIONS__EXECUTE_ON"] = rule["ON"]
                os.environ["TIDEGATE_COMMON__ACTIONS__HOOK"] = rule["HOOK"]
            server.start()
            servers.append(server)
            # The first delivery loads the client of HTTP.
            (files / "first").write_bytes(b"first")
            timed(server, receiver, 1, partial(sftp, server, f"put {files}/first {server.remote('in')}"))
        figures: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for turn in range(chosen.pairs):
            for server in servers:
                name = f"{server.name.replace(' ', '-')}-{turn}"
                many, big = files / "small", files / "big"

                def small(clients: int, server: Server = server, name: str = name, many: Path = many) -> None:
                    for process in [
                        sftp_process(server, f"put -r {many} {server.remote('in')}/{name}-{clients}-{index}")
                        for index in range(clients)
                    ]:
                        finish(process)

                def large(server: Server = server, big: Path = big) -> None:
                    sftp(server, f"put {big} {server.remote('in/big')}")

                rows: list[tuple[str, int, Callable[[], None]]] = [
                    (f"small files, {count} clients", chosen.files * count, partial(small, count))
                    for count in chosen.clients
                ]
                rows.append(("large file", 1, large))
                for row, count, work in rows:
                    wall, cpu = timed(server, receiver, count, work)
                    figures.setdefault((row, server.name), []).append((wall * 1e3 / count, cpu * 1e3 / count))
        for row in dict.fromkeys(row for row, _ in figures):
            medians = {}
            for server in servers:
                runs = figures[row, server.name]
                medians[server.name] = tuple(
                    statistics.median(run[index] for run in runs) for index in (0, 1)
                )
                wall, cpu = medians[server.name]
                print(f"{row:24} {server.name:18} {wall:9.3f} wall ms/file {cpu:9.3f} cpu ms/file")
            plain, ruled = medians["without"], medians["with a kept rule"]
            print(
                f"{row:24} {'ratio':18} {ruled[0] / plain[0]:9.2f}              {ruled[1] / max(plain[1], 1e-9):9.2f}"
            )
    finally:
        for server in servers:
            server.stop()
        receiver.stop()
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
