# SPDX-License-Identifier: Apache-2.0
"""ansible-core in an environment of its own, made by `.ci/run`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import needs

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "tidegate-tests")
ANSIBLE = CACHE / "ansible-core-2.18.19" / "bin"


def program(name: str) -> str:
    """The path of one of its programs; without it the test ends."""
    return needs.program(ANSIBLE / name) or needs.absent(name)
