# SPDX-License-Identifier: Apache-2.0
"""``/token`` and ``/logout``."""

from __future__ import annotations

import logging
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response

from tidegate.errors import LoginRefused
from tidegate.events.kinds import LoginFailed
from tidegate.identity.admins import Throttled
from tidegate.model import Origin
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, TokenHolder, With, basic_credentials, unauthorised
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["token"])
OTP: Final = "x-sftpgo-otp"
"""Header with a one-time code."""
MAX_CODE_CHARS: Final = 64
_log = logging.getLogger(__name__)


def one_time_code(request: Request) -> str:
    """The one-time code of a request, empty if there is none."""
    return request.headers.get(OTP, "")[:MAX_CODE_CHARS]


@router.get("/token", responses={200: {"model": schemas.Token}}, openapi_extra={"security": [{"basic": []}]})
async def get_token(request: Request, services: With, ip: Ip) -> Response:
    """Exchange an administrator's name and password (basic authentication) for a token.

    Who has one-time codes sends one, or a recovery code, in the header ``X-SFTPGO-OTP``.
    """
    given = basic_credentials(request)
    if given is None:
        raise unauthorised(basic=True)
    try:
        admin = await services.admins.by_password(ip, *given, code=one_time_code(request))
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise HTTPException(503, "try again later", {"Retry-After": "5"}) from None
        origin = Origin(username=error.username, protocol="HTTP", ip=ip)
        services.emit(LoginFailed(origin=origin, login_type="password", reason=error.reason, rule=error.rule))
        _log.info("login of administrator %r from %s refused: %s", error.username, ip, error.reason)
        raise unauthorised(basic=True) from None
    # Logging in may have upgraded the hash, which is part of what the token stands for.
    current = await services.provider.admin(admin.username)
    if current is None:
        raise unauthorised(basic=True)
    await services.tokens.catch_up(current.username)
    text, expires = services.tokens.issue(current, ip)
    _log.info("administrator %r logged in from %s", admin.username, ip)
    return Json({"access_token": text, "expires_at": expires})


@router.get("/logout", responses={200: {"model": schemas.ApiResponse}})
async def logout(services: With, who: TokenHolder) -> Response:
    """Void the token of this request."""
    assert who.claims is not None
    await services.tokens.revoke(who.claims)
    return message("Token revoked")
