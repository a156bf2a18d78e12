# SPDX-License-Identifier: Apache-2.0
"""DNS blocklists (RFC 5782): an address is looked up as a name below a zone, and an answer means "listed".

Zones are asked at the same time. Each answer, a negative one too, is remembered as long as it says; questions
under way are shared and bounded. A zone that does not answer rests for a while, so that it delays nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Final

from tidegate.addresses.resolver import NoAnswer, Reply
from tidegate.model.address import Address, is_local, parse_address
from tidegate.model.refusal import Refusal

MAX_REMEMBERED: Final = 20_000
"""Answers that are remembered, of all zones together."""
MAX_UNDER_WAY: Final = 256
"""Questions under way; more count as not answered."""
LEAST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 86_400.0
"""An answer is believed for at least and at most so long, whatever it says itself."""
FAILURES: Final = 4
"""Questions without an answer in a row after which a zone rests."""
REST_SECONDS: Final = 30.0
"""Time for which a zone that does not answer is not asked."""
TEST_SECONDS: Final = 3600.0
RETEST_SECONDS: Final = 60.0
"""Time between tests of a zone: after one that passed, and after one that did not."""
COMPLAIN_SECONDS: Final = 60.0
"""The same complaint about a zone is logged at most this often."""

_ANSWERS: Final = IPv4Network("127.0.0.0/8")  # RFC 5782 section 2.1
_ERRORS: Final = IPv4Network("127.255.255.0/24")  # "you ask wrongly", as Spamhaus and others say it
_LISTED_TEST: Final = IPv4Address("127.0.0.2")
_CLEAR_TESTS: Final[tuple[Address, ...]] = (IPv4Address("127.0.0.1"), IPv6Address("::ffff:7f00:1"))
"""Addresses that each zone has to list, and must not (RFC 5782 section 5)."""

Ask = Callable[[str], Awaitable[Reply]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A blocklist.

    Attributes:
        zone: domain below which addresses are asked for.
        name: shown to people and in logs; a zone may have the key of a customer in it.
        codes: meaning of each answer that counts, networks of 127.0.0.0/8; none lets all count.
        denies_unanswered: an address is refused too if the zone gives no answer.
        six: IPv6 addresses are asked for.
    """

    zone: str
    name: str
    codes: tuple[tuple[IPv4Network, str], ...] = ()
    denies_unanswered: bool = False
    six: bool = True

    def meaning(self, code: IPv4Address) -> str | None:
        """The meaning of an answer, empty if it has none of its own; None if it does not count."""
        if not self.codes:
            return ""
        return next((text for network, text in self.codes if code in network), None)


