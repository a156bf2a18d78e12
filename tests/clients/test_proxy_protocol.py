# SPDX-License-Identifier: Apache-2.0
"""The product behind a real HAProxy: who a client is, at SSH, FTP, HTTPS and WebDAV."""

from __future__ import annotations

import asyncio
import ftplib
import http.client
import io
import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass

import asyncssh
import pytest
from tests.support.certificates import certificate
from tests.support.haproxy import ADDRESS, SOURCE, Route, free_range, haproxy
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for

pytestmark = pytest.mark.needs("haproxy")

PER_HOST = 4
OWN = "127.0.0.4"
"""Of a proxy that connects for itself, to see if the server is well."""


@dataclass
class World:
    server: Running
    person: Person
    ssh: int
    ftp: int
    https: int
    dav: int
    direct: dict[str, int]

    def doors(self, source: str) -> dict[str, bool]:
        """The doors that let an address in, by the proxy."""
        return {
            "SSH": greeting(self.ssh, source).startswith(b"SSH-"),
            "FTP": greeting(self.ftp, source).startswith(b"220"),
            "HTTP": answer(self.https, "/healthz", source) == 200,
            "DAV": answer(self.dav, "/", source) == 401,
        }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("proxy")
    pem = certificate(directory, "localhost")
    tls = {"certificate_file": str(pem), "certificate_key_file": str(pem.with_name("key.pem"))}
    direct = {name: free_port() for name in ("ftpd", "httpd", "webdavd")}
    data = free_range(4)
    there = {"address": "127.0.0.1", **tls}
    server = Running(
        directory / "server",
        settings={
            "common": {
                "proxy_protocol": 1,
                "proxy_allowed": [SOURCE, OWN],
                "max_per_host_connections": PER_HOST,
                "defender": {"enabled": True, "driver": "provider", "threshold": 4},
            },
            "ftpd": {
                "bindings": [{"port": direct["ftpd"], "plain_login": True, **there}],
                "passive_port_range": {"start": data[0], "end": data[1]},
            },
            "httpd": {
                "bindings": [{"port": direct["httpd"], "proxy_mode": 1, "enable_https": True, **there}]
            },
            "webdavd": {
                "bindings": [{"port": direct["webdavd"], "proxy_mode": 1, "enable_https": True, **there}]
            },
        },
    ).start()
    routes = [
        Route(server.port, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
        Route(direct["ftpd"], "send-proxy"),
        Route(direct["httpd"]),
        Route(direct["webdavd"]),
        Route(0, ports=data),
    ]
    try:
        with haproxy(directory, routes) as ports:
            yield World(server, server.account(), *ports[:4], {"ssh": server.port, **direct})
    finally:
        server.stop()


def greeting(port: int, source: str, to: str = ADDRESS, first: bytes = b"") -> bytes:
    """The first bytes that a server sends; empty if it closes."""
    with socket.create_connection((to, port), timeout=10, source_address=(source, 0)) as line:
        try:
            line.sendall(first)
            return line.recv(200)
        except ConnectionResetError:
            return b""


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def answer(port: int, path: str, source: str, login: str = "") -> int:
    line = http.client.HTTPSConnection(
        ADDRESS, port, timeout=10, source_address=(source, 0), context=trusting()
    )
    try:
        headers = {"Authorization": "Basic " + b64encode(login.encode()).decode()} if login else {}
        line.request("PROPFIND" if path == "/" else "GET", path, headers={"Depth": "0", **headers})
        got = line.getresponse()
        got.read()
        return got.status
    finally:
        line.close()


def over_ssh(world: World, source: str, **options: object) -> asyncssh.connection._ConnectionManager:  # type: ignore[name-defined]
    return asyncssh.connect(
        ADDRESS,
        world.ssh,
        **{
            "username": world.person.name,
            "client_keys": [str(world.person.key)],
            "known_hosts": None,
            "config": None,
            "agent_path": None,
            "local_addr": (source, 0),
            **options,
        },
    )


def over_ftp(world: World, source: str) -> ftplib.FTP:
    client = ftplib.FTP(source_address=(source, 0))
    client.connect(ADDRESS, world.ftp, timeout=10)
    client.login(world.person.name, world.person.password)
    return client


def logged(world: World, source: str) -> bool:
    return any(f'"{source}' in json.dumps(line) for line in world.server.lines())


async def test_the_log_of_every_door_has_the_address_of_the_client(world: World) -> None:
    async with over_ssh(world, "127.0.0.51") as connection, connection.start_sftp_client() as sftp:
        await sftp.listdir("/")

    def others() -> None:
        over_ftp(world, "127.0.0.52").quit()
        assert answer(world.https, "/healthz", "127.0.0.53") == 200
        login = f"{world.person.name}:{world.person.password}"
        assert answer(world.dav, "/", "127.0.0.54", login) == 207

    await asyncio.to_thread(others)
    for source in ("127.0.0.51", "127.0.0.52", "127.0.0.53", "127.0.0.54"):
        await asyncio.to_thread(wait_for, lambda here=source: logged(world, here), source)
    assert not logged(world, SOURCE)


def test_ftp_data_comes_by_the_proxy_from_the_client_of_the_control_connection_alone(world: World) -> None:
    client = over_ftp(world, "127.0.0.55")
    client.storbinary("STOR a.bin", io.BytesIO(b"x" * 300_000))
    got: list[bytes] = []
    client.retrbinary("RETR a.bin", got.append)
    assert b"".join(got) == b"x" * 300_000
    host, port = client.makepasv()
    assert host == ADDRESS
    client.putcmd("NLST")
    # The proxy takes anybody; the server closes who is somebody else, and goes on waiting for the client.
    for where, source in ((ADDRESS, "127.0.0.56"), ("127.0.0.1", "127.0.0.56")):
        with socket.create_connection((where, port), timeout=10, source_address=(source, 0)) as thief:
            assert thief.recv(1) == b""
    with socket.create_connection((host, port), timeout=10, source_address=("127.0.0.55", 0)) as line:
        assert client.getresp().startswith("150")
        assert line.recv(100) == b"a.bin\r\n"
    assert client.voidresp().startswith("226")
    client.quit()


def test_a_ban_and_a_limit_meet_the_client_and_not_the_proxy(world: World) -> None:
    everywhere = {"SSH": True, "FTP": True, "HTTP": True, "DAV": True}
    for _ in range(2):
        with ftplib.FTP(source_address=("127.0.0.57", 0)) as client:
            client.connect(ADDRESS, world.ftp, timeout=10)
            with pytest.raises(ftplib.error_perm):
                client.login("nobody", "wrong")
    wait_for(lambda: world.doors("127.0.0.57") == dict.fromkeys(everywhere, False), "the ban")
    assert world.doors("127.0.0.58") == everywhere
    held = [socket.create_connection((ADDRESS, world.ssh), 10, ("127.0.0.59", 0)) for _ in range(PER_HOST)]
    for _ in range(PER_HOST + 2):
        own = socket.create_connection(("127.0.0.1", world.server.port), 10, (OWN, 0))
        own.sendall(b"SSH-2.0-monitor\r\n")
        held.append(own)
    assert all(line.recv(4) == b"SSH-" for line in held)  # the proxy's own are not limited
    assert greeting(world.ssh, "127.0.0.59") == b""
    assert greeting(world.ssh, "127.0.0.60").startswith(b"SSH-")
    for line in held:
        line.close()


def test_a_header_of_somebody_else_is_not_believed(world: World) -> None:
    forged = b"PROXY TCP4 127.0.0.99 127.0.0.1 1 22\r\n"
    greeted = greeting(world.direct["ssh"], "127.0.0.1", "127.0.0.1", forged)
    assert greeted == b"" or greeted.startswith(b"SSH-")
    assert b"500" in greeting_after(world.direct["ftpd"], forged)
    with socket.create_connection(("127.0.0.1", world.direct["httpd"]), timeout=10) as line:
        line.sendall(forged)
        assert line.recv(100)[:1] in (b"", b"\x15")  # an alert of TLS at most
    assert not logged(world, "127.0.0.99")


def greeting_after(port: int, first: bytes) -> bytes:
    """All that an FTP server says to something that is sent at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall(first + b"QUIT\r\n")
        return b"".join(iter(lambda: line.recv(1000), b""))
