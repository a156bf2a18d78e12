# SPDX-License-Identifier: Apache-2.0
"""Event actions, event rules and deliveries over REST, from the record to the receiver."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.receiver import Receiver
from tests.support.web_world import CHEAP_HASHING, WebWorld, web_world

API = "/api/v2"
DRIVER = {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING}


def http_action(url: str, name: str = "call", **more: Any) -> dict[str, Any]:
    config = {
        "endpoint": url,
        "method": "POST",
        "timeout": 10,
        "headers": [{"key": "Content-Type", "value": "application/json"}],
        "body": '{"n":"{{.ObjectName}}","e":"{{.Event}}","t":"{{.ObjectType}}"}',
        **more,
    }
    return {"name": name, "type": 1, "options": {"http_config": config}}


def provider_rule(*actions: str, name: str = "told") -> dict[str, Any]:
    return {
        "name": name,
        "status": 1,
        "trigger": 2,
        "conditions": {"provider_events": ["add", "delete"], "options": {"provider_objects": ["folder"]}},
        "actions": [{"name": one, "order": index} for index, one in enumerate(actions)],
    }


async def wait(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_rule_works_from_the_moment_it_is_added(tmp_path: Path) -> None:
    with Receiver() as receiver:
        async with web_world(tmp_path, data_provider=DRIVER) as world:
            client = world.client
            made = await client.post(f"{API}/eventactions", json=http_action(f"{receiver.url}/e"))
            assert made.status_code == 201, made.text
            assert made.headers["location"] == f"{API}/eventactions/call"
            rule = await client.post(f"{API}/eventrules", json=provider_rule("call"))
            assert rule.status_code == 201, rule.text
            assert rule.json()["actions"][0]["options"]["http_config"]["endpoint"] == f"{receiver.url}/e"
            folder = {"name": "f1", "mapped_path": "/srv/f1"}
            assert (await client.post(f"{API}/folders", json=folder)).status_code == 201
            await wait(lambda: receiver.accepted)
            assert receiver.accepted[0].json == {"n": "f1", "e": "add", "t": "folder"}

            shown = (await client.get(f"{API}/activerules")).json()
            assert [one["name"] for one in shown] == ["told"]
            used = await client.delete(f"{API}/eventactions/call")
            assert used.status_code == 400
            assert "told" in used.text
            assert (await client.get(f"{API}/eventactions")).json()[0]["rules"] == ["told"]
            await client.delete(f"{API}/eventrules/told")
            await client.delete(f"{API}/eventactions/call")
            assert (await client.get(f"{API}/eventactions/call")).status_code == 404
            await client.delete(f"{API}/folders/f1")
            assert len(receiver.received) == 1


async def test_dead_letters_are_listed_sent_again_and_dropped(tmp_path: Path) -> None:
    from tests.support.receiver import Answer

    with Receiver(lambda _: Answer(403, b"go away")) as receiver:
        async with web_world(tmp_path, data_provider=DRIVER) as world:
            client = world.client
            await client.post(f"{API}/eventactions", json=http_action(receiver.url))
            await client.post(f"{API}/eventrules", json=provider_rule("call"))
            for name in ("f1", "f2"):
                await client.post(f"{API}/folders", json={"name": name, "mapped_path": f"/srv/{name}"})

            async def rows(state: str = "dead") -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = (await client.get(f"{API}/deliveries?state={state}")).json()
                return found

            async with asyncio.timeout(20):
                while len(await rows()) < 2:
                    await asyncio.sleep(0.02)
            first, second = await rows()
            assert (first["rule"], first["event"], first["path"], first["tries"]) == ("told", "add", "f1", 1)
            assert "status 403" in first["error"]
            dropped = await client.post(f"{API}/deliveries/drop", json={"ids": [second["id"]]})
            assert dropped.json()["message"] == "1 deliveries are dropped"
            missing = await client.post(f"{API}/deliveries/retry", json={"ids": ["none"]})
            assert missing.status_code == 404
            assert (await client.post(f"{API}/deliveries/retry", json={})).status_code == 400
            receiver.answer = lambda _: Answer()
            assert (await client.post(f"{API}/deliveries/retry", json={"all": True})).status_code == 200
            await wait(lambda: receiver.accepted)
            async with asyncio.timeout(20):
                while await rows(""):
                    await asyncio.sleep(0.02)
    assert receiver.accepted[0].id == next(one.id for one in receiver.received if b'"f1"' in one.body)


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    async with web_world(tmp_path, data_provider=DRIVER) as made:
        yield made


async def test_refusals(world: WebWorld) -> None:
    client = world.client
    bad = await client.post(f"{API}/eventactions", json=http_action("ftp://x/"))
    assert bad.status_code == 400
    assert "endpoint" in bad.text
    command = {"name": "c", "type": 2, "options": {"cmd_config": {"cmd": "/bin/true", "timeout": 5}}}
    assert "enabled_commands" in (await client.post(f"{API}/eventactions", json=command)).text
    rule = await client.post(f"{API}/eventrules", json=provider_rule("zz"))
    assert rule.status_code == 400
    assert "actions[0].name" in rule.text
    assert (await client.post(f"{API}/eventrules/run/zz")).status_code == 404
    await world.add_admin("weak", "view_users")
    async with world.acting_as("weak") as weak:
        for path in ("eventactions", "eventrules", "deliveries", "activerules"):
            assert (await weak.get(f"{API}/{path}")).status_code == 403
        assert (await weak.post(f"{API}/eventactions", json=command)).status_code == 403


async def test_on_demand(world: WebWorld) -> None:
    with Receiver() as receiver:
        await world.client.post(f"{API}/eventactions", json=http_action(receiver.url, body="ran {{.UID}}"))
        rule = {"name": "now", "status": 1, "trigger": 6, "conditions": {}, "actions": [{"name": "call"}]}
        assert (await world.client.post(f"{API}/eventrules", json=rule)).status_code == 201
        started = await world.client.post(f"{API}/eventrules/run/now")
        assert started.status_code == 202, started.text
        await wait(lambda: receiver.accepted)
    assert receiver.accepted[0].body == f"ran {receiver.accepted[0].id}".encode()
