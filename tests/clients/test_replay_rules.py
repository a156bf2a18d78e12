# SPDX-License-Identifier: Apache-2.0
"""The recorded event rules of SFTPGo 2.7.5: each action and rule is defined by REST as there, and what clients do
sets off the same requests, mails and programs."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import os
import signal
import time
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from ftplib import FTP, all_errors
from io import BytesIO
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import web
from aiosmtpd.controller import Controller
from tests.support.hook_world import HookProgram, HookReceiver, HookWorld, hook_receiver, hook_world
from tests.support.ports import free_port
from tests.support.web_world import ADMIN

from tidegate.testing.replay import replaced

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
API = "/api/v2"
Record = dict[str, Any]


def recorded(name: str) -> list[Record]:
    return [json.loads(line) for line in (RECORDED / f"2.7.5-{name}.jsonl").read_text().splitlines()]


DEFINED = {
    one["what"]: one
    for one in sorted(recorded("event-definitions"), key=lambda one: not one["what"].startswith("action"))
    if one["request"].startswith("POST")
}
"""Definitions: actions, then rules that use them."""
RUNS = {one["what"]: one for one in recorded("event-runs")}

REFUSED = {
    "rule r_idp: define": 400,
    "rule error: unknown action": 400,
    "rule with names that do not exist": 400,
}
"""Definitions that are answered otherwise: no door asks identity providers, so a rule about them would never run;
an action that does not exist is a mistake of the request, which SFTPGo answers with 500 or by the name's conflict."""


class Inbox:
    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        del server, session
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.rcpt_tos, message))
        return "250 OK"


@dataclass
class Rules:
    """A server, and what its rules reach."""

    world: HookWorld
    receiver: HookReceiver
    inbox: Inbox
    program: HookProgram
    names: set[str] = field(default_factory=set)

    @property
    def home(self) -> Path:
        return self.world.directory / "homes" / "v1"

    @property
    def texts(self) -> dict[str, str]:
        return {
            "http://127.0.0.1:31420": self.receiver.base,
            "/srv/data/hooks/evcmd": str(self.program),
            "/srv/data/homes": str(self.home.parent),
        }

    async def define(self, what: str) -> int:
        """Define an action or rule as recorded; returns the status."""
        one = replaced(DEFINED[what], self.texts)
        answer = await self.world.web.client.request(*one["request"].split(" "), json=one["body"])
        return int(answer.status_code)

    @contextlib.asynccontextmanager
    async def rule(self, name: str, *, stays: bool = False, **changed: Any) -> AsyncIterator[None]:
        """A rule, with its actions, while it is needed."""
        client = self.world.web.client
        key = next(what for what in DEFINED if what == f"rule {name}: define")
        document = {**replaced(DEFINED[key]["body"], self.texts), **changed}
        for use in document["actions"]:
            if use["name"] not in self.names:
                self.names.add(use["name"])
                label = use["name"].removeprefix("a_")
                found = next(what for what in DEFINED if what.startswith(f"action {label}:"))
                assert await self.define(found) == 201, found
        answer = await client.post(f"{API}/eventrules", json=document)
        assert answer.status_code == 201, answer.text
        self.receiver.calls()
        yield
        if not stays:
            assert (await client.delete(f"{API}/eventrules/{name}")).status_code == 200

    async def run(self, name: str) -> None:
        answer = await self.world.web.client.post(f"{API}/eventrules/run/{name}")
        assert answer.status_code == 202, answer.text

    async def told(self, case: Record) -> Record:
        """The requests, mails and programs, once there are as many as were recorded."""
        programs: list[dict[str, str]] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while (
                    len(self.receiver.got) < len(case["http"])
                    or len(self.inbox.mails) < len(case["mail"])
                    or len(programs) < len(case["command"])
                ):
                    await asyncio.sleep(0.01)
                    programs += self.program.calls()
        mails, self.inbox.mails = self.inbox.mails, []
        return {
            "http": [request_of(one) for one in self.receiver.calls()],
            "mail": [mail_of(*one) for one in mails],
            "command": [{"argv": one["argv"]} for one in programs],
        }


