# SPDX-License-Identifier: Apache-2.0
"""Finds the IPv4 address by which clients elsewhere reach this host.

On Amazon EC2 the instance metadata service says it (IMDSv2: a token by PUT, then the value by GET); elsewhere
it is the address of the route that packets to the internet take.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import socket
from contextlib import closing, suppress
from typing import Final
from urllib.parse import urlsplit

METADATA: Final = "http://169.254.169.254"
"""Address of the metadata service; AWS_EC2_METADATA_SERVICE_ENDPOINT names another one."""

SECONDS: Final = 1.0
"""For each of the two requests; where there is no such service nobody answers."""

MAX_ANSWER: Final = 1024
"""Bytes that are read of an answer."""


def find_public_address() -> str:
    """The address; empty if there is none. Blocking, 2 s at most."""
    return _of_instance() or _of_route()


def _of_instance() -> str:
    place = urlsplit(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA)
    if place.scheme != "http" or not place.hostname:
        return ""
    with suppress(OSError, ValueError, http.client.HTTPException):
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _answer(place.hostname, place.port, "PUT", "/latest/api/token", lifetime)
        if token:
            given = {"X-aws-ec2-metadata-token": token}
            found = _answer(place.hostname, place.port, "GET", "/latest/meta-data/public-ipv4", given)
            return str(ipaddress.IPv4Address(found))
    return ""


def _answer(host: str, port: int | None, method: str, path: str, headers: dict[str, str]) -> str:
    with closing(http.client.HTTPConnection(host, port or 80, timeout=SECONDS)) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.read(MAX_ANSWER).decode("ascii").strip() if response.status == 200 else ""


def _of_route() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # TEST-NET-1: no packet is sent, a route is chosen
        return str(probe.getsockname()[0])
    return ""
