# SPDX-License-Identifier: Apache-2.0
"""The Debian package's scripts, in a directory instead of a system and as whoever runs the tests."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "debian" / "postinst"


@pytest.mark.parametrize("there", [True, False], ids=["there", "removed"])
def test_an_upgrade_works_whether_or_not_somebody_removed_the_file(tmp_path: Path, there: bool) -> None:
    for name in ("etc/tidegate", "var/lib", "srv", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin" / "adduser").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "adduser").chmod(0o755)
    if there:
        (tmp_path / "etc/tidegate/tidegate.toml").write_text("")
    text = re.sub(r"/(etc|var|srv|run)/", rf"{tmp_path}/\1/", SCRIPT.read_text())
    text = text.replace("-o tidegate -g tidegate", "").replace(
        "root:tidegate", f"{os.getuid()}:{os.getgid()}"
    )
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for _ in range(2):
        subprocess.run(["sh", "-c", text, "sh", "configure", "1"], check=True, env={"PATH": path})
    link = tmp_path / "var/lib/tidegate/tidegate.toml"
    assert link.exists() is link.is_symlink() is there
