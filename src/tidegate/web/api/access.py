# SPDX-License-Identifier: Apache-2.0
"""Authentication and permission of callers: the dependencies of every route.

Three ways in: a token (``Authorization: Bearer``), an API key (``X-SFTPGO-API-KEY``), and, where
`httpd.auth_user_file` names a file, a user of that file by basic authentication on every request, who may
do everything, as in the 0.9 generation of the field's other gateway. Refusals before the credential was
proved all look the same.
"""

from __future__ import annotations

import base64
import binascii
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends, HTTPException, Request

from tidegate.accounts.actor import Actor, Channel
from tidegate.accounts.administrators import EVERYTHING
from tidegate.accounts.names import fold_name
from tidegate.errors import BadRecord, Denied, LoginRefused, NotFound
from tidegate.identity.admins import Throttled
from tidegate.identity.passwords import MAX_PASSWORD_BYTES
from tidegate.model import Account, Admin, Protocol, http_scope
from tidegate.model.address_list import AddressList
from tidegate.policy.login import check_login, refusal
from tidegate.policy.second_factor import has_factor
from tidegate.web.api.security import Claims
from tidegate.web.api.services import Services

MAX_CREDENTIAL_CHARS: Final = 4 * MAX_PASSWORD_BYTES
"""Longest text after ``Basic``."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """The author of a request, proved.

    Attributes:
        name: for logs.
        way: means by which they proved it.
        permissions: what they may do.
        admin: their record; None for users of the file.
        claims: of their token.
    """

    name: str
    way: Literal["token", "api_key", "file"]
    permissions: frozenset[str]
    admin: Admin | None = None
    claims: Claims | None = None

    @property
    def role(self) -> str:
        """The role that their accounts have; empty for all accounts."""
        return self.admin.role if self.admin is not None else ""

    def may(self, permission: str) -> bool:
        """True if they have a permission."""
        return EVERYTHING in self.permissions or permission in self.permissions


def services_of(request: Request) -> Services:
    """The services of this request's handler."""
    found: Services = request.app.state.services
    return found


def client_ip(request: Request) -> str:
    """The address that the request comes from, proxies taken into account by `front`."""
    ip: str = request.scope[http_scope.IP]
    return ip


