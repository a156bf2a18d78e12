"""Starts and memory: ``python -m bench.start [--starts 10] [--beside SRC]``.

For ``serve`` with both doors and SQLite: processor time until SSH listens and until the REST API has answered,
and what is resident after that answer and one login. For ``portable``: until it listens. For ``--version``:
in all. Processor time is user + system of the process and of children that ended. Byte code is compiled first.
`--beside` measures another checkout's `src` in turn with this one.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from bench.clients import make_key
from bench.measure import cpu_seconds
from bench.report import interpreter_ms
from bench.servers import free_port

START = "import sys; from tidegate.cli.main import main; sys.argv[0] = 'tidegate'; main()"
LIMIT_SECONDS = 120
LOOK_SECONDS = 0.001

TARGETS = {
    "serve to SSH, cpu s": (0.6, 0.6),
    "serve to REST, cpu s": (1.0, 1.0),
    "portable, cpu s": (0.5, 0.5),
    "--version, cpu s": (0.2, 0.1),
    "resident, MiB": (100.0, 80.0),
}
"""The bound that must hold, and the aim."""

Figures = dict[str, float]


class Program:
    """Tidegate of one checkout.

    Args:
        source: its `src`.
        work: an empty directory for what it keeps.
    """

    def __init__(self, source: Path, work: Path) -> None:
        self.source, self.work = source, work
        self.key = make_key(work)
        self.settings = work / "config"
        self.files = work / "files"
        for directory in (self.settings, self.files):
            directory.mkdir()
        compileall.compile_dir(source, quiet=1)
        self.call("initprovider", "-c", str(self.settings))
        self.call(
            "user", "add", "bench", "-c", str(self.settings), "--home", str(self.files), "--permission", "/:*",
            "--public-key", f"{self.key}.pub",
        )  # fmt: skip

    def command(self, *args: str) -> list[str]:
        """A command line of this checkout."""
        return [sys.executable, "-c", START, *args]

    def environment(self, **more: str) -> dict[str, str]:
        """The environment without what other settings would change."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "SFTPGO_", "PYTHON"))}
        return {**kept, "PYTHONPATH": str(self.source), **more}

    def call(self, *args: str) -> None:
        """Run a command to its end."""
        subprocess.run(
            self.command(*args), env=self.environment(), check=True, stdout=subprocess.DEVNULL, timeout=120
        )

    @contextlib.contextmanager
    def running(self, *args: str, **environment: str) -> Iterator[int]:
        """A command that runs until the end of the block; gives its process id."""
        process = subprocess.Popen(
            self.command(*args), env=self.environment(**environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, process.pid, 0)
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def listening() -> set[int]:
    """TCP ports of this host that are listened on."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def until_listening(port: int, pid: int) -> float:
    """Processor seconds of a process when it begins to listen."""
    end = time.monotonic() + LIMIT_SECONDS
    while port not in listening():
        if time.monotonic() > end or not Path(f"/proc/{pid}/exe").exists():
            raise RuntimeError(f"nothing listens on port {port}")
        time.sleep(LOOK_SECONDS)
    return cpu_seconds(pid)


def fetch(url: str) -> None:
    """Ask for a page; any answer will do."""
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=30).read()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process, pages that it shares with others included."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")) * 1024


def measure(program: Program) -> Figures:
    """Each kind of start once."""
    ssh, http = free_port(), free_port()
    figures: Figures = {}
    doors = {"SFTPD": ssh, "HTTPD": http}
    bindings = {f"TIDEGATE_{name}__BINDINGS__0__PORT": str(port) for name, port in doors.items()}
    bindings |= {f"TIDEGATE_{name}__BINDINGS__0__ADDRESS": "127.0.0.1" for name in doors}
    with program.running("serve", "-c", str(program.settings), **bindings) as pid:
        figures["serve to SSH, cpu s"] = until_listening(ssh, pid)
        until_listening(http, pid)
        fetch(f"http://127.0.0.1:{http}/api/v2/version")
        figures["serve to REST, cpu s"] = cpu_seconds(pid)
        fetch(f"http://127.0.0.1:{http}/healthz")
        subprocess.run(
            ["sftp", "-q", "-P", str(ssh), "-i", str(program.key), "-oStrictHostKeyChecking=no",
             "-oUserKnownHostsFile=/dev/null", "-oBatchMode=yes", "-b", "-", "bench@127.0.0.1"],
            input=b"ls\n", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip
        figures["resident, MiB"] = resident_bytes(pid) / 2**20
    port = free_port()
    with program.running("portable", "-d", str(program.files), "-s", str(port)) as pid:
        figures["portable, cpu s"] = until_listening(port, pid)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program.call("--version")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["--version, cpu s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--starts", type=int, default=10, help="starts of each kind")
    parser.add_argument("--beside", type=Path, metavar="SRC", help="`src` of another checkout, in turn")
    chosen = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="tidegate-start-"))
    sources = {"here": Path(__file__).parents[1] / "src"}
    if chosen.beside:
        sources["beside"] = chosen.beside.resolve()
    with contextlib.suppress(PermissionError):  # looking late would count what comes after
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    runs: dict[str, list[Figures]] = {name: [] for name in sources}
    try:
        programs = {}
        for name, source in sources.items():
            (base / name).mkdir()
            programs[name] = Program(source, base / name)
            measure(programs[name])  # host keys are made, files are in the cache
        print(f"reference loop {interpreter_ms():.0f} ms, load {os.getloadavg()[0]:.1f}", flush=True)
        for _ in range(chosen.starts):
            for name, program in programs.items():
                runs[name].append(measure(program))
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(f"reference loop {interpreter_ms():.0f} ms, load {os.getloadavg()[0]:.1f}; medians (least)")
    missed = False
    for figure, (must, aim) in TARGETS.items():
        values = {name: [run[figure] for run in runs[name]] for name in runs}
        texts = [f"{name} {median(v):8.3f} ({min(v):.3f})" for name, v in values.items()]
        reached = median(values["here"])
        verdict = "aim" if reached <= aim else "pass" if reached <= must else "FALLS SHORT"
        missed = missed or reached > must
        print(f"  {figure:22} {'  '.join(texts)}   must {must:g}  aim {aim:g}   {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    os.environ.pop("SSH_AUTH_SOCK", None)
    sys.exit(main())
