# SPDX-License-Identifier: Apache-2.0
"""A running product with WebDAV on loopback, and a client that sends what a test says."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.certificates import certificate
from tests.support.ports import free_port
from tests.support.running import Person, Running, running

SECONDS = 20.0


@dataclass(frozen=True)
class DavServer:
    """A server with one binding of each kind.

    Attributes:
        plain: port in the clear.
        secure: port of HTTPS.
        closed: port in the clear that takes no logins in the clear.
    """

    running: Running
    plain: int
    secure: int
    closed: int
    certificate: Path

    def account(self, **fields: Any) -> Person:
        """A person; passwords begin with no hyphen, which programs take for an option."""
        while (person := self.running.account(**fields)).password.startswith("-"):
            pass
        return person

    def url(self, *, secure: bool = False) -> str:
        return f"https://localhost:{self.secure}" if secure else f"http://localhost:{self.plain}"


@contextlib.contextmanager
def dav_server(
    directory: Path,
    *,
    other: dict[str, dict[str, Any]] | None = None,
    binding: dict[str, Any] | None = None,
    secure: dict[str, Any] | None = None,
    **section: Any,
) -> Iterator[DavServer]:
    """Start one; `section` is added to ``webdavd``, `binding` to each binding, `secure` to that of HTTPS."""
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / "tls"
    made.mkdir()
    pem = certificate(made, "localhost")
    ports = [free_port() for _ in range(3)]
    tls = {"certificate_file": str(pem), "certificate_key_file": str(pem.with_name("key.pem"))}
    common = {"address": "127.0.0.1", **(binding or {})}
    bindings = [
        {"port": ports[0], "plain_login": True, **common},
        {"port": ports[1], "enable_https": True, **tls, **common, **(secure or {})},
        {"port": ports[2], "proxy_allowed": ["192.0.2.0/24"], **common},
    ]
    settings = {"webdavd": {"bindings": bindings, **section}, **(other or {})}
    with running(directory / "config", settings=settings) as server:
        yield DavServer(server, ports[0], ports[1], ports[2], pem)


@dataclass(frozen=True)
class Answer:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass
class Dav:
    """One connection of one person; every request is sent as it stands."""

    port: int
    person: Person | None = None
    context: ssl.SSLContext | None = None
    connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        if self.context is not None:
            self.connection = http.client.HTTPSConnection(
                "localhost", self.port, timeout=SECONDS, context=self.context
            )
        else:
            self.connection = http.client.HTTPConnection("localhost", self.port, timeout=SECONDS)

    def __enter__(self) -> Dav:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def authorization(self) -> dict[str, str]:
        if self.person is None:
            return {}
        words = f"{self.person.name}:{self.person.password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(words).decode()}"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; underscores of header names stand for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, str):
            body = body.encode()
        self.connection.request(method, path, body, {**self.authorization(), **given})
        answer = self.connection.getresponse()
        return Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )

    def code(self, method: str, path: str, body: Any = None, **headers: str) -> int:
        return self.ask(method, path, body, **headers).code

    def to(self, path: str) -> str:
        """The value of Destination for a path."""
        scheme = "http" if self.context is None else "https"
        return f"{scheme}://localhost:{self.port}{path}"
