# SPDX-License-Identifier: Apache-2.0
"""Publish modes: nothing old is lost, nothing unfinished shows, and leftovers go."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tidegate.abc import ListsPartials, OpenOptions, Outcome, Publish
from tidegate.backends.local import Devices, LocalBackend, sweep_journal
from tidegate.backends.local import uploads as uploads_module
from tidegate.backends.local.device import Device
from tidegate.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    DirectoryNotEmpty,
    InvalidArgument,
    InvalidHandle,
    NotFound,
    StorageFailed,
    StorageFull,
    TidegateError,
)
from tidegate.model import Attrs
from tidegate.testing.backend import get, names, options_for, put

READ = OpenOptions(read=True)
RESUME = OpenOptions(write=True, create=True, publish=Publish.RESUMABLE)
STAGED = [Publish.ATOMIC, Publish.RESUMABLE]


@pytest.fixture
def devices() -> Iterator[Devices]:
    devices = Devices(workers=4)
    yield devices
    devices.close()


@pytest.fixture(params=["tmpfile", "named"])
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, devices: Devices
) -> AsyncIterator[LocalBackend]:
    """With O_TMPFILE, and as on a file system without it."""
    backend = LocalBackend(
        str(tmp_path / "home"), create=True, devices=devices, journal_dir=str(tmp_path / "journal")
    )
    await backend.open()
    if request.param == "named":
        assert backend._device is not None
        backend._device.tmpfile = False
    yield backend
    await backend.close()


def hidden(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith(".tidegate-"))


CHILD = textwrap.dedent(
    """
    import asyncio, sys
    from tidegate.abc import ListsPartials, OpenOptions, Publish
    from tidegate.backends.local import Devices, LocalBackend

    async def main():
        root, journal, publish, named = sys.argv[1:]
        backend = LocalBackend(root, journal_dir=journal)
        await backend.open()
        if named == "named":
            backend._device.tmpfile = False
        for key in ("old", "new"):
            options = OpenOptions(write=True, create=True, truncate=True, publish=Publish(int(publish)))
            handle = await backend.open_file(key, options)
            await handle.write(0, b"half of the new content")
            globals()[key] = handle
        print("ready", flush=True)
        await asyncio.sleep(60)

    asyncio.run(main())
    """
)


@pytest.mark.parametrize("named", ["tmpfile", "named"])
@pytest.mark.parametrize("publish", list(Publish))
async def test_kill_in_mid_upload(tmp_path: Path, publish: Publish, named: str, devices: Devices) -> None:
    home, journal = tmp_path / "home", tmp_path / "journal"
    home.mkdir()
    (home / "old").write_bytes(b"old content, acknowledged long ago")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), str(journal), str(int(publish)), named],
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        assert await asyncio.to_thread(child.stdout.readline) == b"ready\n"
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()

    swept = sweep_journal(str(journal))

    backend = LocalBackend(str(home), devices=devices, journal_dir=str(journal))
    await backend.open()
    if publish is Publish.INPLACE:
        assert await get(backend, "new") == b"half of the new content"
        await backend.close()
        return
    assert await get(backend, "old") == b"old content, acknowledged long ago"
    assert await names(backend) == ["old"]
    assert swept.failed == 0
    if publish is Publish.ATOMIC:
        assert hidden(home) == []
        assert os.listdir(journal) == []
        assert swept.removed == (2 if named == "named" else 0)
        with pytest.raises(NotFound):
            await backend.stat("new")
    else:
        assert swept.kept == 2
        assert (await backend.stat("new")).size == 23
        handle = await backend.open_file("new", RESUME)
        assert handle.existed_size == 23
        await handle.write(23, b", and the rest")
        await handle.close()
        assert await get(backend, "new") == b"half of the new content, and the rest"
        await put(backend, "old", b"replaced", options_for(Publish.RESUMABLE))
        assert await get(backend, "old") == b"replaced"
        assert hidden(home) == []
        assert os.listdir(journal) == []
    await backend.close()


async def test_kept_partials_are_told_for_the_quota(backend: LocalBackend) -> None:
    """Those that `stat` shows: not under a finished file, not while somebody writes."""
    start = options_for(Publish.RESUMABLE)
    assert isinstance(backend, ListsPartials)
    await backend.mkdir("d")
    for name, size in (("d/kept", 5), ("d/hidden", 7), ("other", 11)):
        await put(backend, name, b"x" * size, start, Outcome.KEEP)
    await put(backend, "d/finished", b"x", start)
    (Path(backend._root.path) / "d" / "hidden").write_bytes(b"finished")
    busy = await backend.open_file("d/busy", start)
    await busy.write(0, b"xxx")
    assert [entry.size async for batch in backend.partials("d") for entry in batch] == [5]
    await busy.close(Outcome.KEEP)
    assert sorted([entry.size async for batch in backend.partials("d") for entry in batch]) == [3, 5]
    with pytest.raises(NotFound):
        _ = [batch async for batch in backend.partials("missing")]


async def test_old_partials_are_swept(tmp_path: Path, backend: LocalBackend) -> None:
    home, journal = tmp_path / "home", tmp_path / "journal"
    start = options_for(Publish.RESUMABLE)
    await put(backend, "young", b"x", start, Outcome.KEEP)
    await put(backend, "aged", b"x", start, Outcome.KEEP)
    busy = await backend.open_file("busy", start)
    await busy.write(0, b"x")
    ancient = time.time() - 30 * 86400
    for name in hidden(home):
        if name != uploads_module.part_name(b"young").decode():
            os.utime(home / name, (ancient, ancient))
    (journal / "garbage.pending").write_bytes(b'{"root": 3')
    (journal / "escape.pending").write_text(
        json.dumps({"root": str(home), "folder": "..", "name": "../journal"})
    )
    (journal / "elsewhere.pending").write_text(
        json.dumps({"root": str(tmp_path / "unmounted"), "folder": "", "name": ".tidegate-part.00"})
    )

    swept = sweep_journal(str(journal))

    # Who charges for them removes them.
    assert (swept.removed, swept.kept, swept.gone, swept.failed) == (0, 3, 2, 1)
    assert [entry.size for entry in await backend.expire_partials("")] == [1]
    assert await backend.expire_partials("") == []
    assert (await backend.stat("young")).size == 1
    with pytest.raises(NotFound):
        await backend.stat("aged")
    await busy.close()
    assert await get(backend, "busy") == b"x"
    assert sweep_journal(str(tmp_path / "no such journal")).removed == 0


async def test_listing_removes_stale_temporaries(tmp_path: Path, backend: LocalBackend) -> None:
    home = tmp_path / "home"
    ancient = time.time() - 30 * 86400
    for name in (".tidegate-upload.00.aa", ".tidegate-part.00", ".tidegate-upload.new.aa", "seen"):
        (home / name).write_bytes(b"x")
        if "new" not in name:
            os.utime(home / name, (ancient, ancient))
    listing = backend.list("")
    assert [entry.name async for batch in listing for entry in batch] == ["seen"]
    assert (listing.parts, listing.expired) == (True, True)
    assert hidden(home) == [".tidegate-part.00", ".tidegate-upload.new.aa"]
    assert [entry.name for entry in await backend.expire_partials("")] == [".tidegate-part.00"]


@pytest.mark.parametrize("publish", STAGED)
async def test_failed_publish_keeps_the_old_file(
    tmp_path: Path, backend: LocalBackend, publish: Publish
) -> None:
    home = tmp_path / "home"
    handle = await backend.open_file("f", options_for(publish))
    await handle.write(0, b"content")
    (home / "f").mkdir()  # somebody made a directory of that name meanwhile
    (home / "f/inner").write_bytes(b"")
    with pytest.raises(TidegateError):
        await handle.close()
    assert (home / "f/inner").exists()
    if publish is Publish.ATOMIC:
        assert hidden(home) == []
    with pytest.raises(InvalidHandle):
        await handle.close()


@pytest.mark.parametrize("publish", STAGED)
async def test_directory_removed_meanwhile(tmp_path: Path, backend: LocalBackend, publish: Publish) -> None:
    (tmp_path / "home/d").mkdir()
    handle = await backend.open_file("d/f", options_for(publish))
    await handle.write(0, b"content")
    for name in os.listdir(tmp_path / "home/d"):
        os.unlink(tmp_path / "home/d" / name)
    os.rmdir(tmp_path / "home/d")
    with pytest.raises(NotFound):
        await handle.close()


async def test_mode_and_owner(tmp_path: Path, devices: Devices) -> None:
    previous = os.umask(0o077)  # the process's own has no say
    try:
        backend = LocalBackend(str(tmp_path / "home"), create=True, umask=0o002, devices=devices)
        await backend.open()
        for publish in Publish:
            await put(backend, f"f{publish}", b"", options_for(publish))
            assert (await backend.stat(f"f{publish}")).mode == 0o664
            await put(backend, f"s{publish}", b"", options_for(publish, mode=0o4777))
            assert (await backend.stat(f"s{publish}")).mode == 0o775, "no set-user-id bit by opening"
        await backend.mkdir("d")
        assert (await backend.stat("d")).mode == 0o775
        assert (tmp_path / "home").stat().st_mode & 0o777 == 0o775
        if os.geteuid() == 0:
            for publish in Publish:
                await put(backend, f"o{publish}", b"", options_for(publish, uid=12345, gid=54321))
                entry = await backend.stat(f"o{publish}")
                assert (entry.uid, entry.gid) == (12345, 54321)
                await put(backend, f"o{publish}", b"again", options_for(publish))
                entry = await backend.stat(f"o{publish}")
                assert (entry.uid, entry.gid) == (12345, 54321), "an overwritten file keeps its owner"
            await backend.mkdir("od", uid=12345, gid=54321)
            assert (await backend.stat("od")).uid == 12345
            await backend.set_attrs("od", Attrs(uid=7, gid=8))
            assert (await backend.stat("od")).gid == 8
        await backend.close()
    finally:
        os.umask(previous)


@pytest.mark.parametrize("publish", STAGED)
async def test_overwriting_drops_set_id_bits(tmp_path: Path, backend: LocalBackend, publish: Publish) -> None:
    (tmp_path / "home/f").write_bytes(b"x")
    (tmp_path / "home/f").chmod(0o6755)
    await put(backend, "f", b"y", options_for(publish))
    assert (await backend.stat("f")).mode == 0o755


async def test_resume_while_in_progress(backend: LocalBackend) -> None:
    first = await backend.open_file("f", options_for(Publish.RESUMABLE))
    await first.write(0, b"first")
    with pytest.raises(Conflict):
        await backend.open_file("f", RESUME)
    # A fresh start beside it works, and if both break off one partial is left.
    second = await backend.open_file("f", options_for(Publish.RESUMABLE))
    await second.write(0, b"second attempt")
    await first.close(Outcome.DROP)
    await second.close(Outcome.KEEP)
    assert (await backend.stat("f")).size == 14
    third = await backend.open_file("f", RESUME)
    await third.close(Outcome.COMMIT)
    assert await get(backend, "f") == b"second attempt"


async def test_rmdir_with_an_upload_under_way(backend: LocalBackend) -> None:
    await backend.mkdir("d")
    handle = await backend.open_file("d/f", options_for(Publish.RESUMABLE))
    await handle.write(0, b"x")
    with pytest.raises(DirectoryNotEmpty):
        await backend.rmdir("d")
    await handle.close()
    assert await names(backend, "d") == ["f"]


async def test_planted_partials_are_refused(tmp_path: Path, backend: LocalBackend) -> None:
    """Somebody with a shell on the host puts something else at the partial's name."""
    home = tmp_path / "home"
    (tmp_path / "victim").write_bytes(b"victim")
    part = home / uploads_module.part_name(b"f").decode()
    part.symlink_to(tmp_path / "victim")
    with pytest.raises(TidegateError):
        await backend.open_file("f", options_for(Publish.RESUMABLE))
    part.unlink()
    os.link(tmp_path / "victim", part)
    with pytest.raises(Conflict):
        await backend.open_file("f", options_for(Publish.RESUMABLE))
    part.unlink()
    os.mkfifo(part)
    with pytest.raises(TidegateError):
        await backend.open_file("f", options_for(Publish.RESUMABLE))
    assert (tmp_path / "victim").read_bytes() == b"victim"


