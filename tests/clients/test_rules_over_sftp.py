# SPDX-License-Identifier: Apache-2.0
"""Rules of an account document, seen by clients of the running product: limits, names, folders, logins."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncssh
import paramiko
import pytest
from passlib.hash import sha512_crypt
from tests.support.programs import scp, sftp
from tests.support.running import Person, Running, wait_for

from tidegate.cli.provider import opened
from tidegate.model import BandwidthLimit, FilePatterns, Filters, FolderMount, TimeWindow

KIB = 1024


def password_login(person: Person, password: str = "") -> asyncssh.SSHClientConnection:
    return person.connect(password=password or person.password, client_keys=None)


async def write(files: asyncssh.SFTPClient, path: str, data: bytes) -> None:
    async with files.open(path, "wb") as file:
        await file.write(data)


async def expect_login_refused(person: Person, rule: str) -> None:
    """No method opens the door, and the log names the rule."""
    with pytest.raises(asyncssh.PermissionDenied):
        await person.connect()
    line = await asyncio.to_thread(
        person.server.wait_line, "connection_failed", username=person.name, login_type="publickey"
    )
    assert line["rule"] == rule, line


@pytest.mark.parametrize(
    ("fields", "filters", "rule"),
    [
        ({"status": 0}, {}, "disabled"),
        ({"expiration_date": 1_000}, {}, "expired"),
        ({}, {"allowed_ip": ("10.9.0.0/16",)}, "address"),
        ({}, {"denied_ip": ("127.0.0.0/8",)}, "address[127.0.0.0/8]"),
        ({}, {"denied_protocols": ("SSH",)}, "protocol[SSH]"),
        ({}, {"access_time": "tomorrow"}, "hours"),
    ],
    ids=["disabled", "expired", "allowed_ip", "denied_ip", "denied_protocols", "access_time"],
)
async def test_a_rule_of_the_account_refuses_the_login_and_is_named(server: Running, fields, filters, rule):
    if "access_time" in filters:  # a window of another day than the next minutes
        day = (datetime.now(UTC) + timedelta(days=2)).isoweekday() % 7
        filters = {"access_time": (TimeWindow(day_of_week=day, from_="10:00", to="11:00"),)}
    person = server.account(**fields, filters=Filters(**filters))
    await expect_login_refused(person, rule)


async def test_a_denied_method_is_refused_and_the_other_is_not(server: Running):
    person = server.account(filters=Filters(denied_login_methods=("password", "keyboard-interactive")))
    with pytest.raises(asyncssh.PermissionDenied):
        await password_login(person)
    async with person.connect():
        pass


async def test_sessions_begin_in_the_start_directory(server: Running):
    person = server.account(filters=Filters(start_directory="/in/box"))
    (person.home / "in/box").mkdir(parents=True)
    async with person.connect() as connection, connection.start_sftp_client() as files:
        assert await files.realpath(".") == "/in/box"
        await write(files, "here", b"x")
    assert (person.home / "in/box/here").read_bytes() == b"x"


async def test_openbridge_names_are_refused_and_the_log_line_names_the_rule(server: Running):
    person = server.account(filters=Filters(file_patterns=(FilePatterns(path="/", preset="openbridge"),)))
    async with person.connect() as connection, connection.start_sftp_client() as files:
        await write(files, "/report.csv", b"x")
        for name in ("/setup.exe", "/SETUP.EXE", "/.profile"):
            with pytest.raises(asyncssh.SFTPPermissionDenied) as caught:
                await files.open(name, "wb")
            assert str(person.home) not in str(caught.value)
        with pytest.raises(asyncssh.SFTPPermissionDenied):
            await files.rename("/report.csv", "/report.exe")
    assert sorted(path.name for path in person.home.iterdir()) == ["report.csv"]
    refused = await asyncio.to_thread(
        server.wait_line, "refused", username=person.name, virtual_path="/setup.exe"
    )
    assert refused["rule"].startswith("file_patterns"), refused


async def test_warnings_of_the_quota_are_log_lines(server: Running):
    person = server.account(quota_size=100 * KIB)
    async with person.connect() as connection, connection.start_sftp_client() as files:
        await write(files, "/a", bytes(70 * KIB))
        assert server.lines("quota_warning", username=person.name) == []
        await write(files, "/b", bytes(15 * KIB))
        await asyncio.to_thread(server.wait_line, "quota_warning", username=person.name, percent=80)
        await write(files, "/c", bytes(11 * KIB))
        line = await asyncio.to_thread(server.wait_line, "quota_warning", username=person.name, percent=95)
        assert line["allowed"] == 100 * KIB
        with pytest.raises(asyncssh.SFTPError, match="quota_size"):
            await write(files, "/d", bytes(20 * KIB))
        await asyncio.to_thread(server.wait_line, "Upload", username=person.name, status="quota")


async def test_the_clients_network_chooses_the_bandwidth(server: Running):
    slow = (BandwidthLimit(sources=("127.0.0.0/8",), upload_bandwidth=256),)
    far = (BandwidthLimit(sources=("10.0.0.0/8",), upload_bandwidth=1),)
    took = []
    for limits in (slow, far):
        person = server.account(filters=Filters(bandwidth_limits=limits))
        async with person.connect() as connection, connection.start_sftp_client() as files:
            started = time.monotonic()
            await write(files, "/f", bytes(512 * KIB))
            took.append(time.monotonic() - started)
    assert took[0] > 0.7  # 512 KiB at 256 KiB/s, a burst at most taken off
    assert took[1] < 300  # at 1 KiB/s it would be nine minutes


async def test_virtual_folders(server: Running, tmp_path: Path):
    """Listing, upload, masking, and what may not be renamed or removed."""
    person = server.account(
        virtual_folders=(
            FolderMount(name=f"f{tmp_path.name}", virtual_path="/shared", mapped_path=str(tmp_path / "one")),
            FolderMount(name=f"g{tmp_path.name}", virtual_path="/deep/er", mapped_path=str(tmp_path / "two")),
        )
    )
    (person.home / "shared").mkdir()
    (person.home / "shared/masked").write_bytes(b"never seen")
    async with person.connect() as connection, connection.start_sftp_client() as files:
        assert set(await files.listdir("/")) >= {"shared", "deep"}
        assert "masked" not in await files.listdir("/shared")
        await write(files, "/shared/x", b"in the folder")
        await write(files, "/deep/er/y", b"in the other")
        assert (tmp_path / "one/x").read_bytes() == b"in the folder"
        assert (tmp_path / "two/y").read_bytes() == b"in the other"
        await files.rename("/shared/x", "/shared/z")
        assert set(await files.listdir("/shared")) - {".", ".."} == {"z"}
        for act in (
            files.rename("/shared", "/renamed"),
            files.rename("/deep", "/renamed"),
            files.rmdir("/shared"),
            files.rmdir("/deep"),
        ):
            with pytest.raises(asyncssh.SFTPError):
                await act
        await files.rename("/shared/z", "/home-again")
    assert (person.home / "home-again").read_bytes() == b"in the folder"
    assert (person.home / "shared/masked").read_bytes() == b"never seen"


async def test_an_old_hash_is_replaced_in_the_database_by_a_login(server: Running):
    person = server.account()
    word = "correct horse battery"

    async def put() -> None:
        async with opened(server.directory, "tidegate", quiet=True) as desk:
            account = await desk.provider.user(person.name)
            assert account is not None
            stored = sha512_crypt.using(rounds=5000).hash(word)
            await desk.provider.update_user(replace(account, password=stored))

    await put()
    assert server.stored(person.name).password.startswith("$6$")
    async with password_login(person, word):
        pass
    await asyncio.to_thread(
        wait_for,
        lambda: server.stored(person.name).password.startswith("$argon2id$"),
        "the old hash is still there",
    )
    async with password_login(person, word):
        pass
    with pytest.raises(asyncssh.PermissionDenied):
        await password_login(person, person.password)


def test_extensions_that_openssh_asks_for(person: Person, tmp_path: Path):
    """expand-path by scp's ``~``, users-groups-by-id by ``ls -l``, copy-data by ``cp``."""
    (person.home / "f").write_bytes(b"some bytes")
    (person.home / "d").mkdir()
    scp(person, ":~/f", tmp_path / "fetched").ok()
    assert (tmp_path / "fetched").read_bytes() == b"some bytes"
    scp(person, tmp_path / "fetched", ":~/d/put").ok()
    assert (person.home / "d/put").read_bytes() == b"some bytes"
    done = sftp(person, "ls -l /f", "cp /f /copied").ok()
    assert (person.home / "copied").read_bytes() == b"some bytes"
    listed = next(
        line for line in done.out.decode().splitlines() if line.startswith("-") and line.endswith("/f")
    )
    assert listed.split()[2] == person.name


def test_space_available_over_paramiko(server: Running):
    person = server.account(quota_size=1_000_000)
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", person.port, person.name, key_filename=str(person.key), allow_agent=False,
            look_for_keys=False,
        )  # fmt: skip
        with client.open_sftp() as files:
            kind, answer = files._request(paramiko.sftp.CMD_EXTENDED, "space-available", "/")
            assert kind == 201  # SSH_FXP_EXTENDED_REPLY
            numbers = [answer.get_int64() for _ in range(4)]
            assert all(number >= 0 for number in numbers)
            assert 0 < numbers[3] <= 1_000_000  # what this user may still write
