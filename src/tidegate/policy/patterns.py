# SPDX-License-Identifier: Apache-2.0
"""File patterns: which names may be used in which directory.

The entry on the nearest directory decides. Within it a name is asked of the allowed patterns, then of the
denied ones (`FilePatterns.order` ``denied``: the other way round), then (when something is written) of the
preset; a file that no pattern names is refused if there is an allow-list. An allow-list alone speaks of
files; together with a denied ``*`` it lets only matching sub directories through. With
`FilePatterns.directories` ``all`` an allow-list speaks of directories as of files; with ``whole`` too, and
the entry says nothing about what is inside an allowed directory; with ``none`` no pattern of the entry speaks
of directories. A directory that has an entry of its own is never refused by name: who
configures rules for its content means it to be used.

Patterns of the server itself (`EVERYWHERE`) are asked in every directory, before those of the account, and no
entry of an account changes that. Their allowed patterns are exemptions and make no allow-list.

``deny_policy`` 0 leaves what is refused visible and concerns the entry itself. ``deny_policy`` 1 hides it,
and everything below a hidden directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tidegate.errors import InvalidPath
from tidegate.model import FilePatterns, VPath
from tidegate.policy.globs import NameMatcher, fold
from tidegate.policy.permissions import MAX_MEMO
from tidegate.policy.presets import PRESETS

HIDE: Final = 1
"""`FilePatterns.deny_policy`: refused names look as if they did not exist."""


EVERYWHERE: Final = "common.file_patterns"
"""The rule of the server itself: its name, and its place in the configuration."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A name that patterns have something to say about.

    Attributes:
        refused: True if the name may not be used.
        hidden: refused, and not to be seen either.
        rule: for instance ``file_patterns[/in]``.
        where: field path in the account, for instance ``filters.file_patterns[0].denied_patterns[2]``.
        why: one sentence.
        hint: what would have to change.
    """

    refused: bool
    hidden: bool
    rule: str
    where: str
    why: str
    hint: str = ""


class PatternRule:
    """One entry of `Filters.file_patterns`, compiled."""

    __slots__ = (
        "_all",
        "_denied_first",
        "_files_only",
        "_lists",
        "allowed",
        "denied",
        "hides",
        "path",
        "preset",
        "where",
        "whole",
    )

    def __init__(self, entry: FilePatterns, path: VPath, where: str) -> None:
        self._lists = bool(entry.allowed_patterns) and where != EVERYWHERE
        self.path = path
        self.where = where
        self.allowed = NameMatcher(entry.allowed_patterns)
        self.denied = NameMatcher(entry.denied_patterns)
        self.hides = entry.deny_policy == HIDE
        self.preset = entry.preset
        self._denied_first = entry.order == "denied"
        self.whole = entry.directories == "whole"
        self._all = self.whole or entry.directories == "all"
        self._files_only = entry.directories == "none"

    @property
    def rule(self) -> str:
        """The rule's name."""
        return EVERYWHERE if self.where == EVERYWHERE else f"file_patterns[{self.path}]"

    @property
    def _exempting(self) -> str:
        """The name of the list of what is allowed."""
        return "exempt_patterns" if self.where == EVERYWHERE else "allowed_patterns"

    def refuses(self, name: str, *, is_dir: bool, write: bool) -> bool:
        """True if a base name is refused; `write` says that it would be created or written."""
        named = not (is_dir and self._files_only)
        folded = fold(name)
        if named and self._denied_first and self.denied.matches(folded):
            return True
        if named and self.allowed.matches(folded):
            return False
        if named and self.denied.matches(folded):
            return True
        if write and self.preset:
            preset = PRESETS.get(self.preset)
            if preset is None or preset.refuses(name, is_dir=is_dir):
                return True
        return self._lists and (not is_dir or self._all)

    def explain(self, name: str, *, is_dir: bool, write: bool) -> Hit:
        """The rule that `refuses` finds, with its reason."""
        # A name that no pattern matches stands for a directory of which no pattern speaks.
        folded = "" if is_dir and self._files_only else fold(name)
        denied = self.denied.first(folded) if folded else None
        if self._denied_first and denied is not None:
            return self._refusal(
                f".denied_patterns[{denied}]",
                f"{name} matches denied pattern {self.denied.patterns[denied]}, asked before allowed ones",
                f"remove that pattern, or set order to allowed and add one for {name} to allowed_patterns",
                hidden=self.hides,
            )
        if folded and (index := self.allowed.first(folded)) is not None:
            where = f"{self.where}.{self._exempting}[{index}]"
            why = f"{name} matches allowed pattern {self.allowed.patterns[index]}"
            return Hit(refused=False, hidden=False, rule=self.rule, where=where, why=why)
        if denied is not None:
            return self._refusal(
                f".denied_patterns[{denied}]",
                f"{name} matches denied pattern {self.denied.patterns[denied]}",
                f"remove that pattern, or add one for {name} to {self._exempting} (asked first)",
                hidden=self.hides,
            )
        if write and self.preset:
            preset = PRESETS.get(self.preset)
            reason = preset.refuses(name, is_dir=is_dir) if preset else "no such preset exists"
            if reason:
                # A preset speaks of what is brought in, never of what is there, so it hides nothing.
                return self._refusal(
                    ".preset",
                    f"{name} is refused by preset {self.preset}: {reason}",
                    f"add a pattern for {name} to {self._exempting} (asked first), or take the preset away"
                    if preset
                    else f"use one of the presets {', '.join(PRESETS)}",
                    hidden=False,
                )
        if self._lists and (not is_dir or self._all):
            return self._refusal(
                ".allowed_patterns",
                f"{name} matches none of the allowed patterns {', '.join(self.allowed.patterns)}",
                f"add a pattern for {name} to allowed_patterns",
                hidden=self.hides,
            )
        why = f"no pattern on {self.path} has anything against {name}"
        return Hit(refused=False, hidden=False, rule=self.rule, where=self.where, why=why)

    def _refusal(self, place: str, why: str, hint: str, *, hidden: bool) -> Hit:
        return Hit(refused=True, hidden=hidden, rule=self.rule, where=self.where + place, why=why, hint=hint)


