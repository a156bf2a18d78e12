# SPDX-License-Identifier: Apache-2.0
"""Uploads, downloads and removals that an inspector refuses: what is left, what is charged, what is told."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import RESUME, p, put, vfs_world

from tidegate.abc import Inspected, InspectedAct, Publish, Verdict
from tidegate.errors import Conflict, Denied, ProviderUnavailable, QuotaExceeded, TidegateError
from tidegate.events.kinds import Event, Operated, Refused, Transferred
from tidegate.inspection.inspections import Inspections, InspectorUse
from tidegate.model import Attrs
from tidegate.vfs.api import OpenFlags

EVERY_MODE = pytest.mark.parametrize("mode", list(Publish), ids=lambda mode: mode.name.lower())
READ = OpenFlags(read=True)


class Reader:
    """Refuses content that begins with "bad"."""

    def __init__(self) -> None:
        self.acts: list[tuple[str, str, int | None, bytes]] = []

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        content = b"" if act.read is None else await act.read(0, 100)
        self.acts.append((act.kind.value, act.path, act.size, content))
        return Verdict(allowed=not content.startswith(b"bad") and act.path != "/locked", text="no\nway")

    async def close(self) -> None:
        pass


def inspections(reader: Reader, *kinds: Inspected, **more: Any) -> Inspections:
    return Inspections([InspectorUse("r", reader, frozenset(kinds), 5, **more)])


@EVERY_MODE
async def test_what_is_refused_is_neither_there_nor_charged(tmp_path: Path, mode: Publish) -> None:
    reader = Reader()
    async with vfs_world(
        tmp_path, upload_mode=mode, inspections=inspections(reader, Inspected.UPLOAD)
    ) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        await put(session, "/good", b"good data")
        with pytest.raises(Denied, match="noway"):
            await put(session, "/bad", b"bad data")
        with pytest.raises(Denied):
            await put(session, "/good", b"bad data")
        names = {path.name for path in world.home().iterdir()}
        assert names == (set() if mode is Publish.INPLACE else {"good"})
        assert await world.used() == (9 * len(names), len(names))
        assert [(e.rule, e.intent, e.text) for e in world.of(Refused)] == [
            ("inspector[r]", "upload", "noway")
        ] * 2
        assert [e.status for e in world.of(Transferred)] == ["ok", "failed", "failed"]
        assert [act[1:3] for act in reader.acts] == [("/good", 9), ("/bad", 8), ("/good", 8)]


async def test_a_file_that_was_renamed_while_it_was_written_is_inspected(tmp_path: Path) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.UPLOAD)) as world:
        session = await world.login(world.account(quota_size=10_000))
        file = await session.open(p("/a"), OpenFlags(write=True, create=True, truncate=True))
        await file.write(0, b"bad data")
        await session.rename(p("/a"), p("/b"), replace=False)
        with pytest.raises(Denied):
            await file.close()
        assert list(world.home().iterdir()) == []
        assert await world.used() == (0, 0)


async def test_other_names_of_what_is_refused_are_empty(tmp_path: Path) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.UPLOAD)) as world:
        session = await world.login(world.account())
        file = await session.open(p("/a"), OpenFlags(write=True, create=True, truncate=True))
        await file.write(0, b"bad data")
        await session.hardlink(p("/a"), p("/b"))
        with pytest.raises(Denied):
            await file.close()
        assert {path.name: path.read_bytes() for path in world.home().iterdir()} == {"b": b""}


@pytest.mark.parametrize("how", ["replaced", "removed"])
async def test_what_was_written_is_inspected_and_not_what_has_its_name(tmp_path: Path, how: str) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.UPLOAD)) as world:
        session = await world.login(world.account())
        await put(session, "/good", b"good data")
        file = await session.open(p("/a"), OpenFlags(write=True, create=True, truncate=True))
        await file.write(0, b"bad data")
        await session.hardlink(p("/a"), p("/b"))
        if how == "replaced":
            await session.rename(p("/good"), p("/a"), replace=True)
        else:
            await session.remove(p("/a"))
        with pytest.raises(Denied):
            await file.close()
        left = {path.name: path.read_bytes() for path in world.home().iterdir()}
        assert left == {"b": b"", "a" if how == "replaced" else "good": b"good data"}


@contextmanager
def ordinary_user() -> Iterator[Path]:
    """A directory of a user whom permissions hold for, and the process as that user."""
    with tempfile.TemporaryDirectory() as made:
        directory, root = Path(made), os.geteuid() == 0
        if root:
            os.chown(directory, 65534, 65534)
            os.seteuid(65534)
        try:
            yield directory
        finally:
            if root:
                os.seteuid(0)


@EVERY_MODE
async def test_the_mode_keeps_nothing_from_inspectors(tmp_path: Path, mode: Publish) -> None:
    async def check(directory: Path) -> None:
        reader = Reader()
        async with vfs_world(
            directory, upload_mode=mode, inspections=inspections(reader, Inspected.UPLOAD)
        ) as world:
            session = await world.login(world.account())
            for number, attrs in enumerate((Attrs(mode=0), None)):
                flags = OpenFlags(write=True, create=True, truncate=True)
                file = await session.open(p(f"/{number}"), flags, attrs)
                await file.write(0, b"bad data")
                await file.set_attrs(Attrs(mode=0))
                with pytest.raises(Denied):
                    await file.close()
            assert list(world.home().iterdir()) == []
            assert [act[2:] for act in reader.acts] == [(8, b"bad data")] * 2

    await check(tmp_path)  # imports all there is while the interpreter's files can be read
    with ordinary_user() as directory:
        await check(directory)


async def test_who_opens_for_reading_and_writing_downloads_too(tmp_path: Path) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.DOWNLOAD)) as world:
        session = await world.login(world.account())
        await put(session, "/evil", b"bad data")
        await put(session, "/fine", b"fine")
        with pytest.raises(Denied):
            await session.open(p("/evil"), OpenFlags(read=True, write=True))
        assert (world.home() / "evil").read_bytes() == b"bad data"
        file = await session.open(p("/fine"), OpenFlags(read=True, write=True))
        await file.close()
        assert [act[1:] for act in reader.acts] == [("/evil", 8, b"bad data"), ("/fine", 4, b"fine")]


async def test_downloads_by_any_way(tmp_path: Path) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.DOWNLOAD)) as world:
        session = await world.login(world.account())
        for name, data in (("/fine", b"fine"), ("/evil", b"bad"), ("/locked", b"x")):
            await put(session, name, data)
        assert session.open_nowait(p("/fine"), READ) is None
        file = await session.open(p("/fine"), READ)
        assert await file.read(0, 10) == b"fine"
        await file.close()
        for name in ("/evil", "/locked"):
            with pytest.raises(Denied):
                await session.open(p(name), READ)
        with pytest.raises(Denied):
            await session.open(p("/locked"), OpenFlags(read=True, write=True))
        assert not session._context.files
        up = session.open_nowait(p("/new"), OpenFlags(write=True, create=True))  # nobody is asked about those
        assert up is not None
        assert up.close_nowait()


async def test_who_removes_is_asked_and_nothing_else_is(tmp_path: Path) -> None:
    reader = Reader()
    async with vfs_world(tmp_path, inspections=inspections(reader, Inspected.DELETE)) as world:
        session = await world.login(world.account(quota_files=10))
        await put(session, "/locked", b"x")
        await put(session, "/free", b"x")
        with pytest.raises(Denied):
            await session.remove(p("/locked"))
        await session.remove(p("/free"))
        await session.mkdir(p("/d"))
        await session.rmdir(p("/d"))
        assert [act[:2] for act in reader.acts] == [
            ("delete", "/locked"),
            ("delete", "/free"),
            ("delete", "/d"),
        ]
        assert await world.used() == (1, 1)


class Recorder:
    """Keeps events, or cannot."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.full = self.away = False
        self.uploads = self.downloads = True
        self.unwanted = ""

    def wants(self, event: Event) -> bool:
        return not (isinstance(event, Transferred) and event.virtual_path == self.unwanted)

    async def record(self, event: Event) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise ProviderUnavailable
        self.kept.append(event)


