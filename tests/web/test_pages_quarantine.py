# SPDX-License-Identifier: Apache-2.0
"""Uploads that were refused and kept apart, on the pages: found, released by the rules of their account, removed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.kept_files import keep
from tests.support.web_world import WebWorld, web_world

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[WebWorld]:
    inspection = {"quarantine": {"directory": str(tmp_path / "kept")}}
    async with web_world(tmp_path, inspection=inspection) as made:
        user = made.user("acme", permissions={"/": ["list"], "/in": ["*"]})
        (await made.client.post("/api/v2/users", json=user)).raise_for_status()
        (made.home / "files" / "acme" / "in").mkdir(parents=True)
        yield made


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def test_a_file_is_found_looked_at_and_released(world: WebWorld, inside: Browser) -> None:
    assert "Nothing is kept apart" in (await inside.get("/quarantine")).text
    kept = world.home / "kept"
    item = keep(kept, "/in/report.xls", b"x" * 2000, username="acme")
    keep(kept, f"/in/{EVIL}", b"y", username="acme", number=1)
    page = await inside.get("/quarantine")
    assert "2 uploads that were refused are kept apart, 2 kB in all." in page.text and not page.all("img")
    assert [one.text.strip() for one in page.all("a", class_="name")] == [f"/in/{EVIL}", "/in/report.xls"]
    found = await inside.get("/quarantine?q=REPORT")
    assert [one.text.strip() for one in found.all("a", class_="name")] == ["/in/report.xls"]
    assert "No file matches" in (await inside.get("/quarantine?q=nothing")).text

    page = await inside.get(f"/quarantine/{item.id}")
    assert "Refused by inspector[clamd]: Win.Test.EICAR_HDB-1" in page.text and "192.0.2.7" in page.text
    assert page.value("path") == "/in/report.xls"
    wrong = await inside.post(f"/quarantine/{item.id}/release", path="/report.xls")
    assert wrong.status == 400 and "Permission: upload on /." in wrong.text
    assert wrong.value("path") == "/report.xls"
    done = await inside.post(f"/quarantine/{item.id}/release", path="/in/report.xls")
    assert (done.status, done.location) == (303, f"{BASE}/quarantine"), done.text
    assert "/in/report.xls of acme is released." in (await inside.get("/quarantine")).text
    assert (world.home / "files/acme/in/report.xls").read_bytes() == b"x" * 2000
    for method, path in (("GET", ""), ("POST", "/release"), ("POST", "/drop")):
        asked = f"/quarantine/{item.id}{path}"
        gone = await (inside.get(asked) if method == "GET" else inside.post(asked))
        assert gone.status == 404 and "not in quarantine any more" in gone.text, (method, path)


async def test_a_file_is_removed_also_one_whose_facts_are_lost(world: WebWorld, inside: Browser) -> None:
    item = keep(world.home / "kept", "/in/f", b"x", username="acme")
    (world.home / "kept" / f"{item.id}.json").write_text("{")
    page = await inside.get("/quarantine")
    assert [one.text.strip() for one in page.all("a", class_="name")] == [item.id]
    page = await inside.get(f"/quarantine/{item.id}")
    assert page.status == 200 and not page.all("input", name="path")
    assert (await inside.post(f"/quarantine/{item.id}/drop")).status == 303
    assert list((world.home / "kept").iterdir()) == []


@pytest.mark.parametrize("name", [" a ", "a\nb", "caf\udce9"], ids=["blanks", "line end", "no UTF-8"])
async def test_a_name_that_a_field_cannot_hold_stays_as_it_was(
    world: WebWorld, inside: Browser, name: str
) -> None:
    item = keep(world.home / "kept", f"/in/{name}", b"x", username="acme")
    sent = name.replace("\n", "").replace("\udce9", "\ufffd")  # as browsers do
    done = await inside.post(f"/quarantine/{item.id}/release", path=f"/in/{sent}")
    assert done.status == 303, done.text
    assert os.listdir(world.home / "files/acme/in") == [name]


async def test_fifty_stand_on_a_page(world: WebWorld, inside: Browser) -> None:
    for number in range(51):
        keep(world.home / "kept", f"/in/{number}", b"x", username="acme", number=number)
    page = await inside.get("/quarantine")
    assert "1 to 50 of 51" in page.text and len(page.all("a", class_="name")) == 50
    (after,) = page.all("a", rel="next")
    assert [
        one.text.strip() for one in (await inside.get(after.attributes["href"])).all("a", class_="name")
    ] == ["/in/0"]


async def test_where_there_is_no_quarantine_the_page_says_how_there_would_be(tmp_path: Path) -> None:
    async with web_world(tmp_path / "other") as other, browser(other).client as client:
        page = Browser(client)
        await page.sign_in()
        shown = await page.get("/quarantine")
        assert shown.status == 200 and "inspection.quarantine.directory" in shown.text
        assert (await page.get("/quarantine/x")).status == 404
