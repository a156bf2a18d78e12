# SPDX-License-Identifier: Apache-2.0
"""The configuration and the version on pages: values with their origin, no secret, and what has no effect."""

from __future__ import annotations

import contextlib
import html
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.browser import Browser, browser
from tests.support.doors import services_of
from tests.support.web_world import PASSWORD, WebWorld, web_world

from tidegate import __version__
from tidegate.config.load import load
from tidegate.config.schema.base import trait
from tidegate.config.schema.walk import declared, dotted

EVIL = "<img src=x onerror=alert(1)>"
SECRET = "hunter2-never-shown"
TEXT = f"""
[sftpd]
banner = "files{EVIL.replace(" ", "_").replace('"', "")}"

[data_provider]
driver = "memory"
external_auth_hook = "http://asker:{SECRET}@127.0.0.1:1/auth?token={SECRET}"

[smtp]
host = "127.0.0.1"
from = "gateway@example.org"
user = "u"
password = "{SECRET}"

[[http.headers]]
key = "Authorization"
value = "Bearer {SECRET}"

[[events.sinks]]
use = "file"
options = {{ path = "events.jsonl", whatever = "{SECRET}" }}

[[command.commands]]
path = "/bin/true"
env = ["TOKEN={SECRET}"]
args = ["--password={SECRET}"]

[acme]
domains = ["files.example.org"]
"""


@contextlib.asynccontextmanager
async def world_of(home: Path, text: str, environ: dict[str, str]) -> AsyncIterator[tuple[WebWorld, Browser]]:
    """A server whose pages tell of a configuration that was read as a server reads it."""
    (home / "tidegate.toml").write_text(text)
    loaded = load(home, "tidegate", environ)
    async with web_world(home) as world:
        door = world.app.door("http")
        assert door is not None
        services = services_of(world.app)
        object.__setattr__(services, "loaded", loaded)
        made = browser(world)
        async with made.client:
            await made.sign_in()
            yield world, made


async def test_values_have_their_origin_and_no_secret_is_shown(tmp_path: Path) -> None:
    environ = {"TIDEGATE_HTTPD__SIGNING_PASSPHRASE": SECRET, "SFTPGO_COMMON__MAX_TOTAL_CONNECTIONS": "77"}
    async with world_of(tmp_path, TEXT, environ) as (_, who):
        first = await who.get("/config")
        assert "tidegate.toml" in first.text and not first.all("img")
        whole, path = "", "/config?only="
        pages = 0
        while path:
            page = await who.get(path)
            assert page.status == 200 and SECRET not in html.unescape(page.answer.text), path
            assert not page.all("img")
            whole += page.text
            following = page.all("a", rel="next")
            path = following[0].attributes["href"] if following else ""
            pages += 1
        assert pages > 3
        assert "onerror=alert(1)" in whole
        for key in (
            "smtp.password",
            "http.headers[0].value",
            "command.commands[0].env",
            "events.sinks[0].options",
        ):
            assert key in whole
        page = await who.get("/config?q=max_total_connections")
        (row,) = [one for one in page.all("tr") if "max_total_connections" in one.text]
        assert "77" in row.text and "environment" in row.text
        assert "SFTPGO_COMMON__MAX_TOTAL_CONNECTIONS" in row.text
        page = await who.get("/config?only=environment")
        assert "signing_passphrase" in page.text and "sftpd.banner" not in page.text
        assert "http://asker:" in (await who.get("/config?q=external_auth_hook")).text
        assert "No value matches" in (await who.get(f"/config?q={EVIL}x")).text
        assert (await who.get("/config?only=nothing&first=999999")).status == 200


async def test_only_who_may_do_everything_sees_the_configuration(tmp_path: Path) -> None:
    async with world_of(tmp_path, TEXT, {}) as (world, who):
        about = await who.get("/about")
        assert "acme: not available in this version, no effect" in about.text.replace(".domains", "")
        await world.add_admin("nora", "view_status")
        async with browser(world).client as client:
            nora = Browser(client)
            await nora.sign_in("nora", PASSWORD)
            assert (await nora.get("/config")).status == 403
            about = await nora.get("/about")
            assert (
                about.status == 200 and "without effect" not in about.text and str(tmp_path) not in about.text
            )


async def test_the_version_page_tells_what_a_report_of_a_fault_needs(tmp_path: Path) -> None:
    async with web_world(tmp_path) as world, browser(world).client as client:
        who = Browser(client)
        await who.sign_in()
        page = await who.get("/about")
        for text in (
            __version__,
            "OpenSSL",
            "Python",
            "asyncssh",
            "memory",
            "no sandbox",
            "None of them is set here.",
        ):
            assert text in page.text, text
        missing = [dotted(path) for path, field in declared() if trait(field, "available") is False]
        assert missing and all(key in page.text for key in missing)


@pytest.mark.parametrize("only", ["", "set"])
async def test_a_server_without_a_file_says_so(tmp_path: Path, only: str) -> None:
    async with web_world(tmp_path) as world, browser(world).client as client:
        who = Browser(client)
        await who.sign_in()
        page = await who.get(f"/config?only={only}")
        assert "there is no configuration file in" in page.text
        assert page.all("table") if not only else "No value matches" in page.text
