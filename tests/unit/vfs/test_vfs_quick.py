# SPDX-License-Identifier: Apache-2.0
"""Opening and closing without a coroutine does what `open` and `close` do, or nothing at all."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import GET, PUT, RESUME, World, get, p, put, vfs_world

from tidegate import errors as e
from tidegate.abc import Outcome, Publish
from tidegate.backends.local import LocalBackend
from tidegate.backends.local import files as files_module
from tidegate.backends.local.files import LocalFile
from tidegate.backends.local.names import part_name
from tidegate.errors import QuotaExceeded, StorageFailed
from tidegate.events.kinds import QuotaWarning, Refused, Transferred
from tidegate.model import Attrs, FilePatterns, TallyLimits
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.handle import File
from tidegate.vfs.session import Session

MB = 1024 * 1024


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is not told that numbers are right again before a test has ended; worlds end at once."""
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 60.0)
    monkeypatch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.005)
    # A busy machine must not look like a slow disk, whose files are never opened at once.
    monkeypatch.setattr("tidegate.backends.local.device.SLOW_CALL_NS", 1 << 62)


@pytest.fixture
async def world(tmp_path: Path):
    async with vfs_world(tmp_path) as world:
        yield world


async def ready(world: World, **fields: Any) -> Session:
    """A session of an account whose store knows that numbers change."""
    session = await world.login(world.account(**fields))
    await session._context.begin(session._context.table.root)
    return session


def opened(session: Session, path: str, flags: OpenFlags = PUT, attrs: Attrs | None = None) -> File:
    """A file that must have been opened at once."""
    file = session.open_nowait(p(path), flags, attrs)
    assert file is not None, f"{path} was not opened at once"
    return file


def upload(session: Session, path: str, data: bytes = b"content") -> None:
    """Upload at once, all of it."""
    file = opened(session, path)
    assert file.write_nowait(0, data)
    assert file.close_nowait()


def idle(world: World, session: Session) -> None:
    """Nothing is held, counted or shown any more."""
    context = session._context
    assert len(context.paths) == 0
    assert not context.usage.uploads
    assert not context.files
    assert not context.transfers
    assert context.opening == 0


# -- what goes at once ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [PUT, RESUME, OpenFlags(write=True, create=True, exclusive=True)])
async def test_simple_transfers_go_at_once(world, flags):
    session = await ready(world, quota_size=1000, quota_files=10)
    (world.home() / "d").mkdir()
    for path in ("/f", "/d/f"):
        file = opened(session, path, flags, Attrs(mode=0o640))
        assert session.transfers == {file}
        assert file.write_nowait(0, b"content")
        assert len(session._context.paths) == 1
        assert len(session._context.usage.uploads) == 1, "a scan must see it, and the mark must stay"
        assert file.close_nowait()
        idle(world, session)
        event = world.of(Transferred)[-1]
        host = f"{world.home()}{path}"
        assert (event.action, event.status, event.virtual_path, event.file_path, event.size, event.error) == (
            "upload", "ok", path, host, 7, "",
        )  # fmt: skip
        assert Path(host).stat().st_mode & 0o777 == 0o640
        reader = opened(session, path, GET)
        room = bytearray(10)
        assert reader.readinto_nowait(0, [memoryview(room)]) == 7
        assert reader.close_nowait()
        assert bytes(room[:7]) == b"content"
        event = world.of(Transferred)[-1]
        assert (event.action, event.status, event.size) == ("download", "ok", 7)
        idle(world, session)
    assert await world.used() == (14, 2)
    stored = world.store.accounts["alice"]
    assert stored.first_upload and stored.first_download


async def test_a_closed_file_is_closed(world):
    session = await ready(world)
    upload(session, "/f")
    for file in (opened(session, "/g"), opened(session, "/f", GET)):
        assert file.close_nowait()
        with pytest.raises(e.InvalidHandle):
            file.close_nowait()
        with pytest.raises(e.InvalidHandle):
            await file.close()
        await file.abort()
    assert len(world.of(Transferred)) == 3
    idle(world, session)


