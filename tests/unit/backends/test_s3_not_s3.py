# SPDX-License-Identifier: Apache-2.0
"""Something that is no S3 answers 200: an error that says so, never an internal one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tidegate.backends.objects.bucket import StorageMisconfigured, Upload
from tidegate.backends.objects.s3 import S3Bucket
from tidegate.backends.objects.s3_options import S3Options
from tidegate.backends.objects.tries import Bounds


async def listed(bucket: S3Bucket) -> None:
    async for _ in bucket.pages("", delimited=True):
        pass


async def uploads(bucket: S3Bucket) -> None:
    async for _ in bucket.uploads(""):
        pass


async def begun(bucket: S3Bucket) -> None:
    await bucket.begin("a", {})


async def parts(bucket: S3Bucket) -> None:
    await bucket.parts(Upload("a", "1"))


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (listed, "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>"),
        (listed, "<ListBucketResult><CommonPrefixes/></ListBucketResult>"),
        (uploads, "<ListMultipartUploadsResult><Upload><Key>a</Key></Upload></ListMultipartUploadsResult>"),
        (begun, "<InitiateMultipartUploadResult/>"),
        (parts, "<ListPartsResult><Part><Size>1</Size></Part></ListPartsResult>"),
    ],
)
async def test_an_answer_without_what_s3_states(
    ask: Callable[[S3Bucket], Awaitable[None]], body: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        options = S3Options(
            bucket="files", region="us-east-1", access_key="k", access_secret="s", endpoint=endpoint
        )
        bucket = S3Bucket(options, Bounds(connect=5, read=5, call=20, tries=1))
        await bucket.open()
        try:
            with pytest.raises(StorageMisconfigured, match="this is no S3"):
                await ask(bucket)
        finally:
            await bucket.close()
