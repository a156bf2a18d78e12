# SPDX-License-Identifier: Apache-2.0
"""The backend contract, first half: keys, reading, writing, publishing, resuming.

Long, because it is a list of checks, each a few lines.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tidegate.abc import Backend, Capability, FileHandle, OpenOptions, Outcome, Publish
from tidegate.errors import (
    AlreadyExists,
    CallerError,
    Conflict,
    InvalidArgument,
    InvalidHandle,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
)
from tidegate.model import Attrs, Kind
from tidegate.testing.backend_support import (
    READ,
    exists,
    expect,
    expect_error,
    get,
    names,
    options_for,
    publishable,
    put,
)

BAD_KEYS: Final = ("/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "a\0b", "/")
"""Keys that every backend refuses."""
ODD_NAMES: Final = (
    "with space",
    "ünïcode",
    "-rf",
    "*?[x]",
    "quote'\"",
    "new\nline",
    "~",
    "a\\b",
    "\udcff\udc80raw",
)
"""Names that every backend keeps as they are."""


async def check_empty_root(backend: Backend) -> None:
    """An empty root is a directory without entries."""
    root = await backend.stat("")
    expect(root.kind is Kind.DIRECTORY, "stat of the root MUST say directory")
    expect(root.name == "", "the root's name MUST be empty")
    expect(await names(backend) == [], "an empty root MUST list nothing")


async def check_bad_keys(backend: Backend) -> None:
    """Keys that are not clean are refused by every operation."""
    await put(backend, "good", b"x")
    for key in BAD_KEYS:
        promise = f"the key {key!r} MUST be refused"
        await expect_error(InvalidPath, promise + " by stat", backend.stat(key))
        await expect_error(InvalidPath, promise + " by open_file", backend.open_file(key, options_for()))
        await expect_error(InvalidPath, promise + " by remove", backend.remove(key))
        await expect_error(InvalidPath, promise + " by mkdir", backend.mkdir(key))
        await expect_error(InvalidPath, promise + " by rmdir", backend.rmdir(key))
        await expect_error(InvalidPath, promise + " as source", backend.rename(key, "t", replace=True))
        await expect_error(InvalidPath, promise + " as target", backend.rename("good", key, replace=True))
        await expect_error(InvalidPath, promise + " by list", names(backend, key))
    too_long = "n" * 256
    await expect_error(
        InvalidPath, "a name of 256 bytes MUST be refused", backend.open_file(too_long, options_for())
    )
    await put(backend, "n" * 255, b"x")
    expect(await names(backend) == ["good", "n" * 255], "refused keys MUST leave nothing behind")


async def check_root_is_fixed(backend: Backend) -> None:
    """The root cannot be removed, renamed, made or opened."""
    await expect_error(CallerError, "rmdir of the root MUST be refused", backend.rmdir(""))
    await expect_error(CallerError, "remove of the root MUST be refused", backend.remove(""))
    await expect_error(
        CallerError, "rename of the root MUST be refused", backend.rename("", "x", replace=True)
    )
    await expect_error(AlreadyExists, "mkdir of the root MUST say it exists", backend.mkdir(""))
    await expect_error(CallerError, "the root MUST NOT open as a file", backend.open_file("", options_for()))
    await expect_error(IsADirectory, "the root MUST NOT open for reading", backend.open_file("", READ))


async def check_missing(backend: Backend) -> None:
    """A missing file is NotFound, and so is what lies below a file."""
    await put(backend, "file", b"x")
    for key in ("gone", "gone/too", "file/below"):
        promise = f"{key!r} is not there: NotFound"
        await expect_error(NotFound, promise + " from stat", backend.stat(key))
        await expect_error(NotFound, promise + " from open_file", backend.open_file(key, READ))
        await expect_error(NotFound, promise + " from remove", backend.remove(key))
        await expect_error(NotFound, promise + " from list", names(backend, key))
        await expect_error(NotFound, promise + " from rename", backend.rename(key, "t", replace=False))
        no_create = OpenOptions(write=True)
        await expect_error(NotFound, promise + " without create", backend.open_file(key, no_create))
    await expect_error(NotADirectory, "list of a file is NotADirectory", names(backend, "file"))
    if Capability.REAL_DIRECTORIES in backend.capabilities:
        for publish in publishable(backend):
            await expect_error(
                NotFound,
                "an upload into a missing directory MUST fail",
                backend.open_file("gone/x", options_for(publish)),
            )
        await expect_error(NotFound, "mkdir below nothing is NotFound", backend.mkdir("gone/too"))
        await expect_error(
            NotFound, "rename into nothing is NotFound", backend.rename("file", "gone/x", replace=False)
        )
    expect(await names(backend) == ["file"], "refused operations MUST leave nothing behind")


async def check_names(backend: Backend) -> None:
    """Every name survives as it is."""
    for name in ODD_NAMES:
        await put(backend, name, name.encode("utf-8", "surrogateescape"))
    expect(await names(backend) == sorted(ODD_NAMES), "odd names MUST come back unchanged")
    for name in ODD_NAMES:
        expect((await backend.stat(name)).name == name, f"stat MUST name {name!r}")
        expect(
            await get(backend, name) == name.encode("utf-8", "surrogateescape"), f"{name!r} MUST be readable"
        )


async def check_reading(backend: Backend) -> None:
    """Reads are exact at every edge."""
    data = bytes(range(256)) * 300
    await put(backend, "f", data)
    handle = await backend.open_file("f", READ)
    expect(handle.existed_size in {None, len(data)}, "existed_size of a read handle is the size or None")
    for offset, size in (
        (0, 10),
        (5, 70000),
        (len(data) - 3, 10),
        (len(data), 10),
        (len(data) + 99, 10),
        (0, 0),
    ):
        expect(
            await handle.read(offset, size) == data[offset : offset + size],
            f"read({offset}, {size}) MUST be exact",
        )
    expect(await handle.read((1 << 63) - 1, 10) == b"", "a read far past the end MUST be empty")
    entry = await handle.stat()
    expect(entry.size == len(data) and entry.kind is Kind.FILE, "a handle's stat MUST tell size and kind")
    room = [bytearray(1000), bytearray(24)]
    count = handle.readinto_nowait(100, [memoryview(piece) for piece in room])
    expect(count is None or 0 < count <= 1024, "readinto_nowait returns a count or None")
    if count is not None:
        expect(
            b"".join(map(bytes, room))[:count] == data[100 : 100 + count],
            "readinto_nowait MUST fill in order",
        )
    count = handle.readinto_nowait(len(data), [memoryview(room[0])])
    expect(count in {0, None}, "readinto_nowait at the end returns 0 or None")
    pieces = await asyncio.gather(*(handle.read(at * 7, 7) for at in range(50)))
    expect(b"".join(pieces) == data[:350], "concurrent reads MUST NOT mix")
    await handle.close()
    await expect_error(IsADirectory, "a directory does not open", _open_directory(backend))


async def _open_directory(backend: Backend) -> None:
    await backend.mkdir("dir")
    await put(backend, "dir/x", b"")  # so that it exists on stores without real directories
    await backend.open_file("dir", READ)


async def check_handles(backend: Backend) -> None:
    """A handle does what it was opened for, takes no negative numbers, and nothing once it is closed."""
    await put(backend, "f", b"0123456789")
    reader = await backend.open_file("f", READ)
    await expect_error(InvalidHandle, "writing to a handle for reading", reader.write(0, b"x"))
    await expect_error(InvalidArgument, "reading from a negative offset", reader.read(-1, 5))
    await expect_error(InvalidArgument, "reading a negative number of bytes", reader.read(0, -1))
    await expect_error(InvalidArgument, "reading from a negative offset", _readinto(reader, -1))
    writer = await backend.open_file("g", options_for())
    await expect_error(InvalidHandle, "reading from a handle for writing", writer.read(0, 5))
    await expect_error(InvalidArgument, "writing to a negative offset", writer.write(-1, b"x"))
    await expect_error(InvalidArgument, "writing to a negative offset", _write_nowait(writer, -1))
    await writer.write(0, b"kept")
    await reader.close()
    await writer.close()
    for handle in (reader, writer):
        closed = "a closed handle MUST be refused by "
        await expect_error(InvalidHandle, closed + "read", handle.read(0, 1))
        await expect_error(InvalidHandle, closed + "write", handle.write(0, b"x"))
        await expect_error(InvalidHandle, closed + "stat", handle.stat())
        await expect_error(InvalidHandle, closed + "set_attrs", handle.set_attrs(Attrs(mode=0o600)))
        await expect_error(InvalidHandle, closed + "sync", handle.sync())
        await expect_error(InvalidHandle, closed + "close", handle.close())
        await expect_error(InvalidHandle, closed + "close", handle.close(Outcome.DROP))
    expect(await get(backend, "g") == b"kept", "what is refused MUST change nothing")


async def _readinto(handle: FileHandle, offset: int) -> None:
    if handle.readinto_nowait(offset, [memoryview(bytearray(5))]) is None:
        await handle.read(offset, 5)  # it would rather wait


async def _write_nowait(handle: FileHandle, offset: int) -> None:
    if not handle.write_nowait(offset, b"x"):
        await handle.write(offset, b"x")


async def check_writing(backend: Backend) -> None:
    """Uploads arrive whole, empty ones too, and overwriting replaces."""
    for publish in publishable(backend):
        key = f"f{publish}"
        handle = await backend.open_file(key, options_for(publish))
        expect(handle.existed_size is None, "existed_size of a new file MUST be None")
        buffer = bytearray(b"a" * 1000)
        await handle.write(0, memoryview(buffer))
        buffer[:] = b"z" * 1000  # free for reuse
        if not handle.write_nowait(1000, b"b" * 500):
            await handle.write(1000, b"b" * 500)
        expect((await handle.stat()).size == 1500, "a handle's stat MUST count what was written")
        await handle.sync()
        await handle.close()
        expect(
            await get(backend, key) == b"a" * 1000 + b"b" * 500, f"{publish!r}: content MUST be what was sent"
        )
        handle = await backend.open_file(key, options_for(publish))
        expect(handle.existed_size == 1500, "existed_size MUST be the replaced file's size")
        await handle.write(0, b"short")
        await handle.close()
        expect(await get(backend, key) == b"short", "an overwrite MUST NOT leave the old end")
        await put(backend, f"empty{publish}", b"", options_for(publish, fsync=True))
        expect((await backend.stat(f"empty{publish}")).size == 0, "an empty upload MUST make an empty file")


async def check_create_flags(backend: Backend) -> None:
    """Create, exclusive and truncate mean what open(2) says."""
    await put(backend, "there", b"old")
    await backend.mkdir("dir")
    await put(backend, "dir/x", b"")
    for publish in publishable(backend):
        exclusive = options_for(publish, exclusive=True)
        await expect_error(
            AlreadyExists, "exclusive MUST refuse a file", backend.open_file("there", exclusive)
        )
        await expect_error(
            AlreadyExists, "exclusive MUST refuse a directory", backend.open_file("dir", exclusive)
        )
        await expect_error(
            IsADirectory, "writing a directory", backend.open_file("dir", options_for(publish))
        )
        await put(backend, f"new{publish}", b"x", exclusive)
        missing = options_for(publish, create=False)
        await expect_error(NotFound, "without create nothing is made", backend.open_file("none", missing))
        await put(backend, "there", b"new", missing)
        expect(await get(backend, "there") == b"new", "truncate without create MUST overwrite")
    expect(not await exists(backend, "none"), "a refused open MUST NOT create")
    # Two exclusive uploads at once: one wins.
    if Capability.RANDOM_WRITE in backend.capabilities:
        first = await backend.open_file("race", options_for(Publish.ATOMIC, exclusive=True))
        await put(backend, "race", b"winner")
        await first.write(0, b"loser")
        await expect_error(AlreadyExists, "an exclusive upload MUST NOT replace", first.close())
        expect(await get(backend, "race") == b"winner", "an exclusive upload MUST NOT replace")


async def check_random_write(backend: Backend) -> None:
    """RANDOM_WRITE, READ_WRITE, APPEND: any order, holes are zero, appends go to the end."""
    capabilities = backend.capabilities
    if Capability.RANDOM_WRITE in capabilities:
        for publish in publishable(backend):
            handle = await backend.open_file("holes", options_for(publish))
            await asyncio.gather(*(handle.write(at * 100, bytes([at]) * 100) for at in (9, 3, 5, 0, 7)))
            await handle.close()
            wanted = b"".join(bytes([at if at in {9, 3, 5, 0, 7} else 0]) * 100 for at in range(10))
            expect(await get(backend, "holes") == wanted, "writes MUST land at their offsets, holes are zero")
        handle = await backend.open_file("holes", OpenOptions(write=True))
        expect(handle.existed_size == 1000, "existed_size of an edited file is its size")
        await handle.write(2, b"edit")
        await handle.close()
        expect(
            (await get(backend, "holes"))[:8] == b"\0\0edit\0\0", "without truncate a file is edited in place"
        )
        expect((await backend.stat("holes")).size == 1000, "editing MUST keep the rest")
    if Capability.READ_WRITE in capabilities:
        for publish in publishable(backend):
            handle = await backend.open_file("both", options_for(publish, read=True))
            await handle.write(0, b"written")
            expect(await handle.read(0, 100) == b"written", "a handle MUST read what it wrote")
            await handle.close()
    if Capability.APPEND in capabilities:
        await put(backend, "log", b"one")
        handle = await backend.open_file("log", OpenOptions(write=True, append=True))
        await handle.write(0, b"two")
        await handle.write(0, b"three")
        await handle.close()
        expect(await get(backend, "log") == b"onetwothree", "append MUST ignore offsets and keep order")


async def check_publishing(backend: Backend) -> None:
    """ATOMIC and RESUMABLE show nothing before COMMIT, and KEEP and DROP leave the old file."""
    for publish in publishable(backend):
        if publish is Publish.INPLACE:
            continue
        await put(backend, "old", b"old content")
        for outcome in (Outcome.KEEP, Outcome.DROP):
            for key in ("old", "new"):
                handle = await backend.open_file(key, options_for(publish))
                await handle.write(0, b"unfinished")
                expect(
                    await names(backend) == ["old"], f"{publish!r}: an unfinished upload MUST NOT be listed"
                )
                expect(await get(backend, "old") == b"old content", "the old file MUST stay until COMMIT")
                await expect_error(
                    NotFound, "an unfinished upload MUST NOT be readable", backend.open_file("new", READ)
                )
                await handle.close(outcome)
                expect(await names(backend) == ["old"], f"{publish!r} {outcome}: nothing MUST appear")
                expect(await get(backend, "old") == b"old content", f"{outcome}: the old file MUST survive")
        expect(not await exists(backend, "new"), "DROP MUST leave nothing to resume")
    # INPLACE: what arrived stays; DROP removes it.
    await put(backend, "in", b"arrived", outcome=Outcome.KEEP)
    if Capability.RANDOM_WRITE in backend.capabilities:
        expect(await get(backend, "in") == b"arrived", "INPLACE with KEEP MUST leave what arrived")
    await put(backend, "dropped", b"x", outcome=Outcome.DROP)
    expect(not await exists(backend, "dropped"), "INPLACE with DROP MUST remove a new file")


async def check_parallel_uploads(backend: Backend) -> None:
    """Uploads to one target at the same time: each whole, the last commit wins."""
    for publish in publishable(backend):
        if publish is Publish.INPLACE:
            continue
        handles = [await backend.open_file("same", options_for(publish)) for _ in range(3)]
        for number, handle in enumerate(handles):
            await handle.write(0, bytes([number]) * 1000 * (number + 1))
        for number in (1, 0, 2):
            await handles[number].close()
            expect(
                await get(backend, "same") == bytes([number]) * 1000 * (number + 1),
                f"{publish!r}: parallel uploads MUST NOT mix, the last commit wins",
            )
        expect(await names(backend) == ["same"], "parallel uploads MUST leave nothing else")
        await backend.remove("same")
        expect(not await exists(backend, "same"), "what was removed MUST be gone")


async def check_versions(backend: Backend) -> None:
    """A backend that tells versions obeys `OpenOptions.replaces` in one step with the write."""
    await put(backend, "file", b"old")
    version = await _version(backend)
    if not version:
        return
    expect(await _version(backend) == version, "a version MUST NOT change without the content")
    for publish in publishable(backend):
        version = await _version(backend)
        handle = await backend.open_file("file", _in_place_of(version, publish))
        content = f"new {publish.name}".encode()
        await handle.write(0, content)
        await handle.close()
        expect(await _version(backend) != version, "a version MUST change with the content")
        for key in ("file", "missing"):
            handle = await backend.open_file(key, _in_place_of(version, publish))
            await handle.write(0, b"lost")
            await expect_error(Conflict, f"{publish!r}: another version MUST NOT be replaced", handle.close())
            expect(await names(backend) == ["file"], "nothing MUST appear in place of what is missing")
            expect(await get(backend, "file") == content, "what is there MUST stay")


def _in_place_of(version: str, publish: Publish) -> OpenOptions:
    return replace(options_for(publish), replaces=version)


async def _version(backend: Backend) -> str:
    handle = await backend.open_file("file", READ)
    try:
        return getattr(handle, "version", "")
    finally:
        await handle.close()


async def check_targets_that_changed(backend: Backend) -> None:
    """A commit finds what came to be meanwhile: it fails and leaves nothing, or replaces what is there."""
    if Capability.REAL_DIRECTORIES not in backend.capabilities:
        return
    for publish in publishable(backend):
        if publish is Publish.INPLACE:
            continue
        await backend.mkdir("d")
        lost = await backend.open_file("d/x", options_for(publish))
        await lost.write(0, b"lost")
        blocked = await backend.open_file("taken", options_for(publish))
        await blocked.write(0, b"blocked")
        late = await backend.open_file("late", options_for(publish))
        await late.write(0, b"last")
        await backend.mkdir("taken")
        await put(backend, "late", b"first")
        await backend.rename("d", "e", replace=False)
        await expect_error(CallerError, "a commit MUST NOT replace a directory", blocked.close())
        await late.close()
        expect(await get(backend, "late") == b"last", "a commit MUST replace the file that came meanwhile")
        # It may follow its directory, or fail; it may not come to be beside it.
        with suppress(TidegateError):
            await lost.close()
        expect(not await exists(backend, "d"), "a commit MUST NOT make directories")
        expect(await names(backend, "taken") == [], "a failed commit MUST leave nothing")
        expect(await names(backend) == ["e", "late", "taken"], "a failed commit MUST leave nothing")
        for name in await names(backend, "e"):
            await backend.remove(f"e/{name}")
        for name in ("e", "taken"):
            await backend.rmdir(name)
        await backend.remove("late")
        expect(await names(backend) == [], "what a commit left MUST be removable")


async def check_resuming(backend: Backend) -> None:
    """PARTIALS: a broken RESUMABLE upload is kept, reported by stat, and taken up again."""
    if Capability.PARTIALS not in backend.capabilities:
        return
    start = options_for(Publish.RESUMABLE)
    resume = OpenOptions(write=True, create=True, publish=Publish.RESUMABLE)
    await put(backend, "up", b"first half ", start, Outcome.KEEP)
    expect((await backend.stat("up")).size == 11, "stat of a partial MUST tell how much arrived")
    expect(await names(backend) == [], "a partial MUST NOT be listed")
    handle = await backend.open_file("up", resume)
    expect(handle.existed_size == 11, "existed_size of a taken-up partial is its size")
    await handle.write(11, b"second")
    await handle.close(Outcome.KEEP)
    handle = await backend.open_file("up", OpenOptions(write=True, publish=Publish.RESUMABLE))
    await handle.write(17, b" half")
    await handle.close()
    expect(await get(backend, "up") == b"first half second half", "a resumed upload MUST be whole")
    expect(await names(backend) == ["up"], "a finished upload MUST leave no partial")
    # Start over.
    await put(backend, "again", b"long first attempt", start, Outcome.KEEP)
    await put(backend, "again", b"short", start)
    expect(await get(backend, "again") == b"short", "truncate MUST start over")
    # Give up.
    await put(backend, "junk", b"x", start, Outcome.KEEP)
    await backend.remove("junk")
    expect(not await exists(backend, "junk"), "remove MUST remove a partial")
    await put(backend, "over", b"x", start, Outcome.KEEP)
    handle = await backend.open_file("over", resume)
    await handle.close(Outcome.DROP)
    expect(not await exists(backend, "over"), "DROP MUST remove a taken-up partial")
    # A partial beside a finished file is not in its way.
    await put(backend, "fin", b"finished")
    await put(backend, "fin", b"broken", start, Outcome.KEEP)
    expect(await get(backend, "fin") == b"finished", "a broken overwrite MUST leave the old file")
    await backend.remove("fin")
    expect(not await exists(backend, "fin"), "a removed file MUST NOT come back as its partial")
    await put(backend, "fin", b"finished")
    await put(backend, "fin", b"broken", start, Outcome.KEEP)
    await backend.rename("fin", "moved", replace=False)
    expect(not await exists(backend, "fin"), "a renamed file MUST NOT come back as its partial")
    # A directory that lists empty can be removed.
    await backend.mkdir("d")
    await put(backend, "d/p", b"x", start, Outcome.KEEP)
    await backend.rmdir("d")


async def check_edit_outcomes(backend: Backend) -> None:
    """An upload that goes on with an existing file and is dropped leaves the file as long as it was."""
    if Capability.RANDOM_WRITE not in backend.capabilities:
        return
    for publish in publishable(backend):
        await put(backend, "f", b"0123456789")
        handle = await backend.open_file("f", OpenOptions(write=True, create=True, publish=publish))
        await handle.write(10, b"more")
        await handle.close(Outcome.DROP)
        expect(await get(backend, "f") == b"0123456789", "DROP MUST take back what was added to a file")
