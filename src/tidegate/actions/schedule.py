# SPDX-License-Identifier: Apache-2.0
"""Starts rules by the clock: one of the servers of a data provider, unless a rule says all of them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final

from tidegate.actions.active import ActiveRules
from tidegate.errors import ProviderError
from tidegate.model.rule import Trigger
from tidegate.rules.book import Rule
from tidegate.rules.documents import cron_of
from tidegate.rules.facts import Facts
from tidegate.store.contract import Provider

LOOK_SECONDS: Final = 20.0
"""Longest sleep: rules change, and clocks are set."""
LATE_SECONDS: Final = 60.0
"""A time that passed longer ago than this is left out, as after a pause of the host."""
CLAIM_MS: Final = 86_400_000

Starts = Callable[[Rule, Facts], Awaitable[None]]

log = logging.getLogger(__name__)


class Schedule:
    """Life: constructed, `run` (until it is cancelled).

    Args:
        active: the rules as they are now.
        provider: where one server claims a time.
        start: starts a rule.
        server: this server's name.
        local_time: schedules are in the host's time zone, else UTC.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        active: ActiveRules,
        provider: Provider,
        start: Starts,
        *,
        server: str,
        local_time: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._active = active
        self._provider = provider
        self._start = start
        self._server = server
        self._local = local_time
        self._clock = clock
        self._seen = clock()

    async def run(self) -> None:
        """Start rules when their time comes."""
        while True:
            wait = min(LOOK_SECONDS, 60.0 - self._clock() % 60.0)
            await asyncio.sleep(max(wait, 0.05))
            try:
                await self.look()
            except ProviderError as error:
                log.warning("schedules of event rules: %s", error)

    async def look(self) -> None:
        """Start what has become due since the last look."""
        before, self._seen = self._seen, self._clock()
        before = max(before, self._seen - LATE_SECONDS)
        for rule in self._active.book.scheduled():
            due = self.last_due(rule, self._seen)
            if due is None or not before < due <= self._seen:
                continue
            if await self._mine(rule, due):
                facts = Facts(
                    trigger=Trigger.SCHEDULE,
                    event="Schedule",
                    name=rule.name,
                    at=int(self._clock() * 1_000_000_000),
                )
                await self._start(rule, facts)

    def last_due(self, rule: Rule, now: float) -> float | None:
        """The last time of a rule up to now, seconds since the epoch; None if there was none lately."""
        conditions: Any = {} if rule.record is None else rule.record.conditions
        times = [last_time(cron_of(one), now, local=self._local) for one in conditions.get("schedules", ())]
        return max((one for one in times if one is not None), default=None)

    async def _mine(self, rule: Rule, due: float) -> bool:
        options: Any = {} if rule.record is None else rule.record.conditions.get("options") or {}
        name = rule.name if len(rule.name) <= 100 else hashlib.sha256(rule.name.encode()).hexdigest()
        subject = f"schedule:{name}"
        if options.get("concurrent_execution"):
            subject += f":{self._server[:60]}"
        at = int(due * 1000)
        return await self._provider.claim(subject, at_ms=at, expires_ms=at + CLAIM_MS)


def last_time(cron: str, now: float, *, local: bool = False) -> float | None:
    """The last minute up to now that a schedule names; None if none of the last hour was one."""
    from cronsim import CronSim

    zone = None if local else UTC
    moment = datetime.fromtimestamp(now - now % 60 + 60, UTC)
    moment = moment.astimezone(zone)
    found = next(iter(CronSim(cron, moment, reverse=True)), None)
    if found is None or now - found.timestamp() > 3600:
        return None
    return found.timestamp()
