# SPDX-License-Identifier: Apache-2.0
"""Groups and roles over REST: who may do what with them, and what an administrator of a role sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.people import peer
from tests.support.web_world import WebWorld, web_world

from tidegate.abc import Credential
from tidegate.errors import LoginRefused
from tidegate.model import Admin, Principal

API = "/api/v2"
SECRET = "correct horse battery staple"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path, data_provider={"users_base_dir": str(tmp_path / "files")}) as made:
        yield made


async def put(world: WebWorld, path: str, document: dict[str, Any]) -> None:
    answer = await world.client.put(f"{API}/{path}", json=document)
    assert answer.status_code == 200, answer.text


async def post(client: httpx2.AsyncClient, path: str, document: dict[str, Any], code: int = 201) -> Any:
    answer = await client.post(f"{API}/{path}", json=document)
    assert answer.status_code == code, answer.text
    return answer.json()


async def log_in(world: WebWorld, name: str) -> Principal:
    found = await world.app.identity.authenticate(peer(), name, Credential("password", SECRET))
    assert isinstance(found, Principal)
    return found


async def acting(world: WebWorld, name: str, *permissions: str, role: str = "") -> dict[str, str]:
    """The header of an administrator's token."""
    admin = await world.add_admin(name, *permissions)
    if role:
        admin = await world.app.provider.update_admin(replace(admin, role=role))
    assert isinstance(admin, Admin)
    return {"Authorization": f"Bearer {world.issue(admin)}"}


async def test_the_next_login_sees_what_the_group_gives(world: WebWorld):
    settings = {
        "home_dir": f"{world.home}/files/of/%username%",
        "permissions": {"/": ["list", "download"]},
        "filters": {"denied_protocols": ["FTP"]},
    }
    await post(world.client, "groups", {"name": "partners", "user_settings": settings})
    document = {"username": "ana", "password": SECRET, "groups": [{"name": "partners", "type": 1}]}
    made = await post(world.client, "users", document)
    assert made["groups"] == document["groups"]
    assert made["home_dir"] == ""
    account = (await log_in(world, "ana")).account
    assert account.home_dir == f"{world.home}/files/of/ana"
    assert account.permissions == {"/": ("list", "download")}
    assert account.filters.denied_protocols == ("FTP",)
    settings["filters"] = {"denied_protocols": ["SSH"]}
    await put(world, "groups/partners", {"name": "partners", "user_settings": settings})
    with pytest.raises(LoginRefused) as refused:
        await log_in(world, "ana")
    assert refused.value.reason == "protocol"
    shown = (await world.client.get(f"{API}/groups/partners")).json()
    assert shown["users"] == ["ana"]
    told = (await world.client.get(f"{API}/explain?user=ana&op=upload&path=/x")).json()
    assert told["inherited"]["filters.denied_protocols"] == ["partners"]
    assert told["inherited"]["home_dir"] == ["partners"]
    await post(world.client, "roles", {"name": "emea"})
    stored = await world.app.provider.user("ana")
    assert stored is not None and stored.home_dir == "" and stored.permissions == {}


async def test_who_may_not_give_a_directory_gives_it_by_no_group(world: WebWorld):
    far = {"home_dir": "/srv/elsewhere/%username%", "permissions": {"/": ["*"]}}
    headers = await acting(world, "helper", "manage_groups", "add_users", "edit_users")
    async with world.anonymous(headers=headers) as helper:
        answer = await helper.post(f"{API}/groups", json={"name": "far", "user_settings": far})
        assert (answer.status_code, "users_base_dir" in answer.text) == (403, True)
        await post(world.client, "groups", {"name": "far", "user_settings": far})
        await post(helper, "users", {"username": "ana", "groups": [{"name": "far"}]}, 403)
        await post(helper, "users", {"username": "ana", "permissions": {"/": ["*"]}})
        ana = {"username": "ana", "permissions": {"/": ["*"]}, "groups": [{"name": "far"}]}
        assert (await helper.put(f"{API}/users/ana", json=ana)).status_code == 403
        await put(world, "users/ana", ana)
        taken = await helper.put(f"{API}/users/ana", json={**ana, "password": SECRET})
        assert taken.status_code == 403, "the directory would be theirs"
    for home in (str(world.home), "/"):
        answer = await world.client.post(
            f"{API}/groups", json={"name": "own", "user_settings": {"home_dir": home}}
        )
        assert answer.status_code == 400


