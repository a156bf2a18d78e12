# SPDX-License-Identifier: Apache-2.0
"""Writing a backup as a stream: one JSON object with a list for each kind of record.

One batch of records is held at a time, so that 100 000 accounts need no more memory than a hundred.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from tidegate.errors import BadRecord
from tidegate.model.listed import ListKind
from tidegate.store.contract import SCOPES, Order, Provider
from tidegate.store.documents import (
    encode_account,
    encode_admin,
    encode_api_key,
    encode_folder,
)
from tidegate.store.legacy.mover import (
    OURS,
)
from tidegate.store.streams import BATCH_RECORDS

T = TypeVar("T")

DUMP_VERSION: Final = 17
"""Version number in dumps we write: the 2.x format that loads here and there."""


async def dump(
    provider: Provider,
    scopes: Iterable[str] = SCOPES,
    *,
    indent: bool = False,
    written: Callable[[int], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """The whole provider, secrets included, as chunks of one JSON document.

    Args:
        provider: an open provider.
        scopes: which of `SCOPES` to write.
        indent: one record over several lines, for people.
        written: told how many users each chunk holds.

    Raises:
        BadRecord: a scope does not exist.
    """
    wanted = list(dict.fromkeys(scopes))
    for scope in wanted:
        if scope not in SCOPES:
            raise BadRecord("scopes", f"{scope!r} is not one of {', '.join(SCOPES)}")
    pages: dict[str, AsyncIterator[dict[str, Any]]] = {
        "folders": _folders(provider),
        "groups": _groups(provider),
        "roles": _roles(provider),
        "admins": _admins(provider),
        "users": _users(provider),
        "api_keys": _api_keys(provider),
        "event_actions": _event_actions(provider),
        "event_rules": _event_rules(provider),
        "ip_lists": _ip_lists(provider),
    }
    yield f'{{"{OURS}":1,\n'.encode()
    for scope, records in pages.items():
        if scope not in wanted:
            continue
        yield f'"{scope}":['.encode()
        first = True
        async with contextlib.aclosing(_chunks(records, indent=indent)) as chunks:
            async for chunk, count in chunks:
                yield chunk if first else b"," + chunk
                first = False
                if written is not None and scope == "users":
                    written(count)
        yield b"],\n"
    yield f'"version":{DUMP_VERSION}}}\n'.encode()


async def _chunks(
    records: AsyncIterator[dict[str, Any]], *, indent: bool
) -> AsyncGenerator[tuple[bytes, int], None]:
    batch: list[str] = []
    async for record in records:
        batch.append(json.dumps(record, indent=2 if indent else None, ensure_ascii=False))
        if len(batch) == BATCH_RECORDS:
            yield ",\n".join(batch).encode(), len(batch)
            batch.clear()
    if batch:
        yield ",\n".join(batch).encode(), len(batch)


async def _users(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for account in provider.iter_users():
        yield encode_account(account, confidential=True)


async def _folders(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for folder in _paged(provider.folders):
        yield encode_folder(folder, confidential=True)


async def _groups(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    from tidegate.store.group_documents import encode_group

    async for group in _paged(provider.groups):
        yield encode_group(group, confidential=True)


async def _roles(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    from tidegate.store.group_documents import encode_role

    async for role in _paged(provider.roles):
        yield encode_role(role)


async def _admins(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for admin in _paged(provider.admins):
        yield encode_admin(admin, confidential=True)


async def _api_keys(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    async for key in _paged(provider.api_keys):
        yield encode_api_key(key, confidential=True)


async def _event_actions(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    from tidegate.rules.documents import encode_action

    async for action in _paged(provider.event_actions):
        yield encode_action(action, confidential=True)


async def _event_rules(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    from tidegate.rules.documents import encode_rule

    async for rule in _paged(provider.event_rules):
        yield encode_rule(rule)


async def _ip_lists(provider: Provider) -> AsyncIterator[dict[str, Any]]:
    """Entries of the lists; bans are of the moment, and no backup brings them back."""
    from tidegate.accounts.lists import encode_entry

    async for entry in _paged(provider.list_entries):
        if entry.type != ListKind.BAN:
            yield encode_entry(entry)


async def _paged(page: Callable[..., Awaitable[list[T]]]) -> AsyncIterator[T]:
    order: Order = "ASC"
    offset = 0
    while batch := await page(offset=offset, limit=BATCH_RECORDS, order=order):
        for record in batch:
            yield record
        offset += len(batch)
