# SPDX-License-Identifier: Apache-2.0
"""Every page of the web admin, asked with sessions that are none, not any more, not yet, or of others."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.browser import BASE
from tests.support.web_world import WebWorld, web_world

from tidegate.model import Admin
from tidegate.store.browser_sessions import BrowserSession
from tidegate.web.admin import sessions
from tidegate.web.admin.registry import Page, all_pages

INSIDE = [page for page in all_pages() if not page.open_to_all]
HOURS = 3_600_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebWorld]:
    home: Path = tmp_path_factory.mktemp("sessions")
    async with web_world(home, data_provider={"users_base_dir": str(home / "homes")}) as made:
        yield made


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def begin(world: WebWorld, admin: Admin, **more: Any) -> str:
    """A session in the data provider; returns the secret that the browser has."""
    secret, now = secrets.token_urlsafe(32), int(time.time() * 1000)
    digest = hashlib.blake2b(secret.encode(), key=b"plain", digest_size=32, person=b"tidegate-web")
    row = BrowserSession(
        id=digest.hexdigest(), kind=sessions.KIND, username=admin.username, mark=sessions.mark_of(secret, admin),
        created_at=now, seen_at=now, idle_until=now + HOURS, expires_at=now + HOURS, ip="127.0.0.1",
    )  # fmt: skip
    await world.app.provider.browser_sessions.add(replace(row, **more))
    return secret


Outcomes = dict[tuple[str, str], tuple[int, str]]
"""Status and target of a redirect, by method and path."""


async def outcomes(world: WebWorld, secret: str, token: str = "", pages: Sequence[Page] = INSIDE) -> Outcomes:
    """Ask each page for all that it answers."""
    headers = {"Sec-Fetch-Site": "same-origin", "Cookie": f"tidegate_admin={secret}" if secret else "a=b"}
    found: Outcomes = {}
    async with world.anonymous(headers=headers) as client:
        for page in pages:
            path = BASE + re.sub(r"\{[^}]+\}", "x", page.path)
            answers = []
            if page.show is not None:
                answers.append(("GET", await client.get(path)))
            if page.act is not None:
                file = {"files": {"dump": ("x", b"{}")}} if page.takes_file else {}
                answers.append(("POST", await client.post(path, data={"_token": token}, **file)))
            for method, answer in answers:
                found[method, page.path] = answer.status_code, answer.headers.get("location", "")
            client.cookies.clear()
    return found


def opened(found: Outcomes) -> Outcomes:
    """Answers other than the way to the sign-in."""
    streams = {page.path for page in INSIDE if page.streams}
    return {
        (method, path): (status, target)
        for (method, path), (status, target) in found.items()
        if not (
            status == 401
            if method == "POST" or path in streams
            else status == 303 and target.startswith(f"{BASE}/login")
        )
    }


KINDS = (
    "none",
    "unknown",
    "idle",
    "over",
    "waiting",
    "of a user",
    "of the file",
    "disabled",
    "gone",
    "changed",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_page_is_open_to_a_session_that_does_not_hold(world: WebWorld, kind: str) -> None:
    now = int(time.time() * 1000)
    provider = world.app.provider
    admin = await world.add_admin(f"mara-{kind.replace(' ', '-')}", "*")
    rows: dict[str, dict[str, Any]] = {
        "idle": {"idle_until": now - 1},
        "over": {"expires_at": now - 1},
        "waiting": {"kind": sessions.WAITING},
        "of a user": {"kind": "user"},
        "of the file": {"kind": sessions.OF_FILE},
    }
    match kind:
        case "none":
            secret = ""
        case "unknown":
            secret = secrets.token_urlsafe(32)
        case _:
            secret = await begin(world, admin, **rows.get(kind, {}))
    match kind:
        case "disabled":
            await provider.update_admin(replace(admin, status=0))
        case "changed":
            await provider.update_admin(replace(admin, permissions=("view_users",)))
        case "gone":
            await provider.delete_admin(admin.username)
    before = await provider.users(), await provider.admins()
    assert opened(await outcomes(world, secret, sessions.form_token(secret))) == {}
    assert (await provider.users(), await provider.admins()) == before


async def test_no_form_is_taken_with_the_token_of_another_session(world: WebWorld) -> None:
    admin = await world.add_admin("nora", "*")
    secret, other = await begin(world, admin), await begin(world, admin)
    forms = [replace(page, show=None) for page in INSIDE if page.act is not None]
    found = await outcomes(world, secret, sessions.form_token(other), forms)
    assert len(found) > 40
    assert {key: one for key, one in found.items() if one[0] != 403} == {}
    assert len(await world.app.provider.browser_sessions.of(sessions.KIND, "nora")) == 2


async def test_what_needs_a_permission_is_shut_without_it_and_open_with_all(world: WebWorld) -> None:
    needing = [page for page in INSIDE if page.needs]
    secret = await begin(world, await world.add_admin("olga", "retention_checks"))
    found = await outcomes(world, secret, sessions.form_token(secret), needing)
    assert len(found) > 70
    assert {key: one for key, one in found.items() if one[0] != 403} == {}
    # With all of them the same requests are answered: what was seen above is not for another reason.
    looks = [replace(page, act=None) for page in needing if "{" not in page.path and not page.streams]
    secret = await begin(world, await world.add_admin("paul", "*"))
    found = await outcomes(world, secret, "", looks)
    assert {key: one for key, one in found.items() if one[0] not in (200, 404)} == {}
    assert sum(status == 200 for status, _ in found.values()) > 25
