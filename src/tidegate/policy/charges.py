# SPDX-License-Identifier: Apache-2.0
"""Builds the `ChargeSet` of a session on a mount from an account's limits and counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tidegate.model import TALLY_NAMES, Account, FolderMount
from tidegate.model.address_list import AddressList
from tidegate.policy.quota import (
    BYTES_PER_MB,
    MAX_FILE_BYTES,
    ChargeSet,
    Counts,
    Limits,
    QuotaLimit,
    UsageCounter,
    Warn,
    counts_in_account,
)


@dataclass(frozen=True, slots=True)
class Allowances:
    """The bytes that may be moved, for one client.

    Attributes:
        upload: MB, 0 no limit; `download` and `total` likewise.
        where: the field of `Filters` that says so, for instance ``data_transfer_limits[0]``; empty for the
            account's own three.
    """

    upload: int
    download: int
    total: int
    where: str = ""

    def name_of(self, direction: str) -> str:
        """The name of a limit: ``upload_data_transfer``, with the entry that it stands in."""
        return f"{self.where}.{direction}_data_transfer" if self.where else f"{direction}_data_transfer"


def allowances_for(account: Account, ip: str) -> Allowances:
    """The allowances for a client's address: by the first entry that names it, all three of them."""
    for index, limit in enumerate(account.filters.data_transfer_limits):
        if AddressList(limit.sources).match(ip) is not None:
            return Allowances(
                limit.upload_data_transfer,
                limit.download_data_transfer,
                limit.total_data_transfer,
                f"data_transfer_limits[{index}]",
            )
    return Allowances(
        account.upload_data_transfer, account.download_data_transfer, account.total_data_transfer
    )


class SpaceCounters(Protocol):
    """Counters of an account or a folder: bytes and files."""

    @property
    def size(self) -> UsageCounter:
        """Bytes."""
        ...

    @property
    def files(self) -> UsageCounter:
        """Files."""
        ...


class AccountCounters(SpaceCounters, Protocol):
    """Counters of an account."""

    @property
    def upload(self) -> UsageCounter:
        """Bytes received."""
        ...

    @property
    def download(self) -> UsageCounter:
        """Bytes sent."""
        ...

    @property
    def total(self) -> UsageCounter:
        """Bytes received and sent."""
        ...

    @property
    def tally(self) -> Mapping[str, UsageCounter]:
        """The six counters of `TALLY_NAMES`."""
        ...


def build_charges(
    track_quota: int,
    warn: Warn,
    account: Account,
    used: AccountCounters,
    session_tally: Mapping[str, UsageCounter] | None,
    *,
    ip: str,
    mount: FolderMount | None,
    folder: SpaceCounters | None,
) -> ChargeSet:
    """Work out what one session charges on one mount.

    A mount with ``quota_size`` and ``quota_files`` -1 charges the account and the folder and is limited
    by the account; any other charges the folder alone and is limited by the mount.

    Args:
        track_quota: 0 counts nothing, 1 counts for everybody, 2 for accounts with limits and for folders.
        warn: called when usage crosses a mark.
        account: the limits.
        used: the account's counters.
        session_tally: counters of this session, if its tally limits are per session.
        ip: address of the client, which allowances may be bound to.
        mount: the folder mount, None for the home.
        folder: the folder's counters.
    """
    own = mount is not None and not counts_in_account(mount)
    grow: list[UsageCounter] = []
    files: list[UsageCounter] = []
    grow_limits: list[QuotaLimit] = []
    file_limits: list[QuotaLimit] = []
    limited = account.quota_size > 0 or account.quota_files > 0
    if track_quota:
        if folder is not None:
            grow.append(folder.size)
            files.append(folder.files)
        if not own and (track_quota == 1 or limited):
            grow.append(used.size)
            files.append(used.files)
        if own and mount is not None and folder is not None:
            place = f"virtual_folders[{account.virtual_folders.index(mount)}]."
            size_limit, files_limit = mount.quota_size, mount.quota_files
            size_count, files_count = folder.size, folder.files
        else:
            place, size_limit, files_limit = "", account.quota_size, account.quota_files
            size_count, files_count = used.size, used.files
        if size_limit > 0:
            grow_limits.append(size_count.quota_limit(f"{place}quota_size", size_limit, warn=warn))
        if files_limit > 0:
            file_limits.append(
                files_count.quota_limit(f"{place}quota_files", files_limit, unit="files", warn=warn)
            )
    space = (grow_limits[0] if grow_limits else None, file_limits[0] if file_limits else None)
    up, up_limits, down, down_limits = _transfer(track_quota, warn, account, used, ip)
    tally = _TallyParts(account, session_tally or used.tally, warn)
    return ChargeSet(
        grow_limits=(*grow_limits, *tally.limits("bytes_in", "bytes_xfer")),
        grow=(*grow, *tally.counts("bytes_in", "bytes_xfer")),
        file_limits=(*file_limits, *tally.limits("files_in", "files_xfer")),
        files=(*files, *tally.counts("files_in", "files_xfer")),
        up_limits=up_limits,
        up=up,
        down_limits=(*down_limits, *tally.limits("bytes_out", "bytes_xfer")),
        down=(*down, *tally.counts("bytes_out", "bytes_xfer")),
        fetch_limits=tally.limits("files_out", "files_xfer"),
        fetches=tally.counts("files_out", "files_xfer"),
        max_file=account.filters.max_upload_file_size or MAX_FILE_BYTES,
        space=space,
        owner=(*grow, *tally.counts("bytes_in")),
    )


