# SPDX-License-Identifier: Apache-2.0
"""Two servers on one storage, pushed to at the same time by git: what is acknowledged is there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.far_sshd import far_sshd
from tests.support.object_servers import ObjectServer
from tests.support.programs import Done, git, sftp
from tests.support.running import Person, Running, running

from tidegate.model import StorageConfig

ROUNDS = 3
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Running]]:
    settings = {"sftpd": {"enabled_ssh_commands": ["*"]}}
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(tmp_path / name, settings=settings)) for name in ("one", "two")]


@dataclass
class Shared:
    """A storage that both servers use; `place` is where its files are, where that can be told."""

    config: StorageConfig
    secrets: tuple[str, ...]
    place: Path | None = None


@pytest.fixture(params=["bucket", "encrypted bucket", "sftp"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shared]:
    if request.param == "sftp":
        with far_sshd(tmp_path / "far") as far:
            options = far.options(far.files)
            yield Shared(StorageConfig("sftp", {"sftpconfig": options}), (options["private_key"],), far.files)
        return
    objects: ObjectServer = request.getfixturevalue("seaweedfs_server")
    within = objects.options(objects.bucket())
    if request.param == "bucket":
        yield Shared(StorageConfig("s3", {"s3config": within}), (objects.access_secret,))
        return
    section = {"passphrase": {"status": "Plain", "payload": PASSPHRASE}, "storage": "s3"}
    options = {"cryptconfig": section, "s3config": within}
    yield Shared(StorageConfig("crypt", options), (objects.access_secret, PASSPHRASE))


@pytest.mark.needs("git", "sftp", "sshd")
def test_what_is_acknowledged_is_there(servers: list[Running], shared: Shared, tmp_path: Path) -> None:
    people = [server.account(filesystem=shared.config, home_dir="") for server in servers]
    for server in servers:
        server.secrets.update(shared.secrets)
    git("init", "-q", "--bare", "-b", "main", tmp_path / "x.git").ok()
    sftp(people[0], "put -r x.git", cwd=tmp_path).ok()
    # On another host's disk a git may work there too.
    beside = shared.place / "x.git" if shared.place is not None else None
    works = [tmp_path / f"work{number}" for number in range(3 if beside is not None else 2)]
    for work in works:
        git("init", "-q", "-b", "main", work).ok()
    won = [0] * len(works)
    for number in range(ROUNDS):
        barrier = threading.Barrier(len(works))

        def push(which: int, barrier: threading.Barrier = barrier, number: int = number) -> Done:
            work = works[which]
            (work / f"f{which}").write_text(str(number))
            git("add", ".", cwd=work).ok()
            git("commit", "-q", "-m", f"{number} of {which}", cwd=work).ok()
            barrier.wait(60)
            if which == 2:
                return git("push", "-q", beside, "main", cwd=work)
            return git("push", "-q", ":/x.git", "main", person=people[which], cwd=work)

        with ThreadPoolExecutor(len(works)) as pool:
            done = list(pool.map(push, range(len(works))))
        heads = [git("rev-parse", "main", cwd=work).ok().out.strip() for work in works]
        now = head(people[number % 2])
        accepted = [heads[which] for which in range(len(works)) if done[which].status == 0]
        assert len(accepted) == 1, done
        assert now == accepted[0]
        for which, work in enumerate(works):
            won[which] += heads[which] == now
            git("fetch", "-q", ":/x.git", "main", person=people[which % 2], cwd=work).ok()
            git("reset", "-q", "--hard", "FETCH_HEAD", cwd=work).ok()
    git("clone", "-q", ":/x.git", tmp_path / "clone", person=people[1]).ok()
    git("fsck", "--strict", cwd=tmp_path / "clone").ok()
    count = git("rev-list", "--count", "HEAD", cwd=tmp_path / "clone").ok().out
    assert int(count) == ROUNDS, won
    names = sftp(people[0], "ls -1 x.git/refs/heads").ok().out
    assert b".lock" not in names


def head(person: Person) -> bytes:
    return git("ls-remote", ":/x.git", "refs/heads/main", person=person).ok().out.split()[0]
