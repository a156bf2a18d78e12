# SPDX-License-Identifier: Apache-2.0
"""Secrets of all records: which keys they are under, and a rotation to the current one.

A rotation changes nothing that an administrator sets, so it is no event of a record; each record is stored
in a transaction of its own, so it can be broken off and run again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar, cast

from tidegate.accounts.versions import version_of
from tidegate.errors import NotFound, Outdated, UnknownFolder
from tidegate.model import LOCAL_DISK, Account, Admin, Folder
from tidegate.model.group import Group
from tidegate.model.rule import EventAction
from tidegate.model.sealing import PLAIN_KEY, SealsSecrets, SecretLocked
from tidegate.store.contract import Guard, Provider
from tidegate.store.sealing import owner_of, record_secrets, renew_record

R = TypeVar("R", Account, Folder, Group, Admin, EventAction)

PAGE: Final = 500
"""Folders and administrators read at a time."""
MAX_TRIES: Final = 8
"""Attempts at renewing a record, while somebody else changes it."""
MAX_LOCKED: Final = 1000
"""Records that a rotation names because their secrets cannot be opened."""


@dataclass(slots=True)
class Rotation:
    """The outcome of a rotation.

    Attributes:
        records: looked at.
        renewed: records that were stored anew.
        secrets: encrypted or rewrapped in them.
        locked: texts about records whose secrets cannot be opened, `MAX_LOCKED` at most; nothing of them was
            changed.
        count_locked: number of such records.
    """

    records: int = 0
    renewed: int = 0
    secrets: int = 0
    locked: list[str] = field(default_factory=list)
    count_locked: int = 0


async def count_secrets(provider: Provider) -> Counter[tuple[str, str, str]]:
    """Count the secrets by kind of record, field and key; keys as `secrets_of` names them."""
    found: Counter[tuple[str, str, str]] = Counter()
    async for record in every_record(provider):
        kind = owner_of(record).kind
        found.update((kind, name, key) for name, key in record_secrets(record))
    return found


async def rotate_secrets(
    provider: Provider, seals: SealsSecrets, key_id: str, *, told: Callable[[int], None] | None = None
) -> Rotation:
    """Bring every secret that is in plain text, or under another key, under the current key.

    Args:
        provider: open.
        seals: knows the current key and the former ones.
        key_id: of the current key.
        told: told how many records were looked at, each time one was.

    Raises:
        ProviderError: a record cannot be written; those before it are.
        Outdated: somebody changes a record again and again.
    """
    rotation, keys = Rotation(), _Keys(seals, key_id)
    async for record in every_record(provider):
        rotation.records += 1
        match record:
            case Account():
                await _renew(record, keys, rotation, provider.user, _write_account(provider))
            case Folder():
                await _renew(record, keys, rotation, provider.folder, _write_folder(provider))
            case Group():
                await _renew(record, keys, rotation, provider.group, _write_group(provider))
            case Admin():
                await _renew(record, keys, rotation, provider.admin, _write_admin(provider))
            case EventAction():
                await _renew(record, keys, rotation, provider.event_action, _write_action(provider))
        if told is not None:
            told(rotation.records)
    return rotation


async def every_record(provider: Provider) -> AsyncIterator[Account | Folder | Group | Admin | EventAction]:
    """Every record that may have secrets, a page at a time; accounts come last."""
    for page in (provider.folders, provider.groups, provider.admins, provider.event_actions):
        read: Callable[..., Awaitable[list[Any]]] = page
        offset = 0
        while records := await read(offset=offset, limit=PAGE):
            for record in records:
                yield record
            offset += len(records)
    async for account in provider.iter_users(fresh=True):
        yield account


@dataclass(frozen=True, slots=True)
class _Keys:
    seals: SealsSecrets
    current: str


async def _renew(
    record: R | None,
    keys: _Keys,
    rotation: Rotation,
    read: Callable[[str], Awaitable[R | None]],
    write: Callable[[R, Guard[R]], Awaitable[R]],
) -> None:
    for attempt in range(MAX_TRIES):
        if record is None:
            return  # removed meanwhile
        name = owner_of(record).name
        stale = [
            key
            for _, key in record_secrets(record)
            if key != keys.current and (key == PLAIN_KEY or is_key_id(key))
        ]
        if not stale:
            return
        try:
            renewed = renew_record(_own_part(record), keys.seals)
        except SecretLocked as error:
            rotation.count_locked += 1
            if len(rotation.locked) < MAX_LOCKED:
                rotation.locked.append(f"{owner_of(record).kind} {name}: {error}")
            return
        try:
            await write(renewed, _unchanged(record))
        except (Outdated, UnknownFolder):
            if attempt + 1 == MAX_TRIES:
                raise
            record = await read(name)
        except NotFound:
            return
        else:
            rotation.renewed += 1
            rotation.secrets += len(stale)
            return


def is_key_id(key: str) -> bool:
    """True for the id of a key of ours; other names are methods of other servers, which stay as they are."""
    return key == "unknown" or (len(key) == 16 and all(digit in "0123456789abcdef" for digit in key))


def _own_part(record: R) -> R:
    """The record to write: mounts only name their folders, which are records of their own."""
    if isinstance(record, (Account, Group)):
        mounts = tuple(
            replace(mount, mapped_path="", filesystem=LOCAL_DISK) for mount in record.virtual_folders
        )
        return cast("R", replace(cast("Any", record), virtual_folders=mounts))
    return record


def _unchanged(read: R) -> Guard[R]:
    version, secrets = version_of(read), _secrets(read)

    def guard(stored: R) -> None:
        if version_of(stored) != version or _secrets(stored) != secrets:
            owner = owner_of(stored)
            raise Outdated(f"{owner.kind} {owner.name}")

    return guard


def _secrets(record: Account | Folder | Group | Admin | EventAction) -> object:
    """The parts of a record that hold its own secrets; its version leaves them out."""
    match record:
        case EventAction():
            return record.options
        case Account():
            return record.filesystem, record.filters.extra
        case Folder():
            return record.filesystem
        case Group():
            return record.user_settings.filesystem, record.user_settings.filters.extra
        case Admin():
            return record.filters.extra


def _write_account(provider: Provider) -> Callable[[Account, Guard[Account]], Awaitable[Account]]:
    return lambda account, guard: provider.update_user(account, guard=guard)


def _write_action(
    provider: Provider,
) -> Callable[[EventAction, Guard[EventAction]], Awaitable[EventAction]]:
    return lambda action, guard: provider.update_event_action(action, guard=guard)


def _write_folder(provider: Provider) -> Callable[[Folder, Guard[Folder]], Awaitable[Folder]]:
    return lambda folder, guard: provider.update_folder(folder, guard=guard)


def _write_group(provider: Provider) -> Callable[[Group, Guard[Group]], Awaitable[Group]]:
    return lambda group, guard: provider.update_group(group, guard=guard)


def _write_admin(provider: Provider) -> Callable[[Admin, Guard[Admin]], Awaitable[Admin]]:
    return lambda admin, guard: provider.update_admin(admin, guard=guard)
