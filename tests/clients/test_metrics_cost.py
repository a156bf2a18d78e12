# SPDX-License-Identifier: Apache-2.0
"""Work of the server that is there for metrics, as calls of Python functions: whatever else the host does meanwhile.

docs/explanation/performance.md has the same in processor time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import counted_calls
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for

FILES = 300
SHARE = 0.01
"""Of all calls of an upload of small files, those that metrics add, at most."""

pytestmark = pytest.mark.needs("sftp")


def put(running: Running, person: Person, source: Path, target: str) -> None:
    command = [
        *("sftp", "-q", "-F", "none", "-b", "-", "-P", str(running.port), "-i", str(person.key)),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"),
        *("-o", "Ciphers=aes128-gcm@openssh.com", "-o", "LogLevel=ERROR", f"{person.name}@127.0.0.1"),
    ]
    batch = f"put -r {source} /{target}\n"
    done = subprocess.run(command, input=batch, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def calls_of(tmp_path: Path, settings: dict[str, object]) -> dict[str, int]:
    """Calls by function while small files were uploaded."""
    counted = tmp_path / "counted.json"
    source = tmp_path / "files"
    source.mkdir(parents=True)
    for number in range(FILES):
        (source / f"{number:04}").write_bytes(b"x" * 2048)
    running = Running(
        tmp_path / "config",
        settings=settings,
        command=[sys.executable, counted_calls.__file__],
        environment={counted_calls.COUNTED_TO: str(counted)},
    )
    running.start()
    try:
        person = running.account()
        put(running, person, source, "first")
        running.send(counted_calls.COUNT)
        wait_for(counted.exists, "the server did not begin to count")
        put(running, person, source, "second")
        running.send(counted_calls.COUNT)
        wait_for(lambda: counted.stat().st_size > 0, "the server did not count")
    finally:
        running.stop()
    return dict(json.loads(counted.read_text()))


def test_metrics_add_less_than_one_call_in_a_hundred(tmp_path: Path) -> None:
    plain = calls_of(tmp_path / "plain", {})
    measured = calls_of(tmp_path / "measured", {"telemetry": {"bind_port": free_port()}})
    counting = {name: number for name, number in measured.items() if "/tidegate/metrics/" in name}
    puts = [
        sum(number for name, number in calls.items() if name.endswith("_QuickSinkQueue.put"))
        for calls in (plain, measured)
    ]
    drains = sum(number for name, number in measured.items() if name.endswith("_QuickSinkQueue._drain"))
    added = puts[1] - puts[0] + sum(counting.values()) + drains
    print(
        f"{added} of {sum(measured.values())} calls: {100 * added / sum(measured.values()):.2f} %, {counting}"
    )
    assert puts[1] - puts[0] >= FILES, "the ends of the uploads were not counted"
    assert added < SHARE * sum(measured.values())
    # One call to have an event counted, and none to count it.
    assert sum(counting.values()) < FILES
