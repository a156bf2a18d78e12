# SPDX-License-Identifier: Apache-2.0
"""The pages of the log: search, a connection's story, what is new, CSV, and who sees what."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.browser import BASE, Browser, Shown, browser
from tests.support.live_connections import connect
from tests.support.log_world import WrittenLog
from tests.support.web_world import WebWorld, web_world

from tidegate.events import kinds
from tidegate.logs import search
from tidegate.model.action import Action
from tidegate.model.origin import Origin

EVIL = "<img src=x onerror=alert(1)>\u202e"
CAME = Origin("c1", "", "SSH", "192.0.2.7", "192.0.2.1:22", "192.0.2.7:5000")
ALDER = replace(CAME, username="alder", protocol="SFTP", connection_id="c1_0")


def whys(page: Shown) -> list[str]:
    return [one.attributes["href"] for one in page.all("a", class_="btn why") if "href" in one.attributes]


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    return WrittenLog(tmp_path / "tidegate.log")


@pytest.fixture
async def world(tmp_path: Path, log: WrittenLog) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path, log=log.reader) as made:
        yield made


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


def tell(
    log: WrittenLog, *, user: str = "alder", ends: bool = True, client: str = "SSH-2.0-Client_1"
) -> None:
    """A connection that logs in, moves two files, is refused one, and leaves."""
    came, at = replace(CAME), replace(ALDER, username=user)
    log.event(kinds.Connected(origin=came))
    log.event(
        kinds.LoginFailed(origin=replace(came, username=user), login_type="password", reason="bad_credential")
    )
    login = {"method": "publickey", "client_version": client, "encrypted": True, "cipher": "aes256-gcm"}
    log.event(kinds.LoggedIn(origin=replace(came, username=user), **login))  # type: ignore[arg-type]
    log.event(kinds.Transferred(at, 0, Action.UPLOAD, "ok", "/in/a.csv", "/srv/a.csv", 2_400_000, 2.0))
    log.event(kinds.Transferred(at, 0, Action.DOWNLOAD, "ok", "/out/b.csv", "/srv/b.csv", 18_000, 0.1))
    log.event(
        kinds.Refused(
            origin=at, intent="upload", virtual_path="/out/x.csv", rule="permissions[/out]",
            text="permission: upload on /out",
        ),
        after=300,
    )  # fmt: skip
    if ends:
        log.event(
            kinds.Disconnected(origin=replace(came, username=user), duration=306, client_version=client)
        )


def rows(page: Shown) -> list[str]:
    """Texts of the rows, without those of the template that scripts copy."""
    return [" ".join(one.text.split()) for one in page.all("tr") if one.attributes.get("data-line")]


def link(page: Shown, text: str) -> str:
    found = [one for one in page.all("a") if text in one.text and "hidden" not in one.attributes]
    assert found, (text, page.text)
    return found[0].attributes["href"]


async def test_lines_are_told_in_sentences_newest_first(log: WrittenLog, inside: Browser) -> None:
    tell(log)
    page = await inside.get("/logs")
    assert page.status == 200
    told = rows(page)
    assert [text.split()[2] for text in told] == [
        "disconnected", "refused", "Download", "Upload", "login", "connection_failed", "connected",
    ]  # fmt: skip
    for number, text in enumerate(
        (
            "Left 5 min, SSH-2.0-Client_1",
            "Upload refused /out/x.csv permissions[/out]",
            "Download /out/b.csv 18 kB in 100 ms",
            "Upload /in/a.csv 2.4 MB in 2.0 s, 1.2 MB/s",
            "Logged in by publickey, SSH-2.0-Client_1, aes256-gcm",
            "Login by password refused bad_credential",
            "Reached the door SSH 192.0.2.1:22",
        )
    ):
        assert text in told[number], (text, told[number])
    assert str(log.path) in page.text


async def test_search_finds_keeps_what_was_typed_and_says_what_is_wrong(
    log: WrittenLog, inside: Browser
) -> None:
    tell(log)
    tell(log, user="birch")
    page = await inside.get("/logs?user=birch&kind=transfers&path=.csv&since=24h")
    assert len(rows(page)) == 2
    assert (page.value("user"), page.value("path"), page.value("kind")) == ("birch", ".csv", "transfers")
    assert "kind=transfers" in page.first("a", aria_current="true", class_="chip").attributes["href"]
    wrong = await inside.get("/logs?ip=here&user=birch")
    assert (wrong.status, "neither an address" in wrong.text, wrong.value("user")) == (400, True, "birch")
    assert (await inside.get("/logs?kind=nothing")).status == 400
    assert (await inside.get("/logs?cursor=x")).status == 400
    assert "No line matches" in (await inside.get("/logs?q=nothing+has+this")).text


async def test_pages_go_back_and_a_bounded_search_goes_on(
    log: WrittenLog, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(120):
        log.write("login", username=f"u{number}", connection_id=f"c{number}")
    seen: list[str] = []
    page = await inside.get("/logs?kind=logins")
    for _ in range(3):
        seen += [text.split()[3] for text in rows(page)]
        if following := page.all("a", rel="next"):
            page = await inside.get(following[0].attributes["href"])
    assert seen == [f"u{number}" for number in reversed(range(120))]
    assert page.first("a", rel="prev").attributes["href"] == f"{BASE}/logs?kind=logins"
    monkeypatch.setattr(search.LogReader.search, "__kwdefaults__", {
        **(search.LogReader.search.__kwdefaults__ or {}), "most": 1,
    })  # fmt: skip
    monkeypatch.setattr("tidegate.logs.backwards.BLOCK", 1_000)
    page, asked = await inside.get("/logs?user=u60"), 0
    while "Nothing so far" in page.text:
        page, asked = await inside.get(link(page, "Search further back")), asked + 1
    assert (len(rows(page)), asked > 3) == (1, True)


async def test_a_connection_has_a_story(log: WrittenLog, inside: Browser) -> None:
    tell(log, user="birch", ends=False)  # of another time, with the same id
    tell(log)
    page = await inside.get(link(await inside.get("/logs?q=a.csv&user=alder"), "Story"))
    assert page.status == 200
    assert page.first("h1").text.strip().startswith("alder, ")
    assert "1 upload (2.4 MB), 1 download (18 kB), 2 refused." in page.text
    assert "Closed by the client after 5 min." in page.text
    assert "birch" not in page.text
    text = page.text[page.text.index("Every line, 7") :]
    told = ("Reached the door SSH", "Login by password refused", "Logged in", "+1.0 s Upload /in/a.csv", "Download",
            "5 min of silence", "Upload refused", "Left")  # fmt: skip
    places = [text.find(one) for one in told]
    assert -1 not in places and places == sorted(places), (places, text)
    for fact in ("192.0.2.7:5000", "192.0.2.1:22", "SSH-2.0-Client_1", "aes256-gcm", "publickey"):
        assert fact in page.text, fact
    every = await inside.get("/logs/connections/c1_3?every=1")
    assert "Every line, 7" in every.text
    assert (await inside.get("/logs/connections/nothing")).status == 404
    assert (await inside.get("/logs/connections/c1?cursor=x")).status == 404


async def test_why_leads_to_the_rule_that_decided(world: WebWorld, log: WrittenLog, inside: Browser) -> None:
    document = world.user("alder", permissions={"/": ["*"], "/out": ["list", "download"]})
    await world.client.post("/api/v2/users", json=document)
    tell(log)
    for page in (await inside.get("/logs?kind=refusals"), await inside.get("/logs/connections/c1")):
        where = next(one for one in whys(page) if "op=upload" in one)
        assert {name: value[0] for name, value in parse_qs(urlsplit(where).query).items()} == {
            "user": "alder", "op": "upload", "path": "/out/x.csv", "ip": "192.0.2.7", "protocol": "SFTP",
        }  # fmt: skip
        answer = await inside.get(where)
        assert "Denied, by permissions[/out]" in answer.text
    login = [where for where in whys(page) if "op=login" in where]
    assert "method=password" in login[0]
    log.event(
        kinds.ConnectionRefused(
            origin=Origin(protocol="FTP", ip="198.51.100.7"), rule="defender", text="banned"
        )
    )
    page = await inside.get("/logs?ip=198.51.100.7")
    assert whys(page) == [f"{BASE}/explain/connect?ip=198.51.100.7&protocol=FTP"]
    log.event(kinds.LoginFailed(origin=replace(CAME, ip="198.51.100.8"), login_type="no_auth_tried"))
    quiet = await inside.get("/logs?ip=198.51.100.8")
    assert "Left without logging in" in quiet.text
    assert whys(quiet) == []


async def test_a_long_story_is_short_and_can_be_read_back(log: WrittenLog, inside: Browser) -> None:
    log.event(kinds.Connected(origin=CAME))
    log.event(kinds.LoggedIn(origin=replace(CAME, username="alder"), method="password"))
    for number in range(600):
        log.event(kinds.Transferred(ALDER, 0, Action.UPLOAD, "ok", f"/in/{number}", "", 1_000, 0.01))
    page = await inside.get("/logs/connections/c1")
    assert "500 times Upload /in/100 to /in/599 500 kB in all" in page.text
    assert "The log does not say how it ended." in page.text
    older = await inside.get(link(page, "Read further back"))
    assert "Logged in" in older.text and "100 times Upload" in older.text
    every = await inside.get("/logs/connections/c1?every=1")
    assert "/in/300" in every.text
    assert len(every.answer.content) < 600_000


async def test_names_of_others_run_nothing(log: WrittenLog, inside: Browser) -> None:
    tell(log, user=EVIL, client=EVIL)
    path = f"/in/{EVIL}\udcff'\"</script>"
    log.event(
        kinds.Transferred(replace(ALDER, username=EVIL), 0, Action.UPLOAD, "failed", path, "", 5, 0.1, EVIL)
    )
    log.write("tidegate", message=EVIL)
    log.write(EVIL, message="x")
    log.raw(f'{{"username": "{EVIL}'.encode() + b"\n<script>alert(1)</script>\n")
    for where in ("/logs", "/logs?q=<img", "/logs/connections/c1", "/logs/connections/c1?every=1"):
        page = await inside.get(where)
        assert page.status == 200
        assert not page.all("img")
        assert [one for one in page.all("script") if not one.attributes.get("src")] == []
        assert "<img" in page.text
        assert "\u202e" not in page.answer.text and "\\u202e" in page.answer.text


async def test_names_that_are_no_utf_8_hide_no_page(log: WrittenLog, inside: Browser) -> None:
    """Anybody may send such a user name over FTP, and partners such file names."""
    name = "a\udcff\udced"
    log.event(kinds.LoginFailed(origin=replace(CAME, username=name), login_type="password", reason="x"))
    log.event(kinds.Refused(origin=ALDER, intent="mkdir", virtual_path="/\udcff", rule="x", text="x"))
    for user in ("\ud800", name):
        log.write(
            "Upload", username=user, connection_id="c1", protocol="SFTP", virtual_path=user, size_bytes=1
        )
    log.write(
        "refused", username="\ud800", intent="mkdir", ip="\ud800", connection_id="c1", protocol="\ud800"
    )
    for path in ("/logs", "/logs/connections/c1", "/logs/connections/c1?every=1"):
        page = await inside.get(path)
        assert page.status == 200, path
        assert len(whys(page)) >= 1
        asked = [parse_qs(urlsplit(one).query, errors="surrogateescape") for one in whys(page)]
        assert any(name in one.get("user", ()) for one in asked) or "connections" in path


async def test_numbers_of_any_length_hide_no_page(log: WrittenLog, inside: Browser) -> None:
    for field in ("size_bytes", "elapsed_ms", "duration_ms", "errno", "resp_status"):
        for number in (10**4_000, -(10**4_000)):
            for sender in ("Upload", "disconnected", "quarantined", "httpd"):
                log.write(sender, username="alder", connection_id="c1", status="ok", **{field: number})
    for path in ("/logs", "/logs/connections/c1", "/logs/connections/c1?every=1", "/logs/export"):
        assert (await inside.client.get(f"{BASE}{path}")).status_code == 200, path


async def test_who_lacks_the_permission_sees_neither_pages_nor_links(
    world: WebWorld, log: WrittenLog
) -> None:
    tell(log)
    await world.client.post("/api/v2/users", json=world.user("alder"))
    await world.add_admin("stranger", "view_users", "view_conns", "view_status")
    async with browser(world).client as client:
        stranger = Browser(client)
        await stranger.sign_in("stranger")
        for path in ("/logs", "/logs/export", "/logs/connections/c1", "/live/logs"):
            assert (await stranger.get(path)).status == 403, path
        assert (await stranger.get("/connections/c1")).status == 404
        for path in ("/", "/users/alder"):
            assert not [
                one for one in (await stranger.get(path)).all("a") if "/logs" in one.attributes["href"]
            ]


async def test_an_administrator_of_a_role_sees_lines_of_its_accounts_alone(
    world: WebWorld, log: WrittenLog
) -> None:
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await world.client.post("/api/v2/users", json=world.user("alder", role="emea"))
    await world.client.post("/api/v2/users", json=world.user("birch"))
    tell(log)
    other = Origin("c2", "birch", "SFTP", "192.0.2.9")
    log.event(kinds.LoggedIn(origin=other, method="password"))
    log.event(kinds.Connected(origin=replace(CAME, connection_id="c3")))
    mixed = replace(CAME, connection_id="c4")
    log.event(kinds.Connected(origin=mixed))
    log.event(kinds.LoginFailed(origin=replace(mixed, username="birch"), login_type="password"))
    log.event(kinds.LoggedIn(origin=replace(mixed, username="alder"), method="password"))
    log.write("tidegate", message="a line of the server")
    admin = await world.add_admin("rolf", "view_events", "view_users")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with browser(world).client as client:
        rolf = Browser(client)
        await rolf.sign_in("rolf")
        page = await rolf.get("/logs")
        assert len(rows(page)) == 7
        assert "birch" not in page.text and "a line of the server" not in page.text
        assert "Reached the door" not in page.text
        whole = await rolf.get("/logs/connections/c1")
        assert "Reached the door SSH" in whole.text and "192.0.2.7:5000" in whole.text
        part = await rolf.get("/logs/connections/c4")
        assert "Logged in" in part.text and "birch" not in part.text and "Reached" not in part.text
        assert (await rolf.get("/logs/connections/c2")).status == 404
        assert (await rolf.get("/logs/connections/c3")).status == 404
        for number in range(600):
            log.event(kinds.Transferred(other, 0, Action.UPLOAD, "ok", f"/in/{number}", "", 1_000, 0.01))
        foreign, absent = [await rolf.get(f"/logs/connections/{one}") for one in ("c2", "no-such-one")]
        assert (foreign.status, foreign.text) == (absent.status, absent.text) == (404, absent.text)
        table = list(csv.DictReader(io.StringIO((await rolf.get("/logs/export")).answer.text)))
        assert {row["username"] for row in table} == {"alder"}


async def test_csv_is_that_of_the_search(log: WrittenLog, inside: Browser) -> None:
    tell(log, user="=1+1")
    answer = (await inside.get(link(await inside.get("/logs?kind=transfers"), "CSV"))).answer
    assert answer.headers["content-disposition"] == 'attachment; filename="tidegate-log.csv"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["sender"], row["username"]) for row in table] == [("Download", "'=1+1"), ("Upload", "'=1+1")]


async def test_the_story_is_found_from_the_pages_that_speak_of_it(
    world: WebWorld, log: WrittenLog, inside: Browser
) -> None:
    tell(log, ends=False)
    await world.client.post("/api/v2/users", json=world.user("alder"))
    one = await connect(world, "alder")
    page = await inside.get("/connections/c-alder-0")
    assert link(page, "Story") == f"{BASE}/logs/connections/c-alder-0"
    one.disconnect("")
    assert (await inside.get("/connections/c1_0")).location == f"{BASE}/logs/connections/c1"
    assert "Log" in (await inside.get("/users/alder")).first("a", href=f"{BASE}/logs?user=alder").text
    await inside.post("/login", name="nobody", password="x")
    for _ in range(100):
        page = await inside.get("/")
        if "log in by password" in page.text:
            break
    assert page.first("a", href=f"{BASE}/logs?kind=refusals").text == "All"


async def frames(client: Any, path: str) -> AsyncGenerator[dict[str, Any]]:
    async with client.stream("GET", f"{BASE}{path}", headers={"Sec-Fetch-Site": "same-origin"}) as answer:
        assert answer.status_code == 200
        async for text in answer.aiter_lines():
            if text.startswith("data: "):
                yield json.loads(text.removeprefix("data: "))


async def test_new_lines_are_streamed_through_the_filter(log: WrittenLog, inside: Browser) -> None:
    tell(log)
    shown = (await inside.get("/logs?user=alder")).all("time")[0].attributes["datetime"]
    log.write("login", username="alder", n=1)  # between the page and the stream
    got: list[str] = []
    written = False
    stream = frames(inside.client, f"/live/logs?user=alder&after={shown}")
    async with asyncio.timeout(20), contextlib.aclosing(stream):
        async for frame in stream:
            got += [line["texts"]["what"] for line in frame["lines"]]
            if not written:
                written = True
                log.event(
                    kinds.Transferred(replace(ALDER, username="alder"), 0, Action.UPLOAD, "ok", f"/{EVIL}")
                )
                for _ in range(1_000):
                    log.write("Remove", username="alder", virtual_path="/x")
                log.write("login", username="birch")
            elif got.count("Removed") and frame["left"]:
                assert frame["left"] == "951 more lines came; search shows them."
                break
    assert "Left" in got and got.count("Logged in") == 1
    assert got.count("Removed") == 50
    async with asyncio.timeout(10):
        while log.recent.since(0)[1]:  # until the server has seen that nobody watches any more
            await asyncio.sleep(0.01)


async def test_a_server_without_a_file_shows_what_is_in_memory(tmp_path: Path) -> None:
    log = WrittenLog(None)
    async with web_world(tmp_path, log=log.reader) as world, browser(world).client as client:
        inside = Browser(client)
        await inside.sign_in()
        assert "Lines go to standard error" in (await inside.get("/logs")).text
        tell(log)
        assert len(rows(await inside.get("/logs"))) == 7
        assert "Closed by the client" in (await inside.get("/logs/connections/c1")).text


async def test_a_server_without_a_log_says_so(tmp_path: Path) -> None:
    async with web_world(tmp_path) as world, browser(world).client as client:
        inside = Browser(client)
        await inside.sign_in()
        page = await inside.get("/logs")
        assert (page.status, "no log that could be read" in page.text) == (404, True)


async def test_lines_around_a_moment_are_found_however_many_there_are(
    log: WrittenLog, inside: Browser
) -> None:
    for number in range(200):
        log.write("tidegate", message=f"number {number}", after=0.02)
    page = await inside.get("/logs?q=number+100")
    assert not page.all("tr", class_="here")
    around = link(page, "Around")
    there = await inside.get(around)
    (row,) = there.all("tr", class_="here")
    assert "number 100" in row.text
    told = rows(there)
    assert any("number 99 " in f"{one} " for one in told) and any("number 101" in one for one in told)
    assert len(told) == 50
    moment = page.all("time", data_t="time")[0].attributes["datetime"]
    ms = round(datetime.fromisoformat(moment).timestamp() * 1000)
    assert "number 100" in (await inside.get(f"/logs?around={ms}")).first("tr", class_="here").text
    assert rows(await inside.get(f"/logs?around={ms}&user=nobody")) == []
    for wrong in ("soon", "9" * 30, "-1", "2026-13-01"):
        assert (await inside.get(f"/logs?around={wrong}")).status == 400, wrong


async def test_a_moment_of_a_busy_server_is_on_the_page(log: WrittenLog, inside: Browser) -> None:
    for number in range(300):
        log.write("tidegate", message=f"number {number}", after=0.0 if number % 100 else 1.0)
    page = await inside.get("/logs?q=number+100")
    there = await inside.get(link(page, "Around"))
    assert there.all("tr", class_="here")
