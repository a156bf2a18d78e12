# SPDX-License-Identifier: Apache-2.0
"""Usage of accounts that are not stored, and revocations, in every provider."""

from __future__ import annotations

import asyncio
import time

import pytest

from tidegate.errors import NotFound
from tidegate.model import Account, Tally, UsageDelta
from tidegate.store.contract import EVERYTHING


def now_ms() -> int:
    return int(time.time() * 1000)


async def test_usage_is_kept_under_the_name_of_an_account_that_is_not_stored(provider) -> None:
    assert await provider.external("eva") is None
    with pytest.raises(NotFound):
        await provider.add_usage("eva", UsageDelta(size=1))
    with pytest.raises(NotFound):
        await provider.mark_usage("eva", dirty=True, server="one")
    made = await provider.keep_external("eva")
    assert (made.username, made.used_quota_size) == ("eva", 0)
    assert made.created_at > 0
    assert await provider.keep_external("eva") == made
    await provider.add_usage("eva", UsageDelta(size=70, files=2, upload=9, tally=Tally(bytes_in=5)))
    await provider.add_usage("eva", UsageDelta(size=-20, files=-5))
    await provider.touch_first("eva", "upload", 11)
    await provider.touch_first("eva", "upload", 12)
    await provider.touch_login("eva", 13)
    found = await provider.external("eva")
    assert (found.used_quota_size, found.used_quota_files, found.used_upload_data_transfer) == (50, 0, 9)
    assert (found.first_upload, found.last_login, found.tally.bytes_in) == (11, 13, 5)
    assert found.last_quota_update > 0
    await provider.set_usage("eva", size=4, files=1)
    await provider.set_transfer_usage("eva", upload=1, download=2)
    found = await provider.external("eva")
    assert (found.used_quota_size, found.used_quota_files, found.used_download_data_transfer) == (4, 1, 2)
    for server in ("one", "two", ""):
        await provider.mark_usage("eva", dirty=True, server=server)
    await provider.mark_usage("eva", dirty=False, server="one")
    assert await provider.usage_marks() == [("eva", ""), ("eva", "two")]
    assert await provider.user("eva") is None
    assert await provider.users() == []
    assert await provider.count_users() == 0


async def test_a_stored_account_of_the_name_comes_first(provider) -> None:
    await provider.keep_external("eva")
    await provider.add_user(Account(username="eva", home_dir="/srv/eva"))
    await provider.add_usage("eva", UsageDelta(size=7))
    assert (await provider.user("eva")).used_quota_size == 7
    assert (await provider.external("eva")).used_quota_size == 0
    await provider.delete_user("eva")
    await provider.add_usage("eva", UsageDelta(size=3))
    assert (await provider.external("eva")).used_quota_size == 3


async def test_a_revocation_is_a_row_until_it_expires(provider) -> None:
    now = now_ms()
    await provider.revoke("a", at_ms=now, expires_ms=now + 60_000, limit=10)
    await provider.revoke("b", at_ms=now - 5, expires_ms=now - 1, limit=10)
    await asyncio.gather(
        *(provider.revoke("c", at_ms=now + n, expires_ms=now + 60_000 + n, limit=10) for n in range(3))
    )
    await provider.revoke("c", at_ms=now - 9, expires_ms=now + 1, limit=10)  # takes nothing back
    assert await provider.revocations(["a", "b", "c", "d"]) == {"a": now, "c": now + 2}
    assert await provider.revocations([]) == {}


async def test_too_many_revocations_become_one(provider) -> None:
    now = now_ms()
    for number in range(4):
        await provider.revoke(f"s{number}", at_ms=now, expires_ms=now + 60_000, limit=3)
    assert await provider.revocations(["s0", "s3", EVERYTHING]) == {EVERYTHING: now}


async def test_a_claim_is_had_by_one_and_counts_for_no_limit(provider) -> None:
    now = now_ms()
    later = now + 60_000
    taken = await asyncio.gather(
        *(provider.claim("code:ana", at_ms=now, expires_ms=later) for _ in range(5)), return_exceptions=True
    )
    assert sorted(map(str, taken)) == ["False"] * 4 + ["True"]
    assert await provider.claim("code:ana", at_ms=now - 1, expires_ms=later) is False
    assert await provider.claim("code:ana", at_ms=now + 1, expires_ms=later) is True
    assert await provider.claim("code:bob", at_ms=now, expires_ms=now - 1) is True
    assert await provider.claim("code:bob", at_ms=now, expires_ms=later) is True  # the former one is over
    for number in range(4):
        assert await provider.claim(f"more:{number}", at_ms=now, expires_ms=later)
    await provider.revoke("a", at_ms=now, expires_ms=later, limit=2)
    await provider.revoke("b", at_ms=now, expires_ms=later, limit=2)
    assert await provider.revocations(("a", EVERYTHING, "code:ana")) == {"a": now}
    await provider.revoke("c", at_ms=now, expires_ms=later, limit=2)
    assert set(await provider.revocations(("a", EVERYTHING))) == {EVERYTHING}
    assert await provider.claim("code:ana", at_ms=now + 1, expires_ms=later) is False
