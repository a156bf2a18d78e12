# SPDX-License-Identifier: Apache-2.0
"""WinSCP's SCP mode, its lines replayed over OpenSSH's ssh, against the running product."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs import SSH, digest, random_file, ssh, tree
from tests.support.running import Person, Running, running, wait_for
from tests.support.winscp import FIRST, LAST, ScpError, winscp

from tidegate.model import FilePatterns, Filters

pytestmark = pytest.mark.needs("ssh")


@pytest.fixture(scope="module", params=[True, False], ids=["lane", "plain"])
def shells(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that answers WinSCP."""
    directory = tmp_path_factory.mktemp("shell") / "server"
    settings = {"sftpd": {"scp_shell": True}}
    with running(directory, settings=settings, fast_lane=request.param) as server:
        yield server


@pytest.fixture
def user(shells: Running) -> Iterator[Person]:
    person = shells.account()
    yield person
    assert person.leftovers() == []


def names(listing: list[str]) -> dict[str, list[str]]:
    """Name to columns of ``ls -la --full-time``, as WinSCP takes lines apart."""
    assert listing[0].startswith("total ")
    found = {}
    for line in listing[1:]:
        match = re.fullmatch(
            r"([-dlp][-rwxsStT]{9}) +([0-9]+) (\S+) (\S+) +([0-9]+) "
            r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}\.[0-9]{9} [-+][0-9]{4}) (.*)",
            line,
        )
        assert match is not None, line
        found[match[7]] = list(match.groups()[:6])
    return found


