# SPDX-License-Identifier: Apache-2.0
"""Requests to Azure Blob: connections and credentials of its library, tries, pauses and bounds of ours.

The library (azure-storage-blob) authorizes and sends. Its methods are not used: they repeat requests of their
own accord, split what they read and write as they see fit, and take 150 ms of the event loop for a listing of
1,000 names. What a lost answer means depends on the request, so only one place may repeat one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

import aiohttp
from azure.core.exceptions import AzureError
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobSasPermissions, generate_blob_sas
from azure.storage.blob.aio import ContainerClient
from typing_extensions import Buffer

from tidegate.backends.objects.azure_errors import answered, passes, reply_of, unanswered
from tidegate.backends.objects.azure_options import AzureOptions
from tidegate.backends.objects.proxies import proxy_for
from tidegate.backends.objects.s3_body import Body
from tidegate.backends.objects.tries import Bounds, Failed
from tidegate.errors import StorageFailed, TidegateError
from tidegate.model.secrets import open_secret

CONNECTIONS: Final = 64
"""Connections of one client; further requests wait for one."""
ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Longest list, of blobs or of blocks: 150,000 blocks at most."""
ERROR_BYTES: Final = 1024 * 1024
"""Longest answer that is an error."""
PIECE_BYTES: Final = 256 * 1024
"""Bytes that are read from a connection at once."""
SOURCE_SECONDS: Final = 3600
"""Life of the signature with which the service reads the source of a copy."""
SCOPE: Final = "https://storage.azure.com/.default"
"""The scope that tokens are asked for."""

