# SPDX-License-Identifier: Apache-2.0
"""Blobs that SFTPGo and tools of Hadoop put in place of directories are directories, and go with them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support.azure_server import AzureServer

from tidegate.backends.objects.backend import ObjectBackend
from tidegate.errors import IsADirectory, NotADirectory, NotFound
from tidegate.model import Attrs, Kind
from tidegate.testing.backend import get, names

FOLDER = {"hdi_isfolder": "true"}


@pytest.fixture
def name(azurite_server: AzureServer) -> str:
    container = azurite_server.bucket()
    client = azurite_server.admin.get_container_client(container)
    for key in ("home/full", "home/empty", "home/full/inner"):
        client.upload_blob(key, b"", metadata=FOLDER)
    client.upload_blob("home/full/file", b"content")
    return container


@pytest.fixture
async def backend(azurite_server: AzureServer, name: str) -> AsyncIterator[ObjectBackend]:
    made = ObjectBackend(azurite_server.made(name), "home")
    await made.open()
    yield made
    await made.close()


def stored(server: AzureServer, name: str) -> list[str]:
    return sorted(server.admin.get_container_client(name).list_blob_names())


async def test_they_are_seen_as_directories(backend: ObjectBackend) -> None:
    assert sorted(await names(backend)) == ["empty", "full"]
    for path in ("full", "empty", "full/inner"):
        assert (await backend.stat(path)).kind is Kind.DIRECTORY
    assert sorted(await names(backend, "full")) == ["file", "inner"]
    assert await names(backend, "empty") == []
    assert await get(backend, "full/file") == b"content"
    with pytest.raises(IsADirectory):
        await backend.remove("full")
    with pytest.raises(NotADirectory):
        await backend.rmdir("full/file")


async def test_they_are_removed(backend: ObjectBackend, azurite_server: AzureServer, name: str) -> None:
    await names(backend)
    await backend.rmdir("empty")
    with pytest.raises(NotFound):
        await backend.stat("empty")
    assert await names(backend) == ["full"]
    await backend.rmdir("full/inner")
    await backend.remove("full/file")
    await backend.rmdir("full")
    assert await names(backend) == []
    assert stored(azurite_server, name) == []


async def test_they_are_renamed(backend: ObjectBackend, azurite_server: AzureServer, name: str) -> None:
    await names(backend)
    await backend.rename("full", "new", replace=False)
    assert sorted(await names(backend)) == ["empty", "new"]
    assert sorted(await names(backend, "new")) == ["file", "inner"]
    assert await get(backend, "new/file") == b"content"
    assert not any(key.startswith("home/full") for key in stored(azurite_server, name))
    await backend.rename("empty", "bare", replace=False)
    assert sorted(await names(backend)) == ["bare", "new"]


async def test_they_are_made_again(backend: ObjectBackend) -> None:
    await backend.set_attrs("full", Attrs(mtime_ns=10**18))
    assert (await backend.stat("full")).mtime_ns == 10**18
    await backend.mkdir("another")
    assert sorted(await names(backend)) == ["another", "empty", "full"]
