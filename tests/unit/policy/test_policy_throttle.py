# SPDX-License-Identifier: Apache-2.0
"""Token buckets: never faster than the rate, evenly shared, and the bound of slow transfers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.model import Account, BandwidthLimit, Filters
from tidegate.policy.throttle import (
    CATCH_UP_SECONDS,
    PIECE_BYTES,
    Rates,
    TokenBucket,
    bandwidth_bucket,
    rates_for,
)

SLACK = 1e-4  # milliseconds: what floating point loses on a clock that stands at 1e6 s


def made(kb: int) -> TokenBucket:
    bucket = bandwidth_bucket(kb)
    assert bucket is not None
    return bucket


def transfer(
    bucket: TokenBucket, size: int, now: float, *, piece: int = PIECE_BYTES, late: float = 0.0
) -> float:
    """Move `size` bytes piece by piece, each wait being `late` seconds too long; returns the end."""
    while size > 0:
        moved = min(piece, size)
        wait = bucket.take(moved, now)
        now += wait + (late if wait else 0.0)
        size -= moved
    return now


@pytest.mark.parametrize("kb", [1, 25, 30, 100, 4096])
@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 65536, 131072, 1_000_000])
@pytest.mark.parametrize("late", [0.0, 0.001, 0.2])
def test_lower_bound_of_throttled_transfers(kb: int, size: int, late: float) -> None:
    """N bytes at B KB/s take at least 1000 * (N div 1000) / B milliseconds, from a bucket fresh or rested."""
    bucket = made(kb)
    for start in (0.0, 1e6):
        took_ms = (transfer(bucket, size, start, late=late) - start) * 1000
        assert took_ms >= 1000 * (size // 1000) / kb - SLACK


@pytest.mark.parametrize("kb", [30, 1000, 100_000])
def test_not_much_slower_than_the_limit(kb: int) -> None:
    """Timers that fire a millisecond late cost nothing: lateness is caught up."""
    size = kb * 1000 * 3
    took = transfer(made(kb), size, 0.0, late=0.001)
    assert took <= 3.0 + CATCH_UP_SECONDS


def test_rest_earns_nothing() -> None:
    bucket = TokenBucket(1000, 100)
    assert bucket.take(500, 0.0) == pytest.approx(0.5)
    assert bucket.take(500, 100.0) == pytest.approx(0.5)


def test_lateness_is_caught_up_within_the_burst() -> None:
    bucket = TokenBucket(1000, 100)
    bucket.take(1000, 0.0)
    assert bucket.take(1000, 1.05) == pytest.approx(0.95)
    assert bucket.take(1000, 2.5) == pytest.approx(1.0)


def test_lateness_of_the_whole_window_is_caught_up_and_more_is_not() -> None:
    """In numbers that floating point holds exactly: 1024 bytes/s, an eighth of a second."""
    for late, wait in ((0.125, 0.875), (0.126, 1.0)):
        bucket = TokenBucket(1024, 128)
        assert bucket.take(1024, 0.0) == 1.0
        assert bucket.take(1024, 1.0 + late) == wait


@pytest.mark.parametrize(("kb", "rate"), [(-1, None), (0, None), (1, 1000), (25, 25_000)])
def test_a_limit_is_so_many_thousand_bytes_a_second(kb: int, rate: int | None) -> None:
    bucket = bandwidth_bucket(kb)
    assert (None if bucket is None else round(bucket.rate, 6)) == rate
    if bucket is not None and rate is not None:
        assert bucket.take(rate, 0.0) == pytest.approx(1.0)
        assert bucket.take(rate, 1.049) == pytest.approx(0.951)  # 50 ms of lateness are caught up
        assert bucket.take(rate, 2.051) == pytest.approx(1.0)


def test_a_bucket_without_burst_catches_nothing_up() -> None:
    bucket = TokenBucket(0.5, 0)
    assert bucket.take(1, 0.0) == 2.0
    assert bucket.take(0, 1.0) == 1.0
    assert bucket.take(0, 2.0) == 0.0
    assert bucket.take(1, 2.25) == 2.0


def test_limits_below_zero_are_none() -> None:
    below = BandwidthLimit(sources=("10.0.0.0/8",), upload_bandwidth=-5, download_bandwidth=-6)
    account = Account(
        username="ana",
        upload_bandwidth=-1,
        download_bandwidth=-2,
        filters=Filters(bandwidth_limits=(below,)),
    )
    assert rates_for(account, "192.0.2.1") == Rates(0, 0)
    assert rates_for(account, "10.0.0.1") == Rates(0, 0, "filters.bandwidth_limits[0]")


def test_debt_is_allowed_and_told() -> None:
    bucket = TokenBucket(100)
    assert bucket.take(1000, 0.0) == pytest.approx(10)
    assert bucket.take(100, 0.0) == pytest.approx(11)
    assert bucket.debt(1.0) == pytest.approx(10)
    assert bucket.debt(20.0) == 0.0
    assert bucket.debt(5.0) == pytest.approx(6)


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, -1)])
def test_senseless_buckets(rate: float, burst: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        TokenBucket(rate, burst)


def test_clock_going_backwards_is_no_gift() -> None:
    bucket = TokenBucket(1000, 100)
    assert bucket.take(1000, 10.0) == pytest.approx(1.0)
    assert bucket.take(1000, 5.0) == pytest.approx(7.0)


@settings(max_examples=300, deadline=None)
@given(
    rate=st.floats(1, 1e9),
    burst=st.floats(0, 1e6),
    acts=st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 10)), min_size=1, max_size=40),
)
def test_never_more_than_rate_times_time_plus_burst(
    rate: float, burst: float, acts: list[tuple[int, float]]
) -> None:
    """Over every interval between the start of one grant and the payment of a later one."""
    bucket = TokenBucket(rate, burst)
    now = 0.0
    paid: list[tuple[float, float, int]] = []  # asked at, paid at, size
    for size, pause in acts:
        now += pause
        paid.append((now, now + bucket.take(size, now), size))
    for first in range(len(paid)):
        total = 0
        for asked, done, size in paid[first:]:
            total += size
            assert asked >= paid[first][0]
            elapsed = done - paid[first][0]
            assert total <= (rate * elapsed + burst) * (1 + 1e-6) + 1e-6 * rate + 1e-3


def shares(buckets: list[TokenBucket], pieces: list[int], seconds: float) -> list[int]:
    """Bytes that parallel transfers move in `seconds`, each asking again once its wait is over."""
    moved = [0] * len(buckets)
    due = [0.0] * len(buckets)
    while min(due) < seconds:
        who = due.index(min(due))
        wait = buckets[who].take(pieces[who], due[who])
        due[who] += wait
        if due[who] <= seconds:
            moved[who] += pieces[who]
    return moved


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shared_bucket_sums_and_is_fair(count: int) -> None:
    user = made(1000)
    moved = shares([user] * count, [PIECE_BYTES] * count, 20.0)
    assert sum(moved) <= 1_000_000 * 20 * 1.01
    assert sum(moved) >= 1_000_000 * 20 * 0.98 - count * PIECE_BYTES
    assert max(moved) - min(moved) <= 2 * PIECE_BYTES


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("10.1.2.3", Rates(10, 20, "filters.bandwidth_limits[0]")),
        ("::ffff:10.1.2.3", Rates(10, 20, "filters.bandwidth_limits[0]")),
        ("10.9.9.9", Rates(0, 7, "filters.bandwidth_limits[1]")),
        ("192.0.2.1", Rates(1, 2, "")),
        ("unix", Rates(1, 2, "")),
    ],
)
def test_rates_by_source(ip: str, expected: Rates) -> None:
    account = Account(
        username="ana",
        upload_bandwidth=1,
        download_bandwidth=2,
        filters=Filters(
            bandwidth_limits=(
                BandwidthLimit(sources=("10.1.0.0/16",), upload_bandwidth=10, download_bandwidth=20),
                BandwidthLimit(sources=("10.0.0.0/8",), upload_bandwidth=0, download_bandwidth=7),
            )
        ),
    )
    assert rates_for(account, ip) == expected
