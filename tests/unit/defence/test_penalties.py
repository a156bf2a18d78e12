# SPDX-License-Identifier: Apache-2.0
"""Penalties of sources, against a slow clear model, and the order of ends behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.schema.defence import PenaltyKeys
from tidegate.defence import deadlines
from tidegate.defence.deadlines import Deadlines
from tidegate.defence.penalties import Offence, Penalties, PenaltyLimits
from tidegate.events.kinds import LoginFailed
from tidegate.server.defence_options import offence_at_end, offence_of

SECONDS = {
    Offence.CRASH: 90.0,
    Offence.AUTH_FAIL: 5.0,
    Offence.INVALID_USER: 5.0,
    Offence.NO_AUTH: 1.0,
    Offence.GRACE: 10.0,
}


def limits(**more: object) -> PenaltyLimits:
    return PenaltyLimits(seconds=SECONDS, **more)  # type: ignore[arg-type]


def test_the_defaults_are_those_of_openssh() -> None:
    keys = PenaltyKeys()
    assert {offence: getattr(keys, offence.value) for offence in Offence} == SECONDS
    assert (keys.enabled, keys.min, keys.max, keys.overflow) == (True, 15, 600, "permissive")
    assert (keys.max_sources4, keys.max_sources6) == (65_536, 65_536)


def test_offences_add_up_are_enforced_from_the_minimum_on_and_end() -> None:
    penalties = Penalties(limits())
    assert [penalties.charge("192.0.2.1", Offence.AUTH_FAIL, 100.0 + number) for number in range(2)] == [0, 0]
    assert penalties.remaining("192.0.2.1", 102.0) is None
    assert penalties.charge("192.0.2.1", Offence.GRACE, 102.0) == 18.0
    left = penalties.remaining("192.0.2.1", 119.0)
    assert left is not None
    assert (left.seconds, left.offence) == (1.0, Offence.GRACE)
    assert penalties.remaining("192.0.2.1", 120.0) is None
    assert penalties.remaining("192.0.2.2", 119.0) is None
    assert penalties.charge("192.0.2.1", Offence.NO_AUTH, 121.0) == 0  # it begins anew


def test_sources_that_are_refused_are_listed_with_what_is_left() -> None:
    penalties = Penalties(limits())
    penalties.charge("192.0.2.1", Offence.CRASH, 100.0)
    penalties.charge("2001:db8::/64", Offence.CRASH, 130.0)
    penalties.charge("192.0.2.2", Offence.NO_AUTH, 130.0)  # below the minimum
    assert {one.source: one.seconds for one in penalties.active(140.0)} == {
        "192.0.2.1": 50.0,
        "2001:db8::/64": 80.0,
    }
    assert [one.source for one in penalties.active(190.0)] == ["2001:db8::/64"]


def test_slow_offences_never_add_up() -> None:
    penalties = Penalties(limits())
    assert not any(penalties.charge("192.0.2.1", Offence.NO_AUTH, 10.0 * number) for number in range(500))


def test_a_crash_counts_at_once_and_nothing_counts_beyond_the_longest_time() -> None:
    penalties = Penalties(limits())
    assert penalties.charge("2001:db8::/64", Offence.CRASH, 0.0) == 90.0
    for _ in range(20):
        penalties.charge("2001:db8::/64", Offence.CRASH, 1.0)
    left = penalties.remaining("2001:db8::/64", 1.0)
    assert left is not None
    assert left.seconds == 600.0


def test_a_full_table_forgets_the_one_that_ends_first_or_refuses_everybody_else() -> None:
    small = limits(sources4=2, sources6=2)
    penalties = Penalties(small)
    penalties.charge("192.0.2.1", Offence.CRASH, 0.0)
    penalties.charge("192.0.2.2", Offence.GRACE, 0.0)
    penalties.charge("192.0.2.3", Offence.CRASH, 0.0)
    assert {one.source for one in penalties.active(0.0)} == {"192.0.2.1", "192.0.2.3"}
    assert len(penalties) == 2
    strict = Penalties(limits(sources4=2, overflow="deny-all"))
    for host in "123":
        strict.charge(f"192.0.2.{host}", Offence.CRASH, 0.0)
    refused = strict.remaining("192.0.2.9", 1.0)
    assert refused is not None
    assert refused.seconds == 89.0
    assert strict.remaining("2001:db8::/64", 1.0) is None
    assert strict.remaining("192.0.2.9", 90.0) is None


def test_a_penalty_is_forgiven() -> None:
    penalties = Penalties(limits())
    penalties.charge("192.0.2.1", Offence.CRASH, 0.0)
    assert penalties.forgive("192.0.2.1")
    assert not penalties.forgive("192.0.2.1")
    assert penalties.remaining("192.0.2.1", 1.0) is None


acts = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(Offence)), st.integers(0, 40)),
    max_size=60,
)


@given(acts)
def test_penalties_are_those_of_the_model(done: list[tuple[str, Offence, int]]) -> None:
    penalties, now = Penalties(limits()), 0.0
    ends: dict[str, float] = {}
    refused: dict[str, bool] = {}
    for source, offence, pause in done:
        now += pause
        for one in list(ends):
            if ends[one] <= now:
                ends.pop(one)
                refused.pop(one, None)
        ends[source] = min(ends.get(source, now) + SECONDS[offence], now + 600)
        refused[source] = refused.get(source, False) or ends[source] - now >= 15
        penalties.charge(source, offence, now)
        for one in "abc":
            left = penalties.remaining(one, now)
            expected = ends[one] - now if refused.get(one) else None
            assert (None if left is None else left.seconds) == expected


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 50), st.booleans()), max_size=200))
def test_the_earliest_end_is_found(acts: list[tuple[str, int, bool]]) -> None:
    ends, model = Deadlines(), dict[str, float]()
    for source, until, drops in acts:
        if drops:
            assert ends.drop(source) == (model.pop(source, None) is not None)
        else:
            ends.set(source, until)
            model[source] = until
        first = ends.earliest()
        assert (first is None) == (not model)
        assert first is None or model[first] == min(model.values())
        assert len(ends._heap) <= 2 * len(model) + deadlines.SLACK + 1 or drops
    now = 25.0
    gone = ends.expire(now)
    assert sorted(gone) == sorted(one for one, until in model.items() if until <= now)


@pytest.mark.parametrize(
    ("reason", "login_type", "offence"),
    [
        ("unknown_user", "password", Offence.INVALID_USER),
        ("bad_credential", "password", Offence.AUTH_FAIL),
        ("bad_code", "password", Offence.AUTH_FAIL),
        ("incomplete", "publickey", Offence.NO_AUTH),
        ("", "no_auth_tried", Offence.NO_AUTH),
        ("provider_unavailable", "password", None),
        ("busy", "password", None),
        ("sessions", "password", None),
    ],
)
def test_only_what_the_client_did_is_an_offence(
    reason: str, login_type: str, offence: Offence | None
) -> None:
    assert offence_of(LoginFailed(reason=reason, login_type=login_type)) == offence


@pytest.mark.parametrize(
    ("by", "before", "offence"),
    [
        ("", Offence.NO_AUTH, Offence.NO_AUTH),
        ("silent", Offence.NO_AUTH, Offence.NO_AUTH),
        ("shutdown", Offence.NO_AUTH, None),
        ("max_startups", Offence.NO_AUTH, None),
        ("shutdown", Offence.AUTH_FAIL, Offence.AUTH_FAIL),
        ("login deadline", Offence.AUTH_FAIL, Offence.GRACE),
        ("login_timeout", Offence.NO_AUTH, Offence.GRACE),
        ("internal_error", Offence.NO_AUTH, Offence.CRASH),
    ],
)
def test_the_end_of_a_connection_decides(by: str, before: Offence, offence: Offence | None) -> None:
    assert offence_at_end(by, before) == offence
