# SPDX-License-Identifier: Apache-2.0
"""Uploads in parts: order, waiting, what comes again, and the end of what nobody goes on with."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.memory_session import MemorySession

from tidegate.doors.dav import part_uploads
from tidegate.doors.dav.part_uploads import PartUpload
from tidegate.doors.dav.request import Rejected
from tidegate.doors.dav.wire.nextcloud import Address, parse, part_name
from tidegate.errors import InvalidPath, PeerGone, PeerLimit, StorageFull
from tidegate.model import VPath
from tidegate.resources.count import Count, Share
from tidegate.resources.notices import Notices
from tidegate.vfs.api import OpenFlags

NEW = OpenFlags(write=True, create=True, truncate=True, atomic=True)


async def pieces(*parts: bytes, gone: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if gone:
        raise PeerGone


def counted(most: int = 0, each: int = 0) -> Count:
    return Count(
        Notices(time.monotonic), rule="limits.upload_parts", rule_each="limits.upload_parts_per_account",
        unit="parts", most=most, most_each=each,
    )  # fmt: skip


def client_of(parts: Count, account: str = "ada") -> Any:
    return SimpleNamespace(
        uploads={}, handles=Share(counted(), account), parts=Share(parts, account), over=False
    )


@pytest.fixture
def session() -> MemorySession:
    return MemorySession()


@pytest.fixture
async def upload(session: MemorySession) -> AsyncIterator[PartUpload]:
    client = client_of(counted())
    made = PartUpload(client, "u", await session.open(VPath("/f"), NEW), None, -1)
    yield made
    if not made.over:
        await made.end()
    assert client.uploads == {}
    assert (client.handles.held, client.parts.held) == (0, 0)


async def put(upload: PartUpload, text: str, *parts: bytes, length: int = -1, gone: bool = False) -> bool:
    name = part_name(text)
    assert name is not None
    return await upload.put(text, name, length, pieces(*parts, gone=gone))


@pytest.mark.parametrize(
    "names", [("1", "2", "3"), ("0", "1", "2"), ("00001", "00002", "00003"), ("0-2", "3-5", "6-8")]
)
async def test_parts_in_order(upload: PartUpload, session: MemorySession, names: tuple[str, ...]) -> None:
    for name, data in zip(names, (b"abc", b"def", b"ghi"), strict=True):
        assert await put(upload, name, data)
    assert (upload.size, upload.whole) == (9, True)
    upload.forget()
    await upload.file.close()
    assert session.data("/f") == b"abcdefghi"
    assert upload.has_sum(f"ADLER32:{zlib.adler32(b'abcdefghi'):08X}")
    assert upload.has_sum("md5: " + hashlib.md5(b"abcdefghi").hexdigest())
    assert not upload.has_sum("SHA1:00")


@pytest.mark.parametrize("first", ["2", "7", "3-5"])
async def test_a_part_that_is_missing(
    upload: PartUpload, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    monkeypatch.setattr(part_uploads, "TURN_SECONDS", 0.01)
    with pytest.raises(Rejected) as caught:
        await put(upload, first, b"def")
    assert caught.value.code == 409
    assert upload.size == 0
    assert not upload.over


async def test_who_is_early_waits_and_is_not_read(upload: PartUpload) -> None:
    begun = asyncio.Event()

    async def second() -> AsyncIterator[bytes]:
        begun.set()
        yield b"def"

    name = part_name("2")
    assert name is not None
    early = asyncio.create_task(upload.put("2", name, 3, second()))
    await asyncio.sleep(0)
    assert not begun.is_set()
    assert await put(upload, "1", b"abc")
    assert await early
    assert upload.size == 6


async def test_a_slow_part_keeps_nobody_from_waiting(
    upload: PartUpload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another part arrives, the next one waits longer than `TURN_SECONDS`."""
    monkeypatch.setattr(part_uploads, "TURN_SECONDS", 0.001)
    gate = asyncio.Event()
    waits = 0

    async def slow() -> AsyncIterator[bytes]:
        yield b"abc"
        await gate.wait()

    name = part_name("1")
    assert name is not None
    first = asyncio.create_task(upload.put("1", name, -1, slow()))
    await asyncio.sleep(0)
    second = asyncio.create_task(put(upload, "2", b"def"))
    while waits < 20:  # each of them longer than the bound
        await asyncio.sleep(0.002)
        waits += 1
    assert not second.done()
    gate.set()
    assert await first and await second


