# SPDX-License-Identifier: Apache-2.0
"""Keys of ``common.file_patterns``: names that no account may use."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import field_validator

from tidegate.config.schema.base import Section, key
from tidegate.model import FilePatterns

MOST_PATTERNS: Final = 1000


class FilePatternKeys(Section):
    """Rules on names for all accounts, beside `file_patterns` of each."""

    preset: Literal["", "openbridge"] = key(
        "",
        "`openbridge` refuses what the Openbridge gateway refuses to take in: 110 extensions, and names that "
        "begin with a dot. What is there already can be read and removed.",
    )
    denied_patterns: list[str] = key(
        [],
        "Shell patterns of names, upper and lower case alike, such as `*.exe`: they can be neither used nor "
        "made, and are seen in listings.",
    )
    exempt_patterns: list[str] = key(
        [], "Names that neither the preset nor `denied_patterns` speaks of; asked before both."
    )

    @property
    def entry(self) -> FilePatterns | None:
        """The rule, None if there is none."""
        if not self.preset and not self.denied_patterns:
            return None
        return FilePatterns(
            allowed_patterns=tuple(self.exempt_patterns),
            denied_patterns=tuple(self.denied_patterns),
            preset=self.preset,
        )

    @field_validator("denied_patterns", "exempt_patterns")
    @classmethod
    def _names(cls, patterns: list[str]) -> list[str]:
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"expected at most {MOST_PATTERNS} patterns, got {len(patterns)}")
        if patterns:
            from tidegate.policy import globs

            for pattern in patterns:
                if (wrong := globs.problem(pattern)) is not None:
                    raise ValueError(f"{pattern[:60]!r} is not a pattern for file names: {wrong}")
        return patterns
