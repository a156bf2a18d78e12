# SPDX-License-Identifier: Apache-2.0
"""The state of a server at one moment, as it is exported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DoorGauge:
    """One door.

    Attributes:
        name: of it.
        active: True while it accepts connections.
        connections: open ones.
        answers: of HTTP by class of the status code: 0 for none, then 1xx to 5xx; empty for other protocols.
    """

    name: str
    active: bool
    connections: int
    answers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """Something that can be used up.

    Attributes:
        name: of it.
        used: units in use.
        most: the limit; 0 for none.
    """

    name: str
    used: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """One moment.

    Attributes:
        version: of the server.
        provider: True if the data provider works.
        doors: every door.
        sessions: by protocol.
        in_flight: transfers by direction (``in``, ``out``), and their bytes so far.
        queues: what waits, by the name of the queue.
        resources: what peers can use up.
        checks: health by the name of the check.
        untold: refused connections and requests by rule that no event has told of yet.
        strangers: processor seconds of the event loop for clients that had not logged in.
        certificates: expiry by the name of the certificate, seconds since the epoch.
    """

    version: str
    provider: bool = True
    doors: tuple[DoorGauge, ...] = ()
    sessions: Mapping[str, int] = field(default_factory=dict)
    in_flight: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
    resources: tuple[Resource, ...] = ()
    checks: Mapping[str, bool] = field(default_factory=dict)
    untold: Mapping[str, int] = field(default_factory=dict)
    strangers: float = 0.0
    certificates: Mapping[str, float] = field(default_factory=dict)
