# SPDX-License-Identifier: Apache-2.0
"""Connections whose content goes straight into memory: with servers that answer as they please."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.certificates import certificate

from tidegate.backends.objects import wire
from tidegate.backends.objects.wire import (
    HEAD_BYTES,
    SHORT_BYTES,
    BrokenResponse,
    Connections,
    Origin,
    Request,
)

GET = Request("GET", "/k", {"host": "h"}, most=1 << 20)
SHORT = Request("GET", "/k", {"host": "h"})
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def no_tls() -> ssl.SSLContext:
    raise AssertionError("TLS is not asked for")


@contextlib.asynccontextmanager
async def serving(
    serve: Serve, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Origin, list[asyncio.StreamWriter]]]:
    """A server, and its connections so far."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context) as server:
        yield Origin("127.0.0.1", server.sockets[0].getsockname()[1], context is not None), writers
        for writer in writers:
            writer.close()


def always(answer: bytes) -> Serve:
    """Answers each request without a body by that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return serve


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    made = Connections(4, 30.0, 30.0, no_tls)
    yield made
    await made.close()


async def test_content_arrives_whole_in_whatever_pieces(connections: Connections) -> None:
    data = bytes(range(256)) * 2000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for step in (1, 7, 40_000, len(data) + 100):
            await reader.readuntil(b"\r\n\r\n")
            answer = b"HTTP/1.1 206 Partial Content\r\nX-A: 1\r\nContent-Length: %d\r\n\r\n%b" % (
                len(data),
                data,
            )
            start, end = answer[:300], answer[300:]
            for at in range(0, len(start), step):
                writer.write(start[at : at + step])
                await writer.drain()
                await asyncio.sleep(0)
            for at in range(0, len(end), max(step, 5000)):
                writer.write(end[at : at + max(step, 5000)])
                await writer.drain()

    async with serving(serve) as (origin, writers):
        for _ in range(4):
            answer = await connections.send(origin, GET)
            assert (answer.status, answer.headers["x-a"], bytes(answer.body) == data) == (206, "1", True)
        assert len(writers) == 1


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nwhy?", 403, b"why?"),
        (
            b"HTTP/1.1 503 S\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nSlo\r\n4\r\nwDow\r\n0\r\nX: y\r\n\r\n",
            503,
            b"SlowDow",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
        (b"HTTP/1.1 206 P\r\nContent-Length: 0\r\n\r\n", 206, b""),
    ],
)
async def test_short_answers(connections: Connections, answer: bytes, status: int, body: bytes) -> None:
    async with serving(always(answer)) as (origin, writers):
        for _ in range(3):
            found = await connections.send(origin, GET)
            assert (found.status, bytes(found.body)) == (status, body)
        assert len(writers) == 1


async def test_an_answer_to_head_has_no_body(connections: Connections) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nETag: e\r\n\r\n"
    async with serving(always(answer)) as (origin, writers):
        for _ in range(3):
            found = await connections.send(origin, Request("HEAD", "/k", {}))
            assert (found.headers["content-length"], found.headers["etag"]) == ("12345", "e")
        assert len(writers) == 1


async def test_a_short_answer_may_end_with_its_connection(connections: Connections) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Oh\r\n\r\nall of it")

    async with serving(serve) as (origin, writers):
        for _ in range(2):
            assert bytes((await connections.send(origin, GET)).body) == b"all of it"
        assert len(writers) == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 503 S\r\nContent-Length: %d\r\n\r\n%b" % (SHORT_BYTES + 1, b"x" * (SHORT_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (HEAD_BYTES // 6 + 10),
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 * HEAD_BYTES),
        b"SSH-2.0-other\r\n",
        b"\0" * 100,
    ],
)
async def test_what_is_no_answer_ends_its_connection(connections: Connections, answer: bytes) -> None:
    async with serving(always(answer)) as (origin, writers):
        for _ in range(2):
            with pytest.raises(BrokenResponse):
                await connections.send(origin, GET)
        assert len(writers) == 2
    assert not connections._open or all(not one.reusable for one in connections._open)


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"]
)
async def test_an_answer_that_breaks_off(connections: Connections, sent: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(sent)

    async with serving(serve) as (origin, _):
        with pytest.raises((BrokenResponse, ConnectionError)):
            await connections.send(origin, GET)


async def test_what_nobody_asked_for_ends_a_connection(connections: Connections) -> None:
    """The answer of one request is never taken for that of the next."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
    async with serving(always(answer + answer)) as (origin, writers):
        with contextlib.suppress(BrokenResponse):  # both came at once
            assert bytes((await connections.send(origin, SHORT)).body) == b"a"
        async with asyncio.timeout(30):
            while any(one.reusable for one in connections._open):
                await asyncio.sleep(0.001)
        with contextlib.suppress(BrokenResponse):
            await connections.send(origin, SHORT)
        assert len(writers) == 2


