# SPDX-License-Identifier: Apache-2.0
"""Random histories, done here and on wsgidav: the same answers and the same tree, but for what is listed.

wsgidav is a second opinion, not the truth: a difference that lasts stands in `differs`, with its reason.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.dav_world import SECONDS, Dav, DavServer, dav_server
from tests.support.ports import free_port
from tests.support.running import wait_for

HISTORIES = 8
STEPS = 60


@dataclass(frozen=True)
class Step:
    method: str
    path: str
    target: str = ""
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()


def history(seed: int) -> Iterator[Step]:
    chance = random.Random(seed)

    def path() -> str:
        depth = chance.choice([1, 1, 2, 2, 3])
        return "".join("/" + chance.choice(["a", "b", "c%20d", "%C3%A9"]) for _ in range(depth))

    for number in range(STEPS):
        method = chance.choice(
            ["PUT"] * 5 + ["MKCOL"] * 4 + ["COPY", "MOVE"] * 3 + ["DELETE"] + ["GET", "PROPFIND"]
        )
        if method in ("COPY", "MOVE"):
            more = (("Overwrite", chance.choice("TTF")),)
            if method == "COPY" and chance.random() < 0.2:
                more += (("Depth", "0"),)
            yield Step(method, path(), path(), headers=more)
        elif method == "PUT":
            yield Step(method, path(), body=b"%d" % number * chance.randrange(200))
        elif method == "PROPFIND":
            yield Step(method, path(), headers=(("Depth", "0"),))
        else:
            yield Step(method, path())


def differs(step: Step, ours: int, theirs: int) -> str:
    """The reason of a difference that lasts; empty for one that should not be."""
    if step.method in ("COPY", "MOVE"):
        if step.path == step.target or step.target.startswith(step.path + "/"):
            return "both refuse to put something into itself, by other codes" * (ours >= 400 <= theirs)
        if step.path.startswith(step.target + "/"):
            return "a directory is not removed for the sake of what is in it (RFC 4918 leaves that open)"
        if ours == theirs and ("Depth", "0") in step.headers:
            return "wsgidav leaves what is in a directory that a flat copy replaces (RFC 4918 section 9.8.4)"
    if step.method == "GET" and (ours, theirs) == (200, 301):
        return "wsgidav sends to the address of a directory with a slash; the page is shown at either"
    if ours >= 400 <= theirs:
        return "both refuse, by other codes"
    return ""


class Wsgidav:
    """wsgidav on loopback."""

    def __init__(self, root: Path, log: Path) -> None:
        self.port = free_port()
        words = ["--host", "127.0.0.1", "--port", str(self.port), "--root", str(root), "--auth", "anonymous"]
        self._log = log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "wsgidav.server.server_cli", *words, "-q", "--no-config"],
            stdout=self._log,
            stderr=self._log,
        )

        def answers() -> bool:
            try:
                with Dav(self.port) as client:
                    client.code("OPTIONS", "/")
            except OSError:
                return False
            return True

        wait_for(answers, f"wsgidav does not answer: see {log}", SECONDS)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DavServer, Wsgidav, Path]]:
    base = tmp_path_factory.mktemp("both")
    root = base / "root"
    root.mkdir()
    with dav_server(base / "ours") as server, contextlib.closing(Wsgidav(root, base / "log")) as other:
        yield server, other, root


def tree(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_random_histories(both: tuple[DavServer, Wsgidav, Path], seed: int) -> None:
    server, other, root = both
    person = server.account()
    theirs_root = root / f"h{seed}"
    theirs_root.mkdir()
    reasons = []
    with Dav(server.plain, person) as ours, Dav(other.port) as theirs:
        for step in history(seed):
            codes = []
            before = tree(person.home)
            for client, prefix in ((ours, ""), (theirs, f"/h{seed}")):
                more = dict(step.headers)
                if step.target:
                    more["Destination"] = client.to(prefix + step.target)
                try:
                    codes.append(client.code(step.method, prefix + step.path, step.body, **more))
                except http.client.HTTPException:
                    codes.append(500)
                    client.connection.close()
            here, there = tree(person.home), tree(theirs_root)
            if codes[0] != codes[1] or here != there:
                reason = differs(step, *codes)
                assert reason, (seed, step, codes, before, sorted(here.keys() ^ there.keys()))
                reasons.append(reason)
                if here != there:  # go on from one state
                    _same(person.home, theirs_root)
    assert len(reasons) < STEPS / 2


def _same(ours: Path, theirs: Path) -> None:
    for path in theirs.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(ours, theirs, dirs_exist_ok=True)
