# SPDX-License-Identifier: Apache-2.0
"""Parts of folders: SFTPGo mounts a directory of a folder, here it becomes a folder of its own.

Files of that folder count by themselves then; SFTPGo counts them in the whole folder, and lets such a mount
have no quota of its own.
"""

from __future__ import annotations

import hashlib
import posixpath
from typing import Any, Final

from tidegate.store.storages import kind_of

Document = dict[str, Any]

PART_KEYS: Final = ("subpath", "mapped_subdirectory")
"""Names of the field of a mount, by release."""
_PREFIXES: Final = {
    "s3": ("s3config", "key_prefix"),
    "gcs": ("gcsconfig", "key_prefix"),
    "azblob": ("azblobconfig", "key_prefix"),
    "sftp": ("sftpconfig", "prefix"),
}
_NAME_BYTES: Final = 150
"""Bytes of a folder's name that the name of a part of it begins with."""
_DISKS: Final = ("local", "crypt")
_UNUSABLE: Final = (
    "a part of the folder was mounted, which cannot be told: left out; make a folder of that part"
)


def split_off(mount: Document) -> str | None:
    """Have a mount of a part of a folder mount a folder of that part, in place.

    Returns:
        the reason why that cannot be done: the mount would show the whole folder. None if it was done, or
        there was nothing to do.
    """
    given = [value for key in PART_KEYS if (value := mount.pop(key, None))]
    if not given:
        return None
    part = _clean(given[0])
    if part == "" and len(given) == 1:
        return None
    if not part or len(given) > 1 or not _move(mount, part):
        return _UNUSABLE
    whole = str(mount.get("name", ""))
    # Of the folder's name too, for it may be cut: two folders must not become one.
    digest = hashlib.sha256(f"{whole}\0{part}".encode("utf-8", "replace")).hexdigest()[:12]
    readable = "".join(char if char.isascii() and char.isalnum() else "-" for char in part)[:60]
    name = whole.encode("utf-8", "replace")[:_NAME_BYTES].decode("utf-8", "ignore")
    mount["name"] = f"{name}-{readable}-{digest}"
    for key in ("id", "used_quota_size", "used_quota_files", "last_quota_update"):
        mount.pop(key, None)
    return None


def _clean(part: object) -> str | None:
    """A directory below another one; empty for that itself, None for what is none."""
    if not isinstance(part, str) or part.startswith(("/", "\\")) or "\0" in part:
        return None
    clean = posixpath.normpath(part.replace("\\", "/"))
    if clean == ".":
        return ""
    return None if clean == ".." or clean.startswith("../") else clean


def _move(mount: Document, part: str) -> bool:
    """Lead a mount to a part of where it leads; False if that cannot be told."""
    storage = mount.get("filesystem")
    storage = storage if isinstance(storage, dict) else {}
    kind = kind_of(storage.get("provider", 0))
    mapped = mount.get("mapped_path")
    if not isinstance(mapped, str) or not mapped.startswith("/"):
        return False  # a new folder has to be described by who mounts it
    if kind in _DISKS:
        mount["mapped_path"] = posixpath.join(mapped, part)
        return True
    if kind is None or kind not in _PREFIXES:
        return False
    section, key = _PREFIXES[kind]
    config = storage.get(section)
    if not isinstance(config, dict):
        return False
    before = config.get(key) or ""
    if not isinstance(before, str):
        return False
    joined = posixpath.join(before, part)
    config = {**config, key: joined if kind == "sftp" else f"{joined}/"}
    mount["filesystem"] = {**storage, section: config}
    return True
