# SPDX-License-Identifier: Apache-2.0
"""The rules of this process, as they are now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.events.documents import NAMES, name_of
from tidegate.events.kinds import Event
from tidegate.inspection.inspections import RULE_PROTOCOL
from tidegate.model.rule import Trigger
from tidegate.rules.book import RuleBook
from tidegate.rules.facts import FAILED, FILE_EVENTS, PRE_EVENTS, QUOTA, facts_of

_DOCUMENTS: Final = {
    "upload": ("upload",),
    "first-upload": ("upload",),
    "download": ("download",),
    "first-download": ("download",),
    "delete": ("remove",),
    "rename": ("rename",),
    "mkdir": ("mkdir",),
    "rmdir": ("rmdir",),
    "copy": ("copy",),
    "ssh_cmd": ("ssh_command",),
    "login": ("login",),
    "login-failed": ("login_failed",),
}
_BROKEN: Final = frozenset((FAILED, QUOTA))


class ActiveRules:
    """Holds the rule book, and says which events it wants; `replace` changes it at any time."""

    def __init__(self, book: RuleBook | None = None) -> None:
        self._changed: list[Callable[[], None]] = []
        self.book = book or RuleBook()
        self._names = _names_of(self.book)
        self._always = _always_of(self.book)

    def on_change(self, call: Callable[[], None]) -> None:
        """Have a function called after each change."""
        self._changed.append(call)

    def replace(self, book: RuleBook) -> bool:
        """Take another book; returns True if it differs."""
        if book == self.book:
            return False
        self.book = book
        self._names = _names_of(book)
        self._always = _always_of(book)
        for call in self._changed:
            call()
        return True

    def names(self) -> frozenset[str]:
        """Names of the kept events that some rule may want; see `tidegate.events.documents`."""
        return self._names

    def wants(self, event: Event) -> bool:
        """True if a rule has something to do after an event."""
        if event.origin.protocol == RULE_PROTOCOL:
            return False  # what rules do sets off no rule
        if name_of(event) in self._always:
            return True
        return any(self.book.later(facts) for facts in facts_of(event))


def _always_of(book: RuleBook) -> frozenset[str]:
    """Names of the transfers that some rule wants whatever else is true of them.

    Each transfer is asked about while its client waits; to make facts of it costs ten times as much.
    """
    return frozenset(
        event
        for rule in book.rules
        for event in ("upload", "download")
        if event in rule.condition.wholly and any(not step.failure for step in rule.later_steps(event))
    )


def _names_of(book: RuleBook) -> frozenset[str]:
    names: set[str] = set()
    for rule in book.rules:
        condition = rule.condition
        match condition.trigger:
            case Trigger.FILE:
                for event in (condition.events or frozenset(FILE_EVENTS)) - PRE_EVENTS:
                    names.update(_DOCUMENTS[event])
                    broken = condition.every_status or condition.statuses & _BROKEN
                    if broken and event in ("upload", "download"):
                        names.add(f"{event}_failed")
            case Trigger.PROVIDER:
                names.add("administration")
            case Trigger.LOGIN:
                for event in condition.events or ("login", "login-failed"):
                    names.update(_DOCUMENTS[event])
            case Trigger.QUOTA:
                names.add("quota_warning")
            case Trigger.IP_BLOCKED:
                names.add("banned")
            case _:
                pass
    return frozenset(names & NAMES)
