# SPDX-License-Identifier: Apache-2.0
"""Commands on a running server, by its REST API.

Long, because it has one class for each kind of record and of live state, a few lines each, as `local` has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, cast

from tidegate.cli.rest_client import Answer, RestClient
from tidegate.cli.target import (
    Bans,
    Connections,
    Document,
    Edit,
    Log,
    MoveAct,
    Quotas,
    Read,
    ScanKind,
    StorageMoves,
    Target,
    Turned,
)
from tidegate.errors import BadRecord, InvalidArgument, Outdated

PAGE: Final = 500
MAX_TRIES: Final = 8
"""Attempts at a change, while somebody else changes the record."""

_DERIVED: Final = ("has_password", "users")


class RemoteRecords:
    """One kind of record of a server."""

    def __init__(self, client: RestClient, path: str) -> None:
        self._client = client
        self._path = path

    async def all(self) -> AsyncIterator[Document]:
        """Every record by name, a page at a time."""
        offset = 0
        while True:
            query = {"offset": offset, "limit": PAGE}
            page = (await self._ask("GET", query=query)).document
            for document in page:
                yield document
            offset += len(page)
            if len(page) < PAGE:
                return

    async def count(self) -> int:
        """Not known: the API does not say."""
        return 0

    async def get(self, name: str) -> Read:
        """One record."""
        answer = await self._ask("GET", name)
        return Read(answer.document, answer.version)

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Add one."""
        document = _with_typed(document, password)
        added: Document = (await self._ask("POST", body=document)).document
        return added

    async def change(self, name: str, edit: Edit, *, password: str = "") -> Document:
        """Change one: what the server has, edited, if nobody else was faster."""
        tries = MAX_TRIES
        while True:
            read = await self.get(name)
            document = _with_typed(edit(_settable(read.document)), password)
            try:
                await self._ask("PUT", name, body=document, version=read.version)
            except Outdated:
                tries -= 1
                if not tries:
                    raise
                continue
            return (await self.get(name)).document

    async def remove(self, name: str, *, version: str) -> None:
        """Remove one."""
        await self._ask("DELETE", name, version=version)

    async def set_keys(self, name: str, edit: Callable[[list[str]], list[str]]) -> Document:
        """Replace the public keys of an account."""
        return await self.change(name, lambda stored: {**stored, "public_keys": edit(stored["public_keys"])})

    async def _ask(self, method: str, *path: str, **more: Any) -> Answer:
        return await asyncio.to_thread(self._client.ask, method, self._path, *path, **more)


class RemoteApiKeys(RemoteRecords):
    """API keys of a server."""

    async def add(self, document: Document, *, password: str = "") -> Document:
        """Make one; `key` of the answer is the text that a program sends."""
        made = await super().add(document, password=password)
        text = str(made["key"])
        stored = (await self.get(text.partition(".")[0])).document
        return {**stored, "key": text}


class RemoteConnections:
    """Connections of a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def all(self) -> list[Document]:
        """Live connections, oldest first."""
        found: list[Document] = (await asyncio.to_thread(self._client.ask, "GET", "connections")).document
        return found

    async def close(self, connection_id: str) -> None:
        """End one."""
        await asyncio.to_thread(self._client.ask, "DELETE", "connections", connection_id)


class RemoteBans:
    """Bans, penalties and scores of a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def all(self) -> list[Turned]:
        """All of them."""
        found = (await asyncio.to_thread(self._client.ask, "GET", "defender", "hosts")).document
        return [_turned(one) for one in found]

    async def remove(self, address: str) -> None:
        """End what refuses an address."""
        host_id = address.encode().hex()
        await asyncio.to_thread(self._client.ask, "DELETE", "defender", "hosts", host_id)


def _turned(host: Document) -> Turned:
    """A document of ``/defender/hosts``."""
    until, penalty, score = host.get("ban_time", ""), host.get("penalty", ""), host.get("score", 0)
    ends = round(datetime.fromisoformat(until).timestamp() * 1000) if until else 0
    kind = "penalty" if penalty else "ban" if until else "score"
    return Turned(host["ip"], kind, ends, penalty or (f"{score} points" if score else ""))


