# SPDX-License-Identifier: Apache-2.0
"""Notes of what is under way in a root, and ending what a crash left half done."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tidegate.backends.host_journal import EXCHANGE, NEW, RENAME, REPLACED, STAGE, UPLOAD, Journal, Note
from tidegate.backends.objects.bucket import Bucket, Upload
from tidegate.backends.objects.mirroring import mirror, remove, show, top
from tidegate.backends.objects.moving import copy_tree, remove_copied
from tidegate.backends.objects.tree import Tree
from tidegate.errors import StorageFailed, TidegateError

if TYPE_CHECKING:
    from tidegate.backends.objects.partials import Partials

RECOVERY_SECONDS = 20.0
"""So long a root that is opened waits for what is left to do there."""

logger = logging.getLogger(__name__)


class Notes:
    """The journal as one bucket uses it, off the event loop.

    Args:
        bucket: whose location notes name.
        journal: None keeps no notes.
        service: see `ObjectSettings`. What was begun at one service is never ended at another, whose bucket
            of the same name holds other files.
    """

    def __init__(self, bucket: Bucket, journal: Journal | None, service: str = "") -> None:
        self._place = f"{service} {bucket.location('')}".lstrip()
        self._journal = journal

    async def add(self, kind: str, key: str, other: str, version: str = "", before: str = "") -> str:
        """Write a note; returns what `remove` takes.

        Raises:
            StorageFailed: it cannot be written, so the act must not begin.
        """
        if self._journal is None:
            return ""
        note = Note(kind, self._place, key, other, version, before)
        try:
            return await asyncio.to_thread(self._journal.add, note)
        except OSError as error:
            raise StorageFailed("the server cannot note what it begins") from error

    async def remove(self, path: str) -> None:
        """Remove a note."""
        if self._journal is not None and path:
            # Also if the task ends now: a note that stays would begin the act again some day.
            await asyncio.shield(asyncio.to_thread(self._journal.remove, path))

    def leave(  # noqa: PLR0917
        self, path: str, kind: str, key: str, other: str, version: str = "", before: str = ""
    ) -> None:
        """Leave an act that is not ended to the next who opens the root."""
        if path:
            self.put_back({path: Note(kind, self._place, key, other, version, before, time.time())})

    async def set_aside(self, path: str) -> str:
        """Keep a note that is not to be acted on, under another name; returns its path."""
        if self._journal is None:
            return path
        try:
            return await asyncio.to_thread(self._journal.set_aside, path)
        except OSError:
            return path

    def put_back(self, left: Mapping[str, Note]) -> None:
        """Leave what was taken over and is not ended to the next who opens the root."""
        if self._journal is not None and left:
            self._journal.put_back(left)

    async def left_behind(self, prefix: str) -> list[tuple[str, Note]]:
        """The notes that dead processes left about a root, taken over."""
        if self._journal is None:
            return []
        return await asyncio.to_thread(self._journal.left_behind, self._place, prefix)


async def recover(tree: Tree, notes: Notes, left: Sequence[tuple[str, Note]], partials: Partials) -> None:
    """End what is left.

    Uploads are removed, and renames of directories are completed. Trees that were to take the place of others
    are removed, or shown if they are all that there is of what was moved. Half an exchange is taken back.
    What was replaced before a verdict is put back.

    Renames and exchanges that broke off too long ago are left: somebody may have put other files there
    meanwhile. The log tells of them, once. What fails is logged. Its note stays, as those do that a
    cancellation leaves, for the next who opens the root.
    """
    waiting = dict(left)
    try:
        for path, note in left:
            if note.kind in (RENAME, EXCHANGE) and time.time() - note.begun > tree.settings.rename_seconds:
                del waiting[path]
                _tell(tree, note, await notes.set_aside(path))
            elif await _ended(tree, note, partials):
                del waiting[path]
                await notes.remove(path)
    finally:
        notes.put_back(waiting)


def _tell(tree: Tree, note: Note, path: str) -> None:
    if note.kind == EXCHANGE:
        act = "a replacement of what is kept at"
    else:
        act = "a rename of"
    logger.warning(
        "%s %s to %s, begun on %s, was broken off by a crash and is not completed after so long "
        "(storage.objects.rename_note_hours): files may be in both places; compare them, move what is left, "
        "and remove %s",
        act,
        tree.bucket.location(note.key),
        tree.bucket.location(note.other),
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(note.begun)),
        path,
    )


async def _ended(tree: Tree, note: Note, partials: Partials) -> bool:
    try:
        if note.kind == UPLOAD:
            await tree.bucket.abort(Upload(note.key, note.other))
        elif note.kind == RENAME:
            await copy_tree(tree, note.key, note.other)
            await remove_copied(tree, note.key, note.other, partials.drop_record)
        elif note.kind == STAGE and note.other:
            shown = await show(tree, note.key, note.other, partials.drop_record)
            if shown:
                logger.warning("a crash broke off a move: see %s", tree.bucket.location(shown))
        elif note.kind == STAGE:
            await remove(tree, note.key, partials.drop_record)
        elif note.kind in (REPLACED, NEW):
            from tidegate.backends.objects.aside import end_noted  # a crash left one

            await end_noted(tree, note, partials.drop_record)
        elif note.kind == EXCHANGE and any(await top(tree, note.key)):  # else the old one was all put back
            await mirror(tree, note.key, note.other, partials.drop_record)
            await remove(tree, note.key, partials.drop_record)
    except TidegateError as error:
        where = tree.bucket.location(note.key)
        logger.warning("%s of %s that a crash broke off is not ended: %s", note.kind, where, error)
        return False
    finally:
        for folder in (note.key, note.other) if note.kind == RENAME else ():
            tree.cache.forget_below(folder)
    return True


__all__ = ["EXCHANGE", "NEW", "RECOVERY_SECONDS", "RENAME", "REPLACED", "STAGE", "UPLOAD", "Notes", "recover"]
