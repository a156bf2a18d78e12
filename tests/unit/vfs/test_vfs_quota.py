# SPDX-License-Identifier: Apache-2.0
"""Quotas: exact under concurrency, by every act, in every upload mode, and after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.vfs_world import GET, PUT, RESUME, World, get, p, put, vfs_world

from tidegate import errors as e
from tidegate.abc import Publish
from tidegate.events.kinds import QuotaWarning, Refused, Transferred
from tidegate.model import Attrs, Peer, Principal, Protocol, TallyLimits
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.usage.tracker import FRESH_SECONDS

MODES = list(Publish)
KB = 1024


def on_disk(directory: Path) -> tuple[int, int]:
    """(bytes, files) really there, unfinished uploads included, links not."""
    files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files), len(files)


@pytest.fixture(params=MODES, ids=lambda mode: mode.name.lower())
async def world(request, tmp_path):
    async with vfs_world(tmp_path, upload_mode=request.param) as world:
        yield world


async def test_every_act_charges_the_difference(world):
    world.account(quota_size=10_000, quota_files=10)
    s = await world.login()

    async def expect(size: int, files: int) -> None:
        assert await world.used() == (size, files)
        assert on_disk(world.home()) == (size, files)

    await put(s, "/a", b"x" * 1000)
    await expect(1000, 1)
    await put(s, "/a", b"x" * 400)
    await expect(400, 1)
    file = await s.open(p("/a"), RESUME)
    await file.write(400, b"y" * 300)
    await file.close()
    await expect(700, 1)
    file = await s.open(p("/a"), OpenFlags(append=True))
    await file.write(0, b"z" * 50)
    await file.close()
    await expect(750, 1)
    await s.set_attrs(p("/a"), Attrs(size=100))
    await expect(100, 1)
    await s.set_attrs(p("/a"), Attrs(size=2000))
    await expect(2000, 1)
    await put(s, "/b", b"b" * 500)
    await s.rename(p("/b"), p("/a"), replace=True)
    await expect(500, 1)
    await s.copy(p("/a"), p("/c"), replace=False)
    await expect(1000, 2)
    await put(s, "/d", b"d" * 10)
    await s.copy(p("/d"), p("/c"), replace=True)
    await expect(520, 3)
    await s.symlink("a", p("/l"))
    await expect(520, 3)
    await s.remove(p("/l"))
    await expect(520, 3)
    await s.hardlink(p("/a"), p("/h"))
    await expect(1020, 4)
    await s.remove(p("/h"))
    file = await s.open(p("/e"), PUT)
    await file.write(0, b"e" * 100)
    await file.set_attrs(Attrs(size=40))
    await file.close()
    await expect(560, 4)
    source = await s.open(p("/a"), GET)
    target = await s.open(p("/f"), PUT)
    assert await s.copy_range(source, 100, 0, target, 0) == 400
    await source.close()
    await target.close()
    await expect(960, 5)
    for name in "acdef":
        await s.remove(p(f"/{name}"))
    await expect(0, 0)


async def test_growing_past_the_limit_is_refused_and_leaves_nothing(world):
    world.account(quota_size=100 * KB)
    s = await world.login()
    await put(s, "/a", b"a" * 60 * KB)
    with pytest.raises(
        e.QuotaExceeded, match=r"denying write due to space limit: .*\(quota_size\)"
    ) as caught:
        await put(s, "/b", b"b" * 60 * KB, chunk=8 * KB)
    assert caught.value.limit == "quota_size"
    assert await world.used() == (60 * KB, 1)
    assert on_disk(world.home()) == (60 * KB, 1)
    assert world.of(Transferred)[-1].status == "quota"
    assert world.of(Refused)[-1].rule == "quota_size"
    await put(s, "/b", b"b" * 40 * KB)
    assert await world.used() == (100 * KB, 2)
    with pytest.raises(e.QuotaExceeded):
        await s.open(p("/c"), PUT)
    await put(s, "/b", b"B" * 40 * KB)
    assert await world.used() == (100 * KB, 2)


async def test_a_refused_overwrite_keeps_the_old_file_when_uploads_are_atomic(world):
    world.account(quota_size=1000)
    s = await world.login()
    await put(s, "/a", b"a" * 900)
    with pytest.raises(e.QuotaExceeded):
        await put(s, "/a", b"b" * 2000, chunk=100)
    if world.options.upload_mode is not Publish.INPLACE:
        assert await get(s, "/a") == b"a" * 900
    assert await world.used() == on_disk(world.home())


async def test_a_broken_upload_is_charged_for_what_it_leaves(world):
    world.account(quota_size=100_000)
    s = await world.login()
    await put(s, "/old", b"o" * 500)
    for name in ("new", "old"):
        file = await s.open(p(f"/{name}"), PUT)
        await file.write(0, b"n" * 300)
        await file.abort()
    mode = world.options.upload_mode
    assert await get(s, "/old") == (b"n" * 300 if mode is Publish.INPLACE else b"o" * 500)
    expected = {Publish.INPLACE: (600, 2), Publish.ATOMIC: (500, 1), Publish.RESUMABLE: (800, 2)}[mode]
    assert await world.used() == expected
    if mode is not Publish.ATOMIC:
        assert (await s.stat(p("/new"))).size == 300
        file = await s.open(p("/new"), RESUME)
        await file.write(300, b"m" * 100)
        await file.close()
        assert await get(s, "/new") == b"n" * 300 + b"m" * 100
        assert await world.used() == (expected[0] + 100, 2)


async def test_file_count(world):
    world.account(quota_files=2)
    s = await world.login()
    await put(s, "/a", b"1")
    await put(s, "/b", b"2")
    with pytest.raises(e.QuotaExceeded, match="2 of 2 files"):
        await s.open(p("/c"), PUT)
    with pytest.raises(e.QuotaExceeded):
        await s.copy(p("/a"), p("/c"), replace=False)
    with pytest.raises(e.QuotaExceeded):
        await s.hardlink(p("/a"), p("/c"))
    await put(s, "/b", b"22")
    await s.rename(p("/b"), p("/c"), replace=False)
    await s.remove(p("/a"))
    await put(s, "/d", b"3")
    assert await world.used() == (3, 2)


async def test_many_sessions_fight_for_one_quota(world):
    limit = 64 * KB
    world.account(quota_size=limit, quota_files=20)
    sessions = [await world.login() for _ in range(4)]
    usage = world.vfs.tracker.live("alice")
    peak = 0
    draw = random.Random(7)

    async def upload(session, name: str, size: int) -> bool:
        nonlocal peak
        try:
            file = await session.open(p(f"/{name}"), PUT)
        except e.QuotaExceeded:
            return False
        try:
            for offset in range(0, size, KB):
                await asyncio.sleep(0)
                block = b"x" * min(KB, size - offset)
                if not file.write_nowait(offset, block):
                    await file.write(offset, block)
                peak = max(peak, usage.size.used)
                assert usage.files.used <= 20
        except e.QuotaExceeded:
            with pytest.raises(e.QuotaExceeded):
                await file.close()
            return False
        await file.close()
        return True

    jobs = [upload(sessions[i % 4], f"f{i % 25}", draw.randrange(1, 9 * KB)) for i in range(60)]
    done = await asyncio.gather(*jobs)
    assert 0 < sum(done) < len(done)
    assert peak <= limit
    used = await world.used()
    assert used == on_disk(world.home()) == (usage.size.used, usage.files.used)


async def test_one_path_written_by_several_sessions_adds_up(world):
    world.account(quota_size=1_000_000)
    sessions = [await world.login() for _ in range(3)]
    await put(sessions[0], "/f", b"0" * 1000)
    files = [await s.open(p("/f"), PUT) for s in sessions]
    for size, file in zip((500, 3000, 1500), files, strict=True):
        await file.write(0, b"w" * size)
    other = await sessions[0].open(p("/f"), RESUME)
    await other.write(100, b"r" * 50)
    await files[1].close()
    await sessions[2].rename(p("/f"), p("/g"), replace=True)
    await files[0].close()
    await other.close()
    await files[2].close()
    assert await world.used() == on_disk(world.home())


async def test_removed_while_it_is_written(world):
    world.account(quota_size=1_000_000)
    s, other = await world.login(), await world.login()
    await put(s, "/f", b"0" * 100)
    file = await s.open(p("/f"), RESUME)
    await file.write(100, b"1" * 100)
    await other.remove(p("/f"))
    await file.write(200, b"2" * 100)
    await file.close()
    assert await world.used() == on_disk(world.home())


async def test_an_upload_cancelled_while_it_is_closed_is_settled(world):
    world.account(quota_size=1_000_000)
    s = await world.login()
    file = await s.open(p("/f"), PUT)
    await file.write(0, b"x" * 100)
    task = asyncio.create_task(file.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    while s.transfers:
        await asyncio.sleep(0.001)
    assert await world.used() == on_disk(world.home())


async def test_opening_that_fails_costs_nothing(world):
    world.account(quota_files=5)
    s = await world.login()
    for _ in range(10):
        with pytest.raises(e.NotFound):
            await s.open(p("/no/where"), PUT)
    assert await world.used() == (0, 0)
    assert len(world.vfs._paths) == 0


async def test_places_are_not_leaked(world):
    world.account(quota_size=1000)
    s = await world.login()
    for _ in range(3):
        await put(s, "/a", b"x")
        with pytest.raises(e.QuotaExceeded):
            await put(s, "/b", b"x" * 2000)
        await s.rename(p("/a"), p("/c"), replace=True)
        await s.remove(p("/c"))
    assert len(world.vfs._paths) == 0


async def test_max_upload_file_size(world):
    world.account(filters={"max_upload_file_size": 1000})
    s = await world.login()
    await put(s, "/a", b"x" * 1000)
    with pytest.raises(e.TooLarge):
        await put(s, "/b", b"x" * 1001, chunk=100)
    assert world.of(Transferred)[-1].status == "quota"
    with pytest.raises(e.TooLarge):
        await s.open(p("/a"), RESUME)
    with pytest.raises(e.TooLarge):
        await s.set_attrs(p("/a"), Attrs(size=2000))
    assert on_disk(world.home()) == (1000, 1)


async def test_warnings_come_once_for_each_crossing(world):
    world.account(quota_size=1000)
    s, t = await world.login(), await world.login()
    await put(s, "/a", b"x" * 790, chunk=100)
    assert not world.of(QuotaWarning)
    await put(t, "/b", b"x" * 10)
    await put(s, "/c", b"x" * 100)
    await put(s, "/d", b"x" * 60)
    await s.remove(p("/a"))
    await put(s, "/a", b"x" * 700, chunk=7)
    seen = [(w.limit, w.percent, w.allowed) for w in world.of(QuotaWarning)]
    assert seen == [("quota_size", 80, 1000), ("quota_size", 95, 1000), ("quota_size", 80, 1000)]


async def test_transfer_allowances(tmp_path):
    async with vfs_world(tmp_path) as world:
        world.account(
            upload_data_transfer=1, used_upload_data_transfer=1_048_576 - 2000, download_data_transfer=1
        )
        s = await world.login()
        await put(s, "/a", b"a" * 1500)
        with pytest.raises(e.QuotaExceeded, match="upload_data_transfer"):
            await put(s, "/b", b"b" * 1000, chunk=100)
        assert not (world.home() / "b").exists()
        await world.vfs.tracker.settle()
        assert world.store.accounts["alice"].used_upload_data_transfer == 1_048_576
        with pytest.raises(e.QuotaExceeded):
            await s.open(p("/c"), PUT)
        (world.home() / "big").write_bytes(os.urandom(1_200_000))
        with pytest.raises(e.QuotaExceeded, match="denying read due to quota limit"):
            await get(s, "/big")
        assert world.of(Transferred)[-1].status == "quota"
        await world.vfs.tracker.settle()
        assert world.store.accounts["alice"].used_download_data_transfer == 1_048_576
        with pytest.raises(e.QuotaExceeded):
            await s.open(p("/a"), GET)


async def test_total_transfer_counts_both_ways(tmp_path):
    async with vfs_world(tmp_path) as world:
        world.account(total_data_transfer=1)
        s = await world.login()
        await put(s, "/a", b"a" * 600_000)
        with pytest.raises(e.QuotaExceeded, match="total_data_transfer"):
            await get(s, "/a")


@pytest.mark.parametrize("per_session", [False, True])
async def test_tally_hard_removes_the_file_that_crosses(tmp_path, per_session):
    limits = TallyLimits(limit_type="hard", per_session=per_session, bytes_in=1000, files_in=3, files_out=1)
    async with vfs_world(tmp_path) as world:
        world.account(filters={"tally_limits": limits})
        s = await world.login()
        await put(s, "/a", b"a" * 400)
        with pytest.raises(e.QuotaExceeded, match=r"tally_limits.bytes_in"):
            await put(s, "/b", b"b" * 700, chunk=100)
        assert not (world.home() / "b").exists()
        await put(s, "/b", b"b" * 600)
        with pytest.raises(e.QuotaExceeded):
            await s.open(p("/c"), PUT)
        await s.remove(p("/b"))
        await put(s, "/c", b"c" * 100)
        assert await get(s, "/c") == b"c" * 100
        with pytest.raises(e.QuotaExceeded, match="files_out"):
            await s.open(p("/c"), GET)
        again = await world.login()
        await world.vfs.tracker.settle()
        tally = world.store.accounts["alice"].tally
        if per_session:
            assert (tally.bytes_in, tally.files_out) == (0, 0)
            await get(again, "/c")
        else:
            assert (tally.bytes_in, tally.files_in, tally.files_out, tally.bytes_out) == (500, 2, 1, 0)
            with pytest.raises(e.QuotaExceeded):
                await again.open(p("/c"), GET)


async def test_tally_soft_lets_one_file_cross(tmp_path):
    limits = TallyLimits(limit_type="soft", bytes_xfer=1000)
    async with vfs_world(tmp_path) as world:
        world.account(filters={"tally_limits": limits})
        s = await world.login()
        await put(s, "/a", b"a" * 900)
        await put(s, "/b", b"b" * 900)
        for flags in (PUT, GET):
            with pytest.raises(e.QuotaExceeded):
                await s.open(p("/b"), flags)
        await s.remove(p("/b"))
        assert await get(s, "/a") == b"a" * 900


async def test_what_is_used_is_what_the_quota_counts(tmp_path):
    """quota-used-bytes of RFC 4331, also where the disk has less room than the quota."""
    async with vfs_world(tmp_path) as world:
        world.account(quota_size=10**15)
        session = await world.login()
        await put(session, "/f", b"x" * 5000)
        space = await session.space(p("/"))
        assert space.free < space.total - 5000  # no disk of a test has so much
        assert space.used == 5000
        world.account("bob")
        wide = await (await world.login("bob")).space(p("/"))
        assert wide.used == wide.total - wide.free


async def test_space_is_narrowed_by_the_quota(tmp_path):
    async with vfs_world(tmp_path) as world:
        world.account(quota_size=10_000, quota_files=5)
        s = await world.login()
        await put(s, "/a", b"x" * 4000)
        space = await s.space(p("/"))
        assert (space.total, space.free, space.files_total, space.files_free) == (10_000, 6000, 5, 4)
        world.account("bob")
        wide = await (await world.login("bob")).space(p("/"))
        assert wide.total > 10_000


@pytest.mark.parametrize(
    ("track", "limited", "counted"), [(0, True, False), (1, False, True), (2, False, False), (2, True, True)]
)
async def test_track_quota(tmp_path, track, limited, counted):
    async with vfs_world(tmp_path, track_quota=track) as world:
        world.account(quota_size=1000 if limited else 0)
        s = await world.login()
        await put(s, "/a", b"x" * 100)
        assert await world.used() == ((100, 1) if counted else (0, 0))
        if track == 0:
            await put(s, "/b", b"x" * 5000)
            assert not {"mark True", "add_usage"} & set(world.store.calls)
            with pytest.raises(e.Denied):
                await world.vfs.scans.start_user("alice")


async def test_usage_is_written_while_an_upload_runs_and_the_mark_goes_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_INTERVAL_SECONDS", 0.02)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.01)
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.02)
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        world.account(quota_size=1_000_000)
        s = await world.login()
        file = await s.open(p("/a"), PUT)
        assert world.store.dirty == {"alice"}
        await file.write(0, b"x" * 1000)
        while world.store.accounts["alice"].used_quota_size != 1000:
            await asyncio.sleep(0.005)
        await file.close()
        while world.store.dirty:
            await asyncio.sleep(0.005)
        assert world.store.accounts["alice"].first_upload > 0
        assert world.store.accounts["alice"].used_quota_files == 1


async def test_stopping_does_not_wait_for_the_next_write_to_be_due(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 3600.0)
    async with vfs_world(tmp_path) as world:
        world.account(quota_size=1_000_000)
        s = await world.login()
        await put(s, "/a", b"x" * 1000)
        async with asyncio.timeout(10):
            await world.close()
        assert world.store.accounts["alice"].used_quota_size == 1000
        assert not world.store.dirty


async def test_the_store_may_go_away_meanwhile(tmp_path, monkeypatch):
    monkeypatch.setattr("tidegate.vfs.usage.writing.RETRY_SECONDS", 0.02)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.01)
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        world.account(quota_size=1_000_000)
        s = await world.login()
        world.store.down = True
        await put(s, "/a", b"x" * 1000)
        await asyncio.sleep(0.05)
        world.store.down = False
        while world.store.accounts["alice"].used_quota_size != 1000:
            await asyncio.sleep(0.005)


async def crash(world: World) -> None:
    """End the process as kill -9 would: nothing is written any more."""
    world.store.down = True
    tasks = [usage.task for usage in world.vfs.tracker._accounts.values() if usage.task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await world.close()
    world._sessions.clear()
    world.store.down = False


async def test_after_a_crash_usage_is_counted_again(world):
    mount = world.mount("own", "/own", quota_size=0, quota_files=0)
    world.account(quota_size=1_000_000, virtual_folders=(mount,))
    s = await world.login()
    await put(s, "/a", b"x" * 1000)
    await put(s, "/own/b", b"x" * 70)
    await world.used()
    await put(s, "/c", b"x" * 500)
    await put(s, "/own/d", b"x" * 7)
    await s.remove(p("/a"))
    file = await s.open(p("/e"), PUT)
    await file.write(0, b"e" * 20)
    await crash(world)
    assert world.store.dirty == {"alice"}
    world.start()
    assert await world.vfs.reconcile() == ["alice"]
    assert not world.store.dirty
    assert await world.used() == (500, 1) if world.options.upload_mode is Publish.ATOMIC else True
    (world.home() / "outside").write_bytes(b"o")
    assert await world.folder_used("own") == (77, 2)
    assert await world.vfs.reconcile() == []


async def test_who_logs_in_while_a_crash_is_counted_is_not_counted_twice(world, monkeypatch):
    world.account(quota_size=1_000_000)
    s = await world.login()
    await put(s, "/a", b"x" * 1000)
    await world.used()
    await put(s, "/b", b"x" * 500)
    await crash(world)
    world.start()
    scans = world.vfs.scans
    count = scans._count
    others = []

    async def counted(spec, scan):
        if not others:
            others.append(await world.login())
            await put(others[0], "/c", b"y" * 10)
        return await count(spec, scan)

    monkeypatch.setattr(scans, "_count", counted)

    assert await world.vfs.reconcile() == ["alice"]
    assert await world.used() == (1510, 3)
    await others[0].remove(p("/a"))
    assert await world.used() == (510, 2)


async def test_scans_run_once_each_and_count_what_is_there(tmp_path):
    async with vfs_world(tmp_path) as world, asyncio.timeout(10):
        included = world.mount("inc", "/inc")
        world.account(quota_size=1_000_000, virtual_folders=(included,))
        s = await world.login()
        await put(s, "/inc/x", b"x" * 11)
        (world.home() / "deep" / "er").mkdir(parents=True)
        (world.home() / "deep" / "er" / "f").write_bytes(b"f" * 100)
        (world.home() / "link").symlink_to("deep/er/f")
        file = await s.open(p("/busy"), PUT)
        await file.write(0, b"b" * 10)
        scan = await world.vfs.scans.start_user("alice")
        with pytest.raises(e.Conflict):
            await world.vfs.scans.start_user("alice")
        with pytest.raises(e.Conflict):
            await world.vfs.set_usage("alice", size=0, files=0)
        assert [x.name for x in world.vfs.scans.progress.running("user")] == ["alice"]
        await scan.task
        assert world.vfs.scans.progress.running("user") == []
        await file.close()
        assert await world.used() == (121, 3)
        assert (scan.files, scan.size) == (3, 121)
        (world.folder_dir("inc") / "y").write_bytes(b"yy")
        await (await world.vfs.scans.start_folder("inc")).task
        assert await world.folder_used("inc") == (13, 2)
        with pytest.raises(e.NotFound):
            await world.vfs.scans.start_user("nobody")
        with pytest.raises(e.NotFound):
            await world.vfs.scans.start_folder("nothing")
        await world.vfs.set_usage("alice", size=5, files=1)
        await world.vfs.set_usage("alice", size=5, files=1, add=True)
        assert await world.used() == (10, 2)


async def test_names_that_hide_an_unfinished_upload_take_its_charge_away(tmp_path):
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        world.account(quota_size=100_000)
        s = await world.login()
        await put(s, "/f", b"f" * 10)
        for name, act in (
            ("/a", lambda: s.mkdir(p("/a"))),
            ("/b", lambda: s.symlink("f", p("/b"))),
            ("/c", lambda: s.hardlink(p("/f"), p("/c"))),
        ):
            file = await s.open(p(name), PUT)
            await file.write(0, b"n" * 300)
            await file.abort()
            assert await world.used() == (310, 2)
            await act()
            if name == "/c":
                assert await world.used() == (20, 2)
            else:
                assert await world.used() == (10, 1)


async def test_numbers_of_a_login_serve_its_session_only_while_they_are_the_last_word(tmp_path):
    async with vfs_world(tmp_path) as world:
        account = world.account(quota_size=10_000)
        peer = Peer("c9", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-test")

        async def used(asked: float) -> tuple[int, int]:
            """The numbers that a new session goes by, and how often the store was asked."""
            world.store.calls.clear()
            session = await world.vfs.open(Principal(account, "password", "192.0.2.7", asked), peer)
            size = world.vfs.tracker.live("alice").size.used
            await session.close()
            return size, world.store.calls.count("user")

        world.store.accounts["alice"] = replace(account, used_quota_size=77)
        assert await used(time.monotonic()) == (0, 0)
        assert await used(time.monotonic() - 2 * FRESH_SECONDS) == (77, 1)
        assert await used(0.0) == (77, 1)
        asked = time.monotonic()
        await world.vfs.tracker.set_usage("alice", size=99, files=1)
        assert await used(asked) == (99, 1)


@pytest.mark.parametrize("act", ["mkdir", "symlink"])
async def test_a_name_made_through_a_link_leaves_an_upload_there_its_charge(world, act):
    world.account(quota_size=10_000)
    uploading, other = await world.login(), await world.login()
    (world.home() / "d").mkdir(parents=True)
    (world.home() / "way").symlink_to("d")
    file = await uploading.open(p("/d/f"), PUT)
    await file.write(0, b"x" * 700)
    with contextlib.suppress(e.AlreadyExists):  # what is written in place has the name already
        await (other.mkdir(p("/way/f")) if act == "mkdir" else other.symlink("/a", p("/way/f")))
    assert await world.used() == (700, 1)
    await file.abort()
    assert await world.used() == on_disk(world.home())
