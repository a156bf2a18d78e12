# SPDX-License-Identifier: Apache-2.0
"""Speaks SSH to a running server with wrong words in between: ``python fuzz/ssh_dialogue.py --seconds 60``.

asyncssh's client logs in, opens channels and works with files as anybody does. Of what it sends some messages
are changed, repeated, left out or made up, before they are sealed: in the login, in what channels say, or
inside the packets of SFTP. The seed decides which.

What must hold: the server goes on, logs nothing that nobody foresaw, and serves an honest client afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import asyncssh
from asyncssh.packet import String, UInt32
from fuzz.runner import run
from tests.support.running import Person, Running

WAIT_SECONDS = 0.5
"""Time for an answer: who has said nonsense may never get one."""
HONEST_SECONDS = 20.0
EACH = 20
"""Dialogues between two looks whether an honest client is served."""
DATA = 94
ROOMS = {
    "login": (5, 6, 50, 60, 61, 63, 64, 65, 66),
    "channels": (80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100),
    "sftp": (DATA,),
}
"""Messages that are meddled with (RFC 4250 section 4.1.2)."""
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF)


def mangled(chance: random.Random, data: bytes) -> bytes:
    """Bytes with one thing wrong."""
    at, end = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
    match chance.randrange(6):
        case 0:
            return data[:at] + chance.randbytes(1) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + chance.choice(NUMBERS).to_bytes(4) + data[at + 4 :]
        case 3:
            return data[:at] + data[end:]
        case 4:
            return data[:end] + data[at:end] * chance.randrange(1, 4) + data[end:]
        case _:
            return data[:at] + chance.randbytes(chance.randrange(1, 40)) + data[at:]


class Meddling(asyncssh.SSHClient):
    """Changes some of what its connection sends.

    Args:
        chance: decides what.
        room: a key of `ROOMS`.
    """

    def __init__(self, chance: random.Random, room: str) -> None:
        self._chance, self._kinds, self._sftp = chance, ROOMS[room], room == "sftp"
        self._rate = chance.choice((0.05, 0.2, 0.5))
        self._send: Callable[..., None] = lambda *_: None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._send = conn.send_packet
        conn.send_packet = self.send  # type: ignore[method-assign]

    def send(self, kind: int, *args: bytes, **more: Any) -> None:
        """Send a message, or something like it."""
        chance = self._chance
        if kind not in self._kinds or chance.random() >= self._rate:
            self._send(kind, *args, **more)
            return
        if self._sftp and len(args) == 2:
            self._send(kind, args[0], String(self._packet(args[1][4:])))
            return
        match chance.randrange(5):
            case 0:
                return
            case 1:
                self._send(kind, *args)
                self._send(kind, *args)
            case 2:
                self._send(chance.choice(self._kinds), UInt32(chance.choice((0, 1, 7))) + chance.randbytes(9))
                self._send(kind, *args)
            case _:
                self._send(kind, mangled(chance, b"".join(args)))

    def _packet(self, packet: bytes) -> bytes:
        """A packet of SFTP whose content is wrong; half of them say their own length."""
        wrong = mangled(self._chance, packet[4:])
        return (UInt32(len(wrong)) if self._chance.random() < 0.5 else packet[:4]) + wrong


class World:
    """A server and one account, for all dialogues of a run."""

    def __init__(self) -> None:
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="tidegate-fuzz-"))
        settings = {"common": {"penalties": {"exempt": ["127.0.0.1/32"]}, "upload_mode": 0}}
        self.server = Running(self.directory / "server", settings=settings)
        self.person: Person = self.server.account()
        self.server.start()
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # of the client, which meets answers to nonsense
        self.done = 0

    def case(self, chance: random.Random, seed: int) -> None:
        """One dialogue, and a look at the server."""
        room = tuple(ROOMS)[seed % len(ROOMS)]
        self.loop.run_until_complete(dialogue(self.person, chance, room))
        process = self.server.process
        assert process is not None
        assert process.poll() is None, "the server has ended"
        wrong = [line for line in self.server.lines() if line["level"] == "error" or "Traceback" in str(line)]
        assert not wrong, wrong[0]
        self.done += 1
        if self.done % EACH == 1:
            self.loop.run_until_complete(honest(self.person))

    def close(self) -> None:
        """End the server."""
        self.server.kill()
        shutil.rmtree(self.directory)


async def dialogue(person: Person, chance: random.Random, room: str) -> None:
    """Log in and work, as far as it goes; whatever the client makes of that is its own affair."""
    with contextlib.suppress(Exception):
        async with asyncio.timeout(4 * WAIT_SECONDS):
            # A password that is wrong as often as right: refusals are part of a login.
            password = chance.choice((person.password, person.password, "wrong"))
            connection = await person.connect(
                client_factory=lambda: Meddling(chance, room), password=password,
                preferred_auth=chance.choice(("publickey", "password", "keyboard-interactive,password")),
                login_timeout=WAIT_SECONDS,
            )  # fmt: skip
            async with connection:
                try:
                    await work(connection, chance)
                finally:
                    connection.abort()


async def work(connection: asyncssh.SSHClientConnection, chance: random.Random) -> None:
    """A session of a client: some steps, each on its own."""
    sftp: Any = await connection.start_sftp_client()
    name = f"/f{chance.randrange(3)}"

    async def put() -> None:
        async with sftp.open(name, chance.choice(("wb", "ab", "r+b"))) as file:
            await file.write(chance.randbytes(chance.choice((1, 5_000, 70_000))))

    async def get() -> None:
        async with sftp.open(name, "rb") as file:
            await file.read()

    steps: list[Callable[[], Any]] = [
        put, get, lambda: sftp.stat(name), lambda: sftp.listdir("/"), lambda: sftp.mkdir("/d"),
        lambda: sftp.rename(name, "/d/x"), lambda: sftp.remove(name), lambda: sftp.symlink(name, "/l"),
        lambda: sftp.readlink("/l"), lambda: sftp.setstat(name, asyncssh.SFTPAttrs(permissions=0o600)),
        lambda: sftp.statvfs("/"), lambda: connection.run(chance.choice(("sha256sum /f0", "id", "scp -t /"))),
        lambda: connection.open_connection("127.0.0.1", 9), lambda: connection.run(None, request_pty=True),
    ]  # fmt: skip
    for _ in range(chance.randrange(2, 9)):
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS / 2):
                await chance.choice(steps)()


async def honest(person: Person) -> None:
    """A client that does nothing wrong is served."""
    async with (
        asyncio.timeout(HONEST_SECONDS),
        person.connect() as client,
        client.start_sftp_client() as sftp,
    ):
        name = f"/honest-{os.urandom(4).hex()}"
        async with sftp.open(name, "wb") as file:
            await file.write(b"x" * 1000)
        assert (await sftp.stat(name)).size == 1000
        await sftp.remove(name)


def one(data: bytes) -> None:
    """Not for atheris: these are dialogues, and no bytes."""
    del data
    raise SystemExit("this fuzzer makes its dialogues by itself; leave --atheris out")


WORLDS: list[World] = []


def case(chance: random.Random, seed: int) -> None:
    """One dialogue with the server, which the first one starts."""
    if not WORLDS:
        WORLDS.append(World())
    WORLDS[0].case(chance, seed)


if __name__ == "__main__":
    try:
        status = run("ssh_dialogue.py", __doc__, case, one, what="dialogues")
    finally:
        for world in WORLDS:
            world.close()
    sys.exit(status)
