# SPDX-License-Identifier: Apache-2.0
"""Handles, listings and the inline-or-thread policy of local storage."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate import errors
from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local import device as device_module
from tidegate.backends.local import files as files_module
from tidegate.backends.local.device import SLOW_CALL_NS, SLOW_PERIOD_NS, STALL_NS, Device
from tidegate.backends.local.errors import TABLE, translate
from tidegate.errors import InvalidArgument, InvalidHandle, StorageFailed, TidegateError
from tidegate.model import Attrs
from tidegate.testing.backend import get, names, options_for, put

READ = OpenOptions(read=True)
WRITE = OpenOptions(write=True, create=True)


class Clock:
    """Nanoseconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def devices(clock: Clock) -> Iterator[Devices]:
    devices = Devices(workers=4, clock=clock)
    yield devices
    devices.close()


@pytest.fixture
async def backend(tmp_path: Path, devices: Devices) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(str(tmp_path), devices=devices)
    await backend.open()
    yield backend
    await backend.close()


def at_once(step: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that must not suspend."""
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    step.close()
    pytest.fail("suspended")


def open_fds() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def the_device(backend: LocalBackend) -> Device:
    assert backend._device is not None
    return backend._device


# -- nothing suspends on a quick device ----------------------------------------------------------------------


async def test_quick_devices_answer_without_suspending(backend: LocalBackend) -> None:
    at_once(backend.mkdir("d"))
    for publish in Publish:
        handle = at_once(backend.open_file("d/f", options_for(publish)))
        at_once(handle.write(0, b"x" * 1000))
        assert handle.write_nowait(1000, b"y" * 1000)
        at_once(handle.set_attrs(Attrs(mode=0o600)))
        at_once(handle.close())
    handle = at_once(backend.open_file("d/f", READ))
    assert len(at_once(handle.read(0, 5000))) == 2000
    assert at_once(handle.read(2000, 100)) == b""
    buffer = bytearray(3000)
    assert handle.readinto_nowait(0, [memoryview(buffer)[:1500], memoryview(buffer)[1500:]]) == 2000
    at_once(handle.close())
    assert at_once(backend.stat("d/f")).size == 2000
    assert len(at_once(anext(backend.list("d")))) == 1
    at_once(backend.rename("d/f", "d/g", replace=False))
    at_once(backend.set_attrs("d/g", Attrs(size=10)))
    at_once(backend.remove("d/g"))
    at_once(backend.rmdir("d"))


async def test_reads_of_what_is_not_in_memory(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "cold").write_bytes(os.urandom(1024) * 1024)
    wanted = (tmp_path / "cold").read_bytes()
    handle = await backend.open_file("cold", READ)
    fd = handle._fd  # type: ignore[attr-defined]
    os.sync()
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    room = memoryview(bytearray(65536))
    assert handle.readinto_nowait(0, [room]) in {None, *range(4096, 65537)}
    assert await handle.read(0, 2_000_000) == wanted
    await handle.close()


async def test_short_answers_mean_the_end(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that is cached only in part is not answered in part: a peer would take that for the end."""
    await put(backend, "f", b"0123456789")
    handle = await backend.open_file("f", READ)
    real = os.preadv

    def edge(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        if offset >= edge_at:
            raise BlockingIOError(errno.EAGAIN, "")
        whole = bytearray(min(edge_at - offset, sum(map(len, buffers))))
        count = real(fd, [whole], offset)
        for buffer in buffers:
            piece, whole = whole[: len(buffer)], whole[len(buffer) :]
            buffer[: len(piece)] = piece
        return count

    first, second, third = (memoryview(bytearray(size)) for size in (4, 4, 20))
    monkeypatch.setattr(os, "preadv", edge)
    edge_at = 6
    assert handle.readinto_nowait(0, [first, second]) is None
    assert await handle.read(0, 100) == b"0123456789"
    assert handle.readinto_nowait(0, [first]) == 4
    monkeypatch.setattr(os, "preadv", real)
    assert handle.readinto_nowait(0, [first, second, third]) == 10
    assert bytes(first) + bytes(second) + bytes(third[:2]) == b"0123456789"
    await handle.close()


async def test_without_nowait(backend: LocalBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems that do not know RWF_NOWAIT are read inline while they are quick, else in threads."""
    await put(backend, "f", b"content")
    handle = await backend.open_file("f", READ)
    device = handle._device  # type: ignore[attr-defined]
    real = os.preadv
    flags_seen = []

    def refusing(fd: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
        flags_seen.append(flags)
        if flags:
            raise OSError(errno.EOPNOTSUPP, "")
        return real(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", refusing)
    room = [memoryview(bytearray(100))]
    device.in_memory, device.threaded = False, True
    assert handle.readinto_nowait(0, room) is None
    assert handle.readinto_nowait(0, room) is None
    assert flags_seen == [os.RWF_NOWAIT]
    assert await handle.read(0, 100) == b"content"
    device.threaded = False
    assert handle.readinto_nowait(0, room) == 7
    device.slow_until = clock.now + 1
    assert handle.readinto_nowait(0, room) is None
    device.in_memory = True
    assert handle.readinto_nowait(0, room) == 7
    await handle.close()


# -- the policy ----------------------------------------------------------------------------------------------


def test_slow_calls_send_a_device_to_threads(clock: Clock) -> None:
    device = Device("ext4", 1, clock, threaded=False)
    device.note(SLOW_CALL_NS - 1)
    assert device.fast()
    device.note(SLOW_CALL_NS)
    assert device.fast(), "one strike may be a busy processor"
    clock.now += SLOW_CALL_NS
    device.note(SLOW_CALL_NS)
    assert not device.fast()
    clock.now += SLOW_PERIOD_NS
    assert device.fast()
    clock.now += SLOW_PERIOD_NS
    device.note(STALL_NS)
    assert not device.fast()


@pytest.mark.parametrize(
    ("fstype", "threaded"),
    [("ext4", False), ("xfs", False), ("tmpfs", False), ("overlay", False), ("", False)]
    + [(name, True) for name in ("nfs4", "cifs", "smb3", "fuse.sshfs", "fuseblk", "9p", "ceph", "virtiofs")],
)
def test_network_file_systems_always_use_threads(devices: Devices, fstype: str, threaded: bool) -> None:
    device = devices._remember(hash(fstype) & 0xFFFF, fstype)
    assert device.fast() is not threaded


def test_network_mounts_below_the_root(
    devices: Devices, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/a rw\n"
        "2 1 0:50 / /srv/u/far\\040away rw,x shared:1 - nfs4 host:/ rw\n"
        "3 1 0:51 / /srv/u/near rw - ext4 /dev/b rw\n"
        "4 1 0:52 / /srv/user2 rw - nfs4 host:/ rw\n"
        "broken line\n"
    )
    real_open = open
    monkeypatch.setattr(device_module, "open", lambda path, *a, **k: real_open(table, *a, **k), raising=False)
    below = devices.mounted_below("/srv/u")
    assert [key for key, _ in below] == ["far away"]
    assert below[0][1].threaded
    assert devices.guess("/srv/user2/x") is not devices.guess("/srv/u/x")
    assert devices.guess("/srv/user2/x").threaded
    assert not devices.guess("/srv/u").threaded
    assert devices.guess("/srv/u/far away/x") is below[0][1]
    backend = LocalBackend("/srv/u", devices=devices)
    backend._mounts = below
    backend._device = Device("ext4", 1, time.monotonic_ns, threaded=False)
    assert backend._device_of("far away/x") is below[0][1]
    assert backend._device_of("far away") is below[0][1]
    assert backend._device_of("far awayx") is backend._device


async def test_a_file_server_mounted_later_is_noticed_behind_every_view(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table, root = tmp_path / "mountinfo", tmp_path / "root"
    table.write_text("1 0 8:1 / / rw - ext4 /dev/a rw\n")
    real_open = open
    monkeypatch.setattr(device_module, "open", lambda path, *a, **k: real_open(table, *a, **k), raising=False)
    devices = Devices()
    backend = LocalBackend(str(root), create=True, devices=devices)
    await backend.open()
    view = backend.unlinked
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:50 / {root}/far rw - nfs4 host:/ rw\n")
    devices._table = None
    assert await backend.is_current()
    assert backend._device_of("far/x").threaded
    assert view._device_of("far/x").threaded
    await backend.close()
    devices.close()


async def test_a_slow_device_has_only_its_share(devices: Devices) -> None:
    slow, quick = (Device("nfs", 2, time.monotonic_ns, threaded=True) for _ in range(2))
    gate = threading.Event()
    running: list[int] = []
    two = threading.Semaphore(0)

    def stuck(number: int) -> int:
        running.append(number)
        two.release()
        gate.wait(10)
        return number

    jobs = [asyncio.ensure_future(devices.run(slow, stuck, number)) for number in range(6)]
    assert await devices.run(quick, lambda: "served") == "served"
    for _ in range(2):
        assert await asyncio.to_thread(two.acquire, timeout=10)
    assert sorted(running) == [0, 1], "more threads than the device's share were taken"
    gate.set()
    assert await asyncio.gather(*jobs) == list(range(6))


async def test_cancelled_calls_give_their_place_back(devices: Devices) -> None:
    device = Device("nfs", 1, time.monotonic_ns, threaded=True)
    started, gate, closed = threading.Event(), threading.Event(), threading.Event()
    undone: list[str] = []
    running = asyncio.ensure_future(
        devices.thread(
            device,
            lambda: (started.set(), gate.wait(10), "opened")[2],
            orphan=lambda opened: (undone.append(opened), closed.set()),
        )
    )
    waiting = asyncio.ensure_future(devices.thread(device, lambda: "never"))
    assert await asyncio.to_thread(started.wait, 10)
    for job in (running, waiting):
        job.cancel()
    await asyncio.wait([running, waiting])
    assert running.cancelled() and waiting.cancelled()
    gate.set()
    assert await devices.run(device, lambda: "free again") == "free again"
    assert await asyncio.to_thread(closed.wait, 10)  # by the thread, which gave its place back before
    assert undone == ["opened"]


async def test_descriptors_outlive_cancelled_threads(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancelled write goes on in its thread; close waits for it, and publishes what it wrote."""
    handle = await backend.open_file("f", options_for(Publish.ATOMIC))
    the_device(backend).threaded = True
    started, gate = threading.Event(), threading.Event()
    real = os.pwrite
    seen: list[bool] = []

    def slow(fd: int, data: memoryview, offset: int) -> int:
        started.set()
        gate.wait(10)
        seen.append(os.fstat(fd).st_nlink == 0)
        return real(fd, data, offset)

    monkeypatch.setattr(files_module.os, "pwrite", slow)
    buffer = bytearray(b"right")
    writing = asyncio.ensure_future(handle.write(0, buffer))
    await asyncio.to_thread(started.wait, 10)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    buffer[:] = b"wrong"
    closing = asyncio.ensure_future(handle.close())
    await asyncio.sleep(0)
    closing.cancel()  # the ending goes on nevertheless
    with pytest.raises(asyncio.CancelledError):
        await closing
    gate.set()
    while not await asyncio.to_thread(os.path.exists, f"{backend._root.path}/f"):
        await asyncio.sleep(0)
    assert seen == [True]
    assert await get(backend, "f") == b"right"


async def test_backend_closed_under_a_thread(tmp_path: Path, devices: Devices) -> None:
    backend = LocalBackend(str(tmp_path), devices=devices)
    await backend.open()
    the_device(backend).threaded = True
    root, gate, started = backend._root, threading.Event(), threading.Event()
    fd = root.fd

    def work(root: object, raw: bytes) -> int:
        started.set()
        gate.wait(10)
        return os.fstat(fd).st_ino

    job = asyncio.ensure_future(backend._run("", work))
    await asyncio.to_thread(started.wait, 10)
    await backend.close()
    with pytest.raises(InvalidHandle):
        await backend.stat("x")
    gate.set()
    assert await job == tmp_path.stat().st_ino
    assert root.fd == -1
    with pytest.raises(OSError):
        os.fstat(fd)


async def test_appends_in_threads_keep_their_order(backend: LocalBackend) -> None:
    handle = await backend.open_file("log", OpenOptions(write=True, create=True, append=True))
    the_device(backend).threaded = True
    await asyncio.gather(*(handle.write(0, bytes([number]) * 10) for number in range(40)))
    await handle.close()
    assert await get(backend, "log") == b"".join(bytes([number]) * 10 for number in range(40))


async def test_threads_that_are_gone(tmp_path: Path) -> None:
    devices = Devices(workers=1)
    backend = LocalBackend(str(tmp_path), devices=devices)
    await backend.open()
    before = open_fds()
    handle = await backend.open_file("f", options_for(Publish.RESUMABLE))
    await handle.write(0, b"x")
    devices.close()
    the_device(backend).threaded = True
    with pytest.raises(StorageFailed):
        await backend.stat("f")
    with pytest.raises(StorageFailed):
        await handle.close()
    assert open_fds() == before, "a handle must not leak when the server stops"
    await backend.close()


# -- handles -------------------------------------------------------------------------------------------------


async def test_closed_handles(backend: LocalBackend) -> None:
    handle = await backend.open_file("f", WRITE)
    with pytest.raises(InvalidHandle):
        await handle.read(0, 1)
    await handle.close()
    for doing in (
        handle.write(0, b"x"),
        handle.stat(),
        handle.sync(),
        handle.set_attrs(Attrs(mode=0)),
        handle.close(),
    ):
        with pytest.raises(InvalidHandle):
            await doing
    with pytest.raises(InvalidHandle):
        handle.write_nowait(0, b"x")


@pytest.mark.parametrize("offset", [-1, 2**63, 2**64 - 1])
async def test_absurd_offsets(backend: LocalBackend, offset: int) -> None:
    handle = await backend.open_file("f", OpenOptions(read=True, write=True, create=True))
    with pytest.raises(InvalidArgument):
        await handle.write(offset, b"x")
    with pytest.raises(InvalidArgument):
        handle.write_nowait(offset, b"x")
    if offset > 0:
        assert await handle.read(offset, 10) == b""
        assert handle.readinto_nowait(offset, [memoryview(bytearray(1))]) == 0
    else:
        with pytest.raises(InvalidArgument):
            await handle.read(offset, 10)
    with pytest.raises(InvalidArgument):
        await handle.read(0, -1)
    await handle.close()


@pytest.mark.parametrize(
    "attrs",
    [
        Attrs(size=-1),
        Attrs(size=2**63),
        Attrs(mode=0o200000),
        Attrs(uid=2**32 - 1, gid=0),
        Attrs(uid=0, gid=-1),
        Attrs(atime_ns=2**64, mtime_ns=0),
    ],
)
async def test_absurd_attributes(backend: LocalBackend, attrs: Attrs) -> None:
    handle = await backend.open_file("f", WRITE)
    with pytest.raises(InvalidArgument):
        await handle.set_attrs(attrs)
    await handle.close()
    with pytest.raises(InvalidArgument):
        await backend.set_attrs("f", attrs)


async def test_attributes_without_proc(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """The portable way to set attributes gives the same results."""
    monkeypatch.setattr("tidegate.backends.local.attrs.PROC", False)
    await put(backend, "f", b"0123456789")
    await backend.symlink("f", "l")
    await backend.set_attrs("l", Attrs(size=4, mode=0o640, atime_ns=10**9, mtime_ns=2 * 10**9))
    entry = await backend.stat("f")
    assert (entry.size, entry.mode, entry.mtime_ns) == (4, 0o640, 2 * 10**9)
    await backend.set_attrs("", Attrs(mode=0o755))
    with pytest.raises(TidegateError):
        await backend.set_attrs("l", Attrs(mode=0o600), follow=False)
    await backend.set_attrs("l", Attrs(atime_ns=10**9, mtime_ns=3 * 10**9), follow=False)
    assert (await backend.stat("l", follow=False)).mtime_ns == 3 * 10**9
    link_mode = (await backend.stat("l", follow=False)).mode
    await backend.set_attrs("l", Attrs(mode=link_mode, atime_ns=10**9, mtime_ns=4 * 10**9), follow=False)
    assert (await backend.stat("l", follow=False)).mtime_ns == 4 * 10**9
    assert (await backend.stat("l")).mode != link_mode
    assert (await backend.stat("f")).mtime_ns == 2 * 10**9


async def test_big_files_are_freed_in_threads(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def watch(real):
        def watched(*args, **kwargs):
            threads.append(threading.current_thread().name)
            return real(*args, **kwargs)

        return watched

    for function in ("unlink", "rename"):
        monkeypatch.setattr(os, function, watch(getattr(os, function)))
    for size, inline in ((1000, True), (files_module.BIG_FILE, False)):
        await put(backend, "f", b"")
        await backend.set_attrs("f", Attrs(size=size))
        threads.clear()
        await put(backend, "f", b"new", options_for(Publish.ATOMIC))
        assert threads and all((name == "MainThread") is inline for name in threads)
        await backend.set_attrs("f", Attrs(size=size))
        threads.clear()
        await backend.remove("f")
        assert threads and all((name == "MainThread") is inline for name in threads)


async def test_remote_uploads_are_flushed_before_they_replace(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server may report a full disk only when flushed: the old file must still be there then."""
    await put(backend, "f", b"old")
    the_device(backend).threaded = True
    handle = await backend.open_file("f", options_for(Publish.ATOMIC))
    await handle.write(0, b"new")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.StorageFull):
        await handle.close()
    assert await get(backend, "f") == b"old"
    assert os.listdir(backend._root.path) == ["f"]


async def test_forgotten_handles_warn(backend: LocalBackend) -> None:
    handle = await backend.open_file("f", options_for(Publish.ATOMIC))
    before = open_fds()
    kept = [handle]
    del handle
    with pytest.warns(ResourceWarning, match="unclosed file"):
        kept.clear()
    assert open_fds() == before - 2
    assert await names(backend) == []


async def test_no_descriptor_leaks(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "loop").symlink_to("loop")
    await put(backend, "f", b"x")
    before = open_fds()
    for turn in range(3):
        the_device(backend).threaded = turn == 2
        for publish in Publish:
            for outcome in Outcome:
                await put(backend, "d/new", b"x", options_for(publish), outcome)
            for key in ("", "d", "out/x", "loop", "f/x", "none/x", "n" * 300):
                for options in (options_for(publish), options_for(publish, exclusive=True), READ):
                    with pytest.raises(TidegateError):
                        await backend.open_file(key, options)
        for key in ("out/x", "loop", "f/x", "none"):
            for doing in (
                backend.stat(key),
                backend.set_attrs(key, Attrs(mode=0o600)),
                backend.hardlink(key, "h"),
                backend.copy(key, "c", replace=True),
                backend.rmdir(key),
                names(backend, key),
                backend.space(key),
            ):
                with pytest.raises(TidegateError):
                    await doing
        await backend.copy("f", "c", replace=True)
        await backend.symlink("/f", f"d/s{turn}")
        listing = backend.list("")
        await anext(listing)
        await listing.aclose()  # type: ignore[attr-defined]
        listing = backend.list("")
        await anext(listing)
        del listing
        assert len(await names(backend)) > 3
    assert open_fds() == before


# -- listings ------------------------------------------------------------------------------------------------


async def test_listing_lets_others_run(backend: LocalBackend, tmp_path: Path, clock: Clock) -> None:
    """A consumer that never waits does not hold the loop for the whole of a large listing."""
    for number in range(1200):
        (tmp_path / f"{number}").touch()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    seen = 0
    async for batch in backend.list(""):
        seen += len(batch)
        deadline = time.monotonic_ns() + 6_000_000
        while time.monotonic_ns() < deadline:
            pass
    task.cancel()
    assert seen == 1200
    assert turns >= 2


async def test_listing_in_threads_left_early(backend: LocalBackend, tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number}").touch()
    the_device(backend).threaded = True
    assert len(await names(backend)) == 600
    before = open_fds()
    listing = backend.list("")
    step = asyncio.ensure_future(anext(listing))
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.wait([step])
    await listing.aclose()  # type: ignore[attr-defined]
    the_device(backend).gate = asyncio.Semaphore(1)
    for _ in range(3):  # whatever the cancelled step still did is behind these
        await backend.stat("")
    assert open_fds() == before
    assert [batch async for batch in listing] == []


async def test_unreadable_root_entries(backend: LocalBackend, tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    (tmp_path / "raw\udcff").touch()
    entries = [entry async for batch in backend.list("") for entry in batch]
    assert sorted(entry.name for entry in entries) == ["gone", "raw\udcff"]
    assert (await backend.stat("raw\udcff")).name == "raw\udcff"


# -- errors --------------------------------------------------------------------------------------------------


def test_every_errno_has_an_error_of_ours() -> None:
    for code in errno.errorcode:
        error = translate(OSError(code, "secret wording", "/secret/path"))
        assert isinstance(error, TidegateError)
        assert "secret" not in str(error)
    assert isinstance(translate(OSError("no number")), StorageFailed)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, errors.StorageFull),
        (errno.EDQUOT, errors.StorageFull),
        (errno.EROFS, errors.StorageReadOnly),
        (errno.EIO, errors.StorageFailed),
        (errno.EACCES, errors.Denied),
        (errno.EPERM, errors.Denied),
        (errno.ENAMETOOLONG, errors.InvalidPath),
        (errno.EXDEV, errors.OtherDevice),
        (errno.ELOOP, errors.TooManyLinks),
        (errno.ENOTEMPTY, errors.DirectoryNotEmpty),
        (errno.ESTALE, errors.StorageFailed),
    ],
)
def test_errno_table(code: int, kind: type[TidegateError]) -> None:
    assert TABLE[code][0] is kind


async def test_wrong_constructions() -> None:
    for root, umask in (("relative", 0), ("", 0), ("/a\0b", 0), ("/x", 0o1000), ("/x", -1)):
        with pytest.raises(errors.ConfigError):
            LocalBackend(root, umask=umask)


@pytest.mark.skipif(os.geteuid() != 0, reason="the system clears the bits for everybody but root")
@pytest.mark.parametrize("how", ["path", "handle", "link"])
async def test_set_id_bits_go_with_any_change_of_size(backend: LocalBackend, tmp_path: Path, how: str):
    file = tmp_path / "f"
    file.write_bytes(b"content")
    (tmp_path / "l").symlink_to("f")
    file.chmod(0o6755)
    if how == "handle":
        handle = await backend.open_file("f", OpenOptions(write=True))
        file.chmod(0o6755)
        await handle.set_attrs(Attrs(size=3))
        await handle.close()
    else:
        await backend.set_attrs("f" if how == "path" else "l", Attrs(size=3))
    assert file.stat().st_mode & 0o7777 == 0o755
    assert file.read_bytes() == b"con"
