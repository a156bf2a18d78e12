# SPDX-License-Identifier: Apache-2.0
"""No password, hash, key or token leaves by an answer, a header or the log, whatever is asked."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tests.support.accounts import BCRYPT, full_account
from tests.support.doors import services_of
from tests.support.web_world import ADMIN, PASSWORD, web_world

from tidegate.logs import redact

API = "/api/v2"


async def test_secrets_stay_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with web_world(tmp_path) as world:
        client, provider = world.client, world.app.provider
        seen: list[str] = []

        async def ask(method: str, path: str, **more: object) -> None:
            answer = await client.request(method, f"{API}{path}", **more)
            seen.append(f"{answer.headers}{answer.text}")

        cloud = {
            "provider": 1,
            "s3config": {"bucket": "b", "access_secret": {"status": "Plain", "payload": "cloud-secret"}},
        }
        plain = world.user("plain", password="plain-user-password", filesystem=cloud)
        await provider.add_user(full_account("zoë"))
        boss = await provider.admin(ADMIN)
        assert boss is not None
        key = (await client.post(f"{API}/apikeys", json={"name": "k", "scope": 1, "admin": ADMIN})).json()[
            "key"
        ]
        (stored_key,) = await provider.api_keys()
        for method, path, body in (
            ("POST", "/users", plain),
            ("POST", "/users", plain),
            ("POST", "/users", {**plain, "home_dir": 1}),
            ("POST", "/users", {**plain, "username": "w", "password": ["in-a-list-password"]}),
            ("POST", "/users", {**plain, "username": "w", "pasword": "misspelt-password"}),
            ("PUT", "/users/plain", {**plain, "status": "x"}),
            ("PUT", "/users/plain", {**plain, "filesystem": {"provider": 9, "s3config": cloud["s3config"]}}),
            ("GET", "/users", None),
            ("GET", "/users/plain", None),
            ("GET", "/users/zoë", None),
            ("POST", "/admins", {"username": "x", "permissions": [], "password": "new-admin-password"}),
            ("POST", "/admins", {"username": "x", "permissions": ["*"], "password": "new-admin-password"}),
            ("PUT", "/admins/x", {"permissions": ["*"], "password": "changed-admin-password"}),
            ("GET", "/admins", None),
            ("GET", f"/admins/{ADMIN}", None),
            ("PUT", "/admin/changepwd", {"current_password": PASSWORD, "new_password": "a\0secret-with-nul"}),
            ("PUT", "/admin/changepwd", {"current_password": "wrong-guess", "new_password": "unused-secret"}),
            ("PUT", "/admin/changepwd", {"current_password": {"x": "nested-secret"}, "new_password": "y"}),
            ("GET", "/admin/profile", None),
            ("GET", "/apikeys", None),
            ("GET", f"/apikeys/{stored_key.id}", None),
            ("PUT", f"/apikeys/{stored_key.id}", {"name": "k", "scope": 1, "key": "given-key-secret"}),
            ("POST", "/apikeys", {"name": "k", "scope": 9, "key": "given-key-secret"}),
            ("POST", "/loaddata", {"users": [{**plain, "uid": -4}]}),
            ("POST", "/loaddata", {"users": [plain]}),
            ("POST", "/explain", {"user": "plain", "op": "upload", "path": "/x"}),
            ("GET", "/explain?user=plain&op=download&path=/&password=query-secret", None),
            ("GET", "/status", None),
            ("GET", "/connections", None),
            ("GET", "/users?token=query-secret", None),
        ):
            await ask(method, path, **({"json": body} if body is not None else {}))
        plain_stored = await provider.user("plain")
        assert plain_stored is not None
        other = await provider.admin("x")
        assert other is not None
        token = client.headers["authorization"].removeprefix("Bearer ")
        secrets = {
            "user hash": plain_stored.password, "bcrypt": BCRYPT, "admin hash": boss.password,
            "new admin hash": other.password, "key hash": stored_key.key, "key": key.partition(".")[2],
            "token": token, "signing key": services_of(world.app).tokens._key.hex(), "cloud": "cloud-secret",
            "admin password": PASSWORD,
            **{word: word for word in (
                "plain-user-password", "in-a-list-password", "misspelt-password", "new-admin-password",
                "changed-admin-password", "secret-with-nul", "wrong-guess", "unused-secret", "nested-secret",
                "given-key-secret", "query-secret",
            )},
        }  # fmt: skip
        # The log as it is written: `redact` is the last step of every line.
        logged = "\n".join(
            json.dumps(redact.fields({"message": record.getMessage(), **getattr(record, "fields", {})}))
            for record in caplog.records
        )
        assert len(seen) == 30
        assert logged
        for name, secret in secrets.items():
            assert secret, name
            assert not [text for text in seen if secret in text], name
            assert secret not in logged, name
