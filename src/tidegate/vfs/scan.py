# SPDX-License-Identifier: Apache-2.0
"""Counting what is really there: quota scans in the background, and reconciling after a crash.

A scan counts regular files, each name once, and unfinished uploads that are kept, but no links: what live
accounting counts. One scan per account (and one per folder) runs at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Final, Literal

from tidegate.abc import Backend, Key, ListsPartials
from tidegate.errors import Conflict, Denied, NotADirectory, NotFound, PeerLimit, TidegateError
from tidegate.model import Account, FolderMount
from tidegate.policy.quota import counts_in_account
from tidegate.vfs.books import identity_of, is_same
from tidegate.vfs.mounts import BackendPool, BackendSpec, folder_spec, home_spec, listing
from tidegate.vfs.usage import AccountBook, Books

STEADY_TRIES: Final = 3
"""How often a scan is repeated because files changed while it ran."""
ENTRIES_PER_BREATH: Final = 2000
"""Entries counted before other tasks get their turn, for backends that answer without waiting."""

log = logging.getLogger(__name__)


class Scan:
    """One scan that runs or ran.

    Attributes:
        kind: user or folder.
        name: of the account or folder.
        started_ms: Unix milliseconds.
        size: bytes counted so far; files likewise.
    """

    __slots__ = ("files", "kind", "name", "size", "started_ms", "task")

    def __init__(self, kind: Literal["user", "folder"], name: str) -> None:
        self.kind = kind
        self.name = name
        self.started_ms = int(time.time() * 1000)
        self.size = 0
        self.files = 0
        self.task: asyncio.Task[None] | None = None


async def measure(
    backend: Backend, key: Key, *, limit: int | None = None, progress: Scan | None = None
) -> tuple[int, int]:
    """Bytes and files below a directory.

    Raises:
        PeerLimit: there are more than `limit` files.
    """
    size = files = seen = 0
    todo = [key]
    while todo:
        directory = todo.pop()
        try:
            async with listing(backend, directory) as batches:
                async for batch in batches:
                    for entry in batch:
                        if entry.is_dir:
                            todo.append(f"{directory}/{entry.name}" if directory else entry.name)
                        elif entry.is_file:
                            size += entry.size
                            files += 1
                            if progress is not None:
                                progress.size += entry.size
                                progress.files += 1
                    if limit is not None and files > limit:
                        raise PeerLimit("directory holds too many files")
                    seen += len(batch)
                    if seen >= ENTRIES_PER_BREATH:
                        seen = 0
                        await asyncio.sleep(0)
            if isinstance(backend, ListsPartials):
                async for batch in backend.partials(directory):
                    size += sum(entry.size for entry in batch)
                    files += len(batch)
        except (NotFound, NotADirectory):
            if directory == key:
                return 0, 0
    return size, files


class Scans:
    """Starts, lists and runs scans.

    Args:
        books: where the result goes.
        pool: where backends come from.
    """

    def __init__(self, books: Books, pool: BackendPool) -> None:
        self._books = books
        self._pool = pool
        self._running: dict[tuple[str, str], Scan] = {}

    def running(self, kind: Literal["user", "folder"]) -> list[Scan]:
        """Scans that run now."""
        return [scan for scan in self._running.values() if scan.kind == kind]

    def busy(self, kind: Literal["user", "folder"], name: str) -> bool:
        """Whether a scan of that name runs now."""
        return (kind, name) in self._running

    def check_idle(self, kind: Literal["user", "folder"], name: str) -> None:
        """Return if usage may be set by hand now.

        Raises:
            Denied: usage is not tracked.
            Conflict: a scan runs.
        """
        if not self._books.track_quota:
            raise Denied("quota tracking is disabled", rule="track_quota")
        if self.busy(kind, name):
            raise Conflict("a quota scan is in progress")

    async def start_user(self, username: str) -> Scan:
        """Start counting an account's home and the folders in its quota.

        Raises:
            Denied: usage is not tracked.
            NotFound: no such account.
            Conflict: a scan of this account runs.
        """
        scan = self._enter("user", username)
        try:
            account = await self._account(username)
        except BaseException:
            self._leave(scan)
            raise
        scan.task = asyncio.create_task(
            self._guard(scan, self._user(scan, account)), name=f"quota scan {username}"
        )
        return scan

    async def start_folder(self, name: str) -> Scan:
        """Start counting a folder.

        Raises:
            Denied: usage is not tracked.
            NotFound: no such folder.
            Conflict: a scan of this folder runs.
        """
        scan = self._enter("folder", name)
        store = self._books.store
        try:
            folder = await store.folder(name) if store is not None else None
            if folder is None:
                raise NotFound(f"no folder {name}")
        except BaseException:
            self._leave(scan)
            raise
        spec = BackendSpec(folder.mapped_path, folder.filesystem)
        scan.task = asyncio.create_task(
            self._guard(scan, self._folder(scan, name, spec)), name=f"quota scan of folder {name}"
        )
        return scan

    async def reconcile(self) -> list[str]:
        """Scan every account that a crash left with uncertain numbers; returns their names.

        Meant for the start, before anybody can log in, and right beside sessions too (a provider may come
        back later). What cannot be scanned now stays marked.
        """
        store = self._books.store
        if store is None or not self._books.track_quota:
            return []
        done: list[str] = []
        for username in await store.dirty_usage():
            account = await store.user(username)
            if account is None:
                continue
            scan = self._enter("user", username)
            try:
                await self._user(scan, account, every_folder=True)
                if self._books.live_for(account) is None:  # else the book clears the mark when it is settled
                    await store.mark_usage(username, dirty=False)
                done.append(username)
            except TidegateError as error:
                log.warning("usage of %s cannot be reconciled now: %s", username, error)
            finally:
                self._leave(scan)
        return done

    async def close(self) -> None:
        """Stop running scans."""
        tasks = [scan.task for scan in self._running.values() if scan.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one scan ------------------------------------------------------------------------------------------

    def _enter(self, kind: Literal["user", "folder"], name: str) -> Scan:
        if not self._books.track_quota:
            raise Denied("quota tracking is disabled", rule="track_quota")
        if (kind, name) in self._running:
            raise Conflict("another scan is already in progress")
        scan = self._running[kind, name] = Scan(kind, name)
        return scan

    def _leave(self, scan: Scan) -> None:
        self._running.pop((scan.kind, scan.name), None)

    async def _guard(self, scan: Scan, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except TidegateError as error:
            log.warning("quota scan of %s %s failed: %s", scan.kind, scan.name, error)
        finally:
            self._leave(scan)

    async def _account(self, username: str) -> Account:
        store = self._books.store
        account = await store.user(username) if store is not None else None
        if account is None:
            raise NotFound(f"no user {username}")
        return account

    async def _user(self, scan: Scan, account: Account, *, every_folder: bool = False) -> None:
        at_root = any(mount.virtual_path == "/" for mount in account.virtual_folders)
        included = [mount for mount in account.virtual_folders if counts_in_account(mount)]
        own = [mount for mount in account.virtual_folders if not counts_in_account(mount)]
        specs: list[tuple[FolderMount | None, BackendSpec]] = [] if at_root else [(None, home_spec(account))]
        specs += [(mount, folder_spec(account, mount)) for mount in included]
        for attempt in range(2 * STEADY_TRIES):
            scan.size = scan.files = 0
            at_first = self._books.live_for(account)
            before = _shown(at_first)
            folders: list[tuple[FolderMount, int, int]] = []
            size = files = 0
            for mount, spec in specs:
                part = await self._count(spec, scan)
                size, files = size + part[0], files + part[1]
                if mount is not None:
                    folders.append((mount, *part))
            book = self._books.live_for(account)
            # Somebody who logged in meanwhile brought the old numbers along: nothing to compare with.
            if book is at_first and (_shown(book) == before or attempt >= STEADY_TRIES - 1):
                break
        if book is not None:  # what was charged and not shown when we began, or changed since
            base = before if book is at_first else _shown(book)
            size += book.size.used - base[0]
            files += book.files.used - base[1]
        if not is_same(identity_of(account), identity_of(await self._account(account.username))):
            raise NotFound(f"user {account.username} was deleted while the scan ran")
        await self._books.set_usage(account.username, size=max(0, size), files=max(0, files))
        if every_folder:
            folders += [(mount, *await self._count(folder_spec(account, mount), scan)) for mount in own]
        for mount, folder_size, folder_files in folders:
            await self._books.set_folder_usage(mount.name, size=folder_size, files=folder_files)

    async def _folder(self, scan: Scan, name: str, spec: BackendSpec) -> None:
        book = self._books.live_folder(name)
        before = (book.size.used, book.files.used) if book is not None else (0, 0)
        size, files = await self._count(spec, scan)
        if book is not None:
            size += book.size.used - before[0]
            files += book.files.used - before[1]
        await self._books.set_folder_usage(name, size=max(0, size), files=max(0, files))

    async def _count(self, spec: BackendSpec, scan: Scan) -> tuple[int, int]:
        backend = await self._pool.acquire(spec)
        try:
            return await measure(backend, "", progress=scan)
        finally:
            await self._pool.release(backend)


def _shown(book: AccountBook | None) -> tuple[int, int]:
    """What the books hold for files that a listing shows."""
    if book is None:
        return 0, 0
    return (
        book.size.used - sum(upload.reserved for upload in book.uploads),
        book.files.used - sum(upload.reserved_files for upload in book.uploads),
    )
