# SPDX-License-Identifier: Apache-2.0
"""The files of examples/haproxy: a real HAProxy in front of SSH, FTP, the pages and WebDAV."""

from __future__ import annotations

import contextlib
import csv
import ftplib
import http.client
import io
import json
import socket
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.certificates import certificate
from tests.support.haproxy import ADDRESS, free_range
from tests.support.ports import free_port
from tests.support.running import Person, Running, wait_for
from tests.support.web_servers import program, replaced

pytestmark = pytest.mark.needs("haproxy", "sftp")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "haproxy"
DATA_PORTS = 6


@dataclass(frozen=True)
class Front:
    """A server behind HAProxy.

    Attributes:
        ports: of HAProxy at `ADDRESS`, by the port of the example.
        control: its socket for questions.
        direct: port of the server's FTP, past HAProxy.
    """

    server: Running
    person: Person
    ports: dict[int, int]
    control: Path
    direct: int
    place: Path

    def addresses(self, source: str) -> bool:
        """True if the log has a line about this client."""
        return any(f'"{source}' in json.dumps(line) for line in self.server.lines())

    def states(self) -> dict[str, tuple[str, str]]:
        """Status and result of the last check, by backend."""
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(self.control))
            line.sendall(b"show stat\n")
            text = b"".join(iter(lambda: line.recv(65_536), b"")).decode()
        rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
        return {row["pxname"]: (row["status"], row["check_status"]) for row in rows if row["svname"] == "one"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    place = tmp_path_factory.mktemp("haproxy")
    certificate(place, "localhost")
    behind = {old: free_port() for old in (2121, 8443, 10443)}
    data = free_range(DATA_PORTS)
    words = {
        "/etc/ssl/tidegate": str(place),
        "10.0.0.4": "127.0.0.1",
        "10.0.0.7": "127.0.0.1",
        **{f'"port": {old}': f'"port": {new}' for old, new in behind.items()},
        '"start": 50000, "end": 50100': f'"start": {data[0]}, "end": {data[1]}',
    }
    settings = json.loads(replaced((EXAMPLE / "tidegate.json").read_text(), words))
    server = Running(place / "server", settings=settings).start()
    try:
        person = server.account()
        with haproxy(place, {2022: server.port, **behind}, data) as ports:
            yield Front(server, person, ports, place / "admin.sock", behind[2121], place)
    finally:
        server.stop()


@contextlib.contextmanager
def haproxy(place: Path, behind: dict[int, int], data: tuple[int, int]) -> Iterator[dict[int, int]]:
    """HAProxy with the example's file; gives its ports by those of the example."""
    ports = {old: free_port() for old in (22, 21, 443)}
    words = {
        **{f"10.0.0.7:{old}": f"127.0.0.1:{new}" for old, new in behind.items()},
        "10.0.0.7": "127.0.0.1",
        **{f"bind :{old}\n": f"bind {ADDRESS}:{new}\n" for old, new in ports.items()},
        "bind :50000-50100": f"bind {ADDRESS}:{data[0]}-{data[1]}",
        "/run/haproxy": str(place),
    }
    file = place / "haproxy.cfg"
    file.write_text(replaced((EXAMPLE / "haproxy.cfg").read_text(), words))
    with (place / "output").open("wb") as output:
        process = subprocess.Popen([program("haproxy"), "-db", "-f", file], stdout=output, stderr=output)
    try:
        wait_for(lambda: process.poll() is not None or (place / "admin.sock").exists(), "HAProxy")
        assert process.poll() is None, (place / "output").read_text()
        yield ports
    finally:
        process.terminate()
        process.wait(20)


def test_haproxy_takes_the_file_as_it_is() -> None:
    checked = subprocess.run(
        [program("haproxy"), "-c", "-f", EXAMPLE / "haproxy.cfg"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked
    assert "WARNING" not in checked.stderr, checked.stderr


def test_sftp_comes_through_and_the_log_has_the_client(front: Front) -> None:
    (front.place / "up").write_bytes(bytes(range(256)) * 2000)
    (front.place / "batch").write_text(f"put {front.place}/up up\nget up {front.place}/down\n")
    done = subprocess.run(
        [
            *("sftp", "-F", "none", "-P", str(front.ports[22]), "-i", front.person.key, "-b", front.place / "batch"),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={front.place}/hosts"),
            *("-o", "IdentitiesOnly=yes", "-o", "BindAddress=127.0.0.71", f"{front.person.name}@{ADDRESS}"),
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (front.place / "down").read_bytes() == (front.person.home / "up").read_bytes()
    wait_for(lambda: front.addresses("127.0.0.71"), "a line about the client")


def test_ftp_with_tls_and_its_data_come_through(front: Front) -> None:
    client = ftplib.FTP_TLS(context=trusting(), source_address=("127.0.0.72", 0))
    client.connect(ADDRESS, front.ports[21], timeout=20)
    client.login(front.person.name, front.person.password)
    client.prot_p()
    client.storbinary("STOR by-ftp", io.BytesIO(b"x" * 300_000))
    assert client.makepasv()[0] == ADDRESS
    client.close()
    assert (front.person.home / "by-ftp").read_bytes() == b"x" * 300_000
    wait_for(lambda: front.addresses("127.0.0.72"), "a line about the client")


def test_one_port_of_https_leads_to_pages_and_webdav_by_name(front: Front) -> None:
    login = b64encode(f"{front.person.name}:{front.person.password}".encode()).decode()
    dav = {"Depth": "0", "Authorization": f"Basic {login}"}
    assert answer(front, "files.example.org", "127.0.0.73", "GET /healthz") == 200
    assert answer(front, "dav.example.org", "127.0.0.74", "PROPFIND /", **dav) == 207
    for source in ("127.0.0.73", "127.0.0.74"):
        wait_for(lambda here=source: front.addresses(here), source)


def test_checks_find_the_server_well_and_are_no_clients(front: Front) -> None:
    wanted = {"sftp": "L7OK", "ftp": "L7OK", "pages": "L7OK", "webdav": "L4OK"}
    wait_for(
        lambda: {name: state[1] for name, state in front.states().items() if name != "ftp-data"} == wanted,
        "checks of all four",
    )
    assert {state[0] for name, state in front.states().items() if name != "ftp-data"} == {"UP"}
    assert not front.server.lines("banned")


def test_who_comes_past_haproxy_is_refused(front: Front) -> None:
    for port in (front.server.port, front.direct):
        with (
            socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.75", 0)) as line,
            contextlib.suppress(ConnectionResetError),
        ):
            assert line.recv(100) == b""


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def answer(front: Front, name: str, source: str, request: str, **headers: str) -> int:
    """The status of an answer; the name is sent in the hello of TLS."""
    plain = socket.create_connection((ADDRESS, front.ports[443]), 20, (source, 0))
    line = http.client.HTTPConnection(name)
    line.sock = trusting().wrap_socket(plain, server_hostname=name)
    try:
        line.request(*request.split(), headers=headers)
        got = line.getresponse()
        got.read()
        return got.status
    finally:
        line.close()