async def test_what_broke_off_goes_on_where_it_broke_off(upload: PartUpload, session: MemorySession) -> None:
    large = bytes(range(256)) * 1024
    with pytest.raises(PeerGone):
        await put(upload, "1", large, b"rest", gone=True)
    assert (upload.size, upload.whole) == (len(large), False)
    assert await put(upload, "1", large[:1000], large[1000:] + b"re", b"st")
    assert await put(upload, "2", b"!")
    upload.forget()
    await upload.file.close()
    assert session.data("/f") == large + b"rest!"


async def test_another_part_than_the_one_that_broke_off(upload: PartUpload) -> None:
    with pytest.raises(PeerGone):
        await put(upload, "1", b"a" * 200_000, gone=True)
    with pytest.raises(Rejected) as caught:
        await put(upload, "1", b"b" * 300_000)
    assert caught.value.code == 409
    assert upload.over


async def test_shorter_than_before(upload: PartUpload) -> None:
    with pytest.raises(PeerGone):
        await put(upload, "1", b"a" * 200_000, gone=True)
    with pytest.raises(Rejected):
        await put(upload, "1", b"a" * 100)
    assert not upload.whole
    assert await put(upload, "1", b"a" * 200_001)


@pytest.mark.parametrize("again", [b"abd", b"ab", b"abcd"])
async def test_a_whole_part_comes_again(upload: PartUpload, again: bytes) -> None:
    assert await put(upload, "1", b"abc")
    assert not await put(upload, "1", b"abc")
    with pytest.raises(Rejected) as caught:
        await put(upload, "1", again, length=len(again))
    assert caught.value.code == 409
    assert upload.size == 3


async def test_parts_of_an_account_are_bounded(session: MemorySession) -> None:
    """Also by several clients of it; what is complete, or given up, makes room."""
    count = counted(most=6, each=4)
    one, other = client_of(count), client_of(count)
    first = PartUpload(one, "u", await session.open(VPath("/f"), NEW), None, -1)
    second = PartUpload(other, "u", await session.open(VPath("/g"), NEW), None, -1)
    for name in ("1", "2", "3"):
        assert await put(first, name, b"")
    assert await put(second, "1", b"abc")
    for upload in (first, second):
        with pytest.raises(PeerLimit, match=r"limits\.upload_parts_per_account"):
            await put(upload, "4" if upload is first else "2", b"def")
    assert not await put(first, "3", b"")  # what is there already takes no more
    assert (first.over, second.over, second.size) == (False, False, 3)
    third = PartUpload(client_of(count, "bob"), "u", await session.open(VPath("/h"), NEW), None, -1)
    assert await put(third, "1", b"x") and await put(third, "2", b"x")
    with pytest.raises(PeerLimit, match=r"limits\.upload_parts\b"):
        await put(third, "3", b"x")
    await first.end()
    assert await put(second, "2", b"def") and await put(third, "3", b"x")
    await second.end()
    await third.end()
    assert (count.used, one.parts.held, other.parts.held) == (0, 0, 0)


async def test_what_is_known_of_a_part_is_small(session: MemorySession) -> None:
    """The limits page and the setting say 250 bytes."""
    upload = PartUpload(client_of(counted()), "u", await session.open(VPath("/f"), NEW), None, -1)
    await put(upload, "1", b"x")
    tracemalloc.start()
    try:
        for number in range(2, 5002):
            assert await put(upload, f"{number:016}", b"x")
        gc.collect()
        used = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, part_uploads.__file__)])
        size = sum(one.size for one in used.statistics("filename"))
    finally:
        tracemalloc.stop()
    assert size < 5000 * 270
    await upload.end()


