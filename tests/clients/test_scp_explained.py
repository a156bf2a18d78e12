# SPDX-License-Identifier: Apache-2.0
"""``tidegate explain --protocol SCP`` and SCP itself give the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.command_line import process
from tests.support.programs import scp
from tests.support.running import Running

from tidegate.model import Filters

pytestmark = pytest.mark.needs("scp")


def test_explain_agrees_with_scp(server: Running, tmp_path: Path) -> None:
    user = server.account(permissions={"/": ["list", "download"], "/in": ["list", "upload"]})
    barred = server.account(filters=Filters(denied_protocols=("SSH",)))
    (user.home / "in").mkdir()
    (user.home / "f").write_bytes(b"x")
    (tmp_path / "g").write_bytes(b"y")

    def explained(name: str, op: str, path: str) -> bool:
        done = process(
            "explain", "-u", name, "--op", op, "--path", path, "--protocol", "SCP", "-c", server.directory
        )
        assert done.code in (0, 3), done
        return done.code == 0

    for op, path, words in (
        ("download", "/f", [":f", "got"]),
        ("upload", "/g", ["g", ":g"]),
        ("upload", "/in/g", ["g", ":in/g"]),
        ("overwrite", "/in/g", ["g", ":in/g"]),
    ):
        done = scp(user, *words, cwd=tmp_path, old=True)
        assert (done.status == 0) is explained(user.name, op, path), (op, path, done)
    assert not explained(barred.name, "download", "/f")
    assert scp(barred, ":f", "got", cwd=tmp_path, old=True).status != 0
