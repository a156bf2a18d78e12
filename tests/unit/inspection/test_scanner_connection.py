# SPDX-License-Identifier: Apache-2.0
"""Connections to scanners by TLS: whole, bounded, and an answer is told from what TLS says for itself."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.certificates import certificate

from tidegate.inspection.connection import Connection, open_connection
from tidegate.inspection.icap import client_context

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SIZE = 3_000_000


@contextlib.asynccontextmanager
async def connected(directory: Path, talk: Talk, trusted: bool = True) -> AsyncIterator[Connection]:
    pem = certificate(directory, "icap")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, pem.with_name("key.pem"))
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            over.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        async with asyncio.timeout(20):
            where = ("127.0.0.1", server.sockets[0].getsockname()[1])
            with await open_connection(where, client_context(str(pem) if trusted else "")) as made:
                yield made
            await over.wait()
    finally:
        server.close()
        await server.wait_closed()


async def test_all_that_is_sent_arrives_and_the_end_is_told(tmp_path: Path) -> None:
    data = bytes(index * 7 % 251 for index in range(SIZE))
    got: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(SIZE))
        writer.write(got[0][::-1])
        await writer.drain()

    async with connected(tmp_path, talk) as made:
        await made.send(data)
        back = b""
        while piece := await made.receive(10_000):
            assert len(piece) <= 10_000
            back += piece
    assert got == [data] and back == data[::-1]


async def test_only_an_answer_is_an_answer(tmp_path: Path) -> None:
    may_answer = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"ready")
        await may_answer.wait()
        writer.write(b"answer")
        await writer.drain()
        await reader.read()

    async with connected(tmp_path, talk) as made:
        await made.send(b"x")
        assert await made.receive(100) == b"ready"  # the tickets of TLS 1.3 have come before it
        assert not made.answered()
        may_answer.set()
        while not made.answered():
            await asyncio.sleep(0)
        assert made.answered()
        assert [await made.receive(3), await made.receive(100)] == [b"ans", b"wer"]
        assert not made.answered()


async def test_a_connection_that_is_cut_is_no_end(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async with connected(tmp_path, talk) as made:
        await made.send(b"x")
        with pytest.raises(OSError):
            await made.receive(100)
        assert made.answered()


async def test_a_certificate_of_nobody_that_is_trusted_is_refused(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("nobody gets so far")

    with pytest.raises(ssl.SSLCertVerificationError):
        async with connected(tmp_path, talk, trusted=False):
            pass
    with pytest.raises(OSError):
        client_context(str(tmp_path / "absent"))
