# SPDX-License-Identifier: Apache-2.0
"""``/logs``: lines of the log, the newest first, and all of them as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from fastapi import APIRouter, Query, Response
from starlette.responses import StreamingResponse

from tidegate.errors import NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import ViewEvents, With, own_users
from tidegate.web.api.bodies import Json
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

if TYPE_CHECKING:
    from tidegate.logs.filters import LineFilter
    from tidegate.web.api.log_lines import LogSearches

router = APIRouter(prefix=BASE, tags=["logs"])

CSV_HEADERS: Final = {
    "Content-Disposition": 'attachment; filename="tidegate-log.csv"',
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


@router.get("/logs", responses={200: {"model": schemas.LogPage}})
async def list_log(
    services: With, who: ViewEvents, query: Annotated[schemas.LogPageQuery, Query()]
) -> Response:
    """Search the log. A search has a bound of time; the cursor goes on where it ended.

    Administrators with a role get lines of the accounts of that role.
    """
    log = await log_of(services)
    wanted = _filter(query, await own_users(services, who))
    found = await log.find(wanted, cursor=query.cursor, limit=query.limit)
    return Json(
        {
            "lines": [dict(line.fields) for line in found.lines],
            "cursor": found.cursor,
            "searched_to": found.searched_to,
            "notes": list(found.notes),
            "target": "" if who.role else log.reader.target,
            "file": log.reader.path is not None,
        }
    )


@router.get(
    "/logs/csv",
    response_class=Response,
    responses={
        200: {"description": "CSV (RFC 4180).", "content": {"text/csv": {"schema": {"type": "string"}}}}
    },
)
async def export_log(
    services: With, who: ViewEvents, query: Annotated[schemas.LogFilter, Query()]
) -> Response:
    """All lines that are wanted, the newest first; at most 100,000. A last row tells if there were more."""
    log = await log_of(services)
    pieces = await log.export(_filter(query, await own_users(services, who)))
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=CSV_HEADERS)


async def log_of(services: Services) -> LogSearches:
    """Searches in the log.

    Raises:
        NotFound: there is no log that could be read.
    """
    if services.log is None:
        raise NotFound("this server has no log that could be read")
    return await services.log()


def _filter(query: schemas.LogFilter, own: frozenset[str] | None) -> LineFilter:
    from tidegate.web.api.log_lines import Wish  # loaded by `log_of`

    return Wish(**query.model_dump(include=set(schemas.LogFilter.model_fields))).filter(own)
