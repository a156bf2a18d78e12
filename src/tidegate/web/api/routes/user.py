# SPDX-License-Identifier: Apache-2.0
"""``/user/token`` and ``/user/logout``: tokens of users, for what concerns themselves."""

from __future__ import annotations

import logging

from fastapi import APIRouter, HTTPException, Request, Response

from tidegate.abc import Credential
from tidegate.errors import LoginRefused
from tidegate.events.kinds import LoggedIn, LoginFailed
from tidegate.identity.api import PartialLogin
from tidegate.model import Account, Origin, Peer, Principal, Protocol
from tidegate.policy.second_factor import asks_code, totp_of
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, User, With, basic_credentials, unauthorised
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE
from tidegate.web.api.routes.tokens import one_time_code
from tidegate.web.api.services import Services

router = APIRouter(prefix=BASE, tags=["user"])
_log = logging.getLogger(__name__)


@router.get(
    "/user/token", responses={200: {"model": schemas.Token}}, openapi_extra={"security": [{"basic": []}]}
)
async def get_user_token(request: Request, services: With, ip: Ip) -> Response:
    """Exchange a user's name and password (basic authentication) for a token.

    Who has one-time codes for HTTP sends one, or a recovery code, in the header ``X-SFTPGO-OTP``. Who has
    them for other doors alone may; without, the token cannot change the codes.
    """
    given = basic_credentials(request)
    if given is None:
        raise unauthorised(basic=True)
    if not await services.identity.admits("HTTP", ip):
        raise HTTPException(403, "you are not allowed to connect")
    try:
        principal = await _log_in(services, ip, *given, one_time_code(request))
        # Logging in may have upgraded the hash, which is part of what the token stands for.
        account = await services.provider.user(principal.username)
        if account is None:  # known to an authenticator alone: there is no record of their own to change
            raise LoginRefused("unknown_user", username=principal.username)
        proved = await _is_proved(services, account, principal, one_time_code(request))
    except LoginRefused as error:
        origin = Origin.of(Peer("", Protocol.HTTP, ip), error.username)
        services.emit(LoginFailed(origin=origin, login_type="password", reason=error.reason, rule=error.rule))
        if error.reason in ("busy", "provider_unavailable"):
            raise HTTPException(503, "try again later", {"Retry-After": "5"}) from None
        if error.reason == "throttled":
            raise HTTPException(429, "too many attempts, try again later", {"Retry-After": "60"}) from None
        _log.info("login of user %r from %s over HTTP refused: %s", error.username, ip, error.reason)
        raise unauthorised(basic=True) from None
    origin = Origin.of(Peer("", Protocol.HTTP, ip), account.username)
    encrypted = request.url.scheme == "https"
    services.emit(LoggedIn(origin=origin, method=principal.method, encrypted=encrypted))
    await services.user_tokens.catch_up(account.username)
    text, expires = services.user_tokens.issue(account, ip, bare=not proved)
    _log.info("user %r logged in from %s over HTTP", account.username, ip)
    return Json({"access_token": text, "expires_at": expires})


async def _log_in(services: Services, ip: str, username: str, password: str, code: str) -> Principal:
    """Log in by a password and, if one is asked for, a code.

    Raises:
        LoginRefused: they do not.
    """
    peer = Peer("", Protocol.HTTP, ip)
    login = services.identity
    outcome = await login.authenticate(peer, username, Credential("password", secret=password))
    if isinstance(outcome, PartialLogin):
        if not code or "keyboard-interactive" not in outcome.remaining:
            raise LoginRefused("code_needed", username=outcome.username)
        answer = Credential("keyboard-interactive", secret=code, answers=(code,))
        outcome = await login.authenticate(peer, username, answer, after=outcome)
    if isinstance(outcome, PartialLogin):
        raise LoginRefused("code_needed", username=outcome.username)
    return outcome


async def _is_proved(services: Services, account: Account, principal: Principal, code: str) -> bool:
    """True if a login has proved the second factor of the account, or there is none to prove.

    Raises:
        LoginRefused: a code was given that was not asked for, and it is wrong.
    """
    if not totp_of(account.filters).enabled:
        return True
    if asks_code(account, "HTTP") and principal.method.endswith("+keyboard-interactive"):
        return True
    if not code:
        return False
    await services.factors().require(account, code)
    return True


@router.get("/user/logout", responses={200: {"model": schemas.ApiResponse}})
async def logout_user(request: Request, services: With, who: User) -> Response:
    """Void the token of this request."""
    del who
    await services.user_tokens.revoke(request.state.claims)
    return message("Token revoked")
