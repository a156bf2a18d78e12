# SPDX-License-Identifier: Apache-2.0
"""Objects that are set aside while their successors wait for a verdict; see `tidegate.abc.SetsAside`.

The service copies the old object, with its metadata, to a hidden key before it is replaced, and back if that
has to be. The journal of the host notes it with what came in its place.
"""

from __future__ import annotations

from contextlib import suppress

from tidegate.backends.host_journal import Note
from tidegate.backends.objects.attributes import NOTHING, Node
from tidegate.backends.objects.bucket import Stored
from tidegate.backends.objects.keys import aside_name, name_of
from tidegate.backends.objects.moving import copy_file
from tidegate.backends.objects.notes import REPLACED, STAGE, Notes
from tidegate.backends.objects.tree import Tree
from tidegate.errors import NotFound, TidegateError


class Asides:
    """Objects of one root that are set aside.

    Args:
        tree: names.
        notes: of what is under way.
    """

    def __init__(self, tree: Tree, notes: Notes) -> None:
        self._tree = tree
        self._keys = tree.keys
        self._notes = notes
        self._noted: dict[str, tuple[str, str]] = {}  # by name: path of the note, version of the successor

    async def set_aside(self, key: str) -> str | None:
        """See `tidegate.abc.SetsAside`."""
        target = self._keys.object(key)
        try:
            stored = await self._tree.bucket.head(target)
        except NotFound:
            return None
        folder, slash, _ = key.rpartition("/")
        hidden = f"{folder}{slash}{aside_name()}"
        name = name_of(hidden)
        self._keys.hidden.add(name)
        note = old = ""
        try:
            old = self._keys.object(hidden)
            note = await self._notes.add(REPLACED, old, target)
            await copy_file(self._tree, stored, old, create=False)
        except BaseException:
            self._keys.hidden.discard(name)
            self._notes.leave(note, REPLACED, old, target)
            raise
        self._noted[name] = note, ""
        return hidden

    async def replaced(self, hidden: str, key: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        name, target = name_of(hidden), self._keys.object(key)
        version = version_of(await self._tree.bucket.head(target))
        before, _ = self._noted[name]
        note = await self._notes.add(REPLACED, self._keys.object(hidden), target, version)
        self._noted[name] = note, version
        await self._notes.remove(before)

    async def put_back(self, hidden: str, key: str) -> bool:
        """See `tidegate.abc.SetsAside`."""
        name, target, old = name_of(hidden), self._keys.object(key), self._keys.object(hidden)
        note, version = self._noted.pop(name)
        try:
            done = await end(self._tree, old, target, version)
            await self._notes.remove(note)
        except BaseException:
            self._notes.leave(note, REPLACED, old, target, version)
            raise
        finally:
            self._keys.hidden.discard(name)
        return done

    async def drop_aside(self, hidden: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        name, old = name_of(hidden), self._keys.object(hidden)
        note, _ = self._noted.pop(name, ("", ""))
        try:
            await self._tree.bucket.delete([old])
            await self._notes.remove(note)
        except TidegateError:  # the next start is to remove it, and not to put it back
            with suppress(TidegateError):
                left = await self._notes.add(STAGE, old, "")
                await self._notes.remove(note)
                self._notes.leave(left, STAGE, old, "")
        finally:
            self._keys.hidden.discard(name)


def version_of(stored: Stored) -> str:
    """A text that another object of the same key does not have."""
    return f"{stored.modified} {stored.etag}"


async def end(tree: Tree, old: str, target: str, version: str) -> bool:
    """Put an object back, if nothing has its key or what came in its place; remove it from its hidden key.

    Args:
        tree: names.
        old: the hidden key.
        target: the key that it had.
        version: `version_of` what came; empty if that is not known.

    Returns:
        whether it was put back.

    Raises:
        NotFound: there is nothing at the hidden key.
    """
    bucket = tree.bucket
    stored = await bucket.head(old)
    try:
        there = await bucket.head(target)
    except NotFound:
        there = None
    done = there is None or version_of(there) == version
    try:
        if done:
            tree.cache.changed(target, Node(await copy_file(tree, stored, target, create=there is None)))
        await bucket.delete([old])
    except BaseException:
        tree.cache.changed(target)
        raise
    finally:
        tree.cache.changed(old, NOTHING)
    return done


async def end_noted(tree: Tree, note: Note) -> None:
    """End what a process set aside that is no more."""
    with suppress(NotFound):
        await end(tree, note.key, note.other, note.version)
