# SPDX-License-Identifier: Apache-2.0
"""Uploads that nobody could scan are kept apart, shown, released by the rules of their account, and dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.support import fork_server
from tests.support.web_world import WebWorld, web_world

from tidegate.errors import Denied, TidegateError
from tidegate.events.kinds import Quarantined, Refused, Transferred
from tidegate.model import Peer, Principal, Protocol, VPath
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.session import Session

BASE = "/api/v2/quarantine"
T = TypeVar("T")
PUT = OpenFlags(write=True, create=True, truncate=True)
DATA = bytes(range(256)) * 3000


class Watch:
    """A sink that keeps events."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self._more = asyncio.Event()

    async def of(self, kind: type[T], count: int = 1) -> list[T]:
        """The events of a kind, once there are so many."""
        async with asyncio.timeout(10):
            while len(found := [one for one in self.events if isinstance(one, kind)]) < count:
                self._more.clear()
                await self._more.wait()
        return found

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def handle(self, event: object) -> None:
        self.handle_nowait(event)

    def handle_nowait(self, event: object) -> None:
        self.events.append(event)
        self._more.set()


@asynccontextmanager
async def quarantine_world(
    tmp_path: Path, *, watch: Watch | None = None, folders: list[dict[str, Any]] | None = None, **keys: Any
) -> AsyncIterator[WebWorld]:
    """A server whose clamd is not there, and whose user may write only in /in."""
    inspection = {
        "clamd": {"address": str(tmp_path / "no.socket"), "when_down": "quarantine"},
        "quarantine": {"directory": str(tmp_path / "kept"), **keys},
        "folders": folders or [],
    }
    sinks = [] if watch is None else [watch]
    async with web_world(tmp_path, inspection=inspection, sinks=sinks) as world:
        permissions = {"/": ["list"], "/in": ["*"]}
        user = world.user("acme", password="a password of acme", permissions=permissions)
        (await world.client.post("/api/v2/users", json=user)).raise_for_status()
        (world.home / "files" / "acme" / "in").mkdir(parents=True)
        yield world


@asynccontextmanager
async def session_of(world: WebWorld) -> AsyncIterator[Session]:
    account = await world.app.provider.user("acme")
    assert account is not None
    peer = Peer("c1", Protocol.SFTP, "192.0.2.7", 4711, "127.0.0.1:2022", "test")
    session = await world.app.sessions.open(Principal(account, "password", "192.0.2.7"), peer)
    try:
        yield session
    finally:
        await session.close()


async def upload(session: Session, path: str, data: bytes = DATA) -> None:
    file = await session.open(VPath.parse(path), PUT)
    await file.write(0, data)
    await file.close()


async def listed(world: WebWorld) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await world.client.get(BASE)).raise_for_status().json()
    return found


async def test_what_is_refused_is_kept_and_released(tmp_path: Path) -> None:
    watch = Watch()
    async with quarantine_world(tmp_path, watch=watch) as world:
        home = world.home / "files" / "acme"
        (home / "in" / "f").write_bytes(b"before")
        async with session_of(world) as session:
            with pytest.raises(Denied, match="could not be scanned"):
                await upload(session, "/in/f")
        assert (home / "in" / "f").read_bytes() == b"before"
        (item,) = await listed(world)
        shown = {"username": "acme", "path": "/in/f", "ip": "192.0.2.7", "size": len(DATA)}
        assert item | shown == item
        assert item["rule"] == "inspector[clamd]"
        assert (await world.client.get(f"{BASE}/{item['id']}")).json() == item
        (event,) = await watch.of(Quarantined)
        assert (event.name, event.virtual_path, event.size) == (item["id"], "/in/f", len(DATA))
        refusals = await watch.of(Refused)
        assert [(one.rule, one.infected) for one in refusals] == [("inspector[clamd]", False)]

        answer = await world.client.post(f"{BASE}/{item['id']}/release", params={"path": "/f"})
        assert (answer.status_code, answer.json()["error"]) == (403, "permission: upload on /")
        assert await listed(world) == [item]
        answer = await world.client.post(f"{BASE}/{item['id']}/release")
        assert (answer.status_code, answer.json()["message"]) == (200, "Released to /in/f")
        assert (home / "in" / "f").read_bytes() == DATA
        assert await listed(world) == []
        last = (await watch.of(Transferred, 2))[-1]
        assert (last.origin.protocol, last.status, last.virtual_path) == ("Quarantine", "ok", "/in/f")
        for method, path in (("GET", ""), ("POST", "/release"), ("DELETE", "")):
            gone = await world.client.request(method, f"{BASE}/{item['id']}{path}")
            assert gone.status_code == 404, (method, path)
            wrong = await world.client.request(method, f"{BASE}/nonsense{path}")
            assert wrong.status_code == 400, (method, path)


