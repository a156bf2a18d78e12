# SPDX-License-Identifier: Apache-2.0
"""Runs the steps of a rule in their order, and those for failures after them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tidegate.actions.hooks import HookRunner
from tidegate.actions.outcome import Outcome
from tidegate.model.rule import ActionType, EventAction
from tidegate.rules.book import Rule, Step
from tidegate.rules.facts import ABOUT_SOMEBODY, FAILED, Facts
from tidegate.rules.hooks import HookCall

ACTION_SECONDS: Final = 24 * 3600.0
"""Longest time of any action; those that call something outside have shorter ones."""

MAX_BEHIND: Final = 1_000
"""Rules whose steps for failures run behind the answer to a client; the clients of more wait for them."""
CLOSE_SECONDS: Final = 5.0
"""Time that such steps have when the server ends."""

ActionWork = Callable[[EventAction, Facts, Rule], Awaitable[Outcome]]
"""Carries out an action of one type."""
Completes = Callable[[Facts, Rule], Awaitable[Facts]]
"""Adds to facts what is known of the account and the record that they name."""

_REPORT: Final = "report:"
"""Beginning of what is kept of a report for later tries, among the keys of steps that are done."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The end of the steps of a rule.

    Attributes:
        done: keys of the steps that need not run again.
        error: why it failed; empty if it did not.
        again: another try of the rest may succeed.
        text: what a program or service said, for a client.
    """

    done: tuple[str, ...] = ()
    error: str = ""
    again: bool = False
    text: str = ""

    @property
    def ok(self) -> bool:
        """True if every step is done."""
        return not self.error


class Runner:
    """Carries out rules. Life: constructed, `run`..., `close`.

    Args:
        hooks: runs programs and URLs of the configuration.
        work: by type of action; a type without an entry fails and says so.
        complete: see `Completes`.
    """

    def __init__(self, hooks: HookRunner, work: Mapping[ActionType, ActionWork], complete: Completes) -> None:
        self._hooks = hooks
        self._work = work
        self._complete = complete
        self._behind: set[asyncio.Task[None]] = set()

    async def run(
        self,
        rule: Rule,
        facts: Facts,
        steps: Sequence[Step],
        *,
        done: Collection[str] = (),
        waits: bool = False,
        last: bool = False,
    ) -> RuleResult:
        """Run steps that are not done yet.

        Steps for failures run when a failure is final: no other try follows, because none can help or
        because this is the `last`. A client does not wait for them.

        Args:
            rule: whose steps they are.
            facts: of the event.
            steps: those to run, in their order.
            done: keys of those that were done at an earlier try.
            waits: a client waits for the result.
            last: it is not tried again, whatever comes of it.
        """
        if rule.missing:
            return RuleResult(error=f"the action {rule.missing[0]!r} does not exist")
        try:
            facts = await self._complete(facts, rule)
        except Exception as away:  # the data provider, mostly
            return RuleResult(tuple(done), f"{type(away).__name__}: {away}", again=True)
        if facts.trigger in ABOUT_SOMEBODY and rule.condition.account_refusal(facts.groups, facts.role):
            return RuleResult()
        finished = list(done)
        kept = [one.removeprefix(_REPORT).partition("\n") for one in done if one.startswith(_REPORT)]
        if kept:
            facts = replace(facts, reports=tuple((name, text) for name, _, text in kept))
        failed: list[tuple[Step, Outcome]] = []
        for key, step in enumerate(steps):
            if step.failure or str(key) in done:
                continue
            outcome = await self._step(rule, step, facts, waits=waits)
            if outcome.reports:
                facts = replace(facts, reports=(*facts.reports, *outcome.reports))
                finished += [f"{_REPORT}{name}\n{text}" for name, text in outcome.reports]
            if outcome.ok:
                finished.append(str(key))
                if outcome.made is not None:
                    facts = replace(facts, virtual_path=outcome.made[0], size=outcome.made[1])
                continue
            failed.append((step, outcome))
            if step.stops:
                break
        if not failed:
            return RuleResult(tuple(finished))
        step, outcome = failed[0]
        error = f'action "{step.name}" failed: {outcome.error}'
        again = any(one.again for _, one in failed)
        if waits or last or not again:
            work = self._run_failure_steps(rule, replace(facts, status=FAILED, error=error), steps)
            if waits and len(self._behind) < MAX_BEHIND:
                task = asyncio.create_task(work, name=f"event rule {rule.name}: failure")
                self._behind.add(task)
                task.add_done_callback(self._behind.discard)
            else:
                await work
        return RuleResult(tuple(finished), error, again, outcome.text)

    async def _run_failure_steps(self, rule: Rule, facts: Facts, steps: Sequence[Step]) -> None:
        for one in steps:
            if one.failure:
                told = await self._step(rule, one, facts, waits=False)
                if not told.ok:
                    log.warning("rule %s: failure action %s failed too: %s", rule.name, one.name, told.error)

    async def close(self) -> None:
        """Let actions on failures end that nobody waits for, for `CLOSE_SECONDS`."""
        if self._behind:
            _, late = await asyncio.wait(set(self._behind), timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _step(self, rule: Rule, step: Step, facts: Facts, *, waits: bool) -> Outcome:
        try:
            async with asyncio.timeout(ACTION_SECONDS):
                outcome = await self._one(rule, step, facts, waits=waits)
        except TimeoutError:
            outcome = Outcome(f"no end in {ACTION_SECONDS:g} s", again=True)
        except Exception as error:
            log.exception("rule %s: action %s", rule.name, step.name)
            outcome = Outcome(f"{type(error).__name__}: {error}")
        if outcome.ok:
            log.debug("rule %s: action %s done on %s of %r", rule.name, step.name, facts.event, facts.name)
        else:
            log.warning(
                "rule %s: action %s on %s %r of %r: %s",
                rule.name,
                step.name,
                facts.event,
                facts.virtual_path or facts.object_name,
                facts.name,
                outcome.error,
            )
        return outcome

    async def _one(self, rule: Rule, step: Step, facts: Facts, *, waits: bool) -> Outcome:
        if isinstance(step.work, HookCall):
            return await self._hooks.run(step.work, facts, waits=waits)
        work = self._work.get(step.work.type)
        if work is None:
            return Outcome(f"actions of type {step.work.type.name.lower()} are not there yet")
        return await work(step.work, facts, rule)


async def nothing_added(facts: Facts, rule: Rule) -> Facts:
    """Facts as they are; see `Completes`."""
    del rule
    return facts
