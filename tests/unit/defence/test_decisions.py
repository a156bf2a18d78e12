# SPDX-License-Identifier: Apache-2.0
"""Lists, scores and buckets, each against a slow clear model; and the order of the pipeline."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from fractions import Fraction
from ipaddress import ip_address, ip_network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.defence.defender import Defender, DefenderLimits, Misdeed
from tidegate.defence.limiter import Bucket, Limiter, RateLimits
from tidegate.defence.lists import AddressLists
from tidegate.defence.networks import NetworkTable
from tidegate.defence.penalties import Offence, PenaltyLimits
from tidegate.defence.pipeline import BANNED, LISTED, Defence, DefenceOptions
from tidegate.model.address_list import AddressList, parse_network
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.model.refusal import Refusal
from tidegate.model.sources import SourcePrefixes, Sources, name_of

SCORES = {
    Misdeed.UNKNOWN_USER: 2,
    Misdeed.BAD_CREDENTIAL: 1,
    Misdeed.LIMIT_EXCEEDED: 3,
    Misdeed.NO_AUTH: 0,
    Misdeed.INFECTED: 3,
}


def entry(
    network: str, kind: ListKind = ListKind.DEFENDER, mode: ListMode = ListMode.DENY, **more
) -> ListEntry:
    return ListEntry(name=entry_name(kind, network), type=kind, ipornet=network, mode=mode, **more)


def limits(**more) -> DefenderLimits:
    return DefenderLimits(**{"scores": SCORES, "threshold": 5, **more})


networks = st.builds(
    lambda base, prefix: str(ip_network((base & 0x0300FF03, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(
    st.lists(st.tuples(networks, st.booleans()), max_size=30),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
def test_the_most_specific_network_is_found(steps: list[tuple[str, bool]], numbers: list[int]) -> None:
    table: NetworkTable[str] = NetworkTable()
    model: dict[str, str] = {}
    for text, keep in steps:
        network = parse_network(text)
        assert network is not None
        if keep:
            table.put(network, text)
            model[text] = text
        else:
            table.drop(network)
            model.pop(text, None)
    assert len(table) == len(model)
    for number in numbers:
        address = ip_address(number & 0x0300FF03)
        expected = sorted(
            (text for text in model if address in ip_network(text)),
            key=lambda text: -ip_network(text).prefixlen,
        )
        assert list(table.holding(str(address))) == expected


@given(
    st.lists(networks, max_size=12),
    st.lists(st.tuples(networks, st.booleans(), st.integers(0, 2**32 - 1)), max_size=20),
    st.sampled_from([0, 2, 1024]),
)
def test_changes_of_a_table_in_use_are_found_at_once(
    first: list[str], steps: list[tuple[str, bool, int]], spliced: int
) -> None:
    table: NetworkTable[str] = NetworkTable()
    model: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidegate.defence.networks.MAX_SPLICED", spliced)
        patch.setattr("tidegate.defence.networks.SLACK", 4)
        for step, (text, keep, number) in enumerate([*((text, True, 0) for text in first), *steps]):
            network = parse_network(text)
            assert network is not None
            if keep:
                table.put(network, f"{text} {step}")
                model[text] = f"{text} {step}"
            else:
                table.drop(network)
                model.pop(text, None)
            if step < len(first):
                continue
            for asked in (number & 0x0300FF03, int(network.network_address), int(network.broadcast_address)):
                address = ip_address(asked)
                expected = sorted(
                    (text for text in model if address in ip_network(text)),
                    key=lambda text: -ip_network(text).prefixlen,
                )
                assert list(table.holding(str(address))) == [model[text] for text in expected]
    assert sorted(table.values()) == sorted(model.values())


def test_addresses_of_both_versions_do_not_mix() -> None:
    lists = AddressLists([entry("0.0.0.0/0"), entry("2001:db8::/32", mode=ListMode.ALLOW)])
    assert lists.find(ListKind.DEFENDER, "::1", "SSH", 0) is None
    assert lists.find(ListKind.DEFENDER, "::ffff:10.0.0.1", "SSH", 0) == entry("0.0.0.0/0")
    found = lists.find(ListKind.DEFENDER, "2001:db8:1::5", "FTP", 0)
    assert found is not None and found.mode == ListMode.ALLOW
    assert lists.find(ListKind.DEFENDER, "no address", "FTP", 0) is None


def test_protocols_and_ends_of_entries() -> None:
    lists = AddressLists(
        [entry("10.0.0.0/8"), entry("10.0.0.1/32", mode=ListMode.ALLOW, protocols=2, expires_at=5_000)]
    )
    for protocol, now, mode in (("FTP", 4.9, 1), ("SSH", 4.9, 2), ("FTP", 5.0, 2), ("DAV", 0, 2)):
        found = lists.find(ListKind.DEFENDER, "10.0.0.1", protocol, now)
        assert found is not None and found.mode == mode


class SlowDefender:
    """Scores as the definition says."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, str, int]] = []
        self.bans: dict[str, float] = {}

    def mark(self, source: str, points: int, now: float) -> bool:
        if not points or self.bans.get(source, 0) > now:
            return False
        self.marks.append((now, source, points))
        recent = [p for at, s, p in self.marks if s == source and at > now - 100]
        if len(recent) < 2 or sum(recent) < 5:
            return False
        self.marks = [mark for mark in self.marks if mark[1] != source]
        self.bans[source] = now + 50
        return True


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(list(Misdeed)), st.integers(0, 60))))
def test_scores_agree_with_a_slow_model(steps: list[tuple[str, Misdeed, int]]) -> None:
    defender = Defender(limits(observation_seconds=100, ban_seconds=50))
    model, now = SlowDefender(), 1000.0
    for source, misdeed, passed in steps:
        now += passed
        banned = defender.mark(source, misdeed, now)
        assert bool(banned) == model.mark(source, SCORES[misdeed], now)
        if banned:
            assert banned == now + 50
        host = defender.host(source, now)
        until = model.bans.get(source, 0.0)
        assert (host.banned_until if host else 0.0) == (until if until > now else 0.0)
        recent = sum(p for at, s, p in model.marks if s == source and at > now - 100)
        if until <= now:
            assert (host.score if host else 0) == recent


