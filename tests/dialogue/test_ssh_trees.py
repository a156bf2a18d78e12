# SPDX-License-Identifier: Apache-2.0
"""``tidegate-copy`` and ``tidegate-remove`` while they run: seen among the transfers, told in the log, cancelled."""

from __future__ import annotations

import asyncio
import logging

import pytest
from tests.support.memory_session import MemorySession

from tidegate.doors.common.command_line import split
from tidegate.doors.ssh import trees
from tidegate.doors.ssh.command import Call, Input, Invocation
from tidegate.errors import Denied


class Output:
    def __init__(self) -> None:
        self.out, self.err = b"", ""

    async def write(self, data: bytes) -> None:
        self.out += data

    async def error(self, text: str) -> None:
        self.err += f"{text}\n"


def call(line: str, session: MemorySession) -> Call:
    words = split(line)
    given = Invocation(line, str(words[0]), tuple(words[1:]))
    return Call(given, session, Input(lambda: None, lambda: None), Output())


@pytest.mark.parametrize(
    ("line", "operation", "gate"),
    [("tidegate-copy /d /e", "copy", "copy"), ("tidegate-remove /d", "remove", "remove")],
)
async def test_it_is_seen_and_told_while_it_runs(
    line: str, operation: str, gate: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trees, "REPORT_SECONDS", 0.0)
    caplog.set_level(logging.INFO, logger=trees.__name__)
    session = MemorySession()
    for name in ("a", "b", "sub/c"):
        session.put(f"/d/{name}", b"12345")
    held = session.gates[gate] = asyncio.Event()
    asked = call(line, session)
    work = asyncio.ensure_future(trees.copy(asked) if operation == "copy" else trees.remove(asked))
    while not any(entered[0] == gate for entered in session.entered):
        await asyncio.sleep(0)
    (transfer,) = session.transfers
    assert (transfer.operation_type, transfer.size) == (operation, 0)
    assert transfer.virtual_path.startswith("/d/")
    held.set()
    assert await work == 0
    assert session.transfers == set()
    assert (transfer.files, transfer.size) == (3, 15)
    assert any("2 files, 10 bytes so far" in record.getMessage() for record in caplog.records)


async def test_it_ends_with_its_client() -> None:
    session = MemorySession()
    session.put("/d/a", b"x")
    session.put("/d/sub/b", b"x")
    session.gates["copy"] = asyncio.Event()
    work = asyncio.ensure_future(trees.copy(call("tidegate-copy /d /e", session)))
    while not any(entered[0] == "copy" for entered in session.entered):
        await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert session.transfers == set()
    assert session.open_listings == 0


async def test_failures_beyond_a_hundred_are_counted() -> None:
    session = MemorySession()
    for number in range(trees.MAX_LINES + 7):
        session.put(f"/d/{number}", b"x")
    session.errors["remove"] = Denied()
    asked = call("tidegate-remove /d", session)
    assert await trees.remove(asked) == 1
    lines = asked.output.err.splitlines()
    assert len(lines) == trees.MAX_LINES + 1
    assert lines[-1] == "tidegate-remove: and 7 failures more"
