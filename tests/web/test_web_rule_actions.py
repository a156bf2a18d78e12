# SPDX-License-Identifier: Apache-2.0
"""Actions of event rules, each run on demand on one running server: records, files, mail, chat, HTTP."""

from __future__ import annotations

import asyncio
import csv
import email
import io
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import asyncssh
import pytest
import pytest_asyncio
from aiosmtpd.controller import Controller
from tests.support.doors import port_of
from tests.support.ports import free_port
from tests.support.receiver import Receiver
from tests.support.running import make_key
from tests.support.web_world import CHEAP_HASHING, WebWorld, web_world

from tidegate.actions.outcome import DONE, Outcome
from tidegate.actions.people import People
from tidegate.actions.upkeep import Upkeep
from tidegate.model.group import Group
from tidegate.model.group import Role as AccountRole
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.rules.book import Rule
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import Facts
from tidegate.server.rule_parts import PartsOfServer

pytestmark = pytest.mark.asyncio(loop_scope="module")
API = "/api/v2"
DAY = 86_400
TOLD = "{{.StatusString}}|{{.ErrorString}}|{{.VirtualPath}}|{{.FileSize}}"


class Inbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        del server, session
        message = email.message_from_bytes(envelope.content, policy=default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.rcpt_tos, message))
        return "250 OK"


@dataclass
class RuleWorld:
    """A server, a mail server and a receiver of what rules tell."""

    web: WebWorld
    inbox: Inbox
    receiver: Receiver
    made: list[str] = field(default_factory=list)

    async def add(self, path: str, document: dict[str, Any]) -> None:
        answer = await self.web.client.post(f"{API}/{path}", json=document)
        assert answer.status_code == 201, answer.text

    async def user(self, name: str, **more: Any) -> Path:
        await self.add("users", self.web.user(name, password="a password of theirs", **more))
        home = self.web.home / "files" / name
        home.mkdir(parents=True, exist_ok=True)
        return home

    async def rule(self, name: str, trigger: int, *actions: dict[str, Any], **conditions: Any) -> None:
        """A rule that says how it ended to the receiver, at `/NAME`."""
        config = {"endpoint": f"{self.receiver.url}/{name}", "timeout": 10, "body": TOLD}
        await self.add("eventactions", {"name": f"{name} end", "type": 1, "options": {"http_config": config}})
        uses: list[dict[str, Any]] = []
        for index, one in enumerate(actions):
            await self.add("eventactions", {"name": f"{name} {index}", **one})
            uses.append({"name": f"{name} {index}", "relation_options": {"stop_on_failure": True}})
        uses += [
            {"name": f"{name} end"},
            {"name": f"{name} end", "relation_options": {"is_failure_action": True}},
        ]
        ordered = [{**use, "order": order} for order, use in enumerate(uses, start=1)]
        document = {
            "name": name,
            "status": 1,
            "trigger": trigger,
            "conditions": conditions,
            "actions": ordered,
        }
        await self.add("eventrules", document)

    async def wait(self, condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(20):
            while not (found := condition()):
                await asyncio.sleep(0.02)
        return found

    def ends(self, name: str) -> list[str]:
        return [one.body.decode() for one in self.receiver.accepted if one.path == f"/{name}"]

    async def run(self, name: str, *actions: dict[str, Any], who: str = "*") -> str:
        """Run actions on demand on accounts or folders whose name matches; returns how it ended."""
        await self.rule(name, 6, *actions, options={"names": [{"pattern": who}]})
        answer = await self.web.client.post(f"{API}/eventrules/run/{name}")
        assert answer.status_code == 202, answer.text
        await self.wait(lambda: self.ends(name))
        (end,) = self.ends(name)
        return str(end)

    async def put(self, name: str, path: str, content: bytes) -> None:
        async with asyncssh.connect(
            "127.0.0.1", port_of(self.web.app), username=name, password="a password of theirs",
            known_hosts=None, config=None, client_keys=None, agent_path=None,
        ) as connection, connection.start_sftp_client() as sftp, sftp.open(path, "wb") as file:  # fmt: skip
            await file.write(content)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RuleWorld]:
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(controller.start)
    home = tmp_path_factory.mktemp("rules")
    sections: dict[str, dict[str, Any]] = {
        "data_provider": {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING},
        "smtp": {"host": "127.0.0.1", "port": controller.port, "from": "gw@example.com"},
        "common": {
            "defender": {"enabled": True, "threshold": 4, "score_invalid": 2, "ban_time": 1},
        },
        "sftpd": {"host_keys": ["id_ed25519"]},
    }
    make_key(home / "id_ed25519")
    try:
        with Receiver() as receiver:
            async with web_world(home, ssh=True, **sections) as web:
                yield RuleWorld(web, inbox, receiver)
    finally:
        await asyncio.to_thread(controller.stop)


