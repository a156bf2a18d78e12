# SPDX-License-Identifier: Apache-2.0
"""Sockets, limits, logins, time-outs; start, reload, drain and stop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from dataclasses import dataclass

from tidegate.abc import Credential
from tidegate.cluster.registry import Activity, LiveConnection
from tidegate.doors.common.admission import Admission, AdmissionLimits, Refusal, Visit
from tidegate.doors.common.door import Apply, DoorContext
from tidegate.doors.common.idle import IdleWatch
from tidegate.doors.common.listening import Listeners
from tidegate.doors.common.peers import new_peer
from tidegate.doors.common.record import ConnectionRecord, authenticate, refused
from tidegate.errors import LoginRefused, TidegateError
from tidegate.identity.api import PartialLogin
from tidegate.model import Principal
from tidegate.model.door import DoorStatus
from tidegate.model.proxies import Ends
from tidegate.resources.deadline import Deadline
from tidegate.vfs.api import Session
from tidegate_lines import wire
from tidegate_lines.dialogue import answer

STOP_SECONDS = 2.0
VERSION = "lines"


@dataclass(frozen=True, slots=True)
class Binding:
    label: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class LinesOptions:
    """Options of the door.

    Attributes:
        port: TCP port.
        address: to listen on.
        login_seconds: from the connection to the login.
        idle_seconds: without a request or a transfer.
        connections: at a time.
        attempts: failed logins of one connection.
    """

    port: int
    address: str = "127.0.0.1"
    login_seconds: float = 30
    idle_seconds: float = 300
    connections: int = 100
    attempts: int = 3


class LinesDoor:
    """Listens for lines. Life: see `tidegate.doors.common.door.Door`."""

    options = LinesOptions

    def __init__(self, name: str, options: LinesOptions, context: DoorContext) -> None:
        self.name = name
        self.context = context
        self.settings = options
        self.clients: set[Client] = set()
        self._admission = Admission(context.ledger)
        self._listeners: Listeners[Binding] = Listeners(context.ledger, self._accepted)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        await self._listeners.open([Binding(f"{self.name}.port", self.settings.address, self.settings.port)])

    async def reload(self, options: LinesOptions) -> Apply:
        def apply() -> None:
            self.settings = options

        return apply

    async def drain(self, grace_seconds: float) -> None:
        self._listeners.close()
        for client in self.clients:
            client.leave_when_done()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)

    async def stop(self) -> None:
        self._listeners.close()
        for client in list(self.clients):
            client.end("shutdown")
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
            for task in late:
                task.cancel()

    def usernames(self) -> set[str]:
        return {client.principal.username for client in self.clients if client.principal}

    def close_user(self, username: str, *, by: str) -> int:
        found = [one for one in self.clients if one.principal and one.principal.username == username]
        for client in found:
            client.end(by)
        return len(found)

    def status(self) -> DoorStatus:
        endpoints = self._listeners.endpoints()
        return DoorStatus(
            name=self.name, active=bool(endpoints), endpoints=endpoints, connections=len(self.clients)
        )

    def _accepted(self, binding: Binding, sock: socket.socket, ends: Ends) -> None:
        source = ends.remote[0]
        visit = self._admission.enter(
            source, AdmissionLimits(connections=self.settings.connections), ends=ends
        )
        if isinstance(visit, Refusal):
            sock.close()
            if (reported := self._admission.worth_reporting(visit, time.monotonic())) is not None:
                refused(self.context.events.emit, self.context.protocol, source, reported.rule, reported.text)
            return
        task = asyncio.get_running_loop().create_task(self._serve(sock, visit), name="lines")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, sock: socket.socket, visit: Visit) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=sock, limit=wire.MAX_LINE)
            client = Client(self, self._admission, visit, reader, writer)
            self.clients.add(client)
            try:
                await client.run()
            finally:
                self.clients.discard(client)
        finally:
            self._admission.leave(visit)
            sock.close()


class Client:
    """One connection."""

    def __init__(
        self,
        door: LinesDoor,
        admission: Admission,
        visit: Visit,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.principal: Principal | None = None
        self._door = door
        self._admission = admission
        self._visit = visit
        self._reader = reader
        self._writer = writer
        context = door.context
        self._peer = new_peer(
            context.protocol,
            writer.get_extra_info("peername"),
            writer.get_extra_info("sockname"),
            ends=visit.ends,
        )
        self._record = ConnectionRecord(
            context.events, self._peer, encrypted=writer.get_extra_info("ssl_object") is not None
        )
        self._activity = Activity()
        self._session: Session | None = None
        self._by = ""
        self._busy = False
        self._last = False
        visit.end = self.end

    async def run(self) -> None:
        """Serve until either side ends it."""
        settings, error = self._door.settings, ""
        late = Deadline(settings.login_seconds, lambda: self.end("login deadline"))
        live: LiveConnection | None = None
        idle: IdleWatch | None = None
        try:
            await self._send(wire.GREETING)
            while self.principal is None:
                if not await self._log_in():
                    return
            late.cancel()
            self._admission.settles(self._visit)
            entry = LiveConnection(self._peer, self.principal.username, self.end, activity=self._activity)
            await self._door.context.registry.enter(entry, max_sessions=self.principal.account.max_sessions)
            live = entry
            self._session = await self._door.context.sessions.open(self.principal, self._peer)
            live.transfers = self._session.transfers
            idle = IdleWatch(settings.idle_seconds, self._activity, self._moving, self._idle)
            await self._send(wire.line("OK"))
            while (request := await self._request()) is not None and request.word != "QUIT":
                if request.word == "LOGIN":
                    await self._send(wire.line("NO", "logged in already"))
                else:
                    self._busy = True
                    await answer(self._session, request, self._send)
                    self._busy = False
                if self._last:
                    return
        except LoginRefused as refusal:
            await self._send(wire.line("NO", "too many sessions"))
            error = refusal.rule
        except (OSError, TidegateError) as trouble:
            error = str(trouble)
        finally:
            late.cancel()
            if idle is not None:
                idle.cancel()
            if self._session is not None:
                await self._session.close()
            if live is not None:
                self._door.context.registry.remove(live)
            self._record.closed(by=self._by, error=error, client_version=VERSION)
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def _log_in(self) -> bool:
        request = await self._request()
        if request is None or request.word == "QUIT":
            return False
        if request.word != "LOGIN":
            await self._send(wire.line("NO", "log in first"))
            return True
        name, password = request.arguments
        self._admission.proves(self._visit)
        self._record.named(name)
        outcome = await authenticate(
            self._door.context.login,
            self._record,
            self._peer,
            name,
            Credential(kind="password", secret=password),
            client_version=VERSION,
        )
        if isinstance(outcome, PartialLogin):  # a second step, which this protocol has no word for
            self._record.login_failed("password", "incomplete")
        elif outcome is not None:
            self.principal = outcome
            self._record.login_accepted(outcome, VERSION)
            return True
        await self._send(wire.line("NO", "login refused"))
        return self._record.failures < self._door.settings.attempts

    async def _request(self) -> wire.Request | None:
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                return None
            self._activity.touch()
            if (request := wire.parse(line)) is not None:
                return request
            await self._send(wire.line("NO", "not understood"))

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def _moving(self) -> bool:
        return self._busy

    def _idle(self) -> None:
        self.end("idle_timeout")

    def leave_when_done(self) -> None:
        """End now, or after the answer under way."""
        self._last = True
        if not self._busy:
            self.end("shutdown")

    def end(self, by: str) -> None:
        """End at once."""
        self._by = self._by or by
        self._writer.transport.abort()
