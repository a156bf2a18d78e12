# SPDX-License-Identifier: Apache-2.0
"""Documents of other versions: older spellings, and keys that are not ours."""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any, Final

from tidegate.errors import BadRecord

DERIVED: Final = "derived"
"""Computed from other records when a document is written; nothing to keep."""
_ABSENT: Final = "absent"
"""A feature of other versions that is not here: kept, and noted if it is used."""


HELD: Final = "held"
"""Acted on, and kept beside the fields of the model: it holds secrets, or is another room's business."""
REFUSED: Final = "refused"
"""It narrows what the record gives and is not here: without it the record would give more than it says."""


def _table(absent: str, derived: str = "", held: str = "", refused: str = "") -> dict[str, str]:
    parts = ((absent, _ABSENT), (derived, DERIVED), (held, HELD), (refused, REFUSED))
    return {name: treatment for names, treatment in parts for name in names.split()}


USER_KEYS: Final = _table("oidc_custom_fields", "has_password")
FILTER_KEYS: Final = _table(
    "tls_certs web_client user_type "
    "2fa_protocols default_shares_expiration max_shares_expiration "
    "additional_emails custom1 custom_placeholders",
    held="totp_config recovery_codes hooks check_password_disabled",
)
FORMERLY_KEPT: Final = ("is_anonymous", "data_transfer_limits")
"""Filters that earlier versions kept without effect, beside the fields of the model.

What a record of theirs has kept is not acted on: who opened such an account then did not mean that.
"""
MOUNT_KEYS: Final = _table("", "id users groups", refused="subpath mapped_subdirectory")
FOLDER_KEYS: Final = _table("", "id users groups virtual_path quota_size quota_files")
ADMIN_KEYS: Final = _table("", "has_password", held="groups")
GROUP_KEYS: Final = _table("", "users admins")
ROLE_KEYS: Final = _table("", "users admins")
ADMIN_FILTER_KEYS: Final = _table("preferences", held="totp_config recovery_codes passkeys")
API_KEY_KEYS: Final = _table("", "has_key")


def modernise_account(plain: dict[str, Any], where: str) -> None:
    """Rewrite 0.9 spellings in place: permission lists, extension filters, inline folders."""
    permissions = plain.get("permissions")
    if isinstance(permissions, list):
        plain["permissions"] = {"/": permissions}
    elif isinstance(permissions, dict):
        plain["permissions"] = {path: [] if names is None else names for path, names in permissions.items()}
    filters = plain.get("filters")
    if isinstance(filters, dict):
        _modernise_extensions(filters, f"{where}filters.")
    mounts = plain.get("virtual_folders")
    if isinstance(mounts, list):
        for mount in mounts:
            if (
                isinstance(mount, dict)
                and not mount.get("name")
                and isinstance(mount.get("mapped_path"), str)
            ):
                mount["name"] = folder_name(mount["mapped_path"])


def is_ours(document: object) -> bool:
    """True if a record of a dump was written by this program: SFTPGo has no such keys."""
    return isinstance(document, dict) and "tally" in document  # every account of ours has it


def renames_replace(document: object) -> bool:
    """True if a user of a dump comes from SFTPGo, whose RENAME replaces what has the new name."""
    if not isinstance(document, dict) or is_ours(document):
        return False
    filters = document.get("filters")
    return not (isinstance(filters, dict) and "rename_onto" in filters)


def _modernise_extensions(filters: dict[str, Any], where: str) -> None:
    """0.9.6 compared suffixes; a pattern ``*suffix`` does the same."""
    old = filters.pop("file_extensions", None)
    if not old:
        return
    if not isinstance(old, list):
        raise BadRecord(f"{where}file_extensions", "should be a list")
    patterns = filters.get("file_patterns") or []
    if not isinstance(patterns, list):
        raise BadRecord(f"{where}file_patterns", "should be a list")
    for index, item in enumerate(old):
        key_path = f"{where}file_extensions[{index}]"
        if not isinstance(item, dict):
            raise BadRecord(key_path, "should be a JSON object")
        patterns.append(
            {
                "path": item.get("path", "/"),
                "allowed_patterns": _suffixes(
                    item.get("allowed_extensions"), f"{key_path}.allowed_extensions"
                ),
                "denied_patterns": _suffixes(item.get("denied_extensions"), f"{key_path}.denied_extensions"),
            }
        )
    filters["file_patterns"] = patterns


def _suffixes(value: object, where: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRecord(where, "should be a list of texts")
    # A bracket opens a class in a pattern and was plain text in a suffix.
    escaped = (item.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]") for item in value)
    return [f"*{item}" for item in escaped]


def folder_name(mapped_path: str) -> str:
    """The name of a folder that a 0.9 document gives only by its directory.

    The path with dashes for slashes; where that alone could mean two directories, a digest is added.
    """
    clean = posixpath.normpath(mapped_path or "/")
    plain = clean.strip("/").replace("/", "-") or "root"
    if (
        "-" in clean
        or len(plain.encode("utf-8", "replace")) > 200
        or not plain.isprintable()
        or plain != plain.strip()
    ):
        digest = hashlib.sha256(clean.encode("utf-8", "replace")).hexdigest()[:12]
        readable = "".join(char if char.isascii() and char.isalnum() else "-" for char in plain)[:100]
        plain = f"{readable}-{digest}"
    return plain
