# SPDX-License-Identifier: Apache-2.0
"""Progress of a move, for whoever watches it and for the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

MAX_TOLD: Final = 1000
"""Names that are told one by one; of more there is a number."""


class Phase(StrEnum):
    """Phases of a move, in their order."""

    CHECKING = "checking"
    """names, sizes and links are looked at; nothing is changed"""
    COPYING = "copying"
    """the account works on its old storage"""
    HOLDING = "holding"
    """logins are refused, sessions end"""
    DIFFERENCES = "differences"
    """changes made since are copied, nobody works"""
    VERIFYING = "verifying"
    SWITCHING = "switching"
    SWITCHED = "switched"
    """the record names the new storage; the old content is still there"""
    REMOVING = "removing"
    """copies, or the old content, are removed"""
    REMOVED = "removed"


@dataclass(slots=True)
class Progress:
    """Counts of one run; sizes in bytes.

    Attributes:
        phase: what it does now.
        files: files that are there and compared, or looked at while it checks.
        size: their bytes.
        total_files: files of the source, as they were counted; 0 while that is not known.
        total_size: their bytes.
        copied_files: files that this run copied; `copied_size` likewise.
        left_out: names that the target cannot hold, `MAX_TOLD` at most, each with the reason.
        count_left_out: number of such names.
        partials: unfinished uploads, which are not moved.
    """

    phase: Phase = Phase.CHECKING
    files: int = 0
    size: int = 0
    total_files: int = 0
    total_size: int = 0
    copied_files: int = 0
    copied_size: int = 0
    left_out: list[str] = field(default_factory=list)
    count_left_out: int = 0
    partials: int = 0

    def begin(self, phase: Phase) -> None:
        """Another phase, which counts from the beginning."""
        self.phase = phase
        self.files = self.size = 0

    def leave_out(self, key: str, why: str) -> None:
        """A name stays where it is."""
        self.count_left_out += 1
        if len(self.left_out) < MAX_TOLD:
            self.left_out.append(f"{key} {why}")

    def forget_left_out(self) -> None:
        """Count again from the beginning."""
        self.left_out.clear()
        self.count_left_out = 0

    def __str__(self) -> str:
        files = f"{self.files} of {self.total_files}" if self.total_files else f"{self.files}"
        size = f"{self.size} of {self.total_size}" if self.total_size else f"{self.size}"
        return f"{self.phase}, {files} files, {size} bytes"
