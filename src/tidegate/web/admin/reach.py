# SPDX-License-Identifier: Apache-2.0
"""The accounts and folders that an administrator may act on; those without a role may act on all."""

from __future__ import annotations

from tidegate.errors import Denied, NotFound
from tidegate.model import Account
from tidegate.web.admin.visit import Visit


async def require_user(visit: Visit, name: str) -> Account:
    """An account that the administrator may act on.

    Raises:
        NotFound: there is none of this name, or it is not of their role.
    """
    account = await visit.services.provider.user(name)
    if account is None:
        raise NotFound(f"no such user: {name}")
    visit.actor.require_reach(account)
    return account


async def require_folder(visit: Visit, name: str) -> None:
    """Return if the administrator may act on a folder, whether it is there or not.

    Raises:
        Denied: accounts that are not of their role mount it.
    """
    own = await visit.own_users()
    if own is not None:
        users = await visit.services.administration.folders.users_of(name)
        if not own.issuperset(users):
            raise Denied("accounts that are not of your role mount this folder", rule="role")
