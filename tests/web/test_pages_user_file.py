# SPDX-License-Identifier: Apache-2.0
"""Users of `httpd.auth_user_file` on the pages: signed in by the file alone, for as long as it says so."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.browser import BASE, Browser, browser
from tests.support.people import CHEAP
from tests.support.ports import free_port
from tests.support.web_world import ADMIN, PASSWORD, WebWorld, services_of, web_world

from tidegate.errors import LoginRefused
from tidegate.identity.passwords import hash_password

TYPED = "a password of the user file"


def write(home: Path, *, moment: int = 0, **users: str) -> None:
    """The user file; `moment` makes its time another one, however fast a test is."""
    file = home / "users"
    file.write_text("".join(f"{name}:{hash_password(text, CHEAP)}\n" for name, text in users.items()))
    os.utime(file, ns=(moment, moment))


@pytest.fixture
async def filed(tmp_path: Path) -> AsyncIterator[WebWorld]:
    write(tmp_path, moment=1, filer=TYPED, **{ADMIN: TYPED})
    httpd = {"bindings": [{"port": free_port()}], "auth_user_file": "users"}
    async with web_world(tmp_path, httpd=httpd) as world:
        yield world


async def test_a_user_of_the_file_may_do_everything_and_has_no_profile(filed: WebWorld) -> None:
    async with browser(filed).client as client:
        filer = Browser(client)
        assert (await filer.sign_in("filer", TYPED)).status == 303
        assert "Users" in (await filer.get("/")).text
        added = await filer.post("/new-role", name="north")
        assert added.status == 303, added.text
        assert await filed.app.provider.role("north") is not None
        own = await filer.get("/me")
        assert "your password is changed there" in own.text and not own.all("input", name="new_password")
        for path in (
            "/me",
            "/me/password",
            "/me/codes",
            "/me/codes/drop",
            "/me/passkeys",
            "/me/passkeys/begin",
        ):
            assert (await filer.post(path, current_password=TYPED)).status == 403, path
        assert (await filer.get("/me/codes")).status == 403
        assert (await filer.post("/me/sessions", session="others")).status == 303
        assert (await filer.post("/logout")).status == 303
        assert (await filer.get("/users")).status == 303


async def test_a_name_of_an_administrator_is_theirs(filed: WebWorld) -> None:
    async with browser(filed).client as client:
        assert (await Browser(client).sign_in(ADMIN, TYPED)).status == 401
    async with browser(filed).client as client:
        assert (await Browser(client).sign_in(ADMIN, PASSWORD)).status == 303


async def test_wrong_passwords_look_the_same_and_are_throttled(filed: WebWorld) -> None:
    async with browser(filed).client as client:
        visitor = Browser(client)
        wrong = await visitor.sign_in("filer", "not that")
        unknown = await visitor.sign_in("nobody", TYPED)
        assert (wrong.status, unknown.status) == (401, 401)
        assert wrong.text.replace("filer", "") == unknown.text.replace("nobody", "")
        statuses = [(await visitor.sign_in("filer", "not that")).status for _ in range(15)]
        assert statuses[-1] == 429
        assert (await visitor.sign_in("filer", TYPED)).status == 429


@pytest.mark.parametrize(
    "users", [{"filer": "another password"}, {"other": TYPED}], ids=["changed", "removed"]
)
async def test_a_session_ends_with_what_the_file_says(filed: WebWorld, users: dict[str, str]) -> None:
    async with browser(filed).client as client:
        filer = Browser(client)
        await filer.sign_in("filer", TYPED)
        assert (await filer.get("/users")).status == 200
        write(filed.home, moment=2, filer=TYPED, other=TYPED)
        write(filed.home, moment=3, **users)
        ended = await filer.get("/users")
        assert (ended.status, ended.location.startswith(f"{BASE}/login")) == (303, True)


async def test_a_hash_that_comes_during_the_check_is_not_that_of_the_password(
    filed: WebWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = services_of(filed.app).htpasswd
    assert file is not None
    verify = file.verify

    async def replaced_after(source: str, username: str, password: str) -> bool:
        fits = await verify(source, username, password)
        write(filed.home, moment=2, filer="another password")
        return fits

    monkeypatch.setattr(file, "verify", replaced_after)
    async with browser(filed).client as client:
        filer = Browser(client)
        await filer.sign_in("filer", TYPED)
        assert (await filer.get("/users")).status == 303


async def test_who_is_in_waits_behind_no_passwords(filed: WebWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    file = services_of(filed.app).htpasswd
    assert file is not None

    async def busy(*_: object, **__: object) -> None:
        raise LoginRefused("busy")

    async with browser(filed).client as client:
        filer = Browser(client)
        await filer.sign_in("filer", TYPED)
        monkeypatch.setattr(file._checker, "off_loop", busy)
        assert (await filer.get("/users")).status == 200


async def test_the_file_is_enough_without_any_administrator(tmp_path: Path) -> None:
    write(tmp_path, moment=1, filer=TYPED)
    httpd = {"bindings": [{"port": free_port()}], "auth_user_file": "users"}
    async with web_world(tmp_path, first=False, httpd=httpd) as world, browser(world).client as client:
        filer = Browser(client)
        assert "Sign in to" in (await filer.get("/login")).text
        assert (await filer.sign_in("filer", TYPED)).status == 303
        assert (await filer.get("/admins")).status == 200
