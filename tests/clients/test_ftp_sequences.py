# SPDX-License-Identifier: Apache-2.0
"""Commands of FTP clients with windows, which cannot run here, in their order: FileZilla, WinSCP, a scanner."""

from __future__ import annotations

import hashlib
import os
import ssl
from collections.abc import Iterator

import pytest
from tests.support.ftp_world import FtpServer, RawFtp, ftp_server
from tests.support.running import Person


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp")) as made:
        yield made


@pytest.fixture
def person(server: FtpServer) -> Iterator[Person]:
    fresh = server.account()
    yield fresh
    assert fresh.leftovers() == []


class Secured:
    """A client that takes up the session of its control connection, as those do."""

    def __init__(self, ftp: RawFtp, context: ssl.SSLContext) -> None:
        self.ftp = ftp
        self.context = context
        assert isinstance(ftp.sock, ssl.SSLSocket)
        self.session = ftp.sock.session

    def transfer(self, command: str, content: bytes | None = None) -> tuple[bytes, list[str]]:
        """Over TLS up to its end: what came, and the codes of both replies."""
        data = self.ftp.passive()
        self.ftp.send(command.encode() + b"\r\n")
        session = self.ftp.sock.session or self.session  # type: ignore[attr-defined]
        with self.context.wrap_socket(
            data, server_hostname="localhost", session=session, suppress_ragged_eofs=False
        ) as secured:
            codes = [self.ftp.reply()[:3]]
            assert secured.session_reused
            received = b""
            if content is not None:
                secured.sendall(content)
            else:
                while chunk := secured.recv(65536):
                    received += chunk
            plain = secured.unwrap()
        plain.close()
        return received, [*codes, self.ftp.reply()[:3]]


def asked(ftp: RawFtp, *commands: tuple[str, int]) -> None:
    for command, code in commands:
        assert ftp.code(command) == code, command


def test_filezilla_stores_resumes_and_fetches(server: FtpServer, person: Person) -> None:
    """On the binding that wants the session taken up, with TLS 1.2 and its one session."""
    content = os.urandom(300_000)
    with RawFtp(server.required) as ftp:
        assert ftp.code("AUTH TLS") == 234
        context = ssl.create_default_context(cafile=str(server.certificate))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        ftp.sock = context.wrap_socket(ftp.sock, server_hostname="localhost")
        ftp.login(person)
        asked(ftp, ("SYST", 215), ("FEAT", 211), ("CLNT FileZilla", 200), ("OPTS UTF8 ON", 200))
        asked(ftp, ("PBSZ 0", 200), ("PROT P", 200))
        asked(ftp, ("OPTS MLST type;size;modify;perm;unix.mode;unix.owner;unix.group;", 200))
        asked(ftp, ("CWD /", 250), ("PWD", 257), ("TYPE I", 200))
        client = Secured(ftp, context)
        assert client.transfer("MLSD")[1] == ["150", "226"]
        asked(ftp, ("MKD Ärger", 257), ("CWD Ärger", 250), ("PWD", 257), ("TYPE I", 200))
        assert client.transfer("STOR a file.bin", content[:100_000])[1] == ["150", "226"]
        asked(ftp, ("SIZE a file.bin", 213), ("MDTM a file.bin", 213), ("REST 100000", 350))
        assert client.transfer("STOR a file.bin", content[100_000:])[1] == ["150", "226"]
        asked(ftp, ("MFMT 20200102030407 a file.bin", 213))
        listed = client.transfer("MLSD")[0].decode()
        line = next(line for line in listed.split("\r\n") if line.endswith(" a file.bin"))
        assert "type=file;size=300000;modify=20200102030407;" in line
        asked(ftp, ("REST 200000", 350))
        assert client.transfer("RETR a file.bin") == (content[200_000:], ["150", "226"])
        asked(ftp, ("RNFR a file.bin", 350), ("RNTO /moved.bin", 250), ("CWD /", 250), ("RMD Ärger", 250))
        asked(ftp, ("SITE CHMOD 640 moved.bin", 200))
    assert (person.home / "moved.bin").read_bytes() == content
    assert (person.home / "moved.bin").stat().st_mode & 0o777 == 0o640


def test_winscp_compares_by_digests_and_keeps_dates(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        asked(ftp, ("SYST", 215), ("FEAT", 211), ("OPTS UTF8 ON", 200), ("CLNT WinSCP-release-6.3.5", 200))
        asked(ftp, ("OPTS MLST type;size;modify;perm;unix.mode;unix.owner;unix.group;", 200))
        asked(ftp, ("PWD", 257), ("CWD /", 250), ("PWD", 257), ("TYPE A", 200))
        assert ftp.fetch("MLSD")[2][:3] == "226"
        asked(ftp, ("TYPE I", 200))
        # It stores under a name beside, sets the date, and then renames.
        assert ftp.store("STOR report.txt.filepart", b"content")[1][:3] == "226"
        asked(ftp, ("MFMT 20200102030407 report.txt.filepart", 213))
        asked(ftp, ("RNFR report.txt.filepart", 350), ("RNTO report.txt", 250))
        asked(ftp, ("OPTS HASH SHA-1", 200))
        digest = hashlib.sha1(b"content").hexdigest()
        assert ftp.ask("HASH report.txt") == f"213 SHA-1 0-7 {digest} report.txt"
        assert ftp.ask('XSHA1 "report.txt"').lower() == f"250 {digest}"
        assert int(ftp.ask("AVBL /")[4:]) > 0
        asked(ftp, ("SITE CPFR report.txt", 350), ("SITE CPTO copy.txt", 250))
        facts = ftp.ask("MLST report.txt").split("\n")[1]
        assert "modify=20200102030407;" in facts and "UNIX.mode=" in facts
        asked(ftp, ("DELE copy.txt", 250), ("QUIT", 221))
    assert (person.home / "report.txt").read_bytes() == b"content"
    assert (person.home / "report.txt").stat().st_mtime == 1_577_934_247


def test_a_scanner_that_knows_little(server: FtpServer, person: Person) -> None:
    """No FEAT, PASV with six numbers, names of one directory at a time, and no QUIT."""
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        asked(ftp, ("TYPE I", 200), ("CWD scans", 550), ("MKD scans", 257), ("CWD scans", 250))
        for number in range(2):
            first, last = ftp.store("STOU", b"page %d" % number)
            assert (first[:3], last[:3]) == ("150", "226")
        asked(ftp, ("NOOP", 200))
    pages = sorted(path.read_bytes() for path in (person.home / "scans").iterdir())
    assert pages == [b"page 0", b"page 1"]
