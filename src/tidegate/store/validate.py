# SPDX-License-Identifier: Apache-2.0
"""Validates records. Each check names the JSON path and the value that is wrong.

The functions return the record in its canonical spelling (paths without double or trailing slashes,
addresses as networks); what is stored is therefore what the rest of the house expects to read.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Final, TypeVar

from tidegate.accounts.directories import never_given
from tidegate.accounts.keys import stored_key
from tidegate.accounts.names import check_name, fold_name
from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.errors import BadRecord
from tidegate.model import (
    LOCAL_DISK,
    Account,
    Admin,
    ApiKey,
    BandwidthLimit,
    FilePatterns,
    Filters,
    Folder,
    FolderMount,
    Permission,
    TallyLimits,
    TimeWindow,
)
from tidegate.model.changes import changed
from tidegate.policy import globs
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.policy.hash_costs import cost_of
from tidegate.policy.hours import parse_clock
from tidegate.policy.methods import LOGIN_METHODS
from tidegate.policy.presets import PRESETS
from tidegate.policy.renames import RENAME_ONTO

MAX_PATH_BYTES: Final = 4096
MAX_TEXT_CHARS: Final = 65_536
"""Characters of a free text such as a description."""
MAX_ITEMS: Final = 10_000
"""Entries of any list in a record."""
MAX_INTEGER: Final = 2**63 - 1
MAX_ID: Final = 2**32 - 2
"""Largest uid or gid; 2**32 - 1 means "leave it" to chown."""

PERMISSIONS: Final = frozenset(str(name) for name in Permission)
ADMIN_PERMISSIONS: Final = frozenset(
    (
        "*",
        "add_users",
        "edit_users",
        "del_users",
        "view_users",
        "view_conns",
        "close_conns",
        "view_status",
        "manage_folders",
        "manage_groups",
        "quota_scans",
        "manage_defender",
        "view_defender",
        "view_events",
        "disable_mfa",
        # names of 2.2 to 2.5, kept so that their dumps load
        "manage_admins",
        "manage_apikeys",
        "manage_system",
        "manage_event_rules",
        "manage_roles",
        "manage_ip_lists",
        "retention_checks",
        "metadata_checks",
    )
)
PROTOCOLS: Final = ("SSH", "FTP", "DAV", "HTTP")
LIMIT_TYPES: Final = ("soft", "hard")
PATTERN_ORDERS: Final = ("allowed", "denied")
PATTERN_DIRECTORIES: Final = ("denied", "all", "none")
IP_ORDERS: Final = ("denied", "allowed")
HASH_PREFIXES: Final = (
    "$argon2id$",
    "$argon2i$",
    "$argon2d$",
    "$2a$",
    "$2b$",
    "$2x$",
    "$2y$",
    "$pbkdf2-sha1$",
    "$pbkdf2-sha256$",
    "$pbkdf2-sha512$",
    "$pbkdf2-b64salt-sha256$",
    "$1$",
    "$apr1$",
    "$5$",
    "$6$",
    "$y$",
    "$gy$",
    "$7$",
    "$scrypt$",
    "{CRYPT}",
    "{OPENBRIDGE-SHA256}",
    "{MD5}",
    "{SHA256}",
    "{SHA512}",
)
"""How stored passwords begin; anything else in a document is plain text that has to be hashed."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

Item = TypeVar("Item")


def looks_hashed(text: str) -> bool:
    """True if a password is a stored hash rather than plain text to be hashed."""
    return text.startswith(HASH_PREFIXES)


