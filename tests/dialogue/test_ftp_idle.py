# SPDX-License-Identifier: Apache-2.0
"""Idle FTP connections: no task of their own, few bytes, one timer for all, ended when they are idle too long."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.ssh_world import Logins, Person, Recorder
from tests.support.vfs_world import vfs_world

from tidegate.cluster.registry import Activity, Registry
from tidegate.doors.common.idle import IdleSweep
from tidegate.doors.ftp.door import FtpDoor
from tidegate.doors.ftp.options import FtpBinding, FtpOptions
from tidegate.events.bus import Bus
from tidegate.events.kinds import Disconnected
from tidegate.identity.api import PartialLogin
from tidegate.model import Peer, Principal
from tidegate.resources import Ledger

SECONDS = 10.0
MANY = 100
MAX_BYTES = 9_000
"""Of Python's objects, for each idle connection that is logged in; 7,000 were measured, 16,700 with a task each."""


class Names(Logins):
    """Lets everybody in as the account of the world."""

    account = None

    async def authenticate(self, peer: Peer, *_: object, **__: object) -> Principal | PartialLogin:
        assert self.account is not None
        return Principal(self.account, "password", peer.remote_ip)


@contextlib.asynccontextmanager
async def served(tmp_path: Path, *, idle_seconds: float = 0.0) -> AsyncIterator[tuple[FtpDoor, Recorder]]:
    async with vfs_world(tmp_path) as world:
        world.account("ada")
        names = Names({"ada": Person("secret")})
        names.account = world.store.accounts["ada"]  # type: ignore[assignment]
        recorder = Recorder()
        bus = Bus([recorder])
        await bus.open()
        options = FtpOptions(
            bindings=(FtpBinding(address="127.0.0.1"),), passive_ports=(0, 0), idle_seconds=idle_seconds
        )
        door = FtpDoor(options, names, world.vfs, events=bus, registry=Registry(), ledger=Ledger())
        await door.start()
        try:
            yield door, recorder
        finally:
            await door.stop()
            await bus.close()
        assert door.status().connections == 0


async def logged_in(door: FtpDoor) -> socket.socket:
    """A connection by a plain socket, which has few bytes of its own."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", door.ports[0]))
    for line, reply in ((b"", b"220"), (b"USER ada\r\n", b"331"), (b"PASS secret\r\n", b"230")):
        await loop.sock_sendall(sock, line)
        async with asyncio.timeout(SECONDS):
            assert (await loop.sock_recv(sock, 4096)).startswith(reply)
    return sock


async def settled(tasks: int) -> None:
    async with asyncio.timeout(SECONDS):
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0)


async def test_an_idle_connection_has_no_task_and_few_bytes(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, _):
        socks = [await logged_in(door) for _ in range(20)]
        try:
            tasks = len(asyncio.all_tasks())
            gc.collect()
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                socks += [await logged_in(door) for _ in range(MANY)]
                await settled(tasks)
                gc.collect()
                each = (tracemalloc.get_traced_memory()[0] - before) / MANY
            finally:
                tracemalloc.stop()
            assert each < MAX_BYTES
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(socks[0], b"NOOP\r\nPWD\r\n")  # it is answered all the same
            got = b""
            async with asyncio.timeout(SECONDS):
                while got.count(b"\r\n") < 2:
                    got += await loop.sock_recv(socks[0], 4096)
            assert [line[:3] for line in got.splitlines()] == [b"200", b"257"]
            await settled(tasks)
        finally:
            for sock in socks:
                sock.close()


async def test_who_does_nothing_for_too_long_is_sent_away(tmp_path: Path) -> None:
    async with served(tmp_path, idle_seconds=0.3) as (door, recorder):
        loop = asyncio.get_running_loop()
        with await logged_in(door) as sock:
            async with asyncio.timeout(SECONDS):
                assert (await loop.sock_recv(sock, 4096)).startswith(b"421")
                assert await loop.sock_recv(sock, 4096) == b""
        assert (await recorder.wait(Disconnected)).by == "idle_timeout"


async def test_a_stop_ends_the_idle(tmp_path: Path) -> None:
    async with served(tmp_path) as (door, recorder):
        loop = asyncio.get_running_loop()
        with await logged_in(door) as sock:
            await door.stop()
            assert (await loop.sock_recv(sock, 4096)).startswith(b"421")
        assert (await recorder.wait(Disconnected)).by == "shutdown"
        assert door.status().connections == 0


class One:
    """A connection of a door."""

    def __init__(self, seconds: float, silent: float, *, busy: bool = False) -> None:
        self.idle_seconds, self.busy = seconds, busy
        self.activity = Activity()
        self.activity.at -= silent
        self.ended = 0

    def idle_too_long(self) -> None:
        self.ended += 1


async def test_one_timer_for_all_of_a_door() -> None:
    idle, active, busy, never = One(10, 20), One(10, 4), One(10, 20, busy=True), One(0, 99)
    sweep = IdleSweep(lambda: [idle, active, busy, never])
    sweep.added(never)
    assert sweep._timer is None
    sweep.added(One(10, 0))
    first = sweep._timer
    sweep.added(One(20, 0))
    assert sweep._timer is first  # it is looked at before that anyway
    sweep.added(One(5, 0))
    assert first is not None
    assert first.cancelled()
    sweep._look()
    assert [one.ended for one in (idle, active, busy, never)] == [1, 0, 0, 0]
    assert busy.activity.silent_seconds < 5
    left = sweep._timer.when() - asyncio.get_running_loop().time()  # type: ignore[union-attr]
    assert left == pytest.approx(6, abs=1)  # the next one that may be idle too long
    sweep.cancel()
    assert sweep._timer is None
