# SPDX-License-Identifier: Apache-2.0
"""Groups of administrators: those that the page for a new account begins with.

They say nothing about the administrator. REST, commands and hooks do not look at them, as in SFTPGo. They
lie among what is kept beside the fields of a record, as dumps have them.
"""

from __future__ import annotations

from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.model import Admin, GroupUse
from tidegate.model.group import Membership
from tidegate.store import secrecy

_KEY: Final = "groups"
_KINDS: Final = {0: Membership.MEMBERSHIP, 1: Membership.PRIMARY, 2: Membership.SECONDARY}
"""Kind of the group in the new account by ``options.add_to_users_as``; 0 if that is not given."""
MAX_GROUPS: Final = 100
"""Groups of one administrator."""


def groups_for_new_users(admin: Admin) -> tuple[GroupUse, ...]:
    """The groups that accounts made by an administrator begin with; none if they cannot be told."""
    kept = admin.filters.extra.get(secrecy.OUTER)
    try:
        return read_groups(kept.get(_KEY) if isinstance(kept, dict) else None)
    except BadRecord:  # of a dump or an earlier version, which did not look
        return ()


def read_groups(value: object, where: str = "") -> tuple[GroupUse, ...]:
    """The groups of a document.

    Raises:
        BadRecord: they are not of the form ``[{"name": NAME, "options": {"add_to_users_as": 0, 1 or 2}}]``,
            or there are too many.
    """
    field = f"{where}{_KEY}"
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_GROUPS:
        raise BadRecord(field, f"should be a list of at most {MAX_GROUPS} groups")
    found: list[GroupUse] = []
    for index, item in enumerate(value):
        given: dict[str, Any] = item if isinstance(item, dict) else {}
        name, options = given.get("name"), given.get("options") or {}
        if not isinstance(name, str) or not name:
            raise BadRecord(f"{field}[{index}].name", "should be the name of a group")
        kind = options.get("add_to_users_as", 0) if isinstance(options, dict) else None
        if isinstance(kind, bool) or not isinstance(kind, int) or kind not in _KINDS:
            raise BadRecord(f"{field}[{index}].options.add_to_users_as", "should be 0, 1 or 2")
        found.append(GroupUse(name=name, type=int(_KINDS[kind])))
    return tuple(found)
