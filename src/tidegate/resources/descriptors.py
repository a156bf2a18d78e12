# SPDX-License-Identifier: Apache-2.0
"""File descriptors of the process: the limit, what is kept in reserve, and shortage survived.

The kernel gives the lowest free number to each new descriptor. So the number of the newest one tells, without
counting anything, that at least so many are in use.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Final

from tidegate.resources.notices import Notices

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

RULE: Final = "limits.reserved_descriptors"

SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE})
"""Error numbers that mean that no descriptor is to be had."""

UNKNOWN_LIMIT: Final = 1024
"""Assumed where the system does not tell its limit."""

MAX_LIMIT: Final = 1 << 30
"""What no limit is taken for."""


def descriptor_limit() -> int:
    """Descriptors that this process may have open now."""
    if resource is None:
        return UNKNOWN_LIMIT
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_LIMIT if soft == resource.RLIM_INFINITY else min(soft, MAX_LIMIT)


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, as far as the system lets; returns the limit in force."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            except (OSError, ValueError):
                return descriptor_limit()  # the system's own bound is lower (macOS)
    return descriptor_limit()


class Descriptors:
    """Tells shortage of descriptors, and asks those that keep idle ones to give them up.

    Args:
        limit: descriptors of the process.
        reserve: how many new connections and sessions must leave free: for the data provider, the log,
            and files of operations under way.
    """

    def __init__(self, notices: Notices, *, limit: int, reserve: int) -> None:
        self.limit = limit
        self.reserve = reserve
        self._notices = notices
        self._full = limit - reserve
        self._low = limit - 2 * reserve
        self._idle: list[Callable[[], None]] = []
        self._asked = False

    def on_shortage(self, give_up: Callable[[], None]) -> None:
        """Call `give_up` when descriptors run low; it closes, now or soon, what is open and not in use."""
        self._idle.append(give_up)

    def admits(self, fd: int) -> bool:
        """False if the reserve would be touched by whoever got `fd`, the newest descriptor."""
        if fd < self._low:
            self._asked = False
            if self._notices.is_reached(RULE):
                self._notices.over(RULE, "")
            return True
        if not self._asked:
            self._asked = True
            self._give_up()
        if fd < self._full:
            return True
        self._asked = False  # what was given up was not enough: ask again next time
        self._notices.reached(
            RULE, "", f"{fd} of {self.limit} descriptors in use, {self.reserve} are kept in reserve"
        )
        return False

    def room(self) -> bool:
        """As `admits`, for whoever is about to open something."""
        try:
            fd = os.dup(2)
        except OSError as error:
            if error.errno in SHORTAGE:
                self.short(error)
                return False
            return True  # no standard error to copy: nothing is known
        os.close(fd)
        return self.admits(fd)

    def short(self, error: OSError) -> bool:
        """Take notice of an error; True if it says that no descriptor was to be had."""
        if error.errno not in SHORTAGE:
            return False
        self._notices.reached(RULE, "", f"{error.strerror} (limit {self.limit})")
        self._give_up()
        return True

    def _give_up(self) -> None:
        for give_up in self._idle:
            give_up()
