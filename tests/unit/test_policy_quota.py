# SPDX-License-Identifier: Apache-2.0
"""Quota arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.model import Account, FolderMount
from tidegate.policy import quota
from tidegate.policy.quota import Allowance, Charge, Quota

MB = 1024 * 1024


@pytest.mark.parametrize(
    ("size", "files", "used", "new_file", "limit"),
    [
        (0, 0, Charge(10**12, 10**6), True, None),
        (-1, -1, Charge(5, 5), True, None),
        (100, 0, Charge(99, 7), True, None),
        (100, 0, Charge(100, 7), True, "quota_size"),
        (100, 0, Charge(100, 7), False, "quota_size"),
        (100, 0, Charge(101, 7), False, "quota_size"),
        (0, 3, Charge(9, 2), True, None),
        (0, 3, Charge(9, 3), True, "quota_files"),
        (0, 3, Charge(9, 3), False, None),
        (1, 1, Charge(1, 1), True, "quota_size"),
    ],
)
def test_start(size: int, files: int, used: Charge, new_file: bool, limit: str | None) -> None:
    over = quota.check_start(Quota(size, files, used), new_file=new_file)
    assert (over.limit if over else None) == limit


@pytest.mark.parametrize(
    ("size", "files", "used", "charge", "limit"),
    [
        (100, 0, Charge(90, 0), Charge(10, 1), None),
        (100, 0, Charge(90, 0), Charge(11, 1), "quota_size"),
        (100, 0, Charge(200, 0), Charge(-5, 0), None),
        (100, 0, Charge(200, 0), Charge(0, 0), None),
        (0, 2, Charge(0, 1), Charge(5, 1), None),
        (0, 2, Charge(0, 2), Charge(5, 1), "quota_files"),
        (0, 2, Charge(0, 5), Charge(5, 0), None),
    ],
)
def test_charge_fits(size: int, files: int, used: Charge, charge: Charge, limit: str | None) -> None:
    over = quota.check_charge(Quota(size, files, used), charge)
    assert (over.limit if over else None) == limit


def test_refusal_names_the_limit() -> None:
    over = quota.check_start(Quota(5, 0, Charge(5, 0), "virtual_folders[1]."), new_file=True)
    assert over is not None
    assert (over.limit, over.rule) == ("quota_size", "virtual_folders[1].quota_size")
    assert over.text == "denying write due to space limit: quota_size"


FULL = Quota(100, 3, Charge(60, 2), "virtual_folders[1].")
DENIED = "denying write due to space limit"


@pytest.mark.parametrize(
    ("used", "new_file", "back", "over"),
    [
        (Charge(99, 2), True, 0, None),
        (Charge(100, 2), True, 0, ("quota_size", 100, 1, 100)),
        (Charge(100, 2), False, 1, None),  # full, but what it replaces gives something back
        (Charge(101, 2), False, 50, ("quota_size", 101, 1, 100)),  # over: not even that
        (Charge(99, 3), True, 0, ("quota_files", 3, 1, 3)),
        (Charge(99, 3), False, 0, None),
        (Charge(99, 4), True, 0, ("quota_files", 4, 1, 3)),
    ],
)
def test_what_a_refused_start_says(
    used: Charge, new_file: bool, back: int, over: tuple[str, int, int, int] | None
) -> None:
    quota_ = Quota(100, 3, used, "virtual_folders[1].")
    found = quota.check_start(quota_, new_file=new_file, given_back=back)
    assert found == (over and _said(*over, where="virtual_folders[1]."))


@pytest.mark.parametrize(
    ("charge", "over"),
    [
        (Charge(40, 1), None),
        (Charge(41, 1), ("quota_size", 60, 41, 100)),
        (Charge(40, 2), ("quota_files", 2, 2, 3)),
        (Charge(-60, -2), None),
    ],
)
def test_what_a_refused_charge_says(charge: Charge, over: tuple[str, int, int, int] | None) -> None:
    assert quota.check_charge(FULL, charge) == (over and _said(*over, where="virtual_folders[1]."))


def _said(limit: str, used: int, wanted: int, allowed: int, *, where: str) -> quota.Over:
    return quota.Over(limit, where + limit, used, wanted, allowed, f"{DENIED}: {limit}")


@pytest.mark.parametrize(
    ("direction", "used", "wanted", "over"),
    [
        ("upload", (99, 0), 1, None),
        ("upload", (99, 0), 2, ("upload_data_transfer", 99, 2, 100)),
        ("upload", (100, 0), 0, ("upload_data_transfer", 100, 0, 100)),
        ("upload", (50, 100), 1, ("total_data_transfer", 150, 1, 150)),
        ("download", (100, 29), 1, None),
        ("download", (100, 29), 2, ("download_data_transfer", 29, 2, 30)),
        ("download", (121, 29), 1, ("total_data_transfer", 150, 1, 150)),
    ],
)
def test_what_a_refused_transfer_says(
    direction: quota.Direction, used: tuple[int, int], wanted: int, over: tuple[str, int, int, int] | None
) -> None:
    found = quota.check_transfer(
        Allowance(100, 30, 150), direction, wanted, used_upload=used[0], used_download=used[1]
    )
    denied = DENIED if direction == "upload" else "denying read due to quota limit"
    expected = over and quota.Over(over[0], *over, f"{denied}: {over[0]}")
    assert found == expected


@pytest.mark.parametrize(
    ("allowance", "direction", "left"),
    [
        (Allowance(100, 30, 150), "upload", 40),
        (Allowance(100, 30, 150), "download", 0),
        (Allowance(0, 0, 105), "download", 5),
        (Allowance(61, 0, 150), "upload", 1),
        (Allowance(100, 0, 0), "download", None),
    ],
)
def test_what_may_still_be_moved(allowance: Allowance, direction: quota.Direction, left: int | None) -> None:
    assert quota.transfer_remaining(allowance, direction, used_upload=60, used_download=40) == left


@pytest.mark.parametrize(
    ("size", "files", "mine"), [(-1, -1, True), (-1, 0, False), (0, -1, False), (0, 0, False), (-1, 5, False)]
)
def test_a_folder_counts_in_the_account_only_if_both_limits_say_so(size: int, files: int, mine: bool) -> None:
    mount = FolderMount(name="f", virtual_path="/f", quota_size=size, quota_files=files)
    assert quota.counts_in_account(mount) is mine


def test_allowances_below_zero_are_none() -> None:
    account = Account(username="a", upload_data_transfer=-1, download_data_transfer=-1, total_data_transfer=3)
    assert quota.allowance_of(account) == Allowance(0, 0, 3 * MB)


def test_whose_quota() -> None:
    account = Account(username="ana", quota_size=5, quota_files=6, used_quota_size=1, used_quota_files=2)
    assert quota.quota_of_account(account) == Quota(5, 6, Charge(1, 2))
    assert quota.quota_of_account(account, Charge(3, 4)).used == Charge(3, 4)
    assert quota.counts_in_account(FolderMount(name="f", virtual_path="/f"))
    assert not quota.counts_in_account(FolderMount(name="f", virtual_path="/f", quota_size=0, quota_files=0))


def test_remaining() -> None:
    assert quota.remaining(0, 5) is None
    assert quota.remaining(10, 4) == 6
    assert quota.remaining(10, 14) == 0


@pytest.mark.parametrize(
    ("allowance", "direction", "wanted", "limit"),
    [
        (Allowance(), "upload", 10**15, None),
        (Allowance(upload=100), "upload", 40, None),
        (Allowance(upload=100), "upload", 41, "upload_data_transfer"),
        (Allowance(upload=60), "upload", 0, "upload_data_transfer"),
        (Allowance(upload=61), "upload", 0, None),
        (Allowance(upload=1), "download", 10, None),
        (Allowance(download=30), "download", 0, "download_data_transfer"),
        (Allowance(total=90), "download", 0, "total_data_transfer"),
        (Allowance(total=91), "upload", 1, None),
        (Allowance(total=91), "upload", 2, "total_data_transfer"),
    ],
)
def test_transfer_allowance(
    allowance: Allowance, direction: quota.Direction, wanted: int, limit: str | None
) -> None:
    over = quota.check_transfer(allowance, direction, wanted, used_upload=60, used_download=30)
    assert (over.limit if over else None) == limit
    if over:
        text = (
            "denying write due to space limit" if direction == "upload" else "denying read due to quota limit"
        )
        assert over.text.startswith(text)


def test_allowance_is_in_mb() -> None:
    account = Account(username="a", upload_data_transfer=1, download_data_transfer=2, total_data_transfer=-1)
    assert quota.allowance_of(account) == Allowance(MB, 2 * MB, 0)
    left = quota.transfer_remaining(
        Allowance(MB, 0, 2 * MB), "upload", used_upload=10, used_download=2 * MB - 20
    )
    assert left == 10
    assert quota.transfer_remaining(Allowance(), "download", used_upload=1, used_download=1) is None


@given(
    limit=st.integers(1, 1000),
    acts=st.lists(st.tuples(st.none() | st.integers(0, 500), st.integers(0, 500)), max_size=20),
)
def test_granted_charges_never_pass_a_limit(limit: int, acts: list[tuple[int | None, int]]) -> None:
    used = Charge()
    for old, new in acts:
        charge = Charge(new, 1) if old is None else Charge(new - old, 0)
        held = Quota(limit, 5, used)
        if quota.check_charge(held, charge) is None:
            used = Charge(max(0, used.size + charge.size), used.files + charge.files)
        assert used.size <= limit
        assert used.files <= 5
