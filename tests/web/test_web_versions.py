# SPDX-License-Identifier: Apache-2.0
"""`ETag` and `If-Match`: nobody overwrites what they have not read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.ssh_world import Recorder
from tests.support.web_world import WebWorld, web_world

from tidegate.events.kinds import Administered

API = "/api/v2"


async def add(world: WebWorld, kind: str) -> str:
    """A record of a kind; returns its address."""
    document: dict[str, Any] = {
        "users": world.user("one"),
        "folders": {"name": "one", "mapped_path": str(world.home / "files" / "one")},
        "admins": {"username": "one", "password": "the password of one", "permissions": ["view_users"]},
        "apikeys": {"name": "one", "scope": 1},
        "groups": {"name": "one", "user_settings": {"max_sessions": 2}},
        "roles": {"name": "one"},
    }[kind]
    made = await world.client.post(f"{API}/{kind}", json=document)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    assert (await world.client.get(address)).headers["etag"] == made.headers["etag"]
    return str(address)


@pytest.mark.parametrize("kind", ["users", "folders", "admins", "apikeys", "groups", "roles"])
async def test_an_old_version_is_refused_and_the_newest_taken(world: WebWorld, kind: str):
    address = await add(world, kind)
    read = await world.client.get(address)
    old, document = read.headers["etag"], read.json()
    changed = await world.client.put(address, json={**document, "description": "of somebody else"})
    assert changed.status_code == 200, changed.text
    newer = changed.headers["etag"]
    assert newer != old
    assert (await world.client.get(address)).headers["etag"] == newer

    for method, more in (("PUT", {"json": {**document, "description": "mine"}}), ("DELETE", {})):
        refused = await world.client.request(method, address, headers={"If-Match": old}, **more)
        assert refused.status_code == 412, refused.text
        assert refused.json()["error"].endswith("was changed meanwhile: description")
    assert (await world.client.get(address)).json()["description"] == "of somebody else"

    weak = await world.client.put(address, json=document, headers={"If-Match": f"W/{newer}"})
    assert weak.status_code == 200, "a proxy that compresses makes tags weak"
    anyhow = await world.client.put(address, json=document, headers={"If-Match": "*"})
    assert anyhow.status_code == 200
    gone = await world.client.delete(address, headers={"If-Match": anyhow.headers["etag"]})
    assert gone.status_code == 200, gone.text


async def test_of_two_at_once_one_is_told(world: WebWorld):
    address = await add(world, "users")
    read = await world.client.get(address)
    headers = {"If-Match": read.headers["etag"]}
    answers = await asyncio.gather(
        *(
            world.client.put(address, json={**read.json(), "description": text}, headers=headers)
            for text in ("first", "second")
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]


async def test_counters_do_not_make_a_version_old(world: WebWorld):
    address = await add(world, "users")
    before = (await world.client.get(address)).headers["etag"]
    usage = {"used_quota_size": 9, "used_quota_files": 9}
    assert (await world.client.put(f"{API}/quotas/users/one/usage", json=usage)).status_code == 200
    after = await world.client.get(address)
    assert after.json()["used_quota_size"] == 9
    assert after.headers["etag"] == before


@pytest.mark.parametrize("tag", ["abc", '"a", "b"', '"', "W/x", '"é"'])
async def test_what_is_no_tag_is_refused(world: WebWorld, tag: str):
    address = await add(world, "users")
    refused = await world.client.delete(address, headers={"If-Match": tag.encode()})
    assert refused.status_code == 400
    assert "If-Match" in refused.json()["error"]
    assert (await world.client.get(address)).status_code == 200


async def test_an_empty_tag_is_of_no_record(world: WebWorld):
    address = await add(world, "users")
    assert (await world.client.delete(address, headers={"If-Match": '""'})).status_code == 412


async def test_setting_counters_is_on_record(tmp_path: Path):
    record = Recorder()
    async with web_world(tmp_path, sinks=[record]) as world:
        await add(world, "users")
        await add(world, "folders")
        usage = {"used_quota_size": 9, "used_quota_files": 9}
        for path, body in (
            ("users/one/usage", usage),
            ("users/one/transfer-usage", {"used_upload_data_transfer": 1, "used_download_data_transfer": 1}),
            ("folders/one/usage", usage),
        ):
            answer = await world.client.put(f"{API}/quotas/{path}", json=body)
            assert answer.status_code == 200, answer.text
    told = [event for event in record.events if isinstance(event, Administered) and event.action == "change"]
    assert [(event.kind, event.name, event.fields) for event in told] == [
        ("user", "one", ("used_quota_size", "used_quota_files")),
        ("user", "one", ("used_upload_data_transfer", "used_download_data_transfer")),
        ("folder", "one", ("used_quota_size", "used_quota_files")),
    ]
