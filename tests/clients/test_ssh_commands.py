# SPDX-License-Identifier: Apache-2.0
"""SSH commands other than SCP, as `ssh` and the programs that send them run them against the running product."""

from __future__ import annotations

import hashlib
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs import SSH, Done, digest, rclone, run, ssh, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import FilePatterns, Filters

pytestmark = pytest.mark.needs("ssh")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with every command."""
    directory = tmp_path_factory.mktemp("commands") / "server"
    with running(directory, settings={"sftpd": {"enabled_ssh_commands": ["*"]}}) as server:
        yield server


@pytest.fixture
def user(every: Running) -> Person:
    return every.account()


def fill(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "empty").mkdir()
    for name in ("f", "a/g", "a/b/h", "a/.hidden"):
        (top / name).write_text(name * 100)


def outcome(done: Done) -> tuple[int, str]:
    return done.status, done.err.decode()


def lines(user: Person, sender: str, count: int) -> None:
    """The log has so many lines of a kind, all of this protocol."""
    wait_for(
        lambda: len(user.server.lines(sender, username=user.name)) == count, f"{count} lines of {sender}"
    )
    assert {line["protocol"] for line in user.server.lines(sender, username=user.name)} == {"SSH"}


# -- digests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "hasher"),
    [
        ("md5sum", lambda data: hashlib.md5(data).hexdigest()),
        ("sha384sum", lambda data: hashlib.sha384(data).hexdigest()),
        ("crc32sum", lambda data: f"{zlib.crc32(data):08x}"),
    ],
)
def test_digests_of_files_and_of_standard_input(user: Person, command: str, hasher) -> None:
    (user.home / "one").write_bytes(b"1" * 100_000)
    (user.home / "two words").write_bytes(b"")
    done = ssh(user, f"{command} one 'two words' missing -- -").failed("missing no such file")
    assert done.out.decode().splitlines() == [
        f"{hasher(b'1' * 100_000)}  /one",
        f"{hasher(b'')}  /two words",
        f"{hasher(b'')}  -",
    ]


@pytest.mark.needs("rclone")
def test_rclone_compares_by_digests(user: Person, tmp_path: Path) -> None:
    """It asks for the shell, finds md5sum and sha1sum, and has each file's digest made by the server."""
    (tmp_path / "local").mkdir()
    for name in ("a b", "c'd", "e\\f", "ü"):
        (tmp_path / "local" / name).write_text(name)
        (user.home / name).write_text(name)
    rclone(user, "check", "-vv", tmp_path / "local", ":").ok()

    def sent() -> set[str]:
        return {line["ssh_command"] for line in user.server.lines("SSHCommand", username=user.name)}

    wait_for(
        lambda: len([line for line in sent() if line.startswith("md5sum ")]) == 4, "digests are asked for"
    )
    assert "echo ${ShellId}%ComSpec%" in sent()
    assert user.server.lines("refused", username=user.name) == []
    (user.home / "c'd").write_text("c'e")
    rclone(user, "check", tmp_path / "local", ":").failed("1 differences found")
    # One file: with several, rclone 1.60 asks for some digests before it knows the command.
    found = rclone(user, "hashsum", "sha1", ":a b").ok().out.decode()
    assert found == f"{hashlib.sha1(b'a b').hexdigest()}  a b\n"


# -- room ------------------------------------------------------------------------------------------------


def test_room_is_what_quota_leaves(every: Running) -> None:
    user = every.account(quota_size=10 << 20, quota_files=5)
    (user.home / "ignored").write_bytes(b"")
    assert ssh(user, "df -k").ok().out.decode().splitlines() == [
        "Filesystem 1K-blocks Used Available Use% Mounted on",
        "tidegate 10240 0 10240 0% /",
    ]
    assert ssh(user, "df -P /").ok().out.decode().split("\n")[0].split()[1:5] == [
        "1024-blocks", "Used", "Available", "Capacity",
    ]  # fmt: skip
    assert ssh(user, "df -h .").ok().out.decode().splitlines()[1] == "tidegate 10M 0 10M 0% /"
    assert ssh(user, "df -i").ok().out.decode().splitlines()[1] == "tidegate 5 0 5 0% /"
    ssh(user, "df -x").failed("unknown option -- x")
    ssh(user, "df /missing").failed("df: /missing: no such file or directory")


