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

MAX_EVENTS: Final = 20_000
"""Events that wait until the tree has its place; those after them are told at once."""


class Staged:
    """A tree beside a path.

    Args:
        context: of the session.
        mount: of the session, which serves the path.
        path: what is to be replaced.
        key: its key, free of links.
        hidden: the key that the tree is made under.

    Attributes:
        hidden: once it has its place, the key that the old tree has.
        swapped: True if it has its place; paths mean the old tree from then on.
        events: of what was done to it, until it has its place.
    """

    __slots__ = ("context", "events", "hidden", "key", "mount", "path", "swapped")

    def __init__(self, context: object, mount: object, path: VPath, key: Key, hidden: Key) -> None:
        self.context = context
        self.path = path
        self.key = key
        self.hidden = hidden
        self.mount = mount
        self.swapped = False
        self.events: list[Event] = []

    def hidden_key(self, mount: object, path: VPath) -> Key | None:
        """The key that a path has meanwhile; None if it is another path than those of the tree."""
        if mount is not self.mount or not path.is_within(self.path):
            return None
        return self.hidden + path[len(self.path) :]

    def shown_key(self, mount: object, key: Key) -> Key:
        """The key that something in the tree is going to have; any other key as it is."""
        if mount is self.mount and (key == self.hidden or key.startswith(f"{self.hidden}/")):
            return self.key + key[len(self.hidden) :]
        return key

    def keeps(self, context: object, event: Event) -> bool:
        """True if an event of a session is kept until the tree has its place."""
        if context is not self.context or self.swapped or len(self.events) >= MAX_EVENTS:
            return False
        self.events.append(event)
        return True


STAGED: Final[ContextVar[Staged | None]] = ContextVar("STAGED", default=None)
"""What is made now."""
