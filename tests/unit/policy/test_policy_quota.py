# SPDX-License-Identifier: Apache-2.0
"""Quota and transfer allowance, by the sets that sessions charge."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.quota_world import Counters, charges, limit_of, refusal

from tidegate.model import Account, FolderMount
from tidegate.policy import quota
from tidegate.policy.quota import ChargeSet, require

MB = 1024 * 1024


def of_account(size: int, files: int, used: tuple[int, int]) -> ChargeSet:
    return charges(Account(username="ana", quota_size=size, quota_files=files), Counters(*used))


def of_folder(size: int, files: int, used: tuple[int, int]) -> ChargeSet:
    mounts = (
        FolderMount(name="other", virtual_path="/other"),
        FolderMount(name="f", virtual_path="/f", quota_size=size, quota_files=files),
    )
    account = Account(username="ana", virtual_folders=mounts)
    return charges(account, Counters(), mounts[1], Counters(*used))


def of_transfer(up: int, down: int, total: int, used: tuple[int, int]) -> ChargeSet:
    """Limits in MB, use in bytes."""
    account = Account(
        username="ana", upload_data_transfer=up, download_data_transfer=down, total_data_transfer=total
    )
    return charges(account, Counters(upload=used[0], download=used[1]))


@pytest.mark.parametrize(
    ("size", "files", "used", "new_file", "limit"),
    [
        (0, 0, (10**12, 10**6), True, None),
        (-1, -1, (5, 5), True, None),
        (100, 0, (99, 7), True, None),
        (100, 0, (100, 7), True, "quota_size"),
        (100, 0, (100, 7), False, "quota_size"),
        (100, 0, (101, 7), False, "quota_size"),
        (0, 3, (9, 2), True, None),
        (0, 3, (9, 3), True, "quota_files"),
        (0, 3, (9, 3), False, None),
        (1, 1, (1, 1), True, "quota_size"),
    ],
)
def test_start(size: int, files: int, used: tuple[int, int], new_file: bool, limit: str | None) -> None:
    held = of_account(size, files, used)
    assert limit_of(lambda: held.may_upload(new=new_file, replaced=0)) == limit


@pytest.mark.parametrize(
    ("size", "files", "used", "charge", "limit"),
    [
        (100, 0, (90, 0), (10, 1), None),
        (100, 0, (90, 0), (11, 1), "quota_size"),
        (100, 0, (200, 0), (-5, 0), None),
        (100, 0, (200, 0), (0, 0), None),
        (0, 2, (0, 1), (5, 1), None),
        (0, 2, (0, 2), (5, 1), "quota_files"),
        (0, 2, (0, 5), (5, 0), None),
    ],
)
def test_charge_fits(
    size: int, files: int, used: tuple[int, int], charge: tuple[int, int], limit: str | None
) -> None:
    held = of_account(size, files, used)
    assert limit_of(lambda: held.charge(*charge)) == limit


@pytest.mark.parametrize(
    ("used", "new_file", "back", "said"),
    [
        ((99, 2), True, 0, None),
        ((100, 2), True, 0, ("quota_size", "100 bytes of 100 bytes used")),
        ((100, 2), False, 1, None),  # full, but what it replaces gives something back
        ((101, 2), False, 50, ("quota_size", "100 bytes of 100 bytes used")),  # over: not even that
        ((99, 3), True, 0, ("quota_files", "3 of 3 files used")),
        ((99, 3), False, 0, None),
        ((99, 4), True, 0, ("quota_files", "3 of 3 files used")),
    ],
)
def test_what_a_refused_start_says(
    used: tuple[int, int], new_file: bool, back: int, said: tuple[str, str] | None
) -> None:
    held = of_folder(100, 3, used)
    told(refusal(lambda: held.may_upload(new=new_file, replaced=back)), said)


@pytest.mark.parametrize(
    ("charge", "said"),
    [
        ((40, 1), None),
        ((41, 1), ("quota_size", "60 bytes of 100 bytes used")),
        ((40, 2), ("quota_files", "2 of 3 files used")),
        ((-60, -2), None),
    ],
)
def test_what_a_refused_charge_says(charge: tuple[int, int], said: tuple[str, str] | None) -> None:
    held = of_folder(100, 3, (60, 2))
    told(refusal(lambda: held.charge(*charge)), said)


def told(error: quota.QuotaExceeded | None, said: tuple[str, str] | None) -> None:
    if said is None:
        assert error is None
        return
    assert error is not None
    name, amount = said
    assert (error.limit, error.rule) == (name, f"virtual_folders[1].{name}")
    assert error.text == f"{quota.WRITE_TEXT}: {amount} (virtual_folders[1].{name})"


@pytest.mark.parametrize(
    ("direction", "used", "wanted", "limit"),
    [
        ("upload", (4 * MB - 1, 0), 1, None),
        ("upload", (4 * MB - 1, 0), 2, "upload_data_transfer"),
        ("upload", (4 * MB, 0), 0, "upload_data_transfer"),
        ("upload", (2 * MB, 4 * MB), 1, "total_data_transfer"),
        ("download", (4 * MB, MB - 1), 1, None),
        ("download", (4 * MB, MB - 1), 2, "download_data_transfer"),
        ("download", (6 * MB - 10, 10), 1, "total_data_transfer"),
        ("upload", (0, 6 * MB), 0, "total_data_transfer"),
        ("download", (0, MB), 0, "download_data_transfer"),
        ("upload", (MB, 3 * MB), 2 * MB, None),
    ],
)
def test_transfer_allowance(
    direction: quota.Direction, used: tuple[int, int], wanted: int, limit: str | None
) -> None:
    held = of_transfer(4, 1, 6, used)
    reading = direction == "download"
    limits = held.down_limits if reading else held.up_limits

    def start() -> None:
        if reading:
            held.may_download()
        else:
            held.may_upload(new=True, replaced=0)

    error = refusal(start if wanted == 0 else lambda: require(limits, wanted, reading=reading))
    assert (None if error is None else error.limit) == limit
    if error is not None:
        assert error.text.startswith(quota.READ_TEXT if reading else quota.WRITE_TEXT)


def test_an_allowance_is_in_mb_and_below_zero_there_is_none() -> None:
    held = of_transfer(-1, -1, 3, (0, 0))
    assert [(limit.name, limit.limit) for limit in held.up_limits] == [("total_data_transfer", 3 * MB)]
    assert held.down_limits == held.up_limits
    none = of_transfer(0, -1, 0, (10**15, 10**15))
    assert none.up_limits == none.down_limits == ()
    both = of_transfer(1, 2, 0, (0, 0))
    assert ([one.limit for one in both.up_limits], [one.limit for one in both.down_limits]) == (
        [MB],
        [2 * MB],
    )


@pytest.mark.parametrize(
    ("size", "files", "mine"), [(-1, -1, True), (-1, 0, False), (0, -1, False), (0, 0, False), (-1, 5, False)]
)
def test_a_folder_counts_in_the_account_only_if_both_limits_say_so(size: int, files: int, mine: bool) -> None:
    mount = FolderMount(name="f", virtual_path="/f", quota_size=size, quota_files=files)
    assert quota.counts_in_account(mount) is mine
    used, folder = Counters(5, 1), Counters(7, 2)
    account = Account(username="ana", quota_size=1000, quota_files=10, virtual_folders=(mount,))
    charges(account, used, mount, folder).charge(3, 1)
    assert (folder.size.used, folder.files.used) == (10, 3)
    assert (used.size.used, used.files.used) == ((8, 2) if mine else (5, 1))


@given(
    limit=st.integers(1, 1000),
    acts=st.lists(st.tuples(st.none() | st.integers(0, 500), st.integers(0, 500)), max_size=20),
)
def test_granted_charges_never_pass_a_limit(limit: int, acts: list[tuple[int | None, int]]) -> None:
    used = Counters()
    held = charges(Account(username="ana", quota_size=limit, quota_files=5), used)
    for old, new in acts:
        change: tuple[Any, ...] = (new, 1) if old is None else (new - old, 0)
        before = used.size.used, used.files.used
        if limit_of(lambda c=change: held.charge(*c)) is not None:
            assert (used.size.used, used.files.used) == before
        assert used.size.used <= limit
        assert used.files.used <= 5
