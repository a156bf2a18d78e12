# SPDX-License-Identifier: Apache-2.0
"""Groups of 2.3 and later, resolved into the accounts that have them.

The primary group comes first: it gives home, storage and permissions of ``/`` where it names them, and
everything else that the account leaves empty. It and every secondary group then add permissions, patterns
and folders for paths that have none yet, and lengthen lists of networks, methods, protocols and hours.
A membership gives nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.store.legacy.parts import PART_KEYS
from tidegate.store.legacy.table import asks

Document = dict[str, Any]

PRIMARY: Final = 1
SECONDARY: Final = 2
MEMBERSHIP: Final = 3
MS_PER_DAY: Final = 86_400_000

_LISTS: Final = frozenset(
    [
        "allowed_ip",
        "denied_ip",
        "denied_login_methods",
        "denied_protocols",
        "web_client",
        "two_factor_protocols",
        "2fa_protocols",
        "access_time",
        "bandwidth_limits",
        "data_transfer_limits",
    ]
)
_PRIMARY_ONLY: Final = frozenset(
    [
        "max_upload_file_size",
        "tls_username",
        "hooks",
        "disable_fs_checks",
        "allow_api_key_auth",
        "external_auth_cache_time",
        "ftp_security",
        "is_anonymous",
        "start_directory",
        "default_shares_expiration",
        "max_shares_expiration",
        "password_expiration",
        "password_strength",
        "user_type",
    ]
)
_TRANSFERS: Final = ("upload_data_transfer", "download_data_transfer", "total_data_transfer")


@dataclass(slots=True)
class Resolved:
    """An account with its groups resolved.

    Attributes:
        applied: names of the groups that gave something.
        missing: names of groups that the dump does not hold, or whose kind is not known.
        unfilled: a placeholder of a group's directory has no value.
    """

    applied: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unfilled: bool = False


def resolve(user: Document, groups: Mapping[str, Document], folder_paths: Mapping[str, str]) -> Resolved:
    """Put into a user document what its groups give and restrict.

    Args:
        user: changed in place.
        groups: the dump's groups by name.
        folder_paths: `mapped_path` of the dump's folders whose path holds a placeholder.
    """
    found = Resolved()
    listed = user.get("groups")
    if not listed:
        return found
    members = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
    names = _placeholders(user)
    if asks(listed) and (not isinstance(listed, list) or len(members) != len(listed)):
        found.missing.append("(unreadable)")
    found.missing += [
        str(item.get("name")) for item in members if item.get("type") not in (PRIMARY, SECONDARY, MEMBERSHIP)
    ]
    chosen: list[tuple[int, str]] = [
        (PRIMARY, str(item.get("name"))) for item in members if item.get("type") == PRIMARY
    ][:1]
    chosen += [(SECONDARY, str(item.get("name"))) for item in members if item.get("type") == SECONDARY]
    for kind, name in chosen:
        group = groups.get(name)
        if group is None:
            found.missing.append(name)
            continue
        found.applied.append(name)
        group = copy.deepcopy(group)
        settings = group.get("user_settings")
        settings = settings if isinstance(settings, dict) else {}
        if kind == PRIMARY:
            _inherit(user, settings, names)
        _add(user, settings, kind, names)
        _mount(user, group, kind, names, folder_paths)
        if kind == PRIMARY and settings.get("home_dir"):
            found.unfilled = "%custom" in str(user["home_dir"])
    return found


def _placeholders(user: Document) -> dict[str, str]:
    names = {"%username%": str(user.get("username", "")), "%role%": str(user.get("role") or "")}
    filters = user.get("filters")
    custom = filters.get("custom_placeholders") if isinstance(filters, dict) else None
    for number, value in enumerate(custom if isinstance(custom, list) else (), 1):
        if isinstance(value, str):
            names[f"%custom{number}%"] = value
    return names


def _filled(text: object, names: Mapping[str, str]) -> Any:
    if not isinstance(text, str):
        return text
    for placeholder, value in names.items():
        text = text.replace(placeholder, value)
    return text


def _filters(holder: Document) -> Document:
    filters = holder.get("filters")
    if not isinstance(filters, dict):
        filters = holder["filters"] = {}
    return filters


def _inherit(user: Document, settings: Document, names: Mapping[str, str]) -> None:
    """Take over what the primary group alone gives."""
    if settings.get("home_dir"):
        user["home_dir"] = _filled(settings["home_dir"], names)
    storage = settings.get("filesystem")
    if isinstance(storage, dict) and asks(storage.get("provider")):
        user["filesystem"] = storage
    if not any(asks(user.get(name)) for name in _TRANSFERS):
        user.update({name: settings[name] for name in _TRANSFERS if settings.get(name)})
    days, made = settings.get("expires_in"), user.get("created_at") or 0
    if isinstance(days, int) and days > 0 and isinstance(made, int) and not user.get("expiration_date"):
        user["expiration_date"] = made + days * MS_PER_DAY
    known = {"home_dir", "filesystem", "expires_in", "permissions", "filters", *_TRANSFERS}
    for key, value in settings.items():
        if key not in known and asks(value) and not asks(user.get(key)):
            user[key] = value
    mine, theirs = _filters(user), settings.get("filters")
    for key, value in theirs.items() if isinstance(theirs, dict) else ():
        if key not in _LISTS and key != "file_patterns" and asks(value) and not asks(mine.get(key)):
            mine[key] = _filled(value, names)


def _add(user: Document, settings: Document, kind: int, names: Mapping[str, str]) -> None:
    """Add what primary and secondary groups give."""
    permissions = settings.get("permissions")
    own = user.get("permissions")
    if isinstance(own, list):
        own = user["permissions"] = {"/": own}
    if not isinstance(own, dict):
        own = user["permissions"] = {}
    for path, granted in permissions.items() if isinstance(permissions, dict) else ():
        if path == "/":
            if kind == PRIMARY:
                own["/"] = granted
        else:
            own.setdefault(_filled(path, names), granted)
    mine, theirs = _filters(user), settings.get("filters")
    if not isinstance(theirs, dict):
        return
    taken = {item.get("path", "/") for item in mine.get("file_patterns") or () if isinstance(item, dict)}
    for key, value in theirs.items():
        if not asks(value):
            continue
        if key == "file_patterns":
            for item in value if isinstance(value, list) else ():
                if not isinstance(item, dict):
                    continue
                path = _filled(item.get("path", "/"), names)
                if path not in taken and (path != "/" or kind == PRIMARY):
                    mine[key] = [*(mine.get(key) or ()), {**item, "path": path}]
        elif key in _LISTS and isinstance(value, list):
            had = mine.get(key) or []
            mine[key] = [*had, *(item for item in value if item not in had)]
        elif key not in _PRIMARY_ONLY and kind == SECONDARY:
            mine.setdefault(key, value)  # not known: judged with the account's own


def _mount(
    user: Document, group: Document, kind: int, names: Mapping[str, str], folder_paths: Mapping[str, str]
) -> None:
    mounts = group.get("virtual_folders")
    own = user.get("virtual_folders") or []
    taken = {mount.get("virtual_path") for mount in own if isinstance(mount, dict)}
    added: list[Document] = []
    for mount in mounts if isinstance(mounts, list) else ():
        if not isinstance(mount, dict):
            continue
        path = _filled(mount.get("virtual_path"), names)
        if path in taken or (path == "/" and kind == SECONDARY):
            continue
        taken.add(path)
        mapped = mount.get("mapped_path") or folder_paths.get(str(mount.get("name")), "")
        own_path = _filled(mapped, names)
        mount = {**mount, "virtual_path": path}
        for key in PART_KEYS:
            if key in mount:
                mount[key] = _filled(mount[key], names)
        if own_path != mapped:  # one folder of SFTPGo's stands for a directory of each account
            mount.update(mapped_path=own_path, name=f"{mount.get('name')}-{names['%username%']}")
        added.append(mount)
    if added:
        user["virtual_folders"] = [*own, *added]
