# SPDX-License-Identifier: Apache-2.0
"""Log lines for a syslog server or journald, sent by a thread of their own.

A server that is slow or away holds nobody: lines wait in a bounded queue, and the thread tries again. Over
TCP and TLS a line may come twice after a lost connection. Sources: RFC 5424 (messages), RFC 5426 (UDP), RFC
6587 section 3.4 (TCP), RFC 5425 (TLS), RFC 3164 section 4.1 without a host name (sockets of this machine),
and "Native Journal Protocol" of systemd.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from tidegate.errors import ConfigError, Problem

FACILITIES: Final = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8,
    "cron": 9, "authpriv": 10, "ftp": 11, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
"""RFC 5424 section 6.2.1, by the names that syslog servers use."""
SEVERITIES: Final = {b"debug": 7, b"info": 6, b"warn": 4, b"error": 3}
JOURNAL: Final = "/run/systemd/journal/socket"
SECONDS: Final = 5.0
"""Seconds that connecting or sending may take."""
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds between tries, which double."""
PIECE_BYTES: Final = 64 * 1024
"""Bytes handed to a connection at once; as much is sent again after it broke."""

Transport = Literal["unix", "udp", "tcp", "tls", "journald"]
_ADDRESS: Final = re.compile(
    r"(?P<how>udp|tcp|tls)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(?P<port>[0-9]{1,5}))?"
    r"|(?P<local>unix|journald):(?P<path>/[^\x00]*)?"
)
_HEAD: Final = re.compile(rb'\{"time":"([^"]{10,40})","level":"([a-z]+)","sender":"([^"\\]*)')
_PORTS: Final = {"udp": 514, "tcp": 514, "tls": 6514}
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_IN_HEADER: Final = re.compile(rb"[^!-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogOptions:
    """Target of lines, and their form.

    Attributes:
        transport: UDP, TCP, TLS, a socket of this machine, or the journal.
        host: name or address of the server; empty for sockets of this machine.
        port: its port.
        path: of a socket of this machine.
        facility: number of RFC 5424 section 6.2.1.
        app_name: APP-NAME of RFC 5424; 48 characters at most.
        newlines: TCP and TLS end a message with a line feed, and do not begin it with its length.
        max_bytes: of a message; what is longer is cut.
        ca_file: certificates that the server's must come from; empty are those of the system.
        certificate_file: certificate that this client shows; empty shows none.
        certificate_key_file: its key; empty is in the same file.
    """

    transport: Transport
    host: str = ""
    port: int = 0
    path: str = ""
    facility: int = 16
    app_name: str = "tidegate"
    newlines: bool = False
    max_bytes: int = 8192
    ca_file: str = ""
    certificate_file: str = ""
    certificate_key_file: str = ""

    @property
    def label(self) -> str:
        """The address, for messages."""
        return f"{self.transport}://{self.host}:{self.port}" if self.host else f"{self.transport}:{self.path}"


def parse_address(text: str) -> tuple[Transport, str, int, str]:
    """Transport, host, port and path of an address.

    Args:
        text: ``udp://HOST[:PORT]``, ``tcp://...``, ``tls://...``, ``unix:[PATH]`` or ``journald:[PATH]``.

    Raises:
        ValueError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(
            "not of the form udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, unix:/PATH or journald:"
        )
    if found["local"] == "journald":
        return "journald", "", 0, found["path"] or JOURNAL
    if found["local"]:
        return "unix", "", 0, found["path"] or "/dev/log"
    how: Transport = {"udp": "udp", "tcp": "tcp"}.get(found["how"], "tls")  # type: ignore[assignment]
    port = int(found["port"] or _PORTS[how])
    if not 0 < port < 65_536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    host = found["host"].strip("[]")
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError(f"{host[:80]!r} is not the name of a host") from None
    return how, host, port, ""


class SyslogSender:
    """Sends lines; all but `close_soon` is called by the one thread that writes.

    Args:
        options: the target.
        tell: called with a text when the server goes away and when it is back.

    Attributes:
        dropped: lines that were given up: too long for the socket, or not sent while the log was closed.

    Raises:
        ConfigError: a file of certificates cannot be read.
    """

    def __init__(self, options: SyslogOptions, tell: Callable[[str], None]) -> None:
        self.dropped = 0
        self._options = options
        self._tell = tell
        self._tls = _context(options) if options.transport == "tls" else None
        self._closing = threading.Event()
        self._connection: socket.socket | None = None
        self._away = False
        self._header = (
            _NOT_IN_HEADER.sub(b"-", socket.gethostname().encode())[:255] or b"-",
            (_NOT_IN_HEADER.sub(b"-", options.app_name.encode())[:48] or b"-"),
        )

    def close_soon(self) -> None:
        """From now on nothing is tried twice. Called by any thread."""
        self._closing.set()

    def write(self, lines: bytes) -> None:
        """Send whole lines; returns when they are sent, or given up because the log is closed."""
        messages = [self._message(line) for line in lines.splitlines()]
        pieces = _pieces(messages) if self._is_stream else [[message] for message in messages]
        pause = FIRST_PAUSE
        for piece in pieces:
            while not self._try(b"".join(piece)):
                if self._closing.wait(pause):
                    self.dropped += len(piece)
                    break
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                pause = FIRST_PAUSE

    def try_to_connect(self) -> str:
        """Connect, for a check; returns why that fails, empty if it does not."""
        try:
            self._connect()
        except OSError as error:
            return error.strerror or str(error)
        self.close()
        return ""

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    # -- messages ------------------------------------------------------------------------------------------

    @property
    def _is_stream(self) -> bool:
        return self._options.transport in ("tcp", "tls")

    def _message(self, line: bytes) -> bytes:
        options = self._options
        found = _HEAD.match(line)
        stamp, level, sender = found.groups() if found else (b"-", b"error", b"log")
        severity = SEVERITIES.get(level, 6)
        host, name = self._header
        if options.transport == "journald":
            fields = b"PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\nSYSLOG_PID=%d\nMESSAGE=" % (
                severity, options.facility, name, os.getpid(),
            )  # fmt: skip
            return _cut(fields + line, options.max_bytes - 1) + b"\n"
        if options.transport == "unix":  # daemons read this form alone from their own socket
            moment = time.strftime(f"{_MONTHS[time.localtime().tm_mon - 1]} %e %H:%M:%S").encode()
            head = b"<%d>%s %s[%d]: " % (options.facility * 8 + severity, moment, name, os.getpid())
            return _cut(head + line, options.max_bytes)
        kind = _NOT_IN_HEADER.sub(b"-", sender)[:32] or b"-"
        head = b"<%d>1 %s %s %s %d %s - " % (
            options.facility * 8 + severity, stamp, host, name, os.getpid(), kind,
        )  # fmt: skip
        message = _cut(head + line, options.max_bytes)
        if not self._is_stream:
            return message
        return message + b"\n" if options.newlines else b"%d %s" % (len(message), message)

    # -- connection ----------------------------------------------------------------------------------------

    def _try(self, piece: bytes) -> bool:
        try:
            connection = self._live() or self._connect()
            connection.sendall(piece) if self._is_stream else connection.send(piece)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:  # it would never go out, and hold up all that come behind it
                self.dropped += 1
                self._tell(f"syslog: {self._options.label}: a line of {len(piece)} bytes is too long there")
                return True
            self.close()
            if not self._away:
                self._away = True
                self._tell(f"syslog: {self._options.label}: {error.strerror or error}; lines wait")
            return False
        if self._away:
            self._away = False
            self._tell(f"syslog: {self._options.label}: lines go out again")
        return True

    def _live(self) -> socket.socket | None:
        """The connection, unless its other end has closed it: what is sent then is lost without an error."""
        connection = self._connection
        if connection is None or not self._is_stream:
            return connection
        connection.settimeout(0)
        try:
            if connection.recv(4096):  # servers have nothing to say; it is not kept
                raise BlockingIOError
        except (BlockingIOError, ssl.SSLWantReadError):
            connection.settimeout(SECONDS)
            return connection
        except OSError:
            pass
        self.close()
        return None

    def _connect(self) -> socket.socket:
        options = self._options
        if self._is_stream:
            made = socket.create_connection((options.host, options.port), timeout=SECONDS)
            if self._tls is not None:
                made = self._tls.wrap_socket(made, server_hostname=options.host)  # closes it if it fails
        else:
            family, address = self._datagram_address()
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.settimeout(SECONDS)
            try:
                made.connect(address)
            except OSError:
                made.close()
                raise
        self._connection = made
        return made

    def _datagram_address(self) -> tuple[int, str | tuple[object, ...]]:
        options = self._options
        if options.transport != "udp":
            return socket.AF_UNIX, options.path
        found = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_DGRAM)
        return found[0][0], found[0][4]


def _pieces(messages: list[bytes]) -> list[list[bytes]]:
    """Messages of a stream, in pieces of `PIECE_BYTES` at most, or of one message."""
    pieces: list[list[bytes]] = []
    size = 0
    for message in messages:
        if not pieces or size + len(message) > PIECE_BYTES:
            pieces.append([])
            size = 0
        pieces[-1].append(message)
        size += len(message)
    return pieces


def _cut(message: bytes, limit: int) -> bytes:
    """The message, or so much of it as fits, without half a character."""
    return message if len(message) <= limit else message[:limit].decode("utf-8", "ignore").encode()


def _context(options: SyslogOptions) -> ssl.SSLContext:
    where = "syslog.ca_file" if options.ca_file else "syslog"
    try:
        context = ssl.create_default_context(cafile=options.ca_file or None)
        if options.certificate_file:
            where = "syslog.certificate_file"
            context.load_cert_chain(options.certificate_file, options.certificate_key_file or None)
    except (OSError, ssl.SSLError) as error:
        name = options.certificate_file if where.endswith("certificate_file") else options.ca_file
        what = "is not a certificate or key of PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError([Problem(where, f"{name}: {what}")]) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
