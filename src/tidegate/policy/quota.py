# SPDX-License-Identifier: Apache-2.0
"""Quota arithmetic: what an act charges, what is left, which limit says no.

Counters live elsewhere (live usage is shared by sessions); everything here is a function of numbers. The
hot path (`vfs.gauges`) does the same sums on its own counters; a test holds the two together.
0 or less as a limit means no limit. Sizes are bytes; transfer allowances are MB of 1048576 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tidegate.model import Account, FolderMount

BYTES_PER_MB: Final = 1024 * 1024
"""Unit of `upload_data_transfer` and its siblings."""

WARNING_MARKS: Final = (80, 95)
"""Per cent of a limit at which operators are warned."""

OWN_QUOTA: Final = -1
"""`FolderMount.quota_size` and `quota_files`: counted in the account's own quota."""

WRITE_TEXT: Final = "denying write due to space limit"
READ_TEXT: Final = "denying read due to quota limit"

Direction = Literal["upload", "download"]


@dataclass(frozen=True, slots=True)
class Charge:
    """A change of two counters; either may be negative."""

    size: int = 0
    files: int = 0


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits and what is used of them.

    Attributes:
        size: limit in bytes.
        files: limit in files.
        used: what is used now.
        where: prefix of the fields in the account, for instance ``virtual_folders[0].``; empty for its own.
    """

    size: int = 0
    files: int = 0
    used: Charge = Charge()
    where: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """A limit that says no.

    Attributes:
        limit: its name, for instance ``quota_size`` or ``total_data_transfer``.
        rule: name for logs, for instance ``virtual_folders[0].quota_size``.
        used: counter before the act.
        wanted: what the act would add.
        allowed: the limit itself.
        text: what the client is told.
    """

    limit: str
    rule: str
    used: int
    wanted: int
    allowed: int
    text: str


# -- space --------------------------------------------------------------------------------------------


def quota_of_account(account: Account, used: Charge | None = None) -> Quota:
    """An account's own quota, with live counters if given, else those stored with it."""
    stored = Charge(account.used_quota_size, account.used_quota_files)
    return Quota(account.quota_size, account.quota_files, stored if used is None else used)


def counts_in_account(mount: FolderMount) -> bool:
    """Whether what lies in a folder counts in the account's own quota."""
    return mount.quota_size == OWN_QUOTA and mount.quota_files == OWN_QUOTA


def remaining(limit: int, used: int) -> int | None:
    """What is left of one limit, never below zero; None for no limit."""
    return None if limit <= 0 else max(0, limit - used)


def reached(limit: int, used: int, given_back: int = 0) -> bool:
    """Whether nothing that uses up more may begin.

    Who is over the limit may not even replace; who is at it may, if that gives something back.
    """
    return limit > 0 and (used > limit or used - given_back >= limit)


def passes(limit: int, used: int, wanted: int) -> bool:
    """Whether `wanted` more would go over a limit; reaching it exactly fits, and so does what shrinks."""
    return wanted > 0 and 0 < limit < used + wanted


def check_start(quota: Quota, *, new_file: bool, given_back: int = 0) -> Over | None:
    """Whether a write may begin: a counter that has reached its limit refuses.

    The number of files matters for a new file only; `given_back` are bytes of the file that is replaced.
    """
    if reached(quota.size, quota.used.size, given_back):
        return _over(quota, "quota_size", quota.used.size, 1, quota.size)
    if new_file and reached(quota.files, quota.used.files):
        return _over(quota, "quota_files", quota.used.files, 1, quota.files)
    return None


def check_charge(quota: Quota, charge: Charge) -> Over | None:
    """Whether a charge still fits; reaching a limit exactly does. What shrinks always fits."""
    if passes(quota.size, quota.used.size, charge.size):
        return _over(quota, "quota_size", quota.used.size, charge.size, quota.size)
    if passes(quota.files, quota.used.files, charge.files):
        return _over(quota, "quota_files", quota.used.files, charge.files, quota.files)
    return None


def _over(quota: Quota, name: str, used: int, wanted: int, allowed: int) -> Over:
    return Over(name, f"{quota.where}{name}", used, wanted, allowed, f"{WRITE_TEXT}: {name}")


# -- transfer allowance -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be transferred, in bytes: 0 no limit. Every limit that is set applies."""

    upload: int = 0
    download: int = 0
    total: int = 0


def allowance_of(account: Account) -> Allowance:
    """An account's allowance in bytes."""
    return Allowance(
        max(0, account.upload_data_transfer) * BYTES_PER_MB,
        max(0, account.download_data_transfer) * BYTES_PER_MB,
        max(0, account.total_data_transfer) * BYTES_PER_MB,
    )


def _transfer_limits(
    allowance: Allowance, direction: Direction, used_upload: int, used_download: int
) -> Iterable[tuple[str, int, int]]:
    """(name, limit, used) of the limits that concern a direction."""
    if direction == "upload":
        yield "upload_data_transfer", allowance.upload, used_upload
    else:
        yield "download_data_transfer", allowance.download, used_download
    yield "total_data_transfer", allowance.total, used_upload + used_download


def transfer_remaining(
    allowance: Allowance, direction: Direction, *, used_upload: int, used_download: int
) -> int | None:
    """Bytes that may still be moved in a direction; None for no limit."""
    left = [
        max(0, limit - used)
        for _, limit, used in _transfer_limits(allowance, direction, used_upload, used_download)
        if limit > 0
    ]
    return min(left) if left else None


def check_transfer(
    allowance: Allowance, direction: Direction, wanted: int, *, used_upload: int, used_download: int
) -> Over | None:
    """Whether `wanted` more bytes may be moved; 0 asks whether a transfer may begin at all."""
    text = WRITE_TEXT if direction == "upload" else READ_TEXT
    for name, limit, used in _transfer_limits(allowance, direction, used_upload, used_download):
        if passes(limit, used, wanted) or (wanted == 0 and reached(limit, used)):
            return Over(name, name, used, wanted, limit, f"{text}: {name}")
    return None
