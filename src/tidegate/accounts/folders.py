# SPDX-License-Identifier: Apache-2.0
"""Verbs on folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.errors import Denied
from tidegate.model import Folder
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_folder

MANAGE: Final = "manage_folders"


class Folders(Verbs[Folder]):
    """Adds, changes and removes folders."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "folder",
                "folder",
                provider.folder,
                provider.add_folder,
                lambda folder, guard: provider.update_folder(folder, guard=guard),
                lambda name, guard: provider.delete_folder(name, guard=guard),
                lambda folder: folder.name,
            ),
            provider,
            options,
            needs,
        )

    async def add(self, document: Document, *, by: Actor) -> Folder:
        """Add a folder; its counters begin at zero.

        Raises:
            BadRecord: the document has a mistake, or nobody may give the directory.
            Denied: they may not manage folders, or may not give the directory.
            AlreadyExists: the name is taken.
        """
        by.require(MANAGE)
        folder = decode_folder(document, rules=self._options.rules)
        await self._options.giver(by).check_folder(folder, None)
        folder = replace(folder, used_quota_size=0, used_quota_files=0, last_quota_update=0)
        return await self._records.add(folder, by=by)

    async def change(self, name: str, edit: Edit, *, by: Actor, version: str = "") -> Folder:
        """Replace a folder; its counters stay. Connections of those who mount it end if its place changes.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)

        async def make(stored: Folder) -> Folder:
            document = edit(stored) if callable(edit) else edit
            self._records.require_same_name(document, "name", stored.name)
            await self._require_users(await self.users_of(stored.name) if by.role else (), by)
            folder = decode_folder(document, base=stored, rules=self._options.rules)
            await self._options.giver(by).check_folder(folder, stored)
            return folder

        async def follow(before: Folder, after: Folder) -> None:
            if (before.mapped_path, before.filesystem) != (after.mapped_path, after.filesystem):
                self._disconnect(await self.users_of(after.name), by)

        return await self._records.change(name, make, by=by, version=version, follow=follow)

    async def counters_set(self, name: str, *fields: str, by: Actor) -> None:
        """Tell that somebody set counters, by their names; vfs, which keeps them, has done it."""
        await self._records.counters_set(name, fields, by=by)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> Folder:
        """Remove a folder and its mounts, and close connections of those who mounted it; its files stay.

        Raises:
            Denied: they may not manage folders.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        by.require(MANAGE)
        users: list[str] = []

        async def who_mounts(folder: Folder) -> None:
            users[:] = await self.users_of(folder.name)
            await self._require_users(users, by)

        async def follow(_: Folder) -> None:
            self._disconnect(users, by)

        return await self._records.remove(name, by=by, version=version, check=who_mounts, follow=follow)

    async def users_of(self, name: str) -> list[str]:
        """Names of the accounts that mount a folder, themselves or by a group."""
        found = set(await self._provider.folder_users(name))
        for group in await self._provider.folder_groups(name):
            found.update(await self._provider.group_users(group))
        return sorted(found)

    async def _require_users(self, users: Sequence[str], by: Actor) -> None:
        if by.role and users and not set(await self._provider.role_users(by.role)).issuperset(users):
            raise Denied("accounts that are not of your role mount this folder", rule="role")

    def _disconnect(self, users: list[str], by: Actor) -> None:
        for username in users:
            self._needs.connections.close_user(username, by=by.name)
