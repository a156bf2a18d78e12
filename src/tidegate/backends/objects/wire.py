# SPDX-License-Identifier: Apache-2.0
"""Connections of HTTP/1.1 whose content goes between a socket and memory without a copy (RFC 9112).

For the frequent requests to a bucket, whose responses are content of an announced length, or short. A general
client hands content on in pieces of what one receive call brings, copies each twice and joins them.
Nothing is sent twice: whoever asks knows whether a request may be repeated.

Long, because a request, the bounds of its response and what makes its connection unfit are one state.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import httptools
from typing_extensions import Buffer

HEAD_BYTES: Final = 65_536
"""Longest head of a response, bytes."""
SHORT_BYTES: Final = 65_536
"""Longest body of a response that is no content of an object, bytes, unless the request says otherwise."""
RECEIVED_BYTES: Final = 16_384
"""Bytes of one receive call until the length of the content is known."""
JOINED_BYTES: Final = 65_536
"""Up to so many bytes are copied behind the head, so that one packet may have both."""
PIECE_BYTES: Final = 262_144
"""Bytes of a body that are encrypted at once."""
IDLE_SECONDS: Final = 12.0
"""A connection that nobody uses is closed after so long: services close theirs after 20 s or more."""


class BrokenResponse(Exception):
    """No response, an incomplete or malformed one, or a longer one than was asked for."""


@dataclass(slots=True)
class Response:
    """A response.

    Attributes:
        status: of HTTP.
        headers: names in lower case; of one that comes twice the last value.
        body: the content, whose length is the announced one; or all of a short body.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Origin:
    """A server (RFC 9110, section 4.3.1).

    Attributes:
        host: name or address.
        port: of TCP.
        tls: the connection is encrypted.
    """

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Request:
    """A request.

    Attributes:
        method: ``GET``, ``HEAD``, ``PUT`` or ``DELETE``.
        target: path and query, encoded.
        headers: without the length of the body; names and values are printable ASCII.
        body: content; must not change before the response is there.
        most: bytes of content that the response may have; 0 if its body is no content.
        short: bytes of a body that is no content; its length need not be announced.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: Buffer | None = None
    most: int = 0
    short: int = SHORT_BYTES


_NOTHING: Final = Request("GET", "", {})


class Connections:
    """Connections to the servers of one client. Life: constructed (pure), used, `close`.

    Args:
        limit: connections at the same time; further requests wait.
        connect: seconds to connect.
        read: seconds without a byte in either direction.
        context: makes the context for TLS; called by the first that needs it.
    """

    def __init__(
        self, limit: int, connect: float, read: float, context: Callable[[], Awaitable[ssl.SSLContext]]
    ) -> None:
        self._room = asyncio.Semaphore(limit)
        self._connect = connect
        self._read = read
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._idle: dict[Origin, deque[tuple[float, _Connection]]] = {}
        self._open: set[_Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def send(self, origin: Origin, request: Request) -> Response:
        """The response to a request.

        Raises:
            BrokenResponse: none that can be used came; the request may have been carried out.
            TimeoutError: nothing came or went for too long.
            OSError: no connection, `ssl.SSLError` among them.
        """
        async with self._room:
            connection = self._take(origin) or await self._connected(origin)
            try:
                response = await connection.send(request)
            except BaseException:
                connection.abort()
                raise
            if connection.reusable and not self._closed:
                self._put_back(origin, connection)
            else:
                connection.abort()
            return response

    def _take(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin)
        now = asyncio.get_running_loop().time()
        while idle:
            since, connection = idle.pop()
            if connection.reusable and now - since <= IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connected(self, origin: Origin) -> _Connection:
        if self._closed:
            raise ConnectionError("the storage is closed")
        if origin.tls and self._context is None:
            self._context = await self._make_context()
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect):
            _, connection = await loop.create_connection(
                lambda: _Connection(self._read, self._open),
                origin.host,
                origin.port,
                ssl=self._context if origin.tls else None,
                server_hostname=origin.host if origin.tls else None,
            )
        return connection

    def _put_back(self, origin: Origin, connection: _Connection) -> None:
        loop = asyncio.get_running_loop()
        self._idle.setdefault(origin, deque()).append((loop.time(), connection))
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        loop = asyncio.get_running_loop()
        now, left = loop.time(), False
        for idle in self._idle.values():
            while idle and now - idle[0][0] >= IDLE_SECONDS:
                idle.popleft()[1].abort()
            left = left or bool(idle)
        self._sweep = loop.call_later(IDLE_SECONDS / 2, self._close_idle) if left else None

    async def close(self) -> None:
        """End everything."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        await asyncio.gather(*(connection.gone for connection in connections))
        self._idle.clear()


