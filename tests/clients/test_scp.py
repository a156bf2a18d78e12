# SPDX-License-Identifier: Apache-2.0
"""SCP as its clients speak it: OpenSSH's ``scp -O``, PuTTY's pscp, against the running product."""

from __future__ import annotations

import os
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import SSH, Done, digest, random_file, run, scp, ssh, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import FilePatterns, Filters

pytestmark = pytest.mark.needs("scp", "ssh")

MIB = 1 << 20
SOME_TIME = 1_500_000_000


def old(person: Person, *words: str | bytes | Path, cwd: Path, seconds: float = 120) -> Done:
    return scp(person, *words, cwd=cwd, old=True, seconds=seconds)


def make_tree(top: Path) -> None:
    """Directories in each other, some empty, and files of all sizes."""
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "empty").mkdir()
    for number, size in enumerate((0, 1, 100, 32 * 1024, 70_000, 3 * MIB + 7)):
        random_file(top / f"f{number}", size, seed=1)
        random_file(top / "a" / "b" / f"g{number}", size, seed=2)
    (top / "a" / "b" / "c" / ".hidden").write_bytes(b"x")


def test_content_both_ways(person: Person, tmp_path: Path) -> None:
    for size in (0, 1, 32 * 1024, 256 * 1024, 7 * MIB + 13, 40 * MIB):
        expected = random_file(tmp_path / "f", size, seed=size)
        old(person, "f", f":f{size}", cwd=tmp_path).ok()
        assert digest(person.home / f"f{size}") == expected
        old(person, f":f{size}", "back", cwd=tmp_path).ok()
        assert digest(tmp_path / "back") == expected


def test_trees_both_ways(person: Person, tmp_path: Path) -> None:
    make_tree(tmp_path / "top")
    old(person, "-r", "top", ":", cwd=tmp_path).ok()
    assert tree(person.home / "top") == tree(tmp_path / "top")
    old(person, "-r", "top", ":under-another-name", cwd=tmp_path).ok()
    assert tree(person.home / "under-another-name") == tree(tmp_path / "top")
    old(person, "-r", "top", ":top", cwd=tmp_path).ok()
    assert tree(person.home / "top" / "top") == tree(tmp_path / "top")
    (tmp_path / "back").mkdir()
    old(person, "-r", ":under-another-name", "back", cwd=tmp_path).ok()
    assert tree(tmp_path / "back" / "under-another-name") == tree(tmp_path / "top")
    old(person, "-r", ":/", "everything", cwd=tmp_path).ok()
    assert tree(tmp_path / "everything") == tree(person.home)


