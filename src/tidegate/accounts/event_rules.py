# SPDX-License-Identifier: Apache-2.0
"""Verbs on event actions and event rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.endpoints import check_url
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord, Denied, InvalidArgument
from tidegate.model.rule import EventAction, EventRule, Trigger
from tidegate.rules.book import MAX_RULES
from tidegate.rules.documents import decode_action, decode_rule
from tidegate.store.contract import Provider

MANAGE: Final = "manage_event_rules"
MAX_RECORDS: Final = MAX_RULES
PAGE: Final = 500
_WHO: Final = "only administrators with the permission * may give variables of programs"
_NAMES: Final = Rules(naming_rules=0)
"""Names of actions and rules stay as they are typed."""


async def every_action(provider: Provider) -> dict[str, EventAction]:
    """All event actions by name."""
    found: dict[str, EventAction] = {}
    while page := await provider.event_actions(offset=len(found), limit=PAGE):
        found |= {action.name: action for action in page}
    return found


async def every_rule(provider: Provider) -> list[EventRule]:
    """All event rules by name."""
    found: list[EventRule] = []
    while page := await provider.event_rules(offset=len(found), limit=PAGE):
        found += page
    return found


class EventActions(Verbs[EventAction]):
    """Adds, changes and removes event actions.

    Administrators without all permissions give no variables of programs, which can load other code into any
    program, and no URLs that `endpoints` keeps for those who have all.
    """

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "event_action",
                "event action",
                provider.event_action,
                provider.add_event_action,
                lambda action, guard: provider.update_event_action(action, guard=guard),
                lambda name, guard: provider.delete_event_action(name, guard=guard),
                lambda action: action.name,
            ),
            provider,
            options,
            needs,
            rules=_NAMES,
        )

    async def add(self, document: Document, *, by: Actor) -> EventAction:
        """Add an event action.

        Raises:
            BadRecord: the document has a mistake, or names a program that is not enabled.
            Denied: they may not manage event rules.
            AlreadyExists: the name is taken.
        """
        by.require(MANAGE)
        action = decode_action(document, enabled=self._options.commands)
        if len(await every_action(self._provider)) >= MAX_RECORDS:
            raise InvalidArgument(f"there are {MAX_RECORDS} event actions already")
        await self._require_reach(action, None, by)
        return await self._records.add(replace(action, id=0), by=by)

    async def change(self, name: str, edit: Edit, *, by: Actor, version: str = "") -> EventAction:
        """Replace an event action; secrets that are not given stay, unless they would go elsewhere.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def make(stored: EventAction) -> EventAction:
            document = edit(stored) if callable(edit) else edit
            self._records.require_same_name(document, "name", stored.name)
            action = decode_action(document, base=stored, enabled=self._options.commands)
            await self._require_reach(action, stored, by)
            return action

        return await self._records.change(name, make, by=by, version=version)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> EventAction:
        """Remove an event action that no rule uses.

        Raises:
            BadRecord: a rule uses it.
            Denied: they may not manage event rules.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def unused(action: EventAction) -> None:
            users = await self.rules_using(action.name)
            if users:
                raise BadRecord("name", f"{action.name!r} is used by the rules {', '.join(users[:10])}")

        return await self._records.remove(name, by=by, version=version, check=unused)

    async def _require_reach(self, action: EventAction, stored: EventAction | None, by: Actor) -> None:
        """Return if somebody may have the server run or ask this; what is stored already may stay.

        Raises:
            Denied: they may not; the text names the field.
        """
        if by.unlimited:
            return
        now, before = action.options, {} if stored is None else stored.options
        program, programs_before = now.get("cmd_config") or {}, before.get("cmd_config") or {}
        variables = program.get("env_vars")
        if variables and (program["cmd"], variables) != (
            programs_before.get("cmd"),
            programs_before.get("env_vars"),
        ):
            raise Denied(f"options.cmd_config.env_vars: {_WHO}", rule="permissions")
        for section, key in (("http_config", "endpoint"), ("chat_config", "url_secret")):
            url = (now.get(section) or {}).get(key)
            if url and url != (before.get(section) or {}).get(key):
                text = url if isinstance(url, str) else ""  # an encrypted one cannot be read here
                await check_url(f"options.{section}.{key}", text, allowed=self._options.endpoints)

    async def rules_using(self, name: str) -> list[str]:
        """Names of the rules that use an action."""
        return [
            rule.name
            for rule in await every_rule(self._provider)
            if any(use.name == name for use in rule.actions)
        ]


class EventRules(Verbs[EventRule]):
    """Adds, changes, mutes and removes event rules."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "event_rule",
                "event rule",
                provider.event_rule,
                provider.add_event_rule,
                lambda rule, guard: provider.update_event_rule(rule, guard=guard),
                lambda name, guard: provider.delete_event_rule(name, guard=guard),
                lambda rule: rule.name,
            ),
            provider,
            options,
            needs,
            rules=_NAMES,
        )

    async def add(self, document: Document, *, by: Actor) -> EventRule:
        """Add an event rule.

        Raises:
            BadRecord: the document has a mistake, or an action does not exist.
            Denied: they may not manage event rules.
            AlreadyExists: the name is taken.
        """
        by.require(MANAGE)
        rule = await self._checked(decode_rule(document))
        if len(await every_rule(self._provider)) >= MAX_RECORDS:
            raise InvalidArgument(f"there are {MAX_RECORDS} event rules already")
        return await self._records.add(replace(rule, id=0), by=by)

    async def change(self, name: str, edit: Edit, *, by: Actor, version: str = "") -> EventRule:
        """Replace an event rule.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def make(stored: EventRule) -> EventRule:
            document = edit(stored) if callable(edit) else edit
            self._records.require_same_name(document, "name", stored.name)
            return await self._checked(decode_rule(document, base=stored))

        return await self._records.change(name, make, by=by, version=version)

    async def mute(self, name: str, until_ms: int, *, by: Actor) -> EventRule:
        """Have a rule do nothing until a time (Unix milliseconds); 0 ends that.

        Raises:
            Denied: they may not manage event rules.
            NotFound: there is none of this name.
        """
        by.require(MANAGE)

        async def make(stored: EventRule) -> EventRule:
            return replace(stored, muted_until=until_ms)

        return await self._records.change(name, make, by=by)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> EventRule:
        """Remove an event rule; its actions stay.

        Raises:
            Denied: they may not manage event rules.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)
        return await self._records.remove(name, by=by, version=version)

    async def _checked(self, rule: EventRule) -> EventRule:
        if rule.trigger is Trigger.IDP_LOGIN:
            raise BadRecord("trigger", "7 (login at an identity provider) never comes: no door asks one yet")
        options = rule.conditions.get("options") or {}
        for key in ("group_names", "role_names"):
            if options.get(key) and rule.trigger in (Trigger.PROVIDER, Trigger.CERTIFICATE):
                raise BadRecord(f"conditions.options.{key}", "its events are about no account")
        for index, use in enumerate(rule.actions):
            if await self._provider.event_action(use.name) is None:
                raise BadRecord(f"actions[{index}].name", f"there is no event action {use.name!r}")
        return rule
