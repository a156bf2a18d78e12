# SPDX-License-Identifier: Apache-2.0
"""Amounts after one operation, compared with what lies on the disk; and what a refused file says."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest
from tests.support.vfs_world import PUT, RESUME, World, p, put, vfs_world

from tidegate import errors as e
from tidegate.abc import Publish
from tidegate.events.kinds import QuotaWarning, Refused
from tidegate.model import Attrs
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.usage.scan import STEADY_TRIES

RESUME_AND_READ = OpenFlags(read=True)
MODES = [Publish.INPLACE, Publish.ATOMIC, Publish.RESUMABLE]
BOTH_WAYS = pytest.mark.parametrize("quick", [True, False], ids=["quick", "slow"])


def on_disk(root: Path) -> tuple[int, int]:
    sizes = [os.lstat(os.path.join(at, name)).st_size for at, _, found in os.walk(root) for name in found]
    return sum(sizes), len(sizes)


async def write(file, offset: int, data: bytes, *, quick: bool) -> None:
    if not (quick and file.write_nowait(offset, data)):
        await file.write(offset, data)


# -- a write of nothing ------------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize("mode", MODES)
async def test_a_write_of_nothing_costs_nothing(tmp_path: Path, mode: Publish, quick: bool) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await world.login(world.account(quota_size=100_000))
        file = await session.open(p("/n"), PUT)
        await write(file, 50_000, b"", quick=quick)
        assert world.vfs.tracker.live("alice").size.used == 0
        await file.close()
        assert await world.used() == on_disk(world.home()) == (0, 1)
        await session.remove(p("/n"))
        assert await world.used() == (0, 0)


@BOTH_WAYS
async def test_a_write_of_nothing_is_never_refused(tmp_path: Path, quick: bool) -> None:
    async with vfs_world(tmp_path) as world:
        account = world.account(quota_size=1000, filters={"max_upload_file_size": 100})
        session = await world.login(account)
        file = await session.open(p("/n"), PUT)
        await write(file, 0, b"12345", quick=quick)
        await write(file, 5000, b"", quick=quick)
        await file.close()
        assert await world.used() == on_disk(world.home()) == (5, 1)


# -- limits that are not set -------------------------------------------------------------------------------


async def test_no_rule_is_named_that_is_not_set(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, track_quota=1) as world:
        session = await world.login(world.account())
        file = await session.open(p("/n"), PUT)
        await file.write(0, b"12345")
        with pytest.raises(e.StorageFull, match=r"^file too large for the storage$"):
            await file.write(2**62, b"x")
        with pytest.raises(e.StorageFull):
            await file.close()
        assert (world.home() / "n").read_bytes() == b"12345"  # what came before is not lost
        with pytest.raises(e.StorageFull):
            await session.set_attrs(p("/n"), Attrs(size=2**62))
        assert await world.used() == on_disk(world.home()) == (5, 1)
        assert not world.of(Refused)


@pytest.mark.parametrize("size", [99, 100, 101])
async def test_the_largest_file_that_may_be(tmp_path: Path, size: int) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(filters={"max_upload_file_size": 100}, quota_size=1000))
        await put(session, "/n", b"x")
        if size <= 100:
            await session.set_attrs(p("/n"), Attrs(size=size))
            await put(session, "/m", bytes(size))
            assert await world.used() == on_disk(world.home()) == (2 * size, 2)
            return
        with pytest.raises(e.TooLarge, match="max_upload_file_size"):
            await session.set_attrs(p("/n"), Attrs(size=size))
        with pytest.raises(e.TooLarge):
            await put(session, "/m", bytes(size))
        assert await world.used() == on_disk(world.home()) == (1, 1)


# -- one file has one place, limits or not -----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
async def test_an_upload_through_a_link_and_the_removal_of_its_file(tmp_path: Path, mode: Publish) -> None:
    async with vfs_world(tmp_path, upload_mode=mode, track_quota=1) as world:
        session = await world.login(world.account())
        await session.mkdir(p("/a"))
        await put(session, "/a/x", b"x" * 20)
        (world.home() / "link").symlink_to("a")
        file = await session.open(p("/link/x"), PUT)
        await session.remove(p("/a/x"))
        await file.close()
        (world.home() / "link").unlink()
        assert await world.used() == on_disk(world.home())


async def test_growth_of_a_file_with_two_names_without_limits(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, track_quota=1) as world:
        session = await world.login(world.account())
        await put(session, "/a", b"x" * 20)
        await session.hardlink(p("/a"), p("/b"))
        file = await session.open(p("/a"), RESUME)
        await file.write(20, b"y" * 30)
        await file.close()
        assert await world.used() == on_disk(world.home()) == (100, 2)


# -- truncate, copy, marks ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 19, 20, 21, 1000])
async def test_truncate_by_path_and_by_handle(tmp_path: Path, size: int) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=10_000))
        await put(session, "/a", b"x" * 20)
        await put(session, "/b", b"x" * 20)
        await session.set_attrs(p("/a"), Attrs(size=size))
        file = await session.open(p("/b"), RESUME)
        await file.set_attrs(Attrs(size=size))
        await file.close()
        assert await world.used() == on_disk(world.home()) == (2 * size, 2)


@pytest.mark.parametrize("rest", [-1, 0, 1])
async def test_a_truncate_that_grows_up_to_the_limit(tmp_path: Path, rest: int) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=100))
        await put(session, "/a", b"x" * 20)
        if rest > 0:
            with pytest.raises(e.QuotaExceeded):
                await session.set_attrs(p("/a"), Attrs(size=100 + rest))
            assert await world.used() == on_disk(world.home()) == (20, 1)
        else:
            await session.set_attrs(p("/a"), Attrs(size=100 + rest))
            assert await world.used() == on_disk(world.home()) == (100 + rest, 1)


@pytest.mark.parametrize("offsets", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
async def test_copy_data_takes_no_negative_numbers(tmp_path: Path, offsets: tuple[int, int, int]) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1000))
        await put(session, "/a", b"x" * 20)
        source, target = await session.open(p("/a"), RESUME_AND_READ), await session.open(p("/b"), PUT)
        with pytest.raises(e.InvalidArgument):
            await session.copy_range(source, offsets[0], offsets[1], target, offsets[2])
        await source.close()
        await target.close()
        assert await world.used() == on_disk(world.home()) == (20, 2)


async def test_warnings_come_at_the_mark_and_again_after_it_was_left(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=100))
        for size, warned in ((79, 0), (80, 1), (94, 1), (95, 2), (80, 2), (79, 2), (80, 3), (100, 4)):
            await put(session, "/a", b"") if size < 80 else None
            await session.remove(p("/a")) if size < 80 else None
            await put(session, "/a", b"x" * size) if size < 80 else await session.set_attrs(
                p("/a"), Attrs(size=size)
            )
            assert len(world.of(QuotaWarning)) == warned, size


# -- removed while open ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["remove", "rename", "copy"])
async def test_what_is_removed_while_it_is_written_stays_charged(tmp_path: Path, how: str) -> None:
    async with vfs_world(tmp_path) as world:
        account = world.account(quota_size=1000)
        writer, other = await world.login(account), await world.login(account)
        await put(other, "/small", b"s" * 10)
        files = []
        for _ in range(2):
            try:
                file = await writer.open(p("/a"), PUT)
                files.append(file)
                await file.write(0, b"x" * 900)
            except e.QuotaExceeded:
                break
            if how == "remove":
                await other.remove(p("/a"))
            elif how == "rename":
                await other.rename(p("/small"), p("/a"), replace=True)
            else:
                await other.copy(p("/small"), p("/a"), replace=True)
            assert world.vfs.tracker.live("alice").size.used >= 900
        for file in files:
            try:
                await file.close()
            except e.QuotaExceeded:
                continue
        assert await world.used() == on_disk(world.home())


@pytest.mark.parametrize("mode", MODES[1:])
async def test_many_uploads_over_one_file_are_not_paid_for_by_it_together(
    tmp_path: Path, mode: Publish
) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        account = world.account(quota_size=2000)
        session = await world.login(account)
        await put(session, "/a", b"x" * 1000)
        # What one session opens twice is one upload; these are of three.
        first, second, third = [await (await world.login(account)).open(p("/a"), PUT) for _ in range(3)]
        await first.write(0, b"1" * 1000)
        await second.write(0, b"2" * 1000)
        with pytest.raises(e.QuotaExceeded):
            await third.write(0, b"3" * 1000)
        await session.set_attrs(p("/a"), Attrs(size=0))  # now the first has to be paid for
        assert world.vfs.tracker.live("alice").size.used == 2000
        await first.close()
        await second.close()
        with pytest.raises(e.QuotaExceeded):
            await third.close()
        assert await world.used() == on_disk(world.home()) == (1000, 1)


@pytest.mark.parametrize("mode", MODES[1:])
async def test_a_file_that_goes_under_an_upload_over_it(tmp_path: Path, mode: Publish) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        account = world.account(quota_size=2000)
        session, other = await world.login(account), await world.login(account)
        await put(session, "/a", b"x" * 1000)
        upload = await other.open(p("/a"), PUT)
        await upload.write(0, b"1" * 700)
        await session.remove(p("/a"))
        assert world.vfs.tracker.live("alice").size.used == 700
        await upload.write(700, b"1" * 700)
        await upload.close()
        assert await world.used() == on_disk(world.home()) == (1400, 1)


# -- unfinished uploads ------------------------------------------------------------------------------------


async def break_off(session, path: str, data: bytes, flags=PUT) -> None:
    file = await session.open(p(path), flags)
    await file.write(0, data)
    await file.abort()


async def test_a_broken_upload_over_a_file_leaves_nothing(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        for number in range(5):
            await put(session, f"/f{number}", b"x")
            await break_off(session, f"/f{number}", b"y" * 90_000)
        assert await world.used() == on_disk(world.home()) == (5, 5)


@pytest.mark.parametrize("how", ["mkdir", "symlink", "hardlink", "rename", "copy", "put", "remove", "rmdir"])
async def test_what_takes_the_name_of_an_unfinished_upload(tmp_path: Path, how: str) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await put(session, "/f", b"x" * 10)
        await session.mkdir(p("/d"))
        await break_off(session, "/d/n", b"y" * 700)
        assert await world.used() == on_disk(world.home()) == (710, 2)
        name = p("/d/n")
        if how == "mkdir":
            await session.mkdir(name)
        elif how == "symlink":
            await session.symlink("/f", name)
            (world.home() / "d" / "n").unlink()
        elif how == "hardlink":
            await session.hardlink(p("/f"), name)
        elif how == "rename":
            await session.rename(p("/f"), name, replace=True)
        elif how == "copy":
            await session.copy(p("/f"), name, replace=True)
        elif how == "put":
            await put(session, "/d/n", b"z" * 5)
        elif how == "remove":
            await session.remove(name)
        else:
            await session.rmdir(p("/d"))
        assert await world.used() == on_disk(world.home())


async def test_what_takes_the_name_while_the_upload_runs(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        account = world.account(quota_size=1_000_000)
        session, other = await world.login(account), await world.login(account)
        await put(session, "/f", b"x" * 10)
        for path, act in (
            ("/a", session.mkdir(p("/a"))),
            ("/b", session.rename(p("/f"), p("/b"), replace=True)),
            ("/c", session.copy(p("/b"), p("/c"), replace=True)),
        ):
            file = await other.open(p(path), PUT)
            await file.write(0, b"y" * 700)
            await act
            await file.abort()
        assert await world.used() == on_disk(world.home()) == (20, 2)


@pytest.mark.parametrize("how", ["remove", "rename", "rename over", "close", "abort", "quota"])
async def test_an_unfinished_upload_that_is_taken_up(tmp_path: Path, how: str) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=2000))
        await put(session, "/f", b"x" * 10)
        await break_off(session, "/n", b"y" * 700)
        file = await session.open(p("/n"), RESUME)
        await file.write(700, b"y" * 300)
        if how == "remove":
            await session.remove(p("/n"))
        elif how == "rename":
            await session.rename(p("/n"), p("/m"), replace=False)
        elif how == "rename over":
            await session.rename(p("/n"), p("/f"), replace=True)
        elif how == "quota":
            with pytest.raises(e.QuotaExceeded):
                await file.write(1000, b"y" * 2000)
        await (file.abort() if how in {"abort", "quota"} else file.close())
        assert await world.used() == on_disk(world.home())


async def test_a_part_that_is_too_old_is_given_back(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await break_off(session, "/old", b"y" * 700)
        await break_off(session, "/young", b"y" * 30)
        old = max(world.home().iterdir(), key=lambda path: path.stat().st_size)
        age = old.stat().st_mtime - 10 * 86400
        os.utime(old, (age, age))
        assert [entry async for batch in session.list(p("/")) for entry in batch] == []
        assert not old.exists()
        assert await world.used() == on_disk(world.home()) == (30, 1)


async def test_old_parts_behind_a_link_go_under_the_name_that_others_hold(tmp_path: Path) -> None:
    """RMDIR of the directory counts the same parts; whoever comes second must find them gone."""
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await session.mkdir(p("/d"))
        await session.symlink("d", p("/ld"))
        await break_off(session, "/d/old", b"y" * 700)
        (old,) = (world.home() / "d").iterdir()
        age = old.stat().st_mtime - 10 * 86400
        os.utime(old, (age, age))
        context = session._context
        resolved = await context.charged(p("/d"), follow=True)

        async def look() -> None:
            assert [entry async for batch in session.list(p("/ld")) for entry in batch] == []

        async with context.paths.locked((resolved.backend, resolved.key)):
            looking = asyncio.create_task(look())
            done, _ = await asyncio.wait([looking], timeout=0.2)
            assert not done
            assert old.exists()
        await looking
        assert not old.exists()
        assert await world.used() == (0, 0)


async def test_a_scan_drops_parts_that_nobody_can_reach(tmp_path: Path) -> None:
    """As a crash leaves them: an upload over a finished file was under way."""
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account(quota_size=1_000_000))
        await break_off(session, "/n", b"y" * 700)
        (world.home() / "n").write_bytes(b"x" * 5)
        await session.close()
        await scanned(world)
        assert await world.used() == on_disk(world.home()) == (5, 1)


# -- scans -------------------------------------------------------------------------------------------------


async def scanned(world: World) -> None:
    scan = await world.vfs.scans.start_user("alice")
    assert scan.task is not None
    await scan.task


@pytest.mark.parametrize("mode", MODES)
async def test_a_scan_beside_open_uploads(tmp_path: Path, mode: Publish) -> None:
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        mount = world.mount("own", "/own", quota_size=10_000, quota_files=10)
        session = await world.login(world.account(quota_size=10_000, virtual_folders=(mount,)))
        await put(session, "/a", b"x" * 100)
        files = [await session.open(p(path), PUT) for path in ("/new", "/a", "/own/new")]
        for file in files:
            await file.write(0, b"y" * 300)
        broken = await session.open(p("/part"), PUT)
        await broken.write(0, b"z" * 50)
        await broken.abort()
        resumed = await session.open(p("/part"), RESUME)
        await resumed.write(50, b"z" * 25)
        gone = await session.open(p("/gone"), PUT)
        await gone.write(0, b"g" * 10)
        if mode is Publish.INPLACE:
            await session.remove(p("/gone"))
        before = world.vfs.tracker.live("alice").size.used, world.vfs.tracker.live("alice").files.used
        folder = world.vfs.tracker.live_folder("own")
        held = folder.size.used, folder.files.used
        await scanned(world)
        scan = await world.vfs.scans.start_folder("own")
        await scan.task
        assert (
            world.vfs.tracker.live("alice").size.used,
            world.vfs.tracker.live("alice").files.used,
        ) == before
        assert (folder.size.used, folder.files.used) == held
        for file in (*files, resumed, gone):
            await file.close()
        assert await world.used() == on_disk(world.home())
        assert await world.folder_used("own") == on_disk(world.folder_dir("own"))


async def test_a_scan_that_saw_changes_leaves_the_mark_until_one_saw_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Removals during every walk: the result is used, and the account is counted again when it is quiet."""
    monkeypatch.setattr("tidegate.vfs.usage.scan.RECOUNT_SECONDS", 0.01)
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.0)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.001)
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=10_000_000))
        for number in range(40):
            await put(session, f"/f{number}", b"x" * (number + 1))
        await session.mkdir(p("/sub"))
        moves = 0
        count = world.vfs.scans._count

        async def disturbed(spec, scan):  # what a client does between two directories of the walk
            nonlocal moves
            result = await count(spec, scan)
            if moves < STEADY_TRIES:
                await session.remove(p(f"/f{moves}"))
                await put(session, f"/sub/f{moves}", b"x" * (moves + 1))  # as much as before, elsewhere
                moves += 1
            return result

        world.vfs.scans._count = disturbed
        await scanned(world)
        assert "alice" in world.store.dirty
        await session.close()
        while "alice" in world.store.dirty:
            await asyncio.sleep(0.001)
        assert await world.used() == on_disk(world.home())
        assert not world.vfs.tracker.doubts.accounts()


# -- a store that does not take numbers --------------------------------------------------------------------


async def test_the_cause_is_told_once_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tidegate.vfs.usage.writing.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.001)
    caplog.set_level(logging.INFO, "tidegate.vfs.usage")
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1000))
        await put(session, "/a", b"x")
        await world.used()
        world.store.down = True
        await put(session, "/b", b"x")
        tries = len(world.store.calls)
        while len(world.store.calls) < tries + 20:
            await asyncio.sleep(0.001)
        world.store.down = False
        while world.vfs.tracker.live("alice") is not None and world.vfs.tracker.live("alice").pending:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        lines = [
            record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()
        ]
        assert len(lines) == 1
        assert "usage of alice cannot be written now: data provider unavailable" in lines[0]
        over = [record.getMessage() for record in caplog.records if "written again" in record.getMessage()]
        assert over == [
            "usage is written again, last that of alice; it was kept meanwhile (data provider unavailable)"
        ]
