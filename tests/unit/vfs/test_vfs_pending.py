# SPDX-License-Identifier: Apache-2.0
"""Uploads that have their names while somebody decides: a refusal puts back what was there, and what it cost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, RESUME, World, get, p, put, vfs_world

from tidegate.abc import ALLOWED, Inspected, InspectedAct, Outcome, Publish, Verdict
from tidegate.backends.local import LocalBackend, sweep_journal, undecided
from tidegate.backends.local.names import STAGED
from tidegate.backends.local.uploads import Upload
from tidegate.errors import Conflict, Denied, StorageFailed
from tidegate.events.kinds import Transferred
from tidegate.inspection.inspections import Inspections, InspectorUse, Refused
from tidegate.model import Attrs
from tidegate.testing.backend import options_for

EVERY_MODE = pytest.mark.parametrize("mode", list(Publish), ids=lambda mode: mode.name.lower())


@pytest.fixture(autouse=True)
def register() -> Iterator[None]:
    """Storage that is made to fail here leaves its uploads in the register of the process."""
    yield
    undecided._places.clear()
    undecided._files.clear()


class Looks:
    """Looks at the place that it is told, and refuses what begins with "bad". `gate` holds up the answer."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bytes]] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def open(self) -> None:
        pass

    async def inspect(self, act: InspectedAct) -> Verdict:
        content = Path(act.location).read_bytes() if act.location else b""
        self.seen.append((act.path, act.location, content))
        self.asked.set()
        if self.meanwhile is not None:
            await self.meanwhile()
        await self.gate.wait()
        return Verdict(allowed=False, text="not today") if content.startswith(b"bad") else ALLOWED

    async def close(self) -> None:
        pass


def asking(looks: Looks, **options: Any) -> Inspections:
    use = InspectorUse("r", looks, frozenset({Inspected.UPLOAD}), 30, keeps_old=True, named=True, **options)
    return Inspections([use])


def left(world: World) -> dict[str, bytes]:
    """Every file of the home, hidden ones too."""
    return {path.name: path.read_bytes() for path in world.home().rglob("*") if path.is_file()}


QUOTA = {"quota_size": 100, "quota_files": 3}


@pytest.mark.parametrize(("old", "new"), [(b"the old content", b"bad"), (b"old", b"bad and much longer")])
@EVERY_MODE
async def test_the_old_file_is_back_after_a_refusal(
    tmp_path: Path, mode: Publish, old: bytes, new: bytes
) -> None:
    looks = Looks()
    async with vfs_world(tmp_path, upload_mode=mode, inspections=asking(looks)) as world:
        session = await world.login(world.account(**QUOTA))
        await put(session, "/f", old)
        file = world.home() / "f"
        file.chmod(0o640)
        os.utime(file, ns=(10**18, 10**18))
        os.setxattr(file, "user.note", b"mine")
        before = file.stat()
        with pytest.raises(Denied, match="not today"):
            await put(session, "/f", new)
        assert looks.seen[-1] == ("/f", str(file), new)
        after = file.stat()
        assert left(world) == {"f": old}
        assert (after.st_ino, after.st_mode, after.st_mtime_ns, after.st_nlink) == (
            before.st_ino,
            before.st_mode,
            before.st_mtime_ns,
            1,
        )
        assert os.getxattr(file, "user.note") == b"mine"
        assert await world.used() == (len(old), 1)
        ends = [(event.status, event.size) for event in world.of(Transferred)]
        assert ends == [("ok", len(old)), ("failed", len(new))]
        await put(session, "/f", b"good")
        assert (looks.seen[-1], left(world)) == (("/f", str(file), b"good"), {"f": b"good"})
        assert await world.used() == (4, 1)
        assert len(world.vfs._paths) == 0


@EVERY_MODE
async def test_a_new_file_has_its_name_and_is_gone_after_a_refusal(tmp_path: Path, mode: Publish) -> None:
    looks = Looks()
    async with vfs_world(tmp_path, upload_mode=mode, inspections=asking(looks)) as world:
        session = await world.login(world.account(**QUOTA))
        with pytest.raises(Denied):
            await put(session, "/f", b"bad")
        assert looks.seen == [("/f", str(world.home() / "f"), b"bad")]
        assert left(world) == {}
        assert await world.used() == (0, 0)
        await put(session, "/f", b"good")
        assert left(world) == {"f": b"good"}
        assert await world.used() == (4, 1)


