# SPDX-License-Identifier: Apache-2.0
"""The same random commands to this server and to others: the same trees, the same successes."""

from __future__ import annotations

import contextlib
import ftplib
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import needs
from tests.support.ftp_programs import content
from tests.support.ftp_world import FtpServer, ftp_server
from tests.support.ports import free_port
from tests.support.running import Person, wait_for

TOP = "t"
"""Directory that all names are in: vsftpd wants a root that nobody may write to."""
NAMES = ("a", "b", "d", "d/a", "d/e", "d/e/f", "gone", "gone/a")
COMMANDS = 400

PEER = """
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
port, home = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_user("u", "p", home, perm="elradfmwMT")
FTPHandler.authorizer = authorizer
FTPServer(("127.0.0.1", int(port)), FTPHandler).serve_forever()
"""


@dataclass
class Side:
    """One server, as a client sees it: what each step answered."""

    ftp: ftplib.FTP
    home: Path

    def step(self, words: tuple[str, ...]) -> str:
        """The first digit of the last reply, and what was fetched."""
        kind, *rest = words
        rest[0] = f"/{TOP}/{rest[0]}"
        try:
            match kind:
                case "STOR" | "APPE":
                    return self.ftp.storbinary(f"{kind} {rest[0]}", io.BytesIO(rest[1].encode()))[:1]
                case "RETR":
                    got = bytearray()
                    offset = int(rest[1])
                    self.ftp.retrbinary(f"RETR {rest[0]}", got.extend, rest=offset or None)
                    return f"2 {got.decode()}"
                case "NLST":
                    lines: list[str] = []
                    self.ftp.retrlines(f"NLST {rest[0]}", lines.append)
                    return f"2 {sorted(line.rpartition('/')[2] for line in lines)}"
                case "RENAME":
                    return self.ftp.rename(rest[0], f"/{TOP}/{rest[1]}")[:1]
                case "SIZE":
                    self.ftp.voidcmd("TYPE I")
                    return self.ftp.sendcmd(f"SIZE {rest[0]}")
                case _:
                    return self.ftp.voidcmd(f"{kind} {rest[0]}")[:1]
        except ftplib.Error as error:
            return str(error)[:1]


KINDS = (
    *("MKD", "STOR", "RENAME") * 3, *("APPE", "RETR", "NLST", "SIZE", "DELE", "CWD") * 2, "RMD",
)  # fmt: skip


