# SPDX-License-Identifier: Apache-2.0
"""``/apikeys``: keys for programs."""

from __future__ import annotations

import logging
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from tidegate.accounts.names import can_be_stored, fold_name
from tidegate.errors import BadRecord, NotFound
from tidegate.identity.apikeys import new_api_key
from tidegate.model import ApiKey
from tidegate.store.documents import decode_api_key, encode_api_key
from tidegate.web.api import schemas
from tidegate.web.api.access import KeyManager, With
from tidegate.web.api.bodies import Json, message, read_object
from tidegate.web.api.credentials import now_ms
from tidegate.web.api.paging import DEFAULT_PAGE, Limit, Name, Offset, Sort
from tidegate.web.api.services import Services

router = APIRouter(tags=["apikeys"])
_log = logging.getLogger(__name__)


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
async def add_key(request: Request, services: With, who: KeyManager) -> Response:
    """Add a key. The answer is the only place where it is ever seen; its id is in X-Object-ID."""
    document = await read_object(request)
    made = new_api_key()
    key = decode_api_key({**document, "id": made.key_id, "key": made.stored}, rules=services.rules)
    key = await _bound(services, _with_future(key))
    stored = await services.provider.add_api_key(replace(key, created_at=0, updated_at=0, last_use_at=0))
    _log.info("administrator %r added API key %r", who.name, stored.id)
    return Json(
        {"message": "API key created. Keep it now, it is not shown again.", "error": "", "key": made.text},
        201,
        headers={"X-Object-ID": stored.id, "Location": f"/api/v2/apikeys/{stored.id}"},
    )


@router.get("/apikeys/{key_id}", responses={200: schemas.one("APIKey")})
async def get_key(services: With, who: KeyManager, key_id: Name) -> Response:
    """One key, without its secret."""
    del who
    return Json(encode_api_key(await _stored(services, key_id), confidential=False))


@router.put(
    "/apikeys/{key_id}",
    responses={200: {"model": schemas.ApiResponse}},
    openapi_extra=schemas.body("APIKey"),
)
async def update_key(request: Request, services: With, who: KeyManager, key_id: Name) -> Response:
    """Replace a key's name, description, scope, account and expiry; its secret stays."""
    stored = await _stored(services, key_id)
    document = await read_object(request)
    if document.get("id") not in (None, "", stored.id):
        raise BadRecord("id", "cannot be changed")
    key = decode_api_key({**document, "id": stored.id, "key": stored.key}, base=stored, rules=services.rules)
    if key.expires_at != stored.expires_at:
        key = _with_future(key)
    key = await _bound(services, key)
    await services.provider.update_api_key(
        replace(key, created_at=stored.created_at, last_use_at=stored.last_use_at)
    )
    _log.info("administrator %r changed API key %r", who.name, stored.id)
    return message("API key updated")


@router.delete("/apikeys/{key_id}", responses={200: {"model": schemas.ApiResponse}})
async def delete_key(services: With, who: KeyManager, key_id: Name) -> Response:
    """Remove a key; it is void at once."""
    stored = await _stored(services, key_id)
    await services.provider.delete_api_key(stored.id)
    _log.info("administrator %r removed API key %r", who.name, stored.id)
    return message("API key deleted")


async def _stored(services: Services, key_id: str) -> ApiKey:
    key = await services.provider.api_key(key_id) if can_be_stored(key_id) else None
    if key is None:
        raise NotFound("no such API key")
    return key


def _with_future(key: ApiKey) -> ApiKey:
    """The key, if it is good for anything.

    Raises:
        BadRecord: it expired before it began.
    """
    if key.expires_at and key.expires_at <= now_ms():
        raise BadRecord("expires_at", "is in the past (Unix milliseconds)")
    return key


async def _bound(services: Services, key: ApiKey) -> ApiKey:
    """The key with the name of its account as it is stored.

    Raises:
        BadRecord: there is no such administrator or user.
    """
    admin, user = fold_name(key.admin, services.rules), fold_name(key.user, services.rules)
    if admin and await services.provider.admin(admin) is None:
        raise BadRecord("admin", f"there is no administrator {admin!r}")
    if user and await services.provider.user(user) is None:
        raise BadRecord("user", f"there is no user {user!r}")
    return replace(key, admin=admin, user=user)
