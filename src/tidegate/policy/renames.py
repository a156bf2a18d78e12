# SPDX-License-Identifier: Apache-2.0
"""RENAME onto a name that exists: refused, as the draft says, or replaced, as rename(2) does.

The account decides; where it says nothing, the binding that the client came by, then ``sftpd.rename_onto``.
posix-rename@openssh.com always replaces. The server and `explain` ask this very code.
"""

from __future__ import annotations

from typing import Final

from tidegate.model import Account
from tidegate.policy.decision import Step

REFUSE: Final = "refuse"
REPLACE: Final = "replace"
RENAME_ONTO: Final = ("", REFUSE, REPLACE)
"""The values that may be set; empty leaves it to the next that decides."""

_WHERE: Final = "filters.rename_onto"


def replaces(account: Account, *settings: str) -> bool:
    """True if RENAME replaces what has the new name.

    Args:
        account: whose session.
        settings: of the server, the nearest first.
    """
    return next(filter(None, (account.filters.rename_onto, *settings)), REFUSE) == REPLACE


def onto_step(account: Account, *settings: str) -> Step:
    """The same as a step for `explain`."""
    setting = account.filters.rename_onto
    whose = "the account" if setting else "the server"
    where = _WHERE if setting else "sftpd.rename_onto"
    if replaces(account, *settings):
        return Step("rename_onto", "pass", f"{whose} lets RENAME replace what has the new name", where)
    return Step(
        "rename_onto",
        "deny",
        f"the new name exists, and {whose} lets no RENAME replace it",
        where,
        f"set {_WHERE} to {REPLACE}, or let the client use posix-rename@openssh.com",
    )
