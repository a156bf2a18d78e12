# SPDX-License-Identifier: Apache-2.0
"""Quota scans on a page: started for users and folders, seen while they run, and by role."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.model import Folder
from tidegate.vfs.usage import scan as scan_module

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def over(world: WebWorld) -> None:
    """No scan runs any more."""
    while running := services_of(world.app).sessions.scans.progress.running():
        await asyncio.wait([scan.task for scan in running if scan.task is not None] or [asyncio.sleep(0)])


def file(home: Path, size: int) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "f.bin").write_bytes(b"x" * size)


async def test_files_of_users_and_folders_are_counted(world: WebWorld, inside: Browser) -> None:
    assert "Nothing is counted" in (await inside.get("/scans")).text
    await world.client.post("/api/v2/users", json=world.user("mara", quota_files=100))
    await world.app.provider.add_folder(Folder(name="shared", mapped_path=str(world.home / "shared")))
    file(world.home / "files" / "mara", 1234)
    file(world.home / "shared", 4321)
    done = await inside.post("/scans", kind="user", name="mara")
    assert (done.status, done.location) == (303, f"{BASE}/scans"), done.text
    assert (await inside.post("/scans", kind="folder", name="shared")).status == 303
    await over(world)
    page = await inside.get("/scans")
    rows = [row.text for row in page.all("tr")]
    assert any(row.startswith("user maracounted11.23 kB") for row in rows), rows
    assert any(row.startswith("folder sharedcounted14.32 kB") for row in rows), rows
    assert not page.all("div", hx_get=f"{BASE}/scans/rows")
    stored = await world.app.provider.user("mara")
    assert stored is not None and (stored.used_quota_size, stored.used_quota_files) == (1234, 1)
    for kind, name in (("user", "nobody"), ("folder", "nothing"), ("user", ""), ("user", EVIL)):
        wrong = await inside.post("/scans", kind=kind, name=name)
        assert wrong.status == 400 and wrong.first("p", id="e-name").text and not wrong.all("img")


async def test_a_scan_that_runs_is_seen_with_its_progress(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    progress = services_of(world.app).sessions.scans.progress
    scan = progress.enter("user", "mara")
    scan.restart()
    scan.count(5_000_000, 7)
    with progress.leaving(scan):
        part = await inside.get("/scans/rows", {"HX-Request": "true"})
        assert (
            "running for" in part.first("div", id="scans").text
            and "5 MB" in part.first("div", id="scans").text
        )
        assert part.first("div", id="scans").attributes["hx-trigger"] == "every 1s"
        refused = await inside.post("/scans", kind="user", name="mara")
        assert refused.status == 400 and "in progress" in refused.first("p", id="e-name").text
    part = await inside.get("/scans/rows", {"HX-Request": "true"})
    assert "hx-trigger" not in part.first("div", id="scans").attributes


async def test_a_role_counts_its_own_users_alone(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    shared = [{"name": "shared", "virtual_path": "/s", "mapped_path": str(world.home / "files/shared")}]
    own = [{"name": "own", "virtual_path": "/o", "mapped_path": str(world.home / "files/own")}]
    users = (
        world.user("mine", role="east", virtual_folders=own),
        world.user("theirs", virtual_folders=shared),
    )
    for user in users:
        added = await world.client.post("/api/v2/users", json=user)
        assert added.status_code == 201, added.text
    admin = {
        "username": "nora",
        "password": PASSWORD,
        "permissions": ["quota_scans"],
        "role": "east",
        "status": 1,
    }
    assert (await world.client.post("/api/v2/admins", json=admin)).status_code == 201
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora", PASSWORD)
        assert (await nora.post("/scans", kind="user", name="mine")).status == 303
        assert (await nora.post("/scans", kind="folder", name="own")).status == 303
        hidden = await nora.post("/scans", kind="user", name="theirs")
        missing = await nora.post("/scans", kind="user", name="nobody")
        assert hidden.status == missing.status == 400
        assert hidden.first("p", id="e-name").text == "No such user: theirs."
        refused = await nora.post("/scans", kind="folder", name="shared")
        assert refused.status == 400 and "not of your role" in refused.first("p", id="e-name").text
        await inside.post("/scans", kind="user", name="theirs")
        assert (await nora.post("/scans/cancel", kind="user", name="theirs")).status == 404
        assert (await nora.post("/scans/cancel", kind="folder", name="shared")).status == 403
        await over(world)
        page = await nora.get("/scans")
        assert "mine" in page.text and "theirs" not in page.text
        assert (await nora.get("/maintenance")).status == 403
    await world.add_admin("otto", "view_users")
    async with browser(world).client as client:
        otto = Browser(client)
        await otto.sign_in("otto", PASSWORD)
        assert (await otto.get("/scans")).status == 403
        assert (await otto.post("/scans", kind="user", name="mine")).status == 403
        assert (await otto.get("/scans/rows")).status == 403
        assert (await otto.post("/scans/cancel", kind="user", name="mine")).status == 403


@contextlib.contextmanager
def mute() -> Iterator[dict[str, Any]]:
    """Storage on a server that takes connections and says nothing: whoever counts there waits."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        password = {"status": "Plain", "payload": "p"}
        config = {
            "endpoint": endpoint,
            "username": "u",
            "password": password,
            "fingerprints": [f"SHA256:{'A' * 43}"],
        }
        yield {"provider": 5, "sftpconfig": config}


