# SPDX-License-Identifier: Apache-2.0
"""Each line of FEAT is true; and the promises of TLS on data connections."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

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


def feature_lines(ftp: RawFtp) -> list[str]:
    first, *between, last = ftp.ask("FEAT").split("\n")
    assert first.startswith("211-") and last == "211 End"
    assert all(line.startswith(" ") for line in between)
    return [line[1:] for line in between]


def active(ftp: RawFtp) -> bool:
    return ftp.code("EPRT |1|127.0.0.1|50000|") == 200


def hosts(ftp: RawFtp) -> bool:
    """HOST comes before the login (RFC 7151)."""
    with RawFtp(ftp.port) as other:
        return other.code("HOST files.example.com") == 220


def secured(ftp: RawFtp) -> bool:
    with RawFtp(ftp.port) as other:
        return other.code("AUTH TLS") == 234


def ranges(ftp: RawFtp) -> bool:
    return ftp.code("RANG 1 2") == 350 and ftp.fetch("RETR f")[1] == b"on"


def restarts(ftp: RawFtp) -> bool:
    return ftp.code("REST 4") == 350 and ftp.fetch("RETR f")[1] == b"ent"


def facts(ftp: RawFtp) -> bool:
    names = ("type", "size", "modify", "perm", "unique", "UNIX.mode", "UNIX.owner", "UNIX.group",
             "UNIX.ownername", "UNIX.groupname")  # fmt: skip
    told = ftp.ask("MLST f").split("\n")[1]
    return re.findall(r"([\w.]+)=", told) == list(names) and told.endswith("; /f")


def tvfs(ftp: RawFtp) -> bool:
    """RFC 3659 section 6: one tree, ``/`` between names, ``.`` and ``..``."""
    return ftp.ask("SIZE /d/../d/../f") == ftp.ask("SIZE f") == "213 7" and ftp.code("CWD d/.") == 250


def utf8(ftp: RawFtp) -> bool:
    return ftp.code("OPTS UTF8 ON") == 200 and ftp.code("MKD café") == 257 and ftp.code("RMD café") == 250


def site(words: str, code: int) -> Callable[[RawFtp], bool]:
    return lambda ftp: ftp.code(f"SITE {words}") == code


def digest(words: str, code: int) -> Callable[[RawFtp], bool]:
    return lambda ftp: ftp.code(f"{words} f") == code


PROOFS: dict[str, Callable[[RawFtp], bool]] = {
    "AUTH TLS": secured,
    "AVBL": lambda ftp: ftp.code("AVBL") == 213,
    "CCC": lambda ftp: ftp.code("CCC") == 533,
    "CLNT": lambda ftp: ftp.code("CLNT me") == 200,
    "COMB": lambda ftp: ftp.code("COMB joined part") == 250,
    "EPRT": active,
    "EPSV": lambda ftp: ftp.code("EPSV") == 229,
    "HASH CRC32;MD5;SHA-1;SHA-256*;SHA-512": digest("HASH", 213),
    "HOST": hosts,
    "LANG EN*": lambda ftp: ftp.code("LANG en") == 200,
    "MD5": digest("MD5", 251),
    "MDTM": digest("MDTM", 213),
    "MFF Modify;UNIX.mode;": lambda ftp: ftp.code("MFF Modify=20200102030405;UNIX.mode=0600; f") == 213,
    "MFMT": lambda ftp: ftp.code("MFMT 20200102030405 f") == 213,
    "MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;UNIX.owner*;UNIX.group*;UNIX.ownername*;UNIX.groupname*;": facts,
    "PBSZ": lambda ftp: ftp.code("PBSZ 0") == 503,  # without TLS
    "PROT": lambda ftp: ftp.code("PROT P") == 503,
    "RANG STREAM": ranges,
    "REST STREAM": restarts,
    "SITE CHMOD": site("CHMOD 640 f", 200),
    "SITE CPFR": site("CPFR f", 350),
    "SITE CPTO": lambda ftp: ftp.code("SITE CPFR f") == 350 and ftp.code("SITE CPTO copy") == 250,
    "SITE MKDIR": site("MKDIR made", 257),
    "SITE QUOTA": lambda ftp: "free" in ftp.ask("SITE QUOTA"),
    "SITE RMDIR": lambda ftp: ftp.code("SITE MKDIR gone") == 257 and ftp.code("SITE RMDIR gone") == 250,
    "SITE SYMLINK": site("SYMLINK f link", 200),
    "SITE UTIME": site("UTIME 20200102030405 f", 200),
    "SIZE": digest("SIZE", 213),
    "TVFS": tvfs,
    "UTF8": utf8,
    **{word: digest(word, 250) for word in ("XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512")},
}  # fmt: skip


def test_each_line_of_feat_is_true(server: FtpServer, person: Person) -> None:
    (person.home / "f").write_bytes(b"content")
    (person.home / "part").write_bytes(b"part")
    (person.home / "d").mkdir()
    with RawFtp(server.plain) as ftp:
        ftp.login(person)
        told = feature_lines(ftp)
        assert told == sorted(PROOFS)
        for line in told:
            assert ftp.code("CWD /") == 250
            assert PROOFS[line](ftp), line
    (person.home / "link").unlink()


def test_what_is_switched_off_is_not_told(tmp_path: Path) -> None:
    off = {"enable_site": False, "hash_support": 0, "combine_support": 0}
    with ftp_server(tmp_path, binding={"clear_command_channel": False}, **off) as server:
        person = server.account()
        with RawFtp(server.plain) as ftp:
            ftp.login(person)
            told = feature_lines(ftp)
            gone = [line for line in PROOFS if line not in told]
            assert not [line for line in told if line not in PROOFS]
            assert {line.split()[0] for line in gone} == {
                "CCC", "COMB", "HASH", "MD5", "SITE", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512",
            }  # fmt: skip
            assert "SITE QUOTA" in told  # it changes nothing
            for command in ("COMB a b", "HASH f", "XCRC f", "SITE CHMOD 600 f", "SITE SYMLINK f g"):
                assert ftp.code(command) in (500, 502, 504), command


# -- TLS -----------------------------------------------------------------------------------------------------


def fetched(ftp: RawFtp, context: ssl.SSLContext, command: str) -> tuple[bytes, str]:
    """Data over TLS up to its end, which has to be said (close_notify)."""
    data = ftp.passive()
    ftp.send(command.encode() + b"\r\n")
    with context.wrap_socket(data, server_hostname="localhost", suppress_ragged_eofs=False) as secured:
        assert ftp.reply()[:3] == "150"
        received = b""
        while chunk := secured.recv(65536):  # a cut connection is an SSLEOFError
            received += chunk
        with contextlib.suppress(OSError):
            secured.unwrap()
    return received, ftp.reply()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_end_of_a_download_is_said(
    server: FtpServer, person: Person, size: int, version: ssl.TLSVersion
) -> None:
    (person.home / "f").write_bytes(b"x" * size)
    with RawFtp(server.plain) as ftp:
        context = ftp.secure(server.certificate)
        context.maximum_version = version
        ftp.login(person)
        assert [ftp.code("PBSZ 0"), ftp.code("PROT P")] == [200, 200]
        for command, content in (("RETR f", b"x" * size), ("NLST", b"f\r\n")):
            received, last = fetched(ftp, context, command)
            assert (received, last[:3]) == (content, "226")


def test_auth_ssl_protects_data_at_once(server: FtpServer, person: Person) -> None:
    """Clients that call it SSL, or TLS-P, send no PROT."""
    for kind in ("SSL", "TLS-P"):
        with RawFtp(server.plain) as ftp:
            assert ftp.code(f"AUTH {kind}") == 234
            context = ssl.create_default_context(cafile=str(server.certificate))
            ftp.sock = context.wrap_socket(ftp.sock, server_hostname="localhost")
            ftp.login(person)
            assert fetched(ftp, context, "NLST")[1][:3] == "226"


def test_who_does_not_take_up_the_session_gets_nothing_where_that_is_required(
    server: FtpServer, person: Person
) -> None:
    (person.home / "f").write_bytes(b"secret")
    with RawFtp(server.required) as ftp:
        context = ftp.secure(server.certificate)
        ftp.login(person)
        assert [ftp.code("PBSZ 0"), ftp.code("PROT P")] == [200, 200]
        data = ftp.passive()
        ftp.send(b"RETR f\r\n")
        received = b""
        with contextlib.suppress(OSError), context.wrap_socket(data, server_hostname="localhost") as secured:
            received = secured.recv(100)  # by a session of its own
        replies = [ftp.reply()[:3]]
        if replies[0] == "150":
            replies.append(ftp.reply()[:3])
        assert received == b"" and replies[-1] == "522"
