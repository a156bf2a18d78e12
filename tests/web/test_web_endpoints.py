# SPDX-License-Identifier: Apache-2.0
"""Storage on other hosts that administrators who may not do everything can give to accounts and folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.web_world import WebWorld, web_world

from tidegate.accounts.endpoints import ENDPOINTS_KEY, objection
from tidegate.model import Reach

USERS, FOLDERS = "/api/v2/users", "/api/v2/folders"
LIMITED = ("view_users", "add_users", "edit_users", "manage_folders", "view_folders")
KEYS = {"access_key": "AK", "access_secret": "secret"}
INSIDE = [
    "http://169.254.169.254",
    "http://[fd00:ec2::254]",
    "http://127.0.0.1:9000",
    "http://localhost:9000",
    "http://10.0.0.7:9000",
    "http://192.168.1.1",
    "http://100.64.0.1",
    "http://[::1]",
    "http://[fe80::1]",
    "http://[::ffff:169.254.169.254]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://[2002:a9fe:a9fe::1]",
    "http://0.0.0.0",
    "http://2852039166",
    "http://0x7f.1",
    "http://metadata.google.internal",
    "http://no-such-host.invalid",
]


@dataclass
class Place:
    world: WebWorld
    half: httpx2.AsyncClient
    """somebody who may manage users and folders, and nothing else"""

    async def give(self, config: dict[str, Any], who: httpx2.AsyncClient | None = None) -> httpx2.Response:
        document = {"name": "bucket", "filesystem": filesystem(config)}
        return await (who or self.half).post(FOLDERS, json=document)


def filesystem(config: dict[str, Any]) -> dict[str, Any]:
    return {"provider": 1, "s3config": {"bucket": "b", **config}}


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    base = tmp_path / "homes"
    base.mkdir()
    keys = {"allowed_endpoints": ["minio.invalid:9000", "10.9.8.7"]}
    async with web_world(
        tmp_path / "etc", data_provider={"users_base_dir": str(base)}, storage=keys
    ) as world:
        admin = await world.add_admin("half", *LIMITED)
        async with world.anonymous(headers={"Authorization": f"Bearer {world.issue(admin)}"}) as half:
            yield Place(world, half)


def refused(answer: httpx2.Response, field: str, *words: str) -> None:
    assert answer.status_code == 403, answer.text
    error = answer.json()["error"]
    assert error.startswith(f"{field}: "), error
    assert "only administrators with the permission *" in error
    for word in words:
        assert word in error


@pytest.mark.parametrize("endpoint", INSIDE)
async def test_endpoints_inside_are_refused_by_name(place: Place, endpoint: str):
    answer = await place.give({**KEYS, "endpoint": endpoint})
    refused(answer, "filesystem.s3config.endpoint", ENDPOINTS_KEY)
    assert await place.world.app.provider.folder("bucket") is None
    assert (await place.give({**KEYS, "endpoint": endpoint}, place.world.client)).status_code == 201


@pytest.mark.parametrize(
    "endpoint", ["", "https://9.9.9.9", "http://minio.invalid:9000", "http://10.9.8.7:1"]
)
async def test_the_service_itself_public_hosts_and_listed_ones_are_given(place: Place, endpoint: str):
    answer = await place.give({**KEYS, "endpoint": endpoint})
    assert answer.status_code == 201, answer.text


async def test_a_listed_port_is_that_port(place: Place):
    refused(await place.give({**KEYS, "endpoint": "http://minio.invalid"}), "filesystem.s3config.endpoint")


async def test_storage_without_credentials_of_its_own_is_refused(place: Place):
    field = "filesystem.s3config.access_key"
    for config in ({}, {"endpoint": "http://10.9.8.7"}, {"role_arn": "arn:aws:iam::1:role/x"}):
        refused(await place.give(config), field, "credentials of the server")
    assert (await place.give({}, place.world.client)).status_code == 201


async def test_every_way_by_which_an_account_gets_storage(place: Place):
    full, half = place.world.client, place.half
    bad = filesystem({**KEYS, "endpoint": "http://127.0.0.1:1"})
    good = filesystem(KEYS)
    person = {"username": "ana", "permissions": {"/": ["*"]}, "password": "Long-enough-1234"}
    field = "filesystem.s3config.endpoint"
    refused(await half.post(USERS, json={**person, "filesystem": bad}), field)
    assert (await half.post(USERS, json={**person, "filesystem": good})).status_code == 201
    refused(await half.put(f"{USERS}/ana", json={**person, "filesystem": bad}), field)
    for name in ("new", "there"):
        mount = {"name": name, "virtual_path": "/m", "filesystem": bad}
        answer = await half.put(f"{USERS}/ana", json={**person, "virtual_folders": [mount]})
        refused(answer, f"virtual_folders[0].{field}")
        await full.post(FOLDERS, json={"name": "there", "filesystem": good})
    assert (await full.post(FOLDERS, json={"name": "inner", "filesystem": bad})).status_code == 201
    mounts = [{"name": "inner", "virtual_path": "/m"}]
    refused(
        await half.put(f"{USERS}/ana", json={**person, "virtual_folders": mounts}),
        f"virtual_folders[0].{field}",
    )
    changed = {"name": "inner", "filesystem": filesystem({**KEYS, "endpoint": "http://127.0.0.1:2"})}
    refused(await half.put(f"{FOLDERS}/inner", json=changed), field)


async def test_what_a_full_administrator_gave_stays_and_its_account_is_not_taken_over(place: Place):
    full, half = place.world.client, place.half
    bad = filesystem({**KEYS, "endpoint": "http://127.0.0.1:1"})
    await full.post(FOLDERS, json={"name": "inner", "filesystem": bad})
    person = {
        "username": "ana",
        "permissions": {"/": ["*"]},
        "filesystem": bad,
        "virtual_folders": [{"name": "inner", "virtual_path": "/m"}],
    }
    assert (await full.post(USERS, json=person)).status_code == 201
    shown = (await half.get(f"{USERS}/ana")).json()
    assert (await half.put(f"{USERS}/ana", json={**shown, "description": "hello"})).status_code == 200
    folder = (await half.get(f"{FOLDERS}/inner")).json()
    assert (await half.put(f"{FOLDERS}/inner", json={**folder, "description": "hello"})).status_code == 200
    answer = await half.put(f"{USERS}/ana", json={**shown, "password": "Another-long-1234"})
    refused(answer, "password", "storage")
    moved = {
        **shown,
        "filesystem": filesystem({**KEYS, "endpoint": "http://127.0.0.1:1", "key_prefix": "x/"}),
    }
    refused(await half.put(f"{USERS}/ana", json=moved), "filesystem.s3config.endpoint")


@pytest.mark.parametrize(
    ("provider", "config", "field"),
    [
        (2, {"gcsconfig": {"bucket": "bbb", "automatic_credentials": 1}}, "gcsconfig.automatic_credentials"),
        (2, {"gcsconfig": {"bucket": "bbb", "credentials_file": "/etc/key"}}, "gcsconfig.credentials_file"),
        (2, {"gcsconfig": {"bucket": "bbb", "endpoint": "http://127.0.0.1"}}, "gcsconfig.endpoint"),
        (3, {"azblobconfig": {"container": "ccc", "account_name": "abc"}}, "azblobconfig.account_key"),
        (
            3,
            {"azblobconfig": {"container": "ccc", "account_key": "aGVsbG8=", "use_emulator": True}},
            "azblobconfig.endpoint",
        ),
        (
            3,
            {"azblobconfig": {"container": "ccc", "sas_url": "https://10.0.0.1/ccc?sig=x"}},
            "azblobconfig.sas_url",
        ),
        (9, {}, "provider"),
    ],
)
async def test_other_services(place: Place, provider: int, config: dict[str, Any], field: str):
    document = {"name": "bucket", "filesystem": {"provider": provider, **config}}
    answer = await place.half.post(FOLDERS, json=document)
    if field == "provider":
        assert answer.status_code in {400, 403}
    else:
        refused(answer, f"filesystem.{field}")


async def test_a_name_that_cannot_be_looked_up_in_time_is_refused(monkeypatch: pytest.MonkeyPatch):
    import asyncio

    from tidegate.accounts import endpoints

    async def never(host: str) -> list[Any]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(endpoints, "_resolved", never)
    monkeypatch.setattr(endpoints, "RESOLVE_SECONDS", 0.01)
    assert "no address" in str(await objection(Reach({"endpoint": "http://slow.example"}), ()))