def request_of(got: Any) -> Record:
    headers = {key.lower(): value for key, value in got.headers.items()}
    found: Record = {"method": got.method, "path": got.path, "headers": {}}
    for name in ("Authorization", "Content-Type", "X-Name"):
        if name.lower() in headers:
            found["headers"][name] = headers[name.lower()].partition(";")[0]
    kind = headers.get("content-type", "")
    if boundary := kind.partition("boundary=")[2]:
        found["body"] = got.body.replace(boundary.encode(), b"BOUNDARY")
    elif got.body[:1] == b"{" and b"{{.Retention" not in got.body:
        found["json"] = json.loads(got.body)
    elif got.body:
        found["body"] = got.body.decode()
    return found


def mail_of(to: list[str], message: EmailMessage) -> Record:
    body = "" if message.is_multipart() else message.get_content().rstrip("\n")
    return {"rcpt_to": to, "subject": message["Subject"].strip(), "body": body.replace("\r", "")}


def mails(case: Record) -> list[Record]:
    """The recorded mails; a blank at an end of a subject is no part of it (RFC 5322, 2.2)."""
    return [{**one, "subject": one["subject"].strip()} for one in case["mail"]]


TIMES = {"Timestamp": 19, "DateTime": 23, "Year": 4, "Month": 2, "Day": 2, "Hour": 2, "Minute": 2}
"""Fields that differ each time, with their length; `UID` and `Elapsed` differ too."""


def compare(
    expected: Record, got: Record, rules: Rules, *, error: str | None = None, status: str = ""
) -> None:
    """Compare what was told.

    Args:
        expected: the recorded step.
        got: what came.
        rules: whose texts stand for the recorded ones.
        error: what `ErrorString` is here; None if it is as recorded.
        status: `Status` in a request about a failure, which has one of its own here.
    """
    expected = replaced(expected, {**rules.texts, "admin": ADMIN})
    wanted = [dict(one) for one in expected["http"]]
    for one in got["http"]:
        body = one.get("json")
        if not isinstance(body, dict) or "Timestamp" not in body:
            continue
        for name, length in TIMES.items():
            assert len(body.pop(name)) == length, (name, one)
        assert body.pop("UID"), one
        assert body.pop("Elapsed").isdecimal(), one
        if error is not None:
            assert body.pop("ErrorString") == error, one
    for one in wanted:
        body = one.get("json")
        if isinstance(body, dict) and "ErrorString" in body:
            if error is not None:
                assert body.pop("ErrorString"), one
            if status:
                body.update(Status=status, StatusString={"1": "OK", "2": "KO"}[status])
    assert sorted(map(str, got["http"])) == sorted(map(str, wanted)), expected["what"]


def without_headers(case: Record) -> Record:
    return {**case, "http": [{**one, "headers": {}} for one in case["http"]]}


@contextlib.asynccontextmanager
async def rules_world(directory: Path, **more: dict[str, Any]) -> AsyncIterator[Rules]:
    inbox = Inbox()
    mail = Controller(inbox, hostname="127.0.0.1", port=free_port())
    await asyncio.to_thread(mail.start)
    program = HookProgram(directory, "evcmd")
    common = {"event_manager": {"enabled_commands": [str(program)]}, **more.pop("common", {})}
    sections: dict[str, dict[str, Any]] = {
        "common": common,
        "sftpd": {"enabled_ssh_commands": ["*"]},
        "data_provider": {"driver": "sqlite", "name": "t.db", "backups_path": str(directory / "backups")},
        "smtp": {"host": "127.0.0.1", "port": mail.port, "from": "from@example.com", "encryption": 0},
        "http": {"retry_max": 0},
        **more,
    }
    try:
        async with hook_receiver() as receiver, hook_world(directory, **sections) as world:
            rules = Rules(world, receiver, inbox, program)
            client = world.web.client
            for path, document in (("roles", {"name": "rl"}), ("groups", {"name": "g1"})):
                answer = await client.post(f"{API}/{path}", json=document)
                assert answer.status_code == 201, answer.text
            groups = [{"name": "g1", "type": 2}]
            await world.add("v1", password="pw-v1", role="rl", groups=groups, email="v1@example.com")
            await world.add("w1", password="pw-w1", email="w1@example.com")
            rules.home.mkdir(parents=True)
            yield rules
    finally:
        await asyncio.to_thread(mail.stop)


