# SPDX-License-Identifier: Apache-2.0
"""``/folders``: directories that accounts can mount."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.store.documents import encode_folder
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, ManageFolders, With, actor, own_users, seen_users
from tidegate.web.api.bodies import Json, message, read_object
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

router = APIRouter(prefix=BASE, tags=["folders"])


@router.get("/folders", responses={200: schemas.many("Folder")})
async def list_folders(
    services: With, who: ManageFolders, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List folders by name, each with the accounts that mount it."""
    own = await own_users(services, who)
    page = await services.provider.folders(offset=offset, limit=limit, order=order)
    answer = []
    for folder in page:
        users = seen_users(await services.provider.folder_users(folder.name), own)
        answer.append(encode_folder(folder, confidential=False, users=users))
    return Json(answer)


@router.post(
    "/folders", status_code=201, responses={201: schemas.one("Folder")}, openapi_extra=schemas.body("Folder")
)
async def add_folder(
    request: Request, services: With, who: ManageFolders, ip: Ip, confidential_data: Confidential = 0
) -> Response:
    """Add a folder. Its counters begin at zero.

    For administrators without `*`, `mapped_path` is limited as `home_dir` of accounts is.
    """
    document = await read_object(request)
    stored = await services.administration.folders.add(document, by=actor(who, ip))
    answer = encode_folder(stored, confidential=bool(confidential_data) and who.may(EVERYTHING), users=[])
    headers = {"Location": f"/api/v2/folders/{quote(stored.name, safe='')}", **etag(stored)}
    return Json(answer, 201, headers=headers)


@router.get("/folders/{name}", responses={200: schemas.one("Folder")})
async def get_folder(
    services: With, who: ManageFolders, name: Name, confidential_data: Confidential = 0
) -> Response:
    """One folder, with the accounts that mount it."""
    folder = await services.administration.folders.get(name)
    users = seen_users(await services.provider.folder_users(folder.name), await own_users(services, who))
    confidential = bool(confidential_data) and who.may(EVERYTHING)
    return Json(encode_folder(folder, confidential=confidential, users=users), headers=etag(folder))


@router.put(
    "/folders/{name}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Folder"),
)
async def update_folder(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: ManageFolders, ip: Ip, name: Name, version: Version
) -> Response:
    """Replace a folder; its counters stay. Sessions that mount it end when its place changes."""
    document = await read_object(request)
    folder = await services.administration.folders.change(name, document, by=actor(who, ip), version=version)
    return message("Folder updated", ETag=etag(folder)["ETag"])


@router.delete("/folders/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_folder(services: With, who: ManageFolders, ip: Ip, name: Name, version: Version) -> Response:
    """Remove a folder and its mounts, and close the connections of those who mounted it; its files stay."""
    await services.administration.folders.remove(name, by=actor(who, ip), version=version)
    return message("Folder deleted")
