# SPDX-License-Identifier: Apache-2.0
"""Verbs that put a record's files on other storage: check the wish, hold who uses them, switch, release.

What moves the files (`tidegate.relocation`) calls these in that order. A held account (`Filters.hold`) logs
in nowhere; documents neither hold nor release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tidegate.accounts.actor import Actor
from tidegate.accounts.effective import effective
from tidegate.accounts.folders import MANAGE, Folders
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.users import CHANGE, Users
from tidegate.accounts.versions import encoded
from tidegate.errors import BadRecord, Conflict
from tidegate.model import Account, Folder, StorageConfig, StorageSpec
from tidegate.model.sealing import SealsSecrets
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.store.contract import Provider
from tidegate.store.documents import decode_account, decode_folder
from tidegate.store.sealing import seal_record

MoveKind = Literal["user", "folder"]
"""Records whose files can move."""
PERMISSIONS: Final[dict[MoveKind, str]] = {"user": CHANGE, "folder": MANAGE}
_FIELDS: Final[dict[MoveKind, str]] = {"user": "home_dir", "folder": "mapped_path"}


@dataclass(frozen=True, slots=True)
class Place:
    """The storage of a record as the record says it.

    Attributes:
        directory: `home_dir` or `mapped_path`.
        config: its `filesystem`; secrets are encrypted if there is a key.
    """

    directory: str
    config: StorageConfig


class StorageChanges:
    """Puts accounts and folders on other storage.

    Args:
        seals: encrypts secrets of what is wished, so that it can be noted before it is stored.
    """

    def __init__(  # noqa: PLR0917  the parts of the administration
        self,
        provider: Provider,
        options: AdministrationOptions,
        needs: Needs,
        users: Users,
        folders: Folders,
        seals: SealsSecrets,
    ) -> None:
        self._provider = provider
        self._options = options
        self._needs = needs
        self._users = users
        self._folders = folders
        self._seals = seals

    async def wanted(
        self, kind: MoveKind, name: str, document: dict[str, Any], *, by: Actor
    ) -> tuple[Account | Folder, Place]:
        """Check a wish for other storage as a change of the record would be; nothing is stored.

        Args:
            kind: of the record.
            name: of the record.
            document: ``filesystem``, and ``home_dir`` or ``mapped_path`` where that changes.
            by: who wishes it.

        Returns:
            the record as it is stored, and the place.

        Raises:
            BadRecord: names the field. Denied: they may not. NotFound: there is no such record.
        """
        self.require(kind, by)
        field = _FIELDS[kind]
        for key in document:
            if key not in ("filesystem", field):
                raise BadRecord(key, f"a move takes filesystem and {field} only")
        rules, giver = self._options.rules, self._options.giver(by)
        if kind == "user":
            account = await self._users.get(name)
            await self._require_own_home(account)
            wish = decode_account(
                {**encoded(account, confidential=True), **document}, base=account, rules=rules
            )
            await giver.check_account(self._provider, wish, account)
            wish = seal_record(wish, self._seals)
            return account, Place(wish.home_dir, wish.filesystem)
        folder = await self._folders.get(name)
        changed = decode_folder({**encoded(folder, confidential=True), **document}, base=folder, rules=rules)
        await giver.check_folder(changed, folder)
        changed = seal_record(changed, self._seals)
        return folder, Place(changed.mapped_path, changed.filesystem)

    async def _require_own_home(self, account: Account) -> None:
        """Return if an account lives where its own record says.

        Raises:
            BadRecord: a group says it, for all of its accounts.
        """
        resolved = await effective(self._provider, self._options.rules).resolved(account)
        for field in ("home_dir", "filesystem"):
            if groups := resolved.origins.get(field):
                raise BadRecord(field, f"comes from the group {groups[0]!r}: give the account its own first")

    def require(self, kind: MoveKind, by: Actor) -> None:
        """Return if they may put records of a kind on other storage.

        Raises:
            Denied: they may not.
        """
        by.require(PERMISSIONS[kind])

    def disconnect(self, username: str, *, by: Actor) -> None:
        """End every connection of an account."""
        self._needs.connections.close_user(username, by=by.name)

    async def users_of(self, kind: MoveKind, name: str) -> list[str]:
        """Stored accounts that use the storage of a record."""
        return [name] if kind == "user" else await self._folders.users_of(name)

    async def hold(self, names: Sequence[str], reason: str, *, by: Actor) -> None:
        """Let nobody log in to these accounts, and end their sessions."""
        for name in names:
            await self._set_hold(name, reason, by)
            self._needs.connections.close_user(name, by=by.name)

    async def release(self, names: Sequence[str], *, by: Actor) -> None:
        """Let people log in again."""
        for name in names:
            await self._set_hold(name, "", by)

    async def held(self, names: Sequence[str]) -> list[str]:
        """Those of these accounts that are held."""
        found = [(name, await self._provider.user(name)) for name in names]
        return [name for name, account in found if account is not None and account.filters.hold]

    async def switch(
        self, kind: MoveKind, name: str, before: Place, after: Place, *, hold: str, by: Actor
    ) -> None:
        """Put a record on other storage, in one change; an account is released by it.

        Args:
            before: what the record has to say now.
            after: what it says then.
            hold: of an account: what it has to be held by.

        Raises:
            Conflict: it says something else; nothing was changed.
        """

        async def of_account(stored: Account) -> Account:
            if Place(stored.home_dir, stored.filesystem) != before or stored.filters.hold != hold:
                raise Conflict(f"user {name} was changed while its files were moved")
            filters = replace(stored.filters, hold="")
            return replace(stored, home_dir=after.directory, filesystem=after.config, filters=filters)

        async def of_folder(stored: Folder) -> Folder:
            if Place(stored.mapped_path, stored.filesystem) != before:
                raise Conflict(f"folder {name} was changed while its files were moved")
            return replace(stored, mapped_path=after.directory, filesystem=after.config)

        if kind == "user":
            await self._users.exchange(name, of_account, by=by)
        else:
            await self._folders.exchange(name, of_folder, by=by)

    async def _set_hold(self, name: str, reason: str, by: Actor) -> None:
        async def make(stored: Account) -> Account:
            return replace(stored, filters=replace(stored.filters, hold=reason))

        await self._users.exchange(name, make, by=by)


def place_of(record: Account | Folder) -> Place:
    """The place that a record says."""
    if isinstance(record, Account):
        return Place(record.home_dir, record.filesystem)
    return Place(record.mapped_path, record.filesystem)


def spec_of(record: Account | Folder, place: Place | None = None) -> StorageSpec:
    """The storage of a record, at the place that it says or at another one."""
    if isinstance(record, Account):
        if place is not None:
            record = replace(record, home_dir=place.directory, filesystem=place.config)
        return storage_of(record)
    if place is not None:
        record = replace(record, mapped_path=place.directory, filesystem=place.config)
    return storage_of_folder(record)