async def test_definitions(tmp_path: Path) -> None:
    """Definitions are accepted and refused as there."""
    async with rules_world(tmp_path) as rules:
        found = []
        for what, one in DEFINED.items():
            if one["request"].startswith("POST /api/v2/eventrules/run/"):
                continue
            status = await rules.define(what)
            if status != REFUSED.get(what, one["status"]):
                found.append((what, status, one["status"]))
        assert found == []
        # What has been accepted is read back with each of its keys.
        for what, one in DEFINED.items():
            if one["status"] != 201 or what in REFUSED or ": define" not in what:
                continue
            path = one["request"].partition(" ")[2]
            answer = await rules.world.web.client.get(f"{path}/{one['body']['name']}")
            body = replaced(one["body"], rules.texts)
            assert missing(body, answer.json()) == [], what


def missing(wanted: Any, got: Any, place: str = "") -> list[str]:
    """Places whose values are not there; what is empty may be absent."""
    if wanted in ("", 0, None, {}, [], False):
        return []
    if isinstance(wanted, dict) and isinstance(got, dict):
        return [
            line
            for key, value in wanted.items()
            if key != "password"
            for line in missing(value, got.get(key), f"{place}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [
            line
            for index, (a, b) in enumerate(zip(wanted, got, strict=True))
            for line in missing(a, b, f"{place}[{index}]")
        ]
    # Paths are stored with the slash that they begin with.
    return (
        []
        if wanted == got or (isinstance(wanted, str) and got == f"/{wanted}")
        else [f"{place}: {got!r}, not {wanted!r}"]
    )


@contextlib.asynccontextmanager
async def sftp_of(rules: Rules, name: str = "v1") -> AsyncIterator[asyncssh.SFTPClient]:
    async with (
        rules.world.ssh(name, password=f"pw-{name}", preferred_auth="password") as connection,
        connection.start_sftp_client() as sftp,
    ):
        yield sftp


async def put(rules: Rules, path: str, name: str = "v1") -> None:
    async with sftp_of(rules, name) as sftp, sftp.open(path, "wb") as file:
        await file.write(b"hello\n")


async def get(rules: Rules, path: str) -> None:
    async with sftp_of(rules) as sftp, sftp.open(path, "rb") as file:
        await file.read()


async def cut(rules: Rules, path: str) -> None:
    async with rules.world.ssh("v1", password="pw-v1", preferred_auth="password") as connection:
        sftp = await connection.start_sftp_client()
        file = await sftp.open(path, "wb")
        await file.write(bytes(100_000))
        connection.abort()


async def ssh(rules: Rules, command: str) -> None:
    async with rules.world.ssh("v1", password="pw-v1", preferred_auth="password") as connection:
        await connection.run(command)


async def ftp(rules: Rules, work: Callable[[FTP], object]) -> bool:
    """Do something by FTP; True if it was not refused."""

    def do() -> bool:
        with FTP() as client:
            client.connect("127.0.0.1", rules.world.ftp_port, timeout=20)
            client.login("v1", "pw-v1")
            try:
                work(client)
            except all_errors:
                return False
            return True

    return await asyncio.to_thread(do)


async def test_acts_on_files(tmp_path: Path) -> None:
    """Each act tells the same placeholders as there."""
    async with rules_world(tmp_path) as rules:

        async def sftp(method: str, *words: str) -> None:
            async with sftp_of(rules) as client:
                await getattr(client, method)(*words)

        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "fs event over SFTP: put": lambda: put(rules, "/my file.txt"),
            "fs event over SFTP: get": lambda: get(rules, "/my file.txt"),
            "fs event over SFTP: rename": lambda: sftp("rename", "/my file.txt", "/d2.tar.gz"),
            "fs event over SFTP: mkdir": lambda: sftp("mkdir", "/m"),
            "fs event over SFTP: rmdir": lambda: sftp("rmdir", "/m"),
            "fs event over SFTP: delete": lambda: sftp("remove", "/d2.tar.gz"),
            "fs event: sftpgo-copy over SSH": lambda: ssh(rules, "sftpgo-copy /c.txt /c2.txt"),
            "fs event: md5sum fails": lambda: ssh(rules, "md5sum /nope"),
            "fs event: upload cut (status 2)": lambda: cut(rules, "/cut.bin"),
        }
        (rules.home / "c.txt").write_bytes(b"hello\n")
        # A broken transfer is told where a rule asks for it.
        asks = {
            **DEFINED["rule r_fs_all: define"]["body"]["conditions"],
            "options": {"event_statuses": [1, 2]},
        }
        async with rules.rule("r_fs_all", conditions=asks):
            for what, act in acts.items():
                case = RUNS[what]
                await act()
                error = {"md5sum": '"ssh_cmd" failed: ', "cut": '"upload" failed: '}
                begins = next((text for word, text in error.items() if word in what), None)
                got = await rules.told(case)
                if begins is not None:
                    (one,) = got["http"]
                    assert one["json"]["ErrorString"].startswith(begins), one
                    compare(case, got, rules, error=one["json"]["ErrorString"])
                else:
                    compare(case, got, rules)


