# SPDX-License-Identifier: Apache-2.0
"""Metrics of one server: who is asked for what, and the text that comes of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tidegate import __version__
from tidegate.config.load import Loaded
from tidegate.health.checks import Checks, State
from tidegate.metrics.gauges import DoorGauge, Gauges, Resource
from tidegate.model import Protocol
from tidegate.packages import load_beside
from tidegate.server.doors import Composition
from tidegate.server.health_checks import HealthChecks
from tidegate.web.api.health import Health

if TYPE_CHECKING:
    from tidegate.metrics.exposition import Exposition

HEALTH_SECONDS: Final = 15.0
"""Seconds between two looks for the metrics."""
FAULT_SECONDS: Final = 5.0
"""The same while something is wrong."""
START_SECONDS: Final = 1.0
"""Seconds before the first."""


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
        self._made = HealthChecks(composition, loaded)
        self.checks: Final = Checks(self._made.all(), time.monotonic)
        self._exposition: Exposition | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Load what metrics need, and begin to measure; again is no error."""
        if self._exposition is None:
            await load_beside("tidegate.metrics.exposition")
            from tidegate.metrics.exposition import Exposition
            from tidegate.metrics.families import Families

            measures = self._composition.measures()
            await measures.count()
            self._exposition = Exposition(Families(measures), self.gauges)
            self._tasks = [
                asyncio.create_task(measures.watch_loop(), name="delay of the loop"),
                asyncio.create_task(self._watch_health(), name="health"),
            ]

    async def stop(self) -> None:
        """Stop measuring."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _watch_health(self) -> None:
        """Look again and again, so that a scrape waits for no check."""
        await asyncio.sleep(START_SECONDS)  # until the last door is open
        while True:
            report = await self.checks.report()
            await asyncio.sleep(FAULT_SECONDS if report.state else HEALTH_SECONDS)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The metrics and their content type, for an ``Accept`` header."""
        await self.start()
        assert self._exposition is not None
        self._exposition.families.sftpgo = self._loaded().settings.telemetry.sftpgo_metrics
        return await self._exposition.render(accept)

    async def ready(self, *, details: bool) -> tuple[bool, bytes]:
        """True if the server works, and the report as JSON; texts and figures only with `details`."""
        report = await self.checks.report()
        return report.state is not State.FAIL, json.dumps(report.document(details=details)).encode()

    async def gauges(self) -> Gauges:
        """The state of the server now."""
        root = self._composition
        sessions = Counter(dict.fromkeys((one.value for one in Protocol), 0))  # 0 is a value, a gap is none
        for connection in root.registry.all():
            sessions[connection.peer.protocol.value] += 1
        return Gauges(
            version=__version__,
            provider=not await self.health.problem(),
            doors=tuple(
                DoorGauge(door.name, door.active, door.connections, door.answers)
                for door in root.doors.status()
            ),
            sessions=sessions,
            in_flight=root.registry.in_flight(),
            queues={
                "events": root.bus.waiting,
                "outbox": root.bus.outbox.waiting if root.bus.outbox is not None else 0,
                "passwords": root.identity.passwords.waiting,
                "logins": len(root.ledger.arrivals),
            },
            resources=self._resources(),
            untold=root.ledger.untold + Counter(root.defence.defence.untold if root.defence else {}),
            strangers=root.ledger.newcomers.strange_seconds,
            checks={name: one.state is not State.FAIL for name, one in self.checks.last.findings.items()},
            certificates=self._made.certificates,
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