async def test_owners_and_modes_of_different_uploads_do_not_mix(tmp_path):
    async with vfs_world(tmp_path, map_owners=True) as world:
        session = await ready(world, uid=4711, gid=4712)
        for number, mode in enumerate([None, 0o600, None, 0o640, 0o600]):
            attrs = None if mode is None else Attrs(mode=mode)
            assert opened(session, f"/f{number}", PUT, attrs).close_nowait()
            found = (world.home() / f"f{number}").stat()
            assert found.st_mode & 0o777 == (0o644 if mode is None else mode)
            if os.geteuid() == 0:
                assert (found.st_uid, found.st_gid) == (4711, 4712)


async def test_a_mounted_folder(world):
    mount = world.mount("pub", "/pub", quota_size=100, quota_files=3)
    session = await ready(world, virtual_folders=(mount,))
    assert session.open_nowait(p("/pub/f"), PUT) is None, "its storage has yet to be opened"
    await session.stat(p("/pub"))
    upload(session, "/pub/f")
    assert await world.folder_used("pub") == (7, 1)
    assert await world.used() == (0, 0)
    for path in ("/pub", "/"):
        for flags in (GET, PUT):
            assert session.open_nowait(p(path), flags) is None
    assert (world.folder_dir("pub") / "f").read_bytes() == b"content"


async def test_the_way_to_a_folder_is_no_file(world):
    session = await ready(world, virtual_folders=(world.mount("pub", "/way/pub"),))
    (world.home() / "way").rmdir()
    assert session.open_nowait(p("/way"), PUT) is None
    (world.home() / "way").write_bytes(b"hidden by the mount")
    assert session.open_nowait(p("/way"), GET) is None


# -- what does not -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Publish.ATOMIC, Publish.RESUMABLE])
async def test_other_ways_to_publish(tmp_path, mode):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await ready(world)
        assert session.open_nowait(p("/f"), PUT) is None
        assert os.listdir(world.home()) == []
        await put(session, "/f", b"content")
        assert opened(session, "/f", GET).close_nowait()
        file = await session.open(p("/g"), PUT)
        assert not file.close_nowait(), "publishing is for `close`"
        await file.close()
        assert (world.home() / "g").exists()


async def test_durable_uploads(tmp_path):
    async with vfs_world(tmp_path, fsync=True) as world:
        session = await ready(world)
        assert session.open_nowait(p("/f"), PUT) is None
        file = await session.open(p("/f"), PUT)
        assert not file.close_nowait()
        await file.close()


@pytest.mark.parametrize(
    "flags",
    [
        OpenFlags(),
        OpenFlags(create=True),
        OpenFlags(write=True),
        OpenFlags(append=True, create=True),
        OpenFlags(write=True, append=True, create=True),
        OpenFlags(read=True, write=True, create=True),
        OpenFlags(write=True, truncate=True),
        OpenFlags(read=True, create=True),
        OpenFlags(read=True, truncate=True),
    ],
)
async def test_other_flags(world, flags):
    session = await ready(world)
    upload(session, "/there")
    before = len(world.events)
    for path in ("/there", "/new"):
        assert session.open_nowait(p(path), flags) is None
    assert os.listdir(world.home()) == ["there"]
    assert (world.home() / "there").read_bytes() == b"content"
    assert len(world.events) == before
    idle(world, session)


async def test_names_that_storage_refuses_do_not_raise(world):
    session = await ready(world)
    for path in ("/.tidegate-part.x", "/d/.tidegate-upload.x", "/" + "n" * 300):
        for flags in (GET, PUT):
            assert session.open_nowait(p(path), flags) is None
            with pytest.raises(e.TidegateError):
                await session.open(p(path), flags)
    idle(world, session)


async def test_open_files_are_limited(tmp_path):
    async with vfs_world(tmp_path, max_open_files=2) as world:
        session = await ready(world)
        first, second = opened(session, "/a"), opened(session, "/b")
        assert session.open_nowait(p("/c"), PUT) is None
        assert session.open_nowait(p("/a"), GET) is None
        with pytest.raises(e.PeerLimit):
            await session.open(p("/c"), PUT)
        assert first.close_nowait()
        session._context.opening += 1  # another one is on its way
        assert session.open_nowait(p("/c"), PUT) is None
        session._context.opening -= 1
        assert opened(session, "/c").close_nowait()
        assert second.close_nowait()


async def test_a_closed_session_opens_nothing(world):
    session = await ready(world)
    upload(session, "/f")
    await session.close()
    for _ in range(2):
        assert session.open_nowait(p("/f"), GET) is None
        assert session.open_nowait(p("/new"), PUT) is None
        await session._context.table.at(p("/f"))  # an act that still runs opens the storage again
    assert os.listdir(world.home()) == ["f"]
    await session._context.table.close()


