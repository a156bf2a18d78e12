# SPDX-License-Identifier: Apache-2.0
"""An SSH door on loopback with accounts from a dictionary and files in memory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
from blake3 import blake3

from tidegate.abc import Challenge, Credential, Prompt
from tidegate.cluster.registry import Registry
from tidegate.doors.ssh.listener import SshDoor
from tidegate.doors.ssh.options import Binding, SshOptions
from tidegate.errors import LoginRefused, NotFound
from tidegate.events.bus import Bus
from tidegate.events.kinds import Event
from tidegate.identity.api import PartialLogin
from tidegate.model import Account, Attrs, Entry, Kind, Peer, Principal, VPath
from tidegate.resources import Ledger
from tidegate.vfs.api import OpenFlags

FAST_LANE = True
"""Doors use the fast lane; tests set it."""

SSH = [
    "-F",
    "none",
    "-o",
    "UserKnownHostsFile=/dev/null",
    "-o",
    "StrictHostKeyChecking=no",
    "-o",
    "LogLevel=INFO",
]


class Recorder:
    """A sink that keeps events and lets tests wait for them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    async def open(self) -> None:
        pass

    async def handle(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def close(self) -> None:
        pass

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait(
        self, kind: type[Event], matches: Callable[[Any], bool] = lambda _: True, count: int = 1
    ) -> Any:
        """The `count`-th event of a kind."""

        async def look() -> Any:
            while True:
                found = [event for event in self.of(kind) if matches(event)]
                if len(found) >= count:
                    return found[count - 1]
                self._changed.clear()
                await self._changed.wait()

        try:
            return await asyncio.wait_for(look(), 10)
        except TimeoutError:
            raise AssertionError(f"no {kind.__name__} among {self.events}") from None


@dataclass
class Person:
    password: str = ""
    keys: set[bytes] = field(default_factory=set)
    both: bool = False
    """public key, then password"""
    max_sessions: int = 0


class Logins:
    """A login service over a dictionary; remembers what it was asked."""

    def __init__(self, people: dict[str, Person]) -> None:
        self.people = people
        self.asked: list[tuple[str, str]] = []
        self.probed: list[str] = []
        self.gate: asyncio.Event | None = None

    async def authenticate(
        self, peer: Peer, username: str, credential: Credential, *, after: PartialLogin | None = None
    ) -> Principal | PartialLogin:
        self.asked.append((username, credential.kind))
        if self.gate is not None:
            await self.gate.wait()
        person = self.people.get(username)
        if person is None:
            raise LoginRefused("unknown_user", username=username)
        if credential.kind == "publickey":
            if credential.public_key not in person.keys:
                raise LoginRefused("bad_credential", username=username)
        elif credential.secret != person.password:
            raise LoginRefused("bad_credential", username=username)
        method = credential.kind
        if person.both:
            if after is None:
                if credential.kind != "publickey":
                    raise LoginRefused("method", rule="denied_login_methods", username=username)
                return PartialLogin(username, "publickey", ("password",))
            assert after.username == username
            method = f"{after.done}+{credential.kind}"
        return Principal(Account(username=username, max_sessions=person.max_sessions), method, peer.remote_ip)

    async def left(self, peer: Peer) -> None:
        pass

    async def admits(self, protocol: str, address: str) -> bool:
        return True

    async def challenge(self, peer: Peer, username: str, *, after: PartialLogin | None = None) -> Challenge:
        return (after and after.challenge) or Challenge((Prompt("Password: "),))

    async def key_is_known(self, peer: Peer, username: str, public_key: bytes) -> bool:
        self.probed.append(username)
        person = self.people.get(username)
        return person is not None and public_key in person.keys


class MemoryFile:
    def __init__(self, session: MemorySession, path: VPath, flags: OpenFlags) -> None:
        self.session, self.path = session, path
        self.readable, self.writable, self.small, self.in_order = flags.read, flags.write, 0, False
        self.content = bytearray(b"" if flags.truncate else session.files.get(path, b""))
        self.outcome = ""
        self.started, self.operation_type, self.virtual_path, self.size = 0.0, "x", str(path), 0
        self.transfers = session.transfers
        self.transfers.add(self)

    async def read(self, offset: int, size: int) -> bytes:
        self.size += size
        return bytes(self.content[offset : offset + size])

    def readinto_nowait(self, offset: int, buffers: Sequence[memoryview]) -> int | None:
        done = 0
        for buffer in buffers:
            piece = self.content[offset + done : offset + done + len(buffer)]
            buffer[: len(piece)] = piece
            done += len(piece)
        self.size += done
        return done

    async def write(self, offset: int, data: Any) -> None:
        self.write_nowait(offset, data)

    def write_nowait(self, offset: int, data: Any) -> bool:
        if len(self.content) < offset:
            self.content += bytes(offset - len(self.content))
        self.content[offset : offset + len(data)] = data
        self.size += len(data)
        return True

    async def stat(self) -> Entry:
        return Entry(self.path.name, Kind.FILE, len(self.content), 0o644)

    async def set_attrs(self, attrs: Attrs) -> None:
        pass

    async def sync(self) -> None:
        pass

    async def close(self) -> None:
        self.outcome = "closed"
        self.transfers.discard(self)
        if self.writable:
            self.session.files[self.path] = bytes(self.content)

    def close_nowait(self, later: object = None, stored: object = None) -> bool:
        return False

    async def abort(self) -> None:
        self.outcome = "aborted"
        self.transfers.discard(self)


class MemorySession:
    """As much of a session as these tests use: one flat directory of files."""

    def __init__(self, files: dict[str, bytes], principal: Principal, peer: Peer) -> None:
        self.principal, self.peer, self.files = principal, peer, files
        self.start_directory = VPath("/start")
        self.failures: list[tuple[Any, ...]] = []
        self.closed = False
        self.transfers: set[Any] = set()
        self.handles: list[MemoryFile] = []

    overlaps = False

    async def real_path(self, path: VPath) -> VPath:
        return path

    async def stat(self, path: VPath, *, follow: bool = True) -> Entry:
        if path in ("/", "/start"):
            return Entry(path.name, Kind.DIRECTORY, 0, 0o755)
        if path not in self.files:
            raise NotFound
        return Entry(path.name, Kind.FILE, len(self.files[path]), 0o644)

    async def list(self, path: VPath) -> AsyncIterator[list[Entry]]:
        names = [VPath(name) for name in self.files]
        yield [
            Entry(name.name, Kind.FILE, len(self.files[name]), 0o644) for name in names if name.parent == path
        ]

    async def open(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> MemoryFile:
        if not flags.create and path not in self.files:
            raise NotFound
        self.handles.append(MemoryFile(self, path, flags))
        return self.handles[-1]

    def open_nowait(self, path: VPath, flags: OpenFlags, attrs: Attrs | None = None) -> None:
        return None

    begin_nowait = open_nowait

    async def set_attrs(self, path: VPath, attrs: Attrs, *, follow: bool = True) -> None:
        pass

    async def remove(self, path: VPath) -> None:
        if self.files.pop(path, None) is None:
            raise NotFound

    async def checksum(
        self, file: VPath, algorithm: str, offset: int = 0, length: int = 0, block: int = 0
    ) -> Sequence[bytes]:
        if file not in self.files:
            raise NotFound
        data = self.files[file]
        return [blake3(data).digest() if algorithm == "blake3" else hashlib.new(algorithm, data).digest()]

    def location(self, path: str) -> str:
        return f"/memory{path}"

    def failed(self, intent: str, path: str, error: Exception, target: str | None = None) -> None:
        self.failures.append((intent, path, error, target))

    async def close(self) -> None:
        self.closed = True


class MemorySessions:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.opened: list[MemorySession] = []
        self.failure: Exception | None = None

    async def open(self, principal: Principal, peer: Peer) -> Any:
        if self.failure is not None:
            raise self.failure
        session = MemorySession(self.files, principal, peer)
        self.opened.append(session)
        return session


@dataclass
class World:
    door: SshDoor
    recorder: Recorder
    logins: Logins
    sessions: MemorySessions
    registry: Registry

    @property
    def port(self) -> int:
        return self.door.ports[0]

    def connect(self, **options: Any) -> Any:
        """asyncssh's client, without this machine's keys, agent or configuration."""
        options = {
            "known_hosts": None,
            "config": None,
            "client_keys": None,
            "agent_path": None,
            "gss_host": None,
            **options,
        }
        return asyncssh.connect(options.pop("host", "127.0.0.1"), self.port, **options)


@contextlib.asynccontextmanager
async def ssh_world(
    directory: Path,
    people: dict[str, Person] | None = None,
    sessions: Any = None,
    ledger: Ledger | None = None,
    **options: Any,
) -> AsyncIterator[World]:
    """A door on a free port; ended, and checked for leaks, at the end."""
    recorder = Recorder()
    bus = Bus([recorder])
    await bus.open()
    logins = Logins(people if people is not None else {"ada": Person("secret")})
    sessions = sessions if sessions is not None else MemorySessions()
    registry = Registry()
    make_host_key(directory)
    options = {
        "fast_lane": FAST_LANE,
        "config_dir": directory,
        "host_keys": ("id_ed25519",),
        "bindings": (Binding("127.0.0.1", 0),),
        **options,
    }
    door = SshDoor(SshOptions(**options), logins, sessions, bus, registry, ledger=ledger)
    await door.start()
    try:
        yield World(door, recorder, logins, sessions, registry)
    finally:
        await door.stop()
        await bus.close()
    assert door.connections == 0
    assert registry.count() == 0
    assert (door.ledger.handles.used, door.ledger.channels.used) == (0, 0)
    for session in getattr(sessions, "opened", []):
        assert session.closed


def make_host_key(directory: Path) -> None:
    path = directory / "id_ed25519"
    if not path.exists():
        asyncssh.generate_private_key("ssh-ed25519").write_private_key(path)
        path.chmod(0o600)


async def run_program(
    *argv: str, stdin: bytes = b"", env: dict[str, str] | None = None, seconds: float = 30
) -> tuple[int, bytes, bytes]:
    """Run a client program; it is killed if it takes too long."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "SSH_AUTH_SOCK": "", **(env or {})},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), seconds)
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    return process.returncode or 0, out, err


def askpass(directory: Path, password: str) -> dict[str, str]:
    """Environment that makes OpenSSH take a password without a terminal."""
    script = directory / "askpass.sh"
    script.write_text(f"#!/bin/sh\necho '{password}'\n")
    script.chmod(0o700)
    return {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
