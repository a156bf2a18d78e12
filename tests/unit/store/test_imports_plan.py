# SPDX-License-Identifier: Apache-2.0
"""The dry run's table, and the import itself, on a real provider."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.support.loading import apply_import

from tidegate.errors import BadRecord
from tidegate.model import Account, Filters, GroupUse
from tidegate.model.group import Group, GroupSettings
from tidegate.store.contract import Provider
from tidegate.store.factory import create_provider
from tidegate.store.imports.common import Harvest
from tidegate.store.imports.openbridge import OpenbridgeTables, parse_openbridge
from tidegate.store.imports.plan import Change, plan_import
from tidegate.store.imports.proftpd import parse_proftpd
from tidegate.store.imports.pureftpd import parse_pureftpd
from tidegate.store.options import ProviderOptions

KEYS = tuple(
    base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes([number]) * 32).decode() for number in (1, 2, 3)
)
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
    rows = await plan_import(provider, parse_proftpd(users("tom", "jan", "new")).accounts, source="proftpd")
    assert [(row.name, row.action) for row in rows] == [("tom", "update"), ("jan", "keep"), ("new", "add")]
    assert rows[0].where == "ftpd.passwd:1"
    assert set(rows[0].changes) == {
        Change("description", "", "Tom"),
        Change("home_dir", "/old/tom", "/srv/tom"),
        Change("gid", "99", "2001"),
        Change("password", "(set)", "(set)"),
        Change("filters.imported_from", "", "proftpd"),
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
        filters=Filters(denied_protocols=("FTP",), allowed_ip=("192.0.2.0/24",), imported_from="pureftpd"),
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


async def test_who_is_gone_in_the_source_is_told_and_disabled_on_demand(provider: Provider) -> None:
    await provider.add_user(replace(STORED, username="byhand"))
    await apply_import(provider, parse_proftpd(users("tom", "jan")))
    less = parse_proftpd(users("tom"))

    rows, _ = await apply_import(provider, less)
    assert [(row.name, row.action) for row in rows] == [("tom", "keep"), ("jan", "gone")]
    jan = await provider.user("jan")
    assert jan is not None
    assert jan.status == 1

    rows, _ = await apply_import(provider, less, disable_missing=True)
    assert [(row.name, row.action, row.changes) for row in rows][1:] == [
        ("jan", "disable", (Change("status", "1", "0"),))
    ]
    jan, byhand = await provider.user("jan"), await provider.user("byhand")
    assert jan is not None
    assert byhand is not None
    assert (jan.status, byhand.status) == (0, 1)
    assert [row.action for row in (await apply_import(provider, less))[0]] == ["keep"]


async def test_new_accounts_are_shown_field_by_field(provider: Provider) -> None:
    rows = await plan_import(provider, parse_proftpd(users("new")).accounts, source="proftpd")
    assert {(change.field, change.after) for change in rows[0].changes} >= {
        ("home_dir", "/srv/new"),
        ("uid", "2001"),
        ("password", "(set)"),
        ("permissions", '{"/": ["*"]}'),
        ("filters.imported_from", "proftpd"),
    }


async def test_keys_that_an_import_brought_go_with_it_and_others_stay(provider: Provider) -> None:
    first, second, ours = (f"ssh-ed25519 {word}" for word in KEYS)

    def source(*keys: str) -> OpenbridgeTables:
        row = {"userid": "tom", "passwd": "0" * 64, "uid": 2001, "gid": 2001, "homedir": "/srv/tom"}
        return OpenbridgeTables(
            user=[row | {"status": "active"}], userkey=[{"userid": "tom", "publickey": key} for key in keys]
        )

    def read(*keys: str, missing: tuple[str, ...] = ()) -> Harvest:
        return parse_openbridge(replace(source(*keys), missing=missing), parse_key=str)

    async def blobs() -> list[str]:
        tom = await provider.user("tom")
        assert tom is not None
        return [key.split()[1] for key in tom.public_keys]

    await apply_import(provider, read(first, second))
    tom = await provider.user("tom")
    assert tom is not None
    await provider.update_user(replace(tom, public_keys=(*tom.public_keys, ours)))
    assert await blobs() == list(KEYS)

    await apply_import(provider, read(first))
    assert await blobs() == [KEYS[0], KEYS[2]]
    await apply_import(provider, read(missing=("ftpd_userkey",)))  # nothing is known of keys
    assert await blobs() == [KEYS[0], KEYS[2]]
    rows, _ = await apply_import(provider, read())
    assert await blobs() == [KEYS[2]]
    assert [change.field for change in rows[0].changes] == ["public_keys"]
    assert "SHA256:" in rows[0].changes[0].before


# -- groups ------------------------------------------------------------------------------------------------------


def with_group(*, group: str = "team", files: int = 5, gone: bool = False) -> Harvest:
    row = {"userid": "tom", "passwd": "0" * 64, "uid": 7, "gid": 8, "homedir": "/srv/tom", "status": "active"}
    limit = {
        "name": group, "quota_type": "group", "per_session": "false", "limit_type": "hard", "files_in_avail": files,
    }  # fmt: skip
    groups = [] if gone else [{"groupname": group, "gid": 8, "members": "tom"}]
    tables = OpenbridgeTables(user=[row], group=groups, quotalimit=[limit])
    return parse_openbridge(tables, parse_key=str)


async def test_groups_follow_their_source_and_keep_what_they_were_given_here(provider: Provider) -> None:
    rows, _ = await apply_import(provider, with_group())
    assert [(row.kind, row.name, row.action) for row in rows] == [
        ("group", "team", "add"),
        ("user", "tom", "add"),
    ]
    group = await provider.group("team")
    assert group is not None
    await provider.update_group(replace(group, user_settings=replace(group.user_settings, max_sessions=3)))
    rows, _ = await apply_import(provider, with_group())
    assert [row.action for row in rows] == ["keep", "keep"]
    rows, _ = await apply_import(provider, with_group(files=6))
    assert [(row.name, row.action) for row in rows] == [("team", "update"), ("tom", "keep")]
    group = await provider.group("team")
    assert group is not None and group.user_settings.filters.tally_limits is not None
    assert (group.user_settings.max_sessions, group.user_settings.filters.tally_limits.files_in) == (3, 6)
    rows, _ = await apply_import(provider, with_group(gone=True))
    assert [(row.name, row.action) for row in rows] == [("team", "gone"), ("tom", "update")]
    assert await provider.group_users("team") == []


async def test_a_primary_group_of_ones_own_stays_and_the_limit_holds(provider: Provider) -> None:
    await provider.add_group(Group(name="mine"))
    await provider.add_user(replace(STORED, groups=(GroupUse(name="mine", type=1),)))
    for action in ("update", "keep"):
        rows, _ = await apply_import(provider, with_group())
        assert rows[-1].action == action
        stored = await provider.user("tom")
        assert stored is not None and stored.filters.tally_limits is not None
        assert [(use.name, use.type) for use in stored.groups] == [("mine", 1), ("team", 2)]
        assert stored.filters.tally_limits.files_in == 5


async def test_a_group_of_the_same_name_that_is_another_gives_nobody_anything(provider: Provider) -> None:
    await provider.add_group(Group(name="team", user_settings=GroupSettings(home_dir="/elsewhere")))
    with pytest.raises(BadRecord, match="'team' is a group here that did not come from openbridge"):
        await apply_import(provider, with_group())
    assert await provider.count_users() == 0
