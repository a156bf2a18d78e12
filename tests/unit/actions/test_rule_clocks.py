# SPDX-License-Identifier: Apache-2.0
"""Rules that no client sets off: schedules and certificates, by a clock that the test turns."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.certificates import certificate

from tidegate.actions.active import ActiveRules
from tidegate.actions.certificates import CertificateWatch, read
from tidegate.actions.schedule import Schedule, last_time
from tidegate.model.rule import ActionType, EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.book import Rule, RuleBook, ready
from tidegate.rules.documents import decode_rule
from tidegate.rules.facts import Facts
from tidegate.store.contract import Provider
from tidegate.store.factory import ProviderOptions, create_provider

MIDNIGHT = dt.datetime(2090, 3, 6, tzinfo=dt.UTC).timestamp()  # a Monday; claims must not have expired
ACTION = EventAction(name="a", type=ActionType.ROTATE_LOG)


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[Provider]:
    made = create_provider(ProviderOptions(driver="memory", base_dir=tmp_path, name=""))
    await made.open()
    yield made
    await made.close()


def scheduled(name: str, *schedules: dict[str, str], **options: Any) -> Rule:
    document = {
        "name": name,
        "trigger": 3,
        "status": 1,
        "conditions": {"schedules": list(schedules), "options": options},
        "actions": [{"name": "a"}],
    }
    return ready(decode_rule(document), {"a": ACTION})


class Server:
    """One server by its clock; `started` has the rules that it ran, with the minute of the day."""

    def __init__(self, provider: Provider, name: str, *rules: Rule) -> None:
        self.now = MIDNIGHT
        self.started: list[tuple[str, int]] = []
        self.facts: list[Facts] = []
        self.schedule = Schedule(
            ActiveRules(RuleBook(rules)), provider, self.start, server=name, clock=lambda: self.now
        )

    async def start(self, rule: Rule, facts: Facts) -> None:
        self.started.append((rule.name, int(self.now - MIDNIGHT) // 60))
        self.facts.append(facts)

    async def run(self, minutes: int, *, step: float = 20.0) -> None:
        end = self.now + minutes * 60
        while self.now < end:
            self.now += step
            await self.schedule.look()


async def test_schedules_run_once_on_their_minute(provider: Provider) -> None:
    hourly, at_two = scheduled("hourly", {"hour": "*"}), scheduled("two", {"hour": "2", "minute": "30"})
    weekly = scheduled("sunday", {"hour": "*", "day_of_week": "0"})
    server = Server(provider, "one", hourly, at_two, weekly)
    await server.run(200)
    assert server.started == [("hourly", 60), ("hourly", 120), ("two", 150), ("hourly", 180)]
    (facts,) = [one for one in server.facts if one.name == "two"]
    assert (facts.trigger, facts.event, facts.object_name) == (Trigger.SCHEDULE, "Schedule", "")
    assert facts.at == int((MIDNIGHT + 150 * 60) * 1e9)


async def test_one_of_the_servers_of_a_provider_runs_a_schedule(provider: Provider) -> None:
    rules = [scheduled("one", {"hour": "*"}), scheduled("all", {"hour": "*"}, concurrent_execution=True)]
    first, second = Server(provider, "first", *rules), Server(provider, "second", *rules)
    for _ in range(2):
        await first.run(60)
        await second.run(60)
    assert first.started == [("one", 60), ("all", 60), ("one", 120), ("all", 120)]
    assert second.started == [("all", 60), ("all", 120)]
    again = Server(provider, "first", *rules)  # after a restart within the minute
    again.now = MIDNIGHT + 7190
    again.schedule = Schedule(
        ActiveRules(RuleBook(tuple(rules))), provider, again.start, server="first", clock=lambda: again.now
    )
    await again.run(1)
    assert again.started == []


async def test_rules_whose_long_names_begin_alike_both_run(provider: Provider) -> None:
    names = ["n" * 150 + "1", "n" * 150 + "2"]
    server = Server(provider, "one", *(scheduled(name, {"hour": "*"}) for name in names))
    await server.run(61)
    assert [name for name, _ in server.started] == names


async def test_what_passed_while_the_host_slept_is_left_out(provider: Provider) -> None:
    server = Server(provider, "one", scheduled("hourly", {"hour": "*"}))
    server.now += 3 * 3600 + 1800
    await server.schedule.look()
    assert server.started == []
    await server.run(31)
    assert server.started == [("hourly", 240)]


def test_local_time_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC-3")  # three hours before UTC
    time.tzset()
    try:
        assert last_time("0 5 * * *", MIDNIGHT + 2 * 3600 + 5, local=True) == MIDNIGHT + 2 * 3600
        assert last_time("0 5 * * *", MIDNIGHT + 2 * 3600 + 5) is None
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_certificates_that_end_and_are_renewed(provider: Provider, tmp_path: Path) -> None:
    file = certificate(tmp_path, "old")  # good for a day
    ends = read(file).ends
    clock = [ends - 30 * 86_400]
    told: list[tuple[str, str, int]] = []

    async def start(rule: Rule, facts: Facts) -> None:
        assert (rule.name, facts.object_name, facts.fs_path) == ("certificates", "localhost", str(file))
        told.append((facts.event, facts.error, facts.status))

    rule = ready(
        EventRule(name="certificates", trigger=Trigger.CERTIFICATE, actions=(RuleAction(name="a"),)),
        {"a": ACTION},
    )

    def watch() -> CertificateWatch:
        active = ActiveRules(RuleBook((rule,)))
        return CertificateWatch(
            active, provider, start, [file, tmp_path / "none"], server="s", clock=lambda: clock[0]
        )

    watching = watch()
    for days in (30, 20.5, 20, 13.5, 2.5, 0.5, -1):
        clock[0] = ends - days * 86_400
        await watching.look()
        await watching.look()
    expected = [
        ("Certificate expiration", "it ends in 20 days", 1),
        ("Certificate expiration", "it ends in 13 days", 1),
        ("Certificate expiration", "it ends in 2 days", 1),
        ("Certificate expiration", "it ends in 0 days", 1),
        ("Certificate expiration", "it has ended", 2),
    ]
    assert told == expected
    await watch().look()  # after a restart
    assert told == expected
    certificate(tmp_path, "new")
    await watching.look()
    assert told[-1] == ("Certificate expiration", "it has ended", 2)
    assert told[-2] == ("Certificate renewal", "", 1)
    assert len(told) == 7