@EVERY_MODE
async def test_what_is_acknowledged_is_kept(tmp_path: Path, mode: Publish) -> None:
    recorder = Recorder()
    async with vfs_world(tmp_path, upload_mode=mode, kept=recorder) as world:
        session = await world.login(world.account(quota_files=10))
        await put(session, "/f", b"abc")
        assert [type(event) for event in recorder.kept] == [Transferred]
        await session.remove(p("/f"))
        assert type(recorder.kept[1]) is Operated
        quick = session.open_nowait(p("/g"), OpenFlags(write=True, create=True))
        assert quick is None or not quick.close_nowait()
        if quick is not None:
            await quick.close()
        recorder.unwanted = "/quick"
        quick = session.open_nowait(p("/quick"), OpenFlags(write=True, create=True))
        assert quick is None or quick.close_nowait() or mode is not Publish.INPLACE
        if quick is not None and not (world.home() / "quick").exists():
            await quick.close()
        kept = len(recorder.kept)
        recorder.away = True
        with pytest.raises(ProviderUnavailable):
            await put(session, "/h", b"abc")
        with pytest.raises(ProviderUnavailable):
            await session.mkdir(p("/d"))
        assert len(recorder.kept) == kept
        assert (world.home() / "h").exists()  # done, and nobody was told so


async def test_while_the_outbox_is_full_nothing_begins(tmp_path: Path) -> None:
    recorder = Recorder()
    async with vfs_world(tmp_path, kept=recorder) as world:
        session = await world.login(world.account())
        await put(session, "/f", b"abc")
        recorder.full = True
        assert session.open_nowait(p("/f"), READ) is None
        tries = (
            session.open(p("/f"), READ), session.open(p("/g"), OpenFlags(write=True, create=True)),
            session.open(p("/f"), RESUME), session.remove(p("/f")), session.mkdir(p("/d")),
            session.rename(p("/f"), p("/g"), replace=False),
        )  # fmt: skip
        for work in tries:
            with pytest.raises(TidegateError) as refused:
                await work
            assert isinstance(refused.value, ProviderUnavailable)
        assert (await session.stat(p("/f"))).size == 3
        assert {path.name for path in world.home().iterdir()} == {"f"}


