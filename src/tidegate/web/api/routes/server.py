# SPDX-License-Identifier: Apache-2.0
"""``/version``, ``/status`` and, outside the API's base, ``/healthz``."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from tidegate import __version__
from tidegate.doors.ssh.listener import SshDoor
from tidegate.web.api import schemas
from tidegate.web.api.access import Anybody, ViewStatus, With
from tidegate.web.api.bodies import Json

router = APIRouter(tags=["maintenance"])
health_router = APIRouter(tags=["health"])

FEATURES: Final = ("+sqlite", "+pgsql", "+mysql", "+bolt", "+memory", "+sftp", "-scp", "-rsync", "-git")
"""What this version can do, as the field's other gateway spells it."""


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
    """Whether the server works; for load balancers, needs no login."""
    problem = await services.health.problem()
    return PlainTextResponse("data provider unavailable" if problem else "ok", 503 if problem else 200)


@router.get("/version", responses={200: {"model": schemas.Version}})
async def version(who: Anybody) -> Response:
    """What is running."""
    del who
    return Json({"version": __version__, "build_date": "", "commit_hash": "", "features": list(FEATURES)})


@router.get("/status", responses={200: {"description": "Services and their state."}})
async def status(services: With, who: ViewStatus) -> Response:
    """Which services run, and how the data provider is."""
    del who
    problem = await services.health.problem()
    off: dict[str, Any] = {"is_active": False, "bindings": []}
    return Json(
        {
            "ssh": _ssh(services.ssh) if services.ssh is not None else off,
            "ftp": off,
            "webdav": off,
            "data_provider": {
                "is_active": not problem,
                "driver": services.loaded.settings.data_provider.driver,
                "error": problem,
            },
            "defender": {"is_active": False},
            "mfa": {"is_active": False, "totp_configs": []},
            "allow_list": {"is_active": False},
            "rate_limiters": {"is_active": False, "protocols": []},
        }
    )


def _ssh(door: SshDoor) -> dict[str, Any]:
    setup = door.setup
    methods = ["publickey"]
    if setup.options.password_authentication:
        methods += ["password", "publickey+password"]
    if setup.options.keyboard_interactive_authentication:
        methods += ["keyboard-interactive", "publickey+keyboard-interactive"]
    return {
        "is_active": not door.draining,
        "bindings": [
            {"address": binding.address, "port": port, "apply_proxy_config": False}
            for binding, port in zip(setup.options.bindings, door.ports, strict=False)
        ],
        "host_keys": [
            {"path": "", "fingerprint": fingerprint, "algorithms": [algorithm]}
            for algorithm, fingerprint in (text.split(" ", 1) for text in setup.fingerprints)
        ],
        "ssh_commands": list(setup.options.enabled_ssh_commands),
        "authentications": methods,
    }
