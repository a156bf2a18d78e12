# SPDX-License-Identifier: Apache-2.0
"""Lines of log level ``trace`` about HTTP requests, those of WebDAV and of the REST API."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from starlette.types import Scope

from tidegate.doors.common.trace import MAX_TEXT, UNKNOWN, trace
from tidegate.model import Peer, Protocol, http_scope


def trace_request(scope: Scope, protocol: str, uri: str, *, code: int, seconds: float, size: int) -> None:
    """Write the line of a request that is over.

    Args:
        scope: of it; tells who asked, if that was found out.
        protocol: of the door, ``HTTP`` or ``DAV``.
        uri: path and query without values that may be secret.
        code: status of the answer; 0 if there was none.
        seconds: from the request to the end of its answer.
        size: bytes of its body, of that of the answer if it had none.
    """
    dav = protocol == Protocol.DAV
    trace(
        scope.get(http_scope.PEER) or _peer(scope, protocol),
        scope.get(http_scope.WHO, ""),
        scope["method"],
        path=_plain(uri.partition("?")[0]) if dav else uri,
        target=_target(scope) if dav else UNKNOWN,
        code=code,
        seconds=seconds,
        size=size,
    )


def _peer(scope: Scope, protocol: str) -> Peer:
    """The other end of a request that belongs to no session: its own id stands for that of a connection."""
    host, port = scope.get("server") or ("", 0)
    local = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Peer(scope[http_scope.REQUEST_ID], Protocol(protocol), scope[http_scope.IP], local_address=local)


def _target(scope: Scope) -> str:
    """The path of the header Destination (RFC 4918 section 10.3); its host may carry a password."""
    for name, value in scope["headers"]:
        if name == b"destination":
            try:
                return _plain(urlsplit(value[:MAX_TEXT].decode("latin-1").strip()).path) or UNKNOWN
            except ValueError:
                return UNKNOWN
    return UNKNOWN


def _plain(path: str) -> str:
    """A path as people write it; bytes that are not UTF-8 become lone surrogates, as in other lines."""
    return unquote(path, errors="surrogateescape")