def test_times_and_modes(person: Person, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    file = tmp_path / "top" / "f"
    file.write_bytes(b"x")
    file.chmod(0o640)
    os.utime(file, (SOME_TIME, SOME_TIME + 5))
    (tmp_path / "top").chmod(0o750)
    os.utime(tmp_path / "top", (SOME_TIME, SOME_TIME + 9))
    old(person, "-r", "-p", "top", ":", cwd=tmp_path).ok()
    there = person.home / "top"
    assert (there / "f").stat().st_mtime == SOME_TIME + 5
    assert (there / "f").stat().st_atime == SOME_TIME
    assert stat.S_IMODE((there / "f").stat().st_mode) == 0o640
    assert there.stat().st_mtime == SOME_TIME + 9
    assert stat.S_IMODE(there.stat().st_mode) == 0o750
    old(person, "-rp", ":top", "back", cwd=tmp_path).ok()
    back = tmp_path / "back"
    assert (back / "f").stat().st_mtime == SOME_TIME + 5
    assert stat.S_IMODE((back / "f").stat().st_mode) == 0o640
    assert back.stat().st_mtime == SOME_TIME + 9
    file.chmod(0o600)
    old(person, "-p", "top/f", ":top/f", cwd=tmp_path).ok()
    assert stat.S_IMODE((there / "f").stat().st_mode) == 0o600, "of a file that was there too"
    before = time.time() - 2
    old(person, "top/f", ":now", cwd=tmp_path).ok()
    assert (person.home / "now").stat().st_mtime > before


def test_wildcards(person: Person, tmp_path: Path) -> None:
    names = [
        "one.txt",
        "two.txt",
        "three.log",
        ".dot.txt",
        "a b.txt",
        "star*.txt",
        "[x].txt",
        "x.txt",
        "y.txt",
    ]
    for name in names:
        (person.home / name).write_text(name)
    for pattern, expected in (
        ("*.txt", {"one.txt", "two.txt", "a b.txt", "star*.txt", "[x].txt", "x.txt", "y.txt"}),
        ("t*", {"two.txt", "three.log"}),
        ("?.txt", {"x.txt", "y.txt"}),
        ("[xy].txt", {"x.txt", "y.txt"}),
        ("[!x].txt", {"y.txt"}),
        (".*.txt", {".dot.txt"}),
        ("star\\*.txt", {"star*.txt"}),
        ("'star*.txt'", {"star*.txt"}),
        ('"[x].txt"', {"[x].txt"}),
        ("\\[x\\].txt", {"[x].txt"}),
        ("a\\ b.txt one.txt", {"a b.txt", "one.txt"}),
        ("~/[x-y].txt", {"x.txt", "y.txt"}),
        ("*.none", set()),
    ):
        target = tmp_path / "got"
        target.mkdir()
        done = old(person, "-T", f":{pattern}", "got", cwd=tmp_path)
        assert {path.name for path in target.iterdir()} == expected, pattern
        assert done.status == (0 if expected else 1), (pattern, done)
        for path in target.iterdir():
            assert path.read_text() == path.name
            path.unlink()
        target.rmdir()


def test_wildcards_in_the_midst(person: Person, tmp_path: Path) -> None:
    for name in ("x1", "x2", "y1"):
        (person.home / name / "in").mkdir(parents=True)
        (person.home / name / "in" / f"{name}.dat").write_text(name)
    (tmp_path / "got").mkdir()
    old(person, ":x*/in/*.dat", "got", cwd=tmp_path).ok()
    assert {path.name for path in (tmp_path / "got").iterdir()} == {"x1.dat", "x2.dat"}
    old(person, "-r", ":?1/in", "got", cwd=tmp_path).ok()
    assert {path.name for path in (tmp_path / "got" / "in").iterdir()} == {"x1.dat", "y1.dat"}


ODD = [
    b"a b",
    b"-dash",
    b"raw\xff\xfe",
    "ünï".encode(),
    b"quote'\"s",
    b"`id`",
    b"$HOME;x",
    b"back\\slash",
    b"x" * 250,
]


@pytest.mark.parametrize("name", ODD)
def test_odd_names(person: Person, tmp_path: Path, name: bytes) -> None:
    expected = random_file(os.path.join(os.fsencode(tmp_path), name), 1000)
    quoted = b"'./" + name.replace(b"'", b"'\\''") + b"'"
    old(person, b"./" + name, b":" + quoted, cwd=tmp_path).ok()
    assert tree(person.home) == {name: expected}
    (tmp_path / "got").mkdir()
    old(person, "-T", b":" + quoted, "got", cwd=tmp_path).ok()
    assert tree(tmp_path / "got") == {name: expected}


def test_a_newline_in_a_name(person: Person, tmp_path: Path) -> None:
    """Sent as scp.c sends it, in the form of vis(3), either way."""
    (person.home / "d").mkdir()
    (person.home / "d" / "new\nline").write_bytes(b"x")
    old(person, "-r", ":d", "got", cwd=tmp_path).ok()
    assert {path.name for path in (tmp_path / "got").iterdir()} == {"new\\^Jline"}
    (tmp_path / "two\nlines").write_bytes(b"y")
    old(person, "two\nlines", ":", cwd=tmp_path).ok()
    assert (person.home / "two\\^Jlines").read_bytes() == b"y"


def test_several_sources_and_one_that_fails(person: Person, tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / name).write_text(name)
    (person.home / "in" / "two").mkdir(parents=True)
    done = old(person, "one", "two", "three", ":in", cwd=tmp_path)
    done.failed("two: Is a directory")
    assert done.status == 1
    assert (person.home / "in" / "one").read_text() == "one"
    assert (person.home / "in" / "three").read_text() == "three"
    (person.home / "in" / "no").write_bytes(b"x")
    (tmp_path / "got").mkdir()
    done = old(person, ":in/one", ":in/missing", ":in/three", "got", cwd=tmp_path)
    done.failed("in/missing: No such file or directory")
    assert {path.name for path in (tmp_path / "got").iterdir()} == {"one", "three"}


def test_refusals_are_told(person: Person, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (person.home / "dir").mkdir()
    (person.home / "file").write_bytes(b"old")
    old(person, "f", ":missing/f", cwd=tmp_path).failed("/missing/f: No such file or directory")
    old(person, "f", ":missing/", cwd=tmp_path).failed("Is a directory")
    old(person, ":dir", "got", cwd=tmp_path).failed("Not a regular file")
    old(person, "f", "f", ":file", cwd=tmp_path).failed("Not a directory")
    old(person, "-r", tmp_path, ":file", cwd=tmp_path).failed("Not a directory")
    assert (person.home / "file").read_bytes() == b"old"
    assert not (tmp_path / "got").exists()
    assert ssh(person, "scp -t").failed("no file named").status == 1
    assert ssh(person, "scp -x -t f").failed("unknown option -- x").status == 1
    assert ssh(person, "scp f g").failed("-t to receive").status == 1


def test_links_are_followed_and_loops_end(person: Person, tmp_path: Path) -> None:
    (person.home / "d" / "sub").mkdir(parents=True)
    (person.home / "d" / "f").write_bytes(b"content")
    (person.home / "d" / "to-file").symlink_to("f")
    (person.home / "d" / "to-dir").symlink_to("sub")
    (person.home / "d" / "sub" / "g").write_bytes(b"g")
    (person.home / "d" / "sub" / "up").symlink_to("..")
    (person.home / "d" / "outside").symlink_to("/etc/passwd")
    done = old(person, "-r", ":d", "got", cwd=tmp_path)
    assert done.status == 1
    assert b"up: Too many levels of symbolic links" in done.err
    assert b"outside: Permission denied" in done.err
    found = tmp_path / "got"
    assert not (found / "to-file").is_symlink()
    assert (found / "to-file").read_bytes() == b"content"
    assert (found / "to-dir" / "g").read_bytes() == b"g"
    assert not (found / "outside").exists()


def test_from_server_to_server(person: Person, servers: Callable[[bool], Running], tmp_path: Path) -> None:
    other = servers(False).account()
    (person.home / "top").mkdir()
    make_tree(person.home / "top" / "x")
    words = [
        f"scp://{one.name}@127.0.0.1:{one.port}/{path}" for one, path in ((person, "top"), (other, "copy"))
    ]
    identities = ["-i", person.key, "-i", other.key]
    run("scp", *SSH, "-O", "-3", "-r", "-p", *identities, *words, cwd=tmp_path).ok()
    assert tree(other.home / "copy") == tree(person.home / "top")


async def test_the_size_of_a_file_of_more_than_4_gib(person: Person) -> None:
    size = (4 << 30) + 12345
    with (person.home / "big").open("wb") as file:
        file.write(b"head")
        file.truncate(size)
    async with person.connect() as client:
        process = await client.create_process("scp -f big", encoding=None)
        process.stdin.write(b"\0")
        assert await process.stdout.readline() == b"C0644 %d big\n" % size
        process.stdin.write(b"\0")
        assert await process.stdout.readexactly(8) == b"head\0\0\0\0"
        process.close()
        await process.wait_closed()


@pytest.mark.soak
def test_a_file_of_more_than_4_gib(servers: Callable[[bool], Running], tmp_path: Path) -> None:
    """Its head and its end are told from each other; what lies between is a hole."""
    person = servers(True).account()
    size = (4 << 30) + 12345
    with (person.home / "big").open("wb") as file:
        file.write(b"head")
        file.truncate(size)
        file.seek(size - 4)
        file.write(b"tail")
    fifo = tmp_path / "sink"
    os.mkfifo(fifo)
    done = run(
        "sh", "-c", f"tail -c 4 {fifo} > end & scp -O -q {' '.join(_words(person))} {person.name}@127.0.0.1:big {fifo}; wait",
        cwd=tmp_path, seconds=110,
    )  # fmt: skip
    assert (tmp_path / "end").read_bytes() == b"tail", done
    old(person, person.home / "big", ":back", cwd=tmp_path).ok()
    with (person.home / "back").open("rb") as file:
        assert file.read(4) == b"head"
        file.seek(size - 4)
        assert file.read() == b"tail"


def _words(person: Person) -> list[str]:
    return [*SSH, "-i", str(person.key), "-P", str(person.port)]


# -- rules -------------------------------------------------------------------------------------------------


def test_each_thing_of_a_tree_is_asked_for(server: Running, tmp_path: Path) -> None:
    """Permissions of a directory, hidden and denied names, and what may only be listed."""
    person = server.account(
        permissions={"/": ["*"], "/listed": ["list"], "/drop": ["upload"], "/readonly": ["list", "download"]},
        filters=Filters(
            file_patterns=(
                FilePatterns(path="/", denied_patterns=("*.key",)),
                FilePatterns(path="/hidden", denied_patterns=("*.secret",), deny_policy=1),
            )
        ),
    )
    for name in ("listed/f", "drop/f", "readonly/f", "hidden/f", "hidden/x.secret", "x.key", "open"):
        (person.home / name).parent.mkdir(exist_ok=True)
        (person.home / name).write_text(name)
    done = old(person, "-r", ":/", "got", cwd=tmp_path)
    assert done.status == 1
    assert sorted(line.split(b": ")[1] for line in done.err.splitlines()) == [
        b"/drop",
        b"/listed/f",
        b"/x.key",
    ]
    found = {name for name, content in tree(tmp_path / "got").items() if content}
    assert found == {b"readonly/f", b"hidden/f", b"open"}
    (tmp_path / "top").mkdir()
    for name in ("new", "new.key"):
        (tmp_path / "top" / name).write_text(name)
    old(person, "-r", "top", ":/readonly", cwd=tmp_path).failed("/readonly/top: Permission")
    old(person, "-r", "top", ":/", cwd=tmp_path).failed("/top/new.key: ")
    assert {path.name for path in (person.home / "top").iterdir()} == {"new"}
    old(person, "top/new", ":/hidden/y.secret", cwd=tmp_path).failed("/hidden/y.secret: ")
    old(person, ":/hidden/*", "got", cwd=tmp_path).ok()
    old(person, ":/hidden/x.secret", "got", cwd=tmp_path).failed("No such file")


def test_a_drop_box(server: Running, tmp_path: Path) -> None:
    """A directory takes files although nothing may be looked at; its content stays unseen."""
    person = server.account(permissions={"/": [], "/in": ["upload", "create_dirs"]})
    (person.home / "in").mkdir()
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "g").write_bytes(b"g")
    old(person, "f", ":/in", cwd=tmp_path).ok()
    old(person, "f", ":/in/", cwd=tmp_path).failed("/in/f: Permission: overwrite on /in")
    old(person, "f", ":/in/named", cwd=tmp_path).ok()
    old(person, "-r", "top", ":/in", cwd=tmp_path).ok()
    assert tree(person.home) == {
        b"in": "", b"in/f": digest(tmp_path / "f"), b"in/named": digest(tmp_path / "f"), b"in/top": "",
        b"in/top/g": digest(tmp_path / "top" / "g"),
    }  # fmt: skip
    old(person, ":/in/f", "got", cwd=tmp_path).failed("/in/f: Permission: download on /in")
    assert not (tmp_path / "got").exists()


def test_files_without_the_right_to_look(server: Running, tmp_path: Path) -> None:
    person = server.account(permissions={"/": ["download"]})
    (person.home / "f").write_bytes(b"x")
    (person.home / "d").mkdir()
    old(person, ":f", "got", cwd=tmp_path).ok()
    assert (tmp_path / "got").read_bytes() == b"x"
    old(person, "-r", ":d", "got2", cwd=tmp_path).failed("/d: ")
    old(person, ":*", "got2", cwd=tmp_path).failed("No such file")


def test_times_and_modes_that_are_not_granted_do_not_fail_an_upload(server: Running, tmp_path: Path) -> None:
    person = server.account(permissions={"/": ["list", "upload", "overwrite", "create_dirs"]})
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "f").write_bytes(b"one")
    os.utime(tmp_path / "top" / "f", (SOME_TIME, SOME_TIME))
    old(person, "-rp", "top", ":", cwd=tmp_path).ok()
    assert (person.home / "top" / "f").stat().st_mtime == SOME_TIME, "a new file's times are its upload's"
    (tmp_path / "top" / "f").write_bytes(b"two")
    os.utime(tmp_path / "top" / "f", (SOME_TIME + 1, SOME_TIME + 1))
    old(person, "-rp", "top", ":", cwd=tmp_path).ok()
    assert (person.home / "top" / "f").read_bytes() == b"two"
    assert (person.home / "top" / "f").stat().st_mtime != SOME_TIME + 1


