# SPDX-License-Identifier: Apache-2.0
"""Live usage of one account or folder, and what the store has to offer for keeping it."""

from __future__ import annotations

import asyncio
from typing import Final, Literal, Protocol

from tidegate.model import TALLY_NAMES, Account, Folder, Tally, UsageDelta
from tidegate.vfs.gauges import Count


class UsageStore(Protocol):
    """The part of a data provider that the vfs needs; names and meaning are those of `store.contract`."""

    async def user(self, username: str) -> Account | None:
        """One account with its folder mounts."""
        ...

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        ...

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters."""
        ...

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters."""
        ...

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""
        ...

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters."""
        ...

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""
        ...

    async def mark_usage(self, username: str, *, dirty: bool) -> None:
        """Remember that an account's counters may be behind, or are settled again."""
        ...

    async def dirty_usage(self) -> list[str]:
        """Accounts whose counters may be behind."""
        ...

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download` if it is not set yet."""
        ...


class Reserving(Protocol):
    """An open upload as a scan sees it."""

    @property
    def reserved(self) -> int:
        """Bytes charged for content that a listing does not show yet."""
        ...

    @property
    def reserved_files(self) -> int:
        """Files charged that a listing does not show yet."""
        ...


class FolderBook:
    """Live usage of one folder."""

    __slots__ = ("files", "name", "refs", "size")

    def __init__(self, name: str, size: int, files: int) -> None:
        self.name = name
        self.size = Count(size)
        self.files = Count(files)
        self.refs = 0

    @property
    def pending(self) -> bool:
        """Whether the store is behind."""
        return self.size.used != self.size.saved or self.files.used != self.files.saved


class AccountBook:
    """Live usage of one account.

    Attributes:
        size: bytes of `used_quota_size`; files likewise.
        upload: bytes received; download and total likewise.
        tally: the six cumulative counters of `TALLY_NAMES`.
        uploads: open uploads that charge here or on one of the account's folders.
        shared: what sessions of the account share beside counters (bandwidth).
    """

    __slots__ = (
        "download",
        "files",
        "folders",
        "lock",
        "marked",
        "name",
        "refs",
        "shared",
        "size",
        "tally",
        "task",
        "total",
        "touch",
        "touched_at",
        "uncertain",
        "upload",
        "uploads",
        "wake",
    )

    def __init__(self, account: Account) -> None:
        self.name = account.username
        self.size = Count(account.used_quota_size)
        self.files = Count(account.used_quota_files)
        self.upload = Count(account.used_upload_data_transfer)
        self.download = Count(account.used_download_data_transfer)
        self.total = Count(self.upload.used + self.download.used)
        self.tally = {name: Count(getattr(account.tally, name)) for name in TALLY_NAMES}
        self.touch: dict[Literal["upload", "download"], bool] = {
            "upload": account.first_upload == 0,
            "download": account.first_download == 0,
        }
        self.touched_at: dict[Literal["upload", "download"], int] = {}
        self.uploads: set[Reserving] = set()
        self.folders: set[FolderBook] = set()
        self.shared: dict[object, object] = {}
        self.refs = 0
        self.marked = False
        self.uncertain = False
        self.lock = asyncio.Lock()
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def delta(self) -> UsageDelta:
        """What the store does not know yet."""
        tally = Tally(**{name: count.used - count.saved for name, count in self.tally.items()})
        return UsageDelta(
            size=self.size.used - self.size.saved,
            files=self.files.used - self.files.saved,
            upload=self.upload.used - self.upload.saved,
            download=self.download.used - self.download.saved,
            tally=tally,
        )

    @property
    def pending(self) -> bool:
        """Whether the store is behind, for this account or for a folder it changed."""
        return (
            bool(self.touched_at)
            or self.delta() != NO_CHANGE
            or any(folder.pending for folder in self.folders)
        )


NO_CHANGE: Final = UsageDelta()
