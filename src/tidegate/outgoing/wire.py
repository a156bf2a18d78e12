# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 as hooks need it (RFC 9112): one request on a connection at a time, connections kept, bounds.

A general client takes ten times the processor time for a small request, and a kept event is one request.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import zlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import httptools

from tidegate import __version__

if TYPE_CHECKING:
    import yarl

MAX_KEPT: Final = 20
"""Idle connections that are kept to one server."""
KEPT_SECONDS: Final = 60.0
"""Seconds that an idle connection is kept."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of the header section of an answer, and of those of interim answers before it."""
MAX_INTERIM: Final = 20
"""Interim answers (1xx) before the answer."""
_CONNECT_DELAY: Final = 0.25
"""Seconds before the next address of a name is tried besides (RFC 8305 section 8)."""
_SAFE: Final = frozenset(("GET", "PUT", "DELETE"))
"""Methods that may be repeated (RFC 9110 section 9.2.2)."""

_Place = tuple[str, str, int, ssl.SSLContext | None]
"""Scheme, host, port, settings of TLS: what shares connections."""


@dataclass(slots=True)
class WireAnswer:
    """An answer.

    Attributes:
        status: three digits.
        location: header of redirects; empty if there is none.
        body: as it came, or decompressed.
    """

    status: int = 0
    location: str = ""
    body: bytes = field(default=b"", repr=False)


class Link(asyncio.Protocol):
    """One connection. `ask` it one request after the other, while `usable`.

    Args:
        max_body: most bytes of a body, decompressed.

    Attributes:
        usable: the next request may be sent.
        idle_since: time of the loop.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._waiter: asyncio.Future[WireAnswer] | None = None
        self.usable = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._head = self._interim = self._size = self._taken = 0
        self._in_body = self._sized = False
        self._location = self._coding = b""
        self._pieces: list[bytes] = []

    async def ask(self, request: bytes) -> WireAnswer:
        """Send a request and wait for the answer; whoever gives up closes the connection.

        Raises:
            OSError, ValueError: there is no usable answer.
        """
        assert self._transport is not None
        self._begin()
        self.usable = False
        self._parser = httptools.HttpResponseParser(self)
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """Close the connection; what is under way fails."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # -- of the transport ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._waiter is None or self._waiter.done() or self._parser is None:
            self.close()  # nobody asked for it
            return
        # Chunks have sizes and may have extensions, so what comes may be more than the body.
        self._taken += len(data)
        if not self._in_body:
            self._head += len(data)
        if self._taken > 2 * self._max_body + MAX_HEAD:
            self._fail(self._too_much())
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ValueError("answers with another protocol"))
        except httptools.HttpParserCallbackError as error:
            self._fail(error.__context__ or error)
        except httptools.HttpParserError as error:
            self._fail(ValueError(f"answers unusably: {error}"))
        else:
            if not self._in_body and self._head > MAX_HEAD:
                self._fail(ValueError(f"more than {MAX_HEAD} bytes of headers"))

    def eof_received(self) -> None:
        """See `asyncio.Protocol`."""
        self.usable = False
        if self._in_body and not self._sized:
            self._done(keep=False)  # such a body ends with the connection (RFC 9112 section 6.3)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.usable = False
        how = "broke off in its answer" if self._taken else "closed the connection without an answer"
        error = ConnectionResetError(how)
        error.__cause__ = exc
        self._fail(error)

    @property
    def silent(self) -> bool:
        """True if no byte of an answer has come."""
        return not self._taken

    # -- of the parser ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; a second one is none to the next request."""
        if self._waiter is None or self._waiter.done():
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the header section."""
        match name.lower():
            case b"location":
                self._location = value
            case b"content-encoding":
                self._coding = value.strip().lower()
            case b"content-length" | b"transfer-encoding":
                self._sized = True

    def on_headers_complete(self) -> None:
        """The end of the header section."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= 200:
            self._in_body = True
        else:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ValueError(f"more than {MAX_INTERIM} interim answers")

    def on_body(self, piece: bytes) -> None:
        """A part of the body."""
        self._size += len(piece)
        if self._size > self._max_body:
            raise self._too_much()
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """The end of an answer, or of an interim one."""
        assert self._parser is not None
        if self._in_body:
            self._done(keep=self._parser.should_keep_alive())
        else:
            self._sized, self._location, self._coding = False, b"", b""

    # -- the end ---------------------------------------------------------------------------------------

    def _too_much(self) -> ValueError:
        return ValueError(f"more than {self._max_body} bytes of answer")

    def _done(self, *, keep: bool) -> None:
        waiter, parser = self._waiter, self._parser
        if waiter is None or waiter.done() or parser is None:
            return
        body = b"".join(self._pieces)
        try:
            if self._coding in (b"gzip", b"x-gzip", b"deflate"):  # it was asked not to
                body = _plain(body, self._max_body)
        except (ValueError, zlib.error) as error:
            self._fail(ValueError(f"answers unusably: {error}"))
            return
        self.usable = keep
        status, location = parser.get_status_code(), self._location.decode("utf-8", "replace")
        waiter.set_result(WireAnswer(status, location, body))
        if not keep:
            self.close()

    def _fail(self, error: BaseException) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        self.close()


