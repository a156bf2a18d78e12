# SPDX-License-Identifier: Apache-2.0
"""Log level ``trace``: a line for each request with its answer, and none of a password."""

from __future__ import annotations

import asyncio
import ftplib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import httpx2
import pytest
from tests.support.command_line import process
from tests.support.ports import free_port
from tests.support.programs import SSH, run
from tests.support.running import Person, Running, wait_for

DAV, HTTP = free_port(), free_port()
ADMIN, PASSWORD = "boss", "a long and boring administrator password"


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, int]]:
    port = free_port()
    clear = {"address": "127.0.0.1", "plain_login": True}
    settings = {
        "ftpd": {"bindings": [{**clear, "port": port}]},
        "webdavd": {"bindings": [{**clear, "port": DAV}]},
        "httpd": {"bindings": [{"address": "127.0.0.1", "port": HTTP}]},
    }
    home = tmp_path_factory.mktemp("trace") / "config"
    server = Running(home, settings=settings, log_level="trace")
    added = process("admin", "add", ADMIN, "--password-stdin", "--create", "-c", home, stdin=PASSWORD)
    assert added.code == 0, added
    try:
        server.start()
        yield server, port
        server.stop()
        server.check_log()
    finally:
        server.kill()


def lines(server: Running, person: Person, **fields: object) -> list[dict[str, Any]]:
    return server.lines("trace", remote_user=person.name, **fields)


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "aes128-ctr"], ids=["lane", "plain"])
async def test_each_request_of_an_sftp_session_has_a_line(
    traced: tuple[Running, int], tmp_path: Path, cipher: str
) -> None:
    server, _ = traced
    person = server.account()
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    batch = tmp_path / "batch"
    batch.write_text(
        f"put {tmp_path}/local /grüße\nrename /grüße /there\nls /none\nget /there {tmp_path}/back\n"
    )
    done = await asyncio.to_thread(
        run, "sftp", *SSH, "-c", cipher, "-i", person.key, "-P", str(server.port), "-b", batch,
        f"{person.name}@127.0.0.1",
    )  # fmt: skip
    assert done.status == 1, "ls fails, and ends the batch"
    wait_for(lambda: bool(lines(server, person, full_path="/none")), "no line")
    opened = lines(server, person, cmd="OPEN", full_path="/grüße")[0]
    assert (opened["response_code"], opened["protocol"], opened["remote_ip"]) == (0, "sftp", "127.0.0.1")
    assert (opened["local_ip"], opened["remote_dns"], opened["level"]) == ("127.0.0.1", "-", "debug")
    assert sum(one["bytes"] for one in lines(server, person, cmd="WRITE", full_path="/grüße")) == 100_000
    (closed,) = lines(server, person, cmd="CLOSE", full_path="/grüße")
    assert closed["response_code"] == 0
    assert closed["transfer_time"] > 0
    renamed = lines(server, person, cmd="posix-rename@openssh.com") or lines(server, person, cmd="RENAME")
    assert [(one["full_path"], one["target_path"]) for one in renamed] == [("/grüße", "/there")]
    assert {one["response_code"] for one in lines(server, person, full_path="/none")} == {2}
    names = [one["cmd"] for one in lines(server, person)]
    assert names[:3] == ["CHANNEL_OPEN", "CHANNEL_REQUEST subsystem", "INIT"]
    assert names.count("OPEN") == names.count("CLOSE")


async def test_reads_have_lines_with_what_they_brought(traced: tuple[Running, int]) -> None:
    server, _ = traced
    person = server.account()
    (person.home / "f").write_bytes(b"y" * 70_000)
    async with person.connect() as client, client.start_sftp_client() as sftp, sftp.open("/f", "rb") as file:
        assert len(await file.read()) == 70_000
    wait_for(lambda: bool(lines(server, person, cmd="CLOSE")), "no line")
    assert sum(one["bytes"] for one in lines(server, person, cmd="READ", response_code=0)) == 70_000


async def test_commands_have_lines(traced: tuple[Running, int]) -> None:
    server, _ = traced
    person = server.account()
    async with person.connect() as client:
        done = await client.run("md5sum /none")
        assert done.exit_status != 0
    wait_for(lambda: bool(lines(server, person, cmd="CHANNEL_REQUEST exec")), "no line")
    (line,) = lines(server, person, cmd="CHANNEL_REQUEST exec")
    assert line["full_path"] == "md5sum /none"