async def test_a_session_that_ends_settles_what_is_open(world):
    session = await ready(world, quota_size=1000)
    file = opened(session, "/f")
    assert file.write_nowait(0, b"half")
    await session.close()
    with pytest.raises(e.InvalidHandle):
        file.close_nowait()
    assert await world.used() == (4, 1)
    assert world.of(Transferred)[-1].status == "failed"
    idle(world, session)


@pytest.mark.parametrize(
    "granted", [("list", "download", "upload"), ("list", "download", "upload", "overwrite")]
)
async def test_an_unfinished_upload_counts_as_a_file_for_who_may_not_overwrite(tmp_path, granted):
    async with vfs_world(tmp_path, upload_mode=Publish.RESUMABLE) as world:
        session = await world.login(world.account())
        file = await session.open(p("/f"), PUT)
        await file.write(0, b"half")
        await file.abort()
        world.options = type(world.options)()  # in place from now on
        world.vfs.reconfigure(world.options)
        session = await ready(world, permissions={"/": granted})
        quick = session.open_nowait(p("/f"), PUT)
        if "overwrite" in granted:
            assert quick is not None
            assert quick.close_nowait()
        else:
            assert quick is None
            with pytest.raises(e.Denied):
                await session.open(p("/f"), PUT)
            assert (await session.stat(p("/f"))).size == 4


async def test_an_unfinished_upload_counts_as_a_file_for_who_would_continue_it(tmp_path):
    async with vfs_world(tmp_path) as world:
        session = await ready(world, filters={"max_upload_file_size": 3})
        (world.home() / part_name(b"f").decode()).write_bytes(b"half")
        upload(session, "/other", b"abc")  # options of one upload must not be those of the next
        assert session.open_nowait(p("/f"), RESUME) is None
        with pytest.raises(e.TooLarge):
            await session.open(p("/f"), RESUME)
        upload(session, "/f", b"abc")


async def test_the_store_is_told_first(world):
    session = await world.login(world.account(quota_size=1000))
    assert session.open_nowait(p("/f"), PUT) is None
    assert "mark True" not in world.store.calls
    assert os.listdir(world.home()) == []
    idle(world, session)
    await put(session, "/f", b"content")
    assert "mark True" in world.store.calls
    upload(session, "/g")
    assert opened(session, "/f", GET).close_nowait()


async def test_a_store_that_is_down_cannot_be_told(world):
    session = await world.login(world.account(quota_size=1000))
    world.store.down = True
    await put(session, "/f", b"content")
    assert session.open_nowait(p("/g"), PUT) is None
    assert sorted(os.listdir(world.home())) == ["f"]
    world.store.down = False


async def test_begin_nowait(tmp_path, monkeypatch):
    async with vfs_world(tmp_path) as world:
        session = await world.login(world.account(quota_size=1000))
        tracker, usage = world.vfs.tracker, session._context.usage
        assert not tracker.begin_nowait(usage)
        assert usage.task is None
        await tracker.begin(usage)
        assert world.store.dirty == {"alice"}
        assert tracker.begin_nowait(usage)
        assert usage.task is not None, "somebody has to take the mark away again"
        monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.0)
        while usage.task is not None:
            await asyncio.sleep(0.001)
        assert world.store.dirty == set()
        assert not tracker.begin_nowait(usage), "the mark has gone"
        assert session.open_nowait(p("/f"), PUT) is None


async def test_a_mark_that_is_being_taken_away(tmp_path, monkeypatch):
    """While the store is told that numbers are right again, none may change."""
    monkeypatch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 0.0)
    async with vfs_world(tmp_path) as world:
        original, going, go = world.store.mark_usage, asyncio.Event(), asyncio.Event()

        async def mark(name: str, *, dirty: bool) -> None:
            if not dirty:
                going.set()
                await go.wait()
            await original(name, dirty=dirty)

        world.store.mark_usage = mark
        session = await ready(world, quota_size=1000)
        try:
            await asyncio.wait_for(going.wait(), 10)
            assert session.open_nowait(p("/f"), PUT) is None
            assert os.listdir(world.home()) == []
        finally:
            go.set()
        await put(session, "/f", b"content")
        assert await world.used() == (7, 1)


