# SPDX-License-Identifier: Apache-2.0
"""REALPATH resolves links, and tells nothing of what may not be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.vfs_world import p, put, vfs_world

from tidegate.model import FilePatterns


@pytest.mark.parametrize(
    ("asked", "real"),
    [
        ("/way/f", "/d/f"),
        ("/way", "/d"),
        ("/link", "/d/f"),
        ("/chain", "/d/f"),
        ("/way/missing", "/d/missing"),
        ("/v/inner", "/v/x"),
        ("/d/f", "/d/f"),
        ("/loop", "/loop"),
        ("/out", "/out"),
        ("/out/passwd", "/out/passwd"),
        ("/no/such/f", "/no/such/f"),
        ("/", "/"),
        ("/v", "/v"),
    ],
)
async def test_links_are_resolved_inside(tmp_path: Path, asked: str, real: str) -> None:
    async with vfs_world(tmp_path) as world:
        world.account(virtual_folders=(world.mount("v", "/v"),))
        alice = await world.login()
        await alice.mkdir(p("/d"))
        await put(alice, "/d/f", b"f")
        await put(alice, "/v/x", b"x")
        for link, text in (("/way", "d"), ("/link", "/d/f"), ("/chain", "link"), ("/loop", "loop")):
            await alice.symlink(text, p(link))
        await alice.symlink("x", p("/v/inner"))
        (world.home() / "out").symlink_to("/etc")
        assert await alice.real_path(p(asked)) == real


async def test_what_may_not_be_seen_is_not_told(tmp_path: Path) -> None:
    async with vfs_world(tmp_path) as world:
        patterns = (FilePatterns(path="/h", denied_patterns=("*.key",), deny_policy=1),)
        world.account(
            permissions={"/": ("*",), "/p": (), "/p/open": ("*",)}, filters={"file_patterns": patterns}
        )
        home = world.home()
        for name in ("p/open", "h", "d"):
            (home / name).mkdir(parents=True)
        for name in ("p/secret", "h/a.key", "d/f"):
            (home / name).write_bytes(b"")
        for link, text in (
            ("a", "p/secret"),
            ("b", "h/a.key"),
            ("c", "d/f"),
            ("o", "p/open"),
            ("p/l", "../d/f"),
        ):
            (home / link).symlink_to(text)
        alice = await world.login()
        for asked, told in (("/a", "/a"), ("/b", "/b"), ("/c", "/d/f"), ("/o", "/o"), ("/p/l", "/p/l")):
            assert await alice.real_path(p(asked)) == told
