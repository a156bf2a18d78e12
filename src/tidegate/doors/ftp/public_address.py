# SPDX-License-Identifier: Apache-2.0
"""Finds the IPv4 address by which clients elsewhere reach this host.

On Amazon EC2 the instance metadata service says it (IMDSv2: a token by PUT, then the value by GET); elsewhere
it is the address of the route that packets to the internet take.
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import logging
import os
import socket
from contextlib import closing, suppress
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

METADATA: Final = "http://169.254.169.254"
"""Address of the metadata service; AWS_EC2_METADATA_SERVICE_ENDPOINT names another one."""

SECONDS: Final = 1.0
"""For each of the two requests; where there is no such service nobody answers."""

MAX_ANSWER: Final = 1024
"""Bytes that are read of an answer."""

KEPT_SECONDS: Final = 30.0
"""So long the address of a host name counts before it is looked up again."""

LOOKUP_SECONDS: Final = 3.0
"""After so long a client is told what was known before; the look-up goes on."""

log = logging.getLogger(__name__)


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


class HostAddresses:
    """IPv4 addresses of host names, for PASV; one look-up of a name at a time, whoever asks."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._asked: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def of(self, name: str) -> str:
        """The address of a name; the last one known while none can be found, empty if there never was one."""
        if monotonic() - self._asked.get(name, float("-inf")) > KEPT_SECONDS:
            if name not in self._asking:
                self._asking[name] = asyncio.create_task(self._ask(name), name=f"address of {name}")
            await asyncio.wait([self._asking[name]], timeout=LOOKUP_SECONDS)
        return self._known.get(name, "")

    async def close(self) -> None:
        """End look-ups that go on. Safe to call twice."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
            self._known[name] = str(found[0][4][0])
        except (OSError, UnicodeError) as error:
            kept = self._known.get(name) or "that of each control connection"
            log.warning("ftpd.passive_host %s has no address now, PASV names %s: %s", name, kept, error)
        finally:
            self._asked[name] = monotonic()
            del self._asking[name]