class RemoteLocks:
    """Write locks on a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def all(self) -> list[Document]:
        """Every lock."""
        found: list[Document] = (await asyncio.to_thread(self._client.ask, "GET", "locks")).document
        return found

    async def remove(self, token: str) -> None:
        """End one."""
        await asyncio.to_thread(self._client.ask, "DELETE", "locks", token)


class RemoteQuarantine:
    """Files in the quarantine of a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def all(self) -> list[Document]:
        """Every file, oldest first."""
        found: list[Document] = (await asyncio.to_thread(self._client.ask, "GET", "quarantine")).document
        return found

    async def get(self, name: str) -> Document:
        """One of them."""
        found: Document = (await asyncio.to_thread(self._client.ask, "GET", "quarantine", name)).document
        return found

    async def release(self, name: str, to: str) -> Document:
        """Publish one."""
        query = {"path": to} if to else {}
        ask = partial(self._client.ask, "POST", "quarantine", name, "release", query=query)
        found: Document = (await asyncio.to_thread(ask)).document
        return found

    async def drop(self, name: str) -> None:
        """Remove one."""
        await asyncio.to_thread(self._client.ask, "DELETE", "quarantine", name)


class RemoteQuotas:
    """Usage on a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def scan(self, kind: ScanKind, name: str) -> str:
        """Start counting."""
        await asyncio.to_thread(self._client.ask, "POST", "quotas", f"{kind}s", name, "scan")
        return f"the server counts the files of {name} now"

    async def cancel(self, kind: ScanKind, name: str) -> str:
        """End counting."""
        answer = await asyncio.to_thread(self._client.ask, "DELETE", "quotas", f"{kind}s", name, "scan")
        if answer.document["message"] == "Scan cancelled":
            return f"the server counts the files of {name} no more; what was recorded stays"
        return f"the server was just done with the files of {name}"

    async def outcome(self, kind: ScanKind, name: str) -> Document | None:
        """The scan that runs, or the last one."""
        answer = await asyncio.to_thread(self._client.ask, "GET", "quotas", f"{kind}s", name, "scan")
        return cast("Document", answer.document)

    async def running(self) -> list[Document]:
        """Scans that run now."""
        found: list[Document] = []
        for kind, label in (("user", "username"), ("folder", "name")):
            answer = await asyncio.to_thread(self._client.ask, "GET", "quotas", f"{kind}s", "scans")
            found += [{**scan, "kind": kind, "name": scan[label]} for scan in answer.document]
        return found


class RemoteEvents:
    """Event rules and deliveries of a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def active_rules(self) -> list[Document]:
        """Rules in force."""
        answer = await asyncio.to_thread(self._client.ask, "GET", "activerules")
        return cast("list[Document]", answer.document)

    async def run_rule(self, name: str) -> None:
        """Have it run a rule."""
        await asyncio.to_thread(self._client.ask, "POST", "eventrules", "run", name)

    async def test(self, name: str, event: Document, file: str) -> Document:
        """Nothing: a server is not asked."""
        del event, file
        raise InvalidArgument(f"the rule {name} is tried with the configuration of this host, without --url")

    async def deliveries(self, state: str) -> list[Document]:
        """Deliveries in a state."""
        found: list[Document] = []
        while True:
            query = {"offset": str(len(found)), "limit": "500", **({"state": state} if state else {})}
            answer = await asyncio.to_thread(self._client.ask, "GET", "deliveries", query=query)
            found += answer.document
            if len(answer.document) < 500:
                return found

    async def retry(self, ids: list[str] | None) -> int:
        """Have deliveries sent again."""
        return await self._act("retry", ids)

    async def drop(self, ids: list[str] | None) -> int:
        """Forget deliveries."""
        return await self._act("drop", ids)

    async def _act(self, act: str, ids: list[str] | None) -> int:
        body: Document = {"all": True} if ids is None else {"ids": ids}
        answer = await asyncio.to_thread(self._client.ask, "POST", "deliveries", act, body=body)
        return int(str(answer.document["message"]).split(maxsplit=1)[0])


