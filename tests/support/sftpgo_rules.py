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
        ):
            if theirs.get(key):
                filters[key] = [*filters.get(key, ()), *theirs[key]]
        have = {item["path"] for item in filters.get("file_patterns") or ()}
        for item in theirs.get("file_patterns") or ():
            if item["path"] not in have and (kind == 1 or item["path"] != "/"):
                filters["file_patterns"] = [*(filters.get("file_patterns") or ()), item]
    return user


def may_log_in(dump: Document, name: str, method: str, ip: str) -> bool:
    """True if every reading lets the user in with the right credential."""
    return all(_logs_in(merged(dump, name), method, ip, reading) for reading in readings(dump))


def _logs_in(user: Document, method: str, ip: str, reading: Document) -> bool:
    filters = user["filters"]
    denied = set(filters.get("denied_login_methods") or ())
    if user["status"] != 1 or "SSH" in (filters.get("denied_protocols") or ()):
        return False
    if "SSH" in (filters.get("two_factor_protocols") or ()) or filters.get("is_anonymous"):
        return False
    words = {method, "password-over-SSH"} if method == "password" else {method}
    if words & denied or (method == "keyboard-interactive" and not reading["keyboard"]):
        return False

    def within(networks: list[str]) -> bool:
        return any(ipaddress.ip_address(ip) in ipaddress.ip_network(text, strict=False) for text in networks)

    allowed_ip, denied_ip = filters.get("allowed_ip") or [], filters.get("denied_ip") or []
    if reading["ip_denied_first"] and within(denied_ip):
        return False
    if within(allowed_ip):
        return True
    return not within(denied_ip) and not allowed_ip


def may(dump: Document, name: str, act: str, path: str) -> bool:
    """True if every reading allows an act on a path."""
    return all(_allows(merged(dump, name), act, path, reading) for reading in readings(dump))


def _allows(user: Document, act: str, path: str, reading: Document) -> bool:
    parent = posixpath.dirname(path)
    granted = _granted(user["permissions"], parent, stars=reading["stars"])
    if "*" not in granted and not set(NEEDS[act]) & set(granted):
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
