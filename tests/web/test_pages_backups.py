# SPDX-License-Identifier: Apache-2.0
"""Backup and restore by the pages: a dump goes out, is looked at, and comes back only when somebody says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.browser import BASE, Browser, Shown, browser
from tests.support.doors import services_of
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.web.admin import upkeep

EVIL = "<img src=x onerror=alert(1)>"
SCOPES = [
    "users",
    "folders",
    "groups",
    "roles",
    "admins",
    "api_keys",
    "event_actions",
    "event_rules",
    "ip_lists",
]


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def send(
    who: Browser, dump: bytes | dict[str, Any], *, name: str = "dump.json", **fields: str
) -> Shown:
    """Send a dump, and see the page that follows once it was looked at."""
    content = dump if isinstance(dump, bytes) else json.dumps(dump).encode()
    files = {"dump": (name, content, "application/json")}
    headers = {"Sec-Fetch-Site": "same-origin"}
    data = {"_token": who.token, **fields}
    answer = await who.client.post(f"{BASE}/maintenance/upload", data=data, files=files, headers=headers)
    shown = who._shown(answer)
    return await settled(who, shown.location) if shown.status == 303 else shown


async def settled(who: Browser, path: str) -> Shown:
    """A page whose work is over."""
    async with asyncio.timeout(20):
        while True:
            shown = await who.get(path)
            if not shown.all("div", id="work"):
                return shown
            await asyncio.sleep(0.02)  # the work goes on in this loop


async def jobs(world: WebWorld) -> None:
    """Background work is over."""
    while tasks := list(services_of(world.app).jobs._tasks):
        await asyncio.wait(tasks)


async def test_what_is_downloaded_is_looked_at_and_restored(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara", email="before@example.org"))
    await world.client.post("/api/v2/users", json=world.user(EVIL[:20].replace(" ", "-")))
    page = await inside.get("/maintenance")
    assert "No dump lies here" in page.text
    answer = await inside.post("/maintenance/download", scopes=SCOPES)
    assert answer.status == 200
    headers = answer.answer.headers
    assert headers["content-disposition"].startswith('attachment; filename="tidegate-')
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
    dump = answer.answer.json()
    assert dump == (await world.client.get("/api/v2/dumpdata", params={"output-data": 1})).json()
    await world.client.delete("/api/v2/users/mara")
    dump["users"][-1]["email"] = "after@example.org"
    seen = await send(inside, dump, name=f"../../{EVIL}")
    assert "3 records would change" in seen.text and not seen.all("img")
    assert await world.app.provider.user("mara") is None
    assert (
        "Your own record would be replaced" in seen.text
        and f"Administrators would change: {ADMIN}" in seen.text
    )
    path = str(seen.answer.url.path)
    wrong = await inside.post(path, changes="2")
    assert (wrong.status, wrong.all("p", id="e-changes") != []) == (400, True)
    assert await world.app.provider.user("mara") is None
    assert (await inside.post(path, changes="3")).status == 303
    await jobs(world)
    stored = await world.app.provider.user("mara")
    assert stored is not None
    over = await inside.get(path)
    if over.status == 303:  # the record of the administrator was replaced, and with it ended the session
        await inside.sign_in()
        over = await inside.get(path)
    assert "The dump is restored." in over.text and "3 records changed" in over.text
    again = await inside.post(path, changes="3")
    assert again.status == 409
    assert f"Restore {EVIL}" in (await inside.get("/maintenance")).text
    assert (await inside.post(f"{path}/drop")).status == 303
    assert (await inside.get(path)).status == 404


async def test_a_record_that_came_after_the_preview_is_not_replaced(world: WebWorld, inside: Browser) -> None:
    dump = {"users": [world.user("alder", email="dump@example.org"), world.user("birch")], "version": 2}
    seen = await send(inside, dump)
    assert "2 records would change" in seen.text
    path = str(seen.answer.url.path)
    await world.client.post("/api/v2/users", json=world.user("alder", email="own@example.org"))
    assert (await inside.post(path, changes="2")).status == 303
    over = await settled(inside, path)
    assert "user alder was added after the dump was looked at; nothing was changed" in over.text
    stored = await world.app.provider.user("alder")
    assert stored is not None and stored.email == "own@example.org"
    assert await world.app.provider.user("birch") is None
    again = await send(inside, dump)
    assert "2 records would change" in again.text and "alder" in again.text
    assert (await inside.post(str(again.answer.url.path), changes="2")).status == 303
    assert "The dump is restored." in (await settled(inside, str(again.answer.url.path))).text
    stored = await world.app.provider.user("alder")
    assert stored is not None and stored.email == "dump@example.org"


async def test_a_dump_is_written_on_the_server_and_chosen_there(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("mara"))
    await inside.get("/maintenance")
    done = await inside.post("/maintenance/write", scopes=["users"], name="day/one.json")
    assert done.status == 303
    page = await settled(inside, "/maintenance")
    assert "Backup day/one.json" in page.text
    (row,) = page.all("button", name="file")
    assert row.attributes["value"] == "day/one.json"
    written = json.loads((world.home / "backups/day/one.json").read_text())
    assert [one["username"] for one in written["users"]] == ["mara"] and "admins" not in written
    await world.client.delete("/api/v2/users/mara")
    chosen = await inside.post("/maintenance/choose", file="day/one.json")
    seen = await settled(inside, chosen.location)
    assert "1 record would change" in seen.text
    assert (await inside.post(chosen.location, changes="1")).status == 303
    assert "The dump is restored." in (await settled(inside, chosen.location)).text
    assert await world.app.provider.user("mara") is not None
    seen = await settled(
        inside, (await inside.post("/maintenance/choose", file="day/one.json", mode="1")).location
    )
    assert "Nothing would change." in seen.text and not seen.all("input", name="changes")


@pytest.mark.parametrize(
    "name", ["../x.json", "/etc/passwd", "", ".hidden", "a/../b", "link.json", "none.json"]
)
async def test_no_file_outside_is_written_or_read(world: WebWorld, inside: Browser, name: str) -> None:
    backups = world.home / "backups"
    backups.mkdir()
    (world.home / "x.json").write_text("{}")
    (backups / "link.json").symlink_to(world.home / "x.json")
    page = await inside.get("/maintenance")
    assert not page.all("button", name="file")
    refused = await inside.post("/maintenance/choose", file=name)
    assert refused.status == 400 and str(world.home) not in refused.text, refused.text
    if name not in ("link.json", "none.json"):
        before = sorted(world.home.rglob("*"))
        wrong = await inside.post("/maintenance/write", scopes=["users"], name=name)
        assert wrong.status == 400 and wrong.first("p", id="e-name").text
        await jobs(world)
        assert sorted(world.home.rglob("*")) == before


async def test_mistakes_are_named_and_nothing_is_changed(world: WebWorld, inside: Browser) -> None:
    await inside.get("/maintenance")
    users = [world.user("good"), {"username": EVIL}, {"username": "bad", "permissions": {"/": ["fly"]}}]
    seen = await send(inside, {"users": users})
    assert "It cannot be restored." in seen.text and "users[1]" in seen.text and "users[2]" in seen.text
    assert not seen.all("img") and not seen.all("input", name="changes")
    assert (await inside.post(str(seen.answer.url.path), changes="1")).status == 409
    await inside.get("/maintenance")
    no_dump = await send(inside, b"\xff\xfe no dump", name="x")
    assert "It cannot be restored." in no_dump.text
    no_owner = {
        "admins": [{"username": ADMIN, "status": 0, "permissions": ["*"], "password": "$2b$04$" + "a" * 53}]
    }
    assert "would remain" in (await send(inside, no_owner)).text
    assert await world.app.provider.count_users() == 0
    for name, content in (("e.json", b""), ("", b"")):
        files = {"dump": (name, content, "application/json")} if name else {"x": (None, b"")}
        answer = await inside.client.post(
            f"{BASE}/maintenance/upload", data={"_token": inside.token}, files=files,
            headers={"Sec-Fetch-Site": "same-origin"},
        )  # fmt: skip
        assert answer.status_code == 400
    unknown = await send(inside, {"users": []}, mode="7")
    assert unknown.status == 400


async def test_only_who_may_do_everything_and_only_with_the_token_of_the_form(
    world: WebWorld, inside: Browser
) -> None:
    await world.add_admin("nora", "view_users", "quota_scans", "manage_folders")
    async with browser(world).client as client:
        nora = Browser(client)
        await nora.sign_in("nora", PASSWORD)
        assert (await nora.get("/maintenance")).status == 403
        assert (await nora.post("/maintenance/download", scopes=["users"])).status == 403
        assert (await nora.post("/maintenance/write", scopes=["users"], name="x.json")).status == 403
        assert (await nora.post("/maintenance/choose", file="x.json")).status == 403
        assert (await send(nora, {"users": []})).status == 403
    token = (await inside.get("/maintenance")).token
    inside.token = "another"
    assert (await send(inside, {"users": []})).status == 403
    inside.token = "another"
    assert (await inside.post("/maintenance/download", scopes=["users"])).status == 403
    inside.token = token
    foreign = await inside.client.post(
        f"{BASE}/maintenance/upload", data={"_token": token}, files={"dump": ("x", b"{}")},
        headers={"Sec-Fetch-Site": "cross-site"},
    )  # fmt: skip
    assert foreign.status_code == 403
    assert (await inside.get("/maintenance/download")).status == 405


async def test_only_who_has_sent_a_dump_restores_it(world: WebWorld, inside: Browser) -> None:
    await world.add_admin("otto", "*")
    await inside.get("/maintenance")
    path = str((await send(inside, {"users": [world.user("mara")]})).answer.url.path)
    async with browser(world).client as client:
        otto = Browser(client)
        await otto.sign_in("otto", PASSWORD)
        seen = await otto.get(path)
        assert "1 record would change" in seen.text and not seen.all("input", name="changes")
        assert (await otto.post(path, changes="1")).status == 403
        assert (await otto.post(f"{path}/drop")).status == 403
    assert await world.app.provider.user("mara") is None


async def test_one_at_a_time_and_dumps_wait_within_bounds(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "MAX_HELD", 1)
    await world.add_admin("otto", "*")
    await inside.get("/maintenance")
    first = str((await send(inside, {"users": [world.user("mara")]})).answer.url.path)
    async with browser(world).client as client:
        otto = Browser(client)
        await otto.sign_in("otto", PASSWORD)
        assert (await send(otto, {"users": []})).status == 409
    await inside.get("/maintenance")
    second = str((await send(inside, {"users": [world.user("nina")]})).answer.url.path)
    assert second != first and (await inside.get(first)).status == 404
    async with services_of(world.app).backups.busy:
        await inside.post(second, changes="1")
        refused = await settled(inside, second)
        assert "another dump or load is under way" in refused.text
    assert await world.app.provider.user("nina") is None


async def test_a_body_that_is_too_long_is_refused(tmp_path: Any) -> None:
    async with (
        web_world(tmp_path, httpd={"max_request_size": 4096}) as world,
        browser(world).client as client,
    ):
        who = Browser(client)
        await who.sign_in()
        assert "4.1 kB at most" in (await who.get("/maintenance")).text
        answer = await send(who, b"{" + b" " * 8000)
        assert answer.status == 413
        wrong = await who.client.post(
            f"{BASE}/maintenance/upload",
            data={"_token": who.token},
            headers={"Sec-Fetch-Site": "same-origin"},
        )
        assert wrong.status_code == 400


async def test_a_stop_breaks_a_restore_off_and_forgets_the_dump(tmp_path: Any) -> None:
    async with web_world(tmp_path) as world, browser(world).client as client:
        who = Browser(client)
        await who.sign_in()
        users = [world.user(f"u{number}") for number in range(3)]
        path = str((await send(who, {"users": users})).answer.url.path)
        assert (await who.post(path, changes="3")).status == 303
        # The server stops while the restore has just begun, or is over: all of it or nothing.
    assert await world.app.provider.count_users() in (0, 3)


async def test_progress_does_not_keep_a_session_and_needs_one(world: WebWorld, inside: Browser) -> None:
    await inside.get("/maintenance")
    path = str((await send(inside, {"users": [world.user("mara")]})).answer.url.path)
    part = {"HX-Request": "true"}
    over = await inside.get(f"{path}/progress", part)
    assert over.answer.headers["hx-refresh"] == "true"
    assert (await inside.get("/maintenance/progress", part)).answer.headers["hx-refresh"] == "true"
    async with browser(world).client as client:
        assert (await Browser(client).get(f"{path}/progress", part)).status == 401
