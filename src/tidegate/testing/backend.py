# SPDX-License-Identifier: Apache-2.0
"""`check_backend`: the whole contract of `tidegate.abc.Backend`, to be run against your own.

Give it a factory that makes an unopened backend with an empty root::

    async def test_contract() -> None:
        await check_backend(MyBackend)

or run the checks one by one, for reports that name them::

    @pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
    async def test_contract(check: BackendCheck) -> None:
        await run_check(check, MyBackend)

What a backend does not declare in `capabilities` is expected to raise `Unsupported`; the rest is expected to
work. A broken promise is an AssertionError whose text is the promise.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.errors import (
    AlreadyExists,
    CallerError,
    DirectoryNotEmpty,
    InvalidPath,
    IsADirectory,
    NotADirectory,
    NotFound,
    TidegateError,
    Unsupported,
)
from tidegate.model import Attrs, Entry, Kind

BackendFactory = Callable[[], Backend]
"""Makes an unopened backend with an empty root."""
BackendCheck = Callable[[Backend], Awaitable[None]]
"""One part of the contract, run on an open backend with an empty root."""

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
MANY: Final = 700
"""Entries in the large directory of `check_listing`."""

_READ: Final = OpenOptions(read=True)


# -- helpers -----------------------------------------------------------------------------------------------


def expect(kept: object, promise: str) -> None:
    """Raise AssertionError with `promise` unless `kept` is true (also under ``python -O``)."""
    if not kept:
        raise AssertionError(promise)


async def expect_error(kind: type[TidegateError], promise: str, doing: Awaitable[object]) -> None:
    """Await `doing` and raise AssertionError with `promise` unless it raised `kind`."""
    try:
        await doing
    except kind:
        return
    except Exception as error:
        raise AssertionError(f"{promise}: got {type(error).__name__} ({error})") from error
    raise AssertionError(f"{promise}: nothing was raised")


def options_for(publish: Publish = Publish.INPLACE, **changes: bool | int | None) -> OpenOptions:
    """Options of an upload as clients start it: write, create, truncate."""
    fields: dict[str, bool | int | None] = {"write": True, "create": True, "truncate": True, **changes}
    return OpenOptions(publish=publish, **fields)  # type: ignore[arg-type]


async def put(
    backend: Backend,
    key: str,
    data: bytes,
    options: OpenOptions | None = None,
    outcome: Outcome = Outcome.COMMIT,
) -> None:
    """Upload `data`."""
    handle = await backend.open_file(key, options or options_for())
    await handle.write(0, data)
    await handle.close(outcome)


async def get(backend: Backend, key: str) -> bytes:
    """The whole content of a file."""
    handle = await backend.open_file(key, _READ)
    try:
        pieces = []
        offset = 0
        while piece := await handle.read(offset, 65536):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)
    finally:
        await handle.close()


async def names(backend: Backend, key: str = "") -> list[str]:
    """The names in a directory, sorted."""
    return sorted([entry.name async for batch in backend.list(key) for entry in batch])


async def exists(backend: Backend, key: str) -> bool:
    """Whether `stat` finds something."""
    try:
        await backend.stat(key, follow=False)
    except NotFound:
        return False
    return True


# -- the checks --------------------------------------------------------------------------------------------


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
    await expect_error(IsADirectory, "the root MUST NOT open for reading", backend.open_file("", _READ))


async def check_missing(backend: Backend) -> None:
    """What is not there is NotFound, and so is what lies below a file."""
    await put(backend, "file", b"x")
    for key in ("gone", "gone/too", "file/below"):
        promise = f"{key!r} is not there: NotFound"
        await expect_error(NotFound, promise + " from stat", backend.stat(key))
        await expect_error(NotFound, promise + " from open_file", backend.open_file(key, _READ))
        await expect_error(NotFound, promise + " from remove", backend.remove(key))
        await expect_error(NotFound, promise + " from list", names(backend, key))
        await expect_error(NotFound, promise + " from rename", backend.rename(key, "t", replace=False))
        no_create = OpenOptions(write=True)
        await expect_error(NotFound, promise + " without create", backend.open_file(key, no_create))
    await expect_error(NotADirectory, "list of a file is NotADirectory", names(backend, "file"))
    if Capability.REAL_DIRECTORIES in backend.capabilities:
        for publish in _publishable(backend):
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
    handle = await backend.open_file("f", _READ)
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
    await backend.open_file("dir", _READ)


async def check_writing(backend: Backend) -> None:
    """Uploads arrive whole, empty ones too, and overwriting replaces."""
    for publish in _publishable(backend):
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
    for publish in _publishable(backend):
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
        for publish in _publishable(backend):
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
        for publish in _publishable(backend):
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
    for publish in _publishable(backend):
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
                    NotFound, "an unfinished upload MUST NOT be readable", backend.open_file("new", _READ)
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
    for publish in _publishable(backend):
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
    for publish in _publishable(backend):
        await put(backend, "f", b"0123456789")
        handle = await backend.open_file("f", OpenOptions(write=True, create=True, publish=publish))
        await handle.write(10, b"more")
        await handle.close(Outcome.DROP)
        expect(await get(backend, "f") == b"0123456789", "DROP MUST take back what was added to a file")


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
        for publish in _publishable(backend):
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
        for publish in _publishable(backend):
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
    await backend.symlink("dir", "dlink")
    expect(await get(backend, "dlink/inner") == b"inner", "a link may be a parent")
    expect("inner" in await names(backend, "dlink"), "a link to a directory MUST list")
    await expect_error(NotADirectory, "rmdir of a link to a directory", backend.rmdir("dlink"))
    for text in ("..", "../out", "dir/../../out", "/../out"):
        await expect_error(CallerError, f"a link to {text!r} MUST be refused", backend.symlink(text, "out"))
    for publish in _publishable(backend):
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
    """What is not declared is Unsupported."""
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


def _publishable(backend: Backend) -> Sequence[Publish]:
    if Capability.PARTIALS in backend.capabilities:
        return tuple(Publish)
    return Publish.INPLACE, Publish.ATOMIC


# -- running them ------------------------------------------------------------------------------------------

_CHECKS: Final[tuple[BackendCheck, ...]] = (
    check_empty_root,
    check_bad_keys,
    check_root_is_fixed,
    check_missing,
    check_names,
    check_reading,
    check_writing,
    check_create_flags,
    check_random_write,
    check_publishing,
    check_parallel_uploads,
    check_resuming,
    check_edit_outcomes,
    check_listing,
    check_directories,
    check_renaming,
    check_attributes,
    check_links,
    check_copying,
    check_space,
    check_undeclared,
)


def backend_checks() -> tuple[BackendCheck, ...]:
    """All checks, for running them one by one with `run_check`."""
    return _CHECKS


async def run_check(check: BackendCheck, factory: BackendFactory) -> None:
    """Run one check on a backend of its own."""
    backend = factory()
    try:
        await backend.open()
        await check(backend)
    finally:
        await backend.close()


async def check_backend(factory: BackendFactory) -> None:
    """Run the whole contract, each check on a fresh backend.

    Args:
        factory: makes an unopened backend with an empty root.

    Raises:
        AssertionError: a promise was broken; the text names the check and the promise.
    """
    closed_unopened = factory()
    await closed_unopened.close()  # legal after a failed open
    for check in _CHECKS:
        try:
            await run_check(check, factory)
        except AssertionError as error:
            raise AssertionError(f"{getattr(check, '__name__', check)}: {error}") from error
        except TidegateError as error:
            text = f"{getattr(check, '__name__', check)}: unexpected {type(error).__name__} ({error})"
            raise AssertionError(text) from error


__all__ = ["BackendCheck", "BackendFactory", "backend_checks", "check_backend", "run_check"]
