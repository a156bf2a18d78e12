# SPDX-License-Identifier: Apache-2.0
"""A hook that is waited for refuses over FTP, WebDAV, SCP and SFTP: nothing happens, nothing is charged."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ftplib import FTP, all_errors
from pathlib import Path
from typing import Any

import asyncssh
import httpx2
from aiohttp import web
from tests.support.doors import port_of
from tests.support.hook_world import HookWorld, Received, hook_receiver, hook_world

Act = Callable[[str, bytes], Awaitable[str]]
"""Does one of put, get, delete with a content; returns what the client was told, empty if it went well."""


@asynccontextmanager
async def over_ftp(world: HookWorld, path: str) -> AsyncIterator[Act]:
    client = FTP()

    def act(what: str, content: bytes) -> str:
        try:
            match what:
                case "put":
                    client.storbinary(f"STOR {path}", io.BytesIO(content))
                case "get":
                    client.retrbinary(f"RETR {path}", lambda _: None)
                case _:
                    client.delete(path)
        except all_errors as error:
            return str(error)
        return ""

    def begin() -> None:
        client.connect("127.0.0.1", world.ftp_port, timeout=20)
        client.login("u1", "pw")

    await asyncio.to_thread(begin)
    try:
        yield lambda what, content: asyncio.to_thread(act, what, content)
    finally:
        await asyncio.to_thread(client.close)


@asynccontextmanager
async def over_dav(world: HookWorld, path: str) -> AsyncIterator[Act]:
    url = f"http://127.0.0.1:{world.dav_port}{path}"
    async with httpx2.AsyncClient(verify=False, auth=("u1", "pw")) as client:

        async def act(what: str, content: bytes) -> str:
            method = {"put": "PUT", "get": "GET", "delete": "DELETE"}[what]
            answer = await client.request(method, url, content=content if what == "put" else None)
            return "" if answer.is_success else f"{answer.status_code} {answer.text}"

        yield act


@asynccontextmanager
async def over_sftp(world: HookWorld, path: str) -> AsyncIterator[Act]:
    async with world.ssh("u1", password="pw") as connection, connection.start_sftp_client() as sftp:

        async def act(what: str, content: bytes) -> str:
            try:
                match what:
                    case "put":
                        async with sftp.open(path, "wb") as file:
                            await file.write(content)
                    case "get":
                        async with sftp.open(path, "rb") as file:
                            await file.read()
                    case _:
                        await sftp.remove(path)
            except asyncssh.SFTPError as error:
                return str(error)
            return ""

        yield act


@asynccontextmanager
async def over_scp(world: HookWorld, path: str) -> AsyncIterator[Act]:
    local = world.directory / "local"
    local.mkdir(exist_ok=True)

    async def act(what: str, content: bytes) -> str:
        async with world.ssh("u1", password="pw") as connection:
            try:
                if what == "put":
                    (local / Path(path).name).write_bytes(content)
                    await asyncssh.scp(local / Path(path).name, (connection, path))
                elif what == "get":
                    await asyncssh.scp((connection, path), local / "got")
                else:
                    return "there is no such thing"
            except (OSError, asyncssh.Error) as error:
                return str(error)
        return ""

    assert port_of(world.web.app)
    yield act


async def test_refused_means_refused_at_every_door(tmp_path: Path) -> None:
    refused: set[str] = set()
    asked: list[tuple[str, str]] = []

    def answer(got: Received) -> web.Response:
        event = got.json["action"]
        asked.append((event, got.json["protocol"]))
        return web.Response(status=403, text="not on Sundays") if event in refused else web.Response()

    events = ["pre-upload", "pre-download", "pre-delete", "upload"]
    async with hook_receiver() as receiver:
        receiver.answer = answer
        actions: dict[str, Any] = {
            "execute_on": events, "execute_sync": ["upload"], "hook": f"{receiver.base}/ask",
        }  # fmt: skip
        sections: dict[str, dict[str, Any]] = {
            "common": {"actions": actions},
            "sftpd": {"enabled_ssh_commands": ["scp"]},
        }
        async with hook_world(tmp_path, **sections) as world:
            await world.add("u1", password="pw", quota_files=100, quota_size=10_000)
            home = tmp_path / "homes" / "u1"
            for name, door, over in (
                ("ftp", "FTP", over_ftp), ("dav", "DAV", over_dav),
                ("sftp", "SFTP", over_sftp), ("scp", "SCP", over_scp),
            ):  # fmt: skip
                path, file = f"/{name}.txt", home / f"{name}.txt"
                async with over(world, path) as act:
                    refused.clear()
                    assert await act("put", b"old content") == ""
                    for what, event in (
                        ("put", "pre-upload"), ("put", "upload"), ("get", "pre-download"), ("delete", "pre-delete"),
                    ):  # fmt: skip
                        if name == "scp" and what == "delete":
                            continue
                        refused |= {event}
                        asked.clear()
                        said = await act(what, b"other")
                        assert "not on sundays" in said.lower(), (name, event, said)
                        assert asked[-1] == (event, door), (name, event)
                        refused -= {event}
                        assert file.read_bytes() == b"old content", (name, event)
                    assert await act("get", b"") == ""
                    refused |= {"upload"}
                    async with over(world, f"/new-{name}") as other:
                        assert "not on sundays" in (await other("put", b"x")).lower()
                    assert not (home / f"new-{name}").exists()
            await world.web.app.sessions.tracker.settle("u1")
            stored = await world.stored("u1")
            assert stored is not None
            assert (stored["used_quota_files"], stored["used_quota_size"]) == (4, 44)
            assert sorted(one.name for one in home.rglob("*")) == [
                "dav.txt",
                "ftp.txt",
                "scp.txt",
                "sftp.txt",
            ]
