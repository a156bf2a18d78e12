# SPDX-License-Identifier: Apache-2.0
"""SCP as its clients speak it: OpenSSH's ``scp -O``, PuTTY's pscp, against the running product."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import Done, digest, random_file, run, scp, ssh, tree
from tests.support.running import Person, Running

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
    from tests.support.programs import SSH

    identities = ["-i", person.key, "-i", other.key]
    run("scp", *SSH, "-O", "-3", "-r", "-p", *identities, *words, cwd=tmp_path).ok()
    assert tree(other.home / "copy") == tree(person.home / "top")


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


def _words(person: Person) -> list[str]:
    from tests.support.programs import SSH

    return [*SSH, "-i", str(person.key), "-P", str(person.port)]
