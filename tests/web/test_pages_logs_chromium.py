# SPDX-License-Identifier: Apache-2.0
"""The log in a real Chromium, of a real server: clients upload, are refused, and try to get markup into it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path

import asyncssh
import httpx2
import pytest
from playwright.async_api import Page, async_playwright
from tests.support.needs import absent, program
from tests.support.ports import free_port
from tests.support.running import Person, Running, in_thread, running, wait_for
from tests.support.ssh_world import SSH
from tests.support.web_world import ADMIN, PASSWORD

from tidegate.cli.provider import opened
from tidegate.model import Admin, AdminFilters
from tidegate.server.wiring import password_hasher

EVIL = "<img src=x onerror=document.title='xss'>"
LOGS = "/web/admin/logs"


def add_admin(server: Running) -> None:
    async def add() -> None:
        async with opened(server.directory, "tidegate") as desk:
            password = password_hasher(desk.loaded)(PASSWORD)
            admin = Admin(username=ADMIN, password=password, permissions=("*",), filters=AdminFilters())
            await desk.provider.add_admin(admin)

    in_thread(add)


def sftp(person: Person, source: Path, batch: str) -> None:
    command = [
        "sftp",
        "-q",
        *SSH,
        "-o",
        "IdentitiesOnly=yes",
        "-i",
        str(person.key),
        "-P",
        str(person.port),
        "-b",
        "-",
    ]
    done = subprocess.run(
        [*command, f"{person.name}@127.0.0.1"], input=batch, text=True, cwd=source, check=False, timeout=30,
        capture_output=True,
    )  # fmt: skip
    assert "Permission denied" in done.stderr or "permission" in done.stderr, done.stderr


async def attack(person: Person) -> None:
    """A client that calls itself markup, moves a file of such a name, and tries such an account."""
    async with (
        person.connect(client_version=EVIL) as connection,
        connection.start_sftp_client() as files,
        files.open(f"/{EVIL}", "w") as file,
    ):
        await file.write("x")
    with contextlib.suppress(asyncssh.Error):
        async with person.connect(username=EVIL, password="no", client_keys=[]):
            raise AssertionError("nobody has that name")


async def read(page: Page, person: Person) -> None:
    """An administrator looks for a refusal: the row comes live, its story, the reason."""
    row = page.locator("[data-lines] tr", has_text="Upload refused").first
    await row.wait_for()
    text = await row.inner_text()
    assert person.name in text and "/out/x.csv" in text and "permissions[/out]" in text, text
    await row.locator("a", has_text="Story").click()
    await page.wait_for_selector(".story")
    told = await page.inner_text("main")
    for words in (
        "1 upload (3 B)",
        "1 refused",
        "Closed by the client after",
        "Reached the door SSH",
        "OpenSSH",
    ):
        assert words in told, (words, told)
    assert any(cipher in told for cipher in ("gcm", "chacha20", "aes")), told
    await page.click(".refusal a.why")
    await page.wait_for_selector("text=Denied, by")
    assert "permissions[/out]" in await page.inner_text(".verdict")
    assert await page.input_value("[name=user]") == person.name
    assert await page.input_value("[name=path]") == "/out/x.csv"


@pytest.mark.needs("chromium", "sftp")
async def test_a_refusal_is_seen_as_it_happens_and_explained(tmp_path: Path) -> None:
    chromium = program("chromium") or absent("chromium")
    port = free_port()
    web = {"httpd": {"bindings": [{"port": port, "address": "127.0.0.1"}]}}
    source = tmp_path / "files"
    source.mkdir()
    (source / "x.csv").write_text("abc")
    with running(tmp_path / "server", settings=web, log_level="info") as server:
        person = await asyncio.to_thread(
            server.account, "alder", permissions={"/": ("*",), "/out": ("list", "download")}
        )
        (person.home / "out").mkdir()
        await asyncio.to_thread(add_admin, server)
        complaints: list[str] = []
        await asyncio.to_thread(wait_for, lambda: healthy(port), "no HTTP")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(base_url=f"http://127.0.0.1:{port}")
            page.set_default_timeout(20_000)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
            await page.goto(LOGS)
            await page.fill("[name=name]", ADMIN)
            await page.fill("[name=password]", PASSWORD)
            await page.click("button.go")
            await page.wait_for_selector("[data-live-state]:has-text('live')")
            await page.goto(f"{LOGS}?path=csv")
            await page.wait_for_selector("[data-live-state]:has-text('live')")
            await asyncio.to_thread(sftp, person, source, "put x.csv /x.csv\n-put x.csv /out/x.csv\nbye\n")
            await read(page, person)
            await page.goto(f"{LOGS}?since=1h")
            await page.wait_for_selector("[data-live-state]:has-text('live')")
            await attack(person)
            await page.wait_for_selector("[data-lines] tr:has-text('disconnected'):has-text('<img src=x')")
            await page.click("[data-lines] tr:has-text('Upload'):has-text('<img src=x') a:has-text('Story')")
            await page.wait_for_selector(".story")
            assert EVIL in await page.inner_text(".dl")
            assert await page.locator("img").count() == 0
            assert "xss" not in await page.title()
            async with page.expect_download() as download:
                await page.click("a[download]")
            text = Path(await (await download.value).path()).read_text()
            assert "Upload" in text and "/x.csv" not in text
            await browser.close()
        assert complaints == []


def healthy(port: int) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
    return False
