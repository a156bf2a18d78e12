# SPDX-License-Identifier: Apache-2.0
"""The pages of bans and of lists of addresses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from tests.support.browser import BASE, Browser, Shown, browser
from tests.support.web_world import WebWorld

from tidegate.defence.defender import DefenderLimits, Misdeed
from tidegate.defence.penalties import Offence, PenaltyLimits
from tidegate.defence.pipeline import DefenceOptions
from tidegate.model.refusal import Refusal

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def test_bans_penalties_and_scores_are_told_apart_and_found(world: WebWorld, inside: Browser) -> None:
    assert "Nobody is kept out" in (await inside.get("/bans")).text
    defence = world.app.defence.defence
    limits = DefenderLimits(scores={Misdeed.UNKNOWN_USER: 2})
    penalties = PenaltyLimits(seconds={Offence.CRASH: 90.0})
    defence.reconfigure(DefenceOptions(defender=limits, penalties=penalties))
    defence.mark("192.0.2.7", "SSH", Misdeed.UNKNOWN_USER)
    defence.penalise("2001:db8::7", "SSH", Offence.CRASH)
    defence.defender.ban("198.51.100.9", int(time.time()) + 630)
    page = await inside.get("/bans")
    assert "2 addresses are kept out, 1 has a score." in page.text
    for text in ("192.0.2.7", "2001:db8::/64", "crash", "198.51.100.9", "in 10 min", "its score was reached"):
        assert text in page.text, text
    for query, shown in (
        ("only=banned", "198.51.100.9"),
        ("only=penalty", "2001:db8::/64"),
        ("only=watched", "192.0.2.7"),
        ("q=2001:db8::99", "2001:db8::/64"),
        ("q=198.51", "198.51.100.9"),
    ):
        buttons = (await inside.get(f"/bans?{query}")).all("button", name="source")
        assert [one.attributes["value"] for one in buttons] == [shown], query
    assert "No address matches" in (await inside.get("/bans?q=203.0.113.1")).text


async def test_a_ban_is_made_ended_and_made_again(world: WebWorld, inside: Browser) -> None:
    await inside.get("/bans")
    done = await inside.post("/bans/add", ip="2001:db8:1:2::3", minutes="10", description=EVIL)
    assert (done.status, done.location) == (303, f"{BASE}/bans"), done.text
    page = await inside.get("/bans")
    assert "2001:db8:1:2::/64 is banned." in page.text and EVIL in page.text and not page.all("img")
    again = await inside.post("/bans/add", ip="2001:db8:1:2::4", minutes="10")
    assert (again.status, "banned already" in again.text) == (400, True)
    answer = await world.client.get("/api/v2/explain/connect", params={"ip": "2001:db8:1:2::9"})
    assert answer.json()["allowed"] is False
    for field, value in (("ip", "nonsense"), ("ip", "192.0.2.0/24"), ("minutes", "soon"), ("minutes", "-1")):
        wrong = await inside.post("/bans/add", **{"ip": "192.0.2.1", "minutes": "1", field: value})
        assert wrong.status == 400 and wrong.first("p", id=f"e-{field}").text, field
        assert wrong.value(field) == value
    source = page.first("button", name="source").attributes["value"]
    assert (await inside.post("/bans/end", source=source)).status == 303
    page = await inside.get("/bans")
    assert "may come in again." in page.text and not page.all("button", name="source")
    undo = next(
        one.attributes["action"] for one in page.all("form") if "ban-again" in one.attributes["action"]
    )
    assert (await inside.post("/bans/end", source=source)).status == 404
    assert (await inside.post(undo)).status == 303
    page = await inside.get("/bans")
    assert "is banned again." in page.text and page.all("button", name="source")


@pytest.mark.parametrize("kind", ["allow", "defender", "rate-safe"])
async def test_an_entry_is_added_found_and_removed(world: WebWorld, inside: Browser, kind: str) -> None:
    number = {"allow": 1, "defender": 2, "rate-safe": 3}[kind]
    assert "The list is empty" in (await inside.get(f"/lists?list={kind}")).text
    sent = {"list": kind, "network": "192.0.2.0/24", "description": EVIL, "protocols": ["SSH", "DAV"]}
    done = await inside.post("/lists/add", **sent, until="2031-01-31", mode="deny")
    assert done.location == f"{BASE}/lists?list={kind}", done.text
    (entry,) = (await world.client.get(f"/api/v2/iplists/{number}")).json()
    assert (entry["ipornet"], entry["protocols"], entry["mode"]) == (
        "192.0.2.0/24",
        5,
        2 if number == 2 else 1,
    )
    page = await inside.get(f"/lists?list={kind}")
    assert EVIL in page.text and not page.all("img") and "2031-01-31" in page.text and "SSH, DAV" in page.text
    for query in ("192.0.2.77", "192.0", "IMG"):
        assert (await inside.get(f"/lists?list={kind}&q={query}")).all("button", name="network"), query
    assert "No entry matches" in (await inside.get(f"/lists?list={kind}&q=198.51.100.1")).text
    twice = await inside.post("/lists/add", **sent)
    assert (twice.status, "on this list already" in twice.text) == (400, True)
    for field, value in (("network", "192.0.2.1/24"), ("network", ""), ("until", "soon")):
        wrong = await inside.post("/lists/add", **{**sent, "network": "192.0.2.9", field: value})
        assert wrong.status == 400 and wrong.first("p", id=f"e-{field}").text
    assert (await inside.post("/lists/remove", list=kind, network="192.0.2.0/24")).status == 303
    told = await inside.post("/lists/remove", list=kind, network="192.0.2.0/24")
    assert (told.status, "somebody else has removed it" in told.text) == (404, True)
    assert (await world.client.get(f"/api/v2/iplists/{number}")).json() == []


async def test_a_list_is_read_fifty_at_a_time(world: WebWorld, inside: Browser) -> None:
    text = "list,network,protocols,until,description\n"
    text += "".join(f"block,10.0.{number}.0/24,,,\n" for number in range(120))
    answer = await world.client.post(
        "/api/v2/iplists/csv", content=text, headers={"Content-Type": "text/csv"}
    )
    assert answer.status_code == 200, answer.text
    page = await inside.get("/lists?list=defender")
    assert len(page.all("button", name="network")) == 50 and "never gets in" in page.text
    page = await inside.get(page.first("a", rel="next").attributes["href"])
    page = await inside.get(page.first("a", rel="next").attributes["href"])
    assert len(page.all("button", name="network")) == 20 and not page.all("a", rel="next")


async def test_an_entry_is_changed_unless_somebody_else_was_faster(world: WebWorld, inside: Browser) -> None:
    await inside.get("/lists")
    sent = {
        "list": "defender",
        "network": "192.0.2.0/24",
        "mode": "deny",
        "description": EVIL,
        "protocols": ["SSH"],
    }
    assert (await inside.post("/lists/add", **sent)).status == 303
    page = await inside.get("/lists?list=defender")
    (link,) = [one for one in page.all("a") if one.text.startswith("Change")]
    form = await inside.get(link.attributes["href"])
    assert (form.value("network"), form.value("description")) == ("192.0.2.0/24", EVIL) and not form.all(
        "img"
    )
    ticked = [
        one.attributes["value"] for one in form.all("input", name="protocols") if "checked" in one.attributes
    ]
    assert ticked == ["SSH"]
    version = form.value("_version")
    assert version
    sent = {
        "list": "defender",
        "network": "192.0.2.0/24",
        "_version": version,
        "mode": "allow",
        "until": "2027-01-31",
    }
    wrong = await inside.post("/lists/change", **{**sent, "until": "soon"})
    assert wrong.status == 400 and wrong.first("p", id="e-until") and wrong.value("_version") == version
    done = await inside.post("/lists/change", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/lists?list=defender"), done.text
    page = await inside.get("/lists?list=defender")
    assert "192.0.2.0/24 is changed." in page.text and "never banned" in page.text and EVIL not in page.text
    again = await inside.post("/lists/change", **{**sent, "mode": "deny", "description": "second"})
    assert again.status == 400 and "Somebody else has changed this entry" in again.text
    assert (await inside.get("/lists?list=defender&change=10.0.0.0/8")).status == 404
    for network in ("10.0.0.0/8", ""):
        assert (await inside.post("/lists/change", **{**sent, "network": network})).status == 404


async def test_all_lists_leave_and_come_as_one_file(world: WebWorld, inside: Browser) -> None:
    await inside.get("/lists")
    for which, network in (("allow", "192.0.2.0/24"), ("defender", "198.51.100.7")):
        added = await inside.post("/lists/add", list=which, network=network, description="=1+1", mode="deny")
        assert added.status == 303, added.text
    answer = (await inside.get("/lists/csv")).answer
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="lists.csv"'
    assert "block,198.51.100.7/32,,,'=1+1" in answer.text or "block,198.51.100.7,,,'=1+1" in answer.text, (
        answer.text
    )

    async def send(text: str | bytes, **fields: str) -> Shown:
        data = text.encode() if isinstance(text, str) else text
        headers = {"Sec-Fetch-Site": "same-origin"}
        sent = await inside.client.post(
            f"{BASE}/lists/csv",
            data={"_token": inside.token, "list": "defender", **fields},
            files={"file": ("lists.csv", data, "text/csv")},
            headers=headers,
        )
        return inside._shown(sent)

    more = answer.text + "safe,203.0.113.0/24,SSH,,partners\r\n"
    done = await send(more)
    assert (done.status, done.location) == (303, f"{BASE}/lists?list=defender"), done.text
    page = await inside.get("/lists?list=defender")
    assert "3 entries are on their lists." in page.text and "203.0.113.0/24" in page.text
    wrong = await send(f"{answer.text}safe,{EVIL},,,\r\nsafe,10.0.0.0/8,,,\r\n")
    assert wrong.status == 400 and "Nothing was stored." in wrong.text and "line 4" in wrong.text
    assert not wrong.all("img") and "10.0.0.0/8" not in (await inside.get("/lists?list=defender")).text
    many = answer.text.partition("\r\n")[0] + "\r\n" + "safe,x,,,\r\n" * 30
    assert "and 10 more" in (await send(many)).text
    for odd in (b"\xff\xfe", b""):
        assert (await send(odd)).status == 400
    assert (await send(more, _token="x")).status == 403


async def test_without_the_permission_nothing_is_seen_or_changed(world: WebWorld, inside: Browser) -> None:
    await inside.get("/bans")
    await inside.post("/bans/add", ip="192.0.2.1", minutes="10")
    await world.add_admin("stranger", "view_users")
    await world.add_admin("viewer", "view_defender")
    async with browser(world).client as client:
        stranger = Browser(client)
        await stranger.sign_in("stranger")
        links = {one.attributes["href"] for one in (await stranger.get("/users")).all("a")}
        assert not links & {f"{BASE}/bans", f"{BASE}/lists"}
        for path in ("/bans", "/lists"):
            assert (await stranger.get(path)).status == 403
    async with browser(world).client as client:
        viewer = Browser(client)
        await viewer.sign_in("viewer")
        page = await viewer.get("/bans")
        assert "192.0.2.1" in page.text and not page.all("button", name="source")
        for path in (
            "/bans/add",
            "/bans/end",
            "/ban-again?ip=192.0.2.1&until=9",
            "/lists/add",
            "/lists/remove",
        ):
            assert (await viewer.post(path, ip="192.0.2.2", source="192.0.2.1")).status == 403, path
    forged = await inside.post("/bans/end", source="192.0.2.1", _token="wrong")
    assert forged.status == 403
    answer = await world.client.get("/api/v2/explain/connect", params={"ip": "192.0.2.1"})
    assert answer.json()["allowed"] is False


async def test_limits_are_shown_with_what_is_used_and_whom_they_refused(
    world: WebWorld, inside: Browser
) -> None:
    page = await inside.get("/limits")
    assert page.status == 200 and "Nobody has been refused" in page.text
    (row,) = [one for one in page.all("tr") if "common.max_total_connections" in one.text]
    assert "connections" in row.text and "max_sessions of the account" in row.text
    (row,) = [one for one in page.all("tr") if "open files and listings" in one.text]
    assert str(world.app.ledger.limits.handles) in row.text
    defence = world.app.defence.defence
    refusal = Refusal("common.rate_limiters[0]", "too fast", wait_seconds=1.0)
    for _ in range(12):
        defence.refused("192.0.2.1", "HTTP", refusal)
    async with asyncio.timeout(
        5
    ):  # the first is told by an event, the others are counted until it is told again
        while "12 connections and requests" not in (page := await inside.get("/limits")).text:
            await asyncio.sleep(0)
    (row,) = [one for one in page.all("tr") if "rate_limiters" in one.text]
    assert "12" in row.text
