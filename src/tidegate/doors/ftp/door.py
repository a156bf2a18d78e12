# SPDX-License-Identifier: Apache-2.0
"""The FTP door: sockets, limits, certificates, reload, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final

from tidegate.cluster.registry import Activity, Registry
from tidegate.doors.common.admission import Admission, Refusal, Visit, denial
from tidegate.doors.common.door import Apply
from tidegate.doors.common.idle import IdleSweep
from tidegate.doors.common.listening import Listeners
from tidegate.doors.common.peers import new_peer
from tidegate.doors.common.record import ConnectionRecord, Events, refused
from tidegate.doors.common.tls import Certificate, CertificateWatch
from tidegate.doors.ftp.banner import with_banner
from tidegate.doors.ftp.control import Control
from tidegate.doors.ftp.conversation import Conversation
from tidegate.doors.ftp.dialogue import FtpDialogue
from tidegate.doors.ftp.options import FtpBinding, FtpOptions, TlsMode
from tidegate.doors.ftp.public_address import HostAddresses, find_public_address
from tidegate.doors.ftp.wire import replies
from tidegate.errors import ConfigError, Problem
from tidegate.identity.api import LoginService
from tidegate.model import Protocol
from tidegate.model.address import plain_address
from tidegate.model.door import DoorStatus
from tidegate.model.proxies import Ends
from tidegate.resources import Ledger
from tidegate.resources.deadline import Deadline
from tidegate.vfs import eager
from tidegate.vfs.api import Sessions

CLOSE_SECONDS: Final = 5.0
"""Seconds that connections that end and their tasks may take before they are left behind."""

PUBLISH_SECONDS: Final = 30.0
"""Seconds that uploads which are being published at the end of the grace time may take: clients hear of
it."""

KEEPALIVE_SECONDS: Final = 60
"""Without a packet for so long, the system asks if the client is there, and keeps a NAT's entry alive."""

DRAIN_LOOK_SECONDS: Final = 0.05
"""Seconds between two looks of a draining door for transfers under way."""

log = logging.getLogger(__name__)