def test_a_session_from_start_to_end(user: Person, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    random_file(source / "large", 3_000_001)
    (source / "inner" / "empty").write_bytes(b"")
    (source / "inner" / "a $x `b` \"c\" 'd' \\e; f").write_text("odd")
    os.utime(source / "large", (1_700_000_000, 1_700_000_001))
    with winscp(user) as client:
        client.start_up()
        assert client.ok("pwd") == ["/"]
        assert set(names(client.ok("ls -la --full-time"))) == {".", ".."}
        assert client.upload(source, "/") == 0
        client.ok('cd "/source"')
        assert client.ok("pwd") == ["/source"]
        found = names(client.ok("ls -la --full-time"))
        assert set(found) == {".", "..", "large", "inner"}
        assert found["large"][4:] == ["3000001", "2023-11-14 22:13:21.000000000 +0000"]
        assert found["inner"][0][0] == "d"
        assert tree(user.home / "source") == tree(source)

        assert client.download("/source", tmp_path) == 0  # over what is there
        assert client.download("large", tmp_path / "source" / "inner") == 0  # relative to where it is
        assert digest(source / "inner" / "large") == digest(source / "large")

        odd = "inner/a \\$x \\`b\\` \\\"c\\\" 'd' \\\\e; f"
        client.ok(f'mv -f "{odd}" "/source/plain"')
        client.ok('ln -s "plain" "link"')
        client.ok('mkdir "new dir"')
        client.ok('chmod 0600 "plain"')
        client.ok('chmod  u+x,g=r "plain"')
        assert (
            names(
                client.ok('ls -la -d --full-time "plain"')
                and ["total 0", *client.ok('ls -la -d --full-time "plain"')]
            )["plain"][0]
            == "-rwxr-----"
        )
        client.ok('cp -p -r -f -T "/source/inner" "/source/copied"')
        client.ok('rm -f -r "inner"')
        assert client.run('cp -p -r -f -T "large" "new dir"')[0] == 1
        client.ok('mv -f "large" "new dir"')
        listing = names(client.ok('ls -la --full-time "/source/"'))
        assert "link -> plain" in listing
        assert set(listing) == {".", "..", "plain", "link -> plain", "new dir", "copied"}
        client.ok("cd")
        assert client.ok("pwd") == ["/"]
        client.ok("cd ~/source")
        assert client.ok("pwd") == ["/source"]
        client.ok('rm -f -r "/source"')
        assert client.run("") == (0, [])  # its keepalive
    assert tree(user.home) == {}
    for sender in ("Upload", "Download", "Rename", "Symlink", "Mkdir", "Rmdir", "Remove"):
        user.server.wait_line(sender, username=user.name)
    assert {line["protocol"] for line in user.server.lines("Upload", username=user.name)} == {"SCP"}


def test_failures_have_a_status_and_a_line(shells: Running, tmp_path: Path) -> None:
    user = shells.account(
        permissions={"/": ["*"], "/closed": ["list"]},
        filters=Filters(file_patterns=(FilePatterns(path="/", denied_patterns=("*.exe",)),)),
    )
    (user.home / "closed").mkdir()
    (user.home / "f").write_bytes(b"f")
    with winscp(user) as client:
        client.start_up()
        for command, status, text in (
            ('cd "/missing"', 1, "no such file"),
            ('cd "f"', 1, "not a directory"),
            ('ls -la --full-time "/missing"', 2, "no such file"),
            ("ls --color", 2, "unknown option"),
            ('mkdir "/closed/x"', 1, "permission"),
            ('mv -f "f" "/closed/f"', 1, ""),
            ('mv -f "f" "f.exe"', 1, ""),
            ('rm "missing"', 1, "no such file"),
            ('chmod 99 "f"', 1, "invalid mode"),
            ('chgrp users "f"', 1, "not a number"),
            ("cat f", 127, "command not found"),
            ("sftp-server", 127, "command not found"),
            ("git-upload-pack /x", 127, "command not found"),
            ("ls | cat", 2, "| has no meaning"),
            ("pwd > /etc/passwd", 2, "> has no meaning"),
            ("pwd `id`", 2, "substituted"),
            ('pwd "$(id)"', 2, "substituted"),
            ('pwd "${x:-y}"', 2, "expanded"),
        ):
            got, found = client.run(command)
            assert (got, found) == (status, []), command
            client.wait_error(text)
        client.send_line("pwd '")
        client.ok("pwd")
        assert client.ok("rm -f missing ; rm -f -r missing") == []
        assert [client.ok("false ; true"), client.run("false")[0]] == [[], 127]
        random_file(tmp_path / "x.exe", 1000)
        with pytest.raises(ScpError, match=r"x\.exe"):
            client.upload(tmp_path / "x.exe", "/")
        client.send_line("E")
        client.response()
        assert client.output() == (1, [])
        with pytest.raises(ScpError, match="Not a directory"):
            client.upload(tmp_path / "x.exe", "/f")
        assert client.output() == (1, [])
        with pytest.raises(ScpError, match="No such file"):
            client.download("/missing", tmp_path)
        assert client.output() == (1, [])
        status, _ = client.run("scp -x")
        assert status == 1
        assert client.ok("pwd") == ["/"]
    assert set(tree(user.home)) == {b"closed", b"f"}


def test_content_that_breaks_off_is_never_taken_for_commands(user: Person) -> None:
    """A copy that fails in the midst ends the channel: what follows is bytes of a file."""
    (user.home / "kept").write_bytes(b"kept")
    with winscp(user) as client:
        client.start_up()
        client.begin('scp -r -d -t "/"')
        client.response()
        client.send_line("C0644 nonsense x")
        client.send(b"rm -f kept\nrm -f kept\n")
        with pytest.raises(ScpError, match="protocol error"):
            client.response()
        with pytest.raises(EOFError):
            for _ in range(3):
                client.line()
    assert (user.home / "kept").exists()


def test_lines_without_an_end_are_bounded(user: Person) -> None:
    with winscp(user) as client:
        client.start_up()
        with pytest.raises((EOFError, BrokenPipeError)):
            client.send(b"echo " + b"x" * 70_000)
            client.line()
        client.wait_error("65536")
    user.server.wait_line("disconnected", username=user.name)


def test_many_lines_at_once_are_answered_in_order(user: Person) -> None:
    with winscp(user) as client:
        client.send(b"".join(b'echo "%d"\n' % number for number in range(2000)) + b"exit 7\n")
        assert [client.line() for _ in range(2000)] == [str(number) for number in range(2000)]
        with pytest.raises(EOFError):
            client.line()
        client._process.wait(10)
        assert client._process.returncode == 7


def test_a_listing_that_nobody_reads_waits_and_ends_with_its_client(user: Person) -> None:
    (user.home / "many").mkdir()
    for number in range(3000):
        (user.home / "many" / f"{number:0200}").write_bytes(b"")
    with winscp(user) as client:
        client.start_up()
        for _ in range(20):
            client.send_line("ls -la --full-time many")
    user.server.wait_line("disconnected", username=user.name)
    wait_for(lambda: not user.server.lines("error", username=user.name), "an error")
    with winscp(user) as client:
        client.start_up()
        listing = client.ok("ls -la --full-time many")
        assert len(listing) == 3003
        assert [line[-200:] for line in listing[3:]] == [f"{number:0200}" for number in range(3000)]


def test_an_upload_ends_with_its_client(user: Person) -> None:
    with winscp(user) as client:
        client.start_up()
        client.begin('scp -r -d -t "/"')
        client.response()
        client.send_line("C0644 1000000 x")
        client.response()
        client.send(b"y" * 5000)
    user.server.wait_line("disconnected", username=user.name)
    wait_for(lambda: user.leftovers() == [], "something is left")


def test_there_is_none_unless_it_is_switched_on(person: Person) -> None:
    done = subprocess.run(
        ["ssh", "-T", *SSH, "-i", str(person.key), "-p", str(person.port), f"{person.name}@127.0.0.1"],
        input=b"pwd\n", capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"file transfer only" in done.stderr
    assert FIRST != LAST
    assert ssh(person, "pwd").ok().out == b"/\n"
