# SPDX-License-Identifier: Apache-2.0
"""A server under a supervisor that listens as systemd does."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.support.running import running


def test_the_supervisor_hears_of_start_reload_and_end(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind(str(tmp_path / "notify"))
        taker.settimeout(20)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000000"}

        def hear(word: str) -> str:
            while not (told := taker.recv(4096).decode()).startswith(f"{word}=1\n") and told != f"{word}=1":
                pass
            return told

        with running(tmp_path / "server", environment=environment) as server:
            assert hear("READY") == "READY=1\nSTATUS=0 sessions"
            assert hear("WATCHDOG") == "WATCHDOG=1\nSTATUS=0 sessions"
            server.send(signal.SIGHUP)
            assert "MONOTONIC_USEC=" in hear("RELOADING")
            hear("READY")
        assert hear("STOPPING") == "STOPPING=1"
