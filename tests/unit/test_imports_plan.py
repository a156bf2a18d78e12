# SPDX-License-Identifier: Apache-2.0
"""The dry run's table, and the import itself, on a real provider."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tidegate.errors import BadRecord
from tidegate.model import Account, Filters
from tidegate.store.contract import Provider
from tidegate.store.factory import create_provider
from tidegate.store.imports.plan import Change, apply_import, plan_import
from tidegate.store.imports.proftpd import parse_proftpd
from tidegate.store.imports.pureftpd import parse_pureftpd
from tidegate.store.options import ProviderOptions

MD5 = "$1$abcdefgh$G//4keteveJp0qb8z2DxG/"
OLD = "$6$abcdefgh$yVfUwsw5T.JApa8POvClA1pQ5peiq97DUNyXCZN5IrF.BMSkiaLQ5kvpuEm/VQ1Tvh/KV2TcaWh8qinoW5dhA1"


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = create_provider(ProviderOptions(driver="memory", name=""))
    await made.open()
    yield made
    await made.close()


def users(*names: str, home: str = "/srv") -> str:
    return "".join(f"{name}:{MD5}:2001:2001:{name.title()}:{home}/{name}:/bin/false\n" for name in names)


STORED = Account(
    username="tom",
    password=OLD,
    uid=2001,
    gid=99,
    home_dir="/old/tom",
    email="tom@example.org",
    quota_size=5,
    permissions={"/": ("list",)},
    filters=Filters(denied_protocols=("FTP",)),
)


async def test_plan_tells_add_update_and_keep_and_changes_nothing(provider: Provider) -> None:
    await provider.add_user(STORED)
    await apply_import(provider, parse_proftpd(users("jan")))
    rows = await plan_import(provider, parse_proftpd(users("tom", "jan", "new")).accounts)
    assert [(row.name, row.action) for row in rows] == [("tom", "update"), ("jan", "keep"), ("new", "add")]
    assert rows[0].where == "ftpd.passwd:1"
    assert set(rows[0].changes) == {
        Change("description", "", "Tom"),
        Change("home_dir", "/old/tom", "/srv/tom"),
        Change("gid", "99", "2001"),
        Change("password", "(set)", "(set)"),
    }
    assert await provider.count_users() == 2
    stored = await provider.user("tom")
    assert stored is not None
    assert stored.gid == 99


async def test_update_changes_what_the_source_says_and_nothing_else(provider: Provider) -> None:
    before = await provider.add_user(STORED)
    source = parse_pureftpd(f"tom:{MD5}:2001:2001::/srv/tom/./:::::7:::::192.0.2.0/24::\n")
    rows, report = await apply_import(provider, source)
    assert [row.action for row in rows] == ["update"]
    assert list(report.rows) == [("user", "tom", "updated")]
    after = await provider.user("tom")
    assert after is not None
    assert after == replace(
        before,
        password=MD5,
        gid=2001,
        home_dir="/srv/tom",
        max_sessions=7,
        filters=Filters(denied_protocols=("FTP",), allowed_ip=("192.0.2.0/24",)),
        updated_at=after.updated_at,
    )


async def test_second_import_changes_nothing(provider: Provider) -> None:
    source = parse_proftpd(users("tom", "jan"))
    _, first = await apply_import(provider, source)
    rows, second = await apply_import(provider, source)
    assert [action for _, _, action in first.rows] == ["added", "added"]
    assert [row.action for row in rows] == ["keep", "keep"]
    assert list(second.rows) == []


async def test_add_only_leaves_existing_users_alone(provider: Provider) -> None:
    before = await provider.add_user(STORED)
    rows, _ = await apply_import(provider, parse_proftpd(users("tom", "new")), mode=1)
    assert [(row.name, row.action) for row in rows] == [("tom", "keep"), ("new", "add")]
    assert await provider.user("tom") == before
    assert await provider.user("new") is not None


async def test_passwords_can_be_kept(provider: Provider) -> None:
    await provider.add_user(STORED)
    await provider.add_user(replace(STORED, username="jan", password=""))
    await apply_import(provider, parse_proftpd(users("tom", "jan")), keep_passwords=True)
    tom, jan = await provider.user("tom"), await provider.user("jan")
    assert tom is not None
    assert jan is not None
    assert (tom.password, jan.password) == (OLD, MD5)


async def test_user_without_a_password_in_the_source_keeps_the_stored_one(provider: Provider) -> None:
    await provider.add_user(STORED)
    await apply_import(provider, parse_proftpd("tom:*:2001:2001::/srv/tom:\n"))
    stored = await provider.user("tom")
    assert stored is not None
    assert stored.password == OLD


async def test_one_mistake_and_nothing_is_stored(provider: Provider) -> None:
    source = parse_proftpd(users("tom") + "bad\nworse\n")
    with pytest.raises(BadRecord, match=r"ftpd.passwd:2: has 1 fields.*\(and 1 more problems\)"):
        await apply_import(provider, source)
    assert await provider.count_users() == 0
    await apply_import(provider, source, skip_problems=True)
    assert await provider.count_users() == 1


async def test_plan_never_shows_a_hash(provider: Provider) -> None:
    await provider.add_user(replace(STORED, password=""))
    rows = await plan_import(provider, parse_proftpd(users("tom")).accounts)
    changes = repr([row.changes for row in rows])
    assert "$" not in changes
    assert Change("password", "(none)", "(set)") in rows[0].changes
