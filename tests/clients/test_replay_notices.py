# SPDX-License-Identifier: Apache-2.0
"""The recorded hooks of SFTPGo 2.7.5 about connections, logins and the start, replayed at the same doors."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncssh
import pytest
from aiohttp import web
from tests.support.doors import port_of
from tests.support.ftp_world import RawFtp
from tests.support.hook_world import HookProgram, HookReceiver, HookWorld, Person, hook_receiver, hook_world

RECORDED = Path(__file__).parent.parent / "data" / "recorded"
KEY = asyncssh.generate_private_key("ssh-ed25519")
OTHER_KEY = asyncssh.generate_private_key("ssh-ed25519")
LINE = " ".join(KEY.export_public_key().decode().split()[:2])
HOOKS = ("startup", "postlogin", "postconnect", "postdisconnect")
Told = dict[str, list[dict[str, Any]]]


def recorded(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDED / f"{name}.jsonl").read_text().splitlines()]


def settings(target: Callable[[str], str]) -> dict[str, dict[str, Any]]:
    return {
        "common": {
            "startup_hook": target("startup"),
            "post_connect_hook": target("postconnect"),
            "post_disconnect_hook": target("postdisconnect"),
        },
        "data_provider": {"post_login_hook": target("postlogin")},
        "sftpd": {"enabled_ssh_commands": ["*"]},
        "command": {"timeout": 1},
        "http": {"timeout": 1, "retry_max": 0},
    }


def user_of(text: str | bytes) -> dict[str, Any]:
    """The part of a user's document that a recording keeps."""
    user = json.loads(text)
    return {"username": user["username"], "status": user["status"], "known": user["id"] > 0}


class Programs:
    """Hooks that are programs."""

    def __init__(self, directory: Path) -> None:
        self.hooks = {name: HookProgram(directory, name) for name in HOOKS}

    def target(self, name: str) -> str:
        return str(self.hooks[name])

    def refuse(self, case: str) -> None:
        came = self.hooks["postconnect"]
        if "slow" in case:
            came.does("exec /bin/sleep 30")
        else:
            came.answers("", 1 if "refuses" in case or "204" in case else 0)

    def told(self) -> Told:
        found: Told = {}
        for name, hook in self.hooks.items():
            for call in hook.calls():
                assert call.pop("argv") == ""
                short = {key.removeprefix("LOGIND_").removeprefix("CONNECTION_"): call[key] for key in call}
                found.setdefault(name, []).append(as_recorded(short))
        return found


class Urls:
    """Hooks that are URLs."""

    def __init__(self, receiver: HookReceiver) -> None:
        self.receiver = receiver

    def target(self, name: str) -> str:
        return f"{self.receiver.base}/{name}"

    def refuse(self, case: str) -> None:
        status = 403 if "refuses" in case else 204 if "204" in case else 200

        async def answer(got: Any) -> web.StreamResponse:
            if got.path.startswith("/postconnect"):
                if "slow" in case:
                    await asyncio.sleep(30)
                return web.Response(status=status)
            return web.Response()

        self.receiver.answer = answer

    def told(self) -> Told:
        found: Told = {}
        for got in self.receiver.calls():
            parts = urlsplit(got.path)
            pairs = parse_qsl(parts.query, keep_blank_values=True)
            assert [key for key, _ in pairs] == sorted(key for key, _ in pairs)
            name = parts.path.strip("/")
            assert got.method == ("POST" if name == "postlogin" else "GET")
            call = {
                key.upper().replace("LOGIN_METHOD", "METHOD").replace("CONNECTION_DURATION", "DURATION"): text
                for key, text in pairs
            }
            if name == "postlogin":
                assert got.headers["Content-Type"] == "application/json"
                call["USER"] = got.body.decode()
            found.setdefault(name, []).append(as_recorded(call))
        return found


def as_recorded(call: dict[str, Any]) -> dict[str, Any]:
    if "DURATION" in call:
        assert int(call.pop("DURATION")) >= 0
    if "USER" in call:
        call["USER"] = user_of(call["USER"])
    return call


@dataclass
class Doors:
    """Logins as they were recorded; each answers whether it was let in."""

    world: HookWorld

    async def _ssh(self, case: str) -> bool:
        if "wrong public key" in case:
            return await self.world.sftp("o1", client_keys=[OTHER_KEY], preferred_auth=["publickey"])
        if "public key" in case:
            return await self.world.sftp("o1", client_keys=[KEY], preferred_auth=["publickey"])
        if "keyboard-interactive" in case:
            person = Person("pw-o1")
            options = {"preferred_auth": "keyboard-interactive", "client_factory": lambda: person}
            async with self.world.ssh("o1", **options):
                return True  # without a channel, as it was recorded
        name, password = self._who(case)
        return await self.world.sftp(name, password)

    @staticmethod
    def _who(case: str) -> tuple[str, str]:
        if "unknown" in case:
            return "o9", "bad"
        if "disabled" in case:
            return "o2", "pw-o2"
        return "o1", "bad" if "wrong" in case else "pw-o1"

    async def come(self, case: str) -> object:
        if case.startswith(("TCP", "SSH:")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(self.world.web.app))
            try:
                if case.startswith("SSH:"):
                    assert await reader.read() == b""  # nothing is said to who is refused
            finally:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()
            return None
        if "QUIT" in case:
            return await asyncio.to_thread(quit_at_once, self.world.ftp_port)
        door = case.partition(":")[0]
        refused = "post-connect" in case
        if door == "SFTP":
            if refused:
                with pytest.raises((asyncssh.ConnectionLost, ConnectionResetError)):
                    await self._ssh(case)
                return None
            return await self._ssh(case)
        if door == "FTP" and refused:
            assert await asyncio.to_thread(quit_at_once, self.world.ftp_port) == "500 Access denied"
            return None
        if door == "HTTP" and refused:
            async with self.world.web.anonymous() as client:
                answer = await client.get("/api/v2/user/token", auth=("o1", "pw-o1"))
            assert answer.status_code == 403
            return None
        let_in = getattr(self.world, door.lower())
        # WebDAV asks the hook with a login, and not again while it remembers that one.
        who = ("o3", "pw-o3") if refused else self._who(case)
        return await let_in(*who)


