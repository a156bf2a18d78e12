# SPDX-License-Identifier: Apache-2.0
"""FTP line by line against the running product: replies, codes, and what clients and attackers try."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import socket
import ssl
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ftp_world import SECONDS, FtpServer, RawFtp, ftp_server
from tests.support.ports import free_port
from tests.support.running import Person, running

from tidegate.doors.ftp.conversation import Next
from tidegate.doors.ftp.ways import Passive
from tidegate.model import FilePatterns, Filters


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp"), stall_timeout=2, data_timeout=2) as made:
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


# -- login -------------------------------------------------------------------------------------------------


def test_nothing_is_told_before_a_login(server: FtpServer) -> None:
    with RawFtp(server.plain) as ftp:
        assert ftp.greeting == "220 Tidegate ready"
        for command in (
            "PWD",
            "CWD /",
            "LIST",
            "PASV",
            "EPSV",
            "RETR x",
            "SITE HELP",
            "STAT /",
            "MLST",
            "AVBL",
        ):
            assert ftp.code(command) == 530, command
        assert ftp.code("PASS x") == 503
        assert ftp.code("NOOP") == 200
        assert ftp.ask("SYST") == "215 UNIX Type: L8"


def test_wrong_passwords_end_the_connection_after_three(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp:
        for _ in range(3):
            assert ftp.code(f"USER {person.name}") == 331
            assert ftp.ask("PASS wrong") == "530 Login incorrect."
        with pytest.raises(EOFError):
            ftp.line()
    server.running.wait_line("connection_failed", username=person.name, protocol="FTP")


def test_a_login_cannot_become_another_users(ftp: RawFtp) -> None:
    assert ftp.code("USER somebody") == 530
    assert ftp.code("PWD") == 257


def test_the_binding_that_wants_tls_takes_no_password_before(server: FtpServer, person: Person) -> None:
    with RawFtp(server.required) as ftp:
        assert ftp.code(f"USER {person.name}") == 530
        assert ftp.code(f"PASS {person.password}") == 503
        ftp.secure(server.certificate)
        ftp.login(person)
        assert ftp.code("PROT C") == 534
        assert ftp.code("EPSV") == 229
        assert ftp.code("LIST") == 522


def test_the_record_tells_ftp_and_ftps_apart(server: FtpServer) -> None:
    """By the control connection: in the clear, from AUTH TLS on, and with TLS from the first byte."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    for door, protocol in ((server.plain, "FTP"), (server.required, "FTPS"), (server.implicit, "FTPS")):
        person = server.account()
        if door == server.implicit:
            ftp = RawFtp.over(context.wrap_socket(socket.create_connection(("127.0.0.1", door), SECONDS),
                                                  server_hostname="localhost"), door)  # fmt: skip
        else:
            ftp = RawFtp(door)
        with ftp:
            if door == server.required:
                ftp.secure(server.certificate)
            ftp.login(person)
            assert ftp.code("MKD made") == 257
        for sender in ("login", "Mkdir", "disconnected"):
            line = server.running.wait_line(sender, username=person.name)
            assert line["protocol"] == protocol, (door, line)


@pytest.mark.parametrize(
    "behind", [b"USER intruder\r\nPASS x\r\n", b"USER intr", b"\xff\xfd", b"\x16\x03\x01"]
)
def test_what_comes_in_the_packet_of_auth_ends_the_connection(server: FtpServer, behind: bytes) -> None:
    """Injected by somebody on the way, it would be carried out as if it had come encrypted."""
    with RawFtp(server.plain) as ftp:
        own = f"127.0.0.1:{ftp.sock.getsockname()[1]}"
        ftp.send(b"AUTH TLS\r\n" + behind)
        assert ftp.reply()[:3] == "421"
        with pytest.raises(EOFError):
            ftp.reply()
    connection = server.running.wait_line("connected", remote_addr=own)["connection_id"]
    line = server.running.wait_line("disconnected", connection_id=connection)
    assert (line["by"], line["error"], line["username"]) == (
        "plaintext_injection", "plaintext behind AUTH", "",
    )  # fmt: skip
    told = [one["message"] for one in server.running.lines() if connection in one.get("message", "")]
    assert len(told) == 1
    assert "plaintext injection" in told[0]


