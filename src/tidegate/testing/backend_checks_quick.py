# SPDX-License-Identifier: Apache-2.0
"""The contract of `tidegate.abc.OpensAtOnce` and `ClosesAtOnce`, for backends that have them.

`open_nowait` may always answer None, and then nothing may have happened; what it does answer has to be what
`open_file` would have done. Backends without it pass.
"""

from __future__ import annotations

from typing import Final

from tidegate.abc import (
    Backend,
    Capability,
    ClosesAtOnce,
    FileHandle,
    OpenOptions,
    OpensAtOnce,
    Outcome,
    Publish,
    QuickHandle,
)
from tidegate.errors import InvalidHandle, TidegateError
from tidegate.model import Attrs
from tidegate.testing.backend_checks_files import BAD_KEYS
from tidegate.testing.backend_support import READ, exists, expect, get, names, put

NEW: Final = OpenOptions(write=True, create=True, exclusive=True)
"""Options of an upload that is opened at once."""
HIDDEN_NAMES: Final = (".tidegate-part.0123", ".tidegate-upload.0123", "dir/.tidegate-part.0123")
"""Names of unfinished uploads, where a backend hides them."""


async def check_quick_reading(backend: Backend) -> None:
    """A regular file that is opened at once reads as one that `open_file` opens."""
    if not isinstance(backend, OpensAtOnce):
        return
    await backend.mkdir("dir")
    for key, data in (("f", bytes(range(256)) * 300), ("dir/g", b"x"), ("empty", b"")):
        await put(backend, key, data)
        usual = await backend.open_file(key, READ)
        quick = backend.open_nowait(key, READ)
        if quick is None:
            await usual.close()
            continue
        expect(isinstance(quick, ClosesAtOnce), "what open_nowait opens MUST have close_nowait")
        expect(quick.existed_size == usual.existed_size, "existed_size MUST be what open_file says")
        expect(await quick.read(0, len(data) + 1) == data, "what is opened at once MUST read the same")
        expect(await quick.read(1, 10) == data[1:11], "reads at an offset MUST be exact")
        expect((await quick.stat()) == (await usual.stat()), "the handles' stat MUST be the same")
        await _refused(quick.write(0, b"y"), "a handle for reading MUST NOT write")
        await usual.close()
        await _end(quick)
        expect(await get(backend, key) == data, "reading MUST change nothing")


async def check_quick_reading_leaves_the_rest(backend: Backend) -> None:
    """Anything but a regular file, and what is reached by a link, is left to `open_file`."""
    if not isinstance(backend, OpensAtOnce):
        return
    await backend.mkdir("dir")
    await put(backend, "dir/f", b"content")
    keys = ["", "dir", "gone", "dir/gone", "gone/gone", "dir/f/below", "n" * 256]
    if Capability.LINKS in backend.capabilities:
        for text, link in (("dir/f", "to-f"), ("dir", "to-dir"), ("gone", "to-gone"), ("loop", "loop")):
            await backend.symlink(text, link)
        keys += ["to-f", "to-dir", "to-dir/f", "to-gone", "loop", "to-dir/gone"]
    before = await names(backend), await names(backend, "dir")
    for key in keys:
        expect(backend.open_nowait(key, READ) is None, f"open_nowait of {key!r} MUST be None")
    for options in (
        OpenOptions(),
        OpenOptions(read=True, create=True, exclusive=True),
        OpenOptions(read=True, truncate=True),
    ):
        quick = backend.open_nowait("dir/f", options)
        expect(quick is None, f"open_nowait MUST leave {options} to open_file")
    expect((await names(backend), await names(backend, "dir")) == before, "nothing may have been created")
    expect(await get(backend, "dir/f") == b"content", "nothing may have been changed")


