# SPDX-License-Identifier: Apache-2.0
"""Authenticators that the configuration names, and the source of accounts in a gateway's tables."""

from __future__ import annotations

import asyncio

from tidegate.abc import Authenticator
from tidegate.config.load import Loaded
from tidegate.events.bus import Bus
from tidegate.identity.factory import create_authenticators
from tidegate.server.wiring import authenticator_uses


async def authenticators(loaded: Loaded, bus: Bus) -> list[Authenticator]:
    """The authenticators in their order, not open yet; what writes back to tables listens to the bus.

    Raises:
        ConfigError: one cannot be found or made.
    """
    wanted = authenticator_uses(loaded)
    made = await asyncio.to_thread(create_authenticators, wanted) if wanted else []
    if loaded.settings.identity.openbridge.host:
        from tidegate.server.openbridge import create_source, record_of

        source = create_source(loaded)
        await bus.add(record_of(source))
        made.append(source)
    return made
