# SPDX-License-Identifier: Apache-2.0
"""``/admins``: administrators; ``/admin``: what each may do about themselves."""

from __future__ import annotations

import logging
from dataclasses import replace
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.accounts.administrators import ENABLED, EVERYTHING, check_owner_remains
from tidegate.errors import BadRecord, InvalidArgument, LoginRefused, NotFound
from tidegate.identity.admins import Throttled
from tidegate.model import Admin
from tidegate.store.documents import decode_admin, encode_admin
from tidegate.store.validate import check_admin
from tidegate.web.api import schemas
from tidegate.web.api.access import Caller, Ip, Owner, Profiled, TokenHolder, With
from tidegate.web.api.bodies import Json, message, read_model, read_object
from tidegate.web.api.credentials import admin_bits, hash_new, is_given, stored_form
from tidegate.web.api.paging import (
    DEFAULT_PAGE,
    Confidential,
    Limit,
    Name,
    Offset,
    Sort,
    folded,
    same_name,
)
from tidegate.web.api.services import Services

router = APIRouter(tags=["admins"])
_log = logging.getLogger(__name__)


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
    admin = decode_admin(document, rules=services.rules)
    if not is_given(document):
        raise BadRecord("password", "is missing")
    password = await stored_form(services, admin.password, ip=ip, least_bits=admin_bits(services))
    stored = await services.provider.add_admin(
        replace(admin, id=0, password=password, created_at=0, updated_at=0, last_login=0)
    )
    _log.info("administrator %r added administrator %r", who.name, stored.username)
    location = f"/api/v2/admins/{quote(stored.username, safe='')}"
    return Json(encode_admin(stored, confidential=False), 201, headers={"Location": location})


@router.get("/admins/{username}", responses={200: schemas.one("Admin")})
async def get_admin(
    services: With, who: Owner, username: Name, confidential_data: Confidential = 0
) -> Response:
    """One administrator."""
    del who  # needs all permissions anyway
    admin = await _stored(services, folded(services, username, "administrator"))
    return Json(encode_admin(admin, confidential=bool(confidential_data)))


@router.put(
    "/admins/{username}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Admin"),
)
async def update_admin(request: Request, services: With, who: Owner, ip: Ip, username: Name) -> Response:
    """Replace an administrator; an absent or empty password stays. All of their tokens become void.

    Nobody can take permissions from, disable or lock out themselves, and one enabled administrator with all
    permissions must remain.
    """
    stored = await _stored(services, folded(services, username, "administrator"))
    document = await read_object(request)
    same_name(services, document, "username", stored.username)
    admin = decode_admin(document, base=stored, rules=services.rules)
    if _is_self(who, stored):
        _check_own(who, stored, admin)
    await check_owner_remains(services.provider, stored, admin)
    if is_given(document):
        password = await stored_form(services, admin.password, ip=ip, least_bits=admin_bits(services))
        admin = replace(admin, password=password)
    await services.provider.update_admin(
        replace(admin, id=stored.id, created_at=stored.created_at, last_login=stored.last_login)
    )
    await services.tokens.revoke_all(stored.username)
    _log.info("administrator %r changed administrator %r", who.name, stored.username)
    return message("Admin updated")


@router.delete("/admins/{username}", responses={200: {"model": schemas.ApiResponse}})
async def delete_admin(services: With, who: Owner, username: Name) -> Response:
    """Remove an administrator with the API keys bound to them; nobody can remove themselves."""
    stored = await _stored(services, folded(services, username, "administrator"))
    if _is_self(who, stored):
        raise InvalidArgument("you cannot delete yourself")
    await check_owner_remains(services.provider, stored, None)
    await services.provider.delete_admin(stored.username)
    await services.tokens.revoke_all(stored.username)
    _log.info("administrator %r removed administrator %r", who.name, stored.username)
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
        await services.admins.by_password(ip, who.name, given.current_password)
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise
        raise BadRecord("current_password", "is wrong") from None
    if given.new_password == given.current_password:
        raise BadRecord("new_password", "is the same as before")
    hashed = await hash_new(
        services, given.new_password, ip=ip, least_bits=admin_bits(services), field="new_password"
    )
    current = await _stored(services, who.name)
    filters = replace(current.filters, require_password_change=False)
    await services.provider.update_admin(replace(current, password=hashed, filters=filters))
    await services.tokens.revoke_all(who.name)
    return message("Password updated")


@router.get("/admin/profile", responses={200: {"model": schemas.Profile}})
async def get_profile(who: Profiled) -> Response:
    """What one may change about oneself."""
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
async def update_profile(request: Request, services: With, who: Profiled) -> Response:
    """Change one's own mail address and description, and whether API keys may act for one."""
    given = await read_model(request, schemas.Profile)
    current = await _stored(services, who.name)
    changed = replace(
        current,
        email=given.email,
        description=given.description,
        filters=replace(current.filters, allow_api_key_auth=given.allow_api_key_auth),
    )
    await services.provider.update_admin(check_admin(changed, services.rules))
    return message("Profile updated")


# --- rules ------------------------------------------------------------------------------------------------


async def _stored(services: Services, name: str) -> Admin:
    admin = await services.provider.admin(name)
    if admin is None:
        raise NotFound(f"no such administrator: {name}")
    return admin


def _is_self(who: Caller, admin: Admin) -> bool:
    return who.admin is not None and who.admin.username == admin.username


def _check_own(who: Caller, stored: Admin, wanted: Admin) -> None:
    """What nobody may do to themselves.

    Raises:
        InvalidArgument: they try.
    """
    if who.way == "api_key":
        raise InvalidArgument("an API key cannot change the administrator it acts for")
    if wanted.status != ENABLED:
        raise InvalidArgument("you cannot disable yourself")
    if not set(stored.permissions) <= set(wanted.permissions) and EVERYTHING not in wanted.permissions:
        raise InvalidArgument("you cannot take permissions from yourself")
