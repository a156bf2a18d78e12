# SPDX-License-Identifier: Apache-2.0
"""The collection for Postman, run by Postman's own runner (newman) against a server."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest
from tests.package.conftest import ROOT, run
from tests.support.needs import absent
from tests.support.web_world import ADMIN, PASSWORD, web_world

COLLECTION = ROOT / "examples" / "rest" / "tidegate.postman_collection.json"
RUNNER = "newman@6.2.1"


@pytest.fixture(scope="module")
def newman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        absent("npm")
    place = tmp_path_factory.mktemp("newman")
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", place, RUNNER, cwd=place)
    return place / "node_modules" / ".bin" / "newman"


async def test_a_run_keeps_the_token_for_every_call(newman: Path, tmp_path: Path) -> None:
    values = {"name": ADMIN, "password": PASSWORD}
    folders = ("Get Token", "users", "folders", "groups", "connections", "maintenance", "health", "sign out")
    report = tmp_path / "report.json"
    async with web_world(tmp_path) as world:
        words = [newman, "run", COLLECTION, "--reporters", "json", "--reporter-json-export", report]
        for name, value in {**values, "baseUrl": world.url}.items():
            words += ["--env-var", f"{name}={value}"]
        for folder in folders:
            words += ["--folder", folder]
        await asyncio.to_thread(run, *words)
    done = json.loads(report.read_text(encoding="utf-8"))["run"]
    answers = {one["item"]["name"]: one["response"]["code"] for one in done["executions"]}
    assert answers["Get Token"] == answers["List Users"] == answers["Status"] == answers["Logout"] == 200
    # Bodies are beginnings: what they lack is said, and no call is refused for want of a token.
    assert 401 not in [
        code for name, code in answers.items() if "Logout" not in name and name != "Get User Token"
    ]
    assert not [one for one in done["failures"] if one["error"]["name"] == "AssertionError"]
