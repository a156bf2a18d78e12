# SPDX-License-Identifier: Apache-2.0
"""The one rule about programs, libraries and archives that a test needs: skipped by name, failed in CI."""

from __future__ import annotations

import os
import shutil
from ctypes.util import find_library
from pathlib import Path
from typing import NoReturn

import pytest

SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"])


def program(name: str | Path) -> str | None:
    """The path of a program, None if it is not there."""
    return shutil.which(str(name), path=SEARCH)


def missing(name: str) -> bool:
    """True if a program, a file (absolute) or a library (``lib:NAME``) that a test needs is not there."""
    if name.startswith("lib:"):
        return find_library(name.removeprefix("lib:")) is None
    return not Path(name).exists() if name.startswith("/") else program(name) is None


def absent(what: str) -> NoReturn:
    """End the test: something that it needs is not there."""
    text = f"needs {what}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
