# SPDX-License-Identifier: Apache-2.0
"""FTP clients that do not mean well, do not read, go away, or are slow: nothing stays taken, nothing hangs."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator

import httpx2
import pytest
from tests.support.ftp_world import FtpServer, RawFtp, ftp_server
from tests.support.ports import free_port
from tests.support.running import Person, wait_for

HANDLES = 4
API = free_port()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(
        tmp_path_factory.mktemp("ftp"),
        other={
            "limits": {"handles_per_account": HANDLES},
            "data_provider": {"create_default_admin": True},
            "httpd": {"bindings": [{"port": API}]},
        },
        environment={
            "TIDEGATE_DEFAULT_ADMIN_USERNAME": "boss",
            "TIDEGATE_DEFAULT_ADMIN_PASSWORD": "a long and boring password",
        },
        stall_timeout=1,
        data_timeout=6,
        login_timeout=8,
    ) as made:
        yield made


@pytest.fixture
def person(server: FtpServer) -> Iterator[Person]:
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []


@pytest.fixture
def ftp(server: FtpServer, person: Person) -> Iterator[RawFtp]:
    with RawFtp(server.plain) as client:
        client.login(person)
        yield client


def _open(server: FtpServer) -> set[str]:
    """Sockets and files that the server has open."""
    found = set()
    with os.scandir(f"/proc/{server.running.pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                found.add(os.readlink(entry.path))
    return found


def _flooded(ftp: RawFtp, command: bytes) -> None:
    """Ask without reading an answer, until the server takes no more."""
    ftp.sock.settimeout(0.3)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while True:
            ftp.sock.send(command * 1000)
    ftp.sock.settimeout(20)


# -- what is taken is given back ---------------------------------------------------------------------------


def test_transfers_that_do_not_begin_hold_no_handle(server: FtpServer, person: Person) -> None:
    (person.home / "f").write_bytes(b"x")
    for command in ("RETR missing", "REST 10\r\nRETR f", "STOR missing/f"):
        for _ in range(HANDLES + 1):
            with RawFtp(server.plain) as ftp:
                ftp.login(person)
                data = ftp.passive()
                for line in command.split("\r\n"):
                    last = ftp.ask(line)
                assert last[:3] in ("550", "554"), last
                data.close()
                ftp.ask("QUIT")
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        assert ftp.fetch("RETR f")[1] == b"x"


def test_a_transfer_that_is_ended_before_it_began(server: FtpServer, ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_bytes(b"old")
    before = _open(server)
    for command in ("RETR f", "STOR f", "LIST", "MLSD"):
        assert ftp.code("EPSV") == 229
        ftp.send(f"{command}\r\nABOR\r\n".encode())
        replies = []
        while not replies or not replies[-1].startswith("226"):
            replies.append(ftp.reply()[:3])
        assert replies[-2:] == ["426", "226"], command
        assert _open(server) <= before, command


def test_a_client_that_reads_no_reply_loses_its_place(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as late:
        late.login(person)  # the first login opens the database's files
        with RawFtp(server.plain) as early:
            before = server.running.descriptors()
            _flooded(early, b"FEAT\r\n")
            _flooded(late, b"FEAT\r\n")
            gone = before - 2
            wait_for(lambda: server.running.descriptors() <= gone, "connections that nobody reads stay", 15)


def test_who_is_sent_away_transfers_no_more(server: FtpServer, person: Person) -> None:
    with (
        httpx2.Client(base_url=f"http://127.0.0.1:{API}/api/v2") as rest,
        RawFtp(server.plain) as ftp,
    ):
        token = rest.get("/token", auth=("boss", "a long and boring password")).json()["access_token"]
        rest.headers["Authorization"] = f"Bearer {token}"
        ftp.login(person)
        data = ftp.passive()
        assert ftp.code("STOR f") == 150
        ftp.send(b"QUIT\r\n")
        (shown,) = [one for one in rest.get("/connections").json() if one["username"] == person.name]
        assert rest.delete(f"/connections/{shown['connection_id']}").status_code == 200
        assert ftp.reply()[:3] == "421"
        with data, pytest.raises(OSError):
            while True:  # a client that goes on sending would keep its transfer alive
                data.sendall(b"x" * 100_000)
    server.running.wait_line("disconnected", username=person.name)


def test_clients_that_go_away_within_a_handshake(server: FtpServer) -> None:
    with RawFtp(server.plain) as ftp:
        assert ftp.code("AUTH TLS") == 234
        before = server.running.descriptors()
        for _ in range(5):
            with RawFtp(server.plain) as gone:
                gone.send(b"AUTH TLS\r\n")
            with socket.create_connection(("127.0.0.1", server.implicit)) as gone_too:
                gone_too.sendall(b"\x16\x03\x01")
        wait_for(lambda: server.running.descriptors() <= before, "they keep their places", 3)


def test_a_slow_upload_that_moves_goes_on(ftp: RawFtp, person: Person) -> None:
    data = ftp.passive()
    assert ftp.code("STOR slow") == 150
    with data:
        for _ in range(8):
            data.sendall(b"x" * 100)
            time.sleep(0.4)  # the case: less than the server waits for at once, for longer than it waits
    assert ftp.reply() == "226 Stored."
    assert (person.home / "slow").stat().st_size == 800


def test_a_slow_download_that_moves_goes_on(ftp: RawFtp, person: Person) -> None:
    with open(person.home / "big", "wb") as file:
        file.truncate(12_000_000)
    ftp_data = socket.socket()
    ftp_data.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    match = re.search(r"\|\|\|([0-9]+)\|", ftp.ask("EPSV"))
    assert match
    ftp_data.connect(("127.0.0.1", int(match[1])))
    assert ftp.code("RETR big") == 150
    with ftp_data:
        for _ in range(8):
            ftp_data.recv(5000)
            time.sleep(0.4)
        got = 0
        while chunk := ftp_data.recv(1 << 20):
            got += len(chunk)
    assert ftp.reply()[:3] == "226"


def test_our_own_waits_are_not_the_clients_stall(server: FtpServer) -> None:
    person = server.account(upload_bandwidth=64, download_bandwidth=64)
    content = os.urandom(400_000)
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        assert ftp.store("STOR f", content)[1] == "226 Stored."
        assert ftp.fetch("RETR f")[1] == content


def test_parts_that_cannot_be_combined_leave_the_target_as_it_was(server: FtpServer) -> None:
    person = server.account(quota_size=12_000)
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        for name, size in (("whole", 100), ("p1", 3000), ("p2", 5000)):
            assert ftp.store(f"STOR {name}", name[0].encode() * size)[1][:3] == "226"
        assert ftp.code("COMB whole p1 missing") == 550
        assert (person.home / "whole").stat().st_size == 100
        assert ftp.ask("COMB whole p1 p2")[:3] == "552"
        assert (person.home / "whole").read_bytes() == b"w" * 100
        assert ftp.code("COMB new p1 missing") == 550
        assert sorted(os.listdir(person.home)) == ["p1", "p2", "whole"]


def test_a_dear_pattern_keeps_nobody_waiting(server: FtpServer, ftp: RawFtp, person: Person) -> None:
    for index in range(2000):
        (person.home / f"{index:05}{'a' * 240}").touch()
    (person.home / "abx").touch()
    with RawFtp(server.plain) as other:
        other.login(person)
        data = ftp.passive()
        ftp.send(b"NLST *" + b"[a-z]" * 40 + b"Z*x\r\n")
        assert other.code("NOOP") == 200
        assert ftp.reply()[:3] == "150"
        with data:
            assert data.recv(100) == b""
        assert ftp.reply()[:3] == "226"
    assert ftp.fetch("NLST a*x")[1] == b"abx\r\n"


def test_nothing_is_made_behind_an_offset(ftp: RawFtp, person: Person) -> None:
    assert ftp.code("REST 100") == 350
    assert ftp.store("STOR new", b"x")[0][:3] == "550"
    assert not (person.home / "new").exists()


@pytest.mark.parametrize("name", ["x" * 8000, "a\0b", "\udcff\udcfe", "../x"])
def test_names_of_users(server: FtpServer, name: str) -> None:
    with RawFtp(server.plain) as ftp:
        assert ftp.code(f"USER {name}") in (331, 501)
        assert ftp.code("PASS x") in (530, 503)