def plain(kind: int, **options: Any) -> dict[str, Any]:
    return {"type": kind, "options": options}


async def test_retention(world: RuleWorld) -> None:
    home = await world.user("keeper", quota_files=100)
    old = time.time() - 30 * 3600
    for path in ("a", "sub/b", "sub/c", "keep/d", "short/e", "new"):
        file = home / path
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"123")
        if path not in ("new", "sub/c"):
            os.utime(file, (old, old))
    folders = [
        {"path": "/", "retention": 24, "delete_empty_dirs": True},
        {"path": "/keep", "retention": 0},
        {"path": "/short", "retention": 40},
    ]
    mail = {"recipients": ["reports@example.com"], "subject": "kept", "body": "see",
            "attachments": ["{{RetentionReports}}"]}  # fmt: skip
    parts = [{"name": "rep", "filepath": "{{RetentionReports}}"}]
    http = {"endpoint": f"{world.receiver.url}/reports", "method": "POST", "timeout": 10, "parts": parts}
    end = await world.run(
        "retention", plain(8, retention_config={"folders": folders}), plain(3, email_config=mail),
        plain(1, http_config=http), who="keeper",
    )  # fmt: skip
    assert end == "OK|||0"
    ((_, message),) = [one for one in world.inbox.mails if one[0] == ["reports@example.com"]]
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content_type()) == (
        "retention-reports.zip",
        "application/zip",
    )
    with zipfile.ZipFile(io.BytesIO(attached.get_payload(decode=True))) as archive:  # type: ignore[arg-type]
        rows = list(csv.reader(io.StringIO(archive.read("retention 0-keeper.csv").decode())))
    assert rows[0] == [
        "path", "retention (hours)", "deleted files", "deleted size (bytes)", "elapsed (ms)", "info", "error",
    ]  # fmt: skip
    told = [[*row[:4], *row[5:]] for row in rows[1:]]
    assert told == [
        ["/", "24", "2", "6", "", ""], ["/keep", "0", "0", "0", "left out: its retention is 0", ""],
        ["/short", "40", "0", "0", "", ""],
    ]  # fmt: skip
    (sent,) = [one for one in world.receiver.accepted if one.path == "/reports"]
    assert b'filename="retention-reports.zip"' in sent.body
    left = sorted(str(one.relative_to(home)) for one in home.rglob("*") if one.is_file())
    assert left == ["keep/d", "new", "short/e", "sub/c"]


async def test_counts_are_made_again(world: RuleWorld) -> None:
    provider = world.web.app.provider
    for name in ("counted", "other"):
        home = await world.user(name, quota_files=100)
        (home / "x").write_bytes(b"12345")
        await provider.set_transfer_usage(name, upload=7, download=8)
    folder = world.web.home / "files" / "shared"
    folder.mkdir()
    (folder / "y").write_bytes(b"123")
    await world.add("folders", {"name": "shared", "mapped_path": str(folder)})

    assert await world.run("users", plain(5), who="counted") == "OK|||0"
    assert await world.run("folders", plain(6), who="sha*") == "OK|||0"
    assert await world.run("bytes", plain(7), who="counted") == "OK|||0"
    counted, other = await provider.user("counted"), await provider.user("other")
    assert counted is not None
    assert other is not None
    assert (counted.used_quota_size, counted.used_quota_files) == (5, 1)
    assert (counted.used_upload_data_transfer, counted.used_download_data_transfer) == (0, 0)
    assert (other.used_upload_data_transfer, other.used_quota_files) == (7, 0)
    shared = await provider.folder("shared")
    assert shared is not None
    assert (shared.used_quota_size, shared.used_quota_files) == (3, 1)


