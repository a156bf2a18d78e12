# SPDX-License-Identifier: Apache-2.0
"""Every backend of ours keeps the whole contract, and the kit notices one that does not."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.encrypted import STRETCHED
from tests.support.memory_bucket import MemoryBucket

from tidegate.abc import Backend, Capability, OpenOptions, Outcome, Publish
from tidegate.backends.crypt.backend import crypt_backend
from tidegate.backends.crypt.keys import RootKeys
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local.device import Device
from tidegate.backends.memory import MemoryBackend
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.backends.objects.settings import ObjectSettings
from tidegate.errors import AlreadyExists, Conflict, IsADirectory, StorageFull
from tidegate.model import Attrs, Entry
from tidegate.testing.backend import BackendCheck, backend_checks, check_backend, options_for, put, run_check
from tidegate.testing.flavours import Failing, Fault, Latency, Sequential

FLAVOURS = [
    "memory",
    "local",
    "local-portable",
    "local-threads",
    "local-named",
    "local-tmpfs",
    "memory-latency",
    "local-latency",
    "memory-sequential",
    "memory-sequential-bare",
    "local-sequential",
    "memory-never-failing",
    "objects",
    "objects-small-parts",
    "crypt-memory",
    "crypt-local",
    "crypt-local-threads",
    "crypt-objects",
    "crypt-sequential-bare",
]


@pytest.fixture(params=FLAVOURS)
def factory(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Backend]]:
    """Factories of each flavour; local ones on a fresh directory each time."""
    flavour: str = request.param
    base = tmp_path
    if flavour == "local-tmpfs":
        shm = Path("/dev/shm")
        if not shm.is_dir():
            pytest.skip("/dev/shm is missing")
        base = shm / f"tidegate-{tmp_path.parent.name}-{tmp_path.name}"
        base.mkdir()
    devices = Devices(workers=4)
    numbers = itertools.count()

    def make() -> Backend:
        if flavour.startswith("crypt-"):
            return crypt_backend(below(flavour.removeprefix("crypt-")), RootKeys("correct horse", STRETCHED))
        return below(flavour)

    def below(flavour: str) -> Backend:
        if flavour == "memory":
            return MemoryBackend()
        if flavour == "sequential-bare":
            return Sequential(MemoryBackend(), Capability.APPEND | Capability.PARTIALS)
        if flavour == "memory-latency":
            return Latency(MemoryBackend(), 0.0001)
        if flavour == "memory-sequential":
            return Sequential(MemoryBackend())
        if flavour == "memory-sequential-bare":
            return Sequential(MemoryBackend(), Capability.APPEND | Capability.PARTIALS)
        if flavour == "memory-never-failing":
            return Failing(MemoryBackend(), Fault.FAIL, nth=10**9)
        if flavour == "objects":
            return ObjectBackend(MemoryBucket())
        if flavour == "objects-small-parts":
            parts = ObjectSettings(upload_part_size=4096, download_part_size=8192, digest_copy=8192)
            return ObjectBackend(MemoryBucket(), "a root/in it", parts)
        if flavour == "local-sequential":
            return Sequential(local())
        if flavour == "local-latency":
            return Latency(local(), 0.0001)
        return local()

    def local() -> Backend:
        number = next(numbers)
        journal = str(base / "journal") if flavour == "local-named" else None
        return LocalBackend(
            str(base / f"root{number}"),
            create=True,
            devices=devices,
            journal_dir=journal,
            kernel=False if flavour == "local-portable" else None,
        )

    original = devices.of

    def changed(fd: int, st_dev: int) -> Device:
        device = original(fd, st_dev)
        if flavour.endswith("local-threads"):
            device.threaded, device.nowait = True, False
        if flavour == "local-named":
            device.tmpfile = False
        return device

    devices.of = changed  # type: ignore[method-assign]
    yield make
    devices.close()
    if base is not tmp_path:
        shutil.rmtree(base)


@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
async def test_contract(check: BackendCheck, factory: Callable[[], Backend]) -> None:
    await run_check(check, factory)


async def test_check_backend_runs_everything(tmp_path: Path) -> None:
    await check_backend(MemoryBackend)


async def test_memory_is_bounded() -> None:
    backend = MemoryBackend(capacity=1000)
    await put(backend, "a", b"x" * 600)
    handle = await backend.open_file("b", options_for())
    with pytest.raises(StorageFull):
        await handle.write(0, b"x" * 600)
    await handle.close(Outcome.DROP)
    await backend.remove("a")
    await put(backend, "b", b"x" * 600)
    assert (await backend.space("")).free == 400


async def test_memory_gives_back_what_goes() -> None:
    """Used is what the files and the unfinished uploads hold, whichever way one of them ends."""
    backend = MemoryBackend(capacity=1000)

    async def used() -> int:
        space = await backend.space("")
        return space.total - space.free

    def resumable(**more: bool) -> OpenOptions:
        return options_for(Publish.RESUMABLE, **more)

    async def upload(key: str, size: int, options: OpenOptions, outcome: Outcome = Outcome.COMMIT) -> None:
        await put(backend, key, b"x" * size, options, outcome)

    await upload("f", 100, options_for())
    await upload("f", 30, options_for(Publish.ATOMIC))
    assert await used() == 30  # replaced
    await upload("f", 70, options_for(Publish.ATOMIC), Outcome.DROP)
    await upload("new", 70, options_for(), Outcome.DROP)
    assert await used() == 30
    await upload("part", 50, resumable(), Outcome.KEEP)
    assert await used() == 80
    await upload("part", 20, resumable(), Outcome.KEEP)
    assert await used() == 50  # started over
    await backend.remove("part")
    assert await used() == 30
    await upload("f", 40, resumable(), Outcome.KEEP)
    assert await used() == 70
    await backend.remove("f")  # with the unfinished upload over it
    assert await used() == 0
    await backend.mkdir("d")
    await upload("d/part", 50, resumable(), Outcome.KEEP)
    await backend.rmdir("d")
    assert await used() == 0
    # A commit that fails.
    loser = await backend.open_file("e", options_for(Publish.ATOMIC, exclusive=True))
    await loser.write(0, b"x" * 10)
    await upload("e", 5, options_for())
    with pytest.raises(AlreadyExists):
        await loser.close()
    assert await used() == 5
    blocked = await backend.open_file("dir", options_for(Publish.ATOMIC))
    await blocked.write(0, b"x" * 10)
    await backend.mkdir("dir")
    with pytest.raises(IsADirectory):
        await blocked.close()
    assert await used() == 5
    # Removed, renamed over, shortened, copied.
    open_part = await backend.open_file("busy", resumable())
    await open_part.write(0, b"x" * 25)
    assert await used() == 30
    with pytest.raises(Conflict):
        await backend.open_file("busy", OpenOptions(write=True, create=True, publish=Publish.RESUMABLE))
    await open_part.close(Outcome.DROP)
    assert await used() == 5
    await upload("g", 60, options_for())
    await backend.rename("e", "g", replace=True)
    assert await used() == 5
    await backend.copy("g", "h", replace=False)
    assert await used() == 10
    await backend.set_attrs("h", Attrs(size=1))
    await backend.set_attrs("h", Attrs(size=900))
    assert await used() == 905
    with pytest.raises(StorageFull):
        await backend.set_attrs("h", Attrs(size=996))
    await backend.set_attrs("h", Attrs(size=995))
    assert await used() == 1000


class _Unguarded(MemoryBackend):
    """Its handles read from negative offsets, as slices of Python do."""

    async def open_file(self, key: str, options: OpenOptions):  # type: ignore[no-untyped-def]
        handle = await super().open_file(key, options)
        read = handle.read

        async def unguarded(offset: int, size: int) -> bytes:
            return await read(max(0, offset), size)

        handle.read = unguarded  # type: ignore[method-assign]
        return handle


class _Undead(MemoryBackend):
    """Its handles can be used after they were closed."""

    async def open_file(self, key: str, options: OpenOptions):  # type: ignore[no-untyped-def]
        handle = await super().open_file(key, options)
        handle._check = lambda **_: None  # type: ignore[method-assign]
        return handle


class _Bulldozer(MemoryBackend):
    """Its commits replace whatever has the name."""

    def finish(self, key, node, options, outcome, handle):  # type: ignore[no-untyped-def]
        there = self._find(key)
        if outcome is Outcome.COMMIT and there is not None and there.children is not None:
            parent, name = self._parent(key)
            del parent[name]
        super().finish(key, node, options, outcome, handle)


class _Forgetful(MemoryBackend):
    async def stat(self, key: str, *, follow: bool = True) -> Entry:
        return (await super().stat(key))._replace(size=0)


class _Replacing(MemoryBackend):
    async def rename(self, source: str, target: str, *, replace: bool) -> None:
        await super().rename(source, target, replace=True)


class _Boastful(MemoryBackend):
    capabilities = MemoryBackend.capabilities | Capability.HARDLINKS


class _Trusting(MemoryBackend):
    async def open_file(self, key: str, options: OpenOptions):  # type: ignore[no-untyped-def]
        return await super().open_file(key.strip("/") or "x", options)


@pytest.mark.parametrize(
    "broken", [_Forgetful, _Replacing, _Boastful, _Trusting, _Unguarded, _Undead, _Bulldozer]
)
async def test_kit_notices_broken_backends(broken: type[MemoryBackend]) -> None:
    with pytest.raises(AssertionError, match=r"^check_"):
        await check_backend(broken)
