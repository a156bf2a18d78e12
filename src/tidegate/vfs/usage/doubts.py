# SPDX-License-Identifier: Apache-2.0
"""Doubts about stored usage: accounts and folders whose numbers only counting makes right.

A doubt outlives the live usage of its account, so that the account's mark stays for the next start even if
sessions come and go meanwhile. Each has its `moment`: a count settles those that were there when it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

_EVERYWHERE: Final = ""
"""The folder of a doubt about whatever folders an account has."""


class Doubts:
    """The doubts of a process.

    Attributes:
        on_doubt: called when an account has to be counted; `tidegate.vfs.usage.scan` takes it.
    """

    def __init__(self) -> None:
        self.on_doubt: Callable[[], None] = lambda: None
        # (account, folder; None is the account's own numbers) to the moment it came up.
        self._doubts: dict[tuple[str, str | None], int] = {}
        self._moment = 0
        self._put_off: set[str] = set()
        # Marks of an earlier life have yet to be read: until then none may be cleared.
        self._marks_unread = False

    @property
    def moment(self) -> int:
        """Number of the last doubt, 0 for none; a count that begins now settles those until then."""
        return self._moment

    def accounts(self) -> list[str]:
        """Accounts that have to be counted before their mark goes."""
        return sorted({name for name, _ in self._doubts})

    def due(self) -> list[str]:
        """Those of `accounts` that nobody has put off."""
        return [name for name in self.accounts() if name not in self._put_off]

    def put_off(self, username: str) -> None:
        """Leave an account to the next start, the next scan or the next doubt; its mark stays."""
        self._put_off.add(username)

    def about(self, username: str) -> bool:
        """True if an account's own numbers are in doubt."""
        return (username, None) in self._doubts

    def keep_mark(self, username: str) -> bool:
        """True if an account's mark must stay."""
        return self._marks_unread or any(name == username for name, _ in self._doubts)

    # -- coming up -----------------------------------------------------------------------------------

    def add(self, username: str, folder: str | None) -> None:
        """The numbers of an account (folder None) or of a folder may be wrong."""
        self._put_off.discard(username)
        self._note((username, folder))
        self.on_doubt()

    def unsure(self, username: str, folders: Iterable[str] = ()) -> None:
        """The numbers of an account and of folders may be wrong."""
        for name in (None, *folders):
            self.add(username, name)

    def again(self, username: str) -> None:
        """A marked account could not be counted: it is tried again later."""
        self.add(username, None)

    def reading_marks(self) -> None:
        """Marks that an earlier life left are about to be read: no session may clear one before."""
        self._marks_unread = True

    def expect(self, usernames: Iterable[str]) -> None:
        """Marks were read: these accounts are about to be counted, and stay marked until they were.

        A mark does not tell which folders are concerned, so only counting all of them ends that.
        """
        self._marks_unread = False
        self._note(*((username, about) for username in usernames for about in (None, _EVERYWHERE)))

    def expect_folders(self, username: str, folders: Iterable[str]) -> None:
        """An account is counted with these folders; its mark stays until all of them were."""
        self._note(*((username, name) for name in (None, *folders)))

    def _note(self, *doubts: tuple[str, str | None]) -> None:
        self._moment += 1
        self._doubts |= dict.fromkeys(doubts, self._moment)

    # -- ending --------------------------------------------------------------------------------------

    def settle(self, until: int, *, username: str | None = None, folder: str | None = None) -> None:
        """Drop doubts about an account's own numbers, or everybody's about a folder, until a `moment`."""
        self._doubts = {
            (name, about): moment
            for (name, about), moment in self._doubts.items()
            if moment > until or about != folder or (folder is None and name != username)
        }

    def counted_everywhere(self, username: str, until: int) -> None:
        """An account was counted with all its folders: doubts that came up until that `moment` end."""
        self._put_off.discard(username)
        self._doubts = {
            doubt: when for doubt, when in self._doubts.items() if doubt[0] != username or when > until
        }

    def drop(self, username: str) -> None:
        """An account was replaced by another of its name: its own numbers concern nobody."""
        self._doubts.pop((username, None), None)

    def forget(self, username: str) -> None:
        """The account is gone."""
        self._put_off.discard(username)
        self._doubts = {doubt: when for doubt, when in self._doubts.items() if doubt[0] != username}
