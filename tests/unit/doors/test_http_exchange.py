# SPDX-License-Identifier: Apache-2.0
"""Heads of answers: what goes out, and that no value of a header can begin another line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tidegate.doors.http.exchange import Exchange


class Transport:
    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


class Flow:
    write_paused = False

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return


def exchange(transport: Any, headers: list[tuple[bytes, bytes]], method: str = "GET") -> Exchange:
    scope = {"method": method, "http_version": "1.1"}
    return Exchange(
        scope, transport, Flow(), headers, expects_continue=False, keep_alive=True,
        on_response=lambda: None, proved=lambda: None,
    )  # fmt: skip


async def answer(one: Exchange, headers: list[tuple[bytes, bytes]], body: bytes = b"ok") -> None:
    await one.send({"type": "http.response.start", "status": 200, "headers": headers})
    await one.send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("headers", "end"),
    [
        ([(b"Content-Length", b"2")], b"server: t\r\ncontent-length: 2\r\n\r\nok"),
        ([(b"x-tab", b"a\tb")], b"server: t\r\nx-tab: a\tb\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ([(b"x", "ä".encode()), (b"content-length", b"2")], b"x: \xc3\xa4\r\ncontent-length: 2\r\n\r\nok"),
        ([(b"connection", b"close"), (b"content-length", b"2")], b"connection: close\r\ncontent-length: 2\r\n\r\nok"),
    ],
)  # fmt: skip
async def test_heads(headers: list[tuple[bytes, bytes]], end: bytes) -> None:
    transport = Transport()
    await answer(exchange(transport, [(b"server", b"t")]), headers)
    assert transport.sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert transport.sent.endswith(end)


@pytest.mark.parametrize(
    "bad",
    [
        (b"x", b"a\r\nset-cookie: b"), (b"x", b"a\rb"), (b"x", b"a\nb"), (b"x", b"a\0b"), (b"x", b"a\x7fb"),
        (b"x y", b"a"), (b"x\r\ny", b"a"), (b"x:", b"a"), (b"x", b"\r\n"),
    ],
)  # fmt: skip
async def test_no_header_begins_another_line(bad: tuple[bytes, bytes]) -> None:
    """Nothing of such an answer goes out; the client gets 500 instead, as of any failure of an application."""
    transport = Transport()
    one = exchange(transport, [])

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2"), bad]}
        )
        await send({"type": "http.response.body", "body": b"ok"})

    await one.run_asgi(application)
    assert transport.sent.startswith(b"HTTP/1.1 500 ")
    assert transport.sent.endswith(b"\r\n\r\nInternal Server Error")
    assert b"set-cookie" not in transport.sent
