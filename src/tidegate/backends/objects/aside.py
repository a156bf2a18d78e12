# SPDX-License-Identifier: Apache-2.0
"""Objects that are set aside while their successors wait for a verdict; see `tidegate.abc.SetsAside`.

The service copies the old object, with its metadata, to a hidden key before it is replaced, and back if that
has to be. The journal of the host notes it with what came in its place. An upload is known again by its ETag
and the time at which it was stored.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from tidegate.backends.host_journal import Note
from tidegate.backends.objects.attributes import NOTHING, Node
from tidegate.backends.objects.bucket import Stored
from tidegate.backends.objects.keys import aside_name, name_of
from tidegate.backends.objects.mirroring import DropRecord, show
from tidegate.backends.objects.moving import copy_file
from tidegate.backends.objects.notes import NEW, REPLACED, STAGE, Notes
from tidegate.backends.objects.tree import Tree
from tidegate.backends.objects.writing import ObjectWriter
from tidegate.errors import NotFound, TidegateError


@dataclass(slots=True)
class Undecided:
    """An upload, from before it is published until it is decided.

    Attributes:
        successor: it.
        before: version of what was set aside; empty for nothing.
        version: of the upload; empty as long as that is not known.
        note: path of the note.
        failed: `put_back` has failed.
    """

    successor: ObjectWriter
    before: str = ""
    version: str = ""
    note: str = ""
    failed: bool = False


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
        self._undecided: dict[str, Undecided] = {}  # by the hidden name

    async def set_aside(self, key: str, successor: ObjectWriter, *, keep: bool) -> tuple[str, bool]:
        """See `tidegate.abc.SetsAside`."""
        target = self._keys.object(key)
        folder, slash, _ = key.rpartition("/")
        hidden = f"{folder}{slash}{aside_name()}"
        name = name_of(hidden)
        one = Undecided(successor)
        try:
            stored = await self._tree.bucket.head(target) if keep else None
        except NotFound:
            stored = None
        if stored is not None:
            one.before = version_of(stored)
            self._keys.hidden.add(name)
            old = ""
            try:
                old = self._keys.object(hidden)
                one.note = await self._notes.add(REPLACED, old, target, "", one.before)
                await copy_file(self._tree, stored, old, create=False)
            except BaseException:
                self._keys.hidden.discard(name)
                self._notes.leave(one.note, REPLACED, old, target, "", one.before)
                raise
        self._undecided[name] = one
        return hidden, stored is not None

    async def replaced(self, hidden: str, key: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        one, target = self._undecided[name_of(hidden)], self._keys.object(key)
        found, published = await self._tree.bucket.head(target), one.successor.published
        if published is not None and published.etag and found.etag != published.etag:
            raise NotFound
        one.version = version_of(found)
        if one.before:
            note = await self._notes.add(REPLACED, self._keys.object(hidden), target, one.version, one.before)
        else:
            note = await self._notes.add(NEW, target, "", one.version)
        before, one.note = one.note, note
        await self._notes.remove(before)

    async def put_back(self, hidden: str, key: str) -> bool:
        """See `tidegate.abc.SetsAside`."""
        name, target = name_of(hidden), self._keys.object(key)
        one = self._undecided[name]
        old = self._keys.object(hidden) if one.before else ""
        try:
            if old:
                done = await end(self._tree, old, target, one.version, one.before)
            else:
                done = await end_new(self._tree, target, one.version)
            await self._notes.remove(one.note)
        except BaseException:
            one.failed = True
            if old:
                self._notes.leave(one.note, REPLACED, old, target, one.version, one.before)
            elif one.note:
                self._notes.leave(one.note, NEW, target, "", one.version)
            raise
        finally:
            self._keys.hidden.discard(name)
        del self._undecided[name]
        return done

    async def withdraw(self, hidden: str, key: str, *, last: bool = False) -> bool:
        """See `tidegate.abc.SetsAside`. A renamed object has another version."""
        name, target = name_of(hidden), self._keys.object(key)
        one = self._undecided[name]
        if one.failed or last:
            del self._undecided[name]
            if not one.failed:
                self._keys.hidden.discard(name)
                if one.before:
                    old = self._keys.object(hidden)
                    self._notes.leave(one.note, REPLACED, old, target, one.version, one.before)
        if one.failed:
            return await end_new(self._tree, target, one.version)
        try:
            await self._tree.bucket.delete([target])
        finally:
            self._tree.cache.changed(target)
        return True

    async def drop_aside(self, hidden: str) -> None:
        """See `tidegate.abc.SetsAside`."""
        name = name_of(hidden)
        one = self._undecided.pop(name, None)
        if one is None:
            return
        try:
            if not one.before:
                await self._notes.remove(one.note)
                return
            old = self._keys.object(hidden)
            try:
                await self._tree.bucket.delete([old])
                await self._notes.remove(one.note)
            except TidegateError:  # the next start is to remove it, and not to put it back
                with suppress(TidegateError):
                    left = await self._notes.add(STAGE, old, "")
                    await self._notes.remove(one.note)
                    self._notes.leave(left, STAGE, old, "")
        finally:
            self._keys.hidden.discard(name)


def version_of(stored: Stored) -> str:
    """A text that another object of the same key does not have."""
    return f"{stored.modified} {stored.etag}"


async def end(tree: Tree, old: str, target: str, version: str, before: str) -> bool:
    """Put an object back, if nothing has its key or what came in its place; remove it from its hidden key.

    Args:
        tree: names.
        old: the hidden key.
        target: the key that it had.
        version: `version_of` what came; empty if that is not known.
        before: that of what was set aside.

    Returns:
        whether the key has it.

    Raises:
        NotFound: there is nothing at the hidden key.
    """
    bucket = tree.bucket
    stored = await bucket.head(old)
    try:
        there = await bucket.head(target)
    except NotFound:
        there = None
    now = "" if there is None else version_of(there)
    done = there is None or now in (version, before)
    try:
        if done and now != before:
            tree.cache.changed(target, Node(await copy_file(tree, stored, target, create=there is None)))
        await bucket.delete([old])
    except BaseException:
        tree.cache.changed(target)
        raise
    finally:
        tree.cache.changed(old, NOTHING)
    return done


async def end_new(tree: Tree, target: str, version: str) -> bool:
    """Remove what came, if its key still has it; False if that has something else."""
    try:
        there = await tree.bucket.head(target)
    except NotFound:
        return True
    if version_of(there) != version:
        return False
    try:
        await tree.bucket.delete([target])
    finally:
        tree.cache.changed(target)
    return True


async def end_noted(tree: Tree, note: Note, drop_record: DropRecord) -> None:
    """End what a process set aside that is no more, or what it published."""
    if note.kind == NEW:
        await end_new(tree, note.key, note.version)
        return
    with suppress(NotFound):
        if not note.version and await _is_other(tree, note):
            # The crash came before the note of the successor: this is it, or what others agreed to.
            await show(tree, note.key, note.other, drop_record, "replaced")
        else:
            await end(tree, note.key, note.other, note.version, note.before)


async def _is_other(tree: Tree, note: Note) -> bool:
    try:
        return version_of(await tree.bucket.head(note.other)) != note.before
    except NotFound:
        return False
