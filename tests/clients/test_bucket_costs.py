# SPDX-License-Identifier: Apache-2.0
"""Requests to each service for what clients do; the table in docs/explanation/object-storage.md is not exceeded.

``TIDEGATE_SHOW_COSTS=DIRECTORY`` writes the rows as they are measured, a file for each service.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.doors import port_of
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.web_world import WebWorld, web_world

from tidegate.backends.objects import backend, uploads

GUIDE = Path(__file__).resolve().parents[2] / "docs/explanation/object-storage.md"
HEADING = "## What clients cost"
KINDS = ("LIST", "HEAD", "GET", "PUT", "DELETE")
OPERATIONS = {
    "ListObjectsV2": "LIST", "ListMultipartUploads": "LIST", "ListParts": "LIST", "HeadObject": "HEAD", "HeadBucket": "HEAD",
    "GetObject": "GET", "PutObject": "PUT", "CopyObject": "PUT", "CreateMultipartUpload": "PUT",
    "UploadPart": "PUT", "UploadPartCopy": "PUT", "CompleteMultipartUpload": "PUT",
    "DeleteObject": "DELETE", "DeleteObjects": "DELETE", "AbortMultipartUpload": "DELETE",
    "objects.list": "LIST", "objects.get": "HEAD", "objects.insert": "PUT", "objects.patch": "PUT",
    "objects.rewrite": "PUT", "objects.compose": "PUT", "objects.delete": "DELETE",
    "ListBlobs": "LIST", "GetBlobProperties": "HEAD", "GetBlockList": "HEAD", "GetBlob": "GET", "PutBlob": "PUT",
    "PutBlock": "PUT", "PutBlockFromURL": "PUT", "PutBlockList": "PUT", "CopyBlobFromURL": "PUT",
    "SetBlobMetadata": "PUT", "DeleteBlob": "DELETE",
}  # fmt: skip
"""The column of each operation; Google's content is told from its metadata by the query."""
SERVICES = {
    "seaweedfs": ("s3", "s3config"),
    "gcs": ("gcs", "gcsconfig"),
    "azurite": ("azblob", "azblobconfig"),
}
"""The provider and the section of a record for each server, in the order of the table's figures."""
SMALL, LARGE = b"s" * 1000, b"l" * (12 << 20)
NAMES = 50
READ = 32 * 1024
QUIET_SECONDS = 0.2
"""Nothing that an operation began takes longer to ask the next."""

Step = Callable[[asyncssh.SFTPClient], Awaitable[Any]]


async def listing(sftp: asyncssh.SFTPClient) -> None:
    assert len(await sftp.readdir("/many")) == NAMES + 2


async def reading(sftp: asyncssh.SFTPClient, path: str, size: int) -> None:
    async with sftp.open(path, "rb") as file:
        found = 0
        while data := await file.read(READ):  # in order, as most clients do
            found += len(data)
    assert found == size


async def writing(sftp: asyncssh.SFTPClient, path: str, mode: str, data: bytes) -> None:
    async with sftp.open(path, mode) as file:
        await file.write(data)


async def copying(sftp: asyncssh.SFTPClient) -> None:
    async with sftp.open("/copy/large", "rb") as source, sftp.open("/copy/other", "wb") as target:
        await sftp.remote_copy(source, target)


STEPS: dict[str, Step] = {
    f"`ls` of a directory of {NAMES} files": listing,
    "stat": lambda sftp: sftp.stat("/stat/f"),
    "get of 1,000 bytes": lambda sftp: reading(sftp, "/get/small", len(SMALL)),
    "get of 12 MiB": lambda sftp: reading(sftp, "/get/large", len(LARGE)),
    "put of 1,000 bytes": lambda sftp: writing(sftp, "/put/small", "wb", SMALL),
    "put of 12 MiB": lambda sftp: writing(sftp, "/put/large", "wb", LARGE),
    "going on behind 12 MiB with 1,000 bytes": lambda sftp: writing(sftp, "/resume/large", "ab", SMALL),
    "rename of a file": lambda sftp: sftp.rename("/rename/f", "/rename/g"),
    "rename of a directory of 10 files": lambda sftp: sftp.rename("/trees/d", "/trees/e"),
    "copy of 12 MiB on the server (`copy-data`)": copying,
    "times of a file": lambda sftp: sftp.utime("/times/f", (10**9, 10**9)),
    "rm": lambda sftp: sftp.remove("/rm/f"),
    "mkdir": lambda sftp: sftp.mkdir("/mkdir/d"),
    "rmdir": lambda sftp: sftp.rmdir("/rmdir/d"),
}
STORED = {
    **{f"many/f{number:03}": SMALL for number in range(NAMES)},
    **{f"trees/d/f{number}": SMALL for number in range(10)},
    "stat/f": SMALL, "get/small": SMALL, "get/large": LARGE, "put/": b"", "resume/large": LARGE,
    "rename/f": SMALL, "copy/large": LARGE, "times/f": SMALL, "rm/f": SMALL, "mkdir/": b"", "rmdir/d/": b"",
}  # fmt: skip


