# SPDX-License-Identifier: Apache-2.0
"""Attributes of the objects of a bucket, kept for some seconds.

Clients ask for the attributes of each name right after a listing, and open it after that. Own changes are
known at once; those of others within the seconds that a caller allows. A read that relies on what is kept is
bound to the object by its ETag (`Bucket.get`), so it never mixes two contents.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tidegate.backends.objects.bucket import Stored

DEFAULT_ENTRIES: Final = 20_000
"""Objects that are known of one bucket, about 500 bytes each."""
DIRECTORIES: Final = 64
"""Directories of which everything is known."""
NAMES: Final = 64_000
"""Names of all of them together, about 150 bytes each; the last that was learned may have more."""
RECENT_CHANGES: Final = 4096
"""Own changes that are remembered, so that an older answer of the service is not taken for news."""


@dataclass(frozen=True, slots=True)
class Node:
    """One name: a file, a directory or nothing.

    Attributes:
        stored: the object, if it is a file.
        folder: True if there is something below it, or its marker.
        marker: the directory's marker, if it has one.
    """

    stored: Stored | None = None
    folder: bool = False
    marker: Stored | None = None

    @property
    def is_file(self) -> bool:
        """True for a file; what lies below a name that is both is not seen."""
        return self.stored is not None

    @property
    def is_dir(self) -> bool:
        """True for a directory."""
        return self.stored is None and self.folder

    @property
    def missing(self) -> bool:
        """True for nothing."""
        return self.stored is None and not self.folder


NOTHING: Final = Node()


@dataclass(slots=True, eq=False)
class _Directory:
    """All that a directory holds.

    Attributes:
        asked: when that was asked for; by the clock of the cache.
        keys: as those of nodes, and own changes since.
        uses: names that this has told to be free.
    """

    asked: float
    keys: set[str] = field(default_factory=set)
    uses: int = 0


class AttributeCache:
    """Nodes by the key of the object that a file of that name is.

    Args:
        entries: most that are kept.
        clock: seconds, monotonic.
    """

    def __init__(self, entries: int = DEFAULT_ENTRIES, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._nodes: OrderedDict[str, tuple[float, Node]] = OrderedDict()
        self._details: OrderedDict[str, tuple[tuple[str, float], Stored]] = OrderedDict()
        self._changed: OrderedDict[str, int] = OrderedDict()
        self._directories: OrderedDict[str, _Directory] = OrderedDict()
        self._changes = 0
        self._forgotten = 0

    @property
    def changes(self) -> int:
        """Number of own changes so far; what is asked of the service from now on is as new as that."""
        return self._changes

    def now(self) -> float:
        """Seconds of the clock."""
        return self._clock()

    def get(self, key: str, seconds: float) -> Node | None:
        """The node that was learned for a name in the last seconds; None if none was."""
        found = self._nodes.get(key)
        if found is None or self._clock() - found[0] > seconds:
            return None
        return found[1]

    def learn(self, key: str, node: Node, since: int) -> None:
        """Keep what the service said.

        Args:
            since: `changes` when it was asked; if the name was changed after that, this is left out.
        """
        if since < self._forgotten or self._changed.get(key, 0) > since:
            return
        self._nodes[key] = (self._clock(), node)
        self._nodes.move_to_end(key)
        if len(self._nodes) > self._entries:
            self._nodes.popitem(last=False)

    def learn_directory(self, folder: str, keys: set[str], since: int, asked: float) -> None:
        """Keep that there is nothing in a directory but these names, and own changes from now on.

        Args:
            folder: its prefix.
            keys: as those of nodes.
            since: as in `learn`.
            asked: `now` when it was asked.
        """
        if since < self._forgotten:
            return
        keys.update(key for key, number in self._changed.items() if number > since)
        self._directories[folder] = _Directory(asked, keys)
        self._directories.move_to_end(folder)
        names = sum(len(one.keys) for one in self._directories.values())
        while len(self._directories) > DIRECTORIES or (names > NAMES and len(self._directories) > 1):
            names -= len(self._directories.popitem(last=False)[1].keys)

    def is_free(self, folder: str, key: str, seconds: float) -> bool:
        """True if a name was seen to be free in the last seconds, by all that its directory holds."""
        found = self._directories.get(folder)
        if found is None or self._clock() - found.asked > seconds or key in found.keys:
            return False
        found.uses += 1
        return True

    def age(self, folder: str) -> float:
        """Seconds since all that a directory holds was asked for; infinite if that is not known."""
        found = self._directories.get(folder)
        return float("inf") if found is None else self._clock() - found.asked

    def uses(self, folder: str) -> tuple[int, int]:
        """Names that a directory is known to hold, and how many were told to be free; zeros if unknown."""
        found = self._directories.get(folder)
        return (0, 0) if found is None else (len(found.keys), found.uses)

    def changed(self, key: str, node: Node | None = None) -> None:
        """Note an own change of a name.

        Args:
            node: what it is now; None if that has to be asked.
        """
        self._changes += 1
        self._changed[key] = self._changes
        self._changed.move_to_end(key)
        if len(self._changed) > RECENT_CHANGES:
            self._forgotten = self._changed.popitem(last=False)[1]
        self._nodes.pop(key, None)
        self._details.pop(key, None)  # a service tells seconds only: times set in this one would not show
        held = self._directories.get(key[: key.rfind("/") + 1])
        if held is not None:
            held.keys.add(key)
        if node is not None:
            self.learn(key, node, self._changes)

    @contextmanager
    def changing(self, key: str) -> Iterator[None]:
        """Forget what is known of a name if the block, which has the service change it, fails or ends early.

        The service may have done it all the same, or do it later.
        """
        try:
            yield
        except BaseException:
            self.changed(key)
            raise

    def forget_below(self, folder: str) -> None:
        """Note that everything whose key begins with `folder` was changed."""
        self._changes += 1
        self._forgotten = self._changes
        for key in [key for key in self._nodes if key.startswith(folder)]:
            del self._nodes[key]
        self._directories.clear()

    def details(self, stored: Stored) -> Stored | None:
        """The same object with its metadata, if it was looked at before, and not changed by us since then."""
        found = self._details.get(stored.key)
        if found is None or found[0] != (stored.etag, stored.modified):
            return None
        self._details.move_to_end(stored.key)
        return found[1]

    def keep_details(self, listed: Stored, stored: Stored) -> None:
        """Keep the metadata of an object that was listed, if it is the same object."""
        if (listed.etag, listed.size) != (stored.etag, stored.size):
            return
        self._details[listed.key] = (listed.etag, listed.modified), stored
        if len(self._details) > self._entries:
            self._details.popitem(last=False)
