# SPDX-License-Identifier: Apache-2.0
"""Getting in: tokens, API keys, the user file, throttling; and being shut out again."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import jwt
import pytest
from tests.support.doors import services_of
from tests.support.people import CHEAP
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.identity.passwords import hash_password
from tidegate.identity.throttle import LoginThrottle, ThrottleLimits
from tidegate.web.api.security import MAX_REVOKED

API = "/api/v2"


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def refused(world: WebWorld, code: int = 401, **request: object) -> httpx2.Response:
    async with world.anonymous() as client:
        answer = await client.get(f"{API}/version", **request)
    assert answer.status_code == code, answer.text
    assert code == 200 or set(answer.json()) == {"message", "error"}
    return answer


async def test_a_token_lives_as_long_as_configured(tmp_path: Path):
    async with web_world(tmp_path, httpd={"jwt_lifetime": 7}) as world, world.anonymous() as client:
        answer = await client.get(f"{API}/token", auth=(ADMIN, PASSWORD))
    assert set(answer.json()) == {"access_token", "expires_at"}
    until = datetime.fromisoformat(answer.json()["expires_at"]) - datetime.now(UTC)
    assert 6 * 60 < until.total_seconds() <= 7 * 60
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "auth",
    [
        (ADMIN, "wrong"), (ADMIN, ""), ("nobody", PASSWORD), ("", ""), ("a\0b", PASSWORD), ("x" * 3000, PASSWORD),
        (ADMIN, "y" * 5000),
    ],
)  # fmt: skip
async def test_bad_passwords_all_look_the_same(world: WebWorld, auth: tuple[str, str]):
    async with world.anonymous() as client:
        answer = await client.get(f"{API}/token", auth=auth)
    assert answer.status_code == 401
    assert answer.json() == {"message": "Authentication required", "error": "authentication failed"}
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header",
    ["", "Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(), "Basic /w==", "Digest x=y",
     "Bearer", "Bearer x", "Bearer a.b.c", "Bearer " + "x" * 9000],
)  # fmt: skip
async def test_headers_that_say_nothing_are_refused(world: WebWorld, header: str):
    headers = {"Authorization": header} if header else {}
    await refused(world, headers=headers)
    async with world.anonymous(headers=headers) as client:
        assert (await client.get(f"{API}/token")).status_code == 401


async def test_disabled_and_unwelcome_administrators_learn_nothing(world: WebWorld):
    await world.add_admin("elsewhere", "*", allow_list=("192.0.2.0/24",))
    await world.app.provider.update_admin(replace(await world.add_admin("off", "*"), status=0))
    async with world.anonymous() as client:
        for name in ("elsewhere", "off"):
            answer = await client.get(f"{API}/token", auth=(name, PASSWORD))
            assert (answer.status_code, answer.json()["error"]) == (401, "authentication failed")


async def test_logging_out_voids_that_token_only(world: WebWorld):
    first, second = await world.token(), await world.token()
    async with world.anonymous() as client:
        answer = await client.get(f"{API}/logout", headers=bearer(first))
        assert answer.json() == {"message": "Token revoked", "error": ""}
        assert (await client.get(f"{API}/version", headers=bearer(first))).status_code == 401
        assert (await client.get(f"{API}/logout", headers=bearer(first))).status_code == 401
        assert (await client.get(f"{API}/version", headers=bearer(second))).status_code == 200


@pytest.mark.parametrize(
    "change", ["update", "password", "status", "permissions", "outside", "delete", "again"]
)
async def test_changing_an_administrator_voids_their_tokens(world: WebWorld, change: str):
    await world.add_admin("other", "view_users")
    provider = world.app.provider
    stored = await provider.admin("other")
    assert stored is not None
    async with world.acting_as("other") as other:
        assert (await other.get(f"{API}/users")).status_code == 200
        document = {"username": "other", "permissions": ["view_users"]}
        match change:
            case "update":  # nothing changes, and still: who updates an administrator means it
                assert (await world.client.put(f"{API}/admins/other", json=document)).status_code == 200
            case "password":
                document["password"] = "another long password"
                assert (await world.client.put(f"{API}/admins/other", json=document)).status_code == 200
            case "status":
                document["status"] = 0
                assert (await world.client.put(f"{API}/admins/other", json=document)).status_code == 200
            case "permissions":
                document["permissions"] = ["*"]
                assert (await world.client.put(f"{API}/admins/other", json=document)).status_code == 200
            case "outside":  # by the command line, in another process
                await provider.update_admin(replace(stored, password=hash_password("elsewhere", CHEAP)))
            case "delete":
                assert (await world.client.delete(f"{API}/admins/other")).status_code == 200
            case "again":
                await provider.delete_admin("other")
                await provider.add_admin(replace(stored, created_at=0))
        if change == "again" and (await provider.admin("other")).created_at == stored.created_at:
            pytest.skip("made again within one millisecond")
        assert (await other.get(f"{API}/users")).status_code == 401


async def test_a_login_that_upgrades_the_hash_gives_a_good_token(world: WebWorld):
    admin = await world.add_admin("old", "view_users")
    old = hash_password(PASSWORD, replace(CHEAP, algorithm="bcrypt", bcrypt_cost=4))
    await world.app.provider.update_admin(replace(admin, password=old))
    async with world.acting_as("old") as client:
        assert (await client.get(f"{API}/users")).status_code == 200
    assert (await world.app.provider.admin("old")).password.startswith("$argon2id$")


async def test_forged_and_foreign_tokens_are_refused(world: WebWorld):
    good = await world.token()
    claims = jwt.decode(good, options={"verify_signature": False})
    head, body, signature = good.split(".")
    forged = [
        jwt.encode(claims, "k" * 32, "HS256"),
        jwt.encode(claims, None, "none"),
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        ".".join((base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("="), body, "")),
    ]
    for token in forged:
        await refused(world, headers=bearer(token))
    services = services_of(world.app)
    key = services.tokens._key
    for wrong in ({"aud": "user"}, {"exp": int(time.time()) - 1}, {"sub": "nobody"}, {"ip": "192.0.2.1"},
                  {"mark": "0" * 32}, {"at": "x"}, {"jti": None}):  # fmt: skip
        await refused(world, headers=bearer(jwt.encode({**claims, **wrong}, key, "HS256")))
    for missing in ("exp", "jti", "sub", "aud", "iat", "mark", "at", "ip"):
        less = {name: value for name, value in claims.items() if name != missing}
        await refused(world, headers=bearer(jwt.encode(less, key, "HS256")))


async def test_a_token_is_good_only_where_it_was_given_to(tmp_path: Path):
    behind = {"port": 0, "proxy_allowed": ["127.0.0.1"], "client_ip_proxy_header": "X-Forwarded-For"}
    for validation, code in ((0, 401), (1, 200)):
        binding = {**behind, "port": free_port()}
        async with web_world(
            tmp_path, httpd={"bindings": [binding], "token_validation": validation}
        ) as world, world.anonymous() as client:  # fmt: skip
            here, there = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "198.51.100.2"}
            answer = await client.get(f"{API}/token", auth=(ADMIN, PASSWORD), headers=here)
            token = bearer(answer.json()["access_token"])
            assert (await client.get(f"{API}/version", headers={**token, **here})).status_code == 200
            assert (await client.get(f"{API}/version", headers={**token, **there})).status_code == code


async def test_tokens_and_their_end_outlive_a_restart_with_a_passphrase(tmp_path: Path):
    (tmp_path / "phrase").write_text("a passphrase for signing\n")
    provider = {"driver": "sqlite", "name": "t.db"}
    httpd = {"signing_passphrase_file": "phrase"}
    async with web_world(tmp_path, data_provider=provider, httpd=httpd) as world:
        kept, ended = await world.token(), await world.token()
        async with world.anonymous() as client:
            assert (await client.get(f"{API}/logout", headers=bearer(ended))).status_code == 200
    async with web_world(tmp_path, first=False, data_provider=provider, httpd=httpd) as world:
        await refused(world, headers=bearer(ended))
        await refused(world, 200, headers=bearer(kept))
    async with web_world(tmp_path, first=False, data_provider=provider) as world:  # a random key
        await refused(world, headers=bearer(kept))


async def test_too_many_revocations_void_everything_rather_than_forget(world: WebWorld):
    tokens = services_of(world.app).tokens
    token = await world.token()
    now = int(time.time() * 1000)
    tokens._void = {f"id{number}": (now, now + 10**7) for number in range(MAX_REVOKED)}
    await tokens.revoke_all("somebody else")
    assert len(tokens._void) <= MAX_REVOKED
    await refused(world, headers=bearer(token))
    async with world.anonymous(headers=bearer(await world.token())) as client:
        assert (await client.get(f"{API}/version")).status_code == 200


async def test_guessing_is_throttled(world: WebWorld):
    async with world.anonymous() as client:
        codes = [(await client.get(f"{API}/token", auth=(ADMIN, f"guess{n}"))).status_code for n in range(12)]
        assert codes == [401] * 10 + [429] * 2
        answer = await client.get(f"{API}/token", auth=(ADMIN, PASSWORD))
        assert answer.status_code == 429  # the right password tells nothing now
        assert 1 <= int(answer.headers["retry-after"]) <= 300
        # who is in stays in
        assert (await world.client.get(f"{API}/version")).status_code == 200


async def test_guessing_api_keys_is_throttled(world: WebWorld):
    async with world.anonymous() as client:
        codes = [
            (await client.get(f"{API}/version", headers={"X-SFTPGO-API-KEY": f"id{n}.secret"})).status_code
            for n in range(12)
        ]
    assert codes == [401] * 10 + [429] * 2


async def new_key(world: WebWorld, **document: object) -> tuple[str, str]:
    answer = await world.client.post(f"{API}/apikeys", json={"name": "k", "scope": 1, **document})
    assert answer.status_code == 201, answer.text
    return answer.headers["x-object-id"], answer.json()["key"]


async def test_api_keys_act_for_their_administrator(world: WebWorld):
    await world.add_admin("worker", "view_users", allow_api_key_auth=True)
    await world.add_admin("closed", "*")
    key_id, bound = await new_key(world, admin="worker")
    _, free = await new_key(world)
    for text in (bound, f"{free}.worker"):
        async with world.anonymous(headers={"X-SFTPGO-API-KEY": text}) as client:
            assert (await client.get(f"{API}/users")).status_code == 200
            assert (await client.get(f"{API}/connections")).status_code == 403
            assert (await client.get(f"{API}/logout")).status_code == 403
            assert (await client.get(f"{API}/admin/profile")).status_code == 403
    for text in (free, f"{free}.closed", f"{free}.nobody", f"{bound}.worker", bound[:-1], key_id):
        await refused(world, headers={"X-SFTPGO-API-KEY": text})
    assert (await world.client.delete(f"{API}/apikeys/{key_id}")).status_code == 200
    await refused(world, headers={"X-SFTPGO-API-KEY": bound})


async def test_api_keys_expire_and_never_manage_keys(world: WebWorld):
    await world.add_admin("worker", "*", allow_api_key_auth=True)
    key_id, text = await new_key(world, admin="worker", expires_at=int(time.time() * 1000) + 60_000)
    async with world.anonymous(headers={"X-SFTPGO-API-KEY": text}) as client:
        assert (await client.get(f"{API}/apikeys")).status_code == 403
        assert (await client.post(f"{API}/apikeys", json={"name": "more", "scope": 1})).status_code == 403
        assert (await client.delete(f"{API}/apikeys/{key_id}")).status_code == 403
        own = {"username": "worker", "permissions": ["*"]}
        assert (await client.put(f"{API}/admins/worker", json=own)).status_code == 400
        stored = await world.app.provider.api_key(key_id)
        await world.app.provider.update_api_key(replace(stored, expires_at=1))
        assert (await client.get(f"{API}/users")).status_code == 401


async def test_keys_of_users_open_nothing_here(world: WebWorld):
    user = world.user("u", filters={"allow_api_key_auth": True})
    assert (await world.client.post(f"{API}/users", json=user)).status_code == 201
    _, text = await new_key(world, scope=2, user="u")
    assert (await refused(world, 403, headers={"X-SFTPGO-API-KEY": text})).json()["error"]


async def test_the_user_file_is_enough_without_a_token(tmp_path: Path):
    users = tmp_path / "users"
    apr1 = "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/"  # of myPassword, from Apache's documentation
    users.write_text(
        f"# who may\ntrue:{hash_password('b', replace(CHEAP, algorithm='bcrypt', bcrypt_cost=4))}\nold:{apr1}\n"
    )
    async with web_world(tmp_path, httpd={"auth_user_file": "users"}) as world, world.anonymous() as client:
        for auth in (("true", "b"), ("old", "myPassword")):
            assert (await client.get(f"{API}/admins", auth=auth)).status_code == 200
        for auth in (("true", "c"), ("old", ""), ("nobody", "b"), (ADMIN, PASSWORD)):
            assert (await client.get(f"{API}/admins", auth=auth)).status_code == 401
        strange = {"Sec-Fetch-Site": "cross-site"}
        assert (await client.get(f"{API}/admins", auth=("true", "b"), headers=strange)).status_code == 403
        # of administrators' own affairs the file's users have none
        assert (await client.get(f"{API}/admin/profile", auth=("true", "b"))).status_code == 403
        users.write_text(f"old:{apr1}\n")
        await world.app.reload(world.app.loaded)
        assert (await client.get(f"{API}/admins", auth=("true", "b"))).status_code == 401
        users.write_text("broken line\n")
        await world.app.reload(world.app.loaded)  # says so in the log and keeps who was there
        assert (await client.get(f"{API}/admins", auth=("old", "myPassword"))).status_code == 200


async def test_without_a_user_file_basic_opens_nothing_but_the_token(world: WebWorld):
    await refused(world, auth=(ADMIN, PASSWORD))


async def test_passwords_that_must_change_open_nothing_else(world: WebWorld):
    await world.add_admin("new", "*", require_password_change=True)
    async with world.acting_as("new") as client:
        assert (await client.get(f"{API}/users")).status_code == 403
        assert (await client.get(f"{API}/admin/profile")).status_code == 403
        change = {"current_password": PASSWORD, "new_password": "something else altogether"}
        assert (await client.put(f"{API}/admin/changepwd", json=change)).status_code == 200
        assert (await client.get(f"{API}/users")).status_code == 401
    async with world.acting_as("new", "something else altogether") as client:
        assert (await client.get(f"{API}/users")).status_code == 200


async def test_lifetime_and_key_follow_a_reload(tmp_path: Path):
    from tidegate.config.load import Loaded
    from tidegate.config.schema import Settings

    async with web_world(tmp_path) as world:
        token = await world.token()
        document = json.loads(world.app.loaded.settings.model_dump_json())
        document["httpd"]["jwt_lifetime"] = 1
        fresh = Settings.model_validate_json(json.dumps(document))
        await world.app.reload(Loaded(fresh, config_dir=tmp_path))
        async with world.anonymous() as client:
            assert (await client.get(f"{API}/version", headers=bearer(token))).status_code == 200
            answer = await client.get(f"{API}/token", auth=(ADMIN, PASSWORD))
        left = datetime.fromisoformat(answer.json()["expires_at"]) - datetime.now(UTC)
        assert left.total_seconds() <= 60


def test_a_throttle_forgives_in_time():
    throttle = LoginThrottle(ThrottleLimits(per_address=2, recovery_seconds=10))
    assert [throttle.admit("a", "192.0.2.1", 0.0) > 0 for _ in range(3)] == [False, False, True]
    assert throttle.admit("a", "192.0.2.1", 5.0) == 0