# -- copying ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tidegate-copy", "sftpgo-copy"])
def test_trees_are_copied(user: Person, command: str) -> None:
    fill(user.home / "top")
    before = tree(user.home / "top")
    assert ssh(user, f"{command} /top /copies/deep/x").ok().out == b"OK\n"
    assert tree(user.home / "copies" / "deep" / "x") == before
    ssh(user, f"{command} top copies").ok()
    assert tree(user.home / "copies" / "top") == before, "into a directory that is there"
    (user.home / "copies" / "top" / "f").write_text("older")
    ssh(user, f"{command} -r -- top copies/").ok()
    assert tree(user.home / "copies" / "top") == before, "merged, and replaced"
    ssh(user, f"{command} top/f named").ok()
    assert digest(user.home / "named") == digest(user.home / "top" / "f")
    ssh(user, f"{command} top/f copies/").ok()
    assert (user.home / "copies" / "f").exists()
    ssh(user, f"{command} top top/inner").failed("cannot be copied into itself")
    ssh(user, f"{command} top/f top/f").failed("are the same")
    ssh(user, f"{command} missing x").failed(f"{command}: /missing: no such file or directory")
    ssh(user, f"{command} top").failed("missing operand")
    ssh(user, f"{command} a b c").failed("extra operand c")
    lines(user, "Copy", 4 + 4 + 4 + 2)


def test_a_copy_obeys_rules(every: Running) -> None:
    """A pattern that is denied, a directory without rights, and a quota; what may be copied is."""
    user = every.account(
        permissions={"/": ["*"], "/top/closed": ["list"], "/noway": ["list"]},
        filters=Filters(file_patterns=(FilePatterns(path="/", denied_patterns=("*.key",)),)),
        quota_files=12,
    )
    fill(user.home / "top")
    (user.home / "top" / "closed").mkdir()
    (user.home / "top" / "closed" / "inner").write_text("x")
    (user.home / "top" / "x.key").write_text("secret")
    (user.home / "noway").mkdir()
    done = ssh(user, "tidegate-copy top copy")
    assert done.status == 1
    assert done.out == b""
    assert sorted(line.split(": ")[1] for line in done.err.decode().splitlines()) == [
        "/top/closed/inner", "/top/x.key",
    ]  # fmt: skip
    assert set(tree(user.home / "copy")) == {
        b"a",
        b"a/b",
        b"a/b/h",
        b"a/g",
        b"a/.hidden",
        b"closed",
        b"empty",
        b"f",
    }
    ssh(user, "tidegate-copy top/x.key copy/y").failed("/top/x.key: ")
    assert not (user.home / "copy" / "y").exists(), "a pattern is not evaded by a copy under another name"
    ssh(user, "tidegate-copy top/f noway/f").failed("/top/f: ")
    done = ssh(user, "tidegate-copy copy again")
    assert done.status == 0
    done = ssh(user, "tidegate-copy copy third")
    assert done.status == 0
    done = ssh(user, "tidegate-copy copy fourth")
    assert done.status == 1
    assert b"quota_files" in done.err or b"space limit" in done.err, done


def test_links_are_not_gone_through(user: Person) -> None:
    fill(user.home / "top")
    (user.home / "top" / "to-file").symlink_to("f")
    (user.home / "top" / "up").symlink_to("..")
    done = ssh(user, "tidegate-copy top copy")
    assert done.status == 1
    assert done.err.decode() == "tidegate-copy: /top/up: is a directory\n"
    assert digest(user.home / "copy" / "to-file") == digest(user.home / "top" / "f")
    assert not (user.home / "copy" / "to-file").is_symlink()
    ssh(user, "tidegate-remove copy top/up").ok()
    assert set(tree(user.home)) == {b"top", *(b"top/" + name for name in tree(user.home / "top"))}
    assert (user.home / "top" / "f").exists()


# -- removing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["tidegate-remove", "sftpgo-remove"])
def test_trees_are_removed(user: Person, command: str) -> None:
    fill(user.home / "top")
    fill(user.home / "other")
    (user.home / "file").write_text("x")
    assert ssh(user, f"{command} /top").ok().out == b"OK\n"
    ssh(user, f"{command} -rf other file").ok()
    assert tree(user.home) == {}
    ssh(user, f"{command} missing").failed("/missing: no such file or directory")
    ssh(user, f"{command}").failed("missing operand")
    lines(user, "Remove", 9)
    lines(user, "Rmdir", 8)


def test_a_name_that_cannot_be_a_path_keeps_nothing_else_from_being_done(user: Person) -> None:
    (user.home / "file").write_text("x")
    long = "z" * 5000
    done = ssh(user, f"tidegate-remove {long} file")
    assert outcome(done) == (1, f"tidegate-remove: {long}: invalid path: too long\n")
    assert tree(user.home) == {}
    ssh(user, f"tidegate-copy file {long}").failed(f"tidegate-copy: {long}: invalid path: too long")


