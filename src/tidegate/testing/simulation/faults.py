# SPDX-License-Identifier: Apache-2.0
"""Faults in a history: the n-th call to the storage, or to the data provider, fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

Where = Literal["storage", "store"]

FAIL: Final = "fail"
"""An error, and nothing was done."""
LOST: Final = "lost"
"""It was done, and the answer is an error."""
SLOW: Final = "slow"
"""It is done only after `HANG_SECONDS`."""
LATE: Final = "late"
"""It is done at once, and the answer comes after `HANG_SECONDS`."""
CUT: Final = "cut"
"""The line of the client that asked breaks before it is done."""
CUT_AFTER: Final = "cut-after"
"""It is done, and the client's line breaks before the answer comes."""
KILL: Final = "kill"
"""The process ends before it is done (SIGKILL)."""
KILL_AFTER: Final = "kill-after"
"""It is done, and the process ends before the answer comes."""

KINDS: Final = (FAIL, LOST, SLOW, LATE, CUT, CUT_AFTER, KILL, KILL_AFTER)
HANG_SECONDS: Final = 45.0
"""Seconds that a call hangs: longer than every pause and time-out of usage accounting."""


class Fault(NamedTuple):
    """One call that goes wrong; calls are counted from 1 over the whole history."""

    where: Where
    nth: int
    kind: str


class Faults:
    """Counts calls and says which goes wrong.

    Attributes:
        counted: calls so far.
        met: faults that happened.
    """

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._due = {(fault.where, fault.nth): fault for fault in faults}
        self.counted: dict[Where, int] = {"storage": 0, "store": 0}
        self.met: list[Fault] = []
        self.off = False

    def soon(self, where: Where, kind: str, ahead: int = 1) -> None:
        """Let the call after `ahead` - 1 others go wrong."""
        nth = self.counted[where] + ahead
        self._due[where, nth] = Fault(where, nth, kind)

    def next(self, where: Where) -> str:
        """The kind of fault of the next call, empty if all goes well."""
        self.counted[where] += 1
        if self.off:
            return ""
        fault = self._due.get((where, self.counted[where]))
        if fault is None:
            return ""
        self.met.append(fault)
        return fault.kind
