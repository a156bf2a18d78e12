# SPDX-License-Identifier: Apache-2.0
"""Clients that try to leave their home, or to run something, by way of git and rsync.

Each test has something outside the home that must not be read, changed or made, and a try that would work
with the programs alone.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.programs import Done, git, rsync, run, ssh, ssh_command
from tests.support.running import Person, Running


@pytest.fixture
def server(servers: Callable[[bool], Running]) -> Running:
    """One kind of transport: nothing here depends on it."""
    return servers(True)


SECRET = b"the content of somebody else's file\n"


@dataclass(frozen=True)
class Outside:
    """A directory beside the home, as it has to stay."""

    directory: Path
    secret: Path

    def check(self) -> None:
        assert sorted(os.listdir(self.directory)) == ["repository.git", "secret", "sub"]
        assert self.secret.read_bytes() == SECRET
        assert stat.S_IMODE(self.secret.stat().st_mode) == 0o600
        assert self.secret.stat().st_mtime_ns == 1_000_000_000
        assert os.listdir(self.directory / "sub") == []


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    directory = tmp_path / "outside"
    (directory / "sub").mkdir(parents=True)
    secret = directory / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    os.utime(secret, ns=(1_000_000_000, 1_000_000_000))
    commit(directory / "repository.git", "secret.txt", SECRET)
    made = Outside(directory, secret)
    yield made
    made.check()


def commit(repository: Path, name: str, content: bytes) -> None:
    """A bare repository with one commit."""
    work = repository.parent / f"{repository.name}.work"
    git("init", "-q", "-b", "main", work).ok()
    (work / name).write_bytes(content)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", "one", cwd=work).ok()
    git("clone", "-q", "--bare", work, repository).ok()
    subprocess.run(["rm", "-rf", work], check=True)


def refused(done: Done) -> None:
    assert done.status != 0
    assert SECRET.strip() not in done.out + done.err


# -- rsync: what arguments could do ------------------------------------------------------------------------


@pytest.mark.needs("rsync")
def test_absolute_paths_and_dots_stay_in_the_home(person: Person, outside: Outside, tmp_path: Path):
    back = tmp_path / "back"
    for path in (f":{outside.secret}", f":../..{outside.secret}", f":x/../../../../../..{outside.secret}"):
        refused(rsync(person, "-a", path, back))
    assert not back.exists()
    (tmp_path / "mine").write_bytes(b"mine")
    for path in (f":{outside.directory}/made", f":../../../../../../../..{outside.directory}/made"):
        rsync(person, "-a", tmp_path / "mine", path)
        rsync(person, "-a", "--mkpath", tmp_path / "mine", path)
    assert not (outside.directory / "made").exists()
    assert (person.home / str(outside.directory)[1:] / "made").read_bytes() == b"mine"


@pytest.mark.needs("rsync")
def test_option_directories_stay_in_the_home(person: Person, outside: Outside, tmp_path: Path):
    (person.home / "d").mkdir()
    (person.home / "d" / "f").write_bytes(b"old")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "f").write_bytes(b"newer content")
    (tmp_path / "s" / "secret").write_bytes(SECRET)
    os.utime(tmp_path / "s" / "secret", ns=(1_000_000_000, 1_000_000_000))
    out = str(outside.directory)
    climb = "../" * 20 + out[1:]
    for option in ("--temp-dir", "--partial-dir", "--link-dest", "--copy-dest", "--compare-dest"):
        for place in (out, climb):
            rsync(person, "-a", f"{option}={place}", f"{tmp_path}/s/", ":/d/")
            outside.check()
    for place in (out, climb):
        (tmp_path / "s" / "f").write_bytes(os.urandom(2000))
        rsync(person, "-a", "--backup", f"--backup-dir={place}", f"{tmp_path}/s/", ":/d/")
    outside.check()
    # Nothing in the home is a name of the file outside.
    for folder, _, names in os.walk(person.home):
        assert not [name for name in names if os.path.samefile(os.path.join(folder, name), outside.secret)]


@pytest.mark.needs("rsync")
@pytest.mark.parametrize(
    "line",
    [
        "rsync --server -logDtpr --log-file={out}/made . x",
        "rsync --log-file={out}/made --server -logDtpr . x",
        "rsync --server --sender -logDtpr . x --log-file={out}/made",
        "rsync --server --daemon --config=/rsyncd.conf .",
        "rsync --daemon --config=/rsyncd.conf --no-detach",
        "rsync --server --sender -logDtprR --files-from={out}/secret . /",
        "rsync --server -slogDtpr",
        "rsync --server -e 'sh -c id' -logDtpr . x",
        "rsync -e 'touch {out}/made' a localhost:b",
        "rsync --server --sender -r --filter='merge {out}/secret' . .",
        "rsync --server --sender -r --exclude-from={out}/secret . .",
        "rsync --server --write-batch={out}/made -r . x",
        "rsync; touch {out}/made",
        "rsync --server -logDtpr . $(touch {out}/made)",
        "git-upload-pack --upload-pack='touch {out}/made' x",
        "git-upload-pack 'x' ; touch {out}/made",
        "git-upload-pack '{out}/repository.git'",
        "git-upload-pack '../../../../../../..{out}/repository.git'",
        "git-upload-pack 'ext::touch {out}/made'",
        "git-receive-pack --exec=touch {out}/made",
        "git-upload-archive 'ext::sh -c touch% {out}/made'",
        "git --exec-path={out} upload-pack x",
        "git-shell -c 'touch {out}/made'",
    ],
)
def test_command_lines_that_try_more(person: Person, outside: Outside, line: str):
    (person.home / "rsyncd.conf").write_text("[all]\npath = /\nuse chroot = no\n")
    refused(ssh(person, line.format(out=outside.directory)))


# -- rsync: links ------------------------------------------------------------------------------------------


@pytest.mark.needs("rsync")
def test_links_in_the_home_that_lead_out_give_nothing(person: Person, outside: Outside, tmp_path: Path):
    (person.home / "out").symlink_to(outside.directory)
    (person.home / "file").symlink_to(outside.secret)
    (person.home / "d").mkdir()
    (person.home / "d" / "deep").symlink_to(outside.directory)
    back = tmp_path / "back"
    for words in (
        ["-a", ":/out/", back],
        ["-aL", ":/", back],
        ["-a", "--copy-unsafe-links", ":/", back],
        ["-ak", ":/d/", back],
        ["-a", ":/file", back / "x"],
        ["-aL", ":/file", back / "y"],
        ["-a", "--no-implied-dirs", "-R", ":/d/deep/secret", back],
        ["-aR", ":/d/deep/secret", back],
    ):
        rsync(person, *words)
    found = [Path(folder) / name for folder, _, names in os.walk(back) for name in names]
    assert not [path for path in found if not path.is_symlink() and path.read_bytes() == SECRET]


@pytest.mark.needs("rsync")
def test_nothing_is_written_through_links(person: Person, outside: Outside, tmp_path: Path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "secret").write_bytes(b"overwritten")
    (source / "deep" / "made").write_bytes(b"made")
    for words in (
        ["-r", f"{source}/deep/", ":/out/"],
        ["-r", f"{source}/deep/", ":/out"],
        ["-rK", f"{source}/", ":/d/"],
        ["-r", "--inplace", f"{source}/deep/secret", ":/file"],
        ["-r", "--inplace", "--append", f"{source}/deep/secret", ":/file"],
        ["-rR", "--no-implied-dirs", f"{source}/./deep/secret", ":/d/"],
    ):
        for name, target in (("out", outside.directory), ("file", outside.secret)):
            (person.home / name).unlink(missing_ok=True)
            (person.home / name).symlink_to(target)
        subprocess.run(["rm", "-rf", person.home / "d"], check=True)
        (person.home / "d").mkdir()
        (person.home / "d" / "deep").symlink_to(outside.directory)
        rsync(person, *words)
        outside.check()


@pytest.mark.needs("rsync")
def test_links_that_lead_out_do_not_come_in(person: Person, outside: Outside, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "absolute").symlink_to(outside.secret)
    (source / "climbs").symlink_to("../" * 20 + str(outside.secret)[1:])
    (source / "inside").symlink_to("file")
    (source / "file").write_bytes(b"x")

    rsync(person, "-a", f"{source}/", ":/d/")

    assert sorted(os.listdir(person.home / "d")) == ["file", "inside"]
    person.server.account(f"{person.name}m", home_dir=str(person.home), permissions={
        "/": ["list", "download", "upload", "overwrite", "delete", "rename", "create_dirs", "chmod", "chtimes"]
    })  # fmt: skip
    other = Person(person.server, f"{person.name}m", "", person.key, person.home)
    rsync(other, "-rltD", f"{source}/", ":/m/").ok()
    assert os.readlink(person.home / "m" / "absolute") == f"/rsyncd-munged/{outside.secret}"
    assert os.readlink(person.home / "m" / "inside") == "/rsyncd-munged/file"
    back = tmp_path / "back"
    rsync(other, "-rl", ":/m/", back).ok()
    assert os.readlink(back / "inside") == "file"  # they come back as they went


@pytest.mark.needs("rsync")
def test_bits_that_give_rights_away_do_not_come_in(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "f").write_bytes(b"x")
    (source / "f").chmod(0o6755)
    (source / "d").chmod(0o2775)
    for _ in range(2):
        rsync(person, "-a", f"{source}/", ":/d/").ok()
        assert stat.S_IMODE((person.home / "d" / "f").stat().st_mode) == 0o755
        assert stat.S_IMODE((person.home / "d" / "d").stat().st_mode) == 0o775
    assert rsync(person, "-ai", f"{source}/", ":/d/").ok().out == b""  # and do not count as a difference


@pytest.mark.needs("rsync")
def test_a_client_that_hides_what_it_does_writes_through_no_link(
    person: Person, outside: Outside, tmp_path: Path
):
    """The client works with an option that its server is not told of: it sends files below a link alone."""
    (person.home / "d").mkdir()
    (person.home / "d" / "sub").symlink_to(outside.directory)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "secret").write_bytes(SECRET)
    os.utime(source / "sub" / "secret", ns=(1_000_000_000, 1_000_000_000))
    (source / "sub" / "secret").chmod(0o666)
    (source / "sub" / "made").write_bytes(b"made")
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(
        '#!/bin/bash\nwords=()\nfor word in "$@"; do [ "$word" = --no-implied-dirs ] || words+=("$word"); done\n'
        f'exec {ssh_command(person)} "${{words[@]}}"\n'
    )
    wrapper.chmod(0o755)

    done = run(
        "rsync", "-e", wrapper, "-rptR", "--no-implied-dirs", f"{source}/./sub/secret", f"{source}/./sub/made",
        f"{person.name}@127.0.0.1:/d/",
    )  # fmt: skip

    done.ok()
    assert not (person.home / "d" / "sub").is_symlink()  # it made way for a directory
    assert (person.home / "d" / "sub" / "made").read_bytes() == b"made"


# -- git: what a repository says ---------------------------------------------------------------------------

TRIES = {
    "core.fsmonitor": "touch {out}/made",
    "core.sshCommand": "touch {out}/made;",
    "core.alternateRefsCommand": "touch {out}/made;",
    "core.hooksPath": "hooks",
    "core.pager": "touch {out}/made",
    "core.editor": "touch {out}/made",
    "core.gitProxy": "touch {out}/made",
    "core.askPass": "touch {out}/made",
    "uploadpack.packObjectsHook": "touch {out}/made;",
    "uploadpack.hideRefs": "refs/none",
    "gpg.program": "/bin/touch",
    "tar.tgz.command": "touch {out}/made;",
    "tar.tar.gz.command": "touch {out}/made;",
    "gc.recentObjectsHook": "touch {out}/made;",
    "gc.auto": "1",
    "gc.autoDetach": "true",
    "receive.denyCurrentBranch": "updateInstead",
    "remote.origin.url": "ext::touch% {out}/made",
    "remote.origin.promisor": "true",
    "remote.origin.partialclonefilter": "blob:none",
    "filter.x.smudge": "touch {out}/made;",
    "filter.x.clean": "touch {out}/made;",
    "filter.x.process": "touch {out}/made;",
    "diff.external": "touch {out}/made;",
    "credential.helper": "!touch {out}/made;",
    "alias.upload-pack": "!touch {out}/made",
    "alias.receive-pack": "!touch {out}/made",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
}


def plant(repository: Path, out: Path) -> None:
    """Everything in a repository that makes git run something."""
    with (repository / "config").open("a") as file:
        for key, value in {**TRIES, "receive.procReceiveRefs": "refs/for"}.items():
            section, _, name = key.rpartition(".")
            head, _, rest = section.partition(".")
            text = value.format(out=out).replace('"', '\\"')
            sub = f' "{rest}"' if rest else ""
            file.write(f'[{head}{sub}]\n\t{name} = "{text}"\n')
    hooks = repository / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        "pre-receive", "update", "post-receive", "post-update", "reference-transaction", "proc-receive",
        "push-to-checkout", "pre-auto-gc", "post-checkout", "post-index-change", "fsmonitor-watchman",
    ):  # fmt: skip
        (hooks / name).write_text(f"#!/bin/sh\ntouch {out}/made\n")
        (hooks / name).chmod(0o755)
    (repository / "info").mkdir(exist_ok=True)
    (repository / "info" / "attributes").write_text("* filter=x diff=x\n")


@pytest.mark.needs("git")
def test_a_repository_runs_nothing(person: Person, outside: Outside, tmp_path: Path):
    repository = person.home / "x.git"
    commit(repository, "f", b"content")
    plant(repository, outside.directory)
    clone = tmp_path / "clone"

    git("clone", "-q", ":/x.git", clone, person=person).ok()
    (clone / "g").write_bytes(b"more")
    git("add", ".", cwd=clone).ok()
    git("commit", "-q", "-m", "two", cwd=clone).ok()
    git("push", "-q", "origin", "HEAD:refs/heads/other", person=person, cwd=clone).ok()
    git("push", "-q", "origin", "HEAD:refs/for/x", person=person, cwd=clone)
    git("archive", "--remote=:/x.git".replace(":/", f"ssh://{person.name}@127.0.0.1:{person.port}/"),
        "-o", tmp_path / "x.tgz", "--format=tgz", "main", person=person)  # fmt: skip

    outside.check()
    assert (clone / "f").read_bytes() == b"content"
    assert b"other" in git("ls-remote", ":/x.git", person=person).ok().out


@pytest.mark.needs("git")
def test_a_worktree_that_is_pushed_to_runs_nothing_and_makes_no_links(
    person: Person, outside: Outside, tmp_path: Path
):
    work = person.home / "work"
    git("init", "-q", "-b", "main", work).ok()
    git("config", "receive.denyCurrentBranch", "updateInstead", cwd=work).ok()
    plant(work / ".git", outside.directory)
    mine = tmp_path / "mine"
    git("init", "-q", "-b", "main", mine).ok()
    (mine / "evil").symlink_to(outside.directory)
    (mine / ".gitattributes").write_text("* filter=x\n")
    (mine / ".gitmodules").write_text(
        f'[submodule "a"]\n\tpath = a\n\turl = ext::touch% {outside.directory}/made\n'
    )
    git("add", ".", cwd=mine).ok()
    git("commit", "-q", "-m", "one", cwd=mine).ok()

    git("push", "-q", ":/work", "main", person=person, cwd=mine)

    outside.check()
    assert not (work / "evil").is_symlink()


@pytest.mark.needs("git")
@pytest.mark.parametrize(
    "name", ["--upload-pack=touch", "../../../.git/hooks", "-c", "a/../../b"], ids=["option", "climbs", "c", "dots"]
)  # fmt: skip
def test_submodules_with_hostile_names_are_refused(
    person: Person, outside: Outside, tmp_path: Path, name: str
):
    git("init", "-q", "--bare", "-b", "main", person.home / "x.git").ok()
    mine = tmp_path / "mine"
    git("init", "-q", "-b", "main", mine).ok()
    (mine / ".gitmodules").write_text(
        f'[submodule "{name}"]\n\tpath = a\n\turl = --upload-pack=touch {outside.directory}/made\n'
    )
    git("add", ".", cwd=mine).ok()
    git("commit", "-q", "-m", "one", cwd=mine).ok()

    git("push", "-q", ":/x.git", "main", person=person, cwd=mine).failed("gitmodules")


@pytest.mark.needs("git")
def test_objects_outside_are_not_reached_by_alternates(person: Person, outside: Outside, tmp_path: Path):
    git("init", "-q", "--bare", "-b", "main", person.home / "x.git").ok()
    theirs = outside.directory / "repository.git"
    head = git("rev-parse", "main", cwd=theirs).ok().out.strip().decode()
    info = person.home / "x.git" / "objects" / "info"
    info.mkdir(exist_ok=True)
    refs = person.home / "x.git" / "refs" / "heads" / "main"
    for text in (f"{theirs}/objects\n", "../../../../outside/repository.git/objects\n"):
        (info / "alternates").write_text(text)
        refs.write_text(f"{head}\n")
        refused(git("clone", "-q", ":/x.git", tmp_path / "clone", person=person))
    (info / "alternates").unlink()
    subprocess.run(["rm", "-rf", person.home / "x.git" / "objects"], check=True)
    (person.home / "x.git" / "objects").symlink_to(theirs / "objects")
    refused(git("clone", "-q", ":/x.git", tmp_path / "clone", person=person))
    assert not (tmp_path / "clone").exists()


@pytest.mark.needs("git")
def test_files_that_name_another_repository_are_no_way_out(person: Person, outside: Outside, tmp_path: Path):
    theirs = outside.directory / "repository.git"
    work = person.home / "work"
    work.mkdir()
    (work / ".git").write_text(f"gitdir: {theirs}\n")
    refused(git("clone", "-q", ":/work", tmp_path / "clone", person=person))
    (person.home / "l.git").symlink_to(theirs)
    refused(git("clone", "-q", ":/l.git", tmp_path / "clone", person=person))
    made = person.home / "c.git"
    git("init", "-q", "--bare", "-b", "main", made).ok()
    (made / "commondir").write_text(f"{theirs}\n")
    refused(git("ls-remote", "--exit-code", ":/c.git", "refs/heads/main", person=person))
    assert not (tmp_path / "clone").exists()


@pytest.mark.needs("git")
def test_configuration_outside_is_not_included(person: Person, outside: Outside):
    repository = person.home / "x.git"
    commit(repository, "f", b"content")
    with (repository / "config").open("a") as file:
        file.write(f"[include]\n\tpath = {outside.secret}\n")

    done = git("ls-remote", ":/x.git", person=person)

    assert SECRET[:11] not in done.out + done.err  # git quotes lines that it does not understand


@pytest.mark.needs("git")
def test_a_repository_of_another_user_is_served(person: Person, tmp_path: Path):
    commit(person.home / "x.git", "f", b"content")
    if os.geteuid() == 0:
        for folder, folders, names in os.walk(person.home / "x.git"):
            for name in (".", *folders, *names):
                os.chown(os.path.join(folder, name), 12345, 12345)

    git("clone", "-q", ":/x.git", tmp_path / "clone", person=person).ok()

    assert (tmp_path / "clone" / "f").read_bytes() == b"content"
