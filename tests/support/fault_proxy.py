# SPDX-License-Identifier: Apache-2.0
"""A proxy on the loopback between a client of object storage and a real store: it delays, damages, refuses, cuts.

It knows the requests of S3, Google Cloud Storage and Azure Blob by name. It runs in a thread with a loop of its
own, so that servers of other processes can be led through it too. It passes heads on as they are (the signature
holds the name of the host, which is the proxy's), one request at a time for each connection, and keeps a list of
them. Faults are taken in the order in which they were added.

    with fault_proxy("http://127.0.0.1:8333") as proxy:
        proxy.add("PutObject", Refuse(503, "SlowDown"), times=2)
        proxy.latency = 0.02
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

HEAD_BYTES = 64 * 1024
PIECE_BYTES = 64 * 1024
BODY_BYTES = 4096
_BY_QUERY = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("POST", "delete"): "DeleteObjects",
    ("PUT", "partNumber"): "UploadPart",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("GET", "uploads"): "ListMultipartUploads",
    ("GET", "list-type"): "ListObjectsV2",
}
_OF_AZURE = {
    ("PUT", "block"): "PutBlock",
    ("PUT", "blocklist"): "PutBlockList",
    ("GET", "blocklist"): "GetBlockList",
    ("PUT", "metadata"): "SetBlobMetadata",
    ("GET", "list"): "ListBlobs",
    ("GET", "properties"): "GetAccountInformation",
    ("GET", ""): "GetBlob",
    ("HEAD", ""): "GetBlobProperties",
    ("PUT", ""): "PutBlob",
    ("DELETE", ""): "DeleteBlob",
}
"""By method and the parameter ``comp``."""


@dataclass(frozen=True)
class Refuse:
    """Answered by the proxy, the store asked nothing; the body of the request is read."""

    status: int
    code: str
    message: str = "by the proxy"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoseAnswer:
    """The store carries it out; the connection breaks before the client hears of it."""


@dataclass(frozen=True)
class CutUpload:
    """The connection breaks after so many bytes of the body; the store gets none of them."""

    after: int = 0


@dataclass(frozen=True)
class CutDownload:
    """The connection breaks after so many bytes of the answer's body."""

    after: int = 0


@dataclass(frozen=True)
class Shorten:
    """The answer says and has fewer bytes than the store has sent."""

    by: int = 1


@dataclass(frozen=True)
class DamageUpload:
    """A bit of the body flips on the way to the store."""

    at: int = 0


