# SPDX-License-Identifier: Apache-2.0
"""Cases in which SFTPGo 2.7.5 loses data or tells too much, and the answers here; docs/explanation/compare-with-sftpgo.md.

The numbers are those of the page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support import sftp_packets as p
from tests.support.sftp_peer import Peer
from tests.support.vfs_world import World, vfs_world

from tidegate.abc import Publish
from tidegate.model import FilePatterns

OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8
R, W, A, C, T, X = 1, 2, 4, 8, 16, 32
STAGED = [Publish.ATOMIC, Publish.RESUMABLE]
HIDDEN = (FilePatterns(path="/p", denied_patterns=("*.key",), deny_policy=1),)


@asynccontextmanager
async def talking(
    base: Path, mode: Publish = Publish.INPLACE, *, greet: bool = True, **account: Any
) -> AsyncIterator[tuple[Peer, Path, World]]:
    async with vfs_world(base, upload_mode=mode) as world:
        world.account(**account)
        home = world.home()
        (home / "p").mkdir(parents=True)
        (home / "p/secret.key").write_bytes(b"secret")
        (home / "f").write_bytes(b"12345")
        peer = Peer(await world.login(), greet=greet)
        yield peer, home, world
        await peer.drop()


async def code(peer: Peer, build: Any, *args: Any) -> int:
    return (await peer.ask(build, *args)).code


async def test_1_handles_do_what_they_were_opened_for(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        writer = await peer.open("/f", W)
        for offset in (0, 1 << 40):
            assert await code(peer, p.read, writer, offset, 50) == FAILURE
        reader = await peer.open("/f", R)
        assert await code(peer, p.write, reader, 0, b"x") == FAILURE
        for handle in (reader, writer):
            await peer.ask(p.close, handle)
        assert (home / "f").read_bytes() == b"12345"


async def test_2_links_do_not_pass_rights_and_patterns(tmp_path: Path) -> None:
    rights = {"/": ("*",), "/p": ()}
    async with talking(tmp_path, permissions=rights) as (peer, home, _):
        (home / "key").symlink_to("p/secret.key")
        (home / "dir").symlink_to("p")
        assert await code(peer, p.open_, "/key", R) == DENIED
        assert await code(peer, p.open_, "/dir/n", W | C | T) == DENIED
        assert await code(peer, p.setstat, "/key", p.attrs(mode=0o777)) == DENIED
        assert sorted(path.name for path in (home / "p").iterdir()) == ["secret.key"]


async def test_3_a_link_is_not_a_way_to_overwrite(tmp_path: Path) -> None:
    async with talking(tmp_path, permissions={"/": ("list", "upload")}) as (peer, home, _):
        (home / "l").symlink_to("f")
        assert await code(peer, p.open_, "/l", W | C | T) == DENIED
        assert (home / "f").read_bytes() == b"12345"


@pytest.mark.parametrize("limit", [{"quota_size": 1000}, {"filters": {"max_upload_file_size": 1000}}])
async def test_4_setstat_passes_no_limit(tmp_path: Path, limit: dict[str, Any]) -> None:
    async with talking(tmp_path, **limit) as (peer, home, _):
        assert await code(peer, p.setstat, "/f", p.attrs(size=1_000_000)) == FAILURE
        handle = await peer.open("/f", W)
        assert await code(peer, p.fsetstat, handle, p.attrs(size=1_000_000)) == FAILURE
        await peer.ask(p.close, handle)
        assert (home / "f").read_bytes() == b"12345"


@pytest.mark.parametrize("mode", list(Publish))
async def test_5_a_resume_beyond_the_quota_keeps_the_file(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode, quota_size=1000) as (peer, home, _):
        handle = await peer.open("/f", W | C)
        assert await code(peer, p.write, handle, 5, b"x" * 2500) == FAILURE
        await peer.ask(p.close, handle)
        assert (home / "f").read_bytes() == b"12345"


async def test_6_the_size_limit_is_of_the_size(tmp_path: Path) -> None:
    async with talking(tmp_path, filters={"max_upload_file_size": 100}) as (peer, home, _):
        handle = await peer.open("/n", W | C | T)
        assert await code(peer, p.write, handle, 5000, b"12345") == FAILURE
        await peer.ask(p.close, handle)
        assert not (home / "n").exists()


@pytest.mark.parametrize("mode", STAGED)
async def test_7_excl_leaves_the_file_that_is_there(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode) as (peer, home, _):
        assert await code(peer, p.open_, "/f", W | C | X) == FAILURE
        assert (home / "f").read_bytes() == b"12345"


@pytest.mark.parametrize("mode", STAGED)
async def test_8_an_upload_onto_a_link_writes_what_it_leads_to(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode) as (peer, home, _):
        (home / "l").symlink_to("f")
        (home / "d").symlink_to("p")
        handle = await peer.open("/l", W | C | T)
        await peer.ask(p.write, handle, 0, b"new")
        assert await code(peer, p.close, handle) == OK
        assert (home / "l").is_symlink()
        assert (home / "f").read_bytes() == b"new"
        assert await code(peer, p.open_, "/d", W | C | T) == UNSUPPORTED
        assert (home / "d").is_symlink()


@pytest.mark.parametrize("mode", STAGED)
async def test_9_a_cut_upload_leaves_the_old_file(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode) as (peer, home, _):
        handle = await peer.open("/f", W | C | T)
        await peer.ask(p.write, handle, 0, b"ne")
        await peer.drop()
        assert (home / "f").read_bytes() == b"12345"


@pytest.mark.parametrize("mode", STAGED)
async def test_10_long_names_are_replaced_too(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode) as (peer, home, _):
        for data in (b"one", b"two"):
            handle = await peer.open("/" + "n" * 255, W | C | T)
            await peer.ask(p.write, handle, 0, data)
            assert await code(peer, p.close, handle) == OK
        assert (home / ("n" * 255)).read_bytes() == b"two"


@pytest.mark.parametrize("mode", list(Publish))
async def test_11_append_appends(tmp_path: Path, mode: Publish) -> None:
    async with talking(tmp_path, mode) as (peer, home, _):
        handle = await peer.open("/f", W | A)
        for offset in (0, 500):
            assert await code(peer, p.write, handle, offset, b"x") == OK
        assert await code(peer, p.close, handle) == OK
        assert (home / "f").read_bytes() == b"12345xx"
        assert await code(peer, p.open_, "/none", A) == NO_SUCH_FILE
        assert not (home / "none").exists()


async def test_12_setstat_is_all_or_nothing(tmp_path: Path) -> None:
    rights = {"/": ("list", "upload", "overwrite", "chtimes")}
    async with talking(tmp_path, permissions=rights) as (peer, home, _):
        times = (1_000_000_000, 1_000_000_007)
        assert await code(peer, p.setstat, "/f", p.attrs(mode=0o600, times=times)) == DENIED
        assert (home / "f").stat().st_mtime > 1_500_000_000
        assert await code(peer, p.setstat, "/f", p.attrs(size=3, times=times)) == OK
        status = (home / "f").stat()
        assert (status.st_size, status.st_atime, status.st_mtime) == (3, *times)
        told = (await peer.ask(p.stat, "/f")).attrs
        assert (told["atime"], told["mtime"]) == times


async def test_13_handles_follow_the_file(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, home, _):
        handle = await peer.open("/f", W)
        assert await code(peer, p.rename, "/f", "/g") == OK
        assert (await peer.ask(p.fstat, handle)).attrs["size"] == 5
        assert await code(peer, p.fsetstat, handle, p.attrs(mode=0o600)) == OK
        await peer.ask(p.close, handle)
        assert (home / "g").stat().st_mode & 0o777 == 0o600


async def test_14_counters_do_not_go_below_zero(tmp_path: Path) -> None:
    async with talking(tmp_path, quota_size=10_000, used_quota_size=11, used_quota_files=2) as (
        peer,
        _,
        world,
    ):
        handle = await peer.open("/f", W | T)
        await peer.ask(p.write, handle, 0, b"x" * 115)
        assert await code(peer, p.remove, "/f") == OK
        await peer.ask(p.close, handle)
        assert await world.used() == (6, 1)


async def test_15_and_16_what_is_hidden_is_not_told(tmp_path: Path) -> None:
    filters = {"file_patterns": (FilePatterns(path="/", denied_patterns=("p",), deny_policy=1),)}
    async with talking(tmp_path / "a", filters=filters) as (peer, _, _):
        assert await code(peer, p.opendir, "/f") == FAILURE
        for path in ("/p", "/p/secret.key", "/nowhere"):
            assert await code(peer, p.opendir, path) == NO_SUCH_FILE
            assert await code(peer, p.stat, path) == NO_SUCH_FILE
    async with talking(tmp_path / "b", filters={"file_patterns": HIDDEN}) as (peer, _, _):
        told = []
        for name in ("secret.key", "none.key"):
            space = await peer.ask(p.extended, "statvfs@openssh.com", p.s(f"/p/{name}"))
            told.append((space.kind, space.code, await code(peer, p.rename, f"/p/{name}/x", "/y")))
        assert told[0] == told[1]


async def test_17_setstat_of_what_is_not_there(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, _, _):
        assert await code(peer, p.setstat, "/none", p.NO_ATTRS) == NO_SUCH_FILE


async def test_18_reads_at_the_end_of_the_world(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, _, _):
        handle = await peer.open("/f", R)
        assert await code(peer, p.read, handle, 2**63 - 1, 10) == EOF
        assert await code(peer, p.close, handle) == OK


async def test_19_odd_packets_are_answered_and_the_channel_stays(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, _, _):
        for kind in (0, 2, 21, 22, 50, 99, 101, 102, 105, 199, 201, 202, 255):
            peer.send(p.packet(kind, p.u32(7)))
            (reply,) = await peer.replies(1)
            assert (reply.rid, reply.code) == (7, UNSUPPORTED), kind
        peer.send(p.packet(17, p.u32(8) + p.u32(99) + b"short"))
        (reply,) = await peer.replies(1)
        assert (reply.rid, reply.code) == (8, BAD_MESSAGE)
        assert (await peer.ask(p.stat, "/f")).attrs["size"] == 5


async def test_20_a_handle_is_asked_after_what_was_written_before(tmp_path: Path) -> None:
    async with talking(tmp_path) as (peer, _, _):
        handle = await peer.open("/n", W | C | T)
        writes = [p.write(100 + n, handle, n * 1000, b"x" * 1000) for n in range(20)]
        peer.send(*writes, p.fstat(200, handle))
        replies = await peer.replies(21)
        assert replies[-1].rid == 200
        assert replies[-1].attrs["size"] == 20_000
        await peer.ask(p.close, handle)


async def test_21_nothing_is_answered_before_init(tmp_path: Path) -> None:
    async with talking(tmp_path, greet=False) as (peer, _, _):
        peer.send(p.stat(1, "/f"))
        await peer.turns()
        assert peer.take() == []
        assert peer.channel.exit_status is not None
