# SPDX-License-Identifier: Apache-2.0
"""The address that PASV names with ``auto``: of the metadata service, else of the route."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tidegate.doors.ftp.public_address import find_public_address

ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"


class Metadata(BaseHTTPRequestHandler):
    """The two requests of IMDSv2, and nothing without a token."""

    address = "203.0.113.7"

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._say(200 if known else 404, "secret-token")

    def do_GET(self) -> None:
        trusted = self.headers["X-aws-ec2-metadata-token"] == "secret-token"
        known = self.path == "/latest/meta-data/public-ipv4"
        self._say(200 if trusted and known else 401, self.address)

    def _say(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Metadata]]:
    class Own(Metadata):
        pass

    server = HTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{server.server_port}")
    yield Own
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_instance_says_its_public_address(metadata: type[Metadata]) -> None:
    assert find_public_address() == metadata.address


@pytest.mark.parametrize("answer", ["", "not an address", "::1", "203.0.113.7\r\n230 Welcome", "x" * 5000])
def test_an_answer_that_is_no_address_does_not_count(metadata: type[Metadata], answer: str) -> None:
    metadata.address = answer
    found = find_public_address()
    assert found == "" or ipaddress.IPv4Address(found)
    assert found != "203.0.113.7"


@pytest.mark.parametrize("endpoint", ["file:///etc/passwd", "http://", "http://127.0.0.1:1"])
def test_without_the_service_the_route_decides(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv(ENDPOINT, endpoint)
    found = find_public_address()
    assert found == "" or ipaddress.IPv4Address(found)
