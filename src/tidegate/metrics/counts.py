# SPDX-License-Identifier: Apache-2.0
"""Counts events since the start: the one place that does, for Prometheus and for the pages."""

from __future__ import annotations

from collections import Counter, deque
from logging import WARNING
from typing import Final

from tidegate.events.kinds import (
    Banned,
    Connected,
    ConnectionRefused,
    Disconnected,
    Event,
    Failed,
    LoggedIn,
    LoginFailed,
    Operated,
    QuotaWarning,
    Refused,
    Transferred,
)
from tidegate.metrics.histogram import Example, Histogram
from tidegate.metrics.labels import Words
from tidegate.metrics.recent import Recent
from tidegate.model.action import Action

NO_LOGIN: Final = "no_auth_tried"
"""The `login_type` of connections that ended without a login."""


_ENDERS: Final = frozenset(("idle", "shutdown", "disabled", "expired", "deleted"))


MAX_KNOWN: Final = 1_000
"""Texts of transfers whose count is found at once; what comes then is looked up by its labels."""


class TransferCount:
    """Ends of transfers of one kind.

    Attributes:
        number: of them.
        size: bytes that they moved.
        last: the last one; an exemplar is made of it by who asks.
        first_byte: of downloads of this kind of storage; see `EventCounts.first_byte`.
    """

    __slots__ = ("first_byte", "last", "number", "size")

    def __init__(self, first_byte: Histogram) -> None:
        self.number = 0
        self.size = 0
        self.last: Transferred | None = None
        self.first_byte = first_byte


class RuleCount:
    """Refusals by one rule.

    Attributes:
        number: of them.
        last: the last one of a connection.
    """

    __slots__ = ("last", "number")

    def __init__(self) -> None:
        self.number = 0
        self.last: Example | None = None


