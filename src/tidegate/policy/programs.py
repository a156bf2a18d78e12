# SPDX-License-Identifier: Apache-2.0
"""Rules for system programs (git, rsync), which the gate cannot be asked about step by step.

A program acts on its directory without asking anybody. So everything that it could do must be allowed there
and in everything below, and no rule may exist there that only the gate enforces. The server and `explain` ask
this very code. The first refusal decides; each names the rule that the program could get around.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from tidegate.model import LOCAL, Account, FilePatterns, Permission, ProgramDirectory, ProgramUse, VPath
from tidegate.policy.decision import ALLOWED, Decision, Step
from tidegate.policy.folders import folders_of
from tidegate.policy.patterns import PatternTable
from tidegate.policy.permissions import Grant, PermissionTable

READS: Final = (Permission.LIST, Permission.DOWNLOAD)
"""Permissions for a program that only reads."""

WRITES: Final = (
    *READS,
    Permission.UPLOAD,
    Permission.OVERWRITE,
    Permission.DELETE,
    Permission.RENAME,
    Permission.CREATE_DIRS,
)
"""Permissions for a program that writes: it replaces files by renaming others onto them, and cleans up."""


ELSEWHERE: Final = (
    "programs of the system work on a disk of this host only, and these files lie on other storage:"
    " use SFTP there, or rclone (a whole directory: rclone sync)"
)

STAGED: Final = frozenset({ProgramUse.GIT_FETCH, ProgramUse.GIT_PUSH})
"""Uses that work on other storage too, by a copy on the server's disk."""

COMMANDS: Final = {
    ProgramUse.GIT_FETCH: "git-upload-pack",
    ProgramUse.GIT_PUSH: "git-receive-pack",
    ProgramUse.RSYNC_READ: "rsync",
    ProgramUse.RSYNC_WRITE: "rsync",
}
"""The SSH command of each use, which has to be enabled."""

WORDS: Final[dict[str, ProgramUse]] = {
    **{use.value: use for use in ProgramUse},
    "git-upload-pack": ProgramUse.GIT_FETCH,
    "git-upload-archive": ProgramUse.GIT_FETCH,
    "git-receive-pack": ProgramUse.GIT_PUSH,
    "rsync": ProgramUse.RSYNC_WRITE,
}
"""Words of operators for uses."""


def enabled_step(use: ProgramUse, enabled: Collection[str]) -> Step:
    """The rule that clients run only the commands that are enabled."""
    command = COMMANDS[use]
    if command in enabled or "*" in enabled:
        return Step("enabled_ssh_commands", "pass", f"{command} is enabled", "sftpd.enabled_ssh_commands")
    why = f"{command} is not among sftpd.enabled_ssh_commands"
    hint = f"add {command} there"
    return Step("enabled_ssh_commands", "deny", why, "sftpd.enabled_ssh_commands", hint)


class ProgramRules:
    """An account's rules, as far as they concern system programs.

    Args:
        account: whose.
        names: patterns of the server itself, for names in every directory.
    """

    __slots__ = ("_folders", "_patterns", "_permissions")

    def __init__(self, account: Account, names: FilePatterns | None = None) -> None:
        self._permissions = PermissionTable(account.permissions, reads_only=account.filters.is_anonymous)
        self._patterns = PatternTable(account.filters.file_patterns, names)
        self._folders = folders_of(account)

    def trace(self, wanted: ProgramDirectory, use: ProgramUse) -> list[Step]:
        """Every rule about one directory, in order; the first that refuses is the last one."""
        path = wanted.path
        steps = [self._mounted(path)]
        needs = (*(WRITES if wanted.writes else READS), *sorted(wanted.needs))
        if steps[-1].verdict != "deny":
            steps += self._granted(path, needs)
        if steps[-1].verdict != "deny":
            steps.append(self._named(path))
        if steps[-1].verdict != "deny":
            steps.append(self._stored(path, use))
        return steps

    def decide(self, wanted: ProgramDirectory, use: ProgramUse) -> Decision:
        """Decide if a program may have a directory."""
        refusal = next((step for step in self.trace(wanted, use) if step.verdict == "deny"), None)
        return ALLOWED if refusal is None else refusal_of(refusal)

    def granted(self, path: VPath) -> frozenset[Permission]:
        """Permissions in a directory."""
        return self._permissions.lookup(path).names

    def _stored(self, path: VPath, use: ProgramUse) -> Step:
        if self._folders.kind_at(path) != LOCAL:
            if use in STAGED:
                why = f"{path} lies on other storage; the program works on a copy, which is brought back"
                return Step("storage", "pass", why)
            hint = "use SFTP or rclone there, or keep these files on local disk"
            return Step("storage", "deny", ELSEWHERE, "filesystem", hint)
        return Step("storage", "pass", f"{path} lies on a disk of the server")

    def _mounted(self, path: VPath) -> Step:
        below = sorted(point for point in self._folders.points if point != path and point.is_within(path))
        if below:
            why = f"a folder is mounted at {below[0]}, and a program would not see it but what lies under it"
            hint = "let the program work on another directory, or mount the folder elsewhere"
            return Step("virtual_folders", "deny", why, "virtual_folders", hint)
        return Step("virtual_folders", "pass", f"no folder is mounted below {path}")

    def _granted(self, path: VPath, needs: tuple[Permission, ...]) -> list[Step]:
        grant = self._permissions.lookup(path)
        steps: list[Step] = []
        for one in (grant, *(other for other in self._permissions.below(path) if other is not grant)):
            missing = next((need for need in needs if need not in one.names), None)
            if missing is not None:
                return [*steps, _lacking(path, one, missing, inherited=one is grant)]
            why = f"{one.key} grants all that the program could do: {', '.join(needs)}"
            steps.append(Step(one.rule, "allow", why, one.where))
        return steps

    def _named(self, path: VPath) -> Step:
        rule = self._patterns.speaks_below(path)
        if rule is not None:
            why = f"file patterns of {rule.path} hold in {path}, and a program would not obey them"
            hint = "let the program work on a directory without file patterns, or take the patterns away"
            return Step(rule.rule, "deny", why, rule.where, hint)
        return Step("file_patterns", "pass", f"no file pattern holds in {path}")


def refusal_of(step: Step) -> Decision:
    """The decision of a step that refuses, with the text for the client."""
    text = step.why if step.rule == "storage" else f"not allowed for a program: {step.why}"
    return Decision(allowed=False, rule=step.rule, text=text)


def _lacking(path: VPath, grant: Grant, missing: Permission, *, inherited: bool) -> Step:
    given = ", ".join(grant.configured) or "nothing"
    key = grant.key or path
    if inherited:
        why = f"{key} grants {given}; the program could do more and needs {missing} in {path} too"
    else:
        why = f"{key}, in {path}, grants {given}; the program could do more and needs {missing} there too"
    hint = f"add {missing} to {grant.where}" if grant.key else f"give the account permissions for {path}"
    return Step(grant.rule, "deny", why, grant.where, hint)
