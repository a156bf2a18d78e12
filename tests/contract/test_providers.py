# SPDX-License-Identifier: Apache-2.0
"""One suite over all five providers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import full_account, full_admin, full_folder, full_key, plain_account

from tidegate.errors import AlreadyExists, BadRecord, NotFound, ProviderError
from tidegate.model import Account, Admin, ApiKey, Folder, FolderMount, StorageConfig, Tally
from tidegate.store.contract import Provider, Record, Snapshot, UsageDelta

TIMES = ("id", "created_at", "updated_at")


def same(stored: object, given: object) -> bool:
    """Equal but for what a provider sets itself."""
    blank = {name: 0 for name in TIMES if hasattr(given, name) and not isinstance(given, ApiKey)}
    if isinstance(given, ApiKey):
        blank = {"created_at": 0, "updated_at": 0}
    return replace(stored, **blank) == replace(given, **blank)


async def test_account_comes_back_as_it_was_given(provider: Provider) -> None:
    before = time.time_ns() // 1_000_000
    given = full_account()

    stored = await provider.add_user(given)
    found = await provider.user(given.username)

    assert found == stored
    assert same(found, given)
    assert found.id > 0
    assert found.created_at >= before
    assert found.updated_at >= before
    assert [mount.name for mount in found.virtual_folders] == ["shared", "archive"]


async def test_plain_account_has_defaults(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))

    assert same(await provider.user("ana"), plain_account("ana"))


async def test_which_names_are_taken(provider: Provider) -> None:
    users = [plain_account(f"u{n}") for n in range(1_200)]
    await provider.load(
        Snapshot(users=users, folders=[full_folder()], admins=[full_admin()], api_keys=[full_key()])
    )
    asked = [account.username for account in users] + ["nobody", "U1", "", "a\0b", "\ud800"]

    assert await provider.existing("user", asked) == {account.username for account in users}
    assert await provider.existing("user", []) == set()
    assert await provider.existing("folder", ["nobody", full_folder().name]) == {full_folder().name}
    assert await provider.existing("admin", ["nobody", full_admin().username]) == {full_admin().username}
    assert await provider.existing("api_key", ["nobody", full_key().id]) == {full_key().id}


@pytest.mark.parametrize(
    "name",
    ["nobody", "", "a\0b", "\ud800", "x" * 256, "é" * 200, "' OR 1=1 --", "%", "ana ", "ANA", "an", "anaa"],
)
async def test_unknown_names_are_none(provider: Provider, name: str) -> None:
    await provider.add_user(plain_account("ana"))

    assert await provider.user(name) is None
    assert await provider.folder(name) is None
    assert await provider.admin(name) is None
    assert await provider.api_key(name) is None


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 256, "nobody"])
async def test_writes_to_unknown_names_say_so(provider: Provider, name: str) -> None:
    with pytest.raises(NotFound):
        await provider.delete_user(name)
    with pytest.raises(NotFound):
        await provider.set_password(name, "$1$x")
    with pytest.raises(NotFound):
        await provider.add_usage(name, UsageDelta(size=1))
    with pytest.raises(NotFound):
        await provider.touch_login(name, 1)
    with pytest.raises(NotFound):
        await provider.touch_first(name, "upload", 1)
    with pytest.raises(NotFound):
        await provider.mark_usage(name, dirty=True)
    with pytest.raises(NotFound):
        await provider.add_folder_usage(name, size=1, files=1)
    with pytest.raises(NotFound):
        await provider.set_folder_usage(name, size=1, files=1)
    with pytest.raises(NotFound):
        await provider.delete_folder(name)
    with pytest.raises(NotFound):
        await provider.delete_admin(name)
    with pytest.raises(NotFound):
        await provider.delete_api_key(name)


async def test_updating_what_is_not_there_says_so(provider: Provider) -> None:
    with pytest.raises(NotFound, match="'ana'"):
        await provider.update_user(plain_account("ana"))
    with pytest.raises(NotFound, match="'data'"):
        await provider.update_folder(full_folder())
    with pytest.raises(NotFound, match="'root'"):
        await provider.update_admin(full_admin())
    with pytest.raises(NotFound, match="'k1'"):
        await provider.update_api_key(full_key())


async def test_names_are_taken_once_and_exactly(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))
    await provider.add_user(plain_account("Ana"))
    await provider.add_user(plain_account("aná"))

    with pytest.raises(AlreadyExists, match="'ana'"):
        await provider.add_user(plain_account("ana", description="again"))

    assert (await provider.user("ana")).description == ""
    assert await provider.count_users() == 3


async def test_two_adding_one_name_at_once_makes_one(provider: Provider) -> None:
    results = await asyncio.gather(
        *(provider.add_user(plain_account("ana", description=str(n))) for n in range(4)),
        return_exceptions=True,
    )

    assert sum(isinstance(result, Account) for result in results) == 1
    assert sum(isinstance(result, AlreadyExists) for result in results) == 3
    assert await provider.count_users() == 1


async def test_update_replaces_but_keeps_usage(provider: Provider) -> None:
    stored = await provider.add_user(full_account())
    await provider.touch_login(stored.username, 4242)
    new = plain_account(stored.username, password="$1$new", used_quota_size=1, last_login=1)

    changed = await provider.update_user(new)

    assert changed == await provider.user(stored.username)
    assert changed.id == stored.id
    assert changed.created_at == stored.created_at
    assert changed.updated_at > stored.updated_at
    assert changed.last_login == 4242
    assert changed.used_quota_size == 2**41
    assert changed.used_upload_data_transfer == 4
    assert changed.first_upload == 8
    assert changed.tally == stored.tally
    assert changed.password == "$1$new"
    assert changed.public_keys == ()
    assert changed.filters == new.filters
    assert changed.virtual_folders == ()


async def test_update_can_replace_usage_too(provider: Provider) -> None:
    await provider.add_user(full_account())

    changed = await provider.update_user(plain_account("zoë", used_quota_files=3), keep_usage=False)

    assert changed.used_quota_size == 0
    assert changed.used_quota_files == 3
    assert changed.tally == Tally()
    assert changed.last_login == 0


async def test_updated_at_grows_with_every_change(provider: Provider) -> None:
    times = [(await provider.add_user(plain_account("ana"))).updated_at]
    for number in range(5):
        times.append((await provider.update_user(plain_account("ana", uid=number))).updated_at)
    await provider.set_password("ana", "$1$x")
    times.append((await provider.user("ana")).updated_at)

    assert times == sorted(set(times))


async def test_password_alone(provider: Provider) -> None:
    stored = await provider.add_user(full_account())

    await provider.set_password("zoë", "$6$x")
    first = await provider.user("zoë")
    await provider.set_password("zoë", "$6$y", changed_at=99)
    second = await provider.user("zoë")

    assert (first.password, first.last_password_change) == ("$6$x", 9)
    assert (second.password, second.last_password_change) == ("$6$y", 99)
    assert same(replace(second, password=stored.password, last_password_change=9), stored)


async def test_first_times_are_set_once(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))
    for when in (5, 6):
        await provider.touch_first("ana", "upload", when)
        await provider.touch_first("ana", "download", when + 10)

    found = await provider.user("ana")

    assert (found.first_upload, found.first_download) == (5, 15)


async def test_delete_takes_keys_and_mounts_along(provider: Provider) -> None:
    await provider.add_user(full_account())
    await provider.add_user(plain_account("bob"))
    await provider.add_api_key(full_key("k1", scope=2, user="zoë"))
    await provider.add_api_key(full_key("k2", scope=2, user="bob"))
    await provider.mark_usage("zoë", dirty=True)

    await provider.delete_user("zoë")

    assert await provider.user("zoë") is None
    assert await provider.folder_users("shared") == []
    assert (await provider.folder("shared")).mapped_path == "/srv/shared"
    assert [key.id for key in await provider.api_keys()] == ["k2"]
    assert await provider.dirty_usage() == []


async def test_listing_pages_by_name_in_both_orders(provider: Provider) -> None:
    names = ["Zoe", "_x", "a", "a-b", "ab", "b", "zoë", "é", "日本"]
    for name in reversed(names):
        await provider.add_user(plain_account(name, virtual_folders=(mount(name),)))

    async def listed(**page: object) -> list[str]:
        found = await provider.users(**page)
        assert all(account.virtual_folders[0].virtual_path == f"/{account.username}" for account in found)
        return [account.username for account in found]

    ordered = sorted(names)
    assert await listed() == ordered
    assert await listed(order="DESC") == ordered[::-1]
    assert await listed(offset=2, limit=3) == ordered[2:5]
    assert await listed(offset=2, limit=3, order="DESC") == ordered[::-1][2:5]
    assert await listed(offset=8, limit=5) == ordered[8:]
    assert await listed(offset=9) == []
    assert await listed(offset=900, order="DESC") == []
    assert await listed(limit=0) == []
    assert [account.username async for account in provider.iter_users()] == ordered


async def test_iterating_while_others_write(provider: Provider) -> None:
    await provider.load(Snapshot(users=[plain_account(f"u{n:04}") for n in range(1100)]))

    seen = []
    async for account in provider.iter_users():
        seen.append(account.username)
        if len(seen) == 10:
            await provider.delete_user("u1050")
            await provider.add_user(plain_account("u1050x"))

    assert len(seen) == len(set(seen)) == 1100
    assert seen[-50:] == sorted(seen[-50:])
    assert "u1050" not in seen
    assert "u1050x" in seen


# -- usage -------------------------------------------------------------------------------------------------


async def test_concurrent_usage_adds_up(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))
    delta = UsageDelta(size=10, files=1, upload=3, download=2, tally=Tally(bytes_in=7, files_xfer=1))

    await asyncio.gather(*(provider.add_usage("ana", delta) for _ in range(16)))
    found = await provider.user("ana")

    assert (found.used_quota_size, found.used_quota_files) == (160, 16)
    assert (found.used_upload_data_transfer, found.used_download_data_transfer) == (48, 32)
    assert found.tally == Tally(bytes_in=112, files_xfer=16)
    assert found.last_quota_update > 0


async def test_usage_stops_at_zero(provider: Provider) -> None:
    await provider.add_user(plain_account("ana", used_quota_size=5, used_quota_files=1))

    await provider.add_usage("ana", UsageDelta(size=-9, files=-2, upload=-1, tally=Tally(files_in=-3)))
    found = await provider.user("ana")

    assert (found.used_quota_size, found.used_quota_files, found.used_upload_data_transfer) == (0, 0, 0)
    assert found.tally == Tally()


async def test_usage_does_not_touch_the_record(provider: Provider) -> None:
    stored = await provider.add_user(full_account())

    await provider.add_usage("zoë", UsageDelta())
    await provider.add_usage("zoë", UsageDelta(download=1))
    found = await provider.user("zoë")

    assert found == replace(stored, used_download_data_transfer=6)


async def test_usage_can_be_set(provider: Provider) -> None:
    await provider.add_user(plain_account("ana"))

    await provider.set_usage("ana", size=2**50, files=9)
    await provider.set_transfer_usage("ana", upload=1, download=2**50)
    found = await provider.user("ana")

    assert (found.used_quota_size, found.used_quota_files) == (2**50, 9)
    assert (found.used_upload_data_transfer, found.used_download_data_transfer) == (1, 2**50)
    with pytest.raises(NotFound):
        await provider.set_usage("bob", size=1, files=1)
    with pytest.raises(NotFound):
        await provider.set_transfer_usage("bob", upload=1, download=1)


async def test_dirty_marks_survive_and_clear(provider: Provider) -> None:
    for name in ("ana", "bob", "cyd"):
        await provider.add_user(plain_account(name))
    for name in ("cyd", "ana", "ana"):
        await provider.mark_usage(name, dirty=True)
    await provider.update_user(plain_account("ana", uid=5))

    assert await provider.dirty_usage() == ["ana", "cyd"]
    await provider.mark_usage("ana", dirty=False)
    await provider.mark_usage("bob", dirty=False)
    assert await provider.dirty_usage() == ["cyd"]


# -- folders -----------------------------------------------------------------------------------------------


def mount(path: str, name: str = "shared", mapped: str = "/srv/shared") -> FolderMount:
    return FolderMount(name=name, virtual_path=f"/{path}", mapped_path=mapped)


async def test_folder_round_trip(provider: Provider) -> None:
    stored = await provider.add_folder(full_folder())

    assert stored == full_folder() == await provider.folder("data")
    with pytest.raises(AlreadyExists):
        await provider.add_folder(full_folder())
    changed = await provider.update_folder(Folder(name="data", mapped_path="/new"))
    assert changed == Folder(
        name="data", mapped_path="/new", used_quota_size=5, used_quota_files=6, last_quota_update=7
    )
    await provider.add_folder(full_folder("b"))
    await provider.add_folder(full_folder("c"))
    assert [folder.name for folder in await provider.folders()] == ["b", "c", "data"]
    assert [folder.name for folder in await provider.folders(offset=1, limit=1, order="DESC")] == ["c"]


async def test_a_mount_has_the_storage_of_its_folder(provider: Provider) -> None:
    crypt = StorageConfig("crypt", {"cryptconfig": {"passphrase": {"status": "Plain", "payload": "made-up"}}})
    await provider.add_folder(Folder(name="vault", mapped_path="/srv/vault", filesystem=crypt))
    vault = mount("v", "vault", "/srv/vault")
    await provider.add_user(plain_account("ana", virtual_folders=(vault,)))

    assert (await provider.user("ana")).virtual_folders[0].filesystem == crypt
    assert (await provider.users())[0].virtual_folders[0].filesystem == crypt
    await provider.update_user(plain_account("ana", virtual_folders=(replace(vault, mapped_path="/moved"),)))
    assert (await provider.folder("vault")).filesystem == crypt


async def test_storage_that_a_mount_describes_is_kept_for_its_folder(provider: Provider) -> None:
    bucket = StorageConfig("s3", {"s3config": {"bucket": "b"}})
    await provider.add_folder(Folder(name="known", mapped_path="/srv/known"))
    made = replace(mount("m", "made", "/srv/made"), filesystem=bucket)
    known = replace(mount("k", "known", "/srv/known"), filesystem=bucket)
    await provider.add_user(plain_account("ana", virtual_folders=(made, known)))

    for name in ("made", "known"):
        assert (await provider.folder(name)).filesystem == bucket


async def test_writing_accounts_makes_and_moves_their_folders(provider: Provider) -> None:
    await provider.add_user(plain_account("ana", virtual_folders=(mount("x"),)))
    await provider.add_user(plain_account("bob", virtual_folders=(mount("y", mapped=""),)))
    assert (await provider.user("bob")).virtual_folders[0].mapped_path == "/srv/shared"

    await provider.update_user(plain_account("bob", virtual_folders=(mount("z", mapped="/moved"),)))

    assert (await provider.folder("shared")).mapped_path == "/moved"
    assert (await provider.user("ana")).virtual_folders[0].mapped_path == "/moved"
    assert await provider.folder_users("shared") == ["ana", "bob"]
    assert await provider.folder_users("nothing") == []


async def test_mounting_an_unknown_folder_changes_nothing(provider: Provider) -> None:
    await provider.add_user(plain_account("bob"))
    wrong = (mount("x"), mount("y", name="ghost", mapped=""))

    with pytest.raises(BadRecord, match="ghost"):
        await provider.add_user(plain_account("ana", virtual_folders=wrong))
    with pytest.raises(BadRecord, match="ghost"):
        await provider.update_user(plain_account("bob", uid=7, virtual_folders=wrong))

    assert await provider.user("ana") is None
    assert same(await provider.user("bob"), plain_account("bob"))
    assert await provider.folders() == []


async def test_deleting_a_folder_unmounts_it(provider: Provider) -> None:
    await provider.add_user(full_account())
    await provider.delete_folder("shared")

    found = await provider.user("zoë")

    assert [mounted.name for mounted in found.virtual_folders] == ["archive"]
    assert await provider.folder("shared") is None
    assert await provider.folder_users("shared") == []


async def test_folder_usage(provider: Provider) -> None:
    await provider.add_user(plain_account("ana", virtual_folders=(mount("x"),)))

    await asyncio.gather(*(provider.add_folder_usage("shared", size=5, files=1) for _ in range(20)))
    folder = await provider.folder("shared")
    mounted = (await provider.user("ana")).virtual_folders[0]
    await provider.add_folder_usage("shared", size=-500, files=-1)

    assert (folder.used_quota_size, folder.used_quota_files) == (100, 20)
    assert (mounted.used_quota_size, mounted.used_quota_files) == (100, 20)
    assert (await provider.folder("shared")).used_quota_size == 0
    await provider.set_folder_usage("shared", size=8, files=9)
    assert (await provider.folder("shared")).used_quota_files == 9


# -- administrators and API keys ---------------------------------------------------------------------------


async def test_admin_round_trip(provider: Provider) -> None:
    stored = await provider.add_admin(full_admin())

    assert same(stored, full_admin())
    assert await provider.admin("root") == stored
    with pytest.raises(AlreadyExists):
        await provider.add_admin(full_admin())
    changed = await provider.update_admin(Admin(username="root", permissions=("*",)))
    assert (changed.id, changed.created_at) == (stored.id, stored.created_at)
    assert changed.updated_at > stored.updated_at
    assert changed.permissions == ("*",)
    await provider.add_admin(full_admin("alice"))
    assert [admin.username for admin in await provider.admins()] == ["alice", "root"]
    assert [admin.username for admin in await provider.admins(order="DESC", limit=1)] == ["root"]


async def test_deleting_an_admin_takes_their_keys(provider: Provider) -> None:
    for name in ("root", "alice"):
        await provider.add_admin(full_admin(name))
        await provider.add_api_key(full_key(f"key-{name}", admin=name))

    await provider.delete_admin("root")

    assert await provider.admin("root") is None
    assert [key.id for key in await provider.api_keys()] == ["key-alice"]


async def test_api_key_round_trip(provider: Provider) -> None:
    stored = await provider.add_api_key(full_key())

    assert same(stored, full_key())
    assert await provider.api_key("k1") == stored
    with pytest.raises(AlreadyExists):
        await provider.add_api_key(full_key())
    changed = await provider.update_api_key(replace(stored, description="weekly", last_use_at=9))
    assert same(changed, replace(full_key(), description="weekly", last_use_at=9))
    await provider.delete_api_key("k1")
    assert await provider.api_keys() == []


async def test_settings(provider: Provider) -> None:
    assert await provider.setting("mark") is None

    await provider.set_setting("mark", "1")
    await provider.set_setting("mark", "2 é")
    await provider.set_setting("other", "")

    assert await provider.setting("mark") == "2 é"
    assert await provider.setting("other") == ""
    await provider.set_setting("mark", None)
    await provider.set_setting("mark", None)
    assert await provider.setting("mark") is None


# -- loading -------------------------------------------------------------------------------------------------


def snapshot() -> Snapshot:
    return Snapshot(
        users=[
            plain_account("ana", used_quota_size=9, created_at=77),
            plain_account("bob", virtual_folders=(mount("x", name="data", mapped=""),)),
        ],
        folders=[full_folder()],
        admins=[full_admin()],
        api_keys=[full_key(admin="root")],
    )


async def test_load_into_an_empty_provider(provider: Provider) -> None:
    report = await provider.load(snapshot())

    assert sorted(report.rows) == [
        ("admin", "root", "added"),
        ("api_key", "k1", "added"),
        ("folder", "data", "added"),
        ("user", "ana", "added"),
        ("user", "bob", "added"),
    ]
    ana = await provider.user("ana")
    assert (ana.used_quota_size, ana.created_at) == (9, 77)
    assert (await provider.user("bob")).virtual_folders[0].mapped_path == "/srv/data"
    assert await provider.folder("data") == full_folder()


@pytest.mark.parametrize(("mode", "word", "uid"), [(0, "updated", 0), (1, "kept", 5), (2, "updated", 0)])
async def test_load_over_existing_records(provider: Provider, mode: int, word: str, uid: int) -> None:
    await provider.add_user(plain_account("ana", uid=5, used_quota_size=1, virtual_folders=(mount("q"),)))
    await provider.add_admin(full_admin())

    report = await provider.load(snapshot(), mode=mode)

    assert ("user", "ana", word) in report.rows
    assert ("user", "bob", "added") in report.rows
    assert ("admin", "root", word) in report.rows
    ana = await provider.user("ana")
    assert ana.uid == uid
    assert ana.used_quota_size == 1
    assert len(ana.virtual_folders) == (1 if mode == 1 else 0)


async def test_load_of_one_name_twice_takes_the_later(provider: Provider) -> None:
    users = [plain_account("ana", uid=1), plain_account("bob"), plain_account("ana", uid=2)]

    report = await provider.load(Snapshot(users=users))

    assert sorted(report.rows) == [
        ("user", "ana", "added"),
        ("user", "ana", "updated"),
        ("user", "bob", "added"),
    ]
    assert (await provider.user("ana")).uid == 2


async def test_load_is_all_or_nothing(provider: Provider) -> None:
    await provider.add_user(plain_account("ana", uid=5))
    bad = plain_account("zed", virtual_folders=(mount("x", name="ghost", mapped=""),))

    with pytest.raises(BadRecord, match="ghost"):
        await provider.load(Snapshot(users=[plain_account("ana"), *many(600), bad], admins=[full_admin()]))

    assert (await provider.user("ana")).uid == 5
    assert await provider.count_users() == 1
    assert await provider.admins() == []
    await provider.add_user(plain_account("bob"))
    assert [account.username async for account in provider.iter_users()] == ["ana", "bob"]


async def test_load_from_a_failing_source_changes_nothing(provider: Provider) -> None:
    async def batches() -> AsyncIterator[Sequence[Record]]:
        yield many(500)
        raise BadRecord("users[500].uid", "is wrong")

    with pytest.raises(BadRecord, match="is wrong"):
        await provider.load_batches(batches())

    assert await provider.count_users() == 0
    await provider.add_user(plain_account("bob"))
    assert await provider.count_users() == 1


def many(number: int) -> list[Account]:
    return [plain_account(f"user{n:06}", virtual_folders=(mount("x"),)) for n in range(number)]


# -- read-only and untracked ---------------------------------------------------------------------------------


async def test_manage_users_0_refuses_writes(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(options_of(driver, manage_users=False, track_quota=0))

    for refused in (
        provider.add_user(plain_account("ana")),
        provider.update_user(plain_account("ana")),
        provider.delete_user("ana"),
        provider.set_password("ana", "$1$x"),
        provider.load(Snapshot(users=[plain_account("ana")])),
    ):
        with pytest.raises(ProviderError, match="manage_users is 0"):
            await refused
    await provider.touch_login("ana", 5)
    await provider.add_usage("ana", UsageDelta(size=1))
    await provider.mark_usage("ana", dirty=True)
    assert await provider.count_users() == 0
    await provider.add_admin(full_admin())
    assert len(await provider.admins()) == 1


async def test_track_quota_0_keeps_no_usage(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(options_of(driver, track_quota=0))
    await provider.add_user(plain_account("ana", virtual_folders=(mount("x"),)))

    await provider.add_usage("ana", UsageDelta(size=1))
    await provider.add_folder_usage("shared", size=1, files=1)
    await provider.mark_usage("ana", dirty=True)

    assert (await provider.user("ana")).used_quota_size == 0
    assert (await provider.folder("shared")).used_quota_size == 0
    assert await provider.dirty_usage() == []
    for refused in (
        provider.set_usage("ana", size=1, files=1),
        provider.set_transfer_usage("ana", upload=1, download=1),
        provider.set_folder_usage("shared", size=1, files=1),
    ):
        with pytest.raises(ProviderError, match="track_quota is 0"):
            await refused


async def test_check_and_a_second_life(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(driver)
    first = await opened(options)
    await first.check()
    await first.add_user(full_account())
    await first.reload()
    await first.close()

    await first.open()
    await first.check()

    assert same(await first.user("zoë"), full_account())
