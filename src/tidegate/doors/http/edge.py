# SPDX-License-Identifier: Apache-2.0
"""The edge that every request of one binding passes first: address of the client, size limits, log line.

Plain ASGI around the application; nothing here decides who may do what.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.doors.common.trace import tracing
from tidegate.doors.http.origins import SAFE_METHODS, is_foreign
from tidegate.errors import TooLarge
from tidegate.logs.lines import wanted, write
from tidegate.logs.redact import MASK
from tidegate.model import http_scope
from tidegate.model.address import plain_address
from tidegate.model.address_list import AddressList, parse_address
from tidegate.model.refusal import Refusal
from tidegate.resources.entrance import Entrance, OpenEntrance

if TYPE_CHECKING:
    from tidegate.doors.http.cross_origin import CrossOrigin, Ruling

DRAIN_BYTES: Final = 256 * 1024
"""The most of an unread body that is taken in so that the client can read the answer."""
DRAIN_SECONDS: Final = 1.0
MAX_LOGGED_CHARS: Final = 1024
"""Of a path, a query or a user agent in the log."""
MAX_QUERY_BYTES: Final = 8192
ANSWERS: Final = 200.0
"""Clients a second who are refused by their address and get an answer, some 0.2 ms each."""
MAX_FORWARDED: Final = 32
"""Addresses of a proxy's header that are looked at."""

HTTP_FIELDS: Final[dict[str, str]] = {
    "remote_addr": "The client's end of the connection.",
    "proto": "Version of HTTP.",
    "method": "Login method that was accepted; method of an HTTP request.",
    "user_agent": "What the program calls itself.",
    "uri": "What was asked for, without values that may be secret.",
    "resp_status": "Status code of the answer; 0 if there was none.",
    "resp_size": "Bytes of its body.",
    "elapsed_ms": "Milliseconds the transfer or the request took.",
    "request_id": "Id of the request; the answer has it as X-Request-Id.",
}
"""Every field of the access log's lines, explained."""

_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeOptions:
    """Options of one binding.

    Attributes:
        serves: True for paths that the application is asked about; all others do not exist here.
        shown_parameters: parameters of queries whose values are logged; whatever else stands in a query may
            be anything, also a secret.
        proxies: whose header is believed.
        header: lower case name of the header with the client's address; empty for none.
        depth: which address of it counts, from the right.
        max_body: bytes; 0 for no limit.
        sender: of the lines of the access log.
        binding: for the application, at `http_scope.BINDING` of each request.
        protocol: what the server's defence is asked for, ``HTTP`` or ``DAV``.
        cache_control: of answers that do not say themselves.
        cross_origin: other sites whose pages may send requests; None for none.
    """

    serves: Callable[[str], bool] = lambda path: True  # noqa: ARG005
    shown_parameters: frozenset[str] = frozenset()
    proxies: AddressList = field(default_factory=lambda: AddressList(()))
    header: str = ""
    depth: int = 0
    max_body: int = 20 * 1024 * 1024
    sender: str = "httpd"
    binding: object = None
    cache_control: bytes = b"no-store"
    protocol: str = "HTTP"
    cross_origin: CrossOrigin | None = None


