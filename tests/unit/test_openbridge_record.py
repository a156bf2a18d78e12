# SPDX-License-Identifier: Apache-2.0
"""Rows of ftpd_log as the gateway writes them, and what happens while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.events.kinds import LoggedIn, Operated, Transferred
from tidegate.model import Account, Origin
from tidegate.model.action import Action
from tidegate.openbridge import record as module
from tidegate.openbridge.record import Record
from tidegate.openbridge.tables import Tables

ORIGIN = Origin("c", "tester", "SFTP", "172.24.0.2", "172.24.0.1:22", "172.24.0.2:4000")
TESTER = Account(username="tester", home_dir="/mnt/ebs/ftpd/tester", permissions={"/": ("*",)})


class Written:
    """In the place of the database: keeps what is written, or fails as often as it is told to."""

    label = "mysql at db"

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.logins: dict[str, int] = {}
        self.lines: list[Mapping[str, object]] = []

    async def record(self, logins: Mapping[str, int], lines: Sequence[Mapping[str, object]]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        for name, times in logins.items():
            self.logins[name] = self.logins.get(name, 0) + times
        self.lines += lines


def record_to(written: Written, **more: Any) -> Record:
    return Record(
        cast("Tables", written),
        lambda name: TESTER if name == "tester" else None,
        **{"bucket": "s3sftp-test", "mount_point": "/mnt", **more},
    )


def upload(path: str, *, status: Any = "ok", size: int = 79995, **more: Any) -> Transferred:
    given = {"elapsed": 1.0021, **more}
    return Transferred(ORIGIN, 1547000000.7, Action.UPLOAD, status, path, size=size, **given)


async def written_of(*events: object, **more: Any) -> Written:
    written = Written()
    record = record_to(written, **more)
    await record.open()
    for event in events:
        await record.handle(event)
    await record.close()
    return written


async def test_rows_of_the_guide_come_out_again() -> None:
    found = await written_of(upload("/summary.xls", status="failed"), upload("/select-s3.png"))
    failed, stored = found.lines
    assert failed["path_hash"] == "687071838d02524f28e3ee8a63646b3f"
    assert stored["path_hash"] == "e18fb25ed6434279ae96a879bada9d60"
    assert stored["file_path"] == "/mnt/ebs/ftpd/tester/select-s3.png"
    names = (
        "userid", "server_ip", "operation", "protocol", "client_ip", "transfer_time", "bytes_transfer",
        "bucket", "transfer_status", "process_status",
    )  # fmt: skip
    assert [stored[name] for name in names] == [
        "tester", "172.24.0.1", "STOR /select-s3.png", "sftp", "172.24.0.2", 1.002, 79995, "s3sftp-test",
        "success", 0,
    ]  # fmt: skip
    assert [failed[name] for name in names[5:9]] == [0.0, 0, "s3sftp-test", "failed"]
    assert str(stored["transfer_date"]) == "2019-01-09 02:13:20"


async def test_what_the_gateway_does_not_write_is_not_written() -> None:
    found = await written_of(
        Transferred(ORIGIN, 1.0, Action.DOWNLOAD, "ok", "/a"),
        Operated(origin=ORIGIN, action=Action.MKDIR, virtual_path="/d"),
        Transferred(Origin(username="stored"), 1.0, Action.UPLOAD, "ok", "/a"),
        LoggedIn(origin=Origin(username="stored")),
        "no event",
    )
    assert (found.lines, found.logins) == ([], {})


async def test_verbs_names_and_switches() -> None:
    removed = Operated(origin=ORIGIN, action=Action.REMOVE, virtual_path="/\udcff" + "n" * 2000)
    found = await written_of(upload("/u", command="STOU"), upload("/a", command="APPE"), removed)
    assert [str(line["operation"])[:9] for line in found.lines] == ["STOU /u", "STOR /a", "DELE /\\ud"]
    assert len(str(found.lines[2]["operation"])) == 1024
    login = LoggedIn(origin=ORIGIN)
    assert (await written_of(login, login, upload("/a"), log=False)).logins == {"tester": 2}
    assert (await written_of(login, upload("/a"), log=False)).lines == []
    assert (await written_of(login, upload("/a"), count=False)).logins == {}
    assert (await written_of(upload("/a"), mount_point="/mnt/ebs/ftpd/tester/a")).lines[0]["bucket"] == ""


async def test_nothing_is_lost_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "BATCH", 2)
    written = Written(*(ProviderUnavailable() for _ in range(3)))
    record = record_to(written)
    await record.open()
    await record.handle(LoggedIn(origin=ORIGIN))
    for number in range(5):
        await record.handle(upload(f"/{number}"))
    async with asyncio.timeout(10):
        while len(written.lines) < 5:
            await asyncio.sleep(0.01)
    await record.close()
    assert [str(line["operation"]) for line in written.lines] == [f"STOR /{number}" for number in range(5)]
    assert written.logins == {"tester": 1}


async def test_bounds_and_refusals(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    written = Written()
    record = record_to(written)
    for number in range(5):
        record.handle_nowait(upload(f"/{number}"))
    await record.open()
    await record.close()
    assert len(written.lines) == 2
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.05)
    refusing = Written(ProviderError("no"))
    record = record_to(refusing)
    await record.open()
    await record.handle(upload("/a"))
    await record.close()
    assert (refusing.failures, refusing.lines) == ([], [])
