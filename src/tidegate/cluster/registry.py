# SPDX-License-Identifier: Apache-2.0
"""Sessions of this process: listed, closed, counted among those of all nodes, and held off."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from tidegate.cluster.memory import MemoryLive
from tidegate.contracts.cluster import Live
from tidegate.errors import LoginRefused
from tidegate.model import Account, Peer
from tidegate.model.action import DIRECTIONS

Used = tuple[Literal["user", "folder"], str]
"""An account or a folder, by its name."""


class LiveTransfer(Protocol):
    """A transfer that is going on."""

    operation_type: str
    virtual_path: str
    started: float
    size: int


@runtime_checkable
class LiveWork(LiveTransfer, Protocol):
    """A copy or move that is going on, of one file or many.

    Attributes:
        files: files done.
        total_files: files in all, 0 while that is not known; `total_size` likewise, bytes.
    """

    files: int
    total_files: int
    total_size: int


class Activity:
    """The time at which a client last sent something. A plain attribute, because every request sets it.

    Attributes:
        at: seconds of `time.monotonic`.
    """

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at = time.monotonic()

    def touch(self) -> None:
        """Something happened."""
        self.at = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Seconds since the client last sent something."""
        return time.monotonic() - self.at


@dataclass(slots=True, eq=False)
class LiveConnection:
    """One logged-in connection or channel.

    Attributes:
        peer: the other end.
        username: who.
        disconnect: ends it; the argument says by whom, for the log.
        connected_at: seconds since the epoch.
        activity: when the client last sent something; channels of one connection share it.
        command: the SSH command, if any.
        cipher: that the door has agreed on with the client; empty where it does not know.
        transfers: what is being moved now.
    """

    peer: Peer
    username: str
    disconnect: Callable[[str], None]
    connected_at: float = field(default_factory=time.time)
    activity: Activity = field(default_factory=Activity)
    command: str = ""
    cipher: str = ""
    transfers: set[LiveTransfer] = field(default_factory=set)

    @property
    def last_activity(self) -> float:
        """The time at which the client last sent something, seconds since the epoch."""
        return max(self.connected_at, time.time() - self.activity.silent_seconds)


class Registry:
    """Live sessions of this process, by id and by user.

    Args:
        live: where sessions of an account are counted.

    Attributes:
        on_left: told of each session that is forgotten.
        others: work on files that no client's connection does, as if it were one: it is listed, and can be
            ended by its id; None where there is none.
    """

    def __init__(self, live: Live | None = None) -> None:
        self._slots = live or MemoryLive()
        self._live: dict[str, LiveConnection] = {}
        self._per_user: Counter[str] = Counter()
        self.on_left: Callable[[LiveConnection], None] | None = None
        self.others: Callable[[], list[LiveConnection]] | None = None

    async def enter(self, connection: LiveConnection, *, max_sessions: int = 0) -> None:
        """Enter a session.

        Raises:
            LoginRefused: the account has `max_sessions` already (0: no limit), on all nodes that share.
            WorldError: they cannot be counted now.
        """
        slot, holder = _slot(connection)
        if not await self._slots.take_slot(slot, holder, limit=max_sessions):
            raise LoginRefused("sessions", rule="max_sessions", username=connection.username)
        self._live[connection.peer.connection_id] = connection
        self._per_user[connection.username] += 1

    def remove(self, connection: LiveConnection) -> None:
        """Forget a session; unknown is no error."""
        if self._live.pop(connection.peer.connection_id, None) is not None:
            self._slots.give_slot(*_slot(connection))
            self._per_user[connection.username] -= 1
            if not self._per_user[connection.username]:
                del self._per_user[connection.username]
            if self.on_left is not None:
                self.on_left(connection)

    def count(self, username: str | None = None) -> int:
        """Live connections, of one user or in all."""
        return len(self._live) if username is None else self._per_user[username]

    async def everywhere(self, username: str) -> int:
        """Sessions of a user on all nodes that share.

        Raises:
            WorldError: they cannot be counted now.
        """
        return await self._slots.slots(f"account:{username}")

    def usernames(self) -> set[str]:
        """Users that are connected."""
        return set(self._per_user)

    def all(self) -> list[LiveConnection]:
        """Every live connection, oldest first; behind them `others`."""
        return [*self._live.values(), *(self.others() if self.others is not None else ())]

    def in_flight(self) -> dict[str, tuple[int, int]]:
        """Number and bytes so far of uploads (``in``) and downloads (``out``) that go on."""
        found = {"in": [0, 0], "out": [0, 0]}
        for connection in self.all():
            for transfer in connection.transfers:
                pair = found.get(DIRECTIONS.get(transfer.operation_type, ""))
                if pair is not None:
                    pair[0] += 1
                    pair[1] += transfer.size
        return {name: (number, size) for name, (number, size) in found.items()}

    def get(self, connection_id: str) -> LiveConnection | None:
        """One connection, None if it is gone."""
        return self._live.get(connection_id)

    def close(self, connection_id: str, *, by: str) -> bool:
        """End one connection, or one of `others`; False if it is gone."""
        for connection in self.all():
            if connection.peer.connection_id == connection_id:
                connection.disconnect(by)
                return True
        return False

    def close_user(self, username: str, *, by: str) -> int:
        """End every connection of a user; returns how many there were."""
        found = [c for c in self._live.values() if c.username == username]
        for connection in found:
            connection.disconnect(by)
        return len(found)


class Holds:
    """The sessions of one process; of other processes the record tells (`Filters.hold`)."""

    def __init__(self) -> None:
        self._open: Final[Counter[Used]] = Counter()
        self._held: Final[set[Used]] = set()

    def enter(self, account: Account) -> tuple[Used, ...]:
        """Count a session that is about to open, until `leave`.

        Raises:
            LoginRefused: the account, or a folder that it mounts, is held.
        """
        used: tuple[Used, ...] = (
            ("user", account.username),
            *(("folder", mount.name) for mount in account.virtual_folders),
        )
        if any(one in self._held for one in used):
            raise LoginRefused("held", rule="filters.hold", username=account.username)
        self._open.update(used)
        return used

    def leave(self, used: tuple[Used, ...]) -> None:
        """End one `enter`."""
        for one in used:
            self._open[one] -= 1
            if not self._open[one]:
                del self._open[one]

    def count(self, used: Used) -> int:
        """Sessions that use it now, those that are opening or ending included."""
        return self._open[used]

    def hold(self, used: Used) -> None:
        """Let no further session begin; those that are there go on."""
        self._held.add(used)

    def release(self, used: Used) -> None:
        """Let sessions begin again."""
        self._held.discard(used)


def _slot(connection: LiveConnection) -> tuple[str, str]:
    return f"account:{connection.username}", connection.peer.connection_id