async def test_disk_full(tmp_path: Path, backend: LocalBackend) -> None:
    """RLIMIT_FSIZE stands for the full disk where nothing may be mounted."""
    await put(backend, "old", b"old content")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        for publish in STAGED:
            for key in ("old", "new"):
                handle = await backend.open_file(key, options_for(publish))
                with pytest.raises(StorageFull):
                    for block in range(8):
                        await handle.write(block * 32768, b"x" * 32768)
                await handle.close(Outcome.DROP)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert await get(backend, "old") == b"old content"
    assert os.listdir(tmp_path / "home") == ["old"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")
async def test_full_tmpfs(tmp_path: Path, devices: Devices) -> None:
    home = tmp_path / "small"
    home.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(home)], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        backend = LocalBackend(str(home), devices=devices)
        await backend.open()
        await put(backend, "old", b"o" * 100_000)
        for publish in STAGED:
            handle = await backend.open_file("old", options_for(publish))
            with pytest.raises(StorageFull):
                for block in range(20):
                    await handle.write(block * 32768, b"x" * 32768)
            await handle.close(Outcome.DROP)
            assert await get(backend, "old") == b"o" * 100_000
            assert os.listdir(home) == ["old"]
        with pytest.raises(StorageFull):
            for number in range(5):
                await backend.copy("old", f"copy{number}", replace=False)
        assert hidden(home) == []
        await backend.close()
    finally:
        subprocess.run(["umount", "-l", str(home)], check=True)


