# SPDX-License-Identifier: Apache-2.0
"""Recipes of packages that cannot ask the package for its version say the same one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tidegate import __version__

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"


def test_recipes_are_of_this_version() -> None:
    spec = (DEPLOY / "rpm" / "tidegate.spec").read_text(encoding="utf-8")
    recipe = (DEPLOY / "arch" / "PKGBUILD").read_text(encoding="utf-8")
    assert re.findall(r"^Version: +(\S+)$", spec, re.MULTILINE) == [__version__]
    assert re.findall(r"^pkgver=(\S+)$", recipe, re.MULTILINE) == [__version__]


def test_scripts_of_packages_can_be_read_by_their_shells() -> None:
    for shell, name in (
        ("bash", "arch/PKGBUILD"), ("sh", "debian/postinst"), ("sh", "debian/prerm"), ("sh", "debian/postrm"),
    ):  # fmt: skip
        done = subprocess.run([shell, "-n", DEPLOY / name], capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, "")
