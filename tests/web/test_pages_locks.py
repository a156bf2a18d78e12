# SPDX-License-Identifier: Apache-2.0
"""Write locks on a page: found, and ended by who may."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import PASSWORD, WebWorld

from tidegate.contracts.cluster import HeldLock, LockRequest

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def lock(world: WebWorld, account: str, path: str, **more: object) -> HeldLock:
    wanted = LockRequest(place=f"s:/{account}{path}", account=account, path=path, seconds=600, **more)  # type: ignore[arg-type]
    return await services_of(world.app).sessions.locks.acquire(wanted)


async def test_a_lock_is_found_and_ended(world: WebWorld, inside: Browser) -> None:
    assert "Nothing is locked" in (await inside.get("/locks")).text
    held = await lock(world, "acme", "/in/plan.xlsx", owner=EVIL)
    await lock(world, "other", "/x", exclusive=False, deep=True)
    page = await inside.get("/locks")
    assert "2 locks are held." in page.text and EVIL in page.text and not page.all("img")
    assert "exclusive" in page.text and "shared, with all below" in page.text and "in 10 min" in page.text
    found = await inside.get("/locks?q=PLAN")
    assert [one.attributes["value"] for one in found.all("button", name="lock")] == [held.token]
    assert "No lock matches" in (await inside.get("/locks?q=nothing")).text
    done = await inside.post("/locks/end", lock=held.token)
    assert (done.status, done.location) == (303, f"{BASE}/locks"), done.text
    page = await inside.get("/locks")
    assert "The lock of acme on /in/plan.xlsx is ended." in page.text and "1 lock is held." in page.text
    assert (await inside.post("/locks/end", lock=held.token)).status == 404


async def test_who_may_see_may_not_end_and_a_role_sees_its_own(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    for name, role in (("mine", "east"), ("theirs", "")):
        user = world.user(name, **({"role": role} if role else {}))
        (await world.client.post("/api/v2/users", json=user)).raise_for_status()
    mine, theirs = await lock(world, "mine", "/a"), await lock(world, "theirs", "/b")
    permissions = ["view_conns", "close_conns"]
    admin = {
        "username": "nora",
        "password": PASSWORD,
        "permissions": permissions,
        "role": "east",
        "status": 1,
    }
    (await world.client.post("/api/v2/admins", json=admin)).raise_for_status()
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora")
        page = await nora.get("/locks")
        assert [one.attributes["value"] for one in page.all("button", name="lock")] == [mine.token]
        assert "1 lock is held." in page.text and "theirs" not in page.text
        assert (await nora.post("/locks/end", lock=theirs.token)).status == 404
        assert (await nora.post("/locks/end", lock=mine.token)).status == 303
    await world.add_admin("otto", "view_conns")
    async with browser(world).client as client:
        otto = Browser(client)
        await otto.sign_in("otto")
        page = await otto.get("/locks")
        assert "theirs" in page.text and not page.all("button", name="lock")
        assert (await otto.post("/locks/end", lock=theirs.token)).status == 403