async def test_a_change_inside_a_file_is_undone(tmp_path: Path) -> None:
    async with vfs_world(tmp_path, inspections=asking(Looks())) as world:
        session = await world.login(world.account(**QUOTA))
        await put(session, "/f", b"good content")
        file = await session.open(p("/f"), RESUME)
        await file.write(0, b"bad")
        with pytest.raises(Denied):
            await file.close()
        assert left(world) == {"f": b"good content"}
        assert await world.used() == (12, 1)


async def test_what_is_given_back_is_not_free_before_the_verdict(tmp_path: Path) -> None:
    """A smaller file replaces a larger one: the room of the larger one is still needed if it comes back."""
    looks = Looks()
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        session = await world.login(world.account(**QUOTA))
        await put(session, "/f", b"x" * 90)
        other = await world.login("alice")
        refused: list[str] = []

        async def meanwhile() -> None:
            looks.meanwhile = None
            assert await get(other, "/f") == b"bad"
            try:
                await put(other, "/g", b"y" * 20)
            except Exception as error:
                refused.append(type(error).__name__)

        looks.meanwhile = meanwhile
        with pytest.raises(Denied):
            await put(session, "/f", b"bad")
        assert refused == ["QuotaExceeded"]
        assert left(world) == {"f": b"x" * 90}
        assert await world.used() == (90, 1)
        await put(session, "/f", b"good")
        await put(other, "/g", b"y" * 20)
        assert await world.used() == (24, 2)


