# SPDX-License-Identifier: Apache-2.0
"""Passkeys in the pages, the REST API and the store: added, used, refused, removed. The device is in Python."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.browser import BASE, Browser, Shown
from tests.support.doors import services_of
from tests.support.passkey_device import UP, Device
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.events.kinds import Administered, LoggedIn, LoginFailed
from tidegate.identity import throttle
from tidegate.policy.passkeys import passkeys_of


class Seen:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    async def open(self) -> None: ...

    async def handle(self, event: object) -> None:
        self.events.append(event)

    async def close(self) -> None: ...


def local(world: WebWorld) -> str:
    """The address of the pages by name: browsers have passkeys there."""
    return world.url.replace("127.0.0.1", "localhost")


def browser(world: WebWorld, **more: Any) -> Browser:
    return Browser(world.anonymous(headers={"Host": local(world).removeprefix("http://")}, **more))


@pytest.fixture
async def out(world: WebWorld) -> AsyncIterator[Browser]:
    made = browser(world)
    async with made.client:
        yield made


async def options_of(shown: Shown) -> dict[str, Any]:
    assert shown.status == 200, shown.answer.text
    found: dict[str, Any] = shown.answer.json()
    return found


async def add(page: Browser, device: Device, name: str = "stick", password: str = PASSWORD) -> Shown:
    """Add a passkey as the script of the page does."""
    await page.get("/me")
    asked = await page.post("/me/passkeys/begin", name=name, current_password=password)
    return await page.post("/me/passkeys", name=name, credential=device.create(await options_of(asked)))


async def with_passkey(world: WebWorld, page: Browser, *, alone: bool = False) -> Device:
    """Sign in and add a passkey; the session stays."""
    await page.sign_in()
    device = Device(local(world))
    shown = await add(page, device)
    assert "These codes are shown only now." in shown.text
    if alone:
        await page.get("/me")
        saved = await page.post("/me/passkeys/alone", alone="1", current_password=PASSWORD)
        assert saved.status == 303, saved.text
        await page.get("/me")
    return device


async def sign_in_alone(page: Browser, device: Device, **more: str) -> Shown:
    asked = await options_of(await page.post("/login/passkey/begin"))
    return await page.post("/login/passkey", credential=device.get(asked), **more)


async def sign_in_after(page: Browser, device: Device) -> Shown:
    assert (await page.post("/login", name=ADMIN, password=PASSWORD)).location == f"{BASE}/login/code"
    asked = await options_of(await page.post("/login/code/passkey/begin"))
    return await page.post("/login/code/passkey", credential=device.get(asked))


async def test_a_passkey_is_added_and_listed_and_follows_the_password(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out)
    listed = await out.get("/me")
    assert "stick" in listed.text and "12 recovery codes are left" in listed.text
    await out.post("/logout")
    form = await out.open((await out.post("/login", name=ADMIN, password=PASSWORD)).location)
    assert "Now your passkey, please." in form.text
    assert (await out.get("/me")).status == 303  # not in yet
    asked = await options_of(await out.post("/login/code/passkey/begin"))
    assert [one["id"] for one in asked["allowCredentials"]] == [
        passkeys_of((await admin(world)).filters).keys[0].id
    ]
    entered = await out.post("/login/code/passkey", credential=device.get(asked), next=f"{BASE}/me?x=1")
    assert (entered.status, entered.location) == (303, f"{BASE}/me?x=1")
    (held,) = passkeys_of((await admin(world)).filters).keys
    assert held.sign_count == 1
    assert time.time() * 1000 - held.last_use_at < 60_000
    assert "password+passkey" in (await out.get("/me")).text


async def admin(world: WebWorld, name: str = ADMIN) -> Any:
    found = await world.app.provider.admin(name)
    assert found is not None
    return found


async def test_a_passkey_signs_in_by_itself_only_where_its_owner_allows_it(
    world: WebWorld, out: Browser
) -> None:
    device = await with_passkey(world, out)
    await out.post("/logout")
    shown = await sign_in_alone(out, device)
    assert (shown.status, "Your passkeys do not sign in by themselves." in shown.text) == (401, True)
    await sign_in_after(out, device)
    await out.get("/me")
    await out.post("/me/passkeys/alone", alone="1", current_password=PASSWORD)
    await out.get("/me")
    await out.post("/logout")
    entered = await sign_in_alone(out, device, next=f"{BASE}/users")
    assert (entered.status, entered.location) == (303, f"{BASE}/users")
    device.flags = UP
    await out.get("/me")
    await out.post("/logout")
    shown = await sign_in_alone(out, device)
    assert (shown.status, "The passkey was not accepted." in shown.text) == (401, True)


async def offered(page: Browser, device: Device, **more: str) -> Shown:
    """Sign in by a passkey that the browser offered."""
    asked = await options_of(await page.post("/login/passkey/offer/begin"))
    return await page.post("/login/passkey/offer", credential=device.get(asked), **more)


async def test_a_passkey_that_is_offered_signs_in_and_an_offer_is_no_attempt(
    world: WebWorld, out: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await with_passkey(world, out, alone=True)
    await out.post("/logout")
    monkeypatch.setattr(throttle, "OFFERS", 20)
    for _ in range(15):  # people who open the sign-in page, and more than may try
        assert (await out.post("/login/passkey/offer/begin")).status == 200
    entered = await offered(out, device, next=f"{BASE}/users")
    assert (entered.status, entered.location) == (303, f"{BASE}/users")
    await out.get("/me")
    await out.post("/logout")
    # What was asked for by the button is no answer to an offer, and the other way round.
    asked = await options_of(await out.post("/login/passkey/begin"))
    late = await out.post("/login/passkey/offer", credential=device.get(asked))
    assert (late.status, "took longer" in late.text) == (401, True)
    asked = await options_of(await out.post("/login/passkey/offer/begin"))
    wrong = await out.post("/login/passkey", credential=device.get(asked))
    assert (wrong.status, "was not accepted" in wrong.text) == (401, True)
    for _ in range(4):
        shown = await out.post("/login/passkey/offer/begin")
    assert (shown.status, shown.answer.content) == (204, b"")  # too many of one address: nothing is offered


async def test_answers_to_offers_are_attempts(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out, alone=True)
    await out.post("/logout")
    stranger = Device(local(world))
    stranger.handle = device.handle
    statuses = []
    for _ in range(11):
        begun = await out.post("/login/passkey/offer/begin")
        if begun.status == 204:  # who may not try is not asked
            break
        answer = stranger.get(await options_of(begun))
        statuses.append((await out.post("/login/passkey/offer", credential=answer)).status)
    assert statuses == [401] * 10
    assert (await out.post("/login", name=ADMIN, password=PASSWORD)).status == 429


async def test_passkeys_are_offered_only_where_browsers_have_them(world: WebWorld, out: Browser) -> None:
    form = (await out.get("/login")).first("form", data_passkey="get")
    assert form.attributes["data-offer"] == f"{BASE}/login/passkey/offer"
    async with world.anonymous() as client:  # by an IP address
        page = Browser(client)
        form = (await page.get("/login")).first("form", data_passkey="get")
        assert "data-offer" not in form.attributes
        assert (await page.post("/login/passkey/offer/begin")).status == 204


async def test_a_challenge_is_good_once_and_for_its_session_alone(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out, alone=True)
    await out.post("/logout")
    asked = await options_of(await out.post("/login/passkey/begin"))
    answer = device.get(asked)
    async with browser(world).client as other:
        assert "took longer" in (await Browser(other).post("/login/passkey", credential=answer)).text
        await options_of(await Browser(other).post("/login/passkey/begin"))
        assert "was not accepted" in (await Browser(other).post("/login/passkey", credential=answer)).text
    cookies = dict(out.client.cookies)
    assert (await out.post("/login/passkey", credential=answer)).status == 303
    async with browser(world, cookies=cookies).client as again:
        shown = await Browser(again).post("/login/passkey", credential=answer)
        assert (shown.status, "took longer" in shown.text) == (401, True)
    # Of many at the same moment one gets the challenge.
    async with browser(world).client as client:
        page = Browser(client)
        answer = device.get(await options_of(await page.post("/login/passkey/begin")))
        shown = await asyncio.gather(*(page.post("/login/passkey", credential=answer) for _ in range(5)))
        assert sorted(one.status for one in shown) == [303, 401, 401, 401, 401]


async def test_a_challenge_ends(world: WebWorld, out: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    device = await with_passkey(world, out, alone=True)
    await out.post("/logout")
    monkeypatch.setattr("tidegate.web.admin.passkey_site.CHALLENGE_SECONDS", 0)
    assert "took longer than five minutes" in (await sign_in_alone(out, device)).text


async def test_a_challenge_for_one_thing_is_none_for_another(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out)
    second = Device(local(world))
    await out.get("/me")
    begun = await out.post("/me/passkeys/begin", name="phone", current_password=PASSWORD)
    await out.post("/logout")
    assert (await sign_in_after(out, device)).status == 303
    await out.get("/me")
    late = await out.post("/me/passkeys", name="phone", credential=second.create(await options_of(begun)))
    assert (late.status, "took longer" in late.text) == (400, True)


async def test_a_counter_that_does_not_grow_is_noticed(
    world: WebWorld, out: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    device = await with_passkey(world, out)
    await out.post("/logout")
    device.counter = 7
    assert (await sign_in_after(out, device)).status == 303
    copy = replace(device, counter=6)
    await out.get("/me")
    await out.post("/logout")
    with caplog.at_level(logging.WARNING, "tidegate.identity.passkey_login"):
        shown = await sign_in_after(out, copy)
    assert (shown.status, "there may be a copy" in shown.text) == (401, True)
    assert "passkey 'stick' of administrator 'boss' refused: its counter is 7 and was 8 before" in caplog.text
    assert (await sign_in_after(out, device)).status == 303


async def test_authenticators_without_a_counter_sign_in_again_and_again(
    world: WebWorld, out: Browser
) -> None:
    device = await with_passkey(world, out)
    device.counter = None
    for _ in range(3):
        await out.get("/me")
        await out.post("/logout")
        assert (await sign_in_after(out, device)).status == 303


async def test_a_recovery_code_works_instead_and_a_password_alone_gives_no_token(
    world: WebWorld, out: Browser
) -> None:
    await out.sign_in()
    codes = (await add(out, Device(local(world)))).first("pre").text.split()
    await out.get("/me")
    await out.post("/logout")
    async with world.anonymous() as client:
        assert (await client.get("/api/v2/token", auth=(ADMIN, PASSWORD))).status_code == 401
        for code, status in (("123456", 401), (codes[0], 200), (codes[0], 401)):
            headers = {"X-SFTPGO-OTP": code}
            answer = await client.get("/api/v2/token", auth=(ADMIN, PASSWORD), headers=headers)
            assert answer.status_code == status, code
    # Tokens that were given before, and API keys, are as they were.
    assert (await world.client.get("/api/v2/version")).status_code == 200
    await out.post("/login", name=ADMIN, password=PASSWORD)
    assert (await out.post("/login/code", code="123456")).status == 401
    assert (await out.post("/login/code", code=codes[1])).status == 303


async def test_the_password_is_needed_to_add_remove_and_allow(world: WebWorld, out: Browser) -> None:
    await with_passkey(world, out)
    (held,) = passkeys_of((await admin(world)).filters).keys
    await out.get("/me")
    refused = await out.post("/me/passkeys/begin", name="x", current_password="wrong")
    assert (refused.status, refused.answer.json()["error"]) == (400, "That is not your password.")
    for path, fields in (("remove", {"passkey": held.id}), ("alone", {"alone": "1"})):
        shown = await out.post(f"/me/passkeys/{path}", current_password="wrong", **fields)
        assert (shown.status, "That is not your password." in shown.text) == (400, True)
    assert passkeys_of((await admin(world)).filters).keys == (held,)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "Give it a name."),
        (" stick ", "Is the name of another"),
        ("x" * 65, "64 printable"),
        ("a\x1bb", "64 pr"),
    ],
)
async def test_names_are_checked_first(world: WebWorld, out: Browser, name: str, said: str) -> None:
    await with_passkey(world, out)
    await out.get("/me")
    refused = await out.post("/me/passkeys/begin", name=name, current_password=PASSWORD)
    assert refused.status == 400
    assert said in refused.answer.json()["error"]


async def test_a_passkey_gets_another_name_and_sessions_go_on(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out)
    assert (await add(out, Device(local(world)), "phone")).status == 303
    await out.get("/me")
    key = next(one for one in passkeys_of((await admin(world)).filters).keys if one.name == "stick")
    done = await out.post("/me/passkeys/rename", passkey=key.id, name="  blue stick ")
    assert done.status == 303
    assert "The passkey is called blue stick." in (await out.get("/me")).text
    for name, what in (
        ("phone", "the name of another passkey"),
        ("", "is missing"),
        ("x" * 65, "64 printable"),
    ):
        wrong = await out.post("/me/passkeys/rename", passkey=key.id, name=name)
        assert (wrong.status, what in wrong.text) == (400, True), wrong.text
    assert (await out.post("/me/passkeys/rename", passkey="none", name="y")).status == 400
    path = f"/api/v2/admin/passkeys/{key.id}"
    assert (await world.client.put(path, json={"name": "red stick"})).status_code == 200
    assert (await world.client.put(path, json={"name": "phone"})).status_code == 400
    assert (await world.client.put(f"{path}x", json={"name": "z"})).status_code == 404
    held = passkeys_of((await admin(world)).filters)
    assert sorted(one.name for one in held.keys) == ["phone", "red stick"]
    assert (await sign_in_after(out, device)).status == 303


async def test_a_passkey_is_removed_and_other_sessions_end(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out)
    second = Device(local(world))
    assert (await add(out, second, "phone")).status == 303
    async with browser(world).client as client:
        other = Browser(client)
        assert (await sign_in_after(other, device)).status == 303
        await out.get("/me")
        key = next(one for one in passkeys_of((await admin(world)).filters).keys if one.name == "stick")
        gone = await out.post("/me/passkeys/remove", passkey=key.id, current_password=PASSWORD)
        assert gone.status == 303
        assert "The passkey stick is removed." in (await out.get("/me")).text
        assert (await other.get("/me")).status == 303
        assert (await sign_in_after(other, device)).status == 401
        assert (await sign_in_after(other, second)).status == 303


async def test_a_required_second_factor_can_be_a_passkey(world: WebWorld) -> None:
    await world.add_admin("mara", "*", require_two_factor=True)
    async with browser(world).client as client:
        mara = Browser(client)
        await mara.sign_in("mara")
        assert (await mara.get("/users")).location == f"{BASE}/me/codes"
        await add(mara, Device(local(world)))
        assert (await mara.get("/users")).status == 200
        (held,) = passkeys_of((await admin(world, "mara")).filters).keys
        refused = await mara.post("/me/passkeys/remove", passkey=held.id, current_password=PASSWORD)
        assert (refused.status, "required of you" in refused.text) == (403, True)


async def test_address_rules_and_throttles_hold(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out, alone=True)
    stored = await admin(world)
    await out.post("/logout")
    shut = replace(stored, filters=replace(stored.filters, allow_list=("192.0.2.0/24",)))
    await world.app.provider.update_admin(shut)
    assert (await sign_in_alone(out, device)).status == 401
    await world.app.provider.update_admin(replace(stored, status=0))
    assert (await sign_in_alone(out, device)).status == 401
    await world.app.provider.update_admin(stored)
    assert (await sign_in_alone(out, device)).status == 303
    await out.get("/me")
    await out.post("/logout")
    statuses = [(await out.post("/login/passkey/begin")).status for _ in range(12)]
    assert (statuses[0], statuses[-1]) == (200, 429)


async def test_wrong_passkeys_after_the_password_are_throttled_by_name(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out)
    await out.post("/logout")
    stranger = replace(device, challenge=b"x" * 32)
    statuses = [(await sign_in_after(out, stranger)).status for _ in range(6)]
    assert statuses == [401] * 5 + [429]


async def test_sign_ins_by_passkey_are_events(tmp_path: Path) -> None:
    seen = Seen()
    async with web_world(tmp_path, sinks=[seen]) as world, browser(world).client as client:
        page = Browser(client)
        device = await with_passkey(world, page, alone=True)
        await page.post("/logout")
        await sign_in_alone(page, device)
        await page.get("/me")
        await page.post("/logout")
        await sign_in_after(page, device)
        await page.get("/me")
        await page.post("/logout")
        await sign_in_alone(page, replace(device, challenge=b"x" * 32))
        await world.app.stop()
    assert [one.method for one in seen.events if isinstance(one, LoggedIn)] == [
        "password", "passkey", "password+passkey",
    ]  # fmt: skip
    failed = [one for one in seen.events if isinstance(one, LoginFailed)]
    assert [(one.origin.username, one.login_type, one.reason) for one in failed] == [
        (ADMIN, "passkey", "bad_passkey")
    ]
    changed = [one for one in seen.events if isinstance(one, Administered)]
    assert any("filters.passkeys" in one.fields for one in changed)


async def test_pages_say_why_there_are_no_passkeys(tmp_path: Path) -> None:
    keys = {"origins": ["https://files.example.org"]}
    async with web_world(tmp_path, mfa={"passkeys": keys}) as world:
        for host, said in (
            ("127.0.0.1:1", "opened by an IP address (127.0.0.1). Open https://files.example.org instead."),
            ("[::1]:1", "opened by an IP address (::1)"),
            ("files.example.org", "come over plain HTTP (http://files.example.org). Open https://files"),
            ("localhost:1", "no passkeys for http://localhost:1: mfa.passkeys.origins does not name it."),
            ("bad:host:1", "Browsers have no passkeys"),
        ):
            async with world.anonymous(headers={"Host": host}) as client:
                page = Browser(client)
                await page.sign_in()
                assert said in (await page.get("/me")).text, host
                refused = await page.post("/me/passkeys/begin", name="x", current_password=PASSWORD)
                assert (refused.status, said in refused.answer.json()["error"]) == (403, True)
                await page.post("/logout")
                refused = await page.post("/login/passkey/begin")
                assert (refused.status, said in refused.answer.json()["error"]) == (403, True)


async def test_behind_a_proxy_the_configured_address_counts(tmp_path: Path) -> None:
    origin = "https://files.example.org"
    bindings = [{"port": free_port(), "proxy_allowed": ["127.0.0.0/8"]}]
    keys = {"origins": [origin], "rp_id": "example.org"}
    async with (
        web_world(tmp_path, mfa={"passkeys": keys}, httpd={"bindings": bindings}) as world,
        world.anonymous(headers={"X-Forwarded-Proto": "https"}) as client,
    ):
        page = Browser(client)
        entered = await page.client.post(f"{BASE}/login", data={"name": ADMIN, "password": PASSWORD})
        # A cookie that is marked Secure goes over the plain connection that the proxy would have.
        cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
        await page.get("/me", cookie)
        fields = {"name": "stick", "current_password": PASSWORD}
        options = await options_of(await page.post("/me/passkeys/begin", cookie, **fields))
        assert options["rp"]["id"] == "example.org"
        made = Device(origin, "example.org").create(options)
        shown = await page.post("/me/passkeys", cookie, name="stick", credential=made)
        assert "These codes are shown only now." in shown.text


async def test_rest_lists_and_removes_them(world: WebWorld, out: Browser) -> None:
    await with_passkey(world, out)
    await world.add_admin("mara", "*")
    async with browser(world).client as client:
        mara = Browser(client)
        await mara.sign_in("mara")
        await add(mara, Device(local(world)))
    mine = (await world.client.get("/api/v2/admin/passkeys")).json()
    assert [set(one) for one in mine] == [{"id", "name", "rp_id", "created_at", "last_use_at"}]
    theirs = (await world.client.get("/api/v2/admins/mara/passkeys")).json()
    assert [one["name"] for one in theirs] == ["stick"]
    document = (await world.client.get("/api/v2/admins/mara")).json()
    assert "passkeys" not in document["filters"]
    # A document that says something about passkeys changes none.
    document["filters"]["passkeys"] = {"handle": "x", "alone": True, "credentials": []}
    assert (await world.client.put("/api/v2/admins/mara", json=document)).status_code == 200
    assert len((await world.client.get("/api/v2/admins/mara/passkeys")).json()) == 1
    path = f"/api/v2/admins/mara/passkeys/{theirs[0]['id']}"
    assert (await world.client.delete(path)).status_code == 200
    assert (await world.client.delete(path)).status_code == 404
    assert (await world.client.delete(f"/api/v2/admin/passkeys/{mine[0]['id']}")).status_code == 200
    assert not passkeys_of((await admin(world)).filters).keys
    assert "recovery_codes" not in (await admin(world)).filters.extra
    await world.add_admin("clerk", "view_users")
    async with world.acting_as("clerk") as clerk:
        assert (await clerk.get("/api/v2/admins/mara/passkeys")).status_code == 403
        assert (await clerk.get("/api/v2/admin/passkeys")).json() == []


async def test_the_page_of_another_administrator_lists_and_removes_them(
    world: WebWorld, out: Browser
) -> None:
    await world.add_admin("mara", "*")
    async with browser(world).client as client:
        mara = Browser(client)
        await mara.sign_in("mara")
        await add(mara, Device(local(world)), "mara's phone")
        (held,) = passkeys_of((await admin(world, "mara")).filters).keys
        await out.sign_in()
        assert "passkeys" in (await out.get("/admins")).text
        assert "mara's phone" in (await out.get("/admins/mara")).text
        assert (await out.post("/admins/mara/passkeys", passkey=held.id)).location == f"{BASE}/admins/mara"
        assert not passkeys_of((await admin(world, "mara")).filters).keys
        assert (await mara.get("/me")).status == 303


async def test_a_dump_has_them_and_gives_them_back(world: WebWorld, out: Browser) -> None:
    device = await with_passkey(world, out, alone=True)
    dump = (await world.client.get("/api/v2/dumpdata", params={"output-data": "1"})).json()
    before = (await admin(world)).filters
    await world.client.put(f"/api/v2/admins/{ADMIN}/2fa/disable")
    for key in passkeys_of(before).keys:
        await world.client.delete(f"/api/v2/admin/passkeys/{key.id}")
    fresh = await world.token()
    headers = {"Authorization": f"Bearer {fresh}"}
    answer = await world.client.post("/api/v2/loaddata", json=dump, headers=headers)
    assert answer.status_code == 200, answer.text
    assert passkeys_of((await admin(world)).filters) == passkeys_of(before)
    async with browser(world).client as client:
        assert (await sign_in_alone(Browser(client), device)).status == 303


async def test_without_scripts_the_pages_say_so(world: WebWorld, out: Browser) -> None:
    shown = await out.get("/login")
    assert "needs a browser that runs scripts" in shown.text
    await out.sign_in()
    await out.get("/me")
    refused = await out.post("/me/passkeys", name="x", current_password=PASSWORD)
    assert (refused.status, "needs a browser that runs scripts" in refused.text) == (400, True)
    assert services_of(world.app).loaded.settings.mfa.passkeys.origins == []


async def test_odd_answers_are_refused(world: WebWorld, out: Browser) -> None:
    await with_passkey(world, out, alone=True)
    await out.post("/logout")
    for answer in ("", "{", '{"type": "public-key", "response": {}}', "[" * 5_000, "\x00"):
        await options_of(await out.post("/login/passkey/begin"))
        assert (await out.post("/login/passkey", credential=answer)).status == 401
