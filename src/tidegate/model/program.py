# SPDX-License-Identifier: Apache-2.0
"""Programs of the system that act on an account's directories by themselves."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tidegate.model.intent import Permission
from tidegate.model.path import VPath


class ProgramUse(enum.StrEnum):
    """Uses that a client makes of a system program; the names are those of `explain`."""

    GIT_FETCH = "git_fetch"
    """clone, fetch, archive: git-upload-pack and git-upload-archive"""
    GIT_PUSH = "git_push"
    """push: git-receive-pack"""
    RSYNC_READ = "rsync_read"
    """rsync sends to the client"""
    RSYNC_WRITE = "rsync_write"
    """rsync receives from the client"""

    @property
    def writes(self) -> bool:
        """True if the program changes what is stored."""
        return self in {ProgramUse.GIT_PUSH, ProgramUse.RSYNC_WRITE}


@dataclass(frozen=True, slots=True)
class ProgramDirectory:
    """A directory that a program is to reach, with everything below it.

    Attributes:
        path: without links.
        writes: True if the program may change it.
        needs: permissions beyond those for content and names.
    """

    path: VPath
    writes: bool
    needs: frozenset[Permission] = frozenset()
