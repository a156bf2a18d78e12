# SPDX-License-Identifier: Apache-2.0
"""Ports that systemd opens: passed on by its own `systemd-socket-activate`, and kept open over a restart."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support import as_unit
from tests.support.needs import absent
from tests.support.ports import free_port
from tests.support.programs import digest, random_file, run, sftp
from tests.support.running import COMMAND, Person, Running, wait_for

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "systemd"
GUIDE = ROOT / "docs" / "how_to" / "run-under-systemd.md"
UNIT = re.compile(r"^```ini\n(.*?)^```", re.MULTILINE | re.DOTALL)
STOP_SECONDS = 20


def configured(directory: Path, port: int, **sections: dict[str, object]) -> Running:
    """A server that is not started yet; others open its port."""
    settings: dict[str, dict[str, object]] = {
        "sftpd": {"bindings": [{"port": port, "address": "127.0.0.1"}]}, **sections
    }  # fmt: skip
    server = Running(directory, settings=settings)
    server.port = port
    return server


@contextmanager
def started(server: Running, *before: str, pass_fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[str]]:
    """The command behind these words, until the end of the block."""
    words = [*before, *COMMAND, "serve", "-c", str(server.directory), "--log-level", "debug"]
    environment = {
        "PATH": os.environ["PATH"],
        "WRITABLE": str(server.directory),
        "TMPDIR": str(server.directory),
    }
    passed = [word for name in environment for word in ("-E", name)]
    if before[0] == "systemd-socket-activate":
        words[1:1] = passed
    process = subprocess.Popen(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, pass_fds=pass_fds,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            _, err = process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, err = process.communicate()
    assert process.returncode == 0, err


def listens(port: int) -> bool:
    """True once something listens on a port, told without a connection to it."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in lines)


def moves_a_file(person: Person, tmp_path: Path) -> None:
    expected = random_file(tmp_path / "f", 1 << 20)
    sftp(person, "put f f", "get f back", cwd=tmp_path).ok()
    assert digest(tmp_path / "back") == digest(person.home / "f") == expected


@pytest.mark.needs("systemd-socket-activate", "sftp")
def test_the_first_client_starts_it(tmp_path: Path) -> None:
    port, web, other = free_port(), free_port(), free_port()
    server = configured(
        tmp_path / "server", port, httpd={"bindings": [{"port": web, "address": "127.0.0.1"}]}
    )
    person = server.account()
    addresses = [word for one in (port, web, other) for word in ("-l", f"127.0.0.1:{one}")]
    with started(server, "systemd-socket-activate", *addresses):
        wait_for(lambda: all(map(listens, (port, web, other))), "systemd does not listen")
        assert not server.log_file.exists()
        moves_a_file(person, tmp_path)
        line = server.wait_line("tidegate.server.run", level="warn")
        assert line["message"] == f"no binding listens on 127.0.0.1:{other}, which was opened for this server"
        assert server.lines("tidegate.doors.http.door", level="info")[0]["message"].endswith(
            f"127.0.0.1:{web}"
        )


@pytest.mark.needs("systemd-socket-activate", "systemd-analyze", "lib:seccomp", "sftp")
def test_a_port_below_1024_needs_no_capability(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        absent("root")
    port = low_port()
    server = configured(tmp_path / "server", port)
    person = server.account()
    (tmp_path / "unit").write_text(UNIT.findall(GUIDE.read_text(encoding="utf-8"))[0])
    under = (sys.executable, as_unit.__file__, str(tmp_path / "unit"))
    with (
        pytest.raises(AssertionError, match="ports below 1024 need root or CAP_NET_BIND_SERVICE"),
        started(server, *under) as process,
    ):
        process.wait(timeout=STOP_SECONDS)
    with started(server, "systemd-socket-activate", "-l", f"127.0.0.1:{port}", *under):
        wait_for(lambda: listens(port), "systemd does not listen")
        moves_a_file(person, tmp_path)


def low_port() -> int:
    for port in range(1023, 600, -1):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port below 1024 is free")


@pytest.mark.needs("sftp", "bash")
def test_nobody_is_refused_while_it_restarts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as sock:
        server = configured(tmp_path / "server", sock.getsockname()[1])
        person = server.account()
        # LISTEN_PID is the number of the very process, which the shell becomes.
        passing = f'exec 3<&{sock.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
        before = ("bash", "-c", passing, "bash")  # dash knows descriptors up to 9
        with started(server, *before, pass_fds=[sock.fileno()]):
            moves_a_file(person, tmp_path)
        with socket.create_connection(sock.getsockname()) as waiting:
            waiting.settimeout(30)
            with started(server, *before, pass_fds=[sock.fileno()]):
                assert waiting.recv(8) == b"SSH-2.0-"
                moves_a_file(person, tmp_path)


@pytest.mark.needs("systemd-analyze")
def test_the_units_are_understood(tmp_path: Path) -> None:
    (guides,) = UNIT.findall(GUIDE.read_text(encoding="utf-8"))
    program = "/opt/tidegate/bin/tidegate"
    place = tmp_path / "tidegate.service.d"
    place.mkdir()
    (place / "socket.conf").write_text((EXAMPLES / "tidegate.service.d-socket.conf").read_text())
    (tmp_path / "tidegate.service").write_text(guides.replace(program, sys.executable))
    (tmp_path / "tidegate.socket").write_text((EXAMPLES / "tidegate.socket").read_text())
    template = (EXAMPLES / "tidegate@.service").read_text()
    (tmp_path / "tidegate@cameras.service").write_text(template.replace(program, sys.executable))
    done = run(
        *("systemd-analyze", "verify", "--man=no"),
        *(tmp_path / name for name in ("tidegate.socket", "tidegate.service", "tidegate@cameras.service")),
    )
    said = (done.out + done.err).decode()
    assert not [line for line in said.splitlines() if "tidegate" in line], said


def test_the_template_is_the_unit_of_the_guide() -> None:
    (guides,) = UNIT.findall(GUIDE.read_text(encoding="utf-8"))
    template = (EXAMPLES / "tidegate@.service").read_text()
    differs = set(template.splitlines()) ^ set(guides.splitlines())
    assert {line.partition("=")[0] for line in differs} == {
        "Description", "User", "Group", "ExecStart", "ReadWritePaths",
    }  # fmt: skip
    shared = template.replace(", %i", "").replace("-%i", "").replace("/%i", "")
    assert shared == guides