def test_a_ban_grows_with_each_try_and_ends() -> None:
    defender = Defender(limits(ban_seconds=120, increment_seconds=60))
    defender.mark("a", Misdeed.LIMIT_EXCEEDED, 0)
    assert defender.mark("a", Misdeed.LIMIT_EXCEEDED, 0) == 120
    assert [defender.tried("a", 1.0) for _ in range(3)] == [180, 240, 300]
    assert defender.banned_until("a", 299) == 300
    assert defender.tried("a", 300) == 0
    assert defender.host("a", 300) is None
    for _ in range(100_000):
        defender.ban("b", max(defender.tried("b", 1.0), 10.0))
    assert defender.banned_until("b", 1.0) <= 1 + 30 * 86_400


def test_the_first_mark_bans_nobody() -> None:
    defender = Defender(limits(threshold=1))
    assert not defender.mark("a", Misdeed.LIMIT_EXCEEDED, 0)
    assert defender.mark("a", Misdeed.BAD_CREDENTIAL, 0)


def test_sources_with_scores_are_bounded() -> None:
    defender = Defender(limits(soft_limit=3, hard_limit=5))
    for index in range(6):
        defender.mark(str(index), Misdeed.BAD_CREDENTIAL, 0)
    assert [host.source for host in defender.hosts(0)] == ["3", "4", "5"]


def test_forgive() -> None:
    defender = Defender(limits())
    defender.mark("a", Misdeed.BAD_CREDENTIAL, 0)
    defender.ban("b", 10)
    assert [defender.forgive(one) for one in "abc"] == [True, True, False]
    assert defender.hosts(0) == []


@pytest.mark.parametrize(
    ("average", "period", "wait"),
    [(1, 1.0, 0.5), (1, 10.0, 5.0), (1, 100.0, 10.0), (1, 0.5, 0.25), (100, 1.0, 0.005), (5, 2.0, 0.25)],
)
def test_allowed_wait(average: int, period: float, wait: float) -> None:
    assert RateLimits(rule="r", average=average, period_seconds=period).allowed_wait == pytest.approx(wait)


