# SPDX-License-Identifier: Apache-2.0
"""Every request through a link into a place that is closed: it is asked about what is reached."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import GET, PUT, RESUME, World, get, local_world, names, p, put, vfs_world

from tidegate.abc import Publish
from tidegate.backends.local import LocalBackend
from tidegate.errors import AlreadyExists, Denied, NotFound, TidegateError, Unsupported
from tidegate.model import Attrs, FilePatterns
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

BOTH = OpenFlags(read=True, write=True)
EXCL = OpenFlags(write=True, create=True, exclusive=True)
SECRET = b"secret " * 100
RULES = {"/": ("*",), "/closed": ()}


@pytest.fixture(params=["inline", "threads", "portable", "portable threads"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    kernel = False if "portable" in request.param else None
    async with local_world(tmp_path, threads="threads" in request.param, kernel=kernel) as world:
        yield world


def furnish(world: World) -> Path:
    home = world.home()
    (home / "closed/sub").mkdir(parents=True)
    (home / "open").mkdir()
    (home / "open/f").write_bytes(b"mine")
    (home / "closed/f").write_bytes(SECRET)
    (home / "closed/run").write_bytes(SECRET)
    (home / "closed/l").symlink_to("f")
    (home / "into").symlink_to("closed")
    (home / "file").symlink_to("closed/f")
    (home / "absolute").symlink_to(home / "closed/f")
    (home / "chain").symlink_to("into/f")
    (home / "nothing").symlink_to("closed/none")
    (home / "astray").symlink_to("closed/none/at/all")
    return home


async def take(session: Session, path: str, flags: OpenFlags) -> None:
    await (await session.open(p(path), flags)).abort()


REQUESTS: dict[str, Callable[[Session, str], Awaitable[Any]]] = {
    "stat": lambda s, x: s.stat(p(x)),
    "read": lambda s, x: take(s, x, GET),
    "write": lambda s, x: take(s, x, PUT),
    "resume": lambda s, x: take(s, x, RESUME),
    "both": lambda s, x: take(s, x, BOTH),
    "setstat": lambda s, x: s.set_attrs(p(x), Attrs()),
    "chmod": lambda s, x: s.set_attrs(p(x), Attrs(mode=0o600)),
    "utime": lambda s, x: s.set_attrs(p(x), Attrs(mtime_ns=10**9)),
    "chown": lambda s, x: s.set_attrs(p(x), Attrs(uid=1)),
    "truncate": lambda s, x: s.set_attrs(p(x), Attrs(size=0)),
    "list": lambda s, x: names(s, x),
    "space": lambda s, x: s.space(p(x)),
    "digest": lambda s, x: s.checksum(p(x), "md5"),
    "digest of a part": lambda s, x: s.checksum(p(x), "md5", 0, 1),
    "copy from": lambda s, x: s.copy(p(x), p("/copied"), replace=False),
}
"""Requests that follow a link at the end of a path."""

BESIDE: dict[str, Callable[[Session, str], Awaitable[Any]]] = {
    "lstat": lambda s, x: s.stat(p(x), follow=False),
    "lsetstat": lambda s, x: s.set_attrs(p(x), Attrs(), follow=False),
    "lchown": lambda s, x: s.set_attrs(p(x), Attrs(uid=1), follow=False),
    "create": lambda s, x: take(s, x, EXCL),
    "readlink": lambda s, x: s.readlink(p(x)),
    "remove": lambda s, x: s.remove(p(x)),
    "mkdir": lambda s, x: s.mkdir(p(x)),
    "rmdir": lambda s, x: s.rmdir(p(x)),
    "rename": lambda s, x: s.rename(p(x), p("/moved"), replace=False),
    "rename to": lambda s, x: s.rename(p("/open/f"), p(x), replace=False),
    "rename over": lambda s, x: s.rename(p("/open/f"), p(x), replace=True),
    "copy to": lambda s, x: s.copy(p("/open/f"), p(x), replace=True),
    "hardlink": lambda s, x: s.hardlink(p(x), p("/hard")),
    "hardlink to": lambda s, x: s.hardlink(p("/open/f"), p(x)),
    "symlink": lambda s, x: s.symlink("/open/f", p(x)),
}
"""Requests that act on the last component itself."""


def state(home: Path) -> list[tuple[str, Any]]:
    found = []
    for base, directories, files in os.walk(home):
        for name in directories + files:
            path = Path(base) / name
            info = path.lstat()
            found.append(
                (str(path), (info.st_mode, info.st_uid, info.st_size, info.st_mtime_ns, info.st_nlink))
            )
    return sorted(found)


@pytest.mark.parametrize("request_", [*REQUESTS, *BESIDE])
async def test_a_link_into_a_closed_directory_gives_and_tells_nothing(world: World, request_: str):
    world.account(permissions=RULES)
    session = await world.login()
    home = furnish(world)
    before = state(home)
    act = REQUESTS.get(request_) or BESIDE[request_]
    paths = ["/into/f", "/into/run", "/into/l", "/into/sub", "/into/none", "/into/none/deeper"]
    if request_ in REQUESTS:
        paths += ["/file", "/absolute", "/chain", "/nothing", "/astray"]
    if request_ in {"list", "space"}:  # the directory itself lies where everything is granted
        paths += ["/into"]
    for path in paths:
        with pytest.raises(Denied):  # be something there or not
            await act(session, path)
    assert state(home) == before


@pytest.mark.parametrize("request_", ["stat", "read", "setstat", "digest", "lstat", "readlink", "remove"])
async def test_a_hidden_name_behind_a_link_looks_as_if_it_did_not_exist(world: World, request_: str):
    rule = FilePatterns(path="/p", denied_patterns=("*.key",), deny_policy=1)
    world.account(filters={"file_patterns": (rule,)})
    session = await world.login()
    home = world.home()
    (home / "p").mkdir(parents=True)
    (home / "p/secret.key").write_bytes(SECRET)
    (home / "way").symlink_to("p")
    (home / "at").symlink_to("p/secret.key")
    (home / "at-nothing").symlink_to("p/nope.key")
    act = REQUESTS.get(request_) or BESIDE[request_]
    paths = ["/p/secret.key", "/p/nope.key", "/way/secret.key", "/way/nope.key"]
    for path in paths + (["/at", "/at-nothing"] if request_ in REQUESTS else []):
        with pytest.raises(NotFound):
            await act(session, path)
    assert await names(session, "/way") == await names(session, "/p") == set()
    assert (home / "p/secret.key").read_bytes() == SECRET


async def test_setstat_of_nothing_tells_what_stat_tells(world: World):
    world.account(permissions={"/": ("*",), "/p": ()})
    session = await world.login()
    home = world.home()
    (home / "p").mkdir(parents=True)
    (home / "p/there").touch()
    for path in ("/p/there", "/p/none"):
        for follow in (True, False):
            with pytest.raises(Denied):
                await session.set_attrs(p(path), Attrs(), follow=follow)
    await session.set_attrs(p("/p"), Attrs())
    with pytest.raises(NotFound):
        await session.set_attrs(p("/none"), Attrs())


@pytest.mark.parametrize("rules", [{"/": ("*",)}, RULES])
@pytest.mark.parametrize("mode", list(Publish))
@pytest.mark.parametrize("quota", [0, 1000])
async def test_exclusive_follows_no_link(tmp_path: Path, rules: Any, mode: Publish, quota: int):
    async with vfs_world(tmp_path, upload_mode=mode) as world:
        session = await world.login(world.account(permissions=rules, quota_size=quota))
        home = furnish(world)
        (home / "dangling").symlink_to("open/created")
        (home / "good").symlink_to("open/f")
        for path in ("/dangling", "/good", "/into", "/nothing"):
            with pytest.raises((AlreadyExists, Unsupported)):
                await session.open(p(path), EXCL)
        assert (home / "dangling").is_symlink()
        assert sorted(os.listdir(home / "open")) == ["f"]
        assert (home / "open/f").read_bytes() == b"mine"


async def test_what_is_granted_is_reached_through_links(world: World):
    world.account(permissions=RULES)
    session = await world.login()
    home = furnish(world)
    (home / "way").symlink_to("open")
    (home / "to-file").symlink_to("way/f")
    (home / "to-nothing").symlink_to("open/not")
    (home / "to-no-directory").symlink_to("open/not/at/all")
    (home / "loop").symlink_to("loop")
    (home / "out").symlink_to(home.parent)
    assert await get(session, "/to-file") == b"mine"
    assert (await session.stat(p("/to-file"))).size == 4
    assert (await session.stat(p("/way"))).is_dir
    assert (await session.stat(p("/way"), follow=False)).is_link
    assert await names(session, "/way") == {"f"}
    await session.set_attrs(p("/to-file"), Attrs(mode=0o600, size=2))
    assert (home / "open/f").stat().st_size == 2
    assert len(await session.checksum(p("/way/f"), "md5")) == 1
    assert (await session.space(p("/to-file"))).total > 0
    for path in ("/to-nothing", "/to-no-directory"):
        with pytest.raises(NotFound):
            await session.stat(p(path))
    with pytest.raises(TidegateError):
        await session.stat(p("/loop"))
    for path in ("/out", "/out/x"):
        with pytest.raises(Denied):
            await session.stat(p(path))
    await put(session, "/to-nothing", b"new")
    assert (home / "open/not").read_bytes() == b"new"
    await session.mkdir(p("/way/d"))
    await session.rmdir(p("/way/d"))
    await session.rename(p("/way/not"), p("/way/there"), replace=False)
    assert await session.readlink(p("/nothing")) == "closed/none"  # a text, and nothing of what is behind it
    await session.remove(p("/way/there"))
    assert await names(session, "/open") == {"f"}


async def test_the_way_without_links_asks_the_storage_once(world: World, monkeypatch: pytest.MonkeyPatch):
    world.account(permissions=RULES)
    session = await world.login()
    furnish(world)
    resolved: list[str] = []
    original = LocalBackend.place_of

    async def counted(self: LocalBackend, key: str, *, follow: bool) -> str:
        resolved.append(key)
        return await original(self, key, follow=follow)

    monkeypatch.setattr(LocalBackend, "place_of", counted)
    await session.stat(p("/open/f"))
    assert await get(session, "/open/f") == b"mine"
    await session.checksum(p("/open/f"), "md5")
    assert resolved == []
    with pytest.raises(Denied):
        await session.stat(p("/file"))
    assert resolved == ["file"]


async def test_links_that_swap_while_requests_run_give_nothing(world: World):
    """One session asks, another thread swaps a directory and a link into a closed one as fast as it can."""
    world.account(permissions=RULES)
    session = await world.login()
    home = furnish(world)
    (home / "swap").mkdir()
    (home / "swap/f").write_bytes(b"mine")
    (home / "swap/run").write_bytes(b"mine")
    (home / "aside").symlink_to("closed")
    secret = (home / "closed/f").stat()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for there, spare in (("swap", "spare"), ("aside", "swap"), ("swap", "aside"), ("spare", "swap")):
                (home / there).rename(home / spare)

    async def look() -> None:
        for follow in (True, False):
            try:
                entry = await session.stat(p("/swap/f"), follow=follow)
            except TidegateError:
                continue
            assert entry.size == 4

    async def read() -> None:
        try:
            data = await get(session, "/swap/f")
        except TidegateError:
            return
        assert data == b"mine"

    async def change() -> None:
        for act in (
            session.set_attrs(p("/swap/f"), Attrs(mode=0o640)),
            session.remove(p("/swap/run")),
            session.rename(p("/swap/run"), p("/taken"), replace=True),
            session.copy(p("/swap/f"), p("/copied"), replace=True),
            take(session, "/swap/run", OpenFlags(write=True, create=True)),
            names(session, "/swap"),
        ):
            try:
                result = await act
            except TidegateError:
                continue
            assert result is None or "l" not in result

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    try:
        for _ in range(60):
            await asyncio.gather(look(), read(), change(), look(), read())
    finally:
        stop.set()
        await swapping
    now = (home / "closed/f").stat()
    assert (now.st_mode, now.st_mtime_ns, now.st_nlink) == (secret.st_mode, secret.st_mtime_ns, 1)
    assert sorted(os.listdir(home / "closed")) == ["f", "l", "run", "sub"]
    for name in ("copied", "taken"):
        assert not (home / name).exists() or (home / name).read_bytes() != SECRET
