# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers: one row for each sign-in, which survives a restart and can be ended.

A row holds a digest of the browser's secret, never the secret itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

MAX_OF_ONE: Final = 50
"""Sessions of one person; a further one ends the one that was used least recently."""
MAX_SHOWN_CHARS: Final = 255
"""Characters of an address or a browser's name that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """One sign-in of a person by a browser. Times are Unix milliseconds.

    Attributes:
        id: digest of the secret in the browser's cookie.
        kind: ``admin`` or ``user``.
        username: of the person.
        mark: digest of what the person was allowed when they signed in; see `web.admin.sessions`.
        created_at: when they signed in.
        seen_at: when the session was used last.
        idle_until: when it ends unless it is used again.
        expires_at: when it ends in any case.
        ip: address that it was used from last.
        agent: what the browser calls itself.
        method: proof that they gave, such as ``password+code``.
    """

    id: str
    kind: str
    username: str
    mark: str
    created_at: int
    seen_at: int
    idle_until: int
    expires_at: int
    ip: str = ""
    agent: str = ""
    method: str = ""

    def ended(self, now_ms: int) -> bool:
        """True if it is over."""
        return now_ms >= min(self.idle_until, self.expires_at)


class BrowserSessionStore(Protocol):
    """The browser sessions of a provider. Each method may raise `ProviderUnavailable`; nothing was done."""

    async def add(self, row: BrowserSession) -> None:
        """Store a new row; what is over goes, and the least used of the person beyond `MAX_OF_ONE`."""
        ...

    async def find(self, session_id: str) -> BrowserSession | None:
        """One row that is not over; None if there is none."""
        ...

    async def use(self, session_id: str, *, seen_at: int, idle_until: int, ip: str) -> None:
        """Set when and from where a session was used; unknown is no error."""
        ...

    async def of(self, kind: str, username: str) -> list[BrowserSession]:
        """Rows of a person that are not over, the one used last first."""
        ...

    async def remove(self, session_id: str) -> bool:
        """End one; False if there was none."""
        ...

    async def remove_of(self, kind: str, username: str, *, but: str = "") -> int:
        """End those of a person, one excepted; returns how many."""
        ...


def now_ms(clock: Callable[[], float] = time.time) -> int:
    """Unix milliseconds."""
    return int(clock() * 1000)


def by_use(row: BrowserSession) -> tuple[int, str]:
    """The order of listings."""
    return -row.seen_at, row.id


def short(row: BrowserSession) -> BrowserSession:
    """The row with texts of bounded length."""
    return replace(row, ip=row.ip[:MAX_SHOWN_CHARS], agent=row.agent[:MAX_SHOWN_CHARS])


class RowSessions:
    """`BrowserSessionStore` over a dictionary of rows; what `bolt` and `memory` share. A change is one call.

    Args:
        rows: by id.
        clock: seconds since the epoch.

    Attributes:
        changed: ids of rows that are new, changed or gone.
    """

    def __init__(self, rows: dict[str, BrowserSession], clock: Callable[[], float] = time.time) -> None:
        self.rows = rows
        self.changed: set[str] = set()
        self._clock = clock

    def _put(self, row: BrowserSession) -> None:
        self.rows[row.id] = row
        self.changed.add(row.id)

    def remove(self, session_id: str) -> bool:
        """See `BrowserSessionStore`."""
        self.changed.add(session_id)
        return self.rows.pop(session_id, None) is not None

    def add(self, row: BrowserSession) -> None:
        """See `BrowserSessionStore`."""
        now = now_ms(self._clock)
        for one in [one.id for one in self.rows.values() if one.ended(now)]:
            self.remove(one)
        for surplus in self.of(row.kind, row.username)[MAX_OF_ONE - 1 :]:
            self.remove(surplus.id)
        self._put(short(row))

    def find(self, session_id: str) -> BrowserSession | None:
        """See `BrowserSessionStore`."""
        row = self.rows.get(session_id)
        return None if row is None or row.ended(now_ms(self._clock)) else row

    def use(self, session_id: str, seen_at: int, idle_until: int, ip: str) -> None:
        """See `BrowserSessionStore`."""
        if (row := self.rows.get(session_id)) is not None:
            self._put(short(replace(row, seen_at=seen_at, idle_until=idle_until, ip=ip)))

    def of(self, kind: str, username: str) -> list[BrowserSession]:
        """See `BrowserSessionStore`."""
        now = now_ms(self._clock)
        found = [row for row in self.rows.values() if (row.kind, row.username) == (kind, username)]
        return sorted((row for row in found if not row.ended(now)), key=by_use)

    def remove_of(self, kind: str, username: str, but: str) -> int:
        """See `BrowserSessionStore`."""
        found = [
            row.id
            for row in self.rows.values()
            if (row.kind, row.username) == (kind, username) and row.id != but
        ]
        return sum(self.remove(one) for one in found)


class MemorySessions:
    """Browser sessions that end with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._rows = RowSessions({}, clock)

    async def add(self, row: BrowserSession) -> None:
        """See `BrowserSessionStore`."""
        self._rows.add(row)

    async def find(self, session_id: str) -> BrowserSession | None:
        """See `BrowserSessionStore`."""
        return self._rows.find(session_id)

    async def use(self, session_id: str, *, seen_at: int, idle_until: int, ip: str) -> None:
        """See `BrowserSessionStore`."""
        self._rows.use(session_id, seen_at, idle_until, ip)

    async def of(self, kind: str, username: str) -> list[BrowserSession]:
        """See `BrowserSessionStore`."""
        return self._rows.of(kind, username)

    async def remove(self, session_id: str) -> bool:
        """See `BrowserSessionStore`."""
        return self._rows.remove(session_id)

    async def remove_of(self, kind: str, username: str, *, but: str = "") -> int:
        """See `BrowserSessionStore`."""
        return self._rows.remove_of(kind, username, but)
