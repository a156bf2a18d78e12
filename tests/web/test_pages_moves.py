# SPDX-License-Identifier: Apache-2.0
"""Moves of homes and folders to other storage on the pages: looked at, made, taken back, cleaned up, and by role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import PASSWORD, WebWorld

from tidegate.accounts.storage_changes import MoveKind
from tidegate.relocation.move import Move

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def add(world: WebWorld, name: str = "ann", **more: object) -> Path:
    (await world.client.post("/api/v2/users", json=world.user(name, **more))).raise_for_status()
    home = world.home / "files" / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "a.txt").write_bytes(b"a" * 1000)
    return home


async def over(world: WebWorld, name: str = "ann", kind: MoveKind = "user") -> Move:
    """The move, once it does not run any more."""
    move = await services_of(world.app).moves().find(kind, name)
    if move.task is not None:
        await asyncio.wait((move.task,), timeout=20)
    return await services_of(world.app).moves().find(kind, name)


async def home_of(world: WebWorld, name: str = "ann") -> str:
    account = await world.app.provider.user(name)
    assert account is not None
    return account.home_dir


async def test_a_home_is_looked_at_moved_and_taken_back(world: WebWorld, inside: Browser) -> None:
    home, new = await add(world), world.home / "files" / "new"
    assert "Nothing is moved" in (await inside.get("/moves")).text
    page = await inside.get("/users/ann")
    assert f"{BASE}/moves?kind=user&name=ann" in {one.attributes["href"] for one in page.all("a")}
    page = await inside.get("/moves?kind=user&name=ann")
    assert page.value("name") == "ann"
    sent = {"kind": "user", "name": "ann", "directory": str(new), "storage": "0"}
    done = await inside.post("/moves", **sent, dry_run="1")
    assert (done.status, done.location) == (303, f"{BASE}/moves/user/ann"), done.text
    assert (await over(world)).state == "done"
    page = await inside.get("/moves/user/ann")
    assert "it only looks" in page.text and "The move of ann is looked at; nothing is changed." in page.text
    assert await home_of(world) == str(home) and not new.exists()

    assert (await inside.post("/moves", **sent)).status == 303
    assert (await over(world)).state == "done"
    assert await home_of(world) == str(new) and (new / "a.txt").read_bytes() == b"a" * 1000
    page = await inside.get("/moves")
    (row,) = [one.text for one in page.all("tr") if "ann" in one.text]
    assert (
        "on the new storage; the old content is still there" in row and str(home) in row and str(new) in row
    )
    page = await inside.get("/moves/user/ann")
    assert "Remove the old content" in page.text and "Take the move back" in page.text
    assert (await inside.post("/moves/undo", kind="user", name="ann")).status == 303
    assert (await over(world)).state == "done"
    assert await home_of(world) == str(home)


async def test_the_old_content_is_removed_once(world: WebWorld, inside: Browser) -> None:
    home, new = await add(world), world.home / "files" / "new"
    await inside.get("/moves")
    early = await inside.post("/moves/remove-old", kind="user", name="ann")
    assert early.status == 404 and "no move of user ann is known here" in early.text.lower()
    sent = {"kind": "user", "name": "ann", "directory": str(new), "storage": "0"}
    assert (await inside.post("/moves", **sent)).status == 303
    await over(world)
    again = await inside.post("/moves", **{**sent, "directory": str(home.parent / "third")})
    assert again.status == 400 and "is still there" in again.text
    assert (await inside.post("/moves/remove-old", kind="user", name="ann")).status == 303
    assert (await over(world)).state == "done"
    assert list(home.rglob("*")) == [] and (new / "a.txt").exists()
    page = await inside.get("/moves/user/ann")
    assert not page.all("form", action=f"{BASE}/moves/undo")


async def test_a_folder_moves_and_mistakes_stand_at_their_fields(world: WebWorld, inside: Browser) -> None:
    place, new = world.home / "files" / "shared", world.home / "files" / "new"
    place.mkdir(parents=True)
    (place / "f").write_bytes(b"x")
    folder = {"name": "shared", "mapped_path": str(place)}
    (await world.client.post("/api/v2/folders", json=folder)).raise_for_status()
    page = await inside.get("/folders/shared")
    assert f"{BASE}/moves?kind=folder&name=shared" in {one.attributes["href"] for one in page.all("a")}
    good = {"kind": "folder", "name": "shared", "directory": str(new), "storage": "0"}
    for change, field, said in (
        ({"name": EVIL}, "name", "No such folder"),
        ({"kind": "user", "name": EVIL}, "name", f"No such user: {EVIL}"),
        ({"directory": "relative"}, "directory", "absolute"),
        ({"storage": "1", "s3_bucket": ""}, "", ""),
    ):
        wrong = await inside.post("/moves", **{**good, **change})
        assert wrong.status == 400 and not wrong.all("img"), change
        if field:
            assert said.lower() in wrong.first("p", id=f"e-{field}").text.lower(), wrong.text
    assert (await inside.post("/moves", **good)).location == f"{BASE}/moves/folder/shared"
    assert (await over(world, "shared", "folder")).state == "done"
    assert (new / "f").read_bytes() == b"x"
    for path in ("/moves/user/nobody", "/moves/folder/nothing", "/moves/thing/ann"):
        assert (await inside.get(path)).status == 404, path


async def test_a_move_that_failed_says_why(world: WebWorld, inside: Browser) -> None:
    await add(world)
    new = world.home / "files" / "full"
    new.mkdir()
    (new / EVIL.replace("/", "")).write_bytes(b"x")
    await inside.get("/moves")
    assert (
        await inside.post("/moves", kind="user", name="ann", directory=str(new), storage="0")
    ).status == 303
    assert (await over(world)).state == "failed"
    for path in ("/moves", "/moves/user/ann", "/moves/rows"):
        page = await inside.get(path)
        assert "is not empty: it holds" in page.answer.text and not page.all("img"), path
    assert "hx-trigger" not in (await inside.get("/moves/rows")).first("div", id="moves").attributes


async def test_a_role_moves_homes_of_its_own_accounts_alone(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    await add(world, "mine", role="east")
    await add(world, "theirs")
    await inside.get("/moves")
    for name in ("mine", "theirs"):
        sent = {"kind": "user", "name": name, "directory": str(world.home / "files" / f"new-{name}")}
        assert (await inside.post("/moves", **sent, storage="0")).status == 303
        await over(world, name)
    admin = {
        "username": "nora",
        "password": PASSWORD,
        "permissions": ["edit_users"],
        "role": "east",
        "status": 1,
    }
    (await world.client.post("/api/v2/admins", json=admin)).raise_for_status()
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora")
        page = await nora.get("/moves")
        assert [one.text for one in page.all("a", class_="name")] == ["mine"] and "theirs" not in page.text
        assert (await nora.get("/moves/user/mine")).status == 200
        for path in ("/moves/user/theirs", "/moves/user/nobody"):
            assert (await nora.get(path)).status == 404, path
        for path in ("/moves/undo", "/moves/remove-old"):
            assert (await nora.post(path, kind="user", name="theirs")).status == 404, path
            assert (await nora.post(path, kind="folder", name="x")).status == 403, path
        sent = {"kind": "user", "name": "theirs", "directory": str(world.home / "files/x"), "storage": "0"}
        refused = await nora.post("/moves", **sent)
        assert refused.status == 400 and refused.first("p", id="e-name").text == "No such user: theirs."
