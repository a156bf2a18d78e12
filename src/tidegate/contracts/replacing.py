# SPDX-License-Identifier: Apache-2.0
"""Optional contracts of storage about what takes another's place; names are promised by `tidegate.abc`."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tidegate.contracts.storage import FileHandle, Key
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
    """A backend MAY have this: an upload that is refused after it was published leaves what was there before.

    A hidden key is in the directory of its key, is in no listing, and cannot be named by clients; if that
    directory is renamed, its name goes along. What `set_aside` begins ends by `put_back` or `drop_aside`.

    After a crash of this process, at the next start or when the root is opened next, the key gets what it had
    before if it has nothing, or still what `replaced` found there. If `replaced` was not called, what came at
    the key stays, and what was set aside is seen beside it under another name; else that is removed.
    """

    async def set_aside(self, key: Key, successor: FileHandle, *, keep: bool = True) -> tuple[Key, bool]:
        """Keep the file at `key` under a fresh hidden key as well: content, attributes, what is known of it.

        Args:
            key: of what is about to be replaced, or to come.
            successor: the upload that is about to be published there (`Publish.ATOMIC` or RESUMABLE).
            keep: False keeps nothing; what has `key` does not come back.

        Returns:
            the hidden key, and whether a file has it; False if there is none at `key` either.

        Raises:
            Conflict: another upload has `key`, and is not ended by `put_back` or `drop_aside` yet.
            TidegateError: it cannot be kept; nothing happened.
        """
        ...

    async def replaced(self, hidden: Key, key: Key) -> None:
        """Note that the successor has `key` now.

        Storage knows it by the handle where that can be (inode, ETag); else what has `key` is taken for it.

        Raises:
            TidegateError: it has not, or that cannot be found out, or noted.
        """
        ...

    async def put_back(self, hidden: Key, key: Key) -> bool:
        """Have `key` as it was, in place of its successor or of nothing: with the old file, or free.

        Other names of the successor are left with an empty file.

        Returns:
            True; False if `key` has something else by now, or what is not known to be the successor: that
            stays, and what was set aside is removed.

        Raises:
            TidegateError: it is not, and what was set aside stays under the hidden key for the next start.
        """
        ...

    async def withdraw(self, hidden: Key, key: Key, *, last: bool = False) -> bool:
        """Remove the successor from `key`, to which others have renamed it, or after another call has failed.

        Other names of it are left with an empty file. Storage that cannot know it there removes what has
        `key`.

        Args:
            last: nothing more is asked of `hidden`, even if this fails; the next start puts that back.

        Returns:
            whether it was there.

        Raises:
            TidegateError: it is not removed.
        """
        ...

    async def drop_aside(self, hidden: Key) -> None:
        """Remove what was set aside; what cannot be removed is left to the next start. Never raises."""
        ...
