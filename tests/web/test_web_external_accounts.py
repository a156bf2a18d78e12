# SPDX-License-Identifier: Apache-2.0
"""Usage of accounts that only an authenticator knows can be set and counted over REST."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncssh
import pytest
from tests.support.doors import port_of, services_of
from tests.support.web_world import web_world

PACKAGE = Path(__file__).parents[1] / "third_party" / "authenticator"
USAGE = "/api/v2/quotas/users/paul"


async def test_usage_of_an_account_that_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))
    roster = tmp_path / "roster.json"
    roster.write_text(
        json.dumps({"paul": {"password": "plain", "home": str(tmp_path / "paul"), "quota": 10_000}})
    )
    uses = [{"use": "tidegate_roster:Roster", "options": {"file": str(roster)}}]
    async with web_world(tmp_path, ssh=True, identity={"authenticators": uses}) as world:
        app = world.app

        async def used() -> int:
            await app.sessions.tracker.settle("paul")
            found = await app.identity.find("paul")
            assert found is not None
            return found.used_quota_size

        async with (
            asyncssh.connect(
                "127.0.0.1", port_of(app), username="paul", password="plain", known_hosts=None,
                config=None, client_keys=None, agent_path=None, gss_host=None,
            ) as connection,
            connection.start_sftp_client() as client,
            client.open("/file", "wb") as file,
        ):  # fmt: skip
            await file.write(b"x" * 8000)
        assert await used() == 8000
        document = {"used_quota_size": 1, "used_quota_files": 1}
        answer = await world.client.put(f"{USAGE}/usage", json=document)
        assert answer.status_code == 200, answer.text
        assert await used() == 1
        assert (await world.client.post(f"{USAGE}/scan")).status_code == 202
        scans = services_of(app).sessions.scans
        for scan in scans.progress.running("user"):
            assert scan.task is not None
            await asyncio.wait([scan.task])
        assert await used() == 8000
        assert (await world.client.put("/api/v2/quotas/users/nobody/usage", json=document)).status_code == 404
        assert (await world.client.get("/api/v2/users/paul")).status_code == 404  # it is not stored
