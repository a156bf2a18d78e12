# SPDX-License-Identifier: Apache-2.0
"""Files that are opened and closed in one step, over real storage, asked for by somebody who means harm.

`without_steps` makes a session take the long way. What that answers, records, charges and leaves behind is
what the short way has to come to as well.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import re
import shutil
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from tests.support import sftp_packets as p
from tests.support.memory_session import MemorySession
from tests.support.sftp_peer import Peer
from tests.support.vfs_world import World

from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.errors import StorageFailed, StorageFull
from tidegate.events.kinds import Refused, Transferred
from tidegate.logs import lines
from tidegate.model import VPath
from tidegate.model.account import FilePatterns
from tidegate.policy.quota import UsageCounter
from tidegate.resources.count import Count, Share
from tidegate.resources.notices import Notices
from tidegate.vfs.files.handle import File
from tidegate.vfs.files.uploads import Upload
from tidegate.vfs.session import Session
from tidegate.vfs.usage import writing

OK, NO_FILE, DENIED, FAILURE, BAD = 0, 2, 3, 4, 5
HANDLE = 102


class RealPeer(Peer):
    """`Peer` over a session with real storage; at the end nothing of it may be left."""

    def __init__(self, world: World, session: Session, **options: Any) -> None:
        super().__init__(session, **options)  # type: ignore[arg-type]
        self.world = world
        self.real = session

    async def __aexit__(self, *_: object) -> None:
        await self.drop()
        await self.real.close()
        context = self.real._context
        assert not context.files
        assert not context.transfers
        assert context.opening == 0
        assert len(context.paths) == 0
        assert not context.usage.uploads
        assert open_below(self.world.base) == []

    async def warm(self) -> None:
        """After the first upload and download nothing needs waiting."""
        handle = await self.open("/warm", "w")
        assert (await self.ask(p.close, handle)).code == OK
        assert (await self.ask(p.remove, "/warm")).code == OK

    def at_once(self, packet: bytes) -> p.Reply:
        """The reply to a request that needs no waiting."""
        self.send(packet)
        (reply,) = self.take()
        return reply


def open_below(base: Path) -> list[str]:
    """Files of this process that are open there; directories may be (the backends' roots)."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
            kind = os.stat(f"/proc/self/fd/{fd}").st_mode
        except FileNotFoundError:
            continue
        if path.startswith(f"{base}/") and not stat.S_ISDIR(kind):
            found.append(path)
    return found


def without_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "begin_nowait", lambda *_: None)
    monkeypatch.setattr("tidegate.vfs.files.handle.File.close_nowait", lambda *_: False)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    monkeypatch.setattr(writing, "SAVE_GAP_SECONDS", 0.01)
    monkeypatch.setattr(writing, "LINGER_SECONDS", 30.0)  # the account stays marked
    # A busy machine must not look like a slow disk, whose files are never opened at once.
    monkeypatch.setattr("tidegate.backends.local.device.SLOW_CALL_NS", 1 << 62)


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    world = World(tmp_path)
    world.home().mkdir(parents=True)
    yield world
    await world.close()


@asynccontextmanager
async def peer_of(
    world: World, name: str = "alice", *, limits: SftpLimits | None = None, **account: Any
) -> AsyncIterator[RealPeer]:
    if name not in world.store.accounts or account:
        world.account(
            name, **{"quota_files": 1000, "quota_size": 1 << 30, **account}
        )  # so that it is counted
    async with RealPeer(world, await world.login(name), limits=limits) as peer:
        await peer.warm()
        yield peer


# -- the short way comes to the same -----------------------------------------------------------------------

OBJECTS = (
    "absent", "file", "empty", "dir", "link", "dangling", "way_out", "dir/inner", "dir/absent", "no/parent", "way",
    "file/below", "linked/inner", "linked/absent", "./absent2", "dir/../file", "absent3/", "dir/", "hidden.key",
    "hidden.key.new", "fifo", "x" * 256, ".", "..", "../..",
)  # fmt: skip

