# SPDX-License-Identifier: Apache-2.0
"""The one administration service.

A further kind of record is one module beside `users`, with a `Records` of its own, and
one attribute here; what it needs of the store stands in `store.contract`.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from tidegate.accounts.admins import Admins
from tidegate.accounts.api_keys import ApiKeys
from tidegate.accounts.effective import Effective, effective
from tidegate.accounts.folders import Folders
from tidegate.accounts.loads import Loads
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.storage_changes import StorageChanges
from tidegate.accounts.users import Users
from tidegate.model.sealing import NO_SEALING, SealsSecrets
from tidegate.store.contract import Provider

if TYPE_CHECKING:
    from tidegate.accounts.bulk import Bulk
    from tidegate.accounts.event_rules import EventActions, EventRules
    from tidegate.accounts.groups import Groups
    from tidegate.accounts.lists import Lists
    from tidegate.accounts.roles import Roles


class Administration:
    """Verbs on every kind of record, for whoever changes records: doors, commands, hooks.

    Attributes:
        users: accounts.
        folders: folders.
        admins: administrators.
        api_keys: API keys.
        loads: what follows from dumps and imports.
        storage: puts accounts and folders on other storage.
    """

    def __init__(
        self,
        provider: Provider,
        options: AdministrationOptions,
        needs: Needs,
        seals: SealsSecrets = NO_SEALING,
    ) -> None:
        self.options: Final = options
        self.users: Final = Users(provider, options, needs)
        self.folders: Final = Folders(provider, options, needs)
        self.admins: Final = Admins(provider, options, needs)
        self.api_keys: Final = ApiKeys(provider, options, needs)
        self.loads: Final = Loads(provider, needs)
        self.storage: Final = StorageChanges(provider, options, needs, self.users, self.folders, seals)
        self._provider: Final = provider
        self._needs: Final = needs

    @property
    def effective(self) -> Effective:
        """Accounts with what their groups give."""
        return effective(self._provider, self.options.rules)

    @cached_property
    def bulk(self) -> Bulk:
        """Many users at once; loaded when somebody asks."""
        from tidegate.accounts.bulk import Bulk

        return Bulk(self._provider, self.users, self.loads)

    @cached_property
    def groups(self) -> Groups:
        """Groups; loaded when somebody asks."""
        from tidegate.accounts.groups import Groups

        return Groups(self._provider, self.options, self._needs)

    @cached_property
    def roles(self) -> Roles:
        """Roles; loaded when somebody asks."""
        from tidegate.accounts.roles import Roles

        return Roles(self._provider, self.options, self._needs)

    @cached_property
    def event_actions(self) -> EventActions:
        """Event actions; loaded when somebody asks."""
        from tidegate.accounts.event_rules import EventActions

        return EventActions(self._provider, self.options, self._needs)

    @cached_property
    def event_rules(self) -> EventRules:
        """Event rules; loaded when somebody asks."""
        from tidegate.accounts.event_rules import EventRules

        return EventRules(self._provider, self.options, self._needs)

    @cached_property
    def lists(self) -> Lists:
        """Lists of addresses, and bans; loaded when somebody asks."""
        from tidegate.accounts.lists import Lists

        return Lists(self._provider, self.options, self._needs)
