# SPDX-License-Identifier: Apache-2.0
"""The way of an operator in one go, in a real Chromium and with OpenSSH: from the first start to a story in the log.

The server is a process of its own, with its log in a file.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright
from tests.support.needs import absent, program
from tests.support.ports import free_port
from tests.support.running import Running, running
from tests.support.ssh_world import SSH
from tests.support.web_world import PASSWORD

BASE = "/web/admin"
BYTES = 60 * 1024 * 1024
SPEED = 1500
"""kB a second: the upload lasts forty seconds, and is cut off long before."""


def setup_code(server: Running) -> str:
    """The code that the server has printed."""
    assert server.process is not None and server.process.stdout is not None
    for line in iter(server.process.stdout.readline, ""):
        if found := re.search(r"/web/admin/setup, code (\S+)", line):
            return found[1]
    raise AssertionError("no code was printed")


async def set_up(page: Page, code: str) -> None:
    """Make the first administrator, leave, and sign in."""
    await page.goto("/")
    await page.fill("[name=code]", "a wrong one")
    for name, value in (("name", "mara"), ("password", PASSWORD), ("again", PASSWORD)):
        await page.fill(f"[name={name}]", value)
    await page.click("button.go")
    await page.wait_for_selector("#e-code")
    for name, value in (("code", code), ("password", PASSWORD), ("again", PASSWORD)):
        await page.fill(f"[name={name}]", value)
    await page.click("button.go")
    await page.wait_for_selector("[data-verdict]")
    await page.click("button[aria-label='Sign out']")
    await page.wait_for_selector("h1:has-text('Sign in')")
    await page.fill("[name=name]", "mara")
    await page.fill("[name=password]", PASSWORD)
    await page.click("button.go")
    await page.wait_for_selector("[data-verdict]")


async def add_user(page: Page, key: str) -> None:
    await page.click("a:has-text('Users')")
    await page.click("a.go:has-text('Add the first user')")
    await page.fill("[name=username]", "granite-bank")
    await page.fill("[name=new_keys]", key)
    await page.fill("[name=upload_speed]", str(SPEED))
    await page.click(".savebar .go")
    await page.wait_for_selector(".toast:has-text('granite-bank is added.')")


async def watch_and_kill(page: Page) -> None:
    """See the bar of the upload move, and close its connection."""
    await page.goto(f"{BASE}/")
    bar = page.locator("[data-rows] tr", has_text="granite-bank").locator("progress")
    await bar.wait_for()
    first = float(await bar.evaluate("one => one.value"))
    await page.wait_for_function(
        "first => document.querySelector('[data-rows] progress')?.value > first", arg=first
    )
    await page.click("a.card:has-text('Sessions')")
    row = page.locator("#connections tr", has_text="granite-bank")
    await row.locator("button[popovertarget]").click()
    await page.click(".menu:popover-open :text('Close this one')")
    await page.wait_for_selector(".toast:has-text('The connection of granite-bank is closed.')")


async def read_the_story(page: Page) -> str:
    """From the log to the story of the connection."""
    await page.goto(f"{BASE}/logs?user=granite-bank")
    row = page.locator("[data-lines] tr", has_text="Upload failed").first
    await row.wait_for()
    await row.locator("a", has_text="Story").click()
    await page.wait_for_selector(".story")
    return await page.inner_text("main")


@pytest.mark.needs("chromium", "scp", "ssh-keygen")
async def test_from_the_first_start_to_the_story_of_a_session_that_was_killed(tmp_path: Path) -> None:
    chromium = program("chromium") or absent("chromium")
    key, source, port = tmp_path / "key", tmp_path / "big.bin", free_port()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=20)
    with source.open("wb") as file:
        file.truncate(BYTES)
    settings = {
        "httpd": {"bindings": [{"port": port, "address": "127.0.0.1"}]},
        "data_provider": {"users_base_dir": str(tmp_path / "homes")},
    }
    with running(tmp_path / "server", settings=settings, log_level="info") as server:
        code = await asyncio.to_thread(setup_code, server)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = await browser.new_page(base_url=f"http://127.0.0.1:{port}")
            page.set_default_timeout(20_000)
            await set_up(page, code)
            await add_user(page, key.with_suffix(".pub").read_text())
            command = [
                "scp", "-O", *SSH, "-o", "IdentitiesOnly=yes", "-i", str(key), "-P", str(server.port),
                str(source), "granite-bank@127.0.0.1:/big.bin",
            ]  # fmt: skip
            upload = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
            try:
                await watch_and_kill(page)
                assert await asyncio.wait_for(upload.wait(), 20) != 0
            finally:
                if upload.returncode is None:
                    upload.kill()
                    await upload.wait()
            told = await read_the_story(page)
            await browser.close()
    for words in ("1 transfer cut short", "Closed by mara", "Reached the door SSH", "OpenSSH", "/big.bin"):
        assert words in told, (words, told)
    assert (tmp_path / "homes" / "granite-bank" / "big.bin").stat().st_size < BYTES
