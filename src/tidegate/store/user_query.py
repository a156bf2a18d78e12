# SPDX-License-Identifier: Apache-2.0
"""Searches for accounts: which ones, in which order, from which one on.

Pages are found by the last row of the page before, not by a number of rows to skip, so the hundredth page
costs what the first does, and no row is missed or shown twice while others are added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from heapq import nsmallest
from typing import Final, Literal, Protocol

from tidegate.model import Account

Only = Literal["", "enabled", "disabled", "expired", "near_quota"]
Sort = Literal["username", "last_login", "used_quota_size"]

NEAR_PERCENT: Final = 80
"""Per cent of a quota from which an account is near it."""
MAX_TEXT: Final = 255
"""Longest text that is searched for."""


class Searched(Protocol):
    """The part of an account that searches look at."""

    @property
    def username(self) -> str:
        """As in `Account`; so are the others."""
        ...

    @property
    def id(self) -> int: ...  # noqa: D102

    @property
    def email(self) -> str: ...  # noqa: D102

    @property
    def role(self) -> str: ...  # noqa: D102

    @property
    def status(self) -> int: ...  # noqa: D102

    @property
    def expiration_date(self) -> int: ...  # noqa: D102

    @property
    def quota_size(self) -> int: ...  # noqa: D102

    @property
    def quota_files(self) -> int: ...  # noqa: D102

    @property
    def used_quota_size(self) -> int: ...  # noqa: D102

    @property
    def used_quota_files(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class UserQuery:
    """A search.

    Attributes:
        text: part of the name, or if it has an ``@`` of the name or the mail address; case does not count in
            ASCII. Names alone can be searched in an index.
        only: of this state; empty for all. ``near_quota`` is `NEAR_PERCENT` of the space or the files.
        role: only accounts of this role; empty for all.
        number: only the account with this `id`; 0 for all.
        sort: field that orders; the name decides among equals.
        descending: from large to small.
        after: value of `sort` and name of the row that the page follows; None for the first page.
        backwards: the page that ends before that row instead.
        limit: most rows.
        now_ms: for ``expired``, Unix milliseconds.
    """

    text: str = ""
    only: Only = ""
    role: str = ""
    number: int = 0
    sort: Sort = "username"
    descending: bool = False
    after: tuple[int | str, str] | None = None
    backwards: bool = False
    limit: int = 50
    now_ms: int = 0

    @property
    def plain(self) -> bool:
        """True if every account is found, by name."""
        return not (self.text or self.only or self.role or self.number) and self.sort == "username"

    @property
    def falling(self) -> bool:
        """True if rows are read from large to small."""
        return self.descending != self.backwards

    def key(self, account: Account) -> tuple[int | str, str]:
        """Value for `after` of a row."""
        return getattr(account, self.sort), account.username

    def matches(self, account: Searched) -> bool:
        """True if an account is wanted, wherever it stands."""
        text = self.text.lower()
        parts = (account.username, account.email) if "@" in text else (account.username,)
        if text and not any(text in part.lower() for part in parts):
            return False
        if self.role and account.role != self.role:
            return False
        if self.number and account.id != self.number:
            return False
        match self.only:
            case "enabled":
                return account.status == 1
            case "disabled":
                return account.status != 1
            case "expired":
                return 0 < account.expiration_date <= self.now_ms
            case "near_quota":
                return is_near(account.used_quota_size, account.quota_size) or is_near(
                    account.used_quota_files, account.quota_files
                )
        return True

    def follows(self, key: tuple[int | str, str]) -> bool:
        """True if a row belongs to this page or a later one."""
        if self.after is None:
            return True
        return key < self.after if self.falling else key > self.after


def is_near(used: int, limit: int) -> bool:
    """True if `NEAR_PERCENT` of a limit are used; without one nothing is near."""
    return limit > 0 and used * 100 >= limit * NEAR_PERCENT


def pick(query: UserQuery, accounts: Iterable[Account]) -> list[Account]:
    """The rows of a page, of all accounts; without their mounts' folders."""
    found = (one for one in accounts if query.matches(one) and query.follows(query.key(one)))
    if query.falling:
        page = sorted(found, key=query.key, reverse=True)[: query.limit]
    else:
        page = nsmallest(query.limit, found, key=query.key)
    return page[::-1] if query.backwards else page
