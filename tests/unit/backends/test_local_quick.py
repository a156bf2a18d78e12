# SPDX-License-Identifier: Apache-2.0
"""Opening and closing without a coroutine on local storage: what only the host can set up."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
import subprocess
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate import errors
from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local import files as files_module
from tidegate.backends.local import opening as opening_module
from tidegate.backends.local.device import STALL_NS, Device
from tidegate.backends.local.files import LocalFile
from tidegate.backends.local.names import part_name
from tidegate.backends.local.uploads import NewFile
from tidegate.model import Attrs
from tidegate.testing.backend import check_backend, get, options_for, put

READ = OpenOptions(read=True)
NEW = OpenOptions(write=True, create=True, exclusive=True)
LOOSE = OpenOptions(write=True, create=True)


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
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
async def backend(root: Path, devices: Devices) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(str(root), devices=devices)
    await backend.open()
    yield backend
    await backend.close()


def the_device(backend: LocalBackend) -> Device:
    assert backend._device is not None
    return backend._device


def opened(backend: LocalBackend, key: str, options: OpenOptions = NEW) -> LocalFile:
    """A handle that must have been opened at once."""
    handle = backend.open_nowait(key, options)
    assert handle is not None, f"{key} was not opened at once"
    return handle


def open_fds() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


# -- it is taken at all --------------------------------------------------------------------------------------


async def test_what_is_simple_is_opened_and_closed_at_once(backend: LocalBackend, root: Path) -> None:
    (root / "d").mkdir()
    for key, options in (("f", NEW), ("d/f", LOOSE), ("t", options_for()), ("u", NEW)):
        handle = opened(backend.unlinked if key == "u" else backend, key, options)
        assert not handle.staged
        assert handle.existed_size is None
        assert handle.write_nowait(0, b"content")
        assert handle.close_nowait()
        assert (root / key).read_bytes() == b"content"
        assert (root / key).stat().st_mode & 0o7777 == 0o644
        reader = opened(backend, key, READ)
        assert reader.existed_size == 7
        assert reader.readinto_nowait(0, [memoryview(bytearray(9))]) == 7
        assert reader.close_nowait()


async def test_descriptors_are_all_closed(backend: LocalBackend, root: Path) -> None:
    (root / "d").mkdir()
    (root / "l").symlink_to("d")
    os.mkfifo(root / "fifo")
    (root / "there").touch()
    before = open_fds()
    for key in ("", "d", "l", "l/x", "fifo", "none/x", "there/x"):
        for options in (READ, NEW, LOOSE):
            assert backend.open_nowait(key, options) is None
    for key in ("f", "d/f"):
        for outcome in Outcome:
            handle = opened(backend, key)
            if not handle.close_nowait(outcome):
                await handle.close(outcome)
            if outcome is not Outcome.DROP:
                assert opened(backend, key, READ).close_nowait()
                os.unlink(root / key)
    assert open_fds() == before


class _Overwriting(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        found = super().open_nowait(key, options)
        if found is None and options.write:
            try:
                fd = os.open(f"{self._root.path}/{key}", os.O_WRONLY | os.O_CREAT)
            except (OSError, ValueError):
                return None
            os.close(fd)
        return found


class _Truncating(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        if options.write:
            path = Path(f"{self._root.path}/{key}")
            if "\0" not in key and len(key) < 256 and path.is_file():
                path.write_bytes(b"")
        return super().open_nowait(key, options)


class _Following(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        path = f"{self._root.path}/{key}"
        if options.read and not options.create and "\0" not in key and os.path.isfile(path):
            key = os.path.relpath(os.path.realpath(path), self._root.path)
        return super().open_nowait(key, options)


class _WideOpen(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        found = super().open_nowait(key, options)
        if found is not None and options.write:
            os.fchmod(found._fd, 0o666)
        return found


class _Guessing(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        found = super().open_nowait(key, options)
        if found is not None and options.write:
            found.existed_size = 0
        return found


class _Tolerant(LocalBackend):
    def open_nowait(self, key: str, options: OpenOptions) -> LocalFile | None:
        return super().open_nowait(os.path.normpath(key.replace("\0", "")).lstrip("/."), options)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (_Overwriting, "check_quick_creating_spares_what_is_there"),
        (_Truncating, "check_quick_creating_spares_what_is_there: what has the name MUST stay"),
        (_Following, "check_quick_reading_leaves_the_rest: open_nowait of 'to-f'"),
        (_WideOpen, "check_quick_creating: mode"),
        (_Guessing, "check_quick_creating: existed_size"),
        (_Tolerant, "check_quick_keys: open_nowait MUST NOT open"),
    ],
)
async def test_kit_notices_broken_quick_ways(
    tmp_path: Path, devices: Devices, broken: type[LocalBackend], promise: str
) -> None:
    numbers = iter(range(100))

    def make() -> LocalBackend:
        return broken(str(tmp_path / f"root{next(numbers)}"), create=True, devices=devices)

    said = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a check that fails leaves its handles
        try:
            await check_backend(make)
        except AssertionError as error:
            said = str(error)
        gc.collect()
    assert said.startswith(promise)


@pytest.mark.parametrize("mistake", ["keeps", "takes what has the name"])
async def test_kit_notices_wrong_drops(
    tmp_path: Path, devices: Devices, mistake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop(self: NewFile) -> None:
        if mistake != "keeps":
            os.unlink(self._raw, dir_fd=self._root.fd)

    monkeypatch.setattr(NewFile, "_drop", drop)
    with pytest.raises(AssertionError, match=r"^check_quick_(endings|drop)"):
        numbers = iter(range(100))
        await check_backend(lambda: LocalBackend(f"{tmp_path}/{next(numbers)}", create=True, devices=devices))


# -- what has the name ---------------------------------------------------------------------------------------


async def test_bad_keys_raise_as_open_file_does(backend: LocalBackend) -> None:
    for key, kind in (
        ("a/../b", errors.InvalidPath),
        ("a\0b", errors.InvalidPath),
        ("a//b", errors.InvalidPath),
        ("/a", errors.InvalidPath),
        ("x" * 5000, errors.InvalidPath),
        (part_name(b"f").decode(), errors.NotFound),
        ("d/.tidegate-upload.x", errors.NotFound),
    ):
        for options in (READ, NEW):
            with pytest.raises(kind):
                backend.open_nowait(key, options)
            with pytest.raises(kind):
                await backend.open_file(key, options)


async def test_special_files_are_left_alone_and_do_not_block(backend: LocalBackend, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # a socket's path must be short
        try:
            listener.bind("socket")
        finally:
            os.chdir(here)
        for key in ("fifo", "socket"):
            for options in (READ, NEW, LOOSE, options_for()):
                done: list[LocalFile | None] = []
                thread = threading.Thread(
                    target=lambda key=key, options=options, done=done: done.append(
                        backend.open_nowait(key, options)
                    ),
                    daemon=True,
                )
                thread.start()
                await asyncio.to_thread(thread.join, 5)
                assert done == [None], f"{key} blocked, or was opened"
        assert (root / "fifo").is_fifo()
        assert (root / "socket").is_socket()


@pytest.mark.parametrize("link", ["file", "dangling", "outside", "absolute"])
async def test_links_on_the_host_are_neither_followed_nor_replaced(
    backend: LocalBackend, root: Path, link: str
) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "file").write_bytes(b"old")
    text = {"file": "file", "dangling": "new", "outside": "../outside/secret", "absolute": f"{root}/file"}[
        link
    ]
    (root / "link").symlink_to(text)
    (root / "way").symlink_to("../outside")
    for options in (READ, NEW, LOOSE, options_for()):
        assert backend.open_nowait("link", options) is None
        assert backend.open_nowait("way/secret", options) is None
        assert backend.open_nowait("way/new", options) is None
    assert os.readlink(root / "link") == text
    assert sorted(os.listdir(root)) == ["file", "link", "way"]
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert (root / "file").read_bytes() == b"old"


async def test_unfinished_uploads(backend: LocalBackend, root: Path) -> None:
    """One has its name for whoever must not replace anything; else it stays beside, as with `open_file`."""
    (root / "d").mkdir()
    for key in ("f", "d/f"):
        await put(backend, key, b"half", options_for(Publish.RESUMABLE), Outcome.KEEP)
        assert backend.open_nowait(key, NEW) is None
        part = (root / key).parent / part_name(b"f").decode()
        assert part.read_bytes() == b"half"
        assert not (root / key).exists()
        handle = opened(backend, key, LOOSE)
        await handle.write(0, b"whole")
        assert handle.close_nowait()
        assert part.read_bytes() == b"half"
        assert await get(backend, key) == b"whole"


# -- modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [0o000, 0o027, 0o077, 0o777])
@pytest.mark.parametrize("wanted", [None, 0o777, 0o640, 0o4755])
async def test_the_process_umask_has_no_effect(
    root: Path, devices: Devices, process: int, wanted: int | None
) -> None:
    backend = LocalBackend(str(root), devices=devices, umask=0o002)
    await backend.open()
    options = OpenOptions(write=True, create=True, mode=wanted)
    before = os.umask(process)
    try:
        assert opened(backend, "quick", options).close_nowait()
        await put(backend, "usual", b"", options)
    finally:
        os.umask(before)
        await backend.close()
    exact = (0o666 if wanted is None else wanted & 0o777) & ~0o002
    assert (root / "quick").stat().st_mode & 0o7777 == exact
    assert (root / "usual").stat().st_mode & 0o7777 == exact


@pytest.mark.needs("setfacl")
@pytest.mark.parametrize("wanted", [None, 0o600, 0o666])
async def test_a_default_acl_does_not_change_the_mode(
    backend: LocalBackend, root: Path, wanted: int | None
) -> None:
    # user::r--, group::---, other::--- for everything new
    made = subprocess.run(
        ["setfacl", "-d", "-m", "u::r,g::-,o::-", str(root)], check=False, capture_output=True, timeout=10
    )
    if made.returncode:
        pytest.skip("the file system has no ACLs")
    options = OpenOptions(write=True, create=True, mode=wanted)
    assert opened(backend, "quick", options).close_nowait()
    await put(backend, "usual", b"", options)
    exact = (0o666 if wanted is None else wanted) & ~0o022
    assert (root / "quick").stat().st_mode & 0o7777 == exact
    assert (root / "usual").stat().st_mode & 0o7777 == exact


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
async def test_owners_are_set(backend: LocalBackend, root: Path) -> None:
    options = OpenOptions(write=True, create=True, uid=4711, gid=4712, mode=0o644)
    assert opened(backend, "f", options).close_nowait()
    found = (root / "f").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (4711, 4712, 0o644)


async def test_what_cannot_get_its_mode_is_gone_again(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "")

    (root / "d").mkdir()
    before = open_fds()
    monkeypatch.setattr(opening_module.os, "fchmod", refused)
    old = os.umask(0o777)
    try:
        assert backend.open_nowait("f", OpenOptions(write=True, create=True, mode=0o640)) is None
        assert backend.open_nowait("d/f", OpenOptions(write=True, create=True, mode=0o640)) is None
    finally:
        os.umask(old)
    assert os.listdir(root) == ["d"]
    assert os.listdir(root / "d") == []
    assert open_fds() == before


# -- when it may not wait ------------------------------------------------------------------------------------


async def untouched(backend: LocalBackend, root: Path) -> None:
    """Nothing is opened at once, and `open_file` does it all the same."""
    (root / "there").write_bytes(b"old")
    assert backend.open_nowait("there", READ) is None
    assert backend.open_nowait("new", NEW) is None
    assert os.listdir(root) == ["there"]
    await put(backend, "new", b"new", NEW)
    assert await get(backend, "there") == b"old"


async def test_portable_containment_leaves_it_to_open_file(root: Path, devices: Devices) -> None:
    backend = LocalBackend(str(root), devices=devices, kernel=False)
    await backend.open()
    try:
        await untouched(backend, root)
    finally:
        await backend.close()


async def test_network_devices(backend: LocalBackend, root: Path) -> None:
    the_device(backend).threaded = True
    await untouched(backend, root)


async def test_network_devices_below_the_root(backend: LocalBackend, root: Path, devices: Devices) -> None:
    (root / "far").mkdir()
    (root / "far" / "f").touch()
    far = Device("nfs4", 2, devices._clock, threaded=True)
    backend._mounts = [("far", far)]
    assert backend.open_nowait("far/f", READ) is None
    assert backend.open_nowait("far/new", NEW) is None
    assert os.listdir(root / "far") == ["f"]
    assert opened(backend, "near", NEW).close_nowait()


async def test_slow_devices(backend: LocalBackend, root: Path, clock: Clock) -> None:
    writer, reader = opened(backend, "w"), opened(backend, "w", READ)
    device = the_device(backend)
    device.slow_until = clock.now + 1
    assert not writer.close_nowait()
    assert not reader.close_nowait()
    assert await reader.read(0, 10) == b""
    await writer.write(0, b"x")
    await writer.close()
    await reader.close()
    os.unlink(root / "w")
    await untouched(backend, root)
    clock.now += 1
    assert opened(backend, "there", READ).close_nowait()


@pytest.mark.parametrize("step", ["open", "create", "close"])
async def test_steps_are_timed(
    backend: LocalBackend, root: Path, clock: Clock, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "there").touch()
    device = the_device(backend)
    handle = opened(backend, "there", READ)

    def stalls(real: Callable[..., Any]) -> Callable[..., Any]:
        def stalled(*args: Any, **kwargs: Any) -> Any:
            clock.now += STALL_NS
            return real(*args, **kwargs)

        return stalled

    other: LocalFile | None = None
    with monkeypatch.context() as patch:
        if step == "close":
            patch.setattr(files_module.os, "close", stalls(os.close))
            assert handle.close_nowait()
        else:
            patch.setattr(os, "fstat", stalls(os.fstat))
            other = opened(backend, *(("there", READ) if step == "open" else ("new", NEW)))
    assert not device.fast(), "a stall was not noticed"
    for left in (handle, other):
        if left is not None and not left._closed:
            await left.close()


async def test_closed_backends(root: Path, devices: Devices) -> None:
    (root / "f").touch()
    backend = LocalBackend(str(root), devices=devices)
    assert backend.open_nowait("f", READ) is None
    assert backend.open_nowait("new", NEW) is None
    await backend.open()
    before = opened(backend, "before")
    await backend.close()
    assert backend.open_nowait("f", READ) is None
    assert backend.open_nowait("new", NEW) is None
    assert before.write_nowait(0, b"x")
    assert before.close_nowait(), "open files outlive their backend"
    assert sorted(os.listdir(root)) == ["before", "f"]


async def test_a_thread_under_way(backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handle = opened(backend, "f")
    started, gate = threading.Event(), threading.Event()
    real = os.pwrite

    def slow(fd: int, data: memoryview, offset: int) -> int:
        started.set()
        gate.wait(10)
        return real(fd, data, offset)

    monkeypatch.setattr(files_module.os, "pwrite", slow)
    the_device(backend).threaded = True
    writing = asyncio.ensure_future(handle.write(0, b"content"))
    assert await asyncio.to_thread(started.wait, 10)
    the_device(backend).threaded = False
    for outcome in Outcome:
        assert not handle.close_nowait(outcome), "a thread still uses the descriptor"
    gate.set()
    await writing
    assert handle.close_nowait()
    assert (root / "f").read_bytes() == b"content"


async def test_endings_that_take_time_are_left_to_close(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "BIG_FILE", 5)
    (root / "big").write_bytes(b"12345")
    for key, options, outcome in (
        ("durable", OpenOptions(write=True, create=True, fsync=True), Outcome.COMMIT),
        ("dropped", NEW, Outcome.DROP),
        ("big", options_for(Publish.ATOMIC), Outcome.COMMIT),
    ):
        handle = backend.open_nowait(key, options) or await backend.open_file(key, options)
        assert isinstance(handle, LocalFile)
        await handle.write(0, b"x")
        assert not handle.close_nowait(outcome)
        await handle.close(outcome)
    assert sorted(os.listdir(root)) == ["big", "durable"]


async def test_a_close_that_fails_says_so_and_ends(
    backend: LocalBackend, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_fds()
    handle = opened(backend, "f")
    await handle.set_attrs(Attrs(atime_ns=10**9, mtime_ns=10**9))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "secret")

    monkeypatch.setattr(os, "utime", full)
    with pytest.raises(errors.StorageFull):
        handle.close_nowait()
    with pytest.raises(errors.InvalidHandle):
        handle.close_nowait()
    assert open_fds() == before
    assert (root / "f").exists()


# -- dropping ------------------------------------------------------------------------------------------------


def rename_file(root: Path) -> Path:
    (root / "a/b/f").rename(root / "a/g")
    return root / "a/g"


def rename_directory(root: Path) -> Path:
    (root / "a/b").rename(root / "c")
    return root / "c/f"


def rename_directories(root: Path) -> Path:
    (root / "a/b").rename(root / "a/c")
    (root / "a").rename(root / "z")
    return root / "z/c/f"


def replace_directory(root: Path) -> Path:
    (root / "a").rename(root / "z")
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/f").write_bytes(b"another")
    return root / "z/b/f"


def link_directory(root: Path) -> Path:
    (root / "a").rename(root / "z")
    (root / "a").symlink_to("z")
    return root / "z/b/f"


def rename_root(root: Path) -> Path:
    root.rename(root.parent / "elsewhere")
    return root.parent / "elsewhere/a/b/f"


@pytest.mark.parametrize(
    "move",
    [rename_file, rename_directory, rename_directories, replace_directory, link_directory, rename_root],
)
async def test_drop_finds_what_was_moved(backend: LocalBackend, root: Path, move: Any) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/other").write_bytes(b"other")
    handle = opened(backend, "a/b/f")
    await handle.write(0, b"refused")
    now = move(root)
    assert now.read_bytes() == b"refused"
    await handle.close(Outcome.DROP)
    assert not now.exists()
    left = sorted(path.name for path in root.parent.rglob("*") if path.is_file() and not path.is_symlink())
    assert left == (["f", "other"] if move is replace_directory else ["other"])


@pytest.mark.parametrize("how", ["removed", "replaced", "decoy", "outside", "link"])
async def test_drop_removes_nothing_else(backend: LocalBackend, root: Path, how: str) -> None:
    handle = opened(backend, "f")
    await handle.write(0, b"refused")
    left = []
    if how == "outside":
        (root / "f").rename(root.parent / "f")
        left = [root.parent / "f"]
    else:
        os.unlink(root / "f")
    if how == "replaced":
        (root / "f").write_bytes(b"another")
        left = [root / "f"]
    if how == "decoy":  # what the kernel calls a file that has no name any more
        (root / "f (deleted)").write_bytes(b"decoy")
        left = [root / "f (deleted)"]
    if how == "link":
        (root / "g").write_bytes(b"another")
        (root / "f").symlink_to("g")
        left = [root / "f", root / "g"]
    await handle.close(Outcome.DROP)
    assert sorted(os.listdir(root)) == sorted(path.name for path in left if path.parent == root)
    assert all(path.exists() for path in left)


async def test_forgotten_handles_keep_the_file_and_warn(backend: LocalBackend, root: Path) -> None:
    kept = [opened(backend, "f")]
    await kept[0].write(0, b"x")
    with pytest.warns(ResourceWarning, match="unclosed file"):
        kept.clear()
    assert (root / "f").read_bytes() == b"x"
