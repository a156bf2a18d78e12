# SPDX-License-Identifier: Apache-2.0
"""The doors that this version has."""

from __future__ import annotations

import asyncio
from importlib import import_module
from types import ModuleType
from typing import Final

from tidegate.config.load import Loaded
from tidegate.server.doors import Composition, DoorPlan, InstalledDoor
from tidegate.server.ssh import ssh_plan


def _load_http() -> ModuleType:
    """Import the HTTP door. Blocking: takes half as long as all before it; other doors serve already."""
    from tidegate.web.lean import lean_fastapi

    with lean_fastapi():
        return import_module("tidegate.server.http")


async def _http(composition: Composition, loaded: Loaded) -> InstalledDoor:
    module = await asyncio.to_thread(_load_http)
    made: InstalledDoor = await module.create(composition, loaded)
    return made


def _http_wanted(loaded: Loaded) -> bool:
    return any(binding.port for binding in loaded.settings.httpd.bindings)


async def _ftp(composition: Composition, loaded: Loaded) -> InstalledDoor:
    module = await asyncio.to_thread(import_module, "tidegate.server.ftp")
    made: InstalledDoor = await module.create(composition, loaded)
    return made


def _ftp_wanted(loaded: Loaded) -> bool:
    return any(binding.port for binding in loaded.settings.ftpd.bindings)


async def _dav(composition: Composition, loaded: Loaded) -> InstalledDoor:
    module = await asyncio.to_thread(import_module, "tidegate.server.dav")
    made: InstalledDoor = await module.create(composition, loaded)
    return made


def _dav_wanted(loaded: Loaded) -> bool:
    return any(binding.port for binding in loaded.settings.webdavd.bindings)


async def _telemetry(composition: Composition, loaded: Loaded) -> InstalledDoor:
    module = await asyncio.to_thread(import_module, "tidegate.server.telemetry")
    made: InstalledDoor = await module.create(composition, loaded)
    return made


def _telemetry_wanted(loaded: Loaded) -> bool:
    return loaded.settings.telemetry.bind_port > 0


FTP: Final = DoorPlan("ftp", _ftp_wanted, _ftp)

WEBDAV: Final = DoorPlan("webdav", _dav_wanted, _dav)

HTTP: Final = DoorPlan("http", _http_wanted, _http, late=True)

TELEMETRY: Final = DoorPlan("telemetry", _telemetry_wanted, _telemetry, late=True)

BUILT_IN: Final = (ssh_plan(), FTP, WEBDAV, TELEMETRY, HTTP)
