# SPDX-License-Identifier: Apache-2.0
"""Real git and rsync clients against the running product, with content compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.programs import git, random_file, rsync, tree
from tests.support.running import Person

MIB = 1 << 20


def make_tree(directory: Path) -> None:
    """Files of a few kinds, two levels, names that need quotes."""
    for name in ("plain", "with space", "quote's", "ünïcode", "star*", "-dash"):
        folder = directory / name
        folder.mkdir(parents=True)
        for number in range(3):
            random_file(folder / f"{name} {number}", number * 70_001)
    random_file(directory / "large", 3 * MIB + 17)


# -- rsync -------------------------------------------------------------------------------------------------


@pytest.mark.needs("rsync")
def test_rsync_brings_a_tree_and_fetches_it(person: Person, tmp_path: Path):
    source, back = tmp_path / "source", tmp_path / "back"
    make_tree(source)
    rsync(person, "-a", f"{source}/", ":/deep").ok()
    assert tree(person.home / "deep") == tree(source)
    assert (person.home / "deep" / "large").stat().st_mtime_ns == (source / "large").stat().st_mtime_ns

    rsync(person, "-a", ":/deep/", back).ok()
    assert tree(back) == tree(source)


@pytest.mark.needs("git")
def test_git_clones_pushes_and_fetches(person: Person, tmp_path: Path):
    git("init", "-q", "--bare", "-b", "main", person.home / "x.git").ok()
    work = tmp_path / "work"
    git("init", "-q", "-b", "main", work).ok()
    random_file(work / "large", MIB)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", "one", cwd=work).ok()
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    git("clone", "-q", ":/x", tmp_path / "clone", person=person).ok()
    assert tree(tmp_path / "clone")[b"large"] == tree(work)[b"large"]
