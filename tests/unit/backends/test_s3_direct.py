# SPDX-License-Identifier: Apache-2.0
"""Requests to S3 past the client library: signed as it signs them, and left to it where they are not understood."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import botocore.auth
import pytest
from botocore import exceptions as b
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tidegate.backends.objects.part_buffer import PartBuffer
from tidegate.backends.objects.s3_direct import Direct
from tidegate.backends.objects.s3_signing import UNSIGNED, Signer, encoded_key, encoded_query
from tidegate.backends.objects.wire import SHORT_BYTES, Connections

KEYS = ("AKEXAMPLE", "secret/+of the test")
SCOPE = "AWS4-HMAC-SHA256 Credential=AKEXAMPLE/20261118/eu-central-1/{}/aws4_request, SignedHeaders=host"


class Frozen:
    access_key, secret_key = KEYS
    token = ""

    async def get_frozen_credentials(self) -> Frozen:
        return self


@pytest.mark.parametrize("key", ["plain", "d/e f/\u00fc~-_.", "a//b/../c", "+&=?#%41"])
@pytest.mark.parametrize("query", [{}, {"uploadId": "a+b/=", "partNumber": "12"}])
@pytest.mark.parametrize("token", ["", "a+token=="])
def test_a_signature_is_that_of_the_library(
    monkeypatch: pytest.MonkeyPatch, key: str, query: dict[str, str], token: str
) -> None:
    moment = dt.datetime(2026, 11, 18, 9, 53, 20, tzinfo=dt.UTC)
    path, asked = f"/bucket/{encoded_key(key)}", encoded_query(query)
    headers = {"host": "127.0.0.1:8333", "content-type": "text/plain", "x-amz-meta-odd": "  two  blanks "}
    theirs = AWSRequest("PUT", f"http://127.0.0.1:8333{path}{'?' if asked else ''}{asked}", data=b"content")
    for name, value in headers.items():
        theirs.headers[name] = value
    if token:
        headers["x-amz-security-token"] = token
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: moment)
    S3SigV4Auth(Credentials(*KEYS, token or None), "s3", "eu-central-1").add_auth(theirs)
    digest = hashlib.sha256(b"content").hexdigest()
    Signer("eu-central-1").sign("PUT", path, asked, headers, digest, KEYS, moment.timestamp())
    assert theirs.headers["X-Amz-Date"] == headers["x-amz-date"] == "20261118T095320Z"
    assert theirs.headers["Authorization"] == headers["authorization"]


Asking = Callable[..., Awaitable[Any]]


@pytest.fixture
async def asking() -> Any:
    """Asks by a `Direct` that has seen a request of each operation; the server answers what it is given."""

    async def no_tls() -> ssl.SSLContext:
        raise AssertionError("TLS is not asked for")

    connections = Connections(4, 30.0, 30.0, no_tls)

    async def ask(answer: bytes, operation: str = "get_object", most: int = 10, **params: Any) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]

            def there(url: str) -> Connections:
                assert url == f"http://127.0.0.1:{port}/b/"
                return connections

            direct = Direct(Frozen(), there)
            seen = {"Authorization": SCOPE.format("s3"), "X-Amz-Content-SHA256": UNSIGNED}
            direct.learn(operation, "a key", f"http://127.0.0.1:{port}/b/a%20key?x=1", seen)
            return await direct.send(operation, {"Bucket": "b", "Key": "k", **params}, None, most)

    yield ask
    await connections.close()


async def test_an_answer_is_read_whole(asking: Asking) -> None:
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\nContent-Range: bytes 0-2/9\r\n"
    told = b'ETag: "e"\r\nx-amz-meta-MTime: 5\r\nLast-Modified: Wed, 18 Nov 2026 09:53:20 GMT\r\n\r\nabc'
    answer = await asking(head + told, Range="bytes=0-9")
    assert (answer["Body"], answer["ContentRange"], answer["ETag"]) == (b"abc", "bytes 0-2/9", '"e"')
    assert answer["Metadata"] == {"mtime": "5"}
    assert answer["LastModified"].timestamp() == 1_794_995_600
    assert answer["ResponseMetadata"]["HTTPHeaders"]["etag"] == '"e"'


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nmore than 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nLast-Modified: never\r\n\r\na",
        b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n" + b"x" * (SHORT_BYTES + 1),
        b"not HTTP at all\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_none_is_no_success(asking: Asking, answer: bytes) -> None:
    with pytest.raises((b.HTTPClientError, b.ConnectionError)):
        await asking(answer)


@pytest.mark.parametrize(
    ("body", "code", "region"),
    [
        (b"<Error><Code>SlowDown</Code><Message>m</Message><Region>r</Region></Error>", "SlowDown", "r"),
        (b'<Error xmlns="urn:x"><Code>SlowDown</Code></Error>', "SlowDown", None),
        (b"<html>busy", "503", None),
        (b"", "503", None),
    ],
)
async def test_an_error_is_that_of_the_library(
    asking: Asking, body: bytes, code: str, region: str | None
) -> None:
    head = b"HTTP/1.1 503 Slow\r\nX-Amz-Id: 1\r\nContent-Length: %d\r\n\r\n" % len(body)
    with pytest.raises(b.ClientError) as caught:
        await asking(head + body, "upload_part", 0, PartNumber=1, UploadId="u")
    error = caught.value
    assert (error.operation_name, error.response["Error"]["Code"]) == ("UploadPart", code)
    assert error.response["Error"].get("Region") == region
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 503


async def test_what_is_not_understood_is_left_to_the_library(asking: Asking) -> None:
    redirected = (
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
    )
    assert await asking(redirected) is None
    assert await asking(b"", SSECustomerKey="k") is None
    assert await asking(b"", "put_object", 0, Metadata={"a": "\u00fc"}) is None
    assert await asking(b"", "put_object", 0, Metadata={"a": "b\r\nc: d"}) is None


@pytest.mark.parametrize(
    ("key", "url", "authorization", "digest"),
    [
        ("k", "https://h/b/other", SCOPE.format("s3"), UNSIGNED),
        ("k", "https://h/b/k", SCOPE.format("s3express"), UNSIGNED),
        ("k", "https://h/b/k", "AWS4-ECDSA-P256-SHA256 Credential=A/20261118/s3/aws4_request,", UNSIGNED),
        ("k", "https://h/b/k", SCOPE.format("s3"), "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("k", "https://h/b/k?X-Amz-Signature=s", "", ""),
    ],
)
async def test_what_is_sent_in_another_way_is_not_imitated(
    key: str, url: str, authorization: str, digest: str
) -> None:
    def connections(at: str) -> None:
        raise AssertionError(at)

    direct = Direct(Frozen(), connections)
    direct.learn("get_object", key, url, {"authorization": authorization, "x-amz-content-sha256": digest})
    assert await direct.send("get_object", {"Key": key}, None, 1) is None


def test_a_buffer_keeps_what_it_is_given() -> None:
    buffer, expected = PartBuffer(), b""
    for number in range(300):
        piece = bytes([number % 251]) * (number * 7)
        buffer.add(piece, 400_000)
        expected += piece
    buffer.cut(250_001)
    assert (len(buffer), bytes(buffer.view())) == (250_001, expected[:250_001])
    taken = buffer.take()
    buffer.add(b"next", 10)
    assert (bytes(taken), bytes(buffer.view())) == (expected[:250_001], b"next")
    buffer.take()
    buffer.reuse(memoryview(bytearray(b"old content")))
    buffer.add(b"new", 10)
    assert bytes(buffer.view()) == b"new"
    buffer.add(b" and longer than that", 10)
    assert bytes(buffer.view()) == b"new and longer than that"
