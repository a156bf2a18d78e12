# SPDX-License-Identifier: Apache-2.0
"""Settings of FTP, WebDAV and HTTP that a configuration of SFTPGo brings, on the wire; and certificates in use."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.certificates import certificate
from tests.support.ftp_world import RawFtp
from tests.support.ports import free_port
from tests.support.running import Running, running, wait_for

FIRST, SECOND = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"
NAMES = {FIRST: "ECDHE-ECDSA-AES256-GCM-SHA384", SECOND: "ECDHE-ECDSA-AES128-SHA256"}


class World:
    """A server with one binding of each door by TLS, and a banner in a file."""

    def __init__(self, directory: Path) -> None:
        self.tls = directory / "tls"
        self.tls.mkdir()
        self.ftp, self.dav, self.http = free_port(), free_port(), free_port()
        pair = {
            "certificate_file": str(certificate(self.tls, "localhost")),
            "certificate_key_file": str(self.tls / "key.pem"),
            "address": "127.0.0.1",
            "tls_cipher_suites": [FIRST, SECOND],
        }
        self.banner = directory / "welcome.txt"
        self.banner.write_text("Harbour of Tidegate\n\nAuthorised use only: café\n")
        self.settings = {
            "ftpd": {
                "bindings": [{"port": self.ftp, "plain_login": True, "passive_host": "127.2", **pair}],
                "passive_port_range": {"start": 0, "end": 0},
                "banner_file": str(self.banner),
                "banner": "not shown",
            },
            "webdavd": {"bindings": [{"port": self.dav, "enable_https": True, **pair}]},
            "common": {"max_per_host_connections": 0},
            "httpd": {"bindings": [{"port": self.http, "enable_https": True, **pair}]},
        }
        self.server: Running

    def context(self, suites: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.tls / "cert.pem"))
        if suites:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(suites)
        return context

    def connected(self, door: str, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A handshake that is through."""
        if door == "ftp":
            with contextlib.ExitStack() as stack:
                ftp = stack.enter_context(RawFtp(self.ftp))
                assert ftp.code("AUTH TLS") == 234
                secured = context.wrap_socket(ftp.sock, server_hostname="localhost")
                stack.pop_all()
                return secured
        plain = socket.create_connection(("127.0.0.1", self.dav if door == "dav" else self.http), 20)
        try:
            return context.wrap_socket(plain, server_hostname="localhost")
        except BaseException:
            plain.close()
            raise


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("settings")
    made = World(directory)
    with running(directory / "config", settings=made.settings) as server:
        made.server = server
        yield made


@pytest.mark.parametrize("door", ["ftp", "dav", "http"])
def test_only_the_suites_that_are_named_are_taken(world: World, door: str) -> None:
    for suite in NAMES.values():
        with world.connected(door, world.context(suite)) as secured:
            assert secured.cipher() is not None and secured.cipher()[0] == suite  # type: ignore[index]
    with world.connected(door, world.context(f"{NAMES[SECOND]}:{NAMES[FIRST]}")) as secured:
        assert secured.cipher()[0] == NAMES[FIRST]  # type: ignore[index]  # the server's order counts
    with pytest.raises(ssl.SSLError):
        world.connected(door, world.context("ECDHE-ECDSA-AES128-GCM-SHA256"))
    with world.connected(door, world.context()) as secured:
        assert secured.version() == "TLSv1.3"


def test_pasv_names_the_address_of_a_host(world: World) -> None:
    person = world.server.account()
    with RawFtp(world.ftp) as ftp:
        ftp.login(person)
        assert re.match(r"227 .*\(127,0,0,2,", ftp.ask("PASV"))
        assert ftp.fetch("NLST")[2][:3] == "226"  # EPSV names none


def test_the_banner_is_that_of_a_file_and_read_again(world: World) -> None:
    with RawFtp(world.ftp) as ftp:
        assert ftp.greeting == "220-Harbour of Tidegate\n220-\n220 Authorised use only: café"
    world.banner.write_text("Closed today\n")
    world.server.send(signal.SIGHUP)

    def renewed() -> bool:
        with RawFtp(world.ftp) as ftp:
            return ftp.greeting == "220 Closed today"

    wait_for(renewed, "the banner is not read again")
    world.banner.write_bytes(b"\xff\xfe")
    world.server.send(signal.SIGHUP)
    wait_for(
        lambda: any(
            "ftpd.banner_file" in line["message"]
            for line in world.server.lines("tidegate.server.run", level="error")
        ),
        "nothing was said about a banner that is no text",
    )
    world.server.expected_errors.append("not reloaded")
    assert renewed()
    world.banner.write_text("Closed today\n")


def test_certificates_are_read_again(world: World) -> None:
    """On FTP, WebDAV and HTTP at once; who is connected stays."""
    old = world.context()
    with RawFtp(world.ftp) as there:
        there.secure(world.tls / "cert.pem")
        certificate(world.tls, "localhost")
        fresh = world.context()
        world.server.send(signal.SIGHUP)

        def renewed(door: str) -> bool:
            try:
                world.connected(door, fresh).close()
            except (ssl.SSLError, ConnectionError):
                return False
            return True

        for door in ("ftp", "dav", "http"):
            wait_for(lambda door=door: renewed(door), f"{door} shows the old certificate")  # type: ignore[misc]
            with pytest.raises(ssl.SSLError):
                world.connected(door, old)
        assert there.code("NOOP") == 200
    connection = http.client.HTTPSConnection("localhost", world.dav, timeout=20, context=fresh)
    connection.request("OPTIONS", "/")
    assert connection.getresponse().status == 200
    connection.close()


def test_logins_in_the_clear_are_warned_of_at_the_start(world: World) -> None:
    line = world.server.wait_line("tidegate.doors.ftp.door", level="warn")
    assert "anybody on the way can read passwords" in line["message"]
