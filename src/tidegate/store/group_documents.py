# SPDX-License-Identifier: Apache-2.0
"""The documents of groups and roles, as `tidegate.store.documents` has those of other records."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter

from tidegate.accounts.names import check_name
from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord
from tidegate.model import (
    LOCAL_DISK,
    BandwidthLimit,
    FilePatterns,
    Filters,
    FolderMount,
    StorageSpec,
    TallyLimits,
    TimeWindow,
    TransferLimit,
)
from tidegate.model.changes import changed
from tidegate.model.geography import GeoRules
from tidegate.model.group import Group, GroupSettings, Role
from tidegate.model.sealing import SecretPlace
from tidegate.store import secrecy, storages, validate, versions
from tidegate.store.document_keys import Document, DocumentKeys, validated
from tidegate.store.sealing import owner_of
from tidegate.store.validate_filters import check_filters, check_permissions
from tidegate.store.validate_values import check_integers, check_text

MAX_DAYS: Final = 36_500
"""Longest `expires_in`."""
_NAMES: Final = Rules(naming_rules=1)
"""Names of groups and roles are compared as they are, in Unicode's composed form."""
_SETTINGS: Final = "user_settings."


@lru_cache(maxsize=1)
def group_adapter() -> TypeAdapter[Any]:
    """Made when it is needed: most servers have no groups."""
    return TypeAdapter(Group)


@lru_cache(maxsize=1)
def role_adapter() -> TypeAdapter[Any]:
    """Made when it is needed."""
    return TypeAdapter(Role)


def decode_group(
    document: object,
    *,
    base: Group | None = None,
    where: str = "",
    lenient: bool = False,
    notes: list[str] | None = None,
    rules: Rules = DEFAULT_RULES,
    owned: bool = False,
) -> Group:
    """Decode and check one group document; arguments as `tidegate.store.documents.decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=notes, owned=owned)
    plain = found.plain(document)
    found.split(plain, Group, versions.GROUP_KEYS)
    settings = found.inner(plain, "user_settings", GroupSettings)
    if settings is not None:
        inner = DocumentKeys(f"{where}{_SETTINGS}", lenient=lenient, notes=notes)
        versions.modernise_account(settings, f"{where}{_SETTINGS}")
        filters = inner.inner(settings, "filters", Filters, versions.FILTER_KEYS)
        if filters is not None:
            for name, kind in (
                ("file_patterns", FilePatterns),
                ("bandwidth_limits", BandwidthLimit),
                ("data_transfer_limits", TransferLimit),
                ("access_time", TimeWindow),
            ):
                inner.items(filters, f"filters.{name}", name, kind)
            inner.inner(filters, "filters.tally_limits", TallyLimits)
            inner.inner(filters, "filters.geoip", GeoRules)
        inner.filesystem(settings, rules)
    found.items(plain, "virtual_folders", "virtual_folders", FolderMount, versions.MOUNT_KEYS)
    mounts = plain.get("virtual_folders")
    for index, mount in enumerate(mounts if isinstance(mounts, list) else ()):
        if isinstance(mount, dict):
            found.filesystem(mount, rules, f"virtual_folders[{index}].")
    if base is not None:
        plain.setdefault("name", base.name)
    group: Group = validated(group_adapter(), plain, where)
    stored = base.user_settings if base is not None else GroupSettings()
    given = group.user_settings
    if base is not None:
        filesystem = storages.keep_secrets(given.filesystem, stored.filesystem)
        extra = secrecy.keep_hidden(given.filters.extra, stored.filters.extra)
        given = replace(given, filesystem=filesystem, filters=replace(given.filters, extra=extra))
        group = replace(group, user_settings=given)
    owner = owner_of(group)
    if lenient:
        inner = DocumentKeys(f"{where}{_SETTINGS}", lenient=True, notes=notes)
        inner.note_directory("home_dir", given.home_dir, rules)
    else:
        at = f"{where}{_SETTINGS}"
        storages.check_given(given.filesystem, stored.filesystem, owner, at)
        secrecy.check_given(given.filters.extra, stored.filters.extra, owner.at("filters"), at)
        for index, mount in enumerate(group.virtual_folders):
            where_mount = f"{where}virtual_folders[{index}]."
            storages.check_given(mount.filesystem, LOCAL_DISK, SecretPlace("folder", mount.name), where_mount)
        _check_storage(group, stored, rules, at)
    if lenient or (base is not None and given.home_dir == stored.home_dir):
        rules = replace(rules, server_dir="", storages=None)
    return check_group(group, rules, where)


def _check_storage(group: Group, stored: GroupSettings, rules: Rules, where: str) -> None:
    """Check storage other than plain local disk, unless it is stored so already."""
    config, checks = group.user_settings.filesystem, rules.storages
    if checks is None or config in (LOCAL_DISK, stored.filesystem):
        return
    checks.check(storage_of_group(group), where, "home_dir")


def storage_of_group(group: Group) -> StorageSpec:
    """The storage that a group gives to homes, its placeholders as they are."""
    settings = group.user_settings
    return StorageSpec(settings.home_dir, settings.filesystem, owner=SecretPlace("group", group.name))


def check_group(group: Group, rules: Rules = DEFAULT_RULES, where: str = "") -> Group:
    """Check a group and return its canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    check_name(f"{where}name", group.name, _NAMES)
    check_integers(group, where)
    check_text(f"{where}description", group.description)
    settings, at = group.user_settings, f"{where}{_SETTINGS}"
    check_integers(settings, at)
    if settings.expires_in > MAX_DAYS:
        raise BadRecord(f"{at}expires_in", f"{settings.expires_in} days are more than {MAX_DAYS}")
    if settings.filters.require_password_change:
        raise BadRecord(f"{at}filters.require_password_change", "is of accounts, not of groups")
    if settings.filters.hold:
        raise BadRecord(f"{at}filters.hold", "is of accounts, not of groups")
    home = settings.home_dir
    settings = changed(
        settings,
        home_dir=validate.check_directory(f"{at}home_dir", home, rules) if home else "",
        permissions=check_permissions(f"{at}permissions", settings.permissions, whole=False),
        filters=check_filters(settings.filters, f"{at}filters."),
    )
    mounts = validate.check_mounts(group.virtual_folders, rules, f"{where}virtual_folders")
    return changed(group, user_settings=settings, virtual_folders=mounts)


