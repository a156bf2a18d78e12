# SPDX-License-Identifier: Apache-2.0
"""DNS blocklists, asked of a real one (rbldnsd)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from ipaddress import ip_address
from pathlib import Path

import dns.resolver
import pytest
from tests.support.blocklists import blocklists, silent_server

from tidegate.addresses import dnsbl
from tidegate.addresses.dnsbl import BlocklistCheck, Zone, question, read_codes, zone_problem
from tidegate.addresses.resolver import NoAnswer, Reply, Resolver
from tidegate.errors import ConfigError

LISTED = "203.0.113.5"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Asking:
    """A resolver whose questions are counted."""

    def __init__(self, *ports: int, seconds: float = 5.0) -> None:
        self._resolver = Resolver([("127.0.0.1", port) for port in ports], seconds, "x")
        self.names: list[str] = []

    async def __call__(self, name: str) -> Reply:
        self.names.append(name)
        return await self._resolver.ask(name)

    def taken(self) -> list[str]:
        """Names asked for since the last time."""
        taken, self.names = self.names, []
        return taken


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with blocklists() as found:
        yield found


def zone(domain: str = "bl.test", **more) -> Zone:
    return Zone(**{"zone": domain, "name": domain, **more})


class Opened:
    """A check with everything that it is made of."""

    def __init__(self, *zones: Zone, ask: Asking) -> None:
        self.clock = Clock()
        self.ask = ask
        self.check = BlocklistCheck(zones, ask, clock=self.clock)

    async def __aenter__(self) -> Opened:
        await self.check.open()
        await self.check.check("192.0.2.77", "SSH")  # the zones are tested then
        self.ask.taken()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.check.close()

    async def text(self, address: str) -> str:
        refusal = await self.check.check(address, "SSH")
        return "" if refusal is None else refusal.text


@pytest.fixture
async def opened(port: int) -> AsyncIterator[Opened]:
    async with Opened(zone(), zone("other.test"), ask=Asking(port)) as found:
        yield found


def test_questions_are_those_of_rfc_5782() -> None:
    assert question(ip_address("192.0.2.99"), "bad.example.com") == "99.2.0.192.bad.example.com."
    assert question(ip_address("2001:db8:1:2:3:4:567:89ab"), "ugly.example.com") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ugly.example.com."
    )


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (LISTED, "203.0.113.5 is listed by bl.test as 127.0.0.4"),
        ("::ffff:203.0.113.5", "203.0.113.5 is listed by bl.test as 127.0.0.4"),
        ("198.51.100.8", "198.51.100.8 is listed by other.test as 127.0.0.3"),
        ("2001:db8:bad::9", "2001:db8:bad::9 is listed by bl.test as 127.0.0.2"),
        ("2001:db8::9", ""),
        ("203.0.113.99", ""),
        ("203.0.113.6", ""),  # the list says that it takes no questions
        ("not an address", ""),
    ],
)
async def test_listed_addresses_are_refused(opened: Opened, address: str, text: str) -> None:
    assert await opened.text(address) == text


async def test_what_is_known_of_an_address_is_told(opened: Opened) -> None:
    assert opened.check.describe("203.0.113.99") == "bl.test gave no answer, other.test gave no answer"
    await opened.text("203.0.113.99")
    assert opened.check.describe("203.0.113.99") == "bl.test does not list it, other.test does not list it"
    assert opened.check.describe("10.0.0.1") == "10.0.0.1 is local, and asked for nowhere"


async def test_private_addresses_are_never_asked_for(opened: Opened) -> None:
    for address in ("127.0.0.2", "10.0.0.1", "192.168.1.1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"):
        assert not await opened.text(address)
    assert opened.ask.taken() == []


async def test_answers_count_if_they_are_named_and_have_their_meaning(port: int) -> None:
    codes = read_codes({"127.0.0.0/29": "something", "127.0.0.4": "exploited host"})
    async with Opened(zone(codes=codes), ask=Asking(port)) as one:
        assert await one.text(LISTED) == "203.0.113.5 is listed by bl.test as 127.0.0.4 (exploited host)"
        assert await one.text("198.51.100.9") == "198.51.100.9 is listed by bl.test as 127.0.0.2 (something)"
        assert not await one.text("203.0.113.7")  # 127.0.0.10
    for text in ("10.0.0.1", "127.0.0.300", "126.0.0.0/7"):
        with pytest.raises(ValueError, match=r"127\.0\.0\.0/8|blocklist"):
            read_codes({text: "x"})


async def test_answers_that_mean_no_answer_are_none(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Opened(zone(denies_unanswered=True), ask=Asking(port)) as one:
        text = await one.text("203.0.113.6")
        assert text.startswith(
            "bl.test has to answer for 203.0.113.6 and did not: it answers 127.255.255.254"
        )
        assert not await one.text("203.0.113.99")
    assert "it answers 127.255.255.254" in caplog.text


@pytest.mark.parametrize(("domain", "seconds"), [("bl.test", 300.0), ("everybody.test", 30.0)])
async def test_a_list_that_is_not_asked_is_tested_more_often(
    port: int, monkeypatch: pytest.MonkeyPatch, domain: str, seconds: float
) -> None:
    monkeypatch.setattr(dnsbl, "TEST_SECONDS", 300.0)
    monkeypatch.setattr(dnsbl, "RETEST_SECONDS", 30.0)
    pauses: list[float] = []
    paused = asyncio.Event()

    async def pause(length: float) -> None:
        pauses.append(length)
        paused.set()
        await asyncio.Event().wait()

    check = BlocklistCheck([zone(domain)], Asking(port))
    monkeypatch.setattr(dnsbl.asyncio, "sleep", pause)
    await check.open()
    await paused.wait()
    monkeypatch.undo()
    await check.close()
    assert pauses == [seconds]


async def test_answers_are_remembered_as_long_as_they_say(opened: Opened) -> None:
    for _ in range(3):
        assert await opened.text(LISTED)
        assert not await opened.text("203.0.113.99")
    assert len(opened.ask.taken()) == 4
    opened.clock.now += 31  # the zone's negative answers are good for 30 seconds, of the other for a minute
    await opened.text("203.0.113.99")
    assert opened.ask.taken() == ["99.113.0.203.bl.test."]
    opened.clock.now += 60
    assert await opened.text(LISTED)
    assert "5.113.0.203.bl.test." not in opened.ask.taken()
    opened.clock.now += 30
    assert await opened.text(LISTED)
    assert "5.113.0.203.bl.test." in opened.ask.taken()


async def test_clients_at_one_address_share_a_question(opened: Opened) -> None:
    answers = await asyncio.gather(*(opened.check.check(LISTED, "SSH") for _ in range(20)))
    assert all(answers)
    assert len(opened.ask.taken()) == 2


async def test_a_list_of_everybody_is_not_asked(port: int, caplog: pytest.LogCaptureFixture) -> None:
    async with Opened(zone("everybody.test"), ask=Asking(port)) as one:
        assert not await one.text(LISTED)
        assert one.ask.taken() == []
    assert "lists 127.0.0.1" in caplog.text


class Answers:
    """A resolver that answers from a table; what is not in it is not listed."""

    def __init__(self, **listed: str) -> None:
        self.listed = {name.replace("_", "."): code for name, code in listed.items()}
        self.silent = False

    async def __call__(self, name: str) -> Reply:
        if self.silent:
            raise NoAnswer("timed out")
        code = self.listed.get(name.removesuffix(".bl.test."))
        return Reply((code,) if code else (), 60.0)


async def test_a_zone_is_tested_by_what_every_zone_lists_and_no_zone_may(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, nothing, everybody = (
        Answers(**{"2_0_0_127": "127.0.0.2"}),
        Answers(),
        Answers(**{"2_0_0_127": "127.0.0.2", "1_0_0_127": "127.0.0.2"}),
    )
    silent = Answers()
    silent.silent = True
    problems = [await zone_problem(zone(), ask) for ask in (good, nothing, everybody, silent)]
    assert problems == [
        "",
        "it does not list 127.0.0.2, as every blocklist does",
        "it lists 127.0.0.1, as if it listed everybody",
        "it does not answer: timed out",
    ]
    for answers, said in (
        (good, ""),
        (nothing, "bl.test: it does not list 127.0.0.2"),
        (everybody, "bl.test: it lists 127.0.0.1"),
        (silent, ""),  # whoever asks it is told
    ):
        caplog.clear()
        check = BlocklistCheck([zone()], answers, clock=Clock())
        await check.open()
        await check._states[0].tested.wait()
        await check.close()
        told = [one.message for one in caplog.records if one.levelname == "WARNING"]
        assert [text.startswith(f"blocklist {said}") for text in told] == ([True] if said else [])


async def test_tests_and_questions_end_with_the_check() -> None:
    going = asyncio.Event()

    async def never(name: str) -> Reply:
        if not name.startswith(("1.0.0.127", "2.0.0.127", "1.0.0.0", "2.0.0.0")):
            going.set()
            await asyncio.Event().wait()
        return Reply(("127.0.0.2",) if name.startswith("2.0.0.127") else (), 60.0)

    check = BlocklistCheck([zone(six=False)], never, clock=Clock())
    await check.open()
    asking = asyncio.create_task(check.check(LISTED, "SSH"))
    await going.wait()
    before = [task for task in asyncio.all_tasks() if task.get_name().startswith("blocklists:")]
    assert len(before) == 2
    for _ in range(2):
        await check.close()
    assert all(task.cancelled() for task in before)
    assert await asking is None


async def test_a_list_of_everybody_that_mended_itself_is_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    answers = Answers(**{"2_0_0_127": "127.0.0.2", "1_0_0_127": "127.0.0.2", "5_113_0_203": "127.0.0.4"})
    check = BlocklistCheck([zone()], answers, clock=Clock())
    (state,) = check._states
    await check._test(state)
    assert await check.check(LISTED, "SSH") is None
    del answers.listed["1.0.0.127"]
    await check._test(state)
    refusal = await check.check(LISTED, "SSH")
    assert refusal is not None and refusal.text == "203.0.113.5 is listed by bl.test as 127.0.0.4"
    await check._test(state)
    assert [one.message for one in caplog.records if one.levelname == "INFO"] == [
        "blocklist bl.test is asked again"
    ]
    await check.close()


def test_a_system_that_names_no_name_servers_is_a_mistake_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "resolv.conf"
    empty.write_text("")
    read = dns.resolver.BaseResolver.read_resolv_conf
    monkeypatch.setattr(dns.resolver.BaseResolver, "read_resolv_conf", lambda self, _: read(self, str(empty)))
    with pytest.raises(
        ConfigError, match=r"common\.dnsbl\.nameservers: is empty, and the system's resolv\.conf"
    ):
        Resolver([], 1.0, "common.dnsbl.nameservers")
    with pytest.raises(NoAnswer):
        asyncio.run(Resolver([("127.0.0.1", 1)], 0.05, "x").ask("a.test."))


async def test_a_silent_list_lets_in_or_not_as_configured_and_rests(caplog: pytest.LogCaptureFixture) -> None:
    with silent_server() as deaf:
        open_, closed = zone(), zone(denies_unanswered=True)
        for one_zone, expected in (
            (open_, ""),
            (closed, "bl.test has to answer for 203.0.113.5 and did not"),
        ):
            async with Opened(one_zone, ask=Asking(deaf, seconds=0.05)) as one:
                for last in range(5, 5 + dnsbl.FAILURES):
                    text = await one.text(f"203.0.113.{last}")
                    assert text.startswith(expected if last == 5 else expected.partition(" for")[0])
                one.ask.taken()
                await one.text("203.0.113.99")
                assert one.ask.taken() == []  # it rests
                one.clock.now += dnsbl.REST_SECONDS + 1
                await one.text("203.0.113.99")
                assert len(one.ask.taken()) == 1
    assert "blocklist bl.test: no answer" in caplog.text


async def test_a_silent_list_holds_nobody_that_another_lists(port: int) -> None:
    with silent_server() as deaf:
        quick, slow = Resolver([("127.0.0.1", port)], 5, "x"), Resolver([("127.0.0.1", deaf)], 2, "x")

        async def ask(name: str) -> Reply:
            return await (slow if name.endswith(".slow.test.") else quick).ask(name)

        check = BlocklistCheck([zone("slow.test"), zone()], ask)
        for state in check._states:
            state.tested.set()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await check.check(LISTED, "SSH") is not None
        assert loop.time() - begun < 1.5
        await check.close()


async def test_questions_under_way_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsbl, "MAX_UNDER_WAY", 3)
    held = asyncio.Event()
    asked: list[str] = []

    async def ask(name: str) -> Reply:
        asked.append(name)
        await held.wait()
        return Reply((), 60)

    check = BlocklistCheck([zone()], ask)
    check._states[0].tested.set()
    waiting = [asyncio.create_task(check.check(f"203.0.113.{n}", "SSH")) for n in range(3)]
    while len(asked) < 3:
        await asyncio.sleep(0)
    assert await check.check("203.0.113.200", "SSH") is None  # at once
    held.set()
    assert await asyncio.gather(*waiting) == [None] * 3
    assert len(asked) == 3
    await check.close()


async def test_remembered_answers_are_bounded(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dnsbl, "MAX_REMEMBERED", 4)
    for last in range(20):
        await opened.text(f"203.0.113.{100 + last}")
    assert len(opened.check._known) == 4


async def test_the_key_of_a_customer_is_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    with silent_server() as deaf:
        secret = zone("s3cr3t.zone.test", name="zone.test", denies_unanswered=True)
        async with Opened(secret, ask=Asking(deaf, seconds=0.05)) as one:
            assert "s3cr3t" not in await one.text(LISTED)
    assert "zone.test" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_a_server_that_refuses_is_no_answer(port: int) -> None:
    with pytest.raises(NoAnswer):
        await Resolver([("127.0.0.1", port)], 2, "x").ask("1.2.3.4.nowhere.test.")