async def test_nothing_to_tell_where_nothing_is_counted(tmp_path):
    async with vfs_world(tmp_path, track_quota=0) as world:
        session = await world.login(world.account(quota_size=3))
        upload(session, "/f")
        assert "mark True" not in world.store.calls


# -- several at one path -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_ends", ["at once", "by close", "abort"])
async def test_two_sessions_upload_to_one_path(world, first_ends):
    one = await ready(world, quota_size=1000, quota_files=5)
    two = await world.login()
    first = opened(one, "/f")
    assert first.write_nowait(0, b"a" * 10)
    assert two.open_nowait(p("/f"), PUT) is None, "somebody writes it"
    second = await two.open(p("/f"), RESUME)
    assert second.write_nowait(0, b"b" * 4)
    assert first.write_nowait(10, b"a" * 10)
    if first_ends == "at once":
        assert first.close_nowait()
    elif first_ends == "by close":
        await first.close()
    else:
        await first.abort()
    assert len(one._context.paths) == 1
    assert second.write_nowait(18, b"b" * 6)
    if first_ends == "abort":  # what the other left is compared with the disk
        assert not second.close_nowait()
        await second.close()
    else:
        assert second.close_nowait()
    assert await world.used() == (24, 1)
    assert (world.home() / "f").read_bytes() == b"b" * 4 + b"a" * 14 + b"b" * 6
    idle(world, one)
    idle(world, two)


async def test_two_sessions_write_a_file_that_is_removed(world):
    one = await ready(world, quota_size=1000, quota_files=5)
    two = await world.login()
    first = opened(one, "/f")
    second = await two.open(p("/f"), RESUME)
    assert first.write_nowait(0, b"a" * 5)
    assert first.close_nowait()
    await one.remove(p("/f"))
    assert second.write_nowait(5, b"b" * 20)
    if not second.close_nowait():
        await second.close()
    assert await world.used() == (0, 0)
    idle(world, one)


async def test_a_path_that_is_being_changed(world, monkeypatch):
    session = await ready(world, quota_size=1000)
    upload(session, "/f")
    started, go = asyncio.Event(), asyncio.Event()

    def waits(name: str) -> None:
        real = getattr(LocalBackend, name)

        async def waiting(*args: Any, **kwargs: Any) -> Any:
            done = await real(*args, **kwargs)
            started.set()
            await go.wait()
            return done

        monkeypatch.setattr(LocalBackend, name, waiting)

    async def while_it_runs(act: Any, path: str) -> None:
        started.clear()
        go.clear()
        running = asyncio.ensure_future(act)
        await asyncio.wait_for(started.wait(), 5)
        try:
            assert not (world.home() / path[1:]).exists()
            assert session.open_nowait(p(path), PUT) is None
            assert not (world.home() / path[1:]).exists()
        finally:
            go.set()
            await running

    for name in ("rename", "remove"):
        waits(name)
    await while_it_runs(session.rename(p("/f"), p("/g"), replace=False), "/f")
    await while_it_runs(session.remove(p("/g")), "/g")
    assert await world.used() == (0, 0)
    upload(session, "/f")
    assert await world.used() == (7, 1)


@pytest.mark.parametrize("name", ["rename", "remove"])
async def test_a_file_that_is_closed_while_it_is_being_renamed_or_removed(world, monkeypatch, name):
    session = await ready(world, quota_size=1000)
    started, go = asyncio.Event(), asyncio.Event()
    real = getattr(LocalBackend, name)

    async def waiting(*args: Any, **kwargs: Any) -> Any:
        started.set()
        await go.wait()
        return await real(*args, **kwargs)

    monkeypatch.setattr(LocalBackend, name, waiting)
    file = opened(session, "/f")
    assert file.write_nowait(0, b"content")
    moving = session.rename(p("/f"), p("/g"), replace=False) if name == "rename" else session.remove(p("/f"))
    running = asyncio.ensure_future(moving)
    try:
        await asyncio.wait_for(started.wait(), 5)
        assert not file.close_nowait(), "who moves it has yet to settle"
        closing = asyncio.ensure_future(file.close())
        await asyncio.sleep(0)
        assert not closing.done()
    finally:
        go.set()
        await running
    await closing
    assert await world.used() == ((7, 1) if name == "rename" else (0, 0))
    idle(world, session)


