# SPDX-License-Identifier: Apache-2.0
"""Storage that does not answer: the control connection does, clients may end it, and a stop waits as it should."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.support.ssh_world import Logins, Person, Recorder
from tests.support.vfs_world import World

from tidegate.abc import Backend
from tidegate.backends.memory import MemoryBackend
from tidegate.cluster.registry import Registry
from tidegate.doors.ftp import dialogue
from tidegate.doors.ftp.door import FtpDoor
from tidegate.doors.ftp.options import FtpBinding, FtpOptions
from tidegate.events.bus import Bus
from tidegate.model import Peer, Principal, StorageSpec
from tidegate.resources import Ledger
from tidegate.testing.flavours import Flavour

T = TypeVar("T")
SECONDS = 10.0


class Held(Flavour):
    """Calls of one name wait until they are let go."""

    name = ""

    def hold(self, name: str) -> None:
        self.name = name
        self.came, self.free = asyncio.Event(), asyncio.Event()

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        if name == self.name:
            self.came.set()
            await self.free.wait()
        return await act()


class HeldWorld(World):
    def __init__(self, base: Path) -> None:
        self.storage: Any = Held(MemoryBackend())
        super().__init__(base)

    def build(self, spec: StorageSpec) -> Backend:
        return self.storage


class Client:
    """Lines of one control connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> str:
        first = line = await self._line()
        while first[3:4] == "-" and not line.startswith(f"{first[:3]} "):
            line = await self._line()
        return line

    async def _line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), SECONDS)).decode().rstrip()

    async def ask(self, text: str) -> str:
        self.writer.write(f"{text}\r\n".encode())
        return await self.reply()

    async def data(self) -> asyncio.StreamWriter:
        match = re.search(r"\|\|\|([0-9]+)\|", await self.ask("EPSV"))
        assert match
        return (await asyncio.open_connection("127.0.0.1", int(match[1])))[1]

    async def store(self, name: str, content: bytes) -> None:
        data = await self.data()
        assert (await self.ask(f"STOR {name}")).startswith("150")
        data.write(content)
        data.close()
        await data.wait_closed()


@contextlib.asynccontextmanager
async def held(tmp_path: Path) -> AsyncIterator[tuple[Held, FtpDoor, Client]]:
    far = HeldWorld(tmp_path)
    far.account("ada")
    recorder, logins = Recorder(), Logins({"ada": Person("secret")})
    bus = Bus([recorder])
    await bus.open()
    judge = logins.authenticate

    async def authenticate(peer: Peer, *rest: Any, **more: Any) -> Principal:
        found = await judge(peer, *rest, **more)
        assert isinstance(found, Principal)
        return Principal(far.store.accounts["ada"], found.method, found.login_ip)

    logins.authenticate = authenticate  # type: ignore[method-assign]
    options = FtpOptions(bindings=(FtpBinding(address="127.0.0.1"),), passive_ports=(0, 0))
    registry = Registry()
    door = FtpDoor(options, logins, far.vfs, events=bus, registry=registry, ledger=Ledger())
    await door.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", door.ports[0])
    client = Client(reader, writer)
    try:
        assert (await client.reply()).startswith("220")
        assert (await client.ask("USER ada")).startswith("331")
        assert (await client.ask("PASS secret")).startswith("230")
        await client.store("f", b"content")
        assert (await client.reply()).startswith("226")
        yield far.storage, door, client
    finally:
        far.storage.name = ""
        writer.close()
        await door.stop()
        await bus.close()
        await far.vfs.close()
    assert door.status().connections == 0
    assert registry.count() == 0


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialogue, "SLOW_SECONDS", 0.05)


async def test_others_are_answered_while_a_rename_waits(tmp_path: Path) -> None:
    async with held(tmp_path) as (storage, _, client):
        assert (await client.ask("RNFR f")).startswith("350")
        storage.hold("rename")
        client.writer.write(b"RNTO g\r\n")
        await asyncio.wait_for(storage.came.wait(), SECONDS)
        assert (await client.ask("NOOP")).startswith("200")
        assert (await client.ask("PWD")).startswith("257")
        client.writer.write(b"SIZE g\r\n")  # waits for its turn
        storage.free.set()
        assert (await client.reply()).startswith("250")
        assert await client.reply() == "213 7"


async def test_quick_commands_are_answered_in_order(tmp_path: Path) -> None:
    async with held(tmp_path) as (_, _, client):
        client.writer.write(b"RNFR f\r\nRNTO g\r\nNOOP\r\nSIZE g\r\nNOOP\r\nMLST g\r\nPWD\r\n")
        codes = [(await client.reply())[:3] for _ in range(7)]
        assert codes == ["350", "250", "200", "213", "200", "250", "257"]


@pytest.mark.parametrize("command", ["STAT /", "MLST f", "CWD /", "SIZE f", "NLST"])
async def test_abor_ends_what_storage_holds_up(tmp_path: Path, command: str) -> None:
    async with held(tmp_path) as (storage, _, client):
        data = await client.data()
        storage.hold("list" if command == "STAT /" else "stat")
        client.writer.write(f"{command}\r\n".encode())
        await asyncio.wait_for(storage.came.wait(), SECONDS)
        assert (await client.ask("NOOP")).startswith("200")
        assert (await client.ask("ABOR")).startswith("426")
        assert (await client.reply()).startswith("226")
        storage.name = ""
        assert await client.ask("SIZE f") == "213 7"
        data.close()
        with contextlib.suppress(ConnectionError):  # ABOR has closed the port
            await data.wait_closed()


async def test_what_takes_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dialogue.COMMANDS["MLST"]
    monkeypatch.setitem(dialogue.COMMANDS, "MLST", dialogue.Row(row.run, seconds=0.2))
    async with held(tmp_path) as (storage, _, client):
        storage.hold("stat")
        assert await client.ask("MLST f") == "450 MLST took longer than 0.2 s."
        storage.name = ""
        assert (await client.ask("MLST f")).startswith("250")


async def test_a_client_that_goes_away_ends_it(tmp_path: Path) -> None:
    async with held(tmp_path) as (storage, door, client):
        storage.hold("stat")
        client.writer.write(b"MLST f\r\n")
        await asyncio.wait_for(storage.came.wait(), SECONDS)
        client.writer.close()
        async with asyncio.timeout(SECONDS):
            while door.status().connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["stop", "drain", "kick"])
async def test_an_upload_that_is_published_is_told_of_before_the_end(tmp_path: Path, way: str) -> None:
    async with held(tmp_path) as (storage, door, client):
        storage.hold("handle.close")
        await client.store("f", b"newer")
        await asyncio.wait_for(storage.came.wait(), SECONDS)
        ending: asyncio.Task[None] | None = None
        if way == "kick":
            assert door.close_user("ada", by="admin") == 1
        else:
            ending = asyncio.create_task(door.stop() if way == "stop" else door.drain(0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.read(1)
        storage.free.set()
        assert (await client.reply()).startswith("226")
        assert (await client.reply()).startswith("421")
        if ending is not None:
            await asyncio.wait_for(ending, SECONDS)
