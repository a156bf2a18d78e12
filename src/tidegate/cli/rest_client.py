# SPDX-License-Identifier: Apache-2.0
"""The REST API of a running server, as far as commands ask it: one connection, verified, bounded.

The standard library does: a command makes a handful of requests one after the other, and another dependency
of every installation would be for these alone.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from tidegate import __version__
from tidegate.errors import (
    AlreadyExists,
    ConfigError,
    Conflict,
    Denied,
    InvalidArgument,
    NotFound,
    Outdated,
    Problem,
    ProviderUnavailable,
    TidegateError,
)

BASE: Final = "/api/v2"
TIMEOUT_SECONDS: Final = 60.0
"""For connecting, and between two pieces of an answer."""
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer that is read; a page of 500 accounts has some 2 MB."""

_REASONS: Final[dict[int, type[TidegateError]]] = {
    400: InvalidArgument,
    403: Denied,
    404: NotFound,
    409: Conflict,
    503: ProviderUnavailable,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that was no refusal.

    Attributes:
        document: its JSON.
        version: of the record that it is about, from `ETag`; empty if none.
    """

    document: Any
    version: str = ""


class RestClient:
    """One server. Blocks; to be used by one thread at a time.

    Args:
        url: ``https://host:port``, perhaps with a path before ``/api``.
        headers: the credential.
        authority: file with the certificates of authorities to trust, instead of the system's.

    Raises:
        ConfigError: the URL or the file cannot be used.
    """

    def __init__(self, url: str, headers: dict[str, str], authority: Path | None = None) -> None:
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if (
            parts.scheme not in ("http", "https")
            or not host
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigError([Problem("--url", f"{_shown(url)!r} is not of the form https://host:port")])
        if parts.scheme == "http" and not _is_here(host):
            raise ConfigError([Problem("--url", "http:// would send the token in clear text; use https://")])
        self._where = f"{parts.scheme}://{parts.netloc}"
        self._prefix = parts.path.rstrip("/").removesuffix(BASE)
        self._headers = {**headers, "Accept": "application/json", "User-Agent": f"tidegate/{__version__}"}
        if parts.scheme == "https":
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=TIMEOUT_SECONDS, context=_context(authority)
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def ask(
        self,
        method: str,
        *path: str,
        query: dict[str, Any] | None = None,
        body: Any = None,
        version: str = "",
    ) -> Answer:
        """One request.

        Args:
            method: of HTTP.
            path: its parts below ``/api/v2``, unquoted.
            query: parameters.
            body: a document to send.
            version: for `If-Match`.

        Raises:
            TidegateError: the server refuses, or cannot be reached; one line says which.
        """
        target = "/".join((self._prefix + BASE, *(quote(part, safe="") for part in path)))
        if query:
            target += f"?{urlencode(query)}"
        headers = dict(self._headers)
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        if version:
            headers["If-Match"] = f'"{version}"'
        try:
            answer, raw = self._exchange(method, target, data, headers)
        except ssl.SSLCertVerificationError as error:
            hint = "--tls-ca FILE names the authority to trust"
            raise ConfigError(
                [Problem(self._where, f"certificate: {error.verify_message}; {hint}")]
            ) from None
        except ssl.SSLError as error:
            reason = (error.reason or "failed").replace("_", " ").lower()
            raise ConfigError([Problem(self._where, f"TLS: {reason}")]) from None
        except (TimeoutError, socket.gaierror, OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise ProviderUnavailable(f"{self._where}: {_reason(error)}") from None
        if len(raw) > MAX_ANSWER_BYTES:
            raise ConfigError([Problem(self._where, f"the answer is longer than {MAX_ANSWER_BYTES} bytes")])
        return self._read(answer, raw)

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        self._connection.request(method, target, data, headers)
        answer = self._connection.getresponse()
        return answer, answer.read(MAX_ANSWER_BYTES + 1)

    def _read(self, answer: http.client.HTTPResponse, raw: bytes) -> Answer:
        try:
            document = json.loads(raw) if raw else {}
        except ValueError:
            document = None
        text = (
            str(document.get("error") or document.get("message") or "") if isinstance(document, dict) else ""
        )
        if 200 <= answer.status < 300 and document is not None:
            tag = (answer.getheader("ETag") or "").removeprefix("W/").strip('"')
            return Answer(document, tag)
        if answer.status == 401:
            raise Denied(f"{self._where}: the token or key is not accepted; it may have expired")
        if not text:
            raise ConfigError(
                [Problem(self._where, f"HTTP {answer.status}: this is no REST API of Tidegate")]
            )
        if answer.status == 412:
            raise _outdated(text)
        if answer.status == 409 and text.endswith("already exists"):
            raise AlreadyExists(text)
        raise _REASONS.get(answer.status, ProviderUnavailable)(text)


def _shown(url: str) -> str:
    """A URL for an error: without what stands before an ``@``, which may be a password."""
    head, at, tail = url[:200].rpartition("@")
    return f"{head.partition('://')[0]}://...@{tail}" if at else url[:200]


def _outdated(text: str) -> Outdated:
    error = Outdated()
    error.text, error.args = text, (text,)
    return error


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return "no such host"
    if isinstance(error, TimeoutError):
        return f"no answer in {TIMEOUT_SECONDS:.0f} s"
    if isinstance(error, http.client.HTTPException):
        return "the answer is not HTTP, or broke off"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _context(authority: Path | None) -> ssl.SSLContext:
    if authority is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(authority))
    except (OSError, ssl.SSLError) as error:
        what = getattr(error, "strerror", None) or "holds no certificate"
        raise ConfigError([Problem("--tls-ca", f"{authority}: {what}")]) from None
