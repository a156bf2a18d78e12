# SPDX-License-Identifier: Apache-2.0
"""The address of a host name for PASV: kept for a while, looked up once for all, and never waited for long."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from tidegate.doors.ftp import public_address
from tidegate.doors.ftp.public_address import HostAddresses


class Resolver:
    """Answers as a test says, in place of the system's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers: dict[str, str] = {}
        self.asked = 0
        self.free = asyncio.Event()
        self.free.set()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.resolve, raising=False)

    async def resolve(self, name: str, port: object, **options: Any) -> list[Any]:
        assert (port, options["family"]) == (None, socket.AF_INET)
        self.asked += 1
        await self.free.wait()
        if name not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such host")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.answers[name], 0))]


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    try:
        return Resolver(monkeypatch)
    except AttributeError:
        pytest.fail("the loop's getaddrinfo cannot be replaced")


async def test_an_address_is_kept_for_a_while(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = HostAddresses()
    resolver.answers["gate"] = "203.0.113.1"
    assert [await hosts.of("gate") for _ in range(3)] == ["203.0.113.1"] * 3
    assert resolver.asked == 1
    monkeypatch.setattr(public_address, "KEPT_SECONDS", -1.0)
    resolver.answers["gate"] = "203.0.113.2"
    assert await hosts.of("gate") == "203.0.113.2"
    del resolver.answers["gate"]
    assert await hosts.of("gate") == "203.0.113.2"  # the last one known


async def test_a_name_that_is_not_known_is_asked_for_once_in_a_while(
    resolver: Resolver, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = HostAddresses()
    assert [await hosts.of("none") for _ in range(5)] == [""] * 5
    assert resolver.asked == 1
    assert "ftpd.passive_host none has no address now" in caplog.text


async def test_nobody_waits_for_long_and_many_ask_once(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_address, "LOOKUP_SECONDS", 0.01)
    hosts = HostAddresses()
    resolver.answers["slow"] = "203.0.113.1"
    resolver.free.clear()
    assert await asyncio.gather(*(hosts.of("slow") for _ in range(50))) == [""] * 50
    assert resolver.asked == 1
    resolver.free.set()
    await asyncio.gather(*hosts._asking.values())
    assert await hosts.of("slow") == "203.0.113.1"
    assert resolver.asked == 1


async def test_a_look_up_that_goes_on_ends_with_the_door(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(public_address, "LOOKUP_SECONDS", 0.01)
    hosts = HostAddresses()
    resolver.free.clear()
    assert await hosts.of("slow") == ""
    (task,) = hosts._asking.values()
    for _ in range(2):
        await hosts.close()
    assert task.cancelled()
    assert not hosts._asking
