# SPDX-License-Identifier: Apache-2.0
"""``/explain``: would the server do this, and which rule decides?"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from tidegate.errors import InvalidArgument, NotFound
from tidegate.model import Protocol
from tidegate.policy import mistakes
from tidegate.policy.explain import Usage
from tidegate.policy.explain import explain as ask
from tidegate.web import schemas
from tidegate.web.access import ViewUsers, With
from tidegate.web.bodies import Json, read_model
from tidegate.web.credentials import now_ms
from tidegate.web.paging import folded
from tidegate.web.services import Services

router = APIRouter(tags=["explain"])

_ANSWER: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "Every rule in order, and the one that decided; as `tidegate explain --json`."}
}


@router.get("/explain", responses=_ANSWER)
async def explain(with_: With, who: ViewUsers, question: Annotated[schemas.Question, Query()]) -> Response:
    """Every rule that is asked about an act, in order, and which one decides."""
    del who
    return await _explained(with_, question)


@router.post("/explain", responses=_ANSWER, openapi_extra=schemas.body("Question"))
async def explain_document(request: Request, with_: With, who: ViewUsers) -> Response:
    """The same for a question as a document."""
    del who
    return await _explained(with_, await read_model(request, schemas.Question))


async def _explained(with_: Services, question: schemas.Question) -> Response:
    for field, wrong in (
        ("ip", mistakes.address(question.ip)),
        ("protocol", mistakes.door(question.protocol)),
        ("method", None if question.method is None else mistakes.method(question.method)),
    ):
        if wrong is not None:
            raise InvalidArgument(f"{field}: {wrong}")
    name = folded(with_, question.user, "user")
    await with_.sessions.books.settle(name)
    account = await with_.provider.user(name)
    if account is None:
        raise NotFound("no such user")
    answer = ask(
        account,
        ip=question.ip,
        protocol=Protocol(question.protocol.upper()),
        op=question.op,
        path=question.path,
        target=question.target,
        method=question.method,
        is_dir=question.is_dir,
        exists=question.exists,
        target_exists=question.target_exists,
        size=question.size,
        replaced=question.replaced,
        rename_onto=with_.loaded.settings.sftpd.strictest_rename_onto,
        usage=Usage(
            sessions=with_.registry.count(name),
            tracked=bool(with_.loaded.settings.data_provider.track_quota),
        ),
        now_ms=now_ms(),
    )
    return Json(answer.to_document())
