# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts at the addresses of Nextcloud and ownCloud; docs/adr/0080.

MKCOL begins one, PUT sends its parts in order, MOVE of ``.file`` publishes it, DELETE gives it up, and
PROPFIND tells what has come, so that a client can go on. Clients of version 2 name the file in Destination
from the beginning, and it is opened there; others name it with MOVE alone (`vfs.api.Session.open_unnamed`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call, Method
from tidegate.doors.dav.part_uploads import MAX_UPLOADS, PartUpload
from tidegate.doors.dav.request import XML, Rejected, Request
from tidegate.doors.dav.wire import answers, headers, nextcloud, paths
from tidegate.doors.dav.writing import REPLACE, entry_before, fits, publishing, stored
from tidegate.errors import NotADirectory, NotFound, OtherDevice, Unsupported
from tidegate.model import Attrs, Entry, VPath
from tidegate.vfs.api import File

MAX_DIGITS: Final = 18
"""Of OC-Total-Length."""


def _address(request: Request) -> nextcloud.Address:
    assert request.address is not None  # whoever asks for a method here has one
    return request.address


def _upload(call: Call) -> PartUpload:
    """The upload that a request is about.

    Raises:
        Rejected: there is none.
    """
    found = call.client.uploads.get(_address(call.request).upload)
    if found is None:
        raise Rejected(404, "no such upload; one without requests for an hour is given up")
    found.touch()
    return found


def _total(request: Request) -> int:
    """OC-Total-Length; -1 without it.

    Raises:
        Rejected: it is no number.
    """
    value = request.header("oc-total-length")
    if value is None:
        return -1
    if not (value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS):
        raise Rejected(400, "OC-Total-Length: expected a number of bytes")
    return int(value)


async def mkcol(call: Call) -> None:
    """MKCOL: a new upload."""
    request, client = call.request, call.client
    address = _address(request)
    if request.has_body:
        raise Rejected(415, "MKCOL: bodies are not understood")
    if address.part or not address.upload:
        raise Rejected(405, "an upload has parts, and no directories")
    if address.upload in client.uploads:
        raise Rejected(405, "there is an upload of this name already")
    if len(client.uploads) >= MAX_UPLOADS:
        raise Rejected(429, f"{MAX_UPLOADS} uploads in parts are not complete")
    call.may_begin()
    target = request.target() if request.header("destination") else None
    total = _total(request)
    file = await _opened(call, target, total)
    if address.upload in client.uploads:  # begun by another request meanwhile
        await file.abort()
        raise Rejected(405, "there is an upload of this name already")
    PartUpload(client, address.upload, file, target, total)
    await request.answer(201)


async def _opened(call: Call, target: VPath | None, total: int) -> File:
    """The file of an upload, which nobody sees before its end."""
    session = call.session
    if target is None:
        try:
            return await session.open_unnamed(VPath.parse("/" + _address(call.request).upload))
        except Unsupported as error:
            raise Rejected(409, f"{error.text}: Destination has to be sent with MKCOL", cause=error) from None
    if call.refuses(target):
        raise Rejected(403, "files of this name are not taken here")
    await fits(call, target, max(total, 0))
    try:
        file = await session.open(target, REPLACE)
    except (NotFound, NotADirectory) as error:
        raise Rejected(409, "there is no directory to put it in", cause=error) from None
    file.announced = max(total, 0)
    return file


async def put(call: Call) -> None:
    """PUT: a part."""
    request = call.request
    address = _address(request)
    upload = _upload(call)
    name = nextcloud.part_name(address.part)
    if name is None:
        raise Rejected(400, "the name of a part is its number, or the offsets of its first and last byte")
    if name.number > nextcloud.MAX_PARTS:
        raise Rejected(400, f"an upload has {nextcloud.MAX_PARTS} parts at most")
    if upload.total < 0:
        upload.total = _total(request)
    if call.draining():
        call.may_begin()
    new = await upload.put(address.part, name, request.length, request.pieces())
    await request.answer(201 if new else 204)


async def move(call: Call) -> None:
    """MOVE of ``.file``: the upload becomes a file."""
    request = call.request
    upload = _upload(call)
    if _address(request).part != nextcloud.WHOLE:
        raise Rejected(403, f"{nextcloud.WHOLE} is what an upload becomes a file by")
    target = request.target()
    if upload.target is not None and target != upload.target:
        raise Rejected(409, "Destination is another one than the one that the upload began with")
    if call.refuses(target):
        raise Rejected(403, "files of this name are not taken here")
    with upload.held():
        await _become(call, upload, target)


async def _become(call: Call, upload: PartUpload, target: VPath) -> None:
    request = call.request
    total = max(_total(request), upload.total)
    if not upload.whole or (total >= 0 and total != upload.size):
        raise Rejected(400, f"{upload.size} bytes have come, and a part is missing or not whole")
    if (value := request.header("oc-checksum")) and not upload.has_sum(value):
        raise Rejected(400, "what has come does not have the checksum that OC-Checksum says")
    here = replace(call, path=target)
    entry = await entry_before(here)
    preconditions.check(here, entry)
    await preconditions.check_if(here, call.condition)
    try:
        replaces = headers.overwrite(request.header("overwrite"))
    except headers.BadHeader as error:
        raise Rejected(400, str(error)) from None
    if entry is not None and not replaces:
        raise Rejected(412, "there is something at the destination, and Overwrite is F")
    await _publish(here, upload, entry)


async def _publish(call: Call, upload: PartUpload, entry: Entry | None) -> None:
    request, file = call.request, upload.file
    if upload.target is None:
        try:
            await call.session.name(file, call.path)
        except (NotFound, NotADirectory) as error:
            raise Rejected(409, "there is no directory to put it in", cause=error) from None
        except OtherDevice as error:
            text = "the destination is on another storage: Destination has to be sent with MKCOL"
            raise Rejected(409, text, cause=error) from None
    when = headers.unix_time_ns(request.header("x-oc-mtime") or "")
    if when is not None:
        await file.set_attrs(Attrs(atime_ns=when, mtime_ns=when))
    now = await file.stat()
    upload.forget()  # what happens from here on cannot be tried again
    try:
        async with publishing(call, entry):
            await file.close()
    except BaseException:
        await file.abort()
        raise
    more = [(b"x-oc-mtime", b"accepted")] if when is not None else []
    await request.answer(201 if entry is None else 204, [*stored(call, now), *more])


async def delete(call: Call) -> None:
    """DELETE: the upload is given up."""
    upload = _upload(call)
    if _address(call.request).part:
        raise Rejected(403, "a part cannot be taken away from an upload")
    await upload.end()
    await call.request.answer(204)


async def propfind(call: Call) -> None:
    """PROPFIND: the parts that have come whole."""
    request = call.request
    address = _address(request)
    upload = _upload(call)
    if address.part:
        raise Rejected(404, "parts are told by their upload")
    await request.body(_MAX_BODY)
    base = paths.quoted(f"{address.uploads}/{address.upload}/")
    collection = "<D:resourcetype><D:collection/></D:resourcetype>"
    body = [answers.OPEN, answers.response(base, [answers.propstat([collection], 200)])]
    if request.header("depth") != "0":
        for index, (text, part) in enumerate(list(upload.parts.items())):
            if part.whole:
                found = [f"<D:getcontentlength>{part.size}</D:getcontentlength>", "<D:resourcetype/>"]
                body.append(answers.response(base + text, [answers.propstat(found, 200)]))
            if index % _TOLD == _TOLD - 1:
                await asyncio.sleep(0)
    body.append(answers.CLOSE)
    await request.answer(207, [XML], "".join(body).encode())


_TOLD: Final = 500
"""Parts that are told before others have a turn."""
_MAX_BODY: Final = 256 * 1024
"""Bytes of a body of PROPFIND, which changes nothing here."""

METHODS: Final[Mapping[str, tuple[Method, str]]] = {
    "MKCOL": (mkcol, "upload"),
    "PUT": (put, "upload"),
    "MOVE": (move, "upload"),
    "DELETE": (delete, "delete_file"),
    "PROPFIND": (propfind, "stat"),
}
"""As `application.METHODS`, of addresses of uploads."""
