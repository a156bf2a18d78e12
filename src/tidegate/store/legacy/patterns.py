# SPDX-License-Identifier: Apache-2.0
"""File patterns and extensions of SFTPGo, with the meaning of their era.

Go's `path.Match` negates a set by ``^`` alone; a pattern that it cannot read, or that holds ``/``, never
matches a base name.
"""

from __future__ import annotations

from typing import Any, Final

from tidegate.errors import BadRecord
from tidegate.policy import globs
from tidegate.store.legacy.era import Era

Document = dict[str, Any]

NEVER: Final = "."
"""A pattern that matches no name: nothing in a directory is called so."""


def from_go(pattern: str) -> str:
    """Our spelling of one of Go's patterns; `NEVER` for one that never matches a base name.

    One that is too long or cannot be printed comes back as it is: that is for the record's check to refuse.
    """
    made: list[str] = []
    index = 0
    while index < len(pattern):
        char = pattern[index]
        if char == "[":
            parsed = _set(pattern, index)
            if parsed is None or not parsed[0]:
                return NEVER
            made.append(parsed[0])
            index = parsed[1]
        elif char == "\\":
            if index + 1 == len(pattern):
                return NEVER
            made.append(pattern[index : index + 2])
            index += 2
        else:
            made.append(char)
            index += 1
    found = "".join(made)
    return NEVER if "/" in found or not found else found


def _set(pattern: str, start: int) -> tuple[str, int] | None:
    """The set that opens at `start` in our spelling, empty if it matches nothing, and the index after it.

    None if Go finds it malformed. Ranges that run backwards match nothing, and no base name holds a ``/``.
    """
    index = start + 1
    negated = pattern[index : index + 1] == "^"
    index += negated
    ranges: list[tuple[str, str]] = []
    while index < len(pattern):
        if pattern[index] == "]" and ranges:
            inside = "".join(_range(low, high) for low, high in ranges)
            if not inside:
                return ("?" if negated else ""), index + 1
            return f"[{'^' if negated else ''}{inside}]", index + 1
        low, index = _set_char(pattern, index)
        high = low
        if low and pattern[index : index + 1] == "-":
            high, index = _set_char(pattern, index + 1)
        if not low or not high:
            return None
        ranges.append((low, high))
    return None


def _set_char(pattern: str, index: int) -> tuple[str, int]:
    """One character of a set and the index after it; empty if there is none."""
    if index >= len(pattern) or pattern[index] in "-]":
        return "", index
    if pattern[index] == "\\":
        index += 1
    return pattern[index : index + 1], index + 1


def _range(low: str, high: str) -> str:
    low = "0" if low == "/" else low
    high = "." if high == "/" else high
    if low > high:
        return ""
    ends = [f"\\{char}" if char in "\\]^-!" else char for char in (low, high)]
    return ends[0] if low == high else f"{ends[0]}-{ends[1]}"


def _never_negated(pattern: str) -> str:
    """Plain text as a pattern."""
    return "".join(f"\\{char}" if char in "*?[\\" else char for char in pattern)


def from_suffix(suffix: str, *, denied: bool) -> str:
    """The pattern for one of the extensions of 0.9 and 1.x, compared with the end of the lower-cased path.

    Args:
        suffix: as typed; one with capitals ends no lower-cased path.
        denied: it refuses; what a pattern cannot say becomes stricter.
    """
    if suffix != suffix.lower() or not suffix:
        return NEVER if suffix else "*"
    directory, slash, name = suffix.rpartition("/")
    if not slash:
        return f"*{_never_negated(suffix)}"
    if directory and not denied:
        return NEVER  # a name in some directories alone
    return _never_negated(name) or NEVER


def convert_patterns(filters: Document, era: Era, where: str) -> list[tuple[str, str]]:
    """Rewrite `file_patterns` and `file_extensions` of a user in place.

    Returns:
        (field, remark) for what reads differently now.

    Raises:
        BadRecord: they are not of the form that they should have.
    """
    notes: list[tuple[str, str]] = []
    patterns = _entries(filters, "file_patterns", "patterns", where)
    extensions = _entries(filters, "file_extensions", "extensions", where)
    filters.pop("file_extensions", None)
    ready: list[Document] = []
    for item in patterns:
        made = {**item}
        for label in ("allowed_patterns", "denied_patterns"):
            made[label] = _converted(item[label], notes, f"file_patterns.{label}")
        ready.append(_of_era(made, era, notes))
    suffixes = [_of_extensions(item, notes) for item in extensions]
    if suffixes:
        ready = _both(ready, suffixes, notes) if ready else suffixes
    if ready or "file_patterns" in filters:
        filters["file_patterns"] = ready
    return notes


