# SPDX-License-Identifier: Apache-2.0
"""Verbs on folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.names import fold_name
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.errors import Denied
from tidegate.model import Account, Folder
from tidegate.model.group import Group
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
        """Names of the accounts that mount a folder, themselves or by a group; `name` in any spelling."""
        return await _users_of(self._provider, fold_name(name, self._options.rules))

    async def _require_users(self, users: Sequence[str], by: Actor) -> None:
        await _require_own(self._provider, users, by)

    def _disconnect(self, users: list[str], by: Actor) -> None:
        for username in users:
            self._needs.connections.close_user(username, by=by.name)


async def require_moves(
    provider: Provider, record: Account | Group, stored: Account | Group | None, by: Actor
) -> None:
    """Return if somebody may move the folders that the mounts of an account or group put elsewhere.

    A folder is one for everybody who mounts it, so storing such a mount changes more than the record.

    Args:
        provider: has the folders.
        record: what shall be stored.
        stored: what is stored now.
        by: who changes it.

    Raises:
        Denied: they may not manage folders, or have a role, and accounts without it mount the folder.
    """
    if by.unlimited:
        return
    before = () if stored is None else stored.virtual_folders
    for index, mount in enumerate(record.virtual_folders):
        folder = await provider.folder(mount.name) if mount.mapped_path else None
        if folder is None:
            continue
        kept = (folder.filesystem, *(known.filesystem for known in before if known.name == mount.name))
        stays = mount.filesystem.is_local or mount.filesystem in kept
        if mount.mapped_path == folder.mapped_path and stays:
            continue
        if not by.may(MANAGE):
            raise Denied(
                f"virtual_folders[{index}]: the folder {mount.name} lies elsewhere, and to move it you lack "
                f"the permission {MANAGE}",
                rule="permissions",
            )
        if by.role:
            await _require_own(provider, await _users_of(provider, mount.name), by)


async def _users_of(provider: Provider, name: str) -> list[str]:
    found = set(await provider.folder_users(name))
    for group in await provider.folder_groups(name):
        found.update(await provider.group_users(group))
    return sorted(found)


async def _require_own(provider: Provider, users: Sequence[str], by: Actor) -> None:
    if by.role and users and not set(await provider.role_users(by.role)).issuperset(users):
        raise Denied("accounts that are not of your role mount this folder", rule="role")
