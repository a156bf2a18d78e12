# SPDX-License-Identifier: Apache-2.0
"""``/apikeys``: keys for programs."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from tidegate.store.documents import encode_api_key
from tidegate.web.api import schemas
from tidegate.web.api.access import Ip, KeyManager, With, actor
from tidegate.web.api.bodies import Json, message, read_object
from tidegate.web.api.paging import DEFAULT_PAGE, Limit, Name, Offset, Sort
from tidegate.web.api.preconditions import Version, etag
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["apikeys"])


@router.get("/apikeys", responses={200: schemas.many("APIKey")})
async def list_keys(
    services: With, who: KeyManager, offset: Offset = 0, limit: Limit = DEFAULT_PAGE, order: Sort = "ASC"
) -> Response:
    """List keys by id; never their secrets."""
    del who
    page = await services.provider.api_keys(offset=offset, limit=limit, order=order)
    return Json([encode_api_key(key, confidential=False) for key in page])


@router.post(
    "/apikeys",
    status_code=201,
    responses={201: {"model": schemas.NewKey}},
    openapi_extra=schemas.body("APIKey"),
)
async def add_key(request: Request, services: With, who: KeyManager, ip: Ip) -> Response:
    """Add a key. The answer is the only place where it is ever seen; its id is in X-Object-ID."""
    document = await read_object(request)
    stored, text = await services.administration.api_keys.add(document, by=actor(who, ip))
    return Json(
        {"message": "API key created. Keep it now, it is not shown again.", "error": "", "key": text},
        201,
        headers={
            "X-Object-ID": stored.id,
            "Location": f"/api/v2/apikeys/{stored.id}",
            **etag(stored),
        },
    )


@router.get("/apikeys/{key_id}", responses={200: schemas.one("APIKey")})
async def get_key(services: With, who: KeyManager, key_id: Name) -> Response:
    """One key, without its secret."""
    del who
    key = await services.administration.api_keys.get(key_id)
    return Json(encode_api_key(key, confidential=False), headers=etag(key))


@router.put(
    "/apikeys/{key_id}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("APIKey"),
)
async def update_key(  # noqa: PLR0917  a header is a parameter
    request: Request, services: With, who: KeyManager, ip: Ip, key_id: Name, version: Version
) -> Response:
    """Replace a key's name, description, scope, account and expiry; its secret stays."""
    document = await read_object(request)
    key = await services.administration.api_keys.change(key_id, document, by=actor(who, ip), version=version)
    return message("API key updated", ETag=etag(key)["ETag"])


@router.delete("/apikeys/{key_id}", responses={200: {"model": schemas.ApiResponse}})
async def delete_key(services: With, who: KeyManager, ip: Ip, key_id: Name, version: Version) -> Response:
    """Remove a key; it is void at once."""
    await services.administration.api_keys.remove(key_id, by=actor(who, ip), version=version)
    return message("API key deleted")