@given(
    st.integers(1, 20),
    st.sampled_from([0.5, 1.0, 4.0, 20.0]),
    st.integers(1, 5),
    st.lists(st.integers(0, 4000)),
)
def test_buckets_agree_with_exact_numbers(average: int, period: float, burst: int, gaps: list[int]) -> None:
    one = RateLimits(rule="r", average=average, period_seconds=period, burst=burst)
    rate, tokens, now = Fraction(average) / Fraction(period), Fraction(burst), Fraction(0)
    bucket = Bucket(burst, 0.0)
    for gap in gaps:
        now += Fraction(gap, 1000)
        tokens = min(Fraction(burst), tokens + Fraction(gap, 1000) * rate)
        needed = max(Fraction(0), (1 - tokens) / rate)
        if abs(float(needed) - one.allowed_wait) < 1e-6:
            return  # on the edge floating point may fall on either side
        assert bucket.take(one, float(now)) == pytest.approx(float(needed), abs=1e-6)
        if float(needed) <= one.allowed_wait:
            tokens -= 1


def test_no_more_come_than_the_rate_allows() -> None:
    one = RateLimits(rule="r", average=10, burst=3)
    limiter, starts = Limiter(one), []
    for step in range(1000):
        now = step / 100
        wait = limiter.take("a", now)
        if wait <= one.allowed_wait:
            starts.append(now + wait)
    assert len(starts) == pytest.approx(3 + 10 * 10, abs=1)
    assert all(later >= earlier for earlier, later in pairwise(starts))


def test_each_source_has_a_bucket_and_they_are_bounded() -> None:
    limiter = Limiter(RateLimits(rule="r", average=1, period_seconds=100.0, soft_limit=2, hard_limit=3))
    assert [limiter.take(one, 0) for one in ("a", "a", "b")] == [0, 100, 0]
    for one in ("c", "d"):
        limiter.take(one, 0)
    assert len(limiter) == 2
    together = Limiter(RateLimits(rule="r", average=1, period_seconds=100.0, per_source=False))
    assert [together.take(one, 0) for one in ("a", "b")] == [0, 100]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def defence(clock: Clock, options: DefenceOptions, checks=(), banned=None, sources=None) -> Defence:
    return Defence(
        options,
        checks,
        sources=sources,
        banned=banned,
        clock=lambda: clock.now,
        monotonic=lambda: clock.now,
        sleep=clock.sleep,
    )


def test_lists_come_before_bans_and_safe_addresses_are_never_banned() -> None:
    bans: list[tuple[str, float, str]] = []
    one = defence(Clock(), DefenceOptions(defender=limits()), banned=lambda *told: bans.append(told))
    one.lists = AddressLists([entry("10.0.0.1/32", mode=ListMode.ALLOW), entry("10.0.0.2/32", protocols=1)])
    for address in ("10.0.0.1", "10.0.0.3"):
        for _ in range(2):
            one.mark(address, "SSH", Misdeed.LIMIT_EXCEEDED)
    assert one.check("10.0.0.1", "SSH") is None
    refusals = [one.check("10.0.0.2", protocol) for protocol in ("SSH", "FTP")]
    assert refusals[0] is not None and refusals[0].rule == LISTED and refusals[0].banned
    assert refusals[1] is None
    refused = one.check("10.0.0.3", "HTTP")
    assert refused is not None and refused.rule == BANNED
    assert bans == [("10.0.0.3", 2800.0, "score_limit_exceeded")]


def test_an_allow_list_that_is_on_keeps_everybody_else_out() -> None:
    one = defence(Clock(), DefenceOptions(allow_listed_only=True))
    one.lists = AddressLists([entry("10.1.0.0/16", ListKind.ALLOW, ListMode.ALLOW)])
    assert one.check("10.1.2.3", "SSH") is None
    refused = one.check("10.2.2.3", "SSH")
    assert refused is not None and refused.rule == "common.allowlist_status" and not refused.banned


def test_one_ipv6_customer_is_one_source() -> None:
    one = defence(Clock(), DefenceOptions(defender=limits()))
    for index in range(2):
        one.mark(f"2001:db8::{index}", "SSH", Misdeed.LIMIT_EXCEEDED)
    assert one.check("2001:db8::ffff", "SSH") is not None
    assert one.check("2001:db8:0:1::1", "SSH") is None


