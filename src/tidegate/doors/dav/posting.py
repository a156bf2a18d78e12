# SPDX-License-Identifier: Apache-2.0
"""POST: files that a person drops on the page of a directory (multipart/form-data, RFC 7578).

Requests that pages of other sites make a browser send never come here: the edge refuses them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tidegate.doors.dav import preconditions
from tidegate.doors.dav.call import Call
from tidegate.doors.dav.request import Rejected, Request
from tidegate.doors.dav.writing import REPLACE, write
from tidegate.errors import InvalidPath
from tidegate.model import VPath
from tidegate.vfs.api import File

# It writes a line for each byte that is out of place, which anybody could send without end.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

STEP: Final = 8 * 1024
"""Bytes of a form that are taken apart before others may run."""
MAX_FILES: Final = 1000
"""Files of one form."""


@dataclass(frozen=True, slots=True)
class Begins:
    """A part begins. `name` is that of its file, empty for a field."""

    name: str


@dataclass(frozen=True, slots=True)
class Ends:
    """A part ends."""


@dataclass(slots=True)
class Form:
    """Takes a form apart while it comes.

    Args:
        content_type: of the request.

    Attributes:
        complete: all of it has come.

    Raises:
        ValueError: it is no form with files.
    """

    content_type: str
    complete: bool = False
    _events: deque[Begins | Ends | bytes] = field(default_factory=deque)
    _headers: dict[str, str] = field(default_factory=dict)
    _field: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)
    _parser: MultipartParser = field(init=False)

    def __post_init__(self) -> None:
        kind, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary", b"")
        if kind.lower() != b"multipart/form-data" or not boundary:
            raise ValueError("POST: expected multipart/form-data")
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._header,
                    "on_headers_finished": self._begin,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(Ends()),
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise ValueError(f"POST: {error}") from None

    def feed(self, data: bytes) -> Iterator[Begins | Ends | bytes]:
        """Events of more of the body.

        Raises:
            ValueError: it is no such form.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise ValueError(f"POST: {error}") from None
        while self._events:
            yield self._events.popleft()

    def _header(self) -> None:
        # Names are UTF-8 (RFC 7578 section 5.1), in a header that is read as bytes.
        self._headers[self._field.decode("latin-1").lower()] = self._value.decode("latin-1")
        self._field.clear()
        self._value.clear()

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", ""))
        self._events.append(Begins(options.get(b"filename", b"").decode("utf-8", "replace")))

    def _end(self) -> None:
        self.complete = True


async def post(call: Call) -> None:
    """POST: store the files of a form in the directory, and show it again.

    Files that came whole stay if a later one fails.
    """
    request = call.request
    entry = await call.session.stat(call.path)
    if not entry.is_dir or not request.binding.pages:
        raise Rejected(405, "POST: files are put into directories, from their pages")
    preconditions.check(call, entry)
    await preconditions.check_if(call, call.condition)
    try:
        form = Form(request.header("content-type") or "")
    except ValueError as error:
        raise Rejected(415, str(error)) from None
    stored = await _store(call, request, form)
    if not stored:
        raise Rejected(400, "POST: no file was chosen")
    page = request.href(call.path, collection=True)
    await request.answer(303, [(b"location", page.encode())])


async def _steps(request: Request) -> AsyncIterator[bytes]:
    async for piece in request.pieces():
        for start in range(0, len(piece), STEP):
            yield piece[start : start + STEP]
            await asyncio.sleep(0)


async def _store(call: Call, request: Request, form: Form) -> int:
    file: File | None = None
    offset = stored = 0
    try:
        async for piece in _steps(request):
            try:
                events = list(form.feed(piece))
            except ValueError as error:
                raise Rejected(400, str(error)) from None
            for event in events:
                if isinstance(event, Begins):
                    if event.name:
                        if stored >= MAX_FILES:
                            raise Rejected(413, f"more than {MAX_FILES} files at a time")
                        file, offset = await call.open(_path(call, event.name), REPLACE), 0
                elif isinstance(event, bytes):
                    if file is not None:
                        offset = await write(file, offset, event)
                elif file is not None:
                    done, file = file, None
                    try:
                        await done.close()
                    finally:
                        call.done()
                    stored += 1
        if not form.complete:
            raise Rejected(400, "POST: the form ends in the middle")
    finally:
        if file is not None:
            await file.abort()
            call.done()
    return stored


def _path(call: Call, name: str) -> VPath:
    """The path of a file of the form; browsers of old send whole paths.

    Raises:
        Rejected: it cannot be a name here.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    try:
        path = call.path.child(last)
    except InvalidPath:
        raise Rejected(400, f"POST: {last!r} cannot be the name of a file") from None
    if call.refuses(path):
        raise Rejected(403, "files of this name are not taken here")
    return path