async def test_a_scan_is_cancelled_and_is_not_made_again(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan_module, "RECOUNT_SECONDS", 0.01)
    scans, provider = services_of(world.app).sessions.scans, world.app.provider
    url = "/api/v2/quotas"
    with mute() as storage:
        user = world.user("mara", quota_files=100, filesystem=storage)
        assert (await world.client.post("/api/v2/users", json=user)).status_code == 201
        await provider.set_usage("mara", size=77, files=7)
        added = await world.client.post("/api/v2/folders", json={"name": "far", "filesystem": storage})
        assert added.status_code == 201, added.text
        assert (await inside.post("/scans", kind="user", name="mara")).status == 303
        assert (await inside.post("/scans", kind="folder", name="far")).status == 303
        page = await inside.get("/scans/rows", {"HX-Request": "true"})
        assert [one.text for one in page.all("button")] == ["Cancel counting mara", "Cancel counting far"]
        assert (await inside.post("/scans/cancel", kind="user", name="mara")).status == 303
        page = await inside.get("/scans")
        assert "The files of mara are counted no more." in page.text
        assert (await world.client.delete(f"{url}/folders/far/scan")).json()["message"] == "Scan cancelled"
    outcome = (await world.client.get(f"{url}/users/mara/scan")).json()
    assert (outcome["state"], outcome["error"]) == ("cancelled", "cancelled by boss")
    assert (await world.client.get(f"{url}/folders/far/scan")).json()["state"] == "cancelled"
    page = await inside.get("/scans")
    assert any(row.text.startswith("user maracancelledcancelled by boss") for row in page.all("tr"))
    assert (await world.client.delete(f"{url}/users/mara/scan")).status_code == 404
    assert (await inside.post("/scans/cancel", kind="folder", name="far")).status == 404
    # The account stays marked for the next start, and nobody begins to count by himself before.
    if scans._doubting is not None:
        await asyncio.wait_for(scans._doubting, 5)
    assert scans.progress.running() == []
    assert await provider.dirty_usage() == ["mara"]
    stored = await provider.user("mara")
    assert stored is not None and (stored.used_quota_size, stored.used_quota_files) == (77, 7)


async def test_a_count_that_settles_doubts_is_not_cancelled(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    progress = services_of(world.app).sessions.scans.progress
    with progress.leaving(progress.enter("user", "mara")):
        assert not (await inside.get("/scans")).all("button", id="cancel-user")
        refused = await world.client.delete("/api/v2/quotas/users/mara/scan")
        assert (refused.status_code, "uncertain" in refused.text) == (409, True)
        assert (await inside.post("/scans/cancel", kind="user", name="mara")).status == 409


async def test_nothing_is_counted_where_usage_is_not_tracked(tmp_path: Path) -> None:
    provider = {"driver": "memory", "name": "", "track_quota": 0}
    async with web_world(tmp_path, data_provider=provider) as world, browser(world).client as client:
        who = Browser(client)
        await who.sign_in()
        page = await who.get("/scans")
        assert "Usage is not tracked" in page.text
        assert (await who.post("/scans", kind="user", name="x")).status == 400
