# SPDX-License-Identifier: Apache-2.0
"""Unix accounts: passwd(5) and shadow(5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tidegate.errors import BadRecord
from tidegate.model import Account
from tidegate.store.imports.common import (
    ALL_PERMISSIONS,
    DAY_MS,
    DEFAULT_RULES,
    Harvest,
    Rules,
    ids_of,
    number_of,
    records,
    with_password,
)

LEAST_UID: Final = 1000
MOST_UID: Final = 60_000
"""UID_MIN and UID_MAX of login.defs(5): people, not services."""

_PASSWD: Final = "name:password:uid:gid:gecos:home:shell"  # noqa: S105  the form of a line
_SHADOW: Final = "name:password:changed:min:max:warn:inactive:expires:reserved"
_MOST_DAYS: Final = 10_000_000
_NO_AGE: Final = 99_999
"""The value that useradd writes for a password that never ages."""


def parse_unix(
    passwd: str,
    shadow: str = "",
    *,
    least_uid: int = LEAST_UID,
    most_uid: int = MOST_UID,
    passwd_name: str = "passwd",  # noqa: S107  a file's name
    shadow_name: str = "shadow",
    rules: Rules = DEFAULT_RULES,
) -> Harvest:
    """Accounts of a passwd file and, if given, its shadow file.

    Args:
        passwd: content of the passwd file.
        shadow: content of the shadow file.
        least_uid: users with a smaller id are left out.
        most_uid: users with a larger id are left out; root (0) always is.
        passwd_name: name of the file in places of problems.
        shadow_name: likewise.
        rules: what names are valid.
    """
    harvest = Harvest(source="unix")
    hidden: dict[str, tuple[str, list[str]]] = {}
    for where, fields in records(shadow, shadow_name, 8, 9, harvest, form=_SHADOW):
        if fields[0] in hidden:
            harvest.problem(where, f"user {fields[0]!r} stands in {hidden[fields[0]][0]} already")
        hidden[fields[0]] = (where, fields)
    for where, fields in records(passwd, passwd_name, 7, 7, harvest, form=_PASSWD):
        name, password, uid_text, gid_text, gecos, home, _ = fields
        hidden_at, line = hidden.pop(name, (where, None))
        place = where
        try:
            uid, gid = ids_of(uid_text, gid_text)
            if uid == 0 or not least_uid <= uid <= most_uid:
                harvest.skipped += 1
                continue
            account = Account(
                username=name,
                uid=uid,
                gid=gid,
                home_dir=home,
                description=gecos.split(",", 1)[0].strip(),
                permissions=dict(ALL_PERMISSIONS),
            )
            says, notes = {"uid", "gid", "home_dir", "description"}, list[str]()
            if line is not None:
                place = hidden_at
                account = with_password(account, says, notes, line[1])
                account = _with_ages(account, says, line)
            elif password == "x" and shadow:  # noqa: S105  passwd(5): the hash is in shadow
                notes.append(f"is not in {shadow_name}: has no password")
            else:
                account = with_password(account, says, notes, password)
        except BadRecord as error:
            harvest.problem(place, str(error))
            continue
        harvest.add(where, account, says, notes, rules)
    if hidden:
        harvest.notes.append(f"{len(hidden)} users of {shadow_name} are not in {passwd_name}")
    return harvest


def _with_ages(account: Account, says: set[str], line: list[str]) -> Account:
    """Expiry of the account and ageing of its password, both in days since 1970 (shadow(5))."""
    expires = line[7]
    if expires:
        # From this day on the account is closed. 0 is ambiguous in shadow(5): closed is the safe reading.
        closed = number_of(expires, "expires", most=_MOST_DAYS) * DAY_MS
        account = replace(account, expiration_date=max(1, closed - 1))
        says.add("expiration_date")
    if line[2] == "0":
        account = replace(account, filters=replace(account.filters, require_password_change=True))
        says.add("filters.require_password_change")
    elif line[2]:
        changed = number_of(line[2], "changed", most=_MOST_DAYS)
        account = replace(account, last_password_change=changed * DAY_MS)
        says.add("last_password_change")
        # Without a day of the last change there is no ageing.
        if line[4] and (most := number_of(line[4], "max", most=_MOST_DAYS)) < _NO_AGE:
            account = replace(account, filters=replace(account.filters, password_expiration=max(1, most)))
            says.add("filters.password_expiration")
    return account
