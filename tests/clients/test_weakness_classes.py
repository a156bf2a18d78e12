# SPDX-License-Identifier: Apache-2.0
"""Weaknesses that other servers of this field had, tried against the running product.

docs/explanation/security-model.md lists all classes with the tests that hold them; here are those without another home.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncssh
import pytest
from asyncssh.crypto import ec, ed
from tests.support.ports import free_port
from tests.support.running import Person, Running, running

MSG_DISCONNECT, MSG_UNIMPLEMENTED = 1, 3
CHANNELS_AND_GLOBAL = range(80, 128)
MIB = 1 << 20
AT_ONCE = 16
"""Connections at a time, of those that each send one message."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    port = free_port()
    binding = {"port": port, "address": "127.0.0.1", "plain_login": True}
    with running(
        tmp_path_factory.mktemp("classes") / "s", settings={"webdavd": {"bindings": [binding]}}
    ) as one:
        one.dav = port  # type: ignore[attr-defined]
        yield one


def plain_packet(kind: int, body: bytes = bytes(8)) -> bytes:
    """A packet before any encryption."""
    payload = bytes([kind]) + body
    padding = 8 - (len(payload) + 5) % 8
    padding += 8 if padding < 4 else 0
    return (len(payload) + padding + 1).to_bytes(4) + bytes([padding]) + payload + bytes(padding)


def kinds_of(data: bytes) -> list[int]:
    """Types of the packets in what a server sent in the clear, after its version line."""
    found, rest = [], data.partition(b"\r\n")[2]
    while len(rest) > 5:
        found.append(rest[5])
        rest = rest[4 + int.from_bytes(rest[:4]) :]
    return found


def test_before_the_key_exchange_no_message_of_a_later_layer_is_taken(server: Running) -> None:
    for kind in range(50, 256):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as line:
            line.sendall(b"SSH-2.0-x\r\n" + plain_packet(kind))
            data = b""
            while piece := line.recv(4096):
                data += piece
        assert set(kinds_of(data)) <= {20, MSG_DISCONNECT}, kind


class Impatient(asyncssh.SSHClient):
    """Sends one message of the connection layer when it is asked for a password; remembers the end."""

    def __init__(self, kind: int, body: bytes) -> None:
        self.kind, self.body = kind, body
        self.asked = False
        self.connection: asyncssh.SSHClientConnection | None = None
        self.ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self.connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(exc)

    async def password_auth_requested(self) -> str | None:
        assert self.connection is not None
        self.asked = True
        self.connection._auth_complete = True  # ours alone: asyncssh would keep the packet until then
        self.connection.send_packet(self.kind, self.body)
        await asyncio.wait([self.ended], timeout=20)
        return None


async def test_before_the_login_no_message_of_the_connection_layer_is_taken(server: Running) -> None:
    session = b"\0\0\0\x07session" + bytes(4) + b"\0\x20\0\0" + b"\0\0\x80\0"

    async def sends(kind: int) -> None:
        client = Impatient(kind, session)
        with pytest.raises((asyncssh.Error, OSError)):
            await asyncssh.connect(
                "127.0.0.1", server.port, client_factory=lambda: client, username="nobody", client_keys=None,
                known_hosts=None, config=None, agent_path=None, preferred_auth="password",
            )  # fmt: skip
        assert client.asked
        await asyncio.wait([client.ended], timeout=20)
        assert client.ended.done(), f"message {kind} did not end the connection"

    for first in range(80, 256, AT_ONCE):
        await asyncio.gather(*map(sends, range(first, first + AT_ONCE)))
    assert [line for line in server.lines("login") if line.get("username") == "nobody"] == []


OFF_CURVE = b"\x04" + b"\x01" * 64
LOW_ORDER = {
    "zero": bytes(32),
    "one": b"\x01" + bytes(31),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "minus one": bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
}


async def _kex(server: Running, algorithm: str) -> None:
    with pytest.raises((asyncssh.Error, OSError)):
        await asyncssh.connect(
            "127.0.0.1", server.port, kex_algs=[algorithm], username="low-order", client_keys=None, known_hosts=None, config=None,
            agent_path=None, password="x",
        )  # fmt: skip


