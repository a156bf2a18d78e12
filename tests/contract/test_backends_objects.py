# SPDX-License-Identifier: Apache-2.0
"""Object storage keeps the whole contract of a backend, on servers that are real."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.encrypted import STRETCHED
from tests.support.object_servers import ObjectServer

from tidegate.abc import Backend, OpenOptions
from tidegate.backends.crypt.backend import crypt_backend
from tidegate.backends.crypt.keys import RootKeys
from tidegate.backends.objects import azure, gcs, s3
from tidegate.backends.objects.backend import ObjectBackend
from tidegate.model import Attrs
from tidegate.testing import backend_checks_tree
from tidegate.testing.backend import (
    BackendCheck,
    backend_checks,
    exists,
    get,
    names,
    options_for,
    put,
    run_check,
)
from tidegate.testing.backend_checks_files import ODD_NAMES

SERVERS = ["seaweedfs", "moto", "azurite", "gcs"]
KEPT_OTHERWISE = {"seaweedfs": "a\\b", "moto": "new\nline", "azurite": "", "gcs": "new\nline"}
"""Names that a server does not keep: SeaweedFS takes a backslash for a slash, moto and
Google refuse line breaks.

For Azure such characters are written as others.
"""
PAGE_NAMES = 7
"""Names of a page where a listing has to have several."""
_NUMBERS = itertools.count()
_BUCKETS: dict[str, str] = {}

Factory = Callable[[], Backend]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> ObjectServer:
    """Each server."""
    server: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture
def factory(server: ObjectServer) -> Factory:
    """Factories of backends, each with a root of its own in one bucket."""
    if server.endpoint not in _BUCKETS:
        _BUCKETS[server.endpoint] = server.bucket()

    def make() -> Backend:
        return ObjectBackend(server.made(_BUCKETS[server.endpoint]), f"root {next(_NUMBERS)}/in it")

    return make


@pytest.fixture
def encrypted(seaweedfs_server: ObjectServer) -> Factory:
    """Factories of encrypted roots in a bucket."""
    if seaweedfs_server.endpoint not in _BUCKETS:
        _BUCKETS[seaweedfs_server.endpoint] = seaweedfs_server.bucket()

    def make() -> Backend:
        bucket = seaweedfs_server.made(_BUCKETS[seaweedfs_server.endpoint])
        return crypt_backend(ObjectBackend(bucket, f"sealed {next(_NUMBERS)}"), RootKeys("horse", STRETCHED))

    return make


CHECKS = [check for check in backend_checks() if check.__name__ != "check_names"]
"""All but that of names, which `test_names` makes without the one that a server does not keep."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: BackendCheck, factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_checks_tree, "MANY", 100)
    if check is backend_checks_tree.check_listing_that_changes:
        for service, bound in ((s3, "BATCH"), (gcs, "BATCH"), (azure, "PAGE")):
            monkeypatch.setattr(service, bound, PAGE_NAMES)
    await run_check(check, factory)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract_of_encrypted_files(
    check: BackendCheck, encrypted: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_checks_tree, "MANY", 20)
    await run_check(check, encrypted)


@pytest.fixture
async def backend(factory: Factory) -> AsyncIterator[Backend]:
    backend = factory()
    await backend.open()
    yield backend
    await backend.close()


async def test_names(backend: Backend, server: ObjectServer) -> None:
    kept = [name for name in ODD_NAMES if name != KEPT_OTHERWISE[server.kind]]
    for name in kept:
        await put(backend, name, name.encode("utf-8", "surrogateescape"))
    assert await names(backend) == sorted(kept)
    for name in kept:
        assert await exists(backend, name)
        assert await get(backend, name) == name.encode("utf-8", "surrogateescape")


async def test_large_files(backend: Backend) -> None:
    """Parts, an append by copied parts, a cut, a rename: of the least size that the protocol allows."""
    mib = 1 << 20
    data = bytes(range(256)) * (11 * mib // 256)
    handle = await backend.open_file("f", options_for())
    for at in range(0, len(data), mib):
        await handle.write(at, data[at : at + mib])
    await handle.set_attrs(Attrs(mtime_ns=1_500_000_000 * 10**9, atime_ns=1_500_000_000 * 10**9))
    await handle.close()
    assert (await backend.stat("f")).mtime_ns == 1_500_000_000 * 10**9
    assert await get(backend, "f") == data
    handle = await backend.open_file("f", OpenOptions(write=True, append=True))
    await handle.write(len(data), b"more")
    await handle.close()
    await backend.rename("f", "g", replace=False)
    assert await get(backend, "g") == data + b"more"
    await backend.set_attrs("g", Attrs(size=6 * mib))
    assert await get(backend, "g") == data[: 6 * mib]
