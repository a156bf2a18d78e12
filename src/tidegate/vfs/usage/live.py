# SPDX-License-Identifier: Apache-2.0
"""Live usage of one account or folder, and what the store has to offer for keeping it."""

from __future__ import annotations

import asyncio
from typing import Literal, Protocol

from tidegate.model import TALLY_NAMES, Account, Folder, Tally, UsageDelta
from tidegate.policy.quota import ChargeSet, UsageCounter


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
    def charges(self) -> ChargeSet:
        """The counters that it charges."""
        ...

    @property
    def reservation(self) -> object:
        """The same for uploads that share what they charge."""
        ...

    @property
    def reserved(self) -> int:
        """Bytes charged for content that a listing does not show yet."""
        ...

    @property
    def reserved_files(self) -> int:
        """Files charged that a listing does not show yet."""
        ...

    @property
    def moving(self) -> bool:
        """True if what is charged and what a listing shows differ by more than that for now."""
        ...


Numbers = tuple[int, ...]
"""One number for each of a usage's `counts`, in their order."""

Identity = tuple[int, int]
"""`id` and `created_at`, which tell an account from another one of the same name; zeros if not known."""


def identity_of(account: Account) -> Identity:
    """Both parts are needed: SQLite gives the highest `id` again after its account was deleted."""
    return account.id, account.created_at


def is_same(one: Identity, other: Identity) -> bool:
    """True if two accounts of one name are the same, or cannot be told apart."""
    return one == other or not any(one) or not any(other)


class LiveUsage:
    """Live usage of an account or a folder, and the part that the store was told.

    An addition whose reply never came may have been made or not, so it must not simply be sent again. It is
    remembered in `sent` until the store's own numbers tell (`learn`).

    Attributes:
        name: of the account or folder.
        counts: what the store keeps, in the order of `numbers_of`.
        sent: changes that went to the store and were neither confirmed nor refused.
        lock: held while the store is written, so that `sent` and `saved` belong together.
        refs: sessions that hold it.
        corrected: bytes and files by which counting anew changed the numbers, in all.
        turns: number of changes of what `counts` tell; who sees the same number twice knows that
            nothing was settled in between.
    """

    __slots__ = ("corrected", "counts", "files", "lock", "name", "refs", "sent", "size", "turns")

    size: UsageCounter
    files: UsageCounter

    def __init__(self, name: str, counts: tuple[UsageCounter, ...]) -> None:
        self.name = name
        self.counts = counts
        self.sent: Numbers | None = None
        self.lock = asyncio.Lock()
        self.refs = 0
        self.turns = 0
        self.corrected = (0, 0)

    @property
    def charged(self) -> tuple[int, int]:
        """Bytes and files as sessions charge them: what differs from one moment to another was charged."""
        size, files = self.size, self.files
        return (
            size.used + size.clipped - self.corrected[0],
            files.used + files.clipped - self.corrected[1],
        )

    def correct(self, counted: tuple[int, int], before: tuple[int, int]) -> None:
        """The store has numbers that were counted; `before` is what was `charged` when they were right."""
        self.replaced(self.size, self.files)
        now = self.charged
        size, files = self.size, self.files
        self.corrected = counted[0] + size.clipped - before[0], counted[1] + files.clipped - before[1]
        size.rebase(counted[0], size.used - (now[0] - before[0]))
        files.rebase(counted[1], files.used - (now[1] - before[1]))

    def changes(self) -> Numbers:
        """Changes that the store does not know yet; what is in `sent` is part of it."""
        return tuple(count.used - count.saved for count in self.counts)

    @property
    def pending(self) -> bool:
        """True if the store is behind, or may be."""
        return self.sent is not None or any(self.changes())

    def told(self, changes: Numbers) -> None:
        """The store has these changes now."""
        for count, change in zip(self.counts, changes, strict=True):
            count.saved += change
        self.sent = None

    def deleted(self) -> None:
        """There is no such record any more: nobody wants to know the changes."""
        self.told(self.changes())

    def replaced(self, *counts: UsageCounter) -> None:
        """The store's numbers of some counts were set: whether these were added to before means nothing."""
        if self.sent is not None:
            kept = tuple(
                0 if any(count is one for one in counts) else change
                for count, change in zip(self.counts, self.sent, strict=True)
            )
            self.sent = kept if any(kept) else None

    def learn(self, now: Numbers | None) -> bool:
        """Settle `sent` by what the store holds now; None if it has no such record.

        Counts are never below zero here, so the store, which stops there, cannot have stopped short of
        `after` unless somebody else wrote.

        Returns:
            False if the numbers are neither those before nor those after: somebody else wrote meanwhile.
            No use may be lost then, so what was added counts as not stored and goes out again, and what
            was given back counts as stored: the account may be charged too much until it is scanned, but
            never too little.
        """
        sent = self.sent
        if sent is None:
            return True
        before = tuple(count.saved for count in self.counts)
        after = tuple(count.saved + change for count, change in zip(self.counts, sent, strict=True))
        if now == after:
            self.told(sent)
        elif now == before:
            self.sent = None
        else:
            self.told(tuple(min(change, 0) for change in sent))
            return False
        return True


