# SPDX-License-Identifier: Apache-2.0
"""Narrow views of the parts of this door on each other.

A listener makes logins and connections, a login makes sessions; each is typed against what it needs of the
one that made it, so that no two files import each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol

import asyncssh

from tidegate.cluster.registry import Activity, Registry
from tidegate.doors.common.admission import Visit
from tidegate.doors.ssh.options import SshOptions
from tidegate.doors.ssh.setup import Setup
from tidegate.events.bus import Bus
from tidegate.identity.api import LoginService
from tidegate.model import Peer
from tidegate.resources import Ledger
from tidegate.vfs.api import Sessions


class DoorServices(Protocol):
    """The listener, as logins and sessions use it.

    Attributes:
        login: checks credentials.
        sessions: opens file sessions.
        bus: takes events.
        registry: the live connections.
        ledger: limits of resources.
        draining: True once nobody is let in any more.
    """

    login: LoginService
    sessions: Sessions
    bus: Bus
    registry: Registry
    ledger: Ledger
    draining: bool

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a channel's work; stopping the door waits for it."""
        ...


class LoginDoor(DoorServices, Protocol):
    """The listener, as the owner of a connection uses it."""

    @property
    def setup(self) -> Setup:
        """Options, keys and banner that new connections are made with."""
        ...

    def peer_of(self, connection: asyncssh.SSHServerConnection, visit: Visit | None) -> Peer:
        """The peer of a new connection, with an id of its own."""
        ...

    def entered(self, login: Any) -> None:
        """A connection came in."""
        ...

    def proves(self, visit: Visit) -> None:
        """A connection began to log in."""
        ...

    def logged_in(self, visit: Visit) -> None:
        """A connection logged in."""
        ...

    def left(self, login: Any) -> None:
        """A connection ended."""
        ...


class ChannelOwner(Protocol):
    """The owner of a connection, as its channels use it.

    Attributes:
        door: the listener.
        options: of the door, as they were when the connection came in.
        peer: the other end.
        visit: the connection as it was let in, None in tests without a listener.
        sessions: channels that are open.
        activity: when the client last sent something.
    """

    options: SshOptions
    peer: Peer
    visit: Visit | None
    activity: Activity

    @property
    def door(self) -> DoorServices:
        """The listener."""
        ...

    @property
    def sessions(self) -> set[Any]:
        """Channels that are open."""
        ...

    @property
    def cipher(self) -> str:
        """Names of the cipher and of the MAC that seal what is sent."""
        ...

    def end(self, by: str, *, code: int = ..., text: str = ...) -> None:
        """End the connection."""
        ...


class ConnectionOwner(Protocol):
    """The owner of a connection, as the connection uses it: it judges credentials."""

    def end(self, by: str, *, code: int = ..., text: str = ...) -> None:
        """End the connection."""
        ...

    def exchange_begins(self) -> None:
        """The client asks for new keys. Raises `asyncssh.DisconnectError` if it did too often."""
        ...

    def attempt_answered(self) -> bool:
        """A failure is about to be sent; True if it is a partial success (RFC 4252 section 5.1)."""
        ...

    def begin_attempt(self, method: str) -> int:
        """An attempt begins; returns its number."""
        ...

    async def key_offered(self, username: str, key_data: bytes) -> bool:
        """True if it makes sense to sign with this key."""
        ...

    def proving(self) -> AbstractContextManager[None]:
        """Within, a signature is verified."""
        ...

    def signature_allowed(self, algorithm: str) -> bool:
        """True if clients may sign with this algorithm."""
        ...

    def key_not_proved(self) -> None:
        """A signature was wrong, or made by an algorithm that is not allowed."""
        ...

    def certified_key(self, key_data: bytes) -> bytes:
        """The key that a certificate is made for, in wire form; empty if it cannot be read."""
        ...

    async def key_proved(
        self, turn: int, username: str, key_data: bytes, *, touched: bool, verified: bool
    ) -> bool:
        """Judge a login by a key whose possession is proved."""
        ...

    def transport_full(self, full: bool) -> None:
        """The socket stopped or went on taking bytes."""
        ...
