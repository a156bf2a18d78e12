# SPDX-License-Identifier: Apache-2.0
"""The state of one FTP connection, which its commands read and change."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from tidegate.cluster.registry import Activity, LiveConnection, Registry
from tidegate.doors.common.admission import Refusal, Visit
from tidegate.doors.common.owners import AccountNames
from tidegate.doors.common.record import ConnectionRecord, Events
from tidegate.doors.ftp import status
from tidegate.doors.ftp.control import Control
from tidegate.doors.ftp.data import DataFailed
from tidegate.doors.ftp.early import Hellos
from tidegate.doors.ftp.options import FtpBinding, FtpOptions, TlsMode
from tidegate.doors.ftp.ways import Way
from tidegate.doors.ftp.wire import replies
from tidegate.doors.ftp.wire.listings import DEFAULT_FACTS
from tidegate.errors import NotADirectory, TidegateError
from tidegate.identity.api import LoginService, PartialLogin
from tidegate.model import Kind, Peer, VPath
from tidegate.model.path import ROOT
from tidegate.resources import Ledger
from tidegate.resources.count import Share
from tidegate.resources.deadline import Deadline
from tidegate.vfs.api import Exchange, Session, Sessions

MAX_REST: Final = (1 << 63) - 1
"""Largest offset that a file can have."""


UNUSED_SECONDS: Final = 60.0
"""Seconds that a port of PASV or EPSV waits for a transfer to begin."""


class DoorServices(Protocol):
    """The door, as its connections use it.

    Attributes:
        login: checks credentials.
        sessions: opens file sessions.
        events: takes events.
        registry: the live connections.
        ledger: limits of resources.
        draining: True once nothing new may begin.
    """

    login: LoginService
    sessions: Sessions
    events: Events
    registry: Registry
    ledger: Ledger
    draining: bool

    def proves(self, visit: Visit) -> None:
        """A connection began to log in."""
        ...

    def logged_in(self, visit: Visit) -> None:
        """A connection logged in."""
        ...

    async def admit(self, visit: Visit) -> Refusal | None:
        """Ask slower checks and rate limits about a connection."""
        ...

    def report(self, address: str, refusal: Refusal) -> None:
        """Put on record that an address was refused."""
        ...

    async def passive_address(self, binding: FtpBinding) -> str:
        """The address that PASV names by this binding; empty for that of the control connection."""
        ...


class Rejected(Exception):
    """A command is answered with this reply, and did nothing."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(slots=True)
class Login:
    """A login that is under way.

    Attributes:
        username: of USER; empty before it.
        partial: what was accepted before the next step.
        tries: that were refused.
        refused: the certificate of the client refuses this user, whatever the password.
        certified: USER commands for which the certificate was judged.
    """

    username: str = ""
    partial: PartialLogin | None = None
    tries: int = 0
    refused: bool = False
    certified: int = 0


@dataclass(slots=True)
class Next:
    """Settings of the next transfer, forgotten after it.

    Attributes:
        offset: of REST.
        end: offset behind the last byte, of RANG; None for the end of the file.
        way: of the data connection; None before PASV and the like.
    """

    offset: int = 0
    end: int | None = None
    way: Way | None = None
    _timer: asyncio.TimerHandle | None = None

    def goes(self, way: Way, seconds: float = UNUSED_SECONDS) -> None:
        """Let the next transfer go by `way`, if it begins within so many seconds."""
        self.forget_way()
        self.way = way
        self._timer = asyncio.get_running_loop().call_later(seconds, self.forget_way)

    def take_way(self) -> Way | None:
        """The way of the transfer that begins now, which closes it from here on."""
        way, self.way = self.way, None
        self.forget_way()
        return way

    def forget(self) -> None:
        """Be as at the beginning; closes what waits for a data connection."""
        self.forget_way()
        self.offset, self.end = 0, None

    def forget_way(self) -> None:
        """Close what waits for a data connection."""
        way, self.way = self.way, None
        if way is not None:
            way.close()
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


