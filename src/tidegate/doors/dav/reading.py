# SPDX-License-Identifier: Apache-2.0
"""OPTIONS, GET and HEAD."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any, Final

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call, etag
from tidegate.doors.dav.content_types import content_type
from tidegate.doors.dav.page import show
from tidegate.doors.dav.request import Rejected, Request
from tidegate.doors.dav.wire import headers, ranges
from tidegate.errors import IsADirectory, NotFound, QuotaExceeded
from tidegate.model import Entry
from tidegate.vfs.api import File, OpenFlags

BUFFER: Final = 256 * 1024
"""Bytes read and sent at once."""

READ: Final = OpenFlags(read=True)

ALLOW: Final = (
    b"OPTIONS, GET, HEAD, POST, PUT, PATCH, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK"
)
CLASSES: Final = b"1, 2, 3, sabredav-partialupdate"
"""Classes of RFC 4918 section 18 that are kept, and extensions."""

_POLICY: Final = (
    b"content-security-policy",
    b"sandbox; default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'",
)
"""Of files: a page that somebody has uploaded runs nothing, and is no page of this server."""


async def options(request: Request) -> None:
    """Say what there is; nobody has to log in for that, as Windows asks before it does."""
    await request.answer(
        200,
        [
            (b"allow", ALLOW),
            (b"dav", CLASSES),
            (b"ms-author-via", b"DAV"),
            (b"accept-ranges", b"bytes"),
            (b"accept-patch", b"application/x-sabredav-partialupdate"),
        ],
    )


async def head(call: Call) -> None:
    """HEAD: as GET, without opening the file."""
    if call.refuses(call.path):
        raise NotFound
    entry = await call.session.stat(call.path)
    if entry.is_dir:
        await show(call, call.path)
        return
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    found = [*describe(call, entry), (b"content-length", str(entry.size).encode())]
    await call.request.begin(200, found)
    await call.request.write(b"", more=False)


async def get(call: Call) -> None:
    """GET: a file or ranges of it; of a directory, its page."""
    request = call.request
    if call.refuses(call.path):
        raise NotFound
    if request.header("range") is not None or preconditions.any_given(call):
        entry = await call.session.stat(call.path)
        if entry.is_file:  # before it is opened: what is not sent is no download
            preconditions.check(call, entry)
            await preconditions.check_if(call, call.condition)
            _wanted(request, entry)
    try:
        file = await call.open(call.path, READ)
    except IsADirectory:
        await show(call, call.path)
        return
    except QuotaExceeded as error:
        raise Rejected(403, error.text, cause=error) from None  # 507 would say that a disk is full
    try:
        try:
            await _send(call, file)
        except BaseException:
            await file.abort()
            raise
        if not file.close_nowait():
            await file.close()
    finally:
        call.done()


async def _send(call: Call, file: File) -> None:
    request = call.request
    entry = await file.stat()
    found = _wanted(request, entry)
    head = describe(call, entry)
    if len(found) > 1:
        await _send_parts(call, file, entry, found, head)
        return
    first, end = found[0] if found else (0, entry.size)
    if found:
        head.append((b"content-range", f"bytes {first}-{end - 1}/{entry.size}".encode()))
    head.append((b"content-length", str(end - first).encode()))
    # The first piece is read before the head is sent: what goes wrong here has a status of its own.
    piece = await _read(file, first, end)
    await request.begin(206 if found else 200, head)
    await _send_range(request, file, first, end, piece)
    if first == end:
        await request.write(b"", more=False)


async def _send_range(
    request: Request, file: File, first: int, end: int, piece: Any, *, more: bool = False
) -> None:
    """Send the bytes from `first` to `end`, of which `piece` is the beginning."""
    while first < end:
        if not piece:  # it has become shorter: what is missing must not look like an end
            request.exchange.abort()
            raise NotFound("the file has become shorter")
        first += len(piece)
        await request.write(piece, more=more or first < end)
        if first < end:  # the loop tells of a full socket, or a client that has gone, in its next round
            await asyncio.sleep(0)
        piece = await _read(file, first, end)


async def _read(file: File, offset: int, end: int) -> Any:
    want = min(BUFFER, end - offset)
    if want <= 0:
        return b""
    # What is sent may lie in the socket's buffer when the next piece is read, so each has memory of its own.
    buffer = bytearray(want)
    got = file.readinto_nowait(offset, [memoryview(buffer)])
    if got is None:
        return await file.read(offset, want)
    if got < want:
        del buffer[got:]
    return buffer


async def _send_parts(
    call: Call,
    file: File,
    entry: Entry,
    found: list[tuple[int, int]],
    head: list[tuple[bytes, bytes]],
) -> None:
    """Several ranges, as multipart/byteranges (RFC 9110 section 14.6)."""
    request, boundary = call.request, secrets.token_hex(16)
    kind = dict(head)[b"content-type"]
    titles = [
        (
            f"--{boundary}\r\nContent-Type: {kind.decode()}\r\n"
            f"Content-Range: bytes {first}-{end - 1}/{entry.size}\r\n\r\n"
        ).encode()
        for first, end in found
    ]
    last = f"--{boundary}--\r\n".encode()
    size = sum(len(title) + end - first + 2 for title, (first, end) in zip(titles, found, strict=True))
    head = [pair for pair in head if pair[0] != b"content-type"]
    head += [
        (b"content-type", f"multipart/byteranges; boundary={boundary}".encode()),
        (b"content-length", str(size + len(last)).encode()),
    ]
    await request.begin(206, head)
    for title, (first, end) in zip(titles, found, strict=True):
        await request.write(title, more=True)
        await _send_range(request, file, first, end, await _read(file, first, end), more=True)
        await request.write(b"\r\n", more=True)
    await request.write(last, more=False)


def _wanted(request: Request, entry: Entry) -> list[tuple[int, int]]:
    """The ranges to send; none for the whole.

    Raises:
        Rejected: none of those asked for lies in the file.
    """
    value = request.header("range")
    if value is None or request.method != "GET":
        return []
    validator = request.header("if-range")
    if validator is not None and not _is_current(validator, entry):
        return []
    try:
        return ranges.byte_ranges(value, entry.size)
    except ranges.NotSatisfiable:
        raise Rejected(
            416, "no such range", headers=[(b"content-range", f"bytes */{entry.size}".encode())]
        ) from None


def _is_current(validator: str, entry: Entry) -> bool:
    """True if If-Range names what is there; a weak tag never does (RFC 9110 section 13.1.5)."""
    if validator.startswith(('"', "W/")):
        return validator == etag(entry)
    return headers.parse_http_date(validator) == entry.mtime_ns // 1_000_000_000


def describe(call: Call, entry: Entry) -> list[tuple[bytes, bytes]]:
    """Headers about a file."""
    return [
        (b"content-type", content_type(entry.name or call.path.name, call.options.types).encode()),
        (b"etag", etag(entry).encode()),
        (b"last-modified", headers.http_date(entry.mtime_ns // 1_000_000_000).encode()),
        (b"accept-ranges", b"bytes"),
        _POLICY,
    ]
