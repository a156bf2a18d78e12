# SPDX-License-Identifier: Apache-2.0
"""A client of ICAP servers (RFC 3507), also by TLS: OPTIONS, REQMOD and RESPMOD, with preview and 204.

An upload is shown as a PUT request (REQMOD) or as a response to a GET (RESPMOD) whose body is the file.
"204 No Content" is the only answer that means clean. A server that names an infection, or gives a response
that is an error, has refused the file; one that gives other content has done what nobody asked for. The body
of an answer is never read, and each question has a connection of its own.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from tidegate.contracts.inspection import InspectedAct, Read
from tidegate.inspection.clamd import Turn
from tidegate.inspection.connection import Connection, open_connection
from tidegate.inspection.factory import IcapOptions
from tidegate.inspection.policies import Result, Scan
from tidegate.inspection.sockets import CHUNK, why

DEFAULT_PORT: Final = 1344
SECURE_PORT: Final = 11344
"""That of TLS by convention; none is registered."""
SECURE: Final = "icaps://"
MAX_HEAD: Final = 32 * 1024
"""Bytes of the headers of an answer, and of those of the response within it."""
MAX_LINES: Final = 200
MAX_PREVIEW: Final = CHUNK
"""Bytes of a preview, whatever a server asks for."""
OPTIONS_SECONDS: Final = 10.0
"""Most that an answer to OPTIONS may take."""
MIN_TTL: Final = 60.0
MAX_TTL: Final = 3600.0
"""Bounds of the time for which an answer to OPTIONS is used."""
_FOUND: Final = ("x-infection-found", "x-virus-id", "x-virus-name", "x-violations-found")
"""Headers by which servers name what they have found."""
_THREAT: Final = re.compile(r"threat=([^;]*)", re.IGNORECASE)
_STATUS: Final = re.compile(r"(?:ICAP|HTTP)/1\.[01] ([1-5][0-9][0-9])(?: |$)")


class IcapFailed(Exception):
    """The server cannot be asked, or its answer is not understood; the text says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names are in lower case."""

    status: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Abilities:
    """Abilities of a service, by its answer to OPTIONS.

    Attributes:
        preview: bytes that it wants to see first; None if it wants everything.
        until: `time.monotonic` from which on it has to be asked again.
    """

    preview: int | None
    until: float


def split_url(url: str) -> tuple[str, int, str]:
    """Host, port and service of a URL that the schema has admitted."""
    rest = url.removeprefix("icap://").removeprefix(SECURE)
    place, _, service = rest.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place, ""
    usual = SECURE_PORT if url.startswith(SECURE) else DEFAULT_PORT
    return host.strip("[]"), int(port) if port else usual, service


def client_context(file: str) -> ssl.SSLContext:
    """TLS of a client that wants a certificate of the authorities in a PEM file; empty are the system's.

    Reads files: call it off the loop.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class IcapClient:
    """Asks one service."""

    def __init__(self, options: IcapOptions) -> None:
        self._options = options
        self._context: ssl.SSLContext | None = None
        self._secure = secure = options.url.startswith(SECURE)
        self._scheme = "icaps" if secure else "icap"
        host, port, _ = split_url(options.url)
        self._where = (host, port)
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._abilities: Abilities | None = None

    async def _connection(self) -> Connection:
        if self._secure and self._context is None:
            self._context = await asyncio.to_thread(client_context, self._options.ca_file)
        return await open_connection(self._where, self._context)

    async def abilities(self) -> Abilities:
        """The abilities of the service; asked for if they are not known or too old.

        Raises:
            IcapFailed: it does not answer, or cannot do what is configured.
        """
        known = self._abilities
        if known is not None and time.monotonic() < known.until:
            return known
        try:
            async with asyncio.timeout(OPTIONS_SECONDS):
                with await self._connection() as connection:
                    await connection.send(self._request("OPTIONS", {"Encapsulated": "null-body=0"}))
                    answer = await _Answer(connection).head()
        except TimeoutError:
            raise IcapFailed(f"no answer in {OPTIONS_SECONDS:g} s") from None
        except OSError as error:
            raise IcapFailed(why(error)) from None
        if answer.status != 200:
            raise IcapFailed(f"it answers {answer.status} to OPTIONS: is {self._options.url} the service?")
        methods = answer.fields.get("methods", "").upper()
        if methods and self._options.method.upper() not in methods:
            raise IcapFailed(f"the service does {methods[:60]!r}, not {self._options.method.upper()}")
        preview = _number(answer.fields.get("preview", ""))
        ttl = _number(answer.fields.get("options-ttl", "")) or 0
        until = time.monotonic() + max(MIN_TTL, min(MAX_TTL, float(ttl)))
        found = Abilities(None if preview is None else min(preview, MAX_PREVIEW), until)
        self._abilities = found
        return found

    async def scan(self, act: InspectedAct, read: Read, turn: Turn | None = None) -> Scan:
        """Have the service look at content. The caller bounds the time, and may cancel it at any moment.

        Args:
            act: the upload; its size may be unknown.
            read: reads the content, from its beginning to its end.
            turn: entered when all is sent.

        Raises:
            TidegateError: the content cannot be read.
        """
        try:
            if not await read(0, 1):
                return Scan(Result.CLEAN)  # c-icap gives back what it cannot look at
            preview = (await self.abilities()).preview
            async with AsyncExitStack() as turns:
                with await self._connection() as connection:
                    exchange = _Exchange(connection, read, self._options.max_size, turn, turns)
                    return await exchange.run(self._question(act, preview), preview)
        except OSError as error:
            return Scan(Result.DOWN, why(error))
        except IcapFailed as error:
            return Scan(Result.DOWN, str(error))

    def _question(self, act: InspectedAct, preview: int | None) -> bytes:
        """Everything before the body."""
        path = quote(act.path.encode("utf-8", "surrogateescape"), safe="/")
        host = "tidegate.invalid"
        length = "Transfer-Encoding: chunked" if act.size is None else f"Content-Length: {act.size}"
        kind = "Content-Type: application/octet-stream"
        if self._options.method == "reqmod":
            first = f"PUT http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n{length}\r\n\r\n".encode()
            parts, block = f"req-hdr=0, req-body={len(first)}", first
        else:
            first = f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            second = f"HTTP/1.1 200 OK\r\n{kind}\r\n{length}\r\n\r\n".encode()
            parts = f"req-hdr=0, res-hdr={len(first)}, res-body={len(first) + len(second)}"
            block = first + second
        user = base64.b64encode(f"Local://{act.origin.username}".encode("utf-8", "replace")).decode()
        fields = {"Allow": "204", "X-Client-IP": act.origin.ip, "X-Authenticated-User": user}
        if preview is not None:
            fields["Preview"] = str(preview)
        return self._request(self._options.method.upper(), {**fields, "Encapsulated": parts}) + block

    def _request(self, method: str, fields: Mapping[str, str]) -> bytes:
        service = split_url(self._options.url)[2]
        lines = [f"{method} {self._scheme}://{self._host}/{service} ICAP/1.0", f"Host: {self._host}"]
        lines += ["User-Agent: Tidegate", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in fields.items() if value]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


