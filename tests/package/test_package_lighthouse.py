# SPDX-License-Identifier: Apache-2.0
"""Lighthouse judges pages, also the set-up and long lists: accessibility and best practices are 100, the first is small."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
from tests.support import foreign_builds, kept_files
from tests.support.doors import services_of
from tests.support.live_connections import connect
from tests.support.needs import absent, program
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world
from tools.screenshots import move, world_of

from tidegate.accounts.actor import Actor, Channel
from tidegate.model.listed import ListKind
from tidegate.store.documents import decode_account

PATHS: Final = ("/", "/users", "/users/granite-bank", "/connections", "/logs", "/limits", "/maintenance")
MORE: Final = (
    "/groups", "/groups/banks", "/rules", "/rules/tell-the-warehouse", "/folders", "/admins", "/bans", "/lists",
    "/quarantine", "/moves", "/locks", "/deliveries", "/explain",
)  # fmt: skip
"""Pages of which each is judged once, in one look or the other; lists are longer than a page."""
LONG: Final = 60
"""Records of a long list; a page shows 50."""
LOOKS: Final = (("light", 1280), ("dark", 412))
"""Scheme of colours, and width of the window."""
FIRST_PAGE_BYTES: Final = 150_000
SECONDS: Final = 600


@pytest.fixture(scope="module")
def lighthouse() -> Path:
    toolchain = foreign_builds.LIGHTHOUSE
    for name in toolchain.programs:
        if program(name) is None:
            absent(name)
    try:
        return foreign_builds.built(toolchain)
    except foreign_builds.Unavailable as error:
        absent(f"lighthouse ({error})")


async def judged(
    tmp_path: Path, lighthouse: Path, base: str, pages: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The findings of Lighthouse about pages, all of which have to be perfect."""
    chromium = program("chromium") or absent("chromium")
    job = {"chromium": chromium, "base": base, "name": ADMIN, "password": PASSWORD, "pages": pages}
    done = await asyncio.to_thread(
        subprocess.run, ["node", lighthouse / "main.js"], input=json.dumps(job), capture_output=True,
        text=True, timeout=SECONDS, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told: list[dict[str, Any]] = json.loads(done.stdout)
    assert [(one["path"], one["scheme"]) for one in told] == [(one["path"], one["scheme"]) for one in pages]
    bad = [
        (one["path"], one["scheme"], one["scores"], one["problem"], one["failed"])
        for one in told
        if set(one["scores"].values()) != {1} or one["end"] != f"/web/admin{one['path']}"
    ]
    assert bad == []
    return told


async def lengthen(world: WebWorld) -> None:
    """Make lists longer than a page."""
    by = Actor(name="test", channel=Channel.PAGE, permissions=frozenset("*"))
    administration = services_of(world.app).administration
    rule = {
        "status": 0,
        "trigger": 6,
        "conditions": {},
        "actions": [{"name": "ask-the-warehouse", "order": 1}],
    }
    for number in range(LONG):
        await world.app.provider.add_user(decode_account(world.user(f"partner-{number:03}")))
        await administration.groups.add({"name": f"group-{number:03}"}, by=by)
        await administration.event_rules.add({"name": f"rule-{number:03}", **rule}, by=by)
        entry = {"type": int(ListKind.ALLOW), "ipornet": f"198.51.100.{number}", "description": "a partner"}
        await administration.lists.add(entry, by=by)
        await connect(world, f"partner-{number:03}")
        kept_files.keep(world.home / "kept", f"/in/{number}.xls", b"x", username="orchard", number=number + 1)


async def test_every_page_is_judged_perfect(lighthouse: Path, tmp_path: Path) -> None:
    pages = [
        {"path": path, "outside": path == "/login", "scheme": scheme, "width": width}
        for path in ("/login", *PATHS)
        for scheme, width in LOOKS
    ]
    for index, path in enumerate(MORE):
        scheme, width = LOOKS[index % len(LOOKS)]
        pages.append({"path": path, "outside": False, "scheme": scheme, "width": width})
    async with world_of(tmp_path) as world:
        await move(world)
        await lengthen(world)
        # By a name, so that the sign-in page has passkeys to offer.
        base = world.url.replace("127.0.0.1", "localhost") + "/web/admin"
        told = await judged(tmp_path, lighthouse, base, pages)
    # The sign-in came to an empty cache, and the dashboard to what it had left there.
    first, dashboard = told[0], told[len(LOOKS)]
    assert 0 < dashboard["bytes"] < first["bytes"]
    assert first["bytes"] + dashboard["bytes"] < FIRST_PAGE_BYTES


async def test_the_first_set_up_is_judged_perfect(lighthouse: Path, tmp_path: Path) -> None:
    pages = [{"path": "/setup", "outside": True, "scheme": scheme, "width": width} for scheme, width in LOOKS]
    async with web_world(tmp_path, first=False) as world:
        await judged(tmp_path, lighthouse, f"{world.url}/web/admin", pages)
