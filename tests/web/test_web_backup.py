# SPDX-License-Identifier: Apache-2.0
"""Backup and restore over REST: what goes out comes back, all or nothing, and only files of the one directory."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.accounts import full_account
from tests.support.doors import port_of, services_of
from tests.support.web_world import ADMIN, WebWorld, web_world

from tidegate.identity.passwords import verify
from tidegate.model import Folder

JSON = {"Content-Type": "application/json"}
DUMP, LOAD = "/api/v2/dumpdata", "/api/v2/loaddata"


async def filled(world: WebWorld) -> dict[str, Any]:
    """Accounts, and the dump of them."""
    await world.app.provider.add_folder(Folder(name="shared", mapped_path="/srv/shared"))
    await world.app.provider.add_user(full_account("zoë"))
    await world.client.post("/api/v2/users", json=world.user("u", password="a password of u"))
    await world.client.post("/api/v2/apikeys", json={"name": "k", "scope": 1, "admin": ADMIN})
    answer = await world.client.get(DUMP, params={"output-data": 1})
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    document: dict[str, Any] = answer.json()
    return document


def files(world: WebWorld) -> list[str]:
    return sorted(
        str(p.relative_to(world.home / "backups")) for p in (world.home / "backups").rglob("*") if p.is_file()
    )


async def test_what_is_dumped_loads_into_an_empty_server(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with web_world(tmp_path / "a") as world:
        dump = await filled(world)
        answer = await world.client.get(DUMP, params={"output-file": "day/all.json", "indent": 1})
        assert answer.json() == {"message": "Data saved", "error": ""}
        text = (tmp_path / "a/backups/day/all.json").read_text()
        assert json.loads(text) == dump
        assert "\n  " in text
        assert files(world) == ["day/all.json"]
        assert (tmp_path / "a/backups/day/all.json").stat().st_mode & 0o077 == 0
        assert (tmp_path / "a/backups").stat().st_mode & 0o077 == 0
    for way in ("file", "body"):
        home = tmp_path / "b" / way
        (home / "backups").mkdir(parents=True)
        async with web_world(home, first=False) as world:
            admin = await world.add_admin("loader", "*")
            headers = {"Authorization": f"Bearer {world.issue(admin)}"}
            async with world.anonymous(headers=headers) as client:
                if way == "file":
                    (home / "backups/all.json").write_text(text)
                    answer = await client.get(LOAD, params={"input-file": str(home / "backups/all.json")})
                else:
                    answer = await client.post(LOAD, content=text.encode(), headers=JSON)
                assert answer.status_code == 200, answer.text
                report = answer.json()
                assert (report["message"], report["added"], report["updated"]) == ("Data restored", 6, 0)
                assert {"kind": "user", "name": "zoë", "action": "added"} in report["records"]
                again = (await client.get(DUMP, params={"output-data": 1})).json()
        again["admins"] = [one for one in again["admins"] if one["username"] != "loader"]

        def stable(document: dict[str, Any]) -> dict[str, Any]:
            return {
                kind: [
                    {k: v for k, v in one.items() if k not in ("id", "updated_at", "created_at") or kind == "api_keys"}
                    for one in records
                ]
                for kind, records in document.items()
                if isinstance(records, list) and kind != "api_keys"
            }  # fmt: skip

        assert stable(again) == stable(dump)
        assert [key["key"] for key in again["api_keys"]] == [key["key"] for key in dump["api_keys"]]


async def test_scopes(world: WebWorld):
    await filled(world)
    answer = await world.client.get(DUMP, params={"output-data": 1, "scopes": "users, folders"})
    assert {"users", "folders"} == {k for k, v in answer.json().items() if isinstance(v, list)}


async def test_modes(world: WebWorld):
    dump = await filled(world)
    stored = await world.app.provider.user("u")
    assert stored is not None
    for user in dump["users"]:
        user["email"] = "loaded@example.org"
    kept = await world.client.post(LOAD, params={"mode": 1}, json=dump)
    assert (kept.json()["kept"], kept.json()["updated"]) == (6, 0)
    assert await world.app.provider.user("u") == stored
    changed = await world.client.post(LOAD, params={"mode": 0}, json={"users": dump["users"]})
    assert changed.json()["updated"] == 2
    after = await world.app.provider.user("u")
    assert after is not None
    assert (after.email, after.password) == ("loaded@example.org", stored.password)


async def test_mode_2_ends_the_sessions_of_what_it_updates(tmp_path: Path):
    async with web_world(tmp_path, ssh=True) as world:
        dump = await filled(world)
        async with asyncssh.connect(
            "127.0.0.1", port_of(world.app), username="u", password="a password of u",
            known_hosts=None, client_keys=None, config=None,
        ) as connection, connection.start_sftp_client() as sftp:  # fmt: skip
            assert (await world.client.post(LOAD, json={"users": dump["users"]})).status_code == 200
            assert await sftp.exists("/")
            answer = await world.client.post(LOAD, params={"mode": 2}, json={"users": dump["users"]})
            assert answer.status_code == 200
            await asyncio.wait_for(connection.wait_closed(), 5)


async def test_files_are_counted_afterwards_on_demand(world: WebWorld):
    await filled(world)
    home = world.home / "files" / "u"
    home.mkdir(parents=True)
    (home / "f").write_bytes(b"12345")
    users = [world.user("u", quota_files=10)]
    for scan_quota, counted in ((0, 0), (2, 5)):
        answer = await world.client.post(LOAD, params={"scan-quota": scan_quota}, json={"users": users})
        assert answer.status_code == 200, answer.text
        await asyncio.gather(*services_of(world.app).jobs._tasks)
        stored = await world.app.provider.user("u")
        assert stored is not None
        assert stored.used_quota_size == counted


async def test_plain_passwords_of_a_dump_are_hashed(world: WebWorld):
    answer = await world.client.post(LOAD, json={"users": [world.user("p", password="plain text")]})
    assert answer.status_code == 200, answer.text
    stored = await world.app.provider.user("p")
    assert stored is not None
    assert verify("plain text", stored.password)
    assert "plain text" not in answer.text


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"users": [{"username": "x"}]}, "users[0]"),
        ({"users": {}}, "users"),
        ({"admins": [{"username": "x", "permissions": ["fly"]}]}, "admins[0]"),
        ({"folders": [{"name": ""}]}, "folders[0]"),
        ({"api_keys": [{"id": "k"}]}, "api_keys[0]"),
    ],
)
async def test_one_mistake_and_nothing_is_loaded(world: WebWorld, change: dict[str, Any], where: str):
    dump = {"users": [world.user("good")], "folders": [{"name": "g", "mapped_path": "/srv/g"}]}
    for kind, records in change.items():
        dump[kind] = [*dump.get(kind, []), *records] if isinstance(records, list) else records
    answer = await world.client.post(LOAD, json=dump)
    assert answer.status_code == 400, answer.text
    assert where.split("[", maxsplit=1)[0] in answer.json()["error"]
    assert await world.app.provider.count_users() == 0
    assert await world.app.provider.folders() == []
    assert len(await world.app.provider.admins()) == 1


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{} {}", b"\xff\xfe", b'{"users":[' + b"[" * 50_000])
async def test_what_is_no_dump_is_refused(world: WebWorld, body: bytes):
    answer = await world.client.post(LOAD, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text


OUTSIDE = ["../x.json", "a/../../x.json", "a/../x.json", "/etc/passwd", "", "a\0b", "dir/", ".hidden", "x" * 2000,
           ".", "link/x.json", "link.json", "x" * 300]  # fmt: skip


@pytest.mark.parametrize("name", OUTSIDE)
async def test_no_file_outside_is_written_or_read(world: WebWorld, name: str):
    backups, outside = world.home / "backups", world.home / "outside"
    backups.mkdir()
    outside.mkdir()
    (outside / "x.json").write_text("{}")
    (backups / "link").symlink_to(outside)
    (backups / "link.json").symlink_to(outside / "x.json")
    before = sorted(world.home.rglob("*"))
    read = await world.client.get(LOAD, params={"input-file": name})
    assert read.status_code in (400, 404), read.text
    assert str(world.home) not in read.text
    if name == "link.json":  # replacing the link itself is no harm, and does not follow it
        assert (await world.client.get(DUMP, params={"output-file": name})).status_code == 200
        assert not (backups / "link.json").is_symlink()
        assert (outside / "x.json").read_text() == "{}"
        return
    written = await world.client.get(DUMP, params={"output-file": name})
    assert written.status_code in (400, 404), written.text
    assert sorted(world.home.rglob("*")) == before


async def test_only_regular_files_are_read(world: WebWorld):
    backups = world.home / "backups"
    backups.mkdir()
    os.mkfifo(backups / "pipe")
    (backups / "dir").mkdir()
    for name, code in (("pipe", 400), ("dir", 400), ("missing.json", 404), ("missing/x.json", 404)):
        answer = await world.client.get(LOAD, params={"input-file": name})
        assert answer.status_code == code, (name, answer.text)
    assert (await world.client.get(DUMP, params={"output-file": "dir"})).status_code == 400
    assert sorted(os.listdir(backups)) == ["dir", "pipe"]


@pytest.mark.parametrize(
    "query",
    [{}, {"output-data": 1, "output-file": "x"}, {"output-data": 2}, {"output-data": 1, "scopes": "users,shoes"},
     {"output-data": 1, "indent": 5}],
)  # fmt: skip
async def test_dumps_need_one_target(world: WebWorld, query: dict[str, Any]):
    assert (await world.client.get(DUMP, params=query)).status_code == 400


@pytest.mark.parametrize("query", [{"mode": 3}, {"mode": "x"}, {"scan-quota": 3}])
async def test_loads_check_their_parameters(world: WebWorld, query: dict[str, Any]):
    assert (await world.client.post(LOAD, params=query, json={})).status_code == 400
    assert (await world.client.get(LOAD, params={"input-file": "x", **query})).status_code == 400


async def test_a_dump_that_fails_leaves_the_old_file(world: WebWorld, monkeypatch: pytest.MonkeyPatch):
    await filled(world)
    assert (await world.client.get(DUMP, params={"output-file": "d.json"})).status_code == 200
    before = (world.home / "backups/d.json").read_text()

    def broken(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tidegate.web.api.backups._finish", broken)
    answer = await world.client.get(DUMP, params={"output-file": "d.json"})
    assert answer.status_code == 507
    assert (world.home / "backups/d.json").read_text() == before
    assert files(world) == ["d.json"]


async def test_one_dump_or_load_at_a_time(world: WebWorld):
    async with services_of(world.app).backups.busy:
        assert (await world.client.get(DUMP, params={"output-file": "d.json"})).status_code == 409
        assert (await world.client.post(LOAD, json={})).status_code == 409
    assert (await world.client.post(LOAD, json={})).status_code == 200


async def test_without_tracking_no_scan_is_promised(tmp_path: Path):
    async with web_world(tmp_path, data_provider={"track_quota": 0}) as world:
        assert (await world.client.post(LOAD, params={"scan-quota": 1}, json={})).status_code == 403
