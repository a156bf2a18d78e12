# SPDX-License-Identifier: Apache-2.0
"""One-time codes over REST: set up by users and administrators, asked for, required, switched off."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.one_time import Authenticator
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.web.api.application import BASE

WORD = "a password of a user"
MASTER = {"secrets": {"master_key": "fedcba9876543210" * 4}}


@contextlib.asynccontextmanager
async def as_user(world: WebWorld, name: str, code: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    """A client with a token of a user."""
    async with world.anonymous() as client:
        headers = {"X-SFTPGO-OTP": code} if code else {}
        answer = await client.get(f"{BASE}/user/token", auth=(name, WORD), headers=headers)
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


async def add_user(world: WebWorld, name: str, **more: Any) -> None:
    answer = await world.client.post(f"{BASE}/users", json=world.user(name, password=WORD, **more))
    assert answer.status_code == 201, answer.text


async def token_code(world: WebWorld, path: str, auth: tuple[str, str], code: str = "") -> int:
    """The status of asking for a token."""
    async with world.anonymous() as client:
        headers = {"X-SFTPGO-OTP": code} if code else {}
        return (await client.get(f"{BASE}{path}", auth=auth, headers=headers)).status_code


async def set_up(client: httpx2.AsyncClient, who: str, **more: Any) -> Authenticator:
    """Set codes up as SFTPGo's clients do: configs, generate, validate, save."""
    (kind,) = (await client.get(f"{BASE}/{who}/totp/configs")).json()
    assert kind == {"name": "Default", "issuer": "Tidegate", "algo": "sha1"}
    made = (await client.post(f"{BASE}/{who}/totp/generate", json={"config_name": "Default"})).json()
    assert set(made) == {"config_name", "issuer", "secret", "url"}
    device = Authenticator(made["secret"])
    proof = {"config_name": "Default", "secret": made["secret"]}
    wrong = await client.post(f"{BASE}/{who}/totp/validate", json={**proof, "passcode": "000000"})
    assert (wrong.status_code, wrong.json()["error"]) == (400, "passcode: is not one of this secret now")
    good = await client.post(
        f"{BASE}/{who}/totp/validate", json={**proof, "passcode": device.at(time.time())}
    )
    assert good.status_code == 200, good.text
    settings = {"enabled": True, "config_name": "Default", **more}
    settings["secret"] = {"status": "Plain", "payload": made["secret"]}
    saved = await client.post(f"{BASE}/{who}/totp/save", json=settings)
    assert (saved.status_code, saved.json()["message"]) == (200, "TOTP configuration saved")
    return device


async def test_a_user_sets_codes_up_and_is_asked_for_them(tmp_path: Path) -> None:
    async with web_world(tmp_path, kms=MASTER) as world:
        await add_user(world, "ana")
        async with as_user(world, "ana") as client:
            device = await set_up(client, "user", protocols=["SSH", "HTTP"])
            codes = (await client.post(f"{BASE}/user/2fa/recoverycodes")).json()
            assert len(set(codes)) == 12
            shown = (await client.get(f"{BASE}/user/2fa/recoverycodes")).json()
            assert shown == [{"code": "", "used": False}] * 12
        held: Any = (await world.app.provider.user("ana")).filters.extra
        assert held["totp_config"]["secret"]["status"] == "AES-256-GCM-Envelope"
        assert not [one for one in codes if one in str(held)]
        me, path = ("ana", WORD), "/user/token"
        assert await token_code(world, path, me) == 401
        assert await token_code(world, path, me, "000000") == 401
        assert await token_code(world, path, ("ana", "wrong"), device.at(time.time())) == 401
        code = device.code()
        assert await token_code(world, path, me, code) == 200
        assert await token_code(world, path, me, code) == 401
        assert await token_code(world, path, me, codes[3]) == 200
        assert await token_code(world, path, me, codes[3]) == 401
        async with as_user(world, "ana", codes[4]) as client:
            shown = (await client.get(f"{BASE}/user/2fa/recoverycodes")).json()
            assert [one["used"] for one in shown].count(True) == 2
            # A document that is read and written back changes nothing of it, nor does one that says so.
            document = (await world.client.get(f"{BASE}/users/ana")).json()
            assert "totp_config" not in document["filters"]
            document["filters"]["totp_config"] = {"enabled": False}
            answer = await world.client.put(f"{BASE}/users/ana", json=document)
            assert answer.status_code == 200, answer.text
            after: Any = (await world.app.provider.user("ana")).filters.extra
            assert after["totp_config"] == held["totp_config"]
            saved = await client.post(f"{BASE}/user/totp/save", json={"enabled": False})
            assert saved.status_code == 200
            assert (await client.get(f"{BASE}/user/logout")).status_code == 200
            assert (await client.get(f"{BASE}/user/totp/configs")).status_code == 401
        assert await token_code(world, path, me) == 200


