# SPDX-License-Identifier: Apache-2.0
"""An account without a password, by FTP, WebDAV, SFTP and the REST API; allowances by network, by FTP."""

from __future__ import annotations

import ftplib
import http.client
import io
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.ports import free_port
from tests.support.programs import sftp
from tests.support.running import Running, running

from tidegate.model import Filters, TransferLimit


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, int]]]:
    ports = {name: free_port() for name in ("ftpd", "webdavd", "httpd")}
    local = {"address": "127.0.0.1", "plain_login": True}
    settings = {name: {"bindings": [{"port": port, **local}]} for name, port in ports.items()}
    settings["httpd"]["bindings"][0].pop("plain_login")
    with running(tmp_path_factory.mktemp("anonymous"), settings=settings) as server:
        yield server, ports


def asked(port: int, name: str, password: str, method: str, path: str) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        word = b64encode(f"{name}:{password}".encode()).decode()
        line.request(method, path, headers={"Authorization": f"Basic {word}"})
        answer = line.getresponse()
        return answer.status, answer.read()
    finally:
        line.close()


@pytest.mark.needs("sftp")
def test_it_reads_by_ftp_and_webdav_and_nothing_else(
    world: tuple[Running, dict[str, int]], tmp_path: Path
) -> None:
    server, ports = world
    person = server.account(filters=Filters(is_anonymous=True), public_keys=())
    (person.home / "there").write_text("content")

    for typed in ("", "guest@", person.password):
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", ports["ftpd"], timeout=10)
            client.sendcmd(f"USER {person.name}")
            assert client.sendcmd(f"PASS {typed}").startswith("230")
            got = io.BytesIO()
            client.retrbinary("RETR there", got.write)
            assert (client.nlst(), got.getvalue()) == (["there"], b"content")
            with pytest.raises(ftplib.error_perm, match=r"^55"):
                client.storbinary("STOR new", io.BytesIO(b"x"))
            with pytest.raises(ftplib.error_perm, match=r"^55"):
                client.delete("there")
        assert asked(ports["webdavd"], person.name, typed, "GET", "/there") == (200, b"content")
        assert asked(ports["webdavd"], person.name, typed, "DELETE", "/there")[0] == 403
        assert asked(ports["webdavd"], person.name, typed, "GET", "/")[0] == 200
        assert asked(ports["httpd"], person.name, typed, "GET", "/api/v2/user/token")[0] == 401
    assert (person.home / "there").read_text() == "content"
    sftp(person, "ls", cwd=tmp_path).failed("denied")


def test_an_allowance_holds_for_its_network_alone(world: tuple[Running, dict[str, int]]) -> None:
    server, ports = world
    megabyte = b"x" * (1 << 20)
    here = TransferLimit(sources=("127.0.0.1/32",), upload_data_transfer=1)
    person = server.account(total_data_transfer=100, filters=Filters(data_transfer_limits=(here,)))
    elsewhere = server.account(
        upload_data_transfer=1,
        filters=Filters(data_transfer_limits=(TransferLimit(sources=("192.0.2.0/24",)), here)),
    )
    free = server.account(
        upload_data_transfer=1,
        filters=Filters(data_transfer_limits=(TransferLimit(sources=("127.0.0.0/8",)), here)),
    )
    for who, fits in ((person, False), (elsewhere, False), (free, True)):
        with ftplib.FTP() as client:
            client.connect("127.0.0.1", ports["ftpd"], timeout=10)
            client.login(who.name, who.password)
            client.storbinary("STOR a", io.BytesIO(megabyte))
            if fits:
                client.storbinary("STOR b", io.BytesIO(b"y"))
            else:
                with pytest.raises(ftplib.error_perm, match="upload_data_transfer"):
                    client.storbinary("STOR b", io.BytesIO(b"y"))
        assert (who.home / "b").exists() is fits
