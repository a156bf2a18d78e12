# SPDX-License-Identifier: Apache-2.0
"""A directory of a bucket that is renamed, and one that is copied to disk: how far it is, for operators."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.command_line import tidegate
from tests.support.doors import port_of
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.web_world import WebWorld, web_world

from tidegate.backends.objects import moving
from tidegate.vfs.files import progress

API = "/api/v2"
FILES = 30


@pytest.fixture
def proxy(seaweedfs_server: ObjectServer) -> Iterator[FaultProxy]:
    with fault_proxy(seaweedfs_server.endpoint) as made:
        yield made


async def seen(world: WebWorld, kind: str, work: asyncio.Task[Any], enough: Any) -> dict[str, Any]:
    """A transfer as REST shows it, once there is enough to see."""
    while not work.done():
        for connection in (await world.client.get(f"{API}/connections")).json():
            for transfer in connection["active_transfers"]:
                if transfer["operation_type"] == kind and enough(transfer):
                    found: dict[str, Any] = transfer
                    return found
        await asyncio.sleep(0.01)
    await work
    pytest.fail("it ended before it was seen")


def shown_by_cli(world: WebWorld, directory: Path) -> str:
    """The list of the command."""
    token = directory / "token"
    token.write_text(world.client.headers["Authorization"].removeprefix("Bearer "))
    shown = tidegate("connections", "list", "--url", world.url, "--token-file", str(token))
    return str(shown.out)


async def test_a_rename_shows_how_far_it_is(
    seaweedfs_server: ObjectServer,
    proxy: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "tidegate.vfs.files.progress")
    monkeypatch.setattr(moving, "COUNT_AFTER", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    name = seaweedfs_server.bucket()
    for number in range(FILES):
        seaweedfs_server.admin.put_object(Bucket=name, Key=f"u/old/f{number:02}", Body=b"x" * 1000)
    options = seaweedfs_server.options(name, key_prefix="u/", endpoint=proxy.endpoint)
    storage = {
        "provider": 1,
        "s3config": {**options, "access_secret": {"status": "Plain", "payload": options["access_secret"]}},
    }
    async with web_world(tmp_path, ssh=True, sftpd={"enabled_ssh_commands": ["*"]}) as world:
        disk = {"name": "disk", "mapped_path": str(tmp_path / "files/disk")}
        added = await world.client.post(f"{API}/folders", json=disk)
        assert added.status_code == 201, added.text
        folders = [{"name": "disk", "virtual_path": "/disk", "quota_size": 0, "quota_files": 0}]
        user = world.user("u", password="a password of u", filesystem=storage, virtual_folders=folders)
        answer = await world.client.post(f"{API}/users", json=user)
        assert answer.status_code == 201, answer.text
        async with (
            asyncssh.connect(
                "127.0.0.1", port_of(world.app), username="u", password="a password of u",
                known_hosts=None, client_keys=None, config=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):  # fmt: skip
            proxy.latency = 0.1
            rename = asyncio.create_task(sftp.rename("/old", "/new"))
            found = await seen(
                world, "rename", rename, lambda one: one.get("total_files") and one.get("files")
            )
            assert found["path"] == "/new"
            assert 0 < found["files"] <= FILES
            assert found["size"] == 1000 * found["files"]
            assert (found["total_files"], found["total_size"]) == (FILES, 1000 * FILES)
            await rename
            proxy.latency = 0.02
            copy = asyncio.create_task(connection.run("tidegate-copy /new /disk/copied"))
            found = await seen(world, "copy", copy, lambda one: one["size"] and "total_files" not in one)
            assert found["size"] == 1000 * found["files"]
            shown = await asyncio.to_thread(shown_by_cli, world, tmp_path)
            assert re.search(r"copy /new/f\d\d \(\d+ files, ", shown)
            found = await seen(world, "copy", copy, lambda one: one.get("total_size"))
            assert found["path"].startswith("/disk/copied/f")
            assert (found["total_files"], found["total_size"]) == (1, 1000)
            assert (await copy).exit_status == 0
            proxy.latency = 0.0
            assert len(await sftp.listdir("/disk/copied")) == FILES + 2
    lines = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    whole = f"{FILES} of {FILES} files, {1000 * FILES} of {1000 * FILES} bytes, done after "
    assert any(line.startswith(f"rename to /new: {whole}") for line in lines)
    ended = "1 of 1 files, 1000 of 1000 bytes, done after "
    assert len([line for line in lines if re.match(rf"copy to /disk/copied/f\d\d: {ended}", line)]) == FILES
    assert any("so far" in line for line in lines)