async def test_codes_for_other_doors_are_not_changed_by_a_password_alone(world: WebWorld) -> None:
    """A password opens HTTP here; it must not take the codes off that SSH asks for, nor make new ones."""
    await add_user(world, "ana")
    async with as_user(world, "ana") as client:
        device = await set_up(client, "user", protocols=["SSH"])
        made = await client.post(f"{BASE}/user/2fa/recoverycodes")
        assert made.status_code == 200, made.text
    before: Any = (await world.app.provider.user("ana")).filters.extra
    mine = {"enabled": True, "config_name": "Default", "secret": "B" * 32, "protocols": ["SSH"]}
    async with as_user(world, "ana") as client:
        for path, body in (
            ("totp/save", {"enabled": False}),
            ("totp/save", mine),
            ("2fa/recoverycodes", None),
        ):
            answer = await client.post(f"{BASE}/user/{path}", json=body)
            assert answer.status_code == 403, answer.text
            assert "X-SFTPGO-OTP" in answer.json()["error"]
    assert (await world.app.provider.user("ana")).filters.extra == before
    assert await token_code(world, "/user/token", ("ana", WORD), "000000") == 401
    async with as_user(world, "ana", device.code()) as client:
        assert (await client.post(f"{BASE}/user/2fa/recoverycodes")).status_code == 200
        assert (await client.post(f"{BASE}/user/totp/save", json={"enabled": False})).status_code == 200


async def test_wrong_codes_are_throttled(world: WebWorld) -> None:
    await add_user(world, "ana")
    async with as_user(world, "ana") as client:
        device = await set_up(client, "user", protocols=["HTTP"])
    for _ in range(5):
        assert await token_code(world, "/user/token", ("ana", WORD), "111") == 401
    assert await token_code(world, "/user/token", ("ana", WORD), device.code()) == 429


async def test_mistakes_are_named(world: WebWorld) -> None:
    await add_user(world, "ana", filters={"two_factor_protocols": ["HTTP"]})
    good = {"enabled": True, "config_name": "Default", "secret": "A" * 32, "protocols": ["HTTP"]}
    async with as_user(world, "ana") as client:
        for change, error in (
            ({"enabled": False}, "protocols: one-time codes are required for HTTP"),
            ({"protocols": ["SSH"]}, "protocols: one-time codes are required for HTTP"),
            ({"protocols": ["HTTP", "DAV"]}, "protocols: 'DAV' is not one of SSH, FTP, HTTP"),
            ({"config_name": "Other"}, "config_name: 'Other' is no kind of one-time codes; see totp/configs"),
            ({"secret": "AAAA"}, "secret: has 2 bytes, expected 10 to 128"),
            (
                {"secret": {"status": "Secretbox", "payload": "x"}},
                "secret: should be in plain text (status Plain)",
            ),
            ({"secret": {"payload": 5}}, "secret: should be a text in base32"),
        ):
            answer = await client.post(f"{BASE}/user/totp/save", json={**good, **change})
            assert (answer.status_code, answer.json()["error"]) == (400, error)
        answer = await client.post(f"{BASE}/user/2fa/recoverycodes")
        assert (answer.status_code, answer.json()["error"]) == (400, "one-time codes are not set up")
        assert (await client.post(f"{BASE}/user/totp/save", json=good)).status_code == 200


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"status": 0}, 403),
        ({"filters": {"denied_protocols": ["HTTP"]}}, 403),
        ({"filters": {"denied_ip": ["127.0.0.0/8"]}}, 403),
        ({"password": "another password"}, 401),
    ],
)
async def test_a_token_is_good_for_as_long_as_its_user_may_come_in(
    world: WebWorld, change: dict[str, Any], status: int
) -> None:
    await add_user(world, "ana")
    async with as_user(world, "ana") as client:
        assert (await client.get(f"{BASE}/user/totp/configs")).status_code == 200
        document = {**(await world.client.get(f"{BASE}/users/ana")).json(), **change}
        assert (await world.client.put(f"{BASE}/users/ana", json=document)).status_code == 200
        answer = await client.get(f"{BASE}/user/totp/configs")
        # A disabled user is not what they were when the token was given.
        assert answer.status_code == (401 if "status" in change else status)


