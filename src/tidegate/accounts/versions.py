# SPDX-License-Identifier: Apache-2.0
"""Versions of records: a text that differs whenever what an administrator may change differs.

A version is made of the record's document without secrets, counters and last logins, so neither a transfer
nor a login makes it old. A changed secret shows by the time of the change. After the digest of the whole come
short ones of each field, by which a refusal can name what differs.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from tidegate.model import Account, Admin, ApiKey, Folder
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.documents import encode_account, encode_admin, encode_api_key, encode_folder

Record = Account | Folder | Group | Role | Admin | ApiKey | EventAction | EventRule | ListEntry

_DIGEST_BYTES: Final = 15
_FIELD_CHARS: Final = 2
"""Of base64, 12 bits: enough to name fields; whether anything differs is said by the whole digest."""

_COUNTERS: Final = frozenset(
    (
        "id",
        "used_quota_size",
        "used_quota_files",
        "last_quota_update",
        "used_upload_data_transfer",
        "used_download_data_transfer",
        "last_login",
        "login_count",
        "first_download",
        "first_upload",
        "last_use_at",
        "tally",
        "created_at",
    )
)
_OF_THE_FOLDER: Final = frozenset(("mapped_path", "description", "filesystem"))
"""Fields of a mount that are its folder's, which has a version of its own."""

_WHEN: Final = frozenset(("updated_at", "last_password_change"))


def encoded(record: Record, *, confidential: bool = False) -> dict[str, Any]:
    """The document of any record."""
    match record:
        case Account():
            return encode_account(record, confidential=confidential)
        case Folder():
            return encode_folder(record, confidential=confidential)
        case Group():
            from tidegate.store.group_documents import encode_group

            return encode_group(record, confidential=confidential)
        case Role():
            from tidegate.store.group_documents import encode_role

            return encode_role(record)
        case Admin():
            return encode_admin(record, confidential=confidential)
        case ApiKey():
            return encode_api_key(record, confidential=confidential)
        case EventAction():
            from tidegate.rules.documents import encode_action

            return encode_action(record, confidential=confidential)
        case EventRule():
            from tidegate.rules.documents import encode_rule

            return encode_rule(record)
        case ListEntry():
            from tidegate.accounts.lists import encode_entry

            return encode_entry(record)


def version_of(record: Record) -> str:
    """The version of a record: letters, digits and ``-_.``, at most some 150 characters."""
    fields = _fields(encoded(record))
    whole = _digest(fields)[: _DIGEST_BYTES * 4 // 3]
    return f"{whole}.{''.join(_digest(value)[:_FIELD_CHARS] for _, value in sorted(fields.items()))}"


def fields_since(version: str, record: Record) -> tuple[str, ...]:
    """Names of the fields that differ between a version and the record; empty if that cannot be told."""
    fields = sorted(_fields(encoded(record)).items())
    _, _, marks = version.partition(".")
    if len(marks) != len(fields) * _FIELD_CHARS:
        return ()
    found = [
        name
        for index, (name, value) in enumerate(fields)
        if marks[index * _FIELD_CHARS : (index + 1) * _FIELD_CHARS] != _digest(value)[:_FIELD_CHARS]
    ]
    known = {"has_password": "password", "last_password_change": "password", "updated_at": ""}
    return tuple(sorted({known.get(name, name) for name in found} - {""}))


def changed_fields(before: Record, after: Record) -> tuple[str, ...]:
    """Names of the fields that a change changed, secrets by their names alone; counters do not count."""
    old, new = (_fields(encoded(record, confidential=True)) for record in (before, after))
    names = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return tuple(sorted(names - _WHEN - {"has_password"}))


def given_fields(record: Record) -> tuple[str, ...]:
    """Names of the fields of a new record that are not as they would be without being given."""
    match record:
        case Account():
            return changed_fields(Account(username=""), record)
        case Folder():
            return changed_fields(Folder(name=""), record)
        case Group():
            return changed_fields(Group(name=""), record)
        case Role():
            return changed_fields(Role(name=""), record)
        case Admin():
            return changed_fields(Admin(username=""), record)
        case ApiKey():
            return changed_fields(ApiKey(id="", name=""), record)
        case EventAction():
            return changed_fields(EventAction(name="", type=record.type), record)
        case EventRule():
            return changed_fields(EventRule(name="", trigger=record.trigger), record)
        case ListEntry():
            return changed_fields(ListEntry(name="", type=record.type, ipornet=""), record)


def _fields(document: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that an administrator sets, by name; those of ``filters`` as ``filters.name``."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        if name in _COUNTERS:
            continue
        if name == "virtual_folders":
            found[name] = [
                {key: part for key, part in mount.items() if key not in _COUNTERS | _OF_THE_FOLDER}
                for mount in value
            ]
        elif name == "user_settings":
            found |= {f"user_settings.{inner}": part for inner, part in value.items()}
        elif name == "filters":
            found |= {f"filters.{inner}": part for inner, part in value.items()}
        else:
            found[name] = value
    return found


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).decode()
