# SPDX-License-Identifier: Apache-2.0
"""Something that is no Cloud Storage answers 200: an error that says so, never an internal one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tidegate.backends.objects.bucket import Stored, Upload
from tidegate.backends.objects.gcs import GcsBucket
from tidegate.backends.objects.gcs_options import GcsOptions
from tidegate.backends.objects.tries import Bounds
from tidegate.errors import StorageFailed


async def listing(bucket: GcsBucket) -> None:
    async for _ in bucket.pages("", delimited=True):
        pass


async def uploads(bucket: GcsBucket) -> None:
    async for _ in bucket.uploads(""):
        pass


async def head(bucket: GcsBucket) -> None:
    await bucket.head("a")


async def put(bucket: GcsBucket) -> None:
    await bucket.put("a", b"x", {})


async def copy(bucket: GcsBucket) -> None:
    await bucket.copy(Stored("a", 1, 0.0, "1"), "b")


async def complete(bucket: GcsBucket) -> None:
    await bucket.complete(Upload("a", "1"), [])


async def get(bucket: GcsBucket) -> None:
    await bucket.get("a", 0, 100)


OBJECT = '{"name": "a", "size": "1", "generation": "1"}'


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (listing, '{"items": [{"name": "a"}]}'),
        (listing, '{"items": {"a": 1}}'),
        (listing, '{"items": [1]}'),
        (listing, '{"prefixes": 7}'),
        (listing, "<html>Welcome</html>"),
        (listing, "[]"),
        (uploads, '{"items": "many"}'),
        (head, "{}"),
        (head, '{"name": "a", "size": "big", "generation": "1"}'),
        (head, '{"name": "a", "size": "1", "generation": "1", "metadata": 3}'),
        (put, OBJECT),
        (copy, '{"rewriteToken": "x"}'),
        (copy, '{"resource": 1}'),
        (complete, OBJECT),
        (get, OBJECT),
    ],
)
async def test_an_answer_without_what_the_service_states(
    ask: Callable[[GcsBucket], Awaitable[None]], body: str
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
        bucket = GcsBucket(GcsOptions(bucket="files", endpoint=endpoint), Bounds(call=20, tries=1))
        await bucket.open()
        try:
            with pytest.raises(StorageFailed) as caught:
                await ask(bucket)
            assert caught.value.detail
        finally:
            await bucket.close()
