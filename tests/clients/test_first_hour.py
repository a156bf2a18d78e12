# SPDX-License-Identifier: Apache-2.0
"""The first hour with the product, through its command line: nothing is made by mistake, messages lead on."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command_line import TIDEGATE, clean_environment, process, tidegate
from tests.support.ports import free_port

PASSWORD = "a-good-Pass-1\n"


@contextlib.contextmanager
def serving(place: Path, *flags: str, **extra: str) -> Iterator[str]:
    """``tidegate serve`` in a directory; the value is what it prints."""
    with subprocess.Popen(
        [*TIDEGATE, "serve", *flags],
        env=clean_environment(
            TIDEGATE_SFTPD__BINDINGS__0__PORT=str(free_port()),
            TIDEGATE_HTTPD__BINDINGS__0__PORT=str(free_port()),
            **extra,
        ),
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        assert server.stdout is not None
        guard = threading.Timer(60, server.kill)
        guard.start()
        told = ""
        for line in server.stdout:
            told += line
            if line.startswith("  REST API"):
                break
        try:
            yield told
        finally:
            server.send_signal(signal.SIGTERM)
            rest, _ = server.communicate()
            guard.cancel()
        assert server.returncode == 0, told + rest


@pytest.mark.parametrize(
    "args",
    [
        ["user", "add", "ada", "--password-stdin"],
        ["user", "list"],
        ["user", "show", "ada"],
        ["admin", "add", "root", "--password-stdin"],
        ["folder", "add", "f", "/srv/f"],
        ["explain", "--user", "ada", "--op", "list"],
        ["dumpdata", "-"],
        ["revertprovider", "--to-version", "0", "-y"],
        ["resetprovider", "-y"],
    ],
)
@pytest.mark.parametrize("driver", ["sqlite", "bolt"])
def test_no_command_makes_a_database_by_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], driver: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = tidegate(*args, stdin=PASSWORD, environ={"TIDEGATE_DATA_PROVIDER__DRIVER": driver})

    assert result.code == 1
    assert result.err == (
        f"tidegate: {tmp_path}: no database of accounts here (tidegate.db). Name the server's directory with -c DIR "
        "or TIDEGATE_CONFIG_DIR; to make a database here: tidegate initprovider\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "tidegate.db")) as other:
        other.execute("CREATE TABLE notes (text TEXT)")
    before = (tmp_path / "tidegate.db").read_bytes()

    result = tidegate("user", "list", "-c", tmp_path)

    assert result.code == 1
    assert "to make a database here" in result.err
    with contextlib.closing(sqlite3.connect(tmp_path / "tidegate.db")) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("notes",)]
    assert before[:16] == b"SQLite format 3\0"


def test_what_the_message_says_works_and_hints_repeat_the_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("var").mkdir()
    refused = tidegate("user", "list", "-c", "var")
    program, *words = shlex.split(refused.err.partition("to make a database here: ")[2])
    assert (program, words) == ("tidegate", ["initprovider", "-c", "var"])
    assert tidegate(*words).code == 0

    added = tidegate("user", "add", "ada", "--password-stdin", "--config-dir=var", stdin=PASSWORD)
    program, *words = shlex.split(added.out.splitlines()[-1].partition("to allow more: ")[2])
    assert words == ["user", "set", "ada", "--permission", "/:*", "-c", "var"]
    assert tidegate(*words).code == 0
    assert os.listdir() == ["var"]

    emptied = tidegate("resetprovider", "-y", "-c", "var")
    assert emptied.out.endswith("is empty; tidegate initprovider -c var makes it anew\n")


def test_create_makes_it(tmp_path: Path) -> None:
    assert (
        tidegate("user", "add", "ada", "--password-stdin", "--create", "-c", tmp_path, stdin=PASSWORD).code
        == 0
    )
    assert tidegate("user", "list", "-c", tmp_path).words[2][0] == "ada"


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    for args in (["user", "list"], ["check"], ["initprovider"]):
        result = tidegate(*args, "-c", tmp_path / "vr")
        assert result.err == f"tidegate: --config-dir: {tmp_path}/vr is not a directory\n"


def test_serve_in_an_empty_directory_says_what_to_type_next(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    with serving(tmp_path, "-c", "var") as told:
        port = re.findall(r"^tidegate: SSH on port (\d+)$", told, re.MULTILINE)[0]
        assert f"  connect    sftp -P {port} NAME@127.0.0.1\n" in told
        assert re.search(r"^  host key   SHA256:\S+ ", told, re.MULTILINE)
        assert f"  log        {tmp_path}/var/tidegate.log\n" in told
        commands = re.findall(r"make one: (tidegate .*)$", told, re.MULTILINE)
        assert commands == ["tidegate user add NAME -c var", "tidegate admin add NAME -c var"]
        for command in commands:
            words = shlex.split(command)[1:]
            done = subprocess.run(
                [*TIDEGATE, *words, "--password-stdin"],
                cwd=tmp_path, env=clean_environment(), input=PASSWORD, text=True, capture_output=True, timeout=30,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    with serving(tmp_path, "-c", "var") as told:
        assert "  accounts   1\n" in told
        assert "make one" not in told


def test_every_taken_port_is_named_with_its_holder_and_a_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ssh, http = one.getsockname()[1], two.getsockname()[1]
        result = process(
            "serve", "-c", tmp_path, TIDEGATE_SFTPD__BINDINGS__0__PORT=str(ssh),
            TIDEGATE_SFTPD__BINDINGS__0__ADDRESS="127.0.0.1", TIDEGATE_HTTPD__BINDINGS__0__PORT=str(http),
        )  # fmt: skip
        shared = process("portable", "-d", tmp_path, "-s", str(ssh))

    holder = f"in use by process {os.getpid()} ("
    lines = result.err.splitlines()
    assert result.code == 1
    assert len(lines) == 2
    assert lines[0].startswith(f"tidegate: sftpd.bindings[0]: cannot listen on 127.0.0.1:{ssh}: {holder}")
    assert lines[0].endswith("; choose another with TIDEGATE_SFTPD__BINDINGS__0__PORT")
    assert lines[1].startswith(f"tidegate: httpd.bindings[0]: cannot listen on 127.0.0.1:{http}: {holder}")
    assert lines[1].endswith("; choose another with TIDEGATE_HTTPD__BINDINGS__0__PORT")
    assert shared.err.startswith(f"tidegate: --sftpd-port: cannot listen on *:{ssh}: {holder}")
    assert shared.err.endswith("; choose another with --sftpd-port PORT, or 0 for a free one\n")


def sftpgo_sqlite(path: Path) -> None:
    """A file that begins as SFTPGo's own database does."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE schema_version (id integer PRIMARY KEY, version integer NOT NULL)")
        made.execute("INSERT INTO schema_version VALUES (1, 29)")
        made.commit()