async def test_accounts_that_have_expired(world: RuleWorld) -> None:
    await world.user("expired1", expiration_date=int((time.time() - DAY) * 1000))
    await world.user("expired2", expiration_date=int((time.time() + DAY) * 1000))
    end = await world.run("expiry", plain(12), who="expired*")
    assert end == 'KO|action "expiry 0" failed: expired users: expired1||0'


async def test_passwords_that_expire(world: RuleWorld) -> None:
    for name, days in (("soon", 3), ("later", 30), ("never", 0)):
        await world.user(f"pw-{name}", email=f"{name}@example.com", filters={"password_expiration": days})
    end = await world.run("passwords", plain(11, pwd_expiration_config={"threshold": 5}), who="pw-*")
    assert end == "OK|||0"
    ((to, message),) = [one for one in world.inbox.mails if "Password" in one[1]["Subject"]]
    assert to == ["soon@example.com"]
    assert "pw-soon expires in 3 days" in message.get_content()
    own = {
        "threshold": 5,
        "subject": "{{.Name}}, your password",
        "body": "<{{.Email}}> {{.ErrorString}} {{.Nope}}",
    }
    assert await world.run("own-words", plain(11, pwd_expiration_config=own), who="pw-*") == "OK|||0"
    ((to, message),) = [one for one in world.inbox.mails if one[1]["Subject"] == "pw-soon, your password"]
    assert to == ["soon@example.com"]
    assert message.get_content().strip() == "<soon@example.com> expires in 3 days {{.Nope}}"
    two = {"name": "two lines", **plain(11, pwd_expiration_config={**own, "subject": "a\nb"})}
    refused = await world.web.client.post(f"{API}/eventactions", json=two)
    assert refused.status_code == 400
    assert "pwd_expiration_config.subject" in refused.text


async def test_accounts_that_nobody_uses_by_a_later_clock(world: RuleWorld) -> None:
    for name in ("idle-on", "idle-off", "used"):
        await world.user(name, status=0 if name == "idle-off" else 1)
    app, provider = world.web.app, world.web.app.provider
    parts = PartsOfServer(app)
    told: list[tuple[str, str]] = []

    async def notify(address: str, subject: str, text: str) -> Outcome:
        del subject
        told.append((address, text))
        return DONE

    async def back_up() -> tuple[str, int]:
        raise AssertionError

    def after(days: float) -> Upkeep:
        return Upkeep(
            provider, parts.administration, People(parts.find, provider), scans=parts, notify=notify,
            back_up=back_up, rotate=lambda: None, clock=lambda: time.time() + days * DAY,
        )  # fmt: skip

    thresholds = {"disable_threshold": 10, "delete_threshold": 20}
    action = EventAction(
        name="idle", type=ActionType.INACTIVITY, options={"user_inactivity_config": thresholds}
    )
    await world.rule("idle", 6)
    record = await provider.event_rule("idle")
    rule = Rule("idle", Condition(trigger=Trigger.ON_DEMAND), (), record=record)
    assert record is not None
    for pattern, days, expected in (
        ("idle-*", 9, {"idle-on": 1, "idle-off": 0}),
        ("idle-*", 11, {"idle-on": 0, "idle-off": 0}),
        ("idle-*", 21, {}),
    ):
        conditions = {"options": {"names": [{"pattern": pattern}]}}
        chosen = replace(rule, record=replace(record, conditions=conditions))
        facts = Facts(trigger=Trigger.ON_DEMAND, event="")
        assert await after(days).inactive(action, facts, chosen) == DONE
        users = {name: await provider.user(name) for name in ("idle-on", "idle-off")}
        assert {name: one.status for name, one in users.items() if one is not None} == expected
    assert await provider.user("used") is not None
    late = EventAction(
        name="pw", type=ActionType.PASSWORD_EXPIRATION, options={"pwd_expiration_config": {"threshold": 5}}
    )
    await world.user("pwlate", email="l@example.com", filters={"password_expiration": 30})
    conditions = {"options": {"names": [{"pattern": "pwlate"}]}}
    chosen = replace(rule, record=replace(record, conditions=conditions))
    for days in (20, 26, 31):
        assert await after(days).passwords(late, facts, chosen) == DONE
    assert told == [
        ("l@example.com", "The password of pwlate expires in 4 days. Please change it.\n"),
        ("l@example.com", "The password of pwlate has expired. Please change it.\n"),
    ]