banned_networks = st.one_of(
    networks,
    st.builds(
        lambda base, prefix: str(ip_network(((0x20010DB8 << 96) | (base << 60), prefix), strict=False)),
        st.integers(0, 31),
        st.integers(32, 128),
    ),
)
some_addresses = st.one_of(
    st.integers(0, 2**32 - 1).map(lambda number: str(ip_address(number & 0x0300FF03))),
    st.integers(0, 31).map(lambda base: str(ip_address((0x20010DB8 << 96) | (base << 60) | 5))),
)


@given(st.lists(st.tuples(banned_networks, st.integers(0, 3)), max_size=20), some_addresses)
def test_bans_of_any_prefix_hold_for_their_network_until_they_end(
    steps: list[tuple[str, int]], address: str
) -> None:
    defender, model = Defender(limits()), dict[str, float]()
    for text, act in steps:
        network = parse_network(text)
        assert network is not None
        source = name_of(network)
        if act:
            defender.ban(source, 10.0 * act)
            model[source] = 10.0 * act
        else:
            assert defender.forgive(source) == (model.pop(source, None) is not None)
    for now in (0.0, 15.0, 25.0, 35.0):
        expected = {
            source
            for source, until in model.items()
            if until > now and AddressList([source]).match(address) is not None
        }
        assert set(defender.holding(address, now)) == expected


def test_the_prefixes_of_sources_hold_for_scores_bans_penalties_and_rate_limits() -> None:
    sources = Sources()
    one = defence(
        Clock(),
        DefenceOptions(
            defender=limits(),
            penalties=PenaltyLimits(seconds={Offence.AUTH_FAIL: 10.0}),
            limiters=(RateLimits(rule="r", average=1, period_seconds=100.0),),
            prefixes=SourcePrefixes(24, 48),
        ),
        sources=sources,
    )
    assert sources.prefixes == SourcePrefixes(24, 48)  # the rule of the whole server
    for index in range(2):
        one.mark(f"2001:db8:0:{index}::1", "SSH", Misdeed.LIMIT_EXCEEDED)
        one.penalise(f"192.0.2.{index}", "SSH", Offence.AUTH_FAIL)
    banned, penalised = one.check("2001:db8::9", "SSH"), one.check("192.0.2.200", "SSH")
    assert banned is not None and banned.text == "2001:db8::/48 is banned"
    assert penalised is not None and penalised.text.startswith("192.0.2.0/24 is refused for 20 s")
    assert one.check("192.0.3.200", "SSH") is None
    assert one.check("2001:db8:1::9", "SSH") is None
    waits = [asyncio.run(one.wait(f"10.0.0.{index}", "SSH")) for index in (1, 2)]
    assert waits[0] is None and waits[1] is not None and waits[1].rule == "r"


def test_other_prefixes_leave_bans_as_they_are_and_begin_scores_anew() -> None:
    clock = Clock()
    options = DefenceOptions(
        defender=limits(ban_seconds=100, increment_seconds=60),
        penalties=PenaltyLimits(seconds={Offence.AUTH_FAIL: 20.0}),
        limiters=(RateLimits(rule="r", average=1, period_seconds=100.0),),
    )
    one = defence(clock, options)
    for _ in range(2):
        one.mark("2001:db8::1", "SSH", Misdeed.LIMIT_EXCEEDED)
        one.mark("192.0.2.1", "SSH", Misdeed.BAD_CREDENTIAL)
    one.penalise("192.0.2.9", "SSH", Offence.AUTH_FAIL)
    one.limiters[0].take("192.0.2.1", clock.now)
    one.reconfigure(replace(options, prefixes=SourcePrefixes(32, 48)))
    assert one.check("2001:db8::2", "SSH") is not None  # the /64 that was banned
    assert one.defender.banned_until("2001:db8::/64", clock.now) == 1160  # and it grows by each try
    assert one.check("2001:db8:0:1::2", "SSH") is None  # not the rest of the /48
    assert [host.source for host in one.hosts()] == ["2001:db8::/64"]
    found = one.host("2001:db8::77")
    assert found is not None and found.source == "2001:db8::/64" and found.banned_until == 1160
    assert one.check("192.0.2.9", "SSH") is None
    assert one.limiters[0].peek("192.0.2.1", clock.now) == 0
    one.mark("2001:db8::1", "SSH", Misdeed.LIMIT_EXCEEDED)  # it is banned already: no score of the /48
    assert one.defender.host("2001:db8::/48", clock.now) is None
    kept = one.limiters
    one.reconfigure(replace(options, prefixes=SourcePrefixes(32, 48), allow_listed_only=False))
    assert one.limiters is kept


