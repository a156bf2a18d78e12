# SPDX-License-Identifier: Apache-2.0
"""Opens the sinks and inspectors that the configuration names."""

from __future__ import annotations

import asyncio

from tidegate.config.load import Loaded
from tidegate.events.bus import Bus
from tidegate.events.factory import create_sinks
from tidegate.events.outbox import Outbox
from tidegate.inspection.factory import create_inspectors
from tidegate.inspection.inspections import Inspections
from tidegate.server.wiring import inspector_keys, sink_uses
from tidegate.store.contract import Provider
from tidegate.vfs.usage.lease import server_name


async def open_sinks(loaded: Loaded, bus: Bus, provider: Provider) -> None:
    """Begin to tell those that the configuration names.

    Raises:
        ConfigError: one cannot be found or made.
    """
    wanted, section = sink_uses(loaded), loaded.settings.events
    if not wanted:
        return
    lossy, kept = await asyncio.to_thread(create_sinks, wanted)
    for sink in lossy:
        await bus.add(sink)
    if kept:
        outbox = Outbox(
            provider.outbox,
            kept,
            server=server_name(str(loaded.config_dir)),
            limit=section.outbox_limit,
            refuse_when_full=section.outbox_full == "refuse",
        )
        await bus.keep_in(outbox)


async def open_inspectors(loaded: Loaded) -> Inspections | None:
    """Those who are asked before an act counts; None if there are none.

    Raises:
        ConfigError: one cannot be found or made.
    """
    wanted = inspector_keys(loaded)
    if not wanted:
        return None
    inspections = Inspections(await asyncio.to_thread(create_inspectors, wanted))
    await inspections.open()
    return inspections
