# SPDX-License-Identifier: Apache-2.0
"""A comparison opens no session that would make something in storage."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.model import LOCAL_DISK, Account, FolderMount, StorageConfig
from tidegate.server.rehearsal import would_make

BUCKET = StorageConfig("s3", {"s3config": {"bucket": "b"}})


def account(home: Path | str, **mounts: Path) -> Account:
    """An account with folders; their names are paths with ``_`` for ``/``."""
    folders = tuple(
        FolderMount(name=name, mapped_path=str(place), virtual_path=name.replace("_", "/"))
        for name, place in mounts.items()
    )
    storage = BUCKET if isinstance(home, str) else LOCAL_DISK
    return Account(username="ana", home_dir=str(home), virtual_folders=folders, filesystem=storage)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


def test_nothing_is_made_where_all_is_there(home: Path, tmp_path: Path) -> None:
    (home / "a").mkdir()
    assert would_make(account(home, _a_b=tmp_path)) == ""
    assert would_make(account(home, _a=tmp_path)) == ""
    assert would_make(account("", _a=tmp_path)) == ""


def test_a_home_or_a_way_to_a_folder_in_it(home: Path, tmp_path: Path) -> None:
    assert "its directory" in would_make(account(tmp_path / "missing"))
    assert "/a, which leads to a folder, is not in" in would_make(account(home, _a_b=tmp_path))


def test_a_way_to_a_folder_that_lies_in_another_folder(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    mounts = {"_a": folder, "_a_b_c": tmp_path}
    assert f"/a/b, which leads to a folder, is not in {folder}" in would_make(account(home, **mounts))
    (folder / "b").mkdir(parents=True)
    assert would_make(account(home, **mounts)) == ""


def test_a_way_to_a_folder_in_a_bucket(tmp_path: Path) -> None:
    assert "/a, which leads to a folder, might be made" in would_make(account("", _a_b=tmp_path))
