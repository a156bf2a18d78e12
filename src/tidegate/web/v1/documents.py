# SPDX-License-Identifier: Apache-2.0
"""Users as SFTPGo 0.9.6 spells them, to and from the documents of today.

An update there was read over the stored user: what a document leaves out stays. What an account has and 0.9
has no word for is not shown, and stays likewise. The meaning of the old words is that of a move
(`store.legacy`); a document that restricts somebody in words that have none here is refused.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Any, Final

from tidegate.accounts.rules import StorageChecks
from tidegate.errors import BadRecord
from tidegate.model import Account, FilePatterns
from tidegate.store.documents import encode_account
from tidegate.store.legacy.account import MAGIC, Judged, convert_user
from tidegate.store.legacy.era import era_of
from tidegate.store.legacy.patterns import from_suffix
from tidegate.store.storages import kind_of, shown_storage

Document = dict[str, Any]

RELEASE: Final = "0.9.6"
"""The release whose words are spoken."""
_PLAIN: Final = (
    "id", "status", "username", "expiration_date", "public_keys", "home_dir", "uid", "gid", "max_sessions",
    "quota_size", "quota_files", "permissions", "used_quota_size", "used_quota_files", "last_quota_update",
    "upload_bandwidth", "download_bandwidth", "last_login",
)  # fmt: skip
"""Fields that mean what they meant."""
_LISTS: Final = ("allowed_ip", "denied_ip", "denied_login_methods")
_SECTIONS: Final = {"s3": "s3config", "gcs": "gcsconfig"}
_ESCAPED: Final = re.compile(r"\\([*?\[\\])")


def shown_user(account: Account) -> Document:
    """The document of an account, without password and secrets."""
    full = encode_account(account, confidential=False)
    made: Document = {name: full[name] for name in _PLAIN}
    if not made["public_keys"]:
        del made["public_keys"]
    made["permissions"] = {_plain_path(path): names for path, names in made["permissions"].items()}
    if mounts := account.virtual_folders:
        made["virtual_folders"] = [
            {"virtual_path": one.virtual_path, "mapped_path": one.mapped_path} for one in mounts
        ]
    filters: Document = {name: full["filters"][name] for name in _LISTS if full["filters"][name]}
    if extensions := _extensions(account.filters.file_patterns):
        filters["file_extensions"] = extensions
    made["filters"] = filters
    storage = shown_storage(account.filesystem)
    made["filesystem"] = {"provider": storage.get("provider", 0)} | {
        section: storage.get(section) or {} for section in _SECTIONS.values()
    }
    return made


def new_user(given: Document, storages: StorageChecks | None) -> Document:
    """The document of today for one that adds a user; who does not say that they are enabled is not.

    Raises:
        BadRecord: a part is not of the form that it should have, or has no meaning here.
    """
    made = _converted({"status": 0, **given}, storages)
    made.pop("id", None)
    _storage(made, {})
    return made


def changed_user(given: Document, stored: Account, storages: StorageChecks | None) -> Document:
    """The document of today for one that changes a user.

    Raises:
        BadRecord: as `new_user`, or it would replace file patterns that it cannot have seen.
    """
    before, was_shown = encode_account(stored, confidential=False), shown_user(stored)
    given = {**given, "filters": _object(given.get("filters"), "filters")}
    if given.get("permissions") == was_shown["permissions"]:
        del given["permissions"]
    methods = given["filters"].get("denied_login_methods")
    if isinstance(methods, list) and methods == was_shown["filters"].get("denied_login_methods", []):
        del given["filters"]["denied_login_methods"]
    if "file_extensions" in given["filters"] and _extensions(stored.filters.file_patterns) is None:
        raise BadRecord(
            "filters.file_extensions", "this user has file patterns that /api/v1 cannot show; use /api/v2"
        )
    made = _converted(given, storages)
    _storage(made, before["filesystem"])
    _mounts(made, before)
    if not made.get("permissions"):
        made.pop("permissions", None)
    return {**before, **made, "filters": {**before["filters"], **made["filters"]}}


def _converted(given: Document, storages: StorageChecks | None) -> Document:
    """The document in the words of today; its id and filters are there.

    Raises:
        BadRecord: as `new_user`.
    """
    made = {**given, "filters": _object(given.get("filters"), "filters")}
    cleared = not made["filters"].get("file_extensions", [None])
    # A server that answers keyboard-interactive logins with the password asks more of who denies that.
    era = replace(era_of(None, RELEASE), keyboard=not made["filters"].get("denied_login_methods"))
    judged = Judged(storages)
    convert_user(made, era, judged, "")
    if judged.closes:
        field, text = judged.closes[0]
        raise BadRecord(field, text)
    if cleared:
        made["filters"]["file_patterns"] = []
    for field in (*_LISTS, "file_patterns"):
        if made["filters"].get(field, ()) is None:
            made["filters"][field] = []
    return made


def _object(value: object, field: str) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRecord(field, "should be a JSON object")
    return {**value}


def _storage(made: Document, before: Document) -> None:
    """Settle `filesystem`: sections of other kinds go, what it leaves out stays, secrets get their form."""
    given = made.get("filesystem")
    if given is None:
        made.pop("filesystem", None)
        return
    given = _object(given, "filesystem")
    kind = kind_of(given.get("provider", 0))
    same = kind == kind_of(before.get("provider", 0))
    section = _SECTIONS.get(kind or "")
    if section is None:
        # Of a kind that 0.9 did not know nothing but its number was shown.
        made["filesystem"] = before if same and before else given
        return
    options = _object(given.get(section), f"filesystem.{section}")
    for name in ("access_secret", "credentials"):
        if isinstance(text := options.get(name), str):
            options[name] = {"status": "Plain", "payload": _secret(name, text)}
        if options.get(name, "") in (None, "", {}) or options.get(name) == {"status": "Plain", "payload": ""}:
            options.pop(name, None)
    kept = _object(before.get(section), section) if same else {}
    made["filesystem"] = {"provider": given["provider"], section: {**kept, **options}}


def _secret(name: str, text: str) -> str:
    """The text of a secret; credentials were sent as base64 of their JSON."""
    if name != "credentials":
        return text
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, ValueError):
        raise BadRecord("filesystem.gcsconfig.credentials", "should be base64") from None


def _mounts(made: Document, before: Document) -> None:
    """Mounts that stay where they were keep what 0.9 did not show of them."""
    given = made.get("virtual_folders")
    if not isinstance(given, list):
        return
    known = {(one["virtual_path"], one["mapped_path"]): one for one in before["virtual_folders"]}
    made["virtual_folders"] = [_mount(one, known) for one in given]


def _mount(given: Any, known: dict[tuple[str, str], Document]) -> Any:
    if not isinstance(given, dict):
        return given
    virtual, mapped = given.get("virtual_path"), given.get("mapped_path")
    if not (isinstance(virtual, str) and isinstance(mapped, str)):
        return given
    return known.get((virtual, mapped), given)


def _plain_path(path: str) -> str:
    """A directory of permissions as 0.9 knew it: text, no pattern."""
    plain = _ESCAPED.sub(r"\1", path)
    return plain if MAGIC.sub(r"\\\g<0>", plain) == path else path


def _extensions(patterns: tuple[FilePatterns, ...]) -> list[Document] | None:
    """The extensions of 0.9.6 that say what file patterns say; None if none do."""
    found: list[Document] = []
    for one in patterns:
        both = bool(one.allowed_patterns and one.denied_patterns)
        if one.preset or one.deny_policy or one.directories != "none" or (both and one.order != "denied"):
            return None
        item: Document = {"path": one.path}
        for side, texts in (("allowed", one.allowed_patterns), ("denied", one.denied_patterns)):
            suffixes = [_ESCAPED.sub(r"\1", text[1:]) for text in texts]
            if any(
                from_suffix(suffix, denied=side == "denied") != text
                for suffix, text in zip(suffixes, texts, strict=True)
            ):
                return None
            item[f"{side}_extensions"] = suffixes
        found.append(item)
    return found
