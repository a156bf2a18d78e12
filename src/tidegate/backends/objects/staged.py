# SPDX-License-Identifier: Apache-2.0
"""Trees that are made beside a name and take its place; see `tidegate.abc.ReplacesTrees`, docs/adr/0076.

A bucket exchanges nothing in one step. The old tree is copied to a hidden name first, then the new one is
copied over it. Up to then nothing has happened; from then on a failure, or a crash of this host, has the old
one put back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

from tidegate.abc import NotExchanged
from tidegate.backends.objects.keys import MOVED_PREFIX, name_of, tree_name
from tidegate.backends.objects.mirroring import mirror, remove, top
from tidegate.backends.objects.notes import EXCHANGE, STAGE, Notes
from tidegate.backends.objects.tree import Tree
from tidegate.errors import Conflict, NotFound, StorageFailed, TidegateError


class StagedTrees:
    """Hidden trees of one root.

    Args:
        tree: names.
        notes: of what is under way.
        drop_record: removes an unfinished upload by the key of its record.
    """

    def __init__(self, tree: Tree, notes: Notes, drop_record: Callable[[str], Awaitable[object]]) -> None:
        self._tree = tree
        self._keys = tree.keys
        self._notes = notes
        self._drop_record = drop_record
        self._noted: dict[str, tuple[str, str]] = {}  # by name: path of the note, and the key to show it at

    async def beside(self, key: str, *, moves: bool) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        target = self._keys.object(key)
        folder, slash, _ = key.rpartition("/")
        hidden = f"{folder}{slash}{tree_name(moves=moves)}"
        self._keys.hidden.add(name_of(hidden))
        try:
            await self._note(hidden, target if moves else "")
        except BaseException:
            self._keys.hidden.discard(name_of(hidden))
            raise
        return hidden

    async def exchange(self, hidden: str, key: str) -> str:
        """See `tidegate.abc.ReplacesTrees`."""
        new, place = self._keys.object(hidden), self._keys.object(key)
        (new_file, new_folder), (file, folder) = await top(self._tree, new), await top(self._tree, place)
        if not (new_file or new_folder) or not (file or folder):
            raise NotFound
        if new_folder and file and folder:  # others keep objects below the name of the file: nobody sees them
            raise Conflict("there are objects below the name of this file, which would be replaced too")
        aside = await self.beside(key, moves=False)
        old = self._keys.object(aside)
        try:
            await mirror(self._tree, place, old, self._drop_record)
            note = await self._notes.add(EXCHANGE, old, place)
        except BaseException as error:
            await self._discard(aside)
            _raise_not_exchanged(error)
            raise
        await self._notes.remove(self._noted.pop(name_of(aside))[0])  # the old one must outlive a crash now
        try:
            await mirror(self._tree, new, place, self._drop_record)
        except BaseException as error:
            try:
                await mirror(self._tree, old, place, self._drop_record)
            except TidegateError:
                self._notes.leave(note, EXCHANGE, old, place)
                self._keys.hidden.discard(name_of(aside))
                raise
            await self._note(aside, "")
            await self._notes.remove(note)
            await self._discard(aside)
            _raise_not_exchanged(error)
            raise
        await self._note(aside, "")
        await self._notes.remove(note)
        await self._discard(hidden)
        return aside

    async def leave_beside(self, hidden: str) -> None:
        """See `tidegate.abc.ReplacesTrees`."""
        path, shown = self._noted.pop(name_of(hidden), ("", ""))
        target = self._keys.object(hidden)
        self._keys.hidden.discard(name_of(hidden))
        try:
            there = any(await top(self._tree, target))
        except TidegateError:
            there = True
        if there:
            self._notes.leave(path, STAGE, target, shown)
        else:
            await self._notes.remove(path)

    async def _note(self, hidden: str, shown: str) -> None:
        """Note what becomes of a hidden tree after a crash: it is removed, or shown at a key like `shown`."""
        before = self._noted.get(name_of(hidden), ("", ""))[0]
        path = await self._notes.add(STAGE, self._keys.object(hidden), shown)
        self._noted[name_of(hidden)] = path, shown
        await self._notes.remove(before)

    async def _discard(self, hidden: str) -> None:
        """Remove a hidden tree that is of no use any more; what stays is left to who opens the root next."""
        with suppress(TidegateError):
            if name_of(hidden).startswith(MOVED_PREFIX):
                await self._note(hidden, "")
            await remove(self._tree, self._keys.object(hidden), self._drop_record)
        await self.leave_beside(hidden)


def _raise_not_exchanged(error: BaseException) -> None:
    """For a failure after which both trees are as they were.

    Raises:
        NotExchanged: in place of a failure of the storage.
    """
    if isinstance(error, StorageFailed):
        raise NotExchanged(detail=error.detail or error.text) from error
