# SPDX-License-Identifier: Apache-2.0
"""Signals to the running product: reload, rotate, drain."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path

import asyncssh
import pytest
from tests.support.programs import digest
from tests.support.running import Running, running, wait_for

OLD = b"the old file"


async def banner_of(server: Running) -> str:
    """The identification line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    line = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    await writer.wait_closed()
    return line.decode().strip()


async def test_reload_and_rotate(tmp_path: Path):
    with running(tmp_path / "config") as server:
        person = server.account()
        async with person.connect() as client, client.start_sftp_client() as files:
            assert (await banner_of(server)).startswith("SSH-2.0-Tidegate_")
            server.sections["sftpd"]["banner"] = "Harbour"
            server.sections["sftpd"]["enabled_ssh_commands"] = ["pwd"]
            server.sections["common"]["upload_mode"] = 1
            server.configure(server.sections)
            server.send(signal.SIGHUP)
            await asyncio.to_thread(server.wait_line, "tidegate.server.app", message="configuration reloaded")
            assert await banner_of(server) == "SSH-2.0-Harbour"
            assert sorted(await files.listdir("/")) == [".", ".."]  # who is there stays
        async with person.connect() as client, client.start_sftp_client() as files:
            assert (await client.run("pwd")).exit_status == 0
            assert "commands: pwd" in (await client.run("md5sum /x")).stderr
            async with files.open("/f", "wb") as file:
                await file.write(b"x")
                assert not (person.home / "f").exists()  # upload mode 1 holds
            assert (person.home / "f").read_bytes() == b"x"

            # a configuration with mistakes is named and changes nothing
            good = (server.directory / "tidegate.json").read_text()
            for bad in ('{"sftpd": {"banana": 1}}', '{"common": {"upload_mode": 7}}', "{"):
                seen = len(server.lines("tidegate.server.run", level="error"))
                (server.directory / "tidegate.json").write_text(bad)
                server.send(signal.SIGHUP)
                await asyncio.to_thread(
                    wait_for,
                    lambda seen=seen: len(server.lines("tidegate.server.run", level="error")) > seen,
                    "nothing was said about a bad configuration",
                )
                message = server.lines("tidegate.server.run", level="error")[-1]["message"]
                assert message.startswith("not reloaded: ")
                assert "tidegate.json" in message
                assert await banner_of(server) == "SSH-2.0-Harbour"
                await files.stat("/f")
            (server.directory / "tidegate.json").write_text(good)
        server.expected_errors.append("not reloaded")

        before = {line["connection_id"] for line in server.lines("login")}
        old = server.log_file.stat().st_ino
        server.send(signal.SIGUSR1)
        await asyncio.to_thread(
            wait_for,
            lambda: server.log_file.exists() and server.log_file.stat().st_ino != old,
            "the log was not rotated",
        )
        (rotated,) = [path for path in server.directory.glob("tidegate*log*") if path != server.log_file]
        async with person.connect():
            pass
        await asyncio.to_thread(
            wait_for, lambda: len(server.lines("login")) > len(before), "nothing in the new log"
        )
        kept = [json.loads(line) for line in rotated.read_text().splitlines()]
        assert {line["connection_id"] for line in kept if line["sender"] == "login"} >= before
        assert rotated.stat().st_mode & 0o777 == server.log_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
async def test_drain_lets_a_transfer_finish(tmp_path: Path, number: int):
    with running(tmp_path / "config", grace_time=30) as server:
        person = server.account()
        busy, idle = await person.connect(), await person.connect()
        uploads = await busy.start_sftp_client()
        lazy = await idle.start_sftp_client()
        data = b"0123456789" * 50_000
        (person.home / "down").write_bytes(data)
        file = await uploads.open("/f", "wb")
        down = await uploads.open("/down", "rb")
        await file.write(data[:100_000])
        await lazy.stat("/")
        server.send(number)
        await asyncio.wait_for(idle.wait_closed(), 10)  # nothing held it
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", server.port)
        await file.write(data[100_000:], 100_000)
        assert await down.read() == data
        with pytest.raises(asyncssh.SFTPError, match="shutting down"):
            await uploads.open("/another", "wb")
        await file.close()
        await down.close()
        await uploads.utime("/f", (1_000_000_000, 1_000_000_000))  # as clients do when a file is complete
        assert (await uploads.stat("/f")).size == len(data)
        with contextlib.suppress(asyncssh.Error, OSError):
            await asyncio.wait_for(busy.wait_closed(), 10)
        assert (person.home / "f").read_bytes() == data
        assert (person.home / "f").stat().st_mtime == 1_000_000_000
        process = server.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, 15) == 0  # long before the 30 s
        (line,) = server.lines("Upload")
        assert (line["status"], line["size_bytes"]) == ("ok", len(data))
        assert not (person.home / "another").exists()


async def test_drain_ends_after_the_grace_time(tmp_path: Path):
    with running(tmp_path / "config", grace_time=1, settings={"common": {"upload_mode": 1}}) as server:
        person = server.account()
        (person.home / "f").write_bytes(OLD)
        client = await person.connect()
        files = await client.start_sftp_client()
        file = await files.open("/f", "wb")
        await file.write(b"new")
        server.send(signal.SIGTERM)
        process = server.process
        assert process is not None
        assert await asyncio.to_thread(process.wait, 15) == 0
        with contextlib.suppress(asyncssh.Error, OSError):
            await asyncio.wait_for(client.wait_closed(), 10)
        assert (person.home / "f").read_bytes() == OLD
        assert person.leftovers() == []
        (line,) = server.lines("Upload")
        assert line["status"] == "failed"
        assert server.lines("disconnected")[-1]["by"] == "shutdown"


async def test_a_second_start_reuses_it_all(tmp_path: Path):
    server = Running(tmp_path / "config")
    try:
        server.start()
        person = server.account()
        async with person.connect() as client, client.start_sftp_client() as files:
            async with files.open("/f", "wb") as file:
                await file.write(b"x" * 100_000)
            first = client.get_server_host_key()
        before = digest(person.home / "f")
        await asyncio.to_thread(server.stop)
        server.start()
        async with person.connect() as client, client.start_sftp_client() as files:
            assert client.get_server_host_key() == first
            assert (await files.stat("/f")).size == 100_000
        async with person.connect(client_keys=None, password=person.password):
            pass
        assert digest(person.home / "f") == before
        await asyncio.to_thread(server.stop)
    finally:
        server.kill()
