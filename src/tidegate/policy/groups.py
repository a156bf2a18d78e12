# SPDX-License-Identifier: Apache-2.0
"""The settings that an account inherits from its groups.

The primary group comes first: its home, storage and permissions of ``/`` go before those of the account, and
it gives what the account leaves unset. It and each secondary group, in the order in which the account names
them, then add entries of lists, and permissions, patterns and folders for paths that have none yet. A
membership gives nothing. The order is SFTPGo's (docs/adr/0064).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.model import Account, FilePatterns, Filters, FolderMount, GroupUse, StorageConfig
from tidegate.model.group import Group, GroupSettings, Membership

MS_PER_DAY: Final = 86_400_000
_NUMBERS: Final = ("max_sessions", "quota_size", "quota_files", "upload_bandwidth", "download_bandwidth")
_TRANSFERS: Final = ("upload_data_transfer", "download_data_transfer", "total_data_transfer")
_LISTS: Final = (
    "allowed_ip",
    "denied_ip",
    "denied_login_methods",
    "denied_protocols",
    "two_factor_protocols",
    "bandwidth_limits",
    "data_transfer_limits",
    "access_time",
)
_SINGLE: Final = (
    "max_upload_file_size",
    "password_expiration",
    "password_strength",
    "disable_fs_checks",
    "allow_api_key_auth",
    "external_auth_cache_time",
    "rename_onto",
    "tls_username",
    "ftp_security",
    "is_anonymous",
    "tally_limits",
    "geoip",
)
"""Filters that the primary group gives where the account leaves them unset."""
_ADDRESSES: Final = ("allowed_ip", "denied_ip")
_PLACEHOLDER: Final = re.compile(r"%(username|role|custom[0-9]{1,3})%")
_FILLED: Final = frozenset(("key_prefix", "prefix", "username"))
"""Options of storage in which placeholders count."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """An account with what its groups give.

    Attributes:
        account: it.
        origins: names of the groups that gave to a field, by the field: ``home_dir``,
            ``permissions["/in"]``, ``filters.denied_ip``. A field that is not there is the account's own.
    """

    account: Account
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def applied(account: Account) -> tuple[GroupUse, ...]:
    """The groups that give something, in the order in which they do."""
    primary = [use for use in account.groups if use.type == Membership.PRIMARY]
    return (*primary[:1], *(use for use in account.groups if use.type == Membership.SECONDARY))


def resolve(
    account: Account,
    groups: Mapping[str, Group],
    *,
    home_refused: Callable[[str], str | None] | None = None,
) -> Resolved:
    """The account with what its groups give; the account itself if it has none.

    Args:
        account: as it is stored.
        groups: by name; at least those of `applied`.
        home_refused: the reason why nobody may have a directory as a home; asked if a placeholder made it.

    Raises:
        BadRecord: a group is missing, a placeholder has no usable value, or neither the account nor a group
            says where the home is or what ``/`` grants.
    """
    if not account.groups:
        return Resolved(account)
    merge = _Merge(account)
    for use in applied(account):
        group = groups.get(use.name)
        if group is None:
            raise BadRecord("groups", f"the group {use.name!r} of {account.username!r} does not exist")
        merge.add(group, primary=use.type == Membership.PRIMARY)
    found = merge.result()
    name = account.username
    if not found.account.home_dir:
        raise BadRecord("home_dir", f"neither {name!r} nor its primary group has a home")
    if not found.account.permissions.get("/"):
        raise BadRecord("permissions", f'neither {name!r} nor its primary group has permissions for "/"')
    if home_refused is not None and (why := home_refused(found.account.home_dir)) is not None:
        raise BadRecord("home_dir", f"of {name!r} by its group: {why}")
    return found


class _Merge:
    """The account so far."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._values: dict[str, Any] = {}
        self._filters: dict[str, Any] = {}
        self._extra = dict(account.filters.extra)
        self._permissions = dict(account.permissions)
        self._patterns = {item.path: item for item in account.filters.file_patterns}
        self._mounts = {mount.virtual_path: mount for mount in account.virtual_folders}
        self._origins: dict[str, tuple[str, ...]] = {}
        self._orders = [account.filters.ip_order] if _has_addresses(account.filters) else []
        self._names = {"username": account.username, "role": account.role, **_custom(account)}

    def add(self, group: Group, *, primary: bool) -> None:
        """Take over what a group gives."""
        settings = group.user_settings
        if primary:
            self._inherit(group.name, settings)
        for path, names in settings.permissions.items():
            if path == "/":
                if primary and names:
                    self._permissions["/"] = names
                    self._gave('permissions["/"]', group.name)
                continue
            own = self._fill(f'permissions["{path}"]', path)
            if own not in self._permissions:
                self._permissions[own] = names
                self._gave(f'permissions["{own}"]', group.name)
        self._add_filters(group.name, settings.filters, primary=primary)
        for mount in group.virtual_folders:
            path = self._fill("virtual_folders", mount.virtual_path)
            if path in self._mounts or (path == "/" and not primary):
                continue
            self._mounts[path] = self._mounted(mount, path)
            self._gave(f"virtual_folders[{path}]", group.name)

    def result(self) -> Resolved:
        """The account by now."""
        filters = replace(
            self._account.filters,
            **self._filters,
            file_patterns=tuple(self._patterns.values()),
            extra=self._extra,
            ip_order=self._order(),
        )
        account = replace(
            self._account,
            **self._values,
            permissions=self._permissions,
            filters=filters,
            virtual_folders=tuple(self._mounts.values()),
        )
        return Resolved(account, self._origins)

    def _order(self) -> str:
        """The order of the lists of addresses; the stricter one if those who give entries differ."""
        if not self._orders:
            return self._account.filters.ip_order
        return "allowed" if set(self._orders) == {"allowed"} else "denied"

    def _inherit(self, name: str, settings: GroupSettings) -> None:
        """Take over what the primary group alone gives."""
        own = self._account
        if settings.home_dir:
            self._set("home_dir", self._fill("home_dir", settings.home_dir), name)
        storage = settings.filesystem
        if not storage.is_local:
            options = self._filled_options(storage.options)
            self._set("filesystem", StorageConfig(storage.kind, options, group=name), name)
        for label in _NUMBERS:
            if not getattr(own, label) and (value := getattr(settings, label)):
                self._set(label, value, name)
        if not any(getattr(own, label) for label in _TRANSFERS):
            for label in _TRANSFERS:
                if value := getattr(settings, label):
                    self._set(label, value, name)
        if settings.expires_in and not own.expiration_date and own.created_at:
            self._set("expiration_date", own.created_at + settings.expires_in * MS_PER_DAY, name)
        for label in _SINGLE:
            if not getattr(own.filters, label) and (value := getattr(settings.filters, label)):
                self._filters[label] = value
                self._gave(f"filters.{label}", name)
        start = settings.filters.start_directory
        if start and not own.filters.start_directory:
            self._filters["start_directory"] = self._fill("filters.start_directory", start)
            self._gave("filters.start_directory", name)

    def _add_filters(self, name: str, filters: Filters, *, primary: bool) -> None:
        if _has_addresses(filters):
            self._orders.append(filters.ip_order)
        for label in _LISTS:
            if not (theirs := getattr(filters, label)):
                continue
            mine: tuple[Any, ...] = self._filters.get(label, getattr(self._account.filters, label))
            if more := tuple(item for item in theirs if item not in mine):
                self._filters[label] = (*mine, *more)
                self._gave(f"filters.{label}", name)
        for item in filters.file_patterns:
            path = self._fill("filters.file_patterns", item.path)
            if path not in self._patterns and (path != "/" or primary):
                self._patterns[path] = _at(item, path)
                self._gave(f"filters.file_patterns[{path}]", name)
        for key, value in filters.extra.items():
            kept = self._extra.get(key)
            if isinstance(value, list) and value:
                before: list[object] = kept if isinstance(kept, list) else []
                self._extra[key] = [*before, *(item for item in value if item not in before)]
                self._gave(f"filters.{key}", name)
            elif primary and _says(value) and not _says(kept):
                self._extra[key] = value
                self._gave(f"filters.{key}", name)

    def _mounted(self, mount: FolderMount, path: str) -> FolderMount:
        """A mount with its placeholders filled in.

        One folder then stands for a directory of each account, so no counter of the folder can speak of one
        of them: its files count in the account's own quota.
        """
        mapped = self._fill("virtual_folders", mount.mapped_path)
        options = self._filled_options(mount.filesystem.options)
        if mapped == mount.mapped_path and options == mount.filesystem.options:
            return replace(mount, virtual_path=path)
        storage = replace(mount.filesystem, options=options)
        return replace(
            mount, virtual_path=path, mapped_path=mapped, filesystem=storage, quota_size=-1, quota_files=-1
        )

    def _set(self, name: str, value: object, group: str) -> None:
        self._values[name] = value
        self._gave(name, group)

    def _gave(self, name: str, group: str) -> None:
        self._origins[name] = (*self._origins.get(name, ()), group)

    def _fill(self, where: str, text: str) -> str:
        if "%" not in text:
            return text

        def value(found: re.Match[str]) -> str:
            given = self._names.get(found[1], "")
            if not given or "/" in given or "\0" in given:
                raise BadRecord(where, f"{found[0]} of a group has no usable value for {self._named}")
            return given

        filled = _PLACEHOLDER.sub(value, text)
        if filled != text and any(part in (".", "..") for part in filled.split("/")):
            raise BadRecord(where, f"{filled[:200]!r} of a group leads elsewhere for {self._named}")
        return filled

    @property
    def _named(self) -> str:
        return repr(self._account.username)

    def _filled_options(self, options: dict[str, object]) -> dict[str, object]:
        return {
            section: {
                key: self._fill(f"filesystem.{section}.{key}", value)
                if key in _FILLED and isinstance(value, str)
                else value
                for key, value in part.items()
            }
            if isinstance(part, dict)
            else part
            for section, part in options.items()
        }


def _custom(account: Account) -> dict[str, str]:
    """Values of ``%custom1%`` and so on, which other versions kept in a filter."""
    listed = account.filters.extra.get("custom_placeholders")
    texts: Sequence[object] = listed if isinstance(listed, list) else ()
    return {f"custom{number}": text for number, text in enumerate(texts, 1) if isinstance(text, str)}


def _has_addresses(filters: Filters) -> bool:
    return any(getattr(filters, name) for name in _ADDRESSES)


def _at(item: FilePatterns, path: str) -> FilePatterns:
    return item if item.path == path else replace(item, path=path)


def _says(value: object) -> bool:
    """True if a kept value says anything: an object of empty things does not."""
    if isinstance(value, Mapping):
        return any(map(_says, value.values()))
    return bool(value)