async def test_a_file_that_is_renamed_or_removed_while_it_is_written(world):
    session = await ready(world, quota_size=1000, quota_files=5)
    (world.home() / "d").mkdir()
    for act in ("rename", "rename directory", "remove", "replace"):
        file = opened(session, "/d/f")
        assert file.write_nowait(0, b"12345")
        if act == "rename":
            await session.rename(p("/d/f"), p("/g"), replace=False)
        elif act == "rename directory":
            await session.rename(p("/d"), p("/e"), replace=False)
        elif act == "remove":
            await session.remove(p("/d/f"))
        else:
            (world.home() / "new").write_bytes(b"")
            await session.rename(p("/new"), p("/d/f"), replace=True)
        assert file.write_nowait(5, b"67890")
        if not file.close_nowait():
            await file.close()
        idle(world, session)
        found = [path for path in world.home().rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in found) == (await world.used())[0], act
        if act != "replace":  # the file that replaces is not charged
            assert len(found) == (await world.used())[1], act
        for path in found:
            await session.remove(p(f"/{path.relative_to(world.home())}"))
        if act == "rename directory":
            await session.rename(p("/e"), p("/d"), replace=False)


async def test_a_suspect_file_is_compared(world):
    session = await ready(world, quota_size=1000)
    file = opened(session, "/f")
    assert file.write_nowait(0, b"12345")
    with open(world.home() / "f", "ab") as beside:
        beside.write(b"67890")
    file._upload.reservation.suspect = True
    assert not file.close_nowait()
    await file.close()
    assert await world.used() == (10, 1)


# -- what goes wrong -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(Publish))
@pytest.mark.parametrize("room", [0, 3])
async def test_a_write_that_failed_is_never_taken_for_a_whole_file(tmp_path, mode, room, monkeypatch):
    """A full disk lets part of a block through; the client may close as if nothing had been."""
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await ready(world, quota_size=1000)
        file = session.open_nowait(p("/f"), PUT) or await session.open(p("/f"), PUT)
        assert file.write_nowait(0, b"12345")
        real = os.pwrite

        def full(fd: int, data: Any, offset: int) -> int:
            if offset == 5 and room:
                return real(fd, bytes(data)[:room], offset)
            raise OSError(errno.ENOSPC, "")

        with monkeypatch.context() as patch:
            patch.setattr(files_module.os, "pwrite", full)
            with pytest.raises(e.StorageFull):
                file.write_nowait(5, b"67890")
        assert not file.close_nowait()
        with pytest.raises(e.StorageFull):
            await file.close()
        left = {Publish.INPLACE: 5 + room, Publish.ATOMIC: 0, Publish.RESUMABLE: 5 + room}[mode]
        assert await world.used() == (left, 1 if left else 0)
        assert (world.home() / "f").exists() is (mode is Publish.INPLACE)
        assert world.of(Transferred)[-1].status == "failed"
        idle(world, session)


async def test_a_write_that_was_cancelled_is_looked_at(world, monkeypatch):
    """The storage is asked for how much of it arrived."""
    session = await ready(world, quota_size=1000)
    file = opened(session, "/f")

    async def half(self: LocalFile, offset: int, data: Any) -> None:
        assert self.write_nowait(offset, bytes(data)[:4])
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(LocalFile, "write", half)
        with pytest.raises(asyncio.CancelledError):
            await file.write(0, b"content")
    assert not file.close_nowait()
    await file.close()
    assert await world.used() == (4, 1)
    idle(world, session)


async def test_a_read_that_failed_is_reported(world, monkeypatch):
    session = await ready(world)
    upload(session, "/f")
    for slow in (False, True):
        file = opened(session, "/f", GET)

        def broken(*_: object) -> int:
            raise OSError(errno.EIO, "")

        with monkeypatch.context() as patch:
            patch.setattr(files_module.os, "preadv", broken)
            with pytest.raises(StorageFailed):
                if slow:
                    await file.read(0, 10)
                else:
                    file.readinto_nowait(0, [memoryview(bytearray(10))])
        assert not file.close_nowait()
        await file.close()
        assert world.of(Transferred)[-1].status == "failed"
    idle(world, session)


