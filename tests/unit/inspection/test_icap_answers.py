# SPDX-License-Identifier: Apache-2.0
"""Answers of ICAP servers, and of what only looks like one: bounded, and never taken for "clean" by mistake."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tidegate.contracts.inspection import Inspected, InspectedAct, NotNow
from tidegate.errors import StorageFailed
from tidegate.inspection.factory import IcapOptions
from tidegate.inspection.icap import MAX_HEAD, IcapClient, IcapFailed, split_url
from tidegate.inspection.policies import Result
from tidegate.inspection.scanner import IcapInspector
from tidegate.inspection.sockets import CHUNK
from tidegate.model import Origin

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]
CLEAN = b"ICAP/1.0 204 No Content\r\n\r\n"
GO_ON = b"ICAP/1.0 100 Continue\r\n\r\n"


class Server:
    """An ICAP server that answers OPTIONS as told, and hands other questions to `behave`."""

    def __init__(self, behave: Behave, options: bytes = b"") -> None:
        self.behave = behave
        self.options = options or b"ICAP/1.0 200 OK\r\nMethods: REQMOD, RESPMOD\r\nPreview: 1024\r\n\r\n"
        self.heads: list[bytes] = []
        self.asked = 0
        self.talks: set[asyncio.Task[None] | None] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"OPTIONS "):
                self.asked += 1
                writer.write(self.options)
            else:
                for _ in range(head.count(b"-hdr=")):
                    head += await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await self.behave(reader, writer, head)
            await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def server(
    behave: Behave, options: bytes = b"", **more: Any
) -> AsyncIterator[tuple[Server, IcapOptions]]:
    made = Server(behave, options)
    listening = await asyncio.start_server(made.talk, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(20):
            yield made, IcapOptions(f"icap://127.0.0.1:{port}/scan", **more)
    finally:
        listening.close()
        await listening.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)  # a connection that was accepted has its task now
        await asyncio.gather(*filter(None, made.talks), return_exceptions=True)


def act(data: bytes = b"", **more: Any) -> InspectedAct:
    async def read(offset: int, size: int) -> bytes:
        await asyncio.sleep(0)
        return data[offset : offset + size]

    fields = {"size": len(data), "read": read} | more
    return InspectedAct(Inspected.UPLOAD, Origin("c1", "alice", "SFTP", "192.0.2.7"), "/in/ä b\n", **fields)


async def scanned(options: IcapOptions, data: bytes, **more: Any) -> tuple[Result, str]:
    asked = act(data, **more)
    assert asked.read is not None
    found = await IcapClient(options).scan(asked, asked.read)
    return found.result, found.text


async def chunks(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """A body, and True if it ends with "ieof"."""
    body = b""
    while True:
        size, _, extension = (await reader.readuntil(b"\r\n")).strip().partition(b";")
        piece = await reader.readexactly(int(size, 16) + 2)
        if size == b"0":
            return body, extension.strip() == b"ieof"
        body += piece[:-2]


@pytest.mark.parametrize("method", ["reqmod", "respmod"])
@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, CHUNK + 1024, 3 * CHUNK + 7])
async def test_everything_is_sent_with_a_preview_first(method: str, size: int) -> None:
    data = bytes(index * 7 % 251 for index in range(size))
    got: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        body, ended = await chunks(reader)
        assert len(body) == min(1024, size)
        assert ended is (size <= 1024)
        if not ended:
            writer.write(GO_ON)
            body += (await chunks(reader))[0]
        got.append(body)
        writer.write(CLEAN)

    async with server(behave, method=method) as (asked, options):
        assert await scanned(options, data) == (Result.CLEAN, "")
    assert got == [data]
    (head,) = asked.heads
    assert head.startswith(f"{method.upper()} icap://127.0.0.1:".encode())
    assert b"\r\nAllow: 204\r\n" in head
    assert b"\r\nX-Client-IP: 192.0.2.7\r\n" in head
    assert f"Content-Length: {size}\r\n".encode() in head
    assert b"/in/%C3%A4%20b%0A HTTP/1.1\r\n" in head  # nothing of a name is a line of its own


@pytest.mark.parametrize("size", [5, 2 * CHUNK + 1])
async def test_without_a_preview_all_is_sent_at_once(size: int) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        assert b"Preview" not in head
        assert b"Transfer-Encoding: chunked" in head
        body, ended = await chunks(reader)
        assert (len(body), ended) == (size, False)
        writer.write(CLEAN)

    async with server(behave, b"ICAP/1.0 200 OK\r\n\r\n") as (_, options):
        assert await scanned(options, b"x" * size, size=None) == (Result.CLEAN, "")


async def test_an_empty_file_is_not_sent() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        raise AssertionError

    async with server(behave) as (asked, options):
        assert await scanned(options, b"") == (Result.CLEAN, "")
    assert (asked.asked, asked.heads) == (0, [])


async def test_a_service_that_wants_no_more_than_the_preview_is_done() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(CLEAN)

    async with server(behave) as (_, options):
        assert await scanned(options, b"x" * 10_000) == (Result.CLEAN, "")


BLOCKED = b"Encapsulated: res-hdr=0, res-body=30\r\n\r\nHTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\n"
ANSWERS = {
    b"ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Resolution=2; Threat=Eicar;\r\n" + BLOCKED: (
        Result.INFECTED, "Eicar",
    ),
    b"ICAP/1.0 200 OK\r\n" + BLOCKED: (Result.INFECTED, "refused with 403"),
    b"ICAP/1.0 200 OK\r\nX-Violations-Found: 1\r\n\tf\r\n\tEicar\r\n\r\n": (Result.INFECTED, "1 f Eicar"),
    b"ICAP/1.0 204 OK\r\nX-Virus-ID: Eicar\r\n\r\n": (Result.INFECTED, "Eicar"),
    b"ICAP/1.0 204 OK\r\nX-Violations-Found: 0\r\n\r\n": (Result.CLEAN, ""),
    b"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=9\r\n\r\nPUT / HTTP/1.1\r\n\r\n": (
        Result.DOWN, "it wants to change the content",
    ),
    b"ICAP/1.0 200 OK\r\n\r\n": (Result.DOWN, "it wants to change the content"),
    b"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n": (
        Result.DOWN, "it gives a response of its own (200)",
    ),
    b"ICAP/1.0 404 Service not found\r\n\r\n": (Result.DOWN, "answer 404"),
    b"ICAP/1.0 500 Oops\r\n\r\n": (Result.DOWN, "answer 500"),
    b"ICAP/1.0 413 Too large\r\n\r\n": (Result.TOO_LARGE, "the server says that it is too large"),
    b"HTTP/1.1 204 No Content\r\n\r\n": (Result.CLEAN, ""),
    b"ICAP/1.0 2040 No\r\n\r\n": (Result.DOWN, "no answer of ICAP: 'ICAP/1.0 2040 No'"),
    b"SSH-2.0-OpenSSH_9\r\n\r\n": (Result.DOWN, "no answer of ICAP: 'SSH-2.0-OpenSSH_9'"),
    b"ICAP/1.0 204 OK\r\nno header\r\n\r\n": (Result.DOWN, "no header: 'no header'"),
    b"ICAP/1.0 204 OK\r\nX: y": (Result.DOWN, "it closed the connection without an answer"),
    b"": (Result.DOWN, "it closed the connection without an answer"),
    b"ICAP/1.0 204 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n": (Result.DOWN, "its answer has more than 200 lines"),
    b"ICAP/1.0 204 OK\r\n" + b"X" * (MAX_HEAD + 9000): (
        Result.DOWN, f"the headers of its answer are longer than {MAX_HEAD} bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:50].decode().split("\r")[0] or "cut")
async def test_answers_at_the_end(answer: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(answer)

    async with server(behave) as (_, options):
        assert await scanned(options, b"small") == ANSWERS[answer]


@pytest.mark.parametrize("answer", [CLEAN, b"", b"ICAP/1.0 200 OK\r\nX-Virus-ID: Eicar\r\n\r\n"])
async def test_an_answer_in_the_middle_is_never_clean(answer: bytes) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(GO_ON)
        await reader.readexactly(CHUNK)
        writer.write(answer)

    async with server(behave) as (_, options):
        result, text = await scanned(options, b"x" * (40 * CHUNK))
    if b"Eicar" in answer:
        assert (result, text) == (Result.INFECTED, "Eicar")
    else:
        assert result is Result.DOWN


async def test_a_slow_or_endless_server_has_so_long() -> None:
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(b"ICAP/1.0 204 OK\r\n")
        while True:
            writer.write(b"X: y\r\n")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                if not await asyncio.wait_for(reader.read(1), 0.02):
                    ended.set()
                    return

    async with server(drip, seconds=0.2) as (_, options):
        verdict = await IcapInspector(options).inspect(act(b"x"))
        assert (verdict.allowed, verdict.reason) == (False, "no answer in 0.2 s")
        await ended.wait()  # it is hung up on


async def test_a_service_is_asked_for_its_abilities_once() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(CLEAN)

    async with server(behave) as (asked, options):
        client = IcapClient(options)
        for _ in range(3):
            asking = act(b"x")
            assert asking.read is not None
            assert (await client.scan(asking, asking.read)).result is Result.CLEAN
    assert asked.asked == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"ICAP/1.0 404 Not Found\r\n\r\n", "404 to OPTIONS"),
        (b"ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\n\r\n", "'RESPMOD', not REQMOD"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "without an answer"),
    ],
)
async def test_a_service_that_cannot_is_named(answer: bytes, said: str) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        raise AssertionError

    async with server(behave, answer) as (_, options):
        with pytest.raises(IcapFailed, match=said):
            await IcapClient(options).abilities()
        assert not (await IcapInspector(options).inspect(act(b"x"))).allowed


async def test_nobody_listens() -> None:
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    await listening.wait_closed()
    inspector = IcapInspector(IcapOptions(f"icap://127.0.0.1:{port}/scan"))
    assert not (await inspector.inspect(act(b"x"))).allowed
    with pytest.raises(NotNow):
        await inspector.inspect(act(b"x", arriving=True))
    assert not (await inspector.inspect(act(b"x", arriving=True, once=True))).allowed


async def test_a_storage_that_fails_is_nobody_elses_fault() -> None:
    async def failing(offset: int, size: int) -> bytes:
        raise StorageFailed("input/output error")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)

    async with server(behave, when=dict.fromkeys(Result, "allow")) as (_, options):
        with pytest.raises(StorageFailed):
            await IcapInspector(options).inspect(act(read=failing))


async def test_what_grows_is_too_large() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        await chunks(reader)
        writer.write(GO_ON)
        await chunks(reader)

    async with server(behave, max_size=3 * CHUNK) as (_, options):
        result, _text = await scanned(options, b"x" * (5 * CHUNK), size=1)
    assert result is Result.TOO_LARGE


def test_urls() -> None:
    assert split_url("icap://av/scan") == ("av", 1344, "scan")
    assert split_url("icap://[::1]:1345/a/b?x=y") == ("::1", 1345, "a/b?x=y")
    assert split_url("icap://[::1]/") == ("::1", 1344, "")
