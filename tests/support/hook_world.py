# SPDX-License-Identifier: Apache-2.0
"""Hooks that remember how they were called: programs, and an HTTP receiver; and logins that meet them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from ftplib import FTP, error_perm
from pathlib import Path
from typing import Any

import asyncssh
import httpx2
from aiohttp import web
from tests.support.doors import port_of
from tests.support.ports import free_port
from tests.support.web_world import WebWorld, web_world

from tidegate.errors import ConfigError

PREFIX = "SFTPGO_"


class HookProgram:
    """A program that writes down its arguments and variables, answers what it is told, and ends as it is told."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory / f"{name}.calls"
        self.directory.mkdir(parents=True)
        self.path = directory / name
        self.answers("")
        self.path.write_text(
            f"#!/bin/sh\ncd {self.directory}\n"
            "at=$(/usr/bin/date +%s%N)\n"
            '{ printf \'%s\\0\' "$#" "$@"; /usr/bin/env -0; } > .$at.$$ && /bin/mv .$at.$$ call.$at.$$\n'
            ". ./do\n"
        )
        self.path.chmod(0o755)

    def __str__(self) -> str:
        return str(self.path)

    def answers(self, document: object, status: int = 0) -> None:
        """Answer a JSON document, or a text as it is."""
        text = document if isinstance(document, str) else json.dumps(document)
        (self.directory / "answer").write_text(text)
        self.does(f"/bin/cat ./answer\nexit {status}")

    def does(self, script: str) -> None:
        """Do something else: lines of a shell script."""
        (self.directory / "do").write_text(script)

    def calls(self) -> list[dict[str, str]]:
        """The variables of each call so far in order, of SFTPGo's prefix, without it; `argv` are arguments."""
        found = []
        for path in sorted(self.directory.glob("call.*")):
            count, *rest = path.read_bytes().decode().split("\0")
            lines = [line.partition("=") for line in rest[int(count) :] if line]
            env = {name.removeprefix(PREFIX): value for name, _, value in lines if name.startswith(PREFIX)}
            found.append({**env, "argv": " ".join(rest[: int(count)])})
            path.unlink()
        return found

    async def called(self, count: int = 1) -> list[dict[str, str]]:
        """The calls, once there are so many."""
        async with asyncio.timeout(10):
            while len(list(self.directory.glob("call.*"))) < count:
                await asyncio.sleep(0.01)
        return self.calls()


@dataclass
class Received:
    """One request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]
    at: float

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class HookReceiver:
    """An HTTP server whose answers a test chooses by path."""

    base: str = ""
    got: list[Received] = field(default_factory=list)
    answer: Callable[[Received], Awaitable[web.StreamResponse] | web.StreamResponse] = lambda _: (
        web.Response()
    )
    request: web.Request | None = None

    def answers(self, document: object, status: int = 200, **headers: str) -> None:
        text = document if isinstance(document, str) else json.dumps(document)
        self.answer = lambda _: web.Response(status=status, text=text, headers=headers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            request.method, request.path_qs, await request.read(), dict(request.headers), time.monotonic()
        )
        self.got.append(received)
        self.request = request
        response = self.answer(received)
        return response if isinstance(response, web.StreamResponse) else await response

    def calls(self) -> list[Received]:
        """The requests so far."""
        got, self.got = self.got, []
        return got

    async def called(self, count: int = 1) -> list[Received]:
        """The requests, once there are so many."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0.01)
        return self.calls()


@contextlib.asynccontextmanager
async def hook_receiver() -> AsyncIterator[HookReceiver]:
    """A receiver on loopback."""
    receiver = HookReceiver()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@dataclass
