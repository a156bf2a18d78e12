# SPDX-License-Identifier: Apache-2.0
"""The recorded SSH commands of SFTPGo, replayed over a connection: output and exit status, byte for byte."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.web_world import WebWorld, web_world

from tidegate.testing.replay import Case, cases

RECORDED = Path(__file__).parent.parent / "data" / "recorded" / "2.7.5-ssh-commands.jsonl"
PASSWORD = "a password for commands"
ACCOUNTS: dict[str, dict[str, Any]] = {
    "all permissions": {},
    "upload+download only": {"permissions": {"/": ["upload", "download"]}},
    "*.key denied": {"filters": {"file_patterns": [{"path": "/", "denied_patterns": ["*.key"]}]}},
    "start_directory /sd": {"filters": {"start_directory": "/sd"}},
}
FILES = {"a.txt": "hello\n", "b c.txt": "hello\n", "x.key": "key\n"}
CONFIGS = {"default enabled_ssh_commands": None, 'enabled_ssh_commands ["*"]': ["*"]}
LASTING = {
    "md5sum /a.txt /x.key": (0, 2, "each file has its line; SFTPGo answers for the last alone"),
    "md5sum -": (0, 1, "standard input, as md5sum(1) has it"),
    "sftpgo-copy /x.key /y": (1, 0, "a pattern that is denied is not evaded by a copy under another name"),
    "md5sum /a.txt | cat": (1, 1, "each argument is a file; what is there has its line"),
}
"""Commands whose exit status or lines differ for good: exit status, lines on standard output, reason."""


async def outcome(world: WebWorld, case: Case) -> tuple[int | None, str, str]:
    name = f"u{[*ACCOUNTS].index(case.given['user'])}"
    options: dict[str, Any] = {
        "username": name,
        "password": PASSWORD,
        "known_hosts": None,
        "client_keys": None,
    }
    async with asyncssh.connect("127.0.0.1", port_of(world.app), **options) as connection:
        try:
            text = case.given["stdin"]
            given = {"input": text} if text else {"stdin": asyncssh.DEVNULL}
            done = await asyncio.wait_for(connection.run(case.step, **given), 20)
        except asyncssh.ChannelOpenError:
            return 255, "", ""
        return done.exit_status, str(done.stdout), str(done.stderr)


@pytest.mark.parametrize("config", CONFIGS)
async def test_what_scripts_read(tmp_path: Path, config: str) -> None:
    sftpd: dict[str, Any] = {"bindings": []}
    if CONFIGS[config] is not None:
        sftpd["enabled_ssh_commands"] = CONFIGS[config]
    found = []
    async with web_world(tmp_path, ssh=True, sftpd=sftpd) as world:
        for number, more in enumerate(ACCOUNTS.values()):
            document = world.user(f"u{number}", password=PASSWORD, **more)
            assert (await world.client.post("/api/v2/users", json=document)).status_code == 201
            home = Path(document["home_dir"])
            (home / "dir").mkdir(parents=True)
            (home / "sd").mkdir()
            for name, text in FILES.items():
                (home / name).write_text(text)
        for case in cases(RECORDED):
            if case.given["config"] != config:
                continue
            code, out, err = await outcome(world, case)
            expected = case.expected
            if expected["exit_status"] == 255:
                if code in (0, None):
                    found.append(f"{case}: {code} {out!r}, was refused")
            elif case.step in LASTING:
                assert (code, out.count("\n")) == LASTING[case.step][:2], case
            elif expected["exit_status"]:
                # What went wrong is said on standard error, where scripts that read digests do not look.
                if (code, out, err.count("\n")) != (expected["exit_status"], "", 1):
                    found.append(f"{case}: {(code, out, err)}")
            elif (code, out) != (expected["exit_status"], expected["stdout"]):
                found.append(
                    f"{case}: {(code, out, err)}, was {(expected['exit_status'], expected['stdout'])}"
                )
    assert found == []
