# SPDX-License-Identifier: Apache-2.0
"""``/version``, ``/status`` and, outside the API's base, ``/healthz``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from tidegate import __version__, built
from tidegate.model.door import DoorStatus
from tidegate.web.api import schemas
from tidegate.web.api.access import Anybody, ViewStatus, With
from tidegate.web.api.bodies import Json
from tidegate.web.api.routes import BASE

router = APIRouter(prefix=BASE, tags=["maintenance"])
health_router = APIRouter(tags=["health"])

ALWAYS: Final = (
    "+metrics", "+bolt", "+mysql", "+pgsql", "+sqlite", "+memory", "+portable", "+sftp", "+scp", "+ftp",
    "+webdav", "+rsync", "+git",
)  # fmt: skip
"""Abilities of every installation, as the field's other gateway spells them."""
EXTRAS: Final = {
    "azblob": "azure.storage.blob",
    "gcs": "google.auth",
    "geoip": "maxminddb",
    "s3": "aiobotocore",
}
"""Abilities that need a library, and a module of it."""


def features() -> list[str]:
    """The abilities of this installation: ``+`` and a name, ``-`` where its library is not installed."""
    return [*ALWAYS, *(f"{'+' if _installed(module) else '-'}{name}" for name, module in EXTRAS.items())]


@cache
def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@health_router.get(
    "/healthz",
    responses={
        200: {"description": "Everything works.", "content": {"text/plain": {"schema": {"type": "string"}}}},
        503: {
            "description": "What does not work.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    },
    openapi_extra={"security": []},
)
async def healthz(services: With) -> Response:
    """Health of the server; for load balancers, needs no login."""
    problem = await services.health.problem()
    return PlainTextResponse("data provider unavailable" if problem else "ok", 503 if problem else 200)


@health_router.get(
    "/readyz",
    responses={
        200: {"model": schemas.Health, "description": "Everything that is needed works."},
        503: {"model": schemas.Health, "description": "Something does not."},
    },
    openapi_extra={"security": []},
)
async def readyz(services: With) -> Response:
    """Health check by check; for orchestrators, needs no login. `/status` has the details."""
    works, report = await services.ready(details=False)
    return Response(report, 200 if works else 503, media_type="application/json")


@health_router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={
        200: {"description": "The metrics, for Prometheus; OpenMetrics for whoever accepts that."},
        404: {"description": "`httpd.bindings[].enable_metrics` is off."},
    },
)
async def metrics(request: Request, services: With, who: ViewStatus) -> Response:
    """Metrics of the server; only where `httpd.bindings[].enable_metrics` is on."""
    del who
    body, content_type = await services.metrics(request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


@router.get("/version", responses={200: {"model": schemas.Version}})
async def version(who: Anybody) -> Response:
    """The running version."""
    del who
    stamp = {"build_date": built.DATE, "commit_hash": built.COMMIT}
    return Json({"version": __version__, **stamp, "features": features()})


@router.get("/status", responses={200: {"description": "Services and their state."}})
async def status(services: With, who: ViewStatus) -> Response:
    """The services that run, and the state of the data provider."""
    del who
    problem = await services.health.problem()
    doors = {door.name: door for door in services.connections.status()}
    mfa, common = services.loaded.settings.mfa, services.loaded.settings.common
    limited = sorted({name for one in common.rate_limiters if one.average for name in one.protocols})
    kinds = [{"name": kind.name, "issuer": kind.issuer, "algo": kind.algo} for kind in mfa.totp]
    return Json(
        {
            "ssh": _service(doors, "ssh"),
            "ftp": _service(doors, "ftp"),
            "webdav": _service(doors, "webdav"),
            "data_provider": {
                "is_active": not problem,
                "driver": services.loaded.settings.data_provider.driver,
                "error": problem,
            },
            "defender": {"is_active": common.defender.enabled},
            "mfa": {"is_active": bool(kinds), "totp_configs": kinds},
            "allow_list": {"is_active": common.allowlist_status == 1 or bool(common.whitelist_file)},
            "rate_limiters": {"is_active": bool(limited), "protocols": limited},
            "health": json.loads((await services.ready(details=True))[1]),
        }
    )


def _service(doors: Mapping[str, DoorStatus], name: str) -> dict[str, Any]:
    door = doors.get(name)
    if door is None:
        return {"is_active": False, "bindings": []}
    return {
        "is_active": door.active,
        "bindings": [
            {"address": endpoint.address, "port": endpoint.port, "apply_proxy_config": False}
            for endpoint in door.endpoints
        ],
        **door.details,
    }
