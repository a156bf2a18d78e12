# SPDX-License-Identifier: Apache-2.0
"""``tidegate portable`` as a service: known again after a restart, SIGHUP reads again, nothing stays behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.programs import run
from tests.support.running import COMMAND, make_key, wait_for

EXAMPLE = Path(__file__).parents[2] / "examples" / "portable-under-systemd"


class Service:
    """A started program and what it prints on standard output."""

    def __init__(self, *command: str | Path, temporary: Path) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("TIDEGATE_", "SFTPGO_"))}
        temporary.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [*map(str, command)],
            env={**environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.port = 0

    def wait(self) -> str:
        """Everything it prints, up to the lines to paste."""
        assert self.process.stdout is not None
        told = ""
        guard = threading.Timer(30, self.process.kill)
        guard.start()
        for line in self.process.stdout:
            told += line
            if line.startswith("  rclone"):
                break
        guard.cancel()
        found = re.search(r"sftp -P (\d+) ", told)
        assert found, told
        self.port = int(found[1])
        return told

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "f").write_text("content")
    make_key(tmp_path / "key")
    return tmp_path


def portable(place: Path, *flags: str | Path) -> Service:
    key = ("-k", place / "key.pub") if "-k" not in flags else ()
    return Service(
        *COMMAND, "portable", "-d", place / "shared", "-u", "u", *key, *flags, temporary=place / "tmp"
    )


def fetch(place: Path, port: int, *, user: str = "u", checking: str = "yes", key: str = "key") -> int:
    """Log in as OpenSSH does with a known_hosts file; the exit status."""
    batch = place / "batch"
    batch.write_text(f"get /f {place}/back\n")
    return run(
        "sftp", "-F", "none", "-o", f"UserKnownHostsFile={place}/known", "-o", f"StrictHostKeyChecking={checking}",
        "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-i", place / key, "-P", str(port), "-b", batch,
        f"{user}@127.0.0.1",
    ).status  # fmt: skip


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("how", ["--host-key", "--state-dir"])
def test_a_restart_is_known_again(place: Path, how: str) -> None:
    kept = place / "kept"
    port = str(free_port())
    for attempt, number in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
        service = portable(place, "-s", port, how, kept)
        try:
            service.wait()
            assert fetch(place, service.port, checking="yes" if attempt else "accept-new") == 0
        finally:
            code, _ = service.end(number)
        assert code == (0 if number == signal.SIGTERM else -9)
    private = kept if how == "--host-key" else kept / "id_ed25519"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert os.listdir(place / "shared") == ["f"]


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_nothing_stays_behind_whatever_ends_it(place: Path, number: int) -> None:
    service = portable(place)
    try:
        service.wait()
        assert fetch(place, service.port, checking="accept-new") == 0
        if number == signal.SIGHUP:  # a closed terminal: it goes on
            service.process.send_signal(number)
            assert fetch(place, service.port) == 0
            assert service.process.poll() is None
    finally:
        service.end(signal.SIGKILL if number == signal.SIGKILL else signal.SIGTERM)
    assert os.listdir(place / "tmp") == []
    assert os.listdir(place / "shared") == ["f"]


@pytest.mark.needs("sftp")
def test_hangup_reads_keys_again_and_a_mistake_changes_nothing(place: Path) -> None:
    accepted = place / "accepted.pub"
    shutil.copy(place / "key.pub", accepted)
    make_key(place / "other")
    service = portable(place, "-k", accepted, "-l", place / "log")
    try:
        service.wait()
        assert fetch(place, service.port, checking="accept-new") == 0
        assert fetch(place, service.port, key="other") != 0

        accepted.write_text("no key\n")
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "not reloaded" in (place / "log").read_text(), "nothing was said about the file")
        assert fetch(place, service.port) == 0

        shutil.copy(place / "other.pub", accepted)
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: fetch(place, service.port, key="other") == 0, "the new key is not accepted")
        assert fetch(place, service.port) != 0  # the host is the same, the old key is not accepted any more
    finally:
        code, err = service.end(signal.SIGTERM)
    assert code == 0
    assert "not reloaded: " in err


@pytest.mark.needs("sftp")
def test_the_lines_to_paste_name_the_key(place: Path) -> None:
    service = portable(place)
    try:
        told = service.wait()
    finally:
        service.end(signal.SIGTERM)
    assert f" -i {place}/key u@" in told
    assert f"-o IdentityFile={place}/key " in told
    assert f"user=u,key_file={place}/key:" in told


def example(place: Path) -> tuple[Path, str]:
    """The example's script and unit, with paths of this test instead of its own."""
    (place / "state").mkdir()
    command = place / "tidegate"
    code = "from tidegate.cli.main import main; main()"
    command.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$@\"\n")
    command.chmod(0o755)
    values = {
        "tidegate": command,
        "port": free_port(),
        "pubkey": place / "key.pub",
        "dir": place / "shared",
        "state": place / "state",
    }
    script = (EXAMPLE / "tidegate_start.sh").read_text()
    for name, value in values.items():
        script, count = re.subn(rf"^{name}=.*$", f"{name}={value}", script, flags=re.MULTILINE)
        assert count == 1, name
    path = place / "tidegate_start.sh"
    path.write_text(script)
    path.chmod(0o755)
    unit = (EXAMPLE / "tidegate-portable@.service").read_text()
    unit = unit.replace("/opt/tidegate/tidegate_start.sh", str(path)).replace(
        "/mnt/media", str(place / "shared")
    )
    return path, unit.replace("/opt/tidegate", str(place))


@pytest.mark.needs("sftp")
def test_the_example_reloads_and_restarts_as_its_unit_says(place: Path) -> None:
    """ExecStart, ExecReload, a crash and `Restart=on-failure`, while the client checks the host key strictly."""
    script, unit = example(place)
    started = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    reload = re.search(r"^ExecReload=(.*)$", unit, re.MULTILINE)
    assert started
    assert reload
    assert started[1] == str(script)
    service = Service(started[1], temporary=place / "tmp")
    try:
        service.wait()
        assert fetch(place, service.port, user="mediauser", checking="accept-new") == 0
        run("sh", "-c", reload[1], env={"MAINPID": str(service.process.pid)}).ok()
        assert fetch(place, service.port, user="mediauser") == 0
        assert service.process.poll() is None
    finally:
        service.end(signal.SIGKILL)
    again = Service(started[1], temporary=place / "tmp")
    try:
        again.wait()
        assert again.port == service.port
        assert fetch(place, again.port, user="mediauser") == 0
    finally:
        code, _ = again.end(signal.SIGTERM)
    assert code == 0
    assert os.listdir(place / "tmp") == []


@pytest.mark.needs("systemd-analyze")
def test_the_example_unit_is_understood(place: Path) -> None:
    _, unit = example(place)
    path = place / "tidegate-portable@me.service"
    path.write_text(unit)
    done = run("systemd-analyze", "verify", "--man=no", path)
    assert path.name not in (done.out + done.err).decode()
