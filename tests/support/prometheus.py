# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus on loopback, and promtool: installed, or unpacked by `.ci/run`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support import needs
from tests.support.ports import free_port

UNPACKED = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tidegate-tests/prometheus/usr/bin")
START_SECONDS = 30


def program(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``; without it the test ends."""
    found = needs.program(name) or needs.program(UNPACKED / name)
    return found or needs.absent(name)


def promtool(*words: str | Path) -> str:
    """Run promtool, which has to be content."""
    done = subprocess.run(
        [program("promtool"), *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Prometheus:
    url: str

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=10) as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.get("query", query=text)["result"]
        return found

    def wait(self, text: str, seconds: float = 30) -> list[dict[str, Any]]:
        """The series of a query, once there are some."""
        deadline = time.monotonic() + seconds
        while not (found := self.query(text)):
            assert time.monotonic() < deadline, f"nothing for {text}"
            time.sleep(0.05)
        return found


@contextlib.contextmanager
def prometheus(place: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes one target five times a second."""
    place.mkdir()
    port = free_port()
    config = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "tidegate", "static_configs": [{"targets": [target]}]}],
    }
    (place / "prometheus.yml").write_text(json.dumps(config))
    words = [
        program("prometheus"),
        f"--config.file={place / 'prometheus.yml'}",
        f"--storage.tsdb.path={place / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log)
    try:
        made = Prometheus(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                made.query("1")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (place / "log").read_text()
                time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait(20)
