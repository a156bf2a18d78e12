# SPDX-License-Identifier: Apache-2.0
"""The contract of a door: what the composition root asks of every protocol, and what it gives to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar

from tidegate.cluster.registry import Registry
from tidegate.doors.common.record import Events
from tidegate.identity.api import LoginService
from tidegate.model import OtherProtocol
from tidegate.model import Protocol as AnyProtocol
from tidegate.model.door import DoorStatus
from tidegate.resources import Ledger
from tidegate.vfs.api import Sessions

Apply: TypeAlias = Callable[[], None]
"""Takes over options that were found good. Does not fail and does not wait."""

Options_contra = TypeVar("Options_contra", contravariant=True)


class Door(Protocol[Options_contra]):
    """One protocol, from listening sockets to the end of its connections.

    Life: constructed with its options (nothing is opened), `start`, `reload`..., `drain`, `stop`. All methods
    are called from the event loop. A door that failed to start holds nothing, and its `stop` may be called.
    """

    @property
    def name(self) -> str:
        """Its name in the configuration, in ``/status`` and in the log."""
        ...

    async def start(self) -> None:
        """Load keys and certificates, and listen on every binding.

        Raises:
            ConfigError: an option cannot be used or an address is taken, with every problem found.
            OperatorError: this door cannot work here.
        """
        ...

    async def reload(self, options: Options_contra) -> Apply:
        """Get ready for other options; returns what takes them over for new connections.

        Nothing changes before that is called, because options of another door may still turn out to be wrong.
        Bindings stay as they are; a door logs a warning if they differ.

        Raises:
            ConfigError: an option cannot be used.
        """
        ...

    async def drain(self, grace_seconds: float) -> None:
        """Accept nobody any more, end idle connections, give transfers that run `grace_seconds` to end.

        A door without transfers (health, an API) may go on until `stop`, so that a drain can be watched.
        """
        ...

    async def stop(self) -> None:
        """Stop listening and end every connection. May be called at any time, and twice."""
        ...

    def usernames(self) -> set[str]:
        """Accounts that have a connection here."""
        ...

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of an account; returns how many there were.

        Args:
            username: of the account.
            by: the reason on record, see `events.kinds.Disconnected.by`.
        """
        ...

    def status(self) -> DoorStatus:
        """The door as it is now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorContext:
    """The services that a door works with.

    Attributes:
        login: says who somebody is and whether they may come in.
        sessions: opens the only way to files.
        events: takes events (`events.kinds`).
        registry: the live connections of this process.
        ledger: limits of resources.
        protocol: of the door, for `Peer`.
        resolve: the path of a file that options name, relative to the configuration directory.
    """

    login: LoginService
    sessions: Sessions
    events: Events
    registry: Registry
    ledger: Ledger
    protocol: AnyProtocol | OtherProtocol
    resolve: Callable[[str], Path]


class DoorKind(Protocol):
    """The target of the name of another package's door: a class of doors, or a function that makes one.

    Attributes:
        options: the dataclass of its options; the configuration is checked against its annotations.
    """

    options: type[Any]

    def __call__(self, name: str, options: Any, context: DoorContext) -> Door[Any]:
        """Make a door, not started yet.

        Args:
            name: of the door.
            options: an `options`.
            context: what it works with.
        """
        ...
