# SPDX-License-Identifier: Apache-2.0
"""The log over REST: search, pages of it, CSV, and who sees what."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.doors import services_of
from tests.support.log_world import WrittenLog
from tests.support.web_world import WebWorld, web_world

from tidegate.errors import OutsideBusy
from tidegate.logs.filters import LineFilter
from tidegate.web.api import log_lines

LOGS = "/api/v2/logs"


@pytest.fixture
def log(tmp_path: Path) -> WrittenLog:
    return WrittenLog(tmp_path / "tidegate.log")


@pytest.fixture
async def world(tmp_path: Path, log: WrittenLog) -> AsyncIterator[WebWorld]:
    async with web_world(tmp_path, log=log.reader) as made:
        yield made


def some(log: WrittenLog) -> None:
    for number in range(30):
        name = ("alder", "birch")[number % 2]
        log.write(
            "Upload", username=name, virtual_path=f"/in/{number}", protocol="SFTP", connection_id=f"{name}_0"
        )
    log.write("refused", username="birch", rule="permissions[/out]", ip="192.0.2.7", connection_id="birch_1")
    log.write("tidegate.server", 40, message="it broke")


async def test_lines_are_found_page_by_page(world: WebWorld, log: WrittenLog) -> None:
    some(log)
    page = (await world.client.get(LOGS, params={"user": "birch", "kind": "transfers", "limit": 10})).json()
    assert [line["virtual_path"] for line in page["lines"]] == [f"/in/{n}" for n in range(29, 9, -2)]
    assert (page["file"], page["target"], page["notes"]) == (True, str(log.path), [])
    rest = (
        await world.client.get(LOGS, params={"user": "birch", "kind": "transfers", "cursor": page["cursor"]})
    ).json()
    assert [line["virtual_path"] for line in rest["lines"]] == [f"/in/{n}" for n in range(9, 0, -2)]
    assert rest["cursor"] == ""
    for query, number in (
        ({"kind": "server"}, 1),
        ({"kind": "refusals", "ip": "192.0.2.0/24"}, 1),
        ({"connection": "birch"}, 16),
        ({"q": "IT BROKE", "level": "error"}, 1),
        ({"sender": "refused", "kind": "transfers"}, 0),
        ({"sender": "refused", "kind": "refusals"}, 1),
        ({"since": "2h", "path": "/IN/2"}, 11),
        ({"until": "2h"}, 0),
        ({"since": "2001-01-01", "until": "2002-01-01T00:00+02:00"}, 0),
    ):
        answer = (await world.client.get(LOGS, params=query)).json()
        assert len(answer["lines"]) == number, query


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"ip": "here"}, "ip"), ({"ip": "192.0.2.0/99"}, "ip"), ({"level": "loud"}, "level"),
        ({"kind": "all"}, "kind"), ({"since": "noon"}, "since"), ({"until": "9999-99-99"}, "until"),
        ({"cursor": "../x"}, "cursor"), ({"limit": 0}, "limit"), ({"usr": "a"}, "usr"), ({"since": "9999999d"}, "since"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_named(world: WebWorld, query: dict[str, str], name: str) -> None:
    answer = await world.client.get(LOGS, params=query)
    assert (answer.status_code, answer.json()["error"].partition(":")[0]) == (400, name)


async def test_a_role_sees_lines_of_its_accounts_alone(world: WebWorld, log: WrittenLog) -> None:
    some(log)
    await world.client.post("/api/v2/roles", json={"name": "emea"})
    await world.client.post("/api/v2/users", json=world.user("alder", role="emea"))
    await world.client.post("/api/v2/users", json=world.user("birch"))
    admin = await world.add_admin("rolf", "view_events")
    await world.app.provider.update_admin(replace(admin, role="emea"))
    async with world.acting_as("rolf") as rolf:
        names = {line.get("username") for line in (await rolf.get(LOGS)).json()["lines"]}
        assert names == {"alder"}
        assert (await rolf.get(LOGS, params={"user": "birch"})).json()["lines"] == []
        text = (await rolf.get(f"{LOGS}/csv")).text
        assert "alder" in text and "birch" not in text and "it broke" not in text


async def test_csv_has_every_line_and_no_formula(world: WebWorld, log: WrittenLog) -> None:
    names = (
        "=cmd|' /C calc'!A0",
        "+1",
        "-1",
        "@SUM(A1)",
        " =1",
        "\uff1d1",
        "plain",
        'with "quotes", and\ncomma',
    )
    for name in names:
        log.write("login", username=name, ip="192.0.2.7", client="SSH-2.0-=1", size_bytes=-1)
    log.raw(b"=1+1 of somebody else\n")
    answer = await world.client.get(f"{LOGS}/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["username"] for row in reversed(rows[1:])] == [
        f"'{name}" if name.lstrip()[0] in "=+-@\uff1d" else name for name in names
    ]
    assert rows[0]["message"] == "'=1+1 of somebody else"
    assert (rows[1]["size_bytes"], rows[1]["address"]) == ("-1", "192.0.2.7")
    assert not [cell for row in rows for name, cell in row.items() if cell[:1] in ("=", "+", "@")]


async def test_an_export_says_where_it_ends(
    world: WebWorld, log: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(log)
    monkeypatch.setattr(log_lines, "EXPORT_LINES", 20)
    rows = list(csv.DictReader(io.StringIO((await world.client.get(f"{LOGS}/csv")).text)))
    assert len(rows) == 21
    assert (rows[-1]["sender"], rows[-1]["message"][:31]) == ("export", "this export ends after 20 lines")
    whole = list(csv.DictReader(io.StringIO((await world.client.get(f"{LOGS}/csv?user=alder")).text)))
    assert len(whole) == 15


async def test_searches_wait_for_each_other_and_not_for_ever(
    world: WebWorld, log: WrittenLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    some(log)
    find = services_of(world.app).log
    assert find is not None
    searches = await find()
    monkeypatch.setattr(log_lines, "WAIT_SECONDS", 0.05)
    for _ in range(log_lines.MAX_SEARCHES):
        await searches._running.acquire()
    assert (await world.client.get(LOGS)).status_code == 503
    with pytest.raises(OutsideBusy):
        await searches.find(LineFilter(), limit=1)
    assert "this export ends here" in (await world.client.get(f"{LOGS}/csv")).text
    for _ in range(log_lines.MAX_SEARCHES):
        searches._running.release()
    assert (await world.client.get(LOGS)).status_code == 200
    open_exports = [await searches.export(LineFilter()) for _ in range(log_lines.MAX_EXPORTS)]
    assert (await world.client.get(f"{LOGS}/csv")).status_code == 503
    for one in open_exports:
        await one.aclose()
    assert (await world.client.get(f"{LOGS}/csv")).status_code == 200


async def test_exports_that_begin_at_once_are_as_few(world: WebWorld, log: WrittenLog) -> None:
    find = services_of(world.app).log
    assert find is not None
    searches = await find()
    begun = await asyncio.gather(*(searches.export(LineFilter()) for _ in range(10)), return_exceptions=True)
    refused = [one for one in begun if isinstance(one, OutsideBusy)]
    assert len(refused) == 10 - log_lines.MAX_EXPORTS
    await asyncio.gather(*(one.aclose() for one in begun if not isinstance(one, BaseException)))
    some(log)
    whole = b"".join([piece async for piece in await searches.export(LineFilter())])
    assert whole.startswith(b"time,") and whole.count(b"\r\n") == 33


async def test_a_search_ends_when_nobody_waits(world: WebWorld, log: WrittenLog) -> None:
    some(log)
    find = services_of(world.app).log
    assert find is not None
    searches = await find()
    task = asyncio.create_task(searches.find(LineFilter(), limit=1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len((await searches.find(LineFilter(), limit=500)).lines) == 32


async def test_lines_of_others_are_shown_and_break_nothing(world: WebWorld, log: WrittenLog) -> None:
    log.raw(b'{"time":"2026-11-30T12:00:00.000Z","username":"alder","x":NaN,"y":1e999}\n')
    log.raw(b'{"username":"\\ud800","deep":' + b"[" * 500 + b"]" * 500 + b"}\n")
    log.write("login", username="[" * 200)
    answer = await world.client.get(LOGS)
    assert answer.status_code == 200
    lines = answer.json()["lines"]
    assert (lines[0]["username"], "message" in lines[1], "message" in lines[2]) == ("[" * 200, True, True)
    assert (await world.client.get(f"{LOGS}/csv")).status_code == 200


async def test_a_server_without_a_log_says_so(tmp_path: Path) -> None:
    async with web_world(tmp_path) as world:
        answer = await world.client.get(LOGS)
        assert (answer.status_code, "no log" in answer.json()["error"]) == (404, True)


async def test_lines_in_memory(tmp_path: Path) -> None:
    log = WrittenLog(None)
    async with web_world(tmp_path, log=log.reader) as world:
        some(log)
        page = (await world.client.get(LOGS, params={"limit": 5})).json()
        assert (page["file"], page["target"], len(page["lines"])) == (False, "standard error", 5)
        rest = (await world.client.get(LOGS, params={"cursor": page["cursor"]})).json()
        assert (len(rest["lines"]), rest["cursor"]) == (27, "")
