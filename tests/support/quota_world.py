# SPDX-License-Identifier: Apache-2.0
"""Charges of one session of an account, over counters that a test sets."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.errors import QuotaExceeded
from tidegate.model import TALLY_NAMES, Account, FolderMount
from tidegate.policy.charges import build_charges
from tidegate.policy.quota import ChargeSet, UsageCounter


class Counters:
    """Counters of an account or a folder."""

    def __init__(
        self, size: int = 0, files: int = 0, upload: int = 0, download: int = 0, **tally: int
    ) -> None:
        self.size, self.files = UsageCounter(size), UsageCounter(files)
        self.upload, self.download = UsageCounter(upload), UsageCounter(download)
        self.total = UsageCounter(upload + download)
        self.tally = {name: UsageCounter(tally.get(name, 0)) for name in TALLY_NAMES}


def charges(
    account: Account,
    used: Counters,
    mount: FolderMount | None = None,
    folder: Counters | None = None,
    session_tally: dict[str, UsageCounter] | None = None,
    *,
    ip: str = "192.0.2.7",
) -> ChargeSet:
    return build_charges(1, lambda *_: None, account, used, session_tally, ip=ip, mount=mount, folder=folder)


def refusal(act: Callable[[], object]) -> QuotaExceeded | None:
    """The limit that says no to `act`, None if none does."""
    try:
        act()
    except QuotaExceeded as error:
        return error
    return None


def limit_of(act: Callable[[], object]) -> str | None:
    """The name of the limit that says no."""
    error = refusal(act)
    return None if error is None else error.limit
