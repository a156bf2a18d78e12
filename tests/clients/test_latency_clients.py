# SPDX-License-Identifier: Apache-2.0
"""Real clients over storage that takes 5 ms for each call and answers nothing at once."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import paramiko
import pytest
from tests.support.ssh_world import SSH, Person, askpass, run_program, ssh_world
from tests.support.vfs_world import World

from tidegate.abc import Backend
from tidegate.backends.memory import MemoryBackend
from tidegate.doors.sftp.schedule import PARALLEL_REQUESTS
from tidegate.model import Peer, Principal, StorageSpec
from tidegate.testing.flavours import Latency

T = TypeVar("T")

LATENCY_SECONDS = 0.005
FILES = {f"file {number}.bin": bytes([number]) * (number * 10_000) for number in range(9)}
BIG = bytes(range(256)) * 4000


class Counting(Latency):
    """Remembers how many calls were under way at the same time."""

    under_way = 0
    most = 0

    async def call(self, name: str, act: Callable[[], Awaitable[T]]) -> T:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await super().call(name, act)
        finally:
            self.under_way -= 1


class FarWorld(World):
    def __init__(self, base: Path) -> None:
        self.memory = MemoryBackend()
        self.storage: Any = Counting(self.memory, LATENCY_SECONDS)
        super().__init__(base)

    def build(self, spec: StorageSpec) -> Backend:
        return self.storage


@contextlib.asynccontextmanager
async def far_server(tmp_path: Path) -> AsyncIterator[Any]:
    far = FarWorld(tmp_path)
    far.account("ada", quota_size=10**9, quota_files=10**4)
    try:
        async with ssh_world(tmp_path, {"ada": Person("secret")}, sessions=far.vfs) as world:
            judge = world.logins.authenticate

            async def authenticate(peer: Peer, *rest: Any, **more: Any) -> Principal:
                found = await judge(peer, *rest, **more)
                return Principal(far.store.accounts["ada"], found.method, found.login_ip)

            world.logins.authenticate = authenticate
            world.far = far
            yield world
    finally:
        await far.close()


@pytest.mark.needs("sftp")
async def test_openssh_sftp(tmp_path):
    async with far_server(tmp_path) as world:
        up, down = tmp_path / "up", tmp_path / "down"
        (up / "sub").mkdir(parents=True)
        down.mkdir()
        for name, data in FILES.items():
            (up / "sub" / name).write_bytes(data)
        (up / "big").write_bytes(BIG)
        batch = tmp_path / "batch"
        batch.write_text(
            f"put -rp {up} /up\nrename /up/big /up/large\nget -rp /up {down}\nls -la /up/sub\nrm /up/large\n"
            "rm /up/sub/*\nrmdir /up/sub\nrmdir /up\n"
        )
        status, out, err = await run_program(
            "sftp", *SSH, "-o", "BatchMode=no", "-P", str(world.port), "-b", str(batch), "ada@127.0.0.1",
            env=askpass(tmp_path, "secret"),
        )  # fmt: skip
        assert status == 0, (out, err)
        assert {path.name: path.read_bytes() for path in (down / "up/sub").iterdir()} == FILES
        assert (down / "up/large").read_bytes() == BIG
        assert await world.far.used("ada") == (0, 0)
        assert world.far.memory._root.children == {}


async def test_paramiko(tmp_path):
    def work(port: int) -> None:
        with paramiko.Transport(("127.0.0.1", port)) as transport:
            transport.connect(username="ada", password="secret")
            with paramiko.SFTPClient.from_transport(transport) as client:
                client.mkdir("/d")
                for name, data in FILES.items():
                    client.putfo(io.BytesIO(data), f"/d/{name}")  # confirms the size by STAT
                with client.open("/d/big", "w") as file:
                    file.set_pipelined(True)
                    for at in range(0, len(BIG), 30_000):
                        file.write(BIG[at : at + 30_000])
                assert client.stat("/d/big").st_size == len(BIG)
                with client.open("/d/big") as file:
                    file.prefetch()
                    assert file.read() == BIG
                # Sends 50 READDIRs ahead.
                assert {entry.filename for entry in client.listdir_iter("/d")} == {*FILES, "big"}
                client.posix_rename("/d", "/e")
                for name, data in FILES.items():
                    into = io.BytesIO()
                    client.getfo(f"/e/{name}", into)
                    assert into.getvalue() == data
                    client.remove(f"/e/{name}")

    async with far_server(tmp_path) as world:
        await asyncio.wait_for(asyncio.to_thread(work, world.port), 60)
        assert await world.far.used("ada") == (len(BIG), 1)


async def test_asyncssh_with_many_requests_at_the_same_time(tmp_path):
    async with far_server(tmp_path) as world:
        async with (
            asyncssh.connect(
                "127.0.0.1", world.port, username="ada", password="secret", known_hosts=None, client_keys=[]
            ) as connection,
            connection.start_sftp_client() as client,
        ):
            await client.mkdir("/d")

            async def put(name: str, data: bytes) -> None:
                async with client.open(f"/d/{name}.part", "wb") as file:
                    await file.write(data)
                await client.rename(f"/d/{name}.part", f"/d/{name}")

            await asyncio.gather(*(put(name, data) for name, data in FILES.items()))
            world.far.storage.most = 0
            sizes = await asyncio.gather(*(client.stat(f"/d/{name}") for name in [*FILES] * 8))
            assert [found.size for found in sizes] == [len(data) for data in FILES.values()] * 8
            assert 8 < world.far.storage.most <= PARALLEL_REQUESTS
            assert {entry.filename for entry in await client.readdir("/d")} == {".", "..", *FILES}
        assert await world.far.used("ada") == (sum(map(len, FILES.values())), len(FILES))
