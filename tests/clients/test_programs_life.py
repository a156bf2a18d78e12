# SPDX-License-Identifier: Apache-2.0
"""Git and rsync as the server sees them: rules, quota, bandwidth, limits, records, and the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import git, random_file, rsync, run, ssh, ssh_command, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import FilePatterns, Filters, FolderMount, StorageConfig
from tidegate.policy.explain import explain

MIB = 1 << 20
READ_ONLY = {"/": ("list", "download")}


@pytest.fixture
def server(servers: Callable[[bool], Running]) -> Running:
    """One kind of transport: nothing here depends on it."""
    return servers(True)


def children(parent: int) -> list[tuple[int, str]]:
    """Process ids and names of the processes that one started."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                head, _, rest = Path(f"/proc/{name}/stat").read_text().rpartition(")")
                if int(rest.split()[1]) == parent:
                    found.append((int(name), head.partition("(")[2]))
    return found


def programs_of(server: Running) -> list[str]:
    """Names of the processes that the server started and that live."""
    return [name for _, name in children(server.pid)]


def alive(pid: int) -> bool:
    """True while a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def used(server: Running, person: Person) -> tuple[int, int]:
    account = server.stored(person.name)
    return account.used_quota_size, account.used_quota_files


def wait_used(server: Running, person: Person, size: int, files: int) -> None:
    wait_for(lambda: used(server, person) == (size, files), f"never {size} bytes in {files} files")


def bare(person: Person, name: str = "x.git") -> Path:
    path = person.home / name
    git("init", "-q", "--bare", "-b", "main", path).ok()
    return path


def commit(directory: Path, name: str, size: int) -> Path:
    """A repository of a client with one more commit."""
    if not directory.exists():
        git("init", "-q", "-b", "main", directory).ok()
    random_file(directory / name, size)
    git("add", ".", cwd=directory).ok()
    git("commit", "-q", "-m", name, cwd=directory).ok()
    return directory


# -- rules -------------------------------------------------------------------------------------------------


@pytest.mark.needs("git", "rsync")
def test_who_may_only_read_fetches_and_does_not_push(server: Running, tmp_path: Path):
    person = server.account(permissions=READ_ONLY)
    repository = bare(person)
    work = commit(tmp_path / "work", "f", 1000)
    git("push", "-q", repository, "main", cwd=work).ok()
    before = tree(person.home)

    git("clone", "-q", ":/x.git", tmp_path / "clone", person=person).ok()
    git("clone", "-q", "--depth", "1", ":/x.git", tmp_path / "shallow", person=person).ok()
    commit(work, "g", 10)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).failed("/ grants list, download;")
    rsync(person, "-a", ":/x.git/", tmp_path / "back").ok()
    rsync(person, "-a", f"{work}/", ":/new").failed("needs upload")
    rsync(person, "-a", "--remove-source-files", ":/x.git/", tmp_path / "again").failed("needs upload")

    assert tree(person.home) == before
    assert tree(tmp_path / "back") == before_of(before, b"x.git/")
    refused = server.wait_line("refused", username=person.name, intent="git_push")
    assert refused["rule"] == "permissions[/]"
    told = explain(
        server.stored(person.name), ip="127.0.0.1", protocol="SSH", op="git_push", path="/x.git", now_ms=0
    ).decision
    assert (told.rule, told.text) == (refused["rule"], refused["text"])


def before_of(found: dict[bytes, str], prefix: bytes) -> dict[bytes, str]:
    return {name[len(prefix) :]: value for name, value in found.items() if name.startswith(prefix)}


@pytest.mark.needs("git", "rsync")
def test_each_permission_that_a_program_needs_is_named(server: Running, tmp_path: Path):
    every = ("list", "download", "upload", "overwrite", "delete", "rename", "create_dirs")
    work = commit(tmp_path / "work", "f", 10)
    for missing in every[2:]:
        person = server.account(permissions={"/": tuple(name for name in every if name != missing)})
        bare(person)
        git("push", "-q", ":/x.git", "main", person=person, cwd=work).failed(f"needs {missing} ")
        rsync(person, "-r", f"{work}/f", ":/f").failed(f"needs {missing} ")
    person = server.account(permissions={"/": every})
    bare(person)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    rsync(person, "-r", f"{work}/f", ":/f").ok()
    rsync(person, "-rt", f"{work}/f", ":/f").failed("needs chtimes ")
    rsync(person, "-rp", f"{work}/f", ":/f").failed("needs chmod ")


@pytest.mark.needs("git", "rsync")
def test_a_rule_that_a_program_would_not_obey_refuses_it_where_it_holds(server: Running, tmp_path: Path):
    patterns = Filters(file_patterns=(FilePatterns(path="/p", denied_patterns=("*.exe",)),))
    folder = FolderMount(name="shared", mapped_path=str(tmp_path / "shared"), virtual_path="/m/shared")
    person = server.account(
        permissions={"/": ("*",), "/r/deep": ("list", "download")},
        filters=patterns,
        virtual_folders=(folder,),
    )
    for name in ("p", "r/deep", "m", "free"):
        (person.home / name).mkdir(parents=True)
    source = tmp_path / "f"
    random_file(source, 1000)

    rsync(person, "-a", source, ":/p/").failed("file patterns of /p hold in /p")
    rsync(person, "-a", ":/p", tmp_path / "back").failed("file patterns of /p hold in /p")
    rsync(person, "-a", source, ":/r/").failed("/r/deep, in /r, grants list, download;")
    rsync(person, "-a", ":/r", tmp_path / "back").ok()  # nothing there that may not be read
    rsync(person, "-a", source, ":/m/").failed("a folder is mounted at /m/shared")
    rsync(person, "-a", source, ":/").failed("a folder is mounted at /m/shared")
    rsync(person, "-a", source, ":/free/").ok()
    rsync(person, "-a", source, ":/m/shared/").ok()
    assert (tmp_path / "shared" / "f").read_bytes() == source.read_bytes()
    for name in ("p", "m"):
        git("init", "-q", "--bare", person.home / name / "x.git").ok()
    git("ls-remote", ":/p/x.git", person=person).failed("file patterns of /p hold in /p/x.git")
    git("ls-remote", ":/m/x.git", person=person).ok()


@pytest.mark.needs("git", "rsync")
def test_storage_that_is_no_disk_is_refused_with_a_way_out(tmp_path: Path):
    settings = {"storage": {"kinds": {"memory": "tidegate.backends.memory_kind:MemoryStorage"}}}
    with running(tmp_path / "config", settings=settings) as server:
        person = server.account(filesystem=StorageConfig("memory"))
        (tmp_path / "f").write_bytes(b"x")
        rsync(person, "-a", tmp_path / "f", ":/f").failed("use SFTP there, or rclone")
        git("ls-remote", ":/", person=person).failed("no git repository at /")


@pytest.mark.needs("git")
def test_what_is_no_repository_is_said_so(person: Person, tmp_path: Path):
    (person.home / "d").mkdir()
    for path in ("/d", "/missing", "/d.git"):
        git("clone", "-q", f":{path}", tmp_path / "clone", person=person).failed(
            f"no git repository at {path}"
        )


# -- quota -------------------------------------------------------------------------------------------------


@pytest.mark.needs("git", "rsync")
def test_what_programs_store_is_counted(server: Running, tmp_path: Path):
    person = server.account(quota_size=50 * MIB, quota_files=1000)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        random_file(source / str(number), 100_000 + number)
    rsync(person, "-az", f"{source}/", ":/d/").ok()
    wait_used(server, person, 500_010, 5)
    (source / "0").unlink()
    random_file(source / "1", 5)
    rsync(person, "-a", "--delete", f"{source}/", ":/d/").ok()
    wait_used(server, person, 300_014, 4)
    rsync(person, "-a", "--remove-source-files", ":/d/", tmp_path / "back").ok()
    wait_used(server, person, 0, 0)
    bare(person)
    work = commit(tmp_path / "work", "f", 200_000)
    before = sum(path.stat().st_size for path in person.home.rglob("*") if path.is_file())
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    after = [path.stat().st_size for path in person.home.rglob("*") if path.is_file()]
    wait_for(
        lambda: used(server, person)[0] == sum(after) - before,
        f"{used(server, person)} {sum(after)} {before}",
    )


@pytest.mark.needs("git", "rsync")
def test_a_program_that_exceeds_the_quota_is_ended(server: Running, tmp_path: Path):
    person = server.account(quota_size=2 * MIB)
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        random_file(source / f"{number}", 200_000)
    done = rsync(person, "-a", f"{source}/", ":/d/").failed("denying write due to space limit")
    assert b"quota_size" in done.err
    wait_for(lambda: not programs_of(server), "it goes on")
    stored = sum(path.stat().st_size for path in person.home.rglob("*") if path.is_file())
    assert stored < 6 * MIB
    wait_for(lambda: used(server, person)[0] == stored, "not counted")
    rsync(person, "-a", f"{source}/1", ":/d/").failed("denying write due to space limit")
    rsync(person, "-a", ":/d/", tmp_path / "back").ok()  # reading goes on


@pytest.mark.needs("rsync")
def test_no_file_grows_beyond_its_limit(server: Running, tmp_path: Path):
    person = server.account(filters=Filters(max_upload_file_size=MIB))
    random_file(tmp_path / "large", 3 * MIB)

    assert rsync(person, "-a", "--inplace", tmp_path / "large", ":/large").status != 0

    assert (person.home / "large").stat().st_size <= MIB


@pytest.mark.needs("rsync")
def test_traffic_is_counted_and_limited(server: Running, tmp_path: Path):
    person = server.account(download_data_transfer=1)
    random_file(person.home / "large", 3 * MIB)

    rsync(person, "-a", ":/large", tmp_path / "large").failed("denying read due to quota limit")

    wait_for(lambda: 900_000 < server.stored(person.name).used_download_data_transfer <= MIB, "not counted")


@pytest.mark.needs("rsync")
def test_names_of_the_servers_own_are_not_kept(server: Running, tmp_path: Path):
    """Nobody could see or remove them afterwards. An upload that was interrupted stays."""
    person = server.account(quota_size=50 * MIB, quota_files=1000)
    source = tmp_path / "source"
    inner = source / "in" / ".tidegate-upload.d"
    inner.mkdir(parents=True)
    for path in (
        inner / "x",
        source / ".tidegate-part.mine",
        source / "in" / ".tidegate-other",
        source / "a",
    ):
        path.write_bytes(b"content")
    (source / "in" / f".tidegate-upload.{'0' * 16}.{'1' * 8}").symlink_to("x")
    partial = person.home / f".tidegate-part.{'0' * 32}"
    partial.write_bytes(b"interrupted")
    done = rsync(person, "-a", f"{source}/", ":/").failed("3 were not kept")
    assert done.status == 23
    assert set(tree(person.home)) == {b"a", b"in", b"in/.tidegate-other", os.fsencode(partial.name)}
    wait_used(server, person, 14, 2)
    rsync(person, "-a", "--exclude=.tidegate-part*", "--exclude=.tidegate-upload*", f"{source}/", ":/").ok()


# -- time, bandwidth ---------------------------------------------------------------------------------------


@pytest.mark.needs("rsync")
def test_bandwidth_limits_hold_both_ways(server: Running, tmp_path: Path):
    person = server.account(upload_bandwidth=500, download_bandwidth=400)
    size = random_size = 600_000
    random_file(tmp_path / "f", random_size)
    for words, seconds in (
        (["-a", tmp_path / "f", ":/f"], size / 500_000),
        (["-a", ":/f", tmp_path / "back"], size / 400_000),
    ):
        started = time.monotonic()
        rsync(person, *words).ok()
        assert seconds * 0.9 < time.monotonic() - started < seconds + 5
    assert (tmp_path / "back").read_bytes() == (tmp_path / "f").read_bytes()


def slow(person: Person, tmp_path: Path) -> subprocess.Popen[bytes]:
    """A download that takes minutes."""
    random_file(person.home / "large", 30 * MIB)
    return subprocess.Popen(
        ["rsync", "-e", ssh_command(person), f"{person.name}@127.0.0.1:/large", tmp_path / "large"],
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


@pytest.mark.needs("rsync")
def test_a_program_ends_with_its_connection(server: Running, tmp_path: Path):
    person = server.account(download_bandwidth=100)
    wait_for(lambda: not programs_of(server), "one of the test before goes on")
    client = slow(person, tmp_path)
    wait_for(lambda: "rsync" in programs_of(server), "it never began")
    os.killpg(client.pid, signal.SIGKILL)  # rsync is two processes, and ssh is one
    client.communicate()
    wait_for(lambda: not programs_of(server), "it goes on")
    line = server.wait_line("SSHCommand", username=person.name)
    assert line["ssh_command"].startswith("rsync --server --sender ")
    assert line["file_path"] == str(person.home / "large")


@pytest.mark.needs("rsync")
def test_bounds_of_time_output_and_number_end_programs(tmp_path: Path):
    settings = {
        "sftpd": {"programs": {"time_limit": 2, "output_limit": 1}, "enabled_ssh_commands": ["rsync"]},
        "limits": {"programs_per_account": 1},
    }
    with running(tmp_path / "config", settings=settings) as server:
        person = server.account()
        random_file(person.home / "large", 3 * MIB)
        rsync(person, "-a", ":/large", tmp_path / "f").failed("1 MB of output (sftpd.programs.output_limit)")
        person = server.account(download_bandwidth=100)
        client = slow(person, tmp_path)
        wait_for(lambda: "rsync" in programs_of(server), "it never began")
        rsync(person, "-a", ":/large", tmp_path / "f").failed("limits.programs_per_account")
        _, err = client.communicate(timeout=20)
        assert b"ended after 2 seconds (sftpd.programs.time_limit)" in err
        wait_for(lambda: not programs_of(server), "it goes on")
        git("ls-remote", ":/x.git", person=person).failed("commands: rsync")


@pytest.mark.needs("rsync")
def test_a_shutdown_ends_programs(tmp_path: Path):
    with running(tmp_path / "config") as server:
        person = server.account(download_bandwidth=100)
        client = slow(person, tmp_path)
        wait_for(lambda: "rsync" in programs_of(server), "it never began")
        server.stop()
        client.communicate(timeout=10)
        assert client.returncode != 0
        server.start()


@pytest.mark.needs("git", "rsync")
def test_no_program_survives_a_killed_server(tmp_path: Path):
    """They are stopped, so that none of them notices by itself that its pipes are closed."""
    with running(tmp_path / "config") as server:
        person = server.account(download_bandwidth=100)
        bare(person)
        git("push", "-q", person.home / "x.git", "main", cwd=commit(tmp_path / "work", "f", 30 * MIB)).ok()
        clients = [slow(person, tmp_path)]
        clients.append(
            subprocess.Popen(
                [*ssh_command(person).split(), f"{person.name}@127.0.0.1", "rsync --server -re.iLsfxCIvu . /"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
            )
        )  # fmt: skip
        clients.append(
            subprocess.Popen(
                ["git", "clone", "-q", f"ssh://{person.name}@127.0.0.1:{person.port}/x.git", tmp_path / "clone"],
                env={**os.environ, "GIT_SSH_COMMAND": ssh_command(person)},
                stderr=subprocess.DEVNULL, start_new_session=True,
            )
        )  # fmt: skip
        wait_for(lambda: sorted(programs_of(server)) == ["git", "rsync", "rsync"], "they never began")
        found = [pid for pid, name in children(server.pid) if name in {"git", "rsync"}]
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        server.kill()
        try:
            wait_for(lambda: not any(alive(pid) for pid in found), "a program survives")
        finally:
            for client in clients:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(client.pid, signal.SIGKILL)
                client.communicate()
        server.start()


@pytest.mark.needs("rsync")
def test_a_client_that_does_not_read_holds_nobody(server: Running, tmp_path: Path):
    person, other = server.account(), server.account()
    random_file(person.home / "large", 30 * MIB)
    random_file(other.home / "f", MIB)
    client = subprocess.Popen(
        [*ssh_command(person).split(), f"{person.name}@127.0.0.1", "rsync --server --sender -re.iLsfxCIvu . /"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        wait_for(lambda: "rsync" in programs_of(server), "it never began")
        client.send_signal(signal.SIGSTOP)
        rsync(other, "-a", ":/f", tmp_path / "f").ok()
    finally:
        client.kill()
        client.communicate()
    wait_for(lambda: not programs_of(server), "it goes on")


# -- records -----------------------------------------------------------------------------------------------


@pytest.mark.needs("git", "rsync")
def test_programs_are_on_record(server: Running, tmp_path: Path):
    person = server.account()
    bare(person, "g.git")
    git("ls-remote", ":/g.git", person=person).ok()
    line = server.wait_line("SSHCommand", username=person.name)
    assert line["ssh_command"] == "git-upload-pack '/g.git'"
    assert (line["file_path"], line["protocol"], line["level"]) == (str(person.home / "g.git"), "SSH", "info")
    (tmp_path / "f").write_bytes(b"x")
    rsync(person, "-a", tmp_path / "f", ":/rs/").ok()
    wait_for(lambda: len(server.lines("SSHCommand", username=person.name)) == 2, "not on record")
    line = server.lines("SSHCommand", username=person.name)[1]
    assert line["ssh_command"].startswith("rsync --server -logDtpre.")
    assert line["file_path"] == str(person.home / "rs")


@pytest.mark.needs("git")
def test_errors_of_the_program_reach_the_client(person: Person, tmp_path: Path):
    bare(person)
    work = commit(tmp_path / "work", "f", 10)
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    commit(work, "g", 10)
    git("push", "-q", ":/x.git", "main~1:refs/heads/bad..name", person=person, cwd=work).failed("bad..name")
    for path in (person.home / "x.git" / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o644)
            path.write_bytes(b"broken")
    done = git("clone", ":/x.git", tmp_path / "clone", person=person)
    assert done.status != 0
    assert b"upload-pack" in done.err or b"bad object" in done.err or b"remote" in done.err


@pytest.mark.needs("rsync")
def test_exit_statuses_are_those_of_the_program(person: Person, tmp_path: Path):
    rsync(person, "-a", ":/missing", tmp_path / "x").failed("No such file")
    assert ssh(person, "rsync --server --sender -r . /missing").status not in (0, 255)
    assert ssh(person, "git-upload-pack /missing").status == 1


@pytest.mark.needs("restic")
def test_restic_backs_up_and_restores_over_sftp(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(5):
        random_file(source / str(number), number * 100_001)
    command = f"{ssh_command(person)} {person.name}@127.0.0.1 -s sftp"
    env = {
        "RESTIC_PASSWORD": "x",
        "RESTIC_REPOSITORY": f"sftp:{person.name}@127.0.0.1:/repo",
        "HOME": str(tmp_path),
    }
    for words in (
        ["init"],
        ["backup", "."],
        ["check", "--read-data"],
        ["restore", "latest", "--target", tmp_path / "back"],
    ):
        run("restic", "-q", "-o", f"sftp.command={command}", *words, cwd=source, env=env).ok()
    assert tree(tmp_path / "back") == tree(source)


@pytest.mark.needs("git", "rsync")
def test_programs_run_as_the_owner_of_the_accounts_files(server: Running, tmp_path: Path):
    person = server.account(uid=12345, gid=12345)
    owner = 12345 if os.geteuid() == 0 else os.geteuid()  # only root gives files away
    os.chown(person.home, owner, -1)
    (tmp_path / "f").write_bytes(b"x")
    rsync(person, "-a", tmp_path / "f", ":/d/").ok()
    assert {(person.home / name).stat().st_uid for name in ("d", "d/f")} == {owner}
    bare(person)
    for path in (person.home / "x.git", *(person.home / "x.git").rglob("*")):
        os.chown(path, owner, -1)
    git("push", "-q", ":/x.git", "main", person=person, cwd=commit(tmp_path / "work", "f", 10)).ok()
    assert {path.stat().st_uid for path in (person.home / "x.git").rglob("*")} == {owner}
