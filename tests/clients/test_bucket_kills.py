# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` in the middle of an upload to a bucket, and of a rename of a directory there."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.running import Person, Running, wait_for

from tidegate.model import StorageConfig

MIB = 1 << 20


class World:
    """One person whose home is a bucket behind a proxy."""

    def __init__(self, directory: Path, store: ObjectServer, proxy: FaultProxy, upload_mode: int) -> None:
        self.store = store
        self.proxy = proxy
        self.bucket = store.bucket()
        self.server = Running(directory, settings={"common": {"upload_mode": upload_mode}})
        options = store.options(self.bucket, key_prefix="home/", endpoint=proxy.endpoint)
        self.storage = StorageConfig("s3", {"s3config": options})
        self.person: Person | None = None

    def start(self) -> Person:
        self.server.start()
        if self.person is None:
            self.person = self.server.account(filesystem=self.storage, home_dir="", quota_size=1 << 40)
        return self.person

    def contents(self) -> dict[str, int]:
        """Sizes of the objects."""
        client = self.store.admin
        found = client.list_objects_v2(Bucket=self.bucket, Prefix="home/").get("Contents", ())
        return {entry["Key"].removeprefix("home/"): entry["Size"] for entry in found}

    def uploads(self) -> list[dict[str, Any]]:
        client = self.store.admin
        found: list[dict[str, Any]] = client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return found

    def wait_usage(self, size: int, files: int) -> None:
        assert self.person is not None
        name, seen = self.person.name, [(0, 0)]

        def settled() -> bool:
            account = self.server.stored(name)
            seen[0] = (account.used_quota_size, account.used_quota_files)
            return seen[0] == (size, files)

        wait_for(settled, f"usage is {seen}, not {(size, files)}")


@pytest.fixture(params=[0, 2], ids=["mode0", "mode2"])
def world(request: pytest.FixtureRequest, tmp_path: Path, seaweedfs_server: ObjectServer) -> Iterator[World]:
    with fault_proxy(seaweedfs_server.endpoint) as proxy:
        made = World(tmp_path / "config", seaweedfs_server, proxy, request.param)
        try:
            yield made
        finally:
            made.server.kill()


def mode_of(world: World) -> int:
    mode: int = world.server.sections["common"]["upload_mode"]
    return mode


async def test_kill_9_while_uploading(world: World) -> None:
    person = await asyncio.to_thread(world.start)
    data = os.urandom(13 * MIB)
    with contextlib.suppress(Exception):
        async with person.connect() as client, client.start_sftp_client() as files:
            async with files.open("whole", "wb") as file:
                await file.write(b"w" * 100_000)
            file = await files.open("part", "wb")
            await file.write(data)
            await asyncio.to_thread(
                wait_for, lambda: world.proxy.operations().count("UploadPart") >= 2, "no part was sent"
            )
            await asyncio.to_thread(world.server.kill)
    assert len(world.uploads()) == 1
    await asyncio.to_thread(world.start)
    async with person.connect() as client, client.start_sftp_client() as files:
        names = set(await files.listdir()) - {".", ".."}
        assert names == {"whole"}
        if mode_of(world) == 0:
            assert world.uploads() == []
            await asyncio.to_thread(world.wait_usage, 100_000, 1)
        else:
            size = (await files.stat("part")).size
            assert size in {5 * MIB, 10 * MIB}
            await asyncio.to_thread(world.wait_usage, 100_000 + size, 2)
            async with files.open("part", "ab") as file:
                await file.write(data[size:])
            async with files.open("part", "rb") as file:
                assert await file.read() == data
            assert world.contents() == {"part": 13 * MIB, "whole": 100_000}
            await asyncio.to_thread(world.wait_usage, 100_000 + 13 * MIB, 2)
    await asyncio.to_thread(world.server.stop)


@pytest.mark.parametrize("world", [0], indirect=True)
@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObjects"])
async def test_kill_9_while_renaming_a_directory(world: World, operation: str) -> None:
    person = await asyncio.to_thread(world.start)
    wanted = {f"new/sub{number % 3}/f{number}": 1000 + number for number in range(60)}
    async with person.connect() as client, client.start_sftp_client() as files:
        await files.mkdir("old")
        for number in range(3):
            await files.mkdir(f"old/sub{number}")

        async def put(name: str, size: int) -> None:
            async with files.open(name.replace("new", "old"), "wb") as file:
                await file.write(b"x" * size)

        await asyncio.gather(*(put(name, size) for name, size in wanted.items()))
        world.proxy.asked.clear()
        world.proxy.latency = 0.1
        renaming = asyncio.create_task(files.posix_rename("old", "new"))
        least = 35 if operation == "CopyObject" else 1
        await asyncio.to_thread(
            wait_for, lambda: world.proxy.operations().count(operation) >= least, f"no {operation}"
        )
        await asyncio.to_thread(world.server.kill)
        with contextlib.suppress(Exception):
            await renaming
    world.proxy.latency = 0.0
    complete = {name for name in wanted if name in world.contents()}
    whole = {name for name in wanted if name.replace("new", "old", 1) in world.contents()}
    assert len(complete) == 60 or len(whole) == 60
    await asyncio.to_thread(world.start)
    async with person.connect() as client, client.start_sftp_client() as files:
        assert set(await files.listdir()) - {".", ".."} == {"new"}, sorted(world.contents())
    found = {name: size for name, size in world.contents().items() if not name.endswith("/")}
    assert found == wanted
    await asyncio.to_thread(world.wait_usage, sum(wanted.values()), 60)
    await asyncio.to_thread(world.server.stop)
