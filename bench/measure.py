"""CPU and memory of a server's process tree, from the kernel's own accounts."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(c) for c in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def tree(pid: int) -> list[int]:
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        try:
            queue += children(one)
        except OSError:
            continue
    return found


def settle(pid: int, *, seconds: float = 10.0) -> None:
    """Wait until the server has no child process left (OpenSSH has one or more a connection)."""
    end = time.monotonic() + seconds
    while children(pid) and time.monotonic() < end:
        time.sleep(0.01)


def cpu_seconds(pid: int) -> float:
    """user + sys of the process and of its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[i]) for i in (11, 12, 13, 14)) / TICK


def pss_bytes(pid: int) -> int:
    """Proportional set size of the whole tree: shared pages are counted once."""
    total = 0
    for one in tree(pid):
        try:
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) * 1024
    return total


class Timer:
    """Wall and server CPU of a block."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __enter__(self) -> Timer:
        settle(self.pid)
        self._cpu, self._wall = cpu_seconds(self.pid), time.perf_counter()
        return self

    def __exit__(self, *exc: object) -> None:
        self.wall = time.perf_counter() - self._wall
        settle(self.pid)
        self.cpu = cpu_seconds(self.pid) - self._cpu