async def test_who_refuses_before_it_has_read_all_gets_no_further_request(connections: Connections) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await asyncio.Event().wait()

    big = Request("PUT", "/k", {}, b"x" * (64 << 20))
    async with serving(serve) as (origin, writers):
        for _ in range(2):
            assert (await connections.send(origin, big)).status == 403
        assert len(writers) == 2


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 9 << 20])
async def test_a_body_is_sent_whole(connections: Connections, size: int) -> None:
    body = (bytes(range(251)) * (size // 251 + 1))[:size]
    got: list[tuple[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            got.append((head, await reader.readexactly(size)))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serving(serve) as (origin, writers):
        for content in (body, memoryview(bytearray(body))):
            await connections.send(origin, Request("PUT", "/a%20b?x=1", {"host": "h", "x-y": "z"}, content))
        assert len(writers) == 1
    for head, content in got:
        assert head == b"PUT /a%%20b?x=1 HTTP/1.1\r\nhost: h\r\nx-y: z\r\ncontent-length: %d\r\n\r\n" % size
        assert content == body


async def test_an_idle_connection_keeps_no_content(connections: Connections) -> None:
    class Watched(bytearray):
        """A body that tells when it is gone."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n%b" % await reader.readexactly(9))
        await reader.read()

    async with serving(serve) as (origin, _):
        body = Watched(b"something")
        answer = await connections.send(origin, Request("PUT", "/k", {}, body, 9))
        assert answer.body == b"something"
        assert isinstance(answer.body, memoryview)
        sent, got = weakref.ref(body), weakref.ref(answer.body)
        del body, answer
        gc.collect()
        assert any(one.reusable for one in connections._open)
        assert (sent(), got()) == (None, None)


async def test_silence_ends_and_progress_does_not(connections: Connections) -> None:
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        while True:
            writer.write(await more.get())

    async with serving(serve) as (origin, _):
        asking = asyncio.create_task(connections.send(origin, GET))
        async with asyncio.timeout(30):
            for _ in range(4):
                more.put_nowait(b"x")
                seen = sum(one._progress for one in connections._open)
                while sum(one._progress for one in connections._open) == seen:
                    await asyncio.sleep(0.001)
                (connection,) = connections._open
                connection._check_progress()  # as after `read` seconds
                assert not asking.done()
            connection._check_progress()
            with pytest.raises(TimeoutError):
                await asking


async def test_silence_is_noticed_by_itself() -> None:
    connections = Connections(4, 30.0, 0.05, no_tls)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with serving(serve) as (origin, _):
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError, match="no response within"):
                await connections.send(origin, GET)
            with pytest.raises(TimeoutError, match="no response within"):
                await connections.send(origin, Request("PUT", "/k", {}, b"x" * (64 << 20)))
    await connections.close()


async def test_only_so_many_connections_and_the_rest_waits() -> None:
    connections = Connections(2, 30.0, 30.0, no_tls)
    busy, most, release = 0, 0, asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal busy, most
        while True:
            await reader.readuntil(b"\r\n\r\n")
            busy += 1
            most = max(most, busy)
            if busy == 2:
                release.set()
            await release.wait()
            busy -= 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with serving(serve) as (origin, writers):
        found = await asyncio.gather(*(connections.send(origin, SHORT) for _ in range(9)))
        assert [one.status for one in found] == [200] * 9
        assert (most, len(writers)) == (2, 2)
    await connections.close()


async def test_who_gives_up_leaves_no_connection(connections: Connections) -> None:
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with serving(serve) as (origin, _):
        asking = asyncio.create_task(connections.send(origin, GET))
        await asked.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(30):
            while connections._open:
                await asyncio.sleep(0.001)


async def test_idle_connections_are_closed(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(answer)) as (origin, writers):
        await connections.send(origin, SHORT)
        monkeypatch.setattr(wire, "IDLE_SECONDS", -1.0)
        await connections.send(origin, SHORT)  # the first one counts as idle for too long
        assert len(writers) == 2
        connections._close_idle()
        async with asyncio.timeout(30):
            while connections._open:
                await asyncio.sleep(0.001)


async def test_closed_while_asking() -> None:
    connections = Connections(4, 30.0, 30.0, no_tls)
    asked = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with serving(serve) as (origin, _):
        asking = asyncio.create_task(connections.send(origin, GET))
        await asked.wait()
        await connections.close()
        with pytest.raises((BrokenResponse, OSError)):
            await asking
        with pytest.raises(ConnectionError):
            await connections.send(origin, GET)


async def test_tls(tmp_path: Path) -> None:
    """Content goes both ways, and a certificate that nobody vouches for is refused."""
    made_for_us = certificate(tmp_path, "a bucket")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made_for_us, tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=str(made_for_us))
    body = bytes(range(256)) * 20_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            got = await reader.readexactly(len(body))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got))
            writer.write(got)
            await writer.drain()

    for context, right in ((trusting, True), (ssl.create_default_context(), False)):

        async def made(context: ssl.SSLContext = context) -> ssl.SSLContext:
            return context

        connections = Connections(4, 30.0, 30.0, made)
        async with serving(serve, server) as (origin, writers):
            asked = Request("PUT", "/k", {}, body, len(body))
            if right:
                for _ in range(2):
                    assert bytes((await connections.send(origin, asked)).body) == body
                assert len(writers) == 1
            else:
                with pytest.raises(ssl.SSLError):
                    await connections.send(origin, asked)
        await connections.close()


async def test_a_body_that_goes_slowly_by_tls_goes_on(tmp_path: Path) -> None:
    """Bytes that a slow network takes are progress; who refuses meanwhile gets no further request."""
    made_for_us = certificate(tmp_path, "a bucket")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made_for_us, tmp_path / "key.pem")
    step, body = 1 << 21, bytes(24 << 20)
    more: asyncio.Queue[bool] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while await more.get():
            await reader.readexactly(step)
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async def made() -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(made_for_us))

    connections = Connections(4, 30.0, 30.0, made)
    async with serving(serve, server) as (origin, _), asyncio.timeout(30):
        asking = asyncio.create_task(connections.send(origin, Request("PUT", "/k", {}, body)))
        while not any(one._waiter for one in connections._open):
            await asyncio.sleep(0.001)
        (connection,) = connections._open
        for _ in range(6):
            seen = connection._seen
            more.put_nowait(True)
            while not asking.done():
                assert connection._transport is not None
                if (connection._progress, connection._transport.get_write_buffer_size()) != seen:
                    break
                await asyncio.sleep(0.001)
            connection._check_progress()  # as after `read` seconds
        more.put_nowait(False)
        answer = await asking
        assert (answer.status, answer.body) == (403, b"no")
        assert not any(one.reusable for one in connections._open)
    await connections.close()