def sftpgo_0_9_4(path: Path) -> None:
    """As above, older than the number of the schema."""
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute(
            "CREATE TABLE users (id, username, public_keys, home_dir, permissions, last_quota_update)"
        )
        made.commit()


def bbolt(path: Path) -> None:
    """A meta page of bbolt."""
    path.write_bytes(b"\0" * 16 + struct.pack("<III", 0xED0CDAED, 2, 4096) + b"\0" * 4096)


@pytest.mark.parametrize(
    ("driver", "make"), [("sqlite", sftpgo_sqlite), ("sqlite", sftpgo_0_9_4), ("bolt", bbolt)]
)
@pytest.mark.parametrize("args", [["check"], ["user", "list"], ["initprovider"], ["serve"]])
def test_a_database_of_sftpgo_is_recognised_and_untouched(
    tmp_path: Path, driver: str, make: type, args: list[str]
) -> None:
    make(tmp_path / "sftpgo.db")
    environ = {
        "SFTPGO_DATA_PROVIDER__DRIVER": driver,
        "SFTPGO_DATA_PROVIDER__NAME": "sftpgo.db",
        "SFTPGO_SFTPD__BINDINGS__0__PORT": str(free_port()),
        "SFTPGO_HTTPD__BINDINGS__0__PORT": "0",
    }
    before = (tmp_path / "sftpgo.db").read_bytes()

    result = process(*args, "-c", tmp_path, **environ)

    assert result.code == 1
    assert "this is an SFTPGo database" in result.err
    way = "DUMP" if driver == "bolt" else f"--from sqlite:{tmp_path}/sftpgo.db"
    assert f"tidegate import sftpgo {way}" in result.err
    assert "column" not in result.err
    if driver == "bolt":
        assert (tmp_path / "sftpgo.db").read_bytes() == before


def test_files_of_sftpgo_are_noted_by_serve_and_check_alone(tmp_path: Path) -> None:
    (tmp_path / "sftpgo.json").write_text("{}")
    sftpgo_sqlite(tmp_path / "sftpgo.db")
    assert tidegate("initprovider", "-c", tmp_path).err == ""
    notes = [
        f"note: {tmp_path}/sftpgo.json: SFTPGo's configuration, not read; to use it: --config-file sftpgo.json",
        (
            f"note: {tmp_path}/sftpgo.db: SFTPGo's accounts, not read; to bring them over: "
            f"tidegate import sftpgo --from sqlite:{tmp_path}/sftpgo.db"
        ),
    ]

    checked = tidegate("check", "-c", tmp_path)
    assert checked.err.splitlines()[:2] == notes
    assert checked.code == 0
    assert tidegate("user", "list", "-c", tmp_path).err == ""
    assert tidegate("check", "-c", tmp_path, "--config-file", "sftpgo.json").err == ""
    with serving(tmp_path, "-c", str(tmp_path)) as told:
        assert [told.count(note) for note in notes] == [1, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_the_wrong_system_user_is_told_who_is_right(tmp_path: Path) -> None:
    reachable = tmp_path
    while reachable != Path("/tmp"):
        reachable.chmod(0o755)
        reachable = reachable.parent
    config = tmp_path / "config"
    config.mkdir()
    assert tidegate("initprovider", "-c", config).code == 0
    asked = ["user", "list", "-c", str(config)]
    assert tidegate(*asked).code == 0  # everything is imported
    for mode, subject in ((0o755, config / "tidegate.db"), (0o700, config)):
        config.chmod(mode)
        os.seteuid(65534)
        try:
            result = tidegate(*asked)
        finally:
            os.seteuid(0)
        assert result.code == 1
        assert result.err == (
            f"tidegate: {subject}: belongs to user root and cannot be used by this one; "
            f"try: sudo -u root tidegate {shlex.join(asked)}\n"
        )


def test_loaddata_of_a_directory_names_a_dump_in_it(tmp_path: Path) -> None:
    tidegate("initprovider", "-c", tmp_path)
    (tmp_path / "dumps").mkdir()
    (tmp_path / "dumps" / "a.json").write_text("{}")

    result = tidegate("loaddata", tmp_path / "dumps", "-c", tmp_path)

    assert result.err == (
        f"tidegate: {tmp_path}/dumps is a directory; name a dump in it, for instance {tmp_path}/dumps/a.json\n"
    )
