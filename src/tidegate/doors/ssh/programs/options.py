# SPDX-License-Identifier: Apache-2.0
"""Options of system programs; the composition root fills them from `sftpd.programs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramOptions:
    """Bounds of system programs.

    Attributes:
        confinement: "landlock" needs Landlock and takes namespaces where the system lets it; "strict" needs
            both; "none" needs neither.
        seconds: time that one program may run; 0 no limit.
        output_bytes: most bytes that one program may send; 0 no limit.
        copy_bytes: most bytes of a git repository on storage that is no disk of this host.
        memory_bytes: address space of each process; 0 no limit.
        notes: directory for notes of locks (`lock_notes`); empty keeps none.
    """

    confinement: Literal["landlock", "strict", "none"] = "landlock"
    seconds: float = 86_400.0
    output_bytes: int = 0
    copy_bytes: int = 1024 << 20
    memory_bytes: int = 2048 << 20
    notes: str = ""

    @property
    def landlock(self) -> str:
        """The word for `confine`."""
        return "possible" if self.confinement == "none" else "required"

    @property
    def namespace(self) -> str:
        """The word for `confine`."""
        return "required" if self.confinement == "strict" else "possible"

    @property
    def cpu_seconds(self) -> int:
        """RLIMIT_CPU of each process."""
        return int(self.seconds)
