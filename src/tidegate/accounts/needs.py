# SPDX-License-Identifier: Apache-2.0
"""Parts of a running server that the administration needs, as protocols; the defaults do without one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from tidegate.events.kinds import Event


class DisconnectsUsers(Protocol):
    """Ends connections of users, of all doors."""

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of a user; returns how many there were."""
        ...


class RevokesTokens(Protocol):
    """Makes tokens of administrators void."""

    async def revoke_all(self, username: str) -> None:
        """Every token of one administrator is void from now on."""
        ...


class Emits(Protocol):
    """Takes events of what was changed."""

    async def record(self, *events: Event) -> None:
        """Take events, and return when no crash can take them away, if somebody wants that.

        Raises:
            ProviderUnavailable: it is not stored yet.
        """
        ...


class StartsScans(Protocol):
    """Counts files of accounts and folders."""

    async def scan(self, kind: Literal["user", "folder"], name: str) -> None:
        """Count, and return when it is done.

        Raises:
            TidegateError: it cannot be counted now.
        """
        ...


class HashesPasswords(Protocol):
    """Hashes new passwords off the loop."""

    async def hash(self, password: str, *, source: str = "") -> str:
        """The hash.

        Args:
            password: in plain.
            source: address whose share of the waiting hashes this takes; empty for our own work.

        Raises:
            InvalidArgument: the password cannot be hashed (empty, too long, NUL).
            LoginRefused: too many hashes are waiting (reason ``busy``).
        """
        ...


class NoConnections:
    """There is no server here: nobody is connected. A running one notices changes by itself."""

    def close_user(self, username: str, *, by: str) -> int:
        """Nothing to end."""
        del username, by
        return 0


class NoTokens:
    """There is no server here: it compares each token with the stored record by itself."""

    async def revoke_all(self, username: str) -> None:
        """Nothing to revoke."""
        del username


class NoScans:
    """There is no server here; what is to be counted is marked for its start."""

    async def scan(self, kind: Literal["user", "folder"], name: str) -> None:
        """Nothing is counted."""
        del kind, name


class NoEvents:
    """Nobody listens."""

    async def record(self, *events: Event) -> None:
        """Forget them."""
        del events


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The parts that a server, or whoever stands in for one, hands in."""

    hashes: HashesPasswords
    connections: DisconnectsUsers = field(default_factory=NoConnections)
    tokens: RevokesTokens = field(default_factory=NoTokens)
    scans: StartsScans = field(default_factory=NoScans)
    events: Emits = field(default_factory=NoEvents)
