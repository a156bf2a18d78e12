# SPDX-License-Identifier: Apache-2.0
"""The same question to the product as a process of its own: lines that drop, kill -9, a recount beside traffic."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.support import sftp_packets as p
from tests.support.raw_sftp import RawSftp, raw_channel
from tests.support.running import Person, Running, in_thread, running, wait_for

from tidegate.cli.provider import opened
from tidegate.testing.simulation.oracle import Used, measure

BIG = 160 << 20
"""Bytes of a file whose removal goes to a thread."""
SETTLE_SECONDS = 60

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]


def stored(server: Running, name: str) -> tuple[Used, bool]:
    """The numbers in the database, and the mark."""
    found: list[tuple[Used, bool]] = []

    async def get() -> None:
        async with opened(server.directory, "tidegate", quiet=True) as desk:
            account = await desk.provider.user(name)
            assert account is not None
            used = Used(account.used_quota_size, account.used_quota_files)
            found.append((used, name in await desk.provider.dirty_usage()))

    in_thread(get)
    return found[0]


def exact_at_last(person: Person) -> None:
    """The mark goes, and then the numbers are those of the disk."""
    wait_for(lambda: not stored(person.server, person.name)[1], "the mark stays", SETTLE_SECONDS)
    assert stored(person.server, person.name)[0] == measure(str(person.home))


async def filled(person: Person, names: list[str]) -> None:
    """Files of 160 MB that take no room."""
    async with person.connect() as client:
        raw = await raw_channel(client)
        for name in names:
            handle = (await raw.ask(p.open_, f"/{name}", "w")).handle
            assert (await raw.ask(p.fsetstat, handle, p.attrs(size=BIG))).code == 0
            assert (await raw.ask(p.close, handle)).code == 0


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_line_that_drops_after_remove_or_rename_leaves_no_difference(tmp_path: Path, mode: int) -> None:
    draw = random.Random(mode)
    names = [f"big{number}" for number in range(16)]

    async def drop(person: Person, send: bytes) -> None:
        client = await person.connect()
        raw = await raw_channel(client)
        raw.send(send)
        await asyncio.sleep(draw.uniform(0.001, 0.004))
        client.abort()
        await client.wait_closed()

    async def program(person: Person) -> None:
        for _ in range(3):
            await filled(person, names)
            for number, name in enumerate(names):
                over = p.extended(
                    1, "posix-rename@openssh.com", p.s(f"/{name}") + p.s(f"/{names[number - 1]}")
                )
                await drop(person, over if number % 3 == 2 else p.remove(1, f"/{name}"))

    with running(tmp_path / "server", settings={"common": {"upload_mode": mode}}) as server:
        person = server.account(quota_size=1 << 40, quota_files=1000)
        asyncio.run(program(person))
        exact_at_last(person)
        server.check_log()


async def removals(person: Person, directories: int, each: int, seconds: float) -> int:
    """Remove files one after the other for a while; how many."""
    draw = random.Random(5)
    left = [f"/d{d}/f{number}" for d in range(directories) for number in range(each)]
    draw.shuffle(left)
    async with person.connect() as client:
        raw = await raw_channel(client)
        loop = asyncio.get_running_loop()
        end, gone = loop.time() + seconds, 0
        while left and loop.time() < end:
            burst = [left.pop() for _ in range(min(32, len(left)))]
            for number, path in enumerate(burst):
                raw.send(p.remove(number, path))
            for _ in burst:
                assert (await raw.receive()).code == 0
                gone += 1
    return gone


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_removals_beside_the_count_after_a_crash_leave_no_difference(tmp_path: Path, mode: int) -> None:
    directories, each = 60, 500

    async def open_upload(person: Person) -> None:
        client = await person.connect()
        raw: RawSftp = await raw_channel(client)
        handle = (await raw.ask(p.open_, "/upload", "w")).handle
        assert (await raw.ask(p.write, handle, 0, b"x" * 30_000)).code == 0
        person.server.kill()
        client.abort()

    with running(tmp_path / "server", settings={"common": {"upload_mode": mode}}) as server:
        person = server.account(quota_size=1 << 40, quota_files=1_000_000)
        for number in range(directories * each):
            file = person.home / f"d{number // each}" / f"f{number % each}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"z" * (number % 7))
        asyncio.run(open_upload(person))
        assert stored(server, person.name)[1]

        server.start()
        assert asyncio.run(removals(person, directories, each, 6.0)) > 100

        exact_at_last(person)
        server.check_log()