class _Connection(asyncio.BufferedProtocol):
    """One connection; one request at a time.

    Args:
        read: see `Connections`.
        among: the connections that are open.
    """

    def __init__(self, read: float, among: set[_Connection]) -> None:
        loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._read = read
        self._among = among
        self._transport: asyncio.Transport | None = None
        self._unsent: memoryview | None = None
        self._paused = False
        self._received = memoryview(bytearray(RECEIVED_BYTES))  # asyncio fills slices of it: no bytearray
        self._waiter: asyncio.Future[None] | None = None
        self._alive = False
        self._keeps = False
        self._timer: asyncio.TimerHandle | None = None
        self._progress = 0
        self._seen = (0, 0)
        self._begin(_NOTHING)

    def _begin(self, request: Request) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response()
        self._head = 0
        self._content: memoryview | None = None
        self._filled = 0
        self._short: list[bytes] = []
        self._short_bytes = 0
        self._until_end = False
        self._complete = False

    @property
    def reusable(self) -> bool:
        """True if another request may be sent."""
        return self._alive and self._keeps and self._waiter is None

    async def send(self, request: Request) -> Response:
        """See `Connections.send`."""
        assert self._transport is not None
        self._begin(request)
        self._waiter = self._loop.create_future()
        try:
            self._write(self._transport, request)
            self._seen = (self._progress, self._transport.get_write_buffer_size())
            self._timer = self._loop.call_later(self._read, self._check_progress)
            await self._waiter
            # A service that refuses may not have read it all; it is not to read on.
            sent = self._unsent is None and self._transport.get_write_buffer_size() == 0
            self._keeps = self._keeps and sent
            return self._response
        finally:
            self._waiter = self._content = self._unsent = None
            # An idle connection keeps no content in memory.
            self._request, self._response, self._short = _NOTHING, Response(), []
            if self._timer is not None:
                self._timer.cancel()

    def _write(self, transport: asyncio.Transport, request: Request) -> None:
        lines = [f"{request.method} {request.target} HTTP/1.1\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
        if request.body is None:
            transport.write(f"{''.join(lines)}\r\n".encode("latin-1"))
            return
        body = memoryview(request.body).cast("B")
        head = f"{''.join(lines)}content-length: {len(body)}\r\n\r\n".encode("latin-1")
        if len(body) <= JOINED_BYTES:
            transport.write(head + body)
        elif transport.get_extra_info("sslcontext") is None:
            transport.writelines((head, body))
        else:
            # TLS hands all that it gets on to a buffer whose size it does not tell: pieces show the progress.
            transport.write(head)
            self._unsent = body
            self._send_on()

    def _send_on(self) -> None:
        """Send of a body by TLS what there is room for."""
        transport = self._transport
        while transport is not None and self._unsent is not None and not self._paused:
            piece, rest = self._unsent[:PIECE_BYTES], self._unsent[PIECE_BYTES:]
            self._unsent = rest or None
            self._progress += 1
            transport.write(piece)

    def _check_progress(self) -> None:
        """End a request in which no byte has moved in either direction for `read` seconds."""
        assert self._transport is not None
        now = (self._progress, self._transport.get_write_buffer_size())
        if now == self._seen:
            self._fail(TimeoutError(f"no response within {self._read:g} s"))
            return
        self._seen = now
        self._timer = self._loop.call_later(self._read, self._check_progress)

    def abort(self) -> None:
        """Close it at once."""
        self._alive = False
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.BufferedProtocol --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is there."""
        self._transport = cast("asyncio.Transport", transport)
        if transport.get_extra_info("sslcontext") is not None:
            self._transport.set_write_buffer_limits(PIECE_BYTES)
        self._alive = self._keeps = True
        self._among.add(self)

    def pause_writing(self) -> None:
        """There is no room for more of a body."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is again."""
        self._paused = False
        self._send_on()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """The memory of the content, else a buffer for what comes before it."""
        return self._received if self._content is None else self._content[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self._progress += 1
        if self._content is not None:
            self._filled += nbytes
            if self._filled == len(self._content):
                self._content = None
                self._done()
            return
        if self._waiter is None or self._complete:
            self.abort()  # nobody asked
            return
        self._head += nbytes
        try:
            self._parser.feed_data(self._received[:nbytes])
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._fail(cause if isinstance(cause, BrokenResponse) else BrokenResponse(str(error)))
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(BrokenResponse(f"malformed response: {error}"))
        else:
            if not self._response.status and self._head > HEAD_BYTES:
                self._fail(BrokenResponse(f"a head of more than {HEAD_BYTES} bytes"))

    def eof_received(self) -> bool:
        """The other side sends no more."""
        self._ended(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._ended(exc)
        self._among.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)

    def _ended(self, exc: Exception | None) -> None:
        self._alive = False
        if self._until_end and exc is None and not self._complete:
            self._done()
        elif isinstance(exc, OSError):
            self._fail(exc)
        else:
            self._fail(BrokenResponse("the connection ended before the response did"))

    # -- httptools -----------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which counts for nothing."""
        if not self._response.status:
            self._response.headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")

    def on_headers_complete(self) -> None:
        """The head is there: its end is known, or it is that of an interim response (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if self._complete:
            raise BrokenResponse("a second response")
        if status < 200:
            self._response.headers.clear()
            return
        response = self._response
        response.status = status
        self._keeps = self._parser.should_keep_alive()
        length = response.headers.get("content-length", "")
        if self._request.method == "HEAD" or status in {204, 304}:
            self._done()
        elif "transfer-encoding" in response.headers:
            if self._request.most and status < 300:
                raise BrokenResponse("content without an announced length")
        elif not length:
            self._until_end = True
        elif self._request.most and status < 300:
            self._expect(int(length) if length.isdecimal() else -1)

    def _expect(self, length: int) -> None:
        if not 0 <= length <= self._request.most:
            raise BrokenResponse(f"{length} bytes come where {self._request.most} were asked for")
        self._response.body = memoryview(bytearray(length))
        self._content = self._response.body if length else None

    def on_body(self, data: bytes) -> None:
        """Bytes of the body that came together with its head, or of a short one."""
        if self._content is not None:
            self._content[: len(data)] = data
            self._filled = len(data)
            if self._filled == len(self._content):
                self._content = None
            return
        self._short_bytes += len(data)
        if self._complete or self._short_bytes > self._request.short:
            raise BrokenResponse(f"a response of more than {self._request.short} bytes, or one that goes on")
        self._short.append(data)

    def on_message_complete(self) -> None:
        """The response is complete."""
        if self._response.status and not self._complete:
            self._done()

    # -- ends ----------------------------------------------------------------------------------------------

    def _done(self) -> None:
        self._complete = True
        if self._short:
            self._response.body = b"".join(self._short)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: BaseException) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.abort()


__all__ = ["BrokenResponse", "Connections", "Origin", "Request", "Response"]
