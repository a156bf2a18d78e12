# SPDX-License-Identifier: Apache-2.0
"""Bytes of one open file go into another without passing the server, where the storage copies them itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.support.fault_proxy import FaultProxy, fault_proxy

from tidegate.abc import CopiesRanges, FileHandle, OpenOptions, Outcome
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import ObjectChanged
from tidegate.testing.backend import READ, exists, get, options_for, put

MIB = 1 << 20
DATA = bytes(range(256)) * (11 * MIB // 256)
PARTIAL = {"seaweedfs": True, "azurite": True, "gcs": False}
"""True for services that copy a part of an object."""
CONTENT = ("GetObject", "GetBlob")


@pytest.fixture(params=PARTIAL)
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def proxy(server: Any) -> Iterator[FaultProxy]:
    with fault_proxy(server.endpoint) as made:
        yield made


@pytest.fixture
async def backend(server: Any, proxy: FaultProxy) -> AsyncIterator[ObjectBackend]:
    made = ObjectBackend(server.made(server.bucket(), endpoint=proxy.endpoint), "home")
    await made.open()
    yield made
    await made.close()


def content_asked(proxy: FaultProxy) -> int:
    """Requests for content since the last call."""
    found = sum(one.operation in CONTENT or "alt=media" in one.query for one in proxy.asked)
    proxy.asked.clear()
    return found


async def opened(backend: ObjectBackend, source: str, target: str) -> tuple[FileHandle, FileHandle, Any]:
    """Both files, and the target as what copies."""
    reader = await backend.open_file(source, READ)
    writer = await backend.open_file(target, options_for())
    assert isinstance(writer, CopiesRanges)
    return reader, writer, writer


async def test_a_whole_file(backend: ObjectBackend, proxy: FaultProxy, server: Any) -> None:
    await put(backend, "source", DATA)
    content_asked(proxy)
    reader, writer, copies = await opened(backend, "source", "target")
    content_asked(proxy)  # opening reads the beginning ahead
    assert copies.copies_range(reader, 0, len(DATA), 0)
    await copies.copy_range(reader, 0, len(DATA), 0)
    await writer.close()
    composed = 1 if server.kind == "gcs" else 0  # Google has a digest of what it composes read back
    assert content_asked(proxy) <= composed
    await reader.close()
    assert await get(backend, "target") == DATA


async def test_a_part_and_what_is_written_behind_it(backend: ObjectBackend, server: Any) -> None:
    await put(backend, "source", DATA)
    reader, writer, copies = await opened(backend, "source", "target")
    assert copies.copies_range(reader, 100, 6 * MIB, 0) is PARTIAL[server.kind]
    if PARTIAL[server.kind]:
        await copies.copy_range(reader, 100, 6 * MIB, 0)
        await writer.write(6 * MIB, b"behind")
        await writer.close()
        assert await get(backend, "target") == DATA[100 : 100 + 6 * MIB] + b"behind"
    else:
        await writer.close(Outcome.DROP)
    await reader.close()


async def test_what_the_service_does_not_copy(backend: ObjectBackend) -> None:
    await put(backend, "source", DATA)
    await put(backend, "small", b"small")
    reader, writer, copies = await opened(backend, "source", "target")
    small = await backend.open_file("small", READ)
    whole = len(DATA)
    assert not copies.copies_range(small, 0, 5, 0)
    assert not copies.copies_range(writer, 0, whole, 0)
    assert not copies.copies_range(reader, 0, whole, 1)
    await writer.write(0, b"before")
    assert not copies.copies_range(reader, 0, whole, 6)
    await writer.close(Outcome.DROP)
    assert not copies.copies_range(reader, 0, whole, 6)
    await small.close()
    await reader.close()


async def test_a_source_that_was_replaced(backend: ObjectBackend) -> None:
    """As a read: it fails if some of the old content was read, and else it is the new one."""
    await put(backend, "source", DATA)
    reader, writer, copies = await opened(backend, "source", "target")
    await reader.read(0, 10)
    await put(backend, "source", DATA[::-1])
    with pytest.raises(ObjectChanged):
        await copies.copy_range(reader, 0, len(DATA), 0)
    await writer.close(Outcome.DROP)
    await reader.close()
    reader, writer, copies = await opened(backend, "source", "target")
    await put(backend, "source", DATA)
    await copies.copy_range(reader, 0, len(DATA), 0)
    await writer.close()
    await reader.close()
    assert await get(backend, "target") == DATA
    reader, writer, copies = await opened(backend, "source", "other")
    await put(backend, "source", b"short")
    with pytest.raises(ObjectChanged):
        await copies.copy_range(reader, 0, len(DATA), 0)
    await writer.close(Outcome.DROP)
    await reader.close()
    assert not await exists(backend, "other")


async def test_a_file_that_is_appended_to(backend: ObjectBackend) -> None:
    """The old content is copied first, and what comes goes behind it, however it comes."""
    await put(backend, "source", DATA)
    await put(backend, "target", DATA)
    reader = await backend.open_file("source", READ)
    writer = await backend.open_file("target", OpenOptions(write=True, append=True))
    assert isinstance(writer, CopiesRanges)
    assert not writer.copies_range(reader, 0, len(DATA), len(DATA))  # before anything was written
    await writer.write(len(DATA), b"more")
    await writer.close()
    await reader.close()
    assert await get(backend, "target") == DATA + b"more"
