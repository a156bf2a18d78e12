# SPDX-License-Identifier: Apache-2.0
"""``explain --try``: what the storage would say, and that looking changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.accounts import plain_account

from tidegate.cli.trial import storage_answer
from tidegate.model import FolderMount


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "in").mkdir(parents=True)
    (home / "in/f").write_bytes(b"x")
    (home / "out").symlink_to(tmp_path)
    (tmp_path / "shared").mkdir()
    return home


@pytest.mark.parametrize(
    ("op", "path", "target", "said"),
    [
        ("download", "/in/f", None, None),
        ("list", "/in", None, None),
        ("list", "/", None, None),
        ("upload", "/in/new", None, None),
        ("upload", "/in/f", None, None),
        ("upload", "/shared/new", None, None),
        ("mkdir", "/d", None, None),
        ("rename", "/in/f", "/in/g", None),
        ("delete_file", "/in/f", None, None),
        ("chmod", "/in/f", None, None),
        ("stat", "/in/f", None, None),
        ("copy", "/in/f", "/in/g", None),
        ("download", "/in/g", None, "ENOENT: {home}/in/g does not exist"),
        ("download", "/shared/g", None, "ENOENT: {base}/shared/g does not exist"),
        ("delete_file", "/no/f", None, "ENOENT: {home}/no/f does not exist"),
        ("upload", "/no/f", None, "ENOENT: the directory {home}/no does not exist"),
        ("mkdir", "/in/f/d", None, "ENOENT: the directory {home}/in/f does not exist"),
        ("rename", "/in/f", "/no/g", "ENOENT: the directory {home}/no does not exist"),
        ("download", "/out/secret", None, "permission denied"),
    ],
)
async def test_what_storage_would_say(  # noqa: PLR0917
    home: Path, tmp_path: Path, op: str, path: str, target: str | None, said: str | None
) -> None:
    mount = FolderMount(name="s", virtual_path="/shared", mapped_path=str(tmp_path / "shared"))
    account = plain_account("ada", home_dir=str(home), virtual_folders=(mount,))
    before = sorted(tmp_path.rglob("*"))
    answer = await storage_answer(account, op, path, target)
    assert answer == (said.format(home=home, base=tmp_path) if said else None)
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_home_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    account = plain_account("ada", home_dir=str(tmp_path / "gone"))
    answer = await storage_answer(account, "list", "/", None)
    assert answer == f"{tmp_path}/gone: storage root is missing or not a directory"
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("op", "path", "mode", "said"),
    [
        ("download", "/in/f", 0o000, "EACCES: {home}/in/f cannot be read by user id {uid}"),
        ("upload", "/in/f", 0o444, "EACCES: {home}/in/f cannot be written by user id {uid}"),
        ("upload", "/in/new", 0o555, "EACCES: {home}/in cannot be written by user id {uid}"),
        ("delete_file", "/in/f", 0o555, "EACCES: {home}/in cannot be written by user id {uid}"),
    ],
)
async def test_rights_of_whoever_asks(  # noqa: PLR0917
    home: Path, monkeypatch: pytest.MonkeyPatch, op: str, path: str, mode: int, said: str
) -> None:
    """Root may everything, so access(2) is answered by the mode bits of the owner."""

    def access(where: str, rights: int) -> bool:
        return (os.stat(where).st_mode >> 6) & rights == rights

    monkeypatch.setattr("os.access", access)
    changed = home / path.strip("/") if mode in (0o000, 0o444) else home / "in"
    changed.chmod(mode)
    try:
        answer = await storage_answer(plain_account("ada", home_dir=str(home)), op, path, None)
    finally:
        changed.chmod(0o755)
    assert answer == said.format(home=home, uid=os.geteuid())
