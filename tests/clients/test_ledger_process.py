# SPDX-License-Identifier: Apache-2.0
"""The product with few file descriptors: many accounts in turn, one greedy account, half-open connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from pathlib import Path

import asyncssh
import pytest
from tests.support.running import COMMAND, Person, Running, running

from tidegate.resources.arrivals import GRACE_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ulimit -n of a process of its own")

DESCRIPTORS = 256


async def look(person: Person) -> list[str]:
    async with asyncio.timeout(15), person.connect() as client, client.start_sftp_client() as files:
        return await files.listdir("/")


@pytest.mark.parametrize(
    ("descriptors", "accounts"), [(128, 120), pytest.param(DESCRIPTORS, 400, marks=pytest.mark.soak)]
)
async def test_many_accounts_get_in_one_after_the_other(tmp_path: Path, descriptors: int, accounts: int):
    with running(tmp_path / "config", descriptors=descriptors) as server:
        people = await asyncio.to_thread(server.accounts, [{"username": f"u{n}"} for n in range(accounts)])
        for number in range(0, len(people), 4):
            await asyncio.gather(*(look(person) for person in people[number : number + 4]))
        assert not server.lines(message="limit reached: limits.reserved_descriptors")


def test_the_soft_limit_is_raised_to_the_hard_one(tmp_path: Path):
    """A service manager's soft limit is 1,024, however many the server may have."""
    limited = ["sh", "-c", 'ulimit -S -n 200; ulimit -H -n 700; exec "$@"', "sh", *COMMAND]
    with running(tmp_path / "config", command=limited) as server:
        assert server.process is not None
        limits = Path(f"/proc/{server.process.pid}/limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        assert line.split()[3:5] == ["700", "700"]


async def test_a_greedy_account_leaves_room_for_others(tmp_path: Path):
    with running(tmp_path / "config", descriptors=DESCRIPTORS) as server:
        greedy, honest = await asyncio.to_thread(
            server.accounts, [{"username": "greedy"}, {"username": "honest"}]
        )
        async with contextlib.AsyncExitStack() as stack:
            opened = refused = 0
            reasons: set[str] = set()
            for _ in range(5):
                client = await stack.enter_async_context(greedy.connect())
                for _ in range(2):
                    files = await stack.enter_async_context(client.start_sftp_client())
                    for _ in range(30):
                        try:
                            await files.open(f"/{opened}", "wb")
                            opened += 1
                        except asyncssh.SFTPError as error:
                            reasons.add(error.reason)
                            refused += 1
            assert opened == 36  # of 256 descriptors; see `Limits.derive`
            assert (refused, reasons) == (
                300 - opened,
                {"too many open handles (handles_per_account)"},
            )
            for _ in range(3):
                assert "." in await look(honest)
            (line,) = [line for line in server.lines() if line.get("message", "").startswith("limit reached")]
            assert line["message"] == (
                "limit reached: limits.handles_per_account (greedy): 36 open handles, 36 are allowed"
            )
            assert line["level"] == "warn"


async def test_connections_leave_the_reserve_alone(tmp_path: Path):
    with running(tmp_path / "config", descriptors=DESCRIPTORS) as server:
        person = await asyncio.to_thread(server.account)
        async with person.connect() as client, client.start_sftp_client() as files:
            with contextlib.ExitStack() as stack:
                for _ in range(400):
                    stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 5))
                await asyncio.to_thread(server.wait_line, "tidegate.resources", level="warn")
                # who is in goes on, also with what needs descriptors
                async with files.open("/new", "wb") as file:
                    await file.write(b"x" * 100_000)
                assert await files.getsize("/new") == 100_000
        assert await _until_served(person)


async def _until_served(person: Person) -> bool:
    """The server serves again once the silent connections are gone."""
    async with asyncio.timeout(15):
        while True:
            with contextlib.suppress(OSError, asyncssh.Error):
                await look(person)
                return True


def half_open(server: Running, stack: contextlib.ExitStack, number: int) -> None:
    for n in range(number):
        sock = stack.enter_context(socket.socket())
        sock.bind((f"127.0.1.{1 + n % 40}", 0))
        sock.connect(("127.0.0.1", server.port))


async def test_more_half_open_connections_than_start_freely_keep_nobody_out(tmp_path: Path):
    with running(tmp_path / "config") as server, contextlib.ExitStack() as stack:
        person = await asyncio.to_thread(server.account)
        await asyncio.to_thread(half_open, server, stack, 520)
        # Time is the event: connections this young make no room for others yet.
        await asyncio.sleep(GRACE_SECONDS)
        for _ in range(3):
            await look(person)
