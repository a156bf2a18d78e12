# SPDX-License-Identifier: Apache-2.0
"""Answers of clamd, and of what only looks like it: bounded, and never taken for "clean" by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tidegate.contracts.inspection import Inspected, InspectedAct
from tidegate.errors import StorageFailed, Unsupported
from tidegate.inspection.clamd import (
    MAX_ANSWER,
    ClamdFailed,
    ping,
    scan,
    split_address,
    understood,
)
from tidegate.inspection.factory import ClamdOptions
from tidegate.inspection.policies import Result, Scan
from tidegate.inspection.scanner import ClamdInspector
from tidegate.inspection.sockets import CHUNK
from tidegate.model import Origin

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def peer(behave: Peer, **more: Any) -> AsyncIterator[ClamdOptions]:
    """Somebody on the address of clamd."""

    talks: set[asyncio.Task[None] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.current_task())
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await behave(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield ClamdOptions(f"127.0.0.1:{port}", **more)
    finally:
        server.close()
        await server.wait_closed()
        for _ in range(10):
            await asyncio.sleep(0)  # a connection that was accepted has its task now
        await asyncio.gather(*filter(None, talks), return_exceptions=True)


async def stream(reader: asyncio.StreamReader) -> bytes:
    """The content of an INSTREAM command, to its end."""
    assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
    content = b""
    while size := struct.unpack(">I", await reader.readexactly(4))[0]:
        assert size <= CHUNK
        content += await reader.readexactly(size)
    return content


def content(data: bytes) -> Callable[[int, int], Awaitable[bytes]]:
    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return read


@pytest.mark.parametrize(
    ("answer", "result", "text"),
    [
        ("stream: OK", Result.CLEAN, ""),
        ("stream: Eicar-Test FOUND", Result.INFECTED, "Eicar-Test"),
        ("Eicar-Test FOUND", Result.INFECTED, "Eicar-Test"),
        ("stream: OK FOUND", Result.INFECTED, "OK"),
        ("INSTREAM size limit exceeded. ERROR", Result.TOO_LARGE, "INSTREAM size limit exceeded. ERROR"),
        ("COMMAND READ TIMED OUT", Result.SLOW, "COMMAND READ TIMED OUT"),
        ("", Result.DOWN, "answer ''"),
        ("OK", Result.DOWN, "answer 'OK'"),
        ("stream: OK and more", Result.DOWN, "answer 'stream: OK and more'"),
        ("UNKNOWN COMMAND", Result.DOWN, "answer 'UNKNOWN COMMAND'"),
    ],
)
def test_answers(answer: str, result: Result, text: str) -> None:
    assert understood(answer) == Scan(result, text)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("clamd", ("clamd", 3310)),
        ("clamd:3311", ("clamd", 3311)),
        ("[::1]", ("::1", 3310)),
        ("[::1]:3311", ("::1", 3311)),
        ("/run/clamd.ctl", "/run/clamd.ctl"),
    ],
)
def test_addresses(text: str, where: object) -> None:
    assert split_address(text) == where


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7])
async def test_all_of_the_content_is_sent_once(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    got: list[bytes] = []

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await stream(reader))
        writer.write(b"stream: ")
        await writer.drain()
        writer.write(b"OK\0")

    async with peer(behave) as options:
        assert await scan(options, content(data[:size])) == Scan(Result.CLEAN)
    assert got == [data[:size]]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "it closed the connection without an answer"),
        (b"stream: OK", "it closed the connection without an answer"),
        (b"x" * (2 * MAX_ANSWER), f"its answer is longer than {MAX_ANSWER} bytes"),
        (b"\xff\0", "answer '\ufffd'"),
    ],
)
async def test_malformed_answers(answer: bytes, text: str) -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)
        writer.write(answer)

    async with peer(behave) as options:
        assert await scan(options, content(b"data")) == Scan(Result.DOWN, text)


async def test_an_endless_answer_is_given_up() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()

    async with asyncio.timeout(20), peer(behave) as options:
        assert (await scan(options, content(b"data"))).result is Result.DOWN


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"stream: OK\0", Result.DOWN),
        (b"stream: X FOUND\0", Result.INFECTED),
        (b"INSTREAM size limit exceeded. ERROR\0", Result.TOO_LARGE),
        (b"", Result.DOWN),
    ],
)
async def test_an_answer_before_the_end(answer: bytes, result: Result) -> None:
    """The peer closes with bytes unread, so the connection is reset under the next write."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(CHUNK)
        writer.write(answer)
        await writer.drain()

    async with asyncio.timeout(20), peer(behave) as options:
        assert (await scan(options, content(b"z" * 20_000_000))).result is result


async def test_ping() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zPING\0"
        writer.write(answers.pop())

    answers = [b"HTTP/1.1 400\0", b"PONG\0"]
    async with peer(behave) as options:
        await ping(options)
        with pytest.raises(ClamdFailed, match="is this clamd"):
            await ping(options)
    for address in (options.address, "/nowhere/clamd", "a..b"):
        with pytest.raises(ClamdFailed):
            await ping(ClamdOptions(address))


def act(read: Any, size: int | None = None) -> InspectedAct:
    return InspectedAct(Inspected.UPLOAD, Origin(protocol="SFTP", username="u"), "/f", size=size, read=read)


async def test_files_that_cannot_be_read_are_as_configured() -> None:
    async def unsupported(offset: int, size: int) -> bytes:
        raise Unsupported("no")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)

    for allowed in (True, False):
        async with peer(behave, when={Result.UNREADABLE: "allow" if allowed else "refuse"}) as options:
            inspector = ClamdInspector(options)
            for read in (None, unsupported):
                assert (await inspector.inspect(act(read))).allowed is allowed


async def test_a_storage_that_fails_is_nobody_elses_fault() -> None:
    async def failing(offset: int, size: int) -> bytes:
        raise StorageFailed("input/output error")

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)

    async with peer(behave, when=dict.fromkeys(Result, "allow")) as options:
        with pytest.raises(StorageFailed):
            await ClamdInspector(options).inspect(act(failing))


async def test_a_file_that_grows_is_too_large() -> None:
    async def endless(offset: int, size: int) -> bytes:
        return b"z" * size

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)

    async with peer(behave, max_size=10 * CHUNK) as options:
        verdict = await ClamdInspector(options).inspect(act(endless, size=1))
    assert not verdict.allowed
    assert "too large" in verdict.text


async def test_scans_wait_for_their_turn() -> None:
    asked = asyncio.Semaphore(0)
    go = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.release()
        await stream(reader)
        await go.wait()
        writer.write(b"stream: OK\0")

    async with asyncio.timeout(20), peer(behave, at_once=2) as options:
        inspector = ClamdInspector(options)
        scans = [asyncio.create_task(inspector.inspect(act(content(b"x")))) for _ in range(4)]
        try:
            await asked.acquire()
            await asked.acquire()
            for _ in range(100):  # time enough for a connection, were there a third
                await asyncio.sleep(0)
            assert asked.locked()
        finally:
            go.set()
        assert [(await one).allowed for one in scans] == [True] * 4


async def test_who_waits_in_vain_is_slow() -> None:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stream(reader)
        await reader.read()

    for allowed in (True, False):
        async with (
            asyncio.timeout(20),
            peer(
                behave, at_once=1, seconds=0.1, when={Result.SLOW: "allow" if allowed else "refuse"}
            ) as options,
        ):
            inspector = ClamdInspector(options)
            verdicts = await asyncio.gather(*(inspector.inspect(act(content(b"x"))) for _ in range(3)))
        assert [one.allowed for one in verdicts] == [allowed] * 3
