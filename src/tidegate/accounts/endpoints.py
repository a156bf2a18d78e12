# SPDX-License-Identifier: Apache-2.0
"""Storage on other hosts that may be given to accounts and folders, and who may give it.

Two things are not for everybody who may edit users. Storage without credentials of its own is reached with
those of the server, so it opens whatever they open. And an endpoint makes the server send requests, so one
inside the operator's network, or the metadata service of an instance, could be asked in its name.
Administrators without all permissions give neither, but for endpoints that `storage.allowed_endpoints` lists.

URLs of event actions (`event_rules`) are judged by the same rule: requests come from where the server is.

A name is judged by its addresses at the time when it is stored; whoever owns the name can change them later.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from tidegate.accounts.rules import StorageChecks
from tidegate.errors import Denied
from tidegate.model import Reach, StorageSpec

ENDPOINTS_KEY: Final = "storage.allowed_endpoints"
RESOLVE_SECONDS: Final = 5.0
"""Seconds that a name may take to be resolved."""

_WHO: Final = "only administrators with the permission * may give it"
_NAT64: Final = IPv6Network("64:ff9b::/96")
_PORTS: Final = {"http": 80, "https": 443}


async def check_storage(
    storages: StorageChecks | None, spec: StorageSpec, where: str = "", *, allowed: Sequence[str]
) -> None:
    """Return if somebody without all permissions may give storage to an account or folder.

    Args:
        storages: knows the kinds; without it there is local disk alone, which `directories` judges.
        spec: the storage.
        where: prefix of fields, for instance ``virtual_folders[0].``.
        allowed: hosts, or ``host:port``, that may be given whatever their addresses are.

    Raises:
        Denied: they may not; the text names the field.
    """
    if spec.config.is_local or storages is None:
        return
    reach = storages.reach(spec)
    if reach is None:
        raise Denied(
            f"{where}filesystem.provider: what it reaches is not known here; {_WHO}", rule=ENDPOINTS_KEY
        )
    why = await objection(reach, allowed)
    if why is not None:
        raise Denied(f"{where}{why}; {_WHO}", rule=ENDPOINTS_KEY)


async def objection(reach: Reach, allowed: Sequence[str]) -> str | None:
    """The field and the reason why storage is not for everybody to give; None if it is."""
    if reach.borrows:
        return f"{reach.borrows}: this storage would be reached with the credentials of the server"
    for field, url in reach.urls.items():
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if {host, f"{host}:{parts.port or _PORTS.get(parts.scheme, 0)}"} & {one.lower() for one in allowed}:
            continue
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                addresses = await _resolved(host)
        except (OSError, TimeoutError, UnicodeError):
            return f"{field}: the host {host!r} has no address to judge ({ENDPOINTS_KEY} may list it)"
        if any(_is_inside(address) for address in addresses):
            return f"{field}: the host {host!r} is not a public one ({ENDPOINTS_KEY} may list it)"
    return None


async def check_url(field: str, url: str, *, allowed: Sequence[str]) -> None:
    """Return if somebody without all permissions may have the server send requests to a URL.

    Args:
        field: where it was given.
        url: http or https; a host that placeholders stand for cannot be judged.
        allowed: as in `check_storage`.

    Raises:
        Denied: they may not; the text names the field.
    """
    try:
        parts = urlsplit(url)
        judged = "{{" not in parts.netloc and parts.port != 0
    except ValueError:
        judged = False
    if not judged:
        raise Denied(f"{field}: there is no host to judge ({ENDPOINTS_KEY}); {_WHO}", rule=ENDPOINTS_KEY)
    why = await objection(Reach(urls={field: url}), allowed)
    if why is not None:
        raise Denied(f"{why}; {_WHO}", rule=ENDPOINTS_KEY)


async def _resolved(host: str) -> list[IPv4Address | IPv6Address]:
    """The addresses of a host; also of the short forms (``127.1``, ``0x7f000001``) that the system reads."""
    if not host:
        raise OSError
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [ip_address(str(one[4][0]).partition("%")[0]) for one in found]


def _is_inside(address: IPv4Address | IPv6Address) -> bool:
    """True for an address that is not public, in whatever form: mapped, translated (NAT64) or of a tunnel."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_inside(inner)
    return not address.is_global or address.is_multicast