async def test_a_placeholder_never_leads_into_the_configuration(world: WebWorld):
    settings = {"home_dir": f"{world.home.parent}/%username%", "permissions": {"/": ["*"]}}
    await post(world.client, "groups", {"name": "near", "user_settings": settings})
    name = world.home.name
    refused = await world.client.post(
        f"{API}/users", json={"username": name, "groups": [{"name": "near"}], "password": SECRET}
    )
    assert refused.status_code == 400
    assert "configuration directory" in refused.json()["error"]


async def test_an_administrator_of_a_role_knows_no_other_account(world: WebWorld):
    await post(world.client, "roles", {"name": "emea"})
    await post(world.client, "users", world.user("old", password=SECRET))
    every = ("add_users", "edit_users", "del_users", "view_users", "view_conns", "close_conns")
    more = ("quota_scans", "disable_mfa", "manage_groups", "manage_folders")
    headers = await acting(world, "rolf", *every, *more, role="emea")
    async with world.anonymous(headers=headers) as rolf:
        assert (await rolf.get(f"{API}/users")).json() == []
        for method, path in (
            ("GET", "users/old"),
            ("PUT", "users/old"),
            ("DELETE", "users/old"),
            ("PUT", "users/old/2fa/disable"),
            ("POST", "users/old/storage-check"),
            ("GET", "quotas/users/old/scan"),
            ("POST", "quotas/users/old/scan"),
            ("PUT", "quotas/users/old/usage"),
            ("GET", "storage-moves/users/old"),
            ("GET", "explain?user=old&op=list"),
            ("GET", "users/nobody"),
        ):
            more_of = {"json": world.user("old")} if method == "PUT" else {}
            answer = await rolf.request(method, f"{API}/{path}", **more_of)
            assert answer.status_code == 404, (path, answer.text)
        mine = await post(rolf, "users", world.user("new", role="other"))
        assert mine["role"] == "emea"
        changed = await rolf.put(f"{API}/users/new", json=world.user("new", role="", description="d"))
        assert changed.status_code == 200
        assert [one["username"] for one in (await rolf.get(f"{API}/users")).json()] == ["new"]
        assert (await rolf.get(f"{API}/users/new")).json()["role"] == "emea"
        assert (await rolf.get(f"{API}/roles")).status_code == 403
        # Groups and folders that others use are not theirs to change.
        await post(rolf, "groups", {"name": "g", "user_settings": {"max_sessions": 1}})
        group = {"name": "g", "user_settings": {"max_sessions": 2}}
        await put(world, "users/new", world.user("new", role="emea", groups=[{"name": "g", "type": 2}]))
        assert (await rolf.put(f"{API}/groups/g", json=group)).status_code == 200
        await put(world, "users/old", world.user("old", groups=[{"name": "g", "type": 2}]))
        assert (await rolf.put(f"{API}/groups/g", json=group)).status_code == 403
        folder = {"name": "f", "mapped_path": str(world.home / "files" / "f")}
        await post(rolf, "folders", folder)
        mount = {"name": "f", "virtual_path": "/f"}
        await put(world, "users/old", world.user("old", virtual_folders=[mount]))
        for path in ("groups", "groups/g", "folders", "folders/f"):
            shown = await rolf.get(f"{API}/{path}")
            assert (shown.status_code, '"old"' in shown.text) == (200, False), path
        for method, path in (
            ("PUT", "folders/f"),
            ("DELETE", "folders/f"),
            ("POST", "quotas/folders/f/scan"),
        ):
            answer = await rolf.request(method, f"{API}/{path}", json=folder)
            assert answer.status_code == 403, path
        assert (await rolf.delete(f"{API}/users/new")).status_code == 200


@pytest.mark.parametrize("spelling", ["cafe\u0301", "caf\u00e9", "CAF\u00c9"])
async def test_no_other_spelling_of_a_folder_is_beyond_a_role(tmp_path: Path, spelling: str) -> None:
    """Names are compared as they are stored: composed, and in lower case where the rules say so."""
    async with web_world(tmp_path, data_provider={"naming_rules": 3}) as world:
        await post(world.client, "roles", {"name": "emea"})
        folder = {"name": "caf\u00e9", "mapped_path": str(world.home / "files" / "f")}
        await post(world.client, "folders", folder)
        mount = {"name": "caf\u00e9", "virtual_path": "/f"}
        await post(world.client, "users", world.user("old", virtual_folders=[mount]))
        headers = await acting(world, "rolf", "quota_scans", "manage_folders", "edit_users", role="emea")
        used = {"used_quota_size": 7, "used_quota_files": 7}
        async with world.anonymous(headers=headers) as rolf:
            for method, path, document in (
                ("PUT", f"quotas/folders/{spelling}/usage", used),
                ("POST", f"quotas/folders/{spelling}/scan", {}),
                ("POST", f"folders/{spelling}/storage-check", {}),
                ("POST", f"storage-moves/folders/{spelling}", {"mapped_path": f"{folder['mapped_path']}2"}),
                ("DELETE", f"folders/{spelling}", {}),
            ):
                answer = await rolf.request(method, f"{API}/{path}", json=document)
                assert answer.status_code == 403, (path, answer.text)
        found = await world.app.provider.folder("caf\u00e9")
        assert found is not None and found.used_quota_files == 0


