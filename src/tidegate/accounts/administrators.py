# SPDX-License-Identifier: Apache-2.0
"""One enabled administrator with all permissions remains, whatever is removed, changed or loaded.

Such a one is called an owner here. The rules compare all administrators before and after a change; the data
provider asks them inside the transaction, as `AdminsGuard` of `store.contract` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tidegate.errors import BadRecord, InvalidArgument
from tidegate.model import Admin

EVERYTHING: Final = "*"
ENABLED: Final = 1


def is_owner(admin: Admin) -> bool:
    """True if they may do everything, and are enabled."""
    return admin.status == ENABLED and EVERYTHING in admin.permissions


def check_owner_remains(before: Iterable[Admin], after: Iterable[Admin]) -> None:
    """Return if an owner remains after the change or removal of one administrator, or there was none.

    Raises:
        InvalidArgument: the server could not be managed any more.
    """
    name = _lost(before, after)
    if name is not None:
        raise InvalidArgument(
            f"{name} is the last enabled administrator with all permissions; add another one first"
        )


def check_load_keeps_owner(before: Iterable[Admin], after: Iterable[Admin]) -> None:
    """Return if an owner remains after a load of many records, or there was none.

    Raises:
        BadRecord: the server could not be managed any more.
    """
    if _lost(before, after) is not None:
        raise BadRecord("admins", "no enabled administrator with all permissions would remain")


def _lost(before: Iterable[Admin], after: Iterable[Admin]) -> str | None:
    """The name of an owner before, if there is none after."""
    name = next((admin.username for admin in before if is_owner(admin)), None)
    return None if any(map(is_owner, after)) else name
