# SPDX-License-Identifier: Apache-2.0
"""Changes by REST are kept: in the data provider before they are answered; a clean stop leaves them to whoever comes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.web_world import CHEAP_HASHING, web_world

from tidegate.abc import KeptEvent
from tidegate.store.factory import ProviderOptions, create_provider

API = "/api/v2"


class Away:
    """A kept sink that takes nothing."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        del options

    async def open(self) -> None:
        pass

    async def deliver(self, events: Sequence[KeptEvent]) -> None:
        raise OSError("away")

    async def close(self) -> None:
        pass


async def test_a_change_is_kept_before_it_is_answered(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.mkdir()
    sink = {"use": f"{__name__}:Away", "name": "away"}
    provider = {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING}
    async with web_world(config, events={"sinks": [sink]}, data_provider=provider) as world:
        user = {"username": "u", "status": 1, "permissions": {"/": ["*"]}, "home_dir": str(tmp_path / "u")}
        answer = await world.client.post(f"{API}/users", json=user)
        assert answer.status_code == 201, answer.text
        rows = [json.loads(row.document) for row in await world.app.provider.outbox.after(0, 100)]
        (told,) = [row for row in rows if row["event"] == "administration" and row["name"] == "u"]
        assert (told["kind"], told["action"], told["channel"]) == ("user", "add", "rest")
        assert told["origin"]["username"] == "boss"

    again = create_provider(ProviderOptions(driver="sqlite", base_dir=config, name="t.db"))
    await again.open()
    try:
        assert await again.outbox.claim("away", "another server", seconds=60) == 0
        assert len(await again.outbox.after(0, 100)) == len(rows)
    finally:
        await again.close()
