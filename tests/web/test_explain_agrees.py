# SPDX-License-Identifier: Apache-2.0
"""`tidegate explain --json` and the REST API give one and the same answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from tests.support.command_line import process
from tests.support.web_world import web_world

FILTERS = {
    "denied_ip": ["192.0.2.0/24"],
    "file_patterns": [{"path": "/", "denied_patterns": ["*.exe"], "deny_policy": 0}],
    "max_upload_file_size": 1000,
}


QUESTIONS = [
    {"op": "upload", "path": "/in/x.exe"},
    {"op": "rename", "path": "/a", "target": "/b.csv", "ip": "192.0.2.1"},
    {"op": "upload", "path": "/x.csv", "size": "20"},
    {"op": "upload", "path": "/y.csv", "size": "70"},
    {"op": "upload", "path": "/y.csv", "size": "70", "replaced": "40"},
]


async def test_command_and_api_agree(tmp_path: Path) -> None:
    store = {"driver": "sqlite", "name": "accounts.db"}
    (tmp_path / "tidegate.json").write_text(json.dumps({"data_provider": store}))
    verdicts = []
    async with web_world(tmp_path, data_provider=store) as world:
        added = await world.client.post(
            "/api/v2/users", json=world.user("pat", filters=FILTERS, quota_size=100)
        )
        assert added.status_code == 201, added.text
        usage = {"used_quota_size": 50, "used_quota_files": 2}
        assert (await world.client.put("/api/v2/quotas/users/pat/usage", json=usage)).status_code == 200
        for question in QUESTIONS:
            answer = await world.client.get("/api/v2/explain", params={"user": "pat", **question})
            assert answer.status_code == 200, answer.text
            expected = answer.json()
            words = [word for name, value in question.items() for word in (f"--{name}", value)]
            told = await asyncio.to_thread(
                process, "explain", "-c", tmp_path, "--json", "--user", "pat", *words
            )
            verdicts.append(expected["allowed"])
            assert told.code == (0 if expected["allowed"] else 3), told.err
            given = told.json
            # The command asks later, and only the server knows who is there.
            assert given.pop("time") >= expected.pop("time")
            expected["steps"] = [step for step in expected["steps"] if step["section"] != "sessions"]
            assert given == expected
    assert verdicts == [False, False, True, False, True]
