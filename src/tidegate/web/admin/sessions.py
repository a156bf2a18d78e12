# SPDX-License-Identifier: Apache-2.0
"""Sessions of administrators: a secret in a cookie, its digest in a row of the data provider.

A row also holds a digest of everything that decides what the administrator may do. A change of any of that,
made anywhere, ends the session at its next request. The digest of a secret that was given over TLS differs
from the one over plain HTTP, so a session cannot be taken from one to the other.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import time
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import ProviderUnavailable
from tidegate.model import Admin, http_scope
from tidegate.model.address_list import AddressList
from tidegate.policy.passkeys import passkeys_of
from tidegate.store.browser_sessions import BrowserSession
from tidegate.web.api.services import Services

KIND: Final = "admin"
OF_FILE: Final = "admin-file"
"""Kind of rows of users of `httpd.auth_user_file`."""
WAITING: Final = "admin-code"
"""Kind of rows of people who gave their password and have yet to give a code."""

SECRET_CHARS: Final = 43
"""Length of a cookie's value: 32 random bytes in base64."""
WAITING_SECONDS: Final = 300
"""Seconds that somebody has to give a code after the password."""
USE_SECONDS: Final = 15
"""A use is written at most this often."""
_COOKIE: Final = "tidegate_admin"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session that a request belongs to.

    Attributes:
        admin: as they are now; of a user of `httpd.auth_user_file` what stands for a record.
        row: of the session.
        secret: of the browser; never shown.
    """

    admin: Admin
    row: BrowserSession
    secret: str

    @property
    def of_file(self) -> bool:
        """True if they stand in `httpd.auth_user_file`, and have no record."""
        return self.row.kind == OF_FILE


def is_secure(request: Request) -> bool:
    """True if the browser speaks TLS, to this server or to a proxy that may be believed."""
    if request.scope.get("scheme") == "https":
        return True
    forwarded = request.headers.get("x-forwarded-proto", "")
    return bool(request.scope.get(http_scope.BY_PROXY)) and forwarded.strip().lower() == "https"


def cookie_name(request: Request, name: str = _COOKIE) -> str:
    """The name of a cookie; the prefix keeps neighbours from setting it (RFC 6265bis section 4.1.3.2)."""
    return f"__Host-{name}" if is_secure(request) else name


def set_cookie(
    request: Request, response: Response, name: str, value: str, *, seconds: int | None = None
) -> None:
    """Have the browser keep a cookie that scripts cannot read and other sites cannot have sent along."""
    response.set_cookie(
        cookie_name(request, name),
        value,
        max_age=seconds,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def digest_of(request: Request, secret: str) -> str:
    """The id of the session of a secret."""
    binding = b"tls" if is_secure(request) else b"plain"
    return hashlib.blake2b(secret.encode(), key=binding, digest_size=32, person=b"tidegate-web").hexdigest()


def mark_of(secret: str, admin: Admin) -> str:
    """The digest of what decides what an administrator may do."""
    filters, held = admin.filters, passkeys_of(admin.filters)
    what: list[object] = [admin.id, admin.username, admin.created_at, admin.status, admin.password]
    what += [
        admin.role,
        sorted(admin.permissions),
        list(filters.allow_list),
        filters.extra.get("totp_config"),
        held.alone,
        [one.id for one in held.keys],
    ]
    return _keyed(secret, "mark", json.dumps(what, sort_keys=True, default=str))


def form_token(secret: str) -> str:
    """The token of every form of a session; a page of another site cannot know it."""
    return _keyed(secret, "form", "")


def signed(secret: str, text: str) -> str:
    """The text with a proof that it comes from this server, for this browser."""
    return f"{_keyed(secret, 'note', text)}.{text}"


def unsigned(secret: str, text: str) -> str | None:
    """The text of `signed`; None if it is not one of this server's for this browser."""
    proof, dot, content = text.partition(".")
    return (
        content
        if dot and hmac.compare_digest(proof.encode(), _keyed(secret, "note", content).encode())
        else None
    )


