# SPDX-License-Identifier: Apache-2.0
"""Lines for a syslog server: their form, servers that go away and come back, and what is given up."""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import ConfigError
from tidegate.logs import LogOptions, open_log
from tidegate.logs.lines import event_line
from tidegate.logs.setup import _Handler
from tidegate.logs.syslog import PIECE_BYTES, SyslogOptions, SyslogSender, _pieces, parse_address
from tidegate.logs.writer import Writer

LINE = event_line(1_795_000_000.123, 30, "Upload", {"username": "ana", "path": "/grüße.txt"})
MESSAGE = re.compile(
    rb"<(?P<pri>\d+)>1 (?P<time>\S+) (?P<host>\S+) (?P<app>\S+) (?P<pid>\d+) (?P<kind>\S+) - (?P<text>\{.*)",
    re.DOTALL,
)


class Receiver:
    """A syslog server for TCP; `got` has what came over each connection, None at its end."""

    def __init__(self, port: int = 0) -> None:
        self.got: queue.Queue[bytes | None] = queue.Queue()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self.listener.getsockname()[1]
        self.open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.open.append(connection)
                threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65_536):
                self.got.put(data)
        self.got.put(None)

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self.got.get(timeout=20) or b""
        return data

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # ends accept()
        self.listener.close()
        for one in self.open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


def tcp(port: int, **more: object) -> SyslogOptions:
    return SyslogOptions(transport="tcp", host="127.0.0.1", port=port, **more)  # type: ignore[arg-type]


