# SPDX-License-Identifier: Apache-2.0
"""The pages that explain: an act of a user, a login, an address; links from refusals; who may ask."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import WebWorld, web_world

from tidegate.events.kinds import ConnectionRefused, Origin, Refused
from tidegate.model import Peer, Protocol

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def add(world: WebWorld, name: str, **more: object) -> None:
    answer = await world.client.post("/api/v2/users", json=world.user(name, **more))
    assert answer.status_code == 201, answer.text


async def test_the_empty_page_teaches(inside: Browser) -> None:
    page = await inside.get("/explain")
    assert (page.status, "Which rule decides?" in page.text) == (200, True)


async def test_an_answer_tells_the_rule_what_would_change_it_and_the_command(
    world: WebWorld, inside: Browser
) -> None:
    await add(world, "mara", permissions={"/": ["*"], f"/{EVIL}": ["list"]})
    question = {"user": "mara", "op": "upload", "path": f"/{EVIL}/a b", "ip": "192.0.2.1", "protocol": "FTP"}
    answer = await inside.client.get(f"{BASE}/explain", params=question)
    page = inside._shown(answer)
    assert page.status == 200 and not page.all("img")
    assert f"Denied, by permissions[/{EVIL}]" in page.text
    rest = (await world.client.get("/api/v2/explain", params=question)).json()
    assert rest["decided_by"]["why"] in page.text and rest["client_text"] in page.text
    rules = [one.text for one in page.all("code")]
    assert all(step["rule"] in rules for step in rest["steps"])
    command = next(one.text for one in page.all("code") if one.text.startswith("tidegate"))
    assert shlex.split(command)[2:] == [
        part for name in ("user", "op", "path", "ip", "protocol") for part in (f"--{name}", question[name])
    ]
    assert page.value("path") == f"/{EVIL}/a b"
    allowed = inside._shown(await inside.client.get(f"{BASE}/explain", params={**question, "path": "/x"}))
    assert "Allowed" in allowed.first("strong").text


async def test_a_login_is_explained_without_an_act(world: WebWorld, inside: Browser) -> None:
    await add(world, "mara", permissions={"/": ["list"]}, filters={"denied_ip": ["192.0.2.0/24"]})
    page = await inside.get("/explain?user=mara&op=login&ip=192.0.2.1&protocol=SSH")
    assert "Denied, by" in page.text and "192.0.2.0/24" in page.text
    assert "May it do this here?" not in page.text
    page = await inside.get("/explain?user=mara&op=login&ip=198.51.100.1&protocol=SSH")
    assert "Allowed" in page.first("strong").text


@pytest.mark.parametrize(
    ("query", "field", "text"),
    [
        ("user=nobody&op=list", "user", "no account of that name"),
        ("user=mara&op=dance", "op", "not one of"),
        ("user=mara&op=list&ip=300.1.1.1", "ip", "is not an IP address"),
        ("user=mara&op=list&protocol=GOPHER", "protocol", "is not a protocol"),
        ("user=mara&op=list&method=magic", "method", "is not one of"),
        ("user=mara&op=upload&size=a+lot", "size", "is no size"),
        ("user=mara&op=list&path=/%00", "path", ""),
    ],
)
async def test_a_mistake_stands_at_its_field(
    world: WebWorld, inside: Browser, query: str, field: str, text: str
) -> None:
    await add(world, "mara")
    page = await inside.get(f"/explain?{query}")
    assert page.status == 400
    assert text in page.first("p", class_="err", id=f"e-{field}").text


async def test_refusals_lead_to_their_explanation(world: WebWorld, inside: Browser) -> None:
    await add(world, "mara", permissions={"/": ["list"]})
    await inside.get("/")  # counting begins when somebody looks
    peer = Peer("c1", Protocol.FTPS, "192.0.2.1")
    emit = services_of(world.app).emit
    emit(Refused(origin=Origin.of(peer, "mara"), intent="upload", rule="permissions[/]", virtual_path="/x"))
    emit(ConnectionRefused(origin=Origin.of(replace(peer, remote_ip="192.0.2.9"), ""), rule="allow_list"))
    links: list[str] = []
    for _ in range(50):
        links = [one.attributes["href"] for one in (await inside.get("/")).all("a", class_="btn why")]
        if len(links) == 2:
            break
    assert links == [
        f"{BASE}/explain/connect?ip=192.0.2.9&protocol=FTP",
        f"{BASE}/explain?user=mara&op=upload&path=%2Fx&ip=192.0.2.1&protocol=FTPS",
    ]
    page = await inside.get(links[1])
    assert "Denied, by permissions[/]" in page.text
    await world.add_admin("watcher", "view_events")
    async with browser(world).client as client:
        watcher = Browser(client)
        await watcher.sign_in("watcher")
        page = await watcher.get("/")
        assert "permissions[/]" in page.text and not page.all("a", class_="btn why")
        assert (await watcher.get("/explain")).status == 403
        assert (await watcher.get("/explain/connect")).status == 403


async def test_an_address_is_explained(tmp_path: Path) -> None:
    async with (
        web_world(tmp_path, common={"defender": {"enabled": True}}) as world,
        browser(world).client as client,
    ):
        inside = Browser(client)
        await inside.sign_in()
        assert "Is somebody kept out?" in (await inside.get("/explain/connect")).text
        page = await inside.get("/explain/connect?ip=192.0.2.7&protocol=ftp")
        assert "192.0.2.7 may connect" in page.text
        assert "tidegate explain --connect 192.0.2.7 --protocol FTP" in page.text
        document = {"ipornet": "192.0.2.0/24", "mode": 2, "type": 2, "protocols": 0}
        assert (await world.client.post("/api/v2/iplists/2", json=document)).status_code == 201
        page = await inside.get("/explain/connect?ip=192.0.2.7")
        assert "Refused, by" in page.text
        wrong = await inside.get("/explain/connect?ip=nonsense")
        assert (wrong.status, "is not an IP address" in wrong.text) == (400, True)


async def test_an_administrator_of_a_role_asks_about_its_accounts_alone(world: WebWorld) -> None:
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await add(world, "theirs", role="emea")
    await add(world, "foreign")
    admin = await world.add_admin("rolf", "view_users")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        assert "Allowed" in (await rolf.get("/explain?user=theirs&op=list")).text
        assert "no account of that name" in (await rolf.get("/explain?user=foreign&op=list")).text


async def test_a_value_of_a_group_is_told(world: WebWorld, inside: Browser) -> None:
    group = {"name": "partners", "user_settings": {"permissions": {"/out": ["list"]}}}
    assert (await world.client.post("/api/v2/groups", json=group)).status_code == 201
    await add(world, "mara", groups=[{"name": "partners", "type": 1}])
    page = await inside.get("/explain?user=mara&op=upload&path=/out/x")
    assert "Denied, by permissions[/out]" in page.text
    assert "partners" in page.text
