# SPDX-License-Identifier: Apache-2.0
"""What an import would change, and doing it: all in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from tidegate.errors import BadRecord
from tidegate.model import Account
from tidegate.store.contract import LoadReport, Provider, Snapshot
from tidegate.store.imports.common import Harvest, Imported

Action = Literal["add", "update", "keep"]

ADD_ONLY: Final = 1
"""The mode of `Provider.load` that leaves existing accounts alone."""

_SECRET: Final = ("password", "public_keys")
_MAX_SHOWN_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Change:
    """One field that would change, with values fit to be shown (never a hash or a key)."""

    field: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What would happen to one account.

    Attributes:
        name: the user.
        action: ``add``, ``update`` or ``keep``.
        changes: for ``update``.
        notes: what the source says and is not kept.
        where: place in the source.
        account: what would be stored; the stored one for ``keep``.
    """

    name: str
    action: Action
    changes: tuple[Change, ...]
    notes: tuple[str, ...]
    where: str
    account: Account


async def plan_import(
    provider: Provider, accounts: Sequence[Imported], mode: int = 0, *, keep_passwords: bool = False
) -> list[PlanRow]:
    """Compare a harvest with what is stored.

    Args:
        provider: where it would go.
        accounts: of a `Harvest`.
        mode: 0 adds and updates, 1 only adds.
        keep_passwords: leave the password of existing users who have one. Without it a second import
            puts back hashes that logins have upgraded, and passwords that users have changed.
    """
    rows = []
    for item in accounts:
        stored = await provider.user(item.account.username)
        if stored is None:
            rows.append(PlanRow(item.account.username, "add", (), item.notes, item.where, item.account))
            continue
        merged = stored if mode == ADD_ONLY else merge(stored, item, keep_passwords=keep_passwords)
        changes = differences(stored, merged)
        action: Action = "update" if changes else "keep"
        rows.append(PlanRow(stored.username, action, changes, item.notes, item.where, merged))
    return rows


async def apply_import(
    provider: Provider,
    harvest: Harvest,
    mode: int = 0,
    *,
    keep_passwords: bool = False,
    skip_problems: bool = False,
) -> tuple[list[PlanRow], LoadReport]:
    """Store a harvest in one transaction.

    Args:
        provider: where it goes.
        harvest: what a source holds.
        mode: 0 adds and updates, 1 only adds.
        keep_passwords: see `plan_import`.
        skip_problems: store the good records of a source that has bad ones too.

    Returns:
        the plan as it was carried out, and the provider's report.

    Raises:
        BadRecord: the harvest has problems (the first is named), or the provider refused a record; nothing
            was changed.
    """
    if harvest.problems and not skip_problems:
        first, more = harvest.problems[0], len(harvest.problems) - 1
        raise BadRecord(first.field, f"{first.what} (and {more} more problems)" if more else first.what)
    rows = await plan_import(provider, harvest.accounts, mode, keep_passwords=keep_passwords)
    users = [row.account for row in rows if row.action != "keep"]
    return rows, await provider.load(Snapshot(users=users), mode=mode)


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
    if inner:
        values["filters"] = replace(stored.filters, **inner)
    return replace(stored, **values)


def differences(before: Account, after: Account) -> tuple[Change, ...]:
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
    if name in _SECRET and isinstance(value, tuple):
        return f"({len(value)} keys)"
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= _MAX_SHOWN_CHARS else text[: _MAX_SHOWN_CHARS - 1] + "…"
