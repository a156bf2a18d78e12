# SPDX-License-Identifier: Apache-2.0
"""Event rules in the running product: files, mail by a real SMTP server, signed webhooks, chat, digests."""

from __future__ import annotations

import asyncio
import base64
import email
import hashlib
import hmac
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiosmtpd.controller import Controller
from tests.support.command_line import tidegate
from tests.support.ports import free_port
from tests.support.receiver import Receiver
from tests.support.running import Person, Running, wait_for


class Mailbox:
    """Takes what an SMTP server is given."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        del server, session
        self.mails.append((envelope.rcpt_tos, email.message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def mail() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    controller = Controller(box, hostname="127.0.0.1", port=free_port())
    controller.start()
    yield box, controller.port
    controller.stop()


def action(name: str, kind: int, **options: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "options": options}


def rule(name: str, path: str, *actions: str | dict[str, Any], **conditions: Any) -> dict[str, Any]:
    uses = [one if isinstance(one, dict) else {"name": one} for one in actions]
    return {
        "name": name,
        "status": 1,
        "trigger": 1,
        "conditions": {
            "fs_events": ["upload"],
            "options": {"fs_paths": [{"pattern": path}]},
            **conditions,
        },
        "actions": [{**one, "order": index} for index, one in enumerate(uses)],
    }


def add(server: Running, directory: Path, actions: list[Any], rules: list[Any]) -> None:
    """Put actions and rules into the database of a server that is not started yet, by the command line."""
    for kind, documents in (("actions", actions), ("rules", rules)):
        for document in documents:
            file = directory / "document.json"
            file.write_text(json.dumps(document))
            done = tidegate(kind, "add", file, "-c", server.directory)
            assert done.code == 0, done.err


async def put(person: Person, path: str, content: bytes = b"hello\n") -> None:
    async with person.connect() as client, client.start_sftp_client() as sftp, sftp.open(path, "wb") as file:
        await file.write(content)


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_for, condition, what)


SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef").decode()


async def test_what_rules_do_with_an_upload(tmp_path: Path, mail: tuple[Mailbox, int]) -> None:
    box, smtp_port = mail
    with Receiver() as receiver:
        server = Running(
            tmp_path / "config",
            settings={
                "smtp": {"host": "127.0.0.1", "port": smtp_port, "from": "Gateway <gw@example.com>"},
                "common": {"event_manager": {"enabled_commands": ["/bin/sh"]}},
                "http": {"headers": [{"key": "X-Api-Key", "value": "of the operator"}]},
            },
        )
        server.expected_errors = ["rule c is given up"]
        person = server.account(email="ana@example.com", quota_files=50)
        out = tmp_path / "command"
        script = 'printf "%s|%s" "$1" "$MY_SIZE" > ' + str(out)
        await asyncio.to_thread(
            add,
            server,
            tmp_path,
            [
                action("move", 9, fs_config={"type": 1, "renames": [
                    {"key": "{{.VirtualPath}}", "value": "/done/{{.ObjectName}}"}]}),
                action("copy", 9, fs_config={"type": 6, "copy": [
                    {"key": "/done/{{.ObjectName}}", "value": "/copies/{{.ObjectName}}"}]}),
                action("zip", 9, fs_config={"type": 5, "compress": {
                    "name": "/z/{{.ObjectBaseName}}.zip", "paths": ["/copies"]}}),
                action("missing", 9, fs_config={"type": 4, "exist": ["/never"]}),
                action("hook", 1, http_config={
                    "endpoint": f"{receiver.url}/hook", "method": "POST", "timeout": 10,
                    "headers": [{"key": "Content-Type", "value": "application/json"}],
                    "query_parameters": [{"key": "p", "value": "{{.VirtualPath}}"}],
                    "body": '{"name":"{{.Name}}","path":"{{.VirtualPath}}"}', "signing_secret": SECRET}),
                action("mail", 3, email_config={
                    "recipients": ["{{.Email}}", "ops@example.com"], "bcc": ["hidden@example.com"],
                    "subject": "{{.Event}} {{.StatusString}} {{.ObjectName}}", "body": "by {{.Name}}: {{.ErrorString}}",
                    "attachments": ["/copies/{{.ObjectName}}"]}),
                action("alarm", 3, email_config={
                    "recipients": ["ops@example.com"], "subject": "{{.StatusString}} {{.ObjectName}}",
                    "body": "{{.ErrorString}}"}),
                action("say", 101, chat_config={
                    "url_secret": f"{receiver.url}/chat", "text": "<{{.ObjectName}}>", "digest_seconds": 2}),
                action("run", 2, cmd_config={
                    "cmd": "/bin/sh", "args": ["-c", script, "x", "{{.VirtualPath}}"], "timeout": 10,
                    "env_vars": [{"key": "MY_SIZE", "value": "{{.FileSize}}"}]}),
            ],
            [
                rule("a", "/in/**", "move", "copy", "zip", "hook", "mail", "run"),
                rule("b", "/chat/*", "say"),
                rule(
                    "c",
                    "/fail/*",
                    {"name": "missing", "relation_options": {"stop_on_failure": True}},
                    "say",
                    {"name": "alarm", "relation_options": {"is_failure_action": True}},
                ),
            ],
        )  # fmt: skip
        try:
            await asyncio.to_thread(server.start)
            async with person.connect() as client, client.start_sftp_client() as sftp:
                for directory in ("/in", "/chat", "/fail"):
                    await sftp.mkdir(directory)
            await put(person, '/in/a "b".txt')
            for number in range(5):
                await put(person, f"/chat/{number}")
            await put(person, "/fail/x")
            await until(out.exists, "the program ran")
            await until(lambda: len(box.mails) == 2, "mails")
            await until(lambda: any(one.path == "/chat" for one in receiver.accepted), "chat")
            listed = await asyncio.to_thread(tidegate, "rules", "list", "-c", server.directory)
            dead = await asyncio.to_thread(tidegate, "events", "list", "--json", "-c", server.directory)
        finally:
            await asyncio.to_thread(server.stop)

    assert sorted(str(one.relative_to(person.home)) for one in person.home.rglob("*") if one.is_file()) == [
        "chat/0", "chat/1", "chat/2", "chat/3", "chat/4", 'copies/a "b".txt', 'done/a "b".txt', "fail/x",
        'z/a "b".zip',
    ]  # fmt: skip
    with zipfile.ZipFile(io.BytesIO((person.home / 'z/a "b".zip').read_bytes())) as archive:
        assert archive.read('copies/a "b".txt') == b"hello\n"
    assert out.read_text() == '/in/a "b".txt|6'
    assert server.stored(person.name).used_quota_files == 9

    assert not any("x-api-key" in one.headers for one in receiver.received)  # administrators write these URLs
    hook = next(one for one in receiver.accepted if one.path.startswith("/hook"))
    assert hook.json == {"name": person.name, "path": '/in/a "b".txt'}
    assert hook.query == {"p": '/in/a "b".txt'}
    signed = f"{hook.id}.{hook.headers['webhook-timestamp']}.".encode() + hook.body
    digest = base64.b64encode(hmac.digest(b"0123456789abcdef", signed, hashlib.sha256)).decode()
    assert hook.headers["webhook-signature"] == f"v1,{digest}"

    by_subject = {message["Subject"]: (to, message) for to, message in box.mails}
    to, message = by_subject['upload OK a "b".txt']
    assert to == ["ana@example.com", "ops@example.com", "hidden@example.com"]
    assert "hidden" not in message.as_string()
    body, attached = message.get_payload()  # type: ignore[misc]
    assert attached.get_payload(decode=True) == b"hello\n"  # type: ignore[union-attr]
    assert f"by {person.name}" in str(body)
    told = by_subject["KO x"][1].get_payload(decode=True)
    assert b'action "missing" failed' in told  # type: ignore[operator]
    chats = [one.json["text"].split("\n") for one in receiver.accepted if one.path == "/chat"]
    assert sorted(text for texts in chats for text in texts) == [f"&lt;{number}&gt;" for number in range(5)]
    assert len(chats) < 5
    assert "whsec" not in listed.out + dead.out
    (given_up,) = json.loads(dead.out)
    assert (given_up["rule"], given_up["state"], given_up["path"]) == ("c", "dead", "/fail/x")


async def test_a_rule_that_is_waited_for_refuses(tmp_path: Path) -> None:
    server = Running(
        tmp_path / "config", settings={"common": {"event_manager": {"enabled_commands": ["/bin/sh"]}}}
    )
    person = server.account()
    sync = {"relation_options": {"execute_sync": True}}
    refuse = action(
        "no", 2, cmd_config={"cmd": "/bin/sh", "args": ["-c", "echo not here; exit 3"], "timeout": 10}
    )
    await asyncio.to_thread(
        add,
        server,
        tmp_path,
        [refuse, action("new log", 15)],
        [
            rule("rotate", "/good.txt", "new log"),
            rule("pre", "/closed/**", {"name": "no", **sync}, fs_events=["pre-upload"]),
            rule("late", "/*.exe", {"name": "no", **sync}),
        ],
    )
    try:
        await asyncio.to_thread(server.start)
        async with person.connect() as client, client.start_sftp_client() as sftp:
            await sftp.mkdir("/closed")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="not here"):
            await put(person, "/closed/f")
        with pytest.raises(asyncssh.SFTPError, match="not here"):
            await put(person, "/virus.exe")
        logs = set(server.directory.glob("tidegate*.log*"))
        await put(person, "/good.txt")
        await until(lambda: set(server.directory.glob("tidegate*.log*")) > logs, "a new log file")
    finally:
        await asyncio.to_thread(server.stop)
    assert sorted(one.name for one in person.home.iterdir()) == ["closed", "good.txt"]


async def test_what_a_command_changes_is_told_by_the_next_server(tmp_path: Path) -> None:
    with Receiver() as receiver:
        server = Running(tmp_path / "config", settings={})
        server.account()
        told = {
            "name": "records",
            "status": 1,
            "trigger": 2,
            "conditions": {"provider_events": ["add"], "options": {"provider_objects": ["folder"]}},
            "actions": [{"name": "call"}],
        }
        call = action(
            "call", 1, http_config={"endpoint": receiver.url, "timeout": 9, "body": "{{.ObjectName}}"}
        )
        await asyncio.to_thread(add, server, tmp_path, [call], [told])
        made = await asyncio.to_thread(tidegate, "folder", "add", "fo", "/srv/fo", "-c", server.directory)
        assert made.code == 0, made.err
        try:
            await asyncio.to_thread(server.start)
            await until(lambda: receiver.accepted, "told")
        finally:
            await asyncio.to_thread(server.stop)
    assert [one.body for one in receiver.accepted] == [b"fo"]