class Draw:
    """Draws commands; three names in four are of what is there, or new in a directory that is there.

    Args:
        seed: of all that is drawn.
    """

    def __init__(self, seed: int) -> None:
        self._made = random.Random(seed)
        self._number = 0

    def _there(self, tree: dict[str, object], *, directory: bool | None = None) -> str:
        """Something that is there, of one kind if that is asked for; any name now and then."""
        found = [name for name, held in tree.items() if directory is None or (held is None) is directory]
        if not found or self._made.random() < 0.1:
            return self._made.choice(NAMES)
        return self._made.choice(sorted(found))

    def _new(self, tree: dict[str, object]) -> str:
        """A name that something may get."""
        if self._made.random() < 0.25:
            return self._made.choice(NAMES)
        above = self._made.choice(["", *sorted(name for name, held in tree.items() if held is None)])
        return f"{above}/{self._made.choice('abcdef')}".lstrip("/")

    def command(self, tree: dict[str, object]) -> tuple[str, ...]:
        """The next command, of a tree of contents and (None) directories."""
        self._number += 1
        kind = self._made.choice(KINDS)
        match kind:
            case "STOR" | "APPE":
                again = self._made.random() < 0.3
                name = self._there(tree, directory=False) if again else self._new(tree)
                return kind, name, f"{self._number}" * self._made.randrange(20)
            case "RETR":
                return kind, self._there(tree, directory=False), str(self._made.choice((0, 0, 3)))
            case "RENAME":
                return kind, self._there(tree), self._new(tree)
            case "MKD":
                return kind, self._new(tree)
            case "CWD" | "NLST":
                return kind, self._there(tree, directory=self._made.random() < 0.8)
            case "RMD":
                return kind, self._there(tree, directory=True)
            case _:
                return kind, self._there(tree, directory=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp")) as made:
        yield made


VSFTPD = Path(
    os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tidegate-tests/vsftpd/usr/sbin/vsftpd"
)
"""Unpacked: installed FTP servers remove each other."""


@contextlib.contextmanager
def pyftpdlib(work: Path) -> Iterator[tuple[ftplib.FTP, Path]]:
    home, port = work / "theirs", free_port()
    (home / TOP).mkdir(parents=True)
    with peer([sys.executable, "-c", PEER, str(port), str(home)], port, "u", "p") as ftp:
        yield ftp, home


@contextlib.contextmanager
def vsftpd(work: Path) -> Iterator[tuple[ftplib.FTP, Path]]:
    """With an anonymous user who may write below one directory: no account of the system is needed."""
    program = needs.program("vsftpd") or (str(VSFTPD) if VSFTPD.exists() else None)
    if program is None:
        needs.absent("vsftpd")
    if os.geteuid() != 0:
        pytest.skip("changes its user")
    # Below pytest's own directory nobody but root may look.
    with tempfile.TemporaryDirectory(prefix="tidegate-vsftpd-") as made:
        base, port = Path(made), free_port()
        base.chmod(0o755)
        home = base / "home"
        for directory in (base / "empty", home, home / TOP):
            directory.mkdir()
        shutil.chown(home / TOP, "daemon")
        config = base / "vsftpd.conf"
        config.write_text(
            f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n"
            f"anonymous_enable=YES\nlocal_enable=NO\nftp_username=daemon\nno_anon_password=YES\n"
            f"anon_root={home}\nanon_umask=022\nwrite_enable=YES\nanon_upload_enable=YES\n"
            "anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_world_readable_only=NO\n"
            f"secure_chroot_dir={base}/empty\nseccomp_sandbox=NO\nxferlog_enable=NO\n"
        )
        with peer([program, str(config)], port, "anonymous", "") as ftp:
            yield ftp, home


@contextlib.contextmanager
def peer(argv: list[str], port: int, user: str, password: str) -> Iterator[ftplib.FTP]:
    """Another server, and a client that is logged in to it."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with ftplib.FTP() as ftp:

            def there() -> bool:
                try:
                    ftp.connect("127.0.0.1", port, 20)
                except OSError:
                    return False
                return True

            wait_for(there, f"{argv[0]} did not start")
            ftp.login(user, password)
            yield ftp
    finally:
        process.terminate()
        process.wait(20)


PEERS = {"pyftpdlib": pyftpdlib, "vsftpd": vsftpd}


def lasting(name: str, words: tuple[str, ...], ours: str, theirs: str) -> str:
    """The reason why a server answers otherwise and is let do so; empty if there is none."""
    if name == "vsftpd" and words[0] == "NLST" and (ours, theirs) == ("5", "2 []"):
        return "an empty list of what is not there, 550 here"
    if name == "vsftpd" and words[0] == "RETR" and words[2] != "0" and (ours, theirs) == ("5", "2 "):
        return "nothing, with success, from behind the end of a file, 554 here (RFC 3659 section 5.3)"
    return ""


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PEERS)
def test_the_same_commands_make_the_same_tree(
    server: FtpServer, tmp_path: Path, name: str, seed: int
) -> None:
    person: Person = server.account()
    (person.home / TOP).mkdir(parents=True, exist_ok=True)
    with PEERS[name](tmp_path) as (their_ftp, their_home), ftplib.FTP() as ftp:
        ftp.connect("127.0.0.1", server.plain, 20)
        ftp.login(person.name, person.password)
        ours, theirs = Side(ftp, person.home / TOP), Side(their_ftp, their_home / TOP)
        draw, done, trees = Draw(seed), Counter[str](), set()
        tree = content(ours.home)
        for number in range(COMMANDS):
            words = draw.command(tree)
            one, two = ours.step(words), theirs.step(words)
            why = lasting(name, words, one, two) if one != two else ""
            assert one == two or why, f"{name}, seed {seed}, command {number}: {words}: {one!r} {two!r}"
            tree = content(ours.home)
            assert tree == content(theirs.home), f"{name}, seed {seed}, command {number}: {words}"
            done["all"] += 1
            done[words[0]] += one[0] == "2"
            trees.add(tuple(sorted(tree)))
    well = sum(done[kind] for kind in set(KINDS))
    assert well > COMMANDS * 0.6, f"most commands failed: {done}"
    assert all(done[kind] for kind in set(KINDS)), done
    assert len(trees) > COMMANDS / 8, "the commands did nothing"
