# SPDX-License-Identifier: Apache-2.0
"""An inspector of somebody else's package, in the running product, by real clients, in every upload mode."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support.running import COMMAND, Person, Running, running

PACKAGE = Path(__file__).parents[1] / "third_party" / "inspector"
VIRUS = b"x" * 65_530 + b"EICAR-TEST" + b"y" * 200_000  # across two pieces of the scanner
MODES = pytest.mark.parametrize("mode", [0, 1, 2], ids=["inplace", "atomic", "resumable"])


def settings(mode: int, **more: Any) -> dict[str, Any]:
    scan = {
        "use": "scan",
        "acts": ["login", "upload", "download", "delete"],
        "seconds": 1,
        "options": {"words": ["EICAR-TEST"], "guarded": ["/guarded", "/guarded.d"], "banned": ["mallory"]},
        **more,
    }
    second = {"use": "tidegate_scan:Scan", "name": "second", "options": {"words": ["SECOND"]}, **more}
    return {
        "settings": {"inspection": {"inspectors": [scan, second]}, "common": {"upload_mode": mode}},
        "environment": {"PYTHONPATH": str(PACKAGE)},
    }


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        made: dict[int, Running] = {}

        def get(mode: int) -> Running:
            if mode not in made:
                directory = tmp_path_factory.mktemp("inspected") / "config"
                made[mode] = stack.enter_context(running(directory, **settings(mode)))
            return made[mode]

        yield get


@contextlib.asynccontextmanager
async def sftp_of(person: Person) -> Any:
    async with person.connect() as client, client.start_sftp_client() as sftp:
        yield sftp


async def put(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    async with sftp.open(path, "wb") as file:
        await file.write(data)


@MODES
async def test_a_refused_upload_is_not_there(servers: Any, mode: int) -> None:
    server = servers(mode)
    person = server.account()
    async with sftp_of(person) as sftp:
        await put(sftp, "/good", b"fine")
        await put(sftp, "/old", b"before")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
            await put(sftp, "/bad", VIRUS)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
            await put(sftp, "/old", VIRUS)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
            await put(sftp, "/second", b"-SECOND-")
        names = {name for name in await sftp.listdir("/") if not name.startswith(".")}
    # In place the old content is gone before anybody can be asked; beside it nothing has happened to it.
    assert names == ({"good"} if mode == 0 else {"good", "old"})
    assert person.leftovers() == []
    if mode:
        assert (person.home / "old").read_bytes() == b"before"
    assert server.wait_line("refused", username=person.name, virtual_path="/bad")["rule"] == "inspector[scan]"
    assert server.wait_line("refused", virtual_path="/second")["rule"] == "inspector[second]"
    failed = server.wait_line("Upload", username=person.name, virtual_path="/bad")
    assert (failed["status"], failed["error"]) == ("failed", "virus found")
    assert server.stored(person.name).used_quota_files in (0, len(names))


async def test_what_arrived_before_the_client_went_is_inspected_where_it_would_stay(servers: Any) -> None:
    server = servers(0)
    person = server.account()
    for name, data in (("/half", b"fine"), ("/evil", VIRUS)):
        async with person.connect() as client, client.start_sftp_client() as sftp:
            file = await sftp.open(name, "wb")
            await file.write(data)
            client.abort()
        await asyncio.to_thread(server.wait_line, "Upload", username=person.name, virtual_path=name)
    assert (person.home / "half").read_bytes() == b"fine"
    assert not (person.home / "evil").exists()


async def test_downloads_removals_and_logins(servers: Any) -> None:
    server = servers(1)
    person, mallory = server.accounts([{}, {"username": "mallory"}])
    (person.home / "guarded").write_bytes(b"keep me")
    (person.home / "guarded.d").mkdir()
    async with sftp_of(person) as sftp:
        for call in (sftp.remove("/guarded"), sftp.rmdir("/guarded.d"), sftp.open("/guarded", "rb")):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="is guarded"):
                await call
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="is guarded"):
            await sftp.open("/guarded", "r+b")
        await put(sftp, "/free", b"x")
        async with sftp.open("/free", "rb") as file:
            assert await file.read() == b"x"
        await sftp.remove("/free")
    assert (person.home / "guarded").read_bytes() == b"keep me"
    assert (person.home / "guarded.d").is_dir()
    for intent in ("download", "delete_file", "delete_dir"):
        assert server.wait_line("refused", username=person.name, intent=intent)["rule"] == "inspector[scan]"
    with pytest.raises(asyncssh.PermissionDenied):
        await mallory.connect()
    line = server.wait_line("connection_failed", username="mallory")
    assert (line["error"], line["rule"]) == ("inspector", "inspector[scan]")


async def test_no_answer_refuses_unless_configured(servers: Any, tmp_path: Path) -> None:
    server = servers(1)
    person = server.account()
    async with sftp_of(person) as sftp:
        for data in (b"-slow", b"-broken"):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="permission denied"):
                await put(sftp, "/x", data)
    assert not (person.home / "x").exists()
    with running(tmp_path / "config", **settings(1, on_error="allow")) as lenient:
        person = lenient.account()
        async with sftp_of(person) as sftp:
            await put(sftp, "/x", b"-broken")
        assert (person.home / "x").read_bytes() == b"-broken"


def test_explain_and_check_name_them(servers: Any) -> None:
    server = servers(1)
    person = server.account()

    def command(*words: str) -> str:
        environ = {**os.environ, "PYTHONPATH": str(PACKAGE)}
        done = subprocess.run(
            [*COMMAND, *words, "-c", str(server.directory)],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout + done.stderr

    said = command("explain", "-u", person.name, "--op", "put", "--path", "/x")
    assert "asked then, and may refuse: inspector[scan], inspector[second]\n" in said
    assert "inspectors: scan, second" in command("check")
