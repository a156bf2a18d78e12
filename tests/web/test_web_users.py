# SPDX-License-Identifier: Apache-2.0
"""Accounts and folders over REST: every field, every mistake, and what an update keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.accounts import BCRYPT, full_account
from tests.support.doors import port_of
from tests.support.web_world import ADMIN, WebWorld, web_world

from tidegate.identity.passwords import verify
from tidegate.model import Tally
from tidegate.store.documents import encode_account

JSON = {"Content-Type": "application/json"}
USERS, FOLDERS = "/api/v2/users", "/api/v2/folders"


async def made(world: WebWorld, name: str = "u", **more: Any) -> dict[str, Any]:
    answer = await world.client.post(USERS, json=world.user(name, **more))
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def test_every_field_goes_in_and_comes_out(world: WebWorld):
    account = full_account()
    document = encode_account(account, confidential=True)
    answer = await world.client.post(USERS, json=document)
    assert answer.status_code == 201, answer.text
    stored = await world.app.provider.user("zoë")
    assert stored is not None
    same = {"used_quota_size", "used_quota_files", "last_quota_update", "used_upload_data_transfer",
            "used_download_data_transfer", "last_login", "login_count", "first_download", "first_upload", "tally", "id",
            "created_at", "updated_at", "last_password_change"}  # fmt: skip
    shown = encode_account(stored, confidential=True)
    assert {k: v for k, v in shown.items() if k not in same} == {
        k: v for k, v in document.items() if k not in same
    }
    # what only the server knows about a user is not taken from a document
    assert (stored.used_quota_size, stored.last_login, stored.login_count, stored.tally) == (0, 0, 0, Tally())
    assert stored.password == BCRYPT  # a hash stays what it is
    read = await world.client.get(answer.headers["location"])
    assert read.json() == answer.json()
    assert "password" not in read.json()
    assert read.json()["has_password"] is True


async def test_a_plain_password_is_hashed_and_kept_by_updates(world: WebWorld):
    document = await made(world, password="the first password")
    stored = await world.app.provider.user("u")
    assert stored is not None
    assert verify("the first password", stored.password)
    assert stored.last_password_change > 0
    for password in ({}, {"password": ""}, {"password": None}):
        answer = await world.client.put(
            f"{USERS}/u", json={**document, **password, "email": "new@example.org"}
        )
        assert answer.json() == {"message": "User updated", "error": ""}
        again = await world.app.provider.user("u")
        assert again is not None
        assert (again.password, again.last_password_change) == (stored.password, stored.last_password_change)
        assert again.created_at == stored.created_at
    await world.client.put(f"{USERS}/u", json={**document, "password": "the second password"})
    again = await world.app.provider.user("u")
    assert again is not None
    assert verify("the second password", again.password)
    assert again.last_password_change >= stored.last_password_change


async def test_updates_keep_counters_permissions_and_hidden_secrets(world: WebWorld):
    s3 = {"provider": 1, "s3config": {"bucket": "b", "region": "r", "access_key": "k",
                                     "access_secret": {"status": "Plain", "payload": "the secret"}}}  # fmt: skip
    document = await made(world, filesystem=s3, permissions={"/": ["list"], "/in": ["upload"]})
    assert "the secret" not in json.dumps(document)
    await world.app.provider.set_usage("u", size=5, files=6)
    del document["permissions"]
    document["used_quota_size"] = 99
    assert (await world.client.put(f"{USERS}/u", json=document)).status_code == 200
    stored = await world.app.provider.user("u")
    assert stored is not None
    assert (stored.used_quota_size, stored.used_quota_files) == (5, 6)
    assert stored.permissions == {"/": ("list",), "/in": ("upload",)}
    assert stored.filesystem.options["s3config"]["access_secret"]["payload"] == "the secret"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"username": ""}, "username"),
    ({"username": "a/b"}, "username"),
    ({"username": ".."}, "username"),
    ({"username": "a\x00b"}, "username"),
    ({"username": 7}, "username"),
    ({"home_dir": "relative"}, "home_dir"),
    ({"home_dir": ""}, "home_dir"),
    ({"home_dir": "/a/../b"}, "home_dir"),
    ({"permissions": {}}, "permissions"),
    ({"permissions": {"/x": ["*"]}}, "permissions"),
    ({"permissions": {"/": ["fly"]}}, "permissions"),
    ({"permissions": ["*"] * 0}, "permissions"),
    ({"status": 2}, "status"),
    ({"status": "1"}, "status"),
    ({"status": True}, "status"),
    ({"uid": -1}, "uid"),
    ({"uid": 2**32}, "uid"),
    ({"quota_size": -1}, "quota_size"),
    ({"quota_size": 2**63}, "quota_size"),
    ({"quota_size": 1.5}, "quota_size"),
    ({"max_sessions": "3"}, "max_sessions"),
    ({"public_keys": ["nonsense"]}, "public_keys[0]"),
    ({"public_keys": "nonsense"}, "public_keys"),
    ({"quota_sise": 1}, "quota_size"),
    ({"filters": {"allowed_ip": ["10.0.0.300"]}}, "filters.allowed_ip"),
    ({"filters": {"denied_protocols": ["SMB"]}}, "filters.denied_protocols"),
    ({"filters": {"denied_login_methods": ["charm"]}}, "filters.denied_login_methods"),
    ({"filters": {"file_patterns": [{"path": "x"}]}}, "filters.file_patterns[0]"),
    ({"filters": []}, "filters"),
    ({"virtual_folders": [{"name": "f", "virtual_path": "rel"}]}, "virtual_folders[0]"),
    ({"filesystem": {"provider": 77}}, "filesystem"),
    ({"password": 12}, "password"),
    ({"password": "p" * 5000}, "password"),
    ({"password": "a\x00b"}, "password"),
    ({"description": "x" * 70000}, "description"),
]


@pytest.mark.parametrize(("change", "where"), BAD, ids=[json.dumps(change)[:30] for change, _ in BAD])
async def test_a_mistake_is_named_and_changes_nothing(world: WebWorld, change: dict[str, Any], where: str):
    await made(world)
    before = await world.app.provider.user("u")
    added = await world.client.post(USERS, json=world.user("other", **change))
    assert added.status_code == 400, added.text
    assert added.json()["message"] == "Bad request"
    assert where in added.json()["error"]
    assert await world.app.provider.count_users() == 1
    changed = await world.client.put(f"{USERS}/u", json={**world.user("u"), **change})
    if change in ({"permissions": {}}, {"permissions": []}, {"username": ""}, {"home_dir": ""}):
        return  # an update keeps what it was then
    assert changed.status_code == 400, changed.text
    assert await world.app.provider.user("u") == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"text"', b"[" * 100_000, b'{"a":NaN}', b"\xff", b'{"username":"\\ud800"}'],
)
async def test_what_is_not_a_document_is_refused(world: WebWorld, body: bytes):
    for answer in (
        await world.client.post(USERS, content=body, headers=JSON),
        await world.client.post(FOLDERS, content=body, headers=JSON),
        await world.client.post("/api/v2/admins", content=body, headers=JSON),
        await world.client.post("/api/v2/apikeys", content=body, headers=JSON),
        await world.client.post("/api/v2/explain", content=body, headers=JSON),
    ):
        assert answer.status_code == 400, answer.text
    assert await world.app.provider.count_users() == 0


async def test_documents_have_a_length(world: WebWorld):
    answer = await world.client.post(USERS, json=world.user("u", description="x" * 1_100_000))
    assert answer.status_code == 413


async def test_names_that_exist_or_do_not(world: WebWorld):
    await made(world)
    again = await world.client.post(USERS, json=world.user("u"))
    assert (again.status_code, again.json()["message"]) == (409, "Conflict")
    for name in ("nobody", "a%00b", "x" * 300, "%ff"):
        for answer in (
            await world.client.get(f"{USERS}/{name}"),
            await world.client.put(f"{USERS}/{name}", json=world.user("u")),
            await world.client.delete(f"{USERS}/{name}"),
        ):
            assert answer.status_code in (400, 404), (name, answer.text)
    moved = await world.client.put(f"{USERS}/u", json=world.user("v"))
    assert moved.status_code == 400
    assert "cannot be changed" in moved.json()["error"]
    gone = await world.client.delete(f"{USERS}/u")
    assert gone.json() == {"message": "User deleted", "error": ""}
    assert (await world.client.delete(f"{USERS}/u")).status_code == 404


async def test_names_fold_as_configured(tmp_path: Path):
    async with web_world(tmp_path, data_provider={"naming_rules": 7}) as world:
        await made(world, "Anna")
        assert (await world.client.get(f"{USERS}/ANNA")).json()["username"] == "anna"
        assert (await world.client.put(f"{USERS}/aNNa", json=world.user("ANNA"))).status_code == 200


async def test_pages(world: WebWorld):
    for number in range(5):
        await made(world, f"u{number}")

    async def names(**query: Any) -> list[str]:
        answer = await world.client.get(USERS, params=query)
        assert answer.status_code == 200, answer.text
        return [user["username"] for user in answer.json()]

    assert await names() == ["u0", "u1", "u2", "u3", "u4"]
    assert await names(limit=2) == ["u0", "u1"]
    assert await names(limit=2, offset=3) == ["u3", "u4"]
    assert await names(order="DESC", limit=1) == ["u4"]
    assert await names(offset=2_000_000_000) == []
    for query in ({"limit": 501}, {"limit": 0}, {"limit": "x"}, {"offset": -1}, {"offset": 2**63},
                  {"order": "UP"}, {"order": "asc"}):  # fmt: skip
        answer = await world.client.get(USERS, params=query)
        assert answer.status_code == 400, query
        assert next(iter(query)) in answer.json()["error"]


async def test_secrets_are_shown_to_owners_who_ask_and_to_nobody_else(tmp_path: Path):
    async with web_world(tmp_path, data_provider={"users_base_dir": "/srv"}) as world:
        await _shown_to_owners(world)


async def _shown_to_owners(world: WebWorld) -> None:
    await made(world, password=BCRYPT)
    await world.add_admin("half", "view_users", "add_users")
    shown = await world.client.get(f"{USERS}/u", params={"confidential_data": 1})
    assert shown.json()["password"] == BCRYPT
    async with world.acting_as("half") as half:
        assert "password" not in (await half.get(f"{USERS}/u", params={"confidential_data": 1})).json()
        document = world.user("v", password=BCRYPT, home_dir="/srv/v")
        new = await half.post(USERS, params={"confidential_data": 1}, json=document)
        assert new.status_code == 201, new.text
        assert "password" not in new.json()


async def test_passwords_must_be_as_strong_as_configured(tmp_path: Path):
    rules = {"password_validation": {"users": {"min_entropy": 50}, "admins": {"min_entropy": 60}}}
    async with web_world(tmp_path, data_provider=rules) as world:
        weak = await world.client.post(USERS, json=world.user("u", password="summer1"))
        assert weak.status_code == 400
        assert "too weak" in weak.json()["error"]
        assert "summer1" not in weak.text
        strict = world.user("u", password="Plover-cart-83-lime", filters={"password_strength": 200})
        assert (await world.client.post(USERS, json=strict)).status_code == 400
        assert await world.app.provider.count_users() == 0
        await made(world, password="Plover-cart-83-lime")
        admin = {"username": "a", "permissions": ["*"], "password": "summer1"}
        assert (await world.client.post("/api/v2/admins", json=admin)).status_code == 400


async def test_deleting_and_disconnecting_close_the_connections(tmp_path: Path):
    async with web_world(tmp_path, ssh=True) as world:
        await made(world, password="a password of u")

        def connect() -> Any:
            return asyncssh.connect(
                "127.0.0.1", port_of(world.app), username="u", password="a password of u",
                known_hosts=None, client_keys=None, config=None,
            )  # fmt: skip

        for closing in ("update", "disconnect", "delete"):
            async with connect() as connection, connection.start_sftp_client() as sftp:
                match closing:
                    case "update":
                        await world.client.put(f"{USERS}/u", json=world.user("u"))
                        assert await sftp.exists("/")
                        continue
                    case "disconnect":
                        await world.client.put(f"{USERS}/u", params={"disconnect": 1}, json=world.user("u"))
                    case "delete":
                        await world.client.delete(f"{USERS}/u")
                await connection.wait_closed()
                with pytest.raises((asyncssh.SFTPError, ConnectionError)):
                    await sftp.stat("/")
        with pytest.raises(asyncssh.PermissionDenied):
            await connect()


async def test_accounts_that_are_only_read_are_not_written(tmp_path: Path):
    database = {"driver": "sqlite", "name": "t.db"}
    async with web_world(tmp_path, data_provider=database) as world:
        await made(world)
    database |= {"manage_users": 0, "track_quota": 0}
    async with (
        web_world(tmp_path, first=False, data_provider=database) as world,
        world.acting_as(ADMIN) as client,
    ):
        for answer in (
            await client.post(USERS, json=world.user("v")),
            await client.put(f"{USERS}/u", json=world.user("u")),
            await client.delete(f"{USERS}/u"),
        ):
            assert answer.status_code == 403, answer.text
        assert (await client.get(f"{USERS}/u")).status_code == 200


# --- folders ----------------------------------------------------------------------------------------------


async def test_folders(world: WebWorld):
    folder = {"name": "shared", "mapped_path": str(world.home / "files" / "shared"), "description": "for all"}
    answer = await world.client.post(FOLDERS, json={**folder, "used_quota_size": 9})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{FOLDERS}/shared"
    assert answer.json()["used_quota_size"] == 0
    assert (await world.client.post(FOLDERS, json=folder)).status_code == 409
    await made(world, virtual_folders=[{"name": "shared", "virtual_path": "/s"}])
    read = (await world.client.get(f"{FOLDERS}/shared")).json()
    assert read["users"] == ["u"]
    assert (await world.client.get(FOLDERS)).json() == [read]
    changed = await world.client.put(f"{FOLDERS}/shared", json={**read, "description": "for some"})
    assert changed.json() == {"message": "Folder updated", "error": ""}
    stored = await world.app.provider.folder("shared")
    assert stored is not None
    assert (stored.description, stored.mapped_path) == ("for some", folder["mapped_path"])
    for bad in ({"mapped_path": "rel"}, {"mapped_path": ""}, {"name": "other"}, {"colour": "red"}):
        refused = await world.client.put(f"{FOLDERS}/shared", json={**folder, **bad})
        assert refused.status_code == 400, bad
        assert next(iter(bad)) in refused.json()["error"]
    assert await world.app.provider.folder("shared") == stored
    gone = await world.client.delete(f"{FOLDERS}/shared")
    assert gone.json() == {"message": "Folder deleted", "error": ""}
    user = await world.app.provider.user("u")
    assert user is not None
    assert user.virtual_folders == ()
    for answer in (
        await world.client.get(f"{FOLDERS}/shared"),
        await world.client.put(f"{FOLDERS}/shared", json=folder),
        await world.client.delete(f"{FOLDERS}/shared"),
    ):
        assert answer.status_code == 404


async def test_a_replaced_account_keeps_its_tally(world: WebWorld):
    await made(world)
    stored = await world.app.provider.user("u")
    assert stored is not None
    await world.app.provider.update_user(
        replace(stored, tally=Tally(bytes_in=7), last_login=5), keep_usage=False
    )
    assert (await world.client.put(f"{USERS}/u", json=world.user("u"))).status_code == 200
    stored = await world.app.provider.user("u")
    assert stored is not None
    assert (stored.tally.bytes_in, stored.last_login) == (7, 5)
