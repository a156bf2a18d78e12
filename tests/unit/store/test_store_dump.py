# SPDX-License-Identifier: Apache-2.0
"""Dump and load: other generations' files, all or nothing, bounded memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.accounts import BCRYPT, full_account, full_admin, full_folder, full_key, plain_account
from tests.support.loading import load_file

from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord, ProviderError
from tidegate.model import FolderMount, GroupUse
from tidegate.model.group import Group, GroupSettings, Role
from tidegate.store import dump_reading, json_stream
from tidegate.store.contract import SCOPES, LoadReport, Provider, Snapshot
from tidegate.store.documents import decode_account, encode_account
from tidegate.store.dump import dump
from tidegate.store.factory import ProviderOptions, create_provider

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    provider = create_provider(ProviderOptions(driver="sqlite", base_dir=tmp_path))
    await provider.open()
    yield provider
    await provider.close()


def memory() -> Provider:
    return create_provider(ProviderOptions(driver="memory", name=""))


async def dumped(provider: Provider, **more: object) -> bytes:
    return b"".join([chunk async for chunk in dump(provider, **more)])


def hashes(document: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {
        (record.get("username") or record["id"]): record.get("password") or record["key"]
        for scope in ("users", "admins", "api_keys")
        for record in document.get(scope, [])
    }


@pytest.mark.parametrize("name", ["sftpgo-0.9-dump.json", "sftpgo-2.x-dump.json"])
async def test_hashes_survive_load_and_dump(provider: Provider, name: str) -> None:
    given = json.loads((DATA / name).read_text())

    report = await load_file(provider, DATA / name)
    written = json.loads(await dumped(provider))

    assert hashes(written) == hashes(given)
    assert {row[2] for row in report.rows} == {"added"}
    assert len(report.rows) == sum(len(given.get(key) or ()) for key in SCOPES)
    again = memory()
    await load_file(again, io.BytesIO(json.dumps(written).encode()))
    assert hashes(json.loads(await dumped(again))) == hashes(given)


async def test_what_0_9_meant(provider: Provider) -> None:
    report = await load_file(provider, DATA / "sftpgo-0.9-dump.json")

    alpha, beta, gamma = [account async for account in provider.iter_users()]
    assert alpha.permissions == {"/": ("*",), "/somedir": ("list", "download"), "/locked": ()}
    assert beta.permissions == {"/": ("list", "download")}
    assert beta.expiration_date == 1609459200000
    assert (beta.status, beta.uid) == (0, 1000)
    assert (alpha.used_quota_size, alpha.used_quota_files, alpha.last_login) == (131072, 3, 1577836801000)
    images, odd = alpha.filters.file_patterns
    assert (images.path, images.allowed_patterns, images.denied_patterns) == (
        "/images",
        ("*.jpg", "*.png"),
        (),
    )
    assert (odd.path, odd.denied_patterns) == ("/in[1]", ("*.x\\[1]",))
    assert [(m.virtual_path, m.mapped_path) for m in alpha.virtual_folders] == [
        ("/vdir", "/srv/shared"),
        ("/arch", "/srv/my-archive"),
    ]
    assert alpha.virtual_folders[0].name == "srv-shared"
    assert alpha.virtual_folders[1].name.startswith("srv-my-archive-")
    assert gamma.filesystem.options["s3config"]["bucket"] == "tide"
    assert {user.status for user in (alpha, gamma)} == {1}
    assert any(
        note.startswith("users[2] (gamma): filesystem.provider: storage 1 is not available in this version")
        for note in report.notes
    )


async def test_what_2_x_meant(provider: Provider) -> None:
    report = await load_file(provider, DATA / "sftpgo-2.x-dump.json")

    dora = await provider.user("dora")
    assert dora.filters.access_time[0].from_ == "08:00"
    assert dora.filters.file_patterns[0].deny_policy == 1
    assert dora.filters.extra["hooks"]["pre_login_disabled"] is True
    assert dora.filters.extra["a_filter_of_tomorrow"] == 5
    assert (dora.created_at, dora.first_download, dora.total_data_transfer) == (
        1650000000000,
        1660000000002,
        100,
    )
    assert dora.virtual_folders[0].used_quota_size == 77
    assert (await provider.folder("remote")).filesystem.options["sftpconfig"]["endpoint"] == "host:22"
    assert (await provider.admin("admin")).filters.allow_list == ("127.0.0.1/32",)
    assert (await provider.api_key("keyid")).admin == "admin"
    assert dora.status == 0
    assert (dora.groups, dora.role) == ((GroupUse(name="staff"),), "emea")
    notes = "\n".join(report.notes)
    for line in (
        "users[0] (dora): a_field_of_tomorrow: comes in disabled: not known to this version",
        "users[0] (dora): filters.a_filter_of_tomorrow: comes in disabled: not known to this version",
        "users[0] (dora): filters.totp_config: comes in disabled: its secret has 6 bytes",
        "shares: 1 records, not available in this version; the links stop working: share",
        "folders[1] (remote): filesystem.provider: storage 5 is not available in this version",
    ):
        assert line in notes
    assert "event_actions" not in notes
    written = json.loads(await dumped(provider))
    user = written["users"][0]
    assert user["role"] == "emea"
    assert user["a_field_of_tomorrow"] == {"x": [1]}
    assert user["filters"]["totp_config"]["secret"]["payload"] == "TOTPSECRET"
    assert written["version"] == 17


async def test_round_trip_of_everything(provider: Provider) -> None:
    mount = FolderMount(name="of group", virtual_path="/g", mapped_path="/srv/g")
    settings = GroupSettings(home_dir="/srv/%username%", permissions={"/": ("list",)}, expires_in=3)
    group = Group(name="staff", description="d", user_settings=settings, virtual_folders=(mount,))
    await provider.load(
        Snapshot(
            users=[full_account(), plain_account("ana")],
            folders=[full_folder()],
            admins=[full_admin()],
            api_keys=[full_key(admin="root")],
            groups=[group],
            roles=[Role(name="emea", description="d")],
        )
    )
    member = replace(plain_account("member"), groups=(GroupUse(name="staff", type=2),), role="emea")
    await provider.add_user(member)
    text = await dumped(provider)
    other = memory()
    await load_file(other, io.BytesIO(text))

    def timeless(account: object) -> object:
        return replace(account, id=0, updated_at=0)

    assert [timeless(a) async for a in other.iter_users()] == [
        timeless(a) async for a in provider.iter_users()
    ]
    assert await other.folders() == await provider.folders()
    for page in ("groups", "roles"):
        there, here = [
            [replace(one, id=0, updated_at=0) for one in await getattr(of, page)()]
            for of in (other, provider)
        ]
        assert there == here and len(here) == 1
    for document in json.loads(text)["users"]:
        assert encode_account(decode_account(document), confidential=True) == document
    assert json.loads(await dumped(provider, indent=True)) == json.loads(text)


async def test_scopes(provider: Provider) -> None:
    await provider.load(Snapshot(users=[plain_account("ana")], admins=[full_admin()]))

    assert list(json.loads(await dumped(provider, scopes=["admins"]))) == ["tidegate", "admins", "version"]
    with pytest.raises(BadRecord, match="'secrets' is not one of"):
        await dumped(provider, scopes=["secrets"])


async def test_empty_dump(provider: Provider) -> None:
    text = await dumped(provider)

    empty: dict[str, list[object]] = {key: [] for key in SCOPES}
    assert json.loads(text) == {"tidegate": 1, **empty, "version": 17}
    assert (await load_file(provider, io.BytesIO(text))).rows == []


PASSWORDLESS = {"username": "ana", "home_dir": "/srv/ana", "permissions": {"/": ["*"]}}


@pytest.mark.parametrize(
    ("text", "field", "what"),
    [
        (b"", "", "must be a JSON object"),
        (b"[]", "", "must be a JSON object"),
        (b'{"users":[', "", ""),
        (b'{"users":[{]}', "users[0]", "is not JSON"),
        (b'{"users":[{"username":"a"}', "", "users[0]: ',' or ']' is missing"),
        (b'{"users":{}}', "users", "should be a list"),
        (b'{"users":[3]}', "users[0]", "should be a JSON object"),
        (b'{"users":[],"users":[]}', "users", "is given twice"),
        (b'{"version":17} x', "", "something follows"),
        (b'{"version":NaN}', "version", "not JSON"),
        (b'{"version" 17}', "", "':' is missing"),
        (b"{5:1}", "", "a key must be a text"),
        (b'{"users":[]"a":1}', "", "',' or '}' is missing"),
        (b"\xff\xfe{}", "", "is not UTF-8"),
        (b'{"x":' + b"[" * 100_000, "x", "nested too deep"),
        (b'{"users":[{"username":"a","x":' + b"[" * 40 + b"]" * 40 + b"}]}", "users[0]", "nested deeper"),
        (b'{"version":' + b"9" * 5000 + b"}", "version", "is not JSON"),
    ],
)
async def test_broken_files_are_named_and_change_nothing(
    provider: Provider, text: bytes, field: str, what: str
) -> None:
    with pytest.raises(BadRecord) as caught:
        await load_file(provider, io.BytesIO(text))

    assert caught.value.field == field or not what
    assert what in caught.value.what
    assert await provider.count_users() == 0


async def test_a_bad_record_late_in_the_file_changes_nothing(provider: Provider) -> None:
    users = [{**PASSWORDLESS, "username": f"u{n}"} for n in range(1200)]
    users[1150]["uid"] = "root"
    text = json.dumps({"admins": [{"username": "a", "permissions": ["*"]}], "users": users}).encode()

    with pytest.raises(BadRecord) as caught:
        await load_file(provider, io.BytesIO(text))

    assert caught.value.field == "users[1150].uid"
    assert "'root'" in caught.value.what
    assert await provider.count_users() == 0
    assert await provider.admins() == []


async def test_records_longer_than_the_bound(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_RECORD_CHARS", 1000)
    monkeypatch.setattr(json_stream, "READ_BYTES", 100)
    text = json.dumps({"users": [{**PASSWORDLESS, "description": "x" * 5000}]}).encode()

    with pytest.raises(BadRecord, match=r"users\[0\]: is not JSON, or longer than 1000"):
        await load_file(provider, io.BytesIO(text))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_any_window_reads_the_same(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(json_stream, "READ_BYTES", size)
    text = json.dumps(
        {"version": 17, "users": [{**PASSWORDLESS, "username": "zoë 🌊"}, PASSWORDLESS], "x": -1.5e3},
        ensure_ascii=False,
        indent=1,
    )

    await load_file(provider, io.BytesIO(b"\xef\xbb\xbf" + text.encode()))

    assert [account.username async for account in provider.iter_users()] == ["ana", "zoë 🌊"]


async def test_plain_passwords_need_a_hasher(provider: Provider) -> None:
    text = json.dumps({"users": [{**PASSWORDLESS, "password": "secret-plain"}]}).encode()

    with pytest.raises(BadRecord, match=r"users\[0\] \(ana\).password: is not a known hash") as caught:
        await load_file(provider, io.BytesIO(text))
    assert "secret-plain" not in str(caught.value)
    await load_file(provider, io.BytesIO(text), hash_password=lambda plain: f"$6${plain[::-1]}")
    assert (await provider.user("ana")).password == "$6$nialp-terces"


async def test_unknown_mode(provider: Provider) -> None:
    with pytest.raises(BadRecord, match="mode: 3"):
        await load_file(provider, io.BytesIO(b"{}"), mode=3)


async def test_missing_file(provider: Provider, tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match=r"cannot read the dump x.json: No such file"):
        await load_file(provider, tmp_path / "x.json")


async def test_accounts_before_their_folders(provider: Provider) -> None:
    """The order of sections in the file does not matter."""
    user = {**PASSWORDLESS, "virtual_folders": [{"name": "f", "virtual_path": "/f"}]}
    text = json.dumps({"users": [user], "folders": [{"name": "f", "mapped_path": "/srv/f"}]}).encode()

    await load_file(provider, io.BytesIO(text))

    assert (await provider.user("ana")).virtual_folders[0].mapped_path == "/srv/f"


class Endless(io.RawIOBase):
    """A dump of any number of users that is made while it is read."""

    def __init__(self, users: int) -> None:
        self._users = users
        self._next = 0
        self._rest = b""

    def seek(self, offset: int, whence: int = 0) -> int:
        self._next = 0
        self._rest = b'{"users":['
        return 0

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and self._next <= self._users:
            if self._next == self._users:
                self._rest += b'],"version":17}'
            else:
                user = {**PASSWORDLESS, "username": f"user{self._next:07}", "password": BCRYPT}
                self._rest += (b"," if self._next else b"") + json.dumps(user).encode()
            self._next += 1
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


async def test_memory_does_not_grow_with_the_file(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def peak(users: int) -> int:
        tracemalloc.start()
        try:
            async with _counting(users) as sink:
                await dump_reading.load_file(sink.load_batches, Endless(users))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(500)  # caches that are filled once
    assert await peak(3000) < await peak(1000) + 2_000_000


class _counting:  # noqa: N801
    """A provider that only counts: what is measured is the reader."""

    def __init__(self, users: int) -> None:
        self._users = users
        self._seen = 0

    async def __aenter__(self) -> _counting:
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._seen == self._users

    async def load_batches(self, batches: object, **_: object) -> object:
        async for batch in batches:
            self._seen += len(batch)
        return LoadReport()


# -- the memory driver's file ----------------------------------------------------------------------------------


async def test_memory_loads_its_file_and_reloads(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"users": [PASSWORDLESS]}))
    provider = create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name="users.json"))
    await provider.open()
    await provider.set_setting("mark", "1")
    await provider.add_user(plain_account("bob"))
    before = file.read_bytes()

    file.write_text(json.dumps({"users": [{**PASSWORDLESS, "uid": 5}]}))
    await provider.reload()

    assert (await provider.user("ana")).uid == 5
    assert await provider.user("bob") is None
    assert await provider.setting("mark") == "1"
    assert before != file.read_bytes()


async def test_an_account_that_stays_in_the_file_stays_the_same_one(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"users": [PASSWORDLESS]}))
    provider = create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name="users.json"))
    await provider.open()
    before = await provider.user("ana")
    other = {**PASSWORDLESS, "username": "aaron", "home_dir": "/srv/aaron"}

    file.write_text(json.dumps({"users": [other, {**PASSWORDLESS, "created_at": 7}]}))
    await provider.reload()

    after, aaron = await provider.user("ana"), await provider.user("aaron")
    assert (after.id, after.created_at) == (before.id, before.created_at)
    assert aaron.id != before.id


async def test_memory_needs_no_file_unless_one_is_named(tmp_path: Path) -> None:
    await create_provider(ProviderOptions(driver="memory", base_dir=tmp_path)).open()
    with pytest.raises(ProviderError, match="cannot read the dump"):
        await create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name="x.json")).open()


async def test_memory_keeps_what_it_had_when_the_file_is_bad(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    file.write_text(json.dumps({"users": [PASSWORDLESS]}))
    provider = create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name="users.json"))
    await provider.open()

    file.write_text('{"users":[{"username":"new"}]}')
    with pytest.raises(BadRecord, match=r"users\[0\] \(new\).home_dir"):
        await provider.reload()
    file.unlink()
    with pytest.raises(ProviderError, match="cannot read the dump"):
        await provider.reload()

    assert [account.username async for account in provider.iter_users()] == ["ana"]


async def test_memory_takes_homes_and_hashes_from_its_options(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(
        json.dumps({"users": [{"username": "ana", "password": "x", "permissions": ["*"]}]})
    )
    options = ProviderOptions(
        driver="memory",
        base_dir=tmp_path,
        name="d.json",
        rules=Rules(users_base_dir="/srv/homes"),
        hash_password=lambda plain: f"$1${plain}",
    )
    provider = create_provider(options)
    await provider.open()

    ana = await provider.user("ana")

    assert (ana.home_dir, ana.password) == ("/srv/homes/ana", "$1$x")
