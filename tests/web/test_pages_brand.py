# SPDX-License-Identifier: Apache-2.0
"""An operator's own templates and files of the pages: in front, inside their directories, and never in the way."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.ports import free_port
from tests.support.web_world import settings, web_world

from tidegate.config.load import Loaded
from tidegate.config.schema import Settings
from tidegate.errors import ConfigError
from tidegate.server.http import look_of
from tidegate.web.admin.visit import POLICY

BRAND = """{% macro name() %}Harbour and Sons{% endmacro %}
{% macro mark() %}<img src="{{ asset('harbour.png') }}" alt="">{% endmacro %}
{% macro head() %}<link rel="stylesheet" href="{{ asset('harbour.css') }}">{% endmacro %}
"""
OWN = {"templates_path": "own/pages", "static_files_path": "own/files"}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own/pages").mkdir(parents=True)
    (tmp_path / "own/files").mkdir()
    (tmp_path / "own/pages/brand.html").write_text(BRAND)
    (tmp_path / "own/files/harbour.css").write_text(":root { --tide: teal }")
    (tmp_path / "own/files/harbour.png").write_bytes(b"\x89PNG")
    return tmp_path / "own"


def configured(home: Path, **httpd: object) -> Loaded:
    return Loaded(Settings.model_validate(settings(httpd={**OWN, **httpd})), config_dir=home)


async def mistakes(home: Path, **httpd: object) -> str:
    with pytest.raises(ConfigError) as caught:
        await look_of(configured(home, **httpd))
    return str(caught.value)


async def test_a_brand_of_ones_own(own: Path) -> None:
    pages = own / "pages"
    (pages / "login.html").write_text(
        '{% extends "tidegate/login.html" %}{% block title %}Come in{% endblock %}'
    )
    (own / "files/mark.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>')
    async with web_world(own.parent, httpd=OWN) as world, browser(world).client as client:
        visitor = Browser(client)
        page = await visitor.get("/login")
        assert "Harbour and Sons</p>" in page.answer.text
        assert page.first("title").text == "Come in · Harbour and Sons"
        assert page.answer.headers["content-security-policy"] == POLICY
        sheet = next(
            one.attributes["href"] for one in page.all("link") if "harbour.css" in one.attributes["href"]
        )
        answer = await client.get(sheet)
        assert (answer.text, answer.headers["content-type"]) == (
            ":root { --tide: teal }",
            "text/css; charset=utf-8",
        )
        mark = await client.get(page.first("link", rel="icon").attributes["href"])
        assert "<script>" in mark.text
        assert "sandbox" in mark.headers["content-security-policy"]
        assert (await visitor.sign_in()).status == 303
        assert "Harbour and Sons" in (await visitor.get("/users")).text
        for name in ("../pages/brand.html", "..%2fpages%2fbrand.html", "brand.html", "/etc/passwd"):
            assert (await client.get(f"{BASE}/assets/x/{name}")).status_code in (303, 404), name


async def test_one_that_fails_while_it_is_shown_keeps_nobody_out(
    own: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own / "pages/login.html").write_text("{{ there_is_no_such_value }}")
    (own / "pages/users.html").write_text("{{ visit.request.app.state.services.loaded.__class__.__mro__ }}")
    caplog.set_level(logging.ERROR, "tidegate")
    async with web_world(own.parent, httpd=OWN) as world, browser(world).client as client:
        visitor = Browser(client)
        assert "For administrators" in (await visitor.get("/login")).text
        assert (await visitor.sign_in()).status == 303
        assert "No account yet" in (await visitor.get("/users")).text
        await visitor.get("/users")
    told = [line.getMessage() for line in caplog.records if "templates_path" in line.getMessage()]
    assert len(told) == 2, told  # once for each
    assert "'there_is_no_such_value' is undefined" in told[0]


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("a\n{% if %}", "login.html:2", "Expected an expression"),
        ("{{ 1 | no_such_filter }}", "login.html:1", "no_such_filter"),
        ('{% extends "nowhere.html" %}', "login.html", "no template 'nowhere.html'"),
        ('{% include "../../../etc/passwd" %}', "login.html", "no template '../../../etc/passwd'"),
    ],
)
async def test_a_broken_template_is_named_at_start(own: Path, text: str, place: str, what: str) -> None:
    (own / "pages/login.html").write_text(text)
    said = await mistakes(own.parent)
    assert place in said
    assert what in said


async def test_mistakes_are_all_told(own: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.html").write_text("the secret")
    os.symlink(tmp_path / "secret.html", own / "pages/gate.html")
    os.symlink("/etc/passwd", own / "files/passwd.css")
    (own / "pages/brand.html").write_text("{% macro name() %}x{% endmacro %}")
    (own / "files/pipe.css").symlink_to("pipe")
    os.mkfifo(own / "files/pipe")
    (own / "files/big.png").write_bytes(bytes(1024 * 1024 + 1))
    (own / "pages/latin.html").write_bytes(b"\xe9")
    said = await mistakes(tmp_path)
    for name, what in (
        ("gate.html", "leads out"), ("passwd.css", "leads out"), ("pipe.css", "not a regular file"),
        ("big.png", "longer than"), ("latin.html", "not UTF-8"),
    ):  # fmt: skip
        assert f"{name}: " in said and what in said, (name, said)
    for name in ("gate.html", "latin.html"):
        (own / "pages" / name).unlink()
    for name in ("passwd.css", "pipe.css", "big.png"):
        (own / "files" / name).unlink()
    assert "brand.html: needs a macro 'mark'" in await mistakes(tmp_path)
    assert "No such file" in await mistakes(tmp_path, templates_path="nowhere")


async def test_links_inside_the_directory_are_followed(own: Path) -> None:
    (own / "pages/..data").mkdir()
    (own / "pages/brand.html").rename(own / "pages/..data/brand.html")
    (own / "pages/brand.html").symlink_to("..data/brand.html")
    look = await look_of(configured(own.parent))
    assert look is not None
    assert look.environment.get_template("brand.html").module.name() == "Harbour and Sons"  # type: ignore[attr-defined]


async def test_templates_of_sftpgo_are_left_out(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    (own / "pages/users.html").write_text('{{template "base" .}}\n{{define "title"}}{{.Title}}{{end}}')
    (own / "pages/login.html").write_text('<p style="color: red">x</p>')
    look = await look_of(configured(own.parent))
    assert look is not None
    assert "New user" in (look.environment.loader.get_source(look.environment, "users.html")[0])  # type: ignore[union-attr]
    assert "users.html: a template of SFTPGo, left out" in caplog.text
    assert "login.html: browsers heed no script and no style" in caplog.text


async def test_names_that_every_configuration_of_sftpgo_has_need_not_be_there(tmp_path: Path) -> None:
    assert (
        await look_of(configured(tmp_path, templates_path="templates", static_files_path="static"))
        is not None
    )
    assert await look_of(configured(tmp_path, templates_path="", static_files_path="")) is None


async def test_a_reload_takes_what_is_there_then(own: Path, caplog: pytest.LogCaptureFixture) -> None:
    keys = {**OWN, "bindings": [{"port": free_port()}]}
    fresh = configured(own.parent, **keys)
    async with web_world(own.parent, httpd=keys) as world, browser(world).client as client:
        visitor = Browser(client)

        async def title() -> str:
            return (await visitor.get("/login")).first("title").text

        assert await title() == "Sign in · Harbour and Sons"
        (own / "pages/brand.html").write_text(BRAND.replace("Harbour and Sons", "Pier"))
        await world.app.reload(fresh)
        assert await title() == "Sign in · Pier"
        (own / "pages/brand.html").write_text("{% broken")
        await world.app.reload(fresh)
        assert await title() == "Sign in · Pier"
    assert "brand.html:1" in caplog.text
