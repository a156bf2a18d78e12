# SPDX-License-Identifier: Apache-2.0
"""Directories that were opened a moment ago are opened again without a thread, if that cannot hang."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local.device import MAX_GUESSED, OPENED_NS, STALL_NS
from tidegate.errors import StorageFailed


class Threads(ThreadPoolExecutor):
    """Counts the jobs that it is given."""

    jobs = 0

    def submit(self, *args: Any, **keywords: Any) -> Future[Any]:
        self.jobs += 1
        return super().submit(*args, **keywords)


class Clock:
    """Nanoseconds that pass when told to."""

    now = 10**12

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def threads() -> Iterator[Threads]:
    with Threads(2) as pool:
        yield pool


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def devices(threads: Threads, clock: Clock) -> Devices:
    return Devices(threads, clock=clock)


async def opens_by_thread(devices: Devices, threads: Threads, path: Path) -> bool:
    before = threads.jobs
    backend = LocalBackend(str(path), devices=devices)
    await backend.open()
    assert [entry.name async for batch in backend.list("") for entry in batch] == ["f"]
    await backend.close()
    return threads.jobs > before


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "f").touch()
    return tmp_path / "home"


async def test_the_second_time_needs_no_thread_for_a_while(devices, threads, clock, home):
    assert await opens_by_thread(devices, threads, home)
    assert not await opens_by_thread(devices, threads, home)
    clock.now += OPENED_NS - 1
    assert not await opens_by_thread(devices, threads, home)
    clock.now += 1
    assert await opens_by_thread(devices, threads, home)
    assert not await opens_by_thread(devices, threads, home)


async def test_a_slow_device_has_threads_again(devices, threads, home):
    assert await opens_by_thread(devices, threads, home)
    devices.guess(str(home)).note(STALL_NS)
    assert await opens_by_thread(devices, threads, home)


async def test_a_link_on_the_way_always_means_a_thread(devices, threads, home, tmp_path):
    (tmp_path / "link").symlink_to(home)
    assert await opens_by_thread(devices, threads, tmp_path / "link")
    assert await opens_by_thread(devices, threads, tmp_path / "link")


async def test_a_directory_that_is_gone_is_told_in_the_same_words(devices, threads, home):
    assert await opens_by_thread(devices, threads, home)
    home.rename(home.with_name("elsewhere"))
    with pytest.raises(StorageFailed, match="storage root is missing or not a directory"):
        await LocalBackend(str(home), devices=devices).open()


async def test_what_is_remembered_is_bounded(devices):
    for number in range(3 * MAX_GUESSED):
        devices.note_opened(f"/srv/{number}")
        devices.guess(f"/srv/{number}")
    assert len(devices._opened) <= MAX_GUESSED
    assert len(devices._guessed) <= MAX_GUESSED
