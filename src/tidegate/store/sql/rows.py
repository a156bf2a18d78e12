# SPDX-License-Identifier: Apache-2.0
"""Rows to values and back. JSON columns are decoded by the same adapters that check documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import RowMapping

from tidegate.errors import BadRecord, ProviderError
from tidegate.model import (
    TALLY_NAMES,
    Account,
    Admin,
    AdminFilters,
    ApiKey,
    Filters,
    Folder,
    FolderMount,
    GroupUse,
    StorageConfig,
    Tally,
)
from tidegate.model.group import Group, Role
from tidegate.model.listed import ListEntry
from tidegate.model.rule import EventAction, EventRule
from tidegate.store.documents import decode_account
from tidegate.store.storages import decode_storage, storage_text

Values = dict[str, Any]

_FILTERS: Final = TypeAdapter(Filters)
_ADMIN_FILTERS: Final = TypeAdapter(AdminFilters)
_TEXTS: Final = TypeAdapter(tuple[str, ...])
_PERMISSIONS: Final = TypeAdapter(dict[str, tuple[str, ...]])
_OBJECT: Final = TypeAdapter(dict[str, Any])
_GROUPS: Final = TypeAdapter(tuple[GroupUse, ...])

_JSON: Final = ("public_keys", "permissions", "filters", "filesystem", "virtual_folders", "groups")
_PLAIN: Final = tuple(
    item.name for item in fields(Account) if item.name not in (*_JSON, "tally", "id", "username")
)
USAGE: Final = (
    "used_quota_size",
    "used_quota_files",
    "last_quota_update",
    "used_upload_data_transfer",
    "used_download_data_transfer",
    "last_login",
    "login_count",
    "first_download",
    "first_upload",
    *(f"tally_{name}" for name in TALLY_NAMES),
)
"""Columns that an update of the record leaves alone."""


def account_values(account: Account) -> Values:
    """The columns of an account, without `id`."""
    values: Values = {name: getattr(account, name) for name in _PLAIN}
    values.update({f"tally_{name}": getattr(account.tally, name) for name in TALLY_NAMES})
    values.update(
        username=account.username,
        public_keys=json.dumps(account.public_keys),
        permissions=json.dumps(account.permissions),
        filters=_FILTERS.dump_json(account.filters, exclude_defaults=True).decode(),
        filesystem=storage_text(account.filesystem),
        groups=_GROUPS.dump_json(account.groups).decode() if account.groups else None,
    )
    return values


def account_of(row: Mapping[Any, Any], mounts: tuple[FolderMount, ...]) -> Account:
    """An account from our own table.

    Raises:
        ProviderError: a JSON column was changed by hand into something unreadable.
    """
    try:
        return Account(
            id=row["id"],
            username=row["username"],
            public_keys=_TEXTS.validate_json(row["public_keys"]),
            permissions=_PERMISSIONS.validate_json(row["permissions"]),
            filters=_FILTERS.validate_json(row["filters"]),
            filesystem=_storage(f"user {row['username']!r}", row["filesystem"]),
            tally=Tally(**{name: row[f"tally_{name}"] for name in TALLY_NAMES}),
            virtual_folders=mounts,
            groups=_GROUPS.validate_json(row["groups"]) if row["groups"] else (),
            **{name: row[name] for name in _PLAIN},
        )
    except ValidationError as error:
        raise _unreadable(f"user {row['username']!r}", error) from None


def outside_account_of(row: RowMapping) -> Account:
    """An account from a foreign table or view: any subset of the columns, JSON of any version.

    Raises:
        ProviderError: the row does not make an account.
    """
    document: Values = {}
    for name, value in row.items():
        if value is None:
            continue
        if name in _JSON:
            try:
                value = json.loads(value) if value else None
            except ValueError:
                raise ProviderError(f"user {row['username']!r}: column {name} is not JSON") from None
        document[name] = value
    try:
        return decode_account(document, lenient=True)
    except BadRecord as error:
        raise ProviderError(f"user {row['username']!r}: {error}") from None


OUTSIDE_COLUMNS: Final = frozenset(("username", "id", *_PLAIN, *_JSON))
"""Columns of a foreign table that are looked at."""


def mount_of(row: Mapping[Any, Any]) -> FolderMount:
    """A mount from a row of `accounts`' join of mounts and folders."""
    return FolderMount(
        name=row["folder_name"],
        virtual_path=row["virtual_path"],
        quota_size=row["mount_quota_size"],
        quota_files=row["mount_quota_files"],
        mapped_path=row["mapped_path"],
        description=row["folder_description"],
        used_quota_size=row["folder_used_size"],
        used_quota_files=row["folder_used_files"],
        last_quota_update=row["folder_last_update"],
        filesystem=_storage(f"folder {row['folder_name']!r}", row["folder_filesystem"]),
    )


def folder_values(folder: Folder) -> Values:
    """The columns of a folder."""
    values = _fields(folder)
    values["filesystem"] = storage_text(folder.filesystem)
    return values


def folder_of(row: RowMapping) -> Folder:
    """A folder from its row."""
    values = _columns(row, Folder)
    values["filesystem"] = _storage(f"folder {row['name']!r}", row["filesystem"])
    return Folder(**values)


