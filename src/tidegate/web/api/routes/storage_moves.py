# SPDX-License-Identifier: Apache-2.0
"""``/storage-moves``: putting the files of an account's home, or of a folder, on other storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter, Request, Response

from tidegate.errors import BadRecord, NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import EditUsers, Ip, ManageFolders, With, actor, own_users
from tidegate.web.api.bodies import Json, message, read_model
from tidegate.web.api.paging import Name, folded
from tidegate.web.api.routes import BASE

if TYPE_CHECKING:
    from tidegate.relocation.move import Move, Wish

router = APIRouter(prefix=BASE, tags=["storage"])

_STARTED: Final[dict[int | str, dict[str, Any]]] = {202: {"model": schemas.ApiResponse}}
_SHOWN: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.StorageMove}}
_BODY: Final = schemas.body("StorageMoveWish")


@router.get("/storage-moves", responses={200: {"model": list[schemas.StorageMove]}})
async def list_storage_moves(services: With, who: EditUsers) -> Response:
    """Moves that run, ran lately, or wait to be continued, taken back or cleaned up."""
    own = await own_users(services, who)
    return Json(
        [
            _shown(move)
            for move in await services.moves().all()
            if own is None or (move.note.kind == "user" and move.note.name in own)
        ]
    )


@router.get("/storage-moves/users/{username}", responses=_SHOWN)
async def show_user_move(services: With, who: EditUsers, username: Name) -> Response:
    """The move of a home that runs, else the last one; 404 if none is known."""
    del who
    return Json(_shown(await services.moves().find("user", folded(services, username, "user"))))


@router.get("/storage-moves/folders/{name}", responses=_SHOWN)
async def show_folder_move(services: With, who: ManageFolders, name: Name) -> Response:
    """The move of a folder that runs, else the last one; 404 if none is known."""
    name, own = folded(services, name, "folder"), await own_users(services, who)
    if own is not None and not own.issuperset(await services.administration.folders.users_of(name)):
        raise NotFound(f"no move of folder {name} is known here")  # accounts of others mount it
    return Json(_shown(await services.moves().find("folder", name)))


@router.post("/storage-moves/users/{username}", status_code=202, responses=_STARTED, openapi_extra=_BODY)
async def move_user(request: Request, services: With, who: EditUsers, ip: Ip, username: Name) -> Response:
    """Start moving the files of a home, or go on where a move to the same storage was broken off.

    The account works while its files are copied. Then it is held for the differences: its sessions end, and
    logins are refused. Every file is compared by its digest, and one change of the account names the new
    storage. The old content stays until it is removed.
    """
    name, wish = folded(services, username, "user"), await _wish(request)
    await services.moves().start("user", name, wish, by=actor(who, ip))
    return message("Move started", 202)


@router.post("/storage-moves/folders/{name}", status_code=202, responses=_STARTED, openapi_extra=_BODY)
async def move_folder(request: Request, services: With, who: ManageFolders, ip: Ip, name: Name) -> Response:
    """Start moving the files of a folder, as those of a home; every account that mounts it is held."""
    name, wish = folded(services, name, "folder"), await _wish(request)
    await services.moves().start("folder", name, wish, by=actor(who, ip))
    return message("Move started", 202)


@router.post("/storage-moves/users/{username}/undo", status_code=202, responses=_STARTED)
async def undo_user_move(services: With, who: EditUsers, ip: Ip, username: Name) -> Response:
    """Take a move back: remove its copies, or after the switch move what changed since to the old storage."""
    await services.moves().undo("user", folded(services, username, "user"), by=actor(who, ip))
    return message("Undo started", 202)


@router.post("/storage-moves/folders/{name}/undo", status_code=202, responses=_STARTED)
async def undo_folder_move(services: With, who: ManageFolders, ip: Ip, name: Name) -> Response:
    """Take a move of a folder back, as one of a home."""
    await services.moves().undo("folder", folded(services, name, "folder"), by=actor(who, ip))
    return message("Undo started", 202)


@router.post("/storage-moves/users/{username}/remove-old", status_code=202, responses=_STARTED)
async def remove_old_home(services: With, who: EditUsers, ip: Ip, username: Name) -> Response:
    """Remove the old content of a home that has moved; what was changed there since stays."""
    await services.moves().remove_old("user", folded(services, username, "user"), by=actor(who, ip))
    return message("Removal started", 202)


@router.post("/storage-moves/folders/{name}/remove-old", status_code=202, responses=_STARTED)
async def remove_old_folder(services: With, who: ManageFolders, ip: Ip, name: Name) -> Response:
    """Remove the old content of a folder that has moved; what was changed there since stays."""
    await services.moves().remove_old("folder", folded(services, name, "folder"), by=actor(who, ip))
    return message("Removal started", 202)


async def _wish(request: Request) -> Wish:
    from tidegate.relocation.move import Wish

    given = await read_model(request, schemas.StorageMoveWish)
    places = {"home_dir": given.home_dir, "mapped_path": given.mapped_path}
    document: dict[str, Any] = {name: value for name, value in places.items() if value}
    if given.filesystem is not None:
        document["filesystem"] = given.filesystem
    if not document:
        raise BadRecord("filesystem", "is missing: name the storage to move to")
    return Wish(
        document=document,
        dry_run=given.dry_run,
        leaves_out=given.leave_out,
        verifies_again=given.verify == "all",
    )


def _shown(move: Move) -> dict[str, Any]:
    note, progress = move.note, move.progress
    return {
        "kind": note.kind,
        "name": note.name,
        "state": move.state,
        "phase": progress.phase.value,
        "dry_run": move.dry_run,
        "source": move.source,
        "target": move.target,
        "files": progress.files,
        "size": progress.size,
        "total_files": progress.total_files,
        "total_size": progress.total_size,
        "copied_files": progress.copied_files,
        "copied_size": progress.copied_size,
        "left_out": progress.left_out,
        "count_left_out": progress.count_left_out,
        "unfinished_uploads": progress.partials,
        "start_time": note.started_ms,
        "end_time": note.ended_ms,
        "error": move.error,
    }
