# SPDX-License-Identifier: Apache-2.0
"""``/iplists`` and ``/defender``: lists of addresses, scores and bans, in SFTPGo's shape."""

from __future__ import annotations

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response

from tidegate.accounts.lists import canonical, encode_entry, every_entry
from tidegate.defence.defender import Host
from tidegate.errors import BadRecord, Denied, NotFound
from tidegate.model.listed import entry_name
from tidegate.store.contract import Order
from tidegate.web.api import schemas
from tidegate.web.api.access import Anybody, Ip, ManageIpLists, ViewDefender, With, actor
from tidegate.web.api.bodies import Json, message, read_csv_text, read_object
from tidegate.web.api.list_csv import MAX_BYTES, export_lists, import_lists
from tidegate.web.api.paging import DEFAULT_PAGE, Limit, Sort
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE
from tidegate.web.api.services import Services

Kind = Annotated[
    int,
    Path(ge=1, le=3, description="1 allow list, 2 defender list, 3 no rate limiter holds them."),
]
Network = Annotated[
    str, Path(min_length=1, max_length=64, description="Address or network; its slash is escaped as %2F.")
]
Host_ = Annotated[
    str, Path(min_length=1, max_length=128, description="Bytes of the address's text as hexadecimal digits.")
]

router = APIRouter(prefix=BASE, tags=["defender"])


async def _changed(services: Services) -> None:
    if services.defence is not None:
        await services.defence.refresh()


def _name(kind: int, network: str) -> str:
    try:
        return entry_name(kind, canonical(network))
    except BadRecord:
        raise NotFound(f"no such list entry: {network}") from None


@router.get(
    "/iplists/csv",
    response_class=Response,
    responses={
        200: {"description": "CSV (RFC 4180).", "content": {"text/csv": {"schema": {"type": "string"}}}}
    },
)
async def export_entries(services: With, who: ManageIpLists) -> Response:
    """All entries of all lists as CSV with the columns list, network, protocols, until, description."""
    del who
    text = await export_lists(services)
    name = {"Content-Disposition": 'attachment; filename="lists.csv"'}
    return Response(text, media_type="text/csv", headers=name)


@router.post(
    "/iplists/csv",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra={
        "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string"}}}}
    },
)
async def import_entries(request: Request, services: With, who: ManageIpLists, ip: Ip) -> Response:
    """Add the entries of a CSV as `GET` gives it, in one transaction; those that are there are replaced."""
    text = await read_csv_text(request, limit=MAX_BYTES)
    number = await import_lists(services, text, by=actor(who, ip))
    return message(f"{number} entries imported")


@router.get("/iplists/{kind}", responses={200: schemas.many("IPListEntry")})
async def list_entries(  # noqa: PLR0917  a query has so many parameters
    services: With,
    who: ManageIpLists,
    kind: Kind,
    filter: Annotated[str, Query(max_length=64, description="Only networks that begin so.")] = "",  # noqa: A002
    from_: Annotated[
        str, Query(alias="from", max_length=64, description="Only networks that come after this one.")
    ] = "",
    limit: Limit = DEFAULT_PAGE,
    order: Sort = "ASC",
) -> Response:
    """List the entries of a list by network."""
    del who
    found = [
        entry
        for entry in await every_entry(services.provider)
        if entry.type == kind and entry.ipornet.startswith(filter) and _after(entry.ipornet, from_, order)
    ]
    found.sort(key=lambda entry: entry.ipornet, reverse=order == "DESC")
    return Json([encode_entry(entry) for entry in found[:limit]])


def _after(network: str, start: str, order: Order) -> bool:
    return not start or (network < start if order == "DESC" else network > start)


