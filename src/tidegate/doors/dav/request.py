# SPDX-License-Identifier: Apache-2.0
"""One request as methods see it, and how they answer it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final, TypeVar

from starlette.types import Receive, Scope, Send

from tidegate.doors.dav.options import DavBinding
from tidegate.doors.dav.wire import answers, nextcloud, paths
from tidegate.errors import PeerGone, TidegateError
from tidegate.model import VPath, http_scope

Headers = Sequence[tuple[bytes, bytes]]

PARSE_NOW: Final = 8 * 1024
"""A body of XML up to so many bytes is taken apart at once, in some milliseconds at worst."""

T = TypeVar("T")

TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
XML: Final = (b"content-type", answers.CONTENT_TYPE)


class Rejected(Exception):
    """A request is answered with this status, and did nothing.

    Args:
        code: of HTTP.
        text: for people.
        condition: local name of the condition in ``DAV:`` that did not hold; empty for none.
        hrefs: addresses in the condition.
        headers: of the answer.
        cause: what is put on record about it; None for nothing.
    """

    def __init__(
        self,
        code: int,
        text: str = "",
        *,
        condition: str = "",
        hrefs: Sequence[str] = (),
        headers: Headers = (),
        cause: TidegateError | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.condition = condition
        self.hrefs = tuple(hrefs)
        self.headers = tuple(headers)
        self.cause = cause


class Request:
    """One request.

    Attributes:
        method: upper case.
        raw_path: path of the address, percent-encoded.
        binding: it came by.
        ip: of the client.
        encrypted: nobody on the way can read it.
        exchange: the request on its connection.
        started: the head of the answer is out.
        address: the address, if it is one of Nextcloud's and the binding has them; see `read_address`.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.binding: DavBinding = scope[http_scope.BINDING]
        self.ip: str = scope[http_scope.IP]
        self.exchange: http_scope.Exchange = scope[http_scope.EXCHANGE]
        self._headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            before = self._headers.get(name)
            self._headers[name] = value if before is None else before + b", " + value
        self.encrypted = scope["scheme"] == "https" or (
            bool(scope[http_scope.BY_PROXY]) and self.header("x-forwarded-proto") == "https"
        )
        self.started = False
        self.address: nextcloud.Address | None = None

    def read_address(self) -> None:
        """Take an address of Nextcloud's apart, if the binding has them.

        Raises:
            InvalidPath: it cannot be read.
        """
        if self.binding.nextcloud:
            self.address = nextcloud.parse(self.raw_path, self.binding.prefix)

    @property
    def prefix(self) -> str:
        """Of the addresses of the tree, as this request sees it."""
        return self.binding.prefix if self.address is None else self.address.prefix

    # -- what was asked ----------------------------------------------------------------------------------

    def header(self, name: str) -> str | None:
        """A header by its lower case name, lines of one name joined; None if it is not there."""
        value = self._headers.get(name.encode())
        return None if value is None else value.decode("latin-1").strip()

    def has_any(self, names: frozenset[bytes]) -> bool:
        """True if a header of these is there; names in lower case."""
        return not names.isdisjoint(self._headers)

    @property
    def has_body(self) -> bool:
        """True if a body comes, be it empty."""
        return b"transfer-encoding" in self._headers or self.length > 0

    @property
    def length(self) -> int:
        """Content-Length; -1 if it is not known before."""
        if b"transfer-encoding" in self._headers:
            return -1
        return int(self._headers.get(b"content-length", b"0"))

    @property
    def path(self) -> VPath:
        """The path that is asked for.

        Raises:
            InvalidPath: it cannot be one, or is not below the prefix of the binding.
        """
        return paths.path_of(self.raw_path, self.prefix)

    def target(self) -> VPath:
        """The path of the header Destination.

        Raises:
            Rejected: there is none, or it is elsewhere.
            InvalidPath: it cannot be a path.
        """
        value = self.header("destination")
        if not value:
            raise Rejected(400, "Destination: expected an address")
        return self.path_at(value)

    def path_at(self, address: str) -> VPath:
        """The path of an address in a header.

        Raises:
            Rejected: it is elsewhere.
            InvalidPath: it cannot be a path.
        """
        hosts = [self.header("host") or ""]
        if self.scope[http_scope.BY_PROXY]:
            hosts.append(self.header("x-forwarded-host") or "")
        try:
            return paths.target_of(address, tuple(filter(None, hosts)), self.prefix)
        except paths.Elsewhere:
            raise Rejected(502, "the address is on another server") from None

    def href(self, path: VPath, *, collection: bool) -> str:
        """The address of a path, as this request is answered: absolute path, percent-encoded."""
        text = self.prefix + path if path != "/" else self.prefix or "/"
        return paths.quoted(f"{text}/" if collection and not text.endswith("/") else text)

    # -- its body ----------------------------------------------------------------------------------------

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            PeerGone: the client has gone before its end.
        """
        if not self.has_body:
            return
        more = True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":
                raise PeerGone
            more = message.get("more_body", False)
            if body := message.get("body", b""):
                yield body

    async def body(self, most: int) -> bytes:
        """The whole body.

        Raises:
            Rejected: it is longer than `most` bytes.
            PeerGone: the client has gone before its end.
        """
        if self.length > most:
            raise Rejected(413, f"the body is longer than {most} bytes")
        parts: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > most:
                raise Rejected(413, f"the body is longer than {most} bytes")
            parts.append(piece)
        return b"".join(parts)

    async def parsed(self, parse: Callable[[bytes], T], data: bytes) -> T:
        """A body taken apart; a long one beside the loop, which others need.

        Raises:
            ValueError: of `parse`.
        """
        return parse(data) if len(data) <= PARSE_NOW else await asyncio.to_thread(parse, data)

    # -- answers -----------------------------------------------------------------------------------------

    async def answer(self, code: int, headers: Headers = (), body: bytes = b"") -> None:
        """Answer, all at once."""
        if code not in (204, 304):
            headers = (*headers, (b"content-length", str(len(body)).encode()))
        await self.begin(code, headers)
        await self.write(body, more=False)

    async def begin(self, code: int, headers: Headers) -> None:
        """Send the head of an answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": code, "headers": headers})

    async def write(self, data: Any, *, more: bool) -> None:
        """Send a piece of an answer's body; waits while the client does not take it.

        Raises:
            PeerGone: the client has gone.
        """
        if self.exchange.disconnected:
            raise PeerGone
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def reject(self, error: Rejected) -> None:
        """Answer with an error; one with a condition as XML (RFC 4918 section 16)."""
        if error.code in (204, 304):
            await self.answer(error.code, error.headers)
        elif error.condition:
            body = answers.error(error.condition, error.text, error.hrefs)
            await self.answer(error.code, (*error.headers, XML), body)
        else:
            await self.answer(
                error.code, (*error.headers, TEXT), f"{error.text}\n".encode("utf-8", "replace")
            )
