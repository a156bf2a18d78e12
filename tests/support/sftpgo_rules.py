# SPDX-License-Identifier: Apache-2.0
"""An oracle: what SFTPGo of an era answers by its own rules, read from a dump as it is.

Written from facts about its behaviour, apart from the code under test: it shares nothing with it. Where a
dump does not tell which of two readings holds, an act is allowed only if both allow it.
"""

from __future__ import annotations

import ipaddress
import posixpath
from itertools import product
from typing import Any

Document = dict[str, Any]

NEEDS = {
    "download": ("download",),
    "upload": ("upload",),
    "mkdir": ("create_dirs",),
    "delete": ("delete", "delete_files"),
}


def go_match(pattern: str, name: str) -> bool:
    """Go's `path.Match` on a base name; a malformed pattern matches nothing."""
    tokens = _tokens(pattern)
    return tokens is not None and _fits(tokens, name)


def _tokens(pattern: str) -> list[Any] | None:
    tokens: list[Any] = []
    chars = list(pattern)
    while chars:
        char = chars.pop(0)
        if char in "*?":
            tokens.append(char)
        elif char == "\\":
            if not chars:
                return None
            tokens.append(("is", chars.pop(0)))
        elif char == "[":
            negated = bool(chars) and chars[0] == "^"
            if negated:
                chars.pop(0)
            ranges: list[tuple[str, str]] = []
            while True:
                if not chars:
                    return None
                if chars[0] == "]" and ranges:
                    chars.pop(0)
                    break
                ends = []
                for _ in range(2):
                    if not chars or chars[0] in "-]":
                        return None
                    one = chars.pop(0)
                    if one == "\\":
                        if not chars:
                            return None
                        one = chars.pop(0)
                    ends.append(one)
                    if len(ends) == 1 and chars and chars[0] == "-":
                        chars.pop(0)
                    else:
                        break
                if not chars:
                    return None
                ranges.append((ends[0], ends[-1]))
            tokens.append(("not" if negated else "in", ranges))
        else:
            tokens.append(("is", char))
    return tokens


def _fits(tokens: list[Any], name: str) -> bool:
    if not tokens:
        return not name
    first, rest = tokens[0], tokens[1:]
    if first == "*":
        return any(_fits(rest, name[at:]) for at in range(len(name) + 1))
    if not name:
        return False
    if first == "?":
        good = True
    elif first[0] == "is":
        good = first[1] == name[0]
    else:
        inside = any(low <= name[0] <= high for low, high in first[1])
        good = inside is (first[0] == "in")
    return good and _fits(rest, name[1:])


def readings(dump: Document) -> list[Document]:
    """Every meaning that the dump's words may have."""
    version = dump.get("version") or 0
    orders = [True, False] if version == 16 else [version < 17]
    stars = [version >= 17] if version in (0, 17) else [True, False]
    return [
        {
            "denied_first": order,
            "stars": star,
            "directories": version > 10,
            "overwrites": version >= 8,
            "ip_denied_first": version < 13,
            "keyboard": version > 13,
        }
        for order, star in product(orders, stars)
    ]


def merged(dump: Document, name: str) -> Document:
    """The user with what the groups give."""
    user = next(user for user in dump["users"] if user["username"] == name)
    user = {**user, "permissions": dict(user["permissions"]), "filters": dict(user.get("filters") or {})}
    filters = user["filters"]
    groups = {group["name"]: group["user_settings"] for group in dump.get("groups") or ()}
    chosen = [(item["type"], groups[item["name"]]) for item in user.get("groups") or () if item["type"] < 3]
    for kind, group in sorted(chosen, key=lambda item: item[0]):
        if kind == 1:
            _inherit(user, group)
        for path, names in (group.get("permissions") or {}).items():
            path = path.replace("%username%", name)
            if path == "/" and kind == 1:
                user["permissions"]["/"] = names
            elif path != "/":
                user["permissions"].setdefault(path, names)
        theirs = group.get("filters") or {}
        for key in (
            "allowed_ip",
            "denied_ip",
            "denied_login_methods",
            "denied_protocols",
            "two_factor_protocols",
            "data_transfer_limits",
        ):
            if theirs.get(key):
                filters[key] = [*filters.get(key, ()), *theirs[key]]
        have = {item["path"] for item in filters.get("file_patterns") or ()}
        for item in theirs.get("file_patterns") or ():
            if item["path"] not in have and (kind == 1 or item["path"] != "/"):
                filters["file_patterns"] = [*(filters.get("file_patterns") or ()), item]
    return user


