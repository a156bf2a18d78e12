# SPDX-License-Identifier: Apache-2.0
"""Users who are disabled, expired or deleted while connected are sent away."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.ssh_world import Recorder
from tests.support.web_world import ADMIN, web_world

from tidegate.events.kinds import Disconnected

USERS = "/api/v2/users"


@pytest.mark.parametrize(
    "how", ["disabled", "expired", "loaded", "loaded without a channel", "swept", "swept without a channel"]
)
async def test_who_may_not_be_in_any_more_is_sent_away(tmp_path: Path, how: str):
    record = Recorder()
    async with web_world(tmp_path, ssh=True, sinks=[record]) as world:
        for name in "uv":
            made = await world.client.post(USERS, json=world.user(name, password=f"a password of {name}"))
            assert made.status_code == 201, made.text

        def connect(name: str) -> Any:
            return asyncssh.connect(
                "127.0.0.1", port_of(world.app), username=name, password=f"a password of {name}",
                known_hosts=None, client_keys=None, config=None,
            )  # fmt: skip

        async with connect("u") as connection, connect("v") as other, other.start_sftp_client() as others:
            if not how.endswith("without a channel"):
                await connection.start_sftp_client()
            later = world.user("u", expiration_date=4_102_444_800_000, description="still welcome")
            assert (await world.client.put(f"{USERS}/u", json=later)).status_code == 200
            await world.app.sweep.once()
            assert world.app.registry.count("v") == 1
            assert world.app.door("ssh").usernames() == {"u", "v"}

            by = ADMIN
            if how == "expired":
                await world.client.put(f"{USERS}/u", json=world.user("u", expiration_date=1_000))
            elif how == "disabled":
                await world.client.put(f"{USERS}/u", json=world.user("u", status=0))
            elif how.startswith("loaded"):
                dump = {"users": [world.user("u", status=0), world.user("v")]}
                assert (await world.client.post("/api/v2/loaddata", json=dump)).status_code == 200
            else:  # as the command line does
                by = "disabled"
                account = await world.app.provider.user("u")
                assert account is not None
                await world.app.provider.update_user(replace(account, status=0))
                await world.app.sweep.once()
            async with asyncio.timeout(2):
                await connection.wait_closed()
                while world.app.door("ssh").usernames() != {"v"}:
                    await asyncio.sleep(0.005)
            assert await others.exists("/")
            with pytest.raises(asyncssh.PermissionDenied):
                await connect("u")
        ended = await record.wait(Disconnected, lambda event: event.origin.username == "u")
        assert ended.by == by