def quit_at_once(port: int) -> str:
    with RawFtp(port) as client:
        if client.greeting.startswith("220"):
            client.ask("QUIT")
        return client.greeting


OTHERWISE: dict[str, Told] = {
    # The name that was typed is told, as at every other door; SFTPGo leaves it out here alone.
    "HTTP: unknown user": {
        "postlogin": [
            {
                "IP": "127.0.0.1", "METHOD": "password", "STATUS": "0", "PROTOCOL": "HTTP",
                "USER": {"username": "o9", "status": 0, "known": False},
            }
        ],
        "postconnect": [{"IP": "127.0.0.1", "PROTOCOL": "HTTP"}],
    },
    # Whoever the hook refuses has not tried to log in: no door tells of it, where SFTPGo's HTTP does.
    "HTTP: post-connect hook refuses (exit 1 / HTTP 403)": {
        "postconnect": [{"IP": "127.0.0.1", "PROTOCOL": "HTTP"}]
    },
}  # fmt: skip
"""Cases of which we tell something else, and why."""


async def told(hooks: Programs | Urls, expected: Told) -> Told:
    """The calls so far, once there are as many as expected."""
    found: Told = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while any(len(found.get(name, ())) < len(expected[name]) for name in expected):
                for name, calls in hooks.told().items():
                    found.setdefault(name, []).extend(calls)
                await asyncio.sleep(0.01)
    return found


@contextlib.asynccontextmanager
async def hooks_of(kind: str, directory: Path) -> AsyncIterator[Programs | Urls]:
    if kind == "programs":
        yield Programs(directory)
        return
    async with hook_receiver() as receiver:
        yield Urls(receiver)


@pytest.mark.parametrize("kind", ["programs", "urls"])
async def test_connections_and_logins(tmp_path: Path, kind: str) -> None:
    done = 0
    async with hooks_of(kind, tmp_path) as hooks:
        hooks.refuse("")
        async with hook_world(tmp_path, **settings(hooks.target)) as world:
            doors = Doors(world)
            for case in recorded("2.7.5-post-hooks"):
                name = case["case"]
                expected = OTHERWISE.get(name, case["told"])
                if name != "startup hook":
                    hooks.refuse(name)
                    let_in = await doors.come(name)
                    if isinstance(let_in, bool):
                        logins = expected.get("postlogin", [{"STATUS": "0"}])
                        assert let_in == (logins[0]["STATUS"] == "1"), name
                assert await told(hooks, expected) == expected, name
                if name == "startup hook":
                    await world.add("o1", password="pw-o1", public_keys=[LINE])
                    await world.add("o2", password="pw-o2", status=0)
                    await world.add("o3", password="pw-o3")
                    hooks.told()  # the tests' own administrator
                done += 1
    assert done == 26


async def test_ends_of_channels(tmp_path: Path) -> None:
    """Each channel of SSH is told by what ran in it; HTTP and WebDAV are not told."""
    async with hook_receiver() as receiver:
        hooks = Urls(receiver)
        async with hook_world(tmp_path, **settings(hooks.target)) as world:
            await world.add("pd1", password="pw-pd1")
            home = tmp_path / "homes" / "pd1"
            home.mkdir(parents=True)
            (home / "a").write_bytes(b"hello\n")
            login = {"password": "pw-pd1", "preferred_auth": "password"}
            for case in recorded("2.7.5-post-disconnect-protocols"):
                name = case["case"]
                receiver.calls()
                if name == "DAV PUT":
                    assert await world.dav("pd1", "pw-pd1")
                elif name == "HTTP upload by REST":
                    assert await world.http("pd1", "pw-pd1")  # the nearest act that is here
                else:
                    async with world.ssh("pd1", **login) as connection:
                        if name == "scp -O put":
                            await connection.run("scp -t /", input="C0644 2 b\nhi\0")
                        elif name.startswith("exec md5sum"):
                            await connection.run("md5sum /a", check=True)
                        elif name == "exec of an unknown command":
                            with contextlib.suppress(asyncssh.ChannelOpenError):
                                await connection.run("no-such-command")
                        elif name == "one SSH connection with two SFTP channels":
                            async with connection.start_sftp_client(), connection.start_sftp_client():
                                pass
                expected = {
                    "postconnect": case["post_connect"],
                    "postlogin": case["post_connect"],
                    "postdisconnect": case["post_disconnect"],
                }
                found = await told(hooks, expected)
                wanted = sorted(
                    (query["ip"], query["protocol"], query["username"])
                    for query in (dict(parse_qsl(urlsplit(one).query)) for one in case["post_disconnect"])
                )
                got = sorted(
                    (one["IP"], one["PROTOCOL"], one["USERNAME"]) for one in found.get("postdisconnect", ())
                )
                assert got == wanted, name
                protocol = dict(parse_qsl(urlsplit(case["post_connect"][0]).query))["protocol"]
                assert [one["PROTOCOL"] for one in found["postconnect"]] == [protocol], name
