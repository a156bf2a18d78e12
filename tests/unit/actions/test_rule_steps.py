# SPDX-License-Identifier: Apache-2.0
"""Steps of a rule over several tries: what is done stays done, and what it has made is there for the next."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tidegate.actions.hooks import HookRunner
from tidegate.actions.outcome import DONE, Outcome
from tidegate.actions.runner import ActionWork, Completes, Runner, nothing_added
from tidegate.errors import ProviderUnavailable
from tidegate.model.rule import ActionType, EventAction, Trigger
from tidegate.outgoing.commands import CommandOptions
from tidegate.outgoing.http import HttpCaller
from tidegate.outgoing.programs import Programs
from tidegate.rules.book import Rule, Step
from tidegate.rules.conditions import Condition
from tidegate.rules.facts import FAILED, Facts, decode_facts, encode_facts
from tidegate.rules.patterns import Pattern

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


UPLOAD = Facts(trigger=Trigger.FILE, event="upload", name="ana", virtual_path="/f")


def of_work(work: ActionWork, complete: Completes = nothing_added) -> Runner:
    works: dict[ActionType, ActionWork] = dict.fromkeys((ActionType.HTTP, ActionType.EMAIL), work)
    return Runner(HookRunner(Programs(), HttpCaller(), CommandOptions()), works, complete)


async def test_failures_are_told_when_they_are_final() -> None:
    """Not while another try may help; to the last one, and to a client that waits, they are."""
    told: list[tuple[int, str]] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        if action.name == "EMAIL":
            told.append((facts.status, facts.error))
            return Outcome("no mail today")  # a failure action that fails changes nothing
        return Outcome("503", again=True, text="come back")

    steps = (step(ActionType.HTTP), step(ActionType.EMAIL, failure=True))
    rule = Rule("r", Condition(trigger=Trigger.FILE), steps)
    runner = of_work(work)
    first = await runner.run(rule, UPLOAD, steps)
    assert (first.error, first.again, first.text) == ('action "HTTP" failed: 503', True, "come back")
    assert (first.ok, first.done, told) == (False, (), [])
    assert await runner.run(rule, UPLOAD, steps, last=True) == first
    assert told.pop() == (FAILED, 'action "HTTP" failed: 503')
    assert await runner.run(rule, UPLOAD, steps, waits=True) == first
    assert told == []  # the client is answered first
    await runner.close()
    assert told.pop() == (FAILED, 'action "HTTP" failed: 503')
    await runner.close()


async def test_no_more_failures_are_told_at_once_than_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.actions.runner.MAX_BEHIND", 0)
    told: list[str] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        told.append(action.name)
        return Outcome("no")

    steps = (step(ActionType.HTTP), step(ActionType.EMAIL, failure=True))
    await of_work(work).run(Rule("r", Condition(trigger=Trigger.FILE), steps), UPLOAD, steps, waits=True)
    assert told == ["HTTP", "EMAIL"]


async def test_a_stop_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.actions.runner.CLOSE_SECONDS", 0.01)
    ended: list[str] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        if action.name == "EMAIL":
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(action.name)
        return Outcome("no")

    steps = (step(ActionType.HTTP), step(ActionType.EMAIL, failure=True))
    runner = of_work(work)
    await runner.run(Rule("r", Condition(trigger=Trigger.FILE), steps), UPLOAD, steps, waits=True)
    await asyncio.sleep(0)
    await runner.close()
    assert ended == ["EMAIL"]


async def test_what_is_done_is_not_done_again() -> None:
    ran: list[str] = []
    steps = (step(ActionType.HTTP), step(ActionType.EMAIL))
    rule = Rule("r", Condition(trigger=Trigger.ON_DEMAND), steps)
    found = await runner_of(ran, "").run(rule, FACTS, steps, done=("0",))
    assert (ran, found.ok, found.done) == (["EMAIL"], True, ("0", "1"))
    ran.clear()
    # What stands behind a failure is done too, unless the step stops; of the rest another try is made.
    found = await runner_of(ran, "HTTP").run(rule, FACTS, steps)
    assert (ran, found.done, found.again) == (["HTTP", "EMAIL"], ("1",), False)


async def test_the_first_failure_is_told_and_any_may_ask_for_another_try() -> None:
    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        return Outcome("404") if action.name == "HTTP" else Outcome("451", again=True)

    steps = (step(ActionType.HTTP), step(ActionType.EMAIL))
    found = await of_work(work).run(Rule("r", Condition(trigger=Trigger.FILE), steps), UPLOAD, steps)
    assert (found.error, found.again) == ('action "HTTP" failed: 404', True)


async def test_a_file_that_was_made_is_what_the_next_step_sees() -> None:
    seen: list[tuple[str, int]] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        seen.append((facts.virtual_path, facts.size))
        return Outcome(made=("/made", 5)) if action.name == "HTTP" else DONE

    steps = (step(ActionType.HTTP), step(ActionType.EMAIL))
    assert (await of_work(work).run(Rule("r", Condition(trigger=Trigger.FILE), steps), UPLOAD, steps)).ok
    assert seen == [("/f", -1), ("/made", 5)]


async def test_errors_of_the_program_are_outcomes() -> None:
    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        raise KeyError("x")

    steps = (step(ActionType.HTTP),)
    rule = Rule("r", Condition(trigger=Trigger.FILE), steps)
    found = await of_work(work).run(rule, UPLOAD, steps)
    assert (found.error, found.again) == ("action \"HTTP\" failed: KeyError: 'x'", False)
    backup = (step(ActionType.BACKUP),)
    found = await of_work(work).run(Rule("r", Condition(trigger=Trigger.FILE), backup), UPLOAD, backup)
    assert found.error == 'action "BACKUP" failed: actions of type backup are not there yet'


async def test_an_action_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.actions.runner.ACTION_SECONDS", 0.01)

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        await asyncio.Event().wait()
        return DONE

    steps = (step(ActionType.HTTP),)
    found = await of_work(work).run(Rule("r", Condition(trigger=Trigger.FILE), steps), UPLOAD, steps)
    assert (found.error, found.again) == ('action "HTTP" failed: no end in 0.01 s', True)


async def test_a_provider_that_is_away_is_asked_again() -> None:
    async def away(facts: Facts, rule: Rule) -> Facts:
        raise ProviderUnavailable("gone")

    ran: list[str] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        ran.append(action.name)
        return DONE

    steps = (step(ActionType.HTTP),)
    rule = Rule("r", Condition(trigger=Trigger.FILE), steps)
    found = await of_work(work, away).run(rule, UPLOAD, steps, done=("7",))
    assert (found.done, found.again, ran) == (("7",), True, [])
    assert found.error.startswith("ProviderUnavailable")


async def test_groups_are_asked_for_once_the_account_is_known() -> None:
    ran: list[str] = []

    async def work(action: EventAction, facts: Facts, rule: Rule) -> Outcome:
        ran.append(facts.name)
        return DONE

    async def complete(facts: Facts, rule: Rule) -> Facts:
        return replace(facts, groups=("g",) if facts.name == "ana" else ())

    steps = (step(ActionType.HTTP),)
    rule = Rule("r", Condition(trigger=Trigger.FILE, groups=(Pattern("g"),)), steps)
    runner = of_work(work, complete)
    assert (await runner.run(rule, UPLOAD, steps)).ok
    assert (await runner.run(rule, replace(UPLOAD, name="bob"), steps)).ok
    assert ran == ["ana"]


async def test_a_rule_without_its_action_fails() -> None:
    rule = Rule("r", Condition(trigger=Trigger.FILE), (), missing=("tell",))
    found = await runner_of([], "").run(rule, UPLOAD, ())
    assert (found.error, found.again) == ("the action 'tell' does not exist", False)
