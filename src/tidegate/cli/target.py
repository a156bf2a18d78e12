# SPDX-License-Identifier: Apache-2.0
"""The target of commands on records: documents of a data provider here, or of a running server elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Document = dict[str, Any]
ScanKind = Literal["user", "folder"]
MoveAct = Literal["undo", "remove-old"]
Edit = Callable[[Document], Document]
"""Makes the new document of a record of the stored one."""


@dataclass(frozen=True, slots=True)
class Read:
    """One record as it was read.

    Attributes:
        document: without secrets.
        version: to change or remove only this one.
    """

    document: Document
    version: str


class Records(Protocol):
    """Verbs on one kind of record; errors are those of `accounts.administration`."""

    def all(self) -> AsyncIterator[Document]:
        """Every record by name."""
        ...

    async def count(self) -> int:
        """The number of records; 0 if that is not known."""
        ...

    async def get(self, name: str) -> Read:
        """One record."""
        ...

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one; `password` is one that a person typed."""
        ...

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one."""
        ...

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one, if it is of that version."""
        ...


class Users(Records, Protocol):
    """Verbs on accounts."""

    async def set_keys(self, name: str, edit: Callable[[list[str]], list[str]]) -> Document:
        """Replace the public keys alone."""
        ...


class Quotas(Protocol):
    """Counting what is there."""

    async def scan(self, kind: ScanKind, name: str) -> str:
        """Start counting the files of a user or folder; returns what happens now, as a sentence.

        Raises:
            Conflict: a running server counts them already.
            InvalidArgument: it cannot be counted from here.
        """
        ...

    async def cancel(self, kind: ScanKind, name: str) -> str:
        """End the scan that runs; returns what became of it, as a sentence.

        Raises:
            NotFound: none runs.
            Conflict: it has to run.
            InvalidArgument: no server is asked here.
        """
        ...

    async def outcome(self, kind: ScanKind, name: str) -> Document | None:
        """The scan that runs, or the last one, as REST shows it; None where nothing runs.

        Raises:
            NotFound: the server remembers none.
        """
        ...

    async def running(self) -> list[Document]:
        """Scans that run now, with their `kind` and `name`.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...


class StorageMoves(Protocol):
    """Moves of files to other storage."""

    async def start(self, kind: ScanKind, name: str, body: Document) -> None:
        """Start or continue one; `body` as REST takes it."""
        ...

    async def act(self, kind: ScanKind, name: str, act: MoveAct) -> None:
        """Take one back, or remove its old content."""
        ...

    async def find(self, kind: ScanKind, name: str) -> Document:
        """The one that runs, or the last one, as REST shows it.

        Raises:
            NotFound: none is known.
        """
        ...

    async def all(self) -> list[Document]:
        """Those that are known."""
        ...


class Connections(Protocol):
    """The live connections."""

    async def all(self) -> list[Document]:
        """Live connections, oldest first."""
        ...

    async def close(self, connection_id: str) -> None:
        """End one."""
        ...


class Locks(Protocol):
    """The write locks of clients."""

    async def all(self) -> list[Document]:
        """Every lock, by what it is on."""
        ...

    async def remove(self, token: str) -> None:
        """End one.

        Raises:
            NotFound: there is none of that token.
        """
        ...


class KeptFiles(Protocol):
    """Files in quarantine."""

    async def all(self) -> list[Document]:
        """Every file, oldest first."""
        ...

    async def get(self, name: str) -> Document:
        """One of them.

        Raises:
            NotFound: there is none of this id.
        """
        ...

    async def release(self, name: str, to: str) -> Document:
        """Publish one; `to` is another path, or empty.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...

    async def drop(self, name: str) -> None:
        """Remove one for good."""
        ...


class Events(Protocol):
    """Event rules in force, and deliveries of theirs that are not over."""

    async def active_rules(self) -> list[Document]:
        """Rules in force, those of the configuration included."""
        ...

    async def run_rule(self, name: str) -> None:
        """Have a server run a rule that is there to be run on demand."""
        ...

    async def test(self, name: str, event: Document, file: str) -> Document:
        """Tell what a rule would do on an event, which was read from a file.

        Raises:
            NotFound: there is no active rule of this name.
            InvalidArgument: it is no event, or cannot be told from here.
        """
        ...

    async def deliveries(self, state: str) -> list[Document]:
        """Deliveries in a state, the oldest first; an empty one is any."""
        ...

    async def retry(self, ids: list[str] | None) -> int:
        """Have deliveries sent again; None is every dead one."""
        ...

    async def drop(self, ids: list[str] | None) -> int:
        """Forget deliveries; None is every dead one."""
        ...


@dataclass(frozen=True, slots=True)
class Turned:
    """An address that does not get in now, or has points.

    Attributes:
        address: or network.
        kind: ``ban``, ``penalty`` or ``score``.
        until: milliseconds of Unix time; 0 for good, or none.
        why: text.
    """

    address: str
    kind: str
    until: int
    why: str


class Bans(Protocol):
    """Addresses that do not get in."""

    async def all(self) -> list[Turned]:
        """All of them."""
        ...

    async def remove(self, address: str) -> None:
        """End what refuses an address.

        Raises:
            NotFound: nothing does.
        """
        ...


class Log(Protocol):
    """The log of a running server."""

    async def page(self, wanted: Document) -> Document:
        """Lines that are wanted, the newest first, as REST shows them.

        Args:
            wanted: parameters of ``GET /api/v2/logs``; empty ones are left out.
        """
        ...


class Target(Protocol):
    """The place of records."""

    async def explain_connect(self, address: str, protocol: str) -> Document:
        """The steps of the decision if an address may connect, as ``/explain/connect`` shows them."""
        ...

    @property
    def bans(self) -> Bans:
        """Bans: those that are stored, or those of a running server, with penalties and scores."""
        ...

    @property
    def users(self) -> Users:
        """Accounts."""
        ...

    @property
    def folders(self) -> Records:
        """Folders."""
        ...

    @property
    def groups(self) -> Records:
        """Groups."""
        ...

    @property
    def roles(self) -> Records:
        """Roles."""
        ...

    @property
    def event_actions(self) -> Records:
        """Event actions."""
        ...

    @property
    def event_rules(self) -> Records:
        """Event rules."""
        ...

    @property
    def events(self) -> Events:
        """Rules in force and deliveries."""
        ...

    @property
    def admins(self) -> Records:
        """Administrators."""
        ...

    @property
    def api_keys(self) -> Records:
        """API keys; adding one answers with ``key``, the text that a program sends."""
        ...

    @property
    def quotas(self) -> Quotas:
        """Usage."""
        ...

    @property
    def log(self) -> Log:
        """The log.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...

    @property
    def locks(self) -> Locks:
        """Write locks.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...

    @property
    def quarantine(self) -> KeptFiles:
        """Files in quarantine.

        Raises:
            InvalidArgument: there is no quarantine.
        """
        ...

    @property
    def connections(self) -> Connections:
        """Connections.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...

    @property
    def moves(self) -> StorageMoves:
        """Moves to other storage.

        Raises:
            InvalidArgument: no server is asked here.
        """
        ...

    def default_home(self, name: str) -> str:
        """The home of a new account that names none; empty if the server decides."""
        ...
