# SPDX-License-Identifier: Apache-2.0
"""The SFTP conversation of one channel: packets in, calls of the session, packets out.

Order. READs and WRITEs run concurrently, but for those of one handle that touch the same bytes. Everything
else runs in order of arrival, one at a time. A request about an open file (CLOSE, FSTAT, FSETSTAT, fsync,
check-file-handle, copy-data) also waits for what was sent before it on that handle, and what is sent after
it on that handle waits for it. Every wait is for something that arrived earlier, hence no deadlock. Replies
carry ids and go out as they come.

Bounds. Unfinished requests are counted, and so are the bytes that they hold (copies of WRITE data,
the room that READs will need). At either bound `saturated` is true and `feed` takes nothing more.

Speed. A READ or WRITE that needs no waiting is answered inside `feed`, without a coroutine; any other request
costs a task only if it has to wait (`tidegate.vfs.eager`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from struct import Struct
from time import monotonic
from typing import Any, Final

from tidegate.cluster.registry import Activity
from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.common.turns import LOOK_EVERY, turns_of
from tidegate.doors.sftp import status
from tidegate.doors.sftp.extensions import ADVERTISED, Bounds, Extensions
from tidegate.doors.sftp.failures import tell
from tidegate.doors.sftp.handles import (
    MAX_OFFSET,
    HandleTable,
    Listing,
    OpenFile,
    Operation,
    wait_all,
)
from tidegate.doors.sftp.longname import Longnames
from tidegate.doors.sftp.names import AccountNames, Names
from tidegate.doors.sftp.verbs import Handler, Verbs
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies
from tidegate.doors.sftp.wire import requests as r
from tidegate.errors import InvalidArgument, InvalidHandle, ProtocolViolation, TidegateError, Unsupported
from tidegate.resources.count import Share
from tidegate.vfs import eager
from tidegate.vfs.api import Session

logger = logging.getLogger(__name__)

_U32: Final = Struct(">I").unpack_from
_IO_HEADER: Final = r.IO_HEADER.unpack_from
_IO_HEADER_BYTES: Final = r.IO_HEADER.size
TAIL_BYTES: Final = 16 * 1024
"""Room for a READ behind what a small file held when it was opened: nearly always that is its end."""

_QUEUED_OVERHEAD_BYTES: Final = 256
"""What a waiting request costs beside the bytes of its packet, roughly."""


@dataclass(frozen=True, slots=True)
class SftpLimits:
    """Bounds of one channel.

    Attributes:
        handles: files and listings open at once.
        packet_bytes: longest packet accepted.
        read_bytes: most bytes answered to one READ.
        requests: unfinished requests.
        held_bytes: bytes that unfinished requests may hold; one request may go beyond.
    """

    handles: int = 1024
    packet_bytes: int = c.MAX_PACKET_BYTES
    read_bytes: int = c.ADVERTISED_IO_BYTES
    requests: int = 256
    held_bytes: int = 8 * 1024 * 1024


class _Turn:
    """A request of the ordered kind, and what it waits for."""

    __slots__ = ("barriers", "cost", "earlier", "handler", "request", "rid", "targets")

    def __init__(
        self,
        rid: int,
        handler: Handler,
        request: r.Request,
        targets: tuple[OpenFile | Listing, ...],
        cost: int,
    ) -> None:
        self.rid = rid
        self.handler = handler
        self.request = request
        self.targets = targets
        self.cost = cost
        self.barriers: tuple[Operation, ...] = ()
        self.earlier: tuple[Operation, ...] = ()

    def hold(self) -> None:
        """Take a place in the order of each file the request is about."""
        for target in self.targets:
            if type(target) is OpenFile:
                barrier, before = target.barrier()
                # copy-data may name one handle twice; it must not wait for itself.
                self.earlier += tuple(other for other in before if other not in self.barriers)
                self.barriers += (barrier,)


class SftpDialogue:
    """One SFTP channel.

    The session stays the caller's: close it after `wait_closed`.

    Args:
        session: where requests are carried out.
        outlet: takes replies.
        limits: bounds.
        names: what owner ids are called in listings; by default only the account's own have a name.
        activity: takes note whenever the peer sends something.
        handles: counts open handles against the limits of account and process; None counts nowhere.
        target_first: the order in which the peer sends the arguments of SYMLINK.
    """

    def __init__(
        self,
        session: Session,
        outlet: PacketTransport,
        limits: SftpLimits | None = None,
        *,
        names: Names | None = None,
        activity: Activity | None = None,
        handles: Share | None = None,
        target_first: bool = True,
    ) -> None:
        limits = limits or SftpLimits()
        names = names or AccountNames(session.principal)
        self._outlet = outlet
        self._most_pending = limits.requests
        self._most_held = limits.held_bytes
        self._packet_bytes = limits.packet_bytes
        self._read_bytes = limits.read_bytes
        self._activity = activity or Activity()
        self._loop = asyncio.get_running_loop()
        self._turns = turns_of(self._loop)
        self._session = session
        self._handles = HandleTable(limits.handles, handles)
        self._files = self._handles.files
        self._verbs = Verbs(session, self._handles, Longnames(names), target_first=target_first)
        self._quick = self._verbs.quick_table()
        bounds = Bounds(c.ADVERTISED_PACKET_BYTES, limits.read_bytes, limits.handles)
        self._table = self._verbs.table() | Extensions(session, self._verbs, names, bounds).table()
        self._greeted = False
        self._feeding = False
        self._flush_planned = False
        self._ended = False  # no further request is taken: broken protocol, end of input, or peer gone
        self._gone = False  # no further reply can be sent
        self._resume_planned = False
        self._pending = 0
        self._held = 0
        self._queue: deque[_Turn] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._running = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_waiters: list[asyncio.Future[None]] = []
        self._finisher: asyncio.Task[None] | None = None
        self._cleanup: asyncio.Task[None] | None = None
        self.saturated = False

    @property
    def held_bytes(self) -> int:
        """Bytes that unfinished requests hold."""
        return self._held

    # -- input ---------------------------------------------------------------------------------------

    def feed(self, view: memoryview) -> int:
        """Take requests off the front of `view`; see `outlet` for the carrier's side of it.

        Returns:
            bytes consumed, always whole packets.
        """
        size = len(view)
        if self._ended:
            return size
        self._activity.at = now = monotonic()
        deadline, until_look = self._turns.until(now), LOOK_EVERY
        outlet = self._outlet
        most = self._packet_bytes
        position = 0
        self._feeding = True
        try:
            while size - position >= 5:
                length: int = _U32(view, position)[0]
                if not 1 <= length <= most:
                    raise ProtocolViolation
                end = position + 4 + length
                if end > size or outlet.congested:
                    break
                if self._pending >= self._most_pending or self._held >= self._most_held:
                    self.saturated = True
                    break
                kind = view[position + 4]
                if kind == c.READ and self._greeted:
                    if not self._read(view, position, end):
                        break  # the peer has no room for the answer
                elif kind == c.WRITE and self._greeted:
                    self._write(view, position, end)
                else:
                    self._other(kind, view, position, end)
                position = end
                until_look -= 1
                if not until_look:
                    until_look = LOOK_EVERY
                    if monotonic() >= deadline:
                        # Other sessions want their turn.
                        self.saturated = True
                        self._plan_resume()
                        break
        except ProtocolViolation:
            self._violate()
            position = size
        finally:
            self._feeding = False
        outlet.flush()
        return position

    def _violate(self) -> None:
        self._ended = True
        self._outlet.close(clean=False)

    def _fail(
        self,
        rid: int,
        error: Exception,
        request: r.Request | None = None,
        targets: tuple[OpenFile | Listing, ...] = (),
    ) -> None:
        if isinstance(error, TidegateError):
            self._outlet.send(status.reply(rid, error))
            tell(self._session, self._verbs.path, request, targets, error)
        else:
            logger.error("sftp: unforeseen error", exc_info=error)
            self._outlet.send(status.internal(rid))

    def _read(self, view: memoryview, position: int, end: int) -> bool:
        """Answer a READ, or begin to; False if it is left for later."""
        if end - position < _IO_HEADER_BYTES or view[position + 12] != c.HANDLE_BYTES:
            self._odd_io(c.READ, view, position, end)
            return True
        _, _, rid, hlen, key, offset, size = _IO_HEADER(view, position)
        entry = self._files.get(key) if hlen == c.HANDLE_BYTES else None
        if entry is None or not entry.readable:
            text = None if entry is None else "handle is not open for reading"
            self._fail(rid, InvalidHandle(text), None, () if entry is None else (entry,))
            return True
        most = self._read_bytes
        if entry.small:
            # Room for what clients ask for costs more than reading 2 KiB does.
            left = entry.small - offset
            most = left if left > 0 else TAIL_BYTES
        size = min(size, most)
        if size == 0 or offset > MAX_OFFSET - size:
            self._outlet.send(replies.status_eof(rid))
            return True
        if self._outlet.tight(size + c.DATA_HEADER_BYTES):
            return False
        if not entry.writing:
            try:
                room = self._outlet.reserve(c.DATA_HEADER_BYTES, size)
                sent = None if room is None else entry.file.readinto_nowait(offset, room)
            except Exception as error:
                self._fail(rid, error, None, (entry,))
                return True
            if sent:
                self._outlet.commit(replies.data_header(rid, sent), sent)
                return True
            if sent == 0:
                self._outlet.send(replies.status_eof(rid))
                return True
        operation, earlier = entry.enter(offset, offset + size, writes=False)
        self._launch(self._read_later(rid, operation, earlier, offset, size), size)
        return True

    async def _read_later(
        self, rid: int, operation: Operation, earlier: list[Operation], offset: int, size: int
    ) -> None:
        try:
            if earlier:
                await wait_all(earlier)
            data = await operation.file.file.read(offset, size)
            if not self._gone:
                self._outlet.send(replies.data(rid, data) if data else replies.status_eof(rid))
        except Exception as error:
            if not self._gone:
                self._fail(rid, error, None, (operation.file,))
        finally:
            operation.finish()
            self._settle(size)

    def _write(self, view: memoryview, position: int, end: int) -> None:
        start = position + _IO_HEADER_BYTES
        if end < start or view[position + 12] != c.HANDLE_BYTES:
            self._odd_io(c.WRITE, view, position, end)
            return
        _, _, rid, hlen, key, offset, size = _IO_HEADER(view, position)
        stop = start + size
        if stop > end:
            self._fail(rid, ProtocolViolation())
            return
        entry = self._files.get(key) if hlen == c.HANDLE_BYTES else None
        if entry is None or not entry.writable:
            text = None if entry is None else "handle is not open for writing"
            self._fail(rid, InvalidHandle(text), None, () if entry is None else (entry,))
            return
        if offset > MAX_OFFSET - size:
            self._fail(rid, InvalidArgument("invalid write offset"), None, (entry,))
            return
        if not entry.operations:
            try:
                written = entry.file.write_nowait(offset, view[start:stop])
            except Exception as error:
                self._fail(rid, error, None, (entry,))
                return
            if written:
                self._outlet.send(replies.status_ok(rid))
                return
        if entry.append:
            # Where the bytes land depends on the writes before, whatever the offset says.
            operation, earlier = entry.barrier()
        else:
            operation, earlier = entry.enter(offset, offset + size, writes=True)
        data = bytes(view[start:stop])
        self._launch(self._write_later(rid, operation, earlier, offset, data), size)

    async def _write_later(
        self, rid: int, operation: Operation, earlier: list[Operation], offset: int, data: bytes
    ) -> None:
        size = len(data)
        try:
            if earlier:
                await wait_all(earlier)
            await operation.file.file.write(offset, data)
            if not self._gone:
                self._outlet.send(replies.status_ok(rid))
        except Exception as error:
            if not self._gone:
                self._fail(rid, error, None, (operation.file,))
        finally:
            operation.finish()
            self._settle(size)

    def _odd_io(self, kind: int, view: memoryview, position: int, end: int) -> None:
        """A READ or WRITE whose handle cannot be one of ours, or that is cut short."""
        if end - position < 9:
            raise ProtocolViolation
        rid: int = _U32(view, position + 5)[0]
        try:
            r.decode(kind, bytes(view[position + 9 : end]))
            self._fail(rid, InvalidHandle())
        except ProtocolViolation as error:
            self._fail(rid, error)

    def _other(self, kind: int, view: memoryview, position: int, end: int) -> None:
        if not self._greeted:
            self._greet(kind, bytes(view[position + 5 : end]))
            return
        if end - position < 9 or kind == c.INIT:
            raise ProtocolViolation
        rid: int = _U32(view, position + 5)[0]
        request: r.Request | None = None
        try:
            request = r.decode(kind, bytes(view[position + 9 : end]))
            if not self._running:
                quick = self._quick.get(kind)
                if quick is not None and (reply := quick(rid, request)) is not None:
                    self._outlet.send(reply)
                    self._look_idle()
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
            self._look_idle()  # a CLOSE that failed has closed all the same
            return
        turn = _Turn(rid, handler, request, targets, end - position + _QUEUED_OVERHEAD_BYTES)
        self._pending += 1
        self._held += turn.cost
        if self._running:
            turn.hold()
            self._queue.append(turn)
            return
        for target in targets:
            if type(target) is OpenFile and target.operations:
                turn.hold()
                break
        self._run(turn)
        if self._running and not turn.barriers:
            # It did not end at once, and nothing can have come between.
            turn.hold()

    def _greet(self, kind: int, body: bytes) -> None:
        if kind != c.INIT:
            raise ProtocolViolation
        r.decode_init(body)
        self._greeted = True
        self._outlet.send(replies.version(ADVERTISED))

    # -- work ----------------------------------------------------------------------------------------

    async def _answer(self, turn: _Turn) -> None:
        """Carry out one request that is not READ or WRITE."""
        try:
            if turn.earlier:
                await wait_all(turn.earlier)
            reply = await turn.handler(turn.rid, turn.request, turn.targets)
            if not self._gone:
                self._outlet.send(reply)
        except Exception as error:
            if not self._gone:
                self._fail(turn.rid, error, turn.request, turn.targets)
        finally:
            for barrier in turn.barriers:
                barrier.finish()
            self._settle(turn.cost)

    def _run(self, turn: _Turn) -> None:
        """Start a request of the ordered kind; the next one starts when it has ended."""
        self._running = True
        task, _ = eager.start(self._answer(turn), self._loop)
        if task is None:
            self._running = False
            return
        self._runner = task
        self._tasks.add(task)
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._runner = None
        self._running = False
        if not self._queue:
            return
        turns = self._turns
        if turns.crowded or not turns.may_work:
            self._running = True  # what arrives meanwhile must not overtake the queue
            turns.later(self._run_queue)
            return
        turns.begin()
        try:
            self._run_queue()
        finally:
            turns.end()

    def _run_queue(self) -> None:
        """Carry out what was queued, for a slice of a turn."""
        deadline = self._turns.deadline
        self._running = False
        while self._queue and not self._running:
            self._run(self._queue.popleft())
            if self._queue and not self._running and monotonic() >= deadline:
                self._running = True  # what arrives meanwhile must not overtake the queue
                self._turns.later(self._run_queue)

    def _launch(self, work: Coroutine[Any, Any, None], cost: int) -> None:
        """Start a READ or WRITE that has to wait."""
        self._pending += 1
        self._held += cost
        task, _ = eager.start(work, self._loop)
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _settle(self, cost: int) -> None:
        """A request has ended and its reply is queued."""
        self._pending -= 1
        self._held -= cost
        if self._gone:
            return
        if not self._feeding and not self._flush_planned:
            # Several may end in one turn of the loop; their replies go out together.
            self._flush_planned = True
            self._loop.call_soon(self._flush)
        if self.saturated and self._pending <= self._most_pending // 2 and self._held <= self._most_held // 2:
            self._plan_resume()
        self._look_idle()

    def _look_idle(self) -> None:
        if self._idle_waiters and not self._pending:
            self._loop.call_soon(self._wake)

    def _flush(self) -> None:
        self._flush_planned = False
        if not self._gone:
            self._outlet.flush()

    def _plan_resume(self) -> None:
        if not self._resume_planned:
            self._resume_planned = True
            self._turns.later(self._resume)

    def _resume(self) -> None:
        self._resume_planned = False
        self.saturated = False
        if not self._gone:
            self._outlet.resume()

    def _wake(self) -> None:
        for waiter in self._idle_waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._idle_waiters.clear()

    # -- the end -------------------------------------------------------------------------------------

    def eof_received(self) -> None:
        """The peer sends no more: finish what is under way, then end the channel with exit status 0."""
        if not self._ended:
            self._ended = True
            self._finisher = self._loop.create_task(self._finish())

    async def _finish(self) -> None:
        while self._pending and not self._gone:
            await self._next_idle()
        await self._released()
        if not self._gone:
            self._outlet.flush()
            self._outlet.close(clean=True)

    def refuse_opens(self) -> None:
        """Let open files be finished, and no others be opened: the server is shutting down."""
        self._verbs.refuse_opens = True

    async def drain(self) -> None:
        """Stop gracefully: refuse new handles, let open files be finished, then end the channel.

        Waits as long as the peer keeps files open; bound it with a time-out.
        """
        self.refuse_opens()
        while not self._gone and (self._files or self._pending):
            await self._next_idle()
        if not self._ended:
            self._ended = True
            await self._finish()

    async def _next_idle(self) -> None:
        """Return when the last unfinished request has ended, or the peer is gone."""
        waiter = self._loop.create_future()
        self._idle_waiters.append(waiter)
        await waiter

    def connection_lost(self) -> None:
        """The channel is gone: cancel what waits, end open files as failed. Safe to call twice."""
        if self._gone:
            return
        self._ended = self._gone = True
        self._queue.clear()
        for task in self._tasks:
            # A file that is being published is published: cancelling then would only add doubt.
            if not (task is self._runner and self._verbs.committing):
                task.cancel()
        self._wake()
        self._released()

    def _released(self) -> asyncio.Future[None]:
        """The end of everything: once no request can begin, await this."""
        if self._cleanup is None:
            self._cleanup = self._loop.create_task(self._release())
        return asyncio.shield(self._cleanup)

    async def _release(self) -> None:
        """Wait for all tasks, then abort every open file and release every listing."""
        while self._tasks:
            await asyncio.wait(self._tasks)
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
        while not self._gone:
            await self._next_idle()
        await self._released()
        if self._finisher is not None:
            await self._finisher
