# SPDX-License-Identifier: Apache-2.0
"""The last minute, the last refusals and the last failures of storage, for the pages."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tidegate.events.kinds import ConnectionRefused, Failed, LoginFailed, Refused, Transferred
from tidegate.model.action import DIRECTIONS

MAX_REFUSALS: Final = 50
"""Refusals that are remembered, and as many failures."""
WINDOW_SECONDS: Final = 60
"""Seconds of ``a minute``."""
MAX_FINISHED: Final = 4_000
"""Ends of transfers that are remembered until the next sample."""

Key = tuple[str, str]
"""Connection and path of a transfer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Something that was refused, or that storage could not do.

    Attributes:
        at: Unix milliseconds.
        username: of the account; empty if unknown.
        what: the act in words.
        path: that it was about; empty for none.
        rule: that decided; of a failure ``storage`` and the name of its errno.
        ip: of the client.
        protocol: of the door.
        connection_id: empty for none.
        intent: word that `explain --op` takes; ``login`` for logins.
        failure: storage could not do it, and no rule refused it.
    """

    at: int
    username: str
    what: str
    path: str
    rule: str
    ip: str
    protocol: str
    connection_id: str
    intent: str
    failure: bool = False


class Minute:
    """The number of things in the last minute, by kind, a second at a time.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, Counter[str]]] = deque()

    def add(self, kind: str) -> None:
        """Count one."""
        now = int(self._clock())
        if not self._seconds or self._seconds[-1][0] != now:
            self._forget(now)
            self._seconds.append((now, Counter()))
        self._seconds[-1][1][kind] += 1

    def counts(self) -> Counter[str]:
        """The counts of the last minute."""
        self._forget(int(self._clock()))
        total: Counter[str] = Counter()
        for _, one in self._seconds:
            total.update(one)
        return total

    def _forget(self, now: int) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW_SECONDS:
            self._seconds.popleft()


class Recent:
    """The last minute and the last refusals, as `EventCounts` tells them.

    Attributes:
        logins: of the last minute by method.
        refusals: of the last minute, ``login`` and ``policy``.
        last: the last refusals, the newest last.
        ended: transfers that have ended since `take_finished` was called; None before the first call.
        failures: the last failures of storage that an operator has to know, likewise; apart, so that a flood
            of refusals does not push them out.
    """

    def __init__(self) -> None:
        self.logins = Minute()
        self.refusals = Minute()
        self.last: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        self.failures: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        self.ended: dict[Key, tuple[str, int]] | None = None

    def finished(self, event: Transferred) -> None:
        """A transfer ended; nothing is kept while `ended` is None."""
        if self.ended is not None and len(self.ended) < MAX_FINISHED:
            key = event.origin.connection_id, event.virtual_path
            direction = DIRECTIONS[event.action]
            before = self.ended.get(key, (direction, 0))[1]
            self.ended[key] = direction, before + event.size

    def refused(self, event: LoginFailed | Refused | ConnectionRefused) -> None:
        """Something was refused."""
        match event:
            case LoginFailed():
                self.refusals.add("login")
                what, rule = f"log in by {event.login_type or 'nothing'}", event.rule or event.reason
                self.last.append(_refusal(event, what, "", rule, "login"))
            case Refused():
                self.refusals.add("policy")
                self.last.append(_refusal(event, event.intent, event.virtual_path, event.rule, event.intent))
            case ConnectionRefused():
                self.refusals.add("login")
                self.last.append(_refusal(event, "connect", "", event.rule, ""))

    def failed(self, event: Failed) -> None:
        """Storage could not do something."""
        rule = f"{event.rule} {event.errno}".strip()
        self.failures.append(
            _refusal(event, event.intent, event.virtual_path, rule, event.intent, failure=True)
        )

    def newest(self) -> list[Refusal]:
        """Refusals and failures, the newest first."""
        return sorted((*self.last, *self.failures), key=lambda one: one.at)[::-1]

    def take_finished(self) -> dict[Key, tuple[str, int]]:
        """Direction and size of transfers that have ended since the last call; from the first call on."""
        taken, self.ended = self.ended, {}
        return taken or {}


def _refusal(
    event: LoginFailed | Refused | ConnectionRefused | Failed,
    what: str,
    path: str,
    rule: str,
    intent: str,
    *,
    failure: bool = False,
) -> Refusal:
    origin = event.origin
    return Refusal(
        at=int(event.at * 1000),
        username=origin.username,
        what=what,
        path=path,
        rule=rule,
        ip=origin.ip,
        protocol=origin.protocol,
        connection_id=origin.connection_id,
        intent=intent,
        failure=failure,
    )