def test_no_tls_in_tls_and_none_after_the_login(server: FtpServer, ftp: RawFtp) -> None:
    assert ftp.code("AUTH TLS") == 503
    with RawFtp(server.plain) as other:
        assert other.code("AUTH KERBEROS") == 504
        assert other.code("PBSZ 0") == 503
        assert other.code("PROT P") == 503
        other.secure(server.certificate)
        assert other.code("AUTH TLS") == 503
        assert other.code("PBSZ 0") == 200
        assert other.code("PROT X") == 504
        assert other.code("PROT S") == 536


def test_ccc_goes_back_to_the_clear(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp:
        ftp.secure(server.certificate)
        ftp.login(person)
        assert ftp.code("CCC") == 200
        ftp.sock = ftp.sock.unwrap()  # type: ignore[attr-defined]
        assert ftp.code("PWD") == 257


# -- replies that SFTPGo or the RFCs decide ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("STRU F", 200), ("stru f", 200), ("STRU R", 504), ("MODE s", 200), ("MODE Z", 504),
        ("TYPE L 8", 200), ("TYPE E", 504), ("TYPE", 501), ("OPTS UTF8 ON", 200), ("OPTS NOSUCH", 501),
        ("OPTS MLST size;", 200), ("SITE HELP", 214), ("SITE CHMOD", 501), ("SITE CHMOD 644", 501),
        ("SITE NOSUCH", 504), ("HELP", 214), ("REIN", 502), ("ACCT x", 202), ("NOSUCH", 500), ("", 500),
        ("EPSV 3", 522), ("EPSV x", 501), ("EPRT |3|127.0.0.1|2000|", 522), ("EPRT x", 501), ("PORT 1", 501),
        ("REST x", 501), ("REST -1", 501), ("REST 5", 350), ("RANG 0 9", 350), ("RANG 9 0", 501),
        ("DELE", 501), ("MKD", 501), ("RNFR", 501), ("SIZE", 501), ("RETR", 501), ("CWD", 501),
        ("RNTO x", 503), ("SITE CPTO x", 503), ("ABOR", 225),
        ("STAT missing", 550), ("MLST missing", 550), ("SIZE missing", 550),
        ("MDTM missing", 550), ("DELE missing", 550), ("RMD missing", 550), ("CWD missing", 550),
        ("RNFR missing", 550), ("HASH missing", 550),
        ("ALLO x", 501), ("ALLO 5", 200), ("MFMT x", 501), ("MFF x", 501), ("HOST there", 503),
        ("LANG fr", 504), ("LANG en", 200), ("CLNT me", 200), ("MFCT 20200101000000 x", 504),
        ("STOR a/", 501), ("CWD a\0b", 553),
    ],
)  # fmt: skip
def test_replies(ftp: RawFtp, command: str, code: int) -> None:
    assert ftp.code(command) == code
    assert ftp.code("NOOP") == 200


