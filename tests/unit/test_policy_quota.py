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
