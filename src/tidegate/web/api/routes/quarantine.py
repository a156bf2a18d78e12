# SPDX-License-Identifier: Apache-2.0
"""``/quarantine``: uploads that were refused and are kept apart."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response

from tidegate.errors import NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import Owner, With
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE

if TYPE_CHECKING:
    from tidegate.inspection.quarantine import Item
    from tidegate.web.api.services import QuarantineHost, Services

router = APIRouter(prefix=BASE, tags=["quarantine"])

Id = Annotated[str, Path(min_length=1, max_length=64, description="Of the file, as the list shows it.")]
_SHOWN: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.QuarantinedFile}}
_DONE: Final[dict[int | str, dict[str, Any]]] = {200: {"model": schemas.ApiResponse}}


@router.get("/quarantine", responses={200: {"model": list[schemas.QuarantinedFile]}})
async def list_quarantine(services: With, who: Owner) -> Response:
    """Files in quarantine, oldest first; none where `inspection.quarantine` names no directory."""
    del who
    host = services.quarantine
    return Json([] if host is None else [_document(item) for item in await host.all()])


@router.get("/quarantine/{id}", responses=_SHOWN)
async def show_quarantined(services: With, who: Owner, id: Id) -> Response:  # noqa: A002
    """One file in quarantine."""
    del who
    return Json(_document(await _host(services).get(id)))


@router.post("/quarantine/{id}/release", responses=_DONE)
async def release_quarantined(
    services: With,
    who: Owner,
    id: Id,  # noqa: A002
    path: Annotated[
        str, Query(max_length=4096, description="Where to, as the account names it; its own if empty.")
    ] = "",
) -> Response:
    """Publish a file as an upload of its account.

    Permissions, patterns and quotas hold; inspectors are not asked again.
    """
    where = await _host(services).release(id, to=path, by=who.name)
    return message(f"Released to {where}")


@router.delete("/quarantine/{id}", responses=_DONE)
async def drop_quarantined(services: With, who: Owner, id: Id) -> Response:  # noqa: A002
    """Remove a file for good."""
    await _host(services).drop(id, by=who.name)
    return message("File removed")


def _host(services: Services) -> QuarantineHost:
    if services.quarantine is None:
        raise NotFound("there is no quarantine: inspection.quarantine.directory is not set")
    return services.quarantine


def _document(item: Item) -> dict[str, Any]:
    return {**asdict(item), "at": round(item.at * 1000)}
