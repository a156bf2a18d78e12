# SPDX-License-Identifier: Apache-2.0
"""ProFTPD's virtual users: AuthUserFile and AuthGroupFile of mod_auth_file, as ftpasswd writes them."""

from __future__ import annotations

from typing import Final

from tidegate.errors import BadRecord
from tidegate.model import Account
from tidegate.store.imports.common import (
    ALL_PERMISSIONS,
    DEFAULT_RULES,
    Harvest,
    Rules,
    ids_of,
    number_of,
    records,
    with_password,
)

_USERS: Final = "name:hash:uid:gid:gecos:home:shell"
_GROUPS: Final = "name:password:gid:members"


def parse_proftpd(
    users: str,
    groups: str = "",
    *,
    users_name: str = "ftpd.passwd",
    groups_name: str = "ftpd.group",
    rules: Rules = DEFAULT_RULES,
) -> Harvest:
    """Accounts of an AuthUserFile; the AuthGroupFile, if given, tells which memberships get lost.

    Args:
        users: content of the user file.
        groups: content of the group file.
        users_name: name of the file in places of problems.
        groups_name: likewise.
        rules: what names are valid.
    """
    harvest = Harvest(source="proftpd")
    member_of: dict[str, list[str]] = {}
    for where, fields in records(groups, groups_name, 3, 4, harvest, form=_GROUPS):
        try:
            number_of(fields[2], "gid")
        except BadRecord as error:
            harvest.problem(where, str(error))
        for member in fields[3].split(",") if len(fields) > 3 else ():
            if member.strip():
                member_of.setdefault(member.strip(), []).append(fields[0])
    for where, fields in records(users, users_name, 6, 7, harvest, form=_USERS):
        name, password, uid_text, gid_text, gecos, home = fields[:6]
        says, notes = {"uid", "gid", "home_dir", "description"}, list[str]()
        try:
            uid, gid = ids_of(uid_text, gid_text)
            if not uid:
                raise BadRecord("uid", "0 is root: files of this user would belong to the system")
            account = Account(
                username=name,
                uid=uid,
                gid=gid,
                home_dir=home,
                description=gecos.strip(),
                permissions=dict(ALL_PERMISSIONS),
            )
            account = with_password(account, says, notes, password)
        except BadRecord as error:
            harvest.problem(where, str(error))
            continue
        if name in member_of:
            notes.append(f"was in the groups {', '.join(sorted(member_of[name]))}; files get the group {gid}")
        harvest.add(where, account, says, notes, rules)
    strangers = member_of.keys() - {one.account.username for one in harvest.accounts}
    if strangers and not harvest.problems:
        harvest.notes.append(f"{len(strangers)} members of groups are not in {users_name}")
    return harvest
