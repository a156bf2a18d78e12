# SPDX-License-Identifier: Apache-2.0
"""Lighthouse judges the pages that people see most: accessibility and best practices are 100, and the first is small."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Final

import pytest
from tests.support import foreign_builds
from tests.support.needs import absent, program
from tests.support.web_world import ADMIN, PASSWORD
from tools.screenshots import move, world_of

PATHS: Final = ("/", "/users", "/users/granite-bank", "/connections", "/logs", "/limits", "/maintenance")
LOOKS: Final = (("light", 1280), ("dark", 412))
"""Scheme of colours, and width of the window."""
FIRST_PAGE_BYTES: Final = 150_000
SECONDS: Final = 300


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


async def test_every_page_is_judged_perfect(lighthouse: Path, tmp_path: Path) -> None:
    chromium = program("chromium") or absent("chromium")
    pages = [
        {"path": path, "outside": path == "/login", "scheme": scheme, "width": width}
        for path in ("/login", *PATHS)
        for scheme, width in LOOKS
    ]
    async with world_of(tmp_path) as world:
        await move(world)
        # By a name, so that the sign-in page has passkeys to offer.
        base = world.url.replace("127.0.0.1", "localhost") + "/web/admin"
        job = {"chromium": chromium, "base": base, "name": ADMIN, "password": PASSWORD, "pages": pages}
        done = await asyncio.to_thread(
            subprocess.run, ["node", lighthouse / "main.js"], input=json.dumps(job), capture_output=True,
            text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert [(one["path"], one["scheme"]) for one in told] == [(one["path"], one["scheme"]) for one in pages]
    bad = [
        (one["path"], one["scheme"], one["scores"], one["problem"], one["failed"])
        for one in told
        if set(one["scores"].values()) != {1} or one["end"] != f"/web/admin{one['path']}"
    ]
    assert bad == []
    # The sign-in came to an empty cache, and the dashboard to what it had left there.
    first, dashboard = told[0], told[len(LOOKS)]
    assert 0 < dashboard["bytes"] < first["bytes"]
    assert first["bytes"] + dashboard["bytes"] < FIRST_PAGE_BYTES
