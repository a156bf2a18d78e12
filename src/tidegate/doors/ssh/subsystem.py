# SPDX-License-Identifier: Apache-2.0
"""From a channel to an SFTP dialogue: which carrier takes its bytes, and how the two end."""

from __future__ import annotations

import functools
import logging
from typing import Protocol

import asyncssh

from tidegate.cluster.registry import Activity
from tidegate.doors.sftp.carrier import ChannelCarrier
from tidegate.doors.sftp.dialogue import SftpDialogue
from tidegate.doors.sftp.order import target_comes_first
from tidegate.doors.sftp.outlet import Outlet
from tidegate.doors.ssh.lane import Lane
from tidegate.doors.ssh.lane_channel import LaneChannel
from tidegate.doors.ssh.lane_keys import self_check
from tidegate.resources.count import Share
from tidegate.vfs.api import Session

log = logging.getLogger(__name__)


class Carrier(Outlet, Protocol):
    """What the channel's callbacks drive: `ChannelCarrier`, or the fast lane's counterpart."""

    @property
    def held_bytes(self) -> int:
        """Bytes of input that wait for the dialogue."""
        ...

    def attach(self, dialogue: SftpDialogue) -> None:
        """Name the dialogue, before any event."""
        ...

    def data_received(self, data: bytes) -> None:
        """Bytes arrived by way of asyncssh."""
        ...

    def eof_received(self) -> bool:
        """No more bytes will arrive."""
        ...

    def pause_writing(self) -> None:
        """The channel's window or the socket is full."""
        ...

    def resume_writing(self) -> None:
        """Sending can go on."""
        ...

    def connection_lost(self, exc: BaseException | None = None) -> None:
        """The channel is gone."""
        ...


@functools.cache
def lane_usable() -> bool:
    """Whether the installed libraries can have a fast lane; says so once if they cannot."""
    reason = self_check()
    if reason:
        log.warning("the fast lane stays off: %s; transfers work, and cost more CPU", reason)
    return not reason


def make_carrier(chan: asyncssh.SSHServerChannel[bytes], *, fast_lane: bool) -> Carrier:
    """The carrier for an SFTP channel that is open and whose subsystem request was answered."""
    lane = Lane.attach(chan.get_connection()) if fast_lane and lane_usable() else None
    return ChannelCarrier(chan) if lane is None else LaneChannel(lane, chan)


class SftpSubsystem:
    """One SFTP conversation: session, dialogue and carrier together.

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
        self.carrier = make_carrier(chan, fast_lane=fast_lane)
        banner = str(chan.get_connection().get_extra_info("server_version", ""))
        self._dialogue = SftpDialogue(
            session,
            self.carrier,
            activity=activity,
            handles=handles,
            target_first=target_comes_first(session.peer.client_version, banner),
        )
        self.carrier.attach(self._dialogue)

    @property
    def buffered_bytes(self) -> int:
        """Bytes that the channel and its unfinished requests hold."""
        return self.carrier.held_bytes + self._dialogue.held_bytes

    def refuse_opens(self) -> None:
        """Let open files be finished, and no others be opened."""
        self._dialogue.refuse_opens()

    async def wait_closed(self) -> None:
        """Wait for the end of the conversation, then close the session."""
        try:
            await self._dialogue.wait_closed()
        finally:
            await self._session.close()