def test_a_transfer_without_a_data_connection_is_425(ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_text("x")
    for command in ("LIST", "RETR f", "STOR g", "MLSD"):
        assert ftp.code(command) == 425, command
    assert not (person.home / "g").exists()


def test_epsv_all_holds(ftp: RawFtp) -> None:
    assert ftp.code("EPSV ALL") == 200
    assert ftp.code("PASV") == 501
    assert ftp.code("PORT 127,0,0,1,200,1") == 501
    assert ftp.fetch("LIST")[2][:3] == "226"


def test_data_goes_to_nobody_else(ftp: RawFtp) -> None:
    assert ftp.code("PORT 127,0,0,1,0,22") == 501
    assert ftp.code("PORT 10,0,0,1,200,1") == 501
    assert ftp.code("EPRT |1|192.0.2.1|50000|") == 501


def test_active_mode(ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_bytes(b"content")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        port = listener.getsockname()[1]
        assert ftp.code(f"EPRT |1|127.0.0.1|{port}|") == 200
        assert ftp.code("RETR f") == 150
        data, _ = listener.accept()
        with data:
            assert data.recv(100) == b"content"
        assert ftp.reply()[:3] == "226"


def test_the_public_address_is_named_if_the_binding_says_so(tmp_path: Path) -> None:
    """Of the route here: nobody answers at the endpoint of the metadata service."""
    binding = {"port": free_port(), "address": "127.0.0.1", "plain_login": True, "force_passive_ip": "auto"}
    outside = {"networks": ["127.0.0.0/8"], "ip": "203.0.113.9"}
    other = {**binding, "port": free_port(), "passive_ip_overrides": [outside]}
    settings = {"ftpd": {"bindings": [binding, other]}}
    nowhere = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
    with running(tmp_path / "config", settings=settings, environment=nowhere) as server:
        person = server.account()
        found = find_route()
        for port, address in ((binding["port"], found or "127.0.0.1"), (other["port"], "203.0.113.9")):
            with RawFtp(int(str(port))) as ftp:
                ftp.login(person)
                assert f"({address.replace('.', ',')}," in ftp.ask("PASV")


async def test_a_passive_port_waits_for_a_transfer_for_so_long() -> None:
    passive, following = Passive.listen("127.0.0.1", (0, 0), ""), Next()
    port = passive.port
    following.goes(passive, 0.01)
    while following.way is not None:  # bounded by the time limit of the test
        await asyncio.sleep(0.005)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 5).close()


def find_route() -> str:
    """As the product finds it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def test_passive_ports_are_told_as_six_numbers(ftp: RawFtp) -> None:
    match = re.search(r"\((\d+,\d+,\d+,\d+),(\d+),(\d+)\)", ftp.ask("PASV"))
    assert match and match[1] == "127,0,0,1"
    socket.create_connection(("127.0.0.1", int(match[2]) * 256 + int(match[3])), 10).close()


def test_data_connections_of_other_addresses_are_closed(ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_bytes(b"content")
    match = re.search(r"\|\|\|([0-9]+)\|", ftp.ask("EPSV"))
    assert match
    with socket.create_connection(("127.0.0.1", int(match[1])), 10, source_address=("127.0.0.9", 0)) as thief:
        assert ftp.code("RETR f") == 150
        assert thief.recv(10) == b""
        with socket.create_connection(("127.0.0.1", int(match[1])), 10) as own:
            assert own.recv(100) == b"content"
    assert ftp.reply()[:3] == "226"


def test_a_data_connection_that_never_comes_is_425(ftp: RawFtp) -> None:
    assert ftp.code("EPSV") == 229
    assert ftp.code("STOR never") == 150
    assert ftp.reply()[:3] == "425"


# -- names -------------------------------------------------------------------------------------------------


def test_names_directories_and_attributes(ftp: RawFtp, person: Person) -> None:
    assert ftp.ask('MKD a"b') == '257 "/a""b" was made.'
    assert ftp.code('CWD a"b') == 250
    assert ftp.ask("PWD") == '257 "/a""b" is the current directory.'
    assert ftp.code("CDUP") == 250
    assert ftp.ask("PWD").startswith('257 "/" ')
    assert ftp.store("STOR caf\udce9", b"x") == (
        "150 Opening the data connection for caf\udce9.",
        "226 Stored.",
    )
    assert os.listdir(os.fsencode(person.home)) and (person.home / os.fsdecode(b"caf\xe9")).exists()
    assert ftp.code("RNFR caf\udce9") == 350
    assert ftp.code("RNTO new name") == 250
    assert ftp.code("MFMT 20200102030405 new name") == 213
    assert ftp.ask("MDTM new name") == "213 20200102030405"
    assert ftp.code("MDTM 20210102030405 new name") == 213
    assert ftp.ask("MDTM new name") == "213 20210102030405"
    assert ftp.code("MFF modify=20190102030405;UNIX.mode=0600; new name") == 213
    assert (person.home / "new name").stat().st_mode & 0o777 == 0o600
    assert ftp.code("SITE CHMOD 640 new name") == 200
    assert (person.home / "new name").stat().st_mode & 0o777 == 0o640
    assert ftp.code("SITE UTIME 20180102030405 new name") == 200
    assert ftp.code("SITE UTIME new name 20180102030405 20170102030405 20180102030405 UTC") == 200
    assert ftp.ask("MDTM new name") == "213 20170102030405"
    assert ftp.ask("SIZE new name") == "213 1"
    assert ftp.code('SITE SYMLINK "new name" "link"') == 200
    assert os.readlink(person.home / "link") == "new name"
    assert ftp.code("SITE CPFR new name") == 350
    assert ftp.code("SITE CPTO copy") == 250
    assert (person.home / "copy").read_bytes() == b"x"
    assert ftp.code("DELE copy") == 250
    assert ftp.code('RMD a"b') == 250
    assert ftp.code("TYPE A") == 200
    assert ftp.code("SIZE new name") == 550


def test_listings(ftp: RawFtp, person: Person) -> None:
    (person.home / "b.txt").write_bytes(b"12345")
    (person.home / "d").mkdir()
    (person.home / "d" / "inner").write_bytes(b"")
    _, data, last = ftp.fetch("LIST -la")
    assert last == "226 Listed."
    lines = sorted(data.decode().split("\r\n"))[1:]
    assert re.fullmatch(r"-rw\S+ +1 \S+ +\S+ +5 \w{3} [ \d]\d \d\d:\d\d b\.txt", lines[0])
    assert lines[1].startswith("drwx") and lines[1].endswith(" d")
    assert sorted(ftp.fetch("NLST -CF")[1].split()) == [b"b.txt", b"d"]
    assert ftp.fetch("NLST d/*")[1] == b"d/inner\r\n"
    assert ftp.fetch("NLST *.txt")[1] == b"b.txt\r\n"
    assert ftp.fetch("NLST d")[1] == b"inner\r\n"
    assert ftp.code("CWD d") == 250
    assert ftp.fetch("NLST ../b*")[1] == b"../b.txt\r\n"
    facts = {line.partition(" ")[2]: line for line in ftp.fetch("MLSD /")[1].decode().split("\r\n") if line}
    assert set(facts) == {".", "b.txt", "d"}
    assert "type=file;size=5;" in facts["b.txt"] and "UNIX.mode=0" in facts["b.txt"]
    assert "type=cdir;" in facts["."] and "type=dir;" in facts["d"]
    assert ftp.fetch("MLSD /b.txt")[0][:3] == "501"
    assert ftp.code("OPTS MLST size;") == 200
    assert ftp.ask("MLST /b.txt") == "250-Facts:\n size=5; /b.txt\n250 End"
    assert ftp.ask("STAT /d").splitlines()[1].endswith(" inner")


def perms(ftp: RawFtp, directory: str) -> dict[str, str]:
    """The fact ``perm`` of what MLSD tells, by name."""
    lines = ftp.fetch(f"MLSD {directory}")[1].decode().split("\r\n")
    return {line.partition(" ")[2]: re.search(r"perm=(\w*);", line)[1] for line in lines if line}  # type: ignore[index]


def test_facts_tell_what_the_account_may(server: FtpServer) -> None:
    """RFC 3659 section 7.5.5."""
    person = server.account(
        permissions={
            "/": ("list", "download"),
            "/in": ("list", "upload", "create_dirs", "delete_files"),
            "/all": ("*",),
            "/shut": (),
        },
        filters=Filters(file_patterns=(FilePatterns(path="/all", denied_patterns=("*.exe",)),)),
    )
    for name in ("in", "all", "shut", "all/d"):
        (person.home / name).mkdir()
    for name in ("f", "in/f", "all/f", "all/f.exe", "all/d/g"):
        (person.home / name).write_bytes(b"")
    (person.home / "all" / "link").symlink_to("f")
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        assert perms(ftp, "/") == {".": "el", "f": "r", "in": "celmp", "all": "celmp", "shut": "e"}
        assert perms(ftp, "/in") == {".": "celmp", "f": "d"}
        assert perms(ftp, "/all") == {
            ".": "celmp", "f": "adfrw", "f.exe": "", "d": "cdeflmp", "link": "df",
        }  # fmt: skip
        told = ftp.ask("MLST /in/f")
        assert "perm=d;" in told
        assert "perm=el;" in ftp.ask("MLST /")
        assert ftp.code("DELE /in/f") == 250
        assert (ftp.code("DELE /f"), ftp.code("DELE /all/f.exe")) == (550, 550)


def test_listings_of_what_is_not_there(ftp: RawFtp) -> None:
    for command in ("LIST", "NLST", "MLSD"):
        assert ftp.fetch(f"{command} missing")[0][:3] == "550", command
        assert ftp.code(f"{command} missing") == 425, command  # before anything is looked at


def test_a_name_with_a_line_end_forges_nothing(ftp: RawFtp, person: Person) -> None:
    (person.home / "x\r\n226 Done").write_bytes(b"")
    assert ftp.fetch("NLST")[1] == b"x??226 Done\r\n"
    assert len(ftp.ask("STAT /").splitlines()) == 3


# -- transfers ---------------------------------------------------------------------------------------------


def test_ranges_and_resumption(ftp: RawFtp, person: Person) -> None:
    content = os.urandom(300_000)
    assert ftp.store("STOR f", content[:100_000])[1] == "226 Stored."
    assert ftp.code("REST 100000") == 350
    assert ftp.store("STOR f", content[100_000:200_000])[1] == "226 Stored."
    assert ftp.store("APPE f", content[200_000:])[1] == "226 Stored."
    assert (person.home / "f").read_bytes() == content
    assert ftp.code("REST 250000") == 350
    assert ftp.fetch("RETR f")[1] == content[250_000:]
    assert ftp.code("RANG 10 19") == 350
    assert ftp.fetch("RETR f")[1] == content[10:20]
    assert ftp.fetch("RETR f")[1] == content  # a range is for one transfer


def test_nothing_is_stored_behind_a_hole(ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_bytes(b"14 bytes here.")
    assert ftp.code("REST 100") == 350
    assert ftp.store("STOR f", b"x")[0][:3] == "554"
    assert (person.home / "f").read_bytes() == b"14 bytes here."
    assert ftp.code("REST 100") == 350
    assert ftp.fetch("RETR f")[0][:3] == "554"


def test_text(ftp: RawFtp, person: Person) -> None:
    assert ftp.code("TYPE A") == 200
    assert ftp.store("STOR t", b"one\r\ntwo\r\n")[1] == "226 Stored."
    assert (person.home / "t").read_bytes() == b"one\ntwo\n"
    assert ftp.fetch("RETR t")[1] == b"one\r\ntwo\r\n"
    assert ftp.code("REST 3") == 504


def test_unique_names(ftp: RawFtp, person: Person) -> None:
    data = ftp.passive()
    first = ftp.ask("STOU scan.pdf")
    match = re.fullmatch(r"150 FILE: (scan\.pdf\.[0-9a-f]{8})", first)
    assert match
    with data:
        data.sendall(b"page")
    assert ftp.reply() == "226 Stored."
    assert (person.home / match[1]).read_bytes() == b"page"
    (person.home / "in").mkdir()
    first, last = ftp.store("STOU in/scan", b"page")
    assert last == "226 Stored."
    assert [path.name for path in (person.home / "in").iterdir()] == [first.removeprefix("150 FILE: ")]


def test_digests(ftp: RawFtp, person: Person) -> None:
    (person.home / "a b").write_bytes(b"content")
    sha = hashlib.sha256(b"content").hexdigest()
    assert ftp.ask("HASH a b") == f"213 SHA-256 0-7 {sha} a b"
    assert ftp.ask("OPTS HASH md5") == "200 MD5"
    assert ftp.ask("HASH a b") == f"213 MD5 0-7 {hashlib.md5(b'content').hexdigest()} a b"
    assert ftp.code("OPTS HASH X") == 504
    assert ftp.code("RANG 0 2") == 350
    assert ftp.ask("HASH a b") == f"213 MD5 0-3 {hashlib.md5(b'con').hexdigest()} a b"
    assert ftp.ask("XCRC a b") == f"250 {zlib.crc32(b'content'):08X}"
    assert ftp.ask('XSHA1 "a b" 0 3') == f"250 {hashlib.sha1(b'con').hexdigest()}"
    assert ftp.ask("XMD5 a b") == f"250 {hashlib.md5(b'content').hexdigest()}"
    assert ftp.ask("MD5 a b") == f"251 a b {hashlib.md5(b'content').hexdigest().upper()}"


def test_parts_are_combined(ftp: RawFtp, person: Person) -> None:
    for index, part in enumerate((b"one", b"two", b"three")):
        (person.home / f"p {index}").write_bytes(part)
    assert ftp.ask('COMB "whole" "p 0" "p 1" "p 2"') == "250 Combined."
    assert (person.home / "whole").read_bytes() == b"onetwothree"
    assert sorted(path.name for path in person.home.iterdir()) == ["whole"]
    assert ftp.code('COMB "whole" "whole"') == 501


def test_a_transfer_is_aborted(ftp: RawFtp, person: Person) -> None:
    (person.home / "f").write_bytes(b"old")
    data = ftp.passive()
    assert ftp.code("STOR f") == 150
    data.sendall(b"new")
    ftp.send(b"\xff\xf4\xff")
    ftp.sock.send(b"\xf2", socket.MSG_OOB)
    ftp.send(b"ABOR\r\n")
    assert [ftp.reply()[:3], ftp.reply()[:3]] == ["426", "226"]
    data.close()
    assert ftp.code("NOOP") == 200


def test_commands_are_answered_within_a_transfer(ftp: RawFtp, person: Person) -> None:
    data = ftp.passive()
    assert ftp.code("STOR f") == 150
    assert ftp.code("NOOP") == 200
    assert "upload of /f" in ftp.ask("STAT")
    ftp.send(b"SIZE f\r\n")  # waits for the end
    with data:
        data.sendall(b"12345")
    assert [ftp.reply(), ftp.reply()] == ["226 Stored.", "213 5"]


def test_a_client_that_resets_leaves_no_file(ftp: RawFtp, person: Person) -> None:
    data = ftp.passive()
    assert ftp.code("STOR f") == 150
    data.sendall(b"x" * 100_000)
    data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    data.close()
    assert ftp.reply()[:3] == "426"


def test_a_data_connection_that_does_not_move_is_cut(ftp: RawFtp, person: Person) -> None:
    data = ftp.passive()
    assert ftp.code("STOR f") == 150
    assert ftp.reply() == "426 the data connection did not move for 2 s."
    data.close()


def test_a_cut_upload_by_tls_is_no_success(server: FtpServer, person: Person) -> None:
    (person.home / "f").write_bytes(b"old content")
    with RawFtp(server.plain) as ftp:
        context = ftp.secure(server.certificate)
        ftp.login(person)
        assert ftp.code("PROT P") == 200
        raw = ftp.passive()
        assert ftp.code("STOR f") == 150
        data = context.wrap_socket(raw, server_hostname="localhost")
        data.sendall(b"new")
        raw_again = socket.socket(fileno=data.detach())
        raw_again.shutdown(socket.SHUT_RDWR)  # no close_notify
        assert ftp.reply()[:3] == "426"
        raw_again.close()


# -- rules -------------------------------------------------------------------------------------------------


def test_permissions_and_quota(server: FtpServer) -> None:
    person = server.account(permissions={"/": ("list", "upload")}, quota_size=1000)
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        assert ftp.store("STOR small", b"x" * 100)[1] == "226 Stored."
        assert ftp.fetch("RETR small")[0].startswith("550 /small: ")
        assert ftp.code("DELE small") == 550
        assert ftp.code("MKD d") == 550
        first, last = ftp.store("STOR large", b"x" * 5000)
        assert (first[:3], last[:3]) == ("150", "552")
        assert not (person.home / "large").exists()
        assert int(ftp.ask("AVBL")[4:]) == 900
        assert ftp.code("ALLO 2000") == 552
        assert "free" in ftp.ask("SITE QUOTA")


def test_nothing_leads_out_of_the_home(
    server: FtpServer, ftp: RawFtp, tmp_path: Path, person: Person
) -> None:
    (tmp_path / "secret").write_text("secret")
    (person.home / "out").symlink_to(tmp_path)
    assert ftp.fetch("RETR ../../../../etc/passwd")[0][:3] == "550"
    assert ftp.fetch("RETR /")[0][:3] == "550"
    assert ftp.fetch("RETR out/secret")[0][:3] == "550"
    assert ftp.store("STOR out/new", b"x")[0][:3] == "550"
    assert ftp.code("CWD out") == 550
    assert not (tmp_path / "new").exists()


def test_a_user_without_ftp(server: FtpServer) -> None:
    person = server.account(filters=Filters(denied_protocols=("FTP",)))
    with RawFtp(server.plain) as ftp:
        assert ftp.code(f"USER {person.name}") == 331
        assert ftp.code(f"PASS {person.password}") == 530


def test_sessions_of_an_account_are_counted(server: FtpServer) -> None:
    person = server.account(max_sessions=1)
    with RawFtp(server.plain) as one, RawFtp(server.plain) as two:
        one.login(person)
        assert two.code(f"USER {person.name}") == 331
        assert two.code(f"PASS {person.password}") == 421
    line = server.running.wait_line("connection_failed", username=person.name, protocol="FTP")
    assert (line["error"], line["rule"]) == ("sessions", "max_sessions")  # not that nothing was tried


# -- who does not mean well --------------------------------------------------------------------------------


def test_endless_and_senseless_lines(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as ftp:
        ftp.send(b"CWD " + b"x" * 100_000 + b"\r\n")
        assert ftp.reply()[:3] == "500"
        ftp.login(person)
    with RawFtp(server.plain) as ftp:
        ftp.send(b"\x16\x03\x01\x02\x00\x01\n" * 200)
        with pytest.raises((EOFError, ConnectionError)):
            for _ in range(300):
                ftp.line()


def test_a_flood_of_commands_keeps_nobody_waiting(server: FtpServer, person: Person) -> None:
    with RawFtp(server.plain) as flood, RawFtp(server.plain) as ftp:
        flood.sock.settimeout(0.2)
        try:
            for _ in range(200):
                flood.sock.send(b"NOOP\r\n" * 20_000)
        except TimeoutError:
            pass  # it is read no more
        ftp.login(person)
        assert ftp.code("PWD") == 257


def test_ten_thousand_passive_ports(ftp: RawFtp, server: FtpServer) -> None:
    before = server.running.descriptors()
    for _ in range(20):
        ftp.send(b"EPSV\r\n" * 500)
        assert all(ftp.reply().startswith("229") for _ in range(500))
    assert server.running.descriptors() <= before + 8


def test_drained_connections_are_told(tmp_path: Path) -> None:
    with ftp_server(tmp_path / "drained") as server:
        person = server.account()
        with RawFtp(server.plain) as ftp:
            ftp.login(person)
            server.running.stop()
            assert ftp.reply() == "421 The server is shutting down."


@pytest.mark.parametrize("link", ["symlink", "hard link"])
def test_comb_by_another_name_of_the_target_loses_nothing(ftp: RawFtp, person: Person, link: str) -> None:
    (person.home / "whole").write_bytes(b"whole")
    (person.home / "part").write_bytes(b" part")
    if link == "symlink":
        (person.home / "other").symlink_to("whole")
        assert ftp.code("COMB whole part other") == 501
        assert ftp.code("COMB other whole part") == 501
        assert (person.home / "whole").read_bytes() == b"whole"
        assert (person.home / "part").read_bytes() == b" part"
    else:
        os.link(person.home / "whole", person.home / "other")
        assert ftp.code("COMB whole other") == 250
        assert (person.home / "whole").read_bytes() == b"wholewhole"
        assert not (person.home / "other").exists()
