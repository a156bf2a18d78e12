# SPDX-License-Identifier: Apache-2.0
"""One SCP channel, from its first answer to its exit status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from tidegate.cluster.registry import Activity
from tidegate.doors.common.command_line import Word
from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.scp import wire
from tidegate.doors.scp.options import parse
from tidegate.doors.scp.place import Place, Refused
from tidegate.doors.scp.sink import Sink
from tidegate.doors.scp.source import Source
from tidegate.doors.scp.stream import Stream
from tidegate.errors import PeerGone, ProtocolViolation, TidegateError
from tidegate.resources.count import Share
from tidegate.vfs.api import Session

log = logging.getLogger(__name__)


class ScpDialogue:
    """Implements `doors.common.transport.Conversation`.

    The session stays the caller's: close it after `wait_closed`.

    Args:
        words: the command line without the name of the command.
        session: files of the account.
        transport: of the channel.
        activity: takes note whenever the peer sends something.
        handles: counts open handles against the limits of account and process; None counts nowhere.

    Attributes:
        in_step: at the end, True if the peer knows that it is the end: nothing of this conversation follows.

    Raises:
        InvalidArgument: the command line is not one of SCP.
    """

    def __init__(
        self,
        words: Sequence[Word],
        session: Session,
        transport: PacketTransport,
        activity: Activity,
        handles: Share | None = None,
    ) -> None:
        options = parse(words)
        self._session = session
        self._transport = transport
        self._stream = Stream(transport, activity)
        self._place = Place(session, self._stream, options, handles)
        self.in_step = False
        self.feed = self._stream.feed
        self.eof_received = self._stream.eof_received
        side = Sink(self._place) if options.sink else Source(self._place)
        self._task = self._stream.loop.create_task(self._run(side))

    @property
    def saturated(self) -> bool:
        """True while nothing is awaited from the peer."""
        return self._stream.saturated

    @property
    def held_bytes(self) -> int:
        """Bytes of content that wait for storage."""
        return self._stream.held

    def refuse_opens(self) -> None:
        """Let the file that is being transferred be finished, and begin nothing else."""
        self._place.refuse_opens = True

    def connection_lost(self) -> None:
        """The channel is gone: what is open ends as failed."""
        self._stream.connection_lost()
        if not self._place.committing:
            self._task.cancel()

    async def wait_closed(self) -> int:
        """Wait for the end of the channel and of all that it held; returns the exit status."""
        await asyncio.wait([self._task])
        return 1 if self._task.cancelled() else self._task.result()

    async def _run(self, side: Sink | Source) -> int:
        fatal = ""
        try:
            await side.run()
            self.in_step = True
        except PeerGone:
            self._place.errors += 1
        except Refused:  # the peer ended it
            self._place.errors += 1
            self.in_step = True
        except ProtocolViolation as error:
            fatal = f"protocol error: {error.text}"
            self.in_step = not side.begun
            self._place.failed("", "", error)
        except TidegateError as error:
            fatal = error.text
            self.in_step = not side.begun
            self._place.failed("", "", error)
        except Exception:
            log.exception("%s: unforeseen error in SCP", self._session.peer.connection_id)
            fatal = "internal error"
        status = 1 if fatal or self._place.errors else 0
        if fatal:
            self._stream.send(wire.failure_line(fatal, fatal=True))
        self._transport.close(status=status)
        return status