class PatternTable:
    """An account's file patterns, ready to be asked. Never raises for any path.

    Args:
        entries: those of the account.
        everywhere: those of the server, see `EVERYWHERE`; their path does not count.
    """

    __slots__ = ("_any_hides", "_depth", "_dirs", "_entries", "_everywhere", "_memo")

    def __init__(self, entries: Iterable[FilePatterns], everywhere: FilePatterns | None = None) -> None:
        self._everywhere: tuple[PatternRule, ...] = ()
        if everywhere is not None:
            self._everywhere = (PatternRule(everywhere, VPath("/"), EVERYWHERE),)
        self._entries: dict[str, tuple[PatternRule, ...]] = {}
        self._depth = 0
        for index, entry in enumerate(entries):
            try:
                path = VPath.parse(entry.path)
            except InvalidPath:
                continue  # the store refuses such an entry; one that is no path covers no directory
            rule = PatternRule(entry, path, f"filters.file_patterns[{index}]")
            # Entries for the same directory all have to agree.
            self._entries[path] = (*self._entries.get(path, ()), rule)
            self._depth = max(self._depth, len(path.parts) + rule.whole)
        self._any_hides = any(rule.hides for rules in self._entries.values() for rule in rules)
        self._memo: dict[str, tuple[PatternRule, ...]] = {}
        self._dirs: dict[str, Hit | None] = {}

    def __bool__(self) -> bool:
        return bool(self._entries or self._everywhere)

    def governing(self, directory: VPath) -> tuple[PatternRule, ...]:
        """The entries that speak for names in `directory`; none if it lies in one that is allowed whole."""
        parts = directory.split("/", self._depth + 1)[: self._depth + 1]
        head = "/".join(parts)
        found = self._memo.get(head)
        if found is None:
            named = [part for part in parts if part]
            found = ()
            for count in range(len(named), -1, -1):
                if (entry := self._entries.get("/" + "/".join(named[:count]))) is not None:
                    below = named[count] if count < len(named) else ""
                    found = tuple(rule for rule in entry if not (below and _lets_whole(rule, below)))
                    break
            found = (*self._everywhere, *found)
            if len(self._memo) >= MAX_MEMO:
                self._memo.clear()
            self._memo[head] = found
        return found

    def judge(self, path: VPath, *, is_dir: bool, write: bool) -> list[Hit]:
        """The result of every rule asked about `path`, up to the first refusal.

        A directory above that hides everything below it is asked first. Empty if nothing governs.
        """
        if not self or path == "/":
            return []
        parent = path.parent
        if self._any_hides and (hit := self._hidden_above(parent)) is not None:
            return [hit]
        own = is_dir and path in self._entries
        rules = self._everywhere if own else self.governing(parent)
        hits: list[Hit] = []
        for rule in rules:
            hits.append(rule.explain(path.name, is_dir=is_dir, write=write))
            if hits[-1].refused:
                return hits
        if own:
            rule = self._entries[path][0]
            why = f"{path} has patterns of its own and so is not judged by name"
            return [*hits, Hit(refused=False, hidden=False, rule=rule.rule, where=rule.where, why=why)]
        if len(rules) == len(self._everywhere) and (whole := self._whole(parent)) is not None:
            hits.append(whole)
        return hits

    def _whole(self, directory: VPath) -> Hit | None:
        """The hit that allows whatever is in `directory`, since a directory on the way is allowed whole."""
        for above in (directory, *directory.ancestors()):
            for rule in self._entries.get(above, ()):
                below = directory.relative_to(above).partition("/")[0] if directory != above else ""
                if below and _lets_whole(rule, below):
                    place = above.child(below)
                    why = f"{place} is allowed whole, so no pattern on {above} speaks of what is in it"
                    return Hit(refused=False, hidden=False, rule=rule.rule, where=rule.where, why=why)
            if above in self._entries:
                return None
        return None

    def clean(self, path: VPath, *, is_dir: bool, write: bool) -> bool:
        """True if `judge` would refuse nothing; the quick way to ask."""
        if not self or path == "/":
            return True
        parent = path.parent
        if self._any_hides and self._hidden_above(parent) is not None:
            return False
        rules = self._everywhere if is_dir and path in self._entries else self.governing(parent)
        name = path.name
        return not any(rule.refuses(name, is_dir=is_dir, write=write) for rule in rules)

    def _hidden_above(self, directory: VPath) -> Hit | None:
        """The hit that hides `directory` or a directory above it, None if all are in sight."""
        if directory in self._dirs:
            return self._dirs[directory]
        found: Hit | None = None
        end = 0
        while found is None and end < len(directory) and directory != "/":
            start = end + 1
            end = directory.find("/", start)
            end = len(directory) if end < 0 else end
            if directory[:end] in self._entries:
                continue
            for rule in self.governing(VPath(directory[: start - 1] or "/")):
                if rule.hides and rule.refuses(directory[start:end], is_dir=True, write=False):
                    found = rule.explain(directory[start:end], is_dir=True, write=False)
                    break
        if len(self._dirs) >= MAX_MEMO:
            self._dirs.clear()
        self._dirs[directory] = found
        return found

    def name_filter(self, directory: VPath) -> Callable[[str, bool], bool] | None:
        """A function (name, is_dir) that says whether an entry shows in a listing; None if all do."""
        rules = [rule for rule in self.governing(directory) if rule.hides] if self._any_hides else []
        if not rules:
            return None
        entries = self._entries
        prefix = "/" if directory == "/" else directory + "/"

        def shows(name: str, is_dir: bool) -> bool:
            if is_dir and prefix + name in entries:
                return True
            return not any(rule.refuses(name, is_dir=is_dir, write=False) for rule in rules)

        return shows

    def speaks_below(self, directory: VPath) -> PatternRule | None:
        """A rule that speaks of something in `directory` or below it, or hides it; None if there is none."""
        if not self:
            return None
        if self._everywhere:
            return self._everywhere[0]
        inside = (rules[0] for path, rules in self._entries.items() if VPath(path).is_within(directory))
        found = next(inside, None)
        if found is None:
            governing = self.governing(directory)
            found = governing[0] if governing else None
        if found is None and self._any_hides:
            for above in (directory, *directory.ancestors()):
                for rule in self.governing(above.parent):
                    if rule.hides and rule.refuses(above.name, is_dir=True, write=False):
                        return rule
        return found

    def same_rules(self, source: VPath, target: VPath) -> PatternRule | None:
        """For moving a whole directory: a rule that would cease or begin to apply to what is inside.

        None means that source and target are governed by the same entries throughout.
        """
        inside = [
            rules[0]
            for path, rules in self._entries.items()
            if VPath(path).is_within(source) or VPath(path).is_within(target)
        ]
        if inside:
            return inside[0]
        here, there = self.governing(source), self.governing(target)
        if here is there or here == there:
            return None
        return (here or there)[0]


_NO_PATTERNS: Final = PatternTable(())


def pattern_table(entries: Sequence[FilePatterns], everywhere: FilePatterns | None = None) -> PatternTable:
    """The table of an account's file patterns; accounts without any share one."""
    return PatternTable(entries, everywhere) if entries or everywhere is not None else _NO_PATTERNS


def _lets_whole(rule: PatternRule, name: str) -> bool:
    """True if a directory in the entry's own directory is allowed with all that is in it."""
    return rule.whole and not rule.refuses(name, is_dir=True, write=False)
