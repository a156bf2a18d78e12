# SPDX-License-Identifier: Apache-2.0
"""Many users from a CSV: looked at, confirmed, all or listed; rights and roles hold; over REST too."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from tests.support.accounts import ED25519
from tests.support.browser import BASE, Browser, Shown, browser
from tests.support.doors import services_of
from tests.support.people import CHEAP
from tests.support.web_world import WebWorld

from tidegate.accounts.bulk import Bulk
from tidegate.identity.passwords import DEFAULT_OPTIONS, hash_password, needs_upgrade, verify
from tidegate.model import StorageConfig
from tidegate.model.group import Group, Role
from tidegate.store.documents import decode_account

HASH = hash_password("a password of old", CHEAP)
TYPED = "a password as typed"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def send(visitor: Browser, path: str, content: bytes | None = None, **fields: str) -> Shown:
    """A form with a file, as a page of the site sends it."""
    files = {"file": ("users.csv", content or b"") if content is not None else ("", b"")}
    answer = await visitor.client.post(
        f"{BASE}/many-users/{path}",
        data={"_token": visitor.token, **fields},
        files=files,
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    return visitor._shown(answer)


async def confirm(visitor: Browser, page: Shown) -> Shown:
    """Press the button of a preview."""
    values = {name: page.value(name) for name in ("text", "generate")}
    return await send(visitor, "create", **values)


def told(page: Shown) -> list[str]:
    """The mistakes that a page lists."""
    rows: list[str] = []
    cells = [one.text.strip() for one in page.all("td")]
    for at in range(0, len(cells), 3):
        rows.append(f"{cells[at]} {cells[at + 1]}: {cells[at + 2]}")
    return rows


async def names(world: WebWorld) -> list[str]:
    return [one.username async for one in world.app.provider.iter_users()]


async def test_a_table_from_file_to_passwords(world: WebWorld, inside: Browser) -> None:
    await world.app.provider.add_group(Group(name="staff"))
    await world.client.post(
        "/api/v2/users", json=world.user("model", quota_size=77, permissions={"/": ["list"]})
    )
    page = await inside.get("/many-users")
    assert page.status == 200
    assert "A table to begin with" in page.text
    table = (
        "\ufeffusername;password;public_keys;group;template;permissions;description\r\n"
        f"ann;;;staff;;;has a new one\r\nbob;{TYPED};;;model;;\r\ncyd;{HASH};;;;/:list|/in:upload;\r\n"
        f'dan;;{ED25519};;;;"two\r\nlines and a mark \u200e"\r\n'
    )
    page = await send(inside, "preview", table.encode())
    assert page.status == 200, page.text
    assert "4 users would be added." in page.text
    assert await names(world) == ["model"]  # nothing yet
    made = await confirm(inside, await send(inside, "preview", table.encode(), generate="1"))
    assert made.status == 200, made.text
    assert "4 users are added." in made.text
    shown = dict(csv.reader(io.StringIO(made.value("passwords"))))
    assert set(shown) == {"username", "ann", "dan"}
    assert await names(world) == ["ann", "bob", "cyd", "dan", "model"]
    ann, bob, cyd, dan = [await world.app.provider.user(name) for name in ("ann", "bob", "cyd", "dan")]
    assert ann is not None
    assert bob is not None
    assert cyd is not None
    assert dan is not None
    assert verify(shown["ann"], ann.password)
    assert needs_upgrade(
        ann.password, DEFAULT_OPTIONS
    )  # the first login replaces it by one of the usual costs
    assert [one.name for one in ann.groups] == ["staff"]
    assert (verify(TYPED, bob.password), bob.quota_size, bob.permissions) == (True, 77, {"/": ("list",)})
    assert (cyd.password, cyd.permissions) == (HASH, {"/": ("list",), "/in": ("upload",)})
    assert (dan.public_keys, dan.description) == ((ED25519,), "two\nlines and a mark \u200e")
    assert ann.home_dir.endswith("/ann")
    assert ann.last_password_change > 0
    file = await send(inside, "passwords.csv", passwords=made.value("passwords"))
    assert file.answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in file.answer.headers["content-disposition"]
    assert file.answer.headers["cache-control"] == "no-store"
    assert dict(csv.reader(io.StringIO(file.answer.text))) == shown


async def test_mistakes_are_told_and_nothing_is_added(world: WebWorld, inside: Browser) -> None:
    await world.client.post("/api/v2/users", json=world.user("taken"))
    bucket = StorageConfig("s3", {"s3config": {"bucket": "b", "region": "r"}})
    cloud = decode_account(world.user("cloud"))
    await world.app.provider.add_user(replace(cloud, filesystem=bucket))
    await inside.get("/many-users")
    table = """username,permissions,home_dir,group,role,template,public_keys,allowed_ip