@EVERY_MODE
async def test_a_file_that_is_changed_inside_stays_until_what_it_will_be_is_allowed(
    tmp_path: Path, mode: Publish
) -> None:
    reader = Reader()
    async with vfs_world(
        tmp_path, upload_mode=mode, inspections=inspections(reader, Inspected.UPLOAD, keeps_old=True)
    ) as world:
        session = await world.login(world.account(quota_size=10_000, quota_files=10))
        await put(session, "/f", b"good data")
        await session.hardlink(p("/f"), p("/other"))
        place = world.home() / "f"

        file = await session.open(p("/f"), OpenFlags(write=True))
        await file.write(0, b"bad ")
        assert place.read_bytes() == b"good data"
        assert (await session.stat(p("/f"))).size == 9  # to the session it is changed
        with pytest.raises(Denied):
            await file.close()
        assert place.read_bytes() == (world.home() / "other").read_bytes() == b"good data"
        assert reader.acts[-1][1:] == ("/f", 9, b"bad  data")

        file = await session.open(p("/f"), OpenFlags(write=True, append=True))
        await file.write(0, b", and more")
        await file.close()
        assert place.read_bytes() == b"good data, and more"
        assert (world.home() / "other").read_bytes() == b"good data"

        file = await session.open(p("/f"), OpenFlags(write=True, read=True))
        await file.write(5, b"DATA")
        assert await file.read(0, 9) == b"good DATA"
        await file.abort()
        assert place.read_bytes() == b"good data, and more"
        assert sorted(path.name for path in world.home().iterdir()) == ["f", "other"]
        assert await world.used() == (28, 2)


@EVERY_MODE
async def test_of_two_clients_who_change_a_file_inside_the_second_is_told_that_it_is_another_one(
    tmp_path: Path, mode: Publish
) -> None:
    async with vfs_world(
        tmp_path, upload_mode=mode, inspections=inspections(Reader(), Inspected.UPLOAD, keeps_old=True)
    ) as world:
        account = world.account(quota_size=100, quota_files=10)
        one, other = await world.login(account), await world.login(account)
        await put(one, "/f", b"good data")
        place = world.home() / "f"
        os.utime(place, (1_000_000, 1_000_000))  # the clock of the files may be coarse
        first = await one.open(p("/f"), OpenFlags(write=True))
        second = await other.open(p("/f"), OpenFlags(write=True))
        await first.write(0, b"GOOD")
        await second.write(5, b"DATA")
        await first.close()
        with pytest.raises(Conflict):
            await second.close()
        assert place.read_bytes() == b"GOOD data"
        assert await world.used() == (9, 1)
        assert [path.name for path in world.home().iterdir()] == ["f"]
        file = await other.open(p("/f"), OpenFlags(write=True))
        await file.write(5, b"DATA")
        await file.close()
        assert place.read_bytes() == b"GOOD DATA"


async def test_each_further_session_that_changes_a_file_inside_is_charged_for_the_copy_that_it_has(
    tmp_path: Path,
) -> None:
    async with vfs_world(
        tmp_path, inspections=inspections(Reader(), Inspected.UPLOAD, keeps_old=True)
    ) as world:
        account = world.account(quota_size=30, quota_files=1)
        sessions = [await world.login(account) for _ in range(4)]
        await put(sessions[0], "/f", b"good data.")
        files, used = [], []
        for session in sessions[:3]:
            files.append(await session.open(p("/f"), OpenFlags(write=True)))
            used.append(await world.used())
        assert used == [(10, 1), (20, 1), (30, 1)]  # the first one's takes the place of the file
        with pytest.raises(QuotaExceeded):
            await sessions[3].open(p("/f"), OpenFlags(write=True))
        assert await world.used() == (30, 1)
        await files[1].abort()
        assert await world.used() == (20, 1)
        await files[2].write(0, b"GOOD")
        await files[2].close()
        assert await world.used() == (20, 1)  # what the first one's would replace is gone
        await files[0].abort()
        assert await world.used() == (10, 1)
        assert (world.home() / "f").read_bytes() == b"GOOD data."


async def test_what_a_changed_file_was_counts_neither_as_received_nor_against_the_bandwidth(
    tmp_path: Path,
) -> None:
    data = bytes(range(256)) * 12_000
    async with vfs_world(
        tmp_path, inspections=inspections(Reader(), Inspected.UPLOAD, keeps_old=True)
    ) as world:
        session = await world.login(world.account())
        await put(session, "/f", data)
        file = await session.open(p("/f"), OpenFlags(write=True))
        await file.write(1000, b"changed")
        await file.close()
        assert (world.home() / "f").read_bytes() == data[:1000] + b"changed" + data[1007:]
        assert [event.size for event in world.of(Transferred)] == [len(data), 7]
