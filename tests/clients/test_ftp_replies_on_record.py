# SPDX-License-Identifier: Apache-2.0
"""Log lines of FTP tell the command and the code of its reply, as the client got it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.ftp_world import FtpServer, RawFtp, ftp_server
from tests.support.running import Person

from tidegate.model import Filters


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp"), data_timeout=1, stall_timeout=1) as made:
        yield made


class Told:
    """A client, and what the log tells of it."""

    def __init__(self, server: FtpServer, person: Person) -> None:
        self.server, self.person = server, person
        self.ftp = RawFtp(server.plain)
        self.ftp.login(person)

    def line(self, sender: str, **fields: Any) -> dict[str, Any]:
        return self.server.running.wait_line(sender, username=self.person.name, **fields)


@pytest.fixture
def told(server: FtpServer) -> Iterator[Told]:
    made = Told(server, server.account())
    with made.ftp:
        yield made


def test_transfers_that_end_well(told: Told) -> None:
    assert told.ftp.store("STOR f", b"one")[1].startswith("226")
    assert told.ftp.store("APPE f", b"two")[1].startswith("226")
    assert told.ftp.store("STOU", b"x")[1].startswith("226")
    assert told.ftp.fetch("RETR f")[1] == b"onetwo"
    for command, sender in (("STOR", "Upload"), ("APPE", "Upload"), ("STOU", "Upload"), ("RETR", "Download")):
        assert told.line(sender, command=command)["reply"] == 226


@pytest.mark.parametrize(
    ("command", "code", "sender"),
    [
        ("DELE f", 250, "Remove"),
        ("MKD d", 257, "Mkdir"),
        ("MFMT 20200101000000 f", 213, "Chtimes"),
        ("SITE CHMOD 600 f", 200, "Chmod"),
    ],
)
def test_what_is_no_transfer(told: Told, command: str, code: int, sender: str) -> None:
    (told.person.home / "f").write_bytes(b"x")
    assert told.ftp.code(command) == code
    line = told.line(sender)
    assert (line["command"], line["reply"]) == (
        " ".join(command.split()[:2]) if command.startswith("SITE") else command.split(maxsplit=1)[0],
        code,
    )


def test_no_data_connection(told: Told) -> None:
    assert told.ftp.code("EPSV") == 229
    assert told.ftp.code("STOR f") == 150
    assert told.ftp.reply().startswith("425")
    line = told.line("failed", command="STOR")
    assert (line["reply"], line["virtual_path"]) == (425, "/f")
    (told.person.home / "g").write_bytes(b"x")
    assert told.ftp.code("EPSV") == 229
    assert told.ftp.code("RETR g") == 150
    assert told.ftp.reply().startswith("425")
    line = told.line("Download", command="RETR")
    assert (line["reply"], line["status"]) == (425, "failed")


def test_a_data_connection_that_breaks(told: Told) -> None:
    data = told.ftp.passive()
    assert told.ftp.code("STOR f") == 150
    data.sendall(b"x" * 10)
    assert told.ftp.reply().startswith("426")  # it does not move
    data.close()
    line = told.line("Upload", command="STOR")
    assert (line["reply"], line["status"]) == (426, "failed")


def test_abor(told: Told) -> None:
    data = told.ftp.passive()
    assert told.ftp.code("STOR f") == 150
    data.sendall(b"x" * 10)
    assert told.ftp.code("ABOR") == 426
    assert told.ftp.reply().startswith("226")
    data.close()
    line = told.line("Upload", command="ABOR")
    assert (line["reply"], line["status"], line["virtual_path"]) == (426, "failed", "/f")


def test_refusals(server: FtpServer) -> None:
    person = server.account(quota_size=1000, filters=Filters(max_upload_file_size=100))
    told = Told(server, person)
    with told.ftp:
        assert told.ftp.store("STOR big", os.urandom(5000))[1].startswith("552")
        assert told.line("Upload", command="STOR", status="quota")["reply"] == 552
        told.ftp.code("NOOP")
        assert told.ftp.code("DELE absent") == 550
        assert told.line("failed", command="DELE")["reply"] == 550
        assert told.ftp.code("RNFR absent") == 550
    barred = Told(server, server.account(permissions={"/": ("list",)}))
    with barred.ftp:
        assert barred.ftp.store("STOR f", b"x")[0].startswith("550")
        assert barred.line("refused", command="STOR")["reply"] == 550


def test_other_doors_have_no_such_fields(server: FtpServer) -> None:
    assert all("command" not in line for line in server.running.lines("login"))
