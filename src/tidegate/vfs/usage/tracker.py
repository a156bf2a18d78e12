# SPDX-License-Identifier: Apache-2.0
"""Live usage: what accounts and folders use now, shared by all sessions of the process.

Rules of this module:

* One `AccountUsage` per account and one `FolderUsage` per folder exist at a time. Charging and crediting are
  plain synchronous additions on one event loop, done *before* the bytes are handed to storage, so that
  several uploads fighting for one quota can never pass it together.
* An account that is deleted and made anew under its name is another account (`identity_of`). Its sessions
  share a usage of their own; what sessions of the old one still change is not written any more.
* The store sees increments, which `tidegate.vfs.usage.writing` brings there.
* Before the first change of an idle account the store is told that its numbers may be behind (`mark_usage`);
  the mark goes when everything is written and no upload is open. Accounts found marked at start are scanned
  (`tidegate.vfs.usage.scan`), which makes the numbers right after a crash. If the store cannot be reached,
  files still move: the numbers stay here and are written when it is back.

Long, because everything that changes live usage goes through one object.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

from tidegate.errors import TidegateError
from tidegate.events.kinds import Event, QuotaWarning
from tidegate.model import Account, Folder, FolderMount, Origin
from tidegate.policy.charges import build_charges, session_tally
from tidegate.policy.quota import ChargeSet, UsageCounter, Warn
from tidegate.vfs.usage.doubts import Doubts
from tidegate.vfs.usage.lease import Lease
from tidegate.vfs.usage.live import (
    AccountUsage,
    FolderUsage,
    Identity,
    UsageStore,
    identity_of,
    is_same,
)
from tidegate.vfs.usage.writing import REFUSED, UsageWriter

FRESH_SECONDS: Final = 1.0
"""The greatest age of the numbers of a login, in seconds; older ones are asked for when a session begins."""

log = logging.getLogger(__name__)

__all__ = ["AccountUsage", "FolderUsage", "UsageStore", "UsageTracker", "session_tally"]


class UsageTracker:
    """Every live usage of the process, and the way to the store.

    Args:
        store: the data provider; None keeps everything in memory.
        track_quota: 0 counts nothing, 1 counts for everybody, 2 for accounts with limits and for folders.
        emit: takes `QuotaWarning` events.
        lease: whose the marks are, if several servers may use the store.
    """

    def __init__(
        self,
        store: UsageStore | None,
        *,
        track_quota: int = 2,
        emit: Callable[[Event], None],
        lease: Lease | None = None,
    ) -> None:
        self.store = store
        self.lease = lease
        self.track_quota = track_quota
        self._emit = emit
        self._accounts: dict[str, AccountUsage] = {}
        # Usage of accounts that were replaced, for as long as sessions hold them.
        self._gone: dict[tuple[str, Identity], AccountUsage] = {}
        self._folders: dict[str, FolderUsage] = {}
        self.doubts = Doubts()
        self.writer: Final = UsageWriter(store, lease, self.doubts, retire=self._retire, settled=self._forget)
        self._loading = asyncio.Lock()

    # -- life of a usage -----------------------------------------------------------------------------

    async def account(self, account: Account, asked: float = 0.0) -> AccountUsage:
        """The usage of an account, held until `release`.

        Args:
            account: as the login found it.
            asked: `time.monotonic` of just before the store was asked for it. Its numbers are used if that
                was a moment ago and nothing has been written since; it spares a login one of two questions.
        """
        usage = self.live_for(account)
        if usage is None:
            async with self._loading:
                usage = self.live_for(account) or await self._load(account, asked)
        usage.refs += 1
        return usage

    async def _load(self, account: Account, asked: float) -> AccountUsage:
        """A new usage. An old connection may open a session for an account that is gone by now."""
        name, wanted, store = account.username, identity_of(account), self.store
        current: Account | None = account
        if store is not None:
            known = name in self._accounts
            recent = asked > max(self.writer.wrote, time.monotonic() - FRESH_SECONDS)
            if known:
                current = await self.writer.surely(name, store)
            elif self.writer.writing or not recent:
                current = await store.user(name)
                if current is not None and not is_same(identity_of(current), wanted):
                    current = await self.writer.surely(name, store)
        other = self._accounts.get(name)
        found = current or account
        if not is_same(identity_of(found), wanted) or (current is None and other is not None):
            usage = AccountUsage(account)
            usage.gone = True
            self._gone[name, wanted] = usage
            return usage
        if other is not None:
            self._retire(other)
        usage = self._accounts[name] = AccountUsage(found)
        return usage

    async def folder(self, mount: FolderMount | Folder) -> FolderUsage:
        """The usage of a folder, held until `release` or `release_folder`."""
        usage = self._folders.get(mount.name)
        if usage is None:
            async with self._loading:
                usage = self._folders.get(mount.name)
                if usage is None:
                    fresh = await self.store.folder(mount.name) if self.store else None
                    known = fresh or mount
                    usage = FolderUsage(mount.name, known.used_quota_size, known.used_quota_files)
                    self._folders[mount.name] = usage
        usage.refs += 1
        return usage

    def release(self, usage: AccountUsage, folders: list[FolderUsage]) -> None:
        """A session ended, or a scan."""
        for folder in folders:
            folder.refs -= 1
        usage.refs -= 1
        if usage.task is None:
            self._forget(usage)

    def release_folder(self, folder: FolderUsage) -> None:
        """A scan of a folder ended."""
        folder.refs -= 1
        self._forget_folders()

    def _forget(self, usage: AccountUsage) -> None:
        """Drop what nobody holds, so that the next login reads the store's numbers."""
        if usage.refs <= 0 and not usage.busy and not usage.pending:
            if self._accounts.get(usage.name) is usage:
                del self._accounts[usage.name]
            if self._gone.get((usage.name, usage.identity)) is usage:
                del self._gone[usage.name, usage.identity]
        for folder in list(usage.folders):
            if not folder.pending and not usage.busy:
                del usage.folders[folder]
        self._forget_folders()

    def _forget_folders(self) -> None:
        for name, folder in list(self._folders.items()):
            if folder.refs <= 0 and not folder.pending:
                if any(usage.busy and folder in usage.folders for usage in self._usages()):
                    continue  # what ends later is charged to it
                del self._folders[name]

    def live(self, username: str) -> AccountUsage | None:
        """The usage of an account that is in use now."""
        return self._accounts.get(username)

    def live_for(self, account: Account) -> AccountUsage | None:
        """The usage of this very account, which may have been replaced by another one of its name."""
        usage = self._accounts.get(account.username)
        if usage is not None and is_same(usage.identity, identity_of(account)):
            return usage
        return self._gone.get((account.username, identity_of(account)))

    def live_folder(self, name: str) -> FolderUsage | None:
        """The usage of a folder that is in use now."""
        return self._folders.get(name)

    def hidden(self, size: UsageCounter, files: UsageCounter) -> tuple[int, int]:
        """The part of these counters for open uploads that no listing shows."""
        hidden_size = hidden_files = 0
        seen: set[int] = set()
        for usage in self._usages():
            for upload in usage.uploads:
                if any(count is size for count in upload.charges.grow) and id(upload.reservation) not in seen:
                    seen.add(id(upload.reservation))
                    hidden_size += upload.reserved
                if any(count is files for count in upload.charges.files):
                    hidden_files += upload.reserved_files
        return hidden_size, hidden_files

    def quiet(self, folder: FolderUsage) -> bool:
        """True if no operation is under way that may change a folder."""
        return not any(usage.moving and folder in usage.folders for usage in self._usages())

    def changing(self, folder: str) -> list[str]:
        """Accounts whose sessions changed a folder a moment ago, or may be changing it."""
        return sorted(
            {usage.name for usage in self._usages() if any(one.name == folder for one in usage.folders)}
        )

    def _usages(self) -> tuple[AccountUsage, ...]:
        return (*self._accounts.values(), *self._gone.values())

    # -- what a session charges ----------------------------------------------------------------------

    def charges(
        self,
        account: Account,
        usage: AccountUsage,
        session_tally: dict[str, UsageCounter] | None,
        *,
        ip: str,
        mount: FolderMount | None = None,
        folder: FolderUsage | None = None,
    ) -> ChargeSet:
        """The counters that one session charges on one mount; see `build_charges`."""
        warn = self._warner(account.username)
        return build_charges(
            self.track_quota, warn, account, usage, session_tally, ip=ip, mount=mount, folder=folder
        )

    def _warner(self, username: str) -> Warn:
        def warn(limit: str, percent: int, used: int, allowed: int) -> None:
            self._emit(
                QuotaWarning(
                    origin=Origin(username=username),
                    limit=limit,
                    percent=percent,
                    used=used,
                    allowed=allowed,
                )
            )

        return warn

    # -- the way to the store ------------------------------------------------------------------------

    async def begin(self, usage: AccountUsage, folder: FolderUsage | None = None) -> None:
        """Something is about to change: make sure that the store knows the numbers may fall behind."""
        if self.begin_nowait(usage, folder) or self.store is None:
            return
        # Carried to its end: others that begin rely on it, also if the line of the first one breaks.
        telling = asyncio.create_task(self._tell(usage), name=f"mark {usage.name}")
        usage.acts += 1
        telling.add_done_callback(lambda _: self._told(usage))
        await asyncio.shield(telling)

    async def _tell(self, usage: AccountUsage) -> None:
        async with usage.lock:
            if not usage.marked:
                try:
                    try:
                        await self.writer.mark(usage)
                    except TidegateError:  # a line that broke while it was idle, most often
                        await self.writer.mark(usage)
                except TidegateError:
                    log.warning("usage of %s: the store cannot be told that it changes", usage.name)

    def _told(self, usage: AccountUsage) -> None:
        usage.acts -= 1
        self.changed(usage)

    def begin_nowait(self, usage: AccountUsage, folder: FolderUsage | None = None) -> bool:
        """As `begin`, if the store knows already or need not; False means that it has to be told."""
        if folder is not None:
            usage.folders[folder] = None
        if self.store is not None and self.track_quota:
            if not usage.marked:
                return False
            self.changed(usage)
        return True

    def changed(self, usage: AccountUsage) -> None:
        """Numbers changed: have them written soon."""
        usage.turns += 1
        for folder in usage.folders:
            folder.turns += 1
        if self.store is None:
            return
        self.writer.wake(usage)

    def shifted(self, usage: AccountUsage, folder: FolderUsage | None) -> None:
        """Something gets another name: a count that runs may see it twice or not at all."""
        usage.turns += 1
        if folder is not None:
            usage.folders[folder] = None
            folder.turns += 1

    def doubt(self, usage: AccountUsage) -> None:
        """It is not known what became of an operation: the account stays marked until it was counted."""
        if self.store is None or not self.track_quota or usage.gone:
            return
        if not self.doubts.about(usage.name):
            log.warning("usage of %s is uncertain; it will be counted again", usage.name)
        self.doubts.unsure(usage.name, [folder.name for folder in usage.folders])

    async def doubt_scanned(self, username: str, folders: Iterable[str]) -> None:
        """Something changed beside a count that ended: the numbers are about right, and the mark stays."""
        self.doubts.unsure(username, folders)  # first, so that a mark that is being cleared is set after that
        usage = self._accounts.get(username)
        if self.store is None:
            return
        if usage is None:
            await self.writer.set_mark(username, dirty=True)
        else:
            async with usage.lock:
                await self.writer.mark(usage)

    async def counted(self, account: Account) -> None:
        """The store's numbers of an account and its folders are exact: its mark may go."""
        usage = self.live_for(account)
        if usage is not None:
            self.changed(usage)  # it clears the mark when everything is written
        elif account.username in self.doubts.accounts():
            return  # something came up meanwhile
        elif self.store is not None:
            await self.writer.set_mark(account.username, dirty=False)
            usage = self.live_for(account)
            if usage is not None and usage.marked:  # somebody began meanwhile
                await self.writer.set_mark(account.username, dirty=True)

    def touch(self, usage: AccountUsage, kind: Literal["upload", "download"]) -> bool:
        """A transfer ended well: remember if it was the account's first; returns that."""
        if not usage.touch[kind]:
            return False
        usage.touch[kind] = False
        if self.store is not None:
            usage.touched_at[kind] = int(time.time() * 1000)
            self.changed(usage)
        return True

    async def settle(self, username: str | None = None) -> None:
        """Write what is pending now, of one account or of all; for readers that need exact stored numbers."""
        for usage in self._usages():
            if (username is None or usage.name == username) and usage.pending:
                await self.writer.write(usage)

    async def close(self) -> None:
        """Write everything and stop, in `writing.CLOSE_SECONDS` at most."""
        await self.writer.close(self._usages())

    def _retire(self, usage: AccountUsage) -> None:
        """The account is gone and another one has its name: what sessions still change concerns nobody."""
        log.info("usage of %s is dropped: the account was deleted and made anew", usage.name)
        usage.deleted()
        usage.gone = True
        if self._accounts.get(usage.name) is usage:
            del self._accounts[usage.name]
        self._gone[usage.name, usage.identity] = usage
        self.doubts.drop(usage.name)
        if usage.task is None:
            self._forget(usage)

    # -- by hand -------------------------------------------------------------------------------------

    async def _current(self, username: str) -> AccountUsage | None:
        """The live usage of the account that the store has now."""
        usage = self._accounts.get(username)
        if usage is not None and self.store is not None and await self.writer.replaced(usage, self.store):
            return self._accounts.get(username)
        return usage

    async def set_usage(
        self,
        username: str,
        *,
        size: int,
        files: int,
        since: tuple[int, int] | None = None,
        settles: int | None = None,
    ) -> None:
        """Set an account's numbers here and in the store (scan, or an operator).

        Args:
            since: `LiveUsage.charged` when they were counted, without what uploads hide; what was charged
                after that is added. None takes the numbers as they are.
            settles: doubts about them that came up until this `moment` end; None for now. 0 if the numbers
                are about right only.
        """
        until = self.doubts.moment if settles is None else settles
        usage = await self._current(username)
        if usage is None:
            if self.store is not None:
                await self.writer.noted(self.store.set_usage(username, size=size, files=files))
            self.doubts.settle(until, username=username)
            return
        async with usage.lock:
            # Besides the scan that holds the usage, others do: traffic goes on.
            marks = since is not None and self.store is not None and not usage.marked and usage.refs > 1
            if marks:
                await self.writer.mark(usage)
            before = usage.charged
            size, files = _later((size, files), before, since)
            try:
                if self.store is not None:
                    await self.writer.noted(self.store.set_usage(username, size=size, files=files))
            except BaseException as error:
                if not isinstance(error, REFUSED):  # perhaps they are set, and additions go on top of them
                    self.doubt(usage)
                raise
            usage.correct((size, files), before)
            self.doubts.settle(until, username=username)
        if marks:
            self.changed(usage)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set an account's transfer numbers here and in the store."""
        usage = await self._current(username)
        if usage is None:
            if self.store is not None:
                await self.writer.noted(
                    self.store.set_transfer_usage(username, upload=upload, download=download)
                )
            return
        async with usage.lock:
            before = usage.upload.used, usage.download.used, usage.total.used
            if self.store is not None:
                await self.writer.noted(
                    self.store.set_transfer_usage(username, upload=upload, download=download)
                )
            usage.replaced(usage.upload, usage.download)
            usage.upload.rebase(upload, before[0])
            usage.download.rebase(download, before[1])
            usage.total.rebase(upload + download, before[2])

    async def set_folder_usage(
        self,
        name: str,
        *,
        size: int,
        files: int,
        since: tuple[int, int] | None = None,
        settles: int | None = None,
    ) -> None:
        """Set a folder's numbers here and in the store; see `set_usage`."""
        until = self.doubts.moment if settles is None else settles
        usage = self._folders.get(name)
        if usage is None:
            if self.store is not None:
                await self.store.set_folder_usage(name, size=size, files=files)
        else:
            async with usage.lock:
                before = usage.charged
                size, files = _later((size, files), before, since)
                try:
                    if self.store is not None:
                        await self.store.set_folder_usage(name, size=size, files=files)
                except BaseException as error:
                    if not isinstance(error, REFUSED):  # as in `set_usage`
                        for username in self.changing(name):
                            self.doubts.add(username, name)
                    raise
                usage.correct((size, files), before)
        self.doubts.settle(until, folder=name)


def _later(counted: tuple[int, int], now: tuple[int, int], since: tuple[int, int] | None) -> tuple[int, int]:
    """The counted numbers, and what was charged since then."""
    then = now if since is None else since
    return max(0, counted[0] + now[0] - then[0]), max(0, counted[1] + now[1] - then[1])