async def test_uploads_of_one_path_are_decided_one_after_the_other(tmp_path: Path) -> None:
    """The second one sets aside what the first one is decided to be, never what is refused."""
    looks = Looks()
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        first = await world.login(world.account(**QUOTA))
        second = await world.login("alice")
        await put(first, "/f", b"old")
        looks.asked.clear()
        looks.gate.clear()
        files = [await one.open(p("/f"), PUT) for one in (first, second)]
        for file, content in zip(files, (b"bad 1", b"bad two"), strict=True):
            await file.write(0, content)
        one = asyncio.create_task(files[0].close())
        await looks.asked.wait()
        two = asyncio.create_task(files[1].close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert left(world)["f"] == b"bad 1"
        assert len(looks.seen) == 2
        looks.gate.set()
        assert [type(end) for end in await asyncio.gather(one, two, return_exceptions=True)] == [Refused] * 2
        assert [content for _, _, content in looks.seen] == [b"old", b"bad 1", b"bad two"]
        assert left(world) == {"f": b"old"}
        assert await world.used() == (3, 1)
        assert len(world.vfs._paths) == 0


@pytest.mark.parametrize("content", [b"bad", b"good"])
async def test_what_others_do_with_the_file_meanwhile(tmp_path: Path, content: bytes) -> None:
    """It is removed, renamed or replaced by somebody who sees it: then that counts."""
    looks = Looks()
    good = content == b"good"
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        session = await world.login(world.account(quota_size=1000, quota_files=30))
        other = await world.login("alice")

        async def during(act: Callable[[], Awaitable[object]]) -> dict[str, bytes]:
            for name in left(world):
                await other.remove(p(f"/{name}"))
            await put(session, "/f", b"old")

            async def once() -> None:
                looks.meanwhile = None
                await act()

            looks.meanwhile = once
            try:
                await put(session, "/f", content)
            except Denied:
                assert not good
            return left(world)

        async def conflicts(act: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(Conflict):
                await act()

        assert await during(lambda: other.remove(p("/f"))) == {}
        assert await world.used() == (0, 0)
        moved = await during(lambda: other.rename(p("/f"), p("/g"), replace=False))
        assert moved == ({"g": content} if good else {"f": b"old"})
        assert await world.used() == (4 if good else 3, 1)
        now = {"f": content if good else b"old"}
        assert await during(lambda: conflicts(lambda: other.copy(p("/f"), p("/g"), replace=False))) == now
        assert await during(lambda: conflicts(lambda: other.set_attrs(p("/f"), Attrs(mtime_ns=5)))) == now
        assert await during(lambda: conflicts(lambda: other.set_attrs(p("/f"), Attrs(size=1)))) == now
        assert await world.used() == (4 if good else 3, 1)


async def test_another_name_of_a_refused_file_keeps_nothing(tmp_path: Path) -> None:
    looks = Looks()
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        session = await world.login(world.account())
        await put(session, "/f", b"old")

        async def link() -> None:
            os.link(world.home() / "f", world.home() / "g")

        looks.meanwhile = link
        with pytest.raises(Denied):
            await put(session, "/f", b"bad")
        assert left(world) == {"f": b"old", "g": b""}


async def test_who_has_no_question_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is set aside where no rule wants to see it; the rules are asked as ever."""
    looks = Looks()

    async def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(LocalBackend, "set_aside", never)
    async with vfs_world(tmp_path, inspections=asking(looks, wants=lambda _: False)) as world:
        session = await world.login(world.account())
        await put(session, "/f", b"old")
        await put(session, "/f", b"new")
        assert looks.seen[-1] == ("/f", "", b"")
        assert left(world) == {"f": b"new"}


@pytest.mark.parametrize("call", ["set_aside", "replaced", "put_back", "drop_aside"])
async def test_storage_fails_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The client is told of no success that is none, and what was refused is not there."""
    async with vfs_world(tmp_path, inspections=asking(Looks())) as world:
        session = await world.login(world.account(**QUOTA))
        await put(session, "/f", b"old")
        failing = True
        real = getattr(LocalBackend, call)

        async def fails(self: LocalBackend, *args: Any, **options: Any) -> object:
            if failing and call != "drop_aside":
                raise StorageFailed
            return await real(self, *args, **options)

        before = set(STAGED)
        monkeypatch.setattr(LocalBackend, call, fails)
        with pytest.raises(StorageFailed if call == "set_aside" else Denied):
            await put(session, "/f", b"bad")
        now = left(world)
        assert b"bad" not in now.values()
        assert b"old" in now.values()
        if call in {"set_aside", "drop_aside"}:
            assert now == {"f": b"old"}
            assert await world.used() == (3, 1)
        failing = False
        assert set(STAGED) == before  # nothing waits for a verdict any more
        if call != "set_aside":
            with pytest.raises(Denied):  # it is asked about again, and not taken for one that still waits
                await put(session, "/f", b"bad")


@pytest.mark.parametrize("when", ["before", "published", "seen", "removed", "others"])
async def test_after_a_crash_the_old_file_is_back(tmp_path: Path, when: str) -> None:
    """As the next start does; what others put there meanwhile stays, and so does what nobody can tell."""
    home, journal = tmp_path / "home", tmp_path / "journal"
    home.mkdir()
    (home / "f").write_bytes(b"old")
    await crash(home, journal, when)
    now = {path.name: path.read_bytes() for path in home.iterdir()}
    if when == "published":
        assert now == {"f": b"new", "f (replaced 1)": b"old"}
    else:
        assert now == {"f": b"new" if when == "others" else b"old"}
    assert list(journal.iterdir()) == []


@pytest.mark.parametrize("when", ["before", "published", "seen", "removed", "others"])
async def test_after_a_crash_a_new_file_without_a_verdict_is_gone(tmp_path: Path, when: str) -> None:
    home, journal = tmp_path / "home", tmp_path / "journal"
    home.mkdir()
    await crash(home, journal, when)
    now = {path.name: path.read_bytes() for path in home.iterdir()}
    assert now == ({"f": b"new"} if when in {"published", "others"} else {})
    assert list(journal.iterdir()) == []


@pytest.mark.parametrize("old", [b"old", None])
async def test_after_a_crash_an_upload_is_found_where_its_directory_is(
    tmp_path: Path, old: bytes | None
) -> None:
    home, journal = tmp_path / "home", tmp_path / "journal"
    (home / "d").mkdir(parents=True)
    if old is not None:
        (home / "d/f").write_bytes(old)
    await crash(home, journal, "seen", "d/f", "e")
    assert {path.name: path.read_bytes() for path in (home / "e").iterdir()} == (
        {} if old is None else {"f": old}
    )
    assert list(journal.iterdir()) == []


async def crash(home: Path, journal: Path, when: str, key: str = "f", moves: str = "") -> None:
    """Upload to a file in a process that ends then, and clear up as the next start does."""
    backend = LocalBackend(str(home), journal_dir=str(journal))
    await backend.open()
    upload = await backend.open_file(key, options_for(Publish.ATOMIC))
    await upload.write(0, b"new")
    hidden, _ = await backend.set_aside(key, upload)
    if when != "before":
        await upload.close(Outcome.COMMIT)
    if when not in {"before", "published"}:
        await backend.replaced(hidden, key)
    if moves:
        await backend.rename("d", moves, replace=False)
    if when == "removed":
        (home / "f").unlink()
    if when == "others":
        os.utime(home / "f", ns=(1, 1))
    backend._undecided.pop(hidden.rpartition("/")[2]).end()  # the process is no more
    if when == "before":
        await upload.close(Outcome.DROP)
    await backend.close()
    sweep_journal(str(journal))


async def test_a_file_system_without_links_keeps_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object, **__: object) -> None:
        raise PermissionError(1, "no links")

    async with vfs_world(tmp_path, inspections=asking(Looks())) as world:
        session = await world.login(world.account(**QUOTA))
        await put(session, "/f", b"old")
        os.utime(world.home() / "f", ns=(10**18, 10**18))
        (world.home() / "f").chmod(0o604)
        monkeypatch.setattr("tidegate.backends.local.aside.os.link", no_links)
        with pytest.raises((Denied, StorageFailed)):
            await put(session, "/f", b"bad")
        found = (world.home() / "f").stat()
        assert left(world) == {"f": b"old"}
        assert (found.st_mtime_ns, found.st_mode & 0o777) == (10**18, 0o604)
        assert await world.used() == (3, 1)


@pytest.mark.parametrize("first", ["open", "closed"])
async def test_what_nobody_has_agreed_to_does_not_come_back(tmp_path: Path, first: str) -> None:
    """A new file that is written in place is replaced before its end: then it is told that it is lost."""
    looks = Looks()
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        session = await world.login(world.account(**QUOTA))
        other = await world.login("alice")
        mine = await session.open(p("/f"), PUT)
        await mine.write(0, b"good")
        ends: list[asyncio.Task[None]] = []
        looks.gate.clear()
        theirs = await other.open(p("/f"), PUT)
        await theirs.write(0, b"bad two")
        ends.append(asyncio.create_task(theirs.close()))
        await looks.asked.wait()
        assert left(world) == {"f": b"bad two"}
        if first == "closed":
            ends.append(asyncio.create_task(mine.close()))
            for _ in range(20):
                await asyncio.sleep(0)
        looks.gate.set()
        results = await asyncio.gather(*ends, return_exceptions=True)
        if first == "open":
            results += await asyncio.gather(mine.close(), return_exceptions=True)
        assert [type(one) for one in results] == [Refused, Conflict]
        assert left(world) == {}
        assert await world.used() == (0, 0)
        assert len(world.vfs._paths) == 0


@pytest.mark.parametrize("content", [b"bad 1", b"good"])
async def test_uploads_that_are_written_in_place_are_decided_in_turn(tmp_path: Path, content: bytes) -> None:
    """The second one replaces what the first one has become, and leaves that if it is refused."""
    looks = Looks()
    async with vfs_world(tmp_path, inspections=asking(looks)) as world:
        session = await world.login(world.account(**QUOTA))
        other = await world.login("alice")
        mine = await session.open(p("/f"), PUT)
        await mine.write(0, content)
        theirs = await other.open(p("/f"), PUT)
        await theirs.write(0, b"bad two")
        looks.gate.clear()
        one = asyncio.create_task(mine.close())
        await looks.asked.wait()
        two = asyncio.create_task(theirs.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert left(world) == {"f": content}
        looks.gate.set()
        good = content == b"good"
        ends = await asyncio.gather(one, two, return_exceptions=True)
        assert [type(end) for end in ends] == [type(None) if good else Refused, Refused]
        assert left(world) == ({"f": b"good"} if good else {})
        assert await world.used() == ((4, 1) if good else (0, 0))
        assert len(world.vfs._paths) == 0


@pytest.mark.parametrize("old", [b"old", None])
async def test_another_root_leads_to_a_file_that_waits_for_a_verdict(
    tmp_path: Path, old: bytes | None
) -> None:
    """A home inside another one: what the second upload sets aside would be the first one, which is refused."""
    looks = Looks()
    async with vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=asking(looks)) as world:
        first = await world.login(world.account())
        (world.home() / "sub").mkdir()
        second = await world.login(world.account("bob", home_dir=str(world.home() / "sub")))
        if old is not None:
            await put(first, "/sub/f", old)
        looks.asked.clear()
        looks.gate.clear()
        files = [await first.open(p("/sub/f"), PUT), await second.open(p("/f"), PUT)]
        for file, content in zip(files, (b"bad 1", b"bad two"), strict=True):
            await file.write(0, content)
        one = asyncio.create_task(files[0].close())
        await looks.asked.wait()
        with pytest.raises(Conflict, match="inspected"):
            await files[1].close()
        os.rename(world.home() / "sub/f", world.home() / "sub/g")  # the file is known under every name
        file = await second.open(p("/g"), PUT)
        await file.write(0, b"bad two")
        with pytest.raises(Conflict, match="inspected"):
            await file.close()
        os.rename(world.home() / "sub/g", world.home() / "sub/f")
        looks.gate.set()
        with pytest.raises(Denied):
            await one
        assert left(world) == ({} if old is None else {"f": old})
        await put(second, "/f", b"good")
        assert left(world) == {"f": b"good"}


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("before", [True, False], ids=["removed first", "replaced"])
async def test_what_another_server_has_published_meanwhile_stays(
    tmp_path: Path, old: bytes | None, before: bool
) -> None:
    """Two servers on one directory; inodes of files that are removed are soon used again."""
    looks = Looks()
    theirs_look = Looks()
    async with (
        vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=asking(looks)) as world,
        vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=asking(theirs_look)) as world2,
    ):
        first = await world.login(world.account())
        second = await world2.login(world2.account())
        if old is not None:
            await put(second, "/f", old)

        async def theirs() -> None:
            undecided._places.clear()  # that of another process is another one
            undecided._files.clear()
            if before:
                await second.remove(p("/f"))
            await put(second, "/f", b"good")
            assert theirs_look.seen[-1][2] == b"good"

        looks.meanwhile = theirs
        with pytest.raises(Denied):
            await put(first, "/f", b"bad 1")
        assert left(world) == {"f": b"good"}


