# SPDX-License-Identifier: Apache-2.0
"""Runs the SFTP tests of other projects against Tidegate.

Their source archives are fetched with pip into a cache, checked against the digest in
`tests/data/conformance.toml` and unpacked for one run; none of their text is kept in this repository. A
process of its own runs them under pytest with the plugins of `tests/support/conformance_inside`, which put
Tidegate where the suite would start a server. Set `TIDEGATE_TEST_CACHE` to choose the cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.needs import absent

HERE = Path(__file__).parent
LIST = HERE.parent / "data" / "conformance.toml"
INSIDE = HERE / "conformance_inside"

FETCH_SECONDS = 180
RUN_SECONDS = 200
TEST_SECONDS = 30
"""One test of theirs; the longest takes about one."""


@dataclass(frozen=True)
class Outcome:
    """The result of a run. Tests are named ``Class::test``."""

    passed: list[str]
    skipped: dict[str, str]
    failed: dict[str, str]
    left_out: dict[str, int]
    """The number of tests that each reason of the list left out."""
    unused: list[str]
    """Patterns of the list that fit no test: the suite has changed, or the list is wrong."""


def suite(name: str) -> dict[str, Any]:
    """The list's entry about a suite."""
    return tomllib.loads(LIST.read_text(encoding="utf-8"))[name]


def cache() -> Path:
    """The directory of archives that are kept between runs."""
    chosen = os.environ.get("TIDEGATE_TEST_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(chosen) if chosen else Path(base) / "tidegate-tests"


def fetch(name: str) -> Path:
    """The archive of a suite, from the cache or the package index.

    Skips the test that asks where it cannot be had; with ``CI=true`` the test fails.
    """
    entry = suite(name)
    archive = cache() / f"{name}-{entry['version']}.tar.gz"
    if not archive.exists() and (trouble := _download(name, entry, archive)):
        absent(f"the source archive of {name} {entry['version']}: {trouble}")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert digest == entry["sha256"], f"{archive} is not the archive of {name} {entry['version']}; remove it"
    return archive


def _download(name: str, entry: dict[str, Any], archive: Path) -> str:
    """Put the archive into the cache; what went wrong, or an empty text."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
        wanted = Path(scratch, "wanted.txt")
        wanted.write_text(f"{name}=={entry['version']} --hash=sha256:{entry['sha256']}\n")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
            "--no-deps", "--no-binary", name, "--require-hashes", "-r", str(wanted), "-d", scratch,
        ]  # fmt: skip
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer in {FETCH_SECONDS} s"
        if ended.returncode:
            return (ended.stderr.strip().splitlines() or ["pip failed"])[-1]
        fetched = Path(scratch, archive.name)
        if not fetched.exists():
            return "pip stored it under another name"
        fetched.replace(archive)
    return ""


def plain_privileges() -> list[str]:
    """A prefix that keeps root from reading and writing what modes forbid, which the tests expect to be refused."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--"]


def run(name: str, directory: Path, *more: str) -> Outcome:
    """Run a suite in a process of its own.

    Args:
        name: the suite, a table of the list.
        directory: scratch space.
        more: further arguments for pytest.
    """
    entry = suite(name)
    with tarfile.open(fetch(name)) as archive:
        archive.extractall(directory, filter="data")
    source = directory / f"{name}-{entry['version']}"
    report = directory / "report.json"
    settings = directory / "conformance.ini"
    settings.write_text("[pytest]\nmarkers = slow\n")
    # Only their tests are taken from the archive: the library is the installed one, whatever lies beside them.
    (source / name).rename(source / "not-the-installed-one")
    command = [
        *plain_privileges(), sys.executable, "-m", "pytest", "-q", "-c", str(settings), f"--rootdir={source}", "--noconftest",
        "-p", "selection", "-p", f"for_{name}", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "no:asyncio",
        "-p", "no:xdist", f"--timeout={TEST_SECONDS}", "--tb=short", *more, *entry["files"],
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")} | {
        "CONFORMANCE_LIST": str(LIST),
        "CONFORMANCE_SUITE": name,
        "CONFORMANCE_REPORT": str(report),
        "CONFORMANCE_SOURCE": str(source),
        "PYTHONPATH": os.pathsep.join([str(INSIDE), str(source)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(directory),
    }
    log = directory / "log.txt"
    with log.open("wb") as out:
        ended = subprocess.run(
            command, cwd=source, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            timeout=RUN_SECONDS, check=False,
        )  # fmt: skip
    assert report.exists(), (
        f"the run ended with {ended.returncode}:\n{log.read_text(errors='replace')[-4000:]}"
    )
    answer = json.loads(report.read_text())
    by = {
        kind: [n for n, o in answer["outcomes"].items() if o == kind]
        for kind in ("passed", "skipped", "failed")
    }
    texts = answer["texts"]
    return Outcome(
        by["passed"],
        {n: texts.get(n, "") for n in by["skipped"]},
        {n: texts.get(n, "") for n in by["failed"]},
        answer["left_out"],
        answer["unused"],
    )
