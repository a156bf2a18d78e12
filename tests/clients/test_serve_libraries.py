# SPDX-License-Identifier: Apache-2.0
"""paramiko's and asyncssh's clients against the running product."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import paramiko
import pytest
from tests.support.programs import digest, random_file, tree
from tests.support.running import Person, wait_for

MIB = 1 << 20


# -- paramiko ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def paramiko_sftp(person: Person, **options: object) -> Iterator[paramiko.SFTPClient]:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", person.port, person.name, key_filename=str(person.key), allow_agent=False,
            look_for_keys=False, **options,
        )  # fmt: skip
        with client.open_sftp() as sftp:
            yield sftp


def test_paramiko_transfers(person: Person, tmp_path: Path):
    expected = random_file(tmp_path / "f", 6 * MIB + 11)
    with paramiko_sftp(person) as sftp:
        reported: list[tuple[int, int]] = []
        done = sftp.put(str(tmp_path / "f"), "/f", callback=lambda *at: reported.append(at), confirm=True)
        assert done.st_size == 6 * MIB + 11 == reported[-1][0]
        assert digest(person.home / "f") == expected
        sftp.get("/f", str(tmp_path / "back"), prefetch=True)
        assert digest(tmp_path / "back") == expected
        sftp.get("/f", str(tmp_path / "slow"), prefetch=False)
        assert digest(tmp_path / "slow") == expected
        data = (tmp_path / "f").read_bytes()
        with sftp.open("/f", "rb") as file:
            chunks = [(0, 10), (MIB, 100_000), (6 * MIB + 1, 10), (5, 0)]
            assert list(file.readv(chunks)) == [data[at : at + size] for at, size in chunks]
            file.seek(-5, io.SEEK_END)
            assert file.read() == data[-5:]
            assert file.read(10) == b""
        buffer = io.BytesIO()
        assert sftp.getfo("/f", buffer) == len(data)
        assert buffer.getvalue() == data
        sftp.putfo(io.BytesIO(data[:1000]), "/g", confirm=True)
        assert (person.home / "g").read_bytes() == data[:1000]
        sftp.putfo(io.BytesIO(b""), "/empty")
        assert (person.home / "empty").read_bytes() == b""


def test_paramiko_check(person: Person):
    data = random.Random(1).randbytes(10_000)
    (person.home / "f").write_bytes(data)
    with paramiko_sftp(person) as sftp, sftp.open("/f", "rb") as file:
        assert file.check("md5") == hashlib.md5(data).digest()
        assert file.check("sha1", 100, 1000) == hashlib.sha1(data[100:1100]).digest()
        blocks = [data[at : at + 1024] for at in range(0, len(data), 1024)]
        assert file.check("sha256", block_size=1024) == b"".join(hashlib.sha256(b).digest() for b in blocks)
        with pytest.raises(OSError):
            file.check("rot13")


@pytest.mark.parametrize(
    ("mode", "start", "expected"),
    [
        ("w", b"old content", b"new"),
        ("a", b"old ", b"old new"),
        ("r+", b"old content", b"new content"),
        ("w+", b"old", b"new"),
        ("a+", b"old ", b"old new"),
        ("wx", None, b"new"),
        ("w", None, b"new"),
        ("a", None, b"new"),
    ],
)
def test_paramiko_open_modes(person: Person, mode: str, start: bytes | None, expected: bytes):
    if start is not None:
        (person.home / "f").write_bytes(start)
    with paramiko_sftp(person) as sftp:
        with sftp.open("/f", mode) as file:
            file.write(b"new")
        assert (person.home / "f").read_bytes() == expected
        with pytest.raises(OSError):
            sftp.open("/f", "wx")
        with pytest.raises(FileNotFoundError):
            sftp.open("/missing", "r+")
        assert (person.home / "f").read_bytes() == expected


def test_paramiko_files_and_directories(person: Person):
    with paramiko_sftp(person) as sftp:
        assert sftp.normalize(".") == "/"
        sftp.mkdir("d", 0o750)
        assert stat.S_IMODE((person.home / "d").stat().st_mode) == 0o750
        sftp.chdir("d")
        assert sftp.getcwd() == "/d"
        with sftp.open("f", "w") as file:
            file.write("täxt")
            assert file.stat().st_size in (0, 5)
            file.flush()
            assert file.stat().st_size == 5
            file.chmod(0o640)
            file.utime((1_000_000_000, 1_100_000_000))
            file.truncate(4)
        found = (person.home / "d/f").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_mtime, found.st_size) == (0o640, 1_100_000_000, 4)
        sftp.utime("f", (1_200_000_000, 1_300_000_000))
        sftp.truncate("f", 2)
        sftp.chmod("f", 0o600)
        listed = {entry.filename: entry for entry in sftp.listdir_attr("/d")}
        assert set(listed) == {"f"}
        assert (listed["f"].st_size, stat.S_IMODE(listed["f"].st_mode or 0)) == (2, 0o600)
        assert [entry.filename for entry in sftp.listdir_iter("/")] == ["d"]
        sftp.symlink("f", "link")
        assert sftp.readlink("link") == "f"
        assert stat.S_ISLNK(sftp.lstat("link").st_mode or 0)
        assert sftp.stat("link").st_size == 2
        with pytest.raises(OSError):
            sftp.rename("f", "link")
        sftp.posix_rename("f", "link")
        assert sftp.listdir("/d") == ["link"]
        with pytest.raises(OSError):
            sftp.rmdir("/d")
        sftp.remove("link")
        sftp.rmdir("/d")
        for call in (sftp.stat, sftp.remove, sftp.rmdir, sftp.listdir, sftp.readlink):
            with pytest.raises(FileNotFoundError):
                call("/missing")


# -- asyncssh ----------------------------------------------------------------------------------------------


async def test_asyncssh_transfers_and_globs(person: Person, tmp_path: Path):
    expected = random_file(tmp_path / "f", 6 * MIB + 11)
    async with person.connect() as client, client.start_sftp_client() as sftp:
        await sftp.put(tmp_path / "f", "/f")
        assert digest(person.home / "f") == expected
        await sftp.get("/f", tmp_path / "back", block_size=65536, max_requests=64)
        assert digest(tmp_path / "back") == expected
        (tmp_path / "src" / "sub").mkdir(parents=True)
        for name in ("a.txt", "b.txt", "c.bin", "sub/d.txt"):
            random_file(tmp_path / "src" / name, 1234)
        await sftp.put(tmp_path / "src", "/dest", recurse=True, preserve=True)
        assert tree(person.home / "dest") == tree(tmp_path / "src")
        assert sorted(await sftp.glob("/dest/**/*.txt")) == [
            "/dest/a.txt",
            "/dest/b.txt",
            "/dest/sub/d.txt",
        ]
        (tmp_path / "got").mkdir()
        await sftp.mget("/dest/?.txt", tmp_path / "got")
        assert sorted(os.listdir(tmp_path / "got")) == ["a.txt", "b.txt"]
        await sftp.mput(str(tmp_path / "src" / "*.bin"), "/")
        assert (person.home / "c.bin").exists()
        await sftp.copy("/f", "/copied", remote_only=True)
        assert digest(person.home / "copied") == expected
        await sftp.copy("/dest", "/dest2", recurse=True, remote_only=True)
        assert tree(person.home / "dest2") == tree(tmp_path / "src")
        await sftp.rmtree("/dest2")
        assert not (person.home / "dest2").exists()
        await sftp.makedirs("/x/y/z", exist_ok=True)
        assert await sftp.isdir("/x/y/z")


async def test_asyncssh_random_access(person: Person):
    data = bytearray(random.Random(3).randbytes(2 * MIB))
    (person.home / "f").write_bytes(data)
    chance = random.Random(4)
    async with person.connect() as client, client.start_sftp_client() as sftp:
        async with sftp.open("/f", "r+b") as file:
            for _ in range(150):
                at, piece = chance.randrange(len(data)), chance.randbytes(chance.randrange(1, 50_000))
                await file.write(piece, at)
                data[at : at + len(piece)] = piece
                at = chance.randrange(len(data))
                assert await file.read(1000, at) == data[at : at + 1000]
            # many at a time, into places of their own
            await asyncio.gather(*(file.write(bytes([n]) * 1000, 1000 * n) for n in range(100)))
            for number in range(100):
                data[1000 * number : 1000 * number + 1000] = bytes([number]) * 1000
            await file.fsync()
            assert await file.tell() is not None
        assert (person.home / "f").read_bytes() == data
        async with sftp.open("/sparse", "wb") as file:
            await file.write(b"end", 5 << 30)
        assert (person.home / "sparse").stat().st_size == (5 << 30) + 3
        async with sftp.open("/sparse", "rb") as file:
            assert await file.read(10, (5 << 30) - 2) == b"\0\0end"
            assert await file.read(10, 6 << 30) == b""


async def test_asyncssh_extensions(person: Person, tmp_path: Path):
    (person.home / "a").write_bytes(b"content")
    async with person.connect() as client, client.start_sftp_client() as sftp:
        assert sftp.version == 3
        for name in ("posix_rename", "link", "lsetstat", "limits", "fsync", "copy_data"):
            assert getattr(sftp, f"supports_{name}", True), name
        limits = sftp.limits
        assert limits.max_read_len >= 32_768
        assert limits.max_write_len >= 32_768
        space = await sftp.statvfs("/")
        found = os.statvfs(person.home)
        assert (space.bsize, space.frsize, space.blocks) == (found.f_bsize, found.f_frsize, found.f_blocks)
        async with sftp.open("/a", "rb") as file:
            assert (await file.statvfs()).blocks == found.f_blocks
        await sftp.link("/a", "/hard")
        assert (person.home / "hard").stat().st_nlink == 2
        await sftp.symlink("a", "/soft")  # this client takes the order of the arguments from the banner
        await sftp.setstat("/soft", asyncssh.SFTPAttrs(atime=1, mtime=2), follow_symlinks=False)
        assert os.lstat(person.home / "soft").st_mtime == 2
        assert (person.home / "a").stat().st_mtime > 2
        (person.home / "b").write_bytes(b"b")
        with pytest.raises(asyncssh.SFTPFailure):
            await sftp.rename("/b", "/a")
        await sftp.posix_rename("/b", "/a")
        assert (person.home / "a").read_bytes() == b"b"
        assert await sftp.realpath("/x/../a") == "/a"
        assert await sftp.readlink("/soft") == "a"
        async with sftp.open("/hard", "rb") as source, sftp.open("/copy", "wb") as target:
            await sftp.remote_copy(source, target, 1, 3, 2)
        assert (person.home / "copy").read_bytes() == b"\0\0ont"


async def test_asyncssh_raw_names(person: Person):
    async with person.connect() as client, client.start_sftp_client(path_encoding=None) as sftp:
        for name in (b"\xff\xfe", b"\xc3\x28", b"\x80" * 255, "é".encode("latin-1")):
            async with sftp.open(b"/" + name, "wb") as file:
                await file.write(name)
            with open(os.fsencode(person.home) + b"/" + name, "rb") as file:
                assert file.read() == name
            assert name in await sftp.listdir(b"/")
            assert await sftp.realpath(b"/" + name) == b"/" + name
            await sftp.remove(b"/" + name)
        with pytest.raises(asyncssh.SFTPError):
            await sftp.mkdir(b"/a\0b")
    assert os.listdir(person.home) == []


async def test_several_channels_and_connections_of_one_user(person: Person):
    data = {n: hashlib.shake_128(bytes([n])).digest(700_001) for n in range(12)}
    async with person.connect() as one, person.connect() as two:
        clients = [await client.start_sftp_client() for client in (one, two) for _ in range(3)]

        async def work(number: int) -> None:
            sftp = clients[number % len(clients)]
            async with sftp.open(f"/{number}", "wb") as file:
                await file.write(data[number])
            async with clients[(number + 1) % len(clients)].open(f"/{number}", "rb") as file:
                assert await file.read() == data[number]

        await asyncio.gather(*(work(number) for number in data))
        clients[0].exit()
        await clients[0].wait_closed()
        assert len(await clients[1].listdir("/")) == 12 + 2  # with "." and ".."
    for number, content in data.items():
        assert (person.home / f"{number}").read_bytes() == content


async def test_max_sessions_is_enforced_and_given_back(server):
    person = server.account(max_sessions=2)
    async with person.connect() as one:
        first = await one.start_sftp_client()
        await one.start_sftp_client()
        async with person.connect() as two:
            with pytest.raises((asyncssh.SFTPError, asyncssh.ChannelOpenError, OSError)):
                sftp = await two.start_sftp_client()
                await sftp.listdir("/")
            first.exit()
            await first.wait_closed()
            await (await two.start_sftp_client()).listdir("/")


async def test_two_clients_fight_over_one_quota(server):
    """Never more than the quota is on disk, and the account's numbers are what is there."""
    quota = 3 * MIB
    person = server.account(quota_size=quota)
    reasons: set[str] = set()

    async def upload(sftp: asyncssh.SFTPClient, name: str) -> bool:
        try:
            async with sftp.open(name, "wb") as file:
                for _ in range(16):
                    await file.write(bytes(65536))
        except asyncssh.SFTPError as error:
            reasons.add(error.reason)
            return False
        return True

    async with person.connect() as one, person.connect() as two:
        clients = [await one.start_sftp_client(), await two.start_sftp_client()]
        done = await asyncio.gather(*(upload(clients[n % 2], f"/{n}") for n in range(8)))
        on_disk = {path.name: path.stat().st_size for path in person.home.iterdir()}
        assert sum(on_disk.values()) <= quota
        assert all(on_disk[f"{n}"] == MIB for n in range(8) if done[n])
        assert all("space limit" in reason for reason in reasons), reasons
        # whatever the fight left, room is room: fill it to the last byte, and not one more
        for name in on_disk:
            await clients[0].remove(f"/{name}")
        assert await upload(clients[0], "/a")
        assert await upload(clients[1], "/b")
        assert await upload(clients[0], "/c")
        assert not await upload(clients[1], "/d")
        with pytest.raises(asyncssh.SFTPError):
            async with clients[1].open("/a", "ab") as file:
                await file.write(b"x")
        names = set(os.listdir(person.home))
        assert {"a", "b", "c"} <= names
        if "d" in names:
            await clients[0].remove("/d")
        await clients[0].remove("/a")
        assert await upload(clients[1], "/e")

    def settled() -> bool:
        account = server.stored(person.name)
        return (account.used_quota_size, account.used_quota_files) == (3 * MIB, 3)

    wait_for(settled, "usage was not written")
    assert server.lines("refused", username=person.name, rule="quota_size")


async def test_a_quota_of_files_is_exact(server):
    person = server.account(quota_files=5)
    async with person.connect() as one, person.connect() as two:
        clients = [await one.start_sftp_client(), await two.start_sftp_client()]

        async def create(number: int) -> bool:
            try:
                async with clients[number % 2].open(f"/{number}", "wb"):
                    pass
            except asyncssh.SFTPError:
                return False
            return True

        done = await asyncio.gather(*(create(number) for number in range(20)))
        assert done.count(True) == 5 == len(os.listdir(person.home))
        await clients[0].remove(f"/{done.index(True)}")
        assert await create(100)
        assert not await create(101)