def test_what_may_not_be_removed_stays_and_nothing_above_it_goes(every: Running) -> None:
    user = every.account(
        permissions={"/": ["*"], "/top/a/kept": ["list"], "/nodirs": ["list", "delete_files"]},
        filters=Filters(
            file_patterns=(FilePatterns(path="/hiding", denied_patterns=("*.secret",), deny_policy=1),)
        ),
    )
    fill(user.home / "top")
    for name in ("top/a/kept/x", "nodirs/sub/y", "hiding/z.secret", "hiding/open"):
        (user.home / name).parent.mkdir(parents=True, exist_ok=True)
        (user.home / name).write_text(name)
    done = ssh(user, "tidegate-remove top")
    assert outcome(done) == (1, "tidegate-remove: /top/a/kept/x: permission: delete on /top/a/kept\n"), done
    assert set(tree(user.home / "top")) == {b"a", b"a/kept", b"a/kept/x"}
    ssh(user, "tidegate-remove nodirs/sub").failed("/nodirs/sub: ")
    assert (user.home / "nodirs" / "sub" / "y").exists(), "a tree that cannot go is left whole"
    ssh(user, "tidegate-remove hiding").failed("/hiding: directory not empty")
    assert set(tree(user.home / "hiding")) == {b"z.secret"}
    ssh(user, "tidegate-remove /").failed("/: ")
    assert set(tree(user.home / "nodirs")) == {b"sub", b"sub/y"}


def test_a_long_copy_is_seen_and_ends_with_its_client(user: Person) -> None:
    (user.home / "many").mkdir()
    for number in range(3000):
        (user.home / "many" / f"{number:04}").write_bytes(b"x")
    words = ["ssh", *SSH, "-i", str(user.key), "-p", str(user.port), f"{user.name}@127.0.0.1"]
    process = subprocess.Popen([*words, "tidegate-copy many copy"], stdout=subprocess.DEVNULL)
    wait_for(lambda: (user.home / "copy" / "0000").exists() or process.poll() is not None, "it begins")
    process.kill()
    process.wait()
    user.server.wait_line("disconnected", username=user.name)
    count = len(list((user.home / "copy").iterdir()))
    assert user.server.wait_line("SSHCommand", username=user.name)["ssh_command"] == "tidegate-copy many copy"
    assert len(list((user.home / "copy").iterdir())) - count <= 1


# -- beside SCP ------------------------------------------------------------------------------------------


def test_the_commands_of_duplicity(person: Person, tmp_path: Path) -> None:
    """Its `scp://`: a directory made, filled over SCP, listed, and a file of it removed, all in single quotes."""
    ssh(person, "mkdir -p 'backups/of me'").ok()
    ssh(person, "mkdir -p 'backups/of me'").ok()
    for name in ("vol1.difftar.gpg", "vol2.difftar.gpg", ".hidden"):
        (person.home / "backups" / "of me" / name).write_text("x")
    assert ssh(person, "ls -1 'backups/of me'").ok().out == b"vol1.difftar.gpg\nvol2.difftar.gpg\n"
    assert ssh(person, "ls -1a 'backups/of me'").ok().out.startswith(b".hidden\n")
    ssh(person, "rm 'backups/of me/vol1.difftar.gpg'").ok()
    assert {path.name for path in (person.home / "backups" / "of me").iterdir()} == {
        "vol2.difftar.gpg",
        ".hidden",
    }
    ssh(person, "rm 'backups/of me/vol1.difftar.gpg'").failed("no such file")
    ssh(person, "rm -f 'backups/of me/vol1.difftar.gpg'").ok()
    ssh(person, "rm -r backups").failed("unknown option -- r")
    ssh(person, "mkdir 'backups'").failed("already exists")
    ssh(person, "ls -l").failed("unknown option -- l")
    ssh(person, "echo hello").failed("sftp; commands")


@pytest.mark.needs("lftp")
def test_what_starts_a_shell_is_refused(person: Person) -> None:
    """As lftp's ``fish://``, WinSCP's own shell setting, and duplicity's older backends send it."""
    for line in ("echo FISH:;/bin/sh", "/bin/bash", "sh -c 'ls -1 x'", "/usr/lib/openssh/sftp-server"):
        ssh(person, line).failed("this server offers file transfer only: sftp")
    lftp = run("lftp", "--norc", "-c", f"set net:max-retries 1; set net:timeout 5; set fish:connect-program "
               f"\"ssh -a -x {' '.join(SSH)} -i {person.key}\"; open -u {person.name},none -p {person.port} "
               "fish://127.0.0.1; ls", env={"HOME": str(person.home)})  # fmt: skip
    assert lftp.status != 0
