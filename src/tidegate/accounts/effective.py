# SPDX-License-Identifier: Apache-2.0
"""Accounts as they act: what is stored, with what their groups give.

Whoever lets somebody in, or says what they may do, asks here; whoever changes a record takes it as it is
stored, so that nothing inherited becomes the account's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

from tidegate.accounts.directories import never_given
from tidegate.accounts.rules import Rules
from tidegate.model import Account
from tidegate.model.group import Group
from tidegate.policy.groups import Resolved, applied, resolve


class GroupReader(Protocol):
    """A data provider, as far as this module asks it."""

    async def user(self, username: str) -> Account | None:
        """One account as it is stored."""
        ...

    async def groups_named(self, names: Sequence[str]) -> list[Group]:
        """Those of the groups that exist."""
        ...


class Effective:
    """Resolves groups of accounts.

    Args:
        provider: has the groups; asked once for each account that has some.
        home_refused: see `tidegate.policy.groups.resolve`.
    """

    def __init__(
        self, provider: GroupReader, home_refused: Callable[[str], str | None] | None = None
    ) -> None:
        self._provider: Final = provider
        self._home_refused: Final = home_refused

    async def user(self, username: str) -> Account | None:
        """A stored account with what its groups give.

        Raises:
            BadRecord: they cannot be resolved.
            ProviderUnavailable: the provider cannot be asked.
        """
        account = await self._provider.user(username)
        return None if account is None else await self.of(account)

    async def of(self, account: Account) -> Account:
        """An account with what its groups give.

        Raises:
            BadRecord, ProviderUnavailable: as `user`.
        """
        return (await self.resolved(account)).account if account.groups else account

    async def resolved(self, account: Account) -> Resolved:
        """The same, with the group that each value comes from.

        Raises:
            BadRecord, ProviderUnavailable: as `user`.
        """
        uses = applied(account)
        if not uses:
            return resolve(account, {}, home_refused=self._home_refused)
        groups = await self._provider.groups_named([use.name for use in uses])
        return resolve(account, {group.name: group for group in groups}, home_refused=self._home_refused)


def effective(provider: GroupReader, rules: Rules) -> Effective:
    """`Effective` with the rules on homes of the server."""
    if not rules.server_dir:
        return Effective(provider)
    return Effective(provider, partial(never_given, base=rules.users_base_dir, server_dir=rules.server_dir))