async def test_a_write_past_the_quota(world):
    session = await ready(world, quota_size=10)
    file = opened(session, "/f")
    assert not file.write_nowait(0, bytes(11))
    with pytest.raises(QuotaExceeded):
        await file.write(0, bytes(11))
    assert not file.close_nowait()
    with pytest.raises(QuotaExceeded):
        await file.close()
    assert not (world.home() / "f").exists()
    assert await world.used() == (0, 0)
    assert world.of(Transferred)[-1].status == "quota"
    idle(world, session)


async def test_bandwidth_is_paid_before_an_upload_counts(world):
    session = await ready(world, upload_bandwidth=1000, download_bandwidth=1000)
    file = opened(session, "/f")
    assert file.write_nowait(0, bytes(100_000))
    assert not file.close_nowait()
    assert world.of(Transferred) == []
    await file.close()
    assert world.of(Transferred)[-1].elapsed >= 0.09
    reader = opened(session, "/f", GET)
    assert reader.readinto_nowait(0, [memoryview(bytearray(100_000))])
    assert not reader.close_nowait()
    await reader.close()
    idle(world, session)


@pytest.mark.parametrize("ending", ["close", "close twice", "abort"])
@pytest.mark.parametrize(
    ("error", "status"),
    [(StorageFailed(), "failed"), (QuotaExceeded("no room", limit="disk", rule="x"), "quota")],
)
async def test_a_storage_that_fails_to_close_at_once(world, monkeypatch, error, status, ending):
    """It is settled as `close` would: by what is there."""
    session = await ready(world, quota_size=1000)
    real = LocalFile.close_nowait

    def failing(self: LocalFile, outcome: Outcome = Outcome.COMMIT) -> bool:
        assert real(self, outcome)
        os.truncate(world.home() / "f", 3)  # what could not be flushed is lost
        raise error

    file = opened(session, "/f")
    assert file.write_nowait(0, b"12345")
    monkeypatch.setattr(file, "_close", failing.__get__(file._handle))
    assert not file.close_nowait()
    if ending == "close twice":
        assert not file.close_nowait()
    assert world.of(Transferred) == []
    if ending != "abort":
        with pytest.raises(type(error)) as caught:
            await file.close()
        assert caught.value is error
        assert world.of(Transferred)[-1].status == status
    else:
        await file.abort()
        assert world.of(Transferred)[-1].status == "failed"
    assert await world.used() == (3, 1)
    assert len(world.of(Transferred)) == 1
    idle(world, session)


async def test_a_download_whose_storage_fails_to_close_at_once(world, monkeypatch):
    session = await ready(world)
    upload(session, "/f")
    file = opened(session, "/f", GET)

    def failing(outcome: Outcome = Outcome.COMMIT) -> bool:
        LocalFile.close_nowait(file._handle, outcome)
        raise StorageFailed

    monkeypatch.setattr(file, "_close", failing)
    with pytest.raises(StorageFailed):
        file.close_nowait()
    with pytest.raises(e.InvalidHandle):
        file.close_nowait()
    assert world.of(Transferred)[-1].status == "failed"
    idle(world, session)


async def test_a_storage_that_cannot_close_at_once(world, monkeypatch):
    session = await ready(world, quota_size=1000)
    upload(session, "/there")
    for path, flags in (("/f", PUT), ("/there", GET)):
        file = opened(session, path, flags)
        for close in (None, lambda _: False):
            monkeypatch.setattr(file, "_close", close)
            assert not file.close_nowait()
            assert file in session.transfers
        await file.close()
    assert await world.used() == (7, 2)
    assert len(world.of(Transferred)) == 3
    idle(world, session)


async def test_a_storage_without_quick_ways(world, monkeypatch):
    session = await ready(world)
    upload(session, "/f")
    monkeypatch.delattr(LocalBackend, "open_nowait")
    assert session.open_nowait(p("/f"), GET) is None
    assert session.open_nowait(p("/new"), PUT) is None
    assert await get(session, "/f") == b"content"


# -- refusals and warnings are those of `open` ----------------------------------------------------------------


