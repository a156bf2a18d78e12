# SPDX-License-Identifier: Apache-2.0
"""Searches for accounts in every provider: the same rows in the same order."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf

from tidegate.model import Account
from tidegate.store.contract import Provider, Snapshot
from tidegate.store.user_query import UserQuery, pick

NOW = 1_000_000


def account(name: str, **more: object) -> Account:
    made = Account(username=name, home_dir=f"/srv/{name}", permissions={"/": ("*",)})
    return replace(made, **more)  # type: ignore[arg-type]


PEOPLE = (
    account("alder", email="EDI@alder.example"),
    account("birch", status=0, email="50%@off_season.example"),
    account("cedar", last_login=NOW - 5, used_quota_size=90, quota_size=100),
    account("Dorn", last_login=NOW - 1, used_quota_files=8, quota_files=10),
    account("elm", expiration_date=NOW - 1, last_login=NOW - 5, used_quota_size=900),
    account("fir", expiration_date=NOW + 1, email='"quo\\te"@zoë.example', used_quota_size=900),
    account("ginkgo", used_quota_size=79, quota_size=100),
)


@pytest.fixture(scope="module", params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def filled(provider: Provider, people: tuple[Account, ...]) -> None:
    await provider.load(Snapshot(users=people))
    for one in people:
        await provider.touch_login(one.username, one.last_login)
        await provider.set_usage(one.username, size=one.used_quota_size, files=one.used_quota_files)


async def names(provider: Provider, query: UserQuery) -> list[str]:
    return [one.username for one in await provider.find_users(query)]


async def test_every_search_finds_the_same_in_every_provider(
    driver: str, options_of: OptionsOf, opened: Opened
) -> None:
    provider = await opened(options_of(driver))
    await filled(provider, PEOPLE)
    stored = [one async for one in provider.iter_users()]
    texts = ("", "alder", "ALDER", "@example", "50%@", "_", "r", '"@', "\\te", "@zoë", "nobody")
    states = ("", "enabled", "disabled", "expired", "near_quota")
    for text, only, sort, falling in itertools.product(
        texts, states, ("username", "last_login", "used_quota_size"), (False, True)
    ):
        query = UserQuery(text=text, only=only, sort=sort, descending=falling, now_ms=NOW, limit=3)  # type: ignore[arg-type]
        wanted = pick(replace(query, limit=99), stored)
        page = await provider.find_users(query)
        assert page == wanted[:3], query
        if len(wanted) > 3:
            assert page[0] in stored  # whole records, as they are read by name
            following = replace(query, after=query.key(page[-1]))
            more = await provider.find_users(following)
            assert more == wanted[3:6], following
            back = replace(query, after=query.key(more[0]), backwards=True)
            assert await provider.find_users(back) == page, back


async def test_what_each_search_means(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(options_of(driver))
    await filled(provider, PEOPLE)
    assert await names(provider, UserQuery(text="edi@")) == ["alder"]
    assert await names(provider, UserQuery(text="50%@")) == ["birch"]
    assert await names(provider, UserQuery(only="disabled")) == ["birch"]
    assert await names(provider, UserQuery(only="expired", now_ms=NOW)) == ["elm"]
    assert await names(provider, UserQuery(role="none of these")) == []
    assert await names(provider, UserQuery(only="near_quota")) == ["Dorn", "cedar"]
    ids = {one.username: one.id async for one in provider.iter_users()}
    for name, number in ids.items():  # 1 is the beginning of 10
        assert await names(provider, UserQuery(number=number)) == [name]
    assert await names(provider, UserQuery(number=max(ids.values()) * 10)) == []
    assert await names(provider, UserQuery(number=ids["elm"], role="none of these")) == []
    assert await names(provider, UserQuery(sort="last_login", descending=True, limit=3)) == [
        "Dorn",
        "elm",
        "cedar",
    ]
    assert await names(provider, UserQuery(after=("zzz", "zzz"), backwards=True, limit=2)) == [
        "fir",
        "ginkgo",
    ]
    assert await names(provider, UserQuery(after=("A", "A"), backwards=True)) == []
