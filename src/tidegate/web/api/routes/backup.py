# SPDX-License-Identifier: Apache-2.0
"""``/dumpdata`` and ``/loaddata``: backup and restore of the data provider."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from typing import Annotated, Any, BinaryIO, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from tidegate.accounts.actor import Actor
from tidegate.errors import InvalidArgument
from tidegate.store.contract import SCOPES, LoadReport
from tidegate.web.api.access import DeliberateOwner, Ip, Owner, With, actor, require_deliberate
from tidegate.web.api.bodies import Json, message, pieces
from tidegate.web.api.loading import alone, check_scan, dumping, load, streamed
from tidegate.web.api.paging import Flag
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

router = APIRouter(prefix=BASE, tags=["maintenance"])

MAX_REPORTED: Final = 1000
"""Records and remarks that the answer to a load names one by one."""

Mode = Annotated[
    int,
    Query(
        ge=0,
        le=2,
        description="0 adds and updates, 1 only adds, 2 as 0 and closes connections of users it updates.",
    ),
]
ScanQuota = Annotated[
    int,
    Query(
        alias="scan-quota",
        ge=0,
        le=2,
        description="Count files afterwards: 0 nobody's, 1 everybody's, 2 of loaded users with a quota.",
    ),
]
_LOADED: Final[dict[int | str, dict[str, Any]]] = {200: {"description": "What became of the records."}}
_log = logging.getLogger(__name__)


@router.get("/dumpdata", responses={200: {"description": "The dump, or that it was written."}})
async def dump_data(  # noqa: PLR0917  a query parameter is a parameter
    services: With,
    who: Owner,
    output_file: Annotated[
        str,
        Query(alias="output-file", description="File to write, relative to data_provider.backups_path."),
    ] = "",
    output_data: Annotated[
        int, Query(alias="output-data", ge=0, le=1, description="1 gives the dump as the answer.")
    ] = 0,
    indent: Flag = 0,
    scopes: Annotated[str, Query(description=f"Only these, comma separated: {','.join(SCOPES)}.")] = "",
) -> Response:
    """Write everything into a file on the server, or give it as the answer. It holds password hashes.

    A file needs a token or an API key: other credentials are sent by browsers for pages of other sites too.
    """
    wanted = [part for text in scopes.split(",") if (part := text.strip())] or list(SCOPES)
    for part in wanted:
        if part not in SCOPES:
            raise InvalidArgument(f"scopes: not among {','.join(SCOPES)}")
    if bool(output_data) == bool(output_file):
        raise InvalidArgument("output-file: give either a file name or output-data=1")
    chunks = await dumping(services, wanted, indent=bool(indent))
    if output_data:
        _log.info("administrator %r downloads a dump", who.name)
        return StreamingResponse(
            streamed(chunks),
            media_type="application/json",
            headers={"Content-Disposition": 'attachment; filename="tidegate-backup.json"'},
        )
    require_deliberate(who)
    parts = services.backups.parts(output_file, label="output-file")
    async with alone(services), contextlib.aclosing(chunks):
        size = await services.backups.write(parts, chunks)
    _log.info("administrator %r wrote a dump of %d bytes to %r", who.name, size, "/".join(parts))
    return message("Data saved")


@router.get("/loaddata", responses=_LOADED)
async def load_from_file(  # noqa: PLR0917  a query parameter is a parameter
    services: With,
    who: DeliberateOwner,
    ip: Ip,
    input_file: Annotated[
        str, Query(alias="input-file", description="File to read, in data_provider.backups_path.")
    ],
    mode: Mode = 0,
    scan_quota: ScanQuota = 0,
) -> Response:
    """Load a dump that lies on the server: all of it, or nothing if any record is wrong.

    Needs a token or an API key, as writing a dump into a file does.
    """
    check_scan(services, scan_quota)
    parts = services.backups.parts(input_file, label="input-file")
    with await services.backups.read(parts) as stream:
        return await _load(services, stream, actor(who, ip), mode, scan_quota)


@router.post(
    "/loaddata",
    responses=_LOADED,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    },
)
async def load_from_body(  # noqa: PLR0917  a query parameter is a parameter
    request: Request, services: With, who: Owner, ip: Ip, mode: Mode = 0, scan_quota: ScanQuota = 0
) -> Response:
    """Load a dump that is the body of the request: all of it, or nothing if any record is wrong."""
    check_scan(services, scan_quota)
    with await asyncio.to_thread(tempfile.TemporaryFile) as stream:
        async for piece in pieces(request):
            await asyncio.to_thread(stream.write, piece)
        return await _load(services, stream, actor(who, ip), mode, scan_quota)


async def _load(services: Services, stream: BinaryIO, by: Actor, mode: int, scan_quota: int) -> Response:
    return Json(_answer(await load(services, stream, by, mode=mode, scan_quota=scan_quota)))


def _answer(report: LoadReport) -> dict[str, Any]:
    counts = {action: sum(row[2] == action for row in report.rows) for action in ("added", "updated", "kept")}
    light = report.remarks.grouped if report.remarks is not None else len(report.notes)
    heavy = report.notes[light:]
    return {
        "message": "Data restored",
        "error": "",
        **counts,
        "records": [
            {"kind": kind, "name": name, "action": action}
            for kind, name, action in report.rows[:MAX_REPORTED]
        ],
        "not_listed": max(0, len(report.rows) - MAX_REPORTED),
        # The heaviest come last, and what restricts is never cut.
        "notes": [*report.notes[: min(light, max(0, MAX_REPORTED - len(heavy)))], *heavy],
    }
