# SPDX-License-Identifier: Apache-2.0
"""``/connections``: who is connected now, and ending that."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from tidegate.cluster.registry import LiveConnection, LiveTransfer, LiveWork
from tidegate.errors import NotFound
from tidegate.web.api import schemas
from tidegate.web.api.access import CloseConnections, ViewConnections, With, own_users
from tidegate.web.api.bodies import Json, message
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["connections"])
_log = logging.getLogger(__name__)


@router.get("/connections", responses={200: {"model": list[schemas.ConnectionStatus]}})
async def list_connections(services: With, who: ViewConnections) -> Response:
    """Live connections, oldest first, with what each is moving; then moves to other storage that run."""
    own = await own_users(services, who)
    live = services.registry.all()
    return Json([_document(one) for one in live if own is None or one.username in own])


@router.delete("/connections/{connection_id}", responses={200: {"model": schemas.ApiResponse}})
async def close_connection(
    services: With,
    who: CloseConnections,
    connection_id: Annotated[str, Path(min_length=1, max_length=255)],
    node: Annotated[
        str, Query(max_length=255, description="Kept for clients of clusters; only empty is known.")
    ] = "",
) -> Response:
    """Close a connection; what it is moving is cut off, and the log says by whom.

    A move to other storage stops: the old storage counts until it is run again.
    """
    own = await own_users(services, who)
    if own is not None and not any(
        one.peer.connection_id == connection_id and one.username in own for one in services.registry.all()
    ):
        raise NotFound("no such connection")
    if node or not services.registry.close(connection_id, by=who.name):
        raise NotFound("no such connection")
    _log.info("connection %s closed by administrator %r", connection_id, who.name)
    return message("Connection closed")


def _document(connection: LiveConnection) -> dict[str, Any]:
    return {
        "username": connection.username,
        "connection_id": connection.peer.connection_id,
        "client_version": connection.peer.client_version,
        "remote_address": connection.peer.remote_address,
        "connection_time": int(connection.connected_at * 1000),
        "command": connection.command,
        "last_activity": int(connection.last_activity * 1000),
        "protocol": connection.peer.protocol.value,
        "active_transfers": [
            _transfer(transfer) for transfer in sorted(connection.transfers, key=lambda item: item.started)
        ],
        "node": "",
    }


def _transfer(transfer: LiveTransfer) -> dict[str, Any]:
    document = {
        "operation_type": transfer.operation_type,
        "path": transfer.virtual_path,
        "start_time": int(transfer.started * 1000),
        "size": transfer.size,
    }
    if isinstance(transfer, LiveWork):
        counts = {
            "total_size": transfer.total_size,
            "files": transfer.files,
            "total_files": transfer.total_files,
        }
        document |= {name: count for name, count in counts.items() if count}
    return document
