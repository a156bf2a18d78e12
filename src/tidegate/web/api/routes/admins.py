# SPDX-License-Identifier: Apache-2.0
"""``/admins``: administrators; ``/admin``: what each may do about themselves."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.errors import BadRecord, LoginRefused
from tidegate.identity.admins import Throttled
from tidegate.store.documents import encode_admin
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, Owner, Profiled, TokenHolder, With, actor
from tidegate.web.api.bodies import Json, message, read_model, read_object
from tidegate.web.api.paging import (
    DEFAULT_PAGE,
    Confidential,
    Limit,
    Name,
    Offset,
    Sort,
)
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["admins"])


@router.get("/admins", responses={200: schemas.many("Admin")})
async def list_admins(
    services: With, who: Owner, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List administrators by name."""
    del who
    page = await services.provider.admins(offset=offset, limit=limit, order=order)
    return Json([encode_admin(admin, confidential=False) for admin in page])


@router.post(
    "/admins", status_code=201, responses={201: schemas.one("Admin")}, openapi_extra=schemas.body("Admin")
)
async def add_admin(request: Request, services: With, who: Owner, ip: Ip) -> Response:
    """Add an administrator; a password is needed."""
    document = await read_object(request)
    stored = await services.administration.admins.add(document, by=actor(who, ip))
    headers = {"Location": f"/api/v2/admins/{quote(stored.username, safe='')}", **etag(stored)}
    return Json(encode_admin(stored, confidential=False), 201, headers=headers)


@router.get("/admins/{username}", responses={200: schemas.one("Admin")})
async def get_admin(
    services: With, who: Owner, username: Name, confidential_data: Confidential = 0
) -> Response:
    """One administrator."""
    del who  # needs all permissions anyway
    admin = await services.administration.admins.get(username)
    return Json(encode_admin(admin, confidential=bool(confidential_data)), headers=etag(admin))


@router.put(
    "/admins/{username}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Admin"),
)
async def update_admin(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: Owner, ip: Ip, username: Name, version: Version
) -> Response:
    """Replace an administrator; an absent or empty password stays. All of their tokens become void.

    Nobody can take permissions from, disable or lock out themselves, and one enabled administrator with all
    permissions must remain.
    """
    document = await read_object(request)
    admin = await services.administration.admins.change(
        username, document, by=actor(who, ip), version=version
    )
    return message("Admin updated", ETag=etag(admin)["ETag"])


@router.delete("/admins/{username}", responses={200: {"model": schemas.ApiResponse}})
async def delete_admin(services: With, who: Owner, ip: Ip, username: Name, version: Version) -> Response:
    """Remove an administrator with the API keys bound to them; nobody can remove themselves."""
    await services.administration.admins.remove(username, by=actor(who, ip), version=version)
    return message("Admin deleted")


# --- oneself ----------------------------------------------------------------------------------------------


@router.put(
    "/admin/changepwd",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("PasswordChange"),
)
async def change_password(request: Request, services: With, who: TokenHolder, ip: Ip) -> Response:
    """Change one's own password. All of one's tokens become void."""
    assert who.admin is not None
    given = await read_model(request, schemas.PasswordChange)
    try:
        await services.admins.by_password(ip, who.name, given.current_password, code=None)
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise
        raise BadRecord("current_password", "is wrong") from None
    if given.new_password == given.current_password:
        raise BadRecord("new_password", "is the same as before")
    await services.administration.admins.change_own_password(given.new_password, by=actor(who, ip))
    return message("Password updated")


@router.get("/admin/profile", responses={200: {"model": schemas.Profile}})
async def get_profile(who: Profiled) -> Response:
    """The fields that one may change about oneself."""
    assert who.admin is not None
    return Json(
        {
            "email": who.admin.email,
            "description": who.admin.description,
            "allow_api_key_auth": who.admin.filters.allow_api_key_auth,
        }
    )


@router.put(
    "/admin/profile",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Profile"),
)
async def update_profile(request: Request, services: With, who: Profiled, ip: Ip) -> Response:
    """Change one's own mail address and description, and whether API keys may act for one."""
    given = await read_model(request, schemas.Profile)
    await services.administration.admins.change_profile(
        by=actor(who, ip),
        email=given.email,
        description=given.description,
        allow_api_key_auth=given.allow_api_key_auth,
    )
    return message("Profile updated")
