# SPDX-License-Identifier: Apache-2.0
"""Git on storage that is no disk of the server's host: a copy is worked on, and a push is brought back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.programs import Done, git, random_file, rsync, sftp, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.doors.ssh.programs.output import HeldOutput
from tidegate.model import StorageConfig


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {
        "storage": {"kinds": {"memory": "tidegate.backends.memory_kind:MemoryStorage"}},
        "sftpd": {"programs": {"copy_limit": 3}, "enabled_ssh_commands": ["*"]},
    }
    place = tmp_path_factory.mktemp("elsewhere")
    (place / "tmp").mkdir()
    own = {"TMPDIR": str(place / "tmp")}  # other servers have copies of their own meanwhile
    with running(place / "config", settings=settings, environment=own) as server:
        yield server
    assert os.listdir(place / "tmp") == []


def account(server: Running, **fields: Any) -> Person:
    return server.account(filesystem=StorageConfig("memory"), **fields)


def commit(work: Path, name: str, size: int) -> str:
    if not work.exists():
        git("init", "-q", "-b", "main", work).ok()
    random_file(work / name, size)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", name, cwd=work).ok()
    return git("rev-parse", "HEAD", cwd=work).ok().out.decode().strip()


def bring(person: Person, tmp_path: Path, name: str = "x.git") -> None:
    """An empty repository, uploaded."""
    git("init", "-q", "--bare", "-b", "main", tmp_path / name).ok()
    sftp(person, f"put -r {tmp_path / name} /{name}").ok()


def heads(person: Person) -> dict[str, str]:
    lines = git("ls-remote", ":/x.git", person=person).ok().out.decode().splitlines()
    return {line.split("\t")[1]: line.split("\t")[0] for line in lines}


def fetched(person: Person, place: Path) -> Path:
    """The repository as it is stored, downloaded and found sound."""
    sftp(person, f"get -r /x.git {place}").ok()
    (place / "refs").mkdir(exist_ok=True)
    git("fsck", "--strict", cwd=place).ok()
    return place


@pytest.mark.needs("git", "sftp")
def test_git_works_on_a_copy(server: Running, tmp_path: Path):
    person = account(server)
    bring(person, tmp_path)
    work, clone = tmp_path / "work", tmp_path / "clone"
    first = commit(work, "f", 100_000)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    assert heads(person)["refs/heads/main"] == first
    for number in range(120):
        (work / str(number)).write_bytes(b"%d" % number)
    second = commit(work, "g", 10)
    git("tag", "v1", cwd=work).ok()
    git("push", "-q", ":/x.git", "main", "v1", "main~1:refs/heads/deep/er", person=person, cwd=work).ok()

    git("clone", "-q", ":/x", clone, person=person).ok()
    assert tree(clone)[b"f"] == tree(work)[b"f"]
    git("clone", "-q", "--depth", "1", ":/x.git", tmp_path / "shallow", person=person).ok()
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow").out == b"1\n"
    git("push", "-q", ":/x.git", ":refs/tags/v1", person=person, cwd=work).ok()
    assert heads(person) == {
        "HEAD": second, "refs/heads/main": second, "refs/heads/deep/er": first
    }  # fmt: skip
    fetched(person, tmp_path / "stored")
    rsync(person, "-a", work / "f", ":/f").failed("use SFTP there, or rclone")


@pytest.mark.needs("git", "sftp")
def test_a_push_that_is_not_stored_is_not_acknowledged(server: Running, tmp_path: Path):
    person = account(server, quota_size=60_000)
    bring(person, tmp_path)
    work = tmp_path / "work"
    first = commit(work, "f", 1000)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    commit(work, "large", 200_000)

    done = git("push", ":/x.git", "main", person=person, cwd=work).failed("denying write due to space limit")

    assert b"main -> main" not in done.err
    assert heads(person)["refs/heads/main"] == first
    fetched(person, tmp_path / "stored")


@pytest.mark.needs("git", "sftp")
def test_rules_and_bounds_hold_for_a_copy(server: Running, tmp_path: Path):
    person = account(server)
    bring(person, tmp_path)
    work = commit_of(tmp_path / "work")
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    reader = account(server, home_dir=str(person.home), permissions={"/": ("list", "download")})
    git("push", ":/x.git", "main:other", person=reader, cwd=work).failed("needs upload")
    git("ls-remote", ":/nothing", person=person).failed("no git repository at /nothing")
    (tmp_path / "big").write_bytes(os.urandom(4 << 20))
    sftp(person, f"put {tmp_path / 'big'} /x.git/objects/big").ok()
    git("ls-remote", ":/x.git", person=person).failed("sftpd.programs.copy_limit")


def commit_of(work: Path) -> Path:
    commit(work, "f", 1000)
    return work


@pytest.mark.needs("git", "sftp")
def test_pushes_at_once_lose_nothing(server: Running, tmp_path: Path):
    person = account(server)
    bring(person, tmp_path)
    works = [tmp_path / f"work{number}" for number in range(4)]
    ids = [commit(work, "f", 1000 + number) for number, work in enumerate(works)]
    from concurrent.futures import ThreadPoolExecutor

    def push(number: int) -> Done:
        return git("push", "-q", ":/x.git", f"main:b{number}", person=person, cwd=works[number])

    with ThreadPoolExecutor(4) as pool:
        for done in pool.map(push, range(4)):
            done.ok()

    assert [heads(person)[f"refs/heads/b{number}"] for number in range(4)] == ids
    fetched(person, tmp_path / "stored")


@pytest.mark.needs("git", "sftp")
def test_a_repository_that_changed_meanwhile_is_left_as_it_is(server: Running, tmp_path: Path):
    """Its copy is made, then a name in it changes by another way, then the push comes."""
    person = account(server)
    bring(person, tmp_path)
    work = tmp_path / "work"
    first = commit(work, "f", 1000)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    second = commit(work, "g", 1000)
    commit(work, "h", 1000)
    git("push", "-q", ":/x.git", "main~1:refs/heads/other", person=person, cwd=work).ok()
    hook = work / ".git" / "hooks" / "pre-push"  # runs when the copy is made and its names were sent
    hook.parent.mkdir(exist_ok=True)
    (tmp_path / "main").write_text(f"{second}\n")
    batch = tmp_path / "change"
    batch.write_text(f"put {tmp_path / 'main'} /x.git/refs/heads/main\n")
    from tests.support.programs import SSH

    words = ["sftp", *SSH, "-i", str(person.key), "-P", str(person.port), "-b", str(batch)]
    hook.write_text(f"#!/bin/sh\nexec {' '.join(words)} {person.name}@127.0.0.1 >/dev/null\n")
    hook.chmod(0o755)

    git("push", ":/x.git", "main", person=person, cwd=work).failed("changed meanwhile (refs/heads/main)")

    assert heads(person)["refs/heads/main"] == second != first
    wait_for(lambda: os.listdir(server.directory.parent / "tmp") == [], "the copy stays")


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_output_is_held_after_the_list_of_names(size: int) -> None:
    listed = b"000dhello\nxyz" + b"0005a" + b"0000"
    said = b"0010unpack ok\nxx0000"
    held = HeldOutput()
    passed = b""
    both = listed + said
    for start in range(0, len(both), size):
        passed += held.take(both[start : start + size])

    assert (passed, bytes(held.rest)) == (listed, said)
