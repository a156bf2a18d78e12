# SPDX-License-Identifier: Apache-2.0
"""Answers of hooks about users, brought into the form that records are checked in."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from tidegate.model import Account, Filters, FolderMount
from tidegate.store import versions

Document = dict[str, Any]

_USER: Final = frozenset((*(one.name for one in fields(Account)), *versions.USER_KEYS))
_FILTERS: Final = frozenset(
    (*(one.name for one in fields(Filters)), *versions.FILTER_KEYS, "file_extensions")
) - {"extra"}
_MOUNT: Final = frozenset((*(one.name for one in fields(FolderMount)), *versions.MOUNT_KEYS))
_KEPT_BY_US: Final = frozenset(
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
        "last_password_change",
        "created_at",
        "updated_at",
        "tally",
        "has_password",
    )
)
"""Fields that a hook may repeat and cannot set."""


def cleaned(document: Document) -> Document:
    """A user that a hook answered, without what it cannot set and without unknown keys."""
    found = {
        name: value
        for name, value in document.items()
        if name in _USER and name not in _KEPT_BY_US and value is not None
    }
    filters = found.get("filters")
    if isinstance(filters, dict):
        kept = {name: value for name, value in filters.items() if name in _FILTERS and value is not None}
        # Second factors are set up by their owners.
        found["filters"] = {name: value for name, value in kept.items() if name not in _FACTORS}
    mounts = found.get("virtual_folders")
    if isinstance(mounts, list):
        found["virtual_folders"] = [
            {name: value for name, value in mount.items() if name in _MOUNT}
            if isinstance(mount, dict)
            else mount
            for mount in mounts
        ]
    return found


_FACTORS: Final = frozenset(("totp_config", "recovery_codes"))


def merged(base: Document, partial: Document) -> Document:
    """A document with the fields of a partial one: objects key by key, everything else as a whole."""
    result = dict(base)
    for name, value in partial.items():
        if value is None:
            continue
        before = result.get(name)
        both = isinstance(before, dict) and isinstance(value, dict)
        result[name] = merged(before, value) if both else value  # type: ignore[arg-type]
    return result
