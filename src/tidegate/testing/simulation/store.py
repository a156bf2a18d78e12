# SPDX-License-Identifier: Apache-2.0
"""The usage part of a data provider in memory, at the end of a line that is slow and breaks.

It outlives the simulated processes, as a database does. What was on its way when a process ended arrives or
does not, as the schedule draws.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Literal, TypeVar

from tidegate.errors import NotFound, ProviderUnavailable
from tidegate.model import TALLY_NAMES, Account, Folder, UsageDelta
from tidegate.testing.simulation import faults as f
from tidegate.testing.simulation.faults import Faults
from tidegate.testing.simulation.storage import Happenings

T = TypeVar("T")
_PAUSES: Final = (0.0, 0.0, 0.0005, 0.002, 0.03)


class Records:
    """The stored records.

    Attributes:
        accounts: by name; folders likewise.
        dirty: accounts that are marked.
    """

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.folders: dict[str, Folder] = {}
        self.dirty: set[str] = set()


class SimulatedStore:
    """`tidegate.vfs.usage.live.UsageStore` for one simulated process.

    Args:
        records: what is stored.
        faults: what goes wrong.
        draw: the schedule.
        happen: where kills go.
    """

    def __init__(self, records: Records, faults: Faults, draw: random.Random, happen: Happenings) -> None:
        self._records = records
        self._faults = faults
        self._draw = draw
        self._happen = happen
        self.dead = False

    async def _call(self, name: str, act: Callable[[], T]) -> T:
        if self.dead:
            raise ProviderUnavailable
        kind = self._faults.next("store")
        self._happen.note(f"store {name} {kind}".rstrip())
        await self._pause(f.HANG_SECONDS if kind == f.SLOW else None)
        if kind == f.CUT:
            self._happen.cut()
            await self._pause(None)
        if kind == f.KILL:
            self._happen.kill()
        if self.dead or kind == f.FAIL:
            raise ProviderUnavailable
        result = act()
        self._happen.note(f"stored {name}")
        if kind == f.KILL_AFTER:
            self._happen.kill()
        if kind == f.CUT_AFTER:
            self._happen.cut()
        await self._pause(f.HANG_SECONDS if kind == f.LATE else None)
        if kind == f.LOST or self.dead:
            raise ProviderUnavailable
        return result

    def _pause(self, seconds: float | None) -> Awaitable[None]:
        return asyncio.sleep(self._draw.choice(_PAUSES) if seconds is None else seconds)

    def _account(self, username: str) -> Account:
        if username not in self._records.accounts:
            raise NotFound(f"no user {username}")
        return self._records.accounts[username]

    def _folder(self, name: str) -> Folder:
        if name not in self._records.folders:
            raise NotFound(f"no folder {name}")
        return self._records.folders[name]

    # -- `UsageStore` ------------------------------------------------------------------------------------

    async def user(self, username: str) -> Account | None:
        """One account."""
        return await self._call(f"user {username}", lambda: self._records.accounts.get(username))

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        return await self._call(f"folder {name}", lambda: self._records.folders.get(name))

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters."""

        def act() -> None:
            old = self._account(username)
            tally = {
                name: max(0, getattr(old.tally, name) + getattr(delta.tally, name)) for name in TALLY_NAMES
            }
            self._records.accounts[username] = replace(
                old,
                used_quota_size=max(0, old.used_quota_size + delta.size),
                used_quota_files=max(0, old.used_quota_files + delta.files),
                used_upload_data_transfer=old.used_upload_data_transfer + delta.upload,
                used_download_data_transfer=old.used_download_data_transfer + delta.download,
                tally=replace(old.tally, **tally),
            )

        await self._call(f"add_usage {username} {delta.size} {delta.files}", act)

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters."""

        def act() -> None:
            old = self._account(username)
            self._records.accounts[username] = replace(old, used_quota_size=size, used_quota_files=files)

        await self._call(f"set_usage {username} {size} {files}", act)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""

        def act() -> None:
            self._records.accounts[username] = replace(
                self._account(username),
                used_upload_data_transfer=upload,
                used_download_data_transfer=download,
            )

        await self._call(f"set_transfer_usage {username}", act)

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters."""

        def act() -> None:
            old = self._folder(name)
            self._records.folders[name] = replace(
                old,
                used_quota_size=max(0, old.used_quota_size + size),
                used_quota_files=max(0, old.used_quota_files + files),
            )

        await self._call(f"add_folder_usage {name} {size} {files}", act)

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""

        def act() -> None:
            self._records.folders[name] = replace(
                self._folder(name), used_quota_size=size, used_quota_files=files
            )

        await self._call(f"set_folder_usage {name} {size} {files}", act)

    async def mark_usage(self, username: str, *, dirty: bool) -> None:
        """Mark an account, or take the mark away."""
        marks = self._records.dirty
        await self._call(
            f"mark {username} {dirty}", lambda: (marks.add if dirty else marks.discard)(username)
        )

    async def dirty_usage(self) -> list[str]:
        """Accounts that are marked."""
        return await self._call("dirty_usage", lambda: sorted(self._records.dirty))

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download`."""

        def act() -> None:
            old = self._account(username)
            self._records.accounts[username] = (
                replace(old, first_upload=when_ms)
                if kind == "upload"
                else replace(old, first_download=when_ms)
            )

        await self._call(f"touch_first {username} {kind}", act)
