# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's sftp, scp and ssh against the running product."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.programs import Done, digest, random_file, run, scp, sftp, ssh, tree
from tests.support.running import COMMAND, Person, Running

pytestmark = pytest.mark.needs("sftp", "scp", "ssh")

MIB = 1 << 20

ODD_NAMES = [
    b"with  two spaces",
    "ünïcode 東京 🌊".encode(),
    b"raw \xff\xfe\x80 bytes",
    b"-rf",
    b"new\nline",
    b"tab\tand \x01 control",
    b"quote'\"s and `ticks` $(id) ; & |",
    b"back\\slash",
    b"star*and[brackets]?",
    b"~tilde",
    b"...",
    b"x" * 255,
    "é".encode() * 127,
]


def test_get_and_put_byte_for_byte(person: Person, tmp_path: Path):
    for size in (0, 1, 32 * 1024, 7 * MIB + 13):
        expected = random_file(tmp_path / f"f{size}", size)
        sftp(person, f"put f{size}", f"get f{size} back{size}", cwd=tmp_path).ok()
        assert digest(person.home / f"f{size}") == digest(tmp_path / f"back{size}") == expected


def test_an_account_made_by_command_can_log_in_at_once(servers: Callable[[bool], Running], tmp_path: Path):
    """And is changed, barred and removed as fast; nothing has to be restarted."""
    server = servers(True)
    name = f"cli{os.urandom(4).hex()}"
    public = server.key.with_suffix(".pub")

    def user(*words: str) -> Done:
        return run(*COMMAND, "user", *words, "-c", server.directory).ok()

    user(
        "add",
        name,
        "--home",
        str(tmp_path / "home"),
        "--permission",
        "/:list,upload",
        "--public-key",
        str(public),
    )
    person = Person(server, name, "", server.key, tmp_path / "home")
    (tmp_path / "f").write_bytes(b"content")
    sftp(person, "put f", "ls", cwd=tmp_path).ok()
    assert (person.home / "f").read_bytes() == b"content"
    sftp(person, "rm f").failed("Permission denied")
    user("set", name, "--permission", "/:*")
    sftp(person, "rm f").ok()
    user("set", name, "--disable")
    sftp(person, "ls").failed("Permission denied")
    user("set", name, "--enable")
    sftp(person, "ls").ok()
    user("del", name, "--yes")
    sftp(person, "ls").failed("Permission denied")


def test_names_of_every_kind(person: Person, tmp_path: Path):
    up, down = os.fsencode(tmp_path / "up"), os.fsencode(tmp_path / "down")
    os.makedirs(up + b"/deep")
    for name in ODD_NAMES:
        for folder in (up, up + b"/deep"):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(b"content of " + name)
    sftp(person, "put -r up /up", cwd=tmp_path).ok()
    assert tree(person.home / "up") == tree(tmp_path / "up")
    os.mkdir(down)
    sftp(person, "get -r /up down", cwd=tmp_path).ok()
    assert tree(tmp_path / "down" / "up") == tree(tmp_path / "up")
    scp(person, "-r", ":/up", tmp_path / "copied").ok()
    assert tree(tmp_path / "copied") == tree(tmp_path / "up")
    scp(person, "-r", tmp_path / "up", ":/again").ok()
    assert tree(person.home / "again") == tree(tmp_path / "up")


def test_names_too_long_and_paths_too_long_are_refused(person: Person):
    for path in ("n" * 256, "/".join(["d" * 200] * 30)):
        sftp(person, f"mkdir {path}").failed("mkdir")
    assert os.listdir(person.home) == []


