# SPDX-License-Identifier: Apache-2.0
"""Plans the changes of an import, and has the administration make all of them, or none."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import Any, Final, Literal, TypeVar

from tidegate.accounts.actor import Actor
from tidegate.accounts.loads import Loads
from tidegate.errors import BadRecord, Outdated
from tidegate.model import Account, GroupUse, StorageConfig, TallyLimits
from tidegate.model.group import Group, GroupSettings, Membership
from tidegate.store.contract import LoadReport, Provider, Record, Snapshot
from tidegate.store.imports.common import Harvest, Imported
from tidegate.store.storages import shown_storage
from tidegate.store.streams import batches_of

Action = Literal["add", "update", "keep", "gone", "disable"]

ADD_ONLY: Final = 1
"""The mode of `Provider.load` that leaves existing accounts alone."""

MAX_TRIES: Final = 8
"""The most times that an import is planned while accounts change under it."""

_PAGE: Final = 1_000
"""Groups read at a time."""

R = TypeVar("R", Account, GroupSettings)

_MARK: Final = "imported:"
"""In the comment of a key that an import brought."""


@dataclass(frozen=True, slots=True)
class Change:
    """One field that would change, with values fit to be shown (never a hash or a key)."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """The planned change of one account or group.

    Attributes:
        name: the user, or the group.
        action: ``add``, ``update`` or ``keep``; of an account that an earlier import of this source made
            and that is no longer there: ``gone`` (nothing is done) or ``disable``.
        changes: for ``add`` what differs from a bare account, for ``update`` and ``disable`` what changes.
        notes: what the source says and is not kept.
        where: place in the source.
        record: what would be stored; the stored one for ``keep``.
        kind: ``user`` or ``group``; groups come first.
    """

    name: str
    action: Action
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    where: str
    record: Account | Group
    kind: Literal["user", "group"] = "user"


HowMany = Callable[[int], None]
"""Told how many more accounts are done."""


def _unheard(_: int) -> None:
    return


async def plan_import(
    provider: Provider,
    accounts: Sequence[Imported],
    mode: int = 0,
    *,
    groups: Sequence[Group] = (),
    keep_passwords: bool = False,
    source: str = "",
    complete: bool = True,
    disable_missing: bool = False,
    how_far: HowMany = _unheard,
) -> list[PlanRow]:
    """Compare a harvest with what is stored.

    Args:
        provider: where it would go.
        accounts: of a `Harvest`.
        mode: 0 adds and updates, 1 only adds.
        groups: of the `Harvest`.
        keep_passwords: leave the password of existing users who have one. Without it a second import
            puts back hashes that logins have upgraded, and passwords that users have changed.
        source: of the `Harvest`; accounts remember it.
        complete: the source was read without mistakes, so accounts that came from there and are not in
            `accounts` are gone there, and told.
        disable_missing: disable those.
        how_far: told of each account that was looked at.

    Raises:
        BadRecord: a group of the source has the name of one that did not come from there.
    """
    rows, ours = list[PlanRow](), set[str]()
    if groups or any("groups" in item.says for item in accounts):
        rows, ours = await _plan_groups(provider, groups, mode, source, complete=complete)
    limits = {group.name: group.user_settings.filters.tally_limits for group in groups}
    names = {item.account.username for item in accounts}
    known: dict[str, Account] = {}
    async for account in provider.iter_users(fresh=True):
        how_far(1)
        if account.username in names or (source and account.filters.imported_from == source):
            known[account.username] = account
    for item in accounts:
        if source:
            item = replace(
                item,
                account=_marked(item.account, source),
                says=item.says | {"filters.imported_from"},
            )
        stored = known.pop(item.account.username, None)
        if stored is None:
            bare = Account(username=item.account.username)
            changes = differences(bare, item.account)
            rows.append(PlanRow(item.account.username, "add", changes, item.notes, item.where, item.account))
            continue
        if mode == ADD_ONLY:
            merged = stored
        else:
            merged = _with_groups(
                merge(stored, item, keep_passwords=keep_passwords), stored, item, ours, limits
            )
        changes = differences(stored, merged)
        action: Action = "update" if changes else "keep"
        rows.append(PlanRow(stored.username, action, changes, item.notes, item.where, merged))
    for account in known.values():
        if complete and source and account.filters.imported_from == source and account.status:
            off = replace(account, status=0) if disable_missing else account
            action = "disable" if disable_missing else "gone"
            rows.append(PlanRow(account.username, action, differences(account, off), (), source, off))
    return rows


async def _plan_groups(
    provider: Provider, groups: Sequence[Group], mode: int, source: str, *, complete: bool
) -> tuple[list[PlanRow], set[str]]:
    """The rows of the groups, and the names of all that are or were of this source."""
    known: dict[str, Group] = {}
    while page := await provider.groups(offset=len(known), limit=_PAGE):
        known |= {group.name: group for group in page}
    came = {name for name, group in known.items() if group.user_settings.filters.imported_from == source}
    rows = []
    for group in groups:
        stored = known.get(group.name)
        if stored is None:
            changes = differences(GroupSettings(), group.user_settings)
            rows.append(PlanRow(group.name, "add", changes, (), source, group, "group"))
            continue
        if group.name not in came:
            raise BadRecord(
                "groups",
                f"{group.name!r} is a group here that did not come from {source}: give it another name",
            )
        before = stored.user_settings
        limits = before.filters.tally_limits if mode == ADD_ONLY else group.user_settings.filters.tally_limits
        after = replace(before, filters=replace(before.filters, tally_limits=limits))
        changes = differences(before, after)
        action: Action = "update" if changes else "keep"
        rows.append(
            PlanRow(group.name, action, changes, (), source, replace(stored, user_settings=after), "group")
        )
    names = {group.name for group in groups}
    if complete:
        rows += [PlanRow(name, "gone", (), (), source, known[name], "group") for name in sorted(came - names)]
    return rows, names | came


def _with_groups(
    merged: Account,
    stored: Account,
    item: Imported,
    ours: set[str],
    limits: Mapping[str, TallyLimits | None],
) -> Account:
    """The account with the groups of the source and those that were given here.

    A primary group that was given here stays; that of the source is a secondary one then, and as that gives
    no limit, the account has the limit itself.
    """
    if "groups" not in item.says:
        return merged
    kept = tuple(use for use in stored.groups if use.name not in ours)
    found = item.account.groups
    first = next((use.name for use in found if use.type == Membership.PRIMARY), "")
    if first and any(use.type == Membership.PRIMARY for use in kept):
        found = tuple(GroupUse(name=use.name, type=Membership.SECONDARY) for use in found)
        if "filters.tally_limits" in item.says and merged.filters.tally_limits is None:
            merged = replace(merged, filters=replace(merged.filters, tally_limits=limits.get(first)))
    return replace(merged, groups=(*kept, *found))


def _marked(account: Account, source: str) -> Account:
    """The account with its origin, and the origin of its keys in their comments."""
    if not source:
        return account
    keys = tuple(f"{key} {_MARK}{source}" for key in account.public_keys)
    return replace(account, public_keys=keys, filters=replace(account.filters, imported_from=source))


def _merged_keys(stored: Sequence[str], found: Sequence[str]) -> tuple[str, ...]:
    """The keys of the source, and those that were given here; keys of an earlier import go.

    A key that both have keeps its line, so that a second import changes nothing.
    """
    blobs = {key.split()[1] for key in found}
    ours = [key for key in stored if _MARK not in key or key.split()[1] in blobs]
    there = {key.split()[1] for key in ours}
    return (*ours, *(key for key in found if key.split()[1] not in there))


async def apply_import(
    provider: Provider,
    loads: Loads,
    harvest: Harvest,
    mode: int = 0,
    *,
    by: Actor,
    keep_passwords: bool = False,
    skip_problems: bool = False,
    disable_missing: bool = False,
    how_far: HowMany = _unheard,
) -> tuple[list[PlanRow], LoadReport]:
    """Store a harvest in one transaction.

    An account that somebody changes between the plan and the transaction makes a new plan, `MAX_TRIES` times.

    Args:
        provider: what is stored.
        loads: the administration of it.
        harvest: what a source holds.
        mode: 0 adds and updates, 1 only adds.
        by: who imports.
        keep_passwords: see `plan_import`.
        skip_problems: store the good records of a source that has bad ones too; who is missing then is
            not known.
        disable_missing: see `plan_import`.
        how_far: told how many more accounts were looked at, or are being stored.

    Returns:
        the plan as it was carried out, and the provider's report.

    Raises:
        BadRecord: the harvest has problems (the first is named), or the provider refused a record; nothing
            was changed.
        Outdated: accounts keep changing; nothing was changed.
    """
    if harvest.problems and not skip_problems:
        first, more = harvest.problems[0], len(harvest.problems) - 1
        raise BadRecord(first.field, f"{first.what} (and {more} more problems)" if more else first.what)
    tries = MAX_TRIES
    while True:
        rows = await plan_import(
            provider,
            harvest.accounts,
            mode,
            groups=harvest.groups,
            keep_passwords=keep_passwords,
            source=harvest.source,
            complete=not harvest.problems,
            disable_missing=disable_missing,
            how_far=how_far,
        )
        changed = [row for row in rows if row.action in ("add", "update", "disable")]
        users = [row for row in changed if row.kind == "user"]
        fields = {row.name: tuple(change.field for change in row.changes) for row in users}
        batches = _batches([row.record for row in changed], how_far)
        try:
            return rows, await loads.store(batches, by=by, mode=mode, merged=True, fields=fields)
        except Outdated:
            tries -= 1
            if not tries:
                raise


async def _batches(records: Sequence[Account | Group], how_far: HowMany) -> AsyncIterator[Sequence[Record]]:
    users = [record for record in records if isinstance(record, Account)]
    groups = [record for record in records if isinstance(record, Group)]
    async for batch in batches_of(Snapshot(users=users, groups=groups)):
        yield batch
        how_far(len(batch))


def merge(stored: Account, item: Imported, *, keep_passwords: bool = False) -> Account:
    """The stored account with those fields replaced that the source determines."""
    says = (
        item.says - {"password", "last_password_change"} if keep_passwords and stored.password else item.says
    )
    values: dict[str, Any] = {
        name: getattr(item.account, name) for name in says if not name.startswith("filters.")
    }
    inner = {
        name: getattr(item.account.filters, name)
        for name in (full.removeprefix("filters.") for full in says if full.startswith("filters."))
    }
    if "public_keys" in values:
        values["public_keys"] = _merged_keys(stored.public_keys, item.account.public_keys)
    if inner:
        values["filters"] = replace(stored.filters, **inner)
    return replace(stored, **values)


def differences(before: R, after: R) -> tuple[Change, ...]:
    """Fields that differ, in the order of the record, fit to be shown."""
    found = [
        Change(name, _shown(name, getattr(before, name)), _shown(name, getattr(after, name)))
        for name in _names(before)
        if name != "filters" and getattr(before, name) != getattr(after, name)
    ]
    found += [
        Change(
            f"filters.{name}",
            _shown(name, getattr(before.filters, name)),
            _shown(name, getattr(after.filters, name)),
        )
        for name in _names(before.filters)
        if getattr(before.filters, name) != getattr(after.filters, name)
    ]
    return tuple(found)


def _names(record: object) -> list[str]:
    return list(getattr(type(record), "__dataclass_fields__"))  # noqa: B009  typed as any dataclass


def _shown(name: str, value: object) -> str:
    if name == "password":
        return "(set)" if value else "(none)"
    if name == "public_keys" and isinstance(value, tuple):
        return f"({len(value)} keys: {', '.join(_fingerprint(key) for key in value)})" if value else "(none)"
    if isinstance(value, StorageConfig):
        value = shown_storage(value)
    if isinstance(value, str):
        return value
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    """A value as a dump writes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value


def _fingerprint(line: str) -> str:
    """A key as `ssh-keygen -l` names it."""
    try:
        digest = hashlib.sha256(base64.b64decode(line.split()[1])).digest()
    except (ValueError, IndexError):
        return "unreadable"
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")
