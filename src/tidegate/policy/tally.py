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
from dataclasses import dataclass, fields
from typing import Final

from tidegate.model import Tally, TallyLimits
from tidegate.policy.quota import READ_TEXT, WRITE_TEXT, Over

COUNTERS: Final = tuple(f.name for f in fields(Tally))
"""Counter names in the order in which limits are asked: bytes in, out, xfer, then files."""


class Transfer(enum.Enum):
    """What is going on, as far as counters care; each value lists the counters concerned."""

    STORE = ("bytes_in", "bytes_xfer", "files_in", "files_xfer")
    """an upload of a new file or over an old one"""
    APPEND = ("bytes_in", "bytes_xfer")
    """going on at the end of a file: bytes only"""
    RETRIEVE = ("bytes_out", "bytes_xfer", "files_out", "files_xfer")
    """a download"""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a finished transfer comes to.

    Attributes:
        delta: change of the counters to keep, by addition.
        over: the limit that was crossed; with `remove` False a notice only.
        remove: hard limit crossed: the file has to go (or, for a hidden upload, not be published).
    """

    delta: Tally
    over: Over | None = None
    remove: bool = False


def start_tally(limits: TallyLimits, stored: Tally) -> Tally:
    """The counters a session begins with."""
    return Tally() if limits.per_session else stored


def keeps(limits: TallyLimits) -> bool:
    """Whether counters are written back to the account."""
    return not limits.per_session


def add(one: Tally, other: Tally) -> Tally:
    """Counters summed; none falls below zero."""
    return Tally(**{name: max(0, getattr(one, name) + getattr(other, name)) for name in COUNTERS})


def negate(tally: Tally) -> Tally:
    """The change that takes another back."""
    return Tally(**{name: -getattr(tally, name) for name in COUNTERS})


def check_start(
    limits: TallyLimits, used: Tally, transfer: Transfer, *, target_exists: bool = False
) -> Over | None:
    """Whether a transfer may begin.

    Args:
        limits: the account's limits.
        used: its counters now.
        transfer: what is about to happen.
        target_exists: for STORE: the file is there already, so the number of files does not matter.
    """
    for name in transfer.value:
        if transfer is Transfer.STORE and target_exists and name.startswith("files_"):
            continue
        limit = getattr(limits, name)
        if 0 < limit <= getattr(used, name):
            return _over(name, getattr(used, name), 0, limit, transfer)
    return None


def check_bytes(limits: TallyLimits, used: Tally, transfer: Transfer, moved: int) -> Over | None:
    """Whether `moved` bytes of a running transfer are strictly over a hard limit; soft ones never stop it."""
    if limits.limit_type != "hard":
        return None
    return _crossed(limits, used, _charge(limits, transfer, moved, 0), transfer)


def settle_upload(
    limits: TallyLimits, used: Tally, transfer: Transfer, *, old_size: int | None, new_size: int
) -> Settlement:
    """Charge a finished upload.

    Args:
        limits: the account's limits.
        used: its counters before, without this transfer.
        transfer: STORE or APPEND.
        old_size: bytes of the file before, None if there was none.
        new_size: bytes of the file now.
    """
    files = 1 if transfer is Transfer.STORE and old_size is None else 0
    delta = _charge(limits, transfer, new_size - (old_size or 0), files)
    over = _crossed(limits, used, delta, transfer)
    if over is not None and limits.limit_type == "hard":
        return Settlement(Tally(), over, remove=True)
    return Settlement(delta, over)


def settle_download(limits: TallyLimits, used: Tally, sent: int) -> Settlement:
    """Charge a finished download of `sent` bytes; there is nothing to remove."""
    delta = _charge(limits, Transfer.RETRIEVE, sent, 1)
    return Settlement(delta, _crossed(limits, used, delta, Transfer.RETRIEVE))


def settle_delete(limits: TallyLimits, size: int) -> Tally:
    """What removing a file of `size` bytes gives back."""
    return negate(_charge(limits, Transfer.STORE, size, 1))


def _charge(limits: TallyLimits, transfer: Transfer, size: int, files: int) -> Tally:
    """The change a transfer makes; counters without a limit stay at zero."""
    return Tally(
        **{
            name: size if name.startswith("bytes_") else files
            for name in transfer.value
            if getattr(limits, name) > 0
        }
    )


def _crossed(limits: TallyLimits, used: Tally, delta: Tally, transfer: Transfer) -> Over | None:
    for name in COUNTERS:
        limit, change = getattr(limits, name), getattr(delta, name)
        if limit > 0 and change > 0 and getattr(used, name) + change > limit:
            return _over(name, getattr(used, name), change, limit, transfer)
    return None


def _over(name: str, used: int, wanted: int, limit: int, transfer: Transfer) -> Over:
    text = READ_TEXT if transfer is Transfer.RETRIEVE else WRITE_TEXT
    said = f"{text}: {name}, used {used + wanted} of {limit}"
    return Over(name, f"filters.tally_limits.{name}", used, wanted, limit, said)
