# SPDX-License-Identifier: Apache-2.0
"""Dead properties stay with their files through any mix of operations, and go when the files do."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.vfs_world import World, vfs_world

from tidegate.errors import AlreadyExists, Denied, NotFound, ProviderUnavailable, QuotaExceeded, TidegateError
from tidegate.model import VPath
from tidegate.model.properties import PropertyName
from tidegate.vfs import property_index
from tidegate.vfs.api import OpenFlags
from tidegate.vfs.property_sweep import sweep

NAME: PropertyName = ("urn:x", "p")
CREATE = OpenFlags(write=True, create=True, truncate=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with vfs_world(tmp_path) as made:
        made.account("alice", virtual_folders=(made.mount("team", "/team"),))
        made.home().mkdir(parents=True)
        made.folder_dir("team").mkdir(parents=True)
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


PATHS = tuple(VPath(f"/{path}") for path in ("a", "b", "d", "d/a", "d/b", "e", "e/d", "team/a", "team/d"))
OPERATIONS = ("put", "mkdir", "remove", "rmdir", "rename", "replace", "copy", "patch")
steps = st.tuples(st.sampled_from(OPERATIONS), st.sampled_from(PATHS), st.sampled_from(PATHS))


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, max_size=25))
async def test_properties_are_where_their_file_is(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, VPath, VPath]]
) -> None:
    """The model: each operation that the session carries out moves, copies or drops entries of one dictionary."""
    async with vfs_world(tmp_path_factory.mktemp("w")) as world:
        world.account("alice", virtual_folders=(world.mount("team", "/team"),))
        world.folder_dir("team").mkdir(parents=True)
        session = await world.login("alice")
        model: dict[str, bytes] = {}

        def drop(path: str) -> None:
            for each in [each for each in model if each == path or each.startswith(f"{path}/")]:
                del model[each]

        for number, (operation, one, two) in enumerate(history):
            try:
                if operation == "put":
                    file = session.open_nowait(one, CREATE) or await session.open(one, CREATE)
                    await file.close()
                elif operation == "mkdir":
                    await session.mkdir(one)
                elif operation == "remove":
                    await session.remove(one)
                    drop(one)
                elif operation == "rmdir":
                    await session.rmdir(one)
                    drop(one)
                elif operation in {"rename", "replace"}:
                    await session.rename(one, two, replace=operation == "replace")
                    if one != two:
                        moved = {
                            f"{two}{each[len(one) :]}": value
                            for each, value in model.items()
                            if each == one or each.startswith(f"{one}/")
                        }
                        drop(one)
                        drop(two)
                        model.update(moved)
                elif operation == "copy":
                    await session.copy(one, two, replace=True)
                    drop(two)
                    if one in model:
                        model[two] = model[one]
                else:
                    value = b"%d" % number
                    await session.properties.patch(one, {NAME: value})
                    model[one] = value
            except TidegateError:
                continue
        found = {str(path): await session.properties.get(path) for path in PATHS}
        assert found == {str(path): {NAME: model[path]} if path in model else {} for path in PATHS}
        for directory in ("/", "/d", "/e", "/team"):
            children = await session.properties.of_children(VPath(directory))
            prefix = directory.rstrip("/") + "/"
            inside = {path for path in model if path.startswith(prefix) and "/" not in path[len(prefix) :]}
            assert children == {path[len(prefix) :]: {NAME: model[path]} for path in inside}


async def test_a_new_file_has_none_of_what_was_there(world: World) -> None:
    session = await world.login()
    await session.mkdir(VPath("/d"))
    (world.home() / "f").write_bytes(b"x")
    for path in ("/f", "/d"):
        await session.properties.patch(VPath(path), {NAME: b"old"})
    (world.home() / "f").unlink()
    (world.home() / "d").rmdir()
    file = session.open_nowait(VPath("/f"), CREATE) or await session.open(VPath("/f"), CREATE)
    await file.close()
    await session.mkdir(VPath("/d"))
    assert await session.properties.of_children(VPath("/")) == {}


async def test_a_directory_that_cannot_be_made_takes_no_properties_away(world: World) -> None:
    session = await world.login()
    (world.home() / "f").write_bytes(b"x")
    await session.properties.patch(VPath("/f"), {NAME: b"x"})
    with pytest.raises(AlreadyExists):
        await session.mkdir(VPath("/f"))
    assert await session.properties.get(VPath("/f")) == {NAME: b"x"}


async def test_who_may_neither_set_times_nor_replace_sets_no_properties(world: World) -> None:
    for names, allowed in ((["list", "upload"], False), (["chtimes"], True), (["overwrite"], True)):
        world.account("who", permissions={"/": ["list", *names]})
        world.home("who").mkdir(parents=True, exist_ok=True)
        (world.home("who") / "f").write_bytes(b"x")
        session = await world.login("who")
        if allowed:
            await session.properties.patch(VPath("/f"), {NAME: b"x"})
            with pytest.raises(NotFound):
                await session.properties.patch(VPath("/none"), {NAME: b"x"})
        else:
            with pytest.raises(Denied):
                await session.properties.patch(VPath("/f"), {NAME: b"x"})


async def test_too_much_is_refused_by_name(world: World) -> None:
    session = await world.login()
    (world.home() / "f").write_bytes(b"x")
    with pytest.raises(QuotaExceeded, match="more than 65536 bytes"):
        await session.properties.patch(VPath("/f"), {NAME: b"x" * 65537})
    assert await session.properties.get(VPath("/f")) == {}


async def test_a_rename_is_not_undone_because_nobody_keeps_its_properties(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    session = await world.login()
    (world.home() / "f").write_bytes(b"x")
    await session.properties.patch(VPath("/f"), {NAME: b"x"})
    with mock.patch.object(world.properties, "move", side_effect=ProviderUnavailable):
        await session.rename(VPath("/f"), VPath("/g"), replace=False)
    assert (world.home() / "g").exists()
    assert "did not follow" in caplog.text


async def test_properties_of_files_that_are_gone_are_forgotten(world: World) -> None:
    session = await world.login()
    for name in ("a", "b", "d/e/f"):
        (world.home() / name).parent.mkdir(parents=True, exist_ok=True)
        (world.home() / name).write_bytes(b"x")
        await session.properties.patch(VPath(f"/{name}"), {NAME: b"x"})
    (world.home() / "a").unlink()
    shutil.rmtree(world.home() / "d")
    await session.close()
    world.vfs.properties._sweeps.clear()
    await world.login()
    left = [f"file:{world.home()}/b"]
    await until(lambda: list(world.properties._rows) == left)


async def test_storage_that_shows_nothing_keeps_its_properties(world: World) -> None:
    session = await world.login()
    (world.home() / "d").mkdir()
    for name in ("a", "d/f"):
        (world.home() / name).write_bytes(b"x")
        await session.properties.patch(VPath(f"/{name}"), {NAME: b"x"})
    shutil.rmtree(world.home())
    world.home().mkdir()  # as a disk that is not mounted
    async with world.vfs.storage(home_of(world)) as backend:
        assert await sweep(backend, world.properties) == ("", 0)
        (world.home() / "something").write_bytes(b"x")
        assert await sweep(backend, world.properties) == ("", 2)


def home_of(world: World) -> Any:
    from tidegate.policy.folders import storage_of

    return storage_of(world.store.accounts["alice"])


def test_a_storage_is_swept_once_a_day() -> None:
    index = property_index.PropertyIndex(None)
    assert index.takes_sweep("s", 0.0)
    assert not index.takes_sweep("s", property_index.SWEEP_SECONDS - 1)
    assert index.takes_sweep("t", 1.0)
    assert index.takes_sweep("s", property_index.SWEEP_SECONDS)


async def test_the_first_property_of_another_server_is_noticed(world: World) -> None:
    roots = {f"file:{world.home()}"}
    assert not world.vfs.properties.active
    with mock.patch.object(world, "property_roots", mock.AsyncMock(return_value=roots)):
        task = asyncio.create_task(world.vfs.properties.keep_learning(0.0))
        await until(lambda: world.vfs.properties.active)
        task.cancel()
    assert world.vfs.properties.may_have(f"file:{world.home()}/d/f")
    assert not world.vfs.properties.may_have(f"file:{world.home('bob')}")