@router.post(
    "/iplists/{kind}",
    status_code=201,
    responses={201: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("IPListEntry"),
)
async def add_entry(request: Request, services: With, who: ManageIpLists, ip: Ip, kind: Kind) -> Response:
    """Add an entry; it holds at once on this server, within half a minute on others."""
    document = {**await read_object(request), "type": kind}
    stored = await services.administration.lists.add(document, by=actor(who, ip))
    await _changed(services)
    place = f"/api/v2/iplists/{kind}/{quote(stored.ipornet, safe='')}"
    return message("Entry added", 201, Location=place)


@router.get("/iplists/{kind}/{network:path}", responses={200: schemas.one("IPListEntry")})
async def get_entry(services: With, who: ManageIpLists, kind: Kind, network: Network) -> Response:
    """One entry."""
    del who
    entry = await services.administration.lists.get(_name(kind, network))
    return Json(encode_entry(entry), headers=etag(entry))


@router.put(
    "/iplists/{kind}/{network:path}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("IPListEntry"),
)
async def update_entry(  # noqa: PLR0917  a header is a parameter
    request: Request,
    services: With,
    who: ManageIpLists,
    ip: Ip,
    kind: Kind,
    network: Network,
    version: Version,
) -> Response:
    """Replace an entry; its network stays."""
    document = {**await read_object(request), "type": kind}
    await services.administration.lists.change(
        _name(kind, network), document, by=actor(who, ip), version=version
    )
    await _changed(services)
    return message("Entry updated")


@router.delete("/iplists/{kind}/{network:path}", responses={200: {"model": schemas.ApiResponse}})
async def delete_entry(  # noqa: PLR0917  a header is a parameter
    services: With, who: ManageIpLists, ip: Ip, kind: Kind, network: Network, version: Version
) -> Response:
    """Remove an entry."""
    await services.administration.lists.remove(_name(kind, network), by=actor(who, ip), version=version)
    await _changed(services)
    return message("Entry deleted")


# -- scores and bans ----------------------------------------------------------------------------------------

NEVER: Final = "0001-01-01T00:00:00Z"
"""The end of a ban of an address that is not banned, in the answer about one address."""


def _id(source: str) -> str:
    return source.encode().hex()


def _address(host_id: str) -> str:
    """The address of an id.

    Raises:
        BadRecord: it is none.
    """
    try:
        text = bytes.fromhex(host_id).decode("ascii")
        return str(ip_network(text).network_address) if "/" in text else str(ip_address(text))
    except ValueError:
        raise BadRecord("id", "is not the text of an address in hexadecimal digits") from None


def _time(until: float) -> str:
    latest = datetime.max.replace(tzinfo=UTC).timestamp()
    return datetime.fromtimestamp(min(until, latest), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _listed(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = {"id": _id(host.source), "ip": host.source}
    if host.banned_until:
        found["ban_time"] = _time(host.banned_until)
    if host.score:
        found["score"] = host.score
    if host.penalty:
        found["penalty"] = host.penalty
    return found


@router.get("/defender/hosts", responses={200: {"description": "Addresses with a score or a ban."}})
async def list_hosts(services: With, who: ViewDefender) -> Response:
    """List addresses that have a score, are banned, or have a `penalty`; of IPv6 the networks of sources."""
    del who
    hosts = [] if services.defence is None else services.defence.hosts()
    return Json([_listed(host) for host in hosts])


@router.get("/defender/hosts/{host_id}", responses={200: {"description": "The address."}})
async def get_host(services: With, who: ViewDefender, host_id: Host_) -> Response:
    """One address with its score, or the end of its ban."""
    del who
    address = _address(host_id)
    host = None if services.defence is None else services.defence.host(address)
    if host is None:
        raise NotFound(f"nothing is known of {address}")
    until = _time(host.banned_until) if host.banned_until else NEVER
    found: dict[str, Any] = {"ip": host.source, **({"score": host.score} if host.score else {})}
    return Json({**found, "ban_time": until, **({"penalty": host.penalty} if host.penalty else {})})


@router.delete("/defender/hosts/{host_id}", responses={200: {"model": schemas.ApiResponse}})
async def forgive_host(services: With, who: Anybody, host_id: Host_) -> Response:
    """End the ban of an address, and forget its score."""
    if not who.may("manage_defender"):
        raise Denied("you may not manage the defender", rule="permissions")
    address = _address(host_id)
    if services.defence is None or not await services.defence.forgive(address):
        raise NotFound(f"nothing is known of {address}")
    return message("OK")
