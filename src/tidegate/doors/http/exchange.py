# SPDX-License-Identifier: Apache-2.0
"""One request and its answer, between uvicorn's connection and an ASGI application.

It stands for uvicorn's `RequestResponseCycle` and differs in three points: the pieces of a body reach the
application as they came (uvicorn joins them in one array and copies that), the head of an answer goes out
together with the first piece of its body, and an application can tell that its client has gone.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, Protocol

from starlette.types import ASGIApp, Message, Scope

from tidegate.doors.http.uvicorn_parts import STATUS_LINE

MAX_HELD_BYTES: Final = 1024 * 1024
"""Bytes of a body that wait for the application; the socket is read again at half of it."""
JOIN_BYTES: Final = 256 * 1024
"""Pieces of a body that wait are handed over together up to so many bytes."""
SMALL_BODY: Final = 16 * 1024
"""The first piece of an answer's body is joined to the head up to so many bytes."""

_NAME: Final = re.compile(rb'[\x00-\x1f\x7f()<>@,;:\[\]={} \t\\"]')
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Bytes that no value has, besides the two that end its line."""
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_log = logging.getLogger(__name__)


class Flow(Protocol):
    """uvicorn's flow control of one connection."""

    write_paused: bool

    async def drain(self) -> None:
        """Wait until the client takes more."""
        ...

    def pause_reading(self) -> None:
        """Read no more."""
        ...

    def resume_reading(self) -> None:
        """Read again."""
        ...