def test_ftp_commands_have_lines_and_passwords_are_in_none(traced: tuple[Running, int]) -> None:
    server, port = traced
    person = server.account()
    with ftplib.FTP() as client:
        client.connect("127.0.0.1", port, timeout=20)
        client.login(person.name, person.password)
        client.storbinary("STOR f", io.BytesIO(b"z" * 10))
        with pytest.raises(ftplib.error_perm):
            client.size("none")
        with pytest.raises(ftplib.error_perm):
            client.sendcmd(f"PASSS {person.password}")
        client.quit()
    wait_for(lambda: bool(lines(server, person, cmd="QUIT")), "no line")
    told = {one["cmd"]: one for one in lines(server, person)}
    assert (told["STOR"]["response_code"], told["STOR"]["full_path"]) == ("226", "f")
    assert told["SIZE"]["response_code"] == "550"
    assert told["PASS"]["full_path"] == "-"
    assert told["PASSS"]["response_code"] == "500"
    assert person.password not in server.log_file.read_text()


def test_webdav_requests_have_lines_and_passwords_are_in_none(traced: tuple[Running, int]) -> None:
    server, _ = traced
    person = server.account()
    with httpx2.Client(
        base_url=f"http://127.0.0.1:{DAV}", auth=(person.name, person.password), trust_env=False, timeout=30
    ) as client:
        assert client.put("/gr%C3%BC%C3%9Fe?token=hidden", content=b"z" * 12).status_code == 201
        elsewhere = f"http://{person.name}:{person.password}@127.0.0.1:{DAV}/a%20b"
        assert (
            client.request("MOVE", "/gr%C3%BC%C3%9Fe", headers={"Destination": elsewhere}).status_code == 201
        )
        assert client.get("/a%20b").content == b"z" * 12
        assert client.request("PROPFIND", "/none").status_code == 404
        assert client.get("/a%20b", auth=(person.name, "wrong words")).status_code == 401
    wait_for(lambda: len(server.lines("trace", protocol="dav", full_path="/a b")) == 2, "no line")
    told = {one["cmd"]: one for one in lines(server, person)}
    assert (told["PUT"]["full_path"], told["PUT"]["response_code"], told["PUT"]["bytes"]) == (
        "/grüße",
        201,
        12,
    )
    assert (told["MOVE"]["full_path"], told["MOVE"]["target_path"]) == ("/grüße", "/a b")
    assert (told["GET"]["bytes"], told["GET"]["remote_ip"], told["GET"]["local_ip"]) == (
        12,
        *["127.0.0.1"] * 2,
    )
    assert told["PROPFIND"]["response_code"] == 404
    (login,) = server.lines("login", username=person.name)
    assert {one["connection_id"] for one in lines(server, person)} == {login["connection_id"]}
    (refused,) = server.lines("trace", protocol="dav", response_code=401)
    assert (refused["remote_user"], refused["cmd"]) == ("-", "GET")
    text = server.log_file.read_text()
    assert person.password not in text and "wrong words" not in text and "hidden" not in text


def test_requests_of_rest_and_of_pages_have_lines(traced: tuple[Running, int]) -> None:
    server, _ = traced
    person = server.account()
    with httpx2.Client(base_url=f"http://127.0.0.1:{HTTP}", trust_env=False, timeout=30) as client:
        token = client.get("/api/v2/token", auth=(ADMIN, PASSWORD)).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        url = f"/api/v2/users/{person.name}?confidential_data=0&x=hidden-value"
        assert client.get(url, headers=bearer).status_code == 200
        assert client.get("/api/v2/users").status_code == 401
        form = {"name": ADMIN, "password": PASSWORD}
        assert client.post("/web/admin/login", data=form).status_code == 303
        assert client.get("/web/admin/users").status_code == 200
    wait_for(lambda: bool(server.lines("trace", protocol="http", full_path="/web/admin/users")), "no line")
    told = server.lines("trace", protocol="http")
    seen = [
        (one["cmd"], one["full_path"].partition("?")[0], one["remote_user"], one["response_code"])
        for one in told
    ]
    assert ("GET", f"/api/v2/users/{person.name}", ADMIN, 200) in seen
    assert ("GET", "/api/v2/users", "-", 401) in seen
    assert ("POST", "/web/admin/login", "-", 303) in seen
    assert ("GET", "/web/admin/users", ADMIN, 200) in seen
    requests = {line["request_id"] for line in server.lines("httpd")}
    assert {one["connection_id"] for one in told} <= requests
    text = server.log_file.read_text()
    assert PASSWORD not in text and token not in text and "hidden-value" not in text


async def test_other_levels_have_no_such_lines(tmp_path: Path) -> None:
    server = Running(tmp_path / "config")
    try:
        server.start()
        async with server.account().connect() as client, client.start_sftp_client() as sftp:
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat("/none")
        server.stop()
        assert server.lines("trace") == []
    finally:
        server.kill()
