# SPDX-License-Identifier: Apache-2.0
"""From a history that fails to a small one that fails too."""

from __future__ import annotations

from tidegate.testing.simulation.history import History, smaller
from tidegate.testing.simulation.world import simulate


def minimal(history: History, *, tries: int = 3000) -> History:
    """A smaller history that fails too.

    Args:
        tries: most histories that are run on the way.
    """
    left = tries
    shrunk = True
    while shrunk:
        shrunk = False
        for candidate in smaller(history):
            if not left:
                return history
            left -= 1
            if simulate(candidate).failures:
                history, shrunk = candidate, True
                break
    return history
