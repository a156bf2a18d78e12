# SPDX-License-Identifier: Apache-2.0
"""The same random commands to this server and to pyftpdlib: the same trees, the same successes."""

from __future__ import annotations

import ftplib
import io
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.ftp_programs import content
from tests.support.ftp_world import FtpServer, ftp_server
from tests.support.running import Person, free_port, wait_for

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
                    return self.ftp.rename(rest[0], rest[1])[:1]
                case "SIZE":
                    self.ftp.voidcmd("TYPE I")
                    return self.ftp.sendcmd(f"SIZE {rest[0]}")
                case _:
                    return self.ftp.voidcmd(" ".join(words))[:1]
        except ftplib.Error as error:
            return str(error)[:1]


def commands(seed: int) -> Iterator[tuple[str, ...]]:
    made = random.Random(seed)

    def name() -> str:
        return "/" + made.choice(NAMES)

    for number in range(COMMANDS):
        kind = made.choice(
            (
                "MKD",
                "MKD",
                "MKD",
                "STOR",
                "STOR",
                "STOR",
                "APPE",
                "RETR",
                "NLST",
                "RENAME",
                "SIZE",
                "DELE",
                "RMD",
                "CWD",
            )
        )
        match kind:
            case "STOR" | "APPE":
                yield kind, name(), f"{number}" * made.randrange(20)
            case "RETR":
                yield kind, name(), str(made.choice((0, 0, 3)))
            case "RENAME":
                yield kind, name(), name()
            case _:
                yield kind, name()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FtpServer]:
    with ftp_server(tmp_path_factory.mktemp("ftp")) as made:
        yield made


@pytest.fixture
def sides(server: FtpServer, tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    person: Person = server.account()
    home, port = tmp_path / "theirs", free_port()
    home.mkdir()
    peer = subprocess.Popen(
        [sys.executable, "-c", PEER, str(port), str(home)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with ftplib.FTP() as ours, ftplib.FTP() as theirs:
            ours.connect("127.0.0.1", server.plain, 20)
            ours.login(person.name, person.password)

            def there() -> bool:
                try:
                    theirs.connect("127.0.0.1", port, 20)
                except OSError:
                    return False
                return True

            wait_for(there, "pyftpdlib did not start")
            theirs.login("u", "p")
            yield Side(ours, person.home), Side(theirs, home)
    finally:
        peer.terminate()
        peer.wait(20)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_commands_make_the_same_tree(sides: tuple[Side, Side], seed: int) -> None:
    ours, theirs = sides
    answers, trees = set(), set()
    for number, words in enumerate(commands(seed)):
        one, two = ours.step(words), theirs.step(words)
        assert one == two, f"seed {seed}, command {number}: {words}"
        tree = content(ours.home)
        assert tree == content(theirs.home), f"seed {seed}, command {number}: {words}"
        answers.add((words[0], one[0]))
        trees.add(tuple(sorted(tree)))
    assert {answer for _, answer in answers} == {"2", "5"}
    assert {word for word, answer in answers if answer == "2"} >= {"STOR", "MKD", "RENAME"}
    assert len(trees) >= 8, "the commands did nothing"
