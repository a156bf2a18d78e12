# SPDX-License-Identifier: Apache-2.0
"""Scans show how far they are: in the list, as an outcome afterwards, and in the log when they last."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest
from tests.support.vfs_world import World, put, vfs_world

from tidegate import errors as e
from tidegate.vfs.usage import progress
from tidegate.vfs.usage.progress import Scan, ScanList


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger=progress.__name__)
    return caplog


class Clock:
    """A clock that a test turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def texts(lines: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in lines.records if record.name == progress.__name__]


async def test_a_scan_runs_and_is_remembered() -> None:
    scans = ScanList()
    scan = scans.enter("user", "alice")
    assert time.time() * 1000 - 60_000 < scan.started_ms <= time.time() * 1000
    assert (scan.state, scan.ended_ms) == ("running", 0)
    assert scans.busy("user", "alice")
    assert not scans.busy("folder", "alice")
    assert scans.find("user", "alice") is scan
    assert scans.running() == scans.running("user") == [scan]
    assert scans.running("folder") == []
    with pytest.raises(e.Conflict):
        scans.enter("user", "alice")

    with scans.leaving(scan):
        scan.restart()
        scan.count(5)
        scan.restart()
        scan.count(7)
        scan.count(10, 3)
    assert (scan.files, scan.size, scan.tries) == (4, 17, 2)
    assert (scan.state, scan.error) == ("done", "")
    assert scan.started_ms <= scan.ended_ms <= time.time() * 1000
    assert scans.running() == []
    assert scans.find("user", "alice") is scan


async def test_a_scan_that_fails_says_why() -> None:
    scans = ScanList()
    for name, failure, said in (
        ("a", e.StorageFailed("disk on fire"), "disk on fire"),
        ("b", OverflowError(), "OverflowError"),
        ("c", asyncio.CancelledError(), "stopped"),
    ):
        scan = scans.enter("folder", name)
        with pytest.raises(type(failure)), scans.leaving(scan):
            raise failure
        assert scans.find("folder", name) is scan
        assert (scan.state, scan.error) == ("failed", said)


async def test_what_never_began_leaves_the_outcome_of_before() -> None:
    scans = ScanList()
    first = scans.enter("user", "alice")
    with scans.leaving(first):
        pass
    scans.withdraw(scans.enter("user", "alice"))
    assert scans.find("user", "alice") is first
    scans.withdraw(scans.enter("user", "nobody"))
    assert scans.find("user", "nobody") is None


async def test_outcomes_are_remembered_for_the_latest_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "ENDED_KEPT", 3)
    scans = ScanList()
    for name in ("a", "b", "c", "a", "d"):
        with scans.leaving(scans.enter("user", name)):
            pass
    assert [name for name in "abcd" if scans.find("user", name)] == ["a", "c", "d"]


async def test_a_long_scan_has_a_line_now_and_then(
    clock: Clock, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = ScanList()
    scan = scans.enter("user", "alice")
    scan.count(12, 2)
    with scans.leaving(scan):
        clock.now += progress.LINE_SECONDS - 0.001
        scans._tell()
        assert texts(lines) == []
        clock.now += 0.001
        scans._tell()
        scans._tell()
        assert texts(lines) == ["quota scan of user alice: 2 files, 12 bytes so far, 10 s"]
        scan.count(1)
        clock.now += progress.LINE_SECONDS
        scans._tell()
        assert texts(lines)[1:] == ["quota scan of user alice: 3 files, 13 bytes so far, 20 s"]
        clock.now += 1
    assert texts(lines)[2:] == ["quota scan of user alice: 3 files, 13 bytes, counted in 21 s"]


async def test_a_short_scan_has_no_line(clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    scans = ScanList()
    with scans.leaving(scans.enter("user", "alice")):
        clock.now += progress.LINE_SECONDS - 0.001
        scans._tell()
    assert texts(lines) == []


async def test_many_long_scans_share_a_few_lines(clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    scans = ScanList()
    running = [scans.enter("folder", f"f{number}") for number in range(progress.LINES + 2)]
    clock.now += progress.LINE_SECONDS
    scans._tell()
    said = texts(lines)
    assert len(said) == progress.LINES + 1
    assert said[-1] == "2 more quota scans run"
    for scan in running:
        scans.withdraw(scan)


async def test_the_timer_tells_and_ends_with_the_last_scan(
    lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real time: lines come by themselves while something runs, and nothing is left behind."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    scans = ScanList()
    scan = scans.enter("user", "alice")
    async with asyncio.timeout(10):
        with scans.leaving(scan):
            while len(texts(lines)) < 3:
                await asyncio.sleep(0)
    assert scans._timer is None
    async with asyncio.timeout(10):
        with scans.backlog(2):
            before = len(texts(lines))
            while len(texts(lines)) < before + 2:
                await asyncio.sleep(0)
    assert scans._timer is None


async def test_accounts_counted_in_turn_are_told_of_together(
    clock: Clock, lines: pytest.LogCaptureFixture
) -> None:
    scans = ScanList()
    with scans.backlog(5000) as backlog:
        for number in range(20):
            scan: Scan = scans.enter("user", f"u{number}")
            with scans.leaving(scan):
                clock.now += 1
            backlog.done += 1
            backlog.files += 3
            scans._tell()
    assert texts(lines) == [
        "uncertain usage is counted again: 10 of 5000 accounts, 30 files, 10 s so far",
        "uncertain usage is counted again: 20 of 5000 accounts, 60 files, 20 s so far",
        "uncertain usage is counted again: 20 of 5000 accounts, 60 files, in 20 s",
    ]


async def test_a_start_after_a_crash_shows_what_it_counts(
    tmp_path: Path, clock: Clock, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        await _crashed(world)
        scans = world.start().scans
        count = scans._count
        seen: list[tuple[str, str, int]] = []

        async def slow(spec: object, scan: Scan) -> tuple[int, int]:
            counted = await count(spec, scan)  # type: ignore[arg-type]
            clock.now += progress.LINE_SECONDS
            scans.progress._tell()
            seen.extend((one.kind, one.name, one.files) for one in scans.progress.running())
            return counted

        monkeypatch.setattr(scans, "_count", slow)
        assert await world.vfs.reconcile() == ["alice"]

        assert seen == [("user", "alice", 2)]
        assert texts(lines) == [
            "uncertain usage is counted again: 0 of 1 accounts, 0 files, 10 s so far",
            "quota scan of user alice: 2 files, 30 bytes so far, 10 s",
            "quota scan of user alice: 2 files, 30 bytes, counted in 10 s",
            "uncertain usage is counted again: 1 of 1 accounts, 2 files, in 10 s",
        ]
        outcome = scans.progress.find("user", "alice")
        assert outcome is not None
        assert (outcome.state, outcome.exact, outcome.tries) == ("done", True, 1)


async def _crashed(world: World) -> None:
    """Alice has two files, and the mark of a server that died."""
    world.account(quota_size=1_000_000)
    session = await world.login()
    await put(session, "/a", b"a" * 10)
    await put(session, "/b", b"b" * 20)
    await session.close()
    await world.vfs.close()
    await world.store.mark_usage("alice", dirty=True)
