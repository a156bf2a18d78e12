# SPDX-License-Identifier: Apache-2.0
"""The site that passkeys belong to, and challenges: each is good once, for one session, for five minutes."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request

from tidegate.config.schema.mfa import PasskeyKeys
from tidegate.model import http_scope
from tidegate.policy.passkeys import RelyingParty
from tidegate.store.browser_sessions import BrowserSession, BrowserSessionStore
from tidegate.web.admin.sessions import is_secure

NEW: Final = "passkey-new"
"""Purpose of a challenge: a passkey is added."""
AFTER: Final = "passkey-code"
"""Purpose of a challenge: a passkey follows a password."""
INSTEAD: Final = "passkey"
"""Purpose of a challenge: a passkey signs in by itself."""
OFFERED: Final = "passkey-offer"
"""Purpose of a challenge: a passkey that the browser offers by itself signs in."""
CHALLENGE_BYTES: Final = 32
CHALLENGE_SECONDS: Final = 300
"""Seconds in which a challenge has to be answered."""


def own_origin(request: Request) -> str:
    """The address of the page as far as the server can see, such as ``https://files.example.org``."""
    scheme = "https" if is_secure(request) else "http"
    default = {"https": ":443", "http": ":80"}[scheme]
    return f"{scheme}://{request.headers.get('host', '').lower().removesuffix(default)}"


def obstacle(request: Request, keys: PasskeyKeys) -> str:
    """The reason why there are no passkeys where the page was opened; empty if there are.

    Behind a proxy, which may write another host into the request, the browser alone knows: the script of the
    page says the rest.
    """
    origin = own_origin(request)
    try:
        host = urlsplit(origin).hostname or ""
    except ValueError:
        host = ""
    proxied = bool(request.scope.get(http_scope.BY_PROXY))
    if keys.origins and (proxied or origin in keys.origins):
        return ""
    known = f"Open {keys.origins[0]} instead." if keys.origins else ""
    advice = known or "Open them by a name, over HTTPS, and name that address in mfa.passkeys.origins."
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return f"Browsers have no passkeys for pages that were opened by an IP address ({host}). {advice}"
    local = host == "localhost" or host.endswith(".localhost")
    if not is_secure(request) and not local:
        return f"Browsers have no passkeys for pages that come over plain HTTP ({origin}). {advice}"
    if host == "localhost" and not keys.origins:
        return ""
    return f"There are no passkeys for {origin}: mfa.passkeys.origins does not name it. {known}".strip()


def party_of(request: Request, keys: PasskeyKeys) -> RelyingParty:
    """The site, where `obstacle` knows none."""
    return RelyingParty(keys.domain, frozenset(keys.origins or (own_origin(request),)))


async def issue(store: BrowserSessionStore, purpose: str, owner: str, *, username: str, ip: str) -> bytes:
    """A new challenge, in place of one that the owner has for this purpose.

    Args:
        store: where it waits, for all servers of a data provider.
        purpose: `NEW`, `AFTER`, `INSTEAD` or `OFFERED`.
        owner: id of the session that it is bound to.
        username: the administrator, or who else it counts for.
        ip: address of the client.

    Raises:
        ProviderUnavailable: it cannot be stored.
    """
    challenge, now = secrets.token_bytes(CHALLENGE_BYTES), time.time_ns() // 1_000_000
    until = now + CHALLENGE_SECONDS * 1000
    row = BrowserSession(
        id=_id(purpose, owner),
        kind=purpose,
        username=username,
        mark=challenge.hex(),
        created_at=now,
        seen_at=now,
        idle_until=until,
        expires_at=until,
        ip=ip,
    )
    await store.remove(row.id)
    await store.add(row)
    return challenge


async def take(store: BrowserSessionStore, purpose: str, owner: str) -> bytes | None:
    """The challenge, which is gone then; None if there is none, or somebody else has taken it.

    Raises:
        ProviderUnavailable: nobody can tell now.
    """
    row = await store.find(_id(purpose, owner))
    if row is None or row.kind != purpose or not await store.remove(row.id):
        return None
    return bytes.fromhex(row.mark)


def _id(purpose: str, owner: str) -> str:
    return hashlib.blake2b(
        f"{purpose}:{owner}".encode(), digest_size=32, person=b"tidegate-passkey"
    ).hexdigest()
