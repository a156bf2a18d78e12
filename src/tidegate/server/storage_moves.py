# SPDX-License-Identifier: Apache-2.0
"""Makes what moves files to other storage, when it is first needed: most servers never do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidegate.accounts.actor import Channel, operator
from tidegate.errors import TidegateError
from tidegate.relocation.moves import Moves
from tidegate.server.administration import ScansInTurn, administration

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.server.doors import Composition

log = logging.getLogger(__name__)


class StorageMoves:
    """The moves of one server.

    Args:
        directory: where moves are noted; made when it is needed.
        root: the parts of the server.
        loaded: the configuration as it is now.

    Attributes:
        moves: the moves.
    """

    def __init__(self, directory: Path, root: Composition, loaded: Callable[[], Loaded]) -> None:
        self._root = root

        self.moves: Final = Moves(
            directory,
            root.sessions,
            lambda: administration(
                loaded(),
                root.provider,
                hashes=root.identity.passwords,
                connections=root.doors,
                scans=ScansInTurn(root.sessions.scans),
                events=root.bus,
            ),
            self._sessions_of,
        )

    async def recover(self) -> None:
        """Release accounts that a crash left held."""
        await self.moves.recover(by=operator("storage move", Channel.REST))

    async def _sessions_of(self, username: str) -> int:
        """Sessions of an account on every server, as far as that can be known."""
        lease = self._root.sessions.tracker.lease
        try:
            if lease is not None and await lease.shared(username):
                return 1
            return await self._root.registry.everywhere(username)
        except TidegateError as error:
            log.warning("sessions of %r on other servers cannot be counted now: %s", username, error)
            return 1
