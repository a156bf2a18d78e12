# SPDX-License-Identifier: Apache-2.0
"""Whatever the account, the tree and the flags: opening at once does what `open` does, or nothing at all."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.support.vfs_world import World, p, vfs_world

from tidegate.abc import Publish
from tidegate.backends.local.names import part_name
from tidegate.errors import TidegateError
from tidegate.events.kinds import Event, Transferred
from tidegate.model import TALLY_NAMES, Attrs, FilePatterns, Tally, TallyLimits
from tidegate.policy.quota import BYTES_PER_MB, WARNING_MARKS, UsageCounter
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.files.handle import File
from tidegate.vfs.session import Session

MB = BYTES_PER_MB
FOLDERS = ("", "a", "a/b", "m")
LEAVES = ("f", "g.txt", "h.tmp")
# Few and small, so that limits are met, just met and just missed.
LIMIT = st.sampled_from([0, 1, 5, 10, 12, 15, 20, 40])
USED = st.integers(0, 11)
ODD_PATHS = ("/", "/a", "/m", "/missing/f", "/f/below", "/to-a/f", "/a/.tidegate-part.0", "/way", "/way/m/f")
GRANTS = (
    ("*",),
    ("*",),
    ("list", "download", "upload"),
    ("list", "download", "upload", "overwrite"),
    ("list", "download", "overwrite"),
    ("upload",),
    ("download",),
    ("list",),
)


USUAL = (
    OpenFlags(read=True),
    OpenFlags(write=True, create=True, truncate=True),
    OpenFlags(write=True, create=True, truncate=True),
    OpenFlags(write=True, create=True),
    OpenFlags(write=True, create=True, exclusive=True),
)


@dataclass(frozen=True)
class Case:
    """One question.

    Attributes:
        account: fields of it.
        mount: fields of the folder at /m, None without.
        tree: what is there: path -> size of a file, ``dir``, text of a link, or ``part`` and a size.
        options: of the server.
        marked: the store was told.
        warm: storage of the path was opened.
        chunks: what is written.
    """

    account: dict[str, Any]
    mount: dict[str, Any] | None
    tree: dict[str, Any]
    options: dict[str, Any]
    path: str
    flags: OpenFlags
    attrs: Attrs | None
    marked: bool
    warm: bool
    chunks: list[int]


@st.composite
def accounts(draw: st.DrawFn) -> dict[str, Any]:
    """An account with few restrictions: with many of them nearly everything is refused."""
    twists = draw(
        st.sets(st.sampled_from(["grants", "size", "files", "moved", "patterns", "tally", "max"]), max_size=3)
    )
    account: dict[str, Any] = {"permissions": {"/": ("*",)}, "used_quota_size": draw(USED)}
    filters: dict[str, Any] = {}
    if "grants" in twists:
        folders = draw(st.sets(st.sampled_from(["/", "/a", "/a/b", "/m"]), min_size=1, max_size=2))
        account["permissions"] |= {folder: draw(st.sampled_from(GRANTS)) for folder in sorted(folders)}
    if "size" in twists:
        account["quota_size"] = draw(LIMIT)
    if "files" in twists:
        account |= {"quota_files": draw(LIMIT), "used_quota_files": draw(USED)}
    if "moved" in twists:
        account |= {
            f"{way}_data_transfer": draw(st.sampled_from([0, 1])) for way in ("upload", "download", "total")
        }
        account |= {
            f"used_{way}_data_transfer": draw(st.sampled_from([0, MB // 2, MB - 5, MB - 1, MB]))
            for way in ("upload", "download")
        }
    if "patterns" in twists:
        filters["file_patterns"] = (
            FilePatterns(
                path=draw(st.sampled_from(["/", "/a", "/a/b"])),
                allowed_patterns=draw(st.sampled_from([(), ("*.txt",), ("f",)])),
                denied_patterns=draw(st.sampled_from([(), ("*.tmp",), ("f",)])),
                deny_policy=draw(st.sampled_from([0, 1])),
            ),
        )
    if "tally" in twists:
        filters["tally_limits"] = TallyLimits(
            limit_type=draw(st.sampled_from(["hard", "soft"])),
            per_session=draw(st.booleans()),
            **{name: draw(LIMIT) for name in TALLY_NAMES},
        )
        account["tally"] = Tally(**{name: draw(USED) for name in TALLY_NAMES})
    if "max" in twists:
        filters["max_upload_file_size"] = draw(st.sampled_from([1, 4, 10]))
    return account | {"filters": filters}


@st.composite
def trees(draw: st.DrawFn) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    links = st.sampled_from(["f", "a/f", "../f", "nowhere", "/etc/passwd", "a", "."])
    for folder in FOLDERS:
        for leaf in LEAVES:
            kind = draw(
                st.sampled_from(["none", "none", "none", "file", "file", "dir", "link", "part", "both"])
            )
            path = f"{folder}/{leaf}".lstrip("/")
            if kind in {"file", "both"}:
                tree[path] = draw(st.integers(0, 12))
            if kind in {"part", "both"}:
                tree[f"{path} part"] = draw(st.integers(0, 12))
            if kind == "dir":
                tree[path] = "dir"
            if kind == "link":
                tree[path] = draw(links)
    if draw(st.booleans()):
        tree["to-a"] = "a"
    return tree


@st.composite
def cases(draw: st.DrawFn) -> Case:
    own = draw(st.booleans())
    odd = st.builds(OpenFlags, *(st.booleans() for _ in range(6)))
    tree = draw(trees())
    plain = [f"/{folder}/{leaf}".replace("//", "/") for folder in FOLDERS for leaf in LEAVES]
    free = [path for path in plain if path[1:] not in tree]
    files = [path for path in plain if isinstance(tree.get(path[1:]), int)]
    parts = [path for path in plain if f"{path[1:]} part" in tree]
    kinds = [kind for kind in (free, free, free, files, files, parts, plain, list(ODD_PATHS)) if kind]
    path = draw(st.sampled_from(draw(st.sampled_from(kinds))))
    flags = draw(st.sampled_from([USUAL[0]] if path in files and draw(st.booleans()) else USUAL))
    if draw(st.integers(0, 9)) == 9:
        flags = draw(odd)
    return Case(
        account=draw(accounts()),
        mount=None
        if draw(st.booleans())
        else {
            "path": draw(st.sampled_from(["/m", "/m", "/way/m"])),
            "quota_size": draw(LIMIT) if own else -1,
            "quota_files": draw(LIMIT) if own else -1,
            "used_quota_size": draw(USED),
            "used_quota_files": draw(USED),
        },
        tree=tree,
        options={
            "upload_mode": draw(st.sampled_from([Publish.INPLACE] * 6 + [Publish.ATOMIC, Publish.RESUMABLE])),
            "map_owners": draw(st.booleans()),
            "fsync": draw(st.sampled_from([False] * 9 + [True])),
            "track_quota": draw(st.sampled_from([0, 1, 2, 2, 2])),
        },
        path=path,
        flags=flags,
        attrs=draw(st.sampled_from([None, None, Attrs(mode=0o600), Attrs(mode=0o7777), Attrs(size=3)])),
        marked=draw(st.sampled_from([True] * 5 + [False])),
        warm=draw(st.sampled_from([True] * 5 + [False])),
        chunks=draw(st.lists(st.integers(0, 8), max_size=3)),
    )


# -- two worlds ----------------------------------------------------------------------------------------------


def plant(case: Case, world: World) -> None:
    for path, what in sorted(case.tree.items()):
        folder, _, name = path.rpartition("/")
        base = world.folder_dir("m") if folder == "m" and case.mount is not None else world.home() / folder
        base.mkdir(parents=True, exist_ok=True)
        if isinstance(what, int):
            if name.endswith(" part"):
                name = part_name(name.removesuffix(" part").encode()).decode()
            (base / name).write_bytes(b"o" * what)
        elif what == "dir":
            (base / name).mkdir()
        else:
            (base / name).symlink_to(what)


async def enter(case: Case, world: World) -> Session:
    """A session in a world as the case says."""
    fields = dict(case.account)
    if case.mount is not None:
        quotas = dict(case.mount)
        fields["virtual_folders"] = (world.mount("m", quotas.pop("path"), **quotas),)
    (world.home() / "a/b").mkdir(parents=True)
    plant(case, world)
    account = world.account(**fields)
    if case.mount is not None:
        world.store.folders["m"] = replace(
            world.store.folders["m"],
            used_quota_size=case.mount["used_quota_size"],
            used_quota_files=case.mount["used_quota_files"],
        )
    session = await world.login(account)
    context = session._context
    if case.warm:
        await context.table.at(p(case.path))
    if case.marked:
        for mount in context.table.mounts:
            await context.begin(mount)
    return session


def disk(world: World) -> dict[str, tuple[Any, ...]]:
    """Everything on disk: kind and mode, owner, content."""
    found = {}
    for path in sorted(world.base.rglob("*")):
        about = path.lstat()
        content: Any = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        found[str(path.relative_to(world.base))] = (about.st_mode, about.st_uid, about.st_gid, content)
    return found


def numbers(session: Session) -> list[Any]:
    """The live charges, session counters included."""
    context = session._context
    found: list[Any] = []
    for mount in context.table.mounts:
        charges = mount.charges
        found += [
            [count.used for count in counts]
            for counts in (charges.grow, charges.files, charges.up, charges.down)
        ]
        found += [[count.used for count in charges.fetches]]
    usage = context.usage
    counts = (usage.size, usage.files, usage.upload, usage.download, usage.total, *usage.tally.values())
    return [*found, [count.used for count in counts]]


def said(world: World) -> list[Event]:
    """Events without what differs from world to world."""
    return [
        (event._replace if isinstance(event, Transferred) else partial(replace, event))(**{
            name: 0.0 if name in ("elapsed", "at", "first_byte") else getattr(event, name).replace(str(world.base), "")
            for name in ("elapsed", "at", "first_byte", "file_path", "text", "error")
            if hasattr(event, name)
        })
        for event in world.events
    ]  # fmt: skip


def stored(world: World) -> Any:
    account = world.store.accounts["alice"]
    account = replace(
        account,
        home_dir="",
        virtual_folders=(),
        first_upload=int(bool(account.first_upload)),
        first_download=int(bool(account.first_download)),
    )
    return account, {name: replace(folder, mapped_path="") for name, folder in world.store.folders.items()}


def held(session: Session) -> tuple[int, ...]:
    context = session._context
    return (
        len(context.paths),
        len(context.usage.uploads),
        len(context.files),
        len(context.transfers),
        context.opening,
    )


async def usually(session: Session, case: Case) -> tuple[File | None, Any]:
    try:
        return await session.open(p(case.path), case.flags, case.attrs), None
    except TidegateError as error:
        return None, (type(error), str(error))


async def use(file: File, case: Case, *, at_once: bool) -> list[Any]:
    """Write or read, and close; what was answered."""
    answers: list[Any] = []
    try:
        if file.writable:
            offset = 0
            for size in case.chunks:
                data = b"n" * size
                if not (at_once and file.write_nowait(offset, data)):
                    await file.write(offset, data)
                offset += size
        else:
            room = bytearray(20)
            count = file.readinto_nowait(0, [memoryview(room)])
            answers.append(bytes(room[:count]) if count is not None else await file.read(0, 20))
    except TidegateError as error:
        answers.append((type(error), str(error)))
    try:
        if not (at_once and file.close_nowait()):
            await file.close()
    except TidegateError as error:
        answers.append((type(error), str(error)))
    return answers


async def compare(case: Case, base: Path) -> None:
    async with (
        vfs_world(base / "one", **case.options) as one,
        vfs_world(base / "two", **case.options) as two,
    ):
        first, second = await enter(case, one), await enter(case, two)
        assert disk(one) == disk(two)
        assert numbers(first) == numbers(second)

        before = disk(one), numbers(first), said(one), held(first)
        file = first.open_nowait(p(case.path), case.flags, case.attrs)
        other, trouble = await usually(second, case)
        if file is not None:
            event("at once, writing" if file.writable else "at once, reading")
            assert trouble is None, f"open refuses it: {trouble}"
        else:
            event("left to open, which refuses" if trouble else "left to open, which opens")
            assert (disk(one), numbers(first), said(one), held(first)) == before, "something happened"
            file, same = await usually(first, case)
            assert same == trouble
        assert held(first) == held(second)
        assert numbers(first) == numbers(second)
        if file is not None and other is not None:
            assert (file.readable, file.writable, file.small) == (other.readable, other.writable, other.small)
            assert await use(file, case, at_once=True) == await use(other, case, at_once=False)
        assert held(first) == held(second) == (0, 0, 0, 0, 0)
        assert numbers(first) == numbers(second)
        assert said(one) == said(two)
        assert disk(one) == disk(two)
        for world in (one, two):
            await world.vfs.tracker.settle()
        assert stored(one) == stored(two)


@pytest.fixture(autouse=True, scope="module")
def _patience() -> Iterator[None]:
    """Worlds end at once, and the store is not told that numbers are right before they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tidegate.vfs.usage.writing.LINGER_SECONDS", 60.0)
        patch.setattr("tidegate.vfs.usage.writing.SAVE_GAP_SECONDS", 0.001)
        # A busy machine must not look like a slow disk, whose files are never opened at once.
        patch.setattr("tidegate.backends.local.device.SLOW_CALL_NS", 1 << 62)
        yield