def check_account(
    account: Account, rules: Rules = DEFAULT_RULES, where: str = "", *, known_keys: Collection[str] = ()
) -> Account:
    """Check an account and return its canonical form.

    Args:
        account: what a document said.
        rules: settings that decide.
        where: prefix for the field of an error, for instance ``users[3].``.
        known_keys: lines of public keys that need no check.

    Raises:
        BadRecord: the first mistake found.
    """
    name = fold_name(account.username, rules)
    check_name(f"{where}username", name, rules)
    _integers(account, where)
    _flag(f"{where}status", account.status, (0, 1))
    for label in ("uid", "gid"):
        if getattr(account, label) > MAX_ID:
            raise BadRecord(f"{where}{label}", f"{getattr(account, label)} is above {MAX_ID}")
    for label in ("email", "description", "additional_info", "password"):
        check_text(f"{where}{label}", getattr(account, label))
    check_hash(f"{where}password", account.password)
    home = account.home_dir
    if not home and rules.users_base_dir:
        home = f"{rules.users_base_dir.rstrip('/')}/{name}"
    if not home:
        raise BadRecord(f"{where}home_dir", "is missing: an absolute directory is needed")
    return changed(
        account,
        username=name,
        home_dir=_check_directory(f"{where}home_dir", home, rules),
        public_keys=tuple(
            key if key in known_keys else stored_key(f"{where}public_keys[{index}]", key)
            for index, key in enumerate(_bounded(f"{where}public_keys", account.public_keys))
        ),
        permissions=check_permissions(f"{where}permissions", account.permissions),
        filters=_check_filters(account.filters, f"{where}filters."),
        virtual_folders=_check_mounts(account.virtual_folders, rules, f"{where}virtual_folders"),
        tally=_checked_integers(account.tally, f"{where}tally."),
    )


def check_storages(record: Account | Folder, rules: Rules, where: str) -> None:
    """Check what a record says about storage other than plain local disk.

    Raises:
        BadRecord: the first mistake found.
    """
    checks = rules.storages
    if checks is None:
        return
    if isinstance(record, Folder):
        if record.filesystem != LOCAL_DISK:
            checks.check(storage_of_folder(record), where)
        return
    if record.filesystem != LOCAL_DISK:
        checks.check(storage_of(record), where, "home_dir")
    for index, mount in enumerate(record.virtual_folders):
        if mount.filesystem != LOCAL_DISK and mount.mapped_path:  # else the folder's own record counts
            checks.check(storage_of(record, mount), f"{where}virtual_folders[{index}].")


def check_folder(folder: Folder, rules: Rules = DEFAULT_RULES, where: str = "") -> Folder:
    """Check a folder and return its canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    check_name(f"{where}name", folder.name, rules)
    _integers(folder, where)
    check_text(f"{where}description", folder.description)
    if not folder.mapped_path and folder.filesystem == LOCAL_DISK:
        raise BadRecord(f"{where}mapped_path", "is missing: an absolute directory is needed")
    if not folder.mapped_path:
        return folder
    return changed(folder, mapped_path=_check_directory(f"{where}mapped_path", folder.mapped_path, rules))


def check_admin(admin: Admin, rules: Rules = DEFAULT_RULES, where: str = "") -> Admin:
    """Check an administrator and return the canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    name = fold_name(admin.username, rules)
    check_name(f"{where}username", name, rules)
    _integers(admin, where)
    _flag(f"{where}status", admin.status, (0, 1))
    for label in ("email", "description", "additional_info", "password"):
        check_text(f"{where}{label}", getattr(admin, label))
    check_hash(f"{where}password", admin.password)
    if not admin.permissions:
        raise BadRecord(f"{where}permissions", "is empty: give at least one permission")
    _known(f"{where}permissions", admin.permissions, ADMIN_PERMISSIONS)
    allowed = check_networks(f"{where}filters.allow_list", admin.filters.allow_list)
    return changed(admin, username=name, filters=changed(admin.filters, allow_list=allowed))


