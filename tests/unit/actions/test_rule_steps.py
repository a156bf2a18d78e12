# SPDX-License-Identifier: Apache-2.0
"""Steps of a rule over several tries: what is done stays done, and what it has made is there for the next."""

from __future__ import annotations

import pytest

from tidegate.actions.hooks import HookRunner
from tidegate.actions.outcome import DONE, Outcome
from tidegate.actions.runner import ActionWork, Runner, nothing_added
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpCaller
from tidegate.outgoing.programs import Programs
from tidegate.rules.book import Rule, Step
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import Facts, decode_facts, encode_facts

FACTS = Facts(trigger=Trigger.ON_DEMAND, event="")
REPORT = ("keep-ann.csv", "path,error\n/,\n")


def step(kind: ActionType, **more: bool) -> Step:
    return Step(kind.name, EventAction(name=kind.name, type=kind), **more)


async def test_a_report_is_there_for_the_next_try() -> None:
    ran: list[str] = []
    outcomes = [Outcome("421 later", again=True), DONE]

    async def retain(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        ran.append("retention")
        return Outcome(reports=(REPORT,))

    async def mail(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        ran.append(f"mail {facts.reports == (REPORT,)}")
        return outcomes.pop(0)

    work: dict[ActionType, ActionWork] = {ActionType.RETENTION: retain, ActionType.EMAIL: mail}
    runner = Runner(HookRunner(Programs(), HttpCaller(), CommandOptions()), work, nothing_added)
    steps = (step(ActionType.RETENTION), step(ActionType.EMAIL))
    rule = Rule("r", Condition(trigger=Trigger.ON_DEMAND), steps)
    first = await runner.run(rule, FACTS, steps)
    assert (first.ok, first.again) == (False, True)
    second = await runner.run(rule, decode_facts(encode_facts(FACTS)), steps, done=first.done)
    assert second.ok
    assert ran == ["retention", "mail True", "mail True"]


def runner_of(ran: list[str], failing: str) -> Runner:
    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        ran.append(f"{action.name}: {facts.error}" if facts.error else action.name)
        return Outcome("no") if action.name == failing else DONE

    works: dict[ActionType, ActionWork] = dict.fromkeys(ActionType, work)
    return Runner(HookRunner(Programs(), HttpCaller(), CommandOptions()), works, nothing_added)


@pytest.mark.parametrize(("stops", "after"), [(True, []), (False, ["EMAIL"])])
async def test_a_step_that_stops_is_the_last_if_it_fails(stops: bool, after: list[str]) -> None:
    steps = (
        step(ActionType.HTTP),
        step(ActionType.FILESYSTEM, stops=stops),
        step(ActionType.EMAIL),
        step(ActionType.BACKUP, failure=True),
    )
    rule = Rule("r", Condition(trigger=Trigger.ON_DEMAND), steps)
    ran: list[str] = []
    failed = await runner_of(ran, "FILESYSTEM").run(rule, FACTS, steps)
    assert not failed.ok
    told = 'BACKUP: action "FILESYSTEM" failed: no'
    assert ran == ["HTTP", "FILESYSTEM", *after, told]
    ran.clear()
    assert (await runner_of(ran, "").run(rule, FACTS, steps)).ok
    assert ran == ["HTTP", "FILESYSTEM", "EMAIL"]
