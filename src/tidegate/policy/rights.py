# SPDX-License-Identifier: Apache-2.0
"""The rights to everything in one directory, as the gate would decide when each is tried.

A listing asks for thousands of names: what no name changes is decided once for the directory.
"""

from __future__ import annotations

from typing import Final

from tidegate.model import Intent, VPath
from tidegate.model.rights import Right
from tidegate.policy.gate import Gate

ANY_NAME: Final = "x"
"""Stands for every name where names do not matter."""

_OF_FILE: Final = (
    (Intent.DOWNLOAD, Right.READ.value),
    (Intent.OVERWRITE, Right.WRITE.value),
    (Intent.DELETE_FILE, Right.REMOVE.value),
    (Intent.RENAME_FILE, Right.RENAME.value),
)
_OF_DIR: Final = (
    (Intent.LIST, Right.LIST.value),
    (Intent.DELETE_DIR, Right.REMOVE.value),
    (Intent.RENAME_DIR, Right.RENAME.value),
)
_INSIDE: Final = (
    (Intent.UPLOAD, Right.CREATE_FILES.value),
    (Intent.MKDIR, Right.CREATE_DIRS.value),
    (Intent.DELETE_FILE, Right.REMOVE_INSIDE.value),
    (Intent.DELETE_DIR, Right.REMOVE_INSIDE.value),
)


class DirectoryRights:
    """Rights to what is in one directory. Pure, like the gate.

    Args:
        gate: of the account.
        directory: whose entries are asked about.
    """

    __slots__ = ("_directory", "_dirs", "_files", "_gate")

    def __init__(self, gate: Gate, directory: VPath) -> None:
        self._gate, self._directory = gate, directory
        self._files: Right | None = None
        self._dirs: Right | None = None

    def of(self, name: str, *, is_dir: bool) -> Right:
        """Rights to the entry of this name; to the directory itself if it is empty."""
        gate = self._gate
        if not name:
            return self._of_dir(self._directory)
        if is_dir:
            if not gate.uniform:
                return self._of_dir(self._directory.child(name))
            if self._dirs is None:
                self._dirs = self._of_dir(self._directory.child(ANY_NAME))
            return self._dirs
        if gate.judges_names:
            return Right(self._asked(_OF_FILE, self._directory.child(name)))
        if self._files is None:
            self._files = Right(self._asked(_OF_FILE, self._directory.child(ANY_NAME)))
        return self._files

    def _of_dir(self, path: VPath) -> Right:
        found = self._asked(_OF_DIR, path)
        for intent, right in _INSIDE:
            if self._gate.grants(intent, path):
                found |= right
        return Right(found)

    def _asked(self, table: tuple[tuple[Intent, int], ...], path: VPath) -> int:
        found = 0
        for intent, right in table:
            # A rename has two names: beside the old one is what most renames want.
            target = path if intent in (Intent.RENAME_FILE, Intent.RENAME_DIR) else None
            if self._gate.decide(intent, path, target=target).allowed:
                found |= right
        return found
