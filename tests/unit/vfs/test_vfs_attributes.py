# SPDX-License-Identifier: Apache-2.0
"""Setting attributes: each `setstat_mode` on storage with and without modes, owners, times and sizes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.vfs_world import PUT, RESUME, World, p, put

from tidegate.abc import Backend, Capability
from tidegate.backends.memory import MemoryBackend
from tidegate.errors import InvalidArgument, InvalidHandle, Unsupported
from tidegate.events.kinds import Operated
from tidegate.model import Attrs, StorageSpec
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.attributes import supported

ALL = Capability.MODES | Capability.OWNERS | Capability.TIMES | Capability.TRUNCATE
PARTS: list[tuple[Capability, str, Attrs]] = [
    (Capability.MODES, "mode", Attrs(mode=0o640)),
    (Capability.OWNERS, "owner", Attrs(uid=5)),
    (Capability.OWNERS, "owner", Attrs(gid=6)),
    (Capability.OWNERS, "owner", Attrs(uid=5, gid=6)),
    (Capability.TIMES, "times", Attrs(mtime_ns=7)),
    (Capability.TIMES, "times", Attrs(atime_ns=8)),
    (Capability.TIMES, "times", Attrs(atime_ns=8, mtime_ns=7)),
]
NONE = Attrs()
WHOLE = Attrs(size=3, mode=0o640, uid=5, gid=6, atime_ns=8, mtime_ns=7)
EACH_PART = pytest.mark.parametrize(("capability", "what", "attrs"), PARTS)


@EACH_PART
@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_storage_that_can(capability: Capability, what: str, attrs: Attrs, lenient: bool, mode: int) -> None:
    wanted = NONE if mode == 1 else attrs
    assert supported(attrs, ALL, mode, lenient=lenient) == wanted
    assert supported(attrs, capability, mode, lenient=lenient) == wanted


@EACH_PART
@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_storage_that_cannot(
    capability: Capability, what: str, attrs: Attrs, lenient: bool, mode: int
) -> None:
    if mode == 0 and not lenient:
        with pytest.raises(Unsupported, match=f"^this storage keeps no {what}$"):
            supported(attrs, ALL & ~capability, mode)
    else:
        assert supported(attrs, ALL & ~capability, mode, lenient=lenient) == NONE


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_the_rest_is_set_all_the_same(mode: int) -> None:
    assert supported(WHOLE, ALL, mode) == (Attrs(size=3) if mode == 1 else WHOLE)
    for capability, _, attrs in PARTS:
        if mode == 0:
            continue
        gone = [
            name
            for name in ("mode", "uid", "gid", "atime_ns", "mtime_ns")
            if getattr(attrs, name) is not None
        ]
        if len(gone) == 1 and gone[0] != "mode":
            continue  # half of a pair: both halves go
        left = Attrs(size=3) if mode == 1 else replace(WHOLE, **dict.fromkeys(gone))
        assert supported(WHOLE, ALL & ~capability, mode) == left


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("mode", [0, 1, 2])
def test_a_size_is_never_left_out(lenient: bool, mode: int) -> None:
    """A client that truncates and is told it worked would have the rest of the old file."""
    assert supported(Attrs(size=0), Capability.TRUNCATE, mode, lenient=lenient) == Attrs(size=0)
    with pytest.raises(Unsupported, match=r"^this storage cannot resize$"):
        supported(Attrs(size=0), ALL & ~Capability.TRUNCATE, mode, lenient=lenient)


@pytest.mark.parametrize(
    ("asked", "left"), [(0o7777, 0o1777), (0o4755, 0o755), (0o2755, 0o755), (0o1777, 0o1777)]
)
@pytest.mark.parametrize("mode", [0, 2])
def test_set_id_bits_are_left_out(asked: int, left: int, mode: int) -> None:
    assert supported(Attrs(mode=asked), ALL, mode) == Attrs(mode=left)


# -- through a session ---------------------------------------------------------------------------------------


class _PlainMemory(MemoryBackend):
    capabilities = MemoryBackend.capabilities & ~(Capability.MODES | Capability.OWNERS | Capability.TIMES)


class _Plain(World):
    """Storage without modes, owners and times."""

    def build(self, spec: StorageSpec) -> Backend:
        return _PlainMemory()


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[Any]:
    made: list[World] = []

    def make(kind: type[World], **settings: Any) -> World:
        made.append(kind(tmp_path, **settings))
        return made[-1]

    yield make
    for world in made:
        await world.close()


@pytest.mark.parametrize(("mode", "refused"), [(0, True), (1, False), (2, False)])
@pytest.mark.parametrize("attrs", [Attrs(mode=0o600), Attrs(uid=1, gid=1), Attrs(atime_ns=1, mtime_ns=1)])
async def test_setstat_on_plain_storage(worlds: Any, mode: int, refused: bool, attrs: Attrs) -> None:
    world = worlds(_Plain, setstat_mode=mode)
    session = await world.login(world.account())
    await put(session, "/f", b"abc")
    before = await session.stat(p("/f"))
    if refused:
        with pytest.raises(Unsupported, match="this storage keeps no"):
            await session.set_attrs(p("/f"), attrs)
    else:
        await session.set_attrs(p("/f"), attrs)
    assert await session.stat(p("/f")) == before
    assert not world.of(Operated)
    # What the storage can do is done in every mode, together with what it cannot.
    if not refused:
        await session.set_attrs(p("/f"), replace(attrs, size=1))
        assert (await session.stat(p("/f"))).size == 1
        assert [event.action for event in world.of(Operated)] == ["truncate"]
    # After an upload, what the storage lacks is left out: the file has arrived.
    file = await session.open(p("/g"), PUT)
    await file.write(0, b"xyz")
    await file.set_attrs(attrs)
    await file.close()
    assert (await session.stat(p("/g"))).size == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="owners are set by root only")
@pytest.mark.parametrize(("uid", "gid"), [(4711, None), (None, 4712), (4711, 4712)])
@pytest.mark.parametrize("by", ["path", "handle"])
async def test_one_half_of_an_owner(worlds: Any, uid: int | None, gid: int | None, by: str) -> None:
    world = worlds(World)
    session = await world.login(world.account())
    await put(session, "/f", b"abc")
    before = os.stat(world.home() / "f")
    if by == "path":
        await session.set_attrs(p("/f"), Attrs(uid=uid, gid=gid))
        operated = [(event.action, event.attrs) for event in world.of(Operated)]
        assert operated == [("chown", Attrs(uid=uid, gid=gid))]
    else:
        file = await session.open(p("/f"), RESUME)
        await file.set_attrs(Attrs(uid=uid, gid=gid))
        await file.close()
    now = os.stat(world.home() / "f")
    assert (now.st_uid, now.st_gid) == (
        before.st_uid if uid is None else uid,
        before.st_gid if gid is None else gid,
    )


@pytest.mark.parametrize(
    ("attrs", "action"),
    [
        (Attrs(mtime_ns=10**18), "chtimes"),
        (Attrs(atime_ns=10**18), "chtimes"),
        (Attrs(mode=0o600), "chmod"),
        (Attrs(size=1), "truncate"),
    ],
)
async def test_each_part_alone_is_done_and_recorded(worlds: Any, attrs: Attrs, action: str) -> None:
    world = worlds(World)
    session = await world.login(world.account())
    await put(session, "/f", b"abc")
    before = await session.stat(p("/f"))
    await session.set_attrs(p("/f"), attrs)
    assert [event.action for event in world.of(Operated)] == [action]
    now = await session.stat(p("/f"))
    for name in ("size", "mode", "atime_ns", "mtime_ns"):
        asked = getattr(attrs, name)
        if asked is not None:
            assert getattr(now, name) == asked
        elif name != "mtime_ns" or action != "truncate":
            assert getattr(now, name) == getattr(before, name)


@pytest.mark.parametrize("attrs", [Attrs(uid=0), Attrs(gid=0), Attrs(uid=0, gid=0)])
@pytest.mark.parametrize("by", ["path", "handle"])
async def test_half_an_owner_needs_the_permission_too(worlds: Any, attrs: Attrs, by: str) -> None:
    world = worlds(World)
    account = world.account(permissions={"/": ("list", "upload", "overwrite", "chmod", "chtimes")})
    session = await world.login(account)
    await put(session, "/f", b"abc")
    with pytest.raises(Exception, match="chown"):
        if by == "path":
            await session.set_attrs(p("/f"), attrs)
        else:
            file = await session.open(p("/f"), RESUME)
            try:
                await file.set_attrs(attrs)
            finally:
                await file.close()


async def test_what_a_handle_refuses(worlds: Any) -> None:
    world = worlds(World)
    session = await world.login(world.account())
    await put(session, "/f", b"abc")
    file = await session.open(p("/f"), OpenFlags(read=True))
    with pytest.raises(InvalidArgument, match="not open for writing"):
        await file.set_attrs(Attrs(size=1))
    await file.set_attrs(Attrs(mode=0o604))
    assert (await session.stat(p("/f"))).mode == 0o604
    await file.close()
    with pytest.raises(InvalidHandle):
        await file.set_attrs(Attrs(mode=0o600))
    assert (world.home() / "f").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (OpenFlags(), "open needs read or write"),
        (OpenFlags(create=True), "open needs read or write"),
        (OpenFlags(read=True, create=True), "create and truncate need write"),
        (OpenFlags(read=True, truncate=True), "create and truncate need write"),
    ],
)
async def test_flags_that_make_no_sense(worlds: Any, flags: OpenFlags, text: str) -> None:
    world = worlds(World)
    session = await world.login(world.account())
    await put(session, "/f", b"abc")
    assert session.open_nowait(p("/f"), flags) is None
    with pytest.raises(InvalidArgument, match=text):
        await session.open(p("/f"), flags)
    with pytest.raises(InvalidArgument, match=text):
        await session.open(p("/new"), flags)
    assert (world.home() / "f").read_bytes() == b"abc"
    assert sorted(os.listdir(world.home())) == ["f"]
    file = await session.open(p("/f"), OpenFlags(append=True))  # appending is writing
    await file.write(0, b"d")
    await file.close()
    assert (world.home() / "f").read_bytes() == b"abcd"
