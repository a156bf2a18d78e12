# SPDX-License-Identifier: Apache-2.0
"""Text of the metrics: OpenMetrics for whoever accepts it, else the older format of Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, cast

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from tidegate.metrics.families import Families
from tidegate.metrics.gauges import Gauges

MAX_ACCEPT: Final = 1024
"""Characters of an ``Accept`` header that are looked at."""


class Exposition:
    """Renders what one server exports.

    Args:
        families: makes the families; on the loop, which counts.
        gauges: tells the state of the server.
    """

    def __init__(self, families: Families, gauges: Callable[[], Awaitable[Gauges]]) -> None:
        self.families = families
        self._gauges = gauges

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The text, and its content type.

        Args:
            accept: the ``Accept`` header of who asks.
        """
        found = self.families.collect(await self._gauges())
        return await asyncio.to_thread(_encoded, found, accept[:MAX_ACCEPT])


class _Given:
    """A collector of families that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _encoded(families: list[Metric], accept: str) -> tuple[bytes, str]:
    registry = CollectorRegistry(auto_describe=False)
    for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, _Given(families)):
        registry.register(cast("Any", collector))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