taken,,,,,,,
new,,,,,,,
NEW,,,,,,,
new,,,,,,,
a/b,,,,,,,
p,/:fly,relative,,,,no key,10.0.0.300
g,,,nowhere,,,,
r,,,,nobody,,,
t,,,,,nobody,,
c,,,,,cloud,,
etc,,/,,,,,
"""
    page = await send(inside, "preview", table.encode())
    assert page.status == 200
    found = told(page)
    expected = [
        "2 username: 'taken' exists already",
        "5 username: is the name of row 3 too",
        "6 username:",
        "7 allowed_ip:",
        "7 home_dir:",
        "7 permissions:",
        "7 public_keys:",
        "8 group",
        "9 role: there is no role 'nobody'",
        "10 template: there is no account 'nobody'",
        "11 template: 'cloud' has its files in a bucket",
        "12 home_dir:",
    ]
    for beginning in expected:
        assert any(one.startswith(beginning) for one in found), (beginning, found)
    assert len(found) == len(expected), found
    assert await names(world) == ["cloud", "taken"]
    forced = await send(inside, "create", text=table, generate="")
    assert forced.status == 400
    assert await names(world) == ["cloud", "taken"]
    for content, what in (
        (b"username\n\xe9", "Line 2: the byte 0xe9 is no UTF-8"),
        (b"x" * 600_000, "longer than 524288 bytes"),
        (b"", "Choose a file, or paste a table"),
    ):
        page = await send(inside, "preview", content)
        assert (page.status, what in page.text) == (400, True), page.text[:300]


async def test_a_name_taken_meanwhile_is_listed(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the transaction."""
    await inside.get("/many-users")
    page = await send(inside, "preview", text="username\nann\nbob\n", generate="1")
    hashed = Bulk._hashed

    async def slowly(self: Bulk, *what: Any) -> Any:
        found = await hashed(self, *what)
        await world.client.post("/api/v2/users", json=world.user("bob", email="first@example.com"))
        return found

    monkeypatch.setattr(Bulk, "_hashed", slowly)
    made = await confirm(inside, page)
    assert "1 user is added." in made.text
    assert "took meanwhile" in made.text
    bob = await world.app.provider.user("bob")
    assert bob is not None
    assert (bob.email, bob.password) == ("first@example.com", "")
    assert list(csv.reader(io.StringIO(made.value("passwords"))))[1][0] == "ann"


def plain(number: int) -> str:
    return "username,password\n" + "".join(f"u{at:04},{TYPED}\n" for at in range(number))


async def over(world: WebWorld) -> None:
    """Background work is over."""
    while tasks := list(services_of(world.app).jobs._tasks):
        await asyncio.wait(tasks)


async def test_a_thousand_plain_passwords_are_hashed_in_the_background(
    world: WebWorld, inside: Browser
) -> None:
    await inside.get("/many-users")
    preview = await send(inside, "preview", plain(1_000).encode())
    assert "1,000 users would be added." in preview.text
    begun = await confirm(inside, preview)
    assert begun.status == 303
    page = await inside.get(begun.location)
    assert "Passwords are being hashed." in page.text and "of 1,000 passwords" in page.text
    part = await inside.get(f"{begun.location}/progress", {"HX-Request": "true"})
    assert (part.status, "of 1,000 passwords" in part.answer.text) == (200, True)
    assert await names(world) == []  # all at once, at the end
    busy = await send(inside, "create", text=plain(30), generate="")
    assert busy.status == 409 and "a table of boss is being added" in busy.text
    await over(world)
    part = await inside.get(f"{begun.location}/progress", {"HX-Request": "true"})
    assert part.answer.headers["hx-refresh"] == "true"
    made = await inside.get(begun.location)
    assert "1,000 users are added." in made.text
    assert len(await names(world)) == 1_000
    one = await world.app.provider.user("u0999")
    assert one is not None and verify(TYPED, one.password)
    await world.add_admin("other", "*")
    async with browser(world).client as client:
        other = Browser(client)
        await other.sign_in("other")
        assert (await other.get(begun.location)).status == 404