async def test_a_backup_and_what_comes_after_it_knows_the_file(world: RuleWorld) -> None:
    await world.user("kept-account")
    end = await world.run("backup", plain(4))
    status, error, path, size = end.split("|")
    assert (status, error) == ("OK", "")
    file = world.web.home / "backups" / path.removeprefix("/")
    assert file.stat().st_size == int(size)
    assert "kept-account" in file.read_text()


async def test_a_message_to_teams(world: RuleWorld) -> None:
    chat = {"url_secret": f"{world.receiver.url}/teams/secret", "style": "teams", "text": "<b> & {{.UID}}"}
    assert await world.run("teams", plain(101, chat_config=chat)) == "OK|||0"
    (message,) = [one for one in world.receiver.accepted if one.path == "/teams/secret"]
    assert message.headers["content-type"] == "application/json"
    (card,) = message.json["attachments"]
    assert message.json["type"] == "message"
    assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert card["content"]["body"] == [{"type": "TextBlock", "text": f"<b> & {message.id}", "wrap": True}]
    shown = await world.web.client.get(f"{API}/eventactions/teams 0")
    assert "teams/secret" not in shown.text


async def test_parts_of_a_request_and_templates_of_mail(world: RuleWorld) -> None:
    await world.user("parts", email="parts@example.com")
    parts = [
        {"name": "meta", "headers": [{"key": "Content-Type", "value": "application/json"}],
         "body": '{"file": "{{.ObjectName}}"}'},
        {"name": 'the "file"', "filepath": "{{.VirtualPath}}"},
    ]  # fmt: skip
    http = {"endpoint": f"{world.receiver.url}/parts-sent", "method": "PUT", "timeout": 10, "parts": parts,
            "username": "u", "password": "p", "query_parameters": [{"key": "n", "value": "{{.Name}} &"}]}  # fmt: skip
    mail = {"recipients": ["{{.Email}}"], "subject": "{{.ObjectBaseName}}{{.Ext}}", "content_type": 1,
            "body": "<p>{{.ObjectName}} of {{.FileSize}} in {{.VirtualDirPath}}</p>"}  # fmt: skip
    await world.rule(
        "parts", 1, plain(1, http_config=http), plain(3, email_config=mail),
        fs_events=["upload"], options={"fs_paths": [{"pattern": "/*.txt"}], "protocols": ["SFTP"]},
    )  # fmt: skip
    name = '<i> "x".txt'
    await world.put("parts", f"/{name}", b"\0content\r\n")
    await world.put("parts", "/other.bin", b"")
    assert await world.wait(lambda: world.ends("parts")) == [f"OK||/{name}|10"]
    (sent,) = [one for one in world.receiver.accepted if one.path.startswith("/parts-sent")]
    assert (sent.method, sent.query) == ("PUT", {"n": "parts &"})
    assert sent.headers["authorization"] == "Basic dTpw"
    head = b"Content-Type: " + sent.headers["content-type"].encode() + b"\r\n\r\n"
    first, second = email.message_from_bytes(head + sent.body, policy=default).iter_parts()  # type: ignore[attr-defined]
    assert json.loads(first.get_payload(decode=True)) == {"file": name}
    assert first.get_param("name", header="content-disposition") == "meta"
    assert second.get_param("name", header="content-disposition") == 'the "file"'
    assert second.get_filename() == name
    assert b"\r\n\r\n\0content\r\n\r\n--" in sent.body
    ((to, message),) = [one for one in world.inbox.mails if one[0] == ["parts@example.com"]]
    assert to == ["parts@example.com"]
    assert message["Subject"] == name
    assert message.get_content().strip() == "<p>&lt;i&gt; &quot;x&quot;.txt of 10 in /</p>"


