# SPDX-License-Identifier: Apache-2.0
"""The author of a change of a record, and the way it came."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import Denied, NotFound
from tidegate.model import Account
from tidegate.model.origin import Origin


class Channel(StrEnum):
    """The way by which a change comes."""

    REST = "rest"
    CLI = "cli"
    IMPORT = "import"
    QUICKSTART = "quickstart"
    ENVIRONMENT = "environment"
    """Of the first administrator."""
    HOOK = "hook"
    PAGE = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Somebody who changes records, proved.

    Attributes:
        name: for events and logs.
        channel: the way.
        permissions: what they may do; `EVERYTHING` allows all.
        ip: address that they come from; empty for a shell on the server.
        admin: name of the administrator's record that they are; empty for anybody else.
        by_key: they act by an API key.
        role: they may see and change only accounts that have it; empty for all.
    """

    name: str
    channel: Channel
    permissions: frozenset[str]
    ip: str = ""
    admin: str = ""
    by_key: bool = False
    role: str = ""

    @property
    def unlimited(self) -> bool:
        """True if they may do everything."""
        return EVERYTHING in self.permissions

    @property
    def of_themselves(self) -> bool:
        """True for a user who may change nothing but parts of their own record."""
        return not self.permissions

    @property
    def origin(self) -> Origin:
        """The origin of events about what they do."""
        return Origin(username=self.name, ip=self.ip)

    def may(self, permission: str) -> bool:
        """True if they have a permission."""
        return self.unlimited or permission in self.permissions

    def require_reach(self, account: Account) -> None:
        """Return if an account is one that they may see.

        Raises:
            NotFound: it has not their role; they are told that there is none.
        """
        if self.role and account.role != self.role:
            raise NotFound(f"no such user: {account.username}")

    def require(self, permission: str) -> None:
        """Return if they have a permission.

        Raises:
            Denied: they lack it.
        """
        if not self.may(permission):
            raise Denied(f"you lack the permission {permission}", rule="permissions")


_ALL: Final = frozenset((EVERYTHING,))


def operator(name: str, channel: Channel) -> Actor:
    """Whoever runs a command on the server itself: they could write the database by hand."""
    return Actor(name=name, channel=channel, permissions=_ALL)
