# SPDX-License-Identifier: Apache-2.0
"""Parts of the pipeline one by one: files beside stored lists, who is exempt, what is kept and what is told."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest

from tidegate.defence.deadlines import Deadlines
from tidegate.defence.defender import MAX_MARKS, Defender, DefenderLimits, Misdeed
from tidegate.defence.explaining import ConnectStep, explain
from tidegate.defence.limiter import Limiter, RateLimits
from tidegate.defence.lists import AddressLists
from tidegate.defence.networks import NetworkTable
from tidegate.defence.penalties import Offence, Penalties, PenaltyLimits
from tidegate.defence.pipeline import TELL_SECONDS, Defence, DefenceOptions
from tidegate.model.address_list import AddressList
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.model.refusal import Refusal

NOW = 1000.0


def entry(network: str, mode: ListMode = ListMode.DENY, kind: int = ListKind.DEFENDER) -> ListEntry:
    return ListEntry(name=entry_name(kind, network), type=kind, ipornet=network, mode=mode)


def defence(**options: object) -> Defence:
    return Defence(
        DefenceOptions(**options),  # type: ignore[arg-type]
        clock=lambda: NOW,
        monotonic=lambda: NOW,
    )


# -- lists ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "filed", "found"),
    [
        ("10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16"),
        ("10.1.0.0/16", "10.0.0.0/8", "10.1.0.0/16"),
        ("10.1.0.0/16", "10.1.0.0/16", "10.1.0.0/16"),  # the stored one, see below
        ("10.1.0.0/16", "192.0.2.0/24", "10.1.0.0/16"),
        ("192.0.2.0/24", "10.1.0.0/16", "10.1.0.0/16"),
        ("192.0.2.0/24", "198.51.100.0/24", ""),
    ],
)
def test_the_narrower_of_a_stored_entry_and_one_of_a_file_counts(stored: str, filed: str, found: str) -> None:
    one = defence()
    one.lists = AddressLists([entry(stored, ListMode.ALLOW)])
    one.file_lists = AddressLists([entry(filed)])
    got = one.find(ListKind.DEFENDER, "10.1.2.3", "SSH", NOW)
    assert ("" if got is None else got.ipornet) == found
    if stored == filed:
        assert got is not None and got.mode == ListMode.ALLOW


def test_a_refusal_names_the_file_that_an_entry_is_of() -> None:
    one = defence()
    one.lists = AddressLists([entry("192.0.2.0/24")])
    one.file_lists = AddressLists([replace(entry("198.51.100.0/24"), name="/etc/drop.txt:7")])
    stored, filed = one.check("192.0.2.1", "SSH"), one.check("198.51.100.1", "SSH")
    assert stored is not None and stored.text == "192.0.2.1 is on the defender list as 192.0.2.0/24"
    assert filed is not None
    assert filed.text == "198.51.100.1 is on the defender list as 198.51.100.0/24, from /etc/drop.txt:7"


def test_entries_are_taken_out_by_the_name_of_their_record() -> None:
    lists = AddressLists()
    assert lists.put(entry("10.0.0.0/8"))
    assert lists.put(entry("2001:db8::/32", kind=ListKind.ALLOW))
    assert not lists.put(entry("10.0.0.1/32", kind=ListKind.BAN))
    assert not lists.put(entry("no network"))
    assert lists.find(ListKind.DEFENDER, "10.0.0.1", "SSH", 0) is not None
    for name in ("1/10.0.0.0/8", "77/10.0.0.0/8", "x/10.0.0.0/8", "2/no network", "2/", ""):
        lists.drop(name)
    assert [one.ipornet for one in lists.entries()] == ["2001:db8::/32", "10.0.0.0/8"]
    lists.drop("2/10.0.0.0/8")
    assert lists.find(ListKind.DEFENDER, "10.0.0.1", "SSH", 0) is None
    lists.drop("1/2001:db8::/32")
    assert len(lists) == 0


@pytest.mark.parametrize("late", [False, True])
def test_the_edges_of_networks_of_both_versions(late: bool) -> None:
    table: NetworkTable[str] = NetworkTable()
    whole = ("0.0.0.0/0", "255.255.255.255/32", "10.0.0.0/31")
    six = ("::/0", "2001:db8::/64", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128", "2001:db8:0:1::/127")
    if late:
        table.arrange()
    for text in whole:
        table.put(IPv4Network(text), text)
    for text in six:
        table.put(IPv6Network(text), text)
    for address, narrowest in (
        ("0.0.0.0", "0.0.0.0/0"),
        ("255.255.255.255", "255.255.255.255/32"),
        ("255.255.255.254", "0.0.0.0/0"),
        ("10.0.0.1", "10.0.0.0/31"),
        ("10.0.0.2", "0.0.0.0/0"),
        ("9.255.255.255", "0.0.0.0/0"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/127"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/127"),
        ("2001:db8:0:1::2", "::/0"),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"),
    ):
        assert table.holding(address)[0] == narrowest, address
    assert table.get(IPv4Network("10.0.0.0/31")) == "10.0.0.0/31"
    table.drop(IPv6Network("::/0"))
    assert list(table.holding("2001:db8:0:1::2")) == []
    assert len(table) == 6


# -- who is exempt ---------------------------------------------------------------------------------------------


def test_proxies_and_exempt_addresses_are_neither_penalised_nor_marked_nor_limited() -> None:
    one = defence(
        defender=DefenderLimits(scores={Misdeed.LIMIT_EXCEEDED: 9}, threshold=2),
        penalties=PenaltyLimits(seconds={Offence.CRASH: 90.0}, exempt=AddressList(["192.0.2.1"])),
        limiters=(RateLimits(rule="r", average=1, period_seconds=100.0),),
        proxies=AddressList(["192.0.2.2"]),
    )
    assert [one.is_exempt(f"192.0.2.{last}") for last in (1, 2, 3)] == [True, True, False]
    for last in (1, 2, 3):
        address = f"192.0.2.{last}"
        one.penalise(address, "SSH", Offence.CRASH)
        for _ in range(2):
            one.exceeded(address, "SSH")
    assert [host.source for host in one.hosts() if host.penalty] == []  # the ban counts, which is graver
    assert {host.source for host in one.hosts()} == {"192.0.2.1", "192.0.2.3"}
    assert len(one.penalties) == 1
    one.penalise("", "SSH", Offence.CRASH)
    one.mark("", "SSH", Misdeed.LIMIT_EXCEEDED)
    assert len(one.penalties) == 1
    waits = [asyncio.run(one.wait("192.0.2.2", "SSH")) for _ in range(5)]
    assert waits == [None] * 5


def test_what_is_on_the_defender_list_gets_no_penalty() -> None:
    one = defence(penalties=PenaltyLimits(seconds={Offence.CRASH: 90.0}))
    one.lists = AddressLists([entry("192.0.2.0/24", ListMode.ALLOW)])
    for address in ("192.0.2.1", "198.51.100.1"):
        one.penalise(address, "SSH", Offence.CRASH)
    assert [host.source for host in one.hosts()] == ["198.51.100.1"]


def test_a_source_with_a_score_and_a_penalty_shows_both() -> None:
    one = defence(
        defender=DefenderLimits(scores={Misdeed.BAD_CREDENTIAL: 1}, threshold=9),
        penalties=PenaltyLimits(seconds={Offence.CRASH: 90.0}),
    )
    assert one.host("192.0.2.1") is None
    one.mark("192.0.2.1", "SSH", Misdeed.BAD_CREDENTIAL)
    found = one.host("192.0.2.1")
    assert found is not None and (found.score, found.banned_until, found.penalty) == (1, 0.0, "")
    one.penalise("192.0.2.1", "SSH", Offence.CRASH)
    found = one.host("192.0.2.1")
    assert found is not None and (found.score, found.banned_until, found.penalty) == (1, NOW + 90, "crash")
    one.penalise("192.0.2.2", "SSH", Offence.CRASH)
    alone = one.host("192.0.2.2")
    assert alone is not None and (alone.score, alone.banned_until, alone.penalty) == (0, NOW + 90, "crash")
    one.defender.ban("192.0.2.1", NOW + 5)
    found = one.host("192.0.2.1")
    assert found is not None and (found.score, found.banned_until, found.penalty) == (0, NOW + 5, "")


# -- rate limits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "per_source", "banned"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_only_limiters_that_say_so_mark_and_only_by_source(
    marks: bool, per_source: bool, banned: bool
) -> None:
    one = defence(
        defender=DefenderLimits(scores={Misdeed.LIMIT_EXCEEDED: 9}, threshold=2),
        limiters=(RateLimits(rule="r", average=1, period_seconds=100.0, marks=marks, per_source=per_source),),
    )
    for _ in range(3):
        asyncio.run(one.wait("192.0.2.1", "SSH"))
    assert (one.check("192.0.2.1", "SSH") is not None) is banned
    assert one.refusals["r"] == 2


def test_the_bucket_that_was_used_longest_ago_is_forgotten() -> None:
    limiter = Limiter(RateLimits(rule="r", average=1, period_seconds=100.0, soft_limit=2, hard_limit=3))
    for source in ("a", "b", "c", "a", "d"):
        limiter.take(source, 0.0)
    assert [limiter.peek(source, 0.0) > 0 for source in "abcd"] == [True, False, False, True]


@pytest.mark.parametrize(
    ("taken", "outcome", "why"),
    [
        (0, "passes", "1 in 1 s, 1 at once, of this source; there is room"),
        (1, "passes", "1 in 1 s, 1 at once, of this source; waits 0.500 s"),
        (2, "refuses", "1 in 1 s, 1 at once, of this source; the next one in 1.500 s"),
    ],
)
async def test_a_rate_limit_is_explained_as_it_would_decide(taken: int, outcome: str, why: str) -> None:
    one = defence(limiters=(RateLimits(rule="r", average=1, period_seconds=1.0),))
    limiter = one.limiters[0]
    for at in (NOW - 0.5, NOW)[:taken]:
        limiter.take("192.0.2.1", at)
    answer = await explain(one, "192.0.2.1", "SSH", now=NOW, monotonic=NOW)
    (step,) = [step for step in answer.steps if step.rule == "r"]
    assert step == ConnectStep("r", outcome, why)  # type: ignore[arg-type]


# -- what is told ------------------------------------------------------------------------------------------------


def test_of_a_flood_by_one_rule_one_refusal_is_told_with_those_kept_back() -> None:
    now, told = NOW, list[Refusal]()
    one = Defence(
        DefenceOptions(),
        turned=lambda _address, _protocol, refusal: told.append(refusal),
        monotonic=lambda: now,
    )
    assert one.untold == {}
    for rule in ("a", "a", "b", "a"):
        one.refused("192.0.2.1", "HTTP", Refusal(rule, "no"))
    assert [(one.rule, one.unreported) for one in told] == [("a", 0), ("b", 0)]
    assert one.untold == {"a": 2}
    now += TELL_SECONDS
    one.refused("192.0.2.1", "HTTP", Refusal("a", "no"))
    assert (told[-1].rule, told[-1].unreported) == ("a", 2)
    assert one.untold == {}
    Defence(DefenceOptions()).refused("192.0.2.1", "HTTP", Refusal("a", "no"))  # nobody listens


# -- tables ------------------------------------------------------------------------------------------------------


def test_a_full_table_of_penalties_that_forgets_refuses_nobody_who_is_not_in_it() -> None:
    penalties = Penalties(PenaltyLimits(seconds={Offence.CRASH: 90.0}, sources4=1))
    penalties.charge("192.0.2.1", Offence.CRASH, 0.0)
    assert penalties.remaining("192.0.2.9", 1.0) is None
    strict = Penalties(PenaltyLimits(seconds={Offence.CRASH: 90.0}, sources4=2, overflow="deny-all"))
    strict.charge("192.0.2.1", Offence.CRASH, 0.0)
    assert strict.remaining("192.0.2.9", 1.0) is None  # there is room


def test_a_full_table_that_refuses_everybody_else_keeps_who_is_in_it() -> None:
    seconds = {Offence.CRASH: 90.0}
    strict = Penalties(PenaltyLimits(seconds=seconds, sources4=1, overflow="deny-all"))
    assert strict.charge("192.0.2.1", Offence.CRASH, 0.0) == 90.0
    assert strict.charge("192.0.2.2", Offence.CRASH, 0.0) == 0.0
    assert [one.source for one in strict.active(1.0)] == ["192.0.2.1"]
    none = Penalties(PenaltyLimits(seconds=seconds, sources4=0))
    assert none.charge("192.0.2.1", Offence.CRASH, 0.0) == 0.0
    assert len(none) == 0


def test_so_many_ends_are_forgotten_at_a_time() -> None:
    ends = Deadlines()
    for number in range(5):
        ends.set(str(number), float(number))
    assert ends.expire(10.0, most=2) == ["0", "1"]
    assert ends.expire(10.0, most=2) == ["2", "3"]
    assert ends.expire(4.0, most=0) == []
    assert ends.expire(3.9) == []
    assert ends.expire(4.0) == ["4"]
    assert [ends.get("4"), len(ends), "4" in ends] == [0.0, 0, False]


def test_bans_of_one_prefix_come_and_go_without_a_trace() -> None:
    defender = Defender(DefenderLimits(scores={}))
    for _ in range(3):
        for source in ("2001:db8::/64", "2001:db8:0:1::/64", "192.0.2.1"):
            defender.ban(source, 10.0)
            defender.ban(source, 20.0)
        assert defender.holding("2001:db8::5", 15.0) == ["2001:db8::/64"]
        assert defender.forgive("2001:db8::/64")
        assert defender.holding("2001:db8::5", 15.0) == []
        assert defender.holding("2001:db8:0:1::5", 15.0) == ["2001:db8:0:1::/64"]
        assert defender.holding("192.0.2.1", 25.0) == []  # ended, and dropped
        assert defender.forgive("2001:db8:0:1::/64")
        assert not defender.forgive("192.0.2.1")
        assert defender._lengths == {4: {}, 6: {}}
    defender.ban("no address", 10.0)
    assert defender.holding("no address", 5.0) == ["no address"]
    assert defender.holding("no other", 5.0) == []
    assert defender.holding("no address", 15.0) == []


def test_the_ban_that_ends_first_makes_room_and_is_found_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.defence.defender.MAX_BANS", 2)
    defender = Defender(DefenderLimits(scores={}))
    for last, until in ((1, 30.0), (2, 20.0), (3, 40.0)):
        defender.ban(f"192.0.2.{last}", until)
    assert [bool(defender.holding(f"192.0.2.{last}", 0.0)) for last in (1, 2, 3)] == [True, False, True]
    assert defender.bans() == {"192.0.2.1": 30.0, "192.0.2.3": 40.0}
    assert defender._lengths == {4: {32: 2}, 6: {}}


def test_marks_of_one_source_are_bounded_and_scores_can_be_forgotten_alone() -> None:
    defender = Defender(DefenderLimits(scores={Misdeed.BAD_CREDENTIAL: 1}, threshold=10_000))
    for _ in range(MAX_MARKS + 5):
        defender.mark("a", Misdeed.BAD_CREDENTIAL, 0.0)
    host = defender.host("a", 0.0)
    assert host is not None and host.score == MAX_MARKS
    defender.ban("b", 10.0)
    assert [one.source for one in defender.hosts(0.0)] == ["b", "a"]
    defender.forget_scores()
    assert [one.source for one in defender.hosts(0.0)] == ["b"]
