# SPDX-License-Identifier: Apache-2.0
"""The unit of the guide: few points of exposure, and the server works under what it asks for.

systemd itself is not process 1 where tests run, so a script (`tests/support/as_unit.py`) applies the same settings.
"""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.support import as_unit
from tests.support.ports import free_port
from tests.support.programs import SSH, digest, random_file, run, sftp
from tests.support.running import COMMAND, running

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "how_to" / "run-under-systemd.md"
TENTHS = 15


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    (text,) = re.findall(r"^```ini\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    path = tmp_path / "tidegate.service"
    path.write_text(text)
    return path


@pytest.mark.needs("systemd-analyze")
def test_the_unit_has_few_points_of_exposure(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={TENTHS}", str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    (points,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(points) <= TENTHS / 10


@pytest.mark.needs("systemd-analyze", "lib:seccomp", "sftp", "rsync")
def test_the_server_works_under_the_settings_of_the_unit(unit: Path, tmp_path: Path) -> None:
    there = tmp_path / "server"
    under = [sys.executable, as_unit.__file__, str(unit), *COMMAND]
    web = free_port()
    sections = {
        "httpd": {"bindings": [{"port": web, "address": "127.0.0.1"}]},
        "sftpd": {"enabled_ssh_commands": ["rsync"]},
    }
    with running(
        there, settings=sections, command=under, environment={"WRITABLE": str(there), "TMPDIR": str(there)}
    ) as server:
        person = server.account()
        expected = random_file(tmp_path / "f", 3 << 20)
        sftp(
            person, "mkdir d", "put f d/f", "rename d/f d/g", "get d/g back", "chmod 600 d/g", cwd=tmp_path
        ).ok()
        shell = " ".join(["ssh", *SSH, "-i", str(person.key), "-p", str(person.port)])
        copied = run(
            "rsync", "-a", "-e", shell, str(tmp_path / "f"), f"{person.name}@127.0.0.1:d/", cwd=tmp_path
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{web}/healthz", timeout=10) as answer:
            assert answer.status == 200
        status = Path(f"/proc/{server.pid}/status").read_text()
        kept_in = [line for line in server.lines("tidegate.server.run") if "sandbox" in line["message"]]

    copied.ok()
    assert digest(tmp_path / "back") == digest(person.home / "d" / "f") == expected
    assert len(kept_in) == 1
    kept = dict(re.findall(r"^(NoNewPrivs|Seccomp|CapBnd|CapEff):\s+(\w+)$", status, re.MULTILINE))
    assert kept == {"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0" * 16, "CapEff": "0" * 16}


@pytest.mark.needs("systemd-analyze", "lib:seccomp")
def test_what_the_unit_forbids_fails(unit: Path, tmp_path: Path) -> None:
    """The check of the check: the script does apply the settings."""
    attempts = (
        "import ctypes, mmap, os, socket\n"
        "def refused(call, *words):\n"
        "    try:\n        call(*words)\n"
        "    except OSError:\n        return True\n"
        "    return False\n"
        "print(refused(os.chroot, '/'), refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),\n"
        "      not refused(socket.socket), ctypes.CDLL(None).unshare(0x10000000))\n"
    )
    done = run(
        sys.executable, as_unit.__file__, unit, sys.executable, "-c", attempts, env={"WRITABLE": str(tmp_path)}
    ).ok()  # fmt: skip

    assert done.out.split() == [b"True", b"True", b"True", b"-1"]