class FolderUsage(LiveUsage):
    """Live usage of one folder."""

    __slots__ = ()

    def __init__(self, name: str, size: int, files: int) -> None:
        self.size = UsageCounter(size)
        self.files = UsageCounter(files)
        super().__init__(name, (self.size, self.files))


class AccountUsage(LiveUsage):
    """Live usage of one account.

    Attributes:
        identity: which account of that name.
        gone: the account is there no more, and the store may have another one of that name: sessions that
            hold it go on with it, and nothing of it is written but what concerns folders.
        size: bytes of `used_quota_size`; files likewise.
        upload: bytes received; download and total likewise.
        tally: the six cumulative counters of `TALLY_NAMES`.
        uploads: open uploads that charge here or on one of the account's folders.
        acts: operations under way that may change the numbers; the mark stays meanwhile.
        shared: what sessions of the account share beside counters (bandwidth).
    """

    __slots__ = (
        "acts",
        "download",
        "folders",
        "gone",
        "identity",
        "marked",
        "shared",
        "tally",
        "task",
        "total",
        "touch",
        "touched_at",
        "upload",
        "uploads",
        "wake",
    )

    def __init__(self, account: Account) -> None:
        self.identity = identity_of(account)
        self.gone = False
        self.size = UsageCounter(account.used_quota_size)
        self.files = UsageCounter(account.used_quota_files)
        self.upload = UsageCounter(account.used_upload_data_transfer)
        self.download = UsageCounter(account.used_download_data_transfer)
        self.total = UsageCounter(self.upload.used + self.download.used)
        self.tally = {name: UsageCounter(getattr(account.tally, name)) for name in TALLY_NAMES}
        stored = (self.size, self.files, self.upload, self.download, *self.tally.values())
        super().__init__(account.username, stored)
        self.touch: dict[Literal["upload", "download"], bool] = {
            "upload": account.first_upload == 0,
            "download": account.first_download == 0,
        }
        self.touched_at: dict[Literal["upload", "download"], int] = {}
        self.uploads: set[Reserving] = set()
        self.acts = 0
        self.folders: dict[FolderUsage, None] = {}  # in the order in which they changed
        self.shared: dict[object, object] = {}
        self.marked = False
        self.wake = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """True if something is under way that may change the numbers."""
        return bool(self.uploads) or self.acts > 0

    @property
    def moving(self) -> bool:
        """True if what is counted and what is on the disk may differ for now by more than uploads hide."""
        return self.acts > 0 or any(upload.moving for upload in self.uploads)

    def deleted(self) -> None:
        """See `LiveUsage.deleted`."""
        super().deleted()
        self.touched_at.clear()
        self.marked = False

    @property
    def behind(self) -> bool:
        """True if the store is behind, or may be, for this account."""
        return not self.gone and (bool(self.touched_at) or super().pending)

    @property
    def pending(self) -> bool:
        """True if the store is behind, or may be, for this account or for a folder it changed."""
        return self.behind or any(folder.pending for folder in self.folders)


def numbers_of(record: Account | Folder) -> Numbers:
    """The numbers of the store, in the order of `LiveUsage.counts`."""
    size, files = record.used_quota_size, record.used_quota_files
    if isinstance(record, Folder):
        return size, files
    transfer = record.used_upload_data_transfer, record.used_download_data_transfer
    return size, files, *transfer, *(getattr(record.tally, name) for name in TALLY_NAMES)


def as_delta(changes: Numbers) -> UsageDelta:
    """Changes of an account in the words of the store."""
    size, files, upload, download, *tally = changes
    by_name = dict(zip(TALLY_NAMES, tally, strict=True))
    return UsageDelta(size=size, files=files, upload=upload, download=download, tally=Tally(**by_name))
