# SPDX-License-Identifier: Apache-2.0
"""The decision of a running server about an address, explained."""

from __future__ import annotations

import time

from tidegate.defence.explaining import ConnectAnswer, OpenConnections, UnprovenConnections, explain
from tidegate.defence.pipeline import Defence
from tidegate.resources import Ledger, StartupLimits


async def explained(
    defence: Defence, ledger: Ledger, startups: StartupLimits, address: str, protocol: str
) -> ConnectAnswer:
    """Every step of the decision about an address; changes nothing."""
    counted, waiting = ledger.connections, len(ledger.arrivals)
    return await explain(
        defence,
        address,
        protocol,
        now=time.time(),
        monotonic=time.monotonic(),
        proxies=ledger.proxies,
        connections=OpenConnections(
            used=counted.used,
            most=counted.most,
            mine=counted.of(defence.sources.of(address)),
            most_each=counted.most_each,
        ),
        unproven=UnprovenConnections(
            waiting=waiting, start=startups.start, full=startups.full, chance=startups.probability(waiting)
        ),
    )
