# SPDX-License-Identifier: Apache-2.0
"""The pages of event rules, actions and deliveries."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import BASE, Browser, browser, fields_of
from tests.support.web_world import CHEAP_HASHING, WebWorld, web_world

from tidegate.store.deliveries import Delivery

EVIL = "<img src=x onerror=alert(1)>"
API = "/api/v2"
SECRET = "very secret"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    provider = {"driver": "sqlite", "name": "t.db", "password_hashing": CHEAP_HASHING}
    async with web_world(tmp_path, data_provider=provider) as made:
        yield made


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


def action(name: str = "notify") -> dict[str, Any]:
    config = {"endpoint": "http://127.0.0.1:1/hook", "method": "POST", "timeout": 10, "password": SECRET}
    config |= {"username": "u", "body": "{{.Name}} sent {{.VirtualPath}}"}
    return {"name": name, "type": 1, "options": {"http_config": config}}


def rule(name: str = "told", **more: Any) -> dict[str, Any]:
    conditions = {"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/in/*"}]}}
    uses = [{"name": "notify", "order": 1}]
    return {"name": name, "status": 1, "trigger": 1, "conditions": conditions, "actions": uses, **more}


async def post(world: WebWorld, path: str, document: dict[str, Any]) -> None:
    answer = await world.client.post(f"{API}/{path}", json=document)
    assert answer.status_code == 201, answer.text


async def active(world: WebWorld) -> list[str]:
    return [one["name"] for one in (await world.client.get(f"{API}/activerules")).json()]


async def test_an_action_and_a_rule_are_made_in_the_browser(world: WebWorld, inside: Browser) -> None:
    for path, text in (("/rules", "No event rule yet"), ("/actions", "No action yet")):
        assert text in (await inside.get(path)).text
    sent = fields_of(await inside.get("/new-action"))
    sent |= {"name": "notify", "description": EVIL, "options": json.dumps(action()["options"])}
    assert (await inside.post("/new-action", **sent)).location == f"{BASE}/actions/notify"
    page = await inside.get("/actions/notify")
    assert SECRET not in page.answer.text and not page.all("img")
    assert (await inside.post("/actions/notify", **fields_of(page))).status == 303
    assert "Nothing was changed." in (await inside.get("/actions")).text
    done = await inside.post("/actions/notify", **{**fields_of(page), "description": "other"})
    assert done.status == 303, done.text
    full = await world.client.get(f"{API}/eventactions/notify", params={"confidential_data": 1})
    assert SECRET in full.text  # what was not typed stays
    sent = fields_of(await inside.get("/new-rule"))
    sent |= {"name": EVIL, "actions": json.dumps(rule()["actions"])}
    done = await inside.post("/new-rule", **sent)
    assert done.status == 303, done.text
    assert await active(world) == [EVIL]
    page = await inside.get("/rules")
    assert not page.all("img") and "a file is moved or changed: upload" in page.text
    assert EVIL in (await inside.get("/actions/notify")).text
    asked = await inside.get("/actions/notify/delete")
    refused = await inside.post("/actions/notify/delete", _version=asked.value("_version"))
    assert (refused.status, "is used by the rules" in refused.text) == (400, True)


async def test_mistakes_stand_at_their_fields(world: WebWorld, inside: Browser) -> None:
    sent = {**fields_of(await inside.get("/new-rule")), "name": "told"}
    for field, value in (
        ("conditions", "{"),
        ("conditions", '{"fs_events": ["dance"]}'),
        ("actions", '[{"name": "nothing", "order": 1}]'),
        ("trigger", "99"),
        ("name", ""),
    ):
        wrong = await inside.post("/new-rule", **{**sent, field: value})
        assert wrong.status == 400, (field, value)
        assert wrong.first("p", id=f"e-{field}").text
    assert await active(world) == []


async def test_a_rule_is_told_in_words_and_tried_without_running(world: WebWorld, inside: Browser) -> None:
    await post(world, "eventactions", action())
    await post(world, "eventrules", rule())
    page = await inside.get("/rules/told")
    for text in (
        "a file is moved or changed",
        "fs_events: upload",
        "fs_paths: /in/*",
        "http http://127.0.0.1:1/hook",
    ):
        assert text in page.text, text
    event = json.loads(page.first("textarea", name="event").text)
    tried = await inside.post("/rules/told/dry-run", event=json.dumps({**event, "name": EVIL}))
    assert tried.status == 200 and not tried.all("img")
    assert "It would run" in tried.text and f"{EVIL} sent /in/report.csv" in tried.text
    assert SECRET not in tried.answer.text
    other = await inside.post("/rules/told/dry-run", event=json.dumps({**event, "virtual_path": "/out/x"}))
    assert "Nothing would run" in other.text
    for wrong in ("{", "[]", '{"event": 5}', "[" * 30_000):
        page = await inside.post("/rules/told/dry-run", event=wrong)
        assert page.status == 200 and page.first("p", id="e-event").text
    assert await world.app.provider.deliveries.count("waiting") == 0


async def test_a_rule_is_switched_off_and_on(world: WebWorld, inside: Browser) -> None:
    await post(world, "eventactions", action())
    await post(world, "eventrules", rule())
    mine = fields_of(await inside.get("/rules/told"))
    assert (await inside.post("/rules/told/status", status="0")).location == f"{BASE}/rules/told"
    assert await active(world) == []
    page = await inside.get("/rules/told")
    assert "told is off." in page.text and "Switch on" in page.text
    told = await inside.post("/rules/told", **{**mine, "description": "mine"})
    assert (told.status, "Somebody else has saved this event rule" in told.text) == (409, True)
    assert (await inside.post("/rules/told/status", status="1")).status == 303
    assert await active(world) == ["told"]


async def test_a_rule_is_run_on_demand(world: WebWorld, inside: Browser) -> None:
    await post(world, "eventactions", action())
    await post(world, "eventrules", rule("asked", trigger=6, conditions={}))
    page = await inside.get("/rules/asked")
    assert page.all("form", action=f"{BASE}/rules/asked/run")
    assert (await inside.post("/rules/asked/run")).status == 303
    assert "asked is started." in (await inside.get("/rules")).text
    await post(world, "eventrules", rule("told"))
    assert (await inside.post("/rules/told/run")).status == 400


async def test_deliveries_are_tried_again_and_dropped(world: WebWorld, inside: Browser) -> None:
    assert "Everything has arrived" in (await inside.get("/deliveries")).text
    store = world.app.provider.deliveries
    facts = json.dumps({"event": "upload", "name": EVIL, "virtual_path": f"/in/{EVIL}"})
    far = 4_000_000_000_000
    rows = [
        Delivery(
            id=f"d{number}", rule="gone", facts=facts, state="dead", tries=9, error=EVIL, created_at=number
        )
        for number in range(52)
    ]
    await store.add([*rows, Delivery(id="w", rule="gone", facts=facts, due=far, created_at=99)])
    page = await inside.get("/deliveries")
    assert "1 waits for the next try, 52 were given up." in page.text and not page.all("img")
    assert EVIL in page.text
    assert (
        len((await inside.get(page.first("a", rel="next").attributes["href"])).all("a", class_="name")) == 3
    )
    assert len((await inside.get("/deliveries?state=waiting")).all("a", class_="name")) == 1
    assert (
        await inside.post("/deliveries/drop", id="d1", state="dead")
    ).location == f"{BASE}/deliveries?state=dead"
    assert await store.find("d1") is None
    again = await inside.post("/deliveries/drop", id="d1")
    assert (again.status, "somebody else has dropped it" in again.text) == (404, True)
    assert (await inside.post("/deliveries/drop", _token="wrong", all="dead")).status == 403
    assert "Drop 51 deliveries?" in (await inside.get("/deliveries/drop")).text
    assert (await inside.post("/deliveries/drop", all="dead")).status == 303
    assert (await store.count("dead"), await store.count("waiting")) == (0, 1)
    await store.add([rows[0]])
    assert (await inside.post("/deliveries/retry", id="d0")).status == 303
    assert "1 delivery is tried again." in (await inside.get("/deliveries")).text


async def test_without_the_permission_nothing_is_seen_or_done(world: WebWorld, inside: Browser) -> None:
    await post(world, "eventactions", action())
    await post(world, "eventrules", rule())
    await world.add_admin("stranger", "view_users")
    async with browser(world).client as client:
        stranger = Browser(client)
        await stranger.sign_in("stranger")
        links = {one.attributes["href"] for one in (await stranger.get("/users")).all("a")}
        assert not links & {f"{BASE}/rules", f"{BASE}/actions", f"{BASE}/deliveries"}
        for path in ("/rules", "/rules/told", "/actions", "/actions/notify", "/deliveries", "/new-rule"):
            assert (await stranger.get(path)).status == 403, path
        for path in ("/rules/told/status", "/rules/told/dry-run", "/rules/told/run", "/deliveries/drop"):
            assert (await stranger.post(path, status="0", all="dead")).status == 403, path
    assert await active(world) == ["told"]
