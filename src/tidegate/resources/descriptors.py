# SPDX-License-Identifier: Apache-2.0
"""File descriptors of the process: the limit, and the reserve that new connections must leave.

The kernel gives the lowest free number to each new descriptor. So the number of the newest one tells, without
counting anything, that at least so many are in use.
"""

from __future__ import annotations

import errno
import os
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
"""The limit taken for none."""


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
    """Tells shortage of descriptors.

    Args:
        limit: descriptors of the process.
        reserve: number that new connections and sessions must leave free: for the data provider, the log,
            and files of operations under way.
    """

    def __init__(self, notices: Notices, *, limit: int, reserve: int) -> None:
        self.limit = limit
        self.reserve = reserve
        self._notices = notices
        self._full = limit - reserve
        self._relief = self._full - max(1, reserve // 4)

    def admits(self, fd: int) -> bool:
        """False if the reserve would be touched by whoever got `fd`, the newest descriptor."""
        if fd < self._full:
            if fd < self._relief and self._notices.is_reached(RULE):
                self._notices.over(RULE, "")
            return True
        self._notices.reached(
            RULE, "", f"{fd} of {self.limit} descriptors in use, {self.reserve} are kept in reserve"
        )
        return False

    def room(self) -> bool:
        """As `admits`, for whoever is about to open something."""
        try:
            fd = os.dup(2)
        except OSError as error:
            # Without a standard error there is nothing to copy, and nothing is known.
            return not self.short(error)
        os.close(fd)
        return self.admits(fd)

    def short(self, error: OSError) -> bool:
        """Take notice of an error; True if it says that no descriptor was to be had."""
        if error.errno not in SHORTAGE:
            return False
        self._notices.reached(RULE, "", f"{error.strerror} (limit {self.limit})")
        return True
