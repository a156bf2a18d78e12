# SPDX-License-Identifier: Apache-2.0
"""``/folders``: directories that accounts can mount."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import NotFound
from tidegate.model import Folder
from tidegate.store.documents import decode_folder, encode_folder
from tidegate.web.api import schemas
from tidegate.web.api.access import ManageFolders, With, giver
from tidegate.web.api.bodies import Json, message, read_object
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

router = APIRouter(tags=["folders"])


@router.get("/folders", responses={200: schemas.many("Folder")})
async def list_folders(
    services: With, who: ManageFolders, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List folders by name, each with the accounts that mount it."""
    del who
    page = await services.provider.folders(offset=offset, limit=limit, order=order)
    return Json(
        [
            encode_folder(folder, confidential=False, users=await services.provider.folder_users(folder.name))
            for folder in page
        ]
    )


@router.post(
    "/folders", status_code=201, responses={201: schemas.one("Folder")}, openapi_extra=schemas.body("Folder")
)
async def add_folder(
    request: Request, services: With, who: ManageFolders, confidential_data: Confidential = 0
) -> Response:
    """Add a folder. Its counters begin at zero.

    For administrators without `*`, `mapped_path` is limited as `home_dir` of accounts is.
    """
    folder = decode_folder(await read_object(request), rules=services.rules)
    await giver(services, who).check_folder(folder, None)
    stored = await services.provider.add_folder(
        replace(folder, used_quota_size=0, used_quota_files=0, last_quota_update=0)
    )
    answer = encode_folder(stored, confidential=bool(confidential_data) and who.may(EVERYTHING), users=[])
    return Json(answer, 201, headers={"Location": f"/api/v2/folders/{quote(stored.name, safe='')}"})


@router.get("/folders/{name}", responses={200: schemas.one("Folder")})
async def get_folder(
    services: With, who: ManageFolders, name: Name, confidential_data: Confidential = 0
) -> Response:
    """One folder, with the accounts that mount it."""
    folder = await _stored(services, folded(services, name, "folder"))
    users = await services.provider.folder_users(folder.name)
    confidential = bool(confidential_data) and who.may(EVERYTHING)
    return Json(encode_folder(folder, confidential=confidential, users=users))


@router.put(
    "/folders/{name}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("Folder"),
)
async def update_folder(request: Request, services: With, who: ManageFolders, name: Name) -> Response:
    """Replace a folder; its counters stay. Sessions that mount it end when its place changes."""
    stored = await _stored(services, folded(services, name, "folder"))
    document = await read_object(request)
    same_name(services, document, "name", stored.name)
    folder = decode_folder(document, base=stored, rules=services.rules)
    await giver(services, who).check_folder(folder, stored)
    await services.provider.update_folder(folder)
    if (folder.mapped_path, folder.filesystem) != (stored.mapped_path, stored.filesystem):
        for username in await services.provider.folder_users(stored.name):
            services.close_user(username, by=who.name)
    return message("Folder updated")


@router.delete("/folders/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_folder(services: With, who: ManageFolders, name: Name) -> Response:
    """Remove a folder and its mounts, and close the connections of those who mounted it; its files stay."""
    stored = await _stored(services, folded(services, name, "folder"))
    users = await services.provider.folder_users(stored.name)
    await services.provider.delete_folder(stored.name)
    for username in users:
        services.close_user(username, by=who.name)
    return message("Folder deleted")


async def _stored(services: Services, name: str) -> Folder:
    folder = await services.provider.folder(name)
    if folder is None:
        raise NotFound(f"no such folder: {name}")
    return folder