def _keyed(secret: str, purpose: str, text: str) -> str:
    return hmac.new(
        secret.encode(), f"{purpose}:{text}".encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()


def secret_of(request: Request, name: str = _COOKIE) -> str:
    """The secret that a browser sent; empty if it sent none that could be ours."""
    value = request.cookies.get(cookie_name(request, name), "")
    return value if len(value) == SECRET_CHARS and value.isascii() else ""


async def find(
    request: Request, services: Services, *, kind: str = KIND, active: bool = True
) -> SignedIn | None:
    """The session of a request; None if there is none that holds.

    Args:
        request: with the cookie.
        services: of this server.
        kind: of the row.
        active: the request counts as a use.

    Raises:
        ProviderUnavailable: nobody can tell now.
    """
    secret = secret_of(request)
    if not secret:
        return None
    row = await services.provider.browser_sessions.find(digest_of(request, secret))
    if row is None or (row.kind != kind and not (kind == KIND and row.kind == OF_FILE)):
        return None
    of_file = row.kind == OF_FILE
    ask = _of_file(services, row.username) if of_file else services.provider.admin(row.username)
    admin = await ask
    ip = str(request.scope[http_scope.IP])
    if admin is None or admin.status != 1 or not hmac.compare_digest(row.mark, mark_of(secret, admin)):
        await services.provider.browser_sessions.remove(row.id)
        return None
    networks = AddressList(admin.filters.allow_list)
    if networks and networks.match(ip) is None:
        _log.info("page for administrator %r refused to %s: filters.allow_list", admin.username, ip)
        return None
    if kind == KIND:
        http_scope.proved(request.scope)
    if active and kind == KIND:  # that of a user of the file too
        row = await _used(services, row, ip)
    return SignedIn(admin, row, secret)


def file_user(username: str, stored: str) -> Admin:
    """A record in memory for a user of `httpd.auth_user_file`, who may do everything.

    Args:
        username: of them.
        stored: the hash that the file has; another one ends their sessions.
    """
    return Admin(username=username, password=stored, permissions=(EVERYTHING,), status=1)


async def _of_file(services: Services, username: str) -> Admin | None:
    """A user of the file as it is now; None if it has them no more, or there is no file any more."""
    if services.htpasswd is None:
        return None
    stored = await services.htpasswd.stored(username)
    return file_user(username, stored) if stored else None


async def _used(services: Services, row: BrowserSession, ip: str) -> BrowserSession:
    now = _now_ms()
    if now - row.seen_at < USE_SECONDS * 1000 and row.ip == ip:
        return row
    idle_until = now + services.loaded.settings.httpd.cookie_lifetime * 60_000
    try:
        await services.provider.browser_sessions.use(row.id, seen_at=now, idle_until=idle_until, ip=ip)
    except ProviderUnavailable as error:
        _log.warning("use of a session of %r was not stored: %s", row.username, error)
        return row
    return replace(row, seen_at=now, idle_until=idle_until, ip=ip)


async def begin(
    request: Request,
    response: Response,
    services: Services,
    admin: Admin,
    *,
    method: str,
    kind: str = KIND,
) -> SignedIn:
    """Start a session with a fresh secret, and end the one that the browser had.

    Raises:
        ProviderUnavailable: it cannot be stored; nobody is signed in.
    """
    await end(request, services)
    httpd = services.loaded.settings.httpd
    secret, now = secrets.token_urlsafe(32), _now_ms()
    waiting = kind == WAITING
    row = BrowserSession(
        id=digest_of(request, secret),
        kind=kind,
        username=admin.username,
        mark=mark_of(secret, admin),
        created_at=now,
        seen_at=now,
        idle_until=now + (WAITING_SECONDS * 1000 if waiting else httpd.cookie_lifetime * 60_000),
        expires_at=now + (WAITING_SECONDS * 1000 if waiting else httpd.cookie_max_lifetime * 60_000),
        ip=str(request.scope[http_scope.IP]),
        agent=request.headers.get("user-agent", ""),
        method=method,
    )
    await services.provider.browser_sessions.add(row)
    set_cookie(request, response, _COOKIE, secret)
    return SignedIn(admin, row, secret)


async def end(request: Request, services: Services) -> None:
    """End the session of a request, if it has one."""
    if secret := secret_of(request):
        await services.provider.browser_sessions.remove(digest_of(request, secret))


def forget(request: Request, response: Response, name: str = _COOKIE) -> None:
    """Have the browser drop a cookie; one with a prefix is dropped only by what may set it."""
    response.delete_cookie(
        cookie_name(request, name), path="/", secure=is_secure(request), httponly=True, samesite="strict"
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
