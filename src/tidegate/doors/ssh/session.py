# SPDX-License-Identifier: Apache-2.0
"""One session channel: the sftp subsystem or one command.

Long, because a channel's requests, its flow control and its end act on the same few fields.

A request for anything else is answered with success, and then the channel ends with a line on standard error
that says what there is, and exit status 1, as OpenSSH's internal-sftp does. After a mere failure some clients
wait for the channel to end, for ever if they did not ask for a reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, NamedTuple

import asyncssh

from tidegate.cluster.registry import LiveConnection
from tidegate.doors.common.trace import UNKNOWN, trace, tracing
from tidegate.doors.common.transport import ChannelTransport
from tidegate.doors.ssh import commands
from tidegate.doors.ssh.command import (
    Call,
    ChannelCall,
    ChannelCommand,
    ChannelConversation,
    Input,
    Invocation,
    TextCommand,
)
from tidegate.doors.ssh.contracts import ChannelOwner
from tidegate.doors.ssh.subsystem import CommandChannel, SftpSubsystem
from tidegate.errors import LoginRefused, PeerGone, PeerLimit, TidegateError
from tidegate.events.kinds import Operated, Refused
from tidegate.model import Action, Origin, Peer, Principal, Protocol
from tidegate.vfs.api import Session

OFFERED: Final = "this server offers file transfer only: sftp"

MAX_LOGGED_COMMAND: Final = 1024
"""Characters of a command line that are put on record."""

log = logging.getLogger(__name__)


class _About(NamedTuple):
    """The paths that a command names, with their places; empty if there is none."""

    path: str = ""
    place: str = ""
    target: str = ""
    target_place: str = ""


def _about(invocation: Invocation, session: Session) -> _About:
    path = commands.subject(invocation, session.start_directory)
    target = commands.destination(invocation, session.start_directory)
    return _About(
        path or "",
        "" if path is None else session.location(path),
        target or "",
        "" if target is None else session.location(target),
    )


class SshSession(asyncssh.SSHServerSession[bytes]):
    """One channel of a client.

    Args:
        login: the owner of the connection.
        principal: who logged in.
        connection_id: id of this channel on record.
    """

    def __init__(self, login: ChannelOwner, principal: Principal, connection_id: str) -> None:
        self._login = login
        self._principal = principal
        self._id = connection_id
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._work: Callable[[], Coroutine[Any, Any, None]] | None = None
        self._live: LiveConnection | None = None
        self._opening = False
        self._subsystem: SftpSubsystem | CommandChannel | None = None
        self._transport: ChannelTransport | None = None
        self._stdin: Input | None = None
        self._early = bytearray()
        self._early_eof = False
        self._channel_full = False
        self._transport_full = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._running = False
        self._task: asyncio.Task[None] | None = None
        self._moved = 0
        self._on_record: Callable[[int], None] | None = None

    # -- what the door asks ------------------------------------------------------------------------------

    @property
    def username(self) -> str:
        """The account."""
        return self._principal.username

    def refuse_opens(self) -> None:
        """The server is shutting down: let open files be finished, and no others be opened."""
        if self._subsystem is not None:
            self._subsystem.refuse_opens()

    @property
    def busy(self) -> bool:
        """True if a transfer or a command is going on."""
        return self._running or bool(self._live is not None and self._live.transfers)

    def moved(self) -> bool:
        """True if transfers of this channel moved bytes since the last call."""
        if self._live is None:
            return False
        total = self.moved_bytes
        moved, self._moved = total != self._moved, total
        return moved

    @property
    def buffered_bytes(self) -> int:
        """Bytes of this channel that wait to be processed."""
        unsent = 0 if self._chan is None else self._chan.get_write_buffer_size()
        if self._subsystem is not None:
            return unsent + self._subsystem.buffered_bytes
        return unsent + (len(self._early) if self._stdin is None else self._stdin.size)

    @property
    def answers_only(self) -> bool:
        """True if the client is sent nothing but answers, each to a request that is counted until then."""
        return isinstance(self._subsystem, SftpSubsystem)

    @property
    def moved_bytes(self) -> int:
        """Bytes moved by the transfers that are going on in this channel."""
        return 0 if self._live is None else sum(transfer.size for transfer in self._live.transfers)

    # -- what clients ask for ----------------------------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        self._chan = chan
        self._trace("CHANNEL_OPEN")

    def _trace(self, request: str, what: str = "") -> None:
        if tracing():
            peer = replace(self._login.peer, connection_id=self._id)
            trace(peer, self.username, request, path=what or UNKNOWN, code=0)

    def pty_requested(self, *_: Any) -> bool:
        """No terminals."""
        return False

    def shell_requested(self) -> bool:
        """No shell; the command lines of WinSCP's SCP mode where `sftpd.scp_shell` has them."""
        options = self._login.options
        if self._principal.sftp_only or not options.scp_shell or not options.enables("scp"):
            return self._end_with(OFFERED if self._principal.sftp_only else self._offered())
        shell = ChannelCommand(self._open_shell, Protocol.SCP, on_record=False)
        self._work = lambda: self._serve_command(shell, Invocation("shell", "shell", ()))
        return self._enter(Protocol.SCP, "shell")

    def _open_shell(self, call: ChannelCall) -> ChannelConversation:
        from tidegate.doors.ssh.shell.dialogue import ShellDialogue  # loaded by the first who asks

        return ShellDialogue(call, self._login.options.enabled_ssh_commands)

    def subsystem_requested(self, subsystem: str) -> bool:
        """The sftp subsystem, none else."""
        self._trace("CHANNEL_REQUEST subsystem", subsystem)
        if subsystem != "sftp":
            self._refused("subsystem", subsystem, "only sftp is offered")
            return self._end_with(self._offered())
        self._work = self._serve_sftp
        return self._enter(Protocol.SFTP)

    def exec_requested(self, command: str) -> bool:
        """One of the commands that are enabled."""
        self._trace("CHANNEL_REQUEST exec", command)
        if self._principal.sftp_only:
            self._refused("ssh_command", command, "the certificate of the login is for SFTP alone")
            return self._end_with(OFFERED)
        invocation = commands.parse(command, self._login.options.enabled_ssh_commands)
        if invocation is None:
            self._refused("ssh_command", command, "not among enabled_ssh_commands, or malformed")
            return self._end_with(self._offered())
        kind = commands.kind(invocation)
        if isinstance(kind, ChannelCommand):
            self._work = lambda: self._serve_command(kind, invocation)
            return self._enter(kind.protocol, command)
        self._work = lambda: self._run_command(kind, invocation)
        self._stdin = Input(self._hold, self._let_go)
        return self._enter(Protocol.SSH, command)

    def _offered(self) -> str:
        """The offered services, in one line."""
        enabled = self._login.options.enabled_ssh_commands
        names = (
            commands.COMMANDS if "*" in enabled else [name for name in commands.COMMANDS if name in enabled]
        )
        return f"{OFFERED}; commands: {', '.join(sorted(names))}" if names else OFFERED

    def _end_with(self, text: str) -> bool:
        """Have the channel end with a line and exit status 1."""

        async def end() -> None:
            self._complain(text)

        self._work = end
        return True

    def _refused(self, intent: str, what: str, why: str) -> None:
        what = what[:MAX_LOGGED_COMMAND]
        log.info("%s: refused %s %r: %s", self._id, intent, what, why)
        rule = "enabled_ssh_commands" if intent == "ssh_command" else intent
        self._login.door.bus.emit(
            Refused(origin=self._origin(), intent=intent, rule=rule, text=f"{what}: {why}")
        )

    def _enter(self, protocol: Protocol, command: str = "") -> bool:
        """Have this channel counted among the account's sessions; it ends with a line if there is no room."""
        login = self._login
        peer = Peer(
            self._id,
            protocol,
            login.peer.remote_ip,
            login.peer.remote_port,
            login.peer.local_address,
            login.peer.client_version,
            "" if login.visit is None else login.visit.rename_onto,
        )
        live = LiveConnection(
            peer,
            self._principal.username,
            login.end,
            activity=login.activity,
            command=command[:MAX_LOGGED_COMMAND],
            cipher=login.cipher,
        )
        work = self._work
        assert work is not None
        self._opening = True
        self._work = lambda: self._counted(live, work)
        return True

    async def _counted(self, live: LiveConnection, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do the work of a channel while it counts among the account's sessions."""
        registry = self._login.door.registry
        try:
            await registry.enter(live, max_sessions=self._principal.account.max_sessions)
        except LoginRefused as refusal:
            self._refused("session", live.peer.protocol.value, refusal.rule)
            self._opening = False
            self._early.clear()
            self._let_go()
            self._complain(f"too many sessions ({refusal.rule})")
            return
        if self._chan is None:  # it went away meanwhile
            registry.remove(live)
            return
        self._live = live
        await work()

    def session_started(self) -> None:
        """The client was told yes."""
        self._login.activity.touch()
        if self._work is not None:
            self._task = self._login.door.spawn(self._guarded(self._work()), f"channel {self._id}")

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except TidegateError as error:
            log.warning("%s: %s", self._id, error)
            self._complain(error.text)
        except OSError as error:  # the channel closed below us
            log.debug("%s: %s", self._id, error)
        except Exception:
            log.exception("%s: channel failed", self._id)
            self._complain("internal error")

    def _complain(self, text: str) -> None:
        if self._chan is not None and not self._chan.is_closing():
            with contextlib.suppress(OSError):
                self._chan.write_stderr(f"{text}\n".encode())
            self._chan.exit(1)

    async def _open_session(self) -> Session:
        assert self._live is not None
        if not self._login.door.ledger.descriptors.room():
            raise PeerLimit("the server has no room for another session now")
        try:
            session = await self._login.door.sessions.open(self._principal, self._live.peer)
        except LoginRefused as refusal:
            self._refused("session", self._live.peer.protocol.value, refusal.rule or refusal.reason)
            raise
        self._live.transfers = session.transfers
        return session

    # -- sftp --------------------------------------------------------------------------------------------

    async def _serve_sftp(self) -> None:
        session = await self._open_session()
        chan = self._chan
        if chan is None:
            await session.close()
            return
        try:
            self._subsystem = SftpSubsystem(
                session,
                chan,
                self._login.activity,
                handles=self._login.door.ledger.handles_of(self.username),
                fast_lane=self._login.options.fast_lane,
            )
        except BaseException:
            await session.close()
            raise
        self._begin(self._subsystem, chan)

    def _begin(
        self, subsystem: SftpSubsystem | CommandChannel, chan: asyncssh.SSHServerChannel[bytes]
    ) -> None:
        """Pass on what came while the session was being opened."""
        if self._login.door.draining:
            subsystem.refuse_opens()
        self._transport = transport = subsystem.transport
        if self._channel_full or self._transport_full:
            transport.pause_writing()
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            transport.data_received(early)
        if self._early_eof:
            transport.eof_received()
        else:
            chan.resume_reading()

    # -- commands ----------------------------------------------------------------------------------------

    async def _serve_command(self, command: ChannelCommand, invocation: Invocation) -> None:
        """A command that owns its channel."""
        started = time.monotonic()
        session: Session | None = None
        about = _About()
        try:
            session = await self._open_session()
            chan = self._chan
            if chan is None:
                raise PeerGone
            about = _about(invocation, session)
            self._subsystem = CommandChannel(
                command,
                invocation,
                session,
                chan,
                self._login.activity,
                handles=self._login.door.ledger.handles_of(self.username),
                programs=self._login.door.ledger.programs_of(self.username),
                options=self._login.options,
            )
        except BaseException:
            if command.on_record:
                self._command_ended(invocation, about, started, 1)
            if session is not None:
                await session.close()
            raise
        if command.on_record:
            self._on_record = lambda status: self._command_ended(invocation, about, started, status)
        self._begin(self._subsystem, chan)

    async def _wait_closed(self, subsystem: SftpSubsystem | CommandChannel) -> None:
        status = 1
        try:
            status = await subsystem.wait_closed()
        finally:
            if self._on_record is not None:
                self._on_record(status)

    async def _run_command(self, command: TextCommand, invocation: Invocation) -> None:
        assert self._stdin is not None
        started = time.monotonic()
        self._running = True
        status, about = 1, _About()
        session: Session | None = None
        try:
            session = await self._open_session()
            about = _about(invocation, session)
            status = await command.run(Call(invocation, session, self._stdin, self))
        finally:
            self._running = False
            if session is not None:
                await session.close()
            self._command_ended(invocation, about, started, status)
        if self._chan is not None:
            self._chan.exit(status)

    def _command_ended(self, invocation: Invocation, about: _About, started: float, status: int) -> None:
        self._login.door.bus.emit(
            Operated(
                origin=self._origin(),
                action=Action.SSH_COMMAND,
                virtual_path=about.path,
                file_path=about.place,
                virtual_target_path=about.target,
                target_path=about.target_place,
                elapsed=time.monotonic() - started,
                ssh_command=invocation.line[:MAX_LOGGED_COMMAND],
                exit_status=status,
            )
        )

    async def write(self, data: bytes) -> None:
        """Standard output of a command; see `command.Output`."""
        await self._writable.wait()
        if self._chan is not None:
            self._chan.write(data)

    async def error(self, text: str) -> None:
        """Standard error of a command; see `command.Output`."""
        await self._writable.wait()
        if self._chan is not None:
            self._chan.write_stderr(f"{text}\n".encode("utf-8", "surrogateescape"))

    # -- bytes -------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        if self._chan is not None:
            self._chan.pause_reading()

    def _let_go(self) -> None:
        if self._chan is not None:
            self._chan.resume_reading()

    def data_received(self, data: bytes, datatype: Any = None) -> None:  # noqa: ARG002
        """The client sent bytes."""
        self._login.activity.touch()
        if self._transport is not None:
            self._transport.data_received(data)
        elif self._stdin is not None:
            self._stdin.put(data)
        elif self._opening:
            # The session is being opened: keep what is here and ask for no more.
            self._early += data
            self._hold()

    def eof_received(self) -> bool:
        """The client will send no more; True keeps our direction open."""
        if self._transport is not None:
            self._transport.eof_received()
        elif self._stdin is not None:
            self._stdin.end()
        else:
            self._early_eof = True
        return True

    def pause_writing(self) -> None:
        """The client's window is full."""
        self._channel_full = self._flow(full=True, before=self._channel_full or self._transport_full)

    def resume_writing(self) -> None:
        """The client takes bytes again."""
        self._channel_full = False
        if not self._transport_full:
            self._flow(full=False, before=True)

    def transport_full(self, full: bool) -> None:
        """The socket stopped or went on taking bytes."""
        before = self._channel_full or self._transport_full
        self._transport_full = full
        if (full or self._channel_full) != before:
            self._flow(full=full, before=before)

    def _flow(self, *, full: bool, before: bool) -> bool:
        if full != before:
            if full:
                self._writable.clear()
            else:
                self._writable.set()
            if self._transport is not None:
                (self._transport.pause_writing if full else self._transport.resume_writing)()
        return full

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is gone."""
        self._chan = None
        if self in self._login.sessions:
            self._login.sessions.discard(self)
            self._login.door.ledger.channels.give(self.username)
        if self._live is not None:
            self._login.door.registry.remove(self._live)
        if self._subsystem is not None:
            self._subsystem.transport.connection_lost(exc)
            self._login.door.spawn(self._wait_closed(self._subsystem), f"end of channel {self._id}")
        elif self._running and self._task is not None:
            self._task.cancel()
        self._writable.set()

    def _origin(self) -> Origin:
        return replace(Origin.of(self._login.peer, self._principal.username), connection_id=self._id)
