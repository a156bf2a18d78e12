# SPDX-License-Identifier: Apache-2.0
"""Backup programs against the running product: backed up, changed, backed up again, verified, restored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.needs import absent
from tests.support.programs import (
    SSH,
    digest,
    has_fuse,
    random_file,
    rsync,
    run,
    sshfs,
    tree,
)
from tests.support.running import Person, Running

MIB = 1 << 20


def source_in(tmp_path: Path) -> Path:
    """Something to back up."""
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    for number in range(5):
        random_file(source / str(number), number * 300_001)
    (source / "inner" / "a b'c").write_bytes(b"x")
    return source


@pytest.mark.needs("duplicity", "ssh-keyscan", "scp", "sftp")
@pytest.mark.parametrize("scheme", ["sftp", "scp", "pexpect+sftp", "pexpect+scp"])
def test_duplicity(servers, tmp_path: Path, scheme: str) -> None:
    """With paramiko, its default, and with the programs of OpenSSH; over SFTP, and over SCP and commands."""
    server: Running = servers(True)
    person = server.account()
    source = source_in(tmp_path)
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    known = run("ssh-keyscan", "-p", str(person.port), "127.0.0.1").ok().out
    (home / ".ssh" / "known_hosts").write_bytes(known)
    options = f"-oIdentityFile={person.key}"
    if scheme.startswith("pexpect"):
        options = " ".join([*SSH, "-o", f"IdentityFile={person.key}"])
    place = "backups/of_me" if scheme.startswith("pexpect") else "backups/of me"
    url = f"{scheme}://{person.name}@127.0.0.1:{person.port}/{place}"

    def duplicity(*words: str | Path) -> bytes:
        return run(
            "/usr/bin/duplicity", *words, f"--archive-dir={tmp_path / 'archive'}", f"--ssh-options={options}",
            "--no-encryption", "--volsize=1", "--num-retries=1", env={"HOME": str(home), "TMPDIR": str(tmp_path)},
        ).ok().out  # fmt: skip

    duplicity("full", source, url)
    (source / "0").write_bytes(b"more")
    later = (source / "0").stat().st_mtime + 10
    os.utime(source / "0", (later, later))  # duplicity compares whole seconds
    (source / "1").unlink()
    duplicity("incremental", source, url)
    assert b"0 differences found" in duplicity("verify", "--compare-data", url, source)
    duplicity("restore", url, tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    kept = set(tree(person.home / place))
    assert len(kept) >= 8, kept
    duplicity("full", source, url)
    assert b"Deleting complete backup chain" in duplicity("remove-all-but-n-full", "1", "--force", url)
    assert not kept & set(tree(person.home / place))
    assert server.lines("refused", username=person.name) == []


def borg_in(tmp_path: Path, repository: Path):
    """Runs borg on a repository."""
    environ = {
        "HOME": str(tmp_path), "BORG_BASE_DIR": str(tmp_path), "BORG_PASSPHRASE": "x", "BORG_REPO": str(repository),
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }  # fmt: skip

    def borg(*words: str | Path, cwd: Path | None = None) -> bytes:
        return run("/usr/bin/borg", *words, env=environ, cwd=cwd).ok().out

    return borg


@pytest.mark.needs("borg", "sshfs", "fusermount3")
def test_borg_on_a_mount(person: Person, tmp_path: Path) -> None:
    if not has_fuse():
        absent("FUSE")
    source = source_in(tmp_path)
    with sshfs(person, tmp_path / "mount") as mount:
        borg = borg_in(tmp_path, mount / "repo")
        borg("init", "-e", "repokey")
        borg("create", "::one", ".", cwd=source)
        (source / "0").write_bytes(b"more")
        borg("create", "::two", ".", cwd=source)
        borg("delete", "::one")
        borg("compact")
        borg("check", "--verify-data")
        (tmp_path / "back").mkdir()
        borg("extract", "::two", cwd=tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.needs("borg", "rsync")
def test_borg_repository_by_rsync(person: Person, tmp_path: Path) -> None:
    """Kept on the client, and brought to the server and back."""
    source = source_in(tmp_path)
    borg = borg_in(tmp_path, tmp_path / "repo")
    borg("init", "-e", "repokey")
    for name in ("one", "two"):
        borg("create", f"::{name}", ".", cwd=source)
        # A file that is as long and as old, to the second, is another one here.
        rsync(person, "-ac", "--delete", f"{tmp_path / 'repo'}/", ":/repo/").ok()
        (source / "0").write_bytes(b"more")
    borg("delete", "::one")
    borg("compact")
    rsync(person, "-ac", "--delete", f"{tmp_path / 'repo'}/", ":/repo/").ok()
    assert tree(person.home / "repo") == tree(tmp_path / "repo")
    rsync(person, "-a", ":/repo/", tmp_path / "second").ok()
    again = borg_in(tmp_path, tmp_path / "second")
    again("check", "--verify-data")
    (tmp_path / "back").mkdir()
    again("extract", "::two", cwd=tmp_path / "back")
    assert digest(tmp_path / "back" / "4") == digest(source / "4")