NUMBERS = ("max_sessions", "quota_size", "quota_files", "upload_bandwidth", "download_bandwidth")
TRANSFERS = ("upload_data_transfer", "download_data_transfer", "total_data_transfer")


def _inherit(user: Document, group: Document) -> None:
    """Take over from the primary group whatever the user has not set."""
    for key in NUMBERS:
        user[key] = user.get(key) or group.get(key, 0)
    if not any(user.get(key) for key in TRANSFERS):
        user.update({key: group.get(key, 0) for key in TRANSFERS})
    filters, theirs = user["filters"], group.get("filters") or {}
    for key in ("max_upload_file_size", "is_anonymous"):
        filters[key] = filters.get(key) or theirs.get(key)


def limits(dump: Document, name: str, ip: str) -> dict[str, int]:
    """The limits of a user for a client, those below 1 left out."""
    user = merged(dump, name)
    found = {key: user.get(key, 0) for key in (*NUMBERS, *TRANSFERS)}
    found["max_upload_file_size"] = user["filters"].get("max_upload_file_size") or 0
    for entry in user["filters"].get("data_transfer_limits") or ():
        if _within(ip, entry["sources"]):
            found |= {key: entry.get(key, 0) for key in TRANSFERS}
            break
    for mount in user.get("virtual_folders") or ():
        for key in ("quota_size", "quota_files"):
            found[f"{mount['virtual_path']} {key}"] = mount.get(key, 0)
    return {key: value for key, value in found.items() if value > 0}


def _within(ip: str, networks: list[str]) -> bool:
    return any(ipaddress.ip_address(ip) in ipaddress.ip_network(text, strict=False) for text in networks)


def may_log_in(dump: Document, name: str, method: str, ip: str, door: str = "SSH") -> bool:
    """True if every reading lets the user in with the right credential."""
    return all(_logs_in(merged(dump, name), method, ip, door, reading) for reading in readings(dump))


def _logs_in(user: Document, method: str, ip: str, door: str, reading: Document) -> bool:
    filters = user["filters"]
    denied = set(filters.get("denied_login_methods") or ())
    if user["status"] != 1 or door in (filters.get("denied_protocols") or ()):
        return False
    if door in (filters.get("two_factor_protocols") or ()):
        return False
    if filters.get("is_anonymous") and (door not in ("FTP", "DAV") or method != "password"):
        return False
    if door != "SSH" and method != "password":
        return False
    words = {method, "password-over-SSH"} if method == "password" and door == "SSH" else {method}
    if words & denied or (method == "keyboard-interactive" and not reading["keyboard"]):
        return False
    allowed_ip, denied_ip = filters.get("allowed_ip") or [], filters.get("denied_ip") or []
    if reading["ip_denied_first"] and _within(ip, denied_ip):
        return False
    if _within(ip, allowed_ip):
        return True
    return not _within(ip, denied_ip) and not allowed_ip


def may(dump: Document, name: str, act: str, path: str) -> bool:
    """True if every reading allows an act on a path."""
    return all(_allows(merged(dump, name), act, path, reading) for reading in readings(dump))


def _allows(user: Document, act: str, path: str, reading: Document) -> bool:
    parent = posixpath.dirname(path)
    if not _grants(user, parent, set(NEEDS[act]), reading):
        return False
    filters = user["filters"]
    extensions = _nearest(filters.get("file_extensions") or [], parent)
    if extensions is not None and act in ("download", "upload"):
        lowered = path.lower()
        if any(lowered.endswith(suffix) for suffix in extensions.get("denied_extensions") or ()):
            return False
        allowed = extensions.get("allowed_extensions") or ()
        if allowed and not any(lowered.endswith(suffix) for suffix in allowed):
            return False
    entries = filters.get("file_patterns") or []
    if reading["directories"] and _hidden_above(entries, parent, reading):
        return False
    if act == "mkdir" and (not reading["directories"] or any(item["path"] == path for item in entries)):
        return True  # who has patterns of its own is not judged by name
    entry = _speaking(entries, parent, reading)
    return entry is None or _names(entry, posixpath.basename(path), reading)


def _grants(user: Document, directory: str, any_of: set[str], reading: Document) -> bool:
    """True if one of some permissions is given in a directory; anonymous users have two, whatever is given."""
    granted = set(_granted(user["permissions"], directory, stars=reading["stars"]))
    if user["filters"].get("is_anonymous"):
        granted = {"list", "download"}
    return "*" in granted or bool(any_of & granted)


def may_list(dump: Document, name: str, directory: str) -> bool:
    """True if every reading lists a directory."""
    user = merged(dump, name)
    return all(
        _grants(user, directory, {"list"}, reading)
        and not (reading["directories"] and _hidden_above(_entries(user), directory, reading))
        for reading in readings(dump)
    )


