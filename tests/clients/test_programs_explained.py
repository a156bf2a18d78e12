# SPDX-License-Identifier: Apache-2.0
"""``tidegate explain`` and real git and rsync clients give the same answers, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import Done, git, random_file, rsync
from tests.support.running import Person, Running

from tidegate.model import FilePatterns, Filters, FolderMount
from tidegate.policy.explain import explain

PLACES = ("free", "p", "r", "m", "m/shared", "blind")
"""Nothing special; patterns; a directory with fewer rights in it; above a folder; a folder; nothing granted."""


@pytest.fixture
def person(servers: Callable[[bool], Running], tmp_path: Path) -> Person:
    patterns = FilePatterns(path="/p", denied_patterns=("*.exe",))
    folder = FolderMount(name="explained", mapped_path=str(tmp_path / "shared"), virtual_path="/m/shared")
    person = servers(True).account(
        permissions={"/": ("*",), "/r/deep": ("list", "download"), "/blind": ("upload",)},
        filters=Filters(file_patterns=(patterns,)),
        virtual_folders=(folder,),
    )
    for place in (*PLACES, "r/deep"):
        where = tmp_path / "shared" if place == "m/shared" else person.home / place
        where.mkdir(parents=True, exist_ok=True)
        git("init", "-q", "--bare", "-b", "main", where / "x.git").ok()
    return person


@pytest.mark.needs("git", "rsync")
@pytest.mark.parametrize("place", PLACES)
def test_explain_agrees(
    servers: Callable[[bool], Running], person: Person, tmp_path: Path, place: str
) -> None:
    work = tmp_path / "work"
    git("init", "-q", "-b", "main", work).ok()
    random_file(work / "f", 100)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", "f", cwd=work).ok()
    asked: list[tuple[str, str, Done]] = [
        ("git_fetch", f"/{place}/x.git", git("ls-remote", f":/{place}/x.git", person=person)),
        (
            "git_push",
            f"/{place}/x.git",
            git("push", "-q", f":/{place}/x.git", "main", person=person, cwd=work),
        ),
        ("rsync_read", f"/{place}", rsync(person, "-r", f":/{place}/", tmp_path / "back")),
        ("rsync_write", f"/{place}", rsync(person, "-r", work / "f", f":/{place}/")),
    ]
    account = servers(True).stored(person.name)
    for op, path, done in asked:
        told = explain(account, ip="127.0.0.1", protocol="SSH", op=op, path=path, now_ms=0).decision
        if told.allowed:
            done.ok()
        elif place == "blind" and op.startswith("git"):
            done.failed("permission: list on")  # the look at the repository comes first
        else:
            done.failed(told.text)
