# SPDX-License-Identifier: Apache-2.0
"""`tidegate import compare` against servers that run: what differs is told, and nothing is changed."""

from __future__ import annotations

import csv
import json
import os
import pwd
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest
from tests.support.command_line import Result, tidegate
from tests.support.old_sshd import OldServer, old_sshd
from tests.support.running import Person, Running, in_thread, make_key, running

from tidegate.cli.provider import opened
from tidegate.model import Account, Filters
from tidegate.server.wiring import password_hasher

USERS = ("daemon", "bin", "games", "sys")


class Here:
    """The accounts after an import, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        cheap = {"argon2_options": {"memory": 64, "iterations": 1, "parallelism": 1}}
        config = {"data_provider": {"password_hashing": cheap}, "sftpd": {"bindings": [{"port": 0}]}}
        (directory / "tidegate.json").write_text(json.dumps(config))

    def add(self, *accounts: Account) -> None:
        async def work() -> None:
            async with opened(self.directory, "tidegate", create=True) as desk:
                hashed = password_hasher(desk.loaded)
                for account in accounts:
                    if account.password:
                        object.__setattr__(account, "password", hashed(account.password))
                    await desk.provider.add_user(account)

        in_thread(work)

    def records(self) -> str:
        """All accounts with their times and hashes; and the names of all files but those of SQLite's log."""
        names = sorted(
            str(path) for path in self.directory.rglob("*") if path.suffix not in (".db-wal", ".db-shm")
        )
        with tempfile.NamedTemporaryFile() as file:
            assert tidegate("dumpdata", file.name, "-c", self.directory).code == 0
            return Path(file.name).read_text() + "\n".join(names)

    def compare(self, port: int, *words: str | Path) -> Result:
        return tidegate(
            "import", "compare", f"127.0.0.1:{port}", "-c", self.directory, "--rate", "50", *words
        )


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "here")


def tree(*roots: Path) -> dict[str, tuple[int, int, int]]:
    """Every name below, with what a change of it would change."""
    found = {}
    for root in roots:
        for path in (root, *root.rglob("*")):
            state = path.lstat()
            found[str(path)] = (state.st_mode, state.st_size, state.st_mtime_ns)
    return found


def told(result: Result) -> set[tuple[str, str, str, str]]:
    return {
        (one["username"], one["what"], one["old"], one["new"])
        for one in json.loads(result.out)["differences"]
    }


# --- OpenSSH ----------------------------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "operator")
    return tmp_path / "operator"


@pytest.fixture
def sshd(key: Path) -> Iterator[OldServer]:
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-sshd-") as name,
        old_sshd(Path(name), key, USERS) as server,
    ):
        yield server


def account(name: str, home: Path, key: Path, **fields: object) -> Account:
    public = key.with_suffix(".pub").read_text().strip()
    document = {"permissions": {"/": ("*",)}, "public_keys": (public,), **fields}
    return Account(username=name, home_dir=str(home), **document)  # type: ignore[arg-type]


def test_an_sshd_and_accounts_that_answer_differently(here: Here, sshd: OldServer, key: Path) -> None:
    for user in USERS:
        (sshd.homes / user / "report.txt").write_text("12345")
        (sshd.homes / user / "in").mkdir()
        os.chown(sshd.homes / user / "in", pwd.getpwnam(user).pw_uid, -1)
        (sshd.homes / user / "closed").mkdir(mode=0o755)
    moved = here.directory / "homes" / "sys"
    shutil.copytree(sshd.homes / "sys", moved)
    (moved / "report.txt").write_text("123")
    (sshd.homes / "bin").chmod(0o555)
    (sshd.homes.parent / "keys" / "games").write_text("")
    here.add(
        account("daemon", sshd.homes / "daemon", key, permissions={"/": ("list",), "/in": ("*",)}),
        account("bin", sshd.homes / "bin", key, status=0),
        account("games", sshd.homes / "games", key),
        account("sys", moved, key),
    )
    before = tree(sshd.homes), here.records()

    done = here.compare(
        sshd.port, "--identity", key, "--host-key", sshd.fingerprint, "--old-root", ".", "--json"
    )

    assert done.code == 3, done.err
    assert told(done) == {
        ("daemon", "make directories in /", "yes", "no"),
        ("bin", "login", "yes", "no (the account is disabled)"),
        ("games", "login", "no (refused)", "yes"),
        ("sys", "listing of /", "only here: report.txt (5 bytes)", "only here: report.txt (3 bytes)"),
    }
    assert json.loads(done.out)["logins"] == 4
    assert (tree(sshd.homes), here.records()) == before


