# SPDX-License-Identifier: Apache-2.0
"""uvicorn inside our loop: its HTTP, our sockets, deadlines, signals and log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from starlette.types import ASGIApp

from tidegate.doors.common.admission import Admission, AdmissionLimits, AdmissionRules, Refusal, Visit
from tidegate.doors.common.reading import APPLICATION, Intake, Reading
from tidegate.doors.common.turns import turns_of
from tidegate.doors.http.uvicorn_parts import Config, H11Protocol, Server
from tidegate.resources import Ledger
from tidegate.resources.acceptor import Acceptor

MAX_REQUESTS: Final = 400
"""Requests of one binding under way; more are answered with 503."""
STALL_SECONDS: Final = 30.0
"""How long a client may leave an answer unread."""
KEEP_ALIVE_SECONDS: Final = 15
STOP_SECONDS: Final = 3
"""How long requests under way may take to end when the server stops."""
MAX_HEAD_BYTES: Final = 32 * 1024
BACKLOG: Final = 256
INPUT_PIECE: Final = 2 * 1024
"""Bytes handed to the parser at once: of a body in chunks of one byte it takes 0.4 MB/s."""

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
)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Bounds of one binding.

    Attributes:
        admission: who may connect. A connection waits until the head of a request is there, and again after
            each answer; who has waited longest makes room.
        head_seconds: time for the head of a request, and for a TLS handshake.
    """

    admission: AdmissionLimits = field(
        default_factory=lambda: AdmissionLimits(connections=500, per_source=100, make_room=True)
    )
    head_seconds: float = 10.0


class Protocol(H11Protocol):
    """HTTP/1.1 with deadlines for what uvicorn waits for without end: heads, and clients that do not read."""

    listener: Listener
    visit: Visit
    _deadline: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        """A client connected."""
        turns = turns_of(self.loop)
        reading = Reading(transport, turns)
        self._intake = Intake(reading, turns, INPUT_PIECE, self._take)
        super().connection_made(cast("asyncio.Transport", GatedTransport(transport, reading)))
        self.visit.end = lambda _rule: transport.abort()
        # Head and body of an answer are two writes. The loop sets this by itself only for sockets whose
        # protocol number was given when they were made.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._deadline = self.loop.call_later(self.listener.limits.head_seconds, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._intake.put(data):
            self.transport.abort()

    def _take(self, data: bytes) -> None:
        """A head that has begun must end before the deadline, however it trickles in."""
        if self.transport.is_closing():
            self._intake.close()
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel_deadline()
            self.listener.admission.settles(self.visit)
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.listener.limits.head_seconds, self.transport.abort)

    def on_response_complete(self) -> None:
        """The answer is out; uvicorn's own keep-alive timer takes over."""
        self._cancel_deadline()
        self.listener.admission.waits(self.visit)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._cancel_deadline()
        self._cancel_stall()
        self._intake.close()
        self.listener.leave(self.visit)
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
    """

    def __init__(
        self,
        app: ASGIApp,
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext | None,
        limits: HttpLimits,
        ledger: Ledger,
    ) -> None:
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
            limit_concurrency=MAX_REQUESTS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        super().__init__(config)
        self._sockets = sockets
        self._context = context
        self.limits = limits
        self.admission = Admission(ledger, RULES)
        self._ledger = ledger
        self._opening: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self.port: int = sockets[0].getsockname()[1]

    async def open(self) -> None:
        """Listen."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        acceptor = Acceptor(self._sockets, self._accepted, self._ledger.descriptors)
        acceptor.start()
        self.servers = [cast("asyncio.Server", acceptor)]  # uvicorn closes it and waits for that, no more
        self.started = True
        self._ticking = asyncio.create_task(self._tick(), name="http date")

    def _accepted(self, sock: socket.socket, address: Any) -> None:
        visit = self.admission.enter(address[0], self.limits.admission)
        if isinstance(visit, Refusal):
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._begin(sock, visit), name="begin of HTTP")
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
        """Keep the Date header right."""
        while not await self.on_tick(0):  # noqa: ASYNC110  the time passing is the event
            await asyncio.sleep(1)

    async def close(self) -> None:
        """Let requests under way end, then cut what is left."""
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
            self._ticking = None
        if self.started:
            self.started = False
            for task in self._opening:
                task.cancel()
            await self.shutdown()
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)  # aborted transports tell their protocols in the loop's next round
        for sock in self._sockets:
            sock.close()
