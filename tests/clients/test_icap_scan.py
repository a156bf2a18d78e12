# SPDX-License-Identifier: Apache-2.0
"""Uploads scanned by a real ICAP server (c-icap, whose virus scan asks clamd) before they are acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.cicap import CIcap, cicap
from tests.support.clamd import MARKER, SIGNATURE, clamd
from tests.support.running import running, wait_for

pytestmark = pytest.mark.needs("clamd", "c-icap")

SIZES = (0, 1, 1023, 1024, 1025, 300_000, 2_000_000)


@pytest.fixture(scope="module")
def icap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CIcap]:
    directory = tmp_path_factory.mktemp("icap")
    with clamd(directory / "clamd", stream_max=1 << 26) as scanner, cicap(directory / "c", scanner) as made:
        yield made


def keys(url: str, **more: Any) -> dict[str, Any]:
    return {"inspection": {"icap": {"url": url, **more}}}


async def put(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    async with sftp.open(path, "wb") as file:
        await file.write(data)


@pytest.mark.parametrize(("method", "secure"), [("reqmod", False), ("respmod", False), ("reqmod", True)])
async def test_infected_files_are_refused_and_clean_ones_published(
    tmp_path: Path, icap: CIcap, method: str, secure: bool
) -> None:
    url = icap.secure_url() if secure else icap.url()
    more = {"ca_file": str(icap.certificate)} if secure else {}
    with running(tmp_path / "config", settings=keys(url, method=method, **more)) as server:
        person = server.account()
        async with person.connect() as client, client.start_sftp_client() as sftp:
            for size in SIZES:
                await put(sftp, f"/good{size}", b"text of a file\n" * (size // 15) + b"z" * (size % 15))
            await put(sftp, "/old", b"before")
            for name, size in (("old", 0), ("small", 500), ("large", 2_000_000)):
                with pytest.raises(asyncssh.SFTPPermissionDenied, match=r"^virus found$"):
                    await put(sftp, f"/{name}", b"text of a file\n" * (size // 15) + MARKER)
        found = {path.name: path.stat().st_size for path in person.home.iterdir()}
        assert found == {**{f"good{size}": size for size in SIZES}, "old": 6}
        said = f"inspector[icap] refuses upload of '/large': {SIGNATURE}"
        await asyncio.to_thread(
            wait_for, lambda: said in server.log_file.read_text(), "the log does not name what was found"
        )
        done = await asyncio.to_thread(fork_server.run, ["check", "-c", str(server.directory)], timeout=60)
        assert f"scan: {url} answers" in done.stdout + done.stderr


async def test_a_service_whose_certificate_nobody_trusts_scans_nothing(tmp_path: Path, icap: CIcap) -> None:
    with running(tmp_path / "config", settings=keys(icap.secure_url())) as server:
        person = server.account()
        async with person.connect() as client, client.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="could not be scanned"):
                await put(sftp, "/f", b"x" * 400_000)
        assert list(person.home.iterdir()) == []
        await asyncio.to_thread(
            wait_for,
            lambda: "CERTIFICATE_VERIFY_FAILED" in server.log_file.read_text(),
            "the log does not say why",
        )


async def test_a_service_that_is_not_there(tmp_path: Path, icap: CIcap) -> None:
    with running(tmp_path / "config", settings=keys(icap.url("nothing"))) as server:
        person = server.account()
        async with person.connect() as client, client.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="could not be scanned"):
                await put(sftp, "/f", b"x" * 400_000)
        assert list(person.home.iterdir()) == []
        await asyncio.to_thread(
            wait_for, lambda: "404 to OPTIONS" in server.log_file.read_text(), "the log does not say why"
        )
