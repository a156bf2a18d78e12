# SPDX-License-Identifier: Apache-2.0
"""ProFTPD's quota model (mod_quotatab)."""

from __future__ import annotations

import pytest

from tidegate.model import TALLY_NAMES, Tally, TallyLimits
from tidegate.policy.tally import (
    Transfer,
    check_bytes,
    check_start,
    start_tally,
)

MIB = 1024 * 1024
HARD = TallyLimits(limit_type="hard", bytes_in=100, files_in=3)
SOFT = TallyLimits(limit_type="soft", bytes_in=100, files_in=3)


def test_soft_limit_that_was_crossed_refuses_the_next_file() -> None:
    over = check_start(SOFT, Tally(bytes_in=560), Transfer.STORE)
    assert over is not None
    assert over.limit == "bytes_in"
    assert over.text == "denying write due to space limit: bytes_in, used 560 of 100"
    assert check_start(SOFT, Tally(bytes_in=60), Transfer.STORE) is None


def test_soft_never_stops_a_running_transfer() -> None:
    assert check_bytes(SOFT, Tally(bytes_in=99), Transfer.STORE, 10**9) is None
    assert check_bytes(HARD, Tally(bytes_in=99), Transfer.STORE, 1) is None
    over = check_bytes(HARD, Tally(bytes_in=99), Transfer.STORE, 2)
    assert over is not None
    assert (over.limit, over.rule) == ("bytes_in", "filters.tally_limits.bytes_in")
    assert "101 of 100" in over.text


def test_files_are_asked_only_for_new_targets() -> None:
    used = Tally(files_in=3)
    over = check_start(HARD, used, Transfer.STORE)
    assert over is not None
    assert over.limit == "files_in"
    assert check_start(HARD, used, Transfer.STORE, target_exists=True) is None


def test_download() -> None:
    limits = TallyLimits(bytes_out=100, files_out=2, bytes_xfer=1000, files_xfer=1000)
    over = check_start(limits, Tally(bytes_out=100), Transfer.RETRIEVE)
    assert over is not None
    assert over.text == "denying read due to quota limit: bytes_out, used 100 of 100"
    assert check_start(limits, Tally(bytes_out=100), Transfer.STORE) is None
    assert check_start(limits, Tally(files_out=2), Transfer.RETRIEVE) is not None


@pytest.mark.parametrize(
    ("transfer", "counter"),
    [
        *[(Transfer.STORE, n) for n in ("bytes_in", "bytes_xfer", "files_in", "files_xfer")],
        *[(Transfer.RETRIEVE, n) for n in ("bytes_out", "bytes_xfer", "files_out", "files_xfer")],
    ],
)
def test_each_limit_denies_what_it_concerns_and_nothing_else(transfer: Transfer, counter: str) -> None:
    limits = TallyLimits(**{counter: 10})
    assert check_start(limits, Tally(**{counter: 9}), transfer) is None
    over = check_start(limits, Tally(**{counter: 10}), transfer)
    assert over is not None
    assert over.limit == counter
    for other in TALLY_NAMES:
        if other not in transfer.value:
            assert check_start(TallyLimits(**{other: 10}), Tally(**{other: 10}), transfer) is None


def test_first_limit_in_order_denies_and_low_xfer_shadows_in() -> None:
    limits = TallyLimits(bytes_in=1000, bytes_xfer=100)
    over = check_start(limits, Tally(bytes_in=100, bytes_xfer=100), Transfer.STORE)
    assert over is not None
    assert over.limit == "bytes_xfer"
    both = check_start(
        TallyLimits(bytes_in=5, bytes_xfer=5, files_in=1),
        Tally(bytes_in=5, bytes_xfer=5, files_in=1),
        Transfer.STORE,
    )
    assert both is not None
    assert both.limit == "bytes_in"


@pytest.mark.parametrize("unlimited", [0, -1])
def test_counters_without_limit_refuse_nothing(unlimited: int) -> None:
    limits = TallyLimits(bytes_in=unlimited, files_in=5, bytes_xfer=unlimited, files_xfer=unlimited)
    assert check_start(limits, Tally(bytes_in=10**15, bytes_xfer=10**15), Transfer.STORE) is None
    assert check_bytes(limits, Tally(bytes_in=10**15), Transfer.STORE, 10) is None


def test_per_session_counters_start_at_zero() -> None:
    stored = Tally(bytes_in=99)
    assert start_tally(TallyLimits(per_session=True), stored) == Tally()
    assert start_tally(TallyLimits(), stored) == stored


@pytest.mark.parametrize("name", TALLY_NAMES)
def test_seed_example_rows(name: str) -> None:
    """200 GiB soft with 1000 files; 15 MiB hard with 100 files, six limits each."""
    soft = TallyLimits(
        limit_type="soft",
        **{n: 214_748_364_800 if n.startswith("bytes") else 1000 for n in TALLY_NAMES},
    )
    hard = TallyLimits(
        limit_type="hard",
        per_session=True,
        **{n: 15 * MIB if n.startswith("bytes") else 100 for n in TALLY_NAMES},
    )
    for limits in (soft, hard):
        limit = getattr(limits, name)
        transfer = Transfer.RETRIEVE if name.endswith("out") else Transfer.STORE
        assert check_start(limits, Tally(**{name: limit - 1}), transfer) is None
        assert check_start(limits, Tally(**{name: limit}), transfer) is not None
    assert check_bytes(hard, Tally(), Transfer.STORE, 15 * MIB) is None
    assert check_bytes(hard, Tally(), Transfer.STORE, 15 * MIB + 1) is not None
