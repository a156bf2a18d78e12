# SPDX-License-Identifier: Apache-2.0
"""The commit and date that this package was built from; `setup.py` writes them into the built copy."""

from __future__ import annotations

from typing import Final

from tidegate import __version__

COMMIT: Final = ""
"""40 hex digits, with ``-changed`` after them if the tree held changes; empty in a source tree"""

DATE: Final = ""
"""time of the commit, ``YYYY-MM-DDTHH:MM:SSZ``, so that two builds of it are equal; empty in a source tree"""


def described() -> str:
    """One line with version, commit and date for people; says where there is no stamp."""
    if not COMMIT:
        return f"Tidegate {__version__}, run from a source tree (no build stamp)"
    commit, _, changed = COMMIT.partition("-")
    return f"Tidegate {__version__}, commit {commit[:12]}{'-' if changed else ''}{changed}, built {DATE}"
