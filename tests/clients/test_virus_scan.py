# SPDX-License-Identifier: Apache-2.0
"""Uploads scanned by a real clamd before they are acknowledged: over SFTP and FTP, in every upload mode."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Iterator
from ftplib import FTP, error_perm
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from tests.support import fork_server
from tests.support.clamd import MARKER, SIGNATURE, STREAM_MAX, Clamd, clamd
from tests.support.ftp_world import FtpServer, ftp_server
from tests.support.object_servers import ObjectServer
from tests.support.running import Person, Running, running, wait_for

from tidegate.model import StorageConfig

VIRUS = b"x" * 65_530 + MARKER + b"y" * 200_000  # across two chunks
NOT_SCANNED = "could not be scanned for viruses"
TOO_LARGE = "too large to be scanned"


@pytest.fixture(scope="module")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clamd]:
    with clamd(tmp_path_factory.mktemp("clamd")) as made:
        yield made


def keys(address: str, **more: Any) -> dict[str, Any]:
    return {"inspection": {"clamd": {"address": address, **more}}}


@pytest.fixture(scope="module", params=[0, 1, 2], ids=["inplace", "atomic", "resumable"])
def server(
    request: pytest.FixtureRequest, scanner: Clamd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FtpServer]:
    """Mode 1 asks by the Unix socket."""
    mode = request.param
    address = scanner.socket if mode == 1 else scanner.address
    other = {"common": {"upload_mode": mode}, **keys(address)}
    environment = {"AWS_EC2_METADATA_DISABLED": "true"}
    with ftp_server(tmp_path_factory.mktemp("scanned"), other=other, environment=environment) as made:
        yield made


@contextlib.asynccontextmanager
async def sftp_of(person: Person) -> Any:
    async with person.connect() as client, client.start_sftp_client() as sftp:
        yield sftp


async def put(sftp: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    async with sftp.open(path, "wb") as file:
        await file.write(data)


def told(server: Running, text: str) -> None:
    """Wait until the log has a line with this text."""
    wait_for(lambda: text in server.log_file.read_text(), f"the log does not say {text!r}")


async def test_sftp_is_refused_what_is_infected(server: FtpServer) -> None:
    person = server.account()
    async with sftp_of(person) as sftp:
        await put(sftp, "/old", b"before")
        await put(sftp, "/empty", b"")
        await put(sftp, "/full", b"z" * STREAM_MAX)
        for path in ("/old", "/bad"):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=r"^virus found$"):
                await put(sftp, path, VIRUS)
    found = {path.name: path.stat().st_size for path in person.home.iterdir()}
    assert found == {"old": 6, "empty": 0, "full": STREAM_MAX}
    assert (person.home / "old").read_bytes() == b"before"
    line = await asyncio.to_thread(
        server.running.wait_line, "refused", username=person.name, virtual_path="/bad"
    )
    assert line["rule"] == "inspector[clamd]"
    await asyncio.to_thread(told, server.running, f"refuses upload of '/bad': {SIGNATURE}")


def test_ftp_is_refused_what_is_infected(server: FtpServer) -> None:
    person = server.account()
    with FTP() as ftp:
        ftp.connect("127.0.0.1", server.plain, timeout=20)
        ftp.login(person.name, person.password)
        assert ftp.storbinary("STOR old", io.BytesIO(b"before")).startswith("226")
        for name in ("old", "bad"):
            with pytest.raises(error_perm, match=r"^55\d .*virus found"):
                ftp.storbinary(f"STOR {name}", io.BytesIO(VIRUS))
        assert ftp.nlst() == ["old"]
    assert [path.name for path in person.home.iterdir()] == ["old"]
    assert (person.home / "old").read_bytes() == b"before"


async def test_what_is_added_to_a_file_is_scanned_before_it_is_there(server: FtpServer) -> None:
    person = server.account()

    def by_ftp() -> None:
        with FTP() as ftp:
            ftp.connect("127.0.0.1", server.plain, timeout=20)
            ftp.login(person.name, person.password)
            with pytest.raises(error_perm, match=r"^55\d .*virus found"):
                ftp.storbinary("APPE kept", io.BytesIO(VIRUS))
            assert ftp.storbinary("APPE kept", io.BytesIO(b", more")).startswith("226")
            assert ftp.storbinary("STOR kept", io.BytesIO(b", MORE"), rest=6).startswith("226")

    async with sftp_of(person) as sftp:
        await put(sftp, "/kept", b"before")
        async with sftp.open("/kept", "ab") as file:
            await file.write(b"")
        for mode in ("ab", "r+b"):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=r"^virus found$"):
                async with sftp.open("/kept", mode) as file:
                    await file.write(VIRUS)
            assert (person.home / "kept").read_bytes() == b"before"
        await asyncio.to_thread(by_ftp)
    assert [path.name for path in person.home.iterdir()] == ["kept"]
    assert (person.home / "kept").read_bytes() == b"before, MORE"


async def test_what_clamd_finds_too_large_is_refused(server: FtpServer) -> None:
    person = server.account()
    async with sftp_of(person) as sftp:
        for size in (STREAM_MAX + 1, 9 * STREAM_MAX):
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=TOO_LARGE):
                await put(sftp, "/large", b"z" * size)
    assert list(person.home.iterdir()) == []


async def test_buckets_are_scanned(server: FtpServer, seaweedfs_server: ObjectServer) -> None:
    server.running.secrets.add(seaweedfs_server.access_secret)
    options = seaweedfs_server.options(seaweedfs_server.bucket())
    person = server.account(filesystem=StorageConfig("s3", {"s3config": options}))
    async with sftp_of(person) as sftp:
        await put(sftp, "/good", b"fine")
        with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
            await put(sftp, "/good", VIRUS)
        with pytest.raises(asyncssh.SFTPPermissionDenied, match=TOO_LARGE):
            await put(sftp, "/parts", b"z" * 12_000_000)
        assert [name for name in await sftp.listdir("/") if not name.startswith(".")] == ["good"]
        async with sftp.open("/good", "rb") as file:
            assert await file.read() == b"fine"


@pytest.mark.parametrize("streams", [32, 0])
async def test_uploads_in_several_parts_are_scanned_before_they_are_there(
    tmp_path: Path, seaweedfs_server: ObjectServer, streams: int
) -> None:
    settings = keys("", streams=streams)
    with clamd(tmp_path / "clamd", stream_max=64 * 1024 * 1024) as own:
        settings["inspection"]["clamd"]["address"] = own.socket
        environment = {"AWS_EC2_METADATA_DISABLED": "true"}
        with running(tmp_path / "config", settings=settings, environment=environment) as server:
            server.secrets.add(seaweedfs_server.access_secret)
            options = seaweedfs_server.options(seaweedfs_server.bucket())
            person = server.account(filesystem=StorageConfig("s3", {"s3config": options}))
            async with sftp_of(person) as sftp:
                if streams:
                    await put(sftp, "/parts", b"z" * 12_000_000)
                    with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
                        await put(sftp, "/parts", b"y" * 12_000_000 + MARKER)
                    assert (await sftp.stat("/parts")).size == 12_000_000
                else:
                    with pytest.raises(asyncssh.SFTPPermissionDenied, match=NOT_SCANNED):
                        await put(sftp, "/parts", b"z" * 12_000_000)
                    assert not await sftp.exists("/parts")


async def test_a_scan_goes_on_while_the_file_arrives(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd") as own, running(tmp_path / "config", settings=keys(own.address)) as server:
        person = server.account()
        async with sftp_of(person) as sftp:
            file = await sftp.open("/file", "wb")
            await file.write(b"x" * 600_000 + MARKER)
            await asyncio.to_thread(wait_for, own.asked, "nobody asks clamd before the end")
            with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
                await file.close()
        assert list(person.home.iterdir()) == []


async def test_an_infected_file_can_be_kept_apart_and_costs_a_score(tmp_path: Path) -> None:
    settings = keys("", when_infected="quarantine")
    settings["inspection"]["quarantine"] = {"directory": str(tmp_path / "kept")}
    settings["common"] = {"defender": {"enabled": True, "score_infected": 5, "threshold": 9}}
    with clamd(tmp_path / "clamd") as own:
        settings["inspection"]["clamd"]["address"] = own.address
        with running(tmp_path / "config", settings=settings) as server:
            person = server.account()
            async with sftp_of(person) as sftp:
                for _ in range(2):
                    with pytest.raises(asyncssh.SFTPPermissionDenied, match="virus found"):
                        await put(sftp, "/bad", VIRUS)
            line = await asyncio.to_thread(server.wait_line, "quarantined", username=person.name)
            assert (line["virtual_path"], line["text"], line["size_bytes"]) == ("/bad", SIGNATURE, len(VIRUS))
            banned = await asyncio.to_thread(server.wait_line, "refused", intent="banned")
            assert banned["text"].startswith("score_infected")
            done = await asyncio.to_thread(
                fork_server.run, ["quarantine", "list", "-c", str(server.directory)], timeout=60
            )
            assert line["name"] in done.stdout
            assert list(person.home.iterdir()) == []
            kept = (tmp_path / "kept" / f"{line['name']}.content").read_bytes()
            assert kept == VIRUS


async def test_clamd_is_killed_in_the_middle(tmp_path: Path) -> None:
    with clamd(tmp_path / "clamd") as own, running(tmp_path / "config", settings=keys(own.address)) as server:
        person = server.account()
        async with sftp_of(person) as sftp:
            await put(sftp, "/file", b"before")
            await asyncio.to_thread(wait_for, lambda: not own.asked(), "a scan goes on")
            own.pause()
            upload = asyncio.create_task(put(sftp, "/file", b"after" * 2_000_000))
            await asyncio.to_thread(wait_for, own.asked, "nobody asks clamd")
            assert not upload.done()
            own.kill()
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=NOT_SCANNED):
                await upload
            with pytest.raises(asyncssh.SFTPPermissionDenied, match=NOT_SCANNED):
                await put(sftp, "/file", b"after")
            assert (person.home / "file").read_bytes() == b"before"
            await asyncio.to_thread(told, server, "'/file' of " + person.name + " not scanned, refused: ")
            await asyncio.to_thread(own.start)
            await put(sftp, "/file", b"after")
        assert [path.name for path in person.home.iterdir()] == ["file"]
        assert (person.home / "file").read_bytes() == b"after"


@pytest.mark.parametrize("policy", ["refuse", "allow"])
async def test_what_cannot_be_scanned_is_as_configured(tmp_path: Path, policy: str) -> None:
    more = {
        "seconds": 1,
        "max_size": 1000,
        "when_slow": policy,
        "when_too_large": policy,
        "when_down": policy,
    }
    with (
        clamd(tmp_path / "clamd") as own,
        running(tmp_path / "config", settings=keys(own.address, **more)) as server,
    ):
        person = server.account()

        async def attempt(sftp: asyncssh.SFTPClient, path: str, data: bytes, why: str) -> None:
            if policy == "allow":
                await put(sftp, path, data)
                await asyncio.to_thread(told, server, f"'{path}' of {person.name} not scanned, allowed: ")
            else:
                with pytest.raises(asyncssh.SFTPPermissionDenied, match=why):
                    await put(sftp, path, data)
            assert (person.home / path[1:]).exists() is (policy == "allow")

        async with sftp_of(person) as sftp:
            await put(sftp, "/fits", b"x" * 1000)
            await attempt(sftp, "/large", b"x" * 1001, TOO_LARGE)
            own.pause()
            await attempt(sftp, "/slow", b"x", NOT_SCANNED)
            own.resume()
            own.kill()
            await attempt(sftp, "/down", b"x", NOT_SCANNED)


def test_check_pings_it_and_explain_names_it(tmp_path: Path) -> None:
    def command(*words: str) -> tuple[int, str]:
        done = fork_server.run([*words, "-c", str(server.directory)], timeout=60)
        return done.returncode, done.stdout + done.stderr

    with clamd(tmp_path / "clamd") as own, running(tmp_path / "config", settings=keys(own.socket)) as server:
        person = server.account()
        _, said = command("check")
        assert f"virus scan: clamd at {own.socket} answers" in said
        _, said = command("explain", "-u", person.name, "--op", "put", "--path", "/x")
        assert "asked then, and may refuse: inspector[clamd]\n" in said
        own.kill()
        status, said = command("check")
        assert status != 0
        assert f"clamd at {own.socket}: " in said
        assert "inspection.clamd.address" in said