RULES: dict[str, dict[str, Any]] = {
    "all": {},
    "no overwrite": {"permissions": {"/": ("list", "upload", "download", "create_dirs")}},
    "no upload": {"permissions": {"/": ("list", "overwrite", "download", "create_dirs")}},
    "no download": {"permissions": {"/": ("list", "upload", "overwrite", "create_dirs")}},
    "only list": {"permissions": {"/": ("list",)}},
    "by directory": {"permissions": {"/": ("*",), "/*/dir": ("list",), "/*/absent": ("list", "upload")}},
    "hidden names": {
        "filters": {"file_patterns": (FilePatterns(denied_patterns=("*.key*", "dir"), deny_policy=1),)}
    },
    "allowed names": {
        "filters": {
            "file_patterns": (FilePatterns(allowed_patterns=("file", "absent?"), denied_patterns=("*",)),)
        }
    },
    "quota": {"quota_files": 12, "quota_size": 300},
    "mounted": {"virtual_folders": ("/1/dir", "/26/dir", "/26/way/below", "/10", "/42")},
}


def _furnish(base: Path, outside: Path) -> None:
    base.mkdir(exist_ok=True)
    shutil.rmtree(base / "way", ignore_errors=True)  # then only the mount below says that it is a directory
    (base / "file").write_bytes(b"0123456789")
    (base / "empty").write_bytes(b"")
    (base / "dir").mkdir(exist_ok=True)
    (base / "dir/inner").write_bytes(b"inner")
    (base / "link").symlink_to("file")
    (base / "linked").symlink_to("dir")
    (base / "dangling").symlink_to("nothing")
    (base / "way_out").symlink_to(outside / "secret")
    (base / "hidden.key").write_bytes(b"key")
    os.mkfifo(base / "fifo")


