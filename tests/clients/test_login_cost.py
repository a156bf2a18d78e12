# SPDX-License-Identifier: Apache-2.0
"""Work of the server for a login: how much Python it runs, so that no work creeps in.

A login comes when the processor has done something else, and finds little of what it needs in its caches. So
what counts is how many different functions it runs, more than how often. docs/explanation/performance.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import counted_calls
from tests.support.running import Running, wait_for

FUNCTIONS = 826
"""Different Python functions that the main thread runs in most logins. It was 927; some twenty charge strangers."""
CALLS = 2400
"""Calls of Python functions for one login. It was 3050."""
LOGINS = 10

pytestmark = pytest.mark.needs("sftp")


def log_in(running: Running, username: str) -> None:
    command = [
        *("sftp", "-q", "-F", "none", "-b", "-", "-P", str(running.port), "-i", str(running.key)),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "IdentitiesOnly=yes"),
        *("-o", "Ciphers=aes128-gcm@openssh.com", "-o", "LogLevel=ERROR", f"{username}@127.0.0.1"),
    ]
    done = subprocess.run(command, input="pwd\n", capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


def test_a_login_runs_few_functions(tmp_path: Path) -> None:
    counted = tmp_path / "counted.json"
    running = Running(
        tmp_path / "config",
        command=[sys.executable, counted_calls.__file__],
        environment={counted_calls.COUNTED_TO: str(counted)},
    )
    running.start()
    try:
        person = running.account()
        for _ in range(3):
            log_in(running, person.name)
        running.send(counted_calls.COUNT)
        wait_for(counted.exists, "the server did not begin to count")
        for _ in range(LOGINS):
            log_in(running, person.name)
        running.send(counted_calls.COUNT)
        wait_for(lambda: counted.stat().st_size > 0, "the server did not count")
    finally:
        running.stop()
    calls: dict[str, int] = json.loads(counted.read_text())
    functions = [name for name, number in calls.items() if number >= LOGINS // 2]
    print(f"{len(functions)} functions, {sum(calls.values()) / LOGINS:.0f} calls for a login")
    assert 500 < len(functions) < FUNCTIONS
    assert sum(calls.values()) / LOGINS < CALLS
