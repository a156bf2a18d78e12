# SPDX-License-Identifier: Apache-2.0
"""Counting what is really there: quota scans in the background, and reconciling after a crash.

A scan counts regular files, each name once, and unfinished uploads that are kept, but no links: what live
accounting counts. One scan per account (and one per folder) runs at a time.

A scan beside traffic is exact if nothing was settled while it ran (`LiveUsage.turns` tells).
It is repeated a few times; if something always moves, its result is used, and the account stays marked and
is counted again later, until a scan was exact.

Long, because scans of users, of folders and of everything share how they begin, are repeated and end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from tidegate.abc import Backend, ExpiresPartials, Key, ListsPartials, TellsPartials
from tidegate.errors import Conflict, Denied, NotADirectory, NotFound, PeerLimit, TidegateError
from tidegate.model import Account, Entry, Folder, FolderMount, StorageSpec
from tidegate.policy.folders import storage_of, storage_of_folder
from tidegate.policy.quota import counts_in_account
from tidegate.vfs.contracts import fulfils
from tidegate.vfs.mounts import BackendPool, listing
from tidegate.vfs.usage.live import FolderUsage, identity_of, is_same
from tidegate.vfs.usage.progress import Backlog, Kind, Scan, ScanList
from tidegate.vfs.usage.tracker import AccountUsage, UsageTracker

STEADY_TRIES: Final = 3
"""The most times that a scan is made because files changed while it ran."""
RECOUNT_SECONDS: Final = 15.0
"""Seconds that an account whose numbers are uncertain waits to be counted; twice as long after each try."""
RECOUNT_MAX_SECONDS: Final = 600.0
"""Longest such wait."""
RECOUNT_REST: Final = 5
"""The factor of the rest after such counts, of the time they took: users can bring about doubts at will."""
UNCOUNTABLE: Final = (TidegateError, OverflowError)
"""The reasons that an account cannot be counted now, which are none not to count the others; sparse files add
up to more than the store takes."""
ENTRIES_PER_BREATH: Final = 2000
"""Entries counted before other tasks get their turn, for backends that answer without waiting."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _FolderView:
    """The charge of a folder for files that a listing shows, and how often it was changed."""

    steady: bool
    shown: tuple[int, int]
    turns: int


@dataclass(frozen=True, slots=True)
class _View:
    """The usage of an account and its folders at one moment.

    A count between two equal views saw nothing move, if the first is `steady` (no operation under way). It
    settles doubts that came up until `moment`.
    """

    usage: AccountUsage | None
    steady: bool
    shown: tuple[int, int]
    turns: int
    folders: dict[str, _FolderView]
    moment: int = field(compare=False)


async def measure(
    backend: Backend,
    key: Key,
    *,
    limit: int | None = None,
    progress: Scan | None = None,
    clean: bool = False,
) -> tuple[int, int]:
    """Bytes and files below a directory; see `measure_tree`."""
    size, files, _ = await measure_tree(backend, key, limit=limit, progress=progress, clean=clean)
    return size, files


async def measure_tree(
    backend: Backend,
    key: Key,
    *,
    limit: int | None = None,
    progress: Scan | None = None,
    clean: bool = False,
) -> tuple[int, int, bool]:
    """Bytes and files below a directory, and whether any of them has several names (hard links).

    Args:
        limit: most files.
        progress: is told what was counted so far.
        clean: remove unfinished uploads that are too old or hidden; only if the account is marked until the
            result is its new number.

    Raises:
        PeerLimit: there are more than `limit` files.
    """
    size = files = seen = 0
    several = False
    todo = [key]
    while todo:
        directory = todo.pop()
        try:
            async with listing(backend, directory, counts=True) as batches:
                async for batch in batches:
                    for entry in batch:
                        if entry.is_dir:
                            todo.append(f"{directory}/{entry.name}" if directory else entry.name)
                        elif entry.is_file:
                            size += entry.size
                            files += 1
                            several = several or entry.nlink > 1
                            if progress is not None:
                                progress.count(entry.size)
                    if limit is not None and files > limit:
                        raise PeerLimit("directory holds too many files")
                    seen += len(batch)
                    if seen >= ENTRIES_PER_BREATH:
                        seen = 0
                        await asyncio.sleep(0)
                parts = not fulfils(batches, TellsPartials) or batches.parts
            if parts and isinstance(backend, ListsPartials):
                if clean and isinstance(backend, ExpiresPartials):
                    await backend.expire_partials(directory)
                async for batch in backend.partials(directory):
                    kept = sum(entry.size for entry in batch)
                    size += kept
                    files += len(batch)
                    if progress is not None:
                        progress.count(kept, len(batch))
        except (NotFound, NotADirectory):
            if directory == key:
                return 0, 0, False
    return size, files, several


