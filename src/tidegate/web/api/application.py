# SPDX-License-Identifier: Apache-2.0
"""The application: routes, errors, description."""

from __future__ import annotations

import logging
import math
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from tidegate import __version__
from tidegate.errors import Denied, LoginRefused, ProviderError, ProviderUnavailable, TidegateError
from tidegate.identity.admins import Throttled
from tidegate.model.http_scope import crashed
from tidegate.web.api import schemas
from tidegate.web.api.bodies import Json
from tidegate.web.api.routes import (
    BASE,
    admins,
    api_keys,
    backup,
    connections,
    event_rules,
    explain,
    folders,
    groups,
    ip_lists,
    locks,
    logs,
    passkeys,
    quarantine,
    quotas,
    second_factors,
    server,
    storage,
    storage_moves,
    tokens,
    user,
    users,
)
from tidegate.web.api.services import Services
from tidegate.web.api.status import MESSAGES, code_of
from tidegate.web.pages import api_docs as docs

SHOWN_PARAMETERS: Final = frozenset(
    (
        "offset", "limit", "order", "mode", "scan-quota", "disconnect", "confidential_data", "node", "indent",
        "scopes", "output-data", "output-file", "input-file", "user", "op", "path", "target", "ip",
        "protocol", "method", "size", "is_dir", "exists", "target_exists", "connection", "level", "kind",
        "sender", "since", "until",
        "output_file", "input_file", "scan_quota",
    )
)  # fmt: skip
"""Parameters of queries whose values are logged."""

_REFUSALS: Final = {
    400: "A parameter or the document is wrong; `error` says where.",
    401: "No or no good credential.",
    403: "Not allowed.",
    404: "No such record.",
    409: "It exists already, or something else is under way.",
    412: "The record is not of the version in If-Match any more; `error` names the fields that differ.",
    413: "The document is too long.",
    415: "The body is not said to be JSON.",
    429: "Too many attempts; see Retry-After.",
    503: "The data provider cannot be reached, or too much is under way.",
}

_log = logging.getLogger(__name__)


def build(services: Services) -> FastAPI:
    """The ASGI application. `app.state.services` may be replaced while it runs."""
    app = FastAPI(
        title="Tidegate",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    # As they are: FastAPI would make each route again from what it includes, at the first request.
    for module in (
        tokens,
        users,
        folders,
        groups,
        admins,
        api_keys,
        event_rules,
        ip_lists,
        connections,
        locks,
        logs,
        quarantine,
        quotas,
        backup,
        explain,
        server,
        storage,
        storage_moves,
        user,
        passkeys,
        second_factors,
    ):
        app.router.routes.extend(module.router.routes)
    app.router.routes.extend(groups.roles_router.routes)
    app.router.routes.extend(server.health_router.routes)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_bad_parameter)
    app.exception_handler(TidegateError)(_our_error)
    app.exception_handler(Exception)(_fault)
    _describe(app)
    return app


def serves(path: str, *, rest: bool, description: bool) -> bool:
    """True if a path is served.

    Args:
        path: of the request.
        rest: the REST API is on.
        description: its description is on.
    """
    if path in ("/", "/docs", "/openapi.json"):
        return description
    return rest or not path.startswith("/api/")


# --- errors -----------------------------------------------------------------------------------------------


def refused(code: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """An error answer."""
    return Json({"message": MESSAGES.get(code, "Error"), "error": error}, code, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    return refused(error.status_code, str(error.detail), headers)


async def _bad_parameter(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"][1:])
    return refused(400, f"{name}: {first['msg']}" if name else str(first["msg"]))


async def _our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TidegateError)
    code = code_of(error)
    match error:
        case Throttled():
            wait = {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
            return refused(429, "too many attempts, try again later", wait)
        case LoginRefused(reason="busy" | "shutdown" | "provider_unavailable"):
            return refused(503, "the server is busy, try again later", {"Retry-After": "5"})
        case ProviderUnavailable():
            _log.error("%s %s: %s", request.method, request.url.path, error)
            return refused(503, ProviderUnavailable.default_text, {"Retry-After": "5"})
        case ProviderError() if not _provider_writable(request):
            return refused(403, error.text)
        case Denied() if error.rule:
            _log.info("%s %s refused: %s", request.method, request.url.path, error.rule)
    if code >= 500:
        _log.error("%s %s: %s", request.method, request.url.path, error)
    return refused(code, error.text)


def _provider_writable(request: Request) -> bool:
    services: Services = request.app.state.services
    return bool(services.loaded.settings.data_provider.manage_users)


async def _fault(request: Request, error: Exception) -> Response:
    del error  # goes on to `front`, which logs it
    return refused(500, crashed(request.scope))


# --- description ------------------------------------------------------------------------------------------


def _describe(app: FastAPI) -> None:
    made: dict[str, Any] = {}
    page: list[str] = []

    def openapi() -> dict[str, Any]:
        if not made:
            made.update(_openapi(app))
        return made

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI asks for it

    async def document(request: Request) -> Response:
        del request
        return Json(openapi())

    async def shown(request: Request) -> Response:
        del request
        if not page:
            page.append(docs.render(openapi()))
        return HTMLResponse(page[0], headers={"Content-Security-Policy": docs.POLICY})

    async def root(request: Request) -> Response:
        del request
        return RedirectResponse("docs", headers={"Cache-Control": "no-store"})

    app.add_route("/", root, methods=["GET"])
    app.add_route("/openapi.json", document, methods=["GET"])
    app.add_route("/docs", shown, methods=["GET"])


def _openapi(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title="Tidegate REST API",
        version=__version__,
        description="Manages accounts, folders, administrators, keys, connections, quotas and backups. "
        f"Paths and documents are those of the field's other gateway; the base is {BASE}.",
        routes=app.routes,
    )
    components = made.setdefault("components", {})
    kept = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        kept.pop(name, None)
    kept.update(schemas.record_schemas())
    kept.update(schemas.shape_schemas())
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-SFTPGO-API-KEY"},
        "basic": {"type": "http", "scheme": "basic"},
    }
    made["security"] = [{"bearer": []}, {"apiKey": []}]
    made["servers"] = [{"url": "http://127.0.0.1:8080", "description": "As it is after installation."}]
    made["info"]["license"] = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}
    # Generated clients name their functions so.
    names = {route.unique_id: route.name for route in app.routes if isinstance(route, APIRoute)}
    # Said once here and not on every route: FastAPI would build a model of each for each at start.
    components["responses"] = {
        f"Refused{code}": schemas.one("ApiResponse", text) for code, text in _REFUSALS.items()
    }
    refusals = {str(code): {"$ref": f"#/components/responses/Refused{code}"} for code in _REFUSALS}
    for path, item in made["paths"].items():
        for operation in item.values():
            operation["operationId"] = names[operation["operationId"]]
            operation["responses"].pop("422", None)  # mistakes in parameters are answered with 400
            if path.startswith(BASE):
                operation["responses"] = dict(sorted({**refusals, **operation["responses"]}.items()))
    return made
