# SPDX-License-Identifier: Apache-2.0
"""The one engine of quotas: counters, limits on them, and the sets of both that a session charges.

The server charges live counters while bytes flow; `explain` builds the same sets (`policy.charges`) over the
numbers of one moment and asks them the same questions. A `UsageCounter` holds what is used; a `QuotaLimit`
is one limit on one counter; a `ChargeSet` holds every counter that one session charges for one mount, worked
out when the session opens, so that a write costs a few additions.

All of it belongs to one event loop and is synchronous: check and charge happen in one step. Sizes are bytes;
0 or less as a configured limit means no limit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tidegate.errors import QuotaExceeded, StorageFull, TooLarge
from tidegate.model import FolderMount

BYTES_PER_MB: Final = 1024 * 1024
"""Unit of `upload_data_transfer` and its siblings."""

WARNING_MARKS: Final = (80, 95)
"""Per cent of a limit at which operators are warned."""

OWN_QUOTA: Final = -1
"""`FolderMount.quota_size` and `quota_files`: counted in the account's own quota."""

WRITE_TEXT: Final = "denying write due to space limit"
READ_TEXT: Final = "denying read due to quota limit"

Direction = Literal["upload", "download"]

UNLIMITED: Final = sys.maxsize
MAX_FILE_BYTES: Final = 1 << 53
"""Largest file where no limit is set (8 PiB): a few sparse files must not exceed what a store counts."""

MAX_QUOTA_LIMITS: Final = 1024
"""Limits that a counter tells of its amount; beyond that the oldest one still holds, without warnings."""
TOO_LARGE_TEXT: Final = "file too large for the storage"
"""Said if no rule but `MAX_FILE_BYTES` says no; as for EFBIG."""

Warn = Callable[[str, int, int, int], None]
"""(limit, percent, used, allowed)"""


class UsageCounter:
    """The used amount of one thing.

    Attributes:
        used: the live number; never below zero.
        saved: what the store was told last.
        clipped: what was given back below zero, in all (zero or negative): the number was wrong before.
        quota_limits: limits on this counter.
    """

    __slots__ = ("clipped", "quota_limits", "saved", "used")

    def __init__(self, used: int = 0) -> None:
        self.used = self.saved = max(0, used)
        self.clipped = 0
        self.quota_limits: dict[tuple[str, int, bool], QuotaLimit] = {}

    def add(self, amount: int) -> None:
        """Charge, or credit if negative; tells its limits."""
        used = self.used + amount
        self.used = used = used if used >= 0 else self._above_zero(used)
        for quota_limit in self.quota_limits.values():
            if not quota_limit.calm_from <= used < quota_limit.warn_at:
                quota_limit.moved()

    def reset(self, used: int) -> None:
        """Set used and saved alike."""
        self.used = self.saved = max(0, used)
        for quota_limit in self.quota_limits.values():
            quota_limit.moved(quiet=True)

    def rebase(self, used: int, since: int) -> None:
        """The store now says `used`; what was charged on top of `since` meanwhile is still to be told."""
        moved = self.used - since
        self.reset(used)
        self.used = self._above_zero(self.used + moved)

    def _above_zero(self, used: int) -> int:
        if used >= 0:
            return used
        self.clipped += used
        return 0

    def quota_limit(
        self, name: str, limit: int, *, soft: bool = False, unit: str = "bytes", warn: Warn
    ) -> QuotaLimit:
        """The object for a limit; sessions with the same limit share it, so that a warning comes once."""
        key = (name, limit, soft)
        found = self.quota_limits.get(key)
        if found is None:
            if (
                len(self.quota_limits) >= MAX_QUOTA_LIMITS
            ):  # an account in use for months is changed many times
                del self.quota_limits[next(iter(self.quota_limits))]
            found = self.quota_limits[key] = QuotaLimit(self, name, limit, soft=soft, unit=unit, warn=warn)
        return found


class QuotaLimit:
    """One limit on one count.

    Attributes:
        count: the counter.
        name: the limit's name in accounts.
        limit: at or above it nothing new may start.
        ceiling: the count may never pass it; `UNLIMITED` for a soft limit.
        warn_at: the next mark that is worth a warning.
        calm_from: the last mark that was passed; below it the count has left that again.
    """

    __slots__ = ("_level", "_warn", "calm_from", "ceiling", "count", "limit", "name", "unit", "warn_at")

    def __init__(
        self, count: UsageCounter, name: str, limit: int, *, soft: bool, unit: str, warn: Warn
    ) -> None:
        self.count = count
        self.name = name
        self.limit = limit
        self.ceiling = UNLIMITED if soft else limit
        self.unit = unit
        self._warn = warn
        self._level = 0
        self.warn_at = UNLIMITED
        self.calm_from = 0
        self.moved(quiet=True)

    def moved(self, *, quiet: bool = False) -> None:
        """The count changed: warn once for each mark crossed upwards, arm again for those left below."""
        used, limit = self.count.used, self.limit
        level = sum(1 for percent in WARNING_MARKS if used * 100 >= limit * percent)
        if level > self._level and not quiet:
            self._warn(self.name, WARNING_MARKS[level - 1], used, limit)
        self._level = level
        marks = WARNING_MARKS
        self.warn_at = _least(limit, marks[level]) if level < len(marks) else UNLIMITED
        self.calm_from = _least(limit, marks[level - 1]) if level else 0

    def reached(self, given_back: int = 0) -> bool:
        """True if nothing that uses up more may begin.

        Who is over the limit may not even replace; who is at it may, if that gives something back.
        """
        used = self.count.used
        return used > self.limit or used - given_back >= self.limit

    def error(self, *, reading: bool = False) -> QuotaExceeded:
        """The refusal, worded for the client."""
        used = min(self.count.used, self.limit) if self.ceiling != UNLIMITED else self.count.used
        if self.unit == "files":
            amount = f"{used} of {self.limit} files"
        else:
            amount = f"{megabytes(used)} of {megabytes(self.limit)}"
        act = READ_TEXT if reading else WRITE_TEXT
        return QuotaExceeded(
            f"{act}: {amount} used ({self.name})", limit=self.name.rpartition(".")[2], rule=self.name
        )


