# SPDX-License-Identifier: Apache-2.0
"""The SFTP conversation of one channel: packets in, calls of the session, packets out.

Order. READs and WRITEs run concurrently, but for those of one handle that touch the same bytes (`transfers`).
All other requests keep their order of arrival where it can matter (`schedule`); a request about an open file
(CLOSE, FSTAT, FSETSTAT, fsync, check-file-handle, copy-data) also waits for what was sent before it on that
handle, and what is sent after it on that handle waits for it. Every wait is for something that arrived
earlier, hence no deadlock. Replies carry ids and go out as they come.

Bounds. Unfinished requests are counted, and so are the bytes that they hold (copies of WRITE data,
the room that READs will need). At either bound `saturated` is true and `feed` takes nothing more.

Speed. A READ or WRITE that needs no waiting is answered inside `feed`, without a coroutine; any other request
costs a task only if it has to wait (`tidegate.vfs.eager`). What an answer need not wait for (the objects of
an open file, the record of a transfer, the count of handles) is done once it is on its way, and before the
next request that is neither READ nor WRITE: the client works meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct
from time import monotonic
from typing import Final

from tidegate.cluster.registry import Activity
from tidegate.doors.common.owners import AccountNames, Names
from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.common.turns import LOOK_EVERY, turns_of
from tidegate.doors.sftp import status
from tidegate.doors.sftp.extensions import ADVERTISED, Bounds, Extensions
from tidegate.doors.sftp.failures import tell
from tidegate.doors.sftp.handles import HandleTable, OpenFile
from tidegate.doors.sftp.listings import Listing
from tidegate.doors.sftp.longname import Longnames
from tidegate.doors.sftp.schedule import PARALLEL_REQUESTS, Job, Schedule
from tidegate.doors.sftp.spans import Spans
from tidegate.doors.sftp.transfers import Transfers
from tidegate.doors.sftp.verbs import Verbs
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies
from tidegate.doors.sftp.wire import requests as r
from tidegate.doors.sftp.wire.decoding import decode, decode_init
from tidegate.doors.sftp.work import Work
from tidegate.errors import ProtocolViolation, ProviderUnavailable, TidegateError, Unsupported
from tidegate.resources.count import Share
from tidegate.vfs.api import Session

logger = logging.getLogger(__name__)

_U32: Final = Struct(">I").unpack_from
_VERSION: Final = replies.version(ADVERTISED)
_QUEUED_OVERHEAD_BYTES: Final = 256
"""The rough cost of a waiting request beside the bytes of its packet."""


@dataclass(frozen=True, slots=True)
class SftpLimits:
    """Bounds of one channel.

    Attributes:
        handles: files and listings open at once.
        packet_bytes: longest packet accepted.
        read_bytes: most bytes answered to one READ.
        requests: unfinished requests.
        held_bytes: bytes that unfinished requests may hold; one request may go beyond.
        parallel: requests other than READ and WRITE that run at the same time, where storage is not inline.
    """

    handles: int = 1024
    packet_bytes: int = c.MAX_PACKET_BYTES
    read_bytes: int = c.ADVERTISED_IO_BYTES
    requests: int = 256
    held_bytes: int = 8 * 1024 * 1024
    parallel: int = PARALLEL_REQUESTS


class SftpDialogue:
    """One SFTP channel.

    The session stays the caller's: close it after `wait_closed`.

    Args:
        session: where requests are carried out.
        transport: takes replies.
        limits: bounds.
        names: what owner ids are called in listings; by default only the account's own have a name.
        activity: takes note whenever the peer sends something.
        handles: counts open handles against the limits of account and process; None counts nowhere.
        target_first: the order in which the peer sends the arguments of SYMLINK.
    """

    def __init__(
        self,
        session: Session,
        transport: PacketTransport,
        limits: SftpLimits | None = None,
        *,
        names: Names | None = None,
        activity: Activity | None = None,
        handles: Share | None = None,
        target_first: bool = True,
    ) -> None:
        limits = limits or SftpLimits()
        names = names or AccountNames(session.principal)
        self._transport = transport
        self._most_pending = limits.requests
        self._most_held = limits.held_bytes
        self._packet_bytes = limits.packet_bytes
        self._activity = activity or Activity()
        self._loop = asyncio.get_running_loop()
        self._turns = turns_of(self._loop)
        self._session = session
        self._handles = HandleTable(limits.handles, handles)
        self._later: list[Callable[[], object]] = []
        self._verbs = Verbs(
            session, self._handles, Longnames(names), self._later, self._postpone, target_first=target_first
        )
        self._quick = self._verbs.quick_table()
        bounds = Bounds(c.ADVERTISED_PACKET_BYTES, limits.read_bytes, limits.handles)
        self._table = self._verbs.table() | Extensions(session, self._verbs, names, bounds).table()
        self._work = Work(transport, limits.requests, limits.held_bytes)
        transfers = Transfers(transport, self._work, self._handles.files, limits.read_bytes, self._fail)
        self._read, self._write = transfers.read, transfers.write
        spans = Spans(session, self._verbs)
        self._schedule = Schedule(transport, self._work, spans, self._fail, parallel=limits.parallel)
        self._unfinished = self._schedule.unfinished
        self._greeted = False
        self._ended = False  # no further request is taken: broken protocol, end of input, or peer gone
        self._finisher: asyncio.Task[None] | None = None
        self._cleanup: asyncio.Task[None] | None = None

    @property
    def saturated(self) -> bool:
        """True while unfinished requests reach a bound, or other sessions have their turn."""
        return self._work.saturated

    @property
    def held_bytes(self) -> int:
        """Bytes that unfinished requests hold."""
        return self._work.held

    # -- input ---------------------------------------------------------------------------------------

    def feed(self, view: memoryview) -> int:
        """Take requests off the front of `view`; see `doors.common.transport` for the other side.

        Returns:
            bytes consumed, always whole packets.
        """
        size = len(view)
        if self._ended:
            return size
        turns = self._turns
        if turns.working:  # the slice has just begun: its time is near enough
            now, deadline = turns.began, turns.deadline
        else:
            now = monotonic()
            deadline = turns.until(now)
        self._activity.at = now
        until_look = LOOK_EVERY
        transport, work = self._transport, self._work
        most, most_pending, most_held = self._packet_bytes, self._most_pending, self._most_held
        position = 0
        work.feeding = True
        try:
            while size - position >= 5:
                length: int = _U32(view, position)[0]
                if not 1 <= length <= most:
                    raise ProtocolViolation
                end = position + 4 + length
                if end > size or transport.congested:
                    break
                if work.pending >= most_pending or work.held >= most_held:
                    work.saturated = True
                    break
                kind = view[position + 4]
                if kind == c.READ and self._greeted:
                    if not self._read(view, position, end):
                        break  # the peer has no room for the answer
                elif kind == c.WRITE and self._greeted:
                    if not self._write(view, position, end):
                        break  # its storage has to take what came before it
                else:
                    self._other(kind, view, position, end)
                position = end
                until_look -= 1
                if not until_look:
                    until_look = LOOK_EVERY
                    if monotonic() >= deadline:
                        # Other sessions want their turn.
                        work.saturated = True
                        work.plan_resume()
                        break
        except ProtocolViolation:
            self._violate()
            position = size
        finally:
            work.feeding = False
        transport.flush()
        if self._later:
            self._catch_up()
        return position

    def _catch_up(self) -> None:
        """Do what answers did not wait for."""
        for work in self._later:
            try:
                work()
            except Exception:
                logger.exception("sftp: unforeseen error behind an answer")
        self._later.clear()

    def _violate(self) -> None:
        self._ended = True
        self._transport.close(status=1)

    def _fail(
        self,
        rid: int,
        error: Exception,
        request: r.Request | None = None,
        targets: tuple[OpenFile | Listing, ...] = (),
    ) -> None:
        if isinstance(error, TidegateError):
            self._transport.send(status.reply(rid, error))
            tell(self._session, self._verbs.path, request, targets, error)
        else:
            logger.error("sftp: unforeseen error", exc_info=error)
            self._transport.send(status.internal(rid))

    def _other(self, kind: int, view: memoryview, position: int, end: int) -> None:
        if not self._greeted:
            self._greet(kind, bytes(view[position + 5 : end]))
            return
        if end - position < 9 or kind == c.INIT:
            raise ProtocolViolation
        if self._later:
            self._catch_up()
        rid: int = _U32(view, position + 5)[0]
        request: r.Request | None = None
        try:
            request = decode(kind, bytes(view[position + 9 : end]))
            if not self._unfinished:
                quick = self._quick.get(kind)
                if quick is not None and (reply := quick(rid, request)) is not None:
                    if reply:
                        self._transport.send(reply)
                        self._work.look_idle()
                    return
            handler = self._table.get(type(request))
            if handler is None:
                self._fail(rid, Unsupported())
                return
            targets: tuple[OpenFile | Listing, ...] = ()
            if request.HANDLES:
                if type(request) is r.Close:
                    targets = (self._handles.take(request.handle),)
                else:
                    targets = tuple(self._handles.find(getattr(request, name)) for name in request.HANDLES)
        except Exception as error:
            self._fail(rid, error, request)
            self._work.look_idle()  # a CLOSE that failed has closed all the same
            return
        self._schedule.add(Job(rid, handler, request, targets, end - position + _QUEUED_OVERHEAD_BYTES))

    def _postpone(self, rid: int, stored: asyncio.Future[None], request: r.Close, target: OpenFile) -> None:
        """Answer a CLOSE when its event is stored. The file is closed already, so nothing waits for it."""
        self._work.begin(_QUEUED_OVERHEAD_BYTES)

        def answer(stored: asyncio.Future[None]) -> None:
            error = ProviderUnavailable() if stored.cancelled() else stored.exception()
            if not self._work.gone:
                if error is None:
                    self._transport.send(replies.status_ok(rid))
                else:
                    assert isinstance(error, Exception)
                    self._fail(rid, error, request, (target,))
            self._work.settle(_QUEUED_OVERHEAD_BYTES)

        stored.add_done_callback(answer)

    def _greet(self, kind: int, body: bytes) -> None:
        if kind != c.INIT:
            raise ProtocolViolation
        decode_init(body)
        self._greeted = True
        self._transport.send(_VERSION)

    # -- the end -------------------------------------------------------------------------------------

    def eof_received(self) -> None:
        """The peer sends no more: finish what is under way, then end the channel with exit status 0."""
        if not self._ended:
            self._ended = True
            self._finisher = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        while self._work.pending and not self._work.gone:
            await self._work.next_idle()
        await asyncio.shield(self._released())
        if not self._work.gone:
            self._transport.flush()
            self._transport.close(status=0)

    def refuse_opens(self) -> None:
        """Let open files be finished, and no others be opened: the server is shutting down."""
        self._verbs.refuse_opens = True

    async def drain(self) -> None:
        """Stop gracefully: refuse new handles, let open files be finished, then end the channel.

        Waits as long as the peer keeps files open; bound it with a time-out.
        """
        self.refuse_opens()
        while not self._work.gone and (self._handles.files or self._work.pending):
            await self._work.next_idle()
        if not self._ended:
            self._ended = True
            await self._finish()

    def connection_lost(self) -> None:
        """The channel is gone: cancel what waits, end open files as failed. Safe to call twice."""
        if self._work.gone:
            return
        self._ended = self._work.gone = True
        self._schedule.drop()
        for task in self._work.tasks:
            # A file that is being published is published: cancelling then would only add doubt.
            if task not in self._verbs.committing:
                task.cancel()
        self._work.wake()
        self._released()

    def _released(self) -> asyncio.Task[None]:
        """The end of everything, begun once no request can begin; await it shielded."""
        if self._cleanup is None:
            self._cleanup = self._loop.create_task(self._release())
        return self._cleanup

    async def _release(self) -> None:
        """Wait for all tasks, then abort every open file and release every listing."""
        self._catch_up()
        while self._work.tasks:
            await asyncio.wait(self._work.tasks)
        handles = self._handles
        left = [*handles.files.values(), *handles.listings.values(), *handles.closing]
        handles.files.clear()
        handles.listings.clear()
        handles.closing.clear()
        for entry in left:
            try:
                await (entry.close() if isinstance(entry, Listing) else entry.file.abort())
            except Exception:
                logger.exception("sftp: unforeseen error while releasing a handle")
        handles.settle()

    async def wait_closed(self) -> None:
        """Return when the channel is gone and everything it held is released."""
        while not self._work.gone:
            await self._work.next_idle()
        if not self._released().done():
            await asyncio.shield(self._released())
        if self._finisher is not None:
            await self._finisher
