# SPDX-License-Identifier: Apache-2.0
"""The plan of the guide about Terraform and OpenTofu, applied by either to a real server: made, changed, removed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.needs import absent, program
from tests.support.web_world import WebWorld, web_world

from tidegate.identity.passwords import verify

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "how_to" / "terraform.md"
PLANS = re.findall(r"^```terraform\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8080"
RUN_SECONDS = 100


class Plan:
    """A directory with a plan of the guide for this server, and its key."""

    def __init__(self, place: Path, text: str, url: str) -> None:
        self.program = program("tofu") or program("terraform") or absent("tofu or terraform")
        self.place = place
        assert ADDRESS in text
        (place / "main.tf").write_text(text.replace(ADDRESS, url))

    async def run(self, *words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [self.program, f"-chdir={self.place}", *words, "-no-color", "-input=false"],
            capture_output=True, text=True, check=False, timeout=RUN_SECONDS,
            env={"PATH": os.environ["PATH"], "HOME": str(self.place), "CHECKPOINT_DISABLE": "1"},
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[tuple[WebWorld, str]]:
    """A server whose key may do what the guide's administrator may."""
    homes = {"users_base_dir": str(tmp_path / "files")}
    async with web_world(tmp_path, data_provider=homes) as world:
        await world.add_admin(
            "tofu", "add_users", "edit_users", "del_users", "view_users", allow_api_key_auth=True
        )
        answer = await world.client.post(
            "/api/v2/apikeys", json={"name": "tofu", "scope": 1, "admin": "tofu"}
        )
        assert answer.status_code == 201, answer.text
        yield world, answer.json()["key"]


async def document(world: WebWorld, name: str) -> dict[str, Any] | None:
    answer = await world.client.get(f"/api/v2/users/{name}")
    return answer.json() if answer.status_code == 200 else None


@pytest.mark.needs("curl")
async def test_a_plan_without_a_provider(keyed: tuple[WebWorld, str], tmp_path: Path) -> None:
    world, key = keyed
    place = tmp_path / "plan"
    place.mkdir()
    (place / "tofu.key").write_text(key)
    wanted = world.user("shop", status=1, permissions={"/": ["list", "download"]})
    (place / "shop.json").write_text(json.dumps({**wanted, "password": "Shop-pass-1"}))
    plan = Plan(place, PLANS[0], world.url)

    await plan.run("init")
    assert "2 added, 0 changed, 0 destroyed" in await plan.run("apply", "-auto-approve")
    made = await document(world, "shop")
    assert made is not None
    assert made["permissions"] == {"/": ["list", "download"]}
    await plan.run("plan", "-detailed-exitcode")  # 0: there is nothing to do

    (place / "shop.json").write_text(json.dumps({**wanted, "permissions": {"/": ["list"]}}))
    await plan.run("plan", "-detailed-exitcode", code=2)
    await plan.run("apply", "-auto-approve")
    changed = await document(world, "shop")
    assert changed is not None
    assert changed["permissions"] == {"/": ["list"]}
    assert changed["created_at"] == made["created_at"]
    stored = await world.app.provider.user("shop")
    assert stored is not None
    assert verify("Shop-pass-1", stored.password)  # the second document had none
    state = (place / "terraform.tfstate").read_text()
    assert key not in state
    assert "Shop-pass-1" not in state

    await plan.run("destroy", "-auto-approve")
    assert await document(world, "shop") is None
