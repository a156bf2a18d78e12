# SPDX-License-Identifier: Apache-2.0
"""Accounts that hooks answer, stored or not; and hooks that are told of logins and ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tidegate.accounts.administration import Administration
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord, OutsideFailed, ProviderUnavailable
from tidegate.events.kinds import Administered, Disconnected, Event, LoggedIn, LoginFailed
from tidegate.hooks import notices
from tidegate.hooks.asking import Asker, Question, Reply
from tidegate.hooks.notices import REFUSED, Notices
from tidegate.hooks.records import HookRecords
from tidegate.hooks.settings import Hook, HookSettings
from tidegate.model import Account, Folder, Origin, Peer, Protocol
from tidegate.store.memory import MemoryProvider
from tidegate.store.options import ProviderOptions

PEER = Peer("c1", Protocol.SFTP, "192.0.2.7")


class World:
    """A provider in memory with its administration; passwords whose hash says what they are."""

    def __init__(self, home: Path, *, store: bool = True) -> None:
        self.home = home
        self.events: list[Event] = []
        self.checked: list[tuple[str, str]] = []
        self.provider = MemoryProvider(ProviderOptions(driver="memory", name="", base_dir=home))
        part: Any = self
        self.admin = Administration(
            self.provider,
            AdministrationOptions(rules=Rules(naming_rules=1 | 2), user_bits=0, admin_bits=0),
            Needs(hashes=part, connections=part, tokens=part, scans=part, events=part),
        )
        self.records = HookRecords(self.provider, self.admin, store=store)

    async def hash(self, password: str, *, source: str = "") -> str:
        assert source in {"", PEER.remote_ip}
        return f"$2a$04${password:.<53}"

    async def fits(self, source: str, username: str, stored: str, password: str) -> bool:
        assert source == PEER.remote_ip
        self.checked.append((username, password))
        return stored == await self.hash(password)

    def close_user(self, username: str, *, by: str) -> int:
        del username, by
        return 0

    async def scan(self, kind: str, name: str) -> None: ...

    async def revoke_all(self, username: str) -> None: ...

    async def record(self, *events: Event) -> None:
        self.events.extend(events)

    def document(self, name: str = "ana", **more: Any) -> dict[str, Any]:
        return {
            "username": name,
            "status": 1,
            "home_dir": str(self.home / name),
            "permissions": {"/": ["*"]},
            **more,
        }

    async def whole(self, answer: Mapping[str, Any], stored: Account | None = None, **more: Any) -> Account:
        return await self.records.whole(answer, PEER, stored=stored, passwords=self, **more)

    def told(self) -> list[tuple[str, str, str]]:
        """Actions, channels and addresses of changes since the last call."""
        found = [
            (one.action, one.channel, one.origin.ip) for one in self.events if isinstance(one, Administered)
        ]
        self.events.clear()
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.provider.open()
    yield made
    await made.provider.close()


KEY, OTHER = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPr/yAxiE+AAi+kp8ZYxk4MXcJ6mkZ0wVJ5sPkVfuBpb",
    "ssh-ed25519 ",
)
OTHER += "AAAAC3NzaC1lZDI1NTE5AAAAILQo1aCN2ZrM4QjJHS8iVVrjPzj1XwMBMlkZ3H5z0FgO"


async def test_a_user_that_external_authentication_answers_is_stored_with_what_proved_it(
    world: World,
) -> None:
    ana = await world.whole(world.document(id=77, used_quota_size=5), secret="pw")
    assert (ana.username, ana.password, ana.used_quota_size) == ("ana", await world.hash("pw"), 0)
    assert ana.id not in {0, 77}
    assert world.told() == [("add", "hook", PEER.remote_ip)]
    # The same again changes nothing; another password is hashed anew.
    again = await world.whole(world.document(), stored=ana, secret="pw")
    assert (again, world.told()) == (ana, [])
    assert world.checked == [("ana", "pw")]
    other = await world.whole(world.document(), stored=ana, secret="other")
    assert other.password == await world.hash("other")
    assert world.told() == [("change", "hook", PEER.remote_ip)]
    # Keys are added once.
    keyed = await world.whole(world.document(), stored=other, key=KEY)
    assert keyed.public_keys == (KEY,)
    keyed = await world.whole(world.document(), stored=keyed, key=f"{KEY} comment")
    assert keyed.public_keys == (KEY,)
    keyed = await world.whole(world.document(public_keys=[OTHER]), stored=keyed, key=KEY)
    assert keyed.public_keys == (OTHER, KEY)
    assert await world.records.known("ana") == keyed


async def test_a_user_of_another_name_is_that_user(world: World) -> None:
    ana = await world.whole(world.document())
    bob = await world.whole(world.document("Bob", email="b@example.com"), stored=ana)
    assert (bob.username, bob.email) == ("bob", "b@example.com")
    changed = await world.whole(world.document("BOB", email="c@example.com"), stored=ana)
    assert (changed.id, changed.email) == (bob.id, "c@example.com")
    assert await world.records.known("ana") == ana
    for wrong in ({"username": 5}, {"username": "eve", "uid": "x"}):
        with pytest.raises(BadRecord):
            await world.whole(world.document() | wrong)


async def test_a_credential_alone_keeps_the_account(world: World) -> None:
    ana = await world.whole(world.document(email="a@example.com", public_keys=[OTHER]))
    same = await world.records.with_secret(ana, PEER, passwords=world)
    assert same == ana
    found = await world.records.with_secret(ana, PEER, passwords=world, secret="pw", key=KEY)
    assert (found.email, found.public_keys) == ("a@example.com", (OTHER, KEY))
    assert found.password == await world.hash("pw")
    assert world.checked == []  # there was no hash to check


async def test_parts_of_a_user_before_a_login(world: World) -> None:
    async def partial(answer: dict[str, Any], name: str = "ana") -> Account:
        stored = await world.records.known(name)
        return await world.records.partial(answer, PEER, username=name, stored=stored)

    ana = await partial(world.document(filters={"max_upload_file_size": 5, "denied_ip": ["192.0.2.0/24"]}))
    assert world.told() == [("add", "hook", PEER.remote_ip)]
    changed = await partial({"quota_files": 3, "username": "ANA", "filters": {"max_upload_file_size": 6}})
    assert (changed.id, changed.quota_files, changed.filters.max_upload_file_size) == (ana.id, 3, 6)
    assert [str(one) for one in changed.filters.denied_ip] == ["192.0.2.0/24"]
    assert changed.permissions == {"/": ("*",)}
    assert world.told() == [("change", "hook", PEER.remote_ip)]
    assert await partial({"quota_files": 3}) == changed
    assert world.told() == []
    for wrong in ({"username": "bob"}, {"username": 5}, {"uid": "x"}):
        with pytest.raises(BadRecord):
            await partial(wrong)


async def test_two_logins_of_a_new_user_make_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one finds that the first was faster."""
    first = await world.whole(world.document(email="a@example.com"))

    async def unknown(username: str) -> Account | None:
        monkeypatch.undo()
        return None if username == "ana" else first

    monkeypatch.setattr(world.records, "known", unknown)
    second = await world.whole(world.document(email="b@example.com"))
    assert (second.id, second.email) == (first.id, "b@example.com")


