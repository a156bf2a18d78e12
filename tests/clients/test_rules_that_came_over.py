# SPDX-License-Identifier: Apache-2.0
"""Rules read from SFTPGo's database at work, their dead letters on the command line, and the certificate of a server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import sqlalchemy as sqla
from tests.support.certificates import certificate
from tests.support.command_line import tidegate
from tests.support.ports import free_port
from tests.support.receiver import Answer, Receiver
from tests.support.running import Running, wait_for
from tests.support.sftpgo_database import Filler


def http(name: str, url: str) -> dict[str, Any]:
    config = {"endpoint": url, "method": "POST", "timeout": 10, "body": "{{Event}} {{ObjectName}} {{Name}}"}
    return {"name": name, "type": 1, "description": "", "options": {"http_config": config}}


def fill(database: Path, url: str) -> None:
    """SFTPGo's database with two rules: one about uploads, one about certificates."""
    rules = [
        ("told", 1, {"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/in/**"}]}}),
        ("certificates", 5, {}),
    ]
    dump = {
        "users": [],
        "event_actions": [http("told", f"{url}/told"), http("certificates", f"{url}/certificates")],
        "event_rules": [
            {
                "name": name, "description": "", "status": 1, "trigger": trigger, "conditions": conditions,
                "actions": [{"name": name, "order": 1, "relation_options": {"stop_on_failure": True}}],
            }
            for name, trigger, conditions in rules
        ],
    }  # fmt: skip
    engine = sqla.create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        Filler(connection, 33, "").fill(dump)
    engine.dispose()


async def command(*words: str | Path) -> str:
    done = await asyncio.to_thread(tidegate, *words)
    assert done.code == 0, done.err
    return done.out


async def test_rules_of_sftpgos_database(tmp_path: Path) -> None:
    def answer(one: Any) -> Answer:
        return Answer(403, b"go away") if one.path == "/told" else Answer()

    with Receiver(answer) as receiver:
        database = tmp_path / "sftpgo.db"
        fill(database, receiver.url)
        binding = {"address": "127.0.0.1", "port": free_port()}
        binding |= {
            "certificate_file": str(certificate(tmp_path, "c")),
            "certificate_key_file": str(tmp_path / "key.pem"),
        }
        server = Running(tmp_path / "config", settings={"ftpd": {"bindings": [binding]}})
        server.expected_errors = ["rule told is given up"]
        person = server.account()
        place = ("-c", server.directory)
        await command("import", "sftpgo", "--from", f"sqlite:{database}", *place)

        async def dead() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = json.loads(
                await command("events", "list", "--state", "dead", "--json", *place)
            )
            return sorted(found, key=lambda one: str(one["path"]))

        async def until(condition: Any, what: str) -> None:
            await asyncio.to_thread(wait_for, condition, what, 30)

        try:
            await asyncio.to_thread(server.start)
            async with person.connect() as client, client.start_sftp_client() as sftp:
                await sftp.mkdir("/in")
                for path in ("/in/a", "/in/b", "/out"):
                    async with sftp.open(path, "wb") as file:
                        await file.write(b"x")
            async with asyncio.timeout(30):
                while len(rows := await dead()) < 2:
                    await asyncio.sleep(0.1)
            assert [(one["path"], one["tries"], one["rule"]) for one in rows] == [
                ("/in/a", 1, "told"),
                ("/in/b", 1, "told"),
            ]
            assert "status 403" in rows[0]["error"]
            both = await asyncio.to_thread(tidegate, "events", "retry", *place)
            assert both.code != 0
            assert "--all" in both.err
            assert "1 deliveries are dropped" in await command(
                "events", "drop", rows[1]["id"], "--yes", *place
            )
            receiver.answer = lambda _: Answer()
            assert "1 deliveries are tried again" in await command("events", "retry", "--all", *place)
            await until(lambda: [one for one in receiver.accepted if one.path == "/told"], "told again")
            await until(
                lambda: [one for one in receiver.accepted if one.path == "/certificates"], "certificate"
            )
            async with asyncio.timeout(30):
                while json.loads(await command("events", "list", "--state", "all", "--json", *place)):
                    await asyncio.sleep(0.1)
        finally:
            await asyncio.to_thread(server.stop)
    told = [one for one in receiver.received if one.path == "/told"]
    assert sorted(one.body.decode() for one in told) == [
        f"upload a {person.name}", f"upload a {person.name}", f"upload b {person.name}",
    ]  # fmt: skip
    first, again = (one for one in told if b" a " in one.body)
    assert first.id == again.id
    (ends,) = [one for one in receiver.accepted if one.path == "/certificates"]
    assert ends.body.decode().startswith("Certificate expiration localhost")
