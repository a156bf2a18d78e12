# SPDX-License-Identifier: Apache-2.0
"""Marks of the server's process: no secret in its environment, no core dump, no new privileges."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.fork_server import COMMAND
from tests.support.running import running, wait_for

SECRET = "a passphrase that nobody may read"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s+(.*)$", text, re.MULTILINE))


def core_limit(pid: int) -> list[str]:
    (line,) = [one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in one]
    return line.split()[4:6]


def test_no_secret_stays_in_the_environment_and_all_goes_on_as_before(tmp_path: Path) -> None:
    """The real command: processes of the fork server were started with another environment."""
    program, seen = tmp_path / "hook", tmp_path / "seen"
    program.write_text(
        f'#!/bin/sh\nprintf %s "$TIDEGATE_HTTPD__SIGNING_PASSPHRASE $MARK" > {seen}.new\nmv {seen}.new {seen}\n'
    )
    program.chmod(0o755)
    environment = {"TIDEGATE_HTTPD__SIGNING_PASSPHRASE": SECRET, "MARK": "of the operator"}
    settings = {"common": {"startup_hook": str(program)}, "hooks": {"inherit_environment": True}}
    with running(
        tmp_path / "s", settings=settings, environment=environment, command=list(COMMAND)
    ) as server:  # fmt: skip
        shown = Path(f"/proc/{server.pid}/environ").read_bytes() if os.geteuid() == 0 else b"\0"
        wait_for(seen.exists, "the hook was not called")
        server.send(signal.SIGHUP)
        server.wait_line("tidegate.server.app", message="configuration reloaded")
        waiting = [line for line in server.lines("tidegate.server.app") if "restart" in line["message"]]

    assert shown.strip(b"\0") == b""
    assert seen.read_text() == f"{SECRET} of the operator"
    assert waiting == []


def test_c_code_and_children_still_find_their_variables() -> None:
    code = (
        "import ctypes, os, subprocess\n"
        "from tidegate.confinement.environment import hide_environment\n"
        "os.environ['LATER'] = 'late'\n"
        "print(hide_environment())\n"
        "getenv = ctypes.CDLL(None).getenv\n"
        "getenv.restype = ctypes.c_char_p\n"
        "print(getenv(b'MARK').decode(), getenv(b'LATER').decode(), os.environ['MARK'])\n"
        "print(open('/proc/self/environ', 'rb').read().strip(b'\\0'))\n"
        "print(subprocess.run(['sh', '-c', 'echo $MARK $LATER'], capture_output=True, text=True).stdout)\n"
    )
    environment = {**os.environ, "MARK": "x" * 5000, "": "an entry without a name"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )

    mark = "x" * 5000
    assert done.stdout.split() == ["True", mark, "late", mark, "b''", mark, "late"]


@pytest.mark.parametrize("kept", [True, False])
def test_a_crash_leaves_no_core_dump_and_programs_get_no_new_privileges(
    tmp_path: Path, *, kept: bool
) -> None:
    settings = {"sandbox": {} if kept else {"core_dumps": True, "no_new_privileges": False}}
    before = core_limit(os.getpid())
    with running(tmp_path / "s", settings=settings, command=list(COMMAND)) as server:
        found = status(server.pid)["NoNewPrivs"], core_limit(server.pid)
        owner = Path(f"/proc/{server.pid}/environ").stat().st_uid

    assert found == (("1", ["0", "0"]) if kept else (status(os.getpid())["NoNewPrivs"], before))
    assert owner == 0 if kept else owner == os.geteuid()
