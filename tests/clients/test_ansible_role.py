# SPDX-License-Identifier: Apache-2.0
"""The role of examples/ansible against a root directory on this machine: twice, and a server on what it made."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.ansible import ANSIBLE, program
from tests.support.command_line import process

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ansible"
UNIT = EXAMPLE / "roles" / "tidegate" / "templates" / "tidegate.service.j2"


def play(directory: Path, root: Path, **more: object) -> tuple[dict[str, int], str]:
    """Run the playbook of the example; counts of its last line, and all that it said."""
    inventory = directory / "inventory.ini"
    inventory.write_text(
        f"[gateways]\nlocalhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )
    variables = {
        "ansible_become": False,
        "acme_password": "Partner-pass-1",
        "tidegate_root": str(root),
        "tidegate_package": "",  # installed beforehand: this suite asks no index
        **more,
    }
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "ANSIBLE_LOCAL_TEMP": str(directory / "local"),
        "ANSIBLE_REMOTE_TEMP": str(directory / "remote"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
    }
    done = subprocess.run(
        [program("ansible-playbook"), "-i", inventory, EXAMPLE / "site.yml", "-e", json.dumps(variables)],
        capture_output=True, text=True, timeout=120, check=False, env=environ, cwd=directory,
    )  # fmt: skip
    counts = {
        name: int(number) for name, number in re.findall(r"(\w+)=(\d+)", done.stdout.rpartition("RECAP")[2])
    }
    return counts, done.stdout + done.stderr


@pytest.mark.needs(str(ANSIBLE / "ansible-playbook"))
def test_the_role_changes_nothing_the_second_time(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "opt/tidegate/bin").mkdir(parents=True)
    (root / "opt/tidegate/bin/tidegate").symlink_to(Path(sys.executable).with_name("tidegate"))

    first, said = play(tmp_path, root)
    assert (first["failed"], first["changed"] > 3) == (0, True), said
    assert "Partner-pass-1" not in said
    again, said = play(tmp_path, root)
    assert (again["failed"], again["changed"]) == (0, 0), said

    state = root / "var/lib/tidegate"
    assert (state.stat().st_mode & 0o777, (state / "tidegate.json").stat().st_mode & 0o777) == (0o700, 0o600)
    listed = process("user", "list", "--json", "-c", state)
    assert [user["username"] for user in listed.json] == ["acme"]
    decided = process("explain", "-c", state, "--user", "acme", "--op", "upload", "--path", "/in/x")
    assert decided.out.startswith("ALLOWED"), decided


def test_the_unit_is_that_of_the_guide() -> None:
    guide = (ROOT / "docs" / "how_to" / "run-under-systemd.md").read_text()
    (wanted,) = re.findall(r"```ini\n(\[Unit\].*?)```", guide, re.DOTALL)
    text = UNIT.read_text()
    for name, value in {
        "tidegate_prefix": "/opt/tidegate",
        "tidegate_state": "/var/lib/tidegate",
        "tidegate_files": "/srv/sftp",
        "tidegate_user": "tidegate",
    }.items():
        text = text.replace("{{ " + name + " }}", value)
    assert text == wanted
