# SPDX-License-Identifier: Apache-2.0
"""``/locks``: write locks of clients (WebDAV), and ending one."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from tidegate.contracts.cluster import HeldLock
from tidegate.errors import NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import CloseConnections, ViewConnections, With, own_users
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["locks"])
_log = logging.getLogger(__name__)


@router.get("/locks", responses={200: {"model": list[schemas.LockStatus]}})
async def list_locks(
    services: With,
    who: ViewConnections,
    user: Annotated[str, Query(max_length=255, description="Locks of this account alone.")] = "",
) -> Response:
    """Write locks, by what they are on."""
    own = await own_users(services, who)
    locks = await services.sessions.locks.all(user or None)
    return Json([_document(lock) for lock in locks if own is None or lock.account in own])


@router.delete("/locks/{token}", responses={200: {"model": schemas.ApiResponse}})
async def remove_lock(
    services: With,
    who: CloseConnections,
    token: Annotated[str, Path(min_length=1, max_length=255)],
) -> Response:
    """End a lock; whoever holds it is refused from then on, and the log says by whom."""
    own = await own_users(services, who)
    if own is not None and not any(
        lock.token == token and lock.account in own for lock in await services.sessions.locks.all(None)
    ):
        raise NotFound("no such lock")
    if not await services.sessions.locks.release(token, None):
        raise NotFound("no such lock")
    _log.info("lock %s removed by administrator %r", token, who.name)
    return message("Lock removed")


def _document(lock: HeldLock) -> dict[str, Any]:
    return {
        "token": lock.token,
        "username": lock.account,
        "path": lock.path,
        "place": lock.place.encode("utf-8", "replace").decode(),
        "scope": "exclusive" if lock.exclusive else "shared",
        "depth": "infinity" if lock.deep else "0",
        "owner": lock.owner,
        "timeout": lock.seconds,
        "expires_in": lock.left,
    }
