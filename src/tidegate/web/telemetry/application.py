# SPDX-License-Identifier: Apache-2.0
"""``/healthz``, ``/readyz`` and ``/metrics`` of the telemetry listener."""

from __future__ import annotations

import base64
import binascii
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from starlette.types import Receive, Scope, Send

from tidegate.errors import LoginRefused
from tidegate.model import http_scope

MAX_CREDENTIAL_CHARS: Final = 2048
"""Longest text after ``Basic``."""
TEXT: Final = "text/plain; charset=utf-8"

Render = Callable[[str], Awaitable[tuple[bytes, str]]]
"""The metrics, and their content type, for an ``Accept`` header."""


class Ready(Protocol):
    """Tells the health."""

    async def __call__(self, *, details: bool) -> tuple[bool, bytes]:
        """True if the server works, and a JSON report; texts and figures only with `details`."""
        ...


_Answer = tuple[int, bytes, str, Sequence[tuple[bytes, bytes]]]
"""Status, body, content type, further headers."""

_log = logging.getLogger(__name__)


class Readers(Protocol):
    """Says who may read what is not for everybody."""

    async def admit(self, ip: str, name: str, password: str) -> float:
        """Check a name and password; returns seconds to wait before another try, 0 if they are right.

        Raises:
            LoginRefused: they are wrong.
        """
        ...


class Telemetry:
    """ASGI application.

    Args:
        render: makes the metrics.
        ready: tells the health.
        readers: those who may read them; None for everybody who can connect.
    """

    def __init__(self, render: Render, ready: Ready, readers: Readers | None) -> None:
        self._render = render
        self._ready = ready
        self.readers = readers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        del receive
        status, body, content_type, more = await self._answer(scope)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope) -> _Answer:
        path = scope["path"]
        if path not in PATHS:
            return 404, b"not found\n", TEXT, ()
        if scope["method"] not in ("GET", "HEAD"):
            return 405, b"GET only\n", TEXT, ((b"allow", b"GET, HEAD"),)
        if path == "/healthz":
            return 200, b"ok", TEXT, ()
        refusal = await self._refusal(scope)
        if path == "/readyz":
            # Orchestrators have no password: who gave none learns which checks fail, and not why.
            if refusal is not None and _header(scope, b"authorization"):
                return refusal
            works, report = await self._ready(details=refusal is None)
            return 200 if works else 503, report, "application/json", ()
        if refusal is not None:
            return refusal
        body, content_type = await self._render(_header(scope, b"accept"))
        return 200, body, content_type, ()

    async def _refusal(self, scope: Scope) -> _Answer | None:
        """The answer to somebody who may not read everything; None if they may."""
        if self.readers is None:
            return None
        given = _basic(_header(scope, b"authorization"))
        if given is not None:
            try:
                wait = await self.readers.admit(scope[http_scope.IP], *given)
            except LoginRefused as error:
                _log.info("metrics refused to %s: %s", scope[http_scope.IP], error.reason)
            else:
                if not wait:
                    return None
                return 429, b"too many attempts\n", TEXT, ((b"retry-after", b"%d" % math.ceil(wait)),)
        return 401, b"log in\n", TEXT, ((b"www-authenticate", b'Basic realm="Tidegate", charset="UTF-8"'),)


PATHS: Final = frozenset(("/healthz", "/readyz", "/metrics"))


def _header(scope: Scope, name: bytes) -> str:
    found: bytes = dict(scope["headers"]).get(name, b"")
    return found.decode("latin-1")


def _basic(header: str) -> tuple[str, str] | None:
    """Name and password of an ``Authorization`` header, None if there are none."""
    kind, _, text = header.partition(" ")
    if kind.lower() != "basic" or len(text) > MAX_CREDENTIAL_CHARS:
        return None
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None
