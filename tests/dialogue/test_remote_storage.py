# SPDX-License-Identifier: Apache-2.0
"""A session on remote storage: what is independent overlaps, what is not keeps its order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import sftp_packets as p
from tests.support.rounds import Remote, Rounds, bytes_of
from tests.support.sftp_peer import Peer
from tests.support.vfs_world import World

from tidegate.abc import Backend, Publish
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.doors.sftp.dialogue import SftpLimits
from tidegate.doors.sftp.schedule import PARALLEL_REQUESTS
from tidegate.model import StorageConfig, StorageSpec
from tidegate.vfs.session import Session

LATENCY_MS = 20
"""The time that a round stands for."""


class RemoteWorld(World):
    """Homes in memory; those of accounts named in `remote` are rounds away, folders too."""

    def __init__(self, base: Path, **settings: Any) -> None:
        self.rounds = Rounds()
        self.inner: dict[str, MemoryBackend] = {}
        self.remotes: dict[str, Remote] = {}
        self.draw: random.Random | None = None
        self.local = settings.pop("local", False)
        super().__init__(base, **settings)

    def build(self, spec: StorageSpec) -> Backend:
        name = spec.directory.rpartition("/")[2]
        inner: Backend = LocalBackend(spec.directory, create=True) if self.local else MemoryBackend()
        if name.startswith("near"):
            self.inner[name] = self.inner.get(name, inner)
            return self.inner[name]
        if isinstance(inner, MemoryBackend):
            inner = self.inner.setdefault(name, inner)
        remote = self.remotes[name] = Remote(inner, self.rounds, self.draw)
        return remote


class RemotePeer(Peer):
    """A peer of a session of the vfs."""

    async def __aexit__(self, *_: object) -> None:
        await self.drop()


@asynccontextmanager
async def remote(
    base: Path,
    *,
    limits: SftpLimits | None = None,
    permissions: dict[str, tuple[str, ...]] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[RemoteWorld, RemotePeer]]:
    world = RemoteWorld(base, **settings)
    try:
        rules = permissions or {"/": ("*",)}
        world.account(quota_size=10**9, quota_files=10**6, permissions=rules)
        session: Session = await world.login()
        async with RemotePeer(session, limits=limits) as peer:  # type: ignore[arg-type]
            yield world, peer
    finally:
        await world.close()


async def put(peer: Peer, path: str, data: bytes = b"x") -> None:
    handle = await peer.open(path, "w")
    assert (await peer.ask(p.write, handle, 0, data)).code == 0
    assert (await peer.ask(p.close, handle)).code == 0


def order(replies: list[p.Reply]) -> list[int]:
    return [reply.rid for reply in replies]


async def test_64_stats_in_less_than_150_ms(tmp_path):
    async with remote(tmp_path) as (world, peer):
        await put(peer, "/f")
        before = world.rounds.count
        peer.send(*(p.stat(rid, "/f") for rid in range(64)))
        replies = await peer.replies(64)
        assert {reply.kind for reply in replies} == {105}
        assert (world.rounds.count - before) * LATENCY_MS < 150


async def test_a_stat_behind_a_slow_close_does_not_wait(tmp_path):
    async with remote(tmp_path) as (world, peer):
        await put(peer, "/other")
        handle = await peer.open("/f", "w")
        assert (await peer.ask(p.write, handle, 0, b"x")).code == 0
        world.remotes["alice"].slow["handle.close"] = 25
        before = world.rounds.count
        peer.send(p.close(1, handle), p.stat(2, "/other"), p.stat(3, "/missing"))
        assert sorted(order(await peer.replies(2))) == [2, 3]
        assert world.rounds.count - before <= 2
        assert order(await peer.replies(1)) == [1]


async def test_what_depends_on_the_slow_close_comes_after_it(tmp_path):
    async with remote(tmp_path) as (world, peer):
        handle = await peer.open("/d", "w")
        assert (await peer.ask(p.write, handle, 0, b"12345")).code == 0
        world.remotes["alice"].slow["handle.close"] = 25
        peer.send(
            p.close(1, handle), p.stat(2, "/d"), p.rename(3, "/d", "/e"), p.stat(4, "/e"), p.opendir(5, "/")
        )
        replies = await peer.replies(5)
        assert order(replies)[:4] == [1, 2, 3, 4]
        assert [replies[index].attrs["size"] for index in (1, 3)] == [5, 5]
        listing = replies[4].handle
        names = (await peer.ask(p.readdir, listing)).names
        assert [entry.name for entry in names] == [b".", b"..", b"e"]
        assert (await peer.ask(p.close, listing)).code == 0


async def test_a_tree_that_is_made_and_removed_in_one_go(tmp_path):
    """Chains that lftp, sshfs and scripts send without waiting for answers."""
    async with remote(tmp_path) as (world, peer):
        requests = [p.mkdir(1, "/a"), p.mkdir(2, "/a/b"), p.mkdir(3, "/a/b/c"), p.mkdir(4, "/z")]
        requests += [p.setstat(5, "/a/b", p.attrs(mode=0o700)), p.rename(6, "/a", "/q"), p.stat(7, "/q/b")]
        requests += [p.rmdir(8, "/q/b/c"), p.rmdir(9, "/q/b"), p.rmdir(10, "/q"), p.stat(11, "/q")]
        peer.send(*requests)
        replies = {reply.rid: reply for reply in await peer.replies(len(requests))}
        assert [replies[rid].code for rid in (1, 2, 3, 4, 5, 6, 8, 9, 10)] == [0] * 9
        assert replies[7].attrs["mode"] & 0o777 == 0o700
        assert replies[11].code == 2
        assert bytes_of(world.inner["alice"]) == {"/z": (None, "0o755")}


async def test_readdirs_of_one_handle_keep_their_order(tmp_path):
    async with remote(tmp_path) as (_, peer):
        await put(peer, "/f")
        handle = (await peer.ask(p.opendir, "/")).handle
        peer.send(*(p.readdir(rid, handle) for rid in range(1, 5)), p.close(5, handle))
        replies = await peer.replies(5)
        assert order(replies) == [1, 2, 3, 4, 5]
        assert [entry.name for entry in replies[0].names] == [b".", b"..", b"f"]
        assert [reply.code for reply in replies[1:]] == [1, 1, 1, 0]


async def test_no_more_run_at_the_same_time_than_the_bound_says(tmp_path):
    for limits in (None, SftpLimits(parallel=3)):
        async with remote(tmp_path, limits=limits) as (world, peer):
            peer.send(*(p.stat(rid, f"/{rid}") for rid in range(200)))
            assert sorted(order(await peer.replies(200))) == list(range(200))
            assert world.rounds.most == (limits.parallel if limits else PARALLEL_REQUESTS)


async def test_handles_that_are_being_opened_count(tmp_path):
    async with remote(tmp_path, limits=SftpLimits(handles=5)) as (_, peer):
        await put(peer, "/f")
        peer.send(*(p.open_(rid, "/f") for rid in range(20)), *(p.opendir(rid, "/") for rid in range(20, 25)))
        replies = await peer.replies(25)
        handles = [reply.handle for reply in replies if reply.kind == 102]
        assert len(handles) == 5
        assert {reply.text for reply in replies if reply.kind == 101} == {"too many open handles"}
        for handle in handles:
            assert (await peer.ask(p.close, handle)).code == 0


async def test_a_close_after_a_rename_above_comes_before_what_looks_there(tmp_path):
    """The file's name is not the one it was opened by, and what is published under the new name is awaited."""
    async with remote(tmp_path, upload_mode=Publish.INPLACE) as (world, peer):
        assert (await peer.ask(p.mkdir, "/d")).code == 0
        handle = await peer.open("/d/f", "w")
        assert (await peer.ask(p.write, handle, 0, b"123")).code == 0
        assert (await peer.ask(p.rename, "/d", "/e")).code == 0
        world.remotes["alice"].slow["handle.close"] = 9
        peer.send(p.close(1, handle), p.stat(2, "/e/f"))
        replies = await peer.replies(2)
        assert order(replies) == [1, 2]
        assert replies[1].attrs["size"] == 3


