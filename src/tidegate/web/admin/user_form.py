# SPDX-License-Identifier: Apache-2.0
"""The form for an account: from its document to fields and back.

Only what somebody has touched is put into the document; everything else stays as it is stored, so nothing is
lost that the form has no field for, and two people who change different fields do not undo each other's work.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tidegate.accounts.keys import parse_public_keys
from tidegate.errors import BadRecord
from tidegate.web.admin.field_values import Values, get, put, shown
from tidegate.web.admin.forms import Form
from tidegate.web.admin.user_fields import BY_NAME, FIELDS, KINDS

BOXES: Final = (
    ("list", "Fetch"),
    ("download", "Fetch"),
    ("upload", "Put"),
    ("overwrite", "Put"),
    ("create_dirs", "Put"),
    ("copy", "Rearrange"),
    ("chmod", "Attributes"),
    ("chown", "Attributes"),
    ("chtimes", "Attributes"),
    ("create_symlinks", "Attributes"),
)
"""Permissions that are boxes of the matrix, with the group of the column."""
PARTS: Final = ("delete", "rename")
"""Permissions that are given for files, directories or both."""
PRESETS: Final = {
    "Read": ("list", "download"),
    "Drop box": ("upload", "create_dirs"),
    "Exchange": ("list", "download", "upload", "overwrite", "create_dirs", "delete", "rename"),
    "All": ("*",),
}
"""Permissions by the name of a preset."""
MAX_DIRECTORIES: Final = 400
"""Rows of the matrix; with all their fields more do not fit into a form."""
OUTER: Final = ("groups", "role", "virtual_folders")
"""Keys of the document that are edited as JSON."""
REST: Final = (
    "file_patterns",
    "bandwidth_limits",
    "data_transfer_limits",
    "access_time",
    "tally_limits",
    "two_factor_protocols",
)
"""Keys of ``filters`` that are edited as JSON."""

_MINIMAL: Final[dict[str, Any]] = {
    "username": "name",
    "status": 1,
    "home_dir": "/srv/name",
    "permissions": {"/": ["*"]},
    "filters": {},
}
"""A document that is valid, to check one field alone."""


def values_of(document: Mapping[str, Any], *, whole: bool = True) -> Values:
    """The fields of the form for a document; `whole` shows all permissions where it names none."""
    permissions = document.get("permissions") or ({"/": ["*"]} if whole else {})
    values: Values = {
        "username": [str(document.get("username", ""))],
        "enabled": ["1"] if document.get("status", 1) == 1 else [],
        "storage": [str((document.get("filesystem") or {}).get("provider", 0))],
        "key": [str(line) for line in document.get("public_keys", ())],
        "new_keys": [""],
        "password": [""],
        "rest": [_rest_text(document)],
    }
    for field in FIELDS:
        values[field.name] = shown(field, get(document, field.path))
    for index, (path, names) in enumerate(permissions.items()):
        values |= _row(index, path, names)
    values["rows"] = [str(index) for index in range(len(permissions))]
    return values


def posted(form: Form) -> Values:
    """The fields of a form that was sent; boxes that are not ticked are not sent, hence empty.

    Raises:
        BadRecord: there are more than `MAX_DIRECTORIES` rows; leaving some out would give more than is meant.
    """
    values: Values = {name: form.all(name) for name in form if not name.startswith("_")}
    for name in ("enabled", "key", *(field.name for field in FIELDS if field.kind in ("flag", "denied"))):
        values.setdefault(name, [])
    # The row for one more directory is always there; without a path it says nothing.
    values["rows"] = [
        row for row in values.get("rows", ()) if "".join(values.get(f"p{row}-path", ())).strip()
    ]
    if len(values["rows"]) > MAX_DIRECTORIES:
        raise BadRecord("permissions", f"has more than {MAX_DIRECTORIES} directories; REST takes them")
    for row in values["rows"]:
        values.setdefault(f"p{row}", [])
    kept = set(values["rows"])
    return {
        name: value
        for name, value in values.items()
        if not _in_matrix(name) or name == "rows" or _row_of(name) in kept
    }


def touched(before: Values, after: Values) -> set[str]:
    """Names of the fields that differ; a part of the matrix counts as ``permissions``."""
    names = {name for name in after if after[name] != before.get(name, [])}
    matrix = {name for name in names if _in_matrix(name)}
    return (names - matrix) | ({"permissions"} if matrix or _rows(before) != _rows(after) else set())


def merged(before: Values, after: Values, stored: Values) -> tuple[Values, set[str]]:
    """The form of somebody whose account was changed by somebody else meanwhile.

    Returns:
        what they typed, and what is stored now where they did not; and the fields that both have changed.
    """
    mine, theirs = touched(before, after), touched(before, stored)
    kept = {name: after[name] for name in after if name in mine or _in_matrix(name)}
    if "permissions" not in mine:
        kept = {name: value for name, value in kept.items() if not _in_matrix(name)}
        return stored | kept, mine & theirs
    base = {name: value for name, value in stored.items() if not _in_matrix(name)}
    return base | kept, mine & theirs


def apply(document: Mapping[str, Any], values: Values, names: set[str]) -> dict[str, Any]:
    """The document with what the named fields say.

    Raises:
        BadRecord: a value cannot be read; `field` is the name of the form's field.
    """
    made: dict[str, Any] = copy.deepcopy(dict(document))
    kind = (values.get("storage") or ["0"])[0]
    if "enabled" in names:
        made["status"] = 1 if values["enabled"] else 0
    if "storage" in names:
        # A number of three digits is none of ours, but one that the record's own check can name.
        number = kind.isascii() and kind.isdigit() and len(kind) <= 3
        made["filesystem"] = {"provider": int(kind) if number else kind[:40]}
    for field in FIELDS:
        if field.name in names and (not field.storage or field.storage == storage_name(kind)):
            put(made, field, values.get(field.name, ()))
    if "key" in names or "new_keys" in names:
        made["public_keys"] = [*values.get("key", ()), *_new_keys(values)]
    if "permissions" in names:
        made["permissions"] = _permissions(values)
    if "rest" in names:
        _put_rest(made, values["rest"][0])
    return made


def check_one(name: str, values: Values) -> dict[str, Any]:
    """A document that is valid but for one field, to have that field checked alone.

    Raises:
        BadRecord: its value cannot be read.
    """
    document = copy.deepcopy(_MINIMAL)
    if name == "username":
        document["username"] = (values.get(name) or [""])[0]
        return document
    return apply(document, values, {"permissions" if _in_matrix(name) else name})


def field_of(path: str, kind: str) -> str:
    """The field of the form that a mistake in the document belongs to; empty if it has none.

    Args:
        path: `BadRecord.field`, such as ``filters.allowed_ip[0]``.
        kind: number of the storage in the form.
    """
    plain = path.replace("[", ".[")
    known = {field.path: field.name for field in FIELDS if field.storage in ("", storage_name(kind))}
    known |= {
        "username": "username",
        "password": "password",
        "public_keys": "new_keys",
        "permissions": "permissions",
        "virtual_folders": "rest",
        "filesystem": "storage",
        "groups": "rest",
        "role": "rest",
    }
    known |= {f"filters.{key}": "rest" for key in REST}
    fitting = [one for one in known if plain == one or plain.startswith(f"{one}.")]
    own = path in BY_NAME or path in ("username", "new_keys", "rest", "storage", "permissions")
    return path if own else known[max(fitting, key=len)] if fitting else ""


# -- pieces --------------------------------------------------------------------------------------------------


def _in_matrix(name: str) -> bool:
    return name == "rows" or (name[:1] == "p" and name[1:].partition("-")[0].isdigit())


def _row_of(name: str) -> str:
    return name[1:].partition("-")[0]


def _rows(values: Values) -> list[str]:
    return values.get("rows", [])


def storage_name(number: str) -> str:
    """The word for the number of a kind of storage."""
    return next((name for key, name, _ in KINDS if key == number), number)


def _new_keys(values: Values) -> list[str]:
    text = (values.get("new_keys") or [""])[0].strip()
    if not text:
        return []
    try:
        return [key.line for key in parse_public_keys(text)]
    except BadRecord as error:
        raise BadRecord("new_keys", error.what) from None


def _row(index: int, path: str, names: Sequence[str]) -> Values:
    """The fields of one directory of the matrix."""
    given = set(names)
    whole = "*" in given
    values: Values = {
        f"p{index}-path": [path],
        f"p{index}": [name for name, _ in BOXES if whole or name in given],
        f"p{index}-preset": [""],
    }
    for name in PARTS:
        files = whole or name in given or f"{name}_files" in given
        directories = whole or name in given or f"{name}_dirs" in given
        values[f"p{index}-{name}"] = [
            "both" if files and directories else "files" if files else "dirs" if directories else ""
        ]
    return values


def _permissions(values: Values) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for index in _rows(values):
        path = (values.get(f"p{index}-path") or [""])[0].strip()
        if not path:
            continue
        if path in found:
            raise BadRecord("permissions", f"{path} stands there twice")
        preset = (values.get(f"p{index}-preset") or [""])[0]
        if preset in PRESETS:
            found[path] = list(PRESETS[preset])
            continue
        ticked = values.get(f"p{index}", [])
        names = [name for name, _ in BOXES if name in ticked]
        for name in PARTS:
            match (values.get(f"p{index}-{name}") or [""])[0]:
                case "both":
                    names.append(name)
                case "files":
                    names.append(f"{name}_files")
                case "dirs":
                    names.append(f"{name}_dirs")
        found[path] = ["*"] if len(names) == len(BOXES) + len(PARTS) and set(PARTS) <= set(names) else names
    return found


def _rest_text(document: Mapping[str, Any]) -> str:
    filters = document.get("filters") or {}
    rest = {key: filters[key] for key in REST if filters.get(key)}
    rest |= {key: document[key] for key in ("groups", "role") if document.get(key)}
    if mounts := document.get("virtual_folders"):
        shown = ("name", "virtual_path", "quota_size", "quota_files", "mapped_path")
        rest["virtual_folders"] = [{key: one[key] for key in shown if key in one} for one in mounts]
    return json.dumps(rest, indent=2, ensure_ascii=False) if rest else ""


def _put_rest(document: dict[str, Any], text: str) -> None:
    try:
        rest = json.loads(text) if text.strip() else {}
    except RecursionError:
        raise BadRecord("rest", "is nested too deep") from None
    except ValueError as error:
        raise BadRecord("rest", f"is not JSON: {error}") from None
    if not isinstance(rest, dict):
        raise BadRecord("rest", "should be a JSON object")
    if unknown := set(rest) - {*REST, *OUTER}:
        raise BadRecord("rest", f"has no place for {min(unknown)}")
    filters = document.setdefault("filters", {})
    for key in REST:
        filters.pop(key, None)
        if key in rest:
            filters[key] = rest[key]
    document["groups"], document["role"] = rest.get("groups", []), rest.get("role", "")
    stored = {str(one.get("name")): one for one in document.get("virtual_folders") or ()}
    mounts = rest.get("virtual_folders", [])
    if not isinstance(mounts, list):
        raise BadRecord("rest", "virtual_folders should be a list")
    document["virtual_folders"] = [
        {**stored.get(str(one.get("name")), {}), **one} if isinstance(one, dict) else one for one in mounts
    ]