def test_the_same_answers_are_no_difference_and_the_report_says_who_was_asked(
    here: Here, sshd: OldServer, key: Path, tmp_path: Path
) -> None:
    here.add(account("daemon", sshd.homes / "daemon", key))
    words = ("--identity", key, "--host-key", sshd.fingerprint, "--old-root", ".")

    done = here.compare(sshd.port, *words, "--report", tmp_path / "r.json")

    assert done.code == 0, done.err
    assert done.out == f"1 logins compared with 127.0.0.1:{sshd.port}: no differences\n"
    (asked,) = json.loads((tmp_path / "r.json").read_text())["users"]
    assert asked["old"]["login"] is asked["new"]["login"] is True
    assert asked["old"]["makes"] == asked["new"]["makes"] == {"/": True}


def test_addresses_are_judged_as_the_old_server_sees_this_host(
    here: Here, sshd: OldServer, key: Path
) -> None:
    home = sshd.homes / "daemon"
    here.add(account("daemon", home, key, filters=Filters(allowed_ip=("192.0.2.0/24",))))

    done = here.compare(sshd.port, "-i", key, "--host-key", sshd.fingerprint, "--old-root", ".", "--json")

    assert told(done) == {("daemon", "login", "yes", "no (127.0.0.1 is in none of 192.0.2.0/24)")}


def test_a_home_that_is_not_here_is_told_and_not_made(
    here: Here, sshd: OldServer, key: Path, tmp_path: Path
) -> None:
    here.add(account("daemon", tmp_path / "homes" / "daemon", key))

    done = here.compare(sshd.port, "-i", key, "--host-key", sshd.fingerprint, "--old-root", ".", "--json")

    said = f"its directory {tmp_path}/homes/daemon is not there, and a session would make it"
    assert told(done) == {("daemon", "listing of /", "0 names", said)}
    assert not (tmp_path / "homes").exists()


def test_a_host_key_that_nobody_vouched_for_ends_it_before_any_password(
    here: Here, sshd: OldServer, key: Path, tmp_path: Path
) -> None:
    here.add(account("daemon", sshd.homes / "daemon", key))
    (tmp_path / "empty").touch()

    done = here.compare(sshd.port, "-i", key, "--known-hosts", tmp_path / "empty")
    wrong = here.compare(sshd.port, "-i", key, "--host-key", "SHA256:" + "A" * 43)

    for refused in (done, wrong):
        assert refused.code == 1
        assert f"the host key of 127.0.0.1:{sshd.port} is ssh-ed25519 {sshd.fingerprint}" in refused.err
    assert "Accepted" not in (sshd.homes.parent / "log").read_text()

    line = (sshd.homes.parent / "host_key.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{sshd.port} {line}")
    known = here.compare(sshd.port, "-i", key, "--known-hosts", tmp_path / "known", "--old-root", ".")
    assert known.code == 0, known.err


# --- another Tidegate -------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path / "old") as server:
        yield server


def fingerprint(server: Running) -> str:
    return asyncssh.read_public_key(server.directory / "id_ed25519.pub").get_fingerprint()


def copy_of(person: Person, **fields: object) -> Account:
    document = {"permissions": {"/": ("*",)}, **fields}
    return Account(
        username=person.name,
        password=person.password,
        home_dir=str(person.home),
        **document,  # type: ignore[arg-type]
    )


