# SPDX-License-Identifier: Apache-2.0
"""The semantics table: what each act does and how it is refused."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from tests.support.vfs_world import GET, PUT, RESUME, World, get, names, p, put, vfs_world

from tidegate import errors as e
from tidegate.events.kinds import Operated, Refused, Transferred
from tidegate.model import Attrs, FilePatterns, Kind
from tidegate.vfs.api import OpenFlags


@pytest.fixture
async def world(tmp_path) -> AsyncIterator[World]:
    async with vfs_world(tmp_path) as world:
        yield world


@pytest.fixture
async def alice(world):
    world.account()
    return await world.login()


async def test_the_home_is_created_and_files_go_round(world, alice):
    assert world.home().is_dir()
    data = os.urandom(100_000)
    await put(alice, "/a file", data)
    assert (world.home() / "a file").read_bytes() == data
    assert await get(alice, "/a file") == data
    assert await names(alice) == {"a file"}
    done = world.of(Transferred)
    assert [(t.action, t.status, t.size, t.virtual_path) for t in done] == [
        ("upload", "ok", 100_000, "/a file"),
        ("download", "ok", 100_000, "/a file"),
    ]
    assert done[0].file_path == str(world.home() / "a file")
    assert done[0].origin.username == "alice" and done[0].origin.connection_id == "c1"


async def test_zero_bytes_go_round_and_are_recorded(world, alice):
    await put(alice, "/empty", b"")
    assert await get(alice, "/empty") == b""
    assert [(t.action, t.status, t.size) for t in world.of(Transferred)] == [
        ("upload", "ok", 0),
        ("download", "ok", 0),
    ]


async def test_missing_paths(alice):
    for act in (
        alice.stat(p("/no")),
        alice.open(p("/no"), GET),
        alice.remove(p("/no")),
        alice.rmdir(p("/no")),
        alice.rename(p("/no"), p("/x"), replace=True),
        alice.open(p("/no/file"), PUT),
        alice.readlink(p("/no")),
        alice.set_attrs(p("/no"), Attrs(mode=0o600)),
        alice.set_attrs(p("/no"), Attrs(size=1)),
        alice.copy(p("/no"), p("/x"), replace=False),
        alice.checksum(p("/no"), "sha256"),
        names(alice, "/no"),
    ):
        with pytest.raises(e.NotFound):
            await act
    with pytest.raises(e.NotFound):
        await alice.open(p("/no"), OpenFlags(write=True))


async def test_wrong_kinds(world, alice):
    await alice.mkdir(p("/d"))
    await put(alice, "/d/f", b"x")
    await put(alice, "/f", b"y")
    await alice.symlink("d", p("/l"))
    with pytest.raises(e.IsADirectory):
        await alice.open(p("/d"), PUT)
    with pytest.raises(e.IsADirectory):
        await alice.open(p("/"), PUT)
    with pytest.raises(e.IsADirectory):
        await alice.open(p("/d"), GET)
    with pytest.raises(e.IsADirectory):
        await alice.remove(p("/d"))
    with pytest.raises(e.NotADirectory):
        await alice.rmdir(p("/f"))
    with pytest.raises(e.NotADirectory):
        await alice.rmdir(p("/l"))
    with pytest.raises(e.DirectoryNotEmpty):
        await alice.rmdir(p("/d"))
    with pytest.raises(e.AlreadyExists):
        await alice.mkdir(p("/d"))
    with pytest.raises(e.NotADirectory):
        await names(alice, "/f")
    with pytest.raises(e.IsADirectory):
        await alice.checksum(p("/d"), "md5")
    with pytest.raises(e.IsADirectory):
        await alice.copy(p("/d"), p("/e"), replace=False)
    with pytest.raises(e.AlreadyExists):
        await alice.open(p("/f"), OpenFlags(write=True, create=True, exclusive=True))
    assert (world.home() / "f").read_bytes() == b"y"


async def test_the_root_is_protected(alice):
    await put(alice, "/f", b"x")
    for act in (
        alice.rename(p("/"), p("/x"), replace=True),
        alice.rename(p("/f"), p("/"), replace=True),
        alice.rmdir(p("/")),
        alice.remove(p("/")),
        alice.symlink("/", p("/x")),
        alice.symlink("f", p("/")),
    ):
        with pytest.raises(e.Denied):
            await act


async def test_renames(world, alice):
    for name in ("a", "b"):
        await put(alice, f"/{name}", name.encode())
    await alice.mkdir(p("/d"))
    await alice.mkdir(p("/e"))
    with pytest.raises(e.AlreadyExists):
        await alice.rename(p("/a"), p("/b"), replace=False)
    with pytest.raises(e.IsADirectory):
        await alice.rename(p("/a"), p("/d"), replace=True)
    with pytest.raises(e.NotADirectory):
        await alice.rename(p("/d"), p("/b"), replace=True)
    with pytest.raises(e.AlreadyExists):
        await alice.rename(p("/a"), p("/a"), replace=False)
    await alice.rename(p("/a"), p("/a"), replace=True)
    with pytest.raises(e.InvalidArgument):
        await alice.rename(p("/d"), p("/d/sub"), replace=True)
    with pytest.raises(e.NotFound):
        await alice.rename(p("/a"), p("/no/a"), replace=True)
    await alice.rename(p("/a"), p("/b"), replace=True)
    await alice.rename(p("/d"), p("/e/d"), replace=False)
    assert await get(alice, "/b") == b"a"
    assert await names(alice) == {"b", "e"}
    assert [r.virtual_target_path for r in world.of(Operated) if r.action == "rename"] == ["/b", "/e/d"]


PERMISSION_TABLE = [
    ("list", lambda s: names(s, "/d")),
    ("list", lambda s: s.stat(p("/d/f"))),
    ("list", lambda s: s.checksum(p("/d/f"), "sha256")),
    ("download", lambda s: s.open(p("/d/f"), GET)),
    ("upload", lambda s: s.open(p("/d/new"), PUT)),
    ("overwrite", lambda s: s.open(p("/d/f"), PUT)),
    ("overwrite", lambda s: s.open(p("/d/f"), RESUME)),
    ("overwrite", lambda s: s.set_attrs(p("/d/f"), Attrs(size=0))),
    ("overwrite", lambda s: s.rename(p("/d/f"), p("/d/g"), replace=True)),
    ("delete", lambda s: s.remove(p("/d/f"))),
    ("delete", lambda s: s.rmdir(p("/d/sub"))),
    ("rename", lambda s: s.rename(p("/d/f"), p("/d/x"), replace=False)),
    ("rename", lambda s: s.rename(p("/d/sub"), p("/d/x"), replace=False)),
    ("create_dirs", lambda s: s.mkdir(p("/d/x"))),
    ("create_symlinks", lambda s: s.symlink("f", p("/d/x"))),
    ("chmod", lambda s: s.set_attrs(p("/d/f"), Attrs(mode=0o600))),
    ("chown", lambda s: s.set_attrs(p("/d/f"), Attrs(uid=0, gid=0))),
    ("chtimes", lambda s: s.set_attrs(p("/d/f"), Attrs(atime_ns=0, mtime_ns=0))),
    ("copy", lambda s: s.copy(p("/d/f"), p("/d/x"), replace=False)),
]
EVERY = ("list", "download", "upload", "overwrite", "delete", "rename", "create_dirs", "create_symlinks",
         "chmod", "chown", "chtimes", "copy")  # fmt: skip


@pytest.mark.parametrize(("permission", "act"), PERMISSION_TABLE)
async def test_each_permission_is_needed_and_enough(world, permission, act):
    others = tuple(name for name in EVERY if name != permission)
    for granted, allowed in ((EVERY, True), (others, False)):
        home = world.home(f"u{allowed}")
        (home / "d" / "sub").mkdir(parents=True)
        (home / "d" / "f").write_bytes(b"f")
        (home / "d" / "g").write_bytes(b"g")
        before = sorted(home.rglob("*"))
        world.account(f"u{allowed}", home_dir=str(home), permissions={"/": ("*",), "/d": granted})
        session = await world.login(f"u{allowed}")
        if allowed:
            await act(session)
            continue
        refused = len(world.of(Refused))
        with pytest.raises(e.Denied, match="permission"):
            await act(session)
        assert sorted(home.rglob("*")) == before
        assert len(world.of(Refused)) == refused + 1
        assert world.of(Refused)[-1].rule == "permissions[/d]"


async def test_finer_names_tell_files_from_directories(world):
    world.account(permissions={"/": ("list", "upload", "create_dirs", "delete_files", "rename_dirs")})
    session = await world.login()
    await put(session, "/f", b"x")
    await session.mkdir(p("/d"))
    with pytest.raises(e.Denied):
        await session.rename(p("/f"), p("/g"), replace=False)
    await session.rename(p("/d"), p("/e"), replace=False)
    with pytest.raises(e.Denied):
        await session.rmdir(p("/e"))
    await session.remove(p("/f"))


async def test_upload_onto_a_link_needs_upload_and_overwrite_of_what_it_hides(world):
    world.account(permissions={"/": ("list", "upload", "create_symlinks")})
    session = await world.login()
    await put(session, "/f", b"old")
    await session.symlink("f", p("/l"))
    with pytest.raises(e.Denied):
        await session.open(p("/l"), PUT)
    assert (world.home() / "f").read_bytes() == b"old"
    world.account("bob", home_dir=str(world.home()), permissions={"/": ("list", "upload", "overwrite")})
    await put(await world.login("bob"), "/l", b"new")
    assert (world.home() / "f").read_bytes() == b"new"


async def test_read_and_write_needs_writing(world):
    """Without `download` READ is refused, see test_vfs_upload_only.py."""
    world.account("u", permissions={"/": ("list", "download")})
    world.home("u").mkdir(parents=True, exist_ok=True)
    (world.home("u") / "f").write_bytes(b"abc")
    session = await world.login("u")
    with pytest.raises(e.Denied):
        await session.open(p("/f"), OpenFlags(read=True, write=True))
    world.account("v", home_dir=str(world.home("u")))
    session = await world.login("v")
    file = await session.open(p("/f"), OpenFlags(read=True, write=True))
    await file.write(1, b"XY")
    assert await file.read(0, 10) == b"aXY"
    await file.close()


async def test_append_ignores_offsets(alice):
    await put(alice, "/log", b"one")
    file = await alice.open(p("/log"), OpenFlags(append=True, create=True))
    await file.write(0, b"two")
    assert file.write_nowait(0, b"!") is False
    await file.write(0, b"three")
    await file.close()
    assert await get(alice, "/log") == b"onetwothree"


async def test_hidden_patterns(world):
    hide = FilePatterns(path="/", denied_patterns=("*.secret",), deny_policy=1)
    world.account(filters={"file_patterns": (hide,)})
    world.home().mkdir(parents=True)
    (world.home() / "x.secret").write_bytes(b"x")
    (world.home() / "seen").write_bytes(b"y")
    session = await world.login()
    assert await names(session) == {"seen"}
    for act in (
        session.stat(p("/x.secret")),
        session.open(p("/x.secret"), GET),
        session.remove(p("/x.secret")),
        session.rename(p("/x.secret"), p("/y"), replace=False),
        session.checksum(p("/x.secret"), "md5"),
    ):
        with pytest.raises(e.NotFound):
            await act
    with pytest.raises(e.Denied):
        await session.open(p("/new.secret"), PUT)
    with pytest.raises(e.Denied):
        await session.rename(p("/seen"), p("/new.secret"), replace=False)
    assert (world.home() / "x.secret").read_bytes() == b"x"


async def test_links(world, alice):
    await alice.mkdir(p("/d"))
    await put(alice, "/d/f", b"data")
    await alice.symlink("d/f", p("/rel"))
    await alice.symlink("/d/f", p("/abs"))
    assert await alice.readlink(p("/rel")) == "d/f"
    assert await get(alice, "/abs") == b"data"
    assert (await alice.stat(p("/rel"))).kind is Kind.FILE
    assert (await alice.stat(p("/rel"), follow=False)).kind is Kind.LINK
    assert not os.readlink(world.home() / "abs").startswith("/")
    with pytest.raises(e.AlreadyExists):
        await alice.symlink("d", p("/rel"))
    (world.home() / "out").symlink_to("/etc/passwd")
    with pytest.raises(e.Denied):
        await alice.readlink(p("/out"))
    with pytest.raises(e.Denied):
        await alice.open(p("/out"), GET)
    await alice.hardlink(p("/d/f"), p("/hard"))
    assert (await alice.stat(p("/hard"))).nlink == 2


async def test_a_moved_link_gets_no_new_reach(world):
    world.account(permissions={"/": ("*",), "/closed": ("list",)})
    world.home().mkdir(parents=True)
    (world.home() / "closed").mkdir()
    (world.home() / "closed" / "f").write_bytes(b"secret")
    session = await world.login()
    await session.mkdir(p("/a"))
    await session.mkdir(p("/a/b"))
    await session.symlink("../closed/f", p("/a/b/l"))
    with pytest.raises(e.Denied):
        await session.rename(p("/a/b/l"), p("/a/l"), replace=False)


async def test_setstat(world, alice):
    await put(alice, "/f", b"abcdef")
    await alice.set_attrs(p("/f"), Attrs(size=3, mode=0o640, atime_ns=10**18, mtime_ns=2 * 10**18))
    entry = await alice.stat(p("/f"))
    assert (entry.size, entry.mode, entry.mtime_ns) == (3, 0o640, 2 * 10**18)
    assert [o.action for o in world.of(Operated)] == ["truncate", "chtimes", "chmod"]
    with pytest.raises(e.IsADirectory):
        await alice.set_attrs(p("/"), Attrs(size=3))


async def test_fsetstat_times_outlive_the_close(world, alice):
    file = await alice.open(p("/f"), PUT)
    await file.write(0, b"x")
    await file.set_attrs(Attrs(mode=0o600, atime_ns=10**18, mtime_ns=10**18))
    await file.close()
    assert (await alice.stat(p("/f"))).mtime_ns == 10**18


async def test_setstat_mode_1_checks_permission_and_changes_nothing(tmp_path):
    async with vfs_world(tmp_path, setstat_mode=1) as world:
        world.account()
        session = await world.login()
        await put(session, "/f", b"abc")
        before = await session.stat(p("/f"))
        await session.set_attrs(p("/f"), Attrs(mode=0o777, mtime_ns=0, atime_ns=0))
        assert await session.stat(p("/f")) == before
        world.account("bob", home_dir=str(world.home()), permissions={"/": ("list",)})
        with pytest.raises(e.Denied):
            await (await world.login("bob")).set_attrs(p("/f"), Attrs(mode=0o777))


async def test_closed_files_refuse_everything(alice):
    file = await alice.open(p("/f"), OpenFlags(read=True, write=True, create=True))
    await file.close()
    for act in (
        file.read(0, 1),
        file.write(0, b"x"),
        file.stat(),
        file.set_attrs(Attrs(size=0)),
        file.sync(),
        file.close(),
    ):
        with pytest.raises(e.InvalidHandle):
            await act
    with pytest.raises(e.InvalidHandle):
        file.readinto_nowait(0, [memoryview(bytearray(1))])
    with pytest.raises(e.InvalidHandle):
        file.write_nowait(0, b"x")
    await file.abort()


async def test_open_files_are_bounded_and_closing_the_session_aborts_them(tmp_path):
    async with vfs_world(tmp_path, max_open_files=3) as world:
        world.account()
        session = await world.login()
        files = [await session.open(p(f"/{i}"), PUT) for i in range(3)]
        with pytest.raises(e.PeerLimit):
            await session.open(p("/4"), PUT)
        await files[0].close()
        file = await session.open(p("/4"), PUT)
        await file.write(0, b"part")
        assert {t.virtual_path for t in session.transfers} == {"/1", "/2", "/4"}
        assert max(t.size for t in session.transfers) == 4
        await session.close()
        await session.close()
        assert not session.transfers
        assert [t.status for t in world.of(Transferred)].count("failed") == 3
        with pytest.raises(e.InvalidHandle):
            await file.write(4, b"more")


async def test_a_slow_listing_can_be_left_early(world, alice):
    for i in range(600):
        (world.home() / f"f{i}").touch()
    batches = alice.list(p("/"))
    first = await anext(batches)
    await batches.aclose()
    assert 0 < len(first) < 600
    assert len(await names(alice)) == 600
