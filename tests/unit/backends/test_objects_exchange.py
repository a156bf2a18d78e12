# SPDX-License-Identifier: Apache-2.0
"""A tree takes the place of another in a bucket: whatever fails, and whenever it ends, one of the two is there."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.abc import NotExchanged
from tidegate.backends.objects.backend import STALE_TREE_SECONDS, ObjectBackend
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.errors import Conflict, DirectoryNotEmpty, NotFound, TidegateError
from tidegate.testing.backend import get, names, put

OLD = {"a": b"old a", "only old": b"x", "sub/b": b"old b"}
NEW = {"a": b"new", "sub/c": b"new c", "z": b""}
CALLS = ["copy", "put", "delete", "pages", "head"]


def backend_of(bucket: MemoryBucket, journal: Path, shared: ObjectShared | None = None) -> ObjectBackend:
    return ObjectBackend(bucket, "root", ObjectSettings(journal_dir=str(journal), requests=2), shared)


def die(shared: ObjectShared, bucket: MemoryBucket) -> None:
    """End the locks of a process as its end does; requests that it has not begun never come."""
    bucket.faults += [Fault(call, error=None, always=True) for call in CALLS]
    for journal in shared._journals.values():
        if journal._lock >= 0:
            os.close(journal._lock)
        journal._lock = -1
        journal._own = ""


async def furnish(backend: ObjectBackend, top: str, files: dict[str, bytes]) -> None:
    await backend.mkdir(top)
    await backend.mkdir(f"{top}/sub")
    for name, data in files.items():
        await put(backend, f"{top}/{name}", data)


def below(bucket: MemoryBucket, top: str) -> dict[str, bytes]:
    """Files below a directory."""
    prefix = f"root/{top}/"
    return {
        key[len(prefix) :]: data
        for key, data in bucket.contents.items()
        if key.startswith(prefix) and not key.endswith("/")
    }


def hidden_objects(bucket: MemoryBucket) -> list[str]:
    return [key for key in bucket.contents if ".tidegate-tree." in key]


async def begun(bucket: MemoryBucket, backend: ObjectBackend, *, moves: bool = False) -> str:
    """An old tree, and the new one beside it."""
    await backend.open()
    await backend.mkdir("d")
    await furnish(backend, "d/t", OLD)
    hidden = await backend.beside("d/t", moves=moves)
    await furnish(backend, hidden, NEW)
    return hidden


@pytest.mark.parametrize("moves", [False, True])
async def test_the_two_change_places(tmp_path: Path, moves: bool) -> None:
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    hidden = await begun(bucket, backend, moves=moves)
    aside = await backend.exchange(hidden, "d/t")
    assert below(bucket, "d/t") == NEW
    assert below(bucket, aside) == OLD
    assert await names(backend, "d") == ["t"]
    assert await get(backend, f"{aside}/sub/b") == b"old b"
    with pytest.raises(NotFound):
        await backend.stat(hidden)  # what was moved is at one place
    await backend.leave_beside(aside)
    with pytest.raises(NotFound):
        await backend.stat(aside)
    await backend.close()
    shared.close()
    again = backend_of(MemoryBucket(bucket.service), tmp_path)
    await again.open()  # what nobody removed is removed by who opens the root next
    assert hidden_objects(bucket) == []
    assert below(bucket, "d/t") == NEW
    await again.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("after", [False, True])
async def test_what_fails_leaves_both_as_they_were(tmp_path: Path, call: str, after: bool) -> None:
    failed = 0
    for nth in range(1, 40):
        bucket = MemoryBucket()
        backend = backend_of(bucket, tmp_path / str(nth), ObjectShared())
        hidden = await begun(bucket, backend)
        fault = Fault(call, nth, after=after)
        bucket.faults.append(fault)
        try:
            await backend.exchange(hidden, "d/t")
        except NotExchanged:
            failed += 1
            assert below(bucket, "d/t") == OLD
            assert below(bucket, hidden) == NEW
            assert len({key.split("/")[2] for key in hidden_objects(bucket)}) == 1
            # It can be tried again.
            aside = await backend.exchange(hidden, "d/t")
            assert below(bucket, aside) == OLD
        except TidegateError:
            assert below(bucket, "d/t") == OLD  # asked, and nothing begun
            assert below(bucket, hidden) == NEW
            continue
        assert below(bucket, "d/t") == NEW
        if fault.seen < nth:
            break
    else:
        pytest.fail("there is no end of calls")
    assert failed or call == "head"


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("call", CALLS)
async def test_a_crash_leaves_one_of_them_whole(tmp_path: Path, call: str, moves: bool) -> None:
    """And what was moved, which is nowhere else, is seen under one name or the other."""
    for nth in range(1, 40):
        bucket, shared = MemoryBucket(), ObjectShared()
        journal = tmp_path / str(nth)
        backend = backend_of(bucket, journal, shared)
        hidden = await begun(bucket, backend, moves=moves)
        stuck = Fault(call, nth, error=None)
        bucket.faults.append(stuck)
        exchanging = asyncio.create_task(backend.exchange(hidden, "d/t"))
        reached = asyncio.create_task(stuck.reached.wait())
        await asyncio.wait([exchanging, reached], return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        ended = exchanging.done()
        die(shared, bucket)
        other = backend_of(MemoryBucket(bucket.service), journal)
        await other.open()
        found = below(bucket, "d/t")
        assert found in (OLD, NEW), (nth, found)
        assert hidden_objects(bucket) == []
        moved = below(bucket, "d/t (moved 1)")
        if moves:
            assert NEW in (found, moved)
        else:
            assert not moved
        await other.close()
        bucket.faults.clear()
        exchanging.cancel()
        await asyncio.gather(exchanging, return_exceptions=True)
        if ended:
            return
    pytest.fail("there is no end of calls")


async def test_when_putting_back_fails_too_it_is_done_later(tmp_path: Path) -> None:
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    hidden = await begun(bucket, backend)
    bucket.faults.append(Fault("copy", 4, always=True))  # three were set aside
    with pytest.raises(TidegateError) as failure:
        await backend.exchange(hidden, "d/t")
    assert not isinstance(failure.value, NotExchanged)
    bucket.faults.clear()
    await backend.close()
    again = backend_of(MemoryBucket(bucket.service), tmp_path, shared)
    await again.open()
    assert below(bucket, "d/t") == OLD
    await again.close()


async def test_nobody_names_or_lists_what_is_hidden(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    backend = backend_of(bucket, tmp_path, ObjectShared())
    hidden = await begun(bucket, backend)
    other = backend_of(MemoryBucket(bucket.service), tmp_path, ObjectShared())
    await other.open()
    for one in (backend, other):
        assert await names(one, "d") == ["t"]
    for key in (hidden, f"{hidden}/a", f"{hidden}/sub"):
        with pytest.raises(NotFound):
            await other.stat(key)
    with pytest.raises(NotFound):
        await backend.mkdir("d/.tidegate-tree.mine")
    with pytest.raises(NotFound):
        await put(backend, f"{hidden}/.tidegate-part.x", b"")
    assert backend.refusal(f"{hidden}x/a", 1)


async def test_what_is_left_keeps_no_directory_for_ever(tmp_path: Path) -> None:
    """A server that is gone for good left it; what was moved is never taken for that."""
    bucket = MemoryBucket()
    backend = backend_of(bucket, tmp_path, ObjectShared())
    await backend.open()
    for name in ("d", "e"):
        await backend.mkdir(name)
    left = {"root/d/.tidegate-tree.0123/a", "root/e/.tidegate-tree.moved.0123/a"}
    for key in left:
        await bucket.put(key, b"x", {})
    for name in ("d", "e"):
        with pytest.raises(DirectoryNotEmpty):
            await backend.rmdir(name)
    bucket.service.clock = lambda: time.time() - STALE_TREE_SECONDS - 1
    for key in left:
        await bucket.put(key, b"x", {})
    await backend.rmdir("d")
    with pytest.raises(DirectoryNotEmpty):
        await backend.rmdir("e")
    assert [key for key in bucket.contents if key.startswith("root/d")] == []


@pytest.mark.parametrize("fails", [False, True])
async def test_what_lies_unseen_below_a_file_stays_when_another_file_takes_its_place(
    tmp_path: Path, fails: bool
) -> None:
    """Others keep objects below the name of one: no client sees them, so none may remove them."""
    bucket = MemoryBucket()
    backend = backend_of(bucket, tmp_path)
    await backend.open()
    await put(backend, "f", b"old")
    await bucket.put("root/f/others", b"theirs", {})
    hidden = await backend.beside("f", moves=False)
    await put(backend, hidden, b"new")
    if fails:
        bucket.faults.append(Fault("copy", 2))
        with pytest.raises(NotExchanged):
            await backend.exchange(hidden, "f")
        assert bucket.contents["root/f"] == b"old"
    else:
        await backend.leave_beside(await backend.exchange(hidden, "f"))
        assert bucket.contents["root/f"] == b"new"
    assert bucket.contents["root/f/others"] == b"theirs"
    await backend.close()


async def test_no_directory_takes_the_place_of_a_file_with_objects_below_its_name(tmp_path: Path) -> None:
    bucket = MemoryBucket()
    backend = backend_of(bucket, tmp_path)
    await backend.open()
    await put(backend, "f", b"old")
    await bucket.put("root/f/others", b"theirs", {})
    hidden = await backend.beside("f", moves=False)
    await furnish(backend, hidden, NEW)
    with pytest.raises(Conflict):
        await backend.exchange(hidden, "f")
    assert bucket.contents["root/f"] == b"old"
    assert below(bucket, "f") == {"others": b"theirs"}
    assert below(bucket, hidden) == NEW
    await backend.leave_beside(hidden)
    await backend.close()
