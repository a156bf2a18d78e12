# SPDX-License-Identifier: Apache-2.0
"""Clients that send nothing: before they have logged in, and after."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from tidegate.cluster.registry import Activity
from tidegate.resources.deadline import Deadline


class SilenceWatch:
    """Calls back if a client has not begun to log in and sent nothing for some time.

    Args:
        seconds: between two looks.
        heard: differs from an earlier value if the client has sent anything since.
        silent: called once, when two looks saw the same.
    """

    def __init__(self, seconds: float, heard: Callable[[], object], silent: Callable[[], None]) -> None:
        self._seconds = seconds
        self._heard = heard
        self._silent = silent
        self._last = heard()
        self._next: Deadline | None = Deadline(seconds, self._look)

    def _look(self) -> None:
        last, self._last = self._last, self._heard()
        if last == self._last:
            self._next = None
            self._silent()
        else:
            self._next = Deadline(self._seconds, self._look)

    def cancel(self) -> None:
        """Look no more. Safe to call twice."""
        if self._next is not None:
            self._next.cancel()
            self._next = None


SWEEP_SECONDS: Final = 0.1
"""Least time between two looks at all connections of a door."""


class Idler(Protocol):
    """A connection, as `IdleSweep` sees it.

    Attributes:
        activity: touched by the door with everything that the client sends.
    """

    activity: Activity

    @property
    def idle_seconds(self) -> float:
        """Longest time that the client may do nothing; 0 or less is without end."""
        ...

    @property
    def busy(self) -> bool:
        """True while something goes on that the client waits for."""
        ...

    def idle_too_long(self) -> None:
        """End the connection. May be called more than once."""
        ...


class IdleSweep:
    """Ends the connections of idle clients of a door, with one timer for all of them.

    Args:
        members: the connections that there are.
    """

    def __init__(self, members: Callable[[], Iterable[Idler]]) -> None:
        self._members = members
        self._timer: asyncio.TimerHandle | None = None

    def added(self, one: Idler) -> None:
        """A connection came."""
        if one.idle_seconds > 0:
            self._due(one.idle_seconds)

    def _due(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        seconds = max(seconds, SWEEP_SECONDS)
        if self._timer is not None:
            if self._timer.when() <= loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = loop.call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        due: float | None = None
        for one in list(self._members()):
            if one.idle_seconds <= 0:
                continue
            if one.busy:
                one.activity.touch()
            left = one.idle_seconds - one.activity.silent_seconds
            if left <= 0:
                one.idle_too_long()
            elif due is None or left < due:
                due = left
        if due is not None:
            self._due(due)

    def cancel(self) -> None:
        """Look no more. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class IdleWatch:
    """Calls back when a client has done nothing for some time.

    Args:
        seconds: of idleness; 0 or less is without end.
        activity: touched by the door with everything that the client sends.
        moved: True if transfers moved bytes since it was asked last.
        idle: called once.
    """

    def __init__(
        self, seconds: float, activity: Activity, moved: Callable[[], bool], idle: Callable[[], None]
    ) -> None:
        self._seconds = seconds
        self._activity = activity
        self._moved = moved
        self._idle = idle
        self._timer: asyncio.TimerHandle | None = None
        if seconds > 0:
            activity.touch()
            self._look()

    def _look(self) -> None:
        self._timer = None
        if self._moved():
            self._activity.touch()
        left = self._seconds - self._activity.silent_seconds
        if left <= 0:
            self._idle()
        else:
            self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def cancel(self) -> None:
        """Look no more. Safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
