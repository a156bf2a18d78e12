# SPDX-License-Identifier: Apache-2.0
"""Verbs on groups."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.effective import effective
from tidegate.accounts.folders import require_moves
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.rules import Rules
from tidegate.errors import Denied, TidegateError
from tidegate.model.group import Group
from tidegate.policy.login import disconnect_reason
from tidegate.store.contract import Provider
from tidegate.store.group_documents import decode_group, storage_of_group

MANAGE: Final = "manage_groups"
_NAMES: Final = Rules(naming_rules=1)


class Groups(Verbs[Group]):
    """Adds, changes and removes groups."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "group",
                "group",
                provider.group,
                provider.add_group,
                lambda group, guard: provider.update_group(group, guard=guard),
                lambda name, guard: provider.delete_group(name, guard=guard),
                lambda group: group.name,
            ),
            provider,
            options,
            needs,
            rules=_NAMES,
        )

    async def add(self, document: Document, *, by: Actor) -> Group:
        """Add a group.

        Raises:
            BadRecord: the document has a mistake, or nobody may give the directory.
            Denied: they may not manage groups, or may not give a directory or storage that it gives.
            AlreadyExists: the name is taken.
        """
        by.require(MANAGE)
        group = decode_group(document, rules=self._options.rules)
        await self._options.giver(by).check_group(self._provider, group, None, storage_of_group(group))
        await require_moves(self._provider, group, None, by)
        return await self._records.add(replace(group, id=0, created_at=0, updated_at=0), by=by)

    async def change(
        self, name: str, edit: Edit, *, by: Actor, version: str = "", disconnect: bool = False
    ) -> Group:
        """Replace a group; secrets that are not given stay.

        Sessions go on as they began, as after a change of an account; those of members end with `disconnect`,
        and where the account has expired by the change.

        Raises:
            BadRecord, Denied: as `add`; or they have a role, and accounts without it have the group.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def make(stored: Group) -> Group:
            document = edit(stored) if callable(edit) else edit
            self._records.require_same_name(document, "name", stored.name)
            group = decode_group(document, base=stored, rules=self._options.rules)
            await self._require_members(stored.name, by)
            spec = storage_of_group(group)
            await self._options.giver(by).check_group(self._provider, group, stored, spec)
            await require_moves(self._provider, group, stored, by)
            return replace(group, id=stored.id, created_at=stored.created_at)

        async def follow(before: Group, after: Group) -> None:
            if disconnect or before.user_settings.expires_in != after.user_settings.expires_in:
                await self._end_sessions(after.name, by, everybody=disconnect)

        return await self._records.change(name, make, by=by, version=version, follow=follow)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> Group:
        """Remove a group that no account has.

        Raises:
            BadRecord: an account has it.
            Denied: they may not manage groups.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)
        return await self._records.remove(name, by=by, version=version)

    async def _require_members(self, name: str, by: Actor) -> None:
        if not by.role:
            return
        own = set(await self._provider.role_users(by.role))
        if not own.issuperset(await self._provider.group_users(name)):
            raise Denied("accounts that are not of your role have this group", rule="role")

    async def _end_sessions(self, name: str, by: Actor, *, everybody: bool) -> None:
        resolver, now_ms = effective(self._provider, self._options.rules), time.time_ns() // 1_000_000
        for username in await self._provider.group_users(name):
            out = everybody
            if not out:
                try:
                    account = await resolver.user(username)
                except TidegateError:
                    out = True  # it could not log in either
                else:
                    out = account is None or bool(disconnect_reason(account, now_ms))
            if out:
                self._needs.connections.close_user(username, by=by.name)