logging.getLogger("azure").setLevel(logging.ERROR)  # else it tells of requests, and of tries that failed


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        operation: its name in the REST reference, without spaces.
        method: of HTTP.
        blob: name of a blob; empty for the container.
        query: parameters of the URL.
        headers: besides those that every request has.
        body: the content.
        most: bytes that the answer's body may have.
        seconds: bound in place of `Bounds.call`; 0 for that.
    """

    operation: str
    method: str
    blob: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Buffer | None = None
    most: int = ANSWER_BYTES
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request that succeeded.

    Attributes:
        status: of HTTP.
        headers: names in lower case.
        body: all of it.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def stated(self, name: str) -> str:
        """A header that every such answer has.

        Raises:
            StorageFailed: it is missing: something that is no Azure Blob has answered.
        """
        try:
            return self.headers[name]
        except KeyError:
            raise StorageFailed(detail=f"an answer without {name}: this is no Azure Blob") from None


class AzureClient:
    """Requests to one container. Life: constructed (pure), `open`, used, `close`.

    Args:
        options: of the record.
        bounds: of requests.
    """

    def __init__(self, options: AzureOptions, bounds: Bounds) -> None:
        self.options = options
        self.place = options.place()
        self._bounds = bounds
        self._base = f"{self.place.account_url}/{self.place.container}"
        self._sas = options.sas
        self._client: Any = None
        self._pipeline: Any = None
        self._credential: Any = None

    async def open(self) -> None:
        """Make the library's client; asks nobody.

        Raises:
            TidegateError: the options do not fit.
        """
        try:
            context = await asyncio.to_thread(_trusted, self.options.ca_file)
            credential = await asyncio.to_thread(self._find_credential)
        except (AzureError, OSError, ValueError) as error:
            raise unanswered(error, "open") from None
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=proxy_for(self.place.account_url),
        )
        session._retry_connection = False  # noqa: SLF001 - it would repeat a PUT unseen; no public way
        transport = AioHttpTransport(
            session=session,
            connection_timeout=self._bounds.connect,
            read_timeout=self._bounds.read,
            connection_data_block_size=PIECE_BYTES,
        )
        client = ContainerClient(
            self.place.account_url,
            self.place.container,
            credential=credential,
            transport=transport,
            retry_total=0,
            permit_redirects=False,
            user_agent="tidegate",
        )
        self._client, self._pipeline = client, client._pipeline  # noqa: SLF001 - no public way to send

    async def close(self) -> None:
        """Close its connections."""
        client, self._client, self._pipeline = self._client, None, None
        if client is not None:
            await client.close()
        credential, self._credential = self._credential, None
        if credential is not None:
            await credential.close()

    async def call(self, request: Request) -> Answer:
        """The answer.

        Raises:
            Failed: the last error.
        """
        tries, code = 0, ""
        try:
            async with asyncio.timeout(request.seconds or self._bounds.call):
                while True:
                    tries += 1
                    try:
                        answer = await self._send(request)
                    except (AzureError, aiohttp.ClientError, OSError) as error:
                        code = ""
                        if tries >= self._bounds.tries or not passes(error):
                            raise
                    else:
                        if answer.status < 300:
                            return answer
                        reply = reply_of(request.operation, answer.status, answer.headers, answer.body)
                        code = reply.code
                        if tries >= self._bounds.tries or not reply.may_try_again:
                            raise Failed(answered(reply, self.options, self.place), code, tries)
                    await asyncio.sleep(self._bounds.pause_after(tries))
        except TidegateError as error:
            raise Failed(error, code, tries) from None
        except (AzureError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Failed(unanswered(error, request.operation), "", tries) from None

    async def _send(self, request: Request) -> Answer:
        pipeline = self._pipeline
        if pipeline is None:
            raise StorageFailed(detail="the storage is closed")
        content: Any = None
        if request.body is not None and memoryview(request.body).nbytes:
            content = Body(request.body)  # as bytes, aiohttp would copy it twice
        sent = HttpRequest(
            request.method, self._url(request), headers=self._headers(request), content=content
        )
        response = (await pipeline.run(sent, stream=True)).http_response
        try:
            headers = {name.lower(): value for name, value in response.headers.items()}
            body = b"" if request.method == "HEAD" else await _read(response, headers, request)
        finally:
            await response.close()
        return Answer(response.status_code, headers, body)

    def _url(self, request: Request) -> str:
        query = "&".join(part for part in (urlencode(request.query, quote_via=quote), self._sas) if part)
        path = f"/{quote(request.blob, safe='~/')}" if request.blob else ""
        return f"{self._base}{path}{f'?{query}' if query else ''}"

    def _headers(self, request: Request) -> dict[str, str]:
        headers = {"x-ms-version": self._client.api_version, **request.headers}
        if request.method == "PUT":
            size = 0 if request.body is None else memoryview(request.body).nbytes
            headers["Content-Length"] = str(size)
            if size:
                headers["Content-Type"] = "application/octet-stream"  # aiohttp adds it otherwise, unsigned
        return headers

    async def source(self, blob: str) -> dict[str, str]:
        """Headers by which the service reads a blob of this container as the source of a copy."""
        url = f"{self._base}/{quote(blob, safe='~/')}"
        if self._sas:
            return {"x-ms-copy-source": f"{url}?{self._sas}"}
        if self.options.account_key:
            token = generate_blob_sas(
                self.place.account,
                self.place.container,
                blob,
                account_key=open_secret("account_key", self.options.account_key),
                permission=BlobSasPermissions(read=True),
                expiry=datetime.now(UTC) + timedelta(seconds=SOURCE_SECONDS),
            )
            return {"x-ms-copy-source": f"{url}?{token}"}
        try:
            bearer = await self._credential.get_token(SCOPE)
        except AzureError as error:
            raise unanswered(error, "copy") from None
        return {"x-ms-copy-source": url, "x-ms-copy-source-authorization": f"Bearer {bearer.token}"}

    def _find_credential(self) -> Any:
        """The credential for the library; None where the URL authorizes."""
        options = self.options
        if options.sas_url:
            return None
        if options.account_key:
            key = open_secret("account_key", options.account_key)
            return {"account_name": self.place.account, "account_key": key}
        from azure.identity.aio import DefaultAzureCredential

        # Not what belongs to a developer's login: a server starts no programs to find credentials.
        self._credential = DefaultAzureCredential(
            exclude_cli_credential=True,
            exclude_developer_cli_credential=True,
            exclude_powershell_credential=True,
            exclude_visual_studio_code_credential=True,
            exclude_shared_token_cache_credential=True,
        )
        return self._credential


def _trusted(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


async def _read(response: Any, headers: Mapping[str, str], request: Request) -> bytes:
    """The body, of bounded length and whole."""
    most = request.most if response.status_code < 300 else ERROR_BYTES
    told = headers.get("content-length", "")
    if told.isdigit() and int(told) > most:
        raise _too_long(int(told), most)
    pieces: list[bytes] = []
    size = 0
    async for piece in response.iter_raw():
        size += len(piece)
        if size > most:
            raise _too_long(size, most)
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_long(size: int, most: int) -> StorageFailed:
    return StorageFailed(detail=f"{size} bytes come where {most} were asked for")


__all__ = ["ANSWER_BYTES", "Answer", "AzureClient", "Request"]