def test_quota_and_size_limits(server: Running, tmp_path: Path) -> None:
    """Over either, that file is refused and gone, and the next one is taken; the count is exact after it."""
    person = server.account(quota_size=3 * MIB, quota_files=3, filters=Filters(max_upload_file_size=2 * MIB))
    for name, size in (("a", MIB), ("big", 2 * MIB + 1), ("b", MIB), ("c", MIB + 1), ("d", 10), ("e", 10)):
        random_file(tmp_path / name, size)
    done = old(person, "a", "big", "b", "c", "d", "e", ":", cwd=tmp_path)
    assert done.status == 1
    refused = [line.split(b": ")[1] for line in done.err.splitlines()]
    assert refused == [b"/big", b"/c", b"/e"], done.err
    assert set(tree(person.home)) == {b"a", b"b", b"d"}

    def counted() -> bool:
        stored = server.stored(person.name)
        return (stored.used_quota_size, stored.used_quota_files) == (2 * MIB + 10, 3)

    wait_for(counted, "what is stored is counted")


def test_bandwidth_is_kept(server: Running, tmp_path: Path) -> None:
    person = server.account(upload_bandwidth=2048, download_bandwidth=2048)
    expected = random_file(tmp_path / "f", 2 * MIB)
    started = time.monotonic()
    old(person, "f", ":f", cwd=tmp_path).ok()
    assert time.monotonic() - started > 0.8
    started = time.monotonic()
    old(person, ":f", "got", cwd=tmp_path).ok()
    assert time.monotonic() - started > 0.8
    assert digest(person.home / "f") == digest(tmp_path / "got") == expected