async def test_the_gate_says_why_it_does_not_take_a_file(tmp_path: Path) -> None:
    async with quarantine_world(tmp_path) as world:
        async with session_of(world) as session:
            with pytest.raises(Denied):
                await upload(session, "/in/f")
        (item,) = await listed(world)
        release = f"{BASE}/{item['id']}/release"
        (world.home / "files" / "acme" / "in").rmdir()
        assert (await world.client.post(release)).status_code == 404
        (world.home / "files" / "acme" / "in").mkdir()
        change = world.user("acme", permissions={"/": ["*"]}, quota_size=10)
        (await world.client.put("/api/v2/users/acme", json=change)).raise_for_status()
        answer = await world.client.post(release)
        assert answer.status_code in (403, 413, 507), answer.text
        (await world.client.delete("/api/v2/users/acme")).raise_for_status()
        answer = await world.client.post(release)
        assert (answer.status_code, answer.json()["error"]) == (404, "no such user: acme")
        assert await listed(world) == [item]
        assert (await world.client.delete(f"{BASE}/{item['id']}")).status_code == 200
        assert await listed(world) == []


async def test_a_client_can_be_told_that_it_has_arrived(tmp_path: Path) -> None:
    watch = Watch()
    async with quarantine_world(tmp_path, accept=True, watch=watch) as world:
        async with session_of(world) as session:
            await upload(session, "/in/f")
        assert list((world.home / "files" / "acme" / "in").iterdir()) == []
        assert [item["path"] for item in await listed(world)] == ["/in/f"]
        (ended,) = await watch.of(Transferred)
        assert ended.status == "failed"


async def test_what_does_not_fit_is_refused_whatever_clients_are_told(tmp_path: Path) -> None:
    async with quarantine_world(tmp_path, accept=True, max_bytes=10) as world:
        async with session_of(world) as session:
            with pytest.raises(Denied, match="could not be scanned"):
                await upload(session, "/in/f")
        assert await listed(world) == []


async def test_folders_have_policies_of_their_own(tmp_path: Path) -> None:
    folders = [
        {"path": "/in", "when_down": "refuse"},
        {"path": "/in/open", "users": ["acme"], "when_down": "allow"},
        {"path": "/in/open", "users": ["other"], "when_down": "quarantine"},
    ]
    async with quarantine_world(tmp_path, folders=folders) as world:
        async with session_of(world) as session:
            await session.mkdir(VPath.parse("/in/open"))
            await upload(session, "/in/open/f")
            with pytest.raises(Denied):
                await upload(session, "/in/f")
        assert (world.home / "files" / "acme" / "in" / "open" / "f").read_bytes() == DATA
        assert await listed(world) == []


async def test_the_command_line_does_the_same(tmp_path: Path) -> None:
    async with quarantine_world(tmp_path) as world:
        async with session_of(world) as session:
            for name in ("f", "g"):
                with pytest.raises(TidegateError):
                    await upload(session, f"/in/{name}")
        first, second = await listed(world)
        token = tmp_path / "token"
        token.touch(mode=0o600)
        token.write_text(await world.token())
        where = ("--url", world.url, "--token-file", str(token))

        async def command(*words: str) -> tuple[int, str]:
            done = await asyncio.to_thread(fork_server.run, ["quarantine", *words, *where], timeout=60)
            return done.returncode, done.stdout + done.stderr

        status, said = await command("list")
        assert status == 0, said
        assert first["id"] in said
        assert second["id"] in said
        status, said = await command("show", first["id"])
        assert (status, "192.0.2.7" in said) == (0, True)
        assert await command("release", first["id"]) == (0, "Released to /in/f\n")
        assert await command("drop", second["id"]) == (0, f"removed {second['id']}\n")
        status, said = await command("drop", second["id"])
        assert status != 0
        assert f"no file {second['id']} in quarantine" in said
        assert await listed(world) == []
