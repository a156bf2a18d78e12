# SPDX-License-Identifier: Apache-2.0
"""Names in a bucket as a tree: markers and implied directories, foreign keys, and what each operation asks."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.backends.objects import directory_looks
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.bucket import Stored
from tidegate.backends.objects.settings import ObjectSettings
from tidegate.errors import AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound, StorageFailed
from tidegate.model import Attrs
from tidegate.testing.backend import exists, get, names, options_for, put
from tidegate.vfs.usage.scan import measure_tree

WHEN = 1_000_000_000_000_000_000


@pytest.fixture
def bucket() -> MemoryBucket:
    return MemoryBucket()


@pytest.fixture
async def backend(bucket: MemoryBucket) -> AsyncIterator[ObjectBackend]:
    backend = ObjectBackend(bucket, "home")
    await backend.open()
    yield backend
    await backend.close()


async def fill(bucket: MemoryBucket, *keys: str, metadata: dict[str, str] | None = None) -> None:
    """Objects of others: their content is the key."""
    was, bucket.opened = bucket.opened, True
    for key in keys:
        await bucket.put(key, b"" if key.endswith("/") else key.encode(), metadata or {})
    bucket.opened = was
    bucket.calls.clear()


async def test_implied_directories_are_seen(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await fill(bucket, "home/a/b/c.txt", "home/a.txt", "elsewhere/x")
    assert await names(backend) == ["a", "a.txt"]
    assert (await backend.stat("a/b")).is_dir
    assert await names(backend, "a/b") == ["c.txt"]
    with pytest.raises(AlreadyExists):
        await backend.mkdir("a/b")
    with pytest.raises(DirectoryNotEmpty):
        await backend.rmdir("a")


async def test_a_directory_stays_when_its_last_entry_goes(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await fill(bucket, "home/a/b/c.txt", "home/d/x")
    await backend.remove("a/b/c.txt")
    assert await names(backend, "a/b") == []
    await backend.rmdir("a/b")
    assert (await backend.stat("a")).is_dir
    await backend.rename("d/x", "y", replace=False)
    assert (await backend.stat("d")).is_dir
    assert sorted(bucket.contents) == ["home/a/", "home/d/", "home/y"]


async def test_foreign_keys_that_are_no_names(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    foreign = ["home/a//x", "home/a/../x", "home/a/./x", "home/a/lone\u201b", f"home/a/{'n' * 300}"]
    await fill(bucket, *foreign, "home/a/good")
    assert await names(backend, "a") == ["good"]
    await backend.remove("a/good")
    with pytest.raises(DirectoryNotEmpty):  # nothing is lost that is not seen
        await backend.rmdir("a")
    await backend.rename("a", "b", replace=False)
    assert {key.removeprefix("home/b/") for key in bucket.contents} >= {
        key.removeprefix("home/a/") for key in foreign
    }


async def test_a_file_and_a_directory_of_one_name(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await fill(bucket, "home/n", "home/n-1", "home/n/below", "home/n.txt/x")
    entries = [entry async for batch in backend.list("") for entry in batch]
    assert [(entry.name, entry.is_dir) for entry in entries] == [
        ("n", False),
        ("n-1", False),
        ("n.txt", True),
    ]
    assert (await backend.stat("n")).is_file
    with pytest.raises(NotADirectory):
        await names(backend, "n")
    with pytest.raises(NotFound):
        await backend.open_file("n/new", options_for())
    await backend.remove("n")
    assert (await backend.stat("n")).is_dir
    assert await names(backend, "n") == ["below"]


async def test_a_marker_with_content_is_not_removed(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await bucket.put("home/d/", b"content", {})
    assert (await backend.stat("d")).is_dir
    with pytest.raises(DirectoryNotEmpty):
        await backend.rmdir("d")
    await backend.set_attrs("d", Attrs(mtime_ns=10**9, atime_ns=10**9))
    await backend.rename("d", "e", replace=False)
    assert bucket.contents == {"home/e/": b"content"}


async def test_times_of_rclone_and_s3fs(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await fill(bucket, "home/rclone", metadata={"mtime": "1700000000.123456789"})
    await fill(bucket, "home/s3fs", metadata={"mtime": "1700000001", "mode": "33188"})
    await fill(bucket, "home/wrong", metadata={"mtime": "1e400"})
    entries = {entry.name: entry for batch in [x async for x in backend.list("")] for entry in batch}
    assert entries["rclone"].mtime_ns == 1700000000_123456789
    assert entries["s3fs"].mtime_ns == 1700000001 * 10**9
    assert entries["wrong"].mtime_ns > 1700000001 * 10**9
    assert (await backend.stat("rclone")) == entries["rclone"]
    await backend.set_attrs("s3fs", Attrs(mtime_ns=5, atime_ns=10**9))
    assert (await backend.stat("s3fs")).mtime_ns == 5
    assert bucket.service.objects["home/s3fs"].stored.metadata == {
        "mtime": "0.000000005",
        "atime": "1.000000000",
        "mode": "33188",
    }


async def test_times_of_directories(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await backend.mkdir("d")
    await backend.set_attrs("d", Attrs(mtime_ns=7 * 10**9, atime_ns=7 * 10**9))
    other = ObjectBackend(bucket, "home")
    assert (await other.stat("d")).mtime_ns == 7 * 10**9


async def test_listing_heads_are_bounded_and_kept(bucket: MemoryBucket) -> None:
    await fill(bucket, *(f"f{number}" for number in range(30)), metadata={"mtime": "1"})
    backend = ObjectBackend(bucket, "", ObjectSettings(listing_heads=20, attribute_seconds=0, requests=4))
    await backend.open()
    times = [entry.mtime_ns for batch in [x async for x in backend.list("")] for entry in batch]
    assert times.count(10**9) == 20
    assert bucket.calls["head"] == 20
    times = [entry.mtime_ns for batch in [x async for x in backend.list("")] for entry in batch]
    assert times.count(10**9) == 30  # what was learned before costs nothing
    assert bucket.calls["head"] == 30
    await backend.close()


async def test_counting_asks_for_no_times(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    await fill(bucket, "home/a/f", "home/a/b/g", "home/h", metadata={"mtime": "1"})
    assert await measure_tree(backend, "") == (8 + 10 + 6, 3, False)
    assert bucket.calls == {"pages": 3}
    assert (await backend.stat("h")).mtime_ns == 10**9


async def test_requests_of_operations(bucket: MemoryBucket, backend: ObjectBackend) -> None:
    """Requests that each operation takes, with what is known from the one before."""

    async def cost(doing: object) -> dict[str, int]:
        bucket.calls.clear()
        await doing  # type: ignore[misc]
        return dict(bucket.calls)

    assert await cost(backend.mkdir("d")) == {"head": 1, "pages": 2, "put": 1}
    assert await cost(put(backend, "d/f", b"content")) == {"put": 1}  # it was made just now: it is empty
    assert await cost(backend.stat("d/f")) == {}
    assert await cost(get(backend, "d/f")) == {"get": 1}
    await fill(bucket, "home/d/g", "home/d/h")
    backend._cache._clock = lambda clock=backend._cache._clock: clock() + 6
    await backend.stat("d")
    bucket.calls.clear()
    assert await cost(backend.stat("d/g")) == {"head": 1, "pages": 1}
    assert await cost(get(backend, "d/h")) == {"first": 1}
    assert await cost(names(backend, "d")) == {"pages": 1, "head": 3}
    assert await cost(backend.stat("d/f")) == {}
    assert await cost(backend.rename("d/g", "d/i", replace=False)) == {
        "head": 1,
        "pages": 1,
        "copy": 1,
        "delete": 1,
    }
    assert await cost(backend.remove("d/i")) == {"delete": 1}
    assert await cost(backend.set_attrs("d/f", Attrs(mtime_ns=1, atime_ns=1))) == {"copy": 1}


async def test_a_rename_within_a_directory_leaves_the_directory_alone(bucket: MemoryBucket) -> None:
    """It needs no marker, and is there: the file is in it. What was seen to be free is relied on for a second."""
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await fill(bucket, "a/d/f", "a/d/g", "b/d/f")
    assert (await backend.stat("a/d/f")).is_file
    assert not await exists(backend, "a/d/new")
    bucket.calls.clear()
    await backend.rename("a/d/f", "a/d/new", replace=False)
    assert bucket.calls == {"copy": 1, "delete": 1}
    assert sorted(bucket.contents) == ["a/d/g", "a/d/new", "b/d/f"]
    assert not await exists(backend, "a/d/f")

    assert (await backend.stat("b/d/f")).is_file
    assert not await exists(backend, "b/d/new")
    now += 1.5
    bucket.calls.clear()
    await backend.rename("b/d/f", "b/d/new", replace=False)
    assert bucket.calls == {"head": 1, "pages": 1, "copy": 1, "delete": 1}
    await backend.rename("b/d/new", "b/new", replace=False)
    assert bucket.contents.keys() == {"a/d/g", "a/d/new", "b/d/", "b/new"}
    await backend.close()


async def test_what_others_put_where_a_name_was_seen_to_be_free_is_not_replaced(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await fill(bucket, "home/d/f")
    assert not await exists(backend, "d/g")
    await fill(bucket, "home/d/g")
    with pytest.raises(AlreadyExists):
        await backend.rename("d/f", "d/g", replace=False)
    assert bucket.contents == {"home/d/f": b"home/d/f", "home/d/g": b"home/d/g"}
    with pytest.raises(AlreadyExists):
        await backend.rename("d/f", "d/g", replace=False)
    await backend.rename("d/f", "d/g", replace=True)
    assert bucket.contents == {"home/d/g": b"home/d/f"}


async def test_a_directory_in_use_is_listed_once(bucket: MemoryBucket) -> None:
    """Uploads into it then cost one request each; names of others are found all the same."""
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await fill(bucket, "d/old", "d/sub/x")
    for number in range(4):
        await put(backend, f"d/f{number}", b"x")
    bucket.calls.clear()
    for number in range(4, 30):
        await put(backend, f"d/f{number}", b"x")
    assert bucket.calls == {"put": 26}
    assert (await backend.stat("d/old")).is_file
    assert (await backend.stat("d/sub")).is_dir
    assert not await exists(backend, "d/none")
    await fill(bucket, "d/none")
    assert "none" in await names(backend, "d")  # a listing is always asked for
    assert await exists(backend, "d/none")
    await fill(bucket, "d/other")
    now += 6
    assert await exists(backend, "d/other")
    await backend.remove("d/f9")
    assert not await exists(backend, "d/f9")
    await put(backend, "d/f9", b"again")
    assert await exists(backend, "d/f9")
    await backend.close()


async def test_a_directory_that_is_uploaded_to_is_asked_for_ahead(bucket: MemoryBucket) -> None:
    """No upload waits for a look, however long they go on; what others do is seen as soon as otherwise."""
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await fill(bucket, "d/old")
    for number in range(4):
        await put(backend, f"d/f{number}", b"x")
    looks = ("head", "pages")
    for number in range(4, 24):
        now += 1
        bucket.calls.clear()
        options = options_for()
        writing = await backend.open_file(f"d/f{number}", options)
        assert not any(bucket.calls[name] for name in looks), (number, bucket.calls)
        await asyncio.gather(*backend._uploads._renewing.values())
        asked = sum(bucket.calls[name] for name in looks)
        assert asked == (4 if (number - 4) % 3 == 2 else 0), number
        await writing.close()
        if number == 12:
            await fill(bucket, "d/other")
    with pytest.raises(AlreadyExists):
        await backend.open_file("d/other", options_for(exclusive=True))
    assert await exists(backend, "d/old")
    now += 5.5  # nobody uploaded for so long: it is not kept up
    await asyncio.gather(*backend._uploads._renewing.values())
    bucket.calls.clear()
    await put(backend, "d/late", b"x")
    assert not backend._uploads._renewing and bucket.calls["head"]
    await backend.close()


async def test_a_look_ahead_that_fails_is_nobodys_failure(bucket: MemoryBucket) -> None:
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    for number in range(5):
        await put(backend, f"f{number}", b"x")
    now += 3
    bucket.faults.append(Fault("pages", always=True))
    await put(backend, "g", b"x")
    await asyncio.gather(*backend._uploads._renewing.values())
    bucket.faults.clear()
    hangs = Fault("pages", error=None)
    bucket.faults.append(hangs)
    await put(backend, "h", b"x")
    await hangs.reached.wait()
    assert backend._uploads._renewing
    await backend.close()  # ends it
    assert not backend._uploads._renewing
    assert {"f4", "g", "h"} <= bucket.contents.keys()


async def test_a_large_directory_is_asked_name_by_name(bucket: MemoryBucket) -> None:
    await fill(bucket, *(f"d/k{number}" for number in range(1001)))
    backend = ObjectBackend(bucket, "")
    await backend.open()
    for number in range(8):
        assert not await exists(backend, f"d/f{number}")
    await fill(bucket, "d/new")
    assert await exists(backend, "d/new")
    await backend.close()


async def test_a_large_directory_that_is_used_a_lot_is_listed_behind_its_uploads(
    bucket: MemoryBucket,
) -> None:
    """An upload into it is one request then; who lists it pays a quarter of what was asked before, at most."""
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await fill(bucket, *(f"d/k{number}" for number in range(2500)))
    looks = backend._tree.directories

    async def some(first: int, count: int) -> dict[str, int]:
        bucket.calls.clear()
        for number in range(first, first + count):
            await put(backend, f"d/f{number}", b"x")
        await asyncio.gather(*looks._learning.values(), *backend._uploads._renewing.values())
        return {name: count for name, count in bucket.calls.items() if count}

    first = await some(0, 40)
    assert first["pages"] == 40 + 3 + 3  # each name, the directory, its uploads and its first page, all pages
    assert await some(40, 5) == {"put": 5}
    now += 3  # four names for each page beyond the first have to have been saved before it is listed again
    assert await some(45, 2) == {"put": 2}
    assert await some(47, 5) == {"put": 5, "head": 1, "pages": 1 + 1 + 3}
    now += 4
    assert await some(52, 3) == {"put": 3}
    await fill(bucket, "d/of-others")
    now += 5.5
    with pytest.raises(AlreadyExists):
        await backend.open_file("d/of-others", options_for(exclusive=True))
    await backend.close()


async def test_a_directory_that_is_too_large_is_not_listed_again_and_again(
    bucket: MemoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_looks, "LARGE_PAGES", 2)
    backend = ObjectBackend(bucket, "", ObjectSettings(attribute_seconds=60))
    await backend.open()
    looks = backend._tree.directories
    await fill(bucket, *(f"d/k{number}" for number in range(2001)))
    for turn in range(3):
        looks._asked.clear()
        bucket.calls.clear()
        for number in range(30):
            assert not await exists(backend, f"d/{turn}-{number}")
        await asyncio.gather(*looks._learning.values())
        assert bucket.calls["head"] == 30
        # Besides each name: unfinished uploads, the first page, and two to see that there are more.
        assert bucket.calls["pages"] == 30 + (1 + 1 + 2 if turn == 0 else 0), turn
    await backend.close()


async def test_closing_ends_a_list_that_is_under_way(bucket: MemoryBucket) -> None:
    backend = ObjectBackend(bucket, "")
    await backend.open()
    await fill(bucket, *(f"d/k{number}" for number in range(1001)))
    for number in range(39):
        assert not await exists(backend, f"d/{number}")
    hangs = Fault("pages", error=None)  # the list begins before the question that brings it about is asked
    bucket.faults.append(hangs)
    assert not await exists(backend, "d/one-more")
    await hangs.reached.wait()
    await backend.close()
    assert not backend._tree.directories._learning


async def test_what_others_change_is_seen_after_the_seconds(bucket: MemoryBucket) -> None:
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await put(backend, "f", b"mine")
    await fill(bucket, "f")
    assert (await backend.stat("f")).size == 4
    now += 6
    assert (await backend.stat("f")).size == 1
    await backend.close()


async def test_what_was_a_file_is_asked_for_by_one_request(bucket: MemoryBucket) -> None:
    """If it is gone or has become a directory, that costs a second one."""
    now = 100.0
    backend = ObjectBackend(bucket, "")
    backend._cache._clock = lambda: now
    await backend.open()
    await fill(bucket, "f", "d/x")
    for expected in ({"head": 1, "pages": 1}, {"head": 1}, {"head": 1}):
        bucket.calls.clear()
        assert (await backend.stat("f")).is_file
        assert bucket.calls == expected
        now += 3600
    await bucket.delete(["f"])
    assert not await exists(backend, "f")
    assert (await backend.stat("d/x")).is_file
    await bucket.delete(["d/x"])
    await fill(bucket, "d/x/y")
    now += 6
    assert (await backend.stat("d/x")).is_dir
    await fill(bucket, "d/x")
    now += 6
    assert (await backend.stat("d/x")).is_file
    await backend.close()


async def test_an_answer_from_before_an_own_change_is_not_kept(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await fill(bucket, "home/f")
    since = backend._cache.changes
    old = await bucket.head("home/f")
    await put(backend, "f", b"longer than it was")
    from tidegate.backends.objects.attributes import Node

    backend._cache.learn("home/f", Node(old), since)
    assert (await backend.stat("f")).size == 18


UNSURE: dict[str, tuple[str, int, Callable[[ObjectBackend], Awaitable[Any]]]] = {
    "mkdir": ("put", 1, lambda backend: backend.mkdir("new")),
    "rmdir": ("delete", 1, lambda backend: backend.rmdir("empty")),
    "remove": ("delete", 1, lambda backend: backend.remove("d/old")),
    "upload": ("put", 1, lambda backend: put(backend, "d/new", b"x")),
    "copy": ("copy", 1, lambda backend: backend.copy("d/old", "d/new", replace=False)),
    "rename, copied": ("copy", 1, lambda backend: backend.rename("d/old", "d/new", replace=False)),
    "rename, removed": ("delete", 1, lambda backend: backend.rename("d/old", "d/new", replace=False)),
    "times": ("copy", 1, lambda backend: backend.set_attrs("d/old", Attrs(mtime_ns=WHEN))),
    "times of a directory": ("put", 1, lambda backend: backend.set_attrs("empty", Attrs(mtime_ns=WHEN))),
}


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("act", UNSURE)
async def test_what_was_done_is_seen_though_its_answer_did_not_come(
    bucket: MemoryBucket, backend: ObjectBackend, act: str, cancelled: bool
) -> None:
    """All that was known of the names before is forgotten."""
    name, nth, work = UNSURE[act]
    await fill(bucket, "home/d/old", "home/empty/")
    for directory in ("", "d"):
        for number in range(4):  # so often that all the directory holds is known
            await exists(backend, f"{directory}/none{number}".lstrip("/"))
    for known in ("new", "d/new", "d/old", "empty"):
        await exists(backend, known)
    fault = Fault(name, nth, after=True)
    if cancelled:
        fault.error = None
    bucket.faults.append(fault)
    working = asyncio.ensure_future(work(backend))
    if cancelled:
        await asyncio.wait_for(fault.reached.wait(), 10)
        working.cancel()
    with pytest.raises((StorageFailed, asyncio.CancelledError)):
        await working
    bucket.faults.clear()
    there = set(bucket.contents)
    for key in ("new", "empty"):
        assert await exists(backend, key) == (f"home/{key}/" in there), key
    for key in ("d/old", "d/new"):
        assert await exists(backend, key) == (f"home/{key}" in there), key
    if act == "times":
        assert (await backend.stat("d/old")).mtime_ns == WHEN
    if act == "times of a directory":
        assert (await backend.stat("empty")).mtime_ns == WHEN


async def test_a_directory_of_others_takes_files_at_once(bucket: MemoryBucket) -> None:
    """An upload is not refused before the service was asked, whatever is known."""
    one, other = ObjectBackend(bucket, "home"), ObjectBackend(bucket, "home")
    for backend in (one, other):
        await backend.open()
    for number in range(4):
        await exists(one, f"none{number}")
    assert not await exists(one, "d")
    await other.mkdir("d")
    await put(one, "d/file", b"x")
    await one.mkdir("d/e")
    assert await names(one, "d") == ["e", "file"]
    with pytest.raises(NotFound):
        await put(one, "missing/file", b"x")
    with pytest.raises(NotFound):
        await one.mkdir("missing/e")
    await one.close()
    await other.close()


@pytest.mark.parametrize("name", ["copy", "pages", "delete"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_tree_is_whole_whatever_fails(name: str, nth: int) -> None:
    bucket = MemoryBucket()
    await fill(bucket, *(f"d/{number}" for number in range(5)), "d/sub/x", "d/")
    before = bucket.contents
    backend = ObjectBackend(bucket, "", ObjectSettings(requests=2))
    await backend.open()
    bucket.faults.append(Fault(name, nth + 1 if name == "pages" else nth))
    try:
        await backend.rename("d", "e", replace=False)
    except StorageFailed:
        after = bucket.contents
        whole = {key.replace("d/", "e/", 1): data for key, data in before.items()}
        complete_old = before.items() <= after.items()
        complete_new = whole.items() <= after.items()
        assert complete_old or complete_new
        if not complete_new:
            assert after == before
    else:
        assert not any(key.startswith("d/") for key in bucket.contents)
    await backend.close()


async def test_exists_helper_and_missing(backend: ObjectBackend) -> None:
    assert not await exists(backend, "nothing")
    with pytest.raises(NotFound):
        await names(backend, "nothing")


async def _stuck_rename(
    bucket: MemoryBucket, backend: ObjectBackend, name: str, nth: int
) -> asyncio.Task[None]:
    """A rename of d to e that waits in the nth call of `name`."""
    stuck = Fault(name, nth, error=None)
    bucket.faults.append(stuck)
    renaming = asyncio.create_task(backend.rename("d", "e", replace=False))
    await asyncio.wait_for(stuck.reached.wait(), 10)
    return renaming


async def test_a_rename_that_is_undone_leaves_what_others_put_there(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    await fill(bucket, "home/d/1", "home/d/2", "home/d/3")
    renaming = await _stuck_rename(bucket, backend, "copy", 3)
    await fill(bucket, "home/e/of another")
    renaming.cancel()
    await asyncio.gather(renaming, return_exceptions=True)
    left = [key for key in bucket.contents if not key.endswith("/")]
    assert left == ["home/d/1", "home/d/2", "home/d/3", "home/e/of another"]


@pytest.mark.parametrize("content", [b"another", b"changed!"])
async def test_a_file_that_is_replaced_during_a_rename_moves_as_it_is(
    bucket: MemoryBucket, backend: ObjectBackend, content: bytes
) -> None:
    times = itertools.count(1_700_000_000)
    bucket.service.clock = lambda: next(times)
    await fill(bucket, "home/d/1", "home/d/2")
    copying, replaced = bucket.copy, list[str]()

    async def replaced_behind_it(source: Stored, key: str, *args: Any, **kwargs: Any) -> Stored:
        made = await copying(source, key, *args, **kwargs)
        if key == "home/e/1" and not replaced:
            replaced.append(key)
            await bucket.put("home/d/1", content, {})
        return made

    bucket.copy = replaced_behind_it  # type: ignore[method-assign]
    await backend.rename("d", "e", replace=False)
    files = {key: data for key, data in bucket.contents.items() if not key.endswith("/")}
    assert files == {"home/e/1": content, "home/e/2": b"home/d/2"}


async def test_times_that_are_set_in_the_second_of_a_listing_are_shown(
    bucket: MemoryBucket, backend: ObjectBackend
) -> None:
    bucket.service.clock = lambda: 1_700_000_000.0
    # The ETag is that of the content, as with S3.
    bucket.service.numbers = itertools.repeat(1)  # type: ignore[assignment]
    await fill(bucket, "home/f")

    async def listed() -> list[int]:
        return [entry.mtime_ns async for batch in backend.list("") for entry in batch]

    assert await listed() == [1_700_000_000 * 10**9]
    await backend.set_attrs("f", Attrs(mtime_ns=5 * 10**9))
    assert await listed() == [5 * 10**9]
    assert (await backend.stat("f")).mtime_ns == 5 * 10**9