async def test_storage_with_links_keeps_changes_in_order_and_lets_looks_overlap(tmp_path):
    async with remote(tmp_path, local=True) as (world, peer):
        (tmp_path / "homes/alice").joinpath("d").mkdir()
        assert (await peer.ask(p.symlink, "d", "/l")).code == 0
        handle = await peer.open("/d/f", "w")
        assert (await peer.ask(p.write, handle, 0, b"123")).code == 0
        world.remotes["alice"].slow["handle.close"] = 9
        peer.send(p.close(1, handle), p.mkdir(2, "/l/m"), p.stat(3, "/l/f"))
        replies = await peer.replies(3)
        assert order(replies) == [1, 2, 3]
        assert replies[2].attrs["size"] == 3
        before = world.rounds.count
        peer.send(*(p.stat(rid, "/l/f") for rid in range(32)))
        await peer.replies(32)
        assert world.rounds.count - before == 1


async def test_renames_take_no_turns_where_there_are_no_links(tmp_path):
    rules = {"/": ("*",), "/closed": ("list",)}
    async with remote(tmp_path, permissions=rules) as (world, peer):
        peer.send(*(p.mkdir(rid, f"/{rid}") for rid in range(16)))
        assert {reply.code for reply in await peer.replies(16)} == {0}
        before = world.rounds.count
        assert (await peer.ask(p.rename, "/0", "/new 0")).code == 0
        alone = world.rounds.count - before
        peer.send(*(p.rename(rid, f"/{rid}", f"/new {rid}") for rid in range(1, 16)))
        assert {reply.code for reply in await peer.replies(15)} == {0}
        assert world.rounds.count - before == 2 * alone


