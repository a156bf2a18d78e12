# SPDX-License-Identifier: Apache-2.0
"""Announcing by DNS service discovery, asked over loopback by direct queries (RFC 6762, 5.5)."""

import asyncio
import socket

import pytest
from zeroconf import DNSIncoming, DNSOutgoing, DNSPointer, DNSQuestion, DNSService, DNSText
from zeroconf.const import _CLASS_IN, _FLAGS_QR_QUERY, _TYPE_ANY, _TYPE_PTR

from tidegate import __version__
from tidegate.errors import InvalidArgument
from tidegate.server.advertise import SERVICE, advertise

ATTEMPTS = 20
"""Others may listen on the port too (a system's own responder); the kernel picks one by the asker's port."""


def ask(name: str, kind: int, wanted: type) -> list[object]:
    """The records that we answer with; none if nobody answers with any of the wanted type."""
    query = DNSOutgoing(_FLAGS_QR_QUERY)
    query.add_question(DNSQuestion(name, kind, _CLASS_IN))
    for _ in range(ATTEMPTS):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.connect(("127.0.0.1", 5353))
            asker.settimeout(0.5)
            try:
                asker.send(query.packets()[0])
                records: list[object] = list(DNSIncoming(asker.recv(9000)).answers())
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                return []
            if any(isinstance(record, wanted) for record in records):
                return records
    return []


async def test_announced_and_taken_back() -> None:
    for port, told in ((45678, {}), (45679, {"username": "u", "password": "p w"})):
        async with advertise(port, interfaces=["127.0.0.1"], **told) as name:  # type: ignore[arg-type]
            pointers = await asyncio.to_thread(ask, SERVICE, _TYPE_PTR, DNSPointer)
            records = await asyncio.to_thread(ask, f"{name}.{SERVICE}", _TYPE_ANY, DNSService)

        assert f"{name}.{SERVICE}" in [p.alias for p in pointers if isinstance(p, DNSPointer)]
        assert next(r for r in records if isinstance(r, DNSService)).port == port
        text = next(r for r in records if isinstance(r, DNSText)).text
        assert f"version={__version__}".encode() in text
        assert (b"user=u" in text, b"password=p w" in text) == (bool(told), bool(told))
        assert await asyncio.to_thread(ask, f"{name}.{SERVICE}", _TYPE_ANY, DNSService) == []


async def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="password is too long to be announced"):
        async with advertise(1, password="x" * 250, interfaces=["127.0.0.1"]):
            pass
