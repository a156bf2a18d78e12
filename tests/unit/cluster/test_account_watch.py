# SPDX-License-Identifier: Apache-2.0
"""Users who may not stay are found and sent away."""

from __future__ import annotations

import asyncio

import pytest

from tidegate.cluster import account_watch as module
from tidegate.cluster.account_watch import AccountWatch
from tidegate.errors import BadRecord, ProviderUnavailable
from tidegate.model import Account

NOW = 1_790_000_000_000


class House:
    """Accounts, who is connected, and who was sent away."""

    def __init__(self, *accounts: Account) -> None:
        self.accounts: dict[str, Account | Exception | None] = {a.username: a for a in accounts}
        self.connected = {a.username for a in accounts}
        self.asked: list[str] = []
        self.ended: list[tuple[str, str]] = []
        self.now = NOW
        self.sweep = AccountWatch(
            lambda: self.connected, self._find, lambda *who: self.ended.append(who), now_ms=lambda: self.now
        )

    async def _find(self, username: str) -> Account | None:
        self.asked.append(username)
        found = self.accounts.get(username)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_GAP_SECONDS", 0)


async def test_the_disabled_the_expired_and_the_deleted_go_and_the_others_stay() -> None:
    house = House(
        Account(username="ana"),
        Account(username="bob", status=0),
        Account(username="cyd", expiration_date=NOW - 1),
        Account(username="dan", expiration_date=NOW),
        Account(username="eve"),
    )
    house.accounts["eve"] = None
    house.accounts["fay"] = Account(username="fay", status=0)  # not connected
    await house.sweep.once()
    assert house.ended == [("bob", "disabled"), ("cyd", "expired"), ("eve", "deleted")]
    assert "fay" not in house.asked
    house.connected = {"dan"}
    house.now += 1
    await house.sweep.once()
    assert house.ended[3:] == [("dan", "expired")]


async def test_a_provider_that_is_away_ends_nobody_but_those_known_to_have_expired() -> None:
    house = House(*(Account(username=name, expiration_date=NOW + 5) for name in ("ana", "bob")))
    await house.sweep.once()
    house.connected.add("cyd")
    house.accounts = dict.fromkeys(house.connected, ProviderUnavailable())
    house.asked.clear()
    house.now += 5
    await house.sweep.once()
    assert house.ended == []
    assert house.asked == ["ana"]  # the others are not tried after that
    house.now += 1
    await house.sweep.once()
    assert house.ended == [("ana", "expired"), ("bob", "expired")]


async def test_a_record_that_cannot_be_read_ends_nobody_and_stops_nothing() -> None:
    house = House(Account(username="ana"), Account(username="bob", status=0))
    house.accounts["ana"] = BadRecord("filters", "no")
    await house.sweep.once()
    assert house.ended == [("bob", "disabled")]


async def test_nothing_is_remembered_of_those_who_left() -> None:
    house = House(Account(username="ana"))
    await house.sweep.once()
    assert set(house.sweep._known) == {"ana"}
    house.connected.clear()
    await house.sweep.once()
    assert not house.sweep._known


async def test_it_goes_on_after_a_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SWEEP_SECONDS", 0.001)
    house = House(Account(username="ana", status=0))
    house.accounts["ana"] = ValueError("no")
    task = asyncio.create_task(house.sweep.run())
    async with asyncio.timeout(2):
        while not house.asked:
            await asyncio.sleep(0.001)
        house.accounts["ana"] = Account(username="ana", status=0)
        while not house.ended:
            await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "a sweep of sessions failed" in caplog.text
