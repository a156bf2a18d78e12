# SPDX-License-Identifier: Apache-2.0
"""Verbs on lists of addresses and on bans, and the documents of their entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any, Final

from tidegate.accounts.actor import Actor
from tidegate.accounts.needs import Needs
from tidegate.accounts.options import AdministrationOptions
from tidegate.accounts.records import Document, Edit, Stored, Verbs
from tidegate.accounts.rules import Rules
from tidegate.errors import BadRecord
from tidegate.model.address_list import parse_network
from tidegate.model.listed import LIST_NAMES, ListEntry, ListKind, ListMode, entry_name
from tidegate.store.contract import Provider

PAGE: Final = 500
MAX_DESCRIPTION: Final = 1024
MAX_TIME: Final = 2**53
_ALL: Final = 15
_NAMES: Final = Rules(naming_rules=0)
_OTHER_KEYS: Final = frozenset(("created_at", "updated_at", "id", "name"))
_KEYS: Final = _OTHER_KEYS | {"ipornet", "description", "type", "mode", "protocols", "expires_at"}


def encode_entry(entry: ListEntry) -> dict[str, Any]:
    """The document of an entry, in the shape of SFTPGo's REST API and dumps, with `expires_at` besides."""
    found: dict[str, Any] = {
        "ipornet": entry.ipornet,
        "description": entry.description,
        "type": int(entry.type),
        "mode": int(entry.mode),
        "protocols": entry.protocols,
        "created_at": entry.created_at,
        "updated_at": entry.updated_at,
    }
    if entry.expires_at:
        found["expires_at"] = entry.expires_at
    return found


def decode_entry(
    document: object, *, base: ListEntry | None = None, kind: int | None = None, where: str = ""
) -> ListEntry:
    """Read and check an entry.

    Args:
        document: its document.
        base: the stored entry that it replaces.
        kind: the list that it is for, if the document does not say.
        where: prefix of places in errors.

    Raises:
        BadRecord: with the place of the first mistake.
    """
    if not isinstance(document, Mapping):
        raise BadRecord(where.rstrip(".") or "document", "should be an object")
    for key in document:
        if key not in _KEYS:
            raise BadRecord(f"{where}{key}", "unknown key")
    kind = _number(document, "type", where, 1, 100, base.type if base else kind or 0)
    if kind not in LIST_NAMES:
        raise BadRecord(f"{where}type", f"{kind} is not one of {', '.join(str(int(k)) for k in LIST_NAMES)}")
    text = document.get("ipornet", base.ipornet if base else None)
    if not isinstance(text, str) or len(text) > 64:
        raise BadRecord(f"{where}ipornet", "should be an address or a network")
    ipornet = canonical(text, f"{where}ipornet")
    mode = _number(document, "mode", where, 1, 2, base.mode if base else 1)
    if mode != ListMode.ALLOW and kind in (ListKind.ALLOW, ListKind.RATE_SAFE):
        raise BadRecord(f"{where}mode", "only the defender list has entries that deny")
    protocols = _number(document, "protocols", where, 0, _ALL, base.protocols if base else 0)
    description = document.get("description", base.description if base else "")
    if description is None:
        description = ""
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION or "\0" in description:
        raise BadRecord(f"{where}description", f"should be a text of at most {MAX_DESCRIPTION} characters")
    return ListEntry(
        name=entry_name(kind, ipornet),
        type=kind,
        ipornet=ipornet,
        mode=ListMode.DENY if kind == ListKind.BAN else mode,
        protocols=0 if protocols == _ALL or kind == ListKind.BAN else protocols,
        description=description,
        expires_at=_number(document, "expires_at", where, 0, MAX_TIME, base.expires_at if base else 0),
        id=base.id if base else 0,
        created_at=base.created_at if base else _number(document, "created_at", where, 0, MAX_TIME, 0),
        updated_at=base.updated_at if base else _number(document, "updated_at", where, 0, MAX_TIME, 0),
    )


def canonical(text: str, where: str = "ipornet") -> str:
    """An address or network as it is stored: in CIDR notation, IPv4 as IPv4.

    Raises:
        BadRecord: it is none, or bits of the host are set in a network.
    """
    network = parse_network(text)
    if network is None:
        raise BadRecord(where, f"{text[:64]!r} is no address and no network")
    try:
        ip_network(text.strip())
    except ValueError:
        raise BadRecord(where, f"{text!r} has bits of a host; the network is {network}") from None
    return str(network)


def ends_at(text: str, where: str = "expires_at") -> int:
    """A date as Unix milliseconds: ISO 8601, UTC where it names no zone; empty is 0.

    Raises:
        BadRecord: it is no date.
    """
    if not text:
        return 0
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise BadRecord(where, f"{text[:64]!r} is no date such as 2027-01-31 or 2027-01-31T12:00Z") from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return int(when.timestamp() * 1000)


def _number(document: Mapping[str, Any], key: str, where: str, low: int, high: int, default: int) -> int:  # noqa: PLR0917
    found = document.get(key)
    if found is None:
        found = default
    if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
        raise BadRecord(f"{where}{key}", f"should be a number from {low} to {high}")
    return found


async def every_entry(provider: Provider) -> list[ListEntry]:
    """All entries of all lists, and bans, by name."""
    found: list[ListEntry] = []
    while page := await provider.list_entries(offset=len(found), limit=PAGE):
        found += page
    return found


class Lists(Verbs[ListEntry]):
    """Adds, changes and removes entries of lists, and bans."""

    def __init__(self, provider: Provider, options: AdministrationOptions, needs: Needs) -> None:
        super().__init__(
            Stored(
                "ip_list",
                "list entry",
                provider.list_entry,
                provider.add_list_entry,
                lambda entry, guard: provider.update_list_entry(entry, guard=guard),
                lambda name, guard: provider.delete_list_entry(name, guard=guard),
                lambda entry: entry.name,
            ),
            provider,
            options,
            needs,
            rules=_NAMES,
        )

    async def add(self, document: Document, *, by: Actor) -> ListEntry:
        """Add an entry.

        Raises:
            BadRecord: the document has a mistake.
            Denied: they may not manage this list.
            AlreadyExists: the list has this network.
        """
        entry = decode_entry(document)
        self._require(entry.type, by)
        return await self._records.add(replace(entry, id=0), by=by)

    async def change(self, name: str, edit: Edit, *, by: Actor, version: str = "") -> ListEntry:
        """Replace an entry.

        Raises:
            BadRecord, Denied: as `add`.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """

        async def make(stored: ListEntry) -> ListEntry:
            self._require(stored.type, by)
            document = edit(stored) if callable(edit) else edit
            entry = decode_entry(document, base=stored)
            if entry.name != stored.name:
                raise BadRecord("ipornet", f"is not {stored.ipornet}, which cannot be changed")
            return entry

        return await self._records.change(name, make, by=by, version=version)

    async def remove(self, name: str, *, by: Actor, version: str = "") -> ListEntry:
        """Remove an entry.

        Raises:
            Denied: they may not manage this list.
            NotFound: there is none of this name.
            Outdated: it is of another version by now.
        """
        kind = name.partition("/")[0]
        self._require(int(kind) if kind.isdigit() else 0, by)
        return await self._records.remove(name, by=by, version=version)

    @staticmethod
    def _require(kind: int, by: Actor) -> None:
        by.require("manage_defender" if kind == ListKind.BAN else "manage_ip_lists")
