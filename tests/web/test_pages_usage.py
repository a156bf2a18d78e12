# SPDX-License-Identifier: Apache-2.0
"""Usage of quotas, set by hand on a page as over REST."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.model import Account, Folder


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def user(world: WebWorld, name: str) -> Account:
    found = await world.app.provider.user(name)
    assert found is not None
    return found


async def folder(world: WebWorld, name: str) -> Folder:
    found = await world.app.provider.folder(name)
    assert found is not None
    return found


async def test_usage_of_a_user_is_replaced_or_added_to(world: WebWorld, inside: Browser) -> None:
    (await world.client.post("/api/v2/users", json=world.user("mara"))).raise_for_status()
    links = {one.attributes["href"] for one in (await inside.get("/users/mara")).all("a")}
    assert {f"{BASE}/usage?kind=user&name=mara", f"{BASE}/scans?kind=user&name=mara"} <= links
    page = await inside.get("/usage?kind=user&name=mara")
    assert (page.value("size"), page.value("files")) == ("0", "0")
    sent = {"kind": "user", "name": "mara", "size": "1.5 GB", "files": "7", "mode": "reset"}
    done = await inside.post("/usage", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/usage?kind=user&name=mara"), done.text
    page = await inside.get("/usage?kind=user&name=mara")
    assert "What is used of mara is set." in page.text and page.value("size") == "1500 MB"
    assert (await inside.post("/usage", **{**sent, "size": "500", "files": "1", "mode": "add"})).status == 303
    sent = {"kind": "user", "name": "mara", "what": "transfer", "upload": "1 kB", "download": "2 kB"}
    assert (await inside.post("/usage", **sent)).status == 303
    now = await user(world, "mara")
    assert (now.used_quota_size, now.used_quota_files) == (1_500_000_500, 8)
    assert (now.used_upload_data_transfer, now.used_download_data_transfer) == (1000, 2000)


async def test_usage_of_a_folder(world: WebWorld, inside: Browser) -> None:
    await world.app.provider.add_folder(Folder(name="shared", mapped_path=str(world.home / "shared")))
    links = {one.attributes["href"] for one in (await inside.get("/folders/shared")).all("a")}
    assert f"{BASE}/usage?kind=folder&name=shared" in links
    page = await inside.get("/usage?kind=folder&name=shared")
    assert page.status == 200 and not page.all("input", name="upload")
    sent = {"kind": "folder", "name": "shared", "size": "3 MB", "files": "2"}
    assert (await inside.post("/usage", **sent)).status == 303
    assert (await inside.post("/usage", **sent, mode="add")).status == 303
    now = await folder(world, "shared")
    assert (now.used_quota_size, now.used_quota_files) == (6_000_000, 4)
    refused = await inside.post(
        "/usage", kind="folder", name="shared", what="transfer", upload="1", download="1"
    )
    assert refused.status == 400 and "Folders have no data transfer." in refused.text


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("size", "a lot", "Is no size"),
        ("files", "many", "is no whole number"),
        ("files", "-1", "Should be 0 or more."),
        ("size", str(2**63 - 1), "Is too large."),
    ],
)
async def test_a_mistake_stands_at_its_field(
    world: WebWorld, inside: Browser, field: str, value: str, said: str
) -> None:
    (await world.client.post("/api/v2/users", json=world.user("mara"))).raise_for_status()
    await world.app.provider.set_usage("mara", size=5, files=5)
    await inside.get("/usage?kind=user&name=mara")
    sent = {"kind": "user", "name": "mara", "size": "1", "files": "1", "mode": "add", field: value}
    wrong = await inside.post("/usage", **sent)
    assert wrong.status == 400 and said in wrong.first("p", id=f"e-{field}").text
    assert wrong.value(field) == value
    assert (await user(world, "mara")).used_quota_size == 5


async def test_while_a_scan_runs_and_where_nothing_is_tracked_it_is_refused(
    world: WebWorld, inside: Browser, tmp_path: Path
) -> None:
    (await world.client.post("/api/v2/users", json=world.user("mara"))).raise_for_status()
    progress = services_of(world.app).sessions.scans.progress
    await inside.get("/usage?kind=user&name=mara")
    sent = {"kind": "user", "name": "mara", "size": "1", "files": "1"}
    with progress.leaving(progress.enter("user", "mara")):
        refused = await inside.post("/usage", **sent)
        assert refused.status == 400 and "A quota scan is in progress." in refused.text
    async with (
        web_world(tmp_path / "other", data_provider={"track_quota": 0}) as other,
        browser(other).client as client,
    ):
        (await other.client.post("/api/v2/users", json=other.user("mara"))).raise_for_status()
        page = Browser(client)
        await page.sign_in()
        assert "Usage is not tracked" in (await page.get("/usage?kind=user&name=mara")).text
        assert "Quota tracking is disabled." in (await page.post("/usage", **sent)).text


async def test_a_role_sets_that_of_its_own_accounts_alone(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/roles", json={"name": "east"})
    shared = [{"name": "shared", "virtual_path": "/s", "mapped_path": str(world.home / "files/shared")}]
    for one in (world.user("mine", role="east"), world.user("theirs", virtual_folders=shared)):
        (await world.client.post("/api/v2/users", json=one)).raise_for_status()
    admin = {
        "username": "nora",
        "password": PASSWORD,
        "permissions": ["quota_scans"],
        "role": "east",
        "status": 1,
    }
    (await world.client.post("/api/v2/admins", json=admin)).raise_for_status()
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora")
        assert (await nora.get("/usage?kind=user&name=mine")).status == 200
        assert (await nora.get("/usage?kind=user&name=theirs")).status == 404
        assert (await nora.get("/usage?kind=folder&name=shared")).status == 403
        sent = {"size": "1", "files": "1"}
        assert (await nora.post("/usage", kind="user", name="mine", **sent)).status == 303
        assert (await nora.post("/usage", kind="user", name="theirs", **sent)).status == 404
        assert (await nora.post("/usage", kind="folder", name="shared", **sent)).status == 403
    assert (await user(world, "theirs")).used_quota_files == 0
