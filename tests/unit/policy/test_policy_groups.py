# SPDX-License-Identifier: Apache-2.0
"""Accounts inherit from groups as a slow oracle says it, field by field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import BadRecord
from tidegate.model import (
    Account,
    FilePatterns,
    Filters,
    FolderMount,
    GroupUse,
    StorageConfig,
    TransferLimit,
)
from tidegate.model.group import Group, GroupSettings
from tidegate.policy.folders import storage_of
from tidegate.policy.groups import MS_PER_DAY, resolve

PATHS = ("/", "/in", "/in/%username%", "/in/ana")
LISTS = ("allowed_ip", "denied_ip", "denied_protocols", "data_transfer_limits")
NETWORKS = ("10.0.0.0/8", "192.0.2.0/24", "::/0")
numbers = st.sampled_from((0, 0, 1, 7))
some = st.lists(st.sampled_from(NETWORKS), max_size=2, unique=True).map(tuple)
permissions = st.dictionaries(
    st.sampled_from(PATHS), st.sampled_from((("*",), ("list",), ("list", "download"))), max_size=3
)
filters = st.builds(
    Filters,
    allowed_ip=some,
    denied_ip=some,
    ip_order=st.sampled_from(("denied", "allowed")),
    denied_protocols=st.lists(st.sampled_from(("FTP", "DAV")), max_size=2, unique=True).map(tuple),
    file_patterns=st.lists(st.sampled_from(PATHS[:3]), max_size=2, unique=True).map(
        lambda paths: tuple(FilePatterns(path=path, denied_patterns=(path[-1],)) for path in paths)
    ),
    max_upload_file_size=numbers,
    start_directory=st.sampled_from(("", "/in", "/%username%")),
    disable_fs_checks=st.booleans(),
    is_anonymous=st.booleans(),
    data_transfer_limits=st.lists(numbers, max_size=2, unique=True).map(
        lambda found: tuple(TransferLimit(sources=("10.0.0.0/8",), total_data_transfer=one) for one in found)
    ),
)
mounts = st.lists(st.sampled_from(PATHS), max_size=2, unique=True).map(
    lambda paths: tuple(FolderMount(name=path.strip("/%") or "r", virtual_path=path) for path in paths)
)


@st.composite
def groups(draw: st.DrawFn, name: str) -> Group:
    given_settings = GroupSettings(
        home_dir=draw(st.sampled_from(("", "/srv/g", "/srv/%username%"))),
        max_sessions=draw(numbers),
        quota_size=draw(numbers),
        permissions=draw(permissions),
        upload_bandwidth=draw(numbers),
        upload_data_transfer=draw(numbers),
        total_data_transfer=draw(numbers),
        expires_in=draw(numbers),
        filters=draw(filters),
        filesystem=draw(
            st.sampled_from((StorageConfig(), StorageConfig("s3", {"s3config": {"bucket": "b"}})))
        ),
    )
    return Group(name=name, user_settings=given_settings, virtual_folders=draw(mounts))


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    uses = draw(st.permutations(("one", "two", "three")))
    kinds = draw(st.sampled_from(((1, 2, 3), (2, 1), (2, 2), (3,), (1,), ())))
    return Account(
        username="ana",
        home_dir="/srv/ana",
        created_at=draw(st.sampled_from((0, 1_000))),
        expiration_date=draw(st.sampled_from((0, 5))),
        max_sessions=draw(numbers),
        quota_size=draw(numbers),
        permissions={"/": ("list",), **draw(permissions)},
        upload_bandwidth=draw(numbers),
        download_data_transfer=draw(numbers),
        filters=draw(filters),
        virtual_folders=tuple(one for one in draw(mounts) if "%" not in one.virtual_path),
        groups=tuple(GroupUse(name=name, type=kind) for name, kind in zip(uses, kinds, strict=False)),
    )


def oracle(account: Account, known: dict[str, Group]) -> dict[str, Any]:
    """The account with its groups, each field by its own sentence."""
    primary = [known[use.name] for use in account.groups if use.type == 1]
    secondary = [known[use.name] for use in account.groups if use.type == 2]
    first = primary[0].user_settings if primary else GroupSettings()
    order = [(one, True) for one in primary] + [(one, False) for one in secondary]

    def fill(text: str) -> str:
        return text.replace("%username%", account.username)

    def first_of(kind: str) -> Any:
        return getattr(account, kind) or getattr(first, kind)

    def by_path(own: dict[str, Any], theirs: list[tuple[dict[str, Any], bool]]) -> dict[str, Any]:
        result = dict(own)
        for one, is_primary in theirs:
            for path, value in one.items():
                if fill(path) not in result and (path != "/" or is_primary):
                    result[fill(path)] = value
        return result

    def joined(kind: str) -> list[Any]:
        result = list(getattr(account.filters, kind))
        for one, _ in order:
            result += [item for item in getattr(one.user_settings.filters, kind) if item not in result]
        return result

    transfers = ("upload_data_transfer", "download_data_transfer", "total_data_transfer")
    own_transfer = any(getattr(account, kind) for kind in transfers)
    givers = [account.filters, *(one.user_settings.filters for one, _ in order)]
    orders = [one.ip_order for one in givers if one.allowed_ip or one.denied_ip]
    rights = [(one.user_settings.permissions, is_primary) for one, is_primary in order]
    wanted = by_path(account.permissions, rights)
    if first.permissions.get("/"):
        wanted["/"] = first.permissions["/"]
    expires = account.expiration_date
    if not expires and first.expires_in and account.created_at:
        expires = account.created_at + first.expires_in * MS_PER_DAY
    return {
        "home_dir": fill(first.home_dir) or account.home_dir,
        "storage": first.filesystem if not first.filesystem.is_local else account.filesystem,
        "numbers": [first_of(kind) for kind in ("max_sessions", "quota_size", "upload_bandwidth")],
        "transfers": [getattr(account if own_transfer else first, kind) for kind in transfers],
        "expires": expires,
        "permissions": wanted,
        "lists": [joined(kind) for kind in LISTS],
        "order": (
            (
                account.filters.ip_order
                if not orders
                else "allowed"
                if set(orders) == {"allowed"}
                else "denied"
            )
            if account.groups
            else account.filters.ip_order
        ),
        "patterns": {
            path: item.denied_patterns
            for path, item in by_path(
                {item.path: item for item in account.filters.file_patterns},
                [
                    ({item.path: item for item in one.user_settings.filters.file_patterns}, is_primary)
                    for one, is_primary in order
                ],
            ).items()
        },
        "single": [
            account.filters.max_upload_file_size or first.filters.max_upload_file_size,
            account.filters.start_directory or fill(first.filters.start_directory),
            account.filters.disable_fs_checks or first.filters.disable_fs_checks,
            account.filters.is_anonymous or first.filters.is_anonymous,
        ],
        "mounts": list(
            by_path(
                {one.virtual_path: one for one in account.virtual_folders},
                [({m.virtual_path: m for m in one.virtual_folders}, is_primary) for one, is_primary in order],
            )
        ),
    }


def told(account: Account) -> dict[str, Any]:
    """The same of what the code under test made."""
    rules = account.filters
    return {
        "home_dir": account.home_dir,
        "storage": account.filesystem,
        "numbers": [account.max_sessions, account.quota_size, account.upload_bandwidth],
        "transfers": [
            account.upload_data_transfer,
            account.download_data_transfer,
            account.total_data_transfer,
        ],
        "expires": account.expiration_date,
        "permissions": account.permissions,
        "lists": [list(getattr(rules, kind)) for kind in LISTS],
        "order": rules.ip_order,
        "patterns": {item.path: item.denied_patterns for item in rules.file_patterns},
        "single": [
            rules.max_upload_file_size,
            rules.start_directory,
            rules.disable_fs_checks,
            rules.is_anonymous,
        ],
        "mounts": [mount.virtual_path for mount in account.virtual_folders],
    }


@settings(max_examples=50, deadline=None)
@given(account=accounts(), one=groups("one"), two=groups("two"), three=groups("three"))
def test_an_account_comes_to_what_the_sentences_say(
    account: Account, one: Group, two: Group, three: Group
) -> None:
    known = {group.name: group for group in (one, two, three)}
    found = resolve(account, known)
    assert told(found.account) == oracle(account, known)
    kept = ("username", "password", "public_keys", "groups", "role", "status", "uid", "tally")
    assert [getattr(found.account, name) for name in kept] == [getattr(account, name) for name in kept]
    # What no group gave is the account's own.
    before, after = told(account), told(found.account)
    for name in ("home_dir", "expires"):
        field = "expiration_date" if name == "expires" else name
        assert (before[name] == after[name]) or field in found.origins
    for names in found.origins.values():
        assert set(names) <= {use.name for use in account.groups if use.type != 3}


ANA = Account(username="ana", permissions={"/": ("*",)}, groups=(GroupUse(name="g"),))


def group(**given_settings: Any) -> dict[str, Group]:
    return {"g": Group(name="g", user_settings=GroupSettings(**given_settings))}


def test_an_account_without_groups_is_itself() -> None:
    account = Account(username="ana")
    assert resolve(account, {}).account is account


@pytest.mark.parametrize(
    ("account", "home", "message"),
    [
        (ANA, "", "home_dir: neither 'ana' nor its primary group has a home"),
        (ANA, "/srv/%role%/x", "home_dir: %role% of a group has no usable value for 'ana'"),
        (replace(ANA, role="a/b"), "/srv/%role%/x", "no usable value"),
        (replace(ANA, username=".."), "/srv/%username%", "leads elsewhere"),
        (replace(ANA, username="."), "/srv/%username%%username%/x", "leads elsewhere"),
        (
            replace(ANA, permissions={"/in": ("*",)}),
            "/srv/x",
            'permissions: neither .* has permissions for "/"',
        ),
    ],
)
def test_what_cannot_be_told_is_refused(account: Account, home: str, message: str) -> None:
    with pytest.raises(BadRecord, match=message):
        resolve(account, group(home_dir=home))


def test_a_missing_group_and_a_home_that_nobody_may_have_are_refused() -> None:
    with pytest.raises(BadRecord, match="groups: the group 'g' of 'ana' does not exist"):
        resolve(ANA, {})
    with pytest.raises(BadRecord, match="home_dir: of 'ana' by its group: no"):
        resolve(
            ANA, group(home_dir="/srv/%username%"), home_refused=lambda path: "no" if "ana" in path else None
        )


def test_a_placeholder_is_filled_in_once() -> None:
    account = replace(ANA, username="%role%", role="staff")
    found = resolve(account, group(home_dir="/srv/%role%/%username%")).account
    assert found.home_dir == "/srv/staff/%role%"


def test_secrets_of_storage_stay_the_groups() -> None:
    config = StorageConfig("s3", {"s3config": {"bucket": "b", "key_prefix": "%username%/"}})
    found = resolve(ANA, group(home_dir="/srv/x", filesystem=config)).account
    assert found.filesystem.options == {"s3config": {"bucket": "b", "key_prefix": "ana/"}}
    owner = storage_of(found).owner
    assert (owner.kind, owner.name) == ("group", "g")


def test_one_folder_may_stand_for_a_directory_of_each() -> None:
    mount = FolderMount(
        name="f", virtual_path="/f", mapped_path="/srv/f/%username%", quota_size=5, quota_files=5
    )
    groups_ = {"g": replace(group(home_dir="/srv/x")["g"], virtual_folders=(mount,))}
    (found,) = resolve(ANA, groups_).account.virtual_folders
    assert (found.mapped_path, found.quota_size) == ("/srv/f/ana", -1)


def test_origins_name_the_groups() -> None:
    first = Group(name="g", user_settings=GroupSettings(home_dir="/srv/x", permissions={"/": ("list",)}))
    second = Group(name="h", user_settings=GroupSettings(filters=Filters(denied_ip=("10.0.0.0/8",))))
    account = replace(ANA, groups=(GroupUse(name="h", type=2), GroupUse(name="g", type=1)))
    assert resolve(account, {"g": first, "h": second}).origins == {
        "home_dir": ("g",),
        'permissions["/"]': ("g",),
        "filters.denied_ip": ("h",),
    }
