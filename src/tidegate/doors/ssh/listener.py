# SPDX-License-Identifier: Apache-2.0
"""The SSH door: sockets, limits, reload, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Coroutine
from typing import Any, Final

import asyncssh

from tidegate.cluster.registry import Registry
from tidegate.doors.common.admission import Admission, Refusal, Visit
from tidegate.doors.common.door import Apply
from tidegate.doors.common.listening import Listeners
from tidegate.doors.common.peers import new_peer
from tidegate.doors.common.record import refused
from tidegate.doors.ssh.connection import DoorConnection, self_check
from tidegate.doors.ssh.options import Binding, SshOptions
from tidegate.doors.ssh.server import SshLogin
from tidegate.doors.ssh.setup import Setup, prepare
from tidegate.events.bus import Bus
from tidegate.identity.api import LoginService
from tidegate.model import Peer, Protocol
from tidegate.model.door import DoorStatus
from tidegate.model.proxies import Ends
from tidegate.resources import Ledger
from tidegate.resources.buffers import LOOK_SECONDS
from tidegate.vfs.api import Sessions

CLOSE_SECONDS: Final = 5.0
"""Seconds that closing connections and their tasks may take before they are left behind."""

DRAIN_LOOK_SECONDS: Final = 0.05
"""Seconds between two looks of a draining door for transfers under way."""

DRAIN_SILENT_SECONDS: Final = 0.5
"""Seconds of silence after which a draining door ends a connection whose last transfer has ended."""

log = logging.getLogger(__name__)


class SshDoor:
    """Listens for SSH connections.

    Life: constructed, `start`, `reload`..., `drain`, `stop` (legal at any time).
    """

    name = "ssh"

    def __init__(
        self,
        options: SshOptions,
        login: LoginService,
        sessions: Sessions,
        bus: Bus,
        registry: Registry,
        *,
        ledger: Ledger | None = None,
    ) -> None:
        self.login = login
        self.sessions = sessions
        self.bus = bus
        self.registry = registry
        self.ledger = ledger if ledger is not None else Ledger()
        self.draining = False
        self._options = options
        self._setup: Setup | None = None
        self._listeners: Listeners[Binding] = Listeners(self.ledger, self._accepted, self._report)
        self._admission = Admission(self.ledger, bars=(self._spent,), protocol="SSH")
        self._looking: asyncio.TimerHandle | None = None
        self._logins: set[SshLogin] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life --------------------------------------------------------------------------------------------

    @property
    def setup(self) -> Setup:
        """Options, keys and banner of new connections."""
        assert self._setup is not None
        return self._setup

    @property
    def ports(self) -> list[int]:
        """Ports that are listened on, one for each binding."""
        return self._listeners.ports

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return self._admission.connections

    async def start(self) -> None:
        """Load host keys and listen.

        Raises:
            ConfigError: an option cannot be used, or an address is taken.
            OperatorError: the installed asyncssh is not supported.
        """
        self_check()
        # Its messages at INFO hold user names and command lines; ours say what is worth saying.
        asyncssh.set_log_level(logging.WARNING)
        self._setup = await prepare(self._options, self._new_owner)
        await self._listeners.open(self._options.bindings, self._options.backlog)
        log.info(
            "listening for SSH on ports %s, host keys %s", self.ports, ", ".join(self._setup.fingerprints)
        )

    async def reload(self, options: SshOptions) -> Apply:
        """Get ready for other options of new connections; see `doors.common.door.Door.reload`.

        Raises:
            ConfigError: an option cannot be used.
        """
        setup = await prepare(options, self._new_owner)

        def apply() -> None:
            self._setup = setup
            if options.bindings != self._options.bindings:
                log.warning("sftpd.bindings changed; restart the server to apply that")
            self._options = options

        return apply

    async def drain(self, grace_seconds: float) -> None:
        """Let no one in any more; end idle connections now, others when their transfers end or time is up."""
        self.draining = True
        self._listeners.close()
        deadline = time.monotonic() + grace_seconds
        for login in self._logins:
            for session in login.sessions:
                session.refuse_opens()
        finishing = {login for login in self._logins if login.busy}
        while self._logins:
            for login in list(self._logins):
                # After CLOSE clients still set times and compare sizes, and without that call it a failure.
                silent = login.activity.silent_seconds
                if not login.busy and (login not in finishing or silent > DRAIN_SILENT_SECONDS):
                    login.end("shutdown", text="server is shutting down")
                    finishing.discard(login)
            if not any(login.busy or login in finishing for login in self._logins):
                break
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
        for login in list(self._logins):
            login.end("shutdown", text="server is shutting down")
        await self._wait_closed()

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        self.draining = True
        for login in list(self._logins):
            login.end("shutdown", text="server is shutting down")
        await self._wait_closed()
        for login in list(self._logins):
            login.abort("shutdown")
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        self._listeners.close()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _wait_closed(self) -> None:
        waiters = [asyncio.ensure_future(login.closed.wait()) for login in self._logins]
        if waiters:
            await asyncio.wait(waiters, timeout=CLOSE_SECONDS)
        for waiter in waiters:
            waiter.cancel()
        if self._tasks:  # those that release what the connections held
            await asyncio.wait(list(self._tasks), timeout=CLOSE_SECONDS)

    def status(self) -> DoorStatus:
        """The door as it is now; fingerprints and methods are those that new connections meet."""
        if self._setup is None:
            return DoorStatus(name=self.name, active=False)
        options, keys = self._setup.options, tuple(self._setup.fingerprints)
        methods = ["publickey"]
        if options.password_authentication:
            methods += ["password", "publickey+password"]
        if options.keyboard_interactive_authentication:
            methods += ["keyboard-interactive", "publickey+keyboard-interactive"]
        return DoorStatus(
            name=self.name,
            active=not self.draining,
            endpoints=self._listeners.endpoints(),
            connections=self.connections,
            keys=keys,
            public_keys=self._setup.public_keys,
            certificates=self._setup.certificates,
            details={
                "host_keys": [
                    {"path": "", "fingerprint": fingerprint, "algorithms": [algorithm]}
                    for algorithm, fingerprint in (text.split(" ", 1) for text in keys)
                ],
                "ssh_commands": list(options.enabled_ssh_commands),
                "authentications": methods,
            },
        )

    def usernames(self) -> set[str]:
        """Users that are logged in, also without an open channel."""
        return {login.principal.username for login in self._logins if login.principal}

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of a user, also those without an open channel; returns how many."""
        found = [login for login in self._logins if login.principal and login.principal.username == username]
        for login in found:
            login.end(by)
        return len(found)

    # -- for connections ---------------------------------------------------------------------------------

    def _new_owner(self) -> SshLogin:
        return SshLogin(self)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a channel's work; `stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _accepted(self, binding: Binding, sock: socket.socket, ends: Ends) -> None:
        """A connection was accepted: refuse it, or let asyncssh speak."""
        if self.draining or self._setup is None:
            sock.close()
            return
        source = ends.remote[0]
        visit = self._admission.enter(source, self.setup.options.admission, binding.rename_onto, ends)
        if isinstance(visit, Refusal):
            sock.close()
            self._report(source, visit)
            return
        self.spawn(self._begin(sock, visit), "begin of a connection")

    def _spent(self, source: str, now: float) -> Refusal | None:
        """Refuse a source that exchanged keys too often."""
        exchanges = self.ledger.key_exchanges
        if not exchanges.spent(source, now):
            return None
        return Refusal(exchanges.rule, f"{source}: more than {exchanges.amount} {exchanges.unit} a minute")

    def _report(self, address: str, refusal: Refusal) -> None:
        reported = self._admission.worth_reporting(refusal, time.monotonic())
        if reported is not None:
            emit, skipped = self.bus.emit, reported.unreported
            refused(emit, Protocol.SSH, address, refusal.rule, refusal.text, unreported=skipped)

    async def _begin(self, sock: socket.socket, visit: Visit) -> None:
        loop = asyncio.get_running_loop()
        try:
            refusal = await self._admission.wait(visit)
            if refusal is not None:
                self._report(visit.address, refusal)
                return
            if visit.over:  # it made room for another while it waited
                return
            if not await self.login.admits("SSH", visit.address):
                self._report(visit.address, Refusal("common.post_connect_hook", "the hook refuses it"))
                return
            await loop.connect_accepted_socket(
                lambda: DoorConnection.of(loop, self.setup.connection, visit), sock
            )
        except OSError as error:  # the client is gone already, or there is no descriptor
            self.ledger.descriptors.short(error)
        finally:
            if visit.end is None:
                self._admission.leave(visit)
                sock.close()

    def peer_of(self, connection: asyncssh.SSHServerConnection, visit: Visit | None) -> Peer:
        """The peer of a new connection, with an id of its own."""
        return new_peer(
            Protocol.SSH,
            connection.get_extra_info("peername"),
            connection.get_extra_info("sockname"),
            ends=None if visit is None else visit.ends,
        )

    def entered(self, login: SshLogin) -> None:
        """A connection came in."""
        self._logins.add(login)
        self.ledger.buffers.add(login)
        if self._looking is None:
            self._look_at_buffers()

    def _look_at_buffers(self) -> None:
        self.ledger.buffers.look()
        self._looking = (
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_at_buffers)
            if self._logins
            else None
        )

    def proves(self, visit: Visit) -> None:
        """A connection began to log in."""
        self._admission.proves(visit)

    def logged_in(self, visit: Visit) -> None:
        """A connection logged in."""
        self._admission.settles(visit)

    def left(self, login: SshLogin) -> None:
        """A connection ended."""
        self._logins.discard(login)
        self.ledger.buffers.remove(login)
        if login.visit is not None:
            self._admission.leave(login.visit)
