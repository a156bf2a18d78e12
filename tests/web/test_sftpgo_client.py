# SPDX-License-Identifier: Apache-2.0
"""The published client of the field's other gateway manages this server while a partner is connected."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.sftpgo_client_venv import client_python
from tests.support.web_world import ADMIN, PASSWORD, web_world

SCRIPT = Path(__file__).parents[1] / "support" / "sftpgo_client_run.py"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="the client imports cgi, which Python 3.13 dropped")
@pytest.mark.timeout(180)
async def test_the_published_client_manages_this_server(tmp_path: Path):
    python = await asyncio.to_thread(client_python)
    async with web_world(tmp_path, ssh=True) as world:
        partner = world.user("partner", password="partner's password")
        assert (await world.client.post("/api/v2/users", json=partner)).status_code == 201
        async with asyncssh.connect(
            "127.0.0.1", port_of(world.app), username="partner", password="partner's password",
            known_hosts=None, client_keys=None, config=None,
        ) as connection:  # fmt: skip
            sftp = await connection.start_sftp_client()
            given = {
                "url": world.url, "username": ADMIN, "password": PASSWORD,
                "home": str(tmp_path / "files" / "made"), "connection_user": "partner",
            }  # fmt: skip
            run = await asyncio.to_thread(
                subprocess.run, [str(python), "-I", str(SCRIPT)], input=json.dumps(given), text=True,
                capture_output=True, timeout=100, check=False,
            )  # fmt: skip
            assert run.returncode == 0, run.stderr
            seen = json.loads(run.stdout)
            await asyncio.wait_for(sftp.wait_closed(), 10)  # the client closed it
        assert world.app.registry.count("partner") == 0

    assert seen == {
        "token": 200,
        "expires_has_zone": True,
        "add": [201, "made", None],
        "add_again": 409,
        "read": ["made", True, ["*"]],
        "list": ["made", "partner"],
        "update": [200, "User updated"],
        "updated": ["made@example.org", 3],
        "connections": [["partner", "SFTP", True]],
        "closed": [[200, "Connection closed"]],
        "folder": [201, ["shared"], 200, 200],
        "usage": 200,
        "scan": 202,
        "scans": True,
        "version": True,
        "status": True,
        "dump": [200, "Data saved"],
        "load": 200,
        "delete": [200, "User deleted"],
        "missing": 404,
        "logout": 200,
        "after_logout": 401,
    }
    dumped = json.loads((tmp_path / "backups" / "by-client.json").read_text())
    assert [user["username"] for user in dumped["users"]] == ["made", "partner"]
    assert (tmp_path / "backups" / "by-client.json").stat().st_mode & 0o077 == 0
