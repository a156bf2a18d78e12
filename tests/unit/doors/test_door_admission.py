# SPDX-License-Identifier: Apache-2.0
"""Limits on connections, as every door counts them."""

from __future__ import annotations

from tidegate.doors.common.admission import (
    REPORT_SECONDS,
    Admission,
    AdmissionLimits,
    AdmissionRules,
    Refusal,
    Visit,
)
from tidegate.model.address import plain_address
from tidegate.model.address_list import AddressList
from tidegate.model.proxies import ProxyOptions
from tidegate.resources import Ledger, StartupLimits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_admission_counts():
    admission = Admission(Ledger())
    limits = AdmissionLimits(connections=3, startups=StartupLimits(2, 100, 2), per_source=2)
    first = admission.enter("192.0.2.1", limits)
    second = admission.enter("192.0.2.1", limits)
    assert admission.enter("192.0.2.2", limits).rule == "max_startups"
    admission.settles(first)
    assert admission.enter("192.0.2.1", limits).rule == "max_per_host"
    third = admission.enter("192.0.2.2", limits)
    admission.settles(second)
    assert admission.enter("192.0.2.3", limits).rule == "max_connections"
    for visit in (first, second, third, third):
        admission.leave(visit)
    assert (admission.connections, admission.waiting) == (0, 0)
    assert not admission._sources


def test_refusals_are_reported_now_and_then():
    admission = Admission(Ledger())
    limits = AdmissionLimits(connections=1)
    admission.enter("192.0.2.1", limits)
    refusal = admission.enter("192.0.2.1", limits)
    assert admission.worth_reporting(refusal, 100.0).unreported == 0
    assert admission.worth_reporting(refusal, 101.0) is None
    assert admission.worth_reporting(refusal, 102.0) is None
    assert admission.worth_reporting(refusal, 100.0 + REPORT_SECONDS).unreported == 2


def test_addresses():
    assert plain_address("::ffff:192.0.2.1") == "192.0.2.1"
    assert plain_address("fe80::1%eth0") == "fe80::1"
    assert plain_address("no address") == "no address"


def test_connections_are_counted_by_source():
    admission = Admission(Ledger())
    limits = AdmissionLimits(per_source=1)
    first = admission.enter("2001:db8::1", limits)
    refusal = admission.enter("2001:db8::2", limits)
    assert refusal.rule == "max_per_host"
    assert refusal.text == "2001:db8::/64 has 1 connections"
    for address in ("2001:db8:0:1::1", "192.0.2.1", "192.0.2.2"):
        assert isinstance(admission.enter(address, limits), Visit)
    admission.leave(first)
    assert isinstance(admission.enter("2001:db8::2", limits), Visit)


def test_who_waited_longest_makes_room_and_the_log_says_so_once(caplog):
    clock = Clock()
    admission = Admission(Ledger(clock=clock), AdmissionRules("all", "each", unit="boats"))
    limits = AdmissionLimits(connections=3, per_source=2, make_room=True)
    ended: list[tuple[str, str]] = []

    def enter(address: str) -> Visit | Refusal:
        visit = admission.enter(address, limits)
        if isinstance(visit, Visit):
            visit.end = lambda rule: ended.append((address, rule))
        return visit

    caplog.set_level("INFO")
    first, second = enter("192.0.2.1"), enter("192.0.2.2")
    third = enter("192.0.2.3")
    assert enter("192.0.2.4").rule == "all"  # nobody has been silent for long
    clock.now += 2
    admission.settles(first)  # busy connections make no room
    fourth = enter("192.0.2.4")
    assert ended == [("192.0.2.2", "all")]
    assert admission.connections == 3
    admission.leave(second)  # was counted out when it made room
    assert admission.connections == 3
    admission.waits(first)
    for visit in (first, third, fourth):
        admission.leave(visit)
        admission.relieved(visit, limits)
    assert admission.connections == 0
    told = [line for line in caplog.messages if line.startswith("limit")]
    assert told == [
        "limit reached: all: 3 boats",
        "limit no longer reached: all: refused 2 times",
    ]