class EdgeMiddleware:
    """ASGI application around another; `options` may be replaced while it runs.

    Args:
        app: the application.
        options: of the binding.
        entrance: is asked about the client of each request, before anything else is looked at.
        answers: counts answers by class of their status code; 0 is none.
        monotonic: seconds that do not go backwards.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: EdgeOptions,
        entrance: Entrance | None = None,
        answers: list[int] | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._answers = answers if answers is not None else [0] * 6
        self._app = app
        self.options = options
        self._monotonic = monotonic
        self._counted = monotonic()
        self._answers_left = ANSWERS
        self._entrance = entrance or OpenEntrance()

    def turns_away(self, address: str) -> bool:
        """True if a connection from an address is to be closed before a request is read.

        So many of those whom lists, bans or penalties refuse are answered in a second; whoever comes beyond
        that costs no more than to accept, to look up and to close. Proxies have requests of others.
        """
        if self._may_answer() or self.options.proxies.match(address) is not None:
            return False
        refusal = self._entrance.check(address, self.options.protocol)
        if refusal is None:
            return False
        self._entrance.refused(address, self.options.protocol, refusal)
        return True

    def _may_answer(self) -> bool:
        now = self._monotonic()
        self._answers_left = min(ANSWERS, self._answers_left + (now - self._counted) * ANSWERS)
        self._counted = now
        return self._answers_left >= 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        options = self.options
        exchange = _Exchange(scope, receive, send, options)
        scope[http_scope.IP], scope[http_scope.REQUEST_ID] = exchange.ip, exchange.request_id
        scope[http_scope.BY_PROXY], scope[http_scope.BINDING] = exchange.by_proxy, options.binding
        scope[http_scope.FOREIGN] = foreign = is_foreign(scope["headers"], forwarded=exchange.by_proxy)
        ruling: Ruling | None = None
        if options.cross_origin is not None:
            ruling = options.cross_origin.judge(scope["method"], scope["headers"])
            exchange.more = ruling.headers
            foreign = foreign and not ruling.permitted
        started = time.monotonic()
        try:
            refusal = self._entrance.check(exchange.ip, options.protocol)
            if refusal is not None:
                self._answers_left -= 1
            else:
                refusal = await self._entrance.wait(exchange.ip, options.protocol)
            if refusal is not None:
                self._entrance.refused(exchange.ip, options.protocol, refusal)
                await _turn_away(exchange.send, refusal)
            elif options.max_body and exchange.announced > options.max_body:
                await _answer(exchange.send, 413, "Request too large", "the body is too long")
            elif not options.serves(scope["path"]):
                await _answer(exchange.send, 404, "Not found", "no such path")
            elif ruling is not None and ruling.preflight:
                await _empty(exchange.send, ruling.preflight)
            elif foreign and scope["method"] not in SAFE_METHODS:
                await _answer(exchange.send, 403, "Forbidden", http_scope.FOREIGN_REFUSED)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            _log.exception("request %s failed", exchange.request_id)
            if not exchange.status:
                await _answer(exchange.send, 500, "Internal error", http_scope.crashed(scope))
        finally:
            self._answers[min(exchange.status // 100, 5)] += 1
            exchange.record(time.monotonic() - started)
            if tracing():
                exchange.trace(time.monotonic() - started)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, options: EdgeOptions) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._options = options
        self._taken = 0
        self._size = 0
        self.status = 0
        self.more: list[tuple[bytes, bytes]] = []
        self.request_id = secrets.token_hex(8)
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._named = dict(headers)
        self.announced = _length(self._named.get(b"content-length", b""))
        self._ended = not (self.announced or b"transfer-encoding" in self._named)
        proxies = options.proxies
        self.by_proxy = bool(proxies) and proxies.match(_peer(scope.get("client"))) is not None
        self.ip = client_address(scope.get("client"), headers, options)

    async def receive(self) -> Message:
        """Hand on what the client sends, up to the limit.

        Raises:
            TooLarge: it is more.
        """
        message = await self._receive()
        if message["type"] == "http.request":
            self._taken += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if 0 < self._options.max_body < self._taken:
                raise TooLarge(f"the body is longer than {self._options.max_body} bytes")
        else:
            self._ended = True
        return message

    async def send(self, message: Message) -> None:
        """Hand on the answer, with headers that every answer has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *self.more]
            given = {name.lower() for name, _ in headers}
            headers += [pair for pair in _HEADERS if pair[0] not in given]
            if b"cache-control" not in given:
                headers.append((b"cache-control", self._options.cache_control))
            headers.append((b"x-request-id", self.request_id.encode()))
            if not await self._drained():
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self._size += len(message.get("body", b""))
        await self._send(message)

    async def _drained(self) -> bool:
        """True if the body is all read; takes in a short rest, lest closing cut the answer off."""
        if self._ended:
            return True
        rest, exchange = 0, self._scope.get(http_scope.EXCHANGE)
        if exchange is not None and exchange.expects_continue and not self._ended:
            return False  # asking for the body now would have the client send all of it
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._ended and rest < DRAIN_BYTES:
                    message = await self._receive()
                    rest += len(message.get("body", b""))
                    self._ended = not message.get("more_body", False)
        except TimeoutError:
            return False
        return self._ended

    def trace(self, seconds: float) -> None:
        """The line of log level ``trace``."""
        from tidegate.doors.http.traced import trace_request

        scope, options = self._scope, self._options
        trace_request(
            scope,
            options.protocol,
            shown_uri(raw_path(scope), scope["query_string"], options.shown_parameters),
            code=self.status,
            seconds=seconds,
            size=self._taken or self._size,
        )

    def record(self, seconds: float) -> None:
        """The line of the access log."""
        if not wanted(logging.INFO):
            return
        scope = self._scope
        client = scope.get("client")
        agent = self._named.get(b"user-agent", b"").decode("latin-1")
        fields = {
            "remote_addr": f"{self.ip}:{client[1]}" if client and client[0] == self.ip else self.ip,
            "proto": f"HTTP/{scope['http_version']}",
            "method": scope["method"],
            "user_agent": agent[:MAX_LOGGED_CHARS],
            "uri": shown_uri(raw_path(scope), scope["query_string"], self._options.shown_parameters),
            "resp_status": self.status,
            "resp_size": self._size,
            "elapsed_ms": round(seconds * 1000),
            "request_id": self.request_id,
        }
        write(time.time(), logging.INFO, self._options.sender, fields)


