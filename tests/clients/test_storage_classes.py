# SPDX-License-Identifier: Apache-2.0
"""A folder in a bucket has a storage class of its own, and all that is made there gets it, in whichever way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.azure_server import AzureServer
from tests.support.doors import port_of
from tests.support.gcs_server import GcsServer
from tests.support.object_servers import ObjectServer
from tests.support.web_world import web_world

PASSWORD = "a password of u"
MIB = 1 << 20
SERVICES: dict[str, tuple[str, str, str, str, str]] = {
    "moto": ("s3", "s3config", "storage_class", "STANDARD_IA", "GLACIER_IR"),
    "gcs": ("gcs", "gcsconfig", "storage_class", "NEARLINE", "COLDLINE"),
    "azurite": ("azblob", "azblobconfig", "access_tier", "Hot", "Cool"),
}
"""Provider, section, field, the class of the home and that of the folder, by server."""


def classes(server: Any, bucket: str) -> dict[str, str]:
    """The class of each object, by its key."""
    if isinstance(server, ObjectServer):
        found = server.admin.list_objects_v2(Bucket=bucket).get("Contents", ())
        return {one["Key"]: one["StorageClass"] for one in found}
    if isinstance(server, GcsServer):
        return {key: one["storageClass"] for key, one in server.admin.objects(bucket).items()}
    assert isinstance(server, AzureServer)
    return {one.name: one.blob_tier for one in server.admin.get_container_client(bucket).list_blobs()}


@pytest.fixture(params=SERVICES)
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
async def sftp(server: Any, tmp_path: Path) -> AsyncIterator[tuple[asyncssh.SFTPClient, str]]:
    """A client whose home and folder ``/cold`` are prefixes of one bucket, and the bucket's name."""
    provider, section, field, warm, cold = SERVICES[server.kind]
    bucket = server.bucket()

    def storage(prefix: str, name: str) -> dict[str, Any]:
        return {"provider": provider, section: server.options(bucket, key_prefix=prefix, **{field: name})}

    async with web_world(tmp_path, ssh=True) as world:
        folder = {"name": "cold", "mapped_path": "", "filesystem": storage("cold/", cold)}
        user = world.user("u", password=PASSWORD, filesystem=storage("home/", warm))
        user["virtual_folders"] = [{"name": "cold", "virtual_path": "/cold"}]
        for path, document in (("folders", folder), ("users", user)):
            answer = await world.client.post(f"/api/v2/{path}", json=document)
            assert answer.status_code == 201, answer.text
        async with asyncssh.connect(
            "127.0.0.1", port_of(world.app), username="u", password=PASSWORD,
            known_hosts=None, client_keys=None, config=None,
        ) as connection, connection.start_sftp_client() as client:  # fmt: skip
            yield client, bucket


async def test_each_folder_has_its_class(sftp: tuple[asyncssh.SFTPClient, str], server: Any) -> None:
    client, bucket = sftp
    for folder in ("", "/cold"):
        for name, size in (("small", 10), ("large", 11 * MIB), ("source", 10), ("moved", 10), ("timed", 10)):
            async with client.open(f"{folder}/{name}", "wb") as file:
                await file.write(b"x" * size)
        await client.utime(f"{folder}/timed", (10**9, 10**9))
        await client.mkdir(f"{folder}/d")
        async with (
            client.open(f"{folder}/source", "rb") as source,
            client.open(f"{folder}/copied", "wb") as target,
        ):
            await client.remote_copy(source, target)
        await client.rename(f"{folder}/moved", f"{folder}/d/moved")
        async with client.open(f"{folder}/large", "ab") as file:
            await file.write(b"more")
    await client.rename("/small", "/cold/came")  # from one to the other, and back
    await client.rename("/cold/small", "/came")
    _, _, _, warm, cold = SERVICES[server.kind]
    made = {"came", "copied", "d/moved", "large", "source", "timed"}
    if server.kind == "gcs":  # the emulator gives what is composed and rewritten the class of the bucket
        made -= {"d/moved", "large"}
    assert classes(server, bucket).items() >= {
        **{f"home/{name}": warm for name in made}, **{f"cold/{name}": cold for name in made}
    }.items()  # fmt: skip
