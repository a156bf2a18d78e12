"""The target table, and RESULTS.md."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.rows import Plan


@dataclass
class Result:
    row: str
    server: str
    values: dict[str, float]
    ratios: dict[str, float]
    runs: int
    missing: str = ""
    """The reason that there are no figures."""


TARGETS = [
    ("get, aes128-gcm", "cpu s/GiB", 0.65, 0.45),
    ("put, aes128-gcm", "cpu s/GiB", 0.55, 0.40),
    ("get, aes128-gcm", "wall s/GiB", 1.00, 0.85),
    ("put, aes128-gcm", "wall s/GiB", 1.00, 0.85),
    ("get, aes128-ctr hmac-sha2-256", "cpu s/GiB", 0.80, 0.70),
    ("put, aes128-ctr hmac-sha2-256", "cpu s/GiB", 0.65, 0.55),
    ("get, aes128-ctr hmac-sha2-256", "wall s/GiB", 1.00, 0.85),
    ("put, aes128-ctr hmac-sha2-256", "wall s/GiB", 1.00, 0.85),
    ("get, aes256-ctr etm", "cpu s/GiB", 0.80, 0.70),
    ("put, aes256-ctr etm", "cpu s/GiB", 0.65, 0.55),
    ("get, aes256-ctr etm", "wall s/GiB", 1.00, 0.85),
    ("put, aes256-ctr etm", "wall s/GiB", 1.00, 0.85),
    ("scp -O, get", "cpu s/GiB", 0.60, 0.45),
    ("scp -O, put", "cpu s/GiB", 0.60, 0.45),
    ("scp -O -r, get of small files", "wall ms/file", 1.00, 0.60),
    ("scp -O -r, put of small files", "wall ms/file", 1.00, 0.60),
    ("get -r small files", "wall ms/file", 1.00, 0.60),
    ("put -r small files", "wall ms/file", 1.00, 0.60),
    ("get -r small files", "cpu ms/file", 1.20, 0.60),
    ("put -r small files", "cpu ms/file", 1.20, 0.60),
    ("login and ls", "cpu ms/login", 0.40, 0.30),
    ("login and pwd", "cpu ms/login", 0.16, 0.10),
    ("ls -l of 20,000 names", "wall s", 0.62, 0.45),
    ("idle sessions", "kB/session", 0.10, 0.04),
    ("ls of a large directory", "wall s", 1.00, 0.60),
]


def judge(results: list[Result]) -> list[tuple[str, str, float, float, float, str]]:
    table = []
    for row, figure, must, aim in TARGETS:
        found = next((r for r in results if r.row == row and r.server == "Tidegate"), None)
        if found is None or figure not in found.ratios:
            continue
        ratio = found.ratios[figure]
        table.append(
            (
                row,
                figure,
                ratio,
                must,
                aim,
                "aim" if ratio <= aim else "pass" if ratio <= must else "FALLS SHORT",
            )
        )
    return table


def print_targets(results: list[Result]) -> None:
    print("\nTidegate / OpenSSH, medians of pairs")
    for row, figure, ratio, must, aim, verdict in judge(results):
        print(f"  {row:26} {figure:14} {ratio:6.2f}   must {must:.2f}  aim {aim:.2f}   {verdict}")


class _Pair:
    __slots__ = ("a", "b")

    def __init__(self, a: int, b: int) -> None:
        self.a = a
        self.b = b

    def sum(self) -> int:
        return self.a + self.b


def interpreter_ms() -> float:
    """Best time, ms, for half a million rounds of plain Python: tells an optimized build (PGO, as distributions
    and the official images have it) from a plain one, which needs 1.6 times as long and more; and a quiet machine
    from one that is shared."""

    def loop() -> int:
        total, seen = 0, {}
        for i in range(500_000):
            pair = _Pair(i, 3)
            total += pair.sum() + len(b"abc"[1:]) + int.from_bytes(b"\0\0\1\2", "big")
            seen[i & 255] = pair
        return total

    best = 1e9
    for _ in range(5):
        begun = time.perf_counter()
        loop()
        best = min(best, (time.perf_counter() - begun) * 1e3)
    return best


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def write(
    path: Path,
    results: list[Result],
    plan: Plan,
    versions: dict[str, str],
    speeds: list[float],
    seconds: float,
) -> None:
    import os

    lines = [
        "# Results", "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}; took {seconds / 60:.0f} minutes.", "",
        f"Machine: {os.cpu_count()} cores, {_cpu_model()}, {platform.system()} {platform.release()}, Python {platform.python_version()} ({min(speeds):.0f} to {max(speeds):.0f} ms for the reference loop of `bench/report.py` before each row: how much of the processor others had).",
        (f"One {plan.big >> 20} MiB file; {plan.small_files} files of {plan.small_size} bytes; {plan.entries} entries; "
        f"{plan.logins} logins; {plan.idle} idle sessions. Client: OpenSSH sftp on the same machine, servers in turn, "
        f"medians of {plan.pairs} pairs. CPU is user + sys of the server with its children. Policy is on in Tidegate: "
        "permissions, quota, bandwidth limits too high to bite."), "",
        "| server | version |", "|---|---|", *(f"| {n} | {v} |" for n, v in versions.items()), "",
        "## Targets: Tidegate / OpenSSH", "", "| what | figure | ratio | must | aim | verdict |", "|---|---|---|---|---|---|",
        *(f"| {r} | {f} | {x:.2f} | {m:.2f} | {a:.2f} | {v} |" for r, f, x, m, a, v in judge(results)), "",
        "## All rows", "", "| what | server | figures (ratio to OpenSSH) | runs |", "|---|---|---|---|",
    ]  # fmt: skip
    for result in results:
        figures = (
            f"left out: {result.missing}"
            if result.missing
            else ", ".join(f"{v:.3g} {n} ({result.ratios[n]:.2f})" for n, v in result.values.items())
        )
        lines.append(f"| {result.row} | {result.server} | {figures} | {result.runs} |")
    path.write_text("\n".join(lines).rstrip() + "\n")
