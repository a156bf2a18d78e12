# SPDX-License-Identifier: Apache-2.0
"""Reading JSON from requests and writing it to answers, with bounds."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, NoReturn, TypeVar

from fastapi import HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from tidegate.errors import BadRecord
from tidegate.nesting import deeper_than

MAX_DEPTH: Final = 64
"""Levels of nesting of a body; what is valid has half as many."""
MAX_DOCUMENT_BYTES: Final = 1024 * 1024
"""Longest JSON document of one account, folder, administrator or key."""

BODY_SECONDS: Final = 30.0
"""Seconds that a client may take to send a document, or the next piece of a dump."""

_JSON_TYPE: Final = re.compile(r"application/(?:[a-z0-9!#$&^_.+-]+\+)?json")
"""RFC 8259, and suffixes of RFC 6839."""

Model = TypeVar("Model", bound=BaseModel)


class Json(JSONResponse):
    r"""JSON that also carries names that are not UTF-8: their lone surrogates become ``\udcXX`` escapes."""

    def render(self, content: Any) -> bytes:
        """Encode."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def message(message: str, status: int = 200, **headers: str) -> Json:
    """The answer to something that was done."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Json({"message": message, "error": ""}, status, headers=named)


def require_json(request: Request) -> None:
    """Refuse a body that is not said to be JSON: a form of a foreign page cannot send that media type.

    Raises:
        HTTPException: 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not _JSON_TYPE.fullmatch(kind):
        raise HTTPException(415, "the header Content-Type: application/json is needed")


def require_csv(request: Request) -> None:
    """Refuse a body that is not said to be CSV (RFC 7111): likewise.

    Raises:
        HTTPException: 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "text/csv":
        raise HTTPException(415, "the header Content-Type: text/csv is needed")


async def read_csv_text(request: Request, *, limit: int) -> str:
    """The body as a text in UTF-8.

    Raises:
        HTTPException: not said to be CSV (415), too long (413), too slow (408).
        BadRecord: it is no UTF-8.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in pieces(request, require=require_csv):
                body += piece
                if len(body) > limit:
                    raise HTTPException(413, f"the document is longer than {limit} bytes")
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRecord("", "the document is not UTF-8") from None


async def pieces(
    request: Request, *, require: Callable[[Request], None] = require_json
) -> AsyncIterator[bytes]:
    """The body of a request as it arrives; each piece must come in time.

    Args:
        request: to read.
        require: refuses another media type.

    Raises:
        HTTPException: 415 if it does not say that it is JSON, 408, or 400 if the client went away.
    """
    require(request)
    stream = request.stream()
    try:
        while True:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    piece = await anext(stream, None)
            except TimeoutError:
                raise HTTPException(408, "the body did not arrive in time") from None
            except ClientDisconnect:
                raise HTTPException(400, "the body ended too early") from None
            if piece is None:
                return
            if piece:
                yield piece
    finally:
        await stream.aclose()


async def read_json(
    request: Request,
    *,
    limit: int = MAX_DOCUMENT_BYTES,
    require: Callable[[Request], None] = require_json,
) -> Any:
    """The body as parsed JSON.

    Args:
        request: to read.
        limit: most bytes.
        require: refuses another media type.

    Raises:
        HTTPException: not said to be JSON (415), too long (413), too slow (408).
        BadRecord: not JSON.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in pieces(request, require=require):
                body += piece
                if len(body) > limit:
                    raise HTTPException(413, f"the document is longer than {limit} bytes")
    except TimeoutError:
        raise HTTPException(408, "the body did not arrive in time") from None
    if not body:
        raise BadRecord("", "a JSON document is needed, the body is empty")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
        if deeper_than(text, MAX_DEPTH):
            raise BadRecord("", "the JSON document is nested too deep")
        return json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        # Its text may repeat nothing of the body but the place.
        place = (
            f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        )
        raise BadRecord("", f"the body is not JSON{place}") from None


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        HTTPException, BadRecord: as `read_json`, or not an object.
    """
    document = await read_json(request)
    if not isinstance(document, dict):
        raise BadRecord("", "the body should be a JSON object")
    return document


async def read_model(request: Request, model: type[Model]) -> Model:
    """The body as one of `schemas`.

    Raises:
        HTTPException, BadRecord: as `read_json`, or the first field that is wrong; values are not repeated.
    """
    document = await read_object(request)
    try:
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadRecord(where, first["msg"].removeprefix("Value error, ")) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)