def table(service: int) -> dict[str, tuple[int, ...]]:
    """Rows of the page: what, and the most requests of each kind that a service may get.

    A cell has one figure for all services, or one for each.
    """
    section = GUIDE.read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    cell = r" \| (\d+(?: / \d+ / \d+)?)"
    rows = re.findall(rf"^\| (.+?){cell * len(KINDS)} \|$", section, re.MULTILINE)
    found: dict[str, tuple[int, ...]] = {}
    for name, *cells in rows:
        figures = [one.split(" / ") * (1 if "/" in one else len(SERVICES)) for one in cells]
        found[name] = tuple(int(one[service]) for one in figures)
    return found


@pytest.fixture(params=SERVICES)
def store(request: pytest.FixtureRequest) -> ObjectServer:
    found: ObjectServer = request.getfixturevalue(f"{request.param}_server")
    return found


def fill(store: Any, bucket: str) -> None:
    """Put what is there at the beginning, by another library or plain requests."""
    for key, body in STORED.items():
        if store.kind == "seaweedfs":
            store.admin.put_object(Bucket=bucket, Key=f"u/{key}", Body=body)
        elif store.kind == "gcs":
            store.admin.put(bucket, f"u/{key}", body)
        else:
            store.admin.get_blob_client(bucket, f"u/{key}").upload_blob(body)


@pytest.fixture
async def world(
    store: ObjectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[WebWorld, FaultProxy]]:
    for module in (backend, uploads):  # what is counted must not depend on how busy the host is
        monkeypatch.setattr(module, "ABSENT_SECONDS", 60.0)
    name = store.bucket()
    fill(store, name)
    provider, section = SERVICES[store.kind]
    with fault_proxy(store.endpoint) as proxy:
        storage = {
            "provider": provider,
            section: store.options(name, key_prefix="u/", endpoint=proxy.endpoint),
        }
        async with web_world(tmp_path, ssh=True, storage={"objects": {"attribute_seconds": 30}}) as world:
            user = world.user("u", password="a password of u", filesystem=storage)
            answer = await world.client.post("/api/v2/users", json=user)
            assert answer.status_code == 201, answer.text
            yield world, proxy


async def counted(proxy: FaultProxy) -> tuple[int, ...]:
    """The requests since the last call, by kind, once there are no more."""
    seen = -1
    while seen != len(proxy.asked):
        seen = len(proxy.asked)
        await asyncio.sleep(QUIET_SECONDS)
    found = Counter("GET" if "alt=media" in one.query else OPERATIONS[one.operation] for one in proxy.asked)
    proxy.asked.clear()
    return tuple(found[kind] for kind in KINDS)


async def test_no_operation_costs_more_than_the_page_says(
    world: tuple[WebWorld, FaultProxy], store: ObjectServer
) -> None:
    server, proxy = world
    await counted(proxy)
    measured: dict[str, tuple[int, ...]] = {}
    async with asyncssh.connect(
        "127.0.0.1", port_of(server.app), username="u", password="a password of u",
        known_hosts=None, client_keys=None, config=None,
    ) as connection, connection.start_sftp_client() as sftp:  # fmt: skip
        await sftp.realpath(".")
        measured["login and the start of SFTP"] = await counted(proxy)
        for name, step in STEPS.items():
            await step(sftp)
            measured[name] = await counted(proxy)
    if place := os.environ.get("TIDEGATE_SHOW_COSTS"):
        rows = (f"| {name} | {' | '.join(map(str, row))} |\n" for name, row in measured.items())
        Path(place, store.kind).write_text("".join(rows), encoding="utf-8")
    allowed = table(list(SERVICES).index(store.kind))
    assert allowed.keys() == measured.keys()
    grown = {
        name: (row, allowed[name])
        for name, row in measured.items()
        if any(now > most for now, most in zip(row, allowed[name], strict=True))
    }
    assert not grown
