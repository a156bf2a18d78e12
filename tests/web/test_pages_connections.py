# SPDX-License-Identifier: Apache-2.0
"""The page of connections: who does what, search and paging over thousands, closing, and who may do that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.live_connections import Moving, connect
from tests.support.web_world import WebWorld

from tidegate.events.kinds import Origin, Refused
from tidegate.model import Protocol
from tidegate.web.admin import connection_rows

EVIL = "<img src=x onerror=alert(1)>\u202e"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def test_nobody_is_connected(inside: Browser) -> None:
    page = await inside.get("/connections")
    assert (page.status, "Nobody is connected" in page.text) == (200, True)


async def test_a_row_tells_who_from_where_by_what_and_what_they_do(world: WebWorld, inside: Browser) -> None:
    idle = await connect(world, "alder", remote_ip="2001:db8::7", client_version="SSH-2.0-OpenSSH_9.9")
    idle.connected_at -= 1000
    idle.activity.at -= 190
    busy = await connect(world, EVIL, remote_ip="192.0.2.9", client_version=EVIL, protocol=Protocol.FTP)
    moving = Moving(f"/in/{EVIL}", 1000)
    moving.size = 610
    busy.transfers.add(moving)
    await connect(world, "cedar")
    page = await inside.get("/connections")
    assert not page.all("img")
    assert "3 open. 1 move files, 1 are idle." in page.text
    for text in ("alder", "2001:db8::7", "SSH-2.0-OpenSSH_9.9", "aes256-gcm", "idle for 3 min", "61 %"):
        assert text in page.text, text
    assert "in the clear" in page.text and "\\u202e" in page.text
    one = await inside.get("/connections/c-alder-0")
    assert "alder" in one.first("h1").text and "aes256-gcm" in one.text
    assert (await inside.get("/connections/nothing")).status == 404


async def test_search_and_chips_find(world: WebWorld, inside: Browser) -> None:
    await connect(world, "alder", remote_ip="192.0.2.9")
    dav = await connect(world, "birch", client_version="Cyberduck", protocol=Protocol.DAVS)
    dav.transfers.add(Moving("/in/Report.csv", 10))
    for query, names in (
        ("q=ALD", ["alder"]),
        ("q=192.0.2.9", ["alder"]),
        ("q=cyber", ["birch"]),
        ("q=report", ["birch"]),
        ("q=c-birch", ["birch"]),
        ("only=moving", ["birch"]),
        ("only=WebDAV", ["birch"]),
        ("only=SFTP", ["alder"]),
        ("only=clear", []),
        ("q=nobody", []),
    ):
        page = await inside.get(f"/connections?{query}")
        assert [one.text for one in page.all("a", class_="name")] == names, query
    assert "No connection matches" in page.text
    part = await inside.get("/connections?q=ald", {"HX-Request": "true"})
    assert "<html" not in part.answer.text and "alder" in part.answer.text


async def test_two_thousand_connections_are_counted_and_read_fifty_at_a_time(
    world: WebWorld, inside: Browser
) -> None:
    for number in range(2000):
        one = await connect(world, f"user-{number}", number)
        one.transfers.add(Moving(f"/in/{number}.bin", 10**6))
    page = await inside.get("/connections")
    assert "2,000 open. 2,000 move files" in page.text
    assert len(page.all("a", class_="name")) == connection_rows.ROWS
    assert "1 to 50 of 2,000" in page.text
    following = await inside.get(page.first("a", rel="next").attributes["href"])
    assert "51 to 100 of 2,000" in following.text
    assert (await inside.get("/connections?first=999999")).text.count("1,951 to 2,000 of 2,000") == 1
    started = time.process_time()
    for _ in range(5):
        await inside.client.get(f"{BASE}/connections")
    assert (time.process_time() - started) / 5 < 0.1


async def test_one_is_closed_or_all_of_a_user(world: WebWorld, inside: Browser) -> None:
    registry = services_of(world.app).registry
    for number in range(3):
        await connect(world, "alder", number)
    await connect(world, "birch")
    await inside.get("/connections")
    done = await inside.post("/connections/c-alder-1/close")
    assert (done.status, done.location) == (303, f"{BASE}/connections")
    assert "The connection of alder is closed." in (await inside.get("/connections")).text
    assert registry.count("alder") == 2
    assert (await inside.post("/connections/c-alder-1/close")).status == 404
    await inside.post("/close-connections", username="alder")
    assert "2 connections of alder closed." in (await inside.get("/connections")).text
    assert (registry.count("alder"), registry.count("birch")) == (0, 1)
    forged = await inside.post("/close-connections", username="birch", _token="wrong")
    assert (forged.status, registry.count("birch")) == (403, 1)


async def test_who_may_see_may_not_close_and_others_do_not_see(world: WebWorld, inside: Browser) -> None:
    await connect(world, "alder")
    await inside.get("/connections")
    await world.add_admin("viewer", "view_conns")
    await world.add_admin("stranger", "view_users")
    async with browser(world).client as client:
        viewer = Browser(client)
        await viewer.sign_in("viewer")
        page = await viewer.get("/connections")
        assert "alder" in page.text and "Close" not in page.text
        assert (await viewer.post("/connections/c-alder-0/close")).status == 403
        assert (await viewer.post("/close-connections", username="alder")).status == 403
    async with browser(world).client as client:
        stranger = Browser(client)
        await stranger.sign_in("stranger")
        page = await stranger.get("/users")
        assert not page.all("a", href=f"{BASE}/connections")
        assert (await stranger.get("/connections")).status == 403
        assert (await stranger.get("/live/connections")).status == 403
        assert "Connections" not in (await stranger.client.get(f"{BASE}/find?q=conn")).text
    assert services_of(world.app).registry.count("alder") == 1


async def test_an_administrator_of_a_role_sees_and_closes_those_of_its_accounts_alone(
    world: WebWorld, inside: Browser
) -> None:
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await world.client.post("/api/v2/users", json=world.user("theirs", role="emea"))
    await connect(world, "theirs")
    await connect(world, "foreign")
    admin = await world.add_admin("rolf", "view_conns", "close_conns")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        page = await rolf.get("/connections")
        assert "1 open." in page.text and "foreign" not in page.text
        assert (await rolf.get("/connections/c-foreign-0")).status == 404
        assert (await rolf.post("/connections/c-foreign-0/close")).status == 404
        assert (await rolf.post("/close-connections", username="foreign")).status == 404
        assert (await rolf.post("/close-connections", username="theirs")).status == 303
    registry = services_of(world.app).registry
    assert (registry.count("foreign"), registry.count("theirs")) == (1, 0)


async def test_what_a_connection_was_refused_stands_on_its_page(world: WebWorld, inside: Browser) -> None:
    one = await connect(world, "alder")
    await inside.get("/")  # counting begins when somebody looks
    origin = Origin.of(one.peer, "alder")
    services_of(world.app).emit(
        Refused(origin=origin, intent="upload", rule="permissions[/out]", virtual_path="/out/x")
    )
    for _ in range(50):
        page = await inside.get("/connections/c-alder-0")
        if "permissions[/out]" in page.text:
            break
    assert "permissions[/out]" in page.text and "/out/x" in page.text
