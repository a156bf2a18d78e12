# SPDX-License-Identifier: Apache-2.0
"""Writes live usage to the store: in the background, on demand, and when the server stops.

The store sees increments. They are written at once after a change and then at most every `SAVE_GAP_SECONDS`;
what could not be written is kept and tried again. If it is not known whether an increment was stored (the
line broke before the reply came), the store is asked for its numbers first; only if they do not tell, because
somebody else wrote too, the account stays marked until it is scanned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from tidegate.errors import BadRecord, CallerError, NotFound, TidegateError
from tidegate.model import Account, Folder, UsageDelta
from tidegate.vfs.usage.doubts import Doubts
from tidegate.vfs.usage.lease import Lease
from tidegate.vfs.usage.live import (
    AccountUsage,
    FolderUsage,
    LiveUsage,
    Numbers,
    UsageStore,
    as_delta,
    identity_of,
    is_same,
    numbers_of,
)

SAVE_GAP_SECONDS: Final = 1.0
"""Least time between two background writes of one usage: bounds the load, does not delay the first."""
SAVE_INTERVAL_SECONDS: Final = 2.0
"""Time between two writes of usage while an upload runs."""
LINGER_SECONDS: Final = 1.0
"""Time that the mark stays after the last change: a burst of small files sets it once, not once a file."""
RETRY_SECONDS: Final = 5.0
"""Pause before a write that failed is tried again."""
CLOSE_SECONDS: Final = 20.0
"""Time that stopping waits for the store, all accounts together; what is not written is scanned later."""

REFUSED: Final = (CallerError, BadRecord, OverflowError)
"""Failures of a write that say for certain that nothing was stored."""

log = logging.getLogger(__name__)


class UsageWriter:
    """The way of live usage to the store.

    Args:
        store: the data provider; None keeps everything in memory.
        lease: whose the marks are, if several servers may use the store.
        doubts: about numbers that only a scan can make right.
        retire: called with the usage of an account that the store has no longer, but another of its name.
        settled: called with a usage that is written for now, or cannot be.

    Attributes:
        writing: writes of anybody's numbers under way.
        wrote: when the last one ended (`time.monotonic`).
    """

    def __init__(
        self,
        store: UsageStore | None,
        lease: Lease | None,
        doubts: Doubts,
        *,
        retire: Callable[[AccountUsage], None],
        settled: Callable[[AccountUsage], None],
    ) -> None:
        self.store: Final = store
        self.lease: Final = lease
        self.doubts: Final = doubts
        self.writing = 0
        self.wrote = 0.0
        self._retire: Final = retire
        self._settled: Final = settled
        # Accounts whose numbers cannot be written now, and why.
        self._failing: dict[str, str] = {}
        self._stop: Final = asyncio.Event()

    def wake(self, usage: AccountUsage) -> None:
        """Have a usage written soon."""
        usage.wake.set()
        if usage.task is None and not self._stop.is_set():
            usage.task = asyncio.create_task(self._keep(usage), name=f"usage {usage.name}")

    async def close(self, usages: Sequence[AccountUsage]) -> None:
        """Write everything and stop, in `CLOSE_SECONDS` at most."""
        self._stop.set()
        for usage in usages:
            usage.wake.set()
        tasks = [usage.task for usage in usages if usage.task is not None]
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                if tasks:
                    await asyncio.gather(*tasks, return_exceptions=True)
                for usage in usages:
                    await self._finish(usage)
        except TimeoutError:
            behind = sum(usage.pending or usage.marked for usage in usages)
            log.warning(
                "the store does not answer: usage of %d accounts will be scanned at the next start", behind
            )

    async def _finish(self, usage: AccountUsage) -> None:
        try:
            if usage.pending:
                await self.write(usage)
            await self.unmark(usage)
        except (TidegateError, OverflowError):
            log.warning("usage of %s could not be written; it will be scanned at the next start", usage.name)

    async def _keep(self, usage: AccountUsage) -> None:
        """Write a usage until it is settled."""
        idle_since: float | None = None
        try:
            while not self._stop.is_set():
                usage.wake.clear()
                pause = SAVE_GAP_SECONDS
                try:
                    if usage.pending:
                        idle_since = None
                        await self.write(usage)
                    elif not usage.busy:
                        now = asyncio.get_running_loop().time()
                        idle_since = now if idle_since is None else idle_since
                        if now - idle_since >= LINGER_SECONDS:
                            await self.unmark(usage)
                            if not usage.wake.is_set():
                                break
                    else:
                        pause = SAVE_INTERVAL_SECONDS
                    self._written(usage)
                except (TidegateError, OverflowError) as error:  # sparse files add up to more than fits
                    self._unwritten(usage, error)
                    pause = RETRY_SECONDS
                await _wait(self._stop, SAVE_GAP_SECONDS)
                if pause > SAVE_GAP_SECONDS and not self._stop.is_set():
                    await _wait(usage.wake, pause - SAVE_GAP_SECONDS)
        finally:
            usage.task = None
            if not usage.pending:
                self._failing.pop(usage.name, None)
            self._settled(usage)

    def _unwritten(self, usage: AccountUsage, error: Exception) -> None:
        """Say once why the store does not take numbers, not at each try and not for each account."""
        cause = " ".join(str(error).split()) or type(error).__name__
        if self._failing.get(usage.name) == cause:
            return
        known = cause in self._failing.values()
        self._failing[usage.name] = cause
        log.log(
            logging.DEBUG if known else logging.WARNING,
            "usage of %s cannot be written now: %s; trying again every %g seconds",
            usage.name,
            cause,
            RETRY_SECONDS,
        )

    def _written(self, usage: AccountUsage) -> None:
        cause = self._failing.pop(usage.name, None)
        if cause is not None and cause not in self._failing.values():
            log.info("usage is written again, last that of %s; it was kept meanwhile (%s)", usage.name, cause)

    async def write(self, usage: AccountUsage) -> None:
        """Write what is pending of an account and the folders that it changed.

        Raises:
            TidegateError, OverflowError: it is not stored, or that is not known; it is kept.
        """
        store = self.store
        if store is None:
            return
        async with usage.lock:
            try:
                await self._write_account(usage, store)
            except NotFound:
                log.info("usage of %s is dropped: the account was deleted", usage.name)
                usage.deleted()
            for folder in list(usage.folders):
                await self._write_folder(usage, folder, store)

    async def _write_account(self, usage: AccountUsage, store: UsageStore) -> None:
        if not usage.behind:
            return
        if usage.sent is not None:
            # A write of the same record ends after one that is still under way (a transaction whose
            # line broke holds its lock), and makes the reading that follows go to the writing server.
            await self.mark(usage)
        if await self.replaced(usage, store):
            return
        if usage.sent is not None:
            self._learn(usage, await store.user(usage.name), (usage.name, None))
        changes = usage.changes()
        await self._send(usage, changes, lambda: self.noted(store.add_usage(usage.name, as_delta(changes))))
        for kind, when in list(usage.touched_at.items()):
            await store.touch_first(usage.name, kind, when)
            del usage.touched_at[kind]

    async def _write_folder(self, usage: AccountUsage, folder: FolderUsage, store: UsageStore) -> None:
        async with folder.lock:  # several accounts may have changed it
            if folder.sent is not None and not usage.marked:
                with contextlib.suppress(NotFound):  # the account was deleted; the folder may live on
                    await self.mark(usage)
            try:
                if folder.sent is not None:
                    # For the reasons in `_write_account`.
                    await store.add_folder_usage(folder.name, size=0, files=0)
                    self._learn(folder, await store.folder(folder.name), (usage.name, folder.name))
                size, files = changes = folder.changes()
                await self._send(
                    folder, changes, lambda: store.add_folder_usage(folder.name, size=size, files=files)
                )
            except NotFound:
                log.info("usage of folder %s is dropped: it was deleted", folder.name)
                folder.deleted()

    @staticmethod
    async def _send(usage: LiveUsage, changes: Numbers, write: Callable[[], Awaitable[None]]) -> None:
        """Have changes stored; if it cannot be said whether they were, they stay in `usage.sent`."""
        if not any(changes):
            return
        usage.sent = changes
        try:
            await write()
        except REFUSED:
            usage.sent = None
            raise
        usage.told(changes)

    def _learn(self, usage: LiveUsage, found: Account | Folder | None, doubt: tuple[str, str | None]) -> None:
        """Settle what became of `usage.sent`, or note whose numbers only a scan can make right."""
        if not usage.learn(None if found is None else numbers_of(found)):
            log.warning("usage of %s is uncertain; it will be counted again", usage.name)
            self.doubts.add(*doubt)

    async def replaced(self, usage: AccountUsage, store: UsageStore) -> bool:
        """True if the store has another account of that name by now; the usage is retired then.

        The store adds by name, so this is asked before each addition.
        """
        if not usage.gone and any(usage.identity):
            found = await store.user(usage.name)
            if found is not None and not is_same(usage.identity, identity_of(found)):
                found = await self.surely(usage.name, store)
            # Without a record the write itself tells.
            if found is not None and not usage.gone and not is_same(usage.identity, identity_of(found)):
                self._retire(usage)
        return usage.gone

    @staticmethod
    async def surely(name: str, store: UsageStore) -> Account | None:
        """The account on the writing server: it is the one that is read after a write, even of nothing."""
        try:
            await store.add_usage(name, UsageDelta())
        except NotFound:
            return None
        return await store.user(name)

    async def set_mark(self, username: str, *, dirty: bool) -> None:
        """Set or clear this server's mark on an account."""
        if self.lease is not None:
            await self.lease.mark(username, dirty=dirty)
        elif self.store is not None:
            await self.store.mark_usage(username, dirty=dirty)

    async def mark(self, usage: AccountUsage) -> None:
        """Set the mark of an account whose numbers fall behind."""
        if not usage.gone:
            await self.set_mark(usage.name, dirty=True)
        usage.marked = True

    async def unmark(self, usage: AccountUsage) -> None:
        """Clear the mark, if everything is written and nothing is doubtful."""
        if self.store is None or not usage.marked:
            return
        async with usage.lock:
            doubtful = not usage.gone and self.doubts.keep_mark(usage.name)
            if usage.marked and not usage.busy and not usage.pending and not doubtful:
                usage.marked = False
                if not usage.gone:
                    await self.set_mark(usage.name, dirty=False)

    async def noted(self, write: Awaitable[None]) -> None:
        """Write numbers of an account, and remember when."""
        self.writing += 1
        try:
            await write
        finally:
            self.writing -= 1
            self.wrote = time.monotonic()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