async def test_conditions_and_every_kind_of_target(tmp_path: Path) -> None:
    async with rules_world(tmp_path) as rules, rules.rule("r_mail"):
        for home in (rules.home, rules.home.parent / "w1"):
            (home / "mail").mkdir(parents=True)
        case = RUNS["upload matching every condition: two mails, two commands, multipart POST, GET"]
        await put(rules, "/mail/x.txt", "w1")
        await put(rules, "/mail/x.txt")
        got = await rules.told(case)
        assert got["mail"] == mails(case)
        assert [one["argv"] for one in got["command"]] == [" ".join(one["argv"]) for one in case["command"]]
        parts, plain = got["http"]
        assert parts["body"].decode() == case["http"][0]["body"]
        assert (plain["method"], plain["path"]) == ("GET", case["http"][1]["path"])


async def test_files_are_changed_before_the_client_is_told(tmp_path: Path) -> None:
    async with rules_world(tmp_path) as rules:
        (rules.home / "in").mkdir()
        (rules.home / "todel").mkdir()
        for kind in ("rename", "copy", "compress", "mkdir", "delete"):
            async with rules.rule(f"r_fs_{kind}"):
                await put(rules, f"/in/fs_{kind}.txt")
                made = {
                    "rename": "done/fs_rename.txt", "copy": "copies/fs_copy.txt",
                    "compress": "z-fs_compress.txt.zip", "mkdir": "made/v1/a",
                }.get(kind)  # fmt: skip
                assert made is None or (rules.home / made).exists(), kind
                case = RUNS[f"upload to /in with fs_{kind} (execute_sync) then http"]
                compare(case, await rules.told(case), rules)
        assert not (rules.home / "in" / "fs_rename.txt").exists()
        assert not (rules.home / "todel").exists()
        with zipfile.ZipFile(rules.home / "z-fs_compress.txt.zip") as archive:
            assert archive.namelist() == ["fs_compress.txt"]


@pytest.mark.parametrize("newer", [True, False])
async def test_times_of_what_is_renamed(tmp_path: Path, newer: bool) -> None:
    async with rules_world(tmp_path) as rules:
        (rules.home / "old").write_bytes(b"x")
        os.utime(rules.home / "old", (1e9, 1e9))
        renames = [{"key": "/old", "value": "/new", "update_modtime": newer}]
        action = {"name": "move", "type": 9, "options": {"fs_config": {"type": 1, "renames": renames}}}
        names = {"options": {"names": [{"pattern": "v1"}]}}
        rule = {"name": "r", "status": 1, "trigger": 6, "conditions": names, "actions": [{"name": "move"}]}
        for path, document in (("eventactions", action), ("eventrules", rule)):
            answer = await rules.world.web.client.post(f"{API}/{path}", json=document)
            assert answer.status_code == 201, answer.text
        await rules.run("r")
        async with asyncio.timeout(10):
            # The name comes first, the time after it.
            while not (rules.home / "new").exists() or (
                newer and (rules.home / "new").stat().st_mtime == 1e9
            ):
                await asyncio.sleep(0.01)
        assert ((rules.home / "new").stat().st_mtime == 1e9) is not newer