def check_api_key(key: ApiKey, rules: Rules = DEFAULT_RULES, where: str = "") -> ApiKey:
    """Check an API key.

    Raises:
        BadRecord: the first mistake found.
    """
    check_name(f"{where}id", key.id, Rules(naming_rules=0))
    _integers(key, where)
    if not key.name:
        raise BadRecord(f"{where}name", "is empty")
    for label in ("name", "description", "key"):
        check_text(f"{where}{label}", getattr(key, label))
    check_hash(f"{where}key", key.key)
    _flag(f"{where}scope", key.scope, (1, 2))
    for label, scope in (("admin", 1), ("user", 2)):
        bound = getattr(key, label)
        if bound and key.scope != scope:
            raise BadRecord(f"{where}{label}", f"{bound!r} is given, but scope {key.scope} is not for it")
        if bound:
            check_name(f"{where}{label}", bound, rules)
    return key


def check_hash(where: str, stored: str) -> None:
    """Refuse a hash that costs more than is allowed.

    Raises:
        BadRecord: names the limit; the hash is not repeated.
    """
    excess = cost_of(stored).excess
    if excess:
        raise BadRecord(where, excess)


# --- parts that other rooms use too -------------------------------------------------------------------


def check_text(where: str, text: str) -> None:
    """Refuse text that some database could not keep.

    Raises:
        BadRecord: NUL, a lone surrogate, or longer than `MAX_TEXT_CHARS`.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise BadRecord(where, f"is longer than {MAX_TEXT_CHARS} characters")
    if "\0" in text or (not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)):
        raise BadRecord(where, "holds a NUL or an unpaired surrogate")


def check_path(where: str, path: str) -> str:
    """An absolute path without empty, ``.`` or ``..`` components and without a trailing slash.

    Raises:
        BadRecord: relative, with ``..`` or control characters, or too long.
    """
    if path == "/":
        return path
    check_text(where, path)
    if not path.startswith("/"):
        raise BadRecord(where, f"{path[:200]!r} is not an absolute path")
    if len(path.encode()) > MAX_PATH_BYTES:
        raise BadRecord(where, f"is longer than {MAX_PATH_BYTES} bytes")
    if _CONTROL.search(path):
        raise BadRecord(where, f"{path[:200]!r} holds a control character")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadRecord(where, f"{path[:200]!r} holds '..'")
    return "/" + "/".join(parts)


def check_permissions(where: str, permissions: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Check a permission table: ``/`` is mandatory and grants something, names are known.

    Raises:
        BadRecord: the first mistake found.
    """
    if len(permissions) > MAX_ITEMS:
        raise BadRecord(where, f"has more than {MAX_ITEMS} directories")
    checked: dict[str, tuple[str, ...]] = {}
    for path, names in permissions.items():
        key_path = f'{where}["{path[:200]}"]'
        clean = check_path(key_path, path)
        if clean in checked:
            raise BadRecord(key_path, f"{clean!r} is given twice")
        _known(key_path, names, PERMISSIONS)
        checked[clean] = tuple(dict.fromkeys(names))
    if not checked.get("/"):
        raise BadRecord(where, 'needs at least one permission for "/"')
    return checked


def check_networks(where: str, networks: Sequence[str]) -> tuple[str, ...]:
    """Check addresses in CIDR form; a plain address becomes the network of itself.

    Raises:
        BadRecord: not an address or network.
    """
    checked = []
    for index, text in enumerate(_bounded(where, networks)):
        try:
            checked.append(_network(text))
        except ValueError:
            raise BadRecord(
                f"{where}[{index}]", f"{text[:100]!r} is not a network such as 10.0.0.0/8"
            ) from None
    return tuple(checked)


@lru_cache(maxsize=1024)
def _network(text: str) -> str:
    """An address or network as it is stored; accounts share them.

    Raises:
        ValueError: it is neither.
    """
    if "%" in text:
        raise ValueError("zone")
    network = ipaddress.ip_network(text, strict=False)
    return text if "/" in text else str(network)


# --- pieces ---------------------------------------------------------------------------------------------


