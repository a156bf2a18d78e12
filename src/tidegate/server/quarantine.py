# SPDX-License-Identifier: Apache-2.0
"""The quarantine of a running server: files in it can be released to where they were uploaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from tidegate.errors import Conflict, NotFound
from tidegate.inspection.inspections import QUARANTINE_PROTOCOL
from tidegate.inspection.quarantine import Item, Quarantine
from tidegate.model import Account, Peer, Principal, VPath
from tidegate.model.peer import OtherProtocol
from tidegate.vfs.api import Session
from tidegate.vfs.whole_files import write_whole

log = logging.getLogger(__name__)


class QuarantineHost:
    """Shows, releases and drops files in quarantine.

    Args:
        quarantine: has them.
        opens: opens sessions.
        find: an account by name, None if there is none.
    """

    def __init__(
        self,
        quarantine: Quarantine,
        opens: Callable[[Principal, Peer], Awaitable[Session]],
        find: Callable[[str], Awaitable[Account | None]],
    ) -> None:
        self._quarantine = quarantine
        self._opens = opens
        self._find = find
        self._releasing: set[str] = set()

    async def all(self) -> list[Item]:
        """Every file, oldest first."""
        return await self._quarantine.all()

    async def get(self, name: str) -> Item:
        """One of them; `InvalidArgument`, `NotFound` if there is none."""
        return await self._quarantine.get(name)

    async def drop(self, name: str, *, by: str) -> None:
        """Remove one for good.

        Raises:
            InvalidArgument, NotFound: there is none.
            Conflict: it is being released.
        """
        if name in self._releasing:
            raise Conflict("it is being released")
        item = await self._quarantine.drop(name)
        log.info("quarantine: %s dropped %s: %r of %s", by, item.id, item.path, item.username)

    async def release(self, name: str, *, to: str, by: str) -> str:
        """Publish one as an upload of its account, by all of its rules but those of inspectors.

        Args:
            name: its id.
            to: the path; empty is that of the upload.
            by: who wants it.

        Returns:
            the path. The file is in quarantine no more.

        Raises:
            InvalidArgument, NotFound: there is none, or its account is gone.
            Conflict: it is being released, or the account's files are being moved.
            TidegateError: the upload is refused; the file stays in quarantine.
        """
        item = await self._quarantine.get(name)
        path = VPath.parse(to or item.path)
        if name in self._releasing:
            raise Conflict("it is being released")
        self._releasing.add(name)
        try:
            account = await self._find(item.username)
            if account is None:
                raise NotFound(f"no such user: {item.username}")
            if account.filters.hold:
                raise Conflict("the files of the account are on their way to other storage")
            peer = Peer(f"quarantine_{item.id}", OtherProtocol(QUARANTINE_PROTOCOL, "HTTP"), "")
            content = await self._quarantine.content(name)
            try:
                session = await self._opens(Principal(account, "quarantine", ""), peer)
                try:
                    await write_whole(session, path, content)
                finally:
                    await session.close()
            finally:
                await asyncio.to_thread(content.close)
            await self._quarantine.drop(name)
        finally:
            self._releasing.discard(name)
        log.info("quarantine: %s released %s to %r of %s", by, item.id, path, item.username)
        return path
