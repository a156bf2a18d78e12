# SPDX-License-Identifier: Apache-2.0
"""Limits of what administrators without all permissions make the server run, or ask, by event actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.web_world import CHEAP_HASHING, WebWorld, web_world

ACTIONS = "/api/v2/eventactions"
DRIVER = {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING}
ALLOWED = "hooks.allowed.test"


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    sections = {
        "common": {"event_manager": {"enabled_commands": ["/bin/true"]}},
        "storage": {"allowed_endpoints": [ALLOWED]},
    }
    async with web_world(tmp_path, data_provider=DRIVER, **sections) as made:
        await made.add_admin("limited", "manage_event_rules")
        yield made


def command(**config: Any) -> dict[str, Any]:
    config = {"cmd": "/bin/true", "timeout": 5, **config}
    return {"name": "c", "type": 2, "options": {"cmd_config": config}}


def http(endpoint: str, **config: Any) -> dict[str, Any]:
    config = {"endpoint": endpoint, "timeout": 5, **config}
    return {"name": "h", "type": 1, "options": {"http_config": config}}


def chat(url: object) -> dict[str, Any]:
    return {"name": "m", "type": 101, "options": {"chat_config": {"url_secret": url, "text": "t"}}}


async def test_variables_of_programs_are_for_full_administrators(world: WebWorld) -> None:
    # With LD_PRELOAD and the like any uploaded file is run in the place of the program that is enabled.
    preload = command(env_vars=[{"key": "LD_PRELOAD", "value": "/srv/files/uploaded.so"}])
    async with world.acting_as("limited") as limited:
        refused = await limited.post(ACTIONS, json=preload)
        assert refused.status_code == 403, refused.text
        assert "cmd_config.env_vars" in refused.text
        assert (await limited.post(ACTIONS, json=command(args=["{{Name}}"]))).status_code == 201
        assert (await limited.put(f"{ACTIONS}/c", json=preload)).status_code == 403
    assert (await world.client.put(f"{ACTIONS}/c", json=preload)).status_code == 200
    async with world.acting_as("limited") as limited:  # what a full one has set may stay
        kept = {**preload, "description": "d"}
        assert (await limited.put(f"{ACTIONS}/c", json=kept)).status_code == 200
        other = command(env_vars=[{"key": "LD_PRELOAD", "value": "/srv/files/other.so"}])
        assert (await limited.put(f"{ACTIONS}/c", json=other)).status_code == 403


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://127.1:8080/api/v2/version",
        "http://[::ffff:10.0.0.1]/",
        "http://no-such-host.invalid/",
        "http://{{ObjectName}}/",
        "http://{{.Name}}.example.com/",
    ],
)
async def test_no_limited_administrator_has_the_server_ask_its_own_network(
    world: WebWorld, endpoint: str
) -> None:
    async with world.acting_as("limited") as limited:
        for action in (http(endpoint), chat(endpoint), chat({"status": "Plain", "payload": endpoint})):
            refused = await limited.post(ACTIONS, json=action)
            assert refused.status_code == 403, (action, refused.text)
            assert "storage.allowed_endpoints" in refused.text
        assert (await limited.post(ACTIONS, json=http(f"http://{ALLOWED}/x"))).status_code == 201
        assert (await limited.put(f"{ACTIONS}/h", json=http(endpoint))).status_code == 403
    assert (await world.client.put(f"{ACTIONS}/h", json=http(endpoint))).status_code == 200
    async with world.acting_as("limited") as limited:
        assert (await limited.put(f"{ACTIONS}/h", json=http(endpoint, method="GET"))).status_code == 200


async def test_kept_secrets_are_sent_no_other_way(world: WebWorld) -> None:
    kept = {"username": "u", "password": "secret of the receiver", "signing_secret": "s" * 20}
    endpoint = f"https://{ALLOWED}/hook"
    assert (await world.client.post(ACTIONS, json=http(endpoint, **kept))).status_code == 201
    redacted = {"username": "u", "password": {"status": "Redacted"}}
    async with world.acting_as("limited") as limited:
        for change in (
            http(f"http://{ALLOWED}/hook", **redacted),
            http(endpoint, skip_tls_verify=True, **redacted),
            http(f"https://{ALLOWED}:444/hook", **redacted),
        ):
            refused = await limited.put(f"{ACTIONS}/h", json=change)
            assert refused.status_code == 400, (change, refused.text)
            assert "http_config.password" in refused.text
        elsewhere = http(f"https://{ALLOWED}/other/path", **redacted)
        assert (await limited.put(f"{ACTIONS}/h", json=elsewhere)).status_code == 200
    stored = (await world.client.get(f"{ACTIONS}/h?confidential_data=1")).json()["options"]["http_config"]
    assert stored["password"]
