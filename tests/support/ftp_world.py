# SPDX-License-Identifier: Apache-2.0
"""A running product with FTP on loopback, and a client that speaks to it line by line."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.certificates import certificate
from tests.support.ports import free_port
from tests.support.running import Person, Running, running

SECONDS = 20.0


@dataclass
class FtpServer:
    """A server with one binding of each kind.

    Attributes:
        plain: port in the clear, TLS by AUTH.
        required: port that wants TLS, and the session of the control connection on data connections.
        implicit: port with TLS from the first byte on.
        mode: `common.upload_mode`, for tests that set it.
    """

    running: Running
    plain: int
    required: int
    implicit: int
    certificate: Path
    mode: int = 1

    def account(self, **fields: Any) -> Person:
        return self.running.account(**fields)


@contextlib.contextmanager
def ftp_server(
    directory: Path,
    *,
    other: dict[str, dict[str, Any]] | None = None,
    environment: dict[str, str] | None = None,
    binding: dict[str, Any] | None = None,
    **section: Any,
) -> Iterator[FtpServer]:
    """Start one.

    `section` is added to ``ftpd``, `binding` to each binding, `other` are further sections, `environment`
    variables.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / "tls"
    made.mkdir()
    pem = certificate(made, "localhost")
    ports = [free_port() for _ in range(3)]
    tls = {"certificate_file": str(pem), "certificate_key_file": str(pem.with_name("key.pem"))}
    common = {"address": "127.0.0.1", **tls, **(binding or {})}
    bindings = [
        {"port": ports[0], "plain_login": True, "clear_command_channel": True, **common},
        {"port": ports[1], "tls_mode": 1, "tls_session_reuse": "require", **common},
        {"port": ports[2], "tls_mode": 2, **common},
    ]
    settings = {"ftpd": {"bindings": bindings, "passive_port_range": {"start": 0, "end": 0}, **section}}
    settings |= other or {}
    with running(directory / "config", settings=settings, environment=environment) as server:
        yield FtpServer(server, ports[0], ports[1], ports[2], pem)


@dataclass
class RawFtp:
    """A client that sends what a test says, and reads whole replies."""

    port: int
    sock: socket.socket = field(init=False)
    _buffer: bytes = b""

    def __post_init__(self) -> None:
        self.sock = socket.create_connection(("127.0.0.1", self.port), SECONDS)
        self.greeting = self.reply()

    @classmethod
    def over(cls, sock: socket.socket, port: int) -> RawFtp:
        """Speak over a connection that is there."""
        made = cls.__new__(cls)
        made.port, made.sock, made._buffer = port, sock, b""
        made.greeting = made.reply()
        return made

    def __enter__(self) -> RawFtp:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError(self._buffer)
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def reply(self) -> str:
        """The next reply, all of its lines."""
        first = self.line()
        lines = [first]
        if first[3:4] == b"-":
            while not lines[-1].startswith(first[:3] + b" "):
                lines.append(self.line())
        return b"\n".join(lines).decode("utf-8", "surrogateescape")

    def ask(self, command: str) -> str:
        """Send a command and read one reply."""
        self.send(command.encode("utf-8", "surrogateescape") + b"\r\n")
        return self.reply()

    def code(self, command: str) -> int:
        return int(self.ask(command)[:3])

    def login(self, person: Person) -> None:
        assert self.code(f"USER {person.name}") == 331
        assert self.code(f"PASS {person.password}") == 230

    def secure(self, pem: Path) -> ssl.SSLContext:
        """AUTH TLS; returns the context, for data connections."""
        context = ssl.create_default_context(cafile=str(pem))
        assert self.code("AUTH TLS") == 234
        self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        return context

    def passive(self) -> socket.socket:
        """A data connection by EPSV."""
        match = re.search(r"\|\|\|([0-9]+)\|", self.ask("EPSV"))
        assert match
        return socket.create_connection(("127.0.0.1", int(match[1])), SECONDS)

    def fetch(self, command: str) -> tuple[str, bytes, str]:
        """A command that sends data: first reply, data, last reply."""
        data = self.passive()
        first = self.ask(command)
        received = b""
        with data:
            if first[0] != "1":
                return first, b"", ""
            while chunk := data.recv(1 << 20):
                received += chunk
        return first, received, self.reply()

    def store(self, command: str, content: bytes) -> tuple[str, str]:
        """A command that takes data: first and last reply."""
        data = self.passive()
        first = self.ask(command)
        with data:
            if first[0] != "1":
                return first, ""
            data.sendall(content)
        return first, self.reply()
