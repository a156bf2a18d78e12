# SPDX-License-Identifier: Apache-2.0
"""The explanation of a decision about an address agrees with the decision, and changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidegate.defence.defender import DefenderLimits, Misdeed
from tidegate.defence.explaining import (
    ConnectAnswer,
    ConnectStep,
    OpenConnections,
    UnprovenConnections,
    explain,
    render_text,
)
from tidegate.defence.limiter import RateLimits
from tidegate.defence.lists import AddressLists
from tidegate.defence.penalties import Offence, PenaltyLimits
from tidegate.defence.pipeline import Defence, DefenceOptions
from tidegate.model.address_list import AddressList
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.model.proxies import ProxyOptions
from tidegate.model.refusal import Refusal
from tidegate.model.sources import SourcePrefixes

NOW = 1_800_000_000.0


class NoNines:
    """A check that refuses addresses that end in 9."""

    name = "nines"

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def check(self, address: str, protocol: str) -> Refusal | None:
        del protocol
        return Refusal("nines.refused", "it ends in 9") if address.endswith("9") else None

    def describe(self, address: str) -> str:
        return f"{address} does not end in 9"


class Broken(NoNines):
    async def check(self, address: str, protocol: str) -> Refusal | None:
        raise RuntimeError("no")


def listed(kind: ListKind, network: str, mode: ListMode) -> ListEntry:
    return ListEntry(name=entry_name(kind, network), type=kind, ipornet=network, mode=mode, description="why")


def defence(**more: Any) -> Defence:
    options: dict[str, Any] = {
        "defender": DefenderLimits(scores={Misdeed.UNKNOWN_USER: 2}, threshold=4),
        "penalties": PenaltyLimits(seconds={Offence.AUTH_FAIL: 20.0}, exempt=AddressList(["127.0.0.1"])),
        "limiters": (RateLimits(rule="common.rate_limiters[0]", average=1, period_seconds=100.0),),
        **more,
    }

    async def sleep(_: float) -> None: ...

    return Defence(
        DefenceOptions(**options), [NoNines()], clock=lambda: NOW, monotonic=lambda: 50.0, sleep=sleep
    )


async def ask(one: Defence, address: str, protocol: str = "SSH", **more: Any) -> ConnectAnswer:
    return await explain(one, address, protocol, now=NOW, monotonic=50.0, **more)


def outcomes(answer: ConnectAnswer) -> dict[str, str]:
    return {step.rule: step.outcome for step in answer.steps}


async def test_each_rule_is_named_with_what_it_says():
    one = defence()
    one.lists = AddressLists(
        [
            listed(ListKind.DEFENDER, "198.51.100.0/24", ListMode.DENY),
            listed(ListKind.DEFENDER, "203.0.113.0/24", ListMode.ALLOW),
            listed(ListKind.RATE_SAFE, "203.0.113.0/24", ListMode.ALLOW),
        ]
    )
    one.defender.ban("192.0.2.1", NOW + 60)
    one.penalise("192.0.2.2", "SSH", Offence.AUTH_FAIL)
    one.limiters[0].take("192.0.2.3", 50.0)
    for address, rule, why in (
        ("198.51.100.7", "defender list", "denied by the entry 198.51.100.0/24: why"),
        ("192.0.2.1", "common.defender", "192.0.2.1 is banned until 2027-01-15 08:01:00 UTC"),
        ("192.0.2.2", "common.penalties", "20 s more (authfail)"),
        ("192.0.2.3", "common.rate_limiters[0]", "the next one in 100.000 s"),
        ("192.0.2.9", "check nines", "nines.refused: it ends in 9"),
    ):
        step = (await ask(one, address)).refusing
        assert step is not None
        assert step.rule == rule
        assert why in step.why
    friend = await ask(one, "203.0.113.9")
    assert friend.refusing is None
    assert outcomes(friend)["check nines"] == "not asked"
    assert outcomes(friend)["common.rate_limiters[0]"] == "not asked"


async def test_what_counts_as_one_source_is_told_and_a_ban_of_another_prefix_is_found():
    one = defence(prefixes=SourcePrefixes(24, 56))
    one.defender.ban("2001:db8::/64", NOW + 60)
    answer = await ask(one, "192.0.2.4")
    assert answer.to_document()["source"] == "192.0.2.0/24"
    assert (
        ConnectStep(
            "common.source_prefix4", "passes", "counted as 192.0.2.0/24 by what follows (/24 is one source)"
        )
        in answer.steps
    )
    old = await ask(one, "2001:db8::1")
    assert old.source == "2001:db8::/56"
    assert old.refusing == ConnectStep(
        "common.defender", "refuses", "2001:db8::/64 is banned until 2027-01-15 08:01:00 UTC"
    )
    assert (await ask(one, "2001:db8:0:1::1")).refusing is None


async def test_limits_of_connections_proxies_and_what_only_a_server_knows():
    one = defence(proxies=AddressList(["192.0.2.200"]))
    proxies = ProxyOptions(mode=2, allowed=AddressList(["192.0.2.200"]))
    full = OpenConnections(used=7, most=10, mine=3, most_each=3)
    answer = await ask(one, "192.0.2.4", connections=full, proxies=proxies)
    assert answer.refusing is not None
    assert answer.refusing.why == "3 of this source (3), 7 of all (10)"
    assert outcomes(answer)["common.proxy_protocol"] == "not asked"
    proxy = await ask(one, "192.0.2.200", connections=full, proxies=proxies)
    assert proxy.refusing is None
    assert next(step.why for step in proxy.steps if step.rule == "common.proxy_protocol").startswith(
        "this is a proxy"
    )
    offline = outcomes(await ask(one, "192.0.2.4", running=False))
    assert [rule for rule, outcome in offline.items() if outcome == "not known"] == [
        "common.penalties", "limits of connections", "sftpd.max_startups", "common.rate_limiters[0]",
    ]  # fmt: skip


async def test_connections_that_have_not_logged_in_are_told_with_the_share_that_is_refused():
    one = defence()
    crowd = UnprovenConnections(waiting=1250, start=500, full=2000, chance=0.65)
    answer = await ask(one, "192.0.2.4", unproven=crowd)
    (step,) = [step for step in answer.steps if step.rule == "sftpd.max_startups"]
    assert step.outcome == "passes"
    assert "1250 have not logged in" in step.why
    assert "65% of new ones are refused at random, and all from 2000 on" in step.why
    quiet = await ask(
        one, "192.0.2.4", unproven=UnprovenConnections(waiting=1, start=500, full=2000, chance=0.0)
    )
    assert not any("at random" in step.why for step in quiet.steps)
    assert "sftpd.max_startups" not in outcomes(await ask(one, "192.0.2.4", protocol="HTTP", unproven=crowd))


async def test_a_broken_check_refuses_nobody_and_the_text_has_no_control_characters():
    one = defence()
    one.checks = (Broken(),)
    one.lists = AddressLists(
        [
            ListEntry(
                name=entry_name(ListKind.DEFENDER, "192.0.2.5/32"),
                type=ListKind.DEFENDER,
                ipornet="192.0.2.5/32",
                mode=ListMode.DENY,
                description="\x1b[2J",
            )
        ]
    )
    assert (await ask(one, "192.0.2.9")).refusing is None
    text = render_text((await ask(one, "192.0.2.5")).to_document())
    assert text.startswith("REFUSED 192.0.2.5 SSH by defender list\n")
    assert "\x1b" not in text


addresses = st.sampled_from(["192.0.2.1", "192.0.2.9", "127.0.0.1", "2001:db8::1", "2001:db8::2"])
networks = st.sampled_from(["192.0.2.0/24", "192.0.2.1/32", "2001:db8::/64", "127.0.0.1/32"])
entries = st.lists(
    st.builds(listed, st.sampled_from([ListKind.ALLOW, ListKind.DEFENDER, ListKind.RATE_SAFE]), networks, st.sampled_from(ListMode)),
    max_size=4,
)  # fmt: skip


@given(
    addresses, entries, st.booleans(), st.lists(addresses, max_size=2), st.lists(addresses, max_size=3),
    st.lists(addresses, max_size=2),
)  # fmt: skip
def test_the_answer_is_the_decision(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    address, listed_now, listed_only, banned, offenders, came
) -> None:
    one = defence(allow_listed_only=listed_only)
    one.lists = AddressLists(listed_now)
    for each in banned:
        one.defender.ban(each if ":" not in each else "2001:db8::/64", NOW + 60)
    for each in offenders:
        one.penalise(each, "SSH", Offence.AUTH_FAIL)

    async def both() -> tuple[ConnectAnswer, Refusal | None]:
        for each in came:
            await one.wait(each, "SSH")
        before = (one.defender.bans(), len(one.penalties), len(one.limiters[0]), dict(one.refusals))
        answer = await ask(one, address)
        assert before == (one.defender.bans(), len(one.penalties), len(one.limiters[0]), dict(one.refusals))
        return answer, one.check(address, "SSH") or await one.wait(address, "SSH")

    answer, refusal = asyncio.run(both())
    assert (answer.refusing is None) == (refusal is None), (answer, refusal)
    if refusal is not None and answer.refusing is not None:
        assert answer.refusing.rule in (refusal.rule, "check nines")
