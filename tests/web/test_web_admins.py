# SPDX-License-Identifier: Apache-2.0
"""Administrators, their own affairs, and API keys as records."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from tests.support.web_world import ADMIN, PASSWORD, WebWorld

from tidegate.identity.passwords import verify

ADMINS, OWN, KEYS = "/api/v2/admins", "/api/v2/admin", "/api/v2/apikeys"
NEW = {"username": "ann", "password": "ann's own password", "permissions": ["view_users", "view_conns"]}


async def test_an_administrators_life(world: WebWorld):
    answer = await world.client.post(ADMINS, json={**NEW, "last_login": 7})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{ADMINS}/ann"
    assert (answer.json()["permissions"], answer.json()["last_login"]) == (NEW["permissions"], 0)
    assert "password" not in answer.json()
    stored = await world.app.provider.admin("ann")
    assert stored is not None
    assert verify(NEW["password"], stored.password)
    assert [one["username"] for one in (await world.client.get(ADMINS)).json()] == ["ann", ADMIN]
    read = (await world.client.get(f"{ADMINS}/ann")).json()
    answer = await world.client.put(f"{ADMINS}/ann", json={**read, "email": "ann@example.org"})
    assert answer.json() == {"message": "Admin updated", "error": ""}
    again = await world.app.provider.admin("ann")
    assert again is not None
    assert (again.password, again.email, again.created_at) == (
        stored.password, "ann@example.org", stored.created_at,
    )  # fmt: skip
    assert (await world.client.delete(f"{ADMINS}/ann")).json() == {"message": "Admin deleted", "error": ""}
    for answer in (
        await world.client.get(f"{ADMINS}/ann"),
        await world.client.put(f"{ADMINS}/ann", json=read),
        await world.client.delete(f"{ADMINS}/ann"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"password": 3}, "password"),
        ({"permissions": []}, "permissions"),
        ({"permissions": ["everything"]}, "permissions"),
        ({"status": 5}, "status"),
        ({"filters": {"allow_list": ["nowhere"]}}, "filters.allow_list"),
        ({"role": 7, "colour": 1}, "colour"),
    ],
)
async def test_a_mistake_is_named_and_changes_nothing(world: WebWorld, change: dict[str, Any], where: str):
    answer = await world.client.post(ADMINS, json={**NEW, **change})
    assert answer.status_code == 400, answer.text
    assert where in answer.json()["error"]
    assert len(await world.app.provider.admins()) == 1


async def test_nobody_harms_themselves(world: WebWorld):
    before = await world.app.provider.admin(ADMIN)
    own = {"username": ADMIN, "permissions": ["*"]}
    for wrong in ({"status": 0}, {"permissions": ["view_users"]}):
        answer = await world.client.put(f"{ADMINS}/{ADMIN}", json={**own, **wrong})
        assert answer.status_code == 400
        assert "yourself" in answer.json()["error"]
    answer = await world.client.delete(f"{ADMINS}/{ADMIN}")
    assert (answer.status_code, answer.json()["error"]) == (400, "you cannot delete yourself")
    after = await world.app.provider.admin(ADMIN)
    assert after == before
    # what harms nobody is allowed, and logs out
    assert (await world.client.put(f"{ADMINS}/{ADMIN}", json={**own, "email": "b@c"})).status_code == 200
    assert (await world.client.get(ADMINS)).status_code == 401


async def test_the_last_owner_stays(world: WebWorld, tmp_path):
    """By a way in that is no administrator: the user file."""
    from tests.support.web_world import web_world

    (tmp_path / "users").write_text(f"root:{(await world.app.provider.admin(ADMIN)).password}\n")
    async with web_world(tmp_path, httpd={"auth_user_file": "users"}) as other:
        await other.add_admin("weak", "view_users")
        off = await other.add_admin("off", "*")
        await other.app.provider.update_admin(replace(off, status=0))
        async with other.anonymous(auth=("root", PASSWORD)) as client:
            for answer in (
                await client.delete(f"{ADMINS}/{ADMIN}"),
                await client.put(f"{ADMINS}/{ADMIN}", json={"permissions": ["view_users"]}),
                await client.put(f"{ADMINS}/{ADMIN}", json={"permissions": ["*"], "status": 0}),
            ):
                assert answer.status_code == 400
                assert "last enabled administrator" in answer.json()["error"]
            await other.add_admin("second", "*")
            assert (await client.delete(f"{ADMINS}/{ADMIN}")).status_code == 200


async def test_changing_ones_password(world: WebWorld):
    await world.add_admin("ann", "view_users")
    before = await world.app.provider.admin("ann")
    async with world.acting_as("ann") as ann:
        for change, where in (
            ({"current_password": "wrong", "new_password": "n" * 9}, "current_password"),
            ({"current_password": PASSWORD, "new_password": PASSWORD}, "new_password"),
            ({"current_password": PASSWORD, "new_password": ""}, "new_password"),
            ({"current_password": PASSWORD}, "new_password"),
            ({"current_password": PASSWORD, "new_password": "n", "more": 1}, "more"),
            ({"current_password": PASSWORD, "new_password": "a\0b"}, "new_password"),
        ):
            answer = await ann.put(f"{OWN}/changepwd", json=change)
            assert answer.status_code == 400, answer.text
            assert where in answer.json()["error"]
            assert PASSWORD not in answer.text
        after = await world.app.provider.admin("ann")
        assert after is not None
        assert after.password == before.password
        change = {"current_password": PASSWORD, "new_password": "something new"}
        answer = await ann.put(f"{OWN}/changepwd", json=change)
        assert answer.json() == {"message": "Password updated", "error": ""}
        assert (await ann.get(f"{OWN}/profile")).status_code == 401
    await world.token("ann", "something new")


async def test_guessing_the_current_password_is_throttled(world: WebWorld):
    codes = [
        (
            await world.client.put(
                f"{OWN}/changepwd", json={"current_password": f"g{n}", "new_password": "n"}
            )
        ).status_code
        for n in range(12)
    ]
    assert codes == [400] * 10 + [429] * 2


async def test_a_profile_is_ones_own(world: WebWorld):
    await world.add_admin("ann", "view_users")
    async with world.acting_as("ann") as ann:
        assert (await ann.get(f"{OWN}/profile")).json() == {
            "email": "", "description": "", "allow_api_key_auth": False,
        }  # fmt: skip
        profile = {"email": "ann@example.org", "description": "Ann", "allow_api_key_auth": True}
        assert (await ann.put(f"{OWN}/profile", json=profile)).status_code == 200
        assert (await ann.get(f"{OWN}/profile")).json() == profile
        for bad in ({"permissions": ["*"]}, {"email": 1}, {"email": "a\0b"}, {"description": "x" * 70_000}):
            answer = await ann.put(f"{OWN}/profile", json=bad)
            assert answer.status_code == 400
            assert next(iter(bad)) in answer.json()["error"]
        assert (await ann.get(f"{OWN}/profile")).json() == profile
    stored = await world.app.provider.admin("ann")
    assert stored is not None
    assert stored.permissions == ("view_users",)


async def test_an_api_keys_life(world: WebWorld):
    await world.add_admin("ann", "view_users")
    answer = await world.client.post(
        KEYS, json={"name": "nightly", "scope": 1, "admin": "ann", "id": "mine", "key": "x"}
    )
    assert answer.status_code == 201, answer.text
    key_id, text = answer.headers["x-object-id"], answer.json()["key"]
    assert text.startswith(f"{key_id}.")
    assert key_id != "mine"
    read = (await world.client.get(f"{KEYS}/{key_id}")).json()
    assert "key" not in read
    assert (read["name"], read["admin"], read["scope"]) == ("nightly", "ann", 1)
    assert (await world.client.get(KEYS)).json() == [read]
    stored = await world.app.provider.api_key(key_id)
    assert stored is not None
    assert text.partition(".")[2] not in stored.key
    answer = await world.client.put(f"{KEYS}/{key_id}", json={**read, "name": "daily"})
    assert answer.json() == {"message": "API key updated", "error": ""}
    again = await world.app.provider.api_key(key_id)
    assert again is not None
    assert (again.name, again.key, again.created_at) == ("daily", stored.key, stored.created_at)
    answer = await world.client.put(f"{KEYS}/{key_id}", json={**read, "key": "{SHA256}" + "0" * 64})
    assert (await world.app.provider.api_key(key_id)).key == stored.key
    assert (await world.client.delete(f"{KEYS}/{key_id}")).json() == {
        "message": "API key deleted",
        "error": "",
    }
    for answer in (
        await world.client.get(f"{KEYS}/{key_id}"),
        await world.client.put(f"{KEYS}/{key_id}", json=read),
        await world.client.delete(f"{KEYS}/{key_id}"),
    ):
        assert answer.status_code == 404


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"scope": 1}, "name"),
        ({"name": "", "scope": 1}, "name"),
        ({"name": "k", "scope": 3}, "scope"),
        ({"name": "k", "scope": 2, "admin": ADMIN}, "admin"),
        ({"name": "k", "scope": 1, "user": "u"}, "user"),
        ({"name": "k", "scope": 1, "admin": "nobody"}, "admin"),
        ({"name": "k", "scope": 2, "user": "nobody"}, "user"),
        ({"name": "k", "scope": 1, "expires_at": 1000}, "expires_at"),
        ({"name": "k", "scope": 1, "expires_at": -5}, "expires_at"),
        ({"name": "k", "scope": 1, "shape": "round"}, "shape"),
    ],
)
async def test_bad_api_keys_are_not_made(world: WebWorld, document: dict[str, Any], where: str):
    answer = await world.client.post(KEYS, json=document)
    assert answer.status_code == 400, answer.text
    assert where in answer.json()["error"]
    assert await world.app.provider.api_keys() == []


async def test_a_key_that_expired_can_still_be_renamed(world: WebWorld):
    answer = await world.client.post(KEYS, json={"name": "k", "scope": 1})
    key_id = answer.headers["x-object-id"]
    stored = await world.app.provider.api_key(key_id)
    assert stored is not None
    await world.app.provider.update_api_key(replace(stored, expires_at=1000))
    read = (await world.client.get(f"{KEYS}/{key_id}")).json()
    assert (await world.client.put(f"{KEYS}/{key_id}", json={**read, "name": "old"})).status_code == 200
    later = int(time.time() * 1000) + 60_000
    assert (await world.client.put(f"{KEYS}/{key_id}", json={**read, "expires_at": 2000})).status_code == 400
    assert (await world.client.put(f"{KEYS}/{key_id}", json={**read, "expires_at": later})).status_code == 200
