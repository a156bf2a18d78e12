# SPDX-License-Identifier: Apache-2.0
"""``/quotas``: counting what is there, and setting what is used."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from tidegate.errors import NotFound
from tidegate.vfs.usage.progress import Kind, Scan
from tidegate.web.api import schemas, usage
from tidegate.web.api.access import Ip, QuotaScans, With, actor, own_users
from tidegate.web.api.bodies import Json, message, read_model
from tidegate.web.api.paging import Name, folded
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

router = APIRouter(prefix=BASE, tags=["quotas"])

Mode = Annotated[
    Literal["add", "reset"], Query(description="`add` adds the numbers to what is used, `reset` replaces it.")
]


@router.get("/quotas/users/scans", responses={200: {"model": list[schemas.UserScan]}})
async def list_user_scans(services: With, who: QuotaScans) -> Response:
    """Scans of users that run now, and how far they are."""
    own = await own_users(services, who)
    running = services.sessions.scans.progress.running("user")
    return Json([_shown(scan) for scan in running if own is None or scan.name in own])


@router.get("/quotas/folders/scans", responses={200: {"model": list[schemas.FolderScan]}})
async def list_folder_scans(services: With, who: QuotaScans) -> Response:
    """Scans of folders that run now, and how far they are."""
    del who
    return Json([_shown(scan) for scan in services.sessions.scans.progress.running("folder")])


@router.get("/quotas/users/{username}/scan", responses={200: {"model": schemas.UserScanOutcome}})
async def show_user_scan(services: With, who: QuotaScans, username: Name) -> Response:
    """The scan of a user that runs, else the last one; 404 if this server remembers none."""
    del who
    return Json(_outcome(services, "user", folded(services, username, "user")))


@router.get("/quotas/folders/{name}/scan", responses={200: {"model": schemas.FolderScanOutcome}})
async def show_folder_scan(services: With, who: QuotaScans, name: Name) -> Response:
    """The scan of a folder that runs, else the last one; 404 if this server remembers none."""
    del who
    return Json(_outcome(services, "folder", folded(services, name, "folder")))


@router.post(
    "/quotas/users/{username}/scan", status_code=202, responses={202: {"model": schemas.ApiResponse}}
)
async def scan_user(services: With, who: QuotaScans, username: Name) -> Response:
    """Start counting a user's files; 409 while that runs, 403 if usage is not tracked."""
    del who
    await services.sessions.scans.start_user(folded(services, username, "user"))
    return message("Scan started", 202)


@router.post("/quotas/folders/{name}/scan", status_code=202, responses={202: {"model": schemas.ApiResponse}})
async def scan_folder(services: With, who: QuotaScans, name: Name) -> Response:
    """Start counting a folder's files; 409 while that runs, 403 if usage is not tracked."""
    del who
    await services.sessions.scans.start_folder(folded(services, name, "folder"))
    return message("Scan started", 202)


@router.delete("/quotas/users/{username}/scan", responses={200: {"model": schemas.ApiResponse}})
async def cancel_user_scan(services: With, who: QuotaScans, username: Name) -> Response:
    """End the scan of a user that runs; what was recorded stays. 404 if none runs, 409 if it has to run."""
    return await _cancelled(services, "user", folded(services, username, "user"), who.name)


@router.delete("/quotas/folders/{name}/scan", responses={200: {"model": schemas.ApiResponse}})
async def cancel_folder_scan(services: With, who: QuotaScans, name: Name) -> Response:
    """End the scan of a folder that runs; what was recorded stays. 404 if none runs."""
    return await _cancelled(services, "folder", folded(services, name, "folder"), who.name)


@router.put(
    "/quotas/users/{username}/usage",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("QuotaUsage"),
)
async def set_user_usage(  # noqa: PLR0917  a query parameter is a parameter
    request: Request, services: With, who: QuotaScans, ip: Ip, username: Name, mode: Mode = "reset"
) -> Response:
    """Set or add to what a user's quota counts as used; 409 while a scan runs."""
    given = await read_model(request, schemas.QuotaUsage)
    await usage.set_user_usage(
        services,
        folded(services, username, "user"),
        size=given.used_quota_size,
        files=given.used_quota_files,
        add=mode == "add",
        by=actor(who, ip),
    )
    return message("Quota updated")


@router.put(
    "/quotas/users/{username}/transfer-usage",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("TransferUsage"),
)
async def set_transfer_usage(  # noqa: PLR0917  a query parameter is a parameter
    request: Request, services: With, who: QuotaScans, ip: Ip, username: Name, mode: Mode = "reset"
) -> Response:
    """Set or add to what a user has used of their data transfer."""
    given = await read_model(request, schemas.TransferUsage)
    await usage.set_transfer_usage(
        services,
        folded(services, username, "user"),
        upload=given.used_upload_data_transfer,
        download=given.used_download_data_transfer,
        add=mode == "add",
        by=actor(who, ip),
    )
    return message("Quota updated")


@router.put(
    "/quotas/folders/{name}/usage",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("QuotaUsage"),
)
async def set_folder_usage(  # noqa: PLR0917  a query parameter is a parameter
    request: Request, services: With, who: QuotaScans, ip: Ip, name: Name, mode: Mode = "reset"
) -> Response:
    """Set or add to what a folder's quota counts as used; 409 while a scan runs."""
    given = await read_model(request, schemas.QuotaUsage)
    await usage.set_folder_usage(
        services,
        folded(services, name, "folder"),
        size=given.used_quota_size,
        files=given.used_quota_files,
        add=mode == "add",
        by=actor(who, ip),
    )
    return message("Quota updated")


async def _cancelled(services: Services, kind: Kind, name: str, by: str) -> Response:
    scan = await services.sessions.scans.cancel(kind, name, by=by)
    return message("Scan cancelled" if scan.state == "cancelled" else "Scan ended meanwhile")


def _shown(scan: Scan) -> dict[str, Any]:
    return {
        "username" if scan.kind == "user" else "name": scan.name,
        "start_time": scan.started_ms,
        "used_quota_size": scan.size,
        "used_quota_files": scan.files,
    }


def _outcome(services: Services, kind: Kind, name: str) -> dict[str, Any]:
    scan = services.sessions.scans.progress.find(kind, name)
    if scan is None:
        raise NotFound(f"no scan of {kind} {name} since the server started, or too many others after it")
    return {
        **_shown(scan),
        "state": scan.state,
        "tries": scan.tries,
        "end_time": scan.ended_ms,
        "exact": scan.exact,
        "error": scan.error,
    }
