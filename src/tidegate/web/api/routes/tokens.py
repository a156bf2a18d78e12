# SPDX-License-Identifier: Apache-2.0
"""``/token`` and ``/logout``."""

from __future__ import annotations

import logging

from fastapi import APIRouter, HTTPException, Request, Response

from tidegate.errors import LoginRefused
from tidegate.identity.admins import Throttled
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, TokenHolder, With, basic_credentials, unauthorised
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["token"])
_log = logging.getLogger(__name__)


@router.get("/token", responses={200: {"model": schemas.Token}}, openapi_extra={"security": [{"basic": []}]})
async def get_token(request: Request, services: With, ip: Ip) -> Response:
    """Exchange an administrator's name and password (basic authentication) for a token."""
    given = basic_credentials(request)
    if given is None:
        raise unauthorised(basic=True)
    try:
        admin = await services.admins.by_password(ip, *given)
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise HTTPException(503, "try again later", {"Retry-After": "5"}) from None
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