def _tree(base: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted(base.rglob("*")):
        there = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(there.st_mode) else b""
        found.append((str(path.relative_to(base)), oct(there.st_mode), content))
    return found


async def _everything(base: Path, account: dict[str, Any], flags: tuple[int, ...]) -> list[object]:
    """All that can be seen of opening every object with every combination of flags, and the steps taken."""
    outside = base / "outside"
    outside.mkdir(parents=True)
    (outside / "secret").write_bytes(b"secret")
    world = World(base)
    world.home().mkdir(parents=True)
    found: list[object] = []
    try:
        async with peer_of(world):
            points = account.get("virtual_folders", ())
            mounts = tuple(
                world.mount(f"m{n}", point, quota_size=-1, quota_files=-1) for n, point in enumerate(points)
            )
            world.account(**account | {"virtual_folders": mounts})
            async with RealPeer(world, await world.login(), limits=SftpLimits(handles=2)) as peer:
                for bits in flags:
                    _furnish(world.home() / f"{bits}", outside)
                    mode = (None, 0o600, 0o4777, 0)[bits % 4]
                    attributes = p.NO_ATTRS if mode is None else p.attrs(mode=mode)
                    for name in OBJECTS:
                        reply = await peer.ask(p.open_, f"/{bits}/{name}", bits, attributes)
                        found.append((bits, name, reply.kind, reply.code, reply.text))
                        if reply.kind == HANDLE:
                            put = await peer.ask(p.write, reply.handle, 0, b"abc")
                            got = await peer.ask(p.read, reply.handle, 0, 5)
                            end = await peer.ask(p.close, reply.handle)
                            found.append((put.code, put.text, got.code, got.data, end.code))
        found += [("refused", e.intent, e.virtual_path, e.rule, e.text) for e in world.of(Refused)]
        found += [
            ("moved", e.action, e.status, e.virtual_path, e.size, e.error, e.origin)
            for e in world.of(Transferred)
        ]
        found += [*_tree(world.home()), *_tree(outside), *_tree(world.base / "folders"), await world.used()]
    finally:
        await world.close()
    assert _tree(outside) == [("secret", "0o100644", b"secret")]
    return found


@pytest.mark.parametrize("rules", sorted(RULES))
async def test_one_step_comes_to_what_many_come_to(rules, tmp_path, monkeypatch):
    flags = tuple(range(64)) if rules == "all" else (1, 2, 8, 9, 3, 10, 11, 26, 42, 58)
    previous = os.umask(0o022)
    try:
        quick = await _everything(tmp_path / "a", RULES[rules], flags)
        without_steps(monkeypatch)
        slow = await _everything(tmp_path / "b", RULES[rules], flags)
    finally:
        os.umask(previous)

    assert quick == slow


# -- what is malformed ---------------------------------------------------------------------------------------


async def test_requests_cut_anywhere_do_nothing(world):
    async with peer_of(world) as peer:
        handle = await peer.open("/open", "w")
        whole = [
            p.open_(7, "/new", "w", p.attrs(mode=0o600)),
            p.open_(7, "/new", "w", p.attrs(size=1, owner=(1, 2), mode=0o600, times=(1, 2))),
            p.open_(7, "/new", "w", p.u32(0x80000004) + p.u32(0o600) + p.u32(1) + p.s("a") + p.s("b")),
            p.close(7, handle),
        ]
        for packet in whole:
            for size in range(9, len(packet)):
                cut = p.packet(packet[4], packet[5:size])
                assert peer.at_once(cut).code == BAD, cut
        for lengths in (0xFFFFFFFF, 0x7FFFFFFF, 9):
            assert peer.at_once(p.packet(4, p.u32(7) + p.u32(lengths) + handle)).code == BAD
            assert peer.at_once(p.packet(3, p.u32(7) + p.u32(lengths) + b"/new" + p.u32(26))).code == BAD
        assert os.listdir(world.home()) == ["open"]
        assert peer.at_once(p.close(8, handle)).code == OK


async def test_handles_are_short_text(world):
    """Clients that keep a handle as a string (russh-sftp) give back what they were given."""
    async with peer_of(world) as peer:
        handles = [await peer.open("/f", "w"), *[(await peer.ask(p.opendir, "/")).handle for _ in range(3)]]
        assert all(len(handle) == 8 and handle.decode("ascii").isprintable() for handle in handles)
        assert len(set(handles)) == 4


async def test_handles_that_are_not_ours_close_nothing(world):
    async with peer_of(world) as peer:
        handle = await peer.open("/f", "w")
        listing = (await peer.ask(p.opendir, "/")).handle
        number = int.from_bytes(handle, "big")
        for wrong in (
            *(bytes(n) for n in range(10)), *(b"\xff" * n for n in range(1, 20)),
            handle[1:], handle[:-1], b"\0" + handle, handle + b"\0", handle[::-1],
            (number ^ 1 << 63).to_bytes(8, "big"), (number + 7).to_bytes(8, "big"), handle * 2,
        ):  # fmt: skip
            assert peer.at_once(p.close(1, wrong)).code == FAILURE, wrong
        assert len(peer.real._context.files) == 1
        assert peer.at_once(p.close(1, listing)).code == OK  # not a file: it takes the long way
        assert peer.at_once(p.close(1, listing)).code == FAILURE
        assert peer.at_once(p.close(2, handle)).code == OK
        assert peer.at_once(p.close(3, handle)).code == FAILURE
        assert peer.at_once(p.write(4, handle, 0, b"x")).code == FAILURE


# -- order and bounds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_close_waits_for_what_is_under_way_on_the_file(kind):
    async with Peer(MemorySession()) as peer:
        peer.session.put("/f", b"abc")
        handle = await peer.open("/f", "r+")
        peer.session.slow = True
        gate = peer.session.gates[kind] = asyncio.Event()
        peer.send(p.write(1, handle, 0, b"xyz") if kind == "write" else p.read(1, handle, 0, 3))
        peer.session.slow = False  # from here on nothing else has to wait
        peer.send(p.close(2, handle), p.open_(3, "/f", "r"))
        await peer.turns()
        assert peer.take() == []
        assert ("close", "/f", 3) not in peer.session.log
        gate.set()
        assert sorted(one.rid for one in await peer.replies(3)) == [1, 2, 3]
        assert peer.session.log[-1] == ("close", "/f", 3)


async def test_nothing_overtakes_a_request_of_the_ordered_kind():
    async with Peer(MemorySession()) as peer:
        handle = await peer.open("/f", "w")
        gate = peer.session.gates["remove"] = asyncio.Event()
        peer.send(p.remove(1, "/f"), p.open_(2, "/f", "x"), p.close(3, handle))
        await peer.turns()
        assert peer.take() == []
        gate.set()
        assert [(one.rid, one.kind) for one in await peer.replies(3)] == [(1, 101), (2, HANDLE), (3, 101)]


async def test_a_flood_of_opens_stops_at_the_bound_and_leaves_nothing_behind(world):
    async with peer_of(world, limits=SftpLimits(handles=8)) as peer:
        peer.send(*(p.open_(n, f"/f{n}", "x") for n in range(300)))
        replies = await peer.replies(300)
        handles = [one.handle for one in replies if one.kind == HANDLE]
        assert len(handles) == 8
        assert {one.code for one in replies if one.kind != HANDLE} == {FAILURE}
        assert sorted(os.listdir(world.home())) == [f"f{n}" for n in range(8)]
        # One closed, one opened, a thousand times in one go.
        packets = []
        for n in range(500):
            packets += [p.close(n, handles[0]) if not n else p.close(n, bytes(8)), p.open_(n, "/f0", "r")]
        peer.send(*packets)
        replies = await peer.replies(1000)
        assert [one.kind for one in replies].count(HANDLE) == 1


async def test_opens_of_all_sessions_channels_count_together(world):
    world.account()
    session = await world.login()
    context = session._context
    context.options = type(context.options)(max_open_files=3)
    async with RealPeer(world, session) as one:
        await one.warm()
        two = Peer(session)  # type: ignore[arg-type]  # a second channel
        for n, peer in enumerate((one, two, one)):
            await peer.open(f"/f{n}", "w")
        assert (await two.ask(p.open_, "/f3", "w")).code == FAILURE
        assert (await one.ask(p.open_, "/f0", "r")).code == FAILURE
        assert not (world.home() / "f3").exists()
        await two.drop()
        await one.open("/f3", "w")


# -- containment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["r", "w", "x"])
async def test_links_and_dots_lead_nowhere_outside(world, flags):
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    async with peer_of(world) as peer:
        home = world.home()
        (home / "d").mkdir()
        (home / "d/secret").write_bytes(b"mine")
        handle = peer.at_once(p.open_(1, "/d/secret", "r")).handle
        assert peer.at_once(p.close(1, handle)).code == OK
        (home / "d").rename(home / "old")
        (home / "d").symlink_to(outside)  # swapped after it was opened in one step
        (home / "up").symlink_to("..")
        (home / "proc").symlink_to("/proc/self/root")
        (home / "fds").symlink_to("/proc/self/fd")
        ways = [
            "/d/secret", "/d/new", "/up/outside/secret", "/up/new", "/../outside/secret", "/old/../../outside/secret",
            f"/proc{outside}/secret", f"/proc{outside}/new", "/fds/0", "/d/../../outside/new",
        ]  # fmt: skip
        for way in ways:
            reply = await peer.ask(p.open_, way, flags)
            assert reply.kind != HANDLE, way
    assert sorted(os.listdir(outside)) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert not (world.base / "homes/new").exists()


async def test_a_link_to_a_place_with_other_rules_gives_no_more_than_that_place(world):
    rules = {"/": ("*",), "/locked": ("list",)}
    async with peer_of(world) as full:
        del full
    async with peer_of(world, "bob", home_dir=str(world.home()), permissions=rules) as peer:
        home = world.home()
        (home / "locked").mkdir()
        (home / "locked/f").write_bytes(b"locked")
        (home / "way").symlink_to("locked")
        (home / "file").symlink_to("locked/f")
        for way in ("/way/f", "/file", "/locked/f"):
            assert (await peer.ask(p.open_, way, "r")).code == DENIED, way
            assert (await peer.ask(p.open_, way, "w")).code == DENIED, way
        assert (await peer.ask(p.open_, "/way/new", "x")).code == DENIED
        assert os.listdir(home / "locked") == ["f"]
        assert (home / "locked/f").read_bytes() == b"locked"


@pytest.mark.parametrize("how", ["directory", "file", "deleted"])
async def test_an_upload_that_is_dropped_takes_no_other_file_with_it(world, how):
    outside = world.base / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"precious")
    async with peer_of(world, quota_size=100) as peer:
        home = world.home()
        (home / "d").mkdir()
        handle = peer.at_once(p.open_(1, "/d/f", "w")).handle
        if how == "directory":  # renamed, and a link leads elsewhere from its old name
            (home / "d").rename(home / "old")
            (home / "d").symlink_to(outside)
            left = home / "old/f"
        elif how == "file":
            (home / "d/f").rename(home / "d/moved")
            (home / "d/f").write_bytes(b"another")
            left = home / "d/moved"
        else:
            (home / "d/f").unlink()
            left = home / "d/f"
            (home / "d/f (deleted)").write_bytes(b"another")
        assert (await peer.ask(p.write, handle, 0, bytes(200))).code == FAILURE
        assert (await peer.ask(p.close, handle)).code == FAILURE
        assert not left.exists()
        if how != "directory":
            assert sorted(file.read_bytes() for file in (home / "d").iterdir()) == [b"another"]
    assert (outside / "f").read_bytes() == b"precious"


