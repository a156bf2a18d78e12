# SPDX-License-Identifier: Apache-2.0
"""Directories above a home that the first login makes."""

from __future__ import annotations

import os
from pathlib import Path

from tidegate.backends.local.root import make_root


def test_parents_are_passable_and_the_servers_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_root(str(tmp_path / "a" / "b" / "home"), mode=0o700, uid=os.getuid() + 1, gid=None)
    finally:
        os.umask(before)
    for name in ("a", "a/b"):
        status = (tmp_path / name).stat()
        assert (status.st_mode & 0o777, status.st_uid) == (0o755, os.geteuid())
    home = (tmp_path / "a/b/home").stat()
    assert home.st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        assert home.st_uid == os.getuid() + 1
