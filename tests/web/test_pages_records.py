# SPDX-License-Identifier: Apache-2.0
"""The pages of groups, folders and roles: list, form, two people at once, deleting what is in use, permission."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.browser import BASE, Browser, Shown, browser, fields_of
from tests.support.web_world import WebWorld

EVIL = "<img src=x onerror=alert(1)>"

KINDS = {
    "groups": ("new-group", "manage_groups", "group"),
    "folders": ("new-folder", "manage_folders", "folder"),
    "roles": ("new-role", "manage_roles", "role"),
}


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def post(world: WebWorld, path: str, **document: Any) -> None:
    answer = await world.client.post(f"/api/v2/{path}", json=document)
    assert answer.status_code == 201, answer.text


async def read(world: WebWorld, path: str) -> dict[str, Any]:
    answer = await world.client.get(f"/api/v2/{path}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def place(world: WebWorld, kind: str) -> dict[str, Any]:
    """The keys that a record of a kind needs beside its name."""
    return {"mapped_path": str(world.home / "files" / "shared")} if kind == "folders" else {}


def question(page: Shown) -> dict[str, str]:
    """The field of the question before a record is deleted."""
    return {"_version": page.value("_version")}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_record_is_added_shown_changed_and_deleted(
    world: WebWorld, inside: Browser, kind: str
) -> None:
    new, _, noun = KINDS[kind]
    assert f"No {noun} yet" in (await inside.get(f"/{kind}")).text
    sent = {**fields_of(await inside.get(f"/{new}")), "name": "partners", "description": EVIL}
    if kind == "folders":
        sent["directory"] = str(world.home / "files" / "shared")
    done = await inside.post(f"/{new}", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/{kind}/partners"), done.text
    assert (await read(world, f"{kind}/partners"))["description"] == EVIL
    page = await inside.get(f"/{kind}/partners")
    assert "partners is added." in page.text and not page.all("img")
    nothing = await inside.post(f"/{kind}/partners", **fields_of(page))
    assert nothing.status == 303 and "Nothing was changed." in (await inside.get(f"/{kind}")).text
    twice = await inside.post(f"/{new}", **sent)
    assert (twice.status, twice.value("name")) == (409, "partners")
    sent = fields_of(await inside.get(f"/{kind}/partners"))
    assert (await inside.post(f"/{kind}/partners", **{**sent, "description": "other"})).status == 303
    assert (await read(world, f"{kind}/partners"))["description"] == "other"
    listed = await inside.get(f"/{kind}")
    assert [one.text for one in listed.all("a", class_="name")] == ["partners"]
    assert f"No {noun} matches" in (await inside.get(f"/{kind}?q=zzz")).text
    part = await inside.get(f"/{kind}?q=OTHER", {"HX-Request": "true"})
    assert "partners" in part.answer.text and "<html" not in part.answer.text
    asked = await inside.get(f"/{kind}/partners/delete")
    gone = await inside.post(f"/{kind}/partners/delete", **question(asked))
    assert gone.location == f"{BASE}/{kind}"
    assert (await inside.get(f"/{kind}/partners")).status == 404


@pytest.mark.parametrize("kind", KINDS)
async def test_two_admins_do_not_undo_each_other(world: WebWorld, inside: Browser, kind: str) -> None:
    await post(world, kind, name="partners", description="old", **place(world, kind))
    mine = fields_of(await inside.get(f"/{kind}/partners"))
    going = await inside.get(f"/{kind}/partners/delete")
    theirs = {"name": "partners", "description": "theirs", **place(world, kind)}
    assert (await world.client.put(f"/api/v2/{kind}/partners", json=theirs)).status_code == 200
    told = await inside.post(f"/{kind}/partners", **{**mine, "description": "mine"})
    assert (told.status, told.value("description")) == (409, "mine")
    assert "Somebody else has saved this" in told.text and "theirs" in told.text
    kept = await inside.post(f"/{kind}/partners/delete", **question(going))
    assert (kept.status, "Nothing is deleted." in kept.text) == (400, True)
    assert (await inside.post(f"/{kind}/partners", **fields_of(told))).status == 303
    assert (await read(world, f"{kind}/partners"))["description"] == "mine"


@pytest.mark.parametrize("kind", KINDS)
async def test_without_the_permission_nothing_is_seen(world: WebWorld, inside: Browser, kind: str) -> None:
    new, needs, _ = KINDS[kind]
    await post(world, kind, name="partners", **place(world, kind))
    await world.add_admin("stranger", "view_users")
    await world.add_admin("keeper", needs)
    async with browser(world).client as client:
        stranger = Browser(client)
        await stranger.sign_in("stranger")
        assert not (await stranger.get("/users")).all("a", href=f"{BASE}/{kind}")
        for path in (f"/{kind}", f"/{new}", f"/{kind}/partners", f"/{kind}/partners/delete"):
            assert (await stranger.get(path)).status == 403
            assert (await stranger.post(path, name="x")).status in (403, 405)
    async with browser(world).client as client:
        keeper = Browser(client)
        await keeper.sign_in("keeper")
        assert (await keeper.get(f"/{kind}")).status == 200
        forged = await keeper.post(f"/{kind}/partners/delete", _token="wrong")
        assert forged.status == 403
    assert (await read(world, f"{kind}/partners"))["name"] == "partners"


async def test_a_group_gives_what_its_form_says(world: WebWorld, inside: Browser) -> None:
    sent = fields_of(await inside.get("/new-group"))
    sent |= {
        "name": "partners", "expires_in": "30", "space": "2 GB", "sessions": "3", "denied_ip": "192.0.2.0/24",
        "p1000-path": "/in", "p1000-preset": "Drop box",
        "rest": '{"file_patterns": [{"path": "/in", "allowed_patterns": ["*.csv"]}]}',
    }  # fmt: skip
    done = await inside.post("/new-group", **sent)
    assert done.status == 303, done.text
    settings = (await read(world, "groups/partners"))["user_settings"]
    assert (settings["expires_in"], settings["quota_size"], settings["max_sessions"]) == (30, 2 * 10**9, 3)
    assert settings["permissions"] == {"/in": ["upload", "create_dirs"]}
    assert settings["filters"]["denied_ip"] == ["192.0.2.0/24"]
    assert settings["filters"]["file_patterns"][0]["path"] == "/in"
    page = await inside.get("/groups/partners")
    assert (page.value("space"), page.value("expires_in")) == ("2 GB", "30")
    assert (await inside.post("/groups/partners", **fields_of(page))).location == f"{BASE}/groups/partners"
    assert (await read(world, "groups/partners"))["user_settings"] == settings
    for field, value, text in (
        ("space", "a lot", "is no size"),
        ("denied_ip", "300.1.2.3", ""),
        ("expires_in", "99999", "days are more"),
        ("rest", '{"groups": [{"name": "x"}]}', "has no place for groups"),
        ("rest", "{", "is not JSON"),
    ):
        wrong = await inside.post("/groups/partners", **{**fields_of(page), field: value})
        assert wrong.status == 400, (field, wrong.status)
        assert text in wrong.first("p", id=f"e-{field}").text.replace("Is", "is", 1).replace("Has", "has", 1)


async def test_a_group_in_use_says_who_uses_it_and_stays(world: WebWorld, inside: Browser) -> None:
    await post(world, "groups", name="partners")
    for number in range(25):
        uses = [{"name": "partners", "type": 1}]
        await post(world, "users", **world.user(f"user-{number:02}", groups=uses))
    assert "25 users" in (await inside.get("/groups/partners")).text
    page = await inside.get("/groups/partners/delete")
    assert "user-00" in page.text and "and 5 more" in page.text
    refused = await inside.post("/groups/partners/delete", **question(page))
    assert refused.status == 400
    assert "user-" in refused.text and (await read(world, "groups/partners"))["name"] == "partners"


async def test_the_page_of_a_user_tells_what_comes_from_which_group(world: WebWorld, inside: Browser) -> None:
    await post(world, "groups", name=EVIL, user_settings={"quota_size": 5, "permissions": {"/out": ["list"]}})
    await post(world, "users", **world.user("mara", groups=[{"name": EVIL, "type": 1}]))
    page = await inside.get("/users/mara")
    given = {dt.text: dd.text for dt, dd in zip(page.all("dt"), page.all("dd"), strict=True)}
    assert given["quota_size"] == EVIL and any("/out" in field for field in given)
    assert not page.all("img")


async def test_an_administrator_of_a_role_sees_its_accounts_among_members(world: WebWorld) -> None:
    await post(world, "roles", name="emea")
    await post(world, "groups", name="partners")
    uses = [{"name": "partners", "type": 1}]
    await post(world, "users", **world.user("theirs", role="emea", groups=uses))
    await post(world, "users", **world.user("foreign", groups=uses))
    admin = await world.add_admin("rolf", "manage_groups", "manage_folders")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        page = await rolf.get("/groups/partners")
        assert "theirs" in page.text and "foreign" not in page.text
        refused = await rolf.post("/groups/partners", **{**fields_of(page), "description": "mine"})
        assert refused.status == 403
        assert "Nothing was saved." in refused.text


async def test_the_storage_of_a_folder_is_in_its_form_and_secrets_stay(
    world: WebWorld, inside: Browser
) -> None:
    sent = {
        **fields_of(await inside.get("/new-folder")), "name": "bucket", "storage": "1", "s3_bucket": "b",
        "s3_region": "eu-central-1", "s3_access_key": "AK", "s3_access_secret": "very secret",
    }  # fmt: skip
    done = await inside.post("/new-folder", **sent)
    assert done.status == 303, done.text
    page = await inside.get("/folders/bucket")
    assert "very secret" not in page.answer.text and page.value("s3_bucket") == "b"
    done = await inside.post("/folders/bucket", **{**fields_of(page), "s3_key_prefix": "in/"})
    assert done.status == 303, done.text
    stored = await world.app.provider.folder("bucket")
    assert stored is not None
    options = stored.filesystem.options["s3config"]
    assert isinstance(options, dict)
    assert (options["key_prefix"], "secret" in str(options["access_secret"])) == ("in/", True)
    page = await inside.get("/folders/bucket")
    wrong = await inside.post("/folders/bucket", **{**fields_of(page), "s3_bucket": ""})
    assert (wrong.status, wrong.value("s3_region")) == (400, "eu-central-1")
    assert "bucket" in wrong.first("p", class_="err").text


async def test_the_storage_of_a_folder_is_tried_out_as_it_stands_in_the_form(
    world: WebWorld, inside: Browser
) -> None:
    page = await inside.get("/new-folder")
    assert any(one.attributes.get("formaction") == f"{BASE}/try-folder" for one in page.all("button"))
    sent = {**fields_of(page), "name": "far", "directory": str(world.home / "files" / "far")}
    local = (await inside.post("/try-folder", **sent)).answer.json()
    assert local["ok"] and "nothing to connect to" in local["text"], local
    closed = {
        **sent, "storage": "5", "sftp_endpoint": "127.0.0.1:1", "sftp_username": "u", "sftp_password": "p",
    }  # fmt: skip
    answer = (await inside.post("/try-folder", **closed)).answer.json()
    assert answer["ok"] is False and answer["text"]
    await world.add_admin("limited", "manage_folders")
    await world.add_admin("viewer", "view_users")
    for name, said in (("limited", False), ("viewer", None)):
        async with browser(world).client as client:
            other = Browser(client)
            await other.sign_in(name)
            found = await other.post("/try-folder", **{**closed, "_token": other.token})
            assert found.answer.json()["ok"] is said if said is not None else found.status == 403


async def test_the_storage_of_a_folder_of_others_is_not_tried_out_by_a_role(world: WebWorld) -> None:
    await post(world, "roles", name="east")
    far = {
        "name": "far", "mapped_path": str(world.home / "files" / "far"),
        "filesystem": {"provider": 5, "sftpconfig": {
            "endpoint": "127.0.0.1:1", "username": "u", "password": {"status": "Plain", "payload": "p"}}},
    }  # fmt: skip
    await post(world, "folders", **far)
    await post(
        world, "users", **world.user("theirs", virtual_folders=[{"name": "far", "virtual_path": "/far"}])
    )
    admin = await world.add_admin("nora", "manage_folders")
    await world.app.provider.update_admin(replace(admin, role="east"))
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora")
        sent = {"name": "far", "storage": "5", "sftp_endpoint": "127.0.0.1:1", "sftp_username": "u"}
        refused = await nora.post("/try-folder", **sent)
        assert "not of your role" in refused.answer.text, refused.text
        free = await nora.post("/try-folder", **{**sent, "name": "other", "sftp_password": "p"})
        assert "not of your role" not in free.answer.text, free.text


async def test_a_list_is_read_fifty_at_a_time(world: WebWorld, inside: Browser) -> None:
    for number in range(60):
        await post(world, "roles", name=f"role-{number:02}")
    page = await inside.get("/roles")
    assert len(page.all("a", class_="name")) == 50
    following = await inside.get(page.first("a", rel="next").attributes["href"])
    assert following.first("a", class_="name").text == "role-50"
    assert len((await inside.get("/roles?q=role-5")).all("a", class_="name")) == 10