def shows(dump: Document, name: str, path: str, *, is_dir: bool) -> bool:
    """True if every reading shows a name in the listing of its directory."""
    user = merged(dump, name)
    return all(_shows(_entries(user), path, is_dir, reading) for reading in readings(dump))


def _shows(entries: list[Document], path: str, is_dir: bool, reading: Document) -> bool:
    if not reading["directories"]:  # names are hidden since the release that judges directories too
        return True
    if is_dir:
        return not _hidden_above(entries, path, reading)
    entry = _speaking(entries, posixpath.dirname(path), reading)
    return entry is None or entry.get("deny_policy") != 1 or _names(entry, posixpath.basename(path), reading)


def may_rename(
    dump: Document, name: str, source: str, target: str, *, is_dir: bool, exists: bool = False
) -> bool:
    """True if every reading renames a file, or a directory with files and directories in it."""
    user = merged(dump, name)
    return all(_renames(user, source, target, is_dir, exists, reading) for reading in readings(dump))


def _renames(  # noqa: PLR0917  the facts of one question
    user: Document, source: str, target: str, is_dir: bool, exists: bool, reading: Document
) -> bool:
    kinds = ("rename_dirs", "rename_files") if is_dir else ("rename_files",)
    old = reading["denied_first"] and not reading["directories"]  # only where it came to was asked then
    for directory in [posixpath.dirname(path) for path in ((target,) if old else (source, target))]:
        if not all(_grants(user, directory, {"rename", kind}, reading) for kind in kinds):
            return False
    replaces = exists and reading["overwrites"]
    if replaces and not _grants(user, posixpath.dirname(target), {"overwrite"}, reading):
        return False
    return all(_may_be_named(_entries(user), path, is_dir, reading) for path in (source, target))


def _may_be_named(entries: list[Document], path: str, is_dir: bool, reading: Document) -> bool:
    parent = posixpath.dirname(path)
    if reading["directories"] and _hidden_above(entries, parent, reading):
        return False
    if is_dir and (not reading["directories"] or any(item["path"] == path for item in entries)):
        return True
    entry = _speaking(entries, parent, reading)
    return entry is None or _names(entry, posixpath.basename(path), reading)


def _entries(user: Document) -> list[Document]:
    return user["filters"].get("file_patterns") or []


def _hidden_above(entries: list[Document], directory: str, reading: Document) -> bool:
    while directory != "/":
        entry = _speaking(entries, posixpath.dirname(directory), reading)
        own = any(item["path"] == directory for item in entries)
        hides = entry is not None and not own and entry.get("deny_policy") == 1
        if hides and not _names(entry or {}, posixpath.basename(directory), reading):
            return True
        directory = posixpath.dirname(directory)
    return False


def _names(entry: Document, name: str, reading: Document) -> bool:
    """True if one entry allows a name."""
    allowed = any(go_match(p.lower(), name.lower()) for p in entry.get("allowed_patterns") or ())
    denied = any(go_match(p.lower(), name.lower()) for p in entry.get("denied_patterns") or ())
    if denied and (reading["denied_first"] or not allowed):
        return False
    return allowed or not entry.get("allowed_patterns")


def _nearest(entries: list[Document], directory: str) -> Document | None:
    while True:
        for entry in entries:
            if entry["path"] == directory:
                return entry
        if directory == "/":
            return None
        directory = posixpath.dirname(directory)


def _speaking(entries: list[Document], directory: str, reading: Document) -> Document | None:
    """The nearest entry, unless it denies all and lets a directory on the way through."""
    entry = _nearest(entries, directory)
    if entry is None or entry["path"] == directory or reading["denied_first"]:
        return entry
    below = directory.removeprefix(entry["path"].rstrip("/") + "/").partition("/")[0]
    denies_all = (entry.get("denied_patterns") or [""])[0] == "*"
    frees = bool(entry.get("allowed_patterns")) and denies_all and _names(entry, below, reading)
    return None if frees else entry


def _granted(permissions: dict[str, list[str]], directory: str, *, stars: bool) -> list[str]:
    while directory != "/":
        if directory in permissions:
            return permissions[directory]
        if stars:
            # A map of Go has no order: whichever of the patterns that match may decide.
            found = []
            for path, names in permissions.items():
                parts, own = path.split("/"), directory.split("/")
                if len(parts) == len(own) and all(map(go_match, parts, own)):
                    found.append(set(names))
            if found:
                limited = [names for names in found if "*" not in names]
                return sorted(set.intersection(*limited)) if limited else ["*"]
        directory = posixpath.dirname(directory)
    return permissions["/"]