async def test_a_rule_that_is_muted_says_nothing(world: RuleWorld) -> None:
    await world.rule("muted", 2, provider_events=["add"], options={"provider_objects": ["folder"]})
    client = world.web.client
    stored = (await client.get(f"{API}/eventrules/muted")).json()
    until = int((time.time() + 3600) * 1000)
    assert (
        await client.put(f"{API}/eventrules/muted", json={**stored, "muted_until": until})
    ).status_code == 200
    await world.add("folders", {"name": "quiet", "mapped_path": "/srv/quiet"})
    assert (await client.put(f"{API}/eventrules/muted", json={**stored, "muted_until": 0})).status_code == 200
    await world.add("folders", {"name": "loud", "mapped_path": "/srv/loud"})
    await world.wait(lambda: world.ends("muted"))
    assert len(world.ends("muted")) == 1


async def test_logins_quota_marks_and_bans(world: RuleWorld) -> None:
    await world.user("marked", quota_size=1000)
    await world.rule("came", 101, login_events=["login"], options={"names": [{"pattern": "marked"}]})
    await world.rule("failed", 101, login_events=["login-failed"], options={"names": [{"pattern": "marks"}]})
    await world.rule("full", 102, options={"names": [{"pattern": "marked"}]})
    await world.rule("banned", 4)
    await world.put("marked", "/a", bytes(850))
    assert await world.wait(lambda: world.ends("came")) == ["OK|||0"]
    assert await world.wait(lambda: world.ends("full")) == ["OK|quota_size at 80 %: 850 of 1000||850"]
    for _ in range(2):
        with pytest.raises(asyncssh.Error):
            await asyncssh.connect(
                "127.0.0.1", port_of(world.web.app), username="marks", password="wrong",
                known_hosts=None, config=None, client_keys=None, agent_path=None, local_addr=("127.0.0.9", 0),
            )  # fmt: skip
    assert (await world.wait(lambda: world.ends("failed")))[0].startswith("KO|")
    assert await world.wait(lambda: world.ends("banned")) == ["OK|||0"]


async def test_rules_for_groups_and_roles(world: RuleWorld) -> None:
    await world.web.app.provider.add_group(Group(name="partners"))
    await world.web.app.provider.add_role(AccountRole(name="north"))
    member = {"groups": [{"name": "partners", "type": 2}]}
    for name, more in (("in-both", {**member, "role": "north"}), ("in-group", member), ("in-none", {})):
        await world.user(name, expiration_date=int((time.time() + DAY) * 1000), **more)
    names = {"group_names": [{"pattern": "part*"}], "role_names": [{"pattern": "north"}]}
    await world.rule("grouped", 1, fs_events=["upload"], options=names)
    await world.rule("others", 1, fs_events=["upload"], options={
        "names": [{"pattern": "in-*"}], "role_names": [{"pattern": "north", "inverse_match": True}]})  # fmt: skip
    for name in ("in-none", "in-group", "in-both"):
        await world.put(name, f"/{name}", b"")
    await world.wait(lambda: world.ends("grouped") and len(world.ends("others")) == 2)
    assert world.ends("grouped") == ["OK||/in-both|0"]
    assert sorted(world.ends("others")) == ["OK||/in-group|0", "OK||/in-none|0"]
    await world.add("eventactions", {"name": "quiet", **plain(15)})
    document = {
        "name": "no", "trigger": 2, "actions": [{"name": "quiet"}],
        "conditions": {"provider_events": ["add"], "options": names},
    }  # fmt: skip
    answer = await world.web.client.post(f"{API}/eventrules", json=document)
    assert answer.status_code == 400
    assert "group_names" in answer.text


async def test_what_never_comes_is_refused_by_name(world: RuleWorld) -> None:
    await world.add("eventactions", {"name": "any", **plain(15)})
    document = {"name": "idp", "trigger": 7, "status": 1, "actions": [{"name": "any"}]}
    answer = await world.web.client.post(f"{API}/eventrules", json=document)
    assert answer.status_code == 400
    assert "identity provider" in answer.text
