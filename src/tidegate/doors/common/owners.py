# SPDX-License-Identifier: Apache-2.0
"""Names for owner ids, for longnames and users-groups-by-id@openssh.com.

A gateway's users are virtual, and the host's user database is none of their business: by default only the
account's own ids have a name, everything else is a number.
"""

from __future__ import annotations

import os
from typing import Protocol

from tidegate.model import Principal


class Names(Protocol):
    """Says what ids are called. Both methods answer from memory."""

    def user(self, uid: int) -> str | None:
        """Name of a user id, None if unknown."""
        ...

    def group(self, gid: int) -> str | None:
        """Name of a group id, None if unknown."""
        ...


class AccountNames:
    """Knows one account: files of its uid and gid, or of the server's own, belong to the account's name."""

    __slots__ = ("_gid", "_name", "_uid")

    def __init__(self, principal: Principal) -> None:
        account = principal.account
        name = "".join("_" if char.isspace() or not char.isprintable() else char for char in account.username)
        self._name = name
        self._uid = account.uid or os.geteuid()
        self._gid = account.gid or os.getegid()

    def user(self, uid: int) -> str | None:
        """Name of a user id."""
        return self._name if uid == self._uid else None

    def group(self, gid: int) -> str | None:
        """Name of a group id."""
        return self._name if gid == self._gid else None
