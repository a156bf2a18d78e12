# SPDX-License-Identifier: Apache-2.0
"""Reading of forms, with bounds."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import parse_qsl

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from tidegate.errors import BadRecord, StorageFailed, StorageFull, TooLarge

MAX_FORM_BYTES: Final = 1024 * 1024
"""Longest body of a form."""
MAX_FIELDS: Final = 5_000
"""Fields of a form."""
FORM_SECONDS: Final = 30.0
"""Seconds that a form may take to arrive; of a form with a file each piece of it."""
MAX_UPLOAD_FIELDS: Final = 50
"""Fields of a form with a file."""
TOKEN: Final = "_token"  # noqa: S105  the name of a field
"""Field with the token of `sessions.form_token`; scripts send it in the header `TOKEN_HEADER`."""
TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form.

    Attributes:
        name: as the browser calls it; anything may stand in it.
        size: bytes.
        file: its content, from the beginning; gone when it is closed.
    """

    name: str
    size: int
    file: BinaryIO


class Form(Mapping[str, str]):
    """Fields of a form. A field that was not sent is the empty text.

    Args:
        pairs: names and values as sent.
        upload: the file that was sent with them.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]] = (), upload: Upload | None = None) -> None:
        self._upload = upload
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> str:
        """The first value of a field, empty if there is none."""
        return self._values.get(name, [""])[0]

    def __iter__(self) -> Iterator[str]:
        """Names that were sent."""
        return iter(self._values)

    def __len__(self) -> int:
        """The number of names."""
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        """True if a field was sent."""
        return name in self._values

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return list(self._values.get(name, ()))

    def text(self, name: str) -> str:
        """A value without blanks around it, line ends as LF."""
        return self[name].replace("\r\n", "\n").strip()

    def number(self, name: str, *, label: str = "") -> int:
        """A whole number, 0 if the field is empty.

        Raises:
            BadRecord: it is none.
        """
        text = self.text(name).replace(",", "").replace("_", "")
        if not text:
            return 0
        if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 19:
            raise BadRecord(label or name, f"{self.text(name)[:40]!r} is no whole number")
        return int(text)

    def take_upload(self) -> Upload | None:
        """The file of the form, which the caller closes; None if none was sent."""
        upload, self._upload = self._upload, None
        return upload

    def close(self) -> None:
        """Drop the file, unless somebody has taken it."""
        upload = self.take_upload()
        if upload is not None:
            upload.file.close()

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values, for a form that is shown again."""
        return [(name, value) for name, values in self._values.items() for value in values]


async def read_form(request: Request) -> Form:
    """The fields of a request's body (application/x-www-form-urlencoded).

    Raises:
        BadRecord: it is not such a form, or has too many fields.
        TooLarge: it is too long.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadRecord("", "a form is expected (application/x-www-form-urlencoded)")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_FORM_BYTES:
                    raise TooLarge(f"the form is longer than {MAX_FORM_BYTES} bytes")
    except TimeoutError:
        raise BadRecord("", "the form did not arrive in time") from None
    except ClientDisconnect:
        raise BadRecord("", "the form ended too early") from None
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRecord("", f"the form is not UTF-8, or has more than {MAX_FIELDS} fields") from None
    return Form(pairs)


async def read_upload(request: Request) -> Form:
    """The fields and the file of a request's body (multipart/form-data, RFC 7578).

    The file goes to disk as it arrives; the whole body is bounded by the binding (`httpd.max_request_size`).

    Raises:
        BadRecord: it is not such a form, has too many fields, more than one file, or comes too slowly.
        TooLarge: it is too long.
        StorageFull, StorageFailed: the server has no place for it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise BadRecord("", "a form with a file is expected (multipart/form-data)")
    pieces = _in_time(request)
    try:
        found = await MultiPartParser(
            request.headers, pieces, max_files=1, max_fields=MAX_UPLOAD_FIELDS, max_part_size=MAX_FORM_BYTES
        ).parse()
    except MultiPartException as error:
        raise BadRecord("", f"the form cannot be read: {error.message}") from None
    except ClientDisconnect:
        raise BadRecord("", "the form ended too early") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from None
        raise StorageFailed("the file cannot be kept") from error
    finally:
        await pieces.aclose()
    pairs = [(name, value) for name, value in found.multi_items() if isinstance(value, str)]
    upload: Upload | None = None
    for _, part in found.multi_items():
        if isinstance(part, UploadFile):
            # A form without a chosen file has a part without a name.
            if part.filename and upload is None:
                file = part.file
                size = await asyncio.to_thread(file.seek, 0, os.SEEK_END)
                await asyncio.to_thread(file.seek, 0)
                upload = Upload(part.filename, size, file)
            else:
                await part.close()
    return Form(pairs, upload)


async def _in_time(request: Request) -> AsyncGenerator[bytes, None]:
    """The body as it arrives; each piece must come in `FORM_SECONDS`."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(FORM_SECONDS):
                piece = await anext(stream, None)
        except TimeoutError:
            raise BadRecord("", "the form did not arrive in time") from None
        if piece is None:
            return
        yield piece
