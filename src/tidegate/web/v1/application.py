# SPDX-License-Identifier: Apache-2.0
"""The ASGI application below ``/api/v1``: finds the handler, and answers errors in the shape of 0.9."""

from __future__ import annotations

import logging
import math
import re
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tidegate.errors import AlreadyExists, BadRecord, BadRecords, LoginRefused, NotFound, TidegateError
from tidegate.identity.admins import Throttled
from tidegate.model.http_scope import crashed
from tidegate.web.api.access import Need, caller, client_ip, services_of
from tidegate.web.api.bodies import Json
from tidegate.web.api.status import code_of
from tidegate.web.v1 import handlers
from tidegate.web.v1.handlers import Asked, Handler

BASE: Final = "/api/v1"
REALM: Final = 'Basic realm="Tidegate", charset="UTF-8"'

_ROUTES: Final[tuple[tuple[str, dict[str, tuple[str, Handler]]], ...]] = (
    (r"/version", {"GET": ("", handlers.version)}),
    (r"/providerstatus", {"GET": ("view_status", handlers.provider_status)}),
    (r"/connection", {"GET": ("view_conns", handlers.connections)}),
    (r"/connection/([^/]+)", {"DELETE": ("close_conns", handlers.close_connection)}),
    (
        r"/quota_scan",
        {"GET": ("quota_scans", handlers.quota_scans), "POST": ("quota_scans", handlers.start_quota_scan)},
    ),
    (r"/user", {"GET": ("view_users", handlers.users), "POST": ("add_users", handlers.add_user)}),
    (
        r"/user/([^/]+)",
        {
            "GET": ("view_users", handlers.get_user),
            "PUT": ("edit_users", handlers.update_user),
            "DELETE": ("del_users", handlers.delete_user),
        },
    ),
    (r"/dumpdata", {"GET": ("*", handlers.dump_data)}),
    (r"/loaddata", {"GET": ("*", handlers.load_data)}),
)
"""Paths below the base; of each method the permission that it needs, and its handler."""

_log = logging.getLogger(__name__)


class OldApi:
    """The API of 0.9.

    Args:
        rest: the REST API of today, whose `state.services` all handlers use.
    """

    def __init__(self, rest: FastAPI) -> None:
        self._rest: Final = rest
        self._routes: Final = [(re.compile(path), methods) for path, methods in _ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self._rest
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except TidegateError as error:
            response = _failed(request, error)
        except HTTPException as error:
            response = _refused(error)
        except Exception:
            _log.exception("%s %s failed", request.method, request.url.path)
            response = told(500, error=crashed(scope))
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"].removeprefix(BASE)
        for pattern, methods in self._routes:
            if (match := pattern.fullmatch(path)) is None:
                continue
            who = await caller(request)
            if request.method not in methods:
                return told(405, message="Method not allowed")
            permission, handler = methods[request.method]
            await Need(permission)(request, who)
            return await handler(
                Asked(request, services_of(request), who, client_ip(request), match.groups())
            )
        await caller(request)
        return told(404, message="Not Found")


def told(status: int, *, message: str = "", error: str = "", **headers: str) -> Response:
    """An answer in the shape that 0.9 gave to everything but data."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Json({"error": error, "message": message, "status": status}, status, headers=named)


def _refused(error: HTTPException) -> Response:
    if error.status_code != 401:
        return told(error.status_code, error=str(error.detail))
    message = "send a user of httpd.auth_user_file by basic authentication, a token or an API key"
    return told(401, error="Unauthorized", message=message, WWW_Authenticate=REALM)


def _failed(request: Request, error: TidegateError) -> Response:
    match error:
        case Throttled():
            wait = str(max(1, math.ceil(error.retry_after)))
            return told(429, error="too many attempts, try again later", Retry_After=wait)
        case LoginRefused():
            return told(503, error="the server is busy, try again later", Retry_After="5")
        case AlreadyExists():
            # The status and the text of 0.9, which scripts look for.
            return told(500, error=f"UNIQUE constraint failed: users.username ({error.text})")
        case BadRecord() | BadRecords():
            return told(400, error=f"Validation error: {error.text}")
        case NotFound():
            return told(404, error=f"Not found: {error.text}")
    code = code_of(error)
    if code >= 500:
        _log.error("%s %s: %s", request.method, request.url.path, error)
    return told(code, error=error.text)