class EventCounts:
    """A sink that never waits.

    Attributes:
        recent: the last minute, for pages; None while nobody looks.
        transfers: by action, status, kind of storage and protocol.
        operations: seconds that other operations took, by action and kind of storage; listings and `stat`
            too, of which a share is timed and stands for all.
        logins: by method; `refused_logins` likewise.
        login_seconds: the time that judging an accepted login took, by method.
        refused: refusals by the step that refused (``connection``, ``login`` or ``policy``) and by rule.
        connections: by protocol.
        open_seconds: of connections that ended, in all.
        disconnected: connections that ended, by who ended them; ``client`` if nobody else did.
        failed: requests that failed without a rule, by what failed them.
        banned: addresses by reason.
        quota_marks: marks of quotas that were crossed, by limit.
        commands: SSH commands that were run, and those of them that failed.
        no_login: connections that ended without a login.
    """

    kinds: Final = (
        Transferred,
        Operated,
        LoggedIn,
        LoginFailed,
        Refused,
        ConnectionRefused,
        Connected,
        Disconnected,
        Failed,
        Banned,
        QuotaWarning,
    )

    def __init__(self) -> None:
        self.recent: Recent | None = None
        self.transfers: dict[tuple[str, str, str, str], TransferCount] = {}
        self._first_byte: dict[str, Histogram] = {}
        self.operations: dict[tuple[str, str], Histogram] = {}
        self.logins: Counter[str] = Counter()
        self.refused_logins: Counter[str] = Counter()
        self.login_seconds: dict[str, Histogram] = {}
        self.refused: dict[tuple[str, str], RuleCount] = {}
        self.connections: Counter[str] = Counter()
        self.open_seconds = 0.0
        self.disconnected: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.banned: Counter[str] = Counter()
        self.quota_marks: Counter[str] = Counter()
        self.commands = [0, 0]
        self.no_login = 0
        self._known: dict[tuple[str, str, str, str], TransferCount] = {}
        """Counts by action, status, storage and protocol as events have them."""
        self._rules = Words()
        self._methods = Words()
        self._storages = Words()
        self._reasons = Words()

    @property
    def first_byte(self) -> dict[str, Histogram]:
        """Of downloads: seconds from the open file to its first bytes, by kind of storage."""
        return {storage: one for storage, one in self._first_byte.items() if one.total}

    async def open(self) -> None:
        """Nothing to get ready."""

    async def handle(self, event: object) -> None:
        """Count one event."""
        self.handle_nowait(event)

    async def close(self) -> None:
        """Nothing to release."""

    def take_nowait(self, waiting: deque[Event]) -> None:
        """Count all events of a queue and take them out.

        Ends of transfers are counted here, without a call for each: every small file has one
        (docs/explanation/performance.md has what that costs).
        """
        take, known = waiting.popleft, self._known
        while waiting:
            event = take()
            if type(event) is not Transferred:
                self.handle_nowait(event)
                continue
            origin = event.origin
            count = known.get((event.action, event.status, event.storage, origin.protocol))
            if count is None:
                count = self._count_of(event)
            count.number += 1
            count.size += event.size
            count.last = event
            if event.first_byte > 0:
                count.first_byte.observe(event.first_byte, origin.connection_id, event.at)
            if self.recent is not None and self.recent.ended is not None:
                self.recent.finished(event)

    def handle_nowait(self, event: object) -> None:
        """Count one event."""
        match event:
            case Transferred():
                self.take_nowait(deque((event,)))
            case Operated():
                self._operated(event)
            case Connected():
                self.connections[event.origin.protocol] += 1
            case Disconnected():
                self.open_seconds += event.duration
                self.disconnected[_who(event.by)] += 1
            case LoggedIn():
                self._logged_in(event)
            case LoginFailed():
                self._login_failed(event)
            case Refused():
                self._refused("policy", event.rule, event)
            case ConnectionRefused():
                self._refused("connection", event.rule, event, 1 + event.unreported)
            case Failed():
                self.failed[self._reasons.of(event.rule)] += 1
                if event.level >= WARNING and self.recent is not None:
                    self.recent.failed(event)
            case Banned():
                self.banned[self._reasons.of(event.reason)] += 1
            case QuotaWarning():
                self.quota_marks[self._reasons.of(event.limit)] += 1

    def rule_of(self, rule: str) -> str:
        """The name by which refusals by a rule are counted."""
        return self._rules.of(rule)

    def _count_of(self, event: Transferred) -> TransferCount:
        """The count of a transfer, by its labels."""
        storage, protocol = self._storages.of(event.storage), event.origin.protocol
        key = event.action.value, event.status, storage, protocol
        count = self.transfers.get(key)
        if count is None:
            first_byte = self._first_byte.get(storage)
            if first_byte is None:
                first_byte = self._first_byte[storage] = Histogram()
            count = self.transfers[key] = TransferCount(first_byte)
        if len(self._known) < MAX_KNOWN:
            self._known[event.action, event.status, event.storage, protocol] = count
        return count

    def timed(self, operation: str, storage: str, seconds: float, number: int) -> None:
        """Count calls that have no event: one that was timed stands for `number` of them."""
        key = operation, self._storages.of(storage)
        histogram = self.operations.get(key)
        if histogram is None:
            histogram = self.operations[key] = Histogram()
        histogram.stand_for(seconds, number)

    def _operated(self, event: Operated) -> None:
        if event.action is Action.SSH_COMMAND:
            self.commands[0] += 1
            self.commands[1] += event.exit_status != 0
        key = event.action.value, self._storages.of(event.storage)
        histogram = self.operations.get(key)
        if histogram is None:
            histogram = self.operations[key] = Histogram()
        histogram.observe(event.elapsed, event.origin.connection_id, event.at)

    def _logged_in(self, event: LoggedIn) -> None:
        method = self._methods.of(event.method)
        self.logins[method] += 1
        if event.elapsed >= 0:
            histogram = self.login_seconds.get(method)
            if histogram is None:
                histogram = self.login_seconds[method] = Histogram()
            histogram.observe(event.elapsed, event.origin.connection_id, event.at)
        if self.recent is not None:
            self.recent.logins.add(event.method)

    def _login_failed(self, event: LoginFailed) -> None:
        if event.login_type == NO_LOGIN:
            self.no_login += 1
            return
        self.refused_logins[self._methods.of(event.login_type)] += 1
        self._refused("login", event.rule or event.reason, event, told=bool(event.reason))

    def _refused(
        self,
        step: str,
        rule: str,
        event: LoginFailed | Refused | ConnectionRefused,
        number: int = 1,
        *,
        told: bool = True,
    ) -> None:
        key = step, self._rules.of(rule)
        count = self.refused.get(key)
        if count is None:
            count = self.refused[key] = RuleCount()
        count.number += number
        if event.origin.connection_id:
            count.last = event.origin.connection_id, 1.0, event.at
        if told and self.recent is not None:
            self.recent.refused(event)


def _who(by: str) -> str:
    """Whoever ended a connection, without the names of administrators."""
    if not by or by in _ENDERS:
        return by or "client"
    return "limit" if "." in by else "admin"