def _transfer(
    track_quota: int, warn: Warn, account: Account, used: AccountCounters, ip: str
) -> tuple[Counts, Limits, Counts, Limits]:
    """The counters and limits of what is sent, and of what is fetched."""
    if not track_quota:
        return (), (), (), ()
    up_limits: list[QuotaLimit] = []
    down_limits: list[QuotaLimit] = []
    allowed = allowances_for(account, ip)
    for direction, count, wanted in (
        ("upload", used.upload, (up_limits,)),
        ("download", used.download, (down_limits,)),
        ("total", used.total, (up_limits, down_limits)),
    ):
        megabytes_allowed = getattr(allowed, direction)
        if megabytes_allowed > 0:
            quota_limit = count.quota_limit(
                allowed.name_of(direction), megabytes_allowed * BYTES_PER_MB, warn=warn
            )
            for limits in wanted:
                limits.append(quota_limit)
    # What is moved where nothing is limited counts where something is.
    elsewhere = bool(account.filters.data_transfer_limits)
    if track_quota == 2 and not up_limits and not down_limits and not elsewhere:
        return (), (), (), ()
    return (used.upload, used.total), tuple(up_limits), (used.download, used.total), tuple(down_limits)


class _TallyParts:
    """The limits and counters that an account's `TallyLimits` asks for; an unlimited counter is not kept."""

    def __init__(self, account: Account, counts: Mapping[str, UsageCounter], warn: Warn) -> None:
        self._limits = account.filters.tally_limits
        self._counts = counts
        self._warn = warn

    def _allowed(self, name: str) -> int:
        return int(getattr(self._limits, name)) if self._limits is not None else 0

    def counts(self, *names: str) -> Counts:
        return tuple(self._counts[name] for name in names if self._allowed(name) > 0)

    def limits(self, *names: str) -> Limits:
        if self._limits is None:
            return ()
        soft = self._limits.limit_type == "soft"
        return tuple(
            self._counts[name].quota_limit(
                f"tally_limits.{name}",
                self._allowed(name),
                soft=soft,
                unit="files" if name.startswith("files") else "bytes",
                warn=self._warn,
            )
            for name in names
            if self._allowed(name) > 0
        )


def session_tally(account: Account) -> dict[str, UsageCounter] | None:
    """Fresh counters if the account's tally limits are per session."""
    limits = account.filters.tally_limits
    return (
        {name: UsageCounter() for name in TALLY_NAMES} if limits is not None and limits.per_session else None
    )
