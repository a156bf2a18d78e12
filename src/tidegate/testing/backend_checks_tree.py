# SPDX-License-Identifier: Apache-2.0
"""The backend contract, second half: the tree, attributes, links, copies, space, what is not declared."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from typing import Final

from tidegate.abc import Backend, Capability, OpenOptions, Publish
from tidegate.errors import (
    AlreadyExists,
    CallerError,
    DirectoryNotEmpty,
    IsADirectory,
    NotADirectory,
    NotFound,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind
from tidegate.testing.backend_support import (
    exists,
    expect,
    expect_error,
    get,
    names,
    options_for,
    publishable,
    put,
)

MANY: Final = 700
"""Entries in the large directory of `check_listing`."""
CHANGED: Final = 12
"""Names of each kind in the directory of `check_listing_that_changes`."""


async def check_listing(backend: Backend) -> None:
    """Listings are complete, in bounded batches, and can be left early."""
    await backend.mkdir("big")
    wanted = [f"file-{number:04d}" for number in range(MANY)]
    for name in wanted:
        await put(backend, f"big/{name}", b"x")
    await backend.mkdir("big/sub")
    await put(backend, "big/sub/inner", b"")
    batches = [batch async for batch in backend.list("big")]
    expect(all(0 < len(batch) <= 1024 for batch in batches), "batches hold 1 to 1024 entries")
    entries = {entry.name: entry for batch in batches for entry in batch}
    expect(sorted(entries) == sorted([*wanted, "sub"]), "a listing MUST be complete and without doubles")
    expect(sum(map(len, batches)) == len(entries), "a listing MUST name each entry once")
    expect(entries["file-0000"].size == 1 and entries["sub"].is_dir, "entries MUST carry size and kind")
    listing = backend.list("big")
    await anext(aiter(listing))
    closer = getattr(listing, "aclose", None)
    expect(closer is not None, "a listing MUST have aclose")
    if closer is not None:
        await closer()
    left = backend.list("big")
    await anext(aiter(left))
    del left
    gc.collect()  # a forgotten listing must not warn
    await asyncio.sleep(0)


async def check_listing_that_changes(backend: Backend) -> None:
    """Of a directory that changes while it is listed, what stays is told once, and there is an end."""
    kinds = ("dir", "goes", "moves", "stays")
    numbers = range(CHANGED)
    await backend.mkdir("busy")
    for number in numbers:
        await backend.mkdir(f"busy/{number:03}-dir")
        await put(backend, f"busy/{number:03}-dir/inner", b"x")
        for kind in kinds[1:]:
            await put(backend, f"busy/{number:03}-{kind}", b"x")
    left = {f"{number:03}-{kind}" for number in numbers for kind in kinds[:3]}
    ever = left | {f"{number:03}-{kind}" for number in numbers for kind in ("stays", "new", "other")}

    async def change(name: str) -> None:
        number, _, kind = name.partition("-")
        left.discard(name)
        if kind == "goes":
            await backend.remove(f"busy/{name}")
        else:
            await backend.rename(
                f"busy/{name}", f"busy/{number}-{'other' if kind == 'moves' else 'new'}", replace=False
            )

    told: list[str] = []
    async for batch in backend.list("busy"):
        told += [entry.name for entry in batch]
        expect(len(told) <= len(ever), "a listing of a directory that changes MUST end")
        # The place where a service goes on may be such a name; others lie before and behind it.
        here = [name for name in (batch[0].name, batch[-1].name) if name in left]
        for name in [*here, *sorted(left - set(here))[:1], *sorted(left - set(here))[-1:]]:
            if name in left:
                await change(name)
    counts = Counter(told)
    stays = [f"{number:03}-stays" for number in numbers]
    expect(all(counts[name] == 1 for name in stays), "a name that was there all the time MUST be told once")
    expect(counts.keys() <= ever, "a listing MUST tell no name that never was there")
    expect(max(counts.values()) == 1, "a listing MUST tell no name twice")


async def check_directories(backend: Backend) -> None:
    """mkdir, rmdir and remove keep files and directories apart."""
    await backend.mkdir("d")
    expect((await backend.stat("d")).is_dir, "mkdir MUST make a directory")
    await backend.mkdir("d/e")
    await put(backend, "d/e/f", b"x")
    if Capability.REAL_DIRECTORIES in backend.capabilities:
        await expect_error(AlreadyExists, "mkdir twice", backend.mkdir("d"))
        await expect_error(AlreadyExists, "mkdir on a file", backend.mkdir("d/e/f"))
    await expect_error(IsADirectory, "remove of a directory", backend.remove("d"))
    await expect_error(NotADirectory, "rmdir of a file", backend.rmdir("d/e/f"))
    await expect_error(DirectoryNotEmpty, "rmdir of a full directory", backend.rmdir("d"))
    await expect_error(NotFound, "rmdir of nothing", backend.rmdir("none"))
    await backend.remove("d/e/f")
    if Capability.REAL_DIRECTORIES in backend.capabilities:
        await backend.rmdir("d/e")
        await backend.rmdir("d")
        expect(await names(backend) == [], "a removed directory MUST be gone")


async def check_renaming(backend: Backend) -> None:
    """Rename moves files and directories, and replaces only when told to."""
    await put(backend, "a", b"a")
    await put(backend, "b", b"b")
    await expect_error(AlreadyExists, "rename without replace", backend.rename("a", "b", replace=False))
    await expect_error(
        AlreadyExists, "rename to itself without replace", backend.rename("a", "a", replace=False)
    )
    expect(await get(backend, "b") == b"b", "a refused rename MUST change nothing")
    await backend.rename("a", "b", replace=True)
    expect(await get(backend, "b") == b"a", "rename with replace MUST replace")
    expect(not await exists(backend, "a"), "a renamed file MUST leave its old name")
    await backend.rename("b", "b", replace=True)
    expect(await get(backend, "b") == b"a", "rename to itself MUST keep the file")
    await backend.mkdir("d")
    await put(backend, "d/x", b"x")
    await expect_error(
        CallerError, "a file MUST NOT replace a directory", backend.rename("b", "d", replace=True)
    )
    if Capability.REAL_DIRECTORIES not in backend.capabilities:
        return
    await expect_error(AlreadyExists, "a directory onto a file", backend.rename("d", "b", replace=False))
    await expect_error(
        CallerError, "a directory MUST NOT replace a file", backend.rename("d", "b", replace=True)
    )
    await backend.mkdir("full")
    await put(backend, "full/y", b"y")
    await expect_error(
        DirectoryNotEmpty,
        "a directory MUST NOT replace a full one",
        backend.rename("d", "full", replace=True),
    )
    for replace in (True, False):
        await expect_error(
            CallerError, "a directory MUST NOT move into itself", backend.rename("d", "d/in", replace=replace)
        )
    await backend.rename("d", "e", replace=False)
    expect(await get(backend, "e/x") == b"x", "a renamed directory MUST keep its content")
    await backend.mkdir("empty")
    await backend.rename("e", "empty", replace=True)
    expect(await get(backend, "empty/x") == b"x", "a directory may replace an empty one")


async def check_attributes(backend: Backend) -> None:
    """MODES, TIMES and TRUNCATE hold on paths and on handles, and survive later writes and close."""
    capabilities = backend.capabilities
    await put(backend, "f", b"0123456789")
    times = Attrs(atime_ns=1_000_000_000 * 10**9, mtime_ns=1_100_000_000 * 10**9)

    def same_times(entry: Entry) -> bool:
        return (entry.atime_ns, entry.mtime_ns) == (times.atime_ns, times.mtime_ns)

    if Capability.TIMES in capabilities:
        await backend.set_attrs("f", times)
        expect(same_times(await backend.stat("f")), "set_attrs MUST set times")
        for publish in publishable(backend):
            handle = await backend.open_file("timed", options_for(publish))
            await handle.write(0, b"before")
            await handle.set_attrs(times)
            await handle.write(6, b"after")
            await handle.close()
            entry = await backend.stat("timed")
            # Reading for the listing may touch the access time of other systems; the modification holds.
            expect(entry.mtime_ns == times.mtime_ns, "times set on a handle MUST hold after close")
    if Capability.MODES in capabilities:
        await backend.set_attrs("f", Attrs(mode=0o640))
        expect((await backend.stat("f")).mode == 0o640, "set_attrs MUST set the mode")
        await put(backend, "f", b"new", options_for(Publish.ATOMIC))
        expect((await backend.stat("f")).mode == 0o640, "an overwritten file MUST keep its mode")
        for publish in publishable(backend):
            await put(backend, f"m{publish}", b"", options_for(publish, mode=0o600))
            expect(
                (await backend.stat(f"m{publish}")).mode == 0o600, "a new file MUST have the mode asked for"
            )
            handle = await backend.open_file(f"m{publish}", options_for(publish))
            await handle.set_attrs(Attrs(mode=0o604))
            expect((await handle.stat()).mode == 0o604, "a handle's set_attrs MUST set the mode")
            await handle.close()
            expect((await backend.stat(f"m{publish}")).mode == 0o604, "a mode set on a handle MUST hold")
        await backend.mkdir("d", mode=0o750)
        expect((await backend.stat("d")).mode & 0o777 == 0o750, "mkdir MUST use the mode asked for")
        await backend.set_attrs("d", Attrs(mode=0o700))
        expect((await backend.stat("d")).mode & 0o777 == 0o700, "a directory's mode can be set")
    if Capability.TRUNCATE in capabilities:
        await put(backend, "t", b"0123456789")
        await backend.set_attrs("t", Attrs(size=4))
        expect(await get(backend, "t") == b"0123", "set_attrs MUST shorten")
        await backend.set_attrs("t", Attrs(size=6))
        expect(await get(backend, "t") == b"0123\0\0", "set_attrs MUST lengthen with zeros")
        handle = await backend.open_file("t", OpenOptions(write=True))
        await handle.set_attrs(Attrs(size=2))
        await handle.close()
        expect(await get(backend, "t") == b"01", "a handle MUST truncate")
        await expect_error(CallerError, "a negative size", backend.set_attrs("t", Attrs(size=-1)))
        await backend.mkdir("dt")
        await expect_error(CallerError, "the size of a directory", backend.set_attrs("dt", Attrs(size=0)))
    if capabilities & (Capability.TIMES | Capability.MODES):
        attrs = times if Capability.TIMES in capabilities else Attrs(mode=0o600)
        await expect_error(NotFound, "set_attrs of nothing", backend.set_attrs("none", attrs))


async def check_links(backend: Backend) -> None:
    """LINKS and HARDLINKS work as declared, or are Unsupported."""
    await put(backend, "file", b"content")
    await backend.mkdir("dir")
    await put(backend, "dir/inner", b"inner")
    if Capability.HARDLINKS in backend.capabilities:
        await backend.hardlink("file", "hard")
        expect(await get(backend, "hard") == b"content", "a hard link MUST share content")
        expect((await backend.stat("hard")).nlink == 2, "nlink MUST count names")
        await expect_error(AlreadyExists, "hardlink onto a name", backend.hardlink("file", "dir/inner"))
        await expect_error(NotFound, "hardlink of nothing", backend.hardlink("none", "x"))
        await expect_error(CallerError, "hardlink of a directory", backend.hardlink("dir", "x"))
        await backend.remove("hard")
    else:
        await expect_error(Unsupported, "HARDLINKS is not declared", backend.hardlink("file", "hard"))
    if Capability.LINKS not in backend.capabilities:
        await expect_error(Unsupported, "LINKS is not declared", backend.symlink("file", "link"))
        await expect_error(Unsupported, "LINKS is not declared", backend.readlink("file"))
        return
    await backend.symlink("file", "link")
    expect(
        (await backend.stat("link", follow=False)).kind is Kind.LINK, "stat without follow MUST see a link"
    )
    expect((await backend.stat("link")).size == 7, "stat MUST follow a link")
    expect(await backend.readlink("link") == "file", "readlink MUST give the text")
    expect(await get(backend, "link") == b"content", "reading MUST follow a link inside")
    await expect_error(AlreadyExists, "symlink onto a name", backend.symlink("x", "file"))
    await backend.symlink("/dir/inner", "dir/absolute")
    expect(await get(backend, "dir/absolute") == b"inner", "an absolute text is a path within the root")
    for text in ("./inner", "inner/.", ".//inner", "/dir/inner", "/dir//./inner", "//dir/inner", "/"):
        await backend.symlink(text, "dir/kept")
        promise = f"the text {text!r} of a link MUST be kept to the letter"
        expect(await backend.readlink("dir/kept") == text, promise)
        entry = await backend.stat("dir/kept", follow=False)
        expect(entry.size == len(text), "the size of a link is the length of its text")
        await backend.remove("dir/kept")
    await backend.mkdir("dir/deeper")
    await backend.rename("dir/absolute", "dir/deeper/absolute", replace=False)
    await backend.rename("dir/deeper", "moved", replace=False)
    expect(await backend.readlink("moved/absolute") == "/dir/inner", "a move MUST keep the text of a link")
    expect(await get(backend, "moved/absolute") == b"inner", "an absolute link MUST survive a move")
    await backend.symlink("dir", "dlink")
    expect(await get(backend, "dlink/inner") == b"inner", "a link may be a parent")
    expect("inner" in await names(backend, "dlink"), "a link to a directory MUST list")
    await expect_error(NotADirectory, "rmdir of a link to a directory", backend.rmdir("dlink"))
    for text in ("..", "../out", "dir/../../out", "/../out"):
        await expect_error(CallerError, f"a link to {text!r} MUST be refused", backend.symlink(text, "out"))
    for publish in publishable(backend):
        await put(backend, "link", f"via link {publish}".encode(), options_for(publish))
        expect(
            await get(backend, "file") == f"via link {publish}".encode(), "writing MUST follow a link inside"
        )
        expect((await backend.stat("link", follow=False)).is_link, "writing MUST NOT replace a link")
    await backend.symlink("nowhere", "dangling")
    await expect_error(NotFound, "a dangling link", backend.stat("dangling"))
    await expect_error(
        AlreadyExists, "exclusive on a link", backend.open_file("dangling", options_for(exclusive=True))
    )
    await backend.symlink("loop2", "loop1")
    await backend.symlink("loop1", "loop2")
    await expect_error(CallerError, "a loop of links", backend.stat("loop1"))
    await expect_error(CallerError, "a loop of links", backend.open_file("loop1", options_for()))
    await backend.remove("link")
    expect(await exists(backend, "file"), "remove of a link MUST keep its target")
    await expect_error(CallerError, "readlink of a file", backend.readlink("file"))


async def check_copying(backend: Backend) -> None:
    """SERVER_COPY copies one file whole."""
    data = bytes(range(256)) * 4096
    await put(backend, "source", data)
    if Capability.SERVER_COPY not in backend.capabilities:
        await expect_error(
            Unsupported, "SERVER_COPY is not declared", backend.copy("source", "t", replace=False)
        )
        return
    expect(await backend.copy("source", "target", replace=False) == len(data), "copy MUST return the bytes")
    expect(await get(backend, "target") == data, "copy MUST copy")
    await put(backend, "other", b"other")
    await expect_error(AlreadyExists, "copy without replace", backend.copy("source", "other", replace=False))
    expect(await get(backend, "other") == b"other", "a refused copy MUST change nothing")
    await backend.copy("source", "other", replace=True)
    expect(await get(backend, "other") == data, "copy with replace MUST replace")
    await expect_error(NotFound, "copy of nothing", backend.copy("none", "x", replace=True))
    await backend.mkdir("d")
    await put(backend, "d/x", b"")
    await expect_error(IsADirectory, "copy of a directory", backend.copy("d", "e", replace=False))


async def check_space(backend: Backend) -> None:
    """SPACE tells plausible numbers."""
    if Capability.SPACE not in backend.capabilities:
        await expect_error(Unsupported, "SPACE is not declared", backend.space(""))
        return
    space = await backend.space("")
    expect(space.total > 0 and 0 <= space.free <= space.total, "free MUST lie between 0 and total")
    expect(space.block_size > 0, "block_size MUST be positive")
    await expect_error(NotFound, "space of nothing", backend.space("none"))


async def check_undeclared(backend: Backend) -> None:
    """An undeclared ability is Unsupported."""
    await put(backend, "f", b"x")
    for capability, attrs in (
        (Capability.MODES, Attrs(mode=0o600)),
        (Capability.TIMES, Attrs(atime_ns=0, mtime_ns=0)),
        (Capability.TRUNCATE, Attrs(size=0)),
    ):
        if capability not in backend.capabilities:
            promise = f"{capability.name} is not declared: Unsupported"
            await expect_error(Unsupported, promise, backend.set_attrs("f", attrs))
    if Capability.PARTIALS not in backend.capabilities:
        options = options_for(Publish.RESUMABLE)
        await expect_error(Unsupported, "PARTIALS is not declared", backend.open_file("g", options))
