# SPDX-License-Identifier: Apache-2.0
"""Checks of storage where something takes another's place: trees, and files that may be put back."""

from __future__ import annotations

from typing import Protocol

from tidegate.abc import Backend, Capability, Outcome, Publish, ReplacesTrees, SetsAside
from tidegate.errors import NotFound
from tidegate.model import Attrs
from tidegate.testing.backend_support import (
    exists,
    expect,
    expect_error,
    get,
    names,
    options_for,
    put,
)


class SettingAside(Backend, SetsAside, Protocol):
    """Storage with both contracts."""


async def check_replaced_trees(backend: Backend) -> None:
    """A tree made under a hidden key takes the place of another in one step; see `ReplacesTrees`."""
    if not isinstance(backend, ReplacesTrees):
        return
    await backend.mkdir("d")
    await backend.mkdir("d/old")
    await put(backend, "d/old/f", b"old")
    await put(backend, "d/file", b"file")
    for moves in (False, True):
        hidden = await backend.beside("d/old", moves=moves)
        expect(hidden.rpartition("/")[0] == "d", "a hidden key MUST be in the directory of its key")
        expect(not await exists(backend, hidden), "nothing MUST be at a hidden key")
        await expect_error(NotFound, "exchange of nothing", backend.exchange(hidden, "d/old"))
        await backend.mkdir(hidden)
        await put(backend, f"{hidden}/g", b"new")
        expect(sorted(await names(backend, "d")) == ["file", "old"], "a hidden name MUST NOT be listed")
        await expect_error(NotFound, "exchange with nothing", backend.exchange(hidden, "d/none"))
        aside = await backend.exchange(hidden, "d/old")
        expect(await get(backend, "d/old/g") == b"new", "the new tree MUST have the name")
        expect(len(await names(backend, aside)) == 1, "the old tree MUST have the hidden name")
        for name in await names(backend, aside):
            await backend.remove(f"{aside}/{name}")
        await backend.rmdir(aside)
        await backend.leave_beside(aside)
        await expect_error(NotFound, "a hidden key that is forgotten", backend.mkdir(hidden))
    hidden = await backend.beside("d/file", moves=False)
    await backend.mkdir(hidden)
    aside = await backend.exchange(hidden, "d/file")
    expect((await backend.stat("d/file")).is_dir, "a directory MUST be able to replace a file")
    expect(await get(backend, aside) == b"file", "a file MUST be able to get the hidden name")
    await backend.remove(aside)
    await backend.leave_beside(aside)


async def check_set_aside(backend: Backend) -> None:
    """An upload that is refused leaves what was there, a file or nothing; see `SetsAside`."""
    if not isinstance(backend, SetsAside):
        return
    await backend.mkdir("d")
    for old in (True, False):
        for ending in ("put back", "dropped", "replaced again", "replaced at once", "removed", "renamed"):
            await _set_aside(backend, ending, old=old)
    upload = await backend.open_file("d/f", options_for(Publish.ATOMIC))
    await put(backend, "d/f", b"not agreed to")
    hidden, kept = await backend.set_aside("d/f", upload, keep=False)
    expect(not kept, "what does not come back MUST NOT be kept")
    await upload.write(0, b"new one")
    await upload.close(Outcome.COMMIT)
    await backend.replaced(hidden, "d/f")
    expect(await backend.put_back(hidden, "d/f"), "the successor MUST be removed")
    expect(await names(backend, "d") == [], "what does not come back MUST NOT come back")
    await backend.rmdir("d")  # nothing hidden is left, or it would not be empty


async def _set_aside(backend: SettingAside, ending: str, *, old: bool) -> None:
    times = Attrs(mtime_ns=1_500_000_000 * 10**9, atime_ns=1_500_000_001 * 10**9)
    beside = options_for(Publish.ATOMIC)
    before = None
    if old:
        await put(backend, "d/f", b"old")
        if Capability.TIMES in backend.capabilities:
            await backend.set_attrs("d/f", times)
        before = await backend.stat("d/f")
    upload = await backend.open_file("d/f", beside)
    await upload.write(0, b"new one")
    hidden, kept = await backend.set_aside("d/f", upload)
    expect(kept == old, "a file MUST be set aside, and nothing MUST NOT be")
    expect(hidden.rpartition("/")[0] == "d", "a hidden key MUST be in the directory of its key")
    expect(await names(backend, "d") == (["f"] if old else []), "a hidden name MUST NOT be listed")
    expect(not old or await get(backend, "d/f") == b"old", "what is set aside MUST stay where it is")
    await upload.close(Outcome.COMMIT)
    if ending == "replaced at once":
        await put(backend, "d/f", b"another", beside)
        await expect_error(NotFound, "the note of a successor that is gone", backend.replaced(hidden, "d/f"))
    else:
        await backend.replaced(hidden, "d/f")
    match ending:
        case "dropped":
            await backend.drop_aside(hidden)
            expect(await get(backend, "d/f") == b"new one", "what came MUST stay")
        case "replaced again" | "replaced at once":
            await put(backend, "d/f", b"another", beside)
            expect(not await backend.put_back(hidden, "d/f"), "what others put there MUST stay")
            expect(await get(backend, "d/f") == b"another", "what others put there MUST stay")
        case _:
            if ending == "removed":
                await backend.remove("d/f")
            if ending == "renamed":
                await backend.rename("d/f", "d/g", replace=False)
                expect(await backend.withdraw(hidden, "d/g"), "the successor MUST be found where it is")
            expect(await backend.put_back(hidden, "d/f"), "the key MUST be as it was")
            if before is not None:
                now = await backend.stat("d/f")
                expect(await get(backend, "d/f") == b"old", "the old content MUST be back")
                told = "the old attributes MUST be back"
                expect((now.mode, now.uid, now.size) == (before.mode, before.uid, before.size), told)
                if Capability.TIMES in backend.capabilities:
                    expect(now.mtime_ns == before.mtime_ns, told)
    there = old or ending in {"dropped", "replaced again", "replaced at once"}
    expect(await names(backend, "d") == (["f"] if there else []), "nothing else MUST be left")
    if there:
        await backend.remove("d/f")