def test_to_ask_who_would_be_refused_has_no_effect() -> None:
    clock = Clock()
    one = defence(clock, DefenceOptions(defender=limits(ban_seconds=100, increment_seconds=60)))
    assert one.defender is not None
    one.defender.ban("10.0.0.1", 1100)
    assert one.judge("10.0.0.1", "SSH", clock.now) is not None
    assert one.defender.banned_until("10.0.0.1", clock.now) == 1100
    one.check("10.0.0.1", "SSH")
    assert one.defender.banned_until("10.0.0.1", clock.now) == 1160


def test_limiters_apply_one_after_the_other_and_refusals_are_marked() -> None:
    clock = Clock()
    slow = RateLimits(rule="common.rate_limiters[0]", average=2, per_source=False)
    strict = RateLimits(
        rule="common.rate_limiters[1]", average=1, period_seconds=20.0, marks=True, protocols=frozenset({"FTP"}),
        exempt=AddressList(["10.0.0.9"]),
    )  # fmt: skip
    one = defence(clock, DefenceOptions(defender=limits(), limiters=(slow, strict)))
    one.lists = AddressLists([entry("10.0.0.8/32", ListKind.RATE_SAFE, ListMode.ALLOW)])

    async def run() -> list[Refusal | None]:
        return [await one.wait(*call) for call in (
            ("10.0.0.1", "FTP"), ("10.0.0.8", "FTP"), ("10.0.0.9", "SSH"), ("10.0.0.1", "FTP"),
        )]  # fmt: skip

    first, safe, second, third = asyncio.run(run())
    assert first is safe is None
    # the shared limiter has 2 a second: half a second is waited at most a quarter for
    assert second is not None and second.rule == "common.rate_limiters[0]" and second.wait_seconds == 0.5
    assert third is not None and third.rule == "common.rate_limiters[0]"
    clock.now += 1
    refused = asyncio.run(one.wait("10.0.0.1", "FTP"))
    assert (
        refused is not None
        and refused.rule == "common.rate_limiters[1]"
        and round(refused.wait_seconds, 6) == 19
    )
    assert one.defender is not None
    host = one.defender.host("10.0.0.1", clock.now)
    assert host is not None and host.score == 3


def test_a_client_waits_for_its_token() -> None:
    clock = Clock()
    one = defence(clock, DefenceOptions(limiters=(RateLimits(rule="r", average=1, period_seconds=10.0),)))
    assert asyncio.run(one.wait("10.0.0.1", "SSH")) is None
    clock.now += 6
    assert asyncio.run(one.wait("10.0.0.1", "SSH")) is None
    assert clock.slept == pytest.approx([4.0])


class Check:
    def __init__(self, answer: Refusal | Exception | None) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    async def open(self) -> None: ...

    async def check(self, address: str, protocol: str) -> Refusal | None:
        self.asked.append((address, protocol))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def close(self) -> None: ...


def test_checks_are_asked_in_order_and_a_fault_lets_the_client_come() -> None:
    checks = [Check(RuntimeError("no")), Check(None), Check(Refusal("geoip", "x")), Check(None)]
    one = defence(Clock(), DefenceOptions(), checks)
    assert asyncio.run(one.wait("10.0.0.1", "DAV")) == Refusal("geoip", "x")
    assert [len(check.asked) for check in checks] == [1, 1, 1, 0]
    assert checks[0].asked == [("10.0.0.1", "DAV")]
    assert one.refusals == {"geoip": 1}


def test_no_check_is_asked_about_an_address_that_is_never_banned() -> None:
    check = Check(Refusal("geoip", "x"))
    one = defence(Clock(), DefenceOptions(), [check])
    one.lists = AddressLists([entry("10.0.0.1/32", mode=ListMode.ALLOW), entry("10.0.0.2/32")])
    assert asyncio.run(one.wait("10.0.0.1", "DAV")) is None
    assert check.asked == []
    assert one.check("10.0.0.2", "SSH") is not None
    assert one.check("10.0.0.2", "SSH") is not None
    assert one.refusals == {LISTED: 2}
