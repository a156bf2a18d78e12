# SPDX-License-Identifier: Apache-2.0
"""Another SFTP server as storage: the whole contract on OpenSSH and on another Tidegate."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support.far_sshd import FarServer, far_sshd
from tests.support.running import Running

from tidegate.abc import Backend, StorageHost
from tidegate.backends.factory import StorageKinds, Storages
from tidegate.model import StorageConfig, StorageSpec
from tidegate.testing.backend import BackendCheck, backend_checks, run_check

OVER = {"check_reading", "check_publishing", "check_resuming", "check_renaming"}
pytestmark = pytest.mark.needs("sshd")


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FarServer]:
    with far_sshd(tmp_path_factory.mktemp("far") / "sshd") as server:
        yield server


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    server = Running(tmp_path_factory.mktemp("far") / "tidegate")
    server.start()
    yield server
    server.stop()


def built(options: dict[str, object]) -> Backend:
    """An unopened backend, as a record makes one."""
    kinds = StorageKinds()
    spec = StorageSpec("", StorageConfig("sftp", {"sftpconfig": options}))
    kind = kinds.find("sftp")
    return kind(StorageHost()).build(spec, kinds.options(kind, spec))


@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
async def test_contract_on_openssh(check: BackendCheck, far: FarServer, tmp_path: Path) -> None:
    numbers = itertools.count()
    make: Callable[[], Backend] = lambda: built(far.options(tmp_path / f"root{next(numbers)}"))  # noqa: E731
    await run_check(check, make)


@pytest.fixture(scope="module")
def account(other: Running) -> dict[str, object]:
    """Options of an account of another Tidegate."""
    person = other.account("far")
    key = other.directory / "id_ed25519"
    return {
        "endpoint": f"127.0.0.1:{other.port}",
        "username": person.name,
        "password": person.password,
        "fingerprints": [asyncssh.read_private_key(key).get_fingerprint()],
    }


@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
async def test_contract_on_another_tidegate(check: BackendCheck, account: dict[str, object]) -> None:
    numbers = itertools.count()
    prefix = f"/{check.__name__}"
    await run_check(check, lambda: built({**account, "prefix": f"{prefix}/{next(numbers)}"}))


@pytest.mark.parametrize(
    "check", [check for check in backend_checks() if check.__name__ in OVER], ids=lambda check: check.__name__
)
async def test_contract_encrypted_on_openssh(check: BackendCheck, far: FarServer, tmp_path: Path) -> None:
    """Encryption over it keeps the contract, too: what most depends on the storage below."""
    section = {"passphrase": "a long passphrase of words 12345", "storage": "sftp"}
    options: dict[str, object] = {"cryptconfig": section, "sftpconfig": far.options(tmp_path / "root")}
    spec = StorageSpec("", StorageConfig("crypt", options))
    storages = Storages(StorageKinds(), StorageHost())
    await storages.ready(spec)
    try:
        await run_check(check, lambda: storages.build(spec))
    finally:
        await storages.close()
    assert not [
        path for path in (tmp_path / "root").rglob("*") if path.is_file() and b"content" in path.read_bytes()
    ]
