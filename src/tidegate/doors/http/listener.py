# SPDX-License-Identifier: Apache-2.0
"""uvicorn inside our loop: its HTTP, our sockets, deadlines, signals and log.

Long, because what a connection waits for, and what ends it, is one state of one protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, parse_url
from starlette.types import ASGIApp, Scope

from tidegate.doors.common.admission import Admission, AdmissionLimits, AdmissionRules, Refusal, Visit
from tidegate.doors.common.proxied import ProxyGate
from tidegate.doors.common.reading import APPLICATION, Intake, Reading
from tidegate.doors.common.turns import turns_of
from tidegate.doors.http.exchange import Exchange
from tidegate.doors.http.uvicorn_parts import (
    STATUS_LINE,
    Config,
    HttpToolsProtocol,
    Server,
    service_unavailable,
)
from tidegate.model import http_scope
from tidegate.model.proxies import NO_PROXIES, Ends, ProxyOptions
from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor
from tidegate.resources.newcomers import Charged, Newcomers

if TYPE_CHECKING:
    from tidegate.doors.http.handshakes import Handshakes

MAX_REQUESTS: Final = 400
"""Requests of one binding under way; more are answered with 503."""
STALL_SECONDS: Final = 30.0
"""Seconds that a client may leave an answer unread."""
KEEP_ALIVE_SECONDS: Final = 15
STOP_SECONDS: Final = 3
"""Seconds that requests under way may take to end when the server stops."""
MAX_HEAD_BYTES: Final = 32 * 1024
BACKLOG: Final = 256
INPUT_PIECE: Final = 4 * 1024
"""Bytes handed to the parser at once."""
LANE_BYTES: Final = 16 * 1024
"""A body of which so much is to come goes past the parser."""
LOOK_SECONDS: Final = 5
"""Seconds between two looks for bodies that do not come."""

_log = logging.getLogger(__name__)


class GatedTransport:
    """A transport for uvicorn, which calls `pause_reading` and `resume_reading` from several places."""

    def __init__(self, transport: asyncio.Transport, reading: Reading) -> None:
        self._reading = reading
        for name in ("write", "close", "abort", "is_closing", "get_extra_info", "set_protocol"):
            setattr(self, name, getattr(transport, name))

    def pause_reading(self) -> None:
        """The application holds enough of the body, or an earlier request is not answered yet."""
        self._reading.stop(APPLICATION)

    def resume_reading(self) -> None:
        """It takes more."""
        self._reading.go(APPLICATION)


RULES: Final = AdmissionRules(
    connections="httpd.max_connections",
    per_source="httpd.max_connections_per_source",
    unit="HTTP connections",
    common=False,
    startups_apart=True,
)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one binding.

    Attributes:
        admission: who may connect. A connection waits until the head of a request is there, and again after
            each answer; who has waited longest makes room.
        head_seconds: time for the head of a request, for the first message of TLS until its turn, and for the
            rest of the handshake.
        body_seconds: silence in a body after which its connection ends.
        keep_alive_seconds: silence between two requests after which a connection ends.
        requests: connections, and requests under way, that are served; more are answered with 503. Read once,
            when the binding is opened, as `keep_alive_seconds` is.
        rules: names of the limits of `admission`.
        proxied: connections begin with a PROXY header, as `resources.Ledger.proxies` says.
    """

    admission: AdmissionLimits = field(
        default_factory=lambda: AdmissionLimits(connections=500, per_source=100, make_room=True)
    )
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    keep_alive_seconds: int = KEEP_ALIVE_SECONDS
    requests: int = MAX_REQUESTS
    rules: AdmissionRules = RULES
    proxied: bool = False


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with bounds on what uvicorn leaves unbounded, and a short way for long bodies.

    Heads, trailers and the frames of chunks are bounded together: no more than `MAX_HEAD_BYTES` may come
    without a byte of a body, measured in pieces of `INPUT_PIECE`. Of a long body of known length all after
    the first piece goes past the parser, and another parser takes what follows it.
    """

    listener: Listener
    visit: Visit
    cycle: Exchange  # type: ignore[assignment]  # uvicorn's, in our form
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _lane = 0
    """Bytes of a body that are still to come past the parser."""
    _length = 0
    _bare = 0
    _in_body = False
    heard = 0.0
    _newcomers: Newcomers | None = None
    """The account of work for the client, until an application says who it is."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """A client connected."""
        turns = turns_of(self.loop)
        self._unanswered: deque[Exchange] = deque()  # the first is being answered
        self._reading = reading = Reading(transport, turns)
        self._newcomers = self.visit.newcomers
        if self._newcomers is not None:
            reading.later = self._newcomers.later
        self._intake = Intake(reading, turns, INPUT_PIECE, self._take)
        super().connection_made(cast("asyncio.Transport", GatedTransport(transport, reading)))
        self.visit.end = lambda _rule: transport.abort()
        ends = self.visit.ends
        if ends is not None and ends.proxy:
            self.client, self.server = ends.remote, ends.local or self.server
        # The loop sets this by itself only for sockets whose protocol number was given when they were made.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = self.loop.call_later(self.listener.limits.head_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.heard = self.loop.time()
        if self._lane and not self._intake.held:
            if len(data) <= self._lane:
                self._past_parser(data)
                return
            rest = self._lane
            self._past_parser(data[:rest])
            data = data[rest:]
        newcomers = self._newcomers
        if not self._intake.put(data, waits=newcomers is not None and not newcomers.may_work):
            self.transport.abort()

    def _proved(self) -> None:
        self._newcomers = None
        self._reading.later = turns_of(self.loop).later

    def _is_stranger(self) -> bool:
        return self._newcomers is not None

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if self._newcomers is None:
            super()._start_asgi_task(cycle, app)
            return
        work = Charged(cycle.run_asgi(app), self._newcomers, self._is_stranger)
        task: asyncio.Task[None] = self.loop.create_task(work)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _past_parser(self, data: bytes) -> None:
        self._lane -= len(data)
        self.cycle.feed(data)
        if not self._lane:
            self.cycle.end()

    def _take(self, data: bytes) -> None:
        newcomers = self._newcomers
        if newcomers is None:
            self._take_piece(data)
            return
        newcomers.begin()
        try:
            self._take_piece(data)
        finally:
            newcomers.end()

    def _take_piece(self, data: bytes) -> None:
        """A head that has begun must end before the deadline, however it trickles in."""
        if self.transport.is_closing():
            self._intake.close()
            return
        if self._lane:
            rest = self._lane
            self._past_parser(data[:rest])
            data = data[rest:]
            if not data:
                return
        self._unset_keepalive_if_required()
        if not self._parse(data):
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_deadline()
            self.listener.admission.settles(self.visit)
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.listener.limits.head_seconds, self.transport.abort)

    def _parse(self, data: bytes) -> bool:
        """Have the parser take it; False if that ended the connection."""
        while data:
            self._bare += len(data)
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as told:  # the client would go on in another protocol; it will not
                data = data[told.args[0] :]
                if self._length > 0:  # the parser takes what follows for another request; it is the body
                    self._lane, self._length = self._length, 0
                    self.parser = self._new_parser()
                    if data:
                        rest = self._lane
                        self._past_parser(data[:rest])
                        data = data[rest:]
                continue
            except HttpParserError:
                if self._bare > MAX_HEAD_BYTES:
                    break
                self._refuse(400, "this is no request of HTTP/1.1")
                return False
            break
        if self._bare > MAX_HEAD_BYTES:
            self._refuse(431, "the head of the request is too long")
            return False
        left = self._length
        if left >= LANE_BYTES and self._in_body:
            self._length, self._lane = 0, left
            self.parser = self._new_parser()
        return True

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        self._in_body, self._bare = False, 0
        return parser

    def _refuse(self, code: int, text: str) -> None:
        """Answer what is no request, unless an answer is on its way, and end the connection."""
        self._intake.close()
        if self.cycle is None or self.cycle.response_complete:
            body = text.encode()
            self.transport.write(
                STATUS_LINE[code]
                + b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
                + b"content-length: %d\r\n\r\n" % len(body)
                + body
            )
            self.transport.close()
        else:
            self.transport.abort()

    # -- what the parser calls ---------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._bare = min(self._bare, INPUT_PIECE)  # the piece that it begins in counts as a whole
        self._length = 0
        self._in_body = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers behind a body are read and dropped, since nobody has asked for any."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: the application is called, or will be after the requests before this one.

        Raises:
            ValueError: it is no head that we take; the parser makes its own error of it.
        """
        self._require_short()
        self._in_body = True
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        if version not in ("1.0", "1.1"):
            raise ValueError("HTTP/1.0 and HTTP/1.1 are what there is")
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            raise ValueError("one Host header is needed (RFC 9112 section 3.2)")
        self._address(scope)
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._length = int(lengths[0]) if lengths else 0
        if scope["method"] == "CONNECT":
            raise ValueError("this is no proxy")
        if parser.should_upgrade() and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("Upgrade with a body in chunks: the parser cannot tell where that ends")
        busy = max(len(self.connections) - 1, len(self.tasks)) >= self.listener.requests
        if busy:
            _log.warning("%d requests or connections are served; one is answered with 503", len(self.tasks))
        app = cast("ASGIApp", service_unavailable if busy else self.app)
        before = self.cycle
        self.cycle = Exchange(
            cast("Scope", scope),
            self.transport,
            self.flow,
            self.server_state.default_headers,
            expects_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
            proved=self._proved,
        )
        self._unanswered.append(self.cycle)
        scope[http_scope.EXCHANGE] = self.cycle  # type: ignore[typeddict-unknown-key]
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, app)
        else:  # requests that come before the answers to those before them
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, app))  # type: ignore[arg-type]

    def _address(self, scope: Any) -> None:
        """The path and query that are asked for.

        Raises:
            ValueError: there are none.
        """
        url = self.url
        if b"#" in url:  # cut off, another resource would be meant
            raise ValueError("a request's target has no fragment (RFC 9112 section 3.2)")
        if url == b"*" and scope["method"] == "OPTIONS":
            url = b"/"  # about the server as a whole, which answers for its root
        parsed = parse_url(url)
        raw: bytes = parsed.path
        if not raw:
            raise ValueError("no path is asked for")
        scope["path"] = unquote(raw.decode("ascii")) if b"%" in raw else raw.decode("ascii")
        scope["raw_path"] = raw
        scope["query_string"] = parsed.query or b""

    def _require_short(self) -> None:
        """Check the bytes since the last one of a body, before what ends them resets their number.

        Raises:
            ValueError: they are too many.
        """
        if self._bare > MAX_HEAD_BYTES:
            raise ValueError("a head, or what stands between two pieces of a body, is too long")

    def on_body(self, body: bytes) -> None:
        """A piece of a body.

        Raises:
            ValueError: what stood before it is too long.
        """
        self._require_short()
        self._bare = 0
        self._length -= len(body)
        self.cycle.feed(body)

    def on_message_complete(self) -> None:
        """A request is complete, unless its body is still to come behind a wish to upgrade.

        Raises:
            ValueError: the trailers are too long.
        """
        if self._length > 0:
            return
        self._require_short()
        self._in_body = False
        self._bare = 0
        self.cycle.end()

    def on_response_complete(self) -> None:
        """The answer is out; uvicorn's own keep-alive timer takes over."""
        self._unanswered.popleft()
        self._cancel_deadline()
        self.listener.admission.waits(self.visit)
        super().on_response_complete()

    def look(self, now: float) -> None:
        """End the connection if a body that is waited for does not come."""
        if (
            len(self._unanswered) == 1  # with more of them the socket is not read
            and self.cycle.waits_for_body
            and now - self.heard > self.listener.limits.body_seconds
        ):
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._cancel_deadline()
        self._cancel_stall()
        self._intake.close()
        self.listener.leave(self.visit)
        for exchange in self._unanswered:  # uvicorn tells the last one alone
            exchange.leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._cancel_stall()
        self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It does again."""
        self._cancel_stall()
        super().resume_writing()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


class Listener(Server):
    """One binding. Life: constructed, `open`, `close`. Handles no signals and configures no logging.

    Args:
        app: the ASGI application.
        sockets: listening; owned from here on.
        context: for HTTPS, None for HTTP.
        limits: may be replaced while running.
        ledger: of the process.
        turns_away: asked about the address of a connection before anything is made for it.
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext | None,
        limits: HttpLimits,
        ledger: Ledger,
        *,
        turns_away: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._turns_away = turns_away
        config = Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=limits.keep_alive_seconds,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        super().__init__(config)
        self._sockets = sockets
        self._context = context
        self._handshakes: Handshakes | None = None
        if context is not None:
            from tidegate.doors.http.handshakes import Handshakes  # many serve no HTTPS

            self._handshakes = Handshakes(context, ledger.newcomers)
        self.limits = limits
        self.requests = limits.requests
        self.admission = Admission(ledger, limits.rules)
        self._ledger = ledger
        self._gate = ProxyGate(self._proxies, self._accepted, self._turned)
        self._opening: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self.port: int = sockets[0].getsockname()[1]

    async def open(self) -> None:
        """Listen."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        acceptor = Acceptor(self._sockets, self._gate.take, self._ledger.descriptors, self._ledger.newcomers)
        acceptor.start()
        self.servers = [cast("asyncio.Server", acceptor)]  # uvicorn closes it and waits for that, no more
        self.started = True
        self._ticking = asyncio.create_task(self._tick(), name="http date")

    def _proxies(self) -> ProxyOptions:
        return self._ledger.proxies if self.limits.proxied else NO_PROXIES

    def _turned(self, address: str, refusal: Refusal) -> None:
        reported = self.admission.worth_reporting(refusal, time.monotonic())
        if reported is not None:  # no event tells of it
            self._ledger.untold[reported.rule] += 1 + reported.unreported
            _log.warning("connection from %s refused: %s: %s", address, reported.rule, reported.text)

    def _accepted(self, sock: socket.socket, ends: Ends) -> None:
        if self._turns_away(ends.remote[0]):
            sock.close()
            return
        visit = self.admission.enter(ends.remote[0], self.limits.admission, ends=ends)
        if isinstance(visit, Refusal):
            sock.close()
            self._turned(ends.remote[0], visit)
            return
        work = Charged(self._begin(sock, visit), self._ledger.newcomers, lambda: True)
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name="begin of HTTP")
        visit.end = lambda _rule: task.cancel()  # until there is a transport
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _begin(self, sock: socket.socket, visit: Visit) -> None:
        made: list[Protocol] = []

        def protocol() -> Protocol:
            one = Protocol(self.config, self.server_state, {})
            one.listener, one.visit = self, visit
            made.append(one)
            return one

        secure: dict[str, Any] = {}
        if self._context is not None:
            secure = {"ssl": self._context, "ssl_handshake_timeout": self.limits.head_seconds}
        begun = False
        try:
            if self._handshakes is not None:
                async with asyncio.timeout(self.limits.head_seconds):
                    await self._handshakes.turn(sock)
            await asyncio.get_running_loop().connect_accepted_socket(protocol, sock, **secure)
            begun = True
        except OSError as error:  # also a failed TLS handshake
            self._ledger.descriptors.short(error)
        finally:
            if not begun:
                self.leave(visit)
                sock.close()

    def leave(self, visit: Visit) -> None:
        """A connection ended. Safe to call twice."""
        if not visit.over:
            self.admission.leave(visit)
            self.admission.relieved(visit, self.limits.admission)

    async def _tick(self) -> None:
        """Keep the Date header right, and look for bodies that do not come."""
        loop, looked = asyncio.get_running_loop(), 0.0
        while not await self.on_tick(0):
            await asyncio.sleep(1)
            if (now := loop.time()) - looked >= LOOK_SECONDS:
                looked = now
                for connection in list(self.server_state.connections):
                    cast("Protocol", connection).look(now)

    async def close(self) -> None:
        """Let requests under way end, then cut what is left."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        if self.started:
            self.started = False
            self._gate.close()
            for task in self._opening:
                task.cancel()
            await self.shutdown()
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # aborted transports tell their protocols in the loop's next round
        for sock in self._sockets:
            sock.close()