def read_codes(codes: Mapping[str, str]) -> tuple[tuple[IPv4Network, str], ...]:
    """Answers with meanings, the narrowest first.

    Raises:
        ValueError: names what is no part of 127.0.0.0/8.
    """
    found: list[tuple[IPv4Network, str]] = []
    for text, meaning in codes.items():
        try:
            network = IPv4Network(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no answer of a blocklist: {error}") from None
        if not network.subnet_of(_ANSWERS):
            raise ValueError(f"{text!r} is not in 127.0.0.0/8, where answers of blocklists are")
        found.append((network, meaning))
    return tuple(sorted(found, key=lambda one: -one[0].prefixlen))


def question(address: Address, zone: str) -> str:
    """The name to ask for (RFC 5782 sections 2.1 and 2.4)."""
    reversed_, _, _ = address.reverse_pointer.rpartition(".ip6." if address.version == 6 else ".in-addr.")
    return f"{reversed_}.{zone}."


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a zone about an address.

    Attributes:
        code: answer that counts; empty if it is not listed.
        meaning: of the code.
        failure: why there is no answer; empty if there is one.
    """

    code: str = ""
    meaning: str = ""
    failure: str = ""


@dataclass(slots=True)
class _State:
    """A zone while the server runs."""

    zone: Zone
    failures: int = 0
    rests_until: float = 0.0
    lists_everything: bool = False
    tested: asyncio.Event = field(default_factory=asyncio.Event)
    complaints: dict[str, float] = field(default_factory=dict)


class BlocklistCheck:
    """An `AdmissionCheck` by DNS blocklists. Life: constructed (pure), `open`, `check`..., `close`.

    Args:
        zones: to ask.
        ask: asks a name server; raises `NoAnswer`, by itself after some time.
        clock: monotonic seconds.
    """

    name = "DNS blocklists"

    def describe(self, address: str) -> str:
        """The answers of the zones that are remembered, as a sentence."""
        parsed = parse_address(address)
        if parsed is None or is_local(address):
            return f"{address} is local, and asked for nowhere"
        told: list[str] = []
        for state in self._states:
            answered = (state.zone.zone, str(parsed)) in self._known
            if state.lists_everything or (parsed.version == 6 and not state.zone.six):
                told.append(f"{state.zone.name} is not asked")
            else:
                told.append(f"{state.zone.name} {'does not list it' if answered else 'gave no answer'}")
        return ", ".join(told)

    def __init__(
        self, zones: Sequence[Zone], ask: Ask, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.zones = tuple(zones)
        self.ask = ask
        self._states = [_State(zone) for zone in zones]
        self._ask = ask
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], tuple[float, Verdict]] = OrderedDict()
        self._under_way: dict[tuple[str, str], asyncio.Task[Verdict]] = {}
        self._tester: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to test the zones; addresses are checked when that is done for the first time."""
        self._tester = asyncio.create_task(self._keep_testing(), name="blocklists: tests")

    async def close(self) -> None:
        """End questions under way."""
        tasks = [*self._under_way.values(), *([self._tester] if self._tester else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._tester = None

    async def check(self, address: str, protocol: str) -> Refusal | None:
        """Refuse an address that a zone lists, or that a zone which has to answer does not answer for."""
        del protocol
        parsed = parse_address(address)
        if parsed is None or is_local(address):
            return None
        unanswered: Refusal | None = None
        tasks: dict[asyncio.Task[Verdict], Zone] = {}
        for state in self._states:
            if parsed.version == 6 and not state.zone.six:
                continue
            found = await self._verdict(state, parsed)
            if isinstance(found, asyncio.Task):
                tasks[found] = state.zone
            elif found.code:
                return _refusal(state.zone, parsed, found)
            else:
                unanswered = unanswered or _refusal(state.zone, parsed, found)
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                refusal = None if task.cancelled() else _refusal(tasks[task], parsed, task.result())
                if refusal is not None and task.result().code:
                    return refusal
                unanswered = unanswered or refusal
        return unanswered

    async def _verdict(self, state: _State, address: Address) -> Verdict | asyncio.Task[Verdict]:
        """The answer where it is known, or the question under way."""
        if not state.tested.is_set():
            await state.tested.wait()
        if state.lists_everything:
            return Verdict()
        key, now = (state.zone.zone, str(address)), self._clock()
        known = self._known.get(key)
        if known is not None:
            if known[0] > now:
                return known[1]
            del self._known[key]
        task = self._under_way.get(key)
        if task is not None:
            return task
        if state.rests_until > now:
            return Verdict(failure="it did not answer before")
        if len(self._under_way) >= MAX_UNDER_WAY:
            self._complain(state, "too many questions are under way")
            return Verdict(failure="too many questions are under way")
        task = asyncio.create_task(self._question(state, address), name="blocklists: question")
        self._under_way[key] = task
        task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return task

    async def _question(self, state: _State, address: Address) -> Verdict:
        try:
            verdict, seconds = await self._asked(state, address)
        except NoAnswer as error:
            state.failures += 1
            if state.failures >= FAILURES:
                state.rests_until = self._clock() + REST_SECONDS
            text = str(error).replace(state.zone.zone, state.zone.name)
            self._complain(state, f"no answer: {text}")
            return Verdict(failure=text)
        state.failures = 0
        until = self._clock() + min(max(seconds, LEAST_SECONDS), LONGEST_SECONDS)
        self._known[state.zone.zone, str(address)] = until, verdict
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return verdict

    async def _asked(self, state: _State, address: Address) -> tuple[Verdict, float]:
        reply = await self._ask(question(address, state.zone.zone))
        strange = ""
        for text in reply.addresses:
            code = IPv4Address(text)
            if code in _ERRORS or code not in _ANSWERS:
                strange = text
                continue
            meaning = state.zone.meaning(code)
            if meaning is not None:
                return Verdict(text, meaning), reply.seconds
        if strange:
            raise NoAnswer(f"it answers {strange}, which means that it does not take questions from here")
        return Verdict(), reply.seconds

    # -- tests -----------------------------------------------------------------------------------------------

    async def _keep_testing(self) -> None:
        while True:
            await asyncio.gather(*map(self._test, self._states))
            healthy = not any(state.lists_everything or state.failures for state in self._states)
            await asyncio.sleep(TEST_SECONDS if healthy else RETEST_SECONDS)

    async def _test(self, state: _State) -> None:
        """A zone that lists what no zone may list would keep everybody out: it is not asked then."""
        try:
            zone = state.zone
            addresses = (_LISTED_TEST, *(_CLEAR_TESTS if zone.six else _CLEAR_TESTS[:1]))
            listed, *clear = await asyncio.gather(*(self._lists(zone, address) for address in addresses))
            if listed is False:
                self._complain(state, f"it does not list {_LISTED_TEST}, as every blocklist does")
            lists_everything = any(clear)
            if lists_everything:
                self._complain(state, "it lists 127.0.0.1, as if it listed everybody; it is not asked")
            elif state.lists_everything:
                log.info("blocklist %s is asked again", zone.name)
            state.lists_everything = lists_everything
        except Exception:
            log.exception("blocklist %s could not be tested", state.zone.name)
        finally:
            state.tested.set()

    async def _lists(self, zone: Zone, address: Address) -> bool | None:
        """True if a zone lists an address, None if it does not answer."""
        try:
            return bool((await self._ask(question(address, zone.zone))).addresses)
        except NoAnswer:
            return None

    def _complain(self, state: _State, text: str) -> None:
        now = self._clock()
        if now - state.complaints.get(text, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            if len(state.complaints) > 100:
                state.complaints.clear()
            state.complaints[text] = now
            log.warning("blocklist %s: %s", state.zone.name, text)


async def zone_problem(zone: Zone, ask: Ask) -> str:
    """The reason why a zone is of no use as it answers now; empty if it is."""
    try:
        clear = await ask(question(_CLEAR_TESTS[0], zone.zone))
        listed = await ask(question(_LISTED_TEST, zone.zone))
    except NoAnswer as error:
        return "it does not answer: " + str(error).replace(zone.zone, zone.name)
    if clear.addresses:
        return "it lists 127.0.0.1, as if it listed everybody"
    return "" if listed.addresses else f"it does not list {_LISTED_TEST}, as every blocklist does"


def _refusal(zone: Zone, address: Address, verdict: Verdict) -> Refusal | None:
    rule = f"common.dnsbl[{zone.name}]"
    if verdict.code:
        meaning = f" ({verdict.meaning})" if verdict.meaning else ""
        return Refusal(rule, f"{address} is listed by {zone.name} as {verdict.code}{meaning}")
    if verdict.failure and zone.denies_unanswered:
        return Refusal(rule, f"{zone.name} has to answer for {address} and did not: {verdict.failure}")
    return None
