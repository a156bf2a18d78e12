# SPDX-License-Identifier: Apache-2.0
"""Next tries of kept events, by a clock that the test turns and a receiver that it takes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tidegate.actions.active import ActiveRules
from tidegate.actions.deliveries import DeliveryTiming, RulesSink
from tidegate.actions.runner import RuleResult
from tidegate.contracts.events import KeptEvent
from tidegate.events.kinds import Transferred
from tidegate.model import Action, Origin
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.rules.book import Rule, RuleBook, ready
from tidegate.rules.documents import decode_rule
from tidegate.rules.facts import Facts, encode_facts
from tidegate.store.deliveries import Delivery
from tidegate.store.factory import ProviderOptions, create_provider

NOON = 4_000_000_000.0  # after what the store reads of the real clock
ACTION = EventAction(name="tell", type=ActionType.HTTP, options={"endpoint": "http://127.0.0.1/"})
AWAY, REFUSED, WELL = RuleResult(error="503", again=True), RuleResult(error="404"), RuleResult(done=("tell",))


def rule(name: str) -> Rule:
    document = {
        "name": name,
        "trigger": 1,
        "status": 1,
        "conditions": {"fs_events": ["upload"]},
        "actions": [{"name": "tell"}],
    }
    return ready(decode_rule(document), {"tell": ACTION})


def upload(number: int) -> KeptEvent:
    origin = Origin("c1", "anna", "SFTP", "192.0.2.9")
    done = Transferred(origin, NOON, Action.UPLOAD, "ok", f"/{number}", "/srv/f", 3, 0.25, "", first=False)
    return KeptEvent(id=number, event=done, document={})


class World:
    """A sink whose receiver answers as `answer` says."""

    def __init__(self) -> None:
        self.now = NOON
        self.answer: Callable[[str], RuleResult] = lambda name: WELL
        self.tried: list[tuple[str, str]] = []

    async def run(
        self, rule: Rule, facts: Facts, steps: Any, *, done: Sequence[str], last: bool
    ) -> RuleResult:
        self.tried.append((rule.name, facts.virtual_path))
        await asyncio.sleep(0)
        return self.answer(rule.name)


@asynccontextmanager
async def world(tmp_path: Path, *rules: Rule) -> AsyncIterator[tuple[World, RulesSink, Any]]:
    provider = create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name=""))
    await provider.open()
    it = World()

    async def origin() -> str:
        return "o-"

    sink = RulesSink(
        ActiveRules(RuleBook(rules or (rule("r"),))), it, provider.deliveries, server="one", origin=origin,  # type: ignore[arg-type]
        timing=DeliveryTiming(give_up_seconds=1e6), clock=lambda: it.now,
    )  # fmt: skip
    try:
        yield it, sink, provider.deliveries
    finally:
        await sink.close()
        await provider.close()


async def test_what_works_at_once_leaves_no_row(tmp_path: Path) -> None:
    async with world(tmp_path) as (it, sink, store):
        await sink.deliver([upload(1), upload(2)])
        assert sorted(it.tried) == [("r", "/1"), ("r", "/2")]
        assert await store.listing(None) == []


async def test_an_outage_counts_once_however_many_deliveries_it_meets(tmp_path: Path) -> None:
    async with world(tmp_path) as (it, sink, store):
        it.answer = lambda name: AWAY
        await sink.deliver([upload(number) for number in range(20)])
        assert len(it.tried) == 20
        it.now += 2.21  # the first pause: 2 s and at most a tenth
        it.answer = lambda name: WELL
        await sink.deliver([upload(20)])
        assert it.tried[-1] == ("r", "/20")
        rows = await store.listing("waiting", limit=50)
        assert len(rows) == 20
        assert all(row.tries == 1 and row.due <= (NOON + 2.2) * 1000 + 1 for row in rows)


async def test_while_a_receiver_is_away_nothing_new_is_tried(tmp_path: Path) -> None:
    async with world(tmp_path, rule("r"), rule("other")) as (it, sink, store):
        it.answer = lambda name: AWAY if name == "r" else WELL
        await sink.deliver([upload(1)])
        it.tried.clear()
        await sink.deliver([upload(2)])
        assert it.tried == [("other", "/2")]
        waiting = {row.id.split("-")[1]: row for row in await store.listing("waiting")}
        assert waiting["2"].tries == 0
        assert waiting["2"].error == "the receiver has failed before"
        assert (NOON + 2) * 1000 <= waiting["2"].due <= (NOON + 2.2) * 1000 + 1


async def test_pauses_double_from_outage_to_outage_and_end_with_a_success(tmp_path: Path) -> None:
    async with world(tmp_path) as (it, sink, _):
        it.answer = lambda name: AWAY
        for number, seconds in enumerate((2, 4, 8, 16), 1):
            await sink.deliver([upload(number)])
            assert it.tried[-1] == ("r", f"/{number}")
            it.now += seconds * 0.99
            await sink.deliver([upload(number + 100)])
            assert it.tried[-1] == ("r", f"/{number}")
            it.now += seconds * 0.12
        it.answer = lambda name: WELL
        await sink.deliver([upload(50)])
        it.answer = lambda name: AWAY
        await sink.deliver([upload(51)])
        it.now += 2.21
        await sink.deliver([upload(52)])
        assert it.tried[-2:] == [("r", "/51"), ("r", "/52")]


async def test_what_no_try_can_mend_is_given_up_and_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as (it, sink, store):
        it.answer = lambda name: REFUSED
        await sink.deliver([upload(1)])
        (row,) = await store.listing(None)
        assert (row.state, row.error, row.tries, row.rule) == ("dead", "404", 1, "r")
        it.answer = lambda name: WELL
        await sink.deliver([upload(2)])  # no pause: the receiver answers
        assert it.tried[-1] == ("r", "/2")


async def seen(store: Any, condition: Callable[[list[Any]], bool]) -> list[Any]:
    """Rows once they are as they are waited for."""
    async with asyncio.timeout(10):
        while True:
            rows = sorted(await store.listing(None), key=lambda row: str(row.id))
            if condition(rows):
                return rows
            await asyncio.sleep(0.005)


async def test_next_tries_are_of_active_rules_and_events_that_can_be_read(tmp_path: Path) -> None:
    later = NOON + 500
    muted = replace(rule("muted"), muted_until=later)
    async with world(tmp_path, rule("r"), muted) as (it, sink, store):
        facts = encode_facts(Facts(trigger=Trigger.FILE, event="upload", name="anna", virtual_path="/x"))
        created = int(NOON * 1000)
        rows = [
            Delivery(id=name, rule=of, facts=text, created_at=created)
            for name, of, text in (
                ("a", "r", facts),
                ("b", "gone", facts),
                ("c", "r", "no facts"),
                ("d", "muted", facts),
            )
        ]
        await store.add(rows)
        await sink.open()
        found = await seen(
            store, lambda rows: len(rows) == 3 and all(row.state == "dead" or row.due for row in rows)
        )
        assert [(row.id, row.state, row.due) for row in found] == [
            ("b", "dead", 0),
            ("c", "dead", 0),
            ("d", "waiting", int(later * 1000)),
        ]
        assert found[0].error == "there is no active rule 'gone' any more"
        assert found[1].error
        assert it.tried == [("r", "/x")]


async def test_tries_go_on_with_longer_pauses_until_it_is_too_late(tmp_path: Path) -> None:
    async with world(tmp_path) as (it, sink, store):
        it.answer = lambda name: RuleResult(done=("0",), error="503", again=True)
        facts = encode_facts(Facts(trigger=Trigger.FILE, event="upload", name="anna", virtual_path="/x"))
        row = Delivery(id="a", rule="r", facts=facts, created_at=int((NOON - 10) * 1000), tries=3)
        await store.add([row])
        await sink.open()
        (found,) = await seen(store, lambda rows: rows[0].tries == 4)
        assert (found.state, found.error, found.done, found.server) == ("waiting", "503", ("0",), "")
        assert (NOON + 16) * 1000 <= found.due <= (NOON + 16 * 1.1) * 1000 + 1
        await store.add([replace(row, id="b", created_at=int((NOON - 1e6) * 1000))])
        sink.wake()
        found = (await seen(store, lambda rows: len(rows) == 2 and rows[1].tries == 4))[1]
        assert (found.state, found.due) == ("dead", 0)