async def test_accounts_that_are_not_stored(tmp_path: Path) -> None:
    world = World(tmp_path, store=False)
    await world.provider.open()
    await world.provider.add_folder(Folder(name="team", mapped_path=str(tmp_path / "team")))
    mounts = [{"name": "team", "virtual_path": "/team"}]
    ana = await world.whole(world.document(id=5, password="pw", virtual_folders=mounts), secret="pw", key=KEY)
    assert (ana.id, ana.password, ana.public_keys) == (0, "", ())
    assert [one.mapped_path for one in ana.virtual_folders] == [str(tmp_path / "team")]
    assert await world.records.known("ana") is None
    with pytest.raises(BadRecord, match="none"):
        await world.whole(world.document(virtual_folders=[{"name": "none", "virtual_path": "/n"}]))
    with pytest.raises(BadRecord):
        await world.whole(world.document(uid="x"))
    await world.provider.close()


# -- notices -------------------------------------------------------------------------------------------------------


class Told:
    """Remembers what hooks are told; `gate` holds the answers up."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Question]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Reply | Exception = Reply(200, b"")
        self.closed = False

    async def ask(self, hook: Hook, question: Question, *, retry: bool = False) -> Reply:
        assert retry
        self.calls.append((hook.name, question))
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None:
        self.closed = True


def hook(name: str) -> Hook:
    return Hook(name, f"/{name}", f"key_of_{name}")


ORIGIN = Origin("c1", "ana", "SFTP", "192.0.2.7")
ANA = Account(username="ana", home_dir="/h", password="hash", id=3)
EVERY = HookSettings(
    post_login=hook("post_login"), post_disconnect=hook("post_disconnect"), startup=hook("startup")
)


def noticing(told: Told, settings: HookSettings = EVERY, away: bool = False) -> Notices:
    async def find(username: str) -> Account | None:
        if away:
            raise ProviderUnavailable
        return ANA if username == "ana" else None

    return Notices(settings, cast("Asker", told), find)


def logged_in(**more: Any) -> LoggedIn:
    return LoggedIn(origin=replace(ORIGIN, **more), method="password")


def failed(reason: str = "bad_credential", **more: Any) -> LoginFailed:
    return LoginFailed(origin=replace(ORIGIN, **more), login_type="publickey", reason=reason)


async def test_logins_are_told(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    sink = noticing(told)
    await sink.open()
    await sink.handle(logged_in())
    sink.handle_nowait(failed(protocol="FTP", username="eve"))
    sink.handle_nowait(failed(username=""))
    sink.handle_nowait(failed(REFUSED))
    sink.handle_nowait(object())
    await sink.settle()
    assert [name for name, _ in told.calls] == ["post_login"] * 3
    good, bad, nobody = (question for _, question in told.calls)
    assert dict(good.query) == {
        "login_method": "password", "ip": "192.0.2.7", "protocol": "SSH", "status": "1",
    }  # fmt: skip
    assert {**good.variables, "LOGIND_USER": ""} == {
        "LOGIND_USER": "", "LOGIND_IP": "192.0.2.7", "LOGIND_METHOD": "password", "LOGIND_STATUS": "1",
        "LOGIND_PROTOCOL": "SSH",
    }  # fmt: skip
    shown = json.loads(good.body)
    assert (shown["username"], shown["id"], "password" in shown) == ("ana", 3, False)
    assert good.variables["LOGIND_USER"] == good.body.decode()
    assert (good.method, good.source) == ("POST", "192.0.2.7")
    assert (bad.query["protocol"], bad.query["status"], bad.query["login_method"]) == (
        "FTP",
        "0",
        "publickey",
    )
    shown = json.loads(bad.body)
    assert (shown["username"], shown["id"]) == ("eve", 0)
    assert json.loads(nobody.body)["username"] == ""
    told.calls.clear()
    sink = noticing(told, away=True)
    sink.handle_nowait(logged_in())
    await sink.settle()
    assert json.loads(told.calls[0][1].body)["id"] == 0
    for answer in (OutsideFailed(detail="away"), Reply(500, b"", "status 500")):
        caplog.clear()
        told.answer = answer
        sink.handle_nowait(logged_in())
        await sink.settle()
        assert "key_of_post_login failed: " in caplog.text
    caplog.clear()
    told.answer = Reply(200, b"")
    sink.handle_nowait(logged_in())
    await sink.settle()
    assert caplog.text == ""


@pytest.mark.parametrize(("scope", "told_of"), [(0, "10"), (1, "0"), (2, "1")])
async def test_scopes_of_notices(scope: int, told_of: str) -> None:
    told = Told()
    sink = noticing(told, replace(EVERY, login_scope=scope))
    sink.handle_nowait(logged_in())
    sink.handle_nowait(failed())
    await sink.settle()
    assert "".join(question.query["status"] for _, question in told.calls) == told_of
    sink = noticing(told, HookSettings())
    sink.handle_nowait(logged_in())
    sink.handle_nowait(Disconnected(origin=replace(ORIGIN, protocol="FTP")))
    sink.channel_ended(ORIGIN, 0.0)
    sink.started()
    await sink.settle()
    assert len(told.calls) == len(told_of)


async def test_ends_are_told_once_by_the_door_that_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices.time, "time", lambda: 1000.0)
    told = Told()
    sink = noticing(told)
    ftp = replace(ORIGIN, protocol="FTP")
    sink.handle_nowait(Disconnected(origin=ftp, duration=1.2345, logged_in=True))
    sink.handle_nowait(Disconnected(origin=ftp, duration=1.0))
    sink.handle_nowait(Disconnected(origin=ftp, by=REFUSED))
    sink.handle_nowait(Disconnected(origin=ORIGIN, logged_in=True))
    for protocol in ("SFTP", "SCP", "SSH", "DAV"):
        sink.channel_ended(replace(ORIGIN, protocol=protocol), 998.5)
    sink.channel_ended(ORIGIN, 1001.0)
    sink.started()
    await sink.settle()
    assert told.calls.pop() == ("startup", Question(method="GET"))
    assert {name for name, _ in told.calls} == {"post_disconnect"}
    seen = [
        (one.query["protocol"], one.query["username"], one.query["connection_duration"])
        for _, one in told.calls
    ]
    assert seen == [
        ("FTP", "ana", "1234"), ("FTP", "", "1000"), ("SFTP", "ana", "1500"), ("SCP", "ana", "1500"),
        ("SSH", "ana", "1500"), ("SFTP", "ana", "0"),
    ]  # fmt: skip
    question = told.calls[0][1]
    assert (question.method, question.source, question.query["ip"]) == ("GET", "192.0.2.7", "192.0.2.7")
    assert question.variables == {
        "CONNECTION_IP": "192.0.2.7", "CONNECTION_USERNAME": "ana", "CONNECTION_DURATION": "1234",
        "CONNECTION_PROTOCOL": "FTP",
    }  # fmt: skip


async def test_notices_that_wait_are_bounded_and_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "MAX_TOLD", 2)
    now = [1000.0]
    monkeypatch.setattr(notices.time, "monotonic", lambda: now[0])
    caplog.set_level(logging.ERROR)
    told = Told()
    told.gate.clear()
    sink = noticing(told)
    for _ in range(4):
        sink.started()
    assert [one.message for one in caplog.records] == ["1 calls of hooks were lost: 2 wait already"]
    now[0] += notices.REPORT_SECONDS + 1
    sink.started()
    assert caplog.records[-1].message == "2 calls of hooks were lost: 2 wait already"
    await asyncio.sleep(0)
    assert len(told.calls) == 2
    await asyncio.wait_for(sink.close(), 5)
    assert told.closed
    told.gate.set()
    sink.started()
    await sink.settle()
    assert len(told.calls) == 3


async def test_a_fault_of_the_program_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    told.answer = RuntimeError("broken")
    sink = noticing(told)
    sink.started()
    await sink.settle()
    await asyncio.sleep(0)
    assert "a hook was not told" in caplog.text
