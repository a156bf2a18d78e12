# SPDX-License-Identifier: Apache-2.0
"""The meter of an event loop's turns."""

from __future__ import annotations

import gc

from tidegate.testing.turns import TurnMeter


async def test_what_was_taken_from_the_collector_before_stays_so() -> None:
    gc.freeze()
    before = gc.get_freeze_count()
    async with TurnMeter():
        assert gc.get_freeze_count() >= before
    assert gc.get_freeze_count() >= before / 2  # some of it has ended by itself