# -- sessions against each other -----------------------------------------------------------------------------


async def test_two_sessions_that_write_one_path_are_charged_once(world):
    async with peer_of(world) as one, peer_of(world) as two:
        first = one.at_once(p.open_(1, "/f", "w")).handle
        assert one.at_once(p.write(2, first, 0, bytes(1000))).code == OK
        second = await two.open("/f", 2 | 8)
        assert (await two.ask(p.write, second, 500, bytes(1000))).code == OK
        assert (await one.ask(p.close, first)).code == OK
        assert (await two.ask(p.write, second, 1500, bytes(10))).code == OK
        assert (await two.ask(p.close, second)).code == OK
        assert await world.used() == (1510, 1)
        # One of two ends, the file is renamed, the other ends.
        ends = [one.at_once(p.open_(1, "/k", "w")).handle, await two.open("/k", 2 | 8)]
        assert (await one.ask(p.close, ends[0])).code == OK
        assert (await one.ask(p.rename, "/k", "/l")).code == OK
        assert (await two.ask(p.close, ends[1])).code == OK
        assert len(one.real._context.paths) == 0
        assert (await one.ask(p.remove, "/l")).code == OK
        # And what is removed or renamed while it is written.
        third = one.at_once(p.open_(5, "/g", "w")).handle
        assert one.at_once(p.write(6, third, 0, bytes(77))).code == OK
        assert (await two.ask(p.rename, "/g", "/h")).code == OK
        fourth = one.at_once(p.open_(7, "/g", "x")).handle
        assert (await two.ask(p.remove, "/h")).code == OK
        assert (await one.ask(p.write, third, 77, bytes(7))).code == OK
        assert (await one.ask(p.close, third)).code == OK
        assert (await one.ask(p.close, fourth)).code == OK
        assert await world.used() == (1510, 2)


