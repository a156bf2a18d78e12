# SPDX-License-Identifier: Apache-2.0
"""Every operation of ``/api/v1``: parameters, shapes and codes of 0.9 over the services of today."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import Response

from tidegate import __version__, built
from tidegate.cluster.registry import LiveConnection
from tidegate.errors import BadRecord, Conflict, Denied, InvalidArgument, NotFound
from tidegate.model import Account
from tidegate.store.contract import Order
from tidegate.store.user_query import UserQuery
from tidegate.web.api.access import Caller, actor, own_users
from tidegate.web.api.bodies import Json, read_json, require_json
from tidegate.web.api.loading import alone, check_scan, dumping, load
from tidegate.web.api.paging import DEFAULT_PAGE, MAX_OFFSET, MAX_PAGE, folded
from tidegate.web.api.services import Services
from tidegate.web.v1.documents import changed_user, new_user, shown_user

_log = logging.getLogger(__name__)

MAX_ID: Final = 2**63 - 1
MAX_NAME_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes:
        request: as it came.
        services: of this server, as of this moment.
        who: the caller, who has the permission that the path needs.
        ip: their address.
        parts: of the path that vary.
    """

    request: Request
    services: Services
    who: Caller
    ip: str
    parts: tuple[str, ...]

    def query(self, name: str) -> str:
        """A parameter of the query, empty if it is absent."""
        return self.request.query_params.get(name, "")

    def require_program(self) -> None:
        """Return if no page of another site can have sent this.

        Raises:
            Denied: a browser asks, which adds a password that it remembers to whatever a page asks for.
        """
        if self.who.way == "file" and self.request.headers.get("user-agent", "").startswith("Mozilla/"):
            raise Denied(
                "not for browsers, which send a remembered password for pages of other sites too; a program "
                "that calls itself Mozilla sends another User-Agent, a token or an API key"
            )


Handler = Callable[[Asked], Awaitable[Response]]


def _done(message: str, status: int = 200, error: str = "") -> Response:
    return Json({"error": error, "message": message, "status": status}, status)


def _number(text: str, default: int, *, most: int, label: str) -> int:
    """A whole number of a query.

    Raises:
        InvalidArgument: it is none, or below zero; as 0.9 said it.
    """
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise InvalidArgument(f"Invalid {label}")
    return min(int(text), most)


# --- the server ---------------------------------------------------------------------------------------------


async def version(asked: Asked) -> Response:
    """The running version."""
    del asked
    return Json({"version": __version__, "build_date": built.DATE, "commit_hash": built.COMMIT})


async def provider_status(asked: Asked) -> Response:
    """The state of the data provider."""
    problem = await asked.services.health.problem()
    return _done("", 500, problem) if problem else _done("Alive")


async def connections(asked: Asked) -> Response:
    """Live connections, oldest first."""
    own = await own_users(asked.services, asked.who)
    live = asked.services.registry.all()
    return Json([_connection(one) for one in live if own is None or one.username in own])


def _connection(one: LiveConnection) -> dict[str, Any]:
    last = int(one.last_activity * 1000)
    transfers = [
        {
            "operation_type": transfer.operation_type,
            "start_time": int(transfer.started * 1000),
            "size": transfer.size,
            "last_activity": last,
            "path": transfer.virtual_path,
        }
        for transfer in sorted(one.transfers, key=lambda item: item.started)
    ]
    return {
        "username": one.username,
        "connection_id": one.peer.connection_id,
        "client_version": one.peer.client_version,
        "remote_address": one.peer.remote_address,
        "connection_time": int(one.connected_at * 1000),
        "last_activity": last,
        "protocol": one.peer.protocol.value,
        "active_transfers": transfers,
        "ssh_command": one.command,
    }


async def close_connection(asked: Asked) -> Response:
    """Close a connection."""
    services, (wanted,) = asked.services, asked.parts
    own = await own_users(services, asked.who)
    if own is not None and not any(
        one.peer.connection_id == wanted and one.username in own for one in services.registry.all()
    ):
        return _done("Not Found", 404)
    if not services.registry.close(wanted, by=asked.who.name):
        return _done("Not Found", 404)
    return _done("Connection closed")


# --- users --------------------------------------------------------------------------------------------------


async def users(asked: Asked) -> Response:
    """A page of users by name, or the one of a name."""
    services, who = asked.services, asked.who
    limit = _number(asked.query("limit"), DEFAULT_PAGE, most=MAX_PAGE, label="limit")
    offset = _number(asked.query("offset"), 0, most=MAX_OFFSET, label="offset")
    order = asked.query("order") or "ASC"
    if order not in ("ASC", "DESC"):
        raise InvalidArgument("Invalid order")
    if name := asked.query("username"):
        try:
            account = await _named(asked, name[: MAX_NAME_CHARS + 1])
        except NotFound:
            return Json([])
        return Json([shown_user(account)] if limit and not offset else [])
    page = await services.provider.users(
        offset=offset, limit=limit, order=cast("Order", order), role=who.role
    )
    return Json([shown_user(account) for account in page])


async def get_user(asked: Asked) -> Response:
    """One user with live counters."""
    account = await _numbered(asked)
    return Json(shown_user(await _named(asked, account.username)))


