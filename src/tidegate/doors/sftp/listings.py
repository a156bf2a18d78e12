# SPDX-License-Identifier: Apache-2.0
"""An open directory: its entries in batches, and the next answer to READDIR, made before the client asks.

While the client reads one answer the next is laid out, so that neither waits for the other. One answer and
one batch of entries are held for a handle, never more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Final, NamedTuple

from tidegate.doors.common.turns import turns_of
from tidegate.doors.sftp.longname import LONG_NAMES, MAX_NAMES, Longnames
from tidegate.model import Entry, VPath
from tidegate.vfs import eager

MAX_NAMES_BYTES: Final = 34_000 - 13
"""Bytes of the names of an answer: every client takes a packet of 34000 bytes (draft section 3)."""

LONG_NAMES_BYTES: Final = 64 * 1024
"""The same for OpenSSH's clients, which take 256 KiB, and for those that come through its ssh program."""

_TAKES_LONG: Final = "SSH-2.0-OpenSSH_"
"""Beginning of the version of clients that take `LONG_NAMES_BYTES`."""


def most_bytes(client_version: str) -> int:
    """The most bytes that the names of one answer have for this client."""
    return LONG_NAMES_BYTES if client_version.startswith(_TAKES_LONG) else MAX_NAMES_BYTES


class Names(NamedTuple):
    """Names laid out for an answer: their number, and the packet behind its head."""

    number: int
    body: bytes


class Listing:
    """A directory handle.

    Args:
        path: the directory.
        source: brings batches of entries.
        longnames: lays entries out.
        most: bytes of names in one answer; one name may go beyond.
    """

    __slots__ = (
        *("_ahead", "_batch", "_failure", "_longnames", "_loop", "_most", "_most_names", "_over", "_planned"),
        *("_position", "_queued", "_ready", "_source", "_turns", "path"),
    )

    def __init__(
        self,
        path: VPath,
        source: AsyncIterator[list[Entry]],
        longnames: Longnames,
        most: int = MAX_NAMES_BYTES,
    ) -> None:
        self.path = path
        self._source = source
        self._longnames = longnames
        self._most = most
        self._most_names = LONG_NAMES if most > MAX_NAMES_BYTES else MAX_NAMES
        self._batch: list[Entry] = []
        self._position = 0
        self._ready: Names | None = None
        self._loop = asyncio.get_running_loop()
        self._turns = turns_of(self._loop)
        self._over = False
        self._planned = False
        self._queued = False
        self._ahead: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def open(self) -> None:
        """Fetch the first entries.

        Raises:
            TidegateError: there is no such directory, or it may not be listed.
        """
        await self._fetch()

    def begin_with(self, entries: list[Entry]) -> None:
        """Show these entries before all others; before the first answer."""
        self._batch = entries + self._batch

    async def next_names(self) -> Names | None:
        """The names of the next answer; None after the last.

        Raises:
            TidegateError: the listing broke off. What came before has been answered.
        """
        self._planned = False
        while self._ready is None:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            if self._ahead is not None:
                ahead, self._ahead = self._ahead, None
                await ahead
            elif self._position >= len(self._batch):
                await self._fetch()
            if self._position >= len(self._batch):
                return None
            self._lay_out()
        names, self._ready = self._ready, None
        return names

    def take_ready(self) -> Names | None:
        """The names of the next answer if they are laid out; None says nothing about the end."""
        names, self._ready = self._ready, None
        return names

    def look_ahead(self) -> None:
        """Lay out the next answer once this one is on its way."""
        if self._ready is None and self._failure is None and self._ahead is None and not self._planned:
            self._planned = True
            if not self._queued:
                self._queued = True
                self._turns.later(self._begin)

    def _begin(self) -> None:
        self._queued = False
        if self._planned:  # else the client asked for it meanwhile, or closed the handle
            self._planned = False
            self._lay_out()

    def _lay_out(self) -> None:
        """Lay out as many names as an answer takes and as can be had without waiting.

        A second batch is fetched whatever the time: an answer that is cut there costs more than it saves.
        """
        parts: list[bytes] = []
        left, deadline = self._most, self._turns.until(monotonic())
        fetched = 0
        while len(parts) < self._most_names:
            if self._position >= len(self._batch):
                late = fetched > 0 and monotonic() >= deadline
                if self._over or late or not self._fetch_now():
                    break
                fetched += 1
                continue
            self._position, left = self._longnames.lay_out(
                self._batch, self._position, parts, left, self._most_names
            )
            if self._position < len(self._batch):
                break
        if parts:
            self._ready = Names(len(parts), b"".join(parts))

    def _fetch_now(self) -> bool:
        """Fetch another batch; False if that has to wait, or failed."""
        try:
            self._ahead, _ = eager.start(self._fetch(), self._loop)
        except Exception as error:
            self._failure = error
            return False
        return self._ahead is None

    async def _fetch(self) -> None:
        """Replace a batch that is used up."""
        while self._position >= len(self._batch) and not self._over:
            batch = await anext(self._source, None)
            self._over = batch is None
            self._batch = batch or []
            self._position = 0

    async def close(self) -> None:
        """Release the iterator."""
        self._over = True
        self._planned = False
        self._ready = None
        if self._ahead is not None:
            # An iterator cannot be closed while it runs.
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
            if not self._ahead.cancelled():
                self._ahead.exception()
            self._ahead = None
        close = getattr(self._source, "aclose", None)
        if close is not None:
            await close()
