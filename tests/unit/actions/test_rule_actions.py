# SPDX-License-Identifier: Apache-2.0
"""Actions of rules: records, retention, requests and messages; to whom they are done, and their outcomes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import time
import zipfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.vfs_world import p, put, vfs_world

from tidegate.accounts.administration import Administration
from tidegate.actions import retention
from tidegate.actions.accounts import ACCOUNT_SECONDS, Completer
from tidegate.actions.commands import CommandActions
from tidegate.actions.digest import Digests
from tidegate.actions.messages import ChatActions, slack, teams
from tidegate.actions.outcome import DONE, Outcome
from tidegate.actions.people import People
from tidegate.actions.requests import HttpActions, signature
from tidegate.actions.retention import Retention, archive_of
from tidegate.actions.upkeep import DAY_MS, PAGE, Upkeep
from tidegate.errors import (
    Conflict,
    InvalidArgument,
    NotFound,
    OutsideBusy,
    OutsideFailed,
    StorageFailed,
    Unsupported,
)
from tidegate.model import Account, Filters, Folder, StorageConfig
from tidegate.model.rule import ActionType, EventAction, EventRule, Trigger
from tidegate.outgoing.http import HttpAnswer, HttpCaller
from tidegate.outgoing.programs import Programs
from tidegate.rules.book import Rule, ready
from tidegate.rules.facts import Facts
from tidegate.store.contract import Provider

NOW = 2_000_000_000
ON_DEMAND = Facts(trigger=Trigger.ON_DEMAND, event="")
UPLOAD = Facts(trigger=Trigger.FILE, event="upload", name="ana", virtual_path="/a b", id="e-1")


def rule(*patterns: str) -> Rule:
    conditions = {"options": {"names": [{"pattern": one} for one in patterns]}}
    return ready(EventRule(name="r", trigger=Trigger.ON_DEMAND, conditions=conditions), {})


def action(**options: Any) -> EventAction:
    return EventAction(name="act", type=ActionType.HTTP, options=options)


def account(name: str, **fields: Any) -> Account:
    return Account(username=name, home_dir=f"/srv/{name}", **{"email": f"{name}@example.com", **fields})


class World:
    """Records of a data provider, and what was done to them."""

    def __init__(self, *accounts: Account, folders: int = 0) -> None:
        self.accounts = {one.username: one for one in accounts}
        self.all_folders = [Folder(name=f"f{number:04d}", mapped_path="/x") for number in range(folders)]
        self.done: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.users = self
        self.mails: list[tuple[str, str, str]] = []
        self.mail_outcome = DONE
        provider = cast("Provider", self)
        self.people = People(self.find, provider)
        self.upkeep = Upkeep(
            provider, lambda: cast("Administration", self), self.people, scans=self, notify=self.notify,
            back_up=self.back_up, rotate=lambda: self.done.append("rotated"), clock=lambda: float(NOW),
        )  # fmt: skip

    async def find(self, username: str) -> Account | None:
        return self.accounts.get(username)

    async def iter_users(self, *, fresh: bool) -> AsyncIterator[Account]:
        assert fresh
        for one in list(self.accounts.values()):
            yield one

    async def folders(self, *, offset: int, limit: int) -> list[Folder]:
        return self.all_folders[offset : offset + limit]

    def _do(self, what: str) -> None:
        if what in self.failures:
            raise self.failures[what]
        self.done.append(what)

    async def scan(self, kind: str, name: str) -> None:
        self._do(f"scan {kind} {name}")

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        self._do(f"transfer {username} {upload} {download}")

    async def remove(self, name: str, *, by: object) -> None:
        assert "event rule r" in str(by)
        self._do(f"remove {name}")

    async def change(self, name: str, change: Any, *, by: object) -> None:
        assert "event rule r" in str(by)
        self._do(f"status {name} {change(self.accounts[name])['status']}")

    async def notify(self, address: str, subject: str, body: str) -> Outcome:
        self.mails.append((address, subject, body))
        return self.mail_outcome

    async def back_up(self) -> tuple[str, int]:
        self._do("backed up")
        return "dump.json", 7


async def test_files_are_counted_of_those_that_the_patterns_name() -> None:
    world = World(account("ana"), account("bob"), account("cat"))
    for facts, patterns, done in (
        (ON_DEMAND, ("a*", "b*"), ["ana", "bob"]),
        (ON_DEMAND, (), ["ana", "bob", "cat"]),
        (replace(UPLOAD, name="cat"), ("a*",), ["cat"]),
        (replace(UPLOAD, name="gone"), (), []),
        (replace(UPLOAD, name=""), (), []),
        (Facts(trigger=Trigger.PROVIDER, event="add", object_type="user", object_name="bob"), (), ["bob"]),
        (Facts(trigger=Trigger.PROVIDER, event="add", object_type="folder", object_name="bob"), (), []),
    ):
        world.done.clear()
        assert await world.upkeep.user_quota(action(), facts, rule(*patterns)) == DONE
        assert world.done == [f"scan user {name}" for name in done]
    world.done.clear()
    assert (await world.upkeep.transfer_quota(action(), ON_DEMAND, rule("b*"))).ok
    assert world.done == ["transfer bob 0 0"]
    world.failures = {"scan user ana": Conflict("counted already"), "scan user bob": StorageFailed()}
    outcome = await world.upkeep.user_quota(action(), ON_DEMAND, rule())
    assert (outcome.error, outcome.again) == (StorageFailed().text, True)
    assert world.done[-1] == "scan user cat"
    world.failures = {"scan user ana": Conflict("counted already")}
    assert await world.upkeep.user_quota(action(), ON_DEMAND, rule()) == DONE
    world.failures = {"scan user ana": NotFound(), "transfer ana 0 0": NotFound()}
    outcome = await world.upkeep.user_quota(action(), ON_DEMAND, rule())
    assert (outcome.ok, outcome.again) == (False, False)
    assert not (await world.upkeep.transfer_quota(action(), ON_DEMAND, rule())).ok


async def test_every_page_of_folders_is_counted() -> None:
    world = World(folders=2 * PAGE + 1)
    assert await world.upkeep.folder_quota(action(), ON_DEMAND, rule()) == DONE
    assert world.done == [f"scan folder f{number:04d}" for number in range(2 * PAGE + 1)]
    world.done.clear()
    world.failures = {"scan folder f0000": NotFound()}
    assert not (await world.upkeep.folder_quota(action(), ON_DEMAND, rule("f0000", "f1000"))).ok
    assert world.done == ["scan folder f1000"]


async def test_expired_accounts_are_named() -> None:
    now = NOW * 1000
    world = World(
        account("ana", expiration_date=now), account("bob", expiration_date=now + 1), account("cat"),
        account("dan", expiration_date=1),
    )  # fmt: skip
    outcome = await world.upkeep.expired(action(), ON_DEMAND, rule())
    assert outcome == Outcome("expired users: ana, dan")
    assert await world.upkeep.expired(action(), ON_DEMAND, rule("bob", "cat")) == DONE
    many = World(*(account(f"u{number}", expiration_date=1) for number in range(60)))
    assert (await many.upkeep.expired(action(), ON_DEMAND, rule())).error.count(",") == 49


async def test_accounts_are_told_of_passwords_that_expire() -> None:
    now, ten = NOW * 1000, Filters(password_expiration=10)
    world = World(
        account("ana", filters=ten, last_password_change=now - 6 * DAY_MS),
        account("bob", filters=ten, last_password_change=now - 7 * DAY_MS + 1),
        account("cat", filters=ten, last_password_change=0, created_at=now - 10 * DAY_MS),
        account("dan", filters=ten, last_password_change=now - 9 * DAY_MS, email=""),
        account("eve", last_password_change=1),
        account("fay", filters=ten, last_password_change=now - 9 * DAY_MS - 1),
    )
    soon = action(pwd_expiration_config={"threshold": 3})
    assert await world.upkeep.passwords(soon, ON_DEMAND, rule()) == DONE
    assert world.mails == [
        ("cat@example.com", "Password expiration", "The password of cat has expired. Please change it.\n"),
        (
            "fay@example.com",
            "Password expiration",
            "The password of fay expires in 1 days. Please change it.\n",
        ),
    ]
    world.mails.clear()
    own = action(
        pwd_expiration_config={"threshold": 4, "subject": "{{.Name}}!", "body": "{{.ErrorString}} {{.Email}}"}
    )
    await world.upkeep.passwords(own, ON_DEMAND, rule("ana", "cat"))
    assert world.mails == [
        ("ana@example.com", "ana!", "expires in 4 days ana@example.com"),
        ("cat@example.com", "cat!", "has expired cat@example.com"),
    ]
    world.mail_outcome = Outcome("421 later", again=True)
    outcome = await world.upkeep.passwords(own, ON_DEMAND, rule("ana", "cat"))
    assert (outcome.error, outcome.again) == ("ana: 421 later; cat: 421 later", True)


async def test_accounts_that_nobody_uses_are_disabled_and_removed() -> None:
    now = NOW * 1000
    world = World(
        account("ana", status=1, last_login=now - 5 * DAY_MS - 1),
        account("bob", status=0, last_login=now - 5 * DAY_MS - 1),
        account("cat", status=1, created_at=now - 9 * DAY_MS - 1),
        account("dan", status=1, last_login=now - 5 * DAY_MS),
        account("eve", status=0, last_login=now - 9 * DAY_MS),
    )
    both = action(user_inactivity_config={"disable_threshold": 5, "delete_threshold": 9})
    assert await world.upkeep.inactive(both, ON_DEMAND, rule()) == DONE
    assert world.done == ["status ana 0", "remove cat"]
    world.done.clear()
    await world.upkeep.inactive(action(user_inactivity_config={"delete_threshold": 5}), ON_DEMAND, rule())
    assert world.done == ["remove ana", "remove bob", "remove cat", "remove eve"]
    world.done.clear()
    await world.upkeep.inactive(action(user_inactivity_config={"disable_threshold": 5}), ON_DEMAND, rule())
    assert world.done == ["status ana 0", "status cat 0"]
    world.failures = {"status ana 0": NotFound()}
    assert not (await world.upkeep.inactive(both, ON_DEMAND, rule("ana"))).ok


async def test_backups_and_the_log() -> None:
    world = World()
    assert await world.upkeep.backup(action(), ON_DEMAND, rule()) == Outcome(made=("/dump.json", 7))
    assert await world.upkeep.rotate_log(action(), ON_DEMAND, rule()) == DONE
    assert world.done == ["backed up", "rotated"]
    world.failures = {"backed up": StorageFailed()}
    outcome = await world.upkeep.backup(action(), ON_DEMAND, rule())
    assert (outcome.ok, outcome.again) == (False, True)


# -- retention -----------------------------------------------------------------------------------------------------


async def test_files_that_are_too_old_go_and_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with vfs_world(tmp_path) as files:
        session = await files.login(files.account("ana"))
        for folder in ("/a", "/a/empty", "/a/kept", "/a/kept/own", "/b"):
            await session.mkdir(p(folder))
        old = time.time() - 2 * 3600
        for name, aged in (
            ("a/old", True), ("a/new", False), ("a/empty/old", True), ("a/kept/old", True), ("a/kept/new", False),
            ("a/kept/own/old", True), ("b/old", True),
        ):  # fmt: skip
            await put(session, f"/{name}", b"12345")
            if aged:
                os.utime(files.home("ana") / name, (old, old))

        @asynccontextmanager
        async def opened(found: Account, given: Rule) -> AsyncIterator[Any]:
            assert given.name == "r"
            if found.username == "bob":
                raise StorageFailed
            yield session

        world = World(account("ana"))
        work = Retention(opened, world.people)
        folders = [
            {"path": "/a", "retention": 1, "delete_empty_dirs": True}, {"path": "/a/kept/own", "retention": 0},
            {"path": "/b", "retention": 3}, {"path": "/none", "retention": 1},
        ]  # fmt: skip
        keep = EventAction(
            name="keep", type=ActionType.RETENTION, options={"retention_config": {"folders": folders}}
        )
        outcome = await work.run(keep, ON_DEMAND, rule())
        home = files.home("ana")
        assert sorted(str(one.relative_to(home)) for one in home.rglob("*") if one.is_file()) == [
            "a/kept/new", "a/kept/own/old", "a/new", "b/old",
        ]  # fmt: skip
        assert not (home / "a/empty").exists()
        assert outcome.ok
        ((name, text),) = outcome.reports
        assert name == "keep-ana.csv"
        lines = [line.split(",") for line in text.splitlines()]
        assert lines[0] == [
            "path", "retention (hours)", "deleted files", "deleted size (bytes)", "elapsed (ms)", "info", "error",
        ]  # fmt: skip
        assert [(line[0], line[1], line[2], line[3], line[5], line[6]) for line in lines[1:]] == [
            ("/a", "1", "3", "15", "", ""), ("/a/kept/own", "0", "0", "0", "left out: its retention is 0", ""),
            ("/b", "3", "0", "0", "", ""), ("/none", "1", "0", "0", "", ""),
        ]  # fmt: skip
        world.accounts["bob"] = account("bob")
        monkeypatch.setattr(retention, "MAX_REPORTS", 1)
        outcome = await work.run(keep, ON_DEMAND, rule())
        assert (outcome.error, outcome.again, len(outcome.reports)) == (
            f"bob: {StorageFailed().text}",
            True,
            1,
        )


def test_reports_are_an_archive() -> None:
    with pytest.raises(InvalidArgument):
        archive_of(UPLOAD)
    made = archive_of(replace(UPLOAD, reports=(("a/b.csv", "x"), ("c.csv", "y"))))
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a_b.csv": b"x", "c.csv": b"y"}


# -- requests and messages -------------------------------------------------------------------------------------------


class Caller:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, bytes, dict[str, str], float]] = []
        self.answer: HttpAnswer | Exception = HttpAnswer(200, b"")

    async def call(
        self, method: str, url: str, *, body: bytes, headers: Mapping[str, str], seconds: float
    ) -> HttpAnswer:
        self.calls.append((method, url, body, dict(headers), seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def secret_of(action: EventAction, section: str, key: str) -> str:
    return str(action.options[section].get(key, ""))


async def test_requests_have_what_their_action_says() -> None:
    secure, insecure = Caller(), Caller()

    async def reads(facts: Facts, rule: Rule, path: str) -> bytes:
        assert facts is UPLOAD
        if path == "/none":
            raise NotFound
        return f"content of {path}".encode()

    work = HttpActions(cast("HttpCaller", secure), cast("HttpCaller", insecure), secret_of, reads)

    async def sent(**config: Any) -> tuple[str, str, bytes, dict[str, str], float]:
        full = {"method": "POST", "endpoint": "http://h/{{.VirtualPath}}", "timeout": 5, **config}
        assert await work.run(action(http_config=full), UPLOAD, rule()) == DONE
        return (insecure if config.get("skip_tls_verify") else secure).calls.pop()

    method, url, body, headers, seconds = await sent(
        headers=[{"key": "Content-Type", "value": "application/json"}, {"key": "X", "value": "a\r\n{{.Name}}"}],
        body='{"p":"{{.VirtualPath}}"}', username="u", password="pw",
        query_parameters=[{"key": "z", "value": "1"}, {"key": "a", "value": "{{.Name}} &"}],
    )  # fmt: skip
    assert (method, url, seconds) == ("POST", "http://h/%2Fa%20b?a=ana+%26&z=1", 5.0)
    assert json.loads(body) == {"p": "/a b"}
    assert headers["X"] == "a  ana"
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"u:pw").decode()
    assert headers["Webhook-Id"] == "e-1"
    assert "Webhook-Signature" not in headers
    _, url, _, headers, _ = await sent(
        endpoint="http://h/x?y=1", query_parameters=[{"key": "a", "value": "b"}]
    )
    assert url == "http://h/x?y=1&a=b"
    assert "Authorization" not in headers
    _, _, body, headers, _ = await sent(body="b", signing_secret="s", skip_tls_verify=True)
    expected = signature("s", "e-1", int(headers["Webhook-Timestamp"]), b"b")
    assert headers["Webhook-Signature"] == expected["Webhook-Signature"]
    _, _, body, headers, _ = await sent(
        parts=[
            {"name": 'a"b', "body": "{{.Name}}", "headers": [{"key": "Content-Type", "value": "text/plain"}]},
            {"name": "f", "filepath": "../{{.VirtualPath}}"},
        ]
    )
    boundary = headers["Content-Type"].removeprefix("multipart/form-data; boundary=")
    assert body.decode() == (
        f'--{boundary}\r\nContent-Disposition: form-data; name="a\\"b"\r\nContent-Type: text/plain\r\n\r\nana\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="a b"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\ncontent of /a b\r\n--{boundary}--\r\n"
    )
    plain = {"method": "GET", "endpoint": "http://h/", "timeout": 5}
    broken = action(http_config={**plain, "parts": [{"name": "f", "filepath": "none"}]})
    outcome = await work.run(broken, UPLOAD, rule())
    assert (outcome.error.startswith("its body cannot be made"), outcome.again) == (True, False)
    for answer, again in (
        (HttpAnswer(503, b""), True), (HttpAnswer(404, b"why"), False), (OutsideFailed(detail="away"), True),
        (OutsideBusy(detail="busy"), True),
    ):  # fmt: skip
        secure.answer = answer
        outcome = await work.run(action(http_config=plain), UPLOAD, rule())
        assert (outcome.ok, outcome.again) == (False, again)
    secure.answer = HttpAnswer(204, b"")
    assert (await work.run(action(http_config=plain), UPLOAD, rule())).ok


def test_signatures_are_those_of_standard_webhooks() -> None:
    key = b"0123456789abcdef"
    for secret, used in (
        ("plain", b"plain"),
        ("whsec_" + base64.b64encode(key).decode(), key),
        ("whsec_not base64", b"whsec_not base64"),
    ):
        found = signature(secret, "id", 7, b"body")
        digest = base64.b64encode(hmac.digest(used, b"id.7.body", hashlib.sha256)).decode()
        assert found == {"Webhook-Timestamp": "7", "Webhook-Signature": f"v1,{digest}"}


async def test_chat_messages_have_the_style_of_their_service() -> None:
    caller = Caller()
    work = ChatActions(cast("HttpCaller", caller), secret_of, Digests())
    for style, body in (("slack", slack("<ana> & co")), ("teams", teams("<ana> & co"))):
        config = {"url_secret": "http://h/secret", "style": style, "text": "<{{.Name}}> & co"}
        assert await work.run(action(chat_config=config), UPLOAD, rule()) == DONE
        method, url, sent, headers, _ = caller.calls.pop()
        assert (method, url, json.loads(sent)) == ("POST", "http://h/secret", body)
        assert headers == {"Content-Type": "application/json", "Webhook-Id": "e-1"}
    assert slack("<a> & b") == {"text": "&lt;a&gt; &amp; b"}
    caller.answer = OutsideFailed(detail="http://h/secret is away")
    outcome = await work.run(action(chat_config=config), UPLOAD, rule())
    assert (outcome.again, "secret" in outcome.error) == (True, False)


async def test_programs_have_to_be_enabled(tmp_path: Path) -> None:
    program = tmp_path / "act"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" "$A" "$TIDEGATE_EVENT_ID" > {tmp_path}/seen\n')
    program.chmod(0o755)
    config = {
        "cmd": str(program), "args": ["{{.Name}}", "x y"], "env_vars": [{"key": "A", "value": "{{.VirtualPath}}"}],
        "timeout": 20,
    }  # fmt: skip
    programs = Programs()
    try:
        outcome = await CommandActions(programs, []).run(action(cmd_config=config), UPLOAD, rule())
        assert "enabled_commands" in outcome.error
        work = CommandActions(programs, [str(program)])
        assert await work.run(action(cmd_config=config), UPLOAD, rule()) == DONE
    finally:
        await programs.close()
    assert (tmp_path / "seen").read_text() == "ana|x y|/a b|e-1|"


async def test_facts_are_completed_by_the_account_and_its_storage() -> None:
    s3 = StorageConfig("s3", {"s3config": {"bucket": "b", "endpoint": "http://e"}})
    world = World(account("ana", role="ro", filesystem=s3), account("bob"))
    asked: list[str] = []
    now = [0.0]

    async def find(name: str) -> Account | None:
        asked.append(name)
        if name == "eve":
            raise Unsupported
        return world.accounts.get(name)

    async def record(kind: str, name: str) -> Any:
        raise AssertionError(kind, name)

    complete = Completer(find, record, clock=lambda: now[0])
    found = await complete(UPLOAD, rule())
    assert (found.role, found.email, found.fs_provider, found.bucket, found.endpoint) == (
        "ro", "ana@example.com", 1, "b", "http://e",
    )  # fmt: skip
    found = await complete(replace(UPLOAD, name="bob", email="own@example.com"), rule())
    assert (found.email, found.fs_provider, found.bucket) == ("own@example.com", 0, "")
    for name in ("", "eve", "nobody"):
        same = replace(UPLOAD, name=name)
        assert await complete(same, rule()) == same
    asked.clear()
    now[0] = ACCOUNT_SECONDS - 0.01
    await complete(UPLOAD, rule())
    assert asked == []
    now[0] = ACCOUNT_SECONDS
    await complete(UPLOAD, rule())
    assert asked == ["ana"]
