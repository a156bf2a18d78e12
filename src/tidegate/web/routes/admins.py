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
from tidegate.web import schemas
from tidegate.web.access import Caller, Ip, Owner, Profiled, TokenHolder, With
from tidegate.web.bodies import Json, read_model, read_object, said
from tidegate.web.credentials import admin_bits, hash_new, is_given, stored_form
from tidegate.web.paging import (
    DEFAULT_PAGE,
    Confidential,
    Limit,
    Name,
    Offset,
    Sort,
    folded,
    same_name,
)
from tidegate.web.services import Services

router = APIRouter(tags=["admins"])
_log = logging.getLogger(__name__)


@router.get("/admins", responses={200: schemas.many("Admin")})
async def list_admins(
    with_: With, who: Owner, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List administrators by name."""
    del who
    page = await with_.provider.admins(offset=offset, limit=limit, order=order)
    return Json([encode_admin(admin, confidential=False) for admin in page])


@router.post(
    "/admins", status_code=201, responses={201: schemas.one("Admin")}, openapi_extra=schemas.body("Admin")
)
async def add_admin(request: Request, with_: With, who: Owner, ip: Ip) -> Response:
    """Add an administrator; a password is needed."""
    document = await read_object(request)
    admin = decode_admin(document, rules=with_.rules)
    if not is_given(document):
        raise BadRecord("password", "is missing")
    password = await stored_form(with_, admin.password, ip=ip, least_bits=admin_bits(with_))
    stored = await with_.provider.add_admin(
        replace(admin, id=0, password=password, created_at=0, updated_at=0, last_login=0)
    )
    _log.info("administrator %r added administrator %r", who.name, stored.username)
    location = f"/api/v2/admins/{quote(stored.username, safe='')}"
    return Json(encode_admin(stored, confidential=False), 201, headers={"Location": location})


@router.get("/admins/{username}", responses={200: schemas.one("Admin")})
async def get_admin(with_: With, who: Owner, username: Name, confidential_data: Confidential = 0) -> Response:
    """One administrator."""
    del who  # needs all permissions anyway
    admin = await _stored(with_, folded(with_, username, "administrator"))
    return Json(encode_admin(admin, confidential=bool(confidential_data)))


@router.put(
    "/admins/{username}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Admin"),
)
async def update_admin(request: Request, with_: With, who: Owner, ip: Ip, username: Name) -> Response:
    """Replace an administrator; an absent or empty password stays. All of their tokens become void.

    Nobody can take permissions from, disable or lock out themselves, and one enabled administrator with all
    permissions must remain.
    """
    stored = await _stored(with_, folded(with_, username, "administrator"))
    document = await read_object(request)
    same_name(with_, document, "username", stored.username)
    admin = decode_admin(document, base=stored, rules=with_.rules)
    if _is_self(who, stored):
        _check_own(who, stored, admin)
    await check_owner_remains(with_.provider, stored, admin)
    if is_given(document):
        password = await stored_form(with_, admin.password, ip=ip, least_bits=admin_bits(with_))
        admin = replace(admin, password=password)
    await with_.provider.update_admin(
        replace(admin, id=stored.id, created_at=stored.created_at, last_login=stored.last_login)
    )
    await with_.tokens.revoke_all(stored.username)
    _log.info("administrator %r changed administrator %r", who.name, stored.username)
    return said("Admin updated")


@router.delete("/admins/{username}", responses={200: {"model": schemas.ApiResponse}})
async def delete_admin(with_: With, who: Owner, username: Name) -> Response:
    """Remove an administrator with the API keys bound to them; nobody can remove themselves."""
    stored = await _stored(with_, folded(with_, username, "administrator"))
    if _is_self(who, stored):
        raise InvalidArgument("you cannot delete yourself")
    await check_owner_remains(with_.provider, stored, None)
    await with_.provider.delete_admin(stored.username)
    await with_.tokens.revoke_all(stored.username)
    _log.info("administrator %r removed administrator %r", who.name, stored.username)
    return said("Admin deleted")


# --- oneself ----------------------------------------------------------------------------------------------


@router.put(
    "/admin/changepwd",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("PasswordChange"),
)
async def change_password(request: Request, with_: With, who: TokenHolder, ip: Ip) -> Response:
    """Change one's own password. All of one's tokens become void."""
    assert who.admin is not None
    given = await read_model(request, schemas.PasswordChange)
    try:
        await with_.admins.by_password(ip, who.name, given.current_password)
    except Throttled:
        raise
    except LoginRefused as error:
        if error.reason in ("busy", "provider_unavailable"):
            raise
        raise BadRecord("current_password", "is wrong") from None
    if given.new_password == given.current_password:
        raise BadRecord("new_password", "is the same as before")
    hashed = await hash_new(
        with_, given.new_password, ip=ip, least_bits=admin_bits(with_), field="new_password"
    )
    current = await _stored(with_, who.name)
    filters = replace(current.filters, require_password_change=False)
    await with_.provider.update_admin(replace(current, password=hashed, filters=filters))
    await with_.tokens.revoke_all(who.name)
    return said("Password updated")


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
async def update_profile(request: Request, with_: With, who: Profiled) -> Response:
    """Change one's own mail address and description, and whether API keys may act for one."""
    given = await read_model(request, schemas.Profile)
    current = await _stored(with_, who.name)
    changed = replace(
        current,
        email=given.email,
        description=given.description,
        filters=replace(current.filters, allow_api_key_auth=given.allow_api_key_auth),
    )
    await with_.provider.update_admin(check_admin(changed, with_.rules))
    return said("Profile updated")


# --- rules ------------------------------------------------------------------------------------------------


async def _stored(with_: Services, name: str) -> Admin:
    admin = await with_.provider.admin(name)
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
