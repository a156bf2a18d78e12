# SPDX-License-Identifier: Apache-2.0
"""The escape matrix: nothing outside the root can be read, written, listed or changed, on both ways down."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tidegate.abc import OpenOptions, Outcome, Publish
from tidegate.backends.local import Devices, LocalBackend
from tidegate.errors import (
    CallerError,
    Denied,
    InvalidArgument,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    TooManyLinks,
    Unsupported,
)
from tidegate.model import Attrs
from tidegate.testing.backend import get, names, options_for, put

READ = OpenOptions(read=True)
SECRET = b"outside content"


@pytest.fixture(params=["kernel", "portable"])
def kernel(request: pytest.FixtureRequest) -> bool | None:
    """None: openat2 where it works; False: the walk."""
    return None if request.param == "kernel" else False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A root with an outside world beside it."""
    home = tmp_path / "home"
    home.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    (outside / "secret").chmod(0o600)
    os.utime(outside / "secret", (1000, 1000))
    (outside / "sub").mkdir()
    twin = tmp_path / "home2"
    twin.mkdir()
    (twin / "secret").write_bytes(SECRET)
    return home


@pytest.fixture
async def backend(home: Path, kernel: bool | None) -> AsyncIterator[LocalBackend]:
    backend = LocalBackend(str(home), kernel=kernel)
    await backend.open()
    yield backend
    await backend.close()