async def test_a_file_that_the_host_removed_under_its_writer_is_created_again(world, monkeypatch):
    counted = []
    for way in ("/quick", "/slow"):
        async with peer_of(world) as one, peer_of(world) as two:
            first = one.at_once(p.open_(1, way, "w")).handle
            assert one.at_once(p.write(2, first, 0, bytes(77))).code == OK
            (world.home() / way[1:]).unlink()
            if way == "/slow":
                without_steps(monkeypatch)
            before = await world.used()
            second = await two.open(way, "w")
            assert (await two.ask(p.write, second, 0, bytes(10))).code == OK
            for peer, handle in ((one, first), (two, second)):
                assert (await peer.ask(p.close, handle)).code == OK
            after = await world.used()
            counted.append((after[0] - before[0], after[1] - before[1]))
    assert counted[0] == counted[1]


async def test_many_files_in_one_go_do_not_pass_the_quota(world):
    async with peer_of(world, quota_files=5, quota_size=100) as peer:
        packets = [p.open_(n, f"/f{n}", "w") for n in range(20)]
        peer.send(*packets)
        replies = await peer.replies(20)
        handles = [one.handle for one in replies if one.kind == HANDLE]
        assert len(handles) == 5
        peer.send(*(p.write(n, handle, 0, bytes(30)) for n, handle in enumerate(handles)))
        assert [one.code for one in await peer.replies(5)].count(OK) == 3
        peer.send(*(p.close(n, handle) for n, handle in enumerate(handles)))
        codes = [one.code for one in await peer.replies(5)]
        assert codes.count(OK) == 3
        assert sorted(os.listdir(world.home())) == ["f0", "f1", "f2"]
        assert await world.used() == (90, 3)
        assert [e.status for e in world.of(Transferred)][-5:].count("quota") == 2


