# SPDX-License-Identifier: Apache-2.0
"""What every ring shares: programs that a test needs, and the loop that the server itself runs on."""

from __future__ import annotations

import os
import shutil
from ctypes.util import find_library
from pathlib import Path

import pytest

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])


def missing_program(name: str) -> bool:
    """Whether a program, or a library (``lib:NAME``), that a test needs is not there."""
    if name.startswith("lib:"):
        return find_library(name.removeprefix("lib:")) is None
    return not Path(name).exists() if name.startswith("/") else shutil.which(name, path=SEARCH) is None


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*programs): skipped by name where a program is missing; a failure where CI=true"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        missing = [name for name in mark.args if missing_program(name)]
        if missing:
            text = f"needs {', '.join(missing)}"
            if os.environ.get("CI") == "true":
                pytest.fail(text, pytrace=False)
            pytest.skip(text)
