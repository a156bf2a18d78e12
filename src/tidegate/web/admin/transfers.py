# SPDX-License-Identifier: Apache-2.0
"""Transfers in flight, sampled: speed, time left, silence, and the bytes that move in each direction."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest
from typing import Final

from tidegate.cluster.registry import LiveConnection, LiveTransfer
from tidegate.metrics.recent import Key
from tidegate.model.action import DIRECTIONS

SPEED_SECONDS: Final = 5.0
"""Speeds are averages of so long."""
STALLED_SECONDS: Final = 30.0
"""A transfer without a byte for so long is called stalled."""
LEFT_SECONDS: Final = 10.0
"""Time left is told from so long after the start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRow:
    """A transfer as pages show it.

    Attributes:
        key: of the row; the same as long as the transfer goes on.
        direction: ``in``, ``out`` or ``work`` (a copy or move within the server).
        kind: upload, download, copy, move...
        path: as the client calls it.
        size: bytes moved.
        total: bytes in all; 0 if that is unknown.
        speed: bytes a second.
        left: seconds left; -1 if that is unknown.
        silent: seconds without a byte, where these are `STALLED_SECONDS` or more; else 0.
    """

    key: str
    username: str
    connection_id: str
    direction: str
    kind: str
    path: str
    size: int
    total: int
    speed: float
    left: int
    silent: int

    @property
    def percent(self) -> int:
        """Per cent done, 0 to 100; -1 if that is unknown."""
        return min(100, 100 * self.size // self.total) if self.total > 0 else -1


@dataclass(slots=True)
class _Track:
    """One transfer over several samples; it is held, so that its address is not given to another."""

    transfer: LiveTransfer
    number: int
    sizes: deque[tuple[float, int]] = field(default_factory=deque)
    moved_at: float = 0.0


@dataclass(slots=True)
class TransferTable:
    """Follows transfers from sample to sample."""

    _tracks: dict[int, _Track] = field(default_factory=dict)
    _counted: dict[Key, int] = field(default_factory=dict)
    _ended: set[Key] = field(default_factory=set)
    _number: int = 0

    def sample(
        self,
        connections: Iterable[LiveConnection],
        finished: Mapping[Key, tuple[str, int]],
        now: float,
        wall: float,
    ) -> tuple[list[TransferRow], dict[str, int]]:
        """The transfers in flight, and the bytes that moved since the sample before, by direction.

        Args:
            connections: live ones.
            finished: direction and size of transfers that ended meanwhile, by key.
            now: seconds of a clock that does not jump.
            wall: seconds since the epoch.
        """
        moved = {"in": 0, "out": 0}
        rows: list[TransferRow] = []
        tracks: dict[int, _Track] = {}
        counted: dict[Key, int] = {}
        for key, (direction, size) in finished.items():
            moved[direction] += max(size - self._counted.pop(key, 0), 0)
        for connection in connections:
            for transfer in list(connection.transfers):
                track = self._tracks.get(id(transfer))
                if track is None or track.transfer is not transfer:
                    self._number += 1
                    track = _Track(transfer, self._number, moved_at=now)
                tracks[id(transfer)] = track
                size = transfer.size
                direction = DIRECTIONS.get(transfer.operation_type, "work")
                key = connection.peer.connection_id, transfer.virtual_path
                # An end that was told before the transfer has gone from the list is not counted again.
                if direction in moved and key not in finished and key not in self._ended:
                    before = self._counted.get(key, 0)
                    moved[direction] += max(size - before, 0)
                    counted[key] = max(size, before)
                rows.append(self._row(connection, track, direction, size, now, wall))
        self._tracks, self._counted = tracks, counted
        live = {(row.connection_id, row.path) for row in rows}
        self._ended = {key for key in {*finished, *self._ended} if key in live}
        return rows, moved

    def _row(  # noqa: PLR0917  the parts of one row
        self, connection: LiveConnection, track: _Track, direction: str, size: int, now: float, wall: float
    ) -> TransferRow:
        transfer, sizes = track.transfer, track.sizes
        if not sizes or sizes[-1][1] != size:
            track.moved_at = now
        sizes.append((now, size))
        while len(sizes) > 2 and now - sizes[1][0] >= SPEED_SECONDS:
            sizes.popleft()
        (first, least), (last, most) = sizes[0], sizes[-1]
        speed = max(most - least, 0) / (last - first) if last > first else 0.0
        total = int(getattr(transfer, "total_size", 0) or 0)
        silent = now - track.moved_at
        left = -1
        if total > size and speed >= 1 and wall - transfer.started >= LEFT_SECONDS:
            left = int((total - size) / speed)
        return TransferRow(
            key=f"t{track.number}",
            username=connection.username,
            connection_id=connection.peer.connection_id,
            direction=direction,
            kind=transfer.operation_type,
            path=transfer.virtual_path,
            size=size,
            total=max(total, size) if total else 0,
            speed=speed,
            left=left,
            silent=int(silent) if silent >= STALLED_SECONDS else 0,
        )


def largest(
    rows: Iterable[TransferRow], number: int, own: Collection[str] | None = None
) -> list[TransferRow]:
    """The largest transfers, in the order of their start, so that rows stay where they are.

    Args:
        rows: of all transfers.
        number: most rows.
        own: names of the accounts that may be seen; None for all.
    """
    seen = (row for row in rows if own is None or row.username in own)
    found = nlargest(number, seen, key=lambda row: (row.total or row.size, -int(row.key[1:])))
    return sorted(found, key=lambda row: int(row.key[1:]))