def encode_group(group: Group, *, confidential: bool, users: list[str] | None = None) -> Document:
    """The group document; `users` adds the names of the accounts that have it."""
    document: Document = group_adapter().dump_python(group, mode="json")
    settings: Document = document["user_settings"]
    filters: Document = settings["filters"]
    for window in filters["access_time"]:
        window["from"] = window.pop("from_")
    extra: Document = filters.pop("extra")
    for name in versions.FORMERLY_KEPT:
        extra.pop(name, None)
        if not filters[name]:
            del filters[name]
    for name in ("tally_limits", "geoip"):
        if filters[name] is None:
            del filters[name]
    for name in ("imported_from", "hold", "tls_username"):
        if not filters[name]:
            del filters[name]
    del filters["require_password_change"]
    written = storages.encode_storage if confidential else storages.shown_storage
    if not confidential:
        extra = secrecy.without_secrets(extra)
    settings["filters"] = {**extra, **filters}
    settings["filesystem"] = written(group.user_settings.filesystem) or {"provider": 0}
    for mount, given in zip(document["virtual_folders"], group.virtual_folders, strict=True):
        mount["filesystem"] = written(given.filesystem)
        if not mount["filesystem"]:
            del mount["filesystem"]
    if users is not None:
        document["users"] = users
    return document


def decode_role(
    document: object, *, base: Role | None = None, where: str = "", lenient: bool = False, **_: Any
) -> Role:
    """Decode and check one role document; arguments as `tidegate.store.documents.decode_account`.

    Raises:
        BadRecord: with the JSON path of the first mistake.
    """
    found = DocumentKeys(where, lenient=lenient, notes=None)
    plain = found.plain(document)
    found.split(plain, Role, versions.ROLE_KEYS)
    if base is not None:
        plain.setdefault("name", base.name)
    role: Role = validated(role_adapter(), plain, where)
    check_name(f"{where}name", role.name, _NAMES)
    check_integers(role, where)
    check_text(f"{where}description", role.description)
    return role


def encode_role(role: Role, *, users: list[str] | None = None, admins: list[str] | None = None) -> Document:
    """The role document; with the names of the accounts and administrators that have it, if given."""
    document: Document = role_adapter().dump_python(role, mode="json")
    if users is not None:
        document["users"] = users
    if admins is not None:
        document["admins"] = admins
    return document


def group_text(group: Group) -> str:
    """A group as it is stored: JSON text without what columns or folders hold."""
    bare = replace(
        group,
        id=0,
        created_at=0,
        updated_at=0,
        virtual_folders=tuple(own_part(mount) for mount in group.virtual_folders),
    )
    document: Document = group_adapter().dump_python(bare, mode="json", exclude_defaults=True)
    settings: Document = document.setdefault("user_settings", {})
    settings["filesystem"] = storages.encode_storage(group.user_settings.filesystem)
    return storages.json_text(document)


def group_of_text(text: str | bytes) -> Group:
    """Read what `group_text` wrote.

    Raises:
        ValueError: it is no such text; a pydantic ValidationError is one.
    """
    document: Document = storages.json_object(text)
    settings = document.setdefault("user_settings", {})
    settings["filesystem"] = storages.fields_of(storages.decode_storage(settings.get("filesystem") or {}))
    group: Group = group_adapter().validate_python(document)
    return group


def own_part(mount: FolderMount) -> FolderMount:
    """The part of a mount that is not its folder's."""
    return FolderMount(
        name=mount.name,
        virtual_path=mount.virtual_path,
        quota_size=mount.quota_size,
        quota_files=mount.quota_files,
    )
