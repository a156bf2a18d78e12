# SPDX-License-Identifier: Apache-2.0
"""A tree takes the place of another on a real OpenSSH server: what fails on the way, and what a crash leaves."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.vfs_world import World, p, put

from tidegate.abc import Backend, NotExchanged, StorageHost
from tidegate.backends.host_journal import Journal
from tidegate.backends.sftp.backend import SftpBackend
from tidegate.backends.sftp.kind import SftpStorage
from tidegate.backends.sftp.options import SftpOptions
from tidegate.doors.common import trees
from tidegate.doors.common.trees import TreeWork
from tidegate.errors import StorageFailed, TidegateError
from tidegate.model import StorageConfig, StorageSpec, VPath
from tidegate.vfs.session import Session

OLD = {"a": b"old a", "only old": b"x", "sub/b": b"old b"}
NEW = {"a": b"new", "sub/c": b"new c"}
pytestmark = pytest.mark.needs("sshd")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far") / "sshd") as server:
        yield server


def files(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def options(far: FarServer, root: Path) -> SftpOptions:
    given = far.options(root)
    return SftpOptions(**given | {"fingerprints": tuple(given["fingerprints"])})


def furnish(root: Path) -> None:
    for top, content in (("old", OLD), ("new", NEW)):
        for name, data in content.items():
            (root / top / name).parent.mkdir(parents=True, exist_ok=True)
            (root / top / name).write_bytes(data)


class Failing:
    """Has the nth call of a method of the SSH library fail, and all after it if it is a crash."""

    def __init__(self, patch: pytest.MonkeyPatch, *methods: str) -> None:
        self.nth = 0
        self.seen = 0
        self.crash = False
        for method in methods:
            self._wrap(patch, method, getattr(asyncssh.SFTPClient, method))

    def _wrap(self, patch: pytest.MonkeyPatch, method: str, real: Callable[..., Awaitable[Any]]) -> None:
        async def called(client: asyncssh.SFTPClient, *args: Any, **more: Any) -> Any:
            self.seen += 1
            if self.nth and (self.seen == self.nth or (self.crash and self.seen > self.nth)):
                raise asyncssh.SFTPFailure("broken by a test")
            return await real(client, *args, **more)

        patch.setattr(asyncssh.SFTPClient, method, called)

    def at(self, nth: int, *, crash: bool = False) -> None:
        self.nth, self.seen, self.crash = nth, 0, crash


# -- the storage -------------------------------------------------------------------------------------------


class Roots:
    """Roots in one directory of the other server, each as of a process of its own."""

    def __init__(self, far: FarServer, base: Path) -> None:
        self.root, self._far, self._base = base / "root", far, base
        self.root.mkdir()
        self._open: list[tuple[SftpBackend, SftpStorage]] = []

    async def new(self) -> SftpBackend:
        kind = SftpStorage(StorageHost(journal_dir=str(self._base / "journal")))
        made = kind.build(StorageSpec(""), options(self._far, self.root))
        assert isinstance(made, SftpBackend)
        await made.open()
        self._open.append((made, kind))
        return made

    async def end(self) -> None:
        """As a process ends: what it has noted by then stays."""
        for backend, kind in self._open:
            await backend.close()
            await kind.close()
        self._open = []

    def hidden(self) -> list[str]:
        return [path.name for path in self.root.rglob(".tidegate*")]

    def notes(self) -> list[Path]:
        return [
            path for path in (self._base / "journal").rglob("*") if path.is_file() and path.name != "lock"
        ]


@pytest.fixture
async def roots(far: FarServer, tmp_path: Path) -> AsyncIterator[Roots]:
    made = Roots(far, tmp_path)
    furnish(made.root)
    yield made
    await made.end()


async def staged(backend: SftpBackend, *, moves: bool = False) -> str:
    hidden = await backend.beside("old", moves=moves)
    await backend.rename("new", hidden, replace=False)
    return hidden


async def test_what_is_hidden_is_nobodys(roots: Roots) -> None:
    backend, other = await roots.new(), await roots.new()
    hidden = await staged(backend)
    assert [entry.name async for batch in backend.list("") for entry in batch] == ["old"]
    assert (await backend.stat(f"{hidden}/a")).size == len(NEW["a"])
    with pytest.raises(TidegateError):
        await other.stat(f"{hidden}/a")
    aside = await backend.exchange(hidden, "old")
    assert files(roots.root / "old") == NEW
    assert files(roots.root / aside) == OLD
    await backend.leave_beside(aside)
    with pytest.raises(TidegateError):
        await backend.stat(aside)


@pytest.mark.parametrize("nth", [1, 2])
async def test_a_failed_step_leaves_the_old_one(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    backend = await roots.new()
    hidden = await staged(backend)
    failing = Failing(monkeypatch, "rename")
    failing.at(nth)
    with pytest.raises(NotExchanged):
        await backend.exchange(hidden, "old")
    assert files(roots.root / "old") == OLD
    assert files(roots.root / hidden) == NEW
    failing.at(0)
    assert files(roots.root / await backend.exchange(hidden, "old")) == OLD  # it can be tried again


@pytest.mark.parametrize("moves", [False, True])
async def test_a_crash_between_the_steps_is_taken_back(
    roots: Roots, monkeypatch: pytest.MonkeyPatch, moves: bool
) -> None:
    backend = await roots.new()
    hidden = await staged(backend, moves=moves)
    failing = Failing(monkeypatch, "rename")
    failing.at(2, crash=True)
    with pytest.raises(StorageFailed) as caught:
        await backend.exchange(hidden, "old")
    assert not isinstance(caught.value, NotExchanged)
    assert not (roots.root / "old").exists()
    failing.at(0)
    await roots.end()
    await roots.new()
    assert files(roots.root / "old") == OLD
    assert roots.hidden() == []
    if moves:  # it was all that there is of what was moved
        assert files(roots.root / "old (moved 1)") == NEW
    assert roots.notes() == []


async def test_what_others_put_there_meanwhile_stays(roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = await roots.new()
    hidden = await staged(backend)
    failing = Failing(monkeypatch, "rename")
    failing.at(2, crash=True)
    with pytest.raises(StorageFailed):
        await backend.exchange(hidden, "old")
    failing.at(0)
    (roots.root / "old").mkdir()
    (roots.root / "old" / "theirs").write_bytes(b"x")
    await roots.end()
    await roots.new()
    assert files(roots.root / "old") == {"theirs": b"x"}
    assert files(roots.root / "old (moved 1)") == OLD
    assert roots.hidden() == []


async def test_a_crash_after_the_exchange_lets_the_old_one_go(roots: Roots) -> None:
    backend = await roots.new()
    hidden = await staged(backend)
    await backend.exchange(hidden, "old")
    assert len(roots.hidden()) == 1
    await roots.end()
    await roots.new()
    assert files(roots.root / "old") == NEW
    assert roots.hidden() == []
    assert roots.notes() == []


async def test_a_hidden_tree_keeps_its_directory(roots: Roots) -> None:
    backend, other = await roots.new(), await roots.new()
    (roots.root / "d" / "old").mkdir(parents=True)
    hidden = await backend.beside("d/old", moves=False)
    await backend.mkdir(hidden)
    await backend.rmdir("d/old")
    for one in (backend, other):
        with pytest.raises(TidegateError):
            await one.rmdir("d")
    await backend.rmdir(hidden)
    await backend.leave_beside(hidden)
    await other.rmdir("d")


# -- a session ---------------------------------------------------------------------------------------------


class FarWorld(World):
    """Homes on the other server."""

    def __init__(self, far: FarServer, base: Path) -> None:
        self.kind = SftpStorage(StorageHost(journal_dir=str(base / "journal")))
        self._far, self.root = far, base / "root"
        self.root.mkdir(parents=True)
        super().__init__(base, track_quota=1)

    def build(self, spec: StorageSpec) -> Backend:
        return self.kind.build(spec, options(self._far, self.root))


class Work(TreeWork):
    def __init__(self, session: Session) -> None:
        super().__init__(session, "copy")
        self.errors: list[TidegateError] = []

    async def failed(
        self, intent: str, path: VPath, error: TidegateError, *rest: object, **more: object
    ) -> None:
        await super().failed(intent, path, error)
        self.errors.append(error)


async def replaced(session: Session, *, moves: bool) -> Work:
    """Copy or move over what is there, as the WebDAV door does."""
    work, target = Work(session), p("/old")
    entry = await session.stat(target, follow=False)
    async with session.replacing(target, moves=p("/new") if moves else None) as replacement:
        assert replacement is not None
        if moves:
            await session.rename(p("/new"), target, replace=True)
        else:
            await trees.copy(work, p("/new"), target)
        if not work.errors:
            await replacement.swap()
            await trees.remove(work, target, entry)
    return work


@pytest.mark.parametrize("methods", [("rename", "posix_rename"), ("mkdir",), ("remove", "rmdir"), ("open",)])
@pytest.mark.parametrize("moves", [False, True])
async def test_whatever_fails_one_of_them_is_there_and_nothing_moved_is_lost(
    far: FarServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: bool, methods: tuple[str, ...]
) -> None:
    failing = Failing(monkeypatch, *methods)
    for nth in itertools.count(1):
        world = FarWorld(far, tmp_path / str(nth))
        world.account(quota_size=10_000, quota_files=100, filesystem=StorageConfig("sftp", {}))
        session = await world.login()
        for top, content in (("old", OLD), ("new", NEW)):
            for path in (f"/{top}", f"/{top}/sub"):
                await session.mkdir(p(path))
            for name, data in content.items():
                await put(session, f"/{top}/{name}", data)
        failing.at(nth)
        try:
            broken = bool((await replaced(session, moves=moves)).errors)
        except TidegateError:
            broken = True
        reached = failing.seen >= nth
        failing.at(0)
        await session.close()
        await world.close()
        await world.kind.close()
        assert files(world.root / "old") in (OLD, NEW), nth
        if moves:
            kept = [files(world.root / name) for name in ("old", "new", "old (moved 1)")]
            assert NEW in kept, nth
        else:
            assert files(world.root / "new") == NEW
        if not reached:
            assert not broken
            assert files(world.root / "old") == NEW
            assert not list(world.root.rglob(".tidegate*"))
            return
        assert nth < 40, "there is no end of calls"


def test_journals_of_two_kinds_do_not_meet(tmp_path: Path) -> None:
    from tidegate.backends.host_journal import STAGE, Note

    one, other = Journal(str(tmp_path), "sftp"), Journal(str(tmp_path), "objects")
    one.add(Note(STAGE, "here", "k", ""))
    one.close()
    assert other.left_behind("here", "") == []
    assert [note.key for _, note in Journal(str(tmp_path), "sftp").left_behind("here", "")] == ["k"]