async def kept_partials(backend: Backend, key: Key) -> list[Entry]:
    """Unfinished uploads in a directory, which go along with it; none if they cannot be told."""
    if not isinstance(backend, ListsPartials):
        return []
    try:
        return [part async for batch in backend.partials(key) for part in batch]
    except TidegateError:
        return []  # what is wrong with the directory is for the operation itself to say


class _Cancelled(TidegateError):
    """Somebody has cancelled the scan."""


class Scans:
    """Starts, lists, cancels and runs scans.

    Args:
        tracker: where the result goes.
        pool: where backends come from.

    Attributes:
        progress: scans that run and ran.
    """

    def __init__(self, tracker: UsageTracker, pool: BackendPool) -> None:
        self._tracker = tracker
        self._pool = pool
        self.progress: Final = ScanList()
        self._doubting: asyncio.Task[None] | None = None
        self._rested = 0.0  # when the next count of doubtful accounts may begin (`time.monotonic`)
        tracker.doubts.on_doubt = self._wake

    def check_idle(self, kind: Kind, name: str) -> None:
        """Return if usage may be set by hand now.

        Raises:
            Denied: usage is not tracked.
            Conflict: a scan runs.
        """
        if not self._tracker.track_quota:
            raise Denied("quota tracking is disabled", rule="track_quota")
        if self.progress.busy(kind, name):
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
            self.progress.withdraw(scan)
            raise
        scan.task = asyncio.create_task(
            self._guard(scan, partial(self._asked, scan, account)), name=f"quota scan {username}"
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
        store = self._tracker.store
        try:
            folder = await store.folder(name) if store is not None else None
            if folder is None:
                raise NotFound(f"no such folder: {name}")
        except BaseException:
            self.progress.withdraw(scan)
            raise
        scan.task = asyncio.create_task(
            self._guard(scan, partial(self._folder, scan, folder)), name=f"quota scan of folder {name}"
        )
        return scan

    async def cancel(self, kind: Kind, name: str, *, by: str) -> Scan:
        """End a scan that somebody has started; returns when it is over. The recorded numbers stay.

        A scan that is just storing what it counted ends as if nobody had cancelled it.

        Args:
            kind: user or folder.
            name: of the account or folder.
            by: name of whoever cancels it.

        Raises:
            NotFound: none of that name runs.
            Conflict: the server counts because numbers are uncertain, which nobody may leave out.
        """
        if not self.progress.busy(kind, name):
            raise NotFound(f"no scan of {kind} {name} runs")
        scan = self.progress.find(kind, name)
        assert scan is not None
        if scan.task is None:
            raise Conflict(f"the server counts {kind} {name} because its numbers are uncertain")
        scan.cancelled_by = scan.cancelled_by or by
        if scan.counting is not None:
            scan.counting.cancel()
        await asyncio.wait((scan.task,))
        return scan

    async def reconcile(self, *, own: bool = True) -> list[str]:
        """Scan every account that a crash left with uncertain numbers; returns their names.

        Meant for the start, before anybody can log in, and right beside sessions too (a provider may come
        back later). What cannot be scanned now stays marked, and is tried again. What another living server
        has marked is left alone.

        Args:
            own: include marks of this server, which at the start are of an earlier life.
        """
        store, lease = self._tracker.store, self._tracker.lease
        if store is None or not self._tracker.track_quota:
            return []
        if own:
            self._tracker.doubts.reading_marks()
        if lease is not None:
            left = await lease.left(own=own)
        else:
            left = {username: [] for username in await store.dirty_usage()}
        waiting = set(self._tracker.doubts.accounts())
        self._tracker.doubts.expect(left)
        done: list[str] = []
        with self.progress.backlog(len(left)) as backlog:
            for username, servers in left.items():
                try:
                    account = await store.user(username)
                    if account is None:
                        self._tracker.doubts.forget(username)
                    elif username not in waiting and await self._reconcile_one(account, servers, backlog):
                        done.append(username)
                except UNCOUNTABLE as error:
                    log.warning("usage of %s cannot be reconciled now: %s", username, error)
                    self._tracker.doubts.again(username)
                backlog.done += 1
        return done

    async def _reconcile_one(self, account: Account, servers: list[str], backlog: Backlog) -> bool:
        """Count one account that is marked by these servers; true if its numbers are exact now."""
        exact, lease = await self._recount(account, backlog), self._tracker.lease
        if lease is not None:  # if it was not exact, the account has this server's mark now
            await lease.clear(account.username, [server for server in servers if server != lease.name])
        return exact

    async def _asked(self, scan: Scan, account: Account) -> None:
        if await self._user(scan, account):
            await self._tracker.counted(account)

    async def _recount(self, account: Account, backlog: Backlog | None = None) -> bool:
        """Count an account with all its folders; its mark goes if nothing changed meanwhile.

        Raises:
            Conflict: another scan of it runs.
            TidegateError: it cannot be counted now.
        """
        self._tracker.doubts.expect_folders(
            account.username, [mount.name for mount in account.virtual_folders]
        )
        scan = self._enter("user", account.username)
        with self.progress.leaving(scan):
            until = await self._user(scan, account, every_folder=True)
        if backlog is not None:
            backlog.files += scan.files
        if until:
            self._tracker.doubts.counted_everywhere(account.username, until)
            await self._tracker.counted(account)
        return until > 0

    def _wake(self) -> None:
        """An account is in doubt: see to it that it is counted."""
        if self._doubting is None or self._doubting.done():
            self._doubting = asyncio.create_task(self._settle_doubts(), name="recount")

    async def _settle_doubts(self) -> None:
        pause = RECOUNT_SECONDS
        while True:
            await asyncio.sleep(max(pause, self._rested - time.monotonic()))
            began = time.monotonic()
            for username in self._tracker.doubts.due():
                try:
                    account = await self._account(username)
                    if not self.progress.busy("user", username) and await self._is_ours(username):
                        await self._recount(account)
                except NotFound:
                    self._tracker.doubts.forget(username)
                except UNCOUNTABLE as error:
                    log.info("usage of %s cannot be counted again now: %s", username, error)
            self._rested = time.monotonic() + RECOUNT_REST * (time.monotonic() - began)
            if not self._tracker.doubts.due():
                return
            pause = min(2 * pause, RECOUNT_MAX_SECONDS)

    async def _is_ours(self, username: str) -> bool:
        """True if no other living server holds numbers of an account that it has yet to write."""
        lease = self._tracker.lease
        return lease is None or not await lease.shared(username)

    async def close(self) -> None:
        """Stop running scans."""
        tasks = [scan.task for scan in self.progress.running() if scan.task is not None]
        if self._doubting is not None:
            tasks.append(self._doubting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one scan ------------------------------------------------------------------------------------------

    def _enter(self, kind: Kind, name: str) -> Scan:
        if not self._tracker.track_quota:
            raise Denied("quota tracking is disabled", rule="track_quota")
        return self.progress.enter(kind, name)

    async def _guard(self, scan: Scan, work: Callable[[], Awaitable[object]]) -> None:
        try:
            with self.progress.leaving(scan):
                await work()
        except _Cancelled:
            log.info("quota scan of %s %s was %s", scan.kind, scan.name, scan.error)
        except UNCOUNTABLE as error:
            log.warning("quota scan of %s %s failed: %s", scan.kind, scan.name, error)

    async def _account(self, username: str) -> Account:
        store = self._tracker.store
        account = await store.user(username) if store is not None else None
        if account is None:
            raise NotFound(f"no such user: {username}")
        return account

    @asynccontextmanager
    async def _holding(self, account: Account) -> AsyncIterator[None]:
        """Hold the usage of what is counted: what sessions charge meanwhile, whenever they come, is known."""
        usage = await self._tracker.account(account)
        folders: list[FolderUsage] = []
        try:
            for mount in account.virtual_folders:
                folders.append(await self._tracker.folder(mount))  # noqa: PERF401  (held one by one)
            yield
        finally:
            self._tracker.release(usage, folders)

    async def _user(self, scan: Scan, account: Account, *, every_folder: bool = False) -> int:
        """Count an account that is in doubt so long.

        Returns:
            until when doubts are settled; 0 if something changed meanwhile and it is counted again later.
        """
        at_root = any(mount.virtual_path == "/" for mount in account.virtual_folders)
        included = [mount for mount in account.virtual_folders if counts_in_account(mount)]
        own = [mount for mount in account.virtual_folders if not counts_in_account(mount)]
        specs: list[tuple[FolderMount | None, StorageSpec]] = [] if at_root else [(None, storage_of(account))]
        specs += [(mount, storage_of(account, mount)) for mount in included]
        if every_folder:
            specs += [(mount, storage_of(account, mount)) for mount in own]
        async with self._holding(account):
            if not every_folder:
                # Counting removes what is left of uploads, which the numbers tell when they are set.
                names = [mount.name for mount in included]
                known = account.username in self._tracker.doubts.due()
                await self._tracker.doubt_scanned(account.username, names)
            try:
                return await self._held_user(scan, account, specs)
            except _Cancelled:
                if not known:  # the doubt is of this scan alone, and would have it made again at once
                    self._tracker.doubts.put_off(account.username)
                raise

    async def _held_user(
        self, scan: Scan, account: Account, specs: list[tuple[FolderMount | None, StorageSpec]]
    ) -> int:
        for _ in range(STEADY_TRIES):
            scan.restart()
            before = self._view(account)
            counted = [(mount, *await self._counted(spec, scan)) for mount, spec in specs]
            steady = before.steady and before == self._view(account)
            if steady:
                break
        if not is_same(identity_of(account), identity_of(await self._account(account.username))):
            raise NotFound(f"user {account.username} was deleted while the scan ran")
        if not steady:  # said first: what ends the scan half way must not leave its numbers unmarked
            folders = [mount.name for mount, *_ in counted if mount is not None]
            await self._tracker.doubt_scanned(account.username, folders)
        mine = [part for part in counted if part[0] is None or counts_in_account(part[0])]
        size, files = sum(part[1] for part in mine), sum(part[2] for part in mine)
        since = None if before.usage is None else before.shown
        settles = before.moment if steady else 0
        scan.exact = steady
        await self._tracker.set_usage(account.username, size=size, files=files, since=since, settles=settles)
        for mount, folder_size, folder_files in counted:
            if mount is not None:
                await self._set_folder(mount.name, before, folder_size, folder_files, settles=settles)
        return settles

    async def _folder(self, scan: Scan, folder: Folder) -> None:
        usage = await self._tracker.folder(folder)
        try:
            await self._held_folder(scan, folder.name, storage_of_folder(folder))
        finally:
            self._tracker.release_folder(usage)

    async def _held_folder(self, scan: Scan, name: str, spec: StorageSpec) -> None:
        changing: set[str] = set()
        for _ in range(STEADY_TRIES):
            scan.restart()
            before = _View(None, True, (0, 0), 0, self._folder_views([name]), self._tracker.doubts.moment)
            changing.update(self._tracker.changing(name))
            size, files = await self._counted(spec, scan)
            changing.update(self._tracker.changing(name))
            steady = before.folders == self._folder_views([name]) and all(
                view.steady for view in before.folders.values()
            )
            if steady:
                break
        if not steady:
            if not changing:  # somebody came and went
                raise Conflict("the folder changed while it was counted")
            for username in sorted(changing):
                await self._tracker.doubt_scanned(username, [name])
        scan.exact = steady
        # Doubts of accounts end when they are counted: that removes what hidden uploads left, this does not.
        await self._set_folder(name, before, size, files, settles=0)

    async def _set_folder(self, name: str, before: _View, size: int, files: int, *, settles: int) -> None:
        seen = before.folders.get(name)
        since = None if seen is None else seen.shown
        await self._tracker.set_folder_usage(name, size=size, files=files, since=since, settles=settles)

    def _view(self, account: Account) -> _View:
        usage, moment = self._tracker.live_for(account), self._tracker.doubts.moment
        folders = self._folder_views([mount.name for mount in account.virtual_folders])
        if usage is None:
            return _View(None, all(view.steady for view in folders.values()), (0, 0), 0, folders, moment)
        hidden = self._tracker.hidden(usage.size, usage.files)
        shown = usage.charged[0] - hidden[0], usage.charged[1] - hidden[1]
        steady = not usage.moving and all(view.steady for view in folders.values())
        return _View(usage, steady, shown, usage.turns, folders, moment)

    def _folder_views(self, names: list[str]) -> dict[str, _FolderView]:
        views = {}
        for name in names:
            folder = self._tracker.live_folder(name)
            if folder is not None:
                hidden = self._tracker.hidden(folder.size, folder.files)
                shown = folder.charged[0] - hidden[0], folder.charged[1] - hidden[1]
                views[name] = _FolderView(self._tracker.quiet(folder), shown, folder.turns)
        return views

    async def _counted(self, spec: StorageSpec, scan: Scan) -> tuple[int, int]:
        """Count one storage, unless the scan is cancelled before or meanwhile."""
        if scan.cancelled_by:
            raise _Cancelled(f"cancelled by {scan.cancelled_by}")
        scan.counting = asyncio.ensure_future(self._count(spec, scan))
        try:
            return await scan.counting
        except asyncio.CancelledError:
            if not scan.cancelled_by:
                raise
            raise _Cancelled(f"cancelled by {scan.cancelled_by}") from None
        finally:
            scan.counting = None

    async def _count(self, spec: StorageSpec, scan: Scan) -> tuple[int, int]:
        backend = await self._pool.acquire(spec)
        try:
            return await measure(backend, "", progress=scan, clean=scan.kind == "user")
        finally:
            await self._pool.release(backend)