class Exchange:
    """One request and its answer; see the module.

    Args:
        scope: of ASGI.
        transport: of the connection.
        flow: its flow control.
        default_headers: of every answer.
        expects_continue: the client waits for ``100 Continue`` before it sends its body.
        keep_alive: the client wants to go on with the connection.
        on_response: called once when the answer is out.
        proved: called when the application says who the client is.

    Attributes:
        disconnected: the client has gone.
        more_body: the end of the body has not come yet.
        response_complete: the answer is out.
    """

    __slots__ = (
        "_chunked",
        "_continue",
        "_flow",
        "_head",
        "_headers",
        "_held",
        "_left",
        "_pieces",
        "_scope",
        "_told_end",
        "_transport",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "on_response",
        "proved",
        "response_complete",
        "response_started",
    )

    def __init__(
        self,
        scope: Scope,
        transport: asyncio.Transport,
        flow: Flow,
        default_headers: list[tuple[bytes, bytes]],
        *,
        expects_continue: bool,
        keep_alive: bool,
        on_response: Callable[[], None],
        proved: Callable[[], None],
    ) -> None:
        self._scope = scope
        self._transport = transport
        self._flow = flow
        self._headers = default_headers
        self._continue = expects_continue
        self._pieces: deque[bytes] = deque()
        self._held = 0
        self._told_end = False
        self._head: bytes | None = None
        self._chunked: bool | None = None
        self._left = 0
        self.message_event = asyncio.Event()
        self.on_response: Callable[[], None] = on_response
        self.proved: Callable[[], None] = proved
        self.keep_alive = keep_alive
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    # -- what the connection calls -----------------------------------------------------------------------

    def feed(self, piece: bytes) -> None:
        """A piece of the body came."""
        if self.response_complete:
            return  # nobody reads it any more
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > MAX_HELD_BYTES:
            self._flow.pause_reading()
        self.message_event.set()

    def end(self) -> None:
        """The body is complete."""
        self.more_body = False
        self.message_event.set()

    @property
    def waits_for_body(self) -> bool:
        """True while the application can take more of a body that is not complete."""
        return self.more_body and not self.response_complete and self._held <= MAX_HELD_BYTES

    async def run_asgi(self, app: ASGIApp) -> None:
        """Have the application answer."""
        try:
            await app(self._scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._transport.close()
            raise
        except BaseException:
            _log.exception("an application failed")
            await self._failed()
        else:
            gone = self.disconnected or self._transport.is_closing()
            if not self.response_complete and not gone:
                _log.error("an application ended without a complete answer")
                await self._failed()
        finally:
            self.on_response = _nothing

    async def _failed(self) -> None:
        if self.response_started:
            self._transport.close()
            return
        body = b"Internal Server Error"
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    # -- for applications --------------------------------------------------------------------------------

    def leave(self) -> None:
        """The client has gone."""
        self.disconnected = True
        self.message_event.set()

    def abort(self) -> None:
        """End the connection at once, so that the client cannot take the answer for complete."""
        self._transport.abort()

    @property
    def expects_continue(self) -> bool:
        """True while the client waits for ``100 Continue``; reading its body sends that."""
        return self._continue

    @property
    def tls(self) -> Any:
        """The `ssl.SSLObject` of the connection; None in the clear."""
        return self._transport.get_extra_info("ssl_object")

    async def receive(self) -> Message:
        """The next piece of the body, or that the client has gone."""
        if self._continue and not self._transport.is_closing():
            self._continue = False
            self._transport.write(_CONTINUE)
        while True:
            if self.disconnected or self.response_complete:
                return {"type": "http.disconnect"}
            if self._pieces:
                body = self._next_piece()
                more = bool(self._pieces) or self.more_body
                self._told_end = not more
                return {"type": "http.request", "body": body, "more_body": more}
            if not self.more_body and not self._told_end:
                self._told_end = True
                return {"type": "http.request", "body": b"", "more_body": False}
            self.message_event.clear()
            self._flow.resume_reading()
            await self.message_event.wait()

    def _next_piece(self) -> bytes:
        pieces = self._pieces
        body = pieces.popleft()
        if pieces and len(body) < JOIN_BYTES:
            size, parts = len(body), [body]
            while pieces and size + len(pieces[0]) <= JOIN_BYTES:
                parts.append(pieces.popleft())
                size += len(parts[-1])
            body = b"".join(parts)
        self._held -= len(body)
        if self._held < MAX_HELD_BYTES // 2:
            self._flow.resume_reading()
        return body

    async def send(self, message: Message) -> None:
        """Send a part of the answer; waits while the client does not take it."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self._transport.is_closing():  # uvloop raises if it is written to; the protocol is told later
            self.disconnected = True
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"an answer begins with http.response.start, not {kind}")
            self._begin(message)
        elif self.response_complete or kind != "http.response.body":
            raise RuntimeError(f"{kind} is out of place")
        else:
            self._body(message.get("body", b""), more=message.get("more_body", False))

    def _begin(self, message: Message) -> None:
        status = message["status"]
        parts = [STATUS_LINE[status]]
        self._chunked, self._left, closes = None, 0, False
        lines = 2  # the first one, and the empty one at the end
        for name, value in (*self._headers, *message.get("headers", ())):
            name = _name(name)
            lines += 1
            if name == b"content-length" and self._chunked is None:
                self._left, self._chunked = int(value), False
            elif name == b"transfer-encoding" and value.lower() == b"chunked":
                self._left, self._chunked = 0, True
            elif name == b"connection" and b"close" in [word.strip() for word in value.lower().split(b",")]:
                self.keep_alive, closes = False, True
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive and not closes:
            parts.append(b"connection: close\r\n")
            lines += 1
        if self._chunked is None and self._scope["method"] != "HEAD" and status not in (204, 304):
            if (
                self._scope["http_version"] == "1.0"
            ):  # which knows no chunks: the end is that of the connection
                self.keep_alive = False
                self._left, self._chunked = -1, False
            else:
                self._chunked = True
                parts.append(b"transfer-encoding: chunked\r\n")
                lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        # All values at once: a line that one of them began would be one too many.
        if head.count(b"\r") != lines or head.count(b"\n") != lines or _CONTROL.search(head):
            raise RuntimeError("a header of the answer has a value that is none")
        self._head = head
        self._continue = False
        self.response_started = True

    def _body(self, body: bytes, *, more: bool) -> None:
        if self._scope["method"] == "HEAD":
            self._left, body = 0, b""
        elif self._chunked:
            framed = [b"%x\r\n" % len(body), body, b"\r\n"] if body else []
            if not more:
                framed.append(b"0\r\n\r\n")
            body = b"".join(framed)
        elif self._left >= 0:
            self._left -= len(body)
            if self._left < 0 or (not more and self._left):
                raise RuntimeError("the body is not as long as Content-Length says")
        head, self._head = self._head, None
        if head is not None and len(body) <= SMALL_BODY:
            self._transport.write(head + body)
        else:
            if head is not None:
                self._transport.write(head)
            if body:
                self._transport.write(body)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self._transport.close()
            self.on_response()


@lru_cache(maxsize=512)
def _name(name: bytes) -> bytes:
    """A name of a header in lower case.

    Raises:
        RuntimeError: it is none.
    """
    name = name.lower()
    if _NAME.search(name):
        raise RuntimeError(f"{name!r} is no name of a header")
    return name


def _nothing() -> None:
    """Takes the place of a callback that must not be called any more."""
