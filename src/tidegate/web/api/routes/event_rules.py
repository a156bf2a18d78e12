# SPDX-License-Identifier: Apache-2.0
"""``/eventactions``, ``/eventrules`` in SFTPGo's shape, and ``/deliveries``, which are not over."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response

from tidegate.accounts.administrators import EVERYTHING
from tidegate.errors import InvalidArgument, NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, ManageEventRules, With, actor
from tidegate.web.api.bodies import Json, message, read_object
from tidegate.web.api.paging import DEFAULT_PAGE, Confidential, Limit, Name, Offset, Sort
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

MAX_IDS: Final = 1_000
"""Deliveries that one request may name."""

router = APIRouter(prefix=BASE, tags=["event rules"])


async def _changed(services: Services) -> None:
    if services.event_rules is not None:
        await services.event_rules.refresh()


# -- actions ------------------------------------------------------------------------------------------------


@router.get("/eventactions", responses={200: schemas.many("EventAction")})
async def list_event_actions(
    services: With,
    who: ManageEventRules,
    offset: Offset = 0,
    limit: Limit = DEFAULT_PAGE,
    order: Sort = "ASC",
) -> Response:
    """List event actions by name, each with the rules that use it."""
    from tidegate.rules.documents import encode_action

    del who
    page = await services.provider.event_actions(offset=offset, limit=limit, order=order)
    users = services.administration.event_actions.rules_using
    return Json(
        [encode_action(action, confidential=False, rules=await users(action.name)) for action in page]
    )


@router.post(
    "/eventactions",
    status_code=201,
    responses={201: schemas.one("EventAction")},
    openapi_extra=schemas.body("EventAction"),
)
async def add_event_action(request: Request, services: With, who: ManageEventRules, ip: Ip) -> Response:
    """Add an event action."""
    from tidegate.rules.documents import encode_action

    document = await read_object(request)
    stored = await services.administration.event_actions.add(document, by=actor(who, ip))
    headers = {"Location": f"/api/v2/eventactions/{quote(stored.name, safe='')}", **etag(stored)}
    return Json(encode_action(stored, confidential=False), 201, headers=headers)


@router.get("/eventactions/{name}", responses={200: schemas.one("EventAction")})
async def get_event_action(
    services: With, who: ManageEventRules, name: Name, confidential_data: Confidential = 0
) -> Response:
    """One event action, with the rules that use it."""
    from tidegate.rules.documents import encode_action

    action = await services.administration.event_actions.get(name)
    users = await services.administration.event_actions.rules_using(action.name)
    confidential = bool(confidential_data) and who.may(EVERYTHING)
    return Json(encode_action(action, confidential=confidential, rules=users), headers=etag(action))


@router.put(
    "/eventactions/{name}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("EventAction"),
)
async def update_event_action(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: ManageEventRules, ip: Ip, name: Name, version: Version
) -> Response:
    """Replace an event action. Secrets that are not given stay, unless they would go to another host."""
    document = await read_object(request)
    verbs = services.administration.event_actions
    action = await verbs.change(name, document, by=actor(who, ip), version=version)
    await _changed(services)
    return message("Event action updated", ETag=etag(action)["ETag"])


@router.delete("/eventactions/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_event_action(
    services: With, who: ManageEventRules, ip: Ip, name: Name, version: Version
) -> Response:
    """Remove an event action that no rule uses."""
    await services.administration.event_actions.remove(name, by=actor(who, ip), version=version)
    return message("Event action deleted")


# -- rules
# ----------------------------------------------------------------------------------------------------


@router.get("/eventrules", responses={200: schemas.many("EventRule")})
async def list_event_rules(
    services: With,
    who: ManageEventRules,
    offset: Offset = 0,
    limit: Limit = DEFAULT_PAGE,
    order: Sort = "ASC",
) -> Response:
    """List event rules by name, each with its actions."""
    from tidegate.rules.documents import encode_rule

    del who
    page = await services.provider.event_rules(offset=offset, limit=limit, order=order)
    actions = await _actions(services) if page else {}
    return Json([encode_rule(rule, actions) for rule in page])


async def _actions(services: Services) -> dict[str, Any]:
    from tidegate.accounts.event_rules import every_action

    return dict(await every_action(services.provider))


@router.post(
    "/eventrules",
    status_code=201,
    responses={201: schemas.one("EventRule")},
    openapi_extra=schemas.body("EventRule"),
)
async def add_event_rule(request: Request, services: With, who: ManageEventRules, ip: Ip) -> Response:
    """Add an event rule; it is in force when the answer comes."""
    from tidegate.rules.documents import encode_rule

    document = await read_object(request)
    stored = await services.administration.event_rules.add(document, by=actor(who, ip))
    await _changed(services)
    headers = {"Location": f"/api/v2/eventrules/{quote(stored.name, safe='')}", **etag(stored)}
    return Json(encode_rule(stored, await _actions(services)), 201, headers=headers)


@router.get("/eventrules/{name}", responses={200: schemas.one("EventRule")})
async def get_event_rule(services: With, who: ManageEventRules, name: Name) -> Response:
    """One event rule, with its actions."""
    from tidegate.rules.documents import encode_rule

    del who
    rule = await services.administration.event_rules.get(name)
    return Json(encode_rule(rule, await _actions(services)), headers=etag(rule))


@router.put(
    "/eventrules/{name}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("EventRule"),
)
async def update_event_rule(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: ManageEventRules, ip: Ip, name: Name, version: Version
) -> Response:
    """Replace an event rule; the new one is in force when the answer comes."""
    document = await read_object(request)
    verbs = services.administration.event_rules
    rule = await verbs.change(name, document, by=actor(who, ip), version=version)
    await _changed(services)
    return message("Event rules updated", ETag=etag(rule)["ETag"])


@router.delete("/eventrules/{name}", responses={200: {"model": schemas.ApiResponse}})
async def delete_event_rule(
    services: With, who: ManageEventRules, ip: Ip, name: Name, version: Version
) -> Response:
    """Remove an event rule; its actions stay."""
    await services.administration.event_rules.remove(name, by=actor(who, ip), version=version)
    await _changed(services)
    return message("Event rule deleted")


@router.post("/eventrules/run/{name}", status_code=202, responses={202: {"model": schemas.ApiResponse}})
async def run_event_rule(services: With, who: ManageEventRules, name: Name) -> Response:
    """Run a rule that is there to be run on demand; the answer does not wait for its actions."""
    del who
    if services.event_rules is None:
        raise InvalidArgument("this server runs no event rules")
    await services.event_rules.run_rule(name)
    return message("Event rule started", 202)


@router.get("/activerules", responses={200: {"description": "The rules."}})
async def list_active_rules(services: With, who: ManageEventRules) -> Response:
    """List the rules in force in this server, those that stand for actions of the configuration first."""
    del who
    return Json([] if services.event_rules is None else services.event_rules.shown())


# -- deliveries
# -----------------------------------------------------------------------------------------------


@router.get("/deliveries", responses={200: {"description": "A page."}})
async def list_deliveries(
    services: With,
    who: ManageEventRules,
    state: Annotated[
        Literal["", "waiting", "dead"], Query(description="`waiting` for the next try, `dead`: given up.")
    ] = "",
    offset: Offset = 0,
    limit: Limit = DEFAULT_PAGE,
) -> Response:
    """List deliveries of event rules that are not over, the oldest first."""
    from tidegate.store.deliveries import shown_delivery

    del who
    rows = await services.provider.deliveries.listing(state or None, offset=offset, limit=limit)
    return Json([shown_delivery(row) for row in rows])


async def _meant(request: Request, services: Services) -> list[str] | None:
    """The ids that a body names; None for every dead delivery."""
    document = await read_object(request)
    ids = document.get("ids")
    if ids is None and document.get("all") is True:
        return None
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids) or len(ids) > MAX_IDS:
        raise InvalidArgument(f'give {{"ids": [...]}} with at most {MAX_IDS} ids, or {{"all": true}}')
    for one in ids:
        if await services.provider.deliveries.find(one) is None:
            raise NotFound(f"no such delivery: {one[:100]}")
    return ids


@router.post("/deliveries/retry", responses={200: {"model": schemas.ApiResponse}})
async def retry_deliveries(request: Request, services: With, who: ManageEventRules) -> Response:
    """Send deliveries again now: those of `ids`, or with `all` every one that was given up."""
    del who
    count = await services.provider.deliveries.retry(await _meant(request, services))
    if services.event_rules is not None:
        services.event_rules.wake()
    return message(f"{count} deliveries are tried again")


@router.post("/deliveries/drop", responses={200: {"model": schemas.ApiResponse}})
async def drop_deliveries(request: Request, services: With, who: ManageEventRules) -> Response:
    """Forget deliveries: those of `ids`, or with `all` every one that was given up."""
    del who
    count = await services.provider.deliveries.drop(await _meant(request, services))
    return message(f"{count} deliveries are dropped")
