# SPDX-License-Identifier: Apache-2.0
"""Faults that only the key/value driver can have: a full map, a second process, paging without an index."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from tests.contract.conftest import Opened, OptionsOf
from tests.support.accounts import plain_account

from tidegate.errors import ProviderError, ProviderUnavailable
from tidegate.store import kv
from tidegate.store.contract import Snapshot, UsageDelta
from tidegate.store.factory import create_provider


async def test_map_grows_while_others_read(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "FIRST_MAP_BYTES", 256 * 1024)
    provider = await opened(options_of("bolt"))

    async def read() -> None:
        for _ in range(30):
            await provider.users(limit=20)

    async def write(start: int) -> None:
        for number in range(start, start + 40):
            await provider.add_user(plain_account(f"u{number:04}", description="x" * 20_000))

    await asyncio.gather(read(), write(0), write(100), read())

    assert await provider.count_users() == 80
    assert len((await provider.user("u0139")).description) == 20_000


async def test_map_at_its_limit_is_an_error_and_reading_goes_on(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "FIRST_MAP_BYTES", 256 * 1024)
    monkeypatch.setattr(kv, "LARGEST_MAP_BYTES", 512 * 1024)
    provider = await opened(options_of("bolt"))

    with pytest.raises(ProviderError, match="no room is left"):
        for number in range(100):
            await provider.add_user(plain_account(f"u{number:04}", description="x" * 20_000))

    assert await provider.count_users() > 5
    await provider.delete_user("u0000")
    await provider.check()


async def test_load_makes_room_first(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "FIRST_MAP_BYTES", 256 * 1024)
    monkeypatch.setattr(kv, "LOAD_ROOM_BYTES", 64 * 1024 * 1024)
    provider = await opened(options_of("bolt"))

    await provider.load(Snapshot(users=[plain_account(f"u{n}", description="x" * 2000) for n in range(2000)]))

    assert await provider.count_users() == 2000


OTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from tidegate.store import kv
from tidegate.store.factory import ProviderOptions, create_provider
from tidegate.model import Account
kv.FIRST_MAP_BYTES = 256 * 1024
async def main():
    provider = create_provider(ProviderOptions(driver="bolt", name=sys.argv[2], base_dir=Path(sys.argv[1])))
    await provider.open()
    for n in range(60):
        await provider.add_user(Account(username=f"other{n:03}", home_dir="/x", permissions={"/": ("*",)},
                                        description="y" * 20_000))
    await provider.close()
asyncio.run(main())
"""


async def test_another_process_may_write_and_grow_the_file(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kv, "FIRST_MAP_BYTES", 256 * 1024)
    options = options_of("bolt")
    provider = await opened(options)
    await provider.add_user(plain_account("ana"))

    command = [sys.executable, "-c", OTHER_PROCESS, str(options.base_dir), options.name]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()

    assert await provider.count_users() == 61
    await provider.add_usage("other059", UsageDelta(size=7))
    assert (await provider.user("other059")).used_quota_size == 7


async def test_pages_stay_right_while_names_come_and_go(options_of: OptionsOf, opened: Opened) -> None:
    provider = await opened(options_of("bolt"))
    names = [f"u{n:05}" for n in range(1500)]
    await provider.load(Snapshot(users=[plain_account(name) for name in names]))

    async def page(offset: int, order: str = "ASC") -> list[str]:
        return [account.username for account in await provider.users(offset=offset, limit=3, order=order)]

    for offset in (0, 255, 256, 257, 700, 1279, 1280, 1498, 1500, 9000):
        assert await page(offset) == names[offset : offset + 3]
        assert await page(offset, "DESC") == names[::-1][offset : offset + 3]
    await provider.delete_user("u00300")
    await provider.add_user(plain_account("u00000x"))
    names.remove("u00300")
    names.insert(1, "u00000x")
    for offset in (0, 299, 300, 301, 302, 700, 1498):
        assert await page(offset) == names[offset : offset + 3]


async def test_closed_provider_says_so(options_of: OptionsOf) -> None:
    provider = create_provider(options_of("bolt"))

    for attempt in (provider.user("ana"), provider.add_user(plain_account("ana")), provider.check()):
        with pytest.raises(ProviderUnavailable, match="not opened"):
            await attempt
    await provider.close()


async def test_lmdb_never_runs_on_the_loop(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    original = kv.LmdbProvider._run

    def watched(self: kv.LmdbProvider, work: object, *, writes: bool) -> object:
        seen.add(threading.current_thread().name)
        return original(self, work, writes=writes)

    monkeypatch.setattr(kv.LmdbProvider, "_run", watched)
    provider = await opened(options_of("bolt"))
    await provider.add_user(plain_account("ana"))
    await provider.user("ana")
    await provider.check()

    assert seen
    assert all(name.startswith("bolt-") for name in seen)
