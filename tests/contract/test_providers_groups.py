# SPDX-License-Identifier: Apache-2.0
"""Groups, roles and the count of logins in every provider."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf
from tests.support.accounts import plain_account

from tidegate.accounts.secrets import count_secrets, rotate_secrets
from tidegate.errors import AlreadyExists, BadRecord, NotFound, Outdated, UnknownFolder
from tidegate.model import Admin, Filters, Folder, FolderMount, GroupUse, StorageConfig
from tidegate.model.group import Group, GroupSettings, Role
from tidegate.model.sealing import SecretPlace, open_secrets
from tidegate.sealing.keys import from_bytes
from tidegate.sealing.sealer import Keyring, Sealer
from tidegate.store.contract import Provider, Snapshot

GROUP = Group(
    name="Partners \u00e9",
    description="d",
    user_settings=GroupSettings(
        home_dir="/srv/%username%",
        max_sessions=2,
        permissions={"/": ("*",), "/in_%username%": ("list",)},
        expires_in=30,
        filters=Filters(denied_ip=("10.0.0.0/8",), extra={"web_client": ["shares-disabled"]}),
        filesystem=StorageConfig("s3", {"s3config": {"bucket": "b", "access_secret": "x"}}),
    ),
)
MOUNT = FolderMount(name="f", virtual_path="/g", mapped_path="/srv/f")


async def test_what_is_stored_is_read_again(provider: Provider) -> None:
    stored = await provider.add_group(GROUP)
    assert stored.id and stored.created_at == stored.updated_at > 0
    assert replace(stored, id=0, created_at=0, updated_at=0) == GROUP
    assert await provider.group(GROUP.name) == stored
    assert await provider.group("partners \u00e9") is None
    assert await provider.groups_named(["no", GROUP.name, "x" * 256]) == [stored]
    assert await provider.existing("group", [GROUP.name, "no"]) == {GROUP.name}
    with pytest.raises(AlreadyExists):
        await provider.add_group(GROUP)
    changed = await provider.update_group(replace(GROUP, description="e"))
    assert (changed.id, changed.description) == (stored.id, "e")
    assert changed.updated_at > stored.updated_at
    assert await provider.groups(order="DESC") == [changed]

    def refuse(_: Group) -> None:
        raise Outdated("x")

    with pytest.raises(Outdated):
        await provider.update_group(GROUP, guard=refuse)
    with pytest.raises(Outdated):
        await provider.delete_group(GROUP.name, guard=refuse)
    await provider.delete_group(GROUP.name)
    for work in (
        provider.delete_group(GROUP.name),
        provider.update_group(GROUP),
        provider.delete_group("\0"),
    ):
        with pytest.raises(NotFound):
            await work
    assert await provider.groups() == []


async def test_a_role_is_read_again(provider: Provider) -> None:
    stored = await provider.add_role(Role(name="emea", description="d"))
    assert stored.id and await provider.role("emea") == stored
    assert await provider.roles() == [stored]
    changed = await provider.update_role(Role(name="emea", description="e"))
    assert changed.updated_at > stored.updated_at
    await provider.delete_role("emea")
    with pytest.raises(NotFound):
        await provider.delete_role("emea")


async def test_groups_mount_folders_as_they_are_now(provider: Provider) -> None:
    with pytest.raises(UnknownFolder):
        await provider.add_group(replace(GROUP, virtual_folders=(replace(MOUNT, mapped_path=""),)))
    stored = await provider.add_group(replace(GROUP, virtual_folders=(MOUNT,)))
    assert stored.virtual_folders == (MOUNT,)
    assert await provider.folder_groups("f") == [GROUP.name]
    assert await provider.folder_users("f") == []
    await provider.update_folder(Folder(name="f", mapped_path="/srv/moved", description="x"))
    [mount] = (await provider.groups_named([GROUP.name]))[0].virtual_folders
    assert (mount.mapped_path, mount.description) == ("/srv/moved", "x")
    await provider.delete_folder("f")
    await provider.add_folder(Folder(name="f", mapped_path="/srv/other"))
    again = await provider.group(GROUP.name)
    assert again is not None and again.virtual_folders == ()


async def test_who_has_a_group(provider: Provider) -> None:
    with pytest.raises(BadRecord, match=r"groups\[0\]\.name: there is no group 'g'"):
        await provider.add_user(replace(plain_account("ana"), groups=(GroupUse(name="g"),)))
    assert await provider.user("ana") is None
    await provider.add_group(Group(name="g"))
    await provider.add_group(Group(name="h"))
    uses = (GroupUse(name="h", type=2), GroupUse(name="g", type=1))
    stored = await provider.add_user(replace(plain_account("ana"), groups=uses))
    assert stored.groups == uses and await provider.user("ana") == stored
    await provider.add_user(replace(plain_account("bob"), groups=(GroupUse(name="g", type=3),)))
    assert await provider.group_users("g") == ["ana", "bob"]
    assert await provider.group_users("h") == ["ana"]
    with pytest.raises(BadRecord, match="is used by ana, bob, it cannot be removed"):
        await provider.delete_group("g")
    await provider.update_user(replace(stored, groups=(GroupUse(name="h", type=1),)))
    await provider.delete_user("bob")
    assert await provider.group_users("g") == []
    await provider.delete_group("g")
    assert [one.username for one in await provider.users()] == ["ana"]


async def test_who_has_a_role(provider: Provider) -> None:
    for work in (
        provider.add_user(replace(plain_account("ana"), role="r")),
        provider.add_admin(Admin(username="adm", permissions=("add_users",), password="x", role="r")),
    ):
        with pytest.raises(BadRecord, match="there is no role 'r'"):
            await work
    await provider.add_role(Role(name="r"))
    for name in ("ana", "bob", "cy"):
        await provider.add_user(replace(plain_account(name), role="" if name == "bob" else "r"))
    admin = await provider.add_admin(
        Admin(username="adm", permissions=("add_users",), password="x", role="r")
    )
    assert await provider.admin("adm") == admin and admin.role == "r"
    assert [one.username for one in await provider.users(role="r", order="DESC")] == ["cy", "ana"]
    assert [one.username for one in await provider.users(role="r", offset=1)] == ["cy"]
    assert await provider.users(role="other") == []
    assert await provider.role_users("r") == ["ana", "cy"]
    assert await provider.role_admins("r") == ["adm"]
    for name in ("ana", "cy"):
        with pytest.raises(BadRecord, match="cannot be removed"):
            await provider.delete_role("r")
        await provider.delete_user(name)
    with pytest.raises(BadRecord, match="is used by adm"):
        await provider.delete_role("r")
    await provider.update_admin(replace(admin, role=""))
    await provider.delete_role("r")


async def test_a_load_brings_them(provider: Provider) -> None:
    user = replace(plain_account("ana"), groups=(GroupUse(name="g"),), role="r")
    snapshot = Snapshot(
        folders=[Folder(name="f", mapped_path="/srv/f")],
        groups=[Group(name="g", virtual_folders=(replace(MOUNT, mapped_path=""),))],
        roles=[Role(name="r")],
        users=[user],
    )
    report = await provider.load(snapshot)
    assert {row for row in report.rows if row[0] in ("group", "role")} == {
        ("group", "g", "added"),
        ("role", "r", "added"),
    }
    assert {row[2] for row in (await provider.load(snapshot, mode=1)).rows} == {"kept"}
    assert {row[2] for row in (await provider.load(snapshot)).rows} == {"updated"}
    assert await provider.group_users("g") == ["ana"] == await provider.role_users("r")
    [group] = await provider.groups()
    assert group.virtual_folders == (MOUNT,)
    bad = replace(user, groups=(GroupUse(name="gone"),))
    with pytest.raises(BadRecord, match="there is no group 'gone'"):
        await provider.load(Snapshot(users=[bad]))
    assert await provider.group_users("g") == ["ana"]


@pytest.mark.parametrize("driver", DRIVERS)
async def test_secrets_are_encrypted_and_rotated(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    old, new = from_bytes(b"o" * 32, ""), from_bytes(b"n" * 32, "")
    seals = [Sealer(lambda ring=ring: ring) for ring in (Keyring(old, ()), Keyring(new, (old,)))]
    provider = await opened(replace(options_of(driver), seals=seals[0]))
    await provider.add_group(GROUP)
    assert "'x'" not in str((await provider.groups())[0].user_settings.filesystem.options)
    assert await count_secrets(provider) == {
        ("group", "filesystem.s3config.access_secret", old.id): 1,
    }
    done = await rotate_secrets(provider, seals[1], new.id)
    assert (done.renewed, done.secrets, done.locked) == (1, 1, [])
    [group] = await provider.groups()
    place = SecretPlace("group", group.name, "filesystem")
    options = open_secrets(group.user_settings.filesystem.options, Sealer(lambda: Keyring(new, ())), place)
    assert "'x'" in str(options)


async def test_logins_are_counted(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))
    await provider.touch_login("ana", 5)
    await provider.touch_login("ana", 9, logins=3)
    found = await provider.user("ana")
    assert found is not None and (found.last_login, found.login_count) == (9, 4)
    await provider.update_user(replace(found, login_count=0))
    await provider.keep_external("guest")
    await provider.touch_login("guest", 7)
    found, guest = await provider.user("ana"), await provider.external("guest")
    assert found is not None and found.login_count == 4
    assert guest is not None and (guest.last_login, guest.login_count) == (7, 1)
