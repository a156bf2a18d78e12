# SPDX-License-Identifier: Apache-2.0
"""Counters and their limits at the edge, how much a count has seen, and copies whose original changes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import World, p, put

from tidegate.abc import Backend, OpenOptions
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.errors import PeerLimit, QuotaExceeded, StorageFull, TooLarge
from tidegate.model import StorageSpec
from tidegate.policy.quota import (
    MAX_FILE_BYTES,
    UNLIMITED,
    ChargeSet,
    QuotaLimit,
    UsageCounter,
    megabytes,
    require,
)
from tidegate.testing.backend import options_for
from tidegate.testing.backend import put as put_file
from tidegate.vfs.usage.scan import ENTRIES_PER_BREATH, Scan, measure

Warned = list[tuple[str, int, int, int]]


@pytest.fixture
def warned() -> Warned:
    return []


@pytest.fixture
def quota_limit(warned: Warned) -> Callable[..., QuotaLimit]:
    """A limit over a counter that has `used` of `limit`."""

    def make(used: int, limit: int = 100, *, soft: bool = False, unit: str = "bytes") -> QuotaLimit:
        warn = lambda *said: warned.append(said)  # noqa: E731  shorter than a method
        return UsageCounter(used).quota_limit("quota_size", limit, soft=soft, unit=unit, warn=warn)

    return make


def refused(act: Callable[[], None]) -> bool:
    try:
        act()
    except QuotaExceeded:
        return True
    return False


# -- counts and marks ----------------------------------------------------------------------------------------


def test_a_count_is_never_below_zero() -> None:
    count = UsageCounter(-5)
    assert (count.used, count.saved) == (0, 0)
    count.add(3)
    count.add(-7)
    assert (count.used, count.saved) == (0, 0)
    count.reset(9)
    assert (count.used, count.saved) == (9, 9)
    count.reset(-1)
    assert (count.used, count.saved) == (0, 0)


@pytest.mark.parametrize(
    ("now", "says", "since", "used"), [(12, 30, 10, 32), (10, 30, 10, 30), (7, 30, 10, 27), (0, 5, 10, 0)]
)
def test_what_was_charged_since_is_kept(now: int, says: int, since: int, used: int) -> None:
    count = UsageCounter(now)
    count.rebase(says, since)
    assert (count.used, count.saved) == (used, says)


def test_sessions_with_the_same_limit_share_a_gauge(quota_limit: Callable[..., QuotaLimit]) -> None:
    first = quota_limit(5)
    count = first.count
    assert count.quota_limit("quota_size", 100, warn=lambda *_: None) is first
    for other in (("quota_size", 101, False), ("other", 100, False), ("quota_size", 100, True)):
        assert count.quota_limit(other[0], other[1], soft=other[2], warn=lambda *_: None) is not first
    assert len(count.quota_limits) == 4


def test_a_limit_that_is_changed_again_and_again_takes_no_more_room(
    quota_limit: Callable[..., QuotaLimit], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.policy.quota.MAX_QUOTA_LIMITS", 3)
    oldest = quota_limit(5)
    count = oldest.count
    warned: list[int] = []
    newest = [
        count.quota_limit("quota_size", limit, warn=lambda *said: warned.append(said[-1]))
        for limit in (201, 202, 203)
    ]
    assert list(count.quota_limits.values()) == newest
    count.add(190)
    assert warned == [201, 202, 203], "those that are kept warn"
    assert oldest.reached(), "who has it still meets it"


@pytest.mark.parametrize(
    ("limit", "marks"),
    [
        (100, (80, 95)),
        (1, (1, 1)),
        (2, (2, 2)),
        (3, (3, 3)),
        (7, (6, 7)),
        (101, (81, 96)),
        (1000, (800, 950)),
    ],
)
def test_the_marks_of_a_limit(
    quota_limit: Callable[..., QuotaLimit], warned: Warned, limit: int, marks: tuple[int, int]
) -> None:
    """A warning comes with the first byte that is 80 or 95 per cent of the limit, and once."""
    charges = quota_limit(0, limit)
    for used in range(1, limit + 2):
        charges.count.add(1)
        crossed = [mark for mark in marks if mark <= used]
        # Both at once where one step crosses both: then the higher is told.
        assert [said[1] for said in warned] == (
            [95] if marks[0] == marks[1] and crossed else [80, 95][: len(crossed)]
        )
    assert all(
        said == ("quota_size", said[1], marks[index - len(warned)], limit)
        for index, said in enumerate(warned)
    )
    warned.clear()
    for used in range(limit, -1, -1):
        charges.count.add(used - charges.count.used)
    assert warned == []
    charges.count.add(limit)  # in one step
    assert warned == [("quota_size", 95, limit, limit)]


@pytest.mark.parametrize(
    ("used", "warn_at", "calm_from"),
    [(79, 80, 0), (80, 95, 80), (94, 95, 80), (95, UNLIMITED, 95), (200, UNLIMITED, 95)],
)
def test_what_stands_at_the_beginning_is_no_news(
    quota_limit: Callable[..., QuotaLimit], warned: Warned, used: int, warn_at: int, calm_from: int
) -> None:
    made = quota_limit(used)
    assert (made.warn_at, made.calm_from) == (warn_at, calm_from)
    made.count.reset(used)
    assert warned == []


def test_a_mark_warns_again_only_after_it_was_left(
    quota_limit: Callable[..., QuotaLimit], warned: Warned
) -> None:
    made = quota_limit(0)
    for used, news in (
        (80, 1),
        (81, 1),
        (80, 1),
        (79, 1),
        (80, 2),
        (95, 3),
        (94, 3),
        (95, 4),
        (79, 4),
        (95, 5),
    ):
        made.count.add(used - made.count.used)
        assert len(warned) == news, used


# -- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "amount", "fits"), [(90, 10, True), (90, 11, False), (100, 0, True), (101, 0, False)]
)
def test_room_up_to_a_limit(
    quota_limit: Callable[..., QuotaLimit], used: int, amount: int, fits: bool
) -> None:
    assert refused(lambda: require((quota_limit(used),), amount)) is not fits
    assert not refused(lambda: require((quota_limit(used, soft=True),), 10**12))  # one file may cross
    assert (
        refused(lambda: require((quota_limit(0), quota_limit(used)), amount)) is not fits
    )  # each of them is asked


@pytest.mark.parametrize(
    ("size", "files", "fits"),
    [
        (10, 0, True),
        (11, 0, False),
        (-50, 0, True),
        (0, 1, True),
        (0, 2, False),
        (0, -2, True),
        (10, 1, True),
        (11, 1, False),
        (10, 2, False),
    ],
)
def test_charging_is_whole_or_nothing(
    quota_limit: Callable[..., QuotaLimit], size: int, files: int, fits: bool
) -> None:
    grow, names = quota_limit(90), quota_limit(2, 3, unit="files")
    charges = ChargeSet(grow_limits=(grow,), grow=(grow.count,), file_limits=(names,), files=(names.count,))
    assert refused(lambda: charges.charge(size, files)) is not fits
    assert (grow.count.used, names.count.used) == ((90 + size, 2 + files) if fits else (90, 2))


def test_what_shrinks_is_never_refused(quota_limit: Callable[..., QuotaLimit]) -> None:
    grow, names = quota_limit(500), quota_limit(9, 3, unit="files")
    charges = ChargeSet(grow_limits=(grow,), grow=(grow.count,), file_limits=(names,), files=(names.count,))
    for size, files in ((-1, 0), (0, -1), (-1, -1), (0, 0)):
        charges.charge(size, files)
    assert (grow.count.used, names.count.used) == (498, 7)
    assert refused(lambda: charges.charge(1, -1)) and refused(lambda: charges.charge(-1, 1))
    charges.credit(5, 5)  # without asking
    assert (grow.count.used, names.count.used) == (503, 12)


@pytest.mark.parametrize(
    ("used", "replaced", "starts"),
    [(99, 0, True), (100, 0, False), (100, 1, True), (101, 50, False), (100, 100, True)],
)
@pytest.mark.parametrize("soft", [False, True])
def test_whether_an_upload_starts(
    quota_limit: Callable[..., QuotaLimit], used: int, replaced: int, starts: bool, soft: bool
) -> None:
    charges = ChargeSet(grow_limits=(quota_limit(used, soft=soft),))
    assert refused(lambda: charges.may_upload(new=False, replaced=replaced)) is not starts


@pytest.mark.parametrize(("used", "starts"), [(2, True), (3, False), (4, False)])
def test_files_and_traffic_at_the_start(
    quota_limit: Callable[..., QuotaLimit], used: int, starts: bool
) -> None:
    at = (quota_limit(used, 3, unit="files"),)
    for charges, new in (
        (ChargeSet(file_limits=at), True),
        (ChargeSet(up_limits=at), True),
        (ChargeSet(up_limits=at), False),
    ):
        assert refused(lambda charges=charges, new=new: charges.may_upload(new=new, replaced=0)) is not starts
    ChargeSet(file_limits=at).may_upload(new=False, replaced=0)
    ChargeSet(down_limits=at, fetch_limits=at).may_upload(new=True, replaced=0)
    for charges in (ChargeSet(down_limits=at), ChargeSet(fetch_limits=at)):
        assert refused(charges.may_download) is not starts
    ChargeSet(up_limits=at, file_limits=at, grow_limits=at).may_download()


@pytest.mark.parametrize(("limit", "size", "error"), [
    (10, 10, None), (10, 11, TooLarge), (MAX_FILE_BYTES - 1, MAX_FILE_BYTES, TooLarge),
    (MAX_FILE_BYTES, MAX_FILE_BYTES, None), (MAX_FILE_BYTES, MAX_FILE_BYTES + 1, StorageFull),
])  # fmt: skip
def test_the_largest_file(limit: int, size: int, error: type[Exception] | None) -> None:
    charges = ChargeSet(max_file=limit)
    if error is None:
        charges.require_size(size)
    else:
        with pytest.raises(error):
            charges.require_size(size)


@pytest.mark.parametrize(
    ("used", "limit", "soft", "unit", "reading", "text"),
    [
        (90, 100, False, "bytes", False, "denying write due to space limit: 90 bytes of 100 bytes used (quota_size)"),
        (120, 100, False, "bytes", False, "denying write due to space limit: 100 bytes of 100 bytes used (quota_size)"),
        (120, 100, True, "bytes", False, "denying write due to space limit: 120 bytes of 100 bytes used (quota_size)"),
        (3, 3, False, "files", False, "denying write due to space limit: 3 of 3 files used (quota_size)"),
        (5, 3, False, "files", False, "denying write due to space limit: 3 of 3 files used (quota_size)"),
        (100, 100, False, "bytes", True, "denying read due to quota limit: 100 bytes of 100 bytes used (quota_size)"),
        (10485760, 10485760, False, "bytes", False, "denying write due to space limit: 10.0 MB of 10.0 MB used (quota_size)"),
    ],
)  # fmt: skip
def test_what_a_refusal_says(  # noqa: PLR0917  one row of the table
    quota_limit: Callable[..., QuotaLimit],
    used: int,
    limit: int,
    soft: bool,
    unit: str,
    reading: bool,
    text: str,
) -> None:
    assert quota_limit(used, limit, soft=soft, unit=unit).error(reading=reading).text == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (104_857, "104857 bytes"),
        (104_858, "0.1 MB"),
        (1_048_576, "1.0 MB"),
        (1_572_864, "1.5 MB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert megabytes(size) == text


# -- counting what is there ----------------------------------------------------------------------------------


async def test_counting_tells_how_far_it_is_and_stops_at_its_limit() -> None:
    backend = MemoryBackend()
    await backend.mkdir("d")
    for number in range(3):
        await put_file(backend, f"d/f{number}", b"x" * 10)
    progress = Scan("user", "alice")
    assert await measure(backend, "", progress=progress) == (30, 3)
    assert (progress.size, progress.files) == (30, 3)
    assert await measure(backend, "d", limit=3) == (30, 3)
    with pytest.raises(PeerLimit, match="too many files"):
        await measure(backend, "d", limit=2)
    assert await measure(backend, "gone") == (0, 0)
    assert await measure(backend, "d/f0") == (0, 0)


async def test_counting_lets_others_have_their_turn() -> None:
    """Memory answers without waiting, so that only counting itself can make way."""
    backend = MemoryBackend()
    for number in range(3 * ENTRIES_PER_BREATH):
        handle = await backend.open_file(f"f{number}", options_for())
        await handle.close()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await asyncio.sleep(0)
    before = turns
    assert await measure(backend, "") == (0, 3 * ENTRIES_PER_BREATH)
    assert 2 <= turns - before <= 4  # neither never, nor after each batch
    task.cancel()


# -- copies --------------------------------------------------------------------------------------------------


class _Moving(LocalBackend):
    """Storage on which somebody else changes the file ``/a`` just before it is opened for reading."""

    change: Any = None

    async def open_file(self, key: str, options: OpenOptions) -> Any:
        if key == "a" and options.read and not options.write and self.change is not None:
            self.change()
        return await super().open_file(key, options)


class _MovingWorld(World):
    change: Any = None

    def build(self, spec: StorageSpec) -> Backend:
        backend = _Moving(spec.directory, create=True)
        backend.change = lambda: self.change() if self.change else None
        return backend


@pytest.mark.parametrize("size", [0, 5, 19, 20, 21, 400_000])
@pytest.mark.parametrize("target", ["/b", "/there/b"])
@pytest.mark.parametrize("old", [None, 7])
async def test_an_original_that_changes_while_it_is_copied(
    tmp_path: Path, size: int, target: str, old: int | None
) -> None:
    """The charge for the copy is its size, whichever way it was copied."""
    world = _MovingWorld(tmp_path)
    try:
        mount = world.mount("there", "/there")
        session = await world.login(world.account(quota_size=10_000_000, virtual_folders=(mount,)))
        await put(session, "/a", b"x" * 20)
        if old is not None:
            await put(session, target, b"o" * old)

        def change() -> None:
            os.truncate(world.home() / "a", size)

        world.change = change
        await session.copy(p("/a"), p(target), replace=True)
        world.change = None
        copied = (await session.stat(p(target))).size
        assert copied <= max(20, size)
        if target.startswith("/there"):
            assert copied == min(20, size)  # what was charged, and no more
        assert await world.used() == (20 + copied, 2)
    finally:
        await world.close()