async def test_inline_storage_beside_a_remote_folder_keeps_its_order_and_waits_for_nothing(tmp_path):
    world = RemoteWorld(tmp_path)
    try:
        world.account("near", virtual_folders=(world.mount("far", "/far", filesystem=StorageConfig("far")),))
        async with RemotePeer(await world.login("near")) as peer:  # type: ignore[arg-type]
            await put(peer, "/f")
            await put(peer, "/far/f")
            handle = await peer.open("/far/g", "w")
            world.remotes["far"].slow["handle.close"] = 9
            peer.send(
                p.close(1, handle), p.stat(2, "/f"), p.mkdir(3, "/d"), p.stat(4, "/d"), p.stat(5, "/far/f")
            )
            assert order(await peer.replies(5)) == [2, 3, 4, 5, 1]
    finally:
        await world.close()


async def test_while_all_storage_is_inline_nothing_overtakes(tmp_path):
    world = RemoteWorld(tmp_path)
    try:
        world.account("near")
        async with RemotePeer(await world.login("near")) as peer:  # type: ignore[arg-type]
            assert not peer.session.overlaps
            peer.send(p.mkdir(1, "/d"), p.opendir(2, "/"), p.stat(3, "/d"), p.rmdir(4, "/d"))
            assert order(peer.take()) == [1, 2, 3, 4]
    finally:
        await world.close()


async def test_a_connection_that_ends_with_all_of_it_under_way(tmp_path):
    for turns in range(0, 60, 7):
        async with remote(tmp_path, upload_mode=Publish.ATOMIC) as (world, peer):
            handles = [await peer.open(f"/{name}", "w") for name in "abc"]
            peer.send(*(p.write(rid, handle, 0, b"x" * 10) for rid, handle in enumerate(handles)))
            peer.send(*(p.close(rid, handle) for rid, handle in enumerate(handles, 10)))
            peer.send(*(p.stat(rid, f"/{rid}") for rid in range(20, 90)), p.mkdir(99, "/d"))
            await peer.turns(turns)
            await peer.drop()
            await peer.session.close()
            found = bytes_of(world.inner["alice"]).values()
            files = [content for content, _ in found if content is not None]
            assert set(files) <= {b"x" * 10}
            assert await world.used() == (10 * len(files), len(files))


# -- random dialogues ------------------------------------------------------------------------------------------

SEEDS = 10
SOAK_SEEDS = 300
NAMES = ["/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a", "/n/a"]