async def add_user(asked: Asked) -> Response:
    """Add a user."""
    document = new_user(await _document(asked), asked.services.rules.storages)
    stored = await asked.services.administration.users.add(document, by=actor(asked.who, asked.ip))
    return Json(shown_user(stored))


async def update_user(asked: Asked) -> Response:
    """Change a user; what the document leaves out stays."""
    document, account = await _document(asked), await _numbered(asked)
    if document.get("id", account.id) != account.id:
        return _done("user ID in request body does not match user ID in path parameter", 400)

    def edit(stored: Account) -> dict[str, Any]:
        return changed_user(document, stored, asked.services.rules.storages)

    await asked.services.administration.users.change(account.username, edit, by=actor(asked.who, asked.ip))
    return _done("User updated")


async def delete_user(asked: Asked) -> Response:
    """Remove a user and close their connections; their files stay."""
    account = await _numbered(asked)
    await asked.services.administration.users.remove(account.username, by=actor(asked.who, asked.ip))
    return _done("User deleted")


async def _document(asked: Asked) -> dict[str, Any]:
    """The body, which 0.9 took for JSON whatever it was said to be.

    Raises:
        Denied: a browser sent it as something that a form of a foreign page may send.
    """

    def require(request: Request) -> None:
        if asked.who.way != "file" or not request.headers.get("user-agent", "").startswith("Mozilla/"):
            return
        require_json(request)

    document = await read_json(asked.request, require=require)
    if not isinstance(document, dict):
        raise BadRecord("", "the body should be a JSON object")
    return document


async def _numbered(asked: Asked) -> Account:
    """The account of the path's id, if the caller may see it.

    Raises:
        InvalidArgument: it is no number.
        NotFound: there is none.
    """
    text = asked.parts[0]
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 19 and int(text) <= MAX_ID):
        raise InvalidArgument("Invalid userID")
    if not int(text):
        raise NotFound("no user has this id")
    query = UserQuery(number=int(text), role=asked.who.role, limit=1)
    found = await asked.services.provider.find_users(query)
    if not found:
        raise NotFound("no user has this id")
    return found[0]


async def _named(asked: Asked, name: str) -> Account:
    """The account of a name with its live counters, if the caller may see it.

    Raises:
        NotFound: there is none.
    """
    services = asked.services
    name = folded(services, name, "user")
    await services.sessions.tracker.settle(name)
    return await services.administration.users.get_for(name, actor(asked.who, asked.ip))


# --- counting, backups --------------------------------------------------------------------------------------


async def quota_scans(asked: Asked) -> Response:
    """Scans of users that run now."""
    own = await own_users(asked.services, asked.who)
    running = asked.services.sessions.scans.progress.running("user")
    return Json(
        [
            {"username": scan.name, "start_time": scan.started_ms}
            for scan in running
            if own is None or scan.name in own
        ]
    )


async def start_quota_scan(asked: Asked) -> Response:
    """Start counting the files of the user whom the body names."""
    name = (await _document(asked)).get("username")
    if not isinstance(name, str):
        raise BadRecord("username", "should be a text")
    account = await _named(asked, name)
    try:
        await asked.services.sessions.scans.start_user(account.username)
    except Conflict:
        return _done("Another scan is already in progress", 409)
    return _done("Scan started", 201)


async def dump_data(asked: Asked) -> Response:
    """Write everything into a file below `data_provider.backups_path`."""
    asked.require_program()
    name = asked.query("output_file")
    if not name:
        raise InvalidArgument("Invalid or missing output_file")
    if PurePosixPath(name).is_absolute():
        raise InvalidArgument(f'Invalid output_file "{name[:MAX_NAME_CHARS]}": it must be a relative path')
    parts = asked.services.backups.parts(name, label="output_file")
    chunks = await dumping(asked.services, indent=asked.query("indent") == "1")
    async with alone(asked.services), contextlib.aclosing(chunks):
        size = await asked.services.backups.write(parts, chunks)
    _log.info("administrator %r wrote a dump of %d bytes to %r", asked.who.name, size, name)
    return _done("Data saved")


async def load_data(asked: Asked) -> Response:
    """Load a dump that lies below `data_provider.backups_path`: all of it, or nothing."""
    asked.require_program()
    services, name = asked.services, asked.query("input_file")
    if not PurePosixPath(name).is_absolute():
        raise InvalidArgument(f'Invalid input_file "{name[:MAX_NAME_CHARS]}": it must be an absolute path')
    scan = _number(asked.query("scan_quota"), 0, most=9, label="scan_quota")
    mode = _number(asked.query("mode"), 0, most=9, label="mode")
    if scan > 2:
        raise InvalidArgument("Invalid scan_quota")
    if mode > 1:
        raise InvalidArgument("Invalid mode")
    check_scan(services, scan)
    parts = services.backups.parts(name, label="input_file")
    try:
        stream = await services.backups.read(parts)
    except NotFound as error:
        raise InvalidArgument(error.text) from None
    with stream:
        await load(services, stream, actor(asked.who, asked.ip), mode=mode, scan_quota=scan)
    return _done("Data restored")