class _Exchange:
    """One question and its answer on one connection."""

    def __init__(
        self, connection: Connection, read: Read, max_size: int, turn: Turn | None, turns: AsyncExitStack
    ) -> None:
        self._connection = connection
        self._read = read
        self._max_size = max_size
        self._turn = turn
        self._turns = turns
        self._answer = _Answer(connection)
        self._sent = 0

    async def run(self, question: bytes, preview: int | None) -> Scan:
        if not await self._send(question):
            return await self._early()
        rest = b""
        if preview is not None:
            begin, rest, ended = await self._beginning(preview)
            if ended:
                await self._await_turn()
            last = b"0; ieof\r\n\r\n" if ended else b"0\r\n\r\n"
            if not await self._send(_chunk(begin) + last):
                return await self._early()
            head = await self._answer.head()
            if ended or head.status != 100:
                return await self._result(head, complete=ended or head.status == 204)
        while True:
            piece = rest or await self._read(self._sent, CHUNK)
            rest = b""
            self._sent += len(piece)
            if self._max_size and self._sent > self._max_size:
                return Scan(Result.TOO_LARGE, f"larger than {self._max_size} bytes")
            if not piece:
                await self._await_turn()
            if self._connection.answered():
                return await self._early()
            if not await self._send(_chunk(piece) if piece else b"0\r\n\r\n"):
                return await self._early()
            if not piece:
                return await self._result(await self._answer.head(), complete=True)

    async def _beginning(self, preview: int) -> tuple[bytes, bytes, bool]:
        """The preview, what was read beyond it, and True if the content ends with it."""
        got = b""
        while len(got) <= preview:
            piece = await self._read(len(got), preview + 1 - len(got))
            if not piece:
                return got, b"", True
            got += piece
        self._sent = preview
        return got[:preview], got[preview:], False

    async def _await_turn(self) -> None:
        if self._turn is not None:
            await self._turns.enter_async_context(self._turn)
            self._turn = None

    async def _send(self, data: bytes) -> bool:
        """False if the server does not take it any more; it may have said why."""
        try:
            await self._connection.send(data)
        except OSError:
            return False
        return True

    async def _early(self) -> Scan:
        """The result where the server answered before it had everything: a part says nothing of the rest."""
        return await self._result(await self._answer.head(), complete=False)

    async def _result(self, head: Head, *, complete: bool) -> Scan:
        named = found_in(head)
        if named:
            return Scan(Result.INFECTED, named)
        match head.status:
            case 204:
                if complete:
                    return Scan(Result.CLEAN)
                raise IcapFailed("it answered before the end")
            case 200 | 201:
                return await self._changed(head)
            case 413:
                return Scan(Result.TOO_LARGE, "the server says that it is too large")
            case 408:
                return Scan(Result.SLOW, "the server says that it took too long")
            case _:
                raise IcapFailed(f"answer {head.status}")

    async def _changed(self, head: Head) -> Scan:
        """The result of an answer with content of its own: a response that refuses, or other content."""
        parts = [part.strip() for part in head.fields.get("encapsulated", "").split(",")]
        if not any(part.startswith("res-hdr=") for part in parts):
            raise IcapFailed("it wants to change the content")
        inner = await self._answer.head()
        named = found_in(inner)
        if named or inner.status >= 400:
            return Scan(Result.INFECTED, named or f"refused with {inner.status}")
        raise IcapFailed(f"it gives a response of its own ({inner.status})")