def _plain(body: bytes, most: int) -> bytes:
    work = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    found = work.decompress(body, most + 1)
    if len(found) > most:
        raise ValueError(f"more than {most} bytes of answer")
    return found


class Links:
    """Connections to any number of servers. Life: constructed (pure), `ask`..., `close`.

    Args:
        max_body: most bytes of a body.
    """

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._idle: dict[_Place, deque[Link]] = {}
        self._busy: set[Link] = set()
        self._cleaner: asyncio.TimerHandle | None = None

    async def ask(
        self,
        method: str,
        target: yarl.URL,
        body: bytes,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
    ) -> WireAnswer:
        """Send a request to the server of a URL.

        Raises:
            OSError, ValueError: there is no usable answer.
        """
        assert target.raw_host is not None
        assert target.port is not None
        place = target.scheme, target.raw_host, target.port, tls if target.scheme == "https" else None
        request = _request(method, target, body, headers)
        kept = self._kept(place)
        if kept is not None:
            try:
                return await self._ask(place, kept, request)
            except ConnectionResetError:
                # The server may have closed an idle connection just before the request came.
                if not kept.silent or method not in _SAFE:
                    raise
        return await self._ask(place, await self._connect(place), request)

    async def _ask(self, place: _Place, link: Link, request: bytes) -> WireAnswer:
        self._busy.add(link)
        try:
            answer = await link.ask(request)
        finally:
            self._busy.discard(link)
        if link.usable:
            self._keep(place, link)
        return answer

    def _kept(self, place: _Place) -> Link | None:
        idle = self._idle.get(place)
        while idle:
            link = idle.pop()
            if link.usable:
                return link
        return None

    def _keep(self, place: _Place, link: Link) -> None:
        idle = self._idle.setdefault(place, deque())
        loop = asyncio.get_running_loop()
        link.idle_since = loop.time()
        idle.append(link)
        if len(idle) > MAX_KEPT:
            idle.popleft().close()
        if self._cleaner is None:
            self._cleaner = loop.call_later(KEPT_SECONDS, self._clean)

    def _clean(self) -> None:
        """Close what was idle for long."""
        loop = asyncio.get_running_loop()
        oldest = loop.time() - KEPT_SECONDS / 2
        for place, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since < oldest or not idle[0].usable):
                idle.popleft().close()
            if not idle:
                del self._idle[place]
        self._cleaner = loop.call_later(KEPT_SECONDS / 2, self._clean) if self._idle else None

    async def _connect(self, place: _Place) -> Link:
        import aiohappyeyeballs

        _, name, port, tls = place
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            sock = await aiohappyeyeballs.start_connection(
                found, happy_eyeballs_delay=_CONNECT_DELAY, interleave=1, loop=loop
            )
            try:
                _, link = await loop.create_connection(
                    lambda: Link(self._max_body),
                    sock=sock,
                    ssl=tls,
                    server_hostname=name.rstrip(".") if tls is not None else None,
                )
            except BaseException:
                sock.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise OSError(f"its certificate is not trusted: {error}") from error
        except OSError as error:
            raise OSError(f"cannot be reached: {error.strerror or error}") from error
        return link

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        if self._cleaner is not None:
            self._cleaner.cancel()
            self._cleaner = None
        for link in (*self._busy, *(one for idle in self._idle.values() for one in idle)):
            link.close()
        self._idle.clear()


def _request(method: str, target: yarl.URL, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The bytes of a request.

    Raises:
        ValueError: a header or the path holds what would end its line.
    """
    fields = {"host": ("Host", _authority(target)), "user-agent": ("User-Agent", f"Tidegate/{__version__}")}
    fields["accept"] = "Accept", "*/*"
    fields["accept-encoding"] = "Accept-Encoding", "identity"
    if target.user is not None or target.password is not None:
        known = f"{target.user or ''}:{target.password or ''}".encode()
        fields["authorization"] = "Authorization", f"Basic {base64.b64encode(known).decode()}"
    if body:
        fields["content-type"] = "Content-Type", "application/octet-stream"
    for name, value in headers.items():
        fields[name.lower()] = name, value
    if body or method not in ("GET", "HEAD"):
        fields["content-length"] = "Content-Length", str(len(body))
    fields.pop("transfer-encoding", None)
    lines = [f"{method} {target.raw_path_qs or '/'} HTTP/1.1", *(f"{n}: {v}" for n, v in fields.values())]
    for line in lines:
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError("a header or the path holds a line end")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def _authority(target: yarl.URL) -> str:
    host = target.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return host if target.is_default_port() else f"{host}:{target.port}"