class HookWorld:
    """A server with hooks, and the ways in."""

    web: WebWorld
    directory: Path
    ftp_port: int
    dav_port: int

    def document(self, name: str, **more: Any) -> dict[str, Any]:
        home = self.directory / "homes" / name
        return {"status": 1, "username": name, "home_dir": str(home), "permissions": {"/": ["*"]}, **more}

    async def stored(self, name: str) -> dict[str, Any] | None:
        answer = await self.web.client.get(f"/api/v2/users/{name}")
        return answer.json() if answer.status_code == 200 else None

    async def add(self, name: str, **more: Any) -> None:
        answer = await self.web.client.post("/api/v2/users", json=self.document(name, **more))
        assert answer.status_code == 201, answer.text

    @contextlib.asynccontextmanager
    async def ssh(self, name: str, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
        given = {
            "username": name, "known_hosts": None, "client_keys": None, "config": None, "agent_path": None,
            **options,
        }  # fmt: skip
        async with asyncssh.connect("127.0.0.1", port_of(self.web.app), **given) as connection:
            yield connection

    async def sftp(self, name: str, password: str = "", **options: Any) -> bool:
        """Log in by SSH and list; True if that was let in."""
        given = {"password": password, "preferred_auth": ["password"]} if password else {}
        try:
            async with (
                self.ssh(name, **{**given, **options}) as connection,
                connection.start_sftp_client() as sftp,
            ):
                await sftp.listdir("/")
                return True
        except asyncssh.PermissionDenied:
            return False

    async def ftp(self, name: str, password: str) -> bool:
        def log_in() -> bool:
            with FTP() as client:
                client.connect("127.0.0.1", self.ftp_port, timeout=20)
                try:
                    client.login(name, password)
                except error_perm:
                    return False
                client.nlst()
                return True

        return await asyncio.to_thread(log_in)

    async def dav(self, name: str, password: str) -> bool:
        url = f"http://127.0.0.1:{self.dav_port}/"
        async with httpx2.AsyncClient(verify=False, auth=(name, password)) as client:
            answer = await client.request("PROPFIND", url, headers={"Depth": "0"})
            assert answer.status_code in (207, 401, 403), answer.text
            return bool(answer.status_code == 207)

    async def http(self, name: str, password: str) -> bool:
        async with self.web.anonymous() as client:
            answer = await client.get("/api/v2/user/token", auth=(name, password))
            assert answer.status_code in (200, 401), answer.text
            return bool(answer.status_code == 200)


@contextlib.asynccontextmanager
async def hook_world(directory: Path, **sections: dict[str, Any]) -> AsyncIterator[HookWorld]:
    """A server with SSH, FTP, WebDAV and the REST API."""
    config = directory / "config"
    config.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        for left in range(4, -1, -1):
            ssh, ftp, dav = free_port(), free_port(), free_port()
            here = {"address": "127.0.0.1"}
            sftpd = {"bindings": [{"port": ssh, **here}], **sections.get("sftpd", {})}
            ftpd = {"bindings": [{"port": ftp, "plain_login": True, **here}]}
            webdavd = {"bindings": [{"port": dav, "plain_login": True, **here}]}
            settings = {**sections, "sftpd": sftpd, "ftpd": ftpd, "webdavd": webdavd}
            try:
                world = await stack.enter_async_context(web_world(config, **settings))
            except ConfigError as error:  # somebody took a port that was free a moment ago
                if not left or "in use" not in str(error):
                    raise
            else:
                yield HookWorld(world, directory, ftp, dav)
                return


class Person(asyncssh.SSHClient):
    """Answers questions in order, and remembers them."""

    def __init__(self, *answers: str) -> None:
        self.left = list(answers)
        self.tries = 0
        self.seen: list[tuple[str, list[tuple[str, bool]]]] = []

    def kbdint_auth_requested(self) -> str | None:
        """Once: what is refused is not tried again."""
        self.tries += 1
        return "" if self.tries == 1 else None

    def kbdint_challenge_received(self, name: str, instructions: str, lang: str, prompts: Any) -> list[str]:
        self.seen.append((instructions, [(text, echo) for text, echo in prompts]))
        return [self.left.pop(0) for _ in prompts]


async def ask(world: HookWorld, name: str, *answers: str, **options: Any) -> tuple[bool, Person]:
    """Log in by questions; was one let in, and what was asked."""
    person = Person(*answers)
    given = {"preferred_auth": "keyboard-interactive", "client_factory": lambda: person, **options}
    return await world.sftp(name, **given), person