@pytest.mark.parametrize("permission", ["*", "manage_roles", "view_events", "manage_event_rules"])
async def test_no_permission_reaches_beyond_a_role(world: WebWorld, permission: str):
    await post(world.client, "roles", {"name": "emea"})
    document = {"username": "rb", "password": SECRET, "permissions": [permission], "role": "emea"}
    answer = await world.client.post(f"{API}/admins", json=document)
    assert answer.status_code == 400
    assert "role" in answer.json()["error"]


async def test_secrets_of_a_group_are_never_shown_and_stay(world: WebWorld):
    storage = {"provider": 1, "s3config": {"bucket": "b", "access_key": "k", "access_secret": "hidden-one"}}
    settings = {"home_dir": f"{world.home}/files/%username%", "filesystem": storage}
    made = await post(world.client, "groups", {"name": "s3", "user_settings": settings})
    assert "hidden-one" not in str(made)
    await put(world, "groups/s3", {k: v for k, v in made.items() if k not in ("id", "users")})
    group = await world.app.provider.group("s3")
    assert group is not None
    assert group.user_settings.filesystem.options["s3config"]["access_secret"] == "hidden-one"  # type: ignore[index]


async def test_a_home_that_a_group_gives_is_not_moved(world: WebWorld):
    settings = {"home_dir": f"{world.home}/files/%username%", "permissions": {"/": ["*"]}}
    await post(world.client, "groups", {"name": "g", "user_settings": settings})
    await post(world.client, "users", {"username": "ana", "groups": [{"name": "g"}]})
    wish = {"home_dir": f"{world.home}/files/elsewhere"}
    answer = await world.client.post(f"{API}/storage-moves/users/ana", json=wish)
    assert (answer.status_code, "comes from the group 'g'" in answer.text) == (400, True)


async def test_a_group_may_ask_for_stronger_passwords(world: WebWorld):
    settings = {"home_dir": f"{world.home}/files/%username%", "permissions": {"/": ["*"]}}
    settings["filters"] = {"password_strength": 60}  # type: ignore[assignment]
    await post(world.client, "groups", {"name": "g", "user_settings": settings})
    document = {"username": "ana", "password": "secret", "groups": [{"name": "g"}]}
    await post(world.client, "users", document, 400)
    await post(world.client, "users", {**document, "password": SECRET})


async def test_a_mount_moves_no_folder_of_others(world: WebWorld):
    """Storing an account or group moves the folders that it describes anew."""
    await post(world.client, "roles", {"name": "emea"})
    there = str(world.home / "files" / "f")
    await post(world.client, "folders", {"name": "f", "mapped_path": there})
    kept, moving = ({"name": "f", "virtual_path": "/f", "mapped_path": path} for path in (there, f"{there}2"))
    await post(world.client, "users", world.user("old", virtual_folders=[kept]))
    editing = ("add_users", "edit_users", "manage_groups")
    for name, role, more, rule in (
        ("rolf", "emea", ("manage_folders",), "not of your role"),
        ("rita", "emea", (), "manage_folders"),
        ("eddy", "", (), "manage_folders"),
    ):
        async with world.anonymous(headers=await acting(world, name, *editing, *more, role=role)) as helper:
            own = f"of-{name}"
            await post(helper, "users", world.user(own, virtual_folders=[kept]))
            for method, path, document in (
                ("POST", "users", world.user(f"new-{name}", virtual_folders=[moving])),
                ("PUT", f"users/{own}", world.user(own, virtual_folders=[moving])),
                ("POST", "groups", {"name": name, "virtual_folders": [moving]}),
            ):
                answer = await helper.request(method, f"{API}/{path}", json=document)
                assert (answer.status_code, rule in answer.text) == (403, True), (name, path, answer.text)
    headers = await acting(world, "mona", *editing, "manage_folders")
    async with world.anonymous(headers=headers) as mona:
        assert (await world.client.get(f"{API}/folders/f")).json()["mapped_path"] == there
        await post(mona, "users", world.user("of-mona", virtual_folders=[moving]))
    assert (await world.client.get(f"{API}/folders/f")).json()["mapped_path"] == f"{there}2"
