# SPDX-License-Identifier: Apache-2.0
"""Steps of a rule over several tries: what is done stays done, and what it has made is there for the next."""

from __future__ import annotations

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
