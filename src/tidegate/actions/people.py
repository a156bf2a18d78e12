# SPDX-License-Identifier: Apache-2.0
"""Finds the accounts that an action works on."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from tidegate.errors import BadRecord
from tidegate.model import Account
from tidegate.model.rule import Trigger
from tidegate.rules.book import Rule
from tidegate.rules.conditions import patterns_of
from tidegate.rules.facts import ABOUT_SOMEBODY, Facts
from tidegate.rules.patterns import any_matches
from tidegate.store.contract import Provider

log = logging.getLogger(__name__)


class People:
    """Accounts of events, and of rules.

    Args:
        find: an account by name, stored or not.
        provider: has all stored ones.
    """

    def __init__(self, find: Callable[[str], Awaitable[Account | None]], provider: Provider) -> None:
        self._find = find
        self._provider = provider

    async def one(self, facts: Facts) -> Account | None:
        """The account that an event is about; None if it is about none, or it is gone."""
        if facts.trigger in ABOUT_SOMEBODY:
            return await self._find(facts.name) if facts.name else None
        if facts.trigger is Trigger.PROVIDER and facts.object_type == "user":
            return await self._find(facts.object_name)
        return None

    async def all(self, facts: Facts, rule: Rule) -> AsyncIterator[Account]:
        """The account of the event, or every stored one whose name the rule's patterns match.

        Each is as it is when it is handed out: while the ones before were worked on it may have moved.
        """
        if facts.trigger in ABOUT_SOMEBODY or facts.trigger is Trigger.PROVIDER:
            account = await self.one(facts)
            if account is not None:
                yield account
            return
        options = {} if rule.record is None else rule.record.conditions.get("options") or {}
        patterns = patterns_of(options, "names")
        async for account in self._provider.iter_users(fresh=True):
            if any_matches(patterns, account.username):
                try:
                    now = await self._find(account.username)
                except BadRecord as error:
                    log.warning("rule %s: user %r is left out: %s", rule.name, account.username, error)
                    continue
                if now is not None and not rule.condition.account_refusal(
                    [use.name for use in now.groups], now.role
                ):
                    yield now
