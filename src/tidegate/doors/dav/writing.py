# SPDX-License-Identifier: Apache-2.0
"""PUT, PATCH and MKCOL."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import zlib
from typing import Any, Final

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call, etag
from tidegate.doors.dav.request import Rejected
from tidegate.doors.dav.wire import headers, ranges
from tidegate.doors.dav.wire.paths import is_collection_address
from tidegate.errors import (
    AlreadyExists,
    IsADirectory,
    NotADirectory,
    NotFound,
    QuotaExceeded,
    TidegateError,
)
from tidegate.model import Attrs, Entry, VPath
from tidegate.vfs.api import File, OpenFlags

SMALL: Final = 64 * 1024
"""A body up to so many bytes is received before its file is opened; a new file is then written at once."""
GATHER: Final = 128 * 1024
"""Bytes that are gathered before storage is asked to take them."""

MAX_DIGITS: Final = 18
"""Of X-Expected-Entity-Length."""

NEW: Final = OpenFlags(write=True, create=True, exclusive=True)
REPLACE: Final = OpenFlags(write=True, create=True, truncate=True, atomic=True)
UPDATE: Final = OpenFlags(write=True)
PARTIAL_TYPE: Final = "application/x-sabredav-partialupdate"


# -- PUT ---------------------------------------------------------------------------------------------------


async def put(call: Call) -> None:
    """PUT: what is there keeps its content until all of the new one has come."""
    request = call.request
    if request.header("content-range") is not None:
        raise Rejected(400, "PUT with Content-Range is not taken (RFC 9110 section 14.5); PATCH is")
    if is_collection_address(request.raw_path):
        raise Rejected(409, "a file's address does not end in /")
    if call.refuses(call.path):
        raise Rejected(403, "files of this name are not taken here")
    conditional = preconditions.any_given(call)
    if not conditional and 0 <= request.length <= SMALL and not _special(call):
        data = await request.body(SMALL)
        if await _put_new(call, data):
            return
        await _put(call, data, None)
        return
    entry = None
    if conditional:
        entry = await call.entry()
        preconditions.check(call, entry)
        await preconditions.check_if(call, call.condition)
    await _has_room(call)
    await _put(call, None, entry)


_SPECIAL: Final = frozenset((b"x-oc-mtime", b"oc-checksum"))


def _special(call: Call) -> bool:
    return call.request.has_any(_SPECIAL)


async def _put_new(call: Call, data: bytes) -> bool:
    """Store a body that has come whole as a new file; False if that takes more than a moment."""
    call.may_begin()
    file = call.session.open_nowait(call.path, NEW)
    if file is None:
        return False
    try:
        if data and not file.write_nowait(0, data):
            await file.write(0, data)
        entry = await file.stat()
        if not file.close_nowait():
            await file.close()
    except BaseException:
        await file.abort()
        raise
    await call.request.answer(201, stored(call, entry))
    return True


async def _put(call: Call, data: bytes | None, entry: Entry | None) -> None:
    """Store a body, `data` if it has come already, in the place of what is there.

    Args:
        call: the request.
        data: the body; None reads it.
        entry: what conditions were judged by.
    """
    if call.request.header("if-match") is None and call.request.header("if-none-match") is None:
        entry = await entry_before(call)
    try:
        file = await call.open(call.path, REPLACE)
    except (NotFound, NotADirectory) as error:
        raise Rejected(409, "there is no directory to put it in", cause=error) from None
    file.announced = max(call.request.length, 0)
    try:
        try:
            kept = await _receive(call, file, data)
            entry_now = await file.stat()
            async with publishing(call, entry):
                await file.close()
        except BaseException:
            await file.abort()
            raise
    finally:
        call.done()
    more = [(b"x-oc-mtime", b"accepted")] if kept else []
    await call.request.answer(201 if entry is None else 204, [*stored(call, entry_now), *more])


async def entry_before(call: Call) -> Entry | None:
    """The entry before an upload, for the status of the answer."""
    try:
        entry = await call.entry()
    except TidegateError:  # who may upload and not look is not told
        return None
    if entry is not None and entry.is_dir:
        raise IsADirectory
    return entry


@contextlib.asynccontextmanager
async def publishing(call: Call, entry: Entry | None) -> Any:
    """Judge tags once more at the last moment, one upload of a place after the other.

    Two uploads that were both judged by the same old content must not both be taken.

    Raises:
        Rejected: what is there is not what was judged.
    """
    request = call.request
    if request.header("if-match") is None and request.header("if-none-match") is None:
        yield
        return
    async with call.turns.of(call.session.location(call.path)):
        now = await call.entry()
        if (now is None) is not (entry is None) or (
            now is not None and entry is not None and etag(now) != etag(entry)
        ):
            raise Rejected(412, "it was changed meanwhile")
        yield


async def _receive(call: Call, file: File, data: bytes | None) -> bool:
    """Write the body and check it; returns whether a time of modification was set."""
    request = call.request
    digest = _digest(request.header("oc-checksum"))
    offset = 0
    if data is not None:
        await write(file, 0, data)
        offset = len(data)
    else:
        offset = await receive(call, file, 0, digest)
    expected = _expected(call)
    if expected is not None and expected != offset:
        raise Rejected(400, f"{offset} bytes came, X-Expected-Entity-Length says {expected}")
    if digest is not None and digest.wrong:
        raise Rejected(400, "the body does not have the checksum that OC-Checksum says")
    when = headers.unix_time_ns(request.header("x-oc-mtime") or "")
    if when is not None:
        await file.set_attrs(Attrs(atime_ns=when, mtime_ns=when))
    return when is not None


async def receive(call: Call, file: File, offset: int, digest: _Digest | None = None) -> int:
    """Write a body as it comes, from `offset` on; returns the offset behind its last byte."""
    waiting: list[bytes] = []
    size = 0
    async for piece in call.request.pieces():
        if digest is not None:
            digest.update(piece)
        waiting.append(piece)
        size += len(piece)
        if size >= GATHER:
            offset = await write(file, offset, waiting[0] if len(waiting) == 1 else b"".join(waiting))
            waiting, size = [], 0
            await asyncio.sleep(0)  # a body that always waits already would keep others from running
    if waiting:
        offset = await write(file, offset, b"".join(waiting))
    return offset


async def write(file: File, offset: int, data: bytes) -> int:
    """Write at an offset; returns the one behind the last byte."""
    if data and not file.write_nowait(offset, data):
        await file.write(offset, data)
    return offset + len(data)


def stored(call: Call, entry: Entry) -> list[tuple[bytes, bytes]]:
    """Headers about what was stored; the tag where it stays as it is once the file is published."""
    if call.session.overlaps:
        return []
    tag = etag(entry).encode()
    return [(b"etag", tag), (b"oc-etag", tag)]


async def _has_room(call: Call) -> None:
    """Refuse what cannot fit before it is sent; what cannot be told is judged while it comes.

    Raises:
        QuotaExceeded: it is longer than the room there is.
    """
    request = call.request
    length = request.length
    if length < 0:
        length = _expected(call) or 0
    await fits(call, call.path, length)


async def fits(call: Call, path: VPath, length: int) -> None:
    """Refuse so many bytes at a path if there is no room for them, as far as that can be told.

    Raises:
        QuotaExceeded: it is longer than the room there is.
    """
    if length <= SMALL:
        return
    try:
        space = await call.session.space(path.parent)
        old = await call.entry(path)
    except TidegateError:
        return
    if length > space.free + (old.size if old is not None and old.is_file else 0):
        raise QuotaExceeded(f"{space.free} bytes are free")


def _expected(call: Call) -> int | None:
    """The length that Finder announces; None if it does not.

    Raises:
        Rejected: it is longer than any file.
    """
    value = call.request.header("x-expected-entity-length") or ""
    if not (value.isascii() and value.isdigit()):
        return None
    if len(value) > MAX_DIGITS:
        raise Rejected(413, "X-Expected-Entity-Length: no file is that long")
    return int(value)


class _Digest:
    """The checksum of a body while it comes."""

    def __init__(self, name: str, wanted: str) -> None:
        self._wanted = wanted.strip().lower()
        self._adler = 1
        self._hash = None if name == "adler32" else hashlib.new(name, usedforsecurity=False)

    def update(self, data: bytes) -> None:
        """More of the body."""
        if self._hash is None:
            self._adler = zlib.adler32(data, self._adler)
        else:
            self._hash.update(data)

    @property
    def wrong(self) -> bool:
        """True if it is not the one that was announced."""
        found = f"{self._adler:08x}" if self._hash is None else self._hash.hexdigest()
        return found != self._wanted


_DIGESTS: Final[dict[str, str]] = {
    "md5": "md5",
    "sha1": "sha1",
    "sha256": "sha256",
    "sha3-256": "sha3_256",
    "adler32": "adler32",
}


def _digest(value: str | None) -> _Digest | None:
    """The checksum that OC-Checksum announces; None without one, or for an algorithm that is not known."""
    name, colon, wanted = (value or "").partition(":")
    algorithm = _DIGESTS.get(name.strip().lower())
    return _Digest(algorithm, wanted) if colon and algorithm else None


# -- PATCH -------------------------------------------------------------------------------------------------


async def patch(call: Call) -> None:
    """PATCH: bytes in the middle or at the end of a file (SabreDAV's partial update)."""
    request = call.request
    if request.address is not None and (wanted_sum := request.header("x-recalculate-hash")) is not None:
        await _summed(call, wanted_sum)
        return
    kind = (request.header("content-type") or "").partition(";")[0].strip().lower()
    if kind != PARTIAL_TYPE:
        raise Rejected(
            415, f"PATCH: expected {PARTIAL_TYPE}", headers=[(b"accept-patch", PARTIAL_TYPE.encode())]
        )
    if request.length < 0:
        raise Rejected(411, "PATCH: expected Content-Length")
    wanted = ranges.update_range(request.header("x-update-range") or "")
    if wanted is None:
        raise Rejected(400, "X-Update-Range: expected bytes=first-last, bytes=first-, bytes=-last or append")
    entry = await call.session.stat(call.path)
    if entry.is_dir:
        raise IsADirectory
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    file = await call.open(call.path, UPDATE)
    try:
        try:
            size = (await file.stat()).size
            start = _start(wanted, size, request.length)
            await receive(call, file, start)
            now = await file.stat()
            await file.close()
        except BaseException:
            await file.abort()
            raise
    finally:
        call.done()
    await request.answer(204, stored(call, now))


async def _summed(call: Call, name: str) -> None:
    """Tell a checksum of a file, which newer clients of Nextcloud ask for after an upload."""
    name = name.strip().lower()
    if name not in _SUMS:
        raise Rejected(400, f"X-Recalculate-Hash: {', '.join(_SUMS)} are known")
    entry = await call.session.stat(call.path)
    if entry.is_dir:
        raise IsADirectory
    found = (await call.session.checksum(call.path, name))[0].hex()
    await call.request.answer(204, [(b"oc-checksum", f"{name.upper()}:{found}".encode())])


_SUMS: Final = ("md5", "sha1", "sha256", "sha512")


def _start(wanted: tuple[int | None, int | None], size: int, length: int) -> int:
    """The offset that an update begins at.

    Raises:
        Rejected: there is a hole before it, or it is not as long as the body.
    """
    first, end = wanted
    start = size if first is None else first if first >= 0 else size + first
    if start < 0 or start > size or (end is not None and end - start != length):
        raise Rejected(416, "no such range", headers=[(b"content-range", f"bytes */{size}".encode())])
    return start


# -- MKCOL -------------------------------------------------------------------------------------------------


async def mkcol(call: Call) -> None:
    """MKCOL: one directory (RFC 4918 section 9.3)."""
    request = call.request
    if request.has_body:
        raise Rejected(415, "MKCOL: bodies are not understood")
    if call.refuses(call.path):
        raise Rejected(403, "directories of this name are not taken here")
    if preconditions.any_given(call):
        preconditions.check(call, await call.entry())
        await preconditions.check_if(call, call.condition)
    if call.path == "/":
        raise Rejected(405, "there is something at this address already")
    try:
        await call.session.mkdir(call.path)
    except AlreadyExists as error:
        raise Rejected(405, "there is something at this address already", cause=error) from None
    except (NotFound, NotADirectory) as error:
        raise Rejected(409, "there is no directory to put it in", cause=error) from None
    await request.answer(201)