def _check_directory(where: str, path: str, rules: Rules) -> str:
    """A directory of the host that may be given to an account or folder, by its text alone.

    Raises:
        BadRecord: no absolute path, or one that nobody may give.
    """
    path = check_path(where, path)
    if rules.server_dir:
        why = never_given(path, base=rules.users_base_dir, server_dir=rules.server_dir)
        if why is not None:
            raise BadRecord(where, why)
    return path


def _check_filters(filters: Filters, where: str) -> Filters:
    _integers(filters, where)
    _some_left(f"{where}denied_login_methods", filters.denied_login_methods, LOGIN_METHODS)
    _some_left(f"{where}denied_protocols", filters.denied_protocols, PROTOCOLS)
    _one_of(f"{where}ip_order", filters.ip_order, IP_ORDERS)
    seen: set[str] = set()
    patterns: list[FilePatterns] = []
    for index, item in enumerate(_bounded(f"{where}file_patterns", filters.file_patterns)):
        patterns.append(_check_patterns(item, f"{where}file_patterns[{index}].", seen))
    limits: list[BandwidthLimit] = []
    for index, limit in enumerate(_bounded(f"{where}bandwidth_limits", filters.bandwidth_limits)):
        key_path = f"{where}bandwidth_limits[{index}]."
        if not limit.sources:
            raise BadRecord(f"{key_path}sources", "is empty: name at least one network")
        limits.append(
            changed(
                _checked_integers(limit, key_path),
                sources=check_networks(f"{key_path}sources", limit.sources),
            )
        )
    for index, window in enumerate(_bounded(f"{where}access_time", filters.access_time)):
        _check_window(window, f"{where}access_time[{index}].")
    if filters.tally_limits is not None:
        _check_tally_limits(filters.tally_limits, f"{where}tally_limits.")
    if filters.rename_onto not in RENAME_ONTO:
        raise BadRecord(
            f"{where}rename_onto", f"{filters.rename_onto[:40]!r} is not refuse, replace or empty"
        )
    start = filters.start_directory
    return changed(
        filters,
        allowed_ip=check_networks(f"{where}allowed_ip", filters.allowed_ip),
        denied_ip=check_networks(f"{where}denied_ip", filters.denied_ip),
        file_patterns=tuple(patterns),
        bandwidth_limits=tuple(limits),
        start_directory=check_path(f"{where}start_directory", start) if start else "",
    )


def _check_patterns(item: FilePatterns, where: str, seen: set[str]) -> FilePatterns:
    path = check_path(f"{where}path", item.path)
    if path in seen:
        raise BadRecord(f"{where}path", f"{path!r} is given twice")
    seen.add(path)
    _flag(f"{where}deny_policy", item.deny_policy, (0, 1))
    _one_of(f"{where}order", item.order, PATTERN_ORDERS)
    _one_of(f"{where}directories", item.directories, PATTERN_DIRECTORIES)
    if item.preset and item.preset not in PRESETS:
        raise BadRecord(f"{where}preset", f"{item.preset!r} is not one of {', '.join(PRESETS)}")
    if not item.allowed_patterns and not item.denied_patterns and not item.preset:
        raise BadRecord(where.rstrip("."), "has neither allowed_patterns nor denied_patterns")
    for label in ("allowed_patterns", "denied_patterns"):
        for index, pattern in enumerate(_bounded(f"{where}{label}", getattr(item, label))):
            wrong = globs.problem(pattern)
            if wrong is not None:
                key_path = f"{where}{label}[{index}]"
                raise BadRecord(key_path, f"{pattern[:100]!r} is not a pattern for file names: {wrong}")
    return changed(item, path=path)


def _check_window(window: TimeWindow, where: str) -> None:
    _flag(f"{where}day_of_week", window.day_of_week, range(7))
    for label, clock in (("from", window.from_), ("to", window.to)):
        if parse_clock(clock) is None:
            raise BadRecord(f"{where}{label}", f"{clock[:20]!r} is not a time such as 08:30")
    if window.from_ > window.to:
        raise BadRecord(f"{where}from", f"{window.from_} is after {window.to}")