class FtpDoor:
    """Listens for FTP connections. Life: see `doors.common.door.Door`."""

    name = "ftp"

    def __init__(
        self,
        options: FtpOptions,
        login: LoginService,
        sessions: Sessions,
        *,
        events: Events,
        registry: Registry,
        ledger: Ledger,
    ) -> None:
        self.login, self.sessions, self.events = login, sessions, events
        self.registry, self.ledger = registry, ledger
        self.draining = False
        self._options = options
        self._listeners: Listeners[FtpBinding] = Listeners(ledger, self._accepted, self.report)
        self._admission = Admission(ledger, protocol="FTP")
        self._certificates: dict[str, Certificate] = {}
        self._watch = CertificateWatch()
        self._public = ""
        self._hosts = HostAddresses()
        self._open: dict[Conversation, asyncio.Task[None] | None] = {}  # None: the client is idle
        self._idle = IdleSweep(lambda: self._open)

    # -- life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Load certificates and listen.

        Raises:
            ConfigError: a certificate cannot be used, or an address is taken.
        """
        problems: list[Problem] = []
        for binding in self._options.bindings:
            try:
                await self._load(binding)
            except ConfigError as error:
                problems += error.problems
        try:
            self._options = await asyncio.to_thread(with_banner, self._options)
        except ConfigError as error:
            problems += error.problems
        if problems:
            raise ConfigError(problems)
        if any(binding.passive_address == "auto" for binding in self._options.bindings):
            self._public = await asyncio.to_thread(find_public_address)
            log.info("passive address: %s", self._public or "none found, that of the control connection")
        await self._listeners.open(self._options.bindings, self._options.backlog)
        self._watch.start()
        for binding in self._options.bindings:
            if binding.plain_login and binding.tls_mode is TlsMode.POSSIBLE:
                log.warning(
                    "%s: logins in the clear are allowed: anybody on the way can read passwords",
                    binding.label,
                )
        log.info("listening for FTP on ports %s", self._listeners.ports)

    async def _load(self, binding: FtpBinding) -> None:
        if binding.tls is None:
            return
        certificate = Certificate(
            binding.tls.certificate,
            binding.tls.key,
            min_version=binding.tls.min_version,
            label=binding.label,
            clients=binding.tls.clients,
            suites=binding.tls.suites,
        )
        await certificate.load()
        self._certificates[binding.label] = certificate
        self._watch.add(certificate, f"{binding.address or '*'}:{binding.port}")

    async def reload(self, options: FtpOptions) -> Apply:
        """Get ready for other options, and read changed certificates; see `Door.reload`."""
        options = await asyncio.to_thread(with_banner, options)
        await self._watch.renew()

        def apply() -> None:
            if options.bindings != self._options.bindings:
                log.warning("ftpd.bindings changed; restart the server to apply that")
            self._options = options

        return apply

    async def drain(self, grace_seconds: float) -> None:
        """Let no one in any more; end idle connections now, others when their transfer ends or time is up."""
        self.draining = True
        self._listeners.close()
        deadline = time.monotonic() + grace_seconds
        while self._open:
            for conversation in list(self._open):
                if not conversation.busy:
                    conversation.end("shutdown", text="the server is shutting down")
            if not any(one.busy for one in self._open) or time.monotonic() >= deadline:
                break
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        await self._end_all()

    async def stop(self) -> None:
        """Stop listening and end every connection. Safe to call twice."""
        self.draining = True
        self._listeners.close()
        await self._watch.stop()
        await self._hosts.close()
        await self._end_all()
        self._idle.cancel()

    async def _end_all(self) -> None:
        for conversation in list(self._open):
            conversation.end("shutdown", text="the server is shutting down")
        publishing = [one.transfer for one in self._open if one.committing and one.transfer is not None]
        if publishing:
            await asyncio.wait(publishing, timeout=PUBLISH_SECONDS)
        for conversation, task in list(self._open.items()):
            if task is None:  # its upload still is not published
                conversation.control.abort()
        tasks = [task for task in self._open.values() if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)

    def usernames(self) -> set[str]:
        """Accounts that are logged in."""
        return {one.record.username for one in self._open if one.session is not None}

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of an account; returns how many there were."""
        found = [one for one in self._open if one.session is not None and one.record.username == username]
        for conversation in found:
            conversation.end(by)
        return len(found)

    def status(self) -> DoorStatus:
        """The door as it is now."""
        return DoorStatus(
            name=self.name,
            active=bool(self._listeners.ports) and not self.draining,
            endpoints=self._listeners.endpoints(tls=lambda binding: binding.tls_mode is TlsMode.IMPLICIT),
            connections=self._admission.connections,
        )

    @property
    def ports(self) -> list[int]:
        """Ports that are listened on, one for each binding."""
        return self._listeners.ports

    # -- for connections ---------------------------------------------------------------------------------

    def proves(self, visit: Visit) -> None:
        """A connection began to log in."""
        self._admission.proves(visit)

    def logged_in(self, visit: Visit) -> None:
        """A connection logged in."""
        self._admission.settles(visit)

    async def passive_address(self, binding: FtpBinding) -> str:
        """The address that PASV names by this binding; empty for that of the control connection."""
        if binding.passive_host:
            return await self._hosts.of(binding.passive_host)
        return self._public if binding.passive_address == "auto" else binding.passive_address

    def _accepted(self, binding: FtpBinding, sock: socket.socket, ends: Ends) -> None:
        if self.draining:
            sock.close()
            return
        source = ends.remote[0]
        visit = self._admission.enter(source, self._options.admission, binding.rename_onto, ends)
        if isinstance(visit, Refusal):
            if binding.tls_mode is not TlsMode.IMPLICIT:
                with contextlib.suppress(OSError):  # it is gone already
                    sock.send(replies.sentences(500, (denial(visit),)))
            sock.close()
            self.report(source, visit)
            return
        conversation = self._conversation(binding, sock, visit)
        self._start(conversation, self._begin(conversation, sock))

    async def admit(self, visit: Visit) -> Refusal | None:
        """Ask slower checks and rate limits about a connection."""
        return await self._admission.wait(visit)

    def report(self, address: str, refusal: Refusal) -> None:
        """Put on record that an address was refused, unless others by the same rule were just now."""
        reported = self._admission.worth_reporting(refusal, time.monotonic())
        if reported is not None:
            emit, skipped = self.events.emit, reported.unreported
            refused(emit, Protocol.FTP, address, refusal.rule, refusal.text, unreported=skipped)

    def _conversation(self, binding: FtpBinding, sock: socket.socket, visit: Visit) -> Conversation:
        activity = Activity()
        try:
            # ABOR comes behind an urgent byte, which would be taken out of the stream otherwise.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            _keep_alive(sock)
            remote, local = sock.getpeername(), sock.getsockname()
        except OSError:  # it is gone already
            remote, local = None, None
        own = plain_address(local[0]) if local else ""
        implicit = binding.tls_mode is TlsMode.IMPLICIT and binding.tls is not None
        protocol = Protocol.FTPS if implicit else Protocol.FTP
        peer = new_peer(protocol, remote, local, rename_onto=visit.rename_onto, ends=visit.ends)
        peer = replace(peer, encrypted=False)
        conversation = Conversation(
            door=self,
            options=self._options,
            binding=binding,
            control=Control(activity, self._options.stall_seconds),
            peer=peer,
            record=ConnectionRecord(self.events, peer, encrypted=False),
            visit=visit,
            own_address=own,
            context=self._context(binding),
            activity=activity,
        )
        visit.end = conversation.make_room
        conversation.control.newcomers = visit.newcomers
        return conversation

    def _context(self, binding: FtpBinding) -> Callable[[], Awaitable[ssl.SSLContext]] | None:
        certificate = self._certificates.get(binding.label)
        if certificate is None:
            return None
        return certificate.fresh_context

    # -- one connection ----------------------------------------------------------------------------------

    def _start(self, c: Conversation, work: Coroutine[Any, Any, bool]) -> None:
        """Do a part of a connection in a task; an idle one has none."""
        c.working = True
        loop = asyncio.get_running_loop()
        self._open[c] = loop.create_task(self._part(c, work), name="ftp connection")

    def _arrived(self, c: Conversation) -> None:
        """A command waits, or none will come any more.

        Most commands of who is logged in wait for nothing, and are carried out before this returns: that
        spares them a task and a turn of the loop. Within a slice that others account for they are not.
        """
        if c.working or c not in self._open:
            return
        work = FtpDialogue(c).obey()
        if c.control.newcomers is not None or not c.control.waiting or c.control.turns.working:
            self._start(c, work)
            return
        c.working = True
        try:
            task, _ = eager.start(self._part(c, work), asyncio.get_running_loop())
        except asyncio.CancelledError:  # it ended itself
            return
        if task is not None:
            self._open[c] = task

    async def _begin(self, c: Conversation, sock: socket.socket) -> bool:
        """The first part, up to the greeting and what the client sends at once."""
        c.limit = Deadline(c.options.login_seconds, partial(self._too_late, c))
        c.control.arrived = partial(self._arrived, c)
        implicit = c.binding.tls_mode is TlsMode.IMPLICIT and c.context is not None
        if implicit and c.context is not None:
            c.tls_context = await c.context()
            c.protects = True
            c.control.begin_tls(c.tls_context)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: c.control, sock)
        c.activity.touch()
        self._idle.added(c)
        return await FtpDialogue(c).begin(implicit=implicit)

    async def _part(self, c: Conversation, work: Coroutine[Any, Any, bool]) -> None:
        """A part of a connection, up to where the client is idle, or the end and its record."""
        error, idle = "", False
        try:
            newcomers = c.control.newcomers
            idle = await (work if newcomers is None else newcomers.admitted(work, lambda: c.session is None))
            if idle:
                c.working, self._open[c] = False, None
        except OSError as problem:
            self.ledger.descriptors.short(problem)
        except asyncio.CancelledError:
            raise
        except Exception as problem:  # a fault of ours in one connection ends that one
            log.info("%s: %s", c.peer.connection_id, problem)
            error, c.ended_by = str(problem), c.ended_by or "internal_error"
        finally:
            if not idle:
                self._over(c, error)

    def _over(self, c: Conversation, error: str) -> None:
        if c.limit is not None:
            c.limit.cancel()
        c.control.arrived = None
        c.control.close()
        self._admission.leave(c.visit)
        self._open.pop(c, None)
        c.record.closed(by=c.ended_by, error=error or c.error, client_version=c.client)

    def _too_late(self, c: Conversation) -> None:
        if c.session is None:
            c.end("login_timeout", text="the login took too long")


def _keep_alive(sock: socket.socket) -> None:
    """While a transfer or a slow command goes on, nothing else goes over a control connection."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle: int | None = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    if idle is not None:
        sock.setsockopt(socket.IPPROTO_TCP, idle, KEEPALIVE_SECONDS)
    if hasattr(socket, "TCP_KEEPINTVL"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)