@dataclass(slots=True, eq=False)
class Conversation:
    """One connection.

    Attributes:
        door: what all connections share.
        options: of the door, as they were when it came.
        binding: it came by.
        control: its lines.
        peer: the other end.
        record: its events.
        visit: as it was let in.
        own_address: that the socket has here; behind a proxy the client reached another one.
        context: the TLS context of this connection and its data connections; None without a certificate.
        activity: when the client last sent something.
        login: the login that is under way.
        session: its files; None before the login.
        directory: of relative paths.
        binary: TYPE I; otherwise TYPE A.
        facts: of MLSD and MLST that the client wants.
        protects: data connections speak TLS (PROT P).
        epsv_only: after EPSV ALL.
        hash_name: algorithm of HASH.
        source: of a rename, between RNFR and RNTO.
        copy_source: of SITE CPFR.
        next: settings of the next transfer.
        transfer: the transfer that is going on.
        committing: the transfer is being published: it is not cut off any more.
        quitting: the last reply is sent.
        client: name and version of the client, as far as it said.
        tls_context: of this connection, once it speaks TLS.
        names: of owners in listings.
        live: the connection among the account's sessions.
        handles: its open files, against the limits of the account and the process.
        ended_by: who ended it if not the client.
        error: what went wrong with the connection itself.
        exchange: the command that is carried out, for events.
        aborting: ABOR ends the transfer.
        hellos: when the client begins TLS on data connections.
        limit: on the time of the login; None after it.
        mistakes: commands in a row that nobody understands.
        working: commands are being carried out.
    """

    door: DoorServices
    options: FtpOptions
    binding: FtpBinding
    control: Control
    peer: Peer
    record: ConnectionRecord
    visit: Visit
    own_address: str
    context: Callable[[], Awaitable[ssl.SSLContext]] | None
    activity: Activity
    login: Login = field(default_factory=Login)
    session: Session | None = None
    directory: VPath = ROOT
    binary: bool = True
    facts: frozenset[str] = frozenset(fact.lower() for fact in DEFAULT_FACTS)
    protects: bool = False
    epsv_only: bool = False
    hash_name: str = "SHA-256"
    source: VPath | None = None
    copy_source: VPath | None = None
    client: str = ""
    next: Next = field(default_factory=Next)
    transfer: asyncio.Task[None] | None = None
    committing: bool = False
    quitting: bool = False
    tls_context: ssl.SSLContext | None = None
    names: AccountNames | None = None
    live: LiveConnection | None = None
    handles: Share | None = None
    ended_by: str = ""
    error: str = ""
    hellos: Hellos = field(default_factory=Hellos)
    exchange: Exchange | None = None
    aborting: bool = False
    limit: Deadline | None = None
    mistakes: int = 0
    working: bool = False
    _publishing: bool = False

    # -- replies -----------------------------------------------------------------------------------------

    async def reply(self, code: int, text: str) -> None:
        """Send a reply of one line."""
        control = self.control
        control.send_nowait(replies.reply(code, text))
        if control.unread:
            await control.drained()

    async def failed(
        self, intent: str, path: VPath | str, error: TidegateError, target: VPath | str | None = None
    ) -> None:
        """Put a failure on record and send its reply."""
        self.files.failed(intent, path, error, target)
        await self.control.send(status.reply(error, path))

    async def failed_later(
        self, exchange: Exchange | None, intent: str, path: VPath, error: TidegateError
    ) -> None:
        """As `failed`, of a command beside which others were carried out meanwhile."""
        self.files.answers(exchange)
        await self.failed(intent, path, error)

    def broke(self, exchange: Exchange | None, error: BaseException) -> None:
        """A transfer broke, and not by its storage: note the reply that is about to be sent."""
        if exchange is None:
            return
        if isinstance(error, DataFailed):
            exchange.reply = error.code
        elif isinstance(error, asyncio.CancelledError):
            exchange.reply = 426
            exchange.command = "ABOR" if self.aborting else exchange.command

    # -- what commands need ------------------------------------------------------------------------------

    @property
    def files(self) -> Session:
        """The session of who is logged in.

        Raises:
            Rejected: nobody is.
        """
        if self.session is None:
            raise Rejected(530, "Log in with USER and PASS first.")
        return self.session

    @property
    def encrypted(self) -> bool:
        """True if the control connection speaks TLS."""
        return self.control.tls is not None

    @property
    def wants_protected(self) -> bool:
        """True if both connections have to speak TLS, as the binding or the account says."""
        if self.session is not None and self.session.principal.account.filters.ftp_security:
            return True
        return self.binding.tls_mode is not TlsMode.POSSIBLE

    def path(self, argument: str) -> VPath:
        """A path as received, relative to the current directory.

        Raises:
            InvalidPath: it cannot be one.
        """
        return VPath.parse(argument, self.directory)

    def owner(self, uid: int) -> str:
        """Name of an owner in listings."""
        return (self.names.user(uid) if self.names else None) or str(uid)

    def group(self, gid: int) -> str:
        """Name of a group in listings."""
        return (self.names.group(gid) if self.names else None) or str(gid)

    async def directory_at(self, path: VPath) -> None:
        """Check that there is a directory at `path`.

        Raises:
            TidegateError: there is none, or it may not be seen.
        """
        entry = await self.files.stat(path)
        if entry.kind is not Kind.DIRECTORY:
            raise NotADirectory

    # -- the end -----------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """True while a transfer goes on."""
        return self.transfer is not None

    def transfer_over(self, task: asyncio.Task[None]) -> None:
        """The transfer has ended, well or not."""
        if self.transfer is task:
            self.transfer = None
        self.settle_handles()
        if not task.cancelled():
            task.exception()

    def settle_handles(self) -> None:
        """Without a transfer no file is open: give back what was counted for one, begun or not."""
        if self.transfer is None and self.handles is not None:
            self.handles.set(0)

    def cut(self) -> None:
        """Have the transfer end, unless it is being published; does not wait for that."""
        # A task that is cancelled before its first step never gets to what it would clean up; the loop calls
        # in order, so by then that step is done.
        asyncio.get_running_loop().call_soon(self._cut, self.transfer)

    def _cut(self, transfer: asyncio.Task[None] | None) -> None:
        if transfer is not None and transfer is self.transfer and not self.committing:
            transfer.cancel()

    async def stop_transfer(self) -> None:
        """End the transfer; one that is being published is waited for instead."""
        transfer = self.transfer
        if transfer is None:
            return
        self.cut()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({transfer})

    def make_room(self, rule: str) -> None:
        """End the connection for another one, by a limit."""
        self.end(rule, text="another connection needs the place")

    def idle_too_long(self) -> None:
        """End the connection of a client that does nothing."""
        self.end("idle_timeout")

    @property
    def idle_seconds(self) -> float:
        """Longest time that the client may do nothing; 0 is without end."""
        return self.options.idle_seconds

    def forget_login(self) -> None:
        """Somebody is logged in: what the login needed is needed no more."""
        if self.limit is not None:
            self.limit.cancel()
            self.limit = None

    def end(self, by: str, *, text: str = "the server ends the connection") -> None:
        """End the connection, with a reply if the client still listens. Safe to call twice.

        An upload that is being published is told of first: a client that does not know would send it again.
        """
        if self.committing and self.transfer is not None:
            self.quitting = True
            if not self._publishing:
                self._publishing = True
                self.transfer.add_done_callback(lambda _: self.end(by, text=text))
            return
        if not self.ended_by:
            self.ended_by = by
            self.control.send_nowait(replies.reply(421, f"{text[:1].upper()}{text[1:]}."))
        self.quitting = True
        self.cut()  # the dialogue may be waiting for it, after QUIT
        self.control.close()
