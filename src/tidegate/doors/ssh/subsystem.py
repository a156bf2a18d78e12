# SPDX-License-Identifier: Apache-2.0
"""Joins a channel and a conversation, of SFTP or of a command, by a transport, and ends them together."""

from __future__ import annotations

import functools
import logging
from typing import Final

import asyncssh

from tidegate.cluster.registry import Activity
from tidegate.doors.common.trace import tracing
from tidegate.doors.common.transport import ChannelTransport
from tidegate.doors.sftp.dialogue import SftpDialogue
from tidegate.doors.sftp.order import target_comes_first
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.ssh.command import ChannelCall, ChannelCommand, Invocation
from tidegate.doors.ssh.lane import Lane
from tidegate.doors.ssh.lane_keys import self_check
from tidegate.doors.ssh.lane_transport import FastTransport
from tidegate.doors.ssh.options import SshOptions
from tidegate.doors.ssh.plain_transport import PlainTransport
from tidegate.resources.count import Share
from tidegate.vfs.api import Session

LARGEST_REPLY: Final = c.ADVERTISED_IO_BYTES + c.DATA_HEADER_BYTES
"""Bytes of the longest answer to a READ."""

log = logging.getLogger(__name__)


@functools.cache
def lane_usable() -> bool:
    """True if the installed libraries can have a fast lane; says so once if they cannot."""
    reason = self_check()
    if reason:
        log.warning("the fast lane stays off: %s; transfers work, and cost more CPU", reason)
    return not reason


def open_transport(
    chan: asyncssh.SSHServerChannel[bytes], *, largest: int, fast_lane: bool
) -> ChannelTransport:
    """The transport for a channel that is open and whose subsystem or command request was answered.

    Args:
        chan: the channel.
        largest: most bytes that the conversation commits at once.
        fast_lane: use the accelerator if the connection can have it.
    """
    lane = Lane.attach(chan.get_connection()) if fast_lane and lane_usable() else None
    return PlainTransport(chan) if lane is None else FastTransport(lane, chan, largest)


class SftpSubsystem:
    """One SFTP conversation: session, dialogue and transport together.

    Args:
        session: closed by `wait_closed`.
        chan: the channel.
        activity: takes note whenever the client sends something.
        handles: counts open handles against the limits of account and process.
        fast_lane: use the accelerator if the connection can have it.
    """

    def __init__(
        self,
        session: Session,
        chan: asyncssh.SSHServerChannel[bytes],
        activity: Activity,
        *,
        handles: Share,
        fast_lane: bool,
    ) -> None:
        self._session = session
        self.transport = open_transport(chan, largest=LARGEST_REPLY, fast_lane=fast_lane)
        traced = None
        if tracing():
            from tidegate.doors.sftp.traced import Traced

            traced = Traced(session, self.transport)
        banner = str(chan.get_connection().get_extra_info("server_version", ""))
        self._dialogue = SftpDialogue(
            session,
            traced or self.transport,
            activity=activity,
            handles=handles,
            target_first=target_comes_first(session.peer.client_version, banner),
        )
        if traced is not None:
            traced.attach(self._dialogue)
        self.transport.attach(traced or self._dialogue)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the channel and its unfinished requests hold."""
        return self.transport.held_bytes + self._dialogue.held_bytes

    def refuse_opens(self) -> None:
        """Let open files be finished, and no others be opened."""
        self._dialogue.refuse_opens()

    async def wait_closed(self) -> int:
        """Wait for the end of the conversation, then close the session."""
        try:
            await self._dialogue.wait_closed()
        finally:
            await self._session.close()
        return 0


class CommandChannel:
    """One command that owns its channel: session, conversation and transport together.

    Args:
        command: what runs.
        invocation: name and arguments by which it was called.
        session: closed by `wait_closed`.
        chan: the channel.
        activity: takes note whenever the client sends something.
        handles: counts open handles against the limits of account and process.
        programs: counts system programs likewise.
        options: of the door, as they were when the connection came in.

    Raises:
        TidegateError: the command cannot begin with these arguments; the session is still the caller's.
    """

    def __init__(
        self,
        command: ChannelCommand,
        invocation: Invocation,
        session: Session,
        chan: asyncssh.SSHServerChannel[bytes],
        activity: Activity,
        *,
        handles: Share,
        programs: Share,
        options: SshOptions,
    ) -> None:
        self._session = session
        self.transport = open_transport(chan, largest=command.largest, fast_lane=options.fast_lane)
        call = ChannelCall(
            invocation,
            session,
            self.transport,
            activity,
            handles,
            programs,
            options.programs,
            getattr(chan, "door_variables", {}),
        )
        try:
            self._conversation = command.open(call)
        except BaseException:
            self.transport.connection_lost()
            raise
        self.transport.attach(self._conversation)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the channel and the conversation hold."""
        return self.transport.held_bytes + self._conversation.held_bytes

    def refuse_opens(self) -> None:
        """Let what is being transferred be finished, and begin nothing else."""
        self._conversation.refuse_opens()

    async def wait_closed(self) -> int:
        """Wait for the end of the conversation, then close the session; returns the exit status."""
        try:
            return await self._conversation.wait_closed()
        finally:
            await self._session.close()