# -- ends and errors -----------------------------------------------------------------------------------------


async def test_a_session_that_ends_with_files_open_leaves_nothing(world):
    async with peer_of(world) as peer:
        (world.home() / "r").write_bytes(b"read")
        written = peer.at_once(p.open_(1, "/w", "w")).handle
        reading = peer.at_once(p.open_(2, "/r", "r")).handle
        peer.send(p.write(3, written, 0, b"abc"))
        await peer.replies(1)
        await peer.real.close()  # an operator ends it
        assert open_below(world.base) == []
        for handle in (written, reading):
            assert (await peer.ask(p.close, handle)).code == FAILURE
            assert (await peer.ask(p.close, handle)).code == FAILURE
        assert (await peer.ask(p.open_, "/r", "r")).code == FAILURE
        assert open_below(world.base) == []
        assert await world.used() == (3, 1)
        assert [e.status for e in world.of(Transferred)][-2:] == ["failed", "failed"]


async def test_nothing_is_opened_while_the_session_ends(world, monkeypatch):
    async with peer_of(world) as peer:
        (world.home() / "r").write_bytes(b"read")
        peer.at_once(p.open_(1, "/r", "r"))
        original, gate = File.abort, asyncio.Event()

        async def slowly(self: File) -> None:
            await gate.wait()
            await original(self)

        monkeypatch.setattr(File, "abort", slowly)
        ending = asyncio.create_task(peer.real.close())
        await peer.turns(2)
        peer.send(p.open_(2, "/r", "r"))
        assert (await peer.replies(1))[0].code == FAILURE
        gate.set()
        await ending
        assert open_below(world.base) == []


async def test_a_peer_that_vanishes_with_many_files_open_leaves_no_descriptor(world):
    async with peer_of(world) as peer:
        (world.home() / "r").write_bytes(b"read")
        peer.send(
            *(p.open_(n, f"/w{n}", "w") for n in range(50)), *(p.open_(n, "/r", "r") for n in range(50))
        )
        assert {one.kind for one in await peer.replies(100)} == {HANDLE}
        assert len(open_below(world.base)) == 100
        await peer.drop()
        assert open_below(world.base) == []
        assert [e.status for e in world.of(Transferred)].count("failed") == 100
        assert await world.used() == (0, 50)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_file_that_cannot_be_closed_well_is_told_once_and_settled(world, monkeypatch, number):
    async with peer_of(world) as peer:
        handle = peer.at_once(p.open_(1, "/f", "w")).handle
        peer.send(p.write(2, handle, 0, b"abc"), p.fsetstat(3, handle, p.attrs(times=(1, 2))))
        assert [one.code for one in await peer.replies(2)] == [OK, OK]

        def fails(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "utime", fails)
            text = (await peer.ask(p.close, handle)).text
            assert text == (StorageFull if number == errno.ENOSPC else StorageFailed).default_text
            assert (await peer.ask(p.close, handle)).text == "invalid handle"
        assert open_below(world.base) == []
        (event,) = [e for e in world.of(Transferred) if e.virtual_path == "/f"]
        assert event.status == "failed"
        assert await world.used() == (3, 1)


@pytest.mark.parametrize("where", ["begin_nowait", "close_nowait"])
async def test_an_unforeseen_error_in_one_request_ends_nothing_else(world, monkeypatch, caplog, where):
    async with peer_of(world) as peer:
        handle = peer.at_once(p.open_(1, "/f", "w")).handle

        def fails(*_: object) -> None:
            raise ZeroDivisionError

        target = Session if where == "begin_nowait" else File
        with monkeypatch.context() as patched:
            patched.setattr(target, where, fails)
            packet = p.open_(2, "/g", "w") if where == "begin_nowait" else p.close(2, handle)
            replies = []
            peer.send(packet, p.stat(3, "/f"))
            replies = await peer.replies(2)
        assert [(one.rid, one.text) for one in replies[:1]] == [(2, "internal error")]
        assert "unforeseen error" in caplog.text
        assert (await peer.ask(p.close, handle)).code == OK
        assert not (world.home() / "g").exists()