def basic_credentials(request: Request) -> tuple[str, str] | None:
    """Name and password of an ``Authorization: Basic`` header, None if there is none to read."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic" or len(text) > MAX_CREDENTIAL_CHARS:
        return None
    try:
        name, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (name, password) if colon else None


def unauthorised(*, basic: bool = False) -> HTTPException:
    """The one answer to whoever did not prove who they are."""
    challenge = 'Basic realm="Tidegate", charset="UTF-8"' if basic else 'Bearer realm="Tidegate"'
    return HTTPException(401, LoginRefused.default_text, {"WWW-Authenticate": challenge})


async def caller(request: Request) -> Caller:
    """The caller.

    Raises:
        HTTPException: nobody we know (401), too many attempts (429).
        Denied: known, and not welcome from there (403).
    """
    services = services_of(request)
    ip = client_ip(request)
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    try:
        if key := request.headers.get("x-sftpgo-api-key"):
            return _known(request, await _by_key(services, ip, key))
        if kind.lower() == "bearer" and credential:
            return _known(request, await _by_token(services, ip, credential.strip()))
        if services.htpasswd is not None and (given := basic_credentials(request)):
            return _known(request, await _by_file(request, services, ip, *given))
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason == "provider_unavailable":
            raise HTTPException(503, "data provider unavailable") from None
        _log.info("request from %s refused: %s %r", ip, error.reason, error.username)
    raise unauthorised(basic=services.htpasswd is not None)


def _known(request: Request, who: Caller) -> Caller:
    http_scope.proved(request.scope)
    request.scope[http_scope.WHO] = who.name
    return who


async def _by_token(services: Services, ip: str, text: str) -> Caller:
    claims = await services.tokens.read(text, ip)
    admin = await services.provider.admin(claims.username)
    if admin is None or not services.tokens.holds(claims, admin):
        raise LoginRefused("token_revoked", username=claims.username)
    networks = AddressList(admin.filters.allow_list)
    if networks and networks.match(ip) is None:
        raise Denied("you may not come from this address", rule="filters.allow_list")
    return Caller(admin.username, "token", frozenset(admin.permissions), admin, claims)


async def _by_key(services: Services, ip: str, text: str) -> Caller:
    login = await services.admins.by_api_key(ip, text)
    if login.admin is None:
        raise Denied("this key acts as a user; only administrators may do this", rule="api_key[scope]")
    return Caller(login.admin.username, "api_key", frozenset(login.admin.permissions), login.admin)


async def _by_file(request: Request, services: Services, ip: str, name: str, password: str) -> Caller:
    # A browser that remembers the password sends it along with whatever a strange page asks for.
    if request.scope[http_scope.FOREIGN]:
        raise Denied(http_scope.FOREIGN_REFUSED)
    assert services.htpasswd is not None
    wait = services.throttle.admit(f"htpasswd:{name}", ip, services.monotonic())
    if wait:
        raise Throttled(wait, username=name)
    if not await services.htpasswd.verify(ip, name, password):
        raise LoginRefused("bad_credential", username=name)
    services.throttle.succeeded(f"htpasswd:{name}", ip, services.monotonic())
    return Caller(name, "file", frozenset((EVERYTHING,)))


def actor(who: Caller, ip: str) -> Actor:
    """The caller as somebody who changes records."""
    return Actor(
        name=who.name,
        channel=Channel.REST,
        permissions=who.permissions,
        ip=ip,
        admin=who.admin.username if who.admin is not None else "",
        by_key=who.way == "api_key",
        role=who.role,
    )


class Need:
    """A dependency: the caller, who has a permission (none needed if it is empty).

    Args:
        permission: its name.
        factor: False where somebody sets up the second factor that they have to have.
    """

    def __init__(self, permission: str = "", *, factor: bool = True) -> None:
        self.permission = permission
        self.factor = factor

    async def __call__(self, request: Request, who: Annotated[Caller, Depends(caller)]) -> Caller:
        """The caller.

        Raises:
            NotFound: they have a role, and the path names an account that has not.
            Denied: they lack the permission, or must change their password or set up codes first.
        """
        if who.admin is not None:
            require_settled(who.admin, factor=self.factor)
        if self.permission and not who.may(self.permission):
            raise Denied(f"you lack the permission {self.permission}", rule="permissions")
        if who.role:
            await require_reach(request, who)
        return who


async def require_reach(request: Request, who: Caller) -> None:
    """Return if the account or folder that a path names is one that a caller with a role may act on.

    Raises:
        NotFound: the account has not their role, or there is none of this name.
        Denied: they change a folder that accounts mount which have not their role.
    """
    services, named = services_of(request), request.path_params
    if "username" in named:
        name = fold_name(named["username"], services.rules)
        account = await services.provider.user(name)
        if account is None or account.role != who.role:
            raise NotFound(f"no such user: {name}")
    if "name" in named and "/folders/" in request.url.path and request.method != "GET":
        users = await services.administration.folders.users_of(named["name"])
        if not set(await services.provider.role_users(who.role)).issuperset(users):
            raise Denied("accounts that are not of your role mount this folder", rule="role")


async def own_users(services: Services, who: Caller) -> frozenset[str] | None:
    """Names of the accounts that a caller may see; None for all."""
    return frozenset(await services.provider.role_users(who.role)) if who.role else None


def seen_users(users: Sequence[str], own: frozenset[str] | None) -> list[str]:
    """Those of the accounts that a caller may see, `own` being the answer of `own_users`."""
    return [name for name in users if own is None or name in own]


def require_settled(admin: Admin, *, factor: bool = True) -> None:
    """Return if an administrator has done what they have to do first.

    Raises:
        Denied: they must change their password, or set up one-time codes.
    """
    if admin.filters.require_password_change:
        raise Denied("change your password first: PUT /api/v2/admin/changepwd")
    if factor and admin.filters.require_two_factor and not has_factor(admin.filters):
        raise Denied("set up one-time codes first: POST /api/v2/admin/totp/save", rule="require_two_factor")


def require_deliberate(who: Caller) -> Caller:
    """The caller, if a browser does not send what they proved themselves with by its own.

    Raises:
        Denied: they came with a name and a password, which a browser adds to whatever a page asks for.
    """
    if who.way == "file":
        raise Denied("a GET that changes something needs a token or an API key")
    return who


async def owner_by_token(who: Annotated[Caller, Depends(Need(EVERYTHING))]) -> Caller:
    """The caller, who may do everything and sent a token or an API key: for what changes something by GET.

    Raises:
        Denied: a browser could have sent what they sent for a page of another site.
    """
    return require_deliberate(who)


async def token_holder(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """The caller, who is an administrator with a token: for what concerns themselves.

    Raises:
        Denied: they came by an API key or from the user file.
    """
    if who.way != "token":
        raise Denied("this needs a token: GET /api/v2/token")
    return who


async def profiled(who: Annotated[Caller, Depends(Need())]) -> Caller:
    """The caller, who may see and change their profile.

    Raises:
        Denied: as `token_holder`, or they must change their password first.
    """
    return await token_holder(who)


async def enrolling(who: Annotated[Caller, Depends(Need(factor=False))]) -> Caller:
    """The caller, who may set up their second factor.

    Raises:
        Denied: as `token_holder`, or they must change their password first.
    """
    return await token_holder(who)


async def user_by_token(request: Request) -> Account:
    """The user of a request, by their token, as they are now.

    Raises:
        HTTPException: they did not prove who they are (401), or the data provider is away (503).
        Denied: they may not come in any more, or not from there.
    """
    services, ip = services_of(request), client_ip(request)
    kind, _, credential = request.headers.get("authorization", "").partition(" ")
    try:
        if kind.lower() != "bearer" or not credential:
            raise LoginRefused("token")
        claims = await services.user_tokens.read(credential.strip(), ip)
        account = await services.provider.user(claims.username)
        if account is None or not services.user_tokens.holds(claims, account):
            raise LoginRefused("token_revoked", username=claims.username)
    except LoginRefused as error:
        _log.info("request from %s refused: %s %r", ip, error.reason, error.username)
        raise unauthorised() from None
    request.scope[http_scope.WHO] = account.username
    now_ms = time.time_ns() // 1_000_000
    place = services.locate(ip)
    try:
        acting = await services.administration.effective.of(account)
    except BadRecord as error:
        _log.error("user %r cannot act: %s", account.username, error)
        raise Denied("you may not come in now", rule="groups") from None
    steps = check_login(acting, protocol=Protocol.HTTP, method="", ip=ip, now_ms=now_ms, location=place)
    refused = refusal(steps)
    if refused is not None:
        raise Denied("you may not come in now", rule=refused.rule)
    request.state.claims = claims
    return account


async def key_manager(who: Annotated[Caller, Depends(Need(EVERYTHING))]) -> Caller:
    """The caller, who may manage API keys: with all permissions, and not by an API key.

    Raises:
        Denied: they may not.
    """
    if who.way == "api_key":
        raise Denied("an API key cannot manage API keys")
    return who


With = Annotated[Services, Depends(services_of)]
Ip = Annotated[str, Depends(client_ip)]
Anybody = Annotated[Caller, Depends(Need())]
Owner = Annotated[Caller, Depends(Need(EVERYTHING))]
DeliberateOwner = Annotated[Caller, Depends(owner_by_token)]
TokenHolder = Annotated[Caller, Depends(token_holder)]
Profiled = Annotated[Caller, Depends(profiled)]
Enrolling = Annotated[Caller, Depends(enrolling)]
User = Annotated[Account, Depends(user_by_token)]
DisableFactors = Annotated[Caller, Depends(Need("disable_mfa"))]
KeyManager = Annotated[Caller, Depends(key_manager)]
ViewUsers = Annotated[Caller, Depends(Need("view_users"))]
AddUsers = Annotated[Caller, Depends(Need("add_users"))]
EditUsers = Annotated[Caller, Depends(Need("edit_users"))]
DeleteUsers = Annotated[Caller, Depends(Need("del_users"))]
ViewConnections = Annotated[Caller, Depends(Need("view_conns"))]
CloseConnections = Annotated[Caller, Depends(Need("close_conns"))]
ViewEvents = Annotated[Caller, Depends(Need("view_events"))]
ViewStatus = Annotated[Caller, Depends(Need("view_status"))]
ManageIpLists = Annotated[Caller, Depends(Need("manage_ip_lists"))]
ViewDefender = Annotated[Caller, Depends(Need("view_defender"))]
ManageEventRules = Annotated[Caller, Depends(Need("manage_event_rules"))]
ManageGroups = Annotated[Caller, Depends(Need("manage_groups"))]
ManageRoles = Annotated[Caller, Depends(Need("manage_roles"))]
ManageFolders = Annotated[Caller, Depends(Need("manage_folders"))]
QuotaScans = Annotated[Caller, Depends(Need("quota_scans"))]