async def test_option_mistakes(backend: LocalBackend) -> None:
    for options in (
        OpenOptions(),
        OpenOptions(read=True, create=True, truncate=True),
        OpenOptions(write=True, exclusive=True),
    ):
        with pytest.raises(InvalidArgument):
            await backend.open_file("f", options)
    handle = await backend.open_file("f", OpenOptions(read=True, create=True))
    assert handle.existed_size is None
    with pytest.raises(InvalidHandle):
        await handle.write(0, b"x")
    await handle.close()
    assert await get(backend, "f") == b""


async def test_without_renameat2(
    tmp_path: Path, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise OSError(38, "")

    monkeypatch.setattr(uploads_module, "rename_noreplace", missing)
    await put(backend, "a", b"a")
    await put(backend, "b", b"b")
    await backend.mkdir("d")
    for source, target in (("a", "b"), ("d", "b"), ("a", "d")):
        with pytest.raises(AlreadyExists):
            await backend.rename(source, target, replace=False)
    await backend.rename("a", "c", replace=False)
    await backend.rename("d", "e", replace=False)
    await backend.symlink("c", "l")
    await backend.rename("l", "m", replace=False)
    assert await names(backend) == ["b", "c", "e", "m"]
    assert (await backend.stat("c")).nlink == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping rights needs root")
async def test_unwritable_files_are_not_replaced(tmp_path: Path, backend: LocalBackend) -> None:
    """Renaming over a file that could not be opened for writing would get round its mode."""
    home = tmp_path / "home"
    (home / "f").write_bytes(b"read only")
    (home / "f").chmod(0o444)
    home.chmod(0o777)
    os.seteuid(65534)
    try:
        for publish in Publish:
            with pytest.raises(Denied) as caught:
                await backend.open_file("f", options_for(publish))
            assert str(tmp_path) not in str(caught.value)
    finally:
        os.seteuid(0)
    assert (home / "f").read_bytes() == b"read only"
    assert os.listdir(home) == ["f"]


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping rights needs root")
async def test_read_only_files_can_be_resumed(
    tmp_path: Path, backend: LocalBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that asks for mode 0444 can take its partial up again, and has 0444 in the end.

    That the journal cannot be written meanwhile is told and refuses nothing.
    """
    (tmp_path / "home").chmod(0o777)
    start = options_for(Publish.RESUMABLE, mode=0o444)
    os.seteuid(65534)
    try:
        await put(backend, "f", b"one", start, Outcome.KEEP)
        handle = await backend.open_file("f", RESUME)
        await handle.set_attrs(Attrs(mode=0o400))
        await handle.write(3, b"two")
        await handle.close(Outcome.KEEP)
        handle = await backend.open_file("f", OpenOptions(write=True, mode=0o444, publish=Publish.RESUMABLE))
        await handle.write(6, b"three")
        await handle.close()
        assert (await backend.stat("f")).mode == 0o444
        assert await get(backend, "f") == b"onetwothree"
        handle = await backend.open_file("g", start)
        await handle.set_attrs(Attrs(mode=0o600))
        await handle.close()
        assert (await backend.stat("g")).mode == 0o600
        assert "upload journal cannot be written: EACCES" in caplog.text
    finally:
        os.seteuid(0)


async def test_missing_root(tmp_path: Path, devices: Devices) -> None:
    for path in (tmp_path / "none", tmp_path / "none/deeper"):
        backend = LocalBackend(str(path), devices=devices)
        with pytest.raises(StorageFailed) as caught:
            await backend.open()
        assert str(tmp_path) not in str(caught.value)
        await backend.close()
    (tmp_path / "file").write_bytes(b"")
    for create in (False, True):
        backend = LocalBackend(str(tmp_path / "file"), devices=devices, create=create)
        with pytest.raises(StorageFailed):
            await backend.open()
        await backend.close()
    backend = LocalBackend(str(tmp_path / "a/b/c"), create=True, devices=devices)
    await backend.open()
    assert await names(backend) == []
    await backend.close()
    with pytest.raises(InvalidHandle):
        await backend.stat("x")


def test_device_type_is_told(devices: Devices, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        device = devices.of(fd, os.fstat(fd).st_dev)
    finally:
        os.close(fd)
    assert isinstance(device, Device)
    assert device.fstype or not os.path.exists("/proc/self/mountinfo")
    assert Denied
