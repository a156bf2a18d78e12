# SPDX-License-Identifier: Apache-2.0
"""Answers as servers put them on the wire, byte by byte, and requests as they come there."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tidegate.errors import OutsideFailed
from tidegate.outgoing.http import MAX_BODY, HttpCaller

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of `answers`, an empty one by closing. `heads` has what came."""

    def __init__(self, *answers: bytes | tuple[bytes, ...], close: bool = False) -> None:
        self.answers = list(answers)
        self.close = close
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.base = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
                self.bodies.append(await reader.readexactly(length))
                answer = self.answers.pop(0)
                for piece in (answer,) if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if not answer or self.close:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw(talk: Talk) -> AsyncIterator[tuple[str, HttpCaller]]:
    """A URL whose connections `talk` serves, and a caller; at the end of it all connections have ended."""
    ended: set[asyncio.Task[object]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        ended.add(task)
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    listening = await asyncio.start_server(run, "127.0.0.1", 0)
    caller = HttpCaller()
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", caller
    finally:
        await caller.close()
        listening.close()
        await listening.wait_closed()
        await asyncio.wait_for(asyncio.gather(*ended), 10)
        await asyncio.sleep(0)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[HttpCaller]:
    async with raw(server.serve) as (server.base, caller):
        yield caller


async def ask(server: Server, method: str = "POST") -> bytes:
    async with serving(server) as caller:
        return (await caller.call(method, f"{server.base}/a", seconds=10)).body


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        (OK, False),
        (tuple(OK[index : index + 1] for index in range(len(OK))), False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\no\r\n1\r\nk\r\n0\r\nT: 1\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", True),
        (b"HTTP/1.0 200 OK\r\n\r\nok", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLocation: /x\r\nContent-Length: 9\r\n\r\n" + OK, False),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"ok"), True),
    ],
    ids=["whole", "bytes", "chunked", "to the end", "1.0", "interim", "gzip"],
)  # fmt: skip
async def test_answers(answer: bytes | tuple[bytes, ...], close: bool) -> None:
    assert await ask(Server(answer, close=close)) == b"ok"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "answers unusably"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", "answers unusably"),
        (b"SSH-2.0-x\r\n", "answers unusably"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nok", "answers unusably"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 80_000, "answers unusably"),
        (b"HTTP/1.1 100 C\r\n\r\n" * 50, "without an answer"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(8 * MAX_BODY)),
            "bytes of answer",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nno gzip", "answers unusably"),
    ],
)
async def test_answers_that_are_none(answer: bytes, said: str) -> None:
    with pytest.raises(OutsideFailed, match=said):
        await ask(Server(answer, close=True))


async def test_a_second_answer_is_none_to_the_next_request() -> None:
    server = Server(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nev", OK, OK)
    async with serving(server) as caller:
        for _ in range(3):
            assert (await caller.call("POST", f"{server.base}/a", body=b"1")).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_server_that_hung_up_meanwhile(method: str) -> None:
    """A GET is repeated; of anything else nobody knows whether the server has taken it."""
    server = Server(OK, b"", OK)
    async with serving(server) as caller:
        url = f"{server.base}/a"
        assert (await caller.call(method, url)).body == b"ok"
        if method == "GET":
            assert (await caller.call(method, url)).body == b"ok"
        else:
            with pytest.raises(OutsideFailed, match="without an answer"):
                await caller.call(method, url)
    assert len(server.heads) == (3 if method == "GET" else 2)


async def test_requests() -> None:
    server = Server(OK, OK, OK)
    async with serving(server) as caller:
        host = server.base.removeprefix("http://")
        await caller.call("POST", f"http://u:p@{host}/%41?q=%20", body=b"\0\xff", headers={"X-A": "é"})
        await caller.call("PUT", f"{server.base}")
        await caller.call("GET", f"{server.base}/ä b?c=d", query={"e": "&"})
    first, second, third = (head.decode().split("\r\n") for head in server.heads)
    assert first[:2] == ["POST /%41?q=%20 HTTP/1.1", f"Host: {host}"]
    assert {"Authorization: Basic dTpw", "X-A: é", "Content-Length: 2"} <= set(first)
    assert server.bodies == [b"\0\xff", b"", b""]
    assert second[0] == "PUT / HTTP/1.1"
    assert "Content-Length: 0" in second
    assert third[0] == "GET /%C3%A4%20b?c=d&e=%26 HTTP/1.1"
    assert server.connections == 1


@pytest.mark.parametrize("value", ["a\r\nX-Own: 1", "a\nb", "a\0b"])
async def test_no_header_ends_its_line(value: str) -> None:
    server = Server(OK)
    async with serving(server) as caller:
        with pytest.raises(OutsideFailed, match="injection"):
            await caller.call("POST", server.base, headers={"X-A": value})
        with pytest.raises(OutsideFailed, match="injection"):
            await caller.call("POST", server.base, headers={value: "x"})
    assert server.heads == []