@dataclass(frozen=True)
class ChangeAnswer:
    """Headers of the answer are left out (names in lower case), and others added."""

    without: tuple[str, ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """No answer at all; the connection stays open until the client closes it."""


@dataclass(frozen=True)
class Repeat:
    """The store answers once; each further request that meets this gets that answer again."""


Act = Repeat | Refuse | LoseAnswer | CutUpload | CutDownload | Shorten | DamageUpload | ChangeAnswer | Hang


@dataclass(frozen=True)
class Asked:
    """A request that came by: name of the operation, key (with the bucket), headers in lower case, query."""

    operation: str
    key: str
    headers: dict[str, str]
    query: str = ""


@dataclass
class _Fault:
    operation: str
    key: str
    act: Act
    times: int


class FaultProxy:
    """See the module.

    Attributes:
        endpoint: its URL.
        latency: seconds that each request waits before it is passed on.
        asked: every request so far.
        bodies: the first bytes of what was sent with each that had any.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname and parts.port
        self._upstream = (parts.hostname, parts.port)
        self._faults: list[_Fault] = []
        self._repeated: dict[str, bytes] = {}
        self.latency = 0.0
        self.asked: list[Asked] = []
        self.bodies: list[bytes] = []
        self.endpoint = ""

    def add(self, operation: str, act: Act, *, times: int = 1, key: str = "") -> None:
        """The next `times` requests of an operation (``*``: of any) about keys with `key` in them meet this."""
        self._faults.append(_Fault(operation, key, act, times))

    def clear(self) -> None:
        """No faults any more."""
        self._faults.clear()

    def operations(self) -> list[str]:
        """Names of the requests so far."""
        return [one.operation for one in self.asked]

    async def serve(self, started: threading.Event, stop: asyncio.Event) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._connection(reader, writer)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                tasks.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=HEAD_BYTES)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked = _asked(head)
                self.asked.append(asked)
                act = self._take(asked)
                if self.latency:
                    await asyncio.sleep(self.latency)
                length = int(asked.headers.get("content-length", 0))
                if isinstance(act, CutUpload):
                    await reader.readexactly(min(act.after, length))
                    return
                body = bytearray(await reader.readexactly(length))
                if length:
                    self.bodies.append(bytes(body[:BODY_BYTES]))
                if isinstance(act, Hang):
                    await reader.read()
                    return
                if isinstance(act, Refuse):
                    writer.write(_refusal(act, asked))
                    await writer.drain()
                    continue
                if isinstance(act, Repeat) and (again := self._repeated.get(asked.operation)):
                    writer.write(again)
                    await writer.drain()
                    continue
                if isinstance(act, DamageUpload):
                    body[act.at] ^= 1
                if upstream is None:
                    upstream = await asyncio.open_connection(*self._upstream, limit=HEAD_BYTES)
                upstream[1].write(head + body)
                await upstream[1].drain()
                if not await self._answer(upstream[0], writer, asked, act):
                    return
        finally:
            if upstream is not None:
                upstream[1].transport.abort()

    async def _answer(
        self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: Asked, act: Act | None
    ) -> bool:
        """Pass the answer on; False if the connection ends with it."""
        head = await upstream.readuntil(b"\r\n\r\n")
        headers = _headers(head)
        bare = head.split(b" ", 2)[1] in {b"204", b"304"} or asked.headers[":method"] == "HEAD"
        if "chunked" in headers.get("transfer-encoding", "") and not bare:
            body = await _unchunk(upstream)
            head = _without(head, ("transfer-encoding",), {"content-length": str(len(body))})
            headers = _headers(head)
        else:
            body = b""
        length = 0 if bare else int(headers.get("content-length", 0))
        if isinstance(act, LoseAnswer):
            return False
        if isinstance(act, ChangeAnswer):
            head = _without(head, act.without, act.headers)
        if isinstance(act, Shorten):
            head = _without(head, ("content-length",), {"content-length": str(length - act.by)})
        if isinstance(act, Repeat):
            body = body or await upstream.readexactly(length)
            self._repeated[asked.operation] = head + body
        writer.write(head)
        left = length
        limit = act.after if isinstance(act, CutDownload) else length
        limit -= act.by if isinstance(act, Shorten) else 0
        while left:
            piece = body[:left] or await upstream.read(min(left, PIECE_BYTES))
            if not piece:
                return False
            left -= len(piece)
            writer.write(piece[: max(limit, 0)])
            limit -= len(piece)
            await writer.drain()
        return not isinstance(act, CutDownload) and "close" not in headers.get("connection", "")

    def _take(self, asked: Asked) -> Act | None:
        for fault in self._faults:
            if fault.times > 0 and fault.operation in {asked.operation, "*"} and fault.key in asked.key:
                fault.times -= 1
                return fault.act
        return None


@contextlib.contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A proxy before the store at a URL, until the end of the block."""
    proxy, started = FaultProxy(target), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        try:
            loop.run_until_complete(proxy.serve(started, stop))
        finally:
            started.set()
            loop.close()

    thread = threading.Thread(target=run, name="fault proxy")
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _asked(head: bytes) -> Asked:
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    headers = {**_headers(head), ":method": method}
    if "/storage/v1/b/" in parts.path:
        return Asked(_of_json_api(method, parts.path), unquote(parts.path), headers, parts.query)
    if "x-ms-version" in headers:
        operation = _OF_AZURE[method, query.get("comp", [""])[0]]
        if "x-ms-copy-source" in headers:
            operation = "PutBlockFromURL" if operation == "PutBlock" else "CopyBlobFromURL"
        return Asked(operation, unquote(parts.path), headers, parts.query)
    found = [name for (verb, word), name in _BY_QUERY.items() if verb == method and word in query]
    operation = found[0] if found else f"{method.title()}Object"
    if "x-amz-copy-source" in headers:
        operation = "UploadPartCopy" if operation == "UploadPart" else "CopyObject"
    elif method in {"HEAD", "PUT"} and not parts.path.strip("/").partition("/")[2]:
        operation = f"{method.title()}Bucket"
    return Asked(operation, unquote(parts.path), headers, parts.query)


def _of_json_api(method: str, path: str) -> str:
    """The operation of Google's JSON API."""
    key = path.partition("/o/")[2].split("/")
    if path.startswith("/upload/"):
        name = "insert"
    elif method == "POST":
        name = "compose" if key[-1] == "compose" else "rewrite"
    else:
        name = {"PATCH": "patch", "DELETE": "delete"}.get(method, "get" if key[0] else "list")
    return f"objects.{name}"


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _without(head: bytes, names: tuple[str, ...], more: dict[str, str]) -> bytes:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    kept = [line for line in lines if line.partition(":")[0].strip().lower() not in names]
    kept += [f"{name}: {value}" for name, value in more.items()]
    return ("\r\n".join([first, *kept]) + "\r\n\r\n").encode("latin-1")


def _refusal(act: Refuse, asked: Asked) -> bytes:
    kind, text = "xml", f"<Error><Code>{act.code}</Code><Message>{act.message}</Message></Error>".encode()
    if asked.operation.startswith("objects."):
        error = {"code": act.status, "message": act.message, "errors": [{"reason": act.code}]}
        kind, text = "json", json.dumps({"error": error}).encode()
    head = f"HTTP/1.1 {act.status} Refused\r\nContent-Type: application/{kind}\r\nContent-Length: {len(text)}\r\n"
    head += f"x-ms-error-code: {act.code}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in act.headers.items()) + "\r\n"
    return head.encode() + (b"" if asked.headers[":method"] == "HEAD" else text)


async def _unchunk(reader: asyncio.StreamReader) -> bytes:
    whole = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        whole += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return bytes(whole)
