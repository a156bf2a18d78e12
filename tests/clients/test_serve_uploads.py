# SPDX-License-Identifier: Apache-2.0
"""The three upload modes over the wire: broken connections, resuming, kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.programs import digest, lftp, random_file, rclone, sftp
from tests.support.running import Person, Running, leftovers, running, wait_for

from tidegate.backends.local.names import part_name

MIB = 1 << 20
OLD = b"the old file " * 1000


@pytest.fixture(scope="module")
def mode_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    started: dict[int, Running] = {}
    with contextlib.ExitStack() as stack:

        def get(mode: int) -> Running:
            if mode not in started:
                directory = tmp_path_factory.mktemp(f"mode{mode}") / "config"
                started[mode] = stack.enter_context(
                    running(directory, fast_lane=mode != 1, settings={"common": {"upload_mode": mode}})
                )
            return started[mode]

        yield get


@pytest.fixture(params=[0, 1, 2], ids=["mode0", "mode1", "mode2"])
def mode(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def member(mode: int, mode_servers: Any) -> Person:
    """An account with a limit, so that its usage is counted."""
    return mode_servers(mode).account(quota_size=1 << 40, quota_files=1_000_000)


@contextlib.asynccontextmanager
async def broken(person: Person, path: str, data: bytes) -> AsyncIterator[None]:
    """Within: an upload whose first `data` the server has acknowledged. After: the connection was cut."""
    client = await person.connect()
    sftp_client = await client.start_sftp_client()
    file = await sftp_client.open(path, "wb")
    await file.write(data)
    yield
    client.abort()
    with contextlib.suppress(asyncssh.Error, OSError):
        await client.wait_closed()
    await asyncio.to_thread(
        person.server.wait_line, "Upload", username=person.name, virtual_path=path, status="failed"
    )


def usage(person: Person) -> tuple[int, int]:
    account = person.server.stored(person.name)
    return account.used_quota_size, account.used_quota_files


def on_disk(directory: Path) -> tuple[int, int]:
    """Bytes and files of a flat directory, unfinished ones included unless a finished file hides them."""
    sizes = {os.fsencode(path.name): path.stat().st_size for path in directory.iterdir()}
    for name in list(sizes):
        sizes.pop(part_name(name), None)
    return sum(sizes.values()), len(sizes)


def wait_usage(person: Person, expected: tuple[int, int]) -> None:
    wait_for(lambda: usage(person) == expected, f"usage {usage(person)}, not {expected}", 15)


async def listing(person: Person) -> list[str]:
    async with person.connect() as client, client.start_sftp_client() as files:
        return sorted(set(await files.listdir("/")) - {".", ".."})


async def test_a_broken_upload_of_a_new_file(member: Person, mode: int):
    data = os.urandom(MIB)
    async with broken(member, "/f", data):
        if mode:
            assert await listing(member) == []  # nobody sees what is not complete
    if mode == 0:
        assert (member.home / "f").read_bytes() == data
        assert await listing(member) == ["f"]
    else:
        assert await listing(member) == []
        assert not (member.home / "f").exists()
        assert len(member.leftovers()) == (mode == 2)
    await asyncio.to_thread(wait_usage, member, on_disk(member.home))
    async with member.connect() as client, client.start_sftp_client() as files:
        if mode == 1:
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await files.stat("/f")
        else:  # this is how clients learn where to go on
            assert (await files.stat("/f")).size == len(data)
        if mode != 1:
            await files.remove("/f")
    assert os.listdir(member.home) == []
    await asyncio.to_thread(wait_usage, member, (0, 0))


async def test_the_old_file_survives_a_broken_replacement(member: Person, mode: int):
    (member.home / "f").write_bytes(OLD)
    async with broken(member, "/f", b"new"):
        if mode:
            assert (member.home / "f").read_bytes() == OLD
    if mode:
        assert (member.home / "f").read_bytes() == OLD
        async with member.connect() as client, client.start_sftp_client() as files:
            async with files.open("/f", "rb") as file:
                assert await file.read() == OLD
            assert await listing(member) == ["f"]
            async with files.open("/f", "wb") as file:
                await file.write(b"newer")
    else:
        assert (member.home / "f").read_bytes() == b"new"
        (member.home / "f").write_bytes(b"newer")
    assert (member.home / "f").read_bytes() == b"newer"
    assert member.leftovers() == []


@pytest.mark.needs("sftp", "lftp", "rclone", "ssh")
async def test_clients_resume_what_broke_off(member: Person, mode: int, tmp_path: Path):
    expected = random_file(tmp_path / "f", 3 * MIB + 7)
    data = (tmp_path / "f").read_bytes()
    for name in ("reput", "lftp", "rclone"):
        async with broken(member, f"/{name}", data[:MIB]):
            pass
    if mode == 1:  # nothing is there to go on from
        sftp(member, "reput f reput", cwd=tmp_path).failed("No such file")
        sftp(member, "put f reput", cwd=tmp_path).ok()
    else:
        sftp(member, "reput f reput", cwd=tmp_path).ok()
    lftp(member, "put -c f -o lftp", home=tmp_path).ok()
    rclone(member, "copyto", tmp_path / "f", ":/rclone").ok()
    for name in ("reput", "lftp", "rclone"):
        assert digest(member.home / name) == expected, name
    assert member.leftovers() == []
    await asyncio.to_thread(wait_usage, member, (3 * (3 * MIB + 7), 3))
    moved = [line["size_bytes"] for line in member.server.lines("Upload", username=member.name, status="ok")]
    if mode != 1:
        assert min(moved) == 2 * MIB + 7  # it did go on, and did not start again


async def test_a_quota_that_is_reached_leaves_nothing_new(member: Person, mode: int):
    person = member.server.account(quota_size=MIB)
    (person.home / "old").write_bytes(OLD)
    async with person.connect() as client, client.start_sftp_client() as files:
        for name in ("/new", "/old"):
            with pytest.raises(asyncssh.SFTPFailure, match="space limit"):
                async with files.open(name, "wb") as file:
                    for _ in range(20):
                        await file.write(bytes(100_000))
        assert "new" not in await files.listdir("/")
    assert person.leftovers() == []
    if mode:
        assert (person.home / "old").read_bytes() == OLD


# -- kill -9 -----------------------------------------------------------------------------------------------


async def test_kill_9_in_the_middle_of_uploads(mode: int, tmp_path: Path):
    """Whatever CLOSE (or rename, or remove) was answered for is there afterwards, and nothing else is."""
    settings = {"common": {"upload_mode": mode}}
    server = Running(tmp_path / "config", fast_lane=mode != 1, settings=settings)
    try:
        server.start()
        person = server.account(quota_size=1 << 40, quota_files=1_000_000)
        for name in ("overwritten", "removed"):
            (person.home / name).write_bytes(OLD)
        done: dict[str, str] = {}
        begun: set[str] = set()
        open_now = asyncio.Event()

        async def storm(number: int) -> None:
            async with person.connect() as client, client.start_sftp_client() as files:
                for count in range(10_000):
                    name = f"{number}-{count}"
                    data = hashlib.shake_128(name.encode()).digest(1 + count * 37_117 % 300_000)
                    begun.add(name)
                    async with files.open(f"/{name}.up", "wb") as file:
                        await file.write(data)
                    begun.add(f"{name}.up")
                    await files.posix_rename(f"/{name}.up", f"/{name}")
                    done[name] = hashlib.sha256(data).hexdigest()

        async def never_ends(path: str) -> None:
            async with person.connect() as client, client.start_sftp_client() as files:
                if path == "/overwritten":
                    await files.remove("/removed")
                async with files.open(path, "wb") as file:
                    await file.write(b"n" * MIB)
                    open_now.set()
                    while True:
                        await file.write(b"n" * 32_768)
                        await asyncio.sleep(0.02)

        tasks = [
            asyncio.create_task(work)
            for work in (storm(0), storm(1), never_ends("/overwritten"), never_ends("/fresh"))
        ]
        await asyncio.wait_for(open_now.wait(), 20)
        deadline = asyncio.get_running_loop().time() + 20
        while len(done) < 20 and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(server.kill)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, (asyncssh.Error, OSError)) for outcome in outcomes), outcomes
        assert len(done) >= 20

        server.start()
        for name, expected in done.items():
            assert digest(person.home / name) == expected, f"{name} was acknowledged"
        assert not (person.home / "removed").exists()
        seen = set(await listing(person))
        assert set(done) <= seen
        in_flight = {"overwritten", "fresh"} | begun | {f"{name}.up" for name in begun}
        assert seen <= set(done) | in_flight
        if mode == 0:
            assert set((person.home / "overwritten").read_bytes()) <= set(b"n")
        else:
            assert (person.home / "overwritten").read_bytes() == OLD
            assert "fresh" not in seen
            for name in seen - set(done) - {"overwritten"}:  # complete, though not acknowledged
                count = int(name.removesuffix(".up").partition("-")[2])
                data = hashlib.shake_128(name.removesuffix(".up").encode()).digest(
                    1 + count * 37_117 % 300_000
                )
                assert (person.home / name).read_bytes() == data
        kept = leftovers(person.home)
        if mode < 2:
            assert kept == []
            assert os.listdir(server.directory / "uploads.journal") == []
        else:  # partials that can be resumed: that of "fresh", and of what was in flight
            assert 1 <= len(kept) <= 4
        await asyncio.to_thread(wait_usage, person, on_disk(person.home))

        if mode == 2:  # and it can go on where the crash stopped it
            async with person.connect() as client, client.start_sftp_client() as files:
                size = (await files.stat("/fresh")).size
                assert size is not None
                assert size >= MIB
                async with files.open("/fresh", "r+b") as file:
                    await file.write(b"tail", size)
            assert (person.home / "fresh").read_bytes() == b"n" * size + b"tail"
            async with person.connect() as client, client.start_sftp_client() as files:
                async with files.open("/overwritten", "wb") as file:
                    await file.write(b"new")
                for path in leftovers(person.home):
                    assert path.name not in await files.listdir("/")
            # That of "fresh" is finished; that of "overwritten" goes with the count after the crash, which may
            # have come before `kept` was looked at.
            assert len(leftovers(person.home)) in (len(kept) - 2, len(kept) - 1)
            await asyncio.to_thread(wait_usage, person, on_disk(person.home))
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()


async def test_kill_9_and_again(tmp_path: Path):
    """Crashes in a row, each in the middle of an upload: usage is right after each start."""
    server = Running(tmp_path / "config", settings={"common": {"upload_mode": 2}})
    try:
        server.start()
        person = server.account(quota_size=1 << 40)
        for turn in range(2):
            async with person.connect() as client, client.start_sftp_client() as files:
                async with files.open(f"/whole{turn}", "wb") as file:
                    await file.write(bytes(100_000 + turn))
                file = await files.open("/part", "ab" if turn else "wb")
                await file.write(b"x" * 70_000)
                await asyncio.to_thread(server.kill)
            server.start()
            assert await listing(person) == [f"whole{n}" for n in range(turn + 1)]
            async with person.connect() as client, client.start_sftp_client() as files:
                assert (await files.stat("/part")).size == 70_000 * (turn + 1)
            await asyncio.to_thread(wait_usage, person, on_disk(person.home))
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()
