# SPDX-License-Identifier: Apache-2.0
"""Two servers on one bucket, pushed to at the same time by git: what is acknowledged is there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.object_servers import ObjectServer
from tests.support.programs import Done, git, sftp
from tests.support.running import Person, Running, running

from tidegate.model import StorageConfig

ROUNDS = 4


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Running]]:
    settings = {"sftpd": {"enabled_ssh_commands": ["*"]}}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(tmp_path / name, settings=settings)) for name in ("one", "two")]


@pytest.mark.needs("git", "sftp")
def test_what_is_acknowledged_is_there(
    servers: list[Running], seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    config = StorageConfig("s3", {"s3config": seaweedfs_server.options(bucket)})
    people = [server.account(filesystem=config) for server in servers]
    for server in servers:
        server.secrets.add(seaweedfs_server.access_secret)
    git("init", "-q", "--bare", "-b", "main", tmp_path / "x.git").ok()
    sftp(people[0], "put -r x.git", cwd=tmp_path).ok()
    works = [tmp_path / "work0", tmp_path / "work1"]
    for work in works:
        git("init", "-q", "-b", "main", work).ok()
    won = 0
    for number in range(ROUNDS):
        barrier = threading.Barrier(2)

        def push(which: int, barrier: threading.Barrier = barrier, number: int = number) -> Done:
            person, work = people[which], works[which]
            (work / f"f{which}").write_text(str(number))
            git("add", ".", cwd=work).ok()
            git("commit", "-q", "-m", f"{number} of {which}", cwd=work).ok()
            barrier.wait(60)
            return git("push", "-q", ":/x.git", "main", person=person, cwd=work)

        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(push, range(2)))
        heads = [git("rev-parse", "main", cwd=work).ok().out.strip() for work in works]
        now = head(people[number % 2])
        accepted = [heads[which] for which in range(2) if done[which].status == 0]
        assert len(accepted) == 1, done
        assert now == accepted[0]
        won += done[0].status == 0
        loser = 1 - heads.index(now)
        git("fetch", "-q", ":/x.git", "main", person=people[loser], cwd=works[loser]).ok()
        git("reset", "-q", "--hard", "FETCH_HEAD", cwd=works[loser]).ok()
    git("clone", "-q", ":/x.git", tmp_path / "clone", person=people[1]).ok()
    git("fsck", "--strict", cwd=tmp_path / "clone").ok()
    count = git("rev-list", "--count", "HEAD", cwd=tmp_path / "clone").ok().out
    assert int(count) == ROUNDS, won


def head(person: Person) -> bytes:
    return git("ls-remote", ":/x.git", "refs/heads/main", person=person).ok().out.split()[0]