def client_address(client: Any, headers: Iterable[tuple[bytes, bytes]], options: EdgeOptions) -> str:
    """The address that a request comes from.

    A proxy's header counts only if the socket's other end is a proxy that may be believed. `depth` 0 is the
    address that this proxy added, the last one; what stands left of it was sent by whoever spoke to the
    proxy. Anything that is no address leaves the proxy's own.
    """
    ip = _peer(client)
    if not options.header or options.proxies.match(ip) is None:
        return ip
    wanted = options.header.encode()
    texts = [part for name, value in headers if name == wanted for part in value.decode("latin-1").split(",")]
    texts = texts[-MAX_FORWARDED:]
    if len(texts) <= options.depth:
        return ip
    found = parse_address(texts[-1 - options.depth])
    return str(found) if found is not None else ip


def _peer(client: Any) -> str:
    """The address at the socket's other end."""
    return plain_address(client[0]) if client else ""


def raw_path(scope: Scope) -> bytes:
    """The path of a request, percent-encoded."""
    found: bytes = scope.get("raw_path") or scope["path"].encode()
    return found


def shown_uri(raw_path: bytes, query: bytes, parameters: frozenset[str]) -> str:
    """Path and query for the log; values of other than the known parameters are left out."""
    path = raw_path.decode("latin-1")[:MAX_LOGGED_CHARS]
    if not query:
        return path
    if len(query) > MAX_QUERY_BYTES:
        return f"{path}?..."
    shown = []
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        known = name in parameters
        shown.append(f"{name if known else '...'}={quote(value, safe='/,') if known else MASK}")
    return f"{path}?{'&'.join(shown)}"[: 2 * MAX_LOGGED_CHARS]


def _length(text: bytes) -> int:
    return int(text) if text.isdigit() and len(text) < 20 else 0


async def _turn_away(send: Send, refusal: Refusal) -> None:
    """Answer a client that may not come: 403, or 429 if it only has to wait (RFC 6585 section 4)."""
    if not refusal.wait_seconds:
        await _answer(send, 403, "", "you are not allowed to connect")
        return
    wait = [
        (b"retry-after", b"%d" % max(1, math.floor(refusal.wait_seconds + 0.5))),
        (b"x-retry-in", b"%.3fs" % refusal.wait_seconds),
    ]
    await _answer(send, 429, "", refusal.text, wait)


async def _empty(send: Send, code: int) -> None:
    headers = [] if code == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(
    send: Send, code: int, message: str, error: str, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    body = f'{{"message":"{message}","error":"{error}"}}'.encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
