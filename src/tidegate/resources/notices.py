# SPDX-License-Identifier: Apache-2.0
"""Log lines about limits: one when a limit is reached, one when it is over, never one for each refusal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

QUIET_SECONDS: Final = 60.0
"""A limit that is reached again within this time after it was over is not logged again."""

MAX_ACTIVE: Final = 1000
"""Limits (rule and key) that are reached at the same time and remembered; more are logged and forgotten."""

_log = logging.getLogger("tidegate.resources")


class Notices:
    """Remembers which limits are reached now.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._active: dict[tuple[str, str], int] = {}
        self._ended: dict[tuple[str, str], float] = {}

    def reached(self, rule: str, key: str, text: str) -> None:
        """A limit refused something.

        Args:
            rule: name of the limit, as in the configuration.
            key: the account or source concerned; empty for the whole process.
            text: one sentence for the log.
        """
        name = (rule, key)
        refused = self._active.get(name)
        if refused is not None:
            self._active[name] = refused + 1
            return
        if len(self._active) < MAX_ACTIVE:
            self._active[name] = 1
        ended = self._ended.get(name)
        if ended is None or self._clock() - ended >= QUIET_SECONDS:
            _log.warning("limit reached: %s%s: %s", rule, f" ({key})" if key else "", text)

    def over(self, rule: str, key: str) -> None:
        """There is room again; nothing is logged if the limit was not reached before."""
        name = (rule, key)
        refused = self._active.pop(name, None)
        if refused is None:
            return
        now, ended = self._clock(), self._ended.get(name)
        if ended is None or now - ended >= QUIET_SECONDS:
            _log.info(
                "limit no longer reached: %s%s: refused %d times", rule, f" ({key})" if key else "", refused
            )
        self._ended[name] = now
        if len(self._ended) > MAX_ACTIVE:
            del self._ended[next(iter(self._ended))]

    def is_reached(self, rule: str, key: str = "") -> bool:
        """True from the first refusal until `over`."""
        return (rule, key) in self._active