def world(home: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All there is outside the root."""
    found = {}
    for top in ("outside", "home2"):
        for path in sorted([home.parent / top, *(home.parent / top).rglob("*")]):
            info = path.lstat()
            content = (
                path.read_bytes() if path.is_file() else b"\n".join(os.fsencode(p) for p in path.iterdir())
            )
            found[str(path)] = (stat.S_IMODE(info.st_mode), info.st_mtime_ns, info.st_nlink, content)
    return found


# What leads out: how to make it below the root, and a key that uses it for a file and for a directory.
Maker = Callable[[Path], tuple[str, str]]


def _absolute(home: Path) -> tuple[str, str]:
    (home / "f").symlink_to(home.parent / "outside/secret")
    (home / "d").symlink_to(home.parent / "outside")
    return "f", "d"


def _relative(home: Path) -> tuple[str, str]:
    (home / "f").symlink_to("../outside/secret")
    (home / "d").symlink_to("../outside")
    return "f", "d"


def _chain(home: Path) -> tuple[str, str]:
    (home / "f3").symlink_to("../outside/secret")
    (home / "f2").symlink_to("f3")
    (home / "f").symlink_to("f2")
    (home / "d2").symlink_to("../outside")
    (home / "d").symlink_to("d2")
    return "f", "d"


def _as_parent(home: Path) -> tuple[str, str]:
    (home / "l").symlink_to("../outside")
    return "l/secret", "l/sub"


def _dots_after_link(home: Path) -> tuple[str, str]:
    (home / "a/b").mkdir(parents=True)
    (home / "a/b/up").symlink_to("../..")  # the root itself
    (home / "f").symlink_to("a/b/up/../outside/secret")
    (home / "d").symlink_to("a/b/up/../outside")
    return "f", "d"


def _sibling(home: Path) -> tuple[str, str]:
    (home / "f").symlink_to(f"{home}2/secret")
    (home / "d").symlink_to(f"{home}2")
    return "f", "d"


def _proc(home: Path) -> tuple[str, str]:
    (home / "f").symlink_to("/proc/self/environ")
    (home / "d").symlink_to("/proc/self/cwd")
    return "f", "d"


def _absolute_dots(home: Path) -> tuple[str, str]:
    (home / "f").symlink_to(f"{home}/../outside/secret")
    (home / "d").symlink_to(f"{home}/../outside")
    return "f", "d"


MAKERS: list[Maker] = [
    *(_absolute, _relative, _chain, _as_parent, _dots_after_link, _sibling, _proc, _absolute_dots),
]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__.strip("_"))
async def test_nothing_leads_out(backend: LocalBackend, home: Path, make: Maker) -> None:
    file, folder = make(home)
    (home / "own").write_bytes(b"own")
    before = world(home)

    async def denied(doing) -> None:
        with pytest.raises(Denied) as caught:
            await doing
        assert str(home.parent) not in str(caught.value)

    for key in (file, folder):
        await denied(backend.stat(key))
        await denied(backend.open_file(key, READ))
        for attrs in (Attrs(mode=0o777), Attrs(size=0), Attrs(atime_ns=0, mtime_ns=0), Attrs(uid=1, gid=1)):
            await denied(backend.set_attrs(key, attrs))
        for publish in Publish:
            await denied(backend.open_file(key, options_for(publish)))
            await denied(backend.open_file(key, OpenOptions(write=True, publish=publish)))
        await denied(backend.space(key))
        await denied(backend.hardlink(key, "hard"))
        await denied(backend.copy(key, "copied", replace=True))
        await denied(backend.copy("own", key, replace=True))
        await denied(names(backend, key))
    inside = f"{folder}/new"
    for publish in Publish:
        await denied(backend.open_file(inside, options_for(publish)))
    await denied(backend.mkdir(inside))
    await denied(backend.rmdir(f"{folder}/sub"))
    await denied(backend.remove(f"{folder}/secret"))
    await denied(backend.rename("own", inside, replace=True))
    await denied(backend.rename(f"{folder}/secret", "stolen", replace=False))
    await denied(backend.symlink("own", inside))
    await denied(backend.readlink(inside))
    await denied(backend.stat(inside, follow=False))
    assert world(home) == before
    assert (home / "own").read_bytes() == b"own"


async def test_readlink_of_a_way_out_is_denied(backend: LocalBackend, home: Path) -> None:
    (home / "a").symlink_to("/etc/passwd")
    (home / "b").symlink_to("../outside/secret")
    (home / "c").symlink_to("../outside/dangling")
    (home / "ok").symlink_to("sub/../missing")
    (home / "host").symlink_to(f"{home}/sub/x")
    for key in ("a", "b", "c"):
        with pytest.raises(Denied):
            await backend.readlink(key)
    assert await backend.readlink("ok") == "sub/../missing"
    assert await backend.readlink("host") == "/sub/x"


async def test_absolute_host_links_inside_are_followed(backend: LocalBackend, home: Path) -> None:
    (home / "sub").mkdir()
    (home / "sub/x").write_bytes(b"inside")
    (home / "link").symlink_to(f"{home}/sub/x")
    (home / "dlink").symlink_to(f"{home}/sub")
    (home / "self").symlink_to(str(home))
    assert await get(backend, "link") == b"inside"
    assert await get(backend, "dlink/x") == b"inside"
    assert await get(backend, "self/self/dlink/x") == b"inside"
    await put(backend, "link", b"changed", options_for(Publish.ATOMIC))
    assert (home / "sub/x").read_bytes() == b"changed"


async def test_home_may_be_a_link(home: Path, kernel: bool | None) -> None:
    (home / "f").write_bytes(b"x")
    (home / "abs").symlink_to(f"{home.parent}/alias/f")
    (home.parent / "alias").symlink_to("home")
    backend = LocalBackend(f"{home.parent}/alias", kernel=kernel)
    await backend.open()
    assert await get(backend, "f") == b"x"
    assert await get(backend, "abs") == b"x"
    await backend.close()


async def test_loops_and_long_chains(backend: LocalBackend, home: Path) -> None:
    (home / "self").symlink_to("self")
    (home / "a").symlink_to("b/x")
    (home / "b").symlink_to("a/x")
    (home / "target").write_bytes(b"x")
    for number in range(60):
        (home / f"chain{number}").symlink_to(f"chain{number + 1}" if number < 59 else "target")
    for key in ("self", "a", "self/below", "chain0"):
        for doing in (
            backend.stat(key),
            backend.open_file(key, READ),
            backend.open_file(key, options_for()),
            backend.open_file(key, options_for(Publish.ATOMIC)),
            backend.set_attrs(key, Attrs(mode=0o600)),
        ):
            with pytest.raises(TooManyLinks):
                await doing
    assert await get(backend, "chain50") == b"x"
    assert (await backend.stat("self", follow=False)).is_link


async def test_symlinks_are_stored_relative(backend: LocalBackend, home: Path) -> None:
    (home / "a/b").mkdir(parents=True)
    (home / "deep").symlink_to("a/b")
    (home / "file").write_bytes(b"x")
    await backend.symlink("/file", "a/b/one")
    await backend.symlink("/file", "deep/two")  # the link is really two levels down
    await backend.symlink("/", "a/root")
    assert os.readlink(home / "a/b/one") == ".//.//../../file"
    assert os.readlink(home / "a/b/two") == ".//.//../../file"
    assert (home / "a/b/one").read_bytes() == b"x"  # programs of the host follow it too
    assert await backend.readlink("a/b/one") == "/file"
    assert await get(backend, "deep/two") == b"x"
    assert "file" in await names(backend, "a/root")
    for text in ("..", "../outside", "a/../../outside", "/../outside", "deep/../../../x"):
        with pytest.raises(Denied):
            await backend.symlink(text, "bad")
    with pytest.raises(Denied):
        await backend.symlink("../../../x", "deep/bad")
    for text in ("", "a\0b", "x" * 5000, "\ud800"):
        with pytest.raises(InvalidArgument):
            await backend.symlink(text, "bad")
    with pytest.raises(Denied):
        await backend.symlink(".tidegate-part.0123", "bad")
    assert not os.path.lexists(home / "bad")


async def test_links_can_be_refused_altogether(home: Path, kernel: bool | None) -> None:
    (home / "f").write_bytes(b"x")
    (home / "d").mkdir()
    (home / "lf").symlink_to("f")
    (home / "ld").symlink_to("d")
    backend = LocalBackend(str(home), kernel=kernel, follow_links=False)
    await backend.open()
    assert await get(backend, "f") == b"x"
    for doing in (
        backend.open_file("lf", READ),
        backend.open_file("lf", options_for()),
        backend.open_file("ld/new", options_for(Publish.ATOMIC)),
        backend.stat("lf"),
        names(backend, "ld"),
    ):
        with pytest.raises(Denied):
            await doing
    assert (await backend.stat("lf", follow=False)).is_link
    await backend.close()


async def test_special_files_do_not_block(backend: LocalBackend, home: Path) -> None:
    os.mkfifo(home / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home / "socket"))
    special = ["fifo", "socket"]
    if os.geteuid() == 0:
        os.mknod(home / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        special.append("null")
    for key in special:
        for options in (
            READ,
            *map(options_for, Publish),
            OpenOptions(write=True),
            OpenOptions(read=True, write=True),
        ):
            with pytest.raises(Unsupported):
                await asyncio.wait_for(backend.open_file(key, options), 2)
        with pytest.raises(Unsupported):
            await backend.set_attrs(key, Attrs(size=0))
        with pytest.raises(Unsupported):
            await backend.hardlink(key, "hard")
        with pytest.raises(Unsupported):
            await backend.copy(key, "copy", replace=True)
    assert await names(backend) == sorted(special)
    await backend.remove("fifo")
    listener.close()


async def test_hard_links(backend: LocalBackend, home: Path) -> None:
    await put(backend, "f", b"one")
    await backend.hardlink("f", "g")
    await put(backend, "f", b"two", options_for(Publish.ATOMIC))
    assert await get(backend, "g") == b"one", "an atomic overwrite leaves other names their content"
    (home / "l").symlink_to("g")
    await backend.hardlink("l", "h")
    assert (home / "h").stat().st_ino == (home / "g").stat().st_ino


async def test_types_are_kept_apart(backend: LocalBackend, home: Path) -> None:
    (home / "d").mkdir()
    (home / "ld").symlink_to("d")
    (home / "up").symlink_to("d/..")
    with pytest.raises(NotADirectory):
        await backend.rmdir("ld")
    for publish in Publish:
        for key in ("d", "ld", "up"):
            with pytest.raises(IsADirectory):
                await backend.open_file(key, options_for(publish))
    await backend.remove("ld")
    assert (home / "d").is_dir()
    with pytest.raises(CallerError):
        await backend.readlink("d")
    with pytest.raises(CallerError):
        await backend.readlink("")


@pytest.mark.parametrize(
    "key",
    ["/etc/passwd", "..", "a/../../x", "a//b", "a/", "./a", "a\0b", "x" * 256, "y/" * 2200 + "y", "\ud800"],
)
async def test_bad_keys(backend: LocalBackend, key: str) -> None:
    with pytest.raises((InvalidPath, NotFound)) as caught:
        await backend.stat(key)
    assert isinstance(caught.value, InvalidPath)
    for publish in Publish:
        with pytest.raises(InvalidPath):
            await backend.open_file(key, options_for(publish))
    with pytest.raises(InvalidPath):
        await names(backend, key)


async def test_hidden_names_cannot_be_named(backend: LocalBackend, home: Path) -> None:
    await put(backend, "f", b"part", options_for(Publish.RESUMABLE), Outcome.KEEP)
    (hidden,) = os.listdir(home)
    await put(backend, "f", b"x")
    for doing in (
        backend.stat(hidden),
        backend.open_file(hidden, READ),
        backend.open_file(hidden, options_for()),
        backend.remove(hidden),
        backend.rename(hidden, "stolen", replace=True),
        backend.rename("f", hidden, replace=True),
        backend.mkdir(".tidegate-upload.x"),
        backend.hardlink(hidden, "stolen"),
        backend.symlink("f", f"{hidden}/x"),
        names(backend, hidden),
    ):
        with pytest.raises(NotFound):
            await doing
    await put(backend, ".tidegate-notes", b"an ordinary name")
    assert await names(backend) == [".tidegate-notes", "f"]


async def test_directory_swapped_for_a_link(home: Path, kernel: bool | None) -> None:
    """A thread keeps swapping a directory for a link to outside while every operation runs through it."""
    before = world(home)
    (home / "d").mkdir()
    (home / "d/secret").write_bytes(b"inside content")
    (home / "own").write_bytes(b"own")
    stop = threading.Event()

    def swap() -> None:
        real, link = os.fspath(home / "d"), os.fspath(home / "link")
        aside = os.fspath(home / "aside")
        dice = random.Random(1)

        def linger() -> None:  # so that each state is met; without it the lock of the interpreter decides
            if dice.random() < 0.5:
                time.sleep(dice.random() / 2000)

        while not stop.is_set():
            os.symlink("../outside", link)
            os.rename(real, aside)
            os.rename(link, real)
            linger()
            os.unlink(real)
            os.rename(aside, real)
            linger()

    devices = Devices(workers=2)
    backend = LocalBackend(str(home), kernel=kernel, devices=devices)
    await backend.open()
    swapper = threading.Thread(target=swap)
    swapper.start()
    outcomes: set[str] = set()

    async def attempt(doing) -> object:
        try:
            result = await doing
        except TidegateError as error:
            outcomes.add(type(error).__name__)
            return None
        outcomes.add("done")
        return result

    try:
        for turn in range(2000):
            if turn > 400 and {"done", "Denied", "NotFound"} <= outcomes:
                break
            content = await attempt(get(backend, "d/secret"))
            assert content in {None, b"inside content"}
            listed = await attempt(names(backend, "d"))
            assert listed is None or "sub" not in listed
            await attempt(put(backend, "d/new", b"new", options_for(Publish(turn % 3))))
            await attempt(put(backend, "d/secret", b"inside content", options_for(Publish(turn % 3))))
            await attempt(backend.set_attrs("d/secret", Attrs(mode=0o666)))
            await attempt(backend.set_attrs("d", Attrs(mtime_ns=5 * 10**9, atime_ns=5 * 10**9)))
            await attempt(backend.mkdir("d/made"))
            await attempt(backend.rmdir("d/sub"))
            await attempt(backend.rename("own", "d/own", replace=True))
            await attempt(backend.rename("d/own", "own", replace=True))
            await attempt(backend.symlink("/own", "d/sym"))
            await attempt(backend.remove("d/sym"))
            await attempt(backend.rmdir("d/made"))
            await attempt(backend.remove("d/new"))
    finally:
        stop.set()
        swapper.join()
        await backend.close()
        devices.close()
    assert world(home) == before
    assert "done" in outcomes, "the race never let anything through: the test proves nothing"
    assert "Denied" in outcomes, "the race never hit: the test proves nothing"
