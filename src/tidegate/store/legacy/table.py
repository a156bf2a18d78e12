# SPDX-License-Identifier: Apache-2.0
"""The fate of every field of SFTPGo's dumps, 0.9 to 2.7: one row a field.

The row of a field changes when the thing itself is built here, and nothing else has to.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Fate(enum.Enum):
    """Fates of a field that is set."""

    CARRIED = "carried"
    """it means the same here"""
    CONVERTED = "converted"
    """another field here says the same, or something stricter"""
    HARMLESS = "harmless"
    """kept without effect: it restricts nothing that can be done here"""
    RESTRICTS = "restricts"
    """it restricts and is not carried: who has it comes in closed; no row of this table"""


@dataclass(frozen=True, slots=True)
class Row:
    """One field.

    Attributes:
        since: first release that has it.
        fate: see `Fate`.
        todo: what the operator has to do, or why nothing; empty for what is carried.
    """

    since: str
    fate: Fate
    todo: str = ""


_CARRIED: Final = Row("0.9", Fate.CARRIED)


def _rows(text: str, since: str = "0.9", fate: Fate = Fate.CARRIED, todo: str = "") -> dict[str, Row]:
    row = Row(since, fate, todo)
    return dict.fromkeys(text.split(), row)


def _harmless(text: str, since: str, todo: str) -> dict[str, Row]:
    return _rows(text, since, Fate.HARMLESS, todo)


def _converted(text: str, since: str, todo: str) -> dict[str, Row]:
    return _rows(text, since, Fate.CONVERTED, todo)


_STORAGE = (
    "S3, Google, Azure and SFTP servers come over; files that SFTPGo has encrypted, and other storage, "
    "cannot be reached"
)

USERS: Final = {
    **_rows(
        "id status username expiration_date password public_keys home_dir uid gid max_sessions quota_size "
        "quota_files permissions used_quota_size used_quota_files last_quota_update upload_bandwidth "
        "download_bandwidth last_login filters virtual_folders"
    ),
    **_converted("filesystem", "0.9.6", _STORAGE),
    **_rows("description additional_info", "1.2"),
    **_rows(
        "email created_at updated_at last_password_change first_download first_upload "
        "upload_data_transfer download_data_transfer total_data_transfer used_upload_data_transfer "
        "used_download_data_transfer",
        "2.1",
    ),
    **_harmless("has_password", "2.4", "says only that there is a password"),
    **_rows("groups", "2.3"),
    **_rows("role", "2.5"),
    **_harmless("oidc_custom_fields", "2.4", "single sign-on is not available in this version"),
}

_TWO_FACTOR = "set one-time codes up anew (totp --enable), or open it if one factor will do"

FILTERS: Final = {
    **_rows("allowed_ip denied_ip", "0.9.5"),
    **_rows("denied_login_methods", "0.9.6"),
    **_converted("file_extensions", "0.9.6", "suffixes become patterns"),
    **_rows("file_patterns", "1.2"),
    **_rows("denied_protocols max_upload_file_size", "1.2"),
    **_rows("disable_fs_checks", "2.0"),
    **_rows("allow_api_key_auth", "2.1"),
    **_rows("bandwidth_limits external_auth_cache_time", "2.2"),
    **_rows("start_directory", "2.3"),
    **_rows("password_expiration password_strength", "2.4"),
    **_rows("access_time require_password_change", "2.5"),
    **_rows("tls_username", "2.1"),
    **_harmless("tls_certs", "2.6", "certificates log in by the name in them, not by being listed"),
    **_rows("hooks", "2.0"),
    **_rows("check_password_disabled", "1.2"),
    **_harmless(
        "web_client",
        "2.1",
        "mfa-disabled holds for the REST API; the rest speaks of web pages for users, which are not here",
    ),
    **_harmless("user_type", "2.2", "a remark of SFTPGo's plugins"),
    **_rows("data_transfer_limits", "2.2"),
    **_rows("two_factor_protocols", "2.2"),
    **_converted("2fa_protocols", "2.2", _TWO_FACTOR),
    **_converted("totp_config", "2.2", _TWO_FACTOR),
    **_converted("recovery_codes", "2.2", "those in plain text become hashes, others go"),
    **_rows("ftp_security", "2.3"),
    **_rows("is_anonymous", "2.4"),
    **_harmless("default_shares_expiration max_shares_expiration", "2.4", "no shares in this version"),
    **_harmless("additional_emails", "2.6", "mail of event rules goes to `email` alone"),
    **_rows("custom_placeholders", "2.7"),
    **_harmless("custom1", "2.7", "`custom_placeholders` is what counts"),
}
"""Keys of `filters`; one that is not here is taken for a restriction."""

PATTERNS: Final = {
    **_rows("path allowed_patterns denied_patterns", "1.2"),
    **_rows("deny_policy", "2.3"),
}
WINDOWS: Final = _rows("day_of_week from to", "2.5")
BANDWIDTHS: Final = _rows("sources upload_bandwidth download_bandwidth", "2.2")
TRANSFERS: Final = _rows("sources upload_data_transfer download_data_transfer total_data_transfer", "2.2")
MOUNTS: Final = {
    **_rows("virtual_path mapped_path", "0.9.6"),
    **_rows("id quota_size quota_files used_quota_size used_quota_files last_quota_update", "1.0"),
    **_rows("name description", "1.2"),
    **_harmless("users", "1.0", "says only who mounts it"),
    **_harmless("groups", "2.3", "says only who mounts it"),
    **_converted("filesystem", "2.0", _STORAGE),
    **_converted("subpath mapped_subdirectory", "2.7", "a folder of that part of the folder"),
}
NESTED: Final = {
    "file_patterns": PATTERNS,
    "access_time": WINDOWS,
    "bandwidth_limits": BANDWIDTHS,
    "data_transfer_limits": TRANSFERS,
}
"""Lists of objects within `filters`."""

ADMINS: Final = {
    **_rows("id status username description password email permissions filters additional_info", "2.0"),
    **_rows("created_at updated_at last_login", "2.1"),
    **_harmless("has_password", "2.4", "says only that there is a password"),
    **_rows("groups", "2.3"),
    **_rows("role", "2.5"),
}
ADMIN_FILTERS: Final = {
    **_rows("allow_list", "2.0"),
    **_rows("allow_api_key_auth", "2.1"),
    **_rows("require_password_change", "2.6"),
    **_rows("require_two_factor", "2.4"),
    **_converted("totp_config", "2.2", _TWO_FACTOR),
    **_converted("recovery_codes", "2.2", "those in plain text become hashes, others go"),
    **_harmless("preferences", "2.3", "settings of SFTPGo's pages"),
}

FOLDERS: Final = {
    **_rows("mapped_path used_quota_size used_quota_files last_quota_update", "1.0"),
    **_rows("name description", "1.2"),
    **_harmless("id users groups virtual_path quota_size quota_files", "1.0", "says only who mounts it"),
    **_converted("filesystem", "2.0", _STORAGE),
}
GROUPS: Final = {
    **_rows("id name description created_at updated_at user_settings virtual_folders", "2.3"),
    **_harmless("users admins", "2.3", "says only who has it"),
}
GROUP_SETTINGS: Final = {
    **_rows(
        "home_dir max_sessions quota_size quota_files permissions upload_bandwidth download_bandwidth "
        "upload_data_transfer download_data_transfer total_data_transfer filters",
        "2.3",
    ),
    **_converted("filesystem", "2.3", _STORAGE),
    **_rows("expires_in", "2.4"),
}
"""Fields of `user_settings` of groups; their `filters` are judged as those of users."""
ROLES: Final = {
    **_rows("id name description created_at updated_at", "2.5"),
    **_harmless("users admins", "2.5", "says only who has it"),
}
API_KEYS: Final = {
    **_rows("id name key scope user admin description expires_at created_at updated_at last_use_at", "2.1"),
    **_harmless("has_key", "2.1", "says only that there is a key"),
}

EVENT_ACTIONS: Final = {
    **_rows("id name description type options", "2.4"),
    **_harmless("rules", "2.4", "says only which rules use it"),
}
EVENT_RULES: Final = {
    **_rows("id name status description created_at updated_at trigger conditions actions", "2.4")
}

SECTIONS: Final = {
    **_rows("users version"),
    **_rows("folders", "1.0"),
    **_rows("admins", "2.0"),
    **_rows("api_keys", "2.1"),
    **_rows("groups", "2.3"),
    **_harmless("shares", "2.1", "not available in this version; the links stop working"),
    **_rows("event_actions event_rules", "2.4"),
    **_rows("roles", "2.5"),
    **_rows("ip_lists", "2.5"),
    **_harmless("configs", "2.5", "settings of SFTPGo's pages; the configuration file speaks here"),
}
"""Parts of a dump."""


def asks(value: object) -> bool:
    """True if a value says anything: an object or list of empty things does not, nor does a zero."""
    if isinstance(value, dict):
        return any(map(asks, value.values()))
    if isinstance(value, list):
        return any(map(asks, value))
    return bool(value)
