# SPDX-License-Identifier: Apache-2.0
"""Event actions, event rules and deliveries in every provider."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.conftest import DRIVERS, Opened, OptionsOf

from tidegate.errors import AlreadyExists, NotFound, Outdated
from tidegate.model.rule import ActionType, EventAction, EventRule, RuleAction, Trigger
from tidegate.store.contract import Provider, Snapshot
from tidegate.store.deliveries import Delivery

ACTION = EventAction(
    name="call home",
    type=ActionType.HTTP,
    description="d",
    options={
        "http_config": {
            "endpoint": "https://x.example/a",
            "timeout": 5,
            "method": "POST",
            "headers": [{"key": "X-Name", "value": "{{.Name}}"}],
            "body": 'caf\u00e9 "quoted"',
        }
    },
)
RULE = EventRule(
    name="on upload",
    trigger=Trigger.FILE,
    conditions={"fs_events": ["upload"], "options": {"fs_paths": [{"pattern": "/in/**"}]}},
    actions=(RuleAction(name="call home", order=1, stop_on_failure=True),),
)


async def test_what_is_stored_is_read_again(provider: Provider) -> None:
    stored = await provider.add_event_action(ACTION)
    assert stored.id
    assert stored.created_at == stored.updated_at > 0
    assert replace(stored, id=0, created_at=0, updated_at=0) == ACTION
    assert await provider.event_action("call home") == stored
    assert await provider.event_action("Call Home") is None
    with pytest.raises(AlreadyExists):
        await provider.add_event_action(ACTION)
    rule = await provider.add_event_rule(RULE)
    assert await provider.event_rule("on upload") == rule
    assert replace(rule, id=0, created_at=0, updated_at=0) == RULE
    assert await provider.existing("event_rule", ["on upload", "other"]) == {"on upload"}
    changed = await provider.update_event_rule(replace(RULE, status=0, muted_until=5))
    assert (changed.id, changed.created_at, changed.status) == (rule.id, rule.created_at, 0)
    assert changed.updated_at > rule.updated_at

    def refuse(_: EventRule) -> None:
        raise Outdated("x")

    with pytest.raises(Outdated):
        await provider.delete_event_rule("on upload", guard=refuse)
    assert [one.name for one in await provider.event_rules()] == ["on upload"]
    await provider.delete_event_rule("on upload")
    with pytest.raises(NotFound):
        await provider.delete_event_rule("on upload")
    await provider.delete_event_action("call home")
    assert await provider.event_actions() == []


async def test_a_load_brings_them(provider: Provider) -> None:
    snapshot = Snapshot(event_actions=[ACTION], event_rules=[RULE])
    report = await provider.load(snapshot)
    assert sorted(report.rows) == [
        ("event_action", "call home", "added"),
        ("event_rule", "on upload", "added"),
    ]
    assert (await provider.load(snapshot, mode=1)).rows[0][2] == "kept"
    assert [one.name for one in await provider.event_actions()] == ["call home"]


def row(number: int, **more: object) -> Delivery:
    fields = {"id": f"e-{number}", "rule": "r", "facts": "{}", "created_at": number, **more}
    return Delivery(**fields)  # type: ignore[arg-type]


async def test_a_delivery_is_one_servers_at_a_time(provider: Provider) -> None:
    store = provider.deliveries
    assert await store.next_due() is None
    await store.add([row(2), row(1), row(3, due=2**52)])
    await store.add([row(1, error="again")])
    assert await store.count("waiting") == 3
    assert await store.next_due() == 0
    first = await store.take("one", limit=1, seconds=60)
    assert [one.id for one in first] == ["e-1"]
    assert [one.id for one in await store.take("two", limit=9, seconds=60)] == ["e-2"]
    assert await store.take("three", limit=9, seconds=60) == []
    await store.settle(["e-2"], [replace(first[0], tries=1, done=("0",), error="x" * 9_999, due=5)])
    found = await store.find("e-1")
    assert found is not None
    assert (found.tries, found.done, found.server, len(found.error)) == (1, ("0",), "", 500)
    assert await store.find("e-2") is None
    again = await store.take("two", limit=9, seconds=0)
    assert [one.id for one in await store.take("one", limit=9, seconds=60)] == ["e-1"]  # that claim expired
    await store.renew("two", [again[0].id], seconds=600)
    await store.release("one")
    assert [one.id for one in await store.take("two", limit=9, seconds=60)] == ["e-1"]


async def test_dead_deliveries_are_listed_sent_again_and_dropped(provider: Provider) -> None:
    store = provider.deliveries
    await store.add([row(number, state="dead", tries=9) for number in (3, 1, 2)] + [row(4, due=2**52)])
    assert [one.id for one in await store.listing("dead")] == ["e-1", "e-2", "e-3"]
    assert [one.id for one in await store.listing(None, offset=1, limit=2)] == ["e-2", "e-3"]
    assert await store.take("s", limit=9, seconds=60) == []
    assert await store.retry(["e-2", "no such"]) == 1
    (taken,) = await store.take("s", limit=9, seconds=60)
    assert (taken.id, taken.tries) == ("e-2", 0)
    assert await store.trim(keep=1) == 1
    assert [one.id for one in await store.listing("dead")] == ["e-3"]
    assert await store.drop(None) == 1
    assert await store.drop(["e-4"]) == 1
    assert await store.count("dead") == 0


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one != "memory"])
async def test_deliveries_outlive_the_process(driver: str, options_of: OptionsOf, opened: Opened) -> None:
    options = options_of(driver)
    provider = await opened(options)
    await provider.deliveries.add([row(1)])
    await provider.close()
    again = await opened(options)
    assert [one.id for one in await again.deliveries.listing("waiting")] == ["e-1"]


async def test_many_takers_share_the_rows(provider: Provider) -> None:
    store = provider.deliveries
    await store.add([row(number) for number in range(40)])
    takes = await asyncio.gather(*(store.take(f"s{one}", limit=10, seconds=60) for one in range(4)))
    names = [one.id for rows in takes for one in rows]
    assert len(names) == len(set(names))


async def test_bolt_reads_what_is_due_and_finds_rows_of_older_versions(
    options_of: OptionsOf, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.store import kv_deliveries
    from tidegate.store.kv import LmdbProvider

    provider = await opened(options_of("bolt"))
    assert isinstance(provider, LmdbProvider)
    store = provider.deliveries
    await store.add([row(number, due=2**52 + number) for number in range(300)])
    await store.add([row(900, due=7), row(901, state="dead"), row(902, due=2**51)])
    read: list[str] = []
    decoded = kv_deliveries._decoded

    def counted(value: object) -> Delivery:
        found = decoded(value)
        read.append(found.id)
        return found

    monkeypatch.setattr(kv_deliveries, "_decoded", counted)
    assert await store.next_due() == 7
    assert [one.id for one in await store.take("s", limit=9, seconds=60)] == ["e-900"]
    assert await store.count("waiting") == 302
    assert await store.trim(keep=9) == 0
    await store.settle(["e-900"], [])
    assert await store.next_due() == 2**51
    assert len(read) < 9

    await provider._plainly(lambda raw, tables: raw.drop(tables["deliveries_due"], delete=False), writes=True)
    assert await store.next_due() == 2**51
    assert await store.count("dead") == 1
    await store.settle([], [row(902, due=3)])
    read.clear()
    assert await store.next_due() == 3
    assert [one.id for one in await store.take("s", limit=9, seconds=60)] == ["e-902"]
    assert len(read) < 9