@settings(max_examples=120, deadline=None)
@given(case=cases())
def test_both_ways_agree(case: Case) -> None:
    with tempfile.TemporaryDirectory() as base:
        asyncio.run(compare(case, Path(base)))


# -- warnings ------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    limit=st.integers(1, 12) | st.integers(1, 130),
    start=st.integers(0, 12) | st.integers(0, 140),
    steps=st.lists(st.tuples(st.booleans(), st.integers(-2, 2) | st.integers(-60, 60)), max_size=30),
)
def test_marks_are_warned_of_as_if_every_step_were_looked_at(
    limit: int, start: int, steps: list[tuple[bool, int]]
) -> None:
    """Bytes come by `UsageCounter.add`, or by the hot path, which looks at `warn_at` alone."""
    warned: list[int] = []
    count = UsageCounter(start)
    quota_limit = count.quota_limit("x", limit, warn=lambda _, percent, __, ___: warned.append(percent))
    level, expected, used = 0, [], start

    def reached() -> int:
        return sum(used * 100 >= limit * percent for percent in WARNING_MARKS)

    level = reached()
    for hot, amount in steps:
        if hot:
            amount = abs(amount)
            count.used += amount
            if count.used >= quota_limit.warn_at:
                quota_limit.moved()
        else:
            count.add(amount)
        used = max(0, used + amount)
        now = reached()
        if now > level:
            expected.append(WARNING_MARKS[now - 1])
        level = now
    assert count.used == used
    assert warned == expected


