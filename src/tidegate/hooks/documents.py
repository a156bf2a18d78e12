# SPDX-License-Identifier: Apache-2.0
"""Users as hooks see them: the JSON documents of SFTPGo 2.x and 0.9, key by key in their order."""

from __future__ import annotations

from typing import Any, Final

from tidegate.model import Account, Filters
from tidegate.model.secret_names import STORAGE_SECRETS
from tidegate.policy.second_factor import totp_of
from tidegate.store.documents import encode_account

Document = dict[str, Any]

_HOOKS: Final = ("external_auth_disabled", "pre_login_disabled", "check_password_disabled")

_KEYS: Final = (
    "id", "status", "username", "email", "expiration_date", "password", "public_keys", "has_password",
    "home_dir", "virtual_folders", "uid", "gid", "max_sessions", "quota_size", "quota_files", "permissions",
    "used_quota_size", "used_quota_files", "last_quota_update", "upload_bandwidth", "download_bandwidth",
    "upload_data_transfer", "download_data_transfer", "total_data_transfer", "used_upload_data_transfer",
    "used_download_data_transfer", "last_login", "created_at", "updated_at", "first_download", "first_upload",
    "last_password_change", "filters", "description", "additional_info", "groups", "role", "filesystem",
)  # fmt: skip
_ALWAYS: Final = frozenset((
    "id", "status", "username", "home_dir", "uid", "gid", "max_sessions", "quota_size", "quota_files",
    "permissions", "upload_data_transfer", "download_data_transfer", "total_data_transfer", "created_at",
    "updated_at", "filters", "filesystem",
))  # fmt: skip
_OLD_KEYS: Final = (
    "id", "status", "username", "expiration_date", "password", "public_keys", "home_dir", "virtual_folders",
    "uid", "gid", "max_sessions", "quota_size", "quota_files", "permissions", "used_quota_size",
    "used_quota_files", "last_quota_update", "upload_bandwidth", "download_bandwidth", "last_login",
    "filters", "filesystem",
)  # fmt: skip
_OLD_FILTERS: Final = frozenset(("allowed_ip", "denied_ip", "denied_login_methods"))


def user_document(account: Account, *, password: bool = True) -> Document:
    """An account as SFTPGo 2.x shows it to hooks.

    Args:
        account: it may be one that is not stored.
        password: with the hash, for hooks that decide about a login.
    """
    shown = encode_account(account, confidential=False)
    if password and account.password:
        shown["password"] = account.password
    shown["has_password"] = bool(account.password)
    shown["filters"] = _filters(account, shown.get("filters") or {})
    shown["filesystem"] = _filesystem(shown.get("filesystem") or {}, secrets=password)
    return {key: shown[key] for key in _KEYS if key in shown and (key in _ALWAYS or shown[key])}


def stranger_document(username: str, *, secrets: bool = True) -> Document:
    """A user who is not known, as SFTPGo 2.x shows it: id 0 and nothing set."""
    document = user_document(Account(username=username, status=0), password=secrets)
    if not secrets:
        document["filters"]["totp_config"] = {}
    return {**document, "permissions": None}


def old_user_document(account: Account) -> Document:
    """An account as SFTPGo 0.9.6 shows it to the program that runs before a login."""
    shown = encode_account(account, confidential=False)
    filters = shown.get("filters") or {}
    shown["password"] = account.password
    shown["filters"] = {name: value for name, value in filters.items() if value and name in _OLD_FILTERS}
    shown["filesystem"] = {"provider": 0, "s3config": {}, "gcsconfig": {}} | (shown.get("filesystem") or {})
    return {
        key: shown[key]
        for key in _OLD_KEYS
        if key in shown and (shown[key] or key not in ("password", "public_keys", "virtual_folders"))
    }


def switched_off(account: Account | None, name: str) -> bool:
    """True if an account has a hook switched off: ``external_auth``, ``pre_login`` or ``check_password``."""
    if account is None:
        return False
    extra = account.filters.extra
    if name == "check_password" and extra.get("check_password_disabled") is True:  # SFTPGo 1.2
        return True
    hooks = extra.get("hooks")
    return isinstance(hooks, dict) and hooks.get(f"{name}_disabled") is True


def _filters(account: Account, filters: Document) -> Document:
    given = filters.get("hooks")
    hooks = given if isinstance(given, dict) else {}
    shown = {name: value for name, value in filters.items() if value and name not in _OURS}
    shown["hooks"] = {name: hooks.get(name) is True for name in _HOOKS}
    totp = totp_of(account.filters)
    about: Document = {"enabled": True, "config_name": totp.config_name} if totp.enabled else {}
    protocols = {"protocols": list(totp.protocols)} if totp.protocols else {}
    shown["totp_config"] = {**about, "secret": {}, **protocols}
    return shown


_OURS: Final = frozenset(
    (
        "hooks",
        "totp_config",
        "recovery_codes",
        "ip_order",
        "rename_onto",
        "tally_limits",
        "imported_from",
        "geoip",
    )
)
"""Keys that SFTPGo's programs do not know, or that are shown in their own way."""

assert {"ip_order", "rename_onto", "tally_limits", "imported_from", "geoip"} <= {
    *Filters.__dataclass_fields__
}


def _filesystem(given: Document, *, secrets: bool) -> Document:
    shown: Document = {"provider": given.get("provider", 0)}
    for section, names in STORAGE_SECRETS.items():
        options = given.get(section)
        hidden: Document = {name: {} for name in names} if secrets else {}
        shown[section] = {**(options if isinstance(options, dict) else {}), **hidden}
    return shown
