# SPDX-License-Identifier: Apache-2.0
"""The data provider as usage sees it: accounts are those that identity knows, stored or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from tidegate.identity.api import Accounts
from tidegate.model import Account, Folder, Tally, UsageDelta
from tidegate.store.contract import Provider


class UsageRecords:
    """Implements `tidegate.vfs.usage.live.UsageStore`.

    Args:
        accounts: asked for accounts by name.
        provider: keeps the numbers, also of accounts that are not stored.
        keep_tally: asked first about changes of a tally; False keeps them here.
    """

    def __init__(
        self,
        accounts: Accounts,
        provider: Provider,
        keep_tally: Callable[[str, Tally], Awaitable[bool]] | None = None,
    ) -> None:
        self._accounts = accounts
        self._keep_tally = keep_tally
        self._provider = provider

    async def user(self, username: str) -> Account | None:
        """The account as it is now, with what it uses."""
        return await self._accounts.find(username)

    async def folder(self, name: str) -> Folder | None:
        """One folder."""
        return await self._provider.folder(name)

    async def add_usage(self, username: str, delta: UsageDelta) -> None:
        """Add to an account's counters."""
        keep = self._keep_tally
        if keep is not None and delta.tally != Tally() and await keep(username, delta.tally):
            delta = replace(delta, tally=Tally())
        await self._provider.add_usage(username, delta)

    async def set_usage(self, username: str, *, size: int, files: int) -> None:
        """Set the quota counters."""
        await self._provider.set_usage(username, size=size, files=files)

    async def set_transfer_usage(self, username: str, *, upload: int, download: int) -> None:
        """Set the transfer counters."""
        await self._provider.set_transfer_usage(username, upload=upload, download=download)

    async def add_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Add to a folder's counters."""
        await self._provider.add_folder_usage(name, size=size, files=files)

    async def set_folder_usage(self, name: str, *, size: int, files: int) -> None:
        """Set a folder's counters."""
        await self._provider.set_folder_usage(name, size=size, files=files)

    async def mark_usage(self, username: str, *, dirty: bool) -> None:
        """Remember that an account's counters may be behind, or are settled again."""
        await self._provider.mark_usage(username, dirty=dirty)

    async def dirty_usage(self) -> list[str]:
        """Accounts whose counters may be behind."""
        return await self._provider.dirty_usage()

    async def touch_first(self, username: str, kind: Literal["upload", "download"], when_ms: int) -> None:
        """Set `first_upload` or `first_download` if it is not set yet."""
        await self._provider.touch_first(username, kind, when_ms)
