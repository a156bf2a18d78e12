# SPDX-License-Identifier: Apache-2.0
"""Optional contracts of storage about what takes another's place; names are promised by `tidegate.abc`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tidegate.contracts.storage import Key
from tidegate.errors import StorageFailed


class NotExchanged(StorageFailed):
    """Two trees were not exchanged (`ReplacesTrees.exchange`): each is where it was."""


@runtime_checkable
class ReplacesTrees(Protocol):
    """A backend MAY have this beside `Backend`: a tree takes the place of another one when it is complete.

    A hidden key is in the directory of the key that it was made for, is in no listing, and cannot be named by
    clients. Until `leave_beside` all operations of the backend take it as they take any other key.
    """

    async def beside(self, key: Key, *, moves: bool) -> Key:
        """A fresh hidden key, at which nothing is yet, for what is to take the place of `key`.

        What a crash leaves under it is removed, at the next start at the latest.

        Args:
            key: what is to be replaced.
            moves: what gets the hidden key is moved there: a crash must not lose it. It is seen then under a
                name like that of `key`.
        """
        ...

    async def exchange(self, hidden: Key, key: Key) -> Key:
        """Exchange the trees at the two keys.

        Storage that cannot do this in one step does it in several, and takes them back if one fails.

        Returns:
            the hidden key at which the old tree is now.

        Raises:
            NotFound: one of them is not there; nothing happened.
            NotExchanged: nothing happened.
            StorageFailed: it is unknown if it happened, or half of it did; the old tree is put back later.
        """
        ...

    async def leave_beside(self, hidden: Key) -> None:
        """Forget a hidden key. What still has it is left to what clears up after crashes."""
        ...


@runtime_checkable
class SetsAside(Protocol):
    """A backend MAY have this: a file that is replaced is kept until its successor is accepted.

    A hidden key is in the directory of its key, is in no listing, and cannot be named by clients; if that
    directory is renamed, its name goes along. What is set aside ends by `put_back` or `drop_aside`. After a
    crash of this process, at the next start or when the root is opened next, it is put back if its key has
    nothing, or still what `replaced` found there; else it is removed.
    """

    async def set_aside(self, key: Key) -> Key | None:
        """Keep the file at `key` under a fresh hidden key as well: content, attributes, what is known of it.

        Its successor is published in its place (`Publish.ATOMIC` or RESUMABLE), not written into it.

        Returns:
            the hidden key; None if there is no file at `key`, and then there is nothing to end.

        Raises:
            TidegateError: it cannot be kept; nothing happened.
        """
        ...

    async def replaced(self, hidden: Key, key: Key) -> None:
        """Note what has `key` now: the successor of what is at `hidden`.

        Raises:
            TidegateError: that cannot be found out, or noted; `put_back` will not replace what is there.
        """
        ...

    async def put_back(self, hidden: Key, key: Key) -> bool:
        """Give `key` the file again that was set aside, in place of its successor or of nothing.

        Returns:
            True; False if `key` has something else by now: that stays, and what was set aside is removed.

        Raises:
            TidegateError: it is not put back, and stays under the hidden key for the next start.
        """
        ...

    async def drop_aside(self, hidden: Key) -> None:
        """Remove what was set aside; what cannot be removed is left to the next start. Never raises."""
        ...
