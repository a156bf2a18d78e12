# SPDX-License-Identifier: Apache-2.0
"""READ and WRITE.

They run concurrently, but for those of one handle that touch the same bytes (`handles`). One that needs no
waiting is answered on the spot, without a coroutine.

A WRITE that has to wait is copied and costs a task. Where the storage takes the bytes of a file in order, all
that follow wait with it: after `WAITING_BYTES` they are left with the transport, uncopied, until those that
wait have been taken. The client is held back by its window meanwhile.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from tidegate.doors.common.transport import PacketTransport
from tidegate.doors.sftp.handles import MAX_OFFSET, OpenFile, Operation, wait_all
from tidegate.doors.sftp.schedule import Fail
from tidegate.doors.sftp.wire import constants as c
from tidegate.doors.sftp.wire import replies
from tidegate.doors.sftp.wire import requests as r
from tidegate.doors.sftp.wire.decoding import decode
from tidegate.doors.sftp.work import Work
from tidegate.errors import InvalidArgument, InvalidHandle, ProtocolViolation

_U32: Final = Struct(">I").unpack_from
_IO_HEADER: Final = r.IO_HEADER.unpack_from
_IO_HEADER_BYTES: Final = r.IO_HEADER.size
TAIL_BYTES: Final = 16 * 1024
"""Room for a READ behind what a small file held when it was opened: nearly always that is its end."""
WAITING_BYTES: Final = 1024 * 1024
"""Bytes of one file that wait for storage in order; more than the clients that mount a server (sshfs) have on
their way, whose other requests are not to wait behind them."""


class Transfers:
    """The READs and WRITEs of one channel.

    Args:
        transport: takes replies.
        work: counts what is unfinished.
        files: open files by handle.
        read_bytes: most bytes answered to one READ.
        fail: answers requests that fail.
    """

    def __init__(
        self,
        transport: PacketTransport,
        work: Work,
        files: dict[int, OpenFile],
        read_bytes: int,
        fail: Fail,
    ) -> None:
        self._transport = transport
        self._work = work
        self._files = files
        self._read_bytes = read_bytes
        self._fail = fail

    def read(self, view: memoryview, position: int, end: int) -> bool:
        """Answer a READ, the packet from `position` to `end`, or begin to; False if it is left for later."""
        if end - position < _IO_HEADER_BYTES or view[position + 12] != c.HANDLE_BYTES:
            self._odd(c.READ, view, position, end)
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
            self._transport.send(replies.status_eof(rid))
            return True
        if self._transport.tight(size + c.DATA_HEADER_BYTES):
            return False
        if not entry.writing:
            try:
                room = self._transport.reserve(c.DATA_HEADER_BYTES, size)
                sent = None if room is None else entry.file.readinto_nowait(offset, room)
            except Exception as error:
                self._fail(rid, error, None, (entry,))
                return True
            if sent:
                self._transport.commit(replies.data_header(rid, sent), sent)
                return True
            if sent == 0:
                self._transport.send(replies.status_eof(rid))
                return True
        operation, earlier = entry.enter(offset, offset + size, writes=False)
        self._work.launch(self._read_later(rid, operation, earlier, offset, size), size)
        return True

    async def _read_later(
        self, rid: int, operation: Operation, earlier: list[Operation], offset: int, size: int
    ) -> None:
        try:
            if earlier:
                await wait_all(earlier)
            data = await operation.file.file.read(offset, size)
            if not self._work.gone:
                self._transport.send(replies.data(rid, data) if data else replies.status_eof(rid))
        except Exception as error:
            if not self._work.gone:
                self._fail(rid, error, None, (operation.file,))
        finally:
            operation.finish()
            self._work.settle(size)

    def write(self, view: memoryview, position: int, end: int) -> bool:
        """WRITE: the packet from `position` to `end`; False if it is left for later."""
        start = position + _IO_HEADER_BYTES
        if end < start or view[position + 12] != c.HANDLE_BYTES:
            self._odd(c.WRITE, view, position, end)
            return True
        _, _, rid, hlen, key, offset, size = _IO_HEADER(view, position)
        stop = start + size
        if stop > end:
            self._fail(rid, ProtocolViolation(), None, ())
            return True
        entry = self._files.get(key) if hlen == c.HANDLE_BYTES else None
        if entry is None or not entry.writable:
            text = None if entry is None else "handle is not open for writing"
            self._fail(rid, InvalidHandle(text), None, () if entry is None else (entry,))
            return True
        if offset > MAX_OFFSET - size:
            self._fail(rid, InvalidArgument("invalid write offset"), None, (entry,))
            return True
        if not entry.operations:
            entry.parked = False
            try:
                written = entry.file.write_nowait(offset, view[start:stop])
            except Exception as error:
                self._fail(rid, error, None, (entry,))
                return True
            if written:
                self._transport.send(replies.status_ok(rid))
                return True
        elif entry.parked or (entry.waiting >= WAITING_BYTES and entry.file.in_order):
            entry.parked = True
            self._work.hold()
            return False
        if entry.append:
            # Where the bytes land depends on the writes before, whatever the offset says.
            operation, earlier = entry.barrier()
        else:
            operation, earlier = entry.enter(offset, offset + size, writes=True)
        data = bytes(view[start:stop])
        entry.waiting += size
        self._work.launch(self._write_later(rid, operation, earlier, offset, data), size)
        return True

    async def _write_later(
        self, rid: int, operation: Operation, earlier: list[Operation], offset: int, data: bytes
    ) -> None:
        size = len(data)
        try:
            if earlier:
                await wait_all(earlier)
            await operation.file.file.write(offset, data)
            if not self._work.gone:
                self._transport.send(replies.status_ok(rid))
        except Exception as error:
            if not self._work.gone:
                self._fail(rid, error, None, (operation.file,))
        finally:
            operation.file.waiting -= size
            operation.finish()
            self._work.settle(size)

    def _odd(self, kind: int, view: memoryview, position: int, end: int) -> None:
        """A READ or WRITE whose handle cannot be one of ours, or that is cut short."""
        if end - position < 9:
            raise ProtocolViolation
        rid: int = _U32(view, position + 5)[0]
        try:
            decode(kind, bytes(view[position + 9 : end]))
            self._fail(rid, InvalidHandle(), None, ())
        except ProtocolViolation as error:
            self._fail(rid, error, None, ())
