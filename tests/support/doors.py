# SPDX-License-Identifier: Apache-2.0
"""Doors of a whole server: an SSH door on a free port, and where doors are reached."""

from __future__ import annotations

from tidegate.doors.http.door import HttpDoor
from tidegate.doors.ssh.options import Binding
from tidegate.server.app import App
from tidegate.server.door_table import HTTP
from tidegate.server.ssh import ssh_plan
from tidegate.web.api.services import Services

ANY_PORT = (ssh_plan(Binding("", 0)), HTTP)
"""Doors for `App`: SSH on a free port whatever the configuration says."""


def port_of(app: App, name: str = "ssh") -> int:
    """The port of a door's first binding."""
    door = app.door(name)
    assert door is not None
    return door.status().endpoints[0].port


def url_of(app: App) -> str:
    """The URL of the REST API."""
    door = app.door("http")
    assert door is not None
    where = door.status().endpoints[0]
    return f"{'https' if where.tls else 'http'}://{where.host}:{where.port}"


def services_of(app: App) -> Services:
    """The services that the handlers of the REST API work with."""
    door = app.door("http")
    assert isinstance(door, HttpDoor)
    services: Services = door.application.state.services
    return services
