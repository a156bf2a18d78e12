# SPDX-License-Identifier: Apache-2.0
"""Moves of homes and folders to other storage over REST, on a running server with real sessions."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import get, put
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.accounts.storage_changes import StorageChanges
from tidegate.errors import Conflict, Locked, LoginRefused, ProviderUnavailable, StorageFailed
from tidegate.model import Peer, Principal, Protocol, VPath
from tidegate.relocation import work
from tidegate.vfs.files.attached import holding
from tidegate.vfs.session import Session

MOVES = "/api/v2/storage-moves"
WHEN = 1_000_000_000
CRYPT = {"provider": 4, "cryptconfig": {"passphrase": {"status": "Plain", "payload": "a long passphrase"}}}


@pytest.fixture
async def world(tmp_path: Path):
    async with web_world(tmp_path) as world:
        yield world


async def add(world: WebWorld, name: str = "ann", **more: Any) -> Path:
    """An account with a tree in its home; returns the home."""
    home = world.home / "files" / name
    added = await world.client.post("/api/v2/users", json=world.user(name, **more))
    assert added.status_code == 201, added.text
    plant(home)
    return home


def plant(home: Path) -> None:
    (home / "sub/deep").mkdir(parents=True)
    (home / "empty").mkdir()
    (home / "a.txt").write_bytes(b"a" * 1000)
    (home / "sub/b.bin").write_bytes(os.urandom(600_000))
    (home / "sub/deep/none").write_bytes(b"")
    os.symlink("sub/b.bin", home / "link")
    for path in sorted(home.rglob("*"), reverse=True):
        os.utime(path, (WHEN, WHEN), follow_symlinks=False)


def tree(root: Path) -> dict[str, object]:
    """Names, kinds, contents and times below a directory."""
    return {
        str(path.relative_to(root)): os.readlink(path)
        if path.is_symlink()
        else (path.is_dir() or path.read_bytes(), path.stat().st_mtime)
        for path in root.rglob("*")
    }


async def start(world: WebWorld, name: str = "ann", *, kind: str = "users", **body: Any) -> None:
    answer = await world.client.post(f"{MOVES}/{kind}/{name}", json=body)
    assert answer.status_code == 202, answer.text


async def ended(
    world: WebWorld, name: str = "ann", *, kind: str = "users", seconds: float = 30
) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            move = (await world.client.get(f"{MOVES}/{kind}/{name}")).json()
            if move["state"] != "running":
                return dict(move)
            await asyncio.sleep(0.01)


async def moved(world: WebWorld, name: str = "ann", *, kind: str = "users", **body: Any) -> dict[str, Any]:
    await start(world, name, kind=kind, **body)
    move = await ended(world, name, kind=kind)
    assert (move["state"], move["error"]) == ("done", ""), move
    return move


async def login(world: WebWorld, name: str = "ann") -> Session:
    account = await world.app.provider.user(name)
    assert account is not None
    peer = Peer("c1", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "SSH-2.0-test")
    return await world.app.sessions.open(Principal(account, "password", "192.0.2.7"), peer)


async def record(world: WebWorld, name: str = "ann") -> dict[str, Any]:
    return dict((await world.client.get(f"/api/v2/users/{name}")).json())


async def test_a_home_moves_to_another_directory_and_back(world: WebWorld, tmp_path: Path) -> None:
    home = await add(world, quota_size=10_000_000)
    before = tree(home)
    scan = await world.client.post("/api/v2/quotas/users/ann/scan")
    assert scan.status_code == 202
    async with asyncio.timeout(10):
        while (await world.client.get("/api/v2/quotas/users/ann/scan")).json()["state"] == "running":
            await asyncio.sleep(0.01)
    usage = (await record(world))["used_quota_size"], (await record(world))["used_quota_files"]
    assert usage == (601_000, 3)
    new = world.home / "files" / "elsewhere"
    move = await moved(world, home_dir=str(new))
    assert (move["phase"], move["copied_files"], move["total_size"]) == ("switched", 3, 601_000)
    assert (move["source"], move["target"]) == (str(home), str(new))
    assert tree(new) == before == tree(home)
    now = await record(world)
    assert now["home_dir"] == str(new)
    assert "hold" not in now["filters"]
    assert (now["used_quota_size"], now["used_quota_files"]) == usage

    (new / "a.txt").write_bytes(b"changed")
    (new / "sub/b.bin").unlink()
    (new / "added").write_bytes(b"added")
    answer = await world.client.post(f"{MOVES}/users/ann/undo")
    assert answer.status_code == 202, answer.text
    back = await ended(world)
    assert (back["state"], back["phase"], back["copied_files"]) == ("done", "switched", 2)
    assert (await record(world))["home_dir"] == str(home)
    assert tree(home).keys() == before.keys() - {"sub/b.bin"} | {"added"}
    assert (home / "a.txt").read_bytes() == b"changed"

    answer = await world.client.post(f"{MOVES}/users/ann/remove-old")
    assert answer.status_code == 202, answer.text
    assert (await ended(world))["phase"] == "removed"
    assert list(new.iterdir()) == []
    assert tree(home)
    assert not list((world.home / "storage.moves").iterdir())


async def test_a_home_moves_into_encryption(world: WebWorld) -> None:
    home = await add(world)
    before = tree(home)
    new = world.home / "files" / "sealed"
    await moved(world, home_dir=str(new), filesystem=CRYPT)
    assert (new / "a.txt").read_bytes() != b"a" * 1000
    session = await login(world)
    assert await get(session, "/sub/b.bin") == (home / "sub/b.bin").read_bytes()
    assert tree(home) == before
    await session.close()


async def test_a_dry_run_changes_nothing(world: WebWorld) -> None:
    home = await add(world)
    new = world.home / "files" / "elsewhere"
    move = await moved(world, home_dir=str(new), dry_run=True)
    assert (move["dry_run"], move["total_files"], move["copied_files"]) == (True, 3, 0)
    assert not new.exists()
    assert (await record(world))["home_dir"] == str(home)
    assert not (world.home / "storage.moves").exists()


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ({}, 400, "name the storage to move to"),
        ({"home_dir": "relative"}, 400, "home_dir"),
        ({"filesystem": {"provider": 1}}, 400, "filesystem.s3config"),
        ({"filesystem": {"provider": 77}}, 400, "77"),
        ({"home_dir": "{home}"}, 400, "is, holds or lies in"),
        ({"home_dir": "{home}/sub"}, 400, "is, holds or lies in"),
        ({"home_dir": "/"}, 400, "whole host"),
        ({"verify": "never", "home_dir": "{new}"}, 400, "verify"),
        ({"home_dir": "{new}", "unknown": 1}, 400, "unknown"),
    ],
)
async def test_bad_wishes_name_the_mistake(
    world: WebWorld, body: dict[str, Any], code: int, text: str
) -> None:
    home = await add(world)
    new = home.parent / "new"
    body = {
        key: value.format(home=home, new=new) if isinstance(value, str) else value
        for key, value in body.items()
    }
    answer = await world.client.post(f"{MOVES}/users/ann", json=body)
    assert (answer.status_code, text in answer.text) == (code, True), answer.text
    assert (await world.client.get(f"{MOVES}/users/ann")).status_code == 404


async def test_a_target_that_holds_something_is_refused(world: WebWorld) -> None:
    await add(world)
    new = world.home / "files" / "full"
    new.mkdir()
    (new / "theirs").write_bytes(b"x")
    await start(world, home_dir=str(new))
    move = await ended(world)
    assert (move["state"], "is not empty: it holds theirs" in move["error"]) == ("failed", True)
    assert list(new.iterdir()) == [new / "theirs"]


async def test_nobody_without_the_permission(world: WebWorld) -> None:
    await add(world)
    await world.add_admin("viewer", "view_users")
    async with world.acting_as("viewer") as viewer:
        answer = await viewer.post(f"{MOVES}/users/ann", json={"home_dir": str(world.home / "files/x")})
        assert answer.status_code == 403
    assert (await world.client.post(f"{MOVES}/users/bob", json={"home_dir": "/srv/x"})).status_code == 404


async def test_sessions_end_and_logins_are_refused_while_it_is_held(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await add(world)
    reached, go_on = asyncio.Event(), asyncio.Event()
    real = work.verify

    async def waiting(*args: Any, **more: Any) -> None:
        reached.set()
        await go_on.wait()
        await real(*args, **more)

    monkeypatch.setattr(work, "verify", waiting)
    session = await login(world)
    await start(world, home_dir=str(world.home / "files/new"))
    async with asyncio.timeout(10):
        while (await world.client.get(f"{MOVES}/users/ann")).json()["phase"] != "holding":
            await asyncio.sleep(0.01)
    assert not reached.is_set()  # a session is there still
    with pytest.raises(LoginRefused):
        await login(world)
    (home / "late").write_bytes(b"written by a session that is ending")
    await session.close()
    async with asyncio.timeout(10):
        await reached.wait()
    hold = (await record(world))["filters"]["hold"]
    assert "move to" in hold
    changed = await record(world)
    changed["filters"].pop("hold")
    answer = await world.client.put("/api/v2/users/ann", json={**changed, "description": "seen meanwhile"})
    assert answer.status_code == 200, answer.text
    assert (await record(world))["filters"]["hold"] == hold  # a document does not release
    why = await world.client.get("/api/v2/explain", params={"user": "ann", "op": "upload", "path": "/x"})
    assert "held" in why.text, why.text
    go_on.set()
    assert (await ended(world))["state"] == "done"
    now = await record(world)
    assert ("hold" in now["filters"], now["description"]) == (False, "seen meanwhile")
    assert (world.home / "files/new/late").exists()
    await (await login(world)).close()


async def test_a_folder_moves_and_its_users_are_released(world: WebWorld) -> None:
    place = world.home / "files" / "shared"
    plant(place)
    mounts = [{"name": "shared", "virtual_path": "/shared", "mapped_path": str(place)}]
    for name in ("ann", "bob"):
        await add(world, name, virtual_folders=mounts)
    new = world.home / "files" / "new"
    move = await moved(world, "shared", kind="folders", mapped_path=str(new))
    assert move["total_files"] == 3
    for name in ("ann", "bob"):
        now = await record(world, name)
        assert "hold" not in now["filters"]
        session = await login(world, name)
        entry = await session.stat(VPath("/shared/a.txt"))
        assert entry.size == 1000
        await session.close()
    folder = (await world.client.get("/api/v2/folders/shared")).json()
    assert folder["mapped_path"] == str(new)
    assert tree(new) == tree(place)


async def test_an_administrator_of_a_role_sees_moves_of_folders_that_their_accounts_alone_mount(
    world: WebWorld,
) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    for folder, name, more in (("shared", "ann", {}), ("own", "bob", {"role": "east"})):
        place = world.home / "files" / folder
        plant(place)
        mounts = [{"name": folder, "virtual_path": "/f", "mapped_path": str(place)}]
        await add(world, name, virtual_folders=mounts, **more)
        await moved(world, folder, kind="folders", mapped_path=str(world.home / "files" / f"new-{folder}"))
    permissions = ["manage_folders", "edit_users"]
    admin = {
        "username": "nora",
        "password": PASSWORD,
        "permissions": permissions,
        "role": "east",
        "status": 1,
    }
    (await world.client.post("/api/v2/admins", json=admin)).raise_for_status()
    async with world.acting_as("nora") as nora:
        answer = await nora.get(f"{MOVES}/folders/own")
        assert answer.json().get("state") == "done", answer.text
        assert (await nora.get(f"{MOVES}/folders/shared")).status_code == 404
        assert (await nora.get(f"{MOVES}/folders/nothing")).status_code == 404


@pytest.mark.parametrize("below", ["", "/new"])
async def test_no_home_moves_into_itself_by_a_link(world: WebWorld, below: str) -> None:
    home = await add(world)
    link = world.home / "files" / "way"
    link.symlink_to(home)
    before = tree(home)
    answer = await world.client.post(f"{MOVES}/users/ann", json={"home_dir": f"{link}{below}"})
    if answer.status_code == 202:
        move = await ended(world, seconds=15)
        assert move["state"] == "failed", move
    else:
        assert answer.status_code == 400, answer.text
        assert "moves from" in answer.text
    assert tree(home) == before


async def test_what_took_the_place_of_a_link_stays_when_the_old_is_removed(world: WebWorld) -> None:
    home = await add(world)
    os.symlink("a.txt", home / "other")
    os.symlink("a.txt", home / "same")
    await moved(world, home_dir=str(world.home / "files" / "fresh"))
    (home / "link").unlink()
    (home / "link").write_bytes(b"written since")
    (home / "other").unlink()
    os.symlink("elsewhere", home / "other")
    answer = await world.client.post(f"{MOVES}/users/ann/remove-old")
    assert answer.status_code == 202, answer.text
    move = await ended(world)
    assert move["count_left_out"] == 2, move
    assert tree(home) == {"link": (b"written since", (home / "link").stat().st_mtime), "other": "elsewhere"}


async def test_properties_and_locks_follow_a_home(world: WebWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """To encryption, which keeps them by other places, and back; what is only of the old storage goes with it."""
    await add(world)
    new, x = world.home / "files" / "sealed", ("urn:x", "x")
    old_places = world.app.sessions.properties.store.places
    session = await login(world)
    for path in ("/", "/a.txt", "/sub", "/sub/deep/none"):
        await session.properties.patch(VPath(path), {x: path.encode()})
    held = await session.locks.lock(VPath("/sub"), depth_infinite=True, owner="ann", seconds=600)
    await session.close()

    async def kept(store: Session) -> dict[str, bytes]:
        return {
            path: (await store.properties.get(VPath(path))).get(x, b"")
            for path in ("/", "/a.txt", "/sub", "/sub/deep/none", "/sub/b.bin")
        }

    async def refuses(store: Session) -> None:
        with pytest.raises(Locked):
            await put(store, "/sub/deep/none", b"other")
        with holding([held.token]):
            await put(store, "/sub/deep/none", b"other")
            await store.locks.refresh(VPath("/sub"), held.token, 300)

    real = work.verify

    async def fails(*args: Any, **more: Any) -> None:
        await real(*args, **more)
        raise StorageFailed("of the test")

    with monkeypatch.context() as patched:
        patched.setattr(work, "verify", fails)
        await start(world, home_dir=str(new), filesystem=CRYPT)
        assert (await ended(world))["state"] == "failed"
    session = await login(world)
    await refuses(session)
    expected = await kept(session)
    assert expected == {"/": b"/", "/a.txt": b"/a.txt", "/sub": b"/sub", "/sub/deep/none": b"/sub/deep/none",
                        "/sub/b.bin": b""}  # fmt: skip
    await session.close()

    await moved(world, home_dir=str(new), filesystem=CRYPT)
    session = await login(world)
    assert await kept(session) == expected
    await refuses(session)
    with holding([held.token]):
        await session.properties.patch(VPath("/sub/b.bin"), {x: b"/sub/b.bin"})
    await session.properties.patch(VPath("/a.txt"), {}, [x])
    await session.close()

    assert (await world.client.post(f"{MOVES}/users/ann/undo")).status_code == 202
    assert (await ended(world))["state"] == "done"
    session = await login(world)
    assert await kept(session) == expected | {"/sub/b.bin": b"/sub/b.bin", "/a.txt": b""}
    await refuses(session)
    assert await session.locks.list(VPath("/sub"))
    await session.close()
    assert (await world.client.post(f"{MOVES}/users/ann/remove-old")).status_code == 202
    assert (await ended(world))["phase"] == "removed"
    assert await old_places(f"file:{new}", "", 10) == []


@pytest.mark.parametrize("error", [ProviderUnavailable, asyncio.CancelledError])
async def test_a_switch_whose_answer_is_lost_has_happened(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    home = await add(world)
    new = world.home / "files" / "new"
    real = StorageChanges.switch

    async def switch(self: StorageChanges, *args: Any, **more: Any) -> None:
        await real(self, *args, **more)
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(StorageChanges, "switch", switch)
        await start(world, home_dir=str(new))
        move = await ended(world)
    assert (move["state"], move["phase"]) == ("failed", "switched")
    now = await record(world)
    assert (now["home_dir"], "hold" in now["filters"]) == (str(new), False)
    (new / "a.txt").write_bytes(b"written since")
    assert (await world.client.post(f"{MOVES}/users/ann/undo")).status_code == 202
    assert (await ended(world))["state"] == "done"
    assert (home / "a.txt").read_bytes() == b"written since"
    assert (new / "a.txt").exists()


async def test_copies_that_somebody_made_their_home_are_not_removed(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A move failed, and an administrator named its target by hand."""
    await add(world)
    new = world.home / "files" / "new"

    async def fails(*args: Any, **more: Any) -> None:
        raise Conflict("of the test")

    with monkeypatch.context() as patched:
        patched.setattr(work, "verify", fails)
        await start(world, home_dir=str(new))
        assert (await ended(world))["state"] == "failed"
    changed = {**await record(world), "home_dir": str(new)}
    assert (await world.client.put("/api/v2/users/ann", json=changed)).status_code == 200
    answer = await world.client.post(f"{MOVES}/users/ann/undo")
    assert (answer.status_code, "put the record back" in answer.text) == (409, True), answer.text
    assert (new / "a.txt").exists()


async def test_a_copy_that_somebody_removed_is_made_again(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = await add(world)
    new = world.home / "files" / "new"
    real = work.verify
    took: list[Path] = []

    async def verify(*args: Any, **more: Any) -> None:
        if not took:
            took.append(new / "sub/b.bin")
            took[0].unlink()
        await real(*args, **more)

    monkeypatch.setattr(work, "verify", verify)
    move = await moved(world, home_dir=str(new))
    assert move["copied_files"] == 4
    assert tree(new).keys() == tree(home).keys()
