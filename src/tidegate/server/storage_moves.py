# SPDX-License-Identifier: Apache-2.0
"""Makes what moves files to other storage, when it is first needed: most servers never do."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidegate.accounts.actor import Channel, operator
from tidegate.cluster.registry import LiveConnection
from tidegate.errors import TidegateError
from tidegate.model import OtherProtocol, Peer
from tidegate.relocation.move import Move
from tidegate.relocation.moves import Moves
from tidegate.server.administration import ScansInTurn, administration

if TYPE_CHECKING:
    from tidegate.config.load import Loaded
    from tidegate.server.doors import Composition

PROTOCOL: Final = OtherProtocol("MOVE", "")
"""The protocol of a move, where connections are listed."""
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Shown:
    """See `cluster.registry.LiveWork`."""

    operation_type: str
    virtual_path: str
    started: float
    size: int
    files: int
    total_size: int
    total_files: int


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
        root.registry.others = self._shown

    async def recover(self) -> None:
        """Release accounts that a crash left held."""
        await self.moves.recover(by=operator("storage move", Channel.REST))

    def _shown(self) -> list[LiveConnection]:
        """Moves that run, for those who list connections; of a home they are its owner's."""
        return [_as_connection(move) for move in self.moves.running()]

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


def _as_connection(move: Move) -> LiveConnection:
    note, progress = move.note, move.progress
    of_home, began = note.kind == "user", note.started_ms / 1000
    shown = _Shown(
        "storage-move", "/" if of_home else f"folder {note.name}", began,
        progress.size, progress.files, progress.total_size, progress.total_files,
    )  # fmt: skip
    return LiveConnection(
        Peer(move.id, PROTOCOL, move.by.ip if move.by is not None else ""),
        note.name if of_home else "",
        move.stop,
        connected_at=began,
        command=f"storage move, {progress.phase}",
        transfers={shown},
    )
