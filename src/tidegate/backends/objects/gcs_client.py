# SPDX-License-Identifier: Apache-2.0
"""Requests to Google Cloud Storage: connections, tokens, tries, pauses and bounds."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from tidegate import __version__
from tidegate.backends.objects.gcs_body import Related
from tidegate.backends.objects.gcs_credentials import Tokens
from tidegate.backends.objects.gcs_errors import Refused, may_try_again, reply_of, translate
from tidegate.backends.objects.gcs_options import EMULATOR, UNIVERSE, GcsOptions
from tidegate.backends.objects.proxies import proxy_for
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.errors import StorageFailed, TidegateError

CONNECTIONS: Final = 64
"""Connections of one client; further requests wait for one."""
ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Longest answer without content: 1,000 objects whose metadata are as long as may be have 9 MiB."""
ERROR_BYTES: Final = 64 * 1024

_Errors = (Refused, aiohttp.ClientError, OSError, TidegateError)


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        operation: its name in the API, for instance ``objects.get``.
        method: of HTTP.
        path: of the URL, escaped.
        query: its parameters; None and empty ones are left out.
        body: JSON, or an object with content.
        headers: further ones.
        most: bytes of content that the answer may have; 0 if it is JSON.
        seconds: bound in place of `Bounds.call`; 0 for that.
    """

    operation: str
    method: str
    path: str
    query: Mapping[str, str | int | None] = field(default_factory=dict)
    body: Mapping[str, Any] | Related | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    most: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes:
        status: of HTTP.
        headers: names in any case.
        found: JSON of it; empty with content.
        data: content of it.
        tries: number that it took; after more than one an earlier one may have been carried out.
    """

    status: int
    headers: Mapping[str, str]
    found: Mapping[str, Any]
    data: bytes
    tries: int = 1


class GcsClient:
    """Requests for one record. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
    """

    def __init__(self, options: GcsOptions, bounds: Bounds) -> None:
        self._options = options
        self._bounds = bounds
        emulator = "" if options.endpoint else os.environ.get(EMULATOR, "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        default = f"https://storage.{options.universe_domain or UNIVERSE}"
        self._base = (options.endpoint or emulator or default).rstrip("/")
        given = options.credentials or options.credentials_file or options.automatic_credentials
        self._tokens = Tokens(options, anonymous=bool(emulator) or not given)
        self._proxy: str | None = None
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Find the credentials; asks the service nothing.

        Raises:
            TidegateError: there are none, or the options do not fit.
        """
        await self._tokens.open()
        try:
            trust = await asyncio.to_thread(_trust, self._options)
        except OSError as error:
            raise translate(error, "open", self._options.bucket) from None
        self._proxy = proxy_for(self._base)
        bounds = self._bounds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=trust),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=bounds.connect, sock_read=bounds.read),
            headers={"User-Agent": f"tidegate/{__version__}"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._session._retry_connection = False  # noqa: SLF001 - tries are counted here; no public way

    async def close(self) -> None:
        """Close connections; requests that run fail."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await self._tokens.close()

    async def call(self, request: Request) -> Answer:
        """The answer.

        Raises:
            Failed: the last error.
        """
        tries, renewed = 0, False
        try:
            async with asyncio.timeout(request.seconds or self._bounds.call):
                while True:
                    if self._session is None:
                        error = StorageFailed(detail=f"{request.operation}: the storage is closed")
                        raise Failed(error, "", max(tries, 1))
                    tries += 1
                    headers: Mapping[str, str] = {}
                    try:
                        headers = await self._tokens.headers()
                        return await self._send(request, headers, tries)
                    except _Errors as error:
                        status = error.reply.status if isinstance(error, Refused) else 0
                        if status == 401 and not renewed and await self._tokens.renew(headers):
                            renewed = True
                            continue
                        if tries >= self._bounds.tries or not may_try_again(error):
                            raise
                    await asyncio.sleep(self._bounds.pause_after(tries))
        except (*_Errors, ValueError) as error:
            code = str(error.reply.status) if isinstance(error, Refused) else ""
            raise Failed(translate(error, request.operation, self._options.bucket), code, tries) from None

    async def _send(self, request: Request, token: Mapping[str, str], tries: int) -> Answer:
        session = self._session
        if session is None:  # it was closed while a token was fetched
            raise aiohttp.ClientConnectionError("the storage is closed")
        query = {name: str(value) for name, value in request.query.items() if value not in {None, ""}}
        if self._options.user_project:
            query["userProject"] = self._options.user_project
        url = f"{self._base}{request.path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        headers = {"Accept-Encoding": "gzip" if request.most else "identity", **token, **request.headers}
        data: Any = None
        if isinstance(request.body, Related):
            data = request.body.again()
            headers["Content-Type"] = data.related
        elif request.body is not None:
            data = json.dumps(request.body).encode()
            headers["Content-Type"] = "application/json; charset=UTF-8"
        async with session.request(
            request.method,
            URL(url, encoded=True),
            data=data,
            headers=headers,
            allow_redirects=False,
            proxy=self._proxy,
        ) as answer:
            date = answer.headers.get("Date")
            if not 200 <= answer.status < 300:
                body = await answer.content.read(ERROR_BYTES)
                raise Refused(reply_of(request.operation, answer.status, body, date))
            if request.most:
                length = answer.content_length
                if length is None or length > request.most:  # without one it could be endless
                    said = f"{length} bytes come where {request.most} were asked for"
                    raise aiohttp.ClientPayloadError(said)
                return Answer(answer.status, answer.headers, {}, await answer.read(), tries)
            body = await _bounded(answer)
            found = json.loads(body) if body.strip() else {}
            if found is None:  # emulators send null for an empty answer
                found = {}
            if not isinstance(found, dict):
                raise aiohttp.ClientPayloadError("the answer is no JSON object")
            return Answer(answer.status, answer.headers, found, b"", tries)


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    if (answer.content_length or 0) > ANSWER_BYTES:
        raise aiohttp.ClientPayloadError("the answer is too long")
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("the answer is too long")
        pieces.append(piece)
    return b"".join(pieces)


def _trust(options: GcsOptions) -> ssl.SSLContext | bool:
    return False if options.skip_tls_verify else ssl.create_default_context(cafile=options.ca_file or None)
