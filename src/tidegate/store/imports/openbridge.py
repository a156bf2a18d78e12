# SPDX-License-Identifier: Apache-2.0
"""Accounts of the Openbridge gateway: rows of its MySQL tables, turned into ours.

The tables are those of ProFTPD's mod_sql, mod_quotatab_sql, mod_sftp_sql and mod_wrap2_sql; see
`openbridge_access` for the last. `openbridge_tables` reads them from a server.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.model import TALLY_NAMES, Account, Filters, GroupUse, Tally, TallyLimits
from tidegate.model.group import Group, GroupSettings, Membership
from tidegate.store.group_documents import check_group
from tidegate.store.imports.common import ALL_PERMISSIONS, DEFAULT_RULES, Harvest, Rules, ids_of
from tidegate.store.imports.openbridge_access import AccessRules, check_access
from tidegate.store.validate import looks_hashed

Row = Mapping[str, Any]

_HEX_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}")
_MOST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OpenbridgeTables:
    """Rows by table, each a mapping from column to value as the database gave it.

    Attributes:
        quotalimit: keyed by the column `name`, or `userid` as older versions call it; likewise quotatally.
        missing: tables that do not exist and were taken for empty.
    """

    user: Sequence[Row] = ()
    salt: Sequence[Row] = ()
    userkey: Sequence[Row] = ()
    group: Sequence[Row] = ()
    quotalimit: Sequence[Row] = ()
    quotatally: Sequence[Row] = ()
    allow: Sequence[Row] = ()
    deny: Sequence[Row] = ()
    missing: Sequence[str] = field(default=())


def parse_openbridge(
    tables: OpenbridgeTables,
    *,
    parse_key: Callable[[str], str],
    closed_by_default: bool = False,
    shared_tallies: bool = False,
    rules: Rules = DEFAULT_RULES,
) -> Harvest:
    """Accounts of the tables.

    Args:
        tables: the rows.
        parse_key: turns a public key of any form into an OpenSSH line or raises `BadRecord`
            (`tidegate.accounts.keys.parse_public_key`).
        closed_by_default: the old server had ``builtin:all`` for a deny table: only `ftpd_allow` comes in.
        shared_tallies: members of a group count on its tally, as there, and have its limit of their own, for
            there are no groups here; else each has the limit alone, and rows of ftpd_group become groups.
        rules: what names are valid.
    """
    harvest = Harvest(source="openbridge")
    harvest.notes += [f"there is no table {name} that may be read" for name in tables.missing]
    access = check_access(tables.allow, tables.deny, closed_by_default=closed_by_default, harvest=harvest)
    salts = _by_name(tables.salt, "ftpd_salt", "salt", harvest)
    keys = _keys(tables.userkey, parse_key, harvest)
    quotas = _Quotas(tables, harvest, shared=shared_tallies)
    if not shared_tallies:
        quotas.make_groups(harvest)
    seen: set[str] = set()
    for index, row in enumerate(tables.user):
        if harvest.full:
            break
        where = f"ftpd_user[{index}]"
        name = _text(row, "userid")
        seen.add(name)
        says, notes = {"uid", "gid", "home_dir", "status"}, list[str]()
        try:
            account = _account(row, says, notes)
            account = _with_hash(account, _text(row, "passwd"), salts.get(name, ""), says, notes)
        except BadRecord as error:
            harvest.problem(where, str(error))
            continue
        if "ftpd_userkey" not in tables.missing:
            # No row is a statement too: the keys that came from there are revoked.
            account = replace(account, public_keys=tuple(dict.fromkeys(keys.get(name, ()))))
            says.add("public_keys")
        account = with_access(account, access, says)
        if not shared_tallies and "ftpd_group" not in tables.missing:
            account = replace(account, groups=tuple(quotas.groups_of(account)))
            says.add("groups")
        try:
            account = quotas.apply(account, says, notes)
        except BadRecord as error:
            harvest.problem(f"{where} {error.field}", error.what)
            continue
        harvest.add(where, account, says, notes, rules)
    for table, names in (
        ("ftpd_salt", salts.keys()),
        ("ftpd_userkey", keys.keys()),
        ("ftpd_group", quotas.members if not shared_tallies else set()),
    ):
        if strangers := names - seen:
            harvest.notes.append(f"{len(strangers)} names of {table} are not in ftpd_user")
    return harvest


def limit_of(tables: OpenbridgeTables, account: Account) -> tuple[str, str] | None:
    """Kind and name of the limit, and so of the tally, of an account of `parse_openbridge`; None without."""
    return _Quotas(tables, Harvest()).key_of(account)


def _account(row: Row, says: set[str], notes: list[str]) -> Account:
    uid, gid = ids_of(_text(row, "uid"), _text(row, "gid"))
    if not uid:
        raise BadRecord("uid", "0 is root: files of this user would belong to the system")
    status = _text(row, "status").lower()
    if status not in ("active", "inactive"):
        notes.append(f"status {status[:40]!r} is unknown: imported disabled")
    account = Account(
        username=_text(row, "userid"),
        status=1 if status == "active" else 0,
        uid=uid,
        gid=gid,
        home_dir=_text(row, "homedir"),
        permissions=dict(ALL_PERMISSIONS),
    )
    if subscription := _text(row, "subscriptionid"):
        account = replace(account, additional_info=subscription)
        says.add("additional_info")
    accessed = row.get("accessed")
    if isinstance(accessed, datetime) and _text(row, "count") not in ("", "0"):
        # Only for new accounts: an update of an existing one keeps its own last login.
        account = replace(account, last_login=int(accessed.replace(tzinfo=UTC).timestamp() * 1000))
    return account


def _with_hash(account: Account, stored: str, salt: str, says: set[str], notes: list[str]) -> Account:
    """The password: hex SHA-256 of salt and password, salt first; without a salt row, of the password."""
    if not stored:
        notes.append("has no password")
        says.add("password")  # one that was taken away there is taken away here
        return account
    if _HEX_SHA256.fullmatch(stored):
        if salt:
            stored = f"{{OPENBRIDGE-SHA256}}{salt}${stored.lower()}"
        else:
            notes.append("has no row in ftpd_salt: taken for an unsalted SHA-256")
            stored = f"{{SHA256}}{stored.lower()}"
    elif not looks_hashed(stored):
        raise BadRecord("passwd", "neither 64 hex digits nor a hash of a known kind")
    says.add("password")
    return replace(account, password=stored)


def with_access(account: Account, access: AccessRules, says: set[str]) -> Account:
    """The account with the networks that may come."""
    if not access.allowed_ip and not access.denied_ip:
        return account
    says.update(("filters.allowed_ip", "filters.denied_ip"))
    filters = replace(account.filters, allowed_ip=access.allowed_ip, denied_ip=access.denied_ip)
    return replace(account, filters=filters)


def _keys(rows: Sequence[Row], parse_key: Callable[[str], str], harvest: Harvest) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for index, row in enumerate(rows):
        try:
            line = parse_key(_text(row, "publickey"))
        except BadRecord as error:
            harvest.problem(f"ftpd_userkey[{index}] of {_text(row, 'userid')[:64]!r}", error.what)
            continue
        found.setdefault(_text(row, "userid"), []).append(line)
    return found


def _by_name(rows: Sequence[Row], table: str, column: str, harvest: Harvest) -> dict[str, str]:
    found: dict[str, str] = {}
    for index, row in enumerate(rows):
        name = _text(row, "userid")
        if name in found:
            harvest.problem(f"{table}[{index}]", f"user {name[:64]!r} has two rows")
        found[name] = _text(row, column)
    return found


class _Quotas:
    """Picks the one limit that applies to a user, as mod_quotatab looks it up.

    User, then primary group, then other groups, then ``all``. Limits of groups and of all are shared by
    their members there; an import gives each member the limit alone, and a note says so. It gives that of
    the primary group by the group; an account inherits no limit from other groups, so that is its own.
    """

    def __init__(self, tables: OpenbridgeTables, harvest: Harvest, *, shared: bool = False) -> None:
        self._shared = shared
        self._limits = _by_kind(tables.quotalimit, "ftpd_quotalimit", harvest)
        self._tallies = _by_kind(tables.quotatally, "ftpd_quotatally", harvest, lenient=True)
        self._group_of = {_text(row, "gid"): _text(row, "groupname") for row in tables.group}
        self._rows = {_text(row, "groupname"): index for index, row in enumerate(tables.group)}
        self._groups_of: dict[str, list[str]] = {}
        for row in tables.group:
            for member in dict.fromkeys(part.strip() for part in _text(row, "members").split(",")):
                if member:
                    self._groups_of.setdefault(member, []).append(_text(row, "groupname"))
        self._given: dict[str, TallyLimits] = {}
        if any(kind == "class" for kind, _ in self._limits):
            harvest.notes.append("limits of the type class are not kept: there are no connection classes")

    @property
    def members(self) -> set[str]:
        """Names that stand in the lists of groups."""
        return set(self._groups_of)

    def make_groups(self, harvest: Harvest) -> None:
        """Put a group for each name of `ftpd_group` into the harvest, with its limit."""
        gids = {name: gid for gid, name in self._group_of.items()}
        for name, index in self._rows.items():
            if harvest.full:
                return
            try:
                limits = self._limits_of(("group", name)) if ("group", name) in self._limits else None
                settings = GroupSettings(filters=Filters(tally_limits=limits, imported_from=harvest.source))
                about = f"group {gids.get(name, '')} of the Openbridge gateway".replace("  ", " ")
                harvest.groups.append(
                    check_group(Group(name=_folded(name), description=about, user_settings=settings))
                )
            except BadRecord as error:
                harvest.problem(f"ftpd_group[{index}]", str(error))
                continue
            if limits is not None:
                self._given[name] = limits

    def groups_of(self, account: Account) -> Iterable[GroupUse]:
        """The primary group by its number, and then those that list the account."""
        primary = self._group_of.get(str(account.gid))
        if primary:
            yield GroupUse(name=_folded(primary), type=Membership.PRIMARY)
        for name in dict.fromkeys(self._groups_of.get(account.username, ())):
            if name != primary:
                yield GroupUse(name=_folded(name), type=Membership.SECONDARY)

    def _limits_of(self, key: tuple[str, str]) -> TallyLimits:
        limit, place = self._limits[key], f"ftpd_quotalimit[{key[1]}]"
        limit_type = _text(limit, "limit_type").lower()
        if limit_type not in ("soft", "hard"):
            raise BadRecord(place, f"limit_type {limit_type[:40]!r} is neither soft nor hard")
        return TallyLimits(
            limit_type=limit_type,
            per_session=_flag(limit, "per_session", place),
            **{counter: _count(limit, f"{counter}_avail", place) for counter in TALLY_NAMES},
        )

    def apply(self, account: Account, says: set[str], notes: list[str]) -> Account:
        """The account with its limit and what it has used of it."""
        found = self.key_of(account)
        if found is None:
            return account
        kind, name = found
        limits = self._limits_of(found)
        tally = self._tallies.get(found if self._shared else ("user", account.username), {})
        inherited = kind == "group" and name in self._given and name == self._group_of.get(str(account.gid))
        if kind != "user" and not self._shared:
            notes.append(
                f"the limit of {kind} {name!r} was shared; here this user has it alone".replace(" ''", "")
            )
        says.add("filters.tally_limits")
        filters: Filters = replace(account.filters, tally_limits=None if inherited else limits)
        account = replace(account, filters=filters)
        if limits.per_session or not tally:
            return account
        place = f"ftpd_quotatally[{name if self._shared else account.username}]"
        used = Tally(**{counter: _count(tally, f"{counter}_used", place) for counter in TALLY_NAMES})
        return replace(account, tally=used)

    def key_of(self, account: Account) -> tuple[str, str] | None:
        """Kind and name of the limit that applies; None if none does."""
        return next((key for key in self._candidates(account) if key in self._limits), None)

    def _candidates(self, account: Account) -> Iterable[tuple[str, str]]:
        yield "user", account.username
        primary = self._group_of.get(str(account.gid))
        if primary:
            yield "group", primary
        for group in self._groups_of.get(account.username, ()):
            if group != primary:
                yield "group", group
        yield "all", ""


def _by_kind(
    rows: Sequence[Row], table: str, harvest: Harvest, *, lenient: bool = False
) -> dict[tuple[str, str], Row]:
    found: dict[tuple[str, str], Row] = {}
    for index, row in enumerate(rows):
        kind = _text(row, "quota_type").lower() or "user"
        name = _text(row, "name") or _text(row, "userid")
        key = (kind, "" if kind == "all" else name)
        if kind not in ("user", "group", "class", "all"):
            harvest.problem(f"{table}[{index}]", f"quota_type {kind[:40]!r} is not user, group, class or all")
        elif key in found and not lenient:
            harvest.problem(f"{table}[{index}]", f"{kind} {name[:64]!r} has two rows")
        else:
            found.setdefault(key, row)
    return found


def _count(row: Row, column: str, place: str) -> int:
    """A counter; the columns are often FLOAT and may be negative, which means 0 (no limit, or none used)."""
    value = row.get(column)
    try:
        number = int(float(value)) if value is not None and value != "" else 0
        whole = isinstance(value, Decimal | int) or (isinstance(value, str) and value.lstrip("-").isdigit())
        exact = int(value) if whole and value is not None else number
    except (ValueError, OverflowError, TypeError):
        raise BadRecord(place, f"{column} {str(value)[:40]!r} is not a number") from None
    if exact > _MOST:
        raise BadRecord(place, f"{column} is larger than {_MOST}")
    return max(0, exact)


def _folded(name: str) -> str:
    """The name of a group as it is here."""
    return unicodedata.normalize("NFC", name)


def _flag(row: Row, column: str, place: str) -> bool:
    value = _text(row, column).lower()
    if value not in ("true", "false", "1", "0"):
        raise BadRecord(place, f"{column} {value[:40]!r} is neither true nor false")
    return value in ("true", "1")


def _text(row: Row, column: str) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
