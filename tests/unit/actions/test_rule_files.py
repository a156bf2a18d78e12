# SPDX-License-Identifier: Apache-2.0
"""Actions on files, each by a session of the account that the event is about."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.vfs_world import World, p, put, vfs_world

from tidegate.actions import files as module
from tidegate.actions.files import FileActions
from tidegate.actions.outcome import DONE, HELD, Outcome
from tidegate.actions.people import People
from tidegate.errors import InvalidArgument, LoginRefused, NotFound, StorageFailed, TooLarge
from tidegate.inspection.inspections import RULE_PROTOCOL
from tidegate.model import Account, Filters, Peer, Principal
from tidegate.model.rule import ActionType, EventAction, EventRule, Trigger
from tidegate.rules.book import ready
from tidegate.rules.facts import Facts
from tidegate.store.contract import Provider
from tidegate.vfs.session import Session

RULE = ready(EventRule(name="r", trigger=Trigger.FILE, conditions={"fs_events": ["upload"]}), {})
UPLOAD = Facts(trigger=Trigger.FILE, event="upload", name="ana", virtual_path="/in/f", fs_path="/srv/in/f")


class Files:
    """A home with some files, and actions on them."""

    def __init__(self, world: World, ana: Account) -> None:
        self.world = world
        self.account: Account | None = ana
        self.opened: list[tuple[Principal, Peer]] = []
        self.failure: Exception | None = None
        self.actions = FileActions(cast("Any", self.open), People(self.find, cast("Provider", None)))

    async def find(self, name: str) -> Account | None:
        assert name == "ana"
        return self.account

    async def open(self, principal: Principal, peer: Peer) -> Session:
        self.opened.append((principal, peer))
        if self.failure is not None:
            raise self.failure
        return await self.world.vfs.open(principal, peer)

    async def run(self, kind: int, facts: Facts = UPLOAD, **config: Any) -> Outcome:
        act = EventAction(
            name="a", type=ActionType.FILESYSTEM, options={"fs_config": {"type": kind, **config}}
        )
        return await self.actions.run(act, facts, RULE)

    def left(self) -> dict[str, str]:
        home = self.world.home("ana")
        return {str(one.relative_to(home)): one.read_text() for one in home.rglob("*") if one.is_file()}


@asynccontextmanager
async def some_files(tmp_path: Path) -> AsyncIterator[Files]:
    async with vfs_world(tmp_path) as world:
        ana = world.account("ana", permissions={"/": ("list",)})
        session = await world.login(replace(ana, permissions={"/": ("*",)}))
        for folder in ("/in", "/in/deep", "/out"):
            await session.mkdir(p(folder))
        for path in ("/in/f", "/in/deep/g", "/out/f"):
            await put(session, path, path.encode())
        await session.close()
        yield Files(world, ana)


async def test_renames_replace_and_make_directories(tmp_path: Path) -> None:
    async with some_files(tmp_path) as files:
        before = time.time_ns()
        pairs = [
            {"key": "{{.VirtualPath}}", "value": "/out/{{.ObjectName}}", "update_modtime": True},
            {"key": "in/deep/g", "value": "/new/dir/g"},
        ]
        assert await files.run(1, renames=pairs) == DONE
        assert files.left() == {"out/f": "/in/f", "new/dir/g": "/in/deep/g"}
        assert (files.world.home("ana") / "out/f").stat().st_mtime_ns >= before
        (principal, peer), *_ = files.opened
        assert (principal.account.permissions, peer.protocol.value) == ({"/": ("*",)}, RULE_PROTOCOL)
        assert peer.connection_id == "rule_r"
        outcome = await files.run(1, renames=pairs)
        assert (outcome.error, outcome.again) == (f"ana: {NotFound().text}", False)


async def test_copies_of_files_and_trees(tmp_path: Path) -> None:
    async with some_files(tmp_path) as files:
        assert (
            await files.run(6, copy=[{"key": "/in", "value": "/c/d"}, {"key": "/in/f", "value": "/out/f"}])
            == DONE
        )
        assert files.left() == {
            "in/f": "/in/f", "in/deep/g": "/in/deep/g", "c/d/f": "/in/f", "c/d/deep/g": "/in/deep/g",
            "out/f": "/in/f",
        }  # fmt: skip
        outcome = await files.run(6, copy=[{"key": "/in", "value": "/in/deep/x"}])
        assert "cannot be copied into itself" in outcome.error


async def test_removals_of_files_and_trees(tmp_path: Path) -> None:
    async with some_files(tmp_path) as files:
        assert await files.run(2, deletes=["/in", "{{.VirtualPath}}"]) == Outcome(f"ana: {NotFound().text}")
        assert files.left() == {"out/f": "/out/f"}
        assert not (files.world.home("ana") / "in").exists()
        assert "root directory is not removed" in (await files.run(2, deletes=["/"])).error
        assert await files.run(2, deletes=["/out/f"]) == DONE
        assert (files.world.home("ana") / "out").is_dir()


async def test_directories_are_made_and_files_must_exist(tmp_path: Path) -> None:
    async with some_files(tmp_path) as files:
        assert await files.run(3, mkdirs=["/in", "/a/b/c"]) == DONE
        assert (files.world.home("ana") / "a/b/c").is_dir()
        assert await files.run(4, exist=["/in/f", "/a/b"]) == DONE
        assert await files.run(4, exist=["/in/f", "/nope"]) == Outcome("ana: /nope does not exist")


async def test_archives_hold_files_and_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with some_files(tmp_path) as files:
        config = {"name": "/z/{{.ObjectName}}.zip", "paths": ["/in", "/out/f"]}
        assert await files.run(5, compress=config) == DONE
        content = (files.world.home("ana") / "z/f.zip").read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = {name: archive.read(name).decode() for name in archive.namelist()}
            assert {one.date_time[0] for one in archive.infolist()} == {time.gmtime().tm_year}
        assert found == {"in/f": "/in/f", "in/deep/g": "/in/deep/g", "f": "/out/f"}
        assert await files.run(5, compress={"name": "/in/own.zip", "paths": ["/in"]}) == DONE
        assert await files.run(5, compress={"name": "/in/own.zip", "paths": ["/in"]}) == DONE
        with zipfile.ZipFile(files.world.home("ana") / "in/own.zip") as archive:
            assert sorted(archive.namelist()) == ["in/deep/g", "in/f"]  # not itself
        for bound in ("MAX_ARCHIVE_FILES", "MAX_ARCHIVE_BYTES"):
            with monkeypatch.context() as patch:
                patch.setattr(module, bound, 1)
                outcome = await files.run(5, compress={"name": "/large.zip", "paths": ["/in"]})
            assert outcome.error == f"ana: {TooLarge().text}"
            assert not (files.world.home("ana") / "large.zip").exists()


async def test_files_are_read_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with some_files(tmp_path) as files:
        assert await files.actions.read(UPLOAD, RULE, "/in/deep/g") == b"/in/deep/g"
        with pytest.raises(NotFound):
            await files.actions.read(UPLOAD, RULE, "/none")
        with pytest.raises(InvalidArgument):
            await files.actions.read(replace(UPLOAD, name=""), RULE, "/in/f")
        monkeypatch.setattr(module, "MAX_READ", 10)
        assert await files.actions.read(UPLOAD, RULE, "/in/deep/g") == b"/in/deep/g"
        monkeypatch.setattr(module, "MAX_READ", 9)
        with pytest.raises(TooLarge):
            await files.actions.read(UPLOAD, RULE, "/in/deep/g")


async def test_accounts_without_files_to_work_on(tmp_path: Path) -> None:
    async with some_files(tmp_path) as files:
        ana = files.account
        assert ana is not None
        files.account = None
        assert await files.run(2, deletes=["/in"]) == Outcome("there is no account to work on")
        files.account = replace(ana, filters=Filters(hold="on its way"))
        outcome = await files.run(2, deletes=["/in"])
        assert (outcome.again, "held" in outcome.error, files.opened) == (True, True, [])
        with pytest.raises(LoginRefused) as refused:
            async with files.actions.session(files.account, RULE):
                raise AssertionError
        assert refused.value.reason == HELD
        files.account, files.failure = ana, StorageFailed()
        assert await files.run(2, deletes=["/in"]) == Outcome(f"ana: {StorageFailed().text}", again=True)
        files.failure = None
        hidden = replace(UPLOAD, fs_path="")
        assert await files.run(2, hidden, deletes=["/in"]) == Outcome(module.NOT_THERE)
        assert "in/f" in files.left()
        assert await files.run(2, replace(hidden, event="download"), deletes=["/in/f"]) == DONE
