# SPDX-License-Identifier: Apache-2.0
"""rclone, lftp, curl and sshfs against the running product."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.needs import absent
from tests.support.programs import curl, digest, has_fuse, lftp, random_file, rclone, sshfs, tree
from tests.support.running import Person

MIB = 1 << 20

NAMES = [
    "plain",
    "with space",
    "ünïcode 東京",
    "-dash",
    "semi;colon",
    "quote'\"s",
    "percent%20",
    "hash#",
    "a+b",
]


def make_tree(directory: Path, names: list[str]) -> None:
    """A few levels with files of many sizes."""
    for depth in range(3):
        folder = directory.joinpath(*[f"level {n}" for n in range(depth)])
        folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            random_file(folder / name, number * 20_011, depth)
    random_file(directory / "large", 3 * MIB + 17)


# -- rclone ------------------------------------------------------------------------------------------------


@pytest.mark.needs("rclone")
def test_rclone_copies_syncs_and_checks(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    make_tree(source, NAMES)
    rclone(person, "copy", source, ":/copy").ok()
    assert tree(person.home / "copy") == tree(source)
    checked = rclone(person, "check", source, ":/copy").ok().err
    assert b"28 matching files" in checked
    assert b"hashes could not be checked" not in checked  # it asked md5sum or sha1sum
    rclone(person, "check", "--download", ":/copy", source).ok()

    (source / "plain").write_bytes(b"changed")
    (source / "new").write_bytes(b"new")
    (source / "a+b").unlink()
    rclone(person, "check", source, ":/copy").failed("3 differences found")
    rclone(person, "sync", source, ":/copy").ok()
    assert tree(person.home / "copy") == tree(source)
    rclone(person, "sync", ":/copy", tmp_path / "back").ok()
    assert tree(tmp_path / "back") == tree(source)
    # nothing to do the second time: sizes and times agree
    again = rclone(person, "sync", source, ":/copy", "-v", "--stats", "0").ok().err.decode()
    assert "Copied" not in again


@pytest.mark.needs("rclone")
def test_rclone_finds_its_way_about(person: Person, tmp_path: Path):
    random_file(tmp_path / "f", 1000)
    os.utime(tmp_path / "f", (1_234_567_890, 1_234_567_890))
    rclone(person, "mkdir", ":/a/b/c").ok()
    assert (person.home / "a/b/c").is_dir()
    rclone(person, "mkdir", ":/a/b/c").ok()
    rclone(person, "copy", tmp_path / "f", ":/a/b").ok()
    assert int((person.home / "a/b/f").stat().st_mtime) == 1_234_567_890
    rclone(person, "copyto", tmp_path / "f", ":/a/now", "--sftp-set-modtime=false").ok()
    assert int((person.home / "a/now").stat().st_mtime) != 1_234_567_890
    listed = json.loads(rclone(person, "lsjson", "-R", ":/").ok().out)
    assert sorted(item["Path"] for item in listed) == ["a", "a/b", "a/b/c", "a/b/f", "a/now"]
    about = json.loads(rclone(person, "about", "--json", ":/").ok().out)
    found = os.statvfs(person.home)
    assert about["total"] == found.f_blocks * found.f_frsize
    rclone(person, "moveto", ":/a/b/f", ":/a/moved").ok()
    assert digest(person.home / "a/moved") == digest(tmp_path / "f")
    assert rclone(person, "cat", ":/a/moved").ok().out == (tmp_path / "f").read_bytes()
    assert (
        rclone(person, "cat", "--offset", "500", "--count", "7", ":/a/moved").ok().out
        == (tmp_path / "f").read_bytes()[500:507]
    )
    rclone(person, "rmdir", ":/a").failed("")
    rclone(person, "rmdir", ":/a/b/c").ok()
    rclone(person, "purge", ":/a").ok()
    assert os.listdir(person.home) == []
    rclone(person, "ls", ":/missing").failed("directory not found")
    rclone(person, "touch", ":/touched", "-t", "2001-02-03T04:05:06").ok()
    assert int((person.home / "touched").stat().st_mtime) == 981173106


@pytest.mark.needs("rclone")
def test_rclone_with_many_streams(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(40):
        random_file(source / f"{number}", 100_003 * (number % 5), number)
    rclone(person, "copy", "--transfers", "8", "--checkers", "8", source, ":/many").ok()
    assert tree(person.home / "many") == tree(source)
    rclone(person, "copy", "--transfers", "8", ":/many", tmp_path / "b").ok()
    assert tree(tmp_path / "b") == tree(source)


# -- lftp --------------------------------------------------------------------------------------------------


@pytest.mark.needs("lftp", "ssh")
def test_lftp_mirrors_both_ways(person: Person, tmp_path: Path):
    source = tmp_path / "source"
    make_tree(source, [name for name in NAMES if name != "quote'\"s"])
    lftp(person, "mirror -R source /copy", home=tmp_path).ok()
    assert tree(person.home / "copy") == tree(source)
    lftp(person, "mirror -P 4 /copy back", home=tmp_path).ok()
    assert tree(tmp_path / "back") == tree(source)
    (source / "plain").unlink()
    (source / "new").write_bytes(b"new")
    lftp(person, "mirror -R --delete --only-newer source /copy", home=tmp_path).ok()
    assert tree(person.home / "copy") == tree(source)


@pytest.mark.needs("lftp", "ssh")
def test_lftp_resumes_both_ways(person: Person, tmp_path: Path):
    expected = random_file(tmp_path / "whole", 5 * MIB + 3)
    data = (tmp_path / "whole").read_bytes()
    (person.home / "up").write_bytes(data[: 2 * MIB + 1])
    lftp(person, "put -c whole -o up", home=tmp_path).ok()
    assert digest(person.home / "up") == expected
    (tmp_path / "down").write_bytes(data[: 3 * MIB + 1])
    lftp(person, "get -c up -o down", home=tmp_path).ok()
    assert digest(tmp_path / "down") == expected
    lftp(person, "pget -n 4 up -o pieces", home=tmp_path).ok()
    assert digest(tmp_path / "pieces") == expected


@pytest.mark.needs("lftp", "ssh")
def test_lftp_commands(person: Person, tmp_path: Path):
    (tmp_path / "f").write_bytes(b"content")
    out = lftp(
        person, "put f", "mkdir -p a/b", "mv f a/b/g", "cat a/b/g", "chmod 600 a/b/g", "cls -l a/b", "ln -s g a/b/h", "du -a a",
        home=tmp_path,
    ).ok().out  # fmt: skip
    assert out.startswith(b"content-rw-------"), out
    assert os.readlink(person.home / "a/b/h") == "g"
    lftp(person, "rm -r a", home=tmp_path).ok()
    assert os.listdir(person.home) == []
    lftp(person, "cat missing", home=tmp_path).failed("No such file")


# -- curl --------------------------------------------------------------------------------------------------


@pytest.mark.needs("curl")
def test_curl(person: Person, tmp_path: Path):
    expected = random_file(tmp_path / "f", 2 * MIB + 5)
    data = (tmp_path / "f").read_bytes()
    done = curl(person, "-T", tmp_path / "f", path="/f")
    if b"not supported" in done.err or b"Unsupported" in done.err:
        absent("a curl with SFTP")
    done.ok()
    assert digest(person.home / "f") == expected
    curl(person, "-o", tmp_path / "back", path="/f").ok()
    assert digest(tmp_path / "back") == expected
    (tmp_path / "part").write_bytes(data[:MIB])
    curl(person, "-C", "-", "-o", tmp_path / "part", path="/f").ok()
    assert digest(tmp_path / "part") == expected
    assert curl(person, "-r", "100-199", path="/f").ok().out == data[100:200]
    (person.home / "half").write_bytes(data[:MIB])
    curl(person, "-C", "-", "-T", tmp_path / "f", path="/half").ok()
    assert digest(person.home / "half") == expected
    (person.home / "log").write_bytes(b"one ")
    (tmp_path / "more").write_bytes(b"two")
    curl(person, "--append", "-T", tmp_path / "more", path="/log").ok()
    assert (person.home / "log").read_bytes() == b"one two"
    curl(person, "--ftp-create-dirs", "-T", tmp_path / "more", path="/new/dir/more").ok()
    assert (person.home / "new/dir/more").read_bytes() == b"two"
    names = curl(person, "-l", path="/").ok().out.decode().split()
    assert sorted(set(names) - {".", ".."}) == ["f", "half", "log", "new"]
    assert re.search(rb"^drwx.* new$", curl(person, path="/").ok().out, re.MULTILINE)
    quote = ["mkdir /q", "rename /log /q/log", "chmod 600 /q/log", "ln /q/log /link", "pwd"]
    curl(person, *[word for line in quote for word in ("-Q", line)], path="/").ok()
    assert (person.home / "q/log").stat().st_mode & 0o777 == 0o600
    assert os.readlink(person.home / "link").endswith("q/log")
    assert curl(person, path="/link").ok().out == b"one two"
    curl(person, "-Q", "rm /q/log", "-Q", "rmdir /q", "-l", path="/").ok()
    assert not (person.home / "q").exists()
    assert curl(person, path="/missing").status == 78  # remote file not found
    assert curl(person, "-T", tmp_path / "f", path="/no/dir/f").status != 0


# -- sshfs -------------------------------------------------------------------------------------------------

needs_fuse = pytest.mark.skipif(not has_fuse(), reason="FUSE is not usable here")


@needs_fuse
@pytest.mark.needs("sshfs", "fusermount3")
def test_sshfs(person: Person, tmp_path: Path):
    with sshfs(person, tmp_path / "mount") as mount:
        expected = random_file(mount / "f", 3 * MIB + 1)
        assert digest(mount / "f") == expected == digest(person.home / "f")

        data = bytearray((mount / "f").read_bytes())
        chance = random.Random(7)
        with open(mount / "f", "r+b", buffering=0) as file:
            for _ in range(200):
                offset, piece = chance.randrange(len(data)), chance.randbytes(chance.randrange(1, 9000))
                piece = piece[: len(data) - offset]
                file.seek(offset)
                file.write(piece)
                data[offset : offset + len(piece)] = piece
                if chance.random() < 0.3:
                    offset = chance.randrange(len(data))
                    file.seek(offset)
                    assert file.read(100) == data[offset : offset + 100]
            os.fsync(file.fileno())
            assert (person.home / "f").read_bytes() == data
            file.truncate(1_000_001)
            del data[1_000_001:]
        with open(mount / "f", "ab") as file:
            file.write(b"appended")
        assert (person.home / "f").read_bytes() == data + b"appended" == (mount / "f").read_bytes()

        (mount / "d").mkdir()
        (mount / "other").write_bytes(b"other")
        (mount / "f").rename(mount / "d" / "g")
        (mount / "other").rename(mount / "d" / "g")  # replaces
        assert (person.home / "d" / "g").read_bytes() == b"other"
        (mount / "link").symlink_to("d/g")
        assert (mount / "link").read_bytes() == b"other"
        os.link(mount / "d" / "g", mount / "hard")
        assert (person.home / "hard").stat().st_nlink == 2
        (mount / "hard").chmod(0o600)
        os.utime(mount / "hard", (1_500_000_000, 1_500_000_000))
        assert (person.home / "hard").stat().st_mtime == 1_500_000_000
        found, expected_space = os.statvfs(mount), os.statvfs(person.home)
        assert found.f_blocks * found.f_frsize == expected_space.f_blocks * expected_space.f_frsize
        with pytest.raises(FileNotFoundError):
            (mount / "missing").read_bytes()
        with pytest.raises(FileExistsError):
            (mount / "d").mkdir()
        with pytest.raises(OSError):
            (mount / "d").rmdir()
        (mount / "d" / "g").unlink()
        (mount / "d").rmdir()
        with open(mount / "sparse", "wb") as file:
            file.truncate(10 * MIB)
            file.seek(9 * MIB)
            file.write(b"x")
        with (
            open(mount / "sparse", "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
        ):
            assert (view[9 * MIB], view[0]) == (ord("x"), 0)
    assert sorted(os.listdir(person.home)) == ["hard", "link", "sparse"]


@needs_fuse
@pytest.mark.needs("sshfs", "fusermount3")
def test_sshfs_in_parallel(person: Person, tmp_path: Path):
    with sshfs(person, tmp_path / "mount", "-o", "max_conns=3") as mount:

        def work(number: int) -> None:
            data = hashlib.shake_128(bytes([number])).digest(400_007 + number)
            path = mount / f"dir {number % 2}" / f"{number}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
            assert path.read_bytes() == data
            path.rename(path.with_suffix(".done"))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(24)))
        assert len(list(mount.glob("*/*.done"))) == 24
    for number in range(24):
        data = hashlib.shake_128(bytes([number])).digest(400_007 + number)
        assert (person.home / f"dir {number % 2}" / f"{number}.done").read_bytes() == data