# -- overlapping acts ----------------------------------------------------------------------------------------

PATHS = ("/f", "/g", "/d/f", "/e/f")
FLAGS = (USUAL[1], USUAL[3], USUAL[4], OpenFlags(append=True, create=True))
ACTS = st.one_of(
    st.tuples(
        st.just("open"), st.integers(0, 1), st.sampled_from(PATHS), st.sampled_from(FLAGS), st.booleans()
    ),
    st.tuples(st.just("open"), st.integers(0, 1), st.sampled_from(PATHS), st.just(FLAGS[0]), st.just(True)),
    st.tuples(st.just("write"), st.integers(0, 9), st.integers(0, 12), st.integers(1, 9), st.booleans()),
    st.tuples(
        st.just("close"), st.integers(0, 9), st.sampled_from(["close", "close", "abort"]), st.booleans()
    ),
    st.tuples(st.just("resize"), st.integers(0, 9), st.integers(0, 20)),
    st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(PATHS), st.booleans()),
    st.tuples(st.just("remove"), st.sampled_from(PATHS)),
    st.tuples(st.just("swap")),
)


async def act(sessions: list[Session], files: list[File], what: tuple[Any, ...]) -> None:
    match what:
        case "open", number, path, flags, quick:
            session = sessions[number]
            file = session.open_nowait(p(path), flags) if quick else None
            event("an act opens at once" if file else "an act opens by open")
            files.append(file or await session.open(p(path), flags))
        case "write", number, offset, size, quick if files:
            file, data = files[number % len(files)], b"x" * size
            if not (quick and file.write_nowait(offset, data)):
                await file.write(offset, data)
        case "close", number, how, quick if files:
            file = files.pop(number % len(files))
            if how == "abort":
                await file.abort()
            elif not (quick and file.close_nowait()):
                await file.close()
        case "resize", number, size if files:
            await files[number % len(files)].set_attrs(Attrs(size=size))
        case "rename", source, target, instead:
            await sessions[0].rename(p(source), p(target), replace=instead)
        case "remove", path:
            await sessions[1].remove(p(path))
        case ("swap",):
            await sessions[0].rename(p("/d"), p("/x"), replace=False)
            await sessions[0].rename(p("/e"), p("/d"), replace=False)
            await sessions[0].rename(p("/x"), p("/e"), replace=False)


async def overlap(acts: list[tuple[Any, ...]], quota: int, base: Path) -> None:
    async with vfs_world(base) as world:
        for name in ("d", "e"):
            (world.home() / name).mkdir(parents=True)
        account = world.account(quota_size=quota, quota_files=4)
        sessions = [await world.login(account) for _ in range(2)]
        await sessions[0]._context.begin(sessions[0]._context.table.root)
        files: list[File] = []
        for what in acts:
            with suppress(TidegateError):
                await act(sessions, files, what)
        for file in files:
            with suppress(TidegateError):
                if not file.close_nowait():
                    await file.close()
        found = [path.stat().st_size for path in world.home().rglob("*") if path.is_file()]
        assert await world.used() == (sum(found), len(found))
        for session in sessions:
            assert held(session) == (0, 0, 0, 0, 0)


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(ACTS, min_size=2, max_size=14), quota=st.sampled_from([30, 1000]))
def test_books_are_right_whatever_overlaps(acts: list[tuple[Any, ...]], quota: int) -> None:
    """Uploads at once and others at one path, renamed, removed, resized and broken off meanwhile."""
    with tempfile.TemporaryDirectory() as base:
        asyncio.run(overlap(acts, quota, Path(base)))
