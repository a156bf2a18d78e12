# SPDX-License-Identifier: Apache-2.0
"""Five thousand connections that never log in, beside a user, in front of the whole program."""

from __future__ import annotations

import asyncio
import resource
import socket
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import asyncssh
import pytest
from tests.support.running import Person, Running, running

CONNECTIONS = 5000
ADDRESSES = 100
"""Of 127.0.1.0/24 and the next, as many sources."""
AT_ONCE = 500
"""Connections opened between two looks at the user."""
STAT_SECONDS = 1.0
LOGIN_SECONDS = 2.0
GROWTH_BYTES = 16 * 1024 * 1024
"""Memory that a second wave may take beyond the first: what the first took is used again."""
AUDIT = ("connected", "connection_failed", "disconnected")
"""Each connection has one line of each sender, for tools such as fail2ban, and no other."""
LOG_LINES = 60
"""All other lines of a server that is asked for debug lines: of its start, limits that are reached, the users."""

WIDE = {"max_startups": "6000:30:8000", "max_startups_per_source": 0}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs addresses of 127.0.0.0/8")


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Enough for both ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 2000
    if hard < wanted:
        pytest.fail(f"ulimit -n of {hard} is not enough for {wanted} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Stater:
    """A user with a session, who asks for a STAT again and again."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self.waits: list[float] = []
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        async with self._person.connect() as client, client.start_sftp_client() as files:
            self._ready.set()
            while True:
                began = clock()
                await files.stat("/")
                self.waits.append(clock() - began)
                await asyncio.sleep(0.02)

    async def __aenter__(self) -> Stater:
        self._task = asyncio.create_task(self._run())
        await self._ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        assert not self._task.done(), "the user's session ended"
        self._task.cancel()
        await asyncio.wait([self._task])


def knock(server: Running, stack: ExitStack, first: int, count: int) -> None:
    """Open connections, each from one of many addresses, and say nothing."""
    for number in range(first, first + count):
        sock = stack.enter_context(socket.socket())
        sock.bind((f"127.0.{1 + number % ADDRESSES // 50}.{1 + number % 50}", 0))
        sock.settimeout(10)
        sock.connect(("127.0.0.1", server.port))


async def wave(server: Running, stack: ExitStack, newcomer: Person) -> list[float]:
    """Open them all; seconds until a newcomer from another address is in, after each part."""
    clock = asyncio.get_running_loop().time
    logins = []
    for first in range(0, CONNECTIONS, AT_ONCE):
        await asyncio.to_thread(knock, server, stack, first, AT_ONCE)
        began = clock()
        async with asyncio.timeout(20):
            while not await gets_in(newcomer):
                # By default 30 % are refused at random while nobody has been silent for a second.
                await asyncio.sleep(0.1)
        logins.append(clock() - began)
    return logins


async def gets_in(newcomer: Person) -> bool:
    try:
        async with (
            newcomer.connect(local_addr=("127.0.9.9", 0)) as client,
            client.start_sftp_client() as files,
        ):
            assert "." in await files.listdir("/")
    except (OSError, asyncssh.DisconnectError):
        return False
    return True


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sftpd", [{}, WIDE], ids=["defaults", "all of them held"])
async def test_five_thousand_half_open_connections(
    tmp_path: Path, descriptors: None, sftpd: dict[str, object]
):
    options = {"common": {"max_total_connections": 0}, "sftpd": sftpd}
    with running(tmp_path / "config", settings=options, descriptors=CONNECTIONS + 3000) as server:
        user, newcomer = await asyncio.to_thread(
            server.accounts, [{"username": "inside"}, {"username": "newcomer"}]
        )
        async with Stater(user) as inside:
            before, base = server.resident(), server.descriptors()
            after: list[int] = []
            for _ in range(2):
                with ExitStack() as stack:
                    inside.waits.clear()
                    logins = await wave(server, stack, newcomer)
                    after.append(server.resident())
                    held = server.descriptors() - base
                async with asyncio.timeout(30):
                    while server.descriptors() > base + 5:
                        await asyncio.sleep(0.05)
                waits = inside.waits
                print(
                    f"held {held}, STAT median {statistics.median(waits):.4f} s, at most {max(waits):.3f} s, "
                    f"login at most {max(logins):.3f} s, resident {before >> 20} to {after[-1] >> 20} MiB, "
                    f"{server.resident() >> 20} MiB when they are gone"
                )
                assert max(waits) < STAT_SECONDS
                assert max(logins) < LOGIN_SECONDS
                assert held > (CONNECTIONS * 0.98 if sftpd else 400)
        lines = server.lines()
        others = [line for line in lines if line["sender"] not in AUDIT]
        print(f"{len(lines)} lines, {len(others)} of them no record of a connection")
        assert after[1] < after[0] + GROWTH_BYTES
        assert len(lines) - len(others) <= len(AUDIT) * (2 * (CONNECTIONS + len(logins)) + 1)
        assert len(others) < LOG_LINES