async def check_quick_creating(backend: Backend) -> None:
    """A file that is created at once is the one that `open_file` would have created."""
    if not isinstance(backend, OpensAtOnce):
        return
    await backend.mkdir("dir")
    number = 0
    for mode in (None, 0o777, 0o666, 0o640, 0o600, 0o444, 0o7777):
        for folder in ("", "dir/"):
            number += 1
            options = OpenOptions(write=True, create=True, exclusive=bool(number % 2), mode=mode)
            await put(backend, f"{folder}usual{number}", b"x", options)
            quick = backend.open_nowait(f"{folder}quick{number}", options)
            if quick is None:
                continue
            expect(isinstance(quick, ClosesAtOnce), "what open_nowait opens MUST have close_nowait")
            expect(quick.existed_size is None, "existed_size of a new file MUST be None")
            expect(not getattr(quick, "staged", False), "a file created in place is not staged")
            if not quick.write_nowait(0, b"a" * 1000):
                await quick.write(0, b"a" * 1000)
            await quick.write(1000, b"b" * 10)
            expect((await quick.stat()).size == 1010, "a handle's stat MUST count what was written")
            await _refused(quick.read(0, 1), "a handle for writing MUST NOT read")
            await _end(quick)
            expect(
                await get(backend, f"{folder}quick{number}") == b"a" * 1000 + b"b" * 10,
                "content MUST be what was written",
            )
            new, old = [await backend.stat(f"{folder}{name}{number}") for name in ("quick", "usual")]
            if Capability.MODES in backend.capabilities:
                expect(new.mode == old.mode, f"mode {mode} MUST be {old.mode:o} as by open_file")
            expect((new.uid, new.gid) == (old.uid, old.gid), "owner MUST be the same as by open_file")


async def check_quick_creating_spares_what_is_there(backend: Backend) -> None:
    """A name that anything has is left to `open_file`, and what has it stays as it is."""
    if not isinstance(backend, OpensAtOnce):
        return
    await backend.mkdir("dir")
    await put(backend, "f", b"old")
    await put(backend, "dir/f", b"old")
    keys = ["", "f", "dir", "dir/f", "f/below", "gone/f", "n" * 256]
    links = Capability.LINKS in backend.capabilities
    texts = {"to-f": "f", "to-dir": "dir", "to-gone": "gone", "to-new": "dir/new", "loop": "loop"}
    if links:
        for link, text in texts.items():
            await backend.symlink(text, link)
        keys += [*texts, "to-dir/new", "to-dir/f"]
    before = await names(backend), await names(backend, "dir")
    for exclusive in (False, True):
        for truncate in (False, True):
            options = OpenOptions(write=True, create=True, exclusive=exclusive, truncate=truncate)
            for key in keys:
                expect(backend.open_nowait(key, options) is None, f"open_nowait of {key!r} MUST be None")
    expect((await names(backend), await names(backend, "dir")) == before, "nothing may come or go")
    for key in ("f", "dir/f"):
        expect(await get(backend, key) == b"old", "what has the name MUST stay as it is")
    if links:
        for link, text in texts.items():
            expect(await backend.readlink(link) == text, "a link that has the name MUST stay as it is")
    if Capability.PARTIALS in backend.capabilities:
        resumable = OpenOptions(write=True, create=True, truncate=True, publish=Publish.RESUMABLE)
        await put(backend, "part", b"half", resumable, Outcome.KEEP)
        expect(backend.open_nowait("part", NEW) is None, "a name that an unfinished upload has is taken")
        expect((await backend.stat("part")).size == 4, "an unfinished upload MUST stay as it is")


async def check_quick_creating_in_other_ways(backend: Backend) -> None:
    """Only a file to be written from its start, in place, is created at once."""
    if not isinstance(backend, OpensAtOnce):
        return
    for options in (
        OpenOptions(write=True),
        OpenOptions(write=True, truncate=True),
        OpenOptions(write=True, create=True, publish=Publish.ATOMIC),
        OpenOptions(write=True, create=True, publish=Publish.RESUMABLE),
        OpenOptions(write=True, create=True, read=True),
        OpenOptions(write=True, create=True, append=True),
        OpenOptions(write=True, create=True, fsync=True),
        OpenOptions(read=True, create=True),
        OpenOptions(create=True),
    ):
        expect(backend.open_nowait("f", options) is None, f"open_nowait MUST leave {options} to open_file")
        expect(await names(backend) == [], f"nothing may be created with {options}")


