# SPDX-License-Identifier: Apache-2.0
"""The pages in a real Chromium: set-up, a user who logs in with OpenSSH, a bar that moves, axe-core, narrow screens.

One server and one browser serve all tests; each test has a page of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright
from tests.support import kept_files
from tests.support.accounts import ED25519
from tests.support.doors import port_of, services_of
from tests.support.live_connections import Moving, connect
from tests.support.log_world import WrittenLog
from tests.support.needs import absent, program
from tests.support.ssh_world import SSH
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.accounts.actor import Actor, Channel
from tidegate.contracts.cluster import LockRequest
from tidegate.errors import AlreadyExists, Locked
from tidegate.events import kinds
from tidegate.identity.passwords import verify
from tidegate.model.action import Action
from tidegate.model.listed import ListKind
from tidegate.model.origin import Origin
from tidegate.store.deliveries import Delivery
from tidegate.store.documents import decode_account
from tidegate.web.admin.registry import all_pages

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("chromium")]

AXE: Final = Path(__file__).parent.parent / "support" / "axe" / "axe.min.js"
TAGS: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN_AXE: Final = "tags => axe.run({runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']})"
EVIL: Final = "<img src=x onerror=document.title='xss'>"
BASE: Final = "/web/admin"


@dataclass
class Desk:
    """A server, a browser, and an administrator who is signed in.

    Attributes:
        complaints: of the browser: refusals by the policy of the pages, errors of scripts.
    """

    world: WebWorld
    browser: Browser
    state: Any
    home: Path
    complaints: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def page(self, **options: Any) -> AsyncIterator[Page]:
        options = {"storage_state": self.state, "base_url": self.world.url, **options}
        context = await self.browser.new_context(**options)
        page = await self.watched(context)
        try:
            yield page
        except Exception as error:
            error.add_note(f"{page.url} shows: {(await page.content())[:4_000]}")
            raise
        finally:
            await context.close()

    async def watched(self, context: BrowserContext) -> Page:
        page = await context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: self.complaints.append(message.text) if message.type == "error" else None,
        )
        page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    chromium = program("chromium") or absent("chromium")
    home = tmp_path_factory.mktemp("pages")
    users = {"users_base_dir": str(home / "homes")}
    quarantine = {"quarantine": {"directory": str(home / "kept")}}
    kept_files.keep(home / "kept", f"/in/{'long' * 50}/{EVIL}", b"x", username="axe")
    log = WrittenLog(home / "tidegate.log")
    for event in story():
        log.event(event)
    async with (
        web_world(
            home, ssh=True, first=False, log=log.reader, data_provider=users, inspection=quarantine
        ) as world,
        async_playwright() as playwright,
    ):
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = Desk(world, browser, None, home)
        context = await browser.new_context(base_url=world.url)
        page = await made.watched(context)
        await page.goto("/")
        await page.fill("[name=code]", world.app.doors.setup_code())
        await page.fill("[name=name]", "mara")
        await page.fill("[name=password]", PASSWORD)
        await page.fill("[name=again]", PASSWORD)
        await page.click("button.go")
        await page.wait_for_selector("[data-verdict]")
        made.state = await context.storage_state()
        await context.close()
        yield made
        await browser.close()
        assert made.complaints == []


def story() -> Iterator[kinds.Event]:
    """Events of a connection `axe`."""
    came = Origin("axe", "", "SSH", "192.0.2.7", "192.0.2.1:22", "192.0.2.7:5000")
    at = replace(came, username="axe", protocol="SFTP", connection_id="axe_0")
    yield kinds.Connected(origin=came)
    yield kinds.LoggedIn(origin=replace(came, username="axe"), method="publickey", encrypted=True)
    yield kinds.Transferred(at, 0, Action.UPLOAD, "ok", f"/in/{'long' * 60}/{EVIL}", "", 5_000_000, 2.0)
    yield kinds.Refused(
        origin=at, intent="upload", virtual_path="/out/x", rule="permissions[/out]", text=EVIL
    )


async def add(desk: Desk, name: str, **more: Any) -> None:
    """An account with a key, unless another test has added it."""
    with contextlib.suppress(AlreadyExists):
        document = desk.world.user(name, public_keys=[ED25519], **more)
        await desk.world.app.provider.add_user(decode_account(document))


@pytest.mark.needs("scp", "ssh-keygen")
async def test_a_user_made_in_the_browser_uploads_and_the_bar_moves(desk: Desk, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=20)
    source = tmp_path / "big.bin"
    with source.open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    async with desk.page() as page:
        await page.goto(f"{BASE}/new-user")
        await page.fill("[name=username]", "granite-bank")
        await page.fill("[name=new_keys]", key.with_suffix(".pub").read_text())
        await page.fill("[name=upload_speed]", "1500")
        await page.locator("[name=new_keys]").blur()
        await page.wait_for_selector("p.fine.ok:has-text('SHA256:')")
        await page.click(".savebar .go")
        await page.wait_for_selector(".toast:has-text('granite-bank is added.')")
        await page.goto(f"{BASE}/")
        command = [
            "scp", "-O", *SSH, "-o", "IdentitiesOnly=yes", "-i", str(key), "-P", str(port_of(desk.world.app)),
            str(source), "granite-bank@127.0.0.1:/big.bin",
        ]  # fmt: skip
        upload = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await page.wait_for_selector("[data-rows] progress")
            row = page.locator("[data-rows] tr", has_text="granite-bank")
            assert "/big.bin" in (await row.inner_text())
            bar = row.locator("progress")
            first = float(await bar.evaluate("one => one.value"))
            await page.wait_for_function(
                "first => document.querySelector('[data-rows] progress')?.value > first", arg=first
            )
            await page.click("a.card:has-text('Sessions')")
            row = page.locator("#connections tr", has_text="granite-bank")
            text = await row.inner_text()
            assert re.search(r"OpenSSH.*SCP.*(aes|chacha).*/big.bin.*B/s", text, re.DOTALL), text
            await page.wait_for_selector("[data-live-state]:has-text('live')")
            await row.locator("button[popovertarget]").click()
            await page.click(".menu:popover-open :text('Close this one')")
            await page.wait_for_selector(".toast:has-text('The connection of granite-bank is closed.')")
            assert await asyncio.wait_for(upload.wait(), 15) != 0
            await page.goto(f"{BASE}/")
        finally:
            if upload.returncode is None:
                upload.kill()
                await upload.wait()
        # It would have taken a minute; that it was cut off shows on the dashboard as well.
        await page.wait_for_selector("[data-none]:not([hidden])")


async def test_names_of_others_run_nothing(desk: Desk) -> None:
    account = desk.world.user(
        f"u{EVIL}", email=EVIL, description=EVIL, permissions={"/": ["*"], f"/{EVIL}": ["list"]}
    )
    await desk.world.app.provider.add_user(decode_account(account))
    async with desk.page() as page:
        for path in ("/", "/users", f"/users?q={EVIL}"):
            await page.goto(f"{BASE}{path}")
            assert "xss" not in await page.title()
            assert await page.locator("img").count() == 0
        await page.click("a.name:has-text('img')")
        assert await page.input_value("[name=email]") == EVIL
        assert await page.locator("img").count() == 0
        await page.keyboard.press("Control+k")
        await page.keyboard.type("u<img")
        await page.wait_for_selector("#palette[open]")
        assert await page.locator("img").count() == 0


async def test_refusals_and_the_verdict_are_live(desk: Desk) -> None:
    async with desk.page() as page, desk.world.anonymous() as client:
        await page.goto(f"{BASE}/")
        await page.wait_for_selector("[data-live-state]:has-text('live')")
        await client.post(f"{BASE}/login", data={"name": "nobody-at-all", "password": "x"})
        await page.wait_for_selector("#refusals :text('nobody-at-all')")
        await page.click("[data-hold]")
        await page.wait_for_selector("[data-live-state]:has-text('held')")


async def test_keys_theme_and_palette(desk: Desk) -> None:
    await add(desk, "somebody")
    async with desk.page() as page:
        await page.goto(f"{BASE}/")
        await page.keyboard.press("g")
        await page.keyboard.press("u")
        await page.wait_for_url("**/users")
        await page.wait_for_load_state("load")  # the scripts of the page are deferred
        await page.keyboard.press("/")
        assert await page.evaluate("document.activeElement.name") == "q"
        await page.click("[data-theme-set=dark]")
        await page.reload()
        assert await page.get_attribute("html", "data-theme") == "dark"
        # Who types by speech switches letters off; the command palette stays.
        await page.keyboard.press("?")
        await page.wait_for_selector("#keys")
        await page.uncheck("[data-keys]")
        await page.locator("[data-keys]").blur()
        await page.keyboard.press("g")
        await page.keyboard.press("u")
        await page.keyboard.press("/")
        assert page.url.endswith("/me#keys")
        await page.reload()
        assert not await page.is_checked("[data-keys]")
        await page.check("[data-keys]")
        await page.locator("[data-keys]").blur()
        await page.keyboard.press("g")
        await page.keyboard.press("u")
        await page.wait_for_url("**/users")
        await page.wait_for_load_state("load")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("dash")
        await page.wait_for_selector("[role=option]:has-text('Dashboard')")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("[data-verdict]")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("@some")
        await page.wait_for_selector("[role=option][aria-selected=true]:has-text('somebody')")
        await page.keyboard.press("Enter")
        await page.wait_for_selector("h1:has-text('somebody')")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("add a role")
        await page.wait_for_selector("[role=option][aria-selected=true]:has-text('Add a role')")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/new-role")


async def test_search_finds_while_one_types_and_the_form_says_what_is_wrong(desk: Desk) -> None:
    await add(desk, "alder")
    await add(desk, "birch")
    async with desk.page() as page:
        await page.goto(f"{BASE}/users")
        await page.fill("[name=q]", "BIRC")
        await page.wait_for_function("() => document.querySelectorAll('#accounts a.name').length === 1")
        await page.click("#accounts a.name")
        await page.fill("[name=space]", "a lot")
        await page.locator("[name=space]").blur()
        await page.wait_for_selector("#e-space")
        assert await page.get_attribute("[name=space]", "aria-invalid") == "true"
        await page.fill("[name=space]", "5 GB")
        await page.locator("[name=space]").blur()
        await page.wait_for_selector("#e-space", state="detached")
        assert await page.inner_text("[data-changes]") == "1 change"
        await page.keyboard.press("Control+s")
        await page.wait_for_selector(".toast:has-text('birch is saved: space.')")
        await page.check("[data-kind=sftp]")
        await page.fill("[name=sftp_endpoint]", "127.0.0.1:1")
        await page.fill("[name=sftp_username]", "u")
        await page.fill("[name=sftp_password]", "p")
        await page.click("[data-try]")
        await page.wait_for_selector("[data-tried].now")


async def test_of_two_who_edit_one_account_the_second_is_told_and_nothing_is_lost(desk: Desk) -> None:
    await add(desk, "cedar")
    async with desk.page() as first, desk.page() as second:
        for page in (first, second):
            await page.goto(f"{BASE}/users/cedar")
        await first.fill("[name=email]", "first@example.org")
        await first.fill("[name=files]", "7")
        await first.click(".savebar .go")
        await first.wait_for_selector(".toast:has-text('cedar is saved')")
        await second.fill("[name=email]", "second@example.org")
        await second.fill("[name=description]", "typed by the second")
        await second.click(".savebar .go")
        await second.wait_for_selector("text=Somebody else has saved this account")
        # The status of that answer, which the browser tells as an error.
        desk.complaints[:] = [one for one in desk.complaints if "409 (Conflict)" not in one]
        assert "first@example.org" in await second.inner_text("main")
        assert await second.input_value("[name=description]") == "typed by the second"
        await second.click(".savebar .go")
        await second.wait_for_selector(".toast:has-text('cedar is saved')")
    account = await desk.world.app.provider.user("cedar")
    assert account is not None
    assert (account.email, account.description, account.quota_files) == (
        "second@example.org", "typed by the second", 7,
    )  # fmt: skip


PATHS: Final = [
    *(page.path for page in all_pages() if page.nav is not None),
    "/new-user", "/many-users", "/users/axe", "/users/axe/delete", "/users?q=nobody-is-called-that", "/me", "/me/codes",
    "/groups/axe", "/roles/axe/delete", "/new-folder", "/groups?q=nothing", "/admins/mara", "/new-api-key",
    "/rules/axe", "/deliveries/drop", "/lists?list=defender", "/bans?q=nothing", "/connections/c-axe-0",
    "/quarantine?q=nothing", f"/quarantine/{kept_files.ID}", "/moves?kind=user&name=axe", "/usage?kind=user&name=axe", "/locks?q=nothing",
    "/maintenance/restore/axe", "/config?only=&q=port", "/config?q=nothing-is-called-that", "/explain?user=axe&op=upload&path=/x", "/explain/connect?ip=192.0.2.7",
]  # fmt: skip


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
async def test_axe_finds_nothing_and_no_page_scrolls_sideways(desk: Desk, scheme: Any, width: int) -> None:
    await add(desk, "axe", quota_size=100)
    by = Actor(name="test", channel=Channel.PAGE, permissions=frozenset("*"))
    administration = services_of(desk.world.app).administration
    for verbs in (administration.groups, administration.roles):
        with contextlib.suppress(AlreadyExists):
            await verbs.add({"name": "axe"}, by=by)
    config = {"endpoint": "http://127.0.0.1:1/", "method": "POST", "timeout": 10}
    uses = [{"name": "axe", "order": 1}]
    with contextlib.suppress(AlreadyExists):
        await administration.event_actions.add(
            {"name": "axe", "type": 1, "options": {"http_config": config}}, by=by
        )
        await administration.event_rules.add(
            {"name": "axe", "status": 0, "trigger": 6, "conditions": {}, "actions": uses}, by=by
        )
        row = Delivery(id="axe", rule="axe", facts="{}", state="dead", error="it is axed", created_at=1)
        await desk.world.app.provider.deliveries.add([row])
    for kind in ListKind:
        with contextlib.suppress(AlreadyExists):
            await administration.lists.add({"type": int(kind), "ipornet": "192.0.2.7"}, by=by)
    await services_of(desk.world.app).defence.refresh()  # type: ignore[union-attr]
    wanted = LockRequest(
        place="s:/axe", account="axe", path=f"/in/{'long' * 50}/{EVIL}", owner=EVIL, seconds=600
    )
    with contextlib.suppress(Locked):
        await services_of(desk.world.app).sessions.locks.acquire(wanted)
    held = await preview(desk, {"users": [desk.world.user("axe"), desk.world.user("new")]})
    connection = await connect(desk.world, "axe")
    connection.transfers.add(Moving("/in/axe.bin", 100))
    source = AXE.read_text(encoding="utf-8")
    found: list[str] = []
    async with desk.page(color_scheme=scheme, viewport={"width": width, "height": 900}) as page:
        for index, path in enumerate(PATHS):
            path = path.replace("restore/axe", f"restore/{held}")
            await page.goto(f"{BASE}{path}", wait_until="domcontentloaded")
            # Each page is looked at once, and every second one both ways: they are made of the same parts.
            if width > 1000 or index % 2:
                await page.evaluate(source)
                result = await page.evaluate(RUN_AXE, TAGS)
                found += [
                    f"{path}: {one['id']}: {one['nodes'][0]['html'][:200]}" for one in result["violations"]
                ]
            if width < 1000:
                await page.set_viewport_size({"width": 320, "height": 900})
                wide = await page.evaluate("() => document.documentElement.scrollWidth")
                found += [f"{path} is {wide} wide on a screen of 320"] if wide > 320 else []
                await page.set_viewport_size({"width": width, "height": 900})
    connection.disconnect("")
    assert found == []


async def preview(desk: Desk, dump: dict[str, Any]) -> str:
    """The id of a dump that was looked at."""
    async with desk.page() as page:
        await page.goto(f"{BASE}/maintenance")
        content = json.dumps(dump).encode()
        await page.set_input_files(
            "[name=dump]", {"name": "axe.json", "mimeType": "application/json", "buffer": content}
        )
        await page.click("text=Look at what would change")
        await page.wait_for_selector("[name=changes]")
        return page.url.rpartition("/")[2]


async def test_a_dump_is_downloaded_looked_at_and_restored(desk: Desk, tmp_path: Path) -> None:
    await add(desk, "willow", email="willow@example.org")
    async with desk.page(accept_downloads=True) as page:
        await page.goto(f"{BASE}/")
        await page.keyboard.press("g")
        await page.keyboard.press("m")
        await page.wait_for_selector("h1:has-text('Backup and restore')")
        await page.get_by_label("Administrators").uncheck()
        async with page.expect_download() as coming:
            await page.click("button:has-text('Download')")
        download = await coming.value
        assert re.fullmatch(r"tidegate-\d{8}T\d{6}Z\.json", download.suggested_filename)
        file = tmp_path / "dump.json"
        await download.save_as(file)
        await desk.world.app.provider.delete_user("willow")
        await page.set_input_files("[name=dump]", file)
        await page.click("text=Look at what would change")
        await page.wait_for_selector(".verdict:has-text('would change')")
        await page.click("summary:has-text('Names of users')")
        await page.wait_for_selector("li:has-text('willow') :text('added')")
        number = await page.get_attribute("[name=changes]", "aria-describedby") or ""
        await page.fill("[name=changes]", re.findall(r"\d+", await page.inner_text(f"#{number}"))[0])
        await page.click("button.stop.go:has-text('Restore')")
        await page.wait_for_selector(".verdict:has-text('The dump is restored.')")
        await page.goto(f"{BASE}/users/willow")
        assert await page.input_value("[name=email]") == "willow@example.org"


async def test_the_sign_in_page_passes_axe_and_works_without_script(desk: Desk) -> None:
    await add(desk, "somebody")  # without any account the page has nothing to search
    async with desk.page(storage_state=None, java_script_enabled=False) as page:
        await page.goto("/")
        await page.fill("[name=name]", "mara")
        await page.fill("[name=password]", PASSWORD)
        await page.click("button.go")
        await page.wait_for_selector("[data-verdict]")
        await page.goto(f"{BASE}/users")
        await page.fill("[name=q]", "nobody")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/users?q=nobody*")
    async with desk.page(storage_state=None) as page:
        await page.goto(f"{BASE}/login")
        await page.evaluate(AXE.read_text(encoding="utf-8"))
        result = await page.evaluate(RUN_AXE, TAGS)
        assert [one["id"] for one in result["violations"]] == []


async def axed(page: Page) -> list[str]:
    await page.evaluate(AXE.read_text(encoding="utf-8"))
    result = await page.evaluate(RUN_AXE, TAGS)
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in result["violations"]]


async def test_many_users_come_from_a_file(desk: Desk) -> None:
    table = "username;permissions;email\r\nmany-1;/:list,download|/in:upload;\r\nmany-2;/:fly;\r\n"
    async with desk.page() as page:
        await page.goto(f"{BASE}/users")
        await page.click("text=Many users")
        file = {"name": "users.csv", "mimeType": "text/csv", "buffer": table.encode()}
        await page.set_input_files("[name=file]", [file])  # type: ignore[list-item]
        await page.click("button:has-text('Look at what would be added')")
        await page.wait_for_selector("text=1 mistake.")
        assert "fly" in await page.inner_text("table")
        assert await axed(page) == []
        await page.fill("[name=text]", (await page.input_value("[name=text]")).replace("fly", "list"))
        await page.click("button:has-text('Look again')")
        await page.wait_for_selector("text=2 users would be added.")
        assert await axed(page) == []
        await page.click("button:has-text('Add 2 users')")
        await page.wait_for_selector("text=2 users are added.")
        assert await axed(page) == []
        async with page.expect_download() as coming:
            await page.click("text=Download the passwords")
        saved = (await (await coming.value).path()).read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in saved] == ["username", "many-1", "many-2"]
    made = await desk.world.app.provider.user("many-2")
    assert made is not None
    assert verify(saved[2].partition(",")[2], made.password)
