# SPDX-License-Identifier: Apache-2.0
"""The ledger of one server: made once by the composition root, handed to every room that takes from it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tidegate.model.proxies import NO_PROXIES, ProxyOptions
from tidegate.model.sources import Sources
from tidegate.resources.arrivals import Arrivals
from tidegate.resources.buffers import Buffers
from tidegate.resources.connections import Connections
from tidegate.resources.count import Count, Share
from tidegate.resources.descriptors import Descriptors
from tidegate.resources.entrance import Entrance, OpenEntrance
from tidegate.resources.inherited import Inherited
from tidegate.resources.limits import Limits
from tidegate.resources.newcomers import Newcomers
from tidegate.resources.notices import Notices
from tidegate.resources.rates import Budget, Budgets
from tidegate.resources.room import Room


class Ledger:
    """Everything that peers can use up in this process.

    Args:
        limits: the numbers; None derives them from the machine.
        clock: seconds, monotonic.

    Attributes:
        descriptors: file descriptors.
        handles: open files and listings, by account.
        channels: SSH channels, by account.
        programs: system programs that run for clients, by account.
        upload_parts: parts of uploads that are not complete, by account.
        key_exchanges: of each source, in a minute.
        buffers: bytes of input and output that wait.
        proxies: whose PROXY header doors read; replaced when the configuration is read again.
        sources: the rule on what is one source; the one that whoever limits by address is given.
        connections: open connections of all doors but HTTP, and of each source.
        arrivals: those of SSH, FTP and doors of other packages that have not logged in.
        newcomers: what those who have not logged in take of the event loop.
        untold: refused connections by rule of which no event has told, or not yet.
        entrance: says who may come in at all; set once, before doors open.
        inherited: listening sockets that the process was started with; set once, before doors open.
        early: bytes of uploads that wait for those before them, for storage that takes files in order; a
            quarter of what may be buffered.
    """

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits = limits or Limits.derive()
        self.clock = clock
        self.entrance: Entrance = OpenEntrance()
        self.inherited = Inherited()
        self.sources = Sources()
        self.connections = Connections()
        self.arrivals: Arrivals[Any] = Arrivals()
        self.newcomers = Newcomers(transfers=lambda: self.handles.used > 0)
        self.proxies: ProxyOptions = NO_PROXIES
        self.untold: Counter[str] = Counter()
        self.notices = notices = Notices(clock)
        self.descriptors = Descriptors(notices, limit=limits.descriptors, reserve=limits.reserved_descriptors)
        self.handles = Count(
            notices,
            rule="limits.handles",
            rule_each="limits.handles_per_account",
            unit="open handles",
            most=limits.handles,
            most_each=limits.handles_per_account,
        )
        self.channels = Count(
            notices,
            rule="limits.channels",
            rule_each="",
            unit="channels",
            most=limits.channels,
            most_each=0,
        )
        self.programs = Count(
            notices,
            rule="limits.programs",
            rule_each="limits.programs_per_account",
            unit="programs",
            most=limits.programs,
            most_each=limits.programs_per_account,
        )
        self.upload_parts = Count(
            notices,
            rule="limits.upload_parts",
            rule_each="limits.upload_parts_per_account",
            unit="parts of uploads",
            most=limits.upload_parts,
            most_each=limits.upload_parts_per_account,
        )
        self.early = Room(limits.buffer_bytes // 4)
        self.buffers = Buffers(notices, limit=limits.buffer_bytes, clock=clock)
        self.key_exchanges = Budgets(
            notices,
            rule="limits.key_exchanges_per_source",
            unit="key exchanges",
            amount=limits.key_exchanges_per_source,
        )

    def handles_of(self, account: str) -> Share:
        """The handles that one channel opens for an account."""
        return Share(self.handles, account)

    def programs_of(self, account: str) -> Share:
        """The system programs that one channel runs for an account."""
        return Share(self.programs, account)

    def upload_parts_of(self, account: str) -> Share:
        """The parts of uploads that one client of an account has sent."""
        return Share(self.upload_parts, account)

    def exchanges_of_connection(self) -> Budget:
        """The key exchanges of one connection."""
        return Budget(self.limits.key_exchanges_per_connection)
