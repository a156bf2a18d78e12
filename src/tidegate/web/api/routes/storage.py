# SPDX-License-Identifier: Apache-2.0
"""``.../storage-check``: is the storage of a record there, and may it be used?"""

from __future__ import annotations

from fastapi import APIRouter, Response

from tidegate.errors import TidegateError
from tidegate.model import StorageSpec
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.web.api import schemas
from tidegate.web.api.access import EditUsers, ManageFolders, With
from tidegate.web.api.bodies import Json
from tidegate.web.api.paging import Name
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

router = APIRouter(prefix=BASE, tags=["storage"])


@router.post("/users/{username}/storage-check", responses={200: {"model": schemas.StorageCheck}})
async def check_user_storage(services: With, who: EditUsers, username: Name) -> Response:
    """Ask the storage of an account's home, and of the folders it mounts, for what the account needs.

    An object of some bytes is written to buckets, read and removed. Directories of the server are not
    looked at.
    """
    del who
    account = await services.administration.effective.of(await services.administration.users.get(username))
    roots = {"/": storage_of(account)}
    for mount in account.virtual_folders:
        roots[mount.virtual_path] = storage_of(account, mount)
    return Json({"results": [await _tried(services, path, spec) for path, spec in roots.items()]})


@router.post("/folders/{name}/storage-check", responses={200: {"model": schemas.StorageCheck}})
async def check_folder_storage(services: With, who: ManageFolders, name: Name) -> Response:
    """Ask the storage of a folder for what its users need; see the same of accounts."""
    del who
    folder = await services.administration.folders.get(name)
    return Json({"results": [await _tried(services, "/", storage_of_folder(folder))]})


async def _tried(services: Services, path: str, spec: StorageSpec) -> dict[str, object]:
    if spec.config.is_local:
        return {"path": path, "ok": True, "message": "a directory of the server, not looked at"}
    if services.rules.storages is None:
        return {"path": path, "ok": False, "message": "no storage but local disk is available here"}
    try:
        await services.rules.storages.try_out(spec)
    except TidegateError as error:
        return {"path": path, "ok": False, "message": str(error)}
    return {"path": path, "ok": True, "message": "it may be listed, read and written"}