@pytest.mark.parametrize("old", [b"old", None])
async def test_storage_does_not_say_that_it_has_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    """A file that may be there without a verdict is not, and what was there before is."""
    async with vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=asking(Looks())) as world:
        session = await world.login(world.account())
        if old is not None:
            await put(session, "/f", old)
        real = Upload._commit

        def commit(self: Upload, times: tuple[int, int] | None) -> None:
            real(self, times)
            raise OSError(5, "the directory cannot be written back")

        monkeypatch.setattr(Upload, "_commit", commit)
        with pytest.raises(StorageFailed):
            await put(session, "/f", b"bad")
        assert left(world) == ({} if old is None else {"f": old})


async def test_a_refused_file_that_was_written_in_place_takes_no_other_one_along(tmp_path: Path) -> None:
    """Another server has published a file of that name meanwhile."""
    looks = Looks()
    async with (
        vfs_world(tmp_path, inspections=asking(looks)) as world,
        vfs_world(tmp_path, upload_mode=Publish.ATOMIC) as world2,
    ):
        first = await world.login(world.account())
        second = await world2.login(world2.account())
        looks.meanwhile = lambda: put(second, "/f", b"good")
        with pytest.raises(Denied):
            await put(first, "/f", b"bad 1")
        assert left(world) == {"f": b"good"}


@pytest.mark.parametrize("old", [b"old", None])
async def test_an_error_of_the_server_itself_leaves_nothing_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    async with vfs_world(tmp_path, upload_mode=Publish.ATOMIC, inspections=asking(Looks())) as world:
        session = await world.login(world.account())
        if old is not None:
            await put(session, "/f", old)
        with monkeypatch.context() as patch:
            real = Upload._commit

            def commit(self: Upload, times: tuple[int, int] | None) -> None:
                real(self, times)
                raise RuntimeError("a fault of the server")

            patch.setattr(Upload, "_commit", commit)
            with pytest.raises(RuntimeError):
                await put(session, "/f", b"bad")
        assert left(world) == ({} if old is None else {"f": old})
        assert not (undecided._places or undecided._files)
