# SPDX-License-Identifier: Apache-2.0
"""Permissions per directory: the nearest ancestor that has an entry decides, nothing is added up.

Keys are cleaned to absolute paths. A key may be a pattern (Go's `path.Match`: ``*`` stays within one
component); at each level the exact key is asked first, then the patterns, the most literal first. Two
keys that clean to the same path keep only what both grant. Names that are no permission grant nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tidegate.errors import InvalidPath
from tidegate.model import Permission, VPath
from tidegate.policy.anonymous import READS
from tidegate.policy.globs import compile_one, has_magic

MAX_MEMO: Final = 4096
"""Directories remembered by one table before it forgets them all (entries)."""

_BIT: Final[dict[Permission, int]] = {p: 1 << i for i, p in enumerate(Permission)}
_ALL_MASK: Final = (1 << len(Permission)) - 1
_NAMES: Final[dict[str, Permission]] = {p.value: p for p in Permission}


def mask_of(*permissions: Permission) -> int:
    """The bit set of some permissions."""
    mask = 0
    for permission in permissions:
        mask |= _BIT[permission]
    return mask


@lru_cache(maxsize=1024)  # each login asks for each entry of the account, and most accounts have the same
def expand(names: tuple[str, ...]) -> frozenset[Permission]:
    """Every permission that the configured names give.

    ``*`` gives all; ``delete`` gives delete_files and delete_dirs, ``rename`` both kinds of renaming, and
    the two finer names together give the coarse one.
    """
    found = {_NAMES[name] for name in names if name in _NAMES}
    if Permission.ANY in found:
        return frozenset(Permission)
    for whole, parts in (
        (Permission.DELETE, {Permission.DELETE_FILES, Permission.DELETE_DIRS}),
        (Permission.RENAME, {Permission.RENAME_FILES, Permission.RENAME_DIRS}),
    ):
        if whole in found:
            found |= parts
        elif parts <= found:
            found.add(whole)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights that one entry of an account's permissions gives.

    Attributes:
        key: the entry's cleaned path or pattern; empty if no entry covers the directory.
        where: field path in the account, for instance ``permissions./in``.
        configured: the names as written, for sentences.
        names: what they give.
        mask: `names` as bits, see `mask_of`.
        reads_only: `names` is no more than accounts without a password may have.
    """

    key: str
    where: str
    configured: tuple[str, ...]
    names: frozenset[Permission]
    mask: int
    reads_only: bool = False

    @property
    def rule(self) -> str:
        """The rule's name, for instance ``permissions[/in]``."""
        return f"permissions[{self.key}]" if self.key else "permissions"


NOTHING: Final = Grant("", "permissions", (), frozenset(), 0)
"""The grant of a place that no entry applies to: nothing."""


def _meet(one: Grant, other: Grant) -> Grant:
    names = one.names & other.names
    mask = one.mask & other.mask
    return Grant(one.key, one.where, tuple(sorted(names)), names, mask, one.reads_only)


class PermissionTable:
    """An account's permissions, ready to be asked. Never raises for any path.

    Args:
        permissions: names by directory.
        reads_only: whose they are needs no password: nothing but `anonymous.READS` counts.
    """

    __slots__ = ("_depth", "_exact", "_globs", "_last", "_memo", "_root")

    def __init__(self, permissions: Mapping[str, Iterable[str]], *, reads_only: bool = False) -> None:
        self._exact: dict[str, Grant] = {}
        globs: list[tuple[tuple[re.Pattern[str], ...], Grant]] = []
        self._depth = 0
        for raw, listed in permissions.items():
            try:
                key = VPath.parse(raw)
            except InvalidPath:
                continue  # the store refuses such a key; a key that is no path covers no directory
            configured = tuple(listed)
            names = expand(configured)
            if reads_only:
                names &= READS
            mask = _ALL_MASK if Permission.ANY in names else mask_of(*names)
            grant = Grant(key, f"permissions.{raw}", configured, names, mask, reads_only)
            self._exact[key] = _meet(self._exact[key], grant) if key in self._exact else grant
            if has_magic(key):
                globs.append((tuple(compile_one(part) for part in key.parts), grant))
            self._depth = max(self._depth, len(key.parts))
        globs.sort(key=lambda item: (-sum(c not in "*?[]\\" for c in item[1].key), item[1].key))
        self._globs = globs
        self._root = self._exact.get("/", NOTHING)
        self._memo: dict[str, Grant] = {}
        self._last: tuple[str, Grant] = ("/", self._root)

    @property
    def uniform(self) -> bool:
        """True if one entry (or none) speaks for every directory."""
        return not self._depth

    def anywhere(self, mask: int) -> bool:
        """True if some entry gives one of the permissions of `mask`."""
        return any(grant.mask & mask for grant in self._exact.values())

    def lookup(self, directory: VPath) -> Grant:
        """The rights in `directory`: by its own entry or that of its nearest ancestor."""
        if not self._depth:
            return self._root
        if directory == self._last[0]:  # most requests ask for the directory of the one before
            return self._last[1]
        # No key is deeper than `_depth`, so only that much of the path can matter.
        parts = directory.split("/", self._depth + 1)[: self._depth + 1]
        head = "/".join(parts)
        found = self._memo.get(head)
        if found is None:
            found = self._search([part for part in parts if part])
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[head] = found
        self._last = directory, found
        return found

    def _search(self, parts: list[str]) -> Grant:
        for count in range(len(parts), 0, -1):
            level = parts[:count]
            exact = self._exact.get("/" + "/".join(level))
            if exact is not None:
                return exact
            for patterns, grant in self._globs:
                if len(patterns) == count and all(
                    p.fullmatch(part) for p, part in zip(patterns, level, strict=True)
                ):
                    return grant
        return self._root

    def below(self, directory: VPath) -> list[Grant]:
        """Entries whose directories are, or could be, `directory` itself or below it."""
        parts = directory.parts
        found = [grant for key, grant in self._exact.items() if VPath(key).is_within(directory)]
        found += [
            grant
            for patterns, grant in self._globs
            if len(patterns) >= len(parts)
            and all(p.fullmatch(part) for p, part in zip(patterns, parts, strict=False))
            and grant not in found
        ]
        return found


MAX_SHARED_ENTRIES: Final = 16
"""Entries of a table that sessions share; larger ones are made anew, so that few bytes are kept."""


def permission_table(
    permissions: Mapping[str, Iterable[str]], *, reads_only: bool = False
) -> PermissionTable:
    """The table of an account's permissions; sessions with the same ones share it, as it never changes."""
    if len(permissions) > MAX_SHARED_ENTRIES:
        return PermissionTable(permissions, reads_only=reads_only)
    return _shared(tuple((key, tuple(names)) for key, names in permissions.items()), reads_only)


@lru_cache(maxsize=256)
def _shared(items: tuple[tuple[str, tuple[str, ...]], ...], reads_only: bool) -> PermissionTable:
    return PermissionTable(dict(items), reads_only=reads_only)