def _least(limit: int, percent: int) -> int:
    """The least number that is `percent` of `limit` or more."""
    return max(1, -(-limit * percent // 100))


def megabytes(size: int) -> str:
    """A size for people: ``10.0 MB``; small ones in bytes."""
    return f"{size / 1_048_576:.1f} MB" if size >= 104_858 else f"{size} bytes"


Limits = tuple[QuotaLimit, ...]
Counts = tuple[UsageCounter, ...]


@dataclass(frozen=True, slots=True)
class ChargeSet:
    """The counters that one session charges on one mount, and the limits it asks.

    Attributes:
        grow_limits: limits on how much the files of the mount may grow.
        grow: counts that growth is added to.
        file_limits: limits on the number of files.
        files: counts of files.
        up_limits: limits on bytes received.
        up: counts of bytes received.
        down_limits: limits on bytes sent.
        down: counts of bytes sent.
        fetch_limits: limits on files sent.
        fetches: counts of files sent.
        max_file: largest file that may be uploaded, `MAX_FILE_BYTES` if no limit is set.
        space: the limit that `space` shows for bytes, and the one for files.
        owner: what tells whether moving a file between two mounts moves its charge.
    """

    grow_limits: Limits = ()
    grow: Counts = ()
    file_limits: Limits = ()
    files: Counts = ()
    up_limits: Limits = ()
    up: Counts = ()
    down_limits: Limits = ()
    down: Counts = ()
    fetch_limits: Limits = ()
    fetches: Counts = ()
    max_file: int = MAX_FILE_BYTES
    space: tuple[QuotaLimit | None, QuotaLimit | None] = (None, None)
    owner: tuple[object, ...] = ()

    def charge(self, size: int, files: int) -> None:
        """Change bytes and files in one step, or nothing.

        Raises:
            QuotaExceeded: the change is upwards and does not fit.
        """
        if size > 0:
            require(self.grow_limits, size)
        if files > 0:
            require(self.file_limits, files)
        self.credit(size, files)

    def credit(self, size: int, files: int) -> None:
        """Change bytes and files without asking."""
        if size:
            for count in self.grow:
                count.add(size)
        if files:
            for count in self.files:
                count.add(files)

    def may_upload(self, *, new: bool, replaced: int) -> None:
        """Return if an upload may start.

        Args:
            new: the file does not exist yet.
            replaced: bytes that are given back when the old content goes.

        Raises:
            QuotaExceeded: a limit is reached already; overwriting when over the limit is refused too.
        """
        for quota_limit in self.grow_limits:
            used = quota_limit.count.used
            if used > quota_limit.limit or used - replaced >= quota_limit.limit:  # as `reached` has it
                raise quota_limit.error()
        if new:
            self._below(self.file_limits)
        self._below(self.up_limits)

    def require_size(self, size: int) -> None:
        """Return if a file may be that large.

        Raises:
            TooLarge: `max_upload_file_size` says no.
            StorageFull: nothing can hold so much.
        """
        if size > self.max_file:
            if self.max_file >= MAX_FILE_BYTES:
                raise StorageFull(TOO_LARGE_TEXT)
            raise TooLarge

    def may_download(self) -> None:
        """Return if a download may start.

        Raises:
            QuotaExceeded: a limit is reached already.
        """
        self._below(self.down_limits, reading=True)
        self._below(self.fetch_limits, reading=True)

    @staticmethod
    def _below(limits: Iterable[QuotaLimit], *, reading: bool = False) -> None:
        for quota_limit in limits:
            if quota_limit.count.used >= quota_limit.limit:  # as `reached` has it
                raise quota_limit.error(reading=reading)


def require(limits: Limits, amount: int, *, reading: bool = False) -> None:
    """Return if every limit leaves room for `amount`.

    Raises:
        QuotaExceeded: one does not.
    """
    for quota_limit in limits:
        if quota_limit.count.used + amount > quota_limit.ceiling:
            raise quota_limit.error(reading=reading)


def counts_in_account(mount: FolderMount) -> bool:
    """True if what lies in a folder counts in the account's own quota."""
    return mount.quota_size == OWN_QUOTA and mount.quota_files == OWN_QUOTA
