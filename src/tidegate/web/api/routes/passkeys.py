# SPDX-License-Identifier: Apache-2.0
"""Passkeys of administrators: listed, renamed and removed. Adding one needs a browser: the pages do it."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from tidegate.errors import Denied
from tidegate.model import Admin
from tidegate.web.api import schemas
from tidegate.web.api.access import Caller, Enrolling, Ip, Owner, With, actor
from tidegate.web.api.bodies import Json, message, read_model
from tidegate.web.api.paging import Name
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["second factors"])

_DONE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.ApiResponse}}
_MANY: Final[dict[int | str, dict[str, Any]]] = {200: {"model": list[schemas.Passkey]}}


@router.get("/admin/passkeys", responses=_MANY)
async def own_passkeys(who: Enrolling) -> Response:
    """List one's own passkeys."""
    assert who.admin is not None
    return _list(who.admin)


@router.put("/admin/passkeys/{passkey}", responses=_DONE, openapi_extra=schemas.body("PasskeyName"))
async def rename_own_passkey(
    request: Request, services: With, who: Enrolling, ip: Ip, passkey: str
) -> Response:
    """Give one of one's own passkeys another name."""
    assert who.admin is not None
    given = await read_model(request, schemas.PasskeyName)
    verbs = services.administration.admins.passkeys
    await verbs.rename(who.admin.username, passkey, given.name, by=actor(who, ip))
    return message("Passkey renamed")


@router.delete("/admin/passkeys/{passkey}", responses=_DONE)
async def remove_own_passkey(services: With, who: Enrolling, ip: Ip, passkey: str) -> Response:
    """Remove one of one's own passkeys.

    With the last one go recovery codes, unless there are one-time codes.
    """
    assert who.admin is not None
    verbs = services.administration.admins.passkeys
    await verbs.remove(who.admin.username, passkey, by=actor(who, ip))
    return message("Passkey removed")


@router.get("/admins/{username}/passkeys", responses=_MANY)
async def passkeys_of_admin(services: With, who: Owner, username: Name) -> Response:
    """List the passkeys of an administrator."""
    del who
    admin = await services.administration.admins.get(username)
    return _list(admin)


@router.delete("/admins/{username}/passkeys/{passkey}", responses=_DONE)
async def remove_passkey(services: With, who: Owner, ip: Ip, username: Name, passkey: str) -> Response:
    """Remove a passkey of an administrator, who has lost it; needs a token."""
    _require_token(who)
    await services.administration.admins.passkeys.remove(username, passkey, by=actor(who, ip))
    return message("Passkey removed")


def _require_token(who: Caller) -> None:
    if who.way != "token":
        raise Denied("this needs a token: GET /api/v2/token")


def _list(admin: Admin) -> Response:
    from tidegate.policy.passkeys import passkeys_of, shown

    return Json(shown(passkeys_of(admin.filters)))
