# SPDX-License-Identifier: Apache-2.0
"""Connections and transfers in the registry of a running server, without clients."""

from __future__ import annotations

import time
from typing import Any

from tests.support.doors import services_of
from tests.support.web_world import WebWorld

from tidegate.cluster.registry import LiveConnection
from tidegate.model import Peer, Protocol


class Moving:
    """A transfer of which a test says how far it is."""

    def __init__(self, path: str, total: int) -> None:
        self.operation_type, self.virtual_path, self.total_size = "upload", path, total
        self.started, self.size = time.time(), 0


async def connect(world: WebWorld, name: str, number: int = 0, **peer: Any) -> LiveConnection:
    """A connection that idles; it leaves the registry when it is closed."""
    given = {"protocol": Protocol.SFTP, "remote_ip": "192.0.2.1", **peer}
    registry = services_of(world.app).registry

    def end(_: str) -> None:
        registry.remove(made)

    made = LiveConnection(Peer(f"c-{name}-{number}", **given), name, end, cipher="aes256-gcm")
    await registry.enter(made)
    return made
