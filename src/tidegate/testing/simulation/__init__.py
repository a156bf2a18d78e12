# SPDX-License-Identifier: Apache-2.0
"""Seeded simulation: one seed is one history of clients, schedule, clock and failing storage.

::

    outcome = simulate(generate(seed=7))
    assert not outcome.failures

The product runs as it is (`VfsSessions`, `LocalBackend`, real files); simulated are time, threads, the data
provider, lines that break and processes that end. ``python -m tidegate.testing.simulation --seed 7`` replays
one and says what happened. New kinds of acts go into the table of `operations`.
"""

from tidegate.testing.simulation.dav_operations import DAV_ACTS
from tidegate.testing.simulation.ftp_dialogues import FTP_DIALOGUE
from tidegate.testing.simulation.ftp_operations import FTP_ACTS
from tidegate.testing.simulation.history import History, Rules, Script, Step, generate
from tidegate.testing.simulation.world import Outcome, simulate

__all__ = [
    "DAV_ACTS",
    "FTP_ACTS",
    "FTP_DIALOGUE",
    "History",
    "Outcome",
    "Rules",
    "Script",
    "Step",
    "generate",
    "simulate",
]
