# SPDX-License-Identifier: Apache-2.0
"""Each fuzzer starts from its command line and finds nothing in a few cases; long runs are by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "fuzz"


@pytest.mark.parametrize(
    "name", sorted(file.name for file in FOLDER.glob("*.py") if file.name != "runner.py")
)
def test_it_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / name), "--seed", "1", "--count", "15"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("15 ")