FAILS = 'action "a_fs_exist" failed: v1: /surely-missing does not exist'
"""The error is said once."""


async def test_failures(tmp_path: Path) -> None:
    """Failures refuse the client, and are told with status 2, where SFTPGo tells that of the act."""
    async with rules_world(tmp_path) as rules:
        (rules.home / "in").mkdir()
        (rules.home / "in" / "fs_copy.txt").write_bytes(b"hello\n")
        (case,) = (one for what, one in RUNS.items() if what.startswith("sync upload rule whose first"))
        async with rules.rule("r_fail"):
            with pytest.raises(asyncssh.SFTPError):
                await put(rules, "/in/failing.txt")
            # `stop_on_failure` leaves out what comes after the failure, where SFTPGo runs what nobody waits for.
            case = {**case, "http": [one for one in case["http"] if one["method"] == "POST"]}
            got = await rules.told(case)
            compare(case, got, rules, error=FAILS, status="2")
            (mail,) = got["mail"]
            assert mail["subject"] == "upload KO /in/failing.txt"
            assert mail["rcpt_to"] == case["mail"][0]["rcpt_to"]
            assert mail["body"] == f"user v1 from 127.0.0.1 size 6 err {FAILS}"
        assert not (rules.home / "in" / "failing.txt").exists()

        async def removed(path: str) -> None:
            async with sftp_of(rules) as sftp:
                await sftp.remove(path)

        by_sftp: dict[str, Callable[[], Awaitable[None]]] = {
            "upload": lambda: put(rules, "/in/q.txt"),
            "download": lambda: get(rules, "/in/fs_copy.txt"),
            "delete": lambda: removed("/in/fs_copy.txt"),
        }
        by_ftp: dict[str, Callable[[FTP], object]] = {
            "upload": lambda client: client.storbinary("STOR in/q.txt", BytesIO(b"hello\n")),
            "download": lambda client: client.retrbinary("RETR in/fs_copy.txt", lambda _: None),
            "delete": lambda client: client.delete("in/fs_copy.txt"),
        }
        for kind, act in by_sftp.items():
            async with rules.rule(f"r_pre-{kind}"):
                with pytest.raises(asyncssh.SFTPPermissionDenied):
                    await act()
                case = RUNS[f"pre-{kind} rule that fails: SFTP client"]
                compare(case, await rules.told(case), rules, error=FAILS, status="2")
                assert not await ftp(rules, by_ftp[kind])
                case = RUNS[f"pre-{kind} rule that fails: FTP client"]
                compare(case, await rules.told(case), rules, error=FAILS, status="2")
        assert [one.name for one in (rules.home / "in").iterdir()] == ["fs_copy.txt"]

        async def answer(_: Any) -> web.StreamResponse:
            return web.Response(status=500)

        case = RUNS["sync upload rule, HTTP target answers 500: client"]
        async with rules.rule("r_h500"):
            rules.receiver.answer = answer
            with pytest.raises(asyncssh.SFTPError):
                await put(rules, "/h500.txt")
            got = await rules.told(case)
            compare(case, got, rules)
            (mail,) = got["mail"]
            assert mail["body"] == 'user v1 from 127.0.0.1 size 6 err action "a_http" failed: status 500'
        assert not (rules.home / "h500.txt").exists()


async def test_changes_of_records(tmp_path: Path) -> None:
    async with rules_world(tmp_path) as rules, rules.rule("r_prov"):
        client = rules.world.web.client
        user = rules.world.document("v3", password="pw-v3", email="v3@example.com")
        folder = {"name": "fo2", "mapped_path": str(tmp_path / "homes" / "fo2")}
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "user add": lambda: client.post(f"{API}/users", json=user),
            "user update": lambda: client.put(f"{API}/users/v3", json={**user, "email": ""}),
            "folder add": lambda: client.post(f"{API}/folders", json=folder),
            "user delete": lambda: client.delete(f"{API}/users/v3"),
        }
        for what, act in acts.items():
            case = RUNS[f"provider event: {what}"]
            answer = await act()
            assert answer.status_code in {200, 201}, answer.text
            got = await rules.told(case)
            first, second = got["http"]
            compare({**case, "http": case["http"][:1]}, {**got, "http": [first]}, rules)
            # `{{.ObjectData}}` is the record, with the dot too; SFTPGo writes {} there.
            assert second["json"]["t"] == case["http"][1]["json"]["t"]
            name = "fo2" if "folder" in what else "v3"
            assert name in {second["json"]["d"].get("username"), second["json"]["d"].get("name")}