def test_a_source_makes_room_among_its_own_unless_it_is_exempt():
    clock = Clock()
    admission = Admission(Ledger(clock=clock))
    limits = AdmissionLimits(per_source=1, make_room=True, exempt=AddressList(("10.0.0.0/8",)))
    ended: list[str] = []
    other = admission.enter("192.0.2.9", limits)
    other.end = lambda _rule: ended.append("other")
    first = admission.enter("192.0.2.1", limits)
    first.end = ended.append
    clock.now += 2
    assert isinstance(admission.enter("192.0.2.1", limits), Visit)
    assert ended == ["max_per_host"]
    for _ in range(3):
        assert isinstance(admission.enter("10.0.0.1", limits), Visit)


def test_a_bar_refuses_for_a_reason_of_its_own():
    def bar(source: str, now: float) -> Refusal | None:
        return Refusal("banned", f"{source} at {now}") if source == "192.0.2.1" else None

    clock = Clock()
    admission = Admission(Ledger(clock=clock), bars=(bar,))
    assert admission.enter("192.0.2.1", AdmissionLimits()) == Refusal("banned", "192.0.2.1 at 1000.0")
    assert admission.connections == 0
    assert isinstance(admission.enter("192.0.2.2", AdmissionLimits()), Visit)


def test_doors_share_the_limits_of_all_connections_and_of_a_source():
    ledger = Ledger()
    ledger.connections.most, ledger.connections.most_each = 4, 2
    ssh, ftp, http = Admission(ledger), Admission(ledger), Admission(ledger, AdmissionRules(common=False))
    limits = AdmissionLimits()
    held = [ssh.enter("192.0.2.1", limits), ftp.enter("192.0.2.1", limits)]
    assert ftp.enter("192.0.2.1", limits).rule == "common.max_per_host_connections"
    assert isinstance(http.enter("192.0.2.1", limits), Visit)
    held += [ssh.enter("2001:db8::1", limits), ftp.enter("2001:db8::2", limits)]
    assert ssh.enter("2001:db8::3", limits).rule == "common.max_per_host_connections"  # one /64
    assert ssh.enter("192.0.2.9", limits).rule == "common.max_total_connections"
    for visit in held:
        visit.leave()
        visit.leave()
    assert (ledger.connections.used, ledger.connections.of("192.0.2.1")) == (0, 0)
    assert (ssh.connections, ftp.connections, http.connections) == (0, 0, 1)


def test_an_exempt_address_has_no_limit_of_its_own_and_counts_in_the_total():
    ledger = Ledger()
    ledger.connections.most, ledger.connections.most_each = 3, 1
    ledger.proxies = ProxyOptions(mode=1, allowed=AddressList(["192.0.2.1"]))
    door = Admission(ledger)
    for _ in range(3):
        assert isinstance(door.enter("192.0.2.1", AdmissionLimits()), Visit)
    assert door.enter("192.0.2.1", AdmissionLimits()).rule == "common.max_total_connections"


def test_those_that_have_not_logged_in_are_counted_over_all_doors():
    clock = Clock()
    ledger = Ledger(clock=clock)
    ssh, ftp = Admission(ledger), Admission(ledger)
    limits = AdmissionLimits(startups=StartupLimits(2, 100, 2))
    ended: list[str] = []
    first = ssh.enter("192.0.2.1", limits)
    first.end = ended.append
    ftp.enter("192.0.2.2", limits)
    assert ftp.enter("192.0.2.3", limits).rule == "max_startups"
    clock.now += 5
    assert isinstance(ftp.enter("192.0.2.3", limits), Visit)  # the longest silent one made room
    assert (ended, first.over) == (["max_startups"], True)
    assert (ssh.connections, ftp.connections) == (0, 2)
    apart = Admission(ledger, AdmissionRules(startups_apart=True))
    assert isinstance(apart.enter("192.0.2.4", limits), Visit)
