# SPDX-License-Identifier: Apache-2.0
"""The secrets of whole records: encrypted before they are stored, rewrapped, and listed.

Secrets of a record are options of its storage and, in parts that other versions have written
(`Filters.extra`), whatever has the name of a secret. A mount describes a folder, whose secrets belong to it.
A new field of records that holds secrets belongs into `_documents` and `_changed`; `seal_value` and
`open_value` of `tidegate.model.sealing` are for whoever handles one by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from tidegate.model import Account, Admin, ApiKey, Folder, StorageConfig
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import ACTION_SECRETS, EventAction, EventRule
from tidegate.model.sealing import SealsSecrets, SecretPlace, renew_secrets, seal_secrets, secrets_of
from tidegate.store.secrecy import OUTER

Sealed = Account | Folder | Group | Role | Admin | ApiKey | EventAction | EventRule | ListEntry
R = TypeVar("R", bound=Sealed)
Change = Callable[[Mapping[str, Any], SecretPlace], dict[str, Any]]


def seal_record(record: R, seals: SealsSecrets) -> R:
    """The record as it may be stored: every secret is encrypted, if there is a key."""
    if not seals.seals:
        return record
    return _changed(record, lambda document, place: seal_secrets(document, seals, place))


def renew_record(record: R, seals: SealsSecrets) -> R:
    """The record with every secret under the key for new ones; equal if they are.

    Raises:
        SecretLocked: a secret cannot be opened.
    """
    return _changed(record, lambda document, place: renew_secrets(document, seals, place))


def record_secrets(record: Sealed) -> Iterator[tuple[str, str]]:
    """Field and key of each secret; see `secrets_of`. Those of mounts are the folder's."""
    for document, place in _documents(record):
        yield from secrets_of(document, place)


def owner_of(record: Sealed) -> SecretPlace:
    """The place that secrets of a record belong to, without a field."""
    match record:
        case Account():
            return SecretPlace("user", record.username)
        case Folder():
            return SecretPlace("folder", record.name)
        case Group():
            return SecretPlace("group", record.name)
        case Role():
            return SecretPlace("role", record.name)
        case Admin():
            return SecretPlace("admin", record.username)
        case ApiKey():
            return SecretPlace("api_key", record.id)
        case EventAction():
            return SecretPlace("event_action", record.name)
        case EventRule():
            return SecretPlace("event_rule", record.name)
        case ListEntry():
            return SecretPlace("ip_list", record.name)


def _documents(record: Sealed) -> Iterator[tuple[Mapping[str, Any], SecretPlace]]:
    owner = owner_of(record)
    if isinstance(record, (Account, Folder)) and record.filesystem.options:
        yield record.filesystem.options, owner.at("filesystem")
    if isinstance(record, Group):
        if record.user_settings.filesystem.options:
            yield record.user_settings.filesystem.options, owner.at("filesystem")
        yield from _extras(record.user_settings.filters.extra, owner)
    if isinstance(record, (Account, Admin)):
        yield from _extras(record.filters.extra, owner)
    if isinstance(record, EventAction):
        for section in record.options:
            if secrets := _secrets_of_action(record, section):
                yield secrets, owner.at(f"options.{section}")


def _secrets_of_action(action: EventAction, section: str) -> dict[str, Any]:
    """The secrets in one section of an action's options; other options have names of secrets too."""
    return {
        key: action.options[section][key]
        for of, key in ACTION_SECRETS
        if of == section and action.options[section].get(key)
    }


def _extras(extra: Mapping[str, Any], owner: SecretPlace) -> Iterator[tuple[Mapping[str, Any], SecretPlace]]:
    """Kept parts, with the field that each has in the record's document."""
    if inner := {name: value for name, value in extra.items() if name != OUTER}:
        yield inner, owner.at("filters")
    if isinstance(outer := extra.get(OUTER), Mapping):
        yield outer, owner


def _changed(record: R, change: Change) -> R:
    owner = owner_of(record)
    values: dict[str, Any] = {}
    if isinstance(record, (Account, Folder)):
        values["filesystem"] = _storage(record.filesystem, change, owner)
    if isinstance(record, Group):
        settings = record.user_settings
        filters = settings.filters
        if filters.extra:
            filters = replace(filters, extra=_changed_extra(filters.extra, change, owner))
        filesystem = _storage(settings.filesystem, change, owner)
        values["user_settings"] = replace(settings, filesystem=filesystem, filters=filters)
    if isinstance(record, (Account, Group)) and record.virtual_folders:
        values["virtual_folders"] = tuple(
            replace(mount, filesystem=_storage(mount.filesystem, change, SecretPlace("folder", mount.name)))
            if mount.filesystem.options
            else mount
            for mount in record.virtual_folders
        )
    if isinstance(record, (Account, Admin)) and record.filters.extra:
        extra = _changed_extra(record.filters.extra, change, owner)
        values["filters"] = replace(cast("Any", record.filters), extra=extra)
    if isinstance(record, EventAction):
        values["options"] = {
            section: {
                **part,
                **change(_secrets_of_action(record, section), owner.at(f"options.{section}")),
            }
            for section, part in record.options.items()
        }
    changes = {name: value for name, value in values.items() if value != getattr(record, name)}
    return cast("R", replace(cast("Any", record), **changes)) if changes else record


def _changed_extra(kept: dict[str, Any], change: Change, owner: SecretPlace) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    for document, place in _extras(kept, owner):
        changed = change(document, place)
        extra |= changed if place.field else {OUTER: changed}
    # In their order, and with what is no document.
    return {name: extra.get(name, value) for name, value in kept.items()}


def _storage(config: StorageConfig, change: Change, owner: SecretPlace) -> StorageConfig:
    if not config.options:
        return config
    return StorageConfig(config.kind, change(config.options, owner.at("filesystem")), config.group)