def unframed(data: bytes) -> list[bytes]:
    """Messages of a stream with lengths (RFC 6587 section 3.4.1)."""
    found = []
    while data:
        length, _, data = data.partition(b" ")
        found.append(data[: int(length)])
        data = data[int(length) :]
    return found


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("udp://logs.example.com", ("udp", "logs.example.com", 514, "")),
        ("tcp://[::1]:1514", ("tcp", "::1", 1514, "")),
        ("tls://logs.example.com", ("tls", "logs.example.com", 6514, "")),
        ("unix:/run/log", ("unix", "", 0, "/run/log")),
        ("unix:", ("unix", "", 0, "/dev/log")),
        ("journald:", ("journald", "", 0, "/run/systemd/journal/socket")),
    ],
)
def test_addresses(text: str, parsed: tuple[str, str, int, str]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "logs.example.com",
        "http://x",
        "tcp://",
        "tcp://a b",
        "udp://x:0",
        "tls://x:65536",
        "unix:log",
        "tcp://x:1/",
        "udp://a..b",
        f"tcp://{'x' * 64}.example.com",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        parse_address(text)


def test_a_message_has_the_head_of_rfc_5424_and_the_line_as_it_is(receiver: Receiver) -> None:
    sender = SyslogSender(tcp(receiver.port, facility=16, app_name="gw"), print)
    sender.write(LINE + LINE.replace(b'"warn"', b'"info"'))
    expected = LINE.rstrip(b"\n")
    data = b""
    while data.count(b"} ") + data.count(b"}") < 2:
        data += receiver.got.get(timeout=20) or b""
    first, second = unframed(data)
    found = MESSAGE.fullmatch(first)
    assert found is not None, first
    assert (found["pri"], found["time"], found["app"], found["kind"]) == (
        b"132", b"2026-11-18T11:06:40.123Z", b"gw", b"Upload",
    )  # fmt: skip
    assert found["text"] == expected
    assert second.startswith(b"<134>1 ")
    sender.close()


def test_a_long_message_is_cut_between_characters(receiver: Receiver) -> None:
    sender = SyslogSender(tcp(receiver.port, max_bytes=480, newlines=True), print)
    sender.write(event_line(1_795_000_000.0, 20, "Upload", {"path": "/" + "ü" * 600}))
    data = b""
    while not data.endswith(b"\n"):
        data += receiver.got.get(timeout=20) or b""
    assert 470 < len(data) <= 481
    data.decode()
    sender.close()


def test_a_server_that_comes_back_gets_what_waited(receiver: Receiver) -> None:
    told: list[str] = []
    sender = SyslogSender(tcp(receiver.port, newlines=True), told.append)
    sender.write(LINE)
    assert receiver.read(50)
    receiver.stop()
    assert receiver.got.get(timeout=20) is None
    thread = threading.Thread(target=sender.write, args=(LINE.replace(b"ana", b"second"),))
    thread.start()
    deadline = time.monotonic() + 20
    while not told and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert told and "lines wait" in told[0]
    again = Receiver(receiver.port)
    try:
        assert b"second" in again.read(50)
        thread.join(20)
        assert len(told) == 2 and "go out again" in told[1]
    finally:
        again.stop()
        sender.close()


def test_messages_name_the_address() -> None:
    assert SyslogOptions(transport="unix", path="/run/log").label == "unix:/run/log"
    assert SyslogOptions(transport="tcp", host="log.example", port=514).label == "tcp://log.example:514"


def test_a_closed_log_does_not_wait_for_a_server_that_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sender = SyslogSender(tcp(port), lambda _text: None)
    sender.close_soon()
    begun = time.monotonic()
    sender.write(LINE * 3)
    assert sender.dropped == 3
    assert time.monotonic() - begun < 10


def test_datagrams_go_to_a_socket_of_this_machine_and_to_the_journal(tmp_path: Path) -> None:
    for transport, name in (("unix", "log"), ("journald", "journal")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(tmp_path / name))
            server.settimeout(20)
            options = SyslogOptions(transport=transport, path=str(tmp_path / name))  # type: ignore[arg-type]
            sender = SyslogSender(options, print)
            sender.write(LINE)
            data = server.recv(65_536)
            if transport == "unix":
                assert re.match(rb"<132>[A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d tidegate\[\d+\]: \{", data), (
                    data
                )
            else:
                fields = dict(one.partition(b"=")[::2] for one in data.splitlines())
                assert (fields[b"PRIORITY"], fields[b"SYSLOG_IDENTIFIER"]) == (b"4", b"tidegate")
                assert fields[b"MESSAGE"] + b"\n" == LINE
            sender.close()


def test_a_datagram_that_is_too_long_holds_up_none_behind_it() -> None:
    told: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(20)
        options = SyslogOptions(
            transport="udp", host="127.0.0.1", port=server.getsockname()[1], max_bytes=100_000
        )
        sender = SyslogSender(options, told.append)
        sender.write(LINE.replace(b"ana", b"x" * 80_000) + LINE)
        assert server.recv(100_000).endswith(LINE.rstrip(b"\n"))
        sender.close()
    assert sender.dropped == 1
    assert len(told) == 1 and "too long" in told[0]


def test_pieces_are_bounded_and_lose_nothing() -> None:
    messages = [b"%d" % number * (number % 700 + 1) for number in range(900)]
    pieces = _pieces(messages)
    assert [message for piece in pieces for message in piece] == messages
    assert all(sum(map(len, piece)) <= PIECE_BYTES for piece in pieces)
    assert _pieces([b"x" * (PIECE_BYTES + 1), b"y"]) == [[b"x" * (PIECE_BYTES + 1)], [b"y"]]
    assert _pieces([]) == []


def test_the_log_goes_to_its_file_and_to_syslog_and_says_when_lines_wait(
    receiver: Receiver, tmp_path: Path
) -> None:
    import logging

    log = open_log(LogOptions(file_path=str(tmp_path / "log")), tcp(receiver.port, newlines=True))
    try:
        logging.getLogger("tidegate.test").warning("hello %s", "both")
        log.wait_written()
        data = b""
        while b"hello both" not in data:
            data += receiver.got.get(timeout=20) or b""
        assert "hello both" in (tmp_path / "log").read_text()
        receiver.stop()
        assert receiver.got.get(timeout=20) is None
        logging.getLogger("tidegate.test").warning("while it is away")
    finally:
        log.close()
    text = (tmp_path / "log").read_text()
    assert "while it is away" in text
    assert "lines wait" in text
    assert "1 lines were not sent" in text


def test_without_a_file_the_log_goes_to_syslog_alone(receiver: Receiver) -> None:
    import logging

    log = open_log(LogOptions(), tcp(receiver.port))
    logging.getLogger("tidegate.test").error("no file")
    log.close()
    assert b"no file" in receiver.read(60)


def test_lines_that_find_no_room_are_counted_with_the_reason() -> None:
    held, written = threading.Event(), []

    def write(lines: bytes) -> None:
        written.append(lines)
        held.wait(20)

    writer = Writer(2, write, slow="the syslog server is away or too slow")
    handler = _Handler(writer)
    handler.put_event(1.0, 20, "x", {})
    while not written:
        threading.Event().wait(0.005)
    for _ in range(5):
        handler.put_event(1.0, 20, "x", {})
    held.set()
    writer.stop(20)
    assert b"3 lines lost: the syslog server is away or too slow" in b"".join(written)


def test_a_missing_file_of_authorities_is_named(tmp_path: Path) -> None:
    options = SyslogOptions(transport="tls", host="x", port=1, ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(ConfigError, match=r"syslog.ca_file: .*none.pem: No such file"):
        SyslogSender(options, print)
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="is not a certificate or key of PEM"):
        SyslogSender(options, print)