class RemoteMoves:
    """Moves to other storage by a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def start(self, kind: ScanKind, name: str, body: Document) -> None:
        """Start or continue one."""
        await asyncio.to_thread(self._client.ask, "POST", "storage-moves", f"{kind}s", name, body=body)

    async def act(self, kind: ScanKind, name: str, act: MoveAct) -> None:
        """Take one back, or remove its old content."""
        await asyncio.to_thread(self._client.ask, "POST", "storage-moves", f"{kind}s", name, act)

    async def find(self, kind: ScanKind, name: str) -> Document:
        """The one that runs, or the last one."""
        answer = await asyncio.to_thread(self._client.ask, "GET", "storage-moves", f"{kind}s", name)
        return cast("Document", answer.document)

    async def all(self) -> list[Document]:
        """Those that are known."""
        answer = await asyncio.to_thread(self._client.ask, "GET", "storage-moves")
        return cast("list[Document]", answer.document)


class RemoteLog:
    """The log of a server."""

    def __init__(self, client: RestClient) -> None:
        self._client = client

    async def page(self, wanted: Document) -> Document:
        """Lines that are wanted, the newest first, as REST shows them."""
        query = {name: value for name, value in wanted.items() if value}
        answer = await asyncio.to_thread(self._client.ask, "GET", "logs", query=query)
        return cast("Document", answer.document)


class RemoteTarget:
    """A running server."""

    def __init__(self, client: RestClient) -> None:
        self._client: Final = client
        self.users: Final = RemoteRecords(client, "users")
        self.folders: Final = RemoteRecords(client, "folders")
        self.groups: Final = RemoteRecords(client, "groups")
        self.roles: Final = RemoteRecords(client, "roles")
        self.event_actions: Final = RemoteRecords(client, "eventactions")
        self.event_rules: Final = RemoteRecords(client, "eventrules")
        self.events: Final = RemoteEvents(client)
        self.admins: Final = RemoteRecords(client, "admins")
        self.api_keys: Final = RemoteApiKeys(client, "apikeys")
        self._quotas: Final = RemoteQuotas(client)
        self._connections: Final = RemoteConnections(client)
        self._moves: Final = RemoteMoves(client)

    @property
    def quotas(self) -> Quotas:
        """Usage."""
        return self._quotas

    @property
    def log(self) -> Log:
        """The log."""
        return RemoteLog(self._client)

    @property
    def locks(self) -> RemoteLocks:
        """Write locks."""
        return RemoteLocks(self._client)

    @property
    def quarantine(self) -> RemoteQuarantine:
        """Files in quarantine."""
        return RemoteQuarantine(self._client)

    async def explain_connect(self, address: str, protocol: str) -> Document:
        """The steps of the decision if an address may connect."""
        query = {"ip": address, "protocol": protocol}
        asked = asyncio.to_thread(self._client.ask, "GET", "explain", "connect", query=query)
        answer: Document = (await asked).document
        return answer

    @property
    def bans(self) -> Bans:
        """Bans, penalties and scores."""
        return RemoteBans(self._client)

    @property
    def connections(self) -> Connections:
        """Connections."""
        return self._connections

    @property
    def moves(self) -> StorageMoves:
        """Moves to other storage."""
        return self._moves

    async def disable_second_factor(self, kind: str, name: str) -> None:
        """Switch the one-time codes of somebody off; `kind` is ``users`` or ``admins``."""
        await asyncio.to_thread(self._client.ask, "PUT", kind, name, "2fa", "disable")

    async def passkeys(self, name: str) -> list[Document]:
        """The passkeys of an administrator."""
        answer = await asyncio.to_thread(self._client.ask, "GET", "admins", name, "passkeys")
        return cast("list[Document]", answer.document)

    async def remove_passkey(self, name: str, key_id: str) -> None:
        """Remove a passkey of an administrator."""
        await asyncio.to_thread(self._client.ask, "DELETE", "admins", name, "passkeys", key_id)

    def default_home(self, name: str) -> str:
        """The server decides."""
        del name
        return ""


def _settable(document: Document) -> Document:
    return {key: value for key, value in document.items() if key not in _DERIVED}


def _with_typed(document: Document, password: str) -> Document:
    """The document with a password that a person typed.

    Raises:
        BadRecord: it looks like a hash, for which the server would take it.
    """
    if not password:
        return document
    from tidegate.identity.passwords import is_hashed

    if is_hashed(password):
        raise BadRecord("password", "looks like a hash, and a server takes it for one; choose another")
    return {**document, "password": password}


def _keeps_the_contract(target: RemoteTarget) -> Target:
    return target
