# SPDX-License-Identifier: Apache-2.0
"""Each security rule of REST by a request that has to fail, and values by what they are, not by their shape."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.ssh_world import Recorder
from tests.support.web_world import ADMIN, WebWorld, web_world

from tidegate.errors import InvalidArgument
from tidegate.events.kinds import Administered, Disconnected
from tidegate.web.api.backups import Backups

API = "/api/v2"


async def status(world: WebWorld, token: str) -> int:
    async with world.anonymous(headers={"Authorization": f"Bearer {token}"}) as client:
        return (await client.get(f"{API}/version")).status_code


async def test_any_update_of_an_administrator_voids_their_tokens(world: WebWorld):
    """Also one of a field that a token's mark does not show."""
    token = world.issue(await world.add_admin("ann", "view_users"))
    assert await status(world, token) == 200
    ann = (await world.client.get(f"{API}/admins/ann")).json()
    answer = await world.client.put(f"{API}/admins/ann", json={**ann, "description": "on leave"})
    assert answer.status_code == 200, answer.text
    assert await status(world, token) == 401


@pytest.mark.parametrize("name", ["..", "../x", "a/../x", "a/..", "/srv/backups/../x"])
def test_backups_are_never_named_upwards(name: str):
    with pytest.raises(InvalidArgument, match=r"'\.\.' is not allowed"):
        Backups(Path("/srv/backups")).parts(name, label="input-file")
    assert Backups(Path("/srv/backups")).parts("/srv/backups/a/b..c", label="x") == ["a", "b..c"]


async def test_the_record_says_who_did_it(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "tidegate")
    record = Recorder()
    async with web_world(tmp_path, ssh=True, sinks=[record]) as world:
        document = world.user("u", password="a password of u")
        assert (await world.client.post(f"{API}/users", json=document)).status_code == 201
        async with asyncssh.connect(
            "127.0.0.1", port_of(world.app), username="u", password="a password of u",
            known_hosts=None, client_keys=None, config=None,
        ) as connection:  # fmt: skip
            await world.client.delete(f"{API}/users/u")
            await asyncio.wait_for(connection.wait_closed(), 5)
        ended = await record.wait(Disconnected, lambda event: bool(event.by))
        assert ended.by == ADMIN
        made = await world.client.post(f"{API}/apikeys", json={"name": "k", "scope": 1, "admin": ADMIN})
        key = made.headers["x-object-id"]
        await world.client.put(f"{API}/apikeys/{key}", json={"name": "k2", "scope": 1, "admin": ADMIN})
        await world.client.delete(f"{API}/apikeys/{key}")
        await world.client.get(f"{API}/dumpdata", params={"output-data": 1})
        await world.client.get(f"{API}/dumpdata", params={"output-file": "d.json"})
        await world.client.get(f"{API}/loaddata", params={"input-file": "d.json", "mode": 1})
        await world.client.post(
            f"{API}/admins", json={"username": "ann", "password": "ann's own", "permissions": ["*"]}
        )
        await world.client.put(f"{API}/admins/ann", json={"permissions": ["view_users"]})
        await world.client.delete(f"{API}/admins/ann")
    said = [text for text in caplog.messages if f"administrator {ADMIN!r}" in text]
    for what in ("downloads a dump", "wrote a dump", "loaded a dump"):
        assert sum(what in text for text in said) == 1, (what, said)
    changes = [event for event in record.events if isinstance(event, Administered)]
    assert {(event.origin.username, event.origin.ip, event.channel) for event in changes} == {
        (ADMIN, "127.0.0.1", "rest")
    }
    assert [(event.action, event.kind, event.name) for event in changes] == [
        ("add", "user", "u"), ("remove", "user", "u"),
        ("add", "api_key", key), ("change", "api_key", key), ("remove", "api_key", key),
        ("add", "admin", "ann"), ("change", "admin", "ann"), ("remove", "admin", "ann"),
    ]  # fmt: skip


async def test_counters_of_new_records_begin_at_zero(world: WebWorld):
    counters = {"used_quota_size": 9, "used_quota_files": 9, "last_quota_update": 9}
    folder = {"name": "f", "mapped_path": "/srv/f", **counters}
    made = await world.client.post(f"{API}/folders", json=folder)
    assert made.status_code == 201, made.text
    assert {name: made.json()[name] for name in counters} == dict.fromkeys(counters, 0)
    assert (await world.client.get(f"{API}/folders/f")).json()["used_quota_files"] == 0
    more = {**counters, "used_upload_data_transfer": 9, "used_download_data_transfer": 9, "last_login": 9,
            "first_download": 9, "first_upload": 9}  # fmt: skip
    user = await world.client.post(f"{API}/users", json=world.user("u", **more))
    assert {name: user.json()[name] for name in more} == dict.fromkeys(more, 0)


MOST = 2**63 - 1


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("users/u/usage", "used_quota_size"),
        ("users/u/usage", "used_quota_files"),
        ("users/u/transfer-usage", "used_upload_data_transfer"),
        ("users/u/transfer-usage", "used_download_data_transfer"),
        ("folders/f/usage", "used_quota_size"),
        ("folders/f/usage", "used_quota_files"),
    ],
)
async def test_sums_of_usage_stay_numbers_that_can_be_stored(world: WebWorld, path: str, field: str):
    await world.client.post(f"{API}/users", json=world.user("u"))
    await world.client.post(f"{API}/folders", json={"name": "f", "mapped_path": "/srv/f"})

    async def put(mode: str, number: int) -> Any:
        return await world.client.put(f"{API}/quotas/{path}", params={"mode": mode}, json={field: number})

    async def used() -> int:
        kind, name, _ = path.split("/")
        return int((await world.client.get(f"{API}/{kind}/{name}")).json()[field])

    assert (await put("reset", 1)).status_code == 200
    refused = await put("add", MOST)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"] == f"{field}: is too large"
    assert await used() == 1
    assert (await put("add", MOST - 1)).status_code == 200
    assert await used() == MOST


async def test_times_of_connections_are_milliseconds(tmp_path: Path):
    async with web_world(tmp_path, ssh=True) as world:
        document = world.user("u", password="a password of u")
        assert (await world.client.post(f"{API}/users", json=document)).status_code == 201
        before = int(time.time() * 1000)
        async with (
            asyncssh.connect(
                "127.0.0.1", port_of(world.app), username="u", password="a password of u",
                known_hosts=None, client_keys=None, config=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
            sftp.open("/f", "wb") as file,
        ):  # fmt: skip
            await file.write(b"x")
            (live,) = (await world.client.get(f"{API}/connections")).json()
        after = time.time() * 1000
        (transfer,) = live["active_transfers"]
        for moment in (live["connection_time"], live["last_activity"], transfer["start_time"]):
            assert before <= moment <= after