async def test_a_user_may_be_forbidden_to_change_it(world: WebWorld) -> None:
    await add_user(world, "ana", filters={"web_client": ["mfa-disabled"]})
    async with as_user(world, "ana") as client:
        for path in ("totp/generate", "totp/validate", "totp/save", "2fa/recoverycodes"):
            body = {} if path.startswith("2fa") else {"json": {"config_name": "Default"}}
            answer = await client.post(f"{BASE}/user/{path}", **body)
            assert answer.status_code in (400, 403), answer.text
        answer = await client.post(f"{BASE}/user/totp/save", json={"enabled": False})
        assert answer.status_code == 403


async def test_a_token_of_a_user_is_none_of_an_administrator(world: WebWorld) -> None:
    """Not even of one of the same name and password."""
    await add_user(world, "boss2")
    await world.client.post(
        f"{BASE}/admins", json={"username": "boss2", "password": WORD, "permissions": ["*"]}
    )
    async with as_user(world, "boss2") as client:
        assert (await client.get(f"{BASE}/users")).status_code == 401
    assert (await world.client.get(f"{BASE}/user/totp/configs")).status_code == 401


async def test_an_administrator_sets_codes_up_and_is_asked_for_them(world: WebWorld) -> None:
    device = await set_up(world.client, "admin")
    codes = (await world.client.post(f"{BASE}/admin/2fa/recoverycodes")).json()
    me, path = (ADMIN, PASSWORD), "/token"
    assert await token_code(world, path, me) == 401
    assert await token_code(world, path, me, "123") == 401
    code = device.code()
    assert await token_code(world, path, me, code) == 200
    assert await token_code(world, path, me, code) == 401
    assert await token_code(world, path, me, codes[0]) == 200
    assert await token_code(world, path, me, codes[0]) == 401
    assert (await world.client.get(f"{BASE}/admin/2fa/recoverycodes")).json()[0]["used"] is True
    # Confirming one's password needs no code: one is in.
    change = {"current_password": PASSWORD, "new_password": "another long and boring password"}
    answer = await world.client.put(f"{BASE}/admin/changepwd", json=change)
    assert answer.status_code == 200, answer.text


async def test_codes_that_are_required_of_an_administrator_come_first(world: WebWorld) -> None:
    await world.add_admin("newcomer", "*", require_two_factor=True)
    async with world.acting_as("newcomer") as client:
        answer = await client.get(f"{BASE}/users")
        assert (answer.status_code, answer.json()["error"]) == (
            403,
            "set up one-time codes first: POST /api/v2/admin/totp/save",
        )
        await set_up(client, "admin")
        assert (await client.get(f"{BASE}/users")).status_code == 200
        answer = await client.post(f"{BASE}/admin/totp/save", json={"enabled": False})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "enabled: one-time codes are required of you",
        )


async def test_others_switch_codes_off(world: WebWorld) -> None:
    await add_user(world, "ana")
    async with as_user(world, "ana") as client:
        await set_up(client, "user", protocols=["HTTP"])
        await client.post(f"{BASE}/user/2fa/recoverycodes")
    assert await token_code(world, "/user/token", ("ana", WORD)) == 401
    await world.add_admin("help desk", "disable_mfa")
    async with world.acting_as("help desk") as client:
        answer = await client.put(f"{BASE}/users/ana/2fa/disable")
        assert (answer.status_code, answer.json()["message"]) == (200, "2FA disabled")
        assert (await client.put(f"{BASE}/admins/{ADMIN}/2fa/disable")).status_code == 403
        assert (await client.put(f"{BASE}/users/nobody/2fa/disable")).status_code == 404
    assert await token_code(world, "/user/token", ("ana", WORD)) == 200
    held = (await world.app.provider.user("ana")).filters.extra
    assert not set(held) & {"totp_config", "recovery_codes"}
    await world.add_admin("lost phone", "view_users")
    async with world.acting_as("lost phone") as client:
        await set_up(client, "admin")
    assert await token_code(world, "/token", ("lost phone", PASSWORD)) == 401
    assert (await world.client.put(f"{BASE}/admins/lost phone/2fa/disable")).status_code == 200
    assert await token_code(world, "/token", ("lost phone", PASSWORD)) == 200


async def test_the_status_names_the_kinds(tmp_path: Path) -> None:
    async with web_world(tmp_path, mfa={"totp": []}) as world:
        assert (await world.client.get(f"{BASE}/status")).json()["mfa"] == {
            "is_active": False,
            "totp_configs": [],
        }
        answer = await world.client.post(f"{BASE}/admin/totp/generate", json={"config_name": "Default"})
        assert answer.status_code == 400


async def test_the_status_describes_each_kind(world: WebWorld) -> None:
    assert (await world.client.get(f"{BASE}/status")).json()["mfa"]["totp_configs"] == [
        {"name": "Default", "issuer": "Tidegate", "algo": "sha1"}
    ]