def burst(draw: random.Random, handles: list[bytes], first: int) -> list[tuple[str, bytes]]:
    """Requests that are sent without waiting for an answer."""
    made = []
    # WRITEs keep their order with requests about their handle only: then no copies, and one handle.
    resizes = [("write", "fstat", "close"), ("truncate", "fstat", "close")][draw.randrange(2)]
    one = draw.choice(handles) if handles else b""
    others = [draw.choice(["io", "copy"]), "mkdir", "rmdir", "remove", "rename", "setstat", "list"]
    for rid in range(first, first + draw.randint(1, 14)):
        path, other = draw.choice(NAMES), draw.choice(NAMES)
        kind = draw.choice(["stat"] * 4 + others)
        if kind == "io" and one in handles:
            kind = draw.choice(resizes)
            at, size = draw.randrange(12), draw.randrange(1, 9)
            made.append(
                (
                    kind,
                    {
                        "write": p.write(rid, one, at, draw.randbytes(size)),
                        "fstat": p.fstat(rid, one),
                        "truncate": p.fsetstat(rid, one, p.attrs(size=at)),
                        "close": p.close(rid, one),
                    }[kind],
                )
            )
            if kind == "close":
                handles.remove(one)
            continue
        body = p.s(path) + p.s(other) + b"\1"
        mode = draw.choice([0o600, 0o640, 0o755])
        made.append(
            (
                kind,
                {
                    "mkdir": p.mkdir(rid, path),
                    "rmdir": p.rmdir(rid, path),
                    "remove": p.remove(rid, path),
                    "rename": p.rename(rid, path, other),
                    "setstat": p.setstat(rid, path, p.attrs(mode=mode)),
                    "list": p.opendir(rid, path),
                    "copy": p.extended(rid, "copy-file", body),
                }.get(kind, p.lstat(rid, path)),
            )
        )
    return made


def shown(kind: str, reply: p.Reply, *, sized: bool) -> object:
    """Everything that has to be the same with and without overlapping requests."""
    if reply.kind == 101:
        return reply.code, reply.text
    if reply.kind == 105:
        mode, size = reply.attrs["mode"], reply.attrs["size"]
        return mode, size if mode & 0o100000 and (sized or kind == "fstat") else 0
    return "handle"


@pytest.mark.parametrize("mode", [Publish.INPLACE, Publish.ATOMIC])
@pytest.mark.parametrize(
    "seed",
    [*range(SEEDS), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(SEEDS, SOAK_SEEDS))],
)
async def test_random_dialogues_end_as_if_requests_had_run_one_after_the_other(tmp_path, seed, mode):
    settings = {"upload_mode": mode}
    async with (
        remote(tmp_path / "far", **settings) as (far, fast),
        remote(tmp_path / "one", limits=SftpLimits(parallel=1, requests=1), **settings) as (one, slow),
    ):
        far.remotes["alice"].draw = random.Random(seed)
        draw = random.Random(seed)
        open_far: list[bytes] = []
        open_one: list[bytes] = []
        rid = 1000
        for step in range(12):
            for path in draw.sample(NAMES[:6], 2):
                flags = draw.choice(["w", "r+", "x", "w+"])
                there, here = await fast.ask(p.open_, path, flags), await slow.ask(p.open_, path, flags)
                assert (there.kind, there.code) == (here.kind, here.code), (step, path, flags)
                if there.kind == 102:
                    open_far.append(there.handle)
                    open_one.append(here.handle)
            state = draw.getstate()
            pipelined = burst(draw, open_far, rid)
            draw.setstate(state)
            alone = burst(draw, open_one, rid)
            rid += 100
            fast.send(*(packet for _, packet in pipelined))
            replies = {reply.rid: reply for reply in await fast.replies(len(pipelined))}
            sized = "write" not in [kind for kind, _ in alone]
            for kind, packet in alone:
                slow.send(packet)
                (here,) = await slow.replies(1)
                there = replies[here.rid]
                assert shown(kind, there, sized=sized) == shown(kind, here, sized=sized), (
                    seed,
                    step,
                    kind,
                    packet,
                    [k for k, _ in alone],
                )
                if there.kind == 102:
                    assert (await fast.ask(p.close, there.handle)).code == 0
                    assert (await slow.ask(p.close, here.handle)).code == 0
        for mine, theirs in zip(open_far, open_one, strict=True):
            assert (await fast.ask(p.close, mine)).code == (await slow.ask(p.close, theirs)).code
        assert bytes_of(far.inner["alice"]) == bytes_of(one.inner["alice"])
        assert await far.used() == await one.used()
        assert far.rounds.most > 1