def test_transfers_are_on_record_and_the_command_is_not(server: Running, tmp_path: Path) -> None:
    person = server.account()
    random_file(tmp_path / "f", 1000)
    old(person, "f", ":f", cwd=tmp_path).ok()
    old(person, ":f", "got", cwd=tmp_path).ok()
    old(person, ":missing", "got", cwd=tmp_path)
    upload = server.wait_line("Upload", username=person.name)
    download = server.wait_line("Download", username=person.name)
    for line in (upload, download):
        assert (line["protocol"], line["size_bytes"], line["virtual_path"]) == ("SCP", 1000, "/f")
    server.wait_line("disconnected", username=person.name)
    assert server.lines("SSHCommand", username=person.name) == []


def test_the_command_can_be_switched_off(tmp_path: Path) -> None:
    with running(tmp_path / "server", settings={"sftpd": {"enabled_ssh_commands": ["cd"]}}) as server:
        person = server.account()
        (tmp_path / "f").write_bytes(b"x")
        old(person, "f", ":", cwd=tmp_path).failed("sftp; commands: cd")
        assert tree(person.home) == {}


def test_a_client_that_is_cut_leaves_nothing(person: Person, tmp_path: Path) -> None:
    """Half an upload is not published, and its account can go on at once."""
    random_file(tmp_path / "f", 64 * MIB)
    words = ["scp", "-O", "-q", "-l", "8000", *_words(person), "f", f"{person.name}@127.0.0.1:f"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    wait_for(lambda: bool(person.leftovers()) or (person.home / "f").exists(), "the upload begins")
    process.kill()
    process.wait()
    person.server.wait_line("Upload", username=person.name)
    wait_for(lambda: person.leftovers() == [], "what is left is removed")


# -- other clients -----------------------------------------------------------------------------------------


@pytest.mark.needs("pscp", "puttygen")
def test_pscp(person: Person, tmp_path: Path) -> None:
    """PuTTY's, which is the core of WinSCP too: files, trees, times, and its listing of names by wildcard."""
    key = tmp_path / "key.ppk"
    run("puttygen", person.key, "-O", "private", "-o", key).ok()
    public = run("ssh-keyscan", "-p", str(person.port), "127.0.0.1").ok().out
    known = next(line.split() for line in public.splitlines() if b"ssh-ed25519" in line)
    fingerprint = run("ssh-keygen", "-l", "-f", "-", stdin=b" ".join(known)).ok().out.split()[1].decode()

    def pscp(*words: str) -> Done:
        options = ["-scp", "-batch", "-P", str(person.port), "-i", str(key), "-hostkey", fingerprint]
        where = f"{person.name}@127.0.0.1"
        given = [f"{where}{word}" if word.startswith(":") else word for word in words]
        return run("pscp", *options, *given, cwd=tmp_path, env={"HOME": str(tmp_path)})

    make_tree(tmp_path / "top")
    os.utime(tmp_path / "top" / "f2", (SOME_TIME, SOME_TIME))
    pscp("-r", "-p", "top", ":").ok()
    assert tree(person.home / "top") == tree(tmp_path / "top")
    assert (person.home / "top" / "f2").stat().st_mtime == SOME_TIME
    (tmp_path / "got").mkdir()
    pscp("-r", "-p", ":top", "got").ok()
    assert tree(tmp_path / "got" / "top") == tree(tmp_path / "top")
    (tmp_path / "some").mkdir()
    pscp("-unsafe", ":top/f*", "some").ok()
    assert {path.name for path in (tmp_path / "some").iterdir()} == {f"f{number}" for number in range(6)}
    pscp(":missing", "got").failed("missing: No such file or directory")
