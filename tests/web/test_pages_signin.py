# SPDX-License-Identifier: Apache-2.0
"""Signing in to the pages, sessions of browsers, and the frame that every page stands in."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.doors import services_of
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.events.kinds import LoggedIn, LoginFailed
from tidegate.identity import totp
from tidegate.policy.second_factor import decode_secret
from tidegate.web.admin import registry
from tidegate.web.admin.visit import own_path


class Seen:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[object] = []

    async def open(self) -> None: ...

    async def handle(self, event: object) -> None:
        self.events.append(event)

    async def close(self) -> None: ...


@pytest.fixture
async def out(world: WebWorld) -> AsyncIterator[Browser]:
    """A browser that is not signed in."""
    made = browser(world)
    async with made.client:
        yield made


@pytest.fixture
async def inside(out: Browser) -> Browser:
    """A browser of the administrator, signed in."""
    assert (await out.sign_in()).status == 303
    return out


async def test_the_root_leads_to_the_pages_and_they_ask_to_sign_in(out: Browser) -> None:
    root = await out.client.get("/")
    assert (root.status_code, root.headers["location"]) == (307, f"{BASE}/")
    first = await out.get("/")
    assert (first.status, first.location) == (303, f"{BASE}/login")
    wanted = await out.get("/me?x=1")
    assert wanted.location == f"{BASE}/login?next=%2Fweb%2Fadmin%2Fme%3Fx%3D1"
    form = await out.open(wanted.location)
    assert form.value("next") == f"{BASE}/me?x=1"
    entered = await out.post("/login", name=ADMIN, password=PASSWORD, next=form.value("next"))
    assert (entered.status, entered.location) == (303, f"{BASE}/me?x=1")
    assert (await out.get("/me")).first("h1").text == ADMIN
    assert (await out.get("/login")).location == f"{BASE}/"


async def test_the_cookie_and_the_policy_are_strict(out: Browser) -> None:
    answer = (await out.post("/login", name=ADMIN, password=PASSWORD)).answer
    cookie = answer.headers["set-cookie"]
    assert re.fullmatch(r"tidegate_admin=[\w-]{43}; HttpOnly; Path=/; SameSite=strict", cookie)
    page = (await out.get("/")).answer
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert (page.headers["cache-control"], page.headers["x-frame-options"]) == ("no-store", "DENY")


@pytest.mark.parametrize(
    ("name", "password"),
    [(ADMIN, "wrong"), ("nobody", PASSWORD), ("", ""), ("\x00\n", "x"), ("x" * 5000, "x")],
)
async def test_wrong_names_and_passwords_look_the_same(out: Browser, name: str, password: str) -> None:
    shown = await out.post("/login", name=name, password=password)
    assert shown.status == 401
    assert "Name or password is wrong." in shown.text
    assert not out.client.cookies


async def test_sign_ins_are_events_and_are_throttled(tmp_path: Path) -> None:
    seen = Seen()
    async with web_world(tmp_path, sinks=[seen]) as world, browser(world).client as client:
        out = Browser(client)
        await out.sign_in()
        for _ in range(12):
            shown = await out.post("/login", name=ADMIN, password="wrong")
        assert (shown.status, "Too many attempts. Wait" in shown.text) == (429, True)
        await world.app.stop()
    assert [one.method for one in seen.events if isinstance(one, LoggedIn)] == ["password"]
    failed = [one for one in seen.events if isinstance(one, LoginFailed)]
    assert {(one.origin.username, one.reason) for one in failed} == {(ADMIN, "bad_credential")}


async def test_signing_out_ends_the_session_for_good(world: WebWorld, inside: Browser) -> None:
    cookies = dict(inside.client.cookies)
    assert (await inside.post("/logout")).location == f"{BASE}/login"
    async with world.anonymous(cookies=cookies) as client:
        assert (await Browser(client).get("/me")).location.startswith(f"{BASE}/login")


@pytest.mark.parametrize(
    "change",
    [
        {"status": 0},
        {"permissions": ("view_users",)},
        {"password": "$2a$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_change_of_rights_ends_sessions(world: WebWorld, change: dict[str, object]) -> None:
    admin = await world.add_admin("mara", "*")
    async with browser(world).client as client:
        mara = Browser(client)
        await mara.sign_in("mara")
        assert (await mara.get("/me")).status == 200
        await world.app.provider.update_admin(replace(admin, **change))  # type: ignore[arg-type]
        assert (await mara.get("/me")).status == 303


async def test_sessions_end_when_idle_and_in_any_case(
    world: WebWorld, inside: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.app.provider.browser_sessions
    (row,) = await store.of("admin", ADMIN)
    httpd = services_of(world.app).loaded.settings.httpd
    assert row.idle_until - row.created_at == httpd.cookie_lifetime * 60_000
    assert row.expires_at - row.created_at == httpd.cookie_max_lifetime * 60_000
    now = int(time.time() * 1000)
    await store.use(row.id, seen_at=now, idle_until=now - 1, ip=row.ip)
    assert (await inside.get("/me")).status == 303
    assert (await inside.post("/me", email="x@example.com")).status == 401


async def test_using_a_session_keeps_it(world: WebWorld, inside: Browser) -> None:
    store = world.app.provider.browser_sessions
    (row,) = await store.of("admin", ADMIN)
    early = row.created_at - 60_000
    await store.use(row.id, seen_at=early, idle_until=row.created_at + 60_000, ip="")
    stayed = await inside.post("/me/stay")
    (used,) = await store.of("admin", ADMIN)
    assert used.seen_at >= row.seen_at
    assert stayed.answer.json() == {"idle_until": used.idle_until}
    assert used.ip == "127.0.0.1"


async def test_forms_of_other_sites_and_sessions_are_refused(world: WebWorld, inside: Browser) -> None:
    mine = inside.token
    for token in ("", mine[:-1], "0" * 64, "\u00ff", mine.upper()):
        refused = await inside.post("/me", _token=token, email="evil@example.com")
        assert refused.status in (400, 403)
    foreign = await inside.post("/me", {"Sec-Fetch-Site": "cross-site"}, email="evil@example.com")
    assert foreign.status == 403
    origin = await inside.client.post(
        f"{BASE}/me", data={"_token": mine}, headers={"Origin": "https://evil.example"}
    )
    assert origin.status_code == 403
    admin = await world.app.provider.admin(ADMIN)
    assert admin is not None and admin.email == ""


async def test_a_link_from_another_site_arrives_after_all(out: Browser) -> None:
    shown = await out.get("/me?a=1&b=<", {"Sec-Fetch-Site": "cross-site"})
    assert shown.status == 200
    refresh = shown.first("meta", http_equiv="refresh").attributes["content"]
    assert refresh == f"0; url={BASE}/me?a=1&b=%3C" or refresh == f"0; url={BASE}/me?a=1&b=<"
    assert (await out.get("/me", {"Sec-Fetch-Site": "same-origin"})).status == 303


@pytest.mark.parametrize(
    "wish",
    ["//evil.example", "https://evil.example", "/web/admin//evil", "/web/adminx", "\\evil", "/web/admin/ x",
     "/web/admin/\n", "/web/admin/login?next=x", "/web/admin/logout", "javascript:alert(1)"],
)  # fmt: skip
def test_nobody_is_led_out_of_the_site(wish: str) -> None:
    assert own_path(wish) == f"{BASE}/"


async def test_own_sessions_are_listed_and_ended(world: WebWorld, inside: Browser) -> None:
    async with browser(world, headers={"User-Agent": "<b>other</b>"}).client as client:
        other = Browser(client)
        await other.sign_in()
        shown = await inside.get("/me")
        assert "<b>other</b>" in shown.text
        assert not shown.all("b")
        (end,) = [one for one in shown.all("button", name="session") if len(one.attributes["value"]) == 64]
        done = await inside.post("/me/sessions", session=end.attributes["value"])
        assert done.location == f"{BASE}/me"
        assert "The session has ended." in (await inside.get("/me")).text
        assert "The session has ended." not in (await inside.get("/me")).text
        assert (await other.get("/me")).status == 303
        again = await inside.post("/me/sessions", session=end.attributes["value"])
        assert again.status == 400


async def test_a_new_password_ends_other_sessions_and_keeps_this_one(world: WebWorld) -> None:
    await world.add_admin("mara", "*")
    async with browser(world).client as client, browser(world).client as second:
        mara, elsewhere = Browser(client), Browser(second)
        await mara.sign_in("mara")
        await elsewhere.sign_in("mara")
        new = "correct horse battery staple"
        fields = {"current_password": PASSWORD, "new_password": new}
        wrong = await mara.post("/me/password", **{**fields, "current_password": "x", "again": new})
        assert (wrong.status, "That is not your password." in wrong.text) == (400, True)
        differ = await mara.post("/me/password", **fields, again="other")
        assert "The two passwords differ." in differ.text
        weak = await mara.post("/me/password", current_password=PASSWORD, new_password="a", again="a")
        assert weak.status in (303, 400)
        if weak.status == 400:
            assert (await mara.post("/me/password", **fields, again=new)).status == 303
        assert (await mara.get("/me")).status == 200
        assert (await elsewhere.get("/me")).status == 303


async def test_codes_are_set_up_asked_for_and_dropped(
    world: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add_admin("mara", "*")
    async with browser(world).client as client:
        mara = Browser(client)
        await mara.sign_in("mara")
        page = await mara.get("/me/codes")
        secret = page.value("secret")
        assert page.first("svg", class_="qr")
        bad = await mara.post("/me/codes", secret=secret, code="000000")
        assert (bad.status, bad.value("secret")) == (400, secret)
        step = int(time.time()) // totp.PERIOD_SECONDS
        code = totp.code_at(decode_secret(secret), step, "sha1")
        shown = await mara.post("/me/codes", secret=secret, code=code)
        recovery = shown.first("pre").text.split()
        assert shown.status == 200 and len(recovery) >= 8
        assert (await mara.get("/me")).status == 200
        await mara.post("/logout")

        asked = await mara.post("/login", name="mara", password=PASSWORD, next=f"{BASE}/me")
        assert asked.location == f"{BASE}/login/code?next=%2Fweb%2Fadmin%2Fme"
        assert (await mara.get("/me")).status == 303  # the password alone opens nothing
        form = await mara.open(asked.location)
        wrong = await mara.post("/login/code", code="not a code", next=form.value("next"))
        assert (wrong.status, "The code is wrong" in wrong.text) == (401, True)
        entered = await mara.post("/login/code", code=recovery[0].lower(), next=form.value("next"))
        assert (entered.status, entered.location) == (303, f"{BASE}/me")
        page = await mara.get("/me")
        assert f"{len(recovery) - 1} recovery codes are left." in page.text
        assert (await mara.post("/me/recovery", current_password="x")).status == 400
        renewed = await mara.post("/me/recovery", current_password=PASSWORD)
        fresh = renewed.first("pre").text.split()
        assert renewed.status == 200 and len(fresh) >= 8 and not set(fresh) & set(recovery)
        assert f"{len(fresh)} are left" in (await mara.get("/me")).text
        assert (await mara.post("/me/codes/drop", current_password="x")).status == 400
        assert (await mara.post("/me/codes/drop", current_password=PASSWORD)).status == 303
        assert "off" in (await mara.get("/me")).text
        refused = await mara.post("/me/recovery", current_password=PASSWORD)
        assert refused.status == 403 and "set up one-time codes or a passkey first" in refused.text
    async with browser(world).client as client:
        assert (await Browser(client).get("/login/code")).location == f"{BASE}/login"


async def test_the_first_administrator_needs_the_printed_code(tmp_path: Path) -> None:
    async with web_world(tmp_path, first=False) as world, browser(world).client as client:
        new = Browser(client)
        assert (await new.open("/")).first("h1").text == "Set up Tidegate"
        fields = {"name": "mara", "password": PASSWORD, "again": PASSWORD}
        wrong = await new.post("/setup", code="AAAA-AAAA-AAAA-AAAA", **fields)
        assert (wrong.status, await world.app.provider.admins()) == (400, [])
        assert "Not the code" in wrong.text
        code = world.app.doors.setup_code()
        bad = await new.post("/setup", code=code, **{**fields, "name": "a b\x00"})
        assert bad.status == 400
        done = await new.post("/setup", code=code.lower().replace("-", " "), **fields)
        assert (done.status, done.location) == (303, f"{BASE}/")
        assert (await new.get("/me")).first("h1").text == "mara"
        assert (await new.post("/setup", code=code, **{**fields, "name": "eve"})).status == 303
        assert [one.username for one in await world.app.provider.admins()] == ["mara"]


async def test_who_has_to_change_the_password_does_that_first(world: WebWorld) -> None:
    await world.add_admin("mara", "*", require_password_change=True)
    await world.add_admin("nils", "*", require_two_factor=True)
    async with browser(world).client as client, browser(world).client as other:
        mara, nils = Browser(client), Browser(other)
        await mara.sign_in("mara")
        await nils.sign_in("nils")
        assert (await mara.get("/")).location == f"{BASE}/me"
        assert (await nils.get("/")).location == f"{BASE}/me/codes"


async def test_unknown_pages_methods_and_bodies_are_refused(inside: Browser) -> None:
    missing = await inside.get("/nothing/<script>")
    assert (missing.status, missing.first("h1").text) == (404, "Not found")
    assert not [one for one in missing.all("script") if "src" not in one.attributes]
    assert (await inside.post("/")).status == 405
    assert (await inside.client.put(f"{BASE}/me")).status_code == 405
    huge = await inside.client.post(
        f"{BASE}/me",
        content=b"a=" + b"x" * 1_100_000,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert huge.status_code == 413
    json_body = await inside.client.post(f"{BASE}/me", json={})
    assert json_body.status_code == 400


async def test_assets_are_kept_for_a_year_and_packed(out: Browser) -> None:
    page = await out.get("/login")
    (sheet,) = page.all("link", rel="stylesheet")
    plain = await out.client.get(sheet.attributes["href"], headers={"Accept-Encoding": "identity"})
    packed = await out.client.get(sheet.attributes["href"], headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content
    assert int(packed.headers["content-length"]) < len(plain.content) / 2
    assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
    older = await out.client.get(re.sub(r"assets/\w+/", "assets/0/", sheet.attributes["href"]))
    assert (older.status_code, older.headers["cache-control"]) == (200, "no-cache")
    for name in ("", "nothing.css", "../pages/me.py", "%2e%2e/visit.py", "licences/htmx.txt"):
        assert (await out.client.get(f"{BASE}/assets/0/{name}")).status_code == 404


async def test_the_pages_can_be_switched_off(tmp_path: Path) -> None:
    binding = {"port": free_port(), "enable_web_admin": False}
    async with web_world(tmp_path, httpd={"bindings": [binding]}) as world, world.anonymous() as client:
        assert (await client.get(f"{BASE}/login")).status_code == 404
        assert (await client.get("/")).headers["location"] == "docs"
        assert (await client.get("/api/v2/version")).status_code == 401


def test_every_page_has_a_path_of_its_own() -> None:
    pages = registry.all_pages()
    assert len({page.path for page in pages}) == len(pages)
    assert {page.path for page in pages if page.open_to_all} == {
        "/login", "/login/code", "/setup",
        "/login/passkey", "/login/passkey/begin", "/login/code/passkey", "/login/code/passkey/begin",
        "/login/passkey/offer", "/login/passkey/offer/begin",
    }  # fmt: skip


async def test_a_session_over_tls_is_worth_nothing_without(tmp_path: Path) -> None:
    binding = {"port": free_port(), "proxy_allowed": ["127.0.0.1"]}
    tls = {"X-Forwarded-Proto": "https"}
    async with web_world(tmp_path, httpd={"bindings": [binding]}) as world:
        async with browser(world, headers=tls).client as client:
            sent = await Browser(client).post("/login", name=ADMIN, password=PASSWORD)
            cookie = sent.answer.headers["set-cookie"]
            secret = re.search(
                r"__Host-tidegate_admin=([\w-]{43}); HttpOnly; Path=/; SameSite=strict; Secure", cookie
            )
            assert secret is not None
        over = {"Cookie": f"__Host-tidegate_admin={secret[1]}; tidegate_admin={secret[1]}"}
        async with world.anonymous() as client:
            assert (await client.get(f"{BASE}/me", headers={**over, **tls})).status_code == 200
            assert (await client.get(f"{BASE}/me", headers=over)).status_code == 303
    async with web_world(tmp_path) as world, browser(world, headers=tls).client as client:
        sent = await Browser(client).post("/login", name=ADMIN, password=PASSWORD)
        assert (
            "Secure" not in sent.answer.headers["set-cookie"]
        )  # nobody has said that this proxy may be believed


async def test_a_note_is_shown_once_over_tls_too(tmp_path: Path) -> None:
    """A cookie whose name begins with ``__Host-`` is not even dropped by what is not Secure (RFC 6265bis)."""
    binding = {"port": free_port(), "proxy_allowed": ["127.0.0.1"]}
    tls = {"X-Forwarded-Proto": "https"}
    async with web_world(tmp_path, httpd={"bindings": [binding]}) as world, browser(world).client as client:
        inside = Browser(client)
        cookies: dict[str, str] = {}

        async def ask(path: str, **fields: str) -> httpx2.Response:
            headers = {**tls, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
            shown = await (inside.post(path, headers, **fields) if fields else inside.get(path, headers))
            for line in shown.answer.headers.get_list("set-cookie"):
                assert line.startswith("__Host-") and "Secure" in line and "Path=/" in line, line
                name, _, value = line.partition(";")[0].partition("=")
                cookies[name] = value.strip('"')
            return shown.answer

        assert (await ask("/login", name=ADMIN, password=PASSWORD)).status_code == 303
        await ask("/me")
        assert (await ask("/me", email="", description="new")).status_code == 303
        assert "Your profile is saved." in (await ask("/me")).text
        assert "Your profile is saved." not in (await ask("/me")).text
