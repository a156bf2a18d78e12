# SPDX-License-Identifier: Apache-2.0
"""Faults of another SFTP server that a root is on: silence, no room, links, other names, no extensions."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.running import Running

from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.backends.sftp import pool
from tidegate.backends.sftp.backend import SftpBackend
from tidegate.backends.sftp.options import SftpOptions
from tidegate.backends.sftp.pool import Pool
from tidegate.errors import AlreadyExists, Denied, StorageFailed, StorageFull
from tidegate.testing.backend import READ, check_backend, get, names, options_for, put

pytestmark = pytest.mark.needs("sshd")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far") / "sshd") as server:
        yield server


def backend(far: FarServer, root: Path, **more: object) -> SftpBackend:
    fields = far.options(root, **more)
    options = SftpOptions(**{**fields, "fingerprints": tuple(fields["fingerprints"])})
    return SftpBackend(Pool(options, tuple), options)


async def test_links_are_shown_and_lead_nowhere(far: FarServer, tmp_path: Path) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    (out / "secret").write_text("secret")
    (root / "dir").mkdir()
    (root / "away").symlink_to(out)
    (root / "file").symlink_to(out / "secret")
    (root / "inside").symlink_to("dir")
    made = backend(far, root)
    await made.open()
    try:
        assert await names(made) == ["away", "dir", "file", "inside"]
        assert (await made.stat("away", follow=False)).is_link
        write = OpenOptions(write=True, create=True)
        for doing in (
            lambda: made.stat("file"), lambda: made.stat("away/secret"), lambda: get(made, "file"),
            lambda: get(made, "away/secret"), lambda: names(made, "away"), lambda: names(made, "inside"),
            lambda: made.open_file("file", write), lambda: made.open_file("away/new", write),
            lambda: put(made, "file", b"x", options_for(Publish.ATOMIC)), lambda: made.mkdir("away/d"),
            lambda: made.remove("away/secret"), lambda: made.rename("away/secret", "s", replace=True),
            lambda: made.rename("dir", "away/dir", replace=False), lambda: made.copy("file", "c", replace=True),
            lambda: made.space("away"),
        ):  # fmt: skip
            with pytest.raises(Denied):
                await doing()
        await made.remove("away")
        await made.rename("file", "renamed", replace=False)
        await made.remove("renamed")
        assert (out / "secret").read_text() == "secret"
    finally:
        await made.close()


async def test_silence_ends(far: FarServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs holds nobody for longer than the bound, and serves again when it goes on."""
    monkeypatch.setattr(pool.Link.do, "__defaults__", (1.0,))
    made = backend(far, tmp_path / "root")
    await made.open()
    try:
        await put(made, "file", b"content")
        handle = await made.open_file("file", READ)
        far.signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            tried = asyncio.gather(
                handle.read(0, 10), made.mkdir("d"), put(made, "up", b"x"), return_exceptions=True
            )
            monkeypatch.setattr("tidegate.backends.sftp.connecting.CONNECT_SECONDS", 1)
            results = await tried
            assert time.monotonic() - began < 15
            assert all(isinstance(result, StorageFailed) for result in results), results
        finally:
            far.signal(signal.SIGCONT)
        await asyncio.sleep(0)
        made._pool._pause_ends = 0.0
        assert await get(made, "file") == b"content"
        await handle.close()
    finally:
        await made.close()


async def test_a_changed_file_is_not_read_on(far: FarServer, tmp_path: Path) -> None:
    made = backend(far, tmp_path / "root")
    await made.open()
    try:
        await put(made, "file", b"first content")
        await put(made, "same", b"same content")
        handle = await made.open_file("file", READ)
        same = await made.open_file("same", READ)
        assert await handle.read(0, 5) == b"first"
        (tmp_path / "root" / "file").write_bytes(b"another content")
        for link in list(made._pool._links):
            link.end()
        with pytest.raises(StorageFailed, match="was changed"):
            await handle.read(5, 5)
        assert await asyncio.gather(*(same.read(at, 4) for at in (0, 5, 8))) == [b"same", b"cont", b"tent"]
        await handle.close()
        await same.close()
    finally:
        await made.close()
    assert made._pool._links == []


