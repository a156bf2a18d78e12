# SPDX-License-Identifier: Apache-2.0
"""The contract of a door: what the composition root asks of every protocol, and all it knows of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar

from tidegate.model.door import DoorStatus

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
        """Accept nobody any more, end idle connections, give transfers that run `grace_seconds` to end."""
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
