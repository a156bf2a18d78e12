# SPDX-License-Identifier: Apache-2.0
"""Verbs on roles."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.rules import Rules
from tidegate.model.group import Role
from tidegate.store.contract import Provider
from tidegate.store.group_documents import decode_role

MANAGE: Final = "manage_roles"


class Roles(Verbs[Role]):
    """Adds, changes and removes roles."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "role",
                "role",
                provider.role,
                provider.add_role,
                lambda role, guard: provider.update_role(role, guard=guard),
                lambda name, guard: provider.delete_role(name, guard=guard),
                lambda role: role.name,
            ),
            provider,
            options,
            needs,
            rules=Rules(naming_rules=1),
        )

    async def add(self, document: Document, *, by: Actor) -> Role:
        """Add a role.

        Raises:
            BadRecord: the document has a mistake.
            Denied: they may not manage roles.
            AlreadyExists: the name is taken.
        """
        by.require(MANAGE)
        role = replace(decode_role(document), id=0, created_at=0, updated_at=0)
        return await self._records.add(role, by=by)

    async def change(self, name: str, edit: Edit, *, by: Actor, version: str = "") -> Role:
        """Replace a role.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def make(stored: Role) -> Role:
            document = edit(stored) if callable(edit) else edit
            self._records.require_same_name(document, "name", stored.name)
            return replace(decode_role(document, base=stored), id=stored.id, created_at=stored.created_at)

        return await self._records.change(name, make, by=by, version=version)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> Role:
        """Remove a role that nobody has.

        Raises:
            BadRecord: an account or an administrator has it.
            Denied: they may not manage roles.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)
        return await self._records.remove(name, by=by, version=version)
