# SPDX-License-Identifier: Apache-2.0
"""Homes in containers of Azure Blob in the running product: OpenSSH and rclone, ``kill -9``, and names of others."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.azure_server import ACCOUNT, KEY, AzureServer
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.programs import digest, random_file, rclone, run, sftp, tree
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import StorageConfig

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    settings = {"common": {"setstat_mode": 2}}
    with running(tmp_path_factory.mktemp("azure") / "config", settings=settings) as made:
        made.secrets.add(KEY)
        yield made


def azure(server: AzureServer, container: str, **more: Any) -> StorageConfig:
    return StorageConfig("azblob", {"azblobconfig": server.options(container, **more)})


def contents(server: AzureServer, container: str) -> dict[str, bytes]:
    client = server.admin.get_container_client(container)
    return {name: client.download_blob(name).readall() for name in client.list_blob_names()}


@pytest.mark.needs("sftp")
def test_openssh_on_a_container(server: Running, azurite_server: AzureServer, tmp_path: Path) -> None:
    container = azurite_server.bucket()
    person = server.account(filesystem=azure(azurite_server, container, key_prefix="users/anna"))
    sent = random_file(tmp_path / "big", 12 * MIB + 5)
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "odd.").write_bytes(b"odd")
    os.utime(tmp_path / "small", (10**9, 10**9))
    sftp(
        person, "mkdir d", "put big d/big", "put -p small", "rename small d/little", "put odd. d/odd.", "ls -l d",
        "get d/big back", "get -p d/little kept", cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == sent
    assert (tmp_path / "kept").stat().st_mtime == 10**9
    found = contents(azurite_server, container)
    assert found.pop("users/anna/d/big") == (tmp_path / "big").read_bytes()
    expected = {"users/anna/d/": b"", "users/anna/d/little": b"small", "users/anna/d/odd\uff0e": b"odd"}
    assert found == expected
    blob = azurite_server.admin.get_blob_client(container, "users/anna/d/little")
    assert blob.get_blob_properties().metadata["mtime"] == "2001-09-09T01:46:40.000000000Z"
    sftp(
        person,
        "rename d e",
        "get e/big back",
        "rm e/big",
        "rm e/little",
        "rm e/odd.",
        "rmdir e",
        cwd=tmp_path,
    ).ok()
    assert digest(tmp_path / "back") == sent
    assert contents(azurite_server, container) == {}
    line = person.server.wait_line("Upload", username=person.name, virtual_path="/d/big")
    assert line["file_path"] == f"azblob://{ACCOUNT}/{container}/users/anna/d/big"


@pytest.mark.needs("rclone")
def test_rclone_through_the_gateway_and_past_it(
    server: Running, azurite_server: AzureServer, tmp_path: Path
) -> None:
    """Names and times are the same whichever way rclone puts and gets files."""
    container = azurite_server.bucket()
    person = server.account(filesystem=azure(azurite_server, container))
    names = ["plain", "sub/ü ö.txt", "sub/back\\slash", "sub/end.", "sub/end\uff0e"]
    for number, name in enumerate(names):
        path = tmp_path / "from" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, ns=((10**9 + number) * 10**9, (10**9 + number) * 10**9))
    config = tmp_path / "rclone.conf"
    config.write_text(f"[az]\ntype = azureblob\nsas_url = {azurite_server.sas_url(container)}\n")
    past = ["rclone", "--config", config, "copy"]
    run(*past, tmp_path / "from", f"az:{container}/past").ok()
    rclone(person, "copy", tmp_path / "from", ":/through").ok()
    rclone(person, "copy", ":/past", tmp_path / "one").ok()
    run(*past, f"az:{container}/through", tmp_path / "two").ok()
    for got in ("one", "two"):
        assert tree(tmp_path / got) == tree(tmp_path / "from")
        for number, name in enumerate(names):
            assert (tmp_path / got / name).stat().st_mtime_ns == (10**9 + number) * 10**9


# -- kill -9 -----------------------------------------------------------------------------------------------


class World:
    """One person whose home is a container behind a proxy."""

    def __init__(self, directory: Path, store: AzureServer, proxy: FaultProxy, upload_mode: int) -> None:
        self.store = store
        self.proxy = proxy
        self.container = store.bucket()
        self.server = Running(directory, settings={"common": {"upload_mode": upload_mode}})
        self.storage = azure(store, self.container, key_prefix="home/", endpoint=proxy.endpoint)
        self.person: Person | None = None

    def start(self) -> Person:
        self.server.start()
        if self.person is None:
            self.person = self.server.account(filesystem=self.storage, home_dir="", quota_size=1 << 40)
        return self.person

    async def uploads(self) -> int:
        """Unfinished uploads."""
        bucket = self.store.made(self.container)
        await bucket.open()
        try:
            return sum([len(page) async for page in bucket.uploads("home/")])
        finally:
            await bucket.close()


@pytest.mark.parametrize("mode", [0, 2])
async def test_kill_9_while_uploading(azurite_server: AzureServer, tmp_path: Path, mode: int) -> None:
    with fault_proxy(azurite_server.endpoint) as proxy:
        world = World(tmp_path / "config", azurite_server, proxy, mode)
        try:
            await killed_while_uploading(world, mode)
        finally:
            world.server.kill()


async def killed_while_uploading(world: World, mode: int) -> None:
    person = await asyncio.to_thread(world.start)
    data = os.urandom(13 * MIB)
    with contextlib.suppress(Exception):
        async with person.connect() as client, client.start_sftp_client() as files:
            async with files.open("whole", "wb") as file:
                await file.write(b"w" * 100_000)
            file = await files.open("part", "wb")
            await file.write(data)
            # The first block holds metadata.
            await asyncio.to_thread(
                wait_for, lambda: world.proxy.operations().count("PutBlock") >= 3, "no part was sent"
            )
            await asyncio.to_thread(world.server.kill)
    assert await world.uploads() == 1
    await asyncio.to_thread(world.start)
    async with person.connect() as client, client.start_sftp_client() as files:
        assert set(await files.listdir()) - {".", ".."} == {"whole"}
        if mode == 0:
            assert await world.uploads() == 0
        else:
            size = (await files.stat("part")).size
            assert size in {5 * MIB, 10 * MIB}
            async with files.open("part", "ab") as file:
                await file.write(data[size:])
            async with files.open("part", "rb") as file:
                assert await file.read() == data
            assert sorted(contents(world.store, world.container)) == ["home/part", "home/whole"]
    await asyncio.to_thread(world.server.stop)
