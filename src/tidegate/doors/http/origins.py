# SPDX-License-Identifier: Apache-2.0
"""Requests that a page of another site made a browser send.

The order is that of Go's `http.CrossOriginProtection`: ``Sec-Fetch-Site`` decides where a browser sends it,
since no page can change it; else ``Origin``, else ``Referer``, is compared with the host that was asked for.
Programs send none of the three and are not affected.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing (RFC 9110 section 9.2.1)."""

_OWN_SITES: Final = (b"same-origin", b"none")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_foreign(headers: Iterable[tuple[bytes, bytes]], *, forwarded: bool = False) -> bool:
    """True if a page of another site caused the request.

    Args:
        headers: lower case names and values, as ASGI gives them.
        forwarded: the request comes from a proxy that may be believed: ``X-Forwarded-Host`` counts too.
    """
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value.strip())
    if sites := values.get(b"sec-fetch-site"):
        return any(site not in _OWN_SITES for site in sites)
    sources = values.get(b"origin") or values.get(b"referer") or []
    names = (b"host", b"x-forwarded-host") if forwarded else (b"host",)
    hosts = [host for name in names for host in values.get(name, [])]
    return any(not any(_is_same(source, host) for host in hosts) for source in sources)


def _is_same(source: bytes, host: bytes) -> bool:
    """True if an ``Origin`` or ``Referer`` names the host in ``Host``; a proxy may have ended TLS."""
    try:
        there = urlsplit(source.decode("ascii"))
        here = urlsplit(f"//{host.decode('ascii')}")
        default = _DEFAULT_PORTS.get(there.scheme)
        if default is None or not there.hostname:
            return False
        return (there.hostname, there.port or default) == (here.hostname, here.port or default)
    except ValueError:
        return False