def found_in(head: Head) -> str:
    """The name of what headers say was found; empty if they say nothing."""
    for name in _FOUND:
        value = head.fields.get(name, "")
        if value and not (name == "x-violations-found" and value.strip().startswith("0")):
            threat = _THREAT.search(value)
            return (threat[1] if threat else value).strip()[:200] or "infected"
    return ""


class _Answer:
    """Reads heads of answers, one after the other."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._buffer = b""

    async def head(self) -> Head:
        """The next status line and its headers.

        Raises:
            IcapFailed: there is none, or it is too long or no head.
        """
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > MAX_HEAD:
                raise IcapFailed(f"the headers of its answer are longer than {MAX_HEAD} bytes")
            try:
                piece = await self._connection.receive(8192)
            except OSError as error:
                raise IcapFailed(why(error)) from None
            if not piece:
                raise IcapFailed("it closed the connection without an answer")
            self._buffer += piece
        text, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
        return parsed(text)


def parsed(text: bytes) -> Head:
    """A head of its text, without the empty line.

    Raises:
        IcapFailed: it is none.
    """
    lines = text.decode("latin-1").split("\r\n")
    status = _STATUS.match(lines[0])
    if status is None:
        raise IcapFailed(f"no answer of ICAP: {lines[0][:60]!r}")
    if len(lines) > MAX_LINES:
        raise IcapFailed(f"its answer has more than {MAX_LINES} lines")
    fields: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        if line[:1] in {" ", "\t"} and name:
            fields[name] += " " + line.strip()
            continue
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            raise IcapFailed(f"no header: {line[:60]!r}")
        fields[name] = f"{fields[name]}, {value.strip()}" if name in fields else value.strip()
    return Head(int(status[1]), fields)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
