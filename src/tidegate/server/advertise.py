# SPDX-License-Identifier: Apache-2.0
"""Announcing a portable server on the local network (multicast DNS, RFC 6762 and 6763)."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tidegate import __version__
from tidegate.errors import InvalidArgument

SERVICE: Final = "_sftp-ssh._tcp.local."
TEXT_LIMIT: Final = 255
"""bytes of one key=value text of a record (RFC 6763, 6.1)"""
LABEL_LIMIT: Final = 63
"""bytes of one label of a name (RFC 1035, 2.3.4)"""


@asynccontextmanager
async def advertise(
    port: int,
    *,
    username: str = "",
    password: str = "",
    version: str = __version__,
    interfaces: Sequence[str] = (),
) -> AsyncIterator[str]:
    """Announce an SFTP server while inside; taken back on the way out, however it ends.

    Args:
        port: where it listens.
        username: in the TXT record, for everybody to read; left out if empty.
        password: likewise.
        version: of Tidegate, in the TXT record.
        interfaces: addresses to announce on; empty takes all.

    Yields:
        the name under which it is announced.

    Raises:
        OSError: there is no network to announce on.
        InvalidArgument: user name or password are too long for a TXT record.
    """
    from zeroconf import InterfaceChoice
    from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

    told = {"version": version, "user": username, "password": password}
    properties: dict[str, str | bytes | None] = {name: value for name, value in told.items() if value}
    for name, value in told.items():
        if len(f"{name}={value}".encode()) > TEXT_LIMIT:
            raise InvalidArgument(f"{name} is too long to be announced")
    host = _label(socket.gethostname().partition(".")[0] or "host")
    addresses = [socket.inet_aton(a) for a in interfaces] or [socket.inet_aton(a) for a in _own_addresses()]
    info = AsyncServiceInfo(
        SERVICE,
        f"{_label(f'Tidegate portable on {host} {port}')}.{SERVICE}",
        addresses=addresses,
        port=port,
        properties=properties,
        server=f"{host}.local.",
    )
    zeroconf = AsyncZeroconf(interfaces=list(interfaces) or InterfaceChoice.All)
    try:
        await zeroconf.async_register_service(info, allow_name_change=True)
        try:
            yield info.name.removesuffix(f".{SERVICE}")
        finally:
            await zeroconf.async_unregister_service(info)
    finally:
        await zeroconf.async_close()


def _label(text: str) -> str:
    """One label of a DNS name: no dots, cut to what a label can hold."""
    return text.replace(".", "-").encode()[:LABEL_LIMIT].decode(errors="ignore")


def _own_addresses() -> list[str]:
    import ifaddr

    found = [
        str(ip.ip)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
        if ip.is_IPv4 and not str(ip.ip).startswith("127.")
    ]
    return found or ["127.0.0.1"]
