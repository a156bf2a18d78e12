# SPDX-License-Identifier: Apache-2.0
"""Validates records. Each check names the JSON path and the value that is wrong.

The functions return the record in its canonical spelling (paths without double or trailing slashes,
addresses as networks); what is stored is therefore what the rest of the house expects to read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

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
    Folder,
    FolderMount,
    GroupUse,
)
from tidegate.model.changes import changed
from tidegate.model.group import Membership
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.policy.hash_costs import cost_of
from tidegate.store.validate_filters import check_filters, check_permissions
from tidegate.store.validate_values import (
    bounded,
    check_flag,
    check_integers,
    check_known,
    check_networks,
    check_path,
    check_text,
    checked_integers,
)

MAX_GROUPS: Final = 100
"""Groups of one account."""
MAX_ID: Final = 2**32 - 2
"""Largest uid or gid; 2**32 - 1 means "leave it" to chown."""

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
WHOLE_SERVER: Final = frozenset(
    (
        "*",
        "manage_admins",
        "manage_apikeys",
        "manage_system",
        "manage_event_rules",
        "manage_roles",
        "manage_ip_lists",
        "view_events",
    )
)
"""Permissions that reach beyond the accounts of one role."""
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
"""The beginnings of stored passwords; anything else in a document is plain text that has to be hashed."""


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
    check_integers(account, where)
    check_flag(f"{where}status", account.status, (0, 1))
    for label in ("uid", "gid"):
        if getattr(account, label) > MAX_ID:
            raise BadRecord(f"{where}{label}", f"{getattr(account, label)} is above {MAX_ID}")
    for label in ("email", "description", "additional_info", "password"):
        check_text(f"{where}{label}", getattr(account, label))
    check_hash(f"{where}password", account.password)
    inherits = _check_groups(account.groups, f"{where}groups")
    if account.role:
        check_name(f"{where}role", account.role, Rules(naming_rules=1))
    home = account.home_dir
    if not home and not inherits and rules.users_base_dir:
        home = f"{rules.users_base_dir.rstrip('/')}/{name}"
    if not home and not inherits:
        raise BadRecord(f"{where}home_dir", "is missing: an absolute directory is needed")
    return changed(
        account,
        username=name,
        home_dir=check_directory(f"{where}home_dir", home, rules) if home else "",
        public_keys=tuple(
            key if key in known_keys else stored_key(f"{where}public_keys[{index}]", key)
            for index, key in enumerate(bounded(f"{where}public_keys", account.public_keys))
        ),
        permissions=check_permissions(f"{where}permissions", account.permissions, whole=not inherits),
        filters=check_filters(account.filters, f"{where}filters."),
        virtual_folders=check_mounts(account.virtual_folders, rules, f"{where}virtual_folders"),
        tally=checked_integers(account.tally, f"{where}tally."),
    )


def check_storages(
    record: Account | Folder, rules: Rules, where: str, stored: Account | Folder | None = None
) -> None:
    """Check what a record says about storage other than plain local disk.

    Storage with encrypted secrets that stays as it is stored was checked when it was given; so an account
    can be changed, for instance disabled, where the key is missing.

    Raises:
        BadRecord: the first mistake found.
    """
    checks = rules.storages
    if checks is None:
        return
    known = _sealed_storages(stored) if stored is not None else set()
    if isinstance(record, Folder):
        if record.filesystem != LOCAL_DISK and storage_of_folder(record).key not in known:
            checks.check(storage_of_folder(record), where)
        return
    if record.filesystem != LOCAL_DISK and storage_of(record).key not in known:
        checks.check(storage_of(record), where, "home_dir")
    for index, mount in enumerate(record.virtual_folders):
        if mount.filesystem == LOCAL_DISK or not mount.mapped_path:
            continue  # the folder's own record counts
        if storage_of(record, mount).key not in known:
            checks.check(storage_of(record, mount), f"{where}virtual_folders[{index}].")


def _sealed_storages(record: Account | Folder) -> set[str]:
    """Keys of the storages of a record that hold encrypted secrets."""
    if isinstance(record, Folder):
        specs = [storage_of_folder(record)]
    else:
        specs = [storage_of(record), *(storage_of(record, mount) for mount in record.virtual_folders)]
    return {spec.key for spec in specs if spec.config.is_sealed}


def check_folder(folder: Folder, rules: Rules = DEFAULT_RULES, where: str = "") -> Folder:
    """Check a folder and return its canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    check_name(f"{where}name", folder.name, rules)
    check_integers(folder, where)
    check_text(f"{where}description", folder.description)
    if not folder.mapped_path and folder.filesystem == LOCAL_DISK:
        raise BadRecord(f"{where}mapped_path", "is missing: an absolute directory is needed")
    if not folder.mapped_path:
        return folder
    return changed(folder, mapped_path=check_directory(f"{where}mapped_path", folder.mapped_path, rules))


