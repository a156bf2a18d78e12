# SPDX-License-Identifier: Apache-2.0
"""Passkeys in a real Chromium with its virtual authenticator: added, after the password, instead of it, by keyboard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Page, async_playwright
from tests.support.needs import absent, program
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, web_world

from tidegate.policy.passkeys import passkeys_of

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("chromium")]

BASE: Final = "/web/admin"
DEVICE: Final = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


COUNTED: Final = """
window.asked = 0;
const get = navigator.credentials?.get.bind(navigator.credentials);
if (get) navigator.credentials.get = (options) => { window.asked += 1; return get(options); };
"""
"""Counts what a page asks of authenticators."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    path = program("chromium") or absent("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        await browser.close()


@contextlib.asynccontextmanager
async def opened(
    chromium: Browser, world: WebWorld, *, host: str = "localhost", scripts: bool = True
) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of a browser that has never been here, and its complaints."""
    base, complaints = world.url.replace("127.0.0.1", host), list[str]()
    context = await chromium.new_context(base_url=base, java_script_enabled=scripts)
    page = await context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.add_init_script(COUNTED)
    try:
        yield page, complaints
        assert complaints == []
    finally:
        await context.close()


async def plugged_in(page: Page) -> tuple[CDPSession, str]:
    """An authenticator of the page's browser."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("WebAuthn.enable")
    made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    return devtools, str(made["authenticatorId"])


async def credentials(devtools: CDPSession, device: str) -> list[dict[str, Any]]:
    found = await devtools.send("WebAuthn.getCredentials", {"authenticatorId": device})
    return list(found["credentials"])


async def give_password(page: Page) -> None:
    await page.goto(f"{BASE}/login")
    await page.fill("[name=name]", ADMIN)
    await page.fill("[name=password]", PASSWORD)
    async with page.expect_navigation():
        await page.click("text=Continue")


async def sign_out(page: Page) -> None:
    await page.click("[aria-label='Sign out']")
    await page.wait_for_selector("h1:has-text('Sign in to')")


async def touched(devtools: CDPSession, device: str, enabled: bool) -> None:
    """Have somebody touch the authenticator as soon as it is asked, or not. Chromium then also takes a passkey that
    it may offer, as if a person had chosen it; an offer that waits already is left to wait."""
    words = {"authenticatorId": device, "enabled": enabled}
    await devtools.send("WebAuthn.setAutomaticPresenceSimulation", words)