async def test_the_answer_to_an_open_does_not_wait_for_the_objects_of_the_file(world, monkeypatch):
    async with peer_of(world) as peer:
        answers: list[p.Reply] = []

        def upload(*arguments: Any, **named: Any) -> Upload:
            answers.extend(peer.take())
            return Upload(*arguments, **named)

        await peer.warm()
        monkeypatch.setattr("tidegate.vfs.files.opening.Upload", upload)
        peer.send(p.open_(1, "/f", "w"))
        (answer,) = answers
        assert (answer.rid, answer.kind) == (1, HANDLE)
        assert await world.used() == (0, 1)
        # In one go the first file is known before the next is opened.
        peer.send(p.open_(2, "/g", "w"), p.write(3, answer.handle, 0, b"abc"), p.close(4, answer.handle))
        assert [one.rid for one in answers] == [1]
        assert [(one.rid, one.kind) for one in peer.take()] == [(2, HANDLE), (3, 101), (4, 101)]
        for number in range(5, 9):
            peer.send(p.open_(number, f"/h{number}", "w"))
        assert [one.rid for one in answers] == [1, 5, 6, 7, 8]
        assert {(await peer.ask(p.close, one.handle)).code for one in answers[1:]} == {OK}


@pytest.mark.parametrize("fails", [False, True])
async def test_the_answer_to_a_close_does_not_wait_for_the_record(world, monkeypatch, caplog, fails):
    async with peer_of(world) as peer:
        answers: list[int] = []
        real = File._tell

        def tell(file: File) -> None:
            answers.extend(one.rid for one in peer.take())
            if fails:
                raise ZeroDivisionError
            real(file)

        monkeypatch.setattr(File, "_tell", tell)
        handle = peer.at_once(p.open_(1, "/f", "w")).handle
        peer.send(p.close(2, handle))
        assert answers == [2]
        told = [one for one in world.of(Transferred) if one.virtual_path == "/f"]
        assert len(told) == (0 if fails else 1)
        assert ("unforeseen error behind an answer" in caplog.text) == fails
        # In one go the record of one file comes before the next is opened.
        handle = peer.at_once(p.open_(3, "/g", "w")).handle
        peer.send(p.close(4, handle), p.open_(5, "/h", "w"))
        assert [one.rid for one in peer.take()] == [4, 5]
        assert answers == [2]


async def test_a_handle_that_was_closed_makes_room_for_the_next_request(world):
    count = Count(Notices(), rule="a", rule_each="b", unit="handles", most=0, most_each=1)
    async with peer_of(world) as peer:
        peer.dialogue._handles._share = Share(count, "alice")
        handle = peer.at_once(p.open_(1, "/f0", "w")).handle
        assert (count.used, peer.at_once(p.open_(2, "/other", "w")).code) == (1, FAILURE)
        for n in range(1, 4):
            peer.send(p.close(10 + n, handle), p.open_(20 + n, f"/f{n}", "w"))
            closed, opened = peer.take()
            assert (closed.code, opened.kind) == (OK, HANDLE)
            assert count.used == 1
            handle = opened.handle
        assert peer.at_once(p.close(30, handle)).code == OK
        assert count.used == 0


async def test_what_an_answer_did_not_wait_for_is_done_if_it_cannot_be_sent(world, monkeypatch):
    async with peer_of(world) as peer:
        handle = peer.at_once(p.open_(1, "/f", "w")).handle

        def fails() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(peer.transport, "flush", fails)
        with pytest.raises(ZeroDivisionError):
            peer.send(p.close(2, handle))
        await peer.drop()
        assert [one.virtual_path for one in world.of(Transferred)] == ["/warm", "/f"]


