# SPDX-License-Identifier: Apache-2.0
"""Every backend of ours keeps the whole contract, and the kit notices one that does not."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tidegate.abc import Backend, Capability, OpenOptions, Outcome
from tidegate.backends.local import Devices, LocalBackend
from tidegate.backends.local.device import Device
from tidegate.backends.memory import MemoryBackend
from tidegate.errors import StorageFull
from tidegate.model import Entry
from tidegate.testing.backend import BackendCheck, backend_checks, check_backend, options_for, put, run_check

FLAVOURS = ["memory", "local", "local-portable", "local-threads", "local-named", "local-tmpfs"]


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
        if flavour == "memory":
            return MemoryBackend()
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
        if flavour == "local-threads":
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


@pytest.mark.parametrize("broken", [_Forgetful, _Replacing, _Boastful, _Trusting])
async def test_kit_notices_broken_backends(broken: type[MemoryBackend]) -> None:
    with pytest.raises(AssertionError, match=r"^check_"):
        await check_backend(broken)