async def test_runs_on_demand(tmp_path: Path) -> None:
    async with rules_world(tmp_path) as rules:
        async with rules.rule("r_demand"):
            case = RUNS["on demand run: http"]
            await rules.run("r_demand")
            compare(case, await rules.told(case), rules)
        async with rules.rule("r_d_backup"):
            await rules.run("r_d_backup")
            got = await rules.told({"http": [], "mail": [1], "command": []})
            (mail,) = got["mail"]
            made = time.gmtime()
            file = f"backup_{time.strftime('%A', made)}_"
            assert mail["subject"].strip().startswith(f"OK /{file}")
            assert mail["rcpt_to"] == ["r@example.com", "b@example.com"]
        rotated = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, rotated.set)
        for kind in ("uquota", "tquota", "pwdexp", "userexp", "inact", "rotate"):
            async with rules.rule(f"r_d_{kind}"):
                await rules.run(f"r_d_{kind}")
                case = RUNS[f"on demand run: {kind} then ['http']"]
                compare(case, await rules.told(case), rules)
        await asyncio.wait_for(rotated.wait(), 10)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)
        # A folder whose directory is missing fails there; here it holds nothing, as it does for clients.
        answer = await rules.world.web.client.post(
            f"{API}/folders", json={"name": "fo1", "mapped_path": str(tmp_path / "homes" / "fo1")}
        )
        assert answer.status_code == 201
        async with rules.rule("r_d_fquota"):
            await rules.run("r_d_fquota")
            case = RUNS["on demand run: uquota then ['http']"]
            compare(case, await rules.told(case), rules)
        await rules.world.add("vx", password="pw-vx", expiration_date=1000)
        async with rules.rule("r_userexp2"):
            await rules.run("r_userexp2")
            case = RUNS["on demand: user expiration check with an expired user, failure actions"]
            compare(case, got := await rules.told(case), rules)
            (mail,) = got["mail"]
            assert mail == mails(case)[0]


async def test_retention_and_its_report(tmp_path: Path) -> None:
    async with rules_world(tmp_path) as rules:
        old = time.time() - 3 * 86_400
        for name in ("old/o.txt", "keep/k.txt"):
            file = rules.home / name
            file.parent.mkdir()
            file.write_bytes(b"x")
            os.utime(file, (old, old))
        async with rules.rule("r_reto"):
            await rules.run("r_reto")
            (case,) = (
                one for what, one in RUNS.items() if what.startswith("on demand: data retention, then")
            )
            got = await rules.told(case)
            (request,), (mail,) = got["http"], got["mail"]
            assert (request["method"], request["path"]) == ("POST", "/ev")
            content = request["body"].partition(b"\r\n\r\n")[2].rpartition(b"\r\n--BOUNDARY--")[0]
            with zipfile.ZipFile(BytesIO(content)) as archive:
                (name,) = case["http"][0]["zip"]
                assert archive.namelist() == [name]
                lines = archive.read(name).decode().splitlines()
            theirs = case["http"][0]["zip"][name].splitlines()
            assert lines[0] == theirs[0]
            assert mail["subject"] == "rep"
        assert [one.name for one in rules.home.iterdir()] == ["keep"]


async def test_a_ban(tmp_path: Path) -> None:
    defender = {"enabled": True, "threshold": 6, "score_invalid": 2, "ban_time": 1}
    async with (
        rules_world(tmp_path, common={"defender": defender}) as rules,
        rules.rule("r_ban", stays=True),
    ):  # REST is closed too
        case = RUNS["ip blocked: four logins with unknown users, threshold 6"]
        for _ in range(4):
            with contextlib.suppress(asyncssh.ConnectionLost, ConnectionResetError):
                await rules.world.sftp("nouser", "bad")
        got = await rules.told(case)
        compare(case, got, rules)
        assert got["mail"] == mails(case)
