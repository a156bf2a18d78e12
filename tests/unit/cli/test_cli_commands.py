# SPDX-License-Identifier: Apache-2.0
"""Start, help, errors, check, config show, serve's and portable's flags."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from tests.support.command_line import TIDEGATE, clean_environment, process, tidegate
from tests.support.ports import free_port

from tidegate import __version__
from tidegate.cli import main as cli_main
from tidegate.config.schema.sftpd import SSH_COMMANDS
from tidegate.logs import LogOptions
from tidegate.model import FilePatterns
from tidegate.server.options import PortableOptions, ServeOptions


def test_version_and_help_as_processes() -> None:
    assert process("version").out == f"Tidegate {__version__}, run from a source tree (no build stamp)\n"
    shown = process("version", "--json").json
    assert (shown["version"], shown["commit"], shown["build_date"]) == (__version__, "", "")
    shown = process("--help")
    assert shown.code == 0
    for command in cli_main.COMMANDS:
        assert re.search(rf"^. {command} +[A-Z]", shown.out, re.MULTILINE), command
    assert process().code == 0


def test_starting_is_quick_because_little_is_imported() -> None:
    code = "import sys; from tidegate.cli.main import run; run(['version']); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )

    assert not {
        "asyncssh",
        "sqlalchemy",
        "tidegate.server.app",
        "tidegate.config",
        "tidegate.store",
        "tidegate.model",
        "cryptography",
        "asyncio",
    } & set(loaded.stdout.split())


@pytest.mark.parametrize("command", cli_main.COMMANDS)
def test_every_command_has_help(command: str) -> None:
    for flag in ("--help", "-h"):
        result = tidegate(command, flag)
        assert result.code == 0
        assert f"tidegate {command}" in " ".join(result.out.split()) or f"{command}" in result.out


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["nope"], "No such command 'nope' (see tidegate --help)"),
        (["serve", "--nope"], "No such option: --nope (see tidegate serve --help)"),
        (["serve", "--log-max-size", "x"], "Invalid value for '--log-max-size' / '-s': "),
        (["serve", "-c", "/nonexistent"], "Invalid value for --config-dir: /nonexistent is not a directory"),
        (["serve", "--config-file", "x.json"], "x.json: no such configuration file"),
        (["user"], ""),
        (["portable", "-d", "/nonexistent"], "--directory: /nonexistent is not a directory"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_without_traceback(args: list[str], error: str) -> None:
    result = tidegate(*args)

    if error:
        assert result.code == 1
        assert result.err.startswith("tidegate: ")
        assert result.err.count("\n") == 1
        assert error in result.err
        assert "env var" not in result.err
    assert "Traceback" not in result.err


def test_the_unexpected_is_one_line_too_and_debug_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegate.cli import version

    def broken(_text: str) -> None:
        raise ZeroDivisionError("by design\nsecond line")

    monkeypatch.setattr(version, "say", broken)
    result = tidegate("version")
    assert result.err == (
        "tidegate: unexpected ZeroDivisionError: by design second line (TIDEGATE_DEBUG=1 shows where)\n"
    )
    with pytest.raises(ZeroDivisionError):
        tidegate("version", environ={"TIDEGATE_DEBUG": "1"})


def test_every_configuration_problem_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "tidegate.json").write_text('{"sftpd": {"bind_prt": 1}, "common": {"idle_timeout": "x"}}')

    result = tidegate("config", "show", "-c", tmp_path)

    assert result.code == 1
    assert result.err.splitlines() == [
        f"tidegate: {tmp_path}/tidegate.json: common.idle_timeout: expected a whole number, got 'x'",
        f"tidegate: {tmp_path}/tidegate.json: sftpd.bind_prt: unknown key; did you mean sftpd.bind_port?",
    ]


def test_config_show_tells_value_and_origin_and_masks(tmp_path: Path) -> None:
    path = tmp_path / "tidegate.toml"
    path.write_text(
        '[data_provider]\npassword = "hunter2"\n[acme]\ndomains = ["mail"]\npassword = "hunter3"\n'
    )
    path.chmod(0o600)
    environ = {"TIDEGATE_SFTPD__BIND_PORT": "2222", "TIDEGATE_HTTPD__SIGNING_PASSPHRASE": "hunter4"}

    shown = tidegate("config", "show", "-c", tmp_path, "--json", environ=environ)

    rows = {row["key"]: (row["value"], row["origin"]) for row in shown.json}
    assert rows["sftpd.bindings[0].port"] == (2222, "TIDEGATE_SFTPD__BIND_PORT")
    assert rows["sftpd.bindings[0].address"] == ("", "default")
    assert rows["common.umask"] == ("0022", "default")
    assert rows["data_provider.password"] == ("********", f"{path}: data_provider.password")
    assert rows["httpd.signing_passphrase"] == ("********", "TIDEGATE_HTTPD__SIGNING_PASSPHRASE")
    assert rows["data_provider.connection_string"] == ("", "default")
    assert rows["acme"][0] == {"domains": ["mail"], "password": "********"}
    assert "hunter" not in shown.out
    assert "tidegate.toml: acme: not available in this version" in shown.err

    text = tidegate("config", "show", "-c", tmp_path, environ=environ)
    assert "hunter" not in text.out
    assert ["sftpd.bindings[0].port", "2222", "TIDEGATE_SFTPD__BIND_PORT"] in text.words
    changed = tidegate("config", "show", "-c", tmp_path, "--changed", environ=environ)
    assert "common.umask" not in changed.out


# -- check -----------------------------------------------------------------------------------------------------


def test_check_says_what_would_listen_where(tmp_path: Path) -> None:
    ssh, http = free_port(), free_port()
    environ = {
        "TIDEGATE_SFTPD__BINDINGS__0__PORT": str(ssh),
        "TIDEGATE_SFTPD__BINDINGS__0__ADDRESS": "127.0.0.1",
        "TIDEGATE_HTTPD__BINDINGS__0__PORT": str(http),
    }

    result = tidegate("check", "-c", tmp_path, environ=environ)

    assert (result.code, result.err) == (0, "")
    assert f"SSH (SFTP): 127.0.0.1:{ssh}\n" in result.out
    assert f"HTTP (REST API): 127.0.0.1:{http}\n" in result.out
    assert f"data provider: sqlite {tmp_path}/tidegate.db, made at the first start\n" in result.out
    assert result.out.endswith("no problems found\n")
    assert list(tmp_path.iterdir()) == []

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ssh))
        taken.listen()
        busy = tidegate("check", "-c", tmp_path, environ=environ)
    assert f"127.0.0.1:{ssh} (in use now: is the server running?)" in busy.out


def test_check_names_key_and_place_of_each_problem(tmp_path: Path) -> None:
    key = tmp_path / "id_rsa"
    key.write_text("x")
    key.chmod(0o644)
    path = tmp_path / "tidegate.json"
    path.write_text(
        json.dumps(
            {
                "sftpd": {
                    "bindings": [{"port": 0}],
                    "host_keys": ["id_rsa", "keys/other"],
                    "login_banner_file": "banner.txt",
                    "ciphers": ["rot13"],
                },
                "httpd": {"bindings": [{"port": 0}]},
                "data_provider": {"users_base_dir": f"{key}/homes", "name": "none/x.db"},
            }
        )
    )

    result = tidegate("check", "-c", tmp_path, "--json")

    assert result.code == 1
    problems = {problem["where"]: problem["what"] for problem in result.json["problems"]}
    place = f"{path}: "
    assert "rot13" in problems[f"{place}sftpd.ciphers[0]"]
    assert "chmod 600" in problems[f"{place}sftpd.host_keys[0]"]
    assert f"host key {tmp_path}/keys/other does not exist" in problems[f"{place}sftpd.host_keys[1]"]
    missing = f"{tmp_path}/banner.txt cannot be read: No such file or directory"
    assert problems[f"{place}sftpd.login_banner_file"] == missing
    assert problems[f"{place}data_provider.users_base_dir"] == f"{key} is not a directory"
    assert f"{place}data_provider.name" in problems
    assert result.json["ok"] is False
    assert len(result.err.splitlines()) == len(problems)


def test_check_counts_users_and_needs_no_server(tmp_path: Path) -> None:
    environ = {"TIDEGATE_SFTPD__BIND_PORT": "0", "TIDEGATE_HTTPD__BIND_PORT": "0"}
    tidegate("user", "add", "a", "--password-stdin", "--create", "-c", tmp_path, stdin="x", environ=environ)

    result = tidegate("check", "-c", tmp_path, environ=environ)

    assert f"data provider: sqlite {tmp_path}/tidegate.db, 1 users" in result.out
    assert "SSH (SFTP): off" in result.out
    (tmp_path / "tidegate.db").write_text("no database")
    broken = tidegate("check", "-c", tmp_path, environ=environ)
    assert broken.code == 1
    assert broken.err.startswith("tidegate: data_provider.driver: ")


# -- flags of serve and portable ------------------------------------------------------------------------------


def options_of(function: str, *args: str | Path, environ: dict[str, str] | None = None) -> tuple[Any, Any]:
    """The options that a command hands to the composition root."""
    taken: list[Any] = []

    def take(*given: Any) -> int:
        taken.extend(given)
        return 0

    with mock.patch(f"tidegate.{function}", take):
        result = tidegate(*args, environ=environ)
    assert (result.code, result.err) == (0, "")
    return taken[-1], taken


def test_serve_defaults(tmp_path: Path) -> None:
    options, given = options_of("server.run.serve", "serve", "-c", tmp_path)

    assert options == ServeOptions(
        config_dir=tmp_path,
        config_file="tidegate",
        log=LogOptions(file_path=f"{tmp_path}/tidegate.log", max_size=10, max_backups=5, max_age=28),
        grace_time=0,
        quickstart=False,
    )
    assert given[0].config_dir == tmp_path


def test_serve_flags_and_their_variables(tmp_path: Path) -> None:
    expected = ServeOptions(
        config_dir=tmp_path,
        config_file="x.json",
        log=LogOptions(
            file_path="/var/log/x.log", max_size=1, max_backups=2, max_age=3, compress=True, level="warn"
        ),
        grace_time=9,
        quickstart=True,
    )
    (tmp_path / "x.json").write_text("{}")
    by_flags, _ = options_of(
        "server.run.serve", "serve", "--config-dir", tmp_path, "--config-file", "x.json", "--log-file-path",
        "/var/log/x.log", "--log-max-size", "1", "--log-max-backups", "2", "--log-max-age", "3", "--log-compress",
        "--log-level", "warn", "--grace-time", "9", "--quickstart",
    )  # fmt: skip
    values = {
        "CONFIG_DIR": str(tmp_path), "CONFIG_FILE": "x.json", "LOG_FILE_PATH": "/var/log/x.log", "LOG_MAX_SIZE": "1",
        "LOG_MAX_BACKUPS": "2", "LOG_MAX_AGE": "3", "LOG_COMPRESS": "true", "LOG_LEVEL": "warn", "GRACE_TIME": "9",
        "QUICKSTART": "1",
    }  # fmt: skip

    assert by_flags == expected
    for prefix in ("TIDEGATE_", "SFTPGO_"):
        by_variables, _ = options_of(
            "server.run.serve", "serve", environ={prefix + name: value for name, value in values.items()}
        )
        assert by_variables == expected


@pytest.mark.parametrize(
    ("args", "environ", "level"),
    [
        (["--log-verbose"], {}, "debug"),
        (["--log-verbose=true"], {}, "debug"),
        (["--log-verbose=false"], {}, "info"),
        ([], {"SFTPGO_LOG_VERBOSE": "1"}, "debug"),
        ([], {"SFTPGO_LOG_VERBOSE": "false"}, "info"),
        (["--log-level", "warn"], {"SFTPGO_LOG_VERBOSE": "true"}, "warn"),
        ([], {}, "info"),
    ],
)
def test_the_older_name_of_the_log_level(
    tmp_path: Path, args: list[str], environ: dict[str, str], level: str
) -> None:
    serving, _ = options_of("server.run.serve", "serve", "-c", tmp_path, *args, environ=environ)
    sharing, _ = options_of("server.portable.share", "portable", "-d", tmp_path, *args, environ=environ)
    assert serving.log.level == level
    assert sharing.log.level == level


def test_serve_logs_to_standard_error_without_a_path(tmp_path: Path) -> None:
    options, _ = options_of("server.run.serve", "serve", "-c", tmp_path, "-l", "")

    assert options.log.file_path == "-"


def test_quickstart_makes_its_directory(tmp_path: Path) -> None:
    options_of("server.run.serve", "serve", "--quickstart", "-c", tmp_path / "new")

    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_flags_from_env_d(tmp_path: Path) -> None:
    (tmp_path / "env.d").mkdir()
    (tmp_path / "env.d" / "x").write_text("TIDEGATE_LOG_LEVEL=error\nTIDEGATE_COMMON__FSYNC=true\nOTHER=1\n")
    code = (
        "import sys; from unittest import mock\n"
        "def take(loaded, options): print(options.log.level, loaded.settings.common.fsync); return 0\n"
        "with mock.patch('tidegate.server.run.serve', take):\n"
        "    from tidegate.cli.main import main; sys.argv[0] = 'tidegate'; main()\n"
    )
    for args in (["-c", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "serve", *args],
            capture_output=True, text=True, env=clean_environment(), timeout=30, check=False,
        )  # fmt: skip
        assert (done.stdout, done.stderr) == ("error True\n", "")


def test_portable_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options, _ = options_of("server.portable.share", "portable")

    assert options == PortableOptions(
        directory=tmp_path.resolve(),
        username=options.username,
        password=options.password,
        permissions=("list", "download"),
        ssh_commands=("md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp"),
    )
    assert re.fullmatch(r"user-[0-9a-f]{6}", options.username)
    assert len(options.password) == 16
    assert options.password not in repr(options)
    again, _ = options_of("server.portable.share", "portable")
    assert again.password != options.password


def test_portable_flags(tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU"
    (tmp_path / "k.pub").write_text(f"{key} laptop\n")
    options, _ = options_of(
        "server.portable.share", "portable", "-d", tmp_path, "-s", "2222", "-u", "u", "-p", "p", "-k", tmp_path / "k.pub", "-k",
        key, "-g", "*", "-c", "*", "-l", tmp_path / "p.log", "-S", "-C", "--allowed-patterns", "/a::*.jpg,a*b?.png",
        "--denied-patterns", "/a/::*.exe", "--denied-patterns", "/b::x", "--grace-time", "4", "--log-level", "debug",
    )  # fmt: skip

    assert options == PortableOptions(
        directory=tmp_path,
        sftpd_port=2222,
        username="u",
        password="p",
        public_keys=(f"{key} laptop", key),
        permissions=("*",),
        ssh_commands=SSH_COMMANDS,
        log=LogOptions(file_path=str(tmp_path / "p.log"), level="debug"),
        advertise_service=True,
        advertise_credentials=True,
        file_patterns=(
            FilePatterns(path="/a", allowed_patterns=("*.jpg", "a*b?.png"), denied_patterns=("*.exe",)),
            FilePatterns(path="/b", denied_patterns=("x",)),
        ),
        grace_time=4,
    )


def test_portable_with_a_key_alone_has_no_password(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from file\n")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMB0F95bEdpmOGsO23CL5GygtheejmwnWiunYL9DLGLU"

    assert options_of("server.portable.share", "portable", "-d", tmp_path, "-k", key)[0].password == ""
    by_file, _ = options_of(
        "server.portable.share", "portable", "-d", tmp_path, "--password-file", tmp_path / "p"
    )
    assert by_file.password == "from file"


@pytest.mark.parametrize(
    ("args", "error"),
    [
        (["-g", "list,fly"], "--permissions: 'fly' is not one of *, chmod,"),
        (["-g", ","], "--permissions: name at least one"),
        (["-c", "bash"], "--ssh-commands: 'bash' is not one of md5sum,"),
        (["-k", "none.pub"], "--public-key: none.pub: no such file"),
        (["-k", "ssh-ed25519 AAAA"], "public_keys"),
        (["-C"], "--advertise-credentials needs --advertise-service"),
        (["--allowed-patterns", "*.jpg"], "--allowed-patterns: '*.jpg' is not of the form /dir::*.jpg,a*b?.png"),
        (["--denied-patterns", "/a::"], "--denied-patterns: '/a::' is not of the form"),
        (["--denied-patterns", "/a::b/c"], "--denied-patterns: 'b/c' is not a file name pattern"),
        (["-p", "x", "--password-file", "y"], "give --password or --password-file, not both"),
        (["-s", "70000"], "Invalid value for '--sftpd-port'"),
    ],
)  # fmt: skip
def test_portable_mistakes(tmp_path: Path, args: list[str], error: str) -> None:
    result = tidegate("portable", "-d", tmp_path, *args)

    assert (result.code, result.out) == (1, "")
    assert error in result.err
    assert result.err.count("\n") == 1


# -- real processes ---------------------------------------------------------------------------------------------


def test_portable_runs_and_ends_cleanly(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    server = subprocess.Popen(
        [*TIDEGATE, "portable", "-d", str(tmp_path), "-u", "u", "-p", "p w"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    try:
        assert server.stdout is not None
        told = ""
        while "rclone" not in told:
            line = server.stdout.readline()
            assert line, server.stderr.read() if server.stderr else ""
            told += line
        port = int(re.search(r"sftp -P (\d+) u@", told)[1])  # type: ignore[index]
        assert "sshfs -p" in told
        assert "password  p w" in told
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            assert connection.recv(100).startswith(b"SSH-2.0-Tidegate")
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=20)
    finally:
        if server.poll() is None:
            server.kill()
            server.communicate()

    assert server.returncode == 0
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def at_terminal(args: list[str], answers: list[tuple[str, str]], timeout: float = 20) -> tuple[int, str]:
    """Run a command at a pseudo terminal; each answer is typed when its question has appeared."""
    parent, child = pty.openpty()
    running = subprocess.Popen(
        [*TIDEGATE, *args], stdin=child, stdout=child, stderr=child, env=clean_environment(), start_new_session=True,
        preexec_fn=_controlling_terminal(child),
    )  # fmt: skip
    os.close(child)
    shown = ""
    deadline = time.monotonic() + timeout
    try:
        for question, answer in answers:
            while question not in shown:
                assert time.monotonic() < deadline, shown
                shown += os.read(parent, 4096).decode()
            shown = shown.replace(question, "", 1)
            os.write(parent, answer.encode())
        while True:
            try:
                piece = os.read(parent, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece.decode()
        return running.wait(timeout), shown
    finally:
        os.close(parent)
        if running.poll() is None:
            running.kill()
            running.wait()


def _controlling_terminal(child: int) -> Callable[[], None]:
    def make() -> None:
        import fcntl
        import termios

        fcntl.ioctl(child, termios.TIOCSCTTY, 0)

    return make


def test_passwords_are_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    command = ["user", "add", "alice", "--create", "-c", str(tmp_path)]
    code, shown = at_terminal(command, [("Password for alice: ", "one\n"), ("Again: ", "two\n")])
    assert code == 1
    assert "tidegate: the two passwords differ" in shown
    code, shown = at_terminal(command, [("Password for alice: ", "s3cret\n"), ("Again: ", "s3cret\n")])
    assert code == 0
    assert "added alice" in shown
    assert "s3cret" not in shown

    delete = ["user", "del", "alice", "-c", str(tmp_path)]
    code, shown = at_terminal(delete, [("[y/N] ", "n\n")])
    assert (code, "nothing was changed" in shown) == (1, True)
    code, shown = at_terminal(delete, [("[y/N] ", "y\n")])
    assert (code, "removed alice" in shown) == (0, True)


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        done = subprocess.run(
            [*TIDEGATE, "config", "show", "-c", str(tmp_path)],
            stdout=out, stderr=subprocess.PIPE, text=True, env=clean_environment(), timeout=30, check=False,
        )  # fmt: skip

    assert "Traceback" not in done.stderr
    assert done.returncode == 1