def _check_tally_limits(limits: TallyLimits, where: str) -> None:
    _integers(limits, where)
    _one_of(f"{where}limit_type", limits.limit_type, LIMIT_TYPES)


def _check_mounts(mounts: Sequence[FolderMount], rules: Rules, where: str) -> tuple[FolderMount, ...]:
    checked: list[FolderMount] = []
    seen: set[str] = set()
    for index, mount in enumerate(_bounded(where, mounts)):
        key_path = f"{where}[{index}]."
        check_name(f"{key_path}name", mount.name, rules)
        _integers(mount, key_path, least={"quota_size": -1, "quota_files": -1})
        check_text(f"{key_path}description", mount.description)
        if (mount.quota_size < 0) != (mount.quota_files < 0):
            raise BadRecord(f"{key_path}quota_size", "and quota_files must both be -1 or both be 0 or more")
        path = check_path(f"{key_path}virtual_path", mount.virtual_path)
        if path == "/" and not rules.root_mounts:
            raise BadRecord(f"{key_path}virtual_path", "a folder cannot be mounted at '/'")
        if path in seen:
            raise BadRecord(f"{key_path}virtual_path", f"{path!r} is given twice")
        seen.add(path)
        mapped = (
            _check_directory(f"{key_path}mapped_path", mount.mapped_path, rules) if mount.mapped_path else ""
        )
        checked.append(changed(mount, virtual_path=path, mapped_path=mapped))
    return tuple(checked)


def _bounded(where: str, items: Sequence[Item]) -> Sequence[Item]:
    if len(items) > MAX_ITEMS:
        raise BadRecord(where, f"has more than {MAX_ITEMS} entries")
    return items


def _known(where: str, names: Sequence[str], known: Iterable[str]) -> None:
    if not names:
        return
    known = frozenset(known)
    for index, name in enumerate(_bounded(where, names)):
        if name not in known:
            raise BadRecord(f"{where}[{index}]", f"{name[:64]!r} is not one of {', '.join(sorted(known))}")


def _some_left(where: str, denied: Sequence[str], known: Sequence[str]) -> None:
    _known(where, denied, known)
    if denied and set(denied) >= set(known):
        raise BadRecord(where, "denies all of them: set status to 0 instead")


def _flag(where: str, value: int, allowed: Sequence[int]) -> None:
    if value not in allowed:
        raise BadRecord(where, f"{value} is not one of {', '.join(map(str, allowed))}")


def _one_of(where: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise BadRecord(where, f"{value[:20]!r} is not one of {', '.join(allowed)}")


def _integers(record: object, where: str, least: Mapping[str, int] | None = None) -> None:
    """Every integer of a record is 0 or more and fits a database column."""
    names, take = _integer_fields(type(record))
    values = take(record)
    if not values or (min(values) >= 0 and max(values) <= MAX_INTEGER):
        return
    for name, value in zip(names, values, strict=True):
        if not (least or {}).get(name, 0) <= value <= MAX_INTEGER:
            raise BadRecord(f"{where}{name}", f"{value} is out of range")


def _checked_integers(record: Item, where: str) -> Item:
    _integers(record, where)
    return record


_INTEGERS: dict[type, tuple[tuple[str, ...], Callable[[object], tuple[int, ...]]]] = {}


def _integer_fields(record: type) -> tuple[tuple[str, ...], Callable[[object], tuple[int, ...]]]:
    """Names of a record's integers, and a getter for all of them at once."""
    known = _INTEGERS.get(record)
    if known is None:
        names = tuple(item.name for item in fields(record) if item.type == "int")
        known = _INTEGERS[record] = names, _getter(names)
    return known


def _getter(names: Sequence[str]) -> Callable[[object], tuple[int, ...]]:
    if len(names) < 2:  # attrgetter of one name gives no tuple
        return lambda record: tuple(getattr(record, name) for name in names)
    take: Callable[[object], tuple[int, ...]] = attrgetter(*names)
    return take
