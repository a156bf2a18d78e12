# SPDX-License-Identifier: Apache-2.0
"""Connections, ending them, quota scans, status and health, with real partners on the line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.command_line import tidegate
from tests.support.doors import port_of, services_of
from tests.support.ssh_world import Recorder
from tests.support.web_world import ADMIN, WebWorld, web_world

from tidegate import __version__
from tidegate.cli import progress as long_work
from tidegate.errors import ProviderUnavailable
from tidegate.events.kinds import Disconnected, Transferred
from tidegate.vfs.usage import scan as scans
from tidegate.vfs.usage.progress import Kind, Scan
from tidegate.web.api.routes.server import EXTRAS

API = "/api/v2"


@contextlib.asynccontextmanager
async def partner(world: WebWorld) -> AsyncIterator[asyncssh.SSHClientConnection]:
    async with asyncssh.connect(
        "127.0.0.1", port_of(world.app), username="u", password="a password of u",
        known_hosts=None, client_keys=None, config=None,
    ) as connection:  # fmt: skip
        yield connection


async def add(world: WebWorld, **more: Any) -> None:
    answer = await world.client.post(f"{API}/users", json=world.user("u", password="a password of u", **more))
    assert answer.status_code == 201, answer.text


async def test_a_program_is_seen_and_cut_off(tmp_path: Path):
    async with web_world(tmp_path, ssh=True, sftpd={"enabled_ssh_commands": ["rsync"]}) as world:
        await add(world, download_bandwidth=10)
        home = Path((await world.client.get(f"{API}/users/u")).json()["home_dir"])
        home.mkdir(parents=True, exist_ok=True)
        (home / "large").write_bytes(b"x" * 3_000_000)
        async with partner(world) as connection:
            line = "rsync --server --sender -re.iLsfxCIvu . /"
            process = await connection.create_process(line, encoding=None)
            # Protocol 27, no filters, then whatever: a client that wants all of it.
            process.stdin.write((27).to_bytes(4, "little") + bytes(4))
            live: dict[str, Any] = {}
            while not live.get("active_transfers"):
                (live,) = (await world.client.get(f"{API}/connections")).json()
            (transfer,) = live["active_transfers"]
            assert (transfer["operation_type"], transfer["path"]) == ("download", "/")
            assert (live["command"], live["protocol"]) == (line, "SSH")
            answer = await world.client.delete(f"{API}/connections/{live['connection_id']}")
            assert answer.status_code == 200
            await process.wait_closed()
        while (await world.client.get(f"{API}/connections")).json():
            await asyncio.sleep(0)


async def test_a_transfer_is_seen_and_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "tidegate")
    record = Recorder()
    async with web_world(tmp_path, ssh=True, sinks=[record]) as world:
        await add(world)
        async with partner(world) as connection, connection.start_sftp_client() as sftp:
            file = await sftp.open("/up.bin", "wb")
            await file.write(b"x" * 50_000)
            (live,) = (await world.client.get(f"{API}/connections")).json()
            (transfer,) = live.pop("active_transfers")
            assert transfer.pop("start_time") > 1_700_000_000_000
            assert transfer == {"operation_type": "upload", "path": "/up.bin", "size": 50_000}
            assert live.pop("connection_time") <= live.pop("last_activity")
            assert live.pop("remote_address").startswith("127.0.0.1:")
            assert "AsyncSSH" in live.pop("client_version")
            key = live.pop("connection_id")
            assert live == {"username": "u", "command": "", "protocol": "SFTP", "node": ""}
            assert (await world.client.delete(f"{API}/connections/{key}?node=other")).status_code == 404
            answer = await world.client.delete(f"{API}/connections/{key}")
            assert answer.json() == {"message": "Connection closed", "error": ""}
            await asyncio.wait_for(sftp.wait_closed(), 5)
            with pytest.raises((asyncssh.SFTPError, ConnectionError, OSError)):
                await file.write(b"y")
        cut = await record.wait(Transferred)
        assert (cut.status, cut.size) == ("failed", 50_000)
        ended = await record.wait(Disconnected, lambda event: event.by == ADMIN)
        assert ended.origin.username == "u"
        assert (await world.client.get(f"{API}/connections")).json() == []
        assert (await world.client.delete(f"{API}/connections/{key}")).status_code == 404
    assert any("closed by administrator 'boss'" in text for text in caplog.messages)


async def test_a_scan_counts_and_only_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = asyncio.Event()
    measure = scans.measure

    async def slow(*arguments: Any, **named: Any) -> tuple[int, int]:
        await gate.wait()
        return await measure(*arguments, **named)

    monkeypatch.setattr(scans, "measure", slow)
    async with web_world(tmp_path) as world:
        await add(world)
        shared = {"name": "shared", "mapped_path": str(tmp_path / "files" / "shared")}
        assert (await world.client.post(f"{API}/folders", json=shared)).status_code == 201
        for place, sizes in ((tmp_path / "files" / "u", (3, 4)), (tmp_path / "files" / "shared", (5,))):
            place.mkdir(parents=True)
            for number, size in enumerate(sizes):
                (place / f"f{number}").write_bytes(b"x" * size)
        usage = {"used_quota_size": 1, "used_quota_files": 1}
        for kind, name, label in (("users", "u", "username"), ("folders", "shared", "name")):
            path = f"{API}/quotas/{kind}/{name}"
            answer = await world.client.post(f"{path}/scan")
            assert (answer.status_code, answer.json()) == (202, {"message": "Scan started", "error": ""})
            assert (await world.client.post(f"{path}/scan")).status_code == 409
            assert (await world.client.put(f"{path}/usage", json=usage)).status_code == 409
            (running,) = (await world.client.get(f"{API}/quotas/{kind}/scans")).json()
            assert running[label] == name
            assert running["start_time"] > 1_700_000_000_000
            outcome = (await world.client.get(f"{path}/scan")).json()
            assert outcome == {
                **running, "state": "running", "tries": 1, "end_time": 0, "exact": False, "error": ""
            }  # fmt: skip
        transfer = await world.client.put(f"{API}/quotas/users/u/transfer-usage", json={})
        assert transfer.status_code == 409
        gate.set()
        async with asyncio.timeout(5):
            while (await world.client.get(f"{API}/quotas/users/scans")).json() or (
                await world.client.get(f"{API}/quotas/folders/scans")
            ).json():
                pass
        user = (await world.client.get(f"{API}/users/u")).json()
        assert (user["used_quota_size"], user["used_quota_files"]) == (7, 2)
        folder = (await world.client.get(f"{API}/folders/shared")).json()
        assert (folder["used_quota_size"], folder["used_quota_files"]) == (5, 1)
        for path, counted in (("users/u", (7, 2)), ("folders/shared", (5, 1))):
            outcome = (await world.client.get(f"{API}/quotas/{path}/scan")).json()
            assert (outcome["used_quota_size"], outcome["used_quota_files"]) == counted
            assert (outcome["state"], outcome["exact"], outcome["error"]) == ("done", True, "")
            assert outcome["end_time"] >= outcome["start_time"]
        for kind in ("users", "folders"):
            assert (await world.client.post(f"{API}/quotas/{kind}/nobody/scan")).status_code == 404
            unknown = await world.client.get(f"{API}/quotas/{kind}/nobody/scan")
            assert unknown.status_code == 404
            assert "nobody" in unknown.json()["error"]


async def test_a_scan_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with web_world(tmp_path) as world:
        await add(world)
        store = services_of(world.app).sessions.tracker.store
        monkeypatch.setattr(store, "set_usage", _breaks)
        assert (await world.client.post(f"{API}/quotas/users/u/scan")).status_code == 202
        async with asyncio.timeout(5):
            while (outcome := (await world.client.get(f"{API}/quotas/users/u/scan")).json()) and outcome[
                "state"
            ] == "running":
                pass
        assert (outcome["state"], outcome["exact"]) == ("failed", False)
        assert outcome["error"] == "the line broke"


async def test_the_command_line_shows_how_far_a_scan_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(long_work, "LINE_SECONDS", 0.0)  # a line for each answer
    asked = asyncio.Event()
    measure = scans.measure

    async def slow(*arguments: Any, progress: Scan, **named: Any) -> tuple[int, int]:
        progress.count(1000, 40)
        await asked.wait()
        progress.restart()
        return await measure(*arguments, progress=progress, **named)

    monkeypatch.setattr(scans, "measure", slow)
    async with web_world(tmp_path) as world:
        await add(world)
        (tmp_path / "files" / "u").mkdir(parents=True)
        (tmp_path / "files" / "u" / "f").write_bytes(b"x" * 9)
        running = services_of(world.app).sessions.scans.progress
        find = running.find

        def found(kind: Kind, name: str) -> Scan | None:
            scan = find(kind, name)
            if 40 in shown:  # an answer before this one
                asked.set()
            shown.append(0 if scan is None else scan.files)
            return scan

        shown: list[int] = []
        monkeypatch.setattr(running, "find", found)
        token = tmp_path / "token"
        token.write_text(await world.token())
        flags = ("--url", world.url, "--token-file", token)
        counting = asyncio.create_task(asyncio.to_thread(tidegate, "quota", "scan", "u", *flags))
        async with asyncio.timeout(30):
            result = await counting
        assert result.out == "counted u: 1 files, 9 B\n"
        assert "counting u: 40 files, " in result.err


async def test_the_command_line_waits_for_a_scan_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gate = asyncio.Event()
    measure = scans.measure

    async def slow(*arguments: Any, **named: Any) -> tuple[int, int]:
        await gate.wait()
        return await measure(*arguments, **named)

    monkeypatch.setattr(scans, "measure", slow)
    async with web_world(tmp_path) as world, asyncio.timeout(20):
        await add(world)
        token = tmp_path / "token"
        token.write_text(await world.token())
        flags = ("--url", world.url, "--token-file", token)
        started = await asyncio.to_thread(tidegate, "quota", "scan", "u", "--no-wait", *flags)
        assert started.out == "the server counts the files of u now\n"
        listed = await asyncio.to_thread(tidegate, "quota", "scans", *flags)
        assert [row[:2] for row in listed.words if row[0] == "user"] == [["user", "u"]]
        twice = await asyncio.to_thread(tidegate, "quota", "scan", "u", "--no-wait", *flags)
        assert (twice.code, twice.err) == (1, "tidegate: another scan is already in progress\n")
        waiting = asyncio.create_task(asyncio.to_thread(tidegate, "quota", "scan", "u", *flags))
        gate.set()
        result = await waiting
        assert result.out == "counted u: 0 files, 0 B\n"


async def test_the_command_line_says_why_a_scan_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with web_world(tmp_path) as world, asyncio.timeout(20):
        await add(world)
        monkeypatch.setattr(services_of(world.app).sessions.tracker.store, "set_usage", _breaks)
        token = tmp_path / "token"
        token.write_text(await world.token())
        flags = ("--url", world.url, "--token-file", token)
        one = await asyncio.to_thread(tidegate, "quota", "scan", "u", *flags)
        assert (one.code, one.err) == (1, "tidegate: user u could not be counted: the line broke\n")
        every = await asyncio.to_thread(tidegate, "quota", "scan", "--all", *flags)
        assert every.code == 1
        assert every.err.splitlines() == [
            "note: user u could not be counted: the line broke",
            "tidegate: 1 could not be counted; 0 users and folders were: 0 files, 0 B",
        ]


async def _breaks(*arguments: Any, **named: Any) -> None:
    raise ProviderUnavailable("the line broke")


async def test_usage_is_set_and_added_to_also_while_somebody_uploads(tmp_path: Path):
    async with web_world(tmp_path, ssh=True) as world:
        await add(world, quota_size=10_000_000)
        shared = {"name": "shared", "mapped_path": str(tmp_path / "files" / "shared")}
        await world.client.post(f"{API}/folders", json=shared)

        async def put(path: str, mode: str, **usage: Any) -> int:
            answer = await world.client.put(f"{API}/quotas/{path}", params={"mode": mode}, json=usage)
            return answer.status_code

        async def used(path: str) -> tuple[int, ...]:
            document = (await world.client.get(f"{API}/{path}")).json()
            return tuple(document[key] for key in document if key.startswith("used_"))

        async with partner(world) as connection, connection.start_sftp_client() as sftp:
            async with sftp.open("/a", "wb") as file:
                await file.write(b"x" * 100)
            assert (await used("users/u"))[:2] == (100, 1)
            assert await put("users/u/usage", "add", used_quota_size=10, used_quota_files=2) == 200
            assert (await used("users/u"))[:2] == (110, 3)
            assert await put("users/u/usage", "reset", used_quota_size=5, used_quota_files=1) == 200
            async with sftp.open("/b", "wb") as file:
                await file.write(b"x" * 7)
            assert (await used("users/u"))[:2] == (12, 2)
        assert await put("users/u/transfer-usage", "reset", used_upload_data_transfer=3) == 200
        assert await put("users/u/transfer-usage", "add", used_download_data_transfer=4) == 200
        assert (await used("users/u"))[2:] == (3, 4)
        assert await put("folders/shared/usage", "reset", used_quota_size=3, used_quota_files=1) == 200
        assert await put("folders/shared/usage", "add", used_quota_size=3) == 200
        assert await used("folders/shared") == (6, 1)
        before = await used("users/u")
        for path in ("users/u/usage", "users/u/transfer-usage", "folders/shared/usage"):
            assert await put(path, "twice") == 400
            assert await put(path, "add", used_files=1) == 400
            for field in ("used_quota_size", "used_upload_data_transfer"):
                for bad in (-1, 2**63, "7", 1.5, True, None):
                    assert await put(path, "reset", **{field: bad}) == 400, (path, field, bad)
            assert await put(path.replace("/u/", "/nobody/").replace("/shared/", "/nobody/"), "reset") == 404
        assert await put("users/u/usage", "add", used_quota_size=2**63 - 1) == 400
        assert await put("folders/shared/usage", "add", used_quota_size=2**63 - 1) == 400
        assert await used("users/u") == before


async def test_without_tracking_nothing_is_counted(tmp_path: Path):
    async with web_world(tmp_path, data_provider={"track_quota": 0}) as world:
        await add(world)
        await world.client.post(f"{API}/folders", json={"name": "f", "mapped_path": "/srv/f"})
        for path in ("users/u", "folders/f"):
            assert (await world.client.post(f"{API}/quotas/{path}/scan")).status_code == 403
            answer = await world.client.put(f"{API}/quotas/{path}/usage", json={"used_quota_size": 1})
            assert answer.status_code == 403


async def test_version_status_and_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with web_world(tmp_path, ssh=True) as world:
        version = (await world.client.get(f"{API}/version")).json()
        assert version["version"] == __version__
        assert (version["commit_hash"], version["build_date"]) == ("", "")  # of a source tree
        monkeypatch.setattr("tidegate.built.COMMIT", "1a2b3c")
        monkeypatch.setattr("tidegate.built.DATE", "2026-11-30T07:00:00Z")
        stamped = (await world.client.get(f"{API}/version")).json()
        assert (stamped["commit_hash"], stamped["build_date"]) == ("1a2b3c", "2026-11-30T07:00:00Z")
        assert {"+sftp", "+rsync", "+git", "+s3", "+azblob", "+gcs"} <= set(version["features"])
        monkeypatch.setitem(EXTRAS, "s3", "no_such_package.module")
        assert "-s3" in (await world.client.get(f"{API}/version")).json()["features"]
        status = (await world.client.get(f"{API}/status")).json()
        assert status["data_provider"] == {"is_active": True, "driver": "memory", "error": ""}
        assert status["ssh"]["is_active"]
        assert status["ssh"]["bindings"][0]["port"] == port_of(world.app)
        assert status["ssh"]["host_keys"][0]["fingerprint"].startswith("SHA256:")
        async with world.anonymous() as client:
            answer = await client.get("/healthz")
            assert (answer.status_code, answer.text) == (200, "ok")

        async def down() -> None:
            raise ProviderUnavailable("the database at db.example does not answer")

        monkeypatch.setattr(world.app.provider, "check", down)
        services_of(world.app).health._asked = None
        async with world.anonymous() as client:
            answer = await client.get("/healthz")
        assert (answer.status_code, answer.text) == (503, "data provider unavailable")
        status = (await world.client.get(f"{API}/status")).json()
        assert status["data_provider"]["is_active"] is False
        assert "does not answer" in status["data_provider"]["error"]


async def test_a_provider_that_is_away_answers_503(world: WebWorld, monkeypatch: pytest.MonkeyPatch):
    async def down(*_: Any, **__: Any) -> None:
        raise ProviderUnavailable

    monkeypatch.setattr(world.app.provider, "users", down)
    answer = await world.client.get(f"{API}/users")
    assert (answer.status_code, answer.json()["error"]) == (503, "data provider unavailable")
    monkeypatch.setattr(world.app.provider, "admin", down)
    assert (await world.client.get(f"{API}/users")).status_code == 503
    async with world.anonymous() as client:
        assert (await client.get(f"{API}/token", auth=(ADMIN, "x"))).status_code == 503


async def test_health_asks_a_provider_seldom_and_not_for_long(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
):
    asked = 0

    async def count() -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(world.app.provider, "check", count)
    async with world.anonymous() as client:
        answers = await asyncio.gather(*(client.get("/healthz") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert asked <= 2

    async def hang() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(world.app.provider, "check", hang)
    monkeypatch.setattr("tidegate.web.api.health.CHECK_SECONDS", 0.05)
    services_of(world.app).health._asked = None
    async with world.anonymous() as client:
        assert (await client.get("/healthz")).status_code == 503


# --- explain ----------------------------------------------------------------------------------------------


async def test_explain_answers_as_the_command_does(world: WebWorld):
    await add(world, permissions={"/": ["*"], "/in": ["list"]}, filters={"denied_ip": ["192.0.2.0/24"]})
    question = {"user": "u", "op": "upload", "path": "/in/x.exe"}
    by_query = await world.client.get(f"{API}/explain", params=question)
    by_body = await world.client.post(f"{API}/explain", json=question)
    assert by_query.status_code == by_body.status_code == 200, by_query.text
    for answer in (by_query.json(), by_body.json()):
        assert answer["allowed"] is False
        assert answer["decided_by"]["rule"] == "permissions[/in]"
        assert [step["state"] for step in answer["steps"]].count("decided") == 1
    away = await world.client.get(f"{API}/explain", params={**question, "ip": "192.0.2.1"})
    assert away.json()["decided_by"]["where"] == "filters.denied_ip[0]"
    fine = await world.client.post(f"{API}/explain", json={**question, "path": "/x", "size": 5})
    assert fine.json()["allowed"] is True


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"user": "nobody"}, 404),
        ({"op": "fly"}, 400),
        ({"path": "a\0b"}, 400),
        ({"ip": "nowhere"}, 400),
        ({"protocol": "SMB"}, 400),
        ({"protocol": "GOPHER"}, 400),
        ({"method": "passwd"}, 400),
        ({"size": -1}, 400),
        ({"is_dir": "perhaps"}, 400),
        ({"colour": "red"}, 400),
    ],
)
async def test_explain_names_mistakes(world: WebWorld, wrong: dict[str, Any], code: int):
    await add(world)
    question = {"user": "u", "op": "upload", "path": "/x", **wrong}
    for answer in (
        await world.client.get(f"{API}/explain", params=question),
        await world.client.post(f"{API}/explain", json=question),
    ):
        assert answer.status_code == code, answer.text
        if code == 400 and "path" not in wrong and "op" not in wrong:
            assert next(iter(wrong)) in answer.json()["error"]
