# SPDX-License-Identifier: Apache-2.0
"""ProFTPD's quota model (mod_quotatab), by the sets that sessions charge.

* "in" is uploads less deletions, "out" is downloads, "xfer" is both together.
* The limits are asked in order; the first that is met denies. Before a transfer a counter that has reached
  its limit refuses; the number of files is asked only if the target does not exist yet.
* ``hard``: bytes never pass the limit. ``soft``: one file may cross; the next is refused.
"""

from __future__ import annotations

import pytest
from tests.support.quota_world import Counters, charges, limit_of, refusal

from tidegate.model import TALLY_NAMES, Account, Filters, Tally, TallyLimits
from tidegate.policy.charges import session_tally
from tidegate.policy.quota import ChargeSet, require
from tidegate.vfs.usage.live import AccountUsage

MIB = 1024 * 1024
HARD = TallyLimits(limit_type="hard", bytes_in=100, files_in=3)
SOFT = TallyLimits(limit_type="soft", bytes_in=100, files_in=3)
STORE = ("bytes_in", "bytes_xfer", "files_in", "files_xfer")
RETRIEVE = ("bytes_out", "bytes_xfer", "files_out", "files_xfer")


def held(limits: TallyLimits, **used: int) -> ChargeSet:
    account = Account(username="ana", filters=Filters(tally_limits=limits))
    return charges(account, Counters(**used))


def start(limits: TallyLimits, transfer: tuple[str, ...], *, new: bool = True, **used: int) -> str | None:
    """The limit by which a transfer may not begin."""
    one = held(limits, **used)
    if transfer is STORE:
        return limit_of(lambda: one.may_upload(new=new, replaced=0))
    return limit_of(one.may_download)


def test_soft_limit_that_was_crossed_refuses_the_next_file() -> None:
    over = refusal(lambda: held(SOFT, bytes_in=560).may_upload(new=True, replaced=0))
    assert over is not None
    assert over.limit == "bytes_in"
    assert (
        over.text == "denying write due to space limit: 560 bytes of 100 bytes used (tally_limits.bytes_in)"
    )
    assert start(SOFT, STORE, bytes_in=60) is None


def test_soft_never_stops_a_running_transfer() -> None:
    assert limit_of(lambda: held(SOFT, bytes_in=99).charge(10**9, 0)) is None
    assert limit_of(lambda: held(HARD, bytes_in=99).charge(1, 0)) is None
    over = refusal(lambda: held(HARD, bytes_in=99).charge(2, 0))
    assert over is not None
    assert (over.limit, over.rule) == ("bytes_in", "tally_limits.bytes_in")


def test_files_are_asked_only_for_new_targets() -> None:
    assert start(HARD, STORE, files_in=3) == "files_in"
    assert start(HARD, STORE, files_in=3, new=False) is None


def test_download() -> None:
    limits = TallyLimits(bytes_out=100, files_out=2, bytes_xfer=1000, files_xfer=1000)
    over = refusal(held(limits, bytes_out=100).may_download)
    assert over is not None
    assert (
        over.text == "denying read due to quota limit: 100 bytes of 100 bytes used (tally_limits.bytes_out)"
    )
    assert start(limits, STORE, bytes_out=100) is None
    assert start(limits, RETRIEVE, files_out=2) == "files_out"


@pytest.mark.parametrize(
    ("transfer", "counter"), [*[(STORE, n) for n in STORE], *[(RETRIEVE, n) for n in RETRIEVE]]
)
def test_each_limit_denies_what_it_concerns_and_nothing_else(transfer: tuple[str, ...], counter: str) -> None:
    limits = TallyLimits(**{counter: 10})
    assert start(limits, transfer, **{counter: 9}) is None
    assert start(limits, transfer, **{counter: 10}) == counter
    for other in TALLY_NAMES:
        if other not in transfer:
            assert start(TallyLimits(**{other: 10}), transfer, **{other: 10}) is None


def test_first_limit_in_order_denies_and_low_xfer_shadows_in() -> None:
    limits = TallyLimits(bytes_in=1000, bytes_xfer=100)
    assert start(limits, STORE, bytes_in=100, bytes_xfer=100) == "bytes_xfer"
    limits = TallyLimits(bytes_in=5, bytes_xfer=5, files_in=1)
    assert start(limits, STORE, bytes_in=5, bytes_xfer=5, files_in=1) == "bytes_in"


@pytest.mark.parametrize("unlimited", [0, -1])
def test_counters_without_limit_refuse_nothing(unlimited: int) -> None:
    limits = TallyLimits(bytes_in=unlimited, files_in=5, bytes_xfer=unlimited, files_xfer=unlimited)
    assert start(limits, STORE, bytes_in=10**15, bytes_xfer=10**15) is None
    assert limit_of(lambda: held(limits, bytes_in=10**15).charge(10, 0)) is None


def test_per_session_counters_start_at_zero() -> None:
    def account(limits: TallyLimits) -> Account:
        return Account(username="ana", filters=Filters(tally_limits=limits), tally=Tally(bytes_in=99))

    fresh = session_tally(account(TallyLimits(per_session=True, bytes_in=100)))
    assert fresh is not None
    assert {count.used for count in fresh.values()} == {0}
    kept = account(TallyLimits(bytes_in=100))
    assert session_tally(kept) is None
    assert AccountUsage(kept).tally["bytes_in"].used == 99


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
        transfer = RETRIEVE if name.endswith("out") else STORE
        assert start(limits, transfer, **{name: limit - 1}) is None
        assert start(limits, transfer, **{name: limit}) == name
    assert limit_of(lambda: require(held(hard).grow_limits, 15 * MIB)) is None
    assert limit_of(lambda: require(held(hard).grow_limits, 15 * MIB + 1)) == "bytes_in"