async def test_exclusive_uploads_replace_nothing(far: FarServer, tmp_path: Path) -> None:
    made = backend(far, tmp_path / "root")
    await made.open()
    try:
        first = await made.open_file("f", options_for(Publish.ATOMIC, exclusive=True))
        await first.write(0, b"late")
        (tmp_path / "root" / "f").write_bytes(b"came meanwhile")
        with pytest.raises(AlreadyExists):
            await first.close()
        assert os.listdir(tmp_path / "root") == ["f"]
        assert await get(made, "f") == b"came meanwhile"
    finally:
        await made.close()


async def test_a_cancelled_open_leaves_no_handle(far: FarServer, tmp_path: Path) -> None:
    made = backend(far, tmp_path / "root")
    await made.open()
    try:
        await put(made, "file", b"content")
        for _ in range(20):
            task = asyncio.ensure_future(made.open_file("up", options_for(Publish.ATOMIC)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        while made._uploads._abandoned:
            await asyncio.gather(*made._uploads._abandoned)
        assert [link.users for link in made._pool._links] == [0] * len(made._pool._links)
        assert made._pool.uploads == set()
        assert os.listdir(tmp_path / "root") == ["file"]
    finally:
        await made.close()


async def test_a_server_without_extensions_keeps_the_contract(far: FarServer, tmp_path: Path) -> None:
    """Without posix-rename the old file is kept aside; nothing else of the contract changes."""
    numbers = iter(range(1000))

    def make() -> Backend:
        made = backend(far, tmp_path / f"root{next(numbers)}")
        original = made._pool._connect

        async def connect() -> pool.Link:
            link = await original()
            handler = link.sftp._handler
            handler._supports_posix_rename = handler._supports_statvfs = handler._supports_fsync = False
            handler._supports_copy_data = False
            return link

        made._pool._connect = connect  # type: ignore[method-assign]
        return made

    await check_backend(make)
    bare = make()
    await bare.open()
    assert not bare.capabilities & (Capability.SPACE | Capability.SERVER_COPY)
    await bare.close()


async def test_what_a_crash_left_is_removed_after_a_week(far: FarServer, tmp_path: Path) -> None:
    root = tmp_path / "root"
    made = backend(far, root)
    await made.open()
    try:
        crashed = await made.open_file("f", options_for(Publish.ATOMIC))
        await put(made, "new", b"part", options_for(Publish.RESUMABLE), Outcome.KEEP)
        other = backend(far, root)  # this server after a crash: it knows of no upload under way
        await other.open()
        try:
            assert await names(other) == []
            assert len(os.listdir(root)) == 2
            week = time.time() - 8 * 86400
            for path in root.iterdir():
                os.utime(path, (week, week))
            assert await names(other) == []
            assert [path.name.rpartition(".")[2] for path in root.iterdir()] == ["new"]
        finally:
            await other.close()
        await crashed.close(Outcome.DROP)
    finally:
        await made.close()


async def test_no_room_is_told(far: FarServer, tmp_path: Path) -> None:
    """A quota of the other server is no room here; version 3 has no code for it, so its words are read."""
    server = Running(tmp_path / "tidegate")
    server.start()
    try:
        person = server.account(quota_size=100_000)
        own = asyncssh.read_private_key(server.directory / "id_ed25519").get_fingerprint()
        options = SftpOptions(
            endpoint=f"127.0.0.1:{server.port}", username=person.name, password=person.password,
            fingerprints=(own,), prefix="/in",
        )  # fmt: skip
        made = SftpBackend(Pool(options, tuple), options)
        await made.open()
        try:
            await put(made, "old", b"old")
            handle = await made.open_file("old", options_for(Publish.ATOMIC))
            with pytest.raises(StorageFull):
                for start in range(0, 1_000_000, 50_000):
                    await handle.write(start, bytes(50_000))
            await handle.close(Outcome.DROP)
            assert await get(made, "old") == b"old"
            assert os.listdir(person.home / "in") == ["old"]
        finally:
            await made.close()
    finally:
        server.stop()
    # Nobody is told of a full disk while there is room.
    made = backend(far, tmp_path / "root")
    await made.open()
    try:
        handle = await made._uploads.open("f", options_for())
        failed = StorageFailed(detail="x")
        failed.__cause__ = asyncssh.SFTPFailure("no")
        assert await made._uploads.why(handle.link, handle.path, failed) is failed
        await handle.close()
    finally:
        await made.close()
