# SPDX-License-Identifier: Apache-2.0
"""A crash in the middle: parts of uploads are removed, renames of directories are completed."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.support.memory_bucket import Fault, MemoryBucket

from tidegate.abc import Publish, StorageHost
from tidegate.backends.host_journal import RENAME, UPLOAD, Journal, Note
from tidegate.backends.objects import backend as backend_module
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.s3_kind import settings_of
from tidegate.backends.objects.s3_options import S3Options
from tidegate.backends.objects.settings import ObjectSettings, ObjectShared
from tidegate.errors import StorageFailed
from tidegate.testing.backend import names, options_for

DATA = random.Random(11).randbytes(30_000)


def backend_of(
    bucket: MemoryBucket, journal: Path, shared: ObjectShared | None = None, service: str = ""
) -> ObjectBackend:
    settings = ObjectSettings(upload_part_size=4096, journal_dir=str(journal), requests=2, service=service)
    return ObjectBackend(bucket, "root", settings, shared)


def die(shared: ObjectShared) -> None:
    """End the locks of a process as its end does."""
    for journal in shared._journals.values():
        if journal._lock >= 0:
            os.close(journal._lock)
        journal._lock = -1
        journal._own = ""


async def test_parts_of_an_atomic_upload_are_removed(tmp_path: Path) -> None:
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    handle = await backend.open_file("f", options_for(Publish.ATOMIC))
    for at in range(0, len(DATA), 1000):
        await handle.write(at, DATA[at : at + 1000])
    assert len(bucket.service.pending) == 1
    alive = backend_of(MemoryBucket(bucket.service), tmp_path)
    await alive.open()  # the other process lives: nothing is taken from it
    assert len(bucket.service.pending) == 1
    die(shared)
    other = backend_of(MemoryBucket(bucket.service), tmp_path)
    await other.open()
    assert not bucket.service.pending
    await other.close()
    await alive.close()


async def test_notes_go_with_their_acts(tmp_path: Path) -> None:
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    for _ in range(3):
        handle = await backend.open_file("f", options_for(Publish.ATOMIC))
        await handle.write(0, DATA)
        await handle.close()
    await backend.mkdir("d")
    await backend.rename("d", "e", replace=False)
    await backend.close()
    shared.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["copy", "delete"])
@pytest.mark.parametrize("nth", range(1, 8))
async def test_a_rename_of_a_directory_is_completed(tmp_path: Path, name: str, nth: int) -> None:
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    await backend.mkdir("d")
    wanted = {f"root/e/{number}": str(number).encode() for number in range(6)}
    for key, data in wanted.items():
        await bucket.put(key.replace("/e/", "/d/"), data, {"mtime": "7"})
    stuck = Fault(name, nth, error=None)
    bucket.faults.append(stuck)
    renaming = asyncio.create_task(backend.rename("d", "e", replace=False))
    reached = asyncio.create_task(stuck.reached.wait())
    await asyncio.wait([renaming, reached], return_when=asyncio.FIRST_COMPLETED)
    if not stuck.reached.is_set():
        reached.cancel()
        await renaming
        return  # there are fewer such calls
    contents = bucket.contents
    old = {key.replace("/e/", "/d/"): data for key, data in wanted.items()}
    assert old.items() <= contents.items() or wanted.items() <= contents.items()
    die(shared)
    other = backend_of(MemoryBucket(bucket.service), tmp_path)
    await other.open()
    assert bucket.contents == wanted | {"root/e/": b""}
    assert await names(other) == ["e"]
    await other.close()
    bucket.opened = True
    renaming.cancel()
    await asyncio.gather(renaming, return_exceptions=True)


async def test_what_cannot_be_ended_now_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Journal(str(tmp_path))
    bucket = MemoryBucket()
    bucket.opened = True
    upload = await bucket.begin("root/f", {})
    dead.add(Note(UPLOAD, bucket.location(""), "root/f", upload.id))
    dead.close()
    bucket.faults.append(Fault("abort"))
    shared = ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    assert "does not answer" in caplog.text
    assert len(bucket.service.pending) == 1
    await backend.close()
    shared.close()
    again = backend_of(bucket, tmp_path)
    await again.open()
    assert not bucket.service.pending
    await again.close()


async def test_notes_about_other_roots_and_nonsense_stay(tmp_path: Path) -> None:
    dead = Journal(str(tmp_path))
    dead.add(Note(UPLOAD, "memory://bucket/", "elsewhere/f", "u1"))
    dead.add(Note(UPLOAD, "memory://another/", "root/f", "u1"))
    path = Path(dead.add(Note(UPLOAD, "memory://bucket/", "root/f", "u1")))
    for nonsense in (
        "",
        "[]",
        "{",
        json.dumps(asdict(Note("x", "y", "z", "w")) | {"key": 5}),
        '{"key": "x", "begun": "0"}',
    ):
        path.write_text(nonsense)
    dead.close()
    backend = backend_of(MemoryBucket(), tmp_path)
    await backend.open()
    await backend.close()
    assert len([file for file in tmp_path.rglob("*") if file.is_file() and file.name != "lock"]) == 3


async def test_a_bucket_of_the_same_name_at_another_service_is_left_alone(tmp_path: Path) -> None:
    dead = Journal(str(tmp_path))
    dead.add(Note(RENAME, "https://one.example memory://bucket/", "root/d/", "root/e/"))
    dead.close()
    for service, wanted in (("", "d"), ("https://two.example", "d"), ("https://one.example", "e")):
        bucket = MemoryBucket()
        bucket.opened = True
        await bucket.put("root/d/file", b"file", {})
        backend = backend_of(bucket, tmp_path, service=service)
        await backend.open()
        assert f"root/{wanted}/file" in bucket.contents, service
        await backend.close()


def test_the_service_of_a_bucket_is_its_endpoint() -> None:
    host = StorageHost(journal_dir="/journal")
    assert settings_of(S3Options(bucket="b"), host).service == ""
    there = S3Options(bucket="b", endpoint="https://s3.example:9000/")
    assert settings_of(there, host).service == "https://s3.example:9000"


def test_threads_that_note_at_the_same_time_share_one_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    journal, inside, go_on = Journal(str(tmp_path / "journal")), threading.Event(), threading.Event()
    flock = fcntl.flock

    def slow(descriptor: int, operation: int) -> None:
        inside.set()
        go_on.wait(0.2)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    note = Note(UPLOAD, "memory://bucket/", "root/f", "u1")
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(journal.add, note)
        assert inside.wait(10)
        second = threads.submit(journal.add, note)
        with suppress(TimeoutError):
            second.result(0.05)  # without a lock it is through by now
        go_on.set()
        paths = [Path(first.result()), Path(second.result())]
    assert paths[0].parent == paths[1].parent
    assert {path.parent.parent for path in paths} == {tmp_path / "journal"}
    for path in paths:
        journal.remove(str(path))
    journal.close()


@pytest.mark.parametrize("fault", [Fault("copy"), Fault("copy", error=None)])
async def test_what_is_not_ended_when_a_root_is_closed_is_ended_when_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(backend_module, "RECOVERY_SECONDS", 0.01)
    dead = Journal(str(tmp_path))
    dead.add(Note(RENAME, "memory://bucket/", "root/d/", "root/e/"))
    dead.close()
    bucket, shared = MemoryBucket(), ObjectShared()
    bucket.opened = True
    for name in ("1", "2"):
        await bucket.put(f"root/d/{name}", name.encode(), {"mtime": "7"})
    bucket.faults.append(fault)
    for wanted in ("d", "e"):  # the first session leaves, or finds the service down
        backend = backend_of(bucket, tmp_path, shared)
        await backend.open()
        await backend.close()
        assert f"root/{wanted}/2" in bucket.contents
    assert {key: data for key, data in bucket.contents.items() if not key.endswith("/")} == {
        "root/e/1": b"1",
        "root/e/2": b"2",
    }
    shared.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_rename_out_of_a_root_is_completed_by_who_sees_both_places(tmp_path: Path) -> None:
    dead = Journal(str(tmp_path))
    dead.add(Note(RENAME, "memory://bucket/", "root/d/sub/", "root/e/"))
    dead.close()
    bucket = MemoryBucket()
    bucket.opened = True
    await bucket.put("root/d/sub/1", b"1", {})
    settings = ObjectSettings(journal_dir=str(tmp_path))
    for prefix, wanted in (("root/d", "root/d/sub/1"), ("root", "root/e/1")):
        backend = ObjectBackend(bucket, prefix, settings)
        await backend.open()
        assert list(bucket.contents) == [wanted]
        await backend.close()


async def test_a_rename_that_broke_off_too_long_ago_is_told_and_nothing_moves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Journal(str(tmp_path))
    path = dead.add(Note(RENAME, "memory://bucket/", "root/d/", "root/e/"))
    upload = dead.add(Note(UPLOAD, "memory://bucket/", "root/f", "u1"))
    for old in (path, upload):
        os.utime(old, (1_700_000_000, 1_700_000_000))
    dead.close()
    bucket, shared = MemoryBucket(), ObjectShared()
    bucket.opened = True
    await bucket.put("root/d/1", b"1", {})
    for _ in range(2):  # told once
        backend = backend_of(bucket, tmp_path, shared)
        await backend.open()
        await backend.close()
    assert list(bucket.contents) == ["root/d/1"]
    (line,) = [record.getMessage() for record in caplog.records]
    (aside,) = tmp_path.glob("not-completed-*")
    for told in ("root/d/", "root/e/", "2023-11-14 22:13:20 UTC", str(aside), "rename_note_hours"):
        assert told in line
    assert json.loads(aside.read_text())["key"] == "root/d/"
    shared.close()
    assert list(tmp_path.iterdir()) == [aside]


@pytest.mark.parametrize("old", [b"old", None])
@pytest.mark.parametrize("when", ["before", "published", "seen", "others"])
async def test_uploads_without_a_verdict(tmp_path: Path, old: bytes | None, when: str) -> None:
    """They go, and what was there comes back; what others have put there stays, and what nobody can tell."""
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    if old is not None:
        await bucket.put("root/f", old, {})
    upload = await backend.open_file("f", options_for(Publish.ATOMIC))
    await upload.write(0, b"new")
    hidden, kept = await backend.set_aside("f", upload)
    assert kept == (old is not None)
    if when != "before":
        await upload.close()
    if when in {"seen", "others"}:
        await backend.replaced(hidden, "f")
    if when == "others":
        await bucket.put("root/f", b"theirs", {})
    die(shared)
    other = backend_of(MemoryBucket(bucket.service), tmp_path)
    await other.open()
    before = {} if old is None else {"root/f": old}
    wanted = {
        "before": before,
        "published": {"root/f": b"new"} | ({} if old is None else {"root/f (replaced 1)": old}),
        "seen": before,
        "others": {"root/f": b"theirs"},
    }
    assert bucket.contents == wanted[when]
    await other.close()


@pytest.mark.parametrize("old", [b"old", None])
async def test_the_end_of_an_upload_that_was_refused_is_tried_again(
    tmp_path: Path, old: bytes | None
) -> None:
    """`put_back` fails once: the upload is removed all the same, and the next who opens the root does the rest."""
    bucket, shared = MemoryBucket(), ObjectShared()
    backend = backend_of(bucket, tmp_path, shared)
    await backend.open()
    if old is not None:
        await bucket.put("root/f", old, {})
    upload = await backend.open_file("f", options_for(Publish.ATOMIC))
    await upload.write(0, b"new")
    hidden, _ = await backend.set_aside("f", upload)
    await upload.close()
    await backend.replaced(hidden, "f")
    bucket.faults.append(Fault("head", 1))
    with pytest.raises(StorageFailed):
        await backend.put_back(hidden, "f")
    assert await backend.withdraw(hidden, "f")
    assert "root/f" not in bucket.contents
    other = backend_of(bucket, tmp_path, shared)
    await other.open()
    assert bucket.contents == ({} if old is None else {"root/f": old})
    await other.close()