async def check_quick_keys(backend: Backend) -> None:
    """Keys that `open_file` refuses are refused, or left to it; never opened."""
    if not isinstance(backend, OpensAtOnce):
        return
    await backend.mkdir("dir")
    for key in (*BAD_KEYS, "dir/../x", "../x", "x\0", *HIDDEN_NAMES):
        for options in (READ, NEW):
            wanted, handle = await _error_of(backend, key, options)
            if wanted is None:
                assert handle is not None
                await handle.close(Outcome.DROP)
                continue
            try:
                quick = backend.open_nowait(key, options)
            except TidegateError as error:
                expect(type(error) is wanted, f"{key!r} MUST raise {wanted.__name__} as open_file does")
            else:
                expect(quick is None, f"open_nowait MUST NOT open {key!r}")
    expect(await names(backend) == ["dir"], "refused keys MUST leave nothing behind")
    expect(await names(backend, "dir") == [], "refused keys MUST leave nothing behind")


async def check_quick_endings(backend: Backend) -> None:
    """COMMIT and KEEP leave the file, DROP removes exactly it, and an ended handle is ended."""
    if not isinstance(backend, OpensAtOnce):
        return
    for outcome in Outcome:
        quick = backend.open_nowait("f", NEW)
        if quick is None:
            return
        await quick.write(0, b"content")
        await _end(quick, outcome)
        expect(await exists(backend, "f") is (outcome is not Outcome.DROP), f"{outcome}: wrong ending")
        for again in Outcome:
            try:
                quick.close_nowait(again)
            except InvalidHandle:
                continue
            expect(False, "close_nowait of an ended handle MUST raise InvalidHandle")
        await _refused(quick.close(), "close of an ended handle MUST raise InvalidHandle")
        if outcome is not Outcome.DROP:
            expect(await get(backend, "f") == b"content", f"{outcome} MUST leave what was written")
            await backend.remove("f")
    if Capability.TIMES not in backend.capabilities:
        return
    for outcome in (Outcome.COMMIT, Outcome.KEEP):
        quick = backend.open_nowait("t", NEW)
        if quick is None:
            return
        await quick.set_attrs(Attrs(atime_ns=10**9, mtime_ns=2 * 10**9))
        await quick.write(0, b"later")
        await _end(quick, outcome)
        expect((await backend.stat("t")).mtime_ns == 2 * 10**9, f"{outcome}: times that were set MUST hold")
        await backend.remove("t")


async def check_quick_drop_after_moves(backend: Backend) -> None:
    """DROP finds a file that was created at once wherever it went, and takes nothing else for it."""
    if not isinstance(backend, OpensAtOnce):
        return
    quick = backend.open_nowait("f", NEW)
    if quick is not None:
        await quick.write(0, b"mine")
        await backend.remove("f")
        await put(backend, "f", b"another")
        await _end(quick, Outcome.DROP)
        expect(await get(backend, "f") == b"another", "DROP MUST NOT remove what took the name")
        await backend.remove("f")
    if Capability.REAL_DIRECTORIES not in backend.capabilities:
        return
    await backend.mkdir("a")
    await backend.mkdir("a/b")
    for key, source, target, there in (
        ("f", "f", "g", "g"),
        ("a/b/f", "a/b/f", "f", "f"),
        ("a/b/f", "a", "moved", "moved/b/f"),
    ):
        quick = backend.open_nowait(key, NEW)
        if quick is None:
            return
        await quick.write(0, b"mine")
        await backend.rename(source, target, replace=False)
        if source == key:
            await put(backend, key, b"another")
        expect(await get(backend, there) == b"mine", "a file that was renamed is the same file")
        await _end(quick, Outcome.DROP)
        expect(not await exists(backend, there), f"DROP MUST remove {key!r} that is {there!r} now")
        if source == key:
            expect(await get(backend, key) == b"another", "DROP MUST NOT remove what took the name")
            await backend.remove(key)


async def _end(handle: QuickHandle, outcome: Outcome = Outcome.COMMIT) -> None:
    if not handle.close_nowait(outcome):
        await handle.close(outcome)


async def _refused(doing: object, promise: str) -> None:
    try:
        await doing  # type: ignore[misc]  # a coroutine of the handle
    except TidegateError:
        return
    expect(False, promise)


async def _error_of(
    backend: Backend, key: str, options: OpenOptions
) -> tuple[type[TidegateError] | None, FileHandle | None]:
    try:
        return None, await backend.open_file(key, options)
    except TidegateError as error:
        return type(error), None
