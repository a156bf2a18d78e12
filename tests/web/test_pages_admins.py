# SPDX-License-Identifier: Apache-2.0
"""The pages of administrators and API keys: permissions, locking oneself out, a key that is shown once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.browser import BASE, Browser, browser, fields_of
from tests.support.web_world import ADMIN, WebWorld

from tidegate.policy.second_factor import totp_of
from tidegate.store.documents import decode_account

NEW_PASSWORD = "another long and boring password"
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def inside(world: WebWorld) -> AsyncIterator[Browser]:
    async with browser(world).client as client:
        made = Browser(client)
        assert (await made.sign_in()).status == 303
        yield made


async def test_an_administrator_is_added_and_may_what_was_ticked(world: WebWorld, inside: Browser) -> None:
    sent = fields_of(await inside.get("/new-admin"))
    sent |= {
        "username": "nora", "password": NEW_PASSWORD, "permissions": ["view_users", "view_conns"],
        "allow_list": "127.0.0.0/8\n::1/128", "description": EVIL,
    }  # fmt: skip
    done = await inside.post("/new-admin", **sent)
    assert (done.status, done.location) == (303, f"{BASE}/admins/nora"), done.text
    stored = await world.app.provider.admin("nora")
    assert stored is not None
    assert (stored.status, stored.permissions) == (1, ("view_users", "view_conns"))
    assert stored.filters.allow_list == ("127.0.0.0/8", "::1/128") and stored.password.startswith("$")
    page = await inside.get("/admins")
    assert not page.all("img") and "view_users, view_conns" in page.text and "everything" in page.text
    async with browser(world).client as client:
        nora = Browser(client)
        assert (await nora.sign_in("nora", NEW_PASSWORD)).status == 303
        assert (await nora.get("/users")).status == 200
        for path in ("/admins", "/new-admin", f"/admins/{ADMIN}", f"{BASE}/api-keys", f"{BASE}/new-api-key"):
            assert (await nora.get(path)).status == 403, path
        entries = {one.attributes["href"] for one in (await nora.get("/users")).all("a")}
        assert not entries & {f"{BASE}/admins", f"{BASE}/api-keys"}
        sent = fields_of(await inside.get("/admins/nora"))
        assert sent["permissions"] == ["view_conns", "view_users"]
        assert (await inside.post("/admins/nora", **sent)).status == 303
        assert "Nothing was changed." in (await inside.get("/users")).text
        done = await inside.post("/admins/nora", **{**sent, "enabled": []})
        assert done.status == 303, done.text
        assert (await nora.get("/users")).status == 303  # the session has ended
    assert "disabled" in (await inside.get("/admins")).text


async def test_mistakes_stand_at_their_fields(world: WebWorld, inside: Browser) -> None:
    sent = {**fields_of(await inside.get("/new-admin")), "username": "nora", "password": NEW_PASSWORD}
    sent["permissions"] = ["view_users"]
    for field, value in (("allow_list", "300.1.2.3"), ("password", ""), ("username", "")):
        wrong = await inside.post("/new-admin", **{**sent, field: value})
        assert wrong.status == 400, field
        assert wrong.first("p", id=f"e-{field}").text
    role = await inside.post("/new-admin", **{**sent, "role": "nowhere", "permissions": ["*"]})
    assert (role.status, bool(role.first("p", id="e-role").text)) == (400, True)
    assert await world.app.provider.admin("nora") is None


async def test_nobody_locks_themselves_out(world: WebWorld, inside: Browser) -> None:
    sent = fields_of(await inside.get(f"/admins/{ADMIN}"))
    for change in ({"enabled": []}, {"permissions": ["view_users"]}):
        refused = await inside.post(f"/admins/{ADMIN}", **{**sent, **change})
        assert refused.status == 400 and "Nothing was saved." in refused.text
    page = await inside.get(f"/admins/{ADMIN}/delete")
    gone = await inside.post(f"/admins/{ADMIN}/delete", _version=page.value("_version"))
    assert gone.status == 400
    stored = await world.app.provider.admin(ADMIN)
    assert stored is not None and (stored.status, stored.permissions) == (1, ("*",))


async def test_two_admins_edit_one_administrator(world: WebWorld, inside: Browser) -> None:
    await world.add_admin("nora", "view_users")
    mine = fields_of(await inside.get("/admins/nora"))
    done = await inside.post("/admins/nora", **{**mine, "email": "theirs@example.com"})
    assert done.status == 303
    told = await inside.post("/admins/nora", **{**mine, "description": "mine"})
    assert (told.status, told.value("email"), told.value("description")) == (
        409,
        "theirs@example.com",
        "mine",
    )
    assert (await inside.post("/admins/nora", **fields_of(told))).status == 303


async def test_a_key_is_shown_once_and_works_until_it_is_deleted(world: WebWorld, inside: Browser) -> None:
    own = await world.app.provider.admin(ADMIN)
    assert own is not None
    page = fields_of(await inside.get(f"/admins/{ADMIN}"))
    assert (await inside.post(f"/admins/{ADMIN}", **{**page, "keys_act": "1"})).status == 303
    await inside.sign_in()
    assert "No API key yet" in (await inside.get(f"{BASE}/api-keys")).text
    sent = {
        **fields_of(await inside.get(f"{BASE}/new-api-key")),
        "name": EVIL,
        "admin": ADMIN,
        "expires": "2031-01-31",
    }
    made = await inside.post(f"{BASE}/new-api-key", **sent)
    assert made.status == 200 and "never again" in made.text and not made.all("img")
    key = made.first("div", class_="code").text.removesuffix("Copy")
    (row,) = (await inside.get(f"{BASE}/api-keys")).all("a", class_="name")
    assert row.text == EVIL
    where = row.attributes["href"]
    async with world.anonymous(headers={"X-SFTPGO-API-KEY": key}) as program:
        assert (await program.get("/api/v2/users")).status_code == 200
        shown = await inside.get(where)
        assert key.rpartition(".")[2] not in shown.answer.text
        assert (await inside.post(where, **{**fields_of(shown), "name": "backup"})).status == 303
        assert (await program.get("/api/v2/users")).status_code == 200
        question = await inside.get(f"{where}/delete")
        assert "Delete backup?" in question.first("h1").text
        await inside.post(f"{where}/delete", _version=question.value("_version"))
        assert (await program.get("/api/v2/users")).status_code == 401
    wrong = await inside.post(f"{BASE}/new-api-key", **{**sent, "name": "", "admin": "nobody"})
    assert wrong.status == 400 and wrong.all("p", class_="err")


async def test_sessions_and_codes_of_somebody_else_end(world: WebWorld, inside: Browser) -> None:
    totp = {
        "enabled": True,
        "config_name": "Default",
        "secret": {"status": "Plain", "payload": "JBSWY3DPEHPK3PXP"},
    }
    await world.add_admin("nora", "view_users")
    async with browser(world).client as first, browser(world).client as second:
        one, other = Browser(first), Browser(second)
        for person in (one, other):
            assert (await person.sign_in("nora")).status == 303
        page = await inside.get("/admins/nora")
        buttons = page.all("button", name="session")
        assert [button.text for button in buttons] == ["End all", "End", "End"]
        wanted = buttons[1].attributes["value"]
        assert (await inside.post("/admins/nora/sessions", session=wanted)).status == 303
        assert "1 session of nora ended." in (await inside.get("/admins/nora")).text
        assert {(await person.get("/users")).status for person in (one, other)} == {200, 303}
        assert (await inside.post("/admins/nora/sessions", session=wanted)).status == 400
        assert (await inside.post("/admins/nora/sessions", session="all")).status == 303
        assert {(await person.get("/users")).status for person in (one, other)} == {303}
    # One's own sessions end there too, but for the one that asks.
    page = await inside.get(f"/admins/{ADMIN}")
    assert "this one" in page.text and "End all others" in page.text
    assert (await inside.post(f"/admins/{ADMIN}/sessions", session="all")).status == 303
    assert (await inside.get("/admins")).status == 200

    await world.add_admin("olga", "view_users", extra={"totp_config": totp})
    assert "One-time codes" in (await inside.get("/admins/olga")).text
    assert (await inside.post("/admins/olga/codes")).status == 303
    page = await inside.get("/admins/olga")
    assert "olga is asked for codes no more." in page.text and not page.all("h2", id="cd-h")
    user = {**world.user("mara"), "filters": {"totp_config": {**totp, "protocols": ["SSH"]}}}
    await world.app.provider.add_user(decode_account(user))
    assert any("Switch codes off" in one.text for one in (await inside.get("/users/mara")).all("button"))
    await world.add_admin("pia", "view_users", "edit_users")
    async with browser(world).client as client:
        pia = Browser(client)
        await pia.sign_in("pia")
        assert "Switch codes off" not in (await pia.get("/users/mara")).text
        assert (await pia.post("/users/mara/codes")).status == 403
        assert (await pia.post("/admins/olga/sessions", session="all")).status == 403
    assert (await inside.post("/users/mara/codes")).status == 303
    stored = await world.app.provider.user("mara")
    assert stored is not None and not totp_of(stored.filters).enabled
    assert "Switch codes off" not in (await inside.get("/users/mara")).text
    assert (await inside.post("/users/nobody/codes")).status == 404
