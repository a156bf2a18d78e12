# SPDX-License-Identifier: Apache-2.0
"""The web admin while a real data provider is away: every page says so, what is live goes on, nobody is signed out."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from pathlib import Path
from typing import Any

from tests.support.browser import BASE, Browser, browser, fields_of
from tests.support.cut_line import CutLine
from tests.support.databases import Server
from tests.support.web_world import WebWorld, web_world

from tidegate.web.admin.registry import all_pages

SECONDS = 20


def without_provider() -> set[str]:
    """Pages that need no session."""
    return {page.path for page in all_pages() if page.open_to_all}


def settings(server: Server, line: CutLine) -> dict[str, Any]:
    """A section `data_provider` for a server at the other end of a line, with tables of its own."""
    return {
        "driver": "postgresql",
        "name": server.database,
        "host": "127.0.0.1",
        "port": line.port,
        "username": server.username,
        "password": server.password,
        "sql_tables_prefix": f"pages_{secrets.token_hex(4)}_",
    }


async def back(world: WebWorld) -> None:
    """Wait until the provider answers."""
    async with asyncio.timeout(SECONDS):
        while (await world.client.get("/api/v2/users", params={"limit": 1})).status_code != 200:
            await asyncio.sleep(0.05)


async def test_pages_say_that_the_provider_is_away_and_work_again_when_it_is_not(
    postgresql_server: Server, tmp_path: Path
) -> None:
    async with (
        CutLine(postgresql_server.port) as line,
        web_world(tmp_path, data_provider=settings(postgresql_server, line)) as world,
        browser(world).client as client,
    ):
        page = Browser(client)
        assert (await page.sign_in()).status == 303
        form = await page.get("/new-user")
        typed = {**fields_of(form), "username": "typed-twice"}
        await line.cut()
        for one in all_pages():
            if one.show is None or one.streams or one.path in without_provider():
                continue
            shown = await page.get(BASE + re.sub(r"\{[^}]+\}", "x", one.path))
            assert shown.status == 503, (one.path, shown.status)
            assert "The data provider is away" in shown.text, one.path
        sent = await page.post("/new-user", **typed)
        assert sent.status == 503 and "nothing was changed" in sent.text
        # Nobody is led to the sign-in, where a password would be typed in vain.
        assert not sent.location
        await line.restore()
        await back(world)
        assert (await page.get("/users")).status == 200
        done = await page.post("/new-user", **typed)
        assert done.status == 303, done.text


async def test_an_open_dashboard_tells_of_the_outage_and_of_its_end(
    postgresql_server: Server, tmp_path: Path
) -> None:
    async with (
        CutLine(postgresql_server.port) as line,
        web_world(tmp_path, data_provider=settings(postgresql_server, line)) as world,
        browser(world).client as client,
    ):
        page = Browser(client)
        await page.sign_in()
        async with asyncio.timeout(3 * SECONDS), client.stream("GET", f"{BASE}/live") as answer:
            seen: list[str] = []
            async for text in answer.aiter_lines():
                if not text.startswith("data: "):
                    assert text != "event: ended"
                    continue
                now = json.loads(text.removeprefix("data: "))["level"]
                if not seen or seen[-1] != now:
                    seen.append(now)
                if len(seen) == 1 and now != "now":
                    await line.cut()
                elif now == "now":
                    await line.restore()
                if len(seen) == 3:
                    break
        assert seen[1] == "now" and seen[0] == seen[2] != "now", seen
