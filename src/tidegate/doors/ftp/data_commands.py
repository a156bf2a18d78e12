# SPDX-License-Identifier: Apache-2.0
"""Commands on data connections and what goes over them: transfers and listings."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.doors.ftp import status, transfers
from tidegate.doors.ftp.conversation import Conversation, Rejected
from tidegate.doors.ftp.data import DataConnection, DataFailed
from tidegate.doors.ftp.options import Reuse
from tidegate.doors.ftp.ways import Passive, Way, connected
from tidegate.doors.ftp.wire import replies
from tidegate.errors import Conflict, InvalidArgument, PeerGone, PeerLimit, TidegateError
from tidegate.model import VPath
from tidegate.vfs import eager
from tidegate.vfs.api import File, OpenFlags

log = logging.getLogger(__name__)

READ: Final = OpenFlags(read=True)

UNIQUE_TRIES: Final = 5
"""Names that STOU tries."""

ARRIVE_SECONDS: Final = 1.0
"""Seconds that an upload waits for its data connection before it says that it may come."""


# -- a transfer --------------------------------------------------------------------------------------------


def check_way(c: Conversation) -> None:
    """Check that there is a way for the next data connection, before work is done for it.

    Raises:
        Rejected: there is none, or it would be in the clear where that is not allowed.
    """
    c.files  # noqa: B018  nobody is told who is not logged in
    if c.next.way is None:
        raise Rejected(425, "Say first where the data goes: PASV, EPSV, PORT or EPRT.")
    if c.wants_protected and not c.protects:
        raise Rejected(522, "This server wants data connections protected: PROT P.")


def data_way(c: Conversation) -> Way:
    """Take the way of the next data connection.

    Raises:
        Rejected: as `check_way`; or its time was up meanwhile.
    """
    check_way(c)
    way = c.next.take_way()
    if way is None:
        raise Rejected(425, "The port of the data connection is closed by now.")
    if isinstance(way, Passive) and way.early is not None:
        c.hellos.look(way.early)
    return way


async def open_data(c: Conversation, way: Way, *, sends: bool) -> DataConnection:
    """The data connection; `sends` says that bytes go to the client.

    Raises:
        DataFailed: it did not come about.
    """
    if isinstance(way, Passive) and way.early is not None:
        way.early.sends = sends
        return await way.early.connection(c.options.data_seconds)
    sock = await connected(way, c.options.data_seconds, c.door.ledger.descriptors)
    data = DataConnection(sock, c.options.stall_seconds, c.activity.touch)
    if c.protects and c.tls_context is not None:
        try:
            await data.secure(
                c.tls_context, tickets=lambda: sends, require_reuse=c.binding.session_reuse is Reuse.REQUIRE
            )
        except BaseException:
            data.abort()
            raise
    return data


def begin(c: Conversation, work: Awaitable[None], name: str, way: Way | None = None) -> None:
    """Have a transfer going on; commands are taken meanwhile. `way` is closed when it ends."""

    async def run() -> None:
        try:
            await work
        except Rejected as error:
            await c.reply(error.code, error.text)
        except DataFailed as error:
            await c.reply(error.code, f"{error}.")
        except asyncio.CancelledError:
            if not c.quitting:
                c.control.send_nowait(replies.reply(426, "The transfer was ended."))
            raise
        except TidegateError as error:
            await c.control.send(status.reply(error))
        except Exception:
            log.exception("%s: %s failed", c.peer.connection_id, name)
            await c.control.send(status.internal())
        finally:
            if way is not None:
                way.close()

    # A small file of a local disk is sent at once.
    task, _ = eager.start(run(), asyncio.get_running_loop())
    if task is None:
        c.settle_handles()
        return
    c.transfer = task
    task.add_done_callback(c.transfer_over)


def _check_begin(c: Conversation) -> None:
    if c.door.draining:
        raise Conflict("server is shutting down")
    if c.handles is not None:
        rule = c.handles.full()
        if rule:
            raise PeerLimit(f"too many open files ({rule})")
        c.handles.set(1)


async def retr(c: Conversation, argument: str) -> None:
    """RETR."""
    session, path = c.files, c.path(argument)
    offset, end = c.next.offset, c.next.end
    c.next.offset, c.next.end = 0, None
    way = data_way(c)
    try:
        _check_begin(c)
        file = session.open_nowait(path, READ)
        if file is None:
            file = await session.open(path, READ)
    except TidegateError as error:
        way.close()
        await c.failed("download", path, error)
        return
    exchange = file.exchange = c.exchange
    try:
        size = (await file.stat()).size
        if offset > size:
            raise Rejected(554, f"The file has {size} bytes.")
    except BaseException:
        way.close()
        await file.abort()
        raise

    async def work() -> None:
        try:
            await c.reply(150, f"Opening the data connection for {argument} ({size - offset} bytes).")
            data = await open_data(c, way, sends=True)
            try:
                await transfers.download(file, data, offset, end, binary=c.binary)
            except BaseException:
                data.abort()
                raise
            await _closed(c, file, "Sent.")
        except TidegateError as error:
            await file.abort()
            await c.failed_later(exchange, "download", path, error)
            return
        except BaseException as error:
            c.broke(exchange, error)
            await file.abort()
            raise
        await c.control.drained()

    begin(c, work(), "download", way)


async def stor(c: Conversation, argument: str) -> None:
    """STOR, from the offset of REST on."""
    offset = c.next.offset
    # Nothing is created behind an offset: there would be a hole.
    flags = OpenFlags(write=True, create=not offset, truncate=not offset)
    await _store(c, _target(c, argument), flags, offset)


async def appe(c: Conversation, argument: str) -> None:
    """APPE: at the end of what is there."""
    await _store(c, _target(c, argument), OpenFlags(write=True, create=True), None)


async def stou(c: Conversation, argument: str) -> None:
    """STOU: under a name that nothing has; the first reply names it (RFC 1123 section 4.1.2.9)."""
    wanted = c.path(argument or "ftp")
    flags = OpenFlags(write=True, create=True, exclusive=True)
    for _ in range(UNIQUE_TRIES):
        path = wanted.parent.child(f"{wanted.name or 'ftp'}.{secrets.token_hex(4)}")
        try:
            await c.files.stat(path, follow=False)
        except TidegateError:
            await _store(c, path, flags, 0, opening=f"FILE: {path.name}")
            return
    raise Rejected(450, "No unused name was found.")


def _target(c: Conversation, argument: str) -> VPath:
    if argument.endswith("/"):
        raise InvalidArgument("a file's name does not end in /")
    return c.path(argument)


async def _store(
    c: Conversation, path: VPath, flags: OpenFlags, offset: int | None, opening: str = ""
) -> None:
    c.next.offset, c.next.end = 0, None
    way = data_way(c)
    try:
        _check_begin(c)
    except TidegateError as error:
        way.close()
        await c.failed("upload", path, error)
        return
    exchange = c.exchange

    async def work() -> None:
        data: DataConnection | None = None
        file: File | None = None
        try:
            # A file that is opened before there is anything to write would be emptied for nothing. Nearly
            # every client connects before it sends the command; who waits for the reply gets it.
            there = await way.arrives(ARRIVE_SECONDS)
            if not there:
                await c.reply(150, opening or f"Opening the data connection for {path.name}.")
            elif isinstance(way, Passive) and way.early is not None:
                await c.hellos.wait(way.early, c.options.data_seconds)
            if not there or way.settled:
                data = await open_data(c, way, sends=False)
            file, start = await _opened_to_write(c, path, flags, offset)
            file.exchange = exchange
            if there:
                await c.reply(150, opening or f"Opening the data connection for {path.name}.")
            if data is None:
                data = await open_data(c, way, sends=False)
            await transfers.upload(file, data, start, binary=c.binary)
            await _closed(c, file, "Stored.")
        except TidegateError as error:
            await _abandoned(data, file)
            await c.failed_later(exchange, "upload", path, error)
            return
        except BaseException as error:
            c.broke(exchange, error)
            await _abandoned(data, file)
            if file is None and isinstance(error, DataFailed):
                c.files.answers(exchange)
                c.files.failed("upload", path, PeerGone(str(error)))
            raise
        await c.control.drained()

    begin(c, work(), "upload", way)


async def _opened_to_write(
    c: Conversation, path: VPath, flags: OpenFlags, offset: int | None
) -> tuple[File, int]:
    """The file of an upload, and where it begins; `offset` None is behind what is there.

    Raises:
        TidegateError: it cannot be opened.
        Rejected: there would be a hole.
    """
    file = c.files.open_nowait(path, flags)
    if file is None:
        file = await c.files.open(path, flags)
    if offset == 0:
        return file, 0
    try:
        size = (await file.stat()).size
        if offset is not None and offset > size:
            raise Rejected(554, f"The file has {size} bytes: what is between would be missing.")
    except BaseException:
        await file.abort()
        raise
    return file, size if offset is None else offset


async def _abandoned(data: DataConnection | None, file: File | None) -> None:
    """Give up what an upload had open, so that nothing of it counts."""
    if data is not None:
        data.abort()
    if file is not None:
        await file.abort()


async def _closed(c: Conversation, file: File, text: str) -> None:
    """Publish an upload, or settle a download, and say so; from here on the client's end does not stop that.

    Who was told may still not read; `Control.drained` waits for that.
    """
    later: list[Callable[[], object]] = []
    c.committing = True
    try:
        if not file.close_nowait(later):
            await file.close()
    finally:
        c.committing = False
    try:
        c.control.send_nowait(replies.reply(226, text))
    finally:
        for settle in later:  # the client need not wait for that
            settle()


async def abor(c: Conversation, argument: str) -> None:  # noqa: ARG001
    """ABOR: ends the transfer, if one is going on (426, then 226)."""
    transfer = c.transfer
    c.next.forget()
    if transfer is None:
        await c.reply(225, "Nothing to end.")
        return
    c.aborting = True
    try:
        await c.stop_transfer()
    finally:
        c.aborting = False
    await c.reply(226, "Ended.")
