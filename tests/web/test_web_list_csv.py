# SPDX-License-Identifier: Apache-2.0
"""Lists of addresses as CSV over REST."""

from __future__ import annotations

from tests.support.web_world import WebWorld

from tidegate.web.api.routes import ip_lists

PATH = "/api/v2/iplists/csv"
TYPE = {"Content-Type": "text/csv; charset=utf-8"}
HEAD = "list,network,protocols,until,description\r\n"
CSV = HEAD + 'block,192.0.2.0/24,"SSH,FTP",2030-01-31T12:00:00Z,feed\r\nsafe,198.51.100.7/32,,,\r\n'


async def test_lists_go_out_and_come_in_as_csv(world: WebWorld):
    answer = await world.client.post(PATH, content=CSV.encode(), headers=TYPE)
    assert (answer.status_code, answer.json()["message"]) == (200, "2 entries imported")
    answer = await world.client.get(PATH)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == CSV
    one = await world.client.get("/api/v2/iplists/2/192.0.2.0%2F24")
    assert one.json()["description"] == "feed"
    changed = CSV.replace("feed", "other")
    assert (await world.client.post(PATH, content=changed.encode(), headers=TYPE)).status_code == 200
    assert (await world.client.get(PATH)).text == changed


async def test_no_cell_is_a_formula_and_descriptions_come_back(world: WebWorld):
    told = {"=1+1": "'=1+1", "'=x": "''=x", "'quoted'": "'quoted'", "\uff1dwide": "'\uff1dwide", "a=b": "a=b"}
    for number, description in enumerate(told, 1):
        entry = {"type": 2, "ipornet": f"192.0.2.{number}/32", "mode": 2, "description": description}
        assert (await world.client.post("/api/v2/iplists/2", json=entry)).status_code == 201
    answer = await world.client.get(PATH)
    rows = answer.text.splitlines()[1:]
    assert [row.rpartition(",")[2] for row in rows] == list(told.values())
    for number in range(1, 1 + len(told)):
        assert (await world.client.delete(f"/api/v2/iplists/2/192.0.2.{number}%2F32")).status_code == 200
    assert (await world.client.post(PATH, content=answer.content, headers=TYPE)).status_code == 200
    kept = [entry["description"] for entry in (await world.client.get("/api/v2/iplists/2")).json()]
    assert kept == ["=1+1", "'=x", "'quoted'", "\uff1dwide", "a=b"]


async def test_what_cannot_be_imported_changes_nothing(world: WebWorld, monkeypatch):
    wrong = HEAD + "block,192.0.2.0/24,,,\r\nblock,nowhere,,,\r\ngrey,1.2.3.4,,,\r\n"
    answer = await world.client.post(PATH, content=wrong.encode(), headers=TYPE)
    assert answer.status_code == 400
    assert "line 3" in answer.json()["error"]
    assert (await world.client.post(PATH, json={})).status_code == 415
    answer = await world.client.post(PATH, content=HEAD.encode() + b"\xff", headers=TYPE)
    assert answer.status_code == 400
    monkeypatch.setattr(ip_lists, "MAX_BYTES", 10)
    assert (await world.client.post(PATH, content=CSV.encode(), headers=TYPE)).status_code == 413
    assert (await world.client.get(PATH)).text == HEAD
