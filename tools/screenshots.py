# SPDX-License-Identifier: Apache-2.0
"""Take a picture of every page of the web admin, light and dark, and write the page of docs that has them.

python -m tools.screenshots [NAME...]

With names only those pictures of single pages are taken; the others stay as they are.

A server of its own is filled with records and connections, and looked at with the browser of the tests
(Chromium). Pictures are WebP, so that all of them stay small in the repository.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, async_playwright
from tests.support import kept_files
from tests.support.certificates import certificate
from tests.support.doors import services_of
from tests.support.live_connections import Moving, connect
from tests.support.log_world import WrittenLog
from tests.support.needs import program
from tests.support.ports import free_port
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate.accounts.actor import Actor, Channel
from tidegate.contracts.cluster import LockRequest
from tidegate.events import kinds
from tidegate.model.action import Action
from tidegate.model.listed import ListKind
from tidegate.model.origin import Origin
from tidegate.relocation.move import Wish
from tidegate.store.deliveries import Delivery
from tidegate.web.admin.registry import GROUPS, all_pages

ROOT: Final = Path(__file__).resolve().parent.parent
PICTURES: Final = ROOT / "docs" / "pictures"
TEXT: Final = ROOT / "docs" / "reference" / "web-admin.md"
SIZE: Final = {"width": 1280, "height": 800}
QUALITY: Final = 62
SCHEMES: Final = ("light", "dark")
SETTLE_MS: Final = 700
NAMES: Final = ("granite-bank", "harbour-freight", "mill-street-clinic", "north-archive", "orchard")


@dataclass(frozen=True, slots=True)
class Shot:
    """One page to take a picture of.

    Attributes:
        name: of the file.
        title: above the picture.
        path: below ``/web/admin``.
    """

    name: str
    title: str
    path: str


MORE: Final = (
    Shot("user", "A user", "/users/granite-bank"),
    Shot(
        "why-refused",
        "Why? A refusal",
        "/explain?user=granite-bank&op=upload&path=/reports/x.csv",
    ),
    Shot("story", "The story of a connection", "/logs/connections/granite-1"),
    Shot("event-rule", "An event rule", "/rules/tell-the-warehouse"),
    Shot("me", "Your own page", "/me"),
    Shot("new-user", "A new user", "/new-user"),
    Shot("many-users", "Many users at once", "/many-users"),
    Shot("codes", "One-time codes", "/me/codes"),
    Shot("folder", "A folder", "/new-folder"),
    Shot("admin", "An administrator", "/admins/boss"),
    Shot("api-key", "An API key", "/new-api-key"),
    Shot("connection", "A connection", "/connections/c-granite-bank-0"),
    Shot("group", "A group", "/groups/banks"),
    Shot("role", "A role", "/roles/east"),
    Shot("action", "An action of event rules", "/actions/ask-the-warehouse"),
    Shot("delete", "Deleting a user", "/users/orchard/delete"),
    Shot("quarantine-file", "A file in quarantine", f"/quarantine/{kept_files.ID}"),
    Shot("move", "A storage move", "/moves/user/north-archive"),
    Shot("usage", "Usage, set by hand", "/usage?kind=user&name=granite-bank"),
)
"""Pages that are not in the navigation."""
ALIKE: Final = {
    **dict.fromkeys(
        ("/new-action", "/new-admin", "/new-group", "/new-role", "/new-rule"), "the form of one that is there"
    ),
    **dict.fromkeys(("/folders/{name:path}", "/api-keys/{name:path}"), "the form for a new one"),
    **dict.fromkeys(
        (
            "/api-keys/{name:path}/delete", "/actions/{name:path}/delete", "/folders/{name:path}/delete",
            "/admins/{name:path}/delete", "/groups/{name:path}/delete", "/roles/{name:path}/delete",
            "/rules/{name:path}/delete",
        ),
        "the question that a user's deletion asks",
    ),
    "/deliveries/drop": "a question with two buttons",
    "/login/code": "the sign-in with one field",
    "/many-users/work/{id}": "a bar for a moment",
    "/many-users/sample.csv": "a file",
    "/logs/export": "a file",
    "/lists/csv": "a file",
    "/find": "what the command palette asks",
}  # fmt: skip
"""Paths without a picture, and why."""
TABLE: Final = "username;permissions;quota_size\nacme;/:list,download|/in:upload;10 GB\nharbour;;\n"
ACTED: Final = (
    Shot("many-users-preview", "Many users at once: what would be added", "/many-users/preview"),
    Shot("restore", "Restoring a dump: what would change", "/maintenance/restore/night"),
)
"""Pages that follow from a form."""
OUTSIDE: Final = (Shot("login", "Sign in", "/login"), Shot("setup", "The first set-up", "/setup"))
"""Pages before the sign-in; the last one is of a server that nobody has set up."""


def shots() -> list[Shot]:
    """Every page of the navigation in its order, then `MORE`."""
    pages = [page for page in all_pages() if page.nav is not None]
    pages.sort(key=lambda one: (GROUPS.index(one.nav.group), one.nav.order))  # type: ignore[union-attr]
    found = [
        Shot(one.path.strip("/").replace("/", "-") or "dashboard", one.nav.label, one.path)  # type: ignore[union-attr]
        for one in pages
    ]
    return [*found, *MORE]


def every_shot() -> list[Shot]:
    """Those of `shots`, then those that take more than opening them."""
    return [*shots(), *ACTED, *OUTSIDE]


@contextlib.asynccontextmanager
async def world_of(home: Path) -> AsyncIterator[WebWorld]:
    """A server with records of every kind, connections and refusals."""
    certificate(home, "files.example.org")
    log = WrittenLog(home / "tidegate.log")
    for event in story():
        log.event(event)
    tls = {"certificate_file": "cert.pem", "certificate_key_file": "key.pem"}
    async with web_world(
        home,
        ssh=True,
        written=True,
        log=log.reader,
        first=True,
        data_provider={"users_base_dir": str(home / "homes")},
        ftpd={"bindings": [{"port": free_port(), "address": "127.0.0.1", "tls_mode": 1, **tls}]},
        common={"defender": {"enabled": True}},
        inspection={"quarantine": {"directory": str(home / "kept")}},
    ) as world:
        await fill(world)
        yield world


def story() -> Iterator[kinds.Event]:
    """Events of one connection."""
    came = Origin("granite-1", "", "SSH", "192.0.2.10", "192.0.2.1:22", "192.0.2.10:50122")
    at = replace(came, username="granite-bank", protocol="SFTP", connection_id="granite-1_0")
    who = replace(came, username="granite-bank")
    yield kinds.Connected(origin=came)
    yield kinds.LoginFailed(origin=who, login_type="password", reason="bad_credential")
    client = "SSH-2.0-OpenSSH_9.6"
    yield kinds.LoggedIn(origin=who, method="publickey", client_version=client, encrypted=True)
    yield kinds.Transferred(at, 0, Action.UPLOAD, "ok", "/in/statement.csv", "", 2_400_000, 2.0)
    yield kinds.Refused(
        origin=at,
        intent="upload",
        virtual_path="/reports/x.csv",
        rule="permissions[/reports]",
        text="permission: upload on /reports",
    )
    yield kinds.Disconnected(origin=who, duration=306, client_version=client)


async def fill(world: WebWorld) -> None:
    """Add what the pages show."""
    services, provider = services_of(world.app), world.app.provider
    administration = services.administration
    by = Actor(name="boss", channel=Channel.PAGE, permissions=frozenset("*"))
    await administration.roles.add({"name": "east", "description": "Partners of the eastern office"}, by=by)
    await administration.groups.add({"name": "banks", "description": "Banks that deliver daily"}, by=by)
    homes = world.home / "homes"
    folder = {"name": "reports", "mapped_path": str(homes / "reports"), "description": "Read by all banks"}
    await administration.folders.add(folder, by=by)
    for number, name in enumerate(NAMES):
        user: dict[str, Any] = {
            "username": name,
            "email": f"it@{name}.example",
            "home_dir": str(homes / name),
            "status": 0 if name == "orchard" else 1,
            "quota_size": 50_000_000_000,
            "permissions": {"/": ["*"], "/reports": ["list", "download"]},
            "groups": [{"name": "banks", "type": 1}] if "bank" in name else [],
        }
        await administration.users.add(user, by=by, password=PASSWORD)
        await services.sessions.set_usage(name, size=9_000_000_000 * (number + 1), files=120 * (number + 1))
    admin = {"username": "nora", "permissions": ["view_users", "view_conns"], "status": 1}
    await administration.admins.add(admin, by=by, password=PASSWORD)
    config = {"endpoint": "https://warehouse.example.org/arrived", "method": "POST", "timeout": 10}
    action = {"name": "ask-the-warehouse", "type": 1, "options": {"http_config": config}}
    await administration.event_actions.add(action, by=by)
    rule = {
        "name": "tell-the-warehouse",
        "description": "The warehouse fetches what has arrived",
        "status": 1,
        "trigger": 1,
        "conditions": {"fs_events": ["upload"]},
        "actions": [{"name": "ask-the-warehouse", "order": 1}],
    }
    await administration.event_rules.add(rule, by=by)
    lost = Delivery(
        id="one",
        rule="tell-the-warehouse",
        facts="{}",
        state="dead",
        error="warehouse.example.org: connection refused",
        created_at=int(time.time() * 1000) - 3_600_000,
    )
    await provider.deliveries.add([lost])
    for kind, network in ((ListKind.BAN, "203.0.113.77"), (ListKind.ALLOW, "192.0.2.0/24")):
        entry = {"type": int(kind), "ipornet": network, "description": "tries names one after the other"}
        await administration.lists.add(entry, by=by)
    if services.defence is not None:
        await services.defence.refresh()
    document = {"name": "nightly report", "scope": 1, "admin": "boss"}
    key = await world.client.post("/api/v2/apikeys", json=document)
    key.raise_for_status()
    (homes / "granite-bank").mkdir(parents=True, exist_ok=True)
    (homes / "granite-bank" / "statement.csv").write_bytes(b"x" * 48_231)
    await services.sessions.scans.start_user("granite-bank")
    await move_files(world, "north-archive", by)
    kept_files.keep(world.home / "kept", "/in/invoice.xls", b"x" * 48_231, username="mill-street-clinic")
    lock = LockRequest(
        place="s:/plan",
        account="harbour-freight",
        path="/plans/loading.xlsx",
        owner="Excel of Petra",
        seconds=600,
    )
    await services.sessions.locks.acquire(lock)
    backup = await world.client.get("/api/v2/dumpdata", params={"output-file": "nightly.json"})
    backup.raise_for_status()


async def move_files(world: WebWorld, name: str, by: Actor) -> None:
    """Put the home of an account into another directory."""
    old, new = world.home / "homes" / name, world.home / "homes" / "large-disk" / name
    old.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        (old / f"{1990 + number}.tar").write_bytes(b"x" * 100_000)
    moves = services_of(world.app).moves()
    started = await moves.start("user", name, Wish(document={"home_dir": str(new)}), by=by)
    assert started.task is not None
    await asyncio.wait((started.task,))


async def move(world: WebWorld) -> None:
    """Connections, of which some transfer something."""
    for number, name in enumerate(NAMES[:4]):
        peer = {"remote_ip": f"192.0.2.{10 + number}", "client_version": "SSH-2.0-OpenSSH_9.6"}
        connection = await connect(world, name, **peer)
        if number < 3:
            moving = Moving(f"/in/statement-{number}.csv", 900_000_000)
            moving.size = 200_000_000 * (number + 1)
            connection.transfers.add(moving)


async def signed_in(browser: Browser, world: WebWorld, scheme: Any) -> Page:
    """A page of an administrator, after one login that was refused."""
    context = await browser.new_context(
        base_url=world.url, color_scheme=scheme, viewport=SIZE, reduced_motion="reduce"
    )
    page = await context.new_page()
    for name, password in (("root", "toor"), ("boss", PASSWORD)):
        await page.goto("/web/admin/login")
        await page.fill("[name=name]", name)
        await page.fill("[name=password]", password)
        await page.click("button.go")
    await page.wait_for_selector("[data-verdict]")
    return page


async def picture(page: Page, target: Path) -> None:
    """Take one picture of what the page shows without scrolling."""
    await page.wait_for_timeout(SETTLE_MS)  # figures that are live have come
    session = await page.context.new_cdp_session(page)
    taken = await session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    await session.detach()
    target.write_bytes(base64.b64decode(taken["data"]))


async def act(page: Page, scheme: str) -> None:
    """Take pictures of pages that follow from a form."""
    await page.goto("/web/admin/many-users")
    await page.fill("[name=text]", TABLE)
    await page.click("button:has-text('Look at what would be added')")
    await page.wait_for_selector("text=2 users would be added.")
    await picture(page, PICTURES / f"many-users-preview-{scheme}.webp")
    await page.goto("/web/admin/maintenance")
    names = (*NAMES[:2], "willow")
    users = [{"username": one, "home_dir": f"/srv/{one}", "permissions": {"/": ["*"]}} for one in names]
    dump = json.dumps({"users": users}).encode()
    file: Any = {"name": "night.json", "mimeType": "application/json", "buffer": dump}
    await page.set_input_files("[name=dump]", file)
    await page.click("text=Look at what would change")
    await page.wait_for_selector("[name=changes]")
    await picture(page, PICTURES / f"restore-{scheme}.webp")


async def set_up(browser: Browser, scheme: Any) -> None:
    """Take a picture of the page of a server without an administrator."""
    with tempfile.TemporaryDirectory(prefix="files-") as home:
        async with web_world(Path(home), first=False) as world:
            context = await browser.new_context(base_url=world.url, color_scheme=scheme, viewport=SIZE)
            page = await context.new_page()
            await page.goto("/web/admin/setup")
            await picture(page, PICTURES / f"setup-{scheme}.webp")
            await context.close()


async def take(only: Sequence[str] = ()) -> None:
    """Take all pictures, or those of pages that are named."""
    chromium = program("chromium")
    if chromium is None:
        sys.exit("Chromium is needed; on Debian: apt install chromium")
    PICTURES.mkdir(parents=True, exist_ok=True)
    wanted = {f"{shot.name}-{scheme}.webp" for shot in every_shot() for scheme in SCHEMES}
    with tempfile.TemporaryDirectory(prefix="files-") as home:
        async with world_of(Path(home)) as world, async_playwright() as playwright:
            await move(world)
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for scheme in SCHEMES:
                page = await signed_in(browser, world, scheme)
                for shot in shots():
                    if not only or shot.name in only:
                        await page.goto(f"/web/admin{shot.path}")
                        await picture(page, PICTURES / f"{shot.name}-{scheme}.webp")
                if only:
                    await page.context.close()
                    continue
                await act(page, scheme)
                await page.context.clear_cookies()
                await page.goto("/web/admin/login")
                await picture(page, PICTURES / f"login-{scheme}.webp")
                await page.context.close()
                await set_up(browser, scheme)
            await browser.close()
    for old in PICTURES.glob("*.webp"):
        if old.name not in wanted:
            old.unlink()


def day_of_pictures() -> str:
    """The day that the page of the docs gives."""
    return re.findall(r"of (\d{4}-\d\d-\d\d), made by", TEXT.read_text(encoding="utf-8"))[0]


def text(day: str = "") -> str:
    """The page of the docs that shows them, with the day that they were taken; empty is that of the page."""
    about = (
        f"Pictures of a server with example records, of {day or day_of_pictures()}, made by "
        "`make screenshots`. What the pages do is told in "
        "[Use the web admin](../how_to/use-the-web-admin.md)."
    )
    lines = ["# Pages of the web admin", "", about]
    for shot in every_shot():
        light, dark = (f"../pictures/{shot.name}-{scheme}.webp" for scheme in SCHEMES)
        lines += ["", f"## {shot.title}", "", f"![{shot.title}, light]({light})", "", f"[In dark]({dark})"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Take the pictures, and write the page."""
    asyncio.run(take(sys.argv[1:]))
    TEXT.write_text(text(time.strftime("%Y-%m-%d", time.gmtime())), encoding="utf-8")
    size = sum(path.stat().st_size for path in PICTURES.glob("*.webp"))
    print(f"{len(every_shot()) * len(SCHEMES)} pictures, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
