# SPDX-License-Identifier: Apache-2.0
"""Metrics of one server: who is asked for what, and the text that comes of it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidegate import __version__
from tidegate.config.load import Loaded
from tidegate.metrics.gauges import DoorGauge, Gauges, Resource
from tidegate.packages import load_beside
from tidegate.server.doors import Composition
from tidegate.web.api.health import Health

if TYPE_CHECKING:
    from tidegate.metrics.exposition import Exposition

DIRECTIONS: Final = {"upload": "in", "download": "out"}


class Monitor:
    """The state and counts of one server, for monitoring. Life: constructed (pure), `start`, used, `stop`.

    Args:
        composition: the parts of the server.
        loaded: the configuration as of the moment.
    """

    def __init__(self, composition: Composition, loaded: Callable[[], Loaded]) -> None:
        self._composition = composition
        self._loaded = loaded
        self.health = Health(composition.provider, composition.provider_ready, time.monotonic)
        self._exposition: Exposition | None = None
        self._lag: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load what metrics need, and begin to measure the delay of the loop; again is no error."""
        if self._exposition is None:
            await load_beside("tidegate.metrics.exposition")
            from tidegate.metrics.exposition import Exposition
            from tidegate.metrics.families import Families

            measures = self._composition.measures()
            await measures.count()
            self._exposition = Exposition(Families(measures), self.gauges)
            self._lag = asyncio.create_task(measures.watch_loop(), name="delay of the loop")

    async def stop(self) -> None:
        """Stop measuring."""
        if self._lag is not None:
            self._lag.cancel()
            await asyncio.wait([self._lag])

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type, for an ``Accept`` header."""
        await self.start()
        assert self._exposition is not None
        self._exposition.families.sftpgo = self._loaded().settings.telemetry.sftpgo_metrics
        return await self._exposition.render(accept)

    async def gauges(self) -> Gauges:
        """The state of the server now."""
        root = self._composition
        sessions: Counter[str] = Counter()
        flight = {"in": [0, 0], "out": [0, 0]}
        for connection in root.registry.all():
            sessions[connection.peer.protocol.value] += 1
            for transfer in connection.transfers:
                pair = flight.get(DIRECTIONS.get(transfer.operation_type, ""))
                if pair is not None:
                    pair[0] += 1
                    pair[1] += transfer.size
        return Gauges(
            version=__version__,
            provider=not await self.health.problem(),
            doors=tuple(
                DoorGauge(door.name, door.active, door.connections, door.answers)
                for door in root.doors.status()
            ),
            sessions=sessions,
            in_flight={name: (number, size) for name, (number, size) in flight.items()},
            queues={
                "events": root.bus.waiting,
                "outbox": root.bus.outbox.waiting if root.bus.outbox is not None else 0,
                "passwords": root.identity.passwords.waiting,
                "logins": len(root.ledger.arrivals),
            },
            resources=self._resources(),
        )

    def _resources(self) -> tuple[Resource, ...]:
        ledger = self._composition.ledger
        counts = {"handles": ledger.handles, "channels": ledger.channels, "programs": ledger.programs}
        return (
            *(Resource(name, count.used, count.most) for name, count in counts.items()),
            Resource("connections", ledger.connections.used, ledger.connections.most),
            Resource("buffer_bytes", ledger.buffers.total, ledger.buffers.limit),
            Resource("early_bytes", ledger.early.held, ledger.early.limit),
        )
