# SPDX-License-Identifier: Apache-2.0
"""Passes of a move between real directories and trees in memory: what they copy, notice, remove and leave."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tidegate import errors as e
from tidegate.abc import OpenOptions
from tidegate.backends.local import LocalBackend
from tidegate.backends.memory import MemoryBackend
from tidegate.relocation.copying import Copier, Outcomes, Route, digest_of
from tidegate.relocation.ledger import Ledger
from tidegate.relocation.progress import MAX_TOLD, Phase, Progress
from tidegate.relocation.survey import require_all, survey
from tidegate.relocation.verifying import remove_copies, remove_old, verify
from tidegate.vfs.property_index import PropertyIndex

OLD = 1_000_000_000


@dataclass
class World:
    source: Path
    target: Path
    route: Route
    ledger: Ledger
    progress: Progress
    number: int = 0

    async def run(self, *, final: bool = True, leaves_out: bool = False) -> Outcomes:
        self.number += 1
        self.progress.copied_files = 0
        copier = Copier(
            self.route, self.ledger, self.progress, self.number, final=final, leaves_out=leaves_out
        )
        return await copier.run()

    async def verify(self, **more: Any) -> None:
        await verify(self.route, self.ledger, self.progress, self.number, **{"again": False, **more})

    def write(self, name: str, data: bytes, when: float = OLD) -> None:
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (when, when))


def tree(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): os.readlink(path)
        if path.is_symlink()
        else "directory"
        if path.is_dir()
        else path.read_bytes()
        for path in root.rglob("*")
    }


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ends = tmp_path / "old", tmp_path / "new"
    backends = [LocalBackend(str(end), create=True) for end in ends]
    for backend in backends:
        await backend.open()
    ledger = Ledger(tmp_path / "ledger")
    await ledger.open()
    made = World(*ends, Route(*backends), ledger, Progress())
    made.write("a", b"a" * 1000)
    made.write("d/b", os.urandom(600_000))
    made.write("d/e/none", b"")
    (made.source / "empty").mkdir()
    (made.source / "link").symlink_to("d/b")
    yield made
    await ledger.close()
    for backend in backends:
        await backend.close()


async def test_a_pass_makes_the_same_tree(world: World) -> None:
    os.chmod(world.source / "a", 0o640)
    os.chmod(world.source / "d/e", 0o750)
    os.utime(world.source / "d", (OLD, OLD))
    outcomes = await world.run()
    assert (outcomes.copied, outcomes.unsettled) == (3, 0)
    assert (world.progress.files, world.progress.size) == (3, 601_000)
    assert tree(world.target) == tree(world.source)
    await world.verify(again=True)
    for name in ("a", "d/b", "d"):
        old, new = (world.source / name).stat(), (world.target / name).stat()
        assert (old.st_mode, old.st_mtime_ns) == (new.st_mode, new.st_mtime_ns)
    assert (world.target / "d/e").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("times", [1, 4, 5])
async def test_a_copy_that_late_requests_remove_is_made_again_some_times(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    opened, left = world.route.target.open_file, [None] * times

    async def removed_meanwhile(key: str, options: OpenOptions) -> Any:
        if key == "d/b" and not options.write and left:
            left.pop()
            (world.target / key).unlink()
        return await opened(key, options)

    from tidegate.relocation import copying

    monkeypatch.setattr(copying, "LATE_SECONDS", (0.0,) * len(copying.LATE_SECONDS))
    monkeypatch.setattr(world.route.target, "open_file", removed_meanwhile)
    if times > len(copying.LATE_SECONDS):
        with pytest.raises(e.TidegateError, match="d/b: no such file"):
            await world.run()
        return
    await world.run()
    assert (world.progress.files, world.progress.size) == (3, 601_000)
    assert tree(world.target) == tree(world.source)
    await world.verify(again=True)


@pytest.mark.parametrize("times", [1, 4, 5])
async def test_a_directory_that_late_requests_remove_is_made_again_some_times(
    world: World, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    world.write("x/y/z", b"z" * 500)
    opened, left = world.route.target.open_file, [None] * times

    async def removed_meanwhile(key: str, options: OpenOptions) -> Any:
        if key == "x/y/z" and options.write and left:
            left.pop()
            shutil.rmtree(world.target / "x")
        return await opened(key, options)

    from tidegate.relocation import copying

    monkeypatch.setattr(copying, "LATE_SECONDS", (0.0,) * len(copying.LATE_SECONDS))
    monkeypatch.setattr(world.route.target, "open_file", removed_meanwhile)
    if times > len(copying.LATE_SECONDS):
        with pytest.raises(e.TidegateError, match="x/y/z: no such file"):
            await world.run()
        return
    await world.run()
    assert (world.progress.files, world.progress.size) == (4, 601_500)
    assert tree(world.target) == tree(world.source)
    await world.verify(again=True)


async def test_the_next_pass_copies_what_changed_and_removes_what_went(world: World) -> None:
    await world.run(final=False)
    world.write("a", b"changed", OLD + 5)
    world.write("new/f", b"new")
    (world.source / "d/b").unlink()
    (world.source / "empty").rmdir()
    (world.source / "link").unlink()
    (world.source / "link").symlink_to("a")
    outcomes = await world.run()
    assert outcomes.copied == 2
    assert tree(world.target) == tree(world.source)
    await world.verify()
    before = world.progress.files
    assert (await world.run()).copied == 0
    assert world.progress.files == before + 3  # known to be there, and counted all the same


async def test_names_that_become_another_kind(world: World) -> None:
    await world.run(final=False)
    (world.source / "a").unlink()
    world.write("a/inside", b"now a directory")
    (world.source / "d/e/none").unlink()
    (world.source / "d/e").rmdir()
    world.write("d/e", b"now a file")
    (world.source / "link").unlink()
    world.write("link", b"now a file too")
    (world.source / "d/b").unlink()
    (world.source / "d/b").symlink_to("../link")
    await world.run()
    assert tree(world.target) == tree(world.source)
    await world.verify(again=True)


async def test_a_young_file_is_compared_again_by_its_digest(world: World) -> None:
    now = time.time()
    world.write("young", b"one", now)
    await world.run(final=False)
    world.write("young", b"two", now)  # the same size, the same time
    assert (await world.run()).copied == 1
    assert (world.target / "young").read_bytes() == b"two"
    assert (await world.run()).copied == 0


async def test_a_file_that_changes_while_it_is_read_is_left_to_the_next_pass(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalBackend.open_file

    async def open_file(self: LocalBackend, key: str, options: OpenOptions) -> Any:
        if key == "a" and options.write:
            world.write("a", b"longer than it was, and later" * 100, OLD + 9)
        return await real(self, key, options)

    with monkeypatch.context() as patched:
        patched.setattr(LocalBackend, "open_file", open_file)
        outcomes = await world.run(final=False)
        assert outcomes.unsettled == 1
        assert "a" not in tree(world.target)
        world.write("a", b"a" * 1000)
        with pytest.raises(e.Conflict, match=r"a: .*changed while it was copied"):
            await world.run()
    await world.run()
    assert tree(world.target) == tree(world.source)


async def test_a_copy_that_differs_is_removed_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.relocation import copying

    real = copying.digest_and_time

    async def other(backend: Any, key: str) -> tuple[bytes, int]:
        digest, when = await real(backend, key)
        return (b"another", when) if key == "d/b" else (digest, when)

    monkeypatch.setattr(copying, "digest_and_time", other)
    with pytest.raises(e.StorageFailed, match=r"d/b: .*differs from the original"):
        await world.run()
    assert not (world.target / "d/b").exists()


@pytest.mark.parametrize(
    ("act", "error", "text"),
    [
        (lambda new: (new / "a").unlink(), e.StorageFailed, "names where"),
        (lambda new: (new / "a").write_bytes(b"other"), e.StorageFailed, "a: has 5 bytes"),
        (lambda new: (new / "theirs").write_bytes(b""), e.Conflict, "theirs: is in the new storage"),
        (lambda new: ((new / "a").unlink(), (new / "a").mkdir()), e.StorageFailed, "a: is of another kind"),
    ],
)
async def test_what_differs_at_the_target_is_named(world: World, act: Any, error: Any, text: str) -> None:
    await world.run()
    act(world.target)
    with pytest.raises(error, match=text):
        await world.verify()
    if error is e.StorageFailed and not (world.target / "a").is_dir():
        assert (await world.run()).copied == 1  # another pass makes it good
        await world.verify(again=True)
        assert tree(world.target) == tree(world.source)


@pytest.mark.parametrize(("side", "which"), [("source", "old"), ("target", "new")])
async def test_digests_are_taken_again_of_both_sides(world: World, side: str, which: str) -> None:
    await world.run()
    path = getattr(world, side) / "a"
    path.write_bytes(b"b" * 1000)
    os.utime(path, (OLD, OLD))
    await world.verify()
    with pytest.raises(e.StorageFailed, match=f"a: the digest in the {which} storage differs"):
        await world.verify(again=True)
    assert (await world.run()).copied == 1
    await world.verify(again=True)


async def test_a_copy_that_goes_while_it_is_verified_is_made_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.run()
    opened = world.route.target.open_file

    async def removed_meanwhile(key: str, options: OpenOptions) -> Any:
        if key == "a":
            (world.target / key).unlink()
        return await opened(key, options)

    with monkeypatch.context() as patch:
        patch.setattr(world.route.target, "open_file", removed_meanwhile)
        with pytest.raises(e.StorageFailed, match="a: the digest in the new storage differs"):
            await world.verify(again=True)
    assert (await world.run()).copied == 1
    await world.verify(again=True)


async def test_a_second_look_counts_from_the_beginning(world: World) -> None:
    progress = Progress(partials=7)
    for _ in range(2):
        progress.begin(Phase.CHECKING)
        await survey(world.route.source, MemoryBackend(), progress)
        assert (progress.files, progress.size, progress.partials) == (3, 601_000, 0)
        assert (progress.count_left_out, len(progress.left_out)) == (1, 1)


def test_names_are_told_up_to_a_bound_and_counted_beyond() -> None:
    progress = Progress()
    for number in range(MAX_TOLD + 2):
        progress.leave_out(f"n{number}", "is a link")
    assert (len(progress.left_out), progress.count_left_out) == (MAX_TOLD, MAX_TOLD + 2)
    assert progress.left_out[-1] == f"n{MAX_TOLD - 1} is a link"


async def test_what_a_target_cannot_hold_is_told_first(world: World, tmp_path: Path) -> None:
    target = MemoryBackend()
    progress = Progress()
    await survey(world.route.source, target, progress)
    assert (progress.files, progress.size, progress.left_out) == (
        3, 601_000, ["link is a link, and the new storage has none"],
    )  # fmt: skip
    with pytest.raises(e.Unsupported, match="cannot hold everything: link is a link"):
        require_all(progress)
    ledger = Ledger(tmp_path / "other")
    await ledger.open()
    try:
        route = Route(world.route.source, target)
        with pytest.raises(e.Unsupported, match="link is a link"):
            await Copier(route, ledger, progress, 1, final=True, leaves_out=False).run()
        await Copier(route, ledger, progress, 2, final=True, leaves_out=True).run()
        await verify(route, ledger, progress, 2, again=True)
        assert progress.count_left_out == 1
        assert await digest_of(target, "a") == await digest_of(world.route.source, "a")
    finally:
        await ledger.close()


async def test_the_old_content_goes_as_far_as_it_is_unchanged(world: World) -> None:
    await world.run()
    world.write("a", b"changed since", OLD + 1)
    world.write("d/added", b"added since")
    progress = Progress()
    await remove_old(world.route, world.ledger, progress, PropertyIndex(None))
    assert tree(world.source) == {"a": b"changed since", "d": "directory", "d/added": b"added since"}
    assert progress.files == 2
    assert sorted(progress.left_out) == ["a was changed since it was moved", "d holds what was not moved"]
    assert len(tree(world.target)) == 7


async def test_copies_are_removed_and_nothing_else(world: World) -> None:
    await world.run(final=False)
    before = tree(world.source)
    (world.target / "theirs").write_bytes(b"x")
    await remove_copies(world.route, world.ledger, Progress())
    assert tree(world.target) == {"theirs": b"x"}
    assert tree(world.source) == before


async def test_the_way_back_copies_only_what_changed(world: World, tmp_path: Path) -> None:
    await world.run()
    (world.target / "a").write_bytes(b"changed there")
    (world.target / "d/b").unlink()
    await world.ledger.close()
    back = Ledger(tmp_path / "ledger", swapped=True)
    await back.open()
    try:
        route = Route(world.route.target, world.route.source)
        outcomes = await Copier(route, back, Progress(), 9, final=True, leaves_out=False).run()
        assert outcomes.copied == 1
        await verify(route, back, Progress(), 9, again=True, strict=False)
    finally:
        await back.close()
    assert tree(world.source) == tree(world.target)


async def test_names_that_are_no_text_are_moved(world: World) -> None:
    raw = os.fsencode(world.source) + b"/\xff\xfe name"
    Path(os.fsdecode(raw)).write_bytes(b"bytes")
    await world.run()
    await world.verify()
    assert (Path(os.fsdecode(os.fsencode(world.target) + b"/\xff\xfe name"))).read_bytes() == b"bytes"


async def test_a_ledger_knows_what_is_below(tmp_path: Path) -> None:
    from tidegate.relocation.ledger import FILE, Row

    ledger = Ledger(tmp_path / "ledger")
    await ledger.open()
    try:
        keys = ["d", "d-", "d/a", "d/b/c", "d0", "e"]
        await ledger.put(Row(key, FILE, 1, b"x", 1, 2, settled=True, seen=1) for key in keys)
        assert [row.key for row in await ledger.below("d")] == ["d/b/c", "d/a"]
        assert [row.key for row in await ledger.page_back()] == sorted(keys, reverse=True)
        assert [row.key for row in await ledger.page_back(before="d/a")] == ["d-", "d"]
        assert await ledger.page_back(unseen=1) == []
        assert await ledger.totals(1) == (6, 6, 6)
        await ledger.drop(["d"])
        assert "d" not in await ledger.find(keys)
    finally:
        await ledger.close()