@pytest.mark.parametrize("point", LOW_ORDER)
async def test_points_of_low_order_end_the_key_exchange(
    server: Running, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(ed.Curve25519DH, "get_public", lambda self: LOW_ORDER[point])
    await _kex(server, "curve25519-sha256")

    assert not server.lines("connection_failed", username="low-order")


@pytest.mark.parametrize("algorithm", ["ecdh-sha2-nistp256"])
async def test_points_beside_the_curve_end_the_key_exchange(
    server: Running, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    monkeypatch.setattr(ec.ECDH, "get_public", lambda self: OFF_CURVE)
    await _kex(server, algorithm)

    assert not server.lines("connection_failed", username="low-order")


async def test_no_compression_is_offered_before_or_after_the_login(server: Running) -> None:
    person = server.account()
    # asyncssh judges KEXINIT in a task: an end of the connection that comes meanwhile is what it tells.
    with pytest.raises((asyncssh.KeyExchangeFailed, asyncssh.ConnectionLost)):
        await person.connect(compression_algs=["zlib", "zlib@openssh.com"])
    refused = "No matching compression algorithm found, sent none and received zlib,zlib@openssh.com"
    server.wait_line("disconnected", error=refused)
    async with person.connect(compression_algs=["zlib@openssh.com", "zlib", "none"]) as client:
        assert client.get_extra_info("send_compression") == "none"
        assert client.get_extra_info("recv_compression") == "none"


class Deaf:
    """A channel that takes a refusal and does nothing."""

    def process_open_failure(self, *words: object) -> None:
        pass


class Anybody(dict[int, Any]):
    """Channels of a client that takes no offence at refusals of those that it never had."""

    def get(self, number: int, default: Any = None) -> Any:
        return Deaf() if number >= MIB else super().get(number, default)


async def test_refused_channels_and_answers_to_nothing_leave_no_memory(server: Running) -> None:
    person = server.account()

    def refused(number: int) -> bytes:
        return b"\0\0\0\x04nope" + (number + MIB).to_bytes(4) + b"\0\x20\0\0" + b"\0\0\x80\0"

    async def wave(count: int) -> None:
        async with person.connect() as client:
            client._channels = Anybody(client._channels)
            for number in range(count):
                client.send_packet(90, refused(number))  # CHANNEL_OPEN
                if not number % 500:
                    assert (await client.run("pwd", check=True)).stdout == "/\n"

    async def answer_nothing(kind: int) -> None:
        async with person.connect() as client:
            client.send_packet(kind, bytes(4))
            await asyncio.wait_for(client.wait_closed(), 10)

    async with person.connect() as other:
        await wave(2_000)
        before = server.resident()
        await wave(8_000)
        for _ in range(20):
            await answer_nothing(82)  # REQUEST_FAILURE
            await answer_nothing(99)  # CHANNEL_SUCCESS
        assert server.resident() - before < 4 * MIB
        assert (await other.run("pwd", check=True)).stdout == "/\n"


def test_a_thousand_requests_of_two_users_at_once_never_mix(server: Running) -> None:
    """Over few connections that both use in turn, as behind a proxy."""
    people = [server.account(), server.account()]
    for person in people:
        (person.home / "who").write_text(person.name)

    def ask(who: Person, line: http.client.HTTPConnection) -> str:
        word = base64.b64encode(f"{who.name}:{who.password}".encode()).decode()
        line.request("GET", "/who", headers={"Authorization": f"Basic {word}"})
        answer = line.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        return text

    def work(start: int) -> list[tuple[str, str]]:
        line = http.client.HTTPConnection("127.0.0.1", server.dav, timeout=30)  # type: ignore[attr-defined]
        try:
            return [(people[(start + n) % 2].name, ask(people[(start + n) % 2], line)) for n in range(50)]
        finally:
            line.close()

    with ThreadPoolExecutor(20) as pool:
        answers = [pair for found in pool.map(work, range(20)) for pair in found]

    assert len(answers) == 1000
    assert all(asked == told for asked, told in answers)
