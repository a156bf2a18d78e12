# SPDX-License-Identifier: Apache-2.0
"""Rules made ready, and what they would run on some facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from tidegate.model.rule import EventAction, EventRule, RuleAction, Trigger
from tidegate.rules.conditions import Condition, condition_of
from tidegate.rules.facts import PRE_EVENTS, Facts
from tidegate.rules.hooks import HookCall

MAX_RULES: Final = 1_000
"""Rules of one server; a change that would make more is refused."""
MAX_ACTIONS: Final = 50
"""Actions of one rule."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action of a rule, in its place.

    Attributes:
        work: what is done: an action, or a hook of the configuration.
        sync: a client waits for it.
    """

    name: str
    work: EventAction | HookCall
    sync: bool = False
    failure: bool = False
    stops: bool = False

    @property
    def does(self) -> str:
        """The kind of the work, and its program or host; never a secret."""
        if isinstance(self.work, HookCall):
            return f"{'GET or POST' if self.work.is_url else 'program'} {_public(self.work.target)}"
        options = self.work.options
        target = (options.get("http_config") or {}).get("endpoint") or (options.get("cmd_config") or {}).get(
            "cmd"
        )
        return f"{self.work.type.name.lower()}{f' {_public(target)}' if target else ''}"


def _public(target: str) -> str:
    """A program, or a URL without user, password, query and fragment."""
    if not target.startswith(("http://", "https://")):
        return target
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that is ready.

    Attributes:
        name: of the record, or of the key of the configuration that it stands for.
        source: `record`, or `config`.
        steps: in their order, those for failures included.
        sync_events: events of which the `sync` steps are waited for; of others every step runs later.
        missing: names of actions that do not exist; such a rule fails when it runs, and says so.
        muted_until: Unix seconds; until then it does nothing.
    """

    name: str
    condition: Condition
    steps: tuple[Step, ...]
    source: str = "record"
    record: EventRule | None = None
    missing: tuple[str, ...] = ()
    muted_until: float = 0.0

    def sync_steps(self, event: str) -> tuple[Step, ...]:
        """Steps that a client waits for, and those for failures; none if there is nothing to wait for."""
        waited = [step.sync or (event in PRE_EVENTS and not step.failure) for step in self.steps]
        if not any(waited):
            return ()
        return tuple(step for step, waits in zip(self.steps, waited, strict=True) if waits or step.failure)

    def later_steps(self, event: str) -> tuple[Step, ...]:
        """Steps that run after the client was told, in their order; those for failures belong to both."""
        if event in PRE_EVENTS:
            return ()
        return tuple(step for step in self.steps if not step.sync)

    @property
    def gathers(self) -> bool:
        """True if it waits for other events, to tell of several in one message."""
        sections = ("email_config", "chat_config")
        return any(
            (step.work.options.get(section) or {}).get("digest_seconds")
            for step in self.steps
            if isinstance(step.work, EventAction)
            for section in sections
        )

    @property
    def asks(self) -> bool:
        """True if a client may have to wait for it."""
        return any(step.sync for step in self.steps) or bool(self.condition.events & PRE_EVENTS)


@dataclass(frozen=True, slots=True)
class RuleBook:
    """All rules that are active.

    Attributes:
        rules: those of the configuration first, then records by name.
    """

    rules: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rules)

    def find(self, name: str) -> Rule | None:
        """The rule of a name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def later(self, facts: Facts) -> list[Rule]:
        """Rules with something to do after an event."""
        return [
            rule
            for rule in self.rules
            if rule.condition.trigger is facts.trigger
            and any(not step.failure for step in rule.later_steps(facts.event))
            and rule.condition.holds(facts)
        ]

    def asked(self, facts: Facts) -> list[Rule]:
        """Rules that are asked before an act counts."""
        return [
            rule
            for rule in self.rules
            if rule.condition.trigger is facts.trigger
            and rule.sync_steps(facts.event)
            and rule.condition.holds(facts)
        ]

    def scheduled(self) -> list[Rule]:
        """Rules with a schedule."""
        return [rule for rule in self.rules if rule.condition.trigger is Trigger.SCHEDULE]

    def of_certificates(self) -> list[Rule]:
        """Rules about the server's TLS certificates."""
        return [rule for rule in self.rules if rule.condition.trigger is Trigger.CERTIFICATE]

    def asks_of(self, event: str) -> bool:
        """True if some rule is asked about events of this name."""
        return any(
            rule.condition.trigger is Trigger.FILE
            and rule.sync_steps(event)
            and event in rule.condition.events
            for rule in self.rules
        )


def ready(rule: EventRule, actions: Mapping[str, EventAction]) -> Rule:
    """A rule of records, with its actions."""
    uses: Sequence[RuleAction] = sorted(rule.actions, key=lambda use: use.order)
    return Rule(
        rule.name,
        condition_of(rule),
        tuple(
            Step(use.name, actions[use.name], use.execute_sync, use.is_failure_action, use.stop_on_failure)
            for use in uses
            if use.name in actions
        ),
        record=rule,
        missing=tuple(use.name for use in uses if use.name not in actions),
        muted_until=rule.muted_until / 1000,
    )


def book_of(
    configured: Iterable[Rule], rules: Iterable[EventRule], actions: Iterable[EventAction]
) -> RuleBook:
    """All active rules, made ready."""
    known = {action.name: action for action in actions}
    return RuleBook((*configured, *(ready(rule, known) for rule in rules if rule.status == 1)))


def shown_rule(rule: Rule) -> dict[str, object]:
    """A rule for lists: name, source, trigger, events, steps and until when it is muted."""
    return {
        "name": rule.name,
        "source": rule.source,
        "trigger": rule.condition.trigger.name.lower(),
        "events": sorted(rule.condition.events),
        "actions": [
            {
                "name": step.name,
                "does": step.does,
                **{word: True for word in ("sync", "failure", "stops") if getattr(step, word)},
            }
            for step in rule.steps
        ],
        **({"missing": list(rule.missing)} if rule.missing else {}),
        **({"muted_until": int(rule.muted_until * 1000)} if rule.muted_until else {}),
    }
