# SPDX-License-Identifier: Apache-2.0
"""Programs that work on a mounted account (sshfs): cp, git and fio, in each upload mode."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.programs import digest, has_fuse, random_file, run, sshfs, tree
from tests.support.running import Person, running

pytestmark = [
    pytest.mark.skipif(not has_fuse(), reason="FUSE is not usable here"),
    pytest.mark.needs("sshfs", "fusermount3"),
]
MIB = 1 << 20


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["mode0", "mode1", "mode2"])
def mounted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Person, Path]]:
    """An account of a server in one upload mode, and where it is mounted."""
    base = tmp_path_factory.mktemp(f"mounted{request.param}")
    with running(base / "config", settings={"common": {"upload_mode": request.param}}) as server:
        person = server.account(quota_size=1 << 40, quota_files=1_000_000)
        with sshfs(person, base / "mount") as mount:
            yield person, mount
        assert person.leftovers() == []


def settled(mount: Path) -> None:
    """sshfs waits for no answer to CLOSE; requests are answered in order, and this one is never cached."""
    os.statvfs(mount)


def test_copies_with_their_attributes(mounted: tuple[Person, Path], tmp_path: Path):
    person, mount = mounted
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    for number, size in enumerate((0, 1, 4096, 300_000, 2 * MIB + 1)):
        random_file(source / "sub" / f"f{number}", size)
        (source / "sub" / f"f{number}").chmod(0o640)
        os.utime(source / "sub" / f"f{number}", (10**9 + number, 10**9 + number))
    run("cp", "-a", source, mount / "copy").ok()
    settled(mount)
    assert tree(person.home / "copy") == tree(source)
    for path in (person.home / "copy/sub").iterdir():
        assert path.stat().st_mode & 0o777 == 0o640
        assert path.stat().st_mtime == 10**9 + int(path.name[1:])
    run("cp", source / "sub/f1", mount / "copy/sub/f4").ok()  # over a larger one
    settled(mount)
    assert digest(person.home / "copy/sub/f4") == digest(source / "sub/f1")
    run("rm", "-r", mount / "copy").ok()
    assert not (person.home / "copy").exists()


def test_a_file_is_used_while_it_is_written(mounted: tuple[Person, Path]):
    person, mount = mounted
    with open(mount / "open", "wb", buffering=0) as file:
        file.write(b"content")
        os.fsync(file.fileno())
        assert (mount / "open").stat().st_size == 7
        (mount / "open").chmod(0o600)
        os.truncate(mount / "open", 4)
        assert (mount / "open").read_bytes() == b"cont"
        (mount / "open").rename(mount / "renamed")
        assert not (mount / "open").exists()
    settled(mount)
    assert (person.home / "renamed").read_bytes() == b"cont"
    assert (person.home / "renamed").stat().st_mode & 0o777 == 0o600
    with open(mount / "gone", "wb", buffering=0) as file:
        file.write(b"x")
        (mount / "gone").unlink()
    (mount / "renamed").unlink()
    settled(mount)
    assert not (person.home / "gone").exists()


@pytest.mark.needs("git")
def test_git_commits(mounted: tuple[Person, Path], tmp_path: Path):
    person, mount = mounted
    env = {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}

    def git(*words: str | Path, cwd: Path = mount / "repo") -> bytes:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "safe.directory=*")
        return run("git", *who, *words, cwd=cwd, env=env).ok().out

    git("init", "-q", mount / "repo", cwd=tmp_path)
    for number in range(3):
        (mount / "repo" / f"f{number}").write_text(f"text {number}\n" * 50)
    git("add", ".")
    git("commit", "-q", "-m", "one")
    (mount / "repo/f0").write_text("changed\n")
    git("commit", "-q", "-a", "-m", "two")
    git("branch", "side")
    git("fsck", "--strict")
    assert git("log", "--format=%s") == b"two\none\n"
    assert git("status", "--porcelain") == b""
    settled(mount)
    assert git("log", "--format=%s", cwd=person.home / "repo") == b"two\none\n"


@pytest.mark.needs("fio")
def test_fio_verifies(mounted: tuple[Person, Path], tmp_path: Path):
    _, mount = mounted
    done = run(
        "fio", "--name=small", f"--directory={mount}", "--rw=randwrite", "--bs=16k", "--size=512k", "--nrfiles=2",
        "--numjobs=2", "--verify=crc32c", "--do_verify=1", "--fallocate=none", "--ioengine=psync",
        "--output-format=json", "--verify_state_save=0", cwd=tmp_path,
    ).ok()  # fmt: skip
    jobs = json.loads(done.out[done.out.index(b"{") :])["jobs"]
    assert len(jobs) == 2
    assert all(job["error"] == 0 for job in jobs)
    assert sum(job["write"]["io_bytes"] for job in jobs) == 2 * 512 * 1024
    for file in mount.glob("small.*"):
        file.unlink()