async def test_storage_that_refuses_ends_it(upload: PartUpload, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise StorageFull

    monkeypatch.setattr(upload, "file", SimpleNamespace(
        write_nowait=lambda *_: False, write=full, abort=upload.file.abort,
    ))  # fmt: skip
    with pytest.raises(StorageFull):
        await put(upload, "1", b"abc")
    assert upload.over
    with pytest.raises(Rejected) as caught:
        await put(upload, "1", b"abc")
    assert caught.value.code == 404


async def test_an_hour_without_requests(upload: PartUpload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_uploads, "IDLE_SECONDS", 0.01)
    assert await put(upload, "1", b"abc")
    waiting = asyncio.create_task(put(upload, "3", b"x"))
    async with asyncio.timeout(10):
        monkeypatch.setattr(part_uploads, "TURN_SECONDS", 0.05)
        with pytest.raises(Rejected):
            await waiting
        while not upload.over:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("/remote.php/dav/files/ana/d/f", Address("/remote.php/dav/files/ana", "ana")),
        ("/remote.php/dav/files/a%20b", Address("/remote.php/dav/files/a b", "a b")),
        ("/remote.php/webdav/f", Address("/remote.php/webdav")),
        ("/remote.php/dav/uploads/ana/u/1",
         Address("/remote.php/dav/files/ana", "ana", "/remote.php/dav/uploads/ana", "u", "1")),
        ("/remote.php/dav/uploads/ana/u/",
         Address("/remote.php/dav/files/ana", "ana", "/remote.php/dav/uploads/ana", "u")),
        ("/remote.php/dav/uploads/ana", Address("/remote.php/dav/files/ana", "ana", "/remote.php/dav/uploads/ana")),
        ("/remote.php/dav/files/", None),
        ("/remote.php/dav/trash/ana", None),
        ("/remote.php", None),
        ("/f", None),
    ],
)  # fmt: skip
def test_addresses(raw: str, found: Address | None) -> None:
    assert parse(raw.encode(), "") == found
    below = parse(f"/dav{raw}".encode(), "/dav")
    assert (below is None) is (found is None)
    assert below is None or below.prefix.startswith("/dav/remote.php/")


@pytest.mark.parametrize(
    "raw", ["uploads/ana/u/1/2", "uploads/ana/../x", "uploads/%2e%2e/x", "files/%2f/x", "uploads/ana/%00/1",
            "uploads/ana/" + "x" * 300]
)  # fmt: skip
def test_addresses_that_cannot_be_read(raw: str) -> None:
    with pytest.raises(InvalidPath):
        parse(f"/remote.php/dav/{raw}".encode(), "")


async def test_nothing_is_added_while_it_becomes_a_file(upload: PartUpload) -> None:
    assert await put(upload, "1", b"abc")
    with upload.held():
        late = asyncio.create_task(put(upload, "2", b"def"))
        for _ in range(3):
            await asyncio.sleep(0)
        with pytest.raises(Rejected) as caught, upload.held():
            raise AssertionError
        assert caught.value.code == 409
        assert (upload.size, late.done()) == (3, False)
    assert await late
    assert upload.size == 6


async def test_a_part_that_is_late_finds_no_upload(upload: PartUpload) -> None:
    with upload.held():
        late = asyncio.create_task(put(upload, "1", b"abc"))
        await asyncio.sleep(0)
        upload.forget()
    with pytest.raises(Rejected) as caught:
        await late
    assert caught.value.code == 404
    await upload.file.abort()


async def test_it_does_not_become_a_file_while_a_part_arrives(upload: PartUpload) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"abc"

    name = part_name("1")
    assert name is not None
    arriving = asyncio.create_task(upload.put("1", name, 3, slow()))
    await asyncio.sleep(0)
    with pytest.raises(Rejected) as caught, upload.held():
        raise AssertionError
    assert caught.value.code == 409
    gate.set()
    assert await arriving


@pytest.mark.parametrize("length", [-1, 2])
async def test_an_empty_part_is_no_other_part(upload: PartUpload, length: int) -> None:
    assert await put(upload, "1", length=0)
    assert not await put(upload, "1", length=0)
    with pytest.raises(Rejected) as caught:
        await put(upload, "1", b"zz", length=length)
    assert caught.value.code == 409
    assert upload.size == 0
