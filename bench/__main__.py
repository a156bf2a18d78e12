"""Tidegate against OpenSSH and others, interleaved, on one machine: ``python -m bench [--quick]``."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.clients import make_key, sftp
from bench.report import Result, interpreter_ms, print_targets, write
from bench.rows import ROWS, Plan, Row, prepare
from bench.servers import (
    AsyncsshServer,
    Missing,
    OpenSSH,
    ParamikoServer,
    ProFTPD,
    Rclone,
    Server,
    Tidegate,
    TidegatePlain,
)

QUICK = {"get, aes128-gcm", "put, aes128-gcm", "get -r small files", "put -r small files", "login and ls",
         "login and pwd", "ls -l of 20,000 names", "ls of a large directory", "idle sessions"}  # fmt: skip


ORIENTATION = ("asyncssh", "paramiko", "rclone", "ProFTPD")
"""Peers that no target names."""


def measure(row: Row, servers: list[Server], plan: Plan, scratch: Path) -> list[Result]:
    """All servers in turn, `pairs` times: A B C A B C ..."""
    pairs = min(row.pairs or plan.pairs, plan.pairs)
    figures: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
    missing: dict[str, str] = {}
    for turn in range(pairs):
        for server in servers:
            if server.name in ORIENTATION and turn >= max(1, pairs // 2):
                continue  # half the runs, they are slow
            if server.name in missing:
                continue
            try:
                figures[server.name].append(row.run(server, plan, scratch))
            except (Missing, RuntimeError) as why:
                if isinstance(why, RuntimeError) and server.name not in ORIENTATION:
                    raise
                missing[server.name] = str(why).splitlines()[0]
                print(f"  {server.name:20} skipped: {why}", flush=True)
    results = []
    for server in servers:
        runs = figures[server.name]
        if not runs:
            results.append(Result(row.name, server.name, {}, {}, 0, missing[server.name]))
            continue
        values = {name: median(run[name] for run in runs) for name in runs[0]}
        base = figures["OpenSSH"]
        ratios = {
            name: median(run[name] / max(b[name], 1e-9) for run, b in zip(runs, base, strict=False))
            for name in runs[0]
        }
        results.append(Result(row.name, server.name, values, ratios, len(runs)))
        print(
            f"  {server.name:20}",
            "  ".join(f"{n} {v:9.3f} (x{ratios[n]:.2f})" for n, v in values.items()),
            flush=True,
        )
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the rows of the target table, small, under two minutes"
    )
    parser.add_argument("--rows", help="only rows whose name contains this")
    parser.add_argument("--pairs", type=int, help="runs of each server")
    parser.add_argument(
        "--no-peers", action="store_true", help="OpenSSH and Tidegate alone, a third of the time"
    )
    parser.add_argument("--dir", type=Path, help="where to put the files (default: a temporary directory)")
    parser.add_argument("--no-write", action="store_true", help="do not write bench/RESULTS.md")
    chosen = parser.parse_args()
    plan = (
        Plan(big=256 << 20, small_files=400, entries=20_000, logins=10, idle=60, pairs=3)
        if chosen.quick
        else Plan()
    )
    if chosen.pairs:
        plan.pairs = chosen.pairs
    rows = [r for r in ROWS if (not chosen.quick or r.name in QUICK) and (chosen.rows or "") in r.name]
    base = chosen.dir or Path(tempfile.mkdtemp(prefix="tidegate-bench-"))
    base.mkdir(parents=True, exist_ok=True)
    files, scratch = base / "files", base / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    begun = time.time()
    results: list[Result] = []
    servers: list[Server] = []
    try:
        prepare(files, plan)
        key = make_key(base)
        kinds = (
            [OpenSSH, Tidegate]
            if chosen.quick or chosen.no_peers
            else [OpenSSH, Tidegate, TidegatePlain, AsyncsshServer, ParamikoServer, Rclone, ProFTPD]
        )
        for kind in kinds:
            server = kind(base, files, key)
            try:
                server.start()
            except Missing as why:
                print(f"{server.name} is left out: {why}", flush=True)
                continue
            servers.append(server)
            sftp(server, f"ls {server.remote('in')}")
        versions = {s.name: s.version() for s in servers}
        print(f"Python {platform.python_version()}", flush=True)
        speeds = []
        for row in rows:
            speeds.append(interpreter_ms())
            print(f"{row.name} (reference loop: {speeds[-1]:.0f} ms)", flush=True)
            taking = [
                s for s in servers
                if s.name in ("OpenSSH", "Tidegate") or s.name in row.peers
                or (s.name == "Tidegate, lane off" and row.name.startswith(("get", "put")))
            ]  # fmt: skip
            results += measure(row, taking, plan, scratch)
        print_targets(results)
        if not chosen.no_write and not chosen.rows and not chosen.quick and not chosen.no_peers:
            write(
                Path(__file__).with_name("RESULTS.md"), results, plan, versions, speeds, time.time() - begun
            )
    finally:
        for server in servers:
            server.stop()
        if not chosen.dir:
            shutil.rmtree(base, ignore_errors=True)
    return 0


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    sys.exit(main())
