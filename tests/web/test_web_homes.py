# SPDX-License-Identifier: Apache-2.0
"""Accounts that are added over REST without a home, where the configuration names a bucket for homes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.web_world import PASSWORD, web_world

USERS = "/api/v2/users"
HOMES = {"bucket": "partners", "region": "eu-central-1", "key_prefix": "in/"}


def user(name: str, **more: Any) -> dict[str, Any]:
    return {"username": name, "password": "a password of theirs", "permissions": {"/": ["*"]}, **more}


@pytest.mark.parametrize("prefix", ["", "in/", "in/ann/", "in/bob/x/"])
async def test_a_limited_administrator_gives_that_home_and_no_other(tmp_path: Path, prefix: str) -> None:
    base = str(tmp_path / "homes")
    section = {"users_base_dir": base}
    async with web_world(tmp_path, storage={"homes": HOMES}, data_provider=section) as world:
        await world.add_admin("helper", "add_users", "view_users")
        async with world.acting_as("helper", PASSWORD) as helper:
            added = await helper.post(USERS, json=user("ann"))
            assert added.status_code == 201, added.text
            filesystem = (await helper.get(f"{USERS}/ann")).json()["filesystem"]
            assert filesystem["provider"] == 1
            assert filesystem["s3config"] == {**HOMES, "key_prefix": "in/ann/"}
            config = {**HOMES, "key_prefix": prefix}
            other = user("bob", home_dir=f"{base}/bob", filesystem={"provider": 1, "s3config": config})
            refused = await helper.post(USERS, json=other)
            assert refused.status_code == 403, refused.text
            assert "access_key" in refused.text