async def test_a_passkey_is_added_and_signs_in_both_ways(chromium: Browser, tmp_path: Path) -> None:
    async with web_world(tmp_path) as world, opened(chromium, world) as (page, _):
        devtools, device = await plugged_in(page)
        await give_password(page)
        await page.goto(f"{BASE}/me")
        add = page.locator("form[data-passkey=create]")
        await add.locator("[name=name]").fill("laptop")
        await add.locator("[name=current_password]").fill("wrong")
        await add.get_by_role("button", name="Add a passkey").click()
        await page.wait_for_selector("[data-passkey-error]:has-text('That is not your password.')")
        await add.locator("[name=current_password]").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_selector("text=These codes are shown only now.")
        (made,) = await credentials(devtools, device)
        assert (made["rpId"], made["isResidentCredential"]) == ("localhost", True)
        held = passkeys_of((await world.app.provider.admin(ADMIN)).filters)  # type: ignore[union-attr]
        assert [one.name for one in held.keys] == ["laptop"]

        await page.goto(f"{BASE}/me")
        assert await page.locator("#passkeys tbody td").first.inner_text() == "laptop"
        await page.check("text=Passkeys sign in without name and password")
        await page.fill("#f-alone", PASSWORD)
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".toast:has-text('Your passkeys sign in by themselves.')")

        await touched(devtools, device, False)
        await sign_out(page)
        await give_password(page)
        await page.wait_for_selector("h1:has-text('Passkey')")
        await touched(devtools, device, True)
        await page.get_by_role("button", name="Use the passkey").focus()
        await page.keyboard.press("Enter")
        await page.wait_for_selector("[data-verdict]")

        await touched(devtools, device, False)
        await sign_out(page)
        async with page.expect_response("**/login/passkey/offer/begin") as offer:
            await page.goto(f"{BASE}/login?next={BASE}/users")
        assert (await offer.value).status == 200
        await page.wait_for_function("() => window.asked === 1")
        await touched(devtools, device, True)
        await page.get_by_role("button", name="Sign in with a passkey").focus()
        await page.keyboard.press("Space")
        await page.wait_for_url(lambda url: url.endswith(f"{BASE}/users") and "login" not in url)
        await page.goto(f"{BASE}/me")
        methods = await page.locator("section[aria-labelledby=s-h] td.off").all_inner_texts()
        assert "passkey" in methods
        counts = [one["signCount"] for one in await credentials(devtools, device)]
        held = passkeys_of((await world.app.provider.admin(ADMIN)).filters)  # type: ignore[union-attr]
        assert [one.sign_count for one in held.keys] == counts

        # Who looks at the page is offered the passkey, and who takes it is in.
        async with page.expect_request(lambda one: one.url.endswith("/login/passkey/offer")):
            await page.click("[aria-label='Sign out']")
        await page.wait_for_selector("[data-verdict]")
        counts = [one["signCount"] for one in await credentials(devtools, device)]
        held = passkeys_of((await world.app.provider.admin(ADMIN)).filters)  # type: ignore[union-attr]
        assert [one.sign_count for one in held.keys] == counts

        # Somebody whom the authenticator does not know gets no signature out of it.
        await devtools.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await page.wait_for_selector("[data-passkey-error]:has-text('it took too long, or was cancelled')")


@pytest.mark.parametrize(
    "lack", ["a browser that offers none", "a server that is asked too often", "a passkey"]
)
async def test_where_nothing_is_offered_the_page_works_as_ever(
    chromium: Browser, tmp_path: Path, lack: str
) -> None:
    async with web_world(tmp_path) as world, opened(chromium, world) as (page, complaints):
        errors: list[str] = []
        page.on("console", lambda one: errors.append(one.text) if one.type == "error" else None)
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url) if "/offer" in one.url else None)
        await plugged_in(page)
        if lack == "a browser that offers none":
            await page.add_init_script("delete PublicKeyCredential.isConditionalMediationAvailable")
        elif lack == "a server that is asked too often":
            await page.route("**/login/passkey/offer/begin", lambda route: route.fulfill(status=204))
        await page.goto(f"{BASE}/login")
        name = page.locator("[name=name]")
        assert await name.get_attribute("autocomplete") == "username webauthn"
        await page.click("text=Sign in with a passkey")  # there is none, and the button alone says so
        await page.wait_for_selector("[data-passkey-error]:has-text('Nothing was done')")
        await give_password(page)
        await page.wait_for_selector("[data-verdict]")
        assert bool(asked) == (lack != "a browser that offers none")
        assert (errors, complaints) == ([], [])


async def test_pages_by_an_ip_address_and_without_scripts_say_why(chromium: Browser, tmp_path: Path) -> None:
    async with web_world(tmp_path) as world:
        async with opened(chromium, world, host="127.0.0.1") as (page, _):
            await page.goto(f"{BASE}/login")
            await page.get_by_role("button", name="Sign in with a passkey").click()
            await page.wait_for_selector(
                "[data-passkey-error]:has-text('opened by an IP address (127.0.0.1)')"
            )
            await give_password(page)
            await page.goto(f"{BASE}/me")
            assert "opened by an IP address (127.0.0.1)" in await page.inner_text("#passkeys")
        async with opened(chromium, world, scripts=False) as (page, _):
            await page.goto(f"{BASE}/login")
            assert await page.locator("text=Sign in with a passkey").is_hidden()
            assert "needs a browser that runs scripts" in await page.inner_text("main")
            await give_password(page)
            await page.goto(f"{BASE}/me")
            assert "Adding one needs a browser that runs scripts." in await page.inner_text("#passkeys")
