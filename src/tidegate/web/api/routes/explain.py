# SPDX-License-Identifier: Apache-2.0
"""``/explain``: would the server do this, and which rule decides?"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import Denied
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, ViewDefender, ViewUsers, With, actor
from tidegate.web.api.bodies import Json, read_model
from tidegate.web.api.explaining import explain_connect as connect_answer
from tidegate.web.api.explaining import explained
from tidegate.web.api.routes import BASE

_WHO: Final = "only administrators with the permission * may have hooks asked"

router = APIRouter(prefix=BASE, tags=["explain"])

_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Every rule in order, and the one that decided; as `tidegate explain --json`."}
}


@router.get("/explain", responses=_ANSWER)
async def explain(
    services: With, who: ViewUsers, ip: Ip, question: Annotated[schemas.Question, Query()]
) -> Response:
    """Every rule that is asked about an act, in order, and which one decides.

    Storage is not asked (`tidegate explain --try` does): to view users does not mean to see their files.
    """
    return Json(await explained(services, question, actor(who, ip)))


@router.get(
    "/explain/connect",
    responses={200: {"description": "Every rule in order, and the one that decided."}},
)
async def explain_connect(
    services: With,
    who: ViewDefender,
    ip: Annotated[str, Query(max_length=64, description="Address of the client.")],
    protocol: Annotated[
        Literal["SSH", "FTP", "DAV", "HTTP"], Query(description="The door that it comes to.")
    ] = "SSH",
) -> Response:
    """Every rule about who may connect, as it would decide about an address now. Nothing is counted."""
    del who
    return Json(await connect_answer(services, ip, protocol))


@router.post("/explain", responses=_ANSWER, openapi_extra=schemas.body("AskedQuestion"))
async def explain_document(request: Request, services: With, who: ViewUsers, ip: Ip) -> Response:
    """The same for a question as a document, which may have the hooks of the login asked.

    They get a password, and tell if it is right: that is for administrators who may do everything.
    """
    question = await read_model(request, schemas.AskedQuestion)
    if question.ask and not who.may(EVERYTHING):
        raise Denied(f"ask: {_WHO}", rule="permissions")
    secret = question.password if question.ask else None
    return Json(await explained(services, question, actor(who, ip), secret=secret))