def credentials(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "credentials"
    file.write_text("# name:password\n\n" + "".join(f"{line}\n" for line in lines))
    file.chmod(0o600)
    return file


def test_passwords_and_rights_of_a_server_that_looks_at_rights_first(
    here: Here, old: Running, tmp_path: Path
) -> None:
    same = old.account("same", permissions={"/": ("list",), "/in": ("*",)})
    wide = old.account("wide", permissions={"/": ("list", "download")})
    other, gone = old.account("other"), old.account("gone")
    for person in (same, wide, other):
        (person.home / "in" / "deep").mkdir(parents=True)
        (person.home / "name.txt").write_text("1")
    here.add(
        copy_of(same, permissions={"/": ("list",), "/in": ("*",)}),
        copy_of(wide),
        Account(
            username="other", password="another one", home_dir=str(other.home), permissions={"/": ("*",)}
        ),
    )
    lines = [f"{one.name}:{one.password}" for one in (same, wide, other, gone)]
    file = credentials(tmp_path, *lines, "nobody:at:all")
    before = tree(old.homes), here.records()
    words = ("--credentials", file, "--host-key", fingerprint(old), "--json")

    done = here.compare(old.port, *words, "--ask-uploads")

    assert done.code == 3, done.err
    assert told(done) == {
        ("wide", "make directories in /", "no", "yes"),
        ("wide", "make directories in /in", "no", "yes"),
        ("wide", "upload to /", "no", "yes"),
        ("wide", "upload to /in", "no", "yes"),
        ("other", "login", "yes", "no (wrong password or key)"),
        ("gone", "login", "yes", "no (no such user here)"),
    }
    users = {one["username"]: one for one in json.loads(done.out)["users"]}
    assert users["same"]["old"]["makes"] == {"/": False, "/in": True}
    assert users["same"]["old"]["names"] == ["in/", "name.txt (1 bytes)"]
    assert users["nobody"]["old"]["login"] is users["nobody"]["new"]["login"] is False
    assert (tree(old.homes), here.records()) == before
    assert same.password not in done.out + done.err


def test_logins_in_two_steps(here: Here, old: Running, key: Path, tmp_path: Path) -> None:
    """The key alone is let in nowhere; whoever asks for fewer steps than the other is told."""
    public = (key.with_suffix(".pub").read_text().strip(),)
    two = Filters(denied_login_methods=("publickey", "password", "keyboard-interactive"))
    both = old.account("both", public_keys=public, filters=two)
    eased = old.account("eased", public_keys=public, filters=two)
    tight = old.account("tight", public_keys=public)
    wrong = old.account("wrong", public_keys=public, filters=two)
    here.add(
        copy_of(both, public_keys=public, filters=two),
        copy_of(eased, public_keys=public),
        copy_of(tight, public_keys=public, filters=two),
        replace(copy_of(wrong, public_keys=public, filters=two), password="another one"),
    )
    for person in (both, eased, tight, wrong):
        person.home.mkdir(parents=True, exist_ok=True)
    people = (both, eased, tight, wrong)
    file = credentials(tmp_path, *(f"{one.name}:{one.password}" for one in people))
    words = ("--credentials", file, "--identity", key, "--host-key", fingerprint(old), "--json")

    done = here.compare(old.port, *words)

    assert done.code == 3, done.err
    assert told(done) == {
        ("eased", "steps of the login", "key and password", "key"),
        ("tight", "steps of the login", "key", "key and password"),
        ("wrong", "login", "yes", "no (wrong password or key)"),
    }
    by_key = here.compare(old.port, "--identity", key, "--host-key", fingerprint(old), "--json")
    logins = {one["username"]: one["old"]["login"] for one in json.loads(by_key.out)["users"]}
    assert logins == {"both": False, "eased": False, "tight": True, "wrong": False}


def test_a_server_that_went_away_is_left_alone_and_nobody_else_is_asked(here: Here, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        port = taken.getsockname()[1]
        file = credentials(tmp_path, *(f"user{n}:x" for n in range(9)))
        here.add(Account(username="user0", password="x", home_dir=str(tmp_path)))
        words = ("--credentials", file, "--host-key", "SHA256:" + "A" * 43, "--report", tmp_path / "r.csv")

        done = here.compare(port, *words)

    assert done.code == 3
    assert f"127.0.0.1:{port} has not answered 3 logins in a row and is left alone" in done.err
    with (tmp_path / "r.csv").open(newline="") as opened_file:
        rows = list(csv.DictReader(opened_file))
    assert [(row["user"], row["what"]) for row in rows] == [(f"user{n}", "not compared") for n in range(3)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["h"], "'h' is not HOST:PORT"),
        (["h:99999"], "'h:99999' is not HOST:PORT"),
        (["h:22"], "--credentials or --identity"),
        (["h:22", "--credentials", "open", "--host-key", "SHA256:x"], "others may read open; chmod 600 open"),
        (
            ["h:22", "--credentials", "bad", "--host-key", "SHA256:x"],
            "bad:2: is not a line for each user, NAME:",
        ),
        (["h:22", "--credentials", "none", "--host-key", "SHA256:x"], "none: No such file"),
        (["h:22", "--identity", "bad", "--host-key", "SHA256:x"], "--identity: bad: "),
    ],
)
def test_wrong_flags_are_named(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, mode in (("open", 0o644), ("bad", 0o600)):
        Path(name).write_text("ana:x\nbea\n")
        Path(name).chmod(mode)
    here.add(Account(username="ana", home_dir=str(tmp_path)))

    done = tidegate("import", "compare", *words, "-c", here.directory)

    assert done.code in {1, 2}
    assert said in done.err