def test_resume_of_downloads_and_uploads(person: Person, tmp_path: Path):
    expected = random_file(tmp_path / "whole", 5 * MIB + 1)
    data = (tmp_path / "whole").read_bytes()
    (person.home / "whole").write_bytes(data)
    (tmp_path / "part").write_bytes(data[: 2 * MIB])
    sftp(person, "reget whole part", cwd=tmp_path).ok()
    assert digest(tmp_path / "part") == expected
    (person.home / "up").write_bytes(data[: 3 * MIB + 7])
    sftp(person, "reput whole up", cwd=tmp_path).ok()
    assert digest(person.home / "up") == expected
    (tmp_path / "short").write_bytes(b"short")
    sftp(person, "reput short up", cwd=tmp_path).failed("destination file same size or larger")
    assert digest(person.home / "up") == expected
    sftp(person, "reput whole new", cwd=tmp_path).failed("No such file")


def _sparse(person: Person, tmp_path: Path, size: int, seconds: float) -> None:
    """A file of holes with a few islands, up and down; every block is compared, but holes cost nothing."""
    islands = {0: b"first", size // 2 - 3: b"island over a border", size - 9: b"last byte"}
    with open(tmp_path / "hole", "wb") as file:
        for offset, text in islands.items():
            file.seek(offset)
            file.write(text)
    sftp(person, "put hole /hole", "get /hole back", cwd=tmp_path, seconds=seconds).ok()
    for path in (person.home / "hole", tmp_path / "back"):
        with open(path, "rb") as file:
            assert os.fstat(file.fileno()).st_size == size
            for offset, text in islands.items():
                assert os.pread(file.fileno(), len(text), offset) == text
            zeros = bytes(MIB)
            for sample in range(MIB, size - MIB, max(MIB, size // 97)):
                if all(abs(sample - offset) > 2 * MIB for offset in islands):
                    assert os.pread(file.fileno(), MIB, sample) == zeros
        path.unlink()


def test_a_sparse_file_of_300_mib(person: Person, tmp_path: Path):
    _sparse(person, tmp_path, 300 * MIB, 60)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_sparse_file_of_5_gib(person: Person, tmp_path: Path):
    _sparse(person, tmp_path, 5 * 1024 * MIB, 550)


def test_beyond_4_gib_without_moving_4_gib(person: Person, tmp_path: Path):
    """Offsets that need more than 32 bits, by resuming next to the end of a file that is one hole."""
    size = 5 * 1024 * MIB
    tail = os.urandom(MIB)
    for path in (person.home / "big", tmp_path / "local"):
        with open(path, "wb") as file:
            file.truncate(size)
    with open(tmp_path / "local", "ab") as file:
        file.write(tail)
    sftp(person, "reput local big", cwd=tmp_path).ok()
    assert os.path.getsize(person.home / "big") == size + MIB
    with open(person.home / "big", "rb") as file:
        assert os.pread(file.fileno(), MIB + 1, size - 1) == b"\0" + tail
    with open(tmp_path / "part", "wb") as file:
        file.truncate(size)
    sftp(person, "reget big part", "ls -l big", cwd=tmp_path).ok()
    with open(tmp_path / "part", "rb") as file:
        assert os.pread(file.fileno(), MIB + 1, size - 1) == b"\0" + tail
    (person.home / "big").unlink()


def test_df(person: Person):
    out = sftp(person, "df", "df -h /", "df -i /").ok().out.decode()
    found = os.statvfs(person.home)
    line = next(line for line in out.splitlines() if re.match(r"\s+\d+\s+\d+", line))
    total, *_ = map(int, re.findall(r"\d+", line))
    assert total == found.f_blocks * found.f_frsize // 1024


def test_links(person: Person):
    (person.home / "d").mkdir()
    (person.home / "a").write_bytes(b"content")
    sftp(person, "ln a hard", "ln -s a soft", "ln -s /a d/absolute", "ln -s ../a d/relative").ok()
    assert (person.home / "hard").stat().st_ino == (person.home / "a").stat().st_ino
    assert os.readlink(person.home / "soft") == "a"
    for name in ("soft", "d/absolute", "d/relative"):
        assert (person.home / name).read_bytes() == b"content", name
    out = sftp(person, "ls -l").ok().out.decode()
    assert re.search(r"^l\S+ .* soft", out, re.MULTILINE)
    sftp(person, "ln missing x").failed("No such file")
    sftp(person, "ln -s a soft").failed("Failure")
    sftp(person, "ln -s ../../../etc/passwd out", "get out /dev/null").failed("out")
    assert not (person.home / "d" / "out").exists()


def test_rename_does_not_replace_and_posix_rename_does(person: Person):
    for name in "abc":
        (person.home / name).write_text(name)
    sftp(person, "rename a b").ok()  # OpenSSH's client uses posix-rename where it can
    assert sorted(os.listdir(person.home)) == ["b", "c"]
    assert (person.home / "b").read_text() == "a"
    sftp(person, "rename -l b c").failed("Failure")
    assert (person.home / "c").read_text() == "c"
    sftp(person, "mkdir d", "rename d e", "rename b e/b").ok()
    assert (person.home / "e" / "b").read_text() == "a"
    sftp(person, "rename missing x").failed("No such file")
    sftp(person, "rename e e/below").failed("")
    sftp(person, "rename / x").failed("Permission denied")


def test_mode_times_and_owner(person: Person, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "f").chmod(0o640)
    os.utime(tmp_path / "f", (1_000_000_001, 1_234_567_890))
    sftp(person, "put -p f kept", "put f plain", "chmod 600 plain", cwd=tmp_path).ok()
    kept = (person.home / "kept").stat()
    assert (stat.S_IMODE(kept.st_mode), kept.st_mtime, kept.st_atime) == (0o640, 1_234_567_890, 1_000_000_001)
    assert stat.S_IMODE((person.home / "plain").stat().st_mode) == 0o600
    sftp(person, "get -p kept back", cwd=tmp_path).ok()
    back = (tmp_path / "back").stat()
    assert (stat.S_IMODE(back.st_mode), back.st_mtime) == (0o640, 1_234_567_890)
    sftp(person, "mkdir d", "put -rp f d/f", "chmod 711 d", "chmod 600 missing", cwd=tmp_path).failed(
        "missing"
    )
    assert stat.S_IMODE((person.home / "d").stat().st_mode) == 0o711
    if os.geteuid() == 0:
        sftp(person, "chown 1234 plain", "chgrp 4321 plain").ok()
        assert ((person.home / "plain").stat().st_uid, (person.home / "plain").stat().st_gid) == (1234, 4321)
        listed = sftp(person, "ls -ln plain").ok().out.decode()
        assert " 1234 " in listed
        assert " 4321 " in listed


def test_copies_are_made_by_the_server(person: Person, tmp_path: Path):
    expected = random_file(person.home / "a", 3 * MIB + 5)
    (person.home / "d").mkdir()
    sftp(person, "cp a b", "cp a d/a", "cp /d/a d/c").ok()
    for name in ("b", "d/a", "d/c"):
        assert digest(person.home / name) == expected
    person.server.wait_line("disconnected", username=person.name)
    sftp(person, "cp missing x").failed("missing")


def test_listing_shapes(person: Person):
    (person.home / "dir").mkdir(mode=0o755)
    (person.home / "file").write_bytes(b"12345")
    (person.home / ".hidden").write_bytes(b"")
    os.utime(person.home / "file", (1_600_000_000, 1_600_000_000))
    os.symlink("file", person.home / "link")
    out = sftp(person, "ls -l").ok().out.decode().splitlines()[1:]
    shape = re.compile(r"^[-dl][-rwxsStT]{9}\s+[\d?]+ \S+\s+\S+\s+\d+ \w{3} [ \d]\d\s+(\d\d:\d\d|\d{4}) .+$")
    assert len(out) == 3, out
    assert all(shape.match(line) for line in out), out
    assert any(line.startswith("-rw-") and line.split()[4] == "5" and "2020" in line for line in out), out
    assert sftp(person, "ls -1").ok().out.decode().splitlines()[1:] == ["dir", "file", "link"]
    everything = sftp(person, "ls -1a").ok().out.decode().splitlines()[1:]
    assert everything == [".", "..", ".hidden", "dir", "file", "link"]
    assert sftp(person, "ls -1a dir").ok().out.decode().splitlines()[1:] == ["dir/.", "dir/.."]
    sftp(person, "ls missing").failed("not found")
    assert "dir" in sftp(person, "cd dir", "pwd", "ls -la ..").ok().out.decode()


def test_a_directory_of_5000_names(person: Person):
    for number in range(5000):
        (person.home / f"{number:04}-{'n' * 60}").touch()
    out = sftp(person, "ls -1").ok().out.decode().splitlines()[1:]
    assert out == sorted(os.listdir(person.home))


def test_deleting(person: Person):
    (person.home / "d").mkdir()
    (person.home / "d" / "x").touch()
    (person.home / "f").touch()
    sftp(person, "rmdir d").failed("Failure")
    sftp(person, "rm d").failed("")
    sftp(person, "rmdir f").failed("")
    sftp(person, "rm d/x", "rmdir d", "rm f").ok()
    assert os.listdir(person.home) == []
    sftp(person, "rm f").failed("No such file")
    sftp(person, "rmdir /").failed("Permission denied")


def test_scp_both_ways_and_recursive(person: Person, tmp_path: Path):
    (tmp_path / "src" / "sub").mkdir(parents=True)
    random_file(tmp_path / "src" / "a", 2 * MIB + 1)
    random_file(tmp_path / "src" / "sub" / "b", 10)
    os.utime(tmp_path / "src" / "a", (1_111_111_111, 1_111_111_111))
    scp(person, "-p", tmp_path / "src" / "a", ":a").ok()
    assert (person.home / "a").stat().st_mtime == 1_111_111_111
    scp(person, "-rp", tmp_path / "src", ":/dest").ok()
    scp(person, "-r", ":/dest", tmp_path / "back").ok()
    assert tree(person.home / "dest") == tree(tmp_path / "back") == tree(tmp_path / "src")
    scp(person, ":/dest/*", ":/a", tmp_path).failed("not a regular file")
    assert digest(tmp_path / "a") == digest(tmp_path / "src" / "a")
    scp(person, ":/missing", tmp_path).failed("No such file")
    scp(person, tmp_path / "a", ":/no/such/dir/a").failed("")
    scp(person, tmp_path / "a", ":/nodir/").failed("nodir")
    assert sorted(os.listdir(person.home)) == ["a", "dest"]


def test_paths_that_climb_stay_inside(person: Person, tmp_path: Path):
    (person.home / "a").write_bytes(b"mine")
    secret = person.home.parent / f"{person.home.name}-beside"
    secret.write_bytes(b"not yours")
    sftp(person, "get ../../../../../a got", cwd=tmp_path).ok()
    assert (tmp_path / "got").read_bytes() == b"mine"
    sftp(person, f"get ../{secret.name} got2", cwd=tmp_path).failed("not found")
    os.symlink(secret, person.home / "out")
    sftp(person, "get out got3", cwd=tmp_path).failed("")
    sftp(person, "put got out", cwd=tmp_path).failed("")
    assert secret.read_bytes() == b"not yours"
    assert not (tmp_path / "got3").exists() or (tmp_path / "got3").read_bytes() == b""


def test_one_line_answers_of_commands(person: Person):
    (person.home / "a b").write_bytes(b"content")
    done: Done = ssh(person, "sha256sum 'a b'").ok()
    assert done.out.decode() == f"{hashlib.sha256(b'content').hexdigest()}  /a b\n"
    assert ssh(person, "pwd").ok().out == b"/\n"
    assert ssh(person, "cat 'a b'").status != 0
