# SPDX-License-Identifier: Apache-2.0
"""Real git and rsync clients against the running product, with content compared."""

from __future__ import annotations

import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.programs import git, random_file, rsync, run, tree
from tests.support.running import Person

from tidegate.backends.local.names import part_name, upload_name

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


@pytest.mark.needs("rsync")
def test_rsync_deletes_compresses_resumes_and_links(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    make_tree(source)
    rsync(person, "-az", "--partial", f"{source}/", ":d/").ok()
    (source / "plain" / "plain 1").unlink()
    (source / "-dash").rename(source / "moved")
    with (source / "large").open("r+b") as file:
        file.seek(MIB)
        file.write(b"changed")
    os.utime(source / "large", (5, 5))
    done = rsync(person, "-a", "--delete", "--stats", f"{source}/", ":d/").ok()
    assert tree(person.home / "d") == tree(source)
    literal = int(re.search(rb"Literal data: ([0-9,]+)", done.out)[1].replace(b",", b""))  # type: ignore[index]
    assert literal < 400_000  # only what changed came over

    rsync(person, "-a", "--link-dest=../d", f"{source}/", ":e/").ok()
    rsync(person, "-a", "--link-dest=/d", f"{source}/", ":/deeper/f/", "--mkpath").ok()
    assert (person.home / "d" / "large").stat().st_nlink == 3
    part = (source / "large").read_bytes()[:MIB]
    (person.home / "g" / ".part").mkdir(parents=True)
    (person.home / "g" / ".part" / "large").write_bytes(part)
    options = ["--partial-dir=.part", "--delay-updates", "--backup", "--backup-dir=/old", "--temp-dir=/tmp"]
    (person.home / "tmp").mkdir()
    rsync(person, "-a", *options[:1], f"{source}/large", ":g/").ok()
    (source / "large").write_bytes(part)
    rsync(person, "-a", *options[2:], f"{source}/large", ":g/").ok()
    assert (person.home / "g" / "large").read_bytes() == part
    assert (person.home / "old" / "large").stat().st_size == 3 * MIB + 17


@pytest.mark.needs("rsync")
@pytest.mark.parametrize("how", ["--delete", "--delete-excluded", "--delete-before"])
def test_rsync_leaves_unfinished_uploads_alone(person: Person, tmp_path: Path, how: str):
    """Files of uploads under way by SFTP are removed by no ``--delete``, and nobody is sent them."""
    source, back = tmp_path / "source", tmp_path / "back"
    source.mkdir()
    random_file(source / "file", 1000)
    hidden = [upload_name(b"x").decode(), part_name(b"x").decode()]
    (person.home / "d" / "sub").mkdir(parents=True)
    for place in (person.home / "d", person.home / "d" / "sub"):
        for name in (*hidden, "old"):
            random_file(place / name, 500)
    rsync(person, "-a", ":d/", back).ok()
    assert sorted(tree(back)) == [b"old", b"sub", b"sub/old"]
    rsync(person, "-a", how, "--exclude=nothing", f"{source}/", ":d/")
    assert sorted(os.listdir(person.home / "d")) == sorted(["file", *hidden, "sub"])
    assert sorted(os.listdir(person.home / "d" / "sub")) == sorted(hidden)
    shutil.rmtree(person.home / "d")  # else the server is at fault, by what every test asks at its end


@pytest.mark.needs("rsync")
def test_rsync_fetches_by_pattern_list_and_link(person: Person, tmp_path: Path):
    make_tree(person.home / "d")
    (person.home / "link").symlink_to("d")
    back = tmp_path / "back"

    rsync(person, "-a", ":d/p*/plain ?", ":d/quote*", ":d/star*/star* 1", back).ok()
    assert sorted(name for name in tree(back) if b"/" not in name) == [
        b"plain 0", b"plain 1", b"plain 2", b"quote's", b"star* 1",
    ]  # fmt: skip
    rsync(person, "-aR", ":d/./plain/", tmp_path / "relative").ok()
    assert b"plain/plain 1" in tree(tmp_path / "relative")
    (tmp_path / "list").write_text("plain/plain 1\nlarge\n")
    rsync(person, "-a", f"--files-from={tmp_path / 'list'}", ":d", tmp_path / "listed").ok()
    assert sorted(tree(tmp_path / "listed")) == [b"large", b"plain", b"plain/plain 1"]
    rsync(person, "-a", ":link", f"{tmp_path}/l/").ok()
    assert os.readlink(tmp_path / "l" / "link") == "d"
    rsync(person, "-a", ":link/", tmp_path / "followed").ok()
    assert tree(tmp_path / "followed") == tree(person.home / "d")
    assert b"large" in rsync(person, "--list-only", ":d/").ok().out
    rsync(person, "-an", "--delete", f"{back}/", ":d/").ok()
    assert tree(person.home / "d") == tree(tmp_path / "followed")  # a dry run


@pytest.mark.needs("rsync")
def test_rsync_fetches_many_directories_by_pattern(person: Person, tmp_path: Path):
    """The work for each does not grow with their number: it once took longer than a program may here."""
    for number in range(1500):
        (person.home / "many" / f"d{number}").mkdir(parents=True)
    (person.home / "many" / "d7" / "file").write_bytes(b"x")

    rsync(person, "-a", ":many/d*", tmp_path / "back").ok()

    assert len(os.listdir(tmp_path / "back")) == 1500
    assert (tmp_path / "back" / "d7" / "file").read_bytes() == b"x"


def commit(work: Path, name: str, size: int) -> str:
    """One more commit of a client's repository; returns its id."""
    if not work.exists():
        git("init", "-q", "-b", "main", work).ok()
    random_file(work / name, size)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", name, cwd=work).ok()
    return git("rev-parse", "HEAD", cwd=work).ok().out.decode().strip()


@pytest.mark.needs("git")
def test_git_clones_pushes_and_fetches(person: Person, tmp_path: Path):
    git("init", "-q", "--bare", "-b", "main", person.home / "x.git").ok()
    work, clone = tmp_path / "work", tmp_path / "clone"
    commit(work, "large", 2 * MIB)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    git("clone", "-q", ":/x", clone, person=person).ok()
    assert tree(clone)[b"large"] == tree(work)[b"large"]
    git("fsck", "--strict", cwd=person.home / "x.git").ok()

    for number in range(150):  # as many objects as git keeps in a pack
        (work / str(number)).write_bytes(b"%d" % number)
    last = commit(work, "more", 100)
    git("tag", "-a", "-m", "one", "v1", cwd=work).ok()
    git("push", "-q", "--atomic", ":/x.git", "main", "v1", person=person, cwd=work).ok()
    git("pull", "-q", "--tags", cwd=clone, person=person).ok()
    assert git("rev-parse", "HEAD", cwd=clone).out.decode().strip() == last
    assert git("rev-parse", "v1^{}", cwd=clone).out.decode().strip() == last

    git("clone", "-q", "--depth", "1", ":/x.git", tmp_path / "shallow", person=person).ok()
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow").out == b"1\n"
    git("fetch", "-q", "--unshallow", cwd=tmp_path / "shallow", person=person).ok()
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow").out == b"2\n"
    git("clone", "-q", "--mirror", ":/x.git", tmp_path / "mirror", person=person).ok()
    git("push", "-q", ":/x.git", ":refs/tags/v1", "main~1:refs/heads/old", person=person, cwd=work).ok()
    assert b"refs/tags/v1" not in git("ls-remote", ":/x.git", person=person).ok().out
    git("push", "-q", ":/x.git", "main~1:main", person=person, cwd=work).failed("non-fast-forward")
    url = f"--remote=ssh://{person.name}@127.0.0.1:{person.port}/x.git"
    git("archive", url, "-o", tmp_path / "x.tar.gz", "main", person=person).ok()
    assert b"more" in run("tar", "tzf", tmp_path / "x.tar.gz").ok().out


@pytest.mark.needs("git")
def test_git_speaks_version_2_and_pushes_into_a_worktree(person: Person, tmp_path: Path):
    work = person.home / "work"
    commit(work, "f", 100)
    git("config", "receive.denyCurrentBranch", "updateInstead", cwd=work).ok()
    env = {"GIT_TRACE_PACKET": str(tmp_path / "trace")}

    done = git(
        "-c", "protocol.version=2", "clone", "-q", ":/work", tmp_path / "clone", person=person, env=env
    )

    done.ok()
    assert "version 2" in (tmp_path / "trace").read_text()
    commit(tmp_path / "clone", "g", 1000)
    git("push", "-q", "origin", "main", person=person, cwd=tmp_path / "clone").ok()
    assert tree(work)[b"g"] == tree(tmp_path / "clone")[b"g"]


@pytest.mark.needs("rsync")
def test_many_rsyncs_at_once(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    make_tree(source)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: rsync(person, "-a", f"{source}/", f":/d{n}/"), range(8)))
    for number, one in enumerate(done):
        one.ok()
        assert tree(person.home / f"d{number}") == tree(source)
