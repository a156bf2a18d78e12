# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers in every provider."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf

from tidegate.store import browser_sessions
from tidegate.store.browser_sessions import BrowserSession
from tidegate.store.contract import Provider

NOW = int(time.time() * 1000)
HOUR = 3_600_000


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def provider(driver: str, options_of: OptionsOf, opened: Opened) -> Provider:
    return await opened(options_of(driver))


def row(number: int, username: str = "mara", **more: object) -> BrowserSession:
    made = BrowserSession(
        id=f"s-{number}",
        kind="admin",
        username=username,
        mark="m",
        created_at=NOW,
        seen_at=NOW + number,
        idle_until=NOW + HOUR,
        expires_at=NOW + 9 * HOUR,
        ip="192.0.2.1",
        agent="browser",
        method="password",
    )
    return replace(made, **more)  # type: ignore[arg-type]


async def test_sessions_are_found_used_listed_and_ended(provider: Provider) -> None:
    store = provider.browser_sessions
    rows = [row(1), row(2), row(3, "zoë"), row(4, kind="user"), row(5, idle_until=NOW - 1)]
    for one in [*rows, row(6, expires_at=NOW - 1)]:
        await store.add(one)

    assert await store.find("s-1") == rows[0]
    assert [await store.find(name) for name in ("s-5", "s-6", "s-7", "")] == [None] * 4
    await store.use("s-1", seen_at=NOW + 99, idle_until=NOW + 2 * HOUR, ip="2001:db8::1")
    await store.use("s-7", seen_at=NOW, idle_until=NOW, ip="")
    used = replace(rows[0], seen_at=NOW + 99, idle_until=NOW + 2 * HOUR, ip="2001:db8::1")
    assert await store.of("admin", "mara") == [used, rows[1]]

    assert (await store.remove("s-2"), await store.remove("s-2")) == (True, False)
    await store.add(row(8))
    assert await store.remove_of("admin", "mara", but="s-1") == 1
    assert await store.of("admin", "mara") == [used]
    assert await store.remove_of("admin", "mara") == 1
    assert await store.of("user", "mara") == [rows[3]]
    assert await store.of("admin", "zoë") == [rows[2]]


async def test_the_least_used_session_makes_room(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (browser_sessions, pytest.importorskip("tidegate.store.sql.sessions")):
        monkeypatch.setattr(module, "MAX_OF_ONE", 3)
    for number in (2, 1, 3, 4, 5):
        await provider.browser_sessions.add(row(number))
    await provider.browser_sessions.add(row(9, "other", agent="x" * 999))

    assert [one.id for one in await provider.browser_sessions.of("admin", "mara")] == ["s-5", "s-4", "s-3"]
    assert [len(one.agent) for one in await provider.browser_sessions.of("admin", "other")] == [255]


async def test_sessions_outlive_the_process(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(driver)
    provider = await opened(options)
    await provider.browser_sessions.add(row(1))
    await provider.close()

    again = await opened(options)
    left = [] if driver == "memory" else [row(1)]
    assert await again.browser_sessions.of("admin", "mara") == left
