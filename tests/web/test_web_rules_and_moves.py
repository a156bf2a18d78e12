# SPDX-License-Identifier: Apache-2.0
"""File actions of event rules while the files of an account move: they wait, and write where it is then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.receiver import Answer, Receiver
from tests.support.web_world import CHEAP_HASHING, WebWorld, web_world

from tidegate.model import Account

API = "/api/v2"
DRIVER = {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING}


@pytest.fixture
async def world(tmp_path: Path) -> Any:
    async with web_world(tmp_path, data_provider=DRIVER) as made:
        assert (await made.client.post(f"{API}/users", json=made.user("ann"))).status_code == 201
        yield made


async def run_rule(world: WebWorld, action: dict[str, Any]) -> None:
    made = await world.client.post(f"{API}/eventactions", json={"name": "a", **action})
    assert made.status_code == 201, made.text
    rule = {"name": "now", "status": 1, "trigger": 6, "conditions": {}, "actions": [{"name": "a"}]}
    assert (await world.client.post(f"{API}/eventrules", json=rule)).status_code == 201
    assert (await world.client.post(f"{API}/eventrules/run/now")).status_code == 202


async def tried(world: WebWorld) -> dict[str, Any]:
    """The delivery, once it was tried."""
    async with asyncio.timeout(20):
        while True:
            rows = (await world.client.get(f"{API}/deliveries")).json()
            if rows and rows[0]["tries"]:
                return dict(rows[0])
            await asyncio.sleep(0.02)


async def set_hold(world: WebWorld, text: str) -> None:
    async def make(stored: Account) -> Account:
        return replace(stored, filters=replace(stored.filters, hold=text))

    provider = world.app.provider
    account = await provider.user("ann")
    assert account is not None
    await provider.update_user(await make(account))


@pytest.mark.parametrize("where", ["here", "on another server"])
async def test_a_held_account_is_tried_again(world: WebWorld, where: str) -> None:
    holds = world.app.sessions.holds
    if where == "here":
        holds.hold(("user", "ann"))
    else:
        await set_hold(world, "its files move")
    made = world.home / "files" / "ann" / "made"
    await run_rule(world, {"type": 9, "options": {"fs_config": {"type": 3, "mkdirs": ["/made"]}}})
    row = await tried(world)
    assert (row["state"], made.exists()) == ("waiting", False), row
    assert "held" in row["error"]
    if where == "here":
        holds.release(("user", "ann"))
    else:
        await set_hold(world, "")
    assert (await world.client.post(f"{API}/deliveries/retry", json={"ids": [row["id"]]})).status_code == 200
    async with asyncio.timeout(20):
        while not made.exists():
            await asyncio.sleep(0.02)


async def test_a_deep_answer_is_tried_again(world: WebWorld) -> None:
    deep = b'{"message":' + b"[" * 60_000
    with Receiver(lambda _: Answer(503, deep)) as receiver:
        http = {"endpoint": receiver.url, "timeout": 5, "body": "x"}
        await run_rule(world, {"type": 1, "options": {"http_config": http}})
        row = await tried(world)
    assert (row["state"], row["error"]) == ("waiting", 'action "a" failed: status 503'), row
