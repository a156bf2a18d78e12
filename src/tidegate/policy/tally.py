# SPDX-License-Identifier: Apache-2.0
"""Quota in ProFTPD's model (mod_quotatab): six counters, soft or hard, for good or per session.

* "in" is uploads less deletions, "out" is downloads, "xfer" is both together.
* A counter without a limit is not kept. The six limits are asked in order; the first that is met denies.
* Before a transfer: a counter that has reached its limit refuses. The number of files is asked only if
  the target does not exist yet, and never for appending.
* Bytes are charged as the change of the file's size, so that an overwrite may give some back.
* ``hard``: a file that took a counter strictly over its limit is removed and its charge taken back;
  reaching the limit exactly keeps it. ``soft``: one file may cross; the next is refused.
"""

from __future__ import annotations

import enum

from tidegate.model import Tally, TallyLimits
from tidegate.policy.quota import READ_TEXT, WRITE_TEXT, Over, passes, reached


class Transfer(enum.Enum):
    """What is going on, as far as counters care; each value lists the counters concerned."""

    STORE = ("bytes_in", "bytes_xfer", "files_in", "files_xfer")
    """an upload of a new file or over an old one"""
    RETRIEVE = ("bytes_out", "bytes_xfer", "files_out", "files_xfer")
    """a download"""


def start_tally(limits: TallyLimits, stored: Tally) -> Tally:
    """The counters a session begins with."""
    return Tally() if limits.per_session else stored


def check_start(
    limits: TallyLimits,
    used: Tally,
    transfer: Transfer,
    *,
    target_exists: bool = False,
    given_back: int = 0,
) -> Over | None:
    """Whether a transfer may begin.

    Args:
        limits: the account's limits.
        used: its counters now.
        transfer: what is about to happen.
        target_exists: for STORE: the file is there already, so the number of files does not matter.
        given_back: for STORE: bytes of the file that is replaced.
    """
    for name in transfer.value:
        is_files, is_store = name.startswith("files_"), transfer is Transfer.STORE
        if is_store and target_exists and is_files:
            continue
        limit = getattr(limits, name)
        if reached(limit, getattr(used, name), given_back if is_store and not is_files else 0):
            return _over(name, getattr(used, name), 0, limit, transfer)
    return None


def check_bytes(
    limits: TallyLimits, used: Tally, transfer: Transfer, moved: int, *, files: int = 0
) -> Over | None:
    """Whether `moved` bytes (and new `files`) are strictly over a hard limit; soft ones stop nothing."""
    if limits.limit_type != "hard":
        return None
    for name in transfer.value:
        limit, before = getattr(limits, name), getattr(used, name)
        wanted = files if name.startswith("files_") else moved
        if passes(limit, before, wanted):
            return _over(name, before, wanted, limit, transfer)
    return None


def _over(name: str, used: int, wanted: int, limit: int, transfer: Transfer) -> Over:
    text = READ_TEXT if transfer is Transfer.RETRIEVE else WRITE_TEXT
    said = f"{text}: {name}, used {used + wanted} of {limit}"
    return Over(name, f"filters.tally_limits.{name}", used, wanted, limit, said)
