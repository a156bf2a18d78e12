# SPDX-License-Identifier: Apache-2.0
"""Conditions of a rule, compiled: which facts it wants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tidegate.model.rule import EventRule, Trigger
from tidegate.rules.facts import OK, Facts
from tidegate.rules.patterns import Pattern, any_matches

_COMPLETE_ONLY: Final = frozenset(("upload", "download"))
"""Events of which only complete ones count unless a rule names statuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Requirements on facts; what is empty asks nothing.

    Attributes:
        events: names of events.
        every_status: broken transfers count too, where `statuses` says nothing.
        paths: patterns of virtual paths; of a rename or copy the target may match instead.
        min_size: bytes, 0 no limit; max_size likewise. Asked of events that have a size.
        groups: patterns of groups of the account, roles of its role; asked once the account is known.
        nobody: it names groups or roles, and its events are about no account: nothing is as it says.
    """

    trigger: Trigger
    events: frozenset[str] = frozenset()
    statuses: frozenset[int] = frozenset()
    every_status: bool = False
    names: tuple[Pattern, ...] = ()
    paths: tuple[Pattern, ...] = ()
    protocols: frozenset[str] = frozenset()
    objects: frozenset[str] = frozenset()
    min_size: int = 0
    max_size: int = 0
    groups: tuple[Pattern, ...] = ()
    roles: tuple[Pattern, ...] = ()
    nobody: bool = False

    def refusal(self, facts: Facts) -> str:
        """The first part of the condition that does not hold, in words; empty if all do."""
        if facts.trigger is not self.trigger:
            return f"the trigger is {self.trigger.name.lower()}, not {facts.trigger.name.lower()}"
        if self.nobody:
            return "it names groups or roles, and the event is about no account"
        if self.events and facts.event not in self.events:
            return f"event {facts.event!r} is not one of {', '.join(sorted(self.events))}"
        if self.statuses:
            if facts.status not in self.statuses:
                return f"status {facts.status} is not one of {', '.join(map(str, sorted(self.statuses)))}"
        elif not self.every_status and facts.event in _COMPLETE_ONLY and facts.status != OK:
            return "the transfer is not complete, and no status is asked for"
        if self.protocols and facts.protocol not in self.protocols:
            return f"protocol {facts.protocol!r} is not one of {', '.join(sorted(self.protocols))}"
        if self.objects and facts.object_type not in self.objects:
            return f"object {facts.object_type!r} is not one of {', '.join(sorted(self.objects))}"
        # Of a change of records the name that counts is the record's; the account's otherwise.
        name = facts.object_name if facts.trigger is Trigger.PROVIDER else facts.name
        if not any_matches(self.names, name):
            return f"no pattern of names matches {name!r}"
        if self.paths and not (
            any_matches(self.paths, facts.virtual_path)
            or (facts.virtual_target_path and any_matches(self.paths, facts.virtual_target_path))
        ):
            return f"no pattern of paths matches {facts.virtual_path!r}"
        if facts.size >= 0 and facts.size < self.min_size:
            return f"{facts.size} bytes are less than min_size {self.min_size}"
        if self.max_size and facts.size > self.max_size:
            return f"{facts.size} bytes are more than max_size {self.max_size}"
        return ""

    @property
    def wholly(self) -> frozenset[str]:
        """Names of the file events of which it wants every complete one."""
        asks = (
            self.names or self.paths or self.protocols or self.objects or self.min_size or self.max_size
        )  # groups and roles are asked about later
        if self.trigger is not Trigger.FILE or asks or self.nobody:
            return frozenset()
        return self.events if not self.statuses or OK in self.statuses else frozenset()

    def account_refusal(self, groups: Sequence[str], role: str) -> str:
        """The first part about the account that does not hold, in words; empty if all do."""
        if self.groups and not any(any_matches(self.groups, name) for name in groups):
            return f"no pattern of groups matches {', '.join(groups) or 'an account without groups'}"
        if not any_matches(self.roles, role):
            return f"no pattern of roles matches {role!r}"
        return ""

    def holds(self, facts: Facts) -> bool:
        """True if facts are as it says."""
        return not self.refusal(facts)


def condition_of(rule: EventRule) -> Condition:
    """The condition of a rule that `tidegate.rules.documents` has checked."""
    conditions = rule.conditions
    options = conditions.get("options") or {}
    events: Sequence[str] = ()
    match rule.trigger:
        case Trigger.FILE:
            events = conditions.get("fs_events") or ()
        case Trigger.PROVIDER:
            events = conditions.get("provider_events") or ()
        case Trigger.LOGIN:
            events = conditions.get("login_events") or ()
        case _:
            pass
    groups, roles = patterns_of(options, "group_names"), patterns_of(options, "role_names")
    acts_on_accounts = rule.trigger in (Trigger.SCHEDULE, Trigger.ON_DEMAND, Trigger.IP_BLOCKED)
    return Condition(
        trigger=rule.trigger,
        events=frozenset(events),
        statuses=frozenset(options.get("event_statuses") or ()),
        # Where no account is meant yet, patterns of names choose the accounts that actions work on.
        names=() if acts_on_accounts else patterns_of(options, "names"),
        paths=patterns_of(options, "fs_paths"),
        protocols=frozenset(options.get("protocols") or ()),
        objects=frozenset(options.get("provider_objects") or ()),
        min_size=options.get("min_size") or 0,
        max_size=options.get("max_size") or 0,
        groups=groups,
        roles=roles,
        nobody=bool(groups or roles) and rule.trigger in (Trigger.PROVIDER, Trigger.CERTIFICATE),
    )


def patterns_of(options: Mapping[str, Any], key: str) -> tuple[Pattern, ...]:
    """Patterns as conditions write them."""
    return tuple(Pattern(one["pattern"], bool(one.get("inverse_match"))) for one in options.get(key) or ())