def _entries(filters: Document, name: str, word: str, where: str) -> list[Document]:
    items = filters.get(name) or []
    if not isinstance(items, list):
        raise BadRecord(f"{where}{name}", "should be a list")
    found: list[Document] = []
    for index, item in enumerate(items):
        key_path = f"{where}{name}[{index}]"
        if not isinstance(item, dict):
            raise BadRecord(key_path, "should be a JSON object")
        made = {key: value for key, value in item.items() if key not in (f"allowed_{word}", f"denied_{word}")}
        made["path"] = item.get("path") or "/"
        for side in ("allowed", "denied"):
            texts = item.get(f"{side}_{word}") or []
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise BadRecord(f"{key_path}.{side}_{word}", "should be a list of texts")
            made[f"{side}_patterns"] = texts
        found.append(made)
    return found


def _converted(texts: list[str], notes: list[tuple[str, str]], field: str) -> list[str]:
    made: list[str] = []
    for text in texts:
        pattern = from_go(text)
        if pattern == NEVER:
            notes.append((field, f"{text[:60]!r} never matched a name and still matches none"))
        made.append(pattern)
    return made


def _of_era(item: Document, era: Era, notes: list[tuple[str, str]]) -> Document:
    item["directories"] = "all" if era.directories else "none"
    if era.denied_first and item["allowed_patterns"] and item["denied_patterns"]:
        item["order"] = "denied"
        if era.order_in_doubt:
            message = "denied patterns are asked first, as before 2.5.2; if the dump is newer: --from-version"
            notes.append(("filters.file_patterns", message))
    elif era.directories and item["allowed_patterns"] and item["denied_patterns"][:1] == ["*"]:
        # The entry then speaks of its own directory alone, where it lets something through.
        item["directories"] = "whole"
    return item


def _of_extensions(item: Document, notes: list[tuple[str, str]]) -> Document:
    made: Document = {"path": item["path"], "directories": "none", "order": "denied"}
    for side in ("allowed", "denied"):
        texts = item[f"{side}_patterns"]
        made[f"{side}_patterns"] = [from_suffix(text, denied=side == "denied") for text in texts]
        for text in texts:
            if text != text.lower():
                message = (
                    f"{text[:60]!r} was compared with lower-cased names and so matched none; it still does"
                )
                notes.append(("filters.file_extensions", message))
            elif "/" in text.strip("/"):
                message = f"{text[:60]!r} names a directory, which a pattern cannot: read as the stricter"
                notes.append(("filters.file_extensions", message))
    return made


# --- both kinds in one account (1.x and 2.0) --------------------------------------------------------------


def _both(patterns: list[Document], suffixes: list[Document], notes: list[tuple[str, str]]) -> list[Document]:
    """One entry a path that refuses what either kind refuses there."""
    made: list[Document] = []
    for path in dict.fromkeys([*(item["path"] for item in patterns), *(item["path"] for item in suffixes)]):
        one, other = _governing(patterns, path), _governing(suffixes, path)
        if one is None or other is None:
            made.append({**(one or other or {}), "path": path})
            continue
        denied = [*one["denied_patterns"], *other["denied_patterns"]]
        allowed = _common(one["allowed_patterns"], other["allowed_patterns"])
        if one["allowed_patterns"] and other["allowed_patterns"]:
            message = (
                "allowed patterns and allowed extensions for one path: only what both surely allow is allowed"
            )
            notes.append(("filters.file_patterns", message))
        made.append(
            {**one, "path": path, "order": "denied", "allowed_patterns": allowed, "denied_patterns": denied}
        )
    return made


def _governing(items: list[Document], path: str) -> Document | None:
    """The entry on the nearest directory."""
    while True:
        for item in items:
            if item["path"] == path:
                return item
        if path in ("/", ""):
            return None
        path = path.rpartition("/")[0] or "/"


def _common(some: list[str], others: list[str]) -> list[str]:
    """Patterns for names that both lists allow, or for fewer; an empty list allows all."""
    if not some or not others:
        return [*some, *others]
    both = (_meet(one, other) for one in some for other in others)
    return list(dict.fromkeys(pattern for pattern in both if pattern)) or [NEVER]


def _meet(one: str, suffix: str) -> str:
    """A pattern for names that both patterns match; empty if none is known. `suffix` begins with ``*``."""
    if not suffix.startswith("*"):
        return suffix if globs.compile_one(globs.fold(one)).fullmatch(suffix) else ""
    rest = suffix[1:]
    if one.endswith("*"):
        return one + rest
    if one.startswith("*") and rest.endswith(one[1:]) and not globs.has_magic(one[1:]):
        return suffix
    return one if not globs.has_magic(rest) and globs.fold(one).endswith(rest) else ""