async def test_what_is_refused_goes_on_record_once(world):
    session = await ready(
        world,
        permissions={"/": ("*",), "/closed": ("list",)},
        quota_files=1,
        filters={"file_patterns": (FilePatterns(path="/", denied_patterns=("*.exe",)),)},
    )
    (world.home() / "closed").mkdir()
    (world.home() / "closed" / "f").write_bytes(b"secret")
    (world.home() / "x.exe").write_bytes(b"MZ")
    for path, flags in (("/closed/new", PUT), ("/closed/f", GET), ("/new.exe", PUT), ("/x.exe", GET)):
        assert session.open_nowait(p(path), flags) is None
        assert world.events == []
        with pytest.raises(e.TidegateError):
            await session.open(p(path), flags)
        assert len(world.of(Refused)) == 1
        world.events.clear()
    upload(session, "/f")
    world.events.clear()
    assert session.open_nowait(p("/g"), PUT) is None
    assert world.events == []
    with pytest.raises(QuotaExceeded):
        await session.open(p("/g"), PUT)
    assert [event.rule for event in world.of(Refused)] == ["quota_files"]
    assert sorted(os.listdir(world.home())) == ["closed", "f", "x.exe"]


@pytest.mark.parametrize("names", ["new", "taken", "alternating"])
async def test_each_mark_is_warned_of_once(world, names):
    """Also where an upload is left to `open` because the name was taken (by a file usage does not know)."""
    session = await ready(world, quota_files=20, quota_size=200)
    for number in range(20):
        taken = names == "taken" or (names == "alternating" and number % 2)
        if taken:
            (world.home() / f"f{number}").symlink_to("nothing")
        file = session.open_nowait(p(f"/f{number}"), PUT)
        assert (file is None) is bool(taken)
        if file is None:
            os.unlink(world.home() / f"f{number}")
            file = await session.open(p(f"/f{number}"), PUT)
        assert file.write_nowait(0, bytes(10))
        assert file.close_nowait()
    warned = [(event.limit, event.percent, event.used) for event in world.of(QuotaWarning)]
    assert sorted(warned) == [
        ("quota_files", 80, 16),
        ("quota_files", 95, 19),
        ("quota_size", 80, 160),
        ("quota_size", 95, 190),
    ]
    world.events.clear()
    for number in range(20):
        await session.remove(p(f"/f{number}"))
    for number in range(16):
        upload(session, f"/f{number}", bytes(10))
    warned = [(event.limit, event.percent) for event in world.of(QuotaWarning)]
    assert sorted(warned) == [("quota_files", 80), ("quota_size", 80)], "armed again once it was left"
    assert await world.used() == (160, 16)


async def test_failed_opens_do_not_warn(world):
    """An attempt that cannot be made at once is not charged for a moment either."""
    session = await ready(world, quota_files=5)
    for number in range(3):
        upload(session, f"/f{number}")
    (world.home() / "dangling").symlink_to("nowhere/f")
    before = session._context.usage.files.used
    for path in ("/dangling", "/missing/f", "/f0", "/f0/below"):
        assert session.open_nowait(p(path), PUT) is None
    assert session._context.usage.files.used == before
    assert world.of(QuotaWarning) == []
    idle(world, session)


async def test_transfer_allowances(world):
    session = await ready(world, upload_data_transfer=1, download_data_transfer=1)
    upload(session, "/f", bytes(MB))
    assert session.open_nowait(p("/g"), PUT) is None
    reader = opened(session, "/f", GET)
    assert reader.readinto_nowait(0, [memoryview(bytearray(MB))]) == MB
    assert reader.close_nowait()
    assert session.open_nowait(p("/f"), GET) is None
    await world.vfs.tracker.settle()
    stored = world.store.accounts["alice"]
    assert (stored.used_upload_data_transfer, stored.used_download_data_transfer) == (MB, MB)


@pytest.mark.parametrize("limit_type", ["hard", "soft"])
async def test_cumulative_counters(world, limit_type):
    tally = TallyLimits(limit_type=limit_type, files_in=2, files_out=2, bytes_xfer=1000)
    session = await ready(world, filters={"tally_limits": tally})
    for path in ("/f", "/g"):
        upload(session, path)
        reader = opened(session, path, GET)
        assert reader.readinto_nowait(0, [memoryview(bytearray(7))]) == 7
        assert reader.close_nowait()
    assert session.open_nowait(p("/h"), PUT) is None
    assert session.open_nowait(p("/f"), GET) is None
    await world.vfs.tracker.settle()
    stored = world.store.accounts["alice"].tally
    assert (stored.files_in, stored.files_out, stored.bytes_xfer) == (2, 2, 28)
