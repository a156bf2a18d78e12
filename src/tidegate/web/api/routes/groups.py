# SPDX-License-Identifier: Apache-2.0
"""``/groups``: settings that accounts inherit; and ``/roles``: sets of accounts."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.store.group_documents import encode_group, encode_role
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, ManageGroups, ManageRoles, With, actor, own_users, seen_users
from tidegate.web.api.bodies import Json, message, read_object
from tidegate.web.api.paging import DEFAULT_PAGE, Confidential, Flag, Limit, Name, Offset, Sort
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["groups"])
roles_router = APIRouter(prefix=BASE, tags=["roles"])


@router.get("/groups", responses={200: schemas.many("Group")})
async def list_groups(
    services: With, who: ManageGroups, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List groups by name, each with the accounts that have it; secrets are left out."""
    own = await own_users(services, who)
    page = await services.provider.groups(offset=offset, limit=limit, order=order)
    answer = []
    for group in page:
        users = seen_users(await services.provider.group_users(group.name), own)
        answer.append(encode_group(group, confidential=False, users=users))
    return Json(answer)


@router.post(
    "/groups", status_code=201, responses={201: schemas.one("Group")}, openapi_extra=schemas.body("Group")
)
async def add_group(
    request: Request, services: With, who: ManageGroups, ip: Ip, confidential_data: Confidential = 0
) -> Response:
    """Add a group.

    For administrators without `*`, its home, storage and folders are limited as those of accounts are.
    """
    document = await read_object(request)
    stored = await services.administration.groups.add(document, by=actor(who, ip))
    answer = encode_group(stored, confidential=bool(confidential_data) and who.may(EVERYTHING), users=[])
    headers = {"Location": f"/api/v2/groups/{quote(stored.name, safe='')}", **etag(stored)}
    return Json(answer, 201, headers=headers)


@router.get("/groups/{name}", responses={200: schemas.one("Group")})
async def get_group(
    services: With, who: ManageGroups, name: Name, confidential_data: Confidential = 0
) -> Response:
    """One group, with the accounts that have it."""
    group = await services.administration.groups.get(name)
    users = seen_users(await services.provider.group_users(group.name), await own_users(services, who))
    confidential = bool(confidential_data) and who.may(EVERYTHING)
    return Json(encode_group(group, confidential=confidential, users=users), headers=etag(group))


@router.put(
    "/groups/{name}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Group"),
)
async def update_group(  # noqa: PLR0917  a header is a parameter
    request: Request,
    services: With,
    who: ManageGroups,
    ip: Ip,
    name: Name,
    version: Version,
    disconnect: Flag = 0,
) -> Response:
    """Replace a group; secrets that it does not give stay.

    Logins see the change from now on. Sessions go on as they began; those of its accounts end with
    `disconnect` 1, and where an account has expired by the change.
    """
    document = await read_object(request)
    group = await services.administration.groups.change(
        name, document, by=actor(who, ip), version=version, disconnect=bool(disconnect)
    )
    return message("Group updated", ETag=etag(group)["ETag"])


@router.delete("/groups/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_group(services: With, who: ManageGroups, ip: Ip, name: Name, version: Version) -> Response:
    """Remove a group; 400 while an account has it."""
    await services.administration.groups.remove(name, by=actor(who, ip), version=version)
    return message("Group deleted")


@roles_router.get("/roles", responses={200: schemas.many("Role")})
async def list_roles(
    services: With, who: ManageRoles, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List roles by name, each with the accounts and administrators that have it."""
    del who
    provider = services.provider
    page = await provider.roles(offset=offset, limit=limit, order=order)
    return Json(
        [
            encode_role(
                role,
                users=await provider.role_users(role.name),
                admins=await provider.role_admins(role.name),
            )
            for role in page
        ]
    )


@roles_router.post(
    "/roles", status_code=201, responses={201: schemas.one("Role")}, openapi_extra=schemas.body("Role")
)
async def add_role(request: Request, services: With, who: ManageRoles, ip: Ip) -> Response:
    """Add a role."""
    stored = await services.administration.roles.add(await read_object(request), by=actor(who, ip))
    headers = {"Location": f"/api/v2/roles/{quote(stored.name, safe='')}", **etag(stored)}
    return Json(encode_role(stored, users=[], admins=[]), 201, headers=headers)


@roles_router.get("/roles/{name}", responses={200: schemas.one("Role")})
async def get_role(services: With, who: ManageRoles, name: Name) -> Response:
    """One role, with the accounts and administrators that have it."""
    del who
    role = await services.administration.roles.get(name)
    users = await services.provider.role_users(role.name)
    admins = await services.provider.role_admins(role.name)
    return Json(encode_role(role, users=users, admins=admins), headers=etag(role))


@roles_router.put(
    "/roles/{name}", responses={200: {"model": schemas.ApiResponse}}, openapi_extra=schemas.body("Role")
)
async def update_role(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: ManageRoles, ip: Ip, name: Name, version: Version
) -> Response:
    """Replace a role."""
    document = await read_object(request)
    role = await services.administration.roles.change(name, document, by=actor(who, ip), version=version)
    return message("Role updated", ETag=etag(role)["ETag"])


@roles_router.delete("/roles/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_role(services: With, who: ManageRoles, ip: Ip, name: Name, version: Version) -> Response:
    """Remove a role; 400 while an account or an administrator has it."""
    await services.administration.roles.remove(name, by=actor(who, ip), version=version)
    return message("Role deleted")
