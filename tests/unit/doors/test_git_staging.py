# SPDX-License-Identifier: Apache-2.0
"""Pushes of two servers to one repository on one storage: each name has one winner, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.encrypted import STRETCHED
from tests.support.memory_bucket import Fault, MemoryBucket, MemoryService
from tests.support.vfs_world import World, get, p, put

from tidegate.abc import Backend
from tidegate.backends.crypt.backend import crypt_backend
from tidegate.backends.crypt.keys import RootKeys
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.doors.ssh.programs import staging
from tidegate.doors.ssh.programs.lock_notes import LockNote
from tidegate.doors.ssh.programs.names import NOTHING, Names, digest
from tidegate.doors.ssh.programs.staging import Copy
from tidegate.errors import Conflict, NotFound, StorageFailed, Unsupported
from tidegate.model import StorageSpec
from tidegate.vfs.session import Session

OLD, MINE, THEIRS = (letter * 40 + b"\n" for letter in (b"1", b"2", b"3"))
BUCKETS, DISKS = ("bucket", "encrypted bucket"), ("disk", "encrypted disk")


class Shared(World):
    """A server whose homes are where those of another one are."""

    def __init__(self, base: Path, kind: str, service: MemoryService, disk: Path) -> None:
        self.bucket = MemoryBucket(service)
        self.kind = kind
        super().__init__(base)
        self.disk = disk

    def build(self, spec: StorageSpec) -> Backend:
        if self.kind in BUCKETS:
            below: Backend = ObjectBackend(self.bucket, "p/")
        else:
            below = super().build(StorageSpec(str(self.disk)))
        return crypt_backend(below, RootKeys("horse", STRETCHED)) if "encrypted" in self.kind else below


@asynccontextmanager
async def server(base: Path, kind: str, service: MemoryService, disk: Path) -> AsyncIterator[Shared]:
    world = Shared(base, kind, service, disk)
    world.account()
    try:
        yield world
    finally:
        await world.close()


class HeldNames(Names):
    """Waits between looking at the names and writing them."""

    looked: asyncio.Event
    go_on: asyncio.Event

    async def _compared(self, names: Sequence[str]) -> dict[str, str]:
        found = await super()._compared(names)
        self.looked.set()
        await self.go_on.wait()
        return found


class Held(Copy):
    """A copy whose names are held."""

    looked: asyncio.Event
    go_on: asyncio.Event

    def _names(self) -> Names:
        names = HeldNames(self.session, self._path, self.names, versioned=self.versioned, note=self.note)
        names.looked, names.go_on = self.looked, self.go_on
        return names


Two = tuple[Session, Session, Shared]


@pytest.fixture(params=[*BUCKETS, *DISKS])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    """Sessions of one account at two servers, with a repository; and the first server."""
    service, disk = MemoryService(), tmp_path / "disk"
    disk.mkdir()
    kind: str = request.param
    async with (
        server(tmp_path / "one", kind, service, disk) as one,
        server(tmp_path / "two", kind, service, disk) as other,
    ):
        here, there = await one.login(), await other.login()
        for directory in ("/x.git", "/x.git/objects", "/x.git/refs", "/x.git/refs/heads"):
            await here.mkdir(p(directory))
        await put(here, "/x.git/HEAD", b"ref: refs/heads/main\n")
        await put(here, "/x.git/refs/heads/main", OLD)
        yield here, there, one


async def copied(session: Session, directory: Path, kind: type[Copy] = Copy) -> Copy:
    directory.mkdir()
    copy = kind(session, p("/x.git"), 1 << 20, str(directory))
    if isinstance(copy, Held):
        copy.looked, copy.go_on = asyncio.Event(), asyncio.Event()
    await copy.fetch()
    return copy


def change(copy: Copy, key: str, content: bytes) -> None:
    path = Path(copy.directory, key)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)
    os.utime(path, (1, 1))


async def race(mine: Copy, theirs: Copy, key: str) -> bytes:
    """Both are stored, the second between the look of the first and its write; returns who won."""
    assert isinstance(mine, Held)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    lost = []
    try:
        await theirs.store()
    except Conflict as error:
        lost.append((THEIRS, error))
    mine.go_on.set()
    try:
        await storing
    except Conflict as error:
        lost.append((MINE, error))
    ((who, why),) = lost
    assert key in str(why)
    return MINE if who == THEIRS else THEIRS


async def names_of(session: Session) -> list[str]:
    return [entry.name async for batch in session.list(p("/x.git/refs/heads")) for entry in batch]


async def test_a_name_that_is_changed_between_look_and_write_is_not_lost(two: Two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/main", MINE)
    change(theirs, "refs/heads/main", THEIRS)
    won = await race(mine, theirs, "refs/heads/main")
    assert await get(there, "/x.git/refs/heads/main") == won
    assert await names_of(here) == ["main"]


async def test_a_new_name_has_one_winner(two: Two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/new", MINE)
    change(theirs, "refs/heads/new", THEIRS)
    won = await race(mine, theirs, "refs/heads/new")
    assert await get(there, "/x.git/refs/heads/new") == won
    assert sorted(await names_of(here)) == ["main", "new"]


@pytest.mark.parametrize("first", ["removes", "changes"])
async def test_of_a_change_and_a_removal_one_wins(two: Two, tmp_path: Path, first: str) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    Path((mine if first == "removes" else theirs).directory, "refs/heads/main").unlink()
    changes = theirs if first == "removes" else mine
    change(changes, "refs/heads/main", MINE)
    won = await race(mine, theirs, "refs/heads/main")
    if (won == MINE) is (first == "removes"):
        with pytest.raises(NotFound):
            await get(there, "/x.git/refs/heads/main")
    else:
        assert await get(there, "/x.git/refs/heads/main") == MINE


@pytest.mark.parametrize("two", BUCKETS, indirect=True)
async def test_a_name_that_is_being_removed_is_not_changed(two: Two, tmp_path: Path) -> None:
    """It stands for nothing before it is gone."""
    here, there, world = two
    mine = await copied(here, tmp_path / "a")
    theirs = await copied(there, tmp_path / "b", Held)
    Path(mine.directory, "refs/heads/main").unlink()
    change(theirs, "refs/heads/main", THEIRS)
    storing = asyncio.create_task(theirs.store())
    await theirs.looked.wait()
    world.bucket.faults.append(fault := Fault("delete", error=StorageFailed("cut off")))
    with pytest.raises(StorageFailed):
        await mine.store()
    assert fault.seen
    assert await get(here, "/x.git/refs/heads/main") == NOTHING
    theirs.go_on.set()
    with pytest.raises(Conflict):
        await storing
    world.bucket.faults.clear()
    again = await copied(here, tmp_path / "c")
    Path(again.directory, "refs/heads/main").unlink()
    await again.store()
    with pytest.raises(NotFound):
        await get(there, "/x.git/refs/heads/main")


async def test_different_names_do_not_meet(two: Two, tmp_path: Path) -> None:
    here, there, _ = two
    mine = await copied(here, tmp_path / "a", Held)
    theirs = await copied(there, tmp_path / "b")
    change(mine, "refs/heads/main", MINE)
    change(theirs, "refs/heads/other", THEIRS)
    storing = asyncio.create_task(mine.store())
    await mine.looked.wait()
    await theirs.store()
    mine.go_on.set()
    await storing
    assert await get(there, "/x.git/refs/heads/main") == MINE
    assert await get(here, "/x.git/refs/heads/other") == THEIRS


async def test_a_directory_goes_with_its_last_name_and_a_name_takes_its_place(
    two: Two, tmp_path: Path
) -> None:
    here, there, _ = two
    first = await copied(here, tmp_path / "a")
    change(first, "refs/heads/topic/one", MINE)
    await first.store()
    second = await copied(there, tmp_path / "b")
    for path in (Path(second.directory, "refs/heads/topic/one"), Path(second.directory, "refs/heads/topic")):
        (path.rmdir if path.is_dir() else path.unlink)()
    change(second, "refs/heads/topic", THEIRS)
    await second.store()
    assert await get(here, "/x.git/refs/heads/topic") == THEIRS
    third = await copied(here, tmp_path / "c")
    Path(third.directory, "refs/heads/topic").unlink()
    await third.store()
    assert await names_of(there) == ["main"]


async def test_a_directory_that_somebody_uses_meanwhile_stays(two: Two, tmp_path: Path) -> None:
    here, there, _ = two
    first = await copied(here, tmp_path / "a")
    change(first, "refs/heads/topic/one", MINE)
    await first.store()
    mine = await copied(here, tmp_path / "b")
    theirs = await copied(there, tmp_path / "c")
    Path(mine.directory, "refs/heads/topic/one").unlink()
    Path(mine.directory, "refs/heads/topic").rmdir()
    change(theirs, "refs/heads/topic/two", THEIRS)
    await theirs.store()
    await mine.store()
    assert await get(here, "/x.git/refs/heads/topic/two") == THEIRS


@pytest.mark.parametrize("two", DISKS, indirect=True)
async def test_a_lock_of_gits_is_obeyed(two: Two, tmp_path: Path) -> None:
    """A git on the same files has it; what it is about is not changed, nor is the lock."""
    here, there, _ = two
    await put(there, "/x.git/refs/heads/main.lock", THEIRS)
    mine = await copied(here, tmp_path / "a")
    assert "refs/heads/main.lock" not in mine.files
    change(mine, "refs/heads/main", MINE)
    change(mine, "refs/heads/other", MINE)
    with pytest.raises(Conflict, match=r"remove refs/heads/main\.lock"):
        await mine.store()
    assert await get(here, "/x.git/refs/heads/main") == OLD
    assert sorted(await names_of(here)) == ["main", "main.lock"]


async def test_storage_that_fails_is_no_conflict(tmp_path: Path) -> None:
    """The storage fails before it stores: nothing is changed, and the push fails with that."""
    service = MemoryService()
    async with server(tmp_path / "one", "bucket", service, tmp_path) as world:
        here = await world.login()
        for directory in ("/x.git", "/x.git/objects", "/x.git/refs", "/x.git/refs/heads"):
            await here.mkdir(p(directory))
        await put(here, "/x.git/refs/heads/main", OLD)
        mine = await copied(here, tmp_path / "a")
        change(mine, "refs/heads/main", MINE)
        world.bucket.faults.append(Fault("put"))
        with pytest.raises(StorageFailed):
            await mine.store()
        assert await get(here, "/x.git/refs/heads/main") == OLD


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Session]:
    """A session with a repository on a disk."""
    async with server(tmp_path / "one", "disk", MemoryService(), tmp_path / "disk") as world:
        session = await world.login()
        for directory in ("/x.git", "/x.git/objects", "/x.git/refs", "/x.git/refs/heads"):
            await session.mkdir(p(directory))
        yield session


async def test_large_names_are_not_held_in_memory(disk: Session, tmp_path: Path) -> None:
    (tmp_path / "disk" / "x.git" / "large").write_bytes(bytes(48 << 20))
    await put(disk, "/x.git/refs/heads/main", OLD)
    (tmp_path / "a").mkdir()
    copy = Copy(disk, p("/x.git"), 64 << 20, str(tmp_path / "a"))
    tracemalloc.start()
    try:
        await copy.fetch()
        Path(copy.directory, "large").unlink()
        change(copy, "refs/heads/main", MINE)
        await copy.store()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 << 20
    assert not (tmp_path / "disk" / "x.git" / "large").exists()


async def test_directories_are_counted_as_files_are(
    disk: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "MAX_FILES", 50)
    for number in range(60):
        (tmp_path / "disk" / "x.git" / "objects" / f"{number:02x}").mkdir()
    with pytest.raises(Unsupported, match="copy_limit"):
        await copied(disk, tmp_path / "a")


async def test_a_path_that_no_copy_can_have_is_told(disk: Session, tmp_path: Path) -> None:
    path = "/x.git/refs"
    while len(path) < 4_000:
        path += "/" + "d" * 200
        await disk.mkdir(p(path))
    with pytest.raises(Unsupported, match="too long"):
        await copied(disk, tmp_path / ("a" * 200))


# -- locks that a killed server leaves ----------------------------------------------------------------------


def left_by_a_killed_server(notes: Path, names: dict[str, bytes]) -> None:
    """The note of a push that was cut off."""
    note = LockNote(notes, "place")
    note.begin({name: digest(content).hexdigest() for name, content in names.items()})
    os.close(note._fd)  # as the end of its process does


@pytest.mark.parametrize("two", DISKS, indirect=True)
async def test_a_lock_that_a_killed_push_left_is_removed_by_the_next_one(two: Two, tmp_path: Path) -> None:
    here, there, _ = two
    notes = tmp_path / "notes"
    left_by_a_killed_server(notes, {"refs/heads/main": THEIRS, "refs/heads/other": THEIRS})
    await put(here, "/x.git/refs/heads/main.lock", THEIRS)
    mine = await copied(here, tmp_path / "a")
    change(mine, "refs/heads/main", MINE)
    with pytest.raises(Conflict, match=r"remove refs/heads/main\.lock"):
        await mine.store()  # without a note nobody knows whose it is
    mine.note = LockNote(notes, "place")
    await mine.store()
    assert await get(there, "/x.git/refs/heads/main") == MINE
    assert await names_of(here) == ["main"]
    (kept,) = notes.iterdir()  # of what no push has met yet
    assert "refs/heads/other" in kept.read_text() and "refs/heads/main" not in kept.read_text()

    again = await copied(here, tmp_path / "b")
    change(again, "refs/heads/other", MINE)
    again.note = LockNote(notes, "place")
    await again.store()  # the lock is gone already: somebody has removed it by hand
    final = await copied(here, tmp_path / "c")
    change(final, "refs/heads/other", THEIRS)
    final.note = LockNote(notes, "place")
    await final.store()
    assert await get(there, "/x.git/refs/heads/other") == THEIRS


@pytest.mark.parametrize("two", DISKS, indirect=True)
async def test_a_lock_of_somebody_else_stays_whatever_was_noted(two: Two, tmp_path: Path) -> None:
    here, _, _ = two
    notes = tmp_path / "notes"
    left_by_a_killed_server(notes, {"refs/heads/main": OLD})
    await put(here, "/x.git/refs/heads/main.lock", THEIRS)  # another content than the noted one
    mine = await copied(here, tmp_path / "a")
    change(mine, "refs/heads/main", MINE)
    mine.note = LockNote(notes, "place")
    with pytest.raises(Conflict, match="locked by another push"):
        await mine.store()
    assert await get(here, "/x.git/refs/heads/main.lock") == THEIRS

    # And one whose server lives: the note is held by it.
    alive = LockNote(notes, "place")
    alive.begin({"refs/heads/main": digest(THEIRS).hexdigest()})
    mine.note = LockNote(notes, "place")
    with pytest.raises(Conflict, match="locked by another push"):
        await mine.store()
    assert await get(here, "/x.git/refs/heads/main.lock") == THEIRS
    alive.end()


async def test_notes_that_cannot_be_kept_or_read_hold_no_push_up(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    left_by_a_killed_server(notes, {"a": OLD})
    (path,) = notes.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600 and notes.stat().st_mode & 0o777 == 0o700
    for text in ("", "{", "[1]", "\xff"):
        path.write_text(text, encoding="latin-1")
        note = LockNote(notes, "place")
        note.begin({"b": "0"})
        assert note.left == {}
        note.end()
        note.end()
        assert not path.exists()
    nowhere = LockNote(tmp_path / "not" / "there", "place")
    with pytest.raises(OSError):
        nowhere.begin({"b": "0"})
    nowhere.end()
