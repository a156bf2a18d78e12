# SPDX-License-Identifier: Apache-2.0
"""The pages without a mouse, and sessions that end, in a real Chromium.

Every page is walked through with Tab: everything that can be used is reached, in turn, with a ring around it.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright
from tests.support.live_connections import connect
from tests.support.needs import absent, program
from tests.support.web_world import ADMIN, PASSWORD, WebWorld
from tools.screenshots import move, shots, world_of

from tidegate.store.browser_sessions import BrowserSession

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("chromium")]

BASE: Final = "/web/admin"
MINUTE: Final = 60_000
MOST_TABS: Final = 100

WATCH: Final = """() => {
  const main = document.querySelector("main");
  const usable = (one) => one.tabIndex >= 0 && !one.disabled && one.type !== "hidden"
    && one.checkVisibility({ visibilityProperty: true });
  const known = [...main.querySelectorAll("a[href],button,input,select,textarea,summary,[tabindex]")].filter(usable);
  // Of radio buttons with one name Tab reaches the chosen one.
  const radios = (one) => known.filter((other) => other.type === "radio" && other.name === one.name && other.form === one.form);
  const wanted = known.filter((one) => one.type !== "radio" || one.checked || !radios(one).some((other) => other.checked) && radios(one)[0] === one);
  const told = (one) => `${one.tagName.toLowerCase()} ${one.name || one.id || one.getAttribute("href") || ""} ${one.textContent.trim().slice(0, 30)}`;
  window.walked = { reached: [], ringless: [], wanted: wanted.map(told) };
  document.addEventListener("focusin", ({ target }) => {
    if (!main.contains(target) || target === main) return;
    window.walked.reached.push(told(target));
    const style = getComputedStyle(target), ring = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    if (!ring && style.boxShadow === "none") window.walked.ringless.push(told(target));
  });
  main.focus();
  return wanted.length;
}"""


async def tab_to(page: Page, condition: str) -> None:
    """Press Tab until `condition` holds for the element with the focus, `one`."""
    for _ in range(MOST_TABS):
        await page.keyboard.press("Tab")
        if await page.evaluate(f"() => {{ const one = document.activeElement; return {condition}; }}"):
            return
    raise AssertionError(f"{MOST_TABS} times Tab do not lead to {condition} on {page.url}")


@dataclass
class Desk:
    """A server with records of every kind, and a browser."""

    world: WebWorld
    browser: Browser
    complaints: list[str]

    @asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator[Page]:
        """A page of somebody who is not signed in."""
        context = await self.browser.new_context(base_url=self.world.url, **options)
        page = await context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        try:
            yield page
        finally:
            await context.close()

    async def sign_in(self, page: Page) -> None:
        """Sign in with keys alone."""
        await page.goto(f"{BASE}/login")
        await page.wait_for_load_state("load")
        await tab_to(page, "one.name === 'name'")
        await page.keyboard.type(ADMIN)
        await page.keyboard.press("Tab")
        await page.keyboard.type(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("[data-verdict]")
        await page.wait_for_load_state("load")

    async def session(self) -> BrowserSession:
        """The session that was begun last."""
        rows = await self.world.app.provider.browser_sessions.of("admin", ADMIN)
        return max(rows, key=lambda one: one.created_at)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    chromium = program("chromium") or absent("chromium")
    home: Path = tmp_path_factory.mktemp("keys")
    async with world_of(home) as world, async_playwright() as playwright:
        await move(world)
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = Desk(world, browser, [])
        yield made
        await browser.close()
        assert made.complaints == []


async def test_everything_on_every_page_is_reached_with_tab(desk: Desk) -> None:
    found: list[str] = []
    steps = 0
    async with desk.page() as page:
        await desk.sign_in(page)
        for shot in shots():
            await page.goto(f"{BASE}{shot.path}", wait_until="domcontentloaded")
            number = await page.evaluate(WATCH)
            for _ in range(number + 1):
                await page.keyboard.press("Tab")
            walked = await page.evaluate("() => window.walked")
            steps += len(walked["reached"])
            if walked["reached"] != walked["wanted"]:
                lost = [one for one in walked["wanted"] if one not in walked["reached"]]
                found.append(f"{shot.path}: not reached, or out of turn: {lost or walked['reached'][:5]}")
            found += [f"{shot.path}: without a ring: {one}" for one in walked["ringless"]]
    assert found == []
    assert steps > 500


async def test_a_user_is_made_found_and_disabled_without_a_mouse(desk: Desk) -> None:
    async with desk.page() as page:
        await desk.sign_in(page)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await page.keyboard.press("Control+k")
        await page.wait_for_selector("#palette[open]")
        await page.keyboard.type(">add a user")
        await page.wait_for_selector("[role=option][aria-selected=true]:has-text('Add a user')")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/new-user")
        await page.wait_for_load_state("load")
        await page.focus("main")
        await tab_to(page, "one.name === 'username'")
        user = f"by-keys-{secrets.token_hex(3)}"
        await page.keyboard.type(user)
        await page.keyboard.press("Control+s")
        await page.wait_for_selector(f".toast:has-text('{user} is added.')")
        await page.wait_for_load_state("load")
        await page.keyboard.press("g")
        await page.keyboard.press("u")
        await page.wait_for_url("**/users")
        await page.wait_for_load_state("load")
        await page.keyboard.press("/")
        await page.keyboard.type(user)
        await page.wait_for_function("() => document.querySelectorAll('main a.name').length === 1")
        await tab_to(page, f"one.textContent === '{user}'")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(f"h1:has-text('{user}')")
        await page.wait_for_load_state("load")
        await tab_to(page, "one.textContent.trim() === 'Disable'")
        await page.keyboard.press("Space")
        await page.wait_for_selector(".toast:has-text('is disabled.')")


async def test_a_menu_opens_closes_and_acts_by_keys(desk: Desk) -> None:
    async with desk.page() as page:
        await desk.sign_in(page)
        await page.keyboard.press("g")
        await page.keyboard.press("c")
        await page.wait_for_url("**/connections")
        await page.wait_for_load_state("load")
        await page.focus("#connections a.name")
        await tab_to(page, "one.hasAttribute('popovertarget')")
        opener = await page.evaluate("document.activeElement.getAttribute('popovertarget')")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".menu:popover-open")
        await page.keyboard.press("Escape")
        await page.wait_for_selector(".menu:popover-open", state="hidden")
        assert await page.evaluate("document.activeElement.getAttribute('popovertarget')") == opener
        await page.keyboard.press("Control+k")
        await page.wait_for_selector("#palette[open]")
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#palette[open]", state="detached")
        assert await page.evaluate("document.activeElement.getAttribute('popovertarget')") == opener


async def test_an_answer_that_comes_late_leaves_an_open_menu_alone(desk: Desk) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        asked.set()
        await go_on.wait()
        await route.continue_()

    async with desk.page() as page:
        await desk.sign_in(page)
        await page.goto(f"{BASE}/connections")
        await page.wait_for_selector("[data-live-state]:has-text('live')")
        await page.route("**/live/connections*", late)
        name = f"late-{secrets.token_hex(3)}"
        connection = await connect(desk.world, name)
        await asyncio.wait_for(asked.wait(), 20)
        await page.focus("#connections button[popovertarget]")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".menu:popover-open")
        go_on.set()
        await page.wait_for_selector("#connections[data-stale]")  # the answer has come, and was left out
        assert await page.locator(".menu:popover-open").count() == 1
        await page.keyboard.press("Escape")
        await page.focus("main")
        # A stream that a busy host has cut comes again within half a minute.
        await page.wait_for_selector(f"#connections tr:has-text('{name}')", timeout=60_000)
        connection.disconnect("")


async def test_rows_are_selected_opened_and_asked_about_by_keys(desk: Desk) -> None:
    async with desk.page() as page:
        await desk.sign_in(page)
        await page.goto(f"{BASE}/users")
        await page.wait_for_load_state("load")
        assert not await page.is_visible("#selected")
        await page.keyboard.press("j")
        await page.keyboard.press("x")
        await page.wait_for_selector("#selected:has-text('1 selected')")
        for _ in range(2):
            await page.keyboard.press("j")
        await page.keyboard.press("Shift+X")
        await page.wait_for_selector("#selected:has-text('3 selected')")
        assert await page.locator("tr[aria-selected=true]").count() == 3
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#selected", state="hidden")
        await page.keyboard.press("x")
        await tab_to(page, "one.textContent === 'Disable' && one.form.id === 'selected'")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".toast:has-text('1 account is disabled.')")
        await page.wait_for_load_state("load")
        await page.keyboard.press("j")
        name = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("e")
        await page.wait_for_selector(f"h1:has-text('{name}')")
        await page.goto(f"{BASE}/bans")
        await page.wait_for_load_state("load")
        await tab_to(page, "one.name === 'source'")
        await page.keyboard.press("y")
        await page.wait_for_url("**/explain/connect?ip=*")
        await page.wait_for_load_state("load")
        for theme in ("light", "dark", None):
            await page.keyboard.press("t")
            assert await page.get_attribute("html", "data-theme") == theme
        # In a field letters are text.
        await page.focus("[name=ip]")
        await page.keyboard.type("xt")
        assert await page.get_attribute("html", "data-theme") is None


# -- sessions that end ---------------------------------------------------------------------------------------


async def test_an_idle_session_is_told_before_it_ends_and_can_be_prolonged(desk: Desk) -> None:
    store = desk.world.app.provider.browser_sessions
    async with desk.page() as page:
        await page.clock.install()
        await desk.sign_in(page)
        row = await desk.session()
        now = int(time.time() * 1000)
        await store.use(row.id, seen_at=now, idle_until=now + 3 * MINUTE, ip=row.ip)
        await page.goto(f"{BASE}/new-user")
        await page.fill("[name=username]", "half-typed")
        await page.clock.run_for(50_000)
        assert await page.locator(".toast").count() == 0
        await page.clock.run_for(20_000)
        await page.wait_for_selector(".toast:has-text('Your session ends in 2 minutes.')")
        await store.use(row.id, seen_at=now - MINUTE, idle_until=now + 2 * MINUTE, ip=row.ip)
        await page.click("text=Stay signed in")
        await page.wait_for_selector(".toast", state="detached")
        assert (await desk.session()).idle_until > now + 5 * MINUTE
        await page.clock.run_for(60_000)
        assert await page.locator(".toast").count() == 0
        assert await page.input_value("[name=username]") == "half-typed"


async def test_a_browser_with_a_wrong_clock_is_told_in_time(desk: Desk) -> None:
    for minutes in (-90, 90):
        async with desk.page() as page:
            await page.clock.install(time=time.time() + 60 * minutes)
            await desk.sign_in(page)
            await page.goto(f"{BASE}/users")
            await page.clock.run_for(10_000)
            assert await page.locator(".toast").count() == 0
            await page.clock.run_for(18 * 60_000 + 5_000)
            await page.wait_for_selector(".toast:has-text('Your session ends in 2 minutes.')")


async def test_a_session_that_was_idle_leads_to_the_sign_in_and_back(desk: Desk) -> None:
    store = desk.world.app.provider.browser_sessions
    async with desk.page() as page:
        await desk.sign_in(page)
        await page.wait_for_selector("[data-live-state]:has-text('live')")
        row = await desk.session()
        now = int(time.time() * 1000)
        await store.use(row.id, seen_at=now, idle_until=now - 1, ip=row.ip)
        # What is live on the page ends too, and says so.
        await page.wait_for_selector("[data-live-state]:has-text('your session has ended')")
        await page.goto(f"{BASE}/users?q=granite")
        assert re.search(r"/login\?next=", page.url), page.url
        await page.fill("[name=name]", ADMIN)
        await page.fill("[name=password]", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/users?q=granite")
        assert await page.locator("a.name").count() == 1


async def test_no_use_keeps_a_session_beyond_its_last_moment(desk: Desk) -> None:
    store = desk.world.app.provider.browser_sessions
    async with desk.page() as page:
        await page.clock.install()
        await desk.sign_in(page)
        row = await desk.session()
        now = int(time.time() * 1000)
        await store.remove(row.id)
        await store.add(replace(row, expires_at=now + 3 * MINUTE))
        await page.goto(f"{BASE}/users")
        await page.clock.run_for(70_000)
        await page.wait_for_selector(".toast:has-text('cannot go on')")
        assert await page.locator("text=Stay signed in").count() == 0
        await page.clock.run_for(120_000)
        await page.wait_for_selector(".toast:has-text('Your session has ended.')")
        assert await page.get_attribute(".toast a", "href") == f"{BASE}/login"
        await store.remove(row.id)
        await store.add(replace(row, expires_at=now - 1))
        for path in ("/users", "/me", "/"):
            await page.goto(f"{BASE}{path}")
            assert "/login" in page.url
