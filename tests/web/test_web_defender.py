# SPDX-License-Identifier: Apache-2.0
"""``/iplists`` and ``/defender/hosts`` in the shape that SFTPGo 2.7.5 was recorded with."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tests.support.web_world import WebWorld

from tidegate.defence.defender import DefenderLimits, Misdeed
from tidegate.defence.penalties import Offence, PenaltyLimits
from tidegate.defence.pipeline import DefenceOptions
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name

HOSTS = "/api/v2/defender/hosts"
LISTS = "/api/v2/iplists"


async def test_hosts_have_a_score_or_the_end_of_a_ban(world: WebWorld) -> None:
    defence = world.app.defence.defence
    defence.reconfigure(DefenceOptions(defender=DefenderLimits(scores={Misdeed.UNKNOWN_USER: 2})))
    assert (await world.client.get(HOSTS)).json() == []
    for _ in range(2):
        defence.mark("127.0.0.2", "DAV", Misdeed.UNKNOWN_USER)
    one = f"{HOSTS}/3132372e302e302e32"
    assert (await world.client.get(one)).json() == {
        "ip": "127.0.0.2", "score": 4, "ban_time": "0001-01-01T00:00:00Z",
    }  # fmt: skip
    assert (await world.client.get(HOSTS)).json() == [
        {"id": "3132372e302e302e32", "ip": "127.0.0.2", "score": 4}
    ]
    defence.defender.forgive("127.0.0.2")
    until = int(time.time()) + 600
    defence.defender.ban("127.0.0.2", until)
    shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    assert (await world.client.get(one)).json() == {"ip": "127.0.0.2", "ban_time": shown}
    assert (await world.client.get(HOSTS)).json() == [
        {"id": "3132372e302e302e32", "ip": "127.0.0.2", "ban_time": shown}
    ]
    gone = await world.client.delete(one)
    assert (gone.status_code, gone.json()["message"]) == (200, "OK")
    assert (await world.client.delete(one)).status_code == 404
    assert (await world.client.get(one)).status_code == 404
    assert (await world.client.get(f"{HOSTS}/zz")).status_code == 400


async def test_hosts_with_a_penalty_are_among_them_and_explained(world: WebWorld) -> None:
    defence = world.app.defence.defence
    defence.reconfigure(DefenceOptions(penalties=PenaltyLimits(seconds={Offence.CRASH: 90.0})))
    defence.penalise("2001:db8::7", "SSH", Offence.CRASH)
    (host,) = (await world.client.get(HOSTS)).json()
    assert (host["ip"], host["penalty"]) == ("2001:db8::/64", "crash")
    answer = (await world.client.get("/api/v2/explain/connect", params={"ip": "2001:db8::8"})).json()
    assert (answer["allowed"], answer["rule"], answer["protocol"]) == (False, "common.penalties", "SSH")
    assert (await world.client.delete(f"{HOSTS}/{host['id']}")).status_code == 200
    answer = (await world.client.get("/api/v2/explain/connect", params={"ip": "2001:db8::8"})).json()
    assert (answer["allowed"], answer["rule"]) == (True, "")
    for params in ({"ip": "nowhere"}, {"ip": "192.0.2.1", "protocol": "GOPHER"}, {}):
        assert (await world.client.get("/api/v2/explain/connect", params=params)).status_code in (400, 422)


async def test_list_entries_live_and_hold_at_once(world: WebWorld) -> None:
    entry = {"ipornet": "192.0.2.0/24", "mode": 2, "protocols": 1, "description": "scanners"}
    made = await world.client.post(f"{LISTS}/2", json=entry)
    assert (made.status_code, made.headers["location"]) == (201, f"{LISTS}/2/192.0.2.0%2F24")
    (stored,) = (await world.client.get(f"{LISTS}/2")).json()
    assert {name: stored[name] for name in entry} == entry
    assert stored["type"] == 2
    assert {"created_at", "updated_at"} <= stored.keys()
    defence = world.app.defence.defence
    refusal = defence.check("192.0.2.9", "SSH")
    assert refusal is not None
    assert refusal.rule == "defender list"
    assert defence.check("192.0.2.9", "FTP") is None
    changed = await world.client.put(f"{LISTS}/2/192.0.2.0%2F24", json={**entry, "protocols": 2})
    assert changed.status_code == 200
    assert defence.check("192.0.2.9", "SSH") is None
    assert (await world.client.post(f"{LISTS}/2", json=entry)).status_code in (400, 409)
    assert (await world.client.post(f"{LISTS}/2", json={**entry, "ipornet": "nowhere"})).status_code == 400
    assert (await world.client.get(f"{LISTS}/1")).json() == []
    assert (await world.client.delete(f"{LISTS}/2/192.0.2.0%2F24")).status_code == 200
    assert (await world.client.get(f"{LISTS}/2/192.0.2.0%2F24")).status_code == 404


async def test_changes_of_lists_are_taken_over_one_by_one(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, provider = world.app.defence, world.app.provider
    read, times = provider.list_entries, 0

    async def counted(**page: Any) -> Any:
        nonlocal times
        times += 1
        return await read(**page)

    monkeypatch.setattr(provider, "list_entries", counted)
    await host.refresh()
    times = 0
    for _ in range(3):
        await host.refresh()
    assert times == 0
    until = int((time.time() + 0.2) * 1000)
    named = entry_name(ListKind.DEFENDER, "192.0.2.7/32")
    block = ListEntry(name=named, type=2, ipornet="192.0.2.7/32", mode=ListMode.DENY)
    name = entry_name(ListKind.BAN, "192.0.2.8/32")
    ban = ListEntry(name=name, type=100, ipornet="192.0.2.8/32", mode=ListMode.DENY, expires_at=until)
    for entry in (block, ban):
        await provider.add_list_entry(entry)  # as another server or a command does
    await host.refresh()
    assert times == 0
    assert [host.defence.check(f"192.0.2.{n}", "SSH") is not None for n in (7, 8)] == [True, True]
    while time.time() * 1000 <= until:
        await asyncio.sleep(0.01)
    await host.refresh()  # nothing has changed, but the ban is over
    await host.refresh()
    assert await provider.list_entry(name) is None
    assert host.defence.check("192.0.2.8", "SSH") is None
    await provider.delete_list_entry(block.name)
    await host.refresh()
    assert host.defence.check("192.0.2.7", "SSH") is None
