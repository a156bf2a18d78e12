# SPDX-License-Identifier: Apache-2.0
"""The one gate: may this principal do this to that path?

`Gate.decide` answers, `Gate.trace` shows the way to the same answer: both run `Gate._check`, one with a
list to write its steps in. Rules are asked in this order, and the first refusal ends it:

1. ``target``: an intent with two paths has both.
2. ``root``: the root cannot be removed, renamed, copied or linked.
3. ``permissions``: of the path's directory, then of the target's.
4. ``links``: a link may not give more than what it points to gives.
5. ``tree``: a directory that carries rules of its own inside does not move out from under them.
6. ``file_patterns``: of the path, then of the target.

Paths are judged as text. What needs a look at the storage (is it a directory? does it exist?) the caller
finds out and says; what it does not say is taken as the stricter case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.model import FilePatterns, Intent, Permission, Principal, Protocol, VPath
from tidegate.policy.anonymous import HINT, WHERE
from tidegate.policy.decision import ALLOWED, Decision, Step
from tidegate.policy.patterns import Hit, pattern_table
from tidegate.policy.permissions import Grant, expand, permission_table
from tidegate.policy.requirements import (
    CREATE_DIRS,
    OVERWRITE,
    REQUIREMENTS,
    UPLOAD,
    Need,
    Requirement,
    Use,
)

_LINK_INTENTS: Final = (Intent.SYMLINK, Intent.HARDLINK)

_Trail = list[Step] | None


class Gate:
    """A principal's rules, compiled at login. Pure: the same question has the same answer for its life.

    Args:
        principal: who.
        protocol: the door they came by; rules per protocol are asked at login, it is kept for `explain`.
        names: patterns of the server itself, for names in every directory.
    """

    __slots__ = ("_patterns", "_permissions", "_plain", "names", "principal", "protocol")

    def __init__(
        self, principal: Principal, protocol: Protocol | str = "", *, names: FilePatterns | None = None
    ) -> None:
        self.principal = principal
        self.names = names
        self.protocol = str(protocol)
        self._permissions = permission_table(
            principal.account.permissions, reads_only=principal.account.filters.is_anonymous
        )
        self._patterns = pattern_table(principal.account.filters.file_patterns, names)
        self._plain = not self._patterns

    def decide(
        self,
        intent: Intent,
        path: VPath,
        *,
        target: VPath | None = None,
        is_dir: bool = False,
        exists: bool | None = None,
        target_exists: bool = False,
    ) -> Decision:
        """Decide if `intent` may happen. Never raises, whatever the paths.

        A hidden refusal of STAT with `is_dir` False may be one that concerns files only (an allow-list):
        the caller that then finds a directory asks again with `is_dir` True.

        Args:
            intent: what is wanted.
            path: what it is wanted of; with two paths the one that exists.
            target: the name that comes into being (RENAME, COPY, SYMLINK, HARDLINK).
            is_dir: True if `path` is a directory, where the intent does not say so.
            exists: turns UPLOAD of an existing file into OVERWRITE and OVERWRITE of a missing one into
                UPLOAD; None leaves the intent as it is.
            target_exists: True if `target` exists and would be replaced.
        """
        return self._check(intent, path, target, is_dir, exists, target_exists, None)

    def may_create(self, path: VPath) -> tuple[bool, bool]:
        """Decide UPLOAD and OVERWRITE of one path, as `decide` does for each: True if it may happen."""
        if not self._plain:
            return self.decide(Intent.UPLOAD, path).allowed, self.decide(Intent.OVERWRITE, path).allowed
        mask = self._permissions.lookup(path.parent).mask
        return bool(mask & UPLOAD.mask), bool(mask & OVERWRITE.mask)

    def trace(
        self,
        intent: Intent,
        path: VPath,
        *,
        target: VPath | None = None,
        is_dir: bool = False,
        exists: bool | None = None,
        target_exists: bool = False,
    ) -> list[Step]:
        """Every rule that `decide` asks, in order; a refusal is the last step and there is no other."""
        steps: list[Step] = []
        self._check(intent, path, target, is_dir, exists, target_exists, steps)
        return steps

    @property
    def uniform(self) -> bool:
        """True if one entry speaks for the whole tree: then it does not matter where a link leads."""
        return self._permissions.uniform and not self._patterns

    @property
    def judges_names(self) -> bool:
        """True if the answer can differ between two names in one directory."""
        return not self._plain

    def grants(self, intent: Intent, directory: VPath) -> bool:
        """True if permissions allow `intent`, of one path, in `directory`; a pattern may refuse a name."""
        mask = self._permissions.lookup(directory).mask
        return all(mask & need.mask for need in REQUIREMENTS[intent].source)

    @property
    def uploads_anywhere(self) -> bool:
        """True if some directory may get files; of an upload whose path is not known yet."""
        return self._permissions.anywhere(UPLOAD.mask | OVERWRITE.mask)

    def check_link(self, points: VPath, link: VPath) -> Decision:
        """Decide if an existing link gives no more at `link` than what it points to (rule ``links``)."""
        return self._links(points, link, False, None) or ALLOWED

    def name_filter(self, directory: VPath) -> Callable[[str, bool], bool] | None:
        """For a listing of `directory`: a function (name, is_dir) that says what shows; None if all does."""
        return self._patterns.name_filter(directory)

    # -- the one way through ---------------------------------------------------------------------------

    def _check(  # noqa: PLR0917  a question object per act would cost more than the answer
        self,
        intent: Intent,
        path: VPath,
        target: VPath | None,
        is_dir: bool,
        exists: bool | None,
        target_exists: bool,
        steps: _Trail,
    ) -> Decision:
        if exists is not None and intent in (Intent.UPLOAD, Intent.OVERWRITE):
            intent = Intent.OVERWRITE if exists else Intent.UPLOAD
        asked = REQUIREMENTS[intent]
        kind = is_dir if asked.is_dir is None else asked.is_dir
        directory = path if asked.on_itself else path.parent
        grant = self._permissions.lookup(directory)

        if asked.target is None:
            if asked.root_refused and path == "/":
                return _root(intent, steps)
            for need in asked.source:
                if steps is not None or not grant.mask & need.mask:
                    refusal = _permission(grant, need, directory, steps)
                    if refusal is not None:
                        return refusal
            return self._pattern(intent, path, kind, asked.use, steps)

        if target is None:
            return _no_target(intent, steps)
        if asked.root_refused and (path == "/" or target == "/"):
            return _root(intent, steps)
        for need in asked.source:
            if (refusal := _permission(grant, need, directory, steps)) is not None:
                return refusal
        for need in _target_needs(asked, intent, kind, target_exists):
            beside = target.parent
            if (refusal := _permission(self._permissions.lookup(beside), need, beside, steps)) is not None:
                return refusal
        if intent in _LINK_INTENTS and (refusal := self._links(path, target, kind, steps)) is not None:
            return refusal
        if intent is Intent.RENAME_DIR and (refusal := self._tree(path, target, steps)) is not None:
            return refusal
        refusal = self._pattern(intent, path, kind, Use.TOUCH, steps)
        if not refusal.allowed:
            return refusal
        return self._pattern(intent, target, kind, Use.CREATE, steps)

    def _pattern(self, intent: Intent, path: VPath, is_dir: bool, use: Use, steps: _Trail) -> Decision:
        if self._plain or (
            steps is None and self._patterns.clean(path, is_dir=is_dir, write=use is Use.CREATE)
        ):
            return ALLOWED
        for hit in self._patterns.judge(path, is_dir=is_dir, write=use is Use.CREATE):
            refused = hit.refused and (use is not Use.LOOK or hit.hidden)
            if steps is not None:
                steps.append(_pattern_step(hit, refused=refused))
            if refused:
                text = f"file pattern: {intent.value} on {path.parent}"
                return Decision(
                    allowed=False, rule=hit.rule, text=text, hidden=hit.hidden and use is not Use.CREATE
                )
        return ALLOWED

    def _links(self, path: VPath, target: VPath, is_dir: bool, steps: _Trail) -> Decision | None:
        """A link is judged by where it lies, so what it points to has to grant at least as much.

        A symbolic link may come to lead to a directory, whatever the caller found: entries for the path
        itself and below it count as well. So do entries for the link and below it, which speak for what is
        reached through it. The same goes for file patterns.
        """
        given = self._permissions.lookup(target.parent)
        names = given.names.union(*(grant.names for grant in self._permissions.below(target)))
        behind = [self._permissions.lookup(path.parent), *self._permissions.below(path)]
        if is_dir:
            behind.append(self._permissions.lookup(path))
        for grant in behind:
            extra = names - grant.names - {Permission.ANY}
            if extra:
                if steps is not None:
                    why = (
                        f"through a link in {target.parent} a client would have"
                        f" {', '.join(sorted(extra))}, which {grant.key or path.parent} does not grant"
                    )
                    hint = "put the link where no more is granted than where it points"
                    steps.append(Step("links", "deny", why, grant.where, hint))
                return Decision(allowed=False, rule="links", text=f"permission: link into {path.parent}")
        rule = self._patterns.same_rules(path, target) if self._patterns else None
        if rule is not None:
            if steps is not None:
                why = f"through {target} other file patterns would hold for {path} than do now"
                hint = "put the link where the same entry of file_patterns governs"
                steps.append(Step("links", "deny", why, rule.where, hint))
            return Decision(allowed=False, rule="links", text=f"file pattern: link into {path.parent}")
        if steps is not None:
            why = f"a link in {target.parent} gives no more than {path.parent} does"
            steps.append(Step("links", "pass", why))
        return None

    def _tree(self, path: VPath, target: VPath, steps: _Trail) -> Decision | None:
        """Moving a directory takes along what is inside, which other entries may speak for."""
        need = Need((Permission.RENAME,), REQUIREMENTS[Intent.RENAME_DIR].source[0].mask)
        for place in (path, target):
            for grant in self._permissions.below(place):
                # Files and directories lie inside, so both kinds of renaming are needed there.
                if Permission.RENAME not in grant.names:
                    if steps is not None:
                        steps.append(_lacking(grant, need, VPath(grant.key)))
                    return Decision(allowed=False, rule=grant.rule, text=f"permission: rename on {grant.key}")
        rule = self._patterns.same_rules(path, target) if self._patterns else None
        if rule is not None:
            if steps is not None:
                steps.append(
                    Step(
                        rule.rule,
                        "deny",
                        f"other file patterns hold in {target} than in {path}, for all that is inside",
                        rule.where,
                        f"rename within the reach of one entry, or give {path} and {target} the same one",
                    )
                )
            return Decision(allowed=False, rule=rule.rule, text=f"file pattern: rename on {path.parent}")
        if steps is not None:
            steps.append(Step("tree", "pass", f"no entry speaks for a part of {path} or {target} alone"))
        return None


def _target_needs(asked: Requirement, intent: Intent, is_dir: bool, target_exists: bool) -> tuple[Need, ...]:
    needs = asked.target or ()
    if intent is Intent.COPY:
        written = CREATE_DIRS if is_dir else OVERWRITE if target_exists else UPLOAD
        return (needs[0], written)
    return (*needs, OVERWRITE) if asked.replaces and target_exists else needs


def _root(intent: Intent, steps: _Trail) -> Decision:
    if steps is not None:
        steps.append(
            Step(
                "root",
                "deny",
                f"the root directory is no subject of {intent.value}",
                "",
                "name a path below /",
            )
        )
    return Decision(allowed=False, rule="root", text=f"permission: {intent.value} on /")


def _no_target(intent: Intent, steps: _Trail) -> Decision:
    if steps is not None:
        steps.append(Step("target", "deny", f"{intent.value} needs a target", "", "name the target path"))
    return Decision(allowed=False, rule="target", text=f"{intent.value} needs a target")


def _permission(grant: Grant, need: Need, directory: VPath, steps: _Trail) -> Decision | None:
    if grant.mask & need.mask:
        if steps is not None:
            why = f"{_says(grant, directory)}; {_wanted(need)} is among them"
            if Permission.ANY in grant.names:
                why = f"{_says(grant, directory)}: everything is allowed"
            steps.append(Step(grant.rule, "allow", why, grant.where))
        return None
    if steps is not None:
        steps.append(_lacking(grant, need, directory))
    text = f"permission: {need.any_of[0].value} on {directory}"
    return Decision(allowed=False, rule=grant.rule, text=text)


def _lacking(grant: Grant, need: Need, directory: VPath) -> Step:
    missing = need.any_of[0].value
    if grant.reads_only and any(p in expand(grant.configured) for p in need.any_of):
        why = f"{_says(grant, directory)}, but accounts without a password may only list and download"
        return Step(grant.rule, "deny", why, WHERE, HINT)
    hint = (
        f"add {missing} to {grant.where}, or give {directory} an entry of its own"
        if grant.key
        else f"give the account permissions for {directory} or a directory above it"
    )
    why = f"{_says(grant, directory)}; {_wanted(need)} is not among them"
    return Step(grant.rule, "deny", why, grant.where, hint)


def _says(grant: Grant, directory: VPath) -> str:
    if not grant.key:
        return f"no entry covers {directory}"
    reach = "" if grant.key == directory else f" (nearest entry for {directory})"
    return f"{grant.key}{reach} grants {', '.join(grant.configured) or 'nothing'}"


def _wanted(need: Need) -> str:
    return " or ".join(p.value for p in need.any_of)


def _pattern_step(hit: Hit, *, refused: bool) -> Step:
    if refused:
        return Step(hit.rule, "deny", hit.why, hit.where, hit.hint)
    if hit.refused:
        return Step(hit.rule, "pass", f"{hit.why}, which still may be looked at", hit.where)
    return Step(hit.rule, "pass", hit.why, hit.where)
