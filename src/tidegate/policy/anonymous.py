# SPDX-License-Identifier: Apache-2.0
"""Accounts that need no password: where they come in, and what they may do there (docs/adr/0088).

They come in by FTP and WebDAV, with any password or an empty one, and list and download at most: whatever
else their permissions, or those of their groups, name does not count. It is SFTPGo's ``is_anonymous``.
"""

from __future__ import annotations

from typing import Final

from tidegate.model import Account, Permission

DOORS: Final = frozenset(("FTP", "DAV"))
"""Words of `denied_protocols` for the doors that take any password of such an account."""
READS: Final = frozenset((Permission.LIST, Permission.DOWNLOAD))
"""The permissions that such an account may have."""
WHERE: Final = "filters.is_anonymous"
HINT: Final = "take is_anonymous away, and give the account a password"


def takes_any_password(account: Account, family: str) -> bool:
    """True if a password of the account is not verified.

    Args:
        account: with what its groups give.
        family: of the door: SSH, FTP, DAV or HTTP.
    """
    return account.filters.is_anonymous and family in DOORS
