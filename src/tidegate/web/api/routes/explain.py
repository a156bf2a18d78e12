# SPDX-License-Identifier: Apache-2.0
"""``/explain``: would the server do this, and which rule decides?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from tidegate.accounts.actor import Actor
from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import Denied, InvalidArgument, NotFound
from tidegate.model import Intent, Peer, VPath
from tidegate.model.address import plain_address
from tidegate.packages import load_beside
from tidegate.policy import mistakes
from tidegate.policy.decision import Step
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, ViewDefender, ViewUsers, With, actor
from tidegate.web.api.bodies import Json, read_model
from tidegate.web.api.locks import lock_steps
from tidegate.web.api.paging import folded
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

if TYPE_CHECKING:
    from tidegate.hooks.rehearsing import HookAnswers

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
    return await _explained(services, question, actor(who, ip))


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
    wrong = mistakes.address(ip)
    if wrong is not None:
        raise InvalidArgument(f"ip: {wrong}")
    if services.defence is None:
        raise NotFound("this server has no defence")
    answer = await services.defence.explain(plain_address(ip), protocol)
    return Json(answer.to_document())


@router.post("/explain", responses=_ANSWER, openapi_extra=schemas.body("AskedQuestion"))
async def explain_document(request: Request, services: With, who: ViewUsers, ip: Ip) -> Response:
    """The same for a question as a document, which may have the hooks of the login asked.

    They get a password, and tell if it is right: that is for administrators who may do everything.
    """
    question = await read_model(request, schemas.AskedQuestion)
    if question.ask and not who.may(EVERYTHING):
        raise Denied(f"ask: {_WHO}", rule="permissions")
    secret = question.password if question.ask else None
    return await _explained(services, question, actor(who, ip), secret=secret)


async def _explained(
    services: Services, question: schemas.Question, by: Actor, *, secret: str | None = None
) -> Response:
    for field, wrong in (
        ("ip", mistakes.address(question.ip)),
        ("protocol", mistakes.door(question.protocol)),
        ("method", None if question.method is None else mistakes.method(question.method)),
    ):
        if wrong is not None:
            raise InvalidArgument(f"{field}: {wrong}")
    name = folded(services, question.user, "user")
    await services.sessions.tracker.settle(name)
    account = await services.provider.user(name)
    if account is not None:
        by.require_reach(account)
    hooks: HookAnswers | None = None
    if services.hooks is not None and services.loaded.settings.has_hooks:
        protocol, _ = mistakes.protocol_of(question.protocol)
        peer = Peer("", protocol, question.ip)
        method = question.method or "password"
        hooks = await services.hooks(services.loaded, name, account, peer=peer, method=method, secret=secret)
        account = hooks.account
    if account is None:
        raise NotFound(f"no such user{hooks.unknown if hooks is not None else ''}")
    by.require_reach(account)
    resolved = await services.administration.effective.resolved(account)
    account = resolved.account
    await load_beside("tidegate.policy.explain")
    from tidegate.policy.explain import Usage, parse_operation, parse_program
    from tidegate.policy.explain import explain as ask

    protocol, encrypted = mistakes.protocol_of(question.protocol)
    locks: list[tuple[Step, str]] = []
    if services.sessions.locks.active and parse_program(question.op) is None:
        intent = parse_operation(question.op, is_dir=bool(question.is_dir))
        if question.exists is not None and intent in (Intent.UPLOAD, Intent.OVERWRITE):
            intent = Intent.OVERWRITE if question.exists else Intent.UPLOAD
        target = None if question.target is None else VPath.parse(question.target)
        locks = await lock_steps(services.sessions, account, intent, VPath.parse(question.path), target)
    answer = ask(
        account,
        ip=question.ip,
        location=services.locate(question.ip),
        protocol=protocol,
        encrypted=encrypted,
        op=question.op,
        path=question.path,
        target=question.target,
        method=question.method,
        is_dir=question.is_dir,
        exists=question.exists,
        target_exists=question.target_exists,
        size=question.size,
        replaced=question.replaced,
        rename_onto=services.loaded.settings.sftpd.strictest_rename_onto,
        commands=services.loaded.settings.sftpd.enabled_ssh_commands,
        usage=Usage(
            sessions=services.registry.count(name),
            tracked=bool(services.loaded.settings.data_provider.track_quota),
        ),
        now_ms=time.time_ns() // 1_000_000,
        locks=locks,
    )
    more: dict[str, object] = {}
    if resolved.origins:
        more["inherited"] = {field: list(names) for field, names in resolved.origins.items()}
    if hooks is not None:
        more["hooks"] = hooks.documents
    return Json({**answer.to_document(), **more})