@pytest.mark.parametrize("how", ["closes", "fails", "was ended"])
async def test_the_last_close_ends_a_drain(world, monkeypatch, how):
    async with peer_of(world) as peer:
        (world.home() / "r").write_bytes(b"read")
        handle = peer.at_once(p.open_(1, "/r", "r")).handle
        draining = asyncio.create_task(peer.dialogue.drain())
        await peer.turns(5)
        assert peer.at_once(p.open_(2, "/r", "r")).text == "server is shutting down"
        assert peer.at_once(p.open_(2, "/new", "w")).text == "server is shutting down"
        await peer.turns(5)
        assert not draining.done()
        real = os.close

        def fails(fd: int) -> None:
            real(fd)
            raise OSError(errno.EIO, "i/o error")

        with monkeypatch.context() as patched:
            if how == "was ended":
                await peer.real.close()
            elif how == "fails":
                patched.setattr("tidegate.backends.local.files.os", _Os(close=fails))
            reply = peer.at_once(p.close(3, handle))
        assert reply.code == (OK if how == "closes" else FAILURE)
        await asyncio.wait_for(draining, 1)
        assert peer.channel.exit_status == 0
        assert os.listdir(world.home()) == ["r"]


class _Os:
    """The module, but for some functions."""

    def __init__(self, **others: Any) -> None:
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


async def test_a_close_does_not_skip_what_bandwidth_costs(world, monkeypatch):
    async with peer_of(world, upload_bandwidth=1, download_bandwidth=1) as peer:
        handle = peer.at_once(p.open_(1, "/f", "w")).handle
        peer.send(p.write(2, handle, 0, bytes(100)), p.close(3, handle))
        loop = asyncio.get_running_loop()
        start = loop.time()
        while len(peer._replies) < 2:
            peer._replies += peer.take()
            await asyncio.sleep(0.005)
        assert loop.time() - start >= 0.09
        assert [one.code for one in await peer.replies(2)] == [OK, OK]


def test_a_count_warns_as_if_every_gauge_looked_at_every_change():
    chance = random.Random(7)
    for limit in (1, 2, 3, 7, 10, 99, 100, 1000, 12_345):
        seen: list[list[tuple[object, ...]]] = [[], []]
        counts = []
        for warnings in seen:
            count = UsageCounter(chance.randrange(2))
            count.used = 0
            counts.append(count)
            for size in (limit, 2 * limit):
                count.quota_limit("g", size, warn=lambda *what, into=warnings: into.append(what))
        for _ in range(400):
            change, quick = chance.randint(-limit // 2, limit // 2 + 1), chance.random() < 0.3
            for count in counts:
                if quick and change > 0:  # as `File.write_nowait` does
                    count.used += change
                    for quota_limit in count.quota_limits.values():
                        if quota_limit.count.used >= quota_limit.warn_at:
                            quota_limit.moved()
                elif count is counts[0]:
                    count.add(change)
                else:
                    count.used = max(0, count.used + change)
                    for quota_limit in count.quota_limits.values():
                        quota_limit.moved()
        assert seen[0] == seen[1]
        assert seen[0]


# -- what the operator reads ---------------------------------------------------------------------------------


class _Number(int):
    def __str__(self) -> str:
        return '1,"admin":true'


class _Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "another"


class _Kind(StrEnum):
    ONE = "one"


VALUES = (
    None, True, False, 0, -1, 1 << 80, 1.5, float("inf"), _Number(7), re.DOTALL, _Kind.ONE, _Text("te\nxt"), VPath("/a\nb"),
    "", "null", "%s %d %", "\udcff\udc80", "\ud83d", "a\x1b[31mb\x7f\x9b\u2028\u202e", 'quo"te\\', "x" * 20_000,
    "password=hunter2", "https://u:hunter2@host/", b"bytes", ["a", "\udcff"], {"secret": "hunter2"}, ("t",), object,
)  # fmt: skip


@pytest.mark.parametrize("name", ["virtual_path", "error", "elapsed", "token", "100%"])
def test_every_value_is_written_as_the_general_way_writes_it(name):
    for value in VALUES:
        for _ in range(2):  # the second time some texts are remembered
            fields = {"event": "upload", name: value, "last": "end"}
            line = lines.event_line(1_800_000_000.0, 20, "sftp", dict(fields))
            assert line == lines._general(1_800_000_000.0, 20, "sftp", fields), value
            assert line.count(b"\n") == 1
            assert b"hunter2" not in line or name == "virtual_path"
            assert json.loads(line)["last"] == "end"