def check_admin(admin: Admin, rules: Rules = DEFAULT_RULES, where: str = "") -> Admin:
    """Check an administrator and return the canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    name = fold_name(admin.username, rules)
    check_name(f"{where}username", name, rules)
    check_integers(admin, where)
    check_flag(f"{where}status", admin.status, (0, 1))
    for label in ("email", "description", "additional_info", "password"):
        check_text(f"{where}{label}", getattr(admin, label))
    check_hash(f"{where}password", admin.password)
    if not admin.permissions:
        raise BadRecord(f"{where}permissions", "is empty: give at least one permission")
    check_known(f"{where}permissions", admin.permissions, ADMIN_PERMISSIONS)
    if admin.role:
        check_name(f"{where}role", admin.role, Rules(naming_rules=1))
        whole = sorted(WHOLE_SERVER.intersection(admin.permissions))
        if whole:
            raise BadRecord(f"{where}role", f"who has one cannot have the permission {whole[0]}")
    allowed = check_networks(f"{where}filters.allow_list", admin.filters.allow_list)
    return changed(admin, username=name, filters=changed(admin.filters, allow_list=allowed))


def check_api_key(key: ApiKey, rules: Rules = DEFAULT_RULES, where: str = "") -> ApiKey:
    """Check an API key.

    Raises:
        BadRecord: the first mistake found.
    """
    check_name(f"{where}id", key.id, Rules(naming_rules=0))
    check_integers(key, where)
    if not key.name:
        raise BadRecord(f"{where}name", "is empty")
    for label in ("name", "description", "key"):
        check_text(f"{where}{label}", getattr(key, label))
    check_hash(f"{where}key", key.key)
    check_flag(f"{where}scope", key.scope, (1, 2))
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


def _check_groups(groups: Sequence[GroupUse], where: str) -> bool:
    """True if there is a primary group, from which home and permissions may come.

    Raises:
        BadRecord: the first mistake found.
    """
    if len(groups) > MAX_GROUPS:
        raise BadRecord(where, f"has more than {MAX_GROUPS} groups")
    seen: set[str] = set()
    primary = ""
    for index, use in enumerate(groups):
        check_name(f"{where}[{index}].name", use.name, Rules(naming_rules=1))
        check_flag(f"{where}[{index}].type", use.type, tuple(Membership))
        if use.name in seen:
            raise BadRecord(f"{where}[{index}].name", f"{use.name!r} is given twice")
        seen.add(use.name)
        if use.type == Membership.PRIMARY:
            if primary:
                raise BadRecord(f"{where}[{index}].type", f"{primary!r} is the primary group already")
            primary = use.name
    return bool(primary)


# --- pieces ---------------------------------------------------------------------------------------------


def check_directory(where: str, path: str, rules: Rules) -> str:
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


def check_mounts(mounts: Sequence[FolderMount], rules: Rules, where: str) -> tuple[FolderMount, ...]:
    """Mounts in their canonical form.

    Raises:
        BadRecord: the first mistake found.
    """
    checked: list[FolderMount] = []
    seen: set[str] = set()
    for index, mount in enumerate(bounded(where, mounts)):
        key_path = f"{where}[{index}]."
        check_name(f"{key_path}name", mount.name, rules)
        check_integers(mount, key_path, least={"quota_size": -1, "quota_files": -1})
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
            check_directory(f"{key_path}mapped_path", mount.mapped_path, rules) if mount.mapped_path else ""
        )
        checked.append(changed(mount, virtual_path=path, mapped_path=mapped))
    return tuple(checked)
