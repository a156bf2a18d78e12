# SPDX-License-Identifier: Apache-2.0
"""The dashboard and its stream, on a real server with real transfers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.certificates import certificate
from tests.support.doors import services_of
from tests.support.live_connections import Moving, connect
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.metrics import history
from tidegate.metrics.history import History
from tidegate.web.admin import live
from tidegate.web.admin.pages import dashboard


async def enter(world: WebWorld, name: str, path: str, total: int) -> Moving:
    connection = await connect(world, name)
    moving = Moving(path, total)
    connection.transfers.add(moving)
    return moving


async def frames(client: httpx2.AsyncClient, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with client.stream("GET", f"{BASE}/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line[6:]))
            if len(found) == number:
                return found
    return found


@pytest.fixture
async def inside(world: WebWorld, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Browser]:
    monkeypatch.setattr(live, "FAST_SECONDS", 0.05)
    async with browser(world).client as client:
        made = Browser(client)
        await made.sign_in()
        yield made


async def test_a_transfer_moves_on_the_page_and_in_the_stream(world: WebWorld, inside: Browser) -> None:
    evil = "/<img src=x onerror=alert(1)>\u202e"
    moving = await enter(world, "mara", evil, 1000)
    moving.size = 100
    for _ in range(50):
        page = await inside.get("/")
        if page.all("progress"):
            break
    assert page.first("progress").attributes["value"] == "10"
    assert not page.all("img")
    (first,) = await frames(inside.client, 1)
    moving.size = 900
    for _ in range(50):
        (last,) = await frames(inside.client, 1)
        if last["rows"][0]["percent"] == 90:
            break
    assert (first["texts"]["flight"], last["rows"][0]["done"]) == ("1", "90 %")
    assert last["rows"][0]["path"].endswith("\\u202e")
    assert last["rows"][0]["key"] == first["rows"][0]["key"]


async def test_two_thousand_transfers_are_counted_and_eight_are_shown(
    world: WebWorld, inside: Browser
) -> None:
    for number in range(2000):
        await enter(world, f"user-{number}", f"/in/{number}.bin", 10**6 + number)
    for _ in range(50):
        page = await inside.get("/")
        if "the largest of 2,000" in page.text:
            break
    assert len(page.all("progress")) == dashboard.ROWS
    assert "the largest of 2,000" in page.text
    (frame,) = await frames(inside.client, 1)
    assert frame["texts"]["flight"] == "2,000" and len(frame["rows"]) == dashboard.ROWS
    small = {**frame, "curves": {}}
    assert len(json.dumps(small)) < 4_096
    started = time.process_time()
    for _ in range(5):
        await inside.client.get(f"{BASE}/")
    assert (time.process_time() - started) / 5 < 0.1


async def test_the_first_look_shows_what_was_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "EVERY_SECONDS", 0.02)
    kept: list[History] = []
    start = History.start

    def started(self: History) -> None:
        kept.append(self)
        start(self)

    monkeypatch.setattr(History, "start", started)
    async with web_world(tmp_path) as world:
        (made,) = kept  # with the server
        moving = await enter(world, "mara", "/in/a.bin", 1000)
        async with world.anonymous() as client:
            assert (await client.get("/api/v2/token", auth=("mallory", "x"))).status_code == 401
        async with asyncio.timeout(20):
            while (  # a curve has two points at least
                len(made.points) < 2
                or not any(point.bytes_in for point in made.points)
                or not made.points[-1].refusals
            ):
                moving.size += 1000
                await asyncio.sleep(0.01)  # points come by a timer
        async with browser(world).client as client:
            page = await Browser(client).open("/login")
            inside = Browser(client)
            await inside.post("/login", name=ADMIN, password=PASSWORD)
            page = await inside.get("/")
    assert "mallory" in page.text
    area = page.first("path", class_="in").attributes["d"]
    heights = [float(one) for one in re.findall(r"[ML][\d.]+ ([\d.]+)", area)]
    assert min(heights) < 50.0  # the bytes that came before anybody looked


def test_curves_are_drawn_by_the_hour() -> None:
    """Half an hour fills half of the width, at its right end."""
    points = [history.Point(1_800 + 10 * index, 1.0, 0.0, 0, 0) for index in range(181)]

    class Half:
        points: Any = None

    sampler: Any = Half()
    sampler.points = points
    line = dashboard._curves(sampler)["in"][0]
    across = [float(one) for one in re.findall(r"[ML]([\d.]+) ", line)]
    assert (across[0], across[-1]) == (300.0, 600.0)
    sampler.points = points[:1]
    assert dashboard._curves(sampler)["in"] == ("", "")


async def test_a_refusal_appears_in_the_stream_and_in_its_part(world: WebWorld, inside: Browser) -> None:
    await inside.get("/")
    (before,) = await frames(inside.client, 1)
    async with browser(world).client as client:
        await Browser(client).post("/login", name="<b>eve</b>", password="x")
    for _ in range(50):
        (frame,) = await frames(inside.client, 1)
        if frame["refused"] != before["refused"]:
            break
    part = await inside.get("/live/refusals", {"HX-Request": "true"})
    assert "&lt;b&gt;eve" in part.answer.text and "<html" not in part.answer.text
    assert "unknown_user" in part.answer.text
    await world.add_admin("limited", "view_status")
    async with browser(world).client as client:
        limited = Browser(client)
        await limited.sign_in("limited")
        assert (await limited.get("/live/refusals")).status == 403


async def test_one_sample_serves_every_stream(world: WebWorld, inside: Browser) -> None:
    sampled = 0
    health = services_of(world.app).health
    problem = health.problem

    async def counted() -> str:
        nonlocal sampled
        sampled += 1
        return await problem()

    health.problem = counted  # type: ignore[method-assign]
    await inside.get("/")
    before = sampled
    results = await asyncio.gather(*(frames(inside.client, 3) for _ in range(8)))
    assert all(len(one) == 3 for one in results)
    assert sampled - before <= 8


async def test_a_stream_ends_with_its_session_and_is_no_use_of_it(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "CHECK_TICKS", 2)
    store = world.app.provider.browser_sessions
    (row,) = await store.of("admin", ADMIN)
    old = row.seen_at - 60_000
    await store.use(row.id, seen_at=old, idle_until=row.idle_until, ip=row.ip)
    async with inside.client.stream("GET", f"{BASE}/live") as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: ")
        (now,) = await store.of("admin", ADMIN)
        assert now.seen_at == old
        await store.remove(row.id)
        rest = [line async for line in lines]
    assert "event: ended" in rest
    refused = await inside.client.get(f"{BASE}/live")
    assert refused.status_code == 401


async def test_the_server_stops_while_somebody_watches(tmp_path: Path) -> None:
    async with web_world(tmp_path) as world, browser(world).client as client:
        inside = Browser(client)
        await inside.sign_in()
        async with inside.client.stream("GET", f"{BASE}/live") as answer:
            lines = answer.aiter_lines()
            assert (await anext(lines)).startswith("data: ")
            async with asyncio.timeout(4):
                await world.app.stop()
            assert [line async for line in lines if line.startswith("event")] == []


async def test_each_sees_what_they_may(world: WebWorld, inside: Browser) -> None:
    await enter(world, "mara", "/secret.txt", 100)
    await inside.get("/")
    await inside.post("/login", name="nobody", password="x")
    for permissions, shown, hidden in (
        ((), (), ("Transfers in flight", "secret.txt", "Last refusals", "Near a quota")),
        (("view_status",), ("Transfers in flight",), ("secret.txt", "Last refusals", "Near a quota")),
        (("view_conns",), ("secret.txt",), ("Transfers in flight", "Last refusals")),
        (("view_events",), ("Last refusals",), ("secret.txt",)),
    ):
        name = f"a{len(permissions)}{''.join(permissions)}"
        await world.add_admin(name, *(permissions or ("manage_system",)))
        async with browser(world).client as client:
            limited = Browser(client)
            await limited.sign_in(name)
            page = await limited.get("/")
            frame = json.dumps(await frames(client, 1))
        assert page.status == 200
        for text in shown:
            assert text in page.text
        for text in hidden:
            assert text not in page.text
        assert ("secret.txt" in frame) == ("view_conns" in permissions)


async def test_an_administrator_of_a_role_sees_its_transfers_alone(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await world.client.post("/api/v2/users", json=world.user("theirs", role="emea"))
    await enter(world, "theirs", "/own.txt", 100)
    await enter(world, "foreign", "/foreign.txt", 100)
    admin = await world.add_admin("rolf", "view_conns", "view_status", "view_events", "view_users")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        for _ in range(50):
            page = await rolf.get("/")
            if "/own.txt" in page.text:
                break
        (frame,) = await frames(client, 1)
    assert "/own.txt" in page.text and "/foreign.txt" not in page.text
    assert [row["path"] for row in frame["rows"]] == ["/own.txt"]


async def test_one_administrator_leaves_streams_to_others(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_OF_ONE", 1)
    await world.add_admin("second", "view_status")
    async with browser(world).client as client:
        second = Browser(client)
        assert (await second.sign_in("second")).status == 303
        async with inside.client.stream("GET", f"{BASE}/live") as answer:
            assert (await anext(answer.aiter_lines())).startswith("data: ")
            assert (await inside.get("/live")).status == 503
            assert len(await frames(client, 1)) == 1


async def test_a_certificate_that_ends_soon_is_in_the_verdict(tmp_path: Path) -> None:
    certificate(tmp_path, "ends")
    files = {"certificate_file": "cert.pem", "certificate_key_file": "key.pem"}
    async with (
        web_world(tmp_path, telemetry={"bind_port": free_port(), **files}) as world,
        browser(world).client as client,
    ):
        visitor = Browser(client)
        await visitor.sign_in()
        async with asyncio.timeout(20):
            while "A certificate:" not in (page := await visitor.get("/")).text:
                await asyncio.sleep(0.05)  # the checks go on beside the pages
        assert "ends in 1.0 days" in page.text
        assert page.first("section", aria_label="Verdict").attributes["class"] == "verdict soon"
        assert any(one.attributes.get("href") == f"{BASE}/certificates" for one in page.all("a"))
