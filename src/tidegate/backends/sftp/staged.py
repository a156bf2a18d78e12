# SPDX-License-Identifier: Apache-2.0
"""Trees that are made beside a name and take its place; see `tidegate.abc.ReplacesTrees`, docs/adr/0081.

SFTP exchanges nothing in one step: the old tree is renamed aside, and the new one in its place. Between the
two a failure, or a crash of this host, has the old one renamed back. A note of the host's journal says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tidegate.abc import NotExchanged
from tidegate.backends.host_journal import EXCHANGE, STAGE, Journal, Note
from tidegate.backends.sftp.pool import Link, Pool
from tidegate.backends.sftp.tree import Tree
from tidegate.errors import AlreadyExists, NotFound, StorageFailed, TidegateError

OLD: Final = ".old"
"""Added to a hidden name for what it took the place of."""
MAX_SHOWN: Final = 100
"""Names that are tried for what a crash left of a move, or of an exchange."""

RemoveTree = Callable[[str], Awaitable[None]]
"""Removes a hidden tree, by its key."""

log = logging.getLogger(__name__)


class StagedTrees:
    """Hidden trees of one root.

    Args:
        pool: connections.
        tree: looks at paths.
        place: location of the root, by which its notes are found again.
        journal: None keeps no notes.
        remove: removes a tree.
    """

    def __init__(
        self, pool: Pool, tree: Tree, place: str, journal: Journal | None, remove: RemoveTree
    ) -> None:
        self._pool = pool
        self._tree = tree
        self._names = tree.names
        self._place = place
        self._journal = journal
        self._remove = remove
        self._noted: dict[str, Note] = {}
        self._paths: dict[str, str] = {}

    # -- contract ----------------------------------------------------------------------------------------

    async def beside(self, key: str, *, moves: bool) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        self._names.check(key)
        folder, slash, _ = key.rpartition("/")
        hidden = f"{folder}{slash}{self._names.tree(moves=moves)}"
        await self._note(hidden, STAGE, key if moves else "")
        self._names.staged.add(_name(hidden))
        return hidden

    async def exchange(self, hidden: str, key: str) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        aside = hidden + OLD
        await self._note(aside, EXCHANGE, key)
        self._names.staged.add(_name(aside))
        try:
            await self._swap(hidden, aside, key)
        except BaseException:
            await self.leave_beside(aside)  # where something has that name, its note stays for the next
            raise
        await self._note(aside, STAGE, "")  # from now on a crash lets the old one go
        await self.leave_beside(hidden)
        return aside

    async def leave_beside(self, hidden: str) -> None:
        """See `tidegate.abc.ReplacesTrees`."""
        note, path = self._noted.pop(hidden, None), self._paths.pop(hidden, "")
        try:
            there = await self._look(hidden)
        except TidegateError:
            there = True
        finally:
            self._names.staged.discard(_name(hidden))
        if self._journal is None or not path or note is None:
            return
        if there:
            self._journal.put_back({path: note})
        else:
            await asyncio.shield(asyncio.to_thread(self._journal.remove, path))

    async def _swap(self, hidden: str, aside: str, key: str) -> None:
        """Rename the old one aside and the new one in its place.

        Raises:
            NotExchanged: nothing happened, or the old one was put back.
            StorageFailed: that is not known.
        """
        try:
            await self._pool.run(lambda link: self._in_two_steps(link, hidden, aside, key), again=False)
        except NotFound:
            raise
        except BaseException as error:
            try:
                done = await self._pool.run(lambda link: self._settled(link, aside, key))
            except TidegateError:
                raise error from None
            if done:
                return
            if isinstance(error, StorageFailed):
                raise NotExchanged(detail=error.detail or error.text) from error
            raise
        finally:
            self._tree.forget()

    async def _in_two_steps(self, link: Link, hidden: str, aside: str, key: str) -> None:
        new, old = await asyncio.gather(self._tree.look(link, hidden), self._tree.look(link, key))
        if new is None or old is None:
            raise NotFound
        path = self._names.path
        await link.do(link.sftp.rename(path(key), path(aside)))
        await link.do(link.sftp.rename(path(hidden), path(key)))

    async def _settled(self, link: Link, aside: str, key: str) -> bool:
        """After a failure: True if both steps were done, else the old one has its name (again)."""
        old, there = await asyncio.gather(self._tree.look(link, aside), self._tree.look(link, key))
        if old is None:
            return False
        if there is not None:
            return True
        await link.do(link.sftp.rename(self._names.path(aside), self._names.path(key)))
        return False

    async def _look(self, key: str) -> bool:
        return await self._pool.run(lambda link: self._tree.look(link, key)) is not None

    async def _note(self, hidden: str, kind: str, other: str) -> None:
        """Note what becomes of a hidden tree after a crash; replaces an earlier note of it.

        Raises:
            StorageFailed: it cannot be noted, so the act must not begin.
        """
        note = Note(kind, self._place, hidden, other)
        before = self._paths.get(hidden, "")
        if self._journal is not None:
            try:
                self._paths[hidden] = await asyncio.to_thread(self._journal.add, note)
            except OSError as error:
                raise StorageFailed("the server cannot note what it begins") from error
            if before:
                await asyncio.shield(asyncio.to_thread(self._journal.remove, before))
        self._noted[hidden] = note

    # -- after a crash -----------------------------------------------------------------------------------

    async def recover(self) -> None:
        """End what dead processes left half done in this root; what fails is logged, and tried later."""
        if self._journal is None:
            return
        journal = self._journal
        left = dict(await asyncio.to_thread(journal.left_behind, self._place, ""))
        try:
            # Exchanges first: what they put back must not be taken for what was to be removed.
            for path, note in sorted(left.items(), key=lambda item: item[1].kind != EXCHANGE):
                if await self._ended(note):
                    del left[path]
                    await asyncio.to_thread(journal.remove, path)
        finally:
            journal.put_back(left)

    async def _ended(self, note: Note) -> bool:
        hidden = note.key
        names = {_name(hidden), _name(hidden).removesuffix(OLD)}
        self._names.staged |= names
        try:
            if note.kind == EXCHANGE:
                await self._end_exchange(hidden, note.other)
            elif await self._look(hidden):
                if note.other:
                    await self._show(hidden, note.other)
                else:
                    await self._remove(hidden)
        except TidegateError as error:
            log.warning("sftp://%s: %s of %r is not ended: %s", self._pool.place, note.kind, note.key, error)
            return False
        finally:
            self._names.staged -= names
        return True

    async def _end_exchange(self, aside: str, key: str) -> None:
        if not await self._look(aside):
            return  # it had not begun, or was ended
        new, there = await self._look(aside.removesuffix(OLD)), await self._look(key)
        if not there:
            await self._rename(aside, key)
        elif new:  # somebody else put something there meanwhile
            await self._show(aside, key)
        else:
            await self._remove(aside)

    async def _show(self, hidden: str, key: str) -> None:
        """Give what is hidden a name that is seen: it may be all that there is."""
        for number in range(1, MAX_SHOWN):
            shown = f"{key} (moved {number})"
            with contextlib.suppress(AlreadyExists):
                if not await self._look(shown):
                    await self._rename(hidden, shown)
                    log.warning("a crash broke off a move: see sftp://%s %r", self._pool.place, shown)
                    return

    async def _rename(self, source: str, target: str) -> None:
        path = self._names.path

        async def doing(link: Link) -> None:
            await link.do(link.sftp.rename(path(source), path(target)))

        await self._pool.run(doing, again=False)
        self._tree.forget()


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def is_fresh(mtime_ns: int, seconds: float) -> bool:
    """True if something was changed within so many seconds: another server may be working on it."""
    return mtime_ns > time.time_ns() - round(seconds * 10**9)