async def test_who_may_not_any_more_adds_nobody(world: WebWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    admin = await world.add_admin("clerk", "*")
    hashed = Bulk._hashed

    async def slowly(self: Bulk, *what: Any) -> Any:
        found = await hashed(self, *what)
        await world.app.provider.update_admin(replace(admin, permissions=("view_users",)))
        return found

    monkeypatch.setattr(Bulk, "_hashed", slowly)
    async with browser(world).client as client:
        clerk = Browser(client)
        await clerk.sign_in("clerk")
        await clerk.get("/many-users")
        begun = await send(clerk, "create", text=plain(30), generate="")
        assert begun.status == 303
        await over(world)
    assert await names(world) == []
    work = services_of(world.app).jobs.tables.find(begun.location.rpartition("/")[2], "clerk")
    assert work.error == "clerk may not add these users any more; nothing was added"


async def test_a_stop_breaks_a_table_off(world: WebWorld, inside: Browser) -> None:
    await inside.get("/many-users")
    begun = await send(inside, "create", text=plain(500), generate="")
    await services_of(world.app).jobs.close()
    page = await inside.get(begun.location)
    assert "Nothing was added." in page.text and "it was broken off" in page.text
    assert await names(world) == []


async def test_many_plain_passwords_over_rest(world: WebWorld) -> None:
    kind = {"Content-Type": "text/csv; charset=utf-8"}
    url = "/api/v2/users/csv"
    begun = await world.client.post(url, content=plain(150) + "made,\n", params={"generate": 1}, headers=kind)
    assert begun.status_code == 202
    told = begun.json()
    assert (told["state"], told["to_hash"], told["users"]) == ("running", 150, [])
    await over(world)
    done = (await world.client.get(f"{url}/{told['id']}")).json()
    assert (done["state"], done["hashed"], len(done["users"]), done["left"]) == ("done", 150, 151, [])
    made = await world.app.provider.user("made")
    assert made is not None and verify(done["users"][-1]["password"], made.password)
    assert (await world.client.get(f"{url}/nothing")).status_code == 404
    few = await world.client.post(url, content=plain(21).replace("u00", "v00"), headers=kind)
    assert few.status_code == 200 and len(few.json()["users"]) == 21


async def test_rights_and_roles_hold(world: WebWorld) -> None:
    await world.app.provider.add_role(Role(name="north"))
    await world.client.post("/api/v2/users", json=world.user("south-model"))
    await world.add_admin("reader", "view_users")
    north = await world.add_admin("north", "view_users", "add_users")
    await world.app.provider.update_admin(replace(north, role="north"))
    table = f"username,template,role,home_dir\nann,south-model,,\nbob,,south,\ncyd,,,{world.home}/elsewhere\n"
    async with browser(world).client as client:
        visitor = Browser(client)
        await visitor.sign_in("reader")
        assert (await visitor.get("/many-users")).status == 403
        assert (await send(visitor, "create", text="username\nann\n")).status == 403
        assert "Many users" not in (await visitor.get("/users")).text
    async with browser(world).client as client:
        visitor = Browser(client)
        await visitor.sign_in("north")
        page = await send(visitor, "preview", text=table)
        found = told(page)
        assert "2 template: there is no account 'south-model'" in found
        assert "3 role: you may add users of your own role only" in found
        assert any(one.startswith("4 home_dir: ") for one in found), found
    async with world.acting_as("north") as rest:
        answer = await rest.post("/api/v2/users/csv", content=table, headers={"Content-Type": "text/csv"})
        assert (answer.status_code, len(answer.json()["mistakes"])) == (400, 3), answer.text
    assert await names(world) == ["south-model"]


async def test_forms_of_other_sessions_add_nothing(world: WebWorld, inside: Browser) -> None:
    inside.token = "another"
    assert (await send(inside, "create", text="username\nann\n")).status == 403
    assert await names(world) == []


async def test_cells_that_are_markup_or_formulas_stay_text(world: WebWorld, inside: Browser) -> None:
    await inside.get("/many-users")
    evil = "<img src=x onerror=alert(1)>"
    page = await send(
        inside, "preview", text=f"username,description\n{evil},x\n=cmd,\n\uff1dcmd,\n", generate="1"
    )
    assert not page.all("img")
    made = await confirm(inside, page)
    assert made.status == 200, made.text
    assert not made.all("img")
    first = [row[0] for row in csv.reader(io.StringIO(made.value("passwords")))]
    assert first == ["username", evil, "'=cmd", "'\uff1dcmd"]


async def test_over_rest(world: WebWorld) -> None:
    kind = {"Content-Type": "text/csv; charset=utf-8"}
    url = "/api/v2/users/csv"
    table = "username,email\nann,\nbob,b@example.com\n"
    seen = await world.client.post(url, content=table, params={"preview": 1}, headers=kind)
    assert seen.json() == {"users": [{"username": "ann"}, {"username": "bob"}], "left": []}
    assert await names(world) == []
    made = await world.client.post(url, content=table, params={"generate": 1}, headers=kind)
    assert [one["username"] for one in made.json()["users"]] == ["ann", "bob"]
    ann = await world.app.provider.user("ann")
    assert ann is not None
    assert verify(made.json()["users"][0]["password"], ann.password)
    again = await world.client.post(url, content=table, headers=kind)
    assert again.status_code == 400
    assert again.json()["mistakes"][0] == {"row": 2, "column": "username", "error": "'ann' exists already"}
    assert (await world.client.post(url, content=table)).status_code == 415
    assert (await world.client.post(url, content=b"\xff", headers=kind)).status_code == 400
    assert (await world.client.get("/api/v2/users/csv")).status_code == 404


async def test_the_table_to_begin_with_can_be_sent(world: WebWorld, inside: Browser) -> None:
    sample = await inside.client.get(f"{BASE}/many-users/sample.csv")
    await inside.get("/many-users")
    page = await send(inside, "preview", sample.content, generate="1")
    assert "2 users would be added." in page.text
    assert (await confirm(inside, page)).status == 200
    assert await names(world) == ["acme", "harbour"]
