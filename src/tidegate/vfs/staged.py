# SPDX-License-Identifier: Apache-2.0
"""The tree that is made beside a path to take its place (`vfs.files.replacing`), as the mounts see it.

While one is made, paths at and below its path mean what is hidden beside it, for the task of the session that
makes it and the tasks that this one starts. Rules, patterns and events speak of the path that it is made for.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tidegate.abc import Key
    from tidegate.events.kinds import Event
    from tidegate.model import VPath
    from tidegate.vfs.usage.reservations import PathState

MAX_EVENTS: Final = 20_000
"""Events that wait until the tree has its place; those after them are told at once."""


def noted(hidden: Key) -> Key:
    """A key that nothing has, in the directory of a hidden one; its state goes where the directory goes."""
    folder, _, name = hidden.rpartition("/")
    return f"{folder}//{name}"


class Staged:
    """A tree beside a path.

    Args:
        context: of the session.
        mount: of the session, which serves the path.
        path: what is to be replaced.
        key: its key, free of links.
        state: of `noted` the key that the tree is made under; directories that are renamed take it along.

    Attributes:
        state: once it has its place, of the key that the old tree has.
        swapped: True if it has its place; paths mean the old tree from then on.
        events: of what was done to it, until it has its place.
    """

    __slots__ = ("context", "events", "key", "mount", "path", "state", "swapped")

    def __init__(self, context: object, mount: object, path: VPath, key: Key, state: PathState) -> None:
        self.context = context
        self.path = path
        self.key = key
        self.state = state
        self.mount = mount
        self.swapped = False
        self.events: list[Event] = []

    @property
    def hidden(self) -> Key:
        """The key that the tree is made under; once it has its place, the one that the old tree has."""
        folder, _, name = self.state.at[1].partition("//")
        return f"{folder}/{name}" if folder else name

    def hidden_key(self, mount: object, path: VPath) -> Key | None:
        """The key that a path has meanwhile; None if it is another path than those of the tree."""
        if mount is not self.mount or not path.is_within(self.path):
            return None
        return self.hidden + path[len(self.path) :]

    def shown_key(self, mount: object, key: Key) -> Key:
        """The key that something in the tree is going to have; any other key as it is."""
        hidden = self.hidden
        if mount is self.mount and (key == hidden or key.startswith(f"{hidden}/")):
            return self.key + key[len(hidden) :]
        return key

    def keeps(self, context: object, event: Event) -> bool:
        """True if an event of a session is kept until the tree has its place."""
        if context is not self.context or self.swapped or len(self.events) >= MAX_EVENTS:
            return False
        self.events.append(event)
        return True


STAGED: Final[ContextVar[Staged | None]] = ContextVar("STAGED", default=None)
"""The tree that is made now; None for none."""