def admin_values(admin: Admin) -> Values:
    """The columns of an administrator, without `id`."""
    values = _fields(admin)
    del values["id"]
    values["permissions"] = json.dumps(admin.permissions)
    values["filters"] = _ADMIN_FILTERS.dump_json(admin.filters, exclude_defaults=True).decode()
    return values


def admin_of(row: RowMapping) -> Admin:
    """An administrator from a row."""
    values = _columns(row, Admin)
    who = f"admin {row['username']!r}"
    values["permissions"] = _json(who, row["permissions"], _TEXTS)
    values["filters"] = _json(who, row["filters"], _ADMIN_FILTERS)
    return Admin(**values)


def api_key_values(key: ApiKey) -> Values:
    """The columns of an API key."""
    return _fields(key)


def api_key_of(row: RowMapping) -> ApiKey:
    """An API key from its row."""
    return ApiKey(**_columns(row, ApiKey))


def event_values(record: EventAction | EventRule) -> Values:
    """The columns of an event action or rule, without `id`."""
    bare = replace(record, id=0, created_at=0, updated_at=0)
    return {
        "name": record.name,
        "document": (_action() if isinstance(record, EventAction) else _rule())
        .dump_json(bare, exclude_defaults=True)
        .decode(),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def event_action_of(row: RowMapping) -> EventAction:
    """An event action from its row."""
    found: EventAction = _json(f"event action {row['name']!r}", row["document"], _action())
    return replace(found, id=row["id"], created_at=row["created_at"], updated_at=row["updated_at"])


def event_rule_of(row: RowMapping) -> EventRule:
    """An event rule from its row."""
    found: EventRule = _json(f"event rule {row['name']!r}", row["document"], _rule())
    return replace(found, id=row["id"], created_at=row["created_at"], updated_at=row["updated_at"])


@lru_cache(maxsize=1)
def _action() -> TypeAdapter[Any]:
    """Made when it is needed: most servers have no event rules."""
    return TypeAdapter(EventAction)


@lru_cache(maxsize=1)
def _rule() -> TypeAdapter[Any]:
    return TypeAdapter(EventRule)


def list_values(record: ListEntry) -> Values:
    """The columns of an entry of a list, without `id`."""
    bare = replace(record, id=0, created_at=0, updated_at=0)
    return {
        "name": record.name,
        "document": _entry().dump_json(bare, exclude_defaults=True).decode(),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def list_entry_of(row: RowMapping) -> ListEntry:
    """An entry of a list from its row."""
    found: ListEntry = _json(f"list entry {row['name']!r}", row["document"], _entry())
    return replace(found, id=row["id"], created_at=row["created_at"], updated_at=row["updated_at"])


@lru_cache(maxsize=1)
def _entry() -> TypeAdapter[Any]:
    return TypeAdapter(ListEntry)


def group_values(record: Group) -> Values:
    """The columns of a group, without `id`."""
    from tidegate.store.group_documents import group_text

    return {
        "name": record.name,
        "document": group_text(record),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def group_of(row: RowMapping) -> Group:
    """A group from its row; its mounts name their folders."""
    from tidegate.store.group_documents import group_of_text

    try:
        found = group_of_text(row["document"])
    except ValidationError as error:
        raise _unreadable(f"group {row['name']!r}", error) from None
    except ValueError:
        raise ProviderError(f"group {row['name']!r}: the stored record is unreadable") from None
    return replace(found, id=row["id"], created_at=row["created_at"], updated_at=row["updated_at"])


def role_values(record: Role) -> Values:
    """The columns of a role, without `id`."""
    from tidegate.store.group_documents import role_adapter

    bare = replace(record, id=0, created_at=0, updated_at=0)
    return {
        "name": record.name,
        "document": role_adapter().dump_json(bare, exclude_defaults=True).decode(),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def role_of(row: RowMapping) -> Role:
    """A role from its row."""
    from tidegate.store.group_documents import role_adapter

    found: Role = _json(f"role {row['name']!r}", row["document"], role_adapter())
    return replace(found, id=row["id"], created_at=row["created_at"], updated_at=row["updated_at"])


def _fields(record: Folder | Admin | ApiKey) -> Values:
    return {item.name: getattr(record, item.name) for item in fields(record)}


def _columns(row: RowMapping, model: type[Folder | Admin | ApiKey]) -> Values:
    return {item.name: row[item.name] for item in fields(model)}


def _json(what: str, text: str, adapter: TypeAdapter[Any]) -> Any:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        raise _unreadable(what, error) from None


def _storage(what: str, text: str) -> StorageConfig:
    try:
        return decode_storage(_json(what, text, _OBJECT))
    except ValueError:
        raise ProviderError(f"{what}: the stored record is unreadable at filesystem.provider") from None


def _unreadable(what: str, error: ValidationError) -> ProviderError:
    where = ".".join(str(part) for part in error.errors(include_url=False)[0]["loc"])
    return ProviderError(f"{what}: the stored record is unreadable{f' at {where}' if where else ''}")
