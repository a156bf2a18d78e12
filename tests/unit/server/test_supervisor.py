# SPDX-License-Identifier: Apache-2.0
"""Datagrams of sd_notify(3), taken in by a socket as systemd has it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.server.supervisor import MAX_STATUS, Supervisor


@pytest.fixture(params=["path", "abstract"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = f"@tidegate-{secrets.token_hex(8)}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taker:
        taker.bind(f"\0{name[1:]}" if name[0] == "@" else name)
        taker.settimeout(5)
        yield name, taker


async def test_each_state_is_told(place: tuple[str, socket.socket]) -> None:
    name, taker = place
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    supervisor = Supervisor(environment)
    supervisor.ready("2 sessions\nREADY=0" + "x" * 500)
    supervisor.reloading()
    supervisor.stopping()

    ready, reloading, stopping = (taker.recv(4096).decode().split("\n") for _ in range(3))
    assert ready[0] == "READY=1"
    assert ready[1].startswith("STATUS=2 sessions READY=0x")  # one line, whatever the text is
    assert len(ready) == 2
    assert len(ready[1]) == MAX_STATUS + len("STATUS=")
    assert reloading[0] == "RELOADING=1"
    assert reloading[1].startswith("MONOTONIC_USEC=")
    assert stopping == ["STOPPING=1"]

    assert supervisor.watchdog_seconds == 0.02
    watch = asyncio.create_task(supervisor.watch(lambda: "well"))
    signs = [await asyncio.to_thread(taker.recv, 4096) for _ in range(3)]
    watch.cancel()
    assert signs == [b"WATCHDOG=1\nSTATUS=well"] * 3


async def test_without_a_supervisor_nothing_is_told_and_nothing_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    silent = Supervisor({})
    silent.ready("x")
    await silent.watch(lambda: "x")
    assert silent.watchdog_seconds == 0
    assert Supervisor({"WATCHDOG_USEC": "5000", "WATCHDOG_PID": "1"}, pid=2).watchdog_seconds == 0
    assert caplog.text == ""
    gone = Supervisor({"NOTIFY_SOCKET": "/nowhere/at/all"})
    gone.ready("x")
    assert "was not told READY=1" in caplog.text
    Supervisor({"NOTIFY_SOCKET": "vsock:2:1"})
    assert "neither a path" in caplog.text
